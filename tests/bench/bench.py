"""Measure quantkit's speed and memory: `python tests/bench/bench.py [NAME ...]`, all of them by default.

Every figure is CPU time (user and system), the median of several rounds; a ratio has its two sides measured in turn in
each round, so that a noisy machine hits both. Nothing here is a test: machines differ, ratios less so.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import imports
import live_book
import live_control
import live_decode
import live_pages
import live_socket
import margin
import orders
import quality
import recorder
import report
import research
from market import INSTRUMENT, store_trades, tile_book
from measure import cpu, show, spread

import quantkit as qk
from quantkit.rows.columns import SIDES, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks

ROUNDS = 9
ROOT = Path(__file__).resolve().parents[2]
BOOK = "binance:BTC-USDT-SWAP"
LEVELS = ("bid_start", "bid_prices", "bid_qtys", "ask_start", "ask_prices", "ask_qtys")


class Listen(qk.Strategy):
    """Hooks every trade and does nothing."""

    def on_start(self) -> None:
        self.subscribe_trades(INSTRUMENT.id)

    def on_trade(self, trade: qk.Trade) -> None:
        pass


class Rest(qk.Strategy):
    """Moves one resting order every ten candles; the trades that match it are not hooked."""

    def on_start(self) -> None:
        self.subscribe_candles(INSTRUMENT.id, "1m")
        self.seen = 0
        self.order: qk.Order | None = None

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen += 1
        if self.seen % 10 == 0:
            if self.order is None or not self.order.is_open:
                self.order = self.buy(candle.instrument, 0.01, price=candle.close * 0.999)
            else:
                self.amend(self.order, price=candle.close * 0.999)


class EveryBook(qk.Strategy):
    """Hooks every change of the book."""

    def on_start(self) -> None:
        self.subscribe_book(BOOK)

    def on_book(self, book: qk.Book) -> None:
        pass


class TimedBook(qk.Strategy):
    """Looks at the book every 100 ms."""

    def on_start(self) -> None:
        self.subscribe_book(BOOK)
        self.every("100ms")
        self.best: float | None = None

    def on_timer(self, name: str) -> None:
        book = self.book(BOOK)
        if book is not None:
            self.best = book.best_bid


class TwoQuotes(qk.Strategy):
    """Keeps two quotes resting, moved every second, so that every change of the book is looked at."""

    def on_start(self) -> None:
        self.subscribe_book(BOOK)
        self.every("1s")

    def on_timer(self, name: str) -> None:
        book = self.book(BOOK)
        if book is not None and book.mid is not None:
            self.quote(BOOK, bid=book.mid * 0.9999, ask=book.mid * 1.0001, qty=0.01)


def floor_of(root: Path) -> None:
    """Decode the columns, build the same objects with `map`, call an empty method."""
    listen = Listen()
    stream = Stream("trade", INSTRUMENT.id)
    for block in read_blocks(Catalog(root), stream, start_ns=0, end_ns=2**62):
        call = listen.on_trade
        for trade in map(
            qk.Trade,
            repeat(stream.instrument),
            block.column("exchange_ns").tolist(),
            block.column("received_ns").tolist(),
            block.column("price").tolist(),
            block.column("qty").tolist(),
            SIDES[block.column("side")].tolist(),
            block.column("trade_id").tolist(),
        ):
            call(trade)


def bench_trades(folder: Path) -> None:
    """Hooked trades over the floor."""
    rows = 2_000_000
    store_trades(folder / "trades", days=2, rows_per_day=rows // 2)
    floors, ours, ratios = [], [], []
    for _ in range(ROUNDS):
        floors.append(cpu(lambda: floor_of(folder / "trades")))
        ours.append(cpu(lambda: qk.backtest(Listen(), data=folder / "trades")))
        ratios.append(ours[-1] / floors[-1])
    show("hooked trade, floor: decode, build, call", f"{statistics.median(floors) / rows * 1e6:.3f} us")
    show("hooked trade, whole replay", f"{statistics.median(ours) / rows * 1e6:.3f} us")
    show("hooked trade, ratio to the floor", f"{statistics.median(ratios):.2f}", "<= 1.5")


def bench_candles(folder: Path) -> None:
    """A candle strategy matched on trades that nobody hooks."""
    rows = 10_000_000
    store_trades(folder / "candles", days=5, rows_per_day=rows // 5, with_candles=True)
    times = [cpu(lambda: qk.backtest(Rest(), data=folder / "candles", cash={"USDT": 1e6})) for _ in range(ROUNDS)]
    median, best = spread(times)
    show("unhooked trades behind a moved resting order, rows/s", f"{rows / median / 1e6:.1f} M", ">= 20 M")
    show("  the best round", f"{rows / best / 1e6:.1f} M")


def decode_book(root: Path) -> None:
    """Decode the columns of a book."""
    for block in read_blocks(Catalog(root), Stream("book", BOOK), start_ns=0, end_ns=2**62):
        for name in ("received_ns", "exchange_ns", "is_snapshot", *LEVELS):
            block.column(name)


def bench_book(folder: Path) -> None:
    """The recorded BTCUSDT book, ten copies end to end, over its columns alone."""
    levels = tile_book(ROOT / "data", folder / "book", BOOK, copies=10)
    rows = (
        (EveryBook, "book, every change hooked", ">= 5 M"),
        (TimedBook, "book, read every 100 ms", ">= 10 M"),
        (TwoQuotes, "book, two resting quotes", ""),
    )
    floors: list[float] = []
    times: dict[str, list[float]] = {what: [] for _, what, _ in rows}
    for _ in range(ROUNDS):
        floors.append(cpu(lambda: decode_book(folder / "book")))
        for strategy, what, _ in rows:
            times[what].append(cpu(lambda made=strategy: qk.backtest(made(), data=folder / "book")))  # type: ignore[misc]
    show("book, floor: decode the columns, levels/s", f"{levels / statistics.median(floors) / 1e6:.1f} M")
    for _, what, target in rows:
        median, best = spread(times[what])
        show(f"{what}, levels/s", f"{levels / median / 1e6:.1f} M", target)
        show("  the best round", f"{levels / best / 1e6:.1f} M")
        ratio = statistics.median(ours / floor for ours, floor in zip(times[what], floors, strict=True))
        show("  ratio to the floor", f"{ratio:.2f}")


_PEAK = """
import json, resource, sys
sys.path.insert(0, {here!r})
from bench import Listen
import quantkit as qk
qk.backtest(Listen(), data=sys.argv[1])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def bench_memory(folder: Path) -> None:
    """Peak memory of ten days over one."""
    peaks = {}
    for days in (1, 10):
        store_trades(folder / f"days{days}", days=days, rows_per_day=1_000_000)
        code = _PEAK.format(here=str(Path(__file__).parent))
        runs = [
            subprocess.run([sys.executable, "-c", code, str(folder / f"days{days}")], capture_output=True, check=True)
            for _ in range(3)
        ]
        peaks[days] = statistics.median(json.loads(run.stdout) for run in runs) / 1024
    show("peak memory, one day of 1 M hooked trades", f"{peaks[1]:.0f} MiB")
    show("peak memory, ten such days over one", f"{peaks[10] / peaks[1]:.3f}", "<= 1.10")


