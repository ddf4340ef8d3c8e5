"""TimescaleDB as a store of market data: hypertables that compress, the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import rows_of
from timescale_server import running

from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.replay import ReplayFeed
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.export import export

pytestmark = pytest.mark.service

SAMPLE = Path(__file__).parents[2] / "data"
TRADES = Stream("trade", "binance:BTC-USDT-SWAP")
CANDLES = Stream("candle", "binance:SOL-USDT-SWAP", "1m")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with the sample's trades and one instrument's candles."""
    with running(tmp_path_factory.mktemp("timescale")) as started:
        folder = Catalog(SAMPLE)
        for stream in (TRADES, CANDLES):
            export(folder, Database(started), instruments=[stream.instrument], kinds=[stream.kind])
        yield started


def test_the_tables_are_hypertables_that_compress(address: str) -> None:
    tables = rows_of(
        address, "select hypertable_name, compression_enabled from timescaledb_information.hypertables order by 1"
    )
    assert tables == [("candle", True), ("trade", True)]
    jobs = rows_of(
        address,
        "select hypertable_name, config->>'compress_after' from timescaledb_information.jobs"
        " where proc_name like '%compression%' or proc_name like '%columnstore%' order by 1",
    )
    assert jobs == [("candle", str(7 * 86_400 * 10**9)), ("trade", str(7 * 86_400 * 10**9))]


def test_chunks_are_days_and_thirty_days(address: str) -> None:
    day = 86_400 * 10**9
    spans = dict(
        rows_of(
            address,
            "select hypertable_name, max(range_end_integer - range_start_integer)"
            " from timescaledb_information.chunks group by 1",
        )
    )
    assert spans == {"trade": day, "candle": 30 * day}


@pytest.mark.parametrize("stream", [TRADES, CANDLES], ids=str)
def test_rows_come_back_as_they_are_also_from_compressed_chunks(address: str, stream: Stream) -> None:
    folder = ReplayFeed(Catalog(SAMPLE))
    held = folder.coverage()[stream]

    def events(feed: ReplayFeed | DatabaseFeed) -> list[object]:
        return [row for block in feed.rows(stream, held.start_ns, held.end_ns) for row in block.events()]

    wanted = events(folder)
    assert len(wanted) == held.rows
    assert events(DatabaseFeed(address)) == wanted
    rows_of(address, f"select compress_chunk(show_chunks('quantkit.{stream.kind}'), if_not_compressed => true)")
    assert events(DatabaseFeed(address)) == wanted


def test_a_second_export_brings_nothing_twice_into_compressed_chunks(address: str) -> None:
    rows_of(address, "select compress_chunk(show_chunks('quantkit.trade'), if_not_compressed => true)")
    report = export(Catalog(SAMPLE), Database(address), instruments=[TRADES.instrument], kinds=["trade"])
    assert (report.files, report.present) == (0, 1)


def test_time_buckets_take_the_stamps(address: str) -> None:
    hours = rows_of(
        address,
        "select time_bucket(86400000000000::bigint, received_ns), count(*) from quantkit.candle group by 1 order by 1",
    )
    assert sum(count for _, count in hours) == 43_200
    assert len(hours) >= 30
