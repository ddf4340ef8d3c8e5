"""What a finished run hands to the report: plain records, nothing computed for display."""

from decimal import Decimal
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.brokers.base import Decision, Report
from quantkit.brokers.unprotected import Unprotected
from quantkit.orders import Fill, Order, OrderState, PositionSide


class RunLog(Protocol):
    """Records the outputs of a run as it happens."""

    def output(self, decisions: list[Decision], reports: list[Report]) -> None:
        """Add the outputs of one batch, if it had any."""
        ...


class OrderEvent(msgspec.Struct, frozen=True, gc=False):
    """One change of state of an order on the exchange's side."""

    order_id: str
    at_ns: int  # the exchange's stamp
    reported_ns: int  # when the strategy learns of it
    state: OrderState
    reason: str


class EquityCurve(msgspec.Struct, frozen=True):
    """Equity on a grid, at every fill and at the end, in the report currency, as aligned arrays of shape (n,).

    `drawdown` is the deepest fall from the running peak since the row before, a negative fraction; it is exact
    between rows because every mark was looked at. `exposure` is the gross notional over the equity. `is_grid` tells the
    rows of the grid, which show what the hook of a candle closing then sees, from those of fills at the same moment.
    """

    time_ns: NDArray[np.int64]
    equity: NDArray[np.float64]
    cash: NDArray[np.float64]
    exposure: NDArray[np.float64]
    drawdown: NDArray[np.float64]
    is_grid: NDArray[np.bool_] = msgspec.field(default_factory=lambda: np.empty(0, np.bool_))  # empty: not known

    @property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """The columns of numbers, by name."""
        return {"equity": self.equity, "cash": self.cash, "exposure": self.exposure, "drawdown": self.drawdown}


class Excursion(msgspec.Struct, frozen=True):
    """Lowest and highest mark while the round trip that `fill_id` opened was open."""

    instrument: str
    fill_id: int
    low: float
    high: float


class DailyMark(msgspec.Struct, frozen=True, gc=False):
    """What an instrument was valued at on one day's end, at the run's first row with a mark, or at its end."""

    instrument: str
    at_ns: int  # by the receipt clock, as the equity curve
    price: float


class FundingPayment(msgspec.Struct, frozen=True, gc=False):
    """What a position received at one funding boundary; below zero it paid."""

    instrument: str
    funding_ns: int  # the boundary, by the exchange's clock
    rate: float
    price: float  # at which the position was valued
    amount: Decimal
    currency: str
    position_side: PositionSide = PositionSide.NET


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run produced.

    Attributes:
        orders: Every order, in the order sent, with the exchange's final view of it.
        order_events, fills: In the order in which the exchange side made them.
        excursions: One for each round trip, in order of opening.
        cash: Final balances by currency. equity: final, in `report_currency`, exact.
        position_qty: Final signed size of each position that traded, by instrument id; a leg has its side behind it.
        position_mark: Final mark of each instrument that traded or converts a currency, None where none was seen.
        realised, funding, fees: By currency, exact; `realised` is before fees and funding.
        start_ns, end_ns: The run's span.
        ended: `completed`; or `bankrupt` or, live only, `strategy_error`, with the moment in `end_ns`.
        assumptions: Sentences to print first: matching data, fees, latency, inferred steps, shifts.
        warnings: Sentences to print last: gaps, short warm-up, stale data, share of candle volume.
        rows: Number of rows of each stream in the run, by the stream's name.
        offset_ns: The receipt clock less the exchange's clock at the end. Fills carry the exchange's time, the run's
            span the receipt clock's.
        daily_marks: Of every instrument of the run, traded or not: its first mark, that at each UTC midnight within the
            run, and the last, by instrument and in order of time. Empty: no price came, or an older quantkit saved it.
        funding_payments: In the order in which they were settled; together they are `funding`. Empty as well where an
            older quantkit saved the result.
        unprotected: Fills of orders with `take_profit` or `stop_loss`, and how long each waited for them.
    """

    orders: list[Order]
    order_events: list[OrderEvent]
    fills: list[Fill]
    excursions: list[Excursion]
    curve: EquityCurve
    cash: dict[str, Decimal]
    equity: Decimal
    starting_equity: Decimal
    report_currency: str
    position_qty: dict[str, Decimal]
    position_mark: dict[str, float | None]
    realised: dict[str, Decimal]
    funding: dict[str, Decimal]
    fees: dict[str, Decimal]
    start_ns: int
    end_ns: int
    ended: str
    assumptions: list[str]
    warnings: list[str]
    rows: dict[str, int]
    offset_ns: int = 0
    daily_marks: list[DailyMark] = []
    funding_payments: list[FundingPayment] = []
    unprotected: list[Unprotected] = []
