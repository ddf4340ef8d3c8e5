"""Measure a paper run from the socket to the strategy's hook: `python tests/bench/live_socket.py`, or `run()`.

The sandbox runs in a process of its own and sends trades and tickers in equal numbers at a steady rate, a trade with
the moment at which it was made as its id. The run does what `quantkit live --paper` does: frames on the tape, rows to
Parquet, the engine on the main thread with its log. Latency is the wall time from making the frame to the hook; the
part after the receipt stamp is the run's own. The last line is of a run that gathers rows for less CPU.

CPU is that of this process and of its busy threads, in the steady state: from a status callback after the run's start
to the last one, so that connecting, loading the instruments and writing the result are left out. What a wake-up costs
depends on how warm the machine keeps its caches between two of them, so that it is dearer on a quiet machine.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.status import LiveStatus

SERVER = """
import sys
from quantkit.sandbox.benchmark import BenchmarkMarket
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.server import SandboxServer
with SandboxServer(market=BenchmarkMarket(float(sys.argv[1]))) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""
#: Messages a second, and for how many seconds: where little is to do, its share of a core takes longer to tell.
RATES = {1_000: 15, 10_000: 6, 30_000: 6}
#: Milliseconds between batches, in the run that asks for less CPU.
BATCH_MS = 4
#: Left out at the beginning: the sandbox starts to push, caches are filled.
WARM_S = 1.0


class Stopwatch(qk.Strategy):
    """Notes for every trade how long it took, and whether one is missing."""

    instrument: str = "BTC-USDT"

    def on_start(self) -> None:
        self.subscribe_trades(self.instrument)
        self.subscribe_tickers(self.instrument)
        self.us: list[int] = []
        self.own_us: list[int] = []
        self.moments: list[int] = []
        self.gaps = self.tickers = 0
        self.wall = time.time_ns

    def on_trade(self, trade: qk.Trade) -> None:
        now_us = self.wall() // 1000
        self.moments.append(now_us)
        self.us.append(now_us - trade.trade_id)
        self.own_us.append(now_us - trade.received_ns // 1000)

    def on_ticker(self, ticker: qk.Ticker) -> None:
        self.tickers += 1

    def on_gap(self, gap: qk.Gap) -> None:
        self.gaps += 1


class Meter:
    """Takes the CPU time of the process and its threads with every status of a run, once it is under way."""

    def __init__(self, strategy: Stopwatch) -> None:
        self._strategy = strategy
        self._first: tuple[float, float, dict[str, float]] | None = None
        self._last = (0.0, 0.0, dict[str, float]())
        self.queue = 0

    def watch(self, status: LiveStatus) -> None:
        self.queue = max(self.queue, status.queue)
        moments = self._strategy.moments
        if moments and time.time() - moments[0] / 1e6 > WARM_S:
            self._last = (time.monotonic(), time.process_time(), _thread_seconds())
            self._first = self._first or self._last

    def shares(self) -> str:
        """Return the shares of a core between the first status and the last."""
        assert self._first is not None
        (began, before, threads_before), (ended, after, threads) = self._first, self._last
        span_s = ended - began
        parts = [
            f"{name} {share:.1%}"
            for name, used_s in threads.items()
            if (share := (used_s - threads_before.get(name, 0.0)) / span_s) >= 0.001
        ]
        of_threads = f" ({', '.join(parts)})" if parts else ""
        return f"CPU {(after - before) / span_s:.1%} of a core{of_threads}"


def _thread_seconds() -> dict[str, float]:
    """Return what each thread has used, by name; nothing where the system does not say."""
    used: dict[str, float] = {}
    for thread in threading.enumerate():
        try:
            text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
        except OSError:
            continue
        used[thread.name] = int(text.split()[0]) / 1e9
    return used


def measure(rate: int, seconds: int, batch_ms: float = 0) -> str:
    """Return one rate's line."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(rate / 2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        url = server.stdout.readline().strip()
        strategy = Stopwatch()
        meter = Meter(strategy)
        with tempfile.TemporaryDirectory() as folder:
            paper(
                strategy,
                okx=OkxConfig(url=url),
                record=folder,
                duration=f"{seconds}s",
                match_on="trade",
                batch_ms=batch_ms,
                on_status=meter.watch,
            )
    finally:
        server.stdin.close()
        server.wait()
    begin = strategy.moments[0] + WARM_S * 1e6
    first = next(number for number, at in enumerate(strategy.moments) if at >= begin)
    us, own_us = strategy.us[first:], strategy.own_us[first:]
    span_s = (strategy.moments[-1] - begin) / 1e6
    cuts, own_cuts = statistics.quantiles(us, n=100), statistics.quantiles(own_us, n=100)
    gathered = f", batch_ms={batch_ms}" if batch_ms else ""
    return (
        f"{rate:>7,}/s offered{gathered}: {2 * len(us) / span_s:>9,.0f}/s at the hooks, p50 {cuts[49] / 1e3:.2f} ms, "
        f"p99 {cuts[98] / 1e3:.2f} ms, max {max(us) / 1e3:.1f} ms (from the stamp p50 {own_cuts[49] / 1e3:.2f} ms, "
        f"p99 {own_cuts[98] / 1e3:.2f} ms), {strategy.gaps} gaps, queue at most "
        f"{meter.queue:,}, {meter.shares()}"
    )


def run() -> None:
    """Print a line for each rate."""
    print("from the socket to the strategy's hook, recorded as it runs (sandbox in another process)")
    for rate, seconds in RATES.items():
        print(measure(rate, seconds), flush=True)
    rate, seconds = next(iter(RATES.items()))
    print(measure(rate, seconds, BATCH_MS), flush=True)


if __name__ == "__main__":
    run()
