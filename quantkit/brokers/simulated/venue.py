"""The simulated exchange's side of the rows: which of them reach its markets, and markets kept up to date."""

from collections.abc import Collection
from typing import Final

from quantkit.brokers.base import Agenda, BrokerSetup
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.gates import OPEN_BAND, PriceBand
from quantkit.brokers.simulated.market import CandleMarket, ExecutionListener, Market, TradeMarket
from quantkit.brokers.simulated.messages import MessageQueue
from quantkit.brokers.simulated.off_step import StepChecks
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.clock import NEVER_NS
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor
from quantkit.rows.marks import MarkSource
from quantkit.rows.position import RunPosition

_SIDES: Final = (Side.BUY, Side.SELL)
_OHLC: Final = ("open", "high", "low", "close")
_GATED: Final = ("trade", "candle", "candle_open")


class Listing:
    """One instrument at the exchange: its market, and the streams that it is matched on.

    Attributes:
        main: The stream that decides the market.
        last_trades: The last trade's price, where trades are among the streams.
        lag_ns: How late the last matching row before this batch came, received less exchange stamp; None without one.
    """

    __slots__ = ("id", "lag_ns", "last_trades", "main", "market", "streams")

    def __init__(
        self,
        market: Market,
        streams: list[MatchingStream],
        main: MatchingStream,
        last_trades: MarkSource | None,
    ) -> None:
        self.id = market.instrument.id
        self.market = market
        self.streams = streams
        self.main = main
        self.last_trades = last_trades
        self.lag_ns: int | None = None

    def clock_ns(self, index: int) -> int:
        """Return the matching clock after the rows before an index."""
        return max(stream.clock_before_row(stream.cursor.row_at(index)) for stream in self.streams)


