"""Stored rows as blocks with columns decoded on demand, and as events."""

import heapq
from collections.abc import Collection, Iterator
from functools import partial
from operator import itemgetter
from typing import Any, Final

import numpy as np

from quantkit.errors import ConfigError, DataError
from quantkit.events import EVENT_TYPES, MarketEvent
from quantkit.rows.columns import Block, Column, Stream
from quantkit.storage.ahead import read_ahead
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile, RowGroup, row_groups

#: Rows of a block at most, unless asked for otherwise.
BLOCK_ROWS: Final = 131_072
#: `read_events` holds this many events of each stream at a time.
_EVENT_ROWS: Final = 4_096
#: What a candle's open price is stamped with, by the column's name in its block.
_OPEN_STAMPS: Final = {"received_ns": "open_ns", "exchange_ns": "open_ns"}


def checked_rows(block_rows: int) -> int:
    """Return a number of rows for blocks.

    Raises:
        ConfigError: It is below 1.
    """
    if block_rows < 1:
        raise ConfigError(f"block_rows is {block_rows}; a block has at least 1 row")
    return block_rows


def read_blocks(
    catalog: Catalog,
    stream: Stream,
    *,
    start_ns: int,
    end_ns: int,
    block_rows: int = BLOCK_ROWS,
    verify_digest: bool = False,
) -> Iterator[Block]:
    """Yield a stream's rows with start_ns <= received_ns <= end_ns, in order across files.

    One block comes from one row group, cut to at most `block_rows` rows. Only `received_ns` is decoded at first; every
    other column is decoded, and checked for values that are never stored, when a block is first asked for it. Blocks
    of a row group share what was decoded, and memory stays bounded by the row groups whose blocks are still held. Of
    files that are not on this machine the next row group is read ahead on a thread.

    Args:
        catalog: Where the rows lie.
        stream: Kind `candle_open` reads the candles of that interval with `received_ns = exchange_ns = open_ns`.
        start_ns, end_ns: UTC ns, both included.
        block_rows: At least 1.
        verify_digest: Compare each file's SHA-256 with the manifest's before its first row.

    Raises:
        ConfigError: `block_rows` is below 1.
        SchemaError: A file is not quantkit's or newer than this package.
        DataError: A file is missing, damaged, unsorted, or not what the manifest says; asking a block for a column
            raises it too.
    """
    checked_rows(block_rows)
    groups = _groups(catalog, stream, start_ns, end_ns, verify_digest=verify_digest)
    last_ns: int | None = None
    for group in groups if catalog.root.is_local else read_ahead(groups):
        block = _block_of(stream, group)
        stamps = block.column("received_ns")
        if last_ns is not None and stamps[0] < last_ns:
            raise group.rows.error(0, f"{stream}: files overlap in time; `quantkit data check` lists them")
        last_ns = int(stamps[-1])
        first = int(np.searchsorted(stamps, start_ns, side="left"))
        stop = int(np.searchsorted(stamps, end_ns, side="right"))
        for at in range(first, stop, block_rows):
            yield block.slice(at, min(at + block_rows, stop))


def _groups(catalog: Catalog, stream: Stream, start_ns: int, end_ns: int, *, verify_digest: bool) -> Iterator[RowGroup]:
    """Yield the row groups that may have rows of a span, across files."""
    for entry in catalog.files(stream, start_ns, end_ns):
        file = DataFile(catalog.root, entry, verify_digest=verify_digest)
        yield from row_groups(file, partial(_lies_outside, file, stream, start_ns, end_ns))


def _lies_outside(file: DataFile, stream: Stream, start_ns: int, end_ns: int, index: int) -> bool:
    span = file.stamp_span(index, "open_ns" if stream.kind == "candle_open" else "received_ns")
    return span is not None and (span[1] < start_ns or span[0] > end_ns)


def _block_of(stream: Stream, group: RowGroup) -> Block:
    if stream.kind != "candle_open":
        return Block(stream, len(group.received_ns), {"received_ns": group.received_ns}, group.column)

    def load(name: str) -> Column:
        return group.column(_OPEN_STAMPS.get(name, name))

    opens = group.column("open_ns")
    back = opens[1:] < opens[:-1]
    if back.any():
        raise group.rows.error(int(np.argmax(back)) + 1, "open_ns goes back; import the file again")
    return Block(stream, len(opens), {"received_ns": opens, "exchange_ns": opens, "open_ns": opens}, load)


def read_events(catalog: Catalog, streams: Collection[Stream], start_ns: int, end_ns: int) -> Iterator[MarketEvent]:
    """Yield the events of several streams merged in the total order: (`received_ns`, rank, instrument, `seq`).

    Args:
        catalog: Where the rows lie.
        streams: Each once; of kinds that have events (a candle's open price has none of its own).
        start_ns, end_ns: UTC ns, both included.

    Raises:
        DataError: A stream's kind has no events, or as `read_blocks` does.
    """
    for stream in streams:
        if stream.kind not in EVENT_TYPES:
            raise DataError(f"{stream}: rows of kind {stream.kind!r} have no events; read blocks instead")
    ordered = sorted(set(streams), key=lambda stream: stream.sort_key)
    runs = [_keyed(catalog, stream, start_ns, end_ns) for stream in ordered]
    # The merge keeps equal keys in the order of its inputs, which is the order of ranks already.
    for _, event in heapq.merge(*runs, key=itemgetter(0)):
        yield event


def _keyed(catalog: Catalog, stream: Stream, start_ns: int, end_ns: int) -> Iterator[tuple[Any, MarketEvent]]:
    for block in read_blocks(catalog, stream, start_ns=start_ns, end_ns=end_ns, block_rows=_EVENT_ROWS):
        block.column("seq")  # Decoding it checks that rows of one stamp rise, which the merge relies on.
        yield from zip(block.column("received_ns").tolist(), block.events(), strict=True)
