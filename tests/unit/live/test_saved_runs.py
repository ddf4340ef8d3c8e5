"""A run that version 0.2.0 recorded is still repeated to its last digit, and its rows are still written anew."""

import zipfile
from pathlib import Path

import pytest

import quantkit as qk
from quantkit.live.journal import Started, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.verify import verify
from quantkit.report.digest import result_hash

SAVED = Path(__file__).parents[2] / "data" / "runs" / "0.2.0.zip"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with zipfile.ZipFile(SAVED) as packed:
        packed.extractall(tmp_path / "run")
    return tmp_path / "run"


def test_it_is_verified(run: Path) -> None:
    """Its log knows no exchange by name, and its entries and records have the tags of then."""
    started = next(iter(read_log(run / "engine")))
    assert isinstance(started, Started)
    assert (started.exchange, started.versions["quantkit"]) == ("okx", "0.2.0")
    verdict = verify(run, strategy=str(run / "strategy" / "recorded.py"))
    assert verdict.difference is None
    assert (verdict.events, verdict.decisions, verdict.orders, verdict.fills) == (60, 14, 14, 11)
    assert verdict.ended == "completed"


def test_its_rows_are_written_anew(run: Path) -> None:
    """A backtest over them comes to the hash of the live run."""
    counts = {str(stream): rows for stream, rows in rebuild(run).items()}
    assert counts["BTC-USDT-SWAP candle 1s"] == 5
    result = qk.backtest(
        str(run / "strategy" / "recorded.py"),
        data=run / "data",
        cash={"USDT": 10_000},
        match_on="trade",
        latency_ms=5,
        fees=qk.Fees(maker_bps=2, taker_bps=5),
    )
    assert (
        result_hash(result.outcome, "quantkit-result-1")
        == "1e65774b759411614117629054f1635afcfedb779c01749b2442497cf98face4"
    )
