"""Fees, what working orders hold back, and which orders an account may have, with the numbers counted by hand."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from recording_sink import BUY, SELL, order_of

from quantkit.brokers.costs import Account
from quantkit.brokers.matching import Working
from quantkit.instruments import Fees, Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio

SPOT = Instrument("BTC-USDT", price_step="1", qty_step="0.1", min_qty="0.2")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
OTHER = Instrument("ETH-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="100", is_inverse=True)
SPOT_USD = Instrument("BTC-USD", price_step="1", qty_step="0.1")
FEES = Fees(maker_bps=10, taker_bps=100)


class Bank:
    """An account whose marks, orders and fills are set by hand."""

    def __init__(
        self,
        cash: dict[str, Any],
        *instruments: Instrument,
        fees: Fees = FEES,
        max_leverage: str = "1",
        marks: dict[str, float] | None = None,
    ) -> None:
        self.marks = {instrument.id: 100.0 for instrument in instruments} if marks is None else marks
        self.portfolio = Portfolio(cash, instruments, mark_of=self.marks.get)
        rates = {instrument.id: fees for instrument in instruments}
        self.account = Account(self.portfolio, rates, max_leverage=Decimal(max_leverage))
        self.sent = 0

    def order(self, instrument: Instrument, side: Side, lots: int, limit: int | None = None, **more: Any) -> Working:
        """Return an order that has not been judged."""
        self.sent += 1
        return Working(order_of(self.sent, side, lots, limit, instrument=instrument, **more))

    def admit(self, order: Working, reference: int | None = 100, *, lots: int | None = None, limit: Any = None) -> str:
        """Judge an order at a reference price, or its amended numbers."""
        limit = order.limit if limit is None else limit
        lots = order.lots if lots is None else lots
        refusal = self.account.admit(order, lots=lots, limit=limit, reference=reference)
        if not refusal:
            order.lots, order.limit = lots, limit
        return refusal

    def send(self, *what: Any, reference: int | None = 100, **more: Any) -> tuple[Working, str]:
        """Send an order and return it with the refusal."""
        order = self.order(*what, **more)
        return order, self.admit(order, reference)

    def fill(self, order: Working, lots: int, ticks: int) -> None:
        """Book a fill without a fee, as the broker does: locks first."""
        instrument = self.portfolio.instruments[order.instrument]
        self.account.filled(order, lots)
        order.filled += lots
        self.portfolio.apply(
            Fill(
                id=1,
                order_id=order.id,
                instrument=instrument.id,
                side=order.side,
                price=instrument.price(ticks),
                qty=instrument.qty(lots),
                value=instrument.value(lots, ticks),
                fee=Decimal(0),
                fee_currency=instrument.settle_currency,
                role="taker",
                filled_ns=0,
                revealed_ns=0,
                why="",
                tag="",
                lots=lots,
                ticks=ticks,
            )
        )
        if not order.left:
            self.account.ended(order)

    def hold(self, instrument: Instrument, signed: int, ticks: int = 100) -> None:
        """Let a position be there."""
        order = self.order(instrument, BUY if signed > 0 else SELL, abs(signed))
        self.fill(order, abs(signed), ticks)


# Fees ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instrument", "side", "currency", "is_maker", "fee"),
    [
        (SPOT, BUY, "quote", True, ("0.3", "USDT")),  # 3 coins at 100
        (SPOT, BUY, "quote", False, ("3", "USDT")),
        (SPOT, SELL, "quote", False, ("3", "USDT")),
        (SPOT, BUY, "received", False, ("0.03", "BTC")),
        (SPOT, SELL, "received", False, ("3", "USDT")),
        # Contracts always pay in what they settle in, whatever the rule for spot.
        (SWAP, BUY, "received", True, ("0.3", "USDT")),
        (SWAP, SELL, "settle", False, ("3", "USDT")),
        (INVERSE, BUY, "quote", False, ("0.3", "BTC")),
    ],
)
def test_fees_by_role_and_currency(
    instrument: Instrument, side: Side, currency: str, is_maker: bool, fee: tuple[str, str]
) -> None:
    """A share of the value, or of the coins that a spot buy brings."""
    fees = Fees(maker_bps=10, taker_bps=100, currency=currency)
    cash = {"USD": 1} if instrument is INVERSE else {"USDT": 1}
    account = Bank(cash, *((INVERSE, SPOT_USD) if instrument is INVERSE else (SPOT, SWAP)), fees=fees).account
    amount, paid_in = account.fee(instrument, side, 30, instrument.value(30, 100), is_maker=is_maker)
    assert (amount, paid_in) == (Decimal(fee[0]), fee[1])


def test_a_rebate_is_a_fee_below_zero() -> None:
    """Makers may be paid."""
    account = Bank({"USDT": 1}, SWAP, fees=Fees(maker_bps=-1, taker_bps=5)).account
    assert account.fee(SWAP, BUY, 10, Decimal(100), is_maker=True) == (Decimal("-0.01"), "USDT")


# What spot orders hold back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fees", "side", "given", "reference", "locked"),
    [
        # Ten lots are one coin; the larger of the two rates comes on top of a limit buy.
        (FEES, BUY, {"limit": 90}, None, ("USDT", "90.9")),
        (Fees(maker_bps=100, taker_bps=10), BUY, {"limit": 90}, None, ("USDT", "90.9")),
        (Fees(maker_bps=-100, taker_bps=-10), BUY, {"limit": 90}, None, ("USDT", "90")),  # a rebate is not counted on
        (Fees(10, 100, "received"), BUY, {"limit": 90}, None, ("USDT", "90")),  # the fee comes out of the coins
        # Without a limit 5 % are added to the last price or the stop, rounded up to a tick.
        (FEES, BUY, {}, 100, ("USDT", "106.05")),
        (FEES, BUY, {}, 101, ("USDT", "108.07")),
        (FEES, BUY, {"stop": 120}, 100, ("USDT", "127.26")),
        (FEES, BUY, {"stop": 120, "limit": 110}, 100, ("USDT", "111.10")),
        (FEES, SELL, {"limit": 90}, None, ("BTC", "1")),
        (FEES, SELL, {}, None, ("BTC", "1")),
        (Fees(10, 100, "received"), SELL, {}, 100, ("BTC", "1")),
    ],
)
def test_what_a_spot_order_holds_back(
    fees: Fees, side: Side, given: dict[str, int], reference: int | None, locked: tuple[str, str]
) -> None:
    """A buy its cost and fee, a sell its coins; the end of the order lets go of it."""
    bank = Bank({"USDT": 1_000, "BTC": 5}, SPOT, fees=fees)
    order, refusal = bank.send(SPOT, side, 10, given.get("limit"), stop=given.get("stop"), reference=reference)
    currency, amount = locked
    assert refusal == ""
    assert bank.account.locked(currency) == Decimal(amount)
    assert bank.account.available(currency) == bank.portfolio.balance_exact(currency) - Fraction(amount)
    assert bank.account.locked("USDT" if currency == "BTC" else "BTC") == 0
    bank.account.ended(order)
    assert bank.account.locked(currency) == 0
    # Ending it a second time lets go of nothing.
    bank.account.ended(order)
    assert bank.account.locked(currency) == 0


@pytest.mark.parametrize(
    ("side", "lots", "limit", "reference", "refusal"),
    [
        (BUY, 10, 99, None, ""),  # 99 and 0.99 of fee
        (BUY, 10, 100, None, "insufficient_cash"),  # 101 with the fee
        (BUY, 1, 10, None, "below_min_qty"),
        (BUY, 2, None, None, "no_price"),
        (SELL, 20, None, None, ""),
        (SELL, 21, 100, None, "insufficient_position"),
        (SELL, 1, 100, None, "below_min_qty"),
        (SELL, 0, 100, None, "below_min_qty"),
    ],
)
def test_which_spot_orders_are_let_in(
    side: Side, lots: int, limit: int | None, reference: int | None, refusal: str
) -> None:
    """100 USDT and two coins; no shorting, no credit. What is refused holds nothing back."""
    bank = Bank({"USDT": 100, "BTC": 2}, SPOT)
    _, got = bank.send(SPOT, side, lots, limit, reference=reference)
    assert got == refusal
    assert bool(bank.account.locked("USDT") or bank.account.locked("BTC")) is (refusal == "")


def test_working_orders_share_the_same_money() -> None:
    """The second order can have what the first left, and all of it once the first is over."""
    bank = Bank({"USDT": 202}, SPOT)
    first, refusal = bank.send(SPOT, BUY, 15, 100)
    assert refusal == ""
    assert bank.send(SPOT, BUY, 6, 100)[1] == "insufficient_cash"
    assert bank.send(SPOT, BUY, 5, 100)[1] == ""
    assert bank.account.available("USDT") == 0
    bank.account.ended(first)
    assert bank.account.available("USDT") == Fraction("151.5")


def test_an_amended_order_is_judged_with_what_it_holds_already() -> None:
    """It may grow by what is free, shrinking gives back, and a refusal leaves everything as it was."""
    bank = Bank({"USDT": 202}, SPOT)
    order, _ = bank.send(SPOT, BUY, 10, 100)
    assert bank.admit(order, lots=20) == ""
    assert bank.account.available("USDT") == 0
    assert bank.admit(order, lots=21) == "insufficient_cash"
    assert bank.admit(order, limit=101) == "insufficient_cash"
    assert (bank.account.available("USDT"), order.lots, order.limit) == (0, 20, 100)
    assert bank.admit(order, lots=10, limit=50) == ""
    assert bank.account.locked("USDT") == Decimal("50.5")


def test_fills_let_go_of_their_share() -> None:
    """Of the price that was held back, not of the one that was paid."""
    bank = Bank({"USDT": 202}, SPOT)
    order, _ = bank.send(SPOT, BUY, 20, 100)
    bank.fill(order, 5, 90)
    assert bank.account.locked("USDT") == Decimal("151.5")
    assert bank.account.available("USDT") == 202 - 45 - Fraction("151.5")
    # An amend after it holds back what is still open of the new size.
    assert bank.admit(order, lots=15) == ""
    assert bank.account.locked("USDT") == 101
    bank.fill(order, 10, 90)
    assert bank.account.locked("USDT") == 0


# Reduce-only --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "side", "lots"),
    [(5, SELL, 5), (5, BUY, 0), (-5, BUY, 5), (-5, SELL, 0), (0, BUY, 0), (0, SELL, 0)],
)
def test_reduce_only_takes_off_no_more_than_is_held(held: int, side: Side, lots: int) -> None:
    """Without a position on the other side it is refused; a size above it is let in and cut off when it fills."""
    bank = Bank({"USDT": 1}, SWAP)
    if held:
        bank.hold(SWAP, held)
    order, refusal = bank.send(SWAP, side, 8, 100, reduce_only=True)
    assert refusal == ("" if lots else "reduce_only_no_position")
    assert bank.account.reducible_lots(order) == lots
    assert bank.account.affordable_lots(order, 8, 100, is_maker=False) == lots
    assert bank.account.affordable_lots(order, 3, 100, is_maker=False) == min(3, lots)


def test_reduce_only_buys_no_coins() -> None:
    """Having sold what was there at the start is no short position: there is no money for more than a purchase."""
    bank = Bank({"BTC": 2, "USDT": 0}, SPOT)
    order, refusal = bank.send(SPOT, SELL, 10, 100)
    assert refusal == ""
    bank.fill(order, 10, 100)
    assert bank.portfolio.position(SPOT.id).qty < 0
    assert bank.send(SPOT, BUY, 10, reduce_only=True)[1] == "reduce_only_no_position"


def test_reduce_only_on_spot_takes_only_coins_that_no_order_holds_back() -> None:
    """Dust below a step stays."""
    bank = Bank({"USDT": 1_000}, SPOT)
    bank.hold(SPOT, 20)
    reducing = bank.order(SPOT, SELL, 20, reduce_only=True)
    assert bank.account.reducible_lots(reducing) == 20
    bank.send(SPOT, SELL, 12, 110)
    assert bank.account.reducible_lots(reducing) == 8
    assert bank.admit(reducing) == ""
    # It holds nothing back itself: the position may be gone when it fills.
    assert bank.account.locked("BTC") == Decimal("1.2")


# What can be paid when it fills -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fees", "ticks", "lots"),
    [
        (Fees(), 105, 10),  # up to the price that was held back there is nothing to ask
        (Fees(), 106, 10),  # 106 of the 110 there are
        (Fees(), 111, 9),
        (Fees(), 1_101, 0),
        (FEES, 110, 9),  # 111.1 with the taker's fee
        (Fees(10, 100, "received"), 110, 10),  # the fee comes out of the coins
        (Fees(-100, -100), 111, 9),  # a rebate comes after the cost
    ],
)
def test_a_spot_buy_gets_what_the_cash_pays_for(fees: Fees, ticks: int, lots: int) -> None:
    """A market order may meet a worse price than the one that was held back for it."""
    bank = Bank({"USDT": 110}, SPOT, fees=fees)
    order, refusal = bank.send(SPOT, BUY, 10, reference=100)
    assert refusal == ""
    assert bank.account.affordable_lots(order, 10, ticks, is_maker=False) == lots


def test_what_others_hold_back_does_not_pay_for_it() -> None:
    """Its own lock does."""
    bank = Bank({"USDT": 200}, SPOT, fees=Fees())
    order, _ = bank.send(SPOT, BUY, 10, reference=100)
    bank.send(SPOT, BUY, 9, 100)
    # 105 are held for it and 5 are free.
    assert bank.account.affordable_lots(order, 10, 110, is_maker=False) == 10
    assert bank.account.affordable_lots(order, 10, 111, is_maker=False) == 9


@pytest.mark.parametrize(("instrument", "side"), [(SPOT, SELL), (SWAP, BUY), (SWAP, SELL)])
def test_sells_and_contracts_fill_at_any_price(instrument: Instrument, side: Side) -> None:
    """Coins to sell are held back by size, and contracts were let in by their worst case."""
    bank = Bank({"USDT": 1_000, "BTC": 1}, SPOT, SWAP)
    order, refusal = bank.send(instrument, side, 10)
    assert refusal == ""
    assert bank.account.affordable_lots(order, 10, 100_000, is_maker=False) == 10


# Contracts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lots", "given", "reference", "refusal"),
    [
        # A contract at 100 is worth 10; the equity is 1,000.
        (100, {}, 100, ""),
        (101, {}, 100, "insufficient_margin"),
        (100, {}, 101, "insufficient_margin"),
        (100, {"limit": 101}, 1, "insufficient_margin"),
        (100, {"stop": 101}, 1, "insufficient_margin"),
        (100, {"stop": 999, "limit": 100}, 1, ""),
        (1, {}, None, "no_price"),
        (0, {}, 100, "below_min_qty"),
    ],
)
@pytest.mark.parametrize("side", [BUY, SELL])
def test_the_leverage_bound_is_on_the_notional_after_the_fill(
    side: Side, lots: int, given: dict[str, int], reference: int | None, refusal: str
) -> None:
    """At the limit, else the stop, else the price the market gives."""
    bank = Bank({"USDT": 1_000}, SWAP)
    order = bank.order(SWAP, side, lots, given.get("limit"), stop=given.get("stop"))
    assert bank.admit(order, reference) == refusal
    assert bank.account.locked("USDT") == 0


@pytest.mark.parametrize(
    ("instrument", "side", "limit", "refusal"),
    [
        (SWAP, BUY, 100, ""),  # far below the market, it rests and fills at its limit or not at all
        (SWAP, SELL, 100, "insufficient_margin"),  # far below the market, it takes at once at 999
        (SWAP, SELL, 1_000, "insufficient_margin"),
        # The fewer dollars a coin is worth, the more coins an inverse contract of a hundred dollars is.
        (INVERSE, SELL, 2_000, ""),  # far above the market, it rests
        (INVERSE, BUY, 2_000, "insufficient_margin"),  # far above the market, it takes at once at 999
        (INVERSE, BUY, 500, "insufficient_margin"),
    ],
)
def test_a_limit_that_takes_at_once_is_valued_at_the_market(
    instrument: Instrument, side: Side, limit: int, refusal: str
) -> None:
    """A cheap limit on a sell does not make the position it opens any smaller, nor does a dear one on inverse buys."""
    bank = Bank({"USDT": 1_000}, SWAP)
    if instrument is INVERSE:
        # A little less than what a hundred contracts of a hundred dollars are worth at 999.
        bank = Bank({"USD": 9_990}, SPOT_USD, INVERSE, marks={SPOT_USD.id: 999.0, INVERSE.id: 999.0})
    assert bank.admit(bank.order(instrument, side, 100, limit), 999) == refusal


def test_more_leverage_lets_in_more() -> None:
    """Three times the equity."""
    bank = Bank({"USDT": 1_000}, SWAP, max_leverage="3")
    assert bank.send(SWAP, BUY, 301)[1] == "insufficient_margin"
    assert bank.send(SWAP, BUY, 300)[1] == ""


@pytest.mark.parametrize(
    ("held", "working", "side", "lots", "refusal"),
    [
        (60, [], BUY, 40, ""),
        (60, [], BUY, 41, "insufficient_margin"),
        (60, [], SELL, 160, ""),  # to 100 short
        (60, [], SELL, 161, "insufficient_margin"),
        (60, [(BUY, 30)], BUY, 10, ""),  # what works on the same side comes on top
        (60, [(BUY, 30)], BUY, 11, "insufficient_margin"),
        (60, [(BUY, 30)], SELL, 160, ""),  # what works on the other side is not counted on
        (60, [(SELL, 30)], BUY, 41, "insufficient_margin"),
        (60, [(SELL, 30)], SELL, 130, ""),
        (-60, [(SELL, 30)], SELL, 11, "insufficient_margin"),
    ],
)
def test_working_orders_and_the_position_count_at_their_worst(
    held: int, working: list[tuple[Side, int]], side: Side, lots: int, refusal: str
) -> None:
    """All of those on the order's own side may fill and none of the others."""
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, held)
    for its_side, its_lots in working:
        assert bank.send(SWAP, its_side, its_lots)[1] == ""
    assert bank.send(SWAP, side, lots)[1] == refusal


