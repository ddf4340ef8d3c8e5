"""The ledger of the long/short mode by worked examples: two positions side by side in one contract."""

import pickle
from decimal import Decimal

import pytest
from test_portfolio import INVERSE, LINEAR, SPOT, UNIT, account, fill

from quantkit.errors import OrderError
from quantkit.instruments import Instrument
from quantkit.orders import Fill, PositionSide, instrument_of, leg_of
from quantkit.portfolio import Portfolio

D = Decimal
NET, LONG, SHORT = PositionSide
MARKS: dict[str, float] = {}


def two_legs(*instruments: Instrument, marks: dict[str, float] | None = None) -> Portfolio:
    """Build an account in the long/short mode."""
    mark_of = (MARKS if marks is None else marks).get
    return Portfolio({"USDT": 10_000}, instruments, mark_of=mark_of, is_long_short=True)


def legged(side: PositionSide, instrument: Instrument, qty: float, price: float, fee: str = "0") -> Fill:
    """Build a fill of a leg from a signed size."""
    plain = fill(instrument, qty, price, fee=fee)
    return Fill(
        **{name: getattr(plain, name) for name in plain.__struct_fields__ if name != "position_side"},
        position_side=side,
    )


def test_legs_stand_side_by_side() -> None:
    """Each with its own size, average and profit; the balance and the equity have both."""
    marks = {UNIT.id: 50.0}
    book = two_legs(UNIT, marks=marks)
    book.apply(legged(LONG, UNIT, 10, 50, fee="2"))
    book.apply(legged(SHORT, UNIT, -4, 51, fee="1"))
    long, short = book.position(UNIT.id, "long"), book.position(UNIT.id, "short")
    assert (long.qty, long.average_price, short.qty, short.average_price) == (D(10), 50.0, D(-4), 51.0)
    book.apply(legged(LONG, UNIT, -6, 52))
    book.apply(legged(SHORT, UNIT, 1, 48))
    assert (long.qty, long.realised, short.qty, short.realised) == (D(4), D(12), D(-3), D(3))
    assert (long.fees, short.fees) == ({"USDT": D(2)}, {"USDT": D(1)})
    assert book.cash == {"USDT": D(10_000 + 12 + 3 - 3)}
    marks[UNIT.id] = 47.0
    assert (long.unrealised(47.0), short.unrealised(47.0)) == (D(-12), D(12))
    assert book.equity == D(10_012)
    assert book.totals("realised") == {"USDT": D(15)}
    assert list(book.positions) == ["X-USDT-SWAP long", "X-USDT-SWAP short"]
    assert [(p.instrument, p.position_side) for p in book.positions.values()] == [(UNIT, LONG), (UNIT, SHORT)]
    assert repr(short) == "Position('X-USDT-SWAP short', qty=-3, average_price=51.0)"


def test_one_leg_is_the_net_position() -> None:
    """A ledger whose fills are all of one leg says what the net ledger says."""
    deals = [(0.07, 97_123.4, "0.3"), (0.03, 98_000.1, "-0.01"), (-0.05, 97_500.0, "0.2"), (-0.05, 99_000.0, "0.1")]
    net, legs = account(LINEAR), two_legs(LINEAR)
    for qty, price, fee in deals:
        net.apply(fill(LINEAR, qty, price, fee=fee))
        legs.apply(legged(LONG, LINEAR, qty, price, fee=fee))
        one, other = net.position(LINEAR.id), legs.position(LINEAR.id, "long")
        assert (one.qty, one.average_price_exact, one.realised_exact) == (
            other.qty,
            other.average_price_exact,
            other.realised_exact,
        )
        assert net.balance_exact("USDT") == legs.balance_exact("USDT")


