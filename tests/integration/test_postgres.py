"""PostgreSQL as a store of market data, against a real server: exact rows, exactly once, the same hash."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pages import ROOT, commands, lay_out_clone
from postgres_server import Server, rows_of, run_sql, running

import quantkit as qk
from quantkit.cli import main
from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.events import EVENT_KINDS, Gap, Mark, Trade
from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.replay import ReplayFeed
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.database import ConnectionLostError, Database
from quantkit.storage.postgres.export import export
from quantkit.storage.postgres.stored import StoredMarket
from quantkit.storage.reader import read_blocks
from quantkit.storage.writer import Writer

pytestmark = pytest.mark.service

SAMPLE = Path(__file__).parents[2] / "data"
SWAP = "BTC-USDT-SWAP"
S = 1_000_000_000
PERP = Instrument(SWAP, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One cluster for the tests of this file."""
    with running() as started:
        yield started


@pytest.fixture
def address(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return server.fresh(request.node.name.lower().translate(str.maketrans("[]-", "___"))[:60])


def needs_psycopg() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'quantkit[postgres]'")


def trades(first_s: int, count: int, price: float = 100.0) -> list[Trade]:
    return [
        Trade(SWAP, (first_s + i) * S, (first_s + i) * S + 7, price + i, 1.0, Side.SELL if i % 2 else Side.BUY, i)
        for i in range(count)
    ]


def fill(folder: Path, *runs: list[Trade], replace: bool = False) -> Catalog:
    for run in runs:
        with Writer(folder, source="test", replace=replace) as writer:
            writer.write(Block.from_events(run))
            writer.write_instrument(PERP)
    return Catalog(folder)


def columns_of(blocks: Iterator[Block]) -> dict[str, list[object]]:
    joined: dict[str, list[object]] = {}
    for block in blocks:
        for name in (*STAMPS, *KIND_COLUMNS[block.stream.kind]):
            if not name.endswith("_start"):
                joined.setdefault(name, []).extend(block.column(name).tolist())
            else:
                joined.setdefault(name, []).extend(np.diff(block.column(name)).tolist())
    return joined


def numbered(stamps: list[object]) -> list[int]:
    """The place of each row among those of its stamp."""
    return [number for _, run in groupby(stamps) for number, _ in enumerate(run)]


def same(left: dict[str, list[object]], right: dict[str, list[object]]) -> None:
    assert left.keys() == right.keys()
    for name, values in left.items():
        if name != "seq":
            np.testing.assert_array_equal(np.array(values), np.array(right[name]), err_msg=name)


def test_the_sample_data_come_back_bit_for_bit(address: str) -> None:
    folder = Catalog(SAMPLE)
    report = export(folder, Database(address))
    assert report.files == sum(entry.kind != "instrument" for entry in folder.entries)
    assert report.rows == sum(held.rows for held in folder.coverage().values())
    market = StoredMarket(Database(address))
    assert market.coverage() == folder.coverage()
    assert {name: list(found) for name, found in market.versions().items()} == {
        name: list(found) for name, found in folder.versions().items()
    }
    for stream, held in folder.coverage().items():
        span = (held.start_ns, held.end_ns)
        stored_rows = columns_of(read_blocks(folder, stream, start_ns=span[0], end_ns=span[1]))
        found = columns_of(market.blocks(stream, *span, 10_000))
        same(found, stored_rows)
        assert found["seq"] == numbered(found["received_ns"])
        assert stored_rows["received_ns"], stream


def test_a_backtest_has_the_same_hash_and_names_the_same_files(address: str) -> None:
    export(Catalog(SAMPLE), Database(address), instruments=["binance:BTC-USDT-SWAP"])

    results = [
        qk.backtest("ma_cross", data=data, start="2025-05-06", end="2025-05-26", progress=False)
        for data in (str(SAMPLE), address)
    ]
    assert results[0].hash == results[1].hash
    assert [str(each.data_quality) for each in results] == ["clean", "not checked"]
    assert len(results[0].fills) > 10
    assert results[0].config["data_files"] == results[1].config["data_files"]
    assert str(results[1].config["data"]).startswith("postgresql://postgres@127.0.0.1")


def test_the_open_of_a_candle_is_read_by_its_own_stamp(address: str) -> None:
    folder = Catalog(SAMPLE)
    export(folder, Database(address), kinds=["candle"], instruments=["binance:SOL-USDT-SWAP"])
    opens = Stream("candle_open", "binance:SOL-USDT-SWAP", "1m")
    held = folder.coverage()[opens._replace(kind="candle")]
    span = (held.start_ns, held.start_ns + 3_600 * S)
    blocks = StoredMarket(Database(address)).blocks(opens, *span, 1_000)
    wanted = list(read_blocks(folder, opens, start_ns=span[0], end_ns=span[1]))
    got = list(blocks)
    for name in ("received_ns", "exchange_ns", "open_ns", "open", "close_ns"):
        np.testing.assert_array_equal(
            np.concatenate([block.column(name) for block in got]),
            np.concatenate([block.column(name) for block in wanted]),
        )


def test_every_stored_kind_has_a_table(address: str, tmp_path: Path) -> None:
    kinds = [kind for kind in EVENT_KINDS.values() if kind.is_stored]
    from quantkit.storage.postgres.tables import table_of

    database = Database(address)
    with database.connected() as connection:
        database.prepare(connection)
        for kind in kinds:
            database.make_table(connection, table_of(kind.name), is_hyper=False)
    there = {name for (name,) in rows_of(address, "select tablename from pg_tables where schemaname = 'quantkit'")}
    assert {kind.name for kind in kinds} <= there


def test_a_second_export_brings_nothing_twice(address: str, tmp_path: Path) -> None:
    folder = fill(tmp_path, trades(0, 100), trades(1_000, 50))
    first = export(folder, Database(address))
    again = export(folder, Database(address))
    assert (first.files, first.rows, first.present) == (2, 150, 0)
    assert (again.files, again.rows, again.present) == (0, 0, 2)
    assert rows_of(address, "select count(*), min(received_ns), max(received_ns) from quantkit.trade") == [
        (150, 7, 1_049 * S + 7)
    ]
    assert rows_of(address, "select distinct received_time = to_timestamp(received_ns / 1e9) from quantkit.trade") == [
        (True,)
    ]


def test_a_grown_folder_goes_on(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 100)), Database(address))
    report = export(fill(tmp_path, trades(200, 100)), Database(address))
    assert (report.files, report.rows, report.present) == (1, 100, 1)
    assert StoredMarket(Database(address)).coverage()[Stream("trade", SWAP)].rows == 200


