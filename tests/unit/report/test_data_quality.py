"""What a check said of the data goes into every result: its words, its pages, its saved form; never into its hash."""

import shutil
from pathlib import Path

import pytest

import quantkit as qk
from quantkit.feeds.replay import MemoryFeed
from quantkit.quality import CLEAN, FAULTY, check
from quantkit.quality.kept import QUALITY, remember
from quantkit.quality.quoted import FROM_FEED, FROM_MEMORY, NOT_CHECKED, UNKNOWN_QUALITY
from quantkit.report import brief, summary
from quantkit.report.console import console_of
from quantkit.report.page.page import render
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks

SAMPLES = Path(__file__).parents[3] / "data"
SOL, ETH = "binance:SOL-USDT-SWAP", "binance:ETH-USDT-SWAP"


class Hold(qk.Strategy):
    """Buy once."""

    instrument: str = SOL

    def on_start(self) -> None:
        """Follow minutes."""
        self.subscribe_candles(self.instrument, "1m")

    def on_candle(self, candle: qk.Candle) -> None:
        """Buy."""
        if not self.position(self.instrument):
            self.buy(self.instrument, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sample candles, one bar of which is off its step, without the outcome of a check."""
    shutil.copytree(SAMPLES, tmp_path / "data")
    (tmp_path / "data" / QUALITY).unlink()
    return tmp_path / "data"


def run(folder: Path, **options: str) -> qk.Result:
    """Run over ten days, among them the bar."""
    return qk.backtest(Hold, data=folder, **{"start": "2025-05-08", "end": "2025-05-12", **options})


def test_a_run_over_bad_data_says_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In its warnings, its summaries, its card, its page; and a saved result still says it."""
    unchecked = run(folder)
    assert (unchecked.data_quality.verdict, unchecked.data_quality.faults) == (NOT_CHECKED, [])
    remember(Catalog(folder), check(Catalog(folder)), 1_780_000_000_000_000_000)
    result = run(folder)
    assert result.hash == unchecked.hash
    assert result.data_quality.verdict == FAULTY
    (fault,) = result.data_quality.faults
    assert fault.startswith(f"faulty data: {SOL} candle 1m: 1 of 43200 rows have a price off the stored step")
    assert fault in result.warnings
    summary.render(result, console_of())
    brief.render(result, console_of())
    text = capsys.readouterr().out
    assert "Data: faulty" in text
    assert "completed; data faulty" in text
    assert "faulty data" in text
    for page in (render(result).decode(), result._repr_html_()):
        assert "faulty data: " in page
        assert f"{SOL} candle 1m: faulty, checked 2026-05-28" in page
    result.save(tmp_path / "saved")
    loaded = qk.Result.load(tmp_path / "saved")
    assert loaded.data_quality == result.data_quality
    assert loaded.warnings == result.warnings


def test_a_run_that_does_not_meet_the_fault_is_over_clean_data(folder: Path) -> None:
    """Another instrument, and other days of the same one; new data are not checked."""
    remember(Catalog(folder), check(Catalog(folder)), 1)
    assert run(folder, start="2025-05-11").data_quality.verdict == CLEAN
    eth = qk.backtest(Hold, params={"instrument": ETH}, data=folder, end="2025-05-06")
    assert [each.stream for each in eth.data_quality.streams] == [f"{ETH} candle 1m"]
    assert eth.data_quality.verdict == CLEAN
    (folder / QUALITY).write_bytes(b"{}")
    assert run(folder).data_quality.verdict == NOT_CHECKED


def test_frames_were_never_checked(capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    index = pd.date_range("2025-01-01", periods=50, freq="1min", tz="UTC")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 100.0), index=index)
    goog = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")
    result = qk.backtest(Hold, params={"instrument": "GOOG"}, data={"GOOG": frame}, instruments=[goog])
    assert result.data_quality == FROM_MEMORY
    assert "not checked: the rows came from memory" in render(result).decode()
    summary.render(result, console_of())
    assert "Data: not checked (the rows came from memory)" in capsys.readouterr().out


def test_a_feed_of_ones_own_was_never_checked(folder: Path) -> None:
    """Rows that another program hands over."""
    catalog, stream = Catalog(folder), Stream("candle", SOL, "1m")
    blocks = read_blocks(catalog, stream, start_ns=0, end_ns=2**62)
    feed = MemoryFeed([], [catalog.instruments()[SOL]], blocks=[Block.concat([*blocks])])
    result = qk.backtest(Hold, data=feed, start="2025-05-08", end="2025-05-09")
    assert result.data_quality == FROM_FEED
    assert UNKNOWN_QUALITY.reason == ""  # of results that an older version saved


def test_the_samples_are_kept_as_they_are() -> None:
    """What the shipped outcome says is what a check says today."""
    held = (SAMPLES / QUALITY).read_bytes()
    remember(Catalog(SAMPLES), check(Catalog(SAMPLES)), 1)
    assert (SAMPLES / QUALITY).read_bytes() == held
