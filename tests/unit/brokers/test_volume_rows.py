"""How large fills were against their rows: looked at when a batch ends, by the row at their index or the next one."""

import msgspec
import numpy as np
from oracle.timelines import SWAP, candle

from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import StreamCursor

STREAM = Stream("candle", SWAP.id, "1m")


def shares_of(volumes: list[float]) -> tuple[VolumeShares, StreamCursor]:
    """Return the shares of an instrument, and its cursor with candles at the indices 1, 3, 5 and so on."""
    cursor = StreamCursor(STREAM)
    load(cursor, volumes)
    return VolumeShares({SWAP.id: STREAM}, {STREAM: cursor}), cursor


def load(cursor: StreamCursor, volumes: list[float]) -> None:
    """Give a cursor the next candles."""
    plain = [candle(n, (100, 101, 99, 100)) for n in range(1, len(volumes) + 1)]
    events = [msgspec.structs.replace(each, volume=volume) for each, volume in zip(plain, volumes, strict=True)]
    cursor.load(Block.from_events(events), np.arange(1, 2 * len(events), 2))


def test_a_fill_belongs_to_the_row_at_its_index_or_to_the_next_one() -> None:
    shares, _ = shares_of([100.0, 10.0, 40.0])
    shares.noted += [(SWAP.id, 1.0, 0), (SWAP.id, 1.0, 2), (SWAP.id, 1.0, 5), ("other", 50.0, 0)]
    shares.leave_batch()
    (said,) = shares.notes()[0]
    assert "10.00% of its candle's volume" in said


def test_a_fill_whose_candle_has_not_come_waits_for_the_next_batch() -> None:
    shares, cursor = shares_of([100.0])
    shares.noted.append((SWAP.id, 1.0, 2))
    shares.leave_batch()
    assert shares.notes() == ([], [])
    load(cursor, [4.0, 1.0])
    shares.enter_batch()
    shares.leave_batch()
    assert "25.00% of its candle's volume" in shares.notes()[1][0]
    assert shares.noted == []


def test_a_candle_without_volume_is_told_as_such() -> None:
    shares, _ = shares_of([0.0])
    shares.noted.append((SWAP.id, 1.0, 0))
    assert "on a candle without any" in shares.notes()[1][0]
