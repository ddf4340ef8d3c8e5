"""Live runs whose orders go through a gateway: what came back is in their log, and `verify` repeats them from it."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any

import msgspec
import pytest
from integration.stub_exchange.stub_server import StubServer
from integration.stub_exchange.stub_source import StubSource
from threaded_exchange import ThreadedExchange

import quantkit as qk
from quantkit.brokers.asynchronous.inputs import Executed, InputSink
from quantkit.clock import NS_PER_S, wall_ns
from quantkit.engine.commands import CommandName, RunCommand
from quantkit.feeds import exchanges
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.instruments import Instrument
from quantkit.live.commands import RunCommands
from quantkit.live.journal import BrokerNews, EngineLog, Entry, Output, Started, Stopped, read_log
from quantkit.live.run import run_live
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.loading import build_strategy
from quantkit.options import RunOptions
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

exchanges.register("stub", "integration.stub_exchange.stub_source:StubSource")

TRADER = """
from quantkit import Fill, Order, Strategy, Trade

class Trader(Strategy):
    breaks_at: int = 0

    def on_start(self) -> None:
        self.subscribe_trades("COIN-USD")
        self.every("40ms")
        self.ticks = self.heard = 0

    def on_trade(self, trade: Trade) -> None:
        self.last = trade.price

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        match self.ticks % 5:
            case 0:
                self.cancel_all()
            case 1:
                self.target("COIN-USD", 0.2 + float(self.rng.integers(0, 6)) / 10)
            case 2:
                self.quote("COIN-USD", bid=95.0 + self.ticks % 3, ask=None, qty=0.4)
            case _:
                for order in self.open_orders():
                    if order.price is not None:
                        self.amend(order, qty=0.3, price=96.0)

    def on_order(self, order: Order) -> None:
        self.heard += 1

    def on_fill(self, fill: Fill) -> None:
        if fill.id == self.breaks_at:
            raise ValueError("a slip")
        if fill.id % 4 == 0:
            self.close("COIN-USD")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


class Live:
    """A recorded run whose orders went through a threaded exchange."""

    def __init__(
        self, server: StubServer, folder: Path, *, seed: int, price: float = 100.0, cash: int = 10_000, **params: Any
    ) -> None:
        self.commands = RunCommands()
        self.futures: list[Future[int]] = []  # of the commands that were given
        (file := folder / "trader.py").write_text(TRADER)
        self.exchange = ThreadedExchange(seed, wall_ns, is_waited_for=False, price=price)
        self.asked: list[int] = []  # moments that the feed was to wake at
        self._stop = threading.Event()
        self.error: qk.StrategyError | None = None
        self.result: qk.Result | None = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LiveFeed, "wake_at", self._wake_at(LiveFeed.wake_at))
            try:
                self.result = run_live(
                    build_strategy(str(file), params),
                    RunOptions(cash={"USD": Decimal(cash)}),
                    StubSource(server.port),
                    gateway=self.exchange,
                    record=folder / "runs",
                    duration_ns=None,
                    on_status=self._watch,
                    stop=self._stop,
                    commands=self.commands,
                )
            except qk.StrategyError as error:
                self.error = error
        (self.folder,) = (folder / "runs").iterdir()

    def _wake_at(self, wake_at: Callable[[LiveFeed, int], None]) -> Callable[[LiveFeed, int], None]:
        def noted(feed: LiveFeed, moment_ns: int) -> None:
            self.asked.append(moment_ns)
            wake_at(feed, moment_ns)

        return noted

    def _watch(self, status: LiveStatus) -> None:
        if status.fills_count >= 25:
            self._stop.set()

    @property
    def entries(self) -> list[Entry]:
        return list(read_log(self.folder / "engine"))


@pytest.fixture(scope="module")
def live(server: StubServer, tmp_path_factory: pytest.TempPathFactory) -> Live:
    return Live(server, tmp_path_factory.mktemp("live"), seed=3)


def copied(live: Live, target: Path, entries: list[Entry]) -> Path:
    """Return a copy of a run's folder with another log."""
    run = target / live.folder.name
    shutil.copytree(live.folder, run)
    shutil.rmtree(run / "engine")
    log = EngineLog(run / "engine")
    for entry in entries:
        log.write(entry)
    log.close()
    return run


def first_execution(entries: list[Entry]) -> tuple[int, int]:
    """Return where the first execution in the log stands: the number of its entry, and its place there."""
    for number, entry in enumerate(entries):
        if isinstance(entry, BrokerNews):
            for place, news in enumerate(entry.news):
                if isinstance(news, Executed):
                    return number, place
    raise AssertionError("nothing was executed")


