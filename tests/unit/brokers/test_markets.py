"""The rules of orders on traded prices alone, trades or candles: a table or an example for each sentence of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from recording_sink import BUY, SELL, SWAP, RecordingSink, working

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import Market
from quantkit.brokers.simulated.price_band import OPEN_BAND, PriceBand
from quantkit.brokers.simulated.traded import CandleMarket, TradeMarket
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderState

#: Prices between two ticks can be written here: a tick is a half.
HALVES = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1", contract_value="0.1")


def trades(*, touch: bool = False, last: int | None = None, instrument: Instrument = SWAP) -> tuple[Any, RecordingSink]:
    """Return a market on trades whose last price is known, and its sink."""
    sink = RecordingSink()
    return _open(TradeMarket(instrument, sink, touch=touch), sink, last)


def candles(*, last: int | None = None, instrument: Instrument = SWAP) -> tuple[Any, RecordingSink]:
    """Return a market on candles whose last price is known, and its sink."""
    sink = RecordingSink()
    return _open(CandleMarket(instrument, sink), sink, last)


def _open(market: Market, sink: RecordingSink, last: int | None) -> tuple[Any, RecordingSink]:
    sink.market = market
    market.see(last)
    return market, sink


def arrive(market: Market, *orders: ExchangeOrder) -> None:
    """Let orders arrive one after the other, each at its own time."""
    for order in orders:
        market.arrive(order, order.arrived_ns)


def mirrored(side: Side, ticks: int | None) -> int | None:
    """Return a price of a table written for buys, seen from a side: sells look at it in a mirror at 100."""
    return ticks if side is BUY or ticks is None else 200 - ticks


both_sides = pytest.mark.parametrize("side", [BUY, SELL])
both_markets = pytest.mark.parametrize("open_market", [trades, candles])


def pass_by(market: Any, price: float, at_ns: int = 10) -> None:
    """Let a price go by as a trade that nobody's queue cares for, or as a candle that never moves."""
    if isinstance(market, TradeMarket):
        market.on_trade(price, 1.0, BUY, at_ns)
    else:
        market.on_open(price, at_ns, open_ns=at_ns)


# An order's own arithmetic ------------------------------------------------------------------------------------------


@both_sides
def test_what_an_order_allows_lies_beyond_and_sets_off(side: Side) -> None:
    """A limit allows itself and better, only better is beyond it; a stop is set off by itself and worse."""
    order = working(1, side, 5, mirrored(side, 101), stop=mirrored(side, 103))
    prices = [mirrored(side, ticks) for ticks in (99, 100, 101, 102, 103, 104)]
    assert [order.allows(ticks) for ticks in prices] == [True, True, True, False, False, False]
    assert [order.is_beyond(ticks) for ticks in prices] == [True, True, False, False, False, False]
    assert order.trigger is not None
    assert [order.trigger.is_reached(ticks, ticks) for ticks in prices] == [False, False, False, False, True, True]
    assert all(working(2, side, 5).allows(ticks) for ticks in prices)


def test_a_new_order_is_pending_and_a_stop_is_not_yet_set_off() -> None:
    """Size that is filled is no longer left."""
    order, stop = working(1, BUY, 5, 100), working(2, BUY, 5, stop=100)
    assert (order.left, order.state, order.state.is_final, order.is_triggered) == (5, OrderState.PENDING, False, True)
    assert stop.is_triggered is False
    order.filled_lots = 3
    order.state = OrderState.CANCELLED
    assert (order.left, order.state.is_final) == (2, True)


# Arriving: the same on trades and on candles ------------------------------------------------------------------------


