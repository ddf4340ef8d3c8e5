"""SimOKX, a model exchange for the virtual network: OKX's protocol as far as faults need it, and a log of it all."""

import asyncio
import http
import json
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx2
import numpy as np
from simulation.sim_market import BAR_MS, Row, SimMarket
from simulation.virtual import VirtualLoop, virtual_loop
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

HOST: Final = "exchange.test"
PORT: Final = 8765
URL: Final = f"ws://{HOST}:{PORT}"
_IDLE_S: Final = 30.0
_PUBLIC: Final = ("books", "trades", "tickers", "mark-price")
#: Frames that wait for one connection before the exchange calls it too slow.
_MOST_WAITING: Final = 5_000


class Injected(NamedTuple):
    """Something that was made to go wrong: when, what, on which connection (0 for all), and for which stream."""

    at_s: float
    what: str
    connection: int
    channel: str
    instrument: str


class SimSession:
    """One connection as the exchange sees it.

    Attributes:
        number: Counts from 1.
        subscriptions: Channel and instrument of what is pushed here.
        is_silent: Nothing is pushed or answered, though the connection stays.
        is_pongless: Pings are not answered.
        stalled: Streams that are not pushed any more.
        mischief: What happens to the next pushes of a stream.
        operations: When subscribe and unsubscribe requests came; virtual seconds.
    """

    def __init__(self, exchange: "SimOkx", peer: ServerConnection, path: str, number: int) -> None:
        self.exchange, self.peer, self.path, self.number = exchange, peer, path, number
        self.subscriptions: set[tuple[str, str]] = set()
        self.is_silent = self.is_pongless = self.is_over = False
        self.stalled: set[tuple[str, str]] = set()
        self.mischief: dict[tuple[str, str], deque[str]] = {}
        self.operations: list[float] = []
        self.connection_id = f"{zlib.crc32(str(number).encode()):08x}"
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._swapped: dict[tuple[str, str], str] = {}
        self._last_heard_s = self._last_pushed_s = exchange.loop.time()

    async def live(self) -> None:
        """Serve the connection until it ends."""
        tasks = [asyncio.ensure_future(self._write()), asyncio.ensure_future(self._watch())]
        try:
            async for message in self.peer:
                self._last_heard_s = self.exchange.loop.time()
                await self._take(str(message))
        except ConnectionClosed:
            pass
        finally:
            self.is_over = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, code: int) -> None:
        """Close with a code, and break off where that does not come to an end."""
        self.is_over = True
        try:
            async with asyncio.timeout(10):
                await self.peer.close(code, "closed by SimOKX")
        except TimeoutError:
            # The library waits without a limit for room to write its close frame; a machine's TCP gives up some time.
            self.peer.transport.abort()

    def say(self, **fields: Any) -> None:
        """Send an event."""
        self._send(json.dumps({**fields, "connId": self.connection_id}))

    def push(self, channel: str, market: SimMarket, row: Row) -> None:
        """Send a row, or what the mischief makes of it."""
        stream = (channel, market.name)
        if stream not in self.subscriptions or stream in self.stalled:
            return
        frame = _frame(channel, market.name, row)
        waiting = self.mischief.get(stream)
        # Damage to a book is damage to its updates; a snapshot puts everything right.
        if waiting and row.action != "snapshot":
            what = waiting.popleft()
            self.exchange.note(what, self, channel, market.name)
            frames = self._damaged(what, stream, frame, market)
        else:
            frames = [frame]
        if stream in self._swapped and frame in frames:
            frames.append(self._swapped.pop(stream))
        for each in frames:
            self._send(each)

    def _damaged(self, what: str, stream: tuple[str, str], frame: str, market: SimMarket) -> list[str]:
        match what:
            case "drop":
                return []
            case "double":
                return [frame, frame]
            case "swap":
                self._swapped[stream] = frame
                return []
            case "malformed":
                return [frame.replace('"ts":"', '"ts":"NaN', 1)]
            case "cut":
                return [frame[: len(frame) // 2]]
            case "cross":
                return [frame, _frame("books", market.name, market.crossing(market.seq))]
            case "stranger":
                return [frame, _frame("books", "NOBODY-WANTS", market.snapshot()), '{"event":"surprise"}', "pong"]
        raise AssertionError(what)

    # Requests ----------------------------------------------------------------------------------------------------

    async def _take(self, text: str) -> None:
        if self.is_silent:
            return
        if text == "ping":
            if not self.is_pongless:
                self._send("pong")
            return
        request = json.loads(text)
        self.operations.append(self.exchange.loop.time())
        hour = [at_s for at_s in self.operations if at_s > self.exchange.loop.time() - 3600]
        if len(hour) > 480:
            self.exchange.violations.append("more than 480 operations in an hour")
            self.say(event="error", code="60014", msg="Requests too frequent", id=request.get("id"))
            return
        if len(text) > 4096:
            self.exchange.violations.append("a request of more than 4096 bytes")
        for arg in request["args"]:
            self._operate(request["op"], arg, request.get("id"))

    def _operate(self, op: str, arg: dict[str, str], request_id: str | None) -> None:
        exchange, stream = self.exchange, (arg["channel"], arg.get("instId", ""))
        exchange.operations[op] += 1
        if exchange.acks_to_lose > 0:
            exchange.acks_to_lose -= 1
            exchange.note("ack lost", self, *stream)
            return
        expected = "business" if stream[0].startswith("candle") else "public"
        if stream[1] not in exchange.markets or self.path != expected or stream[1] in exchange.refused:
            text = f"Wrong URL or channel:{stream[0]},instId:{stream[1]} doesn't exist."
            self.say(event="error", code="60018", msg=text, id=request_id)
            return
        ack = {"event": op, "arg": arg, "id": request_id}
        if op == "unsubscribe":
            self.subscriptions.discard(stream)
            self.stalled.discard(stream)
            self.say(**ack)
            return
        is_new = stream not in self.subscriptions
        self.subscriptions.add(stream)
        is_ack_late = exchange.rng.random() < 0.2
        if not is_ack_late:
            self.say(**ack)
        if is_new:
            self._first(stream)
        if is_ack_late:
            self.say(**ack)

    def _first(self, stream: tuple[str, str]) -> None:
        channel, market = stream[0], self.exchange.markets[stream[1]]
        if channel == "books":
            if self.exchange.snapshots_to_lose > 0:
                self.exchange.snapshots_to_lose -= 1
                self.exchange.note("snapshot lost", self, *stream)
            else:
                self.push(channel, market, market.snapshot())
        elif channel == "trades":
            self.push(channel, market, market.last_trade())
        elif channel == "tickers":
            self.push(channel, market, market.last_quote())
        elif channel == "mark-price":
            self.push(channel, market, market.last_mark())

    # Sending -----------------------------------------------------------------------------------------------------

    def _send(self, text: str) -> None:
        if not self.is_over and not self.is_silent:
            self._outbox.put_nowait(text)

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                text = await self._outbox.get()
                await self.peer.send(text)
                self._last_pushed_s = self.exchange.loop.time()
                if self._outbox.qsize() > _MOST_WAITING:
                    self.exchange.note("too slow", self, "", "")
                    await self.close(4005)

    async def _watch(self) -> None:
        """Close a connection on which nothing came or went for 30 s."""
        while True:
            await asyncio.sleep(1)
            if self.exchange.loop.time() - max(self._last_heard_s, self._last_pushed_s) > _IDLE_S:
                await self.close(4004)


class SimOkx:
    """The exchange. Enter it, and dial `URL` on the virtual network.

    Args:
        names: Its instruments.
        pace_s: Mean time between two moments at which an instrument's market moves.
        seed: For the markets.

    Attributes:
        markets: By instrument; they remember everything they ever published.
        sessions: Every connection that ever was.
        injected: Every fault that took effect.
        violations: What the client did that OKX forbids.
        handshakes: HTTP status of the next handshakes; 101 lets one through.
        refused: Instruments whose subscription is refused.
        acks_to_lose, snapshots_to_lose: How many of the next ones never come.
        is_rest_down: Whether REST gives no answers.
    """

    def __init__(self, names: Sequence[str], *, pace_s: float = 1.0, seed: int = 0) -> None:
        self.loop: VirtualLoop = virtual_loop()
        self.rng = np.random.default_rng([seed, 1])
        self.markets = {name: SimMarket(name, self.loop, self.rng, pace_s=pace_s) for name in names}
        self.sessions: list[SimSession] = []
        self.injected: list[Injected] = []
        self.violations: list[str] = []
        self.operations: Counter[str] = Counter()
        self.handshakes: deque[int] = deque()
        self.refused: set[str] = set()
        self.acks_to_lose = self.snapshots_to_lose = 0
        self.is_rest_down = False
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle,
            HOST,
            PORT,
            process_request=self._admit,
            ping_interval=None,
            compression=None,
            close_timeout=5,
            max_size=2**16,
        )
        for market in self.markets.values():
            market.publish = self._publish
            self._tasks.append(asyncio.create_task(market.run()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def live(self) -> list[SimSession]:
        """The connections that the exchange believes in."""
        return [session for session in self.sessions if not session.is_over]

    def note(self, what: str, session: SimSession | None = None, channel: str = "", instrument: str = "") -> None:
        """Write down that something was made to go wrong."""
        self.injected.append(Injected(self.loop.time(), what, session.number if session else 0, channel, instrument))

    def holders(self, channel: str, instrument: str) -> list[SimSession]:
        """Return the connections that a stream is pushed on."""
        return [session for session in self.live if (channel, instrument) in session.subscriptions]

    def _publish(self, channel: str, market: SimMarket, row: Row) -> None:
        for session in self.live:
            session.push(channel, market, row)

    async def _handle(self, peer: ServerConnection) -> None:
        assert peer.request is not None
        session = SimSession(self, peer, peer.request.path.rpartition("/")[2], len(self.sessions) + 1)
        self.sessions.append(session)
        await session.live()

    def _admit(self, peer: ServerConnection, request: Request) -> Response | None:
        status = self.handshakes.popleft() if self.handshakes else 101
        if status == 101:
            return None
        self.note(f"handshake {status}")
        response = peer.respond(http.HTTPStatus(status), "not now\n")
        if status == 429:
            response.headers["Retry-After"] = "2"
        return response


class SimRest(httpx2.AsyncBaseTransport):
    """The exchange's REST interface, as the transport of an HTTP client."""

    def __init__(self, exchange: SimOkx) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request after the network's delay."""
        exchange = self._exchange
        await asyncio.sleep(exchange.rng.uniform(0.02, 0.2))
        if exchange.is_rest_down:
            raise httpx2.ConnectError("no route to host")
        query, path = request.url.params, request.url.path
        market = exchange.markets.get(query.get("instId", ""))
        if path == "/api/v5/public/time":
            data = f'[{{"ts":"{exchange.loop.wall_ns() // 1_000_000}"}}]'
        elif market is None:
            return httpx2.Response(200, text='{"code":"51001","msg":"Instrument ID does not exist","data":[]}')
        elif path == "/api/v5/market/books":
            data = f"[{market.rest_book()}]"
        elif path in ("/api/v5/market/candles", "/api/v5/market/history-candles"):
            after, before = int(query.get("after", 2**62)), int(query.get("before", 0))
            rows = [row for open_ms, row in market.bars.items() if before < open_ms < after]
            rows.reverse()
            data = json.dumps(rows[: int(query.get("limit", 100))])
        else:
            return httpx2.Response(404, text="not found")
        return httpx2.Response(200, text=f'{{"code":"0","msg":"","data":{data}}}')


def _frame(channel: str, instrument: str, row: Row) -> str:
    action = f'"action":"{row.action}",' if row.action else ""
    return f'{{"arg":{{"channel":"{channel}","instId":"{instrument}"}},{action}"data":[{row.data}]}}'


assert BAR_MS == 60_000
