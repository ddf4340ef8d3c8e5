"""Flipped bits over whole data folders: the same events and the same result, or one line that names the place.

`QUANTKIT_CAMPAIGN=200 pytest -n0 tests/property/test_flipped_bits.py` tries 200 times as many.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from campaign import scaled
from damage import flipped, unguarded

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
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
    Timing,
    Trade,
)
from quantkit.live.verify import verify
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.schema import TABLES
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
        [OpenInterest(SWAP, a + i * NS_PER_S, a + i * NS_PER_S, 1_000.0 + i, 10.0 + i, None) for i in range(5)],
        [Funding(SWAP, a + i * NS_PER_MIN, a + i * NS_PER_MIN, 0.0001 * i, a, True) for i in range(5)],
        [Gap(COIN, a + 5, a + 5, "tickers", a, a + 5, "sequence")],
        [PositionTier(SWAP, a, a, "cross", 1 + i, 50.0 * i, 50.0 * i + 49, 0.004, 0.01, 100.0) for i in range(5)],
        [PriceLimit(SWAP, a + i * NS_PER_S, a + i * NS_PER_S, 105.0 + i, None, True) for i in range(5)],
        [FeeRate(SWAP, a + i * NS_PER_S, a + i * NS_PER_S, 0.0002, 0.0005, "Lv1", "4") for i in range(5)],
        [Timing(COIN, a + i * NS_PER_S, a + i * NS_PER_S, 0, a + i * NS_PER_S, 1_000 * i) for i in range(9)],
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


def told_rows(root: Path) -> list[Any]:
    """Return what a data folder holds, and each event."""
    catalog = Catalog(root)
    streams = sorted({entry.stream for entry in catalog.entries if entry.kind != "instrument"})
    events = list(read_events(catalog, streams, 0, 2**62))
    return [catalog.coverage(), catalog.instruments(), catalog.notes(), events]


def told(root: Path) -> list[Any]:
    """Return all that a data folder says: what it holds, each event, and what a run over it comes to."""
    result = qk.backtest(Both(), data=root, cash={"USDT": 100_000})
    return [
        told_rows(root),
        result.hash,
        result.assumptions,
        result.warnings,
        result.config["data_files"],
    ]


def outcome(
    root: Path, path: Path, content: bytes, expected: list[Any], *, read: Callable[[Path], list[Any]] = told
) -> str:
    """Return what becomes of a folder in which a file holds other bytes: `same`, or `named` by one clear line."""
    good = path.read_bytes()
    path.write_bytes(content)
    try:
        found = read(root)
    except qk.QuantkitError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith(str(root)), message
        return "named"
    finally:
        path.write_bytes(good)
    assert found == expected, f"{path.name}: another result"
    return "same"


def files_of(root: Path) -> list[Path]:
    """Return every file of a folder but the locks."""
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def campaign(
    root: Path, count: int, seed: int, expected: list[Any], *, read: Callable[[Path], list[Any]] = told
) -> Counter[tuple[str, str]]:
    """Flip bits one at a time, in each file equally often, and return what became of them by kind of file."""
    rng = np.random.default_rng(seed)
    files = files_of(root)
    counts: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        path = files[number % len(files)]
        good = path.read_bytes()
        bit = int(rng.integers(8 * len(good)))
        counts[path.suffix, outcome(root, path, flipped(good, bit), expected, read=read)] += 1
    print(dict(counts))
    return counts


def test_the_folder_has_what_could_go_wrong(folder: Path) -> None:
    """Or else a campaign over it would prove little."""
    catalog = Catalog(folder)
    assert {entry.kind for entry in catalog.entries} == {*TABLES}
    assert (len(catalog.watched), bool(catalog.notes())) == (3, True)
    result = qk.backtest(Both(), data=catalog, cash={"USDT": 100_000})
    assert {fill.instrument for fill in result.outcome.fills} == {SWAP, COIN}
    assert pq.read_metadata(next(folder.rglob("kind=trade/**/*.parquet"))).num_row_groups > 1


@pytest.mark.campaign
def test_a_random_flip_in_a_data_folder_is_named_or_changes_nothing(folder: Path) -> None:
    counts = campaign(folder, scaled(60), 20260101, told(folder))
    assert counts[".jsonl", "same"] == 0
    assert counts[".parquet", "named"] > 0


@pytest.mark.campaign
def test_a_random_flip_in_a_manifest_without_checksums_is_one_line_at_worst(folder: Path) -> None:
    """What an older quantkit wrote may be read as something else, which `data check` warns of; it never fails oddly."""
    path = folder / "manifest.jsonl"
    good = path.read_bytes()
    old = b"".join(map(unguarded, good.splitlines()))
    rng = np.random.default_rng(7)
    try:
        for _ in range(scaled(60)):
            path.write_bytes(flipped(old, int(rng.integers(8 * len(old)))))
            try:
                told(folder)
            except qk.QuantkitError as error:
                message = str(error)
                assert "\n" not in message
    finally:
        path.write_bytes(good)


def _places(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Yield every kind of place in a data folder's files, each as a byte in it."""
    for path in files_of(folder):
        content = path.read_bytes()
        if path.suffix == ".jsonl":
            for name in (b'check":"', b'version":', b'watched":', b'first_ns":', b'last_open_ns":', b'notes":', b"\n"):
                yield f"manifest {name.decode(errors='replace').strip()}", path, content.index(name) + len(name) - 1
            continue
        kind = next(part.removeprefix("kind=") for part in path.parts if part.startswith("kind="))
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        group = pq.read_metadata(path).row_group(0)
        for index in range(group.num_columns):
            column = group.column(index)
            start = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
            name = f"{kind} {column.path_in_schema}"
            yield f"{name} page header", path, start + 1
            yield f"{name} page", path, start + column.total_compressed_size - 1
        yield f"{kind} first mark", path, 0
        yield f"{kind} footer", path, footer + 20
        yield f"{kind} footer length", path, len(content) - 8
        yield f"{kind} last mark", path, len(content) - 1


