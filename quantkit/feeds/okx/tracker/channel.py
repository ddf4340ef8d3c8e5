"""The state of one channel of one instrument: the connection that brings its rows, and its outages.

The owner is the connection that brings the rows; a successor is about to replace it. An outage begins when no
connection brings the rows any more, and ends with the first row after. Exactly one gap reports it.
"""

import logging
from abc import ABC, abstractmethod
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
    PrivateMessage,
    Status,
)
from quantkit.feeds.okx.tracker.records import Command, Resubscribe

#: What a tracker delivers: events, open bars, bars of foreign intervals, metadata, and messages about the account.
FeedMessage: TypeAlias = MarketEvent | FormingCandle | ForeignCandle | InstrumentData | Status | PrivateMessage

#: Most names that are counted; further ones share the name `other`, since an exchange can make up any number.
_MOST_NAMES: Final = 1000
#: Most rows remembered to recognise the copies of a handover, or kept because rows before them are missing.
REMEMBERED: Final = 1000
#: Largest lead of the exchange's clock over ours.
AHEAD_NS: Final = 86_400 * NS_PER_S
#: Public channels that are delivered even while the consumer has no room.
_KEPT: Final = ("instruments", "status")

_log: Final = logging.getLogger("quantkit.feeds.okx")


class Counters:
    """Counts what is not delivered, by name. Each new name is logged once."""

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Count something by its name."""
        counters = self.by_name
        if name not in counters:
            if len(counters) >= _MOST_NAMES:
                name = "other"
            if name not in counters:
                # Names may hold an exchange's text, which must not break out of its log line.
                _log.info("first seen: %s", ascii(name)[1:-1])
        counters[name] += number


class ChannelState(ABC):
    """One channel of one instrument.

    Attributes:
        channels: Its subscriptions; a private channel may be subscribed in parts.
        owner: The connection that brings its rows; None during an outage of all connections.
        successor: The connection that is about to replace the owner.
        is_paused: Whether the consumer has no room for its rows.

    Args:
        channel: The subscription.
        counters: Counts the rows that are not delivered.
        command: Gives the client a command.
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
        #: When each connection last brought a row since its subscription, UTC ns.
        self._heard: dict[int, int] = {}

    def heard_ns(self, connection: int) -> int:
        """Return when a connection last brought a row, UTC ns; 0 while its subscription is not usable yet."""
        return self._heard.get(connection, 0)

    # Connections ----------------------------------------------------------------------------------------------

    def subscribed(self, connection: int, channel: Channel) -> None:
        """Take a subscription on a connection; one beside the owner makes it the successor."""
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
        """Take the end of a subscription; return whether it was the last one."""
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
        """Take the end of a connection; with a successor that has brought rows there is no outage."""
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
        """Take a silence of the channel; it is subscribed anew."""
        if connection not in (self.owner, self.successor):
            return
        self._heard.pop(connection, None)
        cause = f"stalled for {span_text(quiet_ns)}"
        if not self._is_carried():
            self._fail(received_ns, cause, out)
        self._command(Resubscribe(connection, self.channel, cause))

    def malformed(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Take a frame that could not be decoded; its rows are lost."""
        if connection == self.owner and self.successor not in self._heard:
            self._fail(received_ns, "malformed", out)

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering: the consumer has no room."""
        self.is_paused = True

    def resume(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver again."""
        self.is_paused = False

    # Kinds of channels differ in these -------------------------------------------------------------------------

    @abstractmethod
    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Take one message of the channel and add what is to be delivered to `out`."""

    def close(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Add the gap of an open outage; the run or the subscription ends."""

    def _restarted(self, connection: int) -> None:
        """Begin anew with a connection whose subscription was sent."""

    def _promoted(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Go on with the successor as the owner."""

    def _left(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Forget a connection."""

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        """Begin an outage."""

    def _is_carried(self) -> bool:
        """Return whether a connection has brought rows since its subscription."""
        return self.owner in self._heard or self.successor in self._heard

    def _is_ours(self, connection: int, received_ns: int) -> bool:
        """Return whether the connection is owner or successor; count the frame of any other."""
        if connection == self.owner or connection == self.successor:
            self._heard[connection] = received_ns
            return True
        self._counters.count("frames of a connection that is not asked for their channel")
        return False


class PassThroughChannel(ChannelState):
    """Messages that are passed on as they are: metadata, maintenance, and the account.

    Missed messages leave no gap: a new subscription begins with the present state.
    """

    __slots__ = ("_is_kept", "_is_settling", "_recent")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command)
        #: Messages delivered during a handover, to recognise the copies that the second connection brings.
        self._recent: deque[Any] = deque(maxlen=REMEMBERED)
        #: Whether the owner was a successor until now, so that its messages may still be copies.
        self._is_settling = False
        #: Whether its messages are delivered even while the consumer has no room.
        self._is_kept = channel.path == "private" or channel.name in _KEPT

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a message, unless it is a copy from the other connection of a handover."""
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
    """Return a message without its receipt stamp, to compare copies."""
    return msgspec.structs.replace(message, received_ns=0) if hasattr(message, "received_ns") else message
