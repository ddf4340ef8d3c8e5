"""The engine against the oracle, and against itself: search, blocks, time, future, order of input, repetition."""

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as generators
from oracle.match import Told, difference, naive, outcome_of, real
from oracle.scenarios import Scenario, scenarios

from quantkit.clock import NS_PER_MS
from quantkit.events import BookUpdate, Candle, MarketEvent, Ticker, Trade

pytestmark = pytest.mark.long

KINDS = ("book", "ticker", "trade", "candle")
QUICK = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
_STAMP = re.compile(r"\b1[0-9]{18}\b")


def assert_all_agree(scenario: Scenario) -> None:
    """Run a scenario in every way and hold the results against each other, on a curve as fine as the rows."""
    scenario = replace(scenario, equity_every_ns=5 * NS_PER_MS)
    slow = real(scenario, search=False)
    for name, other in (
        ("the oracle", naive(scenario)),
        ("the search", real(scenario, search=True)),
        ("blocks of three rows", real(scenario, search=True, block_rows=3)),
        ("blocks of one row", real(scenario, search=False, block_rows=1)),
    ):
        found = difference(slow, other)
        assert not found, f"{name} differs: {found}"


@pytest.mark.parametrize("kind", KINDS)
@settings(QUICK, max_examples=20)
@given(data=generators.data())
def test_oracle_search_and_blocks_agree(kind: str, data: generators.DataObject) -> None:
    """Orders, order events, fills, callbacks, ledgers, curves and excursions: the same from all of them."""
    assert_all_agree(data.draw(scenarios((kind,))))


@QUICK
@given(scenario=scenarios())
def test_oracle_search_and_blocks_agree_on_mixed_markets(scenario: Scenario) -> None:
    """Two instruments may be matched on different data and share one account."""
    assert_all_agree(scenario)


@QUICK
@given(scenario=scenarios(), seed=generators.integers(0, 2**32 - 1), search=generators.booleans())
def test_rows_that_drip_as_they_do_live_give_the_same_run(scenario: Scenario, seed: int, search: bool) -> None:
    """However few come at a time and whatever time passes between them without a row: nothing may depend on it."""
    found = difference(real(scenario), real(scenario, search=search, drip_seed=seed))
    assert not found, found


@QUICK
@given(scenario=scenarios(), reads=generators.booleans())
def test_without_market_hooks_the_search_still_agrees(scenario: Scenario, reads: bool) -> None:
    """With nothing hooked almost every row is skipped, which changes nothing."""
    blind = replace(scenario, hooks=(), reads_money=reads)
    found = difference(real(blind, search=False), real(blind, search=True))
    assert not found, found


@QUICK
@given(scenario=scenarios(), seconds=generators.integers(1, 10_000_000))
def test_shifting_time_shifts_everything(scenario: Scenario, seconds: int) -> None:
    """By whole seconds, so that timers and candles keep their places on the clock."""
    by_ns = seconds * 10**9
    here, there = real(scenario), real(scenario.shifted(by_ns))
    assert _text(here, 0) == _text(there, by_ns)


@QUICK
@given(
    scenario=scenarios(), seed=generators.integers(0, 2**32 - 1), block_rows=generators.sampled_from((1, 3, 131_072))
)
def test_the_curve_is_the_same_wherever_the_engine_looks(scenario: Scenario, seed: int, block_rows: int) -> None:
    """Rows and fills share stamps with the grid all the time: neither cuts nor the search may change a digit."""
    scenario = replace(scenario, equity_every_ns=5 * NS_PER_MS)
    plain, _ = outcome_of(scenario, search=False)
    for options in ({"search": True, "block_rows": block_rows}, {"search": seed % 2 == 0, "drip_seed": seed}):
        other, _ = outcome_of(scenario, **options)  # type: ignore[arg-type]
        for name in plain.curve.__struct_fields__:
            assert getattr(other.curve, name).tolist() == getattr(plain.curve, name).tolist(), (options, name)
        assert other.excursions == plain.excursions


def _text(told: Told, by_ns: int) -> str:
    text = repr((told.orders, told.order_events, told.fills, told.cash, told.trace, told.ended, told.end_ns))
    return _STAMP.sub(lambda stamp: str(int(stamp[0]) - by_ns), text)


