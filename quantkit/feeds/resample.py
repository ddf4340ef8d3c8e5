"""Candles of a longer interval, built from stored finer ones."""

from collections.abc import Iterator

import numpy as np

from quantkit.clock import NS_PER_DAY, interval_ns
from quantkit.storage.columns import Block, Stream

#: 1970-01-01 was a Thursday; weeks begin on Monday.
_MONDAY_NS = 4 * NS_PER_DAY


def coarser_blocks(finer: Iterator[Block], stream: Stream, *, start_ns: int, data_start_ns: int = 0) -> Iterator[Block]:
    """Yield candles of `stream`'s interval built from finer ones, on UTC multiples of it (weeks from Monday).

    A candle is built from the bars that are there, and comes at its own close. One that begins before the data do, or
    that the data do not reach the end of, is left out: it would not be the whole interval.

    Args:
        finer: Candles of a shorter interval that divides the stream's; their blocks may be cut anywhere.
        stream: Kind `candle`.
        start_ns: Candles that close before it are left out.
        data_start_ns: Open of the first finer candle there is, be it before those in `finer`.
    """
    length = interval_ns(stream.interval)
    offset = _MONDAY_NS if stream.interval == "1w" else 0
    # Bars of a candle that may go on are kept as they came: one copy when it is built, however small the blocks are.
    waiting: list[Block] = []
    waiting_for = 0
    for block in finer:
        bucket = (block.column("open_ns") - offset) // length
        last = int(bucket[-1])
        is_whole = int(block.column("close_ns")[-1]) == (last + 1) * length + offset
        end = block.size if is_whole else int(np.searchsorted(bucket, last, "left"))
        if end:
            waiting.append(block.slice(0, end))
        if waiting and (end or last != waiting_for):
            built = _build(Block.concat(waiting), stream, length, offset)
            waiting = []
            low = int(np.searchsorted(built.column("received_ns"), start_ns, "left"))
            low = max(low, int(np.searchsorted(built.column("open_ns"), data_start_ns, "left")))
            if low < built.size:
                yield built.slice(low, built.size)
        if end < block.size:
            waiting.append(block.slice(end, block.size))
            waiting_for = last


def _build(rows: Block, stream: Stream, length: int, offset: int) -> Block:
    bucket = (rows.column("open_ns") - offset) // length
    first = np.concatenate(([0], np.flatnonzero(np.diff(bucket)) + 1))
    last = np.concatenate((first[1:], [rows.size])) - 1
    opens = bucket[first] * length + offset
    return Block(
        stream,
        len(first),
        {
            "received_ns": opens + length,
            "exchange_ns": opens + length,
            "seq": np.arange(len(first)),
            "open_ns": opens,
            "close_ns": opens + length,
            "open": rows.column("open")[first],
            "high": np.maximum.reduceat(rows.column("high"), first),
            "low": np.minimum.reduceat(rows.column("low"), first),
            "close": rows.column("close")[last],
            "volume": np.add.reduceat(rows.column("volume"), first),
        },
    )
