"""What the page of a check draws: rows, prices, spreads and latencies of each instrument in stretches of time."""

from typing import Final

import numpy as np

from quantkit.clock import NS_PER_MS
from quantkit.events import EVENT_KINDS
from quantkit.quality.pieces import RowPiece
from quantkit.quality.quotes import TopPrices
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Holdings

#: Stretches into which the span of an instrument is cut.
STRETCHES: Final = 480
#: Classes of latencies from a microsecond to a day, in a factor of 1.5.
_CLASSES: Final = 64
_LEAST_NS: Final = 1_000.0
_FACTOR: Final = 1.5


class StretchedRows:
    """Rows of one stream, by the stretch of time in which they were received.

    Attributes:
        counts: How many, shape (n,).
        low, high: Prices of trades, candles, marks, or the middle of quotes; NaN without one.
        spread_bps: The mean of bid to ask over the middle, NaN without one.
    """

    def __init__(self, begin_ns: int, width_ns: int) -> None:
        self._begin_ns = begin_ns
        self._width_ns = width_ns
        self.counts = np.zeros(STRETCHES, np.int64)
        self.low = np.full(STRETCHES, np.nan)
        self.high = np.full(STRETCHES, np.nan)
        self._spreads = np.zeros(STRETCHES)
        self._quotes = np.zeros(STRETCHES, np.int64)
        self._late = np.zeros((STRETCHES, _CLASSES), np.int64)

    def take(self, piece: RowPiece, *, is_timed: bool) -> IntArray:
        """Count rows; return the stretch of each."""
        place: IntArray = np.clip((piece.received_ns - self._begin_ns) // self._width_ns, 0, STRETCHES - 1)
        self.counts += np.bincount(place, minlength=STRETCHES)
        if is_timed:
            late = np.maximum(piece.received_ns - piece.column("exchange_ns"), 1)
            kind = np.clip(np.log(late / _LEAST_NS) / np.log(_FACTOR), 0, _CLASSES - 1).astype(np.int64)
            self._late += np.bincount(place * _CLASSES + kind, minlength=STRETCHES * _CLASSES).reshape(-1, _CLASSES)
        return place

    def prices(self, place: IntArray, low: FloatArray, high: FloatArray) -> None:
        """Take prices at stretches that do not go back."""
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        at = place[starts]
        self.low[at] = np.fmin(self.low[at], np.fmin.reduceat(low, starts))
        self.high[at] = np.fmax(self.high[at], np.fmax.reduceat(high, starts))

    def spreads(self, place: IntArray, bps: FloatArray) -> None:
        """Take spreads."""
        self._spreads += np.bincount(place, bps, minlength=STRETCHES)
        self._quotes += np.bincount(place, minlength=STRETCHES)

    @property
    def spread_bps(self) -> FloatArray:
        """The mean spread of each stretch, NaN without a quote."""
        with np.errstate(invalid="ignore"):
            mean: FloatArray = self._spreads / np.where(self._quotes, self._quotes, np.nan)
        return mean

    def latency_ms(self, share: float) -> FloatArray:
        """Return what a share of the latencies of each stretch stays below, NaN without rows."""
        total = self._late.sum(axis=1)
        kind = np.argmax(np.cumsum(self._late, axis=1) >= share * total[:, None], axis=1)
        found: FloatArray = np.where(total > 0, _LEAST_NS * _FACTOR ** (kind + 1) / NS_PER_MS, np.nan)
        return found


class Pictures:
    """Takes what a check reads, stream by stream, in a memory that does not grow with it.

    Args:
        holdings: What is checked.
    """

    def __init__(self, holdings: Holdings) -> None:
        self.spans: dict[str, tuple[int, int]] = {}
        for stream, held in holdings.coverage().items():
            begin, end = self.spans.get(stream.instrument, (held.start_ns, held.end_ns))
            self.spans[stream.instrument] = min(begin, held.start_ns), max(end, held.end_ns)
        self.streams: dict[Stream, StretchedRows] = {}
        self._places: IntArray = np.empty(0, np.int64)

    def width_ns(self, instrument: str) -> int:
        """Return how long a stretch of an instrument is."""
        begin_ns, end_ns = self.spans[instrument]
        return (end_ns - begin_ns) // STRETCHES + 1

    def rows(self, stream: Stream, piece: RowPiece) -> None:
        """Take rows of any stream."""
        held = self.streams.get(stream)
        if held is None:
            begin_ns = self.spans[stream.instrument][0]
            held = self.streams[stream] = StretchedRows(begin_ns, self.width_ns(stream.instrument))
        is_timed = EVENT_KINDS[stream.kind].is_timed and stream.kind != "candle"
        self._places = held.take(piece, is_timed=is_timed)
        match stream.kind:
            case "trade" | "mark":
                held.prices(self._places, piece.column("price"), piece.column("price"))
            case "candle":
                held.prices(self._places, piece.column("low"), piece.column("high"))

    def quotes(self, stream: Stream, piece: RowPiece, top: TopPrices) -> None:
        """Take the best prices of the rows taken last."""
        known = np.isfinite(top.bid) & np.isfinite(top.ask)
        if known.any():
            middle, place = (top.bid[known] + top.ask[known]) / 2, self._places[known]
            self.streams[stream].prices(place, middle, middle)
            self.streams[stream].spreads(place, 1e4 * (top.ask[known] - top.bid[known]) / middle)
