"""Explained queues: the place on arrival less trades less cancels is what the model says, from raw rows, row by row."""

from pathlib import Path
from typing import Any

import pytest
from oracle import ahead

import quantkit as qk
from quantkit.clock import time_ns_of
from quantkit.feeds.replay import ReplayFeed
from quantkit.report.explain import ExplainedRow
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog

ROOT = Path(__file__).parents[2]
BTC = "binance:BTC-USDT-SWAP"
END = "2024-08-08T23:54:42Z"
MODELS = ("risk_averse", "front", "proportional", "power:2", "power2:2", "power3:3", "log", "log2")


class Joins(qk.Strategy):
    """Joins both queues every second, `back` levels behind the best, two orders at a time, and never cancels."""

    back: int = 0

    def on_start(self) -> None:
        self.subscribe_book(BTC)
        self.every("1s")

    def on_timer(self, name: str) -> None:
        book = self.book(BTC)
        if book is None:
            return
        for qty in (0.004, 0.003):
            self.buy(BTC, qty, price=book.bids[self.back][0], post_only=True)
            self.sell(BTC, qty, price=book.asks[self.back][0], post_only=True)


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    """Every book row and trade of the sample, by receipt; books come first at one moment."""
    found: list[Any] = []
    feed = ReplayFeed(Catalog(ROOT / "data"))
    for kind in ("book", "trade"):
        for block in feed.rows(Stream(kind, BTC), 0, time_ns_of(END)):
            found += block.events()
    return sorted(found, key=lambda row: row.received_ns)


def number(order_id: str) -> int:
    return int(order_id.removeprefix("bt"))


def lots(size: float | None) -> int | None:
    return None if size is None else round(size * 1000)


def moved(row: ExplainedRow) -> tuple[int, bool, int | None, int | None]:
    return row.received_ns, row.what == "trade", lots(row.ahead_before), lots(row.ahead)


@pytest.mark.parametrize("model", MODELS)
def test_the_rows_of_an_explanation_are_those_of_the_model(model: str, rows: list[Any]) -> None:
    """Each change of each place, in order; fills by trades are what exceeds the place and what others took."""
    result = qk.backtest(Joins, data=ROOT / "data", end=END, queue_model=model, cash={"USDT": 100_000}, match_on="book")
    makers = [fill.order_id for fill in result.outcome.fills if fill.role == "maker"]
    unfilled = [order.id for order in result.outcome.orders if order.state == "cancelled"]
    chosen = list(dict.fromkeys([*makers[:: max(1, len(makers) // 4)], *unfilled[:1]]))
    assert len(chosen) > 3
    changes = printed = 0
    for order_id in chosen:
        explained = result.explain(order_id)
        order, own = explained.order, explained.rows
        assert order.price is not None
        arrived = next(place for place, row in enumerate(own) if row.what == "arrived")
        event = next(each for each in result.outcome.order_events if each.order_id == order_id)
        start, moves, prints = ahead.walk(
            rows,
            is_buy=order.side == "buy",
            price=order.price,
            qty_step="0.001",
            arrived_ns=event.at_ns,
            looked_ns=own[arrived].received_ns,
            until_ns=own[-1].received_ns,
            model=model,
        )
        assert lots(own[arrived].ahead) == start
        found = [moved(row) for row in own[arrived + 1 :] if row.ahead_before != row.ahead]
        wanted = [(m.received_ns, m.is_trade, m.before, m.after) for m in moves if m.before != m.after]
        assert found == wanted
        # What stood in front on arrival, less prints, less shrinkage, is the place after every row.
        place = start
        for row in own[arrived + 1 :]:
            assert place is not None
            place -= (lots(row.prints) or 0) + (lots(row.cancels) or 0)
            assert place == lots(row.ahead)
            assert not (row.prints and row.what != "trade")
            assert not (row.cancels and row.what != "book")
        # A trade at the price fills what exceeds the place before it, less what orders before ours took of it.
        at = {each.received_ns: each for each in prints}
        for row in own[arrived + 1 :]:
            if row.what == "trade" and row.filled and row.price == order.price:
                theirs = sum(
                    fill.lots
                    for fill in result.outcome.fills
                    if (fill.revealed_ns, fill.side, fill.price) == (row.received_ns, order.side, order.price)
                    and number(fill.order_id) < number(order_id)
                )
                left = at[row.received_ns].lots - at[row.received_ns].before - theirs
                before = sum(lots(each.filled) or 0 for each in own[: own.index(row)])
                assert lots(row.filled) == min(left, order.lots - before)
                printed += 1
        changes += len(wanted)
    assert (changes == 0) if model == "front" else (changes > 15)
    assert printed > 0
