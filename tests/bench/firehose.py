"""A fast sender for measurements: `python tests/bench/firehose.py MESSAGES_A_SECOND`, until its input is closed.

The sandbox makes each frame anew and sends no more than some 18,000 a second here. This server answers what a
collector asks for before it subscribes with the sandbox's own replies, and then pushes `trades` and `tickers` of
BTC-USDT in equal numbers, filled into frames that are encoded before. Every trade's id, and the bid size of every
ticker, is one more than that of the frame before, from 1 on, so that a reader can tell whether one is missing. A
receiver that is too slow holds it up, and nothing is left out: then it sends all the faster until the average is
reached again.

It prints its address, and at the end how many frames of each channel it has sent.
"""

import base64
import hashlib
import json
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

INSTRUMENT = "BTC-USDT"
CHANNELS = ("trades", "tickers")
TICK_S = 0.001
#: Frames of one tick at most, so that what was held up comes in portions.
PORTION = 1_000

_ARG = '{"arg":{"channel":"%s","instId":"BTC-USDT"},"data":['
_TRADE = (
    (_ARG % "trades").encode() + b'{"instId":"BTC-USDT","tradeId":"%d","px":"100000.1","sz":"0.00011186","side":"buy",'
    b'"ts":"%d","count":"1","source":"0","seqId":%d}]}'
)
_TICKER = (
    (_ARG % "tickers").encode() + b'{"instType":"SPOT","instId":"BTC-USDT","last":"100000.1","lastSz":"0.1",'
    b'"askPx":"100000.2","askSz":"0.5","bidPx":"100000","bidSz":"%d","open24h":"99000","high24h":"101000",'
    b'"low24h":"98000","volCcy24h":"1000000","vol24h":"10","ts":"%d","sodUtc0":"99500","sodUtc8":"99600"}]}'
)


def framed(payload: bytes) -> bytes:
    """Return a text frame as a server sends it."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes([size]) + payload
    return b"\x81\x7e" + struct.pack(">H", size) + payload


def trade(number: int, now_ms: int) -> bytes:
    """Return the frame of a trade."""
    return framed(_TRADE % (number, now_ms, number))


def ticker(number: int, now_ms: int) -> bytes:
    """Return the frame of a ticker."""
    return framed(_TICKER % (number, now_ms))


MAKERS: dict[str, Callable[[int, int], bytes]] = {"trades": trade, "tickers": ticker}


class Firehose:
    """The server.

    Args:
        messages_per_s: Frames a second, of both channels together.

    Attributes:
        url: Its address.
        sent: Frames by channel.
    """

    def __init__(self, messages_per_s: float) -> None:
        self.sent = dict.fromkeys(CHANNELS, 0)
        self._rate = messages_per_s / len(CHANNELS)
        self._replies = borrowed_replies()
        self._is_over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Send no more."""
        self._is_over.set()
        self._server.close()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as lines:
            while line := lines.readline():
                target = line.split()[1].decode()
                headers = {}
                while (header := lines.readline().strip()) and b":" in header:
                    name, _, value = header.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                if b"upgrade" in headers:
                    Push(self, client, lines, headers[b"sec-websocket-key"]).run()
                    return
                body = self._reply(target)
                client.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )

    def _reply(self, target: str) -> bytes:
        if target == "/api/v5/public/time":
            return b'{"code":"0","msg":"","data":[{"ts":"%d"}]}' % (time.time_ns() // 1_000_000)
        return self._replies.get(target, b'{"code":"0","msg":"","data":[]}')

    @property
    def rate(self) -> float:
        """Frames a second of each channel."""
        return self._rate

    @property
    def is_over(self) -> bool:
        """Whether it sends no more."""
        return self._is_over.is_set()


class Push:
    """One WebSocket."""

    def __init__(self, firehose: Firehose, client: socket.socket, lines: Any, key: bytes) -> None:
        self._firehose = firehose
        self._client = client
        self._lines = lines
        self._sending = threading.Lock()
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def run(self) -> None:
        """Answer until the other side is gone."""
        try:
            while (text := self._text()) is not None:
                if text == b"ping":
                    self._send(framed(b"pong"))
                elif text:
                    self._answer(json.loads(text))
        except OSError:
            return

    def _answer(self, request: dict[str, Any]) -> None:
        for arg in request["args"]:
            ack = {"event": request["op"], "arg": arg, "connId": "a1", "id": request["id"]}
            self._send(framed(json.dumps(ack).encode()))
            if request["op"] == "subscribe" and arg["channel"] in CHANNELS:
                threading.Thread(target=self._push, args=(arg["channel"],), daemon=True).start()

    def _push(self, channel: str) -> None:
        make, firehose = MAKERS[channel], self._firehose
        begun_s = time.monotonic()
        number = 0
        try:
            while not firehose.is_over:
                due = int((time.monotonic() - begun_s) * firehose.rate)
                count = min(due - number, PORTION)
                if count <= 0:
                    time.sleep(TICK_S)
                    continue
                now_ms = time.time_ns() // 1_000_000
                self._send(b"".join([make(each, now_ms) for each in range(number + 1, number + count + 1)]))
                number += count
                firehose.sent[channel] = number
                if count < PORTION:
                    time.sleep(TICK_S)
        except OSError:
            return

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._client.sendall(data)

    def _text(self) -> bytes | None:
        """Return the next message of the other side, empty if it is no text; None at its end."""
        head = self._lines.read(2)
        if len(head) < 2 or head[0] & 0x0F == 8:
            return None
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._lines.read(2))
        mask = self._lines.read(4)
        data = bytes(byte ^ mask[place % 4] for place, byte in enumerate(self._lines.read(size)))
        return data if head[0] & 0x0F == 1 else b""


def borrowed_replies() -> dict[str, bytes]:
    """Return what the sandbox answers to the requests of a collector, by target."""
    targets = [f"/api/v5/public/instruments?instType={type_}" for type_ in ("SPOT", "SWAP", "FUTURES")]
    replies = {}
    with SandboxServer(market=GeneratedMarket(1, 1, orders_per_s=0.0)) as sandbox:
        for target in targets:
            with urllib.request.urlopen(sandbox.url + target) as reply:
                replies[target] = reply.read()
    return replies


if __name__ == "__main__":
    hose = Firehose(float(sys.argv[1]))
    print(hose.url, flush=True)
    sys.stdin.read()
    hose.close()
    print(json.dumps(hose.sent), flush=True)