@both_markets
@both_sides
@pytest.mark.parametrize(
    ("limit", "tif", "price", "expected"),
    [
        # Beyond the last price of 100: taken by the next price if that is beyond the limit too.
        (102, "GTC", 101, ("filled", 101, "taker")),
        (102, "IOC", 101, ("filled", 101, "taker")),
        (102, "FOK", 90, ("filled", 90, "taker")),
        # The next price touches the limit or is past it: not beyond.
        (102, "GTC", 102, None),
        (102, "GTC", 105, None),
        (102, "IOC", 102, ("cancelled", "ioc_unfilled")),
        (102, "FOK", 105, ("cancelled", "fok_unfilled")),
        # Touching the last price is not crossing: it rests, or is cancelled at once.
        (100, "GTC", 100, None),
        (100, "IOC", None, ("cancelled", "ioc_unfilled")),
        (99, "FOK", None, ("cancelled", "fok_unfilled")),
        # No limit: whatever comes next.
        (None, "GTC", 105, ("filled", 105, "taker")),
        (None, "IOC", 95, ("filled", 95, "taker")),
        (None, "FOK", 100, ("filled", 100, "taker")),
    ],
)
def test_what_takes_and_what_rests(
    open_market: Any, side: Side, limit: int | None, tif: str, price: int | None, expected: Any
) -> None:
    """A taking order is filled whole by the next price, however little was traded there."""
    market, sink = open_market(last=100)
    order = working(1, side, 7, mirrored(side, limit), tif=tif, arrived_ns=5)
    arrive(market, order)
    told = sink.take()
    assert told[0] == ("accepted", "bt1", "", 5)
    if price is None:
        assert told[1:] == [(*expected[:1], "bt1", expected[1], 5)]
        assert market.orders == []
        return
    assert told[1:] == []
    pass_by(market, mirrored(side, price))
    told = sink.take()
    match expected:
        case None:
            assert told == []
            assert (market.orders, order.is_taking) == ([order], False)
        case ("filled", ticks, role):
            assert [row[:6] for row in told] == [("filled", "bt1", 7, mirrored(side, ticks), role, 10)]
            assert market.orders == []
        case (state, reason):
            assert told == [(state, "bt1", reason, 10)]
            assert market.orders == []


@both_markets
@both_sides
def test_nothing_fills_by_a_price_stamped_before_the_arrival(open_market: Any, side: Side) -> None:
    """Neither a market order, a limit, nor a stop; the moment of arrival itself counts."""
    market, sink = open_market(last=100)
    far = mirrored(side, 90)
    orders = [
        working(1, side, 1, arrived_ns=10),
        working(2, side, 1, mirrored(side, 99), arrived_ns=10),
        working(3, side.opposite, 1, stop=mirrored(side, 95), arrived_ns=10),
    ]
    arrive(market, *orders)
    sink.take()
    pass_by(market, far, 9)
    assert (sink.take(), orders[2].is_triggered, market.last_price) == ([], False, far)
    pass_by(market, far, 10)
    assert [row[1] for row in sink.take()][:2] == ["bt1", "bt2"]
    assert orders[2].is_triggered


@both_markets
def test_before_the_first_price_nothing_crosses(open_market: Any) -> None:
    """Any limit rests, any IOC is cancelled, post-only is let in, and a stop waits."""
    market, sink = open_market()
    assert market.reference_ticks(BUY) is None
    orders = [
        working(1, BUY, 1, 10_000),
        working(2, SELL, 1, 1, post_only=True),
        working(3, BUY, 1, 10_000, tif="IOC"),
        working(4, BUY, 1, stop=1),
    ]
    arrive(market, *orders)
    assert [row for row in sink.take() if row[0] != "accepted"] == [("cancelled", "bt3", "ioc_unfilled", 0)]
    assert [order.is_taking for order in orders] == [False] * 4
    assert orders[3].is_triggered is False


@both_markets
@both_sides
@pytest.mark.parametrize(("limit", "refused"), [(101, True), (100, False), (99, False)])
def test_post_only_is_refused_where_it_would_take(open_market: Any, side: Side, limit: int, refused: bool) -> None:
    """It is beyond the last price of 100; one that touches it may rest."""
    market, sink = open_market(last=100)
    order = working(1, side, 1, mirrored(side, limit), post_only=True, arrived_ns=3)
    arrive(market, order)
    news = ("rejected", "bt1", "post_only_would_take", 3) if refused else ("accepted", "bt1", "", 3)
    assert sink.take() == [news]
    assert market.orders == ([] if refused else [order])


@both_markets
def test_the_last_price_values_orders_without_a_limit(open_market: Any) -> None:
    """For either side it is the same."""
    market, _ = open_market(last=100)
    assert (market.reference_ticks(BUY), market.reference_ticks(SELL)) == (100, 100)
    pass_by(market, 104)
    assert (market.reference_ticks(BUY), market.reference_ticks(SELL)) == (104, 104)


