"""The catalog: coverage, files of a span, instruments in time, notes, and manifests that cannot be."""

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from damage import flipped, guarded, lines_of, unguarded, write_lines
from pyarrow import fs as pafs

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.events import Funding, Gap, Mark, MarketEvent
from quantkit.feeds.replay import ReplayFeed
from quantkit.instruments import Instrument
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog, Coverage
from quantkit.storage.files import DataFile
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.root import Root
from quantkit.storage.schema import META_ORDER_LIMITS
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01T12:00:00Z")
END_NS = 2**62
Make = Callable[..., list[MarketEvent]]


def instrument(price_step: str = "0.1", **options: Any) -> Instrument:
    """A swap."""
    return Instrument(BTC, **{"kind": "swap", "price_step": price_step, "qty_step": "0.001", **options})


def keep(root: Path, *instruments: Instrument, **options: Any) -> None:
    """Write instruments in one commit."""
    with Writer(root, **options) as writer:
        for one in instruments:
            writer.write_instrument(one)


# Streams that were recorded live ------------------------------------------------------------------------------

TRADES = Stream("trade", BTC)


def test_a_quiet_stream_that_was_listened_to_is_covered(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(3))
    before = Catalog(root).coverage()[TRADES]
    quiet = Stream("candle", BTC, "1h")
    with Writer(root) as writer:
        writer.watched(quiet, START_NS, START_NS + NS_PER_DAY)
        writer.watched(TRADES, START_NS - NS_PER_S, START_NS + NS_PER_S)
    coverage = Catalog(root).coverage()
    assert coverage == {
        quiet: Coverage(START_NS, START_NS + NS_PER_DAY, 0, live_ns=START_NS),
        TRADES: Coverage(START_NS - NS_PER_S, before.end_ns, 3, live_ns=START_NS - NS_PER_S),
    }
    assert ReplayFeed(root).has_hole(quiet, START_NS, START_NS + NS_PER_MIN) is False
    assert {finding.severity for finding in check(Catalog(root)).findings} == {"info"}  # of metadata that are not there


def test_spans_that_overlap_or_touch_are_one(tmp_path: Path) -> None:
    for first, last in ((0, 9), (20, 30), (10, 12), (25, 27), (40, 41), (31, 39)):
        with Writer(tmp_path) as writer:
            writer.watched(TRADES, START_NS + first, START_NS + last)
    assert [(s.from_ns - START_NS, s.to_ns - START_NS) for s in Catalog(tmp_path).watched] == [(0, 12), (20, 41)]
    assert len((tmp_path / "manifest.jsonl").read_bytes().splitlines()) == 2


def test_the_warm_up_that_was_asked_for_is_that_of_the_first_moment(tmp_path: Path) -> None:
    """Commits that say the same span again, with more known of it, do not count as several recordings."""
    hours = Stream("candle", BTC, "1h")
    for first_ns, last_ns, warmup in ((10, 20, 0), (10, 30, 7), (25, 40, 99), (10, 15, 3)):
        with Writer(tmp_path) as writer:
            writer.watched(hours, START_NS + first_ns, START_NS + last_ns, warmup=warmup)
    (span,) = Catalog(tmp_path).watched
    assert (span.from_ns, span.to_ns, span.warmup) == (START_NS + 10, START_NS + 40, 7)
    assert Catalog(tmp_path).coverage()[hours] == Coverage(
        START_NS + 10, START_NS + 40, 0, live_ns=START_NS + 10, warmup=7
    )


def test_days_without_files_that_were_listened_to_are_no_hole(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(2), make_trades(2, start_ns=START_NS + 3 * NS_PER_DAY))
    assert Catalog(root).coverage()[TRADES].has_holes
    with Writer(root) as writer:
        writer.watched(TRADES, START_NS + NS_PER_S, START_NS + NS_PER_DAY)
    assert Catalog(root).coverage()[TRADES].has_holes
    assert ReplayFeed(root).has_hole(TRADES, START_NS, START_NS + 3 * NS_PER_DAY) is True
    assert ReplayFeed(root).has_hole(TRADES, START_NS, START_NS + NS_PER_DAY) is False
    with Writer(root) as writer:
        writer.watched(TRADES, START_NS + NS_PER_DAY, START_NS + 2 * NS_PER_DAY)
    assert not Catalog(root).coverage()[TRADES].has_holes


