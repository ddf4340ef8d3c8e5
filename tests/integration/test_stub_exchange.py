"""A second exchange is one folder and one line in the list: it runs paper, verify and rebuild like the first."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.stub_exchange.stub_server import NAME, StubServer
from integration.stub_exchange.stub_source import StubSource

import quantkit as qk
from quantkit.errors import ConfigError, FeedError
from quantkit.feeds import exchanges
from quantkit.feeds.live_feed import FEED_LOST
from quantkit.live.journal import Started, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.storage.catalog import Catalog
from quantkit.storage.tape import TapeReader, TapeWriter

exchanges.register("stub", "integration.stub_exchange.stub_source:StubSource")

TRADER = """
from quantkit import Candle, Strategy, Trade

class Trader(Strategy):
    def on_start(self) -> None:
        self.subscribe_trades("COIN-USD")
        self.subscribe_tickers("COIN-USD")
        self.subscribe_candles("COIN-USD", "1s", warmup=4)
        self.every("50ms")
        self.trades = self.bars = 0

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1
        if self.trades % 10 == 0:
            self.target("COIN-USD", 1.0 if self.trades % 20 else 0.5)

    def on_candle(self, candle: Candle) -> None:
        self.bars += sum(bar.close for bar in self.history("COIN-USD", "1s", 3))

    def on_timer(self, name: str) -> None:
        if self.bars:
            self.buy("COIN-USD", 0.1, price=90.0, post_only=True, tag=f"{self.bars:.1f}")
            self.cancel_all("COIN-USD")
"""
OPTIONS = {"cash": {"USD": 10_000}, "latency_ms": 1}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


@pytest.fixture
def trader(tmp_path: Path) -> str:
    (file := tmp_path / "trader.py").write_text(TRADER)
    return str(file)


def until(stop: threading.Event, is_enough: Callable[[LiveStatus], bool]) -> Callable[[LiveStatus], None]:
    """Return a watcher that ends the run once it has shown enough."""

    def watch(status: LiveStatus) -> None:
        if is_enough(status):
            stop.set()

    return watch


def traded(status: LiveStatus) -> bool:
    """Return whether there are fills and a bar."""
    return status.fills_count >= 3 and any(line.name.endswith("1s") and line.rows for line in status.streams)


def recorded(server: StubServer, trader: str, folder: Path) -> tuple[Path, qk.Result]:
    """Run until there is something to compare, and return the run's folder and its result."""
    stop = threading.Event()
    result = qk.paper(
        trader, exchange=StubSource(server.port), record=folder, stop=stop, on_status=until(stop, traded), **OPTIONS
    )
    (run,) = folder.iterdir()
    return run, result


def test_a_run_on_it_is_verified_and_rebuilt(server: StubServer, trader: str, tmp_path: Path) -> None:
    """One hash four times: live, from the tape, over the recorded rows, and over the rows written anew."""
    run, live = recorded(server, trader, tmp_path / "runs")
    assert len(live.fills) >= 3
    assert any(f"live data of the stub at port {server.port}" in said for said in live.assumptions)
    started = next(iter(read_log(run / "engine")))
    assert isinstance(started, Started)
    assert (started.exchange, [each["id"] for each in started.instruments]) == ("stub", [NAME])
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, "completed", len(live.fills))
    assert qk.backtest(trader, data=run / "data", **OPTIONS).hash == live.hash
    before = Catalog(run / "data")
    assert {entry.source for entry in before.entries} == {"Stub live"}
    counts = rebuild(run)
    after = Catalog(run / "data")
    assert {entry.source for entry in after.entries} == {"Stub live, from the tape"}
    assert {str(stream) for stream in counts} >= {f"{NAME} trade", f"{NAME} ticker", f"{NAME} candle 1s"}
    assert (after.coverage(), after.watched) == (before.coverage(), before.watched)
    assert qk.backtest(trader, data=run / "data", **OPTIONS).hash == live.hash


