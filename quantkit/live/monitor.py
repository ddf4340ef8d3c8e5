"""What a live run shows of itself while it runs: the engine's books and the feed's connections in one status."""

from collections import deque
from collections.abc import Callable
from typing import Final

from quantkit.clock import NS_PER_MS, NS_PER_S, wall_ns
from quantkit.engine.engine import Engine
from quantkit.feeds.live_feed import LiveFeed
from quantkit.live.status import LiveStatus, OrderLine, PositionLine, StreamLine
from quantkit.rows.columns import Stream

_LATEST: Final = 10
_EVERY_NS: Final = NS_PER_S // 4
_RATE_SPAN_NS: Final = 5 * NS_PER_S


class Monitor:
    """Takes stock of a run a few times a second, between two batches.

    Args:
        feed: The run's.
        show: Called with each status.
        strategy, recording: Name of the strategy, and folder of the recording ("" without one).
        started_ns: When it began.
    """

    def __init__(
        self,
        feed: LiveFeed,
        show: Callable[[LiveStatus], None],
        *,
        strategy: str,
        recording: str,
        started_ns: int,
    ) -> None:
        self._engine: Engine | None = None
        self._feed = feed
        self._show = show
        self._strategy = strategy
        self._recording = recording
        self._started_ns = started_ns
        self._next_ns = 0
        self._samples: deque[tuple[int, dict[Stream, int]]] = deque()

    def watch(self, engine: Engine) -> None:
        """Name the engine of the run, once there is one."""
        self._engine = engine

    def tick(self, now_ns: int, start_ns: int = 0, end_ns: int = 0) -> None:
        """Show the run if it is time to.

        Args:
            now_ns: Engine time.
            start_ns, end_ns: The span of the run; not shown.
        """
        at_ns = wall_ns()
        # Also when the machine's clock has been set back.
        if self._engine is not None and not self._next_ns - _EVERY_NS <= at_ns < self._next_ns:
            self._next_ns = at_ns + _EVERY_NS
            self._show(self.status(self._engine, now_ns, at_ns))

    def status(self, engine: Engine, now_ns: int, at_ns: int) -> LiveStatus:
        """Return the state of the run.

        Args:
            engine: The run's.
            now_ns: Engine time.
            at_ns: The machine's time.
        """
        feed = self._feed
        ledger = engine.reported
        equity = ledger.equity
        positions = []
        for name, position in ledger.positions.items():
            qty = position.instrument.tradable_qty(position.qty)
            if qty:
                mark = engine.mark(name)
                positions.append(
                    PositionLine(
                        name,
                        float(qty),
                        position.average_price,
                        mark,
                        float(position.unrealised(mark)) if mark is not None else 0.0,
                        float(position.realised),
                        position.instrument.settle_currency,
                    )
                )
        orders = [
            OrderLine(o.id, o.instrument, o.side.value, o.qty, o.filled_qty, o.price, o.state.value, o.tag)
            for o in engine.open_orders
        ]
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
            streams=self._streams(at_ns),
            positions=tuple(positions),
            open_orders=tuple(orders),
            last_fills=tuple(engine.fills[-_LATEST:]),
            notes=tuple([*engine.notes, *feed.clock.notes][-_LATEST:]),
            behind_ns_max=feed.behind_ns_max,
        )

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
