"""Trade ids: doubles, steps back, and what is missing between consecutive ones."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import span_text
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts

#: Ids are consecutive where at least so many of all steps are one; only then is a jump a loss.
CONSECUTIVE: Final = 0.99
#: An id that comes again within so many rows is a double.
NEAR: Final = 65_536
#: Fewer steps do not show whether ids are consecutive.
LEAST_STEPS: Final = 100


class TradeIds:
    """Ids that come twice, go back or jump; 0 is no id."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._near: NDArray[np.int64] = np.empty(0, np.int64)
        self._highest: int | None = None
        self._highest_ns = 0
        self._twice = PlaceTally()
        self._back = PlaceTally()
        self._jumps = PlaceTally()
        self._skipped = 0
        self._lost_ns = 0
        self._told = 0
        self._steps = 0
        self._ones = 0
        self._without = 0

    def take(self, piece: RowPiece) -> None:
        """Compare each id with those before it."""
        ids = piece.column("trade_id")
        rows = np.flatnonzero(ids != 0)
        self._without += len(ids) - len(rows)
        if not rows.size:
            return
        ids = ids[rows]
        if self._highest is not None:
            before, before_ns = self._highest, self._highest_ns
        else:
            before, before_ns = int(ids[0]) - 1, int(piece.received_ns[rows[0]])
            self._steps -= 1  # the first id steps from nowhere
            self._ones -= 1
        peaks = np.maximum.accumulate(np.append(before, ids))
        rising = ids > peaks[:-1]
        if not rising.all():
            self._look_back(piece, rows, ids, ~rising)
        up = np.flatnonzero(rising)
        steps = ids[up] - peaks[:-1][up]
        self._steps += len(up)
        self._ones += int((steps == 1).sum())
        jumps = np.flatnonzero(steps > 1)
        for place in jumps.tolist():
            row = int(rows[up[place]])
            from_ns = int(piece.received_ns[rows[up[place - 1]]]) if place else before_ns
            self._jump(piece, row, from_ns, int(steps[place]) - 1)
        self._near = np.append(self._near, ids)[-NEAR:]
        if up.size:
            self._highest, self._highest_ns = int(ids[up[-1]]), int(piece.received_ns[rows[up[-1]]])

    def _jump(self, piece: RowPiece, row: int, from_ns: int, skipped: int) -> None:
        to_ns = int(piece.received_ns[row])
        self._skipped += skipped
        self._lost_ns += to_ns - from_ns
        if self._facts.is_told(from_ns, to_ns):
            self._told += 1
        if len(self._jumps.places) < PLACES_KEPT:
            self._jumps.add_place(FindingPlace(from_ns, to_ns=to_ns, file=piece.path, row=piece.first_row + row))
        else:
            self._jumps.count += 1

    def _look_back(
        self, piece: RowPiece, rows: NDArray[np.int64], ids: NDArray[np.int64], low: NDArray[np.bool_]
    ) -> None:
        """Tell doubles from ids that only come late."""
        known = np.append(self._near, ids)
        order = np.argsort(known, kind="stable")
        again = np.zeros(len(known), np.bool_)
        again[order[1:]] = known[order[1:]] == known[order[:-1]]
        twice = again[len(self._near) :] & low
        self._twice.add(piece, rows[twice])
        self._back.add(piece, rows[low & ~twice])

    @property
    def _is_consecutive(self) -> bool:
        return self._steps >= LEAST_STEPS and self._ones >= CONSECUTIVE * self._steps

    def findings(self) -> list[Finding]:
        """Return what the ids show."""
        found, stream = [], self._facts.stream
        if self._twice.count:
            what = (
                f"{counted(self._twice.count, 'trade')} {'has' if self._twice.count == 1 else 'have'} an id that came "
                f"before, first at {self._twice.first}"
            )
            found.append(self._twice.finding("warning", stream, "duplicate_id", what))
        if self._back.count:
            what = f"{counted(self._back.count, 'trade id')} out of order, first at {self._back.first}"
            found.append(self._back.finding("info", stream, "id_back", what))
        if self._jumps.count and self._is_consecutive:
            told = f"; gap rows tell of {self._told} of them" if self._told else ""
            what = (
                f"{counted(self._skipped, 'trade')} missing in {counted(self._jumps.count, 'sequence gap')} of the "
                f"trade id, {span_text(self._lost_ns)} in all, first {self._jumps.first}{told}"
            )
            found.append(self._jumps.finding("warning", stream, "sequence_gap", what))
        return found

    def unverified(self) -> list[str]:
        """Say why a loss might not show."""
        if self._highest is None or self._without:
            return [f"whether rows are missing: {'the' if self._highest is None else 'some'} trades have no ids"]
        if self._steps < LEAST_STEPS:
            return [f"whether rows are missing: fewer than {LEAST_STEPS} ids do not show whether they are consecutive"]
        if not self._is_consecutive:
            share = 100 * (1 - self._ones / self._steps)
            return [f"whether rows are missing: {share:.0f} % of the trade ids skip numbers by themselves"]
        return []
