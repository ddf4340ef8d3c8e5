"""OKX's order rules in runs: what arrives is judged, market orders stop at bounds, and own orders never meet."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, Mark, MarketEvent, PriceLimit, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side

START_NS = time_ns_of("2026-01-01")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", source="capture", max_limit_qty="50")
SPOT = Instrument("BTC-USDT", price_step="1", qty_step="1", min_qty="2", source="capture")
Call = Callable[["Calls"], object]


class Calls(qk.Strategy):
    """Makes the calls of the n-th row, from 0."""

    instrument: str = SWAP.id
    kind: str = "book"

    def on_start(self) -> None:
        self.seen = 0
        self.sent: list[qk.Order] = []
        if self.kind == "candle":
            self.subscribe_candles(self.instrument, "1m")
        else:
            calls = {"book": self.subscribe_book, "trade": self.subscribe_trades, "ticker": self.subscribe_tickers}
            calls[self.kind](self.instrument)

    def on_book(self, book: qk.Book) -> None:
        self.act()

    def on_trade(self, trade: qk.Trade) -> None:
        self.act()

    def on_candle(self, candle: qk.Candle) -> None:
        self.act()

    def on_ticker(self, ticker: qk.Ticker) -> None:
        self.act()

    def act(self) -> None:
        for call in self.calls.get(self.seen, ()):
            call(self)
        self.seen += 1

    def send(self, side: str, qty: float, price: float | None = None, **more: Any) -> None:
        call = self.buy if side == "buy" else self.sell
        self.sent.append(call(self.instrument, qty, price=price, **more))


def buys(qty: Any, price: float | None = None, **more: Any) -> Call:
    return lambda strategy: strategy.send("buy", qty, price, **more)


def sells(qty: float, price: float | None = None, **more: Any) -> Call:
    return lambda strategy: strategy.send("sell", qty, price, **more)


def amends(number: int, **more: float) -> Call:
    return lambda strategy: strategy.amend(strategy.sent[number], **more)


def cancels(number: int) -> Call:
    return lambda strategy: strategy.cancel(strategy.sent[number])


def book(at_s: float, bids: dict[float, float], asks: dict[float, float], *, of: str = SWAP.id) -> MarketEvent:
    at_ns = START_NS + round(at_s * NS_PER_S)
    sides = (tuple(bids), tuple(bids.values()), tuple(asks), tuple(asks.values()))
    return BookUpdate(of, at_ns, at_ns, *sides, is_snapshot=True)


def limit(
    at_s: float, highest: float | None, lowest: float | None, *, on: bool = True, of: str = SWAP.id
) -> MarketEvent:
    at_ns = START_NS + round(at_s * NS_PER_S)
    return PriceLimit(of, at_ns, at_ns, highest, lowest, on)


def still(rows: int = 6) -> list[MarketEvent]:
    """Return a book that stands: bids 99 x 5, 98 x 5, asks 101 x 5, 102 x 5, 103 x 5."""
    bids, asks = {99.0: 5.0, 98.0: 5.0}, {101.0: 5.0, 102.0: 5.0, 103.0: 5.0}
    return [book(at, bids, asks) for at in range(rows)]


def run(
    rows: Sequence[MarketEvent],
    calls: dict[int, list[Call]],
    *,
    of: Instrument = SWAP,
    block_rows: int = 131_072,
    **options: Any,
) -> tuple[list[str], qk.Result]:
    """Return what is said of each order, and the result; the same with the search off."""
    kind = {Candle: "candle", Trade: "trade", Ticker: "ticker"}.get(type(rows[-1]), "book")
    told, results = [], []
    for search in (True, False):
        strategy = Calls(instrument=of.id, kind=kind)
        strategy.calls = calls
        defaults = {"cash": {"USDT": 1e6, "BTC": 100.0} if of.is_spot else {"USDT": 1e6}, "fees": qk.Fees()}
        feed = MemoryFeed(list(rows), [of], block_rows=block_rows)
        latency_ms = None if kind == "candle" else 1
        result = qk.backtest(strategy, data=feed, latency_ms=latency_ms, search=search, **{**defaults, **options})
        orders = result.outcome.orders
        told.append([said_of(order) for order in orders])
        results.append(result)
    assert told[0] == told[1]
    assert results[0].outcome.fills == results[1].outcome.fills
    return told[0], results[0]


def said_of(order: qk.Order) -> str:
    """Return an order as `state filled reason`; open where nothing but the end of the data ended it."""
    if order.reason == "end_of_data":
        return f"open {order.filled_qty:g}"
    return f"{order.state} {order.filled_qty:g} {order.reason}".strip()


def fills(result: qk.Result) -> list[tuple[str, float, float]]:
    return [(fill.side.value, fill.qty, fill.price) for fill in result.outcome.fills]


# What is judged on arrival ------------------------------------------------------------------------------------------


def test_an_order_outside_the_price_limit_is_refused() -> None:
    """Only the side that would take is bounded, and only by what was told before the order arrived."""
    rows = [limit(0.5, 102, 98), *still(), limit(3.5, None, None)]
    told, result = run(rows, {1: [buys(1, 103), buys(1, 50), sells(1, 97), sells(1, 400)]})
    assert told == [
        "rejected 0 51006: price is outside the price limit",
        "open 0",
        "rejected 0 51006: price is outside the price limit",
        "open 0",
    ]
    assert "orders are judged by OKX's order rules" in result.assumptions[-1]
    assert "not known and not judged: state" in result.assumptions[-1]
    assert "price limit" not in result.assumptions[-1]


@pytest.mark.parametrize(
    "rows",
    [[], [limit(0.5, 102, 98, on=False)], [limit(0.5, None, None)], [limit(1.5, 102, 98)]],
    ids=["none", "not enforced", "without numbers", "told later"],
)
def test_without_a_price_limit_nothing_is_said_of_prices(rows: list[MarketEvent]) -> None:
    """What is not known refuses nothing; the assumptions say what is not known."""
    told, result = run([*rows, *still()], {1: [buys(1, 103)]})
    assert told == ["filled 1"]
    assert ("price limit" in result.assumptions[-1]) is not rows


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([limit(-4_000, 102, 98)], "rejected 0 51006: price is outside the price limit"),
        ([limit(-4_000, 102, 98), limit(-3_000, None, 98)], "filled 1"),
    ],
    ids=["one", "a later one without a highest price"],
)
def test_the_limit_told_last_before_the_start_holds(before: list[MarketEvent], expected: str) -> None:
    """What has not changed is not told again."""
    told, result = run([*before, *still()], {1: [buys(1, 103)]})
    assert told == [expected]
    assert result.outcome.start_ns == START_NS


def test_a_limit_of_an_earlier_batch_still_holds() -> None:
    """The rows of a batch go, its last limit stays."""
    rows = [limit(0.5, 102, 98), *still(40)]
    told, _ = run(rows, {30: [buys(7), buys(1, 103)]}, block_rows=4)
    assert told == ["filled 7", "rejected 0 51006: price is outside the price limit"]


def test_changes_are_judged_too_and_leave_the_order_when_refused() -> None:
    """A change of the size alone does not ask for the price again."""
    rows = [
        limit(0.5, 102, 98),
        *still(),
        limit(3.5, 90, 80),
        *[book(at, {1.0: 1.0}, {200.0: 1.0}) for at in (7, 8, 9)],
    ]
    told, result = run(
        rows, {1: [buys(2, 95)], 2: [amends(0, price=103)], 6: [amends(0, qty=1)], 7: [amends(0, price=94)]}
    )
    reasons = [order.reason for order in result.outcome.order_events if order.order_id == "bt1"]
    refused = "amend_refused: 51006: price is outside the price limit"
    assert reasons[1:4] == [refused, "amended", refused]
    assert told[0] == "open 0"


def test_reduce_only_orders_have_to_fit_the_position() -> None:
    """Too large is refused whole; a stop is not judged before it is set off."""
    calls = {
        1: [sells(1, reduce_only=True)],
        2: [buys(3)],
        3: [buys(1, 90, reduce_only=True), sells(4, 120, reduce_only=True), sells(3, 120, reduce_only=True)],
        4: [amends(4, qty=5), sells(9, stop_price=50, reduce_only=True)],
    }
    told, result = run(still(8), calls)
    assert [each.partition(":")[0] for each in told] == [
        "rejected 0 51169",
        "filled 3",
        "rejected 0 51170",
        "rejected 0 51148",
        "open 0",
        "open 0",
    ]
    assert "amend_refused: 51171" in [event.reason.rpartition(":")[0] for event in result.outcome.order_events]


def test_a_trailing_stop_is_not_judged_before_it_is_set_off() -> None:
    """Neither is its position, which may still come; without one it does nothing when it goes off."""
    sale = sells(1, trailing_offset=2, reduce_only=True)
    assert run([trade(at, 100) for at in range(6)], {1: [sale]})[0] == ["open 0"]
    rows = [trade(at, price) for at, price in enumerate((100, 100, 100, 97, 97, 97))]
    assert run(rows, {1: [sale]})[0] == ["cancelled 0 reduce_only_displaced"]
    assert run(rows, {1: [sale]}, venue_rules="off")[0] == ["cancelled 0 reduce_only_position_closed"]


@pytest.mark.parametrize("source", ["mark", "index"])
def test_orders_that_wait_for_an_index_that_never_comes_are_named(source: str) -> None:
    """Nothing could set them off: the run says so."""
    marks = [Mark(SWAP.id, START_NS + at * NS_PER_S, START_NS + at * NS_PER_S, 100.0, source) for at in range(6)]
    marks += [Mark(SWAP.id, START_NS, START_NS, 100.0, "mark")]
    rows = sorted([*marks, *[trade(at, 100) for at in range(6)]], key=lambda row: row.received_ns)
    told, result = run(rows, {1: [sells(1, stop_price=95, trigger_type="index")]}, block_rows=2)
    assert told == ["open 0"]
    said = [line for line in result.assumptions if "no row of the index came" in line]
    assert [line.split(":")[0] for line in said] == ([SWAP.id] if source == "mark" else [])


def book_with(at_s: float, ask: float) -> MarketEvent:
    return book(at_s, {99.0: 5.0}, {ask: 1.0, 105.0: 10.0})


def test_a_limit_that_goes_off_outside_the_price_limit_is_refused_then() -> None:
    """As it would be, sent directly."""
    rows = [limit(0.5, 101, 99), *[book_with(at, 100) for at in range(3)], book_with(3, 101), book_with(4, 101)]
    told, result = run(rows, {1: [buys(3, 120, stop_price=101), buys(3, 120), buys(3, 101, stop_price=101)]})
    refused = "51006: price is outside the price limit"
    assert told == [f"cancelled 0 {refused}", f"rejected 0 {refused}", "open 1"]
    assert fills(result) == [("buy", 1, 101)]


@pytest.mark.parametrize("trigger_price", [103, 100])
def test_on_candles_a_limit_that_goes_off_outside_the_price_limit_is_refused_too(trigger_price: float) -> None:
    """By a range, or by the close that stands as it comes."""
    rows = [limit(1, 101, 98), *[candle(n, 100 + n, 101 + n) for n in range(5)]]
    told, _ = run(rows, {0: [buys(1, 120, stop_price=trigger_price)]})
    assert told == ["cancelled 0 51006: price is outside the price limit"]


def test_a_limit_that_the_mark_sets_off_outside_the_price_limit_is_refused_too() -> None:
    marks = [Mark(SWAP.id, START_NS + at * NS_PER_S, START_NS + at * NS_PER_S, 100.0 + at, "mark") for at in range(6)]
    rows = sorted([limit(0.5, 101, 98), *marks, *[trade(at, 100) for at in range(6)]], key=lambda row: row.received_ns)
    told, _ = run(rows, {1: [buys(1, 120, stop_price=103, trigger_type="mark")]})
    assert told == ["cancelled 0 51006: price is outside the price limit"]


def test_the_limit_of_a_stop_loss_is_put_on_the_price_limit() -> None:
    """The position keeps its stop, which fills no further than the exchange lets anybody."""
    rows = [limit(0.5, 110, 97), *[trade(at, price) for at, price in enumerate((100, 100, 100, 100, 98, 96, 98))]]
    _, result = run(rows, {1: [buys(1, stop_loss=qk.StopLoss(98, limit=90))]})
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 97)]
    stop = result.outcome.orders[1]
    assert (stop.price, stop.state) == (97, "filled")
    assert "price_limit" in [event.reason for event in result.outcome.order_events]


def test_sizes_above_the_largest_and_below_the_smallest() -> None:
    """OKX's code stands in place of our own reason; with the rules off ours comes back, and nothing is too large."""
    assert run(still(), {1: [buys(51, 90)]})[0] == ["rejected 0 51203: size is above the largest limit order"]
    assert run(still(), {1: [buys(51, 90)]}, venue_rules="off")[0] == ["open 0"]
    on_spot = [book(at, {99.0: 5.0}, {101.0: 5.0}, of=SPOT.id) for at in range(4)]
    assert run(on_spot, {1: [buys(1)]}, of=SPOT)[0] == ["rejected 0 51020: size is below the smallest order"]
    assert run(on_spot, {1: [buys(1)]}, of=SPOT, venue_rules="off")[0] == ["rejected 0 below_min_qty"]


