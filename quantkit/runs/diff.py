"""Where two runs differ: code, parameters, options, data, assumptions, numbers, and the first order that is another."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from quantkit.clock import iso_of
from quantkit.report.digest import ENCODING, ENCODINGS, rare_fields, result_hash
from quantkit.report.result import Result
from quantkit.runs.entry import RunEntry

#: Stands for the value of a name that one of the two does not have.
MISSING: Final = "-"
#: Fields in steps follow from those in units.
_IN_STEPS: Final = ("lots", "ticks")


class ValueChange(msgspec.Struct, frozen=True):
    """One value that differs."""

    name: str
    a: Any
    b: Any


class FirstRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The first order, order event or fill that differs.

    Attributes:
        number: Its place, counted from 1.
        at: When the earlier one of the two happened, UTC.
        a, b: All its fields; None where a run has no more of them.
        changes: The fields that differ.
    """

    number: int
    at: str
    a: dict[str, Any] | None
    b: dict[str, Any] | None
    changes: list[ValueChange]


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Where two runs differ.

    Attributes:
        a, b: The runs.
        is_same_result: Whether they made the same orders, fills, equity and money; None where that is not known.
        code: Digests of the strategy's files, by path; of its own file alone where no code was kept.
        code_diff: The change of the code as a unified diff, empty where one of the two kept none.
        parameters: The strategy and its parameters.
        options, data: What was set, and read. Options of one instrument have its id behind a dot.
        assumptions_a, assumptions_b: Sentences of one run alone.
        numbers: Statistics.
        order, order_event, fill: The first one that differs, if both whole results are there.
        notes: What could not be compared.
    """

    a: RunEntry
    b: RunEntry
    is_same_result: bool | None
    code: list[ValueChange]
    code_diff: str
    parameters: list[ValueChange]
    options: list[ValueChange]
    data: list[ValueChange]
    assumptions_a: list[str]
    assumptions_b: list[str]
    numbers: list[ValueChange]
    order: FirstRecord | None
    order_event: FirstRecord | None
    fill: FirstRecord | None
    notes: list[str]

    @property
    def is_identical(self) -> bool:
        """Whether the same was run and came to the same."""
        inputs = (self.code, self.parameters, self.options, self.data, self.assumptions_a, self.assumptions_b)
        return self.is_same_result is True and not any(inputs)


def diff_of(a: RunEntry, b: RunEntry, result_a: Result | None, result_b: Result | None) -> RunDiff:
    """Compare two runs.

    Args:
        a, b: The runs.
        result_a, result_b: Their whole results, None where only the numbers are kept.
    """
    both = None if result_a is None or result_b is None else (result_a, result_b)
    notes = [_reason(entry) for entry, result in ((a, result_a), (b, result_b)) if result is None]
    have_ended = bool(a.hash and b.hash)
    sources = [{} if result is None else result.sources for result in (result_a, result_b)]
    has_code = all(sources)
    if a.digest is None or b.digest is None:
        notes.append("a strategy that was typed into a notebook or a shell has no file, so its code is not compared")
    elif a.digest != b.digest and not has_code:
        notes.append("the code was not kept with both, so it is compared by the digests of the strategy's file alone")
    words = [[] if result is None else result.assumptions for result in (result_a, result_b)] if both else [[], []]
    events = fill = order = None
    if both is not None:
        outcomes = [result.outcome for result in both]
        order = _first(outcomes[0].orders, outcomes[1].orders, "orders", "sent_ns")
        events = _first(outcomes[0].order_events, outcomes[1].order_events, "order_events", "at_ns")
        fill = _first(outcomes[0].fills, outcomes[1].fills, "fills", "filled_ns")
    return RunDiff(
        a=a,
        b=b,
        is_same_result=_is_same(a, b, both),
        code=_changes(*map(_digests, sources)) if has_code else _changes({"digest": a.digest}, {"digest": b.digest}),
        code_diff=_unified(sources[0], sources[1]) if has_code else "",
        parameters=_changes({"strategy": a.strategy, **a.parameters}, {"strategy": b.strategy, **b.parameters}),
        options=_changes(dict(_flat(a.options)), dict(_flat(b.options))) if have_ended else [],
        data=_data(a, b, both) if have_ended else [],
        assumptions_a=[word for word in words[0] if word not in words[1]],
        assumptions_b=[word for word in words[1] if word not in words[0]],
        numbers=_changes(a.stats, b.stats) if have_ended else [],
        order=order,
        order_event=events,
        fill=fill,
        notes=notes,
    )


def _reason(entry: RunEntry) -> str:
    """Return what of a run without a whole result is not compared."""
    if not entry.hash:
        return f"{entry.id} has no result ({entry.note}): no more than parameters and code are compared"
    return f"of {entry.id} only the numbers are kept: its assumptions, data files and orders are not compared"


def _is_same(a: RunEntry, b: RunEntry, both: tuple[Result, Result] | None) -> bool | None:
    if not (a.hash and b.hash):
        return None
    if a.hash_encoding == b.hash_encoding:
        return a.hash == b.hash
    # Hashes that were counted in two ways are counted anew in one.
    return None if both is None else result_hash(both[0].outcome) == result_hash(both[1].outcome)


def _digests(sources: Mapping[str, bytes]) -> dict[str, str]:
    """Return the digest of each file of a run's code."""
    return {place: hashlib.sha256(content).hexdigest() for place, content in sources.items()}


