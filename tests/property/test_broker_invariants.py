"""What holds of every run whatever the market and the strategy, and of the simulated exchange after every step."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as generators
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle.match import engine_config, outcome_of
from oracle.scenarios import Scenario, scenarios
from oracle.scripted import Act, Scripted
from oracle.timelines import SWAP, book, buy, candle, mark, ms, play_scenario, scenario, script_of, sell, ticker, trade
from order_life import OrderLife

from quantkit.brokers.base import Broker, BrokerSetup
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.build import simulated
from quantkit.brokers.simulated.leverage_bound import LeverageBound
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.prepared import Prepared
from quantkit.events import BookUpdate, Gap, MarketEvent
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side, decimal_of
from quantkit.orders import TRANSITIONS, Fill, Order, OrderState, TimeInForce, leg_of
from quantkit.portfolio import Portfolio

pytestmark = pytest.mark.long

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
FEW = settings(QUICK, max_examples=25)


@QUICK
@given(market=scenarios())
def test_every_run_obeys_the_invariants_of_orders(market: Scenario) -> None:
    """One run, all the statements about its orders and fills."""
    outcome, strategy = outcome_of(market)
    assert_lives_follow_the_graph(outcome)
    assert_fills_belong_to_their_orders(outcome, market)
    assert_no_fill_is_worse_than_asked(outcome, strategy)
    assert_flags_are_kept(outcome, market)
    assert_nothing_fills_in_the_dark(outcome, market)
    assert_first_come_first_served(outcome)


def assert_lives_follow_the_graph(outcome: Outcome) -> None:
    """Only the edges of the lifecycle, ids used once, exactly one end for each order that was sent."""
    ids = [order.id for order in outcome.orders]
    assert len(set(ids)) == len(ids)
    states = dict.fromkeys(ids, OrderState.PENDING)
    for event in outcome.order_events:
        before = states[event.order_id]
        repeats = event.state is before and not before.is_final
        assert repeats or event.state in TRANSITIONS[before], f"{event.order_id}: {before} to {event.state}"
        states[event.order_id] = event.state
    for order in outcome.orders:
        assert order.state.is_final
        told = [event for event in outcome.order_events if event.order_id == order.id]
        assert sum(event.state.is_final for event in told) == (1 if told else 0)
        if told:
            assert states[order.id] is order.state


def assert_fills_belong_to_their_orders(outcome: Outcome, market: Scenario) -> None:
    """Sizes add up, stand on the grids, come after the order's arrival, never after its end, never when refused."""
    orders = {order.id: order for order in outcome.orders}
    versions: dict[str, list[Instrument]] = {}
    for instrument in sorted(market.instruments, key=lambda each: each.valid_from_ns):
        if instrument.valid_from_ns <= market.start_ns:
            versions[instrument.id] = [instrument]  # the one before had its day
        else:
            versions.setdefault(instrument.id, []).append(instrument)
    ends = {event.order_id: number for number, event in enumerate(outcome.order_events) if event.state.is_final}
    by_order: dict[str, int] = {}
    # How far the exchange's stamps may be before and after ours.
    ahead_ns, behind_ns = (pick(0, 0, *(ns for _, ns in market.offsets)) for pick in (max, min))
    # Rows too may be stamped by a clock that is ahead of ours, where no offset tells it.
    stamped_ahead_ns = max(0, *(event.exchange_ns - event.received_ns for event in market.events))
    for fill in outcome.fills:
        order, known = orders[fill.order_id], versions[fill.instrument]
        by_order[order.id] = by_order.get(order.id, 0) + fill.lots
        least_ns, most_ns = delays_of(market, fill.instrument)
        assert fill.filled_ns >= left_ns(order, outcome, ahead_ns, least_ns)
        seen_ns = fill.revealed_ns + max(ahead_ns, -behind_ns, stamped_ahead_ns)
        assert seen_ns >= fill.filled_ns - max(most_ns, 1) or seen_ns >= order.sent_ns + least_ns
        assert fill.lots > 0
        price, qty = Decimal(repr(fill.price)), Decimal(repr(fill.qty))
        # One grid for the whole run, which every version's steps are multiples of.
        assert all(each.price_step % (price / fill.ticks) == 0 for each in known)
        assert all(each.qty_step % (qty / fill.lots) == 0 for each in known)
        # An order that closes a contract whole may be of a size that another version allowed.
        assert any(price % each.price_step == 0 for each in known)
        assert any(qty % each.qty_step == 0 for each in known)
    for order in outcome.orders:
        filled = by_order.get(order.id, 0)
        assert filled == order.filled_lots <= max(order.lots, filled if order.reason == "amended_to_filled" else 0)
        assert (order.state is OrderState.FILLED) == (filled == order.lots and filled > 0) or "amended" in str(
            [event.reason for event in outcome.order_events if event.order_id == order.id]
        )
        if order.state is OrderState.REJECTED:
            assert filled == 0
    for number, event in enumerate(outcome.order_events):
        assert number <= ends.get(event.order_id, number)
        least_ns, _ = delays_of(market, orders[event.order_id].instrument)
        if event.reason not in ("end_of_data", "bankrupt"):
            assert event.at_ns >= left_ns(orders[event.order_id], outcome, ahead_ns, least_ns)
            assert event.reported_ns >= event.at_ns + behind_ns + least_ns


