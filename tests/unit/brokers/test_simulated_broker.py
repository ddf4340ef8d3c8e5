"""The simulated exchange of one account: travel, arrival, checks, bookings and reports, on markets of trades."""

from decimal import Decimal
from typing import Any

import pytest
from order_life import OrderLife
from recording_sink import BUY, SELL, SWAP, order_of

from quantkit.brokers.base import Report
from quantkit.brokers.send_clock import CallClock, SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.clock import NEVER_NS
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, OrderState
from quantkit.portfolio import Portfolio

ETH = Instrument("ETH-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
SPOT = Instrument("BTC-USDT", price_step="1", qty_step="0.1")


class Exchange:
    """A broker with its account and markets, whose rows and clock are played by hand."""

    def __init__(
        self,
        *instruments: Instrument,
        latency_ns: int | dict[str, int] = 20,
        cash: int = 100_000,
        fees: Fees | None = None,
        touch: bool = False,
        send_clock: SendClock | None = None,
        lag_ns: int | None = None,
    ) -> None:
        instruments = instruments or (SWAP,)
        latencies = latency_ns if isinstance(latency_ns, dict) else {i.id: latency_ns for i in instruments}
        self.marks = {instrument.id: 100.0 for instrument in instruments}
        self.portfolio = Portfolio({"USDT": cash}, instruments, mark_of=self.marks.get)
        rates = {instrument.id: fees or Fees() for instrument in instruments}
        self.calls: list[tuple[Any, ...]] = []
        self.life = OrderLife(
            Account(self.portfolio, rates, max_leverage=Decimal(1)),
            latencies,
            observer=self,
            lag_ns=lag_ns,
            send_clock=send_clock,
            touch=touch,
        )
        self.broker = self.life.broker
        for listing in self.life.listings.values():
            listing.market.see(100)
        self.numbers = 0

    def before_fill(self) -> None:
        self.calls.append(("before", self.held()))

    def after_fill(self, fill: Fill) -> None:
        self.calls.append(("after", self.held()))

    @property
    def wake_ns(self) -> int:
        """The next moment at which time alone has an effect."""
        return min(self.broker.agenda.wake_ns, self.broker.agenda.report_ns)

    def is_quiet(self) -> bool:
        """Return whether no message for the swap is under way."""
        return not self.life.listings[SWAP.id].queue

    def finish(self, now_ns: int) -> list[Report]:
        """End the run."""
        self.life.position.now_ns = now_ns
        return self.broker.finish(now_ns, "end_of_data")

    def held(self) -> Decimal:
        """Return the position in the first instrument."""
        return self.portfolio.position(next(iter(self.portfolio.instruments))).qty

    def send(self, now_ns: int, side: Side, lots: int, limit: int | None = None, **more: Any) -> str:
        """Submit an order and return its id."""
        self.numbers += 1
        order = order_of(self.numbers, side, lots, limit, **more)
        self.broker.submit(order, now_ns)
        return order.id

    def row(
        self,
        clock_ns: int,
        price: float,
        qty: float = 1.0,
        side: Side = SELL,
        *,
        now_ns: int | None = None,
        instrument: Instrument = SWAP,
    ) -> None:
        """Let a trade come in: what has arrived first, then the trade."""
        self.life.arrive(instrument.id, clock_ns, clock_ns if now_ns is None else now_ns)
        self.life.listings[instrument.id].trades.on_trade(price, qty, side, clock_ns)

    def news(self, now_ns: int = NEVER_NS) -> list[tuple[str, str, str, int, int]]:
        """Take the reports due: (id, state, reason, when it happened, when it is due)."""
        found = []
        while self.broker.agenda.report_ns <= min(now_ns, NEVER_NS - 1):
            report = self.broker.take_report()
            found.append((report.order_id, str(report.state), report.reason, report.at_ns, report.due_ns))
        return found


# Travel -------------------------------------------------------------------------------------------------------------


def test_an_order_is_looked_at_when_the_exchanges_clock_reaches_its_arrival() -> None:
    """Before the row that brings the clock there, which may then fill it; our own time does not count."""
    exchange = Exchange()
    name = exchange.send(0, BUY, 3)
    assert list(exchange.broker.orders) == [name]
    exchange.row(19, 90.0, now_ns=1_000)
    assert not exchange.is_quiet()
    assert (exchange.broker.reports, exchange.calls) == ([], [])
    exchange.row(20, 95.0, now_ns=1_001)
    assert exchange.is_quiet()
    assert [(fill.price, fill.filled_ns, fill.revealed_ns) for fill in exchange.broker.fills] == [(95.0, 20, 1_001)]
    assert exchange.life.listings[SWAP.id].synced == 1
    exchange.row(21, 96.0)
    assert exchange.life.listings[SWAP.id].synced == 1


@pytest.mark.parametrize(
    ("clock_ns", "now_ns", "due_ns"),
    [
        (20, 20, 40),  # the way back takes as long as the way there
        (30, 30, 40),  # it happened on arrival, at 20
        (30, 39, 40),
        (30, 90, 90),  # the row that revealed it came later
    ],
)
def test_reports_come_after_their_way_back_or_with_the_row_that_revealed_them(
    clock_ns: int, now_ns: int, due_ns: int
) -> None:
    """Whichever is later; until then nobody hears of them."""
    exchange = Exchange()
    exchange.send(0, BUY, 3, 90)
    exchange.row(clock_ns, 100.0, now_ns=now_ns)
    assert exchange.wake_ns == due_ns
    assert exchange.news(due_ns - 1) == []
    assert exchange.news(due_ns) == [("bt1", "accepted", "", 20, due_ns)]
    assert exchange.wake_ns == NEVER_NS


@pytest.mark.parametrize("is_over", [False, True])
def test_news_of_one_order_comes_in_the_order_of_happening_whatever_the_clocks(is_over: bool) -> None:
    """This machine's clock is far behind: the fill is stamped long after the cancel that came later, or the end."""
    exchange = Exchange(touch=True)
    name = exchange.send(0, BUY, 3, 100)
    exchange.row(30, 101.0, now_ns=1)
    exchange.row(1_000, 100.0, now_ns=2)
    if is_over:
        told = [(report.state, report.due_ns) for report in exchange.finish(3)]
    else:
        exchange.broker.cancel(name, 3)
        exchange.row(1_001, 101.0, now_ns=4)
        told = [(state, due_ns) for _, state, _, _, due_ns in exchange.news()]
    assert told == [("accepted", 40), ("partly_filled", 1_020), ("cancelled", 1_020)]


def test_reports_come_by_when_they_are_due_then_in_the_order_of_happening() -> None:
    """A slow instrument's report may come after later news of a fast one."""
    exchange = Exchange(SWAP, ETH, latency_ns={SWAP.id: 50, ETH.id: 10})
    exchange.send(0, BUY, 1)
    exchange.send(45, BUY, 1, instrument=ETH)
    exchange.row(50, 100.0)
    exchange.row(55, 100.0, instrument=ETH)
    assert [(name, state, due) for name, state, _, _, due in exchange.news()] == [
        ("bt2", "accepted", 65),
        ("bt2", "filled", 65),
        ("bt1", "accepted", 100),
        ("bt1", "filled", 100),
    ]
    assert [report.number for report in exchange.broker.reports] == [0, 1, 2, 3]


def test_messages_of_a_market_are_processed_in_the_order_of_sending() -> None:
    """Everything that has arrived, on one view of the market; what has not stays on its way."""
    exchange = Exchange()
    first = exchange.send(0, BUY, 1, 90)
    exchange.broker.cancel(first, 1)
    exchange.send(2, BUY, 1, 91)
    exchange.send(3, BUY, 1, 92)
    exchange.row(22, 100.0)
    assert [row[:4] for row in exchange.news()] == [
        ("bt1", "accepted", "", 20),
        ("bt1", "cancelled", "requested", 21),
        ("bt2", "accepted", "", 22),
    ]
    assert exchange.life.listings[SWAP.id].synced == 1
    assert not exchange.is_quiet()


@pytest.mark.parametrize(("latency_ns", "wake_ns"), [(20, 40), (1, 2), (0, 1)])
def test_in_a_quiet_market_arrivals_are_processed_when_their_reports_are_due(latency_ns: int, wake_ns: int) -> None:
    """Stamped with their arrival; without latency the next moment is the earliest."""
    exchange = Exchange(latency_ns=latency_ns)
    exchange.send(0, BUY, 1, 90)
    assert exchange.wake_ns == wake_ns
    exchange.life.advance(wake_ns - 1)
    assert exchange.broker.reports == []
    exchange.life.advance(wake_ns)
    assert exchange.life.listings[SWAP.id].synced == 1
    assert exchange.news() == [("bt1", "accepted", "", latency_ns, wake_ns)]
    assert exchange.wake_ns == NEVER_NS


@pytest.mark.parametrize(
    ("latencies", "sent_ns", "winner"),
    [
        ((20, 20), (0, 0), "bt1"),  # arrived together: the one that was sent first
        ((20, 10), (0, 0), "bt2"),
        ((20, 10), (0, 10), "bt1"),
        ((20, 10), (0, 11), "bt1"),
    ],
)
def test_overdue_messages_of_several_markets_draw_on_the_same_money_in_order(
    latencies: tuple[int, int], sent_ns: tuple[int, int], winner: str
) -> None:
    """By arrival, then by sending; the account can have only one of the two."""
    exchange = Exchange(SWAP, ETH, latency_ns={SWAP.id: latencies[0], ETH.id: latencies[1]}, cash=1_000)
    exchange.send(sent_ns[0], BUY, 60, 100)
    exchange.send(sent_ns[1], BUY, 60, 100, instrument=ETH)
    exchange.life.advance(1_000)
    assert [(row[0], row[1], row[2]) for row in exchange.news()] == [
        (winner, "accepted", ""),
        ("bt2" if winner == "bt1" else "bt1", "rejected", "insufficient_margin"),
    ]


def test_a_market_knows_when_the_next_message_arrives() -> None:
    """Until then, and within its band of prices, nothing happens to it."""
    exchange = Exchange(SWAP, ETH)
    arrival = exchange.life.first_arrival_ns
    assert arrival(SWAP.id) is None
    exchange.send(0, BUY, 1, 90)
    exchange.send(7, BUY, 1, 80)
    assert arrival(SWAP.id) == 20
    exchange.row(20, 100.0)
    assert exchange.broker.listings[SWAP.id].market.band().low > 89
    assert arrival(SWAP.id) == 27
    exchange.row(27, 100.0)
    assert arrival(SWAP.id) is arrival(ETH.id) is None


def test_whoever_watches_the_gates_hears_which_may_have_changed() -> None:
    """By what is sent, what arrives, what fills and what ends."""
    exchange = Exchange(SWAP, ETH, touch=True)

    def changed() -> set[str]:
        found = set(exchange.life.dirty)
        exchange.life.dirty.clear()
        return found

    exchange.send(0, BUY, 5, 90)
    assert changed() == {SWAP.id}
    exchange.row(19, 100.0)
    assert changed() == set()
    exchange.row(20, 100.0)
    assert changed() == {SWAP.id}
    exchange.row(21, 90.0, 2.0)
    assert changed() == {SWAP.id}
    exchange.row(22, 91.0)
    assert changed() == set()
    exchange.send(30, BUY, 5, 90, instrument=ETH)
    assert changed() == {ETH.id}
    exchange.life.advance(100)
    assert changed() == {ETH.id}
    exchange.finish(200)
    assert changed() == {SWAP.id, ETH.id}


# Arrival ------------------------------------------------------------------------------------------------------------


def test_what_the_account_may_not_have_is_rejected_on_arrival() -> None:
    """It never gets to the market, and holds nothing back."""
    exchange = Exchange(SPOT, cash=100)
    exchange.send(0, BUY, 11, 100, instrument=SPOT)
    exchange.row(20, 50.0, instrument=SPOT)
    assert exchange.news() == [("bt1", "rejected", "insufficient_cash", 20, 40)]
    assert exchange.broker.listings[SPOT.id].market.orders == exchange.broker.fills == []
    assert exchange.broker.account.funds.locked("USDT") == 0


def test_what_the_market_refuses_lets_go_of_its_money() -> None:
    """The account had let it in."""
    exchange = Exchange(SPOT, cash=1_000)
    exchange.send(0, BUY, 10, 101, instrument=SPOT, post_only=True)
    exchange.row(20, 100.0, instrument=SPOT)
    assert exchange.news() == [("bt1", "rejected", "post_only_would_take", 20, 40)]
    assert exchange.broker.account.funds.locked("USDT") == 0


def test_messages_to_an_order_that_is_over_change_nothing() -> None:
    """They came too late, and nothing is reported."""
    exchange = Exchange()
    name = exchange.send(0, BUY, 1)
    exchange.row(20, 100.0)
    exchange.news()
    exchange.broker.cancel(name, 25)
    exchange.broker.amend(name, 26, lots=5, limit_ticks=None)
    exchange.row(60, 100.0)
    assert exchange.news() == []
    assert exchange.broker.orders[name].state is OrderState.FILLED
    assert exchange.held() == 1


# Amends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lots", "ticks", "keeps_place", "becomes"),
    [
        (3, None, True, (3, 90)),
        (5, None, True, (5, 90)),
        (3, 90, True, (3, 90)),
        (6, None, False, (6, 90)),
        (None, 91, False, (5, 91)),
        (3, 89, False, (3, 89)),
    ],
)
def test_an_amend_keeps_its_place_only_where_it_does_not_ask_for_more(
    lots: int | None, ticks: int | None, keeps_place: bool, becomes: tuple[int, int]
) -> None:
    """A smaller size stays in the queue; more size or another price goes to the back. The report restates both."""
    exchange = Exchange()
    name = exchange.send(0, BUY, 5, 90)
    exchange.send(0, BUY, 5, 90)
    exchange.row(20, 100.0)
    exchange.news()
    exchange.broker.amend(name, 30, lots=lots, limit_ticks=ticks)
    exchange.row(50, 100.0)
    assert exchange.news() == [("bt1", "accepted", "amended", 50, 70)]
    report = exchange.broker.reports[-1]
    assert (report.lots, report.limit_ticks, report.fill) == (*becomes, None)
    order = exchange.broker.orders[name]
    assert (order.lots, order.limit_ticks) == becomes
    queue = [order.id for order in exchange.broker.listings[SWAP.id].market.orders]
    assert queue == (["bt1", "bt2"] if keeps_place else ["bt2", "bt1"])


