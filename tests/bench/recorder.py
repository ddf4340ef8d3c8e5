"""Measure a collector from the socket to its files: `python tests/bench/recorder.py [SECONDS]`, or `run()`.

The sandbox runs in a process of its own and sends trades and tickers in equal numbers at a steady rate. Every trade's
id follows the one before, so that a lost one is a gap. Memory is that of the process, sampled with every beat: its
slope is the least squares line over the second half. The last part stores trades without a socket.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from quantkit.collect.beats import Beat, Beats
from quantkit.collect.record import Collector
from quantkit.collect.settings import RecordSettings
from quantkit.events import MarketEvent, Trade
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.recorder import Recorder
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog

SERVER = """
import sys
from quantkit.sandbox.benchmark import BenchmarkMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.sandbox.rules import Rules
# On a busy machine it is this process that is late: nothing shall be cut off for it.
rules = Rules(write_buffer_bytes=256 << 20)
with SandboxServer(market=BenchmarkMarket(float(sys.argv[1])), rules=rules) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""
MESSAGES_PER_S = 20_000
ROWS = 1_000_000


class Watcher:
    """Samples the memory and the rows with every beat."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int, int]] = []
        self.last: Beat | None = None

    def show(self, beat: Beats) -> None:
        """Take a beat."""
        if isinstance(beat, Beat):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append((beat.now_ns / 1e9, pages * resource.getpagesize(), beat.rows))
            self.last = beat


def collected(seconds: int) -> dict[str, Any]:
    """Collect at the rate and return what was lost, the CPU and the memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(MESSAGES_PER_S / 2)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        watcher = Watcher()
        settings = RecordSettings(roll_ns=5_000_000_000, min_free_bytes=0)
        collector = Collector(
            OkxSource(OkxConfig(url=url)),
            ["BTC-USDT"],
            ["trades", "tickers"],
            folder,
            settings=settings,
            stop=threading.Event(),
            viewer=watcher,
        )
        begun_s = time.process_time()
        ended = collector.run(seconds * 10**9)
        cpu_s = time.process_time() - begun_s
        server.terminate()
        assert not ended.error, ended.error
        stored = sum(h.rows for s, h in Catalog(folder).coverage().items() if s.kind not in ("gap", "instrument"))
        files = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    assert watcher.last is not None
    half = watcher.samples[len(watcher.samples) // 2 :]
    slope = statistics.linear_regression([at for at, _, _ in half], [memory for _, memory, _ in half]).slope
    return {
        "rows": ended.rows,
        "stored": stored,
        "gaps": ended.gaps,
        "problems": watcher.last.problems,
        "rows_per_s": ended.rows / seconds,
        "cpu_share": cpu_s / seconds,
        "memory_mb": max(memory for _, memory, _ in half) / 1e6,
        "memory_slope_mb_per_min": slope * 60 / 1e6,
        "bytes_per_row": files / max(stored, 1),
    }


def written_per_s() -> float:
    """Return how many trades a second of CPU time the recorder stores."""
    start_ns = 1_796_000_000_000_000_000
    rows: list[MarketEvent] = [
        Trade("BTC-USDT", start_ns + i * 50_000, start_ns + i * 50_003, 60_000.0 + i % 97 / 10, 0.1, Side.BUY, i + 1)
        for i in range(ROWS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        begun_s = time.process_time()
        with Recorder(folder, rotate_s=1e9, is_taped=True) as recorder:
            for start in range(0, ROWS, 400):
                recorder.add(rows[start : start + 400])
        spent_s = time.process_time() - begun_s
        assert recorder.status.committed == ROWS
    return ROWS / spent_s


def run(seconds: int = 20) -> None:
    """Print the figures."""
    figures = collected(seconds)
    for name, value in figures.items():
        print(f"recorder {name}: {value if not isinstance(value, float) else round(value, 3)}")
    print(f"recorder rows written a second of CPU: {written_per_s():,.0f}")


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