def test_rewritten_files_of_the_same_rows_replace_their_lines(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path / "parts", trades(0, 100)[:50], trades(0, 100)[50:]), Database(address))
    whole = fill(tmp_path / "whole", trades(0, 100))
    export(whole, Database(address))
    market = StoredMarket(Database(address))
    assert [entry.rows for entry in market.entries if entry.kind == "trade"] == [100]
    assert rows_of(address, "select count(*) from quantkit.trade") == [(100,)]
    same(
        *(
            columns_of(feed.rows(Stream("trade", SWAP), 0, 10**15))
            for feed in (ReplayFeed(whole), DatabaseFeed(address))
        )
    )


def test_other_rows_under_a_key_are_refused_and_replaced_when_asked(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path / "one", trades(0, 10)), Database(address))
    other = fill(tmp_path / "two", trades(0, 10, price=200.0))
    with pytest.raises(DataError, match=r"the stored row of 1970-01-01T00:00:00\.000000007Z differs .*--replace"):
        export(other, Database(address))
    assert rows_of(address, "select min(price) from quantkit.trade") == [(100.0,)]
    report = export(other, Database(address), replace=True)
    assert report.replaced == 10
    assert rows_of(address, "select min(price), count(*) from quantkit.trade") == [(200.0, 10)]


def test_rows_that_the_folder_no_longer_has_are_not_dropped_unasked(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path / "one", trades(0, 10)), Database(address))
    shorter = fill(tmp_path / "two", trades(0, 9))
    with pytest.raises(DataError, match="is not in the file"):
        export(shorter, Database(address))
    export(shorter, Database(address), replace=True)
    assert rows_of(address, "select count(*) from quantkit.trade") == [(9,)]


def test_gap_rows_that_grow_within_a_month_are_merged(address: str, tmp_path: Path) -> None:
    for moment in (5, 9):
        with Writer(tmp_path) as writer:
            writer.write(Block.from_events([Gap(SWAP, moment, moment, "trades", moment - 2, moment, "lost")]))
            writer.write_instrument(PERP)
        export(Catalog(tmp_path), Database(address))
    feed = DatabaseFeed(address)
    found = [row for block in feed.rows(Stream("gap", SWAP), 0, 100) for row in block.events()]
    assert found == [Gap(SWAP, moment, moment, "trades", moment - 2, moment, "lost") for moment in (5, 9)]


