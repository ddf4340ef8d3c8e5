"""Speed of the check: rows of each kind against the same columns merely decoded, in one run; memory of long streams."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from market import INSTRUMENT, START_NS, store_candles, store_trades, tile_book
from measure import cpu, show

from quantkit.quality import check
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile, row_groups
from quantkit.storage.reader import read_blocks
from quantkit.storage.writer import Writer

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[2]
BOOK = "binance:BTC-USDT-SWAP"


def bench_check(folder: Path) -> None:
    """Trades alone, trades with tickers and candles across, candles, and a book that is rebuilt."""
    store_trades(folder / "trades", days=2, rows_per_day=1_000_000)
    store_candles(folder / "candles", 500_000)
    tile_book(ROOT / "data", folder / "book", BOOK, copies=20)
    store_trades(folder / "across", days=1, rows_per_day=1_000_000, with_candles=True)
    _store_tickers(folder / "across")
    for name, words in (
        ("trades", "trades"),
        ("across", "trades against tickers and candles"),
        ("candles", "candles"),
        ("book", "books"),
    ):
        catalog = Catalog(folder / name)
        kinds = {entry.kind for entry in catalog.entries} - {"instrument", "gap"}
        rows = sum(entry.rows for entry in catalog.entries if entry.kind in kinds)
        times = [(cpu(lambda c=catalog: check(c)), cpu(lambda c=catalog: _read(c))) for _ in range(ROUNDS)]
        checked, read = (statistics.median(each) for each in zip(*times, strict=True))
        ratio = statistics.median(one / other for one, other in times)
        show(f"check of {words}, CPU", f"{rows / checked / 1e6:.2f} M rows/s")
        show("  the same columns decoded and digested alone", f"{rows / read / 1e6:.2f} M rows/s")
        show("  check over reading", f"{ratio:.2f}")
    code = _PEAK.format(here=str(Path(__file__).parent))
    for count in (1, 2):
        root = folder / f"long-{count}"
        store_trades(root, days=count, rows_per_day=2_000_000)
        done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, check=True)
        show(f"  peak memory of a check of {2 * count} M trades", f"{json.loads(done.stdout):.0f} MiB", "flat")


def _read(catalog: Catalog) -> None:
    for group in _groups(catalog):
        group.column("seq")


def _groups(catalog: Catalog) -> Iterator[Block]:
    for entry in catalog.entries:
        if entry.kind not in ("instrument", "gap"):
            names = (*STAMPS, *KIND_COLUMNS[entry.kind])
            for group in row_groups(DataFile(catalog.root, entry, verify_digest=True)):
                yield Block(entry.stream, len(group.received_ns), {name: group.column(name) for name in names})


def _store_tickers(root: Path) -> None:
    """Store a quote around every second trade."""
    stream = Stream("trade", INSTRUMENT.id)
    blocks = read_blocks(Catalog(root), stream, start_ns=START_NS, end_ns=2**62)
    with Writer(root) as writer:
        for block in blocks:
            stamps, price, qty = (block.column(name)[::2] for name in ("received_ns", "price", "qty"))
            columns = {"received_ns": stamps, "exchange_ns": stamps, "bid": price, "bid_qty": qty}
            columns |= {"ask": price + 0.1, "ask_qty": qty, "last": price, "last_qty": qty}
            writer.write(Block(Stream("ticker", INSTRUMENT.id), len(stamps), columns))


_PEAK = """
import json, resource, sys
sys.path.insert(0, {here!r})
from quality import Catalog, check
check(Catalog(sys.argv[1]))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""
