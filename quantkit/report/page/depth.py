"""The book around a run's fills, where one was recorded: what stood there just before each."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from quantkit.errors import DataError
from quantkit.orderbook import Book
from quantkit.orders import Fill
from quantkit.report.metrics import FloatArray
from quantkit.report.page.markup import printable
from quantkit.report.page.packing import pack, step_for
from quantkit.report.page.subject import Subject

#: Levels kept of each side.
LEVELS: Final = 8
#: Fills whose book is kept; each costs some milliseconds.
FILLS_MAX: Final = 120
#: Changes of a book that are gone through for it: more would take longer than the whole page.
_CHANGES_MAX: Final = 60_000


class Depth(NamedTuple):
    """The books around an instrument's fills.

    Attributes:
        books: As packed columns; None where there are none.
        note: What a reader has to know: how to see them, which are missing, and why.
    """

    books: dict[str, Any] | None
    note: str


def depth_of(subject: Subject, name: str) -> Depth:
    """Return the books just before an instrument's fills; nothing where it was not matched on a book."""
    matching = subject.config.get("matching")
    fills = [fill for fill in subject.outcome.fills if fill.instrument == name]
    if not fills or not isinstance(matching, dict) or matching.get(name) != "book":
        return Depth(None, "")
    changes = subject.outcome.rows.get(f"{name} book", 0)
    if changes > _CHANGES_MAX:
        return Depth(None, f"The book before a fill is left out: going through its {changes:,} changes takes too long.")
    chosen = _chosen(subject, fills)
    try:
        books = _books(subject, name, fills, chosen)
    except DataError as error:
        return Depth(None, f"The book before a fill is not shown: {error}.")
    if books is None:
        return Depth(None, "The book before a fill is not shown: none is kept. A saved result has prices and no books.")
    if len(chosen) == len(fills):
        return Depth(books, "Click a fill for the book just before it.")
    return Depth(
        books,
        f"Click a fill for the book just before it: kept for {len(chosen):,} of {len(fills):,} fills, those that "
        "opened and closed the round trips with the largest profit or loss.",
    )


def _books(subject: Subject, name: str, fills: Sequence[Fill], chosen: Sequence[int]) -> dict[str, Any] | None:
    """Return the books before some fills as packed columns; None where there are none."""
    # One nanosecond before: what arrived with the fill itself is not in it.
    moments = [fills[row].filled_ns + subject.outcome.offset_ns - 1 for row in chosen]
    books = subject.prices.books_at(name, moments, LEVELS)
    kept = [(row, book) for row, book in zip(chosen, books, strict=True) if book is not None]
    if not kept:
        return None
    words = list(dict.fromkeys(_word(fills[row]) for row, _ in kept))
    instrument = subject.instruments[name]
    columns: dict[str, FloatArray] = {
        f"{side}_{kind}": np.concatenate([_levels(book, side, kind) for _, book in kept])
        for side in ("bid", "ask")
        for kind in ("price", "qty")
    }
    steps = {"price": instrument.price_step, "qty": instrument.qty_step}
    packed = {
        key: pack(values, step_for(values, Fraction(steps[key.partition("_")[2]])), is_walk=False)
        for key, values in columns.items()
    }
    return {
        "columns": packed
        | {
            "fill": pack(np.array([row for row, _ in kept], np.int64)),
            "word": pack(np.array([words.index(_word(fills[row])) for row, _ in kept], np.int64), is_walk=False),
            "qty": pack(np.array([fills[row].qty for row, _ in kept]), Fraction(instrument.qty_step), is_walk=False),
        },
        "words": [printable(word) for word in words],
    }


def _word(fill: Fill) -> str:
    return f"{fill.role}: {fill.why}" if fill.why else str(fill.role)


def _chosen(subject: Subject, fills: Sequence[Fill]) -> list[int]:
    """Return which fills get their book: all, or those of the largest round trips."""
    if len(fills) <= FILLS_MAX:
        return list(range(len(fills)))
    largest = sorted(subject.trips.closed, key=lambda trip: -abs(trip.pnl))[: FILLS_MAX // 2]
    moments = {moment for trip in largest for moment in (trip.entry_ns, trip.exit_ns)}
    return [row for row, fill in enumerate(fills) if fill.filled_ns in moments][:FILLS_MAX]


def _levels(book: Book, side: str, kind: str) -> FloatArray:
    """Return prices or sizes of one side, best first, filled up with zeros where there are few levels."""
    levels = book.bids if side == "bid" else book.asks
    values = levels[:LEVELS, 0 if kind == "price" else 1]
    return np.concatenate([values, np.zeros(LEVELS - len(values))])
