"""Closing orders of a leg by OKX's rules: cut and displaced by better ones, while protection needs no part of it."""

import pytest
from oracle.scripted import Act
from oracle.timelines import Played, amend, buy, play, sell, trade

from quantkit.events import MarketEvent
from quantkit.instruments import Instrument
from quantkit.orders import StopLoss, TakeProfit

COIN = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.001")
LONG, SHORT = {"position_side": "long"}, {"position_side": "short"}


def quiet(*, price: float = 100, until: int = 160, step: int = 10) -> list[MarketEvent]:
    return [trade(at, price) for at in range(0, until + 1, step)]


def closes(side: str, *, of: Instrument = COIN) -> Act:
    return Act("close", of.id, more={"side": side})


def aims(qty: float, side: str) -> Act:
    return Act("target", COIN.id, qty, more={"side": side})


def run(events: list[MarketEvent], calls: dict[tuple[str, int], list[Act]], **more: object) -> Played:
    """Play a timeline through oracle and engine by OKX's rules, a message takes 5 ms."""
    given = {"on": "trade", "latency": 5, "venue_rules": "okx", "is_long_short": True, "instruments": (COIN,)}
    return play(events, calls, **{**given, **more})  # type: ignore[arg-type]


def test_the_timeline_of_the_page() -> None:
    """The example of OKX's announcement, and a stop as large as the leg that goes off in the end."""
    events = [*quiet(price=15_500), trade(170, 15_000), trade(180, 14_990), trade(190, 14_990)]
    calls = {
        ("trade", 0): [buy(100, **LONG)],
        ("trade", 2): [sell(80, 17_000, **LONG), sell(20, 18_000, **LONG)],
        ("trade", 4): [sell(100, stop_price=15_000, **LONG)],
        ("trade", 6): [sell(50, 16_000, **LONG)],
        ("trade", 8): [sell(10, 16_500, **LONG)],
    }
    played = run(events, calls)
    assert played.events[2:] == [
        "2 accepted 25>30",
        "3 accepted 25>30",
        "4 accepted 45>50",
        "5 accepted 65>70",
        "2 accepted 65>70 reduce_only_trimmed",
        "3 cancelled 65>70 reduce_only_displaced",
        "6 accepted 85>90",
        "2 accepted 85>90 reduce_only_trimmed",
        "5 cancelled 170>175 reduce_only_displaced",
        "6 cancelled 170>175 reduce_only_displaced",
        "2 cancelled 170>175 reduce_only_displaced",
        "4 filled 180>185",
    ]
    assert played.fills[1:] == ["4 sell 100 @ 14990 taker 180"]


def test_a_size_is_refused_by_its_leg_and_never_by_what_rests() -> None:
    """Neither what rests nor the other leg refuses an order; a change is judged like a new one."""
    calls = {
        ("trade", 0): [sell(1, **LONG), buy(3, **LONG), sell(4, **SHORT)],
        ("trade", 2): [sell(4, 105, **LONG), sell(3, 105, **LONG), sell(2, 104, **LONG), buy(4, 95, **SHORT)],
        ("trade", 4): [amend(6, qty=5)],
        ("trade", 6): [sell(1, 106, **LONG)],
    }
    played = run(quiet(), calls)
    assert played.events[0] == "1 rejected 5>10 51169: there is no position to reduce"
    assert played.events[5:12] == [
        "4 rejected 25>30 51112: a closing order above the position",
        "5 accepted 25>30",
        "6 accepted 25>30",
        "5 accepted 25>30 reduce_only_trimmed",
        "7 accepted 25>30",
        "6 accepted 45>50 amend_refused: 51112: a closing order above the position",
        "8 rejected 65>70 reduce_only_displaced",
    ]


def test_protection_of_the_whole_leg_is_never_refused() -> None:
    """A bracket, a stop, a target, a trailing stop and an OCO pair, each as large as the leg; it is closed once."""
    events = [*quiet(until=60), trade(70, 105), trade(80, 105), trade(90, 96), trade(100, 95), trade(110, 95)]
    pair = {"oco_group": "exit", **LONG}
    calls = {
        ("trade", 0): [buy(3, stop_loss=StopLoss(97), take_profit=TakeProfit(110, 110), **LONG)],
        ("trade", 3): [
            sell(3, stop_price=96, **LONG),
            sell(3, take_profit_price=108, **LONG),
            sell(3, trailing_offset=20, **LONG),
            sell(3, 104, **pair),
            sell(3, stop_price=95, **pair),
        ],
    }
    played = run(events, calls)
    assert not [event for event in played.events if "rejected" in event]
    assert played.fills[1:] == ["5 sell 3 @ 104 maker 70"]
    assert played.events[8:] == [
        "1tp cancelled 35>40 reduce_only_displaced",
        "6 accepted 35>40",
        "5 filled 70>75",
        "6 cancelled 70>75 oco",
        "1sl cancelled 70>75 position_closed",
        "2 cancelled 90>95 reduce_only_displaced",
        "3 cancelled 110>115 end_of_data",
        "4 cancelled 110>115 end_of_data",
    ]


RESTING = ([], [sell(3, 105, **LONG)], [sell(3, 105, **LONG), sell(3, stop_price=90, **LONG)])


@pytest.mark.parametrize("rests", RESTING)
@pytest.mark.parametrize("call", [closes("long"), aims(0, "long"), sell(3, **LONG)])
def test_a_leg_can_be_closed_whatever_rests(call: Act, rests: list[Act]) -> None:
    calls = {("trade", 0): [buy(3, **LONG), sell(2, **SHORT)], ("trade", 2): rests, ("trade", 5): [call]}
    played = run(quiet(), calls)
    assert played.fills[2:] == [f"{len(rests) + 3} sell 3 @ 100 taker 60"]


def test_a_target_that_lowers_a_leg_takes_the_place_of_what_rests() -> None:
    calls = {("trade", 0): [buy(3, **LONG)], ("trade", 2): [sell(3, 105, **LONG)], ("trade", 5): [aims(1, "long")]}
    played = run(quiet(), calls)
    assert played.fills[1:] == ["3 sell 2 @ 100 taker 60"]
    assert "2 accepted 55>60 reduce_only_trimmed" in played.events


def test_elsewhere_closing_orders_may_add_up_to_more_than_their_leg() -> None:
    """Each is cut as it fills."""
    events = [*quiet(until=60), trade(70, 104.5), trade(80, 106)]
    calls = {("trade", 0): [buy(3, **LONG)], ("trade", 2): [sell(3, 105, **LONG), sell(2, 104, **LONG)]}
    played = run(events, calls, venue_rules="off")
    assert played.fills[1:] == ["3 sell 2 @ 104 maker 70", "2 sell 1 @ 105 maker 80"]
    assert played.final(2) == "cancelled reduce_only_position_closed"
