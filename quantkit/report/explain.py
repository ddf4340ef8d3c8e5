"""Why an order filled at its price and size, or why not: what the market did to it, in words and as a table."""

from collections.abc import Sequence
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quantkit.brokers.order_trace import MarketGlance, OrderTrace, TraceStep
from quantkit.cards import card
from quantkit.clock import NS_PER_MS, iso_of
from quantkit.engine.outcome import Outcome
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import AMEND_REFUSED, AMENDED, REQUESTED, Fill, Order, OrderState, TriggerType
from quantkit.report.frames import utc_index
from quantkit.report.text import counted, grouped

if TYPE_CHECKING:
    import pandas as pd

#: What reasons mean, for whoever has not met them.
_REASONS: Final = {
    REQUESTED: "the strategy cancelled it",
    "amended_to_filled": "the strategy changed its size to what had filled",
    "end_of_data": "the data ended",
    "expired": "its time was over",
    "oco": "another order of its group filled",
    "position_closed": "the position that it protects was closed",
    "reduce_only_trimmed": "reduce-only orders may not be larger than the position",
    "reduce_only_displaced": "reduce-only orders with a better price take the whole position",
    "price_limit": "the exchange's price band ends there",
    "self_trade": "it would have traded with another order of ours",
    "liquidation": "the position was liquidated",
    "post_only_would_take": "a post-only order may not take, and the other side was at its price or beyond",
    "book_invalid": "the book was invalid",
    "book_stale": "the display was older than stale_after",
    "no_liquidity": "nothing displayed was left to take",
    "ioc_unfilled": "an IOC order ends with what it can take at once",
    "fok_unfilled": "a FOK order ends unless it can take its whole size at once",
    "amount_spent": "what was left of its money buys no size step at the next price",
    "stop_passed": "the price that would have filled it had reached the stop that it was sized by",
    "insufficient_cash": "the account does not pay for it with its fee",
    "insufficient_position": "spot can only sell what is there",
    "insufficient_margin": "the notional would be beyond the equity times max_leverage",
    "instrument_changed": "it no longer fits the instrument's new steps",
    "warmup": "the warm-up was not over",
    "paused": "the run was paused from outside",
    "stopped": "the run had ended",
}
_RESTING: Final = (OrderState.ACCEPTED, OrderState.PARTLY_FILLED)
#: Rows of the table in the terminal.
_SHOWN_ROWS: Final = 40


class ExplainedRow(NamedTuple):
    """One line of an explanation's table; sizes in the instrument's unit, None where not known.

    Attributes:
        received_ns, exchange_ns: Of the row; of a message the moment when the run came to it.
        what: Kind of the row; without one `sent`, `arrived`, `changed`, `filled`, `cancelled` or `rejected`.
        limit: The order's limit after it.
        price, qty, side: Of a trade; the price of an open.
        level: Displayed at the order's price after the row.
        ahead_before, ahead: In front of the order.
        prints, cancels: By how much trades and shrinking of the level shortened the queue.
        filled: What the row filled.
        state: Of the order after it.
    """

    received_ns: int
    exchange_ns: int
    what: str
    limit: float | None
    price: float | None
    qty: float | None
    side: str
    level: float | None
    ahead_before: float | None
    ahead: float | None
    prints: float
    cancels: float
    filled: float
    state: str