@both_markets
def test_what_the_account_cannot_have_is_cut_off(open_market: Any) -> None:
    """The market offers the whole; the rest of the order is over and off the market."""
    market, sink = open_market(last=100)
    sink.allows["bt1"] = 3
    arrive(market, working(1, BUY, 5))
    pass_by(market, 101)
    assert [row[:4] for row in sink.take()] == [
        ("accepted", "bt1", "", 0),
        ("filled", "bt1", 3, 101),
        ("cancelled", "bt1", "insufficient_cash", 10),
    ]
    assert market.orders == []


@both_markets
def test_an_order_that_an_earlier_fill_ended_is_passed_over(open_market: Any) -> None:
    """One price would fill or set off all of them; the account ends the others with the first booking."""
    market, sink = open_market(last=100)
    others = [working(2, BUY, 1), working(3, BUY, 1, 99), working(4, SELL, 1, stop=95)]
    sink.after_fill = lambda filled: [sink.cancel(o, "other", 10) for o in others if not o.state.is_final]
    arrive(market, working(1, BUY, 1), *others)
    sink.take()
    pass_by(market, 90)
    assert [row[:2] for row in sink.take()] == [("filled", "bt1"), *(("cancelled", order.id) for order in others)]
    assert others[2].is_triggered is False


@pytest.mark.parametrize(
    ("side", "price", "ticks"),
    [(BUY, 100.0, 200), (BUY, 100.2, 201), (BUY, 100.4, 201), (SELL, 100.2, 200), (SELL, 100.4, 200)],
)
@both_markets
def test_a_price_between_two_ticks_is_rounded_against_the_taker(
    open_market: Any, side: Side, price: float, ticks: int
) -> None:
    """Foreign data may be off the grid that the instrument has now."""
    market, sink = open_market(instrument=HALVES)
    arrive(market, working(1, side, 1))
    pass_by(market, price)
    assert sink.fills() == [("bt1", 1, ticks, "taker")]


@both_markets
def test_an_amended_order_goes_to_the_back_and_is_judged_anew(open_market: Any) -> None:
    """One that took the next price may rest now, one that rested may take."""
    market, sink = open_market(last=100)
    first, second = working(1, BUY, 1, 102), working(2, BUY, 1, 99)
    arrive(market, first, second)
    assert (first.is_taking, second.is_taking) == (True, False)
    first.limit_ticks, second.limit_ticks = 98, 103
    market.requeue(first, 5)
    market.requeue(second, 5)
    assert (market.orders, first.is_taking, second.is_taking) == ([first, second], False, True)
    market.requeue(first, 6)
    assert market.orders == [second, first]
    pass_by(market, 97)
    assert sink.fills() == [("bt2", 1, 97, "taker"), ("bt1", 1, 98 if open_market is trades else 97, "maker")]


@both_markets
def test_an_order_that_never_entered_can_be_taken_off(open_market: Any) -> None:
    """A refused order is ended like any other."""
    market, _ = open_market()
    kept = working(1, BUY, 1, 99)
    arrive(market, kept)
    market.remove(working(2, BUY, 1, 99))
    assert market.orders == [kept]


# Stops: the same on trades and at a candle's open -------------------------------------------------------------------


@both_markets
@both_sides
@pytest.mark.parametrize(
    ("last", "limit", "tif", "expected"),
    [
        (105, None, "GTC", [("filled", 108)]),  # at the stop: a touch is enough
        (106, None, "IOC", [("filled", 108)]),
        (104, None, "GTC", None),
        (105, 110, "GTC", [("filled", 108)]),
        (105, 107, "GTC", []),  # set off, but the next price is past the limit: it rests
        (106, 105, "GTC", []),
        (106, 105, "IOC", [("cancelled", "ioc_unfilled")]),
        (105, 105, "FOK", [("cancelled", "fok_unfilled")]),
    ],
)
def test_a_stop_that_the_last_price_has_reached_is_set_off_on_arrival(
    open_market: Any, side: Side, last: int, limit: int | None, tif: str, expected: Any
) -> None:
    """And then takes the next price as any order does."""
    market, sink = open_market(last=mirrored(side, last))
    order = working(1, side, 2, mirrored(side, limit), stop=mirrored(side, 105), tif=tif)
    arrive(market, order)
    assert order.is_triggered is (expected is not None)
    if expected is None:
        assert sink.take() == [("accepted", "bt1", "", 0)]
        return
    pass_by(market, mirrored(side, 108))
    got = [(row[0], row[3] if row[0] == "filled" else row[2]) for row in sink.take()[1:]]
    assert got == [(what, mirrored(side, more) if what == "filled" else more) for what, more in expected]
    assert market.orders == ([] if expected else [order])