def test_what_only_reduces_is_let_in_whatever_the_equity() -> None:
    """An account that has lost its margin can still get out."""
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 100)
    bank.marks[SWAP.id] = 1.0
    assert bank.portfolio.equity == 10
    assert bank.send(SWAP, BUY, 1)[1] == "insufficient_margin"
    assert bank.send(SWAP, SELL, 100)[1] == ""
    assert bank.send(SWAP, SELL, 101)[1] == "insufficient_margin"
    # To hold as much the other way is no more than is held already.
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 100)
    bank.marks[SWAP.id] = 1.0
    assert bank.send(SWAP, SELL, 201)[1] == "insufficient_margin"
    assert bank.send(SWAP, SELL, 200)[1] == ""
    # Reduce-only orders lead nowhere, so they count for nothing.
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 100)
    assert bank.send(SWAP, SELL, 50, reduce_only=True)[1] == ""
    assert bank.send(SWAP, SELL, 200)[1] == ""


def test_an_amended_contract_order_is_not_counted_twice() -> None:
    """Its old size makes way for the new one, less what has filled."""
    bank = Bank({"USDT": 1_000}, SWAP)
    order, _ = bank.send(SWAP, BUY, 60, 100)
    assert bank.admit(order, lots=101) == "insufficient_margin"
    assert bank.admit(order, lots=100) == ""
    bank.fill(order, 30, 100)
    assert bank.admit(order, lots=101) == "insufficient_margin"
    assert bank.admit(order, lots=100) == ""
    assert bank.admit(order, lots=40) == ""
    assert bank.send(SWAP, BUY, 60)[1] == ""


