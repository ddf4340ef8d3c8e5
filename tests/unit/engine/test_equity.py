"""The equity curve, drawdown and excursions against a plain recomputation, row by row, from the fills and the marks."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError
from quantkit.events import BookUpdate, Candle, Mark, MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import Fill
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

START_NS = time_ns_of("2026-01-01")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
ETH = Instrument("ETH-USDT", price_step="0.1", qty_step="0.001")
FEES = Fees(maker_bps=1, taker_bps=3)


class Dice(Strategy):
    """Moves to a random position at random trades."""

    instrument: str
    unit: float
    chance: float = 0.05
    only_long: bool = False

    def on_start(self) -> None:
        self.subscribe_trades(self.instrument)

    def on_trade(self, trade: Trade) -> None:
        if self.rng.random() < self.chance:
            self.target(self.instrument, self.unit * int(self.rng.integers(0 if self.only_long else -3, 4)))


class Plan(Strategy):
    """Does what it is told at given trades, counted from 1."""

    def __init__(self, instrument: str, acts: dict[int, float], others: Sequence[str] = ()) -> None:
        super().__init__()
        self._instrument, self._acts, self._others, self._seen = instrument, acts, others, 0

    def on_start(self) -> None:
        for name in (self._instrument, *self._others):
            self.subscribe_trades(name)

    def on_trade(self, trade: Trade) -> None:
        if trade.instrument == self._instrument:
            self._seen += 1
            if self._seen in self._acts:
                self.target(self._instrument, self._acts[self._seen])


def trades(instrument: Instrument, prices: Sequence[float], stamps: Sequence[int]) -> list[MarketEvent]:
    """Return trades with the exchange's stamp equal to ours."""
    pairs = zip(prices, stamps, strict=True)
    return [
        Trade(instrument.id, at, at, instrument.price(instrument.ticks(price)), 1.0, Side.BUY) for price, at in pairs
    ]


def random_market(instrument: Instrument, *, seed: int, rows: int = 1500, marks: bool = True) -> list[MarketEvent]:
    """Return trades, and marks between them now and then, no two rows with one stamp; some minutes have no row."""
    random = np.random.default_rng(seed)
    steps_ms = random.choice([1, 7, 400, 3_000, 150_000], size=rows, p=[0.2, 0.3, 0.3, 0.19, 0.01])
    stamps = START_NS + np.cumsum(steps_ms) * NS_PER_MS
    price = 1000 * np.exp(np.cumsum(random.normal(0, 0.003, size=rows)))
    is_mark = random.random(rows) < 0.3
    is_mark[0] = marks
    found: list[MarketEvent] = []
    for at, value, mark in zip(stamps.tolist(), price.tolist(), is_mark.tolist(), strict=True):
        if mark and marks:
            found.append(Mark(instrument.id, at, at, value))
        else:
            found += trades(instrument, [value], [at])
    return found


def run(
    events: Sequence[MarketEvent], instruments: Sequence[Instrument], strategy: Strategy, **options: Any
) -> Outcome:
    """Run a strategy over events in memory."""
    block_rows = options.pop("block_rows", 131_072)
    config = RunOptions(**{"fees": FEES, "max_leverage": 5, **options})
    return simulated_run(MemoryFeed(events, instruments, block_rows=block_rows), strategy, config).run()


# Row by row -------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row of the curve as it should be."""

    time_ns: int
    equity: float
    cash: float
    exposure: float
    drawdown: float


