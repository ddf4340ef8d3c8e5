"""The exchange's own log of sent and withheld pushes: the truth for tests."""

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from quantkit.sandbox.channels import Topic
from quantkit.sandbox.wire import TopicPush


class SentFrame(NamedTuple):
    """One push and what became of it.

    Attributes:
        at_ms: The exchange's time, UTC ms.
        connection: Number of the connection, from 1.
        path: public, business or private.
        topic: Channel and instrument.
        what: `sent`, or the kind of the fault that kept it back, changed it or added it.
        seq_id, prev_seq_id: As in `wire.TopicPush`.
        text: The frame as sent; empty for one that was not.
    """

    at_ms: int
    connection: int
    path: str
    topic: Topic
    what: str
    seq_id: int | None
    prev_seq_id: int | None
    text: str


class Happening(NamedTuple):
    """Something that happened to a connection.

    Attributes:
        at_ms: The exchange's time, UTC ms.
        connection: Number of the connection; 0 for a handshake that was refused.
        what: opened, closed, gone, refused, operation, login, subscribe, unsubscribe, error, notice or fault.
        details: A code, an arg, a reason.
    """

    at_ms: int
    connection: int
    what: str
    details: str


class ExchangeLog:
    """Everything the exchange did.

    Args:
        is_complete: Whether every push is kept with its text; otherwise they are only counted.
        limit: How many pushes and happenings of each sort are kept at most; older ones are forgotten.
    """

    def __init__(self, *, is_complete: bool = False, limit: int = 200_000) -> None:
        self.is_complete = is_complete
        self.pushes: deque[SentFrame] = deque(maxlen=limit)
        self.happenings: deque[Happening] = deque(maxlen=limit)
        #: Every push of a topic as it was meant, whoever got it.
        self.published: deque[tuple[int, Topic, TopicPush]] = deque(maxlen=limit)
        self.counts: Counter[str] = Counter()

    def of(self, *, connection: int | None = None, channel: str = "", instrument: str = "") -> Iterator[SentFrame]:
        """Yield the pushes that match, in order."""
        for push in list(self.pushes):
            if (
                connection in (None, push.connection)
                and channel in ("", push.topic.channel)
                and instrument in ("", push.topic.key)
            ):
                yield push

    def lost(self) -> list[SentFrame]:
        """Return the pushes that faults kept back or damaged."""
        return [push for push in list(self.pushes) if push.what in ("gap", "stall", "malformed", "no_snapshot")]

    def truth(self, channel: str, instrument: str) -> list[TopicPush]:
        """Return every push of a topic as it was meant, in order."""
        return [push for _, topic, push in list(self.published) if topic == (channel, instrument)]

    def happened(self, what: str) -> list[Happening]:
        """Return what happened of one sort, in order."""
        return [each for each in list(self.happenings) if each.what == what]
