"""A toy exchange of one instrument: lines of text over a loopback socket, with a beat of its own."""

import socketserver
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from quantkit.clock import NS_PER_S, wall_ns

NAME: Final = "COIN-USD"
_BEAT_S: Final = 0.01
_PRICES: Final = (100.0, 100.5, 101.0, 100.5, 100.0, 99.5, 99.0, 99.5)


def price_at(number: int) -> float:
    """Return a price that goes up and down."""
    return _PRICES[number % len(_PRICES)]


def bar_text(close_ns: int) -> str:
    """Return the bar of one second that closes at a moment."""
    number = close_ns // NS_PER_S
    opened, closed = price_at(number - 1), price_at(number)
    return f"bar {close_ns} {opened} {max(opened, closed)} {min(opened, closed)} {closed} {number % 7 + 1}"


class _Answers(socketserver.StreamRequestHandler):
    """One connection: requests are answered, and after `go` there is a beat of rows."""

    server: "StubServer"

    def handle(self) -> None:
        self._mutex = threading.Lock()
        self._topics: set[str] = set()
        self._beat = threading.Thread(target=self._push)
        self._is_over = threading.Event()
        self.server.connected(self)
        with suppress(OSError):
            for line in self.rfile:
                self._answer(line.decode().split())
        self._is_over.set()
        if self._beat.ident is not None:
            self._beat.join()

    def hang_up(self) -> None:
        """Cut the connection."""
        self._is_over.set()
        with suppress(OSError):
            self.connection.shutdown(2)

    def _answer(self, words: list[str]) -> None:
        match words:
            case ["instruments"]:
                self._send(f"instrument {NAME} 0.5 0.1")
            case ["clock"]:
                self._send(f"time {wall_ns()}")
            case ["candles", count, until_ns]:
                last = int(until_ns) // NS_PER_S
                for second in range(last - int(count) + 1, last + 1):
                    self._send(bar_text(second * NS_PER_S).replace("bar", "candle"))
            case ["subscribe", topic]:
                self._topics.add(topic)
                self._send(f"subscribed {topic}")
                return
            case ["go"]:
                self._beat.start()
            case _:
                self._send(f"error {' '.join(words)} is not understood")
        self._send("done")

    def _push(self) -> None:
        number, second = 0, wall_ns() // NS_PER_S
        while not self._is_over.wait(_BEAT_S):
            number += 1
            now_ns, price = wall_ns(), price_at(number)
            rows = {
                "ticker": f"ticker {now_ns} {price - 0.5} {price + 0.5}",
                "trade": f"trade {now_ns} {price} {number % 3 + 1} {'buy' if number % 2 else 'sell'} {number}",
            }
            if now_ns // NS_PER_S > second:
                second += 1
                rows["bar"] = bar_text(second * NS_PER_S)
            if number in self.server.steps:
                rows["list"] = f"instrument {NAME} {self.server.steps[number]} 0.1"
            self._send(*(row for topic, row in rows.items() if topic in self._topics))

    def _send(self, *lines: str) -> None:
        with self._mutex, suppress(OSError):
            self.wfile.write("".join(f"{line}\n" for line in lines).encode())


class StubServer(socketserver.ThreadingTCPServer):
    """Serves the toy exchange on a free port of this machine.

    Args:
        steps: By beat: the price step that the instrument has from then on.
    """

    daemon_threads = True
    block_on_close = True

    def __init__(self, steps: dict[int, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.steps = steps or {}
        self._handlers: list[_Answers] = []
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """The port."""
        return int(self.server_address[1])

    def connected(self, handler: _Answers) -> None:
        """Take note of a connection."""
        self._handlers.append(handler)

    def hang_up(self) -> None:
        """Cut every connection."""
        for handler in self._handlers:
            handler.hang_up()

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._serving.join()
        self.hang_up()
        self.server_close()
