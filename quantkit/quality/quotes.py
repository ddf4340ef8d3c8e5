"""Displayed prices: crossed and one-sided books and tickers, chains of sequence numbers, frozen quotes."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, span_text
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.quality.tops import BookTops
from quantkit.rows.columns import Column

#: A quote is frozen if at least so many rows repeat it over at least this time.
FROZEN_ROWS: Final = 20
FROZEN_NS: Final = 5 * NS_PER_MIN

_QUOTE: Final = ("bid", "bid_qty", "ask", "ask_qty", "last", "last_qty")


class TopPrices:
    """The best bid and ask after each row of a stream, and what is wrong with them.

    Attributes:
        bid, ask: Of the rows taken last, shape (n,); -inf and inf where there is none.
    """

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._tops = BookTops() if facts.stream.kind == "book" else None
        self._is_known = self._tops is None
        self._rows = 0
        self._crossed = PlaceTally()
        self._one_sided = PlaceTally()
        self._early = PlaceTally()
        self.bid: NDArray[np.float64] = np.empty(0)
        self.ask: NDArray[np.float64] = np.empty(0)

    def take(self, piece: RowPiece) -> None:
        """Find the best prices of further rows."""
        self._rows += piece.block.size
        first = 0
        if self._tops is not None:
            self.bid, self.ask = self._tops.take(piece.block)
            first = self._look_for_snapshot(piece)
        else:
            bid, ask = piece.column("bid"), piece.column("ask")
            self.bid, self.ask = np.where(np.isnan(bid), -np.inf, bid), np.where(np.isnan(ask), np.inf, ask)
        crossed = self.bid > self.ask
        if crossed.any():
            self._crossed.add(piece, np.flatnonzero(crossed))
        missing = np.isinf(self.bid) | np.isinf(self.ask)
        missing[:first] = False
        if missing.any():
            self._one_sided.add(piece, np.flatnonzero(missing))

    def _look_for_snapshot(self, piece: RowPiece) -> int:
        """Return the first row that has a book, which begins with a snapshot."""
        if self._is_known:
            return 0
        snapshots = np.flatnonzero(piece.column("is_snapshot"))
        first = int(snapshots[0]) if snapshots.size else piece.block.size
        self._is_known = bool(snapshots.size)
        self._early.add(piece, np.arange(first))
        return first

    def findings(self) -> list[Finding]:
        """Return what is wrong with the best prices."""
        found, stream = [], self._facts.stream
        is_book = self._tops is not None
        if self._crossed.count:
            rows = counted(self._crossed.count, "row")
            what = (
                f"the rebuilt book is crossed after {rows}, first at {self._crossed.first}"
                if is_book
                else f"{rows} with the bid above the ask, first at {self._crossed.first}"
            )
            found.append(self._crossed.finding("warning", stream, "crossed", what))
        if self._one_sided.count:
            name = "the rebuilt book has" if is_book else "the ticker has"
            what = (
                f"{name} only one side, or none, in {counted(self._one_sided.count, 'row')}, "
                f"first at {self._one_sided.first}"
            )
            found.append(self._one_sided.finding("warning", stream, "one_sided", what))
        if self._early.count:
            what = (
                f"{counted(self._early.count, 'book update')} before the first snapshot, first at {self._early.first}"
            )
            found.append(self._early.finding("warning", stream, "no_snapshot", what))
        return found

    def unverified(self) -> list[str]:
        """Say that tickers have no sequence numbers; the chain of a book tells for itself."""
        return [] if self._tops is not None else ["whether rows are missing: tickers have no sequence numbers"]


class Chain:
    """Book updates whose predecessor is not the row before: what lay between them is lost."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._last: tuple[int, int, bool] | None = None  # number and stamp of the row before, and if it was a snapshot
        self._breaks = PlaceTally()
        self._lost_ns = 0
        self._told = 0
        self._linked = 0
        self._without = 0

    def take(self, piece: RowPiece) -> None:
        """Follow the numbers from row to row."""
        numbers, before = piece.column("update_seq"), piece.column("prev_update_seq")
        snapshots = piece.column("is_snapshot")
        has_last = self._last is not None
        last, last_ns, was_snapshot = self._last or (0, int(piece.received_ns[0]), False)
        previous = np.append(last, numbers[:-1])
        previous_ns = np.append(last_ns, piece.received_ns[:-1])
        # A snapshot starts anew, and an update without a number, or after one, cannot be held against anything.
        follows = ~snapshots
        known = follows & (before >= 0) & (previous > 0)
        if not has_last:
            follows[0] = known[0] = False
        self._linked += int(known.sum())
        self._without += int((follows & ~known).sum())
        # An update that reaches over its snapshot follows on it: some exchanges number the two on their own.
        overlaps = np.append(was_snapshot, snapshots[:-1]) & (before <= previous) & (previous <= numbers)
        for row in np.flatnonzero(known & (before != previous) & ~overlaps).tolist():
            self._break(piece, row, int(previous_ns[row]))
        self._last = int(numbers[-1]), int(piece.received_ns[-1]), bool(snapshots[-1])

    def _break(self, piece: RowPiece, row: int, from_ns: int) -> None:
        to_ns = int(piece.received_ns[row])
        self._lost_ns += to_ns - from_ns
        self._told += self._facts.is_told(from_ns, to_ns)
        if len(self._breaks.places) < PLACES_KEPT:
            self._breaks.add_place(FindingPlace(from_ns, to_ns=to_ns, file=piece.path, row=piece.first_row + row))
        else:
            self._breaks.count += 1

    def findings(self) -> list[Finding]:
        """Return the breaks."""
        if not self._breaks.count:
            return []
        told = f"; gap rows tell of {self._told} of them" if self._told else ""
        what = (
            f"{counted(self._breaks.count, 'sequence gap')} in the chain of updates, {span_text(self._lost_ns)} in "
            f"all, first {self._breaks.first}{told}"
        )
        return [self._breaks.finding("warning", self._facts.stream, "sequence_gap", what)]

    def unverified(self) -> list[str]:
        """Say why a loss might not show."""
        if self._without:
            whose = "the updates" if not self._linked else f"{self._without:,} updates"
            return [f"whether rows are missing: {whose} have no sequence numbers"]
        return []


