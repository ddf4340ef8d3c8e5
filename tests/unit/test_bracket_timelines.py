"""Timelines of `docs/brackets.md`: brackets and OCO groups on every kind of data, in the oracle and the engine.

Times are milliseconds, the latency is 20 unless said. An order is named by its number, children with `sl` or `tp`.
"""

import pytest
from oracle.scripted import Act
from oracle.timelines import SPOT, SWAP, amend, book, buy, cancel, candle, mark, play, sell, ticker, trade

from quantkit.fees import Fees
from quantkit.orders import StopLoss, TakeProfit, TriggerType

Bar = tuple[float, float, float, float]


def target(price: float) -> TakeProfit:
    """Return a target that is a limit order."""
    return TakeProfit(price, limit=price)


# Brackets -------------------------------------------------------------------------------------------------------------


def test_a_pair_is_in_force_one_latency_after_the_fill() -> None:
    """Until then a trade beyond the stop does nothing; it is set off as it comes."""
    events = [trade(0, 100), trade(30, 100), trade(40, 97), trade(60, 97.5), trade(100, 97.5)]
    played = play(events, {("trade", 0): [buy(1, stop_loss=98.0, take_profit=target(104))]}, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 30", "1sl sell 1 @ 97.5 taker 60"]
    assert played.events == [
        "1 accepted 20>40",
        "1 filled 30>50",
        "1sl accepted 50>70",
        "1tp accepted 50>70",
        "1sl filled 60>80",
        "1tp cancelled 60>80 oco",
    ]


def test_the_target_takes_the_stop_with_it() -> None:
    events = [trade(0, 100), trade(30, 100), trade(60, 104.1), trade(70, 97), trade(100, 97)]
    played = play(events, {("trade", 0): [buy(1, stop_loss=98.0, take_profit=target(104))]}, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 30", "1tp sell 1 @ 104 maker 60"]
    assert played.final(1) == "filled"
    assert played.events[-1] == "1sl cancelled 60>80 oco"


def test_fills_add_to_the_pair_and_a_stop_takes_what_is_displayed_in_turn() -> None:
    """Book: two levels are taken at 20, and the stop is worth more than the bid shows."""
    events = [
        book(0, {99.0: 2}, {101.0: 1, 102.0: 5}, whole=True),
        trade(60, 98.0, 1),
        book(70, {99.0: 2}, {}),
        book(80, {98.9: 3}, {}),
        book(150, {98.8: 3}, {}),
    ]
    calls = {("book", 0): [buy(3, stop_loss=98.0, take_profit=target(110))]}
    played = play(events, calls, on="book")
    assert played.fills == [
        "1 buy 1 @ 101 taker 20",
        "1 buy 2 @ 102 taker 20",
        "1sl sell 2 @ 99 taker 70",
        "1sl sell 1 @ 98.9 taker 80",
    ]
    assert played.events[3:] == [
        "1sl accepted 40>60",
        "1tp accepted 40>60",
        "1sl accepted 40>60 parent_filled",
        "1tp accepted 40>60 parent_filled",
        "1sl partly_filled 70>90",
        "1tp accepted 70>90 oco",
        "1sl filled 80>100",
        "1tp cancelled 80>100 oco",
    ]


def test_a_target_that_grows_loses_its_place() -> None:
    """One of five stands before it at 55; when the second fill is protected at 80, the six that are displayed do."""
    events = [
        book(0, {99.0: 5}, {101.0: 1, 104.0: 5}, whole=True),
        trade(50, 104, 4, "buy"),
        book(55, {}, {101.0: 0, 104.0: 1}),
        trade(60, 100.9, 1),
        book(70, {}, {104.0: 6}),
        trade(90, 104, 3, "buy"),
        trade(100, 104, 4, "buy"),
        book(150, {}, {105.0: 1}),
    ]
    calls = {("book", 0): [buy(2, 101, stop_loss=90.0, take_profit=target(104))]}
    played = play(events, calls, on="book")
    assert played.fills == ["1 buy 1 @ 101 taker 20", "1 buy 1 @ 101 maker 60", "1tp sell 1 @ 104 maker 100"]


def test_a_ticker_without_trades_sets_the_stop_off_by_its_bid() -> None:
    events = [ticker(0, 99.9, 100.1), ticker(50, 97, 97.2), ticker(60, 96.9, 97.1), ticker(100, 96.9, 97.1)]
    played = play(events, {("ticker", 0): [buy(1, stop_loss=98.0)]}, on="ticker")
    assert played.fills == ["1 buy 1 @ 100.1 taker 20", "1sl sell 1 @ 97 taker 50"]


def test_children_of_an_entry_at_the_open_take_part_in_the_range_stop_first() -> None:
    """Candle B holds both the stop and the target."""
    events = [candle(1, (99, 101, 98, 100)), candle(2, (101, 106, 97, 102)), candle(3, (102, 102, 102, 102))]
    played = play(events, {("candle", 0): [buy(1, stop_loss=98.0, take_profit=target(105))]}, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 101 taker 60000", "1sl sell 1 @ 98 taker 120000"]
    assert played.events[2:] == [
        "1sl accepted 60000>60000",
        "1tp accepted 60000>60000",
        "1sl filled 120000>120000",
        "1tp cancelled 120000>120000 oco",
    ]


@pytest.mark.parametrize(
    ("entry", "bar", "expected"),
    [
        (buy(1), (100, 105, 99, 103), ["1 buy 1 @ 100 taker 60000", "1tp sell 1 @ 104 maker 120000"]),
        (buy(1), (100, 105, 97, 103), ["1 buy 1 @ 100 taker 60000", "1sl sell 1 @ 98 taker 120000"]),
        (buy(1), (97, 105, 96, 103), ["1 buy 1 @ 97 taker 60000", "1sl sell 1 @ 97 taker 60000"]),
        (buy(1, 99.5), (100, 105, 98.5, 102), ["1 buy 1 @ 99.5 maker 120000", "1tp sell 1 @ 104 maker 180000"]),
        (buy(1, 99.5), (100, 105, 90, 102), ["1 buy 1 @ 99.5 maker 120000", "1sl sell 1 @ 98 taker 120000"]),
        (
            buy(1, stop_price=101.0),
            (100, 105, 97, 102),
            ["1 buy 1 @ 101 taker 120000", "1tp sell 1 @ 104 maker 180000"],
        ),
    ],
)
@pytest.mark.parametrize("aim", [target(104), TakeProfit(104)])
def test_a_candle_counts_against_its_entry(entry: Act, bar: Bar, expected: list[str], aim: TakeProfit) -> None:
    """The table of the page; the candle after that is at 102 to 105."""
    events = [candle(1, (100, 101, 99, 100)), candle(2, bar), candle(3, (102, 105, 102, 103))]
    call = entry._replace(more={**entry.more, "stop_loss": 98.0, "take_profit": aim})
    played = play(events, {("candle", 0): [call]}, on="candle", latency=0)
    assert played.fills == [fill.replace("tp sell 1 @ 104 maker", f"tp sell 1 @ 104 {_role(aim)}") for fill in expected]


def _role(aim: TakeProfit) -> str:
    return "taker" if aim.limit is None else "maker"


def test_a_short_entry_counts_against_itself_too() -> None:
    """Trailing by 1 from the entry at 100.5: the high of 110 came after it."""
    events = [candle(1, (100, 101, 99, 100)), candle(2, (100, 110, 99, 100)), candle(3, (100, 100, 100, 100))]
    calls = {("candle", 0): [sell(1, 100.5, stop_loss=StopLoss(trailing_offset=1))]}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 sell 1 @ 100.5 maker 120000", "1sl buy 1 @ 101.5 taker 120000"]


def test_a_stop_beyond_its_own_entry_ends_it_at_once() -> None:
    """Moved there by a change; a call with such prices sends nothing."""
    events = [candle(1, (100, 101, 99, 100)), candle(2, (100, 103, 99.4, 102)), candle(3, (102, 102, 102, 102))]
    calls = {("candle", 0): [buy(1, 99.8, stop_loss=99.7), Act("amend", price=99.5, which=0)]}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 99.5 maker 120000", "1sl sell 1 @ 99.5 taker 120000"]
    for call in (buy(1, 99.5, stop_loss=99.7), sell(1, 100.5, take_profit=100.7)):
        assert not play(events, {("candle", 0): [call]}, on="candle", latency=0).events


def test_a_stop_that_is_moved_after_its_candle_is_not_met_by_it() -> None:
    events = [candle(1, (100, 101, 99, 100)), candle(2, (100, 103, 98.5, 102)), candle(3, (102, 102, 100, 101))]
    calls = {("candle", 0): [buy(1, 99.5, stop_loss=98.0)], ("order", 2): [Act("amend", more={"trigger": (99.0, 0.0)})]}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 99.5 maker 120000"]
    assert "1sl accepted 120000>120000 amended" in played.events


@pytest.mark.parametrize("kind", ["bracket", "pair"])
def test_a_stop_that_the_mark_has_set_off_takes_the_next_open_before_its_target(kind: str) -> None:
    """It was at the market from 90 s on; what the candle reached may have come after that, and so may its open."""
    events = [mark(0, 100), candle(1, (100, 101, 99, 100)), mark(60_000, 100), mark(90_000, 95), mark(100_000, 100)]
    events += [candle(2, (100, 105, 99, 103)), candle(3, (106, 107, 103, 103)), mark(180_000, 103)]
    stop = StopLoss(98, trigger_type=TriggerType.MARK)
    calls = {("candle", 0): [buy(1, stop_loss=stop, take_profit=target(104))]}
    if kind == "pair":
        exits = {"oco_group": "x", "reduce_only": True}
        pair = [sell(1, 104, **exits), sell(1, stop_price=98, trigger_type="mark", **exits)]
        calls = {("candle", 0): [buy(1)], ("fill", 0): pair}
    played = play(events, calls, on="candle", latency=0)
    number = "1sl" if kind == "bracket" else "3"
    assert played.fills == ["1 buy 1 @ 100 taker 60000", f"{number} sell 1 @ 106 taker 120000"]


def test_a_pair_of_the_strategys_own_is_judged_by_the_open_it_comes_at() -> None:
    """The stop that the open has passed takes that open; its target fills nothing. One without a passed stop rests."""
    events = [candle(1, (100, 101, 99, 100)), candle(2, (97, 105, 96, 103)), candle(3, (103, 103, 103, 103))]
    pair = [sell(1, 104, oco_group="x"), sell(1, stop_price=98, oco_group="x")]
    calls = {("candle", 0): [buy(1)], ("fill", 0): pair}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 97 taker 60000", "3 sell 1 @ 97 taker 60000"]


def test_what_an_open_filled_counts_against_the_share_of_a_stop_that_it_sets_off() -> None:
    """A tenth of 10 is 1: the entry takes it at the open, and the range of that candle has none left either."""
    events = [candle(n, (100, 101, 99, 100)) for n in (1,)] + [candle(n, (97, 97, 97, 97)) for n in (2, 3, 4)]
    calls = {("candle", 0): [buy(1, stop_loss=98.0)]}
    played = play(events, calls, on="candle", latency=0, max_share=0.1)
    assert played.fills == ["1 buy 1 @ 97 taker 60000", "1sl sell 1 @ 97 taker 120000"]
    played = play(events, calls, on="candle", latency=0, max_share=0.2)
    assert played.fills == ["1 buy 1 @ 97 taker 60000", "1sl sell 1 @ 97 taker 60000"]


def test_children_of_an_entry_within_a_candle_begin_with_the_next_open() -> None:
    events = [
        candle(1, (99, 101, 98, 100)),
        candle(2, (100, 103, 98.5, 102)),
        candle(3, (99, 99.5, 98.5, 99)),
        candle(4, (96, 97, 95, 96)),
    ]
    calls = {("candle", 0): [buy(1, 99.5, stop_loss=98.0, take_profit=target(102))]}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 99.5 maker 120000", "1sl sell 1 @ 96 taker 180000"]


def test_a_stop_on_the_wrong_side_at_the_open_takes_that_open() -> None:
    events = [candle(1, (99, 101, 98, 100)), candle(2, (101, 102, 100, 101)), candle(3, (103, 103, 103, 103))]
    events.append(candle(4, (104, 104, 104, 104)))
    played = play(events, {("candle", 0): [buy(1, stop_loss=102.0)]}, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 101 taker 60000", "1sl sell 1 @ 101 taker 60000"]


def test_cancelling_the_parent_keeps_the_children_of_what_was_filled() -> None:
    events = [trade(0, 100), trade(30, 99, 1), trade(40, 99), trade(100, 97.9), trade(120, 97.9), trade(150, 97.9)]
    calls = {("trade", 0): [buy(3, 99, stop_loss=98.0)], ("trade", 1): [cancel(1)]}
    played = play(events, calls, on="trade", touch=True)
    assert played.fills == [
        "1 buy 1 @ 99 maker 30",
        "1 buy 1 @ 99 maker 40",
        "1sl sell 2 @ 97.9 taker 120",
    ]
    assert "1 cancelled 50>70 requested" in played.events


def test_children_are_cut_and_cancelled_with_the_position() -> None:
    """Of two brackets the older one loses first."""
    events = [trade(at, 100) for at in (0, 30, 100, 130, 200, 230, 300, 330, 400, 430)]
    calls = {
        ("trade", 0): [buy(2, stop_loss=98.0)],
        ("trade", 2): [buy(1, stop_loss=97.0)],
        ("trade", 4): [sell(1)],
        ("trade", 6): [sell(1)],
        ("trade", 8): [sell(2)],
    }
    played = play(events, calls, on="trade")
    assert [event for event in played.events if "position_closed" in event] == [
        "1sl accepted 230>250 position_closed",
        "1sl cancelled 330>350 position_closed",
        "2sl cancelled 430>450 position_closed",
    ]


def test_a_fill_that_closes_an_opposite_position_is_protected_for_what_it_opens() -> None:
    events = [trade(at, 100) for at in (0, 30, 100, 130, 200)]
    events += [trade(260, 97.9), trade(270, 97.8), trade(300, 97.8)]
    calls = {("trade", 0): [sell(2)], ("trade", 2): [buy(3, stop_loss=98.0)]}
    played = play(events, calls, on="trade")
    assert played.fills[-1] == "2sl sell 1 @ 97.8 taker 270"


def test_a_fill_closed_before_its_pair_was_in_force_gets_none() -> None:
    events = [trade(0, 100), trade(30, 100), trade(35, 101.1), trade(100, 90), trade(110, 90)]
    played = play(events, {("trade", 0): [buy(1, stop_loss=98.0), sell(1, 101)]}, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 30", "2 sell 1 @ 101 maker 35"]
    assert not any("sl" in event for event in played.events)


def test_a_pair_without_one_of_its_children_does_not_grow() -> None:
    """The next fill gets a pair of its own."""
    events = [trade(0, 100), trade(30, 99, 1), trade(80, 99.5), trade(130, 99, 1), trade(200, 99.5)]
    calls = {
        ("trade", 0): [buy(2, 99, stop_loss=98.0, take_profit=target(105))],
        ("trade", 2): [Act("cancel", "", which=1)],
    }
    played = play(events, calls, on="trade", touch=True)
    assert played.events[5:8] == ["1 filled 130>150", "1sl2 accepted 150>170", "1tp2 accepted 150>170"]
    assert "1sl cancelled 100>120 requested" in played.events


def test_coins_that_the_fee_took_are_not_protected() -> None:
    events = [trade(0, 100, of=SPOT), trade(30, 100, of=SPOT), trade(60, 97, of=SPOT), trade(70, 96, of=SPOT)]
    calls = {("trade", 0): [buy(0.1, of=SPOT, stop_loss=98.0)]}
    fees = Fees(maker_bps=10, taker_bps=10, currency="received")
    played = play(events, calls, on="trade", instruments=(SPOT,), fees=fees)
    assert played.fills == ["1 buy 0.1 @ 100 taker 30", "1sl sell 0.09 @ 96 taker 70"]


# OCO groups -----------------------------------------------------------------------------------------------------------


def test_a_fill_takes_its_size_off_the_others() -> None:
    """The timeline of the page, with a position of 3."""
    events = [trade(0, 100), trade(30, 100), trade(60, 100), trade(90, 104, 1, "buy"), trade(100, 97)]
    events += [trade(110, 97, 1, "buy"), trade(200, 97)]
    exits = [sell(3, 104, oco_group="exit"), sell(3, oco_group="exit", stop_price=98.0)]
    played = play(events, {("trade", 0): [buy(3)], ("trade", 2): exits}, on="trade", touch=True)
    assert played.fills[1:] == ["2 sell 1 @ 104 maker 90", "3 sell 2 @ 97 taker 110"]
    assert played.events[-4:] == [
        "2 partly_filled 90>110",
        "3 accepted 90>110 oco",
        "3 filled 110>130",
        "2 cancelled 110>130 oco",
    ]


def test_an_order_that_arrives_after_a_fill_of_its_group_is_smaller_or_refused() -> None:
    events = [book(0, {99.0: 5}, {101.0: 2}, whole=True), book(60, {99.0: 6}, {})]
    calls = {
        ("book", 0): [
            buy(2, oco_group="in"),
            buy(3, 98, oco_group="in"),
            buy(2, 98, oco_group="in"),
        ]
    }
    played = play(events, calls, on="book")
    assert played.events == [
        "1 accepted 20>40",
        "1 filled 20>40",
        "2 accepted 20>40",
        "3 rejected 20>40 oco",
        "2 cancelled 60>80 end_of_data",
    ]


@pytest.mark.parametrize(("asked", "left"), [(2, 2), (3, 2), (5, 4)])
def test_a_larger_size_is_cut_to_what_the_largest_leaves(asked: int, left: int) -> None:
    """The first has filled 1; a change that makes the other the largest counts as that."""
    events = [trade(0, 100), trade(30, 99, 1), trade(60, 100), trade(130, 97), trade(200, 97)]
    calls = {
        ("trade", 0): [buy(3, 99, oco_group="in"), buy(3, 98, oco_group="in")],
        ("trade", 2): [amend(2, qty=asked), cancel(1)],
    }
    played = play(events, calls, on="trade", touch=True)
    assert played.fills == ["1 buy 1 @ 99 maker 30", f"2 buy {left} @ 98 maker 130"]


def test_a_cancel_leaves_the_others_and_a_name_begins_anew_when_all_are_over() -> None:
    events = [trade(at, 100) for at in (0, 30, 100, 150, 200)] + [trade(250, 97), trade(300, 97)]
    calls = {
        ("trade", 0): [buy(1, 98, oco_group="in"), buy(1, 98, oco_group="in")],
        ("trade", 1): [cancel(1)],
        ("trade", 2): [cancel(2)],
        ("trade", 4): [buy(1, 98, oco_group="in"), buy(1, 98, oco_group="in")],
    }
    played = play(events, calls, on="trade")
    assert played.fills == ["3 buy 1 @ 98 maker 250"]
    assert played.final(4) == "cancelled oco"


def test_a_second_pair_and_an_order_whose_id_looks_like_it_protect_each_their_own() -> None:
    """The pairs of order 1 are numbered, and so are orders: pair 2 of order 1 has nothing to do with order 12."""
    events = [trade(0, 100), trade(30, 99, 1), trade(60, 104.2), trade(70, 99, 1), trade(120, 97), trade(130, 97)]
    events += [trade(at, 97) for at in (400, 430, 500)] + [trade(at, 90) for at in (520, 540)]
    calls = {
        ("trade", 0): [buy(2, 99, stop_loss=98.0, take_profit=target(104))],
        ("trade", 5): [buy(1, 50) for _ in range(10)],
        ("trade", 6): [buy(1, stop_loss=95.0, take_profit=target(104))],
    }
    played = play(events, calls, on="trade", touch=True)
    assert played.fills[-2:] == ["12 buy 1 @ 97 taker 430", "12sl sell 1 @ 90 taker 540"]
    assert "1sl2 filled 130>150" in played.events


def test_later_groups_of_a_name_are_not_those_of_another_name() -> None:
    """The first group of `e` is over: the next one is no group that the strategy itself can name."""
    events = [trade(at, 100) for at in (0, 30, 60, 90, 120, 150)]
    calls = {
        ("trade", 0): [buy(1, oco_group="e")],
        ("trade", 3): [buy(1, 90, oco_group="e 2"), buy(1, oco_group="e")],
    }
    played = play(events, calls, on="trade")
    assert (played.final(2), played.final(3)) == ("cancelled end_of_data", "filled")


@pytest.mark.parametrize("call", [buy(1, 98, oco_group="in#2"), buy(1, 98, oco_group="bt1#bracket")])
def test_no_order_joins_a_group_of_the_exchanges_own(call: Act) -> None:
    played = play([trade(0, 100), trade(50, 100)], {("trade", 0): [call]}, on="trade")
    assert not played.events


def test_a_call_that_is_refused_uses_no_name_up() -> None:
    events = [trade(0, 100), trade(50, 100)]
    calls = {("trade", 0): [buy(1, oco_group="z", post_only=True), buy(1, 98, oco_group="z")]}
    played = play(events, calls, on="trade")
    assert " oco_group='z'" in str(played.told.orders[0][1]) or "'z'" in str(played.told.orders)
    assert "z#2" not in str(played.told.orders)


def test_what_comes_to_work_without_a_message_is_held_against_the_position() -> None:
    """By OKX's rules: the target of 1 at 104 takes the place of 1 of the 4 at 105 that came just before it."""
    events = [trade(0, 100), *[trade(at, 100) for at in range(10, 200, 5)]]
    calls = {
        ("trade", 0): [buy(3)],
        ("trade", 10): [buy(1, take_profit=target(104))],
        ("trade", 12): [sell(4, 105, reduce_only=True)],
    }
    played = play(events, calls, on="trade", venue_rules="okx")
    assert played.events[-4:-2] == ["2tp accepted 95>115", "3 accepted 95>115 reduce_only_trimmed"]


def test_a_stop_that_goes_off_and_rests_is_held_against_the_position() -> None:
    """By OKX's rules: it has the better price."""
    events = [trade(at, 100) for at in (0, 30, 60, 90, 120)] + [trade(150, 97), trade(160, 96), trade(200, 96)]
    more = {"reduce_only": True}
    calls = {("trade", 0): [buy(3)], ("trade", 2): [sell(3, 105, **more), sell(2, 97, stop_price=97, **more)]}
    played = play(events, calls, on="trade", venue_rules="okx")
    assert "2 accepted 150>170 reduce_only_trimmed" in played.events


@pytest.mark.parametrize("venue_rules", ["off", "okx"])
def test_a_reduce_only_stop_may_come_before_its_position(venue_rules: str) -> None:
    """It is judged when it goes off."""
    events = [trade(at, 100) for at in (0, 30, 60, 90)] + [trade(120, 97), trade(150, 96.5)]
    calls = {("trade", 0): [buy(1), sell(1, stop_price=98, reduce_only=True)]}
    played = play(events, calls, on="trade", venue_rules=venue_rules)
    assert played.fills == ["1 buy 1 @ 100 taker 30", "2 sell 1 @ 96.5 taker 150"]


def test_a_stop_limit_joins_the_queue_when_it_goes_off() -> None:
    """Sent before the limit at its price, it is behind it: one contract is printed there."""
    events = [trade(0, 102), trade(30, 102), trade(60, 101, 1, "buy"), trade(90, 100, 1), trade(120, 102)]
    calls = {("trade", 0): [buy(1, 100, take_profit_price=101), buy(1, 100)]}
    played = play(events, calls, on="trade", touch=True)
    assert played.fills == ["2 buy 1 @ 100 maker 90"]


def test_a_change_that_is_refused_makes_its_group_no_larger() -> None:
    """Both had 3: 100,000 would need more margin than there is."""
    events = [trade(0, 100), *[trade(at, 100) for at in (30, 60, 90)], trade(100, 104, 1, "buy")]
    events += [trade(at, 100) for at in (130, 160, 190, 220)] + [trade(250, 104, 2, "buy")]
    events += [trade(at, 98) for at in (280, 300, 330)]
    calls = {
        ("trade", 1): [sell(3, 104, oco_group="x"), sell(3, stop_price=98, oco_group="x")],
        ("trade", 2): [amend(2, qty=100_000)],
        ("trade", 6): [amend(2, qty=3)],
    }
    played = play(events, calls, on="trade", touch=True)
    assert "2 accepted 80>100 amend_refused: insufficient_margin" in played.events
    assert played.fills == ["1 sell 1 @ 104 maker 100", "1 sell 2 @ 104 maker 250"]


def test_a_fill_or_kill_order_that_its_group_has_cut_fills_nothing() -> None:
    bids, asks = {100.0: 10}, {101.0: 10}
    events = [trade(0, 100), *[book(at, bids, asks, whole=True) for at in (1, 30, 60, 90)]]
    pair = [sell(2, 100, oco_group="g"), sell(5, 100, time_in_force="FOK", oco_group="g")]
    played = play(events, {("book", 0): pair}, on="book")
    assert played.fills == ["1 sell 2 @ 100 taker 21"]
    assert played.final(2) == "rejected oco"


@pytest.mark.parametrize("on", ["book", "trade", "candle"])
def test_a_fill_or_kill_order_above_the_position_fills_nothing(on: str) -> None:
    bids, asks = {100.0: 10}, {101.0: 10}
    events = [trade(at, 101) for at in (0, 30, 60, 90, 120)]
    if on == "book":
        events = [trade(0, 100), *[book(at, bids, asks, whole=True) for at in (1, 30, 60, 90, 120)]]
    if on == "candle":
        events = [candle(at, (101, 101, 101, 101)) for at in range(1, 6)]
    calls = {
        (on, 0): [buy(2)],
        (on, 1): [sell(5, 100, time_in_force="FOK", reduce_only=True)],
        (on, 3): [sell(2, 100, time_in_force="FOK", reduce_only=True)],
    }
    played = play(events, calls, on=on, **({"latency": 0} if on == "candle" else {}))
    assert [fill.split(" ")[:3] for fill in played.fills] == [["1", "buy", "2"], ["3", "sell", "2"]]
    assert played.final(2) == "cancelled fok_unfilled"


def test_a_child_that_is_made_larger_stays_within_the_position() -> None:
    """Of 4, 3 are those of another bracket; its stop stays."""
    events = [trade(0, 100), *[trade(at, 100) for at in range(30, 160, 10)]]
    events += [trade(at, 97) for at in (180, 190, 220, 240)]
    first = Act("amend", qty=4, which=0)
    calls = {("trade", 0): [buy(1, stop_loss=98.0), buy(3, stop_loss=90.0)], ("trade", 5): [first]}
    played = play(events, calls, on="trade")
    assert "1sl accepted 90>110 amended" in played.events
    assert "1sl accepted 90>110 position_closed" in played.events
    assert played.fills[2:] == ["1sl sell 1 @ 97 taker 190"]


def test_a_change_on_its_way_does_not_undo_that_the_position_is_smaller() -> None:
    events = [trade(0, 100), *[trade(at, 100) for at in range(30, 160, 10)]]
    events += [trade(at, 97) for at in (180, 190, 220, 240)]
    larger = Act("amend", qty=4, which=0)
    calls = {
        ("trade", 0): [buy(4, stop_loss=98.0)],
        ("trade", 5): [sell(3)],
        ("trade", 6): [larger],
        ("trade", 8): [buy(2)],
    }
    played = play(events, calls, on="trade")
    assert played.fills[-1] == "1sl sell 1 @ 97 taker 190"


def test_a_group_is_of_one_instrument() -> None:
    events = [trade(0, 100), trade(0, 100, of=SPOT), trade(50, 100)]
    calls = {("trade", 0): [buy(1, 98, oco_group="in"), buy(1, 98, oco_group="in", of=SPOT)]}
    played = play(events, calls, on="trade", instruments=(SWAP, SPOT))
    assert "OrderError" in str(played.told.trace)
    assert len(played.told.orders) == 1


def test_a_breakout_either_way_has_one_bracket() -> None:
    """Two stops of an OCO group, each with a bracket: what fills is protected, the other is gone."""
    events = [trade(0, 100), trade(50, 102.1), trade(60, 102), trade(100, 99), trade(110, 98.9), trade(200, 95)]
    calls = {
        ("trade", 0): [
            buy(1, oco_group="break", stop_price=102.0, stop_loss=100.0),
            sell(1, oco_group="break", stop_price=98.0, stop_loss=100.0),
        ]
    }
    played = play(events, calls, on="trade")
    assert played.fills == ["1 buy 1 @ 102 taker 60", "1sl sell 1 @ 98.9 taker 110"]
    assert played.final(2) == "cancelled oco"


def test_a_stop_that_fills_as_it_comes_leaves_no_target() -> None:
    """Whole on a book that is deep enough; of a part the target is for the rest."""
    events = [book(0, {99.0: 2}, {101.0: 3}, whole=True), book(30, {99.0: 0, 97.0: 2}, {}), book(60, {97.0: 3}, {})]
    events += [book(100, {97.0: 2}, {})]
    for size, tp in ((2, False), (3, True)):
        calls = {("book", 0): [buy(size, stop_loss=98.0, take_profit=target(110))]}
        played = play(events, calls, on="book")
        assert played.fills[1] == "1sl sell 2 @ 97 taker 40"
        assert any(event.startswith("1tp") for event in played.events) is tp


def test_a_target_without_a_limit_takes_once_the_price_has_come() -> None:
    """The next trade, or at the trigger within a candle; a stop in the same range comes first."""
    events = [trade(0, 100), trade(30, 100), trade(60, 104), trade(70, 103.5), trade(100, 97)]
    played = play(events, {("trade", 0): [buy(1, stop_loss=98.0, take_profit=104.0)]}, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 30", "1tp sell 1 @ 103.5 taker 70"]
    for low, fill in ((99, "1tp sell 1 @ 104 taker 120000"), (97, "1sl sell 1 @ 98 taker 120000")):
        bars = [candle(1, (99, 101, 98, 100)), candle(2, (101, 106, low, 102)), candle(3, (102, 102, 102, 102))]
        calls = {("candle", 0): [buy(1, stop_loss=98.0, take_profit=104.0)]}
        assert play(bars, calls, on="candle", latency=0).fills == ["1 buy 1 @ 101 taker 60000", fill]


def test_a_stop_that_trails_follows_the_price_from_its_own_beginning() -> None:
    events = [trade(0, 100), trade(30, 100), trade(40, 107), trade(60, 105), trade(70, 103.1), trade(80, 103)]
    events += [trade(90, 102.5), trade(140, 99)]
    calls = {("trade", 0): [buy(1, stop_loss=StopLoss(trailing_offset=4.0))]}
    played = play(events, calls, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 30", "1sl sell 1 @ 102.5 taker 90"]


@pytest.mark.parametrize("is_bracket", [True, False])
def test_what_fills_between_a_set_off_and_its_update_is_not_sold_twice(*, is_bracket: bool) -> None:
    """A trade at 60 sets the stop off, one at 70 fills 1 of the target: the update at 80 has 2 for the stop."""
    events = [book(0, {99: 5}, {101: 5, 104: 1}, whole=True), trade(1, 100), trade(60, 97, 5)]
    events += [trade(70, 104, 2, "buy"), *[book(at, {97: 5}, {105: 5}, whole=True) for at in (80, 90)]]
    played = play(events, {("trade", 0): entry_and_exits(is_bracket)}, on="book", latency=10)
    sold, stopped = ("1tp", "1sl") if is_bracket else ("2", "3")
    assert played.fills[1:] == [f"{sold} sell 1 @ 104 maker 70", f"{stopped} sell 2 @ 97 taker 80"]


@pytest.mark.parametrize("is_bracket", [True, False])
def test_on_a_ticker_neither(*, is_bracket: bool) -> None:
    """The price goes through the target before the update comes: nothing is left for the stop."""
    events = [ticker(0, 99, 101), trade(1, 100), trade(60, 97, 5), trade(70, 104.2, 9, "buy")]
    events += [ticker(at, 97, 105) for at in (80, 90)]
    played = play(events, {("trade", 0): entry_and_exits(is_bracket)}, on="ticker", latency=10)
    assert played.fills[1:] == [f"{'1tp' if is_bracket else '2'} sell 3 @ 104 maker 70"]
    assert played.events[-1] == f"{'1sl' if is_bracket else '3'} cancelled 70>80 oco"


def entry_and_exits(is_bracket: bool) -> list[Act]:
    """Return an entry of 3 with a target at 104 and a stop at 98, by a bracket or by hand."""
    if is_bracket:
        return [buy(3, stop_loss=98, take_profit=target(104))]
    return [buy(3), sell(3, 104, oco_group="x"), sell(3, stop_price=98, oco_group="x")]
