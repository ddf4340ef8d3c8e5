"""The check of a strategy: which runs it takes, in which processes, and in which order."""

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from quantkit.clock import NS_PER_MS, NS_PER_S, duration_ns, iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.fees import Fees
from quantkit.latency import Latency
from quantkit.loading import source_of_strategy_class
from quantkit.proving import judge
from quantkit.proving.altered import Alteration, Future
from quantkit.proving.compare import FirstDifference, first_difference
from quantkit.proving.jobs import TIMED_OUT, ChildReport, Job, RunRecord, RunSpec, middle_ns
from quantkit.proving.pool import ChildPool
from quantkit.proving.verdict import (
    COLUMNS,
    DETERMINISM,
    FAIL,
    FEES,
    LATENCY,
    LOOK_AHEAD,
    MATCHING,
    QUESTIONS,
    STATE,
    UNTOLD,
    CheckRow,
    StrategyCheck,
    Variant,
)
from quantkit.proving.witness import Reach
from quantkit.proving.world import FACTORS, HOME, OTHERS, World, alone
from quantkit.strategy import Strategy

if TYPE_CHECKING:
    import pandas as pd

    from quantkit.storage.catalog import Catalog

#: Where a run is cut, by its decisions, and what is altered after that.
_CUTS: Final[tuple[tuple[float, Alteration], ...]] = (
    (0.15, "moved"),
    (0.35, "shuffled"),
    (0.5, "shortened"),
    (0.65, "removed"),
    (0.85, "moved"),
)
#: An altered future is given for so much of the span: what is compared lies before it.
_FUTURE: Final = 0.05
_LATENCIES: Final = (0.0, 2.0, 5.0)
_RATES: Final = (0.5, 2.0)
_ASSUMPTIONS: Final = frozenset((LATENCY, FEES, MATCHING))
_COLUMNS_MAX: Final = 8
#: Keywords of `backtest` that a check takes.
OPTIONS: Final = frozenset(
    (
        *("start", "end", "interval", "strict", "cash", "report_currency", "fees", "latency_ms", "match_on"),
        *("instruments", "max_leverage", "margin", "leverage", "tiers", "position_mode", "seed"),
        *("stale_after", "equity_every", "touch"),
        *("excess_slippage_bps", "slippage_bps", "slippage", "max_share", "queue_model", "own_side_prints"),
        *("latency", "compute", "block_rows"),
    )
)


def check(
    strategy: Strategy | type[Strategy] | str,
    *,
    data: "str | Path | Catalog | Mapping[str, pd.DataFrame]" = "data",
    start: str | int | date | None = None,
    end: str | int | date | None = None,
    params: Mapping[str, Any] | None = None,
    only: Collection[str] = QUESTIONS,
    allow: Collection[str] = (),
    workers: int | None = None,
    timeout: str | timedelta = "10m",
    save_compute: str | Path | None = None,
    progress: Callable[[int, str], None] | None = None,
    **options: Any,
) -> StrategyCheck:
    """Look for what would make a strategy's backtest a fiction: look-ahead, chance, state, frail assumptions.

    The strategy runs some twenty times in processes of its own, without a network. It stands in a file: what is typed
    into a notebook cannot be loaded by another process.

    Args:
        strategy: A file, a name in `strategies/`, `module:Class`, a class, or a built strategy.
        data: A data folder or URI, or OHLCV frames by instrument id.
        start, end: Span, UTC; default as for `backtest`.
        params: Parameters, when `strategy` is a class or text.
        only: The questions to answer, such as `look-ahead`; fewer take fewer runs.
        allow: Names or patterns of files that the strategy may read.
        workers: Processes at a time; default the number of processors, at most 4.
        timeout: What one run may take.
        save_compute: A file for how long the strategy took to each message, for `compute="file:..."` of `backtest`.
        progress: Called with (runs done, a name) as runs end.
        options: Other options of `backtest`.

    Raises:
        ConfigError: The call is wrong, or the strategy cannot be loaded.
        DataError: Data are missing or bad.
    """
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        raise ConfigError(
            f"check has no option {unknown[0]!r}; it takes those of backtest: {', '.join(sorted(OPTIONS))}"
        )
    for question in only:
        if question not in QUESTIONS:
            raise ConfigError(f"a check asks nothing called {question!r}; it asks {', '.join(QUESTIONS)}")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; give 1 or more")
    text, given = _named(strategy, params)
    chosen = {name: value for name, value in {"start": start, "end": end, **options}.items() if value is not None}
    job = Job(text, given, _data(data), chosen, list(sys.path), HOME, [])
    count = workers or min(4, os.cpu_count() or 1)
    with ChildPool(count, duration_ns(timeout) / NS_PER_S, progress) as pool:
        checking = _Checking(job, pool, count, tuple(allow), frozenset(only), is_timed=save_compute is not None)
        checked = checking.run()
    if save_compute is None:
        return checked
    if not checking.times_ns:
        raise ConfigError(f"{text} sent nothing, so there is no time to save; leave save_compute out (--save-compute)")
    compute = Latency.measured([ns / NS_PER_MS for ns in checking.times_ns], f"compute of {Path(text).stem}")
    compute.save(save_compute)
    return msgspec.structs.replace(checked, compute=compute.describe())


