"""Paper runs whose hooks are slow or whose clock is off: orders fill when they have really arrived, and repeat so."""

import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.clock import NS_PER_MS, NS_PER_S, wall_ns
from quantkit.events import Timing
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.replay import ReplayFeed
from quantkit.live.journal import EngineLog, Entry, Sent, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.recorded import RecordedMarket
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
CAPTURES = Path(__file__).parents[1] / "data"
LATENCY_NS = 20 * NS_PER_MS

SLOW = """
import time
from quantkit import Strategy

CALLS = []

class Slow(Strategy):
    stall_s: float = 0.6
    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.every("250ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        if self.stall_s and self.ticks % 3 == 0:
            time.sleep(self.stall_s)
        if self.book(self.instrument) is not None:
            CALLS.append(time.time_ns())
            self.target(self.instrument, 0.1 * (self.ticks % 2))
"""


@pytest.fixture
def slow(tmp_path: Path) -> str:
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    return str(file)


def only_run(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


def lasting(file: str, seconds: float, sandbox: SandboxServer, folder: Path, **options: Any) -> tuple[qk.Result, Path]:
    """Return a paper run with some fills, and its folder; a busy machine gets more time for them."""
    for times in (1, 4, 16):
        record = folder / str(times)
        live = paper(file, okx=OkxConfig(url=sandbox.url), record=record, duration=f"{seconds * times}s", **options)
        if len(live.fills) > 2:
            break
    assert len(live.fills) > 2
    return live, only_run(record)


def repeats(run: Path, file: str, live: qk.Result, **options: Any) -> None:
    """Make sure that the run gives one hash live, verified, backtested over its rows, and over its rows rebuilt."""
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, live.outcome.ended, len(live.fills))
    recorded = ReplayFeed(run / "data").timings()
    assert qk.backtest(file, data=run / "data", **options).hash == live.hash
    rebuild(run)
    assert ReplayFeed(run / "data").timings() == recorded
    assert qk.backtest(file, data=run / "data", **options).hash == live.hash


def kills_and_slips(run: Path, tmp_path: Path) -> None:
    """Cut the log behind its last messages as a kill would, and change a moment in it; see what verify makes of it."""
    entries = list(read_log(run / "engine"))
    last = max(number for number, entry in enumerate(entries) if isinstance(entry, Sent))
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    # Before the last message was noted, after it, and after what it led to; in the middle of the run as well.
    middle = next(number for number, entry in enumerate(entries) if isinstance(entry, Sent) and entry.number == 3)
    for kept in (middle, middle + 1, last, last + 1, last + 2):
        write_log(copy, entries[:kept])
        verdict = verify(copy)
        assert (verdict.difference, verdict.ended) == (None, "cut short")
    sent = entries[middle]
    assert isinstance(sent, Sent)
    write_log(copy, [*entries[:middle], *entries[middle + 1 :]])
    assert verify(copy).difference is not None
    later = msgspec.structs.replace(sent, sent_ns=sent.sent_ns + 1)
    write_log(copy, [*entries[:middle], later, *entries[middle + 1 :]])
    slip = verify(copy).difference
    assert slip is not None
    assert slip.recorded == f"{slip.replayed.partition(':')[0]}: sent_ns={sent.sent_ns}"
    # A message that nobody sends when the run is repeated.
    write_log(copy, [*entries[:middle], sent, *entries[middle:]])
    assert verify(copy).difference is not None


def write_log(run: Path, entries: list[Entry]) -> None:
    """Put a log in the place of a run's."""
    shutil.rmtree(run / "engine")
    log = EngineLog(run / "engine")
    for entry in entries:
        log.write(entry)
    log.close()


def test_a_slow_hook_fills_when_its_orders_have_really_arrived(slow: str, tmp_path: Path) -> None:
    """Its hooks sleep; the engine's time stands still meanwhile, the exchange's does not."""
    told: list[LiveStatus] = []
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        live, run = lasting(slow, 3, sandbox, tmp_path / "runs", on_status=told.append)
    calls = sys.modules["quantkit_strategy_slow"].CALLS
    sent = [order.sent_ns for order in live.outcome.orders]
    # The clock is read within the call, so a moment after it was read here.
    assert all(0 <= sent_ns - max(call for call in calls if call <= sent_ns) < 500 * NS_PER_MS for sent_ns in sent)
    for fill in live.outcome.fills:
        order = next(order for order in live.outcome.orders if order.id == fill.order_id)
        assert fill.filled_ns >= order.sent_ns + LATENCY_NS
    lag_ns = max(status.behind_ns_max for status in told)
    assert lag_ns > 550 * NS_PER_MS
    assert any("the engine was at most" in said for said in live.assumptions)
    assert any("orders left when their hooks had sent them, at most" in said for said in live.assumptions)
    repeats(run, slow, live)
    kills_and_slips(run, tmp_path)
    # Another strategy's calls have no recorded times.
    other = qk.backtest(slow, data=run / "data", params={"stall_s": 0.0})
    assert any("left at the time of what they answered to; the live run" in said for said in other.assumptions)
    assert other.hash != live.hash
    assert all(order.sent_ns % (250 * NS_PER_MS) == 0 for order in other.outcome.orders)


