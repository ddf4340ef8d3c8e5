"""The checkers: what a client delivered, compared row by row with what the model exchange knows to be true."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from simulation.sim_market import BAR_MS, MS, Levels, Print

from quantkit.events import BookUpdate, Candle, Gap, Mark, Ticker, Trade
from quantkit.feeds.okx.codec.decode import FormingCandle
from quantkit.feeds.okx.tracker.records import FrameRecord, Lost, Record, pack, pack_frame, unpack
from quantkit.feeds.okx.tracker.tracker import Tracker

_KINDS: Final[dict[Any, str]] = {
    BookUpdate: "book",
    Trade: "trade",
    Ticker: "ticker",
    Mark: "mark",
    Candle: "candle 1m",
    Gap: "gap",
}
#: How the causes of ends begin that the client itself decided on.
_WANTED_ENDS: Final = ("replaced by", "no subscriptions left")
#: For how long rows of which each replaces the one before may be missing around a handover without a gap: a connection
#: that is silent for longer is suspected, and its end is an outage.
_HANDOVER_NS: Final = 16_000_000_000
#: How long after its announcement a connection is closed at the latest.
_NOTICE_NS: Final = 65_000_000_000


class TapeList:
    """A tape in memory.

    Attributes:
        payloads: The packed frames and records.
        losses: Every loss of a connection, those aside that the client wanted.
    """

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.losses: list[Lost] = []

    def frame(self, connection: int, received_ns: int, data: bytes) -> None:
        """Keep a frame."""
        self.payloads.append(pack_frame(connection, received_ns, data))

    def record(self, event: Record) -> None:
        """Keep a record."""
        if isinstance(event, Lost) and not event.cause.startswith(_WANTED_ENDS):
            self.losses.append(event)
        self.payloads.append(pack(event))

    def records(self) -> list[FrameRecord | Record]:
        """Return everything on the tape."""
        return [unpack(payload) for payload in self.payloads]

    def replayed(self) -> list[Any]:
        """Return what a fresh tracker delivers from this tape."""
        tracker, events = Tracker(), []
        for record in self.records():
            if isinstance(record, FrameRecord):
                events += tracker.frame(record.connection, record.received_ns, record.data)
            else:
                events += tracker.record(record)
        return events


class _Stream:
    """What was delivered of one stream so far."""

    def __init__(self) -> None:
        self.has_begun = False
        self.gaps: list[Gap] = []  # since the last row
        self.last = 0  # the last row's exchange stamp in ms, or trade id, or bar open in ms
        self.rows = 0
        self.received_ns = 0


class Truth(Protocol):
    """What an exchange knows of one instrument; see `SimMarket`."""

    books: dict[tuple[int, int], Levels]
    unasked: set[tuple[int, int]]
    restated: set[int]
    quotes: list[int]
    marks: list[int]
    bars: dict[int, list[str]]

    def print_of(self, trade_id: int) -> Print | None:
        """Return the trade of an id."""
        ...


class Witness:
    """Checks every delivered event as it comes; what is wrong is kept in `errors`, never raised.

    Args:
        truths: By instrument.

    Attributes:
        errors: One line for each wrong book, lost, repeated or reordered row, unreported or repeated gap.
        gaps: Every gap, in order.
        books_checked: How many whole books were compared.
    """

    def __init__(self, truths: Mapping[str, Truth]) -> None:
        self._truths = truths
        self.errors: list[str] = []
        self.gaps: list[Gap] = []
        self.books_checked = 0
        self.counts: Counter[str] = Counter()
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._books: dict[str, Levels] = {}
        self._book_seq: dict[str, tuple[int, int]] = {}
        self._received_ns = 0
        #: When a connection was announced to close, UTC ns. While two of them bring a stream of which each row
        #: replaces the one before, neither brings every row.
        self.handovers_ns: list[int] = []

    def see(self, events: Iterable[Any]) -> None:
        """Check events in the order of their delivery."""
        for event in events:
            self.counts[type(event).__name__] += 1
            received_ns = getattr(event, "received_ns", None)
            if received_ns is not None:
                if received_ns < self._received_ns:
                    self._wrong(event, f"received before {self._received_ns}, which was delivered earlier")
                self._received_ns = received_ns
            if type(event) in _KINDS:
                self._market_event(event)
            elif type(event) is FormingCandle:
                self._forming(event.candle)

    def is_valid(self, instrument: str) -> bool:
        """Return whether the instrument's book can be used now."""
        return instrument in self._books

    def seq(self, instrument: str) -> int:
        """Return the number of the last update of a book."""
        return self._book_seq[instrument][0]

    def rows(self, kind: str, instrument: str) -> int:
        """Return how many rows of a stream were delivered."""
        return self._stream(kind, instrument).rows

    def _market_event(self, event: Any) -> None:
        kind = _KINDS[type(event)]
        market = self._truths.get(event.instrument)
        if market is None:
            self._wrong(event, "an instrument that nobody subscribed")
            return
        match event:
            case Gap():
                self._gap(event)
                return
            case BookUpdate():
                self._book(event, market)
            case Trade():
                self._trade(event, market)
            case Ticker():
                self._latest(event, kind, market.quotes)
            case Mark():
                self._latest(event, kind, market.marks)
            case Candle():
                self._candle(event, market)
        stream = self._stream(kind, event.instrument)
        stream.has_begun = True
        stream.rows += 1
        stream.received_ns = event.received_ns
        stream.gaps.clear()

    def _stream(self, kind: str, instrument: str) -> _Stream:
        return self._streams.setdefault((kind, instrument), _Stream())

    def _wrong(self, event: Any, text: str) -> None:
        self.errors.append(f"{text}: {str(event)[:300]}")

    # Each kind ---------------------------------------------------------------------------------------------------

    def _gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        if gap.channel not in _KINDS.values():
            self._wrong(gap, "a gap of an unknown channel")
        if not gap.from_ns <= gap.to_ns or not gap.cause:
            self._wrong(gap, "a gap that ends before it begins, or without a cause")
        stream = self._stream(gap.channel, gap.instrument)
        if stream.gaps and gap.channel != "candle 1m":
            self._wrong(gap, f"an outage reported twice, first as {stream.gaps[-1].cause!r}")
        stream.gaps.append(gap)
        if gap.channel == "book":
            self._books.pop(gap.instrument, None)

    def _book(self, event: BookUpdate, market: Truth) -> None:
        key = (event.seq, event.exchange_ns // MS)
        book, last = self._books.get(event.instrument), self._book_seq.get(event.instrument)
        if event.is_snapshot:
            if book is not None and key not in market.unasked and not self._is_handover():
                self._wrong(event, f"a snapshot replaces a valid book at {last} without a gap")
            if book is not None and last is not None and key[1] <= last[1]:
                self._wrong(event, f"a snapshot that is not newer than the book at {last}")
            book = Levels({}, {})
        elif book is None:
            self._wrong(event, "an update of an invalid book")
            return
        elif last is not None and (event.prev_seq != last[0] or key == last):
            self._wrong(event, f"an update that does not follow {last}")
        for levels, prices, sizes in (
            (book.bids, event.bid_prices, event.bid_qtys),
            (book.asks, event.ask_prices, event.ask_qtys),
        ):
            for price, size in zip(prices, sizes, strict=True):
                levels[price] = size
                if not size:
                    del levels[price]
        self._books[event.instrument], self._book_seq[event.instrument] = book, key
        self.books_checked += 1
        if market.books.get(key) != book:
            self._wrong(event, "a wrong book")

    def _trade(self, trade: Trade, market: Truth) -> None:
        found = market.print_of(trade.trade_id)
        if found is None or (found.price, found.qty, found.ts_ms) != (trade.price, trade.qty, trade.exchange_ns // MS):
            self._wrong(trade, "a trade that never was")
            return
        stream = self._stream("trade", trade.instrument)
        if stream.has_begun and found.first_id <= stream.last:
            self._wrong(trade, f"a trade repeated or out of order after {stream.last}")
        elif stream.has_begun and found.first_id > stream.last + 1 and not stream.gaps:
            self._wrong(trade, f"trades {stream.last + 1} to {found.first_id - 1} lost without a gap")
        stream.last = found.last_id

    def _latest(self, event: Ticker | Mark, kind: str, stamps: Sequence[int]) -> None:
        stream, stamp_ms = self._stream(kind, event.instrument), event.exchange_ns // MS
        place = _place(stamps, stamp_ms)
        if place is None:
            self._wrong(event, "a row that never was")
            return
        if stream.has_begun:
            skipped = place - stream.last - 1
            # A subscription begins with the present state, even one that is known from before the outage.
            if skipped < (-1 if stream.gaps or stamp_ms in self._truths[event.instrument].restated else 0):
                self._wrong(event, f"a row repeated or out of order, {-skipped} back")
            elif skipped > 0 and not stream.gaps and not self._is_handover(event.received_ns - stream.received_ns):
                self._wrong(event, f"{skipped} rows lost without a gap")
        stream.last = place

    def _forming(self, candle: Candle) -> None:
        """Note that from the first bar that was seen open on, every bar is owed."""
        stream = self._stream("candle 1m", candle.instrument)
        if not stream.has_begun:
            stream.has_begun, stream.last = True, candle.open_ns // MS - BAR_MS

    def _candle(self, candle: Candle, market: Truth) -> None:
        open_ms = candle.open_ns // MS
        row = market.bars.get(open_ms)
        given = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        if row is None or tuple(map(float, row[1:6])) != given:
            self._wrong(candle, f"a bar that never was; the exchange has {row}")
            return
        stream = self._stream("candle 1m", candle.instrument)
        if stream.has_begun:
            missing = [stream.last + BAR_MS * n for n in range(1, (open_ms - stream.last) // BAR_MS)]
            if open_ms <= stream.last:
                self._wrong(candle, "a bar repeated or out of order")
            elif any(not _covers(stream.gaps, at_ms) for at_ms in missing):
                self._wrong(candle, f"{len(missing)} bars lost without a gap")
        stream.last = open_ms

    def _is_handover(self, silence_ns: int = 0) -> bool:
        """Return whether a connection is being replaced now, and silence may come from that."""
        if silence_ns > _HANDOVER_NS:
            return False
        now_ns = self._received_ns
        return any(at_ns <= now_ns <= at_ns + _NOTICE_NS for at_ns in self.handovers_ns)


def _place(stamps: Sequence[int], stamp_ms: int) -> int | None:
    """Return where a stamp stands in a rising sequence, searching from the end."""
    for place in range(len(stamps) - 1, -1, -1):
        if stamps[place] <= stamp_ms:
            return place if stamps[place] == stamp_ms else None
    return None


def _covers(gaps: Sequence[Gap], at_ms: int) -> bool:
    return any(gap.from_ns <= at_ms * MS < gap.to_ns for gap in gaps)
