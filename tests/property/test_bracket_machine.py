"""Brackets and OCO groups under any sequence of orders, fills, partial fills, cancels, changes and rejections.

From one order latency after each fill on, what is held is protected, and by no more than is held; children never flip
a position; a group never fills more than its largest order.
"""

from collections import defaultdict
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from order_life import OrderLife

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, Order, OrderTerms, StopLoss, TakeProfit
from quantkit.portfolio import Portfolio

SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", min_qty="2", contract_value="0.1")
LATENCY_NS = 20
sides = st.sampled_from(tuple(Side))
sizes = st.integers(1, 5)
prices = st.integers(97, 103)


class Exchange:
    """A market of trades with an account, and what its fills did to the position."""

    def __init__(self, cash: int) -> None:
        self.portfolio = Portfolio({"USDT": cash}, [SWAP], mark_of=lambda _: 100.0)
        account = Account(self.portfolio, {SWAP.id: Fees()}, max_leverage=Decimal(10))
        self.life = OrderLife(account, {SWAP.id: LATENCY_NS}, observer=self, touch=True)
        self.market = self.life.listings[SWAP.id].trades
        self.market.see(100)
        self.held = 0
        self.asked: dict[str, int] = {}

    def before_fill(self) -> None:
        self.held = self.lots

    @property
    def lots(self) -> int:
        """The signed position."""
        return int(self.portfolio.position(SWAP.id).qty)

    def after_fill(self, fill: Fill) -> None:
        """Hold each fill of what can only reduce against the position before it."""
        if self.orders[fill.order_id].reduce_only:
            assert self.held * fill.signed_lots < 0
            assert abs(self.lots) == abs(self.held) - fill.lots

    @property
    def orders(self) -> dict[str, ExchangeOrder]:
        """Every order, by id."""
        return self.life.broker.orders

    def send(self, now_ns: int, side: Side, lots: int, limit: int | None, **more: object) -> None:
        """Send an order."""
        order = Order(
            id=f"bt{len(self.asked) + 1}",
            instrument=SWAP.id,
            side=side,
            qty=float(lots),
            lots=lots,
            price=None if limit is None else float(limit),
            price_ticks=limit,
            **more,  # type: ignore[arg-type]
        )
        self.asked[order.id] = lots
        self.life.broker.submit(order, now_ns)


