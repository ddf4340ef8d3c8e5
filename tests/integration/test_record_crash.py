"""A collector that is killed at any moment, on real sockets: what it counted is stored once, and the rest is named.

A plain run of the tests kills it 20 times, `.ci/run` 200 times: ten folders (QUANTKIT_CAMPAIGN=10) with 20 lives each.
Each kill ends a collector that is alive, or the test fails.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from campaign import scaled

from quantkit.clock import wall_ns
from quantkit.collect.recovery import recover
from quantkit.events import Gap, MarketEvent
from quantkit.feeds.recording import NOT_RECORDED
from quantkit.feeds.row_tape import RowTape
from quantkit.rows.columns import Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import WORK, Root

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks its collectors"),
    pytest.mark.long,
    pytest.mark.campaign,
]

#: In each folder.
KILLS = 20
CHANNELS = "trades,books,tickers,marks"
NAMES = ("BTC-USDT", "BTC-USDT-SWAP")

#: Starts a collector for every line and kills it, its own child, at the next; a fork costs less than an interpreter.
NURSERY = """
import os, signal, sys, time
from quantkit.cli import main
from quantkit.collect import record, housekeeping, recovery
from quantkit.feeds.okx import source
import pyarrow.parquet, pandas

while line := sys.stdin.readline().split():
    child = os.fork()
    if not child:
        try:
            main(line, standalone_mode=False)
        finally:
            sys.stdout.flush()
            os._exit(0)
    after_s = sys.stdin.readline()
    time.sleep(float(after_s))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "it had ended by itself"
    os.write(1, b'{"event": "dead"}\\n')
"""


class Life(NamedTuple):
    """A collector from its start to its death.

    Attributes:
        until_ns: When it was dead.
        rows: How many it had counted.
        last_ns: The stamp of the last of them.
    """

    until_ns: int
    rows: int
    last_ns: int


class Nursery:
    """Collectors that live one after the other."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def life(self, arguments: list[str], beats: int, after_s: float) -> Life:
        """Let a collector live for so many beats and a little longer; without beats it may die before it has begun."""
        print(*arguments, file=self._input, flush=True)
        told: dict[str, object] = {}
        for _ in range(beats):
            while (said := json.loads(self._output.readline()))["event"] != "beat":
                pass
            told = said
        print(after_s, file=self._input, flush=True)
        while True:
            # A line that was cut off by the kill is joined to the next one: it says nothing.
            line = self._output.readline()
            if line.endswith('{"event": "dead"}\n'):
                break
            said = json.loads(line)
            told = said if said["event"] == "beat" else told
        return Life(wall_ns(), int(str(told.get("rows", 0))), int(str(told.get("last_ns", 0))))


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start what starts the collectors."""
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def rows_by_stream(folder: Path | str) -> dict[Stream, list[MarketEvent]]:
    """Return every row, of files that match their digest."""
    catalog = Catalog(folder)
    found: dict[Stream, list[MarketEvent]] = defaultdict(list)
    for stream in catalog.coverage():
        if stream.kind != "instrument":
            for block in read_blocks(catalog, stream, start_ns=0, end_ns=2**62, verify_digest=True):
                found[stream] += block.events()
    return found


@pytest.mark.parametrize("seed", range(scaled(1)))
def test_a_killed_collector_loses_nothing_that_it_counted(tmp_path: Path, seed: int) -> None:
    """Each life's rows are there once, up to the last that it counted; the time to the next life is a gap."""
    rng = Random(20261130 + seed)
    folder = tmp_path / "data"
    market = GeneratedMarket(7, 4, orders_per_s=120.0)
    with SandboxServer(market=market) as sandbox, nursery() as births:
        arguments = ["record", *NAMES, "--channels", CHANNELS, "--to", str(folder), "--url", sandbox.ws_url]
        arguments += ["--json", "--beat", "15ms", "--roll", "1s", "--min-free", "1MB"]
        lives = [
            births.life(arguments, rng.choice((0, 0, 1, 2, 5, 10, 20, 40)), rng.random() * 0.4) for _ in range(KILLS)
        ]
    recovered_twice(folder)
    check(folder, lives)


def recovered_twice(folder: Path) -> None:
    """Seal the tail of the last life; a second time changes nothing."""
    before = b""
    for _ in range(2):
        tape = RowTape(folder / WORK / "tape")
        tape.open()
        try:
            found = recover(tape.folder, Root(folder), source="OKX live", staging=folder / WORK / "staging")
        finally:
            tape.close()
        if before:
            assert (found.rows, found.entries) == (0, [])
            assert (folder / "manifest.jsonl").read_bytes() == before
        before = (folder / "manifest.jsonl").read_bytes()


def check(folder: Path | str, lives: list[Life]) -> None:
    """Hold the folder against what the collectors said."""
    catalog = Catalog(folder)
    for entry in catalog.entries:
        DataFile(catalog.root, entry, verify_digest=True)
    found = rows_by_stream(folder)
    gaps = [gap for rows in found.values() for gap in rows if isinstance(gap, Gap) and gap.cause == NOT_RECORDED]
    streams = {stream: rows for stream, rows in found.items() if stream.kind != "gap"}
    stamps = [(row.received_ns, stream) for stream, rows in streams.items() for row in rows]
    begun_ns = 0
    counted = 0
    for life in lives:
        # Exactly the counted rows are there up to the last of them: none is lost, none comes twice.
        assert sum(begun_ns < stamp <= life.last_ns for stamp, _ in stamps) == life.rows
        counted += life.rows
        begun_ns = life.until_ns
    assert counted > 100
    for stream, rows in streams.items():
        received = [row.received_ns for row in rows]
        assert received == sorted(received)
        if stream.kind == "trade":
            ids = [row.trade_id for row in rows]  # type: ignore[union-attr]
            assert len(set(ids)) == len(ids)
        ends = [life.until_ns for life in lives]
        channel = stream.kind
        for before, after in pairwise(received):
            died = [end for end in ends if before < end < after]
            if died:
                # The time from the last row to the next life has a name, and no row lies within it.
                named = [g for g in gaps if (g.instrument, g.channel) == (stream.instrument, channel)]
                spans = [g for g in named if before < g.from_ns and g.to_ns <= after and g.from_ns < died[0] < g.to_ns]
                assert spans, (stream, before, after)
