"""How the columns of `events.EVENT_KINDS` are laid down: Arrow types, Parquet encodings, folders, and older versions.

Files are `exchange=../kind=../instrument=../date=../part-N.parquet` by the UTC day of `received_ns`; marks, funding,
gaps and timings, whose rows are few, lie in `exchange=../kind=../instrument=../month=../part-N.parquet` by its UTC
month. Candles lie in `exchange=../kind=candle/interval=../instrument=../month=../part-N.parquet` by the UTC month of
`open_ns`, and instrument metadata in `exchange=../kind=instrument/instrument=../part-N.parquet`. pyarrow is loaded when
the first type is asked for, so that importing this module costs nothing.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple

from quantkit.clock import INTERVALS, NS_PER_DAY, datetime_of, time_ns_of
from quantkit.errors import DataError, SchemaError
from quantkit.events import EVENT_KINDS, EVENT_TYPES, Field
from quantkit.instruments import check_id
from quantkit.rows.columns import Stream

#: The version this package writes. It reads this one and every older one, see `VERSIONS`.
SCHEMA_VERSION: Final = 1

#: No row group is written or read beyond this, so that one block always fits in memory.
ROW_GROUP_ROWS_MAX: Final = 1_048_576
#: No book column is read beyond this many levels.
LEVELS_MAX: Final = 4_194_304
#: Book levels after which a row group ends early: a full depth snapshot weighs as much as a thousand updates, and a
#: block of this many stays in the processor's cache.
GROUP_LEVELS: Final = 262_144


#: Of instruments whose id names no exchange.
DEFAULT_EXCHANGE: Final = "okx"

#: Kinds whose files hold a UTC month; a day's worth of their rows would be a file of little more than a footer.
MONTHLY: Final = frozenset(kind.name for kind in EVENT_KINDS.values() if kind.per == "month")


class Physical(NamedTuple):
    """A type's form in Parquet: `dictionary` or a column encoding, and the leaf's path below the column."""

    encoding: str
    leaf: str = ""


#: Measured on recorded trades: dictionaries make prices and sizes 2.4 times smaller than BYTE_STREAM_SPLIT and decode
#: twice as fast; Parquet falls back to plain pages by itself where a dictionary grows too large. Stamps and ids are
#: near-arithmetic series, for which deltas are smallest and fastest.
PHYSICAL: Final[dict[str, Physical]] = {
    "stamp": Physical("DELTA_BINARY_PACKED"),
    "int": Physical("DELTA_BINARY_PACKED"),
    "float": Physical("dictionary"),
    "optional": Physical("dictionary"),
    "flag": Physical("RLE"),
    "side": Physical("dictionary"),
    "text": Physical("dictionary"),
    "levels": Physical("dictionary", ".list.element"),
    "string": Physical("PLAIN"),
}
COMPRESSION: Final = "zstd"
COMPRESSION_LEVEL: Final = 3
#: Of files that were compacted: written once, when nothing waits for it.
COMPACT_LEVEL: Final = 9

#: Keys of a file's own metadata.
META_VERSION: Final = b"quantkit.schema_version"
META_KIND: Final = b"quantkit.kind"
META_INSTRUMENT: Final = b"quantkit.instrument"
META_INTERVAL: Final = b"quantkit.interval"
#: In files of instrument metadata: the largest orders by `valid_from_ns`, JSON; absent where none is known. It is no
#: column, so that files without it are read as ever.
META_ORDER_LIMITS: Final = b"quantkit.order_limits"


def _fields(**types: str) -> tuple[Field, ...]:
    return tuple(Field(name, type_) for name, type_ in types.items())


_ROW: Final = {"received_ns": "stamp", "exchange_ns": "stamp", "seq": "int"}

#: Version 1: what a file of each kind holds, in order.
TABLES: Final[dict[str, tuple[Field, ...]]] = {
    **{kind.name: (*_fields(**_ROW), *kind.fields) for kind in EVENT_KINDS.values() if kind.is_stored},
    "instrument": _fields(
        valid_from_ns="stamp",
        id="string",
        instrument_exchange="string",
        instrument_kind="string",
        base="string",
        quote="string",
        settle="string",
        price_step="string",
        qty_step="string",
        min_qty="string",
        contract_value="string",
        contract_multiplier="string",
        is_inverse="flag",
        source="string",
    ),
}


#: `Instrument` fields whose columns carry another name: a column `kind` beside a folder `kind=instrument` would keep
#: pandas and pyarrow from reading the folder.
INSTRUMENT_COLUMNS: Final = {"exchange": "instrument_exchange", "kind": "instrument_kind"}


class Version(NamedTuple):
    """How files of one schema version are read.

    Attributes:
        tables: The columns its files hold, by kind.
        upgrade: Called with the kind, a column of today's table and a function that reads a stored column by name;
            returns the column as today's table has it. Only what it reads is decoded.
    """

    tables: Mapping[str, tuple[Field, ...]]
    upgrade: Callable[[str, str, Callable[[str], Any]], Any]


def _as_stored(kind: str, name: str, read: Callable[[str], Any]) -> Any:
    """Read a column whose name, type and meaning have not changed since."""
    return read(name)


#: Every version ever written. A new version adds a line here and gives the older ones an `upgrade` to its columns.
VERSIONS: Final[dict[int, Version]] = {1: Version(TABLES, _as_stored)}


@cache
def arrow_type(type_: str) -> Any:
    """Return the Arrow type that a `Field.type` stands for."""
    import pyarrow as pa

    types = {
        "stamp": pa.timestamp("ns", "UTC"),
        "int": pa.int64(),
        "float": pa.float64(),
        "optional": pa.float64(),
        "flag": pa.bool_(),
        "side": pa.dictionary(pa.int8(), pa.string()),
        "text": pa.dictionary(pa.int32(), pa.string()),
        "levels": pa.list_(pa.field("element", pa.float64(), nullable=False)),
        "string": pa.string(),
    }
    return types[type_]


def arrow_schema(stream: Stream) -> Any:
    """Return the Arrow schema of a stream's files, with what the file says of itself as metadata."""
    import pyarrow as pa

    fields = [pa.field(f.name, arrow_type(f.type), nullable=f.type == "optional") for f in TABLES[stream.kind]]
    metadata: dict[bytes | str, bytes | str] = {
        META_VERSION: str(SCHEMA_VERSION),
        META_KIND: stream.kind,
        META_INSTRUMENT: stream.instrument,
        META_INTERVAL: stream.interval,
    }
    return pa.schema(fields, metadata=metadata)