@both_sides
@pytest.mark.parametrize(
    ("limit", "tif", "prices", "expected"),
    [
        (None, "GTC", [104, 105, 107], [("filled", 107, "taker")]),  # the trade that sets it off does not fill it
        (None, "IOC", [106, 103], [("filled", 103, "taker")]),
        (108, "GTC", [105, 107], [("filled", 107, "taker")]),
        (108, "GTC", [105, 109, 107], [("filled", 108, "maker")]),  # rested after a trade past its limit
        (105, "GTC", [105, 105, 104], [("filled", 105, "maker")]),  # not beyond the limit when set off: rests
        (105, "IOC", [105], [("cancelled", "ioc_unfilled", None)]),
        (108, "FOK", [105, 109], [("cancelled", "fok_unfilled", None)]),
    ],
)
def test_a_stop_on_trades_takes_the_trade_after_the_one_that_touched_it(
    side: Side, limit: int | None, tif: str, prices: Sequence[int], expected: Any
) -> None:
    """Nothing is filled by the trade that set it off, which is over."""
    market, sink = trades(last=mirrored(side, 100))
    arrive(market, working(1, side, 2, mirrored(side, limit), stop=mirrored(side, 105), tif=tif))
    sink.take()
    got = []
    for at_ns, price in enumerate(prices, 10):
        market.on_trade(float(mirrored(side, price) or 0), 1.0, side, at_ns)
        got += [(row[0], *((row[3], row[4]) if row[0] == "filled" else (row[2], None))) for row in sink.take()]
    assert got == [(what, mirrored(side, more) if what == "filled" else more, role) for what, more, role in expected]


# Resting on trades --------------------------------------------------------------------------------------------------


@both_sides
def test_a_trade_beyond_the_limit_fills_whole_and_a_touch_nothing(side: Side) -> None:
    """At the limit, in arrival order; the trade's size is not looked at."""
    market, sink = trades(last=100)
    arrive(market, *(working(number, side, 5, mirrored(side, limit)) for number, limit in ((1, 97), (2, 98), (3, 98))))
    sink.take()
    market.on_trade(float(mirrored(side, 98) or 0), 100.0, side.opposite, 10)
    assert sink.take() == []
    market.on_trade(float(mirrored(side, 97) or 0), 1.0, side, 11)
    price = mirrored(side, 98)
    why = f"trade at {float(mirrored(side, 97) or 0)} beyond the limit"
    assert sink.take() == [("filled", f"bt{n}", 5, price, "maker", 11, why) for n in (2, 3)]


@both_sides
def test_a_trade_beyond_the_limit_by_our_own_side_fills_where_that_is_wanted(side: Side) -> None:
    """One by the other side always does."""
    for own_side_prints, aggressor, fills in ((True, side, 1), (False, side, 0), (False, side.opposite, 1)):
        sink = RecordingSink()
        market, _ = _open(TradeMarket(SWAP, sink, own_side_prints=own_side_prints), sink, 100)
        arrive(market, working(1, side, 5, mirrored(side, 98)))
        sink.take()
        market.on_trade(float(mirrored(side, 97) or 0), 1.0, aggressor, 10)
        assert len(sink.take()) == fills


@both_sides
def test_with_touch_a_trade_at_the_limit_fills_its_size(side: Side) -> None:
    """At most that, shared in arrival order, and only where its aggressor came from the other side."""
    market, sink = trades(touch=True, last=100)
    limit = mirrored(side, 99)
    late = working(3, side, 9, limit, arrived_ns=15)
    arrive(market, working(1, side, 2, limit), working(2, side, 3, limit), late)
    sink.take()

    def print_at(price: int | None, qty: float, aggressor: Side, at_ns: int) -> list[Any]:
        market.on_trade(float(price or 0), qty, aggressor, at_ns)
        return sink.take()

    assert print_at(limit, 4.0, side, 10) == []
    assert print_at(limit, 0.9, side.opposite, 10) == []  # less than one size step
    why = "trade at the limit"
    assert print_at(limit, 4.0, side.opposite, 11) == [
        ("filled", "bt1", 2, limit, "maker", 11, why),
        ("filled", "bt2", 2, limit, "maker", 11, why),
    ]
    # Of the next five one is left for the order that has arrived; the late one gets nothing from the past.
    assert print_at(limit, 5.0, side.opposite, 14) == [("filled", "bt2", 1, limit, "maker", 14, why)]
    assert print_at(limit, 5.0, side.opposite, 15) == [("filled", "bt3", 5, limit, "maker", 15, why)]
    # A trade beyond fills what is left, however small it is.
    assert [row[:4] for row in print_at(mirrored(side, 98), 1.0, side, 16)] == [("filled", "bt3", 4, limit)]


