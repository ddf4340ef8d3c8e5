"""The process that runs a strategy once or several times, and writes down what it did."""

import os
import pickle
import sys
import threading
import types
from pathlib import Path
from typing import Any

import msgspec

from quantkit.api import backtest, feed_of
from quantkit.engine.plan import MATCHING_KINDS, SPAN_TOLERANCE_NS
from quantkit.errors import ConfigError, QuantkitError, StrategyError
from quantkit.feeds.replay import StoredRows
from quantkit.loading import build_strategy, load_strategy
from quantkit.proving.altered import AlteredRows
from quantkit.proving.columns import further_columns
from quantkit.proving.frames import UserFrames
from quantkit.proving.jobs import ChildReport, Job, RunRecord, RunSpec, middle_ns
from quantkit.proving.leaks import changed, forget_garbage, kept_state
from quantkit.proving.trace import Trace
from quantkit.proving.volume import volume_share
from quantkit.proving.witness import Witness
from quantkit.proving.world import Surroundings
from quantkit.report.result import Result
from quantkit.sources import code_of
from quantkit.storage.reader import BLOCK_ROWS
from quantkit.strategy import Strategy


class Child:
    """Does one job.

    Args:
        job: What to run.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._frames = UserFrames()
        self._surroundings = Surroundings(job.world, self._frames)
        data = Path(job.data) if isinstance(job.data, str) and Path(job.data).is_dir() else None
        self._witness = Witness(self._frames, data, Path.cwd())
        self._modules: list[types.ModuleType] = []
        self._span: tuple[int, int] | None = None  # of the first run

    def run(self) -> ChildReport:
        """Load the strategy and do the runs."""
        try:
            kind = self._load()
        except ConfigError as error:
            return self._report([], failed=str(error), is_wrong_call=True)
        records = []
        for spec in self._job.runs:
            forget_garbage()
            records.append(self._run(kind, spec))
        return self._report(records)

    def _report(self, records: list[RunRecord], *, failed: str = "", is_wrong_call: bool = False) -> ChildReport:
        return ChildReport(
            runs=records,
            reached=list(self._witness.seen.values()),
            clock_readings=self._surroundings.clock_readings,
            variables=self._surroundings.variables,
            threads=self._surroundings.threads,
            failed=failed,
            is_wrong_call=is_wrong_call,
        )

    def _load(self) -> type[Strategy]:
        self._witness.watch_readers("")
        self._surroundings.settle()
        self._witness.listen()
        kind = load_strategy(self._job.strategy)
        code = code_of(kind)
        files = [] if code is None else [code.own.file, *(source.file for source in code.beside.values())]
        self._frames.add([*files, *(file.resolve() for file in files)])
        self._modules = [
            module
            for module in list(sys.modules.values())
            if isinstance(file := getattr(module, "__file__", None), str) and file in self._frames.own
        ]
        own = [Path(file) for file in sorted(self._frames.own)]
        text = "\n".join(file.read_text(errors="replace") for file in own if file.is_file())
        self._surroundings.set_calendars(self._modules, text)
        self._witness.watch_readers(text)
        return kind

    def _run(self, kind: type[Strategy], spec: RunSpec) -> RunRecord:
        job, world = self._job, self._job.world
        options = {**job.options, **spec.options}
        given = list(options.get("instruments", ()))
        block_rows = world.block_rows or options.pop("block_rows", None) or BLOCK_ROWS
        interval, strict = options.pop("interval", None), bool(options.pop("strict", False))
        if spec.is_half and self._span is not None:
            options["start"] = middle_ns(*self._span)
        before = kept_state(self._modules)
        self._surroundings.begin_run()
        try:
            feed = feed_of(job.data, given, interval, block_rows, strict=strict)
            assert isinstance(feed, StoredRows)
        except QuantkitError as raised:
            return _failed(spec, raised)
        rows = AlteredRows(feed, given, future=spec.future, late=spec.late, block_rows=block_rows)
        trace = Trace(self._frames, rows)
        result, record = None, RunRecord(spec.name)
        try:
            strategy = build_strategy(kind, job.params)
            trace.attach(strategy)
            if spec.is_timed:
                trace.compute.attach(strategy)
            result = backtest(strategy, data=rows, search=world.has_search, progress=False, **options)
        except QuantkitError as raised:
            record = _failed(spec, raised)
            if isinstance(raised, StrategyError):
                trace.end(raised.now_ns or 0, f"raised {_words(raised)}")
        kept = changed(before, kept_state(self._modules))
        record = msgspec.structs.replace(record, decisions=trace.decisions, kept=kept, times_ns=trace.compute.times_ns)
        return record if result is None else self._described(record, result, feed, spec)

    def _described(self, record: RunRecord, result: Result, feed: StoredRows, spec: RunSpec) -> RunRecord:
        outcome, numbers, config = result.outcome, result.numbers, result.config
        self._span = self._span or (outcome.start_ns, outcome.end_ns)
        return msgspec.structs.replace(
            record,
            hash=result.hash,
            start_ns=outcome.start_ns,
            end_ns=outcome.end_ns,
            matching={name: text.partition(" ")[0] for name, text in config["matching"].items()},
            marks=config["marks"],
            streams=sorted(outcome.rows),
            latency_ms=config["latency_ms"],
            fees=config["fees"],
            pnl=float(outcome.equity - outcome.starting_equity),
            currency=outcome.report_currency,
            fills=len(outcome.fills),
            trades=len(result.trips.closed),
            sharpe=_number(numbers["sharpe_ratio"]),
            probabilistic_sharpe=_number(numbers["probabilistic_sharpe"]),
            t_value=_number(numbers["sqn"]),
            return_low_pct=_number(numbers["return_low_pct"]),
            return_high_pct=_number(numbers["return_high_pct"]),
            volume=volume_share(outcome, feed) if spec.is_measured else None,
            columns=further_columns(feed) if spec.is_measured else [],
            kinds=_kinds(feed, config["matching"], outcome.start_ns, outcome.end_ns) if spec.is_measured else [],
        )


def _failed(spec: RunSpec, error: QuantkitError) -> RunRecord:
    is_ours = isinstance(error, StrategyError)
    return RunRecord(spec.name, error=str(error), is_ours=is_ours, is_wrong_call=isinstance(error, ConfigError))


def _kinds(feed: StoredRows, instruments: dict[str, str], start_ns: int, end_ns: int) -> list[str]:
    """Return the kinds of data that span a run for each of its instruments, the finest first."""
    spanning = {
        (stream.kind, stream.instrument)
        for stream, held in feed.coverage().items()
        if held.start_ns <= start_ns + SPAN_TOLERANCE_NS and held.end_ns >= end_ns - SPAN_TOLERANCE_NS
    }
    return [kind for kind in MATCHING_KINDS if all((kind, name) in spanning for name in instruments)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _words(error: StrategyError) -> str:
    cause = error.__cause__
    return str(error) if cause is None else f"{type(cause).__name__}: {cause}"


def _end_with_parent() -> None:
    """End the process once nobody holds the other end of standard input any more."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def main(job_file: str, report_file: str) -> None:
    """Do the job in one file and write the report to another."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job: Job = pickle.loads(Path(job_file).read_bytes())  # noqa: S301  # the parent process wrote it
    if isinstance(job.data, Path):
        job = msgspec.structs.replace(job, data=pickle.loads(job.data.read_bytes()))  # noqa: S301  # likewise
    sys.path[:] = [*dict.fromkeys([*job.path, *sys.path])]
    report = Child(job).run()
    Path(report_file).write_bytes(msgspec.msgpack.encode(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
