"""The price limit that was told last, over the batches of a run."""

from quantkit.brokers.simulated.price_limits import PriceLimits
from quantkit.events import PriceLimit
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import StreamCursor
from quantkit.venue_rules.okx import NO_BAND

SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="1", qty_step="1")


def test_a_batch_without_a_row_of_it_leaves_the_last_limit() -> None:
    """And before the first one every price is allowed."""
    cursor = StreamCursor(Stream("price_limit", SWAP.id))
    limits = PriceLimits(cursor, PriceLimit(SWAP.id, 0, 0, 102.0, 98.0, True))
    for _ in range(2):
        band = limits.before(5, SWAP)
        assert (band.highest_buy, band.lowest_sell) == (102, 98)
        limits.leave_rows()
    unknown = PriceLimits(cursor)
    unknown.leave_rows()
    assert unknown.before(5, SWAP) == NO_BAND
