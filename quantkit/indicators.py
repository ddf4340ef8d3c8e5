"""Small incremental indicators: one number in, one number out, the same in replay and live.

Every indicator has `update(...)`, which returns the new value, `value` (a float; NaN before the first update) and
`is_ready`, true once the window is full. Until then `value` covers what is there so far. An update costs the same
whatever the window, and rolling sums never subtract: what has left the window leaves no rounding error behind,
however long the run. A window of equal prices gives exactly that price, so two averages of a flat market are equal.
Numbers that are not finite are refused, since one NaN would silence a recursive average for good.
"""

from collections.abc import Iterable
from itertools import accumulate
from math import inf, isfinite, nan, sqrt

from quantkit.errors import ConfigError, DataError

__all__ = ["Atr", "Bollinger", "Ema", "Rsi", "Sma", "Vwap", "Zscore"]


class _Indicator:
    """What all indicators share: the window, the value and whether the window is full."""

    __slots__ = ("is_ready", "value", "window")

    window: int
    value: float
    is_ready: bool

    def __init__(self, window: int, *, smallest: int = 1) -> None:
        if type(window) is not int or window < smallest:
            raise ConfigError(
                f"{type(self).__name__}: window is {window!r}; it must be a whole number of at least {smallest}"
            )
        self.window = window
        self.value = nan
        self.is_ready = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(window={self.window}, value={self.value}, is_ready={self.is_ready})"

    def _refuse(self, *numbers: float) -> DataError:
        return DataError(f"{type(self).__name__}: {', '.join(map(repr, numbers))} cannot be used; check the data")


def _tails(newest_first: Iterable[float]) -> list[float]:
    """Return the sums of the last 0, 1, 2, ... terms of a full block, without the sum of all of them.

    Rolling sums work in blocks of one window each. A window is the tail of the last block and what the current block
    holds: its sum is one tail, taken from the end of this list, plus a running sum. Nothing is ever subtracted.
    """
    tails = list(accumulate(newest_first, initial=0.0))
    tails.pop()
    return tails


class Sma(_Indicator):
    """Simple moving average: the mean of the last `window` prices.

    Args:
        window: Number of prices, at least 1.

    Raises:
        ConfigError: `window` is not a whole number of at least 1.

    Examples:
        >>> average = Sma(2)
        >>> average.update(1.0), average.update(2.0), average.update(4.0), average.is_ready
        (1.0, 1.5, 3.0, True)
    """

    __slots__ = ("_block", "_origin", "_sum", "_tails")

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self._block: list[float] = []
        self._tails: list[float] = []
        self._origin = 0.0
        self._sum = 0.0

    def update(self, price: float) -> float:
        """Take the next price and return the mean of the window.

        Raises:
            DataError: `price` is not finite.
        """
        tails = self._tails
        if not tails or not isfinite(price):
            return self._begin(price)
        self._block.append(price)
        origin = self._origin
        self._sum = total = self._sum + (price - origin)
        self.value = value = origin + (total + tails.pop()) / self.window
        return value

    def _begin(self, price: float) -> float:
        """Take a price while the first window fills, or the first one of a block."""
        if not isfinite(price):
            raise self._refuse(price)
        block = self._block
        if self.is_ready:
            block.reverse()
            # Sums of differences to a price inside the window lose no digits to a large common offset.
            self._tails = tails = _tails([old - price for old in block])
            self._block, self._origin, self._sum = [price], price, 0.0
            self.value = price + tails.pop() / self.window
            return self.value
        if not block:
            self._origin = price
        block.append(price)
        self._sum += price - self._origin
        self.value = self._origin + self._sum / len(block)
        self.is_ready = len(block) == self.window
        return self.value


class Ema(_Indicator):
    """Exponential moving average with `alpha = 2 / (window + 1)`, seeded with the first price.

    Equal to `pandas.Series.ewm(span=window, adjust=False).mean()`. It depends on every price since the first, so a
    strategy that must agree between runs needs the same warm-up in both.

    Args:
        window: The span, at least 1; `is_ready` after that many prices.

    Raises:
        ConfigError: `window` is not a whole number of at least 1.

    Examples:
        >>> average = Ema(3)
        >>> average.update(1.0), average.update(2.0), average.update(4.0)
        (1.0, 1.5, 2.75)
    """

    __slots__ = ("_alpha", "_count")

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self._alpha = 2.0 / (window + 1)
        self._count = 0

    def update(self, price: float) -> float:
        """Take the next price and return the average.

        Raises:
            DataError: `price` is not finite.
        """
        if not isfinite(price):
            raise self._refuse(price)
        if self.is_ready:
            value = self.value
            self.value = value = value + self._alpha * (price - value)
            return value
        if self._count:
            self.value += self._alpha * (price - self.value)
        else:
            self.value = price
        self._count += 1
        self.is_ready = self._count == self.window
        return self.value


