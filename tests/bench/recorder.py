"""Measure a collector from the socket to its files: `python tests/bench/recorder.py [SECONDS [MESSAGES_A_SECOND]]`.

`tests/bench/firehose.py` runs in a process of its own and sends numbered trades and tickers at a steady rate.
Afterwards the numbers are read from the Parquet files: a row that is missing or there twice breaks the count. Memory is
that of the process, sampled with every beat and printed as a curve while it runs; its slope is the least squares line
over all but the first ten seconds, or the second half of a short run. The last part stores trades without a socket.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantkit.collect.beats import Beat, Beats
from quantkit.collect.record import Collector
from quantkit.collect.settings import RecordSettings
from quantkit.events import MarketEvent, Trade
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.recorder import Recorder
from quantkit.instruments import Side
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile

FIREHOSE = Path(__file__).with_name("firehose.py")
INSTRUMENT = "BTC-USDT"
MESSAGES_PER_S = 20_000
ROWS = 1_000_000
#: Where the frames' numbers are stored.
NUMBERS = {"trade": "trade_id", "ticker": "bid_qty"}
WARM_S = 10
#: A run that is longer seals as often as a collector of a minute's files; a short one shall seal a few times.
ROLL_S, SHORT_ROLL_S, SHORT_S = 60, 5, 120


class Watcher:
    """Samples the memory and the rows with every beat.

    Args:
        seconds: How long the run is.
        say: Gets a line of the memory curve now and then; None for nobody.
    """

    def __init__(self, seconds: int, say: Callable[[str], None] | None) -> None:
        self.samples: list[tuple[float, int, int]] = []
        self.last: Beat | None = None
        self.waiting_max = 0
        self._seconds = seconds
        self._say = say
        self._begun = (0.0, 0.0)
        self._due_s = 0.0

    def show(self, beat: Beats) -> None:
        """Take a beat."""
        if not isinstance(beat, Beat):
            return
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        now_s = beat.now_ns / 1e9
        self.samples.append((now_s, pages * resource.getpagesize(), beat.rows))
        self.last = beat
        self.waiting_max = max(self.waiting_max, beat.waiting)
        if self._say is not None and now_s >= self._due_s:
            self._due_s = now_s + max(self._seconds / 30, 1.0)
            self._say(self._line())

    def flat(self) -> list[tuple[float, int, int]]:
        """Return the samples after the first seconds."""
        warm_s = self.samples[0][0] + min(WARM_S, self._seconds / 2)
        return [sample for sample in self.samples if sample[0] >= warm_s]

    def _line(self) -> str:
        (first_s, _, _), (now_s, memory, rows) = self.samples[0], self.samples[-1]
        cpu_s = time.process_time()
        before_s, before_cpu_s = self._begun
        self._begun = (now_s, cpu_s)
        share = f"{(cpu_s - before_cpu_s) / (now_s - before_s):4.0%} of a core" if before_s else "begun"
        return f"{now_s - first_s:7.0f} s  {memory / 1e6:6.1f} MB  {rows:>12,} rows  {share}"


def collected(seconds: int, rate: float = MESSAGES_PER_S, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Collect at a rate and return what was lost, the CPU and the memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, str(FIREHOSE), str(rate)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().strip()
        watcher = Watcher(seconds, say)
        settings = RecordSettings(roll_ns=(SHORT_ROLL_S if seconds <= SHORT_S else ROLL_S) * 10**9, min_free_bytes=0)
        collector = Collector(
            OkxSource(OkxConfig(url=url)),
            [INSTRUMENT],
            ["trades", "tickers"],
            folder,
            settings=settings,
            stop=threading.Event(),
            viewer=watcher,
        )
        begun_s = time.process_time()
        ended = collector.run(seconds * 10**9)
        cpu_s = time.process_time() - begun_s
        server.stdin.close()
        sent = json.loads(server.stdout.readline())
        assert not ended.error, ended.error
        stored = {kind: numbered(Catalog(folder), Stream(kind, INSTRUMENT)) for kind in NUMBERS}
        files = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    assert watcher.last is not None
    flat = watcher.flat()
    slope = statistics.linear_regression([at for at, _, _ in flat], [memory for _, memory, _ in flat]).slope
    return {
        "sent": sum(sent.values()),
        "rows": ended.rows,
        "stored": sum(stored.values()),
        "gaps": ended.gaps,
        "problems": watcher.last.problems,
        "rows_per_s": ended.rows / seconds,
        "waiting_max": watcher.waiting_max,
        "cpu_share": cpu_s / seconds,
        "memory_mb": max(memory for _, memory, _ in flat) / 1e6,
        "memory_least_mb": min(memory for _, memory, _ in flat) / 1e6,
        "memory_slope_mb_per_min": slope * 60 / 1e6,
        "bytes_per_row": files / max(sum(stored.values()), 1),
    }


def numbered(catalog: Catalog, stream: Stream) -> int:
    """Return how many rows a stream has in its files, whose numbers follow each other from 1 on.

    Raises:
        AssertionError: A number is missing, or there twice.
    """
    last = 0
    for entry in catalog.files(stream, 0, 2**62):
        file = DataFile(catalog.root, entry, verify_digest=True)
        for group in range(file.group_count):
            numbers = file.column(group, NUMBERS[stream.kind]).astype(np.int64)
            assert np.array_equal(numbers, np.arange(last + 1, last + 1 + len(numbers))), f"{stream} after {last}"
            last += len(numbers)
    return last


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


def run(seconds: int = 20, rate: float = MESSAGES_PER_S) -> None:
    """Print the figures."""
    print(f"recorder: {rate:,.0f} messages/s offered for {seconds} s, load {os.getloadavg()[0]:.1f}", flush=True)
    figures = collected(seconds, rate, lambda line: print(f"recorder {line}", flush=True))
    for name, value in figures.items():
        print(f"recorder {name}: {value if not isinstance(value, float) else round(value, 3)}")
    print(f"recorder rows written a second of CPU: {written_per_s():,.0f}")


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
