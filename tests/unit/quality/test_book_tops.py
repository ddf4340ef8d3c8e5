"""The best prices of a rebuilt book equal those of the slow and obvious way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.quality import tops
from quantkit.quality.tops import BookTops
from quantkit.rows.columns import Block, Stream

STREAM = Stream("book", "BTC-USDT")

Level = tuple[int, int]
Row = tuple[bool, list[Level], list[Level]]

LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2)), max_size=5)
ROWS = st.lists(st.tuples(st.integers(0, 9).map(lambda n: n == 0), LEVELS, LEVELS), min_size=1, max_size=60)


def block_of(rows: list[Row]) -> Block:
    """Return rows of a book as a block."""
    columns = {
        "received_ns": np.arange(len(rows)),
        "is_snapshot": np.array([snapshot for snapshot, _, _ in rows], np.bool_),
    }
    for place, side in ((1, "bid"), (2, "ask")):
        levels = [row[place] for row in rows]
        columns[f"{side}_start"] = np.cumsum([0, *map(len, levels)])
        flat = [level for each in levels for level in each]
        columns[f"{side}_prices"] = np.array([price for price, _ in flat], np.float64)
        columns[f"{side}_qtys"] = np.array([qty for _, qty in flat], np.float64)
    return Block(STREAM, len(rows), columns)


def naive(rows: list[Row]) -> list[tuple[float, float]]:
    """Return the best prices after each row, by dictionaries."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    known, found = False, []
    for snapshot, bid_levels, ask_levels in rows:
        if snapshot:
            bids, asks, known = {}, {}, True
        if known:
            bids.update(bid_levels)
            asks.update(ask_levels)
        filled = [price for price, qty in bids.items() if qty], [price for price, qty in asks.items() if qty]
        found.append((float(max(filled[0], default=-np.inf)), float(min(filled[1], default=np.inf))))
    return found


@pytest.mark.parametrize(("rows_together", "near", "waiting"), [(8_192, 50, 10**6), (3, 4, 10), (7, 1, 2), (1, 8, 0)])
@settings(max_examples=150, deadline=None)
@given(rows=ROWS, cut=st.integers(0, 60))
def test_tops_are_those_of_dictionaries(rows: list[Row], cut: int, rows_together: int, near: int, waiting: int) -> None:
    """Whatever the blocks, and however few levels are kept apart."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tops, "_ROWS", rows_together)
        patched.setattr(tops, "_NEAR", near)
        patched.setattr(tops, "_WAITING", waiting)
        book = BookTops()
        found = []
        for part in (rows[:cut], rows[cut:]):
            if part:
                bid, ask = book.take(block_of(part))
                found += list(zip(bid.tolist(), ask.tolist(), strict=True))
    assert found == naive(rows)
