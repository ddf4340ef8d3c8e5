"""Orders and fills as records: which states are final, and that the garbage collector need not look at them."""

import gc
from decimal import Decimal

from quantkit import Fill, Order, Side
from quantkit.orders import TRANSITIONS, OrderState


def test_a_final_state_has_no_successor() -> None:
    """Filled, cancelled and rejected orders are over."""
    final = {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED}
    assert {state for state in OrderState if state.is_final} == final
    assert {state for state, following in TRANSITIONS.items() if not following} == final
    for state in OrderState:
        assert Order(id="r1", instrument="X", side=Side.BUY, qty=1.0, state=state).is_open is (state not in final)


def test_the_collector_does_not_track_orders_and_fills() -> None:
    """They hold plain values alone; a run of many orders would pay for looking through them again and again."""
    order = Order(id="r1", instrument="BTC-USDT", side=Side.BUY, qty=1.0)
    fill = Fill(
        id=1,
        order_id="r1",
        instrument="BTC-USDT",
        side=Side.BUY,
        price=100.0,
        qty=1.0,
        value=Decimal(100),
        fee=Decimal("0.1"),
        fee_currency="USDT",
        role="taker",
        filled_ns=0,
        revealed_ns=0,
        why="next trade",
        tag="",
        lots=1,
        ticks=100,
    )
    assert not gc.is_tracked(order)
    assert not gc.is_tracked(fill)
