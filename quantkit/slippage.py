"""How much worse than the traded price an order fills that takes, where only trades or candles are known: by name.

| name | worse by |
| --- | --- |
| `bps:N` | `N` basis points of the price; half a spread is stated the same way |
| `half_spread` | half of what bid and ask seem to be apart, at least half a price step |
| `sqrt:C` | `C * sigma * sqrt(size / volume)` of the price |

`half_spread`. On trades bid and ask are the last prices at which a seller and a buyer took. Candles show neither, so
the spread is estimated from their closes, highs and lows. With `c` the log close and `m` the middle of log high and
log low it is `sqrt(max(0, mean of 4 (c[t] - m[t]) (c[t] - m[t+1])))` of the price.
Source: Abdi and Ranaldo, "A Simple Estimation of Bid-Ask Spreads from Daily Close, High, and Low Prices", Review of
Financial Studies 30 (2017). It overstates where prices move much further in a bar than the spread is wide.

`sqrt:C`. `sigma` is the root of the mean squared log return from bar to bar, `volume` the mean of the bars' volumes,
`size` that of the fill. As `sigma` grows with the root of a bar's length and `volume` with the length, the product is
the same for bars of any length, so it is that of daily volatility and daily volume. `C` is about 1.
Source: Barra, "Market Impact Model Handbook" (1997); Grinold and Kahn, "Active Portfolio Management" (2000).
Almgren, Thum, Hauptmann and Li, "Direct Estimation of Equity Market Impact", Risk (July 2005), fit the power 0.6
in place of the root to orders that were worked over hours.

Only the past counts: the last `WINDOW` returns between bars that had closed before the row that fills. Bars are the
candles that match the orders, or minutes of trades.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from quantkit.errors import ConfigError

#: How many returns from bar to bar are looked back on.
WINDOW: Final = 20
#: With fewer returns than these nobody knows how far prices move.
_FEWEST: Final = 2
_LARGEST_FACTOR: Final = 100.0
_BPS: Final = 10_000
#: Every name; `N` and `C` stand for numbers.
SLIPPAGES: Final = ("half_spread", "bps:N", "sqrt:C")


class ClosedBar(NamedTuple):
    """What a candle, or a minute of trades, leaves behind."""

    high: float
    low: float
    close: float
    volume: float


class KnownPast(Protocol):
    """What is known of a market at a row: nothing of the row itself, nor of later ones."""

    @property
    def bars(self) -> Sequence[ClosedBar]:
        """The last bars that have closed, oldest first, at most one more than `WINDOW`."""
        ...

    @property
    def bought(self) -> float | None:
        """The last price at which a buyer took; None where nobody knows."""
        ...

    @property
    def sold(self) -> float | None:
        """The last price at which a seller took; None where nobody knows."""
        ...


class _Nothing:
    """No past."""

    bars: Sequence[ClosedBar] = ()
    bought: float | None = None
    sold: float | None = None


NOTHING_KNOWN: Final[KnownPast] = _Nothing()


class Slippage(ABC):
    """One model; it has no state of its own.

    Attributes:
        needs_past: Whether it looks back.
    """

    __slots__ = ()

    needs_past = True

    @abstractmethod
    def worse(self, price: float, sign: int, qty: float, step: float, past: KnownPast) -> float:
        """Return the price at which a fill takes.

        Args:
            price: What was traded.
            sign: 1 for a buy, -1 for a sell.
            qty: The size of the fill.
            step: The price step.
            past: What is known; empty for a model that does not look back.
        """


class BasisPoints(Slippage):
    """Always the same part of the price.

    Args:
        bps: That part.
    """

    __slots__ = ("_bps",)

    needs_past = False

    def __init__(self, bps: float) -> None:
        self._bps = bps

    def worse(self, price: float, sign: int, qty: float, step: float, past: KnownPast) -> float:
        return price * (1 + sign * self._bps / _BPS)


class HalfSpread(Slippage):
    """Half of what bid and ask seem to be apart."""

    __slots__ = ()

    def worse(self, price: float, sign: int, qty: float, step: float, past: KnownPast) -> float:
        if past.bought is not None and past.sold is not None:
            spread = past.bought - past.sold
        else:
            spread = price * estimated_spread(past.bars)
        return price + sign * max(spread, step) / 2


class SquareRoot(Slippage):
    """The square root of the size's part of the volume, by how far prices move.

    Args:
        factor: What the root is multiplied by.
    """

    __slots__ = ("_factor",)

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def worse(self, price: float, sign: int, qty: float, step: float, past: KnownPast) -> float:
        volume = mean_volume(past.bars)
        # Of an unknown volume the fill is taken to be all.
        share = qty / volume if volume > 0 else 1.0
        return price * (1 + sign * self._factor * volatility(past.bars) * math.sqrt(share))


def volatility(bars: Sequence[ClosedBar]) -> float:
    """Return the root of the mean squared log return from bar to bar; 0 with fewer than two returns.

    Examples:
        >>> bars = [ClosedBar(p, p, p, 1.0) for p in (100.0, 101.0, 100.0)]
        >>> round(volatility(bars), 6)
        0.00995
    """
    moves = [math.log(now.close / last.close) ** 2 for last, now in pairwise(bars) if last.close > 0 < now.close]
    return math.sqrt(math.fsum(moves) / len(moves)) if len(moves) >= _FEWEST else 0.0


def mean_volume(bars: Sequence[ClosedBar]) -> float:
    """Return the mean volume of the bars that have a return, NaN where one of them is unknown or there are none."""
    volumes = [bar.volume for bar in bars[1:]]
    return math.fsum(volumes) / len(volumes) if volumes else math.nan


def estimated_spread(bars: Sequence[ClosedBar]) -> float:
    """Return the spread as a fraction of the price, estimated from closes, highs and lows; 0 with fewer than two pairs.

    Examples:
        >>> bars = [ClosedBar(101.0, 99.0, close, 1.0) for close in (101.0, 99.0, 101.0)]
        >>> round(estimated_spread(bars), 4)
        0.02
    """
    terms = []
    for last, now in pairwise(bars):
        if last.low > 0 < now.low:
            close = math.log(last.close)
            middle, next_middle = ((math.log(bar.high) + math.log(bar.low)) / 2 for bar in (last, now))
            terms.append(4 * (close - middle) * (close - next_middle))
    return math.sqrt(max(0.0, math.fsum(terms) / len(terms))) if len(terms) >= _FEWEST else 0.0


def slippage_model(name: str) -> Slippage:
    """Return a model by name.

    Raises:
        ConfigError: There is no such model, or its number is none.
    """
    if isinstance(name, str):
        family, colon, text = name.partition(":")
        if name == "half_spread":
            return HalfSpread()
        if family in ("bps", "sqrt"):
            try:
                number = float(text)
            except ValueError:
                number = -1.0
            if family == "bps" and 0 <= number < _BPS:
                return BasisPoints(number)
            if family == "sqrt" and 0 < number <= _LARGEST_FACTOR:
                return SquareRoot(number)
            if family == "bps":
                raise ConfigError(f"slippage {name!r} needs basis points from 0 to below {_BPS}; for example bps:2")
            raise ConfigError(
                f"slippage {name!r} needs a factor above 0, at most {_LARGEST_FACTOR:g}; for example sqrt:1"
            )
        close = get_close_matches(family, ("half_spread", "bps", "sqrt"), n=1)
        if close:
            meant = "half_spread" if close == ["half_spread"] else close[0] + (colon + text if text else ":1")
            raise ConfigError(f"slippage is {name!r}; did you mean {meant}?")
    raise ConfigError(f"slippage is {name!r}; there are {', '.join(SLIPPAGES)}, for example sqrt:1")
