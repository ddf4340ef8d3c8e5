"""A simulated broker without rows: the test says which market has what price, and when time passes."""

from collections.abc import Mapping
from typing import Any

from quantkit.brokers.base import Agenda, Observer
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.contingent import ContingentOrders
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.expiries import ExpiryWakes
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.streams import MatchingStream
from quantkit.brokers.simulated.traded import TradeMarket
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.latency import Travel
from quantkit.orders import Fill
from quantkit.rows.position import RunPosition


class StillListing(Listing):
    """An instrument whose market is played by hand."""

    def __init__(self, market: TradeMarket, latency_ns: int, lag_ns: int | None) -> None:
        super().__init__(market, [], travel=Travel(latency_ns))
        self.trades = market
        self.synced = 0
        self.lag_before_ns = lag_ns

    def sync(self, index: int) -> None:
        self.synced += 1

    def apply_row(self, stream: MatchingStream, row: int, clock_ns: int) -> None:
        raise AssertionError("there are no rows")


class Nobody:
    """An observer to whom the account is nothing."""

    def before_fill(self) -> None: ...

    def after_fill(self, fill: Fill) -> None: ...


class OrderLife:
    """The parts of a simulated broker that an order meets."""

    def __init__(
        self,
        account: Account,
        latency_ns: Mapping[str, int],
        *,
        observer: Observer | None = None,
        send_clock: SendClock | None = None,
        lag_ns: int | None = None,
        **trades: Any,
    ) -> None:
        clock, agenda = send_clock or SendClock(), Agenda()
        self.position = RunPosition()
        self.dirty: set[str] = set()
        self.listings: dict[str, StillListing] = {}
        executions = self.executions = Executions(
            account,
            position=self.position,
            observer=observer or Nobody(),
            send_clock=clock,
            dirty=self.dirty,
            agenda=agenda,
        )
        for name, instrument in account.ledger.instruments.items():
            listing = StillListing(TradeMarket(instrument, executions, **trades), latency_ns[name], lag_ns)
            self.listings[name] = listing
            executions.add_listing(listing)
        wakes = ExpiryWakes(self.position, agenda)
        sender = MessageSender(self.listings, self.position, clock, self.dirty, agenda, wakes, keeps_decisions=True)
        contingent = self.contingent = ContingentOrders.of(executions, account, sender, self.position)
        executions.followers = (*contingent,)
        self.broker = SimulatedBroker(
            account,
            listings=self.listings,
            own_sources={},
            sender=sender,
            wakes=wakes,
            executions=executions,
            contingent=contingent,
            volume=VolumeShares({}, {}, executions.fills, executions.indices),
            position=self.position,
            send_clock=clock,
            dirty=self.dirty,
            agenda=agenda,
        )

    def advance(self, now_ns: int) -> None:
        """Let time pass in quiet markets."""
        self.position.now_ns = now_ns
        self.broker.advance(now_ns)

    def arrive(self, instrument: str, clock_ns: int, now_ns: int) -> None:
        """Let a market's clock reach a moment."""
        self.position.now_ns = now_ns
        self.broker.process_until(self.listings[instrument], clock_ns)

    def first_arrival_ns(self, instrument: str) -> int | None:
        """Return when the next message for an instrument arrives; None while there is none."""
        queue = self.listings[instrument].queue
        return queue[0].arrives_ns if queue else None
