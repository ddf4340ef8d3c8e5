"""Candles of a longer interval from stored finer ones: which streams fit it, and how the candles are built."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from quantkit.clock import INTERVALS, NS_PER_S, bar_open_ns, interval_ns, iso_of, span_text
from quantkit.errors import DataError
from quantkit.instruments import names_of
from quantkit.rows.columns import Block, Column, Stream
from quantkit.rows.extras import ExtraRows
from quantkit.storage.catalog import Coverage, stored


class Astride(NamedTuple):
    """A bar that straddles two candles of the longer interval.

    Attributes:
        source: The stream of the bar.
        open_ns, close_ns: Its opening and closing time.
    """

    source: Stream
    open_ns: int
    close_ns: int

    def __str__(self) -> str:
        interval = self.source.interval
        offset_ns = self.open_ns - bar_open_ns(self.open_ns, interval)
        if interval == "1d":
            time_of_day = iso_of(offset_ns)[11:-1]
            return f"1d that open at {time_of_day.removesuffix(':00')} UTC"
        if offset_ns:
            return f"{interval} that open {span_text(offset_ns)} past a multiple of {interval}"
        return f"{interval} of which one lasts until {iso_of(self.close_ns)}"


def sources_of(stream: Stream, coverage: Mapping[Stream, Coverage]) -> list[Stream]:
    """Return possible sources of a stream's rows: the stored stream, else shorter candles, the longest first.

    Raises:
        DataError: There is none; the message names what exists.
    """
    own = stored(stream)
    if own in coverage:
        return [own]
    same = [other for other in coverage if other.instrument == stream.instrument]
    # A candle's open price is known at its open only where the candle itself is stored: no building it from parts.
    if stream.kind == "candle":
        length = interval_ns(stream.interval)
        finer = [other for other in same if other.kind == "candle" and length % INTERVALS[other.interval] == 0]
        if finer:
            return sorted(finer, key=lambda other: -INTERVALS[other.interval])
    if same:
        there = ", ".join(f"{other.kind} {other.interval}".strip() for other in same)
        raise DataError(f"no data: {stream} is not there; of {stream.instrument} there is {there}")
    there = names_of(sorted({other.instrument for other in coverage}))
    raise DataError(f"no data: {stream.instrument} is not there; there is {there}")


def first_astride(finer: Block, interval: str) -> Astride | None:
    """Return the first bar of a block that does not open and close within one candle of an interval, None if all do.

    Args:
        finer: Candles of a shorter interval, at least one.
        interval: The longer one.
    """
    opened, closed = finer.column("open_ns"), finer.column("close_ns")
    astride = closed > _opens(opened, interval) + interval_ns(interval)
    if not astride.any():
        return None
    row = int(np.argmax(astride))
    return Astride(finer.stream, int(opened[row]), int(closed[row]))


def cannot_build(stream: Stream, found: Sequence[Astride]) -> DataError:
    """Return the error about candles that no stored shorter candles fit.

    Args:
        stream: The longer candles.
        found: A bar that lies astride of two of them, for each finer stream.
    """
    return DataError(
        f"{stream.interval} of {stream.instrument} cannot be built from {', nor from '.join(map(str, found))}; "
        f"import {stream.interval}, or finer candles (the first such bar opens at {iso_of(found[0].open_ns)})"
    )


def coarser_blocks(
    finer: Iterator[Block], stream: Stream, *, start_ns: int, end_ns: int, data_start_ns: int = 0
) -> Iterator[Block]:
    """Yield candles of `stream`'s interval built from finer ones, on UTC multiples of it (weeks from Monday).

    A candle is built from the stored bars within it. It is received with the last of them, and never before its own
    close. What travels with a bar beside its prices comes from the last of them. A candle that begins before the data,
    or ends after them, is left out: it would not be whole.

    Args:
        finer: Candles of a shorter interval that divides the stream's; their blocks may be cut anywhere.
        stream: Kind `candle`.
        start_ns, end_ns: Candles received before or after are left out.
        data_start_ns: Open of the first finer candle there is, be it before those in `finer`.

    Raises:
        DataError: A bar opens in one candle and closes in another.
    """
    length = interval_ns(stream.interval)
    # Bars of a candle that may go on are kept as they came: one copy when it is built, however small the blocks are.
    waiting: list[Block] = []
    waiting_for = 0
    for block in finer:
        opens = _opens(block.column("open_ns"), stream.interval)
        last = int(opens[-1])
        is_whole = int(block.column("close_ns")[-1]) == last + length
        end = block.size if is_whole else int(np.searchsorted(opens, last, "left"))
        if end:
            waiting.append(block.slice(0, end))
        if waiting and (end or last != waiting_for):
            built = _build(Block.concat(waiting), stream)
            waiting = []
            low = int(np.searchsorted(built.column("received_ns"), start_ns, "left"))
            low = max(low, int(np.searchsorted(built.column("open_ns"), data_start_ns, "left")))
            high = int(np.searchsorted(built.column("received_ns"), end_ns, "right"))
            if low < high:
                yield built.slice(low, high)
        if end < block.size:
            waiting.append(block.slice(end, block.size))
            waiting_for = last


def _build(rows: Block, stream: Stream) -> Block:
    found = first_astride(rows, stream.interval)
    if found is not None:
        raise cannot_build(stream, [found])
    opens = _opens(rows.column("open_ns"), stream.interval)
    first = np.concatenate(([0], np.flatnonzero(np.diff(opens)) + 1))
    last = np.concatenate((first[1:], [rows.size])) - 1
    closes = opens[first] + interval_ns(stream.interval)
    return Block(
        stream,
        len(first),
        {
            "received_ns": np.maximum(closes, rows.column("received_ns")[last]),
            "exchange_ns": closes,
            # Candles of one late moment keep their order wherever blocks are cut.
            "seq": closes // NS_PER_S,
            "open_ns": opens[first],
            "close_ns": closes,
            "open": rows.column("open")[first],
            "high": np.maximum.reduceat(rows.column("high"), first),
            "low": np.minimum.reduceat(rows.column("low"), first),
            "close": rows.column("close")[last],
            "volume": np.add.reduceat(rows.column("volume"), first),
        },
        extras=ExtraRows(rows.extras_at(last)) if rows.has_extras else None,
    )


def _opens(moments_ns: Column, interval: str) -> Column:
    """Return when the candle opened that each moment lies in."""
    length = interval_ns(interval)
    first_ns = bar_open_ns(0, interval)
    opens: Column = (moments_ns - first_ns) // length * length + first_ns
    return opens