class _Further(NamedTuple):
    """Runs beside the first ones."""

    futures: list[tuple[Future, RunRecord]]
    late: dict[str, RunRecord]
    variants: list[Variant]
    order: list[RunRecord]  # the second half, and the whole after it
    elsewhere: list[RunRecord]  # in other worlds


class _Checking:
    """One check.

    Args:
        job: Strategy, data and options.
        pool: Does the runs.
        workers: How many processes there are.
        allowed: Files that the strategy may read.
        only: The questions to answer.
        is_timed: Whether it is counted how long the strategy takes to each message.

    Attributes:
        times_ns: These times.
    """

    def __init__(
        self,
        job: Job,
        pool: ChildPool,
        workers: int,
        allowed: Sequence[str],
        only: frozenset[str],
        *,
        is_timed: bool = False,
    ) -> None:
        self.times_ns: list[int] = []
        self._is_timed = is_timed
        self._job = job
        self._pool = pool
        self._workers = workers
        self._allowed = allowed
        self._only = only
        self._reports: list[ChildReport] = []

    def run(self) -> StrategyCheck:
        """Do the runs and return the verdict."""
        is_repeated = bool(self._only & {STATE, LOOK_AHEAD})
        again = [RunSpec("again"), RunSpec("half", is_half=True)] if is_repeated else []
        (home,) = self._do([(HOME, [RunSpec("as it is", is_measured=True, is_timed=self._is_timed), *again])])
        _refuse_no_run(home)
        base = home.runs[0]
        self.times_ns = base.times_ns
        if base.error:
            return self._told(base, [CheckRow("run", FAIL, base.error, "raises"), *self._reach_rows()], [])
        worlds = OTHERS if self._only & {DETERMINISM, LOOK_AHEAD, STATE} else ()
        is_clean = not is_repeated or (first_difference(base, home.runs[1]) is None and not self._rewritten())
        further = self._further(base, worlds, is_clean=is_clean)
        rows, differs_anyway = self._determinism(base, further.elsewhere)
        if is_repeated:
            pairs = [(base, home.runs[1]), (base, further.order[1]), (further.order[0], home.runs[2])]
            state = judge.state(pairs, self._rewritten(), differs_anyway=differs_anyway)
            if is_clean and any(row.verdict == FAIL for row in state):
                further = self._further(base, (), is_clean=False)
            rows += state
        if differs_anyway:
            rows.append(CheckRow(LOOK_AHEAD, UNTOLD, "equal runs differ, so that nothing can be compared"))
        else:
            rows.append(judge.look_ahead(base, further.futures))
        rows += [
            *judge.further_columns(base, further.late),
            *self._reach_rows(),
            *judge.sensitivity(further.variants, base.currency),
            judge.volume(base),
            judge.trades(base),
        ]
        shown = [row for question in QUESTIONS for row in rows if row.check == question and question in self._only]
        return self._told(base, shown, further.variants if self._only & _ASSUMPTIONS else [])

    def _determinism(self, base: RunRecord, others: Sequence[RunRecord]) -> tuple[list[CheckRow], bool]:
        """Return the verdict on runs elsewhere, and whether equal runs differ, so that none can be compared."""
        stuck = next((other.error for other in others if other.error and not other.is_ours), "")
        if stuck:
            return [CheckRow(DETERMINISM, UNTOLD, f"a run elsewhere could not be done: {stuck}")], True
        if all(first_difference(base, other) is None for other in others):
            return judge.determinism(base, others, {}, self._places()), False
        if self._rewritten():
            return [CheckRow(DETERMINISM, UNTOLD, "a file carries something from run to run")], True
        found, differs_anyway = self._causes(base, others)
        return judge.determinism(base, others, found, self._places()), differs_anyway

    # Runs -------------------------------------------------------------------------------------------------------

    def _do(self, jobs: Sequence[tuple[World, list[RunSpec]]]) -> list[ChildReport]:
        reports = self._pool.run([msgspec.structs.replace(self._job, world=world, runs=runs) for world, runs in jobs])
        self._reports += reports
        return reports

    def _causes(self, base: RunRecord, others: Sequence[RunRecord]) -> tuple[dict[str, FirstDifference], bool]:
        """Change one thing at a time, and return what changes the run, and whether equal runs differ."""
        other = OTHERS[next(i for i, other in enumerate(others) if first_difference(base, other) is not None)]
        unused = {
            "wall clock": not any(report.clock_readings for report in self._reports),
            "environment variable": not any(report.variables for report in self._reports),
            "replay": True,  # quantkit's own fault, if ever
        }
        kinds = [kind for kind in FACTORS if not unused.get(kind)]
        same, *reports = self._do(
            [(HOME, [RunSpec("the same")]), *((alone(kind, other), [RunSpec(kind)]) for kind in kinds)]
        )
        differences = _differing(base, kinds, reports)
        repeated = first_difference(base, same.runs[0]) if same.runs else None
        has_threads = any(report.threads for report in self._reports)
        if has_threads and (repeated is not None or "thread timing" in differences):
            first = differences.get("thread timing") or repeated
            assert first is not None
            return {"thread timing": first}, True
        if "object addresses" in differences:
            return {"object addresses": differences["object addresses"]}, True
        if repeated is not None:
            return {"uncontrolled": repeated}, True
        if not differences:
            differences = _differing(base, ["replay"], self._do([(alone("replay", other), [RunSpec("replay")])]))
        if differences:
            return differences, False
        difference = next(found for each in others if (found := first_difference(base, each)) is not None)
        return {"uncontrolled": difference}, False

    def _further(self, base: RunRecord, worlds: Sequence[World], *, is_clean: bool) -> "_Further":
        """Do the runs with altered futures, late columns and other assumptions; two in the other order; and elsewhere.

        Args:
            base: The run as it is.
            worlds: Other surroundings.
            is_clean: Whether runs may share a process.
        """
        futures = _futures(base) if LOOK_AHEAD in self._only else []
        columns = [known.column for known in base.columns[:_COLUMNS_MAX]] if COLUMNS in self._only else []
        assumptions = [each for each in _assumptions(base, self._job.options) if each[0] in self._only]
        specs = [
            *(_cut_run(base, future, number) for number, future in enumerate(futures)),
            *(RunSpec(f"late {column}", late=column) for column in columns),
            *(RunSpec(name, options=options) for _, name, options in assumptions),
        ]
        # What leaves nothing behind shares processes.
        shares = (
            [specs[number :: self._workers] for number in range(self._workers)] if is_clean else [[s] for s in specs]
        )
        shares = [share for share in shares if share]
        halves = [RunSpec("half", options={"start": middle_ns(base.start_ns, base.end_ns)}), RunSpec("after half")]
        if self._only & {STATE, LOOK_AHEAD}:
            shares.append(halves)
        reports = self._do(
            [*((HOME, share) for share in shares), *((world, [RunSpec("elsewhere")]) for world in worlds)]
        )
        records = {
            spec.name: record
            for share, report in zip(shares, reports, strict=False)
            for spec, record in zip(share, report.runs or _none(share, report.failed), strict=True)
        }
        variants = [Variant("as it is", _as_it_is(base), base.pnl, base.fills, base.sharpe)]
        for assumption, name, _ in assumptions:
            record = records[name]
            if record.error:
                variants.append(Variant(assumption, name, None, error=record.error))
            else:
                variants.append(Variant(assumption, name, record.pnl, record.fills, record.sharpe))
        return _Further(
            [(future, records[_cut_run(base, future, number).name]) for number, future in enumerate(futures)],
            {column: records[f"late {column}"] for column in columns},
            variants,
            [records[each.name] for each in halves if each.name in records],
            [
                report.runs[0] if report.runs else RunRecord("", error=report.failed)
                for report in reports[len(shares) :]
            ],
        )

    # What was seen ------------------------------------------------------------------------------------------------

    def _seen(self) -> list[Reach]:
        return list({(each.kind, each.target): each for report in self._reports for each in report.reached}.values())

    def _rewritten(self) -> list[Reach]:
        """Return the files that the strategy reads and writes."""
        seen = self._seen()
        written = {each.target for each in seen if each.kind == "written"}
        return [each for each in seen if each.kind in ("table", "file") and each.target in written]

    def _reach_rows(self) -> list[CheckRow]:
        return judge.reach(self._seen(), self._allowed, between_runs=True)

    def _places(self) -> dict[str, str]:
        """Return where the strategy uses what a run could depend on."""
        found: dict[str, str] = {}
        for kind, used in (
            ("wall clock", [report.clock_readings for report in self._reports]),
            ("environment variable", [report.variables for report in self._reports]),
            ("thread timing", [report.threads for report in self._reports]),
        ):
            said = [f"{name} in {place}" for each in used for name, place in each.items()]
            if said:
                found[kind] = said[0]
        return found

    def _told(self, base: RunRecord, rows: list[CheckRow], variants: list[Variant]) -> StrategyCheck:
        return StrategyCheck(
            strategy=self._job.strategy,
            parameters={name: str(value) for name, value in self._job.params.items()},
            start=iso_of(base.start_ns) if base.end_ns else "",
            end=iso_of(base.end_ns) if base.end_ns else "",
            rows=rows,
            variants=variants,
            currency=base.currency,
            runs=sum(len(report.runs) for report in self._reports),
        )