def test_funding_is_charged_on_each_leg() -> None:
    """What one pays at a rate, the other receives on its own size."""
    book = two_legs(UNIT)
    book.apply(legged(LONG, UNIT, 10, 50))
    book.apply(legged(SHORT, UNIT, -4, 50))
    paid = book.charge_funding(UNIT.id, rate=0.01, mark=50, qty=D(10), position_side=LONG)
    received = book.charge_funding(UNIT.id, rate=0.01, mark=50, qty=D(-4), position_side=SHORT)
    assert (paid, received) == (D(-5), D(2))
    assert book.position(UNIT.id, "long").funding == {"USDT": D(-5)}
    assert book.position(UNIT.id, "short").funding == {"USDT": D(2)}
    assert book.cash == {"USDT": D(9_997)}


def test_new_steps_are_those_of_both_legs() -> None:
    """Metadata belong to the instrument."""
    book = two_legs(UNIT)
    finer = Instrument("X-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")
    long = book.position(UNIT.id, "long")
    book.change_instrument(finer)
    assert long.instrument is book.position(UNIT.id, "short").instrument is finer


def test_a_position_is_one_object() -> None:
    """Before and after its first fill, and a copy goes on where the original was."""
    book = two_legs(UNIT, SPOT)
    short = book.position(UNIT.id, "short")
    book.apply(legged(SHORT, UNIT, -4, 51))
    assert book.position(UNIT.id, SHORT) is short is book.leg(leg_of(UNIT.id, SHORT))
    assert book.position(SPOT.id) is book.position(SPOT.id, "net")
    copied = pickle.loads(pickle.dumps(two_legs_pickled()))
    assert copied.is_long_short
    assert copied.position(UNIT.id, "long").qty == 1


def no_marks(_: str) -> float | None:
    """Know no mark; a function of the module, so that it pickles."""
    return None


def two_legs_pickled() -> Portfolio:
    """Return an account with a leg."""
    book = Portfolio({"USDT": 10_000}, [UNIT], mark_of=no_marks, is_long_short=True)
    book.apply(legged(LONG, UNIT, 1, 51))
    return book


@pytest.mark.parametrize(
    ("is_long_short", "instrument", "side", "said"),
    [
        (True, UNIT.id, "", "X-USDT-SWAP has a long and a short position; name one: side='long' or side='short'"),
        (True, UNIT.id, "net", "side 'net' of X-USDT-SWAP is not known; use long or short"),
        (True, UNIT.id, "up", "side 'up' of X-USDT-SWAP is not known; use long or short"),
        (True, SPOT.id, "long", "BTC-USDT has one position; leave side='long' out"),
        (False, SPOT.id, LONG, "BTC-USDT has one position; leave side='long' out"),
        (
            False,
            UNIT.id,
            "short",
            "X-USDT-SWAP has one position; leave side='short' out, or run with position_mode='long_short'",
        ),
        (True, "Y", "long", "Y is no instrument of this run; it has X-USDT-SWAP, BTC-USDT"),
    ],
)
def test_a_position_is_named_whole(is_long_short: bool, instrument: str, side: str, said: str) -> None:
    """A side is needed where there are two, and too much elsewhere."""
    book = Portfolio({"USDT": 1}, [UNIT, SPOT], mark_of=no_marks, is_long_short=is_long_short)
    with pytest.raises(OrderError) as caught:
        book.position(instrument, side)
    assert str(caught.value) == said


def test_keys_of_positions() -> None:
    """The instrument's id, with the side of a leg behind it."""
    assert [leg_of("binance:BTC-USDT", side) for side in PositionSide] == [
        "binance:BTC-USDT",
        "binance:BTC-USDT long",
        "binance:BTC-USDT short",
    ]
    assert {instrument_of(leg_of("binance:BTC-USDT", side)) for side in PositionSide} == {"binance:BTC-USDT"}
    assert two_legs(INVERSE.__class__("Z-USDT-SWAP", kind="swap", price_step="1", qty_step="1")).sides_of(
        "Z-USDT-SWAP"
    ) == (LONG, SHORT)
    assert account(UNIT).sides_of(UNIT.id) == (NET,)
