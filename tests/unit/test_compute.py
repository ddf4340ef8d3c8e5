"""The time that a strategy computes: drawn and added to each message, never measured in a run, measured by a check."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from oracle.match import difference, naive, real
from oracle.resting import resting_scenario, resting_script

import quantkit as qk
from quantkit.brokers.send_clock import ComputeClock
from quantkit.cli import main
from quantkit.clock import NS_PER_MS, NS_PER_S, cpu_ns, time_ns_of
from quantkit.errors import ConfigError
from quantkit.events import Timing, Trade
from quantkit.feeds.recorded_clock import RecordedClock
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.latency import Latency
from quantkit.proving.compute import ComputeWatch

ROOT = Path(__file__).parents[2]
QUOTER = str(ROOT / "strategies" / "quoter.py")
SPAN: dict[str, Any] = {"data": ROOT / "data", "end": "2024-08-08T23:54:35Z"}
BTC = "BTC-USDT-SWAP"
SWAP = Instrument(BTC, kind="swap", price_step="1", qty_step="1")
START_NS = time_ns_of("2026-01-01")
TABLE = Latency.uniform(1, 900)


class Buys(qk.Strategy):
    """Buys one at each trade, twice."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)

    def on_trade(self, trade: qk.Trade) -> None:
        self.buy(BTC, 1)
        self.buy(BTC, 1)


def run(compute: Any, seed: int = 0) -> qk.Result:
    stamps = [START_NS + number * NS_PER_S for number in range(20)]
    rows = [Trade(BTC, at, at, 100.0, 1.0, Side.BUY, number) for number, at in enumerate(stamps)]
    return qk.backtest(
        Buys(), data=MemoryFeed(rows, [SWAP]), compute=compute, seed=seed, latency_ms=5, cash={"USDT": 1e6}
    )


def test_each_message_leaves_later_by_what_was_drawn_for_it() -> None:
    """By its number; the second of two waits for the first. The latency comes on top."""
    result = run(TABLE)
    sent = [order.sent_ns for order in result.outcome.orders]
    left_ns, expected = 0, []
    for number in range(len(sent)):
        row_ns = START_NS + number // 2 * NS_PER_S
        left_ns = max(left_ns, row_ns + TABLE.drawn_ns(f"0:{BTC}:compute:{number}"))
        expected.append(left_ns)
    assert sent == expected
    assert len({at % NS_PER_S for at in sent}) > 15
    arrived = {event.order_id: event.at_ns for event in reversed(result.outcome.order_events)}
    delays = [arrived[order.id] - order.sent_ns for order in result.outcome.orders if order.id in arrived][:-2]
    assert delays == [5 * NS_PER_MS] * len(delays)
    assert f"orders and changes leave later than what they answer to by {TABLE.describe()}" in result.assumptions
    assert result.config["compute"] == {"name": TABLE.name, "digest": TABLE.digest}


def test_equal_runs_are_equal_and_a_seed_makes_others() -> None:
    assert run(TABLE).hash == run("uniform:1:900").hash != run(TABLE, seed=1).hash
    assert run("300us").outcome.orders[2].sent_ns == START_NS + NS_PER_S + 300_000
    assert "orders and changes leave later than what they answer to by 300us" in run("300us").assumptions
    assert run(None).outcome.orders[2].sent_ns == START_NS + NS_PER_S
    assert run(None).config["compute"] is None


def test_changes_and_cancels_leave_late_too() -> None:
    result = qk.backtest(QUOTER, compute="lognormal:30:300", **SPAN)
    moments = [order.sent_ns for order in result.outcome.orders]
    assert all(a <= b for a, b in pairwise(moments))
    assert result.hash != qk.backtest(QUOTER, **SPAN).hash


def test_the_runs_that_bound_a_result_compute_as_long() -> None:
    bounded = qk.backtest(QUOTER, compute="lognormal:30:300", bounds=True, **SPAN)
    alone = qk.backtest(QUOTER, compute="lognormal:30:300", queue_model="front", **SPAN)
    assert bounded.bounds is not None
    [front] = [bound for bound in bounded.bounds if bound.queue_model == "front"]
    assert front.fills == len(alone.outcome.fills)


def test_recorded_sending_times_win() -> None:
    """The strategy whose run recorded them leaves as it did there; the result says so."""
    clock = RecordedClock([Timing(BTC, 10, 10, 1, 80, 0, "me")], "me", ignores_compute=True)
    assert clock.leave(10, BTC) == 80
    assert clock.said()[0] == "no time to compute is added: the data hold the sending times of a live run"


@pytest.mark.parametrize("seed", [4, 10])
@pytest.mark.parametrize("search", [False, True])
def test_the_oracle_computes_as_long(seed: int, search: bool) -> None:
    scenario = resting_scenario(seed, rows=200)
    assert scenario.compute is not None
    mine = real(scenario, search=search, strategy=scenario.strategy_with(resting_script(seed)))
    assert not difference(mine, naive(scenario, strategy=scenario.strategy_with(resting_script(seed))))


