"""The statistics of a result: their keys, names and units, and their computation from an outcome."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from quantkit.brokers.unprotected import mean_s, total_s
from quantkit.clock import NS_PER_DAY, NS_PER_US, datetime_of
from quantkit.engine.outcome import Outcome
from quantkit.errors import ConfigError
from quantkit.fees import Fees
from quantkit.instruments import EXACT, Instrument, decimal_of
from quantkit.orders import instrument_of
from quantkit.portfolio import Portfolio, shown
from quantkit.report import metrics
from quantkit.report.bootstrap import LEAST_DAYS, intervals
from quantkit.report.confidence import deflated_sharpe, probabilistic_sharpe
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.round_trips import Trips, fee_in_settlement

#: Crypto markets never close, so a year has 365 daily returns; libraries that assume 252 give other ratios.
PERIODS_PER_YEAR: Final = 365
#: Days with a return of both that a comparison with a benchmark needs.
LEAST_COMMON_DAYS: Final = 3
_NS_PER_YEAR: Final = 365.25 * NS_PER_DAY
_NOTHING: Final = Decimal(0)

Value: TypeAlias = float | int | str | datetime | timedelta | None
#: `pct` is already in per cent; `fraction` is shown in per cent but kept bare, as drawdowns are everywhere.
Form: TypeAlias = Literal["count", "duration", "fraction", "money", "number", "pct", "text", "time"]


class Stat(NamedTuple):
    """One number: its key in `Result.stats`, its name on screen, its form and what it means."""

    key: str
    label: str
    form: Form
    meaning: str


#: The one table behind `Result.stats`, the terminal summary, the notebook view and `--json`. Money is in the report
#: currency; amounts in other currencies are counted at the last marks. A name ends with its unit: `_pct` is per cent.
GROUPS: Final[dict[str, tuple[Stat, ...]]] = {
    "Run": (
        Stat("start", "Start", "time", "first moment of the run"),
        Stat("end", "End", "time", "last moment of the run"),
        Stat("duration", "Duration", "duration", "end less start"),
        Stat("ended", "Ended", "text", "completed, bankrupt, or strategy_error"),
        Stat("exposure_time_pct", "Exposure Time [%]", "pct", "share of the time with a position"),
    ),
    "Equity": (
        Stat("equity_start", "Equity Start", "money", "starting cash"),
        Stat("equity_final", "Equity Final", "money", "open positions valued at the last marks"),
        Stat("equity_closed", "Equity Final, Closed", "money", "after closing at the last marks, taker fees paid"),
        Stat("equity_peak", "Equity Peak", "money", "highest equity"),
        Stat("return_pct", "Return [%]", "pct", "final over starting equity"),
        Stat("cagr_pct", "CAGR [%]", "pct", "return per year, compounded; none for a run below one day"),
        Stat(
            "volatility_pct",
            "Volatility (Ann.) [%]",
            "pct",
            "deviation of daily returns, scaled to 365 days; none below one day",
        ),
    ),
    "Risk": (
        Stat("sharpe_ratio", "Sharpe Ratio", "number", "daily UTC returns, 365 a year; none below one day"),
        Stat("sortino_ratio", "Sortino Ratio", "number", "daily UTC returns, 365 a year; none below one day"),
        Stat("calmar_ratio", "Calmar Ratio", "number", "CAGR over the deepest drawdown"),
        Stat(
            "max_drawdown",
            "Max. Drawdown [%]",
            "fraction",
            "deepest fall from a peak, every mark looked at; those are named below",
        ),
        Stat(
            "drawdown_marks",
            "Drawdown Looked At",
            "text",
            "the marks that value what was traded; a fall between two of them is not seen",
        ),
        Stat("avg_drawdown", "Avg. Drawdown [%]", "fraction", "mean depth of all drawdowns"),
        Stat("max_drawdown_duration", "Max. Drawdown Duration", "duration", "longest time below a peak"),
        Stat("avg_drawdown_duration", "Avg. Drawdown Duration", "duration", "mean time below a peak"),
        Stat("value_at_risk", "Value at Risk (1d, 95 %) [%]", "fraction", "5th percentile of daily returns"),
        Stat("expected_shortfall", "Exp. Shortfall (1d, 95 %) [%]", "fraction", "mean of the worst 5 % of days"),
        Stat("ulcer_index", "Ulcer Index [%]", "fraction", "root mean square of the daily drawdown"),
        Stat("tail_ratio", "Tail Ratio", "number", "95th over 5th percentile of daily returns"),
        Stat("skew", "Skew", "number", "of daily returns"),
        Stat("kurtosis", "Kurtosis", "number", "of daily returns, excess"),
        Stat("stability", "Stability", "number", "R squared of the log growth"),
    ),
    "Benchmark": (
        Stat("benchmark", "Benchmark", "text", "compared with; the first traded instrument unless another is given"),
        Stat(
            "buy_and_hold_pct", "Buy & Hold Return [%]", "pct", "of the benchmark: its price alone, no fees or funding"
        ),
        Stat("alpha_pct", "Alpha (Ann.) [%]", "pct", "beyond beta times the benchmark, 365 days a year, compounded"),
        Stat("beta", "Beta", "number", "moves with the benchmark's daily returns"),
        Stat("correlation", "Correlation", "number", "of daily returns with the benchmark's"),
        Stat("information_ratio", "Information Ratio", "number", "daily returns beyond the benchmark's, 365 a year"),
    ),
    "Confidence": (
        Stat("return_low_pct", "Return, 5th percentile [%]", "pct", "of 2,000 resampled runs; needs 20 days"),
        Stat("return_high_pct", "Return, 95th percentile [%]", "pct", "of 2,000 resampled runs; needs 20 days"),
        Stat(
            "sharpe_low", "Sharpe, 5th percentile", "number", "of 2,000 resampled runs, 365 days a year; needs 20 days"
        ),
        Stat(
            "sharpe_high",
            "Sharpe, 95th percentile",
            "number",
            "of 2,000 resampled runs, 365 days a year; needs 20 days",
        ),
        Stat("block_days", "Bootstrap Block, Days", "number", "mean length of the blocks that are resampled"),
        Stat(
            "probabilistic_sharpe",
            "Prob. Sharpe Above 0",
            "number",
            "probability of a true ratio above 0; needs 20 days",
        ),
        Stat("deflated_sharpe", "Deflated Sharpe", "number", "likewise, above the best of all variants by luck"),
        Stat(
            "variants",
            "# Variants Tried",
            "count",
            "of the strategy over these data, this one included, as far as known",
        ),
    ),
    "Trades": (
        Stat("trades", "# Trades", "count", "closed round trips"),
        Stat("open_trades", "# Open Trades", "count", "positions left open at the end"),
        Stat("orders", "# Orders", "count", "orders sent"),
        Stat("fills", "# Fills", "count", "executions"),
        Stat("unprotected_s", "Unprotected [s]", "number", "mean wait of a bracket's fills for their stop or target"),
        Stat("unprotected_total_s", "Unprotected, Total [s]", "number", "time in which any size of them waited"),
        Stat("win_rate_pct", "Win Rate [%]", "pct", "closed trades with a profit after fees"),
        Stat("best_trade_pct", "Best Trade [%]", "pct", "of the entry value, after fees"),
        Stat("worst_trade_pct", "Worst Trade [%]", "pct", "of the entry value, after fees"),
        Stat("avg_trade_pct", "Avg. Trade [%]", "pct", "mean of all closed trades"),
        Stat("max_trade_duration", "Max. Trade Duration", "duration", "of closed trades"),
        Stat("avg_trade_duration", "Avg. Trade Duration", "duration", "of closed trades"),
        Stat("profit_factor", "Profit Factor", "number", "won over lost"),
        Stat("expectancy", "Expectancy", "money", "mean profit of a closed trade"),
        Stat("payoff_ratio", "Payoff Ratio", "number", "mean win over mean loss"),
        Stat("sqn", "SQN", "number", "system quality number"),
        Stat("kelly_criterion", "Kelly Criterion", "number", "share of the equity that grows it fastest"),
    ),
    "Costs": (
        Stat("fees_paid", "Fees Paid", "money", "all fills"),
        Stat("funding_received", "Funding Received", "money", "below zero when paid"),
        Stat("turnover", "Turnover", "number", "traded notional over mean equity"),
    ),
}
STATS: Final[dict[str, Stat]] = {stat.key: stat for group in GROUPS.values() for stat in group}
#: Statistics by what they may lack: a rate or a mark, a whole day, a closed trade.
_OF_MONEY: Final = frozenset(
    {"equity_closed", "fees_paid", "funding_received", "turnover"}
    | {"profit_factor", "expectancy", "payoff_ratio", "sqn", "kelly_criterion"}
)
_OF_YEARS: Final = frozenset({"cagr_pct", "volatility_pct", "sharpe_ratio", "sortino_ratio", "calmar_ratio"})
_OF_TRADES: Final = frozenset(stat.key for stat in GROUPS["Trades"])
_OF_BENCHMARK: Final = frozenset(stat.key for stat in GROUPS["Benchmark"])
_OF_CONFIDENCE: Final = frozenset(stat.key for stat in GROUPS["Confidence"])
#: What the equity is valued on, in a few words.
_LOOKED_AT: Final = {"mark": "every mark price", "ticker": "every mid", "book": "every mid", "trade": "every trade"}


def daily_closes(outcome: Outcome) -> tuple[IntArray, FloatArray]:
    """Return the UTC days of a run and the equity at the end of each.

    The grid's row at midnight closes the day before it: what is filled at that midnight belongs to the next day. The
    last day closes with the run. First and last day may be parts of one.

    Returns:
        The days' midnights, UTC ns, and the equities, both of shape (n,). A run that lost everything ends there.
    """
    first = outcome.start_ns // NS_PER_DAY
    # A run that ends as it starts, at midnight, still has a day.
    last = max(first, (outcome.end_ns - 1) // NS_PER_DAY)
    days = np.arange(first, last + 1, dtype=np.int64) * NS_PER_DAY
    curve, midnights = outcome.curve, days + NS_PER_DAY
    known = np.append(float(outcome.starting_equity), curve.equity)
    closes = known[np.searchsorted(curve.time_ns, midnights, side="right")]
    grid = np.flatnonzero(curve.is_grid)
    if len(grid):
        at = grid[np.minimum(np.searchsorted(curve.time_ns[grid], midnights), len(grid) - 1)]
        closes = np.where(curve.time_ns[at] == midnights, curve.equity[at], closes)
    closes[-1] = known[-1]
    lost = np.flatnonzero(closes <= 0)
    stop = int(lost[0]) + 1 if len(lost) else len(closes)
    return days[:stop], closes[:stop]


def daily_returns(outcome: Outcome) -> tuple[IntArray, FloatArray]:
    """Return the UTC days of a run and the return of each, as fractions; the first from the starting equity."""
    days, closes = daily_closes(outcome)
    start = float(outcome.starting_equity)
    if start <= 0:
        return days[:0], closes[:0]
    before = np.append(start, closes)[:-1]
    return days, closes / before - 1


class Rates:
    """What one unit of a currency is worth in the report currency, at the last marks of the run.

    Attributes:
        report_currency: The run's.
    """

    def __init__(self, outcome: Outcome, instruments: Mapping[str, Instrument]) -> None:
        self._ledger: Portfolio | None = None
        self.report_currency = outcome.report_currency
        try:
            self._ledger = Portfolio(
                {outcome.report_currency: 0},
                instruments.values(),
                report_currency=outcome.report_currency,
                mark_of=outcome.position_mark.get,
            )
        except ConfigError:
            # Without a pair for every currency only amounts in the report currency can be counted.
            self._ledger = None

    def missing(self, currencies: Iterable[str]) -> list[str]:
        """Return why currencies cannot be counted, a phrase for each that has no rate."""
        phrases = []
        for currency in dict.fromkeys(currencies):
            if self.of(currency) is None:
                via = None if self._ledger is None else self._ledger.converter(currency).id
                lack = "no instrument of the run converts it" if via is None else f"{via} had no price"
                phrases.append(f"{currency} cannot be counted in {self.report_currency}, as {lack}")
        return phrases

    def of(self, currency: str) -> Fraction | None:
        """Return the rate of one currency, None while it has no mark."""
        if currency == self.report_currency:
            return Fraction(1)
        return None if self._ledger is None else self._ledger.rate_exact(currency)

    def total(self, amounts: Mapping[str, Decimal]) -> Fraction | None:
        """Return a sum over currencies in the report currency, None when one of them cannot be counted."""
        total = Fraction(0)
        for currency, amount in amounts.items():
            rate = self.of(currency) if amount else Fraction(0)
            if rate is None:
                return None
            total += Fraction(amount) * rate
        return total


def equity_closed(
    outcome: Outcome, instruments: Mapping[str, Instrument], fees: Mapping[str, Fees], rates: Rates
) -> Decimal | None:
    """Return the final equity after closing every position, as far as it can be traded, at its last mark for a fee.

    Args:
        outcome: The run.
        instruments: Every instrument that traded, with the steps of the end.
        fees: The run's fee rates by instrument; one that is missing pays its preset.
        rates: Into the report currency.

    Returns:
        Amount in the report currency; None when a position has no mark or its currency no rate. No slippage and no
        price step is taken into account.
    """
    total = Fraction(outcome.equity)
    for leg, holding in outcome.position_qty.items():
        name = instrument_of(leg)
        instrument, mark = instruments[name], outcome.position_mark.get(name)
        qty = instrument.tradable_qty(holding)
        if not qty:
            continue
        rate = rates.of(instrument.settle_currency)
        if mark is None or rate is None:
            return None
        own, size = fees.get(name, Fees.preset_for(instrument)), qty.copy_abs()
        of_fill = own.of_fill(instrument, size, instrument.notional(size, decimal_of(mark)), is_maker=False)
        total -= Fraction(own.of_order(of_fill)) * rate
    return shown(total)


def falls_of(outcome: Outcome) -> metrics.Drawdowns:
    """Return the drawdowns of a run, from its starting equity on; none of a run that began with nothing."""
    start = float(outcome.starting_equity)
    if start <= 0:
        return metrics.drawdowns(np.empty(0, np.int64), np.empty(0))
    # The curve starts at the starting equity, also for a first row that comes later.
    curve = outcome.curve
    time_ns, equity = np.append(outcome.start_ns, curve.time_ns), np.append(start, curve.equity)
    return metrics.drawdowns(time_ns, equity, np.append(0.0, curve.drawdown))


def looked_at(outcome: Outcome, marks: Mapping[str, str]) -> str:
    """Return the marks that decide drawdowns, of what was traded: between two of them no fall is seen.

    A candle's mark is its close: its low is not looked at.

    Args:
        outcome: The run.
        marks: What each instrument is valued on, as in the configuration of a result.
    """
    traded = list(dict.fromkeys(fill.instrument for fill in outcome.fills)) or list(marks)
    kinds = dict.fromkeys(marks[name] for name in traded if name in marks)
    words = [
        f"closes of {kind.partition(' ')[2]}" if kind.startswith("candle ") else _LOOKED_AT.get(kind, kind)
        for kind in kinds
    ]
    return ", ".join(words) or "not known"


class Compared(Protocol):
    """What a run is held against."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def returns(self) -> FloatArray:
        """The return of each day of the run; NaN where it is not known."""
        ...

    @property
    def return_pct(self) -> float | None:
        """What it gained over the run, in per cent."""
        ...


