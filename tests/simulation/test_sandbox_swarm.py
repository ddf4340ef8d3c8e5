"""The sandbox on the virtual network: what the model exchange proves holds with an independent server too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx2
import numpy as np
import pytest
from campaign import scaled
from simulation.logged import LoggedMarket
from simulation.setting import Consumer, most_within
from simulation.virtual import VirtualLoop, settle, simulate, until, virtual_loop
from simulation.witness import TapeList, Witness
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from quantkit.feeds.okx.codec.channels import account, book, candles, mark_price, orders, tickers, trades
from quantkit.feeds.okx.codec.private import AccountData
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.ws.client import OkxClient
from quantkit.sandbox import faults
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.keys import PASSPHRASE, SECRET
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.peer import ABORT, PeerGone
from quantkit.sandbox.rest import RestApi

pytestmark = [pytest.mark.long, pytest.mark.campaign]

_NAMES = ("BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP")
_CHANNELS = (
    *(make(name) for name in _NAMES for make in (book, trades, tickers)),
    mark_price("BTC-USDT-SWAP"),
    candles("BTC-USDT", "1m"),
    account(),
    orders(),
)
_URL = "ws://127.0.0.1:8765"
_DISCONNECTS = 12


class _VirtualPeer:
    """A connection of the websockets library as the exchange sees it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        try:
            return str(await self._connection.recv())
        except ConnectionClosed:
            raise PeerGone from None

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed:
            raise PeerGone from None

    async def close(self, code: int, reason: str) -> None:
        if code == ABORT:
            self._connection.transport.abort()
            return
        try:
            async with asyncio.timeout(5):
                await self._connection.close(code, reason)
        except TimeoutError:
            self._connection.transport.abort()


class _VirtualRest(httpx2.AsyncBaseTransport):
    """The exchange's REST interface without sockets."""

    def __init__(self, exchange: Exchange) -> None:
        self._api = RestApi(exchange)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.05)
        reply = self._api.answer(
            "GET",
            request.url.path,
            request.url.query.decode(),
            {name.lower(): value for name, value in request.headers.items()},
            address="10.0.0.1",
            now_s=virtual_loop().time(),
        )
        return httpx2.Response(reply.status, content=reply.body, headers=reply.headers)