class Explanation:
    """Why an order filled, or why not. `print` it for the words, or take `words`, `rows` and `table`.

    Args:
        order: It, in its last state.
        outcome: The run's records.
        instrument: Its instrument, on the run's grid.
        trace: What happened to it; None for one that never reached the exchange.
    """

    def __init__(self, order: Order, outcome: Outcome, instrument: Instrument, trace: OrderTrace | None) -> None:
        self.order = order
        self._instrument = instrument
        self._trace = trace
        self._steps: Sequence[TraceStep] = () if trace is None else trace.steps
        self._events = [event for event in outcome.order_events if event.order_id == order.id]
        self._fills = [fill for fill in outcome.fills if fill.order_id == order.id]
        self._beside = {
            (fill.filled_ns, fill.revealed_ns)
            for fill in outcome.fills
            if fill.order_id != order.id and fill.instrument == order.instrument and fill.side is order.side
        }

    # The table ------------------------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> list[ExplainedRow]:
        """What changed the order or its place in the queue, in order."""
        return [self._row(step) for step in self._steps]

    def _row(self, step: TraceStep) -> ExplainedRow:
        row, before, after = step.row, step.before, step.after
        moved = 0
        if before is not None and row is not None and before.ahead is not None and after.ahead is not None:
            moved = before.ahead - after.ahead
        is_trade = row is not None and row.kind == "trade"
        filled = after.filled_lots - (0 if before is None else before.filled_lots)
        at_ns = step.now_ns if row is None else row.received_ns
        return ExplainedRow(
            at_ns,
            at_ns if row is None else row.exchange_ns,
            _what(step) if row is None else row.kind,
            None if after.limit_ticks is None else self._instrument.price(after.limit_ticks),
            None if row is None else row.price,
            None if row is None else row.qty,
            "" if row is None or row.side is None else str(row.side),
            self._qty(step.glance.level_lots),
            None if before is None else self._qty(before.ahead),
            self._qty(after.ahead),
            self._instrument.qty(moved if is_trade else 0),
            self._instrument.qty(0 if is_trade else moved),
            self._instrument.qty(filled),
            str(after.state),
        )

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The rows as a frame, by receipt."""
        import pandas as pd

        columns = {
            name: [getattr(row, name) for row in self.rows] for name in ExplainedRow._fields if name != "received_ns"
        }
        frame = pd.DataFrame(columns, index=utc_index([row.received_ns for row in self.rows]))
        frame["exchange_ns"] = utc_index(frame["exchange_ns"].to_list(), name=None)
        numbers = ("limit", "price", "qty", "level", "ahead_before", "ahead")
        return frame.astype(dict.fromkeys(numbers, "float64")).rename(columns={"exchange_ns": "exchange_time"})

    # Words ----------------------------------------------------------------------------------------------------

    @cached_property
    def words(self) -> list[str]:
        """The explanation, a sentence each."""
        said = [self._sent(), *self._arrival(), *self._changes(), *self._queue()]
        said += [self._fill(fill) for fill in self._fills]
        said += self._end()
        return [each for each in said if each]

    @property
    def title(self) -> str:
        """The order in a line."""
        order = self.order
        prices = {
            "at": order.price,
            "stop": order.stop_price,
            "take profit": order.take_profit_price,
            "trailing by": order.trailing_offset,
            "trailing by bps": order.trailing_offset_bps,
        }
        asked = " ".join(f"{name} {grouped(price)}" for name, price in prices.items() if price is not None)
        flags = [
            name for name, is_set in (("post-only", order.post_only), ("reduce-only", order.reduce_only)) if is_set
        ]
        terms = ", ".join([str(order.time_in_force), *flags, *([order.tag] if order.tag else [])])
        what = f"{order.side} {grouped(order.qty)} {order.instrument} {asked or 'at the market'}"
        return f"Order {order.id}: {what} ({terms})"

    def __str__(self) -> str:
        lines = [self.title, *(f"- {each}" for each in self.words)]
        if self.rows:
            lines += ["", *_text_table(self.rows)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Explanation of {self.order.id}: {self.order.state}, {counted(len(self.rows), 'row')}>"

    def _repr_html_(self) -> str:
        return card(self.title, "", rows=[(str(number), each) for number, each in enumerate(self.words, 1)], texts=99)

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "order_id": self.order.id,
            "title": self.title,
            "words": self.words,
            "rows": [row._asdict() for row in self.rows],
        }

    # Parts ------------------------------------------------------------------------------------------------------

    def _sent(self) -> str:
        order = self.order
        if not self._events:
            return f"It never left: {_meaning(order.reason)}."
        at_ns = self._events[0].at_ns
        if order.parent_id:
            return f"Placed for the fills of {order.parent_id}, at the exchange {iso_of(at_ns)}."
        sent = f"Sent {iso_of(order.sent_ns)}"
        if self._events[0].state is OrderState.CANCELLED:
            return f"{sent}, and never arrived."
        if self._arrived() is None:
            return f"{sent}, and refused before it left."
        return f"{sent}, at the exchange {iso_of(at_ns)}, {plain((at_ns - order.sent_ns) / NS_PER_MS)} ms later."

    def _arrived(self) -> TraceStep | None:
        """Return the step in which the exchange took the order in or refused it; None if it never got there."""
        if self._trace is None or not self._trace.has_arrived:
            return None
        return next((step for step in self._steps if step.after.state is not OrderState.PENDING), None)

    def _arrival(self) -> list[str]:
        step = self._arrived()
        if step is None:
            return []
        seen = self._seen(step.glance)
        return [f"The market then: {seen}."] if seen else []

    def _seen(self, glance: MarketGlance) -> str:
        """Return the market in words."""
        words = []
        for name, ticks, lots in (
            ("bid", glance.bid_ticks, glance.bid_lots),
            ("ask", glance.ask_ticks, glance.ask_lots),
        ):
            if ticks is not None:
                words.append(f"{name} {self._price(ticks)} x {grouped(self._instrument.qty(lots or 0))}")
        if glance.last_price is not None:
            words.append(f"last price {grouped(glance.last_price)}")
        return ", ".join(words)

    def _queue(self) -> list[str]:
        """Return how the order stood in the queue since it joined it last, and what moved it."""
        joined = self._joined()
        if joined is None or not self._steps[joined].glance.is_displayed:
            return []
        step = self._steps[joined]
        ahead, level = step.after.ahead, step.glance.level_lots
        where = self._price(step.after.limit_ticks)
        if ahead is None:
            said = f"Its place at {where} was not known: the display did not reach that far"
        elif ahead:
            said = f"{grouped(self._instrument.qty(ahead))} stood in front of it at {where}"
        elif level:
            shown = grouped(self._instrument.qty(level))
            said = f"Its queue model puts nobody in front of it at {where}, where {shown} stood"
        else:
            said = f"Nobody stood in front of it at {where}"
        moves = [row for row in self.rows[joined + 1 :] if row.prints or row.cancels]
        if moves:
            prints, cancels = (_sum(getattr(row, name) for row in moves) for name in ("prints", "cancels"))
            said += (
                f". {counted(len(moves), 'row')} shortened the queue: trades by {grouped(prints)}, "
                f"what else the level lost by {grouped(cancels)}"
            )
        return [f"{said}."]

    def _joined(self) -> int | None:
        """Return the step in which the order joined the queue that it was in last; None if it never rested."""
        found = None
        for place, step in enumerate(self._steps):
            before, after = step.before, step.after
            rests = after.state in _RESTING and after.is_triggered and after.limit_ticks is not None
            moved = before is None or before.state is OrderState.PENDING or not before.is_triggered
            if rests and (moved or (before is not None and before.limit_ticks != after.limit_ticks)):
                found = place
        return found

    def _changes(self) -> list[str]:
        """Return the changes that the strategy made or asked for, and when a trigger was reached."""
        said = []
        changed = [event.at_ns for event in self._events if event.reason == AMENDED]
        if changed:
            times = f"{len(changed):,} times by the strategy, last" if len(changed) > 1 else "by the strategy"
            said.append(f"Changed {times} at {iso_of(changed[-1])}.")
        for event in self._events:
            if event.reason.startswith(AMEND_REFUSED):
                why = event.reason.partition(": ")[2]
                said.append(f"A change was refused at {iso_of(event.at_ns)}: {_meaning(why)}.")
        for step in self._steps:
            if step.before is not None and step.after.is_triggered and not step.before.is_triggered:
                at_ns = step.now_ns if step.row is None else step.row.exchange_ns
                said.append(f"Triggered at {iso_of(at_ns)}.")
        return said

    def _fill(self, fill: Fill) -> str:
        order = self.order
        what, at = f"{grouped(fill.qty)} at {grouped(fill.price)} as {fill.role}", iso_of(fill.filled_ns)
        said = f"Filled {what} at {at}: {fill.why}"
        if fill.role == "maker":
            if order.price is not None and fill.price == order.price:
                said += "; the price is its own limit"
            if (fill.filled_ns, fill.revealed_ns) in self._beside:
                said += "; others of our orders shared what was traded, in the order of their arrival"
        return f"{said}."

    def _end(self) -> list[str]:
        order, trace = self.order, self._trace
        left = order.lots - order.filled_lots
        if order.state is OrderState.FILLED or not self._events:
            return []
        word = "Rejected" if order.state is OrderState.REJECTED else "Cancelled"
        at = iso_of(self._events[-1].at_ns)
        size = "" if not order.filled_lots else f" with {grouped(self._instrument.qty(left))} left"
        said = [f"{word}{size} at {at}: {_meaning(order.reason)}."]
        arrived = self._arrived()
        if trace is not None and arrived is not None:
            said.append(self._needed(trace, arrived, self._steps[-1]))
        return said

    # What it would have needed -------------------------------------------------------------------------------------

    def _needed(self, trace: OrderTrace, arrived: TraceStep, last: TraceStep) -> str:
        """Return what the rest of an order would have needed to fill; nothing where only the reason says it."""
        order, state, glance = self.order, last.after, last.glance
        left = self._instrument.qty(state.lots - state.filled_lots)
        if order.reason == "post_only_would_take":
            return f"It needed {self._other_side(arrived.glance)} on the far side of {grouped(order.price or 0.0)}."
        if order.state is OrderState.REJECTED:
            return ""
        if not state.is_triggered:
            return self._needed_trigger(trace, state.stop_ticks)
        if not order.time_in_force.rests:
            reachable = arrived.glance.reachable_lots
            if reachable is None:
                return ""
            return f"Within its limit {grouped(self._instrument.qty(reachable))} was left to take on arrival."
        if state.limit_ticks is None:
            return ""
        price, is_buy = self._price(state.limit_ticks), order.side is Side.BUY
        extent = trace.asks_ticks if is_buy else trace.bids_ticks
        if not glance.is_displayed and extent is None:
            side = "below" if is_buy else "above"
            return f"It needed a price {side} {price}{self._came(trace.traded, is_low=is_buy)}."
        offer, side = ("an offer", "or below") if is_buy else ("a bid", "or above")
        came = self._came(extent and _mapped(extent, self._instrument), is_low=is_buy)
        if extent is not None:
            steps = abs(extent[not is_buy] - state.limit_ticks) // self._instrument.ticks_per_step
            came += f", {counted(steps, 'step')} away"
        ahead = state.ahead
        if ahead is None:
            return f"It needed its price to be displayed, or {offer} at {price} {side}{came}."
        taker = "sold" if is_buy else "bought"
        whole = grouped(self._instrument.qty(ahead + state.lots - state.filled_lots))
        front = f"{grouped(self._instrument.qty(ahead))} in front of it" if ahead else "nobody in front of it"
        parts = f"{front}, {grouped(left)} its own"
        return f"It needed {whole} more to be {taker} at {price} ({parts}), or {offer} at {price} {side}{came}."

    def _needed_trigger(self, trace: OrderTrace, stop_ticks: int | None) -> str:
        order, is_buy = self.order, self.order.side is Side.BUY
        price = order.take_profit_price
        is_above = is_buy if price is None else not is_buy
        if price is None and stop_ticks is not None:
            price = self._instrument.price(stop_ticks)
        if price is None:
            return "It was not triggered."
        came, watched = "", "price"
        if order.trigger_type is TriggerType.LAST:
            ticks = trace.asks_ticks if is_buy else trace.bids_ticks
            came = self._came(trace.traded or (ticks and _mapped(ticks, self._instrument)), is_low=not is_above)
        else:
            watched = f"{order.trigger_type} price"
        beyond = "above" if is_above else "below"
        return f"It was not triggered: it needed a {watched} of {grouped(price)} or {beyond}{came}."

    def _came(self, extent: tuple[float, float] | None, *, is_low: bool) -> str:
        """Return how far prices came while the order was there."""
        if extent is None:
            return ""
        return f"; the {'lowest' if is_low else 'highest'} while it was there was {grouped(extent[not is_low])}"

    def _other_side(self, glance: MarketGlance) -> str:
        ticks = glance.ask_ticks if self.order.side is Side.BUY else glance.bid_ticks
        name = "the best offer" if self.order.side is Side.BUY else "the best bid"
        if ticks is None:
            return "the last price" if glance.last_price is None else f"the last price, {grouped(glance.last_price)},"
        return f"{name}, {self._price(ticks)},"

    def _price(self, ticks: int | None) -> str:
        return "?" if ticks is None else grouped(self._instrument.price(ticks))

    def _qty(self, lots: int | None) -> float | None:
        return None if lots is None else self._instrument.qty(lots)


def _mapped(extent: tuple[int, int], instrument: Instrument) -> tuple[float, float]:
    """Return two prices that are given in ticks."""
    return instrument.price(extent[0]), instrument.price(extent[1])


def _what(step: TraceStep) -> str:
    """Return what became of an order without a row."""
    before, after = step.before, step.after
    if before is None or after.state is OrderState.PENDING:
        return "rejected" if after.state is OrderState.REJECTED else "sent"
    if after.state is not before.state and before.state is OrderState.PENDING and not after.state.is_final:
        return "arrived"
    if after.filled_lots != before.filled_lots:
        return "filled"
    return str(after.state) if after.state.is_final else "changed"


def _meaning(reason: str) -> str:
    """Return what a reason means, the reason itself first."""
    meaning = _REASONS.get(reason)
    return reason if meaning is None else f"{reason}, {meaning}"


def _sum(sizes: Any) -> float:
    """Return a sum of decimals as it would be written."""
    return float(sum(Fraction(plain(size)) for size in sizes))


def _text_table(rows: Sequence[ExplainedRow]) -> list[str]:
    """Return a table of fixed width; of a long one its beginning and its end."""
    names = (
        "time",
        "what",
        "limit",
        "price",
        "qty",
        "side",
        "level",
        "ahead before",
        "ahead",
        "prints",
        "cancels",
        "filled",
    )
    shown = [_cells(row) for row in rows]
    cut = len(shown) - _SHOWN_ROWS
    if cut > 0:
        middle = [f"({cut} more)", *[""] * (len(names) - 1)]
        shown = [*shown[: _SHOWN_ROWS // 2], middle, *shown[-_SHOWN_ROWS // 2 :]]
    widths = [max(len(line[place]) for line in (names, *shown)) for place in range(len(names))]
    return [
        "  ".join(
            text.ljust(width) if place < 2 else text.rjust(width) for place, (text, width) in enumerate(cells)
        ).rstrip()
        for cells in (list(zip(line, widths, strict=True)) for line in (names, *shown))
    ]


def _cells(row: ExplainedRow) -> list[str]:
    numbers = (row.limit, row.price, row.qty, row.side, row.level, row.ahead_before, row.ahead)
    texts = ["" if each is None else each if isinstance(each, str) else grouped(each) for each in numbers]
    moved = [grouped(each) if each else "" for each in (row.prints, row.cancels, row.filled)]
    return [iso_of(row.received_ns)[11:], row.what, *texts, *moved]


def no_such_order(order_id: str, orders: Sequence[Order]) -> str:
    """Return that a run has no such order, and which it has."""
    if not orders:
        return f"there is no order {order_id!r}: the run sent none"
    close = get_close_matches(order_id, [order.id for order in orders], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"there is no order {order_id!r}; the run's go from {orders[0].id} to {orders[-1].id}{hint}"
