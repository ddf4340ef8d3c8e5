"""A scripted server on loopback that speaks enough of OKX's protocol to try a client's connections on."""

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy
from quantkit.feeds.okx.tracker.channel import FeedMessage

#: Milliseconds of all rows.
TS = "1700000000000"


class Visit:
    """One connection of a client, as the server sees it."""

    def __init__(self, number: int, socket: ServerConnection, path: str) -> None:
        self.number = number
        self.socket = socket
        self.path = path.rsplit("/", 1)[-1]
        self.requests: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.subscribed: list[dict[str, str]] = []
        self.seq = 100
        self.at_s = asyncio.get_running_loop().time()
        self.close_code: int | None = None

    async def send(self, message: Any) -> None:
        """Send a message as JSON."""
        await self.socket.send(json.dumps(message))

    async def ack(self, request: dict[str, Any], arg: dict[str, str], event: str = "") -> None:
        """Acknowledge one argument."""
        await self.send({"id": request.get("id"), "event": event or request["op"], "arg": arg, "connId": "a4d3ae55"})

    async def error(self, code: str, text: str, request: dict[str, Any] | None = None) -> None:
        """Send an error, with the id of a request if one is given."""
        said = {"event": "error", "msg": text, "code": code, "connId": "a4d3ae55"}
        if request is not None:
            said["id"] = request.get("id")
        await self.send(said)

    async def refuse(self, request: dict[str, Any], arg: dict[str, str], code: str = "60018") -> None:
        """Refuse one argument in OKX's words."""
        text = f"Wrong URL or channel:{arg['channel']},instId:{arg.get('instId', '')} doesn't exist."
        await self.error(code, text, request)

    async def push(self, arg: dict[str, str]) -> None:
        """Send what a channel sends first, and then next."""
        name, instrument = arg["channel"], arg.get("instId", "")
        if name in ("books", "books-l2-tbt", "books50-l2-tbt"):
            await self.book(arg, is_snapshot=True)
        elif name == "tickers":
            await self.send({"arg": arg, "data": [ticker(instrument)]})
        elif name == "account":
            row = {"uTime": TS, "totalEq": "1", "details": []}
            await self.send({"arg": {**arg, "uid": "1"}, "eventType": "snapshot", "data": [row]})

    async def book(self, arg: dict[str, str], *, is_snapshot: bool = False, lost: int = 0) -> None:
        """Send a snapshot or the update that follows; `lost` numbers are left out before it."""
        previous = self.seq + lost
        self.seq = previous + 7
        row = {
            "asks": [["101", str(self.seq), "0", "1"]],
            "bids": [["100", str(self.seq), "0", "1"]],
            "ts": TS,
            "checksum": 0,
            "prevSeqId": -1 if is_snapshot else previous,
            "seqId": self.seq,
        }
        await self.send({"arg": arg, "action": "snapshot" if is_snapshot else "update", "data": [row]})

    def operations(self, op: str) -> list[list[str]]:
        """Return the arguments of each request of a kind, by name and instrument."""
        return [
            [" ".join(filter(None, (arg["channel"], arg.get("instId")))) for arg in request["args"]]
            for request in self.requests
            if request["op"] == op
        ]


def ticker(instrument: str, last: str = "100.5") -> dict[str, str]:
    """Return a row of `tickers`."""
    return {
        "instId": instrument,
        "last": last,
        "lastSz": "1",
        "askPx": "101",
        "askSz": "1",
        "bidPx": "100",
        "bidSz": "1",
        "ts": TS,
    }


class ScriptedOkx:
    """Acknowledges, answers pings and pushes by itself; a test replaces what it wants otherwise.

    Attributes:
        visits: Every connection so far.
        on_open: Called for each connection; whether it goes on.
        on_request: Called for each request; returns whether it has been dealt with.
        statuses: HTTP statuses with which the next handshakes are refused.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.visits: list[Visit] = []
        self.attempts_s: list[float] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.on_open: Callable[[Visit], Coroutine[Any, Any, bool]] | None = None
        self.on_request: Callable[[Visit, dict[str, Any]], Coroutine[Any, Any, bool]] | None = None
        self.pongs = True
        self._server: Server | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            ping_interval=None,
            close_timeout=0.2,
            ssl=self._tls,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        for visit in self.visits:
            visit.socket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def config(self, **changes: Any) -> OkxConfig:
        """Return a configuration for this server with small timeouts."""
        defaults: dict[str, Any] = {
            "url": f"ws://127.0.0.1:{self.port}",
            "ping_after_s": 1.0,
            "dead_after_s": 2.0,
            "handshake_timeout_s": 5.0,
            "ack_timeout_s": 2.0,
            "frame_timeout_s": 2.0,
            "close_timeout_s": 0.2,
            "watch_every_s": 0.01,
            "connects_per_s": 1000,
            "retry": RetryPolicy(base_s=0.001, cap_s=0.01),
        }
        return OkxConfig(**{**defaults, **changes})

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait for a fact that only the traffic changes."""
        while not is_so():
            self._news.clear()
            try:
                async with asyncio.timeout(0.01):
                    await self._news.wait()
            except TimeoutError:
                continue

    def requests(self) -> list[dict[str, Any]]:
        """Return every request of every connection."""
        return [request for visit in self.visits for request in visit.requests]

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.attempts_s.append(asyncio.get_running_loop().time())
        if not self.statuses:
            return None
        status, headers = self.statuses.pop(0)
        response = socket.respond(HTTPStatus(status), "no\n")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        visit = Visit(len(self.visits), socket, socket.request.path)
        self.visits.append(visit)
        self._news.set()
        if self.on_open is not None and not await self.on_open(visit):
            return
        try:
            while True:
                await self._take(visit, await socket.recv())
                self._news.set()
        except ConnectionClosed:
            visit.close_code = socket.close_code
        finally:
            self._news.set()

    async def _take(self, visit: Visit, text: str | bytes) -> None:
        assert isinstance(text, str)
        visit.texts.append(text)
        if text == "ping":
            if self.pongs:
                await visit.socket.send("pong")
            return
        request = json.loads(text)
        visit.requests.append(request)
        if self.on_request is not None and await self.on_request(visit, request):
            return
        await answer(visit, request)


async def answer(visit: Visit, request: dict[str, Any], *, but: Iterable[str] = ()) -> None:
    """Do what OKX does with a request; arguments of the instruments in `but` are left out."""
    if request["op"] == "login":
        await visit.send({"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"})
        return
    for arg in request["args"]:
        if arg.get("instId") in but:
            continue
        await visit.ack(request, arg)
        if request["op"] == "subscribe":
            visit.subscribed.append(arg)
            await visit.push(arg)


class Kept:
    """A consumer that keeps events and errors, and says how far it is behind."""

    def __init__(self) -> None:
        self.events: list[FeedMessage] = []
        self.errors: list[FeedError] = []
        self.behind = 0

    def deliver(self, messages: list[FeedMessage]) -> None:
        self.events += messages

    def waiting(self) -> int:
        return self.behind

    def reading(self, has_begun: bool) -> None:
        pass

    def refused(self, channel: Channel, error: FeedError) -> None:
        self.errors.append(error)

    def fail(self, error: FeedError) -> None:
        self.errors.append(error)


def arg_of(channel: Channel) -> dict[str, str]:
    """Return a channel's argument as sent."""
    return channel.arg()


def run(work: Coroutine[Any, Any, None], timeout_s: float = 30.0) -> None:
    """Run a test on an event loop of its own, in bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await work

    asyncio.run(bounded(), debug=False)
