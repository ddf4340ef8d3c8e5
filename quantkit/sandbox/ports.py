"""What the parts of the exchange need of it, as protocols: no part imports the exchange itself."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from quantkit.sandbox.board import FaultBoard
from quantkit.sandbox.channels import Topic, TopicSubscription
from quantkit.sandbox.keys import ApiKey
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.wire import TopicPush


class Listener(Protocol):
    """A connection that holds topics."""

    @property
    def number(self) -> int:
        """From 1, in the order of connections."""
        ...

    @property
    def key(self) -> ApiKey | None:
        """Whose it is, None before a login."""
        ...

    def deliver(self, subscription: TopicSubscription, push: TopicPush) -> None:
        """Send a push of a topic."""
        ...


class Offer(Protocol):
    """A session's view of a market: its topics, and the keys that they need.

    Attributes:
        open_channels: Channels that need no login and no fee tier here.
    """

    open_channels: frozenset[str]

    def has(self, topic: Topic) -> bool:
        """Return whether a public topic exists."""
        ...


class Publisher(Protocol):
    """A market's and an account's view of the exchange: its time, rules, listeners, and a way to send."""

    @property
    def rules(self) -> Rules:
        """Limits and timers."""
        ...

    @property
    def topics(self) -> Mapping[Topic, Sequence[tuple[Listener, TopicSubscription]]]:
        """Who holds what."""
        ...

    @property
    def version(self) -> int:
        """Changes whenever somebody joins or leaves a topic."""
        ...

    def now_ms(self) -> int:
        """Return the exchange's time, UTC ms."""
        ...

    def publish(self, topic: Topic, push: TopicPush) -> None:
        """Send a push to everybody who holds its topic."""
        ...

    async def drained(self) -> None:
        """Wait until every connection has been sent what is queued for it."""
        ...


class SessionHost(Protocol):
    """A session's view of the exchange."""

    @property
    def rules(self) -> Rules:
        """Limits and timers."""
        ...

    @property
    def is_demo(self) -> bool:
        """Whether this is the demo environment."""
        ...

    @property
    def market(self) -> Offer:
        """The market behind the exchange."""
        ...

    @property
    def faults(self) -> FaultBoard:
        """The armed faults."""
        ...

    @property
    def log(self) -> ExchangeLog:
        """The log of sent and withheld pushes."""
        ...

    def now_ms(self) -> int:
        """Return the exchange's time, UTC ms."""
        ...

    def is_timely(self, sent_s: float) -> bool:
        """Return whether a signature's time, seconds since 1970, is near the exchange's own."""
        ...

    def join(self, session: Listener, subscription: TopicSubscription, *, is_silent: bool = False) -> None:
        """Let a session hear a topic, beginning with what a new subscriber gets; silent: without that."""
        ...

    def leave(self, subscription: TopicSubscription) -> None:
        """End a subscription."""
        ...

    def holders(self, channel: str, user: str) -> int:
        """Return how many connections of a user hold a private channel."""
        ...
