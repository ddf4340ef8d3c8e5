"""The reader: spans, laziness, order, and one clear line for every file that is not what it claims to be."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import lines_of, write_lines

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.events import BookUpdate, Candle, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.instruments import Side
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks, read_events
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
TRADES = Stream("trade", BTC)
START_NS = time_ns_of("2026-01-01T12:00:00Z")
END_NS = 2**62
Make = Callable[..., list[MarketEvent]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each column of a row group was decoded from Parquet."""
    counts: Counter[str] = Counter()
    real = pq.ParquetFile.read_row_group

    def read_row_group(self: Any, i: int, columns: Any = None, **options: Any) -> Any:
        counts.update(columns)
        return real(self, i, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)
    return counts


def everything(root: Path, stream: Stream = TRADES, **options: Any) -> list[Block]:
    """Every block of a stream with every column decoded."""
    blocks = list(read_blocks(Catalog(root), stream, start_ns=0, end_ns=END_NS, **options))
    for block in blocks:
        for name in (*STAMPS, *KIND_COLUMNS[stream.kind]):
            block.column(name)
    return blocks


# Laziness and spans -------------------------------------------------------------------------------------------


def test_opening_decodes_the_stamps_alone(store: Callable[..., Path], make_trades: Make, decoded: Counter[str]) -> None:
    root = store(make_trades(100), row_group_rows=10)
    blocks = list(read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=END_NS))
    assert decoded == {"received_ns": 10}
    for _ in range(2):
        assert len(blocks[3].column("price")) == 10
    assert decoded == {"received_ns": 10, "price": 1}


def test_blocks_of_one_row_group_decode_a_column_once(
    store: Callable[..., Path], make_trades: Make, decoded: Counter[str]
) -> None:
    root = store(make_trades(100), row_group_rows=50)
    blocks = list(read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=END_NS, block_rows=20))
    assert [block.size for block in blocks] == [20, 20, 10, 20, 20, 10]
    for block in blocks:
        block.column("qty")
    assert decoded == {"received_ns": 2, "qty": 2}


def test_row_groups_outside_of_the_span_are_not_decoded(
    store: Callable[..., Path], make_trades: Make, decoded: Counter[str]
) -> None:
    root = store(make_trades(100), row_group_rows=10)
    start_ns, end_ns = START_NS + 30 * NS_PER_S, START_NS + 39 * NS_PER_S
    (block,) = read_blocks(Catalog(root), TRADES, start_ns=start_ns, end_ns=end_ns)
    assert (block.size, decoded) == (10, {"received_ns": 1})


def test_levels_of_one_book_side_leave_the_other_alone(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]], decoded: Counter[str]
) -> None:
    root = store(one_of_each["book"])
    block, _ = read_blocks(Catalog(root), Stream("book", BTC), start_ns=0, end_ns=END_NS)
    assert block.column("bid_start").tolist() == [0, 2, 3, 3, 3]
    assert block.column("bid_prices").tolist() == [99.0, 98.5, 99.0]
    assert decoded == {"received_ns": 2, "bid_prices": 1}


@pytest.mark.parametrize(
    ("start", "end", "rows"), [(0, 9, 10), (3, 3, 1), (3, 5, 3), (9, 20, 1), (-5, 0, 1), (10, 20, 0), (5, 3, 0)]
)
def test_both_ends_of_a_span_are_included(
    store: Callable[..., Path], make_trades: Make, start: int, end: int, rows: int
) -> None:
    catalog = Catalog(store(make_trades(10), row_group_rows=4))
    span = {"start_ns": START_NS + start * NS_PER_S, "end_ns": START_NS + end * NS_PER_S}
    blocks = list(read_blocks(catalog, TRADES, **span))
    assert sum(block.size for block in blocks) == rows
    inside = {"start_ns": span["start_ns"] + 1, "end_ns": span["end_ns"] - 1}
    fewer = sum(block.size for block in read_blocks(catalog, TRADES, **inside))
    assert fewer == max(0, rows - (0 <= start <= 9) - (0 <= end <= 9))


def test_columns_are_what_the_block_promises(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]]
) -> None:
    root = store(*one_of_each.values())
    for kind, events in one_of_each.items():
        stream = Stream(kind, BTC, "1m" if kind == "candle" else "")
        wanted = Block.from_events(events)
        found = Block.concat(everything(root, stream))
        for name in (*STAMPS, *KIND_COLUMNS[kind]):
            assert found.column(name).dtype == wanted.column(name).dtype, (kind, name)
            np.testing.assert_array_equal(found.column(name), wanted.column(name))


