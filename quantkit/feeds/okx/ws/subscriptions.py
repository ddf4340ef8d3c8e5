"""Which channels a connection has to carry, and how far each of them has come."""

import asyncio
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import RetryPolicy

#: How often in an hour a channel is renewed at once. Each time costs two of the connection's 480 requests an hour, so
#: that one book that always breaks would take them from all others.
_PROMPT_RENEWALS: Final = 20
_HOUR_S: Final = 3600.0


class SubscriptionState(StrEnum):
    """How far a subscription has come on the present connection."""

    NEW = "new"  # to be subscribed
    SENT = "sent"  # asked for
    LIVE = "live"  # acknowledged
    RESYNC = "resync"  # to be unsubscribed and subscribed again
    RESTING = "resting"  # the same, but later, since it was done too often
    LEAVING = "leaving"  # to be unsubscribed for good


class ChannelSubscription:
    """One channel on one connection.

    Attributes:
        settled: Done when it was acknowledged for the first time (None) or refused (why).
        acked_s: When it was acknowledged last, by the loop's clock.
        heard_ns, heard_s: The stamp of the newest data the watch saw, and when it saw it, by the loop's clock.
        renewals: How often it was renewed without a lasting effect: a stall, or a snapshot that never came.
        renewed_s: When it was subscribed anew on whichever connection, within the last hour by the loop's clock.
        aborts: How many connections were given up for its sake without a lasting effect.
        was_dropped: The server ended it once by itself.
    """

    __slots__ = (
        "aborts",
        "acked_s",
        "channel",
        "heard_ns",
        "heard_s",
        "renewals",
        "renewed_s",
        "settled",
        "state",
        "was_dropped",
    )

    def __init__(self, channel: Channel, settled: "asyncio.Future[FeedError | None]") -> None:
        self.channel = channel
        self.state = SubscriptionState.NEW
        self.settled = settled
        self.acked_s = 0.0
        self.heard_ns = 0
        self.heard_s = 0.0
        self.renewals = 0
        self.renewed_s: deque[float] = deque()
        self.aborts = 0
        self.was_dropped = False

    def settle(self, error: FeedError | None = None) -> bool:
        """Tell who waits how it ended; return whether somebody still waited."""
        if self.settled.done():
            return False
        self.settled.set_result(error)
        return True


class Subscriptions:
    """All channels of one connection, in the order they were asked for."""

    def __init__(self) -> None:
        self._subscriptions: dict[Channel, ChannelSubscription] = {}

    def __contains__(self, channel: Channel) -> bool:
        subscription = self._subscriptions.get(channel)
        return subscription is not None and subscription.state is not SubscriptionState.LEAVING

    def __iter__(self) -> Iterator[ChannelSubscription]:
        return iter(list(self._subscriptions.values()))

    def __len__(self) -> int:
        return sum(subscription.state is not SubscriptionState.LEAVING for subscription in self._subscriptions.values())

    def get(self, channel: Channel) -> ChannelSubscription | None:
        """Return what is known of a channel."""
        return self._subscriptions.get(channel)

    def want(self, channel: Channel, settled: "asyncio.Future[FeedError | None]") -> ChannelSubscription:
        """Ask for a channel; one that is about to leave is subscribed again after that."""
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscriptions[channel] = ChannelSubscription(channel, settled)
        elif subscription.state is SubscriptionState.LEAVING:
            subscription.state = SubscriptionState.RESYNC
            subscription.settled = settled
        return subscription

    def leave(self, channel: Channel) -> bool:
        """Ask for the end of a channel; return whether it has to be unsubscribed, not merely forgotten."""
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            return False
        if subscription.state is SubscriptionState.NEW:
            del self._subscriptions[channel]
            return False
        subscription.state = SubscriptionState.LEAVING
        return True

    def remove(self, channel: Channel) -> ChannelSubscription | None:
        """Forget a channel."""
        return self._subscriptions.pop(channel, None)

    def resync(self, channel: Channel) -> bool:
        """Ask for a channel to be subscribed anew; return whether that is news."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.state not in (SubscriptionState.SENT, SubscriptionState.LIVE):
            return False
        subscription.state = SubscriptionState.RESYNC
        return True

    def rest(self, channel: Channel, now_s: float, policy: RetryPolicy) -> float:
        """Let a channel that is to be subscribed anew wait, if that was done too often; return for how long.

        Args:
            channel: At state RESYNC.
            now_s: The loop's time.
            policy: Bounds the waits, which grow with each renewal within an hour beyond the first ones.
        """
        subscription = self._subscriptions[channel]
        renewed_s = subscription.renewed_s
        while renewed_s and now_s - renewed_s[0] >= _HOUR_S:
            renewed_s.popleft()
        renewed_s.append(now_s)
        if len(renewed_s) <= _PROMPT_RENEWALS:
            return 0.0
        subscription.state = SubscriptionState.RESTING
        return policy.bound_s(len(renewed_s) - _PROMPT_RENEWALS)

    def rested(self, channel: Channel) -> bool:
        """Let a channel be subscribed anew after its rest; return whether it still waits for that."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.state is not SubscriptionState.RESTING:
            return False
        subscription.state = SubscriptionState.RESYNC
        return True

    def at(self, *states: SubscriptionState) -> list[Channel]:
        """Return the channels at some states, in order."""
        return [channel for channel, subscription in self._subscriptions.items() if subscription.state in states]

    def restart(self) -> None:
        """Begin again on a new connection: what was leaving is gone, all else is to be subscribed."""
        for channel in self.at(SubscriptionState.LEAVING):
            del self._subscriptions[channel]
        for subscription in self._subscriptions.values():
            subscription.state = SubscriptionState.NEW
            subscription.renewals = 0

    @property
    def is_live(self) -> bool:
        """Whether every channel is acknowledged."""
        return all(
            subscription.state in (SubscriptionState.LIVE, SubscriptionState.LEAVING)
            for subscription in self._subscriptions.values()
        )

    @property
    def depth(self) -> int:
        """How many depth channels are among them."""
        return sum(channel.is_depth and channel in self for channel in self._subscriptions)
