"""What the engine asks of a broker: orders in, rows past it, reports out, and the ledger behind them.

The engine knows no broker but by this protocol. Whoever adds one writes a class that keeps it and a `BrokerFactory`.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import msgspec

from quantkit.brokers.introduction import Introduction
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.unprotected import Unprotected
from quantkit.clock import NEVER_NS, NS_PER_MS
from quantkit.events import Candle, PriceLimit
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.margin import MarginTerms
from quantkit.orders import Fill, Order, OrderState, OrderTerms, PositionSide, TriggerPrices
from quantkit.portfolio import Portfolio
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import NOWHERE, StreamCursor
from quantkit.rows.marks import MarkTable
from quantkit.rows.position import RunPosition

#: A refusal of our own is reported no sooner than this: a strategy that answers it with another order must not do so at
#: one moment for ever.
REFUSED_AFTER_NS: Final = NS_PER_MS


class Report(msgspec.Struct, frozen=True, order=True, gc=False, array_like=True):
    """News of one order on its way to the strategy, due at `due_ns`.

    `at_ns` is the exchange's stamp. `lots` and `limit_ticks` restate the order's size and limit: an amend may have
    changed them. `trigger` restates a trigger that is no longer as it was sent; None for others. `introduction` comes
    with the first news of an order that the exchange has made.
    """

    due_ns: int
    number: int
    order_id: str
    state: OrderState
    reason: str
    at_ns: int
    lots: int
    limit_ticks: int | None
    fill: Fill | None
    trigger: TriggerPrices | None = None
    introduction: Introduction | None = None


class Decision(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A message that left at `sent_ns` of our clock: new order, cancel or change.

    `lots`, `limit_ticks` and `stop_ticks` count steps. `terms` are those of an order that has any, and `change` is what
    a change asks of a trigger.
    """

    sent_ns: int
    kind: str  # submit, cancel or amend
    order_id: str
    instrument: str
    side: str
    lots: int | None
    limit_ticks: int | None
    stop_ticks: int | None
    time_in_force: str
    post_only: bool
    reduce_only: bool
    tag: str
    terms: OrderTerms | None = None
    change: TriggerPrices | None = None
    position_side: str = PositionSide.NET