# Candles ------------------------------------------------------------------------------------------------------------


@both_sides
def test_an_open_beyond_a_resting_limit_fills_it_at_the_open(side: Side) -> None:
    """Better than asked, and as a maker; at the limit itself it fills nothing."""
    market, sink = candles(last=100)
    arrive(market, working(1, side, 2, mirrored(side, 98)), working(2, side, 3, mirrored(side, 99)))
    sink.take()
    market.on_open(float(mirrored(side, 98) or 0), 10, open_ns=10)
    why = "candle open beyond the limit"
    assert sink.take() == [("filled", "bt2", 3, mirrored(side, 98), "maker", 10, why)]


@pytest.mark.parametrize(("side", "limit", "open_", "ticks"), [(BUY, 200, 99.7, 200), (SELL, 200, 100.3, 200)])
def test_an_open_between_two_ticks_never_fills_past_the_limit(side: Side, limit: int, open_: float, ticks: int) -> None:
    """It counts at the step that is worse for the order, where it only touches; a whole step further it fills."""
    market, sink = candles(last=limit, instrument=HALVES)
    arrive(market, working(1, side, 1, limit))
    market.on_open(open_, 10, open_ns=10)
    assert sink.fills() == []
    market.on_open(open_ - 0.5 * side.sign, 20, open_ns=20)
    assert sink.fills() == [("bt1", 1, ticks - side.sign, "maker")]


@both_sides
@pytest.mark.parametrize(("low", "expected"), [(97, [("bt1", 2, 98, "maker")]), (98, []), (99, [])])
def test_a_range_beyond_a_limit_fills_it_at_the_limit(side: Side, low: int, expected: Any) -> None:
    """A range that only touches it does not."""
    market, sink = candles(last=100)
    arrive(market, working(1, side, 2, mirrored(side, 98)))
    low_, high = sorted(float(mirrored(side, ticks) or 0) for ticks in (low, 103))
    market.on_range(
        float(mirrored(side, 101) or 0), high, low_, float(mirrored(side, 102) or 0), 20, open_ns=10, volume=1e9
    )
    assert sink.fills() == [(name, lots, mirrored(side, ticks), role) for name, lots, ticks, role in expected]
    assert market.last_price == mirrored(side, 102)


@pytest.mark.parametrize("arrived_ns", [10, 11, 20])
def test_a_market_order_that_arrives_after_the_open_has_filled_waits_for_the_next(arrived_ns: int) -> None:
    """Its close is no price to trade at, nor is any price of the range known to have come after."""
    market, sink = candles(last=100)
    market.on_open(100.0, 10, open_ns=10)
    arrive(market, working(1, BUY, 1, arrived_ns=arrived_ns))
    sink.take()
    market.on_range(100.0, 120.0, 80.0, 110.0, 20, open_ns=10, volume=1e9)
    assert sink.take() == []
    market.on_open(111.0, 20, open_ns=20)
    assert sink.take() == [("filled", "bt1", 1, 111, "taker", 20, "candle open")]


@both_sides
@pytest.mark.parametrize(
    ("limit", "tif", "open_", "expected"),
    [
        (102, "GTC", 101, [("filled", 101, "taker")]),  # the open it is beyond already
        (102, "GTC", 103, [("filled", 102, "maker")]),  # an open past it: it rests, and the range goes beyond it
        (102, "IOC", 103, [("cancelled", "ioc_unfilled", None)]),
    ],
)
def test_a_crossing_limit_that_arrives_at_the_open_but_after_its_row_is_judged_by_it(
    side: Side, limit: int, tif: str, open_: int, expected: Any
) -> None:
    """No better price of the range may be had by it as a taker."""
    market, sink = candles(last=100)
    arrive(market, working(1, side, 1, mirrored(side, limit), tif=tif, arrived_ns=10))
    sink.take()
    low, high = sorted((float(mirrored(side, 90) or 0), float(mirrored(side, 105) or 0)))
    market.on_range(float(mirrored(side, open_) or 0), high, low, 100.0, 20, open_ns=10, volume=1e9)
    got = [(row[0], *((row[3], row[4]) if row[0] == "filled" else (row[2], None))) for row in sink.take()]
    assert got == [(what, mirrored(side, more) if what == "filled" else more, role) for what, more, role in expected]


