"""Fees as amounts per contract, share and order, and the stated slippage: what others' results are set up with."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.cli import main
from quantkit.errors import ConfigError
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.live.journal import config_fields, config_of
from quantkit.options import RunOptions
from quantkit.orders import Order
from quantkit.portfolio import Portfolio

SHARE = Instrument("GOOG", base="GOOG", quote="USD", price_step="0.01", qty_step="1")
FUTURE = Instrument(
    "ES-USD-FUT", kind="future", base="ES", quote="USD", price_step="0.25", qty_step="1", contract_value="50"
)
BROKER = Fees(per_share=0.005, min_per_order=1)


class Script(qk.Strategy):
    """Does what it is told at given candles, counted from 1."""

    def __init__(self, instrument: str, acts: dict[int, Callable[[qk.Strategy], Any]]) -> None:
        super().__init__()
        self._instrument, self._acts, self._seen = instrument, acts, 0

    def on_start(self) -> None:
        self.subscribe_candles(self._instrument, "1m")

    def on_candle(self, candle: qk.Candle) -> None:
        self._seen += 1
        if self._seen in self._acts:
            self._acts[self._seen](self)


def run(instrument: Instrument, acts: dict[int, Callable[[Any], Any]], **options: Any) -> qk.Result:
    """Run over candles at 100, whose range is 90 to 110 from the fifth on."""
    index = pd.date_range("2026-01-01", periods=8, freq="1min", tz="UTC")
    highs, lows = [101.0] * 4 + [110.0] * 4, [99.0] * 4 + [90.0] * 4
    bars = pd.DataFrame({"open": 100.0, "high": highs, "low": lows, "close": 100.0, "volume": 1.0}, index=index)
    options = {"cash": {"USD": 200_000}, "fees": Fees(), "max_leverage": 10, **options}
    return qk.backtest(Script(instrument.id, acts), data={instrument.id: bars}, instruments=[instrument], **options)


def fees_of(result: qk.Result) -> list[Decimal]:
    return [fill.fee for fill in result.outcome.fills]


# Fees -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fees", "qty", "fee"),
    [
        (BROKER, 100, "1"),
        (BROKER, 1000, "5"),
        (Fees(per_share=0.005), 100, "0.5"),
        (Fees(per_order=1.5), 100, "1.5"),
        (Fees(taker_bps=1, per_share=0.01, per_order=0.35), 100, "2.35"),
        (Fees(taker_bps=1, per_contract=9), 100, "1"),
        (Fees(taker_bps=-1, min_per_order=0.2), 100, "0.2"),
        (Fees(taker_bps=-1, per_order=0.2), 100, "-0.8"),
    ],
)
def test_what_an_order_in_shares_pays(fees: Fees, qty: float, fee: str) -> None:
    """Both ways the same; the money adds up to the last digit."""
    result = run(SHARE, {1: lambda s: s.buy(SHARE.id, qty), 2: lambda s: s.sell(SHARE.id, qty)}, fees=fees)
    assert fees_of(result) == [Decimal(fee)] * 2
    assert result.outcome.cash["USD"] == 200_000 - 2 * Decimal(fee)


def test_what_contracts_pay() -> None:
    """Each contract its amount, in the currency that they settle in; shares have nothing to do with it."""
    fees = Fees(per_contract=0.85, per_share=99, per_order=0.1)
    result = run(FUTURE, {1: lambda s: s.buy(FUTURE.id, 3), 2: lambda s: s.close(FUTURE.id)}, fees=fees)
    assert fees_of(result) == [Decimal("2.65")] * 2
    assert result.outcome.fees == {"USD": Decimal("5.3")}


@pytest.mark.parametrize(
    ("instrument", "fees", "message"),
    [
        (
            SHARE,
            Fees(per_contract=2),
            "per_contract is for swaps and futures and does not apply to GOOG; give per_share",
        ),
        (
            FUTURE,
            Fees(per_share=2),
            "per_share is for shares and coins and does not apply to ES-USD-FUT; give per_contract",
        ),
    ],
)
def test_fees_of_which_nothing_applies_are_refused(instrument: Instrument, fees: Fees, message: str) -> None:
    """Or else the run would be one without fees; by id, or with something that does apply, it is told."""
    with pytest.raises(ConfigError) as error:
        run(instrument, {}, fees=fees)
    assert str(error.value) == f"no order would pay a fee: {message}"
    amount = "per_contract" if instrument.is_spot else "per_share"
    for other in (
        {instrument.id: fees},
        Fees(taker_bps=1, **{amount: 2}),
        Fees(maker_bps=1, **{amount: 2}),
        Fees(min_per_order=1, **{amount: 2}),
    ):
        told = [text for text in run(instrument, {}, fees=other).warnings if "fees" in text]
        assert len(told) == 1
        assert told[0].startswith(f"{instrument.id}: of its fees {amount} is for")
    for fine in (Fees(), Fees(per_contract=1, per_share=1), {}):
        assert not [text for text in run(instrument, {}, fees=fine).warnings if "fees" in text]


def account(fees: Fees, cash: float) -> tuple[Account, Portfolio]:
    portfolio = Portfolio({"USD": cash}, [SHARE], mark_of=lambda _: None)
    return Account(portfolio, {SHARE.id: fees}, max_leverage=Decimal(1)), portfolio


def working(lots: int, ticks: int | None) -> ExchangeOrder:
    return ExchangeOrder(Order(id="a", instrument=SHARE.id, side=Side.BUY, qty=lots, lots=lots, price_ticks=ticks))


def test_an_order_in_parts_pays_its_own_part_once() -> None:
    """The minimum with the first fill, and what goes beyond it with those that do."""
    held, _ = account(BROKER, 10_000)
    order = working(500, 1000)
    assert held.admit(order, lots=500, limit_ticks=1000, reference=None) == ""
    assert held.funds.locked("USD") == Decimal("5002.5")
    paid = []
    for lots in (100, 50, 150, 200):
        value = SHARE.value(lots, 1000)
        paid.append(held.funds.charge(order, lots, value, is_maker=True)[0])
        held.funds.release(order, lots)
        order.filled_lots += lots
    assert paid == [Decimal("1"), Decimal("0"), Decimal("0.5"), Decimal("1")]
    assert held.funds.locked("USD") == 0


@pytest.mark.parametrize(("cash", "refusal"), [("1001", ""), ("1000.99", "insufficient_cash")])
def test_the_minimum_is_locked_with_the_order(cash: str, refusal: str) -> None:
    """A purchase that leaves nothing for its fee is refused."""
    held, _ = account(BROKER, float(cash))
    assert held.admit(working(100, 1000), lots=100, limit_ticks=1000, reference=None) == refusal


@pytest.mark.parametrize(
    ("fees", "cash", "lots"),
    [
        (BROKER, 1001, 90),  # 90 x 11 and the minimum
        (Fees(per_share=0.5, min_per_order=1), 1001, 87),
        (Fees(per_share=0.5, per_order=40), 1001, 83),
        (Fees(), 1001, 91),
        (BROKER, 11.5, 0),
    ],
)
def test_a_dearer_fill_is_cut_to_what_the_cash_pays_for(fees: Fees, cash: float, lots: int) -> None:
    """Price, own fees and the order's part together: not one share more."""
    held, _ = account(fees, cash)
    order = working(100, None)
    assert held.admit(order, lots=100, limit_ticks=None, reference=1) == ""
    got = held.affordable_lots(order, 100, 1100, is_maker=False)
    assert got == lots
    for count, is_enough in ((got, True), (got + 1, False)):
        own = Decimal(str(fees.per_share)) * count + Decimal(str(fees.per_order))
        whole = 11 * count + max(own, Decimal(str(fees.min_per_order)))
        assert count == 0 or (whole <= Decimal(str(cash))) is is_enough


