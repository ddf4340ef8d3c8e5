"""Triggers and liquidations as a report page draws them: where they stood when, not where they ended."""

from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace
from test_page import Reader, column

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_MS, time_ns_of
from quantkit.engine.outcome import OrderEvent
from quantkit.orders import AMENDED, OrderState
from quantkit.report.page import triggers
from quantkit.report.page.page import render
from quantkit.report.page.triggers import trigger_lines
from quantkit.report.result import Result

START_NS = time_ns_of("2025-05-05")
BTC = qk.Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1", contract_value="0.1")
#: Close of each minute; highs and lows are 2 away.
CLOSES = (100, 100, 104, 104, 110, 109, 107, 107)
TIERS = {"BTC-USDT": [{"max_qty": 1000, "maintenance_rate": "0.004", "max_leverage": 100}]}


class Sends(qk.Strategy):
    """Sends one order at the first candle, after a position."""

    call: str = "sell"
    terms: dict = {}  # type: ignore[type-arg]  # noqa: RUF012  # parameters are no defaults that anybody changes
    held: float = 1.0

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")
        self.seen = 0

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen += 1
        if self.seen == 1:
            self.buy(BTC.id, self.held)
            if self.terms:
                getattr(self, self.call)(BTC.id, 1, **self.terms)


def run(terms: dict[str, Any], *, call: str = "sell", closes: tuple[float, ...] = CLOSES, **more: Any) -> Result:
    index = pd.date_range("2025-05-05", periods=len(closes), freq="1min", tz="UTC")
    prices = pd.Series(closes, index=index, dtype=float)
    frame = pd.DataFrame({"open": prices, "high": prices + 2, "low": prices - 2, "close": prices, "volume": 9.0})
    params = {"terms": terms, "call": call, "held": more.pop("held", 1.0)}
    options: dict[str, Any] = {"cash": {"USDT": 10_000}, **more}
    return qk.backtest(Sends, data={BTC.id: frame}, instruments=[BTC], params=params, **options)


def lines(result: Result) -> list[tuple[float, float, float]]:
    """Return the lines of the only trigger in minutes from the start."""
    found = trigger_lines(result, BTC.id, result.prices.rows(BTC.id))
    return [((a - START_NS) / NS_PER_MIN, (b - START_NS) / NS_PER_MIN, price) for a, b, price in found]


def test_a_trailing_stop_is_drawn_as_it_moved() -> None:
    """It arrives after the first candle, at 100; from the second on each high moves it, until a low has come to it."""
    result = run({"trailing_offset": 5})
    assert result.fills["price"].tolist() == [100, 107]
    assert lines(result) == [(1, 2, 95), (2, 3, 97), (3, 5, 101), (5, 6, 107)]
    rising = run({"trailing_offset_bps": 500}, call="buy", closes=(100, 96, 90, 90, 90))
    assert lines(rising) == [(1, 2, 105), (2, 3, 99), (3, 5, 92.5)]
    assert rising.outcome.orders[1].stop_price == 92.5


def test_a_trailing_stop_waits_for_its_activation() -> None:
    """There is no line before, and none without a price that activates it."""
    assert lines(run({"trailing_offset": 5, "activation_price": 105}))[0] == (3, 5, 101)
    assert lines(run({"trailing_offset": 5, "activation_price": 200})) == []


def test_many_moves_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those drawn are where the stop stood; the last reaches to the end."""
    monkeypatch.setattr(triggers, "_STEPS_MAX", 2)
    assert lines(run({"trailing_offset": 5})) == [(1, 3, 95), (3, 6, 101)]


def test_stops_and_take_profits_are_drawn() -> None:
    """From their sending on; a changed one from its change on; without a path what trails is left out."""
    assert lines(run({"stop_price": 90})) == [(1, 8, 90)]
    result = run({"take_profit_price": 108})
    assert lines(result) == [(1, 4, 108)]
    outcome = result.outcome
    change = OrderEvent(outcome.orders[1].id, START_NS + 3 * NS_PER_MIN, 0, OrderState.ACCEPTED, AMENDED)
    changed = Result(replace(outcome, order_events=[*outcome.order_events, change]), result.config, result.instruments)
    assert [line.from_ns for line in trigger_lines(changed, BTC.id, None)] == [START_NS + 3 * NS_PER_MIN]
    assert trigger_lines(run({"trailing_offset": 5}), BTC.id, None) == []
    assert lines(run({})) == []


def test_the_page_has_them_and_marks_liquidations() -> None:
    """Fills of the exchange's own stand in a column; a run without any has none."""
    read = Reader(render(run({"trailing_offset": 5})))
    stops, fills = (read.blocks["rest"]["tracks"][0][name] for name in ("stops", "fills"))
    assert column(stops["price"]) == [95, 97, 101, 107]
    assert column(stops["from"])[0] == (START_NS + NS_PER_MIN) // NS_PER_MS
    assert "liquidation" not in fills
    assert read.blocks["meta"]["is_long_short"] is False
    lost = run({}, closes=(100, 100, 95, 85, 85), held=100, margin="isolated", leverage=10, tiers=TIERS)
    assert len(lost.liquidations) == 1
    read = Reader(render(lost))
    assert column(read.blocks["first"]["tracks"][0]["fills"]["liquidation"]) == [0, 1]
    assert '"liquidation"' in str(read.blocks["figures"]["panels"]).replace("'", '"')
