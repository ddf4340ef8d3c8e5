"""Verdicts from the records of runs: one function a question."""

import math
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePath
from typing import Final

from quantkit.clock import iso_of
from quantkit.proving.altered import Future
from quantkit.proving.compare import FirstDifference, first_difference
from quantkit.proving.jobs import RunRecord
from quantkit.proving.verdict import (
    COLUMNS,
    DETERMINISM,
    FAIL,
    FEES,
    LATENCY,
    LOOK_AHEAD,
    MATCHING,
    PASS,
    REACH,
    STATE,
    TRADES,
    UNTOLD,
    VOLUME,
    WARN,
    CheckRow,
    CheckVerdict,
    Variant,
)
from quantkit.proving.volume import LIMIT
from quantkit.proving.witness import Reach
from quantkit.report.text import counted, money

#: Fewer trades tell nothing.
_TRADES_MIN: Final = 30
#: Of the mean profit of a trade, in its standard deviations.
_T_MIN: Final = 2.0
#: Why another surrounding made another run, in words.
_MEANING: Final = {
    "object addresses": "its decisions follow addresses of objects: id(), or sets of objects; sort by something else",
    "thread timing": "its decisions depend on when its threads run, or on how many there are",
    "hash order": "its decisions follow the order of a set or of hash(); sort it",
    "unseeded chance": "it throws dice of its own; use self.rng",
    "wall clock": "it reads the machine's clock; use self.now",
    "environment variable": "it reads the environment; make that a parameter",
    "replay": "other block sizes of the replay gave other decisions",
    "uncontrolled": "two equal runs differ, and none of the known causes does it alone",
}
_ALTERED: Final = {
    "moved": "other prices after",
    "shuffled": "rows after it in another order:",
    "removed": "no rows after",
    "shortened": "the run ending at",
}
_REACHED: Final = {
    "data": ("reads the data", "reads the stored data itself, which no cut hides from it"),
    "table": ("reads a table", "reads a table beside its data, which no cut hides from it; hand it over as columns"),
    "network": ("network", "asks the network, which answers otherwise the next day"),
    "process": ("starts a process", "starts another process, which sees whatever it likes"),
}


def look_ahead(base: RunRecord, cuts: Sequence[tuple[Future, RunRecord]]) -> CheckRow:
    """Judge runs whose future was altered: what was decided before has to be the same."""
    compared = 0
    most = 0
    for future, record in cuts:
        is_same_run = (record.matching, record.marks, record.streams) == (base.matching, base.marks, base.streams)
        if future.alteration == "shortened" and (record.error or not is_same_run):
            continue  # other data span a shorter run
        if record.error and not record.is_ours:
            continue  # altered rows need not be whole ones: it ended before the cut was reached
        difference = first_difference(base, record, future.cut_ns)
        if difference is not None:
            how = f"{_ALTERED[future.alteration]} {iso_of(future.cut_ns)}"
            here, there = difference.here or "nothing", difference.there or "nothing"
            evidence = f"it knows what comes: {difference.place}: {here}; with {how}: {there}"
            return CheckRow(LOOK_AHEAD, FAIL, evidence, "look-ahead")
        compared += 1
        most = max(most, sum(each.at_ns <= future.cut_ns for each in base.decisions))
    if not compared:
        return CheckRow(LOOK_AHEAD, UNTOLD, "it decided nothing that a cut could come after")
    evidence = f"{counted(compared, 'altered future')}: up to {counted(most, 'decision')} before the cut are the same"
    return CheckRow(LOOK_AHEAD, PASS, evidence)


