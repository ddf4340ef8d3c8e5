"""The equity curve against an account that is computed from fills and prices alone, at the very moments of the grid."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.engine.outcome import Outcome
from quantkit.events import BookUpdate, Candle, Funding, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.report.digest import result_hash
from quantkit.simulated import simulated_run

START_NS = time_ns_of("2026-01-01")
SPOT = Instrument("AAA-USD", price_step="0.01", qty_step="0.001")
SWAP = Instrument("AAA-USD-SWAP", kind="swap", price_step="0.01", qty_step="1", contract_value="0.01")


def frame(interval: str, rows: int, seed: int) -> pd.DataFrame:
    """Return a random walk of candles whose opens differ from the closes before them."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
    open_ = close * np.exp(random.normal(0, 0.01, rows))
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    index = pd.date_range("2026-01-01", periods=rows, freq=pd.Timedelta(INTERVALS[interval]), tz="UTC")
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": 1.0}, index=index).round(2)


class Dice(qk.Strategy):
    """Moves at random and notes what the account is worth in every hook."""

    instrument: str
    interval: str
    limits: bool = False

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval)
        self.worth: dict[int, float] = {}

    def on_candle(self, candle: Candle) -> None:
        self.worth[self.now] = float(self.portfolio.equity or 0)
        qty = float(self.rng.integers(0, 4))
        if self.limits and self.rng.random() < 0.5:
            self.cancel_all(self.instrument)
            if self.position(self.instrument):
                self.sell(self.instrument, self.position(self.instrument), price=candle.close * 1.004)
            else:
                self.buy(self.instrument, 1 + qty, price=candle.close * 0.996)
        elif not self.limits and self.rng.random() < 0.3:
            self.target(self.instrument, qty)


def curve_rows(outcome: Outcome) -> dict[int, float]:
    """Return the rows of the grid."""
    curve = outcome.curve
    return dict(zip(curve.time_ns[curve.is_grid].tolist(), curve.equity[curve.is_grid].tolist(), strict=True))


def account_before(result: qk.Result, instrument: Instrument, at_ns: int, close: float) -> Decimal:
    """Return what the account is worth at a close, before whatever is filled at that moment: no code of the report."""
    cash, unit = Decimal(10_000), instrument.contract_value * instrument.contract_multiplier
    held, cost = Decimal(0), Decimal(0)
    for fill in result.outcome.fills:
        if fill.filled_ns < at_ns:
            sign = 1 if fill.side is Side.BUY else -1
            held += sign * Decimal(str(fill.qty))
            cost += sign * Decimal(str(fill.qty)) * Decimal(str(fill.price)) * unit
            cash -= Decimal(str(fill.fee))
    return cash - cost + held * unit * Decimal(str(close))


@pytest.mark.parametrize("instrument", [SPOT, SWAP], ids=["spot", "swap"])
@pytest.mark.parametrize(("interval", "rows"), [("1m", 3000), ("1h", 400), ("4h", 200), ("1d", 120)])
def test_the_grid_shows_what_fills_and_prices_give(instrument: Instrument, interval: str, rows: int) -> None:
    """At every close the curve, the hook of that candle and a computation of its own agree; so do the daily returns."""
    bars = frame(interval, rows, seed=rows)
    strategy = Dice(instrument=instrument.id, interval=interval)
    result = qk.backtest(
        strategy,
        data={instrument.id: bars},
        instruments=[instrument],
        cash={"USD": 10_000},
        fees=Fees(taker_bps=7),
        equity_every=interval,
        max_leverage=10,
    )
    assert len(result.outcome.fills) > 20
    grid = curve_rows(result.outcome)
    step_ns = INTERVALS[interval]
    closes = dict(zip((bars.index.as_unit("ns").asi8 + step_ns).tolist(), bars["close"].tolist(), strict=True))
    assert list(grid) == list(closes)
    for at_ns, close in closes.items():
        assert grid[at_ns] == pytest.approx(float(account_before(result, instrument, at_ns, close)), rel=1e-12)
        assert grid[at_ns] == pytest.approx(strategy.worth[at_ns], rel=1e-12)
    midnights = [at for at in closes if at % NS_PER_DAY == 0]
    worth = [10_000.0, *(float(account_before(result, instrument, at, closes[at])) for at in midnights)]
    if midnights[-1] != result.outcome.end_ns:
        worth.append(float(result.outcome.equity))
    assert result.returns.to_numpy() == pytest.approx(np.diff(worth) / worth[:-1], abs=1e-12)


