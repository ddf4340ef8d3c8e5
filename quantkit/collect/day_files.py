"""Rows of an instrument from the exchange's files of days and months, as those of a span in UTC."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import numpy as np

from quantkit.clock import NS_PER_DAY
from quantkit.collect.kinds import DownloadKind
from quantkit.collect.spans import TimeSpan
from quantkit.errors import ConfigError, DataError, EmptyImportError, ParseError
from quantkit.feeds.okx.rest.archive import ArchiveFile, ArchiveKind
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.importers import import_files
from quantkit.instruments import Instrument
from quantkit.rows.columns import KIND_COLUMNS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks

#: So many days or months are listed at once.
_AHEAD: Final = 9
#: Whoever published nothing for so long does not publish it any more.
_LATEST_NS: Final = 14 * NS_PER_DAY


class _Stopped(Exception):  # noqa: N818  ends a thread of which nobody waits for the result
    pass


class DayFiles:
    """The files of one kind of one instrument, each listed and fetched once.

    Args:
        rest: Lists and fetches them.
        kind: What they hold.
        archive: Which files these are.
        instrument: Whose rows; files of a family hold others too.
        folder: For the files; those that no later span needs are deleted.
        last: The last day or month that may be wanted.

    Attributes:
        files: How many were read.
        problems: What could not be understood, a sentence each.
    """

    def __init__(
        self,
        rest: OkxRest,
        kind: DownloadKind,
        archive: ArchiveKind,
        instrument: Instrument,
        folder: Path,
        *,
        last: int,
    ) -> None:
        self.files = 0
        self.problems: list[str] = []
        self._rest = rest
        self._kind = kind
        self._archive = archive
        self._instrument = instrument
        self._folder = folder
        self._last = last
        self._rows = folder / "rows"
        self._listed: dict[int, ArchiveFile | None] = {}
        self._fetched: dict[int, Path] = {}
        self._described = folder / "instrument.json"
        self._described.write_text(json.dumps([instrument.to_dict()]))

    async def has(self, span: TimeSpan) -> bool:
        """Return whether there is a file for all of a span.

        Raises:
            OkxError: A request failed.
        """
        return all([await self._file(number) is not None for number in self._archive.numbers_of(*span)])

    def is_final(self, span: TimeSpan, now_ns: int) -> bool:
        """Return whether a file that is not there will not come any more."""
        return span[1] + self._archive.published_ns + _LATEST_NS <= now_ns

    async def read(self, span: TimeSpan) -> AsyncGenerator[float, None]:
        """Fetch and read the files of a span that `has` is true of; then `blocks` gives its rows.

        Yields:
            How much of it is done, from 0 to 1.

        Raises:
            ParseError: A file is not what its name says.
            OkxError: A request failed, or a file stays damaged.
        """
        shutil.rmtree(self._rows, ignore_errors=True)
        numbers = self._archive.numbers_of(*span)
        for number in [number for number in self._fetched if number < numbers[0]]:
            self._fetched.pop(number).unlink(missing_ok=True)
        wanted = [number for number in numbers if number not in self._fetched]
        for place, number in enumerate(wanted):
            file = self._listed[number]
            assert file is not None, "whoever reads a span asked before whether its files are there"
            async with aclosing(self._rest.archive.fetch(file, self._folder)) as shares:
                async for share in shares:
                    yield (place + share) / len(wanted) / 2
            self._fetched[number] = file.path_in(self._folder)
            self.files += 1
        reading = FileReading(self._kind, self._instrument.id, self._described, self._rows)
        async with aclosing(reading.run([self._fetched[number] for number in numbers])) as shares:
            async for share in shares:
                yield 0.5 + share / 2
        self.problems += reading.problems

    def blocks(self, span: TimeSpan) -> Iterator[Block]:
        """Yield the rows of a span that was read, and of books the gaps that broke them, in the order of each stream.

        Candles are those that open within the span, all else was received then.
        """
        if not self._rows.exists():
            return
        catalog, stream = Catalog(self._rows), self._kind.stream(self._instrument.id)
        length_ns = self._kind.length_ns
        for each in (stream, Stream("gap", self._instrument.id)) if self._kind.is_filed_only else (stream,):
            found = read_blocks(catalog, each, start_ns=span[0] + length_ns, end_ns=span[1] - 1 + length_ns)
            if self._kind.word == "trades":
                yield from _by_time_and_id(stream, list(found))
            else:
                yield from found

    async def _file(self, number: int) -> ArchiveFile | None:
        if number not in self._listed:
            last = max(number, min(number + _AHEAD - 1, self._last))
            found = await self._rest.archive.listed(self._archive, self._instrument.id, number, last)
            self._listed.update({each: found.get(each) for each in range(number, last + 1)})
        return self._listed[number]


class FileReading:
    """One reading of files into a folder for rows, by the importer's own records of formats.

    Args:
        kind: What the files hold.
        name: Of the instrument.
        described: A file of its metadata.
        rows: The folder.
    """

    def __init__(self, kind: DownloadKind, name: str, described: Path, rows: Path) -> None:
        self.problems: list[str] = []
        self._kind = kind
        self._name = name
        self._described = described
        self._rows = rows
        self._stop = threading.Event()
        self._share = 0.0

    async def run(self, paths: Sequence[Path]) -> AsyncGenerator[float, None]:
        """Read files; yields how much is done.

        Raises:
            ParseError: They are not what they should be.
        """
        if not self._kind.is_filed_only:
            self._import(paths)
            return
        # A day of a book takes minutes, in which other streams go on and Ctrl-C works.
        work = asyncio.ensure_future(asyncio.to_thread(self._import, paths))
        try:
            while not (await asyncio.wait([work], timeout=0.2))[0]:
                yield self._share
        finally:
            self._stop.set()
        await work

    def _import(self, paths: Sequence[Path]) -> None:
        names = ", ".join(path.name for path in paths)
        try:
            report = import_files(
                f"okx/{self._kind.word}",
                paths,
                to=self._rows,
                only=[self._name],
                instrument_file=self._described,
                interval=self._kind.interval or None,
                progress=self._progress,
            )
        except EmptyImportError:
            return  # nothing was traded, or the family's files hold others alone
        except (ConfigError, DataError) as error:
            raise ParseError(str(error), where=names) from None
        if report.skipped:
            self.problems.append(f"rows of {names} that could not be understood")

    def _progress(self, _: str, done: int, size: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._share = done / max(1, size)


def _by_time_and_id(stream: Stream, blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield trades in the order in which requests bring them: those of one moment by their id."""
    if not blocks:
        return
    names = ("received_ns", "exchange_ns", *KIND_COLUMNS["trade"])
    columns = {name: np.concatenate([block.column(name) for block in blocks]) for name in names}
    order = np.lexsort((columns["trade_id"], columns["received_ns"]))
    yield Block(stream, len(order), {name: column[order] for name, column in columns.items()})
