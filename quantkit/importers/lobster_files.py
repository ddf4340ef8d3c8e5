"""LOBSTER's pairs of files: a message a row, and the book after each in the same row of the other file."""

from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.events import BookUpdate, Trade
from quantkit.importers.book_files import BookFile
from quantkit.importers.files import numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_tables import Said
from quantkit.importers.report import Progress
from quantkit.instruments import Side

#: Prices are whole multiples of a hundredth of a cent.
_SCALE: Final = 10_000
#: What stands for no level, on either side.
_NO_LEVEL: Final = 9_999_999_999
_ZONE: Final = ZoneInfo("America/New_York")
#: Types of messages that are executions against a resting order, in the book's sight or hidden.
_EXECUTIONS: Final = (4, 5)
_OTHERS: Final = {6: "trades of auctions, which have no side", 7: "halts and resumptions of trading"}


class _LobsterRow(NamedTuple):
    """One row of a file of messages."""

    stamp_ns: int
    type: int
    qty: int
    price: int
    direction: int


def read_lobster(
    members: Sequence[Recognised], intake: Intake, namer: Namer, said: Said, progress: Progress | None
) -> None:
    """Take trades and books of LOBSTER's files, each pair in the order of its day.

    Raises:
        ConfigError: A file has no date in its name, or levels come without their messages.
        DataError: Two files of a pair have not as many rows.
    """
    books = {each.file.name: each for each in members if each.format.name.endswith("levels")}
    days: list[tuple[str, str, Recognised, Recognised | None]] = []
    for each in (each for each in members if not each.format.name.endswith("levels")):
        told = each.format.found_in_name(each.file.leaf)
        if "date" not in told:
            raise ConfigError(
                f"{each.file} counts seconds after midnight, and its name has no date; name it as LOBSTER does, "
                "for example AAPL_2012-06-21_34200000_57600000_message_10.csv"
            )
        head, _, tail = each.file.name.rpartition("_message_")
        days.append((told["symbol"], told["date"], each, books.pop(f"{head}_orderbook_{tail}", None)))
    if books:
        raise ConfigError(f"{next(iter(books))} has levels without times; give the file of its messages too")
    for _, date, messages, levels in sorted(days, key=lambda day: day[:2]):
        _LobsterDay(messages, levels, date, intake, namer).read(progress)


class _LobsterDay:
    """One pair of files.

    Args:
        messages: The file of messages.
        levels: The file of the book after each; None where it was not given.
        date: Of the session, in New York.
        intake: Takes the rows.
        namer: Knows the instrument.
    """

    def __init__(
        self, messages: Recognised, levels: Recognised | None, date: str, intake: Intake, namer: Namer
    ) -> None:
        self._messages = messages
        self._levels = levels
        self._intake = intake
        self._instrument = namer.of_symbol(messages.format, messages.symbol, messages)
        self._midnight_ns = int(datetime.fromisoformat(date).replace(tzinfo=_ZONE).timestamp()) * NS_PER_S
        self._book = BookFile(messages, intake, self._instrument)
        self._sides: tuple[dict[float, float], dict[float, float]] | None = None

    def read(self, progress: Progress | None) -> None:
        """Take all rows."""
        tally, file = self._intake.tally, self._messages.file
        if not self._intake.wants(self._instrument):
            tally.ignore("files of other instruments")
            return
        if self._levels is None:
            tally.warn(f"{file}: the file of its levels is not among the files, so only trades are taken")
        messages = numbered_lines(file, tally, progress)
        levels = iter(()) if self._levels is None else numbered_lines(self._levels.file, tally, None)
        for (number, text), book_row in zip_longest(messages, levels, fillvalue=(0, b"")):
            if not number or (self._levels is not None and not book_row[0]):
                raise DataError(
                    f"{file} and {self._levels and self._levels.file} have not as many rows; download both again"
                )
            try:
                message = self._message(text)
                self._take(message)
                if self._levels is not None:
                    self._follow(message, book_row[1], number)
            except (ParseError, ValueError) as error:
                tally.skip(file.name, number, text[:200].decode(errors="replace"), str(error))

    def _message(self, text: bytes) -> _LobsterRow:
        """Return a row of messages.

        Raises:
            ParseError: It is none.
        """
        cells = text.decode().split(",")
        if len(cells) not in (6, 7):
            raise ParseError(f"{len(cells)} fields where 6 are expected")
        whole, _, fraction = cells[0].strip().partition(".")
        stamp_ns = self._midnight_ns + int(whole) * NS_PER_S + int(fraction[:9].ljust(9, "0"))
        kind, _, qty, price, direction = map(int, cells[1:6])
        if direction not in (1, -1) and kind not in _OTHERS:
            raise ParseError(f"direction {direction} is neither 1 nor -1")
        return _LobsterRow(stamp_ns, kind, qty, price, direction)

    def _take(self, message: _LobsterRow) -> None:
        """Take a trade: the order that rested was on the other side than the taker's."""
        if message.type in _OTHERS:
            self._intake.tally.ignore(_OTHERS[message.type])
        elif message.type in _EXECUTIONS:
            if message.price <= 0 or message.qty <= 0:
                raise ParseError("an execution without a price or a size")
            side = Side.BUY if message.direction == -1 else Side.SELL
            stamps = (message.stamp_ns, message.stamp_ns)
            self._intake.add(Trade(self._instrument, *stamps, message.price / _SCALE, float(message.qty), side))

    def _follow(self, message: _LobsterRow, text: bytes, line: int) -> None:
        """Take what changed in the levels in sight; one that goes out of sight is removed.

        Raises:
            ParseError: The row holds no levels.
        """
        cells = [int(cell) for cell in text.decode().split(",")]
        if len(cells) % 4:
            raise ParseError(f"{len(cells)} fields of levels, which are four each")
        asks, bids = (
            {
                price / _SCALE: float(qty)
                for price, qty in zip(cells[at::4], cells[at + 1 :: 4], strict=True)
                if 0 < price < _NO_LEVEL and qty > 0
            }
            for at in (0, 2)
        )
        before = self._sides
        self._sides = (bids, asks)
        old_bids, old_asks = before or ({}, {})
        (bid_prices, bid_qtys), (ask_prices, ask_qtys) = _changes(old_bids, bids), _changes(old_asks, asks)
        if before is not None and not bid_prices and not ask_prices:
            return
        stamps = (message.stamp_ns, message.stamp_ns)
        levels = (bid_prices, bid_qtys, ask_prices, ask_qtys)
        self._book.take(BookUpdate(self._instrument, *stamps, *levels, before is None), line)


def _changes(old: dict[float, float], new: dict[float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the prices and sizes that make the new levels of the old ones; size 0 removes."""
    changed = {price: 0.0 for price in old if price not in new}
    changed |= {price: qty for price, qty in new.items() if old.get(price) != qty}
    return tuple(changed), tuple(changed.values())
