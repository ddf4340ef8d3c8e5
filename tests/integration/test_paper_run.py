"""Paper runs against the sandbox on real sockets, repeated from their recording to the last digit."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.errors import ConfigError, DataError, FeedError, StrategyError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.replay import ReplayFeed
from quantkit.live.journal import InputBatch, Output, Started, Stopped, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.verify import verify
from quantkit.rows.batch import Subscription
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.tape import TapeReader, TapeWriter

ROOT = Path(__file__).parents[2]
SWAP = "BTC-USDT-SWAP"

MAKER = """
import time
from quantkit import Book, Candle, Gap, Strategy, Trade

class Maker(Strategy):
    instrument: str = "BTC-USDT-SWAP"
    stall_s: float = 0.0
    raises_after: int = 0

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.subscribe_trades(self.instrument)
        self.subscribe_candles(self.instrument, "1s", warmup=5)
        self.every("200ms")
        self.bars = self.trades = self.ticks = self.gaps = 0

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1

    def on_candle(self, candle: Candle) -> None:
        self.bars += 1

    def on_gap(self, gap: Gap) -> None:
        self.gaps += 1
        self.cancel_all(self.instrument)

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        if self.raises_after and self.ticks >= self.raises_after:
            raise RuntimeError("enough")
        if self.stall_s and self.ticks % 60 == 30:
            time.sleep(self.stall_s)  # a slow hook: it holds up decisions, and nothing else
        book: Book | None = self.book(self.instrument)
        if book is None or book.mid is None:
            return
        held = self.position(self.instrument)
        if self.ticks % 10 == 9:
            self.target(self.instrument, 0.3 if held <= 0 else -0.3)
        else:
            half = book.mid * 2e-6 * (1 + self.rng.random())
            self.quote(self.instrument, bid=book.mid - half, ask=book.mid + half, qty=0.1)
"""


@pytest.fixture
def maker(tmp_path: Path) -> Path:
    file = tmp_path / "maker.py"
    file.write_text(MAKER)
    return file


def only_run(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


def test_a_run_is_repeated_from_its_tape_and_its_rows_backtest_to_the_same_result(maker: Path, tmp_path: Path) -> None:
    """Three ways to the same hash: live, from the engine log and tape, and as a backtest of the recorded rows."""
    with SandboxServer() as sandbox:
        live = paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="5s", seed=7)
    assert len(live.fills) > 0
    assert str(live.data_quality).startswith("not checked (the rows came live; ")
    run = only_run(tmp_path / "runs")
    verdict = verify(run)
    assert (verdict.is_identical, verdict.difference, verdict.ended) == (True, None, "completed")
    assert (verdict.fills, verdict.orders) == (len(live.fills), len(live.orders))
    assert verdict.events > 50

    assert qk.Result.load(run / "result").hash == live.hash
    entries = list(read_log(run / "engine"))
    started, stopped = entries[0], entries[-1]
    assert isinstance(started, Started)
    assert isinstance(stopped, Stopped)
    again = qk.backtest(
        str(maker),
        data=run / "data",
        start=started.config["start_ns"],
        end=stopped.end_ns,
        seed=7,
        cash={"USDT": 10_000},
    )
    assert again.hash == live.hash
    assert again.outcome.daily_marks == live.outcome.daily_marks != []
    # The warm-up was recorded too, so the rows stand for themselves.
    assert not [warning for warning in again.warnings if "warm-up" in warning]
    assert str(Catalog(run / "data").root)


def test_rows_rebuilt_from_the_tape_are_the_recorded_ones(maker: Path, tmp_path: Path) -> None:
    """Row for row, the warm-up included; twice is as good as once, and what is no run is told."""
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="4s")
    run = only_run(tmp_path / "runs")
    before = rows_of(run / "data")
    watched = {span.stream for span in Catalog(run / "data").watched}
    assert {stream.kind for stream in watched} == {"book", "candle", "funding", "mark", "trade"}
    for _ in range(2):
        counts = rebuild(run)
        assert rows_of(run / "data") == before
        assert {span.stream for span in Catalog(run / "data").watched} == watched
        assert sum(counts.values()) == len(before)
    assert sorted(path.name for path in run.iterdir()) == ["data", "engine", "frames", "result", "strategy"]
    with pytest.raises(DataError, match="holds no recorded run"):
        rebuild(tmp_path)


def rows_of(folder: Path) -> list[object]:
    feed = ReplayFeed(folder)
    feed.subscribe([Subscription(stream, 0, 2**62) for stream in feed.coverage()])
    return [event for batch in feed.batches() for block in batch.blocks for event in block.events()]


def test_stop_ends_a_run_cleanly_and_the_rest_is_kept(maker: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def watch(status: object) -> None:
        if status.fills_count >= 2:  # type: ignore[attr-defined]
            stop.set()

    with SandboxServer() as sandbox:
        result = paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", on_status=watch, stop=stop)
    assert len(result.fills) >= 2
    assert verify(only_run(tmp_path / "runs")).is_identical


def test_a_run_without_a_recording_keeps_nothing(maker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=None, duration="1s")
    assert [path.name for path in tmp_path.iterdir()] == ["maker.py"]


RAISING = """
from quantkit import Candle, Fill, Strategy, Trade

