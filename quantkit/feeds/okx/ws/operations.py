"""Requests to subscribe and unsubscribe: cut to size, numbered, and their answers matched to channels."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import Ack, ErrorEvent
from quantkit.feeds.okx.errors import OkxError, is_retryable, reply_error

Op: TypeAlias = Literal["subscribe", "unsubscribe"]

#: Bytes around the arguments, with the longest operation and id.
_FRAME_BYTES: Final = len('{"id":"01234567890123456789012345678901","op":"unsubscribe","args":[]}')
#: Codes that refuse a whole request, whichever argument is wrong.
_WHOLE_REQUEST: Final = frozenset({"60012", "60013", "60019", "60027", "60033"})
#: Ends a book channel that was acknowledged before: a finer one of its instrument is live.
_FINER_BOOK: Final = "64004"
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")


def parts(channels: Iterable[Channel], limit_bytes: int) -> list[tuple[Channel, ...]]:
    """Cut channels into requests of at most `limit_bytes`; one that is longer by itself stands alone.

    Examples:
        >>> from quantkit.feeds.okx.codec.channels import tickers
        >>> [len(part) for part in parts([tickers(f"A{n}-USDT") for n in range(10)], 256)]
        [4, 4, 2]
    """
    cut: list[tuple[Channel, ...]] = []
    part: list[Channel] = []
    size = _FRAME_BYTES
    for channel in channels:
        length = len(msgspec.json.encode(channel.arg())) + 1
        if part and size + length > limit_bytes:
            cut.append(tuple(part))
            part, size = [], _FRAME_BYTES
        part.append(channel)
        size += length
    if part:
        cut.append(tuple(part))
    return cut


class Request:
    """One request under way, and its answers so far.

    It may be sent several times, each time with a new id and for the channels that are still unanswered. Answers to any
    of its ids count.

    Attributes:
        waiting: The unanswered channels.
        refused: The refused channels, with the error.
        is_busy: Whether OKX asked to try again later.
        is_ambiguous: Whether an error could not be matched; the rest has to be asked one by one.
    """

    def __init__(self, op: Op, channels: Sequence[Channel]) -> None:
        self.op = op
        self.channels = tuple(channels)
        self.waiting: dict[Channel, None] = dict.fromkeys(channels)
        self.refused: dict[Channel, OkxError] = {}
        self.is_busy = False
        self.is_ambiguous = False
        self._ids: set[str] = set()
        self._loose: list[ErrorEvent] = []

    def begin(self, request_id: str) -> bytes:
        """Return the request as sent, with a new id."""
        self._ids.add(request_id)
        self.is_busy = False
        self._loose.clear()
        return msgspec.json.encode(
            {"id": request_id, "op": self.op, "args": [channel.arg() for channel in self.waiting]}
        )

    def forget(self, channel: Channel) -> None:
        """Stop waiting for the answer of a channel."""
        self.waiting.pop(channel, None)

    def owns(self, request_id: str) -> bool:
        """Return whether the id is one of this request's."""
        return request_id in self._ids

    @property
    def is_settled(self) -> bool:
        """Whether to stop waiting: every channel is answered, or OKX is busy or ambiguous."""
        return not self.waiting or self.is_busy or self.is_ambiguous

    def ack(self, message: Ack) -> Channel | None:
        """Take an acknowledgement; return its channel, None if it answers no waiting channel."""
        if message.event != self.op or (message.request_id and not self.owns(message.request_id)):
            return None
        for channel in self.waiting:
            if channel.name == message.channel and channel.inst_id == message.instrument:
                del self.waiting[channel]
                self._settle_loose()
                return channel
        return None

    def refuse(self, message: ErrorEvent) -> Channel | None:
        """Take an error; return its channel if that had been acknowledged before."""
        if is_retryable(message.code):
            self.is_busy = bool(self.waiting)
            return None
        channel = self._named(message)
        if channel is not None and channel not in self.waiting:
            # OKX acknowledged the channel before.
            return channel if channel not in self.refused else None
        if channel is None and not self.waiting and len(self.channels) == 1:
            return self.channels[0]
        if channel is None and len(self.waiting) == 1 and message.code != _FINER_BOOK:
            channel = next(iter(self.waiting))
        if channel is not None:
            self._refuse(channel, message)
        elif message.code in _WHOLE_REQUEST:
            self.is_ambiguous = bool(self.waiting)
        else:
            self._loose.append(message)
        self._settle_loose()
        return None

    def _named(self, message: ErrorEvent) -> Channel | None:
        """Return the one channel that the error's text names."""
        words = set(_WORD.findall(message.text))
        found = [
            channel
            for channel in self.channels
            if channel.name in words and (channel.inst_id or channel.inst_type or channel.ccy or channel.name) in words
        ]
        if message.code == _FINER_BOOK and len(found) != 1:
            found = [channel for channel in self.channels if channel.is_depth and channel.name != "books-l2-tbt"]
        return found[0] if len(found) == 1 else None

    def _settle_loose(self) -> None:
        """Match the errors without a name once there are as many of them as unanswered channels."""
        if not self._loose or len(self._loose) < len(self.waiting):
            return
        if len({message.code for message in self._loose}) > 1:
            self.is_ambiguous = bool(self.waiting)
            return
        for channel, message in zip(list(self.waiting), self._loose, strict=False):
            self._refuse(channel, message)

    def _refuse(self, channel: Channel, message: ErrorEvent) -> None:
        del self.waiting[channel]
        self.refused[channel] = reply_error(message.code, message.text, where=str(channel))

    @property
    def has_loose_errors(self) -> bool:
        """Whether there are errors of unanswered channels that name none."""
        return bool(self._loose)
