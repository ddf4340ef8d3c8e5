"""Orders by money on random accounts and markets: the run goes on, sizes are the oracle's, the walk changes nothing."""

from fractions import Fraction
from random import Random
from typing import Any

import pytest
from oracle.accounts import BASE_NS, account_case
from oracle.match import outcome_of, told_by_engine
from oracle.scripted import Scripted
from oracle.sizing import largest

import quantkit as qk
from quantkit.clock import NS_PER_MS
from quantkit.errors import OrderError
from quantkit.orders import Order


def act(dice: Random, strategy: Any, names: list[str]) -> Order | None:
    """Make one call by money."""
    name, buys = dice.choice(names), dice.random() < 0.6
    call = strategy.buy if buys else strategy.sell
    size = dice.choice((qk.Pct(0.3), qk.Pct(1.0), qk.Pct(40.0), qk.Cash(150), qk.Cash(0.5), qk.Risk(0.02, stop=30.0)))
    match dice.randint(0, 7):
        case 0:
            return strategy.target_pct(name, dice.choice((1.0, -1.0, 0.25, 0.0)))
        case 1:
            return strategy.target_value(name, dice.choice((500, -200, 1, 0)))
        case 2:
            return call(name, size, at="fill")
        case 3:
            return call(name, size, price=dice.choice((50.0, 150.0, 400.0)))
        case 4:
            return call(name, size, stop_price=dice.choice((50.0, 150.0, 400.0)))
        case 5:
            strategy.cancel_all()
            return strategy.close(name)
    return call(name, size)


@pytest.mark.parametrize("seed", range(12))
def test_sizes_by_money_on_any_account(seed: int) -> None:
    """The same orders, fills, curve and ledger with the gate search off and in small blocks; nobody owes coins."""
    case = account_case(seed)
    names = [instrument.id for instrument in case.scenario.instruments]

    def strategy() -> Scripted:
        def script(number: int, hook: str, strategy: Scripted) -> tuple[()]:
            dice = Random(seed * 1_000_003 + number)
            if hook in ("start", "order", "fill") or strategy.now < BASE_NS + 200 * NS_PER_MS or dice.random() > 0.3:
                return ()
            if len(strategy.sent) < 80:
                try:
                    order = act(dice, strategy, names)
                except OrderError:
                    order = None
                if order is not None:
                    strategy.sent.append(order)
            return ()

        return case.scenario.strategy_with(script)

    told = []
    for more in ({}, {"search": False}, {"block_rows": 5}):
        outcome, ran = outcome_of(case.scenario, strategy=strategy(), **more)  # type: ignore[arg-type]
        told.append(told_by_engine(outcome, ran))
    assert told[0] == told[1] == told[2]
    instruments = {instrument.id: instrument for instrument in case.scenario.instruments}
    sized = [order for order in outcome.orders if order.amount is not None]
    for order in sized:
        assert order.filled_lots <= order.lots
        amount, (_, _, price) = order.amount, order.note.partition(" at ")
        if amount is None or amount.is_at_fill or not price or "," in price or ";" in order.note:
            continue  # sized by its fill, a target, cut to the account, or with a price that was rounded
        instrument, fees = instruments[order.instrument], case.scenario.fees[order.instrument]
        stop = None if amount.stop is None else Fraction(amount.stop)
        assert order.lots == largest(instrument, fees, order.side, Fraction(amount.money), Fraction(price), stop)
    assert sized