def left_ns(order: Order, outcome: Outcome, ahead_ns: int, least_ns: int) -> int:
    """Return the exchange's time of an order's arrival at the earliest: a child follows a fill of its parent."""
    if order.parent_id:
        return min(fill.filled_ns for fill in outcome.fills if fill.order_id == order.parent_id) + least_ns
    return order.sent_ns - ahead_ns + (0 if order.tag == "liquidation" else least_ns)


def delays_of(market: Scenario, instrument: str) -> tuple[int, int]:
    """Return the shortest and the longest way to an instrument's market."""
    if market.latency is not None:
        return market.latency.delays_ns[0], market.latency.delays_ns[-1]
    latency_ns = 0 if market.match_on[instrument] == "candle" else market.latency_ns
    return latency_ns, latency_ns


def assert_no_fill_is_worse_than_asked(outcome: Outcome, strategy: Scripted) -> None:
    """Against the loosest limit that was ever asked for the order."""
    limits = strategy.limits
    for fill in outcome.fills:
        asked = limits.get(fill.order_id, ())
        if asked:
            assert fill.price <= max(asked) if fill.side is Side.BUY else fill.price >= min(asked)


def assert_flags_are_kept(outcome: Outcome, market: Scenario) -> None:
    """Post-only makes, IOC and FOK take, FOK is whole, reduce-only reduces."""
    orders = {order.id: order for order in outcome.orders}
    changed = {event.order_id for event in outcome.order_events if event.reason == "amended"}
    held: dict[str, int] = {}
    for fill in outcome.fills:
        order = orders[fill.order_id]
        leg = leg_of(fill.instrument, fill.position_side)
        before = held.get(leg, 0)
        after = held[leg] = before + fill.signed_lots
        if order.post_only:
            assert fill.role == "maker"
        if not order.time_in_force.rests:
            assert fill.role == "taker"
        if order.reduce_only:
            assert abs(after) < abs(before)
            assert before * after >= 0
        if order.time_in_force is TimeInForce.FOK and order.id not in changed and not order.reduce_only:
            assert order.filled_lots == order.lots or order.reason in ("insufficient_cash", "insufficient_margin")


