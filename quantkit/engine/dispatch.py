"""The rows that are handed to hooks one by one, in the total order, as fast as the interpreter goes."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.brokers.base import DirtySet
from quantkit.engine.guard import HookGuard
from quantkit.errors import DataError, StrategyError
from quantkit.rows.cursors import NOWHERE
from quantkit.rows.position import RunPosition

#: Up to so many rows a batch is lined up with lists.
_FEW_ROWS: Final = 64


class HookedRows(NamedTuple):
    """One cursor's hooked rows.

    Attributes:
        indices: Where they stand in the batch.
        hook: The function called with each row.
        times: Their `received_ns` as a list, None where it would have to be decoded.
        events: Makes the rows' events, one after the other; of a book the numbers of its rows.
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
        dirty: Ends a run of rows when a hook has put something in.
        guard: Says which hook raised.

    Attributes:
        next_index: Where the next row stands that is handed out; `NOWHERE` after the last one.
    """

    def __init__(self, position: RunPosition, dirty: DirtySet, guard: HookGuard) -> None:
        self.next_index = NOWHERE
        self._position = position
        self._dirty = dirty
        self._guard = guard
        self._behind: Sequence[int] = []  # the index behind each row
        self._count = 0
        self._one_hook: Callable[[Any], None] | None = None
        self._rows: Iterator[Any] = iter(())
        self._left: Any = iter([])

    def line_up(self, parts: Sequence[HookedRows], received_ns: NDArray[np.int64]) -> None:
        """Merge the hooked rows of all cursors of a batch."""
        if len(parts) == 1:
            indices, self._one_hook, times, events = parts[0]
            times = received_ns[indices].tolist() if times is None else times
            self._begin(_behind(indices, len(received_ns)), times, events)
            return
        self._one_hook = None
        if len(received_ns) <= _FEW_ROWS:
            self._line_up_few(parts, received_ns)
            return
        indices = np.concatenate([part.indices for part in parts]) if parts else np.empty(0, np.int64)
        order = np.argsort(indices, kind="stable")
        indices = indices[order]
        whose = np.repeat(np.arange(len(parts)), [len(part.indices) for part in parts])[order].tolist()
        hooks, sources = [part.hook for part in parts], [part.events for part in parts]
        self._begin(
            _behind(indices, len(received_ns)),
            received_ns[indices].tolist(),
            map(hooks.__getitem__, whose),
            map(sources.__getitem__, whose),
        )

    def _line_up_few(self, parts: Sequence[HookedRows], received_ns: NDArray[np.int64]) -> None:
        """Merge a handful of rows, as they come live, where arrays cost more than lists."""
        owners: list[HookedRows | None] = [None] * len(received_ns)
        for part in parts:
            for index in part.indices.tolist():
                owners[index] = part
        stamps = received_ns.tolist()
        behind, times, hooks, sources = [], [], [], []
        for index, owner in enumerate(owners):
            if owner is not None:
                behind.append(index + 1)
                times.append(stamps[index])
                hooks.append(owner.hook)
                sources.append(owner.events)
        self._begin(behind, times, hooks, sources)

    def _begin(self, behind: Sequence[int], times: list[int], *more: Iterable[Any]) -> None:
        """Stand before the first row; `more` makes what else a row needs."""
        self._behind, self._count, self._left = behind, len(times), iter(times)
        self._rows = zip(behind, self._left, *more, strict=False)
        self.next_index = behind[0] - 1 if times else NOWHERE

    def run_to(self, limit: int) -> None:
        """Hand out the rows before the index `limit`, fewer when a hook changed something.

        Raises:
            StrategyError: A hook raised.
        """
        position, dirty, behind = self._position, self._dirty, self._behind
        # The iterator is shared with `_rows`: what is left of it has not been handed out.
        done = self._count - self._left.__length_hint__()
        # Each hooked row takes one index at least: no more than `limit - next_index` of them stand before the limit.
        end = min(self._count, done + limit - self.next_index)
        if behind[end - 1] > limit:
            end = bisect_right(behind, limit, done, end)
        hook, event = self._one_hook, None
        # The targets of these loops are the run's position: it moves with every row, without a call.
        try:
            if hook is not None:
                for position.index, position.now_ns, event in islice(self._rows, end - done):
                    hook(event)
                    if dirty:
                        break
            else:
                for position.index, position.now_ns, hook, events in islice(self._rows, end - done):
                    event = next(events)
                    hook(event)
                    if dirty:
                        break
        except (StrategyError, DataError):
            raise
        except (Exception, SystemExit) as error:
            raise self._guard.error(getattr(hook, "__name__", "hook"), error, event) from error
        done = self._count - self._left.__length_hint__()
        self.next_index = behind[done] - 1 if done < self._count else NOWHERE


def _behind(indices: NDArray[np.int64], rows: int) -> Sequence[int]:
    """Return the index behind each of some rows of a batch, in order; where they are all of them, these just count."""
    return range(1, rows + 1) if len(indices) == rows else (indices + 1).tolist()