class _SandboxRun:
    """One seed against the sandbox."""

    def __init__(self, seed: int) -> None:
        self.loop: VirtualLoop = virtual_loop()
        self.rng = np.random.default_rng([seed, 5])
        self.log = ExchangeLog(is_complete=True)
        market = GeneratedMarket(seed, instruments=6, orders_per_s=2.0, tick_ms=250)
        self.exchange = Exchange(market, wall_ns=self.loop.wall_ns, log=self.log)
        self.tape = TapeList()
        self.live_witness = Witness({})
        self.consumer = Consumer(self.live_witness)
        self.config = OkxConfig(url=_URL, trust_env=False, depth_channels_per_connection=2)
        self._stamp_ns = 0
        self.rest = OkxRest(
            self.config,
            transport=_VirtualRest(self.exchange),
            now_ns=self.loop.wall_ns,
            rng=np.random.default_rng([seed, 6]),
        )
        self.client = OkxClient(
            self.config,
            credentials=Credentials(key="sandbox-key", secret=SECRET, passphrase=PASSPHRASE),
            rest=self.rest,
            tape=self.tape,
            stamp=self._stamp,
            rng=np.random.default_rng([seed, 7]),
        )

    def _stamp(self) -> int:
        self._stamp_ns = max(self.loop.wall_ns(), self._stamp_ns + 1)
        return self._stamp_ns

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        fault = self.exchange.admit("10.0.0.1", request.path)
        return None if fault is None else connection.respond(HTTPStatus(fault.status), "refused\n")

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        await self.exchange.serve(_VirtualPeer(connection), connection.request.path)

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Run exchange, server, client and consumer; begin when everything is subscribed."""
        server = serve(
            self._serve, "", 8765, process_request=self._admit, ping_interval=None, compression=None, close_timeout=5
        )
        async with self.exchange, server, self.rest:
            async with self.client:
                reading = asyncio.create_task(self.consumer.read(self.client))
                await settle(self.client.subscribe(*_CHANNELS), within_s=60)
                yield
            await settle(reading, within_s=10)
            # What half of the links still believes in would hold up the end of the library's server without a limit.
            for link in self.loop.network.links:
                link.server.abort()

    async def disturb(self) -> None:
        """Let one thing go wrong."""
        links = self.loop.network.live
        link = links[int(self.rng.integers(len(links)))] if links else None
        number = int(self.rng.integers(12))
        name = _NAMES[int(self.rng.integers(len(_NAMES)))]
        match number:
            case 0 if link is not None:
                link.reset()
            case 1 if link is not None:
                link.finish()
            case 2 if link is not None:
                link.partition()
                await asyncio.sleep(32)
            case 3 if link is not None:
                link.stall_inside(100)
                await asyncio.sleep(10)
            case 4:
                self.exchange.inject(faults.Close(code=(1000, 1001, 4004, 4005, 4006)[int(self.rng.integers(5))]))
            case 5:
                self.exchange.inject(faults.Drop())
            case 6:
                self.live_witness.handovers_ns.append(self.loop.wall_ns())
                self.exchange.inject(faults.UpgradeNotice(close_after_s=30.0))
            case 7:
                self.exchange.inject(faults.LostPush(channel="books", instrument=name))
            case 8:
                self.exchange.inject(faults.Crossed(channel="books", instrument=name))
            case 9:
                self.exchange.inject(faults.Duplicate(channel="books", instrument=name), faults.Reset(instrument=name))
            case 10:
                self.exchange.inject(faults.Malformed(channel="books", instrument=name, form="number"))
            case _:
                self.exchange.inject(faults.Handshake(times=2))

    def is_healthy(self) -> bool:
        """Return whether all connections are live and every book came anew since the last gap."""
        states = [each.state.value for each in self.client.connections]
        held = [subscription for each in self.exchange.sessions.values() for subscription in each.subscriptions]
        return all(state == "live" for state in states) and len(held) >= len(_CHANNELS)

    def judge(self) -> Witness:
        """Compare everything that was delivered with the exchange's log."""
        witness = Witness({name: LoggedMarket(self.log, name) for name in _NAMES})
        witness.handovers_ns = self.live_witness.handovers_ns
        witness.see(self.consumer.events)
        assert not witness.errors, "\n".join(witness.errors[:20])
        assert all(witness.is_valid(name) for name in _NAMES)
        assert self.tape.replayed() == self.consumer.events
        assert most_within(self.loop.network.dials, 1.0) <= 3
        assert not self.consumer.troubles
        return witness


@pytest.mark.parametrize("seed", range(min(scaled(3), 8)))
def test_disconnects_from_the_sandbox_leave_no_wrong_book_and_no_silent_loss(seed: int) -> None:
    async def main() -> tuple[_SandboxRun, Witness]:
        run = _SandboxRun(seed)
        async with run.live():
            while len(run.tape.losses) < _DISCONNECTS:
                await asyncio.sleep(run.rng.uniform(1, 6))
                await run.disturb()
            run.exchange.faults.clear()
            await until(run.is_healthy, within_s=60, what="healthy again")
            # The last notice ends its connection only now; what follows has to be whole as well.
            await asyncio.sleep(60)
            await until(run.is_healthy, within_s=60, what="healthy after the last notice")
            await asyncio.sleep(10)
        return run, run.judge()

    run, witness = simulate(main(), seed=seed)
    assert witness.books_checked > 100
    assert any(isinstance(event, AccountData) for event in run.consumer.events)
    # A login for each private connection that was ever made, each signed anew and accepted.
    logins = run.log.happened("login")
    private = [each for each in run.log.happened("opened") if each.details == "private"]
    assert len(logins) >= 1
    assert len(private) >= len(logins)
