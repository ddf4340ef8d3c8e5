"""What the money proofs share: instruments, fills built for them, accounts, and generators."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from oracle.fraction_ledger import Contract

from quantkit.fees import Fees
from quantkit.instruments import EXACT, Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio

COIN = Fraction(1, 10**12)

BTC = Instrument("BTC-USDT", price_step="0.1", qty_step="0.00000001")
ETH = Instrument("ETH-USDT", price_step="0.01", qty_step="0.000001")
LINEAR = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
OTHER = Instrument("ETH-USDT-SWAP", kind="swap", price_step="0.01", qty_step="0.01", contract_value="0.1")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
ALL = (BTC, ETH, LINEAR, OTHER, INVERSE)
EXACT_ONES = (BTC, LINEAR, OTHER)  # no rounding at all
CONTRACTS = (LINEAR, OTHER, INVERSE)
CASH = {"USDT": "10000", "BTC": "1.5"}


def contract_of(instrument: Instrument) -> Contract:
    """Describe an instrument to the oracle."""
    style = "spot" if instrument.is_spot else "inverse" if instrument.is_inverse else "linear"
    return Contract(instrument.id, style, instrument.base, instrument.quote, Fraction(instrument.unit))


class Marks(dict[str, float]):
    """The latest mark of each instrument; a class of its own so that a portfolio pickles with it."""

    def of(self, instrument: str) -> float | None:
        """Return a mark, or None before the first."""
        return self.get(instrument)


class Deal(NamedTuple):
    """A fill before it has a fee: enough to build one for any instrument."""

    side: Side
    lots: int
    ticks: int
    fee_bps: str = "0"


def fill_of(instrument: Instrument, deal: Deal, *, fee_in: str | None = None, fee: Decimal | None = None) -> Fill:
    """Build the fill of a deal; its fee is exact and paid in `fee_in`, by default the settlement currency."""
    value = instrument.value(deal.lots, deal.ticks)
    fee_in = fee_in or instrument.settle_currency
    if fee is None:
        rate = Fees(taker_bps=float(deal.fee_bps)).rate(is_maker=False)
        paid_of = instrument.qty_decimal(deal.lots) if instrument.is_spot and fee_in == instrument.base else value
        fee = EXACT.multiply(rate, paid_of)
    return Fill(
        id=1,
        order_id="r1",
        instrument=instrument.id,
        side=deal.side,
        price=instrument.price(deal.ticks),
        qty=instrument.qty(deal.lots),
        value=value,
        fee=fee,
        fee_currency=fee_in,
        role="taker",
        filled_ns=0,
        revealed_ns=0,
        why="",
        tag="",
        lots=deal.lots,
        ticks=deal.ticks,
    )


def account(instruments: Iterable[Instrument] = ALL, marks: Marks | None = None, **cash: str) -> Portfolio:
    """Build an account; every instrument has a mark, so that equity is always known."""
    chosen = tuple(instruments)
    marks = Marks({i.id: 100.0 for i in chosen}) if marks is None else marks
    return Portfolio(cash or CASH, chosen, report_currency="USDT", mark_of=marks.of)


def booked(instrument: Instrument, deals: Iterable[Deal], **kwargs: Any) -> Portfolio:
    """Return a fresh account after the deals."""
    portfolio = account()
    for deal in deals:
        portfolio.apply(fill_of(instrument, deal, **kwargs))
    return portfolio


def state(portfolio: Portfolio, instrument: Instrument) -> tuple[object, ...]:
    """Everything the ledger says about one instrument, exactly."""
    position = portfolio.position(instrument.id)
    return (
        position.qty,
        position.average_price_exact,
        position.open_value,
        position.realised_exact,
        dict(position.fees),
        dict(position.funding),
    )


def balances(portfolio: Portfolio) -> dict[str, Fraction]:
    """Every balance, exactly."""
    return {currency: portfolio.balance_exact(currency) for currency in portfolio.currencies}


def equity_of(portfolio: Portfolio) -> Fraction:
    """The equity, which the test knows to be there."""
    equity = portfolio.equity_exact()
    assert equity is not None
    return equity


sides = st.sampled_from(Side)
fee_bps = st.sampled_from(["0", "2", "5", "8", "10", "-0.5", "-1", "7.25"])
deals = st.builds(Deal, side=sides, lots=st.integers(1, 40), ticks=st.integers(1, 2_000_000), fee_bps=fee_bps)
deal_lists = st.lists(deals, max_size=12)
few = settings(max_examples=120, deadline=None)
