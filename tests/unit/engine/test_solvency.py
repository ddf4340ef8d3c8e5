"""What can end a run: found for certain where it can, and looked for only there."""

from collections.abc import Mapping
from decimal import Decimal
from random import Random

from quantkit.engine.solvency import Solvency
from quantkit.engine.states import AccountStates
from quantkit.engine.worth import AccountView
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.marks import MarkTable
from quantkit.rows.position import RunPosition

SPOT = Instrument("AAA-USDT", price_step="0.1", qty_step="0.001")
LINEAR = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
INVERSE = Instrument("AAA-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="10", is_inverse=True)
FEES = Instrument("FFF-USDT", price_step="0.1", qty_step="0.001")
ALL = (SPOT, LINEAR, INVERSE, FEES)


def fill(instrument: Instrument, lots: int, price: float, *, fee: str = "0", currency: str = "") -> Fill:
    """Return a fill, a sale below zero."""
    ticks = round(price / float(instrument.price_step))
    return Fill(
        id=1,
        order_id="bt1",
        instrument=instrument.id,
        side=Side.BUY if lots > 0 else Side.SELL,
        price=instrument.price(ticks),
        qty=instrument.qty(abs(lots)),
        value=instrument.value(abs(lots), ticks),
        fee=Decimal(fee),
        fee_currency=currency or instrument.settle_currency,
        role="taker",
        filled_ns=1,
        revealed_ns=1,
        why="trade",
        tag="",
        lots=abs(lots),
        ticks=ticks,
    )


def states_of(ledger: Portfolio) -> AccountStates:
    """Return the states of an account whose instruments are valued at trades, of which there are none yet."""
    streams = {instrument.id: Stream("trade", instrument.id) for instrument in ALL}
    cursors = {stream: StreamCursor(stream) for stream in streams.values()}
    return AccountStates(ledger, MarkTable(streams, cursors, RunPosition()))


def account(**cash: float) -> Portfolio:
    """Return an account with some cash."""
    return Portfolio(cash, ALL, report_currency="USDT", mark_of=lambda name: 100.0)


class FixedRange:
    """A mark that is known to stay within a range."""

    name = "fixed"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def extremes(self) -> tuple[float, float]:
        """Return the range."""
        return self.low, self.high


def view_of(ledger: Portfolio) -> AccountView:
    """Return the account as floats."""
    states = states_of(ledger)
    states.read()
    return states.view


def ruin(view: AccountView, marks: Mapping[str, float]) -> str | None:
    """Return the part without equity at given marks."""
    solvency = Solvency({})
    solvency.narrow(view, marks, 0)
    return solvency.ruined


def test_an_account_with_nothing_left_is_ruined_as_a_whole() -> None:
    ledger = account(USDT=100)
    ledger.apply(fill(LINEAR, 1_000, 100.0))  # ten coins
    view = view_of(ledger)
    assert ruin(view, {LINEAR.id: 90.0}) == ""
    assert ruin(view, {LINEAR.id: 90.1}) is None


def test_an_account_that_has_not_traded_is_not_ruined() -> None:
    assert ruin(view_of(account(USDT=0)), {}) is None


def test_a_currency_that_backs_contracts_is_ruined_by_itself() -> None:
    ledger = account(USDT=10_000, AAA=1)
    ledger.apply(fill(INVERSE, 100, 100.0))
    view = view_of(ledger)
    assert ruin(view, {INVERSE.id: 80.0, SPOT.id: 80.0}) == "AAA"
    assert ruin(view, {INVERSE.id: 95.0, SPOT.id: 95.0}) is None


def test_what_outlives_a_batch_outlives_every_mark_of_it() -> None:
    """Random accounts and ranges: where the worst was survived, no marks between the ends ruin."""
    dice, counts = Random(5), {True: 0, False: 0}
    for _ in range(400):
        ledger = account(USDT=dice.choice((500, 5_000)), AAA=dice.choice((0, 1, 5)))
        ledger.apply(fill(LINEAR, dice.choice((-3_000, -400, 400, 3_000)), 100.0))
        ledger.apply(fill(INVERSE, dice.choice((-60, -5, 5, 60)), 100.0))
        ledger.apply(fill(SPOT, dice.choice((1, 3_000)), 100.0))
        view, width = view_of(ledger), dice.choice((0.01, 0.1, 0.5))
        ranges = {name: FixedRange(100 * (1 - width), 100 * (1 + width)) for name in view.matters()}
        solvency = Solvency(ranges)  # type: ignore[arg-type]
        is_safe = solvency.outlives_batch(view, list(ranges))
        counts[is_safe] += 1
        for _ in range(20 if is_safe else 0):
            marks = {name: dice.choice((fixed.low, fixed.high, 100.0)) for name, fixed in ranges.items()}
            assert ruin(view, marks) is None
    assert min(counts.values()) > 50


def test_a_state_has_all_that_its_fill_moved() -> None:
    """Position, balance, and a fee in a currency that the instrument knows nothing of."""
    ledger = account(USDT=1_000, FFF=10, AAA=1)
    ledger.apply(fill(LINEAR, 100, 100.0))
    states = states_of(ledger)
    states.read()
    for number, booked in enumerate((fill(LINEAR, -50, 110.0, fee="2", currency="FFF"), fill(LINEAR, -50, 90.0))):
        ledger.apply(booked)
        assert states.add(booked, 7 + number, 70 + number, is_after=False)
    columns = states.columns(3)
    assert (columns.begins.tolist(), columns.fill_ns.tolist()) == ([3, 7, 8], [70, 71])
    assert {b.currency: list(b.amount) for b in columns.view.balances} == {
        "USDT": [1_000, 1_005, 1_000],
        "FFF": [10, 8, 8],
        "AAA": [1, 1, 1],
    }
    (held,) = columns.view.positions
    assert (held.size.tolist(), held.open_value.tolist()) == ([1, 0.5, 0], [100, 50, 0])
    states.forget()
    assert states.columns(8).count == 0
    assert [b.amount for b in states.columns(8).view.balances] == [1_000, 8, 1]


def test_what_is_new_has_to_be_read() -> None:
    """An instrument's first fill, and a currency that nobody had."""
    ledger = account(USDT=1_000)
    states = states_of(ledger)
    states.read()
    first = fill(LINEAR, 100, 100.0)
    ledger.apply(first)
    assert not states.add(first, 0, 0, is_after=False)
    states.read()
    foreign = fill(LINEAR, 100, 100.0, fee="-1", currency="FFF")
    ledger.apply(foreign)
    assert not states.add(foreign, 0, 0, is_after=False)
