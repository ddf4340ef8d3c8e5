"""Rates of funding that are charged too often, and settlements that are missing."""

from typing import Final

import numpy as np

from quantkit.clock import NS_PER_MIN, iso_of, span_text
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.rows.columns import Column
from quantkit.storage.checks import LEAST_SETTLEMENT_NS

#: Exchanges settle every eight hours at the latest.
_LATEST_NS: Final = 8 * 60 * NS_PER_MIN + LEAST_SETTLEMENT_NS


class Fundings:
    """Rates that are charged as settlements and come too often to be any, or not often enough to be all."""

    def __init__(self, facts: StreamFacts) -> None:
        self._stream = facts.stream
        self._last_ns: int | None = None
        self._close = PlaceTally()
        self._moments: list[Column] = []

    def take(self, piece: RowPiece) -> None:
        """Compare each settlement's moment with the one before it."""
        rows = np.flatnonzero(piece.column("is_settled"))
        if not rows.size:
            return
        settled = piece.column("funding_ns")[rows]
        steps = np.diff(settled, prepend=settled[0] - _LATEST_NS if self._last_ns is None else self._last_ns)
        self._last_ns = int(settled[-1])
        self._close.add(piece, rows[steps < LEAST_SETTLEMENT_NS])
        self._moments.append(settled)

    def findings(self) -> list[Finding]:
        """Return rates that are no settlements, and the holes between settlements."""
        found = []
        if self._close.count:
            what = (
                f"{counted(self._close.count, 'settlement')} {'follows' if self._close.count == 1 else 'follow'} "
                f"within {span_text(LEAST_SETTLEMENT_NS)} of the one before, first at {self._close.first}; "
                "changing rates are charged as settled, import them again"
            )
            found.append(self._close.finding("warning", self._stream, "settlements_close", what))
        return found + self._holes()

    def _holes(self) -> list[Finding]:
        moments = np.concatenate(self._moments) if self._moments else np.empty(0, np.int64)
        steps = np.diff(moments)
        if self._close.count or not steps.size:
            return []
        usual_ns = max(int(np.median(steps)), 1)
        rows = np.flatnonzero(steps > max(_LATEST_NS, usual_ns + LEAST_SETTLEMENT_NS))
        if not rows.size:
            return []
        missing = int((np.rint(steps[rows] / usual_ns) - 1).sum())
        places = tuple(
            FindingPlace(int(moments[row]), to_ns=int(moments[row + 1])) for row in rows[:PLACES_KEPT].tolist()
        )
        what = (
            f"about {counted(missing, 'settlement')} missing in {counted(len(rows), 'hole')}, first after "
            f"{iso_of(int(moments[rows[0]]))}; one comes every {span_text(usual_ns)}"
        )
        name = str(self._stream)
        return [Finding("warning", name, what, "missing_settlement", missing, places, name)]

    def unverified(self) -> list[str]:
        """Say why a lost settlement might not show."""
        settled = sum(map(len, self._moments))
        return [] if settled > 2 else ["whether rows are missing: too few settlements to know how often one comes"]