def assert_nothing_fills_in_the_dark(outcome: Outcome, market: Scenario) -> None:
    """Between a gap in the book and the next snapshot nothing is filled on it."""
    for instrument, kind in market.match_on.items():
        if kind != "book":
            continue
        dark_ns: int | None = None
        spans = []
        for event in sorted(market.events, key=lambda e: (e.received_ns, not isinstance(e, Gap))):
            if event.instrument != instrument:
                continue
            if isinstance(event, Gap) and event.channel == "book" and dark_ns is None:
                dark_ns = event.received_ns
            elif isinstance(event, BookUpdate) and event.is_snapshot and dark_ns is not None:
                spans.append((dark_ns, event.received_ns))
                dark_ns = None
        spans += [] if dark_ns is None else [(dark_ns, market.end_ns + 1)]
        for fill in outcome.fills:
            if fill.instrument == instrument:
                assert not any(low < fill.revealed_ns < high for low, high in spans)


def assert_first_come_first_served(outcome: Outcome) -> None:
    """Of two resting orders at one price the earlier is done before the later gets anything."""
    orders = {order.id: order for order in outcome.orders}
    odd = {event.order_id for event in outcome.order_events if "amend" in event.reason}
    fills: dict[str, list[Fill]] = {}
    for fill in outcome.fills:
        fills.setdefault(fill.order_id, []).append(fill)
    resting: list[Order] = []
    for event in outcome.order_events:
        order = orders[event.order_id]
        is_plain = order.type == "limit" and order.id not in odd and not order.reduce_only
        # A change of a partly filled order is told with its reason and with the state that it leaves as it was.
        is_fill = event.state in (OrderState.PARTLY_FILLED, OrderState.FILLED) and not event.reason
        if is_fill:
            fill = fills[order.id].pop(0)
            earlier = resting[: resting.index(order)] if order in resting else []
            for other in earlier:
                same = (other.instrument, other.side, other.price_ticks) == (
                    order.instrument,
                    order.side,
                    order.price_ticks,
                )
                assert not (same and fill.role == "maker"), f"{order.id} before {other.id}"
        if event.state is OrderState.ACCEPTED and is_plain and order.time_in_force is TimeInForce.GTC:
            resting.append(order)
        elif event.state.is_final and order in resting:
            resting.remove(order)


# The bound on contracts -------------------------------------------------------------------------------------------


class BoundWatch:
    """An observer that holds the exchange's ledger against the leverage bound after every fill."""

    checked = 0

    def __init__(self, setup: BrokerSetup, max_leverage: Decimal) -> None:
        self._setup = setup
        self._max_leverage = Fraction(max_leverage)

    def before_fill(self) -> None:
        self._setup.observer.before_fill()

    def after_fill(self, fill: Fill) -> None:
        self._setup.observer.after_fill(fill)
        ledger = self._setup.ledger
        instrument = ledger.instruments[fill.instrument]
        if instrument.is_spot:
            # What coins are bought with, or coins that are sold, may not be what contracts are backed by.
            self._check(instrument.quote if fill.side is Side.BUY else instrument.base, fill)
            return
        after = ledger.position(fill.instrument).qty
        before = after - instrument.qty_decimal(fill.signed_lots)
        if not (before * after >= 0 and abs(after) < abs(before)):
            self._check(instrument.settle_currency, fill)
            self._check(instrument.settle_currency, fill, at_its_own_price=True)

    def _check(self, currency: str, fill: Fill, *, at_its_own_price: bool = False) -> None:
        ledger = self._setup.ledger
        notional, equity = Fraction(0), ledger.balance_exact(currency)
        for position in ledger.open_contracts(currency):
            mark = self._setup.marks.last(position.instrument.id)
            if at_its_own_price and position.instrument.id == fill.instrument:
                mark = fill.price
            assert mark is not None
            notional += abs(Fraction(position.instrument.notional(position.qty, mark)))
            equity += position.unrealised_exact(mark)
        assert notional <= equity * self._max_leverage, f"{float(notional)} on {float(equity)}"
        type(self).checked += bool(notional)