def compute(
    outcome: Outcome,
    instruments: Mapping[str, Instrument],
    trips: Trips,
    fees: Mapping[str, Fees],
    *,
    marks: Mapping[str, str] | None = None,
    benchmark: Compared | None = None,
    other_variants: Sequence[float | None] = (),
) -> dict[str, Value]:
    """Return every number of `STATS`, in that order, as plain Python values; None where there is none.

    Args:
        outcome: The run.
        instruments: Every instrument that traded, with the steps of the end.
        trips: Its round trips.
        fees: Fee rates by instrument.
        marks: What each instrument is valued on.
        benchmark: What the run is held against.
        other_variants: The Sharpe ratio of each other variant that was tried, None where one had none.
    """
    rates = Rates(outcome, instruments)
    closed = equity_closed(outcome, instruments, fees, rates)
    found: dict[str, Value] = {
        "start": datetime_of(outcome.start_ns),
        "end": datetime_of(outcome.end_ns),
        "duration": _timedelta(outcome.end_ns - outcome.start_ns),
        "ended": outcome.ended,
        "equity_start": float(outcome.starting_equity),
        "equity_final": float(outcome.equity),
        "equity_closed": None if closed is None else float(closed),
        "orders": len(outcome.orders),
        "fills": len(outcome.fills),
        "unprotected_s": mean_s(outcome.unprotected),
        "unprotected_total_s": total_s(outcome.unprotected),
    }
    found.update(_of_curve(outcome))
    found["drawdown_marks"] = looked_at(outcome, marks or {})
    found.update(_of_benchmark(outcome, benchmark))
    found.update(_of_confidence(outcome, found["sharpe_ratio"], other_variants))
    found.update(_of_trips(trips, rates))
    found["exposure_time_pct"] = _pct(_exposure_time(outcome, trips))
    found.update(_of_costs(outcome, instruments, rates))
    return {key: found[key] for key in STATS}


