"""What an account's contracts may come to: the leverage bound, with open orders at their worst."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from quantkit.brokers.simulated.funds import Funds
from quantkit.brokers.simulated.market import ExchangeOrder
from quantkit.instruments import EXACT, Fees, Instrument, plain, round_up
from quantkit.portfolio import Portfolio


class Shortfall(NamedTuple):
    """The lack of equity for an order in a contract: the equity there, and the equity needed."""

    equity: Fraction
    needed: Fraction


class Exposure(Funds):
    """Positions in contracts, held and to come, against the equity in their settlement currency.

    Attributes:
        shortfalls: By instrument, the largest order that was refused for lack of equity in its settlement currency.
    """

    def __init__(self, portfolio: Portfolio, fees: Mapping[str, Fees], *, max_leverage: Decimal) -> None:
        super().__init__(portfolio, fees, max_leverage=max_leverage)
        self.shortfalls: dict[str, Shortfall] = {}
        self._open: dict[str, dict[str, ExchangeOrder]] = {}

    def _exceeds(self, instrument: Instrument, notional: Fraction) -> str:
        """Return why a position worth `notional` may not be, beside all others at their worst; empty if it may.

        Contracts are backed by the equity in the currency that they settle in, and by no other.
        """
        equity = self.portfolio.equity_in(instrument.settle_currency)
        if equity is None:
            return "no_price"
        for other in self._other_contracts(instrument):
            mark = self.portfolio.mark(other.id)
            if mark is None:
                return "no_price"
            notional += Fraction(other.notional(other.qty_decimal(1), mark)) * self._most_lots(other)
        if notional <= equity * self._max_leverage:
            return ""
        needed = notional / self._max_leverage
        before = self.shortfalls.get(instrument.id)
        if before is None or needed > before.needed:
            self.shortfalls[instrument.id] = Shortfall(equity, needed)
        return "insufficient_margin"

    def _other_contracts(self, instrument: Instrument) -> Iterable[Instrument]:
        """Yield the other contracts of the same settlement currency that are held or may come to be."""
        ids = dict.fromkeys([*self.portfolio.positions, *(i for i, orders in self._open.items() if orders)])
        for other_id in ids:
            other = self.portfolio.instruments[other_id]
            is_shared = other.settle_currency == instrument.settle_currency and not other.is_spot
            if other_id != instrument.id and is_shared and self._most_lots(other):
                yield other

    def _held_lots(self, instrument: Instrument) -> Fraction:
        return Fraction(self.portfolio.position(instrument.id).qty) / Fraction(instrument.lot)

    def _working_lots(self, instrument: Instrument, *, buys: bool, but: str = "") -> int:
        """Return what open orders of one side may still add; those that can only reduce lead nowhere."""
        return sum(
            order.left
            for order in self._open.get(instrument.id, {}).values()
            if order.is_buy is buys and order.id != but and not (order.reduce_only or order.only_closes)
        )

    def _lots_after(self, instrument: Instrument, order: ExchangeOrder, extra: int) -> tuple[Fraction, Fraction]:
        """Return the position in lots now, and the one that `extra` and open orders of its side lead to."""
        held = self._held_lots(instrument)
        added = self._working_lots(instrument, buys=order.is_buy, but=order.id) + extra
        return held, held + added * order.side.sign

    def _most_lots(self, instrument: Instrument) -> Fraction:
        """Return the largest position, in lots, that the open orders of either side could lead to."""
        held = self._held_lots(instrument)
        buys, sells = (self._working_lots(instrument, buys=buys) for buys in (True, False))
        return max(abs(held + buys), abs(held - sells))

    def _carries(self, order: ExchangeOrder, instrument: Instrument, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether the notional is within the bound after a fill, with its fee paid, by the mark and by its own price.

        The mark shows what the curve shows. Where the fill is the newest price there is, its own price says more.
        """
        ledger = self.portfolio
        position = ledger.position(instrument.id)
        equity = ledger.equity_in(instrument.settle_currency)
        others = self._notional_held(instrument.settle_currency, but=instrument.id)
        if equity is None or others is None:
            return False
        value, mark = instrument.value(lots, ticks), ledger.mark(instrument.id)
        of_fill, _ = self.fee(instrument, order.side, lots, value, is_maker=is_maker)
        fee = self.fee_due(order, of_fill)
        signed = Fraction(value) * order.side.sign
        before = Fraction(instrument.notional(position.qty, mark)) if position.qty and mark is not None else Fraction(0)
        after = EXACT.add(position.qty, instrument.qty_decimal(lots * order.side.sign))
        for price in (instrument.price_decimal(ticks), mark):
            if price is not None:
                notional = Fraction(instrument.notional(after, price))
                gain = notional - before - signed
                worth = equity - Fraction(fee) + (-gain if instrument.is_inverse else gain)
                if abs(notional) + others > worth * self._max_leverage:
                    return False
        return True

    def remedy(self, name: str) -> str:
        """Return the lack of equity for an instrument, and the option that gives it."""
        currency = self.portfolio.instruments[name].settle_currency
        shortfall = self.shortfalls.get(name)
        if shortfall is None:
            return f": more than the equity in {currency} x max_leverage; send less"
        give = f"--cash {currency}={plain(round_up(shortfall.needed))}"
        if shortfall.equity <= 0:
            return f": {name} is backed by {currency}; the account has none ({give})"
        return (
            f": more than the equity in {currency} x max_leverage; "
            f"send less, or raise the cash ({give}) or --max-leverage"
        )
