"""What the exchange keeps of one instrument: its market, the streams that it is matched on, and messages to it."""

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import ClassVar, Final

from quantkit.brokers.simulated.expiries import Expiry
from quantkit.brokers.simulated.mark_stream import MarkStream
from quantkit.brokers.simulated.market import Market
from quantkit.brokers.simulated.order_message import OrderMessage
from quantkit.brokers.simulated.price_band import OPEN_BAND
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.brokers.simulated.traded import CandleMarket, TradeMarket
from quantkit.clock import NEVER_NS
from quantkit.events import Candle
from quantkit.instruments import Side
from quantkit.latency import Travel
from quantkit.orders import TriggerType
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.marks import MarkSource

_SIDES: Final = (Side.BUY, Side.SELL)
_OHLC: Final = ("open", "high", "low", "close")


class Listing(ABC):
    """One instrument at the exchange.

    Args:
        market: Its working orders.
        streams: Those that it is matched on; of a display, the display's own comes first.
        travel: How long messages to it and its answers take.
        follows_rows: Whether every row is looked at, not only those that can concern an order.

    Attributes:
        marks: The stream of its mark price and index; None where the run has none.
        searched: The streams whose rows may matter: those that it is matched on, and `marks`.
        expiries: The ends to come of orders here, a heap; those of orders that are over are dropped in their turn.
        queue: Messages under way, in the order of sending: none overtakes another.
        arrived_ns: When the last message sent to it arrives; none arrives before one that was sent earlier.
        told_ns: When the last answer that was drawn is due; none overtakes another.
        protected_ns: When the protection of the last fill comes into force; none overtakes another.
        row_begun: The row whose arrivals are being processed, with its stream.
        lag_before_ns: How late the last matching row before this batch came, received less exchange stamp; None without
            one.
    """

    #: Whether its market is brought up to date at the end of a batch with rows; else it is when it has to be.
    syncs_at_ends: ClassVar[bool] = True

    def __init__(
        self, market: Market, streams: Sequence[MatchingStream], *, travel: Travel, follows_rows: bool = False
    ) -> None:
        self.id = market.instrument.id
        self.market = market
        self.streams = streams
        self.marks: MarkStream | None = None
        self.searched: Sequence[MatchingStream] = streams
        self.expiries: list[Expiry] = []
        self.travel = travel
        self.queue: deque[OrderMessage] = deque()
        self.arrived_ns = self.told_ns = self.protected_ns = -NEVER_NS
        self.row_begun: tuple[MatchingStream, int] | None = None
        self.lag_before_ns: int | None = None
        self._follows_rows = follows_rows

    # How far the rows have come -------------------------------------------------------------------------------------

    def clock_ns(self, index: int) -> int:
        """Return the matching clock after the rows before an index."""
        return max([stream.clock_before(stream.row_at(index)) for stream in self.streams])

    def last_row(self, index: int) -> tuple[MatchingStream, int] | None:
        """Return the last matching row before an index, with its stream; None without one in this batch."""
        latest, found = -1, None
        for stream in self.streams:
            row = stream.row_at(index) - 1
            if row >= 0:
                position = stream.cursor.places[row]
                if position > latest:
                    latest, found = position, (stream, row)
        return found

    def lag_ns(self, index: int) -> int | None:
        """Return how late the last matching row before an index came, received less exchange stamp; None without one.

        A row of this batch, or else of an earlier one.
        """
        if len(self.streams) == 1:
            stream = self.streams[0]
            row = stream.row_at(index) - 1
            if row < 0:
                return self.lag_before_ns
        else:
            last = self.last_row(index)
            if last is None:
                return self.lag_before_ns
            stream, row = last
        assert stream.cursor.block is not None
        received_ns, exchange_ns = stream.cursor.block.stamps_of(row)
        return received_ns - exchange_ns

    def leave_batch(self, index: int) -> None:
        """Keep of a batch that ends, in which there were matching rows, what the next one needs."""
        self.lag_before_ns = self.lag_ns(index)
        if self.syncs_at_ends:
            self.sync(index)

    def follow_rows(self, index: int) -> None:
        """Look at every row from an index on."""
        self.sync(index)
        self._follows_rows = True

    # The next row that matters ----------------------------------------------------------------------------------------

    def arm(self, index: int) -> bool:
        """Let the streams search, from an index on, for the next row that matters; return whether any may."""
        market, queue = self.market, self.queue
        if self._follows_rows:
            for stream in self.streams:
                stream.follow(index)
            return True
        if not (market.orders or queue):
            for stream in self.streams:
                stream.rest()
            return False
        band = market.band() if market.orders else OPEN_BAND
        arrival_ns = self.arrival_ns(index) if queue or self.expiries else NEVER_NS
        for stream in self.streams:
            stream.arm(band, arrival_ns, index)
        return True

    def watch_marks(self, marks: MarkStream) -> None:
        """Let rows of the mark price and the index set orders off, too."""
        self.marks = marks
        self.searched = [*self.streams, marks]

    def arm_marks(self, marks: MarkStream, index: int) -> None:
        """Let the stream of marks search, from an index on, for the next row that may set an order off."""
        bands = self.market.mark_bands()
        if not (bands or self._brings_marks()):
            marks.rest()
        elif self._follows_rows:
            marks.follow(index)
        else:
            arrives_ns = self.queue[0].arrives_ns if self.queue else NEVER_NS
            if self.expiries and (expiry := self.next_expiry()) is not None:
                arrives_ns = min(arrives_ns, expiry.expire_ns)
            marks.watch(bands, arrives_ns, index)

    def goes_by_marks(self) -> bool:
        """Whether an order here or on its way waits for the mark price or the index: its rows then show arrivals."""
        return bool(self.market.mark_bands()) or self._brings_marks()

    def _brings_marks(self) -> bool:
        """Whether a message on its way is of an order that waits for the mark price or the index."""
        return any(message.brings_marks for message in self.queue) if self.queue else False

    def apply_mark(self, marks: MarkStream, row: int, index: int) -> None:
        """Let a row of the mark price or the index set orders off."""
        type_, price, at_ns = marks.price_of(row)
        if type_ is not None and self.market.is_watching(type_):
            self.sync(index)
            self.market.on_mark(type_, price, at_ns)

    def lack_of_index(self) -> str:
        """Return a line on orders that wait for an index of which no row has come; empty without such orders."""
        watched = self.market.watched
        waiting = [
            order.id
            for order in self.market.orders
            if order.trigger is not None and order.trigger.type is TriggerType.INDEX
        ]
        if not waiting or watched is None or watched.standing(TriggerType.INDEX) is not None:
            return ""
        return (
            f"{self.id}: no row of the index came, so {len(waiting)} orders that waited for it, such as {waiting[0]}, "
            "could not go off; record the index, or use trigger_type mark"
        )

    def next_expiry(self) -> Expiry | None:
        """Return the next end of an order's time; those of orders that are over are dropped."""
        expiries = self.expiries
        while expiries and expiries[0].order.state.is_final:
            heapq.heappop(expiries)
        return expiries[0] if expiries else None

    def arrival_ns(self, index: int) -> int:
        """Return when the next message arrives, or the next order ends; a row from then on matters."""
        arrives_ns = self.queue[0].arrives_ns if self.queue else NEVER_NS
        if self.expiries and (expiry := self.next_expiry()) is not None:
            arrives_ns = min(arrives_ns, expiry.expire_ns)
        if arrives_ns == NEVER_NS:
            return NEVER_NS
        if len(self.streams) > 1 and self.clock_ns(index) >= arrives_ns:
            # By the stamps of another kind of row it has arrived already, so the next row of any kind brings it in.
            return -NEVER_NS
        return arrives_ns

    # Rows -------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:  # noqa: B027
        """Begin to trade."""

    @abstractmethod
    def sync(self, index: int) -> None:
        """Bring the market up to date with the rows before an index, which may have been skipped.

        Before the first price of a market that has nothing but prices, the row that brings it stands in: an order
        sent at the very start is valued and judged by the first open or trade. A trigger waits for that trade itself.
        """

    def begin_row(self, stream: MatchingStream, row: int, index: int) -> int:
        """Show a row to what arrives by it, and return the matching clock that it moves on."""
        self.row_begun = stream, row
        return stream.clock_before(row + 1) if len(self.streams) == 1 else self.clock_ns(index + 1)

    @abstractmethod
    def apply_row(self, stream: MatchingStream, row: int, clock_ns: int) -> None:
        """Let a row fill what rests."""


