"""Generated markets for the benchmarks: seeded, on a price grid, stored as any other data."""

from pathlib import Path

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, time_ns_of
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks
from quantkit.storage.writer import Writer

INSTRUMENT = Instrument("BENCH-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
START_NS = time_ns_of("2025-01-01")


def store_trades(root: Path, *, days: int, rows_per_day: int, with_candles: bool = False, seed: int = 1) -> None:
    """Store a random walk of trades, with the minute candles made of it if wanted."""
    rng = np.random.default_rng(seed)
    name, price = INSTRUMENT.id, 500_000
    with Writer(root, source="generated") as writer:
        writer.write_instrument(INSTRUMENT)
        for day in range(days):
            begin_ns = START_NS + day * NS_PER_DAY
            exchange_ns = begin_ns + np.sort(rng.integers(0, NS_PER_DAY - NS_PER_MIN, rows_per_day))
            delay = rng.integers(NS_PER_MS, 5 * NS_PER_MS, rows_per_day)
            ticks = price + np.cumsum(rng.integers(-1, 2, rows_per_day))
            price = int(ticks[-1])
            columns = {
                "received_ns": np.maximum.accumulate(exchange_ns + delay),
                "exchange_ns": exchange_ns,
                "price": ticks / 10,
                "qty": rng.integers(1, 1000, rows_per_day) / 1000,
                "side": rng.integers(0, 2, rows_per_day).astype(np.int8),
                "trade_id": np.arange(rows_per_day) + day * rows_per_day,
            }
            writer.write(Block(Stream("trade", name), rows_per_day, columns))
            if with_candles:
                writer.write(_candles(name, begin_ns, exchange_ns, ticks / 10, columns["qty"]))


def store_steady_trades(root: Path, rows: int, *, every_ns: int = 100 * NS_PER_MS, seed: int = 1) -> None:
    """Store a random walk of trades at equal distances, as long as it takes; sides alternate."""
    rng = np.random.default_rng(seed)
    with Writer(root, source="generated") as writer:
        writer.write_instrument(INSTRUMENT)
        exchange_ns = START_NS + every_ns * np.arange(1, rows + 1)
        ticks = 500_000 + np.cumsum(rng.integers(-1, 2, rows))
        for day in np.unique(exchange_ns // NS_PER_DAY):
            of_day = np.flatnonzero(exchange_ns // NS_PER_DAY == day)
            columns = {
                "received_ns": exchange_ns[of_day] + NS_PER_MS,
                "exchange_ns": exchange_ns[of_day],
                "price": ticks[of_day] / 10,
                "qty": np.ones(len(of_day)),
                "side": (of_day % 2).astype(np.int8),
                "trade_id": of_day,
            }
            writer.write(Block(Stream("trade", INSTRUMENT.id), len(of_day), columns))


def store_candles(root: Path, rows: int, *, seed: int = 1) -> None:
    """Store a random walk of minute candles without any finer data."""
    rng = np.random.default_rng(seed)
    ticks = 500_000 + np.cumsum(rng.integers(-50, 51, (rows, 5)).ravel()).reshape(rows, 5)
    open_ns = START_NS + NS_PER_MIN * np.arange(rows)
    with Writer(root, source="generated") as writer:
        writer.write_instrument(INSTRUMENT)
        for day in np.unique(open_ns // NS_PER_DAY):
            of_day = np.flatnonzero(open_ns // NS_PER_DAY == day)
            close_ns, prices = open_ns[of_day] + NS_PER_MIN, ticks[of_day] / 10
            columns = {
                "received_ns": close_ns,
                "exchange_ns": close_ns,
                "open_ns": open_ns[of_day],
                "close_ns": close_ns,
                "open": prices[:, 0],
                "high": prices.max(axis=1),
                "low": prices.min(axis=1),
                "close": prices[:, 4],
                "volume": np.ones(len(of_day)),
            }
            writer.write(Block(Stream("candle", INSTRUMENT.id, "1m"), len(of_day), columns))


def _candles(name: str, begin_ns: int, stamps: np.ndarray, prices: np.ndarray, qtys: np.ndarray) -> Block:
    minute = (stamps - begin_ns) // NS_PER_MIN
    first = np.flatnonzero(np.diff(minute, prepend=-1))
    last = np.append(first[1:], len(stamps)) - 1
    open_ns = begin_ns + minute[first] * NS_PER_MIN
    columns = {
        "received_ns": open_ns + NS_PER_MIN,
        "exchange_ns": open_ns + NS_PER_MIN,
        "open_ns": open_ns,
        "close_ns": open_ns + NS_PER_MIN,
        "open": prices[first],
        "high": np.maximum.reduceat(prices, first),
        "low": np.minimum.reduceat(prices, first),
        "close": prices[last],
        "volume": np.add.reduceat(qtys, first),
    }
    return Block(Stream("candle", name, "1m"), len(first), columns)


def tile_book(source: Path, root: Path, instrument: str, *, copies: int) -> int:
    """Store `copies` of a recorded book end to end, each from its own snapshot; return the level changes in all."""
    catalog, stream = Catalog(source), Stream("book", instrument)
    held = catalog.coverage()[stream]
    shift_ns = held.end_ns - held.start_ns + 100 * NS_PER_MS
    blocks = list(read_blocks(catalog, stream, start_ns=held.start_ns, end_ns=held.end_ns))
    levels = 0
    with Writer(root, source="recorded, tiled") as writer:
        writer.write_instrument(catalog.instruments()[instrument])
        for copy in range(copies):
            for block in blocks:
                names = ("bid_start", "bid_prices", "bid_qtys", "ask_start", "ask_prices", "ask_qtys", "is_snapshot")
                columns = {name: block.column(name) for name in (*names, "update_seq", "prev_update_seq")}
                for stamp in ("received_ns", "exchange_ns"):
                    columns[stamp] = block.column(stamp) + copy * shift_ns
                writer.write(Block(stream, block.size, columns))
                levels += len(columns["bid_prices"]) + len(columns["ask_prices"])
    return levels