@pytest.mark.parametrize(
    ("given", "amended", "refusal"),
    [
        ({}, {"lots": 200, "limit_ticks": None}, "insufficient_margin"),
        ({}, {"lots": None, "limit_ticks": 300}, "insufficient_margin"),
        ({"post_only": True}, {"lots": None, "limit_ticks": 101}, "post_only_would_take"),
        ({"post_only": True}, {"lots": 60, "limit_ticks": 101}, "post_only_would_take"),
    ],
)
def test_a_refused_amend_leaves_the_order_as_it_is(
    given: dict[str, Any], amended: dict[str, int | None], refusal: str
) -> None:
    """And says why: by the account, or because post-only would take."""
    exchange = Exchange(cash=1_000)
    name = exchange.send(0, BUY, 50, 90, **given)
    other = exchange.send(0, BUY, 1, 90)
    exchange.row(20, 100.0)
    exchange.news()
    exchange.broker.amend(name, 30, **amended)
    exchange.row(50, 100.0)
    assert exchange.news() == [("bt1", "accepted", f"amend_refused: {refusal}", 50, 70)]
    order = exchange.broker.orders[name]
    assert (order.lots, order.limit_ticks) == (50, 90)
    assert [order.id for order in exchange.broker.listings[SWAP.id].market.orders] == [name, other]