class Missing(NamedTuple):
    """Statistics without a value, and the reason."""

    keys: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"no {', '.join(self.keys)}: {self.why}"


def missing(
    outcome: Outcome, instruments: Mapping[str, Instrument], trips: Trips, numbers: Mapping[str, Value]
) -> list[Missing]:
    """Return the statistics that have no value, by reason."""
    unknown = {key for key, value in numbers.items() if value is None}
    if not unknown:
        return []
    rates = Rates(outcome, instruments)
    settled = [instruments[fill.instrument].settle_currency for fill in outcome.fills]
    uncounted = rates.missing([*settled, *outcome.funding])
    unmarked = [
        f"{leg} is held and has no mark"
        for leg, qty in outcome.position_qty.items()
        if qty and outcome.position_mark.get(instrument_of(leg)) is None
    ]
    length = timedelta(microseconds=(outcome.end_ns - outcome.start_ns) // NS_PER_US)
    returns = daily_returns(outcome)[1]
    name, variants = numbers["benchmark"], numbers["variants"]
    is_short = len(returns) < LEAST_DAYS
    few = "there is one daily return"
    if len(returns) > 1:
        few = "the daily returns are too few or all alike, or the equity never fell"
    found = []
    for keys, holds, why in (
        (_OF_TRADES, not trips.closed, "no trade was closed"),
        (_OF_MONEY, bool(uncounted), "; ".join(uncounted)),
        ({"equity_closed"}, bool(unmarked), "; ".join(unmarked)),
        (_OF_YEARS, length < timedelta(days=1), f"the run lasted {length}, less than a day"),
        (_OF_BENCHMARK, name is None, "the run kept no daily marks; no price came, or an older quantkit saved it"),
        (_OF_BENCHMARK, len(returns) < LEAST_COMMON_DAYS, f"they need {LEAST_COMMON_DAYS} daily returns"),
        (_OF_CONFIDENCE, is_short, f"the run has {len(returns)} of the {LEAST_DAYS} daily returns that they need"),
        ({"deflated_sharpe"}, True, f"fewer than two of {variants} variants have a Sharpe ratio"),
        (_OF_TRADES, True, "the closed trades are too few, or all won, or all lost"),
        (STATS.keys(), outcome.starting_equity <= 0, "the run began with nothing"),
        (STATS.keys(), True, few),
    ):
        named = [key for key in STATS if key in unknown and key in keys]
        if holds and named:
            unknown -= set(named)
            found.append(Missing(tuple(named), why))
    return found


def _of_curve(outcome: Outcome) -> dict[str, Value]:
    """Return the numbers that come from the equity curve and the daily returns."""
    curve = outcome.curve
    start, final = float(outcome.starting_equity), float(outcome.equity)
    span_ns = outcome.end_ns - outcome.start_ns
    _, closes = daily_closes(outcome)
    _, returns = daily_returns(outcome)
    # Annualising hours gives numbers without meaning, also where they lie in two UTC days.
    is_annual = span_ns >= NS_PER_DAY
    annual = metrics.cagr(final / start, span_ns / _NS_PER_YEAR) if is_annual and start > 0 else None
    yearly = returns if is_annual else returns[:0]
    equity = np.append(start, curve.equity)
    depth = np.append(0.0, curve.drawdown)
    falls = falls_of(outcome)
    deepest = min(float(depth.min()), metrics.max_drawdown(equity) or 0.0) if start > 0 else None
    per_year = PERIODS_PER_YEAR
    return {
        "equity_peak": float(equity.max()),
        "return_pct": _pct(metrics.total_return(start, final)),
        "cagr_pct": _pct(annual),
        "volatility_pct": _pct(metrics.annualised_volatility(yearly, periods_per_year=per_year)),
        "sharpe_ratio": metrics.sharpe_ratio(yearly, periods_per_year=per_year),
        "sortino_ratio": metrics.sortino_ratio(yearly, periods_per_year=per_year),
        "calmar_ratio": metrics.calmar_ratio(annual, deepest),
        "max_drawdown": deepest,
        "avg_drawdown": metrics.avg_drawdown(falls),
        "max_drawdown_duration": _timedelta(metrics.max_drawdown_duration_ns(falls)),
        "avg_drawdown_duration": _timedelta(metrics.avg_drawdown_duration_ns(falls)),
        "value_at_risk": metrics.value_at_risk(returns),
        "expected_shortfall": metrics.expected_shortfall(returns),
        "ulcer_index": metrics.ulcer_index(np.append(start, closes)) if start > 0 else None,
        "tail_ratio": metrics.tail_ratio(returns),
        "skew": metrics.skewness(returns),
        "kurtosis": metrics.kurtosis(returns),
        "stability": metrics.stability(returns),
    }


def _of_benchmark(outcome: Outcome, benchmark: Compared | None) -> dict[str, Value]:
    """Return the numbers that hold daily returns against a benchmark's, over the days on which it has one."""
    if benchmark is None:
        return dict.fromkeys(_OF_BENCHMARK)
    _, returns = daily_returns(outcome)
    theirs = benchmark.returns
    is_both = np.isfinite(theirs[: len(returns)])
    # Two points always lie on a line.
    days = np.flatnonzero(is_both) if is_both.sum() >= LEAST_COMMON_DAYS else np.empty(0, np.int64)
    ours, theirs = returns[days], theirs[days]
    is_annual = outcome.end_ns - outcome.start_ns >= NS_PER_DAY
    yearly = (ours, theirs) if is_annual else (ours[:0], theirs[:0])
    return {
        "benchmark": benchmark.name,
        "buy_and_hold_pct": benchmark.return_pct,
        "alpha_pct": _pct(metrics.alpha(*yearly, periods_per_year=PERIODS_PER_YEAR)),
        "beta": metrics.beta(ours, theirs),
        "correlation": metrics.correlation(ours, theirs),
        "information_ratio": metrics.information_ratio(*yearly, periods_per_year=PERIODS_PER_YEAR),
    }


def _of_confidence(outcome: Outcome, sharpe: Value, others: Sequence[float | None]) -> dict[str, Value]:
    """Return how far return and Sharpe ratio can be trusted."""
    _, returns = daily_returns(outcome)
    found: dict[str, Value] = dict.fromkeys(_OF_CONFIDENCE)
    found["variants"] = 1 + len(others)
    if len(returns) < LEAST_DAYS:
        return found
    spread = intervals(returns, periods_per_year=PERIODS_PER_YEAR)
    if spread is not None:
        found["return_low_pct"], found["return_high_pct"] = (100 * each for each in spread.total_return)
        found["block_days"] = spread.block_days
    if spread is not None and spread.sharpe is not None:
        found["sharpe_low"], found["sharpe_high"] = spread.sharpe
    found["probabilistic_sharpe"] = probabilistic_sharpe(returns)
    own = sharpe if isinstance(sharpe, float) else None
    found["deflated_sharpe"] = deflated_sharpe(returns, [own, *others], periods_per_year=PERIODS_PER_YEAR)
    return found


def _exposure_time(outcome: Outcome, trips: Trips) -> float | None:
    """Return the share of the run with a round trip open: a remainder that cannot be traded is no position."""
    # Trips are stamped by the exchange's clock.
    start_ns, end_ns = outcome.start_ns - outcome.offset_ns, outcome.end_ns - outcome.offset_ns
    spans = [(trip.entry_ns, trip.exit_ns) for trip in trips.closed]
    spans += [(trip.entry_ns, end_ns) for trip in trips.open]
    entries, exits = np.array(spans, np.int64).reshape(-1, 2).T
    return metrics.exposure_time(entries, exits, start_ns=start_ns, end_ns=end_ns)


def _of_trips(trips: Trips, rates: Rates) -> dict[str, Value]:
    """Return the numbers that come from closed round trips; open ones are only counted."""
    closed = trips.closed
    returns_pct = np.array([trip.return_pct for trip in closed], np.float64)
    lengths = [trip.exit_ns - trip.entry_ns for trip in closed]
    pnl = np.array([float(trip.pnl) for trip in closed], np.float64)
    money = pnl
    # A trip without a rate still won or lost, but sums over trips need one currency.
    if any(trip.currency != rates.report_currency for trip in closed):
        converted = [rates.total({trip.currency: trip.pnl}) for trip in closed]
        is_one_currency = None not in converted
        money = np.array([float(amount) for amount in converted if amount is not None], np.float64)
        money = money if is_one_currency else money[:0]
    return {
        "trades": len(closed),
        "open_trades": len(trips.open),
        "win_rate_pct": _pct(metrics.win_rate(pnl)),
        "best_trade_pct": float(returns_pct.max()) if closed else None,
        "worst_trade_pct": float(returns_pct.min()) if closed else None,
        "avg_trade_pct": metrics.expectancy(returns_pct),
        "max_trade_duration": _timedelta(max(lengths)) if closed else None,
        "avg_trade_duration": _timedelta(sum(lengths) // len(lengths)) if closed else None,
        "profit_factor": metrics.profit_factor(money),
        "expectancy": metrics.expectancy(money),
        "payoff_ratio": metrics.payoff_ratio(money),
        "sqn": metrics.system_quality_number(money),
        "kelly_criterion": metrics.kelly_criterion(money),
    }


def _of_costs(outcome: Outcome, instruments: Mapping[str, Instrument], rates: Rates) -> dict[str, Value]:
    """Return what trading cost and how much was traded."""
    fees: dict[str, Decimal] = {}
    traded: dict[str, Decimal] = {}
    for fill in outcome.fills:
        instrument = instruments[fill.instrument]
        currency = instrument.settle_currency
        fees[currency] = EXACT.add(fees.get(currency, _NOTHING), fee_in_settlement(fill, instrument))
        traded[currency] = EXACT.add(traded.get(currency, _NOTHING), fill.value)
    paid, notional, received = rates.total(fees), rates.total(traded), rates.total(outcome.funding)
    _, closes = daily_closes(outcome)
    mean_over = np.append(float(outcome.starting_equity), closes)
    return {
        "fees_paid": None if paid is None else float(paid),
        "funding_received": None if received is None else float(received),
        "turnover": None if notional is None else metrics.turnover(float(notional), mean_over),
    }


def _pct(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _timedelta(length_ns: int | None) -> timedelta | None:
    return None if length_ns is None else timedelta(microseconds=length_ns // NS_PER_US)
