"""What a run is held against: buying an instrument at the start and holding it, day by day, without fees or funding."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union

import msgspec
import numpy as np

from quantkit.clock import NEVER_NS, NS_PER_DAY
from quantkit.engine.outcome import DailyMark, Outcome
from quantkit.errors import ConfigError, DataError
from quantkit.feeds.replay import StoredRows
from quantkit.report.metrics import FloatArray, IntArray, total_return
from quantkit.report.stats import daily_closes
from quantkit.rows.columns import Stream
from quantkit.rows.marks import prices_of

if TYPE_CHECKING:
    import pandas as pd

#: The id of an instrument, or prices by time.
BenchmarkLike: TypeAlias = Union[str, "pd.Series[Any]"]
#: Rows that say what an instrument is worth, the quickest to read first.
_KINDS: Final = ("candle", "mark", "trade", "ticker")


class Benchmark(msgspec.Struct, frozen=True, eq=False):
    """A price along the days of a run.

    Attributes:
        name: The instrument's id, or that of the prices given.
        days_ns: The UTC midnights at which the run's days begin, shape (n,).
        start: The price where the run begins, its first one within the run.
        closes: The price where each day ends, the last where the run does; NaN where there was none yet.
    """

    name: str
    days_ns: IntArray
    start: float
    closes: FloatArray

    @property
    def returns(self) -> FloatArray:
        """The return of each day as a fraction, the first from the run's beginning; NaN before there was a price."""
        before = np.append(self.start, self.closes)[:-1]
        # What begins later than the run has its first day's return from its own first price.
        first = int(np.argmax(np.isfinite(self.closes))) if np.isfinite(self.closes).any() else 0
        before[first] = self.start
        return np.asarray(self.closes / before - 1, np.float64)

    @property
    def return_pct(self) -> float | None:
        """What it gained over the run, in per cent."""
        last = float(self.closes[-1]) if len(self.closes) else math.nan
        gained = total_return(self.start, last) if math.isfinite(last) else None
        return None if gained is None else 100 * gained

    def __repr__(self) -> str:
        gained = self.return_pct
        change = "" if gained is None else f", {gained:+.2f} %"
        return f"<Benchmark {self.name}, {len(self.closes)} day{'' if len(self.closes) == 1 else 's'}{change}>"

    def kept(self) -> dict[str, Any]:
        """Return what a manifest says, JSON-ready; the days are the run's."""
        closes = [close if math.isfinite(close) else None for close in self.closes.tolist()]
        return {"name": self.name, "start": self.start, "closes": closes}


class Kept(msgspec.Struct):
    """A benchmark in a manifest."""

    name: str
    start: float
    closes: list[float | None]

    def along(self, outcome: Outcome) -> Benchmark:
        """Return it along the days of its run."""
        closes = np.array([math.nan if close is None else close for close in self.closes], np.float64)
        return Benchmark(self.name, daily_closes(outcome)[0], self.start, closes)


class GivenPrices(msgspec.Struct, frozen=True):
    """Prices that the user gave, as arrays in order of time.

    Attributes:
        name: The Series', or `benchmark`.
        time_ns: From when on each holds, shape (n,).
        prices: Above zero, shape (n,).
        is_daily: Whether they are closes of whole days: the last one then counts also for a run that ends within it.
    """

    name: str
    time_ns: IntArray
    prices: FloatArray
    is_daily: bool


def given_prices(benchmark: Any) -> GivenPrices | str | None:
    """Return a benchmark as it was given: prices as arrays, the id of an instrument, or None.

    Raises:
        ConfigError: It is none of these; the message shows one.
    """
    if benchmark is None or (isinstance(benchmark, str) and benchmark):
        return benchmark
    index, values = getattr(benchmark, "index", None), getattr(benchmark, "to_numpy", None)
    if index is None or values is None or not hasattr(index, "as_unit") or getattr(benchmark, "ndim", 1) != 1:
        raise ConfigError(
            f"benchmark is {type(benchmark).__name__}; give the id of an instrument, or a pandas Series of prices on a "
            "DatetimeIndex"
        )
    name = str(benchmark.name) if getattr(benchmark, "name", None) is not None else "benchmark"
    naive_ns = np.asarray(index.as_unit("ns").asi8, np.int64)
    is_daily = bool((naive_ns % NS_PER_DAY == 0).all())
    if index.tz is None and not is_daily:
        raise ConfigError(f"benchmark {name}: its times have no zone; localise them: series.tz_localize('UTC')")
    prices = np.asarray(values(dtype="float64", na_value=math.nan), np.float64)
    is_known = np.isfinite(prices)
    if not is_known.any() or not (prices[is_known] > 0).all():
        raise ConfigError(
            f"benchmark {name}: it holds no prices above zero; of returns make prices: (1 + returns).cumprod()"
        )
    time_ns, prices = naive_ns[is_known], prices[is_known]
    if not (np.diff(time_ns) > 0).all():
        raise ConfigError(f"benchmark {name}: its times do not rise; sort it: series.sort_index()")
    # A price on a whole day is that day's close, as a return is in `Result.returns`.
    return GivenPrices(name, time_ns + NS_PER_DAY if is_daily else time_ns, prices, is_daily)


