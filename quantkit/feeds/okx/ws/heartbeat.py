"""Heartbeat of a connection: when to ping the other side, and when to give up."""

import asyncio
from collections.abc import Callable
from typing import Final

from quantkit.feeds.okx.config import OkxConfig

#: Tolerance for rounding when times are added and subtracted.
_ROUNDING_S: Final = 5e-7


class Heartbeat:
    """Detects silence and messages that do not end, with two timers; a message resets no timer.

    Args:
        config: How long to be patient.
        ping: Sends a sign of life.
        abort: Ends the connection, with the cause.
        stale: Called with True when the other side is silent, with False when it speaks again.
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
        self._begun_s: float | None = None  # begin of the message under way
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
        """Take received bytes of any kind as a sign of life."""
        self._heard_s = self._loop.time()
        if self._is_stale:
            self._is_stale = False
            self._stale(False)

    def begun(self) -> None:
        """Take the begin of a message, which came with the newest bytes."""
        if self._begun_s is None:
            self._begun_s = self._heard_s
            if self._end_of_message is None:
                self._end_of_message = self._loop.call_later(self._config.frame_timeout_s, self._check_message)

    def complete(self) -> None:
        """Take the end of a message."""
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
