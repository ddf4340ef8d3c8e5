"""The periodic search for silent books, late candles, and a consumer that has caught up."""

import asyncio
import math
from typing import Final, Protocol

from quantkit.clock import NS_PER_S
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.tracker.records import FetchCandles, Stalled
from quantkit.feeds.okx.ws.connection import Connection
from quantkit.feeds.okx.ws.pipeline import Pipeline
from quantkit.feeds.okx.ws.pool import ConnectionPool
from quantkit.feeds.okx.ws.subscriptions import ChannelSubscription, SubscriptionState

#: Longest silence of a book before its connection is given up once more.
_LONGEST_PATIENCE_S: Final = 3600.0


class Monitored(Protocol):
    """The parts of the client that the monitor uses."""

    config: OkxConfig
    pipeline: Pipeline
    pool: ConnectionPool

    def fetch_late(self, command: FetchCandles) -> None:
        """Fetch late bars."""
        ...


class StalenessMonitor:
    """Looks every `watch_every_s`.

    Silence is measured by the event loop's clock, so a step of the machine's wall clock does not count as silence.
    """

    def __init__(self, monitored: Monitored) -> None:
        self._monitored = monitored
        self._loop = asyncio.get_running_loop()
        self._fetched_s: dict[Channel, float] = {}  # last fetch of late bars

    async def run(self) -> None:
        """Look until cancelled."""
        config = self._monitored.config
        while True:
            await asyncio.sleep(config.watch_every_s)
            self.look()

    def look(self) -> None:
        """Look once."""
        monitored = self._monitored
        if monitored.pipeline.is_overflowing:
            monitored.pipeline.check_backlog()
        for connection in monitored.pool:
            if connection.is_up and not connection.is_retiring:
                for subscription in connection.subscriptions:
                    if (
                        subscription.channel.is_depth
                        and subscription.state is SubscriptionState.LIVE
                        and connection.is_up
                    ):
                        self._look_at_book(connection, subscription)
        late_ns = int(monitored.config.candle_late_s * NS_PER_S)
        for command in monitored.pipeline.tracker.overdue(monitored.pipeline.stamp(), grace_ns=late_ns):
            # REST may lack the bar too, as of a suspended instrument: do not ask for it in a tight loop.
            now_s = self._loop.time()
            if now_s - self._fetched_s.get(command.channel, -math.inf) >= monitored.config.candle_late_s:
                self._fetched_s[command.channel] = now_s
                monitored.fetch_late(command)

    def _look_at_book(self, connection: Connection, subscription: ChannelSubscription) -> None:
        """Renew the subscription of a silent book, and its connection if that did not help."""
        monitored, config = self._monitored, self._monitored.config
        now_s = self._loop.time()
        heard_ns = monitored.pipeline.tracker.heard_ns(connection.number, subscription.channel)
        if heard_ns != subscription.heard_ns:
            subscription.heard_ns, subscription.heard_s = heard_ns, now_s
        is_heard = heard_ns > 0
        quiet_s = now_s - (max(subscription.heard_s, subscription.acked_s) if is_heard else subscription.acked_s)
        if is_heard and subscription.heard_s - subscription.acked_s > config.ack_timeout_s:
            subscription.renewals = subscription.aborts = 0  # more than the snapshot of a new subscription
        # A subscription without any frame has failed like one without an acknowledgement.
        limit_s = config.stall_after_s if is_heard else config.ack_timeout_s
        if quiet_s <= limit_s:
            return
        if is_heard:
            quiet_ns = int(quiet_s * NS_PER_S)
            monitored.pipeline.record(
                Stalled(monitored.pipeline.stamp(), connection.number, subscription.channel, quiet_ns)
            )
        if subscription.renewals:
            # A book that never comes, as of an instrument that is not open yet, must not interrupt the others for ever.
            if quiet_s <= min(limit_s * 2**subscription.aborts, _LONGEST_PATIENCE_S):
                return
            subscription.aborts += 1
            connection.abort(f"{subscription.channel}: nothing came for {quiet_s:.1f} s, also after a new subscription")
            return
        subscription.renewals += 1
        connection.resync(subscription.channel)
