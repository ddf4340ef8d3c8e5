"""Rows of one stream as numpy columns, and the way between columns and event objects."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS
from quantkit.events import EVENT_KINDS, KINDS, RANKS, Candle, Extra, Field, InstrumentChange, MarketEvent, Row
from quantkit.instruments import Side
from quantkit.rows.extras import ExtraColumns, ExtraRows

Column: TypeAlias = NDArray[Any]

#: `side` column codes: 0 is a buy, 1 a sell.
SIDES: Final = np.array([Side.BUY, Side.SELL], dtype=object)

STAMPS: Final = ("received_ns", "exchange_ns", "seq")
#: How a column of each type is kept.
DTYPES: Final[dict[str, Any]] = {
    "stamp": np.int64,
    "int": np.int64,
    "float": np.float64,
    "optional": np.float64,
    "flag": np.bool_,
    "side": np.int8,
    "text": object,
    "levels": np.float64,
    "object": object,
}


def offsets_of(field: Field) -> str:
    """Return the name of the column that says where each row's levels lie in a column of levels.

    Examples:
        >>> offsets_of(Field("bid_prices", "levels", "price"))
        'bid_start'
    """
    return f"{field.name.partition('_')[0]}_start"


def _with_offsets(fields: Iterable[Field]) -> tuple[str, ...]:
    """Return the names of columns, those of offsets before their levels."""
    names: dict[str, None] = {}
    for field in fields:
        if field.type == "levels":
            names[offsets_of(field)] = None
        names[field.name] = None
    return tuple(names)


#: Columns of each kind beside `received_ns`, `exchange_ns` and `seq`. A book row's levels lie flat; `bid_start[i]`
#: to `bid_start[i + 1]` are row i's (n + 1 offsets), likewise `ask_start`.
KIND_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    kind.name: _with_offsets(kind.fields) for kind in EVENT_KINDS.values()
}
_FIELDS: Final[dict[str, dict[str, Field]]] = {
    kind.name: {field.name: field for field in kind.fields} for kind in EVENT_KINDS.values()
}
#: The offsets of columns of levels, by kind and column.
_FLAT: Final[dict[str, dict[str, str]]] = {
    kind: {field.name: offsets_of(field) for field in fields.values() if field.type == "levels"}
    for kind, fields in _FIELDS.items()
}
_OFFSETS: Final[dict[str, frozenset[str]]] = {kind: frozenset(flat.values()) for kind, flat in _FLAT.items()}


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
        extras: What travels with each row beside.
    """

    __slots__ = ("_columns", "_extras", "_given", "_load", "_offset", "_parts", "_whole", "size", "stream")

    def __init__(
        self,
        stream: Stream,
        size: int,
        columns: Mapping[str, Column],
        load: Callable[[str], Column] | None = None,
        extras: ExtraColumns | ExtraRows | None = None,
    ) -> None:
        self.stream = stream
        self.size = size
        self._columns = dict(columns)
        self._load = load
        self._extras = extras
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
        if name in STAMPS:
            return np.array([getattr(event, name) for event in events], np.int64)
        field = _FIELDS[self.stream.kind].get(name)
        if field is None or field.type == "levels":
            self._columns.update(_flattened(events, _FIELDS[self.stream.kind].values()))
            return self._columns[name]
        values = [getattr(event, field.attribute) for event in events]
        if field.type == "side":
            return np.array([side is not Side.BUY for side in values], np.int8)
        return np.array(values, DTYPES[field.type])

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
        offsets = _FLAT[self.stream.kind].get(name)
        if offsets is not None:
            edges = self.column(offsets)
            return self.column(name)[int(edges[start]) : int(edges[stop])]
        if name in _OFFSETS[self.stream.kind]:
            edges = self.column(name)
            return cast(Column, edges[start : stop + 1] - edges[start])
        return self.column(name)[start:stop]

    @property
    def has_extras(self) -> bool:
        """Whether something travels with the rows beside the columns of their kind."""
        if self._whole is not None:
            return self._whole.has_extras
        return self._extras is not None or any(part.has_extras for part in self._parts)

    def extras(self) -> Iterator[Extra]:
        """Return what travels with each row, where there is something."""
        if self._whole is not None:
            assert self._whole._extras is not None
            return self._whole._extras.between(self._offset, self._offset + self.size)
        if self._parts:
            return chain.from_iterable(part.extras() for part in self._parts)
        assert self._extras is not None
        return self._extras.between(0, self.size)

    def extras_at(self, rows: NDArray[np.int64]) -> list[Extra]:
        """Return what travels with some rows, rising, where there is something."""
        if self._whole is not None:
            assert self._whole._extras is not None
            return self._whole._extras.at(rows + self._offset)
        if self._parts:
            found, begin = list[Extra](), 0
            for part in self._parts:
                first, stop = np.searchsorted(rows, [begin, begin + part.size]).tolist()
                found += part.extras_at(rows[first:stop] - begin)
                begin += part.size
            return found
        assert self._extras is not None
        return self._extras.at(rows)

    def slice(self, start: int, stop: int) -> "Block":
        """Return rows `start` to `stop` as a block that shares this one's columns.

        A slice refers to the decoded block, not to slices and joins in between, so that passed rows are freed.
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

        An event that nobody keeps gives its memory to the next one, which is much faster than a list of all events.
        """
        if self._given:
            return [event.received_ns for event in self._given], iter(self._given)
        received = self.column("received_ns").tolist()
        stamps = (repeat(self.stream.instrument, self.size), self.column("exchange_ns").tolist(), received)
        return received, self._made(stamps)

    def _made(self, stamps: "_StampLists") -> Iterator[Row]:
        """Return an iterator that makes the events out of the columns."""
        kind = EVENT_KINDS[self.stream.kind]
        if kind.event is None:
            raise KeyError(f"{self.stream}: its rows are a part of others and no events")
        attributes: list[Iterable[Any]] = [self._values(field) for field in kind.fields]
        if self.stream.interval:
            attributes.append(repeat(self.stream.interval, self.size))
        if self.has_extras:
            attributes.append(self.extras())
        return map(kind.event, *stamps, *attributes)

    def _values(self, field: Field) -> Iterable[Any]:
        """Return a column as its events have it."""
        column = self.column(field.name)
        match field.type:
            case "optional":
                return optional_list(column)
            case "side":
                return cast("Iterable[Any]", SIDES[column].tolist())
            case "levels":
                flat = column.tolist()
                return [tuple(flat[a:b]) for a, b in pairwise(self.column(offsets_of(field)).tolist())]
            case _:
                return cast("Iterable[Any]", column.tolist())

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
        extras = None
        if stream.kind == "candle" and any(event.extra for event in cast("Sequence[Candle]", events)):
            extras = ExtraRows([Extra(event.extra) for event in cast("Sequence[Candle]", events)])
        block = cls(stream, len(events), columns, extras=extras)
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
    if name not in _OFFSETS[parts[0].stream.kind]:
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


_StampLists: TypeAlias = tuple[Iterable[str], list[int], list[int]]


def _flattened(events: Sequence[Any], fields: Iterable[Field]) -> dict[str, Column]:
    """Return the levels of all sides, flat, and the offsets of their rows."""
    columns: dict[str, Column] = {}
    for field in fields:
        if field.type == "levels":
            rows = [getattr(event, field.attribute) for event in events]
            counts = [len(row) for row in rows]
            columns[offsets_of(field)] = np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)
            columns[field.name] = np.array([x for row in rows for x in row], DTYPES[field.type])
    return columns
