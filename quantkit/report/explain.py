"""Why an order filled at its price and size, or why not: what the market did to it, in words and as a table."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from quantkit.brokers.order_trace import MarketGlance, OrderTrace, TracedState, TraceStep
from quantkit.cards import card
from quantkit.clock import NS_PER_MS, iso_of
from quantkit.engine.outcome import Outcome
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import AMEND_REFUSED, AMENDED, LIQUIDATION, Fill, Order, OrderState, PositionSide, TriggerType
from quantkit.report.frames import utc_index
from quantkit.report.order_reasons import meaning_of
from quantkit.report.text import counted, grouped
from quantkit.sizes import ACCOUNT_CUTS

if TYPE_CHECKING:
    import pandas as pd

_RESTING: Final = (OrderState.ACCEPTED, OrderState.PARTLY_FILLED)
_STEPS_AHEAD: Final = re.compile(r"\b(\d+) steps ahead")
_NUMBER: Final = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")
#: Rows of the table in the terminal.
_SHOWN_ROWS: Final = 40


class ExplainedRow(NamedTuple):
    """One line of an explanation's table; sizes in the instrument's unit, None where not known.

    Attributes:
        received_ns, exchange_ns: Stamps of the row; of what has none when the run came to it, and when it was.
        what: Kind of the row; without one `sent`, `arrived`, `changed`, `filled`, `cancelled` or `rejected`.
        limit: The order's limit after it.
        price, qty, side: Of a trade; the price of an open.
        level: Displayed at the order's price after the row.
        ahead_before, ahead: In front of the order.
        prints, cancels: By how much trades and shrinking of the level shortened the queue.
        filled: What the row filled.
        state: Of the order after it.
        trigger: The price that sets it off, after it; of a trailing stop it moves.
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
    trigger: float | None = None


class _FillOptions(NamedTuple):
    """Options of a run that decide prices and sizes of fills.

    Attributes:
        margin: As given.
        slippage: What takes fills worse by it, as a name; empty for nothing, and where the display has the prices.
        max_share: As given; None where nothing is capped.
        own_side_prints: As given.
        is_candle: Whether candles match the orders.
    """

    margin: str = "off"
    slippage: str = ""
    max_share: float | None = None
    own_side_prints: bool = True
    is_candle: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], instrument: str) -> Self:
        """Return those of an instrument's orders; results of old versions do not have them all."""
        kind = str(config.get("matching", {}).get(instrument, "")).partition(" ")[0]
        margin = config.get("margin", "off")
        if kind not in ("trade", "candle"):
            return cls(margin)
        bps = config.get("slippage_bps", 0)
        slippage = config.get("slippage") or (f"bps:{plain(bps)}" if bps else "")
        own_side = kind == "candle" or config.get("own_side_prints", True)
        return cls(margin, slippage, config.get("max_share"), own_side, kind == "candle")