class Raising(Strategy):
    where: str = ""

    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.subscribe_trades("BTC-USDT-SWAP")
        self.subscribe_candles("BTC-USDT-SWAP", "1s", warmup=2)
        self.every("200ms")
        self.fills = self.ticks = 0

    def fail(self, where: str) -> None:
        if where == self.where and (self.fills > 2 or where == "on_candle"):
            self.buy("BTC-USDT-SWAP", 0.01)
            raise RuntimeError("enough")

    def on_candle(self, candle: Candle) -> None:
        self.fail("on_candle")

    def on_trade(self, trade: Trade) -> None:
        self.fail("on_trade")

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        self.target("BTC-USDT-SWAP", 0.1 * (self.ticks % 3))
        self.fail("on_timer")

    def on_fill(self, fill: Fill) -> None:
        self.fills += 1
        self.fail("on_fill")

    def on_stop(self) -> None:
        self.fail("on_stop")
"""


@pytest.mark.parametrize("where", ["on_trade", "on_timer", "on_fill", "on_stop"])
def test_what_was_done_before_a_hook_raised_is_kept_and_repeated(where: str, tmp_path: Path) -> None:
    """The run ends with the hook's error, and a result as of that moment."""
    (file := tmp_path / "raising.py").write_text(RAISING)
    with (
        SandboxServer() as sandbox,
        pytest.raises(StrategyError, match=rf"Raising\.{where} at .* RuntimeError: enough"),
    ):
        paper(
            str(file),
            params={"where": where},
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
            duration="4s" if where == "on_stop" else "60s",
        )
    run = only_run(tmp_path / "runs")
    verdict = verify(run)
    assert (verdict.difference, verdict.ended) == (None, "strategy_error")
    kept = qk.Result.load(run / "result")
    stopped = list(read_log(run / "engine"))[-1]
    assert isinstance(stopped, Stopped)
    assert (kept.hash, len(kept.fills), len(kept.orders)) == (stopped.result_hash, stopped.fills, stopped.orders)
    assert stopped.hash_encoding == kept.manifest["hash_encoding"]
    assert verdict.fills == len(kept.fills) > 2
    assert kept.warnings[0].startswith("the run ended early: Raising.")
    # The curve reaches to the error, once.
    assert kept.equity.index.is_unique
    assert kept.equity.index[-1].value == stopped.end_ns


