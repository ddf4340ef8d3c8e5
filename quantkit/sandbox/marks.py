"""Bars of the fair price of a generated instrument, for mark and index: no trades, no volume."""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.sandbox import bars
from quantkit.sandbox.history import GRID_MS, HORIZON_DAYS
from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.paths import STEP_MS, PricePath

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
#: Minutes of the time since the start that are computed at once.
_BLOCK: Final = 60


class _Minutes(NamedTuple):
    """Open, high, low and close of minutes that follow each other, in ticks; each of shape (n,)."""

    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]


class MarkHistory:
    """The bars of one instrument's fair price.

    Since the start they hold every price that pushes can show. Before it, when nobody listened, they look at the price
    as often as somebody traded.

    Args:
        listing: The instrument.
        path: Its fair price.
        start_ms: When it opened, UTC ms.
    """

    def __init__(self, listing: ListedInstrument, path: PricePath, *, start_ms: int) -> None:
        self._listing = listing
        self._path = path
        self._start_minute = start_ms // _MINUTE_MS
        self._oldest_ms = start_ms - HORIZON_DAYS * _DAY_MS
        self._scale = 10.0**listing.price_decimals
        self._day = lru_cache(maxsize=HORIZON_DAYS + 2)(lambda day: self._minutes(day * 1440, 1440, GRID_MS))
        self._block = lru_cache(maxsize=24 * 60)(lambda block: self._minutes(block * _BLOCK, _BLOCK, STEP_MS))

    def candles(self, bar: str, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return rows `[ts, o, h, l, c, confirm]` of bars that opened before `until_ms`, newest first."""
        rows: list[list[str]] = []
        opened_ms = bars.open_ms(bar, min(until_ms - 1, now_ms))
        while len(rows) < count and opened_ms >= self._oldest_ms:
            end_ms = bars.next_open_ms(bar, opened_ms)
            prices = [self._listing.price_text(ticks) for ticks in self._bar(opened_ms, min(end_ms, now_ms + 1))]
            rows.append([str(opened_ms), *prices, "1" if now_ms >= end_ms else "0"])
            opened_ms = bars.previous_open_ms(bar, opened_ms)
        return rows

    def _bar(self, opened_ms: int, end_ms: int) -> tuple[int, int, int, int]:
        """Return open, high, low and close of a span that opens with a minute and may end within one."""
        first, stop = opened_ms // _MINUTE_MS, end_ms // _MINUTE_MS
        parts = [self._piece(minute, last) for minute, last in self._pieces(first, stop)]
        if end_ms % _MINUTE_MS:
            parts.append(self._open_minute(stop, end_ms))
        return (
            int(parts[0].open[0]),
            max(int(part.high.max()) for part in parts),
            min(int(part.low.min()) for part in parts),
            int(parts[-1].close[-1]),
        )

    def _pieces(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Return the spans of minutes that are kept together: days before the start, blocks since."""
        found = []
        while first < stop:
            if first < self._start_minute:
                end = min(first - first % 1440 + 1440, self._start_minute, stop)
            else:
                end = min(first - first % _BLOCK + _BLOCK, stop)
            found.append((first, end))
            first = end
        return found

    def _piece(self, first: int, stop: int) -> _Minutes:
        is_old = first < self._start_minute
        length = 1440 if is_old else _BLOCK
        place = first % length
        whole = (self._day if is_old else self._block)(first // length)
        return _Minutes(*(column[place : place + stop - first] for column in whole))

    def _minutes(self, first: int, count: int, step_ms: int) -> _Minutes:
        """Return minutes from prices that are looked at every `step_ms`, the end of each minute included."""
        per_minute = _MINUTE_MS // step_ms
        ticks = self._ticks(first * _MINUTE_MS + np.arange(count * per_minute + 1, dtype=np.int64) * step_ms)
        inner, ends = ticks[:-1].reshape(count, per_minute), ticks[per_minute::per_minute]
        return _Minutes(inner[:, 0], np.maximum(inner.max(1), ends), np.minimum(inner.min(1), ends), ends)

    def _open_minute(self, minute: int, end_ms: int) -> _Minutes:
        """Return the beginning of a minute, up to a moment that is not part of it."""
        begin_ms, last_ms = minute * _MINUTE_MS, end_ms - 1
        ticks = self._ticks(np.arange(begin_ms, last_ms + 1, STEP_MS, dtype=np.int64))
        # Between two steps the price goes straight, as `PricePath.now` has it.
        last = max(3, round(self._path.now(last_ms) * self._scale))
        high, low = max(int(ticks.max()), last), min(int(ticks.min()), last)
        return _Minutes(*(np.array([each], np.int64) for each in (int(ticks[0]), high, low, last)))

    def _ticks(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(np.rint(self._path.at(times_ms) * self._scale).astype(np.int64), 3)
