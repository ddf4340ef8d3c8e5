"""The state of one channel of one instrument: the connection that brings its rows, and its outages.

The owner is the connection that brings the rows; a successor is about to replace it. An outage begins when no
connection brings the rows any more, and ends with the first row after. Exactly one gap reports it.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.clock import NS_PER_S, span_text
from quantkit.events import MarketEvent
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import (
    ForeignCandle,
    FormingCandle,
    InstrumentData,
    OpenInterest,
    PrivateMessage,
    Status,
)
from quantkit.feeds.okx.tracker.records import Command, Resubscribe

#: What a tracker delivers: events, bars that are still open or not ours, metadata, and what the account says.
FeedMessage: TypeAlias = (
    MarketEvent | FormingCandle | ForeignCandle | OpenInterest | InstrumentData | Status | PrivateMessage
)

#: How many names are counted; what an exchange makes up beyond them shares one.
_MOST_NAMES: Final = 1000
#: How many rows are remembered to tell the copies of a handover, or kept because they come before their turn.
REMEMBERED: Final = 1000
#: How far the exchange's clock may be ahead of ours.
AHEAD_NS: Final = 86_400 * NS_PER_S
#: Channels outside the private path that a consumer without room gets all the same.
_KEPT: Final = ("instruments", "status")

_log: Final = logging.getLogger("quantkit.feeds.okx")


class Counters:
    """Counts undelivered messages by name, and logs each new name once."""

    __slots__ = ("counters",)

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Count something by a name of ours or the exchange's."""
        counters = self.counters
        if name not in counters:
            if len(counters) >= _MOST_NAMES:
                name = "other"
            if name not in counters:
                # Names may hold an exchange's text, which must not break out of its log line.
                _log.info("first seen: %s", ascii(name)[1:-1])
        counters[name] += number


class ChannelState:
    """One channel of one instrument.

    Attributes:
        channels: The subscriptions it stands for; a private channel may be subscribed in parts.
        owner: The connection that brings it; None while nobody does.
        successor: The connection that is about to replace the owner's.
        is_paused: Whether the consumer has no room for its rows.

    Args:
        channel: What was subscribed.
        counters: Where rows that are not delivered are counted.
        command: Asks the client for something.
    """

    __slots__ = ("_command", "_counters", "_heard", "channel", "channels", "is_paused", "owner", "successor")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        self.channel = channel
        self.channels = {channel}
        self.owner: int | None = None
        self.successor: int | None = None
        self.is_paused = False
        self._counters = counters
        self._command = command
        #: When each connection brought something, since it was asked to.
        self._heard: dict[int, int] = {}

    def heard_ns(self, connection: int) -> int:
        """Return the time of a connection's last message, 0 while its subscription is not usable."""
        return self._heard.get(connection, 0)

    # Who brings it --------------------------------------------------------------------------------------------

    def subscribed(self, connection: int, channel: Channel) -> None:
        """Note that a subscription was requested."""
        is_known = connection in (self.owner, self.successor) and channel not in self.channels
        self.channels.add(channel)
        if is_known:
            return
        self._heard.pop(connection, None)
        if self.owner is None:
            self.owner = connection
        elif connection != self.owner:
            self.successor = connection
        self._restarted(connection)

    def unsubscribed(self, connection: int, channel: Channel, received_ns: int, out: list[FeedMessage]) -> bool:
        """Note that a subscription was given up; return whether nobody brings the state any more."""
        if self.owner is not None and connection not in (self.owner, self.successor):
            return False
        if self.successor is not None:
            self.lost(connection, received_ns, "replaced", out)
            return False
        self.channels.discard(channel)
        if self.channels:
            return False
        self.close(received_ns, out)
        return True

    def lost(self, connection: int, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        """Note that a connection ended; a successor that brings the state already goes on without an outage."""
        if connection not in (self.owner, self.successor):
            return
        self._heard.pop(connection, None)
        if connection == self.owner:
            self.owner = self.successor
            self.successor = None
            self._promoted(received_ns, out)
            if self.owner is None or not self.heard_ns(self.owner):
                self._fail(received_ns, f"disconnected: {cause}" if cause else "disconnected", out)
        else:
            self.successor = None
        self._left(connection, received_ns, out)

    def stalled(self, connection: int, received_ns: int, quiet_ns: int, out: list[FeedMessage]) -> None:
        """Note that nothing came for too long; the channel is subscribed anew."""
        if connection not in (self.owner, self.successor):
            return
        self._heard.pop(connection, None)
        cause = f"stalled for {span_text(quiet_ns)}"
        if not self._is_carried():
            self._fail(received_ns, cause, out)
        self._command(Resubscribe(connection, self.channel, cause))

    def malformed(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Note a malformed frame, whose content is lost."""
        if connection == self.owner and self.successor not in self._heard:
            self._fail(received_ns, "malformed", out)

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering, since the consumer has no room."""
        self.is_paused = True

    def resume(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver again."""
        self.is_paused = False

    # What states differ in -------------------------------------------------------------------------------------

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Take one message of the channel; what is to be delivered is added to `out`."""
        raise NotImplementedError

    def close(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Add the gap of an outage that is still open; the run ends, or nobody wants the state any more."""

    def _restarted(self, connection: int) -> None:
        """Begin anew with a connection that was asked to bring the state."""

    def _promoted(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Go on with the successor as the owner."""

    def _left(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Forget a connection."""

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        """Begin an outage."""

    def _is_carried(self) -> bool:
        """Return whether a connection brings the state."""
        return self.owner in self._heard or self.successor in self._heard

    def _is_ours(self, connection: int, received_ns: int) -> bool:
        """Return whether a connection may bring the state, counting a frame of one that may not."""
        if connection == self.owner or connection == self.successor:
            self._heard[connection] = received_ns
            return True
        self._counters.count("frames of a connection that is not asked for their channel")
        return False


class PassThroughChannel(ChannelState):
    """Messages of one channel, none of which replaces another.

    Nobody can ask for a missed one again, so no gap tells of it: a subscription begins with the present state.
    """

    __slots__ = ("_is_kept", "_is_settling", "_recent")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command)
        #: What was delivered during a handover, to tell the copies that the second connection brings.
        self._recent: deque[Any] = deque(maxlen=REMEMBERED)
        #: Whether the owner was a successor whose messages may still be copies.
        self._is_settling = False
        #: Whether its messages are delivered even to a consumer without room.
        self._is_kept = channel.path == "private" or channel.name in _KEPT

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a message, unless it is the copy that the other connection of a handover brings."""
        if not self._is_ours(connection, received_ns):
            return
        if self.successor is not None or self._is_settling:
            bare = _without_receipt(message)
            if (connection == self.successor or self._is_settling) and bare in self._recent:
                self._counters.count("repeated rows of a handover")
                return
            if connection == self.successor:
                self.owner, self.successor = connection, self.owner
            if self.successor is None:
                self._settle()
            else:
                self._recent.append(bare)
        if self.is_paused and not self._is_kept:
            self._counters.count("rows shed")
        else:
            out.append(message)

    def _restarted(self, connection: int) -> None:
        if self.successor is None:
            self._settle()

    def _promoted(self, received_ns: int, out: list[FeedMessage]) -> None:
        self._is_settling = True

    def _settle(self) -> None:
        self._is_settling = False
        self._recent.clear()


def _without_receipt(message: Any) -> Any:
    """Return a message as it would be had it been received at another time."""
    return msgspec.structs.replace(message, received_ns=0) if hasattr(message, "received_ns") else message
