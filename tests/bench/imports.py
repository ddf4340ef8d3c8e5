"""The import of trades from CSV against Arrow's own read of the same file, and the memory that it takes."""

import resource
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import cpu, show
from pyarrow import csv

from quantkit.importers import import_files

ROWS = 2_000_000
ROUNDS = 5
NAME = "BTCUSDT-trades-2025-06-01.csv"


def write_trades(path: Path, rows: int) -> Path:
    """Write trades as Binance does, with invented rows."""
    rng = np.random.default_rng(7)
    price = (1_040_000 + rng.integers(-5, 6, rows).cumsum()) / 10
    qty = rng.integers(1, 2_000, rows) / 1_000
    columns = {
        "id": np.arange(rows) + 10**9,
        "price": price,
        "qty": qty,
        "quote_qty": np.round(price * qty, 4),
        "time": 1_748_736_000_000 + rng.integers(0, 40, rows).cumsum(),
        "is_buyer_maker": np.where(rng.integers(0, 2, rows), "true", "false"),
    }
    csv.write_csv(pa.table(columns), path, csv.WriteOptions(quoting_style="none"))
    return path


def bench_import(folder: Path) -> None:
    """Show rows a second of one core, the ratio to Arrow's read, and the memory of small and large files."""
    path = write_trades(folder / NAME, ROWS)
    options = csv.ReadOptions(use_threads=False)
    reads, imports = [], []
    for number in range(ROUNDS):
        reads.append(cpu(lambda: csv.read_csv(path, read_options=options)))
        data = folder / f"import-{number}"
        imports.append(cpu(lambda data=data: import_files(None, [path], to=data)))  # type: ignore[misc]
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, path.name)
    zips = [
        cpu(lambda data=folder / f"zip-{number}": import_files(None, [packed], to=data))  # type: ignore[misc]
        for number in range(ROUNDS)
    ]
    read, whole, inflated = (statistics.median(each) for each in (reads, imports, zips))
    show("import of trades: rows a second of one core", f"{ROWS / whole / 1e6:.2f} M", ">= 2 M")
    show("import of trades in zip: rows a second of one core", f"{ROWS / inflated / 1e6:.2f} M", ">= 2 M")
    show("import of trades: times the CPU of Arrow's read", f"{whole / read:.2f}", "")
    peaks = [_peak_mb(write_trades(folder / str(rows) / NAME, rows)) for rows in (_made(folder, n) for n in (1, 4))]
    show("import of trades: memory of 1 M and 4 M rows", f"{peaks[0]:.0f}, {peaks[1]:.0f} MB", "bounded")


def _made(folder: Path, millions: int) -> int:
    (folder / str(millions * 1_000_000)).mkdir()
    return millions * 1_000_000


def _peak_mb(path: Path) -> float:
    """Return the memory that an import in a process of its own takes at most."""
    words = [sys.executable, __file__, str(path)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    import_files(None, [source], to=source.parent / "data")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
