"""The exchange's side of the rows: which of them reach the broker, the matching clocks, and markets kept up to date."""

from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol, cast

import numpy as np

from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.gates import OPEN_BAND, GatedLane
from quantkit.brokers.simulated.market import CandleMarket, Market, TradeMarket
from quantkit.clock import NEVER_NS
from quantkit.engine.plan import EngineConfig, Plan
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import Fill
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookLane, BookMark, Lane, Marks, MarkSource, TickerLane

_SIDES: Final = (Side.BUY, Side.SELL)
_OHLC: Final = ("open", "high", "low", "close")
#: The columns that are prices, of each kind of matching rows but books.
_PRICES: Final = {"ticker": ("bid", "ask"), "trade": ("price",), "candle": _OHLC}
#: How orders meet prices that are off the step, where it is not simply against them.
_MET: Final = dict.fromkeys(("book", "ticker"), "orders met bids at the step below and asks at the step above")
#: So few rows, as they come live, are looked at one by one.
_FEW_ROWS: Final = 8
#: A share of its row's volume above which a fill on candles or trades is worth a warning.
_LARGE_SHARE: Final = 0.1


class _Stopping(Protocol):
    """A lane whose rows may concern orders."""

    def next_stop(self, place: int) -> tuple[int, bool]: ...


def make_lanes(plan: Plan, *, search: bool) -> dict[Stream, Lane]:
    """Make a lane for every stream of a run."""
    lanes: dict[Stream, Lane] = {}
    for stream in plan.streams:
        is_matching = _is_matching(stream, plan)
        if stream.kind == "book":
            instrument = plan.instruments[stream.instrument]
            lanes[stream] = BookLane(stream, instrument, is_matching=is_matching)
        elif stream.kind == "ticker":
            lanes[stream] = TickerLane(stream, is_matching=is_matching)
        elif stream.kind in ("trade", "candle", "candle_open"):
            lanes[stream] = GatedLane(stream, is_matching=is_matching, every_row=is_matching and not search)
        else:
            lanes[stream] = Lane(stream, is_matching=False)
    return lanes


def make_marks(plan: Plan, lanes: Mapping[Stream, Lane]) -> dict[str, Marks]:
    """Make the source of every instrument's mark."""
    marks: dict[str, Marks] = {}
    for instrument, stream in plan.marks.items():
        lane = lanes[stream]
        marks[instrument] = BookMark(lane) if isinstance(lane, BookLane) else MarkSource(lane, stream.kind)
    return marks


def _is_matching(stream: Stream, plan: Plan) -> bool:
    own = plan.matching[stream.instrument]
    if stream == own or stream == own._replace(kind="candle_open"):
        return True
    return own.kind in ("book", "ticker") and stream.kind == "trade" and plan.has_trades[stream.instrument]


def _lag_ns(lane: Lane, row: int) -> int:
    """Return how late a row came by the two clocks: received less exchange stamp."""
    assert lane.block is not None
    received_ns, exchange_ns = lane.block.stamps_of(row)
    return received_ns - exchange_ns