def test_a_block_holds_at_least_one_row(store: Callable[..., Path], make_trades: Make) -> None:
    catalog = Catalog(store(make_trades(1)))
    with pytest.raises(ConfigError, match="block_rows is 0; a block has at least 1 row"):
        list(read_blocks(catalog, TRADES, start_ns=0, end_ns=END_NS, block_rows=0))


def test_a_column_that_the_kind_lacks_is_a_key_error(store: Callable[..., Path], make_trades: Make) -> None:
    (block,) = read_blocks(Catalog(store(make_trades(1))), TRADES, start_ns=0, end_ns=END_NS)
    with pytest.raises(KeyError, match="no column volume"):
        block.column("volume")


def test_a_stream_that_is_not_there_yields_nothing(store: Callable[..., Path], make_trades: Make) -> None:
    catalog = Catalog(store(make_trades(1)))
    assert list(read_blocks(catalog, Stream("book", BTC), start_ns=0, end_ns=END_NS)) == []


# A candle's open ----------------------------------------------------------------------------------------------


def test_a_candles_open_price_is_stamped_with_its_open(
    store: Callable[..., Path], make_candles: Make, decoded: Counter[str]
) -> None:
    catalog = Catalog(store(make_candles(10), row_group_rows=4))
    stream = Stream("candle_open", BTC, "1m")
    start_ns, end_ns = START_NS + 2 * NS_PER_MIN, START_NS + 5 * NS_PER_MIN
    blocks = list(read_blocks(catalog, stream, start_ns=start_ns, end_ns=end_ns))
    block = Block.concat(blocks)
    opens = [START_NS + i * NS_PER_MIN for i in range(2, 6)]
    for name in ("received_ns", "exchange_ns", "open_ns"):
        assert block.column(name).tolist() == opens
    assert block.column("close_ns").tolist() == [opened + NS_PER_MIN for opened in opens]
    assert block.column("open").tolist() == [102.0, 103.0, 104.0, 105.0]
    assert block.column("seq").tolist() == [2, 3, 4, 5]
    assert decoded["close"] == 0
    assert decoded["open_ns"] == 2


# Events of several streams ------------------------------------------------------------------------------------


def test_events_come_in_the_one_total_order(store: Callable[..., Path]) -> None:
    at = START_NS
    ordered: list[MarketEvent] = [
        Gap("ETH-USDT", at, at, "book", 0, 1, "x"),
        Mark("BTC-USDT", at, at, 1.0),
        Candle("BTC-USDT", at, at, at - 1, at, 1.0, 1.0, 1.0, 1.0, 1.0, "1m"),
        Candle("BTC-USDT", at, at, at - 5, at, 1.0, 1.0, 1.0, 1.0, 1.0, "5m"),
        BookUpdate("ETH-USDT", at, at, (), (), (), (), True),
        Ticker("ETH-USDT", at, at, 1.0, 1.0, 2.0, 1.0),
        Trade("BTC-USDT", at, at, 1.0, 1.0, Side.BUY, 9),
        Trade("BTC-USDT", at, at, 2.0, 1.0, Side.BUY, 8),
        Trade("ETH-USDT", at, at, 1.0, 1.0, Side.BUY, 7),
        Gap("ETH-USDT", at, at + 1, "book", 0, 1, "x"),
        Trade("BTC-USDT", at, at + 2, 3.0, 1.0, Side.SELL, 7),
    ]
    runs: dict[Stream, list[MarketEvent]] = {}
    for event in ordered:
        runs.setdefault(Block.from_events([event]).stream, []).append(event)
    catalog = Catalog(store(*runs.values()))
    for streams in (list(runs), list(reversed(runs)), [*runs, *runs]):
        assert list(read_events(catalog, streams, 0, END_NS)) == ordered
    assert list(read_events(catalog, list(runs), at + 1, at + 1)) == ordered[9:10]


def test_a_kind_without_events_is_refused(store: Callable[..., Path], make_candles: Make) -> None:
    catalog = Catalog(store(make_candles(1)))
    with pytest.raises(DataError, match="rows of kind 'candle_open' have no events; read blocks instead"):
        list(read_events(catalog, [Stream("candle_open", BTC, "1m")], 0, END_NS))


# Files that are not what they claim to be ---------------------------------------------------------------------


def the_file(root: Path) -> Path:
    """The only file of a root."""
    (entry,) = Catalog(root).entries
    return root / entry.path


