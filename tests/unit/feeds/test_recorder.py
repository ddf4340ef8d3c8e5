"""The recorder: what is added lies in the folder once, in order, and what cannot be stored is told."""

import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.feeds.recorder import Recorder
from quantkit.feeds.recording import NOT_RECORDED, NOT_STORED, Holes, stream_of
from quantkit.feeds.replay import ReplayFeed
from quantkit.instruments import Instrument, Side
from quantkit.quality import check
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Catalog, Coverage
from quantkit.storage.manifest import FileEntry
from quantkit.storage.reader import read_blocks
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-31T23:59:00Z")
END_NS = 2**62
BTC, ETH = "BTC-USDT", "ETH-USDT"
WAIT_S = 60  # for what happens at once; only a failure waits that long


def trade(received_ns: int, *, instrument: str = BTC, price: float = 100.0, trade_id: int = 1) -> Trade:
    """A trade."""
    return Trade(instrument, received_ns - 5, received_ns, price, 1.0, Side.BUY, trade_id)


def trades(count: int, *, start_ns: int = START_NS, step_ns: int = NS_PER_S) -> list[MarketEvent]:
    """Trades of rising stamps."""
    return [trade(start_ns + i * step_ns, trade_id=i + 1, price=100.0 + i % 9) for i in range(count)]


def candle(opened_ns: int, received_ns: int, *, instrument: str = BTC) -> Candle:
    """A candle of one minute."""
    closed_ns = opened_ns + NS_PER_MIN
    return Candle(instrument, closed_ns, received_ns, opened_ns, closed_ns, 100.0, 102.0, 99.0, 101.0, 5.0, "1m")


