"""Messages that stand for themselves: open interest, metadata, maintenance, and what the account says."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.channel import REMEMBERED, ChannelState, Counters, FeedMessage
from quantkit.feeds.okx.tracker.records import Command

#: Channels outside the private path that a consumer without room gets all the same.
_KEPT: Final = ("instruments", "status")


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
