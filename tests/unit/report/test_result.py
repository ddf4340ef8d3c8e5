"""The result: its tables, numbers, words, and its two views."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pandas as pd
import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.engine.outcome import EquityCurve, Outcome
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.report.result import Result
from quantkit.report.stats import GROUPS, STATS, daily_closes

TABLES = ["orders", "order_events", "fills", "equity", "round_trips", "open_trips"]


def test_stats_have_every_key_of_the_table_and_plain_values(result: Result) -> None:
    """One table names every number; its values are Python's own types, never NaN or infinite."""
    assert list(result.stats.index) == list(STATS) == [s.key for group in GROUPS.values() for s in group]
    allowed = (int, float, str, datetime, timedelta, type(None))
    for key, value in result.stats.items():
        assert type(value) in allowed, key
        if isinstance(value, float):
            assert math.isfinite(value), key


def test_every_stat_has_a_unit_that_its_name_tells() -> None:
    """A per cent ends in `_pct`; drawdowns and other shares that are shown in per cent say so in their label."""
    for stat in STATS.values():
        assert (stat.form == "pct") is stat.key.endswith("_pct"), stat.key
        assert ("[%]" in stat.label) is (stat.form in ("pct", "fraction")), stat.key
        assert stat.meaning


def test_stats_by_hand(result: Result) -> None:
    """Start 1000, end 1012.609, a long trip of +9.895, a short one of -2.061, a spot position left open."""
    stats = result.stats
    assert stats["start"] == datetime(2025, 5, 5, tzinfo=UTC)
    assert stats["duration"] == timedelta(days=3)
    assert stats["return_pct"] == pytest.approx(1.2609)
    assert stats["cagr_pct"] == pytest.approx(100 * (1.012609 ** (365.25 / 3) - 1))
    assert (stats["trades"], stats["open_trades"], stats["orders"], stats["fills"]) == (2, 1, 5, 5)
    assert stats["win_rate_pct"] == 50.0
    assert (stats["best_trade_pct"], stats["worst_trade_pct"]) == (pytest.approx(9.895), pytest.approx(-3.435))
    assert stats["profit_factor"] == pytest.approx(9.895 / 2.061)
    assert stats["expectancy"] == pytest.approx((9.895 - 2.061) / 2)
    assert stats["max_trade_duration"] == timedelta(hours=18)
    assert stats["exposure_time_pct"] == pytest.approx(100 * (18 + 14 + 22) / 72)
    # 0.166 USDT, and 0.001 BTC at the fill's price of 120.
    assert stats["fees_paid"] == pytest.approx(0.286)
    assert stats["funding_received"] == -0.1
    assert stats["turnover"] == pytest.approx(
        (100 + 110 + 60 + 62 + 120) / np.mean([1000, 1009.9, 1007.72, 1012.6]), 1e-3
    )


def test_max_drawdown_is_the_finest_known(result: Result) -> None:
    """Between two rows the equity fell by 0.5 %, which the rows alone do not show."""
    assert result.stats["max_drawdown"] == -0.005
    assert result.equity["equity"].min() == 1000.0


def test_closing_at_the_last_price_is_a_number_of_its_own(result: Result) -> None:
    """The open 0.999 BTC at 125, less the taker's 5 bps: never mixed into the final equity."""
    assert result.stats["equity_final"] == 1012.609
    assert result.stats["equity_closed"] == pytest.approx(1012.609 - 0.999 * 125 * 0.0005, abs=1e-12)


def test_closing_needs_a_mark_and_defaults_to_the_preset(result_of: Callable[..., Result]) -> None:
    """Without a mark there is no such number; without configured fees the venue's preset holds."""
    marks = {"BTC-USDT-SWAP": 125.0, "binance:BTC-USDT": None}
    assert result_of(position_mark=marks).stats["equity_closed"] is None
    whole = result_of()
    preset = Result(whole.outcome, {}, whole.instruments)
    assert preset.stats["equity_closed"] == pytest.approx(1012.609 - 0.999 * 125 * 0.001, abs=1e-12)
    same_for_all = Result(whole.outcome, {"fees": Fees(taker_bps=20)}, whole.instruments)
    assert same_for_all.stats["equity_closed"] == pytest.approx(1012.609 - 0.999 * 125 * 0.002, abs=1e-12)


