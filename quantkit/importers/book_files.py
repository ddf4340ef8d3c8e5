"""Order books of files: lines of JSON or tables of levels, as snapshots and updates."""

import math
from collections.abc import Callable
from itertools import count, pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MS, NS_PER_S, is_plausible, iso_of, latest_epoch_ns
from quantkit.errors import DataError, ParseError
from quantkit.events import BookUpdate
from quantkit.importers.book import NaiveBook, book_gap
from quantkit.importers.files import numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_rows import unscaled
from quantkit.importers.record_tables import Said, table_of
from quantkit.importers.report import Progress
from quantkit.importers.times import TimeReader
from quantkit.instruments import plain

_price: Final = itemgetter(0)
_size: Final = itemgetter(1)
Stamped: TypeAlias = NDArray[np.int64]
_Reader: TypeAlias = Callable[[Recognised, Intake, Namer, Said, "Progress | None"], None]
#: What a line raises that is none of a book.
_WRONG: Final = (ParseError, msgspec.DecodeError, ValueError, TypeError, IndexError)


class BookFile:
    """One file's updates on their way into an import: in the order of time, and no book crossed.

    Args:
        each: The file.
        intake: Takes them.
        instrument: Whose book it is.
    """

    def __init__(self, each: Recognised, intake: Intake, instrument: str) -> None:
        self.file = each.file.name
        self.intake = intake
        self.instrument = instrument
        self.tally = intake.tally
        self._book = NaiveBook()
        self._has_book = False
        self._last: BookUpdate | None = None
        self._latest_ns = latest_epoch_ns()
        self._before_ns = intake.book_ends_ns.get(instrument, 0)

    def take(self, update: BookUpdate, line: int) -> None:
        """Take the next update.

        Raises:
            DataError: It is older than the one before it.
        """
        if not is_plausible(update.exchange_ns, self._latest_ns):
            raise ParseError(f"the stamp reads as {iso_of(update.exchange_ns)}")
        if update.received_ns < self._before_ns:
            back_s = (self._before_ns - update.received_ns) / NS_PER_S
            raise DataError(
                f"{self.file}:{line}: the book goes back by {plain(back_s)} s; books cannot be sorted, since each "
                "update changes the one before it: give each span once"
            )
        self._before_ns = self.intake.book_ends_ns[self.instrument] = update.received_ns
        if not self._has_book and not update.is_snapshot:
            self.tally.ignore("changes of a book without a snapshot before them")
            return
        self._book.apply(update)
        if self._book.is_crossed:
            self._break(update, f"crossed: bid {self._book.best_bid}, ask {self._book.best_ask}")
            return
        self._has_book = True
        self._last = update
        self.intake.add(update)

    def _break(self, update: BookUpdate, cause: str) -> None:
        """Leave the book out until its next snapshot."""
        since_ns = None if self._last is None else self._last.exchange_ns
        self.intake.add(book_gap(update, since_ns=since_ns, cause=cause))
        self.tally.ignore("changes that broke a book")
        self._has_book = False

    def lose(self, update: BookUpdate, cause: str) -> bool:
        """Note that updates are missing before this one; return whether there was a book that this breaks."""
        had_book = self._has_book
        if had_book:
            self._break(update, cause)
        return had_book


class _OkxLine(msgspec.Struct):
    instId: str  # noqa: N815  OKX's word
    action: str
    ts: str
    asks: list[list[Any]]
    bids: list[list[Any]]


_okx_line: Final = msgspec.json.Decoder(_OkxLine, strict=False)