def test_a_purchase_by_amount_has_no_size_to_judge() -> None:
    """As OKX takes market buys on spot: its value is what is bounded."""
    listed = Instrument.from_dict({**SPOT.to_dict(), "max_market_value": "500"})
    rows = [book(at, {99.0: 5.0}, {101.0: 9.0}, of=SPOT.id) for at in range(4)]
    calls = {1: [buys(qk.Cash(450), at="fill"), buys(qk.Cash(501), at="fill")]}
    told, result = run(rows, calls, of=listed)
    assert told == ["filled 4", "rejected 0 51201: value is above the largest market order"]
    assert fills(result) == [("buy", 4, 101)]


def test_sixty_requests_of_a_kind_in_two_seconds() -> None:
    """New orders, changes and cancels have a window each; a refused cancel may be sent once more."""
    calls = {
        1: [buys(1, 50)] * 61,
        2: [amends(0, price=50.0 - number % 2) for number in range(61)],
        3: [cancels(number) for number in range(60)],
        4: [buys(1, 50), buys(1, 49)],
        5: [cancels(60)],
    }
    rows = [book(at, {99.0: 5.0}, {101.0: 5.0}) for at in (0, 1, 1.5, 2, 3.5, 4, 5, 6)]
    told, result = run(rows, calls)
    assert told[59:61] == ["cancelled 0 requested", "rejected 0 50011: " + RATE]
    events = [event.reason for event in result.outcome.order_events]
    assert events.count("amended") == 60
    assert events.count("amend_refused: 50011: " + RATE) == 1
    assert told[61:] == ["open 0"] * 2


