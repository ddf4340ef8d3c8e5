"""The rules of orders on displayed sizes, books and tickers: a table or an example for each sentence of them."""

from typing import Any

import numpy as np
import pytest
from recording_sink import BUY, SELL, SWAP, RecordingSink, working

import quantkit as qk
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.price_band import PriceBand
from quantkit.events import BookUpdate, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import BookRows, DenseBook
from quantkit.queue_models import queue_model
from quantkit.rows.columns import Block

STALE_AFTER_NS = 1_000
Levels = dict[int, float]
#: Best bid 99, best ask 101, five steps on each level.
BIDS: Levels = {99: 5, 98: 5, 96: 5}
ASKS: Levels = {101: 5, 102: 5, 104: 5}


class Venue:
    """A market on a book, or on a ticker with `is_ticker`, that is played by hand."""

    def __init__(
        self,
        bids: Levels | None = None,
        asks: Levels | None = None,
        *,
        is_ticker: bool = False,
        has_trades: bool = True,
        slippage_bps: float | None = None,
        own_side_prints: bool = True,
    ) -> None:
        self.sink = RecordingSink()
        self.book = DenseBook(SWAP)
        self.ticker = TickerDisplay(SWAP)
        self.is_ticker = is_ticker
        self.sink.market = self.market = DisplayedMarket(
            SWAP,
            self.sink,
            self.ticker if is_ticker else BookDisplay(self.book, SWAP),
            stale_after_ns=STALE_AFTER_NS,
            has_trades=has_trades,
            excess_slippage_bps=slippage_bps,
            queue_model=queue_model("risk_averse"),
            own_side_prints=own_side_prints,
        )
        if bids is not None or asks is not None:
            self.snapshot(bids or {}, asks or {})

    def snapshot(self, bids: Levels, asks: Levels, at_ns: int = 0) -> list[tuple[Any, ...]]:
        """Show both sides anew."""
        if self.is_ticker:
            (bid, ask) = (next(iter(side.items()), (None, None)) for side in (bids, asks))
            self.ticker.update(*bid, *ask)
            self.market.on_update(at_ns, at_ns)
            return self.sink.take()
        return self.update(bids, asks, at_ns, is_snapshot=True)

    def update(self, bids: Levels, asks: Levels, at_ns: int, *, is_snapshot: bool = False) -> list[tuple[Any, ...]]:
        """Show new sizes of some levels of a book."""
        update = BookUpdate(
            SWAP.id, at_ns, at_ns, tuple(bids), tuple(bids.values()), tuple(asks), tuple(asks.values()), is_snapshot
        )
        rows = BookRows(Block.from_events([update]).column, self.book)
        self.market.before_update(rows.named_levels(0))
        self.book.apply(rows, 0, 1)
        self.market.on_update(at_ns, at_ns)
        return self.sink.take()

    def trade(
        self, price: float, qty: float, aggressor: Side, at_ns: int = 10, stamp_ns: int = 0
    ) -> list[tuple[Any, ...]]:
        """Print a public trade, stamped at the matching clock or before."""
        self.market.on_trade(price, qty, aggressor, at_ns, stamp_ns or at_ns)
        return self.sink.take()

    def arrive(self, *orders: ExchangeOrder) -> list[tuple[Any, ...]]:
        """Let orders arrive, each at its time; return what is told but for being accepted."""
        for order in orders:
            self.market.arrive(order, order.arrived_ns)
        return [row for row in self.sink.take() if row[0] != "accepted"]


