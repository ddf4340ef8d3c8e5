"""The traps that real engines fell into, and which test here keeps us out of each.

    1  delivered at the close, holding no later trade   test_a_candle_is_known_at_its_close_only
    2  forming candles                                  the importers' and the OKX feed's tests (confirm = 1)
    3  fill at the candle that gave the signal          property/test_engine_oracle: the future changes nothing;
                                                        test_engine_timelines: candles fill at the next open
    4  fill by the row that triggered the order         test_no_order_fills_at_the_row_that_sent_it
    5  stale or future price                            test_engine_timelines: stale book; the future changes nothing
    6  one stamp in several channels                    test_rows_of_one_stamp_come_in_rank_order; test_engine_oracle:
                                                        the order in which streams are given does not matter
    7  sorting by exchange time hides latency           test_the_strategy_lives_in_received_time
    8  received before the exchange's stamp             the importers' tests of clock shifts
    11 queue position                                   test_the_queue_never_grows; the timelines of queues
    12 amend keeps or loses its place                   test_engine_timelines: only a smaller size keeps its place
    13 displayed size filled twice                      property/test_broker_invariants: displayed size is taken once
    14 one print shared by own orders                   test_engine_timelines: own orders share one print
    15 aggressor side                                   test_a_print_fills_one_side_only
    16 price through the level                          test_a_resting_order_fills_at_its_own_price
    17 post-only judged on arrival                      test_engine_timelines: post-only is judged on arrival
    18 stops inside a candle                            test_engine_timelines: gap and stop before target
    19 touch fills                                      test_a_touch_fills_at_least_what_a_crossing_does
    21 cancel races fill                                test_engine_timelines; test_broker_invariants: the machine
    22 `filled == remaining`                            test_an_exact_fill_completes_the_order
    23 partial fills not booked                         test_the_position_is_the_sum_of_fills
    31 mark and last                                    test_equity_follows_the_mark_not_the_last_trade
    32 funding                                          test_engine_timelines: boundary, price, sign; test_funding
    40 hash-ordered containers                          test_hash_seeds_change_nothing
    45 warm-up changes results                          test_more_history_changes_no_decision; timelines: warm-up
    46 recursive indicators                             the indicators' own tests
    47 missing candles filled forward                   test_a_missing_candle_stays_missing
    48 drawdown depends on sampling                     test_drawdown_does_not_depend_on_the_grid
    49 annualisation, 50 time zones                     the report's tests of metrics and clock
    51 closed before opened                             test_the_position_is_the_sum_of_fills (an order's stamps)
    53 rules of the exchange ignored on paper           property/test_one_verdict; integration/test_one_verdict_live
    54 self-trade between own quotes                    test_order_rules_in_runs; the oracle's order rules
    55 order ids                                        test_ids_are_a_counter; property: a run leaves nothing behind

Traps 24 to 30, 37 to 39 and 41 to 44 are the ledger's, the storage's and the report's, and are tested there.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as generators
from oracle.match import outcome_of, real
from oracle.scenarios import Scenario, scenarios
from oracle.scripted import Act
from oracle.timelines import (
    SWAP,
    T0_NS,
    book,
    buy,
    candle,
    gap,
    mark,
    play,
    scenario,
    script_of,
    sell,
    ticker,
    trade,
)

from quantkit.events import MarketEvent
from quantkit.instruments import Side, decimal_of

QUICK = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@QUICK
@given(
    stamps=generators.lists(
        generators.sampled_from((0, 59_999, 60_000, 120_000)) | generators.integers(0, 299_999), min_size=1, max_size=30
    )
)
def test_a_candle_is_known_at_its_close_only(stamps: list[int]) -> None:
    """Trap 1: delivered at the close, after no trade of the next interval and before a trade of the same stamp."""
    trades: list[MarketEvent] = [trade(at, 100.0) for at in sorted([0, *stamps, 299_999])]
    candles: list[MarketEvent] = [candle(minute, (100, 101, 99, 100)) for minute in range(1, 6)]
    market = scenario([*candles, *trades], on="trade", start=0, end=300_000)
    trace = real(market, strategy=market.strategy_with(script_of({})())).trace
    closed = T0_NS
    for now, hook, _ in trace:
        if hook == "candle":
            assert (now - T0_NS) % 60_000_000_000 == 0
            closed = now
        elif hook == "trade":
            assert closed <= now < closed + 60_000_000_000


@QUICK
@given(market=scenarios())
def test_no_order_fills_at_the_row_that_sent_it(market: Scenario) -> None:
    """Trap 4: a fill is revealed after the order was sent; at one stamp, by a later row."""
    # A clock that is off may show the row that fills an order before the stamp of its sending.
    outcome, strategy = outcome_of(replace(market, delays_ns=(0,), offsets=()))
    sent = {order.id: order.sent_ns for order in outcome.orders}
    made: dict[str, int] = {}
    for number, (_, hook, text) in enumerate(strategy.trace):
        if hook == "call":
            for word in text.split(" "):
                made.setdefault(word, number)
    for fill in outcome.fills:
        assert fill.revealed_ns >= sent[fill.order_id]
        told = [
            n for n, (_, hook, text) in enumerate(strategy.trace) if hook == "fill" and f" {fill.order_id} " in text
        ]
        assert all(n > made.get(fill.order_id, -1) for n in told)  # a target of the warm-up is sent by no call


def test_rows_of_one_stamp_come_in_rank_order() -> None:
    """Trap 6: gap, mark, candle, book, ticker, trade, however they were given."""
    at = 60_000
    rows = [trade(at, 100.0), ticker(at, 99.0, 101.0), book(at, {99.0: 1}, {101.0: 1}, whole=True)]
    rows += [candle(1, (100, 100, 100, 100)), mark(at, 100.0), gap(at)]
    first: list[MarketEvent] = [trade(0, 100.0), trade(70_000, 100.0)]
    for events in (rows, rows[::-1]):
        played = play([*first, *events], {}, on="trade")
        assert played.hooks == ["trade", "gap", "mark", "candle", "book", "ticker", "trade", "trade", "stop"]


def test_the_strategy_lives_in_received_time() -> None:
    """Trap 7: two rows whose stamps stand the other way round are seen as they were received."""
    events = [trade(0, 100.0), trade(30, 101.0, late=40), trade(50, 102.0, late=5), trade(90, 103.0)]
    played = play(events, {}, on="trade")
    assert played.calls("trade") == [0, 55, 70, 90]


@QUICK
@given(
    rows=generators.lists(
        generators.tuples(generators.booleans(), generators.integers(1, 9), generators.integers(1, 4)),
        min_size=2,
        max_size=15,
    ),
    start=generators.integers(1, 9),
)
def test_the_queue_never_grows(rows: list[tuple[bool, int, int]], start: int) -> None:
    """Trap 11: what we get is at most what printed at our price beyond the smallest size ever shown before us."""
    events: list[MarketEvent] = [book(0, {100.0: start}, {101.0: 5}, whole=True)]
    smallest, shown, printed, at = start, start, 0, 30.0
    least = 10**9
    for is_print, size, lots in rows:
        at += 10
        if is_print:
            events.append(trade(at, 100.0, lots))
            printed += lots
        else:
            shown = size
            smallest = min(smallest, shown)
            events.append(book(at, {100.0: shown}, {}))
        least = min(least, smallest)
    events.append(mark(at + 100, 100.0))
    played = play(events, {("book", 0): [buy(1000, 100.0)]}, on="book")
    got = sum(float(fill.split(" ")[2]) for fill in played.fills)
    assert max(0, printed - start) <= got <= max(0, printed)
    if all(is_print for is_print, _, _ in rows):
        assert got == max(0, printed - start)


@pytest.mark.parametrize("side", list(Side))
def test_a_print_fills_one_side_only(side: Side) -> None:
    """Trap 15: a seller's print at the price of both orders can only have met the buyer."""
    calls = {("trade", 0): [buy(1, 100.0), sell(1, 100.0)]}
    events = [trade(0, 100.0), trade(50, 100.0, 9, side), mark(99, 100.0)]
    played = play(events, calls, on="trade", touch=True)
    assert played.fills == [f"{1 if side is Side.SELL else 2} {side.opposite} 1 @ 100 maker 50"]