def test_a_run_is_repeated_from_its_log_without_thread_or_wire(live: Live) -> None:
    assert live.result is not None
    assert len(live.result.fills) >= 25
    started = live.entries[0]
    assert isinstance(started, Started)
    assert (started.broker, started.version) == ("threaded", 4)
    before = threading.active_count()
    verdict = verify(live.folder)
    assert (verdict.difference, verdict.ended) == (None, "completed")
    assert verdict.fills == len(live.result.fills)
    assert verdict.orders == len(live.result.orders)
    assert threading.active_count() == before
    stopped = live.entries[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.result_hash == live.result.hash


def test_all_news_is_in_the_log_once_as_it_came(live: Live) -> None:
    """Doubles and late ones too, in one order of rising stamps; what was booked is what was executed."""
    assert live.result is not None
    logged = [news for entry in live.entries if isinstance(entry, BrokerNews) for news in entry.news]
    assert [msgspec.structs.replace(news, received_ns=0) for news in logged] == live.exchange.told
    stamps = [news.received_ns for news in logged]
    assert stamps == sorted(set(stamps))
    truth = sorted((e.order_id, e.lots, e.fee) for e in live.exchange.executed)
    assert sorted((f.order_id, f.lots, f.fee) for f in live.result.outcome.fills) == truth


def test_the_feed_is_woken_for_news(live: Live) -> None:
    """In a quiet market it would wait for the next row."""
    taken = [entry.news[0].received_ns for entry in live.entries if isinstance(entry, BrokerNews) and entry.until_ns]
    assert taken
    assert set(taken) <= set(live.asked)


def test_the_front_door_leads_to_no_gateway() -> None:
    """Nobody sends real orders by mistake."""
    assert not [name for call in (qk.paper, qk.backtest) for name in signature(call).parameters if "gate" in name]
    assert not [name for name in qk.__all__ if "gateway" in name.lower()]


def test_what_happened_says_something(live: Live) -> None:
    """Unknown outcomes, refusals, executions that had to be fetched."""
    reasons = {report.reason for entry in live.entries if isinstance(entry, Output) for report in entry.reports}
    assert {"", "amended", "requested"} <= reasons
    assert {"outcome_unknown", "cancel_unknown", "amend_unknown"} & reasons
    assert live.exchange.asked


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
def test_a_run_that_was_killed_is_repeated_up_to_there(live: Live, share: float, tmp_path: Path) -> None:
    entries = live.entries
    verdict = verify(copied(live, tmp_path, entries[: int(len(entries) * share)]))
    assert (verdict.difference, verdict.ended) == (None, "cut short")
    assert verdict.decisions > 0


def test_a_kill_right_before_or_after_news_is_no_difference(live: Live, tmp_path: Path) -> None:
    entries = live.entries
    number, _ = first_execution(entries)
    for end in (number, number + 1):
        verdict = verify(copied(live, tmp_path / str(end), entries[:end]))
        assert (verdict.difference, verdict.ended) == (None, "cut short")


def test_an_execution_that_was_changed_is_told(live: Live, tmp_path: Path) -> None:
    entries = live.entries
    number, place = first_execution(entries)
    entry = entries[number]
    assert isinstance(entry, BrokerNews)
    for change in ({"ticks": entry.news[place].ticks + 1}, {"received_ns": entry.news[place].received_ns - 1}):
        news = list(entry.news)
        news[place] = msgspec.structs.replace(news[place], **change)
        changed = [*entries[:number], BrokerNews(entry.until_ns, news), *entries[number + 1 :]]
        verdict = verify(copied(live, tmp_path / next(iter(change)), changed))
        assert verdict.difference is not None
        assert verdict.difference.where.startswith("order event")


def test_news_that_is_gone_is_told(live: Live, tmp_path: Path) -> None:
    entries = live.entries
    number, _ = first_execution(entries)
    verdict = verify(copied(live, tmp_path, [*entries[:number], *entries[number + 1 :]]))
    assert verdict.difference is not None


def test_news_that_nobody_takes_is_told(live: Live, tmp_path: Path) -> None:
    """A log that says that the fills were simulated."""
    started, *rest = live.entries
    verdict = verify(copied(live, tmp_path, [msgspec.structs.replace(started, broker="simulated"), *rest]))
    assert verdict.difference is not None


def test_a_run_whose_hook_raised_is_repeated_too(server: StubServer, tmp_path: Path) -> None:
    """What was open is cancelled, and the news of that is in the log behind the end of the rows."""
    live = Live(server, tmp_path, seed=8, breaks_at=6)
    assert "a slip" in str(live.error)
    verdict = verify(live.folder)
    assert (verdict.difference, verdict.ended) == (None, "strategy_error")
    assert any(isinstance(entry, BrokerNews) and entry.until_ns is None for entry in live.entries)


class CommandedLive(Live):
    """A run that is paused, emptied, resumed and stopped, one after another as the run goes on."""

    order: tuple[CommandName, ...] = ("pause", "cancel_all", "resume", "pause", "resume", "stop")

    def _watch(self, status: LiveStatus) -> None:
        given = len(self.futures)
        if status.fills_count >= 5 and given < len(self.order) and all(future.done() for future in self.futures):
            self.futures.append(self.commands.give(self.order[given], source="test"))


def test_a_run_with_commands_through_a_gateway_is_repeated_too(server: StubServer, tmp_path: Path) -> None:
    """Refused orders never leave, cancels do; and so it is where a kill cut the log short."""
    live = CommandedLive(server, tmp_path, seed=4)
    assert live.result is not None
    entries = live.entries
    commands = [number for number, entry in enumerate(entries) if isinstance(entry, RunCommand)]
    assert len(commands) == len(live.order)
    refused = {order.id for order in live.result.outcome.orders if order.reason == "paused"}
    sent = {d.order_id for entry in entries if isinstance(entry, Output) for d in entry.decisions}
    assert refused
    assert not refused & sent
    assert not refused & {news.order_id for news in live.exchange.told}
    verdict = verify(live.folder)
    assert (verdict.difference, verdict.ended) == (None, "completed")
    for number in (commands[1], commands[1] + 1, commands[3] + 1):
        verdict = verify(copied(live, tmp_path / str(number), entries[:number]))
        assert (verdict.difference, verdict.ended) == (None, "cut short")


BOOKS = """
from quantkit import Candle, Strategy

class Books(Strategy):
    def on_start(self) -> None:
        self.ids = ("BTC-USDT-SWAP", "ETH-USDT")
        for name in self.ids:
            self.subscribe_book(name)
            self.subscribe_candles(name, "1s", warmup=3)
        self.subscribe_funding("BTC-USDT-SWAP")
        self.every("150ms")
        self.bars = 0

    def on_candle(self, candle: Candle) -> None:
        self.bars += 1

    def on_timer(self, name: str) -> None:
        for instrument in self.ids:
            book = self.book(instrument)
            if book is not None and self.rng.random() < 0.5:
                self.quote(instrument, bid=book.best_bid, ask=None, qty=0.05)
            else:
                self.target(instrument, float(self.rng.integers(0, 5)) / 100)
        if self.rng.random() < 0.2:
            self.cancel_all()
"""


def test_a_run_on_books_with_outages_is_repeated_too(tmp_path: Path) -> None:
    """Several instruments on OKX's protocol; rows, gaps and news in one order."""
    (file := tmp_path / "books.py").write_text(BOOKS)
    exchange = ThreadedExchange(7, wall_ns, is_waited_for=False, price=3_000.0)
    stop, filled = threading.Event(), set[str]()

    def watch(status: LiveStatus) -> None:
        filled.update(fill.instrument for fill in status.last_fills)
        if status.gaps and len(filled) == 2:
            stop.set()

    with SandboxServer(GeneratedMarket(3)) as sandbox:
        sandbox.inject(*(faults.Drop(after_s=second, path="public") for second in (1.0, 2.5)))
        result = run_live(
            build_strategy(str(file), None),
            RunOptions(cash={"USDT": Decimal(10**9)}),
            OkxSource(OkxConfig(url=sandbox.url)),
            gateway=exchange,
            record=tmp_path / "runs",
            duration_ns=60 * NS_PER_S,
            on_status=watch,
            stop=stop,
        )
    (run,) = (tmp_path / "runs").iterdir()
    assert len({fill.instrument for fill in result.outcome.fills}) == 2
    assert any(re.search(r"\d gaps? in book", warning) for warning in result.warnings)
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, "completed", len(result.fills))


