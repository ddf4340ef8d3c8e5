"""The surroundings of a run that a strategy could depend on, each of which the check can set or change alone."""

import datetime
import importlib
import os
import random  # noqa: TID251  # a strategy's dice are loaded here, not thrown
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import numpy as np

from quantkit.proving.frames import UserFrames

#: What a strategy reads on the clock when a run begins: the same in each check.
_CLOCK_NS: Final = 1_767_607_200_000_000_000
#: Each reading by a strategy moves its clock by so much, so that a wait for a later time ends.
_TICK_NS: Final = 1_000_000
#: Further than whole days, so that hours, minutes and seconds are others too.
_OFF_NS: Final = 12_345_678_900_000
_DAY_NS: Final = 86_400_000_000_000
#: The head start that a hurried thread gets, seconds.
_HEAD_START_S: Final = 0.02
#: Python's own ways to a variable; what a library reads for itself is not the strategy's doing.
_VARIABLE_READERS: Final = ("os.py", "_collections_abc.py", "<frozen os>", "<frozen _collections_abc>")
#: Blocks of memory of each size that are taken, and in another order given back.
_STIRRED: Final = 3_000


class World(msgspec.Struct, frozen=True):
    """The surroundings of the runs of one process.

    Attributes:
        hash_seed: Of the hashes of texts, which decide the order of sets.
        chance_seed: Of every source of chance that the strategy does not seed itself.
        clock_days: How far the machine's clock is set forward; with the days go hours, minutes and seconds.
        flips_environment: Whether variables that the strategy reads are others than they are.
        heap_seed: Of the order in which memory is handed out, which decides the addresses of objects; 0: as it comes.
        has_hurried_threads: Whether threads of the strategy get a head start, and the interpreter switches more often.
        block_rows: Of the replay; None: the default.
        has_search: Whether the replay skips rows that cannot matter.
    """

    hash_seed: int = 0
    chance_seed: int = 1
    clock_days: int = 0
    flips_environment: bool = False
    heap_seed: int = 0
    has_hurried_threads: bool = False
    block_rows: int | None = None
    has_search: bool = True


#: What other runs are held against.
HOME: Final = World()
#: Worlds in which everything is different at once; a strategy that is the same in all of them depends on none of it.
OTHERS: Final = (
    World(1, 2, 15, True, 1, True, 997, False),
    World(2, 3, 36, True, 2, True, 4_001, True),
    World(77, 4, 400, True, 3, True, 64, True),
)
#: The parts of a world, each with the name of what depends on it.
FACTORS: Final[dict[str, tuple[str, ...]]] = {
    "object addresses": ("heap_seed",),
    "thread timing": ("has_hurried_threads",),
    "hash order": ("hash_seed",),
    "unseeded chance": ("chance_seed",),
    "wall clock": ("clock_days",),
    "environment variable": ("flips_environment",),
    "replay": ("block_rows", "has_search"),
}


def alone(factor: str, other: World) -> World:
    """Return the home world with one part of another."""
    return msgspec.structs.replace(HOME, **{name: getattr(other, name) for name in FACTORS[factor]})