def test_a_tape_that_was_changed_is_told(server: StubServer, trader: str, tmp_path: Path) -> None:
    """The rows of `verify` really come from the stub's tape."""
    run, _ = recorded(server, trader, tmp_path / "runs")
    payloads = [bytes(payload) for payload in TapeReader(run / "frames")]
    for file in (run / "frames").iterdir():
        file.unlink()
    first = next(number for number, payload in enumerate(payloads) if b" trade " in payload)
    with TapeWriter(run / "frames") as tape:
        for payload in payloads[:first] + payloads[first + 1 :]:
            tape.append(payload)
    with pytest.raises(qk.DataError, match="the tape and the engine log disagree"):
        verify(run)


def test_a_run_ends_with_its_time(server: StubServer, trader: str, tmp_path: Path) -> None:
    result = qk.paper(trader, exchange=StubSource(server.port), record=tmp_path / "runs", duration="300ms", **OPTIONS)
    assert result.config["end_ns"] - result.config["start_ns"] == 300_000_000
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).difference is None


def test_a_run_that_loses_it_keeps_what_was_done(server: StubServer, trader: str) -> None:
    def watch(status: LiveStatus) -> None:
        if status.fills_count >= 1:
            server.hang_up()

    result = qk.paper(trader, exchange=StubSource(server.port), record=None, on_status=watch, **OPTIONS)
    assert len(result.fills) >= 1
    assert f"{FEED_LOST}: the stub hung up" in result.warnings


def test_changes_of_its_steps_are_rows_as_far_as_a_run_can_count_them(trader: str, tmp_path: Path) -> None:
    """A coarser step is a row; a finer one ends the run, live and when it is repeated."""
    with StubServer(steps={15: "0.5", 25: "1", 60: "0.3"}) as server:
        live = qk.paper(trader, exchange=StubSource(server.port), record=tmp_path / "runs", **OPTIONS)
    (run,) = (tmp_path / "runs").iterdir()
    assert [str(each.price_step) for each in live.instrument_changes] == ["1"]
    assert any(f"{NAME}: its metadata changed at" in text and "price_step 0.3" in text for text in live.warnings)
    assert verify(run).difference is None
    rebuild(run)
    assert qk.backtest(trader, data=run / "data", **OPTIONS).hash == live.hash


def test_the_view_shows_its_connections(server: StubServer, trader: str) -> None:
    stop = threading.Event()
    shown: list[LiveStatus] = []

    def watch(status: LiveStatus) -> None:
        shown.append(status)
        if status.connections and status.connections[0].frames > 5:
            stop.set()

    qk.paper(trader, exchange=StubSource(server.port), record=None, stop=stop, on_status=watch, **OPTIONS)
    assert (shown[-1].connections[0].name, shown[-1].queue_max) == ("stub 1", 1_000_000)


def test_rows_that_it_has_not_are_refused(server: StubServer) -> None:
    class Marks(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_marks(NAME)

    with pytest.raises(qk.DataError, match=f"{NAME} mark is not there; of {NAME} there is ticker, trade, candle 1s"):
        qk.paper(Marks, exchange=StubSource(server.port), record=None, **OPTIONS)


def test_an_exchange_that_cannot_be_reached_is_told(trader: str, tmp_path: Path) -> None:
    with StubServer() as gone:
        port = gone.port
    with pytest.raises(FeedError, match="the stub cannot be reached"):
        qk.paper(trader, exchange=StubSource(port), record=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_a_source_that_is_not_in_the_list_is_not_recorded(trader: str, tmp_path: Path) -> None:
    class Unlisted(StubSource):
        name = "unlisted"

    with pytest.raises(ConfigError, match="exchange 'unlisted' is not known; there is okx, stub"):
        qk.paper(trader, exchange=Unlisted(), record=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_list_has_one_exchange_for_a_name() -> None:
    exchanges.register("stub", "integration.stub_exchange.stub_source:StubSource")  # the same again
    with pytest.raises(ConfigError, match=r"exchange 'okx' is quantkit\.feeds\.okx\.source:OkxSource already"):
        exchanges.register("okx", "integration.stub_exchange.stub_source:StubSource")
    assert exchanges.source_class("stub") is StubSource


def test_an_exchange_whose_code_is_gone_is_told() -> None:
    exchanges.register("gone", "integration.stub_exchange.gone:Gone")
    with pytest.raises(ConfigError, match=r"exchange 'gone': .* does not import: No module named"):
        exchanges.source_class("gone")