def further_columns(base: RunRecord, late: Mapping[str, RunRecord]) -> list[CheckRow]:
    """Judge further columns by what they have to do with later rows, and by what a row's delay does to the run."""
    if not base.columns:
        return [CheckRow(COLUMNS, PASS, "the candles have none")]
    rows, used, strongest = [], [], 0.0
    for known in base.columns:
        record = late.get(known.column)
        is_used = record is not None and first_difference(base, record) is not None
        if is_used:
            used.append(known.column)
        strongest = max(strongest, abs(known.relation)) if is_used else strongest
        if not known.knows_more:
            continue
        if known.copied >= 0.5:
            why = (
                f"{known.copied:.0%} of its values are the {known.copied_price} of a candle up to "
                f"{known.copied_ahead} later"
            )
        else:
            why = (
                f"its correlation with the move of the next {counted(known.ahead, 'candle')} is {known.relation:+.2f}, "
                f"a row later {known.late_relation:+.2f}"
            )
        after = "" if record is None or record.error else f"; a row late, PnL {_pnl(base)} becomes {_pnl(record)}"
        verdict: CheckVerdict = FAIL if is_used else WARN
        said = "" if is_used else "; it is not used"
        rows.append(CheckRow(COLUMNS, verdict, f"{known.column!r} knew more: {why}{after}{said}", "column knows more"))
    if rows:
        return rows
    names = ", ".join(used) or "none of them"
    return [CheckRow(COLUMNS, PASS, f"used: {names}; strongest correlation with later moves {strongest:.2f}")]


def reach(seen: Sequence[Reach], allowed: Collection[str], *, between_runs: bool) -> list[CheckRow]:
    """Judge what a strategy opened by itself.

    Args:
        seen: In all runs.
        allowed: Names or patterns of files that it may read.
        between_runs: Whether files that it both writes and reads are judged elsewhere.
    """
    rows: dict[str, CheckRow] = {}
    written = {each.target for each in seen if each.kind == "written"}
    for each in seen:
        if each.kind == "written" or (between_runs and each.target in written):
            continue
        if each.kind in ("data", "table", "file") and _is_allowed(each.target, allowed):
            continue
        if each.kind in _REACHED:
            kind, meaning = _REACHED[each.kind]
            rows.setdefault(kind, CheckRow(REACH, FAIL, f"{meaning}: {each.target} ({each.place})", kind))
        else:
            said = f"whether {each.target} knew the future cannot be seen ({each.place}); --allow it if it did not"
            rows.setdefault("reads a file", CheckRow(REACH, UNTOLD, said, "reads a file"))
    return list(rows.values()) or [CheckRow(REACH, PASS, "opens no data, no network and no process by itself")]


def determinism(
    base: RunRecord, others: Sequence[RunRecord], found: Mapping[str, FirstDifference], places: Mapping[str, str]
) -> list[CheckRow]:
    """Judge runs in other surroundings.

    Args:
        base: At home.
        others: In worlds where all is different.
        found: The first differences by cause, where there are any.
        places: Where the strategy uses what a cause stands for, as far as that was seen.
    """
    if not found:
        said = (
            f"in {len(others)} other processes hash seed, dice, clock, environment, addresses, threads and block sizes "
            f"changed nothing in {counted(len(base.decisions), 'decision')}"
        )
        read = ", ".join(f"{kind} is read ({place})" for kind, place in places.items())
        return [CheckRow(DETERMINISM, PASS, f"{said}; {read} and decides nothing" if read else said)]
    rows = []
    for kind, difference in found.items():
        where = f" ({places[kind]})" if places.get(kind) else ""
        rows.append(CheckRow(DETERMINISM, FAIL, f"{_MEANING[kind]}{where}; {difference}", kind))
    return rows


def state(
    pairs: Sequence[tuple[RunRecord, RunRecord]], files: Sequence[Reach], *, differs_anyway: bool
) -> list[CheckRow]:
    """Judge runs that follow others in one process.

    Args:
        pairs: Runs that are the first in their process, each with the same run after others.
        files: Read ones that the strategy writes as well.
        differs_anyway: Whether equal runs differ for another reason.
    """
    base, whole = pairs[0][0], [pair for pair in pairs if all(not each.error or each.is_ours for each in pair)]
    difference = next((found for pair in whole if (found := first_difference(*pair)) is not None), None)
    if files:
        where = f"{files[0].target} is written in one run and read in the next ({files[0].place})"
        if difference is None and not differs_anyway:
            return [CheckRow(STATE, WARN, f"{where}; no decision changed", "file between runs")]
        return [CheckRow(STATE, FAIL, where if difference is None else f"{where}; {difference}", "file between runs")]
    if differs_anyway:
        return [CheckRow(STATE, UNTOLD, "equal runs differ for another reason")]
    if difference is None:
        kept = ", ".join(f"{kind} {name}" for kind, name in base.kept[:3])
        said = "two runs in one process are the same, in either order"
        return [CheckRow(STATE, PASS, f"{said}; {kept} changed and did no harm" if kept else said)]
    kinds: dict[str, list[str]] = {}
    for kind, name in base.kept:
        kinds.setdefault(kind, []).append(name)
    if not kinds:
        return [CheckRow(STATE, FAIL, f"the first run leaves something behind; {difference}", "hidden state")]
    return [
        CheckRow(STATE, FAIL, f"{kind} {', '.join(names[:3])} outlives a run; {difference}", kind)
        for kind, names in kinds.items()
    ]