@both_sides
@pytest.mark.parametrize(
    ("limit", "tif", "open_", "high", "expected"),
    [
        (None, "GTC", 100, 105, ("filled", 105, "candle range reached the stop")),  # a touch is enough
        (None, "GTC", 100, 120, ("filled", 105, "candle range reached the stop")),
        (None, "GTC", 100, 104, None),
        (None, "IOC", 107, 110, ("filled", 107, "candle open beyond the stop")),
        (None, "GTC", 105, 105, ("filled", 105, "candle open beyond the stop")),
        (106, "GTC", 100, 110, ("filled", 105, "candle range reached the stop")),
        (106, "GTC", 107, 110, None),  # the price that set it off is past its limit: it rests
        (105, "GTC", 100, 110, None),
        (105, "IOC", 100, 110, ("cancelled", "ioc_unfilled", None)),
        (106, "FOK", 107, 110, ("cancelled", "fok_unfilled", None)),
    ],
)
def test_a_stop_in_a_candle_fills_at_the_stop_or_at_an_open_that_gapped_beyond(
    side: Side, limit: int | None, tif: str, open_: int, high: int, expected: Any
) -> None:
    """A stop-limit that is not beyond its limit there rests until the next candle, however far this one went."""
    market, sink = candles(last=100)
    order = working(1, side, 2, mirrored(side, limit), stop=mirrored(side, 105), tif=tif)
    arrive(market, order)
    sink.take()
    bottom, top = sorted((float(mirrored(side, 90) or 0), float(mirrored(side, high) or 0)))
    market.on_range(float(mirrored(side, open_) or 0), top, bottom, 100.0, 20, open_ns=10, volume=1e9)
    told = sink.take()
    assert order.is_triggered is (high >= 105)
    match expected:
        case None:
            assert told == []
            market.on_open(float(mirrored(side, 101) or 0), 20, open_ns=20)
            # Set off before, it is a limit that this open is beyond; not set off, it goes on waiting.
            rests = [("bt1", 2, mirrored(side, 101), "maker")] if order.is_triggered else []
            assert sink.fills() == rests
        case ("filled", ticks, why):
            assert told == [("filled", "bt1", 2, mirrored(side, ticks), "taker", 20, why)]
        case (state, reason, _):
            assert told == [(state, "bt1", reason, 20)]


@both_sides
@pytest.mark.parametrize(
    ("limit", "tif", "expected"),
    [
        (None, "GTC", [("filled", 107)]),
        (108, "GTC", [("filled", 107)]),
        (107, "GTC", []),
        (106, "IOC", [("cancelled", "ioc_unfilled")]),
    ],
)
def test_an_open_at_or_past_a_stop_sets_it_off_there(side: Side, limit: int | None, tif: str, expected: Any) -> None:
    """Unlike a trade, an open is a price at which everybody can deal."""
    market, sink = candles(last=100)
    order = working(1, side, 2, mirrored(side, limit), stop=mirrored(side, 105), tif=tif)
    arrive(market, order)
    sink.take()
    market.on_open(float(mirrored(side, 104) or 0), 10, open_ns=10)
    assert sink.take() == []
    market.on_open(float(mirrored(side, 107) or 0), 20, open_ns=20)
    assert order.is_triggered
    got = [(row[0], row[3] if row[0] == "filled" else row[2]) for row in sink.take()]
    assert got == [(what, mirrored(side, more) if what == "filled" else more) for what, more in expected]


