"""Funding at its boundary: settled rates are told after it, at times minutes after, and valued at the price of then."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, NS_PER_S, iso_of, span_text
from quantkit.events import Funding
from quantkit.orderbook import DenseBook
from quantkit.orders import Fill
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor
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


class MidReplay:
    """The mids of a book's rows in one batch, worked out from how it stood before them once somebody asks.

    Args:
        cursor, gaps: The book and its gaps as a batch begins; no gaps: None.

    Attributes:
        last_ns: When the last row came.
    """

    def __init__(self, cursor: BookCursor, gaps: StreamCursor | None) -> None:
        assert cursor.block is not None
        self.last_ns = cursor.block.stamps_of(cursor.rows - 1)[0]
        self._before = cursor.book.saved()
        self._cursor = BookCursor(cursor.stream, self._before.instrument)
        self._cursor.load(cursor.block, cursor.positions)
        self._gaps: StreamCursor | None = None
        if gaps is not None and gaps.rows:
            self._gaps = StreamCursor(gaps.stream)
            self._gaps.load(gaps.block, gaps.positions)
        self._mark: BookMark | None = None

    def rows(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices of rows and the mids after them, up to an index at least."""
        if self._mark is None:
            self._cursor.book = DenseBook.of(self._before)
            self._mark = BookMark(self._cursor, self._gaps)
        return self._mark.rows(index)

    def prices(self) -> _Prices:
        """Return the mids of all rows."""
        return _mids_at(self._cursor, *self.rows(NOWHERE))


def _mids_at(cursor: StreamCursor, indices: NDArray[np.int64], mids: NDArray[np.float64]) -> _Prices:
    """Return the mids after rows that stand at some indices, with the stamps of these rows."""
    if not len(indices):
        return _NO_PRICES
    rows = cursor.positions.searchsorted(indices)
    return cursor.column("received_ns")[rows], cursor.column("exchange_ns")[rows], mids


#: Rows whose prices are kept.
_RowsOrPrices: TypeAlias = Block | _Prices | MidReplay


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
        # Oldest first, each with the `received_ns` from which on it has a price at the latest.
        self._kept: deque[tuple[int, _RowsOrPrices]] = deque()
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
            yield self._read(kept)

    def _present(self, index: int) -> _Prices:
        """Return the prices of this batch before an index."""
        block = self._cursor.block
        if block is None:
            return _NO_PRICES
        return self._of(block.slice(0, self._cursor.row_at(index)))

    def _read(self, kept: _RowsOrPrices) -> _Prices:
        match kept:
            case Block():
                return self._of(kept)
            case MidReplay():
                return kept.prices()
            case _:
                return kept

    def _of(self, block: Block) -> _Prices:
        prices = prices_of(block)
        known = ~np.isnan(prices)
        return block.column("received_ns")[known], block.column(self._stamp)[known], prices[known]

    def _keep_prices(self, rows: _Prices) -> None:
        if len(rows[0]):
            self._keep(int(rows[0][0]), rows, len(rows[0]))

    def _keep(self, received_ns: int, rows: _RowsOrPrices, size: int) -> None:
        self._kept.append((received_ns, rows))
        self._small = self._small + 1 if size <= _FEW_ROWS else 0
        if self._small == _MANY_BLOCKS:
            newest = [self._kept.pop() for _ in range(_MANY_BLOCKS)][::-1]
            found = [self._read(kept) for _, kept in newest]
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


def _last_received_ns(rows: _RowsOrPrices) -> int:
    match rows:
        case Block():
            return rows.stamps_of(rows.size - 1)[0]
        case MidReplay():
            return rows.last_ns
        case _:
            return int(rows[0][-1])