def test_what_a_source_was_asked_for_is_kept_and_is_no_hole(store: Callable[..., Path], make_trades: Make) -> None:
    """Spans of one source join where they touch; those of two sources stay apart, and rows are not made up of them."""
    root = store(make_trades(2), make_trades(2, start_ns=START_NS + 3 * NS_PER_DAY))
    before = Catalog(root).coverage()[TRADES]
    assert before.has_holes
    for first_ns, last_ns, source in ((0, NS_PER_DAY - 1, "okx"), (NS_PER_DAY, 3 * NS_PER_DAY, "okx"), (0, 5, "files")):
        with Writer(root) as writer:
            writer.asked(TRADES, START_NS + first_ns, START_NS + last_ns, source=source)
    catalog = Catalog(root)
    told = [(span.source, span.from_ns - START_NS, span.to_ns - START_NS) for span in catalog.asked]
    assert told == [("files", 0, 5), ("okx", 0, 3 * NS_PER_DAY)]
    assert catalog.coverage()[TRADES] == before._replace(has_holes=False)
    assert ReplayFeed(root).has_hole(TRADES, START_NS, START_NS + 3 * NS_PER_DAY) is False
    with Writer(root) as writer:
        writer.asked(Stream("funding", BTC), 1, 2, source="okx")
    assert Stream("funding", BTC) not in Catalog(root).coverage()
    with Writer(root) as writer, pytest.raises(ConfigError, match="asked for until 1970-01-01"):
        writer.asked(TRADES, 2, 1, source="okx")


def test_an_older_quantkit_refuses_only_the_line_that_it_cannot_know(tmp_path: Path) -> None:
    """Files and watched streams stay lines of version 2."""
    with Writer(tmp_path) as writer:
        writer.watched(TRADES, START_NS, START_NS)
        writer.asked(TRADES, START_NS, START_NS, source="okx")
    versions = [json.loads(line)["version"] for line in (tmp_path / "manifest.jsonl").read_bytes().splitlines()]
    assert versions == [2, 3]


def test_a_commit_that_says_nothing_new_leaves_the_manifest(tmp_path: Path) -> None:
    manifests = []
    for _ in range(2):
        with Writer(tmp_path) as writer:
            writer.watched(TRADES, START_NS, START_NS)
            writer.asked(TRADES, START_NS, START_NS, source="okx")
        manifests.append((tmp_path / "manifest.jsonl").stat().st_ino)
    assert manifests[0] == manifests[1]


def test_a_span_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        with pytest.raises(ConfigError, match="listened to until 2026-01-01T12:00:00Z, before 2026-01-01T12:00:01Z"):
            writer.watched(TRADES, START_NS + NS_PER_S, START_NS)
        with pytest.raises(ConfigError, match="is not usable"):
            writer.watched(Stream("trade", "../x"), START_NS, START_NS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "quote"}, f"line 1: kind, span or warm-up of {BTC} quote is impossible; restore the manifest"),
        ({"to_ns": 0}, f"line 1: kind, span or warm-up of {BTC} trade is impossible; restore the manifest"),
        ({"instrument": "../x"}, "line 1: not a manifest line (instrument id '../x' is not usable"),
        ({"from_ns": None}, "line 1: not a manifest line (Expected `int`, got `null`"),
    ],
)
def test_a_line_of_a_watched_stream_that_cannot_be_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    line = {"kind": "trade", "instrument": BTC, "from_ns": START_NS, "to_ns": START_NS, **change}
    (tmp_path / "manifest.jsonl").write_bytes(guarded({"watched": line}))
    with pytest.raises(DataError, match=re.escape(message)):
        Catalog(tmp_path)


# The folder and its manifest ----------------------------------------------------------------------------------


def test_a_missing_folder_and_a_folder_without_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Catalog(tmp_path / "none")
    assert str(caught.value) == (
        f"data folder {tmp_path / 'none'} is not there (manifest.jsonl); name another one, fill it with "
        "`quantkit import`, or start with generated data: `quantkit new`"
    )
    with pytest.raises(DataError, match=r"holds no manifest \(manifest\.jsonl\); name another one, fill it"):
        Catalog(tmp_path)


def test_the_folder_of_a_run_is_not_taken_for_its_rows(tmp_path: Path) -> None:
    keep(tmp_path / "data", instrument())
    with pytest.raises(
        DataError, match=re.escape(f"holds no manifest (manifest.jsonl); did you mean {tmp_path}/data?")
    ):
        Catalog(tmp_path)


