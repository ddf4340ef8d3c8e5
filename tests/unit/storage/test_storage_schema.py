"""The table of columns, and files as the rest of the ecosystem sees them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from quantkit.clock import datetime_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import EVENT_TYPES, MarketEvent, Trade
from quantkit.instruments import Instrument
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage import schema
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.schema import TABLES, VERSIONS, Version, check_stream, folder_of
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
END_NS = 2**62


def test_every_kind_of_event_has_its_columns_in_the_table() -> None:
    assert set(TABLES) == {*EVENT_TYPES, "instrument"}
    for kind in EVENT_TYPES:
        derived = ("bid_start", "ask_start")
        assert {f.name for f in TABLES[kind]} == {*STAMPS, *KIND_COLUMNS[kind]} - set(derived)
        assert tuple(f.name for f in TABLES[kind])[:3] == STAMPS


#: What files of version 1 hold beside their stamps and numbers, as first released. Another layout is another version.
RELEASED = {
    "trade": "price:float qty:float side:side trade_id:int",
    "ticker": "bid:optional bid_qty:optional ask:optional ask_qty:optional last:optional last_qty:optional",
    "candle": "open_ns:stamp close_ns:stamp open:float high:float low:float close:float volume:float",
    "book": "bid_prices:levels bid_qtys:levels ask_prices:levels ask_qtys:levels is_snapshot:flag update_seq:int "
    "prev_update_seq:int",
    "mark": "price:float source:text",
    "funding": "rate:float funding_ns:stamp is_settled:flag",
    "gap": "channel:text from_ns:stamp to_ns:stamp cause:text",
    "timing": "number:int sent_ns:stamp offset_ns:int sender:text",
    "open_interest": "qty:float coins:optional usd:optional",
    "position_tier": "margin_mode:text tier:int min_qty:float max_qty:float maintenance_margin_rate:float "
    "initial_margin_rate:float max_leverage:float",
    "price_limit": "highest_buy:optional lowest_sell:optional is_enforced:flag",
    "fee_rate": "maker:float taker:float level:text group:text",
}


@pytest.mark.parametrize("kind", RELEASED)
def test_the_layout_of_released_kinds_stays(kind: str) -> None:
    fields = VERSIONS[1].tables[kind]
    assert [(f.name, f.type) for f in fields[:3]] == [
        ("received_ns", "stamp"),
        ("exchange_ns", "stamp"),
        ("seq", "int"),
    ]
    assert " ".join(f"{field.name}:{field.type}" for field in fields[3:]) == RELEASED[kind]


def test_an_instrument_row_has_every_field_of_an_instrument() -> None:
    fields = Instrument("BTC-USDT", price_step="0.1", qty_step="1").to_dict()
    columns = {schema.INSTRUMENT_COLUMNS.get(name, name) for name in fields}
    assert columns == {field.name for field in TABLES["instrument"]}


def test_files_are_zstd_with_checksums_and_delta_coded_stamps(
    store: Callable[..., Path], make_trades: Callable[..., list[MarketEvent]]
) -> None:
    root = store(make_trades(1000), row_group_rows=400)
    (entry,) = Catalog(root).entries
    metadata = pq.read_metadata(root / entry.path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [400, 400, 200]
    group = metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    for name in ("received_ns", "exchange_ns", "seq", "trade_id"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings
        assert not columns[name].has_dictionary_page
    for name in ("price", "qty", "side"):
        assert columns[name].has_dictionary_page
    assert [sort.column_index for sort in group.sorting_columns] == [0, 2]
    assert metadata.metadata[b"quantkit.schema_version"] == b"1"
    assert metadata.metadata[b"quantkit.kind"] == b"trade"
    assert metadata.metadata[b"quantkit.instrument"] == BTC.encode()


def test_stamps_are_utc_nanoseconds_and_prices_float64(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]]
) -> None:
    root = store(*one_of_each.values())
    for entry in Catalog(root).entries:
        types = {field.name: field.type for field in pq.read_schema(root / entry.path)}
        assert types["received_ns"] == types["exchange_ns"] == pa.timestamp("ns", "UTC")
        if entry.kind == "book":
            assert types["bid_prices"].value_type == pa.float64()
        if entry.kind == "trade":
            assert types["price"] == pa.float64()
            assert types["side"].value_type == pa.string()


def test_pandas_and_pyarrow_read_the_folder_without_quantkit(
    store: Callable[..., Path], one_of_each: dict[str, list[MarketEvent]]
) -> None:
    root = store(*one_of_each.values())
    with Writer(root) as writer:
        writer.write_instrument(Instrument(BTC, kind="swap", price_step="0.1", qty_step="0.001"))
    exchange = root / "exchange=binance"
    trades = pd.read_parquet(exchange / "kind=trade")
    expected = [event for event in one_of_each["trade"] if isinstance(event, Trade)]
    assert trades["price"].tolist() == [event.price for event in expected]
    assert trades["side"].tolist() == [event.side.value for event in expected]
    assert trades["received_ns"].dt.tz_convert("UTC").astype("int64").tolist() == [e.received_ns for e in expected]
    assert sorted(set(trades["date"].astype(str))) == ["2026-01-01", "2026-01-02"]
    tickers = pd.read_parquet(exchange / "kind=ticker")
    assert tickers["bid"].isna().tolist() == [False, True, True]
    books = ds.dataset(exchange / "kind=book", partitioning="hive").to_table().to_pylist()
    assert books[0]["bid_prices"] == [99.0, 98.5]
    assert books[1]["ask_prices"] == []
    instruments = pd.read_parquet(exchange / "kind=instrument")
    assert instruments[["id", "instrument_kind", "price_step"]].values.tolist() == [[BTC, "swap", "0.1"]]


@pytest.mark.parametrize("module", ["catalog", "reader", "writer", "schema"])
def test_importing_storage_loads_neither_pyarrow_nor_pandas(module: str) -> None:
    code = (
        f"import sys; import quantkit.storage.{module}; print([m for m in ('pyarrow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def _version_0(root: Path, make_trades: Callable[..., list[MarketEvent]], tamper: Callable[..., Path]) -> list[Trade]:
    """Store trades the way an imagined older version would have: `px` for the price, in cents."""
    events = make_trades(10)
    with Writer(root) as writer:
        writer.write(Block.from_events(events))

    def aged(table: Any) -> Any:
        cents = pa.array([round(price * 100) for price in table["price"].to_pylist()], pa.int64())
        at = table.schema.get_field_index("price")
        table = table.set_column(at, pa.field("px", pa.int64(), nullable=False), cents)
        return table.replace_schema_metadata({**table.schema.metadata, b"quantkit.schema_version": b"0"})

    tamper(root, table=aged)
    return [event for event in events if isinstance(event, Trade)]


def test_a_file_of_an_older_version_is_read_through_its_upgrade(
    tmp_path: Path,
    make_trades: Callable[..., list[MarketEvent]],
    tamper: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = _version_0(tmp_path / "data", make_trades, tamper)
    old = tuple(schema.Field("px", "int") if f.name == "price" else f for f in TABLES["trade"])
    asked: list[str] = []

    def upgrade(kind: str, name: str, read: Callable[[str], Any]) -> Any:
        asked.append(f"{kind}.{name}")
        if (kind, name) == ("trade", "price"):
            return pa.array(read("px").to_numpy() / 100)
        return read(name)

    monkeypatch.setitem(VERSIONS, 0, Version({**TABLES, "trade": old}, upgrade))
    assert list(read_events(Catalog(tmp_path / "data"), [Stream("trade", BTC)], 0, END_NS)) == events
    assert "trade.price" in asked


def test_version_1_goes_the_same_way_as_every_older_version(
    store: Callable[..., Path], make_trades: Callable[..., list[MarketEvent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = make_trades(3)
    root = store(events)
    asked: list[str] = []
    _, as_stored = VERSIONS[1]

    def upgrade(kind: str, name: str, read: Callable[[str], Any]) -> Any:
        asked.append(name)
        return as_stored(kind, name, read)

    monkeypatch.setitem(VERSIONS, 1, Version(TABLES, upgrade))
    assert list(read_events(Catalog(root), [Stream("trade", BTC)], 0, END_NS)) == events
    assert set(asked) == {field.name for field in TABLES["trade"]}


def test_an_unknown_older_version_is_refused(
    tmp_path: Path, make_trades: Callable[..., list[MarketEvent]], tamper: Callable[..., Path]
) -> None:
    _version_0(tmp_path / "data", make_trades, tamper)
    with pytest.raises(DataError, match=r"schema version '0' is not known; write the file again"):
        list(read_events(Catalog(tmp_path / "data"), [Stream("trade", BTC)], 0, END_NS))


def test_candles_lie_in_the_month_they_open_in() -> None:
    stream = Stream("candle", "BTC-USDT", "1d")
    december = folder_of(stream, 1767139200_000000000)
    assert datetime_of(1767139200_000000000).isoformat() == "2025-12-31T00:00:00+00:00"
    assert december == "exchange=okx/kind=candle/interval=1d/instrument=BTC-USDT/month=2025-12"


@pytest.mark.parametrize(
    "instrument",
    ["", "..", "a/b", "../../etc/passwd", "okx:", ":x", "a\\b", "a b", "a\n", "x" * 200, "a:b:c:..", "C:/x"],
)
def test_hostile_instrument_names_are_refused(instrument: str) -> None:
    with pytest.raises(ConfigError, match="instrument id"):
        check_stream(Stream("trade", instrument))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (Stream("candle_open", "A-B", "1m"), "A-B candle_open 1m: rows of kind 'candle_open' are not stored"),
        (Stream("instrument", "A-B"), "A-B instrument: rows of kind 'instrument' are not stored"),
        (Stream("candle", "A-B"), "A-B candle: interval '' is not known; use one of 1s, 1m"),
        (Stream("candle", "A-B", "../x"), "A-B candle ../x: interval '../x' is not known"),
        (Stream("trade", "A-B", "1m"), "A-B trade 1m: only candles have an interval; leave it empty"),
    ],
)
def test_streams_that_cannot_be_stored_are_refused(stream: Stream, message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_stream(stream)
    assert str(caught.value).startswith(message)
