"""Flipped bits over whole data folders: the same events and the same result, or one line that names the place.

`QUANTKIT_CAMPAIGN=200 pytest -n0 tests/property/test_flipped_bits.py` tries 200 times as many.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from campaign import scaled
from damage import flipped

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.storage.catalog import Catalog
from quantkit.storage.columns import Block, Stream
from quantkit.storage.reader import read_events
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-01T12:00:00Z")
SWAP = "BTC-USDT-SWAP"
COIN = "binance:ETH-USDT"


class Both(qk.Strategy):
    """Trades on candles and on trades, so that every row of both can show in the result."""

    def on_start(self) -> None:
        self.subscribe_candles(SWAP, "1m", warmup=2)
        self.subscribe_trades(COIN)

    def on_candle(self, candle: qk.Candle) -> None:
        self.target(SWAP, 1 if candle.close > candle.open else -1)

    def on_trade(self, trade: qk.Trade) -> None:
        if trade.side == "buy" and not self.position(COIN):
            self.buy(COIN, 1)


def _trades(count: int) -> list[MarketEvent]:
    sides = (qk.Side.BUY, qk.Side.SELL)
    return [
        Trade(
            COIN, START_NS + i * NS_PER_S - 7, START_NS + i * NS_PER_S, 50 + i % 9 / 4, 1.0 + i % 3, sides[i % 2], i + 1
        )
        for i in range(count)
    ]


def _candles(count: int) -> list[MarketEvent]:
    found: list[MarketEvent] = []
    for i in range(count):
        opened, close = START_NS + (i - 2) * NS_PER_MIN, 101.0 + i * 7 % 5
        closed = opened + NS_PER_MIN
        found.append(Candle(SWAP, closed, closed, opened, closed, 103.0, 106.0, 99.0, close, 5.0 + i, "1m"))
    return found


def _others() -> list[list[MarketEvent]]:
    a = START_NS
    return [
        [Ticker(COIN, a + i - 1, a + i, 49.5, 1.0 + i, None if i % 2 else 50.5, 2.0, 50.0, 0.5) for i in range(9)],
        [
            BookUpdate(COIN, a, a + i, (49.0 - i / 4, 48.0), (1.0, 2.0), (51.0,), (3.0 + i,), i == 0, 10 + i, 9 + i)
            for i in range(9)
        ],
        [Mark(SWAP, a + i * NS_PER_S, a + i * NS_PER_S, 100.25 + i) for i in range(9)],
        [Funding(SWAP, a + i * NS_PER_MIN, a + i * NS_PER_MIN, 0.0001 * i, a, True) for i in range(5)],
        [Gap(COIN, a + 5, a + 5, "tickers", a, a + 5, "sequence")],
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with every kind of file and line: rows, metadata, notes, watched streams, several row groups."""
    root = tmp_path_factory.mktemp("flips") / "data"
    with Writer(root, source="made up", row_group_rows=40) as writer:
        for rows in (_trades(100), _candles(12), *_others()):
            writer.write(Block.from_events(rows))
        writer.write_instrument(qk.Instrument(COIN, price_step="0.25", qty_step="1", valid_from_ns=1))
        writer.write_instrument(
            qk.Instrument(SWAP, kind="swap", price_step="0.25", qty_step="1", contract_value="0.01", valid_from_ns=1)
        )
        writer.note("received_shift_ns", 7)
        for kind in ("trade", "ticker", "book"):
            writer.watched(Stream(kind, COIN), START_NS, START_NS + 10 * NS_PER_MIN)
    return root


def told(root: Path) -> list[Any]:
    """Return all that a folder says: what it holds, each event, and what a run over it comes to."""
    catalog = Catalog(root)
    streams = [stream for stream in catalog.coverage() if any(entry.stream == stream for entry in catalog.entries)]
    result = qk.backtest(Both(), data=catalog, cash={"USDT": 100_000})
    return [
        catalog.coverage(),
        catalog.instruments(),
        catalog.notes(),
        list(read_events(catalog, streams, 0, 2**62)),
        result.hash,
        result.assumptions,
        result.warnings,
        result.config["data_files"],
    ]


Spoil = Callable[[Path, int], None]


def outcome(
    root: Path, path: Path, content: bytes, expected: list[Any], *, read: Callable[[Path], list[Any]] = told
) -> str:
    """Return what becomes of a folder in which a file holds other bytes: `same`, or `named` by one clear line."""
    good = path.read_bytes()
    path.write_bytes(content)
    try:
        found = read(root)
    except qk.DataError as error:
        message = str(error)
        assert "\n" not in message
        # The file is named, or the manifest where its line is at fault.
        assert str(root) in message or path.parent.name in message, message
        return "named"
    finally:
        path.write_bytes(good)
    assert found == expected, f"{path.name}: another result"
    return "same"


def files_of(root: Path) -> list[Path]:
    """Return every file of a folder but its lock."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_random_flip_in_a_data_folder_is_named_or_changes_nothing(folder: Path) -> None:
    expected = told(folder)
    rng = np.random.default_rng(20260101)
    files = files_of(folder)
    counts: Counter[tuple[str, str]] = Counter()
    for _ in range(scaled(60)):
        path = files[int(rng.integers(len(files)))]
        good = path.read_bytes()
        spoilt = flipped(good, int(rng.integers(8 * len(good))))
        counts[path.suffix, outcome(folder, path, spoilt, expected)] += 1
    print(dict(counts))
    assert counts[".jsonl", "same"] == 0
