"""What a database refuses: one clear line each, and a password in none of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from postgres_server import WITHOUT_PSYCOPG, Server, rows_of, run_sql, running

import quantkit as qk
from quantkit.cli import main
from quantkit.collect.mirror import Mirror
from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.events import Trade
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres import database as database_module
from quantkit.storage.postgres.database import ConnectionLostError, Database
from quantkit.storage.postgres.export import export
from quantkit.storage.postgres.stored import StoredMarket
from quantkit.storage.postgres.tables import hypertable_statements, table_of
from quantkit.storage.writer import Writer

pytestmark = pytest.mark.service

SWAP = "BTC-USDT-SWAP"
PERP = Instrument(SWAP, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")
S = 1_000_000_000
SAMPLE = Path(__file__).parents[2] / "data"
#: With what an address has to spell in another way.
PASSWORD = "very/secret@word"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One cluster for the tests of this file, with a user who needs a password."""
    with running() as started:
        started.guard("trader", PASSWORD)
        yield started


@pytest.fixture
def address(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return server.fresh(re.sub(r"\W", "_", request.node.name.lower())[:60])


@pytest.fixture
def folder(tmp_path: Path) -> Catalog:
    """A folder with three trades."""
    with Writer(tmp_path / "data", source="test") as writer:
        writer.write(Block.from_events([Trade(SWAP, s * S, s * S, 100.0, 1.0, Side.BUY, s) for s in range(1, 4)]))
        writer.write_instrument(PERP)
    return Catalog(tmp_path / "data")


def as_trader(address: str, password: str = PASSWORD) -> str:
    return address.replace("postgres@", f"trader:{quote(password, safe='')}@")


def never(_: float) -> None:
    raise AssertionError("a refusal that stays is not tried again")


def refused(address: str, folder: Catalog, words: str, kind: type[DataError] = DataError) -> str:
    """Export, and return the one line that says why not."""
    with pytest.raises(kind, match=words) as told:
        export(folder, Database(address), pause=never)
    text = str(told.value)
    assert type(told.value) is kind
    assert "\n" not in text
    assert PASSWORD not in text
    assert quote(PASSWORD, safe="") not in text
    assert told.value.__cause__ is None
    return text


def test_a_wrong_password(address: str, folder: Catalog) -> None:
    refused(as_trader(address, "wrong"), folder, "password authentication failed .*; give the right one by PGPASSWORD")
    no_password = address.replace("postgres@", "trader@")
    refused(no_password, folder, "no password supplied; give the right one by PGPASSWORD or ~/.pgpass")


def test_no_such_database_and_no_such_user(address: str, folder: Catalog) -> None:
    refused(f"{address}_not", folder, "does not exist; make the database first")
    refused(address.replace("postgres@", "nobody@"), folder, 'role "nobody" does not exist; the server knows no such')


def test_no_rights(address: str, folder: Catalog) -> None:
    refused(as_trader(address), folder, "permission denied for database .*; the user needs the right to create")
    export(folder, Database(address))
    for use in (
        lambda: export(folder, Database(as_trader(address))),
        lambda: StoredMarket(Database(as_trader(address))),
    ):
        with pytest.raises(DataError, match=r"permission denied for .*; the user needs the right to"):
            use()


def test_a_server_that_takes_no_changes_is_read_all_the_same(address: str, folder: Catalog) -> None:
    export(folder, Database(address))
    name = address.rpartition("/")[2]
    run_sql(address, f'alter database "{name}" set default_transaction_read_only to on')
    refused(address, folder, "read-only transaction; it takes no changes: name the primary server")
    assert CliRunner().invoke(main, ["data", "ls", address]).exit_code == 0
    checked = CliRunner().invoke(main, ["data", "check", address])
    assert checked.exit_code == 0, checked.output


def test_a_full_disk_is_waited_for_and_said(address: str, folder: Catalog) -> None:
    export(folder, Database(address))
    # A server says so with this code, whatever made it run out.
    run_sql(
        address,
        "create function full_disk() returns trigger language plpgsql as $$ begin raise exception using errcode = "
        "'53100', message = 'could not extend file: No space left on device'; end $$",
        "create trigger full_disk before insert on quantkit.manifest execute function full_disk()",
        "delete from quantkit.manifest",
    )
    pauses: list[float] = []
    with pytest.raises(ConnectionLostError, match="No space left on device; free some room there"):
        export(folder, Database(address), pause=pauses.append)
    assert len(pauses) == 6
    assert rows_of(address, "select count(*) from quantkit.trade") == [(3,)]


def test_an_old_server(address: str, folder: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_OLDEST", 990000)
    refused(address, folder, r"PostgreSQL \d+ is too old; 99 or newer is needed")


def test_tables_of_another_version(address: str, folder: Catalog) -> None:
    export(folder, Database(address))
    run_sql(
        address, "alter table quantkit.trade drop column trade_id", "delete from quantkit.manifest where kind = 'trade'"
    )
    refused(address, folder, "column .*trade_id.* does not exist; its tables are not those of this", SchemaError)
    with pytest.raises(SchemaError, match="its tables are not those of this quantkit, use another database"):
        list(StoredMarket(Database(address)).blocks_of(folder.entries[0]))


def test_a_licence_without_compression_has_hypertables_all_the_same() -> None:
    pytest.importorskip("psycopg", reason=WITHOUT_PSYCOPG)
    whole, plain = (
        [statement.as_string(None) for statement in hypertable_statements(table_of("trade"), is_compressed=compressed)]
        for compressed in (True, False)
    )
    assert whole[: len(plain)] == plain
    assert not any("compress" in statement for statement in plain)
    assert sum("compress" in statement for statement in whole) == 2


def test_research_reading_is_refused_with_the_way_out(address: str) -> None:
    with pytest.raises(ConfigError, match="is a database, and files are needed here; `quantkit backtest --data`"):
        qk.Catalog(as_trader(address))
    for words in (["data", "sql", "select 1"], ["data", "repair"]):
        done = CliRunner().invoke(main, [*words, as_trader(address)])
        assert done.exit_code == 2
        assert "is a database, and files are needed here" in done.output
        assert "secret" not in done.output


def test_a_password_in_the_address_is_shown_nowhere(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.fresh("secrets")
    run_sql(address, "grant all on database secrets to trader")
    secret = as_trader(address)
    shown = address.replace("postgres@", "trader@")
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    outputs = []
    stream = ["--instrument", "binance:SOL-USDT-SWAP"]
    run = [
        "backtest",
        str(SAMPLE.parent / "strategies" / "ma_cross.py"),
        "-p",
        "instrument=binance:SOL-USDT-SWAP",
        "--data",
        secret,
        "--json",
    ]
    for words in (
        ["data", "export", str(SAMPLE), secret, *stream],
        ["data", "ls", secret],
        ["data", "ls", secret, "--json"],
        ["data", "check", secret, "--html", "check.html"],
        ["data", "check", secret, "--json"],
        [*run, "--report", "report.html"],
        ["runs", "ls"],
    ):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
    assert "other users of this machine see a password on the command line" in outputs[0]
    assert shown in outputs[0]
    run_sql(address, "revoke connect on database secrets from public, trader")
    mirror = Mirror(SAMPLE, Database(secret))
    mirror.start()
    status = mirror.close()
    assert "permission denied" in status.error
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    for text in (*outputs, *written, caplog.text, repr(Database(secret)), repr(status), json.dumps(str(status))):
        for spelling in (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD)):
            assert spelling not in text
