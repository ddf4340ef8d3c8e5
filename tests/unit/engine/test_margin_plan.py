"""Margin as it is decided before a run, and as a strategy reads it."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import NS_PER_S, time_ns_of
from quantkit.engine.margin_plan import plan_margin
from quantkit.events import MarketEvent, PositionTier, Trade
from quantkit.feeds.live_catalog import LiveCatalog
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.margin import ContractTerms, MarginTerms, MarginTier, MarginTiers
from quantkit.margin_account import MarginAccount
from quantkit.options import RunOptions
from quantkit.portfolio import Portfolio
from quantkit.proving.altered import AlteredRows, Future

BTC, ETH, SPOT = "BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USDT"
TIERS = Path(__file__).parents[2] / "data" / "tiers.json"
START_NS = time_ns_of("2026-01-01")
INSTRUMENTS = [
    Instrument(BTC, kind="swap", price_step="0.1", qty_step="1", contract_value="0.01"),
    Instrument(ETH, kind="swap", price_step="0.01", qty_step="1", contract_value="0.1"),
    Instrument(SPOT, price_step="0.1", qty_step="0.001"),
]


def feed(*more: MarketEvent) -> MemoryFeed:
    """Return trades of each instrument every second for two minutes, BTC's fall in the second one."""
    rows: list[MarketEvent] = list(more)
    for second in range(121):
        at = START_NS + second * NS_PER_S
        price = 80_000.0 if second < 60 else 76_343.0
        rows += [Trade(name, at, at, price, 1.0, Side.BUY) for name in (BTC, SPOT)]
        rows.append(Trade(ETH, at, at, 2_600.0, 1.0, Side.BUY))
    return MemoryFeed(rows, INSTRUMENTS)


def tier(number: int, most: float, rate: float, leverage: float, at_ns: int, mode: str = "isolated") -> PositionTier:
    return PositionTier(BTC, at_ns, at_ns, mode, number, 0.0, most, rate, 1 / leverage, leverage)


class Holder(qk.Strategy):
    """Buys 100 contracts at the first trade and keeps what it reads of its margin."""

    names: tuple[str, ...] = (BTC,)
    asks: str = BTC

    def on_start(self) -> None:
        for name in self.names:
            self.subscribe_trades(name)
        self.read: list[qk.Margin] = []
        self.refused = ""
        if self.asks == BTC:
            self.read.append(self.margin(BTC))

    def on_trade(self, trade: qk.Trade) -> None:
        if not self.portfolio.positions and not self.open_orders():
            self.buy(BTC, 100)
        try:
            self.read.append(self.margin(self.asks))
        except qk.ConfigError as error:
            self.refused = str(error)


def run(strategy: qk.Strategy | None = None, data: Any = None, **options: Any) -> qk.Result:
    return qk.backtest(strategy or Holder(), data=data or feed(), fees=Fees(maker_bps=2, taker_bps=5), **options)


def test_a_strategy_reads_its_margin() -> None:
    """Before the position, with it, and after it was liquidated."""
    holder = Holder()
    result = run(holder, margin="isolated", leverage=20, tiers=TIERS)
    assert holder.read[0] == holder.read[1] == qk.Margin()
    held = holder.read[10]
    assert (held.initial, held.maintenance) == (4_000.0, 320.0)
    assert held.ratio == pytest.approx(4_000 / 360, rel=1e-12)
    assert held.liquidation_price == pytest.approx(76_343.5459568056, rel=1e-11)
    assert holder.read[-1] == qk.Margin()
    assert result.outcome.cash == {"USDT": Decimal(5960)}
    assert list(result.fills["why"].str.startswith("liquidation: 343 of margin left, 343.5435 required")) == [
        False,
        True,
    ]
    assert any(
        said == f"{BTC}: 1 liquidation, the first at 2026-01-01T00:01:00Z; 4000 USDT of margin lost"
        for said in result.warnings
    ), result.warnings
    assert result.outcome.ended == "completed"
    assert (
        f"{BTC}: isolated margin at 20x, maintenance from 0.4 %, at most 2000 contracts (tiers of a file); liquidation "
        "judged on last trades"
    ) in result.assumptions


def test_cross_margin_has_one_ratio_and_may_have_no_liquidation_price() -> None:
    holder = Holder()
    run(holder, margin="cross", leverage={"*": 2, BTC: 20}, tiers=str(TIERS), cash={"USDT": 100_000})
    held = holder.read[10]
    assert (held.initial, held.maintenance, held.liquidation_price) == (4_000.0, 320.0, None)
    assert held.ratio == pytest.approx(99_960 / 360, rel=1e-12)


def test_margin_is_asked_of_contracts_in_runs_that_have_it() -> None:
    """In another run, or of coins, the call says what is missing."""

    class Asks(Holder):
        def on_start(self) -> None:
            self.subscribe_trades(BTC)
            self.subscribe_trades(SPOT)
            self.read, self.refused = [], ""

    plain, coins = Asks(), Asks(asks=SPOT)
    run(plain, max_leverage=20)
    assert plain.refused == f"{BTC} has no margin in this run; give margin='isolated' or 'cross'"
    run(coins, margin="cross", leverage=20, tiers=TIERS)
    assert coins.refused == f"{SPOT} is no contract and has no margin"


class Sized(Holder):
    """Buys for more money than there is equity."""

    def on_trade(self, trade: qk.Trade) -> None:
        if not self.portfolio.positions and not self.open_orders():
            self.buy(BTC, qk.Cash(50_000))


