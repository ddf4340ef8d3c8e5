"""The exchange's side of the rows: which of them reach the broker, the matching clocks, and markets kept up to date."""

from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol, cast

import numpy as np

from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.gates import OPEN_BAND, GatedCursor
from quantkit.brokers.simulated.market import CandleMarket, Market, TradeMarket
from quantkit.clock import NEVER_NS
from quantkit.engine.options import RunOptions
from quantkit.engine.plan import Plan
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import Fill
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, BookMark, Marks, MarkSource, StreamCursor, TickerCursor

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
    """A cursor whose rows may concern orders."""

    def next_stop(self, index: int) -> tuple[int, bool]: ...


def make_cursors(plan: Plan, *, search: bool) -> dict[Stream, StreamCursor]:
    """Make a cursor for every stream of a run."""
    cursors: dict[Stream, StreamCursor] = {}
    for stream in plan.streams:
        is_matching = _is_matching(stream, plan)
        if stream.kind == "book":
            instrument = plan.instruments[stream.instrument]
            cursors[stream] = BookCursor(stream, instrument, is_matching=is_matching)
        elif stream.kind == "ticker":
            cursors[stream] = TickerCursor(stream, is_matching=is_matching)
        elif stream.kind in ("trade", "candle", "candle_open"):
            cursors[stream] = GatedCursor(stream, is_matching=is_matching, every_row=is_matching and not search)
        else:
            cursors[stream] = StreamCursor(stream, is_matching=False)
    return cursors


def make_marks(plan: Plan, cursors: Mapping[Stream, StreamCursor]) -> dict[str, Marks]:
    """Make the source of every instrument's mark."""
    marks: dict[str, Marks] = {}
    for instrument, stream in plan.marks.items():
        cursor = cursors[stream]
        marks[instrument] = BookMark(cursor) if isinstance(cursor, BookCursor) else MarkSource(cursor, stream.kind)
    return marks


def _is_matching(stream: Stream, plan: Plan) -> bool:
    own = plan.matching[stream.instrument]
    if stream == own or stream == own._replace(kind="candle_open"):
        return True
    return own.kind in ("book", "ticker") and stream.kind == "trade" and plan.has_trades[stream.instrument]


def _lag_ns(cursor: StreamCursor, row: int) -> int:
    """Return how late a row came by the two clocks: received less exchange stamp."""
    assert cursor.block is not None
    received_ns, exchange_ns = cursor.block.stamps_of(row)
    return received_ns - exchange_ns