class BracketMachine(RuleBasedStateMachine):
    """Everything that opens a position has a stop, and nobody touches the children."""

    may_touch_children = False
    cash = 1_000_000

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange(self.cash)
        self.now_ns = 0

    @rule(
        side=sides,
        lots=sizes,
        limit=st.none() | prices,
        away=st.integers(-1, 4),
        gain=st.none() | st.integers(0, 4),
        loss_limit=st.none() | st.integers(0, 2),
        group=st.sampled_from(("", "", "a", "b")),
        post_only=st.booleans(),
    )
    def enter(
        self,
        side: Side,
        lots: int,
        limit: int | None,
        away: int,
        gain: int | None,
        loss_limit: int | None,
        group: str,
        post_only: bool,
    ) -> None:
        """Send an order with a stop, perhaps a target, perhaps in a group; some are refused."""
        sign, price = side.sign, 100 if limit is None else limit
        stop = price - sign * away
        terms = OrderTerms(
            stop_loss=StopLoss(float(stop), None if loss_limit is None else float(stop - sign * loss_limit)),
            take_profit=None if gain is None else TakeProfit(float(price + sign * gain), float(price + sign * gain)),
            oco_group=group,
        )
        self.exchange.send(self.now_ns, side, lots, limit, terms=terms, post_only=post_only and limit is not None)

    @rule(side=sides, lots=sizes, limit=st.none() | prices, stop=st.none() | prices)
    def leave(self, side: Side, lots: int, limit: int | None, stop: int | None) -> None:
        """Send an order that can only reduce."""
        self.exchange.send(
            self.now_ns,
            side,
            lots,
            limit,
            reduce_only=True,
            stop_ticks=stop,
            stop_price=None if stop is None else float(stop),
        )

    def one_of(self, which: int) -> ExchangeOrder | None:
        """Return one of the orders that may be touched."""
        found = [order for order in self.exchange.orders.values() if self.may_touch_children or not order.is_child]
        return found[which % len(found)] if found else None

    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        """Cancel any order, also one that is over."""
        order = self.one_of(which)
        if order is not None:
            self.exchange.life.broker.cancel(order.id, self.now_ns)

    @rule(which=st.integers(0, 99), lots=st.none() | sizes, limit=st.none() | prices)
    def amend(self, which: int, lots: int | None, limit: int | None) -> None:
        """Change any order's size or limit."""
        order = self.one_of(which)
        if order is not None:
            limit = None if order.limit_ticks is None else limit
            if lots is not None and not order.is_child:
                self.exchange.asked[order.id] = max(self.exchange.asked[order.id], lots)
            self.exchange.life.broker.amend(order.id, self.now_ns, lots=lots, limit_ticks=limit)

    @rule(after_ns=st.sampled_from((0, 1, 5, 19, 20, 21, 60)), price=prices, lots=st.integers(1, 3), side=sides)
    def trade(self, after_ns: int, price: int, lots: int, side: Side) -> None:
        """Let a trade come, and before it what has arrived."""
        self.wait(after_ns)
        self.exchange.market.on_trade(float(price), float(lots), side, self.now_ns)

    @rule(after_ns=st.sampled_from((1, 19, 20, 21, 60)))
    def wait(self, after_ns: int) -> None:
        """Let time pass."""
        self.now_ns += after_ns
        self.exchange.life.arrive(SWAP.id, self.now_ns, self.now_ns)

    @rule(side=sides, lots=st.integers(2, 5), away=st.integers(1, 4), apart_ns=st.sampled_from((0, 5, 20, 60)))
    def fill_in_parts(self, side: Side, lots: int, away: int, apart_ns: int) -> None:
        """Send an order at the last price, and let it fill one contract at a time."""
        price = int(self.exchange.market.last_price or 100)
        self.enter(side, lots, price, away, 3, None, "", post_only=False)
        for _ in range(2):
            self.trade(LATENCY_NS + apart_ns, price, 1, side.opposite)

    @precondition(lambda self: bool(self.exchange.lots))
    @rule()
    def flatten(self) -> None:
        """Close the position at the market."""
        held = self.exchange.lots
        side = Side.SELL if held > 0 else Side.BUY
        self.exchange.send(self.now_ns, side, max(2, abs(held)), None, reduce_only=True)

    def stops(self, side: Side) -> int:
        """Return what the stops at work on a side would close."""
        children = [o for o in self.exchange.orders.values() if o.is_child and o.id.rstrip("0123456789")[-2:] == "sl"]
        return sum(o.left for o in children if o.side is side and not o.state.is_final)

    @invariant()
    def nothing_is_protected_twice(self) -> None:
        """Stops are for no more than what is held, and so are targets."""
        held = self.exchange.lots
        for side in Side:
            closable = max(0, -held * side.sign)
            targets = sum(
                o.left
                for o in self.exchange.orders.values()
                if o.is_child and o.side is side and not o.state.is_final and o.stop_ticks is None
            )
            assert self.stops(side) <= closable
            assert targets <= closable

    @invariant()
    def what_is_held_is_protected(self) -> None:
        """But for what has filled within the last latency."""
        if self.may_touch_children:
            return
        held = self.exchange.lots
        side = Side.SELL if held > 0 else Side.BUY
        fresh = sum(
            fill.lots
            for fill in self.exchange.life.broker.fills
            if fill.filled_ns + LATENCY_NS > self.now_ns and fill.side is side.opposite
        )
        assert abs(held) <= self.stops(side) + fresh

    @invariant()
    def a_group_fills_no_more_than_its_largest(self) -> None:
        """Whatever its orders were changed to."""
        filled, largest = defaultdict[str, int](int), defaultdict[str, int](int)
        for order in self.exchange.orders.values():
            if order.terms is not None and order.terms.oco_group and not order.is_child:
                filled[order.terms.oco_group] += order.filled_lots
                largest[order.terms.oco_group] = max(largest[order.terms.oco_group], self.exchange.asked[order.id])
        assert all(filled[group] <= largest[group] for group in filled)

    def teardown(self) -> None:
        """End the run: every fill was unprotected for no longer than a latency."""
        self.exchange.life.position.now_ns = self.now_ns
        self.exchange.life.broker.finish(self.now_ns, "end_of_data")
        for wait in self.exchange.life.broker.notes().unprotected:
            assert 0 <= wait.to_ns - wait.from_ns <= LATENCY_NS
        assert all(order.state.is_final for order in self.exchange.orders.values())


class TouchedMachine(BracketMachine):
    """Children are changed and cancelled too: they may be fewer then, never more."""

    may_touch_children = True


class PoorMachine(BracketMachine):
    """An account whose money refuses and cuts many orders."""

    cash = 40


_SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestBrackets = BracketMachine.TestCase
TestTouchedBrackets = TouchedMachine.TestCase
TestPoorBrackets = PoorMachine.TestCase
for _case in (TestBrackets, TestTouchedBrackets, TestPoorBrackets):
    _case.settings = _SETTINGS
