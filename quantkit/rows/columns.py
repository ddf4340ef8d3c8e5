"""Rows of one stream as numpy columns, and the way between columns and event objects."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, repeat
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS
from quantkit.events import (
    KINDS,
    RANKS,
    BookUpdate,
    Candle,
    Funding,
    Gap,
    InstrumentChange,
    Mark,
    MarketEvent,
    Row,
    Ticker,
    Timing,
    Trade,
)
from quantkit.instruments import Side

Column: TypeAlias = NDArray[Any]

#: `side` column codes: 0 is a buy, 1 a sell.
SIDES: Final = np.array([Side.BUY, Side.SELL], dtype=object)

#: Columns of each kind beside `received_ns`, `exchange_ns` and `seq`. A book row's levels lie flat; `bid_start[i]`
#: to `bid_start[i + 1]` are row i's (n + 1 offsets), likewise `ask_start`.
KIND_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "gap": ("channel", "from_ns", "to_ns", "cause"),
    "funding": ("rate", "funding_ns", "is_settled"),
    "mark": ("price", "source"),
    "candle": ("open_ns", "close_ns", "open", "high", "low", "close", "volume"),
    "candle_open": ("open", "open_ns", "close_ns"),
    "instrument": ("info",),
    "book": (
        "bid_start",
        "bid_prices",
        "bid_qtys",
        "ask_start",
        "ask_prices",
        "ask_qtys",
        "is_snapshot",
        "update_seq",
        "prev_update_seq",
    ),
    "ticker": ("bid", "bid_qty", "ask", "ask_qty", "last", "last_qty"),
    "trade": ("price", "qty", "side", "trade_id"),
    "timing": ("number", "sent_ns", "offset_ns", "sender"),
}
STAMPS: Final = ("received_ns", "exchange_ns", "seq")
_OFFSETS: Final = ("bid_start", "ask_start")
#: How the fields of events are kept that are columns as they stand; the others are numbers of type float64.
_FIELD_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(("channel", "cause", "source", "sender", "info"), object),
    **dict.fromkeys((*STAMPS, "from_ns", "to_ns", "funding_ns", "open_ns", "close_ns", "trade_id"), np.int64),
    **dict.fromkeys(("number", "sent_ns", "offset_ns"), np.int64),
    "is_settled": np.bool_,
}
_FLAT: Final = {
    "bid_prices": "bid_start",
    "bid_qtys": "bid_start",
    "ask_prices": "ask_start",
    "ask_qtys": "ask_start",
}


class Stream(NamedTuple):
    """The name of one sequence of rows: its kind, instrument and, for candles, interval."""

    kind: str
    instrument: str
    interval: str = ""

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """Where the stream's rows stand among rows of one stamp: rank, short interval first, instrument id."""
        return (RANKS[self.kind], INTERVALS.get(self.interval, 0), self.instrument)

    def __str__(self) -> str:
        return f"{self.instrument} {self.kind}{' ' + self.interval if self.interval else ''}"