def test_what_was_listened_to_and_asked_for_goes_along(address: str, tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(trades(0, 3)))
        writer.write_instrument(PERP)
        writer.watched(Stream("trade", SWAP), 0, 90_000 * S)
        writer.watched(Stream("mark", SWAP), 0, 90_000 * S)
        writer.asked(Stream("funding", SWAP), 0, 50 * S, source="okx")
    folder = Catalog(tmp_path)
    export(folder, Database(address))
    export(folder, Database(address))
    market = StoredMarket(Database(address))
    assert market.coverage() == folder.coverage()
    assert (market.watched, market.asked) == (folder.watched, folder.asked)


def test_a_span_takes_the_files_that_have_rows_in_it(address: str, tmp_path: Path) -> None:
    folder = fill(tmp_path, trades(0, 10), trades(90_000, 10), trades(180_000, 10))
    report = export(folder, Database(address), start_ns=90_000 * S, end_ns=100_000 * S)
    assert report.rows == 10
    assert rows_of(address, "select min(received_ns) from quantkit.trade") == [(90_000 * S + 7,)]


def test_stamps_beyond_microseconds_and_the_months_they_fall_into(address: str, tmp_path: Path) -> None:
    ends = 1_769_904_000 * S  # 2026-02-01
    rows = [Mark(SWAP, ends + shift, ends + shift, 1.5, "x") for shift in (-1, 0, 1, 123_456_789)]
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(rows))
        writer.write_instrument(PERP)
    export(Catalog(tmp_path), Database(address))
    feed = DatabaseFeed(address)
    assert [row for block in feed.rows(Stream("mark", SWAP), 0, 2 * ends) for row in block.events()] == rows
    parts = {name for (name,) in rows_of(address, "select tablename from pg_tables where tablename like 'mark_2%'")}
    assert parts == {"mark_2026_01", "mark_2026_02"}


def test_a_server_that_crashes_in_between_loses_and_doubles_nothing(server: Server, tmp_path: Path) -> None:
    address = server.fresh("crashes")
    folder = fill(tmp_path, *(trades(first * 1_000, 500) for first in range(30)))
    crashed = threading.Event()

    def crash_once(*_: object) -> None:
        if not crashed.is_set():
            crashed.set()
            server.crash()

    def start_again(_: float) -> None:
        server.start()

    report = export(folder, Database(address), progress=crash_once, pause=start_again)
    assert report.reconnects >= 1
    assert rows_of(address, "select count(*), count(distinct received_ns) from quantkit.trade") == [(15_000, 15_000)]
    assert StoredMarket(Database(address)).coverage() == folder.coverage()


def test_a_killed_export_leaves_whole_files(server: Server, tmp_path: Path) -> None:
    address = server.fresh("killed")
    folder = fill(tmp_path, *(trades(first * 1_000, 500) for first in range(6)))

    class Killed(BaseException):
        pass

    taken: list[object] = []

    def kill(*told: object) -> None:
        taken.append(told)
        if len(taken) == 3:
            raise Killed

    with pytest.raises(Killed):
        export(folder, Database(address), progress=kill)
    assert rows_of(address, "select count(*) from quantkit.trade") == [(1_500,)]
    report = export(folder, Database(address))
    assert (report.present, report.rows) == (3, 1_500)


def test_rows_that_somebody_deleted_are_noticed(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 10)), Database(address))
    rows_of(address, f"delete from quantkit.trade where received_ns = {3 * S + 7} returning 1")
    feed = DatabaseFeed(address)
    with pytest.raises(DataError, match="9 rows are there, 10 were exported"):
        list(feed.rows(Stream("trade", SWAP), 0, 100 * S))


def test_a_changed_line_and_a_bad_value_are_noticed(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 10)), Database(address))
    rows_of(address, f"update quantkit.trade set price = -1 where received_ns = {3 * S + 7} returning 1")
    with pytest.raises(DataError, match=r"row 3 .*price is -1\.0"):
        list(DatabaseFeed(address).rows(Stream("trade", SWAP), 0, 100 * S))
    rows_of(address, "update quantkit.manifest set line = replace(line, '\"rows\":10', '\"rows\":11') returning 1")
    with pytest.raises(DataError, match="checksum does not agree"):
        StoredMarket(Database(address))


def test_a_newer_database_is_refused(address: str, tmp_path: Path) -> None:
    folder = fill(tmp_path, trades(0, 1))
    export(folder, Database(address))
    rows_of(address, "update quantkit.version set version = 99 returning 1")
    for use in (lambda: StoredMarket(Database(address)), lambda: export(folder, Database(address))):
        with pytest.raises(SchemaError, match="version 99, this quantkit knows 1; update it"):
            use()