RATE = "more than 60 requests of one kind for the instrument within 2 s"


def test_a_cancel_too_many_is_refused_and_may_be_sent_again() -> None:
    """The order stays open until a cancel gets through."""
    many = [buys(1, 50)] * 60
    rows = [book(at, {99.0: 5.0}, {101.0: 5.0}) for at in (0, 1, 4, 5, 6, 9, 10)]
    calls = {1: many, 2: [buys(1, 49)], 3: [cancels(number) for number in range(61)], 5: [cancels(60)]}
    told, result = run(rows, calls)
    assert told == ["cancelled 0 requested"] * 61
    refused = [event for event in result.outcome.order_events if event.reason.startswith("cancel_refused: 50011")]
    assert [event.order_id for event in refused] == ["bt61"]


def test_a_change_too_many_does_not_end_a_filled_order() -> None:
    """A change to what is filled would end the order, if it got through."""
    rows = [book(at, {99.0: 5.0}, {101.0: 2.0}) for at in (0, 1, 2, 3, 4, 5)]
    calls = {1: [buys(3, 101)], 3: [*[amends(0, price=100.0 + n % 2 - 1) for n in range(60)], amends(0, qty=2)]}
    told, _ = run(rows, calls)
    assert told[0] == "open 2"


def test_caps_on_open_orders() -> None:
    """The 501st is refused while 500 are open."""
    rows = [book(at, {99.0: 5.0}, {101.0: 5.0}) for at in range(0, 60, 3)]
    calls = {number: [buys(1, 50)] * 56 for number in range(1, 10)}
    told, _ = run(rows, {**calls, 11: [cancels(0)], 12: [buys(1, 50)]})
    assert told.count("rejected 0 51174: too many open orders in the instrument") == 4
    assert told[-1] == "open 0"


