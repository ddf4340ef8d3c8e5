"""A backtest over a live run's rows: its own strategy's messages leave as they did there, others at once."""

from collections.abc import Sequence
from pathlib import Path

import quantkit as qk
from quantkit.brokers.send_clock import SendClock
from quantkit.clock import NS_PER_MS
from quantkit.events import MarketEvent, Timing, Trade
from quantkit.feeds.recorded_clock import RecordedClock
from quantkit.instruments import Side
from quantkit.loading import sender_of, source_of
from quantkit.quality import check
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

SWAP = qk.Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
START_NS = 1_767_225_600_000_000_000


def call(number: int, now_ns: int, sent_ns: int, sender: str = "me") -> Timing:
    return Timing(SWAP.id, now_ns, now_ns, number, sent_ns, 0, sender)


def leaving(clock: SendClock, *moments: int) -> list[int]:
    return [clock.leave(now_ns, SWAP.id) for now_ns in moments]


def test_the_messages_of_the_recorded_run_leave_as_they_did() -> None:
    clock = RecordedClock([call(2, 20, 90), call(1, 10, 80)], "me")
    assert leaving(clock, 10, 20) == [80, 90]
    assert clock.said() == [
        "orders left when those of the live run that recorded the data did, up to 0.0 ms after what they answered to"
    ]


def test_from_the_first_other_call_on_messages_leave_at_once() -> None:
    """What was recorded of calls after it would be of other ones."""
    clock = RecordedClock([call(1, 10, 80), call(2, 20, 90), call(3, 100, 190)], "me")
    assert leaving(clock, 10, 21, 100, 120) == [80, 80, 100, 120]
    (said,) = clock.said()
    assert said.startswith("3 of 4 orders and changes left at the time of what they answered to; the live run that")


def test_calls_beyond_the_recorded_ones_leave_at_once() -> None:
    clock = RecordedClock([call(1, 10, 80)], "me")
    assert leaving(clock, 10, 200) == [80, 200]
    assert clock.said()[0].startswith("1 of 2 orders and changes left")


def test_another_strategys_times_are_not_used_but_said() -> None:
    clock = RecordedClock([call(1, 10, 10 + 2_500 * NS_PER_MS, "other")], "me")
    assert leaving(clock, 10) == [10]
    assert clock.said() == [
        "orders and changes left at the time of what they answered to; the live run that recorded the data sent "
        "others, and its own left up to 2.50 s after what they answered to"
    ]


def test_offsets_are_the_datas_and_serve_every_strategy() -> None:
    """Each stands with every instrument of the run."""
    steps = [Timing(name, 5, 5, 0, 5, -700 * NS_PER_MS) for name in ("BTC-USDT", "ETH-USDT")]
    clock = RecordedClock([*steps, Timing(SWAP.id, 50, 50, 0, 50, 3 * NS_PER_MS)], "me")
    assert [clock.offset_at(now_ns) for now_ns in (4, 5, 49, 50)] == [0, -700_000_000, -700_000_000, 3_000_000]
    (said,) = clock.said()
    assert "was up to 700.0 ms off the exchange's" in said


def test_a_sender_is_its_class_file_and_parameters() -> None:
    """Not the name under which its file was loaded."""
    one = sender_of("quoter:Quoter", "ab", {"qty": 0.1, "limit": float("inf")})
    assert sender_of("other:Quoter", "ab", {"limit": "inf", "qty": 0.1}) == one
    assert len({one, sender_of("a:Quoter", "ac", {}), sender_of("a:Quoter", "ab", {}), sender_of("a:Q", "ab", {})}) == 4


class Once(qk.Strategy):
    """Buys at the market at the first trade."""

    qty: float = 1.0

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)

    def on_trade(self, trade: qk.Trade) -> None:
        if not self.position(SWAP.id) and not self.open_orders():
            self.buy(SWAP.id, self.qty)


def recorded(folder: Path, timings: Sequence[Timing]) -> Path:
    """Write trades of a price that rises by 1 each 100 ms, and what a live run over them noted of its clocks."""
    moments = [START_NS + n * 100 * NS_PER_MS for n in range(30)]
    rows: list[MarketEvent] = [Trade(SWAP.id, at, at, 100.0 + n, 1.0, Side.BUY, n + 1) for n, at in enumerate(moments)]
    with Writer(folder) as writer:
        writer.write_instrument(SWAP)
        writer.write(Block.from_events(rows))
        if timings:
            writer.write(Block.from_events(timings))
    return folder


def prices(folder: Path, **params: float) -> tuple[list[float], list[str]]:
    result = qk.backtest(Once(**params), data=folder, cash={"USDT": 10_000}, latency_ms=20)
    return [fill.price for fill in result.outcome.fills], result.assumptions


def test_a_backtest_fills_when_the_live_run_did(tmp_path: Path) -> None:
    """The hook of the recorded run took 1.5 s: it bought at 116, and a strategy of other parameters buys at 101."""
    name, digest = source_of(Once())
    sender = sender_of(name, digest, Once().parameters)
    folder = recorded(tmp_path / "data", [call(1, START_NS, START_NS + 1_500 * NS_PER_MS, sender)])
    assert prices(folder)[0] == [116.0]
    plain, said = prices(folder, qty=2.0)
    assert plain == [101.0]
    assert any("the live run that recorded the data sent others" in text for text in said)
    assert prices(recorded(tmp_path / "plain", []))[0] == [101.0]


def test_a_result_names_the_metadata_and_the_sending_times_it_was_made_of(tmp_path: Path) -> None:
    """Other ones would give another result: their digests stand with those of the rows."""
    for folder, timings in (("with", [call(1, START_NS, START_NS + 9)]), ("without", [])):
        data = recorded(tmp_path / folder, timings)
        config = qk.backtest(Once(), data=data, cash={"USDT": 10_000}, latency_ms=20).config
        entries = {entry.path: entry.sha256 for entry in Catalog(data).entries}
        assert config["data_files"] == entries
        assert {"kind=timing" in path for path in entries} == {False, *([True] if timings else [])}


def test_a_backtest_converts_by_the_offsets_of_the_data(tmp_path: Path) -> None:
    """By these rows our clock is 500 ms behind: an order reaches the exchange so much later by its clock."""
    folder = recorded(tmp_path / "data", [Timing(SWAP.id, START_NS, START_NS, 0, START_NS, -500 * NS_PER_MS)])
    assert prices(folder)[0] == [106.0]


def test_timings_are_rows_like_others_to_whoever_checks_a_folder(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "data", [call(1, START_NS, START_NS + 9)])
    assert check(Catalog(folder)).findings == []