def test_a_post_only_order_may_shrink_whatever_the_last_price() -> None:
    """It keeps its place, so it is not judged anew; growing it is."""
    exchange = Exchange(touch=True)
    name = exchange.send(0, BUY, 5, 100, post_only=True)
    exchange.row(20, 100.0, 1.0, BUY)
    exchange.broker.listings[SWAP.id].market.see(99)
    exchange.broker.amend(name, 30, lots=4, limit_ticks=None)
    exchange.broker.amend(name, 31, lots=9, limit_ticks=None)
    exchange.life.advance(100)
    assert [row[2] for row in exchange.news()] == ["", "amended", "amend_refused: post_only_would_take"]


def test_an_amend_may_make_a_limit_take() -> None:
    """It goes to the back and is judged there like a new order."""
    exchange = Exchange()
    name = exchange.send(0, BUY, 5, 90)
    exchange.broker.amend(name, 1, lots=None, limit_ticks=105)
    exchange.row(21, 103.0)
    assert [(fill.price, fill.role) for fill in exchange.broker.fills] == [(103.0, "taker")]


def test_an_order_that_went_to_the_back_meets_no_row_from_before_its_amend() -> None:
    """Like a new order; one that kept its place has been there all along."""
    exchange = Exchange()
    moved, kept = exchange.send(0, BUY, 5, 90), exchange.send(0, BUY, 5, 90)
    exchange.row(20, 100.0)
    exchange.broker.amend(moved, 30, lots=None, limit_ticks=91)
    exchange.broker.amend(kept, 30, lots=4, limit_ticks=None)
    exchange.life.advance(70)
    exchange.row(49, 89.0, now_ns=71)
    assert [(fill.order_id, fill.filled_ns) for fill in exchange.broker.fills] == [(kept, 49)]
    exchange.row(50, 89.0, now_ns=72)
    assert [(fill.order_id, fill.price) for fill in exchange.broker.fills] == [(kept, 90.0), (moved, 91.0)]