def test_a_planted_flip_at_every_kind_of_place(folder: Path) -> None:
    """In every column of every kind, its pages and their headers; footers; each part of the manifest's lines."""
    expected = told_rows(folder)
    seen: dict[str, set[str]] = {}
    for name, path, byte in _places(folder):
        for bit in range(8) if path.suffix == ".jsonl" else (6,):
            found = outcome(folder, path, flipped(path.read_bytes(), 8 * byte + bit), expected, read=told_rows)
            seen.setdefault(name, set()).add(found)
    assert {name for name in seen if name.startswith("manifest") and seen[name] != {"named"}} == set()
    unnoticed = {name for name, found in seen.items() if "same" in found}
    # Nothing is kept in a file's first mark, and page headers have fields that nobody reads.
    assert {name for name in unnoticed if not name.endswith(("first mark", "page header"))} == set()
    assert len(seen) > 150


def test_data_check_finds_every_flip(folder: Path) -> None:
    """It reads whole files, so that nothing is too small: padding and marks count too."""
    rng = np.random.default_rng(4)
    files = files_of(folder)
    for number in range(scaled(3 * len(files))):
        path = files[number % len(files)]
        good = path.read_bytes()
        path.write_bytes(flipped(good, int(rng.integers(8 * len(good)))))
        try:
            found = [finding for finding in check(Catalog(folder)).findings if finding.severity == "error"]
            assert [finding.where for finding in found] == [path.relative_to(folder).as_posix()]
        except qk.DataError as error:
            message = str(error)
            assert path.suffix == ".jsonl"
            assert message.startswith(str(path))
        finally:
            path.write_bytes(good)
    assert [finding for finding in check(Catalog(folder)).findings if finding.severity == "error"] == []


# A recorded run -------------------------------------------------------------------------------------------------------

QUOTER = """
from quantkit import Strategy, Trade
import helper

class Mine(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.subscribe_trades("BTC-USDT-SWAP")

    def on_trade(self, trade: Trade) -> None:
        if len(self.open_orders()) < 3:
            self.target("BTC-USDT-SWAP", helper.QTY if self.position("BTC-USDT-SWAP") <= 0 else -helper.QTY)
"""


def repeated(run: Path) -> list[Any]:
    """Return all that a recorded run says: what repeating it gives, its result, and its rows."""
    verdict = verify(run)
    assert verdict.is_identical
    cut_short = verdict.ended == "cut short"
    result = qk.Result.load(run / "result")
    return [cut_short or verdict, result.hash, result.warnings, told_rows(run / "data")]


def test_a_random_flip_in_a_recorded_run_is_named_or_changes_nothing(tmp_path: Path) -> None:
    """Tape, engine log, the strategy and its copy, rows and result. A damaged last record reads as a kill's."""
    (file := tmp_path / "mine.py").write_text(QUOTER)
    (tmp_path / "helper.py").write_text("QTY = 0.1")
    with SandboxServer() as sandbox:
        live = qk.paper(str(file), okx=qk.OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="2s")
    assert live.outcome.orders
    (run,) = (tmp_path / "runs").iterdir()
    expected = repeated(run)
    rng = np.random.default_rng(3)
    counts: Counter[tuple[str, str]] = Counter()
    files = [path for path in files_of(run) if "strategy" not in path.parts] + [file, tmp_path / "helper.py"]
    for number in range(scaled(len(files))):
        path = files[number % len(files)]
        good = path.read_bytes()
        path.write_bytes(flipped(good, int(rng.integers(8 * len(good)))))
        try:
            found = repeated(run)
            assert found == expected or found == [True, *expected[1:]]
            told_as = "same" if found == expected else "cut short"
        except qk.QuantkitError as error:
            told_as, message = "named", str(error)
            assert "\n" not in message
        finally:
            path.write_bytes(good)
        counts[path.suffix, told_as] += 1
    print(dict(counts))
    assert {kind for kind, told_as in counts if told_as != "named"} <= {".parquet", ".tape"}
