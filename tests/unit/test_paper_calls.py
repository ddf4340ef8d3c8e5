"""Wrong calls of `paper` are told before anything is opened: what, and how it is written."""

from pathlib import Path
from typing import Any

import pytest

import quantkit as qk


class Idle(qk.Strategy):
    def on_start(self) -> None:
        self.subscribe_trades("BTC-USDT")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"okx": "ws://127.0.0.1:8765"}, r"okx is 'ws://127\.0\.0\.1:8765'; give for example okx=OkxConfig\(url="),
        ({"exchange": qk.OkxConfig()}, "okx and exchange exclude each other"),
        ({"okx": None, "exchange": "kraken"}, "exchange is 'kraken'; give a live source such as OkxSource"),
        ({"duration": 60}, "duration is 60; give for example '60s'"),
        ({"duration": 2.5}, r"duration is 2\.5; give for example '60s'"),
        ({"duration": "soon"}, "duration 'soon' is not understood"),
        ({"stop": 5}, r"stop is 5; give a threading\.Event\(\)"),
        ({"record": 5}, "record is 5; give a folder"),
        ({"commands": 5}, r"commands is 5; give quantkit\.RunCommands\(\)"),
        ({"control": True, "record": None}, "control needs a recording"),
        ({"on_status": 5}, "on_status is 5; give a function"),
        ({"latency_ms": "a"}, "latency_ms is 'a'; give a number of milliseconds"),
        ({"latency_ms": -1}, "latency is -1 ms"),
        ({"batch_ms": "a"}, "batch_ms is 'a'; give a number of milliseconds"),
        ({"batch_ms": -1}, "batch_ms is -1; give 0 to 1000 milliseconds"),
        ({"batch_ms": float("nan")}, "batch_ms is nan; give"),
        ({"cash": 5}, "cash is 5; give balances by currency"),
        ({"benchmark": 5}, "benchmark is int; give the id of an instrument, or a pandas Series"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(
    options: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(qk.ConfigError, match=told):
        qk.paper(Idle, **{"okx": qk.OkxConfig(url="ws://127.0.0.1:9"), **options})
    assert not list(tmp_path.iterdir())
