"""An asyncio event loop whose clock jumps to the next timer, so that an hour of waiting takes no time at all."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import numpy as np
from simulation.network import Network

_T = TypeVar("_T")

#: Wall-clock time at which a simulation begins: 2026-08-26 00:00:00 UTC, in nanoseconds.
EPOCH_NS: Final = 1_787_702_400_000_000_000


class StuckError(RuntimeError):
    """Every task waits for something that can never come."""


class _Jump:
    """Stands where the loop has its selector: instead of waiting for sockets, it moves the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout_s: float | None) -> list[Any]:
        """Let `timeout_s` pass at once; None means that no timer is set and nothing is ready."""
        if timeout_s is None:
            waiting = "; ".join(sorted(map(repr, asyncio.all_tasks(self._loop))))
            raise StuckError(f"nothing is left to happen at {self._loop.time():.3f} virtual seconds: {waiting}")
        if timeout_s > 0:
            self._loop.pass_time(timeout_s)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time with a network of its own; it knows no sockets and no threads.

    The same seed gives the same run: callbacks due at one instant run in the order asyncio's heap gives them, and every
    other choice is drawn from the network's generator.

    Args:
        seed: For latencies, sizes of pieces and everything else that the network draws.
    """

    # The two names are BaseEventLoop's own.
    _selector: _Jump
    _clock_resolution: float
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = _Jump(self)
        # Timers less than this apart run together; the machine's resolution is not the virtual clock's.
        self._clock_resolution = 1e-9
        self.network = Network(self, np.random.default_rng(seed))

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._now_s

    def pass_time(self, duration_s: float) -> None:
        """Move the clock, exactly to the next timer where that is what was asked for."""
        now_s, next_s = self._now_s + duration_s, self._scheduled[0].when()
        # A sum of floats may fall one bit short of the timer, and the clock would then never reach it.
        self._now_s = next_s if abs(next_s - now_s) < self._clock_resolution else now_s

    def wall_ns(self) -> int:
        """Return the virtual wall clock, UTC nanoseconds."""
        return EPOCH_NS + round(self._now_s * 1e9)

    # What the base class leaves to a real loop -------------------------------------------------------------------

    def _process_events(self, events: list[Any]) -> None:
        """Do nothing: there are no sockets whose readiness could be reported."""

    def _write_to_self(self) -> None:
        """Do nothing: the loop never blocks, so nothing has to wake it."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Refuse threads, since their timing is not the seed's.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"{func} would run in a thread, which virtual time does not know")

    async def getaddrinfo(self, host: Any, port: Any, **kwargs: Any) -> Any:
        """Refuse to look up names; links are made by name.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"{host!r} would be looked up in the real DNS")

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str | None = None, port: int | None = None, **options: Any
    ) -> tuple[asyncio.Transport, Any]:
        """Dial through the virtual network; see `Network.dial`."""
        del options  # TLS and local addresses: a virtual link has neither
        return await self.network.dial(protocol_factory, str(host), int(port or 0))

    async def create_server(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: int | None = None, **options: Any
    ) -> Any:
        """Listen on the virtual network under `port`, whatever the host."""
        del host, options
        return self.network.listen(protocol_factory, int(port or 0))


def virtual_loop() -> VirtualLoop:
    """Return the running loop, which has to be a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def simulate(main: Coroutine[Any, Any, _T], *, seed: int = 0) -> _T:
    """Run a coroutine to its end in virtual time and return its result.

    Raises:
        ExceptionGroup: Something failed in a task or callback that nobody looked at.
    """
    unseen: list[Exception] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        unseen.append(error if isinstance(error, Exception) else RuntimeError(str(context.get("message"))))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        runner.get_loop().set_exception_handler(note)
        result = runner.run(main)
    if unseen:
        raise ExceptionGroup("errors that no task awaited", unseen)
    return result


async def until(condition: Callable[[], bool], *, within_s: float, every_s: float = 0.05, what: str = "") -> float:
    """Wait until a condition holds and return how long that took, in seconds.

    Raises:
        AssertionError: It does not hold within `within_s`.
    """
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    while not condition():
        if loop.time() - start_s > within_s:
            raise AssertionError(f"not within {within_s} s: {what or condition}")
        await asyncio.sleep(every_s)
    return loop.time() - start_s


async def settle(awaitable: Awaitable[_T], *, within_s: float) -> _T:
    """Await something that must not take longer than `within_s`."""
    async with asyncio.timeout(within_s):
        return await awaitable
