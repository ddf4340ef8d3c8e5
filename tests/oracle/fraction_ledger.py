"""A slow and obvious ledger in fractions, written from the rules alone: the oracle for the real one.

It shares no code with quantkit. Sizes, prices and fees come in as fractions; nothing is rounded but the coin value of
an inverse contract, once for each fill, mark and funding, half-even to 1e-12. Fees paid are above zero, funding
received is above zero, positions net at their average price.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

COIN_STEPS = 10**12


@dataclass(frozen=True)
class Contract:
    """What is traded: `spot`, `linear` or `inverse`, and the size of one unit (coins, or quote for inverse).

    Where a contract has a long and a short position, each is a contract of its own, named by `side`.
    """

    name: str
    style: str
    base: str
    quote: str
    unit: Fraction = Fraction(1)
    side: str = ""

    @property
    def key(self) -> str:
        """The name of its position."""
        return f"{self.name}+{self.side}" if self.side else self.name

    @property
    def settle(self) -> str:
        """The currency in which a fill's value, profit and funding are counted."""
        return self.base if self.style == "inverse" else self.quote

    def value(self, qty: Fraction, price: Fraction) -> Fraction:
        """Return the value of `qty` at `price`, with the sign of `qty`."""
        if self.style == "inverse":
            # Python rounds fractions half to even.
            return Fraction(round(qty * self.unit / price * COIN_STEPS), COIN_STEPS)
        return qty * self.unit * price

    def profit(self, entry_value: Fraction, exit_value: Fraction) -> Fraction:
        """Return what a long position gained between two values: quote by rising, coins by the coin getting dearer."""
        return entry_value - exit_value if self.style == "inverse" else exit_value - entry_value


@dataclass
class Holding:
    """One netting position: signed size, what it cost (never negative), and what has been taken so far."""

    contract: Contract
    qty: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)
    funding: Fraction = Fraction(0)
    fees: dict[str, Fraction] = field(default_factory=dict)

    @property
    def average_price(self) -> Fraction | None:
        """Arithmetic for spot and linear; harmonic (total quote by total coins) for inverse; None while flat."""
        if self.qty == 0:
            return None
        size = abs(self.qty) * self.contract.unit
        return size / self.cost if self.contract.style == "inverse" else self.cost / size

    def unrealised(self, mark: Fraction) -> Fraction:
        """Return the open profit at `mark`."""
        if self.qty > 0:
            return self.contract.profit(self.cost, self.contract.value(self.qty, mark))
        if self.qty < 0:
            return -self.contract.profit(self.cost, self.contract.value(-self.qty, mark))
        return Fraction(0)

    def move(self, change: Fraction, value: Fraction) -> Fraction:
        """Change the position by a signed size worth `value` (never negative) and return the profit taken."""
        taken = Fraction(0)
        if self.qty * change < 0:
            closed = min(abs(self.qty), abs(change))
            entry_value = self.cost * closed / abs(self.qty)
            exit_value = value * closed / abs(change)
            taken = self.contract.profit(entry_value, exit_value)
            if self.qty < 0:
                taken = -taken
            self.cost -= entry_value
            value -= exit_value
        self.qty += change
        self.cost += value
        self.realised += taken
        return taken


class FractionLedger:
    """One account: balances by currency and a holding for each contract."""

    def __init__(self, deposits: Mapping[str, Fraction]) -> None:
        self.deposits = dict(deposits)
        self.cash = dict(deposits)
        self.holdings: dict[str, Holding] = {}

    def holding(self, contract: Contract) -> Holding:
        """Return the holding of a contract, flat before its first fill."""
        return self.holdings.setdefault(contract.key, Holding(contract))

    def fill(
        self, contract: Contract, *, change: Fraction, price: Fraction, fee: Fraction, fee_currency: str
    ) -> Fraction:
        """Book an execution of a signed size and return the profit taken."""
        holding = self.holding(contract)
        value = contract.value(abs(change), price)
        if contract.style == "spot":
            self._pay(contract.quote, -value if change > 0 else value)
            self._pay(contract.base, change)
            # A fee in coins comes off what the fill brought; the position moves by what is left, at the fill's price.
            net = change - fee if fee_currency == contract.base else change
            taken = holding.move(net, contract.value(abs(net), price))
        else:
            taken = holding.move(change, value)
            self._pay(contract.settle, taken)
        self._pay(fee_currency, -fee)
        holding.fees[fee_currency] = holding.fees.get(fee_currency, Fraction(0)) + fee
        return taken

    def settle_funding(self, contract: Contract, *, rate: Fraction, mark: Fraction) -> Fraction:
        """Charge the holding at the boundary and return what was received; longs pay a positive rate."""
        received = -rate * contract.value(self.holding(contract).qty, mark)
        self.receive_funding(contract, received)
        return received

    def receive_funding(self, contract: Contract, received: Fraction) -> None:
        """Book what a boundary brought, below zero when paid."""
        self.holding(contract).funding += received
        self._pay(contract.settle, received)

    def equity(self, marks: Mapping[str, Fraction], rates: Mapping[str, Fraction]) -> Fraction:
        """Return balances plus open contract profit, each currency at its rate to the report currency."""
        total = Fraction(0)
        for currency, amount in self.cash.items():
            total += amount * rates[currency]
        for holding in self.holdings.values():
            if holding.contract.style != "spot" and holding.qty != 0:
                total += holding.unrealised(marks[holding.contract.name]) * rates[holding.contract.settle]
        return total

    def _pay(self, currency: str, amount: Fraction) -> None:
        self.cash[currency] = self.cash.get(currency, Fraction(0)) + amount