def frames() -> list[list[MarketEvent]]:
    """What a feed delivers over the end of a month: every kind, two instruments, several rows of one stamp."""
    found: list[list[MarketEvent]] = []
    for i in range(240):
        at = START_NS + i * NS_PER_S
        instrument = (BTC, ETH)[i % 2]
        match i % 8:
            case 0 | 1:
                found.append([trade(at, instrument=instrument, trade_id=2 * i + n) for n in range(3)])
            case 2:
                found.append(
                    [Ticker(BTC, at, at, 99.5, 1.0, 100.5 + i, 2.0), Ticker(ETH, at, at, None, None, 9.0, 1.0)]
                )
            case 3:
                levels = ((99.0, 98.0), (1.0, 2.0), (101.0,), (3.0 + i,))
                found.append([BookUpdate(instrument, at, at, *levels, i < 8, i + 1, i)])
            case 4:
                found.append([Mark(instrument, at, at, 100.0 + i), Mark(instrument, at, at, 100.25 + i, "index")])
            case 5:
                found.append([Funding(instrument, at, at, 0.0001, at + NS_PER_MIN, i % 16 == 5)])
            case 6:
                found.append(
                    [Gap(instrument, at, at, "trade", at - 9, at, f"lost {i}"), trade(at, instrument=instrument)]
                )
            case 7:
                # Bars that close together and come together: the shorter interval first, then by instrument.
                opened = START_NS + (i // 8 - 3) * NS_PER_MIN
                found.append([candle(opened, at), candle(opened, at, instrument=ETH)])
    return found


def flat(runs: Iterable[list[MarketEvent]]) -> list[MarketEvent]:
    """All events of some frames."""
    return [event for run in runs for event in run]


def replayed(root: Path) -> list[MarketEvent]:
    """Everything a folder holds, as a replay delivers it."""
    feed = ReplayFeed(root)
    feed.subscribe([Subscription(stream, 0, END_NS) for stream in feed.coverage()])
    found: list[MarketEvent] = []
    for batch in feed.batches():
        rows: list[MarketEvent | None] = [None] * len(batch)
        for block, positions in zip(batch.blocks, batch.positions, strict=True):
            for position, event in zip(positions.tolist(), block.events(), strict=True):
                rows[position] = event
        found += [row for row in rows if row is not None]
    return found


def by_stream(events: Iterable[MarketEvent]) -> dict[Stream, list[MarketEvent]]:
    """Events by the stream they are rows of."""
    found: dict[Stream, list[MarketEvent]] = defaultdict(list)
    for event in events:
        found[stream_of(event)].append(event)
    return found


def gaps_in(root: Path, cause: str = NOT_RECORDED) -> list[tuple[str, str, int, int, int]]:
    """Instrument, channel, stamp and span of the gap rows of a cause."""
    return sorted(
        (event.instrument, event.channel, event.received_ns, event.from_ns, event.to_ns)
        for event in replayed(root)
        if isinstance(event, Gap) and event.cause == cause
    )


# What goes in comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames_of_a_commit", [1000, 23])
def test_rows_of_many_commits_are_stored_once_and_in_order(tmp_path: Path, frames_of_a_commit: int) -> None:
    runs = frames()
    with Recorder(tmp_path / "data", source="test") as recorder:
        for number, run in enumerate(runs, 1):
            recorder.add(run)
            if number % frames_of_a_commit == 0:
                assert recorder.commit() is None
    assert recorder.error is None
    everything = flat(runs)
    assert replayed(tmp_path / "data") == everything
    count = sum(not isinstance(event, Gap) for event in everything)
    status = recorder.status
    assert (status.added, status.committed, status.lost, status.ignored) == (count, count, 0, {})
    assert status.commits == len(runs) // frames_of_a_commit + 1
    # The folder is sound, and as if it had been written in one go.
    assert not [finding for finding in check(Catalog(tmp_path / "data")).findings if finding.severity == "error"]
    catalog = Catalog(tmp_path / "data")
    assert {entry.source for entry in catalog.entries} == {"test"}
    for stream, events in by_stream(everything).items():
        blocks = list(read_blocks(catalog, stream, start_ns=0, end_ns=END_NS, verify_digest=True))
        stored, expected = Block.concat(blocks), Block.from_events(events)
        for name in (*STAMPS, *KIND_COLUMNS[stream.kind]):
            if name != "seq":  # counts from zero in each file
                np.testing.assert_array_equal(stored.column(name), expected.column(name))


def test_commits_of_a_day_are_parts_of_it(tmp_path: Path) -> None:
    with Recorder(tmp_path / "data") as recorder:
        for event in trades(5, start_ns=START_NS + 58 * NS_PER_S):
            recorder.add([event])
            recorder.commit()
    names = [entry.path.partition("instrument=")[2] for entry in Catalog(tmp_path / "data").entries]
    # The newest row waits for the next commit each time.
    assert names == [
        "BTC-USDT/date=2026-01-31/part-0.parquet",
        "BTC-USDT/date=2026-01-31/part-1.parquet",
        "BTC-USDT/date=2026-02-01/part-0.parquet",
        "BTC-USDT/date=2026-02-01/part-1.parquet",
        "BTC-USDT/date=2026-02-01/part-2.parquet",
    ]


def test_rows_of_one_stamp_share_a_commit(tmp_path: Path) -> None:
    first, second, third = trades(3)
    more = trade(second.received_ns, trade_id=77)
    with Recorder(tmp_path / "data") as recorder:
        recorder.add([first, second])
        assert recorder.commit() is None
        assert replayed(tmp_path / "data") == [first]
        recorder.add([more])
        assert recorder.commit() is None
        assert replayed(tmp_path / "data") == [first]
        recorder.add([third])
    assert recorder.error is None
    assert replayed(tmp_path / "data") == [first, second, more, third]


def test_more_rows_than_are_gathered_at_once(tmp_path: Path) -> None:
    everything = trades(50_000, step_ns=1000)
    with Recorder(tmp_path / "data") as recorder:
        for start in range(0, len(everything), 500):
            recorder.add(everything[start : start + 500])
    assert recorder.error is None
    assert replayed(tmp_path / "data") == everything


def test_later_sessions_go_on_in_the_same_folder(tmp_path: Path) -> None:
    runs = frames()
    for start in range(0, len(runs), 60):
        with Recorder(tmp_path / "data") as recorder:
            for run in runs[start : start + 60]:
                recorder.add(run)
        assert recorder.error is None
    assert replayed(tmp_path / "data") == flat(runs)


def test_nothing_added_leaves_no_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path / "data") as recorder:
        recorder.add([])
        assert recorder.commit() is None
    assert recorder.close() is None
    assert not (tmp_path / "data").exists()


