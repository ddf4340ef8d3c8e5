"""How paper runs end and fail: told clearly, with nothing lost that was taken, and nothing left that was not."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import quantkit as qk
from quantkit.api import paper, paper_async
from quantkit.errors import DataError, FeedClosedError, FeedError, StrategyError
from quantkit.events import MarketEvent
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.live_source import OPEN_END_NS
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.live.rebuild import rebuild
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

SWAP = "BTC-USDT-SWAP"

TAKER = """
import math
from quantkit import Strategy, Ticker

class Taker(Strategy):
    instrument: str = "BTC-USDT-SWAP"
    limit: float = math.inf
    raises_after: int = 0

    def on_start(self) -> None:
        self.subscribe_tickers(self.instrument)
        self.subscribe_book(self.instrument)
        self.every("100ms")
        self.ticks = 0

    def on_ticker(self, ticker: Ticker) -> None:
        pass

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        if self.raises_after and self.ticks >= self.raises_after:
            raise RuntimeError("enough")
        if self.book(self.instrument) is not None and self.ticks < self.limit:
            self.target(self.instrument, 0.1 if self.position(self.instrument) <= 0 else -0.1)
"""


@pytest.fixture
def taker(tmp_path: Path) -> str:
    file = tmp_path / "taker.py"
    file.write_text(TAKER)
    return str(file)


def only_run(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


def test_the_end_of_a_run_does_not_stop_others_that_share_the_event(taker: str) -> None:
    stop = threading.Event()
    with SandboxServer() as sandbox:
        paper(taker, okx=OkxConfig(url=sandbox.url), record=None, duration="0.5s", stop=stop)
    assert not stop.is_set()


def test_the_hourly_limit_is_shown_and_ends_nothing(taker: str) -> None:
    """What a connection waits for is asked by the engine's thread, which has no event loop."""
    told: set[str] = set()

    def watch(status: LiveStatus) -> None:
        told.update(line.error for line in status.connections)

    with SandboxServer() as sandbox:
        sandbox.inject(*(faults.LostPush(after_s=0.3 + 0.4 * n, channel="books") for n in range(4)))
        okx = OkxConfig(url=sandbox.url, operations_per_h=3, ack_timeout_s=1.0)
        result = paper(taker, okx=okx, record=None, duration="3s", on_status=watch)
    assert len(result.orders) > 0
    assert any("hourly limit" in error for error in told)


def test_a_feed_that_is_lost_in_the_warm_up_says_why() -> None:
    stream = Stream("candle", SWAP, "1h")
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        start_ns = feed.now_ns()
        feed.subscribe([Subscription(stream, start_ns, OPEN_END_NS)])
        sandbox.inject(
            faults.Rest(endpoint="market/candles", times=0),
            faults.Close(code=4008, reason="too many channels", path="business", after_s=0.3),
        )
        with pytest.raises(FeedError, match="4008"):
            feed.warmup(stream, 5, start_ns)


def test_a_feed_that_is_lost_while_it_subscribes_says_why() -> None:
    """One connection is refused for good while another one is waited for."""
    wishes = [Stream("candle", SWAP, "1h"), Stream("book", SWAP)]
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        start_ns = feed.now_ns()
        sandbox.inject(
            faults.NoAck(path="business", times=0),
            faults.Close(code=4008, reason="too many channels", path="public", after_s=0.3),
        )
        with pytest.raises(FeedError, match="4008"):
            feed.subscribe([Subscription(stream, start_ns, OPEN_END_NS) for stream in wishes])


def test_a_stream_that_the_exchange_ends_ends_the_feed() -> None:
    """A strategy counts on all of its streams; a collector goes on with the others."""
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        wishes = [Stream("trade", SWAP), Stream("book", SWAP)]
        feed.subscribe([Subscription(stream, feed.now_ns(), OPEN_END_NS) for stream in wishes])
        sandbox.inject(faults.Refuse(channel="books", instrument=SWAP), faults.Drop(path="public"))
        assert sum(len(batch) for batch in feed.batches()) > 0
        assert "60018" in str(feed.failure)


