"""What gap rows tell: how much is known to be lost, by stream and cause."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from quantkit.clock import span_text
from quantkit.errors import DataError
from quantkit.events import Gap
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Holdings
from quantkit.storage.gaps import tells_of


class GapRows:
    """The gap rows of a store, which are few; a file that cannot be read has none, and is a finding of its own."""

    def __init__(self, holdings: Holdings) -> None:
        self._by_instrument: dict[str, list[Gap]] = {}
        for entry in holdings.entries:
            if entry.kind != "gap":
                continue
            rows = self._by_instrument.setdefault(entry.instrument, [])
            try:
                for block in holdings.blocks_of(entry):
                    rows += cast("list[Gap]", block.events())
            except DataError:
                continue

    def of(self, stream: Stream) -> list[Gap]:
        """Return the gaps that tell of a stream, by when they begin; of a stream of gaps all."""
        rows = self._by_instrument.get(stream.instrument, [])
        told = rows if stream.kind == "gap" else [gap for gap in rows if tells_of(gap.channel, stream)]
        return sorted(told, key=lambda gap: (gap.from_ns, gap.to_ns))


def gap_finding(stream: Stream, gaps: Sequence[Gap], held: Iterable[Stream] = ()) -> Finding | None:
    """Return what gap rows tell of a stream, None where they tell nothing; time that several cover counts once.

    Args:
        stream: A stream, or that of the gap rows themselves.
        gaps: What tells of it.
        held: The instrument's other streams; losses of none of them are told with the gap rows alone.
    """
    if not gaps:
        return None
    name = str(stream)
    causes = Counter(gap.cause for gap in gaps)
    if stream.kind == "gap":
        by_channel = Counter(f"{gap.channel} ({gap.cause})" for gap in gaps)
        told = ", ".join(f"{count} in {channel}" for channel, count in sorted(by_channel.items()))
        whole = sorted({gap.channel for gap in gaps if not any(tells_of(gap.channel, each) for each in held)})
        severity, rest = ("warning", f"; no row of {', '.join(whole)} is stored") if whole else ("info", "")
        places = tuple(FindingPlace(gap.from_ns, to_ns=gap.to_ns) for gap in gaps[:PLACES_KEPT]) if whole else ()
        return Finding(severity, name, f"gap rows tell of losses: {told}{rest}", "gap", len(gaps), places, name)
    lost_ns, end_ns = 0, -(2**63)
    for gap in gaps:
        lost_ns += max(0, gap.to_ns - max(gap.from_ns, end_ns))
        end_ns = max(end_ns, gap.to_ns)
    places = tuple(FindingPlace(gap.from_ns, to_ns=gap.to_ns) for gap in gaps[:PLACES_KEPT])
    told = ", ".join(f"{cause}: {count}" for cause, count in sorted(causes.items()))
    what = f"{counted(len(gaps), 'gap')} told by the recorder ({told}), {span_text(lost_ns)} in all, first {places[0]}"
    return Finding("warning", name, what, "gap", len(gaps), places, name)
