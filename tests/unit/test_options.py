"""Options as numbers of every kind that people have at hand, and the time and metadata that `on_start` sees."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError
from quantkit.events import Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side, decimal_of
from quantkit.portfolio import Portfolio
from quantkit.strategy import Strategy

BTC = "BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01")


def versions() -> list[Instrument]:
    """A contract whose smallest order grows after three minutes."""
    fields: dict[str, Any] = {"kind": "swap", "price_step": "0.1", "qty_step": "0.01"}
    later = START_NS + 3 * NS_PER_MIN
    return [
        Instrument(BTC, **fields, min_qty="0.01"),
        Instrument(BTC, **fields, min_qty="0.5", valid_from_ns=later),
    ]


def feed() -> MemoryFeed:
    """Six minutes of trades."""
    stamps = [START_NS + n * NS_PER_S for n in range(360)]
    rows = [Trade(BTC, at, at, 100.0 + n % 5, 1.0, Side.BUY, n) for n, at in enumerate(stamps)]
    return MemoryFeed(rows, versions())


class Starts(Strategy):
    """Notes what is there in `on_start`."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)
        self.began_ns = self.now
        self.least = float(self.instrument_info(BTC).min_qty)
        self.at(self.now + NS_PER_S, "soon")
        self.rang: list[int] = []

    def on_timer(self, name: str) -> None:
        self.rang.append(self.now)


def test_on_start_sees_the_start_that_was_given_and_the_metadata_of_then() -> None:
    """A timer set by `now` runs, and a minimum of later is not known."""
    strategy = Starts()
    start_ns = START_NS + NS_PER_MIN
    qk.backtest(strategy, data=feed(), start=start_ns, end=START_NS + 5 * NS_PER_MIN)
    assert (strategy.began_ns, strategy.least) == (start_ns, 0.01)
    assert strategy.rang == [start_ns + NS_PER_S]


def test_on_start_of_a_run_after_the_change_sees_what_holds_then() -> None:
    """And without a start, what held first."""
    strategy, first = Starts(), Starts()
    qk.backtest(strategy, data=feed(), start=START_NS + 4 * NS_PER_MIN)
    assert strategy.least == 0.5
    qk.backtest(first, data=feed())
    assert (first.began_ns, first.least) == (START_NS, 0.01)


def test_numbers_of_every_kind_give_one_result(tmp_path: Path) -> None:
    """Whole numbers, decimals and numpy's, also saved and loaded."""

    class Trades(Strategy):
        """Turns its position every minute."""

        def on_start(self) -> None:
            self.subscribe_trades(BTC)
            self.every("1m")

        def on_timer(self, name: str) -> None:
            self.target(BTC, 1.0 if self.position(BTC) <= 0 else -1.0)

    def run(number: Any, whole: Any) -> qk.Result:
        return qk.backtest(
            Trades(),
            data=feed(),
            fees=Fees(maker_bps=number(2), taker_bps=number(5), per_contract=number(1)),
            cash={"USDT": whole(10_000)},
            seed=np.int64(3),
            max_leverage=whole(2),
            slippage_bps=number(1),
            touch=np.bool_(True),  # type: ignore[arg-type]
        )

    plain = run(float, int)
    assert len(plain.fills) >= 4
    for number in (int, Decimal, np.float64, np.int64):
        result = run(number, np.int64)
        assert result.hash == plain.hash
        assert [str(fill.fee) for fill in result.outcome.fills] == [str(fill.fee) for fill in plain.outcome.fills]
        assert result.numbers["fees_paid"] == plain.numbers["fees_paid"]
    result.save(tmp_path / "kept")
    assert qk.Result.load(tmp_path / "kept").config == plain.config


def test_numbers_that_are_none() -> None:
    """One line each."""
    with pytest.raises(ConfigError, match=r"taker_bps is 'much'; give a number"):
        Fees(taker_bps="much")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"seed is 1.5; give a whole number, zero or more"):
        qk.backtest(Starts(), data=feed(), seed=1.5)  # type: ignore[arg-type]
    assert decimal_of(np.int64(5)) == 5
    assert msgspec.to_builtins(Fees(taker_bps=5))["taker_bps"] == 5.0


def test_ledgers_cannot_be_written_or_emptied_from_outside() -> None:
    """Neither set nor deleted, on the portfolio as on a position."""
    instrument = versions()[0]
    portfolio = Portfolio({"USDT": 100}, [instrument], mark_of=lambda _: None)
    for ledger, name in ((portfolio, "deposits"), (portfolio.position(BTC), "qty")):
        with pytest.raises(AttributeError, match="is the ledger's"):
            setattr(ledger, name, 1)
        with pytest.raises(AttributeError, match="cannot be deleted"):
            delattr(ledger, name)


def test_steps_that_are_no_multiple_of_a_grid_are_refused() -> None:
    """The step and the grid are named."""
    with pytest.raises(ConfigError, match=r"BTC-USDT-SWAP: price_step 0.1 is no multiple of tick 0.3"):
        versions()[0].on_grid(Decimal("0.3"), Decimal("0.01")).ticks(1.0)