def writer_options(kind: str, level: int = COMPRESSION_LEVEL) -> dict[str, Any]:
    """Return the options of `pyarrow.parquet.ParquetWriter` that give a kind its encodings and checksums.

    Args:
        kind: Of the rows.
        level: Of the compression.
    """
    import pyarrow.parquet as pq

    laid = {f.name + PHYSICAL[f.type].leaf: PHYSICAL[f.type].encoding for f in TABLES[kind]}
    names = [f.name for f in TABLES[kind]]
    order = ("valid_from_ns",) if kind == "instrument" else ("received_ns", "seq")
    return {
        "version": "2.6",
        "compression": COMPRESSION,
        "compression_level": level,
        "use_dictionary": [leaf for leaf, encoding in laid.items() if encoding == "dictionary"],
        "column_encoding": {leaf: encoding for leaf, encoding in laid.items() if encoding != "dictionary"},
        "sorting_columns": [pq.SortingColumn(names.index(name)) for name in order],
        "write_page_checksum": True,
    }


def folder_of(stream: Stream, stamp_ns: int) -> str:
    """Return the folder, relative to the root, of the rows whose `received_ns` (candles: `open_ns`) is `stamp_ns`.

    Examples:
        >>> folder_of(Stream("trade", "binance:BTC-USDT-SWAP"), 0)
        'exchange=binance/kind=trade/instrument=BTC-USDT-SWAP/date=1970-01-01'
        >>> folder_of(Stream("candle", "BTC-USDT", "1m"), 0)
        'exchange=okx/kind=candle/interval=1m/instrument=BTC-USDT/month=1970-01'
        >>> folder_of(Stream("mark", "BTC-USDT-SWAP"), 0)
        'exchange=okx/kind=mark/instrument=BTC-USDT-SWAP/month=1970-01'
        >>> folder_of(Stream("instrument", "BTC-USDT"), 0)
        'exchange=okx/kind=instrument/instrument=BTC-USDT'
    """
    exchange, _, name = stream.instrument.rpartition(":")
    parts = [f"exchange={exchange or DEFAULT_EXCHANGE}", f"kind={stream.kind}", f"instrument={name}"]
    if stream.kind == "candle":
        parts.insert(2, f"interval={stream.interval}")
    if stream.kind in MONTHLY:
        parts.append(f"month={datetime_of(stamp_ns):%Y-%m}")
    elif stream.kind != "instrument":
        parts.append(f"date={datetime_of(stamp_ns):%Y-%m-%d}")
    return "/".join(parts)