def test_an_empty_database_says_how_to_fill_it(address: str) -> None:
    with pytest.raises(DataError, match="holds no market data; fill it with `quantkit data export data postgresql:"):
        DatabaseFeed(address)


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    needs_psycopg()

    def connect() -> None:
        with Database("postgresql://me:very-secret@127.0.0.1:1/market").connected():
            pass

    with pytest.raises(ConnectionLostError, match=r"postgresql://me@127\.0\.0\.1:1/market: ") as told:
        connect()
    assert "very-secret" not in str(told.value)
    assert "very-secret" not in repr(Database("postgresql://me:very-secret@127.0.0.1:1/market"))


def test_a_bad_address_is_not_repeated() -> None:
    needs_psycopg()
    with pytest.raises(ConfigError, match="address cannot be read") as told:
        Database("postgresql://me:very-secret@[::bad/market")
    assert "very-secret" not in str(told.value)


def test_an_instrument_that_is_not_there(tmp_path: Path, address: str) -> None:
    folder = fill(tmp_path, trades(0, 1))
    with pytest.raises(DataError, match="nothing of that kind or instrument is there; it has BTC-USDT-SWAP trade"):
        export(folder, Database(address), instruments=["ETH-USDT"])
    shutil.rmtree(tmp_path)


def test_the_feed_is_that_of_the_folder(tmp_path: Path, address: str) -> None:
    folder = fill(tmp_path, trades(0, 10), trades(90_000 * 3, 5))
    export(folder, Database(address))
    one, two = ReplayFeed(folder), DatabaseFeed(address)
    stream = Stream("trade", SWAP)
    assert one.coverage() == two.coverage()
    assert one.has_hole(stream, 0, 90_000 * 4 * S) == two.has_hole(stream, 0, 90_000 * 4 * S) == True  # noqa: E712
    list(one.rows(stream, 0, 100 * S)), list(two.rows(stream, 0, 100 * S))
    assert one.data_files([SWAP]) == two.data_files([SWAP])


def test_the_commands_of_the_guide_work(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out_clone(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = commands(ROOT / "docs" / "database.md")
    assert len(given) == 3
    outputs = []
    for words in given:
        done = CliRunner().invoke(main, [word.replace("postgresql://me@localhost/market", address) for word in words])
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
    assert "rows in" in outputs[0]
    assert "files were there" in outputs[1]
    assert "Return [%]" in outputs[2]


def test_the_command_line_says_what_is_wrong(tmp_path: Path, address: str) -> None:
    fill(tmp_path, trades(0, 1))
    no_address = CliRunner().invoke(main, ["data", "export", str(tmp_path), "mysql://x"])
    assert no_address.exit_code == 2
    assert "write it as postgresql://USER@HOST:PORT/NAME" in no_address.output
    as_json = CliRunner().invoke(main, ["data", "export", str(tmp_path), address, "--json"])
    assert as_json.exit_code == 0
    assert '"rows":1' in as_json.output


def test_a_database_is_listed_and_checked_as_a_folder_is(address: str, tmp_path: Path) -> None:
    lay_out_clone(tmp_path)
    folder = Catalog(tmp_path / "data")
    export(folder, Database(address), instruments=["binance:SOL-USDT-SWAP", "binance:BTC-USDT-SWAP"])

    def said(*words: str) -> Any:
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    listed = {(row["instrument"], row["kind"]): row for row in said("data", "ls", str(folder.root))}
    rows = said("data", "ls", address)
    for row in rows:
        same_row = listed[row["instrument"], row["kind"]]
        assert row == same_row | {"size_bytes": None, "verdict": "not checked", "checked": ""}
    # The same words as for the folder, and what a database cannot show.
    here = {(each["instrument"], each["kind"]): each for each in said("data", "check", str(folder.root))["streams"]}
    there = said("data", "check", address)
    assert there["root"] == address
    assert len(there["streams"]) == len(rows) > 3
    for each in there["streams"]:
        known = here[each["instrument"], each["kind"]]
        assert each["findings"] == known["findings"]
        assert "a database keeps the digests of the files" in each["unverified"][0]
        assert each["unverified"][1:] == known["unverified"]
        assert each["verdict"] == ("faulty" if known["verdict"] == "faulty" else "cannot be verified")
    assert {row["verdict"] for row in said("data", "ls", address)} == {each["verdict"] for each in there["streams"]}
    text = CliRunner().invoke(main, ["data", "ls", address]).output
    assert "size" not in text
    assert f"rows in {address}" in text.replace(" \n", " ").replace("\n", "")


def test_a_result_over_a_database_quotes_its_check(address: str, tmp_path: Path) -> None:
    export(Catalog(SAMPLE), Database(address), instruments=["binance:BTC-USDT-SWAP"], kinds=["candle"])

    def run() -> qk.Result:
        return qk.backtest("ma_cross", data=address, start="2025-05-06", end="2025-05-16", progress=False)

    assert run().data_quality.verdict == "not checked"
    assert CliRunner().invoke(main, ["data", "check", address]).exit_code == 0
    quality = run().data_quality
    assert quality.verdict == "cannot be verified"
    assert "none of its own rows" in quality.streams[0].words[0]
    # Rows that came since were not checked.
    export(fill(tmp_path, trades(0, 3)), Database(address))
    assert run().data_quality.verdict == "cannot be verified"
    rows_of(address, "delete from quantkit.kept returning 1")
    assert run().data_quality.verdict == "not checked"


def test_the_check_finds_what_was_changed_in_a_table(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 10), trades(1_000, 10)), Database(address))
    rows_of(address, f"delete from quantkit.trade where received_ns = {3 * S + 7} returning 1")
    rows_of(address, f"update quantkit.trade set price = -1 where received_ns = {1_003 * S + 7} returning 1")
    done = CliRunner().invoke(main, ["data", "check", address, "--json"])
    assert done.exit_code == 1
    found = [each["what"] for each in json.loads(done.stdout)["streams"][0]["findings"] if each["code"] == "unreadable"]
    assert len(found) == 2
    assert "9 rows are there, 10 were exported" in found[0]
    assert "price is -1.0" in found[1]


