"""Explained orders of more kinds: what moves, what is capped or made worse, what margin refuses and closes."""

from pathlib import Path
from typing import Any

import pytest
from test_explain import BTC, Sends, at, book, books, candles, run, store, trade, words

import quantkit as qk
from quantkit.clock import NS_PER_MIN
from quantkit.events import Candle, Funding, Mark, MarketEvent
from quantkit.instruments import Side
from quantkit.report.order_reasons import meaning_of
from quantkit.report.result import Result

TIERS = {"BTC-USDT": [{"max_qty": 100, "maintenance_rate": "0.004", "max_leverage": 100}]}


def prints(*prices: float) -> list[MarketEvent]:
    """Return a trade a second, from the start on, and one at 20 s."""
    return [trade(second, price, 4) for second, price in enumerate([*prices, *[prices[-1]] * (21 - len(prices))])]


# Triggers -------------------------------------------------------------------------------------------------------------


def test_a_trailing_stop_is_held_against_where_it_stood() -> None:
    """98 was below the last stop of 105, and came before it stood there."""
    said = words(run([(1, "sell", {"qty": 1, "trailing_offset": 5})], prints(100, 100, 98, 110, 107), "trade"))
    assert (
        "It was not triggered: its stop followed the price from 95 to 105, and it needed a price of 105 or below; "
        "the lowest while it was there was 107."
    ) in said
    table = run([(1, "sell", {"qty": 1, "trailing_offset_bps": 500})], prints(100, 100, 98, 110), "trade").explain(
        "bt1"
    )
    assert table.title == "Order bt1: sell 1 BTC-USDT-SWAP trailing by 500 bps (GTC)"
    assert table.table["trigger"].tolist()[1:] == [95, 104, 104]
    lines = str(table).splitlines()
    assert [lines[place].split()[-1] for place in (-5, -1)] == ["trigger", "104"]
    still = words(run([(1, "sell", {"qty": 1, "trailing_offset": 5})], prints(100, 100, 98), "trade"))
    assert "It was not triggered: it needed a price of 95 or below; the lowest while it was there was 98." in still


@pytest.mark.parametrize(
    ("call", "price", "said"),
    [
        ("sell", 120, "from 120 or above on; the highest while it was there was 110."),
        ("buy", 90, "from 90 or below on; the lowest while it was there was 98."),
    ],
)
def test_a_trailing_stop_that_never_began(call: str, price: float, said: str) -> None:
    """It waits for the price that activates it."""
    sends: Sends = [(1, call, {"qty": 1, "trailing_offset": 5, "activation_price": price})]
    result = run(sends, prints(100, 100, 98, 110, 107), "trade")
    found = words(result)
    assert result.explain("bt1").title.endswith(f"trailing by 5 active from {price} (GTC)")
    assert f"It was not triggered: it follows the price only {said}" in found


def test_triggers_of_other_prices_and_sides() -> None:
    """A take profit waits on the far side; of mark and index nothing but the price is told."""
    sends: Sends = [
        (1, "sell", {"qty": 1, "take_profit_price": 120}),
        (1, "sell", {"qty": 1, "stop_price": 90, "trigger_type": "mark"}),
        (1, "sell", {"qty": 1, "stop_price": 90, "trigger_type": "index"}),
        (1, "sell", {"qty": 1, "trailing_offset": 5, "trigger_type": "mark"}),
    ]
    marks = [
        Mark(BTC.id, at(second), at(second), base + second, source)
        for second in range(21)
        for source, base in (("mark", 100.0), ("index", 200.0))
    ]
    result = run(sends, [*prints(100, 100, 98, 110, 107), *marks], "trade")
    assert "needed a price of 120 or above; the highest while it was there was 110." in words(result)
    assert result.explain("bt2").title.endswith("stop 90 (GTC, by the mark price)")
    assert words(result, 2).endswith("It was not triggered: it needed a mark price of 90 or below.")
    assert words(result, 3).endswith("It was not triggered: it needed an index price of 90 or below.")
    said = "its stop followed the mark price from 96 to 115, and it needed a mark price of 115 or below."
    assert words(result, 4).endswith(said)