class Frozen:
    """Rows that repeat the same quote, or mark, for minutes: a feed that hangs and still sends."""

    def __init__(self, facts: StreamFacts, names: tuple[str, ...] = _QUOTE) -> None:
        self._stream = facts.stream
        self._names = names
        self._last: list[float] | None = None
        self._begin: tuple[int, int] = 0, 0  # stamp of the first row of the present run, and how many it has
        self._end_ns = 0
        self._runs = PlaceTally()
        self._frozen_ns = 0

    def take(self, piece: RowPiece) -> None:
        """Follow the runs of equal rows."""
        changed = np.zeros(piece.block.size, np.bool_)
        for place, name in enumerate(self._names):
            changed |= _differs(piece.column(name), None if self._last is None else self._last[place])
        self._last = [float(piece.column(name)[-1]) for name in self._names]
        starts = np.flatnonzero(changed)
        stops = np.append(starts, piece.block.size)
        if not starts.size or starts[0] > 0:
            begin_ns, count = self._begin
            self._begin = begin_ns, count + int(stops[0])
            self._end_ns = int(piece.received_ns[stops[0] - 1])
        if not starts.size:
            return
        self._finish()
        lengths = np.diff(stops)
        spans = piece.received_ns[stops[1:] - 1] - piece.received_ns[starts]
        for run in np.flatnonzero((lengths[:-1] >= FROZEN_ROWS) & (spans[:-1] >= FROZEN_NS)).tolist():
            row = int(starts[run])
            self._add(int(piece.received_ns[row]), int(piece.received_ns[row] + spans[run]))
        self._begin = int(piece.received_ns[starts[-1]]), int(lengths[-1])
        self._end_ns = int(piece.received_ns[-1])

    def _finish(self) -> None:
        begin_ns, count = self._begin
        if count >= FROZEN_ROWS and self._end_ns - begin_ns >= FROZEN_NS:
            self._add(begin_ns, self._end_ns)
        self._begin = 0, 0

    def _add(self, from_ns: int, to_ns: int) -> None:
        self._runs.add_place(FindingPlace(from_ns, to_ns=to_ns))
        self._frozen_ns += to_ns - from_ns

    def findings(self) -> list[Finding]:
        """Return the runs."""
        self._finish()
        if not self._runs.count:
            return []
        what = (
            f"{counted(self._runs.count, 'stale spell')} with at least {FROZEN_ROWS} rows that all repeat one quote, "
            f"{span_text(self._frozen_ns)} in all, first {self._runs.first}"
        )
        return [self._runs.finding("warning", self._stream, "frozen", what)]

    def unverified(self) -> list[str]:
        """Return nothing."""
        return []


def _differs(values: Column, last: Any) -> NDArray[np.bool_]:
    """Return whether each value is another than the one before it; two absent ones are alike."""
    before = np.concatenate((values[:1] if last is None else np.array([last], values.dtype), values[:-1]))
    differs: NDArray[np.bool_] = values != before
    if values.dtype.kind == "f":
        differs &= ~(np.isnan(values) & np.isnan(before))
    if last is None:
        differs[0] = True
    return differs


class Doubles:
    """Rows that equal the row before in everything, both stamps included."""

    def __init__(self, facts: StreamFacts, names: tuple[str, ...]) -> None:
        self._stream = facts.stream
        self._names = ("received_ns", "exchange_ns", *names)
        self._last: list[float] | None = None
        self._tally = PlaceTally()

    def take(self, piece: RowPiece) -> None:
        """Compare each row with the one before."""
        differs = np.zeros(piece.block.size, np.bool_)
        for place, name in enumerate(self._names):
            differs |= _differs(piece.column(name), None if self._last is None else self._last[place])
        self._last = [piece.column(name)[-1] for name in self._names]
        if not differs.all():
            self._tally.add(piece, np.flatnonzero(~differs))

    def findings(self) -> list[Finding]:
        """Return the doubles."""
        if not self._tally.count:
            return []
        what = f"{counted(self._tally.count, 'row')} equal to the row before, first at {self._tally.first}"
        return [self._tally.finding("warning", self._stream, "duplicate_row", what)]

    def unverified(self) -> list[str]:
        """Return nothing."""
        return []


class Unnumbered:
    """Rows of kinds that exchanges do not number."""

    def __init__(self, facts: StreamFacts) -> None:
        self._kind = facts.stream.kind.replace("_", " ")

    def take(self, piece: RowPiece) -> None:
        """Look at nothing."""

    def findings(self) -> list[Finding]:
        """Return nothing."""
        return []

    def unverified(self) -> list[str]:
        """Say why a loss would not show."""
        return [f"whether rows are missing: rows of {self._kind} have no sequence numbers"]