def test_coin_positions_are_counted_at_the_last_mark(result: Result) -> None:
    """Profit in the coin of an inverse contract is turned into the report currency."""
    coin = Instrument(
        "BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True
    )
    template = result.outcome.fills[0]
    fills = [
        msgspec.structs.replace(
            template,
            id=number,
            instrument=coin.id,
            side=side,
            lots=10,
            qty=10.0,
            ticks=ticks,
            price=ticks / 10,
            value=coin.value(10, ticks),
            fee=Decimal("0.00001"),
            fee_currency="BTC",
        )
        for number, side, ticks in ((1, Side.BUY, 400_000), (2, Side.SELL, 500_000))
    ]
    outcome = msgspec.structs.replace(
        result.outcome,
        fills=fills,
        report_currency="USD",
        position_qty={coin.id: Decimal(0)},
        position_mark={coin.id: 50_000.0},
        funding={"BTC": Decimal("0.0002")},
    )
    stats = Result(outcome, {}, {coin.id: coin}).stats
    # 1000 / 40000 - 1000 / 50000 = 0.005 coins, less the fees, at 50000.
    assert stats["expectancy"] == pytest.approx((0.005 - 0.00002) * 50_000)
    assert stats["fees_paid"] == pytest.approx(1.0)
    assert stats["funding_received"] == pytest.approx(10.0)
    # Without a mark the trade still won, but sums have no currency.
    unmarked = Result(msgspec.structs.replace(outcome, position_mark={coin.id: None}), {}, {coin.id: coin}).stats
    assert (unmarked["win_rate_pct"], unmarked["expectancy"], unmarked["fees_paid"]) == (100.0, None, None)


def test_daily_returns_are_utc_days_from_the_starting_equity(result: Result) -> None:
    """Three days, each on its own midnight; the row at midnight closes the day before."""
    returns = result.returns
    assert [str(day) for day in returns.index] == [f"2025-05-0{day} 00:00:00+00:00" for day in (5, 6, 7)]
    assert (returns.index.tz is not None, returns.index.unit, returns.dtype) == (True, "ns", np.float64)
    closes = result.equity["equity"].to_numpy()[[24, 48, 72]]
    assert returns.to_numpy() == pytest.approx(closes / np.append(1000.0, closes[:-1]) - 1)


def test_days_without_rows_and_a_total_loss(result_of: Callable[..., Result]) -> None:
    """A day without a row keeps the equity; the series ends with the day on which everything was lost."""
    start = result_of().outcome.start_ns
    curve = EquityCurve(
        time_ns=np.array([start + NS_PER_MIN, start + 2 * NS_PER_DAY + 1, start + 3 * NS_PER_DAY + 1], np.int64),
        equity=np.array([1010.0, 0.0, 5.0]),
        cash=np.zeros(3),
        exposure=np.zeros(3),
        drawdown=np.array([0.0, -1.0, -0.9]),
    )
    result = result_of(curve=curve, end_ns=start + 4 * NS_PER_DAY, equity=Decimal(0), ended="bankrupt")
    assert result.returns.tolist() == [pytest.approx(0.01), 0.0, -1.0]
    assert (result.stats["cagr_pct"], result.stats["return_pct"]) == (-100.0, -100.0)
    assert result.stats["max_drawdown"] == -1.0
    assert "bankrupt" in repr(result)


def _with_end(whole: Outcome, end_ns: int, equity: float, **changes: Any) -> dict[str, Any]:
    """Return the changes that end a run at `end_ns`, which has a row of the grid before the end's own row."""
    keep = int(np.searchsorted(whole.curve.time_ns, end_ns, "right"))
    peak = max(float(whole.curve.equity[:keep].max()), equity)
    last = {"time_ns": end_ns, "equity": equity, "cash": 0.0, "exposure": np.inf, "drawdown": equity / peak - 1}
    columns = {name: np.append(getattr(whole.curve, name)[:keep], last[name]) for name in last}
    return {"curve": EquityCurve(**columns), "end_ns": end_ns, "equity": Decimal(repr(equity)), **changes}


@pytest.mark.parametrize("hours", [36, 48])
def test_of_two_rows_at_the_end_the_last_one_counts(result_of: Callable[..., Result], hours: int) -> None:
    """The grid's row there shows what was before the last mark; the days' returns multiply to the run's."""
    whole = result_of().outcome
    end_ns = whole.start_ns + hours * 60 * NS_PER_MIN
    result = result_of(**_with_end(whole, end_ns, 990.0))
    assert result.outcome.curve.time_ns[-1] == result.outcome.curve.time_ns[-2]
    assert (1 + result.returns).prod() == pytest.approx(0.99, rel=1e-12)
    assert len(result.returns) == 2
    stats = result.stats
    assert (stats["equity_final"], stats["return_pct"]) == (990.0, pytest.approx(-1.0))
    assert stats["max_drawdown"] == pytest.approx(990 / whole.curve.equity[:37].max() - 1)
    # The equity last stood at its peak in hour 26.
    assert stats["max_drawdown_duration"] == timedelta(hours=hours - 26)


