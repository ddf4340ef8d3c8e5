"""Binance's historical order books: files of snapshots and files of changes, put together by their update ids."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple

import numpy as np

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate
from quantkit.importers.book_files import BookFile
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_tables import Said, table_of
from quantkit.importers.report import Progress
from quantkit.importers.times import TimeReader

#: A snapshot may bear a stamp that is so much younger than the changes which follow it.
_LATE_NS: Final = 60 * NS_PER_S
_KINDS: Final = {"snap": 1, "set": 0, "delete": 0, "update": 0}


class _DepthMessage(NamedTuple):
    """The levels that bear one update id; those of a snapshot replace the book."""

    last_id: int
    first_id: int
    previous_id: int
    is_snapshot: bool
    stamp_ns: int
    instrument: str
    file: str
    line: int
    levels: list[tuple[int, float, float]]

    def update(self, before_ns: int) -> BookUpdate:
        """Return the message as an update that is not older than the one before it."""
        is_late = before_ns - _LATE_NS < self.stamp_ns < before_ns
        received_ns = before_ns if is_late else self.stamp_ns
        kept = [level for level in self.levels if not (self.is_snapshot and level[2] == 0.0)]
        bids, asks = (
            (
                tuple(level[1] for level in kept if level[0] == side),
                tuple(level[2] for level in kept if level[0] == side),
            )
            for side in (0, 1)
        )
        previous = -1 if self.is_snapshot else self.previous_id
        stamps = (self.stamp_ns, received_ns)
        return BookUpdate(self.instrument, *stamps, *bids, *asks, self.is_snapshot, self.last_id, previous)


def read_binance(
    members: Sequence[Recognised], intake: Intake, namer: Namer, said: Said, progress: Progress | None
) -> None:
    """Take the books of several files; the order of the ids is that of the book, whatever file a row is in.

    Raises:
        ConfigError: A file holds several instruments.
    """
    by_name: dict[str, list[tuple[Recognised, Iterator[_DepthMessage]]]] = {}
    for each in members:
        messages = _messages(each, intake, namer, said, progress)
        first = next(messages, None)
        if first is not None:
            by_name.setdefault(first.instrument, []).append((each, chain([first], messages)))
    for name, files in by_name.items():
        merged = heapq.merge(*(messages for _, messages in files), key=lambda message: message.last_id)
        _follow(BookFile(files[0][0], intake, name), merged, intake)


def _follow(book: BookFile, messages: Iterator[_DepthMessage], intake: Intake) -> None:
    """Apply messages in the order of their ids: each names the one before it, but for the first after a snapshot."""
    last_id: int | None = None
    is_fresh = False
    before_ns = 0
    for message in messages:
        if message.instrument != book.instrument:
            raise ConfigError(f"{message.file}:{message.line} is of {message.instrument}, the rows before of "
                              f"{book.instrument}; split the file by instrument")  # fmt: skip
        if last_id is not None and message.last_id <= last_id:
            intake.tally.ignore("changes that the book before them holds already")
            continue
        update = message.update(before_ns)
        book.file = message.file
        is_change = not message.is_snapshot and last_id is not None
        is_linked = message.previous_id == last_id or (is_fresh and message.first_id <= (last_id or 0) + 1)
        intake.tally.check("sequence links", int(is_change and is_linked))
        cause = f"update {message.last_id} follows {message.previous_id}, the book is at {last_id}"
        last_id, is_fresh, before_ns = message.last_id, message.is_snapshot, update.received_ns
        try:
            if not (is_change and not is_linked and book.lose(update, cause)):
                book.take(update, message.line)
        except ParseError as error:
            intake.tally.skip(message.file, message.line, "", str(error))


def _messages(
    each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None
) -> Iterator[_DepthMessage]:
    """Yield the messages of a file: neighbouring rows of one update id."""
    record = each.format
    file = table_of(each, record, said)
    clock = TimeReader(file.file, None, mixes_units=True)
    pending: _DepthMessage | None = None
    for chunk in file.chunks(intake.tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            stamps = reading.times("time", clock)
            price, qty = reading.numbers("price"), reading.numbers("qty")
            side = reading.coded("side", {"b": 0, "a": 1})
            is_snapshot = reading.coded("action", _KINDS)
            ids = [reading.integers(field) for field in ("last_id", "first_id", "previous_id")]
            reading.refuse_where(price <= 0.0, "price is not above zero")
            reading.refuse_where(qty < 0.0, "size is below zero")
            reading.refuse_where(ids[0] == 0, "the update id is missing")
            good = np.flatnonzero(reading.kept(intake.tally))
            if not good.size:
                continue
            keys = ids[0][good] * 2 + is_snapshot[good]
            for begin, end in pairwise([0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(good)]):
                rows = good[begin:end]
                first = int(rows[0])
                levels = list(zip(side[rows].tolist(), price[rows].tolist(), qty[rows].tolist(), strict=True))
                message = _DepthMessage(
                    int(ids[0][first]),
                    int(ids[1][first]),
                    int(ids[2][first]),
                    bool(is_snapshot[first]),
                    int(stamps[first]),
                    name,
                    file.file,
                    int(part.lines[first]),
                    levels,
                )
                if pending is not None and pending[:4] == message[:4] and pending.instrument == name:
                    pending.levels.extend(levels)
                    continue
                if pending is not None:
                    yield pending
                pending = message
    if pending is not None:
        yield pending
