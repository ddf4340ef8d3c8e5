"""A database that follows a folder while it is recorded: nothing twice, nothing lost, whatever the server does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from postgres_server import Server, rows_of, running

from quantkit.cli import main
from quantkit.clock import monotonic_s
from quantkit.collect.mirror import Mirror
from quantkit.events import Trade
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.stored import StoredMarket
from quantkit.storage.writer import Writer

pytestmark = pytest.mark.service

SWAP = "BTC-USDT-SWAP"
PERP = Instrument(SWAP, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")
S = 1_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One cluster for the tests of this file."""
    with running() as started:
        yield started


def seal(folder: Path, first_s: int, count: int) -> None:
    rows = [Trade(SWAP, s * S, s * S, 100.0, 1.0, Side.BUY, s) for s in range(first_s, first_s + count)]
    with Writer(folder) as writer:
        writer.write(Block.from_events(rows))
        writer.write_instrument(PERP)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most half a minute."""
    end_s = monotonic_s() + 30
    while not holds():
        assert monotonic_s() < end_s, "it did not happen within 30 s"


def test_it_follows_and_comes_back_after_an_outage(server: Server, tmp_path: Path) -> None:
    address = server.fresh("mirrored")
    seal(tmp_path, 0, 100)
    mirror = Mirror(tmp_path, Database(address), [SWAP])
    mirror.start()
    until(lambda: mirror.status.rows == 100)
    server.crash()
    seal(tmp_path, 1_000, 100)
    until(lambda: bool(mirror.status.error))
    assert mirror.status.is_behind
    seal(tmp_path, 2_000, 100)
    server.start()
    until(lambda: mirror.status.rows == 300)
    seal(tmp_path, 3_000, 7)
    status = mirror.close()
    assert (status.files, status.rows, status.is_behind, status.error) == (4, 307, False, "")
    assert rows_of(address, "select count(*), count(distinct received_ns) from quantkit.trade") == [(307, 307)]
    assert StoredMarket(Database(address)).coverage()[Stream("trade", SWAP)].rows == 307


def test_a_server_that_stays_away_is_said_at_the_end_and_caught_up_later(server: Server, tmp_path: Path) -> None:
    address = server.fresh("away")
    seal(tmp_path, 0, 10)
    server.crash()
    mirror = Mirror(tmp_path, Database(address), [SWAP])
    mirror.start()
    until(lambda: bool(mirror.status.error))
    status = mirror.close(20.0)
    assert status.is_behind
    assert "127.0.0.1" in status.error
    server.start()
    again = Mirror(tmp_path, Database(address))
    again.start()
    assert again.close().rows == 10


def test_an_empty_folder_and_instruments_that_come_later_are_waited_for(server: Server, tmp_path: Path) -> None:
    address = server.fresh("later")
    mirror = Mirror(tmp_path, Database(address), [SWAP])
    mirror.start()
    seal(tmp_path, 0, 3)
    status = mirror.close()
    assert (status.rows, status.error) == (3, "")


def test_a_recording_exports_what_it_seals(server: Server, tmp_path: Path) -> None:
    address = server.fresh("recorded")
    folder = str(tmp_path / "data")
    with SandboxServer() as exchange:
        command = ["record", SWAP, "--to", folder, "--url", exchange.ws_url, "--channels", "trades,books"]
        done = CliRunner().invoke(main, [*command, "--for", "3s", "--roll", "1s", "--json", "--also", address])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout.splitlines()[-1])
        held = Catalog(folder)
        rows = sum(covered.rows for covered in held.coverage().values())
        assert told == {
            "event": "mirrored",
            "to": address,
            "files": told["files"],
            "rows": rows,
            "last_ns": told["last_ns"],
            "is_behind": False,
            "error": "",
        }
        assert rows  # how many come in three seconds is the machine's to say
        assert told["last_ns"] == max(entry.last_ns for entry in held.entries if entry.kind != "instrument")
        market = StoredMarket(Database(address))
        assert market.coverage() == held.coverage()
        server.crash()
        try:
            quiet = CliRunner().invoke(main, [*command, "--for", "1s", "--roll", "1s", "--also", address])
        finally:
            server.start()
        assert quiet.exit_code == 0, quiet.output
        assert "recording goes on, and the database gets the rows when it is there" in quiet.stderr
        assert f"`quantkit data export {folder} {address}` brings the rest" in quiet.stderr
    refused = CliRunner().invoke(main, ["record", SWAP, "--to", folder, "--also", "mysql://there"])
    assert refused.exit_code != 0
    assert "--also takes a database's address" in refused.output