class Naive:
    """One instrument's account, valued at every mark, fill and grid moment, one after the other."""

    def __init__(self, instrument: Instrument, cash: float) -> None:
        self.instrument = instrument
        self.cash, self.qty = cash, 0.0
        self.mark: float | None = None
        self.paid: list[tuple[float, float]] = []  # signed size and price of every fill so far
        self.peak = -np.inf
        self.depths: list[float] = []
        self.rows: list[Row] = []
        self.trips: list[list[float]] = []
        self.is_open = False

    @property
    def equity(self) -> float:
        """Cash and what is held, at the mark."""
        unit, mark = float(self.instrument.unit), self.mark
        if self.instrument.is_spot:
            return self.cash + (self.qty * mark if mark is not None else 0.0)
        if self.instrument.is_inverse:
            return self.cash + sum(qty * unit * (1 / price - 1 / mark) for qty, price in self.paid if mark)
        return self.cash + sum(qty * unit * (mark - price) for qty, price in self.paid if mark is not None)

    def value(self) -> None:
        """Look at the equity: the peak and the fall from it."""
        self.peak = max(self.peak, self.equity)
        self.depths.append(self.equity / self.peak - 1)

    def write(self, at_ns: int) -> None:
        """Write a row of the curve."""
        mark = self.mark or 0.0
        size = abs(self.qty) * float(self.instrument.unit)
        gross = 0.0 if not self.qty else size / mark if self.instrument.is_inverse else size * mark
        depth = min(self.depths)
        # Realised profit of contracts is cash, open profit is not.
        cash = self.cash if self.instrument.is_spot else float("nan")
        self.rows.append(Row(at_ns, self.equity, cash, gross / self.equity, depth))

    def fill(self, fill: Fill) -> None:
        """Book a fill."""
        signed = fill.qty if fill.side is Side.BUY else -fill.qty
        self.paid.append((signed, fill.price))
        if self.instrument.is_spot:
            self.cash -= signed * fill.price
        before = np.sign(self.qty)
        self.qty = round(self.qty + signed, 9)
        if fill.fee_currency == self.instrument.base and self.instrument.is_spot:
            self.qty -= float(fill.fee)
        else:
            self.cash -= float(fill.fee)
        after = 0 if abs(self.qty) < float(self.instrument.qty_step) else np.sign(self.qty)
        if self.is_open:
            self._touch(fill.price)
        if after != (before if self.is_open else 0):
            self.is_open = bool(after)
            if after:
                self.trips.append([fill.id, fill.price, fill.price])

    def _touch(self, price: float) -> None:
        trip = self.trips[-1]
        trip[1], trip[2] = min(trip[1], price), max(trip[2], price)

    def see(self, mark: float) -> None:
        """Take in a mark; it says something about the equity while something is held."""
        self.mark = mark
        if self.is_open:
            self._touch(mark)
        if self.qty:
            self.value()


