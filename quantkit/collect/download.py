"""`quantkit download`: an exchange's history into a data folder, piece by piece, each stored whole with what was asked.

A piece is a month of bars or funding, six hours of trades, or a day of trades or of a book from the exchange's files.
Its rows and the note that the exchange was asked for all of it become visible together, so that a download that is
killed goes on where it was, and a hole of the exchange differs from a span that nobody asked for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import numpy as np

from quantkit import clock
from quantkit.clock import NS_PER_S, iso_of, time_ns_of
from quantkit.collect.day_files import DayFiles
from quantkit.collect.kinds import kinds_of
from quantkit.collect.past import HistoryPart, found_in, pages_of
from quantkit.collect.plan import (
    KindOf,
    StreamTask,
    Wish,
    first_ns,
    held_spans,
    pairs_of,
    parts_of,
    source_of,
    tasks_of,
    unfit,
)
from quantkit.collect.present import rows_now
from quantkit.collect.report import DownloadError, DownloadReport, Hole, StreamReport
from quantkit.collect.spans import TimeSpan, joined, without
from quantkit.errors import ConfigError, DataError, ParseError, QuantkitError
from quantkit.events import MarketEvent
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxError, OkxRequestError
from quantkit.feeds.okx.rest.http import Transport
from quantkit.feeds.okx.rest.ids import expires_ns, own_id
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.root import WORK, Root
from quantkit.storage.tape import has_writer
from quantkit.storage.writer import Writer

#: Called with what came, and how many nanoseconds of history are done and wanted.
DownloadProgress: TypeAlias = Callable[[str, int, int], None]

#: History is asked for up to so long ago: the newest bar may not be closed yet, the newest trades not be listed.
SETTLED_NS: Final = 60 * NS_PER_S
#: A download of days meets many failures; one request is given up only after some minutes.
_ATTEMPTS: Final = 12
_TIMEOUT_S: Final = 20.0
#: So many streams are asked for at once; each waits for its replies, all share the exchange's limits.
_STREAMS_AT_ONCE: Final = 8


class Downloader:
    """One download into one folder.

    Args:
        to: The data folder, made when it is not there.
        config: Which servers.
        credentials: For the account's fees.
        progress: Told of each page.
        parallel: How many streams are asked for at once.
        timeout_s: For one request.
        transport: An HTTP transport of httpx2 to use instead of the network's.
        now_ns: The machine's clock, UTC ns.
    """

    def __init__(
        self,
        to: str | Path,
        *,
        config: OkxConfig,
        credentials: Credentials | None,
        progress: DownloadProgress | None = None,
        parallel: int = _STREAMS_AT_ONCE,
        timeout_s: float = _TIMEOUT_S,
        transport: "Transport | None" = None,
        now_ns: Callable[[], int] = clock.wall_ns,
    ) -> None:
        self._root = Root.of(to)
        self._rest = OkxRest(
            config,
            credentials=credentials,
            transport=transport,
            now_ns=now_ns,
            timeout_s=timeout_s,
            attempts=_ATTEMPTS,
        )
        self._now_ns = now_ns
        self._progress = progress
        self._places = asyncio.Semaphore(parallel)
        self._source = source_of(config)
        self._report = DownloadReport(str(Root.of(to)))
        self._wanted_ns = self._done_ns = 0
        self._listed: dict[str, Instrument] = {}
        self._errors: list[QuantkitError] = []
        self._complete = 0  # streams of which nothing failed

    async def run(self, wish: Wish) -> DownloadReport:
        """Download what is wanted and not stored.

        Raises:
            ConfigError: No instrument has a kind, or no span is named.
            DataError: The folder cannot be read or written, or a reply makes no sense.
            OkxError: All that was wanted failed for one reason; what was stored before stays.
            DownloadError: Some of it failed.
        """
        catalog = self._catalog()
        pairs = pairs_of(wish, catalog)
        self._report.left_out = unfit(wish)
        if not wish.instruments:
            pairs = self._without_expired(pairs)
        for pair in pairs:
            first_ns(wish, pair, catalog)  # refused before anything is asked for
        self._check_alone()
        async with self._rest as rest:
            pairs = await self._store_present(pairs)
            now_ns = self._now_ns() + await rest.clock_offset_ns()
            tasks = tasks_of(wish, pairs, self._catalog(), now_ns - SETTLED_NS)
            self._report.streams += [task.report for task in tasks]
            self._wanted_ns = sum(end - begin for task in tasks for _, _, (begin, end), _ in task.pieces)
            try:
                await _all([self._fetch(task, replaces=wish.replaces) for task in tasks])
            finally:
                self._report.counters = dict(rest.counters)
                self._report.requests = rest.requests
        if len(self._errors) == 1 and not self._complete:
            raise self._errors[0]
        if self._errors:
            raise DownloadError(self._report)
        return self._report

    def _without_expired(self, pairs: Sequence[KindOf]) -> list[KindOf]:
        """Return the streams of an update without those that have ended for good."""
        now_ns = self._now_ns()
        ends = {name: expires_ns(name) for _, name in pairs}
        ended = {name: end_ns for name, end_ns in ends.items() if end_ns is not None and end_ns <= now_ns}
        self._report.left_out += [f"{name} expired on {iso_of(end_ns)[:10]}" for name, end_ns in ended.items()]
        return [pair for pair in pairs if pair.instrument not in ended]

    def _fail(self, where: str, error: QuantkitError) -> None:
        """Note what failed; all else goes on."""
        self._errors.append(error)
        self._report.failures.append(f"{where}: {error}" if where else str(error))

    def _check_alone(self) -> None:
        """Refuse to write beside a collector, whose next rows of a stream would be refused where a download has some.

        Raises:
            ConfigError: One records into the folder.
        """
        if self._root.is_local and has_writer(Path(self._root.path) / WORK / "tape"):
            raise ConfigError(
                f"{self._root}: a collector records into this folder, and rows that both bring would be refused; "
                "download into another folder, or end it first"
            )

    # The present ----------------------------------------------------------------------------------------------

    async def _store_present(self, pairs: Sequence[KindOf]) -> list[KindOf]:
        """Store the instruments' metadata, and the kinds without a history, with the moment of the reply.

        Returns:
            The streams whose instruments are listed.
        """
        rest, now_ns = self._rest, self._now_ns()
        # An index has prices, but it is no instrument.
        names = dict.fromkeys(name for kind, name in pairs if kind.word != "index")
        refused: set[str] = set()
        for name in names:
            try:
                self._listed[name] = await rest.instrument(name, valid_from_ns=now_ns)
            except (OkxRequestError, ParseError) as error:
                refused.add(name)
                self._fail("", error)
        rows: list[Sequence[MarketEvent]] = []
        for pair in pairs:
            kind, instrument = pair
            if kind.is_past or instrument in refused:
                continue
            try:
                found = await rows_now(rest, kind, instrument)
            except (OkxError, ParseError) as error:
                self._fail(str(pair), error)
                continue
            self._complete += 1
            self._report.streams.append(StreamReport(instrument, kind.text, rows=len(found), holes=[]))
            rows.append(found)
        self._commit_present(list(self._listed.values()), rows)
        return [pair for pair in pairs if pair.instrument not in refused]

    def _catalog(self) -> Catalog | None:
        return Catalog(self._root) if self._root.exists(MANIFEST) else None

    def _commit_present(self, listed: list[Instrument], rows: list[Sequence[MarketEvent]]) -> None:
        if not listed and not rows:
            return
        catalog = self._catalog()
        known = {} if catalog is None else catalog.versions()
        with Writer(self._root, source=self._source) as writer:
            for instrument in listed:
                versions = known.get(instrument.id, [])
                # The same steps again are no news, and a guess from data is.
                if not versions or versions[-1].source == "inferred" or versions[-1].change_to(instrument):
                    writer.write_instrument(instrument)
            for found in rows:
                if found:
                    writer.write(Block.from_events(found))

    # The past -------------------------------------------------------------------------------------------------

    async def _fetch(self, task: StreamTask, *, replaces: bool) -> None:
        """Get the pieces of a stream, the oldest first: what the exchange drops next comes first."""
        async with self._places:
            with TemporaryDirectory(prefix="quantkit-") as folder:
                files = self._files_of(task, Path(folder))
                try:
                    for piece in task.pieces:
                        if files is None or not await self._from_files(task, piece, files, replaces=replaces):
                            for span in parts_of(piece.kind, piece.span):
                                await self._ask(task, piece._replace(span=span, may_be_filed=False), replaces=replaces)
                except (OkxError, ParseError) as error:
                    self._fail(f"{task.report.instrument} {task.report.kind}", error)
                else:
                    self._complete += 1
                finally:
                    if files is not None:
                        self._report.files += files.files
                        for problem in files.problems:
                            self._rest.counters[problem] += 1

    def _files_of(self, task: StreamTask, folder: Path) -> DayFiles | None:
        """Return the exchange's files of a stream; None where none of its pieces may come from them."""
        filed = [piece for piece in task.pieces if piece.may_be_filed]
        instrument = self._listed.get(task.stream.instrument)
        if not filed or instrument is None or (archive := filed[-1].kind.archive) is None:
            return None
        last = archive.numbers_of(*filed[-1].span)[-1]
        return DayFiles(self._rest, filed[-1].kind, archive, instrument, folder, last=last)

    async def _from_files(self, task: StreamTask, piece: HistoryPart, files: DayFiles, *, replaces: bool) -> bool:
        """Take a piece from the exchange's files; return whether it is done with."""
        kind, span = piece.kind, piece.span
        if not piece.may_be_filed:
            return False
        if not await files.has(span):
            if kind.is_filed_only:
                # A late file may still come, so only after some days is it known that there is none.
                is_known = files.is_final(span, self._now_ns())
                self._done(task, piece, self._write(task, piece, [], replaces=replaces, is_known=is_known), [span])
            return kind.is_filed_only
        async with aclosing(files.read(span)) as shares:
            async for share in shares:
                self._tell(task.report, int(share * (span[1] - span[0])))
        if kind.is_filed_only:
            rows = await asyncio.to_thread(self._write, task, piece, files, replaces=replaces)
            self._done(task, piece, rows, [] if rows else [span])
            return True
        blocks = list(files.blocks(span))
        if kind.word == "trades":
            holes = [] if blocks else [span]
        else:
            holes = found_in(piece, [block.events() for block in blocks]).holes
        if holes and kind.word != "funding":
            # Only what requests have not either is a hole. Those of funding forget it while a file still has most.
            self._rest.counters[f"files of {kind.text} without all rows, which were asked for by request"] += 1
            return False
        self._done(task, piece, self._write(task, piece, blocks, replaces=replaces), holes)
        return True

    async def _ask(self, task: StreamTask, piece: HistoryPart, *, replaces: bool) -> None:
        """Ask for a piece page by page."""
        pages = []
        begin_ns, end_ns = piece.span
        async for page in pages_of(self._rest, piece):
            pages.append(page)
            oldest_ns = min(page[0].received_ns, page[-1].received_ns)
            self._tell(task.report, end_ns - min(max(oldest_ns, begin_ns), end_ns))
        rows, holes = found_in(piece, pages)
        blocks = [Block.from_events(rows)] if rows else []
        self._done(task, piece, self._write(task, piece, blocks, replaces=replaces), holes)

    def _write(
        self,
        task: StreamTask,
        piece: HistoryPart,
        rows: DayFiles | Sequence[Block],
        *,
        replaces: bool,
        is_known: bool = True,
    ) -> int:
        """Store a piece, and that the exchange was asked for all of it; return how many rows it has.

        The loop waits meanwhile, a fraction of a second: so Ctrl-C comes before or after. What another download has
        stored since this one was planned stays.
        """
        left = [piece.span]
        while True:
            try:
                return self._commit(task, piece, rows, left, replaces=replaces, is_known=is_known)
            except DataError:
                catalog = self._catalog()
                held = [] if catalog is None else held_spans(catalog, KindOf(piece.kind, piece.instrument))
                if replaces or (free := without(piece.span, held)) == left:
                    raise
                left = free

    def _commit(
        self,
        task: StreamTask,
        piece: HistoryPart,
        rows: DayFiles | Sequence[Block],
        spans: Sequence[TimeSpan],
        *,
        replaces: bool,
        is_known: bool,
    ) -> int:
        source = f"{self._source}{' files' if piece.may_be_filed else ''} {piece.kind.text}"
        count = 0
        with Writer(self._root, source=source, replace=replaces) as writer:
            for span in spans:
                for block in _within(rows, span, piece.kind.length_ns if piece.kind.word == "candles" else 0):
                    writer.write(block)
                    count += len(block) if block.stream == task.stream else 0
            if is_known:
                writer.asked(task.stream, piece.span[0], piece.span[1] - 1, source=source)
        return count

    def _done(self, task: StreamTask, piece: HistoryPart, rows: int, holes: list[TimeSpan]) -> None:
        """Count a piece that is stored."""
        report = task.report
        report.rows += rows
        held = [(hole.from_ns, hole.to_ns) for hole in report.holes]
        report.holes = [Hole(*hole) for hole in joined([*held, *holes])]
        self._done_ns += piece.span[1] - piece.span[0]
        self._tell(report, 0)

    def _tell(self, report: StreamReport, part_ns: int) -> None:
        if self._progress is not None and self._wanted_ns:
            self._progress(f"{report.instrument} {report.kind}", self._done_ns + part_ns, self._wanted_ns)