def period_of(kind: str, stamp_ns: int) -> int:
    """Return the number of the UTC day, or the month for kinds in `MONTHLY`, whose file holds a row.

    Args:
        kind: The row's.
        stamp_ns: Its `received_ns` (candles: `open_ns`).

    Examples:
        >>> period_of("trade", 3 * NS_PER_DAY - 1)
        2
        >>> period_of("mark", 31 * NS_PER_DAY) - period_of("mark", 0)
        1
    """
    if kind not in MONTHLY:
        return stamp_ns // NS_PER_DAY
    moment = datetime_of(stamp_ns)
    return moment.year * 12 + moment.month - 1


def period_end_ns(kind: str, stamp_ns: int) -> int:
    """Return when the day or month that `period_of` numbers ends, the first moment of the next one.

    Examples:
        >>> period_end_ns("trade", 5) == NS_PER_DAY, period_end_ns("gap", 5) == 31 * NS_PER_DAY
        (True, True)
    """
    following = period_of(kind, stamp_ns) + 1
    if kind not in MONTHLY:
        return following * NS_PER_DAY
    return time_ns_of(datetime(following // 12, following % 12 + 1, 1, tzinfo=UTC))


def check_stream(stream: Stream) -> None:
    """Refuse a stream that cannot be stored.

    Raises:
        ConfigError: The instrument's id is not usable in a path.
        DataError: The kind is unknown, or the interval does not go with it.
    """
    check_id(stream.instrument)
    if stream.kind not in EVENT_TYPES:
        raise DataError(f"{stream}: rows of kind {stream.kind!r} are not stored; kinds are {', '.join(EVENT_TYPES)}")
    if stream.kind == "candle":
        if stream.interval not in INTERVALS:
            raise DataError(f"{stream}: interval {stream.interval!r} is not known; use one of {', '.join(INTERVALS)}")
    elif stream.interval:
        raise DataError(f"{stream}: only candles have an interval; leave it empty")


def version_of(metadata: Mapping[bytes, bytes] | None, where: str) -> Version:
    """Return how to read a file from its own metadata.

    Raises:
        SchemaError: The file is not quantkit's, or of a version this package does not know.
    """
    text = (metadata or {}).get(META_VERSION)
    if text is None:
        raise SchemaError(f"{where}: not a file that quantkit wrote; bring it in with `quantkit import`")
    number = int(text) if text.isdigit() and len(text) < 10 else -1
    if number > SCHEMA_VERSION:
        raise SchemaError(
            f"{where}: written with schema version {number}, this quantkit reads up to {SCHEMA_VERSION}; "
            "upgrade quantkit"
        )
    if number not in VERSIONS:
        shown = text[:20].decode(errors="replace")
        raise SchemaError(
            f"{where}: schema version {shown!r} is not known; write the file again with `quantkit import`"
        )
    return VERSIONS[number]
