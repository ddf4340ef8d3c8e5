"""What a curve that is valued after the fact gets wrong most easily, each with its numbers; all ways agree."""

import pytest
from oracle.match import naive, real
from oracle.scripted import Act, HookRaised, Script, Scripted
from oracle.timelines import (
    OTHER,
    SPOT,
    SWAP,
    Played,
    book,
    buy,
    candle,
    funding,
    mark,
    ms,
    ns,
    play,
    scenario,
    sell,
    trade,
)

from quantkit.clock import NS_PER_MS
from quantkit.engine import equity
from quantkit.events import MarketEvent
from quantkit.fees import Fees
from quantkit.instruments import Instrument

TEN_MS = 10 * NS_PER_MS


def rows_of(played: Played) -> list[tuple[float, float, float, float, str]]:
    """Return time in ms, equity, cash, drawdown in per cent, and the sort of each row of the curve."""
    return [
        (ms(time_ns), equity, cash, round(100 * drawdown, 6), "grid" if is_grid else "row")
        for time_ns, equity, cash, _, drawdown, is_grid in played.told.curve
    ]


def test_rows_while_nothing_is_held_are_no_moments() -> None:
    """A rebate lifts the account: the fall of its row is that after it, though rows went by in the deeper one."""
    prices = ((0, 100.0), (30, 100.0), (60, 90.0), (75, 90.0), (90, 90.0), (110, 90.0), (130, 90.0), (150, 90.0))
    played = play(
        [trade(at, price) for at, price in prices],
        {("trade", 0): [buy(10)], ("trade", 2): [sell(10)], ("trade", 4): [buy(10)]},
        on="trade",
        cash={"USDT": 10_000.0},
        fees=Fees(taker_bps=-10),
    )
    # Bought at 100 (+1), sold at 90 (-100, +0.9), bought at 90 (+0.9): 9,901 of 10,001 at worst, then more again.
    assert rows_of(played)[-3:-1] == [
        (90, 9_901.9, 9_901.9, round(100 * (9_901 / 10_001 - 1), 6), "row"),
        (110, 9_902.8, 9_902.8, round(100 * (9_902.8 / 10_001 - 1), 6), "row"),
    ]


def test_rows_of_the_grid_show_the_cash_of_their_time() -> None:
    """The sale at 80 realises 50; what the grid shows of before has the cash of before, at the marks of before."""
    prices = ((0, 100.0), (30, 100.0), (42, 103.0), (55, 104.0), (80, 105.0), (95, 107.0), (120, 108.0))
    played = play(
        [trade(at, price) for at, price in prices],
        {("trade", 0): [buy(10)], ("trade", 3): [sell(10)]},
        on="trade",
        equity_every_ns=TEN_MS,
    )
    grid = {at: (equity, cash) for at, equity, cash, _, sort in rows_of(played) if sort == "grid"}
    assert grid == {
        10: (10_000, 10_000),
        20: (10_000, 10_000),
        30: (10_000, 10_000),
        40: (10_000, 10_000),
        50: (10_030, 10_000),
        60: (10_040, 10_000),
        70: (10_040, 10_000),
        80: (10_050, 10_000),  # before the fill of its own moment, at the mark of its whole stamp
        90: (10_050, 10_050),
        100: (10_050, 10_050),
        110: (10_050, 10_050),
        120: (10_050, 10_050),
    }


def test_a_fill_in_one_market_leaves_the_others_marks_to_their_rows() -> None:
    """The other's mark moves between two fills and at the very row of the second: each with its state."""
    events = [trade(0, 100.0), trade(0, 50.0, of=OTHER), trade(30, 100.0), trade(40, 60.0, of=OTHER)]
    events += [trade(44, 70.0, of=OTHER), trade(66, 65.0, of=OTHER), trade(70, 101.0), trade(90, 66.0, of=OTHER)]
    played = play(
        events,
        {("trade", 0): [buy(10)], ("trade", 1): [buy(10, of=OTHER)], ("trade", 2): [buy(5)]},
        on="trade",
        instruments=(SWAP, OTHER),
        equity_every_ns=TEN_MS,
    )
    assert [(at, equity) for at, equity, *_ in rows_of(played) if at >= 40] == [
        (40, 10_000),  # of the grid, before the fill of its stamp
        (40, 9_900),  # bought at 60 while 50 was the mark
        (50, 10_100),
        (60, 10_100),
        (70, 10_060),  # the grid's row counts the trade at 101 of its own stamp
        (70, 10_045),
        (80, 10_060),
        (90, 10_070),
        (90, 10_070),
    ]
    assert [trip[2:] for trip in played.told.trips] == [(100.0, 101.0), (60.0, 70.0)]


