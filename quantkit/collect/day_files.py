"""Trades of an instrument from the exchange's daily files, whose days are cut at 16:00 UTC, as those of UTC days."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.collect.spans import TimeSpan
from quantkit.feeds.okx.rest.archive import DAYS_LISTED, ArchiveFile
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.importers import import_files
from quantkit.instruments import Instrument
from quantkit.rows.columns import KIND_COLUMNS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks

#: A day of the exchange begins so much before that of UTC.
_EARLIER_NS: Final = 8 * 60 * NS_PER_MIN
#: Trades this near to a file's edge may lie in its neighbour.
_EDGE_NS: Final = NS_PER_MIN
#: A file is out two days after its day; one more for whoever made it late.
PUBLISHED_NS: Final = 3 * NS_PER_DAY


def days_of(span: TimeSpan) -> range:
    """Return the exchange's days whose files hold the trades of a span.

    Examples:
        >>> [days_of((day * NS_PER_DAY, (day + 1) * NS_PER_DAY)) for day in (0, 9)]
        [range(0, 2), range(9, 11)]
    """
    first_ns, last_ns = span[0] - _EDGE_NS + _EARLIER_NS, span[1] + _EDGE_NS - 1 + _EARLIER_NS
    return range(first_ns // NS_PER_DAY, last_ns // NS_PER_DAY + 1)


class DayFiles:
    """The daily files of one instrument's trades, each listed and fetched once.

    Args:
        rest: Lists and fetches them.
        instrument: Whose trades; files of a family hold others too.
        folder: For the files; those that no later span needs are deleted.
    """

    def __init__(self, rest: OkxRest, instrument: Instrument, folder: Path) -> None:
        self._rest = rest
        self._instrument = instrument
        self._folder = folder
        self._listed: dict[int, ArchiveFile | None] = {}
        self._fetched: dict[int, Path] = {}
        self.files = 0
        self.problems: list[str] = []

    async def trades(self, span: TimeSpan) -> Block | None:
        """Return the trades of a span, spans in order of time; None where not all of its days have a file.

        Doubles, which neighbouring files may both hold, are dropped by their id.

        Raises:
            ConfigError, DataError: A file is none of trades.
            OkxError: A request failed.
        """
        days = days_of(span)
        files = [await self._file(day) for day in days]
        if any(file is None for file in files):
            return None
        for day in [day for day in self._fetched if day < days[0]]:
            self._fetched.pop(day).unlink(missing_ok=True)
        for file in files:
            if file is not None and file.day not in self._fetched:
                self._fetched[file.day] = await self._rest.archive.fetch(file, self._folder)
                self.files += 1
        return self._read([self._fetched[day] for day in days], span)

    async def _file(self, day: int) -> ArchiveFile | None:
        if day not in self._listed:
            last = day + DAYS_LISTED - 1
            found = {file.day: file for file in await self._rest.archive.trades(self._instrument.id, day, last)}
            self._listed.update({each: found.get(each) for each in range(day, last + 1)})
        return self._listed[day]

    def _read(self, paths: Sequence[Path], span: TimeSpan) -> Block:
        """Return the trades of files within a span, by time and id."""
        data = self._folder / f"rows-{span[0]}"
        report = import_files("okx/trades", paths, to=data, instrument=self._instrument)
        if report.skipped:
            self.problems.append(f"rows of {', '.join(path.name for path in paths)} that could not be understood")
        stream = Stream("trade", self._instrument.id)
        names = ("received_ns", "exchange_ns", *KIND_COLUMNS["trade"])
        blocks = list(read_blocks(Catalog(data), stream, start_ns=span[0], end_ns=span[1] - 1))
        columns = {name: np.concatenate([block.column(name) for block in blocks] or [np.empty(0)]) for name in names}
        # Years of days would fill the disk for temporary files.
        shutil.rmtree(data)
        order = np.lexsort((columns["trade_id"], columns["received_ns"]))
        return Block(stream, len(order), {name: column[order] for name, column in columns.items()})
