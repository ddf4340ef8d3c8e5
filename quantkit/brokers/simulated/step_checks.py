"""Prices off the step among the rows that orders are matched on: counted, and told at the end."""

from fractions import Fraction
from typing import Final

import numpy as np

from quantkit.brokers.simulated.streams import MatchingStream
from quantkit.instruments import Instrument, plain
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import BookCursor

#: The columns that are prices, of each kind of matching rows but books.
_PRICES: Final = {"ticker": ("bid", "ask"), "trade": ("price",), "candle": ("open", "high", "low", "close")}
#: How orders meet prices that are off the step, where it is not simply against them.
_MET: Final = dict.fromkeys(("book", "ticker"), "orders met bids at the step below and asks at the step above")
#: So few rows, as they come live, are looked at one by one.
_FEW_ROWS: Final = 8


class StepChecks:
    """Counts rows with a price off the step."""

    def __init__(self) -> None:
        self._rows: dict[MatchingStream, int] = {}  # how many of this batch have been looked at
        self._checked: dict[Stream, int] = {}
        self._off_step: dict[Stream, int] = {}

    def enter_batch(self) -> None:
        """Begin with the rows of the next batch, none of which has been looked at."""
        self._rows.clear()

    def check(self, stream: MatchingStream, row: int, instrument: Instrument) -> None:
        """Hold the rows before `row` that nobody has looked at against the price step of an instrument."""
        cursor = stream.cursor
        first = self._rows.get(stream, 0)
        self._rows[stream] = max(row, first)
        if row <= first or cursor.kind == "candle_open":
            return
        if isinstance(cursor, BookCursor):
            rows, step, tick = cursor.book_rows, instrument.price_step, cursor.book.instrument.tick
            # A book whose grid is the step itself has nothing off it.
            off = 0 if tick == step else rows.off_step(first, row, int(Fraction(step) / Fraction(tick)))
        elif row - first <= _FEW_ROWS and cursor.block is not None and cursor.block.given:
            names = _PRICES[cursor.kind]
            off = sum(
                any((price := getattr(event, name)) is not None and instrument.is_off_step(price) for name in names)
                for event in cursor.block.given[first:row]
            )
        else:
            off_rows = [instrument.off_step(cursor.column(name)[first:row]) for name in _PRICES[cursor.kind]]
            off = int(np.logical_or.reduce(off_rows).sum())
        if off:
            self._off_step[cursor.stream] = self._off_step.get(cursor.stream, 0) + off
        self._checked[cursor.stream] = self._checked.get(cursor.stream, 0) + row - first

    def notes(self, instruments: dict[str, Instrument]) -> list[str]:
        """Return a sentence for every stream that had prices off the step.

        Args:
            instruments: As they are at the end, by id.
        """
        notes = []
        # Which one was found first depends on where batches are cut.
        for stream, off in sorted(self._off_step.items(), key=lambda item: item[0].sort_key):
            step = plain(instruments[stream.instrument].price_step)
            met = _MET.get(stream.kind, "orders met each at the step that is worse for them")
            notes.append(
                f"{stream}: {off:,} of {self._checked[stream]:,} rows had a price off the step of {step}: {met}; "
                "if the step is too coarse, give the right one (import --price-step, instruments=)"
            )
        return notes
