"""Delays from a distribution: tables, names, draws by number, and messages that keep their order."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError
from quantkit.latency import DrawnTravel, Latency, Travel

ROOT = Path(__file__).parents[2]
QUOTER = str(ROOT / "strategies" / "quoter.py")
SPAN: dict[str, Any] = {"data": ROOT / "data", "end": "2024-08-08T23:54:35Z"}


def test_tables_have_the_quantiles_that_their_names_say() -> None:
    even, skewed = Latency.uniform(5, 50), Latency.lognormal(20, 120)
    assert (even.delays_ns[0], even.delays_ns[-1]) == (round(5.0225 * NS_PER_MS), round(49.9775 * NS_PER_MS))
    assert skewed.delays_ns[499] < 20 * NS_PER_MS < skewed.delays_ns[500]
    assert skewed.delays_ns[989] < 120 * NS_PER_MS < skewed.delays_ns[990]
    for latency in (even, skewed):
        assert list(latency.delays_ns) == sorted(latency.delays_ns)
        assert Latency.of_text(latency.name) == latency


def test_measured_delays_are_kept_or_thinned() -> None:
    few, many = Latency.measured([3, 1, 2]), Latency.measured(range(5_000), "a day")
    assert few.delays_ns == (1 * NS_PER_MS, 2 * NS_PER_MS, 3 * NS_PER_MS)
    assert (len(many.delays_ns), many.delays_ns[0], many.delays_ns[-1]) == (1_000, 2 * NS_PER_MS, 4_997 * NS_PER_MS)
    assert (many.name, len(many.digest)) == ("a day", 16)
    assert many.digest != few.digest


def test_each_draw_depends_on_its_number_alone() -> None:
    latency = Latency.measured(range(10))
    one, other = (DrawnTravel(latency, seed=3, instrument="BTC-USDT") for _ in range(2))
    orders = [one.order_ns() for _ in range(500)]
    reports = [one.report_ns() for _ in range(500)]
    mixed = [(other.report_ns(), other.order_ns()) for _ in range(500)]
    assert mixed == list(zip(reports, orders, strict=True))
    assert orders != reports
    assert min(Counter(orders).values()) > 25  # of fifty
    for seed, instrument in ((4, "BTC-USDT"), (3, "ETH-USDT")):
        another = DrawnTravel(latency, seed=seed, instrument=instrument)
        assert [another.order_ns() for _ in range(500)] != orders


def test_a_run_with_drawn_delays_repeats_and_keeps_the_order_of_messages() -> None:
    latency = Latency.lognormal(20, 400)
    runs = [
        qk.backtest(QUOTER, latency=each, seed=seed, **SPAN)
        for each, seed in ((latency, 0), (latency.name, 0), (latency, 1))
    ]
    assert runs[0].hash == runs[1].hash != runs[2].hash
    assert runs[0].config["latency"] == {"name": "lognormal:20:400", "digest": latency.digest}
    outcome = runs[0].outcome
    sent = {order.id: order.sent_ns for order in outcome.orders}
    arrived = {event.order_id: event.at_ns for event in reversed(outcome.order_events)}
    delays = [arrived[order] - sent_ns for order, sent_ns in sent.items() if order in arrived]
    assert len(set(delays)) == len(delays) > 5
    assert min(delays) >= latency.delays_ns[0]
    assert all(arrived[a] <= arrived[b] for a, b in pairwise(order for order in sent if order in arrived))
    reported = [event.reported_ns for event in outcome.order_events]
    assert reported == sorted(reported)


def test_candles_know_no_drawn_delays_either() -> None:
    with pytest.raises(ConfigError, match="matched on candles, which know no latency"):
        qk.backtest(str(ROOT / "strategies" / "ma_cross.py"), data=ROOT / "data", latency="uniform:1:2")


def test_one_of_two_latencies_is_enough() -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        qk.backtest(QUOTER, latency="uniform:1:2", latency_ms=3, **SPAN)


WRONG: list[Any] = ["", "normal:1:2", "uniform", "uniform:1", "uniform:x:2", "uniform:3:2", "uniform:-1:2", 20, {}]
WRONG += ["lognormal:0:1", "lognormal:5:4", "uniform:1:nan", "uniform:0:4e6"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_distribution_is_refused_in_one_line(text: Any) -> None:
    with pytest.raises(ConfigError, match="latency") as raised:
        qk.backtest(QUOTER, latency=text, **SPAN)
    assert "\n" not in str(raised.value)


def test_nothing_measured_is_no_distribution() -> None:
    with pytest.raises(ConfigError, match="at least one delay"):
        Latency.measured([])
    with pytest.raises(ConfigError, match="a measured delay is -1"):
        Latency.measured([2, -1])


# Learned ------------------------------------------------------------------------------------------------------------

SWAP = "binance:BTC-USDT-SWAP"


def test_the_way_of_the_feed_is_receipt_less_stamp() -> None:
    """From a query, its frame or plain columns the same; the smallest is what the import made it."""
    query = qk.Catalog(ROOT / "data").trades(SWAP)
    found = Latency.from_recording(query)
    assert found == Latency.from_recording(query.pandas())
    table = query.arrow()
    columns = {name: table.column(name).cast("int64").to_numpy() for name in ("received_ns", "exchange_ns")}
    assert found == Latency.from_recording(columns)
    delays = sorted((columns["received_ns"] - columns["exchange_ns"]).tolist())
    assert (len(found.delays_ns), found.name) == (1_000, "recording")
    assert found.delays_ns[0] == delays[int(0.0005 * len(delays))]
    assert found.delays_ns[500] == delays[int(0.5005 * len(delays))]


def test_clocks_that_are_apart_are_moved_and_named() -> None:
    rows = {"exchange_ns": [0, 0, 0], "received_ns": [-2_500_000, 1_000_000, 7_500_000]}
    assert Latency.from_recording(rows) == Latency("recording, moved up by 2.5 ms", (0, 3_500_000, 10_000_000))
    known = Latency.from_recording(rows, shortest_ms=4, name="my box")
    assert known == Latency("my box, shortest 4 ms", (4_000_000, 7_500_000, 14_000_000))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"exchange_ns": [], "received_ns": []}, "recording has no rows; give a span with some"),
        ({"exchange_ns": [0], "received_ns": [3_600_000_000_000]}, "an hour or more after its stamp"),
    ],
)
def test_rows_that_teach_nothing_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Latency.from_recording(rows)


def test_a_recording_is_named_as_text() -> None:
    result = qk.backtest(QUOTER, latency=f"recording:{ROOT / 'data'}#{SWAP}", **SPAN)
    assert result.config["latency"]["name"] == f"recorded trade rows of {SWAP}"
    assert (
        result.hash
        == qk.backtest(QUOTER, latency=Latency.from_recording(qk.Catalog(ROOT / "data").trades(SWAP)), **SPAN).hash
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"recording:{ROOT / 'data'}", "name folder and instrument: recording:data#BTC-USDT-SWAP"),
        (f"recording:{ROOT / 'data'}#ETH", f"has no trades, book or tickers of ETH; it has those of .*{SWAP}"),
    ],
)
def test_a_recording_that_is_not_there_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        qk.backtest(QUOTER, latency=text, **SPAN)
    assert "\n" not in str(caught.value)


def test_protection_of_fills_is_drawn_by_its_own_number() -> None:
    """So that a bracket moves no message."""
    one, other = (DrawnTravel(Latency.uniform(1, 90), seed=3, instrument="X") for _ in range(2))
    assert len({one.bracket_ns() for _ in range(20)}) > 1
    assert [one.order_ns() for _ in range(5)] == [other.order_ns() for _ in range(5)]
    assert Travel(7).bracket_ns() == 7
