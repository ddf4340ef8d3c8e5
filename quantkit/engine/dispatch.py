"""The rows that are handed to hooks one by one, in the total order, as fast as the interpreter goes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.rows.position import RunPosition

#: Up to so many rows a batch is lined up with lists.
_FEW_ROWS: Final = 64


class HookedRows(NamedTuple):
    """One cursor's hooked rows.

    Attributes:
        indices: Where they stand in the batch.
        hook: The function called with each row.
        times: Their `received_ns` as a list, None where it would have to be decoded.
        events: Makes the rows' events, one after the other.
    """

    indices: NDArray[np.int64]
    hook: Callable[[Any], None]
    times: list[int] | None
    events: Iterator[Any]


class HookDispatcher:
    """Hands a batch's hooked rows out in order.

    Each event is made as it is handed out and freed right after, so that the next one finds its memory warm.

    Args:
        position: Gets the time of each row before its hook runs, and moves with the rows.
        dirty: Filled by hooks that send orders or start timers; a run of rows stops when it is not empty.
    """

    def __init__(self, position: RunPosition, dirty: set[str]) -> None:
        self.indices: NDArray[np.int64] = np.empty(0, np.int64)
        #: The hook that ran last and what it was given, for the error that it may raise.
        self.hook: Callable[[Any], None] | None = None
        self.event: Any = None
        self._position = position
        self._dirty = dirty
        self._one_hook: Callable[[Any], None] | None = None
        self._rows: Iterator[Any] = iter(())
        self._times: Any = iter([])

    def line_up(self, parts: Sequence[HookedRows], received_ns: NDArray[np.int64]) -> None:
        """Merge the hooked rows of all cursors of a batch."""
        if len(parts) == 1:
            self.indices, self._one_hook, times, events = parts[0]
            self._times = iter(received_ns[self.indices].tolist() if times is None else times)
            self._rows = zip(self._times, events, strict=False)
            return
        self._one_hook = None
        if len(received_ns) <= _FEW_ROWS:
            self._line_up_few(parts, received_ns)
            return
        indices = np.concatenate([part.indices for part in parts]) if parts else np.empty(0, np.int64)
        order = np.argsort(indices, kind="stable")
        self.indices = indices[order]
        whose = np.repeat(np.arange(len(parts)), [len(part.indices) for part in parts])[order].tolist()
        self._times = iter(received_ns[self.indices].tolist())
        hooks, sources = [part.hook for part in parts], [part.events for part in parts]
        self._rows = zip(self._times, map(hooks.__getitem__, whose), map(sources.__getitem__, whose), strict=False)

    def _line_up_few(self, parts: Sequence[HookedRows], received_ns: NDArray[np.int64]) -> None:
        """Merge a handful of rows, as they come live, where arrays cost more than lists."""
        owners: list[HookedRows | None] = [None] * len(received_ns)
        for part in parts:
            for index in part.indices.tolist():
                owners[index] = part
        stamps = received_ns.tolist()
        indices, times, hooks, sources = [], [], [], []
        for index, owner in enumerate(owners):
            if owner is not None:
                indices.append(index)
                times.append(stamps[index])
                hooks.append(owner.hook)
                sources.append(owner.events)
        self.indices = np.array(indices, np.int64)
        self._times = iter(times)
        self._rows = zip(self._times, hooks, sources, strict=False)

    def run(self, count: int) -> int:
        """Run the next `count` rows, fewer when a hook changed something; return how many ran in this batch."""
        position, dirty = self._position, self._dirty
        position.follow(self.indices, self._times)
        hook, event = self._one_hook, None
        try:
            if hook is not None:
                for position.now_ns, event in islice(self._rows, count):
                    hook(event)
                    if dirty:
                        break
            else:
                for position.now_ns, hook, events in islice(self._rows, count):
                    event = next(events)
                    hook(event)
                    if dirty:
                        break
        except (Exception, SystemExit):
            self.hook, self.event = hook, event
            raise
        position.rest()
        return len(self.indices) - int(self._times.__length_hint__())