@pytest.mark.parametrize("lots", [1, 2])
def test_an_amend_to_what_has_filled_ends_the_order(lots: int) -> None:
    """Nothing is left to work."""
    exchange = Exchange(touch=True)
    name = exchange.send(0, BUY, 5, 90)
    exchange.row(20, 90.0, 2.0)
    exchange.news()
    exchange.broker.amend(name, 30, lots=lots, limit_ticks=None)
    exchange.row(50, 100.0)
    assert exchange.news() == [("bt1", "cancelled", "amended_to_filled", 50, 70)]
    assert (exchange.broker.orders[name].filled_lots, exchange.held()) == (2, 2)
    assert exchange.broker.listings[SWAP.id].market.orders == []


def test_a_stop_without_a_limit_may_change_its_size() -> None:
    """There is no price to cross, and it goes on waiting."""
    exchange = Exchange()
    name = exchange.send(0, BUY, 5, stop=120)
    exchange.broker.amend(name, 1, lots=8, limit_ticks=None)
    exchange.row(21, 100.0)
    assert [row[2] for row in exchange.news()] == ["", "amended"]
    exchange.row(22, 120.0)
    exchange.row(23, 121.0)
    assert [fill.lots for fill in exchange.broker.fills] == [8]


# Bookings -----------------------------------------------------------------------------------------------------------