def _refuse_no_run(home: ChildReport) -> None:
    """Raise what kept the first run from being done.

    Raises:
        ConfigError, DataError: As `backtest` does.
    """
    if home.failed == TIMED_OUT:
        raise DataError("the run did not end in its time; give a shorter span, or timeout='1h' (--timeout 1h)")
    first = home.runs[0] if home.runs else RunRecord("", error=home.failed, is_wrong_call=home.is_wrong_call)
    if first.error and not first.is_ours:
        raise (ConfigError if first.is_wrong_call else DataError)(first.error)


def _cut_run(base: RunRecord, future: Future, number: int) -> RunSpec:
    """Return a run with another future; what it is matched on stays."""
    end = {"end": future.cut_ns} if future.alteration == "shortened" else {}
    return RunSpec(f"{future.alteration} {number}", options={"match_on": base.matching, **end}, future=future)


def _differing(base: RunRecord, kinds: Sequence[str], reports: Sequence[ChildReport]) -> dict[str, FirstDifference]:
    """Return where runs with one thing changed part from the first one, by what was changed."""
    return {
        kind: difference
        for kind, report in zip(kinds, reports, strict=True)
        if report.runs and (difference := first_difference(base, report.runs[0])) is not None
    }


def _none(share: Sequence[RunSpec], failed: str) -> list[RunRecord]:
    return [RunRecord(spec.name, error=failed or "not run") for spec in share]


