"""Measure a paper run from the socket to the strategy's hook: `python tests/bench/live_socket.py`, or `run()`.

The sandbox runs in a process of its own and sends trades and tickers in equal numbers at a steady rate, a trade with
the moment at which it was made as its id. The run does what `quantkit live --paper` does: frames on the tape, rows to
Parquet, the engine on the main thread with its log. Latency is the wall time from making the frame to the hook; CPU is
that of this process.
"""

import statistics
import subprocess
import sys
import tempfile
import time

import quantkit as qk
from quantkit.feeds.okx.config import OkxConfig
from quantkit.run import paper

SERVER = """
import sys
from quantkit.sandbox.benchmark import BenchmarkMarket
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.server import SandboxServer
with SandboxServer(market=BenchmarkMarket(float(sys.argv[1]))) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""
RATES = (1_000, 10_000, 30_000)
SECONDS = 6
#: Left out at the beginning: the sandbox starts to push, caches are filled.
WARM_S = 1.0


class Stopwatch(qk.Strategy):
    """Notes for every trade how long it took, and whether one is missing."""

    instrument: str = "BTC-USDT"

    def on_start(self) -> None:
        self.subscribe_trades(self.instrument)
        self.subscribe_tickers(self.instrument)
        self.us: list[int] = []
        self.moments: list[int] = []
        self.gaps = self.tickers = 0
        self.wall = time.time_ns

    def on_trade(self, trade: qk.Trade) -> None:
        now_us = self.wall() // 1000
        self.moments.append(now_us)
        self.us.append(now_us - trade.trade_id)

    def on_ticker(self, ticker: qk.Ticker) -> None:
        self.tickers += 1

    def on_gap(self, gap: qk.Gap) -> None:
        self.gaps += 1


def measure(rate: int) -> str:
    """Return one rate's line."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(rate / 2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        url = server.stdout.readline().strip()
        strategy = Stopwatch()
        queue = 0
        began_cpu, began_wall = 0.0, 0.0

        def watch(status: object) -> None:
            nonlocal queue, began_cpu, began_wall
            queue = max(queue, status.queue)  # type: ignore[attr-defined]
            if not began_cpu and strategy.moments and time.time() - strategy.moments[0] / 1e6 > WARM_S:
                began_cpu, began_wall = time.process_time(), time.time()

        with tempfile.TemporaryDirectory() as folder:
            paper(
                strategy,
                okx=OkxConfig(url=url),
                record=folder,
                duration=f"{SECONDS}s",
                match_on="trade",
                on_status=watch,
            )
            cpu = (time.process_time() - began_cpu) / (time.time() - began_wall)
    finally:
        server.stdin.close()
        server.wait()
    begin = strategy.moments[0] + WARM_S * 1e6
    us = [us for at, us in zip(strategy.moments, strategy.us, strict=True) if at >= begin]
    span_s = (strategy.moments[-1] - begin) / 1e6
    cuts = statistics.quantiles(us, n=100)
    return (
        f"{rate:>7,}/s offered: {2 * len(us) / span_s:>9,.0f}/s at the hooks, p50 {cuts[49] / 1e3:.2f} ms, "
        f"p99 {cuts[98] / 1e3:.2f} ms, max {max(us) / 1e3:.1f} ms, {strategy.gaps} gaps, queue at most {queue:,}, "
        f"CPU {cpu:.0%} of a core"
    )


def run() -> None:
    """Print a line for each rate."""
    print("from the socket to the strategy's hook, recorded as it runs (sandbox in another process)")
    for rate in RATES:
        print(measure(rate), flush=True)


if __name__ == "__main__":
    run()