class Explanation:
    """Why an order filled, or why not. `print` it for the words, or take `words`, `rows` and `table`.

    Args:
        order: It, in its last state.
        outcome: The run's records.
        instrument: Its instrument, on the run's grid.
        trace: What happened to it; None for one that never reached the exchange.
        config: The run's configuration.
    """

    def __init__(
        self,
        order: Order,
        outcome: Outcome,
        instrument: Instrument,
        trace: OrderTrace | None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.order = order
        self._options = _FillOptions.of(config or {}, order.instrument)
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
        ticks = after.stop_ticks
        return ExplainedRow(
            step.now_ns if row is None else row.received_ns,
            step.exchange_ns,
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
            None if after.is_triggered or ticks is None else self._instrument.price(ticks),
        )

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The rows as a frame, by the exchange's time, with that of receipt."""
        import pandas as pd

        columns = {
            name: [getattr(row, name) for row in self.rows] for name in ExplainedRow._fields if name != "exchange_ns"
        }
        frame = pd.DataFrame(columns, index=utc_index([row.exchange_ns for row in self.rows], name="exchange_time"))
        frame["received_ns"] = utc_index(frame["received_ns"].to_list(), name=None)
        numbers = ("limit", "price", "qty", "level", "ahead_before", "ahead", "trigger")
        return frame.astype(dict.fromkeys(numbers, "float64")).rename(columns={"received_ns": "received_time"})

    # Words ----------------------------------------------------------------------------------------------------

    @cached_property
    def words(self) -> list[str]:
        """The explanation, a sentence each."""
        # Rounding to a step explains nothing.
        cuts = [f"Its size: {note}." for note in self.order.note.split("; ") if note.endswith(ACCOUNT_CUTS)]
        said = [self._sent(), *cuts, *self._arrival(), *self._changes(), *self._queue()]
        said += [self._fill(fill) for fill in self._fills]
        said += self._end()
        return [each for each in said if each]

    @property
    def title(self) -> str:
        """The order in a line."""
        order = self.order
        prices = {
            "at": order.price,
            "stop": None if order.terms is not None and order.terms.is_trailing else order.stop_price,
            "take profit": order.take_profit_price,
            "trailing by": order.trailing_offset,
            "active from": order.activation_price,
        }
        found = [f"{name} {grouped(price)}" for name, price in prices.items() if price is not None]
        if order.trailing_offset_bps is not None:
            found.insert(0, f"trailing by {grouped(order.trailing_offset_bps)} bps")
        asked = " ".join(found)
        flags = [
            name for name, is_set in (("post-only", order.post_only), ("reduce-only", order.reduce_only)) if is_set
        ]
        if order.trigger_type is not TriggerType.LAST:
            flags.append(f"by the {order.trigger_type} price")
        if order.position_side is not PositionSide.NET:
            flags.append(f"{order.position_side} leg")
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

    def _meaning(self, reason: str) -> str:
        return meaning_of(reason, self._options.margin)

    def _sent(self) -> str:
        order = self.order
        if not self._events:
            return f"It never left: {self._meaning(order.reason)}."
        at_ns = self._events[0].at_ns
        if order.id.startswith(LIQUIDATION):
            return f"Made by the exchange {iso_of(at_ns)}, since the margin behind the position was used up."
        if order.parent_id:
            return f"Placed for the fills of {order.parent_id}, at the exchange {iso_of(at_ns)}."
        sent_ns = self._steps[0].exchange_ns if self._steps else order.sent_ns
        sent = f"Sent {iso_of(sent_ns)}"
        if self._events[0].state is OrderState.CANCELLED:
            return f"{sent}, and never arrived."
        if self._arrived() is None:
            return f"{sent}, and refused before it left."
        return f"{sent}, at the exchange {iso_of(at_ns)}, {plain((at_ns - sent_ns) / NS_PER_MS)} ms later."

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
        if glance.mark_price is not None:
            words.append(f"mark price {grouped(glance.mark_price)}")
        elif glance.last_price is not None:
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
        if (
            ahead is None
            and self.order.state is OrderState.FILLED
            and all(fill.role == "taker" for fill in self._fills)
        ):
            return []  # it took, and stood nowhere
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
                said.append(f"A change was refused at {iso_of(event.at_ns)}: {self._meaning(why)}.")
        said += [
            f"Triggered at {iso_of(step.exchange_ns)}."
            for step in self._steps
            if step.before is not None and step.after.is_triggered and not step.before.is_triggered
        ]
        return said

    def _fill(self, fill: Fill) -> str:
        order = self.order
        what, at = f"{grouped(fill.qty)} at {grouped(fill.price)} as {fill.role}", iso_of(fill.filled_ns)
        said = f"Filled {what} at {at}: {self._why(fill)}"
        if order.id.startswith(LIQUIDATION):
            return f"{said}; the price leaves nothing of that margin, whatever the market was."
        step = self._step_of(fill)
        if fill.role == "maker":
            if order.price is not None and fill.price == order.price:
                said += "; the price is its own limit"
            if (fill.filled_ns, fill.revealed_ns) in self._beside:
                said += "; others of our orders shared what was traded, in the order of their arrival"
        elif step is not None:
            said += self._slipped(fill, step)
        if step is not None:
            said += self._shared(fill, step)
        return f"{said}."

    def _why(self, fill: Fill) -> str:
        """Return why it filled, with sizes in the instrument's unit and numbers as elsewhere in the words."""

        def ahead(found: re.Match[str]) -> str:
            qty = self._instrument.qty(int(found[1]) * self._instrument.lots_per_step)
            return f"{grouped(qty) if qty else 'nobody'} ahead"

        said = _STEPS_AHEAD.sub(ahead, fill.why)
        return _NUMBER.sub(lambda found: grouped(float(found[0])), said)

    def _step_of(self, fill: Fill) -> TraceStep | None:
        """Return the row that made a fill, None for one without a row."""
        for step in self._steps:
            before = 0 if step.before is None else step.before.filled_lots
            if step.row is not None and step.now_ns == fill.revealed_ns and step.after.filled_lots > before:
                return step
        return None

    def _slipped(self, fill: Fill, step: TraceStep) -> str:
        """Return what the slippage made of the price that was traded."""
        name, traded = self._options.slippage, self._traded(step)
        if not name or traded is None or fill.price == traded:
            return ""
        bound = ", as far as its limit" if fill.price == self.order.price else ""
        return f"; that is {grouped(traded)} made worse by the slippage, {name}{bound}"

    def _traded(self, step: TraceStep) -> float | None:
        """Return the price that a taking order met in a row."""
        row, before = step.row, step.before
        if row is None or row.price is not None or before is None or before.is_triggered or before.stop_ticks is None:
            return None if row is None else row.price
        # A range that reaches the trigger fills at that, one that opens beyond it at the open.
        trigger = self._instrument.price(before.stop_ticks)
        is_above = (self.order.side is Side.BUY) is (self.order.take_profit_price is None)
        if row.open is None:
            return trigger
        return max(trigger, row.open) if is_above else min(trigger, row.open)

    def _shared(self, fill: Fill, step: TraceStep) -> str:
        """Return that the share of the row's volume was used up."""
        share, before = self._options.max_share, step.before
        if share is None or before is None or fill.lots >= before.lots - before.filled_lots:
            return ""
        if step.after.state is OrderState.CANCELLED and self.order.reason.startswith("insufficient"):
            return ""
        return f"; max_share {plain(share)} lets our orders have no more of the row's volume"

    def _end(self) -> list[str]:
        order, trace = self.order, self._trace
        left = order.lots - order.filled_lots
        if order.state is OrderState.FILLED or not self._events:
            return []
        word = "Rejected" if order.state is OrderState.REJECTED else "Cancelled"
        at = iso_of(self._events[-1].at_ns)
        size = "" if not order.filled_lots else f" with {grouped(self._instrument.qty(left))} left"
        said = [f"{word}{size} at {at}: {self._meaning(order.reason)}."]
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
            came = self._came(trace.traded, is_low=is_buy)
            return f"It needed a price {side} {price}{self._besides(trace, state)}{came}."
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

    def _besides(self, trace: OrderTrace, state: TracedState) -> str:
        """Return what a price beyond the limit lacked."""
        if trace.traded is None or state.limit_ticks is None:
            return ""
        limit, (low, high) = self._instrument.price(state.limit_ticks), trace.traded
        if not (low < limit if self.order.side is Side.BUY else high > limit):
            return ""
        found = []
        if not self._options.own_side_prints:
            found.append("traded by the other side")
        if self._options.max_share is not None:
            found.append(f"with more volume than max_share {plain(self._options.max_share)} left to it")
        return "".join(f", {each}" for each in found)

    def _needed_trigger(self, trace: OrderTrace, stop_ticks: int | None) -> str:
        order, is_buy = self.order, self.order.side is Side.BUY
        terms = order.terms
        watched = "price" if order.trigger_type is TriggerType.LAST else f"{order.trigger_type} price"
        is_above = is_buy if order.take_profit_price is None else not is_buy
        if stop_ticks is None:
            if terms is None or terms.activation_price is None:
                return "It was not triggered: no price came that its trigger could follow."
            beyond, came = self._waited(trace, is_above=not is_above)
            return (
                f"It was not triggered: it follows the {watched} only from "
                f"{grouped(terms.activation_price)} or {beyond} on{came}."
            )
        followed = ""
        if terms is not None and terms.is_trailing:
            stops = (step.after.stop_ticks for step in self._steps)
            moves = list(dict.fromkeys(ticks for ticks in stops if ticks is not None))
            first, last = self._price(moves[0]), self._price(moves[-1])
            followed = f"its stop followed the {watched} from {first} to {last}, and " if len(moves) > 1 else ""
        beyond, came = self._waited(trace, is_above=is_above)
        article = "an" if order.trigger_type is TriggerType.INDEX else "a"
        price = grouped(self._instrument.price(stop_ticks))
        return f"It was not triggered: {followed}it needed {article} {watched} of {price} or {beyond}{came}."

    def _waited(self, trace: OrderTrace, *, is_above: bool) -> tuple[str, str]:
        """Return on which side a price had to come to be met, and how near prices came."""
        beyond = "above" if is_above else "below"
        if self.order.trigger_type is not TriggerType.LAST:
            return beyond, ""
        ticks = trace.asks_ticks if self.order.side is Side.BUY else trace.bids_ticks
        return beyond, self._came(trace.traded or (ticks and _mapped(ticks, self._instrument)), is_low=not is_above)

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
    if before is None and after.state is OrderState.ACCEPTED:
        return "arrived"  # a child, which nobody sent
    if before is None or after.state is OrderState.PENDING:
        return str(after.state) if after.state in (OrderState.REJECTED, OrderState.FILLED) else "sent"
    if after.state is not before.state and before.state is OrderState.PENDING and not after.state.is_final:
        return "arrived"
    if after.filled_lots != before.filled_lots:
        return "filled"
    return str(after.state) if after.state.is_final else "changed"


def _sum(sizes: Any) -> float:
    """Return a sum of decimals as it would be written."""
    return float(sum(Fraction(plain(size)) for size in sizes))


def _text_table(rows: Sequence[ExplainedRow]) -> list[str]:
    """Return a table of fixed width; of a long one its beginning and its end."""
    names: tuple[str, ...] = (
        "exchange time",
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
    # Over days a time alone does not say when.
    first_ns, last_ns = min(row.exchange_ns for row in rows), max(row.exchange_ns for row in rows)
    skipped = 11 if iso_of(first_ns)[:10] == iso_of(last_ns)[:10] else 0
    shown = [_cells(row, iso_of(row.exchange_ns)[skipped:]) for row in rows]
    if any(row.trigger is not None for row in rows):
        names = (*names, "trigger")
        triggers = ("" if row.trigger is None else grouped(row.trigger) for row in rows)
        shown = [[*cells, trigger] for cells, trigger in zip(shown, triggers, strict=True)]
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


def _cells(row: ExplainedRow, at: str) -> list[str]:
    numbers = (row.limit, row.price, row.qty, row.side, row.level, row.ahead_before, row.ahead)
    texts = ["" if each is None else each if isinstance(each, str) else grouped(each) for each in numbers]
    moved = [grouped(each) if each else "" for each in (row.prints, row.cancels, row.filled)]
    return [at, row.what, *texts, *moved]


def no_such_order(order_id: str, orders: Sequence[Order]) -> str:
    """Return that a run has no such order, and which it has."""
    if not orders:
        return f"there is no order {order_id!r}: the run sent none"
    close = get_close_matches(order_id, [order.id for order in orders], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"there is no order {order_id!r}; the run's go from {orders[0].id} to {orders[-1].id}{hint}"
