"""hftbacktest's events as books and trades: those that were received, in that order."""

from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate, Trade
from quantkit.importers.arrays import blocks
from quantkit.importers.book_files import BookFile
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_tables import Said
from quantkit.importers.report import Progress
from quantkit.instruments import Side

#: Low byte of an event: what it is.
_DEPTH, _TRADE, _CLEAR, _SNAPSHOT, _BEST = 1, 2, 3, 4, 5
_ORDERS: Final = (10, 11, 12, 13)
_KIND: Final = 0xFF
#: High bits: where it is processed, and its side.
_LOCAL, _BUY, _SELL = 1 << 30, 1 << 29, 1 << 28
_IGNORED: Final = {_BEST: "best bids and offers beside the book", 0: "events of one's own"}


def read_hftbacktest(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take an array of events; rows that only the exchange saw stand a second time where they were received.

    Raises:
        ConfigError: The instrument has to be said, or the array holds single orders.
    """
    events = _Events(each, intake, namer.of_symbol(each.format, "", each))
    for first_row, rows in blocks(each.file):
        intake.tally.rows_read += len(rows)
        is_local = (rows["ev"] & _LOCAL) > 0
        intake.tally.ignore("events that only the exchange saw, which come again as received", int((~is_local).sum()))
        events.take(rows[is_local], first_row + np.flatnonzero(is_local))
    events.flush()
    if progress is not None:
        progress(each.file.name, each.file.packed, each.file.packed)


class _Event(NamedTuple):
    """One row that was received."""

    row: int
    flags: int
    exchange_ns: int
    local_ns: int
    price: float
    qty: float


class _Events:
    """The events of one file, put together: rows of a book with one receipt stamp are one update.

    Args:
        each: The file.
        intake: Takes them.
        instrument: Whose they are.
    """

    def __init__(self, each: Recognised, intake: Intake, instrument: str) -> None:
        self._file = each.file.name
        self._intake = intake
        self._instrument = instrument
        self._book = BookFile(each, intake, instrument)
        #: Sizes by price, bids and asks, as a clearing of levels needs them.
        self._sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self._pending: list[_Event] = []

    def take(self, rows: NDArray[Any], numbers: NDArray[np.int64]) -> None:
        """Take rows in the order of their receipt.

        Raises:
            ConfigError: They are single orders.
        """
        if not len(rows):
            return
        kinds = (rows["ev"] & _KIND).astype(np.int64)
        if np.isin(kinds, _ORDERS).any():
            raise ConfigError(f"{self._file} holds single orders; quantkit has no event for single orders of others")
        group = np.isin(kinds, (_DEPTH, _CLEAR, _SNAPSHOT)) * 1
        is_new = (np.diff(rows["local_ts"]) != 0) | (np.diff(group) != 0)
        columns = (rows[name].tolist() for name in ("ev", "exch_ts", "local_ts", "px", "qty"))
        events = [_Event(*values) for values in zip(numbers.tolist(), *columns, strict=True)]
        for begin, end in pairwise([0, *(np.flatnonzero(is_new) + 1).tolist(), len(rows)]):
            part = events[begin:end]
            if not group[begin]:
                self.flush()
                self._take_others(part)
                continue
            if self._pending and self._pending[0].local_ns != part[0].local_ns:
                self.flush()
            self._pending += part

    def _take_others(self, events: list[_Event]) -> None:
        """Take trades, and count what is neither trade nor book."""
        for event in events:
            kind = event.flags & _KIND
            if kind != _TRADE:
                self._intake.tally.ignore(_IGNORED.get(kind, _IGNORED[0]))
            elif not event.flags & (_BUY | _SELL):
                self._intake.tally.ignore("trades whose taker's side is not known")
            elif not (event.price > 0.0 and event.qty > 0.0):
                self._skip(event, "price or size is not above zero")
            else:
                stamps = (event.exchange_ns, event.local_ns)
                self._intake.latency(*stamps)
                side = Side.BUY if event.flags & _BUY else Side.SELL
                self._intake.add(Trade(self._instrument, *stamps, event.price, event.qty, side))

    def _skip(self, event: _Event, why: str) -> None:
        self._intake.tally.skip(self._file, event.row, ",".join(map(str, event[1:])), why)

    def flush(self) -> None:
        """Hand over the update that is complete."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        changes: tuple[dict[float, float], dict[float, float]] = ({}, {})
        is_whole = False
        for event in pending:
            try:
                is_whole |= self._apply(event, changes)
            except ParseError as error:
                self._skip(event, str(error))
        first = pending[0]
        stamps = (first.exchange_ns, first.local_ns)
        bids, asks = ((tuple(side), tuple(side.values())) for side in (self._sides if is_whole else changes))
        try:
            self._intake.latency(*stamps)
            self._book.take(BookUpdate(self._instrument, *stamps, *bids, *asks, is_whole), first.row)
        except ParseError as error:
            self._skip(first, str(error))

    def _apply(self, event: _Event, changes: tuple[dict[float, float], dict[float, float]]) -> bool:
        """Apply a row to the levels and note what it changes; return whether it is of a snapshot.

        Raises:
            ParseError: It is no level.
        """
        flags, price, qty = event.flags, event.price, event.qty
        bids, asks = self._sides
        if flags & _KIND == _CLEAR:
            # From the best level to the price; both sides without one.
            cleared = [each for each in bids if not flags & _BUY or each >= price] if not flags & _SELL else []
            for each in cleared:
                del bids[each]
                changes[0][each] = 0.0
            cleared = [each for each in asks if not flags & _SELL or each <= price] if not flags & _BUY else []
            for each in cleared:
                del asks[each]
                changes[1][each] = 0.0
            return False
        if not (price > 0.0 and qty >= 0.0 and flags & (_BUY | _SELL)):
            raise ParseError("a level has no side, no price above zero, or a size below zero")
        place = 0 if flags & _BUY else 1
        changes[place][price] = qty
        if qty == 0.0:
            self._sides[place].pop(price, None)
        else:
            self._sides[place][price] = qty
        return flags & _KIND == _SNAPSHOT
