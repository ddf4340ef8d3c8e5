"""What contracts may be held, through the public door: flips, what they are backed by, and what a refusal says."""

from typing import Any

import pandas as pd
import pytest

import quantkit as qk

A, B = (qk.Instrument(f"{name}-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1") for name in ("AAA", "BBB"))
COIN = qk.Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
#: A short of ten at 100 on a thousand has lost half at 150.
PRICES = (100, 100, 150, 150, 150, 120, 120)


def frame(*prices: float) -> pd.DataFrame:
    """Return candles that stand at a price each."""
    index = pd.date_range("2024-03-01", periods=len(prices), freq="1min", tz="UTC")
    columns = {name: [float(price) for price in prices] for name in ("open", "high", "low", "close")}
    return pd.DataFrame({**columns, "volume": 1e6}, index=index)


class Calls(qk.Strategy):
    """Makes the calls that are listed for the n-th candle of the first instrument."""

    calls: dict[int, list[tuple[str, str, float]]]

    def on_start(self) -> None:
        self.seen = 0
        self.names = list(dict.fromkeys(name for some in self.calls.values() for _, name, _ in some))
        for name in self.names:
            self.subscribe_candles(name, "1m")

    def on_candle(self, candle: qk.Candle) -> None:
        if candle.instrument != self.names[-1]:
            return
        self.seen += 1
        for what, name, qty in self.calls.get(self.seen, ()):
            getattr(self, what)(name, qty)


def run(calls: dict[int, list[tuple[str, str, float]]], **options: Any) -> qk.Result:
    """Run with a thousand and no fees."""
    defaults: dict[str, Any] = {
        "data": {A.id: frame(*PRICES), B.id: frame(*(100,) * 7)},
        "instruments": [A, B],
        "cash": {"USDT": 1000},
        "fees": qk.Fees(),
    }
    return qk.backtest(Calls(calls=calls), **{**defaults, **options})


def states(result: qk.Result) -> list[tuple[str, str, float]]:
    """Return how each order ended."""
    orders = result.orders
    return list(zip(orders.state, orders.reason, orders.filled_qty, strict=True))


def at_fills(result: qk.Result) -> list[float]:
    """Return the exposure after each fill."""
    curve = result.outcome.curve
    stamps = [fill.filled_ns for fill in result.outcome.fills]
    return [float(curve.exposure[curve.time_ns.searchsorted(stamp, "right") - 1]) for stamp in stamps]


@pytest.mark.parametrize(
    ("flip", "enough"),
    [(("buy", A.id, 20.0), 2000), (("target", A.id, 10.0), 2000), (("buy", A.id, 15.0), 1000)],
    ids=["buy", "target", "smaller"],
)
def test_a_flip_that_the_equity_cannot_carry_ends_where_two_orders_do(
    flip: tuple[str, str, float], enough: int
) -> None:
    """The losing short is closed, the rest is cancelled, and the result says so."""
    result = run({1: [("sell", A.id, 10)], 3: [flip]})
    parts = run({1: [("sell", A.id, 10)], 3: [("buy", A.id, 10)], 4: [("buy", A.id, 10)]})
    assert states(result)[1] == ("cancelled", "insufficient_margin", 10.0)
    assert states(parts)[1:] == [("filled", "", 10.0), ("rejected", "insufficient_margin", 0.0)]
    assert result.outcome.equity == parts.outcome.equity == 500
    assert not any(result.outcome.position_qty.values())
    assert max(at_fills(result)) <= 1.0
    assert (
        f"{A.id}: 1 of 2 orders were cut short, insufficient_margin: more than the equity in USDT x max_leverage; "
        f"send less, or raise the cash (--cash USDT={enough}) or --max-leverage"
    ) in result.warnings


def test_a_flip_beside_another_position() -> None:
    """750 are left of a short of five; five of the other bind 500 of them."""
    result = run({1: [("sell", A.id, 5), ("buy", B.id, 5)], 3: [("buy", A.id, 10)]})
    assert states(result)[2] == ("cancelled", "insufficient_margin", 5.0)
    assert result.outcome.position_qty == {A.id: 0, B.id: 5}
    assert result.outcome.equity == 750


@pytest.mark.parametrize(
    ("cash", "said"),
    [
        ({"USD": 100_000}, "BTC-USD-SWAP is backed by BTC; the account has none (--cash BTC=0.1)"),
        (
            {"USD": 100_000, "BTC": "0.005"},
            "more than the equity in BTC x max_leverage; send less, or raise the cash (--cash BTC=0.1) "
            "or --max-leverage",
        ),
    ],
)
def test_a_contract_is_backed_by_its_settlement_currency(cash: dict[str, Any], said: str) -> None:
    """Fifty contracts of 100 dollars are a twelfth of a coin at 60,000; the dollars do not stand in for it."""
    calls = {1: [("buy", COIN.id, 50.0)]}
    data = {COIN.id: frame(*(60_000,) * 5)}
    result = run(calls, data=data, instruments=[COIN], cash=cash)
    assert states(result) == [("rejected", "insufficient_margin", 0.0)]
    assert f"BTC-USD-SWAP: 1 of 1 orders were rejected, insufficient_margin: {said}" in result.warnings
    # What the message says to give is enough.
    enough = run(calls, data=data, instruments=[COIN], cash={**cash, "BTC": "0.1"})
    assert states(enough) == [("filled", "", 50.0)]


def test_coins_that_are_gone_end_the_run_and_are_named() -> None:
    """A hundred thousand dollars do not keep a contract that a tenth of a coin backs."""
    prices = (60_000, 60_000, 30_000, 25_000, 60_000, 60_000)
    result = run(
        {1: [("buy", COIN.id, 50.0)]},
        data={COIN.id: frame(*prices)},
        instruments=[COIN],
        cash={"USD": 100_000, "BTC": "0.1"},
    )
    assert result.outcome.ended == "bankrupt"
    assert result.outcome.equity > 90_000
    assert (
        "equity in BTC, which backs the contracts, fell to zero at 2024-03-01T00:04:00Z: the run ended there"
        in result.warnings
    )
