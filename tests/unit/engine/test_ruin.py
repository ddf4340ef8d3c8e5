"""When an account has nothing left: after the row's own fills, at any block size, holding something or not."""

from typing import Any

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S
from quantkit.engine import loop
from quantkit.engine.outcome import Outcome
from quantkit.events import Candle, Funding, Gap, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run

SWAP = qk.Instrument("X-USDT", kind="swap", price_step="1", qty_step="1")
FREE = qk.Fees()


class Guarded(qk.Strategy):
    """Goes long at the first candle, with a stop below."""

    qty: float
    stop: float

    def on_start(self) -> None:
        self.subscribe_candles(SWAP.id, "1m")

    def on_candle(self, candle: qk.Candle) -> None:
        if self.position(SWAP.id) == 0 and not self.open_orders():
            self.buy(SWAP.id, self.qty)

    def on_fill(self, fill: qk.Fill) -> None:
        if fill.side is qk.Side.BUY and self.stop:
            self.sell(SWAP.id, fill.qty, stop_price=self.stop, reduce_only=True)


def candles(*rows: tuple[float, float, float, float]) -> list[MarketEvent]:
    """Return one candle a minute: open, high, low, close."""
    return [
        Candle(SWAP.id, at + NS_PER_MIN, at + NS_PER_MIN, at, at + NS_PER_MIN, *row, 1000.0, "1m")
        for at, row in ((number * NS_PER_MIN, row) for number, row in enumerate(rows))
    ]


def run(events: list[MarketEvent], strategy: qk.Strategy, *, block_rows: int = 1000, **options: Any) -> Outcome:
    """Run with 10,000 and no fees."""
    config = RunOptions(**{"cash": {"USDT": 10_000}, "fees": FREE, **options})
    return simulated_run(MemoryFeed(events, [SWAP], block_rows=block_rows), strategy, config).run()


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("close", [90, 75, 60])
def test_a_stop_within_the_candle_comes_before_its_close(close: float, *, search: bool) -> None:
    """Five times the equity, out at 95: however deep the candle closes, the loss is that of the stop."""
    events = candles((100, 100, 100, 100), (100, 101, close - 1, close), (close, close, close, close))
    outcome = run(events, Guarded(qty=500, stop=95), max_leverage=5, search=search)
    assert [fill.price for fill in outcome.fills[:2]] == [100.0, 95.0]
    assert outcome.ended == "completed"
    assert outcome.curve.drawdown.min() == pytest.approx(-0.25)
    assert outcome.excursions[0].low == 95.0


@pytest.mark.parametrize("search", [True, False])
def test_without_a_stop_the_close_ends_the_run(*, search: bool) -> None:
    """At the candle that ruins the account, with the orders that were open cancelled."""
    events = candles((100, 100, 100, 100), (100, 101, 74, 75), (75, 75, 75, 75), (75, 75, 75, 75))
    outcome = run(events, Guarded(qty=500, stop=0), max_leverage=5, search=search)
    assert (outcome.ended, outcome.end_ns) == ("bankrupt", 2 * NS_PER_MIN)
    assert float(outcome.equity) == -2500.0


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_rows_behind_the_end_are_not_counted(block_rows: int) -> None:
    """Whatever came in one batch with the row that ruined the account, of this stream or another."""
    events = candles((100, 100, 100, 100), (100, 101, 74, 75), (75, 75, 75, 75), (75, 75, 75, 75))
    later: list[MarketEvent] = [
        Gap(SWAP.id, at, at, "trade", at - 1, at, "lost") for at in (NS_PER_MIN, 3 * NS_PER_MIN)
    ]
    outcome = run([*events, *later], Guarded(qty=500, stop=0), max_leverage=5, block_rows=block_rows)
    assert (outcome.ended, outcome.end_ns) == ("bankrupt", 2 * NS_PER_MIN)
    assert outcome.rows == {"X-USDT candle 1m": 2, "X-USDT candle_open 1m": 3, "X-USDT gap": 1}


