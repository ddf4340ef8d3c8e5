"""What goes out over one WebSocket: at once, and within OKX's limit of operations an hour."""

import asyncio
import logging
from typing import Final

from quantkit.feeds.okx.limits import SlidingLimit
from quantkit.feeds.okx.ws.ports import Ending, SessionCallbacks, Socket

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: OKX counts by its own clock and after the network's delay, so the hour is taken a little longer here.
_HOUR_S: Final = 3660.0


class Outbox:
    """Sends over one socket until the connection is over.

    Attributes:
        socket: None before the connection is made.
        ending: Why the connection is over; None while it is not.
        waits_until_s: Loop time at which the hourly limit lets the next request through, 0 if it does now.

    Args:
        connection: Hears that the limit is reached.
        where: The connection's name in the log.
        operations_per_h: The limit.
    """

    def __init__(self, connection: SessionCallbacks, where: str, operations_per_h: int) -> None:
        self.socket: Socket | None = None
        self.ending: Ending | None = None
        self.waits_until_s = 0.0
        self._connection = connection
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._operations = SlidingLimit(operations_per_h, _HOUR_S)

    def has_ended(self) -> bool:
        """Return whether the connection is over."""
        return self.ending is not None

    def end(self, ending: Ending) -> bool:
        """Take note that the connection is over; return whether that is news, since the first cause counts."""
        if self.ending is not None:
            return False
        self.ending = ending
        self._over.set()
        return True

    async def wait_over(self) -> None:
        """Wait until the connection is over."""
        await self._over.wait()

    def send(self, data: bytes) -> None:
        """Send one text frame; do nothing before the connection is made."""
        if self.socket is not None:
            self.socket.send(data)

    def abort(self, cause: str) -> None:
        """Give the connection up, as a loss."""
        if self.socket is not None:
            self.socket.abort(cause)

    async def pace(self) -> None:
        """Wait for a place among the operations of an hour."""
        while (wait_s := self._operations.take(self._loop.time())) > 0.0 and not self.has_ended():
            self.waits_until_s = self._loop.time() + wait_s
            _log.warning(
                "%s: %d requests were sent within an hour, OKX's limit; the next follows in %.0f s",
                self._where,
                self._operations.used,
                wait_s,
            )
            self._connection.changed()
            await self.pause(wait_s)
        self.waits_until_s = 0.0

    async def pause(self, wait_s: float) -> None:
        """Wait so long, or until the connection is over."""
        try:
            async with asyncio.timeout(wait_s):
                await self._over.wait()
        except TimeoutError:
            return