def test_funding_is_no_row_but_its_money_is_gone_from_the_fall_that_stands() -> None:
    """No mark comes after it: the grid shows the fall with the money gone, and the peak of before."""
    events = [trade(0, 100.0), mark(0, 100.0), trade(30, 100.0), mark(45, 98.0), funding(52, 0.1, ns(50))]
    events += [trade(90, 100.0)]
    played = play(events, {("trade", 0): [buy(10)]}, on="trade", equity_every_ns=TEN_MS)
    falls = {at: (equity, fall) for at, equity, _, fall, sort in rows_of(played) if sort == "grid"}
    assert falls[40] == (10_000, 0)
    assert falls[50] == (9_980, -0.2)
    assert falls[60] == (9_882, -1.18)
    assert falls[70] == (9_882, -1.18)


def test_excursions_see_the_mark_of_the_fill_where_another_market_moves() -> None:
    """It moves before the own mark does: what the position was valued at then was a moment of the trip."""
    events = [trade(0, 100.0), trade(0, 50.0, of=OTHER), trade(25, 50.0, of=OTHER), trade(30, 90.0)]
    events += [trade(40, 51.0, of=OTHER), trade(60, 95.0), trade(90, 96.0)]
    calls = {("trade", 1): [buy(1, of=OTHER)], ("trade", 0): [buy(1, 120.0)]}
    moved = play(events, calls, on="trade", instruments=(SWAP, OTHER))
    # Filled at the print of 90 while the mark was 100 still, which nobody saw: the print itself is the first mark.
    assert moved.told.trips == [("BBB-USDT-SWAP", 1, 50.0, 51.0), ("AAA-USDT-SWAP", 2, 90.0, 96.0)]
    late = [
        mark(0, 100.0),
        mark(0, 50.0, of=OTHER),
        *events,
        mark(50, 52.0, of=OTHER),
        mark(70, 94.0),
        mark(88, 50.0, of=OTHER),
    ]
    late.sort(key=lambda event: event.received_ns)
    marked = play(late, calls, on="trade", instruments=(SWAP, OTHER))
    # Here the mark of 100 stands when the other's moves at 50.
    assert marked.told.trips == [("BBB-USDT-SWAP", 1, 50.0, 52.0), ("AAA-USDT-SWAP", 2, 90.0, 100.0)]


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("block_rows", [1, 3, 131_072])
def test_a_run_that_a_hook_ends_values_what_was_seen(search: bool, block_rows: int) -> None:
    """Fills and marks up to the row of the hook, the grid before it, and nothing after."""
    events = [trade(10 * n, 100.0 + n) for n in range(12)]
    market = scenario(events, on="trade", equity_every_ns=TEN_MS)

    def script() -> Script:
        def act(number: int, hook: str, strategy: Scripted) -> list[Act]:
            if hook == "trade" and strategy.now == ns(70):
                raise HookRaised
            return [buy(10)] if (hook, strategy.now if hook != "start" else 0) == ("trade", ns(0)) else []

        return act

    slow = naive(market, strategy=market.strategy_with(script()))
    told = real(market, search=search, block_rows=block_rows, strategy=market.strategy_with(script()))
    assert told.curve == slow.curve
    assert (told.ended, told.end_ns, told.trips) == ("strategy_error", ns(70), slow.trips)
    assert [(ms(row[0]), row[1], row[5]) for row in told.curve] == [
        (0, 10_000, False),
        (10, 10_000, True),
        (20, 10_000, True),
        (20, 10_000 - 10, False),  # bought at 102 while 101 was the last mark
        (30, 10_010, True),
        (40, 10_020, True),
        (50, 10_030, True),
        (60, 10_040, True),
        (70, 10_050, False),
    ]


def test_a_run_that_a_hook_ends_early_is_valued_since_its_coins_had_a_price() -> None:
    """Nothing had asked for the curve yet: it begins with the row that priced them all the same."""
    events = [trade(0, 100.0, of=SPOT), *(trade(10 * n, 100.0 + n, of=SPOT) for n in range(1, 6))]
    market = scenario(events, on="trade", instruments=(SPOT,), cash={"USDT": 1_000.0, "AAA": 2.0})

    def act(number: int, hook: str, strategy: Scripted) -> list[Act]:
        if hook == "trade" and strategy.now == ns(30):
            raise HookRaised
        return []

    told = real(market, strategy=market.strategy_with(act))
    assert [(ms(row[0]), row[1]) for row in told.curve] == [(0, 1_200), (30, 1_206)]
    assert told.curve == naive(market, strategy=market.strategy_with(act)).curve


