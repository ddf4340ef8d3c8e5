"""Books with levels off the price step: the one gap, metadata and snapshot fetched anew, and no loop."""

import json

import pytest
from tracker_driver import NAME, TS_NS, Driver, kinds

from quantkit.errors import DataError
from quantkit.events import BookUpdate, Gap, InstrumentChange
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import InstrumentData
from quantkit.feeds.okx.codec.wire import InstrumentRow
from quantkit.feeds.okx.rows import MessageRows
from quantkit.feeds.okx.tracker.records import FetchInstrument, InstrumentFetched, Listed, Resubscribe
from quantkit.instruments import Instrument

BOOKS = Channel("books", NAME)
BOOKS5 = Channel("books5", NAME)


def reply(tick: str) -> bytes:
    """Return what `public/instruments` says of the instrument."""
    row = {"instId": NAME, "instType": "SPOT", "tickSz": tick, "lotSz": "1", "minSz": "1", "state": "live"}
    return json.dumps({"code": "0", "msg": "", "data": [row]}).encode()


@pytest.fixture
def live() -> Driver:
    """A book at number 10 on connection 0, held against a step of 0.5."""
    driver = Driver()
    driver.record(Listed, NAME, "0.5")
    driver.want(BOOKS)
    assert kinds(driver.snapshot(BOOKS, 10, [["99.5", "1"]], [["101", "1"]])) == ["BookUpdate"]
    return driver


def test_a_level_off_the_step_makes_the_book_invalid_until_all_is_fetched_anew(live: Driver) -> None:
    """One gap, one look-up, then one resync; the update itself is never shown."""
    (gap,) = live.update(BOOKS, 10, 11, [["99.8", "1"]], ts=100)
    stamp = TS_NS + 100_000_000
    assert gap == Gap(NAME, stamp, live.now_ns, "book", TS_NS, stamp, "off_step")
    assert live.commands == [FetchInstrument(BOOKS)]
    assert list(live.tracker.invalid_books()) == [BOOKS]
    assert live.update(BOOKS, 11, 12) == []
    (told,) = live.record(InstrumentFetched, BOOKS, reply("0.1"), "")
    assert (type(told), told.row.tick_sz, told.received_ns) == (InstrumentData, "0.1", live.now_ns)
    assert live.commands == [FetchInstrument(BOOKS), Resubscribe(0, BOOKS, "off_step")]
    live.want(BOOKS)
    assert kinds(live.snapshot(BOOKS, 20, [["99.8", "1"]], [["101", "1"]])) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 20, 21, [["99.7", "2"]])) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 21, 22, [["99.75", "2"]])) == ["Gap"]


def test_a_level_that_is_removed_off_the_step_is_none(live: Driver) -> None:
    """It was shown on a finer step; and prices on the step are looked at once."""
    assert kinds(live.update(BOOKS, 10, 11, [["99.8", "0"], ["99", "1"]])) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 11, 12, [["99", "2"]], [["102.5", "3"]])) == ["BookUpdate"]
    assert live.commands == []


@pytest.mark.parametrize(("body", "error"), [(reply("0.5"), ""), (b"", "503"), (b"{", ""), (reply("0.5")[:-2], "")])
def test_where_metadata_say_the_same_again_levels_are_taken_as_they_come(live: Driver, body: bytes, error: str) -> None:
    """The exchange means what it shows: nothing is asked for again and again, until it tells another step."""
    live.update(BOOKS, 10, 11, [["99.8", "1"]])
    live.record(InstrumentFetched, BOOKS, body, error)
    live.want(BOOKS)
    assert kinds(live.snapshot(BOOKS, 20, [["99.8", "1"]], [["101", "1"]])) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 20, 21, [["99.85", "1"]])) == ["BookUpdate"]
    assert live.commands == [FetchInstrument(BOOKS), Resubscribe(0, BOOKS, "off_step")]
    assert live.tracker.counters["books with levels off the step that the exchange lists"] == 1
    live.record(Listed, NAME, "0.1")
    assert kinds(live.update(BOOKS, 21, 22, [["99.83", "1"]])) == ["Gap"]


def test_a_snapshot_off_the_step_is_not_shown_and_tells_no_gap_of_a_book_never_seen() -> None:
    driver = Driver()
    driver.record(Listed, NAME, "0.5")
    driver.want(BOOKS)
    assert driver.snapshot(BOOKS, 10, [["99.8", "1"]], [["101", "1"]]) == []
    assert driver.commands == [FetchInstrument(BOOKS)]


