"""What ends a run, and what was kept for an order that something else has eaten: every way of running agrees."""

import pytest
from oracle.scripted import Act
from oracle.timelines import SPOT, book, buy, candle, funding, mark, ns, play, sell, trade

from quantkit.events import MarketEvent
from quantkit.instruments import Instrument

COIN = Instrument("AAA-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="10", is_inverse=True)


def test_a_book_alone_ruins() -> None:
    """Its mid is known once its row has been run, and that row is looked at too."""
    tops = (100, 95, 85, 70, 60, 50)
    events: list[MarketEvent] = [book(0, {99.9: 900}, {100.1: 900}, whole=True)]
    events += [book(30 + 10 * n, {p - 0.1: 900}, {p + 0.1: 900}, whole=True) for n, p in enumerate(tops)]
    for hooks in ((), ("book",)):
        played = play(
            events,
            {("timer", 0): [buy(40)]},
            on="book",
            cash={"USDT": 1000.0},
            max_leverage=5,
            hooks=hooks,
            timers=("20ms",),
        )
        # 40 contracts cost 4,004: at a mid of 70 they are worth 2,800, and 1,000 were there.
        assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(60))
        assert played.told.curve[-1][1] == -204.0


def test_funding_that_ruins_is_told_to_nobody() -> None:
    """The run ends with its row, before the hook and before any later row."""
    events = [trade(0, 100.0), mark(1, 100.0), trade(50, 100.0), funding(70, 0.5, ns(60)), trade(80, 100.0)]
    calls = {("trade", 0): [buy(5)]}
    played = play(events, calls, on="trade", cash={"USDT": 200.0}, max_leverage=5)
    assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(70))
    assert played.calls("funding") == []
    assert played.calls("trade") == [0, 50]
    assert played.calls("stop") == [70]


def test_funding_that_leaves_something_goes_on() -> None:
    """What is above zero by a little is no ruin."""
    events = [trade(0, 100.0), mark(1, 100.0), trade(50, 100.0), funding(70, 0.39, ns(60)), trade(80, 100.0)]
    played = play(events, {("trade", 0): [buy(5)]}, on="trade", cash={"USDT": 200.0}, max_leverage=5)
    assert played.told.ended == "completed"
    assert played.calls("funding") == [70]


@pytest.mark.parametrize(("coins", "final"), [(9.5, "filled"), (9.9, "cancelled insufficient_cash")])
def test_contracts_may_lose_what_was_kept_for_an_order(coins: float, final: str) -> None:
    """Coins that a sale had locked are gone with the contract that they backed: no more is sold than is left."""
    events = [trade(at, 100.0, of=of) for at, of in ((0, SPOT), (5, COIN), (10, SPOT), (30, COIN))]
    events += [
        trade(60, 80.0, of=COIN),
        trade(90, 80.0, of=COIN),
        trade(130, 110.0, of=SPOT),
        trade(140, 80.0, of=COIN),
    ]
    played = play(
        events,
        {("trade", 0): [buy(20, of=COIN), sell(coins, 105.0, of=SPOT)], ("trade", 4): [Act("close", COIN.id)]},
        on=f"{SPOT.id}=trade,{COIN.id}=trade",
        instruments=(SPOT, COIN),
        cash={"USDT": 1000.0, "AAA": 10.0},
        max_leverage=20,
    )
    # 200 dollars are 2 coins at 100 and 2.5 at 80: half a coin is lost, and 9.5 are left.
    assert played.final(2) == final
    assert played.told.ledger["cash"] == "{'USDT': '1997.5'}"


@pytest.mark.parametrize(
    ("act", "price", "ended"),
    [
        (buy(40), 75.1, "completed"),
        (buy(40), 75.0, "bankrupt"),  # nothing is left, to the cent
        (sell(40), 124.9, "completed"),
        (sell(40), 125.0, "bankrupt"),
        (sell(40), 150.0, "bankrupt"),
    ],
)
def test_ruin_is_nothing_left_in_either_direction(act: Act, price: float, ended: str) -> None:
    """A thousand backs forty contracts bought or sold at 100: they may move by less than 25."""
    events = [trade(0, 100.0), trade(30, 100.0), trade(60, price), trade(90, 100.0)]
    for hooks in (("trade",), ("mark",)):
        calls = {("trade", 0): [act], ("timer", 0): [act] if hooks == ("mark",) else []}
        played = play(
            events, calls, on="trade", cash={"USDT": 1000.0}, max_leverage=5, hooks=hooks, timers=("10ms",), latency=5
        )
        assert played.told.ended == ended
        assert len(played.fills) == 1


@pytest.mark.parametrize(("stop_price", "ended"), [(90.0, "completed"), (None, "bankrupt")])
def test_a_stop_within_a_candle_saves_what_its_close_would_ruin(stop_price: float | None, ended: str) -> None:
    """The exchange has the candle before its close values the account: out at 90, the close of 60 costs nothing."""
    events = [
        candle(1, (100, 101, 99, 100)),
        candle(2, (100, 101, 99, 100)),
        candle(3, (100, 100, 60, 60)),
        candle(4, (60, 61, 59, 60)),
    ]
    calls = {("candle", 0): [buy(40)], ("candle", 1): [sell(40, stop_price=stop_price)] if stop_price else []}
    played = play(events, calls, on="candle", cash={"USDT": 1000.0}, max_leverage=5, latency=0)
    assert played.told.ended == ended
    assert len(played.fills) == (2 if stop_price else 1)