@pytest.mark.parametrize("equity", [0.0, -5.0])
@pytest.mark.parametrize("hours", [36, 48])
def test_the_moment_everything_was_lost_closes_its_day(
    result_of: Callable[..., Result], hours: int, equity: float
) -> None:
    """A bankrupt run's numbers go down to its last mark, below nothing where that mark is."""
    whole = result_of().outcome
    end_ns = whole.start_ns + hours * 60 * NS_PER_MIN
    result = result_of(**_with_end(whole, end_ns, equity, ended="bankrupt"))
    before = whole.curve.equity[24]
    assert result.returns.tolist() == [pytest.approx(before / 1000 - 1), equity / before - 1]
    assert (1 + result.returns).prod() == pytest.approx(equity / 1000, rel=1e-12)
    stats = result.stats
    peak = whole.curve.equity[:37].max()
    assert (stats["return_pct"], stats["cagr_pct"]) == (pytest.approx(equity / 10 - 100), -100.0)
    assert (stats["max_drawdown"], stats["equity_peak"]) == (equity / peak - 1, peak)
    assert stats["calmar_ratio"] == pytest.approx(-1 / (1 - equity / peak))
    assert stats["stability"] is None
    numbers = [value for value in stats if isinstance(value, float)]
    assert numbers
    assert all(map(math.isfinite, numbers))
    assert ElementTree.fromstring(result._repr_html_()).find(".//polyline") is not None


@pytest.mark.parametrize("hours", [0, 12])
def test_a_run_of_no_length_has_one_day(result_of: Callable[..., Result], hours: int) -> None:
    """Its two rows are of one moment, at midnight or not, and the picture still shows both."""
    at_ns = result_of().outcome.start_ns + hours * 60 * NS_PER_MIN
    nothing = np.zeros(2)
    curve = EquityCurve(np.array([at_ns, at_ns]), np.array([1000.0, 980.0]), nothing, nothing, np.array([0.0, -0.02]))
    result = result_of(curve=curve, start_ns=at_ns, end_ns=at_ns, equity=Decimal(980))
    assert result.returns.tolist() == [pytest.approx(-0.02)]
    assert (result.stats["max_drawdown"], result.stats["exposure_time_pct"]) == (pytest.approx(-0.02), None)
    (line,) = ElementTree.fromstring(result._repr_html_()).iter("polyline")
    assert line.attrib["points"] == "92.0,8.0 760.0,178.0"


def test_a_run_of_hours_is_not_annualised(result_of: Callable[..., Result]) -> None:
    """Two hours of profit are no yearly rate, and one partial day no volatility."""
    whole = result_of().outcome
    keep = slice(0, 3)
    columns = {name: getattr(whole.curve, name)[keep] for name in whole.curve.__struct_fields__}
    result = result_of(curve=EquityCurve(**columns), end_ns=whole.start_ns + 120 * NS_PER_MIN)
    assert len(daily_closes(result.outcome)[0]) == 1
    for key in ("cagr_pct", "volatility_pct", "sharpe_ratio", "calmar_ratio"):
        assert result.stats[key] is None, key


def test_hours_across_midnight_are_not_annualised_either(result_of: Callable[..., Result]) -> None:
    """Two parts of days give two returns, whose ratio scaled to a year says nothing; a whole day gives one."""
    whole = result_of().outcome
    rows = slice(12, 36)
    columns = {name: getattr(whole.curve, name)[rows] for name in whole.curve.__struct_fields__}
    start_ns, day_ns = int(columns["time_ns"][0]), 24 * 60 * NS_PER_MIN
    short = result_of(curve=EquityCurve(**columns), start_ns=start_ns, end_ns=start_ns + day_ns - 1)
    full = result_of(curve=EquityCurve(**columns), start_ns=start_ns, end_ns=start_ns + day_ns)
    assert len(short.returns) == len(full.returns) == 2
    for key in ("cagr_pct", "volatility_pct", "sharpe_ratio", "sortino_ratio"):
        assert short.stats[key] is None, key
    assert full.stats["volatility_pct"] > 0
    assert full.stats["sharpe_ratio"] is not None


