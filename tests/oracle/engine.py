"""The slow, obvious engine: it follows the law of operations row by row over event objects, no columns, no gates.

It is a second opinion, so it borrows no rule from the engine: what is sent, matched, booked, valued and reported is
decided here and in the files beside this one. What it shares with quantkit says nothing about a run: events, orders and
fills as records, instruments as lists of steps and currencies, fees as lists of rates, intervals as nanoseconds, and
the `Strategy` that both of them run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import numpy as np
from oracle.book import NaiveBook, NaiveView
from oracle.client import Client
from oracle.curve import DAY_NS, Curve, CurveRow, Trip
from oracle.exchange import Exchange, Report
from oracle.ledger import Ledger, leg_of, size_of, tradable_lots
from oracle.margins import Margins, Tier
from oracle.order_rules import OrderRules
from oracle.scripted import HookRaised
from oracle.venues import BookVenue, CandleVenue, DisplayedVenue, PriceVenue, TickerVenue, TradeVenue, Venue

from quantkit.clock import INTERVALS, duration_ns, time_ns_of
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, OpenInterest, PriceLimit, Ticker, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import Book
from quantkit.orders import Fill, Order, OrderRequest, OrderState
from quantkit.strategy import Strategy, overrides

NEVER_NS = 2**63 - 1
#: Rows of one stamp come in this order.
ORDER = (
    "gap",
    "mark",
    "open_interest",
    "candle",
    "funding",
    "instrument",
    "candle_open",
    "book",
    "ticker",
    "trade",
    "price_limit",
)
KINDS: Mapping[type, str] = {
    Gap: "gap",
    Mark: "mark",
    OpenInterest: "open_interest",
    Candle: "candle",
    Funding: "funding",
    BookUpdate: "book",
    Ticker: "ticker",
    Trade: "trade",
    PriceLimit: "price_limit",
}


@dataclass(kw_only=True)
class OracleConfig:
    """What the oracle is told; named as in the real configuration, with nothing left to choose."""

    cash: Mapping[str, float]
    match_on: Mapping[str, str]
    fees: Mapping[str, Fees]
    start_ns: int
    end_ns: int
    latency_ns: int = 20_000_000
    max_leverage: float = 1
    stale_after_ns: int = 10_000_000_000
    touch: bool = False
    excess_slippage_bps: float = 1.0
    slippage: str = ""
    queue_model: str = "risk_averse"
    own_side_prints: bool = True
    max_share: float | None = None
    venue_rules: str = "off"
    stp_mode: str = "cancel_maker"
    drawn_ns: Sequence[int] = ()
    report_currency: str | None = None
    is_long_short: bool = False
    delays_ns: Sequence[int] = (0,)
    compute_ns: Sequence[int] = ()
    offsets: Sequence[tuple[int, int]] = ()
    seed: int = 0
    run_id: str = "bt"
    equity_every_ns: int = 60 * 10**9
    margin: str = "off"
    leverage: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, Sequence[Tier]] = field(default_factory=dict)


@dataclass
class OracleOutcome:
    """What a run of the oracle produced."""

    orders: list[Order]
    order_events: list[tuple[Any, ...]]
    fills: list[Fill]
    curve: list[CurveRow]
    trips: list[Trip]
    starting_equity: Fraction
    account: Ledger  # the exchange's
    reported: Ledger  # with everything told
    marks: dict[str, float | None]  # of what was traded or converts
    ended: str
    end_ns: int
    days: list[tuple[str, int, float]]  # instrument, moment and mark: the first, at midnights, and the last


@dataclass
class Row:
    """One row in the total order: `kind` is an event's, or `candle_open`."""

    received_ns: int
    kind: str
    event: MarketEvent | Change

    @property
    def exchange_ns(self) -> int:
        """The exchange's stamp of the row."""
        if self.kind == "candle_open":
            return cast(Candle, self.event).open_ns
        return cast(MarketEvent, self.event).exchange_ns


@dataclass
class Change:
    """Other metadata of an instrument."""

    instrument: str
    info: Instrument