@pytest.mark.parametrize("root", ["", "nowhere://bucket/x"])
def test_a_root_that_is_no_place_is_refused(root: str) -> None:
    with pytest.raises(ConfigError):
        Catalog(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../etc/x.parquet"}, "path '../../etc/x.parquet' may not leave the folder"),
        ({"path": "/etc/x.parquet"}, "path '/etc/x.parquet' may not leave the folder"),
        ({"path": "a\\..\\x.parquet"}, "may not leave the folder"),
        ({"path": "/etc/passwd"}, "path '/etc/passwd' may not leave the folder"),
        ({"instrument": "../x"}, "not a manifest line (instrument id '../x' is not usable"),
        ({"kind": "quote"}, "kind, span or path"),
        ({"last_ns": 0}, "kind, span or path"),
        ({"rows": "many"}, "not a manifest line (Expected `int`, got `str`"),
    ],
)
def test_a_manifest_line_that_cannot_be_is_named(
    store: Callable[..., Path], make_trades: Make, change: dict[str, Any], message: str
) -> None:
    root = store(make_trades(2))
    path = root / "manifest.jsonl"
    path.write_bytes(guarded({**json.loads(unguarded(path.read_bytes())), **change}))
    with pytest.raises(DataError) as caught:
        Catalog(root)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 1: ")


@pytest.mark.parametrize("cut", [0, 1, 50, 100_000])
def test_a_torn_manifest_is_named(store: Callable[..., Path], make_trades: Make, cut: int) -> None:
    root = store(make_trades(2), make_trades(2, instrument="ETH-USDT"))
    path = root / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[: -cut - 1])
    with pytest.raises(DataError, match=r"manifest\.jsonl: empty or cut off at its end; ") as told:
        Catalog(root)
    # Whole lines before it can be had back, and only then.
    assert ("`quantkit data repair " in str(told.value)) is (b"\n" in path.read_bytes())


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"null\n", b"[]\n", b"\n", b"\x00" * 10 + b"\n", b"{}\n"])
def test_bytes_that_are_no_manifest_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="line 1: not a manifest line"):
        Catalog(tmp_path)


class _Deaf:
    """A file system whose server does not answer."""

    def get_file_info(self, _: object) -> Any:
        raise OSError("the server does not answer")

    open_input_file = get_file_info


class _Breaking:
    """A file system whose connection breaks while a file is read."""

    def __init__(self, root: Path) -> None:
        self._local = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem())

    def get_file_info(self, path: str) -> Any:
        return self._local.get_file_info(path)

    def open_input_file(self, _: str) -> Any:
        file = BytesIO()
        file.close = lambda: None  # type: ignore[method-assign]
        file.read = lambda *_: (_ for _ in ()).throw(OSError("reset by peer"))  # type: ignore[method-assign]
        return file


def test_a_store_that_fails_is_one_line(store: Callable[..., Path], make_trades: Make) -> None:
    """When it is asked what it has, and in the middle of a file."""
    for ask in (Root.has_folder, Root.files, lambda root: root.exists("x"), Catalog):
        with pytest.raises(DataError, match=r"^bucket.*: cannot be read: the server does not answer$"):
            ask(Root("bucket", _Deaf()))
    folder = store(make_trades(2))
    with pytest.raises(DataError, match=r"^data/manifest\.jsonl: cannot be read: reset by peer$"):
        Catalog(Root("data", _Breaking(folder.parent)))


def test_a_line_twice_is_refused(store: Callable[..., Path], make_trades: Make) -> None:
    path = store(make_trades(2)) / "manifest.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="line 2: kind, span or path"):
        Catalog(path.parent)


@pytest.mark.parametrize("is_guarded", [True, False])
@pytest.mark.parametrize("kind", ["file", "watched"])
def test_a_name_that_is_not_known_is_refused(
    store: Callable[..., Path], make_trades: Make, kind: str, is_guarded: bool
) -> None:
    """A name whose bits flipped would otherwise leave its value out, without a word."""
    path = store(make_trades(2)) / "manifest.jsonl"
    fields: dict[str, Any] = json.loads(unguarded(path.read_bytes()))
    if kind == "watched":
        fields = {"watched": {"kind": "trade", "instrument": BTC, "from_ns": 0, "to_ns": 0, "warmuq": 3}}
    else:
        fields["sourcd"] = fields.pop("source", "x")
    line = guarded(fields)
    path.write_bytes(line if is_guarded else unguarded(line))
    with pytest.raises(DataError, match=r"line 1: not a manifest line \(Object contains unknown field"):
        Catalog(path.parent)


