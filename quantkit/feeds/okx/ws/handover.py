"""Handovers: a new connection takes over the channels of one that OKX is about to close."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.ws.connection import Connection
from quantkit.feeds.okx.ws.pipeline import Pipeline
from quantkit.feeds.okx.ws.pool import ConnectionPool

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: A connection that OKX announces to close within this time after it was made was no better than the one before.
_SETTLED_S: Final = 20.0
#: Longest wait before such a connection is replaced. OKX closes a minute after the announcement.
_LONGEST_HESITATION_S: Final = 20.0
#: Rows make no signal, so the progress of a handover is also looked at this often.
_LOOK_EVERY_S: Final = 0.05


class HandoverServices(Protocol):
    """The parts of the client that a handover uses."""

    config: OkxConfig
    pool: ConnectionPool
    pipeline: Pipeline

    async def wait_change(self, timeout_s: float) -> None:
        """Wait until the state of a connection changes, at most so long."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task; an error of it stops the client."""
        ...


class Handovers:
    """Replaces connections before the server closes them.

    Args:
        services: The client around it.
    """

    def __init__(self, services: HandoverServices) -> None:
        self._services = services

    def start(self, old: Connection) -> None:
        """Begin to replace a connection, unless that is under way or the connection is down."""
        if not old.is_retiring and old.is_up:
            self._services.spawn(self._hand_over(old, old.attempts), f"{old.where}: handover")

    async def _hand_over(self, old: Connection, attempt: int) -> None:
        services, pool = self._services, self._services.pool
        predecessor = old.predecessor
        if predecessor is not None:
            # One at a time: a successor that OKX announces to close is replaced once its predecessor has ended.
            await predecessor.ended.wait()
        is_young = asyncio.get_running_loop().time() - old.made_s < _SETTLED_S
        handovers = old.handovers if is_young else 0
        if handovers:
            # Where every server is being upgraded the next one will close as well; there is a minute to take over.
            await asyncio.sleep(min(services.config.retry.bound_s(handovers), _LONGEST_HESITATION_S))
        if old.is_retiring or not old.is_up or old.attempts != attempt:
            return  # it has been made again meanwhile
        old.is_retiring = True
        new = pool.make(old.path, needs_login=old.needs_login)
        new.predecessor = old
        new.handovers = handovers + 1
        _log.info("%s will be closed by OKX; connection %d takes over", old.where, new.number)
        for subscription in old.subscriptions:
            if subscription.channel in old.subscriptions:
                new.subscriptions.want(subscription.channel, subscription.settled)
                pool.assign(subscription.channel, new)
        await self._until(lambda: _is_pointless(old, new) or new.is_live)
        try:
            async with asyncio.timeout(services.config.successor_timeout_s):
                await self._until(lambda: _is_pointless(old, new) or self._carries_all_of(old, new))
        except TimeoutError:
            _log.warning(
                "%s: not every channel has arrived in time; connection %d ends all the same", new.where, old.number
            )
        if not new.is_failed:
            await old.end(f"replaced by connection {new.number}")
        await old.ended.wait()
        new.predecessor = None
        pool.remove(old)

    def _carries_all_of(self, old: Connection, new: Connection) -> bool:
        """Return whether a successor has its books, and a row of every other channel that its predecessor brings."""
        heard_ns = self._services.pipeline.tracker.heard_ns
        return new.is_live and all(
            heard_ns(new.number, subscription.channel)
            or not (subscription.channel.is_book or heard_ns(old.number, subscription.channel))
            for subscription in new.subscriptions
        )

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a fact about connections."""
        while not is_so():
            await self._services.wait_change(min(self._services.config.watch_every_s, _LOOK_EVERY_S))


def _is_pointless(old: Connection, new: Connection) -> bool:
    """Return whether the old connection has ended or lost its channels, or the new one has failed."""
    return old.ended.is_set() or not old.subscriptions or new.is_failed