def test_a_changed_limit_is_held_against_what_came_after() -> None:
    """The ask of 99 came while it stood at 97; at 98 the nearest was 101."""
    low = [trade(2, 99, 1), trade(6, 101, 1)]
    sends: Sends = [(1, "buy", {"qty": 1, "price": 97}), (4, "amend", {"number": 0, "price": 98})]
    said = words(run(sends, [*prints(101)[:1], *low, trade(20, 101, 1)], "trade"))
    assert "It needed a price below 98; the lowest while it was there was 101." in said


def test_a_candle_that_was_open_before_the_order_does_not_count() -> None:
    """The wick to 95 of the candle in which it arrived."""
    result = run([(4, "buy", {"qty": 1, "price": 96, "tag": "late"})], candles(), "candle", latency_ms=1_000)
    order = result.explain("bt1")
    assert "It needed a price below 96; the lowest while it was there was 100." in "\n".join(order.words)


def test_a_triggered_limit_that_took_stood_in_no_queue() -> None:
    """Though its limit was behind the display."""
    sends: Sends = [(1, "buy", {"qty": 1, "stop_price": 103, "price": 130})]
    said = words(run(sends, books(trade(3, 103, 1, Side.BUY), book(4, 100, 101))))
    assert "Filled 1 at 101 as taker" in said
    assert "not known" not in said


# Prices and sizes -----------------------------------------------------------------------------------------------------


def test_slippage_says_what_was_traded() -> None:
    """On a trade, at an open, at a trigger within a range, beyond it at the open; as far as a limit."""
    rows = prints(100, 100, 100)
    sends: Sends = [(1, "buy", {"qty": 1}), (1, "buy", {"qty": 1, "price": 101, "time_in_force": "IOC"})]
    result = run(sends, rows, "trade", slippage_bps=300)
    assert "Filled 1 at 103 as taker" in words(result)
    assert "next trade; that is 100 made worse by the slippage, bps:300." in words(result)
    assert "that is 100 made worse by the slippage, bps:300, as far as its limit." in words(result, 2)
    bars: Sends = [
        (1, "buy", {"qty": 1}),
        (1, "sell", {"qty": 1, "stop_price": 98}),
        (1, "buy", {"qty": 1, "price": 98}),
        (4, "sell", {"qty": 1, "take_profit_price": 105}),
    ]
    on_bars = run(bars, candles(), "candle", slippage="bps:100")
    assert "candle open; that is 104 made worse by the slippage, bps:100." in words(on_bars)
    assert "candle range reached the stop; that is 98 made worse by the slippage, bps:100." in words(on_bars, 2)
    assert "slippage" not in words(on_bars, 3)
    assert "candle range reached the take profit; that is 105 made worse by the slippage" in words(on_bars, 4)
    assert "slippage" not in words(run(sends, rows, "trade"))


def test_a_range_that_opens_beyond_the_trigger_fills_at_its_open() -> None:
    """Where no open was told apart."""
    sends: Sends = [(1, "sell", {"qty": 1, "stop_price": 103})]
    gap = [_bar(minute, 104 if minute < 3 else 101) for minute in range(6)]
    assert "that is 101 made worse by the slippage, bps:200." in words(run(sends, gap, "candle", slippage_bps=200))


def _bar(minute: int, price: float) -> Candle:
    opened = at(60 * minute)
    closed = opened + NS_PER_MIN
    return Candle(BTC.id, closed, closed, opened, closed, price, price, price, price, 50.0, "1m")


