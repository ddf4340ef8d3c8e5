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
    Mark,
    MarketEvent,
    Ticker,
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
}
STAMPS: Final = ("received_ns", "exchange_ns", "seq")
_OFFSETS: Final = ("bid_start", "ask_start")
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
    def sort_key(self) -> tuple[float, int, str]:
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
        self._given: Sequence[MarketEvent] = ()  # the events that this was made of

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
        if self._given and name in STAMPS:
            if name == "seq":
                return np.arange(self.size, dtype=np.int64)
            return np.array([event.exchange_ns for event in self._given], np.int64)
        if self._given and name in KIND_COLUMNS[self.stream.kind]:
            self._columns.update(_SPLITTERS[self.stream.kind](cast("Sequence[Any]", self._given)))
            return self._columns[name]
        if self._load is None:
            raise KeyError(f"{self.stream}: no column {name}")
        return self._load(name)

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
        return list(part.walk()[1])

    def walk(self) -> tuple[list[int], Iterator[MarketEvent]]:
        """Return the rows' `received_ns` and an iterator that makes each event object when it is asked for.

        An event that nobody keeps gives its memory to the next one, which is a good deal faster than a list of all.
        """
        received = self.column("received_ns").tolist()
        if self._given:
            return received, iter(self._given)
        stamps = (repeat(self.stream.instrument, self.size), self.column("exchange_ns").tolist(), received)
        return received, _BUILDERS[self.stream.kind](self, stamps)

    @classmethod
    def from_events(cls, events: Sequence[MarketEvent], *, first_seq: int = 0) -> "Block":
        """Build the block of one stream's events, which must be of one kind and instrument and not empty.

        Their fields become columns when one is first asked for.
        """
        first = events[0]
        kind = KINDS[type(first)]
        stream = Stream(kind, first.instrument, first.interval if isinstance(first, Candle) else "")
        columns: dict[str, Column] = {"received_ns": np.array([e.received_ns for e in events], np.int64)}
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


_BUILDERS: Final[dict[str, Callable[[Block, _Stamps], Iterator[MarketEvent]]]] = {
    "trade": _trades,
    "ticker": _tickers,
    "candle": _candles,
    "book": _book_updates,
    "mark": _marks,
    "funding": _fundings,
    "gap": _gaps,
}


def _array(events: Sequence[Any], name: str, dtype: Any) -> Column:
    return np.array([getattr(event, name) for event in events], dtype)


def _split_trades(events: Sequence[Trade]) -> dict[str, Column]:
    return {
        "price": _array(events, "price", np.float64),
        "qty": _array(events, "qty", np.float64),
        "side": np.array([event.side is not Side.BUY for event in events], np.int8),
        "trade_id": _array(events, "trade_id", np.int64),
    }


def _split_tickers(events: Sequence[Ticker]) -> dict[str, Column]:
    return {name: _array(events, name, np.float64) for name in KIND_COLUMNS["ticker"]}


def _split_candles(events: Sequence[Candle]) -> dict[str, Column]:
    return {
        name: _array(events, name, np.int64 if name.endswith("_ns") else np.float64) for name in KIND_COLUMNS["candle"]
    }


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


def _split_marks(events: Sequence[Mark]) -> dict[str, Column]:
    return {"price": _array(events, "price", np.float64), "source": _array(events, "source", object)}


def _split_fundings(events: Sequence[Funding]) -> dict[str, Column]:
    return {
        "rate": _array(events, "rate", np.float64),
        "funding_ns": _array(events, "funding_ns", np.int64),
        "is_settled": _array(events, "is_settled", np.bool_),
    }


def _split_gaps(events: Sequence[Gap]) -> dict[str, Column]:
    return {
        "channel": _array(events, "channel", object),
        "from_ns": _array(events, "from_ns", np.int64),
        "to_ns": _array(events, "to_ns", np.int64),
        "cause": _array(events, "cause", object),
    }


_SPLITTERS: Final[dict[str, Callable[[Sequence[Any]], dict[str, Column]]]] = {
    "trade": _split_trades,
    "ticker": _split_tickers,
    "candle": _split_candles,
    "book": _split_books,
    "mark": _split_marks,
    "funding": _split_fundings,
    "gap": _split_gaps,
}