@pytest.mark.parametrize(
    ("other_held", "other_working", "lots", "refusal"),
    [
        (5, [], 50, ""),  # five others are worth 500
        (5, [], 51, "insufficient_margin"),
        (-5, [], 51, "insufficient_margin"),
        (0, [(BUY, 5)], 51, "insufficient_margin"),
        (5, [(SELL, 10)], 50, ""),  # either way five of them
        (2, [(BUY, 1), (SELL, 4)], 70, ""),  # three at most
        (2, [(BUY, 1), (SELL, 4)], 71, "insufficient_margin"),
    ],
)
def test_other_contracts_count_at_their_marks(
    other_held: int, other_working: list[tuple[Side, int]], lots: int, refusal: str
) -> None:
    """With their positions and their working orders at the worst, spot counts for nothing."""
    bank = Bank({"USDT": 1_000}, SWAP, OTHER, SPOT)
    if other_held:
        bank.hold(OTHER, other_held)
    for side, its_lots in other_working:
        assert bank.send(OTHER, side, its_lots)[1] == ""
    assert bank.send(SPOT, BUY, 5, 10)[1] == ""
    assert bank.send(SWAP, BUY, lots)[1] == refusal


def test_other_contracts_that_are_flat_and_have_no_orders_left_do_not_count() -> None:
    """Nor does it matter then that they have no mark."""
    bank = Bank({"USDT": 1_000}, SWAP, OTHER)
    bank.hold(OTHER, 5)
    bank.hold(OTHER, -5)
    order, _ = bank.send(OTHER, BUY, 1)
    bank.account.ended(order)
    del bank.marks[OTHER.id]
    assert bank.send(SWAP, BUY, 100)[1] == ""


