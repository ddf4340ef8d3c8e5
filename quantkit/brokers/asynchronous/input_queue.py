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

    def wake_at(self, moment_ns: int) -> None:
        """Return to the engine as soon as time has come to a moment, though no row has; from any thread."""
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
        self._wake_for_first()

    def take(self, until_ns: int) -> Sequence[OrderInput]:
        """Return the news received by `until_ns`, once it has been logged."""
        with self._lock:
            taken = self._pop(until_ns)
            self._taken_ns = max(self._taken_ns, until_ns)
        self._note(taken, until_ns)
        self._wake_for_first()
        return taken

    def take_rest(self) -> Sequence[OrderInput]:
        """Return all news there is, once it has been logged."""
        with self._lock:
            taken = self._pop(NEVER_NS)
        self._note(taken, None)
        return taken

    def _pop(self, until_ns: int) -> list[OrderInput]:
        taken: list[OrderInput] = []
        while self._waiting and (stamp_ns := self._first_ns()) <= until_ns:
            self._taken_ns = stamp_ns
            taken.append(msgspec.structs.replace(self._waiting.popleft(), received_ns=stamp_ns))
        return taken

    def _first_ns(self) -> int:
        """Return the first stamp; that news may have come in the moment that the engine has just gone through."""
        return max(self._waiting[0].received_ns, self._taken_ns + 1)

    def _note(self, taken: list[OrderInput], until_ns: int | None) -> None:
        if taken and self._log is not None:
            self._log.broker_news(taken, until_ns)

    def _wake_for_first(self) -> None:
        if self._sleeper is None:
            return
        with self._lock:
            moment_ns = self._first_ns() if self._waiting else None
        if moment_ns is not None:
            self._sleeper.wake_at(moment_ns)
