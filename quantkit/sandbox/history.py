"""Trades and bars of a generated instrument, before and since the start, as far back as anybody asks."""

import math
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, takewhile
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.sandbox import bars
from quantkit.sandbox.flow import Match
from quantkit.sandbox.listing import ListedInstrument, decimal_text
from quantkit.sandbox.paths import PricePath, noise, seed_of

#: Before the start somebody trades every four seconds; the trade's id is the number of that stretch since 1970.
GRID_MS: Final = 4_000
#: Each is about as large as all that the flow of orders trades in that time, so that past minutes look like new ones.
_BULK: Final = 17.0
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_PER_DAY: Final = _DAY_MS // GRID_MS
_PER_MINUTE: Final = _MINUTE_MS // GRID_MS
#: How far back bars and trades go, and bars of one second.
HORIZON_DAYS: Final = 90
_SECONDS_HORIZON_MS: Final = 3 * 3_600_000


class Bar(NamedTuple):
    """One bar in ticks and lots; turnover is the sum of ticks times lots."""

    open: int
    high: int
    low: int
    close: int
    lots: int
    turnover: float


class _Day:
    """The minutes of one UTC day, as columns of shape (1440,)."""

    __slots__ = ("close", "high", "lots", "low", "open", "turnover")

    def __init__(self) -> None:
        self.open, self.high, self.low, self.close, self.lots = (np.zeros(1440, np.int64) for _ in range(5))
        self.turnover = np.zeros(1440)