def test_the_equity_table_has_every_moment_once(result_of: Callable[..., Result]) -> None:
    """The last state of a moment, and the deepest drawdown of its rows; the records keep every row."""
    curve = EquityCurve(
        time_ns=np.array([0, 60, 60, 60, 120, 180, 180]) + result_of().outcome.start_ns,
        equity=np.array([1000.0, 900.0, 800.0, 950.0, 960.0, 970.0, 980.0]),
        cash=np.arange(7.0),
        exposure=np.arange(7.0) / 10,
        drawdown=np.array([0.0, -0.1, -0.2, -0.05, -0.04, -0.01, -0.02]),
    )
    result = result_of(curve=curve)
    assert result.equity.index.is_unique
    assert result.equity.index.name == "time"
    assert result.equity.index.as_unit("ns").asi8.tolist() == curve.time_ns[[0, 3, 4, 6]].tolist()
    assert result.equity.to_dict("list") == {
        "equity": [1000.0, 950.0, 960.0, 980.0],
        "cash": [0.0, 3.0, 4.0, 6.0],
        "exposure": [0.0, 0.3, 0.4, 0.6],
        "drawdown": [0.0, -0.2, -0.04, -0.02],
    }
    assert len(result.outcome.curve.time_ns) == 7


def test_an_account_that_starts_with_nothing_has_no_ratios(result_of: Callable[..., Result]) -> None:
    """Nothing grows from zero: no return, no drawdown, and no division by it."""
    stats = result_of(starting_equity=Decimal(0)).stats
    for key in ("return_pct", "cagr_pct", "max_drawdown", "avg_drawdown", "sharpe_ratio", "ulcer_index"):
        assert stats[key] is None, key
    assert stats["equity_final"] == 1012.609


def test_tables_are_on_utc_nanoseconds(result: Result) -> None:
    """Every index of stamps and every column of stamps has zone and unit."""
    for name in TABLES:
        table: pd.DataFrame = getattr(result, name)
        stamps = [column for column in table if column.endswith("_time")]
        if name not in ("round_trips", "open_trips"):
            assert str(table.index.dtype) == "datetime64[ns, UTC]"
            assert table.index.name == "time"
        for column in stamps:
            assert str(table[column].dtype) == "datetime64[ns, UTC]"
    assert result.fills.index[0] == pd.Timestamp("2025-05-05T02:00:00Z")
    assert result.orders.index[0] == pd.Timestamp("2025-05-05T01:59:59.98Z")


def test_tables_have_the_promised_columns(result: Result) -> None:
    """The names that other people's notebooks rely on."""
    assert list(result.equity) == ["equity", "cash", "exposure", "drawdown"]
    promised = (
        "entry_time exit_time instrument side qty entry_price exit_price fees pnl return_pct duration mae mfe tag"
    )
    assert " ".join(result.round_trips).startswith(promised)
    first = result.round_trips.iloc[0]
    assert (first["side"], first["tag"], first["duration"]) == ("buy", "in", pd.Timedelta(hours=18))
    assert (first["mae"], first["mfe"]) == (pytest.approx(-0.05), pytest.approx(0.12))
    assert (result.fills["fee"] > 0).all()
    assert result.fills["side"].tolist() == ["buy", "sell", "sell", "buy", "buy"]
    assert result.orders["type"].tolist() == ["market", "limit", "market", "limit", "market"]
    assert result.orders["price"].isna().tolist() == [True, False, True, False, True]
    assert result.order_events["state"].tolist()[:2] == ["accepted", "filled"]
    assert result.open_trips[["instrument", "qty", "mark_price"]].values.tolist() == [
        ["binance:BTC-USDT", 0.999, 125.0]
    ]


def test_an_open_position_is_in_no_closed_trade(result: Result) -> None:
    """The spot buy of the last day is open: it counts once, apart."""
    assert "binance:BTC-USDT" not in set(result.round_trips["instrument"])
    assert result.open_trips["unrealised"].tolist() == [pytest.approx(0.999 * 5)]


def test_a_run_without_trades_has_the_same_shape(result: Result, blank_result: Result) -> None:
    """Same columns, same types, no rows; numbers that need trades are None."""
    for name in TABLES:
        full, empty = getattr(result, name), getattr(blank_result, name)
        assert len(empty) == 0
        pd.testing.assert_series_equal(full.dtypes, empty.dtypes)
    stats = blank_result.stats
    assert (stats["return_pct"], stats["max_drawdown"], stats["exposure_time_pct"]) == (0.0, 0.0, 0.0)
    assert (stats["sharpe_ratio"], stats["win_rate_pct"], stats["profit_factor"]) == (None, None, None)
    assert blank_result.returns.tolist() == [0.0, 0.0, 0.0]


