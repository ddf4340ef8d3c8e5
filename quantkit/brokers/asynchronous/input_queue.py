"""News on its way from the thread of a wire to the engine: stamped, logged, handed over between two batches."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from quantkit.brokers.asynchronous.inputs import OrderInput, OrderInputLog
from quantkit.clock import NEVER_NS

_LONG_AGO_NS: Final = -(2**63)


class Sleeper(Protocol):
    """The feed that the engine waits in."""

    def wake(self) -> None:
        """Return to the engine at once, though no row has come; from any thread."""
        ...


class InputQueue:
    """Takes news in from any thread, and hands it to the engine's.

    It has no bound: news of an order cannot be left out. The stamps rise strictly, over all news and over the moments
    that the engine has come to. So the moment of a piece of news is one that the run has not passed yet, and a
    repetition that is given the same stamps takes the same steps.

    Args:
        wall: The machine's UTC time in nanoseconds.
        sleeper: Woken when something comes; None where the engine does not sleep.
        log: Gets news before the broker does; None for no log.
    """

    def __init__(
        self, wall: Callable[[], int], *, sleeper: Sleeper | None = None, log: OrderInputLog | None = None
    ) -> None:
        self._wall = wall
        self._sleeper = sleeper
        self._log = log
        self._lock = threading.Lock()
        self._waiting: deque[OrderInput] = deque()
        self._put_ns = _LONG_AGO_NS
        self._taken_ns = _LONG_AGO_NS

    def put(self, *news: OrderInput) -> None:
        """Hand over news, in order; from any thread."""
        with self._lock:
            for each in news:
                self._put_ns = max(self._wall(), self._put_ns + 1)
                self._waiting.append(msgspec.structs.replace(each, received_ns=self._put_ns))
        self._wake()

    def take(self, until_ns: int) -> Sequence[OrderInput]:
        """Return the news received by `until_ns`, once it has been logged."""
        with self._lock:
            taken = self._pop(until_ns)
            self._taken_ns = max(self._taken_ns, until_ns)
            is_left = bool(self._waiting)
        self._note(taken)
        if is_left:
            self._wake()
        return taken

    def take_rest(self) -> Sequence[OrderInput]:
        """Return all news there is, once it has been logged."""
        with self._lock:
            taken = self._pop(NEVER_NS)
        self._note(taken)
        return taken

    def _pop(self, until_ns: int) -> list[OrderInput]:
        taken: list[OrderInput] = []
        while self._waiting:
            news = self._waiting[0]
            # It may have come in the moment that the engine has just gone through.
            stamp_ns = max(news.received_ns, self._taken_ns + 1)
            if stamp_ns > until_ns:
                break
            self._waiting.popleft()
            self._taken_ns = stamp_ns
            taken.append(msgspec.structs.replace(news, received_ns=stamp_ns))
        return taken

    def _note(self, taken: list[OrderInput]) -> None:
        if taken and self._log is not None:
            self._log.broker_news(taken)

    def _wake(self) -> None:
        if self._sleeper is not None:
            self._sleeper.wake()