def _on_one_grid(versions: Iterable[Instrument], start_ns: int, end_ns: int) -> list[Instrument]:
    """Return all versions of instruments counted on the finest steps that express every one within the run."""
    at_start = {version.id: version for version in versions if version.valid_from_ns <= start_ns}
    known = [*at_start.values(), *(version for version in versions if start_ns < version.valid_from_ns <= end_ns)]

    def finest(steps: Sequence[Decimal]) -> str:
        places = max(-int(step.normalize().as_tuple().exponent) for step in steps)
        places = max(places, 0)
        return str(Decimal(math.gcd(*(int(step.scaleb(places)) for step in steps))).scaleb(-places))

    counted = []
    for version in known:
        own = [other for other in known if other.id == version.id]
        fields = {**version.to_dict(), "tick": finest([o.price_step for o in own])}
        counted.append(Instrument.from_dict({**fields, "lot": finest([o.qty_step for o in own])}))
    return counted


@dataclass
class Timer:
    """A moment at which `on_timer` runs, once or again and again."""

    due_ns: int
    name: str
    every_ns: int = 0


@dataclass
class Oracle:
    """One run of one strategy over a list of events."""

    events: Sequence[MarketEvent]
    instruments: Iterable[Instrument]  # of one id in order of time: what holds from the start, then what changes
    strategy: Strategy
    config: OracleConfig
    now_ns: int = 0
    marks: dict[str, float] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    wishes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    delivered: dict[tuple[str, str], list[Candle]] = field(default_factory=dict)
    ended: str = "completed"
    priced: list[tuple[MarketEvent, float]] = field(default_factory=list)  # every row taken that brought a mark
    mark_rows: list[Mark] = field(default_factory=list)
    settled: set[tuple[str, int]] = field(default_factory=set)  # boundaries that have been charged

    def __post_init__(self) -> None:
        config = self.config
        self.by_id: dict[str, Instrument] = {}
        self.changes: list[Instrument] = []
        held: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
        for instrument in _on_one_grid(tuple(self.instruments), self.config.start_ns, self.config.end_ns):
            steps = instrument.price_step, instrument.qty_step, instrument.min_qty
            if instrument.id not in self.by_id:
                self.by_id[instrument.id] = instrument
            elif steps != held[instrument.id]:  # metadata that say the same again change nothing
                self.changes.append(instrument)
            held[instrument.id] = steps
        self.rng = np.random.default_rng(config.seed)
        self.days: list[tuple[str, int, float]] = []
        self.days_ns = config.start_ns  # as far as midnights have been looked at
        self.books = {id_: NaiveBook(id_) for id_ in self.by_id}
        self.clocks = dict.fromkeys(self.by_id, 0)
        self.last_fill: dict[str, float] = {}
        self.rows: list[Row] = []
        self.place = 0
        self.is_after_candles = False  # whether candles that close now have been handed over
        self.reported = self._ledger()
        self.exchange = Exchange(
            self._ledger(),
            config.fees,
            {id_: 0 if config.match_on[id_] == "candle" else config.latency_ns for id_ in self.by_id},
            Fraction(str(config.max_leverage)),
            lambda: self.now_ns,
            self._before_change,
            self._after_fill,
            delays_ns=config.delays_ns,
            compute_ns=config.compute_ns,
            offsets=config.offsets,
            drawn_ns=config.drawn_ns,
            seed=config.seed,
        )
        if config.margin != "off":
            names = {i.id for i in self.by_id.values() if not i.is_spot}
            leverage = {name: config.leverage.get(name, "1") for name in names}
            self.exchange.margins = Margins(self.exchange, config.margin == "cross", leverage, config.tiers)
        self.kinds_of = {id_: {KINDS[type(e)] for e in self.events if e.instrument == id_} for id_ in self.by_id}
        self.value_kinds = {id_: self._value_kind(id_) for id_ in self.by_id}
        for id_, instrument in self.by_id.items():
            self.exchange.venues[id_] = self._venue(instrument)
            self.exchange.venues[id_].own_side_prints = self.config.own_side_prints
            if config.venue_rules == "okx":
                self.exchange.venues[id_].rules = OrderRules(self.exchange, config.stp_mode)
        self.client = Client(self.exchange, self.reported, run_id=config.run_id, now_ns=lambda: self.now_ns)
        self.client.marked = {name for name, kind in self.value_kinds.items() if kind == "mark"}
        self.curve = Curve(self.exchange.ledger, self._mark_of, config.equity_every_ns)

    def _ledger(self) -> Ledger:
        instruments, currency = self.by_id.values(), self.config.report_currency
        return Ledger(
            self.config.cash,
            instruments,
            report_currency=currency,
            mark_of=self._mark_of,
            is_long_short=self.config.is_long_short,
        )

    def _mark_of(self, id_: str) -> float | None:
        """Return the latest mark; before the first, the price of the account's own last fill.

        A book that values its instrument does so as it stands, also while a row that it has taken fills orders.
        """
        if self._valued_by(id_) == "book":
            mid = _mid(self.books[id_])
            return self.last_fill.get(id_) if mid is None else mid
        return self.marks.get(id_, self.last_fill.get(id_))

    def _venue(self, instrument: Instrument) -> Venue:
        config = self.config
        kind, has_trades = config.match_on[instrument.id], "trade" in self.kinds_of[instrument.id]
        if kind in ("trade", "candle"):
            venue: PriceVenue = CandleVenue(instrument, self.exchange)
            if kind == "trade":
                venue = TradeVenue(instrument, self.exchange, touch=config.touch)
            venue.slippage = config.slippage
            venue.max_share = config.max_share
            return venue
        if kind == "book":
            return BookVenue(
                instrument,
                self.exchange,
                stale_after_ns=config.stale_after_ns,
                has_trades=has_trades,
                queue_model=config.queue_model,
                book=self.books[instrument.id],
            )
        return TickerVenue(
            instrument,
            self.exchange,
            stale_after_ns=config.stale_after_ns,
            has_trades=has_trades,
            queue_model=config.queue_model,
            excess_slippage_bps=config.excess_slippage_bps,
        )

    # The loop -------------------------------------------------------------------------------------------------

    def run(self) -> OracleOutcome:
        """Run to the end of the data."""
        config = self.config
        self.now_ns = config.start_ns
        self.strategy.bind(cast(Any, self))
        self._start()
        try:
            self._go()
        except HookRaised:
            # No other hook is called, and the result is of what has been until here.
            self.ended = "strategy_error"
            self.curve.pass_to(self.now_ns)
        self.client.refusal = "stopped"
        if self.ended != "strategy_error":
            self.strategy.on_stop()
        self.curve.close(self.now_ns)
        days = self._days()
        self.exchange.finish("end_of_data" if self.ended == "completed" else self.ended)
        for report in sorted(self.exchange.reports, key=lambda report: (report.due_ns, report.number)):
            self._take_in(report)
        return self._outcome(days)

    def _limit_prices(self, event: PriceLimit) -> None:
        """Take a price limit, which holds until the next one."""
        rules = self.exchange.venues[event.instrument].rules
        if rules is not None:
            is_on = event.is_enforced
            rules.highest, rules.lowest = (event.highest_buy, event.lowest_sell) if is_on else (None, None)

    def _go(self) -> None:
        """Go through all rows, with the price limits from before them in mind."""
        self.rows = self._rows()
        for event in sorted(self.events, key=lambda each: each.received_ns):
            if isinstance(event, PriceLimit) and event.received_ns < self.config.start_ns:
                self._limit_prices(event)
        for place, row in enumerate(self.rows):
            self.place = place
            self._look_at_days(row.received_ns)
            self._wake_until(row.received_ns)
            if self.ended != "completed":
                return
            self.now_ns = row.received_ns
            self.curve.pass_to(self.now_ns)
            self._step(row)
            self._look_at_days(row.received_ns)
            if self.ended != "completed":
                return
        self._wake_until(self.config.end_ns)
        if self.ended == "completed":
            self.now_ns = self.config.end_ns
            self.curve.pass_to(self.now_ns + 1)

    def _look_at_days(self, until_ns: int) -> None:
        """Note the first mark of each instrument, and those that stand at the midnights before a moment."""
        for name in {instrument for _, instrument, _ in self.wishes}:
            mark = self._mark_of_rows(name)
            seen = [at_ns for each, at_ns, _ in self.days if each == name]
            if mark is not None and not seen:
                self.days.append((name, self.now_ns, mark))
                seen = [self.now_ns]
            for midnight_ns in range(-(-self.days_ns // DAY_NS) * DAY_NS, until_ns, DAY_NS):
                if mark is not None and midnight_ns > max(self.config.start_ns, seen[0]):
                    self.days.append((name, midnight_ns, mark))
        self.days_ns = until_ns

    def _days(self) -> list[tuple[str, int, float]]:
        """Return the marks from day to day, the last of them those of now."""
        self._look_at_days(self.now_ns)
        names = {instrument for _, instrument, _ in self.wishes}
        last = [(name, self.now_ns, mark) for name in names if (mark := self._mark_of_rows(name)) is not None]
        return sorted([each for each in self.days if each[1] < self.now_ns] + last)

    def _mark_of_rows(self, name: str) -> float | None:
        return _mid(self.books[name]) if self._valued_by(name) == "book" else self.marks.get(name)

    def _start(self) -> None:
        self.client.refusal = "warmup"
        self.strategy.on_start()
        for candle in self._warmup():
            self.now_ns = candle.received_ns
            self._deliver_candle(candle)
            venue = self.exchange.venues[candle.instrument]
            if isinstance(venue, CandleVenue):
                venue.last = candle.close
                if self._is_matched(candle):
                    venue.close(candle)
        self.now_ns = self.config.start_ns
        self.client.refusal = ""
        self.timers = [timer for timer in self.timers if timer.due_ns >= self.config.start_ns]
        self.curve.begin(self.now_ns)
        for leg, qty in self.client.wanted_later.items():
            name, _, side = leg.partition("+")
            self.client.target(name, qty, side)

    def _warmup(self) -> list[Candle]:
        """Return the candles that had closed by the start and are wanted, in the total order."""
        wanted: list[Candle] = []
        for (kind, instrument, interval), count in self.wishes.items():
            found = [
                e
                for e in self.events
                if isinstance(e, Candle)
                and (kind, instrument, interval) == ("candle", e.instrument, e.interval)
                and e.received_ns <= self.config.start_ns
            ]
            wanted += sorted(found, key=lambda candle: candle.received_ns)[-count:] if count else []
        return sorted(wanted, key=lambda c: (c.received_ns, INTERVALS[c.interval], c.instrument))

    def _was_warmup(self, row: Row) -> bool:
        """Whether a candle that closed at the very start has been delivered before it."""
        return (
            isinstance(row.event, Candle)
            and row.kind == "candle"
            and row.received_ns == self.config.start_ns
            and self.wishes.get(("candle", row.event.instrument, row.event.interval), 0) > 0
        )

    def _rows(self) -> list[Row]:
        """Return every row of the span in the total order."""
        keyed: list[tuple[tuple[int, float, int, str, int], Row]] = []
        for seq, event in enumerate(self.events):
            length = INTERVALS[event.interval] if isinstance(event, Candle) else 0
            kind = KINDS[type(event)]
            keyed.append(
                (
                    (event.received_ns, ORDER.index(kind), length, event.instrument, seq),
                    Row(event.received_ns, kind, event),
                )
            )
            if isinstance(event, Candle) and self._is_matched(event):
                rank = ORDER.index("candle_open")
                row = Row(event.open_ns, "candle_open", event)
                keyed.append(((event.open_ns, rank, length, event.instrument, seq), row))
        for seq, change in enumerate(self.changes):
            moment_ns = change.valid_from_ns
            row = Row(moment_ns, "instrument", Change(change.id, change))
            keyed.append(((moment_ns, ORDER.index("instrument"), 0, change.id, seq), row))
        keyed.sort(key=lambda pair: pair[0])
        rows = [row for _, row in keyed if self.config.start_ns <= row.received_ns <= self.config.end_ns]
        return [row for row in rows if not self._was_warmup(row)]

    def _is_matched(self, candle: Candle) -> bool:
        """Whether the broker matches on this candle: the shortest interval there is."""
        if self.config.match_on[candle.instrument] != "candle":
            return False
        lengths = [INTERVALS[e.interval] for e in self.events if isinstance(e, Candle)]
        return INTERVALS[candle.interval] == min(lengths)

    def _wake_until(self, until_ns: int) -> None:
        """Let time alone bring about what is due by `until_ns`: arrivals nobody's row revealed, reports, timers."""
        exchange = self.exchange
        while self.ended == "completed":
            moments = [m.due_ns for m in (*exchange.messages, *exchange.ends())]
            moments += [report.due_ns for report in exchange.reports]
            moments += [timer.due_ns for timer in self.timers]
            wake_ns = min(moments, default=NEVER_NS)
            if wake_ns > until_ns:
                return
            self.now_ns = max(self.now_ns, wake_ns)
            self.curve.pass_to(self.now_ns)
            self.is_after_candles = False
            exchange.overdue(self.now_ns)
            self._deliver_reports()
            for timer in [timer for timer in self.timers if timer.due_ns <= self.now_ns]:
                timer.due_ns = timer.due_ns + timer.every_ns if timer.every_ns else NEVER_NS
                self.strategy.on_timer(timer.name)
            self._check_solvency()
            self.timers = [timer for timer in self.timers if timer.due_ns < NEVER_NS]

    def _step(self, row: Row) -> None:
        """Do what happens at one row, in the order of the law."""
        self.is_after_candles = row.kind not in ("mark", "candle")
        if isinstance(row.event, Change):
            self._change(row.event.info)
            self._deliver_reports()
            return
        instrument, event = row.event.instrument, row.event
        new_mark = None if row.kind == "candle_open" else self._mark_in(event)
        if self._counts_for_matching(row):
            self.clocks[instrument] = max(self.clocks[instrument], row.exchange_ns)
            self._know_a_price(row)
            venue = self.exchange.venues[instrument]
            if isinstance(venue, CandleVenue) and row.kind == "candle_open":
                venue.opening = cast(Candle, event).open
            self.exchange.arrivals(instrument, self.clocks[instrument])
            if isinstance(venue, CandleVenue):
                venue.opening = None
            self._match(row, self.clocks[instrument])
        elif isinstance(event, BookUpdate):
            self.books[instrument].apply(event)
        elif isinstance(event, Gap) and event.channel.startswith("book"):
            self.books[instrument].invalidate()
        elif isinstance(event, Mark):
            if self.exchange.goes_by_marks(instrument):
                self.exchange.arrivals(instrument, event.exchange_ns)
            self.exchange.venues[instrument].on_mark(event.source, event.price, event.exchange_ns)
            self.exchange.watched[instrument, event.source] = event.price
        if new_mark is not None:
            self._judge(instrument, new_mark)
        if isinstance(event, PriceLimit):
            self._limit_prices(event)
        self._deliver_reports()
        self._check_solvency()
        if self._counts_for_matching(row):
            self.exchange.lags[instrument] = row.received_ns - row.exchange_ns
        if self.ended == "completed" and new_mark is not None and self._would_ruin(instrument, new_mark):
            self.marks[instrument] = new_mark
            self.curve.marked(instrument, new_mark, row.received_ns)
            self.ended = "bankrupt"
        if row.kind == "candle_open" or self.ended != "completed":
            return
        self._take_mark(event)
        if isinstance(event, Funding) and event.is_settled:
            self._charge(event)
            self._check_solvency()
        if self.ended == "completed":
            self._hook(event)

    def _judge(self, instrument: str, mark: float) -> None:
        """Let the exchange judge positions at a new mark; what it takes over is in the grid row of its own moment."""
        if self.exchange.margins is not None:
            self.is_after_candles = False
            at_ns = self.now_ns - self.exchange.offset_ns(self.now_ns)
            self.exchange.margins.judge(instrument, mark, {id_: self._mark_of(id_) for id_ in self.by_id}, at_ns)

    def _change(self, info: Instrument) -> None:
        """Take other steps and another minimum; what rests and no longer fits is cancelled.

        What had arrived by then was judged by the rules before.
        """
        self.exchange.arrivals(info.id, info.valid_from_ns - 1)
        self.by_id[info.id] = info
        for ledger in (self.reported, self.exchange.ledger):
            ledger.change_instrument(info)
        venue = self.exchange.venues[info.id]
        venue.change(info)
        for held in list(venue.orders):
            if not self.exchange.fits(held, held.lots, held.limit, may_be_small=bool(held.parent_id)):
                self.exchange.end(held, OrderState.CANCELLED, "instrument_changed", info.valid_from_ns)

    def _counts_for_matching(self, row: Row) -> bool:
        match self.config.match_on[row.event.instrument]:
            case "candle":
                return row.kind == "candle_open" or (row.kind == "candle" and self._is_matched(cast(Candle, row.event)))
            case "trade":
                return row.kind == "trade"
            case kind:
                return row.kind in (kind, "trade")

    def _know_a_price(self, row: Row) -> None:
        """Judge what arrives before the first price of a market by that price itself."""
        venue, event = self.exchange.venues[row.event.instrument], row.event
        clock_ns = self.clocks[row.event.instrument]
        if isinstance(venue, DisplayedVenue) or venue.last is not None:
            return
        if any(m.held.instrument == event.instrument and m.arrives_ns <= clock_ns for m in self.exchange.messages):
            price = event.open if isinstance(event, Candle) else cast(Trade, event).price
            venue.last, venue.has_traded = price, isinstance(event, Candle)

    def _match(self, row: Row, clock_ns: int) -> None:
        venue, event = self.exchange.venues[row.event.instrument], row.event
        if isinstance(event, Candle) and isinstance(venue, CandleVenue):
            if row.kind == "candle_open":
                venue.on_open(event, clock_ns)
            else:
                venue.on_range(event, clock_ns)
        elif isinstance(event, Trade) and isinstance(venue, TradeVenue | DisplayedVenue):
            venue.on_trade(event, clock_ns)
        elif isinstance(event, BookUpdate) and isinstance(venue, BookVenue):
            venue.on_book(event, clock_ns)
        elif isinstance(event, Ticker) and isinstance(venue, TickerVenue):
            venue.on_ticker(event, clock_ns)

    def _deliver_reports(self) -> None:
        while (report := self.exchange.next_report(self.now_ns)) is not None:
            self._deliver(report)

    def _deliver(self, report: Report) -> None:
        order = self._take_in(report)
        self.strategy.on_order(order)
        if report.fill is not None:
            self.strategy.on_fill(report.fill)

    def _take_in(self, report: Report) -> Order:
        if report.fill is not None:
            self.reported.apply(report.fill)
        return self.client.take(report)

    # Money ----------------------------------------------------------------------------------------------------

    def _valued_by(self, name: str) -> str:
        """Return the kind of rows that values an instrument: mark, else mid, else last trade, else candle."""
        return self.value_kinds[name]

    def _value_kind(self, name: str) -> str:
        for kind in ("mark", "ticker", "book", "trade", "candle"):
            if kind == "book" and self.config.match_on[name] != "book":
                continue  # a mid is known row by row only where the book is what orders are matched on
            if self._spans_the_run(name, kind):
                return kind
        return self.config.match_on[name]

    def _spans_the_run(self, name: str, kind: str) -> bool:
        """Whether rows of a kind come until the end and from the start, to within a minute and a candle."""
        stamps = [e.received_ns for e in self.events if e.instrument == name and KINDS[type(e)] == kind]
        lengths = [INTERVALS[e.interval] for e in self.events if isinstance(e, Candle) and e.instrument == name]
        slack_ns = 60 * 10**9 + (min(lengths) if kind == "candle" and lengths else 0)
        is_in_time = bool(stamps) and min(stamps) <= self.config.start_ns + slack_ns
        return is_in_time and max(stamps) >= self.config.end_ns - slack_ns

    def _is_marked_by(self, event: MarketEvent) -> bool:
        return KINDS[type(event)] == self._valued_by(event.instrument)

    def _before_change(self) -> None:
        """Let the curve know that the account changes now, and what its moment's rows are going to say."""
        self.curve.before_change(self.now_ns, self._marks_of_this_stamp() if self.is_after_candles else None)

    def _marks_of_this_stamp(self) -> dict[str, float]:
        """Return the last mark that the rows of this stamp bring, by instrument, from the present row on."""
        found: dict[str, float] = {}
        books: dict[str, NaiveBook] = {}
        for row in self.rows[self.place :]:
            if row.received_ns > self.now_ns:
                break
            event = row.event
            if isinstance(event, Change) or row.kind == "candle_open":
                continue
            if isinstance(event, BookUpdate) and self._is_marked_by(event):
                book = books.get(event.instrument)
                if book is None:
                    book = books[event.instrument] = self.books[event.instrument].twin()
                book.apply(event)
                mark = _mid(book)
            else:
                mark = self._mark_in(event)
            if mark is not None:
                found[event.instrument] = mark
        return found

    def _after_fill(self, fill: Fill) -> None:
        self.last_fill[fill.instrument] = fill.price
        self.curve.filled(fill, self.now_ns)

    def _mark_in(self, event: MarketEvent) -> float | None:
        """Return the mark that a row brings, if it is of the kind that values its instrument."""
        if not self._is_marked_by(event):
            return None
        match event:
            case Mark():
                return event.price if event.source == "mark" else None
            case Trade():
                return event.price
            case Candle():
                return event.close
            case Ticker():
                return None if event.bid is None or event.ask is None else (event.bid + event.ask) / 2
            case BookUpdate():
                return self._mid_after(event)
        return None

    def _mid_after(self, update: BookUpdate) -> float | None:
        """Return the mid once a row is applied, the best price where one side is empty, None where both are."""
        after = self.books[update.instrument].twin()
        after.apply(update)
        return _mid(after)

    def _take_mark(self, event: MarketEvent) -> None:
        """Value the instrument by the row from now on."""
        if isinstance(event, Mark) and event.source == "mark":
            self.mark_rows.append(event)
        mark = self._mark_in(event)
        if mark is not None:
            self.marks[event.instrument] = mark
            self.priced.append((event, mark))
            self.curve.marked(event.instrument, mark, event.received_ns)
        elif isinstance(event, BookUpdate) and self._is_marked_by(event):
            self.marks.pop(event.instrument, None)

    def _would_ruin(self, instrument: str, mark: float) -> bool:
        last = self.curve.last
        return instrument in last and self.curve.is_ruined({**last, instrument: mark})

    def _check_solvency(self) -> None:
        """End the run when fills or funding have used up the account, at the marks that the curve stands at."""
        if self.ended == "completed" and self.curve.is_ruined(self.curve.last):
            self.ended = "bankrupt"

    def _charge(self, funding: Funding) -> None:
        name, boundary_ns = funding.instrument, funding.funding_ns
        if (name, boundary_ns) in self.settled:
            return
        self.settled.add((name, boundary_ns))
        mark = self._mark_at(name, boundary_ns)
        legs = [leg_of(name, side) for side in self.reported.sides_of(name)]
        held = {leg: qty for leg in legs if (qty := self.exchange.qty_at(leg, boundary_ns))}
        if held and mark is not None:
            self._before_change()
            currency = self.by_id[name].settle_currency
            for leg, qty in held.items():
                before = self.exchange.ledger.balance_exact(currency)
                for ledger in (self.exchange.ledger, self.reported):
                    ledger.charge_funding(leg, rate=funding.rate, mark=mark, qty=qty)
                if self.exchange.margins is not None:
                    self.exchange.margins.charged(leg, self.exchange.ledger.balance_exact(currency) - before)
            self.curve.funded()

    def _mark_at(self, instrument: str, boundary_ns: int) -> float | None:
        """Return the last mark at a boundary among the rows taken; before the first, the price of the own last fill."""
        values = [pair for pair in self.priced if pair[0].instrument == instrument and _belongs(pair[0], boundary_ns)]
        marks = [e for e in self.mark_rows if e.instrument == instrument and e.exchange_ns <= boundary_ns]
        # Marks that end before the run does value none of it, but funding as far as they are not a minute behind.
        if marks and (not values or marks[-1].exchange_ns >= _stamp(values[-1][0]) - 60 * 10**9):
            return marks[-1].price
        fills = [f.price for f in self.exchange.fills if f.instrument == instrument and f.filled_ns < boundary_ns]
        return values[-1][1] if values else fills[-1] if fills else None

    # Hooks ----------------------------------------------------------------------------------------------------

    def _hook(self, event: MarketEvent) -> None:
        kind = KINDS[type(event)]
        interval = event.interval if isinstance(event, Candle) else ""
        if kind == "gap":
            if overrides(self.strategy, "on_gap"):
                self.strategy.on_gap(cast(Gap, event))
            return
        if (kind, event.instrument, interval) not in self.wishes:
            return
        match event:
            case Candle():
                self._deliver_candle(event)
            case BookUpdate():
                if self.books[event.instrument].is_valid:
                    self.strategy.on_book(cast(Book, NaiveView(self.books[event.instrument])))
            case _:
                getattr(self.strategy, f"on_{kind}")(event)

    def _deliver_candle(self, candle: Candle) -> None:
        self.delivered.setdefault((candle.instrument, candle.interval), []).append(candle)
        self.strategy.on_candle(candle)

    # What a strategy acts through -----------------------------------------------------------------------------

    @property
    def portfolio(self) -> Ledger:
        """Money and positions as reported."""
        return self.reported

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Note a wish for a stream."""
        key = (kind, instrument, interval)
        self.wishes[key] = max(warmup, self.wishes.get(key, 0))

    def order(self, request: OrderRequest) -> Order:
        """Send an order."""
        return self.client.send(
            request.instrument,
            request.side,
            request.qty,
            price=request.price,
            stop_price=request.stop_price,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            time_in_force=request.time_in_force,
            tag=request.tag,
            terms=request.terms,
            position_side=request.position_side,
        )

    def amend(self, order: Order, *, qty: float | None, price: float | None, **trigger: float | None) -> None:
        """Change an order."""
        self.client.amend(order, qty=qty, price=price, **trigger)

    def cancel(self, order: Order) -> None:
        """Cancel an order."""
        self.client.cancel(order)

    def cancel_all(self, instrument: str | None) -> None:
        """Cancel every open order."""
        self.client.cancel_all(instrument)

    def close(self, instrument: str, side: str = "") -> Order | None:
        """Leave a position."""
        return self.client.close(instrument, side)

    def target(self, instrument: str, qty: float, side: str = "") -> Order | None:
        """Trade toward a position."""
        return self.client.target(instrument, qty, side)

    def quote(
        self, instrument: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep an order on each side."""
        return self.client.quote(instrument, bid=bid, ask=ask, qty=qty)

    def position(self, instrument: str, side: str = "") -> float:
        """Return what can be traded of the reported position: whole steps toward zero, no spot below the minimum."""
        leg = f"{instrument}+{side}" if side else instrument
        rules = self.reported.instruments[leg]
        return float(size_of(rules, tradable_lots(rules, self.reported.qty(leg))))

    def open_orders(self, instrument: str | None) -> list[Order]:
        """Return what may still fill."""
        return self.client.open_orders(instrument)

    def book(self, instrument: str) -> NaiveView | None:
        """Return the current book."""
        book = self.books[instrument]
        return NaiveView(book) if book.is_valid and ("book", instrument, "") in self.wishes else None

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return the latest delivered candles."""
        return self.delivered.get((instrument, interval), [])[-count:]

    def instrument_info(self, instrument: str) -> Instrument:
        """Return an instrument."""
        return self.client.instrument(instrument)

    def every(self, interval: str, name: str) -> None:
        """Start a timer at the multiples of an interval, strictly after the start."""
        length = duration_ns(interval)
        self.timers.append(Timer((self.config.start_ns // length + 1) * length, name, length))

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once."""
        self.timers.append(Timer(time_ns_of(moment), name))

    # The end --------------------------------------------------------------------------------------------------

    def _outcome(self, days: list[tuple[str, int, float]]) -> OracleOutcome:
        account = self.exchange.ledger
        others = [c for c in self._all_currencies() if c != account.report_currency]
        held = [holding.contract.name for holding in account.holdings.values()]
        valued = dict.fromkeys([*held, *(account.converter(currency).id for currency in others)])
        return OracleOutcome(
            orders=list(self.client.orders.values()),
            order_events=[(r.order_id, r.at_ns, r.due_ns, r.state, r.reason) for r in self.exchange.log],
            fills=self.exchange.fills,
            curve=self.curve.rows,
            trips=self.curve.trips,
            starting_equity=self.curve.starting_equity,
            account=account,
            reported=self.reported,
            marks={name: self._mark_of(name) for name in valued},
            ended=self.ended,
            end_ns=self.now_ns,
            days=days,
        )

    def _all_currencies(self) -> list[str]:
        found = dict.fromkeys(self.config.cash)
        for instrument in self.by_id.values():
            spot = (instrument.base, instrument.quote)
            found |= dict.fromkeys(spot if instrument.is_spot else (instrument.settle_currency,))
        return list(found)


def _belongs(event: MarketEvent, boundary_ns: int) -> bool:
    """Whether a row says what something was worth at a boundary: of its own stamp, marks and candles do, no other."""
    return _stamp(event) < boundary_ns + isinstance(event, Candle | Mark)


def _stamp(event: MarketEvent) -> int:
    """Return the moment that a price is of."""
    return event.close_ns if isinstance(event, Candle) else event.exchange_ns


def _mid(book: NaiveBook) -> float | None:
    """Return the middle of a book, the best price where one side is empty, None where both are."""
    best = [price for side in Side if (price := book.best(side)) is not None]
    return sum(best) / len(best) if best else None
