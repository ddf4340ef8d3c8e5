"""Measure PostgreSQL as a store: `python tests/bench/database.py [ROWS]`, or `run()`; it starts a server of its own.

Both sides of a ratio move the same trades in turn, into and out of tables with the same key: plain psycopg by
`COPY ... (format binary)` and its binary cursor, and `quantkit data export` with its digests, checks and manifest. Wall
time, since the server's share is the larger one, and CPU time of this process beside it.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from postgres_server import Server, running

from quantkit.collect.mirror import Mirror
from quantkit.events import Trade
from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.postgres.copying import NumberedBlock, Places
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.export import export
from quantkit.storage.postgres.tables import table_of, table_statements
from quantkit.storage.postgres.taped import TapedRows
from quantkit.storage.root import WORK
from quantkit.storage.writer import Writer

ROUNDS = 5
NAME = "BTC-USDT-SWAP"
START_NS = 1_796_000_000_000_000_000
TYPES = ["text", "int8", "int8", "int8", "float8", "float8", "text", "int8"]
BATCH = 5_000
RATE = 20_000
SECONDS = 5


def trades(count: int) -> list[Trade]:
    """Return trades of a busy stretch, several of which share a stamp."""
    return [
        Trade(
            NAME,
            START_NS + i // 3 * 150_000,
            START_NS + i // 3 * 150_000 + 7,
            60_000.0 + i % 97 / 10,
            0.1 + i % 5,
            Side.SELL if i % 2 else Side.BUY,
            i + 1,
        )
        for i in range(count)
    ]


def filled(folder: Path, rows: list[Trade]) -> Catalog:
    """Return a folder with the trades in one file."""
    with Writer(folder, source="bench") as writer:
        writer.write(Block.from_events(rows))
        writer.write_instrument(Instrument(NAME, kind="swap", settle="USDT", price_step="0.1", qty_step="0.1"))
    return Catalog(folder)


def plain_table(address: str) -> Any:
    """Make a table like the one of trades, without partitions, and return a connection."""
    import psycopg

    connection = psycopg.connect(address, autocommit=True)
    connection.execute("create schema quantkit")
    for statement in table_statements(table_of("trade"), is_hyper=True):
        connection.execute(statement)
    return connection


def plain_copy(connection: Any, rows: list[tuple[Any, ...]]) -> None:
    """Copy rows that are tuples already."""
    names = ", ".join(table_of("trade").names)
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy(f"copy quantkit.trade ({names}) from stdin (format binary)") as copy,
    ):
        copy.set_types(TYPES)
        for row in rows:
            copy.write_row(row)


def plain_read(connection: Any) -> int:
    """Read the columns of every row by a binary cursor, and return how many there are."""
    names = ", ".join(table_of("trade").names[1:])
    count = 0
    with connection.transaction(), connection.cursor(name="plain", binary=True) as cursor:
        cursor.execute(f"select {names} from quantkit.trade order by received_ns, seq")
        while rows := cursor.fetchmany(65_536):
            count += len(rows)
    return count


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and this process' CPU time of some work."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def rounds(server: Server, catalog: Catalog, rows: list[Trade]) -> dict[str, list[tuple[float, float]]]:
    """Measure each way in turn, in databases of their own."""
    names = table_of("trade").names
    block = Block.from_events(rows)
    seq = Places().of(block.column("received_ns"))
    tuples = [
        tuple({"instrument": NAME, "seq": int(number)}.get(name, getattr(row, name, None)) for name in names)
        for row, number in zip(rows, seq, strict=True)
    ]
    tuples = [tuple(str(value) if isinstance(value, Side) else value for value in row) for row in tuples]
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(ROUNDS):
        with plain_table(server.fresh(f"plain{number}")) as connection:
            found.setdefault("plain copy", []).append(timed(lambda: plain_copy(connection, tuples)))
            found.setdefault("plain read", []).append(timed(lambda: plain_read(connection)))
        address = server.fresh(f"ours{number}")
        found.setdefault("export", []).append(timed(lambda: export(catalog, Database(address))))  # noqa: B023
        feed = DatabaseFeed(address)
        stream = Stream("trade", NAME)
        span = feed.coverage()[stream]

        def read() -> int:
            columns = table_of("trade").names[1:]
            blocks = feed.rows(stream, span.start_ns, span.end_ns)  # noqa: B023
            return sum(len(block.column(name)) for block in blocks for name in columns)

        found.setdefault("read back", []).append(timed(read))
        taped = TapedRows(Database(server.fresh(f"tape{number}")))

        def follow() -> None:
            with taped._database.connected() as connection:  # noqa: B023
                taped.begin(connection)  # noqa: B023
                for first in range(0, len(rows), BATCH):
                    piece = block.slice(first, min(first + BATCH, len(rows)))
                    taped.bring(connection, [NumberedBlock(piece, seq[first : first + BATCH])])  # noqa: B023

        found.setdefault(f"tape, {BATCH:,} a transaction", []).append(timed(follow))
    return found


def followed(server: Server | None) -> dict[str, float]:
    """Put trades on a tape at a steady rate while a database follows it, or none does, and say what that costs."""
    rows = trades(RATE * SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        tape = RowTape(Path(folder) / WORK / "tape")
        tape.open()
        tape.listen(Listening(START_NS, [Stream("trade", NAME)], []))
        mirror = None if server is None else Mirror(folder, Database(server.fresh("followed")))
        if mirror is not None:
            mirror.start()
        step = RATE // 100
        taken: list[float] = []
        begun_s = time.perf_counter()
        for first in range(0, len(rows), step):
            time.sleep(max(0.0, begun_s + first / RATE - time.perf_counter()))
            taken.append(timed(lambda: (tape.take([[row] for row in rows[first : first + step]]), tape.flush()))[0])  # noqa: B023
        ended_s = time.perf_counter()
        while mirror is not None and mirror.status.rows < len(rows):
            time.sleep(0.005)
        rest_s = time.perf_counter() - ended_s
        if mirror is not None:
            mirror.close()
        tape.close()
    taken.sort()
    return {
        "median ms": taken[len(taken) // 2] * 1e3,
        "p99 ms": taken[len(taken) * 99 // 100] * 1e3,
        "s until the last row was there": rest_s,
    }


def run(count: int = 300_000) -> None:
    """Print the figures."""
    rows = trades(count)
    with running() as server, tempfile.TemporaryDirectory() as folder:
        found = rounds(server, filled(Path(folder), rows), rows)
        for name, figures in (("alone", followed(None)), ("followed", followed(server))):
            told = ", ".join(f"{value:.2f} {what}" for what, value in figures.items())
            print(f"postgres tape {name}, {RATE:,} rows/s: {RATE // 100} rows taken in {told}")
    floors = {"export": "plain copy", "tape": "plain copy", "read back": "plain read"}
    for name, times in found.items():
        wall, cpu = (statistics.median(each[place] for each in times) for place in (0, 1))
        line = f"postgres {name}: {count / wall:,.0f} rows/s, {cpu / count * 1e6:.2f} us CPU of the client a row"
        floor = next((floor for begin, floor in floors.items() if name.startswith(begin)), None)
        if floor is not None:
            ratios = [one[0] / other[0] for one, other in zip(times, found[floor], strict=True)]
            line += f", {statistics.median(ratios):.2f} times the time of {floor}"
        print(line)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
