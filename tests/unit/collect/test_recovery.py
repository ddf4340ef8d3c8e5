"""What a killed collector left: sealed once, with the gaps between its lives, however often it is recovered."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from quantkit.clock import NS_PER_S, time_ns_of
from quantkit.collect.recovery import Recovered, last_trades, recover, sealed_marks
from quantkit.errors import DataError
from quantkit.events import Gap, InstrumentChange, Mark, MarketEvent, Row, Trade
from quantkit.feeds.recorder import Recorder
from quantkit.feeds.recording import NOT_RECORDED, NOT_STORED, REFUSED, refusals_of
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.root import Root

BTC = "BTC-USDT"
START_NS = time_ns_of("2026-01-01T12:00:00Z")
TRADES, MARKS, GAPS = (Stream(kind, BTC) for kind in ("trade", "mark", "gap"))
INFO = Instrument(
    id=BTC, kind="spot", base="BTC", quote="USDT", price_step="0.1", qty_step="0.00001", valid_from_ns=START_NS
)


def at(second: float) -> int:
    """Return a moment."""
    return START_NS + int(second * NS_PER_S)


def trade(second: float) -> Trade:
    """A trade."""
    return Trade(BTC, at(second) - 5, at(second), 100.0, 1.0, Side.BUY, int(second * 10))


class Tape:
    """A tape that lives through several collectors, which die without a word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Root(folder / "data")

    def life(self, since: float, rows: Sequence[Row], streams: Sequence[Stream] = (TRADES, MARKS)) -> None:
        """Listen from a moment on and put rows on the tape."""
        tape = RowTape(self.folder / "tape")
        tape.open()
        tape.listen(Listening(at(since), list(streams), [INFO.to_dict()]))
        tape.take([[row] for row in rows])
        assert tape.flush()
        tape.close()

    def recover(self) -> Recovered:
        """Seal what is not sealed."""
        return recover(self.folder / "tape", self.root, source="test", staging=self.folder / "staging")

    def rows(self, *streams: Stream) -> list[MarketEvent]:
        """Return what is stored."""
        catalog = Catalog(self.root)
        return list(read_events(catalog, [stream for stream in streams if stream in catalog.coverage()], 0, 2**62))


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    """A tape, and a folder for its rows."""
    return Tape(tmp_path)


def test_the_rows_of_a_dead_collector_are_sealed_once(tape: Tape) -> None:
    """With what it listened to, and the metadata as they were."""
    rows = [trade(1), Mark(BTC, at(2), at(2), 5.0), trade(3)]
    tape.life(0, rows)
    found = tape.recover()
    assert found.rows == 3
    assert found.marks == {TRADES: at(3), MARKS: at(3)} == sealed_marks(tape.root)
    assert tape.rows(TRADES, MARKS) == rows
    catalog = Catalog(tape.root)
    assert catalog.instruments(at(1)) == {BTC: INFO}
    assert {(span.stream, span.from_ns, span.to_ns) for span in catalog.watched} == {
        (TRADES, at(0), at(3)),
        (MARKS, at(0), at(3)),
    }
    manifest = (tape.folder / "data" / "manifest.jsonl").read_bytes()
    again = tape.recover()
    assert (again.rows, again.entries, again.last_ns) == (0, [], at(3))
    assert (tape.folder / "data" / "manifest.jsonl").read_bytes() == manifest


def test_the_time_between_two_lives_is_a_gap_of_every_stream(tape: Tape) -> None:
    """From the last row of the one to the begin of the other, whether they are recovered together or apart."""
    tape.life(0, [trade(1)])
    tape.recover()
    tape.life(5, [trade(6)])
    tape.recover()
    tape.life(8, [])
    tape.life(9, [trade(10)])
    tape.recover()
    spans = [(at(1) + 1, at(5)), (at(6) + 1, at(8)), (at(8) + 1, at(9))]
    expected = [
        Gap(BTC, begin, begin, kind, begin, end, NOT_RECORDED) for begin, end in spans for kind in ("mark", "trade")
    ]
    assert tape.rows(GAPS) == expected
    assert tape.rows(TRADES) == [trade(1), trade(6), trade(10)]


def test_a_stream_that_was_left_out_for_a_while_has_a_longer_gap(tape: Tape) -> None:
    """And one that is new has none."""
    tape.life(0, [trade(1)], [TRADES])
    tape.life(2, [Mark(BTC, at(3), at(3), 5.0)], [MARKS])
    tape.life(4, [trade(5)])
    tape.recover()
    gaps = {(gap.channel, gap.from_ns, gap.to_ns) for gap in tape.rows(GAPS) if isinstance(gap, Gap)}
    assert gaps == {("trade", at(1) + 1, at(4)), ("mark", at(3) + 1, at(4))}