class TradeListing(Listing):
    """An instrument whose orders are matched on its trades alone."""

    market: TradeMarket
    syncs_at_ends = False

    def __init__(
        self,
        market: TradeMarket,
        stream: GatedStream,
        last_trades: MarkSource,
        *,
        travel: Travel,
        follows_rows: bool = False,
    ) -> None:
        super().__init__(market, [stream], travel=travel, follows_rows=follows_rows)
        self._stream = stream
        self._last_trades = last_trades

    def sync(self, index: int) -> None:
        price = self._last_trades.before(index)
        self.market.has_traded = price is not None
        if price is None and self.row_begun is not None:
            stream, row = self.row_begun
            price = float(stream.cursor.column("price")[row])
        self.market.see(price)

    def leave_batch(self, index: int) -> None:
        super().leave_batch(index)
        if self.market.past is not None:
            self.market.past.leave_rows()

    def apply_row(self, stream: MatchingStream, row: int, clock_ns: int) -> None:
        self.row_begun = None
        past = self.market.past
        if past is not None:
            past.advance(row)
            past.close_before(clock_ns)
        market, (prices, _) = self.market, self._stream.prices or self._stream.read_prices()
        qty, side = print_of(stream.cursor, row) if market.is_sided else (0.0, Side.BUY)
        stamps = self._stream.stamps or self._stream.read_stamps()
        market.on_trade(float(prices[row]), qty, side, clock_ns, stamps[row])