def error_of(root: Path, stream: Stream = TRADES, **options: Any) -> DataError:
    """The error that reading everything raises, whose message is one line that begins with the file."""
    path = the_file(root)
    with pytest.raises(DataError) as caught:
        everything(root, stream, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    caught.value.args = (message.removeprefix(str(path)),)
    return caught.value


def setting(column: str, *values: Any) -> Callable[[Any], Any]:
    """Return a change of a table that puts values into a column's first rows."""

    def change(table: Any) -> Any:
        at = table.schema.get_field_index(column)
        field = table.schema.field(at)
        held = table[column].to_pylist()
        if pa.types.is_timestamp(field.type):
            held = table[column].cast(pa.int64()).to_pylist()
        held[: len(values)] = values
        if pa.types.is_dictionary(field.type):
            array: Any = pa.array(held, pa.string()).dictionary_encode().cast(field.type)
        elif pa.types.is_timestamp(field.type):
            array = pa.array(held, pa.int64()).cast(field.type)
        else:
            array = pa.array(held, field.type)
        return table.set_column(at, field.with_nullable(True), array)

    return change


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("price", 1.0, NAN), ", row 1 (2026-01-01T12:00:01Z): price is nan; a price is a finite number above"),
        (setting("price", INF), ", row 0 (2026-01-01T12:00:00Z): price is inf; a price is a finite number above zero"),
        (setting("price", 1.0, -2.0), ", row 1 (2026-01-01T12:00:01Z): price is -2.0; a price is a finite number"),
        (setting("price", 0.0), ", row 0 (2026-01-01T12:00:00Z): price is 0.0; a price is a finite number above zero"),
        (setting("qty", -1.0), ", row 0 (2026-01-01T12:00:00Z): qty is -1.0; a size is a finite number, zero or above"),
        (
            setting("received_ns", START_NS, START_NS - 1),
            ", row 1 (2026-01-01T11:59:59.999999999Z): received_ns goes back from 2026-01-01T12:00:00Z; rows must be "
            "sorted by received_ns and seq",
        ),
        (setting("price", None), ": column price holds 1 nulls"),
        (setting("side", "bid"), ": column side holds the side 'bid'; sides are buy and sell"),
        (setting("side", None), ": column side holds 1 nulls"),
        (
            lambda t: setting("received_ns", START_NS, START_NS)(setting("seq", 5, 5)(t)),
            ", row 1 (2026-01-01T12:00:00Z): seq 5 follows 5 at the same stamp; rows of one stamp must rise",
        ),
    ],
)
def test_rows_that_must_not_be_are_named_when_decoded(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path], change: Any, message: str
) -> None:
    root = store(make_trades(5))
    tamper(root, table=change)
    assert str(error_of(root)).startswith(message)


def test_the_row_is_counted_through_the_file(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(5))
    tamper(root, table=setting("price", 1.0, 1.0, 1.0, -1.0), row_group_size=2)
    assert ", row 3 (2026-01-01T12:00:03Z): price is -1.0" in str(error_of(root))


def test_a_side_dictionary_in_another_order_means_the_same(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    events = make_trades(5)
    root = store(events)
    for table in (setting("side", "sell"), setting("side", "buy")):
        tamper(root, table=table)
        (block,) = everything(root)
        first = {"sell": 1, "buy": 0}[pq.read_table(the_file(root), partitioning=None)["side"][0].as_py()]
        assert block.column("side").tolist() == [first, 0, 1, 0, 1]


def test_rows_that_go_back_between_row_groups_are_named(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(4))
    stamps = [START_NS + shift for shift in (0, 9, 8, 10)]
    tamper(root, table=setting("received_ns", *stamps), row_group_size=2)
    assert ", row 2 (2026-01-01T12:00:00.000000008Z): received_ns goes back from the row group" in str(error_of(root))


def test_files_that_overlap_are_named(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(3))
    store(make_trades(3, start_ns=START_NS + NS_PER_MIN))
    # A file listed under two names, so that its rows come twice.
    one, _ = lines_of(root).entries
    (root / one.path).with_name("part-9.parquet").write_bytes((root / one.path).read_bytes())
    write_lines(root, [one, msgspec.structs.replace(one, path=one.path.replace("part-0", "part-9"))])
    with pytest.raises(DataError, match=r"part-9\.parquet, row 0 .*: .*: files overlap in time; `quantkit data check`"):
        list(read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=END_NS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("bid_prices", [101.0, 90.0]), "the snapshot is crossed: best bid 101.0 is above best ask 100.0"),
        (setting("bid_prices", [99.0]), "bid_prices and bid_qtys have different lengths"),
        (setting("ask_prices", [NAN]), "ask_prices is nan; a price is a finite number above zero"),
        (setting("ask_qtys", [-1.0]), "ask_qtys is -1.0; a size is a finite number, zero or above"),
        (setting("bid_qtys", None), "column bid_qtys holds nulls; an empty side is an empty list"),
    ],
)
def test_books_that_must_not_be_are_named(
    store: Callable[..., Path],
    one_of_each: dict[str, list[MarketEvent]],
    tamper: Callable[..., Path],
    change: Any,
    message: str,
) -> None:
    root = store(one_of_each["book"][:4])
    tamper(root, table=change)
    assert message in str(error_of(root, Stream("book", BTC)))


