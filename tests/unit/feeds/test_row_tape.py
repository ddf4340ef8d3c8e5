"""The tape of rows: every kind comes back as it was, and the segments go whose rows are sealed."""

import os
from pathlib import Path

import msgspec
import pytest

from quantkit.errors import DataError
from quantkit.events import (
    EVENT_KINDS,
    BookUpdate,
    Candle,
    FeeRate,
    Funding,
    Gap,
    InstrumentChange,
    Mark,
    OpenInterest,
    PositionTier,
    PriceLimit,
    Row,
    Ticker,
    Timing,
    Trade,
)
from quantkit.feeds.row_tape import Listening, RowTape, pack_rows, read_rows, unpack_rows
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeWriter

BTC = "BTC-USDT"
INFO = Instrument(id=BTC, kind="spot", base="BTC", quote="USDT", price_step="0.1", qty_step="0.00001")
ROWS: list[Row] = [
    Gap(BTC, 1, 2, "book", 0, 1, "lost"),
    Mark(BTC, 1, 2, 3.5, "index"),
    OpenInterest(BTC, 1, 2, 3.0, None, 4.0),
    Candle(BTC, 1, 2, 0, 1, 1.0, 2.0, 0.5, 1.5, 9.0, "1m"),
    Funding(BTC, 1, 2, -0.0001, 5, True),
    InstrumentChange(BTC, 1, 2, INFO),
    BookUpdate(BTC, 1, 2, (1.0, 0.9), (3.0, 0.0), (), (), False, 7, 6),
    Ticker(BTC, 1, 2, None, None, 1.0, 2.0, 1.5, None),
    Trade(BTC, 1, 2, 0.1 + 0.2, 1.0, Side.SELL, 2**53 + 1),
    Timing(BTC, 1, 2, 3, 4, -5, "x"),
    PositionTier(BTC, 1, 2, "cross", 1, 0.0, 5.0, 0.01, 0.02, 50.0),
    PriceLimit(BTC, 1, 2, None, 1.0, True),
    FeeRate(BTC, 1, 2, -0.0001, 0.0005, "Lv1", "1"),
]


def trade(received_ns: int) -> Trade:
    """A trade."""
    return Trade(BTC, received_ns, received_ns, 1.0, 2.0, Side.BUY, received_ns)


def opened(folder: Path, segment_bytes: int = 200) -> RowTape:
    """Return an open tape of short segments."""
    tape = RowTape(folder, segment_bytes=segment_bytes)
    tape.open()
    return tape


def put(tape: RowTape, *stamps: int) -> None:
    """Put a trade of each stamp on a tape."""
    for stamp in stamps:
        tape.take([[trade(stamp)]])
        assert tape.flush()


def stamps_on(folder: Path) -> list[int]:
    """Return the stamps of the rows on a tape."""
    return [row.received_ns for rows in read_rows(folder) if not isinstance(rows, Listening) for row in rows]


def test_every_kind_comes_back_as_it_was() -> None:
    """And there is one of each."""
    assert {type(row) for row in ROWS} == {kind.event for kind in EVENT_KINDS.values() if kind.event is not None}
    assert list(unpack_rows(pack_rows([ROWS, ROWS[:1]]))) == [ROWS, ROWS[:1]]


def test_what_was_listened_to_comes_back_in_its_place(tmp_path: Path) -> None:
    """Between the rows before and after it."""
    tape = opened(tmp_path)
    listening = Listening(5, [Stream("trade", BTC), Stream("candle", BTC, "1m")], [INFO.to_dict()])
    put(tape, 1)
    tape.listen(listening)
    put(tape, 6)
    tape.close()
    assert [found if isinstance(found, Listening) else len(found) for found in read_rows(tmp_path)] == [1, listening, 1]


def test_sealed_segments_go_and_the_others_stay(tmp_path: Path) -> None:
    """The open one always stays, and a tape that was trimmed is gone on with."""
    tape = opened(tmp_path)
    put(tape, *range(1, 21))
    assert tape.trim(0) == 0
    assert tape.trim(11) > 0
    left = stamps_on(tmp_path)
    assert left == list(range(left[0], 21))
    assert 1 < left[0] <= 11
    tape.trim(10**9)
    assert 0 < len(stamps_on(tmp_path)) < len(left)
    tape.close()
    tape = opened(tmp_path)
    put(tape, 21)
    assert stamps_on(tmp_path)[-1] == 21
    tape.trim(10**9, is_whole=True)
    assert stamps_on(tmp_path) == []
    put(tape, 22)
    tape.close()
    assert stamps_on(tmp_path) == [22]


def test_segments_of_an_earlier_run_stay_as_long_as_their_newest_row_says(tmp_path: Path) -> None:
    """A tape does not know the stamps of segments that it has not written; whoever has read them tells it."""
    tape = opened(tmp_path)
    put(tape, *range(1, 10))
    tape.close()
    tape = opened(tmp_path)
    tape.stamped(9)
    assert tape.trim(9) == 0
    assert tape.trim(10, is_whole=True) > 1
    tape.close()


def test_trades_that_are_recorded_already_are_left_out_until_a_new_one_comes(tmp_path: Path) -> None:
    """Of each instrument by itself; other rows are never known."""
    tape = opened(tmp_path, 1 << 20)
    tape.know({BTC: frozenset({6, 7})})
    other = Trade("ETH-USDT", 1, 7, 1.0, 2.0, Side.BUY, 7)
    mark = Mark(BTC, 6, 7, 1.0)
    assert tape.take([[trade(7)], [mark, trade(7)], [other]]) == [[mark], [other]]
    assert tape.take([[trade(8)]]) == [[trade(8)]]
    assert tape.take([[trade(7)]]) == [[trade(7)]]
    assert tape.flush()
    tape.close()
    assert stamps_on(tmp_path) == [7, 7, 8, 7]


def test_what_no_quantkit_wrote_is_told(tmp_path: Path) -> None:
    """Rows of unknown kinds, and records of none."""
    with TapeWriter(tmp_path / "one") as tape:
        tape.append(b"R" + msgspec.msgpack.encode([[["quote", [1]]]]))
    with pytest.raises(DataError, match="cannot be understood"):
        list(read_rows(tmp_path / "one"))
    with TapeWriter(tmp_path / "two") as tape:
        tape.append(b"frame")
    with pytest.raises(DataError, match="holds no rows"):
        list(read_rows(tmp_path / "two"))
    with TapeWriter(tmp_path / "three") as tape:
        tape.append(b"L\x01")
    with pytest.raises(DataError, match="cannot be understood"):
        list(read_rows(tmp_path / "three"))


def test_a_full_disk_ends_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing follows a hole, even if there is room again."""
    tape = opened(tmp_path, 1 << 20)
    put(tape, 1)
    write = os.write

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    tape.take([[trade(2)]])
    assert not tape.flush()
    monkeypatch.setattr(os, "write", write)
    tape.take([[trade(3)]])
    assert not tape.flush()
    assert "No space left" in str(tape.error)
    tape.close()
    assert stamps_on(tmp_path) == [1]
