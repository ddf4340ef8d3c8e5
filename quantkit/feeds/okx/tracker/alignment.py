"""Alignment of a fetched book with updates, for a book channel that began without a snapshot."""

from typing import Final

import msgspec

from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BookData, decode

#: Most updates that wait. A fetch takes about a second, and ten updates come in one.
MOST_UPDATES: Final = 1000

_reply: Final = msgspec.json.Decoder(wire.RestReply)
_raw_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])


class SnapshotAlignment:
    """Updates that wait for a fetched book; each follows the one before.

    Attributes:
        fetches: The number of fetches so far.
    """

    __slots__ = ("_base", "_updates", "fetches")

    def __init__(self) -> None:
        self.fetches = 0
        self._updates: list[BookData] = []
        #: A fetched book that is ahead of all waiting updates.
        self._base: BookData | None = None

    @property
    def is_full(self) -> bool:
        """Whether too many updates wait."""
        return len(self._updates) > MOST_UPDATES

    def add(self, data: BookData) -> list[BookData] | None:
        """Take an update; return what `join` returns once a book was fetched, else None."""
        updates = self._updates
        if updates and data.prev_seq_id != updates[-1].seq_id:
            if data.seq_id == updates[-1].seq_id:
                return None  # the same frame, repeated
            updates.clear()  # updates before a loss are of no use
        updates.append(data)
        return None if self._base is None else self.join(self._base)

    def join(self, base: BookData) -> list[BookData] | None:
        """Put a fetched book before the updates.

        Source: OKX API v5, "Order book channel": updates up to the book's number are dropped, and the first one kept
        has to begin at or before it and end after it.

        Args:
            base: The book, with a sequence number.

        Returns:
            The book and the updates that follow it; empty if the book is too old, so that another one is needed; None
            if it is ahead of the updates, so that it waits for the next one.
        """
        seq_id = base.seq_id
        assert seq_id is not None
        updates = self._updates
        begin = self._follower(seq_id)
        if begin is None:
            # Too old by its number, or by its stamp where a reset makes the number useless.
            is_old = (updates[0].prev_seq_id or 0) > seq_id or updates[-1].update.exchange_ns > base.update.exchange_ns
            self._base = None if is_old else base
            return [] if is_old else None
        self._base = None
        kept = updates[begin:]
        if kept and kept[0].prev_seq_id != seq_id:
            # The book holds this update's changes up to the book's own number, so the update follows it.
            update = msgspec.structs.replace(kept[0].update, prev_seq=seq_id)
            kept[0] = msgspec.structs.replace(kept[0], update=update, prev_seq_id=seq_id)
        return [base, *kept]

    def _follower(self, seq_id: int) -> int | None:
        """Return the index of the first update with changes after a book of this number; None without one."""
        after: int | None = None
        for number, data in enumerate(self._updates):
            if data.prev_seq_id is None or data.seq_id is None:
                continue
            if data.seq_id == seq_id:
                after = number + 1  # the book holds this update; signs of life repeat its number
            elif data.prev_seq_id == seq_id or data.prev_seq_id < seq_id < data.seq_id:
                return number
        return after


def fetched_book(channel: Channel, body: bytes, received_ns: int) -> BookData:
    """Return the book of a reply of `market/books` as a message of the channel.

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