def test_a_database_of_an_older_quantkit_is_read_and_checked(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 10)), Database(address))
    run_sql(address, "drop table quantkit.kept", "drop table quantkit.live")
    assert CliRunner().invoke(main, ["data", "ls", address]).exit_code == 0
    assert CliRunner().invoke(main, ["data", "check", address]).exit_code == 0
    assert rows_of(address, "select name from quantkit.kept") == [("quality.json",)]
    assert export(fill(tmp_path, trades(100, 10)), Database(address)).rows == 10


def test_commits_wait_for_the_disk_whatever_the_server_is_set_to(address: str) -> None:
    name = address.rpartition("/")[2]
    run_sql(
        address, f'alter database "{name}" set synchronous_commit to off', f'alter database "{name}" set timezone to 5'
    )
    with Database(address).connected() as connection:
        for setting, value in (("synchronous_commit", "on"), ("timezone", "UTC")):
            assert connection.execute(f"show {setting}").fetchone() == (value,)


def test_there_is_no_default_partition_and_stamps_are_bigint(address: str, tmp_path: Path) -> None:
    export(fill(tmp_path, trades(0, 10)), Database(address))
    assert rows_of(
        address,
        "select partstrat::text, partdefid from pg_partitioned_table where partrelid = 'quantkit.trade'::regclass",
    ) == [("r", 0)]
    types = dict(
        rows_of(
            address,
            "select column_name, data_type from information_schema.columns where table_schema = 'quantkit'"
            " and table_name = 'trade'",
        )
    )
    assert (types["received_ns"], types["exchange_ns"]) == ("bigint", "bigint")


def test_a_reading_may_end_early_and_a_crash_in_it_is_said(server: Server, tmp_path: Path) -> None:
    address = server.fresh("readings")
    export(fill(tmp_path, trades(0, 80_000)), Database(address))
    stream = Stream("trade", SWAP)
    feed = DatabaseFeed(address, block_rows=1_000)
    for _ in range(3):
        assert next(iter(feed.rows(stream, 0, 100_000 * S))).size == 1_000
    # The server notices that nobody listens any more.
    query = "select count(*) from pg_stat_activity where application_name = 'quantkit'"
    assert any(rows_of(address, query) == [(0,)] for _ in range(1_000))
    assert list(feed.rows(stream, 90_000 * S, 100_000 * S)) == []
    blocks = iter(feed.rows(stream, 0, 100_000 * S))
    next(blocks)
    server.crash()
    try:
        with pytest.raises(ConnectionLostError, match="readings: "):
            list(blocks)
    finally:
        server.start()
    assert sum(block.size for block in feed.rows(stream, 0, 100_000 * S)) == 80_000