def test_without_a_moment_taken_a_run_has_no_end_and_is_refused() -> None:
    """Such a run would last until the end of the clock, timers and all."""
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        feed.subscribe([Subscription(Stream("gap", SWAP), feed.now_ns(), OPEN_END_NS)])
        feed.close()
        with pytest.raises(FeedClosedError, match="before the run could start"):
            list(feed.batches())


def test_a_stop_before_the_start_is_told_and_leaves_no_folder(taker: str, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with SandboxServer() as sandbox:
        sandbox.inject(faults.Rest(endpoint="public/instruments", times=0))  # which holds the start up
        with pytest.raises(FeedClosedError, match="before the run could start"):
            paper(taker, okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", stop=stop)
    assert not list((tmp_path / "runs").iterdir())


def test_a_coroutine_that_is_cancelled_at_the_start_is_cancelled(taker: str) -> None:
    async def run() -> None:
        await asyncio.wait_for(paper_async(taker, okx=OkxConfig(url=sandbox.url), record=None), 0.001)

    with SandboxServer() as sandbox, pytest.raises(TimeoutError):
        asyncio.run(run())


def test_a_hook_that_raises_live_is_not_sent_back_in_time(taker: str) -> None:
    with SandboxServer() as sandbox, pytest.raises(StrategyError, match="enough") as caught:
        paper(taker, params={"raises_after": 3}, okx=OkxConfig(url=sandbox.url), record=None, duration="9s")
    assert "--to" not in str(caught.value)


def test_a_strategy_that_raises_only_when_repeated_is_shown_doing_so(taker: str, tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        paper(taker, okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="2s")
    other = tmp_path / "other.py"
    other.write_text(
        TAKER.replace("raises_after: int = 0", "raises_after: int = 4").replace("after and", "after == 4 and")
    )
    recorded = only_run(tmp_path / "runs")
    assert verify(recorded).is_identical
    verdict = verify(recorded, strategy=qk.loading.load_strategy(str(other))(raises_after=4))
    assert verdict.difference is not None
    assert (verdict.difference.where, verdict.difference.recorded) == ("the strategy", "went on")
    assert "enough" in verdict.difference.replayed


def test_parameters_that_json_does_not_know_are_repeated(taker: str, tmp_path: Path) -> None:
    """The limit is infinite by default."""
    with SandboxServer() as sandbox:
        paper(taker, okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="1s")
    assert verify(only_run(tmp_path / "runs")).is_identical


def test_a_run_that_is_shorter_than_a_bar_backtests_over_its_own_rows(tmp_path: Path) -> None:
    file = tmp_path / "hourly.py"
    file.write_text(
        TAKER.replace("class Taker", "class Hourly").replace(
            "        self.every", '        self.subscribe_candles(self.instrument, "1h", warmup=3)\n        self.every'
        )
    )
    stop = threading.Event()

    def watch(status: LiveStatus) -> None:
        if status.fills_count >= 2:
            stop.set()

    with SandboxServer() as sandbox:
        okx = OkxConfig(url=sandbox.url)
        live = paper(str(file), okx=okx, record=tmp_path / "runs", stop=stop, on_status=watch)
    assert len(live.fills) >= 2
    data = only_run(tmp_path / "runs") / "data"
    span = live.config["start_ns"], live.config["end_ns"]
    again = qk.backtest(str(file), data=data, start=span[0], end=span[1], cash={"USDT": 10_000})
    assert again.hash == live.hash


BARS = """
from quantkit import Candle, Strategy

class Bars(Strategy):
    interval: str
    warmup: int

    def on_start(self) -> None:
        self.subscribe_candles("BTC-USDT-SWAP", self.interval, warmup=self.warmup)
        self.every("100ms")

    def on_timer(self, name: str) -> None:
        self.target("BTC-USDT-SWAP", 0.1 if self.position("BTC-USDT-SWAP") <= 0 else -0.1)
"""


@pytest.mark.parametrize(("interval", "warmup"), [("1s", 0), ("1s", 3), ("1h", 0), ("1h", 3), ("1w", 2), ("1w", 500)])
def test_a_run_on_candles_alone_is_repeated_from_its_moment_on(interval: str, warmup: int, tmp_path: Path) -> None:
    """It began in the middle of a bar, with the warm-up that there was; the parameters have no defaults."""
    file = tmp_path / "bars.py"
    file.write_text(BARS)
    options = {"params": {"interval": interval, "warmup": warmup}, "cash": {"USDT": 10_000}}
    stop = threading.Event()

    def watch(status: LiveStatus) -> None:
        if status.fills_count >= 2:
            stop.set()

    with SandboxServer() as sandbox:
        okx = OkxConfig(url=sandbox.url)
        live = paper(str(file), okx=okx, record=tmp_path / "runs", stop=stop, on_status=watch, **options)
    assert len(live.fills) >= 2
    assert any("warm-up" in warning for warning in live.warnings) is (warmup == 500)
    run = only_run(tmp_path / "runs")
    assert verify(run).difference is None
    assert qk.backtest(str(file), data=run / "data", **options).hash == live.hash
    rebuild(run)
    assert qk.backtest(str(file), data=run / "data", **options).hash == live.hash


_KILLED = """
import os, signal, sys
from pathlib import Path
from quantkit.live.rebuild import rebuild
renames, rename = int(sys.argv[2]), Path.rename

def kill(self, target):
    global renames
    if self.name.startswith(".data") or Path(target).name.startswith(".data"):
        renames -= 1
    moved = rename(self, target)
    if not renames:
        os.kill(os.getpid(), signal.SIGKILL)
    return moved

Path.rename = kill
rebuild(sys.argv[1])
"""


def test_a_rebuild_waits_for_the_run_and_recovers_from_one_that_was_killed(tmp_path: Path) -> None:
    """While the run goes on its rows are the recorder's. A kill between the two renames leaves no `data` folder."""
    (file := tmp_path / "bars.py").write_text(BARS)
    stop, told = threading.Event(), []

    def show(status: LiveStatus) -> None:
        if not told and status.recording:
            try:
                rebuild(status.recording)
            except DataError as error:
                told.append(str(error))
            stop.set()

    params = {"interval": "1s", "warmup": 0}
    with SandboxServer() as sandbox:
        okx = OkxConfig(url=sandbox.url)
        live = paper(str(file), okx=okx, record=tmp_path / "runs", params=params, stop=stop, on_status=show)
    run = only_run(tmp_path / "runs")
    assert told == [
        f"{run}: the run is still going, or its rows are being rebuilt already; end the run with Ctrl-C first"
    ]
    counts, before = rebuild(run), rows_in(run / "data")
    assert sum(counts.values()) == len(before)
    for renames in (1, 2):
        command = [sys.executable, "-c", _KILLED, str(run), str(renames)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert (run / "data").exists() is (renames == 2)
        assert (run / ".data.old").exists()
        assert rebuild(run) == counts
        assert rows_in(run / "data") == before
        assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []
    # One that cannot be done leaves what the killed one had put aside.
    (run / "data").rename(run / ".data.old")
    (run / ".data.new" / "half").mkdir(parents=True)
    (run / "frames").rename(run / "elsewhere")
    with pytest.raises(DataError, match="not there, or without records"):
        rebuild(run)
    assert rows_in(run / "data") == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []
    assert live.outcome.ended == "completed"


def rows_in(folder: Path) -> list[MarketEvent]:
    """Return every event of a data folder."""
    catalog = Catalog(folder)
    streams = {entry.stream for entry in catalog.entries if entry.kind != "instrument"}
    return list(read_events(catalog, streams, 0, OPEN_END_NS))


def test_a_run_that_ends_before_a_channel_is_there_listened_to_it_all_the_same(tmp_path: Path) -> None:
    """The candles' connection is refused for longer than the run lasts, while rows of others come."""
    file = tmp_path / "bars.py"
    file.write_text(BARS)
    options = {"params": {"interval": "1h", "warmup": 0}, "cash": {"USDT": 10_000}}
    with SandboxServer() as sandbox:
        sandbox.inject(faults.Handshake(path="business", retry_after_s=1))
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="0.3s", **options)
    run = only_run(tmp_path / "runs")
    watched = Catalog(run / "data").watched
    assert "candle" in {span.kind for span in watched}
    rebuild(run)
    assert Catalog(run / "data").watched == watched
    assert qk.backtest(str(file), data=run / "data", **options).hash == live.hash


# A full disk -----------------------------------------------------------------------------------------------------

FULL = """
import logging, resource, sys, threading
from pathlib import Path
import quantkit as qk
from quantkit.feeds.okx.config import OkxConfig

runs, url, strategy, when = sys.argv[1:]
NONE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

class Free(logging.Handler):
    def emit(self, record):
        resource.setrlimit(resource.RLIMIT_FSIZE, NONE)  # somebody makes room as soon as the trouble is told

logging.getLogger("quantkit.feeds").addHandler(Free())

def watch(status):
    if status.fills_count > 3 and when == "later":
        tape = Path(status.recording, "frames", "000000.tape")
        resource.setrlimit(resource.RLIMIT_FSIZE, (tape.stat().st_size + 100, resource.RLIM_INFINITY))

if when == "at once":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
try:
    result = qk.paper(strategy, okx=OkxConfig(url=url), record=runs, duration="20s", on_status=watch)
except qk.QuantkitError as error:
    print("error:", error)
else:
    print("fills:", len(result.fills), result.warnings)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit of a file's size is POSIX's")
@pytest.mark.parametrize("when", ["later", "at once"])
def test_a_disk_that_is_full_ends_the_run_with_what_was_recorded(when: str, taker: str, tmp_path: Path) -> None:
    """Nothing is written behind the hole, though there is room again: the tape ends with the input log."""
    script = tmp_path / "full.py"
    script.write_text(textwrap.dedent(FULL))
    with SandboxServer() as sandbox:
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "runs"), sandbox.url, taker, when],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    if when == "at once":
        assert "cannot be begun" in done.stdout
        assert not list((tmp_path / "runs").iterdir())
        return
    assert "the feed was lost and the run ended with it" in done.stdout, done
    assert "cannot be written" in done.stdout
    verdict = verify(only_run(tmp_path / "runs"))
    assert (verdict.is_identical, verdict.ended) == (True, "completed")
    assert verdict.fills > 3


SPOILING = """
from pathlib import Path
from quantkit import Strategy

class Spoiling(Strategy):
    place: str = ""

    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")

    def on_stop(self) -> None:
        (run,) = Path(self.place).iterdir()
        (run / "result").write_text("in the way")
"""


def test_a_result_that_cannot_be_saved_is_still_returned(tmp_path: Path) -> None:
    (file := tmp_path / "spoiling.py").write_text(SPOILING)
    runs = tmp_path / "runs"
    with SandboxServer() as sandbox:
        result = qk.paper(
            str(file), params={"place": str(runs)}, okx=qk.OkxConfig(url=sandbox.url), record=runs, duration="1s"
        )
    (warning,) = (text for text in result.warnings if text.startswith("the result is not saved: "))
    assert "result" in warning


def test_a_run_whose_channels_are_never_confirmed_ends_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantkit.feeds.receiver._LATE_NS", 0)
    (file := tmp_path / "spoiling.py").write_text(SPOILING)
    with SandboxServer() as sandbox:
        sandbox.inject(faults.NoAck(times=0))
        with pytest.raises(FeedError, match="the run's time is over and it has not started: the server answers, but"):
            paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="1s")
    assert list((tmp_path / "runs").iterdir()) == []
