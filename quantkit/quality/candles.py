"""Bars of one stream: missing ones, and runs of flat ones that stand in for a stop."""

from typing import Final

import numpy as np

from quantkit.clock import interval_ns, iso_of
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.rows.columns import Column
from quantkit.storage.checks import RowSource, check_candles
from quantkit.storage.sessions import Sessions

#: So many flat bars without volume in a row are no quiet minute.
FLAT_BARS: Final = 10


class CandleGrid:
    """Bars that contradict themselves, are missing, or are flat without volume for long.

    Raises:
        DataError: From `take`, about the first bar that contradicts itself.
    """

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._stream = facts.stream
        self._step_ns = interval_ns(facts.stream.interval)
        self._sessions = Sessions(self._step_ns)
        self._last_close_ns: int | None = None
        self._from_ns: list[Column] = []
        self._to_ns: list[Column] = []
        self._flat = PlaceTally()
        self._flat_bars = 0
        self._run: tuple[FindingPlace, int] | None = None

    def take(self, piece: RowPiece) -> None:
        """Follow the bars from one to the next."""
        check_candles(piece.block, RowSource(piece.path, piece.received_ns, piece.first_row))
        opens, closes = piece.column("open_ns"), piece.column("close_ns")
        self._sessions.add(opens)
        begins, ends = closes[:-1], opens[1:]
        if self._last_close_ns is not None:
            begins, ends = np.concatenate(([self._last_close_ns], begins)), opens
        holes = np.flatnonzero(ends > begins)
        self._from_ns.append(begins[holes])
        self._to_ns.append(ends[holes])
        self._last_close_ns = int(closes[-1])
        self._look_for_flat(piece)

    def _look_for_flat(self, piece: RowPiece) -> None:
        flat = (piece.column("volume") == 0) & (piece.column("high") == piece.column("low"))
        if not flat.any():
            self._end_run()
            return
        edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if self._run is not None and start == 0:
                self._run = self._run[0], self._run[1] + stop
            else:
                self._end_run()
                opened = int(piece.column("open_ns")[start])
                self._run = FindingPlace(opened, file=piece.path, row=piece.first_row + start), stop - start
        if edges[-1] < len(flat):
            self._end_run()

    def _end_run(self) -> None:
        if self._run is not None and self._run[1] >= FLAT_BARS:
            self._flat.add_place(self._run[0])
            self._flat_bars += self._run[1]
        self._run = None

    def findings(self) -> list[Finding]:
        """Return missing and flat bars."""
        self._end_run()
        found = self._missing()
        if self._flat.count:
            what = (
                f"{counted(self._flat.count, 'stale spell')} of at least {FLAT_BARS} flat candles without volume, "
                f"{self._flat_bars:,} candles in all, first at {self._flat.first}; a stop of trading, or filled in"
            )
            found.append(self._flat.finding("warning", self._stream, "flat", what))
        return found

    def _missing(self) -> list[Finding]:
        found: list[Finding] = []
        if not self._from_ns:
            return found
        lost, closed = self._sessions.holes(np.concatenate(self._from_ns), np.concatenate(self._to_ns))
        name = str(self._stream)
        # The last bar of a hole opens one interval before its end.
        known = [hole for hole in lost if self._facts.is_known(hole[0], hole[1] - self._step_ns)]
        for severity, holes, words in (
            ("warning", [hole for hole in lost if hole not in known], ""),
            ("info", known, "; the source was asked and has none, or none came while it was listened to"),
        ):
            missing = sum(max(1, round((to_ns - from_ns) / self._step_ns)) for from_ns, to_ns in holes)
            if missing:
                places = tuple(FindingPlace(from_ns, to_ns=to_ns) for from_ns, to_ns in holes[:PLACES_KEPT])
                what = (
                    f"{counted(missing, 'candle')} {'is' if missing == 1 else 'are'} missing in "
                    f"{counted(len(holes), 'hole')}, first at {iso_of(holes[0][0])}{words}"
                )
                found.append(Finding(severity, name, what, "missing_candle", missing, places, name))
        if closed:
            what = f"{closed} nights and weekends, in which no bar ever opens, are no holes"
            found.append(Finding("info", name, what, "closed", closed, (), name))
        return found

    def unverified(self) -> list[str]:
        """Return nothing: bars follow a grid."""
        return []
