"""TimescaleDB as a store of market data: hypertables that compress, the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import rows_of
from timescale_server import running

from quantkit.collect.mirror import Mirror
from quantkit.collect.recovery import recover
from quantkit.events import Trade
from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.replay import ReplayFeed
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.export import export
from quantkit.storage.root import WORK, Root
from quantkit.storage.writer import Writer

pytestmark = pytest.mark.service

SAMPLE = Path(__file__).parents[2] / "data"
TRADES = Stream("trade", "binance:BTC-USDT-SWAP")
CANDLES = Stream("candle", "binance:SOL-USDT-SWAP", "1m")
SWAP = "BTC-USDT-SWAP"
PERP = Instrument(SWAP, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")
S = 1_000_000_000
COMPRESS = "select compress_chunk(show_chunks('quantkit.trade'), if_not_compressed => true)"


def trades(first_s: int, count: int, price: float = 100.0) -> list[Trade]:
    return [Trade(SWAP, s * S, s * S + 7, price, 1.0, Side.BUY, s + 1) for s in range(first_s, first_s + count)]


def fill(folder: Path, rows: list[Trade], *, replace: bool = False) -> Catalog:
    with Writer(folder, source="test", replace=replace) as writer:
        writer.write(Block.from_events(rows))
        writer.write_instrument(PERP)
    return Catalog(folder)


def prices(address: str) -> list[tuple[int, float]]:
    query = f"select count(*), max(price) from quantkit.trade where instrument = '{SWAP}'"
    return rows_of(address, query)  # type: ignore[return-value]


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


def test_older_rows_go_into_compressed_chunks_and_replace_what_is_there(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path / "day", trades(50_000, 100)), Database(address))
    rows_of(address, COMPRESS)
    # Earlier rows of the same day, in a chunk that is compressed.
    report = export(fill(tmp_path / "day", trades(40_000, 50)), Database(address))
    assert (report.rows, report.present) == (50, 1)
    rows_of(address, COMPRESS)
    assert prices(address) == [(150, 100.0)]
    # The same keys with other values, when asked.
    other = fill(tmp_path / "other", trades(50_000, 100, price=200.0))
    assert export(other, Database(address), replace=True).replaced == 100
    assert prices(address) == [(150, 200.0)]
    assert sum(block.size for block in DatabaseFeed(address).rows(Stream("trade", SWAP), 0, 100_000 * S)) == 150


def test_rows_of_a_tape_go_into_a_hypertable(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    tape = RowTape(folder / WORK / "tape")
    tape.open()
    day = 90_000 * 86_400
    stream = Stream("trade", SWAP)
    tape.listen(Listening(day * S, [stream], [PERP.to_dict()]))
    tape.take([[row] for row in trades(day, 20)])
    assert tape.flush()
    mirror = Mirror(folder, Database(address))
    mirror.start()
    assert mirror.close().rows == 20
    recover(tape.folder, Root.of(folder), source="test", staging=folder / WORK / "staging")
    tape.close()
    again = Mirror(folder, Database(address))
    again.start()
    status = again.close()
    assert (status.rows, status.files, status.error) == (0, 1, "")
    assert sum(block.size for block in DatabaseFeed(address).rows(stream, day * S, 2 * day * S)) == 20
