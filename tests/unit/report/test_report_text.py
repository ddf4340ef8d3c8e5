"""What people read: the terminal summary, JSON, tables of data, numbers as text, and cut-down curves."""

import io
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rich.console import Console

from quantkit.brokers.unprotected import Unprotected
from quantkit.importers.report import ImportReport, SkippedRow
from quantkit.quality import CLEAN, FAULTY, UNVERIFIED, Finding, QualityReport, StreamQuality
from quantkit.report import tables
from quantkit.report.console import console_of
from quantkit.report.downsample import min_max_rows, sparkline
from quantkit.report.result import Result
from quantkit.report.stats import STATS
from quantkit.report.summary import as_json, render
from quantkit.report.text import duration, money, written


def printed(draw: Callable[[Console], None], width: int = 80) -> str:
    """Return what `draw` prints to a console of `width` columns."""
    out = io.StringIO()
    console = console_of(file=out)
    console.width = width
    draw(console)
    return out.getvalue()


# Summary ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_summary_fits_its_width_and_cuts_nothing(result: Result, width: int) -> None:
    """No line is longer than the terminal, and no number is shortened with an ellipsis."""
    text = printed(lambda console: render(result, console), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_summary_comes_in_order(result: Result) -> None:
    """Assumptions first, warnings after the numbers."""
    text = printed(lambda console: render(result, console))
    marks = [
        "Assumptions",
        "matched on candles",
        "MaCross(fast=5, interval='1m')",
        "Sharpe Ratio",
        "money in USDT",
        "▁",
        "\nFills",
        "Warnings",
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "Saved to" not in text


def test_ids_are_printed_as_they_are(result_of: Callable[..., Result], capsys: pytest.CaptureFixture[str]) -> None:
    """`:SUN` and `:X:` are parts of names and no emoji: in what `show` prints, and in the tables of an import."""
    result = result_of(warnings=["nasdaq:SUN:X: told", "BTC-USDT:X:SUN: told"])
    result.show()
    assert "nasdaq:SUN:X: told" in capsys.readouterr().out
    assert "BTC-USDT:X:SUN: told" in printed(lambda console: render(result, console))
    names = {"nasdaq:SUN:X: candle 1d": 5}
    assert "nasdaq:SUN:X: candle 1d" in printed(
        lambda console: tables.print_import(import_report(rows_written=names), "data", console)
    )


def test_show_prints_the_report(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    """What `quantkit backtest` prints, for a script."""
    result.show()
    out, err = capsys.readouterr()
    assert out == printed(lambda console: render(result, console))
    assert err == ""


def test_small_balances_show_what_changed(result_of: Callable[..., Result]) -> None:
    """An account of one coin that moves by a thousandth of it is not 1.00 throughout, wherever it is shown."""
    whole = result_of().outcome
    rows = len(whole.curve.time_ns)
    curve = msgspec.structs.replace(whole.curve, equity=1 + np.linspace(0.0, 0.00123456, rows))
    coin = result_of(curve=curve, starting_equity=Decimal(1), equity=Decimal("1.00123456"), report_currency="BTC")
    text = printed(lambda console: render(coin, console))
    assert "1.000000 to 1.001235 BTC" in text
    assert [line.split("│")[1].split()[2] for line in text.splitlines() if "Equity Peak" in line] == ["1.001235"]
    assert "equity 1.000000 -> 1.001235 BTC" in repr(coin)
    assert "low 1.000000, high 1.001235" in coin._repr_html_()
    flat = result_of(curve=msgspec.structs.replace(curve, equity=np.ones(rows)), starting_equity=Decimal(1))
    assert "1.00 to 1.00 USDT" in printed(lambda console: render(flat, console))


def test_a_long_list_of_parameters_is_left_out_of_the_title(result: Result) -> None:
    """The strategy's name has to stay readable; without a configuration there is none."""
    result.config["parameters"] = {f"parameter_{number}": number for number in range(9)}
    assert "─ MaCross ─" in printed(lambda console: render(result, console))
    result.config.clear()
    assert "─ Result ─" in printed(lambda console: render(result, console))


def test_wide_summary_shows_every_number(result: Result) -> None:
    """What 80 columns leave out stands in a wide terminal."""
    wide = printed(lambda console: render(result, console), 130)
    told_below = {"benchmark", "drawdown_marks"}
    assert [stat.label for stat in STATS.values() if stat.label not in wide and stat.key not in told_below] == []
    assert "money in USDT, 365 days a year, drawdown at not known" in wide
    assert f"Held against {result.benchmark.name}" in wide if result.benchmark else False
    assert "Kurtosis" not in printed(lambda console: render(result, console), 80)


def test_80_columns_name_waits_for_protection_where_there_are_any(result_of: Callable[..., Result]) -> None:
    """A run without brackets says nothing of them there."""
    wait = Unprotected("bt1", "BTC-USDT-SWAP", 1.0, 0, 20_000_000)
    found = [
        printed(lambda console, run=run: render(run, console), 80)
        for run in (result_of(), result_of(unprotected=[wait]))
    ]
    assert ["Unprotected [s]" in text for text in found] == [False, True]


def test_summary_does_not_take_outside_text_for_markup(result_of: Callable[..., Result]) -> None:
    """Brackets are shown, escape sequences are not sent to the terminal."""
    text = printed(lambda console: render(result_of(warnings=["[red]x[/red] \x1b[31m [/oops]"]), console))
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_summary_says_how_and_where_it_ended(result_of: Callable[..., Result], tmp_path: Any) -> None:
    """Bankruptcy is the headline after the numbers; the folder comes last."""
    result = result_of(ended="bankrupt")
    result.save(tmp_path / "run")
    text = printed(lambda console: render(result, console), 200)
    assert "The run ended early: bankrupt at 2025-05-08T00:00:00Z" in text
    assert text.rstrip().endswith(str(tmp_path / "run"))


def test_summary_of_nothing(blank_result: Result) -> None:
    """No fills, no curve, no words: the panel alone."""
    text = printed(lambda console: render(blank_result, console))
    assert "# Trades" in text
    assert "Fills\n" not in text
    assert "Assumptions" not in text


def test_summary_counts_fills_it_does_not_show(result: Result, result_of: Callable[..., Result]) -> None:
    """Only the last five stand in the table."""
    fills = [*result.outcome.fills, msgspec.structs.replace(result.outcome.fills[-1], id=6, fee=Decimal("0.0000012"))]
    text = printed(lambda console: render(result_of(fills=fills), console))
    assert "Last 5 of 6 fills" in text
    assert "0.0000012 BTC" in text
    assert "2025-05-05 02:00:00" not in text


def test_a_terminal_without_unicode_gets_no_blocks(result: Result) -> None:
    """The curve is left out where it could not be encoded, and lists get another bullet."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(file=out, width=80, highlight=False)
    assert result.assumptions
    assert result.warnings
    render(result, console)
    out.flush()
    assert b"Sharpe Ratio" in out.buffer.getvalue()  # type: ignore[attr-defined]
    assert b" - " in out.buffer.getvalue()  # type: ignore[attr-defined]


def test_json_has_every_number_once(result: Result) -> None:
    """Durations are seconds and say so; nothing is lost against `stats`."""
    found = msgspec.json.decode(as_json(result))
    durations = {key for key, stat in STATS.items() if stat.form == "duration"}
    assert set(found["stats"]) == {f"{key}_s" if key in durations else key for key in STATS}
    assert found["stats"]["duration_s"] == 3 * 86_400
    assert found["stats"]["start"] == "2025-05-05T00:00:00+00:00"
    assert found["stats"]["kurtosis"] is None
    assert found["stats"]["sharpe_ratio"] == result.stats["sharpe_ratio"]
    assert found["positions"] == {"binance:BTC-USDT": "0.999"}
    assert (found["hash"], found["warnings"]) == (result.hash, result.warnings)
    assert found["execution"] == result.execution.figures
    assert {"markout_1s_bps", "spread_captured_bps", "adverse_5s_bps"} <= set(found["execution"])
    assert found["execution_missing"] == result.execution.missing != []


# Numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("max_drawdown", -0.005, "-0.50"),
        ("return_pct", 1.2609, "1.26"),
        ("return_pct", 0.00012, "0.00012"),
        ("return_pct", -0.0, "0.00"),
        ("cagr_pct", 3.2e12, "3,200,000,000,000"),
        ("equity_final", 1_234_567.891, "1,234,567.89"),
        ("equity_final", 0.00001236, "0.00001236"),
        ("fees_paid", -1e-12, "-0.000000000001"),
        ("trades", 12_345, "12,345"),
        ("ended", "completed", "completed"),
        ("profit_factor", None, "-"),
        ("duration", timedelta(hours=25), "1d 1h"),
    ],
)
def test_numbers_are_written_in_their_unit(key: str, value: Any, text: str) -> None:
    """Fractions in per cent, money with digits enough to be seen, a missing number as a dash."""
    assert written(STATS[key], value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=300, deadline=None)
def test_money_never_shows_something_as_nothing(amount: float) -> None:
    """Only zero reads as zero, and no text is longer than a column."""
    text = money(amount)
    assert (float(text.replace(",", "")) == 0) is (amount == 0)
    assert len(text) <= 22


@given(st.timedeltas(timedelta(), timedelta(days=9999)))
@settings(max_examples=200, deadline=None)
def test_durations_are_right_to_their_smaller_unit(length: timedelta) -> None:
    """What is written, read back, is at most one small unit off."""
    scale = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    words = duration(length).split()
    read = sum(float(word[:-1]) * scale[word[-1]] for word in words)
    assert abs(read - length.total_seconds()) <= (3600 if words[0][-1] == "d" else 60)


# Curves -------------------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, st.integers(0, 300), elements=st.floats(-1e6, 1e6)), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_down_sampling_keeps_every_extreme(values: Any, buckets: int) -> None:
    """Highest, lowest, first and last are drawn; rows rise; there are never more than asked for."""
    rows = min_max_rows(values, buckets=buckets)
    assert len(rows) <= 2 * buckets + 2
    assert (np.diff(rows) > 0).all()
    if len(values):
        assert (rows[0], rows[-1]) == (0, len(values) - 1)
        assert (values[rows].min(), values[rows].max()) == (values.min(), values.max())


def test_sparkline_is_as_wide_as_asked() -> None:
    """Eight heights, the last value of each share."""
    assert sparkline(np.arange(8.0), width=8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline(np.arange(1000.0), width=60)) == 60
    assert sparkline(np.empty(0), width=10) == ""


# Tables of data -----------------------------------------------------------------------------------------------


def import_report(**changes: Any) -> ImportReport:
    """Make the report of an import with something of everything."""
    fields: dict[str, Any] = {
        "format": "trades",
        "files": ["a.csv"],
        "rows_read": 1200,
        "rows_written": {"BTC-USDT trade": 1190},
        "skipped": 25,
        "skipped_rows": [SkippedRow("a.csv", 7, "1,[bold]", "price is not a number")],
        "ignored": {"repeated trade id": 9},
        "checked": {"checksum": 3},
        "instruments": {"BTC-USDT": "inferred"},
        "received_shift_ns": 1_270_000_000,
        "warnings": ["two files overlap"],
    }
    return ImportReport(**{**fields, **changes})


def test_import_shows_rows_with_file_and_line() -> None:
    """Everything that was not written is accounted for, the bad rows word for word."""
    text = printed(lambda console: tables.print_import(import_report(), "data", console), 120)
    for part in (
        "BTC-USDT trade 1,190",
        "1 file, 1,200 rows read, 1,190 written to data",
        "BTC-USDT: metadata inferred",
        "9 left out: repeated trade id",
        "3 proved: checksum",
        "shifted by 1,270.000 ms",
        "warning: two files overlap",
        "25 rows could not be understood",
        "a.csv:7: price is not a number: 1,[bold]",
        "and 24 more",
    ):
        assert part in " ".join(text.split()), part


def test_a_clean_import_is_short() -> None:
    """Nothing skipped, nothing shifted: the table and one line."""
    blank = import_report(
        skipped=0, skipped_rows=[], ignored={}, checked={}, instruments={}, received_shift_ns=0, warnings=[]
    )
    text = printed(lambda console: tables.print_import(blank, "data", console))
    assert len(text.splitlines()) == 3


def test_findings_come_with_their_counts() -> None:
    """A verdict for each stream, why some cannot be verified, the findings, and a line that counts."""
    late = Finding("warning", "BTC trade", "b", stream="BTC trade")
    streams = (
        StreamQuality("BTC", "candle", "1m", CLEAN, 5, 1, 2),
        StreamQuality("BTC", "ticker", "", UNVERIFIED, 5, 1, 2, ("tickers have no numbers",)),
        StreamQuality("BTC", "trade", "", FAULTY, 1234, 1, 2, (), (late,)),
    )
    folder = (Finding("error", "kind=trade/part-0.parquet", "digest differs"), Finding("info", "BTC", "c"))
    report = QualityReport("data", FAULTY, streams, folder)
    text = " ".join(printed(lambda console: tables.print_quality(report, console)).split())
    assert "candle 1m clean 5 ticker cannot be verified 5 trade faulty 1,234 1" in text
    assert "cannot be verified: tickers have no numbers (BTC ticker)" in text
    assert "error: kind=trade/part-0.parquet: digest differs warning: BTC trade: b info: BTC: c" in text
    assert text.endswith("data: faulty (1 clean, 1 cannot be verified, 1 faulty) 1 error, 1 warning, 1 info")
    good = QualityReport("data", CLEAN, streams[:1], ())
    assert "every row was read" in printed(lambda console: tables.print_quality(good, console))
    assert "in what was asked" in printed(lambda console: tables.print_quality(good, console, is_part=True))
    empty = QualityReport("data", CLEAN, (), ())
    assert "no market data to check" in printed(lambda console: tables.print_quality(empty, console))


def test_streams_are_listed_with_their_totals() -> None:
    """Holes are starred and explained; an empty folder says how to fill it."""
    row = tables.StreamRow(
        "BTC-USDT", "candle", "1m", "2025-05-05T00:00:00Z", "2025-05-06T00:00:00.5Z", 1440, 2048, 1, True
    )
    text = printed(lambda console: tables.print_streams([row], "data", console), 100)
    assert "BTC-USDT candle 1m * 2025-05-05 00:00 2025-05-06 00:00 1,440 2.0 KiB" in " ".join(text.split())
    assert "1 streams" not in text
    assert "whole days or months are missing" in text
    assert "quantkit import" in printed(lambda console: tables.print_streams([], "data", console))
