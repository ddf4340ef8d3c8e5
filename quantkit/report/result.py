"""The result of a run: the exact records, and pandas views built on first use."""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from quantkit.engine.outcome import Outcome
from quantkit.errors import ConfigError
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.orders import LIQUIDATION, PAUSED, Order
from quantkit.quality.quoted import UNKNOWN_QUALITY, DataQuality
from quantkit.report import archive, bounds, calendar, digest, frames, notebook, round_trips, stats, summary
from quantkit.report import benchmark as benchmarks
from quantkit.report.benchmark import Benchmark
from quantkit.report.console import console_of
from quantkit.report.execution import Execution
from quantkit.report.prices import UNKNOWN, Prices, PriceSource, streams_of
from quantkit.report.text import counted, decimals_for, money

if TYPE_CHECKING:
    import pandas as pd

    from quantkit.report.explain import Explanation
    from quantkit.report.plots import Plot
    from quantkit.report.repeat import Repeatable


#: As many as a reader compares.
_DRAWDOWNS: Final = 10


class Result:
    """The result of a backtest or a paper run.

    The exact records stand in `outcome`; tables are floats and stamps for analysis. Nothing in `stats` is NaN or
    infinite: a number that the run cannot give is None.

    Args:
        outcome: The records of the run.
        config: The run's configuration: a mapping or a `msgspec.Struct`. Its `fees` give the closing fee.
        instruments: Every instrument of the run, by id, as at its start.
        changes: Metadata that came into force in the course of the run, in order of time.
        prices: Where the rows of the run can be read again.
        sources: The strategy's code, by path below the folder in which its imports begin.
        benchmark: What the run is held against; None for the first traded instrument.
        data_quality: What the last check of the data folder said of what the run read.
        again: Where the inputs of the run come from, to repeat it.
    """

    def __init__(
        self,
        outcome: Outcome,
        config: Mapping[str, Any] | msgspec.Struct,
        instruments: Mapping[str, Instrument],
        changes: Iterable[Instrument] = (),
        *,
        prices: PriceSource = UNKNOWN,
        sources: Mapping[str, bytes] | None = None,
        benchmark: Benchmark | None = None,
        data_quality: DataQuality = UNKNOWN_QUALITY,
        again: "Repeatable | None" = None,
    ) -> None:
        self.outcome = outcome
        self.instruments = dict(instruments)
        self.instrument_changes = list(changes)
        self.sources = dict(sources or {})
        #: The run's configuration as JSON-ready values.
        self.config: dict[str, Any] = msgspec.to_builtins(config, enc_hook=_plain_value, str_keys=True)
        #: What the last check of the data folder said of what the run read; `not checked` for other data.
        self.data_quality = data_quality
        #: Where the result was saved or loaded from, if it was.
        self.saved_to: Path | None = None
        #: The Sharpe ratio of each other variant of the strategy that was tried on the same data, as far as is known.
        #: Set it before the statistics are asked for, which count them.
        self.other_variants: list[float | None] = []
        #: What the run came to with each model of its queues that ran beside it, the lower bound first; else empty.
        self.bounds: list[bounds.FillBound] = []
        self._given_benchmark = benchmark
        self._versions = {"quantkit": version("quantkit")}
        self._hash_encoding = digest.ENCODING
        self._price_source = prices
        self._again = again

    # Words ----------------------------------------------------------------------------------------------------

    @property
    def assumptions(self) -> list[str]:
        """Assumptions of the run: matching data, fees, latency, inferred steps, and between which bounds it lies."""
        if not self.bounds:
            return list(self.outcome.assumptions)
        words = bounds.sentence(self.bounds, self.outcome.report_currency, self.money_decimals)
        return [*self.outcome.assumptions, words]

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run: gaps, short warm-up, faulty data, and the reasons for missing statistics."""
        return [*self.outcome.warnings, *self.data_quality.faults, *map(str, self.missing)]

    @property
    def variants(self) -> int:
        """How many variants of the strategy were tried on the same data, this one included; 1 where nobody counted."""
        return 1 + len(self.other_variants)

    @cached_property
    def missing(self) -> list[stats.Missing]:
        """The statistics that the run cannot give, by reason."""
        return stats.missing(self.outcome, self.instruments, self.trips, self.numbers)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over orders, order events, fills, equity curve and final ledger; equal for equal runs.

        That of a loaded result covers what it covered when it was saved.
        """
        return digest.result_hash(self.outcome, self._hash_encoding)

    @property
    def manifest(self) -> dict[str, Any]:
        """The identity of the run, JSON-ready: versions, configuration, instruments, hash."""
        return {
            "hash": self.hash,
            "hash_encoding": self._hash_encoding,
            "versions": dict(self._versions),
            "config": self.config,
            "instruments": [each.to_dict() for each in (*self.instruments.values(), *self.instrument_changes)],
            "assumptions": list(self.outcome.assumptions),
            "warnings": self.warnings,
            "data_quality": msgspec.to_builtins(self.data_quality),
            **({"bounds": msgspec.to_builtins(self.bounds)} if self.bounds else {}),
            **({} if self._given_benchmark is None else {"benchmark": self._given_benchmark.kept()}),
        }

    # Numbers and tables ---------------------------------------------------------------------------------------

    @cached_property
    def trips(self) -> round_trips.Trips:
        """Closed and open round trips as exact records."""
        return round_trips.fold(
            self.outcome.fills,
            self.instruments,
            changes=self.instrument_changes,
            excursions=self.outcome.excursions,
            marks=self.outcome.position_mark,
        )

    @cached_property
    def numbers(self) -> dict[str, stats.Value]:
        """The statistics as a plain dict; `quantkit.report.stats.STATS` names and explains each."""
        # What can be closed at the end goes by the steps of the end.
        last = {**self.instruments, **{change.id: change for change in self.instrument_changes}}
        marks = self.config.get("marks")
        return stats.compute(
            self.outcome,
            last,
            self.trips,
            _fees_of(self.config, self.instruments),
            marks=marks if isinstance(marks, dict) else {},
            benchmark=self.benchmark,
            other_variants=self.other_variants,
        )

    @cached_property
    def stats(self) -> "pd.Series[Any]":
        """The statistics as a Series of plain Python values, snake_case keys.

        Keys ending in `_pct` are per cent; drawdowns are negative fractions; money is in the report currency.
        """
        import pandas as pd

        return pd.Series(list(self.numbers.values()), index=list(self.numbers), dtype=object, name="stats")

    @cached_property
    def equity(self) -> "pd.DataFrame":
        """`equity cash exposure drawdown` at every fill, every step of the grid, and the end, each moment once.

        Of several rows of one moment it is the last, with the deepest drawdown of them; `outcome.curve` has all.
        """
        return frames.equity_frame(self.outcome.curve)

    @cached_property
    def returns(self) -> "pd.Series[float]":
        """Daily UTC returns as fractions; the first and the last day may be parts of one."""
        return frames.returns_series(*stats.daily_returns(self.outcome))

    @cached_property
    def orders(self) -> "pd.DataFrame":
        """Every order, indexed by when it was sent."""
        return frames.orders_frame(self.outcome.orders)

    @cached_property
    def order_events(self) -> "pd.DataFrame":
        """Every change of an order's state, indexed by the exchange's stamp."""
        return frames.order_events_frame(self.outcome.order_events)

    @cached_property
    def fills(self) -> "pd.DataFrame":
        """Every execution, indexed by the exchange's stamp; fees paid are positive."""
        return frames.fills_frame(self.outcome.fills)

    @cached_property
    def liquidations(self) -> "pd.DataFrame":
        """The fills with which the exchange took positions over, as in `fills`; none in a run without margin."""
        return frames.fills_frame([fill for fill in self.outcome.fills if fill.order_id.startswith(LIQUIDATION)])

    @cached_property
    def funding(self) -> "pd.DataFrame":
        """What positions received at each funding boundary, indexed by that; below zero they paid."""
        return frames.funding_frame(self.outcome.funding_payments)

    @cached_property
    def round_trips(self) -> "pd.DataFrame":
        """Closed round trips, profit after fees; what is still open is in `open_trips`."""
        return frames.round_trips_frame(self.trips.closed)

    @cached_property
    def open_trips(self) -> "pd.DataFrame":
        """Positions that the end of the run found open, valued at the last marks."""
        return frames.open_trips_frame(self.trips.open)

    # Comparing and looking closer ---------------------------------------------------------------------------------

    @cached_property
    def benchmark(self) -> Benchmark | None:
        """What the run is held against along its days: the one that was given, or the first traded instrument.

        None where the run kept no daily marks.
        """
        return self._given_benchmark or benchmarks.default_of(self.outcome, self.instruments)

    @cached_property
    def buy_and_hold(self) -> dict[str, float]:
        """What the price of each traded instrument gained over the run, in per cent, without fees and funding."""
        return benchmarks.buy_and_hold(self.outcome)

    @property
    def intervals(self) -> dict[str, tuple[float, float]] | None:
        """Where `return_pct` and `sharpe_ratio` lie in 90 of 100 resampled runs, lowest and highest.

        None for a run of fewer than 20 days.
        """
        keys = {"return_pct": ("return_low_pct", "return_high_pct"), "sharpe_ratio": ("sharpe_low", "sharpe_high")}
        found = {
            key: (low, high)
            for key, (low_key, high_key) in keys.items()
            if isinstance(low := self.numbers[low_key], float) and isinstance(high := self.numbers[high_key], float)
        }
        return found or None

    @cached_property
    def monthly_returns(self) -> "pd.DataFrame":
        """Returns in per cent: a row a year, a column a month, and `Year`; NaN where the run had no day."""
        return calendar.monthly_frame(self.outcome)

    @cached_property
    def daily_table(self) -> "pd.DataFrame":
        """Returns in per cent as a calendar: a row a week by its Monday, a column a weekday."""
        return calendar.daily_frame(self.outcome)

    @cached_property
    def hourly_returns(self) -> "pd.DataFrame":
        """`mean_bps`, `t_value` and `count` of whole hours by weekday and UTC hour.

        Empty where the run has no whole hour, or where the grid of its curve (`equity_every`) leaves hours out.
        """
        return calendar.hourly_frame(self.outcome)

    @cached_property
    def drawdown_table(self) -> "pd.DataFrame":
        """The ten deepest drawdowns with `peak_time`, `trough_time`, `recovery_time`, `depth` and `duration`."""
        return calendar.drawdown_frame(self.outcome, _DRAWDOWNS)

    @cached_property
    def prices(self) -> Prices:
        """The price path of each instrument: what the run valued it on, read again row by row when asked for."""
        marks = self.config.get("marks")
        return Prices(self._price_source, streams_of(marks) if isinstance(marks, dict) else {}, self.outcome)

    @cached_property
    def execution(self) -> Execution:
        """How well its orders did: fill ratio, time in queue, quote uptime, markouts, inventory."""
        return Execution(self.outcome, self.instruments, self.prices)

    def explain(self, order_id: str | Order) -> "Explanation":
        """Return why an order filled at its price and size, or why not: print it, or take its `table`.

        The run is repeated up to the end of the order, with a close look at it: the same strategy over the same rows.
        For a saved result its code and the data folder have to be there still.

        Args:
            order_id: As in `orders`, or the order itself.

        Raises:
            ConfigError: There is no such order.
            DataError: The run cannot be repeated, or its repetition does other things than the run did.
        """
        from quantkit.report import explain, repeat

        if isinstance(order_id, Order):
            order_id = order_id.id
        if not isinstance(order_id, str):
            raise ConfigError(f"{order_id!r} is no order's id; give one such as 'bt1'")
        order = next((each for each in self.outcome.orders if each.id == order_id), None)
        if order is None:
            raise ConfigError(explain.no_such_order(order_id, self.outcome.orders))
        if order.reason == PAUSED or not any(event.order_id == order_id for event in self.outcome.order_events):
            # It never left, so no market has seen it.
            return explain.Explanation(order, self.outcome, self.instruments[order.instrument], None, self.config)
        again = self._again or repeat.Unrepeatable(repeat.why_not(self.config))
        trace, instrument = repeat.trace_of(again, self.outcome, order_id)
        return explain.Explanation(order, self.outcome, instrument, trace, self.config)

    # Keeping --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the result into a new folder: Parquet tables and `manifest.json`, whole or not at all.

        The price paths of traded instruments go with it, read once more and written a few rows at a time. Beside the
        recording of its live run the result refers to that instead.

        Returns:
            The folder.

        Raises:
            ConfigError: The folder is not empty or cannot be written.
        """
        extra = {
            "returns": self.returns.to_frame(),
            "round_trips": self.round_trips,
            "open_trips": self.open_trips,
        }
        # Who lists many results reads no tables.
        known = {"stats": summary.json_stats(self.numbers), "other_variants": self.other_variants}
        self.saved_to = archive.save(folder, self.outcome, {**self.manifest, **known}, extra, self.sources, self.prices)
        return self.saved_to

    @classmethod
    def load(cls, folder: str | Path) -> "Result":
        """Read a result that `save` wrote; its tables equal those of the run.

        Raises:
            DataError: There is no result, or its files were changed after saving.
        """
        from quantkit.report.repeat import FromManifest

        saved = archive.load(folder)
        digests = {place: sha256(code).hexdigest() for place, code in saved.sources.items()}
        held = [*saved.instruments.values(), *saved.changes]
        result = cls(
            saved.outcome,
            saved.config,
            saved.instruments,
            saved.changes,
            sources=saved.sources,
            prices=saved.prices,
            benchmark=saved.benchmark,
            data_quality=saved.data_quality,
            again=FromManifest(Path(folder) / archive.SOURCES, digests, saved.config, held),
        )
        result.other_variants = saved.other_variants
        result.bounds = saved.bounds
        result._versions, result._hash_encoding = saved.versions, saved.hash_encoding
        result.hash = saved.hash  # the tables give it: that was compared
        result.saved_to = Path(folder)
        return result

    def report(self, path: str | Path, *, open: bool = False) -> Path:  # noqa: A002
        """Write the result as one HTML file: numbers, charts, round trips, assumptions; it opens without a network.

        Args:
            path: The file; one that is there is replaced, whole or not at all.
            open: Whether to show it in the browser.

        Returns:
            The file.

        Raises:
            ConfigError: The file cannot be written.
        """
        from quantkit.report.page import file
        from quantkit.report.page.page import render

        target = Path(path)
        file.refuse_unwritable(target)
        file.write(target, render(self))
        if open:
            file.show(target)
        return target

    # Showing --------------------------------------------------------------------------------------------------

    def plot(self, start: str | int | date | None = None, end: str | int | date | None = None) -> "Plot":
        """Return price, position, equity and drawdown as a picture that a notebook shows and lets one zoom.

        Args:
            start, end: What is drawn: a day, a UTC time, or ns since 1970; default the whole run.

        Raises:
            ConfigError: Nothing of the run lies between them.
        """
        from quantkit.report.plots import Plot

        return Plot(self, start, end)

    @property
    def money_decimals(self) -> int:
        """The decimals in which amounts are shown so that the equity's changes can be seen; 2 or more."""
        equity = np.append(float(self.outcome.starting_equity), self.outcome.curve.equity)
        return decimals_for(float(equity.max() - equity.min()))

    def show(self) -> None:
        """Print the report that `quantkit backtest` prints, to standard output."""
        summary.render(self, console_of())

    def __repr__(self) -> str:
        numbers, outcome = self.numbers, self.outcome
        start, final = float(outcome.starting_equity), float(outcome.equity)
        decimals = self.money_decimals
        change = numbers["return_pct"]
        words = [
            f"{numbers['start']:%Y-%m-%d} to {numbers['end']:%Y-%m-%d}",
            f"equity {money(start, decimals)} -> {money(final, decimals)} {outcome.report_currency}"
            + ("" if change is None else f" ({change:+.2f} %)"),
            f"{numbers['trades']} trade{'' if numbers['trades'] == 1 else 's'}",
            counted(len(outcome.fills), "fill"),
        ]
        if outcome.ended != "completed":
            words.append(outcome.ended)
        if warnings := [*outcome.warnings, *self.data_quality.faults]:
            words.append(counted(len(warnings), "warning"))
        return f"<Result {', '.join(words)}>"

    def _repr_html_(self) -> str:
        return notebook.page(
            self.outcome,
            self.numbers,
            self.config,
            self.warnings,
            self.money_decimals,
            self.data_quality,
            self.execution,
        )


def _fees_of(config: Mapping[str, Any], instruments: Iterable[str]) -> dict[str, Fees]:
    """Return the fee rates that a configuration names, by instrument."""
    named = config.get("fees")
    if not isinstance(named, dict):
        return {}
    if "taker_bps" in named:
        return dict.fromkeys(instruments, msgspec.convert(named, Fees))
    return {name: msgspec.convert(value, Fees) for name, value in named.items() if value is not None}


def _plain_value(value: Any) -> Any:
    """Turn what JSON does not know into text or fields, for the configuration."""
    if isinstance(value, Instrument):
        return value.to_dict()
    return str(value)