def test_a_run_that_is_ruined_by_its_fills_is_repeated_too(server: StubServer, tmp_path: Path) -> None:
    """The exchange asks twice the market's price; the rest of the news comes right behind that of the last batch."""
    live = Live(server, tmp_path, seed=5, price=200.0, cash=30)
    assert live.result is not None
    assert live.result.outcome.ended == "bankrupt"
    verdict = verify(live.folder)
    assert (verdict.difference, verdict.ended) == (None, "bankrupt")


def test_a_gateway_that_cannot_be_opened_is_told_and_leaves_nothing(server: StubServer, tmp_path: Path) -> None:
    class Refused(ThreadedExchange):
        def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None:
            raise qk.FeedError("the key may not trade")

    for gateway, error in ((Refused(1, wall_ns), "the key may not trade"), (Misnamed(1, wall_ns), "cannot be called")):
        with pytest.raises(qk.QuantkitError, match=error):
            run_live(
                build_strategy(Quiet, None),
                RunOptions(cash={"USD": Decimal(10)}),
                StubSource(server.port),
                gateway=gateway,
                record=tmp_path / "runs",
                duration_ns=None,
                on_status=None,
                stop=None,
            )
        assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


class Misnamed(ThreadedExchange):
    name = "simulated"


class Quiet(qk.Strategy):
    def on_start(self) -> None:
        self.subscribe_trades("COIN-USD")
