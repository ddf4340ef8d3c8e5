"""A run's statistics counted a second time, from its fills and the prices alone: exact money, plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from statistics import correlation, covariance, mean, stdev, variance

from quantkit.instruments import Side
from quantkit.orders import Fill

DAY_NS = 86_400 * 10**9
YEAR_DAYS = 365


@dataclass
class Count:
    """One linear contract, one currency, no funding; orders fill at the open after a candle.

    Attributes:
        fills: In order of time, fees in the currency of the cash.
        prices: Closes of candles by their stamp, those of the run.
        unit: Base units of a contract.
        cash: At the start.
    """

    fills: Sequence[Fill]
    prices: Sequence[tuple[int, float]]
    unit: Fraction
    cash: Fraction
    start_ns: int
    end_ns: int
    closes: list[Fraction] = field(default_factory=list)  # of days
    marks: list[float] = field(default_factory=list)  # likewise

    def __post_init__(self) -> None:
        self.closes, self.marks = [], []
        midnight_ns = (self.start_ns // DAY_NS + 1) * DAY_NS
        while midnight_ns < self.end_ns:
            # What fills at midnight belongs to the day that begins.
            self._close([fill for fill in self.fills if fill.filled_ns < midnight_ns], midnight_ns)
            midnight_ns += DAY_NS
        self._close(self.fills, self.end_ns)

    def _close(self, fills: Sequence[Fill], until_ns: int) -> None:
        last = [price for at_ns, price in self.prices if at_ns <= until_ns][-1]
        self.closes.append(self.equity(fills, last))
        self.marks.append(last)

    def equity(self, fills: Sequence[Fill], mark: float) -> Fraction:
        """Return cash, less fees, with what each fill has gained at a mark."""
        gains = (self._signed(fill) * (_exact(mark) - _exact(fill.price)) - Fraction(fill.fee) for fill in fills)
        return self.cash + sum(gains, Fraction(0))

    def _signed(self, fill: Fill) -> Fraction:
        size = _exact(fill.qty) * self.unit
        return size if fill.side is Side.BUY else -size

    # Statistics -------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, float]:
        """Return what can be counted of fills and prices, by key."""
        returns = _changes([float(self.cash), *map(float, self.closes)])
        theirs = _changes([self.prices[0][1], *self.marks])
        beyond = [a - b for a, b in zip(returns, theirs, strict=True)]
        slope = covariance(returns, theirs) / variance(theirs)
        year = math.sqrt(YEAR_DAYS)
        years = (self.end_ns - self.start_ns) / (365.25 * DAY_NS)
        growth, deepest = float(self.closes[-1] / self.cash), self.deepest()
        won = [float(gain) for gain in self.trips() if gain > 0]
        lost = [float(gain) for gain in self.trips() if gain < 0]
        traded = sum(_exact(fill.qty) * self.unit * _exact(fill.price) for fill in self.fills)
        ordered = sorted(returns)
        place = 0.05 * (len(ordered) - 1)
        low = math.floor(place)
        annual = growth ** (1 / years) - 1
        return {
            "equity_final": float(self.closes[-1]),
            "return_pct": 100 * (growth - 1),
            "cagr_pct": 100 * annual,
            "volatility_pct": 100 * stdev(returns) * year,
            "sharpe_ratio": mean(returns) / stdev(returns) * year,
            "sortino_ratio": mean(returns) / math.sqrt(mean(min(each, 0) ** 2 for each in returns)) * year,
            "calmar_ratio": annual / -deepest,
            "max_drawdown": deepest,
            "value_at_risk": ordered[low] + (place - low) * (ordered[low + 1] - ordered[low]),
            "expected_shortfall": mean(ordered[: low + 1]),
            "buy_and_hold_pct": 100 * (self.marks[-1] / self.prices[0][1] - 1),
            "beta": slope,
            "alpha_pct": 100 * ((1 + mean(returns) - slope * mean(theirs)) ** YEAR_DAYS - 1),
            "correlation": correlation(returns, theirs),
            "information_ratio": mean(beyond) / stdev(beyond) * year,
            "trades": len(self.trips()),
            "win_rate_pct": 100 * len(won) / len(self.trips()),
            "profit_factor": sum(won) / -sum(lost),
            "expectancy": float(sum(self.trips(), Fraction(0))) / len(self.trips()),
            "payoff_ratio": mean(won) / -mean(lost),
            "fees_paid": float(sum((Fraction(fill.fee) for fill in self.fills), Fraction(0))),
            "turnover": float(traded) / mean([float(self.cash), *map(float, self.closes)]),
        }

    def deepest(self) -> float:
        """Return the deepest fall from a peak, looked at each close and after each fill."""
        moments = [(at_ns, 0, price) for at_ns, price in self.prices]
        moments += [(fill.filled_ns, 1, 0.0) for fill in self.fills]
        position = paid = Fraction(0)
        mark, peak, deepest, left = 0.0, self.cash, Fraction(0), list(self.fills)
        for _, is_fill, price in sorted(moments, key=lambda moment: moment[:2]):
            if is_fill:
                fill = left.pop(0)
                position += self._signed(fill)
                paid += self._signed(fill) * _exact(fill.price) + Fraction(fill.fee)
            else:
                mark = price
            equity = self.cash + position * _exact(mark) - paid
            peak = max(peak, equity)
            deepest = min(deepest, equity / peak - 1)
        return float(deepest)

    def trips(self) -> list[Fraction]:
        """Return the profit of each position from flat to flat after fees; what goes through zero begins the next."""
        found, position, gain = [], Fraction(0), Fraction(0)
        for fill in self.fills:
            signed, fee = self._signed(fill), Fraction(fill.fee)
            closing = signed if position * signed < 0 and abs(signed) <= abs(position) else Fraction(0)
            if position * signed < 0 and abs(signed) > abs(position):
                closing = -position
            if closing:
                gain -= closing * _exact(fill.price) + fee * closing / signed
                position += closing
                if position == 0:
                    found.append(gain)
                    gain = Fraction(0)
            opening = signed - closing
            if opening:
                gain -= opening * _exact(fill.price) + fee * opening / signed
                position += opening
        return found


def _exact(number: float) -> Fraction:
    """Return a price or a size as it is written."""
    return Fraction(repr(float(number)))


def _changes(values: Sequence[float]) -> list[float]:
    return [after / before - 1 for before, after in pairwise(values)]
