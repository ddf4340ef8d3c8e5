"""The mark as it is carried from one batch to the next, whatever a batch says and whether anybody asks."""

from random import Random

import numpy as np
import pytest

from quantkit.events import Ticker
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.marks import MarkSource

NAME = "BTC-USDT-SWAP"


def enter(source: MarkSource, *asks: float | None) -> None:
    """Let a batch of tickers of bid 96 begin, after the one before has ended."""
    source.leave_rows()
    rows = [Ticker(NAME, n, n, 96.0, 1.0, ask, None if ask is None else 1.0, None, None) for n, ask in enumerate(asks)]
    source.cursor.load(Block.from_events(rows) if rows else None, np.arange(len(rows), dtype=np.int64))


@pytest.fixture
def source() -> MarkSource:
    return MarkSource(StreamCursor(Stream("ticker", NAME)), "ticker")


@pytest.mark.parametrize("batches", [1, 2, 30])
@pytest.mark.parametrize("is_asked", [False, True])
def test_rows_without_a_price_leave_the_one_before(source: MarkSource, batches: int, is_asked: bool) -> None:
    """A book with nobody on one side has no mid, however many batches that lasts."""
    enter(source, 97.0, 98.0)
    for _ in range(batches):
        enter(source, None)
        if is_asked:
            assert source.before(0) == 97.0
    enter(source)
    assert source.before(0) == 97.0


def test_the_newest_price_counts(source: MarkSource) -> None:
    for ask in range(98, 118):
        enter(source, float(ask))
    enter(source, None)
    assert source.before(0) == (96.0 + 117.0) / 2


def test_prices_are_the_same_in_whatever_order_they_are_asked_for(source: MarkSource) -> None:
    """A price is kept for as long as it stands, and no longer: not past a row, nor past the batch."""
    dice, carried = Random(1), None
    for _ in range(30):
        asks = [dice.choice((None, 97.0, 98.0, 99.0)) for _ in range(dice.randrange(6))]
        enter(source, *asks)
        prices = [None if ask is None else (96.0 + ask) / 2 for ask in asks]
        for _ in range(20):
            index = dice.randrange(len(asks) + 2)
            known = [price for price in prices[:index] if price is not None]
            assert source.before(index) == (known[-1] if known else carried)
        carried = next((price for price in reversed(prices) if price is not None), carried)


def test_without_any_there_is_none(source: MarkSource) -> None:
    enter(source, None)
    enter(source)
    assert source.before(0) is None
