"""Random fills, marks and funding against the fraction ledger, every number compared after every step."""

import math
import pickle
from decimal import Decimal
from fractions import Fraction

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_cases import (
    ALL,
    BTC,
    CASH,
    CONTRACTS,
    ETH,
    Deal,
    Marks,
    account,
    balances,
    contract_of,
    deals,
    equity_of,
    fill_of,
    state,
)
from oracle.fraction_ledger import FractionLedger

from quantkit.instruments import EXACT, Instrument, Side


class PortfolioMachine(RuleBasedStateMachine):
    """Random fills, marks and funding on five instruments at once, against the oracle after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.marks = Marks({i.id: 100.0 for i in ALL})
        self.portfolio = account(marks=self.marks)
        self.oracle = FractionLedger({currency: Fraction(amount) for currency, amount in CASH.items()})
        self.spot_fees = Fraction(0)  # in USDT; fees paid in coins count at their own fill's price

    def rates(self) -> dict[str, Fraction]:
        """What one unit of each currency is worth in USDT."""
        return {"USDT": Fraction(1), "BTC": self.mark_of(BTC), "ETH": self.mark_of(ETH)}

    def mark_of(self, instrument: Instrument) -> Fraction:
        """The mark as the decimal that it was written as."""
        return Fraction(repr(self.marks[instrument.id]))

    @rule(instrument=st.sampled_from(ALL), deal=deals, in_base=st.booleans())
    def fill(self, instrument: Instrument, deal: Deal, in_base: bool) -> None:
        """Book a fill on both ledgers."""
        received = instrument.is_spot and in_base and deal.side is Side.BUY
        fill = fill_of(instrument, deal, fee_in=instrument.base if received else None)
        before = equity_of(self.portfolio)
        open_before = self.portfolio.position(instrument.id).unrealised_exact(self.marks[instrument.id])
        realised_before = self.portfolio.position(instrument.id).realised_exact
        self.portfolio.apply(fill)
        taken = self.oracle.fill(
            contract_of(instrument),
            change=Fraction(instrument.qty_decimal(deal.lots)) * deal.side.sign,
            price=Fraction(instrument.price_decimal(deal.ticks)),
            fee=Fraction(fill.fee),
            fee_currency=fill.fee_currency,
        )
        # Invariant 2: what equity gained is what the parts gained, with no residue.
        position = self.portfolio.position(instrument.id)
        assert position.realised_exact - realised_before == taken
        fee = Fraction(fill.fee) * (Fraction(instrument.price_decimal(deal.ticks)) if received else 1)
        change = taken + position.unrealised_exact(self.marks[instrument.id]) - open_before - fee
        assert equity_of(self.portfolio) - before == change * self.rates()[instrument.settle_currency]
        if instrument.is_spot:
            self.spot_fees += fee

    @rule(instrument=st.sampled_from(ALL), ticks=st.integers(1, 2_000_000))
    def mark(self, instrument: Instrument, ticks: int) -> None:
        """Move a mark: nothing that has happened may change (invariant 12)."""
        before = (balances(self.portfolio), [state(self.portfolio, i) for i in ALL])
        self.marks[instrument.id] = instrument.price(ticks)
        assert (balances(self.portfolio), [state(self.portfolio, i) for i in ALL]) == before

    @rule(instrument=st.sampled_from(CONTRACTS), rate=st.sampled_from([0.0001, -0.0001, 0.00375, -0.0123456, 0.0]))
    def funding(self, instrument: Instrument, rate: float) -> None:
        """Settle funding on what is held now."""
        received = self.portfolio.charge_funding(
            instrument.id,
            rate=rate,
            mark=self.marks[instrument.id],
            qty=self.portfolio.position(instrument.id).qty,
        )
        expected = self.oracle.settle_funding(
            contract_of(instrument), rate=Fraction(repr(rate)), mark=self.mark_of(instrument)
        )
        assert Fraction(received) == expected

    @rule()
    def restore(self) -> None:
        """Go on with a pickled copy: nothing may be lost (invariant 14)."""
        self.portfolio = pickle.loads(pickle.dumps(self.portfolio))
        self.marks = self.portfolio.mark.__self__  # type: ignore[attr-defined]

    @precondition(lambda self: bool(self.oracle.holdings))
    @rule(data=st.data())
    def flatten(self, data: st.DataObject) -> None:
        """Close a contract whole: the average price is gone and nothing is open (invariant 7)."""
        instrument = data.draw(st.sampled_from(CONTRACTS))
        lots = int(self.portfolio.position(instrument.id).qty / instrument.qty_step)
        if lots:
            ticks = data.draw(st.integers(1, 2_000_000))
            self.fill(instrument, Deal(Side.SELL if lots > 0 else Side.BUY, abs(lots), ticks, "5"), in_base=False)
        position = self.portfolio.position(instrument.id)
        assert position.qty == 0
        assert position.average_price is None
        assert position.average_price_exact is None
        assert position.unrealised_exact(self.marks[instrument.id]) == 0
        assert position.open_value == 0

    @invariant()
    def agrees_with_the_oracle(self) -> None:
        """Every number of the ledger equals the oracle's fraction."""
        for currency in {*self.portfolio.currencies, *self.oracle.cash}:
            assert self.portfolio.balance_exact(currency) == self.oracle.cash.get(currency, 0)
        for instrument in ALL:
            holding = self.oracle.holding(contract_of(instrument))
            position = self.portfolio.position(instrument.id)
            assert Fraction(position.qty) == holding.qty
            assert position.average_price_exact == holding.average_price
            assert position.realised_exact == holding.realised
            assert position.unrealised_exact(self.marks[instrument.id]) == holding.unrealised(self.mark_of(instrument))
            assert {c: Fraction(a) for c, a in position.fees.items() if a} == {
                c: a for c, a in holding.fees.items() if a
            }
            assert sum(map(Fraction, position.funding.values())) == holding.funding
        marks = {i.id: self.mark_of(i) for i in ALL}
        assert equity_of(self.portfolio) == self.oracle.equity(marks, self.rates())

    @invariant()
    def running_sums_hold_what_their_parts_say(self) -> None:
        """A contract is in its currency's running sum exactly while its open value is whole, and with its profit."""
        for currency, balance in self.portfolio._balances.items():
            contracts = [position._net for position in self.portfolio._contracts.get(currency, ())]
            assert sorted(map(id, balance.fractional)) == sorted(id(net) for net in contracts if net.den != 1)
            brought = sum((net.realised for net in contracts if net.den == 1), Fraction(0))
            assert Fraction(balance.brought, balance.scale) == brought
            rest = sum((net.realised for net in contracts if net.den != 1), Fraction(0))
            assert Fraction(balance.settled, balance.scale) + brought + rest == self.oracle.cash.get(currency, 0)
            assert all(balance.scale % net.scale == 0 for net in contracts)
        for position in self.portfolio.positions.values():
            # What divides evenly is divided at once, so that flat positions are whole, too.
            assert position._net.den == 1 or (position._net.size and position._net.num % position._net.den)

    @invariant()
    def floats_are_the_nearest_ones(self) -> None:
        """Quotients of whole numbers that are not reduced give the floats of the exact amounts."""
        for currency in {*self.portfolio.currencies, "nothing"}:
            assert self.portfolio.balance_float(currency) == float(self.portfolio.balance_exact(currency))
        equity = self.portfolio.equity
        assert self.portfolio.equity_float == (None if equity is None else float(equity))
        for position in self.portfolio.positions.values():
            assert position.qty_float == float(position.qty)
            assert position.open_value_float == float(position.open_value)
            assert position.is_flat is (not position.qty)
            assert position.lots == int(Fraction(position.qty) / Fraction(position.instrument.lot))

    @invariant()
    def a_balance_covers_what_it_is_and_no_more(self) -> None:
        """To the last of forty places."""
        for currency in {*self.portfolio.currencies, "nothing"}:
            whole = Decimal(math.floor(self.portfolio.balance_exact(currency) * 10**40))
            assert self.portfolio.covers(currency, EXACT.scaleb(whole, -40))
            assert not self.portfolio.covers(currency, EXACT.scaleb(EXACT.add(whole, 1), -40))

    @invariant()
    def money_is_conserved(self) -> None:
        """Invariant 1, without the oracle: equity less deposits is profit less fees plus funding."""
        rates = self.rates()
        gained = equity_of(self.portfolio)
        for currency, amount in self.portfolio.deposits.items():
            gained -= Fraction(amount) * rates[currency]
        parts = -self.spot_fees
        for position in self.portfolio.positions.values():
            instrument = position.instrument
            settle = instrument.settle_currency
            part = position.realised_exact + position.unrealised_exact(self.marks[instrument.id])
            if not instrument.is_spot:
                part += Fraction(position.funding.get(settle, 0)) - Fraction(position.fees.get(settle, 0))
            parts += part * rates[settle]
        assert gained == parts

    @invariant()
    def everything_shown_is_finite(self) -> None:
        """Invariant 20: no amount is NaN or infinite, and what is shown is within half a step of what is kept."""
        kept = [self.portfolio.balance_exact(c) for c in self.portfolio.currencies] + [equity_of(self.portfolio)]
        equity = self.portfolio.equity
        assert equity is not None
        for amount, exact in zip([*self.portfolio.cash.values(), equity], kept, strict=True):
            assert amount.is_finite()
            assert abs(Fraction(amount) - exact) <= Fraction(1, 2 * 10**18)


PortfolioMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPortfolioMachine = PortfolioMachine.TestCase
