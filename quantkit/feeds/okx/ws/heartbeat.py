"""Whether the other side of a connection is alive: when to ping it, and when to give it up."""

import asyncio
from collections.abc import Callable
from typing import Final

from quantkit.feeds.okx.config import OkxConfig

#: Makes up for what is lost when times are added and subtracted.
_ROUNDING_S: Final = 5e-7


class Heartbeat:
    """Watches over silence and over messages that do not end, by two timers that are not touched for a message.

    Args:
        config: How long to be patient.
        ping: Sends a sign of life.
        abort: Ends the connection, with the cause.
        stale: Hears that the other side is silent (True), or speaks again (False).
    """

    __slots__ = (
        "_abort",
        "_begun_s",
        "_config",
        "_end_of_message",
        "_heard_s",
        "_is_stale",
        "_loop",
        "_ping",
        "_stale",
        "_timer",
    )

    def __init__(
        self,
        config: OkxConfig,
        *,
        ping: Callable[[], None],
        abort: Callable[[str], None],
        stale: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._ping = ping
        self._abort = abort
        self._stale = stale
        self._heard_s = self._loop.time()
        self._begun_s: float | None = None  # since when a message is under way
        self._is_stale = False
        self._timer: asyncio.TimerHandle | None = None
        self._end_of_message: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch over silence."""
        self._heard_s = self._loop.time()
        self._timer = self._loop.call_later(self._config.ping_after_s, self._check)

    def stop(self) -> None:
        """StalenessMonitor no longer."""
        for timer in (self._timer, self._end_of_message):
            if timer is not None:
                timer.cancel()

    def heard(self) -> None:
        """Note that bytes were received, whatever they are."""
        self._heard_s = self._loop.time()
        if self._is_stale:
            self._is_stale = False
            self._stale(False)

    def begun(self) -> None:
        """Note that a message is under way; its first bytes came with those heard last."""
        if self._begun_s is None:
            self._begun_s = self._heard_s
            if self._end_of_message is None:
                self._end_of_message = self._loop.call_later(self._config.frame_timeout_s, self._check_message)

    def complete(self) -> None:
        """Note that a message is complete."""
        self._begun_s = None

    def _check(self) -> None:
        """Ping after a while of silence, give up after a longer one; then look again when that may be due."""
        config, now_s = self._config, self._loop.time()
        quiet_s = now_s - self._heard_s
        if quiet_s >= config.dead_after_s - _ROUNDING_S:
            self._abort(f"nothing was received for {quiet_s:.1f} s")
            return
        if quiet_s < config.ping_after_s - _ROUNDING_S:
            due_s = self._heard_s + config.ping_after_s
        else:
            # The answer starts the silence anew, and the next ping may be due before this one is given up.
            due_s = min(self._heard_s + config.dead_after_s, now_s + config.ping_after_s)
            if not self._is_stale:
                self._is_stale = True
                self._stale(True)
                self._ping()
        self._timer = self._loop.call_at(due_s, self._check)

    def _check_message(self) -> None:
        """Give up when a message that has begun is not complete in time."""
        self._end_of_message = None
        if self._begun_s is None:
            return
        age_s = self._loop.time() - self._begun_s
        if age_s >= self._config.frame_timeout_s - _ROUNDING_S:
            self._abort(f"a frame was not complete after {age_s:.1f} s")
        else:
            due_s = self._begun_s + self._config.frame_timeout_s
            self._end_of_message = self._loop.call_at(due_s, self._check_message)