@pytest.mark.parametrize("missing", ["own rate", "equity", "other mark", "other rate"])
def test_without_a_price_for_all_of_it_nothing_new_is_let_in(missing: str) -> None:
    """The bound cannot be judged; what only reduces needs no judging."""
    inverse_marks = {INVERSE.id: 100.0, SPOT_USD.id: 100.0}
    bank = Bank({"USD": 10_000}, SPOT_USD, INVERSE, swap := _usd_swap(), marks={**inverse_marks, "ETH-USD-SWAP": 100.0})
    match missing:
        case "own rate":
            # The converter of the coin that it settles in has no price.
            del bank.marks[SPOT_USD.id]
            assert bank.send(INVERSE, BUY, 1)[1] == "no_price"
            assert bank.send(swap, BUY, 1)[1] == ""
        case "equity":
            bank.hold(swap, 1)
            del bank.marks[swap.id]
            assert bank.send(INVERSE, BUY, 1)[1] == "no_price"
            assert bank.send(swap, SELL, 1)[1] == ""
        case "other mark":
            assert bank.send(INVERSE, BUY, 1)[1] == ""
            del bank.marks[INVERSE.id]
            assert bank.send(swap, BUY, 1)[1] == "no_price"
        case "other rate":
            assert bank.send(INVERSE, BUY, 1)[1] == ""
            del bank.marks[SPOT_USD.id]
            assert bank.send(swap, BUY, 1)[1] == "no_price"


def _usd_swap() -> Instrument:
    return Instrument("ETH-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")


def test_inverse_contracts_count_in_the_report_currency() -> None:
    """A hundred dollars each at any price, by the coin's rate."""
    bank = Bank({"USD": 1_000}, SPOT_USD, INVERSE)
    assert bank.send(INVERSE, BUY, 11)[1] == "insufficient_margin"
    assert bank.send(INVERSE, BUY, 10)[1] == ""
    # At a lower limit the same contracts are more coins.
    bank = Bank({"USD": 1_000}, SPOT_USD, INVERSE)
    assert bank.send(INVERSE, BUY, 10, 99)[1] == "insufficient_margin"
