"""Paper runs that are paused, resumed, cancelled and stopped from outside: they verify, wherever a kill cut them."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import quantkit as qk
from quantkit.engine.commands import COMMANDS, RunCommand
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.commands import RunCommands
from quantkit.live.journal import EngineLog, Entry, Started, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

TRADER = """
from quantkit import Order, Strategy, Ticker

class Trader(Strategy):
    def on_start(self) -> None:
        self.ids = ("BTC-USDT-SWAP", "ETH-USDT")
        for name in self.ids:
            self.subscribe_book(name)
            self.subscribe_tickers(name)
        self.every("70ms")
        self.ticks = self.refused = 0

    def on_ticker(self, ticker: Ticker) -> None:
        self.last = ticker.bid

    def on_order(self, order: Order) -> None:
        self.refused += "paused" in order.reason

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        for instrument in self.ids:
            book = self.book(instrument)
            if book is None or book.best_bid is None:
                continue
            if self.ticks % 3:
                self.quote(instrument, bid=book.best_bid, ask=None, qty=0.05)
            else:
                self.target(instrument, float(self.rng.integers(0, 5)) / 100)
        if self.ticks % 11 == 0:
            self.cancel_all()
"""


class Commander:
    """Gives commands from a thread of its own, at moments that the dice and the scheduler decide."""

    def __init__(self, seed: int, count: int) -> None:
        self.commands = RunCommands()
        self.taken: list[int] = []
        self.errors: list[BaseException] = []
        self._dice = np.random.default_rng(seed)
        self._count = count
        self._thread = threading.Thread(target=self._work)
        self._moved = threading.Event()

    def watch(self, status: LiveStatus) -> None:
        """Begin once the run has traded, and go on with it."""
        if status.fills_count > 3 and self._thread.ident is None:
            self._thread.start()
        self._moved.set()

    def join(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        try:
            for n in range(self._count):
                name = "pause" if n == 0 else COMMANDS[int(self._dice.integers(3))]
                self.taken.append(self.commands.give(name, source="dice", reason=str(n)).result(30))
                for _ in range(int(self._dice.integers(3))):
                    self._moved.clear()
                    assert self._moved.wait(30)
            self.taken.append(self.commands.stop().result(30))
        except (Exception, AssertionError) as error:  # noqa: BLE001 - the test tells it
            self.errors.append(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[qk.Result, Path, Commander]:
    """A run that was commanded at random."""
    folder = tmp_path_factory.mktemp("commanded")
    (file := folder / "trader.py").write_text(TRADER)
    commander = Commander(seed=3, count=14)
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        result = qk.paper(
            str(file),
            okx=OkxConfig(url=sandbox.url),
            record=folder / "runs",
            duration="60s",
            cash={"USDT": 100_000},
            on_status=commander.watch,
            commands=commander.commands,
        )
    commander.join()
    (recorded,) = (folder / "runs").iterdir()
    return result, recorded, commander


def copied(run: Path, target: Path, entries: list[Entry]) -> Path:
    """Return a copy of a run's folder with another log."""
    shutil.copytree(run, target)
    shutil.rmtree(target / "engine")
    log = EngineLog(target / "engine")
    for entry in entries:
        log.write(entry)
    log.close()
    return target


def test_a_commanded_run_verifies(run: tuple[qk.Result, Path, Commander]) -> None:
    """Every command in its place, and the run ended by one of them."""
    result, folder, commander = run
    assert commander.errors == []
    entries = list(read_log(folder / "engine"))
    commands = [entry for entry in entries if isinstance(entry, RunCommand)]
    assert [command.taken_ns for command in commands] == commander.taken
    assert [command.reason for command in commands] == [*map(str, range(14)), ""]
    assert commands[-1].name == "stop"
    assert isinstance(entries[0], Started)
    assert entries[0].version == 4
    assert {order.reason for order in result.outcome.orders} >= {"paused", "requested"}
    verdict = verify(folder)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, "completed", len(result.fills))
    assert any(text.startswith("15 commands from outside") for text in result.warnings)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_kill_around_a_command_is_no_difference(
    run: tuple[qk.Result, Path, Commander], where: str, tmp_path: Path
) -> None:
    _, folder, _ = run
    entries = list(read_log(folder / "engine"))
    places = [number for number, entry in enumerate(entries) if isinstance(entry, RunCommand)]
    for number in (places[0], places[len(places) // 2]):
        cut = entries[: number + (where == "after")]
        verdict = verify(copied(folder, tmp_path / str(number), cut))
        assert (verdict.difference, verdict.ended) == (None, "cut short")


def test_a_command_that_is_gone_from_the_log_is_told(run: tuple[qk.Result, Path, Commander], tmp_path: Path) -> None:
    _, folder, _ = run
    entries = list(read_log(folder / "engine"))
    first = next(number for number, entry in enumerate(entries) if isinstance(entry, RunCommand))
    verdict = verify(copied(folder, tmp_path / "gone", [*entries[:first], *entries[first + 1 :]]))
    assert verdict.difference is not None


def test_the_rows_of_a_commanded_run_are_rebuilt(run: tuple[qk.Result, Path, Commander], tmp_path: Path) -> None:
    """A backtest over them repeats the strategy, not the commands, and says so of its orders."""
    _, folder, _ = run
    copy = tmp_path / "rebuilt"
    shutil.copytree(folder, copy)
    before = qk.backtest(str(copy / "strategy" / "trader.py"), data=copy / "data", cash={"USDT": 100_000})
    rebuild(copy)
    after = qk.backtest(str(copy / "strategy" / "trader.py"), data=copy / "data", cash={"USDT": 100_000})
    assert before.hash == after.hash
    assert any("the live run that recorded the data sent others" in text for text in before.outcome.assumptions)