def _levels(levels: list[list[Any]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the prices and sizes of levels.

    Raises:
        ParseError: One is no price or no size.
    """
    prices, sizes = tuple(map(float, map(_price, levels))), tuple(map(float, map(_size, levels)))
    if prices and not (min(prices) > 0.0 and min(sizes) >= 0.0 and math.isfinite(sum(prices) + sum(sizes))):
        raise ParseError("a level has no price above zero, or a size below zero")
    return prices, sizes


def read_okx(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take the lines of OKX's book files; a snapshot replaces all, size 0 removes."""
    instrument = namer.of_symbol(each.format, each.symbol, each)
    if not intake.wants(instrument):
        intake.tally.ignore("files of other instruments")
        return
    book = BookFile(each, intake, instrument)
    for number, text in numbered_lines(each.file, intake.tally, progress):
        try:
            line = _okx_line.decode(text)
            if line.instId != each.symbol:
                raise ParseError(f"the line is of {line.instId}, the file of {each.symbol}")
            stamp_ns = int(line.ts) * NS_PER_MS
            asks, bids = _levels(line.asks), _levels(line.bids)
            update = BookUpdate(instrument, stamp_ns, stamp_ns, *bids, *asks, line.action == "snapshot")
            book.take(update, number)
        except _WRONG as error:
            intake.tally.skip(book.file, number, text[:200].decode(errors="replace"), str(error))


class _BybitLevels(msgspec.Struct):
    s: str
    b: list[list[Any]]
    a: list[list[Any]]
    u: int


class _BybitLine(msgspec.Struct):
    type: str
    ts: int
    data: _BybitLevels
    cts: int | None = None


_bybit_line: Final = msgspec.json.Decoder(_BybitLine)


def read_bybit(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take the lines of Bybit's book files, whose update ids rise by one: a hole is a gap until the next snapshot."""
    instrument = namer.of_symbol(each.format, each.symbol, each)
    if not intake.wants(instrument):
        intake.tally.ignore("files of other instruments")
        return
    book = BookFile(each, intake, instrument)
    last_id: int | None = None
    for number, text in numbered_lines(each.file, intake.tally, progress):
        try:
            line = _bybit_line.decode(text)
            if line.data.s != each.symbol:
                raise ParseError(f"the line is of {line.data.s}, the file of {each.symbol}")
            sent_ns = line.ts * NS_PER_MS
            matched_ns = sent_ns if line.cts is None else line.cts * NS_PER_MS
            asks, bids = _levels(line.data.a), _levels(line.data.b)
            is_snapshot = line.type == "snapshot"
            number_before = -1 if is_snapshot else line.data.u - 1
            update = BookUpdate(instrument, matched_ns, sent_ns, *bids, *asks, is_snapshot, line.data.u, number_before)
            is_lost = not is_snapshot and last_id is not None and number_before != last_id
            intake.tally.check("sequence links", int(not is_snapshot and last_id is not None and not is_lost))
            cause = f"update {line.data.u} follows {last_id}"
            last_id = line.data.u
            if not (is_lost and book.lose(update, cause)):
                book.take(update, number)
        except _WRONG as error:
            intake.tally.skip(book.file, number, text[:200].decode(errors="replace"), str(error))


class _Message(NamedTuple):
    """The levels of one message of a Tardis book."""

    exchange_ns: int
    received_ns: int
    is_snapshot: bool
    line: int
    prices: list[float]
    qtys: list[float]
    sides: list[int]


class _TardisBook:
    """Puts rows of levels together to messages: rows with one receipt stamp are one.

    Args:
        book: Takes the updates.
    """

    def __init__(self, book: BookFile) -> None:
        self._book = book
        self._pending: _Message | None = None
        self._was_snapshot = False

    def take(self, reading: Reading, exchange_ns: Stamped, received_ns: Stamped, good: NDArray[np.bool_]) -> None:
        """Take the rows of a chunk."""
        snapshot = reading.coded("is_snapshot", {"true": 1, "false": 0})[good]
        side = reading.coded("side", {"bid": 0, "buy": 0, "ask": 1, "sell": 1})[good]
        price, qty = reading.numbers("price")[good], reading.numbers("qty")[good]
        received, exchange, lines = received_ns[good], exchange_ns[good], reading.chunk.lines[good]
        starts = np.flatnonzero((np.diff(received) != 0) | (np.diff(snapshot) != 0)) + 1
        edges = [0, *starts.tolist(), len(received)]
        for begin, end in pairwise(edges):
            message = _Message(
                int(exchange[begin]),
                int(received[begin]),
                bool(snapshot[begin]),
                int(lines[begin]),
                price[begin:end].tolist(),
                qty[begin:end].tolist(),
                side[begin:end].tolist(),
            )
            pending = self._pending
            key = (message.received_ns, message.is_snapshot)
            if begin == 0 and pending is not None and key == (pending.received_ns, pending.is_snapshot):
                pending.prices.extend(message.prices)
                pending.qtys.extend(message.qtys)
                pending.sides.extend(message.sides)
                continue
            self.flush()
            self._pending = message

    def flush(self) -> None:
        """Hand over the message that is complete."""
        message, self._pending = self._pending, None
        if message is None:
            return
        # The first of several messages of a snapshot replaces the book, the others add to it.
        is_new = message.is_snapshot and not self._was_snapshot
        self._was_snapshot = message.is_snapshot
        levels = list(zip(message.sides, message.prices, message.qtys, strict=True))
        if is_new:
            levels = [level for level in levels if level[2] > 0.0]
        sides = [[level for level in levels if level[0] == side] for side in (0, 1)]
        (bid_prices, bid_qtys), (ask_prices, ask_qtys) = (
            (tuple(level[1] for level in side), tuple(level[2] for level in side)) for side in sides
        )
        stamps = (message.exchange_ns, message.received_ns)
        update = BookUpdate(self._book.instrument, *stamps, bid_prices, bid_qtys, ask_prices, ask_qtys, is_new)
        try:
            self._book.take(update, message.line)
        except ParseError as error:
            self._book.tally.skip(self._book.file, message.line, "", str(error))


def read_tardis(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take the rows of Tardis' incremental books; both clocks are there, and the receipt's orders them."""
    record = each.format
    file = table_of(each, record, said)
    clocks = [TimeReader(file.file, None, mixes_units=True) for _ in range(2)]
    books: dict[str, _TardisBook] = {}
    for chunk in file.chunks(intake.tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            exchange_ns, received_ns = reading.times("time", clocks[0]), reading.times("received", clocks[1])
            price, qty = reading.numbers("price"), reading.numbers("qty")
            reading.refuse_where(price <= 0.0, "price is not above zero")
            reading.refuse_where(qty < 0.0, "size is below zero")
            good = reading.kept(intake.tally)
            if good.any():
                _note_latency(intake, exchange_ns[good], received_ns[good])
                book = books.setdefault(name, _TardisBook(BookFile(each, intake, name)))
                book.take(reading, exchange_ns, received_ns, good)
    for book in books.values():
        book.flush()


def read_snapshots(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take rows of which each is the whole book down to its depth."""
    record = each.format
    names = {name.lower() for name in (() if each.form is None else each.form.names)}
    depth = next(n for n in count() if record.levels["bid"].format(n=n) not in names)
    parts = ("bid", "bid_qty", "ask", "ask_qty")
    more = {f"level_{part}_{n}": record.levels[part].format(n=n) for part in parts for n in range(depth)}
    file = table_of(each, record, said, more)
    scale = record.scales.get("price", 1) if each.is_fixed_point else 1
    clocks = [TimeReader(file.file, None, mixes_units=True) for _ in range(2)]
    books: dict[str, BookFile] = {}
    for chunk in file.chunks(intake.tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            exchange_ns, received_ns = reading.times("time", clocks[0]), reading.times("received", clocks[1])
            levels = [
                np.column_stack([reading.numbers(f"level_{part}_{n}", is_optional=True) for n in range(depth)])
                for part in parts
            ]
            for price, size in ((0, 1), (2, 3)):
                levels[price] = unscaled(levels[price], scale)
                is_level = ~np.isnan(levels[price])
                levels[size] = np.where(is_level, levels[size], np.nan)
                sizeless = np.count_nonzero(is_level & np.isnan(levels[size]), axis=1) > 0
                reading.refuse_where(sizeless, "a level has no size")
            good = reading.kept(intake.tally)
            if not good.any():
                continue
            _note_latency(intake, exchange_ns[good], received_ns[good])
            book = books.setdefault(name, BookFile(each, intake, name))
            for row in np.flatnonzero(good).tolist():
                bids, bid_sizes, asks, ask_sizes = (_whole(matrix[row]) for matrix in levels)
                stamps = (int(exchange_ns[row]), int(received_ns[row]))
                if min((*bid_sizes, *ask_sizes), default=0.0) < 0.0:
                    intake.tally.skip(book.file, int(part.lines[row]), part.text(row), "a size is below zero")
                    continue
                update = BookUpdate(name, *stamps, bids, bid_sizes, asks, ask_sizes, is_snapshot=True)
                try:
                    book.take(update, int(part.lines[row]))
                except ParseError as error:
                    intake.tally.skip(book.file, int(part.lines[row]), part.text(row), str(error))


def _whole(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the values that are there; a book may have fewer levels than a row has places."""
    return tuple(values[~np.isnan(values)].tolist())


def _note_latency(intake: Intake, exchange_ns: Stamped, received_ns: Stamped) -> None:
    least = int((received_ns - exchange_ns).argmin())
    intake.latency(int(exchange_ns[least]), int(received_ns[least]))


#: What reads the books of a format, by its record's `reader`.
READERS: Final[dict[str, _Reader]] = {
    "okx": read_okx,
    "bybit": read_bybit,
    "tardis": read_tardis,
    "snapshots": read_snapshots,
}