def holder(fees: Fees, shares: int, cash: str) -> tuple[Account, Callable[..., ExchangeOrder]]:
    """Return an account with shares to sell, and a maker of orders that sell them."""
    portfolio = Portfolio({"USD": Decimal(cash), "GOOG": shares}, [SHARE], mark_of=lambda _: 10.0)
    portfolio.position(SHARE.id).trade(Decimal(shares), Decimal(10 * shares))

    def sale(lots: int, **more: Any) -> ExchangeOrder:
        return ExchangeOrder(Order(id="s", instrument=SHARE.id, side=Side.SELL, qty=lots, lots=lots, **more))

    return Account(portfolio, {SHARE.id: fees}, max_leverage=Decimal(1)), sale


MINIMUM = Fees(min_per_order=15)
DEAR = Fees(per_share=12, per_order=1)


@pytest.mark.parametrize("reduce_only", [False, True])
@pytest.mark.parametrize(
    ("fees", "lots", "cash", "more", "limit", "reference", "refusal"),
    [
        (MINIMUM, 1, "5", {}, None, 1000, ""),
        (MINIMUM, 1, "4.99", {}, None, 1000, "insufficient_cash"),
        (MINIMUM, 2, "0", {}, None, 1000, ""),
        (MINIMUM, 1, "5", {}, 1000, 900, ""),
        (MINIMUM, 1, "5", {}, 900, 1000, ""),  # it would fill at the market at once
        (MINIMUM, 1, "5", {}, 900, 900, "insufficient_cash"),
        (MINIMUM, 1, "5", {"stop_ticks": 1000}, None, 1100, ""),
        (MINIMUM, 1, "5", {"stop_ticks": 900}, None, 1100, "insufficient_cash"),
        (MINIMUM, 1, "5", {}, None, None, ""),  # without a price, the fill tells
        (DEAR, 2, "5", {}, None, 1000, ""),
        (DEAR, 3, "6.99", {}, None, 1000, "insufficient_cash"),
        (Fees(taker_bps=1000), 1, "0", {}, None, 1000, ""),  # a rate never is more than the value
    ],
)
def test_a_sale_that_cannot_pay_its_fee_is_refused(
    fees: Fees,
    lots: int,
    cash: str,
    more: dict[str, Any],
    limit: int | None,
    reference: int | None,
    refusal: str,
    reduce_only: bool,
) -> None:
    """It pays out of what it brings, and out of free cash."""
    held, sale = holder(fees, 10, cash)
    order = sale(lots, price_ticks=limit, reduce_only=reduce_only, **more)
    assert held.admit(order, lots=lots, limit_ticks=limit, reference=reference) == refusal