def shortly(told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return fills as (id, size steps, ticks, role) and other news as (id, reason)."""
    return [row[1:5] if row[0] == "filled" else row[1:3] for row in told]


def mirrored(side: Side, ticks: int) -> int:
    """Return a price of a table written for buys, seen from a side: sells look at it in a mirror at 100."""
    return ticks if side is BUY else 200 - ticks


both_sides = pytest.mark.parametrize("side", [BUY, SELL])


# Displays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "ticks", "shown"),
    [
        (BUY, 99, 5),
        (BUY, 98, 2),  # 2.7 contracts: only whole steps can be had
        (BUY, 97, 0),  # between two levels that are shown
        (BUY, 100, 0),  # inside the spread
        (BUY, 95, None),  # beyond the deepest
        (SELL, 101, 5),
        (SELL, 100, 0),
        (SELL, 103, 0),
        (SELL, 105, None),
    ],
)
def test_what_a_book_shows_at_a_price(side: Side, ticks: int, shown: int | None) -> None:
    """Nothing at a price within what is displayed is zero; outside it is not known."""
    display = Venue({99: 5, 98: 2.7, 96: 5}, ASKS).market.display
    assert display.is_valid
    assert display.shown(side, ticks) == shown
    assert [display.best(BUY), display.best(SELL)] == [99, 101]
    assert list(display.levels(BUY)) == [(99, 5), (98, 2), (96, 5)]


def test_an_empty_side_of_a_book_shows_nothing_everywhere() -> None:
    """There an order would stand alone; a book before its first snapshot shows nothing at all."""
    display = Venue({}, ASKS).market.display
    assert (display.best(BUY), display.shown(BUY, 50), list(display.levels(BUY))) == (None, 0, [])
    assert not Venue().market.display.is_valid


@pytest.mark.parametrize(
    ("side", "ticks", "shown"),
    [
        (BUY, 99, 5),
        (BUY, 100, 0),
        (BUY, 98, None),
        (SELL, 101, 3),
        (SELL, 100, 0),
        (SELL, 102, None),
    ],
)
def test_what_a_ticker_shows_at_a_price(side: Side, ticks: int, shown: int | None) -> None:
    """Its own level, nothing inside the spread, and not what lies behind it."""
    display = TickerDisplay(SWAP)
    assert not display.is_valid
    display.update(99.0, 5.0, 101.0, 3.9)
    assert display.is_valid
    assert display.shown(side, ticks) == shown
    assert list(display.levels(side)) == [(display.best(side), 5 if side is BUY else 3)]


@pytest.mark.parametrize("missing", [(None, None), (99.0, None), (None, 5.0)])
def test_a_ticker_without_price_or_size_empties_its_side(missing: tuple[float | None, float | None]) -> None:
    """Of an empty side nothing is known: unlike a book, a ticker does not say that nothing is there."""
    display = TickerDisplay(SWAP)
    display.update(99.0, 5.0, 101.0, 5.0)
    display.update(*missing, 101.0, 5.0)
    assert (display.best(BUY), display.shown(BUY, 99), list(display.levels(BUY))) == (None, None, [])
    assert display.best(SELL) == 101


# Taking -------------------------------------------------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize(
    ("lots", "limit", "tif", "expected", "rests"),
    [
        (3, None, "GTC", [(3, 101)], False),
        (5, None, "GTC", [(5, 101)], False),
        (12, None, "GTC", [(5, 101), (5, 102), (2, 104)], False),
        (16, None, "GTC", [(5, 101), (5, 102), (5, 104), "no_liquidity"], False),
        (16, None, "IOC", [(5, 101), (5, 102), (5, 104), "no_liquidity"], False),
        (16, None, "FOK", ["fok_unfilled"], False),
        (15, None, "FOK", [(5, 101), (5, 102), (5, 104)], False),
        (7, 101, "GTC", [(5, 101)], True),  # reaching the best price is taking; what is left rests
        (7, 103, "GTC", [(5, 101), (2, 102)], False),
        (12, 103, "IOC", [(5, 101), (5, 102), "ioc_unfilled"], False),
        (12, 103, "FOK", ["fok_unfilled"], False),
        (10, 103, "FOK", [(5, 101), (5, 102)], False),
        (7, 100, "GTC", [], True),
        (7, 100, "IOC", ["ioc_unfilled"], False),
        (7, 100, "FOK", ["fok_unfilled"], False),
    ],
)
def test_orders_walk_the_displayed_levels(
    side: Side, lots: int, limit: int | None, tif: str, expected: list[Any], rests: bool
) -> None:
    """Best first, at each level's price and within the limit; what cannot be had is cancelled, or rests."""
    venue = Venue({mirrored(SELL, p): q for p, q in ASKS.items()}, ASKS)
    order = working(1, side, lots, None if limit is None else mirrored(side, limit), tif=tif, arrived_ns=9)
    told = venue.arrive(order)
    wanted = [("bt1", x) if isinstance(x, str) else ("bt1", x[0], mirrored(side, x[1]), "taker") for x in expected]
    assert shortly(told) == wanted
    assert venue.market.orders == ([order] if rests else [])
    fills = [row for row in told if row[0] == "filled"]
    assert [row[5:] for row in fills] == [(9, f"took level {n} of the display") for n in range(1, len(fills) + 1)]


def test_what_was_taken_stays_taken_until_its_level_is_updated() -> None:
    """An update of another level gives nothing back; one that names it does, whatever size it shows."""
    venue = Venue(BIDS, ASKS)
    take = [("bt1", 5, 101, "taker"), ("bt1", 1, 102, "taker")]
    assert shortly(venue.arrive(working(1, BUY, 6))) == take
    assert venue.market.taken == {(SELL, 101): (5, 5), (SELL, 102): (1, 5)}
    assert venue.market.needs_rows
    venue.update({99: 9}, {104: 1}, 1)
    assert shortly(venue.arrive(working(2, BUY, 2))) == [("bt2", 2, 102, "taker")]
    venue.update({}, {101: 5}, 2)
    assert venue.market.taken == {(SELL, 102): (3, 5)}
    assert shortly(venue.arrive(working(3, BUY, 6))) == [("bt3", 5, 101, "taker"), ("bt3", 1, 102, "taker")]


def test_a_snapshot_gives_back_the_levels_whose_size_it_changes() -> None:
    """It names every level, so one that looks as before says nothing about what we took."""
    venue = Venue(BIDS, ASKS)
    venue.arrive(working(1, BUY, 10))
    venue.snapshot(BIDS, {101: 4, 102: 5}, 1)
    assert venue.market.taken == {(SELL, 102): (5, 5)}
    assert shortly(venue.arrive(working(2, BUY, 6))) == [("bt2", 4, 101, "taker"), ("bt2", "no_liquidity")]
    venue.snapshot(BIDS, {103: 1}, 2)
    assert venue.market.taken == {}
    assert not venue.market.needs_rows


@pytest.mark.parametrize(
    ("allowed", "fills", "taken", "following"),
    [
        (2, [(2, 101)], {101: 2}, [(3, 101), (1, 102)]),
        (7, [(5, 101), (2, 102)], {101: 5, 102: 2}, [(3, 102), (1, 104)]),
        (0, [], {101: 0}, [(4, 101)]),
    ],
)
def test_what_the_account_could_not_have_is_not_taken(
    allowed: int, fills: list[Any], taken: dict[int, int], following: list[Any]
) -> None:
    """The level keeps what was offered but not booked."""
    venue = Venue(BIDS, ASKS)
    venue.sink.allows["bt1"] = allowed
    told = shortly(venue.arrive(working(1, BUY, 9)))
    assert told == [*(("bt1", *fill, "taker") for fill in fills), ("bt1", "insufficient_cash")]
    assert venue.market.taken == {(SELL, ticks): (lots, 5) for ticks, lots in taken.items()}
    assert shortly(venue.arrive(working(2, BUY, 4))) == [("bt2", *fill, "taker") for fill in following]


@pytest.mark.parametrize(
    ("side", "limit", "slippage_bps", "expected"),
    [
        (BUY, None, None, [(3, 1010), "no_liquidity"]),
        (BUY, None, 0.0, [(3, 1010), (4, 1010)]),
        (BUY, None, 100.0, [(3, 1010), (4, 1021)]),  # 1020.1, rounded against the taker
        (SELL, None, 100.0, [(3, 990), (4, 980)]),  # 980.1
        (BUY, 1021, 100.0, [(3, 1010), (4, 1021)]),
        (BUY, 1020, 100.0, [(3, 1010)]),  # not beyond the limit: the rest rests
        (SELL, 981, 100.0, [(3, 990)]),
        (SELL, None, 10_000.0, [(3, 990), "no_liquidity"]),  # there is no price of zero
    ],
)
def test_beyond_the_one_level_of_a_ticker_the_rest_slips(
    side: Side, limit: int | None, slippage_bps: float | None, expected: list[Any]
) -> None:
    """Only where a slippage is stated, and never past the limit."""
    venue = Venue({990: 3}, {1010: 3}, is_ticker=True, slippage_bps=slippage_bps)
    told = venue.arrive(working(1, side, 7, limit))
    assert shortly(told) == [("bt1", x) if isinstance(x, str) else ("bt1", *x, "taker") for x in expected]
    whys = ["took level 1 of the display", "beyond the displayed size"]
    assert [row[6] for row in told if row[0] == "filled"] == whys[: sum(row[0] == "filled" for row in told)]
    # Only what was displayed counts as taken from the display.
    assert list(venue.market.taken.values()) == [(3, 3)]


def test_an_empty_side_has_nothing_to_slip_from() -> None:
    """A market order finds no price there."""
    venue = Venue({990: 3}, {}, is_ticker=True, slippage_bps=5.0)
    assert shortly(venue.arrive(working(1, BUY, 1))) == [("bt1", "no_liquidity")]


def test_a_rest_beyond_the_displayed_size_may_be_cut_off_too() -> None:
    """The account's word counts there as well."""
    venue = Venue({990: 3}, {1010: 3}, is_ticker=True, slippage_bps=0.0)
    first = working(1, BUY, 3)
    venue.arrive(first)
    venue.sink.allows["bt2"] = 1
    assert shortly(venue.arrive(working(2, BUY, 4))) == [("bt2", 1, 1010, "taker"), ("bt2", "insufficient_cash")]
    assert venue.market.taken == {(SELL, 1010): (3, 3)}


@pytest.mark.parametrize(
    ("state", "limit", "tif", "expected"),
    [
        ("invalid", None, "GTC", ("rejected", "book_invalid")),
        ("invalid", 101, "IOC", ("rejected", "book_invalid")),
        ("invalid", 101, "GTC", None),
        ("stale", None, "GTC", ("rejected", "book_stale")),
        ("stale", 101, "FOK", ("rejected", "book_stale")),
        ("stale", 101, "GTC", None),
        ("unseen", None, "GTC", ("rejected", "book_stale")),
        ("fresh", None, "GTC", ("filled", 101)),
        ("fresh", 101, "GTC", ("filled", 101)),
    ],
)
def test_nothing_is_taken_from_a_display_that_is_not_to_be_believed(
    state: str, limit: int | None, tif: str, expected: tuple[str, Any] | None
) -> None:
    """What cannot wait is refused, a limit waits for the next update; the age allowed still counts as fresh."""
    venue = Venue()
    venue.snapshot(BIDS, ASKS, 500)
    if state == "invalid":
        venue.book.invalidate()
    elif state == "unseen":
        venue.market.stand_as_of(None)
    arrived_ns = 500 + STALE_AFTER_NS + (state == "stale")
    order = working(1, BUY, 1, limit, tif=tif, arrived_ns=arrived_ns)
    told = venue.arrive(order)
    if expected is None:
        assert told == []
        assert venue.market.orders == [order]
        assert order.lots_in_front is None
        told = venue.snapshot(BIDS, ASKS, arrived_ns + 1)
        assert [row[1:5] for row in told if row[0] == "filled"] == [("bt1", 1, 101, "taker")]
    else:
        assert [(row[0], row[3] if row[0] == "filled" else row[2]) for row in told] == [expected]
        assert venue.market.orders == []


def test_the_age_of_a_display_never_goes_back() -> None:
    """Updates whose stamps are out of order leave it as fresh as the newest."""
    venue = Venue(BIDS, ASKS)
    venue.update({}, {101: 4}, 500)
    venue.update({}, {101: 3}, 400)
    assert venue.market.updated_ns == 500


@both_sides
@pytest.mark.parametrize(
    ("limit", "state", "refused"),
    [
        (100, "valid", False),
        (101, "valid", True),  # the best opposite price itself would be taken
        (105, "valid", True),
        (101, "empty", False),
        (110, "no last", False),
        (110, "last 110", False),  # without a display: touching the last price is not crossing
        (111, "last 110", True),
    ],
)
def test_post_only_is_judged_on_arrival(side: Side, limit: int, state: str, refused: bool) -> None:
    """Against the other side of the display, without one against the last price."""
    asks = {} if state == "empty" else ASKS
    venue = Venue({mirrored(SELL, p): q for p, q in asks.items()}, asks)
    if "last" in state:
        venue.book.invalidate()
        venue.market.see(None if state == "no last" else mirrored(side, 110))
    told = venue.arrive(working(1, side, 1, mirrored(side, limit), post_only=True))
    assert told == ([("rejected", "bt1", "post_only_would_take", 0)] if refused else [])
    assert len(venue.market.orders) == (not refused)


def test_an_order_without_a_limit_is_valued_at_the_other_side() -> None:
    """Where that is empty or not to be believed, at the last price."""
    market = (venue := Venue(BIDS, ASKS)).market
    assert (market.reference_ticks(BUY), market.reference_ticks(SELL)) == (101, 99)
    venue.trade(100.0, 1, BUY)
    venue.snapshot({}, ASKS, 1)
    assert (market.reference_ticks(BUY), market.reference_ticks(SELL)) == (101, 100)
    venue.book.invalidate()
    assert market.reference_ticks(BUY) == 100
    assert Venue().market.reference_ticks(BUY) is None


# Resting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "ahead"), [(99, 5), (98, 5), (97, 0), (100, 0), (95, None)])
def test_the_queue_starts_with_what_is_displayed(limit: int, ahead: int | None) -> None:
    """And is unknown where nothing is displayed."""
    venue = Venue(BIDS, ASKS)
    order = working(1, BUY, 1, limit)
    assert venue.arrive(order) == []
    assert order.lots_in_front == ahead


@both_sides
def test_prints_at_our_price_move_the_queue_and_the_excess_fills(side: Side) -> None:
    """Shared in arrival order; prints from our own side, and any size below a step, move nothing."""
    venue = Venue({99: 5}, {101: 5})
    limit = mirrored(side, 99)
    first, second = working(1, side, 2, limit), working(2, side, 4, limit)
    late = working(3, side, 1, limit, arrived_ns=50)
    venue.arrive(first, second, late)
    other = side.opposite
    assert venue.trade(limit, 9, side) == []
    assert (first.lots_in_front, second.lots_in_front) == (5, 5)
    assert venue.trade(limit, 3.9, other) == []
    assert (first.lots_in_front, second.lots_in_front, late.lots_in_front) == (2, 2, 5)
    # Two are ahead; of the three after them two are for the first and one for the second.
    why = "trade of 5 at our price, 2 steps ahead"
    assert venue.trade(limit, 5, other, 11) == [
        ("filled", "bt1", 2, limit, "maker", 11, why),
        ("filled", "bt2", 1, limit, "maker", 11, why),
    ]
    assert shortly(venue.trade(limit, 1, other)) == [("bt2", 1, limit, "maker")]
    assert shortly(venue.trade(limit, 9, other)) == [("bt2", 2, limit, "maker")]
    # The last one arrived after all of them; a print of the moment of its arrival counts for it.
    assert venue.trade(limit, 9, other, 49) == []
    assert (venue.market.orders, late.lots_in_front) == ([late], 5)
    assert shortly(venue.trade(limit, 9, other, 50)) == [("bt3", 1, limit, "maker")]


def test_updates_move_the_queue_only_forward() -> None:
    """`ahead` is the smaller of what it was and what is displayed; size that joins behind us changes nothing."""
    venue = Venue(BIDS, ASKS)
    order, unknown = working(1, BUY, 1, 98), working(2, BUY, 1, 95)
    venue.arrive(order, unknown)
    aheads = []
    for n, size in enumerate((7, 4, 6, 0, 3), 1):
        assert venue.update({98: size}, {}, n) == []
        aheads.append(order.lots_in_front)
    assert aheads == [5, 4, 4, 0, 0]
    # A price that was outside the display has its queue as soon as it is shown.
    assert unknown.lots_in_front is None
    venue.update({95: 6}, {}, 10)
    assert unknown.lots_in_front == 6
    # Where our level drops out of the display again, what was known stays.
    venue.update({95: 0}, {}, 11)
    assert unknown.lots_in_front == 6


@pytest.mark.parametrize(("has_gap", "ahead"), [(False, 3), (True, 5)])
def test_a_level_is_not_compared_across_a_gap(*, has_gap: bool, ahead: int) -> None:
    """Of the level of ten, five of them ahead, four have cancelled; after a gap nobody knows."""
    venue = Venue({98: 5}, ASKS)
    venue.market.queue_model = queue_model("proportional")
    order = working(1, BUY, 1, 98)
    venue.arrive(order)
    venue.update({98: 10}, {}, 1)
    if has_gap:
        venue.market.lose_sight()
    venue.update({98: 6}, {}, 2)
    assert order.lots_in_front == ahead


def test_a_trade_beyond_our_price_by_our_own_side_fills_where_that_is_wanted() -> None:
    for own_side_prints, aggressor, fills in ((True, BUY, 1), (False, BUY, 0), (False, SELL, 1)):
        venue = Venue(BIDS, ASKS, own_side_prints=own_side_prints)
        venue.arrive(working(1, BUY, 1, 98))
        assert len(venue.trade(97, 1, aggressor)) == fills


def test_prints_do_not_fill_where_the_queue_is_unknown() -> None:
    """One beyond the price does: whoever stood before us has been filled too."""
    venue = Venue(BIDS, ASKS)
    order = working(1, BUY, 3, 95)
    venue.arrive(order)
    assert venue.trade(95, 1_000, SELL) == []
    assert order.lots_in_front is None
    why = "trade at 94 beyond our price, queue unknown"
    assert venue.trade(94, 1, SELL) == [("filled", "bt1", 3, 95, "maker", 10, why)]


@both_sides
def test_a_print_beyond_our_price_fills_whole_at_our_limit(side: Side) -> None:
    """Whatever its size and its aggressor."""
    venue = Venue({99: 5, 98: 5}, {101: 5, 102: 5})
    near, far = mirrored(side, 99), mirrored(side, 98)
    order = working(1, side, 3, near)
    venue.arrive(order, working(2, side, 1, far))
    why = f"trade at {far} beyond our price, 5 steps ahead"
    assert venue.trade(far, 1, side, 12) == [("filled", "bt1", 3, near, "maker", 12, why)]


@both_sides
def test_the_other_side_reaching_our_price_fills_whole_at_our_limit(side: Side) -> None:
    """A display that shows it is as good as a print; one stamped before we arrived is not."""
    venue = Venue({99: 5}, {101: 5})
    price = mirrored(side, 99)
    early, late = working(1, side, 3, price), working(2, side, 1, price, arrived_ns=21)
    venue.arrive(early, late)
    cross = {price: 2.0}
    bids, asks = ({price: 0.0}, cross) if side is BUY else (cross, {price: 0.0})
    why = "the other side reached our price, 5 steps ahead"
    assert venue.update(bids, asks, 20) == [("filled", "bt1", 3, price, "maker", 20, why)]
    # The update is no fill for the late one, but what it shows of the queue is newer than what was known.
    assert (venue.market.orders, late.lots_in_front) == ([late], 0)
    assert shortly(venue.update({98: 1.0}, {102: 1.0}, 21)) == [("bt2", 1, price, "maker")]


def test_levels_that_we_took_whole_do_not_reach_our_price() -> None:
    """The rest of a limit that ate a level rests on that level's price, which still shows what we took."""
    venue = Venue(BIDS, ASKS)
    order = working(1, BUY, 8, 101)
    assert shortly(venue.arrive(order)) == [("bt1", 5, 101, "taker")]
    assert venue.update({99: 4}, {}, 1) == []
    assert venue.market.orders == [order]
    # What is shown beyond what we took does reach us.
    assert shortly(venue.update({}, {101: 6}, 2)) == [("bt1", 3, 101, "maker")]


def test_a_side_of_which_we_took_everything_reaches_nobody() -> None:
    """Nothing of it is left to trade with."""
    venue = Venue({99: 5}, {101: 5})
    order = working(1, BUY, 8, 103)
    assert shortly(venue.arrive(order)) == [("bt1", 5, 101, "taker")]
    assert venue.update({98: 4}, {}, 1) == []
    assert venue.market.orders == [order]


def test_an_invalid_display_fills_nothing() -> None:
    """Prints still move the last price; the queue is looked at again with the first update after."""
    venue = Venue(BIDS, ASKS)
    order = working(1, BUY, 3, 98)
    venue.arrive(order)
    venue.book.invalidate()
    assert venue.trade(98, 100, SELL) == venue.trade(90, 100, SELL) == []
    assert venue.update({}, {98: 5}, 20) == []
    assert (order.lots_in_front, venue.market.last_price, venue.market.updated_ns) == (5, 90, 20)
    venue.snapshot({98: 2}, ASKS, 21)
    assert order.lots_in_front == 2


def test_an_order_that_an_earlier_fill_ended_is_passed_over() -> None:
    """By prints and by updates."""
    for happening in ("trade", "update"):
        venue = Venue(BIDS, ASKS)
        second = working(2, BUY, 1, 99)
        venue.arrive(working(1, BUY, 1, 99), second)
        venue.sink.after_fill = lambda _, venue=venue, second=second: venue.sink.cancel(second, "other", 20)
        told = venue.trade(98, 1, SELL) if happening == "trade" else venue.update({99: 0}, {99: 1}, 20)
        assert shortly(told) == [("bt1", 1, 99, "maker"), ("bt2", "other")]


def test_an_amended_order_queues_anew() -> None:
    """At the back of what is displayed at its price, or it takes what that price reaches."""
    venue = Venue(BIDS, ASKS)
    order, other = working(1, BUY, 2, 98), working(2, BUY, 2, 98)
    venue.arrive(order, other)
    venue.trade(98, 4, SELL)
    assert (order.lots_in_front, other.lots_in_front) == (1, 1)
    venue.market.requeue(order, 20)
    assert ([order.lots_in_front, other.lots_in_front], venue.market.orders) == ([5, 1], [other, order])
    order.limit_ticks = 101
    venue.market.requeue(order, 21)
    assert shortly(venue.sink.take()) == [("bt1", 2, 101, "taker")]


# Stops --------------------------------------------------------------------------------------------------------------


@both_sides
def test_a_stop_waits_for_the_last_trade_and_takes_from_the_update_after_it(side: Side) -> None:
    """The display before that update still shows what the trade took."""
    venue = Venue(BIDS, ASKS)
    stop = working(1, side, 2, stop=mirrored(side, 103))
    assert venue.arrive(stop) == []
    # What is displayed does not set it off where the run has trades.
    assert venue.snapshot({110: 5}, {111: 5}, 1) == venue.snapshot({89: 5}, {90: 5}, 2) == []
    assert venue.trade(mirrored(side, 102), 1, side, 3) == []
    assert not stop.is_triggered
    assert venue.trade(mirrored(side, 103), 1, side, 4) == []
    assert stop.is_triggered
    assert venue.trade(mirrored(side, 120), 1, side, 5) == venue.trade(mirrored(side, 80), 1, side, 6) == []
    got = venue.snapshot({95: 5}, {105: 5}, 7)
    assert got == [("filled", "bt1", 2, mirrored(side, 105), "taker", 7, "took level 1 of the display")]


def test_a_stop_that_is_set_off_waits_until_the_display_is_valid() -> None:
    """A market order could not be served before either, but it would be refused."""
    venue = Venue(BIDS, ASKS)
    venue.arrive(working(1, BUY, 2, stop=103))
    venue.book.invalidate()
    assert venue.trade(103, 1, BUY, 3) == []
    assert venue.update({}, {101: 1}, 4) == []
    assert shortly(venue.snapshot(BIDS, ASKS, 5)) == [("bt1", 2, 101, "taker")]


@pytest.mark.parametrize(
    ("limit", "tif", "expected", "ahead"),
    [
        (None, "GTC", [(5, 101), (5, 102), (5, 104), "no_liquidity"], None),
        (102, "GTC", [(5, 101), (5, 102)], 0),
        (102, "IOC", [(5, 101), (5, 102), "ioc_unfilled"], None),
        (102, "FOK", ["fok_unfilled"], None),
        (99, "GTC", [], 5),
    ],
)
def test_a_stop_becomes_the_order_that_it_says(limit: int | None, tif: str, expected: list[Any], ahead: int) -> None:
    """Market or limit, with its time in force; a limit that takes nothing queues."""
    venue = Venue(BIDS, ASKS)
    order = working(1, BUY, 20, limit, stop=103, tif=tif)
    venue.arrive(order)
    venue.trade(103, 1, BUY)
    told = venue.update({}, {101: 5}, 11)
    assert shortly(told) == [("bt1", x) if isinstance(x, str) else ("bt1", *x, "taker") for x in expected]
    assert venue.market.orders == ([] if order.state.is_final else [order])
    assert order.lots_in_front == ahead


@both_sides
@pytest.mark.parametrize(("last", "is_set_off"), [(None, False), (102, False), (103, True), (104, True)])
def test_a_stop_that_the_last_trade_has_reached_works_on_arrival(
    side: Side, last: int | None, is_set_off: bool
) -> None:
    """That trade was before it, and the display after it is what it takes from."""
    venue = Venue({99: 5}, {101: 5})
    venue.market.see(None if last is None else mirrored(side, last))
    told = venue.arrive(working(1, side, 2, stop=mirrored(side, 103)))
    assert shortly(told) == ([("bt1", 2, mirrored(side, 101), "taker")] if is_set_off else [])


def test_a_stop_is_not_refused_for_a_display_that_it_does_not_need_yet() -> None:
    """Without a valid display it is let in and waits."""
    venue = Venue(has_trades=False)
    stop = working(1, BUY, 2, stop=103)
    assert venue.arrive(stop) == []
    assert venue.market.orders == [stop]


@both_sides
def test_without_trades_the_best_opposite_price_sets_stops_off(side: Side) -> None:
    """On arrival or with an update, and then it takes from that very display; trades there are none."""
    venue = Venue({99: 5}, {101: 5}, has_trades=False)
    at_once = working(1, side, 1, stop=mirrored(side, 101))
    waiting = working(2, side, 1, stop=mirrored(side, 103))
    late = working(3, side, 1, stop=mirrored(side, 103), arrived_ns=21)
    assert shortly(venue.arrive(at_once, waiting, late)) == [("bt1", 1, mirrored(side, 101), "taker")]
    assert venue.snapshot({98: 5}, {102: 5}, 19) == []
    # A side that is empty has no price.
    assert venue.snapshot({}, {}, 19) == []
    assert shortly(venue.snapshot({97: 5}, {103: 5}, 20)) == [("bt2", 1, mirrored(side, 103), "taker")]
    assert shortly(venue.snapshot({97: 5}, {103: 5}, 21)) == [("bt3", 1, mirrored(side, 103), "taker")]


def test_an_amended_stop_still_waits_for_the_update_after_its_trade() -> None:
    """Being put to the back does not let it take from the old display."""
    venue = Venue(BIDS, ASKS)
    stop, other = working(1, BUY, 2, 102, stop=103), working(2, BUY, 1, 98)
    venue.arrive(stop, other)
    venue.trade(103, 1, BUY)
    stop.lots = 3
    venue.market.requeue(stop, 12)
    assert venue.sink.take() == []
    assert venue.market.orders == [other, stop]
    assert shortly(venue.update({}, {101: 1}, 13)) == [("bt1", 1, 101, "taker"), ("bt1", 2, 102, "taker")]


# Gates --------------------------------------------------------------------------------------------------------------


BOOKS = {
    "a buy": [working(1, BUY, 1, 99)],
    "a sell": [working(1, SELL, 1, 101)],
    "both sides": [working(1, BUY, 1, 97), working(2, SELL, 1, 103), working(3, BUY, 1, 98), working(4, SELL, 1, 104)],
    "stops": [working(1, BUY, 1, stop=103), working(2, SELL, 1, stop=97), working(3, BUY, 1, stop=104)],
    "stops within limits": [working(1, BUY, 1, stop=102), working(2, SELL, 1, stop=98), working(3, BUY, 1, 96)],
}


@pytest.mark.parametrize("name", BOOKS)
def test_inside_the_gate_a_trade_concerns_nobody_and_on_the_first_tick_outside_it_does(name: str) -> None:
    """At every price around, on the grid or off it; a print at our price moves the queue."""
    outside = 0
    for price in np.arange(90.0, 110.25, 0.25).tolist():
        venue = Venue({99: 5, 97: 5, 96: 5, 80: 5}, {101: 5, 103: 5, 104: 5, 120: 5})
        orders = [working(o.id[2:], o.side, 1, o.limit_ticks, stop=o.stop_ticks) for o in BOOKS[name]]
        venue.arrive(*orders)
        gate = venue.market.band()
        before = [(order.is_triggered, order.lots_in_front) for order in orders]
        told = [row for aggressor in (BUY, SELL) for row in venue.trade(price, 4.0, aggressor)]
        happened = bool(told) or [(order.is_triggered, order.lots_in_front) for order in orders] != before
        is_inside = gate.low < price < gate.high
        assert not (happened and is_inside), (price, gate)
        if price == int(price):
            assert happened is not is_inside, (price, gate)
            outside += happened
    assert outside


def test_orders_that_trades_cannot_concern_leave_the_gate_open() -> None:
    """Stops where the display sets them off, and a stop that only waits for the next update."""
    venue = Venue(BIDS, ASKS, has_trades=False)
    venue.arrive(working(1, BUY, 1, stop=103))
    everything = PriceBand(float("-inf"), float("inf"))
    assert venue.market.band() == everything
    assert venue.market.needs_rows
    venue = Venue(BIDS, ASKS)
    venue.arrive(working(1, BUY, 1, stop=103))
    venue.trade(103, 1, BUY)
    assert venue.market.band() == everything


def test_an_update_from_before_the_arrival_does_not_serve_a_waiting_limit() -> None:
    """Come in late, it says nothing about the market that the order met; the next one does."""
    venue = Venue()
    venue.snapshot(BIDS, ASKS, 500)
    venue.book.invalidate()
    order = working(1, BUY, 1, 101, arrived_ns=1_000)
    assert venue.arrive(order) == []
    assert venue.snapshot(BIDS, ASKS, 999) == []
    told = venue.snapshot(BIDS, ASKS, 1_000)
    assert [row[1:5] for row in told if row[0] == "filled"] == [("bt1", 1, 101, "taker")]


def test_a_displayed_size_below_one_step_is_a_queue_of_one() -> None:
    """A queue is not shortened by rounding: what stands there has to trade before us."""
    venue = Venue()
    venue.snapshot({100: 0.4}, ASKS, 500)
    order = working(1, BUY, 1, 100, arrived_ns=600)
    venue.arrive(order)
    assert order.lots_in_front == 1


def test_a_ticker_display_goes_by_other_steps_at_once() -> None:
    """Before the first ticker there is nothing to round; what it shows is on the step already."""
    tenths = Instrument.from_dict({**SWAP.to_dict(), "price_step": "0.1"})
    display = TickerDisplay(tenths)
    whole = Instrument.from_dict({**tenths.to_dict(), "price_step": "1", "tick": "0.1"})
    display.use(whole)
    assert (display.is_valid, display.best(BUY)) == (False, None)
    display.update(100.4, 5.0, 100.6, 5.0)
    assert (display.best(BUY), display.best(SELL)) == (1000, 1010)
    display.use(tenths)
    assert (display.best(BUY), display.best(SELL)) == (1004, 1006)
    assert display.meets(BUY, 1004) == 1004


def test_a_trade_stamped_before_an_update_that_came_in_first_counts_once() -> None:
    """The timeline of docs/fills.md; with equal stamps the rows count as they came in."""
    for stamp_ns, left in ((10, 5), (12, 2)):
        venue = Venue({100: 8}, {101: 9})
        order = working(1, BUY, 1, 100)
        venue.arrive(order)
        assert venue.update({100: 5}, {}, 12) == []
        assert venue.trade(100.0, 3.0, SELL, 12, stamp_ns) == []
        assert order.lots_in_front == left
        assert shortly(venue.trade(100.0, left + 1.0, SELL, 23)) == [("bt1", 1, 100, "maker")]


def test_a_late_trade_fills_what_it_would_have_left_for_us_in_time() -> None:
    """Eight of the ten went to those in front, so two are ours, though the update has left two there."""
    venue = Venue({100: 8}, {101: 9})
    order = working(1, BUY, 5, 100)
    venue.arrive(order)
    assert venue.update({100: 2}, {}, 12) == []
    assert shortly(venue.trade(100.0, 10.0, SELL, 12, 11)) == [("bt1", 2, 100, "maker")]
    assert order.lots_in_front == 0


def test_beside_tickers_trades_count_as_they_come_in() -> None:
    """A ticker's stamp is not that of its size."""
    rows: list[Any] = [
        Trade(SWAP.id, 0, 0, 101.0, 1.0, BUY, 1),
        Ticker(SWAP.id, 1_000_000, 1_000_000, 100.0, 8.0, 101.0, 9.0),
        Ticker(SWAP.id, 30_000_000, 30_000_000, 100.0, 5.0, 101.0, 9.0),
        Trade(SWAP.id, 29_000_000, 31_000_000, 100.0, 3.0, SELL, 2),
        Trade(SWAP.id, 40_000_000, 40_000_000, 100.0, 3.0, SELL, 3),
        Ticker(SWAP.id, 50_000_000, 50_000_000, 100.0, 5.0, 101.0, 9.0),
    ]

    class Bids(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_tickers(SWAP.id)
            self.subscribe_trades(SWAP.id)

        def on_ticker(self, ticker: qk.Ticker) -> None:
            if not self.open_orders(SWAP.id) and not self.position(SWAP.id):
                self.buy(SWAP.id, 1, price=100.0)

    result = qk.backtest(Bids, data=MemoryFeed(rows, [SWAP]), match_on="ticker", latency_ms=1, cash={"USDT": 1e6})
    assert [fill.filled_ns for fill in result.outcome.fills] == [40_000_000]
