"""A run's statistics counted a second time, from its fills and the prices alone: exact money, plain loops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist, correlation, covariance, fmean, mean, quantiles, stdev, variance
from typing import Literal

from quantkit.instruments import Side
from quantkit.orders import Fill

DAY_NS = 86_400 * 10**9
YEAR_DAYS = 365
NOTHING = Fraction(0)


@dataclass(frozen=True)
class Market:
    """What one instrument was worth along a run.

    Attributes:
        prices: What it is valued on, by stamp, those of the run.
        kind: Of the profit: coins held, or a contract in its quote currency or in its coin.
        unit: What a size of one stands for: base units, of an inverse contract quote units.
        step: Of sizes; what is left below it is no position.
        rates: Settled funding by its moment.
        settled_at: What a rate is a share of, by stamp; the prices themselves where there are none.
        is_filled_first: Whether a price is looked at after the fill that it made, as a trade's is.
    """

    prices: Sequence[tuple[int, float]]
    kind: Literal["spot", "linear", "inverse"] = "linear"
    unit: Fraction = Fraction(1)
    step: Fraction = Fraction(1, 10**8)
    rates: Sequence[tuple[int, float]] = ()
    settled_at: Sequence[tuple[int, float]] = ()
    is_filled_first: bool = False

    def worth(self, price: float) -> Fraction:
        """Return what a size of one gains between two prices, as a difference of this."""
        return -self.unit / _exact(price) if self.kind == "inverse" else self.unit * _exact(price)

    def value(self, fill: Fill) -> Fraction:
        """Return what a fill moved."""
        return _exact(fill.qty) * abs(self.worth(fill.price))

    def fee(self, fill: Fill) -> Fraction:
        """Return a fill's fee in money; one in coins counts at its price."""
        return Fraction(fill.fee) * (_exact(fill.price) if self.takes_coins(fill) else 1)

    def takes_coins(self, fill: Fill) -> bool:
        """Return whether the fee is taken out of the coins bought."""
        return self.kind == "spot" and fill.side is Side.BUY

    def settled(self, at_ns: int) -> float:
        """Return the price at which funding settles."""
        return [price for stamp_ns, price in self.settled_at or self.prices if stamp_ns <= at_ns][-1]


@dataclass
class Trip:
    """A position from flat to flat."""

    entry_ns: int
    exit_ns: int = 0
    gain: Fraction = NOTHING
    entered: Fraction = NOTHING  # what its entries were worth

    @property
    def return_pct(self) -> float:
        """Its gain in per cent of the entries."""
        return float(100 * self.gain / self.entered)


@dataclass
class Book:
    """What is held of one instrument at its average cost, and what that has brought so far."""

    market: Market
    size: Fraction = NOTHING
    cost: Fraction = NOTHING  # what `size` was worth when it was bought
    realised: Fraction = NOTHING  # after fees and funding
    closed: list[Trip] = field(default_factory=list)
    trip: Trip | None = None

    def add(self, fill: Fill) -> None:
        """Take a fill; what goes through zero ends a trip and begins the next."""
        signed = _exact(fill.qty) if fill.side is Side.BUY else -_exact(fill.qty)
        each, fee = self.market.worth(fill.price), self.market.fee(fill)
        closing = NOTHING
        if self.size * signed < 0 and self.trip is not None:
            closing = max(signed, -self.size) if signed < 0 else min(signed, -self.size)
        if closing:
            assert self.trip is not None
            gain = -closing * (each - self.cost / self.size) - fee * closing / signed
            self.cost += closing * self.cost / self.size
            self.size += closing
            self._book(gain)
            if abs(self.size) < self.market.step:
                self.trip.exit_ns = fill.filled_ns
                self.closed.append(self.trip)
                self.trip = None
        opening = signed - closing
        if opening:
            if self.trip is None:
                self.trip = Trip(fill.filled_ns)
            self.trip.entered += abs(opening * each)
            # A fee in coins is bought with the rest and given away.
            kept = opening - Fraction(fill.fee) if self.market.takes_coins(fill) else opening
            self.cost += kept * each
            self.size += kept
            self._book(-fee * opening / signed)

    def _book(self, gain: Fraction) -> None:
        assert self.trip is not None
        self.realised += gain
        self.trip.gain += gain

    def pay(self, rate: float, price: float) -> Fraction:
        """Settle funding, and return what came of it; it is no part of a trip."""
        paid = -self.size * abs(self.market.worth(price)) * _exact(rate)
        self.realised += paid
        return paid

    def gain(self, price: float) -> Fraction:
        """Return what everything has brought, with what is held at a price."""
        return self.realised + self.size * self.market.worth(price) - self.cost