@pytest.mark.parametrize("kind", ["trade", "ticker", "book"])
def test_a_resting_order_fills_at_its_own_price(kind: str) -> None:
    """Trap 16: however far the market goes through it."""
    rows: dict[str, Sequence[MarketEvent]] = {
        "trade": [trade(0, 100.0), trade(50, 90.0), trade(90, 90.0)],
        "ticker": [ticker(0, 99.9, 100.1), ticker(50, 89.9, 90.0), ticker(90, 89.9, 90.0)],
        "book": [
            book(0, {99.9: 5}, {100.1: 5}, whole=True),
            book(50, {89.9: 5}, {90.0: 5}, whole=True),
            book(90, {89.9: 4}, {}),
        ],
    }
    assert play(rows[kind], {(kind, 0): [buy(1, 99.0)]}, on=kind).fills == ["1 buy 1 @ 99 maker 50"]


@QUICK
@given(
    prices=generators.lists(generators.integers(97, 103), min_size=2, max_size=20), limit=generators.integers(97, 103)
)
def test_a_touch_fills_at_least_what_a_crossing_does(prices: list[int], limit: int) -> None:
    """Trap 19: the touch policy never fills less, nor later."""
    events = [trade(0, 100.0), *(trade(30 + 10 * n, price, 1) for n, price in enumerate(prices)), mark(900, 100.0)]
    filled = {}
    for touch in (False, True):
        market = scenario(events, on="trade", touch=touch)
        acts = {("trade", 0): [buy(2, limit)]}
        fills = outcome_of(market, strategy=market.strategy_with(script_of(acts)()))[0].fills
        filled[touch] = [fill.filled_ns for fill in fills for _ in range(fill.lots)]
    assert len(filled[True]) >= len(filled[False])
    assert all(early <= late for early, late in zip(filled[True], filled[False], strict=False))