def _named(strategy: Any, params: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return a strategy as text that another process can load, and its parameters.

    Raises:
        ConfigError: It stands in no file.
    """
    if isinstance(strategy, str):
        return strategy, dict(params or {})
    if isinstance(strategy, Strategy):
        if params:
            raise ConfigError("params go with a strategy class; this one is built already")
        return _named(type(strategy), strategy.parameters)
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise ConfigError(f"{strategy!r} is no Strategy; pass a subclass of quantkit.Strategy")
    return source_of_strategy_class(strategy), dict(params or {})


def _data(data: Any) -> Any:
    """Return data that can be handed to another process.

    Raises:
        ConfigError: They cannot.
    """
    if isinstance(data, Mapping):
        return data
    root = data if isinstance(data, str | os.PathLike) else getattr(data, "root", None)
    if root is not None:
        return str(root)
    raise ConfigError(f"data is a {type(data).__name__}; a check takes a folder or {{instrument id: OHLCV frame}}")


def _futures(base: RunRecord) -> list[Future]:
    """Return where to cut a run, each time right after a decision, and what to alter behind it."""
    moments = sorted(each.at_ns for each in base.decisions if each.row and base.start_ns <= each.at_ns < base.end_ns)
    if not moments:
        return []
    length_ns = int((base.end_ns - base.start_ns) * _FUTURE)
    found = []
    for share, alteration in _CUTS:
        cut_ns = moments[int(share * (len(moments) - 1))]
        found.append(Future(cut_ns, alteration, cut_ns + length_ns))
    return found


def _assumptions(base: RunRecord, options: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return runs with one assumption changed: which, in words, and as options."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    latency = max(base.latency_ms.values(), default=0.0)
    if latency > 0:
        given = ((f"latency {latency * k:g} ms", {"latency_ms": latency * k, "latency": None}) for k in _LATENCIES)
        found += [("latency", *each) for each in given]
    for k in _RATES:
        fees = {name: _scaled(fields, k) for name, fields in base.fees.items()}
        found.append(("fees", f"fees x{k:g}", {"fees": fees}))
    now = set(base.matching.values())
    for kind in base.kinds:
        # On candles an order has no latency to be changed.
        late: dict[str, Any] = {}
        if kind == "candle":
            zero = {"latency_ms": 0.0} if options.get("latency_ms") else {}
            late = {**zero, **{name: None for name in ("latency", "compute") if options.get(name) is not None}}
        if now != {kind}:
            found.append(("matching", f"{kind} matching", {"match_on": kind, **late}))
        if kind == "trade" and not options.get("touch"):
            found.append(("matching", "trade matching, touched", {"match_on": kind, "touch": True}))
    return found


def _scaled(fields: Mapping[str, Any], k: float) -> Fees:
    numbers = {name: value * k for name, value in fields.items() if isinstance(value, int | float)}
    return msgspec.convert({**fields, **numbers}, Fees)


def _as_it_is(base: RunRecord) -> str:
    kinds = ", ".join(dict.fromkeys(base.matching.values()))
    return f"{kinds} matching, latency {max(base.latency_ms.values(), default=0.0):g} ms"
