"""Options that matter on none of a run's data: named in its warnings, and the run is as it would be without."""

from typing import Any

import pytest
from sized_runs import SWAP

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Side

START_NS = time_ns_of("2026-01-01")
#: Each, as nobody has it by default.
GIVEN: dict[str, Any] = {
    "slippage_bps": 2,
    "max_share": 0.5,
    "touch": True,
    "excess_slippage_bps": 3,
    "queue_model": "front",
    "own_side_prints": False,
    "stale_after": "3s",
}


class Idle(qk.Strategy):
    """Watches."""

    kind: str = "book"

    def on_start(self) -> None:
        if self.kind == "candle":
            self.subscribe_candles(SWAP.id, "1m")
        else:
            {"book": self.subscribe_book, "ticker": self.subscribe_tickers, "trade": self.subscribe_trades}[self.kind](
                SWAP.id
            )


def event(kind: str, number: int) -> MarketEvent:
    at_ns = START_NS + number * NS_PER_S
    match kind:
        case "book":
            return BookUpdate(SWAP.id, at_ns, at_ns, (100.0,), (5.0,), (101.0,), (5.0,), not number)
        case "ticker":
            return Ticker(SWAP.id, at_ns, at_ns, 100.0, 5.0, 101.0, 5.0)
        case "trade":
            return Trade(SWAP.id, at_ns, at_ns, 100.0, 1.0, Side.BUY, number)
    open_ns = START_NS + number * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    return Candle(SWAP.id, close_ns, close_ns, open_ns, close_ns, 100.0, 101.0, 99.0, 100.0, 5.0, "1m")


def run(kind: str, **options: Any) -> list[str]:
    """Return what the warnings of a run say of options."""
    feed = MemoryFeed([event(kind, number) for number in range(5)], [SWAP])
    result = qk.backtest(Idle, params={"kind": kind}, data=feed, match_on=kind, cash={"USDT": 1_000}, **options)
    return [said for said in result.warnings if "without effect" in said]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (
            "book",
            [
                "a book, not on trades or candles: slippage_bps, max_share",
                "a book, not on trades: touch",
                "a book, not on tickers: excess_slippage_bps",
            ],
        ),
        ("ticker", ["tickers, not on trades or candles: slippage_bps, max_share", "tickers, not on trades: touch"]),
        (
            "trade",
            [
                "trades, not on tickers: excess_slippage_bps",
                "trades, not on tickers or a book: queue_model, stale_after",
            ],
        ),
        (
            "candle",
            [
                "candles, not on trades: touch",
                "candles, not on tickers: excess_slippage_bps",
                "candles, not on tickers or a book: queue_model, stale_after",
                "candles, not on trades or tickers or a book: own_side_prints",
            ],
        ),
    ],
)
def test_what_has_no_effect_is_named(kind: str, named: list[str]) -> None:
    """By the data that match the orders; an option that is as by default is none."""
    assert run(kind, **GIVEN) == [f"without effect, since orders are matched on {each}" for each in named]
    assert run(kind) == []
