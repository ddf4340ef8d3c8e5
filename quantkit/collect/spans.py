"""Spans of time with an open end, `(from, to)`, in nanoseconds: taken apart, cut, and what is left of them."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from quantkit.storage.schema import period_end_ns

#: From a first moment to one that is no longer part of it.
TimeSpan: TypeAlias = tuple[int, int]


def without(span: TimeSpan, held: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Return what is left of a span, in order.

    Examples:
        >>> without((0, 10), [(2, 4), (3, 5), (9, 20)])
        [(0, 2), (5, 9)]
        >>> without((0, 10), [(0, 10)])
        []
    """
    left: list[TimeSpan] = []
    at_ns, to_ns = span
    for begin, end in sorted(held):
        if begin >= to_ns:
            break
        if begin >= end:
            continue
        if begin > at_ns:
            left.append((at_ns, begin))
        at_ns = max(at_ns, end)
    if at_ns < to_ns:
        left.append((at_ns, to_ns))
    return left


def joined(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Return spans in order, those that touch or overlap as one.

    Examples:
        >>> joined([(4, 6), (0, 2), (2, 3)])
        [(0, 3), (4, 6)]
    """
    found: list[TimeSpan] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def cut(span: TimeSpan, length_ns: int) -> Iterator[TimeSpan]:
    """Yield the parts of a span between the multiples of a length.

    Examples:
        >>> list(cut((5, 21), 10))
        [(5, 10), (10, 20), (20, 21)]
    """
    at_ns, to_ns = span
    while at_ns < to_ns:
        end_ns = min((at_ns // length_ns + 1) * length_ns, to_ns)
        yield at_ns, end_ns
        at_ns = end_ns


def by_month(span: TimeSpan) -> Iterator[TimeSpan]:
    """Yield the parts of a span within each UTC month.

    Examples:
        >>> day = 86_400_000_000_000
        >>> [(begin // day, end // day) for begin, end in by_month((5 * day, 40 * day))]
        [(5, 31), (31, 40)]
    """
    at_ns, to_ns = span
    while at_ns < to_ns:
        end_ns = min(period_end_ns("candle", at_ns), to_ns)
        yield at_ns, end_ns
        at_ns = end_ns


def missing(span: TimeSpan, stamps: Iterable[int], step_ns: int, *, phase_ns: int = 0) -> list[TimeSpan]:
    """Return where a series with one stamp each `step_ns` has none.

    Args:
        span: The stamps that could be.
        stamps: Those that are.
        step_ns, phase_ns: They are whole multiples of the step, later by the phase.

    Examples:
        >>> missing((0, 60), [10, 20, 50], 10)
        [(0, 10), (30, 50)]
        >>> missing((0, 20), [5], 10, phase_ns=5)
        [(15, 25)]
    """
    first_ns, end_ns = (-((phase_ns - edge) // step_ns) * step_ns + phase_ns for edge in span)
    return without((first_ns, max(first_ns, end_ns)), ((stamp, stamp + step_ns) for stamp in stamps))