# Market orders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected", "filled"),
    [
        (buys(8), "cancelled 5 price_limit", [("buy", 5, 101)]),
        (buys(5), "filled 5", [("buy", 5, 101)]),
        (sells(8), "cancelled 5 price_limit", [("sell", 5, 99)]),
        (buys(8, 102), "filled 8", [("buy", 5, 101), ("buy", 3, 102)]),
        (buys(8, time_in_force="FOK"), "cancelled 0 fok_unfilled", []),
    ],
    ids=["buy", "within", "sell", "a limit", "fill or kill"],
)
def test_a_market_order_stops_at_the_price_limit(
    call: Call, expected: str, filled: list[tuple[str, float, float]]
) -> None:
    """On a swap it is a limit there. An order with a limit of its own was judged by it when it arrived."""
    band = limit(0.5, 102 if expected == "filled 8" else 101.5, 98.5)
    told, result = run([band, *still()], {1: [call]})
    assert (told, fills(result)) == ([expected], filled)


def test_on_spot_no_price_limit_stops_a_market_order() -> None:
    """It sweeps, up to 5 % from the best price."""
    asks = {100.0: 1.0, 105.0: 1.0, 106.0: 5.0}
    rows = [
        limit(0.5, 101, 98, of=SPOT.id),
        *[book(at, {99.0: 5.0, 95.0: 5.0, 94.0: 5.0}, asks, of=SPOT.id) for at in range(4)],
    ]
    told, result = run(rows, {1: [buys(4)], 2: [sells(12)]}, of=SPOT)
    assert told == ["cancelled 2 slippage", "cancelled 10 slippage"]
    assert fills(result)[:2] == [("buy", 1, 100), ("buy", 1, 105)]
    assert run(rows, {1: [buys(4)]}, of=SPOT, venue_rules="off")[0] == ["filled 4"]