def test_a_hook_that_raises_during_the_warm_up_leaves_nothing(tmp_path: Path) -> None:
    (file := tmp_path / "raising.py").write_text(RAISING)
    with SandboxServer() as sandbox, pytest.raises(StrategyError, match=r"Raising\.on_candle at"):
        paper(str(file), params={"where": "on_candle"}, okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_repeated_run_that_fails_where_the_recorded_one_went_on_is_different(maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="3s")
    broken = tmp_path / "broken.py"
    broken.write_text(MAKER.replace("if self.raises_after and self.ticks >= self.raises_after", "if self.ticks >= 7"))
    difference = verify(only_run(tmp_path / "runs"), strategy=str(broken)).difference
    assert difference is not None
    assert (difference.where, difference.recorded) == ("the strategy", "went on")
    assert "enough" in difference.replayed


def test_the_first_difference_is_shown_with_both_sides(maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="3s")
    run = only_run(tmp_path / "runs")
    changed = tmp_path / "changed.py"
    changed.write_text(MAKER.replace("qty=0.1", "qty=0.2"))
    verdict = verify(run, strategy=str(changed))
    assert not verdict.is_identical
    assert verdict.difference is not None
    assert "lots=10" in verdict.difference.recorded
    assert "lots=20" in verdict.difference.replayed
    assert "decision" in verdict.difference.where
    assert any("has changed" in note for note in verdict.notes)


@pytest.mark.parametrize("what", ["decision", "fill", "end"])
def test_a_log_that_was_tampered_with_is_not_identical(what: str, maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="4s")
    run = only_run(tmp_path / "runs")
    entries = list(read_log(run / "engine"))
    other = tmp_path / "other"
    is_done = False
    with TapeWriter(other) as tape:
        for entry in entries:
            if not is_done and isinstance(entry, Output) and what == "decision" and entry.decisions:
                entry = msgspec.structs.replace(
                    entry, decisions=[msgspec.structs.replace(entry.decisions[0], tag="other"), *entry.decisions[1:]]
                )
                is_done = True
            elif not is_done and isinstance(entry, Output) and what == "fill":
                for number, report in enumerate(entry.reports):
                    if report.fill is not None:
                        reports = list(entry.reports)
                        fill = msgspec.structs.replace(report.fill, price=report.fill.price + 1)
                        reports[number] = msgspec.structs.replace(report, fill=fill)
                        entry = msgspec.structs.replace(entry, reports=reports)
                        is_done = True
                        break
            elif isinstance(entry, Stopped) and what == "end":
                entry = msgspec.structs.replace(entry, equity=entry.equity + 1)
                is_done = True
            tape.append(msgspec.json.encode(entry))
    assert is_done
    (run / "engine").rename(tmp_path / "kept")
    other.rename(run / "engine")
    assert not verify(run).is_identical


def test_a_tape_that_lacks_frames_is_told(maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="2s")
    run = only_run(tmp_path / "runs")
    payloads = list(TapeReader(run / "frames"))
    (run / "frames").rename(tmp_path / "kept")
    with TapeWriter(run / "frames") as tape:
        tape.append_many(payloads[: len(payloads) // 2])
    with pytest.raises(DataError, match="the tape and the engine log disagree"):
        verify(run)


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no recorded run"):
        verify(tmp_path)


def test_a_class_without_a_file_needs_to_be_given(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"__name__": "notebook"}
    exec(compile(MAKER, "<notebook>", "exec"), scope)  # noqa: S102  as a notebook does
    with SandboxServer() as sandbox:
        paper(scope["Maker"], okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="2s")
    run = only_run(tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"Maker was typed into a notebook .* pass it as strategy= there"):
        verify(run)
    assert verify(run, strategy=scope["Maker"]).is_identical


SCRIPT = """
import quantkit as qk

class Mine(qk.Strategy):
    def on_start(self) -> None:
        self.subscribe_candles("BTC-USDT-SWAP", "1s")

{call}qk.paper(Mine(), okx=qk.OkxConfig(url={url!r}), record={record!r}, duration="1s")
"""


def test_verify_does_not_go_live_with_a_script_that_does(tmp_path: Path) -> None:
    """Loading the script again would run its last line again: one run folder before and after."""
    runs = tmp_path / "runs"
    guard = 'if __name__ == "__main__":\n    '
    with SandboxServer() as sandbox:
        for name, call in (("bare", ""), ("guarded", guard)):
            (file := tmp_path / f"{name}.py").write_text(
                SCRIPT.format(call=call, url=sandbox.url, record=str(runs / name))
            )
            subprocess.run([sys.executable, str(file)], check=True)
        command = [sys.executable, "-m", "quantkit", "verify", str(only_run(runs / "bare"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    script = tmp_path / "bare.py"
    assert done.stderr == (
        f"quantkit: error: {script}: paper() is called while {script} is being loaded; put the call under "
        '`if __name__ == "__main__":`\n'
    )
    assert len(list((runs / "bare").iterdir())) == 1
    assert verify(only_run(runs / "guarded")).is_identical
    assert len(list((runs / "guarded").iterdir())) == 1


def test_an_unknown_instrument_is_named_and_leaves_no_folder(maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox, pytest.raises(DataError, match="no BTC-USDT-SWAPP; did you mean BTC-USDT-SWAP"):
        paper(
            str(maker),
            params={"instrument": "BTC-USDT-SWAPP"},
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
        )
    assert not list((tmp_path / "runs").iterdir())


def test_no_server_leaves_no_folder(maker: Path, tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="refused"):
        paper(str(maker), okx=OkxConfig(url="ws://127.0.0.1:9"), record=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_candles_cannot_be_matched_on_live(maker: Path, tmp_path: Path) -> None:
    with SandboxServer() as sandbox, pytest.raises(ConfigError, match="cannot be matched on candles live"):
        paper(str(maker), okx=OkxConfig(url=sandbox.url), record=None, match_on="candle", latency_ms=0)


# Seconds of trouble ---------------------------------------------------------------------------------------------


def trouble() -> list[faults.Fault]:
    """Return what goes wrong meanwhile: every kind of ending, and every kind of broken book."""
    planned: list[faults.Fault] = []
    for second in range(3, 17, 3):
        planned += [
            faults.Drop(after_s=second, path="public"),
            faults.LostPush(after_s=second + 2, channel="books"),
            faults.Close(after_s=second + 4, code=(1001, 1000, 4004, 4006)[second % 4], path="business"),
            faults.Crossed(after_s=second + 5, channel="books"),
        ]
    return [
        *planned,
        faults.UpgradeNotice(after_s=7, close_after_s=2.0, path="public"),
        faults.Reset(after_s=11, channel="books"),
    ]


def test_disconnects_a_stalled_hook_and_a_kill(maker: Path, tmp_path: Path) -> None:
    """Killed without warning in the midst of trouble, the run is identical up to the kill; its rows read back."""
    with SandboxServer(GeneratedMarket(5)) as sandbox:
        sandbox.inject(*trouble())
        command = [sys.executable, "-m", "quantkit", "live", "--paper", str(maker), "-p", "stall_s=2", "--plain"]
        command += ["--url", sandbox.ws_url, "--record", str(tmp_path / "runs"), "--for", "10m"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            process.wait(18)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        output = process.communicate()[0]
        connects = sandbox.state()
    assert process.returncode == -signal.SIGKILL, output
    run = only_run(tmp_path / "runs")
    verdict = verify(run)
    assert (verdict.difference, verdict.ended) == (None, "cut short")
    assert verdict.is_identical
    assert verdict.decisions > 20
    assert verdict.fills > 2
    assert verdict.events > 150
    entries = list(read_log(run / "engine"))
    untils = [entry.until_ns for entry in entries if isinstance(entry, InputBatch)]
    assert untils == sorted(untils)
    assert untils[-1] - untils[0] > 9e9, connects
    told = subprocess.run(
        [sys.executable, "-m", "quantkit", "verify", str(run), "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        check=True,
    )
    assert json.loads(told.stdout)["is_identical"] is True

    # The rows since the last sealing went with the process; the tape has them.
    counts = rebuild(run)
    assert sum(counts.values()) >= verdict.events
    started = entries[0]
    assert isinstance(started, Started)
    repeated = qk.backtest(
        str(maker),
        data=run / "data",
        # Its messages left late, which the rows tell only to the same strategy.
        params={"stall_s": 2.0},
        start=started.config["start_ns"],
        end=untils[-1],
        cash={"USDT": 10_000},
    )
    recorded = [r.fill for entry in entries if isinstance(entry, Output) for r in entry.reports if r.fill is not None]
    assert repeated.fills["price"].tolist()[: len(recorded)] == [fill.price for fill in recorded]
    assert repeated.fills["qty"].tolist()[: len(recorded)] == [fill.qty for fill in recorded]
    assert len(recorded) > 2


def test_a_slow_hook_costs_no_connection(maker: Path, tmp_path: Path) -> None:
    """Frames are received and recorded while a hook sleeps; what it missed comes right after, in order."""
    began = time.monotonic()
    with SandboxServer() as sandbox:
        paper(
            str(maker),
            params={"stall_s": 2.0},
            okx=OkxConfig(url=sandbox.url, ping_after_s=0.5, dead_after_s=1.5),
            record=tmp_path / "runs",
            duration="9s",
        )
    assert time.monotonic() - began >= 9
    run = only_run(tmp_path / "runs")
    assert verify(run).is_identical
    assert not [entry for entry in Catalog(run / "data").entries if entry.kind == "gap"]