def test_a_fill_says_all_there_is_to_know() -> None:
    """With the fee of its role; the account is valued before it and after it."""
    exchange = Exchange(fees=Fees(maker_bps=10, taker_bps=50), touch=True)
    exchange.send(0, SELL, 5, 110, tag="exit")
    exchange.row(20, 110.0, 2.0, BUY, now_ns=33)
    exchange.row(40, 111.0, now_ns=55)
    first, second = exchange.broker.fills
    assert first == Fill(
        id=1,
        order_id="bt1",
        instrument=SWAP.id,
        side=SELL,
        price=110.0,
        qty=2.0,
        value=Decimal(22),
        fee=Decimal("0.022"),
        fee_currency="USDT",
        role="maker",
        filled_ns=20,
        revealed_ns=33,
        why="trade at the limit",
        tag="exit",
        lots=2,
        ticks=110,
    )
    assert (second.id, second.lots, second.filled_ns, second.revealed_ns) == (2, 3, 40, 55)
    assert exchange.calls == [
        ("before", 0),
        ("after", -2),
        ("before", -2),
        ("after", -5),
    ]
    assert exchange.portfolio.balance("USDT") == Decimal(100_000) - Decimal("0.055")
    assert [(row[1], row[4]) for row in exchange.news()] == [("accepted", 40), ("partly_filled", 40), ("filled", 60)]
    assert [report.fill for report in exchange.broker.reports] == [None, first, second]


