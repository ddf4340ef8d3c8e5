"""A database that follows a recorder's tape: rows are there before they are sealed, each once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import WITHOUT_PSYCOPG, Server, rows_of, running

from quantkit.clock import monotonic_s
from quantkit.collect.mirror import Mirror
from quantkit.collect.recovery import recover
from quantkit.events import BookUpdate, Gap, Row, Trade
from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.replay import ReplayFeed
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.export import export
from quantkit.storage.postgres.stored import StoredMarket
from quantkit.storage.root import WORK, Root

pytestmark = pytest.mark.service

SWAP = "BTC-USDT-SWAP"
PERP = Instrument(SWAP, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")
S = 1_000_000_000
TRADES = Stream("trade", SWAP)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One cluster for the tests of this file."""
    with running() as started:
        yield started


@pytest.fixture
def address(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return server.fresh(request.node.name.lower()[:60])


class Recording:
    """A recorder's tape and folder, without an exchange.

    Args:
        folder: The data folder.
        segment_bytes: Of the tape.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.root = Root.of(folder)
        folder.mkdir()
        self.tape = RowTape(folder / WORK / "tape", segment_bytes=segment_bytes)
        self.tape.open()
        self.tape.listen(Listening(0, [TRADES, Stream("book", SWAP)], [PERP.to_dict()]))

    def add(self, *rows: Row) -> None:
        """Put rows on the tape, as one delivery each."""
        self.tape.take([[row] for row in rows])
        assert self.tape.flush()

    def seal(self, *, is_trimmed: bool = False) -> Catalog:
        """Seal what is on the tape."""
        found = recover(self.tape.folder, self.root, source="test", staging=self.folder / WORK / "staging")
        if is_trimmed:
            self.tape.trim(found.last_ns + 1, is_whole=True)
        return Catalog(self.folder)

    def mirror(self, address: str) -> Mirror:
        """Return what follows it, at work."""
        mirror = Mirror(self.folder, Database(address), [SWAP])
        mirror.start()
        return mirror


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    """A recording that begins."""
    begun = Recording(tmp_path / "data")
    yield begun
    begun.tape.close()


def trades(first: int, count: int) -> list[Row]:
    """Trades of which four share a stamp."""
    return [
        Trade(SWAP, 7, S + each // 4, 100.0 + each, 1.0, Side.SELL if each % 2 else Side.BUY, each + 1)
        for each in range(first, first + count)
    ]


def until(holds: Callable[[], bool], within_s: float = 30.0) -> float:
    """Wait until something holds, and return how long it took."""
    start_s = monotonic_s()
    while not holds():
        assert monotonic_s() < start_s + within_s, f"it did not happen within {within_s} s"
    return monotonic_s() - start_s


def same_rows(address: str, folder: Path) -> int:
    """Compare every row of a folder with a database's, and return how many there are."""
    catalog = Catalog(folder)
    there, here = DatabaseFeed(address), ReplayFeed(catalog)
    assert there.coverage() == here.coverage()
    count = 0
    for stream, held in here.coverage().items():
        span = (held.start_ns, held.end_ns)
        one, two = ([row for block in feed.rows(stream, *span) for row in block.events()] for feed in (there, here))
        assert one == two, stream
        count += len(two)
        if held.rows:
            # Nothing is in the tables that is in no file.
            assert rows_of(
                address, f"select count(*) from quantkit.{stream.kind} where instrument = '{stream[1]}'"
            ) == [(len(two),)]
    return count


def test_rows_are_there_before_they_are_sealed(recording: Recording, address: str) -> None:
    mirror = recording.mirror(address)
    recording.add(*trades(0, 10))
    until(lambda: mirror.status.rows == 10)
    for number in range(1, 4):
        recording.add(*trades(10 * number, 10))
        # A second is the aim; a machine at work on other things may take longer.
        assert until(lambda wanted=10 * number + 10: mirror.status.rows == wanted) < 5  # type: ignore[misc]
    status = mirror.status
    assert (status.files, status.last_ns, status.error) == (0, S + 9, "")
    stored = rows_of(address, "select received_ns, seq, price, trade_id, side from quantkit.trade order by 1, 2")
    assert stored == [(S + i // 4, i % 4, 100.0 + i, i + 1, "sell" if i % 2 else "buy") for i in range(40)]
    # A run reads what is sealed, as it does in the folder.
    assert StoredMarket(Database(address)).coverage() == {}
    recording.seal()
    until(lambda: mirror.status.files == 1)
    status = mirror.close()
    assert (status.files, status.rows, status.is_behind, status.error) == (1, 40, False, "")
    assert same_rows(address, recording.folder) == 40
    assert rows_of(address, "select from_ns > to_ns, to_ns, to_seq from quantkit.live") == [(True, S + 9, 3)]


def test_a_run_reads_the_same_while_more_comes(recording: Recording, address: str) -> None:
    mirror = recording.mirror(address)
    recording.add(*trades(0, 40))
    recording.seal()
    until(lambda: mirror.status.files == 1)
    recording.add(*trades(40, 40))
    until(lambda: mirror.status.rows == 80)
    feed = DatabaseFeed(address)
    assert sum(block.size for block in feed.rows(TRADES, 0, 10 * S)) == 40
    mirror.close()


def test_a_stamp_that_a_restart_cuts_in_two_has_its_numbers(recording: Recording, address: str) -> None:
    for first, count in ((0, 2), (2, 1), (3, 3), (6, 2)):
        recording.add(*trades(first, count))
        assert recording.mirror(address).close().rows == count
    assert rows_of(address, "select received_ns - 1000000000, seq from quantkit.trade order by 1, 2") == [
        (0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip
    recording.seal()
    assert recording.mirror(address).close().rows == 0
    assert same_rows(address, recording.folder) == 8


def test_what_was_sealed_and_trimmed_in_between_comes_with_its_files(recording: Recording, address: str) -> None:
    recording.add(*trades(0, 40))
    assert recording.mirror(address).close().rows == 40
    recording.add(*trades(40, 40))
    recording.seal(is_trimmed=True)
    recording.add(*trades(80, 40))
    status = recording.mirror(address).close()
    assert (status.rows, status.files) == (80, 1)
    recording.seal(is_trimmed=True)
    assert recording.mirror(address).close().files == 1
    assert same_rows(address, recording.folder) == 120


def test_books_and_gaps_go_along(recording: Recording, address: str) -> None:
    rows = [
        BookUpdate(SWAP, 1, S, (100.0, 99.5), (1.0, 2.0), (101.0,), (3.0,), is_snapshot=True, seq=1, prev_seq=-1),
        Gap(SWAP, S + 1, S + 1, "book", S, S + 1, "reconnected"),
        BookUpdate(SWAP, 2, S + 2, (), (), (), (), is_snapshot=True, seq=2, prev_seq=-1),
    ]
    recording.add(*rows)
    mirror = recording.mirror(address)
    until(lambda: mirror.status.rows == 3)
    assert rows_of(address, "select bid_prices, ask_qtys from quantkit.book order by received_ns") == [
        ([100.0, 99.5], [3.0]),
        ([], []),
    ]
    recording.seal()
    recording.add(Gap(SWAP, S + 3, S + 3, "trades", S, S + 3, "reconnected"))
    until(lambda: mirror.status.rows == 4)
    recording.seal()
    mirror.close()
    assert same_rows(address, recording.folder) == 4


def test_rows_of_the_tape_that_the_folder_did_not_take_give_way(recording: Recording, address: str) -> None:
    recording.add(*trades(0, 8))
    assert recording.mirror(address).close().rows == 8
    rows_of(address, "update quantkit.trade set price = 1 where trade_id = 3 returning 1")
    names = "instrument, received_ns, exchange_ns, seq, price, qty, side, trade_id"
    rows_of(address, f"insert into quantkit.trade ({names}) values ('{SWAP}', {S}, 7, 9, 1, 1, 'buy', 99) returning 1")
    recording.seal()
    status = recording.mirror(address).close()
    assert (status.rows, status.error) == (1, "")
    assert same_rows(address, recording.folder) == 8


def test_rows_of_somebody_else_under_the_same_key_are_not_passed_over(recording: Recording, address: str) -> None:
    recording.add(*trades(0, 8))
    export(recording.seal(), Database(address))
    rows_of(address, "update quantkit.trade set price = 2 where trade_id = 1 returning 1")
    rows_of(address, "delete from quantkit.manifest returning 1")
    recording.add(*trades(8, 4))
    status = recording.mirror(address).close()
    assert "the stored row of 1970-01-01T00:00:01Z differs from the file's" in status.error
    # What else there is comes all the same.
    assert (status.rows, status.is_behind) == (4, True)


def test_a_server_that_crashes_under_load_loses_and_doubles_nothing(
    server: Server, recording: Recording, address: str
) -> None:
    mirror = recording.mirror(address)
    ended = threading.Event()

    def record() -> None:
        first = 0
        while not ended.is_set():
            recording.add(*trades(first, 100))
            first += 100
            if first % 5_000 == 0:
                recording.seal()
            ended.wait(0.005)

    writer = threading.Thread(target=record)
    writer.start()
    try:
        for _ in range(3):
            rows = mirror.status.rows
            until(lambda before=rows: mirror.status.rows > before + 500)  # type: ignore[misc]
            server.crash()
            server.start()
    finally:
        ended.set()
        writer.join()
    recording.seal()
    status = mirror.close()
    assert (status.is_behind, status.error) == (False, "")
    assert same_rows(address, recording.folder) == status.rows > 1_500


def test_a_server_that_does_not_answer_holds_nobody_up(recording: Recording, address: str) -> None:
    from quantkit.storage.postgres import database

    mirror = recording.mirror(address)
    recording.add(*trades(0, 4))
    until(lambda: mirror.status.rows == 4)
    with Database(address).connected() as holder:
        # Whoever has the lock keeps every writer waiting.
        holder.execute("select pg_advisory_lock(%s)", [database._LOCK])
        for first in range(4, 60_004, 1_000):
            recording.add(*trades(first, 1_000))
        held = mirror._tape
        assert held is not None
        assert mirror.status.rows == 4
        # A piece of the tape is all that waits in memory.
        assert sum(block.size for block, _ in held._held) < 40_000
        assert mirror.close(0.1).is_behind
    mirror.close()
    recording.seal()
    export(Catalog(recording.folder), Database(address))
    assert same_rows(address, recording.folder) == 60_004


def test_a_host_that_says_nothing_is_waited_for_without_hurry(recording: Recording) -> None:
    pytest.importorskip("psycopg", reason=WITHOUT_PSYCOPG)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirror = recording.mirror(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/market")
        recording.add(*trades(0, 1_000))
        assert len(recording.seal().entries) == 2
        status = mirror.close(0.1)
    assert (status.rows, status.files) == (0, 0)


def record_command(folder: Path, url: str, address: str) -> list[str]:
    """Return a recorder's command line."""
    command = [sys.executable, "-m", "quantkit", "record", SWAP, "BTC-USDT", "--to", str(folder), "--url", url]
    return [*command, "--channels", "trades,books,tickers", "--roll", "2s", "--also", address, "--json"]


@pytest.mark.long
def test_a_recorder_and_a_server_that_are_killed_lose_and_double_nothing(
    server: Server, address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    with SandboxServer(market=GeneratedMarket(7, 4, orders_per_s=120.0)) as exchange:
        for life in range(4):
            with subprocess.Popen(
                record_command(folder, exchange.ws_url, address), stdout=subprocess.PIPE, text=True, env={**os.environ}
            ) as recorder:
                assert recorder.stdout is not None
                brought = 0
                for line in recorder.stdout:
                    told = json.loads(line)
                    if told["event"] == "mirrored":
                        brought += told["rows"] > 100
                    if brought == 2 and life == 1:
                        server.crash()
                        server.start()
                    if brought >= 3:
                        recorder.send_signal(signal.SIGTERM if life == 3 else signal.SIGKILL)
                        break
                last = [json.loads(line) for line in recorder.stdout if line.endswith("}\n")]
        assert last[-1]["event"] == "mirrored"
        assert (last[-1]["is_behind"], last[-1]["error"]) == (False, "")
    assert same_rows(address, folder) > 400
