"""What a paper run is held against: an instrument that it listens to and does not trade, counted from its recording."""

from pathlib import Path

import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.report.result import Result
from quantkit.rows.columns import Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import BLOCK_ROWS, read_blocks

SWAP, SPOT = "BTC-USDT-SWAP", "ETH-USDT"
TRADES = """
from quantkit import Strategy

class Trades(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.subscribe_tickers("ETH-USDT")
        self.every("300ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        self.target("BTC-USDT-SWAP", self.ticks % 2)
"""


def test_a_paper_run_is_held_against_what_it_is_told(tmp_path: Path) -> None:
    """Live, saved, and in a backtest of the recording: by the first and the last mid of a pair that is not traded."""
    (file := tmp_path / "trades.py").write_text(TRADES)
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        okx = OkxConfig(url=sandbox.url)
        live = paper(str(file), okx=okx, record=tmp_path / "runs", duration="3s", benchmark=SPOT)
        with pytest.raises(ConfigError, match=rf"benchmark 'SOL-USDT' is no instrument of the run; there is {SWAP}"):
            paper(str(file), okx=okx, record=tmp_path / "refused", duration="3s", benchmark="SOL-USDT")
    assert not (tmp_path / "refused").exists() or not list((tmp_path / "refused").glob("*/result"))
    assert {fill.instrument for fill in live.outcome.fills} == {SWAP}

    (folder,) = (tmp_path / "runs").iterdir()
    span = {"start_ns": live.outcome.start_ns, "end_ns": live.outcome.end_ns}
    stream = Stream("ticker", SPOT)
    blocks = list(read_blocks(Catalog(folder / "data"), stream, block_rows=BLOCK_ROWS, **span))
    mids = [
        (bid + ask) / 2 for block in blocks for bid, ask in zip(block.column("bid"), block.column("ask"), strict=True)
    ]
    gained = 100 * (mids[-1] / mids[0] - 1)
    assert len(mids) > 2
    loaded = Result.load(folder / "result")
    again = qk.backtest(str(file), data=folder / "data", benchmark=SPOT)
    for result in (live, loaded, again):
        assert result.benchmark is not None
        assert (result.benchmark.name, result.numbers["benchmark"]) == (SPOT, SPOT)
        assert result.benchmark.return_pct == result.numbers["buy_and_hold_pct"] == pytest.approx(gained, rel=1e-9)
    assert qk.backtest(str(file), data=folder / "data").numbers["benchmark"] == SWAP