def test_a_capped_fill_says_so() -> None:
    """And a limit that was passed with nothing left for it; not the last part, which is whole."""
    result = run([(1, "buy", {"qty": 3})], prints(100, 100, 100, 100), "trade", max_share=0.5)
    first, last = (line for line in words(result).splitlines() if line.startswith("Filled"))
    assert first.startswith("Filled 2 at 100")
    assert first.endswith("next trade; max_share 0.5 lets our orders have no more of the row's volume.")
    assert last.endswith("next trade.")
    passed = [trade(0, 100, 4), trade(3, 98, 1), trade(20, 100, 4)]
    said = words(run([(1, "buy", {"qty": 3, "price": 99})], passed, "trade", max_share=0.5))
    assert "It needed a price below 99, with more volume than max_share 0.5 left to it; the lowest" in said
    own = [trade(0, 100, 4), trade(3, 98, 1, Side.BUY), trade(20, 100, 4)]
    said = words(run([(1, "buy", {"qty": 3, "price": 99})], own, "trade", own_side_prints=False))
    assert "It needed a price below 99, traded by the other side; the lowest while it was there was 98." in said


def test_a_size_that_was_cut_is_told() -> None:
    """By the order's own note."""
    result = run([(1, "target_pct", {"fraction": 3})], prints(100, 100), "trade")
    assert result.explain("bt1").words[1] == ("Its size: target_pct 3: 3000 more wanted, as much as the account takes.")


# Margin ---------------------------------------------------------------------------------------------------------------


def margined(sends: Sends, *marks: tuple[float, float], **options: Any) -> Result:
    """Run on trades at 100 with marks at some seconds, 10x isolated on 100 USDT."""
    told = [Mark(BTC.id, at(second), at(second), price, "mark") for second, price in [(0, 100.0), *marks, (20, 100.0)]]
    options = {"margin": "isolated", "leverage": 10, "tiers": TIERS, "cash": {"USDT": 100}, **options}
    return run(sends, [*prints(100), *told], "trade", **options)


def test_a_liquidation_is_explained_at_its_moment() -> None:
    """By the mark that brought it about, not the trade of then; also what it cancels."""
    sends: Sends = [(1, "buy", {"qty": 50}), (3, "sell", {"qty": 1, "price": 150})]
    result = margined(sends, (7.5, 85.0))
    made = result.explain("liquidation1")
    assert made.words == [
        "Made by the exchange 2025-05-05T00:00:07.5Z, since the margin behind the position was used up.",
        "The market then: mark price 85.",
        "Filled 50 at 90 as taker at 2025-05-05T00:00:07.5Z: liquidation: -25 of margin left, 1.9125 required; "
        "the price leaves nothing of that margin, whatever the market was.",
    ]
    assert [(row.received_ns, row.what) for row in made.rows] == [(at(7.5), "filled")]
    ended = result.explain("bt2")
    assert "Cancelled at 2025-05-05T00:00:07.5Z: liquidation, the position was liquidated." in ended.words
    assert ended.rows[-1].received_ns == at(7.5)


def test_funding_counts_in_the_repetition() -> None:
    """It takes of the margin, so that the next mark liquidates."""
    paid = Funding(BTC.id, at(5), at(5), 0.06, at(4), True)
    rows = [*prints(100), paid, *(Mark(BTC.id, at(second), at(second), 96.0, "mark") for second in (0, 6, 20))]
    options = {"margin": "isolated", "leverage": 10, "tiers": TIERS, "cash": {"USDT": 100}}
    made = run([(1, "buy", {"qty": 50})], rows, "trade", **options).explain("liquidation1")
    assert made.words[0].startswith("Made by the exchange 2025-05-05T00:00:06Z")
    assert made.words[1] == "The market then: mark price 96."


def test_a_fill_that_the_account_cuts_is_not_said_to_be_capped() -> None:
    """The share of the row allowed more."""
    rows = prints(100, 100, 101, 102)
    said = words(run([(1, "buy", {"qty": 3})], rows, "trade", max_share=1.0, cash={"USDT": 30.5}, slippage_bps=300))
    assert "insufficient_margin" in said
    assert "max_share" not in said


