"""The channels that a connection has to carry, and the state of each subscription."""

import asyncio
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import RetryPolicy

#: Times in an hour that a channel is renewed without a rest. A renewal costs two of the connection's 480 requests an
#: hour, so one book that always breaks would use up those of all others.
_PROMPT_RENEWALS: Final = 20
_HOUR_S: Final = 3600.0


class SubscriptionState(StrEnum):
    """State of a subscription on the present connection."""

    NEW = "new"  # to be subscribed
    SENT = "sent"  # asked for
    LIVE = "live"  # acknowledged
    RESYNC = "resync"  # to be unsubscribed and subscribed again
    RESTING = "resting"  # the same, after a rest because it was done too often
    LEAVING = "leaving"  # to be unsubscribed for good


class ChannelSubscription:
    """One channel on one connection.

    Attributes:
        settled: Done with the first acknowledgement (None) or a refusal (its error).
        acked_s: Last acknowledgement, by the loop's clock.
        heard_ns, heard_s: Stamp of the newest frame that the staleness monitor saw, and when, by the loop's clock.
        renewals: Renewals without a lasting effect, after a stall or a missing snapshot.
        renewed_s: Renewals within the last hour, by the loop's clock.
        aborts: Connections given up because of this channel without a lasting effect.
        was_dropped: Whether the server has ended it once by itself.
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
        """Give the outcome to the calls that wait; return False if they have one already."""
        if self.settled.done():
            return False
        self.settled.set_result(error)
        return True


class Subscriptions:
    """All subscriptions of one connection, in the order of the calls."""

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
        """Return the subscription of a channel, None without one."""
        return self._subscriptions.get(channel)

    def want(self, channel: Channel, settled: "asyncio.Future[FeedError | None]") -> ChannelSubscription:
        """Add a channel; one that is being unsubscribed is subscribed again after that."""
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscriptions[channel] = ChannelSubscription(channel, settled)
        elif subscription.state is SubscriptionState.LEAVING:
            subscription.state = SubscriptionState.RESYNC
            subscription.settled = settled
        return subscription

    def leave(self, channel: Channel) -> bool:
        """End a channel; return whether it has to be unsubscribed at the server."""
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
        """Mark a channel to be subscribed anew; return False if it is marked already."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.state not in (SubscriptionState.SENT, SubscriptionState.LIVE):
            return False
        subscription.state = SubscriptionState.RESYNC
        return True

    def rest(self, channel: Channel, now_s: float, policy: RetryPolicy) -> float:
        """Let a channel rest before it is subscribed anew, if that was done too often; return for how long.

        Args:
            channel: In state RESYNC.
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
        """End the rest of a channel; return whether it is still to be subscribed anew."""
        subscription = self._subscriptions.get(channel)
        if subscription is None or subscription.state is not SubscriptionState.RESTING:
            return False
        subscription.state = SubscriptionState.RESYNC
        return True

    def at(self, *states: SubscriptionState) -> list[Channel]:
        """Return the channels in some states, in order."""
        return [channel for channel, subscription in self._subscriptions.items() if subscription.state in states]

    def restart(self) -> None:
        """Begin again on a new connection: forget the channels that were leaving, subscribe all others."""
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
        """The number of depth channels."""
        return sum(channel.is_depth and channel in self for channel in self._subscriptions)
