"""The stop and the target of a call, checked and put on the steps."""

from typing import Any

import pytest

from quantkit.engine.desks import Number
from quantkit.engine.order_brackets import bracket_of
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderRequest, RequestTerms, StopLoss, TakeProfit, TriggerType

SWAP = Instrument("X-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1")
SPOT = Instrument("X-USDT", price_step="0.5", qty_step="0.1")
Bracket = tuple[TakeProfit | None, StopLoss | None]


def asked(
    take_profit: Any = None,
    stop_loss: Any = None,
    *,
    side: Side = Side.BUY,
    instrument: Instrument = SWAP,
    roundings: dict[Number, str] | None = None,
    has_marks: bool = True,
    **more: Any,
) -> Bracket:
    """Return the bracket of a call."""
    request = OrderRequest(instrument.id, side, 1.0, **more)
    terms = RequestTerms(take_profit=take_profit, stop_loss=stop_loss)
    notes = {} if roundings is None else roundings
    return bracket_of(request, terms, instrument, f"{side} {instrument.id}", notes, has_marks=has_marks)


def test_targets_are_rounded_to_the_passive_side_and_stops_away_from_the_market() -> None:
    """Of the children, which are of the other side; the order's note says so."""
    notes: dict[Number, str] = {}
    assert asked(TakeProfit(105.2, 105.2), StopLoss(97.8, 97.3), roundings=notes) == (
        TakeProfit(105.5, 105.5),
        StopLoss(97.5, 97.5),
    )
    assert sorted(notes.values()) == [
        "stop loss 97.8 rounded to 97.5",
        "stop loss limit 97.3 rounded to 97.5",
        "target 105.2 rounded to 105.5",
        "target limit 105.2 rounded to 105.5",
    ]
    assert asked(TakeProfit(95.2, 95.2), 101.8, side=Side.SELL) == (TakeProfit(95.0, 95.0), StopLoss(102.0))


def test_notes_have_no_digits_of_float_arithmetic() -> None:
    """A price times 0.999 or so has them."""
    notes: dict[Number, str] = {}
    asked(TakeProfit(105.30000000000001), StopLoss(97.80000000000001, 95.33333333333333), roundings=notes)
    assert sorted(notes.values()) == [
        "stop loss 97.8 rounded to 97.5",
        "stop loss limit 95.3333333333 rounded to 95.5",
        "target 105.3 rounded to 105.5",
    ]


def test_an_order_may_have_one_of_them_or_none() -> None:
    assert asked() == (None, None)
    assert asked(None, 97) == (None, StopLoss(97.0))
    assert asked(103) == (TakeProfit(103.0), None)
    assert asked(None, StopLoss(trailing_offset=1.2)) == (None, StopLoss(trailing_offset=1.5))
    marked = StopLoss(97.0, trigger_type=TriggerType.MARK)
    assert asked(TakeProfit(103, 103), marked) == (TakeProfit(103.0, 103.0), marked)


def test_a_limit_lies_between_its_stop_and_its_target() -> None:
    """A step away is enough; what trails has no price yet, and a stop order without a limit may fill anywhere."""
    assert asked(100.5, 99.5, price=100) == (TakeProfit(100.5), StopLoss(99.5))
    assert asked(99.5, 100.5, price=100, side=Side.SELL) == (TakeProfit(99.5), StopLoss(100.5))
    assert asked(None, StopLoss(trailing_offset=1), price=100) == (None, StopLoss(trailing_offset=1.0))
    assert asked(None, 101, stop_price=100) == (None, StopLoss(101.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop_loss": 97, "reduce_only": True}, "buy X-USDT-SWAP: a reduce_only order opens nothing; give no"),
        (
            {"stop_loss": 97, "side": Side.SELL, "instrument": SPOT},
            "sell X-USDT: a sale on spot opens no position; give no take_profit= and no stop_loss=",
        ),
        (
            {"take_profit": TakeProfit(104, limit=90), "stop_loss": 97},
            "buy X-USDT-SWAP: take_profit 90 is not beyond stop_loss 97; that of a buy is above it",
        ),
        (
            {"take_profit": TakeProfit(97, 97), "stop_loss": 97},
            "buy X-USDT-SWAP: take_profit 97 is not beyond stop_loss 97; that of a buy is above it",
        ),
        (
            {"take_profit": TakeProfit(98, 98), "stop_loss": 97, "side": Side.SELL},
            "sell X-USDT-SWAP: take_profit 98 is not beyond stop_loss 97; that of a sell is below it",
        ),
        (
            {"price": 100.4, "stop_loss": 100.2},
            "buy X-USDT-SWAP: stop_loss 100 is not beyond its own limit 100; that of a buy is below it",
        ),
        (
            {"price": 100, "take_profit": TakeProfit(104, limit=99)},
            "buy X-USDT-SWAP: take_profit 99 is not beyond its own limit 100; that of a buy is above it",
        ),
        (
            {"price": 100, "stop_loss": StopLoss(99.5, trigger_type=TriggerType.MARK), "side": Side.SELL},
            "sell X-USDT-SWAP: stop_loss 99.5 is not beyond its own limit 100; that of a sell is above it",
        ),
        (
            {"price": 100, "stop_price": 99, "take_profit": 100, "side": Side.SELL},
            "sell X-USDT-SWAP: take_profit 100 is not beyond its own limit 100; that of a sell is below it",
        ),
        ({"stop_loss": StopLoss()}, "buy X-USDT-SWAP: stop_loss needs a price, a trailing_offset or a trailing_offset"),
        ({"stop_loss": StopLoss(97, trailing_offset=1)}, "buy X-USDT-SWAP: stop_loss needs a price, a trailing_offset"),
        (
            {"stop_loss": StopLoss(limit=97, trailing_offset=1)},
            "buy X-USDT-SWAP: a stop_loss that trails becomes a market order; give it no limit",
        ),
        (
            {"stop_loss": StopLoss(trailing_offset=1, trigger_type=TriggerType.INDEX)},
            "buy X-USDT-SWAP: a stop_loss that trails follows last or mark, not index",
        ),
        ({"stop_loss": float("nan")}, "buy X-USDT-SWAP: stop_loss is nan; give a finite number above zero"),
        ({"take_profit": "high"}, "buy X-USDT-SWAP: take_profit is 'high', which is no number"),
        ({"stop_loss": StopLoss(trailing_offset_bps=-1)}, "buy X-USDT-SWAP: stop_loss: trailing_offset_bps is -1.0"),
        (
            {"stop_loss": StopLoss(97, trigger_type="sun")},  # type: ignore[arg-type]
            "buy X-USDT-SWAP: stop_loss: trigger_type 'sun' is not known; use last, mark or index",
        ),
        (
            {"stop_loss": StopLoss(97, trigger_type=TriggerType.MARK), "has_marks": False},
            "buy X-USDT-SWAP: trigger_type mark needs marks that span the run; record marks, or use last",
        ),
    ],
)
def test_what_makes_no_bracket_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OrderError) as caught:
        asked(**given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
