"""Queue models on a recorded book: a schedule of joins that nobody changes fills as the models order it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import quantkit as qk

ROOT = Path(__file__).parents[2]
BTC = "binance:BTC-USDT-SWAP"
MODELS = ("risk_averse", "power2:3", "log", "proportional", "power:2", "power3:3", "front")
#: Of each order the moments at which its size steps filled, in order.
Filled = dict[str, list[int]]


class Joins(qk.Strategy):
    """Joins both sides of the book every second, at the best price and up to three steps behind it."""

    def on_start(self) -> None:
        self.subscribe_book(BTC)
        self.subscribe_trades(BTC)
        self.every("1s")
        self.joined = 0

    def on_timer(self, name: str) -> None:
        book = self.book(BTC)
        if book is None or book.best_bid is None or book.best_ask is None:
            return
        behind = self.joined % 4 * 0.1
        self.joined += 1
        self.buy(BTC, 0.05, price=book.best_bid - behind)
        self.sell(BTC, 0.05, price=book.best_ask + behind)


def filled(**options: Any) -> Filled:
    """Return when the size steps of each order filled."""
    options = {"max_leverage": 1000, "start": "2024-08-08T23:58:00Z", "end": "2024-08-09", **options}
    result = qk.backtest(Joins, data=ROOT / "data", **options)
    found: Filled = {order.id: [] for order in result.outcome.orders}
    for fill in result.outcome.fills:
        found[fill.order_id] += [fill.filled_ns] * fill.lots
    return found


def no_sooner(one: Filled, other: Filled) -> bool:
    """Whether no size step of one run filled before the same one of the other."""
    assert one.keys() == other.keys()
    return all(
        len(moments) <= len(other[order])
        and all(late >= soon for late, soon in zip(moments, other[order], strict=False))
        for order, moments in one.items()
    )


def test_no_model_fills_before_front_or_after_risk_averse() -> None:
    by_model = {model: filled(queue_model=model) for model in MODELS}
    for model, found in by_model.items():
        assert no_sooner(by_model["risk_averse"], found), model
        assert no_sooner(found, by_model["front"]), model
    assert by_model["risk_averse"] != by_model["proportional"] != by_model["front"]


def test_nobody_fills_sooner_for_arriving_later() -> None:
    """Who arrives later stands behind at least as much as who was there, with every model."""
    for model in ("risk_averse", "proportional", "front"):
        by_latency = [filled(queue_model=model, latency_ms=late) for late in (1, 20, 300)]
        assert all(no_sooner(later, sooner) for sooner, later in pairwise(by_latency)), model
    assert by_latency[0] != by_latency[-1]


def test_a_trade_by_our_own_side_fills_us_only_where_that_is_asked() -> None:
    assert no_sooner(filled(own_side_prints=False), filled())