def test_a_run_ends_with_its_time_however_far_behind_it_is(tmp_path: Path) -> None:
    """Each of ten ticks a second takes a second and a half: all of them would take fifteen times the run."""
    file = tmp_path / "slower.py"
    file.write_text(SLOW.replace("250ms", "100ms").replace("% 3 == 0", "% 1 == 0"))
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        live = paper(
            str(file),
            params={"stall_s": 1.5},
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
            duration="3s",
        )
    # The time is over in the second or third; one more may follow. A busy machine makes them fewer, never more.
    assert len(sys.modules["quantkit_strategy_slower"].CALLS) <= 4
    assert live.config["end_ns"] - live.config["start_ns"] < 3 * NS_PER_S
    assert any("the run's time was over while the engine was still" in warning for warning in live.warnings)
    repeats(only_run(tmp_path / "runs"), str(file), live, params={"stall_s": 1.5})


# Two clocks ---------------------------------------------------------------------------------------------------------

FLIPS = """
from quantkit import Strategy

class Flips(Strategy):
    instrument: str = "BTC-USDT-SWAP"
    qty: float = 0.1

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.subscribe_trades(self.instrument)
        self.every("100ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        if self.book(self.instrument) is not None:
            self.ticks += 1
            self.target(self.instrument, self.qty * (self.ticks % 2))
"""


@pytest.fixture
def flips(tmp_path: Path) -> str:
    file = tmp_path / "flips.py"
    file.write_text(FLIPS)
    return str(file)


@pytest.mark.parametrize("ahead_s", [3, -3])
def test_orders_take_their_latency_whichever_clock_is_ahead(ahead_s: int, flips: str, tmp_path: Path) -> None:
    """The exchange's clock is moved, since this machine's cannot be; what is between them is the same."""
    told: list[LiveStatus] = []
    with SandboxServer(GeneratedMarket(3), wall_ns=lambda: wall_ns() - ahead_s * NS_PER_S) as sandbox:
        live, run = lasting(flips, 1.5, sandbox, tmp_path / "runs", on_status=told.append)
    for fill in live.outcome.fills:
        order = next(order for order in live.outcome.orders if order.id == fill.order_id)
        there_ns = fill.filled_ns - (order.sent_ns - ahead_s * NS_PER_S)
        # The measured offset is right to half a round trip and a millisecond.
        assert abs(there_ns - LATENCY_NS) < NS_PER_S
        news = next(event for event in live.outcome.order_events if event.order_id == order.id)
        assert abs(news.reported_ns - order.sent_ns - 2 * LATENCY_NS) < 1.5 * NS_PER_S
    word = "ahead of" if ahead_s > 0 else "behind"
    assert any(f" {word} the exchange's; arrivals of orders" in warning for warning in live.warnings)
    assert any(f" {word} the exchange's; arrivals of orders" in note for note in told[-1].notes)
    assert max(abs(line.lag_ms or 0.0) for line in told[-1].streams) < 2000
    steps = [row for row in ReplayFeed(run / "data").timings() if not row.number]
    assert steps[0] == Timing(SWAP, *[live.config["start_ns"]] * 2, 0, live.config["start_ns"], steps[0].offset_ns)
    assert abs(steps[0].offset_ns - ahead_s * NS_PER_S) < 100 * NS_PER_MS
    repeats(run, flips, live)
    # The offsets are the data's: another strategy's orders take their latency as well.
    other = qk.backtest(flips, data=run / "data", params={"qty": 0.2})
    assert len(other.fills) > 2
    assert any("of the machine that recorded the data was up to" in said for said in other.assumptions)


def test_a_paper_run_on_a_recording_of_years_ago_fills_its_orders(flips: str, tmp_path: Path) -> None:
    """Its server tells the time of then, by which this machine's clock is years ahead."""
    captures = sorted(CAPTURES.glob("okx_*_20220513*"))
    options = {"params": {"instrument": "BTC-USDT", "qty": 0.001}, "cash": {"USDT": 10_000}}
    with SandboxServer(RecordedMarket(captures)) as sandbox:
        live, run = lasting(flips, 2, sandbox, tmp_path / "runs", **options)
    assert {qk.clock.datetime_of(fill.filled_ns).year for fill in live.outcome.fills} == {2022}
    # Half of the time, though the fills are stamped four years before the run.
    exposure = live.stats["exposure_time_pct"]
    assert 20 < exposure < 80
    assert qk.Result.load(run / "result").stats["exposure_time_pct"] == exposure
    assert any("ahead of the exchange's; arrivals of orders" in warning for warning in live.warnings)
    repeats(run, flips, live, **options)
