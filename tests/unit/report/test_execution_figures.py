"""How well orders do: figures by hand, against slow loops over rows, and the same from a saved result."""

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_run import START_NS, SWAP
from msgspec.structs import replace
from oracle import execution as slow

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S
from quantkit.engine.outcome import OrderEvent
from quantkit.events import MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderState
from quantkit.report.execution import Execution
from quantkit.report.result import Result

ROOT = Path(__file__).parents[3]
BTC = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
COIN = Instrument("BTC-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="100", is_inverse=True)


class Quotes(qk.Strategy):
    """Bids 2 at 100 and offers 2 at 102 once, then buys at the market."""

    instrument: str = BTC.id

    def on_start(self) -> None:
        self.subscribe_tickers(self.instrument)
        self.seen = 0

    def on_ticker(self, ticker: Ticker) -> None:
        self.seen += 1
        if self.seen == 1:
            self.buy(self.instrument, 2, price=100)
            self.sell(self.instrument, 2, price=102)
        elif self.seen == 5:
            self.buy(self.instrument, 4)


def rows(instrument: Instrument = BTC) -> list[MarketEvent]:
    """Return two minutes of tickers, a second apart, the mid one higher every 10 s, and a sale that fills the bid."""
    events: list[MarketEvent] = []
    for second in range(121):
        ns, up = START_NS + second * NS_PER_S, second // 10
        events.append(Ticker(instrument.id, ns, ns, 100.0 + up, 3.0, 102.0 + up, 9.0))
    # The first and the last say that trades span the run.
    for offset_ns, price in ((0, 101.0), (2 * NS_PER_S + 1, 99.0), (120 * NS_PER_S, 113.0)):
        events.append(Trade(instrument.id, START_NS + offset_ns, START_NS + offset_ns, price, 1.0, Side.SELL, 1))
    return events


def run(instrument: Instrument = BTC, **options: Any) -> Result:
    options = {"cash": {"USDT": 100_000}, "latency_ms": 100, **options}
    feed = MemoryFeed(rows(instrument), [instrument])
    return qk.backtest(Quotes, data=feed, params={"instrument": instrument.id}, match_on="ticker", **options)


# By hand ------------------------------------------------------------------------------------------------------------


def test_a_run_by_hand() -> None:
    """Bid filled at 2 s, offer when the bid comes to 102 at 20 s, market order of the fifth ticker at 4.1 s."""
    result = run()
    told = [(fill.role, fill.side, fill.price, fill.qty) for fill in result.outcome.fills]
    assert told == [("maker", "buy", 100.0, 2.0), ("taker", "buy", 102.0, 4.0), ("maker", "sell", 102.0, 2.0)]
    execution = result.execution
    figures = execution.figures
    assert (figures["orders"], figures["accepted"], figures["fills"]) == (3, 3, 3)
    assert (figures["fill_ratio_pct"], figures["limit_fill_ratio_pct"], figures["filled_orders_pct"]) == (100, 100, 100)
    # Notionals 2 x 0.1 x 100 = 20, 4 x 0.1 x 102 = 40.8 and 20.4.
    assert figures["maker_share_pct"] == pytest.approx(100 * 40.4 / 81.2)
    # Accepted at 0.1 s; filled at 2 s and a nanosecond, and at 20 s.
    waits = [1.900000001, 19.9]
    assert execution.queue_times_s.tolist() == pytest.approx(waits)
    assert figures["queue_median_s"] == pytest.approx(sum(waits) / 2)
    assert figures["queue_p90_s"] == pytest.approx(waits[0] + 0.9 * (waits[1] - waits[0]))
    # Of 120 s the bid stood 1.9, the offer 19.9; both as long as the bid.
    assert execution.quotes.loc[BTC.id].tolist() == pytest.approx([1.900000001 / 120, 19.9 / 120, 1.900000001 / 120])
    assert figures["quoted_pct"] == pytest.approx(100 * 1.900000001 / 120)
    # The mid was 101 at both bids; before the offer filled it was 102 (of 19 s).
    assert execution.fills["reference"].tolist() == [101.0, 101.0, 102.0]
    assert execution.fills["spread_captured"].tolist() == pytest.approx([0.2, -0.4, 0.0])
    assert figures["spread_captured_bps"] == pytest.approx(1e4 * 0.2 / 40.4)
    assert figures["taker_spread_bps"] == pytest.approx(-1e4 * 0.4 / 40.8)
    # After 5 s: the bid's mid is 101 (7 s), the offer's 103 (25 s). Money 0.2 and -0.2, nothing together.
    assert execution.fills["reference_5s"].tolist() == [101.0, 101.0, 103.0]
    assert execution.fills["markout_5s"].tolist() == pytest.approx([0.2, -0.4, -0.2])
    assert figures["markout_5s_bps"] == pytest.approx(0.0)
    assert figures["adverse_5s_bps"] == pytest.approx(1e4 * 0.2 / 40.4)
    # After 60 s: 107 (62 s), 107 (64 s), 109 (80 s).
    assert execution.fills["markout_60s"].tolist() == pytest.approx([1.4, 2.0, -1.4])
    assert figures["taker_markout_60s_bps"] == pytest.approx(1e4 * 2.0 / 40.8)
    # Held 0 until 2 s, 2 until 4.1 or the row after it, 6 until 20 s, 4 to the end.
    filled_s = [(fill.filled_ns - START_NS) / 1e9 for fill in result.outcome.fills]
    held = execution.inventory.loc[BTC.id]["share"]
    assert held.index.tolist() == [0.0, 2.0, 4.0, 6.0]
    lasts = [filled_s[0], filled_s[1] - filled_s[0], 120 - filled_s[2], filled_s[2] - filled_s[1]]
    assert held.tolist() == pytest.approx([each / 120 for each in lasts])
    assert execution.missing == []
    assert repr(execution) == "<Execution 3 fills of 3 orders, 50 % maker, quoted 2 % of the time>"


def test_an_inverse_contract_counts_in_coins() -> None:
    """A size of 100 USD is worth 100 / price coins; a coin is worth its last mark."""
    result = run(COIN, cash={"BTC": 100})
    execution = result.execution
    money = 2 * 100 * (1 / 100 - 1 / 101)
    assert execution.fills["spread_captured"].iloc[0] == pytest.approx(money)
    assert execution.fills["notional"].iloc[0] == pytest.approx(2.0)
    assert execution.fills["spread_captured_bps"].iloc[0] == pytest.approx(1e4 * money / 2.0)


def test_a_currency_without_a_rate_has_no_sums() -> None:
    """It is said, and nothing is counted."""
    result = run(COIN, cash={"BTC": 100})
    outcome = result.outcome
    foreign = Execution(replace(outcome, report_currency="EUR"), result.instruments, result.prices)
    assert foreign.figures["maker_share_pct"] is None
    assert foreign.figures["markout_5s_bps"] is None
    assert foreign.markouts["fills"].tolist() == [0] * 8
    assert foreign.missing == ["BTC cannot be counted in EUR, as no instrument of the run converts it"]


def test_a_fill_before_any_price_has_no_spread() -> None:
    """A horizon that has one still counts, without a spread beside it."""
    result = run()
    early = [*result.outcome.fills]
    early[0] = replace(early[0], revealed_ns=START_NS)
    execution = Execution(replace(result.outcome, fills=early), result.instruments, result.prices)
    assert math.isnan(execution.fills["reference"].iloc[0])
    assert execution.markouts.loc[("maker", 5.0), "fills"] == 2
    assert math.isnan(execution.markouts.loc[("maker", 5.0), "spread_bps"])
    assert execution.figures["adverse_5s_bps"] is None


def test_candles_have_no_mid_and_no_horizon_within_one() -> None:
    """A markout is from the fill to the first close that far behind it."""
    result = qk.backtest("ma_cross", data=ROOT / "data", start="2025-05-07", end="2025-05-14")
    execution = result.execution
    assert execution.fills["reference"].isna().all()
    assert execution.fills["reference_30s"].isna().all()
    prices = result.prices.rows(result.outcome.fills[0].instrument)
    for fill, later in zip(result.outcome.fills, execution.fills["reference_60s"], strict=True):
        assert later == prices.close[prices.time_ns.searchsorted(fill.revealed_ns + NS_PER_MIN, "right") - 1]
    figures = execution.figures
    assert (figures["queue_median_s"], figures["quoted_pct"], figures["spread_captured_bps"]) == (None, None, None)
    assert figures["taker_markout_60s_bps"] is not None
    assert "%" not in repr(execution)


def test_a_run_without_fills_has_no_figures(blank_result: Result) -> None:
    """Counts are 0, everything else None, tables empty."""
    execution = blank_result.execution
    figures = {key: value for key, value in execution.figures.items() if value is not None}
    assert figures == {"orders": 0, "accepted": 0, "fills": 0}
    assert (len(execution.fills), len(execution.quotes), len(execution.inventory)) == (0, 0, 0)
    assert execution.markouts["fills"].sum() == 0
    assert repr(execution) == "<Execution 0 fills of 0 orders>"


def test_without_a_price_path_it_says_why(result: Result) -> None:
    """Figures of orders and fills stay."""
    execution = result.execution
    assert execution.figures["markout_60s_bps"] is None
    assert execution.figures["maker_share_pct"] == 0
    assert "has no price path to hold its fills against" in execution.missing[0]


def order(number: int, side: Side, *, filled: int, stop: int | None = None) -> Order:
    price = None if stop is None else 1.0
    return Order(
        id=f"h{number}", instrument=SWAP.id, side=side, qty=10, lots=10, filled_lots=filled, price=100.0,
        price_ticks=1000, stop_price=price, stop_ticks=stop,
    )  # fmt: skip


def test_orders_that_wait_for_a_trigger_and_refused_ones_quote_nothing(result_of: Callable[..., Result]) -> None:
    """An order without an end stands until the run's; half the size filled is half the ratio."""
    hour = 3600 * NS_PER_S
    orders = [
        order(1, Side.BUY, filled=5),
        order(2, Side.SELL, filled=0),
        order(3, Side.SELL, filled=0),
        order(4, Side.SELL, filled=0, stop=990),
    ]
    events = [
        OrderEvent("h1", START_NS + 12 * hour, 0, OrderState.ACCEPTED, ""),
        OrderEvent("h2", START_NS + 24 * hour, 0, OrderState.ACCEPTED, ""),
        OrderEvent("h3", START_NS, 0, OrderState.REJECTED, "post_only_would_take"),
        OrderEvent("h4", START_NS, 0, OrderState.ACCEPTED, ""),
        OrderEvent("h2", START_NS + 36 * hour, 0, OrderState.CANCELLED, "requested"),
    ]
    execution = result_of(orders=orders, order_events=events, fills=[]).execution
    assert execution.quotes.loc[SWAP.id].tolist() == pytest.approx([60 / 72, 12 / 72, 12 / 72])
    assert execution.figures["accepted"] == 3
    assert execution.figures["fill_ratio_pct"] == pytest.approx(100 * 0.5 / 3)
    assert execution.figures["limit_fill_ratio_pct"] == pytest.approx(25.0)
    assert execution.figures["filled_orders_pct"] == pytest.approx(100 / 3)


def test_a_run_of_no_length_has_no_shares_of_time(result_of: Callable[..., Result]) -> None:
    events = [OrderEvent("h1", START_NS, 0, OrderState.ACCEPTED, "")]
    result = result_of(orders=[order(1, Side.BUY, filled=0)], order_events=events, end_ns=START_NS)
    assert result.execution.quotes.loc[SWAP.id].tolist() == [0, 0, 0]
    assert result.execution.inventory["share"].sum() == 0


def test_many_sizes_share_bars_around_multiples(result_of: Callable[..., Result]) -> None:
    """Zero is in the middle of one; all shares together are 1."""
    base = result_of().outcome.fills[0]
    fills = [
        replace(base, id=n, side=Side.BUY if n % 3 else Side.SELL, lots=n, qty=SWAP.qty(n), value=Decimal(1),
                filled_ns=START_NS + n * NS_PER_MIN)
        for n in range(1, 60)
    ]  # fmt: skip
    execution = result_of(fills=fills).execution
    (held,) = execution.inventories
    assert held.shares.sum() == pytest.approx(1)
    assert len(held.qtys) <= 42
    assert 0.0 in held.qtys
    lots = np.cumsum([fill.signed_lots for fill in fills])
    assert held.width == SWAP.qty(20)
    assert held.qtys[-1] - held.width / 2 <= lots.max() < held.qtys[-1] + held.width / 2


# Against slow loops ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quoted() -> Result:
    return qk.backtest("quoter", data=ROOT / "data", end="2024-08-08T23:56:00Z", queue_model="power:2", latency_ms=5)


def check(result: Result) -> None:
    """Compare every figure with the slow ones."""
    execution, outcome = result.execution, result.outcome
    (name,) = {fill.instrument for fill in outcome.fills}
    instrument, rows = result.instruments[name], result.prices.rows(name)
    path = list(zip(rows.time_ns.tolist(), rows.close.tolist(), strict=True))
    interval = rows.interval_ns if rows.is_candles else None
    wanted = slow.markouts(outcome.fills, instrument, path, outcome.end_ns, interval=interval)
    for row in execution.markout_rows:
        count, money, bps, adverse = wanted[row.role, int(row.horizon_s)]
        assert row.fills == count
        assert row.money == pytest.approx(money)
        assert (row.bps is None and math.isnan(bps)) or row.bps == pytest.approx(bps)
        assert row.adverse_bps == (adverse if adverse is None else pytest.approx(adverse, abs=1e-9))
    assert execution.queue_times_s.tolist() == pytest.approx(slow.queue_times(outcome))
    for uptime in execution.quote_uptimes:
        assert uptime[1:] == pytest.approx(slow.uptime(outcome, uptime.instrument))
    (held,) = execution.inventories
    own = slow.inventory(outcome, name)
    shares = {instrument.lots(qty): share for qty, share in zip(held.qtys, held.shares, strict=True) if share}
    assert shares == pytest.approx(own)


def test_a_quoter_has_the_figures_of_the_loops(quoted: Result) -> None:
    """On the book, in milliseconds."""
    assert len(quoted.outcome.fills) > 15
    assert len(quoted.execution.queue_times_s) > 5
    check(quoted)


def test_candles_have_the_figures_of_the_loops() -> None:
    check(qk.backtest("ma_cross", data=ROOT / "data", start="2025-05-07", end="2025-05-09"))


# Kept ----------------------------------------------------------------------------------------------------------------


def test_a_saved_result_has_the_same_figures(quoted: Result, tmp_path: Path) -> None:
    """To the last bit, from its own price path."""
    loaded = Result.load(quoted.save(tmp_path / "kept"))
    assert loaded.execution.figures == quoted.execution.figures
    assert loaded.execution.fills.equals(quoted.execution.fills)
    assert loaded.execution.inventory.equals(quoted.execution.inventory)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.4.0"])
def test_results_of_older_versions_have_what_they_kept(version: str) -> None:
    """Figures of orders and fills; of prices where they kept a path, else the reason."""
    execution = Result.load(ROOT / "tests" / "data" / "saved" / version).execution
    assert (execution.figures["fills"], execution.figures["accepted"]) == (22, 28)
    has_prices = execution.figures["taker_markout_60s_bps"] is not None
    assert has_prices is not bool(execution.missing)
