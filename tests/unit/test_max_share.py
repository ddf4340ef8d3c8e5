"""Orders that fill at most a share of a row's volume: by hand, on trades and on candles."""

from typing import Any

import msgspec
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError
from quantkit.events import Candle, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side

BTC = "BTC-USDT-SWAP"
SWAP = Instrument(BTC, kind="swap", price_step="1", qty_step="1")
START_NS = time_ns_of("2026-01-01")


class Once(qk.Strategy):
    """Sends one order at the first row."""

    candles: bool = False
    side: str = "buy"
    qty: float = 5.0
    price: float = 0.0
    stop_price: float = 0.0
    time_in_force: str = "GTC"

    def on_start(self) -> None:
        if self.candles:
            self.subscribe_candles(BTC, "1m")
        else:
            self.subscribe_trades(BTC)
        self.is_sent = False

    def on_trade(self, trade: qk.Trade) -> None:
        self.send()

    def on_candle(self, candle: qk.Candle) -> None:
        self.send()

    def send(self) -> None:
        if not self.is_sent:
            self.is_sent = True
            call = self.buy if self.side == "buy" else self.sell
            call(
                BTC,
                self.qty,
                price=self.price or None,
                stop_price=self.stop_price or None,
                time_in_force=self.time_in_force,
            )