class PastMids(PastPrices):
    """The mids of a book: of every row, whether or not a position makes others look at the book.

    To know them all costs as much again as the book itself. They are read off where a batch is small or where the mark
    knows them anyway. Of a large batch only its rows and the book before them are kept, until somebody asks.

    Args:
        mark: The mid of the book as the mark.
        gaps: The gaps of the book; None where the run has none.
    """

    def __init__(self, mark: BookMark, gaps: StreamCursor | None) -> None:
        super().__init__(mark.cursor)
        self._mark = mark
        self._gaps = gaps
        self._replay: MidReplay | None = None  # of this batch, if it is large

    def begin(self) -> None:
        """Keep the mid that rows from before the run have left."""
        self._keep_standing(self._mark.cursor.exchange_ns, self._mark.cursor.received_ns)

    def enter_rows(self) -> None:
        """Begin a batch with rows of the book, of which none has been applied."""
        self._replay = None
        if self._cursor.rows > _FEW_ROWS:
            self._replay = MidReplay(self._mark.cursor, self._gaps)
        elif self._cursor.rows > 1:
            self._mark.watch()

    def leave_rows(self) -> None:
        cursor, replay, self._replay = self._mark.cursor, self._replay, None
        if cursor.rows == 1:
            # Its mid is that of the book as it stands now: a row live costs next to nothing.
            cursor.advance(1)
            self._keep_standing(*cursor.stamps_at(0))
        elif replay is None:
            self._keep_mids(*self._mark.rows(NOWHERE))
        elif self._is_known(cursor.rows - 1):
            self._keep_mids(*self._mark.known_rows())
        else:
            cursor.advance(cursor.rows)
            if self._mark.standing() is None:
                self._keep_prices(replay.prices())  # its last row has no price: what stood before may have to stay
            else:
                self._keep(replay.last_ns, replay, cursor.rows)

    def _is_known(self, last: int) -> bool:
        """Return whether the mark knows the rows of this batch from the first one to `last`."""
        indices, cursor = self._mark.known_rows()[0], self._cursor
        return len(indices) > 0 and indices[0] == cursor.index_of(0) and int(indices[-1]) >= cursor.index_of(last)

    def _keep_mids(self, indices: NDArray[np.int64], mids: NDArray[np.float64]) -> None:
        self._keep_prices(_mids_at(self._cursor, indices, mids.copy()))

    def _keep_standing(self, exchange_ns: int, received_ns: int) -> None:
        mid = self._mark.standing()
        if mid is not None:
            self._keep_prices((np.array([received_ns], np.int64), np.array([exchange_ns], np.int64), np.array([mid])))

    def _present(self, index: int) -> _Prices:
        if not self._cursor.rows:
            return _NO_PRICES
        source = self._mark if self._replay is None or self._is_known(0) else self._replay
        indices, mids = source.rows(index)
        seen = int(indices.searchsorted(index))
        return _mids_at(self._cursor, indices[:seen], mids[:seen])


class Settlements:
    """The funding boundaries of a run: each is charged once, at its own price.

    Args:
        streams: Those of the run.
        cursors, marks: Their rows, and the mark of each instrument.
    """

    def __init__(
        self, streams: Collection[Stream], cursors: Mapping[Stream, StreamCursor], marks: Mapping[str, AnyMark]
    ) -> None:
        self._values: dict[str, PastPrices] = {}
        self._marks: dict[str, PastPrices] = {}
        self._past: dict[Stream, list[PastPrices]] = {}
        self._mids: dict[Stream, PastMids] = {}  # those of books among them
        self._boundaries: dict[str, dict[int, None]] = {}
        self._repeats: dict[str, int] = {}  # settled rates of boundaries that had been told
        self._late: dict[str, tuple[int, int]] = {}  # how many were told too late, and the longest delay
        for name in sorted({stream.instrument for stream in streams if stream.kind == "funding"}):
            value, stream = marks[name], Stream("mark", name)
            if isinstance(value, BookMark):
                mids = PastMids(value, cursors.get(Stream("gap", name)))
                self._values[name] = self._mids[value.cursor.stream] = mids
            else:
                self._values[name] = PastPrices(value.cursor)
            self._past.setdefault(value.cursor.stream, []).append(self._values[name])
            if stream in cursors and cursors[stream] is not value.cursor:
                self._marks[name] = PastPrices(cursors[stream])
                self._past.setdefault(stream, []).append(self._marks[name])

    def begin_run(self) -> None:
        """Take note of how books stand at the start of the run."""
        for mids in self._mids.values():
            mids.begin()

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch, in which these cursors have rows: none has been applied."""
        if self._mids:
            for cursor in cursors:
                if cursor.stream in self._mids:
                    self._mids[cursor.stream].enter_rows()

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Keep what may be asked for of a batch that has ended, in which these cursors had rows."""
        if self._past:
            for cursor in cursors:
                for past in self._past.get(cursor.stream, ()):
                    past.leave_rows()

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