def _watch(market: Scenario, strategy: Scripted | None = None) -> Outcome:
    options = engine_config(market, search=True)
    max_leverage = decimal_of(options.max_leverage)

    def watched(setup: BrokerSetup) -> Broker:
        return simulated(options)(setup._replace(observer=BoundWatch(setup, max_leverage)))

    feed = MemoryFeed(market.events, market.instruments)
    return Engine(Prepared(feed, strategy or market.strategy(), options, is_live=False), watched).run()


@QUICK
@given(market=scenarios())
def test_no_fill_leaves_more_than_the_bound_unless_it_only_reduces(market: Scenario) -> None:
    """By currency of settlement, at the marks and at the price of the fill itself, to the last digit."""
    _watch(market)


FLIPS = generators.lists(
    generators.tuples(
        generators.sampled_from(("market", "limit", "stop", "target", "amend")),
        generators.integers(-14, 14).filter(bool),
        generators.integers(-3, 3),
    ),
    min_size=2,
    max_size=10,
)


@FEW
@given(
    flips=FLIPS,
    kind=generators.sampled_from(("candle", "trade", "ticker", "book")),
    moves=generators.lists(generators.integers(-30, 30), min_size=14, max_size=14),
    leverage=generators.sampled_from((1, 2, 5)),
)
def test_flips_stay_within_the_bound(
    flips: list[tuple[str, int, int]], kind: str, moves: list[int], leverage: int
) -> None:
    """One contract that is turned about again and again in a market that jumps, with fees, every way of ordering."""
    prices = [100.0]
    for move in moves:
        prices.append(max(20.0, prices[-1] + move))
    market = scenario(
        _market_of(kind, prices),
        on=kind,
        latency=0 if kind == "candle" else 20,
        cash={"USDT": 1000.0},
        max_leverage=leverage,
        fees=Fees(maker_bps=-1, taker_bps=7),
    )
    calls = {(kind, number): [_flip(*flip, prices[number])] for number, flip in enumerate(flips)}
    _watch(market, market.strategy_with(script_of(calls)()))