def sensitivity(variants: Sequence[Variant], currency: str) -> list[CheckRow]:
    """Judge whether a profit survives other assumptions."""
    base = variants[0]
    assert base.pnl is not None
    rows = []
    for assumption, check in (("latency", LATENCY), ("fees", FEES), ("matching", MATCHING)):
        tried = [each for each in variants[1:] if each.assumption == assumption and each.pnl is not None]
        if not tried:
            why = {
                "latency": "on candles an order has none; record a book or trades",
                "fees": "no run with other fees could be done",
                "matching": "the data hold one kind to match on",
            }[assumption]
            rows.append(CheckRow(check, UNTOLD, why))
            continue
        lost = [each for each in tried if each.pnl is not None and each.pnl <= 0 < base.pnl]
        span = f"{money(min(each.pnl or 0.0 for each in tried))} to {money(max(each.pnl or 0.0 for each in tried))}"
        if base.pnl <= 0:
            said = f"loses as it is ({money(base.pnl)} {currency}); otherwise {span}"
            rows.append(CheckRow(check, UNTOLD, said))
        elif lost:
            first = lost[0]
            said = f"the profit of {money(base.pnl)} {currency} is {money(first.pnl or 0.0)} with {first.name}"
            rows.append(CheckRow(check, WARN, said, f"profit depends on {assumption}"))
        else:
            rows.append(CheckRow(check, PASS, f"the profit stays: {span} {currency}, {money(base.pnl)} as it is"))
    return rows


def volume(base: RunRecord) -> CheckRow:
    """Judge how much of what was traded the fills were."""
    share = base.volume
    if share is None:
        return CheckRow(VOLUME, UNTOLD, "no fills, or no volume in the data")
    unit = "minute" if share.source.endswith("trade") else "candle"
    minute = f"{share.of_fill:.1%} of one {unit} ({iso_of(share.fill_ns)})"
    said = f"at most {minute} and {share.of_hour:.1%} of an hour of {share.source}"
    if max(share.of_fill, share.of_hour) < LIMIT:
        return CheckRow(VOLUME, PASS, said)
    over = f"; {share.count:,} of {share.of:,} have {LIMIT:.0%} or more, which would have moved the price"
    return CheckRow(VOLUME, WARN, said + over, "large share of volume")


def trades(base: RunRecord) -> CheckRow:
    """Judge whether the trades are enough to tell a profit from luck."""
    said = counted(base.trades, "trade")
    if base.t_value is not None and math.isfinite(base.t_value):
        said += f", t {base.t_value:+.1f}"
    if base.probabilistic_sharpe is not None:
        said += f", Sharpe above 0 with probability {base.probabilistic_sharpe:.2f}"
    if base.return_low_pct is not None and base.return_high_pct is not None:
        said += f", return {base.return_low_pct:+.1f} to {base.return_high_pct:+.1f} % in 90 of 100 resampled runs"
    if base.trades < _TRADES_MIN:
        return CheckRow(TRADES, UNTOLD, f"too few trades to tell: {said}", "too few trades")
    if base.t_value is None or abs(base.t_value) < _T_MIN:
        return CheckRow(TRADES, WARN, f"no more than noise: {said}", "noise")
    return CheckRow(TRADES, PASS, said)


def _is_allowed(target: str, allowed: Collection[str]) -> bool:
    return any(fnmatch(target, pattern) or fnmatch(PurePath(target).name, pattern) for pattern in allowed)


def _pnl(record: RunRecord) -> str:
    return f"{money(record.pnl)} {record.currency}"