def test_each_instrument_counts_its_own_messages() -> None:
    one, other = ComputeClock(TABLE, seed=0), ComputeClock(TABLE, seed=0)
    one.leave(0, "ETH-USDT")
    far_ns = 10 * NS_PER_S
    assert one.leave(far_ns, BTC) == other.leave(far_ns, BTC)


def test_candles_know_no_time_to_compute() -> None:
    with pytest.raises(ConfigError, match="matched on candles, where an order that leaves late misses the open"):
        qk.backtest(str(ROOT / "strategies" / "ma_cross.py"), data=ROOT / "data", compute="300us")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (300, "compute is 300; give a time as text such as '300us'"),
        ("soon", "compute is 'soon'; give a time such as 300us, uniform:LOW:HIGH or lognormal:MEDIAN:P99"),
        ("300 parsecs", "duration '300 parsecs' is not understood"),
        ("2h", "compute is '2h'; give a time"),
        ("file:none.json", "none.json cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_time_is_refused(given: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run(given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# Files --------------------------------------------------------------------------------------------------------------


def test_a_table_is_saved_and_read(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "t.json")
    assert Latency.load(tmp_path / "t.json") == Latency.of_text(f"file:{tmp_path / 't.json'}") == TABLE


def test_a_plain_list_of_milliseconds_is_read(tmp_path: Path) -> None:
    file = tmp_path / "acks.txt"
    file.write_text("# of my broker's acks\n20.5\n\n18\n")
    assert Latency.load(file) == Latency("acks.txt", (18_000_000, 20_500_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing was measured"),
        (b"fast\n", "a measured delay is 'fast'"),
        (b"\xff\xfe", "cannot be read: it is no text"),
        (b"{", "is no saved distribution"),
        (b'{"name": "x", "delays_ns": []}', "it holds no times in order"),
        (b'{"name": "x", "delays_ns": [5, 1]}', "it holds no times in order"),
    ],
)
def test_a_wrong_file_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        Latency.load(tmp_path / "f")
    assert "\n" not in str(caught.value)


# What a check measures ----------------------------------------------------------------------------------------------


class Thinks(qk.Strategy):
    """Thinks before its second message, and calls one hook from another."""

    def on_trade(self, trade: qk.Trade) -> None:
        self.on_timer("now")

    def on_timer(self, name: str) -> None:
        WATCH.pause()
        burn(4)  # the framework's
        WATCH.go_on()
        burn(2)
        WATCH.pause()
        WATCH.go_on()


WATCH = ComputeWatch()


def burn(ms: int) -> None:
    until_ns = cpu_ns() + ms * NS_PER_MS
    while cpu_ns() < until_ns:
        pass


def test_only_the_strategys_own_time_counts() -> None:
    strategy = Thinks()
    WATCH.attach(strategy)
    strategy.on_trade(Trade(BTC, 0, 0, 1.0, 1.0, Side.BUY, 0))
    first, second = WATCH.times_ns
    assert first < 1.5 * NS_PER_MS
    assert 2 * NS_PER_MS <= second < 4 * NS_PER_MS
    WATCH.pause()
    WATCH.go_on()  # outside of hooks nothing is counted
    assert len(WATCH.times_ns) == 2


def test_a_check_saves_what_a_backtest_reads(tmp_path: Path) -> None:
    file = tmp_path / "compute.json"
    words = ["check", QUOTER, "--to", "2024-08-08T23:54:20Z", "--only", "number of trades", "--workers", "1"]
    done = CliRunner().invoke(main, [*words, "--data", str(ROOT / "data"), "--save-compute", str(file)])
    assert done.exit_code == 0, done.output
    compute = Latency.load(file)
    assert f"compute: {compute.describe()}; saved to {file}" in done.stdout
    assert compute.name == "compute of quoter"
    result = qk.backtest(QUOTER, compute=f"file:{file}", data=ROOT / "data", end="2024-08-08T23:54:20Z")
    table = list(compute.delays_ns)  # which its name does not give back
    assert result.config["compute"] == {"name": compute.name, "digest": compute.digest, "delays_ns": table}


def test_a_check_of_a_strategy_that_sends_nothing_saves_nothing(tmp_path: Path) -> None:
    idle = tmp_path / "idle.py"
    idle.write_text(
        "import quantkit as qk\n\n\n"
        "class Idle(qk.Strategy):\n"
        "    def on_start(self) -> None:\n"
        "        self.subscribe_trades('binance:BTC-USDT-SWAP')\n"
    )
    options: dict[str, Any] = {"only": ["number of trades"], "save_compute": tmp_path / "c"}
    with pytest.raises(ConfigError, match="sent nothing, so there is no time to save"):
        qk.check(str(idle), data=ROOT / "data", end="2024-08-08T23:54:20Z", **options)
