"""The local exchange's REST side in virtual time, as the transport of a download: a month takes seconds."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from simulation.virtual import EPOCH_NS, simulate, virtual_loop

from quantkit.clock import NS_PER_MIN
from quantkit.collect.download import Downloader
from quantkit.collect.kinds import kinds_of
from quantkit.collect.plan import Wish
from quantkit.collect.report import DownloadReport
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.rows.columns import Stream
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import Fault
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.rest import PREFIX, RestApi
from quantkit.storage.catalog import Catalog
from quantkit.storage.rows_digest import rows_digest

CONFIG = OkxConfig(url="http://127.0.0.1:1")
KEY = Credentials(key="sandbox-key", secret="sandbox-secret", passphrase="sandbox-pass")
SWAP, SPOT = "BTC-USDT-SWAP", "BTC-USDT"
#: When a download begins: some minutes after the market has opened.
NOW_NS = EPOCH_NS + 5 * NS_PER_MIN
TIMEOUT_S = 5.0


class Venue(httpx2.AsyncBaseTransport):
    """Answers as the local exchange does, with its limits and faults, and counts.

    Args:
        exchange: Whose REST side it is.
        dies_at: The number of the request at which the program ends as if it were killed; 0 for never.
    """

    def __init__(self, exchange: Exchange, *, dies_at: int = 0) -> None:
        self._api = RestApi(exchange)
        self._dies_at = dies_at
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.answers: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        now_s = asyncio.get_running_loop().time()
        self.asked.append((now_s, request.url.path.removeprefix(PREFIX), dict(request.url.params)))
        if len(self.asked) == self._dies_at:
            raise Killed
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, query = request.url.path, request.url.query.decode()
        reply = self._api.answer("GET", path, query, headers, b"", address="me", now_s=now_s, base=str(CONFIG.url))
        await asyncio.sleep(0.02 + reply.delay_s)
        self.answers[str(reply.status)] += 1
        return httpx2.Response(reply.status, headers=reply.headers, content=reply.body)


class Killed(BaseException):
    """Ends a download without any of its own doing."""


def fetched(
    folder: Path,
    instruments: Sequence[str],
    kinds: str,
    from_ns: int | None = None,
    to_ns: int | None = None,
    *,
    faults: Sequence[Fault] = (),
    dies_at: int = 0,
    now_ns: int = NOW_NS,
    update: bool = False,
    replace: bool = False,
    files: bool = False,
    market: Callable[[], Any] = lambda: GeneratedMarket(3, 6, orders_per_s=0, tick_ms=1000),
    venue: list[Venue] | None = None,
) -> DownloadReport:
    """Return what a download from a market of its own comes to; its seed is always the same."""

    async def main() -> DownloadReport:
        async with Exchange(market(), wall_ns=virtual_loop().wall_ns) as exchange:
            await asyncio.sleep((now_ns - EPOCH_NS) / 1e9)
            exchange.inject(*faults)
            transport = Venue(exchange, dies_at=dies_at)
            if venue is not None:
                venue.append(transport)
            options = {"transport": transport, "now_ns": virtual_loop().wall_ns, "timeout_s": TIMEOUT_S}
            job = Downloader(folder, config=CONFIG, credentials=KEY, **options)
            return await job.run(
                Wish(instruments, kinds_of(kinds) if kinds else [], from_ns, to_ns, update, replace, files)
            )

    return simulate(main())


def digest(folder: Path) -> dict[Stream, str]:
    """Return the canonical digest of each stream's rows, whatever files they lie in."""
    catalog = Catalog(folder)
    return {stream: rows_digest(catalog, stream, 0, 2**62) for stream in catalog.coverage()}
