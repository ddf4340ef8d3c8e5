"""Funding at its boundary: settled rates are told after it, at times minutes after, and valued at the price of then."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, NS_PER_S, iso_of, span_text
from quantkit.events import Funding
from quantkit.orders import Fill
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.marks import AnyMark, BookMark, prices_of

#: Prices count for so long after they came: exchanges tell a settled rate within minutes of its boundary.
KEPT_NS: Final = 60 * NS_PER_MIN
#: The mark price counts unless what values the run is fresher by more than this: marks may end before a run does.
_FRESHER_NS: Final = NS_PER_MIN
#: After a boundary, exchanges take so long to read positions: a fill within it may be charged.
_DOUBTFUL_NS: Final = 60 * NS_PER_S
#: So many small blocks, as they come live, are joined into one.
_FEW_ROWS: Final = 64
_MANY_BLOCKS: Final = 256

# When each came, the exchange's stamp of it, and the price; rows without one are left out.
_Prices: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
_NO_PRICES: Final[_Prices] = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)


class PastPrices:
    """One cursor's prices by the exchange's stamps, of this batch and of at least the hour before.

    Answers depend on the rows' stamps alone: batches are cut anywhere, and a live batch may hold one row.
    """

    def __init__(self, cursor: StreamCursor) -> None:
        self._cursor = cursor
        # A candle is stamped with its close. It and a mark of the boundary's own stamp count, what trades does not.
        self._stamp = "close_ns" if cursor.kind == "candle" else "exchange_ns"
        self._counts_own_stamp = cursor.kind in ("mark", "candle")
        self._may_lack_price = cursor.kind in ("mark", "ticker")
        self._kept: deque[tuple[int, Block | _Prices]] = deque()  # each with its first `received_ns`, oldest first
        self._small = 0  # how many of the newest hold a few rows only
        self._is_cut = False  # whether older prices have been let go of

    def leave_rows(self) -> None:
        """Keep the prices of an ending batch that may be needed later, and drop those too old."""
        block = self._cursor.block
        assert block is not None
        if self._may_lack_price:
            self._keep_prices(self._of(block))
        else:
            self._keep(block.stamps_of(0)[0], block, block.size)

    def at(self, boundary_ns: int, index: int, since_ns: int) -> tuple[int, float] | None:
        """Return stamp and value of the last price at a boundary among the rows before `index`, None without any.

        Of the prices before `since_ns` only the last one counts: it was the price at that moment.
        """
        for stamps, prices, _ in self._newest_first(index, since_ns):
            counted = np.flatnonzero(stamps <= boundary_ns if self._counts_own_stamp else stamps < boundary_ns)
            if len(counted):
                return int(stamps[counted[-1]]), float(prices[counted[-1]])
        return None

    def oldest(self, index: int, since_ns: int) -> tuple[int, float] | None:
        """Return the first price that still counts, None unless there were older ones."""
        found, is_cut = None, False
        for stamps, prices, has_older in self._newest_first(index, since_ns):
            is_cut = is_cut or has_older
            if len(stamps):
                found = int(stamps[0]), float(prices[0])
        return found if is_cut else None

    def _newest_first(self, index: int, since_ns: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], bool]]:
        """Yield stamps and prices that count, and whether there were older ones."""
        standing_ns: int | None = None  # when the one came that stood at `since_ns`
        for received, stamps, prices in self._all_newest_first(index):
            if standing_ns is None:
                before = int(received.searchsorted(since_ns))
                standing_ns = int(received[before - 1]) if before else None
            first = 0 if standing_ns is None else int(received.searchsorted(standing_ns))
            yield stamps[first:], prices[first:], first > 0 or self._is_cut
            if first:
                return

    def _all_newest_first(self, index: int) -> Iterator[_Prices]:
        yield self._present(index)
        for _, kept in reversed(self._kept):
            yield self._of(kept) if isinstance(kept, Block) else kept

    def _present(self, index: int) -> _Prices:
        """Return the prices of this batch before an index."""
        block = self._cursor.block
        if block is None:
            return _NO_PRICES
        return self._of(block.slice(0, self._cursor.row_at(index)))

    def _of(self, block: Block) -> _Prices:
        prices = prices_of(block)
        known = ~np.isnan(prices)
        return block.column("received_ns")[known], block.column(self._stamp)[known], prices[known]

    def _keep_prices(self, rows: _Prices) -> None:
        if len(rows[0]):
            self._keep(int(rows[0][0]), rows, len(rows[0]))

    def _keep(self, received_ns: int, rows: Block | _Prices, size: int) -> None:
        self._kept.append((received_ns, rows))
        self._small = self._small + 1 if size <= _FEW_ROWS else 0
        if self._small == _MANY_BLOCKS:
            newest = [self._kept.pop() for _ in range(_MANY_BLOCKS)][::-1]
            found = [self._of(kept) if isinstance(kept, Block) else kept for _, kept in newest]
            received, stamps, prices = (np.concatenate(column) for column in zip(*found, strict=True))
            self._kept.append((newest[0][0], (received, stamps, prices)))
            self._small = 0
        # What stood at the time from which prices count has to stay, and whatever came with it.
        standing_ns = None
        for first_ns, _ in self._kept:
            if first_ns >= received_ns - KEPT_NS:
                break
            standing_ns = first_ns
        while standing_ns is not None and _last_received_ns(self._kept[0][1]) < standing_ns:
            self._kept.popleft()
            self._small = min(self._small, len(self._kept))
            self._is_cut = True


def _last_received_ns(rows: Block | _Prices) -> int:
    return rows.stamps_of(rows.size - 1)[0] if isinstance(rows, Block) else int(rows[0][-1])


class PastMids(PastPrices):
    """The mids of a book, which are known row by row from the first fill of a batch on, or from its start."""

    def __init__(self, mark: BookMark) -> None:
        super().__init__(mark.cursor)
        self._mark = mark

    def leave_rows(self) -> None:
        received, stamps, prices = self._rows_of(*self._mark.known_rows())
        self._keep_prices((received, stamps, prices.copy()))

    def note_fill(self) -> None:
        """Keep the mid at a fill, and every one after it."""
        cursor = self._mark.cursor
        if cursor.rows and cursor.applied:
            self._mark.watch()
            return
        mid = self._mark.standing()
        if mid is not None:
            stamps = np.array([cursor.received_ns], np.int64), np.array([cursor.exchange_ns], np.int64)
            self._keep_prices((*stamps, np.array([mid])))

    def _present(self, index: int) -> _Prices:
        indices, mids = self._mark.rows(index)
        seen = int(indices.searchsorted(index))
        return self._rows_of(indices[:seen], mids[:seen])

    def _rows_of(self, indices: NDArray[np.int64], mids: NDArray[np.float64]) -> _Prices:
        if not len(indices):
            return _NO_PRICES
        rows = self._cursor.positions.searchsorted(indices)
        return self._cursor.column("received_ns")[rows], self._cursor.column(self._stamp)[rows], mids


class Settlements:
    """The funding boundaries of a run: each is charged once, at its own price.

    Args:
        streams: Those of the run.
        cursors, marks: Their rows, and the mark of each instrument.

    Attributes:
        follows_books: Whether a boundary may be valued at the mid of a book, so that fills have to be told.
    """

    def __init__(
        self, streams: Collection[Stream], cursors: Mapping[Stream, StreamCursor], marks: Mapping[str, AnyMark]
    ) -> None:
        self._values: dict[str, PastPrices] = {}
        self._marks: dict[str, PastPrices] = {}
        self._past: dict[Stream, list[PastPrices]] = {}
        self._boundaries: dict[str, dict[int, None]] = {}
        self._repeats: dict[str, int] = {}  # settled rates of boundaries that had been told
        self._late: dict[str, tuple[int, int]] = {}  # how many were told too late, and the longest delay
        for name in sorted({stream.instrument for stream in streams if stream.kind == "funding"}):
            value, stream = marks[name], Stream("mark", name)
            self._values[name] = PastMids(value) if isinstance(value, BookMark) else PastPrices(value.cursor)
            self._past.setdefault(value.cursor.stream, []).append(self._values[name])
            if stream in cursors and cursors[stream] is not value.cursor:
                self._marks[name] = PastPrices(cursors[stream])
                self._past.setdefault(stream, []).append(self._marks[name])
        self.follows_books = any(isinstance(past, PastMids) for past in self._values.values())

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Keep what may be asked for of a batch that has ended, in which these cursors had rows."""
        if self._past:
            for cursor in cursors:
                for past in self._past.get(cursor.stream, ()):
                    past.leave_rows()

    def note_fill(self, instrument: str) -> None:
        """Note that a position begins or changes at this index."""
        past = self._values.get(instrument)
        if isinstance(past, PastMids):
            past.note_fill()

    def begin(self, funding: Funding) -> bool:
        """Note a settled rate; return whether it is the first one for its boundary."""
        boundaries = self._boundaries.setdefault(funding.instrument, {})
        if funding.funding_ns in boundaries:
            self._repeats[funding.instrument] = self._repeats.get(funding.instrument, 0) + 1
            return False
        boundaries[funding.funding_ns] = None
        return True

    def price(self, funding: Funding, fills: Sequence[Fill], index: int) -> float:
        """Return the price of a boundary from the rows before `index`.

        Without such a row it is the price of our last fill before the boundary; a position means that there is a fill.
        """
        name, boundary_ns = funding.instrument, funding.funding_ns
        past = self._values[name]
        since_ns = funding.received_ns - KEPT_NS
        value = past.at(boundary_ns, index, since_ns)
        if value is None:
            value = past.oldest(index, since_ns)
            if value is not None:
                count, longest_ns = self._late.get(name, (0, 0))
                self._late[name] = count + 1, max(longest_ns, funding.received_ns - boundary_ns)
        mark = self._marks[name].at(boundary_ns, index, since_ns) if name in self._marks else None
        if mark is not None and (value is None or mark[0] >= value[0] - _FRESHER_NS):
            return mark[1]
        if value is not None:
            return value[1]
        return next(fill.price for fill in reversed(fills) if fill.instrument == name and fill.filled_ns < boundary_ns)

    def notes(self, fills: Sequence[Fill]) -> list[str]:
        """Return warnings: fills just after a boundary, and rates received too late."""
        notes = []
        for name, boundaries in self._boundaries.items():
            settled = np.array(sorted(boundaries), np.int64)
            stamps = np.array([fill.filled_ns for fill in fills if fill.instrument == name], np.int64)
            before = settled.searchsorted(stamps, "right")
            known = before > 0
            close = np.zeros(len(stamps), np.bool_)
            close[known] = stamps[known] - settled[before[known] - 1] <= _DOUBTFUL_NS
            if close.any():
                first_ns = int(settled[before[close][0] - 1])
                count = int(close.sum())
                notes.append(
                    f"{name}: {count} {'fill' if count == 1 else 'fills'} within 60 s after a funding boundary (first: "
                    f"{iso_of(first_ns)}) paid none; the exchange may charge it"
                )
        for name, count in self._repeats.items():
            many = "1 settled funding rate was" if count == 1 else f"{count} settled funding rates were"
            notes.append(f"{name}: {many} of a boundary that had been charged already, and charged nothing")
        for name, (count, longest_ns) in self._late.items():
            notes.append(
                f"{name}: {count} funding {'rate was' if count == 1 else 'rates were'} told up to "
                f"{span_text(longest_ns)} late and valued at the oldest price that was kept"
            )
        return notes