class CandleListing(Listing):
    """An instrument whose orders are matched on its candles alone: on their opens, then on their ranges."""

    market: CandleMarket

    def sync(self, index: int) -> None:
        last = self.last_row(index)
        if last is not None:
            column, row = last[0].cursor.column, last[1]
            if last[0].cursor.kind == "candle_open":
                self.market.see_open(float(column("open")[row]), int(column("open_ns")[row]), self.clock_ns(index))
                if self.market.past is not None:
                    self.market.past.advance(self.streams[0].row_at(index))
            else:
                self.market.see_close(float(column("close")[row]))
        if self.market.last_price is None and self.row_begun is not None:
            stream, row = self.row_begun
            self.market.see(float(stream.cursor.column("open")[row]))

    def begin_row(self, stream: MatchingStream, row: int, index: int) -> int:
        if stream.cursor.kind == "candle_open":
            self.market.begin_open(float(stream.cursor.column("open")[row]))
        if self.market.past is not None:
            self.market.past.advance(self.streams[0].row_at(index))
        return super().begin_row(stream, row, index)

    def leave_batch(self, index: int) -> None:
        super().leave_batch(index)
        if self.market.past is not None:
            self.market.past.leave_rows()

    def see_candle(self, candle: Candle) -> None:
        """Take note of a candle of the warm-up: by its close an order of the very start is valued."""
        self.market.see(candle.close)
        if self.market.past is not None and candle.interval == self.streams[0].cursor.stream.interval:
            self.market.past.see(candle)

    def apply_row(self, stream: MatchingStream, row: int, clock_ns: int) -> None:
        self.row_begun = None
        market, column = self.market, stream.cursor.column
        market.end_open()
        if stream.cursor.kind == "candle_open":
            market.on_open(float(column("open")[row]), clock_ns, open_ns=int(column("open_ns")[row]))
            return
        open_, high, low, close = [float(column(name)[row]) for name in _OHLC]
        open_ns, volume = int(column("open_ns")[row]), float(column("volume")[row])
        market.on_range(open_, high, low, close, clock_ns, open_ns=open_ns, volume=volume)


def print_of(cursor: StreamCursor, row: int) -> tuple[float, Side]:
    """Return a trade's size and side, which are decoded only where they decide something."""
    return float(cursor.column("qty")[row]), _SIDES[int(cursor.column("side")[row])]
