"""What an account in the long/short mode may have: legs apart from each other, their notionals added up."""

from decimal import Decimal
from typing import Any

import pytest
from recording_sink import BUY, SELL
from test_account import OTHER, SWAP, Bank

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.fill_history import FillHistory
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, PositionSide

_, LONG, SHORT = PositionSide


class TwoLegs(Bank):
    """An account of 1,000 USDT; a contract of SWAP is worth 10 at a price of 100."""

    def __init__(self, max_leverage: str = "1") -> None:
        super().__init__({"USDT": 1_000}, SWAP, OTHER, max_leverage=max_leverage, is_long_short=True)

    def order(
        self, instrument: Instrument, side: Side, lots: int, limit: int | None = None, **more: Any
    ) -> ExchangeOrder:
        """Return an order in a leg: what closes it can only reduce."""
        leg: PositionSide = more["position_side"]
        opens = (side is BUY) is (leg is LONG)
        return super().order(instrument, side, lots, limit, **{**more, "reduce_only": not opens})

    def hold(self, instrument: Instrument, signed: int, ticks: int = 100) -> None:
        """Let a leg be there."""
        side, leg = (BUY, LONG) if signed > 0 else (SELL, SHORT)
        self.fill(self.order(instrument, side, abs(signed), position_side=leg), abs(signed), ticks)


def test_what_closes_is_limited_to_its_leg() -> None:
    """Sell+long takes the long leg off and never opens a short one, whatever the other leg is."""
    bank = TwoLegs()
    bank.hold(SWAP, 10)
    bank.hold(SWAP, -30)
    sale, refusal = bank.send(SWAP, SELL, 25, position_side=LONG)
    assert not refusal
    assert bank.account.affordable_lots(sale, 25, 100, is_maker=False) == 10
    bank.fill(sale, 10, 100)
    assert bank.account.affordable_lots(sale, 15, 100, is_maker=False) == 0
    assert bank.account.reason_for_cutting(sale) == "reduce_only_position_closed"
    assert [p.qty for p in bank.portfolio.positions.values()] == [0, -30]
    assert bank.send(SWAP, SELL, 1, position_side=LONG)[1] == "reduce_only_no_position"
    assert bank.send(SWAP, BUY, 30, position_side=SHORT)[1] == ""


def test_the_bound_counts_both_legs() -> None:
    """Legs that hedge each other carry the sum of their notionals: 60 and 40 contracts fill 1,000 of equity."""
    bank = TwoLegs()
    bank.hold(SWAP, 60)
    order, refusal = bank.send(SWAP, SELL, 41, position_side=SHORT)
    assert refusal == "insufficient_margin"
    order, refusal = bank.send(SWAP, SELL, 40, position_side=SHORT)
    assert not refusal
    # The fee of a taker leaves less equity than the bound needs.
    assert bank.account.affordable_lots(order, 40, 100, is_maker=False) == 39
    bank.fill(order, 40, 100)
    assert bank.send(SWAP, BUY, 1, position_side=LONG)[1] == "insufficient_margin"
    assert bank.send(OTHER, BUY, 1, position_side=LONG)[1] == "insufficient_margin"
    assert bank.send(SWAP, SELL, 60, position_side=LONG)[1] == ""


def test_open_orders_of_one_leg_count_beside_the_other() -> None:
    """At their worst, as those of any other contract."""
    bank = TwoLegs()
    assert bank.send(SWAP, BUY, 70, 90, position_side=LONG)[1] == ""
    # 70 contracts at the mark of 100 are 700.
    assert bank.send(SWAP, SELL, 31, 100, position_side=SHORT)[1] == "insufficient_margin"
    assert bank.send(SWAP, SELL, 30, 100, position_side=SHORT)[1] == ""


def test_one_leg_costs_what_the_net_position_costs() -> None:
    """An account that only uses one leg may have what the net account may have."""
    for lots in (99, 100, 101):
        net, legs = Bank({"USDT": 1_000}, SWAP, OTHER), TwoLegs()
        orders = [bank.send(SWAP, BUY, lots, **more) for bank, more in ((net, {}), (legs, {"position_side": LONG}))]
        assert len({refusal for _, refusal in orders}) == 1
        found = {
            bank.account.affordable_lots(order, lots, 100, is_maker=True)
            for bank, (order, _) in zip((net, legs), orders, strict=True)
        }
        assert len(found) == 1


@pytest.mark.parametrize(("leg", "lots"), [("S long", 3), ("S short", -2), ("S", 0)])
def test_past_holdings_are_those_of_a_leg(leg: str, lots: int) -> None:
    """As funding asks for them."""

    def fill(side: Side, size: int, at_ns: int, position_side: PositionSide) -> Fill:
        amounts: dict[str, Any] = {"price": 1.0, "qty": 1.0, "value": Decimal(1), "fee": Decimal(0), "ticks": 1}
        words = dict.fromkeys(("order_id", "fee_currency", "role", "why", "tag"), "")
        return Fill(
            **amounts,
            **words,
            id=1,
            instrument="S",
            side=side,
            filled_ns=at_ns,
            revealed_ns=at_ns,
            lots=size,
            position_side=position_side,
        )

    history = FillHistory([fill(BUY, 3, 5, LONG), fill(SELL, 2, 6, SHORT), fill(SELL, 1, 20, LONG)])
    assert history.qty_at(leg, 10) == lots