def test_what_is_no_market_event_is_counted_and_not_stored(tmp_path: Path) -> None:
    event = trade(START_NS)
    with Recorder(tmp_path / "data") as recorder:
        recorder.add(["text", event, 5])
        recorder.add([6])
    assert recorder.status.ignored == {"str": 1, "int": 2}
    assert replayed(tmp_path / "data") == [event]


@settings(max_examples=8, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 20), max_size=5),
    commits=st.sets(st.integers(0, 5)),
)
def test_however_rows_come_and_commits_fall_the_folder_holds_them_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], commits: set[int]
) -> None:
    root = tmp_path_factory.mktemp("recorded") / "data"
    everything = flat(frames()[:48])
    rest = everything
    with Recorder(root) as recorder:
        for number, cut in enumerate([*cuts, len(everything)]):
            # A cut may fall between rows of one stamp.
            recorder.add(rest[:cut])
            rest = rest[cut:]
            if number in commits:
                recorder.commit()
    assert recorder.error is None
    assert replayed(root) == everything


# Rotation -----------------------------------------------------------------------------------------------------------


def test_rows_become_visible_when_the_time_has_come(tmp_path: Path) -> None:
    clock = [100.0]
    committed = threading.Event()
    entries: list[FileEntry] = []

    def seen(new: list[FileEntry]) -> None:
        entries.extend(new)
        committed.set()

    looks = threading.Semaphore(0)

    def now_s() -> float:
        looks.release()
        return clock[0]

    with Recorder(tmp_path / "data", rotate_s=300, now_s=now_s, on_commit=seen) as recorder:
        recorder.add(trades(5))
        clock[0] += 299
        while looks.acquire(blocking=False):
            pass
        for _ in range(3):  # two looks at the new time, and all that follows from the first
            assert looks.acquire(timeout=WAIT_S)
        assert not committed.is_set()
        clock[0] += 1
        assert committed.wait(WAIT_S)
        assert replayed(tmp_path / "data") == trades(5)[:4]
        assert [entry.rows for entry in entries] == [4]
        committed.clear()
        recorder.add(trades(1, start_ns=START_NS + NS_PER_MIN))
        clock[0] += 300
        assert committed.wait(WAIT_S)
        assert [entry.rows for entry in entries] == [4, 1]


def test_wrong_settings_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rotate_s is 0; use seconds above zero"):
        Recorder(tmp_path, rotate_s=0)
    with pytest.raises(ConfigError, match="queue_rows is 0"):
        Recorder(tmp_path, queue_rows=0)
    (tmp_path / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="not a manifest line"):
        Recorder(tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name == "quantkit-recorder"]


# What cannot be stored ----------------------------------------------------------------------------------------------


def test_a_disk_that_refuses_leaves_a_gap_and_recording_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    runs = [*frames()[:120]]
    lost, kept = runs[:60], runs[60:]
    root.mkdir()
    (root / "exchange=okx").write_text("a file where the folder has to be")
    with Recorder(root) as recorder:
        for run in lost[:30]:
            recorder.add(run)
        first = recorder.commit()
        assert first is not None
        assert "cannot be written" in str(first)
        for run in lost[30:]:
            recorder.add(run)
        recorder.commit()
        # It is said once, however often it is tried.
        assert len(caplog.records) == 1
        (root / "exchange=okx").unlink()
        for run in kept:
            recorder.add(run)
        recorder.commit()
    assert recorder.error is not None
    status = recorder.status
    everything = flat(runs)
    # The newest stamp waited out each failure.
    gone = flat(lost[:-1])
    assert status.lost == sum(not isinstance(event, Gap) for event in gone)
    assert status.committed == status.added - status.lost
    # Each stream has one hole over all that it lost, and the feed's own gap rows are all there.
    holes = {}
    for stream, events in by_stream(gone).items():
        if stream.kind != "gap":
            span = (events[0].received_ns, events[-1].received_ns)
            holes[stream.instrument, f"{stream.kind} {stream.interval}".strip()] = (span[0], *span)
    assert gaps_in(root) == sorted((*name, *span) for name, span in holes.items())
    stored = [event for event in replayed(root) if not (isinstance(event, Gap) and event.cause == "not recorded")]
    assert stored == [event for event in gone if isinstance(event, Gap)] + flat([lost[-1]]) + flat(kept)
    assert len(stored) + status.lost == len(everything)
    assert not list(root.glob(".staging-*"))


