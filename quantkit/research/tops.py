"""The best levels of a book along a span: at every change, or at equal distances."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from quantkit.clock import NEVER_NS
from quantkit.errors import ConfigError
from quantkit.instruments import Side
from quantkit.orderbook import DenseBook
from quantkit.research.books import BookWalk, StoredBooks, WalkedRows
from quantkit.rows.columns import Block

#: Rows of a frame that nobody meant.
_MOST_ROWS: Final = 100_000_000
_NAN: Final = float("nan")


def level_columns(levels: int) -> tuple[str, ...]:
    """Return the names of the columns of the best levels.

    Examples:
        >>> level_columns(1)
        ('bid_1', 'bid_qty_1', 'ask_1', 'ask_qty_1')
    """
    return tuple(f"{name}_{level}" for level in range(1, levels + 1) for name in ("bid", "bid_qty", "ask", "ask_qty"))


class Tops:
    """The best levels of a book at one moment after the other.

    Args:
        levels: How many of each side.
    """

    def __init__(self, levels: int) -> None:
        if levels < 1:
            raise ConfigError(f"levels is {levels}; give 1 or more")
        self._levels = levels
        self._missing = [_NAN] * (4 * levels)
        self._stamps: list[int] = []
        self._values: list[list[float]] = []
        self._last: list[float] | None = None

    def take(self, moment_ns: int, walk: BookWalk | None, *, if_changed: bool = False) -> None:
        """Note the best levels of a walk's book, missing ones while it is not known.

        Raises:
            DataError: The recording is crossed.
        """
        values = self._missing
        if walk is not None and walk.book.is_valid:
            walk.book.check_not_crossed(walk.received_ns)
            values = self._best(walk.book)
        # NaN differs from itself, but a list of the same NaN does not.
        if not if_changed or values != self._last:
            self._stamps.append(moment_ns)
            self._values.append(values)
            self._last = values

    def _best(self, book: DenseBook) -> list[float]:
        price = book.instrument.price
        if self._levels == 1:
            bid, ask = book.best_bid_ticks(), book.best_ask_ticks()
            return [
                *((_NAN, _NAN) if bid is None else (price(bid), book.size(Side.BUY, bid))),
                *((_NAN, _NAN) if ask is None else (price(ask), book.size(Side.SELL, ask))),
            ]
        values = list(self._missing)
        for side, offset in ((Side.BUY, 0), (Side.SELL, 2)):
            for place, (ticks, size) in enumerate(islice(book.levels(side), self._levels)):
                values[4 * place + offset] = price(ticks)
                values[4 * place + offset + 1] = size
        return values

    def table(self, names: tuple[str, ...]) -> Any:
        """Return what was noted as a `pyarrow.Table`: `received_ns`, and floats with nulls where nothing is known."""
        import pyarrow as pa

        from quantkit.storage.schema import arrow_type

        values = np.array(self._values, np.float64).reshape(-1, 4 * self._levels)
        stamps = pa.array(np.array(self._stamps, np.int64)).view(arrow_type("stamp"))
        columns = [pa.array(np.ascontiguousarray(column), from_pandas=True) for column in values.T]
        return pa.Table.from_arrays([stamps, *columns], names=["received_ns", *names])


def tops(
    books: StoredBooks, blocks: Iterator[Block], start_ns: int, end_ns: int, *, levels: int, every_ns: int | None
) -> Tops:
    """Return the best levels of a book along a span.

    Args:
        books: The book.
        blocks: Its rows received after `start_ns` and before `end_ns`.
        start_ns, end_ns: The span, both within what is held of the book.
        levels: How many of each side.
        every_ns: From one moment to the next; None takes the start, and then every change.
    """
    found = Tops(levels)
    walk = books.walk_from(start_ns)
    if every_ns is None:
        _at_changes(found, walk, blocks, start_ns, end_ns)
    else:
        if (end_ns - start_ns) // every_ns > _MOST_ROWS:
            raise ConfigError(f"the span has more than {_MOST_ROWS:,} such moments; ask for fewer")
        _at_moments(found, walk, blocks, range(start_ns, end_ns, every_ns), books.end_ns)
    return found


def _at_changes(found: Tops, walk: BookWalk, blocks: Iterator[Block], start_ns: int, end_ns: int) -> None:
    found.take(start_ns, walk, if_changed=True)
    for block in blocks:
        rows = WalkedRows(block)
        for row, stamp_ns in enumerate(rows.received_ns.tolist()):
            walk.lose_until(stamp_ns)
            if not walk.book.is_valid:
                found.take(max(walk.lost_ns, start_ns), walk, if_changed=True)
            walk.apply(rows, row, row + 1)
            # Of several rows of one stamp each counts: a reader may see the book between them.
            found.take(stamp_ns, walk, if_changed=True)
    walk.lose_until(end_ns - 1)
    if not walk.book.is_valid:
        found.take(max(walk.lost_ns, start_ns), walk, if_changed=True)


def _at_moments(found: Tops, walk: BookWalk, blocks: Iterator[Block], moments: range, held_until_ns: int) -> None:
    ahead = iter(moments)
    moment = next(ahead, NEVER_NS)
    for block in blocks:
        rows, done = WalkedRows(block), 0
        stamps = rows.received_ns
        last_ns = int(stamps[-1])
        # Further rows of the last stamp may come in the next block.
        while moment < last_ns:
            row = done + int(np.searchsorted(stamps[done:], moment, "right"))
            walk.apply(rows, done, row)
            walk.lose_until(moment)
            found.take(moment, walk)
            done, moment = row, next(ahead, NEVER_NS)
        walk.apply(rows, done, block.size)
    while moment != NEVER_NS:
        walk.lose_until(moment)
        found.take(moment, walk if moment <= held_until_ns else None)
        moment = next(ahead, NEVER_NS)