def test_a_taker_pays_the_takers_fee() -> None:
    """Whatever moved it to take."""
    exchange = Exchange(fees=Fees(maker_bps=10, taker_bps=50))
    exchange.send(0, BUY, 5)
    exchange.row(20, 110.0)
    (fill,) = exchange.broker.fills
    assert (fill.role, fill.fee, fill.signed_lots) == ("taker", Decimal("0.275"), 5)


@pytest.mark.parametrize(
    ("price", "booked"),
    [(105.0, 10), (111.0, 9), (1_200.0, 0)],
)
def test_what_the_cash_does_not_pay_for_is_cancelled(price: float, booked: int) -> None:
    """A market buy of one coin was let in at 100 with 5 % to spare, of 110 that there are."""
    exchange = Exchange(SPOT, cash=110)
    exchange.send(0, BUY, 10, instrument=SPOT)
    exchange.row(20, price, instrument=SPOT)
    assert sum(fill.lots for fill in exchange.broker.fills) == booked
    last = [row[1:3] for row in exchange.news()][-1]
    assert last == (("filled", "") if booked == 10 else ("cancelled", "insufficient_cash"))
    assert exchange.broker.account.funds.locked("USDT") == 0
    assert exchange.portfolio.balance("USDT") >= 0


def test_a_reduce_only_order_never_turns_the_position() -> None:
    """Its excess is cancelled when it fills, and one that comes after is cancelled whole."""
    exchange = Exchange()
    exchange.send(0, BUY, 3)
    exchange.row(20, 100.0)
    exchange.send(30, SELL, 5, 110, reduce_only=True)
    exchange.send(30, SELL, 5, 110, reduce_only=True)
    exchange.row(50, 111.0)
    assert exchange.held() == 0
    assert [row[:3] for row in exchange.news()][4:] == [
        ("bt2", "partly_filled", ""),
        ("bt2", "cancelled", "reduce_only_position_closed"),
        ("bt3", "cancelled", "reduce_only_position_closed"),
    ]


@pytest.mark.parametrize(
    ("boundary_ns", "lots"),
    [
        (20, 0),  # the fill at 20 is not before 20
        (21, 3),
        (40, 3),
        (41, 8),
        (60, 8),
        (61, 4),
        (10_000, 4),
    ],
)
def test_the_position_at_a_boundary_is_what_fills_stamped_before_it_had_built(boundary_ns: int, lots: int) -> None:
    """However late they were revealed: funding is charged on it."""
    exchange = Exchange()
    exchange.send(0, BUY, 3)
    exchange.row(20, 100.0, now_ns=50)
    exchange.send(20, BUY, 5)
    exchange.row(40, 100.0, now_ns=55)
    exchange.send(40, SELL, 4)
    exchange.row(60, 100.0, now_ns=60)
    assert exchange.broker.qty_at(SWAP.id, boundary_ns) == lots