def bench_start(folder: Path) -> None:
    """Cold starts of the command line, wall time."""
    command = Path(sys.executable).parent / "quantkit"
    for arguments, what, target in (
        (["--help"], "quantkit --help", "< 0.3 s"),
        (["backtest", "ma_cross", "--runs", str(folder / "runs")], "quantkit backtest ma_cross", "< 3 s"),
    ):
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([command, *arguments], cwd=ROOT, capture_output=True, check=True)
            times.append(time.perf_counter() - begin)
        show(f"{what}, wall", f"{statistics.median(times):.2f} s", target)


BENCHES = {
    "trades": bench_trades,
    "candles": bench_candles,
    "book": bench_book,
    "orders": orders.bench_orders,
    "quoter": lambda _: orders.bench_quoter(ROOT / "data"),
    "cross": orders.bench_cross,
    "margin": margin.bench_margin,
    "fills": orders.bench_fills,
    "memory": bench_memory,
    "start": bench_start,
    "decode": lambda _: live_decode.run(),
    "frames": lambda _: live_book.run(),
    "socket": lambda _: live_socket.run(),
    "report": report.bench_report,
    "control": lambda _: live_control.run(),
    "pages": lambda _: live_pages.run(),
    "recorder": lambda _: recorder.run(),
    "import": imports.bench_import,
    "research": research.bench_research,
    "many": research.bench_many_files,
    "check": quality.bench_check,
}


def main() -> None:
    """Run the benches that are named, or all."""
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            BENCHES[name](Path(folder))


if __name__ == "__main__":
    main()