def test_a_ruin_writes_the_rows_before_it_and_its_own() -> None:
    """Nothing of the grid at the moment of the end, or past it."""
    events = [trade(0, 100.0), trade(30, 100.0), trade(43, 90.0), trade(60, 79.0), trade(90, 100.0)]
    played = play(events, {("trade", 0): [buy(50)]}, on="trade", cash={"USDT": 1_000.0}, equity_every_ns=TEN_MS)
    assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(60))
    assert rows_of(played)[-3:] == [
        (40, 1_000, 1_000, 0, "grid"),
        (50, 500, 1_000, -50, "grid"),
        (60, -50, 1_000, -105, "row"),
    ]


def test_a_candles_fills_come_before_the_grid_of_its_close_and_opens_after() -> None:
    """The grid shows the account as the hook of the close sees it, with the mark of the whole stamp."""
    events: list[MarketEvent] = [candle(n, (100.0 + n, 112.0, 90.0, 105.0 + n)) for n in (1, 2, 3, 4)]
    played = play(
        events,
        {("candle", 0): [buy(1), sell(1, price=111.0)]},
        on="candle",
        latency=0,
        equity_every_ns=60_000 * NS_PER_MS,
    )
    assert rows_of(played)[1:6] == [
        (60_000, 10_000, 10_000, 0, "grid"),
        (60_000, 10_004, 10_000, 0, "row"),  # the open of the second, at the close of the first
        (120_000, 10_009, 10_009, 0, "row"),
        (120_000, 10_009, 10_009, 0, "grid"),
        (180_000, 10_009, 10_009, 0, "grid"),
    ]


def test_coins_in_the_account_are_worth_something_once_they_have_a_price() -> None:
    """The curve begins with the row that brings the first one; what was paid in is the worth then."""
    events = [trade(0, 100.0), trade(12, 200.0, of=SPOT), trade(30, 100.0), trade(47, 210.0, of=SPOT)]
    played = play(
        events,
        {("trade", 0): [buy(1)]},
        on=f"{SWAP.id}=trade,{SPOT.id}=trade",
        instruments=(SWAP, SPOT),
        cash={"USDT": 1_000.0, "AAA": 2.0},
        equity_every_ns=TEN_MS,
    )
    assert rows_of(played)[0] == (12, 1_400, 1_000, 0, "row")
    assert rows_of(played)[-1][:2] == (47, 1_420)
    assert played.told.ledger["starting_equity"] == "1400"


def test_a_fill_that_new_steps_reveal_comes_after_the_grid_of_its_moment() -> None:
    """It had arrived before they came into force; a timer of the same moment has run before the row."""
    finer = Instrument.from_dict({**SWAP.to_dict(), "price_step": "0.05", "valid_from_ns": ns(40)})
    played = play(
        [book(0, {99.9: 9}, {100.1: 9}, whole=True), book(90, {99.9: 9}, {100.1: 9}, whole=True)],
        {("timer", 0): [buy(1)]},
        on="book",
        instruments=(SWAP, finer),
        timers=("10ms",),
        equity_every_ns=TEN_MS,
    )
    assert [row[0::4] for row in rows_of(played) if row[0] in (30, 40)] == [(30, "grid"), (40, "grid"), (40, "row")]


def test_what_time_alone_brings_comes_before_the_grid_of_its_moment() -> None:
    """No row shows the arrival: it is looked at at 40, before any row of that stamp."""
    played = play(
        [book(0, {99.9: 9}, {100.1: 9}, whole=True), book(90, {99.9: 8}, {})],
        {("book", 0): [buy(1)]},
        on="book",
        equity_every_ns=TEN_MS,
    )
    assert [row[0::4] for row in rows_of(played) if row[0] in (30, 40)] == [(30, "grid"), (40, "row"), (40, "grid")]


def test_midnight_is_on_every_grid() -> None:
    """Daily returns are taken from it, also where the grid's step does not come to it."""
    played = play(
        [trade(at, 100.0 + at) for at in (-50, -30, 10, 60)],
        {("trade", 0): [buy(1)]},
        on="trade",
        start=-50,
        equity_every_ns=37 * NS_PER_MS,
    )
    grid = [row[0] for row in rows_of(played) if row[4] == "grid"]
    assert 0 in grid
    assert len(grid) == 4
    assert sorted(grid) == grid


def test_a_trip_that_is_over_sees_nothing_more() -> None:
    """The marks go on to matter, since they price the coins of the account."""
    prices = ((0, 100.0), (30, 100.0), (60, 110.0), (90, 110.0), (120, 150.0), (150, 50.0))
    played = play(
        [trade(at, price) for at, price in prices],
        {("trade", 0): [buy(1)], ("trade", 2): [sell(1)]},
        on="trade",
        cash={"USDT": 1_000.0, "AAA": 1.0},
    )
    assert played.told.trips == [(SWAP.id, 1, 100.0, 110.0)]


