"""Stamps against each other: clocks that are apart or go back, and spells of silence."""

from typing import Final

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, span_text
from quantkit.quality.findings import Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, Rows, StreamFacts
from quantkit.rows.columns import Column

#: A row that arrives later than this after the exchange's stamp is old news.
LATE_NS: Final = NS_PER_MIN
#: Neighbours of the same stamp may be exchanged by as much; more is a clock that was set back.
BACK_NS: Final = NS_PER_S
#: A spell of silence is longer than this, and than so many times what 99 of 100 spacings stay below.
SILENT_NS: Final = NS_PER_MIN
SILENT_TIMES: Final = 20
#: Fewer spacings tell nothing about the usual one.
_LEAST_SPACINGS: Final = 100
#: Classes of spacings in a factor of two.
_FINE: Final = 8
_CLASSES: Final = 64 * _FINE


class Clocks:
    """Rows that were received before they were sent or long after it, and exchange stamps that go back."""

    def __init__(self, facts: StreamFacts) -> None:
        self._stream = facts.stream
        self._ahead = PlaceTally()
        self._ahead_ns_max = 0
        self._late = PlaceTally()
        self._late_ns_max = 0
        self._back = PlaceTally()
        self._back_ns_max = 0
        self._last_ns: int | None = None

    def take(self, piece: RowPiece) -> None:
        """Compare both stamps of each row, and each exchange stamp with the one before it."""
        sent = piece.column("exchange_ns")
        ahead = sent - piece.received_ns
        if ahead.max() > 0:
            self._ahead.add(piece, np.flatnonzero(ahead > 0))
            self._ahead_ns_max = max(self._ahead_ns_max, int(ahead.max()))
        # Candles that a run asked for at its start are old by intention, and a rate is stamped by its settlement.
        if self._stream.kind in ("candle", "funding", "gap", "timing"):
            return
        if self._last_ns is None:
            ahead[0] = 0  # a subscription begins with the last row there was
        if ahead.min() < -LATE_NS:
            self._late.add(piece, np.flatnonzero(ahead < -LATE_NS))
            self._late_ns_max = max(self._late_ns_max, -int(ahead.min()))
        steps = np.diff(sent, prepend=sent[0] if self._last_ns is None else self._last_ns)
        self._last_ns = int(sent[-1])
        if steps.min() < -BACK_NS:
            self._back.add(piece, np.flatnonzero(steps < -BACK_NS))
            self._back_ns_max = max(self._back_ns_max, -int(steps.min()))

    def findings(self) -> list[Finding]:
        """Return what the stamps show."""
        found = []
        if self._ahead.count:
            what = (
                f"{counted(self._ahead.count, 'row')} {'was' if self._ahead.count == 1 else 'were'} received before "
                f"the exchange's stamp, by up to {self._ahead_ns_max / NS_PER_S:.6f} s, first at {self._ahead.first}; "
                "the receiver's clock was behind"
            )
            found.append(self._ahead.finding("warning", self._stream, "clock_ahead", what))
        if self._late.count:
            what = (
                f"{counted(self._late.count, 'row')} came more than {span_text(LATE_NS)} after the exchange's stamp, "
                f"by up to {span_text(self._late_ns_max)}, first at {self._late.first}"
            )
            found.append(self._late.finding("warning", self._stream, "late", what))
        if self._back.count:
            what = (
                f"the exchange's stamp goes back by more than {span_text(BACK_NS)} "
                f"{counted(self._back.count, 'time')}, by up to {span_text(self._back_ns_max)}, "
                f"first at {self._back.first}"
            )
            found.append(self._back.finding("warning", self._stream, "clock_back", what))
        return found

    def unverified(self) -> list[str]:
        """Return nothing: every row has both stamps."""
        return []


class Silence:
    """Spells without any row that are far longer than the usual spacing and that no gap row tells of."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._last_ns: int | None = None
        self._counts = np.zeros(_CLASSES, np.int64)
        self._spells: list[tuple[int, FindingPlace]] = []

    def take(self, piece: RowPiece) -> None:
        """Sort spacings into classes, and keep the long ones."""
        received = piece.received_ns
        spacings = np.diff(received, prepend=received[0] if self._last_ns is None else self._last_ns)
        self._last_ns = int(received[-1])
        some = spacings[spacings > 0]
        if some.size:
            self._counts += np.bincount((np.log2(some) * _FINE).astype(np.int64), minlength=_CLASSES)
        if some.size and some.max() > SILENT_NS:
            rows = np.flatnonzero(spacings > SILENT_NS)
            self._keep(piece, rows, spacings)

    def _keep(self, piece: RowPiece, rows: Rows, spacings: Column) -> None:
        for row in rows.tolist():
            spell_ns, to_ns = int(spacings[row]), int(piece.received_ns[row])
            place = FindingPlace(to_ns - spell_ns, to_ns=to_ns, file=piece.path, row=piece.first_row + row)
            self._spells.append((spell_ns, place))

    def usual_ns(self) -> float | None:
        """Return what 99 of 100 spacings stay below; None with too few of them."""
        total = int(self._counts.sum())
        if total < _LEAST_SPACINGS:
            return None
        reached = int(np.searchsorted(np.cumsum(self._counts), 0.99 * total))
        return float(2 ** ((reached + 1) / _FINE))

    def findings(self) -> list[Finding]:
        """Return the spells."""
        usual = self.usual_ns()
        if usual is None:
            return []
        least_ns = max(float(SILENT_NS), SILENT_TIMES * usual)
        silent, quiet = PlaceTally(), PlaceTally()
        total_ns = {id(silent): 0, id(quiet): 0}
        for spell_ns, place in self._spells:
            assert place.to_ns is not None
            # A whole day without rows is told by the days that are missing.
            if spell_ns < least_ns or spell_ns >= 2 * NS_PER_DAY or self._facts.is_told(place.at_ns, place.to_ns):
                continue
            tally = quiet if self._facts.is_known(place.at_ns, place.to_ns) else silent
            tally.add_place(place)
            total_ns[id(tally)] += spell_ns
        found = []
        rule = f"(longer than {span_text(int(least_ns) // NS_PER_S * NS_PER_S)}, {SILENT_TIMES} times the usual)"
        for tally, severity, words in (
            (silent, "warning", ""),
            (quiet, "info", ", though it was listened to or asked for"),
        ):
            if tally.count:
                what = (
                    f"{counted(tally.count, 'stale spell')} without any row {rule}{words}, "
                    f"{span_text(total_ns[id(tally)])} in all, first {tally.first}"
                )
                found.append(tally.finding(severity, self._facts.stream, "stale", what))
        return found

    def unverified(self) -> list[str]:
        """Return nothing: silence alone proves nothing either way."""
        return []
