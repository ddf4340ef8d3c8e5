"""Paper runs that another process watches and commands: killing it changes nothing, and a killed run is told."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_S
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.commands import RunCommands
from quantkit.live.control import CONTROL_FILE, ControlClient
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

ROOT = Path(__file__).parents[2]
QUOTER = """
from quantkit import Strategy

class Quoter(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.every("60ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        book = self.book("BTC-USDT-SWAP")
        if book is not None and book.best_bid is not None:
            self.quote("BTC-USDT-SWAP", bid=book.best_bid - 50, ask=None, qty=0.05)
            if self.ticks % 5 == 0:
                self.target("BTC-USDT-SWAP", 0.02 if self.ticks % 2 else 0.05)
"""
RUN = """
import sys
import quantkit as qk
qk.paper(sys.argv[1], okx=qk.OkxConfig(url=sys.argv[2]), record=sys.argv[3], control=True, cash={"USDT": 100_000})
"""
CLIENT = """
import asyncio, sys
from quantkit.live.control import ControlClient

async def read() -> None:
    async for status in ControlClient(sys.argv[1]).statuses():
        print(status.number, flush=True)

asyncio.run(read())
"""


class Run:
    """A controlled run on a thread."""

    def __init__(self, folder: Path, sandbox: SandboxServer) -> None:
        (file := folder / "quoter.py").write_text(QUOTER)
        self.results: list[qk.Result] = []
        self.stop = threading.Event()
        self._runs = folder / "runs"

        def work() -> None:
            self.results.append(
                qk.paper(
                    str(file),
                    okx=OkxConfig(url=sandbox.url),
                    record=self._runs,
                    cash={"USDT": 100_000},
                    stop=self.stop,
                    control=True,
                )
            )

        self._thread = threading.Thread(target=work)
        self._thread.start()
        until(lambda: bool(list(self._runs.glob(f"*/{CONTROL_FILE}"))))
        (self.folder,) = self._runs.iterdir()

    def join(self) -> qk.Result:
        self._thread.join()
        return self.results[0]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come")


async def followed(client: ControlClient) -> list[LiveStatus]:
    """Read a run to its end: pause it once it has traded, then resume and stop it."""
    seen: list[LiveStatus] = []
    commands = ["pause", "cancel_all", "resume", "stop"]
    async for status in client.statuses():
        seen.append(status)
        if commands and status.fills_count > 2 and status.number % 4 == 0:
            await client.command(commands.pop(0), source="test")  # type: ignore[arg-type]
    return seen


def test_a_run_is_watched_and_commanded_over_its_endpoint(tmp_path: Path) -> None:
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        run = Run(tmp_path, sandbox)
        client = ControlClient(run.folder)
        # Nobody has watched yet; the run remembers for who comes later.
        until(lambda: len(asyncio.run(client.history()).equity.time_ns) > 0)
        seen = asyncio.run(followed(client))
        result = run.join()
    assert not (run.folder / CONTROL_FILE).exists()
    numbers = [status.number for status in seen]
    assert numbers == sorted(set(numbers))
    paused = [status for status in seen if status.is_paused]
    assert paused
    assert not seen[-1].is_paused
    last = seen[-1]
    assert last.recording == str(run.folder)
    assert last.recorded_bytes > 10_000
    assert last.latency_p99_ms is not None
    assert last.latency_p50_ms is not None
    assert 0 < last.latency_p50_ms <= last.latency_p99_ms
    assert last.drawdown is not None
    assert last.drawdown <= 0
    assert last.pnl_today == pytest.approx(last.pnl, abs=1e-6)
    assert last.fees["USDT"] > 0
    assert last.rows_per_s > 0
    (book,) = last.books
    assert 0 < len(book.bids) <= 12
    assert [price for price, _ in book.bids] == sorted((price for price, _ in book.bids), reverse=True)
    assert [price for price, _ in book.asks] == sorted(price for price, _ in book.asks)
    carried = [name for line in last.connections for name in line.streams]
    assert sorted(carried) == sorted(line.name for line in last.streams)
    (path,) = last.prices
    assert path.instrument == "BTC-USDT-SWAP"
    assert list(path.time_ns) == sorted(set(path.time_ns))
    assert {line.kind for status in seen for line in status.log} == {"order", "fill", "command"}
    assert [line.at_ns for line in last.log] == sorted(line.at_ns for line in last.log)
    resting = [line for status in seen for line in status.open_orders if line.queue_ahead is not None]
    assert resting
    assert all(0 < line.sent_ns <= last.now_ns for line in resting)
    verdict = verify(run.folder)
    assert (verdict.difference, verdict.fills) == (None, len(result.fills))


def test_killing_who_watches_changes_nothing_in_the_run(tmp_path: Path) -> None:
    """While it reads, and while it does not: the run goes on, and verifies."""
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        run = Run(tmp_path, sandbox)
        for suspended in (False, True):
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT, str(run.folder)], stdout=subprocess.PIPE, cwd=ROOT, text=True
            )
            assert client.stdout is not None
            assert client.stdout.readline().strip().isdecimal()
            if suspended:
                os.kill(client.pid, signal.SIGSTOP)
            client.kill()
            client.wait()
            client.stdout.close()
        seen = asyncio.run(followed(ControlClient(run.folder)))
        result = run.join()
    assert len(seen) > 4
    assert len(result.fills) > 2
    assert verify(run.folder).difference is None


def test_a_killed_run_is_lost_to_who_watches_and_its_address_is_stale(tmp_path: Path) -> None:
    (file := tmp_path / "quoter.py").write_text(QUOTER)
    runs = tmp_path / "runs"
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        process = subprocess.Popen([sys.executable, "-c", RUN, str(file), sandbox.url, str(runs)], cwd=ROOT)
        try:
            until(lambda: bool(list(runs.glob(f"*/{CONTROL_FILE}"))))
            (folder,) = runs.iterdir()
            client = ControlClient(folder)

            async def follow() -> None:
                async for status in client.statuses():
                    if status.fills_count > 1:
                        process.kill()

            with pytest.raises(qk.FeedError):
                asyncio.run(follow())
        finally:
            process.kill()
            process.wait()
    with pytest.raises(qk.ConfigError, match="stale"):
        asyncio.run(client.command("stop"))
    verdict = verify(folder)
    assert (verdict.difference, verdict.ended) == (None, "cut short")


def test_a_run_that_cannot_start_answers_and_leaves_nothing(tmp_path: Path) -> None:
    (file := tmp_path / "quoter.py").write_text(QUOTER)
    with pytest.raises(qk.FeedError):
        qk.paper(str(file), okx=OkxConfig(url="ws://127.0.0.1:9"), record=tmp_path / "runs", control=True)
    assert not list((tmp_path / "runs").iterdir())


def test_control_needs_a_recording() -> None:
    with pytest.raises(qk.ConfigError, match="control needs a recording"):
        qk.paper(
            "quoter",
            params={"instrument": "BTC-USDT-SWAP"},
            okx=OkxConfig(url="ws://127.0.0.1:9"),
            record=None,
            control=True,
        )


def test_one_object_of_commands_serves_python_and_the_endpoint(tmp_path: Path) -> None:
    (file := tmp_path / "quoter.py").write_text(QUOTER)
    commands, paused = RunCommands(), list[int]()

    def watch(status: LiveStatus) -> None:
        if status.fills_count and not paused:
            paused.append(status.number)
            commands.pause()
        if status.is_paused and status.now_ns - status.started_ns > NS_PER_S:
            folder = Path(status.recording)
            threading.Thread(target=lambda: asyncio.run(ControlClient(folder).command("stop"))).start()

    with SandboxServer(GeneratedMarket(3)) as sandbox:
        qk.paper(
            str(file),
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
            cash={"USDT": 100_000},
            control=True,
            commands=commands,
            on_status=watch,
            duration="60s",
        )
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).difference is None