class Stopping(Guarded):
    """Has a slip in its last hook."""

    def on_stop(self) -> None:
        raise RuntimeError("no more")


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_a_slip_in_the_last_hook_after_the_ruin_changes_no_count(block_rows: int) -> None:
    """Rows behind the end are left out once, also of a stream that has none before it."""
    events = candles((100, 100, 100, 100), (100, 101, 74, 75), (75, 75, 75, 75), (75, 75, 75, 75))
    gap = Gap(SWAP.id, 3 * NS_PER_MIN, 3 * NS_PER_MIN, "trade", 0, 1, "lost")
    config = RunOptions(cash={"USDT": 10_000}, fees=FREE, max_leverage=5)
    engine = simulated_run(MemoryFeed([*events, gap], [SWAP], block_rows=block_rows), Stopping(qty=500, stop=0), config)
    with pytest.raises(qk.StrategyError, match="no more") as caught:
        engine.run()
    outcome = engine.partial_result(caught.value)
    assert outcome is not None
    assert (outcome.ended, outcome.end_ns, float(outcome.equity)) == ("strategy_error", 2 * NS_PER_MIN, -2500.0)
    assert outcome.rows == {"X-USDT candle 1m": 2, "X-USDT candle_open 1m": 3}


class Slipping(qk.Strategy):
    """Buys one at the first trade, and has a slip at the thirtieth."""

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)
        self.count = 0

    def on_trade(self, trade: qk.Trade) -> None:
        self.count += 1
        if self.count == 1:
            self.buy(SWAP.id, 1)
        if self.count == 30:
            self.instrument_info("Y-USDT")


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("block_rows", [1, 2, 7, 1000])
def test_what_a_hook_leaves_is_valued_where_it_raised(block_rows: int, *, search: bool) -> None:
    """At the row that the hook was given, wherever in its batch that stands."""
    events: list[MarketEvent] = [
        Trade(SWAP.id, number * NS_PER_S, number * NS_PER_S, 100.0 + number, 1.0, qk.Side.BUY, number)
        for number in range(1, 61)
    ]
    config = RunOptions(cash={"USDT": 10_000}, fees=FREE, latency_ns=0, search=search)
    engine = simulated_run(MemoryFeed(events, [SWAP], block_rows=block_rows), Slipping(), config)
    with pytest.raises(qk.StrategyError, match="Y-USDT is not there") as caught:
        engine.run()
    outcome = engine.partial_result(caught.value)
    assert outcome is not None
    assert (outcome.end_ns, outcome.rows) == (30 * NS_PER_S, {"X-USDT trade": 30})
    assert outcome.position_mark == {SWAP.id: 130.0}
    assert float(outcome.equity) == outcome.curve.equity[-1] == 10_028.0


def test_a_stop_filled_far_below_ends_a_flat_account_too() -> None:
    """Gapped through its stop, the account owes money: it must not go on."""
    events = candles((100, 100, 100, 100), (100, 101, 99, 100), (70, 71, 69, 70), (70, 70, 70, 70))
    outcome = run(events, Guarded(qty=500, stop=95), max_leverage=5)
    assert outcome.fills[-1].price == 70.0
    assert (outcome.ended, float(outcome.equity)) == ("bankrupt", -5000.0)


@pytest.mark.parametrize("block_rows", [1, 2, 3, 1000])
def test_funding_that_takes_everything_ends_the_run_at_once(block_rows: int) -> None:
    """At the settlement itself, however the rows are cut."""
    rows = candles(*[(100, 100, 100, 100)] * 8)
    at = 4 * NS_PER_MIN + NS_PER_S
    rows.append(Funding(SWAP.id, at, at, 0.25, at, True))
    outcome = run(rows, Guarded(qty=500, stop=0), max_leverage=5, block_rows=block_rows)
    assert (outcome.ended, outcome.end_ns) == ("bankrupt", at)
    assert float(outcome.equity) == -2500.0


class Ticks(qk.Strategy):
    """Counts seconds beside trades that it does not hook."""

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)
        self.every("1s")
        self.count = 0

    def on_timer(self, name: str) -> None:
        self.count += 1


def test_timers_between_unhooked_rows_are_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only wake-ups between two rows count against the bound."""
    monkeypatch.setattr(loop, "_MAX_WAKEUPS", 15)
    trades: list[MarketEvent] = [
        Trade(SWAP.id, at * NS_PER_S, at * NS_PER_S, 100.0, 1.0, qk.Side.BUY) for at in range(0, 200, 10)
    ]
    ticks = Ticks()
    run(trades, ticks)
    assert ticks.count == 190
    monkeypatch.setattr(loop, "_MAX_WAKEUPS", 5)
    with pytest.raises(qk.StrategyError, match="and no row between"):
        run(trades, Ticks())
