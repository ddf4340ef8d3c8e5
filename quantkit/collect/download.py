"""`quantkit download`: an exchange's history into a data folder, piece by piece, each stored whole with what was asked.

A piece is a month of bars or funding, or six hours of trades. Its rows and the note that the exchange was asked for all
of it become visible together, so that a download that is killed goes on where it was, and a hole of the exchange
differs from a span that nobody asked for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from quantkit import clock
from quantkit.clock import NS_PER_S, iso_of, time_ns_of
from quantkit.collect.day_files import DayFiles
from quantkit.collect.kinds import kinds_of
from quantkit.collect.past import HistoryPart, found_in, pages_of
from quantkit.collect.plan import KindOf, StreamTask, Wish, first_ns, pairs_of, parts_of, source_of, tasks_of, unfit
from quantkit.collect.present import rows_now
from quantkit.collect.report import DownloadReport, Hole, StreamReport
from quantkit.collect.spans import TimeSpan, joined
from quantkit.errors import ConfigError
from quantkit.events import MarketEvent
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.rest.http import Transport
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

    async def run(self, wish: Wish) -> DownloadReport:
        """Download what is wanted and not stored.

        Raises:
            ConfigError: An instrument does not exist, no instrument has a kind, or no span is named.
            DataError: The folder cannot be read or written, or a reply makes no sense.
            OkxError: A request failed for good; what was stored before stays.
        """
        catalog = self._catalog()
        pairs = pairs_of(wish, catalog)
        self._report.left_out = unfit(wish)
        for pair in pairs:
            first_ns(wish, pair, catalog)  # refused before anything is asked for
        self._check_alone()
        async with self._rest as rest:
            await self._store_present(pairs)
            now_ns = self._now_ns() + await rest.clock_offset_ns()
            tasks = tasks_of(wish, pairs, self._catalog(), now_ns - SETTLED_NS)
            self._report.streams += [task.report for task in tasks]
            self._wanted_ns = sum(end - begin for task in tasks for _, _, (begin, end), _ in task.pieces)
            try:
                await _all([self._fetch(task, replaces=wish.replaces) for task in tasks])
            finally:
                self._report.counters = dict(rest.counters)
                self._report.requests = rest.requests
        return self._report

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

    async def _store_present(self, pairs: Sequence[KindOf]) -> None:
        """Store the instruments' metadata, and the kinds without a history, with the moment of the reply."""
        rest, now_ns = self._rest, self._now_ns()
        # An index has prices, but it is no instrument.
        names = dict.fromkeys(name for kind, name in pairs if kind.word != "index")
        listed = [await rest.instrument(name, valid_from_ns=now_ns) for name in names]
        rows: list[Sequence[MarketEvent]] = []
        for kind, instrument in pairs:
            if kind.is_past:
                continue
            found = await rows_now(rest, kind, instrument)
            self._report.streams.append(StreamReport(instrument, kind.text, rows=len(found), holes=[]))
            rows.append(found)
        self._commit_present(listed, rows)
        self._listed = {each.id: each for each in listed}

    def _catalog(self) -> Catalog | None:
        return Catalog(self._root) if self._root.exists(MANIFEST) else None

    def _commit_present(self, listed: list[Instrument], rows: list[Sequence[MarketEvent]]) -> None:
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
        name = task.stream.instrument
        async with self._places:
            with TemporaryDirectory(prefix="quantkit-") as folder:
                files = DayFiles(self._rest, self._listed[name], Path(folder)) if name in self._listed else None
                for piece in task.pieces:
                    block = await files.trades(piece.span) if files is not None and piece.may_be_filed else None
                    if block is not None:
                        self._store(task, piece, block, [] if len(block) else [piece.span], replaces=replaces)
                        continue
                    for span in parts_of(piece.kind, piece.span):
                        await self._ask(task, piece._replace(span=span, may_be_filed=False), replaces=replaces)
                if files is not None:
                    self._report.files += files.files
                    for problem in files.problems:
                        self._rest.counters[problem] += 1

    async def _ask(self, task: StreamTask, piece: HistoryPart, *, replaces: bool) -> None:
        """Ask for a piece page by page."""
        pages = []
        begin_ns, end_ns = piece.span
        async for page in pages_of(self._rest, piece):
            pages.append(page)
            oldest_ns = min(page[0].received_ns, page[-1].received_ns)
            self._tell(task.report, end_ns - min(max(oldest_ns, begin_ns), end_ns))
        rows, holes = found_in(piece, pages)
        self._store(task, piece, Block.from_events(rows) if rows else None, holes, replaces=replaces)

    def _store(
        self, task: StreamTask, piece: HistoryPart, block: Block | None, holes: list[TimeSpan], *, replaces: bool
    ) -> None:
        """Store a piece, and that the exchange was asked for all of it.

        The loop waits meanwhile, a fraction of a second: so Ctrl-C comes before or after.
        """
        source = f"{self._source}{' files' if piece.may_be_filed else ''} {piece.kind.text}"
        with Writer(self._root, source=source, replace=replaces) as writer:
            if block is not None and len(block):
                writer.write(block)
            writer.asked(task.stream, piece.span[0], piece.span[1] - 1, source=source)
        report = task.report
        report.rows += 0 if block is None else len(block)
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
        kinds: A kind or several: `candles-1m`, `trades`, `funding`, `marks-1m`, `index-1m`, `open-interest`,
            `instruments`, `tiers`, `price-limit`, `fee-rates`.
        start: First moment of the history, UTC: candles that open then or later, rows received then or later.
        end: The first moment that is no longer part of it; default a minute ago.
        data: The data folder, made when it is not there.
        update: Go on from the end of what is stored; without instruments with all that was downloaded before.
        replace: Ask for stored rows of the span again and put the new ones in their place.
        files: Take trades from the exchange's daily files where they are out; else all by request.
        okx: Which servers; default OKX's own.
        credentials: Of an account, for `fee-rates`; default those of the environment.
        progress: Called with what came and the nanoseconds of history done and wanted.

    Returns:
        The rows that came, the holes of the exchange, and what had to be repeated.

    Raises:
        ConfigError: An instrument or a kind does not exist, or no span is named.
        DataError: The folder cannot be read or written.
        FeedError: A request failed for good. What was stored before stays; call again to go on.
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