def test_a_market_order_with_nothing_left_in_the_book_says_so() -> None:
    """A bound that was not reached is no reason."""
    told, _ = run([limit(0.5, 200, 50), *still()], {1: [buys(20)]})
    assert told == ["cancelled 15 no_liquidity"]


def trade(at_s: float, price: float, side: Side = Side.SELL) -> MarketEvent:
    at_ns = START_NS + round(at_s * NS_PER_S)
    return Trade(SWAP.id, at_ns, at_ns, price, 9.0, side)


def test_on_trades_a_market_order_outside_the_limit_is_cancelled() -> None:
    """The band holds where the slippage would lead out of it, too."""
    rows = [limit(0.5, 101, 98), *[trade(at, 100 + (at > 1)) for at in range(6)]]
    assert run(rows, {1: [buys(2)]})[0] == ["filled 2"]
    assert run(rows, {1: [buys(2)]}, slippage_bps=30)[0] == ["cancelled 0 price_limit"]
    assert run(rows, {1: [buys(2)]}, slippage_bps=30, venue_rules="off")[0] == ["filled 2"]


def test_a_share_of_a_trade_outside_the_limit_fills_nothing() -> None:
    """The order is cancelled whole, whatever the share."""
    rows = [limit(0.5, 101, 98), *[trade(at, 102) for at in range(6)]]
    assert run(rows, {1: [buys(2)]}, max_share=0.5)[0] == ["cancelled 0 price_limit"]