def test_within_one_candle_the_stop_comes_before_the_target() -> None:
    """Whatever arrived first: the path inside the candle is not known, so the worse one is assumed."""
    market, sink = candles(last=100)
    target, stop = working(1, SELL, 1, 110), working(2, SELL, 1, stop=95)
    arrive(market, target, stop)
    market.on_range(100.0, 120.0, 90.0, 100.0, 20, open_ns=10, volume=1e9)
    assert sink.fills() == [("bt2", 1, 95, "taker"), ("bt1", 1, 110, "maker")]

    market, sink = candles(last=100)
    target, stop, other = working(1, SELL, 1, 110), working(2, SELL, 1, stop=95), working(3, SELL, 1, stop=96)
    sink.after_fill = lambda filled: [sink.cancel(o, "other", 20) for o in (target, other) if not o.state.is_final]
    arrive(market, target, stop, other)
    market.on_range(100.0, 120.0, 90.0, 100.0, 20, open_ns=10, volume=1e9)
    assert sink.fills() == [("bt2", 1, 95, "taker")]


@pytest.mark.parametrize("arrived_ns", [11, 15, 20, 21])
def test_a_range_fills_nothing_that_arrived_after_its_open(arrived_ns: int) -> None:
    """The range may have been reached before the order was there; a limit beyond the open takes the next one."""
    market, sink = candles(last=100)
    arrive(market, working(1, BUY, 1, 99, arrived_ns=arrived_ns), working(2, BUY, 1, stop=105, arrived_ns=arrived_ns))
    sink.take()
    market.on_range(100.0, 120.0, 80.0, 100.0, 20, open_ns=10, volume=1e9)
    assert sink.take() == []
    market.on_range(100.0, 120.0, 80.0, 100.0, arrived_ns + 10, open_ns=arrived_ns, volume=1e9)
    assert sink.fills() == [("bt2", 1, 105, "taker"), ("bt1", 1, 99, "maker")]


# Gates --------------------------------------------------------------------------------------------------------------


BOOKS = {
    "a buy": [working(1, BUY, 1, 99)],
    "a sell": [working(1, SELL, 1, 101)],
    "both sides": [working(1, BUY, 1, 97), working(2, SELL, 1, 103), working(3, BUY, 1, 98), working(4, SELL, 1, 104)],
    "a buy stop": [working(1, BUY, 1, stop=103)],
    "a sell stop": [working(1, SELL, 1, stop=97)],
    "stops within limits": [working(1, BUY, 1, stop=102), working(2, SELL, 1, stop=98), working(3, BUY, 1, 96)],
    "a stop-limit set off": [working(1, BUY, 1, 99, stop=100)],
}


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("kind", ["trade", "touch", "open", "range"])
def test_inside_the_gate_nothing_happens_and_on_the_first_tick_outside_something_does(name: str, kind: str) -> None:
    """At every price around, on the grid or off it."""
    outside = 0
    for price in np.arange(90.0, 110.25, 0.25).tolist():
        market, sink = trades(touch=kind == "touch", last=100) if kind in ("trade", "touch") else candles(last=100)
        orders = [working(o.id[2:], o.side, 1, o.limit_ticks, stop=o.stop_ticks) for o in BOOKS[name]]
        arrive(market, *orders)
        sink.take()
        gate = market.band()
        before = [(order.is_triggered, order.is_taking) for order in orders]
        if kind == "open":
            market.on_open(price, 10, open_ns=10)
        elif kind == "range":
            market.on_range(price, price, price, price, 10, open_ns=10, volume=1e9)
        else:
            for aggressor in (BUY, SELL):
                market.on_trade(price, 1.0, aggressor, 10)
        happened = bool(sink.take()) or [(order.is_triggered, order.is_taking) for order in orders] != before
        is_inside = gate.low < price < gate.high
        assert not (happened and is_inside), (price, gate)
        if price == int(price):
            assert happened is not is_inside, (price, gate)
            outside += happened
    assert outside


@both_markets
def test_a_gate_without_orders_is_open_and_with_a_taking_one_shut(open_market: Any) -> None:
    """The next price, whatever it is, concerns an order that takes it."""
    market, _ = open_market(last=100)
    assert market.band() == OPEN_BAND
    arrive(market, working(1, BUY, 1, 99), working(2, BUY, 1, 102))
    assert market.band() == PriceBand(float("inf"), float("-inf"))


# The open that orders are judged by ---------------------------------------------------------------------------------


@both_markets
def test_only_a_candle_s_open_is_known_before_orders_fill_at_it(open_market: Any) -> None:
    """While it is applied, a market order's cost is known to the tick; trades come without such notice."""
    market, _ = open_market(last=100)
    assert market.opening_ticks(working(1, BUY, 10)) is None
    if market.fills_at_opens:
        market.begin_open(104.0)
        assert market.opening_ticks(working(1, BUY, 10)) == 104