def _market_of(kind: str, prices: Sequence[float]) -> list[MarketEvent]:
    """Return a market that stands at each price in turn."""
    match kind:
        case "candle":
            before = [prices[0], *prices[:-1]]
            # Opens lie between the close before and the own close: neither of the two prices of a fill's day.
            opens = [(a + b) // 2 for a, b in zip(before, prices, strict=True)]
            return [
                candle(number, (open_, max(open_, close) + 2, min(open_, close) - 2, close))
                for number, (open_, close) in enumerate(zip(opens, prices, strict=True), 1)
            ]
        case "trade":
            return [trade(100 * number, price) for number, price in enumerate(prices)]
        case "ticker":
            return [ticker(100 * number, price - 0.5, price + 0.5, 9, 9) for number, price in enumerate(prices)]
        case _:
            return [
                book(100 * number, {price - 0.5: 4, price - 2: 30}, {price + 0.5: 4, price + 2: 30}, whole=True)
                for number, price in enumerate(prices)
            ]


def _flip(how: str, lots: int, off: int, price: float) -> Act:
    """Return an order for so many contracts, a little beside the price."""
    call = buy if lots > 0 else sell
    match how:
        case "market":
            return call(abs(lots))
        case "limit":
            return call(abs(lots), price + off)
        case "stop":
            return call(abs(lots), stop_price=price + off)
        case "target":
            return Act("target", SWAP.id, float(lots))
        case _:
            return Act("amend", "", float(abs(lots)), None, {})


def test_the_watch_over_the_bound_finds_a_fill_beyond_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the engine's own check taken out; what is in order is counted and not accused."""
    market = scenario(
        _market_of("trade", [100.0, 100.0, 150.0, 150.0, 150.0]), on="trade", cash={"USDT": 1000.0}, max_leverage=1
    )
    calls = {("trade", 0): [sell(10)], ("trade", 2): [buy(20)]}
    BoundWatch.checked = 0
    outcome = _watch(market, market.strategy_with(script_of(calls)()))
    assert [(fill.lots, fill.ticks) for fill in outcome.fills] == [(10, 1000), (10, 1500)]
    assert BoundWatch.checked == 2
    monkeypatch.setattr(LeverageBound, "carries", lambda *_, **__: True)
    monkeypatch.setattr(LeverageBound, "exceeds", lambda *_, **__: "")
    with pytest.raises(AssertionError, match=r"1500.0 on 500.0"):
        _watch(market, market.strategy_with(script_of(calls)()))


# Displayed liquidity ----------------------------------------------------------------------------------------------

LADDERS = generators.lists(generators.integers(1, 6), min_size=1, max_size=5)
SIZES = generators.lists(generators.integers(1, 8), min_size=1, max_size=6)


def _take(ladder: Sequence[int], sizes: Sequence[int], *, latency: float = 20) -> list[Fill]:
    """Send market buys of `sizes` into asks of `ladder`, one tick apart from 100.1, and return the fills."""
    asks = {round(100.1 + 0.1 * level, 1): float(size) for level, size in enumerate(ladder)}
    market = scenario(
        [book(0, {100.0: 9}, asks, whole=True), mark(1, 100.0), mark(900, 100.0)],
        on="book",
        latency=latency,
        cash={"USDT": 1e9},
    )
    outcome, _ = outcome_of(
        market, strategy=market.strategy_with(script_of({("book", 0): [buy(size) for size in sizes]})())
    )
    return outcome.fills


@FEW
@given(ladder=LADDERS, sizes=SIZES)
def test_displayed_size_is_taken_once(ladder: list[int], sizes: list[int]) -> None:
    """However many orders share it; and what is displayed does fill what is asked."""
    taken: dict[int, int] = {}
    for fill in _take(ladder, sizes):
        taken[fill.ticks] = taken.get(fill.ticks, 0) + fill.lots
    assert all(lots <= ladder[ticks - 1001] for ticks, lots in taken.items())
    assert sum(taken.values()) == min(sum(ladder), sum(sizes))


@FEW
@given(ladder=LADDERS, cuts=LADDERS, size=generators.integers(1, 30))
def test_less_liquidity_is_never_better(ladder: list[int], cuts: list[int], size: int) -> None:
    """Removing displayed size raises what the first lots cost, or leaves it."""
    thin = [max(0, lots - cut) for lots, cut in zip(ladder, cuts + [0] * len(ladder), strict=False)]
    if not sum(thin):
        return
    rich, poor = ([f.ticks for f in _take(lots, [size]) for _ in range(f.lots)] for lots in (ladder, thin))
    assert len(poor) <= len(rich)
    assert all(a <= b for a, b in zip(rich, poor, strict=False))


@FEW
@given(ladder=LADDERS, sizes=SIZES, latencies=generators.lists(generators.integers(0, 300), min_size=2, max_size=2))
def test_latency_changes_nothing_in_a_frozen_book(ladder: list[int], sizes: list[int], latencies: list[int]) -> None:
    """Prices and sizes stay; the stamps move with the latency."""
    slow, quick = (
        [(f.ticks, f.lots, ms(f.filled_ns) - wait) for f in _take(ladder, sizes, latency=wait)] for wait in latencies
    )
    assert slow == quick


@FEW
@given(market=scenarios(("book", "ticker", "trade")))
def test_an_order_that_cannot_match_changes_nothing(market: Scenario) -> None:
    """A bid far below the market leaves every other order's fills alone, and never fills itself."""
    only = market.instruments[0]
    quiet = replace(
        market,
        instruments=(only,),
        events=tuple(event for event in market.events if event.instrument == only.id),
        subscriptions=tuple(wish for wish in market.subscriptions if wish[1] == only.id),
        match_on={only.id: market.match_on[only.id]},
        fees={only.id: market.fees[only.id]},
        hooks=(),
        timers=("10ms",),
        moments=(),
        cash={"USDT": 1e9},
        max_leverage=1000,
        delays_ns=(0,),  # drawn by the number of the call, which the one added would move
        latency=None,  # likewise
    )
    acts = [act for some in market.acts.values() for act in some if act.what in ("buy", "sell")]
    acts = [act for act in acts if act.instrument == only.id and not act.more.get("reduce_only")]
    calls = {("timer", 1 + number): [act] for number, act in enumerate(acts)}
    far = Act("buy", only.id, only.qty(5), only.price(3))
    added = {**calls, ("timer", 0): [far]}
    alone, beside = (
        outcome_of(quiet, strategy=quiet.strategy_with(script_of(some)()))[0].fills for some in (calls, added)
    )
    assert [_shape(fill) for fill in alone] == [_shape(fill) for fill in beside]


def _shape(fill: Fill) -> tuple[object, ...]:
    return (fill.instrument, fill.side, fill.ticks, fill.lots, fill.role, fill.filled_ns, fill.fee)


def test_a_latency_later_than_a_move_gets_the_later_book() -> None:
    """With a moving book the fill comes from the book of the arrival, never an earlier one."""
    events = [book(at, {90.0: 9}, {100.0 + at: 9}, whole=True) for at in (0, 10, 20, 30, 40)] + [mark(200, 100.0)]
    prices = []
    for latency in (0, 5, 10, 11, 25, 40):
        market = scenario(events, on="book", latency=latency)
        prices += [fill.split(" ")[4] for fill in play_scenario(market, {("book", 0): [buy(1)]}).fills]
    assert prices == ["100", "100", "100", "110", "120", "130"]


# The exchange, step by step ---------------------------------------------------------------------------------------

SPOT = Instrument("AAA-USDT", price_step="1", qty_step="1")
LATENCY_NS = 5


class BrokerMachine(RuleBasedStateMachine):
    """Prints, orders, cancels and amends in any order; the account has to add up after each."""

    @initialize(cash=generators.integers(0, 3000), coins=generators.integers(0, 8), touch=generators.booleans())
    def begin(self, cash: int, coins: int, touch: bool) -> None:
        """Open an account at an exchange with one spot market."""
        self.fees = Fees(maker_bps=-10, taker_bps=50)
        self.portfolio = Portfolio({"USDT": cash, "AAA": coins}, [SPOT], mark_of=lambda _: 100.0)
        self.account = Account(self.portfolio, {SPOT.id: self.fees}, max_leverage=Decimal(1))
        self.life = OrderLife(self.account, {SPOT.id: LATENCY_NS}, touch=touch)
        self.broker = self.life.broker
        self.market = self.life.listings[SPOT.id].trades
        self.now_ns = 0
        self.sent: list[Order] = []

    @rule(
        is_buy=generators.booleans(),
        lots=generators.integers(0, 6),
        limit=generators.none() | generators.integers(96, 104),
        stop=generators.none() | generators.integers(96, 104),
        tif=generators.sampled_from(list(TimeInForce)),
        reduce_only=generators.booleans(),
    )
    def send(
        self, is_buy: bool, lots: int, limit: int | None, stop: int | None, tif: TimeInForce, reduce_only: bool
    ) -> None:
        """Send an order."""
        order = Order(
            id=f"x{len(self.sent)}",
            instrument=SPOT.id,
            side=Side.BUY if is_buy else Side.SELL,
            qty=float(lots),
            lots=lots,
            price_ticks=limit,
            stop_ticks=stop,
            time_in_force=tif,
            reduce_only=reduce_only,
            sent_ns=self.now_ns,
        )
        self.sent.append(order)
        self.broker.submit(order, self.now_ns)

    @precondition(lambda self: self.sent)
    @rule(which=generators.integers(0, 50))
    def cancel(self, which: int) -> None:
        """Cancel some order, over or not."""
        self.broker.cancel(self.sent[which % len(self.sent)].id, self.now_ns)

    @precondition(lambda self: self.sent)
    @rule(
        which=generators.integers(0, 50),
        lots=generators.none() | generators.integers(1, 8),
        limit=generators.integers(96, 104),
    )
    def amend(self, which: int, lots: int | None, limit: int) -> None:
        """Change some order; only what has a limit may get another."""
        order = self.sent[which % len(self.sent)]
        new_limit = None if order.price_ticks is None else limit
        if lots is not None or new_limit is not None:
            self.broker.amend(order.id, self.now_ns, lots=lots, limit_ticks=new_limit)

    @rule(
        wait=generators.integers(0, 7),
        price=generators.integers(95, 105),
        lots=generators.integers(1, 4),
        side=generators.sampled_from(list(Side)),
    )
    def print_a_trade(self, wait: int, price: int, lots: int, side: Side) -> None:
        """Let a trade happen; one that is inside the gate must not matter."""
        self.now_ns += wait
        band, arrives_ns = self.market.band(), self.life.first_arrival_ns(SPOT.id)
        is_inside = band.low < price < band.high and (arrives_ns is None or self.now_ns < arrives_ns)
        told = len(self.broker.reports)
        self.life.arrive(SPOT.id, self.now_ns, self.now_ns)
        self.market.on_trade(float(price), float(lots), side, self.now_ns)
        assert not (is_inside and len(self.broker.reports) > told)

    @rule(wait=generators.integers(1, 20))
    def let_time_pass(self, wait: int) -> None:
        """Let a quiet market answer."""
        self.now_ns += wait
        self.life.advance(self.now_ns)

    @invariant()
    def locks_are_what_open_orders_need(self) -> None:
        """No lock is negative, lost or kept for an order that is over."""
        if not hasattr(self, "broker"):
            return
        coins, cash = Fraction(0), Fraction(0)
        for order in self.broker.orders.values():
            if order.lock is not None:
                assert not order.state.is_final
                if order.is_buy:
                    cash += order.left * order.lock.ticks * (1 + Fraction(50, 10_000))
                else:
                    coins += order.left
        assert (Fraction(self.account.funds.locked("AAA")), Fraction(self.account.funds.locked("USDT"))) == (
            coins,
            cash,
        )

    @invariant()
    def nothing_is_sold_or_spent_twice(self) -> None:
        """Balances and what is left of them stay at zero or above."""
        if not hasattr(self, "broker"):
            return
        for currency in ("AAA", "USDT"):
            assert self.portfolio.balance_exact(currency) >= 0
        assert self.account.funds.available("AAA") >= 0 or any(order.reduce_only for order in self.sent)

    @invariant()
    def orders_fill_within_their_size(self) -> None:
        """Fills add up to what the exchange counts, and never beyond the order."""
        if not hasattr(self, "broker"):
            return
        for order in self.broker.orders.values():
            filled = sum(fill.lots for fill in self.broker.fills if fill.order_id == order.id)
            assert filled == order.filled_lots <= max(order.lots, filled)
            assert order.left >= 0
            assert order.state.is_final or order.left > 0 or order.lots == 0


TestBrokerMachine = BrokerMachine.TestCase
TestBrokerMachine.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)


def test_a_run_of_refusals_costs_nothing() -> None:
    """Orders that are rejected leave cash and position as they were."""
    market = scenario([book(0, {100.0: 1}, {101.0: 1}, whole=True), mark(50, 100.0)], on="book", end=100)
    acts = [buy(1, 102.0, post_only=True), sell(1, reduce_only=True), buy(0.1), buy(1e9)]
    played = play_scenario(market, {("book", 0): acts})
    assert [played.final(order).split(" ")[0] for order in (1, 2, 3, 4)] == ["rejected"] * 4
    assert {k: float(v) for k, v in played.told.cash.items()} == {"USDT": 10_000.0}
    assert not played.fills
