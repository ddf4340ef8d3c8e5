"""Order books of files: lines of JSON or tables of levels, as snapshots and updates."""

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.clock import NS_PER_MS, NS_PER_S, is_plausible, iso_of, latest_epoch_ns
from quantkit.errors import DataError, ParseError
from quantkit.events import BookUpdate
from quantkit.importers.book import NaiveBook, book_gap
from quantkit.importers.files import numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.recognition import Recognised
from quantkit.importers.report import Progress
from quantkit.instruments import plain

_Reader: TypeAlias = Callable[[Recognised, Intake, str, "Progress | None"], None]


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
            self.tally.ignore("changes of a book before its first snapshot")
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

    def lose(self, update: BookUpdate, cause: str) -> None:
        """Note that updates are missing before this one."""
        if self._has_book:
            self._break(update, cause)


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
    prices, sizes = tuple(float(level[0]) for level in levels), tuple(float(level[1]) for level in levels)
    if prices and not (min(prices) > 0.0 and min(sizes) >= 0.0 and math.isfinite(sum(prices) + sum(sizes))):
        raise ParseError("a level has no price above zero, or a size below zero")
    return prices, sizes


def read_okx(each: Recognised, intake: Intake, instrument: str, progress: Progress | None) -> None:
    """Take the lines of OKX's book files; a snapshot replaces all, size 0 removes."""
    book = BookFile(each, intake, instrument)
    symbol = each.symbol
    for number, text in numbered_lines(each.file, intake.tally, progress):
        try:
            line = _okx_line.decode(text)
            if line.instId != symbol:
                raise ParseError(f"the line is of {line.instId}, the file of {symbol}")
            stamp_ns = int(line.ts) * NS_PER_MS
            asks, bids = _levels(line.asks), _levels(line.bids)
            update = BookUpdate(instrument, stamp_ns, stamp_ns, *bids, *asks, line.action == "snapshot")
            book.take(update, number)
        except (ParseError, msgspec.DecodeError, ValueError, TypeError, IndexError) as error:
            intake.tally.skip(book.file, number, text[:200].decode(errors="replace"), str(error))


#: What reads the books of a format, by its record's `reader`.
READERS: Final[dict[str, _Reader]] = {"okx": read_okx}
