"""A book channel that began without a snapshot: its updates wait until a fetched book shows what they change."""

from typing import Final

import msgspec

from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BookData, decode

#: How many updates wait at most; a fetch takes a second, and they come ten times in one.
MOST_UPDATES: Final = 1000

_reply: Final = msgspec.json.Decoder(wire.RestReply)
_raw_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])


class SnapshotAlignment:
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
        begin = self._follower(seq_id)
        if begin is None:
            # Too old by its number; or by its stamp, where a reset makes numbers misleading.
            is_old = (updates[0].prev_seq_id or 0) > seq_id or updates[-1].update.exchange_ns > base.update.exchange_ns
            self._base = None if is_old else base
            return [] if is_old else None
        self._base = None
        kept = updates[begin:]
        if kept and kept[0].prev_seq_id != seq_id:
            # The book holds what this update tells of up to the book's own number, so that the update follows it.
            update = msgspec.structs.replace(kept[0].update, prev_seq=seq_id)
            kept[0] = msgspec.structs.replace(kept[0], update=update, prev_seq_id=seq_id)
        return [base, *kept]

    def _follower(self, seq_id: int) -> int | None:
        """Return which update is the first to tell more than a book of this number holds; None where none is."""
        after: int | None = None
        for number, data in enumerate(self._updates):
            if data.prev_seq_id is None or data.seq_id is None:
                continue
            if data.seq_id == seq_id:
                after = number + 1  # the book has it, and so it has the signs of life that repeat its number
            elif data.prev_seq_id == seq_id or data.prev_seq_id < seq_id < data.seq_id:
                return number
        return after


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