def test_a_ticker_holds_nulls_but_no_nan(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]], tamper: Callable[..., Path]
) -> None:
    root = store(one_of_each["ticker"][:2])
    tamper(root, table=setting("bid", NAN))
    error = error_of(root, Stream("ticker", BTC))
    assert str(error) == ": column bid holds NaN, which is no number; absent values are nulls"


def test_a_text_without_end_is_refused(store: Callable[..., Path], tamper: Callable[..., Path]) -> None:
    root = store([Gap(BTC, START_NS, START_NS, "book", 0, 1, "x")])
    tamper(root, table=setting("cause", "x" * 10_001))
    error = error_of(root, Stream("gap", BTC))
    assert str(error) == ": column cause holds a text of 10001 characters; at most 10000 are read"


def test_a_foreign_file_is_named(store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]) -> None:
    root = store(make_trades(2))
    tamper(root, table=lambda table: table.replace_schema_metadata(None))
    error = error_of(root)
    assert isinstance(error, SchemaError)
    assert str(error) == ": not a file that quantkit wrote; bring it in with `quantkit import`"


@pytest.mark.parametrize("version", ["2", "999999999"])
def test_a_newer_schema_is_named(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path], version: str
) -> None:
    root = store(make_trades(2))
    tamper(root, table=lambda t: t.replace_schema_metadata({**t.schema.metadata, b"quantkit.schema_version": version}))
    error = error_of(root)
    assert isinstance(error, SchemaError)
    assert str(error) == f": written with schema version {version}, this quantkit reads up to 1; upgrade quantkit"


@pytest.mark.parametrize("version", ["", "-1", "1.0", "x", "9" * 5000, "²"])
def test_a_schema_version_that_is_none_is_named(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path], version: str
) -> None:
    root = store(make_trades(2))
    tamper(root, table=lambda t: t.replace_schema_metadata({**t.schema.metadata, b"quantkit.schema_version": version}))
    assert "is not known; write the file again with `quantkit import`" in str(error_of(root))


def test_columns_that_differ_are_listed(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(2))

    def change(table: Any) -> Any:
        at = table.schema.get_field_index("price")
        return table.set_column(at, "price", pa.array(["1", "2"])).drop_columns(["qty"]).append_column("x", [[1, 2]])

    tamper(root, table=change)
    error = error_of(root)
    assert isinstance(error, SchemaError)
    assert str(error) == (
        ": columns differ (qty is missing; x is unknown; price is string, not double); import it again"
    )


def test_stamps_in_another_unit_are_another_type(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(2))

    def change(table: Any) -> Any:
        micros = table["exchange_ns"].cast(pa.timestamp("us", "UTC"))
        return table.set_column(table.schema.get_field_index("exchange_ns"), "exchange_ns", micros)

    tamper(root, table=change)
    assert "exchange_ns is timestamp[us, tz=UTC], not timestamp[ns, tz=UTC]" in str(error_of(root))


def test_another_streams_file_is_named(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(2))
    tamper(root, table=lambda t: t.replace_schema_metadata({**t.schema.metadata, b"quantkit.instrument": "ETH-USDT"}))
    assert str(error_of(root)) == f": its instrument is 'ETH-USDT', the manifest says '{BTC}'; import it again"


def test_another_row_count_is_named(store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]) -> None:
    root = store(make_trades(5))
    tamper(root, rows=4)
    assert str(error_of(root)) == (
        ": holds 5 rows, the manifest says 4; the file was replaced, restore or import it again"
    )


