"""Fees, what working orders hold back, and which orders an account may have, with the numbers counted by hand."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from recording_sink import BUY, SELL, order_of

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.leverage_bound import Shortfall
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
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
        is_long_short: bool = False,
    ) -> None:
        self.marks = {instrument.id: 100.0 for instrument in instruments} if marks is None else marks
        self.portfolio = Portfolio(cash, instruments, mark_of=self.marks.get, is_long_short=is_long_short)
        rates = {instrument.id: fees for instrument in instruments}
        self.account = Account(self.portfolio, rates, max_leverage=Decimal(max_leverage))
        self.sent = 0

    def order(
        self, instrument: Instrument, side: Side, lots: int, limit: int | None = None, **more: Any
    ) -> ExchangeOrder:
        """Return an order that has not been judged."""
        self.sent += 1
        return ExchangeOrder(order_of(self.sent, side, lots, limit, instrument=instrument, **more))

    def admit(
        self, order: ExchangeOrder, reference: int | None = 100, *, lots: int | None = None, limit: Any = None
    ) -> str:
        """Judge an order at a reference price, or its amended numbers."""
        limit = order.limit_ticks if limit is None else limit
        lots = order.lots if lots is None else lots
        refusal = self.account.admit(order, lots=lots, limit_ticks=limit, reference=reference)
        if not refusal:
            order.lots, order.limit_ticks = lots, limit
        return refusal

    def send(self, *what: Any, reference: int | None = 100, **more: Any) -> tuple[ExchangeOrder, str]:
        """Send an order and return it with the refusal."""
        order = self.order(*what, **more)
        return order, self.admit(order, reference)

    def fill(self, order: ExchangeOrder, lots: int, ticks: int) -> None:
        """Book a fill without a fee, as the broker does: locks first."""
        instrument = self.portfolio.instruments[order.instrument]
        self.account.funds.release(order, lots)
        order.filled_lots += lots
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
                position_side=order.position_side,
            )
        )

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
    portfolio = Bank(cash, *((INVERSE, SPOT_USD) if instrument is INVERSE else (SPOT, SWAP))).portfolio
    holding = Holding(portfolio, instrument, fees)
    amount, paid_in = holding.fee(side, 30, instrument.value(30, 100), is_maker=is_maker)
    assert (amount, paid_in) == (Decimal(fee[0]), fee[1])


def test_a_rebate_is_a_fee_below_zero() -> None:
    """Makers may be paid."""
    holding = Holding(Bank({"USDT": 1}, SWAP).portfolio, SWAP, Fees(maker_bps=-1, taker_bps=5))
    assert holding.fee(BUY, 10, Decimal(100), is_maker=True) == (Decimal("-0.01"), "USDT")


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
    assert bank.account.funds.locked(currency) == Decimal(amount)
    assert bank.account.funds.available(currency) == bank.portfolio.balance_exact(currency) - Fraction(amount)
    assert bank.account.funds.locked("USDT" if currency == "BTC" else "BTC") == 0
    bank.account.funds.release(order, order.left)
    assert bank.account.funds.locked(currency) == 0
    # Ending it a second time lets go of nothing.
    bank.account.funds.release(order, order.left)
    assert bank.account.funds.locked(currency) == 0


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
    assert bool(bank.account.funds.locked("USDT") or bank.account.funds.locked("BTC")) is (refusal == "")


def test_working_orders_share_the_same_money() -> None:
    """The second order can have what the first left, and all of it once the first is over."""
    bank = Bank({"USDT": 202}, SPOT)
    first, refusal = bank.send(SPOT, BUY, 15, 100)
    assert refusal == ""
    assert bank.send(SPOT, BUY, 6, 100)[1] == "insufficient_cash"
    assert bank.send(SPOT, BUY, 5, 100)[1] == ""
    assert bank.account.funds.available("USDT") == 0
    bank.account.funds.release(first, first.left)
    assert bank.account.funds.available("USDT") == Fraction("151.5")


def test_an_amended_order_is_judged_with_what_it_holds_already() -> None:
    """It may grow by what is free, shrinking gives back, and a refusal leaves everything as it was."""
    bank = Bank({"USDT": 202}, SPOT)
    order, _ = bank.send(SPOT, BUY, 10, 100)
    assert bank.admit(order, lots=20) == ""
    assert bank.account.funds.available("USDT") == 0
    assert bank.admit(order, lots=21) == "insufficient_cash"
    assert bank.admit(order, limit=101) == "insufficient_cash"
    assert (bank.account.funds.available("USDT"), order.lots, order.limit_ticks) == (0, 20, 100)
    assert bank.admit(order, lots=10, limit=50) == ""
    assert bank.account.funds.locked("USDT") == Decimal("50.5")


def test_fills_let_go_of_their_share() -> None:
    """Of the price that was held back, not of the one that was paid."""
    bank = Bank({"USDT": 202}, SPOT)
    order, _ = bank.send(SPOT, BUY, 20, 100)
    bank.fill(order, 5, 90)
    assert bank.account.funds.locked("USDT") == Decimal("151.5")
    assert bank.account.funds.available("USDT") == 202 - 45 - Fraction("151.5")
    # An amend after it holds back what is still open of the new size.
    assert bank.admit(order, lots=15) == ""
    assert bank.account.funds.locked("USDT") == 101
    bank.fill(order, 10, 90)
    assert bank.account.funds.locked("USDT") == 0


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
    assert bank.account.funds.locked("BTC") == Decimal("1.2")


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


def test_sells_fill_at_any_price() -> None:
    """Coins to sell are held back by size."""
    bank = Bank({"USDT": 1_000, "BTC": 1}, SPOT)
    order, refusal = bank.send(SPOT, SELL, 10)
    assert refusal == ""
    assert bank.account.affordable_lots(order, 10, 100_000, is_maker=False) == 10
    assert bank.account.affordable_lots(order, 10, 1, is_maker=False) == 10


def test_what_is_to_fill_at_an_open_locks_what_that_costs() -> None:
    """With its fee and not a cent more; before the open has come nothing is held back."""
    bank = Bank({"USDT": 1_010}, SPOT)
    for lots, opening, refusal in ((101, 100, "insufficient_cash"), (100, 101, "insufficient_cash"), (100, 100, "")):
        order = bank.order(SPOT, BUY, lots)
        judged = bank.account.admit(order, lots=lots, limit_ticks=None, reference=1, at_open=True, opening=opening)
        assert judged == refusal
    assert bank.account.funds.locked("USDT") == 1_010
    assert bank.account.affordable_lots(order, 100, 100, is_maker=False) == 100
    bank.account.funds.release(order, order.left)
    waiting = bank.order(SPOT, BUY, 1_000)
    assert bank.account.admit(waiting, lots=1_000, limit_ticks=None, reference=None, at_open=True) == ""
    assert bank.account.funds.locked("USDT") == 0
    # When it comes, the whole of it or nothing is paid.
    assert bank.account.affordable_lots(waiting, 1_000, 10, is_maker=False) == 1_000
    assert bank.account.affordable_lots(waiting, 1_000, 11, is_maker=False) == 0
    assert bank.account.reason_for_cutting(waiting) == "insufficient_cash"


def test_an_order_that_waits_for_an_open_lets_go_of_what_it_held() -> None:
    """Amended before the open has come, it is judged anew by that."""
    bank = Bank({"USDT": 1_010}, SPOT)
    order = bank.order(SPOT, BUY, 10)
    assert bank.account.admit(order, lots=10, limit_ticks=None, reference=None, at_open=True, opening=100) == ""
    assert bank.account.funds.locked("USDT") == 101
    assert bank.account.admit(order, lots=9_999, limit_ticks=None, reference=None, at_open=True) == ""
    assert (order.lock, bank.account.funds.locked("USDT")) == (None, 0)


def test_limits_stops_and_sales_hold_back_the_same_on_candles() -> None:
    """Only a market buy has its price named by the open."""
    bank = Bank({"USDT": 1_000, "BTC": 1}, SPOT)
    for order, currency, amount in (
        (bank.order(SPOT, BUY, 10, 90), "USDT", "90.9"),
        (bank.order(SPOT, BUY, 10, stop=120), "USDT", "127.26"),
        (bank.order(SPOT, SELL, 10), "BTC", "1"),
    ):
        judged = bank.account.admit(
            order, lots=10, limit_ticks=order.limit_ticks, reference=100, at_open=True, opening=100
        )
        assert (judged, bank.account.funds.locked(currency)) == ("", Decimal(amount))
        bank.account.funds.release(order, order.left)


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
    assert bank.account.funds.locked("USDT") == 0


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
        bank = Bank({"BTC": 10}, SPOT_USD, INVERSE, marks={SPOT_USD.id: 999.0, INVERSE.id: 999.0})
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
    order, refusal = bank.send(SWAP, SELL, 100)
    assert (refusal, order.only_closes) == ("", False)
    # Reduce-only orders lead nowhere, so they count for nothing.
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 100)
    assert bank.send(SWAP, SELL, 50, reduce_only=True)[1] == ""
    order, refusal = bank.send(SWAP, SELL, 200)
    assert (refusal, order.only_closes) == ("", False)


@pytest.mark.parametrize("lots", [101, 150, 200, 10_000])
@pytest.mark.parametrize("given", [{}, {"limit": 200}, {"stop": 200}, {"stop": 1, "limit": 200}])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_flip_beyond_the_bound_is_let_in_for_what_it_closes(sign: int, given: dict[str, int], lots: int) -> None:
    """As two orders would end: the closing fills, and nothing is opened."""
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, sign * 100)
    bank.marks[SWAP.id] = 1.0 if sign > 0 else 199.0
    assert bank.portfolio.equity == 10
    side = SELL if sign > 0 else BUY
    order = bank.order(SWAP, side, lots, given.get("limit"), stop=given.get("stop"))
    assert bank.admit(order, reference=200) == ""
    assert order.only_closes
    # It adds nothing to the worst that others are judged by.
    assert bank.account.affordable_lots(order, lots, 1, is_maker=False) == 100
    assert bank.account.affordable_lots(order, 30, 1, is_maker=True) == 30
    assert bank.account.reason_for_cutting(order) == "insufficient_margin"


def test_a_flip_within_the_bound_is_let_in_whole_and_an_amend_judges_it_anew() -> None:
    """From 100 long to 100 short and no further; beyond, the order is kept for its closing part."""
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 100)
    order, refusal = bank.send(SWAP, SELL, 200, 100)
    assert (refusal, order.only_closes) == ("", False)
    for lots, limit, only_closes in ((201, 100, True), (200, 100, False), (200, 101, True), (100, 101, False)):
        assert bank.admit(order, lots=lots, limit=limit) == ""
        assert order.only_closes is only_closes


def test_an_order_that_was_trimmed_leads_nowhere() -> None:
    """What others are judged by is the position alone."""
    bank = Bank({"USDT": 1_000}, SWAP)
    bank.hold(SWAP, 50)
    assert bank.send(SWAP, SELL, 10_000)[0].only_closes
    other, refusal = bank.send(SWAP, SELL, 150)
    assert (refusal, other.only_closes) == ("", False)


@pytest.mark.parametrize(
    ("held", "side", "lots", "ticks", "mark", "carried"),
    [
        (0, BUY, 120, 100, 100.0, 99),  # 99 contracts at 10 cost a fee of 9.90: 990 on 990.10
        (0, SELL, 120, 100, 100.0, 99),
        (0, BUY, 99, 100, 100.0, 99),
        (0, BUY, 120, 110, 100.0, 90),  # by its own price, the dearer one
        (0, SELL, 120, 110, 100.0, 90),
        (0, SELL, 120, 90, 100.0, 90),  # sold below the mark: a loss at once, by the mark
        (0, BUY, 120, 90, 100.0, 110),  # bought below the mark: a gain at once, which by its own price is none
        (-100, BUY, 260, 100, 100.0, 198),  # closes 100 and pays for that too
        (-100, BUY, 100, 500, 100.0, 100),  # what only reduces is free
        (-100, BUY, 300, 200, 200.0, 100),  # nothing is left to carry more
        (100, BUY, 10, 100, 100.0, 0),
    ],
)
def test_a_fill_is_cut_where_the_notional_after_it_would_pass_the_bound(
    held: int, side: Side, lots: int, ticks: int, mark: float, carried: int
) -> None:
    """At the mark and at the price of the fill, with its fee paid."""
    bank = Bank({"USDT": 1_000}, SWAP)
    if held:
        bank.hold(SWAP, held)
    bank.marks[SWAP.id] = mark
    order = bank.order(SWAP, side, lots)
    assert bank.account.affordable_lots(order, lots, ticks, is_maker=False) == carried


def test_the_first_fill_of_a_market_without_a_mark_is_valued_at_its_own_price() -> None:
    """There is nothing else to go by."""
    bank = Bank({"USDT": 1_000}, SWAP, fees=Fees(), marks={})
    assert bank.account.affordable_lots(bank.order(SWAP, BUY, 200), 200, 100, is_maker=False) == 100


def test_without_a_mark_of_another_contract_nothing_is_added() -> None:
    """What the account holds cannot be valued; what closes can still fill."""
    bank = Bank({"USDT": 1_000}, SWAP, OTHER)
    bank.hold(OTHER, 1)
    bank.hold(SWAP, 10)
    del bank.marks[OTHER.id]
    assert bank.account.affordable_lots(bank.order(SWAP, BUY, 5), 5, 100, is_maker=False) == 0
    assert bank.account.affordable_lots(bank.order(SWAP, SELL, 15), 15, 100, is_maker=False) == 10


@pytest.mark.parametrize(
    ("lots", "more", "refusal"),
    [
        (3, {}, ""),
        (2, {}, "below_min_qty"),
        (4, {}, "below_min_qty"),
        (4, {"reduce_only": True}, ""),
        (2, {"reduce_only": True}, "below_min_qty"),
        (5, {}, ""),
    ],
)
def test_a_contract_can_always_be_closed(lots: int, more: dict[str, Any], refusal: str) -> None:
    """Three of them, where an order is at least five: with three, no less and no more."""
    coarse = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", min_qty="5")
    bank = Bank({"USDT": 1_000}, coarse)
    bank.hold(coarse, 3)
    assert bank.send(coarse, SELL, lots, **more)[1] == refusal
    assert bank.send(coarse, BUY, 3)[1] == "below_min_qty"


def test_coins_below_the_smallest_order_are_no_position_to_reduce() -> None:
    """Two steps are the smallest order: of one there is nothing to sell; of two and a half, two."""
    bank = Bank({"USDT": 1_000}, SPOT)
    bank.hold(SPOT, 1)
    assert bank.send(SPOT, SELL, 5, reduce_only=True)[1] == "reduce_only_no_position"
    bank.hold(SPOT, 1)
    order, refusal = bank.send(SPOT, SELL, 5, reduce_only=True)
    assert refusal == ""
    assert bank.account.affordable_lots(order, 5, 100, is_maker=False) == 2


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
    bank.account.funds.release(order, order.left)
    del bank.marks[OTHER.id]
    assert bank.send(SWAP, BUY, 100)[1] == ""


@pytest.mark.parametrize("missing", ["own mark", "other mark"])
def test_without_a_price_for_all_of_it_nothing_new_is_let_in(missing: str) -> None:
    """The bound cannot be judged; what only reduces needs no judging, and a flip is let in for what it closes."""
    bank = Bank({"USDT": 1_000}, SWAP, OTHER)
    bank.hold(SWAP, 5)
    if missing == "own mark":
        del bank.marks[SWAP.id]
    else:
        bank.send(OTHER, BUY, 1)
        del bank.marks[OTHER.id]
    assert bank.send(SWAP, BUY, 1)[1] == "no_price"
    assert bank.send(SWAP, SELL, 5)[1] == ""
    order, refusal = bank.send(SWAP, SELL, 6)
    assert (refusal, order.only_closes) == ("", True)


# Collateral ---------------------------------------------------------------------------------------------------------


def test_a_contract_is_backed_by_what_it_settles_in_alone() -> None:
    """Ten contracts of a hundred dollars are ten coins at 100, whatever dollars there are."""
    for coins, lots, refusal in ((10, 10, ""), (10, 11, "insufficient_margin"), (0, 1, "insufficient_margin")):
        bank = Bank({"USD": 1_000_000, "BTC": coins}, SPOT_USD, INVERSE)
        assert bank.send(INVERSE, BUY, lots)[1] == refusal
        assert bank.account.bound.shortfalls == (
            {INVERSE.id: Shortfall(Fraction(coins), Fraction(lots))} if refusal else {}
        )
    # At a lower limit the same contracts are more coins.
    bank = Bank({"USD": 1_000_000, "BTC": 10}, SPOT_USD, INVERSE)
    assert bank.send(INVERSE, BUY, 10, 99)[1] == "insufficient_margin"


def test_the_largest_shortfall_is_kept() -> None:
    """So that what the message says to give is enough for all of the orders."""
    bank = Bank({"USD": 1, "BTC": 1}, SPOT_USD, INVERSE, max_leverage="2")
    for lots in (5, 7, 6):
        assert bank.send(INVERSE, BUY, lots)[1] == "insufficient_margin"
    assert bank.account.bound.shortfalls[INVERSE.id] == Shortfall(Fraction(1), Fraction(7, 2))


def test_contracts_of_another_settlement_currency_do_not_count() -> None:
    """Each stands on its own money."""
    swap = Instrument("ETH-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
    bank = Bank({"USD": 1_000, "BTC": 10}, SPOT_USD, INVERSE, swap)
    bank.hold(INVERSE, 10)
    assert bank.send(swap, BUY, 10)[1] == ""
    assert bank.send(INVERSE, BUY, 1)[1] == "insufficient_margin"
    # The position, and the money that stands behind it, may have no mark without this one being concerned.
    del bank.marks[INVERSE.id]
    assert bank.send(swap, SELL, 10)[1] == ""


@pytest.mark.parametrize(("mark", "free"), [(100.0, 500), (110.0, 400), (90.0, 600), (50.0, 1_000), (160.0, -100)])
def test_what_backs_contracts_cannot_be_spent_on_coins(mark: float, free: int) -> None:
    """Short fifty of 10 on 1,000; a gain that is not realised cannot be spent, and a loss is gone."""
    bank = Bank({"USDT": 1_000, "BTC": 5}, SPOT, SWAP, fees=Fees())
    order, _ = bank.send(SPOT, BUY, 50, 100)
    bank.hold(SWAP, -50)
    bank.marks[SWAP.id] = mark
    # The equity of 1,500 - 5 x mark, less the notional of 5 x mark; and 500 of that are held back by the order itself.
    assert bank.account.funds.available("USDT") == min(1_000, 1_500 - 10 * int(mark)) - 500 == free - 500
    assert bank.account.affordable_lots(order, 50, 100, is_maker=False) == min(50, max(0, free // 10))
    bank.marks.pop(SWAP.id)
    assert bank.account.funds.available("USDT") == -500
    assert bank.account.affordable_lots(order, 50, 100, is_maker=False) == 0


def test_coins_that_back_an_inverse_contract_cannot_be_sold() -> None:
    """Ten coins behind six: four can go, whatever an order had held back before."""
    bank = Bank({"USD": 1_000, "BTC": 10}, SPOT_USD, INVERSE)
    order, refusal = bank.send(SPOT_USD, SELL, 80, 100)
    assert refusal == ""
    bank.hold(INVERSE, 6)
    assert bank.account.affordable_lots(order, 80, 100, is_maker=True) == 40
    assert bank.send(SPOT_USD, SELL, 1)[1] == "insufficient_position"