def test_a_line_of_a_newer_quantkit_is_named(store: Callable[..., Path], make_trades: Make) -> None:
    path = store(make_trades(2)) / "manifest.jsonl"
    path.write_bytes(guarded({**json.loads(unguarded(path.read_bytes())), "newer": [1]}, version=4))
    with pytest.raises(SchemaError, match="line 1: written in version 4, this quantkit reads up to 3; update it"):
        Catalog(path.parent)


def test_every_bit_of_a_line_is_guarded(store: Callable[..., Path], make_trades: Make) -> None:
    """Wherever one flips: in the checksum, a name, a number, or the line's end."""
    path = store(make_trades(2), make_trades(2, instrument="ETH-USDT")) / "manifest.jsonl"
    good = path.read_bytes()
    for bit in range(0, 8 * len(good), 3):  # three and eight share no factor, so each bit of a byte has its turn
        path.write_bytes(flipped(good, bit))
        with pytest.raises(DataError) as caught:
            Catalog(path.parent)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_an_edited_line_is_named_with_what_to_do(store: Callable[..., Path], make_trades: Make) -> None:
    path = store(make_trades(2), make_trades(2, instrument="ETH-USDT"), source="a.csv") / "manifest.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"a.csv", b"b.csv"))
    with pytest.raises(DataError) as caught:
        Catalog(path.parent)
    assert str(caught.value) == (
        f"{path}, line 2: its checksum does not agree; the line was changed or damaged, restore the manifest, "
        "or import the data again"
    )


def test_lines_without_checksums_are_read_and_named_until_the_next_write(
    store: Callable[..., Path], make_trades: Make
) -> None:
    """So wrote the first version."""
    root = store(make_trades(2), make_trades(2, instrument="ETH-USDT"))
    with Writer(root) as writer:
        writer.watched(TRADES, START_NS, START_NS)
    before = Catalog(root)
    path = root / "manifest.jsonl"
    path.write_bytes(b"".join(map(unguarded, path.read_bytes().splitlines())))
    old = Catalog(root)
    assert (old.entries, old.watched, old.unguarded) == (before.entries, before.watched, 3)
    (finding,) = (finding for finding in check(old).findings if finding.where == "manifest.jsonl")
    assert (finding.severity, finding.what) == (
        "warning",
        "unguarded: 3 lines of an older quantkit without a checksum, so a change there may go unnoticed; "
        "the next write to the folder adds them",
    )
    with Writer(root) as writer:
        writer.watched(TRADES, START_NS, START_NS + 1)
    assert (Catalog(root).unguarded, before.unguarded) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "name", "column"),
    [
        ("candle", "first_ns", "received_ns"),
        ("candle", "last_ns", "received_ns"),
        ("candle", "first_open_ns", "open_ns"),
        ("candle", "last_open_ns", "open_ns"),
        ("instrument", "first_ns", "valid_from_ns"),
        ("instrument", "last_ns", "valid_from_ns"),
    ],
)
def test_stamps_are_compared_with_the_files_statistics(
    store: Callable[..., Path], make_candles: Make, kind: str, name: str, column: str
) -> None:
    """A line may have been written wrong, checksum and all: what it leaves out would never be read."""
    root = store(make_candles(3))
    with Writer(root) as writer:
        writer.write_instrument(Instrument(BTC, price_step="0.5", qty_step="1", valid_from_ns=START_NS))
    entries = {entry.kind: entry for entry in lines_of(root).entries}
    held = getattr(entries[kind], name)
    entries[kind] = msgspec.structs.replace(entries[kind], **{name: held + (1 if name.startswith("last") else -1)})
    write_lines(root, list(entries.values()))
    with pytest.raises(DataError, match=f"the first or last {column} is not the manifest's; the file or its line was"):
        DataFile(Root.of(root), entries[kind])


# What is there ------------------------------------------------------------------------------------------------