@pytest.mark.parametrize(("leverage", "lots"), [(10, 62), (2, 24)])
def test_sizes_by_money_are_bounded_by_margin(leverage: int, lots: int) -> None:
    """A contract is worth 800, and 800.40 with its fee; 10,000 carry 24 of them at 2x, which need 400.40 each."""
    result = run(Sized(), margin="isolated", leverage=leverage, tiers=TIERS, end="2026-01-01T00:00:30Z")
    assert [fill.lots for fill in result.outcome.fills] == [lots]


def _tier(rate: str) -> dict[str, str]:
    return {"max_qty": "1000", "maintenance_rate": rate, "max_leverage": "100"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": "portfolio"}, "margin is 'portfolio'; give 'off', 'isolated' or 'cross'"),
        ({"leverage": 3}, "leverage is for runs with margin; give margin='isolated' or 'cross' as well"),
        ({"tiers": TIERS}, "tiers is for runs with margin"),
        ({"margin": "cross", "max_leverage": 3, "tiers": TIERS}, "max_leverage has no say in a run with margin"),
        ({"margin": "cross", "leverage": "abc", "tiers": TIERS}, "leverage: 'abc' is not a number"),
        ({"margin": "cross", "leverage": {BTC: "nan"}, "tiers": TIERS}, f"leverage of {BTC}: 'nan' is not a finite"),
        ({"margin": "cross", "leverage": 0, "tiers": TIERS}, "leverage is 0; it must be above zero"),
        ({"margin": "cross", "leverage": {BTC: -1}, "tiers": TIERS}, f"leverage of {BTC} is -1; it must be above zero"),
        ({"margin": "cross", "leverage": {ETH: 3}, "tiers": TIERS}, f"leverage names '{ETH}', which the strategy does"),
        ({"margin": "cross", "leverage": 101, "tiers": TIERS}, f"{BTC}: leverage is 101; its position tiers allow at"),
        (
            {"margin": "cross"},
            f"{BTC}: margin needs its position tiers; give tiers=FILE (--tiers) with OKX's columns and rows of "
            f"BTC-USDT; a backtest also reads those that `quantkit download {BTC} --kinds tiers` brings into its",
        ),
        (
            {"margin": "cross", "tiers": {"BTC-USDT": [_tier("0.9995")]}},
            f"{BTC}: a tier's maintenance rate of 99.95 % and the taker's fee of 0.05 % together take the whole",
        ),
        ({"margin": "cross", "tiers": {"ETH-USDT": []}}, f"{BTC}: tiers= has no rows of the family BTC-USDT; it has"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(qk.ConfigError) as error:
        run(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_where_tiers_come_from_is_told_by_the_exchange() -> None:
    """A download has OKX's alone, so that of other contracts it is no help."""
    foreign = Instrument(f"binance:{BTC}", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
    with pytest.raises(qk.ConfigError) as error:
        plan_margin(feed(), {foreign.id: foreign}, {foreign.id: Fees()}, START_NS, RunOptions.read({"margin": "cross"}))
    assert str(error.value) == (
        f"binance:{BTC}: margin needs its position tiers; give tiers=FILE (--tiers) with OKX's columns and rows "
        "of BTC-USDT"
    )


def test_tiers_are_those_told_by_the_start_or_else_the_first_later_ones() -> None:
    """Of the run's margin mode, and the result says when they were told."""
    before, later = START_NS - NS_PER_S, START_NS + 5 * NS_PER_S
    rows = [
        tier(1, 50.0, 0.004, 100.0, before - NS_PER_S),
        *(tier(1, 500.0, 0.004, 100.0, before), tier(2, 900.0, 0.01, 20.0, before)),
        tier(1, 7.0, 0.5, 1.0, before, mode="cross"),
        tier(1, 60.0, 0.02, 30.0, later),
    ]
    first = run(data=feed(*rows), margin="isolated", leverage=20, start="2026-01-01")
    assert any("at most 900 contracts (tiers of 2025-12-31);" in said for said in first.assumptions)
    second = run(data=feed(rows[-1]), margin="isolated", leverage=20, start="2026-01-01")
    assert any("60 contracts (tiers of 2026-01-01, told after the start)" in said for said in second.assumptions)
    assert feed(rows[3]).position_tiers(BTC, "isolated", START_NS) == ()
    assert LiveCatalog(OkxSource).position_tiers(BTC, "isolated", START_NS) == ()
    altered = AlteredRows(feed(*rows), INSTRUMENTS, future=Future(before - 2 * NS_PER_S, "moved"))
    assert list(altered.position_tiers(BTC, "isolated", START_NS)) == rows[1:3]


def test_leverage_is_a_flag_for_all_or_for_each() -> None:
    done = CliRunner().invoke(main, ["backtest", "idle", "--leverage", "3", "--leverage", "X=4"])
    assert done.exit_code == 2
    assert "give one number alone, or INSTRUMENT=X for each instrument" in done.stderr


def test_a_position_without_a_mark_has_no_ratio() -> None:
    """Nothing is guessed."""
    instrument = INSTRUMENTS[0]
    tiers = MarginTiers([MarginTier(Decimal(10), Decimal(0), Decimal(10))], BTC)
    terms = MarginTerms(False, {BTC: ContractTerms(Fraction(10), tiers, Fraction(0), Fraction(10))})
    marks: dict[str, float] = {}
    portfolio = Portfolio({"USDT": 1000}, [instrument], mark_of=marks.get)
    account = MarginAccount(portfolio, terms)
    assert account.own_margin(portfolio.position(BTC)) == 0
    portfolio.position(BTC).trade(Decimal(1), Decimal(800))
    assert account.margin(BTC) == qk.Margin()
    marks[BTC] = 80_000.0
    # Neither maintenance margin nor a fee: there is nothing that the margin could be a multiple of.
    assert account.margin(BTC) == qk.Margin(80.0, 0.0, None, 72_000.0)