class MarkWatch(Protocol):
    """Watches the marks of positions that the exchange may liquidate.

    The engine judges each row that the watch doubts: after the row has filled orders, before anything is valued at it.
    """

    @property
    def is_safe(self) -> bool:
        """Whether no mark of this batch can liquidate anything."""
        ...

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` whose mark may liquidate a position, `NOWHERE` if none does."""
        ...

    def judge(self, index: int) -> None:
        """Judge the positions whose mark a row brings; the run stands at it."""
        ...

    def account_changed(self, instrument: str) -> None:
        """Take note of a booking that is no fill."""
        ...


class Agenda:
    """What a broker waits for. The broker writes it whenever that changes, the engine reads it at every step.

    Attributes:
        wake_ns: The next moment at which time alone has an effect, apart from reports; `NEVER_NS` for never.
        report_ns: When the next report is due; `NEVER_NS` while none is on its way.
        next_index: The next index of this batch whose row may concern an order; `NOWHERE` for none.
        cursor: The stream of that row. None: the search has come as far as `next_index` and found nothing; `search_on`
            continues it.
        mark_watch: Watches for liquidations; None in a run without margin.
    """

    __slots__ = ("cursor", "mark_watch", "next_index", "report_ns", "wake_ns")

    def __init__(self) -> None:
        self.wake_ns = NEVER_NS
        self.report_ns = NEVER_NS
        self.next_index = NOWHERE
        self.cursor: StreamCursor | None = None
        self.mark_watch: MarkWatch | None = None


class DirtySet(set[str]):
    """What has changed since the broker last searched for rows that matter: instruments by id, and `TIMERS`.

    An instrument gets in when a message about an order leaves or arrives, when an order, the position or the steps
    change, and when a row of it was matched. A run of rows stops where the set is not empty: the loop then has the
    broker search again for these instruments, and looks for the next wake-up anew.
    """

    TIMERS: Final = ""

    __slots__ = ()


class BrokerNotes(NamedTuple):
    """What a broker says at the end, for the result.

    Attributes:
        assumptions: How fills came about.
        rows: Warnings about the rows that orders met.
        fills: Warnings about the fills.
        unprotected: The fills of brackets, in the order in which their protection came into force.
    """

    assumptions: list[str]
    rows: list[str]
    fills: list[str]
    unprotected: Sequence[Unprotected] = ()


class Observer(Protocol):
    """Follows the account's fills, to value it."""

    def before_fill(self) -> None:
        """Be told before a fill is booked: the equity curve may have to begin."""
        ...

    def after_fill(self, fill: Fill) -> None:
        """Take in a fill that the ledger has just booked."""
        ...


class BrokerSetup(NamedTuple):
    """The parts of a planned run that its broker gets.

    Attributes:
        instruments: As at the start, by id.
        matching: The stream that matches each instrument's orders.
        has_trades: Whether an instrument's trades span the run.
        fees, latency_ns: By instrument; `latency_ns` is one way.
        ledger: The account's truth. The broker books its fills there and nobody else does.
        cursors: The run's streams.
        marks: The mark of each instrument.
        position: The run's position. The engine moves it, the broker reads it.
        observer: Called around every fill.
        dirty: Gets the instruments that the broker has to be asked to `rearm`.
        send_clock: The departures of messages, and the offset of our clock.
        keeps_decisions: Whether the run calls `Broker.take_decisions`.
        margin: How contracts are margined; None: they are bounded by `max_leverage` alone.
        price_limits: Those told last before the start, by instrument.
    """

    instruments: Mapping[str, Instrument]
    matching: Mapping[str, Stream]
    has_trades: Mapping[str, bool]
    fees: Mapping[str, Fees]
    latency_ns: Mapping[str, int]
    ledger: Portfolio
    cursors: Mapping[Stream, StreamCursor]
    marks: MarkTable
    position: RunPosition
    observer: Observer
    dirty: DirtySet
    send_clock: SendClock
    keeps_decisions: bool
    margin: MarginTerms | None = None
    price_limits: Mapping[str, PriceLimit] = MappingProxyType({})


class AskedOrder(NamedTuple):
    """An open order, with the size and the limit last asked for, in steps."""

    order: Order
    lots: int
    limit_ticks: int | None


class OrderRoom(Protocol):
    """How much of an order an account would take, as far as its owner knows."""

    def most_lots(self, order: Order, price_ticks: int, others: Sequence[AskedOrder]) -> int:
        """Return the most lots, no more than the order has, that the account takes and fills whole at a price.

        An order below the smallest one is no question of money: it stays as it is.

        Args:
            order: Not sent yet.
            price_ticks: Where it is expected to fill.
            others: The orders that are open beside it.
        """
        ...

    def amount_refusal(self, order: Order) -> str:
        """Return why an order cannot travel with its money, to be sized by the price that fills it; empty if it can."""
        ...


class OrderEntry(Protocol):
    """The order side of a broker."""

    def submit(self, order: Order, now_ns: int) -> int:
        """Send a new order and return its departure, at the earliest `now_ns`."""
        ...

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Send a cancel; a late one changes nothing."""
        ...

    def amend(
        self,
        order_id: str,
        now_ns: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
        is_sized: bool = False,
    ) -> None:
        """Send a change of the whole size, of the limit price or of the trigger on its way.

        `is_sized` says that the size comes from money: an account that has less cuts the order instead of refusing it.
        """
        ...

    def refuse(self, order: Order, now_ns: int, reason: str) -> None:
        """Reject a new order without sending it; that is reported about when the exchange's refusal would be."""
        ...

    def refuse_amend(self, order_id: str, now_ns: int, reason: str) -> None:
        """Refuse a change without sending it, unless the order is over; reported like a refused order."""
        ...


class Broker(OrderEntry, Protocol):
    """Takes orders, and reports their acceptance, fills and ends later.

    A run calls, in this order: `see_candle` for the warm-up and `begin`; for each batch `take_inputs` and, with rows,
    `enter_batch`, then as often as needed `on_row`, `advance`, `take_report`, `rearm` and `search_on`, then
    `leave_batch`, and `leave_rows` before the next rows; `finish` at the end. Time may also pass between batches. Calls
    about orders may come at any time after `begin`.
    """

    @property
    def agenda(self) -> Agenda:
        """What the broker waits for: one object throughout the run."""
        ...

    @property
    def fills(self) -> Sequence[Fill]:
        """Every execution so far, in the order in which the exchange made them."""
        ...

    @property
    def reports(self) -> Sequence[Report]:
        """Every report so far, delivered or not, in the order in which they were made."""
        ...

    # Rows

    def see_candle(self, candle: Candle) -> None:
        """Take note of a candle from before the start."""
        ...

    def begin(self) -> None:
        """Begin to trade; books stand as they stood at the start."""
        ...

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch, in which these cursors have rows."""
        ...

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None:
        """End a batch in which these cursors had rows, and keep what the next one needs."""
        ...

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Let go of a batch's rows, before its cursors are given the next ones."""
        ...

    def rearm(self, dirty: Collection[str]) -> None:
        """Search again, from the present position on, for the next row that matters to these instruments' orders.

        Called after every row that the broker stopped at, and whenever instruments are dirty.
        """
        ...

    def search_on(self, index: int) -> None:
        """Search on from `agenda.next_index`, where nothing has been found and the engine has come to now."""
        ...

    def on_row(self, cursor: StreamCursor, index: int) -> None:
        """Process the messages that arrived by a row, then let the row fill resting orders."""
        ...

    # Time

    def take_inputs(self, until_ns: int) -> None:
        """Take what has come from outside by `until_ns`, the end of the batch that begins.

        It is an input of the run, logged before it counts, and waits for its own moment, which is on the agenda then. A
        broker that hears nothing from outside does nothing.
        """
        ...

    def advance(self, now_ns: int) -> None:
        """Let time pass to `now_ns` without a row."""
        ...

    # Reports

    def take_report(self) -> Report:
        """Return the next report, which is due."""
        ...

    def take_decisions(self) -> list[Decision]:
        """Return the messages sent since the last call, for the log of the run."""
        ...

    # The account

    def room(self, ledger: Portfolio) -> OrderRoom:
        """Return what judges orders of the account by a ledger of what its owner knows."""
        ...

    def queue_ahead(self, order_id: str) -> float | None:
        """Return the size that is displayed in front of a resting order; None where that is not known."""
        ...

    def qty_at(self, leg: str, boundary_ns: int) -> int:
        """Return the signed size steps of a position, by its key, from fills stamped before `boundary_ns`."""
        ...

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        """Use an instrument's new steps and minimum, valid from `at_ns` by the exchange's clock."""
        ...

    # The end

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        """Cancel open orders at the end of the run; return all reports not yet delivered."""
        ...

    def remedy(self, instrument: str) -> str:
        """Return the remedy for orders in a contract refused for lack of equity, as the end of a sentence."""
        ...

    def notes(self) -> BrokerNotes:
        """Return sentences for the result; called once, at the end."""
        ...


class BrokerFactory(Protocol):
    """Makes a run's broker."""

    def __call__(self, setup: BrokerSetup) -> Broker:
        """Return a broker for a run that is planned."""
        ...