@QUICK
@given(scenario=scenarios(), share=generators.integers(1, 9), seed=generators.integers(0, 2**32 - 1))
def test_the_future_changes_nothing_before_it(scenario: Scenario, share: int, seed: int) -> None:
    """Cut it off, or make it another one: every callback and fill before it stays, to the last digit."""
    # Every stream has begun by the cut, else the shorter run would be refused for lack of it.
    begun: dict[tuple[str, str], int] = {}
    for event in scenario.events:
        if event.received_ns >= scenario.start_ns:
            name = (type(event).__name__, event.instrument)
            begun[name] = min(event.received_ns, begun.get(name, event.received_ns))
    stamps = sorted({e.received_ns for e in scenario.events if e.received_ns > max(begun.values()) + 1})
    if not stamps:
        return
    cut_ns = stamps[len(stamps) * share // 10]
    whole = real(scenario)
    ended = real(replace(scenario, end_ns=cut_ns - 1))
    other = real(_altered(scenario, cut_ns, np.random.default_rng(seed)))
    past = _before(whole, cut_ns)
    assert past == _before(other, cut_ns)
    if ended.ended == "completed":
        stop = next(number for number, (_, hook, _) in enumerate(ended.trace) if hook == "stop")
        ended.trace[stop:] = []
    assert past == _before(ended, cut_ns)


def _before(told: Told, cut_ns: int) -> tuple[list[tuple[int, str, str]], list[str]]:
    """Return callbacks before a moment and the fills that had been revealed by then."""
    fills = [text for text in told.fills if int(text.split(" ")[11]) < cut_ns]
    trace = [entry for entry in told.trace if entry[0] < cut_ns]
    return trace, fills


def _altered(scenario: Scenario, cut_ns: int, rng: np.random.Generator) -> Scenario:
    """Return the scenario with other prices from a moment on; which streams there are stays the same."""
    price_of = {instrument.id: float(instrument.price_step) for instrument in scenario.instruments}
    return replace(
        scenario,
        events=tuple(
            event if event.received_ns < cut_ns or _opened_before(event, cut_ns) else _moved(event, price_of, rng)
            for event in scenario.events
        ),
    )


def _opened_before(event: MarketEvent, cut_ns: int) -> bool:
    return isinstance(event, Candle) and event.open_ns < cut_ns


def _moved(event: MarketEvent, steps: dict[str, float], rng: np.random.Generator) -> MarketEvent:
    by = float(rng.integers(-9, 10)) * steps[event.instrument]
    names = {Trade: ("price",), Ticker: ("bid", "ask"), Candle: ("open", "high", "low", "close")}.get(type(event), ())
    moved = {name: value + by for name in names if (value := getattr(event, name)) is not None}
    if isinstance(event, BookUpdate) and event.is_snapshot:
        # A later change must not cross the book, so only the sizes of what stays are touched.
        moved = {"bid_qtys": tuple(2 * qty for qty in event.bid_qtys), "ask_qtys": tuple(3 * q for q in event.ask_qtys)}
    return msgspec.structs.replace(event, **moved)


@QUICK
@given(scenario=scenarios(), seed=generators.integers(0, 2**32 - 1))
def test_the_order_in_which_streams_are_given_does_not_matter(scenario: Scenario, seed: int) -> None:
    """Rows are taken in the total order, however they were handed over; within a stream, equal stamps keep theirs."""
    rng = np.random.default_rng(seed)
    streams: dict[tuple[str, str], list[MarketEvent]] = {}
    for event in scenario.events:
        streams.setdefault((type(event).__name__, event.instrument), []).append(event)
    whole = [event for name in rng.permutation(len(streams)) for event in list(streams.values())[name]]
    found = difference(real(scenario), real(replace(scenario, events=tuple(whole))))
    assert not found, found


@QUICK
@given(scenario=scenarios(), other=scenarios())
def test_a_run_leaves_nothing_behind(scenario: Scenario, other: Scenario) -> None:
    """The same run twice in one process, another one between them, gives the same bytes."""
    first = real(scenario)
    real(other)
    assert repr(first) == repr(real(scenario))
