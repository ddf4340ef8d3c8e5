"""Candles built from trades: by time, by volume, by number of trades and by money."""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, bar_open_ns, interval_ns
from quantkit.errors import ConfigError, DataError
from quantkit.instruments import Instrument, decimal_of, off_grid, plain
from quantkit.rows.columns import Block

#: How much later than its stamp a trade may come and still be in its candle of time.
LATE_NS: Final = NS_PER_MIN
#: Columns of candles built from trades.
COLUMNS: Final = (
    "received_ns",
    "open_ns",
    "close_ns",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "trades",
    "has_gap",
)
_READ: Final = ("received_ns", "exchange_ns", "price", "qty")
#: Trades that are looked at first for the end of a bar of volume or money.
_FIRST_LOOK: Final = 256
_FINEST: Final = 12
_SMALL: Final = 2**62


class Prints(NamedTuple):
    """Trades as columns, in one order."""

    received_ns: NDArray[np.int64]
    exchange_ns: NDArray[np.int64]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]

    @classmethod
    def of(cls, parts: Sequence[Block]) -> "Prints":
        """Return the trades of blocks that follow each other."""
        return cls(*(np.concatenate([part.column(name) for part in parts]) for name in _READ))

    def where(self, rows: Any) -> "Prints":
        """Return some of them, by a slice, a mask or places."""
        return Prints(*(column[rows] for column in self))

    def then(self, others: "Prints") -> "Prints":
        """Return these and those after them."""
        return Prints(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))