@pytest.mark.parametrize("reduce_only", [False, True])
@pytest.mark.parametrize(
    ("fees", "cash", "ticks", "lots"),
    [
        (MINIMUM, "11", 100, 4),
        (MINIMUM, "10.99", 100, 0),
        (DEAR, "9", 1000, 4),
        (DEAR, "8.99", 1000, 3),
        (DEAR, "6", 1000, 2),
        (DEAR, "0.5", 1000, 0),
        (Fees(per_share=12, min_per_order=30), "9", 1000, 4),
        (Fees(per_share=1, min_per_order=30), "9", 50, 0),
    ],
)
def test_a_sale_is_cut_to_what_pays_its_fee(fees: Fees, cash: str, ticks: int, lots: int, reduce_only: bool) -> None:
    """At a price below the one it was let in at; the reason is the cash, also where it only reduces."""
    held, sale = holder(fees, 10, cash)
    order = sale(4, reduce_only=reduce_only)
    assert held.admit(order, lots=4, limit_ticks=None, reference=100_000) == ""
    assert held.affordable_lots(order, 4, ticks, is_maker=False) == lots
    assert held.reason_for_cutting(order) == "insufficient_cash"


def test_fees_of_sales_leave_no_debt_in_a_run_of_shares_alone() -> None:
    """Selling piece by piece below the smallest fee ends with the cash, not with the account."""
    coin = Instrument("A-USD", price_step="0.1", qty_step="0.01")
    acts: dict[int, Callable[[Any], Any]] = {1: lambda s: s.buy(coin.id, 0.95)}
    acts |= {number: lambda s: s.sell(coin.id, 0.1) for number in (2, 3)}
    result = run(coin, acts, fees=MINIMUM, cash={"USD": 115})
    assert [(order.state, order.reason) for order in result.outcome.orders] == [
        ("filled", ""),
        ("filled", ""),
        ("rejected", "insufficient_cash"),
    ]
    assert (result.outcome.ended, result.outcome.cash["USD"]) == ("completed", 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"per_share": -1}, "per_share is -1.0; it is a finite amount of money"),
        ({"per_contract": float("nan")}, "per_contract is nan"),
        ({"per_order": float("inf")}, "per_order is inf"),
        ({"min_per_order": -0.1}, "min_per_order is -0.1"),
        ({"per_order": 1, "currency": "received"}, "not of what a fill brings; use currency='quote'"),
        ({"per_share": 1, "currency": "received"}, "not of what a fill brings"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    """One line each."""
    with pytest.raises(ConfigError, match=message):
        Fees(**wrong)


def test_amounts_are_told_kept_and_counted_at_the_end(tmp_path: Path) -> None:
    """In the assumptions, in what closing would cost, in the saved configuration, and in the log that verify reads."""
    fees = Fees(maker_bps=1, per_share=0.005, per_order=0.1, min_per_order=1)
    result = run(SHARE, {1: lambda s: s.buy(SHARE.id, 100)}, fees=fees, slippage_bps=5)
    assert (
        "GOOG: fees 1 bps maker, 0 bps taker, 0.005 USD per share, 0.1 USD per order, at least 1 USD an order, "
        "valued at candle"
    ) in result.assumptions
    assert "on trades and candles, what takes fills 5 bps worse than the traded price" in result.assumptions
    assert result.stats["equity_closed"] == pytest.approx(float(result.outcome.equity) - 1)
    loaded = qk.Result.load(result.save(tmp_path / "run"))
    assert loaded.config["fees"][SHARE.id]["min_per_order"] == 1
    assert loaded.config["slippage_bps"] == 5
    assert loaded.stats["equity_closed"] == result.stats["equity_closed"]
    for given in (fees, {SHARE.id: fees}):
        config = RunOptions(fees=given, slippage_bps=2.5, max_leverage=Decimal(1))
        assert config_of(config_fields(config)) == config


def test_results_without_slippage_do_not_speak_of_it() -> None:
    """Nor does one that is matched on what is displayed."""
    assert not any("worse than the traded" in text for text in run(SHARE, {}).assumptions)


# Slippage ---------------------------------------------------------------------------------------------------------


def fills(acts: dict[int, Callable[[Any], Any]], slippage_bps: float = 100.0) -> list[tuple[str, float]]:
    result = run(FUTURE, acts, slippage_bps=slippage_bps)
    return [(fill.role, fill.price) for fill in result.outcome.fills]


def test_what_takes_fills_worse() -> None:
    """Rounded against the order, to the step."""
    assert fills({1: lambda s: s.buy(FUTURE.id, 1), 2: lambda s: s.sell(FUTURE.id, 1)}) == [
        ("taker", 101.0),
        ("taker", 99.0),
    ]
    assert fills({1: lambda s: s.buy(FUTURE.id, 1)}, 1.0) == [("taker", 100.25)]
    assert fills({1: lambda s: s.buy(FUTURE.id, 1)}, 0.0) == [("taker", 100.0)]


def test_a_limit_that_takes_never_fills_beyond_itself() -> None:
    """It gives way as far as it may."""
    assert fills({1: lambda s: s.buy(FUTURE.id, 1, price=100.5)}) == [("taker", 100.5)]
    assert fills({1: lambda s: s.sell(FUTURE.id, 1, price=99.5)}) == [("taker", 99.5)]


def test_what_rests_fills_at_its_limit() -> None:
    """Slippage is what takers pay."""
    assert fills({1: lambda s: s.buy(FUTURE.id, 1, price=95.0)}) == [("maker", 95.0)]


def test_a_stop_slips_from_its_price() -> None:
    """In the range of the candle that sets it off."""
    assert fills({1: lambda s: s.sell(FUTURE.id, 1, stop_price=95.0)}) == [("taker", 94.0)]


def test_a_price_never_slips_to_nothing() -> None:
    """One step is the least."""
    assert fills({1: lambda s: s.sell(FUTURE.id, 1)}, 9_999.0) == [("taker", 0.25)]


@pytest.mark.parametrize("value", [-1, 10_000, float("nan")])
def test_slippage_out_of_range_is_refused(value: float) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match=r"^slippage_bps is"):
        run(FUTURE, {}, slippage_bps=value)


def test_the_command_line_takes_them(tmp_path: Path) -> None:
    """Amounts need no rates; the help names them all."""
    strategy = tmp_path / "s.py"
    strategy.write_text(
        "import quantkit as qk\n\n\nclass S(qk.Strategy):\n    def on_start(self):\n"
        "        self.subscribe_candles('binance:BTC-USDT-SWAP', '1h')\n"
    )
    flags = (
        "--fees-per-contract 0.85 --fees-per-share 0.01 --fees-per-order 0.5 --fees-min-per-order 1 --slippage-bps 3"
    )
    done = CliRunner().invoke(main, ["backtest", str(strategy), "--no-keep", *flags.split()], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "0 bps taker, 0.85 USDT per contract, 0.5 USDT per order, at least 1 USDT an order" in text
    assert "3 bps worse than the traded price" in text
    for command in ("backtest", "live"):
        said = CliRunner().invoke(main, [command, "--help"]).output
        assert all(word in said for word in flags.split() if word.startswith("--"))
