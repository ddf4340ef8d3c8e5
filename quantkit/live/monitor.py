"""What a live run shows of itself while it runs: the engine's books and the feed's connections in one status."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from quantkit.brokers.base import Report
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, NS_PER_S, wall_ns
from quantkit.engine.engine import Engine
from quantkit.feeds.latencies import Latencies
from quantkit.feeds.live_feed import LiveFeed
from quantkit.instruments import plain
from quantkit.live.history import HistoryKeeper
from quantkit.live.journal import EngineLog
from quantkit.live.status import (
    BookLadder,
    GapLine,
    LiveStatus,
    LogLine,
    MarkPath,
    OrderLine,
    PositionLine,
    StreamLine,
)
from quantkit.orders import Order
from quantkit.rows.columns import Stream

_LATEST: Final = 10
_EVERY_NS: Final = NS_PER_S // 4
_RATE_SPAN_NS: Final = 5 * NS_PER_S
#: Bounds of a status: whatever the run trades, taking one stays a matter of a few milliseconds.
_LEVELS_MAX: Final = 12
_BOOKS_MAX: Final = 8
_PATHS_MAX: Final = 32
_POINTS_MAX: Final = 64
_LOG_MAX: Final = 40
_ORDERS_MAX: Final = 200
#: Marks are looked at so often, and a status has those of so long.
_POINT_EVERY_NS: Final = 50 * NS_PER_MS
_PATH_NS: Final = 2 * NS_PER_S
#: The equity takes longer to tell, and its history has a point so often.
_WORTH_EVERY_NS: Final = NS_PER_S
#: Latencies are those of one to two of these.
_TURN_NS: Final = 30 * NS_PER_S
#: After midnight its equity may yet be written for so long.
_SETTLES_NS: Final = 10 * NS_PER_MIN


class Viewer(Protocol):
    """Who looks at a run."""

    @property
    def is_watching(self) -> bool:
        """Whether a status is wanted now."""
        ...

    def show(self, status: LiveStatus) -> None:
        """Take a status; called by the thread of the engine, so it must not wait."""
        ...


class CallbackViewer:
    """A function that takes every status."""

    is_watching: Final = True

    def __init__(self, show: Callable[[LiveStatus], None]) -> None:
        self.show = show


class Monitor:
    """Takes stock of a run a few times a second, between two batches, while somebody watches.

    Args:
        feed: The run's.
        viewers: Get each status.
        strategy, recording: Name of the strategy, and folder of the recording ("" without one).
        started_ns: When it began.
        log: The engine log, whose length is shown; None without one.
        history: Gets marks and equity also while nobody watches; None where nobody will ask for them.
    """

    def __init__(
        self,
        feed: LiveFeed,
        viewers: Sequence[Viewer],
        *,
        strategy: str,
        recording: str,
        started_ns: int,
        log: EngineLog | None = None,
        history: HistoryKeeper | None = None,
    ) -> None:
        self._engine: Engine | None = None
        self._feed = feed
        self._viewers = viewers
        self._strategy = strategy
        self._recording = recording
        self._started_ns = started_ns
        self._log = log
        self._history = history
        self._worth_ns = 0
        self._number = 0
        self._next_ns = 0
        self._samples: deque[tuple[int, dict[Stream, int]]] = deque()
        self._latencies = Latencies()
        self._turned_ns = 0
        self._paths: dict[str, deque[tuple[int, float]]] = {}
        self._point_ns = 0
        self._today: tuple[int, float | None] = (0, None)  # a midnight, and the equity of then

    def watch(self, engine: Engine) -> None:
        """Name the engine of the run, once there is one."""
        self._engine = engine
        self._feed.latencies = self._latencies

    def tick(self, now_ns: int, start_ns: int = 0, end_ns: int = 0) -> None:
        """Show the run if it is time to, and if anybody watches; note its marks, if anybody may ask for them later.

        Args:
            now_ns: Engine time.
            start_ns, end_ns: The span of the run; not shown.
        """
        engine = self._engine
        if engine is None:
            return
        watching = [viewer for viewer in self._viewers if viewer.is_watching]
        if not watching and self._history is None:
            return
        at_ns = wall_ns()
        # Also when the machine's clock has been set back.
        if not 0 <= at_ns - self._point_ns < _POINT_EVERY_NS:
            self._point_ns = at_ns
            self._add_points(engine, now_ns, at_ns)
        if watching and not self._next_ns - _EVERY_NS <= at_ns < self._next_ns:
            self._next_ns = at_ns + _EVERY_NS
            status = self.status(engine, now_ns, at_ns)
            for viewer in watching:
                viewer.show(status)

    def status(self, engine: Engine, now_ns: int, at_ns: int) -> LiveStatus:
        """Return the state of the run.

        Args:
            engine: The run's.
            now_ns: Engine time.
            at_ns: The machine's time.
        """
        feed, ledger = self._feed, engine.reported
        equity = ledger.equity
        streams, open_orders, positions = self._streams(at_ns), engine.open_orders, self._positions(engine)
        traded = dict.fromkeys([*(line.instrument for line in positions), *(order.instrument for order in open_orders)])
        today = None if equity is None else self._equity_at_midnight(engine, now_ns)
        p50_ns, p99_ns = self._latency_ns(at_ns)
        self._number += 1
        return LiveStatus(
            strategy=self._strategy,
            now_ns=now_ns,
            wall_ns=at_ns,
            started_ns=self._started_ns,
            recording=self._recording,
            currency=ledger.report_currency,
            equity=None if equity is None else float(equity),
            pnl=None if equity is None else float(equity - engine.starting_equity),
            orders=engine.order_count,
            fills_count=len(engine.fills),
            gaps=engine.gap_count,
            queue=feed.waiting,
            queue_max=feed.exchange.queue_rows_max,
            connections=feed.connections,
            streams=streams,
            positions=positions,
            open_orders=tuple(_order_line(engine, order) for order in open_orders[-_ORDERS_MAX:]),
            last_fills=tuple(engine.fills[-_LATEST:]),
            notes=tuple([*engine.notes, *feed.clock.notes][-_LATEST:]),
            behind_ns_max=feed.behind_ns_max,
            number=self._number,
            is_paused=engine.is_paused,
            pnl_today=None if equity is None or today is None else float(equity) - today,
            drawdown=None if equity is None else _drawdown(float(equity), engine.peak_equity),
            fees={currency: float(amount) for currency, amount in ledger.totals("fees").items()},
            books=_ladders(engine, traded),
            prices=self._price_paths(now_ns),
            gap_lines=tuple(
                GapLine(gap.received_ns, gap.instrument, gap.channel, gap.from_ns, gap.to_ns, gap.cause)
                for gap in engine.last_gaps
            ),
            log=_log_of(engine),
            rows_per_s=sum(stream.rows_per_s for stream in streams),
            latency_p50_ms=None if p50_ns is None else p50_ns / NS_PER_MS,
            latency_p99_ms=None if p99_ns is None else p99_ns / NS_PER_MS,
            recorded_bytes=feed.recorded_bytes + (0 if self._log is None else self._log.written_bytes),
        )

    @staticmethod
    def _positions(engine: Engine) -> tuple[PositionLine, ...]:
        lines = []
        for position in engine.reported.positions.values():
            qty = position.instrument.tradable_qty(position.qty)
            if qty:
                name = position.instrument.id
                mark = engine.mark(name)
                lines.append(
                    PositionLine(
                        name,
                        float(qty),
                        position.average_price,
                        mark,
                        float(position.unrealised(mark)) if mark is not None else 0.0,
                        float(position.realised),
                        position.instrument.settle_currency,
                        position.position_side,
                    )
                )
        return tuple(lines)

    def _streams(self, at_ns: int) -> tuple[StreamLine, ...]:
        counts = self._feed.counts
        self._samples.append((at_ns, {stream: rows for stream, (rows, _, _) in counts.items()}))
        while len(self._samples) > 2 and at_ns - self._samples[1][0] >= _RATE_SPAN_NS:
            self._samples.popleft()
        since_ns, before = self._samples[0]
        span_s = max(at_ns - since_ns, 1) / NS_PER_S
        return tuple(
            StreamLine(
                str(stream),
                rows,
                (rows - before.get(stream, 0)) / span_s if at_ns > since_ns else 0.0,
                received_ns,
                (received_ns - self._feed.clock.offset.value_ns - exchange_ns) / NS_PER_MS,
            )
            for stream, (rows, received_ns, exchange_ns) in sorted(counts.items(), key=lambda item: item[0].sort_key)
        )

    # Prices -----------------------------------------------------------------------------------------------------

    def _add_points(self, engine: Engine, now_ns: int, at_ns: int) -> None:
        """Note the marks of now where they have moved, and the equity."""
        history = self._history
        if history is not None and not 0 <= at_ns - self._worth_ns < _WORTH_EVERY_NS:
            self._worth_ns = at_ns
            equity = engine.reported.equity
            if equity is not None:
                history.add_equity(now_ns, float(equity))
        for name in [*engine.plan.instruments][:_PATHS_MAX]:
            mark = engine.mark(name)
            path = self._paths.setdefault(name, deque(maxlen=_POINTS_MAX))
            if mark is not None and not (path and (path[-1][1] == mark or path[-1][0] >= now_ns)):
                path.append((now_ns, mark))
                if history is not None:
                    history.add_mark(name, now_ns, mark)

    def _price_paths(self, now_ns: int) -> tuple[MarkPath, ...]:
        """Return the marks of the last moments; the newest stands whatever its age."""
        paths = []
        for name, path in self._paths.items():
            points = [point for point in path if point[0] > now_ns - _PATH_NS] or [*path][-1:]
            if points:
                paths.append(MarkPath(name, tuple(at for at, _ in points), tuple(price for _, price in points)))
        return tuple(paths)

    # Over time --------------------------------------------------------------------------------------------------

    def _latency_ns(self, at_ns: int) -> tuple[int | None, int | None]:
        """Return the median and the 99th percentile of late."""
        if not 0 <= at_ns - self._turned_ns < _TURN_NS:
            self._turned_ns = at_ns
            self._latencies.turn()
        return self._latencies.quantile_ns(0.5), self._latencies.quantile_ns(0.99)

    def _equity_at_midnight(self, engine: Engine, now_ns: int) -> float:
        """Return the equity at the last UTC midnight, that of the start where the run began later."""
        midnight_ns = now_ns // NS_PER_DAY * NS_PER_DAY
        known_ns, equity = self._today
        if known_ns != midnight_ns or now_ns - midnight_ns < _SETTLES_NS:
            equity = engine.equity_at(midnight_ns)
            self._today = midnight_ns, equity
        return float(engine.starting_equity) if equity is None else equity


def _drawdown(equity: float, peak: float) -> float:
    return min(0.0, equity / peak - 1.0) if peak > 0 else 0.0


def _order_line(engine: Engine, order: Order) -> OrderLine:
    return OrderLine(
        order.id,
        order.instrument,
        order.side.value,
        order.qty,
        order.filled_qty,
        order.price,
        order.state.value,
        order.tag,
        order.sent_ns,
        engine.queue_ahead(order),
        order.position_side,
    )


def _ladders(engine: Engine, traded: dict[str, None]) -> tuple[BookLadder, ...]:
    """Return the best levels of some books, of those that are traded first."""
    known = engine.books
    names = [*(name for name in traded if name in known), *(name for name in known if name not in traded)]
    ladders = []
    for name in names[:_BOOKS_MAX]:
        book = engine.book(name)
        if book is not None:
            bids, asks = (tuple((price, qty) for price, qty in side.tolist()) for side in book.depth(_LEVELS_MAX))
            ladders.append(BookLadder(name, book.received_ns, bids, asks))
    return tuple(ladders)


def _log_of(engine: Engine) -> tuple[LogLine, ...]:
    """Return the last things that happened, in order of time."""
    lines = [_report_line(report, order) for report, order in engine.last_reports(_LOG_MAX)]
    lines += [
        LogLine(gap.received_ns, "gap", f"{gap.instrument}: gap in {gap.channel}: {gap.cause}")
        for gap in engine.last_gaps
    ]
    for command in engine.commands[-_LOG_MAX:]:
        said = f"{command.source}: {command.reason}" if command.reason else command.source
        lines.append(LogLine(command.taken_ns, "command", f"{command.name} ({said})"))
    return tuple(sorted(lines, key=lambda line: line.at_ns)[-_LOG_MAX:])


def _report_line(report: Report, order: Order) -> LogLine:
    fill = report.fill
    if fill is not None:
        text = (
            f"{fill.order_id} {fill.side} {plain(fill.qty)} {fill.leg} at {plain(fill.price)}, {fill.role}, "
            f"fee {plain(fill.fee)} {fill.fee_currency}"
        )
        return LogLine(report.due_ns, "fill", text)
    what = "market" if order.price is None else plain(order.price)
    told, reason = report.state.replace("_", " "), report.reason.replace("_", " ", 1)
    if reason:
        # A change, or its refusal, leaves the state as it is.
        told = f"{told}: {reason}" if report.state.is_final else reason
    text = f"{order.id} {order.side} {plain(order.qty)} {order.leg} at {what} {told}"
    return LogLine(report.due_ns, "order", text)