def test_a_row_that_must_not_be_stored_is_left_out_and_named(tape: Tape, caplog: pytest.LogCaptureFixture) -> None:
    """A planted price that is none: every other row of the tape is sealed, and a second recovery changes nothing."""
    bad = Mark(BTC, at(2), at(2), float("inf"))
    good = [trade(1), Mark(BTC, at(1.5), at(1.5), 5.0), trade(2), Mark(BTC, at(3), at(3), 6.0), trade(4)]
    tape.life(0, sorted([*good, bad], key=lambda row: row.received_ns))
    found = tape.recover()
    assert (found.rows, found.last_ns) == (5, at(4))
    assert tape.rows(TRADES, MARKS) == good
    assert tape.rows(GAPS) == [Gap(BTC, at(2), at(2), "mark", at(2), at(2), NOT_STORED)]
    assert "price is inf; a price is a finite number above zero" in caplog.messages[0]
    assert (tape.recover().rows, len(tape.rows(GAPS))) == (0, 1)


def test_a_stream_that_the_exchange_has_ended_was_listened_to_until_then(tape: Tape) -> None:
    """The others longer; what the next life missed of it begins there, and a second recovery changes nothing."""
    (ending,) = refusals_of([MARKS, Stream("instrument", BTC)], at(2))
    tape.life(0, [trade(1), ending, trade(3)])
    for _ in range(2):
        assert tape.recover().marks == {TRADES: at(3), MARKS: at(2)} == sealed_marks(tape.root)
    tape.life(5, [Mark(BTC, at(6), at(6), 5.0)])
    assert tape.recover().marks == {TRADES: at(6), MARKS: at(6)}
    gaps = {(gap.channel, gap.from_ns, gap.to_ns, gap.cause) for gap in tape.rows(GAPS) if isinstance(gap, Gap)}
    assert gaps == {
        ("mark", at(2), at(2), REFUSED),
        ("mark", at(2) + 1, at(5), NOT_RECORDED),
        ("trade", at(3) + 1, at(5), NOT_RECORDED),
    }


def test_rows_that_a_commit_has_sealed_are_not_stored_again(tape: Tape) -> None:
    """Those after it are, of the streams that it knew."""
    tape.life(0, [trade(1), trade(2), trade(3), trade(4)])
    with Recorder(tape.root, source="test", staging=tape.folder / "staging") as recorder:
        recorder.watch([TRADES, MARKS], at(0))
        recorder.add([trade(1), trade(2), trade(3)])
        recorder.commit()
        assert sealed_marks(tape.root) == {TRADES: at(3) - 1, MARKS: at(3) - 1}
        found = tape.recover()
        assert found.rows == 2
    assert tape.rows(TRADES) == [trade(1), trade(2), trade(3), trade(4)]


def test_gaps_and_changes_of_metadata_are_found_too(tape: Tape) -> None:
    """A gap row that is stored already is not stored again."""
    from msgspec.structs import replace

    gap = Gap(BTC, at(1), at(1), "trade", at(0.5), at(1), "disconnected")
    changed = Instrument.from_dict({**INFO.to_dict(), "price_step": "0.5", "valid_from_ns": at(2)})
    tape.life(0, [gap, InstrumentChange(BTC, at(2), at(2), changed), trade(3)])
    for _ in range(2):
        tape.recover()
        assert tape.rows(GAPS) == [gap]
        assert Catalog(tape.root).versions()[BTC] == [INFO, changed]
    assert replace(gap, cause="x") != gap


def test_a_recovery_that_the_disk_refuses_can_be_done_again(tape: Tape) -> None:
    """Nothing is lost by it."""
    tape.life(0, [trade(1), trade(2)])
    (tape.folder / "staging").write_text("in the way")
    with pytest.raises(DataError, match="staging"):
        tape.recover()
    (tape.folder / "staging").unlink()
    assert tape.recover().rows == 2


def test_the_last_trades_are_known(tape: Tape) -> None:
    """By their ids; a stream without rows has none."""
    assert last_trades(tape.root, {}) == {}
    tape.life(0, [trade(1), trade(2)], [TRADES, Stream("trade", "ETH-USDT"), MARKS])
    found = tape.recover()
    assert last_trades(tape.root, found.marks) == {BTC: frozenset({10, 20})}


def test_an_empty_tape_and_folder_are_fine(tape: Tape) -> None:
    """As at the first start."""
    made = RowTape(tape.folder / "tape")
    made.open()
    made.close()
    assert tape.recover() == Recovered(0, [], {})
    assert not (tape.folder / "data").exists()