def download(
    instruments: str | Iterable[str] = (),
    kinds: str | Iterable[str] = (),
    start: str | int | date | None = None,
    end: str | int | date | None = None,
    *,
    data: str | Path = "data",
    update: bool = False,
    replace: bool = False,
    files: bool = True,
    okx: OkxConfig | None = None,
    credentials: Credentials | None = None,
    progress: DownloadProgress | None = None,
) -> DownloadReport:
    """Bring an exchange's history into a data folder, and what it tells of the present with its moment.

    What is stored stays and is not asked for again: a download that was interrupted goes on where it was when it is
    called again. Requests keep within the exchange's limits and are repeated where that helps.

    Args:
        instruments: An id or several: `BTC-USDT`, `BTC-USDT-SWAP`.
        kinds: A kind or several: `candles-1m`, `trades`, `funding`, `marks-1m`, `index-1m`, `books`,
            `open-interest`, `instruments`, `tiers`, `price-limit`, `fee-rates`.
        start: First moment of the history, UTC: candles that open then or later, rows received then or later.
        end: The first moment that is no longer part of it; default a minute ago.
        data: The data folder, made when it is not there.
        update: Go on from the end of what is stored; without instruments with all that was downloaded before.
        replace: Ask for stored rows of the span again and put the new ones in their place.
        files: Take trades, bars of a minute and funding from the exchange's files of days and months where they are
            out; else all by request.
        okx: Which servers; default OKX's own.
        credentials: Of an account, for `fee-rates`; default those of the environment.
        progress: Called with what came and the nanoseconds of history done and wanted.

    Returns:
        The rows that came, the holes of the exchange, and what had to be repeated.

    Raises:
        ConfigError: An instrument or a kind does not exist, or no span is named.
        DataError: The folder cannot be read or written.
        FeedError: A request failed for good. What was stored before stays; call again to go on. Where only some of
            what was wanted failed it is a `DownloadError`, whose `report` has the rest.
    """
    if not instruments and not update:
        raise ConfigError(
            "no instrument is named; for example BTC-USDT-SWAP, kinds candles-1m,funding (--kinds), from 2026-01-01"
        )
    wish = Wish(
        instruments=[instruments] if isinstance(instruments, str) else list(instruments),
        kinds=[] if not kinds and update else kinds_of(kinds),
        from_ns=None if start is None else time_ns_of(start),
        to_ns=None if end is None else time_ns_of(end),
        is_update=update,
        replaces=replace,
        uses_files=files,
    )
    if wish.from_ns is not None and wish.to_ns is not None and wish.to_ns <= wish.from_ns:
        raise ConfigError(f"the end {iso_of(wish.to_ns)} is not after the start {iso_of(wish.from_ns)}")
    for name in wish.instruments:
        own_id(name)  # an empty id, or one of another exchange, is refused before anything is asked for
    if wish.from_ns is not None and wish.from_ns > clock.wall_ns():
        raise ConfigError(f"the start {iso_of(wish.from_ns)} has not come yet; name an earlier one")
    if update and replace:
        raise ConfigError("update goes on after what is stored, and replace asks for it again; give one of them")
    if bool(wish.instruments) is not bool(wish.kinds) or not (wish.instruments or update):
        raise ConfigError("name both instruments and kinds; only an update goes without both")
    if credentials is None and any(kind.word == "fee-rates" for kind in wish.kinds):
        credentials = Credentials.from_environment()
    config = okx or OkxConfig()

    async def run() -> DownloadReport:
        return await Downloader(data, config=config, credentials=credentials, progress=progress).run(wish)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    # In a notebook a loop is running already, and waiting for it here would stop it.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def _within(rows: DayFiles | Sequence[Block], span: TimeSpan, length_ns: int) -> Iterator[Block]:
    """Yield the rows of a piece that lie in a span; candles of a length are those that open in it."""
    if isinstance(rows, DayFiles):
        yield from rows.blocks(span)
        return
    for block in rows:
        first, last = np.searchsorted(block.column("received_ns"), [span[0] + length_ns, span[1] + length_ns])
        if first < last:
            yield block.slice(int(first), int(last))


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines together; the first error ends the others and is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for task_ in tasks:
            task_.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
