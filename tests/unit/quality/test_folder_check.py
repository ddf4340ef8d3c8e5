"""What a check says of files and folders, and of rows that contradict themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from damage import lines_of, write_lines
from quality_rows import BTC, START_NS, trades

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, Gap, MarketEvent, Ticker, Trade
from quantkit.instruments import Instrument, Side
from quantkit.quality import FAULTY, UNVERIFIED, check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

NO_METADATA = (
    "info",
    BTC,
    "has data but no metadata, so that its price and size steps cannot be verified; import it again with them",
)
DAY_FILE = "exchange=binance/kind={kind}/instrument=BTC-USDT-SWAP/date=2026-01-01/part-0.parquet"
Said = tuple[str, str, str]


def said(root: Path) -> list[Said]:
    """Return the findings as words."""
    return [(finding.severity, finding.where, finding.what) for finding in check(Catalog(root)).findings]


def found(root: Path) -> list[Said]:
    """Return what is said beside the missing metadata."""
    findings = said(root)
    assert NO_METADATA in findings
    return [finding for finding in findings if finding != NO_METADATA]


def place(kind: str, row: int, time: str) -> str:
    """Return how a row of the first day is named."""
    return f"2026-01-01T{time}Z ({DAY_FILE.format(kind=kind)}, row {row})"


def make_trades(n: int, *, start_ns: int = START_NS, step_ns: int = NS_PER_S) -> list[MarketEvent]:
    """Return n trades."""
    return [
        msgspec.structs.replace(
            trade, received_ns=start_ns + i * step_ns, exchange_ns=start_ns + i * step_ns - 5_000_000
        )
        for i, trade in enumerate(trades(n))
    ]


def make_candles(n: int, *, open_ns: int = START_NS) -> list[MarketEvent]:
    """Return n candles of one minute."""
    return [
        Candle(BTC, closed, closed, closed - NS_PER_MIN, closed, 100.0 + i, 102.0 + i, 99.0, 101.0 + i, 5.0, "1m")
        for i in range(n)
        for closed in (open_ns + (i + 1) * NS_PER_MIN,)
    ]


def test_a_good_folder_has_no_findings(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(make_trades(10)))
        writer.write(Block.from_events(make_candles(10)))
        writer.write_instrument(Instrument(BTC, kind="swap", price_step="0.5", qty_step="1"))
    seen: list[str] = []
    assert check(Catalog(tmp_path), progress=lambda entry: seen.append(entry.kind)).findings == []
    assert seen == ["candle", "trade"]


def test_inferred_steps_are_mentioned(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write_instrument(Instrument(BTC, price_step="0.5", qty_step="1", source="inferred"))
    assert said(tmp_path) == [("info", BTC, "its steps were inferred from the data; contract value is taken as 1")]


def test_every_bad_file_is_one_error_and_the_rest_is_still_looked_at(store: Callable[..., Path]) -> None:
    root = store(make_trades(5, step_ns=NS_PER_DAY))
    paths = [entry.path for entry in Catalog(root).entries]
    (root / paths[0]).unlink()
    content = bytearray((root / paths[1]).read_bytes())
    content[0] ^= 1
    (root / paths[1]).write_bytes(bytes(content))
    (root / paths[2]).write_bytes(content[:100])
    findings = found(root)
    assert [finding[:2] for finding in findings] == [("error", path) for path in paths[:3]]
    assert "the file is missing though the manifest lists it" in findings[0][2]
    assert "the digest differs from the manifest's" in findings[1][2]
    assert "holds 100 bytes, the manifest says" in findings[2][2]


def test_unsorted_and_impossible_values_are_errors(store: Callable[..., Path], tamper: Callable[..., Path]) -> None:
    root = store(make_trades(3))

    def reverse(table: Any) -> Any:
        return table.take(pa.array([2, 1, 0]))

    tamper(root, table=reverse)
    (finding,) = found(root)
    assert finding[:2] == ("error", Catalog(root).entries[0].path)
    assert "row 1 (2026-01-01T12:00:01Z): received_ns goes back from 2026-01-01T12:00:02Z" in finding[2]


def test_candles_that_contradict_themselves_are_errors(store: Callable[..., Path], tamper: Callable[..., Path]) -> None:
    root = store(make_candles(3))

    def low_high(table: Any) -> Any:
        at = table.schema.get_field_index("high")
        return table.set_column(at, table.schema.field(at), pa.array([102.0, 1.0, 104.0]))

    tamper(root, table=low_high)
    (finding,) = found(root)
    assert "row 1 (2026-01-01T12:02:00Z): open 101.0 lies outside of low 99.0 to high 1.0" in finding[2]


def test_a_span_that_is_not_the_manifests_is_an_error(store: Callable[..., Path]) -> None:
    root = store(make_trades(3))
    (entry,) = lines_of(root).entries
    write_lines(root, [msgspec.structs.replace(entry, last_ns=entry.last_ns + 1)])
    (finding,) = found(root)
    assert finding[:2] == ("error", entry.path)
    assert "the first or last received_ns is not the manifest's" in finding[2]


def test_a_span_is_compared_with_the_rows_where_a_file_has_no_statistics(
    store: Callable[..., Path], tamper: Callable[..., Path]
) -> None:
    root = store(make_trades(3))
    tamper(root, write_statistics=False)
    (entry,) = lines_of(root).entries
    write_lines(root, [msgspec.structs.replace(entry, last_ns=entry.last_ns + 1)])
    assert found(root) == [("error", entry.path, "its first or last stamp is not the manifest's; import it again")]


def test_files_that_overlap_are_errors(store: Callable[..., Path]) -> None:
    root = store(make_trades(3))
    store(make_trades(3, start_ns=START_NS + NS_PER_MIN))
    one, two = lines_of(root).entries
    write_lines(root, [one, msgspec.structs.replace(two, first_ns=one.last_ns)])
    assert ("error", two.path, f"overlaps {one.path} in time; write one of them with replace=True") in found(root)


def test_files_of_no_manifest_are_named_and_other_files_are_not(store: Callable[..., Path]) -> None:
    root = store(make_trades(3))
    for name in ("exchange=okx/kind=trade/stray.parquet", ".staging-x/rows-0-0.parquet", "README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    assert [finding[:2] for finding in found(root)] == [
        ("warning", "exchange=okx/kind=trade/stray.parquet"),
        ("warning", ".staging-x"),
    ]


def test_stamps_ahead_of_the_receiver_are_counted(store: Callable[..., Path]) -> None:
    events = [
        msgspec.structs.replace(event, exchange_ns=event.received_ns + shift)
        for event, shift in zip(make_trades(3), (0, 1_270_000_000, 5), strict=True)
    ]
    assert found(store(events)) == [
        (
            "warning",
            f"{BTC} trade",
            "2 rows were received before the exchange's stamp, by up to 1.270000 s, first at "
            f"{place('trade', 1, '12:00:01')}; the receiver's clock was behind",
        )
    ]


def test_nights_and_weekends_of_sessions_are_no_holes(store: Callable[..., Path]) -> None:
    """They are told once; a day that other weeks have is missing."""
    days = [time_ns_of("2025-01-06") + n * NS_PER_DAY for n in range(60) if n % 7 < 5 and n != 30]
    bars = [Candle(BTC, ns + NS_PER_DAY, ns + NS_PER_DAY, ns, ns + NS_PER_DAY, 1, 2, 1, 2, 5, "1d") for ns in days]
    assert found(store(bars)) == [
        ("warning", f"{BTC} candle 1d", "1 candle is missing in 1 hole, first at 2025-02-05T00:00:00Z"),
        ("info", f"{BTC} candle 1d", "8 nights and weekends, in which no bar ever opens, are no holes"),
    ]


@pytest.mark.parametrize("row_group_rows", [2, 100])
def test_missing_candles_are_counted_over_files_and_row_groups(store: Callable[..., Path], row_group_rows: int) -> None:
    events = make_candles(20)
    february = make_candles(2, open_ns=START_NS + 31 * NS_PER_DAY)
    root = store(events[:5] + events[6:10] + events[13:] + february, row_group_rows=row_group_rows)
    missing = 1 + 3 + 31 * 1440 - 20
    assert found(root) == [
        ("warning", f"{BTC} candle 1m", f"{missing:,} candles are missing in 3 holes, first at 2026-01-01T12:05:00Z")
    ]


def test_whole_days_without_a_file_are_named(store: Callable[..., Path]) -> None:
    what = "2 whole days are missing between the first and the last, first 2026-01-02T00:00:00Z to 2026-01-04T00:00:00Z"
    assert found(store(make_trades(2, step_ns=3 * NS_PER_DAY))) == [("warning", f"{BTC} trade", what)]


def test_gaps_are_told_of_the_streams_that_they_concern(store: Callable[..., Path]) -> None:
    """Of the book, whose time counts once where two overlap; not of the trades, whose channel lost nothing."""
    events: list[MarketEvent] = [
        Gap(BTC, START_NS + n, START_NS + n, channel, START_NS - lost_s * NS_PER_S, START_NS, cause)
        for n, (channel, cause, lost_s) in enumerate(
            (("book", "sequence", 1), ("marks", "closed", 2), ("book", "x", 3))
        )
    ]
    root = store(events, [book(1, {99.0: 1.0}, {106.0: 1.0}, is_snapshot=True)], make_trades(2))
    assert found(root) == [
        (
            "warning",
            f"{BTC} gap",
            "gap rows tell of losses: 1 in book (sequence), 1 in book (x), 1 in marks (closed); no row of marks is "
            "stored",
        ),
        (
            "warning",
            f"{BTC} book",
            "2 gaps told by the recorder (sequence: 1, x: 1), 3s in all, first 2026-01-01T11:59:57Z to "
            "2026-01-01T12:00:00Z",
        ),
    ]
    report = check(Catalog(root))
    assert report.of(Stream("book", BTC)).verdict == FAULTY
    assert report.of(Stream("trade", BTC)).verdict == UNVERIFIED
    assert report.of(Stream("gap", BTC)).verdict == FAULTY  # nothing else tells of the marks


@pytest.mark.parametrize("row_group_rows", [1, 100])
def test_trade_ids_that_repeat_or_go_back_are_counted(store: Callable[..., Path], row_group_rows: int) -> None:
    """Ids that skip numbers by themselves show no loss, and the check says that it cannot tell."""
    ids = (7, 8, 8, 0, 0, 12, 11, 12)
    events = [
        msgspec.structs.replace(event, trade_id=trade_id)
        for event, trade_id in zip(make_trades(8), ids, strict=True)
        if isinstance(event, Trade)
    ]
    root = store(list(events), row_group_rows=row_group_rows)
    assert found(root) == [
        (
            "warning",
            f"{BTC} trade",
            f"2 trades have an id that came before, first at {place('trade', 2, '12:00:02')}",
        ),
        ("info", f"{BTC} trade", f"1 trade id out of order, first at {place('trade', 6, '12:00:06')}"),
    ]
    doubts = check(Catalog(root)).of(Stream("trade", BTC)).unverified
    assert "whether rows are missing: some trades have no ids" in doubts


def test_trades_without_ids_cannot_be_verified(store: Callable[..., Path]) -> None:
    events = [msgspec.structs.replace(event, trade_id=0) for event in make_trades(3) if isinstance(event, Trade)]
    root = store(list(events))
    assert found(root) == []
    assert check(Catalog(root)).of(Stream("trade", BTC)).verdict == UNVERIFIED


def book(second: int, bids: dict[float, float], asks: dict[float, float], *, is_snapshot: bool) -> BookUpdate:
    """A book message."""
    at = START_NS + second * NS_PER_S
    return BookUpdate(BTC, at, at, tuple(bids), tuple(bids.values()), tuple(asks), tuple(asks.values()), is_snapshot)


@pytest.mark.parametrize("row_group_rows", [1, 100])
def test_books_that_cross_when_rebuilt_are_counted(store: Callable[..., Path], row_group_rows: int) -> None:
    events: list[MarketEvent] = [
        book(0, {1.0: 1.0}, {500.0: 1.0}, is_snapshot=False),
        book(1, {99.0: 1.0, 98.0: 1.0}, {100.0: 1.0, 101.0: 1.0}, is_snapshot=True),
        book(2, {100.0: 2.0}, {100.0: 0.0}, is_snapshot=False),
        book(3, {101.5: 1.0}, {}, is_snapshot=False),
        book(4, {}, {102.0: 1.0}, is_snapshot=False),
        book(5, {101.5: 0.0, 7.0: 0.0}, {}, is_snapshot=False),
        book(6, {50.0: 1.0}, {}, is_snapshot=True),
        book(7, {}, {60.0: 1.0}, is_snapshot=False),
        book(8, {50.0: 0.0}, {}, is_snapshot=False),
        book(9, {61.0: 1.0}, {}, is_snapshot=False),
        book(10, {61.0: 0.0, 60.0: 1.0}, {}, is_snapshot=False),  # locked, which is no fault
    ]
    assert found(store(events, row_group_rows=row_group_rows)) == [
        (
            "warning",
            f"{BTC} book",
            f"the rebuilt book is crossed after 3 rows, first at {place('book', 3, '12:00:03')}",
        ),
        (
            "warning",
            f"{BTC} book",
            f"the rebuilt book has only one side, or none, in 2 rows, first at {place('book', 6, '12:00:06')}",
        ),
        (
            "warning",
            f"{BTC} book",
            f"1 book update before the first snapshot, first at {place('book', 0, '12:00:00')}",
        ),
    ]


def test_bad_metadata_are_an_error(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write_instrument(Instrument(BTC, price_step="0.5", qty_step="1"))
    (entry,) = Catalog(tmp_path).entries
    (tmp_path / entry.path).write_bytes(b"")
    (finding,) = said(tmp_path)
    assert finding[:2] == ("error", entry.path)


def test_errors_come_first(store: Callable[..., Path]) -> None:
    candles = [event for event in make_candles(3) if isinstance(event, Candle)]
    root = store([candles[0], candles[2]], make_trades(3))
    trades = next(entry for entry in Catalog(root).entries if entry.kind == "trade")
    (root / trades.path).unlink()
    assert [severity for severity, _, _ in said(root)] == ["error", "warning", "info"]


def test_prices_and_sizes_off_the_stored_steps_of_their_moment_are_counted(tmp_path: Path) -> None:
    """Two trades before a finer step holds, none after it; levels count once a row, volumes and absences not at all."""

    def at(second: int) -> int:
        return START_NS + second * NS_PER_S

    def trade(second: int, price: float, qty: float) -> Trade:
        return Trade(BTC, at(second), at(second), price, qty, Side.BUY)

    trades = [trade(0, 100.25, 1.0), trade(1, 100.5, 1.5), trade(2, 100.75, 2.5), trade(3, 100.25, 2.0)]
    ticker = Ticker(BTC, at(0), at(0), 100.0, 0.5, None, None, 100.1, 1.0)
    rows = [
        book(1, {99.75: 1.0, 99.25: 0.5}, {101.0: 1.0}, is_snapshot=True),
        book(2, {99.5: 2.0}, {}, is_snapshot=False),
    ]
    bar = Candle(BTC, at(60), at(60), at(0), at(60), 100.5, 101.0, 100.5, 100.6, 7.3, "1m")
    old = Instrument(BTC, kind="swap", price_step="0.5", qty_step="1")
    with Writer(tmp_path) as writer:
        for block in (trades, [ticker], rows, [bar]):
            writer.write(Block.from_events(block))
        writer.write_instrument(old)
        writer.write_instrument(Instrument(BTC, kind="swap", price_step="0.25", qty_step="1", valid_from_ns=at(3)))
    findings = check(Catalog(tmp_path)).findings
    assert {
        (f.where.removeprefix(BTC).strip(), f.code, f.count, f.places[0].at_ns, f.what.partition(" off ")[0])
        for f in findings
    } == {
        (kind, f"{what}_step", count, at(second), f"{count} of {rows} rows have a {what}")
        for kind, count, rows, what, second in (
            ("trade", 2, 4, "price", 0),
            ("trade", 2, 4, "size", 1),
            ("ticker", 1, 1, "price", 0),
            ("ticker", 1, 1, "size", 0),
            ("book", 1, 2, "price", 1),
            ("book", 1, 2, "size", 1),
            ("candle 1m", 1, 1, "price", 60),
        )
    } | {("ticker", "one_sided", 1, at(0), next(f.what for f in findings if f.code == "one_sided"))}
    assert "off the stored step of 0.25, first" in next(f.what for f in findings if f.where.endswith("candle 1m"))