def naive(
    instrument: Instrument, outcome: Outcome, events: Sequence[MarketEvent], kind: type, cash: float, every_ns: int
) -> Naive:
    """Recompute a run's curve from its fills and the rows that mark the instrument.

    At one moment: first the grid's row, at the mark that a row of the moment brings and without what is filled at it,
    then what was filled, then that mark. The end's row comes last.
    """
    account = Naive(instrument, cash)
    steps: list[tuple[int, int, Any]] = []
    rows: list[Any] = [event for event in events if isinstance(event, kind)]
    rows = [row for row in rows if outcome.start_ns <= row.received_ns <= outcome.end_ns]
    price_at = {row.received_ns: row.price for row in rows}
    steps += [(row.received_ns, 2, row.price) for row in rows]
    steps += [(fill.revealed_ns, 1, fill) for fill in outcome.fills]
    first = (outcome.start_ns // every_ns + 1) * every_ns
    steps += [(at, 0, None) for at in range(first, outcome.end_ns + 1, every_ns)]
    account.value()
    account.write(outcome.start_ns)
    account.depths = []
    stands = 0.0
    for at_ns, what, thing in sorted(steps, key=lambda step: step[:2]):
        if what == 2:
            account.see(thing)
        elif what == 1:
            account.fill(thing)
            if account.mark is None:
                account.mark = thing.price
            account.value()
        before = account.mark
        if what == 0 and account.qty and at_ns in price_at:
            account.mark = price_at[at_ns]
            account.value()
        stands = account.depths[-1] if account.depths else stands
        if what < 2:
            account.depths = account.depths or [stands]
            account.write(at_ns)
            account.depths = []
        account.mark = before
    account.depths = account.depths or [stands]
    account.write(outcome.end_ns)
    return account


def assert_curve(outcome: Outcome, account: Naive) -> None:
    """Compare the curve with what it should be, row by row."""
    curve = outcome.curve
    assert curve.time_ns.tolist() == [row.time_ns for row in account.rows]
    np.testing.assert_allclose(curve.equity, [row.equity for row in account.rows], rtol=1e-9)
    np.testing.assert_allclose(curve.exposure, [row.exposure for row in account.rows], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(curve.drawdown, [row.drawdown for row in account.rows], rtol=1e-7, atol=1e-9)
    if account.instrument.is_spot:
        np.testing.assert_allclose(curve.cash, [row.cash for row in account.rows], rtol=1e-9)
    got = [(trip.fill_id, trip.low, trip.high) for trip in outcome.excursions]
    assert got == [tuple(trip) for trip in account.trips]


CASES: list[tuple[Instrument, float, float, Fees, bool]] = [
    (SWAP, 10_000.0, 200.0, FEES, False),
    (INVERSE, 50.0, 20.0, FEES, False),
    (SPOT, 10_000.0, 2.0, FEES, True),
    (SPOT, 10_000.0, 2.0, Fees(taker_bps=10, currency="received"), True),
]


@pytest.mark.parametrize(("instrument", "cash", "unit", "fees", "only_long"), CASES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("marks", [True, False])
def test_the_curve_equals_a_plain_recomputation(
    instrument: Instrument, cash: float, unit: float, fees: Fees, seed: int, *, only_long: bool, marks: bool
) -> None:
    """On marks and on last trades, linear, inverse and spot, with fees in either currency."""
    events = random_market(instrument, seed=seed, marks=marks)
    outcome = run(
        events,
        [instrument],
        Dice(instrument=instrument.id, unit=unit, only_long=only_long),
        cash={instrument.settle_currency: cash},
        seed=seed,
        fees=fees,
        equity_every_ns=20 * NS_PER_S,
    )
    assert len(outcome.fills) > 10
    assert len(outcome.excursions) > 5
    assert outcome.curve.drawdown.min() < -0.001
    kind = Mark if marks else Trade
    assert_curve(outcome, naive(instrument, outcome, events, kind, cash, 20 * NS_PER_S))


@pytest.mark.parametrize("marks", [True, False])
def test_how_rows_are_cut_into_blocks_changes_no_digit(*, marks: bool) -> None:
    """Nor does the search."""
    events = random_market(SWAP, seed=5, marks=marks, rows=800)

    def outcome(**options: Any) -> Outcome:
        return run(events, [SWAP], Dice(instrument=SWAP.id, unit=200.0), cash={"USDT": 10_000}, **options)

    plain = outcome()
    assert len(plain.fills) > 5
    for options in ({"block_rows": 1}, {"block_rows": 7}, {"search": False}):
        other = outcome(**options)
        for name in ("time_ns", "equity", "cash", "exposure", "drawdown"):
            assert getattr(other.curve, name).tolist() == getattr(plain.curve, name).tolist(), (options, name)
        assert other.excursions == plain.excursions
        assert other.equity == plain.equity


def test_the_grid_is_on_utc_multiples_and_ends_with_the_run() -> None:
    """A row at the start, each multiple after it, and the end, which here is a multiple too."""
    stamps = [START_NS + second * NS_PER_S for second in (5, 65, 125, 185, 240)]
    outcome = run(trades(SWAP, [100.0] * 5, stamps), [SWAP], Plan(SWAP.id, {}), cash={"USDT": 100})
    expected = [stamps[0], *(START_NS + minute * NS_PER_MIN for minute in (1, 2, 3, 4)), stamps[-1]]
    assert outcome.curve.time_ns.tolist() == expected
    assert outcome.curve.equity.tolist() == [100.0] * 6
    assert outcome.curve.drawdown.tolist() == [0.0] * 6
    assert (outcome.starting_equity, outcome.equity) == (100, 100)


def test_a_dip_between_two_grid_rows_is_in_the_drawdown_not_in_the_equity() -> None:
    """And belongs to the row that follows it."""
    seconds = (1, 2, 30, 31, 32, 61, 122)
    prices = [100.0, 100.0, 100.0, 90.0, 100.0, 100.0, 100.0]
    events = trades(SWAP, prices, [START_NS + second * NS_PER_S for second in seconds])
    outcome = run(events, [SWAP], Plan(SWAP.id, {1: 100.0}), cash={"USDT": 1_000}, fees=Fees())
    assert outcome.fills[0].price == 100.0
    on_grid = dict(
        zip(outcome.curve.time_ns.tolist(), zip(outcome.curve.equity, outcome.curve.drawdown, strict=True), strict=True)
    )
    assert on_grid[START_NS + NS_PER_MIN] == (1_000.0, pytest.approx(-10 / 1_000))
    assert on_grid[START_NS + 2 * NS_PER_MIN] == (1_000.0, 0.0)


# Ends and beginnings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_rows", [1, 1000])
@pytest.mark.parametrize("search", [True, False])
def test_equity_at_zero_ends_the_run(block_rows: int, *, search: bool) -> None:
    """At the very mark that took it there; what is open is cancelled."""
    prices = [1000.0, 1000.0, 1000.0, 900.0, 801.0, 799.0, 1500.0, 1500.0]
    stamps = [START_NS + n * NS_PER_S for n in range(len(prices))]
    strategy = Plan(SWAP.id, {1: 500.0, 6: 0.0})
    events = trades(SWAP, prices, stamps)
    outcome = run(events, [SWAP], strategy, cash={"USDT": 1_000}, fees=Fees(), search=search, block_rows=block_rows)
    assert outcome.fills[0].price == 1000.0
    assert (outcome.ended, outcome.end_ns) == ("bankrupt", stamps[5])
    assert outcome.equity == Decimal(1_000) + 5 * (799 - 1000)
    assert len(outcome.fills) == 1
    assert outcome.warnings[-1:] == ["equity fell to zero at 2026-01-01T00:00:05Z: the run ended there"]
    # The curve goes down to the mark that ended it: before it the account was worth something, at it less than nothing.
    rows = list(zip(*(getattr(outcome.curve, name).tolist() for name in outcome.curve.__struct_fields__), strict=True))
    assert [row[0] for row in rows] == [stamps[0], stamps[1], stamps[5]]
    assert [row[1] for row in rows] == [1_000.0, 1_000.0, -5.0]
    assert [row[3] for row in rows] == [0.0, 5.0, np.inf]
    assert [row[4] for row in rows] == [0.0, 0.0, pytest.approx(-1_005 / 1_000)]


def test_equity_of_exactly_nothing_is_the_last_row() -> None:
    """Nothing left is as much an end as less than nothing; a large position does not overflow the exposure."""
    prices = [1000.0, 1000.0, 1000.0, 900.0, 1500.0]
    stamps = [START_NS + n * NS_PER_S for n in range(len(prices))]
    plan = Plan(SWAP.id, {1: 1e9})
    outcome = run(
        trades(SWAP, prices, stamps), [SWAP], plan, cash={"USDT": 1_000_000_000}, fees=Fees(), max_leverage=10
    )
    assert (outcome.ended, outcome.end_ns, outcome.equity) == ("bankrupt", stamps[3], 0)
    assert (outcome.curve.equity[-1], outcome.curve.drawdown[-1], outcome.curve.exposure[-1]) == (0.0, -1.0, np.inf)


@pytest.mark.parametrize("last_s", [59, 60, 61, 120, 150])
@pytest.mark.parametrize("held", [0.0, 300.0, -300.0])
@pytest.mark.parametrize("block_rows", [1, 1000])
def test_the_last_row_is_the_end_of_the_run(last_s: int, held: float, block_rows: int) -> None:
    """On a point of the grid or off it, flat or holding: what the account is worth at the end, after its last mark."""
    seconds = [1, 2, 3, 40, 50, last_s]
    prices = [1000.0, 1000.0, 1001.5, 1020.3, 1007.1, 1013.7]
    events = trades(SWAP, prices, [START_NS + second * NS_PER_S for second in seconds])
    plan = Plan(SWAP.id, {1: 100.0, 4: held})
    outcome = run(events, [SWAP], plan, cash={"USDT": 10_000}, block_rows=block_rows)
    assert outcome.position_qty == {SWAP.id: Decimal(int(held))}
    curve = outcome.curve
    assert curve.time_ns[-1] == outcome.end_ns == START_NS + last_s * NS_PER_S
    # Of one balance without a position both are the same float; with one the curve adds floats, the ledger fractions.
    assert curve.equity[-1] == pytest.approx(float(outcome.equity), rel=1e-12 if held else 0, abs=0)
    assert curve.exposure[-1] == pytest.approx(abs(held) * 0.01 * 1013.7 / float(outcome.equity))
    # A grid point at the end has seen the mark of the end, as the end's own row has.
    is_on_grid = last_s % 60 == 0
    assert bool(curve.time_ns[-2] == outcome.end_ns) is is_on_grid
    if is_on_grid:
        assert curve.is_grid.tolist()[-2:] == [True, False]
        assert curve.equity[-1] == curve.equity[-2]


def test_a_run_that_ends_where_it_starts_has_both_rows() -> None:
    """One trade is a run of no length."""
    outcome = run(trades(SWAP, [100.0], [START_NS]), [SWAP], Plan(SWAP.id, {}), cash={"USDT": 100})
    assert outcome.curve.time_ns.tolist() == [START_NS] * 2
    assert outcome.curve.equity.tolist() == [100.0] * 2


def test_equity_just_above_zero_does_not_end_the_run() -> None:
    """It comes back and the run goes on."""
    prices = [1000.0, 1000.0, 800.1, 1000.0, 1000.0]
    events = trades(SWAP, prices, [START_NS + n * NS_PER_S for n in range(5)])
    outcome = run(events, [SWAP], Plan(SWAP.id, {1: 500.0}), cash={"USDT": 1_000}, fees=Fees())
    assert outcome.fills[0].price == 1000.0
    assert (outcome.ended, outcome.equity) == ("completed", 1_000)
    assert outcome.excursions[0].low == 800.1


def test_a_balance_in_coins_is_valued_through_its_pair() -> None:
    """At the pair's mark, at every moment."""
    seconds = (1, 20, 61, 100, 130)
    events = trades(SPOT, [100.0, 110.0, 120.0, 90.0, 90.0], [START_NS + second * NS_PER_S for second in seconds])
    outcome = run(events, [SPOT], Plan(SPOT.id, {}), cash={"USDT": 50, "BTC": 2})
    assert outcome.report_currency == "USDT"
    # The curve begins when the coins can be valued: at the first trade.
    assert outcome.curve.time_ns.tolist() == [START_NS + s * NS_PER_S for s in (1, 60, 120, 130)]
    assert outcome.curve.equity.tolist() == [250.0, 270.0, 230.0, 230.0]
    assert outcome.curve.drawdown.tolist() == pytest.approx([0.0, 0.0, 230 / 290 - 1, 230 / 290 - 1])
    assert (outcome.starting_equity, outcome.equity) == (250, 230)
    assert outcome.curve.cash.tolist() == [50.0] * 4


@pytest.mark.parametrize("kind", ["ticker", "book"])
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_a_balance_in_coins_that_can_be_valued_late(kind: str, block_rows: int) -> None:
    """The curve begins with the first price, and the account with all of its money."""
    events: list[MarketEvent] = []
    for second, bid, ask in (
        (1, None, 101.0),
        (2, None, 102.0),
        (3, 99.0, 101.0),
        (30, 109.0, 111.0),
        (70, 89.0, 91.0),
    ):
        at = START_NS + second * NS_PER_S
        if kind == "ticker":
            events.append(Ticker(SPOT.id, at, at, bid, None if bid is None else 1.0, ask, 1.0))
        else:
            # A book with one side has a price; one without any has none.
            bids, asks = (((bid,), (1.0,)), ((ask,), (1.0,))) if bid is not None else (((), ()), ((), ()))
            events.append(BookUpdate(SPOT.id, at, at, *bids, *asks, True))

    class Watch(Strategy):
        def on_start(self) -> None:
            if kind == "ticker":
                self.subscribe_tickers(SPOT.id)
            else:
                self.subscribe_book(SPOT.id)

    outcome = run(events, [SPOT], Watch(), cash={"USDT": 50, "BTC": 2}, block_rows=block_rows)
    assert outcome.starting_equity == 250
    assert outcome.curve.time_ns.tolist() == [START_NS + s * NS_PER_S for s in (3, 60, 70)]
    assert outcome.curve.equity.tolist() == [250.0, 270.0, 230.0]
    assert outcome.equity == 230


def test_a_balance_that_is_never_valued_is_told() -> None:
    """Rather than counted as nothing."""
    at = START_NS
    events: list[MarketEvent] = [Ticker(SPOT.id, at + n, at + n, None, None, 100.0, 1.0) for n in range(3)]

    class Watch(Strategy):
        def on_start(self) -> None:
            self.subscribe_tickers(SPOT.id)

    with pytest.raises(DataError, match=r"BTC cannot be valued in USDT: BTC-USDT has no price \(ticker\) in the run"):
        run(events, [SPOT], Watch(), cash={"USDT": 50, "BTC": 2})


def test_profit_in_a_coin_is_reported_through_a_pair_of_the_run() -> None:
    """An inverse contract's profit, in dollars."""
    spot = Instrument("BTC-USD", price_step="0.1", qty_step="0.001")
    stamps = [START_NS + n * NS_PER_S for n in range(1, 6)]
    prices = [1000.0, 1000.0, 1000.0, 1250.0, 1250.0]
    pair = [trades(spot, [price], [at - NS_PER_MS])[0] for price, at in zip(prices, stamps, strict=True)]
    outcome = run(
        [*trades(INVERSE, prices, stamps), *pair],
        [INVERSE, spot],
        Plan(INVERSE.id, {2: 10.0}, [spot.id]),
        cash={"USD": 0, "BTC": 1},
        fees=Fees(),
    )
    assert outcome.fills[0].price == 1000.0
    # Ten contracts of 100 USD from 1000 to 1250 bring 1000 x (1/1000 - 1/1250) = 0.2 coins.
    assert outcome.equity == Decimal("1.2") * 1250
    assert outcome.realised == {"BTC": 0}


def test_a_currency_that_no_pair_converts_is_refused_at_the_start() -> None:
    """The message names the missing pair."""
    events = trades(ETH, [100.0, 100.0], [START_NS, START_NS + 1])
    with pytest.raises(Exception, match=r"BTC-USDT") as caught:
        run(events, [ETH], Plan(ETH.id, {}), cash={"USDT": 50, "BTC": 2})
    assert type(caught.value).__name__ == "ConfigError"


def test_without_rows_in_the_span_the_curve_is_still_there() -> None:
    """A quiet hour inside a recording."""
    events = trades(SWAP, [100.0, 100.0], [START_NS, START_NS + NS_PER_DAY])
    hour = 60 * NS_PER_MIN
    span = {"start_ns": START_NS + hour, "end_ns": START_NS + 2 * hour}
    outcome = run(events, [SWAP], Plan(SWAP.id, {}), cash={"USDT": 100}, **span)
    assert outcome.curve.equity.tolist() == [100.0] * 62  # the start, sixty minutes, and the end
    assert (outcome.curve.time_ns[0], outcome.curve.time_ns[-1]) == (span["start_ns"], span["end_ns"])


def test_candles_value_a_position_at_their_close() -> None:
    """Opens are prices to trade at, not marks."""
    closes = [100.0, 110.0, 90.0, 95.0]
    candles: list[MarketEvent] = []
    for n, close in enumerate(closes):
        opened, closed = START_NS + n * NS_PER_MIN, START_NS + (n + 1) * NS_PER_MIN
        candles.append(Candle(SWAP.id, closed, closed, opened, closed, 105.0, 120.0, 80.0, close, 1.0, "1m"))

    class Buy(Strategy):
        def on_start(self) -> None:
            self.subscribe_candles(SWAP.id, "1m")

        def on_candle(self, candle: Candle) -> None:
            self.target(SWAP.id, 100.0)

    outcome = run(candles, [SWAP], Buy(), cash={"USDT": 1_000}, fees=Fees())
    assert [fill.price for fill in outcome.fills] == [105.0]
    assert outcome.equity == 1_000 + (95 - 105)
    assert (outcome.excursions[0].low, outcome.excursions[0].high) == (90.0, 110.0)
    assert outcome.curve.drawdown.min() == pytest.approx((1_000 - 15) / (1_000 + 5) - 1)


# Several instruments and currencies -----------------------------------------------------------------------------------


class Plans(Strategy):
    """Follows one plan for each instrument."""

    def __init__(self, plans: dict[str, dict[int, float]]) -> None:
        super().__init__()
        self._plans, self._seen = plans, dict.fromkeys(plans, 0)

    def on_start(self) -> None:
        for name in self._plans:
            self.subscribe_trades(name)

    def on_trade(self, trade: Trade) -> None:
        self._seen[trade.instrument] += 1
        wanted = self._plans[trade.instrument].get(self._seen[trade.instrument])
        if wanted is not None:
            self.target(trade.instrument, wanted)


@pytest.mark.parametrize("block_rows", [3, 1000])
def test_two_positions_are_worth_what_each_is_worth_alone(block_rows: int) -> None:
    """At every moment of the grid, and in the excursions of each."""
    other = Instrument("ETH-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.02")
    plans = {SWAP.id: {5: 100.0, 200: -50.0, 500: 0.0}, other.id: {90: -60.0, 400: 30.0}}
    markets = {
        SWAP.id: random_market(SWAP, seed=1, marks=False, rows=700),
        other.id: random_market(other, seed=2, marks=False, rows=700),
    }
    span = {
        "start_ns": START_NS + NS_PER_MIN,
        "end_ns": min(rows[-1].received_ns for rows in markets.values()),
        "cash": {"USDT": 10_000},
        "equity_every_ns": 20 * NS_PER_S,
        "block_rows": block_rows,
    }
    alone = [
        run(markets[name], [instrument], Plans({name: plans[name]}), **span)
        for name, instrument in ((SWAP.id, SWAP), (other.id, other))
    ]
    both = run([row for rows in markets.values() for row in rows], [SWAP, other], Plans(plans), **span)
    assert len(both.fills) == sum(len(outcome.fills) for outcome in alone) == 5

    def on_grid(outcome: Outcome) -> dict[int, float]:
        found = zip(outcome.curve.time_ns.tolist(), outcome.curve.equity.tolist(), strict=True)
        return {at: equity for at, equity in found if at % (20 * NS_PER_S) == 0}

    first, second, together = (on_grid(outcome) for outcome in (*alone, both))
    assert together.keys() == first.keys() == second.keys()
    for at, equity in together.items():
        assert equity == pytest.approx(first[at] + second[at] - 10_000, rel=1e-12)
    ranges = [sorted((trip.instrument, trip.low, trip.high) for trip in o.excursions) for o in (both, *alone)]
    assert ranges[0] == sorted(ranges[1] + ranges[2])
    assert both.curve.drawdown.min() < -0.001
    assert both.curve.drawdown.min() == pytest.approx(_deepest(both, markets, [SWAP, other]), rel=1e-9)


def _deepest(outcome: Outcome, markets: dict[str, list[MarketEvent]], instruments: Sequence[Instrument]) -> float:
    """Return the deepest fall over all rows of all instruments, one after the other."""
    units = {instrument.id: float(instrument.unit) for instrument in instruments}
    steps: list[tuple[int, int, Any]] = [
        (row.received_ns, 1, row)
        for rows in markets.values()
        for row in rows
        if outcome.start_ns <= row.received_ns <= outcome.end_ns
    ]
    steps += [(fill.revealed_ns, 0, fill) for fill in outcome.fills]
    marks: dict[str, float] = {}
    held: list[tuple[str, float, float]] = []
    cash, peak, deepest = 10_000.0, 10_000.0, 0.0
    for _, what, thing in sorted(steps, key=lambda step: step[:2]):
        if what:
            marks[thing.instrument] = thing.price
        else:
            held.append((thing.instrument, thing.qty if thing.side is Side.BUY else -thing.qty, thing.price))
            cash -= float(thing.fee)
            marks.setdefault(thing.instrument, thing.price)
        equity = cash + sum(qty * units[name] * (marks[name] - price) for name, qty, price in held)
        peak = max(peak, equity)
        deepest = min(deepest, equity / peak - 1)
    return deepest


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_coins_priced_at_different_times(block_rows: int) -> None:
    """The curve begins when the last of them has a price."""
    one = trades(SPOT, [100.0, 100.0, 100.0], [START_NS + s * NS_PER_S for s in (1, 2, 70)])
    two = trades(ETH, [10.0, 20.0], [START_NS + s * NS_PER_S for s in (30, 70)])
    cash = {"USDT": 1, "BTC": 1, "ETH": 2}
    outcome = run(
        [*one, *two], [SPOT, ETH], Plan(SPOT.id, {}, [ETH.id]), cash=cash, block_rows=block_rows, start_ns=START_NS
    )
    assert outcome.curve.time_ns.tolist() == [START_NS + s * NS_PER_S for s in (30, 60, 70)]
    assert outcome.curve.equity.tolist() == [121.0, 121.0, 141.0]
    assert (outcome.starting_equity, outcome.equity) == (121, 141)


def test_a_fill_before_every_balance_can_be_valued() -> None:
    """It is booked, and the curve begins as soon as everything has a price."""
    one = trades(SPOT, [100.0, 100.0, 100.0], [START_NS + s * NS_PER_S for s in (1, 2, 50)])
    two = trades(ETH, [10.0, 10.0], [START_NS + s * NS_PER_S for s in (30, 50)])
    outcome = run(
        [*one, *two],
        [SPOT, ETH],
        Plan(SPOT.id, {1: 1.0}, [ETH.id]),
        cash={"USDT": 1_000, "ETH": 2},
        fees=Fees(),
        start_ns=START_NS,
    )
    assert [fill.price for fill in outcome.fills] == [100.0]
    assert outcome.curve.time_ns.tolist() == [START_NS + s * NS_PER_S for s in (30, 50)]
    assert outcome.curve.equity.tolist() == [1_020.0, 1_020.0]
    assert (outcome.starting_equity, outcome.equity) == (1_020, 1_020)
    assert [trip.instrument for trip in outcome.excursions] == [SPOT.id]