def test_what_a_share_leaves_of_a_market_order_goes_on_and_meets_ours_at_the_next_price() -> None:
    """It does not come to rest: our offer at 102 is met by the trade at 102, not by the one at 100."""
    rows = [trade(at, 102 if at > 3 else 100) for at in range(8)]
    told, result = run(rows, {0: [sells(1, 102)], 1: [buys(27)]}, max_share=1)
    assert told == ["cancelled 0 self_trade", "filled 27"]
    assert fills(result) == [("buy", 9, 100), ("buy", 9, 100), ("buy", 9, 102)]


def test_the_stop_of_a_bracket_waits_for_a_price_within_the_limit() -> None:
    """Its position is not left without it."""
    rows = [limit(0.5, 110, 98), *[trade(at, price) for at, price in enumerate((100, 100, 100, 100, 97, 97, 99, 99))]]
    told, result = run(rows, {1: [buys(1, stop_loss=98.5)]})
    assert fills(result) == [("buy", 1, 100), ("sell", 1, 99)]
    assert told == ["filled 1", "filled 1"]


def candle(minute: int, low: float, high: float) -> MarketEvent:
    open_ns = START_NS + minute * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    return Candle(SWAP.id, close_ns, close_ns, open_ns, close_ns, low, high, low, high, 10.0, "1m")


def test_on_candles_a_market_order_outside_the_limit_is_cancelled() -> None:
    """It would fill at the next open."""
    rows = [limit(1, 101, 98), *[candle(n, 100 + n, 101 + n) for n in range(5)]]
    told, _ = run(rows, {0: [buys(1)], 2: [buys(1)]})
    assert told == ["filled 1", "cancelled 0 price_limit"]


# Self-trade prevention ----------------------------------------------------------------------------------------------


def displayed() -> list[MarketEvent]:
    """Return the book of docs/order-rules.md: asks 100 x 3, 102 x 5; our offer joins when two of the three stand."""
    first, rest = {100.0: 2.0, 102.0: 5.0}, {100.0: 3.0, 102.0: 5.0}
    return [book(at, {90.0: 5.0}, first if at < 2 else rest) for at in range(6)]


@pytest.mark.parametrize(
    ("mode", "expected", "filled"),
    [
        ("cancel_maker", ["cancelled 0 self_trade", "filled 4"], [(2, 100), (1, 100), (1, 102)]),
        ("cancel_taker", ["open 0", "cancelled 2 self_trade"], [(2, 100)]),
        ("cancel_both", ["cancelled 0 self_trade", "cancelled 2 self_trade"], [(2, 100)]),
    ],
)
def test_a_taking_order_meets_our_own_behind_what_stands_before_it(
    mode: str, expected: list[str], filled: list[tuple[float, float]]
) -> None:
    """The table of the page."""
    told, result = run(displayed(), {0: [sells(2, 100)], 3: [buys(4)]}, stp_mode=mode)
    assert told == expected
    assert [(fill.qty, fill.price) for fill in result.outcome.fills] == filled


