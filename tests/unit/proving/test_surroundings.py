"""What a strategy sees of the machine is set, and nobody else's clock, dice or environment is touched."""

import datetime
import logging
import os
import random
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantkit.proving.frames import UserFrames
from quantkit.proving.trace import Trace, TracedContext
from quantkit.proving.witness import Witness
from quantkit.proving.world import FACTORS, HOME, OTHERS, Surroundings, World, alone
from quantkit.strategy import Strategy

SOURCE = """
import datetime
import os
import random
import threading
import time
import uuid
from datetime import date as Day
from datetime import datetime as Moment

import numpy as np


def readings():
    return [
        time.time(), time.time_ns(), time.monotonic(), time.localtime().tm_hour, Moment.now().isoformat(),
        datetime.datetime.utcnow().isoformat(), Day.today().isoformat(), datetime.date.today().isoformat(),
    ]


def dice():
    own, numpys = random.Random(), np.random.default_rng()
    return [random.random(), own.random(), numpys.random(), uuid.uuid4().hex, os.urandom(4)]


def side():
    return os.environ.get("PLANTED_SIDE", "long")


def path():
    return "PATH" in os.environ


def is_moment(value):
    return isinstance(value, Moment) and issubclass(Moment, datetime.datetime)


def begin(work):
    thread = threading.Thread(target=work, name="mine")
    thread.start()
    thread.join()
"""
CHANGED = (
    (os, ("urandom",)),
    (random, ("_urandom",)),
    (random.Random, ("seed",)),
    (time, ("localtime", "gmtime", "ctime")),
    (
        time,
        tuple(name + unit for name in ("time", "monotonic", "perf_counter", "process_time") for unit in ("", "_ns")),
    ),
    (type(os.environ), ("__getitem__",)),
    (threading.Thread, ("start",)),
)


@pytest.fixture
def restored() -> Iterator[None]:
    """Give everybody back what was changed."""
    kept = [(home, name, getattr(home, name)) for home, names in CHANGED for name in names]
    states = random.getstate(), np.random.get_state(), sys.getswitchinterval()  # noqa: NPY002  # as they were
    yield
    for home, name, value in kept:
        setattr(home, name, value)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002  # likewise
    sys.setswitchinterval(states[2])


def settled(world: World, frames: UserFrames | None = None) -> tuple[Surroundings, types.ModuleType]:
    """Return surroundings of this process, and a strategy's module in them."""
    surroundings = Surroundings(world, frames or UserFrames())
    surroundings.settle()
    module = types.ModuleType("mine")
    exec(compile(SOURCE, "/home/me/mine.py", "exec"), vars(module))  # noqa: S102  # a strategy's own file
    surroundings.set_calendars([module], "")
    surroundings.begin_run()
    return surroundings, module


@pytest.mark.usefixtures("restored")
def test_a_strategy_reads_a_clock_of_its_own() -> None:
    """The same at each run, another in another world, by whatever name; others read the machine's."""
    surroundings, mine = settled(HOME)
    first = mine.readings()
    surroundings.begin_run()
    assert mine.readings() == first
    assert first[0] == 1_767_607_200.001
    assert first[4].startswith("2026-01-05T")
    assert surroundings.clock_readings["time.time"] == "mine.py line 16"
    assert set(surroundings.clock_readings) >= {"time.localtime", "datetime.now", "date.today"}
    # What writes logs reads the machine's clock.
    machine_s = datetime.datetime.now(datetime.UTC).timestamp()
    assert abs(logging.makeLogRecord({}).created - machine_s) < 60
    assert mine.is_moment(datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))


@pytest.mark.usefixtures("restored")
def test_another_world_has_another_clock_and_other_dice() -> None:
    """Each of the readings and of the throws differs; within a world they repeat."""
    surroundings, mine = settled(HOME)
    here = [*mine.readings(), *mine.dice()]
    surroundings.begin_run()
    assert [*mine.readings(), *mine.dice()] == here
    surroundings, mine = settled(OTHERS[0])
    there = [*mine.readings(), *mine.dice()]
    assert [one for one, other in zip(here, there, strict=True) if one == other] == []


