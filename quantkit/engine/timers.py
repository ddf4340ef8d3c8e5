"""A strategy's timers, in the order in which they are due."""

import heapq
from typing import TypeAlias

from quantkit.clock import NEVER_NS

#: A timer waiting to run: due when, its number, its name, and its period in ns, 0 for one that runs once.
_Timer: TypeAlias = tuple[int, int, str, int]


class Timers:
    """Timers in the order they are due, those of one moment in the order they were started.

    Attributes:
        next_ns: When the next timer is due; `NEVER_NS` without one.
    """

    def __init__(self) -> None:
        self.next_ns = NEVER_NS
        self._heap: list[_Timer] = []
        self._count = 0

    def start_once(self, due_ns: int, name: str) -> None:
        """Start a timer that runs once."""
        self._add(due_ns, name, 0)

    def start_every(self, every_ns: int, name: str, now_ns: int) -> None:
        """Start a timer that runs on UTC multiples of a step, after the present time."""
        self._add(_multiple_after(now_ns, every_ns), name, every_ns)

    def _add(self, due_ns: int, name: str, every_ns: int) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due_ns, self._count, name, every_ns))
        self.next_ns = self._heap[0][0]

    def restart_from(self, start_ns: int) -> None:
        """Move repeating timers to their first multiple after the start, and drop single ones before it."""
        kept: list[_Timer] = []
        for due_ns, number, name, every_ns in self._heap:
            if every_ns:
                kept.append((_multiple_after(start_ns, every_ns), number, name, every_ns))
            elif due_ns >= start_ns:
                kept.append((due_ns, number, name, every_ns))
        self._heap = kept
        heapq.heapify(self._heap)
        self.next_ns = kept[0][0] if kept else NEVER_NS

    def pop(self) -> str:
        """Take the next timer off and return its name; one that repeats starts anew."""
        due_ns, number, name, every_ns = self._heap[0]
        if every_ns:
            heapq.heapreplace(self._heap, (due_ns + every_ns, number, name, every_ns))
        else:
            heapq.heappop(self._heap)
        self.next_ns = self._heap[0][0] if self._heap else NEVER_NS
        return name


def _multiple_after(now_ns: int, step_ns: int) -> int:
    """Return the first multiple of a step after a moment."""
    return (now_ns // step_ns + 1) * step_ns