@pytest.mark.parametrize(("boundary_ns", "lots"), [(20, 0), (21, 3), (40, 3), (41, -1)])
def test_the_position_at_a_boundary_does_not_depend_on_the_clock_of_this_machine(boundary_ns: int, lots: int) -> None:
    """Which may be behind, so that fills are revealed before the exchange's own time of them."""
    exchange = Exchange()
    exchange.send(0, BUY, 3)
    exchange.row(20, 100.0, now_ns=1)
    exchange.send(20, SELL, 4)
    exchange.row(40, 100.0, now_ns=2)
    assert exchange.broker.qty_at(SWAP.id, boundary_ns) == lots


@pytest.mark.parametrize(("boundary_ns", "lots"), [(30, 0), (31, -4), (40, -4), (41, -1), (60, -1)])
def test_the_position_at_a_boundary_counts_fills_by_their_stamps_and_not_their_order(
    boundary_ns: int, lots: int
) -> None:
    exchange = Exchange()
    exchange.send(0, BUY, 3)
    exchange.row(40, 100.0, now_ns=45)
    exchange.send(5, SELL, 4)
    exchange.row(30, 100.0, now_ns=50)
    assert exchange.broker.qty_at(SWAP.id, boundary_ns) == lots


def test_an_instrument_that_never_traded_has_no_position_at_any_boundary() -> None:
    """Nothing to charge."""
    assert Exchange().broker.qty_at(SWAP.id, 100) == 0


# Two clocks ---------------------------------------------------------------------------------------------------------


class SlowClock(CallClock):
    """Lets calls be made at given moments."""

    def __init__(self, *moments: int) -> None:
        super().__init__()
        self._moments = list(moments)

    def moment_ns(self, now_ns: int) -> int:
        return self._moments.pop(0)


def ahead(offset_ns: int) -> SendClock:
    """Return a clock that is ahead of the exchange's from the beginning."""
    clock = SendClock()
    clock.step(0, offset_ns)
    return clock


def test_a_message_leaves_when_its_hook_has_sent_it_and_overtakes_none() -> None:
    """The second call is made before the first one's moment, the third before its row's time: neither can be."""
    exchange = Exchange(send_clock=SlowClock(1_000, 900, 5))
    name = exchange.send(0, BUY, 3, 90)
    exchange.broker.cancel(name, 10)
    exchange.broker.amend(name, 2_000, lots=1, limit_ticks=None)
    assert [decision.sent_ns for decision in exchange.broker.take_decisions()] == [1_000, 1_000, 2_000]
    exchange.row(1_019, 80.0)
    assert not exchange.is_quiet()
    exchange.row(1_020, 80.0)
    assert exchange.news() == [
        ("bt1", "accepted", "", 1_020, 1_040),
        ("bt1", "cancelled", "requested", 1_020, 1_040),
    ]


def test_an_order_says_when_it_left() -> None:
    exchange = Exchange(send_clock=SlowClock(70))
    assert exchange.broker.submit(order_of(1, BUY, 3, 90), 50) == 70


@pytest.mark.parametrize("offset_ns", [3_000, -3_000])
def test_arrivals_and_reports_are_converted_between_the_clocks(offset_ns: int) -> None:
    """20 there and 20 back, whichever clock is ahead."""
    exchange = Exchange(send_clock=ahead(offset_ns))
    exchange.send(10_000, BUY, 3)
    exchange.row(10_000 - offset_ns + 19, 95.0, now_ns=10_019)
    assert not exchange.is_quiet()
    exchange.row(10_000 - offset_ns + 20, 96.0, now_ns=10_020)
    (fill,) = exchange.broker.fills
    assert (fill.price, fill.filled_ns) == (96.0, 10_020 - offset_ns)
    assert [due_ns for *_, due_ns in exchange.news()] == [10_040, 10_040]