class Exchange:
    """Runs matching rows through the markets, or past them where nothing can happen.

    Args:
        plan, config: What was decided for the run.
        broker: Whose markets these become.
        lanes, marks: The run's streams, and what values each instrument.
    """

    def __init__(
        self,
        plan: Plan,
        config: EngineConfig,
        broker: SimulatedBroker,
        lanes: Mapping[Stream, Lane],
        marks: Mapping[str, Marks],
    ) -> None:
        self._plan = plan
        self._config = config
        self._broker = broker
        self._lanes = lanes
        self._marks = marks
        self._matching: dict[str, list[Lane]] = {i: [] for i in plan.instruments}
        for lane in lanes.values():
            if lane.is_matching:
                self._matching[lane.instrument].append(lane)
        self._stopping = [cast(_Stopping, lane) for own in self._matching.values() for lane in own]
        self._last_trades = {
            lane.instrument: self._trade_prices(lane)
            for own in self._matching.values()
            for lane in own
            if lane.kind == "trade"
        }
        for instrument in plan.instruments.values():
            broker.markets[instrument.id] = self._market(instrument)
        self._first_of: tuple[Lane, int] | None = None  # the row whose arrivals are being processed
        self._lags: dict[str, int] = {}  # of the last matching row before this batch
        self._gated: set[str] = set()  # instruments that have orders or messages under way
        self._is_fresh = True
        self._marks_of: dict[Stream, list[Marks]] = {}
        for mark in {id(mark): mark for mark in (*marks.values(), *self._last_trades.values())}.values():
            self._marks_of.setdefault(mark.lane.stream, []).append(mark)
        self._waiting_fills: list[Fill] = []
        self._largest_share: dict[str, float] = {}
        #: Rows that were held against the price step, and those that were off it.
        self._checked: dict[Stream, int] = {}
        self._off_step: dict[Stream, int] = {}

    def _trade_prices(self, lane: Lane) -> MarkSource:
        mark = self._marks[lane.instrument]
        return mark if isinstance(mark, MarkSource) and mark.lane is lane else MarkSource(lane, "trade")

    def _market(self, instrument: Instrument) -> Market:
        plan, config, stream = self._plan, self._config, self._plan.matching[instrument.id]
        if stream.kind == "candle":
            return CandleMarket(instrument, self._broker, slippage_bps=config.slippage_bps)
        if stream.kind == "trade":
            return TradeMarket(instrument, self._broker, touch=config.touch, slippage_bps=config.slippage_bps)
        lane = self._lanes[stream]
        is_book = isinstance(lane, BookLane)
        return DisplayedMarket(
            instrument,
            self._broker,
            BookDisplay(lane.book, instrument) if isinstance(lane, BookLane) else TickerDisplay(instrument),
            stale_after_ns=config.stale_after_ns,
            has_trades=plan.has_trades[instrument.id],
            excess_slippage_bps=None if is_book else config.excess_slippage_bps,
        )

    # Rows -----------------------------------------------------------------------------------------------------

    def next_stop(self, place: int) -> tuple[int, bool, Lane | None]:
        """Return the next place that may matter, whether it surely does, and its lane.

        A place that does not surely matter is how far the search has looked.
        """
        stop, is_hit, found = NOWHERE, False, None
        for lane in self._stopping:
            at, hit = lane.next_stop(place)
            if at < stop:
                stop, is_hit, found = at, hit, lane
        return stop, is_hit, cast("Lane | None", found)

    def run_row(self, lane: Lane, place: int, now_ns: int) -> None:
        """Process what has arrived by a row's matching clock, then let the row fill what rests."""
        instrument, row = lane.instrument, lane.row_at(place)
        clock_ns = self._clock(instrument, place + 1)
        market = self._broker.markets[instrument]
        if lane.kind == "candle_open":
            market.opening = float(lane.column("open")[row])
        self._first_of = (lane, row)
        self._broker.process_arrivals(instrument, clock_ns, now_ns)
        self._first_of = market.opening = None
        match market:
            case TradeMarket():
                qty, side = self._print(lane, row) if market.touch else (0.0, Side.BUY)
                market.on_trade(float(lane.column("price")[row]), qty, side, clock_ns)
            case CandleMarket() if lane.kind == "candle_open":
                market.on_open(float(lane.column("open")[row]), clock_ns)
            case CandleMarket():
                open_, high, low, close = (float(lane.column(name)[row]) for name in _OHLC)
                market.on_range(open_, high, low, close, clock_ns, open_ns=int(lane.column("open_ns")[row]))
            case DisplayedMarket() if isinstance(lane, BookLane):
                self._update_book(market, lane, row, clock_ns, now_ns)
            case DisplayedMarket() if isinstance(lane, TickerLane):
                assert isinstance(market.display, TickerDisplay)
                market.display.update(*lane.fields(row))
                market.on_update(clock_ns)
            case DisplayedMarket():
                qty, side = self._print(lane, row) if market.orders else (0.0, Side.BUY)
                market.on_trade(float(lane.column("price")[row]), qty, side, clock_ns)

    @staticmethod
    def _print(lane: Lane, row: int) -> tuple[float, Side]:
        """Return a trade's size and side, which are decoded only where they decide something."""
        return float(lane.column("qty")[row]), _SIDES[int(lane.column("side")[row])]

    def _update_book(self, market: DisplayedMarket, lane: BookLane, row: int, clock_ns: int, now_ns: int) -> None:
        lane.advance(row)
        if market.taken:
            market.before_update(lane.book_rows.named_levels(row))
        lane.advance(row + 1)
        if lane.book.is_valid:
            lane.book.check_not_crossed(now_ns)
        market.on_update(clock_ns)
        mark = self._marks[lane.instrument]
        if isinstance(mark, BookMark):
            mark.note(lane.place_of(row))

    def _clock(self, instrument: str, place: int) -> int:
        """Return an instrument's matching clock after the rows before a place."""
        return max(lane.clock_before_row(lane.row_at(place)) for lane in self._matching[instrument])

    def begin_books(self, before: Callable[[Stream], Sequence[Block]]) -> None:
        """Bring every book to where it stood at the start: its last snapshot and the changes since."""
        for stream, lane in self._lanes.items():
            if isinstance(lane, BookLane):
                latest = lane.begin_with(before(stream))
                market = self._broker.markets[stream.instrument]
                if lane.is_matching and isinstance(market, DisplayedMarket):
                    market.updated_ns = latest

    def lag_ns(self, instrument: str, place: int) -> int | None:
        """Return how late the last matching row before a place came, received less exchange stamp; None without one."""
        latest, lag = -1, self._lags.get(instrument)
        for lane in self._matching[instrument]:
            row = lane.row_at(place) - 1
            if row >= 0 and lane.place_of(row) > latest:
                latest = lane.place_of(row)
                lag = _lag_ns(lane, row)
        return lag

    # Skipped rows -----------------------------------------------------------------------------------------------

    def sync(self, instrument: str, place: int) -> None:
        """Bring a market that rows were skipped of up to date with everything before a place.

        Before the first price of a market that has nothing but prices, the row that brings it stands in: an order
        sent at the very start is judged by the first open or trade.
        """
        market = self._broker.markets[instrument]
        if isinstance(market, CandleMarket):
            self._sync_candles(market, place)
        last_trades = self._last_trades.get(instrument)
        if last_trades is not None:
            market.see(last_trades.before(place))
        if isinstance(market, DisplayedMarket):
            self._sync_display(market, place)
        elif market.last_price is None and self._first_of is not None:
            lane, row = self._first_of
            market.see(float(lane.column("price" if lane.kind == "trade" else "open")[row]))

    def _sync_candles(self, market: CandleMarket, place: int) -> None:
        latest = -1
        for lane in self._matching[market.instrument.id]:
            row = lane.row_at(place) - 1
            if row >= 0 and lane.place_of(row) > latest:
                latest = lane.place_of(row)
                market.see(float(lane.column("open" if lane.kind == "candle_open" else "close")[row]))

    def _sync_display(self, market: DisplayedMarket, place: int) -> None:
        instrument = market.instrument.id
        lane = self._lanes[self._plan.matching[instrument]]
        rows = lane.row_at(place)
        if not rows:
            return
        if isinstance(lane, BookLane):
            lane.advance(rows)
        elif isinstance(lane, TickerLane) and isinstance(market.display, TickerDisplay):
            market.display.update(*lane.fields(rows - 1))
        market.updated_ns = self._clock(instrument, lane.place_of(rows - 1) + 1)

    def refresh(self, place: int, *, held: Collection[str], only: Collection[str] | None = None) -> None:
        """Tell lanes what their instruments' orders wait for now.

        Args:
            place: From where on.
            held: Instruments whose marks matter at present.
            only: The instruments concerned; None for all.
        """
        for instrument in self._matching if only is None else only:
            gate = self._broker.gate(instrument)
            if gate.until_ns != NEVER_NS and self._clock(instrument, place) >= gate.until_ns:
                # By the stamps of another kind of row it has arrived already, so the next row of any kind brings it in.
                gate = gate._replace(until_ns=-NEVER_NS)
            market = self._broker.markets[instrument]
            for lane in self._matching[instrument]:
                if isinstance(lane, GatedLane):
                    lane.close_gate(gate, place)
                elif isinstance(lane, BookLane | TickerLane):
                    lane.is_active = (
                        not self._config.search
                        or self._broker.has_inbound(instrument)
                        or (isinstance(market, DisplayedMarket) and market.needs_rows)
                        or (isinstance(self._marks[instrument], BookMark) and instrument in held)
                    )
            if gate == OPEN_BAND:
                self._gated.discard(instrument)
            else:
                self._gated.add(instrument)

    def enter_batch(self, lanes: Collection[Lane], *, held: Collection[str]) -> None:
        """Begin a batch, in which these lanes have rows: close their gates, look at fills whose candle had not come.

        What has no gate and no rows is not touched: a live batch holds a row or two of hundreds of streams.
        """
        waiting, self._waiting_fills = self._waiting_fills, []
        for fill in waiting:
            self.note_volume(fill, 0)
        if self._is_fresh:
            self._is_fresh = False
            self.refresh(0, held=held)
        elif self._gated:
            self.refresh(0, held=held, only=[*self._gated.intersection(lane.instrument for lane in lanes)])

    def leave_batch(self, place: int, lanes: Collection[Lane]) -> None:
        """Keep of a batch that ends, in which these lanes had rows, what the next one needs."""
        last: dict[str, Lane] = {}
        for lane in lanes:
            if lane.is_matching and lane.rows:
                other = last.get(lane.instrument)
                if other is None or lane.positions[-1] > other.positions[-1]:
                    last[lane.instrument] = lane
        for lane in lanes:
            self._check_steps(lane, lane.rows)
        for instrument, lane in last.items():
            self._lags[instrument] = _lag_ns(lane, lane.rows - 1)
            if self._plan.matching[instrument].kind != "trade":
                self.sync(instrument, place)

    def leave_rows(self, lanes: Collection[Lane]) -> None:
        """Let go of the rows of a batch that has ended, before its lanes are given the next ones.

        Between the two, time may pass and orders may ask for what these rows said.
        """
        for lane in lanes:
            for mark in self._marks_of.get(lane.stream, ()):
                mark.leave_batch()

    # Steps ------------------------------------------------------------------------------------------------------

    def check_steps(self, instrument: str, place: int) -> None:
        """Hold an instrument's rows before a place against the price step of now, since it changes there."""
        for lane in self._matching[instrument]:
            if lane.rows:
                self._check_steps(lane, lane.row_at(place))

    def check_all_steps(self, place: int) -> None:
        """Hold what was seen of a batch that the run has not come to the end of against the price steps."""
        for instrument in self._matching:
            self.check_steps(instrument, place)

    def _check_steps(self, lane: Lane, row: int) -> None:
        """Count the rows before `row` with a price off the step, of those that orders are matched on."""
        first, lane.checked = lane.checked, max(row, lane.checked)
        if row <= first or not lane.is_matching or lane.kind == "candle_open":
            return
        instrument = self._broker.markets[lane.instrument].instrument
        if isinstance(lane, BookLane):
            rows, step, tick = lane.book_rows, instrument.price_step, lane.book.instrument.tick
            # A book whose grid is the step itself has nothing off it.
            off = 0 if tick == step else rows.off_step(first, row, int(Fraction(step) / Fraction(tick)))
        elif row - first <= _FEW_ROWS and lane.block is not None and lane.block.given:
            names = _PRICES[lane.kind]
            off = sum(
                any((price := getattr(event, name)) is not None and instrument.is_off_step(price) for name in names)
                for event in lane.block.given[first:row]
            )
        else:
            off_rows = [instrument.off_step(lane.column(name)[first:row]) for name in _PRICES[lane.kind]]
            off = int(np.logical_or.reduce(off_rows).sum())
        if off:
            self._off_step[lane.stream] = self._off_step.get(lane.stream, 0) + off
        self._checked[lane.stream] = self._checked.get(lane.stream, 0) + row - first

    def off_step_notes(self) -> list[str]:
        """Return a sentence for every stream that had prices off the step."""
        notes = []
        # Which one was found first depends on where batches are cut.
        for stream, off in sorted(self._off_step.items(), key=lambda item: item[0].sort_key):
            step = plain(self._broker.markets[stream.instrument].instrument.price_step)
            met = _MET.get(stream.kind, "orders met each at the step that is worse for them")
            notes.append(
                f"{stream}: {off:,} of {self._checked[stream]:,} rows had a price off the step of {step}: {met}; "
                "if the step is too coarse, give the right one (import --price-step, instruments=)"
            )
        return notes

    # Volume -----------------------------------------------------------------------------------------------------

    def note_volume(self, fill: Fill, place: int) -> None:
        """Compare a fill on candles or trades with the volume of its row, which does not cap it."""
        stream = self._plan.matching[fill.instrument]
        if stream.kind not in ("candle", "trade"):
            return
        lane = self._lanes[stream]
        row = lane.row_at(place)
        if row < lane.rows:
            volume = float(lane.column("volume" if stream.kind == "candle" else "qty")[row])
            share = fill.qty / volume if volume > 0 else float("inf")
            self._largest_share[fill.instrument] = max(share, self._largest_share.get(fill.instrument, 0.0))
        else:
            # The candle whose open filled it closes in the next batch.
            self._waiting_fills.append(fill)

    def volume_shares(self) -> tuple[list[str], list[str]]:
        """Return sentences on the largest fill against its row's volume: the ordinary ones, and those to warn of."""
        ordinary: list[str] = []
        large: list[str] = []
        # Which one was noted first depends on where batches are cut.
        for instrument, share in sorted(self._largest_share.items()):
            what = "candle" if self._plan.matching[instrument].kind == "candle" else "trade"
            if share < 10:
                size = f"{share:.2%} of its {what}'s volume"
            else:
                size = f"{share:,.0f} times its {what}'s volume" if share < float("inf") else f"on a {what} without any"
            said = f"{instrument}: the largest fill was {size}, which does not cap fills on {what}s"
            (large if share > _LARGE_SHARE else ordinary).append(said)
        return ordinary, large