def test_an_order_that_is_filled_before_it_comes_so_far_meets_nobody() -> None:
    """Two of the three at 100 stand before ours."""
    told, _ = run(displayed(), {0: [sells(2, 100)], 3: [buys(2)]}, stp_mode="cancel_both")
    assert told == ["open 0", "filled 2"]


def test_an_offer_of_ours_before_the_display_is_met_before_anything_is_taken() -> None:
    """It stands alone at its price."""
    told, result = run(displayed(), {0: [sells(1, 95)], 3: [buys(3)]})
    assert (told, fills(result)) == (["cancelled 0 self_trade", "filled 3"], [("buy", 3, 100)])
    told, result = run(displayed(), {0: [sells(1, 95)], 3: [buys(3)]}, stp_mode="cancel_taker")
    assert (told, fills(result)) == (["open 0", "cancelled 0 self_trade"], [])


def test_fill_or_kill_counts_what_comes_before_ours_level_by_level() -> None:
    """Three at 100 and the four in front of ours at 102 come before it."""
    deep = [book(at, {90.0: 5.0}, {100.0: 3.0, 102.0: 4.0 + (at > 1)}) for at in range(6)]
    for qty, expected in ((7, "filled 7"), (8, "cancelled 0 self_trade")):
        calls = {0: [sells(1, 102)], 3: [buys(qty, 102, time_in_force="FOK")]}
        assert run(deep, calls, stp_mode="cancel_taker")[0] == ["open 0", expected]


def test_fill_or_kill_that_meets_none_of_ours_fills_whole() -> None:
    """Two levels are not enough for the ninth."""
    for qty, expected in ((8, "filled 8"), (9, "cancelled 0 fok_unfilled")):
        told, _ = run(displayed(), {3: [buys(qty, 102, time_in_force="FOK")]}, stp_mode="cancel_taker")
        assert told == [expected]


def quotes(asks: dict[float, float]) -> list[MarketEvent]:
    """Return a ticker that stands."""
    (ask, ask_qty), at_ns = next(iter(asks.items())), START_NS
    return [Ticker(SWAP.id, at_ns + n * NS_PER_S, at_ns + n * NS_PER_S, 99.0, 5.0, ask, ask_qty) for n in range(6)]


def test_beyond_a_ticker_nothing_fills_outside_the_limit() -> None:
    """The size that is not displayed fills worse than the one that is."""
    rows = [limit(0.5, 101.5, 98), *quotes({101.0: 2.0})]
    assert run(rows, {1: [buys(3)]}, excess_slippage_bps=100)[0] == ["cancelled 2 price_limit"]
    assert run(rows, {1: [buys(3)]}, excess_slippage_bps=100, venue_rules="off")[0] == ["filled 3"]


def test_a_better_price_of_ours_is_met_first() -> None:
    """The lower of our offers, before the display; then the one at the level of the display."""
    calls = {0: [sells(1, 100), sells(1, 95), sells(1, 97)], 3: [buys(3, 99)], 4: [buys(9, 100)]}
    told, result = run(displayed(), calls)
    assert told == ["cancelled 0 self_trade"] * 3 + ["open 0", "open 3"]
    assert fills(result) == [("buy", 2, 100), ("buy", 1, 100)]


@pytest.mark.parametrize(
    ("mode", "qty", "expected"),
    [
        ("cancel_taker", 4, "cancelled 0 self_trade"),
        ("cancel_taker", 2, "filled 2"),
        ("cancel_maker", 4, "filled 4"),
        ("cancel_both", 4, "rejected 0 54036: fill-or-kill with the self-trade prevention mode cancel_both"),
    ],
)
def test_fill_or_kill(mode: str, qty: float, expected: str) -> None:
    """What would end half-way is not begun."""
    told, _ = run(displayed(), {0: [sells(2, 100)], 3: [buys(qty, time_in_force="FOK", price=102)]}, stp_mode=mode)
    assert told[1] == expected