class GeneratedHistory:
    """The trades and bars of one instrument.

    Args:
        listing: The instrument.
        path: Its price before the start.
        seed: Of the market.
        start_ms: When its orders begin to flow, UTC ms.
        kept: How many trades since the start are remembered; before the oldest of them there is then no trade at all.
    """

    def __init__(self, listing: ListedInstrument, path: PricePath, *, seed: int, start_ms: int, kept: int) -> None:
        self.listing = listing
        self.start_ms = start_ms
        #: The last trade of the time before the start; ids go on from there.
        self.first_live_id = start_ms // GRID_MS
        self.matches: deque[Match] = deque(maxlen=kept)
        self._path = path
        self._scale = 10.0**listing.price_decimals
        self._size_seed, self._side_seed = seed_of(seed, listing.id, "size"), seed_of(seed, listing.id, "side")
        self._old = lru_cache(maxsize=HORIZON_DAYS + 2)(self._old_day)
        self._live: dict[int, _Day] = {start_ms // _DAY_MS: self._old_day(start_ms // _DAY_MS)}
        self._filled_minute = start_ms // _MINUTE_MS
        #: The newest trade.
        self.last = next(self.grid_matches(self.first_live_id, 1))
        self._close = self.last.ticks

    # Live trades ----------------------------------------------------------------------------------------------

    def add(self, match: Match) -> None:
        """Count a trade."""
        self.matches.append(match)
        self.last = match
        self.fill_to(match.at_ms)
        minute = match.at_ms // _MINUTE_MS
        day, index = self._live[minute // 1440], minute % 1440
        ticks, lots = match.ticks, match.lots
        if not day.lots[index]:
            day.open[index] = day.high[index] = day.low[index] = ticks
        elif ticks > day.high[index]:
            day.high[index] = ticks
        elif ticks < day.low[index]:
            day.low[index] = ticks
        day.close[index] = self._close = ticks
        day.lots[index] += lots
        day.turnover[index] += ticks * lots

    def fill_to(self, now_ms: int) -> None:
        """Let minutes without a trade repeat the last price, up to and with the present one."""
        minute = now_ms // _MINUTE_MS
        while self._filled_minute < minute:
            self._filled_minute += 1
            number, index = divmod(self._filled_minute, 1440)
            day = self._live.get(number)
            if day is None:
                day = self._live[number] = _Day()
            for column in (day.open, day.high, day.low, day.close):
                column[index] = self._close

    # Before the start -----------------------------------------------------------------------------------------

    def _grid(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the prices and sizes of trades before the start."""
        ticks = np.maximum(np.rint(self._path.at(ids * GRID_MS) * self._scale).astype(np.int64), 1)
        sizes = _BULK * self.listing.lots * np.exp(1.5 * noise(self._size_seed, ids))
        return ticks, np.maximum(sizes.astype(np.int64), self.listing.min_lots)

    def _old_day(self, number: int) -> _Day:
        first = number * _PER_DAY
        ids = np.arange(first, first + _PER_DAY, dtype=np.int64)
        ticks, lots = self._grid(ids)
        lots[ids > self.first_live_id] = 0
        day = _Day()
        by_minute = ticks.reshape(1440, _PER_MINUTE)
        sizes = lots.reshape(1440, _PER_MINUTE)
        # The minute of the start holds only some of its trades; the others repeat the last of them.
        begun = sizes > 0
        shown = np.where(begun, by_minute, by_minute[np.arange(1440), np.maximum(begun.sum(1) - 1, 0)][:, None])
        day.open, day.close = shown[:, 0].copy(), shown[:, -1].copy()
        day.high, day.low = shown.max(1), shown.min(1)
        day.lots, day.turnover = sizes.sum(1), (by_minute * sizes.astype(np.float64)).sum(1)
        return day

    def grid_matches(self, last_id: int, count: int) -> Iterator[Match]:
        """Yield trades from before the start, newest first, from `last_id` back."""
        last_id = min(last_id, self.first_live_id)
        first_id = max(last_id - count + 1, -(-self.oldest_ms // GRID_MS))
        if last_id < first_id:
            return
        ids = np.arange(last_id, first_id - 1, -1, dtype=np.int64)
        ticks, lots = self._grid(ids)
        buys = noise(self._side_seed, ids) > 0
        for trade_id, price, size, is_buy in zip(
            ids.tolist(), ticks.tolist(), lots.tolist(), buys.tolist(), strict=True
        ):
            yield Match(trade_id, price, (size,), is_buy, trade_id * GRID_MS, 0)

    @property
    def oldest_ms(self) -> int:
        """Before this nothing is known."""
        return self.start_ms - HORIZON_DAYS * _DAY_MS

    # Trades ---------------------------------------------------------------------------------------------------

    def newest(self, count: int) -> Iterator[tuple[int, Match, int]]:
        """Yield single matches, newest first: (id, the trade they are part of, lots)."""
        yield from islice(self._singles(), count)

    def before(self, trade_id: int | None, at_ms: int | None, count: int) -> list[tuple[int, Match, int]]:
        """Return up to `count` single matches with an id below `trade_id`, or before a time, newest first."""
        found = (
            each
            for each in self._singles()
            if (trade_id is None or each[0] < trade_id) and (at_ms is None or each[1].at_ms < at_ms)
        )
        rows: list[tuple[int, Match, int]] = []
        if trade_id is None or trade_id > self.first_live_id + 1:
            rows = list(takewhile(lambda each: each[0] > self.first_live_id, islice(found, count)))
        if len(rows) < count and self._is_whole:
            last_id = self.first_live_id if trade_id is None else trade_id - 1
            if at_ms is not None:
                last_id = min(last_id, (at_ms - 1) // GRID_MS)
            old = self.grid_matches(last_id, count - len(rows))
            rows += [(match.trade_id, match, match.lots) for match in old]
        return rows

    def _singles(self) -> Iterator[tuple[int, Match, int]]:
        for match in reversed(self.matches):
            for place, lots in enumerate(reversed(match.parts)):
                yield match.trade_id - place, match, lots
        if self._is_whole:
            for match in self.grid_matches(self.first_live_id, 500):
                yield match.trade_id, match, match.lots

    @property
    def _is_whole(self) -> bool:
        """Whether every trade since the start is remembered, so that those before it follow without a hole."""
        if not self.matches:
            return True
        oldest = self.matches[0]
        return oldest.trade_id - len(oldest.parts) == self.first_live_id

    # Bars -----------------------------------------------------------------------------------------------------

    def bar(self, opened_ms: int, end_ms: int, now_ms: int) -> Bar | None:
        """Return one bar of whole minutes.

        Args:
            opened_ms, end_ms: Its span; the end is not part of it.
            now_ms: Minutes after this have not been.
        """
        self.fill_to(now_ms)
        first = max(opened_ms, self.oldest_ms) // _MINUTE_MS
        last = min(end_ms, now_ms + 1)
        stop = -(-last // _MINUTE_MS)
        whole: Bar | None = None
        while first < stop:
            number, start = divmod(first, 1440)
            end = min(1440, start + stop - first)
            day = self._live.get(number) or self._old(number)
            part = Bar(
                int(day.open[start]),
                int(day.high[start:end].max()),
                int(day.low[start:end].min()),
                int(day.close[end - 1]),
                int(day.lots[start:end].sum()),
                float(day.turnover[start:end].sum()),
            )
            whole = part if whole is None else _joined(whole, part)
            first += end - start
        return whole

    def candles(self, bar: str, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return rows of bars that opened before `until_ms`, newest first, the open one with confirm "0"."""
        if bar == "1s":
            return self._seconds(until_ms, count, now_ms)
        rows: list[list[str]] = []
        opened_ms = bars.open_ms(bar, min(until_ms - 1, now_ms))
        while len(rows) < count and opened_ms >= self.oldest_ms:
            end_ms = bars.next_open_ms(bar, opened_ms)
            found = self.bar(opened_ms, end_ms, now_ms)
            assert found is not None, "every minute since the oldest has a price"
            rows.append(self.row(opened_ms, found, is_closed=now_ms >= end_ms))
            opened_ms = bars.previous_open_ms(bar, opened_ms)
        return rows

    def _seconds(self, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        last = min(until_ms - 1, now_ms) // 1000
        first = max(last - count + 1, (now_ms - _SECONDS_HORIZON_MS) // 1000)
        found: dict[int, Bar] = {}
        close = 0
        for _, match, lots in self._singles_since(first * 1000):
            second, ticks = match.at_ms // 1000, match.ticks
            one = Bar(ticks, ticks, ticks, ticks, lots, float(ticks * lots))
            if second < first:
                close = ticks
                break
            found[second] = _joined(one, found[second]) if second in found else one
        rows = []
        for second in range(first, last + 1):
            one = found.get(second) or Bar(close, close, close, close, 0, 0.0)
            close = one.close
            rows.append(self.row(second * 1000, one, is_closed=now_ms >= second * 1000 + 1000))
        return rows[::-1]

    def _singles_since(self, at_ms: int) -> Iterator[tuple[int, Match, int]]:
        """Yield single matches, newest first, at least back to one that is older than `at_ms`."""
        for match in reversed(self.matches):
            yield match.trade_id, match, match.lots
        for match in self.grid_matches(self.first_live_id, max(2, self.first_live_id - at_ms // GRID_MS + 2)):
            yield match.trade_id, match, match.lots

    def row(self, opened_ms: int, bar: Bar, *, is_closed: bool) -> list[str]:
        """Return a bar as OKX writes it."""
        listing = self.listing
        volume, coins, quote = self.volumes(bar)
        prices = [listing.price_text(ticks) for ticks in (bar.open, bar.high, bar.low, bar.close)]
        return [str(opened_ms), *prices, volume, coins, quote, "1" if is_closed else "0"]

    def volumes(self, bar: Bar) -> tuple[str, str, str]:
        """Return a bar's volume in OKX's three units: lots as sizes are, `volCcy`, `volCcyQuote`.

        Spot: coins, quote, quote. Swaps: contracts, coins, quote currency or USD.
        """
        listing = self.listing
        volume = listing.qty_text(bar.lots)
        contracts = bar.lots / 10**listing.qty_decimals
        average = bar.turnover / bar.lots / self._scale if bar.lots else 0.0
        if listing.kind == "SPOT":
            quote = _plain(contracts * average)
            return volume, quote, quote
        value = contracts * float(listing.contract_value)
        if listing.is_inverse:
            return volume, _plain(value / average if average else 0.0), _plain(value)
        return volume, _plain(value), _plain(value * average)


def _joined(first: Bar, second: Bar) -> Bar:
    return Bar(
        first.open,
        max(first.high, second.high),
        min(first.low, second.low),
        second.close,
        first.lots + second.lots,
        first.turnover + second.turnover,
    )


def _plain(value: float) -> str:
    """Return a number with up to eight decimals."""
    return decimal_text(math.floor(value * 1e8 + 0.5), 8)
