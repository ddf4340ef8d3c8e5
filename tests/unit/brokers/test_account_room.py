"""How much of an order an account would take: beside other orders, and where nobody here knows."""

from decimal import Decimal

from order_life import OrderLife
from recording_sink import BUY, SELL, SWAP, order_of

from quantkit.brokers.any_room import AnyRoom
from quantkit.brokers.base import AskedOrder
from quantkit.brokers.simulated.account import Account
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.portfolio import Portfolio

OTHER = Instrument("ETH-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")


def test_other_orders_take_their_part_and_leave_nothing_behind() -> None:
    """1,000 at 100 carry 100 contracts of 0.1; what has no price counts for nothing, what has filled no more."""
    marks = {SWAP.id: 100.0, OTHER.id: None}
    ledger = Portfolio({"USDT": 1_000}, [SWAP, OTHER], mark_of=marks.get)
    account = Account(ledger, {SWAP.id: Fees(), OTHER.id: Fees()}, max_leverage=Decimal(1))
    room = OrderLife(account, {SWAP.id: 0, OTHER.id: 0}).broker.room(ledger)
    probe, half, rest = order_of(1, BUY, 150), order_of(2, BUY, 40, 100), order_of(3, BUY, 70, 100, filled_lots=40)
    unpriced = order_of(4, BUY, 10, instrument=OTHER)
    asked = [AskedOrder(half, 40, 100), AskedOrder(unpriced, 10, None)]
    assert room.most_lots(probe, 100, []) == 100
    assert room.most_lots(probe, 100, asked) == 60
    assert room.most_lots(probe, 100, [AskedOrder(rest, 70, 100)]) == 70
    # As asked for last, and only on its own side; a market order counts at the mark.
    assert room.most_lots(probe, 100, [AskedOrder(half, 10, 50)]) == 90
    assert room.most_lots(probe, 100, [AskedOrder(order_of(5, SELL, 40, 100), 40, 100)]) == 100
    assert room.most_lots(probe, 100, [AskedOrder(order_of(5, BUY, 30), 30, None)]) == 70
    assert room.most_lots(probe, 100, [AskedOrder(half, 100, 100)]) == 0
    assert room.most_lots(probe, 100, []) == 100


def test_an_exchange_elsewhere_takes_what_it_takes() -> None:
    """It says itself what that is, and gets sizes alone."""
    room = AnyRoom()
    assert room.most_lots(order_of(1, BUY, 5), 100, []) == 5
    assert room.amount_refusal(order_of(1, BUY, 5)) == "is not what this exchange takes; leave it out"
