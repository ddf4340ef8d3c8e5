"""The gaps of a run: how many there were, and how much time they lost, by instrument and channel."""

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Final

from quantkit.clock import span_text
from quantkit.events import Gap

#: So many gaps are kept whole, for whoever watches the run.
_LAST: Final = 20


class Gaps:
    """Counts gaps, and time lost once: gaps may overlap, and a book stays dark from its gap to its next snapshot.

    A search may find a snapshot before the run reaches it, so sums are taken on demand.

    Attributes:
        last: The last gaps, newest last.
    """

    def __init__(self) -> None:
        self.last: deque[Gap] = deque(maxlen=_LAST)
        self._counts: dict[tuple[str, str], int] = {}  # by instrument and channel
        self._spans: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self._out: dict[str, dict[str, int]] = {}  # where gaps end, by channel, that no snapshot has ended
        # The last outage that a snapshot ended: its span, and when the snapshot came.
        self._ended: dict[tuple[str, str], tuple[int, int, int]] = {}

    @property
    def count(self) -> int:
        """The number of gaps."""
        return sum(self._counts.values())

    def add(self, gap: Gap, *, hides_book: bool) -> None:
        """Count a gap, which may leave the engine's book of its instrument without a valid state."""
        key = gap.instrument, gap.channel
        self.last.append(gap)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._spans[key].append((gap.from_ns, gap.to_ns))
        if hides_book:
            self._out.setdefault(gap.instrument, {}).setdefault(gap.channel, gap.to_ns)

    def is_out(self, instrument: str) -> bool:
        """Return whether a book waits for its next snapshot."""
        return instrument in self._out

    def end_outage(self, instrument: str, exchange_ns: int, received_ns: int) -> None:
        """Take a book's first snapshot after a gap."""
        for channel, since_ns in self._out.pop(instrument).items():
            key = instrument, channel
            if key in self._ended:
                self._spans[key].append(self._ended[key][:2])
            self._ended[key] = since_ns, exchange_ns, received_ns

    def notes(self, end_ns: int | None = None) -> list[str]:
        """Return a sentence for each instrument and channel of a run that ended at `end_ns`."""
        return [
            f"{instrument}: {count} {'gap' if count == 1 else 'gaps'} in {channel}, "
            f"{span_text(_lost_ns(self._all_spans(instrument, channel, end_ns)))} lost in all"
            for (instrument, channel), count in self._counts.items()
        ]

    def _all_spans(self, instrument: str, channel: str, end_ns: int | None) -> list[tuple[int, int]]:
        key = instrument, channel
        spans = list(self._spans[key])
        if key in self._ended:
            since_ns, until_ns, received_ns = self._ended[key]
            # The run may have ended before it came to the snapshot.
            spans.append((since_ns, until_ns if end_ns is None or received_ns <= end_ns else end_ns))
        since = self._out.get(instrument, {}).get(channel)
        if end_ns is not None and since is not None:
            spans.append((since, end_ns))
        return spans


def _lost_ns(spans: Iterable[tuple[int, int]]) -> int:
    """Return the time that spans cover, each moment once."""
    lost_ns, counted_until_ns = 0, 0
    for from_ns, to_ns in sorted(spans):
        lost_ns += max(0, to_ns - max(from_ns, counted_until_ns))
        counted_until_ns = max(counted_until_ns, to_ns)
    return lost_ns
