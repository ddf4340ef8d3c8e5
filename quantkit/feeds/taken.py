"""The rows that a live run's engine has taken, on their way to the recorder with what the run sent meanwhile."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from quantkit.clock import NS_PER_MS
from quantkit.events import Candle, InstrumentChange, MarketEvent, Row, Timing
from quantkit.feeds.recorder import Recorder
from quantkit.rows.columns import Stream

#: How often the recorder is given what was taken; unlike the tape it makes nothing safe by itself.
_RECORD_EVERY_NS: Final = 100 * NS_PER_MS

_received_ns = attrgetter("received_ns")


class TakenRows:
    """Keeps what was taken and sent, and hands it over many rows at a time, in one order; used by one thread.

    Args:
        wall: This machine's clock, UTC ns.

    Attributes:
        recorder: The receiver of the rows; None without one. Set by the live feed as it opens.
        end_ns: End of the run's data, set by the live feed as it subscribes; the connections close a moment later.
    """

    def __init__(self, wall: Callable[[], int], end_ns: int) -> None:
        self.recorder: Recorder | None = None
        self.end_ns = end_ns
        self._wall = wall
        self._waiting: list[Row] = []
        self._recorded_ns = 0
        self._warmed_ns: dict[tuple[str, str], int] = {}

    def warmed(self, stream: Stream, candles: Sequence[Candle]) -> None:
        """Hand the candles of a warm-up over; those that come again later are left out."""
        if self.recorder is not None and candles:
            self.recorder.add(candles)
            self._warmed_ns[stream.instrument, stream.interval] = candles[-1].close_ns

    def take(self, deliveries: Sequence[Sequence[Row]]) -> None:
        """Keep the rows of a batch."""
        if self.recorder is not None:
            for rows in deliveries:
                if rows[0].received_ns <= self.end_ns:
                    self._waiting += [row for row in rows if not self._is_warmed(row)]

    def note(self, timing: Timing) -> None:
        """Keep a message's departure, or a step of the offset."""
        if self.recorder is not None:
            self._waiting.append(timing)

    def record(self, *, everything: bool = False) -> None:
        """Hand over what was kept, if it is time to."""
        now_ns = self._wall()
        if self.recorder is not None and (everything or now_ns - self._recorded_ns >= _RECORD_EVERY_NS):
            self._recorded_ns = now_ns
            waiting, self._waiting = self._waiting, []
            self.recorder.add_instruments(row.info for row in waiting if isinstance(row, InstrumentChange))
            rows: list[MarketEvent] = [row for row in waiting if not isinstance(row, InstrumentChange)]
            # What was sent in answer to a row was kept after later rows of the batch.
            self.recorder.add(sorted(rows, key=_received_ns))

    def _is_warmed(self, row: Row) -> bool:
        if not isinstance(row, Candle):
            return False
        return row.close_ns <= self._warmed_ns.get((row.instrument, row.interval), 0)
