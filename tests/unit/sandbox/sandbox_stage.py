"""A stage for the exchange without sockets: a loop whose time jumps to the next timer, and a client by hand."""

import asyncio
import base64
import hashlib
import hmac
import json
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.market import MarketSource
from quantkit.sandbox.peer import ABORT, PeerGone
from quantkit.sandbox.rules import Rules


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: time goes on by as much as it should have waited."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen: every task waits for another"
            self.now_s += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose hours pass in no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class Client:
    """The other end of a connection: what it got, and when."""

    def __init__(self, exchange: Exchange, path: str) -> None:
        self.exchange = exchange
        self.texts: list[str] = []
        self.times_s: list[float] = []
        self.closed: tuple[int, str] | None = None
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self._loop = asyncio.get_running_loop()
        self._parsed: list[dict[str, Any] | None] = []
        self._requests: asyncio.Queue[str | None] = asyncio.Queue()
        self.serving = asyncio.create_task(exchange.serve(self, path))

    # The server's end.

    async def receive(self) -> str:
        text = await self._requests.get()
        if text is None:
            raise PeerGone
        return text

    async def send(self, text: str) -> None:
        await self.is_reading.wait()
        if self.closed is not None:
            raise PeerGone
        self.texts.append(text)
        self.times_s.append(self._loop.time())

    async def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._requests.put_nowait(None)

    # The client's end.

    def leave(self) -> None:
        """End the connection from here."""
        self._requests.put_nowait(None)

    def tell(self, text: str) -> None:
        """Send a text as it is."""
        self._requests.put_nowait(text)

    async def ask(self, op: str, *args: dict[str, str], request_id: str | None = None) -> list[dict[str, Any]]:
        """Send a request and return the events that answer it; pushes are left out."""
        before = len(self.texts)
        request: dict[str, Any] = {"op": op, "args": list(args)}
        if request_id is not None:
            request["id"] = request_id
        self.tell(json.dumps(request))
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return [event for event in self.frames(before) if "event" in event]

    async def subscribe(self, channel: str, instrument: str = "", **fields: str) -> list[dict[str, Any]]:
        """Subscribe one arg."""
        where = {"instId": instrument} if instrument else {}
        return await self.ask("subscribe", {"channel": channel, **where, **fields})

    async def login(self, key: str = "sandbox-key", **changes: str) -> dict[str, Any]:
        """Log in with one of the sandbox's keys, something in it changed."""
        timestamp = changes.pop("timestamp", str(self.exchange.now_ms() // 1000))
        secret = changes.pop("secret", "sandbox-secret")
        mac = hmac.new(secret.encode(), f"{timestamp}GET/users/self/verify".encode(), hashlib.sha256)
        arg = {"apiKey": key, "passphrase": "sandbox-pass", "timestamp": timestamp}
        return (await self.ask("login", {**arg, "sign": base64.b64encode(mac.digest()).decode(), **changes}))[0]

    def frames(self, start: int = 0) -> list[dict[str, Any]]:
        """Return what came since, pongs left out."""
        for text in self.texts[len(self._parsed) :]:
            self._parsed.append(None if text == "pong" else json.loads(text))
        return [frame for frame in self._parsed[start:] if frame is not None]

    def pushes(self, channel: str, instrument: str = "") -> list[dict[str, Any]]:
        """Return the pushes of a channel."""
        return [
            frame
            for frame in self.frames()
            if "data" in frame and frame["arg"]["channel"] == channel and instrument in ("", frame["arg"].get("instId"))
        ]

    def rows(self, channel: str, instrument: str = "") -> list[Any]:
        """Return the rows of a channel's pushes."""
        return [row for push in self.pushes(channel, instrument) for row in push["data"]]


def play(
    scenario: Callable[[Exchange], Awaitable[None]],
    market: MarketSource | None = None,
    *,
    rules: Rules | None = None,
    **options: Any,
) -> Exchange:
    """Run a scenario on an exchange of its own in virtual time, and return the exchange."""
    loop = VirtualLoop()
    kept: list[Exchange] = []

    async def run() -> None:
        log = options.pop("log", None) or ExchangeLog(is_complete=True)
        exchange = Exchange(market or GeneratedMarket(), rules=rules, log=log, **options)
        kept.append(exchange)
        async with exchange:
            await asyncio.sleep(0)
            await scenario(exchange)

    try:
        loop.run_until_complete(run())
        # Whoever is still connected is told of the end.
        loop.run_until_complete(asyncio.sleep(0.01))
    finally:
        loop.close()
    return kept[0]


class Book:
    """A book rebuilt from pushes by OKX's rules; any break is an error."""

    def __init__(self, *, is_strict: bool = True) -> None:
        self.is_strict = is_strict
        self.bids: dict[float, str] = {}
        self.asks: dict[float, str] = {}
        self.seq_id: int | None = None

    def take_all(self, pushes: list[dict[str, Any]]) -> None:
        """Take pushes in order."""
        for push in pushes:
            self.take(push)

    def take(self, push: dict[str, Any]) -> None:
        row = push["data"][0]
        if push["action"] == "snapshot":
            assert row["prevSeqId"] == -1
            self.bids.clear()
            self.asks.clear()
        else:
            assert row["prevSeqId"] == self.seq_id, "the chain is broken"
        self.seq_id = row["seqId"]
        for levels, side in ((self.bids, "bids"), (self.asks, "asks")):
            for price, size, dead, _ in row[side]:
                assert dead == "0"
                if size == "0":
                    is_known = levels.pop(float(price), None) is not None
                    assert is_known or not self.is_strict, "a level that was not there is removed"
                else:
                    levels[float(price)] = size
        assert len(self.bids) <= 400
        assert len(self.asks) <= 400
        assert max(self.bids) < min(self.asks), "the book is crossed"


__all__ = ["ABORT", "Book", "Client", "VirtualLoop", "play"]
