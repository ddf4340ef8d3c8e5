"""Candles of a longer interval, built from stored finer ones."""

from collections.abc import Iterator

import numpy as np

from quantkit.clock import NS_PER_DAY, interval_ns
from quantkit.storage.columns import Block, Column, Stream

#: 1970-01-01 was a Thursday; weeks begin on Monday.
_MONDAY_NS = 4 * NS_PER_DAY


def coarser_blocks(finer: Iterator[Block], stream: Stream, *, start_ns: int) -> Iterator[Block]:
    """Yield candles (or candle opens) of `stream`'s interval built from finer ones, on UTC multiples of it.

    A candle is built from the bars that are there. One whose first bar is missing at the very start of the data, or
    that the data do not reach the end of, is left out: it would not be the whole interval. Stamps are the interval's
    own open and close. Rows stamped before `start_ns` are left out.
    """
    length = interval_ns(stream.interval)
    offset = _MONDAY_NS if stream.interval == "1w" else 0
    carried: Block | None = None
    is_first = True
    for block in finer:
        rows = block if carried is None else Block.concat([carried, block])
        bucket = (rows.column("open_ns") - offset) // length
        last = int(np.searchsorted(bucket, bucket[-1], "left"))
        is_whole = int(rows.column("close_ns")[-1]) == (int(bucket[-1]) + 1) * length + offset
        end = rows.size if is_whole else last
        if end:
            built = _build(rows.slice(0, end), bucket[:end], stream, length, offset, drop_partial=is_first)
            is_first = False
            low = int(np.searchsorted(built.column("received_ns"), start_ns, "left"))
            if low < built.size:
                yield built.slice(low, built.size)
        carried = rows.slice(end, rows.size) if end < rows.size else None


def _build(rows: Block, bucket: Column, stream: Stream, length: int, offset: int, *, drop_partial: bool) -> Block:
    first = np.concatenate(([0], np.flatnonzero(np.diff(bucket)) + 1))
    opens = bucket[first] * length + offset
    if drop_partial and int(rows.column("open_ns")[0]) != int(opens[0]):
        first, opens = first[1:], opens[1:]
        if not len(first):
            return Block(stream, 0, {"received_ns": opens})
        rows, first = rows.slice(int(first[0]), rows.size), first - first[0]
    last = np.concatenate((first[1:], [rows.size])) - 1
    stamps = opens if stream.kind == "candle_open" else opens + length
    columns = {
        "received_ns": stamps,
        "exchange_ns": stamps,
        "seq": np.arange(len(first)),
        "open_ns": opens,
        "close_ns": opens + length,
        "open": rows.column("open")[first],
    }
    if stream.kind == "candle":
        columns["high"] = np.maximum.reduceat(rows.column("high"), first)
        columns["low"] = np.minimum.reduceat(rows.column("low"), first)
        columns["close"] = rows.column("close")[last]
        columns["volume"] = np.add.reduceat(rows.column("volume"), first)
    return Block(stream, len(first), columns)
