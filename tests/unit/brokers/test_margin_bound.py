"""Orders and fills under margin, with the numbers counted by hand; floats decide only what is clear."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from recording_sink import BUY, SELL, order_of

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.margin_bound import MarginBound
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.margin import ContractTerms, MarginTerms, MarginTier, MarginTiers
from quantkit.margin_account import MarginAccount
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio

SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
OTHER = Instrument("ETH-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="100", is_inverse=True)
PAIR = Instrument("BTC-USDT", price_step="1", qty_step="0.1")
TIERS = MarginTiers([MarginTier(Decimal(500), Decimal("0.01"), Decimal(10))], "all")
FEE = Decimal("0.01")


class Desk:
    """An account under margin whose marks, orders and fills are set by hand: ten times the margin, 1 % of fees."""

    def __init__(self, cash: dict[str, Any], *instruments: Instrument, cross: bool, fees: Fees | None = None) -> None:
        self.marks: dict[str, float] = {instrument.id: 100.0 for instrument in instruments}
        self.portfolio = Portfolio(cash, instruments, mark_of=self.marks.get)
        rates = {instrument.id: fees or Fees(maker_bps=100, taker_bps=100) for instrument in instruments}
        terms = {i.id: ContractTerms(Fraction(10), TIERS, Fraction(FEE), Fraction(500)) for i in instruments}
        margins = MarginAccount(self.portfolio, MarginTerms(cross, terms))
        self.account = Account(self.portfolio, rates, max_leverage=Decimal(1), margins=margins)
        self.bound = self.account.bound
        assert isinstance(self.bound, MarginBound)
        self.sent = 0

    def send(self, instrument: Instrument, side: Side, lots: int, limit: int | None = None, **more: Any) -> str:
        """Send an order and return the refusal."""
        self.sent += 1
        order = ExchangeOrder(order_of(self.sent, side, lots, limit, instrument=instrument, **more))
        return self.account.admit(order, lots=lots, limit_ticks=limit, reference=100)

    def hold(self, instrument: Instrument, lots: int, ticks: int = 100) -> None:
        """Have a signed position, without a fee."""
        side = BUY if lots > 0 else SELL
        self.portfolio.apply(
            Fill(
                id=1,
                order_id="x",
                instrument=instrument.id,
                side=side,
                price=instrument.price(ticks),
                qty=instrument.qty(abs(lots)),
                value=instrument.value(abs(lots), ticks),
                fee=Decimal(0),
                fee_currency=instrument.settle_currency,
                role="taker",
                filled_ns=0,
                revealed_ns=0,
                why="",
                tag="",
                lots=abs(lots),
                ticks=ticks,
            )
        )

    def carried(self, instrument: Instrument, side: Side, lots: int, ticks: int) -> int:
        """Return how many lots of a fill the account carries."""
        order = ExchangeOrder(order_of(99, side, lots, instrument=instrument))
        return self.account.affordable_lots(order, lots, ticks, is_maker=False)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize(("lots", "refusal"), [(90, ""), (91, "insufficient_margin"), (501, "leverage_tier")])
def test_an_order_needs_margin_and_fee(cross: bool, lots: int, refusal: str) -> None:
    """A lot is worth 10: it needs 1 and a fee of 0.1, and 99 are there."""
    assert Desk({"USDT": 99}, SWAP, cross=cross).send(SWAP, BUY, lots, 100) == refusal


@pytest.mark.parametrize("cross", [False, True])
def test_the_larger_side_and_other_contracts_count(cross: bool) -> None:
    """66 for orders in one contract, 22 for those in another."""
    desk = Desk({"USDT": 99}, SWAP, OTHER, cross=cross)
    assert desk.send(SWAP, BUY, 60, 100) == ""
    assert desk.send(SWAP, SELL, 60, 100) == ""
    assert desk.send(OTHER, SELL, 2, 100) == ""
    assert desk.send(SWAP, SELL, 11, 100) == "insufficient_margin"
    assert desk.send(SWAP, SELL, 10, 100) == ""


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize(("held", "side"), [(50, SELL), (-50, BUY)])
def test_orders_against_a_position(cross: bool, held: int, side: Side) -> None:
    """What closes is free; what flips needs the margin of the other side, if that is more."""
    desk = Desk({"USDT": 60}, SWAP, cross=cross)
    desk.hold(SWAP, held)
    assert desk.send(SWAP, side, 50, 100) == ""
    # 54 x 1.1 is within 60, 55 are not: let in for what closes, and the rest is cut when it fills.
    assert desk.send(SWAP, side, 4, 100) == ""
    assert desk.send(SWAP, side.opposite, 9, 100) == ""
    assert desk.send(SWAP, side.opposite, 1, 100) == "insufficient_margin"


def test_a_position_keeps_the_margin_of_its_entry_if_isolated() -> None:
    """At a mark of 50 it needs 50 as before; in cross margin 25, and 46 more 25.3, of an equity of 50."""
    for cross, refusal in ((False, ""), (True, "insufficient_margin")):
        desk = Desk({"USDT": 300}, SWAP, cross=cross)
        desk.hold(SWAP, 50)
        desk.marks[SWAP.id] = 50.0
        assert desk.bound.unpledged("USDT") == (250 if not cross else 300 - 250 - 25)
        assert desk.send(SWAP, BUY, 46, 50) == refusal


def test_the_balance_is_free_without_a_position() -> None:
    desk = Desk({"USDT": 300}, SWAP, cross=True)
    assert desk.bound.unpledged("USDT") == 300


@pytest.mark.parametrize("cross", [False, True])
def test_fills_are_cut(cross: bool) -> None:
    """At 110 a lot takes 1.1 of margin and 0.11 of fee; in cross margin also what it loses by the mark of 100."""
    desk = Desk({"USDT": 99}, SWAP, cross=cross)
    assert desk.carried(SWAP, BUY, 90, 100) == 90
    # 99 / 1.21 is 81.8; by the mark 1 of margin, 0.11 of fee and a loss of 1 for each lot: 46.9.
    assert desk.carried(SWAP, BUY, 90, 110) == (46 if cross else 81)
    assert desk.carried(SWAP, BUY, 501, 1) == 500  # the tier
    desk.hold(SWAP, 10)
    assert desk.carried(SWAP, SELL, 10, 100) == 10
    # Closed with nothing gained: 0.1 of fee for each lot and 1 of margin for each beyond ten: 98 / 1.1 and ten more.
    assert desk.carried(SWAP, SELL, 200, 100) == 10 + 89
    assert desk.carried(SWAP, SELL, 20, 100) == 20


@pytest.mark.parametrize("cross", [False, True])
def test_inverse_contracts_are_counted_exactly(cross: bool) -> None:
    """A contract of 100 dollars is a coin at 100."""
    desk = Desk({"BTC": "1.1", "USDT": 0}, INVERSE, PAIR, cross=cross)
    assert desk.send(INVERSE, BUY, 10, 100) == ""
    assert desk.send(INVERSE, BUY, 1, 100) == "insufficient_margin"
    assert desk.carried(INVERSE, BUY, 12, 100) == 10
    desk.hold(INVERSE, -5)
    # 0.05 of fees for closing; what is left opens nine.
    assert desk.carried(INVERSE, BUY, 20, 100) == 14


def test_two_positions_in_one_currency() -> None:
    """An isolated one has its margin, one in cross margin what its mark asks for."""
    for cross, free in ((False, 1000 - 50 - 100), (True, 1000 + 500 - 50 - 150)):
        desk = Desk({"USDT": 1000}, SWAP, OTHER, cross=cross)
        desk.hold(SWAP, 50)
        desk.hold(OTHER, 10)
        desk.marks[OTHER.id] = 150.0
        assert desk.bound.unpledged("USDT") == min(1000, free)
        assert desk.carried(SWAP, BUY, 5000, 100) == 450
        assert desk.carried(SWAP, BUY, 100, 100) == 100
        assert desk.send(SWAP, BUY, 100, 100) == ""


@pytest.mark.parametrize("fees", [Fees(taker_bps=100, per_order=2), Fees(taker_bps=100, per_contract=0.5)])
def test_amounts_of_money_count_when_an_order_fills(fees: Fees) -> None:
    desk = Desk({"USDT": 99}, SWAP, cross=False, fees=fees)
    assert desk.carried(SWAP, BUY, 90, 100) == (88 if fees.is_per_order else 61)


def test_nothing_is_let_in_without_a_mark_that_counts() -> None:
    """Neither beside a position, nor beside orders of another contract."""
    desk = Desk({"USDT": 1000}, SWAP, OTHER, cross=True)
    desk.hold(OTHER, 1)
    del desk.marks[OTHER.id]
    assert desk.send(SWAP, BUY, 1, 100) == "no_price"
    assert desk.carried(SWAP, BUY, 2, 100) == 0
    assert desk.bound.unpledged("USDT") == 0
    own = Desk({"USDT": 1000}, SWAP, cross=True)
    own.hold(SWAP, 1)
    del own.marks[SWAP.id]
    assert own.send(SWAP, BUY, 1, 100) == "no_price"
    assert own.carried(SWAP, BUY, 2, 100) == 0
    others = Desk({"USDT": 1000}, SWAP, OTHER, cross=False)
    assert others.send(OTHER, BUY, 1, 100) == ""
    del others.marks[OTHER.id]
    assert others.send(SWAP, BUY, 1, 100) == "no_price"
    first = Desk({"USDT": 99}, SWAP, cross=True)
    del first.marks[SWAP.id]
    assert first.carried(SWAP, BUY, 90, 100) == 90


def test_the_remedy_names_what_would_have_been_enough() -> None:
    desk = Desk({"USDT": 99}, SWAP, OTHER, INVERSE, PAIR, cross=False)
    desk.send(SWAP, BUY, 200, 100)
    desk.send(SWAP, BUY, 100, 100)
    assert desk.bound.remedy(SWAP.id) == (
        ": more than the margin in USDT; send less, or raise the cash (--cash USDT=500) or --leverage"
    )
    assert desk.bound.remedy(OTHER.id) == ": more than the margin in USDT; send less"
    desk.send(INVERSE, BUY, 1, 100)
    assert desk.bound.remedy(INVERSE.id) == f": {INVERSE.id} is margined in BTC; the account has none (--cash BTC=0.2)"


@pytest.mark.parametrize(
    ("held", "side", "ticks", "lots"),
    [
        (0, BUY, 111, 20),  # a lot is a tenth: 1.11 of margin for a loss of 1.1
        (0, BUY, 112, 0),  # 1.12 for a loss of 1.2
        (0, SELL, 91, 20),
        (0, SELL, 90, 0),
        (5, BUY, 112, 20),  # the position's own 5 are more than 20 x 0.08
        (5, BUY, 125, 3),  # each lot is 1.25 short: four would use up the 5 of the position
        (-5, BUY, 112, 5),  # what closes is free
        (-5, BUY, 111, 20),
    ],
)
def test_an_isolated_position_has_margin_left_at_the_mark(held: int, side: Side, ticks: int, lots: int) -> None:
    """The mark is 100: what a fill loses there at once may not be all of its margin."""
    desk = Desk({"USDT": 1_000}, SWAP, cross=False, fees=Fees())
    if held:
        desk.hold(SWAP, held)
    assert desk.carried(SWAP, side, 20, ticks) == lots


def test_an_isolated_position_in_an_inverse_contract_has_margin_left_at_the_mark() -> None:
    """A contract of 100 dollars is a coin at 100: sold at 90 it has lost 0.111, as much as its margin."""
    desk = Desk({"BTC": 100}, INVERSE, cross=False, fees=Fees())
    assert desk.carried(INVERSE, SELL, 10, 89) == 0
    assert desk.carried(INVERSE, SELL, 10, 91) == 10
    assert desk.carried(INVERSE, BUY, 10, 111) == 0
    assert desk.carried(INVERSE, BUY, 10, 109) == 10


def test_without_a_mark_the_price_of_the_fill_is_all_there_is() -> None:
    for instrument, cash in ((SWAP, {"USDT": 99}), (INVERSE, {"BTC": 99})):
        desk = Desk(cash, instrument, cross=False)
        del desk.marks[instrument.id]
        assert desk.carried(instrument, BUY, 20, 300) == 20


@pytest.mark.parametrize("cross", [False, True])
def test_what_spot_orders_hold_back_is_no_margin(cross: bool) -> None:
    """90 of 99 are held back for ten coins at 9: 9 are left, of which a lot takes 1.1."""
    desk = Desk({"USDT": 99}, SWAP, PAIR, cross=cross)
    order = ExchangeOrder(order_of(50, BUY, 99, 9, instrument=PAIR))
    assert desk.account.admit(order, lots=99, limit_ticks=9, reference=100) == ""
    assert desk.account.funds.locked("USDT") == Decimal("89.991")
    assert desk.send(SWAP, BUY, 9, 100) == "insufficient_margin"
    assert desk.carried(SWAP, BUY, 90, 100) == 8
    assert desk.carried(SWAP, BUY, 8, 100) == 8
    assert desk.send(SWAP, BUY, 8, 100) == ""
    desk.account.funds.release(order, 99)
    assert desk.carried(SWAP, BUY, 90, 100) == 90
