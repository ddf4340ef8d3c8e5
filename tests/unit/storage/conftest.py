"""Rows to store, and a way to spoil a stored file while its manifest line stays true to the bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from damage import lines_of, resealed, write_lines

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import (
    BookUpdate,
    Candle,
    FeeRate,
    Funding,
    Gap,
    Mark,
    MarketEvent,
    OpenInterest,
    PositionTier,
    PriceLimit,
    Ticker,
    Trade,
)
from quantkit.instruments import Side
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-01T12:00:00Z")
BTC = "binance:BTC-USDT-SWAP"


@pytest.fixture
def make_trades() -> Callable[..., list[MarketEvent]]:
    """Return a function that makes n trades, one each second."""

    def make(n: int, *, start_ns: int = START_NS, step_ns: int = NS_PER_S, instrument: str = BTC) -> list[MarketEvent]:
        return [
            Trade(
                instrument,
                start_ns + i * step_ns - 5_000_000,
                start_ns + i * step_ns,
                100.0 + i % 7 / 2,
                1.0 + i % 3,
                Side.BUY if i % 2 else Side.SELL,
                i + 1,
            )
            for i in range(n)
        ]

    return make


@pytest.fixture
def make_candles() -> Callable[..., list[MarketEvent]]:
    """Return a function that makes n candles of one minute."""

    def make(n: int, *, open_ns: int = START_NS, instrument: str = BTC) -> list[MarketEvent]:
        found: list[MarketEvent] = []
        for i in range(n):
            opened = open_ns + i * NS_PER_MIN
            closed = opened + NS_PER_MIN
            found.append(
                Candle(instrument, closed, closed, opened, closed, 100.0 + i, 102.0 + i, 99.0, 101.0 + i, 5.0, "1m")
            )
        return found

    return make


@pytest.fixture
def one_of_each(
    make_trades: Callable[..., list[MarketEvent]], make_candles: Callable[..., list[MarketEvent]]
) -> dict[str, list[MarketEvent]]:
    """A few events of every kind, over two days, with every absence that a kind allows."""
    a, b = START_NS, START_NS + NS_PER_DAY
    return {
        "trade": make_trades(5) + make_trades(3, start_ns=b),
        "candle": make_candles(4),
        "ticker": [
            Ticker(BTC, a - 1, a, 99.5, 1.0, 100.5, 2.0, 100.0, 0.5),
            Ticker(BTC, a, a + 1, None, None, 100.5, 2.0),
            Ticker(BTC, a, b, None, None, None, None),
        ],
        "book": [
            BookUpdate(BTC, a, a, (99.0, 98.5), (1.0, 2.0), (100.0,), (3.0,), True, 10, -1),
            BookUpdate(BTC, a, a + 1, (99.0,), (0.0,), (), (), False, 11, 10),
            BookUpdate(BTC, a, a + 1, (), (), (), (), False, 12, 11),
            BookUpdate(BTC, a, a + 2, (), (), (100.0, 101.0), (0.0, 4.0), False, 13, 12),
            BookUpdate(BTC, b, b, (), (), (), (), True),
        ],
        "mark": [Mark(BTC, a, a, 100.25), Mark(BTC, a, a, 100.5, "index"), Mark(BTC, b, b, 101.0)],
        "open_interest": [
            OpenInterest(BTC, a, a, 1000.0, 10.5, 1_000_000.0),
            OpenInterest(BTC, a, a, 0.0),
            OpenInterest(BTC, b, b, 1001.0, None, 1.0),
        ],
        "position_tier": [
            PositionTier(BTC, a, a, "cross", 1, 0.0, 50.0, 0.004, 0.01, 100.0),
            PositionTier(BTC, a, a, "cross", 2, 51.0, 100.0, 0.005, 0.02, 50.0),
            PositionTier(BTC, b, b, "isolated", 1, 0.0, 75.0, 0.0, 0.0, 100.0),
        ],
        "price_limit": [
            PriceLimit(BTC, a, a, 105.5, 95.5, True),
            PriceLimit(BTC, a, b, None, 95.5, False),
            PriceLimit(BTC, b, b, None, None, False),
        ],
        "fee_rate": [FeeRate(BTC, a, a, 0.0002, 0.0005, "Lv1", "4"), FeeRate(BTC, b, b, -0.00005, 0.0003)],
        "funding": [Funding(BTC, a, a, -0.0001, b, False), Funding(BTC, b, b, 0.0002, b, True)],
        "gap": [
            Gap(BTC, a, a, "book", a - 5, a, "sequence"),
            Gap(BTC, b, b, "trades", a, b, "Verbindung verloren – ü"),
        ],
    }


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes events of one or more streams to a root and returns the root."""

    def write(*runs: list[MarketEvent], **options: Any) -> Path:
        with Writer(tmp_path / "data", **options) as writer:
            for run in runs:
                writer.write(Block.from_events(run))
        return tmp_path / "data"

    return write


@pytest.fixture
def tamper() -> Callable[..., Path]:
    """Return a function that rewrites the only file of a root, keeping the manifest true to the new bytes."""

    def spoil(
        root: Path,
        *,
        table: Callable[[Any], Any] = lambda table: table,
        rows: int | None = None,
        **options: Any,
    ) -> Path:
        (entry,) = lines_of(root).entries
        path = root / entry.path
        changed = table(pq.read_table(path, partitioning=None))
        pq.write_table(changed, path, **{"write_page_checksum": True, **options})
        sealed = resealed(root, entry)
        write_lines(root, [sealed if rows is None else msgspec.structs.replace(sealed, rows=rows)])
        return path

    return spoil