def _data(a: RunEntry, b: RunEntry, both: tuple[Result, Result] | None) -> list[ValueChange]:
    """Return where data, span and files differ; files by digest."""
    kept = [{"data": each.data, "start": each.start, "end": each.end} for each in (a, b)]
    found = _changes(kept[0], kept[1])
    files = [] if both is None else _changes(*(result.config.get("data_files") or {} for result in both))
    if files:
        return [*found, *files]
    return [*found, *_changes({"data_digest": a.data_digest}, {"data_digest": b.data_digest})]


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[ValueChange]:
    """Return the values that differ, in the order of the first mapping."""
    names = dict.fromkeys([*a, *b])
    found = [ValueChange(name, a.get(name, MISSING), b.get(name, MISSING)) for name in names]
    return [change for change in found if change.a != change.b]


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield options with those of instruments and currencies one by one."""
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _first(a: Sequence[Any], b: Sequence[Any], kind: str, time_field: str) -> FirstRecord | None:
    """Return the first of two lists' records that differ, None if all are equal."""
    fields = ENCODINGS[ENCODING].records[kind]
    for number in range(max(len(a), len(b))):
        one, other = (each[number] if number < len(each) else None for each in (a, b))
        plain = [
            None if each is None else {name: getattr(each, name) for name in fields} | rare_fields(each)
            for each in (one, other)
        ]
        if plain[0] != plain[1]:
            stamps = [fields_of[time_field] for fields_of in plain if fields_of is not None]
            said = [None if each is None else _said(each) for each in plain]
            both = said[0] is not None and said[1] is not None
            changes = _changes(said[0] or {}, said[1] or {}) if both else []
            return FirstRecord(number=number + 1, at=iso_of(min(stamps)), a=said[0], b=said[1], changes=changes)
    return None


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's fields JSON-ready: moments as ISO text, decimals as text."""
    return {
        name.removesuffix("_ns") if name.endswith("_ns") else name: iso_of(value)
        if name.endswith("_ns") and isinstance(value, int)
        else msgspec.to_builtins(value)
        for name, value in fields.items()
        if not name.endswith(_IN_STEPS)
    }


def _unified(a: Mapping[str, bytes], b: Mapping[str, bytes]) -> str:
    """Return how code changed, file by file."""
    return "".join(
        "".join(
            difflib.unified_diff(_lines(a.get(place, b"")), _lines(b.get(place, b"")), f"a/{place}", f"b/{place}", n=3)
        )
        for place in dict.fromkeys([*a, *b])
    )


def _lines(content: bytes) -> list[str]:
    text = content.decode("utf-8", "replace")
    return [f"{line}\n" for line in text.splitlines()]
