"""The account's bookings: what has to know of a fill before and after it, and funding."""

from quantkit.brokers.base import Broker
from quantkit.engine.equity import EquityTracker
from quantkit.engine.funding import Settlements
from quantkit.engine.outcome import FundingPayment
from quantkit.events import Funding
from quantkit.orders import Fill, leg_of
from quantkit.portfolio import Portfolio
from quantkit.rows.marks import MarkTable
from quantkit.rows.position import RunPosition


class Bookings:
    """Follows the account for everything that values it.

    Args:
        ledger: The account's truth.
        reported: The account as far as it has been reported: funding is known to both at once.
        marks, settlements, equity: The parts that value it.

    Attributes:
        is_checked: Whether nothing has been booked since solvency was looked at.
        payments: Funding so far, in the order of booking.
    """

    def __init__(
        self,
        ledger: Portfolio,
        reported: Portfolio,
        marks: MarkTable,
        settlements: Settlements,
        equity: EquityTracker,
    ) -> None:
        self._ledger = ledger
        self._reported = reported
        self._marks = marks
        self._settlements = settlements
        self._equity = equity
        self.is_checked = True
        self.payments: list[FundingPayment] = []

    def before_fill(self) -> None:
        """Look for the start of the curve, if it is still to come: it shows the account before this fill."""
        if not self._equity.is_started:
            self._equity.look_for_start()

    def after_fill(self, fill: Fill) -> None:
        """Take in a fill that the ledger has just booked."""
        self._marks.own_prices[fill.instrument] = fill.price
        self._equity.after_fill(fill)
        self.is_checked = self._equity.solvency.is_safe

    def charge(self, funding: Funding, broker: Broker, position: RunPosition) -> bool:
        """Settle funding on the positions that fills stamped before the boundary had built, at the boundary's price.

        Returns:
            Whether anything was charged.
        """
        name = funding.instrument
        held = [(side, broker.qty_at(leg_of(name, side), funding.funding_ns)) for side in self._ledger.sides_of(name)]
        if not self._settlements.begin(funding) or not any(lots for _, lots in held):
            return False
        mark = self._settlements.price(funding, broker.fills, position.index)
        position.is_after_candles = True
        self._equity.run_to_present()
        instrument, rate = self._ledger.instruments[name], funding.rate
        for side, lots in held:
            if lots:
                amount, _ = (
                    ledger.charge_funding(
                        name, rate=rate, mark=mark, qty=instrument.qty_decimal(lots), position_side=side
                    )
                    for ledger in (self._ledger, self._reported)
                )
                currency = instrument.settle_currency
                self.payments.append(FundingPayment(name, funding.funding_ns, rate, mark, amount, currency, side))
        self._equity.account_changed()
        if broker.agenda.mark_watch is not None:
            broker.agenda.mark_watch.account_changed(name)
        self.is_checked = False
        return True

    def is_ruinous(self) -> bool:
        """Return whether a booking since the last check has left the account worth nothing."""
        return not self.is_checked and self._equity.solvency.ruined is not None
