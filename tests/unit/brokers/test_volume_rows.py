"""How large fills were against their rows: looked at when a batch ends, by the row at their index or the next one."""

from decimal import Decimal

import msgspec
import numpy as np
from oracle.timelines import SWAP, candle

from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.instruments import Side
from quantkit.orders import Fill
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import StreamCursor

STREAM = Stream("candle", SWAP.id, "1m")


class Fills:
    """Fills as they come, and where the run stood at each."""

    def __init__(self) -> None:
        self.fills: list[Fill] = []
        self.indices: list[int] = []

    def add(self, index: int, instrument: str = SWAP.id, lots: int = 1) -> None:
        """Let a fill come."""
        self.indices.append(index)
        self.fills.append(
            Fill(
                id=len(self.indices),
                order_id="bt1",
                instrument=instrument,
                side=Side.BUY,
                price=100.0,
                qty=float(lots),
                value=Decimal(100 * lots),
                fee=Decimal(0),
                fee_currency="USDT",
                role="taker",
                filled_ns=0,
                revealed_ns=0,
                why="",
                tag="",
                lots=lots,
                ticks=1_000,
            )
        )


def shares_of(volumes: list[float], come: Fills) -> tuple[VolumeShares, StreamCursor]:
    """Return the shares of an instrument, and its cursor with candles at the indices 1, 3, 5 and so on."""
    cursor = StreamCursor(STREAM)
    load(cursor, volumes)
    return VolumeShares({SWAP.id: STREAM}, {STREAM: cursor}, come.fills, come.indices), cursor


def load(cursor: StreamCursor, volumes: list[float]) -> None:
    """Give a cursor the next candles."""
    plain = [candle(n, (100, 101, 99, 100)) for n in range(1, len(volumes) + 1)]
    events = [msgspec.structs.replace(each, volume=volume) for each, volume in zip(plain, volumes, strict=True)]
    cursor.load(Block.from_events(events), np.arange(1, 2 * len(events), 2))


def test_a_fill_belongs_to_the_row_at_its_index_or_to_the_next_one() -> None:
    come = Fills()
    shares, _ = shares_of([100.0, 10.0, 40.0], come)
    for index in (0, 2, 5):
        come.add(index)
    come.add(0, "other", 50)
    shares.leave_batch()
    (said,) = shares.notes()[0]
    assert "10.00% of its candle's volume" in said


def test_a_fill_whose_candle_has_not_come_waits_for_the_next_batch() -> None:
    come = Fills()
    shares, cursor = shares_of([100.0], come)
    come.add(2)
    shares.leave_batch()
    assert shares.notes() == ([], [])
    load(cursor, [4.0, 1.0])
    shares.enter_batch()
    shares.leave_batch()
    assert "25.00% of its candle's volume" in shares.notes()[1][0]
    shares.leave_batch()
    assert "25.00% of its candle's volume" in shares.notes()[1][0]  # it is not looked at twice


def test_a_candle_without_volume_is_told_as_such() -> None:
    come = Fills()
    shares, _ = shares_of([0.0], come)
    come.add(0)
    assert "on a candle without any" in shares.notes()[1][0]
