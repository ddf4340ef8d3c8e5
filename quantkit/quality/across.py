"""Streams against each other: trades against the quotes of their moment, candles against the trades of their time."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_S
from quantkit.instruments import plain
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.rows.columns import Column

#: A trade is held against every quote in force within so long before its receipt: its print and the change of the
#: quote come by different ways.
QUOTE_NS: Final = NS_PER_S
#: Prints that come before their change of the quote lie beyond it by less than this share.
OUTSIDE: Final = 0.01
#: So many candles are held against trades at most; of minutes, two years.
CANDLES_MAX: Final = 1_048_576
#: Volumes are sums of floats.
_CLOSE: Final = 1e-6


class TradesInSpread:
    """Trades far outside of what was quoted, as far as that was known when they were received.

    An order that sweeps levels prints away from the spread before the quote follows: a trade is held against the
    quotes of its last second, and against the trades of that second that were not outside themselves.

    Quotes and trades come in turns: `quote` gives the quotes up to a moment, `take` the trades up to there.
    """

    def __init__(self, facts: StreamFacts, source: str) -> None:
        self._stream = facts.stream
        self._source = source
        self._times: NDArray[np.int64] = np.empty(0, np.int64)
        self._bid: NDArray[np.float64] = np.empty(0)
        self._ask: NDArray[np.float64] = np.empty(0)
        # The trades of the last second that are not outside.
        self._traded_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self._traded: NDArray[np.float64] = np.empty(0)
        self._outside = PlaceTally()
        self._farthest = 0.0

    def quote(self, received_ns: Column, bid: Column, ask: Column) -> None:
        """Add quotes: what is in force from each moment on."""
        keep = max(0, int(np.searchsorted(self._times, received_ns[0] - QUOTE_NS, "right")) - 1)
        self._times = np.concatenate((self._times[keep:], received_ns))
        self._bid = np.concatenate((self._bid[keep:], bid))
        self._ask = np.concatenate((self._ask[keep:], ask))

    def take(self, piece: RowPiece, start: int, stop: int) -> None:
        """Hold rows `start` to `stop` of a piece of trades against the quotes."""
        if start >= stop or not len(self._times):
            return
        received, price = piece.received_ns[start:stop], piece.column("price")[start:stop]
        outside = self._outside_of(received, price)
        self._outside.add(piece, start + np.flatnonzero(outside))
        keep = self._traded_ns > received[-1] - QUOTE_NS
        recent = ~outside & (received > received[-1] - QUOTE_NS)
        self._traded_ns = np.append(self._traded_ns[keep], received[recent])
        self._traded = np.append(self._traded[keep], price[recent])

    def _outside_of(self, received: Column, price: Column) -> NDArray[np.bool_]:
        outside = np.zeros(len(received), np.bool_)
        last = np.searchsorted(self._times, received, "right") - 1
        bid, ask = self._bid[np.maximum(last, 0)], self._ask[np.maximum(last, 0)]
        # A crossed quote, which is a finding of its own, shows nothing of a trade.
        quoted = (last >= 0) & np.isfinite(bid) & np.isfinite(ask) & (bid <= ask)
        far = np.flatnonzero(quoted & ((price < bid * (1 - OUTSIDE)) | (price > ask * (1 + OUTSIDE))))
        begins_ns = received[far] - QUOTE_NS
        first_quotes = np.maximum(np.searchsorted(self._times, begins_ns, "right") - 1, 0)
        first_trades = np.searchsorted(received, begins_ns, "right")
        for place, begin, trade in zip(far.tolist(), first_quotes.tolist(), first_trades.tolist(), strict=True):
            end, paid = int(last[place]) + 1, float(price[place])
            before = self._traded[self._traded_ns > received[place] - QUOTE_NS]
            near = np.append(before, price[trade:place][~outside[trade:place]])
            low = min(float(self._bid[begin:end].min()), float(near.min(initial=np.inf)))
            high = max(float(self._ask[begin:end].max()), float(near.max(initial=-np.inf)))
            if not low * (1 - OUTSIDE) <= paid <= high * (1 + OUTSIDE):
                outside[place] = True
                self._farthest = max(self._farthest, 1 - paid / low if paid < low else paid / high - 1)
        return outside

    def findings(self) -> list[Finding]:
        """Return the trades outside."""
        if not self._outside.count:
            return []
        what = (
            f"{counted(self._outside.count, 'trade')} more than {100 * OUTSIDE:g} % outside of every quote "
            f"({self._source}) and trade of the second before, by up to {100 * self._farthest:.1f} %, "
            f"first at {self._outside.first}"
        )
        return [self._outside.finding("warning", self._stream, "outside_spread", what)]

    def unverified(self) -> list[str]:
        """Return nothing."""
        return []


class CandlesOfTrades:
    """Candles against the open, high, low, close and volume of the trades between their bounds.

    Args:
        facts: The candles' stream.
        trades: The trades'. CandleGrid between the first and the last of those, and not in a gap, are compared.
    """

    def __init__(self, facts: StreamFacts, trades: StreamFacts) -> None:
        self._stream = facts.stream
        self._trades = trades
        self._candles: dict[str, list[Column]] = {name: [] for name in _COLUMNS}
        self._files: list[tuple[int, str]] = []
        self._count = 0
        self._built: _Built | None = None
        self._first_ns: int | None = None
        self._last_ns = 0

    def candles(self, piece: RowPiece) -> None:
        """Take candles, all before the first trade."""
        if self._count > CANDLES_MAX:
            return
        self._count += piece.block.size
        for name in _COLUMNS:
            values = np.arange(piece.block.size) + piece.first_row if name == "row" else piece.column(name)
            self._candles[name].append(values)
        self._files.append((piece.block.size, piece.path))

    def take(self, piece: RowPiece) -> None:
        """Take trades."""
        if not self._count or self._count > CANDLES_MAX:
            return
        if self._built is None:
            self._built = _Built(*(np.concatenate(self._candles[name]) for name in ("open_ns", "close_ns")))
        sent = piece.column("exchange_ns")
        self._first_ns = int(sent.min()) if self._first_ns is None else min(self._first_ns, int(sent.min()))
        self._last_ns = max(self._last_ns, int(sent.max()))
        self._built.take(sent, piece.column("price"), piece.column("qty"))

    def findings(self) -> list[Finding]:
        """Return the candles that differ, with what differs in how many."""
        if self._built is None or self._first_ns is None:
            return []
        held = {name: np.concatenate(parts) for name, parts in self._candles.items()}
        inside = (held["open_ns"] >= self._first_ns) & (held["close_ns"] <= self._last_ns)
        for begin_ns, end_ns in self._trades.lost:
            inside &= (held["close_ns"] < begin_ns) | (held["open_ns"] > end_ns)
        built, rows = self._built, np.flatnonzero(inside)
        unit = _unit(held["volume"][rows], built.volume[rows])
        traded = built.count > 0
        wrong = {name: traded & (held[name] != getattr(built, name)) for name in ("open", "high", "low", "close")}
        wrong["volume"] = np.abs(held["volume"] - unit * built.volume) > _CLOSE * np.maximum(held["volume"], 1e-12)
        differing = np.flatnonzero(inside & np.any(list(wrong.values()), axis=0))
        if not differing.size:
            return []
        parts = ", ".join(f"{name} of {count:,}" for name, bad in wrong.items() if (count := int(bad[differing].sum())))
        places = tuple(self._place(held, row) for row in differing[:PLACES_KEPT].tolist())
        scaled = "" if unit == 1 else f"; one unit of their volume is {plain_share(1 / unit)} of the trades'"
        what = (
            f"{counted(len(differing), 'candle')} of {len(rows):,} differ from the trades that they summarise "
            f"({parts}), first opens at {places[0]}{scaled}"
        )
        name = str(self._stream)
        return [Finding("warning", name, what, "candle_differs", len(differing), places, name)]

    def _place(self, held: dict[str, Column], row: int) -> FindingPlace:
        opened, number = int(held["open_ns"][row]), int(held["row"][row])
        for count, path in self._files:
            if row < count:
                return FindingPlace(opened, file=path, row=number)
            row -= count
        raise IndexError(row)

    def unverified(self) -> list[str]:
        """Say so when there were too many."""
        if self._count > CANDLES_MAX:
            return [f"candles against trades: more than {CANDLES_MAX:,} candles at once; narrow the span"]
        return []


_COLUMNS: Final = ("open_ns", "close_ns", "open", "high", "low", "close", "volume", "row")


class _Built:
    """CandleGrid built of trades between given bounds, however the trades come."""

    def __init__(self, open_ns: Column, close_ns: Column) -> None:
        size = len(open_ns)
        self._open_ns = open_ns
        self._close_ns = close_ns
        self._first_ns = np.full(size, np.iinfo(np.int64).max)
        self._last_ns = np.full(size, np.iinfo(np.int64).min)
        self.open = np.zeros(size)
        self.close = np.zeros(size)
        self.high = np.full(size, -np.inf)
        self.low = np.full(size, np.inf)
        self.volume = np.zeros(size)
        self.count = np.zeros(size, np.int64)

    def take(self, sent: Column, price: Column, qty: Column) -> None:
        bar = np.searchsorted(self._open_ns, sent, "right") - 1
        inside = (bar >= 0) & (sent < self._close_ns[np.maximum(bar, 0)])
        bar, sent, price, qty = bar[inside], sent[inside], price[inside], qty[inside]
        if not bar.size:
            return
        if (np.diff(sent) < 0).any():
            order = np.argsort(sent, kind="stable")
            bar, sent, price, qty = bar[order], sent[order], price[order], qty[order]
        starts = np.flatnonzero(np.diff(bar, prepend=-1))
        stops = np.append(starts[1:], len(bar)) - 1
        bars = bar[starts]
        self.high[bars] = np.maximum(self.high[bars], np.maximum.reduceat(price, starts))
        self.low[bars] = np.minimum(self.low[bars], np.minimum.reduceat(price, starts))
        self.volume[bars] += np.add.reduceat(qty, starts)
        self.count[bars] += stops - starts + 1
        earlier = sent[starts] < self._first_ns[bars]
        self.open[bars[earlier]], self._first_ns[bars[earlier]] = price[starts[earlier]], sent[starts[earlier]]
        later = sent[stops] >= self._last_ns[bars]
        self.close[bars[later]], self._last_ns[bars[later]] = price[stops[later]], sent[stops[later]]


def _unit(given: Column, built: Column) -> float:
    """Return what the volume of trades is multiplied by in most candles: contracts are counted in coins, say."""
    known = (given > 0) & (built > 0)
    ratio = float(np.median(given[known] / built[known])) if known.any() else 1.0
    return 1.0 if abs(ratio - 1) < _CLOSE else ratio


def plain_share(value: float) -> str:
    """Return a factor as text."""
    return plain(round(value, 9)) if value >= 1e-9 else f"{value:g}"