class Block:
    """A run of rows of one stream, in order, as columns that are decoded when first asked for.

    Args:
        stream: Whose rows they are.
        size: How many rows.
        columns: Arrays already at hand, each of length `size` (book levels: flat, see `KIND_COLUMNS`).
        load: Decodes a column that is not at hand yet.
    """

    __slots__ = ("_columns", "_given", "_load", "_offset", "_parts", "_whole", "size", "stream")

    def __init__(
        self,
        stream: Stream,
        size: int,
        columns: Mapping[str, Column],
        load: Callable[[str], Column] | None = None,
    ) -> None:
        self.stream = stream
        self.size = size
        self._columns = dict(columns)
        self._load = load
        self._whole: Block | None = None  # what this is a slice of, from `_offset` on
        self._offset = 0
        self._parts: Sequence[Block] = ()  # what this was joined from
        self._given: Sequence[Row] = ()  # the events that this was made of

    def __len__(self) -> int:
        return self.size

    def column(self, name: str) -> Column:
        """Return a column, decoding it on first use.

        Raises:
            KeyError: The stream's kind has no such column.
        """
        array = self._columns.get(name)
        if array is None:
            array = self._columns[name] = self._make(name)
        return array

    def _make(self, name: str) -> Column:
        if self._whole is not None:
            return self._whole.rows_of(name, self._offset, self._offset + self.size)
        if self._parts:
            return _joined(self._parts, name)
        if self._given and (name in STAMPS or name in KIND_COLUMNS[self.stream.kind]):
            return self._gather(name)
        if self._load is None:
            raise KeyError(f"{self.stream}: no column {name}")
        return self._load(name)

    def _gather(self, name: str) -> Column:
        """Return a column of the fields of the events that this was made of."""
        events = cast("Sequence[Any]", self._given)
        if name == "seq":
            return np.arange(self.size, dtype=np.int64)
        if name == "side":
            return np.array([event.side is not Side.BUY for event in events], np.int8)
        if self.stream.kind == "book" and name not in STAMPS:
            self._columns.update(_split_books(events))
            return self._columns[name]
        return _array(events, name, _FIELD_TYPES.get(name, np.float64))

    @property
    def last_event(self) -> Row | None:
        """The last row as an event, None where it would have to be made first."""
        return self._given[-1] if self._given else None

    @property
    def given(self) -> Sequence[Row]:
        """The events that this was made of; none where it came as columns."""
        return self._given

    def stamps_of(self, row: int) -> tuple[int, int]:
        """Return `received_ns` and `exchange_ns` of one row."""
        if self._given:
            return self._given[row].received_ns, self._given[row].exchange_ns
        return int(self.column("received_ns")[row]), int(self.column("exchange_ns")[row])

    def exchange_ns_max(self) -> int:
        """Return the latest `exchange_ns`; there is at least one row."""
        if self._given:
            return max([event.exchange_ns for event in self._given])
        return int(self.column("exchange_ns").max())

    def rows_of(self, name: str, start: int, stop: int) -> Column:
        """Return a column of rows `start` to `stop`: levels for flat ones, offsets from zero for `bid_start`."""
        offsets = _FLAT.get(name)
        if offsets is not None:
            edges = self.column(offsets)
            return self.column(name)[int(edges[start]) : int(edges[stop])]
        if name in _OFFSETS:
            edges = self.column(name)
            return cast(Column, edges[start : stop + 1] - edges[start])
        return self.column(name)[start:stop]

    def slice(self, start: int, stop: int) -> "Block":
        """Return rows `start` to `stop` as a block that shares this one's columns.

        A slice refers to the block that was decoded, not to slices and joins in between: what has been passed is freed.
        """
        if start == 0 and stop == self.size:
            return self
        if self._whole is not None:
            return self._whole.slice(self._offset + start, self._offset + stop)
        if self._parts:
            return self._slice_of_parts(start, stop)
        part = Block(self.stream, stop - start, {})
        part._whole, part._offset = self, start
        return part

    def _slice_of_parts(self, start: int, stop: int) -> "Block":
        inside, begin = [], 0
        for part in self._parts:
            low, high = max(start - begin, 0), min(stop - begin, part.size)
            if low < high:
                inside.append(part.slice(low, high))
            begin += part.size
        return Block.concat(inside) if inside else self._parts[0].slice(0, 0)

    def events(self, start: int = 0, stop: int | None = None) -> list[MarketEvent]:
        """Return rows as event objects, the same whether they come from files, frames or sockets."""
        part = self if stop is None and start == 0 else self.slice(start, self.size if stop is None else stop)
        return list(cast("Iterator[MarketEvent]", part.walk()[1]))

    def walk(self) -> tuple[list[int], Iterator[Row]]:
        """Return the rows' `received_ns` and an iterator that makes each event object when it is asked for.

        An event that nobody keeps gives its memory to the next one, which is a good deal faster than a list of all.
        """
        if self._given:
            return [event.received_ns for event in self._given], iter(self._given)
        received = self.column("received_ns").tolist()
        stamps = (repeat(self.stream.instrument, self.size), self.column("exchange_ns").tolist(), received)
        return received, _BUILDERS[self.stream.kind](self, stamps)

    @classmethod
    def from_events(cls, events: Sequence[Row], *, first_seq: int = 0, stream: Stream | None = None) -> "Block":
        """Build the block of one stream's events, which must be of one kind and instrument and not empty.

        Their fields become columns when they are first asked for.

        Args:
            events: In order.
            first_seq: Number of the first row.
            stream: Theirs, where it is known already.
        """
        if stream is None:
            first = events[0]
            kind = "instrument" if isinstance(first, InstrumentChange) else KINDS[type(first)]
            stream = Stream(kind, first.instrument, first.interval if isinstance(first, Candle) else "")
        columns: dict[str, Column] = {}
        if first_seq:
            columns["seq"] = np.arange(first_seq, first_seq + len(events), dtype=np.int64)
        block = cls(stream, len(events), columns)
        block._given = events
        return block

    @classmethod
    def concat(cls, blocks: Sequence["Block"]) -> "Block":
        """Return the rows of `blocks`, which belong to one stream and follow each other."""
        if len(blocks) == 1:
            return blocks[0]
        joined = cls(blocks[0].stream, sum(block.size for block in blocks), {})
        joined._parts = [part for block in blocks for part in (block._parts or (block,))]
        return joined