@pytest.mark.parametrize("offset_ns", [3_000, -3_000])
@pytest.mark.parametrize(("lag_ns", "due_ns"), [(None, 10_040), (5, 10_040), (50, 10_070)])
def test_a_quiet_market_is_looked_at_by_our_clock(offset_ns: int, lag_ns: int | None, due_ns: int) -> None:
    """When the report would be due, or as long after the arrival as rows are under way."""
    lag = None if lag_ns is None else lag_ns + offset_ns
    exchange = Exchange(send_clock=ahead(offset_ns), lag_ns=lag)
    exchange.send(10_000, BUY, 3, 90)
    assert exchange.wake_ns == due_ns
    exchange.life.advance(due_ns)
    assert exchange.news() == [("bt1", "accepted", "", 10_020 - offset_ns, due_ns)]


def test_a_step_of_the_offset_lets_no_message_overtake_another() -> None:
    """The second one would arrive 980 before the first; the offset in force is that of the engine's time."""
    clock = SendClock()
    clock.step(0, 0)
    clock.step(150, 1_000)
    exchange = Exchange(send_clock=clock)
    name = exchange.send(100, BUY, 3, 90)
    exchange.broker.cancel(name, 150)
    exchange.row(119, 95.0, now_ns=1_119)
    assert exchange.broker.reports == []
    exchange.row(120, 95.0, now_ns=1_120)
    assert exchange.news() == [("bt1", "accepted", "", 120, 1_140), ("bt1", "cancelled", "requested", 120, 1_140)]


def test_a_step_of_the_offset_lets_no_message_to_another_market_overtake_either() -> None:
    """Both draw on the same money."""
    clock = SendClock()
    clock.step(150, 1_000)
    exchange = Exchange(SWAP, ETH, send_clock=clock, latency_ns=20)
    exchange.send(100, BUY, 3, 90)
    exchange.broker.submit(order_of(2, BUY, 3, 90, instrument=ETH), 150)
    exchange.life.advance(10_000)
    assert [(name, at_ns) for name, _, _, at_ns, _ in exchange.news()] == [("bt1", 120), ("bt2", 120)]


def test_what_the_end_cancels_is_stamped_by_the_exchanges_clock() -> None:
    exchange = Exchange(send_clock=ahead(3_000))
    exchange.send(10_000, BUY, 3, 90)
    (report,) = exchange.finish(10_500)
    assert (report.at_ns, report.due_ns) == (7_500, 10_520)


# The end ------------------------------------------------------------------------------------------------------------


def test_the_end_cancels_what_is_open_and_returns_what_was_not_told() -> None:
    """Working orders, and those still on their way; nothing wakes anybody after it."""
    exchange = Exchange()
    exchange.send(0, BUY, 1, 90)
    exchange.send(0, BUY, 1)
    exchange.row(20, 100.0)
    assert len(exchange.news(40)) == 3
    exchange.send(30, BUY, 1, 90)
    exchange.broker.cancel("bt1", 31)
    exchange.row(45, 89.0, now_ns=45)
    reports = exchange.finish(47)
    # The first order filled at 45 and was not told of yet; its cancel never arrived.
    assert [(r.order_id, str(r.state), r.reason, r.at_ns) for r in reports] == [
        ("bt1", "filled", "", 45),
        ("bt3", "cancelled", "end_of_data", 47),
    ]
    assert exchange.wake_ns == NEVER_NS
    assert exchange.is_quiet()
    assert exchange.broker.listings[SWAP.id].market.orders == []
    assert all(order.state.is_final for order in exchange.broker.orders.values())