def test_a_row_group_beyond_any_block_is_refused(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    """A few kilobytes of Parquet can claim to be gigabytes of rows."""
    root = store(make_trades(2))
    tamper(root, table=lambda t: t.take(pa.array(np.zeros(1_048_577, np.int64))), row_group_size=2_000_000)
    assert str(error_of(root)) == ": a row group has more than 1048576 rows; import it again"


def test_a_missing_file_is_named(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(2))
    the_file(root).unlink()
    assert str(error_of(root)) == (": the file is missing though the manifest lists it; restore or import it again")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_named(store: Callable[..., Path], make_trades: Make, length: int) -> None:
    root = store(make_trades(50))
    path = the_file(root)
    content = path.read_bytes()
    path.write_bytes(content[:length])
    assert str(error_of(root)) == (
        f": holds {len(content[:length])} bytes, the manifest says {len(content)}; the file was cut or replaced, "
        "restore or import it again"
    )


def test_a_folder_in_the_place_of_a_file_is_named(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(2))
    the_file(root).unlink()
    the_file(root).mkdir()
    assert str(error_of(root)).startswith(": cannot be opened: ")


def test_a_row_group_with_too_many_levels_is_refused(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = store(one_of_each["book"][:4])
    monkeypatch.setattr("quantkit.storage.files.LEVELS_MAX", 1)
    error = error_of(root, Stream("book", BTC))
    assert str(error) == ": column bid_prices holds 3 levels in one row group; import it again"


def test_files_without_statistics_are_read_whole(
    store: Callable[..., Path], make_trades: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(10))
    tamper(root, row_group_size=2, write_statistics=False)
    at = START_NS + 5 * NS_PER_S
    assert list(read_events(Catalog(root), [TRADES], at, at)) == make_trades(10)[5:6]


def test_candles_whose_opens_go_back_have_no_open_stream(
    store: Callable[..., Path], make_candles: Make, tamper: Callable[..., Path]
) -> None:
    root = store(make_candles(3))
    tamper(root, table=setting("open_ns", START_NS, START_NS - 1))
    error = error_of(root, Stream("candle_open", BTC, "1m"))
    assert str(error) == ", row 1 (2026-01-01T12:02:00Z): open_ns goes back; import the file again"


def test_bytes_that_are_no_parquet_are_named(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(2))
    path = the_file(root)
    path.write_bytes(b"x" * path.stat().st_size)
    assert "the Parquet footer differs from what the manifest says" in str(error_of(root))


def test_a_flipped_bit_in_a_page_fails_its_checksum(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(500))
    path = the_file(root)
    group = pq.read_metadata(path).row_group(0)
    price = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "price")
    content = bytearray(path.read_bytes())
    content[price.data_page_offset + price.total_compressed_size // 2] ^= 1
    path.write_bytes(bytes(content))
    error = error_of(root)
    assert str(error).startswith(": damaged or not a Parquet file (")
    assert str(error).endswith("); restore or import it again")
    assert "CRC" in str(error)
    (block,) = read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=END_NS)
    assert len(block.column("qty")) == 500


def test_a_flipped_bit_in_the_footer_is_seen_before_it_is_parsed(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(5))
    path = the_file(root)
    content = bytearray(path.read_bytes())
    for back in (1, 5, 9, 200):
        content[-back] ^= 1
        path.write_bytes(bytes(content))
        assert "the Parquet footer differs from what the manifest says; the file was changed" in str(error_of(root))
        content[-back] ^= 1


def test_the_digest_sees_what_nothing_else_covers(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(5))
    path = the_file(root)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(bytes(content))
    assert len(everything(root)) == 1
    assert str(error_of(root, verify_digest=True)) == (
        ": the digest differs from the manifest's; the file was changed or damaged, restore or import it again"
    )


def test_a_file_that_was_replaced_by_another_good_one_is_seen(tmp_path: Path, make_trades: Make) -> None:
    for name in ("one", "two"):
        with Writer(tmp_path / name) as writer:
            writer.write(Block.from_events(make_trades(5, start_ns=START_NS + (name == "two"))))
    the_file(tmp_path / "one").write_bytes(the_file(tmp_path / "two").read_bytes())
    with pytest.raises(DataError, match="restore or import it again"):
        everything(tmp_path / "one")


def test_blocks_outlive_the_reader_and_days_follow_each_other(store: Callable[..., Path], make_trades: Make) -> None:
    events = make_trades(30, step_ns=NS_PER_DAY // 5)
    catalog = Catalog(store(events, row_group_rows=2))
    blocks = list(read_blocks(catalog, TRADES, start_ns=0, end_ns=END_NS, verify_digest=True))
    assert [event for block in reversed(blocks) for event in reversed(block.events())] == events[::-1]