@pytest.mark.usefixtures("restored")
def test_variables_are_others_for_the_strategy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is not, and what is not there is; both are noted."""
    surroundings, mine = settled(alone("environment variable", OTHERS[0]))
    assert mine.side() == "1"
    monkeypatch.setenv("PLANTED_SIDE", "short")
    assert mine.side() == "long"
    assert not mine.path()
    assert surroundings.variables == {"PLANTED_SIDE": "mine.py line 27", "PATH": "mine.py line 31"}
    surroundings, mine = settled(HOME)
    assert mine.side() == "long"  # the outer world flips what this one hands through
    assert Path.home().exists()


@pytest.mark.usefixtures("restored")
def test_threads_of_a_strategy_are_noted_and_may_be_hurried() -> None:
    """By name and place."""
    done: list[int] = []
    for world in (HOME, alone("thread timing", OTHERS[0])):
        surroundings, mine = settled(world)
        mine.begin(lambda: done.append(1))
        assert surroundings.threads == {"mine": "mine.py line 40"}
    assert len(done) == 2


@pytest.mark.usefixtures("restored")
def test_memory_is_handed_out_in_another_order() -> None:
    """Some object lies before an earlier one; what is stirred is given back."""

    class Signal:
        """An object."""

    surroundings, _ = settled(alone("object addresses", OTHERS[0]))
    addresses = [id(signal) for signal in [Signal() for _ in range(50)]]
    assert addresses != sorted(addresses)
    assert surroundings.threads == {}


def test_each_cause_changes_one_thing() -> None:
    """Together they are everything that differs elsewhere."""
    changed = {name for parts in FACTORS.values() for name in parts}
    assert changed == set(World.__struct_fields__)
    for factor in FACTORS:
        world = alone(factor, OTHERS[0])
        assert [name for name in changed if getattr(world, name) != getattr(HOME, name)] != []


class Listened:
    """A strategy's module whose calls are heard."""

    def __init__(self, data: Path, home: Path) -> None:
        self.witness = Witness(UserFrames(), data, home)
        self.module = types.ModuleType("mine")
        source = "def tell(hear, event, *arguments):\n    hear(event, arguments)\n"
        exec(compile(source, "/home/me/mine.py", "exec"), vars(self.module))  # noqa: S102  # a strategy's own file

    def tell(self, event: str, *arguments: object) -> None:
        """Let the strategy do something."""
        tell: Callable[..., None] = self.module.tell
        tell(self.witness._hear, event, *arguments)

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Kinds and targets."""
        return list(self.witness.seen)


def test_what_is_opened_is_told_apart(tmp_path: Path) -> None:
    """Data, tables, other files, written ones, processes; nothing of Python's own, nothing of this test's."""
    data = tmp_path / "data"
    data.mkdir()
    mine = Listened(data, tmp_path)
    for path, mode in (("data/a.parquet", "r"), ("x.csv.gz", "rb"), ("m.json", "r"), ("log.txt", "a"), ("h.py", "r")):
        mine.tell("open", str(tmp_path / path), mode, 0)
    mine.tell("open", str(tmp_path / "flagged.txt"), None, os.O_WRONLY)
    mine.tell("open", os.fsencode(tmp_path / "bytes.txt"), None, os.O_RDONLY)
    mine.tell("open", 3, "r", 0)
    mine.tell("open", str(Path(os.__file__).with_suffix(".txt")), "r", 0)
    mine.tell("os.listdir", str(tmp_path))
    mine.tell("os.listdir", str(data))
    mine.tell("subprocess.Popen", "ls", ["ls"], None, None)
    mine.tell("import", "os", None)
    assert mine.seen == [
        ("data", "data/a.parquet"),
        ("table", "x.csv.gz"),
        ("file", "m.json"),
        ("written", "log.txt"),
        ("written", "flagged.txt"),
        ("file", "bytes.txt"),
        ("data", "data"),
        ("process", "ls"),
    ]
    assert mine.witness.seen["file", "m.json"].place == "mine.py line 2"


def test_the_network_is_refused(tmp_path: Path) -> None:
    """To the strategy; to nobody else."""
    mine = Listened(tmp_path, tmp_path)
    with pytest.raises(PermissionError, match="no network"):
        mine.tell("socket.connect", None, ("127.0.0.1", 9))
    with pytest.raises(PermissionError, match="no network"):
        mine.tell("socket.getaddrinfo", "okx.com", 443)
    assert mine.seen == [("network", "('127.0.0.1', 9)"), ("network", "okx.com")]
    assert socket.gethostname()


def test_readers_of_libraries_say_what_they_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions and classes, by position and by name; a file that is open already is none of theirs."""
    from pyarrow import BufferReader, parquet

    kept = parquet.read_table, parquet.ParquetFile
    heard: list[str] = []
    monkeypatch.setattr(sys, "audit", lambda event, *given: heard.append(Path(given[0]).name))
    witness = Witness(UserFrames(), tmp_path, tmp_path)
    try:
        witness.watch_readers("")
        witness.watch_readers("")  # once is enough
        assert parquet.read_table is not kept[0]
        with pytest.raises(FileNotFoundError):
            parquet.read_table(str(tmp_path / "a.parquet"))
        first = heard[0]
        with pytest.raises(FileNotFoundError):
            parquet.ParquetFile(source=tmp_path / "b.parquet")
        last = heard[-1]
        heard.clear()
        with pytest.raises(ValueError, match="Parquet"):
            parquet.ParquetFile(BufferReader(b"no parquet at all"))
    finally:
        for module in [each for name, each in list(sys.modules.items()) if name.startswith("pyarrow")]:
            for name, value in list(vars(module).items()):
                if getattr(value, "__wrapped_reader__", False):
                    setattr(module, name, value.__wrapped__)
    assert (first, last, heard) == ("a.parquet", "b.parquet", [])
    assert (parquet.read_table, parquet.ParquetFile) == kept