def test_metadata_that_come_after_the_book_was_given_up_are_for_nobody(live: Driver) -> None:
    """What they say is told all the same."""
    live.update(BOOKS, 10, 11, [["99.8", "1"]])
    live.unwant(BOOKS)
    assert kinds(live.record(InstrumentFetched, BOOKS, reply("0.1"), "")) == ["InstrumentData"]
    assert live.commands == [FetchInstrument(BOOKS)]
    lost = Driver()
    lost.record(Listed, NAME, "0.5")
    lost.want(BOOKS)
    lost.snapshot(BOOKS, 10, [["99.8", "1"]], [["101", "1"]])
    lost.lose()
    lost.record(InstrumentFetched, BOOKS, reply("0.1"), "")
    assert lost.commands == [FetchInstrument(BOOKS)]


def test_a_channel_of_whole_books_waits_for_the_metadata_as_well() -> None:
    """It needs no resync: the next book is the whole one."""
    driver = Driver()
    driver.record(Listed, NAME, "0.5")
    driver.want(BOOKS5)
    push = [["99.5", "1"]], [["101", "1"]]
    assert kinds(driver.snapshot(BOOKS5, 1, *push)) == ["BookUpdate"]
    assert kinds(driver.snapshot(BOOKS5, 2, [["99.8", "1"]], [["101", "1"]])) == ["Gap"]
    assert driver.snapshot(BOOKS5, 3, *push) == []
    driver.record(InstrumentFetched, BOOKS5, reply("0.1"), "")
    assert kinds(driver.snapshot(BOOKS5, 4, [["99.8", "1"]], [["101", "1"]])) == ["BookUpdate"]
    assert driver.commands == [FetchInstrument(BOOKS5)]


def test_books_of_no_known_step_are_held_against_none() -> None:
    driver = Driver()
    driver.want(BOOKS)
    assert kinds(driver.snapshot(BOOKS, 10, [["99.123", "1"]], [["101", "1"]])) == ["BookUpdate"]


def test_many_prices_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch, live: Driver) -> None:
    monkeypatch.setattr("quantkit.feeds.okx.tracker.books._MOST_PRICES", 3)
    for number in range(20):
        levels = [[str(50 + number), "1"]]
        assert kinds(live.update(BOOKS, 10 + number, 11 + number, levels)) == ["BookUpdate"]


# What the engine is told ----------------------------------------------------------------------------------------------

SWAP = Instrument("A-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")


def data(at_ns: int = 7, name: str = "A-USDT-SWAP", **fields: str) -> InstrumentData:
    """Return what the exchange says of the contract, but for the changes."""
    same = {"tick_sz": "0.1", "lot_sz": "1", "min_sz": "1", "ct_val": "0.01", "ct_mult": "1", "ct_type": "linear"}
    row = InstrumentRow(
        inst_id=name, inst_type="SWAP", settle_ccy="USDT", ct_val_ccy="A", uly="A-USDT", **{**same, **fields}
    )
    return InstrumentData(row, at_ns)


def listings() -> MessageRows:
    """Return what is known of a run with one contract."""
    known = MessageRows({SWAP.id: SWAP, "B-USDT": Instrument("B-USDT", price_step="1", qty_step="1")})
    known.follow([SWAP.id])
    return known


BOOK = BookUpdate(SWAP.id, 7, 7, (1.0,), (1.0,), (2.0,), (1.0,), True)


def test_steps_that_the_run_can_count_are_rows_in_their_place() -> None:
    """The same again is none, and neither is what cannot be read or is of others."""
    known = listings()
    assert known.rows([data(), data(name="B-USDT"), data(name="C-USDT-SWAP"), data(tick_sz=""), data(ct_val="x")]) == []
    change, book = known.rows([data(8, tick_sz="0.5", lot_sz="2", min_sz="4"), BOOK])
    assert isinstance(change, InstrumentChange)
    assert (change.received_ns, str(change.info.price_step), str(change.info.min_qty)) == (8, "0.5", "4")
    assert book is BOOK
    assert known.rows([data(9, tick_sz="0.5", lot_sz="2", min_sz="4")]) == []
    assert known.rows([BOOK]) == [BOOK]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tick_sz": "0.01"}, "price_step 0.01 is no multiple of tick 0.1"),
        ({"lot_sz": "0.5"}, "qty_step 0.5 is no multiple of lot 1"),
        ({"ct_val": "0.1"}, "contract_value from 0.01 to 0.1"),
    ],
)
def test_what_a_run_cannot_go_on_across_ends_its_rows(fields: dict[str, str], said: str) -> None:
    """Of its frame and of all after it nothing is told."""
    known = listings()
    assert known.rows([data(9, **fields), BOOK]) == []
    assert said in str(known.refusal)
    assert "start a new run" in str(known.refusal)
    assert known.rows([BOOK]) == []


def test_the_records_are_kept_on_the_tape() -> None:
    from quantkit.feeds.okx.tracker.records import pack, unpack

    for record in (Listed(1, NAME, "0.5"), InstrumentFetched(2, BOOKS, b"{}", "503")):
        assert unpack(pack(record)) == record
    with pytest.raises(DataError):
        unpack(pack(Listed(1, NAME, "0.5"))[:-3])