class Rsi(_Indicator):
    """Relative strength index in [0, 100], with Wilder's smoothing; 50 while prices have not moved.

    The average gain and loss start as the mean of the first `window` changes; each later change enters with weight
    `1 / window`. Ready after `window` changes, that is `window + 1` prices.
    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978), section VI.

    Args:
        window: Number of changes, at least 1, usually 14.

    Raises:
        ConfigError: `window` is not a whole number of at least 1.

    Examples:
        >>> strength = Rsi(2)
        >>> [strength.update(price) for price in (10.0, 11.0, 10.0, 11.0)]
        [50.0, 100.0, 50.0, 75.0]
    """

    __slots__ = ("_count", "_gain", "_last", "_loss")

    def __init__(self, window: int = 14) -> None:
        super().__init__(window)
        self._count = -1  # changes seen; the first price brings none
        self._last = 0.0
        self._gain = 0.0
        self._loss = 0.0

    def update(self, price: float) -> float:
        """Take the next price and return the index.

        Raises:
            DataError: `price` is not finite.
        """
        if not isfinite(price):
            raise self._refuse(price)
        change = price - self._last
        self._last = price
        count, gain, loss = self._count, self._gain, self._loss
        if count < self.window:
            self._count = count = count + 1
            if not count:
                self.value = 50.0
                return self.value
            self.is_ready = count == self.window
        # Dividing by the count while it grows gives the plain mean that Wilder starts from.
        self._gain = gain = gain + ((change if change > 0 else 0.0) - gain) / count
        self._loss = loss = loss + ((-change if change < 0 else 0.0) - loss) / count
        moved = gain + loss
        self.value = value = 100.0 * (gain / moved) if moved > 0 else 50.0
        return value


class Atr(_Indicator):
    """Average true range in price units, with Wilder's smoothing.

    A candle's true range reaches from its low to its high, extended to the close before it; the first candle's is
    high - low. The average starts as the mean of the first `window` ranges, then each enters with weight `1 / window`.
    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978), section III.

    Args:
        window: Number of candles, at least 1, usually 14.

    Raises:
        ConfigError: `window` is not a whole number of at least 1.

    Examples:
        >>> width = Atr(2)
        >>> width.update(11.0, 9.0, 10.0), width.update(14.0, 13.0, 13.0), width.update(13.0, 12.0, 12.0)
        (2.0, 3.0, 2.0)
    """

    __slots__ = ("_close", "_count")

    def __init__(self, window: int = 14) -> None:
        super().__init__(window)
        self._close = 0.0
        self._count = 0

    def update(self, high: float, low: float, close: float) -> float:
        """Take the next candle and return the average range.

        Raises:
            DataError: A price is not finite, or `high` is below `low`.
        """
        # One chain catches NaN, infinities and a high below its low: all of them make a comparison false.
        if not (-inf < low <= high < inf and -inf < close < inf):
            raise self._refuse(high, low, close)
        count, value, before = self._count, self.value, self._close
        self._close = close
        if count:
            true_range = (high if high > before else before) - (low if low < before else before)
        else:
            true_range, value = high - low, 0.0
        if count < self.window:
            self._count = count = count + 1
            self.is_ready = count == self.window
        self.value = value = value + (true_range - value) / count
        return value