def test_coverage_counts_rows_and_says_where_days_are_missing(
    store: Callable[..., Path], make_trades: Make, make_candles: Make
) -> None:
    other = make_trades(4, step_ns=2 * NS_PER_DAY, instrument="ETH-USDT")
    february = make_candles(2, open_ns=time_ns_of("2026-02-03"))
    april = make_candles(1, open_ns=time_ns_of("2026-04-01"), instrument="ETH-USDT")
    root = store(
        make_trades(30, step_ns=NS_PER_DAY // 4),
        other,
        make_candles(2) + february,
        make_candles(2, instrument="ETH-USDT") + april,
    )
    assert Catalog(root).coverage() == {
        Stream("candle", "ETH-USDT", "1m"): Coverage(START_NS, time_ns_of("2026-04-01T00:01:00Z"), 3, True),
        Stream("candle", BTC, "1m"): Coverage(START_NS, time_ns_of("2026-02-03T00:02:00Z"), 4, False),
        Stream("trade", "ETH-USDT"): Coverage(START_NS, START_NS + 6 * NS_PER_DAY, 4, True),
        Stream("trade", BTC): Coverage(START_NS, START_NS + 29 * NS_PER_DAY // 4, 30, False),
    }


@pytest.mark.parametrize(("last", "has_holes"), [("2026-02-28", False), ("2026-03-01", True)])
def test_marks_and_funding_are_whole_where_every_month_has_some(
    store: Callable[..., Path], last: str, has_holes: bool
) -> None:
    stamps = (START_NS, time_ns_of(last))
    root = store([Mark(BTC, at, at, 1.0) for at in stamps], [Funding(BTC, at, at, 0.0, at, True) for at in stamps])
    coverage = Catalog(root).coverage()
    assert {stream.kind: held.has_holes for stream, held in coverage.items()} == {
        "mark": has_holes,
        "funding": has_holes,
    }
    said = {finding.what for finding in check(Catalog(root)).findings if finding.where != BTC}
    hole = "a whole month is missing between the first and the last, first 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z"
    assert said == ({hole} if has_holes else set())


def test_a_year_without_a_gap_is_no_hole(store: Callable[..., Path]) -> None:
    stamps = (START_NS, time_ns_of("2027-01-01"))
    root = store([Gap(BTC, at, at, "book", at - NS_PER_S, at, "sequence") for at in stamps])
    assert not Catalog(root).coverage()[Stream("gap", BTC)].has_holes
    assert [finding.severity for finding in check(Catalog(root)).findings if finding.where != BTC] == ["warning"]


def test_a_year_has_no_hole_at_its_turn(store: Callable[..., Path], make_candles: Make) -> None:
    root = store(make_candles(1, open_ns=time_ns_of("2025-12-31")) + make_candles(1))
    assert not Catalog(root).coverage()[Stream("candle", BTC, "1m")].has_holes


def test_files_are_those_that_meet_the_span_ends_included(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(3, step_ns=NS_PER_DAY))
    catalog, stream = Catalog(root), Stream("trade", BTC)
    days = [START_NS + i * NS_PER_DAY for i in range(3)]
    assert [e.first_ns for e in catalog.files(stream, 0, END_NS)] == days
    assert [e.first_ns for e in catalog.files(stream, days[0], days[1])] == days[:2]
    assert [e.first_ns for e in catalog.files(stream, days[0] + 1, days[1] - 1)] == []
    assert catalog.files(Stream("ticker", BTC), 0, END_NS) == []


def test_a_candles_open_is_looked_for_where_it_opens(store: Callable[..., Path], make_candles: Make) -> None:
    catalog = Catalog(store(make_candles(2)))
    candles, opens = Stream("candle", BTC, "1m"), Stream("candle_open", BTC, "1m")
    assert len(catalog.files(opens, START_NS, START_NS)) == 1
    assert len(catalog.files(candles, START_NS, START_NS)) == 0
    late = START_NS + 2 * NS_PER_MIN
    assert len(catalog.files(opens, late, late)) == 0
    assert len(catalog.files(candles, late, late)) == 1


def test_notes_are_gathered_by_instrument_in_order_of_time(tmp_path: Path, make_trades: Make) -> None:
    for day, shift in ((1, 7), (0, 5), (2, 7)):
        with Writer(tmp_path) as writer:
            writer.write(Block.from_events(make_trades(1, start_ns=START_NS + day * NS_PER_DAY)))
            writer.note("received_shift_ns", shift)
            writer.note("venue", "um")
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(make_trades(1, instrument="ETH-USDT")))
    assert Catalog(tmp_path).notes() == {BTC: {"received_shift_ns": (5, 7), "venue": ("um",)}}


def test_a_catalog_is_what_was_there_when_it_was_opened(store: Callable[..., Path], make_trades: Make) -> None:
    root = store(make_trades(2))
    catalog = Catalog(root)
    store(make_trades(2, start_ns=START_NS + NS_PER_DAY))
    assert catalog.coverage()[Stream("trade", BTC)].rows == 2
    assert Catalog(root).coverage()[Stream("trade", BTC)].rows == 4


# Instruments --------------------------------------------------------------------------------------------------


def test_an_instrument_comes_back_equal(tmp_path: Path) -> None:
    coin = Instrument(
        "BTC-USD-SWAP",
        kind="swap",
        price_step="0.1",
        qty_step="1",
        contract_value="100",
        is_inverse=True,
        exchange="elsewhere",
        source="capture",
        valid_from_ns=START_NS,
    )
    keep(tmp_path, coin, instrument())
    assert Catalog(tmp_path).instruments() == {"BTC-USD-SWAP": coin, BTC: instrument()}
    assert [entry.path for entry in Catalog(tmp_path).entries] == [
        "exchange=okx/kind=instrument/instrument=BTC-USD-SWAP/part-0.parquet",
        "exchange=binance/kind=instrument/instrument=BTC-USDT-SWAP/part-0.parquet",
    ]


def test_the_newest_row_that_is_valid_counts(tmp_path: Path) -> None:
    old, middle, new = (instrument(step, valid_from_ns=at) for step, at in (("1", 10), ("0.5", 20), ("0.1", 30)))
    keep(tmp_path, new, old)
    keep(tmp_path, middle)
    catalog = Catalog(tmp_path)
    assert catalog.instruments() == {BTC: new}
    assert [catalog.instruments(at).get(BTC) for at in (9, 10, 19, 20, 29, 30, END_NS)] == [
        None,
        old,
        old,
        middle,
        middle,
        new,
        new,
    ]
    assert len(catalog.entries) == 1


def test_instruments_without_metadata_are_left_out(store: Callable[..., Path], make_trades: Make) -> None:
    assert Catalog(store(make_trades(1))).instruments() == {}


def test_equal_metadata_are_written_once(tmp_path: Path) -> None:
    keep(tmp_path, instrument())
    before = (tmp_path / "manifest.jsonl").read_bytes()
    keep(tmp_path, instrument(), instrument(source="capture"))
    assert (tmp_path / "manifest.jsonl").read_bytes() == before


def test_given_metadata_that_differ_are_refused_unless_replaced(tmp_path: Path, make_trades: Make) -> None:
    keep(tmp_path, instrument())
    writer = Writer(tmp_path)
    writer.write(Block.from_events(make_trades(1)))
    writer.write_instrument(instrument("0.5", contract_value="0.01"))
    with pytest.raises(DataError) as caught:
        writer.commit()
    assert str(caught.value) == (
        f"{BTC}: metadata valid from 1970-01-01T00:00:00Z are stored already and differ (price_step 0.1 to 0.5, "
        "contract_value 1 to 0.01); write with replace=True (`--replace`), or give the change its own valid_from_ns"
    )
    assert Catalog(tmp_path).instruments() == {BTC: instrument()}
    assert list(Catalog(tmp_path).coverage()) == []
    keep(tmp_path, instrument("0.5"), replace=True)
    assert Catalog(tmp_path).instruments() == {BTC: instrument("0.5")}
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_the_largest_orders_are_kept_beside_the_columns(tmp_path: Path) -> None:
    """Files without them are as ever; what becomes known is added, and what is known is not forgotten."""
    limits = {"max_limit_qty": "100", "max_market_value": "1000000"}
    keep(tmp_path, instrument())
    keep(tmp_path, instrument(**limits), instrument("0.5", valid_from_ns=5))
    assert Catalog(tmp_path).instruments(0) == {BTC: instrument(**limits)}
    assert Catalog(tmp_path).instruments(5) == {BTC: instrument("0.5", valid_from_ns=5)}
    keep(tmp_path, instrument())
    assert Catalog(tmp_path).instruments(0) == {BTC: instrument(**limits)}
    with pytest.raises(DataError, match=r"differ .max_limit_qty 100 to 7"):
        keep(tmp_path, instrument(max_limit_qty="7"))


def test_largest_orders_that_cannot_be_read_are_told(tmp_path: Path, tamper: Callable[..., Path]) -> None:
    keep(tmp_path, instrument(max_limit_qty="100"))
    tamper(
        tmp_path, table=lambda table: table.replace_schema_metadata({**table.schema.metadata, META_ORDER_LIMITS: b"{"})
    )
    with pytest.raises(DataError, match=r"its largest orders cannot be read \(.*\); import it again"):
        Catalog(tmp_path).instruments()


def test_what_was_stated_beats_what_was_inferred(tmp_path: Path) -> None:
    keep(tmp_path, instrument("0.5", source="inferred"))
    keep(tmp_path, instrument("0.1"))
    assert Catalog(tmp_path).instruments()[BTC] == instrument("0.1")
    keep(tmp_path, instrument("0.01", source="inferred"))
    assert Catalog(tmp_path).instruments()[BTC] == instrument("0.1")


def test_two_inferred_ones_give_the_finer_steps(tmp_path: Path) -> None:
    keep(tmp_path, instrument("0.5", source="inferred"))
    keep(tmp_path, instrument("0.1", qty_step="1", source="inferred"))
    held = Catalog(tmp_path).instruments()[BTC]
    assert (str(held.price_step), str(held.qty_step), held.source) == ("0.1", "0.001", "inferred")
    with pytest.raises(DataError, match=r"differ .*settle"):
        keep(tmp_path, instrument("0.1", settle="USDC", source="inferred"))


def test_a_row_that_is_no_instrument_is_named(tmp_path: Path, tamper: Callable[..., Path]) -> None:
    import pyarrow as pa

    keep(tmp_path, instrument())

    def spoil(table: Any) -> Any:
        at = table.schema.get_field_index("price_step")
        return table.set_column(at, table.schema.field(at), pa.array(["-1"]))

    path = tamper(tmp_path, table=spoil)
    with pytest.raises(DataError, match=re.escape(f"{path}, row 0: {BTC}: price_step is -1; it must be above zero")):
        Catalog(tmp_path).instruments()


def test_metadata_of_another_instrument_are_named(tmp_path: Path, tamper: Callable[..., Path]) -> None:
    import pyarrow as pa

    keep(tmp_path, instrument())

    def spoil(table: Any) -> Any:
        at = table.schema.get_field_index("id")
        return table.set_column(at, table.schema.field(at), pa.array(["ETH-USDT"]))

    tamper(tmp_path, table=spoil)
    with pytest.raises(DataError, match=f"describes ETH-USDT, the manifest says {BTC}; restore or import it again"):
        Catalog(tmp_path).instruments()


def test_gaps_are_a_stream_of_their_own(store: Callable[..., Path]) -> None:
    root = store([Gap(BTC, START_NS, START_NS, "candle 1m", START_NS - NS_PER_S, START_NS, "missing")])
    assert list(Catalog(root).coverage()) == [Stream("gap", BTC)]


# Many files ---------------------------------------------------------------------------------------------------


def test_metadata_are_read_of_the_instruments_that_are_asked_for(tmp_path: Path) -> None:
    """A catalog of many instruments opens none of their files beforehand, and a run opens its own."""
    keep(tmp_path, instrument(), Instrument("ETH-USDT", price_step="0.01", qty_step="0.001"))
    catalog = Catalog(tmp_path)
    (gone,) = (tmp_path / entry.path for entry in catalog.entries if entry.instrument == "ETH-USDT")
    gone.unlink()
    versions, known = catalog.versions(), ReplayFeed(tmp_path).instruments(START_NS)
    assert [*versions] == [*known] == ["ETH-USDT", BTC]
    assert (len(versions), len(known)) == (2, 2)
    assert versions[BTC] == [instrument()]
    assert known[BTC] == instrument()
    with pytest.raises(DataError, match="the file is missing though the manifest lists it"):
        known["ETH-USDT"]


def test_a_path_that_comes_twice_is_refused_though_its_lines_are_plainly_good(
    store: Callable[..., Path], make_trades: Make
) -> None:
    manifest = store(make_trades(3)) / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join([*lines, lines[-1]]))
    with pytest.raises(DataError, match=rf"line {len(lines) + 1}: kind, span or path .* is impossible"):
        Catalog(manifest.parent)
