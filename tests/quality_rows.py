"""Good rows of every kind for tests of the check, and a way to store them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, MarketEvent, Ticker, Trade
from quantkit.instruments import Instrument, Side
from quantkit.quality import Finding, QualityReport, check
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01T12:00:00Z")
STEPS = Instrument(BTC, kind="swap", price_step="0.5", qty_step="1")


def at(second: float) -> int:
    """Return a moment of the day."""
    return START_NS + round(second * NS_PER_S)


def trades(count: int, *, every_s: float = 1.0, first_id: int = 1) -> list[Trade]:
    """Return trades that walk up and down by steps, with consecutive ids, five milliseconds after they happened."""
    return [
        Trade(
            BTC,
            at(n * every_s) - 5 * NS_PER_MS,
            at(n * every_s),
            100.0 + abs(n % 20 - 10) / 2,
            1.0 + n % 3,
            Side.BUY if n % 2 else Side.SELL,
            first_id + n,
        )
        for n in range(count)
    ]


def tickers(count: int, *, every_s: float = 1.0) -> list[Ticker]:
    """Return quotes around the trades."""
    return [
        Ticker(BTC, at(n * every_s) - 6 * NS_PER_MS, at(n * every_s) - NS_PER_MS, 99.5, 1.0 + n % 5, 105.5, 2.0 + n % 3)
        for n in range(count)
    ]


def books(count: int, *, every_s: float = 1.0) -> list[BookUpdate]:
    """Return a snapshot and changes of its levels, each with the number of the one before."""
    found = [
        BookUpdate(BTC, at(-1), at(-1), (99.0, 98.5), (1.0, 2.0), (106.0, 106.5), (3.0, 1.0), True, 10, -1),
    ]
    for n in range(count):
        now = at(n * every_s)
        found.append(
            BookUpdate(BTC, now, now, (98.5,), (1.0 + n % 4,), (106.5,), (1.0 + n % 3,), False, 11 + n, 10 + n)
        )
    return found


def candles(rows: Sequence[Trade], count: int) -> list[Candle]:
    """Return the candles of one minute that these trades give, all of them with trades."""
    found = []
    for n in range(count):
        opened = START_NS + n * NS_PER_MIN
        inside = [row for row in rows if opened <= row.exchange_ns < opened + NS_PER_MIN]
        prices = [row.price for row in inside]
        closed = opened + NS_PER_MIN
        ohlc = prices[0], max(prices), min(prices), prices[-1]
        found.append(Candle(BTC, closed, closed, opened, closed, *ohlc, sum(row.qty for row in inside), "1m"))
    return found


def stored(root: Path, *runs: Sequence[MarketEvent], **options: Any) -> Path:
    """Write rows, and the metadata of their instrument, and return the folder."""
    with Writer(root, **options) as writer:
        for run in runs:
            writer.write(Block.from_events(run))
        writer.write_instrument(STEPS)
    return root


def checked(root: Path, **options: Any) -> QualityReport:
    """Check a folder."""
    return check(Catalog(root), **options)


def found_in(root: Path, **options: Any) -> dict[str, Finding]:
    """Return the findings of a folder by the word of their check; each comes once."""
    findings = checked(root, **options).findings
    by_code = {finding.code: finding for finding in findings}
    assert len(by_code) == len(findings), findings
    return by_code
