"""Reduce-only orders by the exchange's rules: trimmed and displaced by those with a better price."""

from recording_sink import BUY, SELL, SWAP, order_of
from test_simulated_broker import Exchange

from quantkit.brokers.simulated.venue_gate import VenueGate
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderTerms, StopLoss, TakeProfit

SPOT = Instrument("BTC-USDT", price_step="1", qty_step="0.1")


class Ruled(Exchange):
    """An exchange with rules and a position of 3 contracts; messages take no time."""

    def __init__(self, held: int = 3, instrument: Instrument = SWAP) -> None:
        super().__init__(instrument, latency_ns=0, touch=True)
        market = self.life.listings[instrument.id].market
        market.venue = VenueGate(self.broker.account, None, self.life.position, stp_mode="cancel_maker")
        self.life.contingent.reduce_only.is_following = True
        self.now_ns = 0
        if instrument is SWAP and held:
            self.send(0, BUY if held > 0 else SELL, abs(held))
            self.row(1, 100.0)
        self.now_ns = 10

    def reduce(self, lots: int, limit: int | None = None, *, side: Side = SELL, **more: object) -> str:
        """Let a reduce-only order arrive."""
        self.now_ns += 10
        name = self.send(self.now_ns, side, lots, limit, reduce_only=True, **more)
        self.life.arrive(SWAP.id, self.now_ns, self.now_ns)
        return name

    def left(self, name: str) -> int:
        """Return what is open of an order."""
        order = self.broker.orders[name]
        return 0 if order.state.is_final else order.left

    def last(self, name: str) -> str:
        """Return the last news of an order."""
        report = [report for report in self.broker.reports if report.order_id == name][-1]
        return f"{report.state} {report.reason}".rstrip()


def test_the_timeline_of_the_page() -> None:
    """Of 3 contracts the better order gets its 2; a sale elsewhere takes the last one off the worse."""
    exchange = Ruled()
    worse = exchange.reduce(3, 105)
    better = exchange.reduce(2, 104)
    assert (exchange.left(worse), exchange.last(worse)) == (1, "accepted reduce_only_trimmed")
    assert exchange.last(better) == "accepted"
    exchange.send(50, SELL, 1)
    exchange.row(51, 100.0)
    assert exchange.last(worse) == "cancelled reduce_only_displaced"
    assert (exchange.left(better), exchange.last(better)) == (2, "accepted")


def test_a_new_order_that_is_worse_gets_what_is_left_or_nothing() -> None:
    exchange = Ruled()
    exchange.reduce(2, 104)
    trimmed = exchange.reduce(2, 105)
    assert (exchange.left(trimmed), exchange.last(trimmed)) == (1, "accepted reduce_only_trimmed")
    later = exchange.reduce(1, 105)
    assert exchange.last(later) == "rejected reduce_only_displaced"


def test_a_market_order_has_the_best_price() -> None:
    exchange = Ruled()
    resting = exchange.reduce(3, 105)
    exchange.reduce(2)
    assert (exchange.left(resting), exchange.last(resting)) == (1, "accepted reduce_only_trimmed")
    exchange.row(60, 100.0)
    assert exchange.left(resting) == 1
    assert exchange.held() == 1


def test_a_short_position_is_covered_by_the_highest_buys() -> None:
    exchange = Ruled(held=-3)
    worse, better = exchange.reduce(3, 95, side=BUY), exchange.reduce(2, 96, side=BUY)
    assert (exchange.left(worse), exchange.left(better)) == (1, 2)


def test_stops_that_wait_do_not_count() -> None:
    exchange = Ruled()
    stop, limit = exchange.reduce(3, stop=95), exchange.reduce(3, 105)
    assert (exchange.left(stop), exchange.left(limit)) == (3, 3)


def test_a_change_is_held_against_the_others() -> None:
    """A better price for the worse order takes the place of the other."""
    exchange = Ruled()
    first, second = exchange.reduce(2, 104), exchange.reduce(1, 105)
    exchange.broker.amend(second, 60, lots=3, limit_ticks=103)
    exchange.life.arrive(SWAP.id, 60, 60)
    assert (exchange.left(first), exchange.last(first)) == (0, "cancelled reduce_only_displaced")
    assert (exchange.left(second), exchange.last(second)) == (3, "accepted amended")


def test_a_target_of_a_bracket_gives_way_and_its_stop_stays() -> None:
    exchange = Ruled(held=0)
    terms = OrderTerms(stop_loss=StopLoss(95.0), take_profit=TakeProfit(110.0, 110.0))
    exchange.send(0, BUY, 3, terms=terms)
    exchange.row(1, 100.0)
    exchange.life.arrive(SWAP.id, 2, 2)
    exchange.reduce(3, 104)
    exchange.send(40, BUY, 1, 90)
    exchange.send(40, BUY, 1)
    exchange.row(41, 100.0)
    assert exchange.last("bt1tp") == "cancelled reduce_only_displaced"
    assert exchange.left("bt1sl") == 3


def test_without_rules_orders_stay_until_they_fill() -> None:
    exchange = Ruled()
    exchange.life.listings[SWAP.id].market.venue = None
    first, second = exchange.reduce(3, 105), exchange.reduce(3, 104)
    exchange.send(90, SELL, 1)
    exchange.row(91, 100.0)
    assert (exchange.left(first), exchange.left(second)) == (3, 3)


def test_spot_has_no_such_orders_to_cover() -> None:
    """Coins are sold as far as they are there."""
    exchange = Ruled(instrument=SPOT)
    exchange.broker.submit(order_of(1, BUY, 30, instrument=SPOT), 0)
    exchange.row(1, 100.0, instrument=SPOT)
    for number in (2, 3):
        exchange.broker.submit(order_of(number, SELL, 30, 105, instrument=SPOT, reduce_only=True), 5)
    exchange.broker.submit(order_of(4, SELL, 10, instrument=SPOT), 5)
    exchange.row(9, 100.0, instrument=SPOT)
    assert [exchange.left(name) for name in ("bt2", "bt3", "bt4")] == [30, 30, 0]


def test_positions_that_have_flipped_leave_orders_of_both_sides() -> None:
    """Those of the old side are displaced, those of the new one covered."""
    exchange = Ruled()
    old = exchange.reduce(3, 105)
    exchange.send(40, SELL, 8)
    exchange.row(41, 100.0)
    assert exchange.last(old) == "cancelled reduce_only_displaced"
    new = exchange.reduce(5, 95, side=BUY)
    assert (exchange.left(new), exchange.held()) == (5, -5)
