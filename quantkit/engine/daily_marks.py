"""What every instrument of a run is worth from day to day: its mark at the start, at UTC midnights, and at the end."""

from collections.abc import Mapping

from quantkit.clock import NS_PER_DAY
from quantkit.engine.outcome import DailyMark
from quantkit.rows.marks import AnyMark
from quantkit.rows.position import RunPosition


class DailyMarks:
    """Notes marks as a run goes by, from the columns of those batches alone in which a day ends.

    A midnight's mark is that of the equity curve's grid row there: of all rows stamped at or before it.

    Args:
        sources: The mark of each instrument.
        position: The run's position.
        start_ns: When the run begins; the first midnight comes after it.
    """

    def __init__(self, sources: Mapping[str, AnyMark], position: RunPosition, start_ns: int) -> None:
        self._sources = sources
        self._position = position
        self._next_ns = (start_ns // NS_PER_DAY + 1) * NS_PER_DAY
        self._found: dict[str, list[DailyMark]] = {name: [] for name in sources}
        self._waiting = list(sources)  # those without a first mark

    def begin(self, start_ns: int) -> None:
        """Note what stands at the start: the books that rows from before it have built."""
        for name, source in self._sources.items():
            self._add(name, start_ns, source.before(self._position.index))
        self._waiting = [name for name, marks in self._found.items() if not marks]

    def enter_batch(self) -> None:
        """Look through a batch, of which nothing has been handed out yet, for first marks and midnights."""
        stamps = self._position.stamps
        if self._waiting:
            self._waiting = [name for name in self._waiting if not self._has_first(name)]
        # Whether more rows have the stamp of the last one is not known yet.
        while self._next_ns < stamps[-1]:
            index = int(self._position.received_ns.searchsorted(self._next_ns, "right"))
            for name, source in self._sources.items():
                self._add(name, self._next_ns, source.at(index))
            self._next_ns += NS_PER_DAY

    def until(self, end_ns: int) -> list[DailyMark]:
        """Return the marks of a run that ends here, by instrument and in order of time."""
        whole: list[DailyMark] = []
        for name, source in self._sources.items():
            marks, price = self._found[name], source.before(self._position.index)
            for midnight_ns in range(self._next_ns, end_ns, NS_PER_DAY):
                self._add(name, midnight_ns, price)
            # A run may end in the middle of a batch that was looked through to its end.
            while marks and marks[-1].at_ns >= end_ns:
                marks.pop()
            self._add(name, end_ns, price)
            whole += marks
        return whole

    def _add(self, name: str, at_ns: int, price: float | None) -> None:
        marks = self._found[name]
        if price is not None and not (marks and marks[-1].at_ns >= at_ns):
            marks.append(DailyMark(name, at_ns, price))

    def _has_first(self, name: str) -> bool:
        """Note an instrument's first mark if a row of this batch brings it, and return whether one does."""
        source, received_ns, limit = self._sources[name], self._position.received_ns, 64
        while source.cursor.rows:
            # A book is looked through row by row: no further than it takes.
            indices, prices = source.rows(min(limit, len(received_ns)))
            if len(indices):
                self._add(name, int(received_ns[indices[0]]), float(prices[0]))
                return True
            if limit >= len(received_ns):
                break
            limit *= 8
        return False