class Surroundings:
    """Sets what a strategy sees of the machine in this process; quantkit and libraries go on seeing what is.

    Args:
        world: How it is to be.
        frames: Tells the strategy's code from all other.

    Attributes:
        clock_readings, variables, threads: What the strategy used, by name, in order of first use.
    """

    def __init__(self, world: World, frames: UserFrames) -> None:
        self.clock_readings: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.threads: dict[str, str] = {}
        self._world = world
        self._frames = frames
        self._chance = np.random.default_rng(world.chance_seed)
        self._now_ns = _CLOCK_NS + world.clock_days * (_DAY_NS + _OFF_NS)
        self._kept: list[bytes] = []

    def settle(self) -> None:
        """Change the process, before the strategy is loaded."""
        self._set_dice()
        self._set_clock()
        self._set_variables()
        self._set_threads()

    def begin_run(self) -> None:
        """Give each run of the process the same dice and the same clock, and stir the memory."""
        self._chance = np.random.default_rng(self._world.chance_seed)
        self._now_ns = _CLOCK_NS + self._world.clock_days * (_DAY_NS + _OFF_NS)
        random.seed(self._world.chance_seed)
        np.random.seed(self._world.chance_seed)  # noqa: NPY002  # what strategies of others throw
        if self._world.heap_seed:
            self._stir()

    # Chance ---------------------------------------------------------------------------------------------------

    def _set_dice(self) -> None:
        real, frames = os.urandom, self._frames

        def urandom(size: int) -> bytes:
            return self._chance.bytes(size) if frames.caller() is not None else real(size)

        seeded = random.Random.seed

        def seed(dice: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None and frames.caller() is not None:
                a = int.from_bytes(self._chance.bytes(32))
            seeded(dice, a, version)

        for module, name, value in (
            (os, "urandom", urandom),
            (random, "_urandom", urandom),
            (random.Random, "seed", seed),
        ):
            setattr(module, name, value)

    # The clock ------------------------------------------------------------------------------------------------

    def _read_clock(self, name: str) -> int | None:
        """Return the strategy's time, None for everybody else."""
        frame = self._frames.caller()
        if frame is None:
            return None
        self.clock_readings.setdefault(name, self._frames.place(frame))
        self._now_ns += _TICK_NS
        return self._now_ns

    def _set_clock(self) -> None:
        for name in ("time", "monotonic", "perf_counter", "process_time"):
            for unit in ("", "_ns"):
                setattr(time, name + unit, self._clock(name + unit, is_ns=bool(unit)))
        for name in ("localtime", "gmtime", "ctime"):
            setattr(time, name, self._calendar(name))

    def _clock(self, name: str, *, is_ns: bool) -> Callable[[], float]:
        real: Callable[[], float] = getattr(time, name)

        def read() -> float:
            now_ns = self._read_clock(f"time.{name}")
            return real() if now_ns is None else now_ns if is_ns else now_ns / 1e9

        return read

    def _calendar(self, name: str) -> Callable[..., Any]:
        real = getattr(time, name)

        def read(secs: float | None = None) -> Any:
            now_ns = None if secs is not None else self._read_clock(f"time.{name}")
            return real(secs) if now_ns is None else real(now_ns / 1e9)

        return read

    def set_calendars(self, modules: Iterable[types.ModuleType], text: str) -> None:
        """Let the loaded modules of a strategy see this clock through `datetime` too; annotations keep its classes.

        Args:
            modules: The strategy's.
            text: Theirs; pandas, where it is named, is loaded and has this clock as well.
        """
        swapped = {datetime.datetime: _datetime_of(self._read_clock), datetime.date: _date_of(self._read_clock)}
        module = types.ModuleType("datetime")
        vars(module).update(vars(datetime))
        vars(module).update({kind.__name__: other for kind, other in swapped.items()})
        for each in modules:
            for name, value in list(vars(each).items()):
                if value is datetime:
                    setattr(each, name, module)
                elif isinstance(value, type) and value in swapped:
                    setattr(each, name, swapped[value])
        if "pandas" in text or "pandas" in sys.modules:
            self._set_timestamps(importlib.import_module("pandas"))

    def _set_timestamps(self, pandas: Any) -> None:
        stamp = pandas.Timestamp
        for name in ("now", "today", "utcnow"):
            real = getattr(stamp, name)

            def read(kind: Any, tz: Any = None, *, name: str = name, real: Any = real) -> Any:
                now_ns = self._read_clock(f"pandas.Timestamp.{name}")
                if now_ns is None:
                    return real() if tz is None else real(tz)
                found = kind(now_ns, tz="UTC")
                return found.tz_localize(None) if tz is None and name != "utcnow" else found.tz_convert(tz or "UTC")

            setattr(stamp, name, classmethod(read))

    # Environment ----------------------------------------------------------------------------------------------

    def _set_variables(self) -> None:
        kind = type(os.environ)
        real = kind.__getitem__

        def read(variables: Any, key: str) -> str:
            frame = self._frames.caller(through=_VARIABLE_READERS)
            if frame is None:
                return real(variables, key)
            self.variables.setdefault(key, self._frames.place(frame))
            if not self._world.flips_environment:
                return real(variables, key)
            if variables.encodekey(key) in variables._data:
                raise KeyError(key)
            return "1"

        setattr(kind, "__getitem__", read)  # noqa: B010  # a method of Python's own

    # Threads and memory ---------------------------------------------------------------------------------------

    def _set_threads(self) -> None:
        if self._world.has_hurried_threads:
            sys.setswitchinterval(1e-5)
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            frame = self._frames.caller()
            real(thread)
            if frame is not None:
                self.threads.setdefault(thread.name, self._frames.place(frame))
                if self._world.has_hurried_threads:
                    thread.join(_HEAD_START_S)

        setattr(threading.Thread, "start", start)  # noqa: B010  # a method of Python's own

    def _stir(self) -> None:
        """Take blocks of each size and give half of them back in a random order: the next objects lie elsewhere."""
        rng = np.random.default_rng(self._world.heap_seed)
        taken = [bytes(size) for size in range(15, 480, 16) for _ in range(_STIRRED)]
        order = rng.permutation(len(taken)).tolist()
        self._kept = [taken[number] for number in order[::2]]
        back: list[bytes | None] = [taken[number] for number in order[1::2]]
        del taken
        for number in range(len(back)):
            back[number] = None


def _datetime_of(read: Callable[[str], int | None]) -> type[datetime.datetime]:
    class DatetimeKind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime.datetime)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, datetime.datetime)

    class ClockedDatetime(datetime.datetime, metaclass=DatetimeKind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            now_ns = read("datetime.now")
            if now_ns is None:
                return datetime.datetime.now(tz)  # noqa: TID251  # not the strategy's reading
            return datetime.datetime.fromtimestamp(now_ns / 1e9, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    ClockedDatetime.__name__ = ClockedDatetime.__qualname__ = "datetime"
    return ClockedDatetime


def _date_of(read: Callable[[str], int | None]) -> type[datetime.date]:
    class DateKind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime.date)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, datetime.date)

    class ClockedDate(datetime.date, metaclass=DateKind):
        @classmethod
        def today(cls) -> Any:
            now_ns = read("date.today")
            if now_ns is None:
                return datetime.date.today()  # noqa: DTZ011  # not the strategy's reading
            return datetime.date.fromtimestamp(now_ns / 1e9)  # noqa: DTZ012  # as Python's own

    ClockedDate.__name__ = ClockedDate.__qualname__ = "date"
    return ClockedDate