def test_manifest_says_which_run_it_was(result: Result) -> None:
    """Configuration, instruments, versions, words and hash, all of it ready for JSON."""
    manifest = msgspec.json.decode(msgspec.json.encode(result.manifest))
    assert manifest["hash"] == result.hash
    assert manifest["config"]["parameters"] == {"fast": 5, "interval": "1m"}
    assert manifest["config"]["cash"] == {"USDT": "1000"}
    assert manifest["versions"]["quantkit"]
    assert [i["id"] for i in manifest["instruments"]] == ["BTC-USDT-SWAP", "binance:BTC-USDT"]
    assert manifest["assumptions"] == result.assumptions
    assert manifest["warnings"] == result.warnings


def test_configuration_may_be_a_struct_or_hold_instruments(result: Result) -> None:
    """What JSON does not know becomes fields or text."""

    class Config(msgspec.Struct):
        seed: int
        instrument: Any
        path: Any

    coin = Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")
    made = Result(result.outcome, Config(3, coin, complex(1, 2)), result.instruments)
    assert made.config == {"seed": 3, "instrument": coin.to_dict(), "path": "(1+2j)"}


def test_repr_is_one_short_line(result: Result, blank_result: Result) -> None:
    """What a prompt shows."""
    assert repr(result) == (
        "<Result 2025-05-05 to 2025-05-08, equity 1,000.00 -> 1,012.61 USDT (+1.26 %), 2 trades, 5 fills, 1 warning>"
    )
    assert "warning" not in repr(blank_result)


def test_html_is_well_formed_and_escapes_outside_text(result_of: Callable[..., Result]) -> None:
    """Instrument names and warnings come from files; none of them may become markup."""
    evil = '<script>alert("x")</script>&'
    html = result_of(warnings=[evil], assumptions=[evil], report_currency=evil, ended=evil)._repr_html_()
    tree = ElementTree.fromstring(html)
    assert tree.find(".//script") is None
    assert "<script" not in html
    labels = {cell.text for cell in tree.iter("td")}
    assert {"Sharpe Ratio", "Max. Drawdown [%]", "# Trades"} <= labels
    assert [svg.tag for svg in tree.iter("polyline")] == ["polyline"]


def test_a_notebook_shows_every_number(blank_result: Result) -> None:
    """None of a group that was added later is left out."""
    tree = ElementTree.fromstring(blank_result._repr_html_())
    shown = [cell.text.partition(" [")[0] for cell in tree.iter("td") if cell.text and cell.get("title")]
    assert sorted(shown) == sorted(stat.label.partition(" [")[0] for stat in STATS.values())
    assert sorted(cell.text or "" for cell in tree.iter("th")) == sorted(GROUPS)


def test_html_of_a_run_without_a_curve(blank_result: Result) -> None:
    """No picture, but the numbers."""
    tree = ElementTree.fromstring(blank_result._repr_html_())
    assert tree.find(".//svg") is None
    assert tree.find(".//table") is not None


@pytest.mark.parametrize("rows", [1, 2, 5000])
def test_the_picture_is_small_and_stays_inside_its_frame(result_of: Callable[..., Result], rows: int) -> None:
    """At most two points for each of 1,000 buckets; the highest and the lowest equity are among them."""
    walk = 1000 + np.cumsum(np.random.default_rng(1).normal(size=rows))
    start = result_of().outcome.start_ns
    curve = EquityCurve(start + np.arange(rows) * NS_PER_MIN, walk, walk, walk * 0, walk * 0)
    tree = ElementTree.fromstring(result_of(curve=curve)._repr_html_())
    (line,) = tree.iter("polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert 2 <= len(points) <= 2002
    assert all(92 <= x <= 760 and 8 <= y <= 178 for x, y in points)
    if rows > 1:
        assert {min(y for _, y in points), max(y for _, y in points)} == {8.0, 178.0}


def test_funding_is_a_table(result: Result, blank_result: Result) -> None:
    """A row for each boundary at which a position was held."""
    assert result.funding["amount"].tolist() == [-0.105, 0.005]
    assert result.funding["amount"].sum() == pytest.approx(float(result.outcome.funding["USDT"]))
    assert [f"{stamp:%d %H:%M}" for stamp in result.funding.index] == ["05 08:00", "06 08:00"]
    assert list(blank_result.funding.columns) == ["instrument", "rate", "price", "amount", "currency", "position_side"]
