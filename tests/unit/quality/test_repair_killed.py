"""A repair that is killed at any moment: each mend is done or not begun, another call ends it, a third does nothing."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from campaign import scaled
from damage import lines_of, resealed, write_lines
from kills import die_at
from quality_rows import BTC, START_NS, candles, stored, tickers, trades

from quantkit.clock import NS_PER_DAY
from quantkit.errors import DataError
from quantkit.quality.repair import LEFT, planned, repair
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.root import Root
from quantkit.storage.rows_digest import rows_digest
from quantkit.storage.writer import Writer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks what it kills"),
    pytest.mark.campaign,
]

LATER_NS = START_NS + 30 * NS_PER_DAY
ALL = -(2**63), 2**63 - 1
TRADE, TICKER = Stream("trade", BTC), Stream("ticker", BTC)
CANDLE = Stream("candle", BTC, "1m")

#: Repairs the folder of each line and kills itself, a child of its own, so many seconds later.
NURSERY = """
import os, signal, sys, time
from pathlib import Path
from quantkit.quality.repair import repair
from quantkit.storage.root import Root
import pyarrow.parquet

while line := sys.stdin.readline().split():
    child = os.fork()
    if not child:
        list(repair(Root.of(line[0]), int(line[1])))
        os._exit(0)
    time.sleep(float(line[2]))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Stream, str]]:
    """A folder with everything that can be mended, and the digests of the rows when all is."""
    folder = tmp_path_factory.mktemp("spoilt")
    rows, quotes, bars = trades(300), tickers(200), candles(trades(1200), 20)
    whole = folder / "whole"
    stored(whole, rows, quotes, bars)
    wanted = {stream: rows_digest(Catalog(whole), stream, *ALL) for stream in (TRADE, TICKER, CANDLE)}
    data = stored(folder / "data", [*rows[:10], rows[9]], bars)
    for start, stop in pairwise([10, 40, 70, 100, 300]):
        with Writer(data) as writer:
            writer.write(Block.from_events(rows[start:stop]))
    held = lines_of(data).entries
    (entry,) = (each for each in held if each.stream == CANDLE)
    table = pq.read_table(data / entry.path, partitioning=None)
    pq.write_table(table.take(list(range(len(table)))[::-1]), data / entry.path, write_page_checksum=True)
    write_lines(data, [each if each is not entry else resealed(data, entry) for each in held])
    lines = (data / MANIFEST).read_bytes()
    with Writer(data) as writer:
        writer.write(Block.from_events(quotes))
    (quoted,) = (each for each in lines_of(data).entries if each.stream == TICKER)
    # The line of the quotes is cut off, as a tool that appends to the manifest may leave it.
    line = next(each for each in (data / MANIFEST).read_bytes().splitlines(True) if quoted.path.encode() in each)
    (data / MANIFEST).write_bytes(lines + line[:-30])
    return data, wanted


def killed_somewhere(folder: Path, wanted: dict[Stream, str]) -> frozenset[str]:
    """Hold each stream to its old rows or its mended ones; return what was mended."""
    try:
        held = Catalog(folder)
    except DataError:
        return frozenset()  # the torn line is there still
    seen = {"line"}
    if held.files(TICKER, *ALL):
        assert rows_digest(held, TICKER, *ALL) == wanted[TICKER]
        seen.add("adopted")
    with suppress(DataError):  # readers refuse the file until it is sorted
        assert rows_digest(held, CANDLE, *ALL) == wanted[CANDLE]
        seen.add("sorted")
    if rows_digest(held, TRADE, *ALL) == wanted[TRADE]:
        seen.add("dropped")
    else:
        assert sum(entry.rows for entry in held.files(TRADE, *ALL)) == 301
    if len(held.files(TRADE, *ALL)) == 1:
        seen.add("compacted")
    return frozenset(seen)


def mended(folder: Path, wanted: dict[Stream, str]) -> None:
    """End a repair, and call it once more for nothing."""
    assert not [each for each in repair(Root.of(folder), LATER_NS) if each.action == LEFT]
    for stream, digest in wanted.items():
        assert rows_digest(Catalog(folder), stream, *ALL) == digest
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert planned(Root.of(folder), LATER_NS) == []
    assert list(repair(Root.of(folder), LATER_NS)) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


def test_a_kill_before_each_lasting_change(tmp_path: Path, spoilt: tuple[Path, dict[Stream, str]]) -> None:
    """At fsyncs, renames and removals, in a campaign at each of them, until a repair runs through."""
    data, wanted = spoilt
    states = set()
    for step in range(0, 300, max(1, 9 // scaled(1))):
        folder = tmp_path / str(step)
        shutil.copytree(data, folder)
        child = os.fork()
        if not child:
            die_at(step)
            list(repair(Root.of(folder), LATER_NS))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        states.add(killed_somewhere(folder, wanted))
        mended(folder, wanted)
        if not status:
            break
    assert len(states) >= 4
    assert max(states, key=len) == {"line", "adopted", "sorted", "dropped", "compacted"}


def test_a_kill_at_any_moment(tmp_path: Path, spoilt: tuple[Path, dict[Stream, str]]) -> None:
    """By the clock, wherever it meets the process."""
    data, wanted = spoilt
    rng, states = Random(3), set()
    whole = tmp_path / "whole"
    shutil.copytree(data, whole)
    began = time.monotonic()
    mended(whole, wanted)
    lasts_s = time.monotonic() - began
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for number in range(scaled(4)):
            folder = tmp_path / str(number)
            shutil.copytree(data, folder)
            nursery.stdin.write(f"{folder} {LATER_NS} {rng.uniform(0, lasts_s)}\n")
            nursery.stdin.flush()
            assert nursery.stdout.readline() == "dead\n"
            states.add(killed_somewhere(folder, wanted))
            mended(folder, wanted)
            shutil.rmtree(folder)
        nursery.stdin.close()
    assert states
