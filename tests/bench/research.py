"""Speed of reading: a span against bare pyarrow, a book at random moments, a catalog of fifty thousand files."""

import hashlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from market import INSTRUMENT, START_NS, store_trades, tile_book
from measure import cpu, show, spread

from quantkit.clock import NS_PER_DAY
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Stream
from quantkit.storage import manifest
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root
from quantkit.storage.schema import folder_of

ROOT = Path(__file__).resolve().parents[2]
BOOK = "binance:BTC-USDT-SWAP"
ROUNDS = 9
COLUMNS = ["received_ns", "price", "qty"]


def bench_research(folder: Path) -> None:
    """A range of trades over the same row groups read by pyarrow alone; a book at random moments of a day."""
    store_trades(folder / "range", days=3, rows_per_day=2_000_000)
    catalog = Catalog(folder / "range")
    query = catalog.trades(INSTRUMENT.id, START_NS + NS_PER_DAY // 4, START_NS + 2 * NS_PER_DAY, columns=COLUMNS)
    # The same bytes: the row groups that the query reads, by whole groups.
    files = [folder / "range" / entry.path for entry in query.files]  # type: ignore[attr-defined]
    first = pq.ParquetFile(files[0])
    begin = next(
        group
        for group in range(first.num_row_groups)
        if first.metadata.row_group(group).column(0).statistics.max_raw >= query.start_ns
    )

    def bare() -> None:
        groups = [list(range(begin, first.num_row_groups)), None]
        for path, wanted in zip(files, groups, strict=True):
            file = pq.ParquetFile(path)
            file.read_row_groups(wanted or list(range(file.num_row_groups)), columns=COLUMNS)

    ratios = [cpu(query.arrow) / cpu(bare) for _ in range(ROUNDS)]
    show("time range of trades over bare pyarrow on the same bytes", f"{statistics.median(ratios):.2f}", "<= 1.3")
    bench_book_at(folder)


def bench_book_at(folder: Path) -> None:
    """Ten thousand random moments of a day, after the first; memory beside."""
    code = _BOOK_AT.format(here=str(Path(__file__).parent))
    levels = tile_book(ROOT / "data", folder / "day", BOOK, copies=40)
    done = subprocess.run([sys.executable, "-c", code, str(folder / "day")], capture_output=True, check=True)
    first, times, peak = json.loads(done.stdout)
    times = np.array(times) * 1e3
    show("book_at, levels of the day", f"{levels / 1e6:.0f} M")
    show("  the first question, CPU", f"{first:.1f} s")
    show("  10,000 random moments, CPU, mean", f"{times.mean():.2f} ms", "< 5 ms")
    show("  the slowest of a hundred", f"{np.percentile(times, 99):.2f} ms")
    show("  peak memory of the process", f"{peak:.0f} MiB", "bounded")


_BOOK_AT = """
import json, resource, sys, time
sys.path.insert(0, {here!r})
import numpy as np
from research import BOOK, Catalog, Stream
catalog = Catalog(sys.argv[1])
entry = max((each for each in catalog.entries if each.kind == "book"), key=lambda each: each.rows)
moments = np.random.default_rng(1).integers(entry.first_ns, entry.last_ns, 10_001).tolist()
times = []
for moment in moments:
    begin = time.process_time()
    catalog.book_at(BOOK, moment)
    times.append(time.process_time() - begin)
print(json.dumps([times[0], times[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def bench_many_files(folder: Path) -> None:
    """A catalog of 50,000 files: opening it, and starting a run over one of its days."""
    root = folder / "many"
    store_trades(root, days=3, rows_per_day=2_000)
    held = manifest.load(Root.of(root))
    assert held is not None
    others = [_entry(coin, day) for coin in range(137) for day in range(365)]
    (root / manifest.MANIFEST).write_bytes(manifest.dump(held._replace(entries=[*held.entries, *others])))
    median, best = spread(cpu(lambda: Catalog(root)) for _ in range(ROUNDS))
    show("catalog of 50,000 files, open, CPU", f"{median:.2f} s", "< 0.5 s")
    show("  the best round", f"{best:.2f} s")
    code = _FIRST_TRADE.format(here=str(Path(__file__).parent))
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, check=True)
        times.append(json.loads(done.stdout))
    show("  backtest over one of its days, to the first trade, CPU", f"{statistics.median(times):.2f} s", "< 1 s")


_FIRST_TRADE = """
import json, sys, time
sys.path.insert(0, {here!r})
import quantkit as qk
from research import INSTRUMENT
qk.backtest
class First(qk.Strategy):
    def on_start(self):
        self.subscribe_trades(INSTRUMENT.id)
        self.has_begun = False
    def on_trade(self, trade):
        if not self.has_begun:
            self.has_begun = True
            print(json.dumps(time.process_time() - begin))
begin = time.process_time()
qk.backtest(First(), data=sys.argv[1], start="2025-01-02", end="2025-01-03")
"""


def _entry(coin: int, day: int) -> FileEntry:
    begin_ns = START_NS + day * NS_PER_DAY
    stream = Stream("trade", f"COIN{coin}-USDT-SWAP")
    digest = hashlib.sha256(f"{coin} {day}".encode()).hexdigest()
    return FileEntry(
        path=f"{folder_of(stream, begin_ns)}/part-0.parquet",
        kind="trade",
        instrument=stream.instrument,
        rows=1_000,
        first_ns=begin_ns,
        last_ns=begin_ns + NS_PER_DAY - 1,
        size_bytes=12_345,
        sha256=digest,
        footer_sha256=digest,
        schema_version=1,
        source="generated",
    )