@dataclass
class Count:
    """Instruments that settle in one currency, in which the cash is; orders fill after the price that they answer.

    Attributes:
        fills: In order of time.
        markets: By instrument.
        cash: At the start.
        benchmark: The instrument that the run is held against.
        taker: The fee of closing what is open, as a share of its value.
        grid_ns: The equity is written down at each multiple of it and after each fill; looked at, with each price too.
    """

    fills: Sequence[Fill]
    markets: Mapping[str, Market]
    cash: Fraction
    start_ns: int
    end_ns: int
    benchmark: str
    taker: Fraction
    grid_ns: int

    def __post_init__(self) -> None:
        self.books = {name: Book(market) for name, market in self.markets.items()}
        self.funded, self.held_ns = NOTHING, 0
        self.looked: list[tuple[int, Fraction, bool]] = [(self.start_ns, self.cash, True)]  # and whether written down
        self.closes: list[Fraction] = []  # of days
        self.marks: list[float] = []  # of the benchmark, likewise
        self._run()

    # The run ----------------------------------------------------------------------------------------------------

    def _moments(self) -> Iterator[tuple[int, int, str, object]]:
        """Yield prices, the grid, settlements and fills in order: what comes at midnight belongs to the day after."""
        moments: list[tuple[int, int, str, object]] = []
        for name, market in self.markets.items():
            moments += [(at_ns, 4 if market.is_filled_first else 0, name, price) for at_ns, price in market.prices]
            moments += [(at_ns, 2, name, rate) for at_ns, rate in market.rates if self.start_ns < at_ns <= self.end_ns]
        grid = range((self.start_ns // self.grid_ns + 1) * self.grid_ns, self.end_ns + 1, self.grid_ns)
        moments += [(at_ns, 1, "", None) for at_ns in {*grid, self.end_ns}]
        moments += [(fill.filled_ns, 3, fill.instrument, fill) for fill in self.fills]
        yield from sorted(moments, key=lambda moment: moment[:2])

    def _run(self) -> None:
        last: dict[str, float] = {}
        before_ns = self.start_ns
        for at_ns, what, name, thing in self._moments():
            if any(book.trip for book in self.books.values()):
                self.held_ns += at_ns - before_ns
            before_ns = at_ns
            if what in (0, 4):
                assert isinstance(thing, float)
                last[name] = thing
            elif what == 2:
                assert isinstance(thing, float)
                self.funded += self.books[name].pay(thing, self.markets[name].settled(at_ns))
                continue  # it is seen at the next price
            elif what == 1:
                if at_ns % DAY_NS == 0 and at_ns < self.end_ns:
                    self.closes.append(self.equity(last))
                    self.marks.append(last[self.benchmark])
            else:
                assert isinstance(thing, Fill)
                self.books[name].add(thing)
            self.looked.append((at_ns, self.equity(last), what in (1, 3)))
        if any(book.trip for book in self.books.values()):
            self.held_ns += self.end_ns - before_ns
        self.closes.append(self.equity(last))
        self.marks.append(last[self.benchmark])
        self.last = last

    def equity(self, last: Mapping[str, float]) -> Fraction:
        """Return the cash with what each instrument has brought."""
        gains = (book.gain(last[name]) for name, book in self.books.items() if name in last)
        return self.cash + sum(gains, NOTHING)

    # Statistics -------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, float]:
        """Return what can be counted of fills and prices, by key; durations in nanoseconds."""
        return {**self._of_equity(), **self._of_days(), **self._of_trips(), **self._of_costs(), **self._of_falls()}

    def _of_equity(self) -> dict[str, float]:
        final = self.closes[-1]
        closing = NOTHING
        for name, book in self.books.items():
            tradable = abs(book.size) // book.market.step * book.market.step
            closing += self.taker * tradable * abs(book.market.worth(self.last[name]))
        return {
            "equity_start": float(self.cash),
            "equity_final": float(final),
            "equity_closed": float(final - closing),
            "equity_peak": float(max(equity for _, equity, is_row in self.looked if is_row)),
            "return_pct": float(100 * (final / self.cash - 1)),
            "exposure_time_pct": 100 * self.held_ns / (self.end_ns - self.start_ns),
        }

    def _of_days(self) -> dict[str, float]:
        returns = _changes([self.cash, *self.closes])
        first = self.markets[self.benchmark].prices[0][1]
        theirs = _changes([first, *self.marks])
        beyond = [a - b for a, b in zip(returns, theirs, strict=True)]
        slope = covariance(returns, theirs) / variance(theirs)
        year = math.sqrt(YEAR_DAYS)
        years = (self.end_ns - self.start_ns) / (365.25 * DAY_NS)
        annual = float(self.closes[-1] / self.cash) ** (1 / years) - 1
        cuts = quantiles(returns, n=20, method="inclusive")
        peaks = [max([self.cash, *self.closes[: n + 1]]) for n in range(len(self.closes))]
        falls = [NOTHING, *(close / peak - 1 for close, peak in zip(self.closes, peaks, strict=True))]
        growth = [math.log(close / self.cash) for close in self.closes]
        found = {
            "cagr_pct": 100 * annual,
            "volatility_pct": 100 * stdev(returns) * year,
            "sharpe_ratio": mean(returns) / stdev(returns) * year,
            "sortino_ratio": mean(returns) / math.sqrt(mean(min(each, 0) ** 2 for each in returns)) * year,
            "calmar_ratio": annual / -self.deepest(),
            "max_drawdown": self.deepest(),
            "value_at_risk": cuts[0],
            "expected_shortfall": fmean(sorted(returns)[: math.floor(0.05 * (len(returns) - 1)) + 1]),
            "ulcer_index": math.sqrt(fmean(float(fall) ** 2 for fall in falls)),
            "tail_ratio": abs(cuts[-1]) / abs(cuts[0]),
            "skew": _moment(returns, 3) * math.sqrt(len(returns) * (len(returns) - 1)) / (len(returns) - 2),
            "kurtosis": _excess(returns),
            "stability": correlation(range(len(growth)), growth) ** 2,
            "buy_and_hold_pct": 100 * (self.marks[-1] / first - 1),
            "beta": slope,
            "alpha_pct": 100 * ((1 + mean(returns) - slope * mean(theirs)) ** YEAR_DAYS - 1),
            "correlation": correlation(returns, theirs),
            "information_ratio": mean(beyond) / stdev(beyond) * year,
        }
        if len(returns) >= 20:
            ratio = mean(returns) / stdev(returns)
            spread = 1 - _moment(returns, 3) * ratio + (_moment(returns, 4) - 1) / 4 * ratio**2
            found["probabilistic_sharpe"] = NormalDist().cdf(ratio * math.sqrt((len(returns) - 1) / spread))
        return found

    def _of_trips(self) -> dict[str, float]:
        trips = [trip for book in self.books.values() for trip in book.closed]
        gains = [float(trip.gain) for trip in trips]
        won, lost = [gain for gain in gains if gain > 0], [gain for gain in gains if gain < 0]
        share, payoff = len(won) / len(gains), fmean(won) / -fmean(lost)
        lengths = [trip.exit_ns - trip.entry_ns for trip in trips]
        return {
            "trades": len(trips),
            "open_trades": sum(book.trip is not None for book in self.books.values()),
            "orders": len({fill.order_id for fill in self.fills}),
            "fills": len(self.fills),
            "unprotected_s": 0.0,  # of brackets, which no run that is counted has
            "unprotected_total_s": 0.0,
            "win_rate_pct": 100 * share,
            "best_trade_pct": max(trip.return_pct for trip in trips),
            "worst_trade_pct": min(trip.return_pct for trip in trips),
            "avg_trade_pct": fmean(trip.return_pct for trip in trips),
            "max_trade_duration": max(lengths),
            "avg_trade_duration": sum(lengths) // len(lengths),
            "profit_factor": sum(won) / -sum(lost),
            "expectancy": fmean(gains),
            "payoff_ratio": payoff,
            "sqn": math.sqrt(len(gains)) * mean(gains) / stdev(gains),
            "kelly_criterion": share - (1 - share) / payoff,
        }

    def _of_costs(self) -> dict[str, float]:
        paid = sum((self.markets[fill.instrument].fee(fill) for fill in self.fills), NOTHING)
        traded = sum((self.markets[fill.instrument].value(fill) for fill in self.fills), NOTHING)
        return {
            "fees_paid": float(paid),
            "funding_received": float(self.funded),
            "turnover": float(traded / mean([self.cash, *self.closes])),
        }

    def _of_falls(self) -> dict[str, float]:
        """Return what is said of every fall, from the last row at its peak to the first one back there."""
        highest = peak = self.cash
        since_ns, deepest = self.start_ns, NOTHING
        depths: list[float] = []
        lengths: list[int] = []
        between = NOTHING  # the deepest look since the row before
        for at_ns, equity, is_row in self.looked:
            highest = max(highest, equity)
            between = min(between, equity / highest - 1)
            if not is_row:
                continue
            if equity < peak:
                deepest, between = min(deepest, between, equity / peak - 1), NOTHING
                continue
            if deepest:
                # What was seen on the way back belongs to the fall.
                depths.append(float(min(deepest, between)))
                lengths.append(at_ns - since_ns)
            peak, since_ns, deepest, between = equity, at_ns, NOTHING, NOTHING
        if deepest:
            depths.append(float(deepest))
            lengths.append(self.end_ns - since_ns)
        return {
            "avg_drawdown": fmean(depths),
            "max_drawdown_duration": max(lengths),
            "avg_drawdown_duration": sum(lengths) / len(lengths),
        }

    def deepest(self) -> float:
        """Return the deepest fall from a peak, looked at each price and after each fill."""
        peak, deepest = self.cash, NOTHING
        for _, equity, _ in self.looked:
            peak = max(peak, equity)
            deepest = min(deepest, equity / peak - 1)
        return float(deepest)


def _exact(number: float) -> Fraction:
    """Return a price or a size as it is written."""
    return Fraction(repr(float(number)))


def _changes(values: Sequence[Fraction] | Sequence[float]) -> list[float]:
    return [float(after / before - 1) for before, after in pairwise(values)]


def _moment(values: Sequence[float], power: int) -> float:
    """Return a standardised central moment, without any correction for the number of values."""
    middle = fmean(values)
    second, wanted = (fmean((value - middle) ** k for value in values) for k in (2, power))
    return wanted / second ** (power / 2)


def _excess(values: Sequence[float]) -> float:
    count = len(values)
    return (count - 1) / ((count - 2) * (count - 3)) * ((count + 1) * (_moment(values, 4) - 3) + 6)
