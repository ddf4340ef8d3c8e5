"""The dense book against the naive one: any rows, in any slices, level for level."""

from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.book import NaiveBook

from quantkit.errors import DataError
from quantkit.events import BookUpdate
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import WINDOW, BookRows, DenseBook
from quantkit.rows.columns import Block

pytestmark = pytest.mark.long

BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")
MID = 10 * WINDOW

#: Centres of small grids: near each other, at the window's edges, and whole windows apart.
CENTRES = (
    MID,
    MID + WINDOW // 2 - 3,
    MID - WINDOW // 2,
    MID + WINDOW,
    MID - WINDOW,
    MID + 3 * WINDOW + 11,
    MID - 4 * WINDOW,
)
sizes = generators.sampled_from([0.0, 0.0, 1.0, 2.5, 7.0])


@generators.composite
def levels(draw: generators.DrawFn, *, is_apart: bool, side: Side) -> list[tuple[int, float]]:
    """Draw levels around one or two centres, the same one more than once now and then."""
    if is_apart:
        # Sides that keep to their half of a grid: the ordinary market, which may still jump.
        low, high = (-5, 0) if side is Side.BUY else (1, 6)
    else:
        low, high = -4, 4
    offset = generators.integers(low, high)
    centre = generators.sampled_from(CENTRES)
    return [(draw(centre) + draw(offset), draw(sizes)) for _ in range(draw(generators.integers(0, 5)))]


@generators.composite
def updates(draw: generators.DrawFn) -> list[BookUpdate]:
    """Draw rows of changes and snapshots."""
    is_apart = draw(generators.booleans())
    rows = []
    for _ in range(draw(generators.integers(1, 10))):
        bids = draw(levels(is_apart=is_apart, side=Side.BUY))
        asks = draw(levels(is_apart=is_apart, side=Side.SELL))
        columns = [tuple(column) for side in (bids, asks) for column in ([p for p, _ in side], [q for _, q in side])]
        prices = [tuple(BTC.price(ticks) for ticks in columns[place]) for place in (0, 2)]
        is_snapshot = draw(generators.sampled_from([True, False, False, False]))
        rows.append(BookUpdate(BTC.id, 0, 0, prices[0], columns[1], prices[1], columns[3], is_snapshot))
    return rows


def assert_equal(dense: DenseBook, naive: NaiveBook) -> None:
    """Compare everything that can be read."""
    assert dense.is_valid is naive.is_valid
    if not naive.is_valid:
        return
    # First, as before every other reading: what other readings find out may not be needed for it.
    bid, ask = naive.best(Side.BUY), naive.best(Side.SELL)
    is_crossed = bid is not None and ask is not None and bid > ask
    with pytest.raises(DataError) if is_crossed else nullcontext():
        dense.check_not_crossed(0)
    for side in (Side.BUY, Side.SELL):
        expected = [(BTC.ticks(price), size) for price, size in naive.levels(side)]
        best = dense.best_bid_ticks() if side is Side.BUY else dense.best_ask_ticks()
        assert best == (expected[0][0] if expected else None)
        assert naive.best(side) == (None if best is None else BTC.price(best))
        assert list(dense.levels(side)) == expected
        for ticks, size in expected:
            assert dense.size(side, ticks) == size
        for probe in {*CENTRES, *(ticks + step for ticks, _ in expected for step in (-1, 1))}:
            assert dense.size(side, probe) == naive.sides[side].get(BTC.price(probe), 0.0)
            if side is Side.BUY:
                assert dense.has_level_beyond(side, probe) is any(ticks <= probe for ticks, _ in expected)
            else:
                assert dense.has_level_beyond(side, probe) is any(ticks >= probe for ticks, _ in expected)


@settings(max_examples=100, deadline=None)
@given(updates(), generators.data())
def test_slices_of_rows_equal_the_naive_book(rows: list[BookUpdate], data: generators.DataObject) -> None:
    """Blocks and slices cut anywhere, reads anywhere in between, gaps now and then."""
    dense, naive = DenseBook(BTC), NaiveBook(BTC)
    start = 0
    while start < len(rows):
        stop = data.draw(generators.integers(start + 1, len(rows)), label="block ends")
        block = BookRows(Block.from_events(rows[start:stop]).column, dense)
        first = 0
        while first < block.rows:
            last = data.draw(generators.integers(first + 1, block.rows), label="slice ends")
            dense.apply(block, first, last)
            for update in rows[start + first : start + last]:
                naive.apply(update)
            if data.draw(generators.booleans(), label="read"):
                assert_equal(dense, naive)
            first = last
        if data.draw(generators.sampled_from([False, False, False, True]), label="gap"):
            dense.invalidate()
            naive.invalidate()
        start = stop
    assert_equal(dense, naive)


@settings(max_examples=60, deadline=None)
@given(updates())
def test_one_slice_equals_row_by_row(rows: list[BookUpdate]) -> None:
    """How a block is cut never shows."""
    whole, single = DenseBook(BTC), DenseBook(BTC)
    block = BookRows(Block.from_events(rows).column, whole)
    whole.apply(block, 0, block.rows)
    for number in range(block.rows):
        single.apply(block, number, number + 1)
    assert whole.is_valid is single.is_valid
    for side in (Side.BUY, Side.SELL):
        assert list(whole.levels(side)) == list(single.levels(side))
