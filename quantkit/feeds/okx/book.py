"""Whether OKX's book messages follow each other: sequence numbers, and the checksum of older recordings."""

import zlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from quantkit.feeds.okx.messages import BookData

#: How many levels of each side the checksum covers.
CHECKSUM_LEVELS: Final = 25


class Link(StrEnum):
    """How a book message follows the one before it."""

    START = "start"  # a snapshot: replaces the book
    NEXT = "next"  # in order, sign-of-life frames and maintenance resets included
    REPEAT = "repeat"  # the frame that was just applied, once more
    BROKEN = "broken"  # something in between was lost


def link(data: BookData, last_seq_id: int | None) -> Link:
    """Decide how `data` follows a book whose last sequence number is `last_seq_id`.

    Frames from before OKX sent sequence numbers are taken as in order; their checksum tells. Source: OKX API v5, "Order
    book channel", sequence rules: equal numbers are a sign of life, a lower one after the right predecessor is a reset.

    Args:
        data: The message.
        last_seq_id: Of the last message applied; None where it had none.
    """
    if data.update.is_snapshot:
        return Link.START
    if data.prev_seq_id is None or data.seq_id is None or last_seq_id is None:
        return Link.NEXT
    if data.prev_seq_id == last_seq_id:
        return Link.NEXT
    if data.seq_id == last_seq_id and data.prev_seq_id < last_seq_id:
        return Link.REPEAT
    return Link.BROKEN


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """Return OKX's book checksum: CRC-32 as a signed 32-bit number of the best 25 levels of each side, interleaved.

    Args:
        bids: (price, size) as sent, best first. Only the first 25 count.
        asks: The same for the other side.

    Examples:
        >>> checksum([("3366.1", "7")], [("3366.8", "9"), ("3368", "8")])
        -1471518219
    """
    parts: list[str] = []
    for rank in range(CHECKSUM_LEVELS):
        for side in (bids, asks):
            if rank < len(side):
                parts += side[rank]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value
