"""Wrong calls that are easily made get one line that shows the right one; refused orders are told of."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import span_text, time_ns_of

GOOG = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")


class Greedy(qk.Strategy):
    """Buys more than it can pay for, at every candle."""

    qty: float = 1000.0

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d")

    def on_candle(self, candle: qk.Candle) -> None:
        self.buy("GOOG", self.qty)


class Own(qk.Strategy):
    """Has a constructor of its own."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length


class CancelsText(Greedy):
    """Cancels what is no order."""

    def on_candle(self, candle: qk.Candle) -> None:
        self.cancel("first")  # type: ignore[arg-type]


def run(strategy: Any = Greedy, **options: Any) -> qk.Result:
    """Run ten days of a flat price."""
    index = pd.date_range("2024-01-01", periods=10, freq="D", tz="UTC")
    frame = pd.DataFrame({name: np.full(10, 100.0) for name in ("open", "high", "low", "close")}, index=index)
    settings = {"data": {"GOOG": frame}, "instruments": [GOOG], "cash": {"USD": 1000}, **options}
    return qk.backtest(strategy, **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cash": 10_000}, r"cash is 10000; give balances by currency, for example cash=\{'USDT': 10_000\}"),
        ({"fees": 0.001}, r"fees is 0.001; give for example fees=Fees\("),
        ({"instruments": None}, "instruments is no list"),
        ({"instruments": GOOG}, "instruments is no list"),
        ({"start": 1.5}, "time 1.5 is not understood"),
        ({"strategy": Own}, "Own cannot be built: .*annotated class attributes"),
    ],
)
def test_each_says_what_is_wrong_and_how_it_is_written(options: dict[str, Any], message: str) -> None:
    """A ConfigError instead of whatever Python stumbles over."""
    with pytest.raises(qk.ConfigError, match=message):
        run(**options)


def test_what_is_no_order_cannot_be_cancelled() -> None:
    """The error names the hook."""
    with pytest.raises(qk.StrategyError, match=r"on_candle.*'first' is no Order"):
        run(CancelsText)


def test_refused_orders_are_told_of() -> None:
    """With how many, why, and what to do."""
    result = run()
    assert len(result.outcome.fills) == 0
    (warning,) = [text for text in result.warnings if "rejected" in text]
    assert warning.startswith("GOOG: 9 of 10 orders were rejected, insufficient_cash: it does not pay for them")


def test_no_refusal_no_warning() -> None:
    """Orders that are taken leave no trace in the warnings."""
    assert not any("rejected" in text for text in run(Greedy(qty=1)).warnings)


def test_a_share_pays_its_fee_in_money() -> None:
    """The preset's fee currency `received` is for pairs of currencies: nobody pays in parts of a share."""
    assert qk.Fees.preset_for(GOOG) == qk.Fees(8.0, 10.0, "quote")
    pair = qk.Instrument("BTC-USDT", price_step="0.1", qty_step="0.00001")
    assert qk.Fees.preset_for(pair) == qk.Fees(8.0, 10.0, "received")


def test_a_plain_date_is_its_midnight() -> None:
    """In UTC."""
    assert time_ns_of(date(2024, 1, 2)) == time_ns_of("2024-01-02")


@pytest.mark.parametrize(
    ("span_ns", "text"),
    [(0, "0s"), (250_000_000, "0.25s"), (61 * 10**9, "1m 1s"), (3_600 * 10**9, "1h"), (90_000 * 10**9, "1d 1h")],
)
def test_spans_are_told_in_two_units(span_ns: int, text: str) -> None:
    """The larger unit first, empty ones left out."""
    assert span_text(span_ns) == text


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"size": qk.Pct(0.95)}, "'size'; size is qty here; it was given "),
        ({"qty": 1, "limit_price": 90}, "'limit_price'; limit_price is price here; it was given "),
        ({"qty": 1, "colour": "red"}, "'colour'; it was given "),
    ],
)
def test_arguments_named_as_elsewhere_are_told_their_name(call: dict[str, Any], said: str) -> None:
    """Those of the order calls alone."""

    class Elsewhere(Greedy):
        """Calls as in another library."""

        def on_candle(self, candle: qk.Candle) -> None:
            self.buy("GOOG", **call)

    class Closes(Greedy):
        """Gives an argument that this call does not have under any name."""

        def on_candle(self, candle: qk.Candle) -> None:
            self.close("GOOG", size=1)  # type: ignore[call-arg]

    with pytest.raises(qk.StrategyError) as error:
        run(Elsewhere)
    assert f"Strategy.buy() got an unexpected keyword argument {said}" in str(error.value)
    # The guess is the interpreter's own, from Python 3.13 on.
    said = r"Strategy\.close.. got an unexpected keyword argument 'size'(\. Did you mean 'side'\?)?; it was given"
    with pytest.raises(qk.StrategyError, match=said):
        run(Closes)
