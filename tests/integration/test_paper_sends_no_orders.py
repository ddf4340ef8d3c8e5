"""A paper run trades on nothing but its simulated account: every byte that it sends is looked at."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

import quantkit
import quantkit as qk
from quantkit.sandbox.server import SandboxServer

PACKAGE = Path(quantkit.__file__).parent
#: What OKX's order operations and endpoints are called, on either transport.
ORDERING = re.compile(
    r"/trade/|batch-orders|cancel-order|amend-order|mass-cancel|cancel-batch|amend-batch|close-position|set-leverage"
    r"|\"op\": *\"order\"|\.post\(|\"POST\"|\"PUT\"|\"DELETE\""
)


class Churn(qk.Strategy):
    """Sends, moves and cancels orders as often as it can."""

    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.every("100ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        book = self.book(self.instrument)
        if book is None or book.mid is None:
            return
        if self.ticks % 5 == 0:
            self.cancel_all(self.instrument)
            self.target(self.instrument, 0.1 if self.ticks % 10 else -0.1)
        else:
            self.quote(self.instrument, bid=book.mid * 0.999, ask=book.mid * 1.001, qty=0.1)


@contextmanager
def listening_in(port: int) -> Iterator[tuple[int, list[bytearray]]]:
    """Pass connections on to a port, and keep what each client sends."""
    sent: list[bytearray] = []
    ready, ports = threading.Event(), []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = bytearray()
        sent.append(kept)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, keep: bytearray | None) -> None:
            try:
                while data := await source.read(65_536):
                    if keep is not None:
                        keep += data
                    target.write(data)
                    await target.drain()
            except OSError:
                return  # one side has gone, and with it the connection
            finally:
                target.close()

        await asyncio.gather(pump(reader, up_writer, kept), pump(up_reader, writer, None))

    async def serve() -> None:
        over = asyncio.Event()
        stop.append((asyncio.get_running_loop(), over))
        async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield ports[0], sent
    finally:
        loop, over = stop[0]
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


def messages_of(sent: bytes) -> tuple[str, list[str]]:
    """Return the path of a WebSocket client and the texts that it sent."""
    protocol = ServerProtocol()
    head, blank, rest = sent.partition(b"\r\n\r\n")
    protocol.receive_data(head + blank)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    protocol.receive_data(rest)
    frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
    return request.path, [bytes(frame.data).decode() for frame in frames if frame.opcode is Opcode.TEXT]


def test_everything_that_a_paper_run_sends_asks_for_public_data() -> None:
    """GETs of metadata and history, public and business sockets, subscriptions and pings: and not a login."""
    with SandboxServer() as sandbox, listening_in(int(sandbox.url.rpartition(":")[2])) as (port, sent):
        result = qk.paper(Churn, okx=qk.OkxConfig(url=f"ws://127.0.0.1:{port}"), record=None, duration="3s")
    assert len(result.orders) > 10
    sockets = 0
    for each in map(bytes, sent):
        for method, path in re.findall(rb"^([A-Z]+) (\S+) HTTP/1\.1\r$", each, re.MULTILINE):
            assert method == b"GET"
            assert path.startswith((b"/api/v5/public/", b"/api/v5/market/", b"/ws/v5/public", b"/ws/v5/business"))
        if b"Upgrade: websocket" in each:
            sockets += 1
            _, texts = messages_of(each)
            assert texts
            assert {"ping" if text == "ping" else json.loads(text)["op"] for text in texts} <= {
                "ping",
                "subscribe",
                "unsubscribe",
            }
        assert b"OK-ACCESS" not in each
    assert sockets >= 1
    assert len(sent) > sockets


def test_nothing_in_the_package_knows_an_order_operation() -> None:
    """Real orders are not built: no module names an endpoint, an operation or a method that could carry one."""
    # The exchange's own side may name what it refuses, and the server of pages takes requests; neither sends any.
    servers = (PACKAGE / "sandbox", PACKAGE / "web")
    files = [file for file in PACKAGE.rglob("*.py") if not any(map(file.is_relative_to, servers))]
    assert len(files) > 100
    found = {str(file): match[0] for file in files if (match := ORDERING.search(file.read_text(encoding="utf-8")))}
    assert not found
    assert ORDERING.search('{"op": "order", "args": []}')
    assert ORDERING.search("/api/v5/trade/order")
