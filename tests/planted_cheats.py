"""Strategies with one planted fault each, for the check to find; and what it has to call it.

Each fault is a decision: take it out, and the strategy is honest.
"""

import datetime as clock_module
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import quantkit as qk
from quantkit import Candle, Strategy

DATA = Path(__file__).parents[1] / "data"
SOL = "binance:SOL-USDT-SWAP"
NS_PER_DAY = 86_400_000_000_000
#: Files of the strategies that keep something between runs lie here.
KEPT = Path(tempfile.gettempdir())

seen: list[float] = []
first_price: dict[int, float] = {}


class Honest(Strategy):
    """Long while the last candle rose. Those below decide by something else."""

    instrument: str = SOL

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, "1h")
        self.number = 0
        self.prepare()

    def prepare(self) -> None:
        """Nothing."""

    def on_candle(self, candle: Candle) -> None:
        self.number += 1
        self.target(candle.instrument, 1.0 if self.decide(candle) else 0.0)

    def decide(self, candle: Candle) -> bool:
        return candle.close > candle.open


class ReadsFiles(Honest):
    """Reads the stored candles with pyarrow, which no hook of Python sees."""

    def prepare(self) -> None:
        from pyarrow import parquet

        self.closes = parquet.read_table(DATA / self.file, columns=["close"])["close"].to_pylist()

    file: str = "exchange=binance/kind=candle/interval=1m/instrument=SOL-USDT-SWAP/month=2025-05/part-0.parquet"

    def decide(self, candle: Candle) -> bool:
        later = self.closes.index(candle.close) + 60 if candle.close in self.closes else 0
        return self.closes[min(later, len(self.closes) - 1)] > candle.close


class ReadsTable(Honest):
    """Reads a table of its own that was made of the whole history."""

    table: str = ""

    def prepare(self) -> None:
        self.rows = Path(self.table).read_text(encoding="utf-8").splitlines()

    def decide(self, candle: Candle) -> bool:
        return self.rows[self.number % len(self.rows)] == "up"


class ShiftedCatalog(Honest):
    """Asks the catalog for the next close before the run."""

    def prepare(self) -> None:
        frame = qk.Catalog(DATA).candles(self.instrument, interval="1h").pandas()
        self.rises = (frame["close"].shift(-1) > frame["close"]).tolist()

    def decide(self, candle: Candle) -> bool:
        return bool(self.rises[self.number])


