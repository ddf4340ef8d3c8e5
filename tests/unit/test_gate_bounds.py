"""The search for the next row that matters: what equals a bound is a hit, and no row before it is."""

import numpy as np
import pytest
from oracle.timelines import SWAP, candle, ns, trade

from quantkit.brokers.simulated.price_band import OPEN_BAND, PriceBand
from quantkit.brokers.simulated.streams import GatedStream
from quantkit.clock import NEVER_NS
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, StreamCursor

INF = float("inf")


def gated(prices: list[float], *, kind: str = "trade") -> GatedStream:
    """Return a stream of trades, or of candles with these lows and highs, at the indices 0, 2, 4 and so on."""
    if kind == "trade":
        events = [trade(10 * n, price) for n, price in enumerate(prices)]
        stream = Stream("trade", SWAP.id)
    else:
        pairs = zip(prices[::2], prices[1::2], strict=True)
        events = [candle(n, (low, high, low, high)) for n, (low, high) in enumerate(pairs, 1)]
        stream = Stream("candle", SWAP.id, "1m")
    cursor = StreamCursor(stream)
    cursor.load(Block.from_events(events), np.arange(0, 2 * len(events), 2))
    found = GatedStream(cursor)
    found.enter_rows()
    return found


@pytest.mark.parametrize(
    ("low", "high", "index"),
    [
        (98.0, INF, 4),  # equal to the lower bound
        (97.9, INF, 6),
        (-INF, 103.0, 8),  # equal to the upper one
        (-INF, 103.1, 10),
        (98.0, 103.0, 4),
        (97.0, 102.9, 6),
        (96.0, 106.0, NOWHERE),
        (100.0, 100.0, 0),  # no price is within
    ],
)
def test_equality_is_a_hit(low: float, high: float, index: int) -> None:
    """Nothing happens while a price is strictly between the bounds."""
    stream = gated([100.0, 101.0, 98.0, 97.0, 103.0, 104.0])
    stream.arm(PriceBand(low, high), NEVER_NS, 0)
    assert (stream.next_index, stream.is_hit) == (index, index != NOWHERE)


@pytest.mark.parametrize(("low", "high", "index"), [(95.0, INF, 2), (94.9, INF, NOWHERE), (-INF, 107.0, 4)])
def test_a_candle_hits_with_its_range(low: float, high: float, index: int) -> None:
    """Its low and its high, whichever comes to a bound."""
    stream = gated([99.0, 101.0, 95.0, 100.0, 98.0, 107.0], kind="candle")
    stream.arm(PriceBand(low, high), NEVER_NS, 0)
    assert (stream.next_index, stream.is_hit) == (index, index != NOWHERE)


def test_the_moment_of_an_arrival_is_a_hit() -> None:
    """The first row whose clock has come to it, whatever its price."""
    stream = gated([100.0] * 5)
    for until_ns, index in ((ns(20), 4), (ns(20) + 1, 6), (ns(0), 0), (ns(41), NOWHERE)):
        stream.arm(OPEN_BAND, until_ns, 0)
        assert (stream.next_index, stream.is_hit) == (index, index != NOWHERE)


def test_a_search_goes_on_window_by_window() -> None:
    """Where it has found nothing it says how far it came; armed alike it stays, armed anew it begins at the index."""
    stream = gated([100.0] * 600 + [97.0] + [100.0] * 99)
    band = PriceBand(98.0, INF)
    stream.arm(band, NEVER_NS, 0)
    assert (stream.next_index, stream.is_hit) == (2 * 256, False)
    stream.arm(band, NEVER_NS, 300)
    assert (stream.next_index, stream.is_hit) == (2 * 256, False)
    stream.search_on()
    assert (stream.next_index, stream.is_hit, stream.row) == (2 * 600, True, 600)
    stream.arm(band, NEVER_NS, 2 * 600)
    assert (stream.next_index, stream.is_hit) == (2 * 600, True)
    stream.arm(band, NEVER_NS, 2 * 600 + 1)
    assert (stream.next_index, stream.is_hit) == (NOWHERE, False)
    stream.arm(PriceBand(-INF, 99.0), NEVER_NS, 31)
    assert (stream.next_index, stream.is_hit, stream.row) == (32, True, 16)
    assert [stream.row_at(index) for index in (31, 32, 33, 34, 35)] == [16, 16, 17, 17, 18]