def test_what_margin_refuses_is_told_in_its_words() -> None:
    """Other than in a run with max_leverage; the tiers too."""
    result = margined([(1, "buy", {"qty": 100}), (2, "buy", {"qty": 120})], leverage=10)
    assert "insufficient_margin, the initial margins and fees that it leads to would be beyond what" in words(result)
    assert "leverage_tier, no position tier allows a position of that size" in words(result, 2)
    assert any(said.endswith("trade less, or give a lower leverage") for said in result.warnings)
    alone = run([(1, "sell", {"qty": 1, "reduce_only": True})], books())
    assert any("give the opening order stop_loss= or take_profit=" in said for said in alone.warnings)
    plain = run([(1, "buy", {"qty": 9_999})], books())
    assert "insufficient_margin, the notional would be beyond the equity times max_leverage." in words(plain)


def test_an_order_of_a_leg_is_explained() -> None:
    """In long/short mode, where the fills of the other leg are others."""
    sends: Sends = [
        (1, "buy", {"qty": 2, "position_side": "long"}),
        (2, "sell", {"qty": 1, "position_side": "short"}),
        (3, "sell", {"qty": 1, "position_side": "long", "stop_price": 90}),
        (4, "buy", {"qty": 1, "position_side": "short", "price": 100}),
    ]
    result = run(sends, prints(100, 100), "trade", position_mode="long_short")
    assert result.explain("bt2").title == "Order bt2: sell 1 BTC-USDT-SWAP at the market (GTC, short leg)"
    assert "Filled 2 at 100 as taker" in words(result)
    assert "Filled 1 at 100 as taker" in words(result, 2)
    assert "it needed a price of 90 or below; the lowest while it was there was 100." in words(result, 3)
    assert "It needed a price below 100; the lowest while it was there was 100." in words(result, 4)


@pytest.mark.parametrize(
    "reason",
    [
        *("requested", "end_of_data", "expired", "oco", "position_closed", "reduce_only_trimmed"),
        *("reduce_only_displaced", "reduce_only_no_position", "reduce_only_position_closed", "already_triggered"),
        *("price_limit", "slippage", "self_trade", "liquidation", "leverage_tier", "post_only_would_take"),
        *("no_price", "below_min_qty", "insufficient_cash", "insufficient_margin", "bankrupt"),
    ],
)
def test_every_reason_of_the_simulated_exchange_has_words(reason: str) -> None:
    assert meaning_of(reason).startswith(f"{reason}, ")


# Saved ----------------------------------------------------------------------------------------------------------------

STRATEGY = """
import quantkit as qk

class Mine(qk.Strategy):
    def on_start(self):
        self.subscribe_trades("BTC-USDT-SWAP")
        self.every("1s")

    def on_timer(self, name):
        self.buy("BTC-USDT-SWAP", 3)
"""


@pytest.mark.parametrize(
    "options",
    [
        {"latency": "lognormal:20:120", "compute": "uniform:0.1:3", "slippage": "sqrt:1", "max_share": 0.5, "seed": 3},
        {"latency": qk.Latency.measured([1, 30, 70], "box"), "compute": qk.Latency.measured([2, 9], "file:mine")},
        {"latency_ms": 0, "slippage_bps": 5, "margin": "cross", "leverage": 3, "tiers": TIERS, "cash": {"USDT": 80}},
    ],
)
def test_a_saved_run_with_any_options_is_repeated(options: dict[str, Any], tmp_path: Path) -> None:
    """Each order is told as it was before saving."""
    store(tmp_path / "data", prints(100, 101, 100, 102))
    (tmp_path / "mine.py").write_text(STRATEGY)
    result = qk.backtest(str(tmp_path / "mine.py"), data=tmp_path / "data", **options)
    loaded = Result.load(result.save(tmp_path / "kept"))
    for order in ("bt1", "bt4"):
        assert str(loaded.explain(order)) == str(result.explain(order))
