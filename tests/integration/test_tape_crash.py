"""A writer that is killed at any moment: nothing that it said was saved is lost, and nothing else is made up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from quantkit.storage.tape import TapeReader, TapeWriter

SEGMENT_BYTES = 1 << 20
ROUNDS = 64
ROUNDS_OF_A_TAPE = 8
GROUP = 4

#: Starts a writer for every odd line and kills it, its own child, at the next; a fork costs less than an interpreter.
NURSERY = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from test_tape_crash import write_on

while path := sys.stdin.readline().rstrip():
    child = os.fork()
    if not child:
        write_on(path)
    sys.stdin.readline()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""

_PATTERN = Random(7).randbytes(300_000)


def payload_of(number: int) -> bytes:
    """The payload of a record: small ones, and some that take long enough to be killed within."""
    rng = Random(number)
    size = rng.choice((1, 40, 300, 300, 300, 300, 5_000, 250_000))
    return _PATTERN[rng.randrange(1_000) :][:size]


def write_on(path: str) -> None:
    """Append records for ever, one by one or a few together, and say what is saved."""
    with TapeWriter(path, resume=True, segment_bytes=SEGMENT_BYTES) as tape:
        count = tape.sync()
        while True:
            if count % 3:
                count = 1 + tape.append(payload_of(count))
            else:
                count = GROUP + tape.append_many([payload_of(count + i) for i in range(GROUP)])
            os.write(1, b"%d\n" % (count - 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks its writers")
def test_a_killed_writer_loses_nothing_that_it_said_was_saved(tmp_path: Path) -> None:
    rng = Random(20260101)
    segments = kills = 0
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY.format(folder=str(Path(__file__).parent))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # The library behind numpy starts threads of its own, which no fork should have.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for life in range(ROUNDS // ROUNDS_OF_A_TAPE):
            # A tape lives through many kills, so that what recovery leaves is what the next writer stands on.
            tape = tmp_path / f"tape-{life}"
            acked = -1
            for _ in range(ROUNDS_OF_A_TAPE):
                print(tape, file=nursery.stdin, flush=True)
                for _ in range(rng.randrange(1, 40)):
                    acked = int(nursery.stdout.readline())
                print("kill", file=nursery.stdin, flush=True)
                while (line := nursery.stdout.readline()) != "dead\n":
                    acked = int(line)
                acked = check(tape, acked)
                kills += 1
            segments = max(segments, len(list(tape.glob("*.tape"))))
            shutil.rmtree(tape)
        nursery.stdin.close()
        assert nursery.wait(timeout=60) == 0
    assert kills == ROUNDS
    assert segments > 2


def check(tape: Path, acked: int) -> int:
    """Check a killed writer's tape, recover it twice, and return the number of its last record."""
    reader = TapeReader(tape)
    count = 0
    for payload in reader:
        assert payload == payload_of(count)
        count += 1
    # Killed between a write and saying so, a writer has saved more than it said: at most one call's worth.
    assert acked + 1 <= count <= acked + 1 + GROUP
    before = sum(path.stat().st_size for path in tape.glob("*.tape"))
    with TapeWriter(tape, resume=True, segment_bytes=SEGMENT_BYTES) as writer:
        assert (writer.sync(), writer.torn_bytes) == (count, reader.torn_bytes)
    recovered = {path: path.read_bytes() for path in tape.glob("*.tape")}
    assert sum(map(len, recovered.values())) == before - reader.torn_bytes
    with TapeWriter(tape, resume=True, segment_bytes=SEGMENT_BYTES) as writer:
        assert (writer.sync(), writer.torn_bytes) == (count, 0)
    assert {path: path.read_bytes() for path in tape.glob("*.tape")} == recovered
    return count - 1
