"""The first candles of a paper run: none is lost between the warm-up and the first push."""

from itertools import pairwise
from pathlib import Path

from quantkit.api import paper
from quantkit.events import Candle
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.verify import verify
from quantkit.sandbox import faults
from quantkit.sandbox.server import SandboxServer
from quantkit.strategy import Strategy


class Bars(Strategy):
    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, "1s", warmup=5)
        self.opens: list[int] = []

    def on_candle(self, candle: Candle) -> None:
        self.opens.append(candle.open_ns)


def test_no_bar_is_missing_though_the_subscription_came_late(tmp_path: Path) -> None:
    """Three refused handshakes hold the candles' connection up for more than a bar."""
    bars = Bars()
    with SandboxServer() as sandbox:
        sandbox.inject(faults.Handshake(path="business", times=3))
        result = paper(bars, okx=OkxConfig(url=sandbox.url), record=tmp_path, duration="5s")
    assert len(bars.opens) >= 8
    assert {later - earlier for earlier, later in pairwise(bars.opens)} == {1_000_000_000}
    assert not [warning for warning in result.warnings if "gap" in warning]
    (run,) = tmp_path.iterdir()
    assert verify(run).is_identical
