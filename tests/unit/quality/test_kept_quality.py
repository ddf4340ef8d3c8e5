"""The outcome of a check is kept beside the data, counts while the files are the same, and is quoted for a run."""

from pathlib import Path

import msgspec
import pytest
from damage import flipped
from quality_rows import BTC, START_NS, at, candles, checked, stored, tickers, trades

from quantkit.clock import NS_PER_DAY
from quantkit.events import Gap
from quantkit.quality import CLEAN, FAULTY, UNVERIFIED
from quantkit.quality.kept import QUALITY, recall, remember
from quantkit.quality.quoted import NOT_CHECKED, DataQuality, quoted
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

TRADE, TICKER, CANDLE = Stream("trade", BTC), Stream("ticker", BTC), Stream("candle", BTC, "1m")
ROWS = trades(600)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Clean trades and candles, with an outlier among the tickers, and the outcome of their check."""
    quotes = [msgspec.structs.replace(row, bid=1.0) if n == 300 else row for n, row in enumerate(tickers(600))]
    folder = stored(tmp_path / "data", ROWS, quotes, candles(ROWS, 10))
    remember(Catalog(folder), checked(folder), START_NS)
    return folder


def quote(root: Path, *streams: Stream, start_ns: int = START_NS, end_ns: int = START_NS + NS_PER_DAY) -> DataQuality:
    """Quote streams over a span."""
    return quoted(Catalog(root), streams, start_ns, end_ns)


def test_a_run_quotes_the_verdicts_of_what_it_read(root: Path) -> None:
    quality = quote(root, TRADE, CANDLE)
    assert (quality.verdict, str(quality)) == (CLEAN, CLEAN)
    assert [(each.stream, each.checked_ns) for each in quality.streams] == [
        (f"{BTC} candle 1m", START_NS),
        (f"{BTC} trade", START_NS),
    ]
    quality = quote(root, TRADE, TICKER)
    assert (quality.verdict, str(quality)) == (FAULTY, "1 faulty, 1 clean")
    (fault,) = quality.faults
    assert fault.startswith(f"faulty data: {BTC} ticker: 1 outlier of bid")


def test_a_fault_outside_of_the_run_is_none_of_it(root: Path) -> None:
    """Tickers stay without numbers all the same."""
    quality = quote(root, TICKER, end_ns=at(299))
    assert (quality.verdict, quality.faults) == (UNVERIFIED, [])
    assert quality.streams[0].words == ("whether rows are missing: tickers have no sequence numbers",)
    assert quote(root, TICKER, start_ns=at(301)).verdict == UNVERIFIED
    assert quote(root, TICKER, start_ns=at(299), end_ns=at(301)).verdict == FAULTY


def test_new_rows_make_a_stream_unchecked(root: Path) -> None:
    """Only that stream; with a gap row every stream of the instrument."""
    later = [msgspec.structs.replace(row, received_ns=row.received_ns + NS_PER_DAY) for row in ROWS]
    with Writer(root) as writer:
        writer.write(Block.from_events(later))
    assert quote(root, TRADE, CANDLE).verdict == NOT_CHECKED
    assert quote(root, CANDLE).verdict == CLEAN
    with Writer(root) as writer:
        writer.write(Block.from_events([Gap(BTC, START_NS, START_NS, "book", START_NS, START_NS, "x")]))
    assert recall(Catalog(root)) == {}


def test_a_check_of_one_stream_keeps_what_was_said_of_others(root: Path) -> None:
    before = (root / QUALITY).read_bytes()
    remember(Catalog(root), checked(root, kinds=["trade"]), START_NS + 1)
    assert (root / QUALITY).read_bytes() == before  # nothing is new
    later = [msgspec.structs.replace(row, received_ns=row.received_ns + NS_PER_DAY) for row in ROWS]
    with Writer(root) as writer:
        writer.write(Block.from_events(later))
    remember(Catalog(root), checked(root, kinds=["trade"]), START_NS + 2)
    kept = recall(Catalog(root))
    assert {stream: each.checked_ns for stream, each in kept.items()} == {
        CANDLE: START_NS,
        TICKER: START_NS,
        TRADE: START_NS + 2,
    }


def test_a_flipped_bit_makes_it_count_as_none(root: Path) -> None:
    content = (root / QUALITY).read_bytes()
    for bit in range(0, 8 * len(content), 1013):
        (root / QUALITY).write_bytes(flipped(content, bit))
        assert recall(Catalog(root)) == {}, bit
    (root / QUALITY).write_bytes(content)
    assert len(recall(Catalog(root))) == 3
    (root / QUALITY).unlink()
    assert quote(root, TRADE).streams[0].verdict == NOT_CHECKED
    assert quote(root).verdict == NOT_CHECKED