class SimulatedVenue:
    """Runs matching rows through the markets, or past them where nothing can happen.

    Args:
        plan, config: What was decided for the run.
        broker: Whose markets these become.
        cursors, marks: The run's streams, and what values each instrument.
    """

    def __init__(
        self,
        plan: Plan,
        config: RunOptions,
        broker: SimulatedBroker,
        cursors: Mapping[Stream, StreamCursor],
        marks: Mapping[str, Marks],
    ) -> None:
        self._plan = plan
        self._config = config
        self._broker = broker
        self._cursors = cursors
        self._marks = marks
        self._matching: dict[str, list[StreamCursor]] = {i: [] for i in plan.instruments}
        for cursor in cursors.values():
            if cursor.is_matching:
                self._matching[cursor.instrument].append(cursor)
        self._stopping = [cast(_Stopping, cursor) for own in self._matching.values() for cursor in own]
        self._last_trades = {
            cursor.instrument: self._trade_prices(cursor)
            for own in self._matching.values()
            for cursor in own
            if cursor.kind == "trade"
        }
        for instrument in plan.instruments.values():
            broker.markets[instrument.id] = self._market(instrument)
        self._first_of: tuple[StreamCursor, int] | None = None  # the row whose arrivals are being processed
        self._lags: dict[str, int] = {}  # of the last matching row before this batch
        self._banded: set[str] = set()  # instruments that have orders or messages under way
        self._is_fresh = True
        self._marks_of: dict[Stream, list[Marks]] = {}
        for mark in {id(mark): mark for mark in (*marks.values(), *self._last_trades.values())}.values():
            self._marks_of.setdefault(mark.cursor.stream, []).append(mark)
        self._waiting_fills: list[Fill] = []
        self._largest_share: dict[str, float] = {}
        #: Rows that were held against the price step, and those that were off it.
        self._checked: dict[Stream, int] = {}
        self._off_step: dict[Stream, int] = {}

    def _trade_prices(self, cursor: StreamCursor) -> MarkSource:
        mark = self._marks[cursor.instrument]
        return mark if isinstance(mark, MarkSource) and mark.cursor is cursor else MarkSource(cursor, "trade")

    def _market(self, instrument: Instrument) -> Market:
        plan, config, stream = self._plan, self._config, self._plan.matching[instrument.id]
        if stream.kind == "candle":
            return CandleMarket(instrument, self._broker, slippage_bps=config.slippage_bps)
        if stream.kind == "trade":
            return TradeMarket(instrument, self._broker, touch=config.touch, slippage_bps=config.slippage_bps)
        cursor = self._cursors[stream]
        is_book = isinstance(cursor, BookCursor)
        return DisplayedMarket(
            instrument,
            self._broker,
            BookDisplay(cursor.book, instrument) if isinstance(cursor, BookCursor) else TickerDisplay(instrument),
            stale_after_ns=config.stale_after_ns,
            has_trades=plan.has_trades[instrument.id],
            excess_slippage_bps=None if is_book else config.excess_slippage_bps,
        )

    # Rows -----------------------------------------------------------------------------------------------------

    def next_stop(self, index: int) -> tuple[int, bool, StreamCursor | None]:
        """Return the next index that may matter, whether it surely does, and its cursor.

        An index that does not surely matter is how far the search has looked.
        """
        stop, is_hit, found = NOWHERE, False, None
        for cursor in self._stopping:
            at, hit = cursor.next_stop(index)
            if at < stop:
                stop, is_hit, found = at, hit, cursor
        return stop, is_hit, cast("StreamCursor | None", found)

    def run_row(self, cursor: StreamCursor, index: int, now_ns: int) -> None:
        """Process what has arrived by a row's matching clock, then let the row fill what rests."""
        instrument, row = cursor.instrument, cursor.row_at(index)
        clock_ns = self._clock(instrument, index + 1)
        market = self._broker.markets[instrument]
        if cursor.kind == "candle_open":
            market.opening = float(cursor.column("open")[row])
        self._first_of = (cursor, row)
        self._broker.process_arrivals(instrument, clock_ns, now_ns)
        self._first_of = market.opening = None
        match market:
            case TradeMarket():
                qty, side = self._print(cursor, row) if market.touch else (0.0, Side.BUY)
                market.on_trade(float(cursor.column("price")[row]), qty, side, clock_ns)
            case CandleMarket() if cursor.kind == "candle_open":
                market.on_open(float(cursor.column("open")[row]), clock_ns)
            case CandleMarket():
                open_, high, low, close = (float(cursor.column(name)[row]) for name in _OHLC)
                market.on_range(open_, high, low, close, clock_ns, open_ns=int(cursor.column("open_ns")[row]))
            case DisplayedMarket() if isinstance(cursor, BookCursor):
                self._update_book(market, cursor, row, clock_ns, now_ns)
            case DisplayedMarket() if isinstance(cursor, TickerCursor):
                assert isinstance(market.display, TickerDisplay)
                market.display.update(*cursor.fields(row))
                market.on_update(clock_ns)
            case DisplayedMarket():
                qty, side = self._print(cursor, row) if market.orders else (0.0, Side.BUY)
                market.on_trade(float(cursor.column("price")[row]), qty, side, clock_ns)

    @staticmethod
    def _print(cursor: StreamCursor, row: int) -> tuple[float, Side]:
        """Return a trade's size and side, which are decoded only where they decide something."""
        return float(cursor.column("qty")[row]), _SIDES[int(cursor.column("side")[row])]

    def _update_book(self, market: DisplayedMarket, cursor: BookCursor, row: int, clock_ns: int, now_ns: int) -> None:
        cursor.advance(row)
        if market.taken:
            market.before_update(cursor.book_rows.named_levels(row))
        cursor.advance(row + 1)
        if cursor.book.is_valid:
            cursor.book.check_not_crossed(now_ns)
        market.on_update(clock_ns)
        mark = self._marks[cursor.instrument]
        if isinstance(mark, BookMark):
            mark.note(cursor.index_of(row))

    def _clock(self, instrument: str, index: int) -> int:
        """Return an instrument's matching clock after the rows before an index."""
        return max(cursor.clock_before_row(cursor.row_at(index)) for cursor in self._matching[instrument])

    def begin_books(self, before: Callable[[Stream], Sequence[Block]]) -> None:
        """Bring every book to where it stood at the start: its last snapshot and the changes since."""
        for stream, cursor in self._cursors.items():
            if isinstance(cursor, BookCursor):
                latest = cursor.begin_with(before(stream))
                market = self._broker.markets[stream.instrument]
                if cursor.is_matching and isinstance(market, DisplayedMarket):
                    market.updated_ns = latest

    def lag_ns(self, instrument: str, index: int) -> int | None:
        """Return how late the last matching row before an index came, received less exchange stamp, if any has."""
        latest, lag = -1, self._lags.get(instrument)
        for cursor in self._matching[instrument]:
            row = cursor.row_at(index) - 1
            if row >= 0 and cursor.index_of(row) > latest:
                latest = cursor.index_of(row)
                lag = _lag_ns(cursor, row)
        return lag

    # Skipped rows -----------------------------------------------------------------------------------------------

    def sync(self, instrument: str, index: int) -> None:
        """Bring a market that rows were skipped of up to date with everything before an index.

        Before the first price of a market that has nothing but prices, the row that brings it stands in: an order
        sent at the very start is judged by the first open or trade.
        """
        market = self._broker.markets[instrument]
        if isinstance(market, CandleMarket):
            self._sync_candles(market, index)
        last_trades = self._last_trades.get(instrument)
        if last_trades is not None:
            market.see(last_trades.before(index))
        if isinstance(market, DisplayedMarket):
            self._sync_display(market, index)
        elif market.last_price is None and self._first_of is not None:
            cursor, row = self._first_of
            market.see(float(cursor.column("price" if cursor.kind == "trade" else "open")[row]))

    def _sync_candles(self, market: CandleMarket, index: int) -> None:
        latest = -1
        for cursor in self._matching[market.instrument.id]:
            row = cursor.row_at(index) - 1
            if row >= 0 and cursor.index_of(row) > latest:
                latest = cursor.index_of(row)
                market.see(float(cursor.column("open" if cursor.kind == "candle_open" else "close")[row]))

    def _sync_display(self, market: DisplayedMarket, index: int) -> None:
        instrument = market.instrument.id
        cursor = self._cursors[self._plan.matching[instrument]]
        rows = cursor.row_at(index)
        if not rows:
            return
        if isinstance(cursor, BookCursor):
            cursor.advance(rows)
        elif isinstance(cursor, TickerCursor) and isinstance(market.display, TickerDisplay):
            market.display.update(*cursor.fields(rows - 1))
        market.updated_ns = self._clock(instrument, cursor.index_of(rows - 1) + 1)

    def refresh(self, index: int, *, held: Collection[str], only: Collection[str] | None = None) -> None:
        """Tell cursors what their instruments' orders wait for now.

        Args:
            index: From where on.
            held: Instruments whose marks matter at present.
            only: The instruments concerned; None for all.
        """
        for instrument in self._matching if only is None else only:
            gate = self._broker.band(instrument)
            if gate.until_ns != NEVER_NS and self._clock(instrument, index) >= gate.until_ns:
                # By the stamps of another kind of row it has arrived already, so the next row of any kind brings it in.
                gate = gate._replace(until_ns=-NEVER_NS)
            market = self._broker.markets[instrument]
            for cursor in self._matching[instrument]:
                if isinstance(cursor, GatedCursor):
                    cursor.arm(gate, index)
                elif isinstance(cursor, BookCursor | TickerCursor):
                    cursor.is_active = (
                        not self._config.search
                        or self._broker.has_inbound(instrument)
                        or (isinstance(market, DisplayedMarket) and market.needs_rows)
                        or (isinstance(self._marks[instrument], BookMark) and instrument in held)
                    )
            if gate == OPEN_BAND:
                self._banded.discard(instrument)
            else:
                self._banded.add(instrument)

    def enter_batch(self, cursors: Collection[StreamCursor], *, held: Collection[str]) -> None:
        """Begin a batch, in which these cursors have rows: close their gates, look at fills whose candle had not come.

        What has no gate and no rows is not touched: a live batch holds a row or two of hundreds of streams.
        """
        waiting, self._waiting_fills = self._waiting_fills, []
        for fill in waiting:
            self.note_volume(fill, 0)
        if self._is_fresh:
            self._is_fresh = False
            self.refresh(0, held=held)
        elif self._banded:
            self.refresh(0, held=held, only=[*self._banded.intersection(cursor.instrument for cursor in cursors)])

    def leave_batch(self, index: int, cursors: Collection[StreamCursor]) -> None:
        """Keep of a batch that ends, in which these cursors had rows, what the next one needs."""
        last: dict[str, StreamCursor] = {}
        for cursor in cursors:
            if cursor.is_matching and cursor.rows:
                other = last.get(cursor.instrument)
                if other is None or cursor.positions[-1] > other.positions[-1]:
                    last[cursor.instrument] = cursor
        for cursor in cursors:
            self._check_steps(cursor, cursor.rows)
        for instrument, cursor in last.items():
            self._lags[instrument] = _lag_ns(cursor, cursor.rows - 1)
            if self._plan.matching[instrument].kind != "trade":
                self.sync(instrument, index)

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Let go of the rows of a batch that has ended, before its cursors are given the next ones.

        Between the two, time may pass and orders may ask for what these rows said.
        """
        for cursor in cursors:
            for mark in self._marks_of.get(cursor.stream, ()):
                mark.leave_batch()

    # Steps ------------------------------------------------------------------------------------------------------

    def check_steps(self, instrument: str, index: int) -> None:
        """Hold an instrument's rows before an index against the price step of now, since it changes there."""
        for cursor in self._matching[instrument]:
            if cursor.rows:
                self._check_steps(cursor, cursor.row_at(index))

    def check_all_steps(self, index: int) -> None:
        """Hold what was seen of a batch that the run has not come to the end of against the price steps."""
        for instrument in self._matching:
            self.check_steps(instrument, index)

    def _check_steps(self, cursor: StreamCursor, row: int) -> None:
        """Count the rows before `row` with a price off the step, of those that orders are matched on."""
        first, cursor.checked = cursor.checked, max(row, cursor.checked)
        if row <= first or not cursor.is_matching or cursor.kind == "candle_open":
            return
        instrument = self._broker.markets[cursor.instrument].instrument
        if isinstance(cursor, BookCursor):
            rows, step, tick = cursor.book_rows, instrument.price_step, cursor.book.instrument.tick
            # A book whose grid is the step itself has nothing off it.
            off = 0 if tick == step else rows.off_step(first, row, int(Fraction(step) / Fraction(tick)))
        elif row - first <= _FEW_ROWS and cursor.block is not None and cursor.block.given:
            names = _PRICES[cursor.kind]
            off = sum(
                any((price := getattr(event, name)) is not None and instrument.is_off_step(price) for name in names)
                for event in cursor.block.given[first:row]
            )
        else:
            off_rows = [instrument.off_step(cursor.column(name)[first:row]) for name in _PRICES[cursor.kind]]
            off = int(np.logical_or.reduce(off_rows).sum())
        if off:
            self._off_step[cursor.stream] = self._off_step.get(cursor.stream, 0) + off
        self._checked[cursor.stream] = self._checked.get(cursor.stream, 0) + row - first

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

    def note_volume(self, fill: Fill, index: int) -> None:
        """Compare a fill on candles or trades with the volume of its row, which does not cap it."""
        stream = self._plan.matching[fill.instrument]
        if stream.kind not in ("candle", "trade"):
            return
        cursor = self._cursors[stream]
        row = cursor.row_at(index)
        if row < cursor.rows:
            volume = float(cursor.column("volume" if stream.kind == "candle" else "qty")[row])
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