def of_marks(outcome: Outcome, name: str) -> Benchmark | None:
    """Return an instrument of the run along its days; None where the run noted no mark of it."""
    return _of(outcome, name, [mark for mark in outcome.daily_marks if mark.instrument == name])


def _of(outcome: Outcome, name: str, marks: list[DailyMark]) -> Benchmark | None:
    if not marks:
        return None
    time_ns = np.array([mark.at_ns for mark in marks], np.int64)
    return _along(outcome, name, time_ns, np.array([mark.price for mark in marks], np.float64), outcome.end_ns)


def of_prices(outcome: Outcome, given: GivenPrices) -> Benchmark | None:
    """Return given prices along the days of a run; None where none of them is of its time."""
    until_ns = NEVER_NS if given.is_daily else outcome.end_ns
    return _along(outcome, given.name, given.time_ns, given.prices, until_ns)


def _along(outcome: Outcome, name: str, time_ns: IntArray, prices: FloatArray, until_ns: int) -> Benchmark | None:
    """Return prices along the days of a run: the last one at or before each end, the first as what it began with."""
    days_ns = daily_closes(outcome)[0]
    places = time_ns.searchsorted(np.minimum(days_ns + NS_PER_DAY, until_ns), "right") - 1
    closes = np.where(places >= 0, prices[np.maximum(places, 0)], math.nan)
    first = max(0, int(time_ns.searchsorted(outcome.start_ns, "right")) - 1)
    if not np.isfinite(closes).any():
        return None
    return Benchmark(name, days_ns, float(prices[first]), closes)


def stream_of(feed: StoredRows, name: str) -> Stream | None:
    """Return the stream of stored rows that an instrument is valued on as a benchmark, None without one."""
    held = [stream for stream in feed.coverage() if stream.instrument == name and stream.kind in _KINDS]
    return min(held, key=lambda stream: (_KINDS.index(stream.kind), stream.sort_key), default=None)


def of_rows(outcome: Outcome, feed: StoredRows, name: str) -> Benchmark | None:
    """Return an instrument that is stored beside those of the run along its days; None without rows in its time.

    Raises:
        DataError: They cannot be read.
    """
    stream = stream_of(feed, name)
    if stream is None:
        return None
    days_ns = daily_closes(outcome)[0]
    ends_ns = np.minimum(days_ns + NS_PER_DAY, outcome.end_ns)
    marks: list[DailyMark] = []
    for block in feed.rows(stream, outcome.start_ns, outcome.end_ns):
        received_ns, prices = block.column("received_ns"), prices_of(block)
        known = ~np.isnan(prices)
        received_ns, prices = received_ns[known], prices[known]
        if not len(prices):
            continue
        # A day's last row of this block, and the first row of all.
        rows = np.unique(np.append(received_ns.searchsorted(ends_ns, "right") - 1, 0 if not marks else -1))
        marks += [DailyMark(name, int(received_ns[row]), float(prices[row])) for row in rows if row >= 0]
    return _of(outcome, name, marks)


def check_known(given: GivenPrices | str | None, instruments: Iterable[str], feed: StoredRows | None) -> None:
    """Refuse the id of an instrument that neither the run nor its data have, before the run.

    Raises:
        ConfigError: The message names those of the run.
    """
    names = list(instruments)
    if isinstance(given, str) and given not in names and (feed is None or stream_of(feed, given) is None):
        where = "the run" if feed is None else "the run or its data as candles, marks, trades or tickers"
        raise ConfigError(f"benchmark {given!r} is no instrument of {where}; there is {', '.join(names)}")


def chosen(outcome: Outcome, given: GivenPrices | str | None, feed: StoredRows | None) -> Benchmark | None:
    """Return the benchmark that was asked for along the days of a run; None for the run's own choice.

    One without a price in the run's time, or with rows that cannot be read, is a warning of the run.
    """
    if given is None:
        return None
    try:
        if isinstance(given, str):
            found = of_marks(outcome, given) or (None if feed is None else of_rows(outcome, feed, given))
        else:
            found = of_prices(outcome, given)
        why = "it has no price in the time of the run"
    except DataError as error:
        found, why = None, str(error)
    if found is None:
        # The result of an hour's run is worth more.
        name = given if isinstance(given, str) else given.name
        outcome.warnings.append(f"benchmark {name}: {why}; the run is held against its own instrument instead")
    return found


def buy_and_hold(outcome: Outcome) -> dict[str, float]:
    """Return what each traded instrument gained over the run, in per cent, in the order of their first fills."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(fill.instrument for fill in outcome.fills):
        held = of_marks(outcome, name)
        gained = None if held is None else held.return_pct
        if gained is not None:
            found[name] = gained
    return found


def default_of(outcome: Outcome, instruments: Mapping[str, Any]) -> Benchmark | None:
    """Return the first traded instrument, or the first of the run where nothing was traded."""
    names = [fill.instrument for fill in outcome.fills[:1]] or list(instruments)[:1]
    return of_marks(outcome, names[0]) if names else None