class Rows:
    """Counts a row a second."""

    def taken_by(self, now_ns: int) -> int:
        """Return how many."""
        return now_ns // 1_000_000_000


class Context:
    """A context that takes everything."""

    now_ns = 5_000_000_000
    is_warming_up = False
    portfolio = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: name


def test_a_decision_is_written_down_digit_by_digit() -> None:
    """Each call with its arguments, moment, row, hook and line; readings and subscriptions are none."""

    class Mine(Strategy):
        """Calls everything."""

        def on_timer(self, name: str) -> None:
            self.subscribe_trades("X")
            order = self.buy("X", 0.1 + 0.2, price=7.0, post_only=True, tag="a")
            assert self.position("X") == "position"
            assert self.now == 5_000_000_000
            del order
            self.target("X", 1)
            self.close("X")
            self.quote("X", bid=1.0, qty=2)
            self.cancel_all()
            self.every("1s")
            self.at("2025-05-05")

    strategy = Mine()
    trace = Trace(UserFrames(), Rows())  # type: ignore[arg-type]
    trace.attach(strategy)
    strategy.bind(Context())  # type: ignore[arg-type]
    strategy.on_timer("1s")
    assert isinstance(strategy._context, TracedContext)
    assert not strategy.is_warming_up
    assert strategy.portfolio is None
    assert [each.words for each in trace.decisions] == [
        "buy X 0.30000000000000004 price=7.0 post_only=True tag=a",
        "target X 1",
        "close X",
        "quote X bid=1.0 ask=None qty=2",
        "cancel_all",
        "every 1s 1s",
        "at 2025-05-05 at",
    ]
    first = trace.decisions[0]
    assert (first.at_ns, first.row) == (5_000_000_000, 5)
    assert first.place.startswith("on_timer, test_surroundings.py line ")
    assert str(first).startswith("1970-01-01T00:00:05Z row 5, on_timer")
    trace.end(6_000_000_000, "raised KeyError")
    assert trace.decisions[-1].place == ""