def test_what_is_left_of_coins_keeps_no_trip_open() -> None:
    """A fee taken in coins leaves less than a size step: the marks after that are none of the trip's."""
    coin = Instrument("AAA-USDT", price_step="0.1", qty_step="0.01")
    prices = ((0, 100.0), (30, 100.0), (60, 110.0), (90, 110.0), (120, 150.0), (150, 120.0), (180, 130.0))
    played = play(
        [trade(at, price, of=coin) for at, price in prices],
        {
            ("trade", 0): [buy(1, of=coin)],
            ("trade", 2): [sell(0.99, of=coin)],
            ("trade", 4): [buy(1, of=coin)],
        },
        on="trade",
        instruments=(coin,),
        cash={"USDT": 1_000.0},
        fees=Fees(maker_bps=10, taker_bps=10, currency="received"),
    )
    assert played.told.trips == [(coin.id, 1, 100.0, 110.0), (coin.id, 3, 120.0, 130.0)]


def test_a_ruin_by_a_fill_values_the_fills_and_rows_before_it() -> None:
    """The mark stands far above the prints: selling at those ruins, with nothing valued since the fill before."""
    events = [trade(0, 100.0), mark(0, 100.0), trade(30, 100.0), mark(35, 101.0), trade(40, 79.0), trade(60, 79.0)]
    events += [mark(65, 100.0), trade(90, 79.0), trade(110, 100.0)]
    calls = {("trade", 0): [buy(50)], ("trade", 1): [sell(25)], ("trade", 3): [sell(25)]}  # filled at 60 and 90
    played = play(events, calls, on="trade", cash={"USDT": 1_000.0})
    assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(90))
    assert [row[:3] for row in rows_of(played)] == [
        (0, 1_000, 1_000),
        (30, 1_000, 1_000),
        (60, 475 + 25, 475),
        (90, -50, -50),
        (90, -50, -50),
    ]


def test_funding_received_is_no_peak() -> None:
    """What stands after it is no moment: the next mark sets the peak."""
    events = [trade(0, 100.0), mark(0, 100.0), trade(30, 100.0), mark(45, 100.0), funding(52, 0.1, ns(50))]
    events += [mark(55, 101.0), trade(90, 100.0)]
    played = play(events, {("trade", 0): [sell(10)]}, on="trade", equity_every_ns=TEN_MS)
    falls = {at: (equity, fall) for at, equity, _, fall, sort in rows_of(played) if sort == "grid"}
    assert falls[50] == (10_000, 0)
    assert falls[60] == (10_090, 0)


def test_a_flip_ends_a_trip_where_the_next_begins() -> None:
    """What comes after it belongs to the new one alone."""
    prices = ((0, 100.0), (30, 100.0), (60, 110.0), (90, 110.0), (120, 150.0), (150, 50.0))
    played = play(
        [trade(at, price) for at, price in prices], {("trade", 0): [buy(1)], ("trade", 2): [sell(2)]}, on="trade"
    )
    assert [trip[2:] for trip in played.told.trips] == [(100.0, 110.0), (50.0, 150.0)]


def test_a_book_that_rises_ruins_who_is_short() -> None:
    """No batch knows the mids of a book ahead: each is looked at."""
    events = [book(0, {99.9: 99}, {100.1: 99}, whole=True), book(30, {99.9: 98}, {})]
    events += [book(60, {109.9: 99}, {110.1: 99}, whole=True), book(90, {125.9: 99}, {126.1: 99}, whole=True)]
    played = play(events, {("book", 0): [sell(50)]}, on="book", cash={"USDT": 1_000.0})
    assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(90))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_how_many_fills_are_valued_at_once_decides_nothing(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some in the middle of a batch, the rest at its end: on the grid, across a flip, in two markets."""
    events = [trade(5 * n, 100.0 + n % 7) for n in range(40)] + [
        trade(5 * n + 2, 50.0 - n % 5, of=OTHER) for n in range(40)
    ]
    events.sort(key=lambda event: event.received_ns)
    calls = {("trade", 6 * n): [(buy, sell)[n % 3 == 1](1 + n, of=(SWAP, OTHER)[n % 2])] for n in range(13)}
    more = {"on": "trade", "instruments": (SWAP, OTHER), "equity_every_ns": TEN_MS}
    whole = play(events, calls, **more)
    monkeypatch.setattr(equity, "_MANY_FILLS", most)
    assert play(events, calls, **more).told.curve == whole.told.curve
    assert len(whole.told.fills) == 12
