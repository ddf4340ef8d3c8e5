"""The best bid and ask of a rebuilt book after every row, by numpy and without a loop over rows."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.rows.columns import Block, Column

Floats = NDArray[np.float64]

#: Rows that are looked at together.
_ROWS: Final = 8_192
#: Among so many best levels before, the best one after each of those rows is looked for first.
_NEAR: Final = 50
#: So many changes below may wait.
_WAITING: Final = 1_000_000


class BookTops:
    """Rebuilds a book row by row and says its best prices; a book is empty before its first snapshot."""

    def __init__(self) -> None:
        self._bids = _SideTops()
        self._asks = _SideTops()

    def take(self, block: Block) -> tuple[Floats, Floats]:
        """Return the best bid and ask after each row, shape (n,); -inf and inf on an empty side."""
        snapshots = block.column("is_snapshot")
        best = []
        for side, sign, name in ((self._bids, 1.0, "bid"), (self._asks, -1.0, "ask")):
            starts = block.column(f"{name}_start")
            prices, qtys = sign * block.column(f"{name}_prices"), block.column(f"{name}_qtys")
            tops = [
                side.take(
                    prices[starts[row] : starts[stop]],
                    qtys[starts[row] : starts[stop]],
                    np.diff(starts[row : stop + 1]),
                    snapshots[row:stop],
                )
                for row in range(0, block.size, _ROWS)
                for stop in (min(row + _ROWS, block.size),)
            ]
            best.append(sign * np.concatenate(tops))
        return best[0], best[1]


class _SideTops:
    """One side; the best price is the highest.

    The levels next to the touch are kept apart: while one of them is filled, those below the floor cannot be the best,
    and their changes only wait.
    """

    def __init__(self) -> None:
        self._near: Floats = np.empty(0)
        self._floor = -np.inf
        self._deep: list[tuple[Floats, Floats]] = []  # changes of levels below the floor, in order
        self._waiting = 0
        self._is_known = False

    def take(self, prices: Floats, qtys: Floats, counts: Column, snapshots: Column) -> Floats:
        rows = np.repeat(np.arange(len(counts)), counts)
        if snapshots.any():
            return self._renew(prices, qtys, rows, snapshots)
        if not self._is_known:
            # Changes before the first snapshot build no book.
            return np.full(len(counts), -np.inf)
        near = prices >= self._floor
        levels = _LevelChanges(self._near, prices[near], rows[near], qtys[near] > 0, len(counts))
        best = levels.best()
        if self._deep and bool((best == -np.inf).any()):
            held = self._all()
            best = _LevelChanges(held, prices, rows, qtys > 0, len(counts)).best()
            self._settle(_filled(np.append(held, prices), np.append(np.ones(len(held)), qtys)))
            return best
        self._near = levels.last()
        if not near.all():
            self._deep.append((prices[~near], qtys[~near]))
            self._waiting += int((~near).sum())
        if not _NEAR // 4 <= len(self._near) <= 4 * _NEAR or self._waiting > _WAITING:
            self._settle(self._all())
        return best

    def _renew(self, prices: Floats, qtys: Floats, rows: Column, snapshots: Column) -> Floats:
        """Take rows with snapshots among them, stretch by stretch."""
        starts = np.flatnonzero(snapshots).tolist()
        parts = []
        for begin, end in pairwise([0, *starts, len(snapshots)] if starts[0] else [*starts, len(snapshots)]):
            inside = slice(*np.searchsorted(rows, [begin, end]).tolist())
            size = end - begin
            if not snapshots[begin] and not self._is_known:
                parts.append(np.full(size, -np.inf))
                continue
            held = np.empty(0) if snapshots[begin] else self._all()
            levels = _LevelChanges(held, prices[inside], rows[inside] - begin, qtys[inside] > 0, size)
            parts.append(levels.best())
            self._is_known = True
            self._settle(levels.last())
        return np.concatenate(parts)

    def _all(self) -> Floats:
        """Return every filled level."""
        if not self._deep:
            return self._near
        deep_prices, deep_qtys = (np.concatenate(parts) for parts in zip(*self._deep, strict=True))
        return np.append(_filled(deep_prices, deep_qtys), self._near)

    def _settle(self, held: Floats) -> None:
        """Part the filled levels into near and deep ones anew."""
        self._deep, self._waiting = [], 0
        if len(held) <= _NEAR:
            self._near, self._floor = held, -np.inf
            return
        self._floor = float(np.partition(held, -_NEAR)[-_NEAR])
        near = held >= self._floor
        self._near = held[near]
        self._deep.append((held[~near], np.ones(int((~near).sum()))))


def _filled(prices: Floats, qtys: Floats) -> Floats:
    """Return the prices of levels whose last change left a size."""
    order = np.argsort(prices, kind="stable")
    prices, qtys = prices[order], qtys[order]
    is_last = np.append(prices[1:] != prices[:-1], np.ones(min(1, len(prices)), np.bool_))
    return prices[is_last & (qtys > 0)]


class _LevelChanges:
    """Changes of levels in the order of rows, and the levels filled before.

    Args:
        held: Filled levels, each once.
        prices, rows, filled: Shape (m,): a level, when it changed, and whether it has a size since then.
        size: How many rows there are.
    """

    def __init__(self, held: Floats, prices: Floats, rows: Column, filled: Column, size: int) -> None:
        self._size = size
        prices = np.append(held, prices)
        order = np.argsort(prices, kind="stable")
        self._prices = prices[order]
        self._begins = np.append(np.zeros(len(held), np.int64), rows)[order]
        self._filled = np.append(np.ones(len(held), np.bool_), filled)[order]
        self._is_last = np.append(self._prices[1:] != self._prices[:-1], np.ones(min(1, len(order)), np.bool_))

    def last(self) -> Floats:
        """Return the filled levels after the last row."""
        found: Floats = self._prices[self._is_last & self._filled]
        return found

    def best(self) -> Floats:
        """Return the highest filled level after each row, shape (n,); -inf without one."""
        ends = np.where(self._is_last, self._size, np.append(self._begins[1:], 0)[: len(self._begins)])
        lasting = self._filled & (self._begins < ends)
        return _painted(self._begins[lasting], ends[lasting], self._prices[lasting], self._size)


def _painted(begins: Column, ends: Column, values: Floats, size: int) -> Floats:
    """Return the highest value over each of `size` places, of values that each cover the places [begin, end).

    Examples:
        >>> _painted(np.array([0, 1]), np.array([3, 2]), np.array([5.0, 7.0]), 4).tolist()
        [5.0, 7.0, 5.0, -inf]
    """
    lengths = ends - begins
    # Two windows as long as the highest power of two that fits, one at either end, cover a stretch.
    power = np.frexp(lengths.astype(np.float64))[1] - 1
    powers = int(power.max(initial=0)) + 1
    table: Floats = np.full((powers, size), -np.inf)
    places = power * size
    np.maximum.at(table.reshape(-1), places + begins, values)
    np.maximum.at(table.reshape(-1), places + ends - (1 << power), values)
    # Each window is two of half its length.
    for longer in range(powers - 1, 0, -1):
        half = 1 << (longer - 1)
        np.maximum(table[longer - 1], table[longer], out=table[longer - 1])
        np.maximum(table[longer - 1, half:], table[longer, :-half], out=table[longer - 1, half:])
    highest: Floats = table[0]
    return highest