def test_an_exact_fill_completes_the_order() -> None:
    """Trap 22: the last step fills, and nothing remains."""
    events = [book(0, {100.0: 2}, {101.0: 3}, whole=True), trade(50, 100.0, 4), trade(60, 100.0, 3), mark(99, 100.0)]
    played = play(events, {("book", 0): [buy(5, 100.0), buy(3)]}, on="book")
    assert played.final(1) == played.final(2) == "filled"
    assert played.fills[1:] == ["1 buy 2 @ 100 maker 50", "1 buy 3 @ 100 maker 60"]


@QUICK
@given(market=scenarios())
def test_the_position_is_the_sum_of_fills(market: Scenario) -> None:
    """Traps 23 and 51: every part is booked, and an order's stamps never fall."""
    outcome, _ = outcome_of(market)
    for instrument in market.instruments:
        fills = [fill for fill in outcome.fills if fill.instrument == instrument.id]
        # Lots are those of the run's grid, which is finer than the step where the steps change.
        total = sum(decimal_of(fill.qty) * (1 if fill.side is Side.BUY else -1) for fill in fills)
        coins = sum(fill.fee for fill in fills if instrument.is_spot and fill.fee_currency == instrument.base)
        assert outcome.position_qty.get(instrument.id, 0) == total - coins
    for order in outcome.orders:
        stamps = [event.at_ns for event in outcome.order_events if event.order_id == order.id]
        assert stamps == sorted(stamps)