class SimulatedVenue:
    """Runs matching rows through the markets, or past them where nothing can happen.

    Args:
        setup: The run's.
        options: How orders fill.
        markets: Gets a market for every instrument.
        messages: Under way.
        listener: Told by the markets.
        agenda: Gets the next stop.
    """

    def __init__(
        self,
        setup: BrokerSetup,
        options: RunOptions,
        *,
        markets: dict[str, Market],
        messages: MessageQueue,
        listener: ExecutionListener,
        agenda: Agenda,
    ) -> None:
        self._agenda = agenda
        self._position: RunPosition = setup.position
        self._options = options
        self._messages = messages
        self._listings: dict[str, Listing] = {}
        self._streams: dict[Stream, tuple[Listing, MatchingStream]] = {}
        self._own_sources: dict[Stream, MarkSource] = {}  # prices of last trades that value nothing
        self._banded: set[str] = set()  # instruments that have orders or messages under way
        self._is_fresh = True
        self._row: tuple[Listing, MatchingStream, int] | None = None  # whose arrivals are being processed
        self._steps = StepChecks()
        for instrument in setup.instruments.values():
            listing = self._list(setup, instrument, listener)
            markets[instrument.id] = listing.market
        self._stopping = list(self._streams.values())

    def _list(self, setup: BrokerSetup, instrument: Instrument, listener: ExecutionListener) -> Listing:
        name, own = instrument.id, setup.matching[instrument.id]
        cursors = [
            cursor
            for stream, cursor in setup.cursors.items()
            if stream.instrument == name and _is_matching(stream, own, has_trades=setup.has_trades[name])
        ]
        by_stream = {cursor.stream: self._matching_stream(cursor) for cursor in cursors}
        mark, last_trades = setup.marks.sources[name], None
        for stream, matching in by_stream.items():
            if stream.kind == "trade":
                if isinstance(mark, MarkSource) and mark.cursor is matching.cursor:
                    last_trades = mark
                else:
                    last_trades = self._own_sources[stream] = MarkSource(matching.cursor, "trade")
        market = self._market(instrument, setup, setup.cursors[own], listener)
        listing = Listing(market, list(by_stream.values()), by_stream[own], last_trades)
        self._listings[name] = listing
        for stream, matching in by_stream.items():
            self._streams[stream] = listing, matching
        return listing

    def _matching_stream(self, cursor: StreamCursor) -> MatchingStream:
        if cursor.kind in _GATED:
            return GatedStream(cursor, every_row=not self._options.search)
        return MatchingStream(cursor)

    def _market(
        self, instrument: Instrument, setup: BrokerSetup, cursor: StreamCursor, listener: ExecutionListener
    ) -> Market:
        options = self._options
        if cursor.kind == "candle":
            return CandleMarket(instrument, listener, slippage_bps=options.slippage_bps)
        if cursor.kind == "trade":
            return TradeMarket(instrument, listener, touch=options.touch, slippage_bps=options.slippage_bps)
        is_book = isinstance(cursor, BookCursor)
        return DisplayedMarket(
            instrument,
            listener,
            BookDisplay(cursor.book, instrument) if isinstance(cursor, BookCursor) else TickerDisplay(instrument),
            stale_after_ns=options.stale_after_ns,
            has_trades=setup.has_trades[instrument.id],
            excess_slippage_bps=None if is_book else options.excess_slippage_bps,
        )

    def begin(self) -> None:
        """Begin to trade; books stand as they stood at the start."""
        for listing in self._listings.values():
            market, cursor = listing.market, listing.main.cursor
            if isinstance(market, DisplayedMarket) and isinstance(cursor, BookCursor):
                market.updated_ns = cursor.begun_ns

    # Rows -----------------------------------------------------------------------------------------------------

    def search_on(self, index: int) -> None:
        """Search for the next row at or after an index that may matter."""
        stop, is_hit, found = NOWHERE, False, None
        for _, stream in self._stopping:
            at, hit = stream.next_stop(index)
            if at < stop:
                stop, is_hit, found = at, hit, stream.cursor
        self._agenda.stop, self._agenda.cursor = stop, found if is_hit else None

    def open_row(self, cursor: StreamCursor, index: int) -> int:
        """Show a row to what arrives by it, and return the matching clock that the row moves on."""
        listing, stream = self._streams[cursor.stream]
        row = cursor.row_at(index)
        if cursor.kind == "candle_open":
            listing.market.opening = float(cursor.column("open")[row])
        self._row = listing, stream, row
        return listing.clock_ns(index + 1)

    def apply_row(self, clock_ns: int) -> None:
        """Let the row that has been opened fill what rests."""
        assert self._row is not None
        listing, stream, row = self._row
        market, cursor = listing.market, stream.cursor
        self._row = market.opening = None
        match market:
            case TradeMarket():
                qty, side = _print(cursor, row) if market.touch else (0.0, Side.BUY)
                market.on_trade(float(cursor.column("price")[row]), qty, side, clock_ns)
            case CandleMarket() if cursor.kind == "candle_open":
                market.on_open(float(cursor.column("open")[row]), clock_ns)
            case CandleMarket():
                open_, high, low, close = (float(cursor.column(name)[row]) for name in _OHLC)
                market.on_range(open_, high, low, close, clock_ns, open_ns=int(cursor.column("open_ns")[row]))
            case DisplayedMarket() if isinstance(cursor, BookCursor):
                self._update_book(market, cursor, row, clock_ns)
            case DisplayedMarket() if isinstance(market.display, TickerDisplay) and cursor.kind == "ticker":
                market.display.update(*_ticker(cursor, row))
                market.on_update(clock_ns)
            case _:
                assert isinstance(market, DisplayedMarket)
                qty, side = _print(cursor, row) if market.orders else (0.0, Side.BUY)
                market.on_trade(float(cursor.column("price")[row]), qty, side, clock_ns)

    def _update_book(self, market: DisplayedMarket, cursor: BookCursor, row: int, clock_ns: int) -> None:
        cursor.advance(row)
        if market.taken:
            market.before_update(cursor.book_rows.named_levels(row))
        cursor.advance(row + 1)
        if cursor.book.is_valid:
            cursor.book.check_not_crossed(self._position.now_ns)
        market.on_update(clock_ns)

    def lag_ns(self, instrument: str) -> int | None:
        """Return how late the last matching row so far came, received less exchange stamp; None without one."""
        index, listing = self._position.index, self._listings[instrument]
        latest, lag = -1, listing.lag_ns
        for stream in listing.streams:
            row = stream.cursor.row_at(index) - 1
            if row >= 0 and stream.cursor.index_of(row) > latest:
                latest = stream.cursor.index_of(row)
                lag = stream.lag_ns(row)
        return lag

    # Skipped rows -----------------------------------------------------------------------------------------------

    def sync(self, instrument: str) -> None:
        """Bring a market with skipped rows up to date.

        Before the first price of a market that has nothing but prices, the row that brings it stands in: an order
        sent at the very start is judged by the first open or trade.
        """
        listing, index = self._listings[instrument], self._position.index
        market = listing.market
        if isinstance(market, CandleMarket):
            self._sync_candles(listing, index)
        if listing.last_trades is not None:
            market.see(listing.last_trades.before(index))
        if isinstance(market, DisplayedMarket):
            self._sync_display(listing, market, index)
        elif market.last_price is None and self._row is not None:
            _, stream, row = self._row
            market.see(float(stream.cursor.column("price" if stream.cursor.kind == "trade" else "open")[row]))

    @staticmethod
    def _sync_candles(listing: Listing, index: int) -> None:
        latest = -1
        for stream in listing.streams:
            cursor = stream.cursor
            row = cursor.row_at(index) - 1
            if row >= 0 and cursor.index_of(row) > latest:
                latest = cursor.index_of(row)
                column = "open" if cursor.kind == "candle_open" else "close"
                listing.market.see(float(cursor.column(column)[row]))

    @staticmethod
    def _sync_display(listing: Listing, market: DisplayedMarket, index: int) -> None:
        cursor = listing.main.cursor
        rows = cursor.row_at(index)
        if not rows:
            return
        if isinstance(cursor, BookCursor):
            cursor.advance(rows)
        else:
            assert isinstance(market.display, TickerDisplay)
            market.display.update(*_ticker(cursor, rows - 1))
        market.updated_ns = listing.clock_ns(cursor.index_of(rows - 1) + 1)

    def band(self, instrument: str) -> PriceBand:
        """Return the band in which no trade or candle concerns the orders, and until when nothing arrives."""
        band, arrives_ns = self._listings[instrument].market.band(), self._messages.first_arrival_ns(instrument)
        return band if arrives_ns is None else PriceBand(band.low, band.high, arrives_ns)

    def rearm(self, instruments: Collection[str]) -> None:
        """Look anew at what orders wait for, from the present position on."""
        for name in sorted(instruments):
            self._rearm(self._listings[name])
        self.search_on(self._position.index)

    def _rearm(self, listing: Listing) -> None:
        name, market, index = listing.id, listing.market, self._position.index
        band = self.band(name)
        if band.until_ns != NEVER_NS and listing.clock_ns(index) >= band.until_ns:
            # By the stamps of another kind of row it has arrived already, so the next row of any kind brings it in.
            band = band._replace(until_ns=-NEVER_NS)
        for stream in listing.streams:
            if isinstance(stream, GatedStream):
                stream.arm(band, index)
            else:
                stream.is_active = (
                    not self._options.search
                    or not self._messages.is_empty(name)
                    or (isinstance(market, DisplayedMarket) and market.needs_rows)
                )
        if band == OPEN_BAND:
            self._banded.discard(name)
        else:
            self._banded.add(name)

    # Batches ------------------------------------------------------------------------------------------------------

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch, in which these cursors have rows: arm their streams.

        What waits for nothing and has no rows is not touched: a live batch holds a row or two of hundreds of streams.
        """
        for cursor in cursors:
            found = self._streams.get(cursor.stream)
            if found is not None:
                found[1].enter_rows()
        if self._is_fresh:
            self._is_fresh = False
            self.rearm(self._listings)
        elif self._banded:
            for name in self._banded.intersection(cursor.instrument for cursor in cursors):
                self._rearm(self._listings[name])
        self.search_on(0)

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Keep of a batch that ends, in which these cursors had rows, what the next one needs."""
        last: dict[str, MatchingStream] = {}
        for cursor in cursors:
            found = self._streams.get(cursor.stream)
            if found is not None and cursor.rows:
                listing, stream = found
                other = last.get(listing.id)
                if other is None or cursor.positions[-1] > other.cursor.positions[-1]:
                    last[listing.id] = stream
                self._steps.check(stream, cursor.rows, listing.market.instrument)
        for name, stream in last.items():
            listing = self._listings[name]
            listing.lag_ns = stream.lag_ns(stream.cursor.rows - 1)
            if listing.main.cursor.kind != "trade":
                self.sync(name)

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Let go of the rows of a batch that has ended, before its cursors are given the next ones."""
        for cursor in cursors:
            found = self._streams.get(cursor.stream)
            if found is not None:
                found[1].leave_rows()
            source = self._own_sources.get(cursor.stream)
            if source is not None:
                source.leave_batch()

    # Steps ------------------------------------------------------------------------------------------------------

    def check_steps(self, instrument: str) -> None:
        """Hold an instrument's rows so far against the price step of now, since it changes or the run ends."""
        listing, index = self._listings[instrument], self._position.index
        for stream in listing.streams:
            if stream.cursor.rows:
                self._steps.check(stream, stream.cursor.row_at(index), listing.market.instrument)

    def step_notes(self) -> list[str]:
        """Return a sentence for every stream that had prices off the step."""
        for name in self._listings:
            self.check_steps(name)
        return self._steps.notes({name: listing.market.instrument for name, listing in self._listings.items()})


def _is_matching(stream: Stream, own: Stream, *, has_trades: bool) -> bool:
    if stream == own or stream == own._replace(kind="candle_open"):
        return True
    return own.kind in ("book", "ticker") and stream.kind == "trade" and has_trades


def _print(cursor: StreamCursor, row: int) -> tuple[float, Side]:
    """Return a trade's size and side, which are decoded only where they decide something."""
    return float(cursor.column("qty")[row]), _SIDES[int(cursor.column("side")[row])]


def _ticker(cursor: StreamCursor, row: int) -> tuple[float | None, float | None, float | None, float | None]:
    """Return bid, bid_qty, ask and ask_qty of a row, None where the source had nothing."""
    values = (float(cursor.column(name)[row]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
    bid, bid_qty, ask, ask_qty = (None if value != value else value for value in values)
    return bid, bid_qty, ask, ask_qty