class StepCounts(NamedTuple):
    """Numbers as whole multiples of one step, which add up exactly.

    Attributes:
        counts: How many steps each has.
        step: The step.
    """

    counts: NDArray[np.int64]
    step: Fraction

    @classmethod
    def of(cls, numbers: NDArray[np.float64], step: Decimal, what: str) -> "StepCounts":
        """Count numbers in steps, ten, a hundred ... times finer ones where some are off the step.

        Raises:
            DataError: No such step fits.
        """
        for digits in range(_FINEST + 1):
            finer = step.scaleb(-digits)
            per_unit = float(1 / Fraction(finer))
            if not off_grid(numbers, per_unit).any():
                return cls(np.rint(numbers * per_unit).astype(np.int64), Fraction(finer))
        raise DataError(f"{what} are on no step down to {plain(finer)}; `quantkit data check` says which")

    def sums(self, first: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the float nearest to the sum from each first row up to the next."""
        sums = np.add.reduceat(self.counts, first)
        # A quotient of whole numbers is correctly rounded.
        quotients: NDArray[np.float64] = sums * float(self.step.numerator) / float(self.step.denominator)
        return quotients


def time_bars(blocks: Iterator[Block], instrument: Instrument, interval: str) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield candles of time from trades, as columns, in order.

    A candle holds the trades with `open_ns <= exchange_ns < close_ns`, on UTC multiples of the interval (weeks from
    Monday), in order of the exchange's stamps and, of equal ones, of receipt. It is received with the last of them, and
    never before its own close. An interval without trades has no candle. The volume is the exact sum. A trade that
    comes more than a minute after its stamp may be missed: a candle is complete then.
    """
    waiting: Prints | None = None
    for block in blocks:
        new = Prints.of([block])
        waiting = new if waiting is None else waiting.then(new)
        cut_ns = bar_open_ns(int(waiting.received_ns[-1]) - LATE_NS, interval)
        early = waiting.exchange_ns < cut_ns
        if early.any():
            yield _time_bars(waiting.where(early), instrument, interval)
            waiting = waiting.where(~early)
    if waiting is not None and len(waiting.price):
        yield _time_bars(waiting, instrument, interval)


def _time_bars(prints: Prints, instrument: Instrument, interval: str) -> dict[str, NDArray[Any]]:
    if (prints.exchange_ns[1:] < prints.exchange_ns[:-1]).any():
        prints = prints.where(np.argsort(prints.exchange_ns, kind="stable"))
    length, origin_ns = interval_ns(interval), bar_open_ns(0, interval)
    opens = (prints.exchange_ns - origin_ns) // length * length + origin_ns
    first = np.concatenate(([0], np.flatnonzero(np.diff(opens)) + 1))
    bars = _bars(prints, instrument, first)
    closes = opens[first] + length
    received = np.maximum(closes, np.maximum.reduceat(prints.received_ns, first))
    return {**bars, "received_ns": received, "open_ns": opens[first], "close_ns": closes}


def size_bars(
    blocks: Iterator[Block], instrument: Instrument, *, unit: str, size: float | Decimal
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield candles of equal size from trades, as columns, in order of receipt.

    A candle ends with the trade that makes its sum reach `size`; a trade is never split, and what it has too much is
    not carried over. Sums are exact: of whole steps of size, and of price times size. The first candle begins with the
    first trade; one that is not full at the end is left out. `open_ns` and `close_ns` are the stamps of its first and
    last trade.

    Args:
        blocks: The trades.
        instrument: Theirs.
        unit: "volume" (coins, or contracts), "ticks" (trades) or "dollars" (the quote currency).
        size: At least one trade, or above zero.

    Raises:
        ConfigError: The size is not above zero.
    """
    if not 0 < size < math.inf or (unit == "ticks" and size != int(size)):
        wanted = "a whole number of trades, 1 or more" if unit == "ticks" else "a number above zero"
        raise ConfigError(f"{unit}={size}: give {wanted}")
    waiting: Prints | None = None
    for block in blocks:
        new = Prints.of([block])
        waiting = new if waiting is None else waiting.then(new)
        counts, step = _sizes(waiting, instrument, unit)
        edges = _edges(counts, -int(-Fraction(decimal_of(size)) // step))
        if len(edges) > 1:
            whole = waiting.where(slice(0, edges[-1]))
            first = np.array(edges[:-1], np.int64)
            last = np.array(edges[1:], np.int64) - 1
            yield {
                **_bars(whole, instrument, first),
                "received_ns": whole.received_ns[last],
                "open_ns": whole.exchange_ns[first],
                "close_ns": whole.exchange_ns[last],
            }
            waiting = waiting.where(slice(edges[-1], None))


def _sizes(prints: Prints, instrument: Instrument, unit: str) -> tuple[NDArray[Any], Fraction]:
    """Return what each trade adds, as whole numbers of a step, and the step."""
    if unit == "ticks":
        return np.ones(len(prints.price), np.int64), Fraction(1)
    qtys = StepCounts.of(prints.qty, instrument.qty_step, f"{instrument.id}: sizes of trades")
    if unit == "volume":
        return qtys.counts, qtys.step
    worth = Fraction(instrument.unit)
    if instrument.is_inverse:
        return qtys.counts, qtys.step * worth
    prices = StepCounts.of(prints.price, instrument.price_step, f"{instrument.id}: prices of trades")
    step = qtys.step * prices.step * worth
    if float(np.dot(qtys.counts.astype(np.float64), prices.counts)) < _SMALL:
        return qtys.counts * prices.counts, step
    # Python's whole numbers have no end.
    return qtys.counts.astype(object) * prices.counts.astype(object), step


def _edges(counts: NDArray[Any], target: int) -> list[int]:
    """Return where bars begin, and where the last whole one ends."""
    edges, begin, look = [0], 0, _FIRST_LOOK
    while begin < len(counts):
        sums = np.cumsum(counts[begin : begin + look])
        if sums[-1] < target:
            if begin + look >= len(counts):
                break
            look *= 2
            continue
        # All bars whose ends are in sight, before sums are taken anew.
        done = 0
        while True:
            found = int(np.searchsorted(sums, target + (int(sums[done - 1]) if done else 0)))
            if found >= len(sums):
                break
            done = found + 1
            edges.append(begin + done)
        begin += done
    return edges


def _bars(prints: Prints, instrument: Instrument, first: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return what candles of any kind have in common."""
    ends = np.concatenate((first[1:], [len(prints.price)]))
    return {
        "open": prints.price[first],
        "high": np.maximum.reduceat(prints.price, first),
        "low": np.minimum.reduceat(prints.price, first),
        "close": prints.price[ends - 1],
        "volume": StepCounts.of(prints.qty, instrument.qty_step, f"{instrument.id}: sizes of trades").sums(first),
        "trades": ends - first,
    }


def touched(open_ns: NDArray[np.int64], close_ns: NDArray[np.int64], gaps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which bars a gap overlaps.

    Args:
        open_ns, close_ns: Bounds of the bars.
        gaps: Shape (n, 2): from and to, in order.
    """
    found = np.zeros(len(open_ns), np.bool_)
    for from_ns, to_ns in gaps.tolist():
        found |= (open_ns <= to_ns) & (close_ns >= from_ns)
    return found