def _joined(parts: Sequence[Block], name: str) -> Column:
    """Return a column of blocks that follow each other."""
    if name not in _OFFSETS:
        return np.concatenate([part.column(name) for part in parts])
    edges, end = [np.zeros(1, np.int64)], 0
    for part in parts:
        own = part.column(name)
        edges.append(own[1:] + end)
        end += int(own[-1])
    return np.concatenate(edges)


def optional_list(column: Column) -> list[float | None]:
    """Return floats as a list with None where the source had nothing."""
    values: list[float | None] = column.tolist()
    if np.isnan(column).any():
        return [None if value != value else value for value in values]
    return values


_Stamps: TypeAlias = tuple[Iterable[str], list[int], list[int]]


def _trades(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    return map(
        Trade,
        *stamps,
        block.column("price").tolist(),
        block.column("qty").tolist(),
        SIDES[block.column("side")].tolist(),
        block.column("trade_id").tolist(),
    )


def _tickers(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    return map(Ticker, *stamps, *(optional_list(block.column(c)) for c in KIND_COLUMNS["ticker"]))


def _candles(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    numbers = (block.column(c).tolist() for c in KIND_COLUMNS["candle"])
    return map(Candle, *stamps, *numbers, repeat(block.stream.interval, block.size))


def _book_updates(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    levels: list[list[tuple[float, ...]]] = []
    for side in ("bid", "ask"):
        edges = block.column(f"{side}_start").tolist()
        for name in (f"{side}_prices", f"{side}_qtys"):
            flat = block.column(name).tolist()
            levels.append([tuple(flat[a:b]) for a, b in pairwise(edges)])
    rest = (block.column(c).tolist() for c in ("is_snapshot", "update_seq", "prev_update_seq"))
    return map(BookUpdate, *stamps, *levels, *rest)


def _marks(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    return map(Mark, *stamps, block.column("price").tolist(), block.column("source").tolist())


def _fundings(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    return map(Funding, *stamps, *(block.column(c).tolist() for c in KIND_COLUMNS["funding"]))


def _gaps(block: Block, stamps: _Stamps) -> Iterator[MarketEvent]:
    return map(Gap, *stamps, *(block.column(c).tolist() for c in KIND_COLUMNS["gap"]))


def _timings(block: Block, stamps: _Stamps) -> Iterator[Row]:
    return map(Timing, *stamps, *(block.column(c).tolist() for c in KIND_COLUMNS["timing"]))


def _changes(block: Block, stamps: _Stamps) -> Iterator[Row]:
    return map(InstrumentChange, *stamps, block.column("info").tolist())


_BUILDERS: Final[dict[str, Callable[[Block, _Stamps], Iterator[Row]]]] = {
    "trade": _trades,
    "ticker": _tickers,
    "candle": _candles,
    "book": _book_updates,
    "mark": _marks,
    "funding": _fundings,
    "gap": _gaps,
    "timing": _timings,
    "instrument": _changes,
}


def _array(events: Sequence[Any], name: str, dtype: Any) -> Column:
    return np.array([getattr(event, name) for event in events], dtype)


def _split_books(events: Sequence[BookUpdate]) -> dict[str, Column]:
    columns: dict[str, Column] = {
        "is_snapshot": _array(events, "is_snapshot", np.bool_),
        "update_seq": _array(events, "seq", np.int64),
        "prev_update_seq": _array(events, "prev_seq", np.int64),
    }
    for side in ("bid", "ask"):
        counts = [len(getattr(event, f"{side}_prices")) for event in events]
        columns[f"{side}_start"] = np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)
        for name in (f"{side}_prices", f"{side}_qtys"):
            columns[name] = np.array([x for event in events for x in getattr(event, name)], np.float64)
    return columns