@pytest.mark.parametrize("rows", [still(8), [trade(at, 100) for at in range(8)]], ids=["book", "trades"])
def test_an_order_that_comes_to_rest_meets_ours_up_to_its_limit(rows: list[MarketEvent]) -> None:
    """Post-only orders are refused, changes count like new orders, and without the rules they rest crossed."""
    calls = {
        0: [sells(1, 100.0), sells(1, 100.5 + 0.5)],
        1: [buys(1, 100, post_only=True)],
        2: [buys(1, 99)],
        3: [amends(3, price=100)],
    }
    told, _ = run(rows, calls)
    assert told == [
        "cancelled 0 self_trade",
        "open 0",
        "rejected 0 post_only_would_take",
        "open 0",
    ]
    told, _ = run(rows, calls, stp_mode="cancel_taker")
    assert told[0] == "open 0"
    assert told[3] == "cancelled 0 self_trade"
    told, _ = run(rows, calls, venue_rules="off")
    assert "self_trade" not in " ".join(told)


def test_an_immediate_order_that_finds_nothing_but_ours() -> None:
    """It meets ours, and then it ends as ever."""
    rows = [trade(at, 100) for at in range(6)]
    told, _ = run(rows, {0: [sells(1, 100)], 2: [buys(1, 100, time_in_force="IOC")]})
    assert told == ["cancelled 0 self_trade", "cancelled 0 ioc_unfilled"]
    told, _ = run(rows, {0: [sells(1, 100)], 2: [buys(1, 100, time_in_force="IOC")]}, stp_mode="cancel_taker")
    assert told == ["open 0", "cancelled 0 self_trade"]


def test_on_trades_a_fill_meets_ours_at_its_price_or_better() -> None:
    """Our offer at 101 is not beyond the trade at 101, so it rests when the buy takes that trade."""
    rows = [trade(at, 101 if at > 1 else 100) for at in range(6)]
    told, _ = run(rows, {0: [sells(1, 101), sells(1, 102)], 2: [buys(1)]})
    assert told == ["cancelled 0 self_trade", "open 0", "filled 1"]
    told, _ = run(rows, {0: [sells(1, 101)], 2: [buys(1)]}, stp_mode="cancel_taker")
    assert told == ["open 0", "cancelled 0 self_trade"]


def test_a_taker_on_trades_that_comes_to_rest_after_all_meets_ours() -> None:
    """Its limit was beyond the last price, and the next price is not beyond its limit."""
    rows = [trade(at, price) for at, price in enumerate((100, 100, 100, 102, 102, 102))]
    calls = {0: [sells(1, 102)], 2: [buys(1, 102)]}
    assert run(rows, calls)[0] == ["cancelled 0 self_trade", "open 0"]
    assert run(rows, calls, max_share=0.01)[0] == ["cancelled 0 self_trade", "open 0"]


def test_what_a_share_leaves_of_a_limit_meets_ours_when_it_comes_to_rest() -> None:
    """The first trade fills one of three below our offer, and the rest stands at it."""
    rows = [trade(at, price) for at, price in enumerate((100, 100, 100, 100, 105, 105))]
    told, result = run(rows, {0: [sells(1, 101)], 2: [buys(3, 101)]}, max_share=0.12)
    assert told == ["cancelled 0 self_trade", "open 1"]
    assert fills(result) == [("buy", 1, 100)]


def test_orders_that_wait_for_the_next_price_are_not_met() -> None:
    """Two takers that wait meet the market, not each other."""
    rows = [trade(at, 100) for at in range(6)]
    told, _ = run(rows, {1: [buys(1), sells(1)]})
    assert told == ["filled 1", "filled 1"]


def test_on_a_stale_display_a_limit_waits_and_is_not_met() -> None:
    """Nobody knows whether it rests."""
    stale = [book(at, {99.0: 5.0}, {101.0: 5.0}) for at in (0, 1, 30, 31)]
    told, _ = run(stale, {1: [sells(1, 101)]})
    assert told == ["open 0"]
