"""A simulated broker without rows: the test says which market has what price, and when time passes."""

from collections.abc import Collection, Mapping
from typing import Any

from quantkit.brokers.base import Agenda, Observer
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.market import Market, TradeMarket
from quantkit.brokers.simulated.messages import MessageQueue
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.orders import Fill
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.position import RunPosition


class StillVenue:
    """A venue whose markets are played by hand."""

    def __init__(self, lag_ns: int | None = None) -> None:
        self.synced: list[str] = []
        self._lag_ns = lag_ns

    def sync(self, instrument: str) -> None:
        self.synced.append(instrument)

    def lag_ns(self, instrument: str) -> int | None:
        return self._lag_ns

    def begin(self) -> None: ...

    def search_on(self, index: int) -> None: ...

    def open_row(self, cursor: StreamCursor, index: int) -> int:
        raise AssertionError("there are no rows")

    def apply_row(self, clock_ns: int) -> None: ...

    def rearm(self, instruments: Collection[str]) -> None: ...

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None: ...

    def check_steps(self, instrument: str) -> None: ...

    def step_notes(self) -> list[str]:
        return []


class Nobody:
    """An observer to whom the account is nothing."""

    def before_change(self) -> None: ...

    def after_fill(self, fill: Fill) -> None: ...


class OrderLife:
    """The parts of a simulated broker that an order meets."""

    def __init__(
        self,
        account: Account,
        latency_ns: Mapping[str, int],
        *,
        observer: Observer | None = None,
        venue: StillVenue | None = None,
        send_clock: SendClock | None = None,
        **trades: Any,
    ) -> None:
        clock = send_clock or SendClock()
        self.position = RunPosition()
        self.dirty: set[str] = set()
        self.markets: dict[str, Market] = {}
        agenda = Agenda()
        self.messages = MessageQueue(latency_ns, clock, agenda, keeps_decisions=True)
        volume = VolumeShares({}, {})
        self.executions = Executions(
            account,
            self.markets,
            latency_ns=latency_ns,
            position=self.position,
            observer=observer or Nobody(),
            volume=volume,
            send_clock=clock,
            dirty=self.dirty,
            agenda=agenda,
        )
        for instrument in account.portfolio.instruments.values():
            self.markets[instrument.id] = TradeMarket(instrument, self.executions, **trades)
        self.broker = SimulatedBroker(
            account,
            markets=self.markets,
            messages=self.messages,
            executions=self.executions,
            venue=venue or StillVenue(),
            volume=volume,
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
        self.broker.process_arrivals(instrument, clock_ns)