def test_equity_follows_the_mark_not_the_last_trade() -> None:
    """Trap 31: the position is worth what the mark says."""
    events = [trade(0, 100.0), mark(1, 100.0), trade(50, 100.0), mark(60, 110.0), trade(70, 50.0)]
    market = scenario(events, on="trade")
    outcome, _ = outcome_of(market, strategy=market.strategy_with(script_of({("trade", 0): [buy(2)]})()))
    assert outcome.equity == 10_020
    assert outcome.position_mark == {SWAP.id: 110.0}


def test_hash_seeds_change_nothing() -> None:
    """Trap 40: three processes with different hash seeds say the same, word for word."""
    tests = Path(__file__).resolve().parents[1]
    code = (
        "from oracle.timelines import *\n"
        "rows = [trade(n, 100.0 + n % 3, of=i) for n in range(0, 300, 7) for i in (SWAP, OTHER)]\n"
        "calls = {('trade', n): [buy(1, 101.0, of=i), sell(1, 100.0, of=i)] for n, i in ((3, SWAP), (8, OTHER))}\n"
        "market = scenario(rows, on='trade', instruments=[SWAP, OTHER], timers=('10ms',))\n"
        "print(real(market, strategy=market.strategy_with(script_of(calls)())))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tests,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tests)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(said) == 1
    assert "filled" in said.pop()


def test_more_history_changes_no_decision() -> None:
    """Trap 45: from the common start on, a run that has warmed up longer says the same."""
    rows = [candle(n, (100 + n % 3, 104, 98, 100 + n % 2)) for n in range(1, 9)]
    told = []
    for warmup in (1, 4):
        market = scenario(rows, on="candle", latency=0, start=240_000, warmup=warmup)
        calls = {("candle", warmup + 1): [buy(1)], ("candle", warmup + 2): [Act("close", SWAP.id)]}
        told.append(real(market, strategy=market.strategy_with(script_of(calls)())))
    assert told[0].fills == told[1].fills != []
    assert told[0].cash == told[1].cash


def test_a_missing_candle_stays_missing() -> None:
    """Trap 47: what is not there is not made up; an order waits for the next open there is."""
    rows = [candle(n, (100 + n, 120, 90, 100)) for n in (1, 2, 5)]
    played = play(rows, {("candle", 1): [buy(1)]}, on="candle", latency=0)
    assert played.calls("candle") == [60_000, 120_000, 300_000]
    assert played.fills == ["1 buy 1 @ 105 taker 240000"]


def test_drawdown_does_not_depend_on_the_grid() -> None:
    """Trap 48: the deepest fall is exact whatever the curve's resolution is."""
    import msgspec
    from oracle.match import engine_config

    from quantkit.feeds.replay import MemoryFeed
    from quantkit.simulated import simulated_run

    events: list[MarketEvent] = [trade(0, 100.0), trade(50, 100.0)]
    events += [mark(100 + 10 * n, price) for n, price in enumerate((100, 130, 90, 120, 80, 110, 95))]
    market = scenario(events, on="trade", cash={"USDT": 1000.0})
    deepest = set()
    for every_ms in (1, 7, 10, 1000, 60_000):
        config = msgspec.structs.replace(engine_config(market, search=True), equity_every_ns=every_ms * 1_000_000)
        strategy = market.strategy_with(script_of({("trade", 0): [buy(5)]})())
        curve = simulated_run(MemoryFeed(market.events, market.instruments), strategy, config).run().curve
        deepest.add(round(float(curve.drawdown.min()), 12))
    # Five contracts: the peak is 1000 + 5 x 30, the trough 1000 - 5 x 20.
    assert deepest == {round(900 / 1150 - 1, 12)}


def test_ids_are_a_counter() -> None:
    """Trap 55: alphanumeric, counted, and the same in every run."""
    events = [trade(0, 100.0), trade(50, 100.0), trade(99, 100.0)]
    played = play(events, {("trade", 0): [buy(1), buy(1)], ("trade", 2): [Act("close", SWAP.id)]}, on="trade")
    assert [order[0] for order in played.told.orders] == ["bt1", "bt2", "bt3"]