class ResampledCatalog(Honest):
    """Fills a day's close back over its hours."""

    def prepare(self) -> None:
        frame = qk.Catalog(DATA).candles(self.instrument, interval="1h").pandas()
        closes = frame["close"]
        self.days = closes.groupby(np.arange(len(closes)) // 24).transform("last").bfill().tolist()

    def decide(self, candle: Candle) -> bool:
        return bool(self.days[self.number] > candle.close)


class KnowsTheEnd(Honest):
    """Is out of the market well before the data end."""

    def prepare(self) -> None:
        self.end_ns = max(held.end_ns for held in qk.Catalog(DATA).coverage().values())

    def decide(self, candle: Candle) -> bool:
        return candle.close_ns < self.end_ns - 25 * NS_PER_DAY


class PeeksAtRows(Honest):
    """Looks at the rows that the engine has at hand."""

    def decide(self, candle: Candle) -> bool:
        context: Any = self._context
        while hasattr(context, "_context"):
            context = context._context
        rows = context._position.received_ns
        return len(rows) - int(rows.searchsorted(candle.close_ns, "right")) > 1_000


class KeepsGlobal(Honest):
    """Counts in a variable of the module."""

    def decide(self, candle: Candle) -> bool:
        seen.append(candle.close)
        return len(seen) % 7 < 3


class KeepsInCache(Honest):
    """Keeps prices by a number that another run gives to others."""

    def decide(self, candle: Candle) -> bool:
        return first_price.setdefault(self.number, candle.close) > candle.open


class KeepsInClass(Honest):
    """Counts in an attribute of the class."""

    count: ClassVar[int] = 0

    def decide(self, candle: Candle) -> bool:
        type(self).count += 1
        return self.count % 7 < 3


class KeepsInDefault(Honest):
    """Counts in the default of an argument."""

    def decide(self, candle: Candle, past: list[float] = []) -> bool:  # noqa: B006  # the fault
        past.append(candle.close)
        return len(past) % 7 < 3


class KeepsInFile(Honest):
    """Counts its runs in a file."""

    def prepare(self) -> None:
        file = KEPT / f"quantkit-planted-{self.name}.json"
        self.run = json.loads(file.read_text())["run"] + 1 if file.exists() else 0
        file.write_text(json.dumps({"run": self.run}))

    name: str = "runs"

    def decide(self, candle: Candle) -> bool:
        return (self.run + self.number) % 5 < 2


class ReadsClock(Honest):
    """Trades in even seconds of the machine's clock."""

    def decide(self, candle: Candle) -> bool:
        return int(time.time()) % 2 == 0


class ReadsDatetime(Honest):
    """Trades in the afternoon of the machine's day."""

    def decide(self, candle: Candle) -> bool:
        return datetime.now().hour >= 12  # noqa: DTZ005  # the fault


class ReadsDate(Honest):
    """Trades in the second half of the machine's month."""

    def decide(self, candle: Candle) -> bool:
        return clock_module.date.today().day > 15  # noqa: DTZ011  # the fault


class ReadsPandasClock(Honest):
    """Trades in the second half of the machine's month, as pandas knows it."""

    def decide(self, candle: Candle) -> bool:
        import pandas as pd

        return bool(pd.Timestamp.now(tz="UTC").day > 15)


class ThrowsDice(Honest):
    """Throws dice that nobody seeded."""

    def decide(self, candle: Candle) -> bool:
        return random.random() < 0.5


class ThrowsNumpyDice(Honest):
    """Throws numpy's dice."""

    def prepare(self) -> None:
        self.dice = np.random.default_rng()

    def decide(self, candle: Candle) -> bool:
        return bool(self.dice.random() < 0.5)


class DrawsUuid(Honest):
    """Takes chance from unique ids."""

    def decide(self, candle: Candle) -> bool:
        return uuid.uuid4().int % 2 == 0


class AsksKernel(Honest):
    """Takes chance from the operating system."""

    def decide(self, candle: Candle) -> bool:
        return os.urandom(1)[0] < 128


class FollowsSet(Honest):
    """Takes the first of a set of texts."""

    def decide(self, candle: Candle) -> bool:
        return next(iter({"buy", "sell", "hold", "wait", "flat", "go"})) in ("buy", "hold", "go")


class FollowsAddresses(Honest):
    """Sorts objects by where they lie in memory."""

    def decide(self, candle: Candle) -> bool:
        signals = [Signal() for _ in range(6)]
        return min(signals, key=id) in signals[:3]


class Signal:
    """An object without an order."""


class ReadsEnvironment(Honest):
    """Takes its side from a variable of the environment."""

    def decide(self, candle: Candle) -> bool:
        return os.environ.get("PLANTED_SIDE", "long") == "long"


class AsksNetwork(Honest):
    """Asks a server, and goes on without its answer."""

    def decide(self, candle: Candle) -> bool:
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()
        except OSError:
            return candle.close > candle.open
        return False


class StartsProcess(Honest):
    """Lets another program decide."""

    def prepare(self) -> None:
        self.answer = subprocess.run(["true"], check=False).returncode

    def decide(self, candle: Candle) -> bool:
        return self.answer == 0


class CountsInThread(Honest):
    """Decides by how far a thread has come."""

    def prepare(self) -> None:
        self.count = 0
        self.is_over = False
        threading.Thread(target=self.work, daemon=True).start()

    def work(self) -> None:
        while not self.is_over and self.count < 3_000_000:
            self.count += 1

    def decide(self, candle: Candle) -> bool:
        return self.count % 2 == 0

    def on_stop(self) -> None:
        self.is_over = True


class UsesColumn(Honest):
    """Follows a further column of its frame."""

    instrument: str = "SOL"
    column: str = ""

    def decide(self, candle: Candle) -> bool:
        return bool(candle.extra[self.column] > candle.close)


class Gambles(Honest):
    """Honest, with orders far above what is traded."""

    qty: float = 1.0

    def on_candle(self, candle: Candle) -> None:
        self.target(candle.instrument, self.qty if candle.close > candle.open else 0.0)


class Blocks(Honest):
    """Never comes back."""

    def decide(self, candle: Candle) -> bool:
        while True:
            threading.Event().wait(1)


#: What each cheat is called, and the question under which it is found.
PLANTED: dict[str, tuple[str, str]] = {
    "ReadsFiles": ("own reading", "reads the data"),
    "ReadsTable": ("own reading", "reads a table"),
    "ShiftedCatalog": ("own reading", "reads the data"),
    "ResampledCatalog": ("own reading", "reads the data"),
    "KnowsTheEnd": ("own reading", "reads the data"),
    "PeeksAtRows": ("look-ahead", "look-ahead"),
    "KeepsGlobal": ("state between runs", "module global"),
    "KeepsInCache": ("state between runs", "module global"),
    "KeepsInClass": ("state between runs", "class attribute"),
    "KeepsInDefault": ("state between runs", "mutable default"),
    "KeepsInFile": ("state between runs", "file between runs"),
    "ReadsClock": ("determinism", "wall clock"),
    "ReadsDatetime": ("determinism", "wall clock"),
    "ReadsDate": ("determinism", "wall clock"),
    "ReadsPandasClock": ("determinism", "wall clock"),
    "ThrowsDice": ("determinism", "unseeded chance"),
    "ThrowsNumpyDice": ("determinism", "unseeded chance"),
    "DrawsUuid": ("determinism", "unseeded chance"),
    "AsksKernel": ("determinism", "unseeded chance"),
    "FollowsSet": ("determinism", "hash order"),
    "FollowsAddresses": ("determinism", "object addresses"),
    "ReadsEnvironment": ("determinism", "environment variable"),
    "AsksNetwork": ("own reading", "network"),
    "StartsProcess": ("own reading", "starts a process"),
    "CountsInThread": ("determinism", "thread timing"),
}