def test_fills_within_a_candle_are_in_the_row_of_its_close() -> None:
    """The hook sees them, and so does the grid; only what fills at the next open comes after."""
    strategy = Dice(instrument=SPOT.id, interval="1m", limits=True)
    bars = frame("1m", 2000, seed=8)
    result = qk.backtest(
        strategy, data={SPOT.id: bars}, instruments=[SPOT], cash={"USD": 10_000}, fees=Fees(maker_bps=2, taker_bps=5)
    )
    assert sum(fill.role == "maker" for fill in result.outcome.fills) > 30
    assert curve_rows(result.outcome) == pytest.approx(strategy.worth, rel=1e-12)


def test_buying_and_holding_returns_what_the_instrument_does() -> None:
    """Day by day: the correlation is 1, on the day itself."""
    bars = frame("1d", 90, seed=3)

    class Hold(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_candles(SPOT.id, "1d")

        def on_candle(self, candle: Candle) -> None:
            if not self.position(SPOT.id):
                self.buy(SPOT.id, 90)

    result = qk.backtest(
        Hold(), data={SPOT.id: bars}, instruments=[SPOT], cash={"USD": 10_000}, fees=Fees(), equity_every="1d"
    )
    # The first day has no position, the second begins with the fill at its open.
    ours, theirs = result.returns.iloc[2:], bars["close"].pct_change().iloc[2:]
    assert list(ours.index) == list(theirs.index)
    assert np.corrcoef(ours * result.equity["equity"].shift().dropna().iloc[-1], theirs)[0, 1] > 0.999
    change = result.returns * pd.Series(
        [10_000.0, *curve_rows(result.outcome).values()][:-1], index=result.returns.index
    )
    assert np.corrcoef(change.iloc[2:], bars["close"].diff().iloc[2:])[0, 1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("every", ["7h", "168h", "1d", "1h"])
def test_every_midnight_has_a_row(every: str) -> None:
    """Whatever grid is asked for: daily returns are taken between midnights."""
    bars = frame("1h", 24 * 9 + 5, seed=1)
    runs = [
        qk.backtest(
            Dice(instrument=SPOT.id, interval="1h"),
            data={SPOT.id: bars},
            instruments=[SPOT],
            cash={"USD": 10_000},
            equity_every=grid,
        )
        for grid in (every, "1h")
    ]
    assert len(runs[0].outcome.fills) > 20
    assert runs[0].returns.tolist() == runs[1].returns.tolist()
    assert {START_NS + day * NS_PER_DAY for day in range(1, 10)} <= set(curve_rows(runs[0].outcome))


# Many rows of one stamp ---------------------------------------------------------------------------------------------


class At(qk.Strategy):
    """Calls what it is given at its n-th hook of a kind."""

    def __init__(self, kinds: str, acts: dict[int, Any]) -> None:
        super().__init__()
        self._kinds, self._acts, self._seen = kinds.split(), acts, 0

    def on_start(self) -> None:
        for kind in self._kinds:
            if kind == "candles":
                self.subscribe_candles(SWAP.id, "1m")
            else:
                getattr(self, f"subscribe_{kind}")(SWAP.id)

    def _act(self, _: object) -> None:
        self._seen += 1
        if self._seen in self._acts:
            self._acts[self._seen](self)

    on_candle = on_trade = on_book = _act


def ways(events: list[MarketEvent], strategy: Any, **options: Any) -> Iterator[Outcome]:
    """Run in every way there is to cut and to search."""
    for block_rows in (1, 2, 131_072):
        for search in (True, False):
            config = RunOptions(**{"fees": Fees(), "max_leverage": 50, "search": search, **options})
            yield simulated_run(MemoryFeed(events, [SWAP], block_rows=block_rows), strategy(), config).run()


def test_several_rows_and_fills_at_the_grid_moment() -> None:
    """Two orders filled at a minute's first trade, two more trades of that stamp: the row has the last and no fill."""
    minute_ns = START_NS + NS_PER_MIN
    prices = [(START_NS, 100.0), (minute_ns - NS_PER_S, 110.0)]
    prices += [(minute_ns, 120.0), (minute_ns, 90.0), (minute_ns, 130.0), (minute_ns + NS_PER_S, 140.0)]
    events: list[MarketEvent] = [
        Trade(SWAP.id, at_ns, at_ns, price, 1.0, Side.BUY) for at_ns, price in [(START_NS - 1, 100.0), *prices]
    ]
    acts = {
        1: lambda strategy: strategy.buy(SWAP.id, 100),
        3: lambda strategy: (strategy.sell(SWAP.id, 50), strategy.sell(SWAP.id, 50)),
    }
    for outcome in ways(events, lambda: At("trades", acts), cash={"USD": 1_000}):
        at = outcome.curve.time_ns == minute_ns
        assert outcome.curve.is_grid[at].tolist() == [True, False, False]
        # Bought at 110, sold at 120; the mark before those fills is 110.
        assert outcome.curve.equity[at].tolist() == [1_020.0, 1_005.0, 1_010.0]
        assert outcome.curve.drawdown[at] == pytest.approx([0.0, 1_005 / 1_020 - 1, 1_010 / 1_020 - 1])
        assert outcome.curve.exposure[at] == pytest.approx([130 / 1_020, 55 / 1_005, 0.0])


def test_funding_of_a_moment_comes_after_its_row() -> None:
    """As the candle's hook sees it, which comes before the charge."""
    events: list[MarketEvent] = []
    for number in range(5):
        open_ns = START_NS + number * NS_PER_MIN
        close_ns = open_ns + NS_PER_MIN
        events.append(Candle(SWAP.id, close_ns, close_ns, open_ns, close_ns, *(4 * [100.0]), 1.0, "1m"))
    boundary_ns = START_NS + 3 * NS_PER_MIN
    events.append(Funding(SWAP.id, boundary_ns, boundary_ns, 0.5, boundary_ns, True))
    for outcome in ways(events, lambda: At("candles", {1: lambda strategy: strategy.buy(SWAP.id, 10)})):
        grid = curve_rows(outcome)
        assert grid[boundary_ns] == 10_000.0
        assert grid[boundary_ns + NS_PER_MIN] == 9_995.0


def test_a_book_that_changes_on_at_the_moment_of_a_fill() -> None:
    """Its mid after all rows of the stamp values the row, though they are taken one by one after the fill."""
    minute_ns = START_NS + NS_PER_MIN

    def book(at_ns: int, bid: float, ask: float, *, whole: bool = True) -> MarketEvent:
        return BookUpdate(SWAP.id, at_ns, at_ns, (bid,), (900.0,), (ask,), (900.0,), whole)

    events = [book(START_NS, 99.0, 101.0), book(START_NS + NS_PER_S, 99.0, 101.0)]
    events += [book(minute_ns, 109.0, 111.0), book(minute_ns, 119.0, 121.0), book(minute_ns + 1, 119.0, 121.0)]
    acts = {1: lambda strategy: (strategy.buy(SWAP.id, 100), strategy.sell(SWAP.id, 100, price=105))}
    for outcome in ways(events, lambda: At("book", acts), cash={"USD": 1_000}):
        at = outcome.curve.time_ns == minute_ns
        assert outcome.curve.is_grid[at].tolist() == [True, False]
        assert outcome.curve.equity[at].tolist() == [1_019.0, 1_004.0]


def test_a_saved_result_keeps_the_rows_of_the_grid(tmp_path: Path) -> None:
    """Its daily returns are those of the run, where fills share the midnights."""
    bars = frame("1d", 60, seed=5)
    options: dict[str, Any] = {"instruments": [SPOT], "cash": {"USD": 10_000}, "equity_every": "1d"}
    result = qk.backtest(Dice(instrument=SPOT.id, interval="1d"), data={SPOT.id: bars}, **options)
    loaded = qk.Result.load(result.save(tmp_path / "run"))
    assert loaded.outcome.curve.is_grid.tolist() == result.outcome.curve.is_grid.tolist()
    assert loaded.returns.tolist() == result.returns.tolist()
    assert loaded.hash == result.hash
    # Results of 0.1.0 do not tell which rows are the grid's.
    bare = msgspec.structs.replace(result.outcome.curve, is_grid=np.empty(0, np.bool_))
    older = qk.Result(msgspec.structs.replace(result.outcome, curve=bare), result.config, result.instruments)
    again = qk.Result.load(older.save(tmp_path / "older"))
    assert not len(again.outcome.curve.is_grid)
    assert again.hash == older.hash != result.hash
    first = "quantkit-result-1"
    assert result_hash(again.outcome, first) == result_hash(result.outcome, first)
    assert len(again.returns) == len(result.returns)