class _Moments(_Indicator):
    """Mean and population standard deviation of the last `window` prices."""

    __slots__ = ("_block", "_mean", "_origin", "_square_tails", "_squares", "_std", "_sum", "_tails")

    def __init__(self, window: int) -> None:
        super().__init__(window, smallest=2)
        self._block: list[float] = []
        self._tails: list[float] = []
        self._square_tails: list[float] = []
        self._origin = 0.0
        self._sum = 0.0
        self._squares = 0.0
        self._mean = nan
        self._std = nan

    def _add(self, price: float) -> None:
        if not isfinite(price):
            raise self._refuse(price)
        block = self._block
        if len(block) == self.window or not block:
            # The origin is a price of the window, so the squares stay within `window` times the window's own
            # variance: their difference below keeps its digits whatever the level of the prices.
            differences = [old - price for old in reversed(block)]
            self._tails = _tails(differences)
            self._square_tails = _tails([difference * difference for difference in differences])
            block.clear()
            self._origin = price
            self._sum = self._squares = 0.0
        block.append(price)
        difference = price - self._origin
        total = self._sum = self._sum + difference
        squares = self._squares = self._squares + difference * difference
        if self._tails:
            count = self.window
            total += self._tails.pop()
            squares += self._square_tails.pop()
        else:
            count = len(block)
            self.is_ready = count == self.window
        mean = total / count
        variance = squares / count - mean * mean
        self._mean = self._origin + mean
        self._std = sqrt(variance) if variance > 0 else 0.0


class Bollinger(_Moments):
    """Bollinger bands: the mean of the window and a band of population standard deviations around it.

    Attributes:
        middle, upper, lower: The bands; `value` is `middle`. NaN before the first update.

    Args:
        window: Number of prices, at least 2, usually 20.
        deviations: Half the width of the band in standard deviations, above zero.

    Raises:
        ConfigError: `window` or `deviations` is out of range.

    Examples:
        >>> bands = Bollinger(2)
        >>> bands.update(1.0), bands.update(3.0), bands.lower, bands.upper
        (1.0, 2.0, 0.0, 4.0)
    """

    __slots__ = ("deviations", "lower", "middle", "upper")

    def __init__(self, window: int = 20, *, deviations: float = 2.0) -> None:
        super().__init__(window)
        if not 0 < deviations < inf:
            raise ConfigError(f"Bollinger: deviations is {deviations!r}; it must be a finite number above zero")
        self.deviations = deviations
        self.middle = self.upper = self.lower = nan

    def update(self, price: float) -> float:
        """Take the next price, move the bands and return the middle one.

        Raises:
            DataError: `price` is not finite.
        """
        self._add(price)
        self.value = self.middle = self._mean
        width = self.deviations * self._std
        self.upper = self.middle + width
        self.lower = self.middle - width
        return self.value


class Zscore(_Moments):
    """How many population standard deviations the latest price lies above the window's mean; 0 while flat.

    Args:
        window: Number of prices, at least 2, the latest among them.

    Raises:
        ConfigError: `window` is not a whole number of at least 2.

    Examples:
        >>> score = Zscore(4)
        >>> [score.update(price) for price in (1.0, 1.0, 3.0, 3.0)][-1]
        1.0
    """

    __slots__ = ()

    def update(self, price: float) -> float:
        """Take the next price and return its score.

        Raises:
            DataError: `price` is not finite.
        """
        self._add(price)
        self.value = (price - self._mean) / self._std if self._std > 0 else 0.0
        return self.value


class Vwap(_Indicator):
    """Volume-weighted average price of the last `window` updates; the latest price while they hold no volume.

    Args:
        window: Number of updates, at least 1.

    Raises:
        ConfigError: `window` is not a whole number of at least 1.

    Examples:
        >>> average = Vwap(2)
        >>> average.update(10.0, 1.0), average.update(13.0, 2.0), average.update(16.0, 0.0)
        (10.0, 12.0, 13.0)
    """

    __slots__ = ("_block", "_origin", "_qty", "_qty_tails", "_sum", "_tails")

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self._block: list[tuple[float, float]] = []
        self._tails: list[float] = []
        self._qty_tails: list[float] = []
        self._origin = 0.0
        self._sum = 0.0
        self._qty = 0.0

    def update(self, price: float, qty: float) -> float:
        """Take the next price and its volume and return the weighted mean of the window.

        Raises:
            DataError: A number is not finite, or `qty` is below zero.
        """
        if not (-inf < price < inf and 0 <= qty < inf):
            raise self._refuse(price, qty)
        block = self._block
        if len(block) == self.window or not block:
            self._tails = _tails([(old - price) * volume for old, volume in reversed(block)])
            self._qty_tails = _tails([volume for _, volume in reversed(block)])
            block.clear()
            self._origin = price
            self._sum = self._qty = 0.0
        block.append((price, qty))
        total = self._sum = self._sum + (price - self._origin) * qty
        volume = self._qty = self._qty + qty
        if self._tails:
            total += self._tails.pop()
            volume += self._qty_tails.pop()
        else:
            self.is_ready = len(block) == self.window
        self.value = self._origin + total / volume if volume > 0 else price
        return self.value
