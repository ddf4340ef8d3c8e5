"""The sandbox over real sockets: sessions, faults over HTTP, handshakes, slow readers, TLS, signals."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from quantkit.errors import ConfigError
from quantkit.feeds.okx.tracker.book import checksum
from quantkit.sandbox import faults
from quantkit.sandbox.benchmark import BenchmarkMarket
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.recorded import RecordedMarket
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.server import SandboxServer, serve

DATA = Path(__file__).parents[1] / "data"
FAST = Rules(connects_per_s=1000).faster(60)


def join(sandbox: SandboxServer, path: str = "public") -> connect:
    return connect(f"{sandbox.ws_url}/ws/v5/{path}", proxy=None, ping_interval=None, max_size=2**22)


async def ask(socket_: ClientConnection, op: str, *args: dict[str, str]) -> None:
    await socket_.send(json.dumps({"op": op, "args": list(args)}))


async def next_frame(socket_: ClientConnection, channel: str = "", event: str = "") -> dict[str, Any]:
    """Return the next push of a channel, or the next event."""
    async for text in socket_:
        frame: dict[str, Any] = json.loads(text)
        if (event and frame.get("event") == event) or ("data" in frame and frame["arg"]["channel"] == channel):
            return frame
    raise AssertionError("the connection ended before it came")


async def read_to_the_end(socket_: ClientConnection) -> None:
    while True:
        await socket_.recv()


def http(sandbox: SandboxServer, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sandbox.url + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_session() -> None:
    async def talk(sandbox: SandboxServer) -> None:
        async with join(sandbox) as public:
            await ask(public, "subscribe", {"channel": "books", "instId": "BTC-USDT"})
            assert (await next_frame(public, event="subscribe"))["arg"] == {"channel": "books", "instId": "BTC-USDT"}
            snapshot = await next_frame(public, "books")
            assert snapshot["action"] == "snapshot"
            last = snapshot["data"][0]["seqId"]
            for _ in range(20):
                (row,) = (await next_frame(public, "books"))["data"]
                assert row["prevSeqId"] == last
                last = row["seqId"]
            await ask(public, "unsubscribe", {"channel": "books", "instId": "BTC-USDT"})
            await next_frame(public, event="unsubscribe")
            await public.send("ping")
            assert await public.recv() == "pong"
            await public.send(b"\xff\x00")
            assert (await next_frame(public, event="error"))["code"] == "60012"
        async with join(sandbox, "private") as private:
            stamp = str(sandbox.exchange.now_ms() // 1000)
            mac = hmac.new(b"sandbox-secret", f"{stamp}GET/users/self/verify".encode(), hashlib.sha256).digest()
            login = {"apiKey": "sandbox-key", "passphrase": "sandbox-pass", "timestamp": stamp}
            await ask(private, "login", {**login, "sign": base64.b64encode(mac).decode()})
            await next_frame(private, event="login")
            await ask(private, "subscribe", {"channel": "orders", "instType": "ANY"})
            await next_frame(private, event="channel-conn-count")
            sandbox.push("orders", {"instType": "SPOT", "ordId": "7"})
            assert (await next_frame(private, "orders"))["data"][0]["ordId"] == "7"
            status, reply = http(sandbox, "/sandbox/push", {"channel": "orders", "data": [{"ordId": "8"}]})
            assert (status, reply) == (200, {"rows": 1})
            assert (await next_frame(private, "orders"))["data"][0]["ordId"] == "8"

    with SandboxServer() as sandbox:
        asyncio.run(talk(sandbox))
        (status, time) = http(sandbox, "/api/v5/public/time")
        assert status == 200
        assert time["code"] == "0"


def test_connections_end_as_asked() -> None:
    async def ending(sandbox: SandboxServer, fault: faults.Fault | None) -> tuple[int, str] | None:
        async with join(sandbox) as public:
            await ask(public, "subscribe", {"channel": "status"})
            await next_frame(public, "status")
            if fault is not None:
                sandbox.inject(fault)
            with pytest.raises(ConnectionClosed) as ended:
                await read_to_the_end(public)
            close = ended.value.rcvd
            return None if close is None else (close.code, close.reason)

    with SandboxServer(rules=FAST) as sandbox:
        for code in (1000, 1001, 4001, 4005, 4006, 4009):
            assert asyncio.run(ending(sandbox, faults.Close(code=code, reason="told"))) == (code, "told")
        assert asyncio.run(ending(sandbox, faults.Drop())) is None
        assert asyncio.run(ending(sandbox, faults.UpgradeNotice(close_after_s=0.1))) == (1001, "service upgrade")
        assert asyncio.run(ending(sandbox, None)) == (4004, "No data received in 0.5s.")
        assert not sandbox.state()["connections"]


def test_faults_over_http() -> None:
    async def talk(sandbox: SandboxServer) -> None:
        async with join(sandbox) as public:
            assert http(sandbox, "/sandbox/faults", {"kind": "refuse", "code": "64003", "channel": "tickers"})[0] == 200
            state = http(sandbox, "/sandbox/state")[1]
            assert [each["kind"] for each in state["faults"]] == ["refuse"]
            await ask(public, "subscribe", {"channel": "tickers", "instId": "BTC-USDT"})
            assert (await next_frame(public, event="error"))["code"] == "64003"
            assert http(sandbox, "/sandbox/faults", [{"kind": "gap", "times": 0}])[1] == {"faults": 1}
            assert http(sandbox, "/sandbox/faults", method="DELETE")[1] == {"faults": 0}
            assert http(sandbox, "/sandbox/state")[1]["faults"] == []
            status, reply = http(sandbox, "/sandbox/faults", {"kind": "earthquake"})
            assert status == 400
            assert "earthquake" in reply["error"]
            assert http(sandbox, "/sandbox/faults", {"kind": "reset", "instrument": "NO-SUCH"})[0] == 400
            assert http(sandbox, "/sandbox/push", {"channel": 1})[0] == 400

    with SandboxServer(rules=FAST) as sandbox:
        asyncio.run(talk(sandbox))


def test_handshakes_are_limited_and_refused() -> None:
    async def statuses(sandbox: SandboxServer, count: int) -> list[tuple[int, str | None]]:
        found: list[tuple[int, str | None]] = []
        for _ in range(count):
            try:
                async with join(sandbox):
                    found.append((101, None))
            except InvalidStatus as error:
                found.append((error.response.status_code, error.response.headers.get("Retry-After")))
        return found

    with SandboxServer() as sandbox:
        assert (429, None) in asyncio.run(statuses(sandbox, 5))
    with SandboxServer(rules=FAST) as sandbox:
        sandbox.inject(faults.Handshake(status=503, retry_after_s=4))
        assert asyncio.run(statuses(sandbox, 2)) == [(503, "4"), (101, None)]


def test_a_reader_that_does_not_read_is_closed_and_costs_no_more_memory() -> None:
    with SandboxServer(
        BenchmarkMarket(50_000), log=ExchangeLog(), rules=Rules(write_buffer_bytes=200_000, connects_per_s=100)
    ) as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(
                b"GET /ws/v5/public HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert raw.recv(12) == b"HTTP/1.1 101"
            args = [{"channel": "trades", "instId": "BTC-USDT"}, {"channel": "tickers", "instId": "BTC-USDT"}]
            request = json.dumps({"op": "subscribe", "args": args}).encode()
            raw.sendall(bytes((0x81, 0xFE, *divmod(len(request), 256), 0, 0, 0, 0)) + request)

            async def gone() -> None:
                while sandbox.exchange.sessions or not sandbox.exchange.log.happened("closed"):
                    await asyncio.sleep(0.05)

            asyncio.run(asyncio.wait_for(gone(), 60))
        assert [each.details for each in sandbox.exchange.log.happened("closed")] == ["4005 Write buffer is full"]


def test_a_capture_through_the_server_keeps_its_checksums() -> None:
    market = RecordedMarket(
        [DATA / "okx_ws_20220513T162705Z.log.gz", DATA / "okx_rest_instruments_20220513.log.gz"],
        speed=0,
        is_waiting=True,
    )

    async def talk(sandbox: SandboxServer) -> int:
        names = sorted({topic.key for topic in market.contents.topics})
        books: dict[str, tuple[dict[float, tuple[str, str]], dict[float, tuple[str, str]]]]
        books = {name: ({}, {}) for name in names}
        held = 0
        async with join(sandbox) as public:
            await ask(public, "subscribe", *[{"channel": "books", "instId": name} for name in names])
            for _ in names:
                await next_frame(public, event="subscribe")
            sandbox.call(market.release)
            while held < 290:
                frame = await next_frame(public, "books")
                (row,) = frame["data"]
                bids, asks = books[frame["arg"]["instId"]]
                for side, levels in ((row["bids"], bids), (row["asks"], asks)):
                    if frame["action"] == "snapshot":
                        levels.clear()
                    for price, size, *_ in side:
                        if size == "0":
                            levels.pop(float(price), None)
                        else:
                            levels[float(price)] = (price, size)
                best_bids = [bids[price] for price in sorted(bids, reverse=True)]
                assert checksum(best_bids, [asks[price] for price in sorted(asks)]) == row["checksum"]
                held += 1
        return held

    with SandboxServer(market) as sandbox:
        assert asyncio.run(talk(sandbox)) == 290
        rows = http(sandbox, "/api/v5/public/instruments?instType=SWAP")[1]["data"]
        assert [row["instId"] for row in rows] == ["UNI-USD-SWAP"]


def test_tls_for_clients_that_insist_on_it(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(cafile=certificate)

    async def talk(url: str) -> None:
        async with connect(f"{url}/ws/v5/public", ssl=context, proxy=None, ping_interval=None) as public:
            await public.send("ping")
            assert await public.recv() == "pong"

    with SandboxServer(certificate=certificate, key=key) as sandbox:
        assert sandbox.url.startswith("https://")
        asyncio.run(talk(sandbox.ws_url))


def test_a_port_that_is_taken() -> None:
    with SandboxServer() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            SandboxServer(port=port).__enter__()
        with pytest.raises(ConfigError, match="choose another --port"):
            serve(port=port)
    with pytest.raises(ConfigError, match="cannot listen"):
        serve(port=70_000)


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no instrument 'NO-SUCH'"):
        serve(port=0, faults=[faults.Reset(instrument="NO-SUCH")])
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    for path in (nothing, tmp_path / "gone.pem"):
        with pytest.raises(ConfigError, match="cannot run"):
            serve(port=0, certificate=path, key=path)
        with pytest.raises(ConfigError, match="did not start"):
            SandboxServer(certificate=path, key=path).__enter__()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    script = (
        "from quantkit.sandbox.server import serve\n"
        "from quantkit.sandbox.faults import Refuse\n"
        "serve(port=0, faults=[Refuse(times=0)], on_ready=lambda url: print(url, flush=True))\n"
        "print('ended', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    async def talk() -> None:
        async with connect(f"ws{url.removeprefix('http')}/ws/v5/public", proxy=None, ping_interval=None) as public:
            await ask(public, "subscribe", {"channel": "status"})
            assert (await next_frame(public, event="error"))["code"] == "60018"
            process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(public)

    asyncio.run(talk())
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_the_package_does_not_load_the_server() -> None:
    script = (
        "import sys, quantkit\n"
        "import quantkit.sandbox.exchange, quantkit.sandbox.server\n"
        "print([name for name in ('starlette', 'uvicorn', 'websockets', 'pandas', 'pyarrow') if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"
