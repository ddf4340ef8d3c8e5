"""A book channel that began without a snapshot: its updates wait until a fetched book shows what they change."""

from typing import Final

import msgspec

from quantkit.errors import ParseError
from quantkit.feeds.okx import wire
from quantkit.feeds.okx.channels import Channel
from quantkit.feeds.okx.messages import BookData, decode

#: How many updates wait at most; a fetch takes a second, and they come ten times in one.
MOST_UPDATES: Final = 1000

_reply: Final = msgspec.json.Decoder(wire.RestReply)
_raw_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Splice:
    """The updates that wait, each following the one before.

    Attributes:
        fetches: How many books were asked for so far.
    """

    __slots__ = ("_base", "_updates", "fetches")

    def __init__(self) -> None:
        self.fetches = 0
        self._updates: list[BookData] = []
        #: A fetched book that is ahead of all that waits.
        self._base: BookData | None = None

    @property
    def is_full(self) -> bool:
        """Whether more updates wait than is sensible."""
        return len(self._updates) > MOST_UPDATES

    def add(self, data: BookData) -> list[BookData] | None:
        """Take an update; return what `join` returns once it reaches a book that was fetched before."""
        updates = self._updates
        if updates and data.prev_seq_id != updates[-1].seq_id:
            if data.seq_id == updates[-1].seq_id:
                return None  # the same frame once more
            updates.clear()  # what came before is of no use to what follows a loss
        updates.append(data)
        return None if self._base is None else self.join(self._base)

    def join(self, base: BookData) -> list[BookData] | None:
        """Put a fetched book before the updates.

        Source: OKX API v5, "Order book channel": updates up to the book's number are dropped, and the first one kept
        has to begin at or before it and end after it.

        Args:
            base: The book, with a sequence number.

        Returns:
            The book and the updates that follow it; empty where it is older than they are, so that another one is
            needed; None where it is ahead of them, so that it waits for the next.
        """
        seq_id = base.seq_id
        assert seq_id is not None
        updates = self._updates
        # All after the first that is newer are kept, since a reset may have lowered their numbers.
        begin = next((n for n, data in enumerate(updates) if data.seq_id is not None and data.seq_id > seq_id), None)
        if begin is None:
            if updates and updates[-1].seq_id == seq_id:
                return [base]
            self._base = base
            return None
        self._base = None
        first = updates[begin]
        if first.prev_seq_id is None or first.prev_seq_id > seq_id:
            return []
        # The book holds what this update tells of up to the book's own number, so that the update follows it.
        update = msgspec.structs.replace(first.update, prev_seq=seq_id)
        return [base, msgspec.structs.replace(first, update=update, prev_seq_id=seq_id), *updates[begin + 1 :]]


def fetched_book(channel: Channel, body: bytes, received_ns: int) -> BookData:
    """Return the book that a reply of `market/books` holds, as if the channel had pushed it.

    Raises:
        ParseError: The reply is an error, is malformed, or its book has no sequence number.
    """
    try:
        reply = _reply.decode(body)
        if str(reply.code) != "0" or not reply.data:
            raise ParseError(f"the reply has code {reply.code}", where=str(channel))
        arg = {"channel": channel.name, "instId": channel.inst_id}
        push = {"arg": arg, "action": "snapshot", "data": _raw_rows.decode(reply.data)}
        for message in decode(msgspec.json.encode(push), received_ns=received_ns):
            if isinstance(message, BookData) and message.seq_id is not None:
                return message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(str(error) or type(error).__name__, where=str(channel)) from error
    raise ParseError("the reply holds no numbered book", where=str(channel))