@pytest.mark.parametrize("count", [10, 20_000])
def test_a_row_that_must_not_be_stored_costs_itself_alone(
    tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and a gap row stands in its place."""
    before = trades(count, step_ns=1000)
    between = trades(3, start_ns=START_NS + 3700 * NS_PER_S)
    bad = [trade(START_NS + at * NS_PER_S, price=float("nan")) for at in (3600, 7300)]
    after = trades(10, start_ns=START_NS + 7400 * NS_PER_S)
    with Recorder(tmp_path / "data") as recorder:
        recorder.add([*before, bad[0], *between])
        recorder.add([bad[1]])
        recorder.add(after[:1])
        error = recorder.commit()
        assert error is not None
        assert "price is nan; a price is a finite number above zero" in str(error)
        recorder.add(after[1:])
    assert caplog.messages[0].startswith("BTC-USDT trade, row ")
    status = recorder.status
    assert (status.lost, status.committed) == (2, count + 13)
    stamps = [row.received_ns for row in bad]
    assert gaps_in(tmp_path / "data", NOT_STORED) == [(BTC, "trade", stamp, stamp, stamp) for stamp in stamps]
    stored = [row for row in replayed(tmp_path / "data") if not isinstance(row, Gap)]
    assert stored == [*before, *between, *after]


def test_a_stream_whose_span_was_filled_meanwhile_is_left_out_and_the_others_are_stored(tmp_path: Path) -> None:
    """Somebody downloads what is being recorded: the stored rows stay, and gap rows say what neither has."""
    rows = trades(5)
    others = [trade(row.received_ns + 1, instrument=ETH) for row in rows]
    with Recorder(tmp_path / "data") as recorder:
        recorder.add([row for pair in zip(rows, others, strict=True) for row in pair])
        with Writer(tmp_path / "data", source="a download") as writer:
            writer.write(Block.from_events(rows[1:3]))
    assert recorder.error is not None
    assert "overlap stored rows" in str(recorder.error)
    status = recorder.status
    assert (status.lost, status.committed) == (5, 5)
    first, second, third, last = (rows[place].received_ns for place in (0, 1, 2, 4))
    holes = [(first, second - 1), (third + 1, last)]
    assert gaps_in(tmp_path / "data", NOT_STORED) == [(BTC, "trade", begin, begin, end) for begin, end in holes]
    stored = [row for row in replayed(tmp_path / "data") if not isinstance(row, Gap)]
    assert sorted(stored, key=lambda row: row.received_ns) == sorted(
        rows[1:3] + others, key=lambda row: row.received_ns
    )


def test_every_hole_has_a_span_of_its_own_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    everything = trades(9)
    place, aside = tmp_path / "data" / "exchange=okx", tmp_path / "aside"
    place.mkdir(parents=True)
    with Recorder(tmp_path / "data") as recorder:
        for start in range(0, 9, 3):
            recorder.add(everything[start : start + 3])
            if start == 3:
                recorder.commit()
                continue
            place.rename(aside)
            place.write_text("a file where the folder has to be")
            recorder.commit()
            place.unlink()
            aside.rename(place)
    assert len(caplog.records) == 2
    first, second = everything[:2], everything[5:8]
    # The newest row of each lot waits for the next one.
    assert gaps_in(tmp_path / "data") == [
        (BTC, "trade", lost[0].received_ns, lost[0].received_ns, lost[-1].received_ns) for lost in (first, second)
    ]
    assert [event for event in replayed(tmp_path / "data") if not isinstance(event, Gap)] == [
        *everything[2:5],
        everything[8],
    ]


def test_rows_over_stored_ones_are_not_stored_again(tmp_path: Path) -> None:
    everything = trades(30)
    for events in (everything, everything[10:20]):
        with Recorder(tmp_path / "data") as recorder:
            recorder.add(events)
    error = recorder.close()
    assert error is not None
    assert "overlap stored rows" in str(error)
    assert recorder.status.lost == 10
    assert replayed(tmp_path / "data") == everything


def test_a_queue_that_is_full_loses_rows_and_says_which(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def hold(entries: list[FileEntry]) -> None:
        at_work.set()
        assert go_on.wait(WAIT_S)

    everything = trades(40)
    opened = candle(START_NS - NS_PER_MIN, everything[31].received_ns)
    feed_gap = Gap(BTC, everything[30].received_ns, everything[30].received_ns, "book", 1, 2, "disconnected")
    clock = [0.0]
    recorder = Recorder(tmp_path / "data", queue_rows=20, rotate_s=1, now_s=lambda: clock[0], on_commit=hold)
    recorder.add(everything[:5])
    clock[0] = 1.0
    assert at_work.wait(WAIT_S)
    # The thread is busy with the disk now, so that rows wait.
    for event in everything[5:25]:
        recorder.add([event])
    assert recorder.error is None
    recorder.add(everything[25:28])
    recorder.add([*everything[28:30], feed_gap, everything[30], opened, everything[31]])
    assert recorder.status.lost == 8
    assert len(caplog.records) == 1
    error = recorder.error
    assert error is not None
    assert "the disk is too slow: 20 rows wait for it" in str(error)
    go_on.set()
    recorder.commit()
    recorder.add(everything[32:38])
    recorder.commit()
    span = (everything[25].received_ns, everything[25].received_ns, everything[31].received_ns)
    stamp = opened.received_ns
    # Told with the next commit, not at the end.
    assert gaps_in(tmp_path / "data") == [(BTC, "candle 1m", stamp, stamp, stamp), (BTC, "trade", *span)]
    recorder.add(everything[38:])
    recorder.close()
    assert len(gaps_in(tmp_path / "data")) == 2
    stored = [event for event in replayed(tmp_path / "data") if not isinstance(event, Gap)]
    assert stored == everything[:25] + everything[32:]
    assert feed_gap in replayed(tmp_path / "data")
    assert recorder.status.committed == len(stored)


def test_deep_books_fill_the_queue_sooner(tmp_path: Path) -> None:
    side = tuple(float(n) for n in range(1, 161))
    ones = (1.0,) * 160
    books = [
        BookUpdate(BTC, at, at, side, ones, tuple(p + 1000 for p in side), ones, True, at)
        for at in range(START_NS, START_NS + 5)
    ]
    at_work, go_on = threading.Event(), threading.Event()

    def hold(entries: list[FileEntry]) -> None:
        at_work.set()
        assert go_on.wait(WAIT_S)

    clock = [0.0]
    recorder = Recorder(tmp_path / "data", queue_rows=50, rotate_s=1, now_s=lambda: clock[0], on_commit=hold)
    recorder.add(trades(2, step_ns=1, start_ns=START_NS - 2))
    clock[0] = 1.0
    assert at_work.wait(WAIT_S)
    for book in books:
        recorder.add([book])  # weighs 1 + 320 / 16
    assert recorder.status.lost == 3
    go_on.set()
    recorder.close()
    # A replay must not go on with the book from before the hole.
    assert gaps_in(tmp_path / "data") == [(BTC, "book", START_NS + 2, START_NS + 2, START_NS + 4)]


def test_a_run_larger_than_the_queue_is_taken_when_nothing_waits(tmp_path: Path) -> None:
    with Recorder(tmp_path / "data", queue_rows=10) as recorder:
        recorder.add(trades(500))
    assert recorder.error is None
    assert replayed(tmp_path / "data") == trades(500)


def test_rows_after_the_close_are_lost_and_counted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "data")
    recorder.add(trades(3))
    assert recorder.close() is None
    recorder.add(trades(2, start_ns=START_NS + NS_PER_MIN))
    assert recorder.status.lost == 2
    error = recorder.commit()
    assert error is not None
    assert "the recorder is closed" in str(error)
    assert recorder.close() is error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_keeps_nobody_waiting(tmp_path: Path) -> None:
    def fail(entries: list[FileEntry]) -> None:
        raise RuntimeError("a mistake")

    recorder = Recorder(tmp_path / "data", on_commit=fail)
    recorder.add(trades(3))
    error = recorder.commit()
    assert error is not None
    assert "the recorder has ended: RuntimeError('a mistake')" in str(error)
    recorder.add(trades(3, start_ns=START_NS + NS_PER_MIN))
    assert recorder.close() is recorder.error
    assert recorder.status.lost == 3


def test_holes_stay_bounded() -> None:
    holes = Holes()
    assert not holes
    for at in range(10_005):
        holes.keep(Gap(BTC, at, at, "trade", at, at, "lost"))
        holes.widen(Stream("trade", ETH), at, at)
    rows = holes.rows()
    assert len(rows) == 10_002
    assert rows[-1] == Gap(BTC, 10_000, 10_000, "gap", 10_000, 10_004, "not recorded")
    assert Gap(ETH, 0, 0, "trade", 0, 10_004, "not recorded") in rows
    holes.clear()
    assert not holes
    assert holes.rows() == []


# Instruments --------------------------------------------------------------------------------------------------------


def described(id_: str, *, price_step: str = "0.1", valid_from_ns: int = 0, source: str = "given") -> Instrument:
    """An instrument's metadata."""
    return Instrument(
        id_, kind="spot", price_step=price_step, qty_step="0.01", valid_from_ns=valid_from_ns, source=source
    )


def test_instruments_are_stored_once_and_their_changes_too(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for session in range(3):
        with Recorder(root) as recorder:
            at_ns = START_NS + session
            recorder.add_instruments([described(BTC, valid_from_ns=at_ns), described(ETH, valid_from_ns=at_ns)])
            recorder.add(trades(2, start_ns=START_NS + session * NS_PER_MIN))
        assert recorder.error is None
    (entry,) = [entry for entry in Catalog(root).entries if entry.kind == "instrument" and entry.instrument == BTC]
    assert (entry.rows, entry.first_ns) == (1, START_NS)
    with Recorder(root) as recorder:
        recorder.add_instruments([described(BTC, price_step="0.01", valid_from_ns=START_NS + 9)])
        recorder.commit()
        recorder.add_instruments([described(BTC, price_step="0.01", valid_from_ns=START_NS + 99)])
    assert recorder.error is None
    (entry,) = [entry for entry in Catalog(root).entries if entry.kind == "instrument" and entry.instrument == BTC]
    assert (entry.rows, entry.first_ns, entry.last_ns) == (2, START_NS, START_NS + 9)
    assert str(Catalog(root).instruments()[BTC].price_step) == "0.01"
    assert str(Catalog(root).instruments(START_NS + 8)[BTC].price_step) == "0.1"


def test_a_statement_takes_the_place_of_a_guess(tmp_path: Path) -> None:
    for source in ("inferred", "given", "capture"):
        with Recorder(tmp_path / "data") as recorder:
            recorder.add_instruments([described(BTC, source=source)])
        assert recorder.error is None
    assert Catalog(tmp_path / "data").instruments()[BTC].source == "given"


def test_metadata_that_contradict_cost_neither_rows_nor_other_instruments(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Recorder(root) as recorder:
        recorder.add_instruments([described(BTC)])
    everything = trades(3)
    with Recorder(root) as recorder:
        recorder.add_instruments([described(BTC, price_step="0.01"), described(ETH)])
        recorder.add(everything)
        error = recorder.commit()
        assert error is not None
        assert "BTC-USDT: metadata valid from 1970-01-01T00:00:00Z are stored already and differ" in str(error)
    assert replayed(root) == everything
    held = Catalog(root).instruments()
    assert (sorted(held), str(held[BTC].price_step)) == ([BTC, ETH], "0.1")


# Streams that are listened to ---------------------------------------------------------------------------------


def test_a_stream_without_a_row_is_kept_as_one_that_was_listened_to(tmp_path: Path) -> None:
    busy, quiet, never = Stream("trade", BTC), Stream("candle", BTC, "1h"), Stream("trade", ETH)
    with Recorder(tmp_path) as recorder:
        recorder.watch([busy, quiet], START_NS - NS_PER_S)
        recorder.add(trades(3))
        assert recorder.commit() is None
        # More rows of the newest stamp may come, so what is known ends before it.
        held = Catalog(tmp_path).coverage()
        newest_ns = START_NS + 2 * NS_PER_S
        assert (held[quiet].start_ns, held[quiet].end_ns, held[quiet].rows) == (START_NS - NS_PER_S, newest_ns - 1, 0)
        assert recorder.close(newest_ns + NS_PER_MIN) is None
    held = Catalog(tmp_path).coverage()
    assert {stream: (found.start_ns, found.end_ns, found.rows) for stream, found in held.items()} == {
        busy: (START_NS - NS_PER_S, newest_ns + NS_PER_MIN, 3),
        quiet: (START_NS - NS_PER_S, newest_ns + NS_PER_MIN, 0),
    }
    assert never not in held
    assert len(Catalog(tmp_path).watched) == 2


def test_a_recording_of_nothing_but_silence_says_so(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.watch([Stream("trade", BTC)], START_NS)
        recorder.close(START_NS + NS_PER_S)
    silence = {Stream("trade", BTC): Coverage(START_NS, START_NS + NS_PER_S, 0, live_ns=START_NS)}
    assert Catalog(tmp_path).coverage() == silence
    with Recorder(tmp_path) as recorder:
        recorder.watch([Stream("trade", BTC)], START_NS + NS_PER_S)
    # Nothing is known of the time after it began, so nothing is said.
    assert Catalog(tmp_path).coverage() == silence


def test_the_longest_warm_up_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    """It is asked for after listening has begun, and perhaps more than once."""
    hours = Stream("candle", BTC, "1h")
    with Recorder(tmp_path) as recorder:
        recorder.watch([hours], START_NS)
        for warmup in (3, 30, 7):
            recorder.watch([hours], START_NS + NS_PER_S, warmup=warmup)
        recorder.close(START_NS + NS_PER_MIN)
    (span,) = Catalog(tmp_path).watched
    assert (span.stream, span.from_ns, span.warmup) == (hours, START_NS, 30)


# With a tape beside it ---------------------------------------------------------------------------------------------


def test_a_full_queue_holds_up_whoever_adds_rows_that_are_on_a_tape(tmp_path: Path) -> None:
    """Instead of losing them, as long as the disk takes its time."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_: list[FileEntry]) -> None:
        held.set()
        assert go_on.wait(WAIT_S)

    rows = trades(60)
    with Recorder(tmp_path / "data", queue_rows=20, on_commit=hold, is_taped=True) as recorder:
        recorder.add(rows[:2])
        recorder.ask_commit()
        assert held.wait(WAIT_S)
        recorder.add(rows[2:20])
        adding = threading.Thread(target=lambda: recorder.add(rows[20:]))
        adding.start()
        assert recorder.status.added == 60 or adding.is_alive()
        go_on.set()
        adding.join(WAIT_S)
        assert not adding.is_alive()
    assert recorder.error is None
    assert replayed(tmp_path / "data") == rows
    assert recorder.status.lost == 0


def test_a_disk_that_refuses_ends_what_a_tape_can_give_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored after a hole, and no gap row tells of a loss that is none."""
    rows = trades(30)
    recorder = Recorder(tmp_path / "data", is_taped=True)
    recorder.watch([Stream("trade", BTC)], START_NS)
    recorder.add(rows[:10])
    assert recorder.commit() is None
    with monkeypatch.context() as patched:
        patched.setattr("quantkit.storage.spool.table_of", _no_space)
        recorder.add(rows[10:20])
        assert recorder.commit() is not None
    assert recorder.has_given_up
    recorder.add(rows[20:])
    assert recorder.close() is not None
    assert replayed(tmp_path / "data") == rows[:9]  # the newest stamp waits for the next commit
    assert [commit.sealed_ns for commit in recorder.take_commits()] == [rows[9].received_ns - 1]
    assert recorder.take_commits() == []
    assert not list((tmp_path / "data").glob(".staging-*"))


def _no_space(_: object) -> object:
    raise OSError(28, "No space left on device")