def filled(rows: list[Any], share: float | None, **order: Any) -> tuple[list[tuple[int, float, float]], str]:
    """Return (second, size, price) of each fill, and the reason of the last report."""
    is_candle = isinstance(rows[0], Candle)
    result = qk.backtest(
        Once(candles=is_candle, **order),
        data=MemoryFeed(rows, [SWAP]),
        max_share=share,
        latency_ms=None if is_candle else 1,
        cash={"USDT": 1e6},
        fees=qk.Fees(),
    )
    fills = [((fill.filled_ns - START_NS) // NS_PER_S, fill.qty, fill.price) for fill in result.outcome.fills]
    return fills, result.outcome.order_events[-1].reason


def trades(*prints: tuple[float, float, Side]) -> list[Any]:
    """Return a trade every second."""
    stamps = [START_NS + number * NS_PER_S for number in range(len(prints))]
    return [Trade(BTC, at, at, *what, number) for number, (at, what) in enumerate(zip(stamps, prints, strict=True))]


def candles(*bars: tuple[float, float, float, float, float]) -> list[Any]:
    """Return a candle a minute: open, high, low, close, volume."""
    found = []
    for number, bar in enumerate(bars):
        open_ns = START_NS + number * NS_PER_MIN
        close_ns = open_ns + NS_PER_MIN
        found.append(Candle(BTC, close_ns, close_ns, open_ns, close_ns, *bar, "1m"))
    return found


B, S = Side.BUY, Side.SELL
TRADES = [(100, 50, B), (101, 20, B), (102, 9, B), (103, 15, B), (104, 40, B)]


def test_a_market_order_goes_on_with_the_next_trades() -> None:
    assert filled(trades(*TRADES), 0.1)[0] == [(1, 2, 101), (3, 1, 103), (4, 2, 104)]
    assert filled(trades(*TRADES), 0.5)[0] == [(1, 5, 101)]
    assert filled(trades(*TRADES), None)[0] == [(1, 5, 101)]


def test_the_rest_of_an_ioc_order_ends_and_a_fok_order_is_whole_or_nothing() -> None:
    assert filled(trades(*TRADES), 0.1, time_in_force="IOC") == ([(1, 2, 101)], "ioc_unfilled")
    assert filled(trades(*TRADES), 0.1, time_in_force="FOK") == ([], "fok_unfilled")
    assert filled(trades(*TRADES), 0.25, time_in_force="FOK") == ([(1, 5, 101)], "")


def test_a_limit_takes_once_and_rests_with_what_is_left() -> None:
    rows = trades((100, 50, B), (101, 20, B), (102, 90, B), (104, 20, S), (102, 30, S))
    # The limit of 103 is beyond the last price: it takes at 101, then rests at 103, which 102 goes through.
    assert filled(rows, 0.1, qty=8.0, price=103.0)[0] == [(1, 2, 101), (2, 6, 103)]
    resting = trades((100, 50, B), (97, 20, S), (98, 90, S), (96, 10, S), (97, 30, S))
    assert filled(resting, 0.1, qty=6.0, price=98.0)[0] == [(1, 2, 98), (3, 1, 98), (4, 3, 98)]


def test_a_touch_is_shared_too() -> None:
    rows = trades((100, 50, B), (98, 30, S), (98, 8, S), (98, 40, S))
    result = qk.backtest(
        Once(price=98.0), data=MemoryFeed(rows, [SWAP]), max_share=0.1, touch=True, latency_ms=1, cash={"USDT": 1e6}
    )
    assert [fill.qty for fill in result.outcome.fills] == [3, 2]


BARS = [(100, 105, 95, 100, 20), (101, 106, 96, 102, 30), (103, 108, 98, 104, 10), (105, 109, 90, 105, 80)]


def test_an_open_counts_by_the_candle_before() -> None:
    assert filled(candles(*BARS), 0.1)[0] == [(60, 2, 101), (120, 3, 103)]


def test_what_an_open_filled_counts_against_the_range_of_its_candle() -> None:
    # A sale at 99: the open of 101 is beyond it and fills two, the range of volume 30 one more, the next open three.
    # What did not take stands at 99.
    rows, order = candles(*BARS), {"side": "sell", "qty": 6.0, "price": 99.0}
    assert filled(rows, 0.1, **order)[0] == [(60, 2, 101), (120, 1, 99), (120, 3, 99)]


def test_what_is_left_of_a_resting_limit_fills_at_the_limit_whatever_opens() -> None:
    """The market came to it in a range, or by a gap: from then on it has stood there."""
    bars = [(100, 101, 99, 100, 50), (100, 104, 99, 103, 20), (108, 109, 107, 108, 50), (112, 113, 111, 112, 90)]
    order = {"side": "sell", "qty": 14.0, "price": 102.0}
    # Two in the range, two at the open of 108 by the volume of 20, three in its range, five at the open of 112.
    fills = [(120, 2, 102), (120, 2, 102), (180, 3, 102), (180, 5, 102)]
    assert filled(candles(*bars), 0.1, **order)[0] == [*fills, (240, 2, 102)]
    # A gap is the first to be beyond it: the open fills at its own price, and what is left at the limit.
    bars[1] = (100, 101, 99, 100, 20)
    assert filled(candles(*bars), 0.1, **order)[0] == [(120, 2, 108), (180, 3, 102), (180, 5, 102), (240, 4, 102)]
    assert filled(candles(*bars), None, **order)[0] == [(120, 14, 108)]
    # Also where the share leaves nothing for the open.
    bars[1] = (100, 101, 99, 100, 1)
    assert filled(candles(*bars), 0.1, **order)[0] == [(180, 5, 102), (180, 5, 102), (240, 4, 102)]


def test_a_purchase_of_coins_is_judged_at_the_open_for_what_the_open_fills() -> None:
    """Ten coins at 0.1 of 20: two are taken at a time, and pay the slippage of two."""
    spot = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
    bars = [(100, 101, 99, 100, 20), (100, 111, 99, 110, 20), (110, 111, 99, 100, 20), *[(100, 101, 99, 100, 20)] * 8]
    rows = [msgspec.structs.replace(row, instrument="BTC-USDT") for row in candles(*bars)]

    class Buys(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_candles("BTC-USDT", "1m")
            self.rows = 0

        def on_candle(self, candle: qk.Candle) -> None:
            self.rows += 1
            if self.rows == 3:
                self.buy("BTC-USDT", 10)

    result = qk.backtest(
        Buys(), data=MemoryFeed(rows, [spot]), max_share=0.1, slippage="sqrt:1", cash={"USDT": 1_050}, fees=qk.Fees()
    )
    assert [fill.qty for fill in result.outcome.fills] == [2, 2, 2, 2, 2]
    assert all(fill.price < 105 for fill in result.outcome.fills)


def test_a_stop_goes_on_at_the_next_open() -> None:
    # Sent at 00:01; the range of the second candle reaches 106 and fills three of five there.
    assert filled(candles(*BARS), 0.1, stop_price=106.0)[0] == [(120, 3, 106), (120, 2, 103)]


def test_a_volume_that_nobody_knows_caps_nothing() -> None:
    bars = [(*bar[:4], float("nan")) for bar in BARS]
    assert filled(candles(*bars), 0.1)[0] == [(60, 5, 101)]


@pytest.mark.parametrize("share", [0, -0.1, 1.5, "much", float("nan")])
def test_what_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_share is .* give a share of the volume"):
        filled(trades(*TRADES), share)


@pytest.mark.parametrize(("share", "warned"), [(None, True), (0.1, False), (0.25, False)])
def test_the_result_says_the_share_and_warns_only_where_it_is_passed(share: float | None, warned: bool) -> None:
    result = qk.backtest(Once(), data=MemoryFeed(trades(*TRADES), [SWAP]), max_share=share, cash={"USDT": 1e6})
    said = f"on trades and candles, orders fill at most {share} of a row's volume"
    assert (said in result.assumptions) is (share is not None)
    end = ", which does not cap fills on trades" if share is None else ""
    size = {None: 25, 0.1: 10, 0.25: 25}[share]
    largest = f"{BTC}: the largest fill was {size}.00% of its trade's volume{end}"
    assert largest in (result.warnings if warned else result.assumptions)


def test_a_fill_above_the_share_says_by_which_volume_it_was_capped() -> None:
    """An open of 4 by the 40 of the candle before, in one of 10."""
    rows = candles((100, 100, 100, 100, 40), (100, 100, 100, 100, 10), (100, 100, 100, 100, 10))
    result = qk.backtest(Once(candles=True), data=MemoryFeed(rows, [SWAP]), max_share=0.1, cash={"USDT": 1e6})
    said = f"{BTC}: the largest fill was 40.00% of its candle's volume; opens are capped by the candle before"
    assert said in result.warnings
