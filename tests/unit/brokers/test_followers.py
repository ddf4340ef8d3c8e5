"""Parts of the exchange that act on fills and ends, at their own instant and in their written order."""

from recording_sink import BUY, SELL, SWAP
from test_simulated_broker import Exchange

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions


class Follower:
    """Notes what it is told, and takes as much off another order as each fill has."""

    def __init__(self, name: str, notes: list[str], executions: Executions, *, is_following: bool = True) -> None:
        self.name = name
        self.is_following = is_following
        self.notes = notes
        self.executions = executions
        self.other: ExchangeOrder | None = None

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        self.notes.append(f"{self.name}: {order.id} filled {lots} at {at_ns}, is {order.state}")
        if self.other is not None:
            self.executions.reduce(self.other, lots, "oco", at_ns)

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None:
        self.notes.append(f"{self.name}: {order.id} ended {order.state} at {at_ns}")


def followed(**options: object) -> tuple[Exchange, list[str], tuple[Follower, Follower]]:
    """Return an exchange with two followers, and what they note."""
    exchange, notes = Exchange(**options), list[str]()  # type: ignore[arg-type]
    executions = exchange.life.executions
    followers = Follower("first", notes, executions), Follower("second", notes, executions)
    executions.followers = followers
    return exchange, notes, followers


def test_followers_are_told_in_their_order_at_the_instant_of_the_event() -> None:
    exchange, notes, _ = followed()
    bought = exchange.send(0, BUY, 2)
    resting = exchange.send(0, BUY, 1, 90)
    exchange.life.arrive(SWAP.id, 20, 20)
    exchange.life.listings[SWAP.id].trades.on_trade(100.0, 5.0, BUY, 30)
    exchange.broker.cancel(resting, 40)
    exchange.life.arrive(SWAP.id, 60, 60)
    assert notes == [
        f"first: {bought} filled 2 at 30, is filled",
        f"second: {bought} filled 2 at 30, is filled",
        f"first: {resting} ended cancelled at 60",
        f"second: {resting} ended cancelled at 60",
    ]


def test_one_that_follows_nothing_is_not_told() -> None:
    exchange, notes, (first, _) = followed()
    first.is_following = False
    exchange.send(0, BUY, 2)
    exchange.life.arrive(SWAP.id, 20, 20)
    exchange.life.listings[SWAP.id].trades.on_trade(100.0, 5.0, BUY, 30)
    assert [note.split(":")[0] for note in notes] == ["second"]


def test_an_order_is_made_smaller_by_a_fill_of_another_and_cancelled_when_nothing_is_left() -> None:
    exchange, notes, (first, _) = followed(touch=True)
    exchange.send(0, BUY, 3, 100)
    other = exchange.send(0, SELL, 3, 110)
    exchange.life.arrive(SWAP.id, 20, 20)
    first.other = exchange.broker.orders[other]
    trades = exchange.life.listings[SWAP.id].trades
    trades.on_trade(100.0, 2.0, SELL, 30)
    assert (first.other.lots, first.other.state, first.other.open_lots) == (1, "accepted", 1)
    trades.on_trade(100.0, 1.0, SELL, 40)
    assert (first.other.lots, first.other.state, first.other.open_lots) == (1, "cancelled", 0)
    assert [(r.at_ns, r.state, r.reason, r.lots) for r in exchange.broker.reports if r.order_id == other][1:] == [
        (30, "accepted", "oco", 1),
        (40, "cancelled", "oco", 1),
    ]
    assert notes[-1] == f"second: {exchange.broker.fills[-1].order_id} filled 1 at 40, is filled"


def test_an_order_that_a_follower_ends_by_its_own_fill_is_not_ended_twice() -> None:
    exchange, _, (first, _) = followed()
    exchange.send(0, BUY, 2)
    exchange.row(30, 100.0)
    sold = exchange.send(40, SELL, 4, reduce_only=True)
    exchange.life.arrive(SWAP.id, 70, 70)
    first.other = exchange.broker.orders[sold]
    exchange.life.listings[SWAP.id].trades.on_trade(100.0, 5.0, BUY, 80)
    assert [r.reason for r in exchange.broker.reports if r.order_id == sold and r.state == "cancelled"] == ["oco"]
