"""A tape read while it is written: every record once, in order, whatever is begun or removed meanwhile."""

from pathlib import Path

import pytest

from quantkit.errors import DataError
from quantkit.storage.following import TapeFollower
from quantkit.storage.segments import segment_path
from quantkit.storage.tape import TapeWriter

MOST = 1 << 20


def test_records_are_read_as_they_come(tmp_path: Path) -> None:
    follower = TapeFollower(tmp_path / "tape")
    assert follower.read(MOST) == []
    with TapeWriter(tmp_path / "tape") as tape:
        assert follower.read(MOST) == []
        tape.append(b"one")
        tape.append(b"two")
        assert follower.read(MOST) == [b"one", b"two"]
        assert follower.read(MOST) == []
        tape.append(b"three")
        assert follower.read(MOST) == [b"three"]
    assert not follower.has_jumped


def test_marks_of_a_sync_are_no_records(tmp_path: Path) -> None:
    follower = TapeFollower(tmp_path)
    with TapeWriter(tmp_path, is_marked=True) as tape:
        for payload in (b"one", b"two"):
            tape.append(payload)
            tape.sync()
        assert follower.read(MOST) == [b"one", b"two"]
        tape.append(b"three")
        tape.sync()
        tape.begin_segment()
        tape.append(b"four")
        assert follower.read(MOST) == [b"three", b"four"]


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, segment_bytes=250) as tape:
        payloads = [bytes([number]) * 100 for number in range(10)]
        for payload in payloads:
            tape.append(payload)
        assert len(tape.segments) > 3
        follower = TapeFollower(tmp_path)
        pieces = []
        while piece := follower.read(150):
            pieces.append(piece)
    assert [payload for piece in pieces for payload in piece] == payloads
    assert max(map(len, pieces)) == 2


def test_a_torn_record_is_waited_for(tmp_path: Path) -> None:
    with TapeWriter(tmp_path) as tape:
        tape.append(b"whole")
    path = segment_path(tmp_path, 0)
    whole = path.read_bytes()
    with TapeWriter(tmp_path, resume=True) as tape:
        tape.append(b"later")
    longer = path.read_bytes()
    path.write_bytes(longer[:-2])
    follower = TapeFollower(tmp_path)
    assert follower.read(MOST) == [b"whole"]
    assert follower.read(MOST) == []
    path.write_bytes(longer)
    assert follower.read(MOST) == [b"later"]
    assert len(longer) > len(whole)


def test_removed_segments_are_passed_over(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, segment_bytes=100) as tape:
        follower = TapeFollower(tmp_path)
        for number in range(6):
            tape.append(bytes([number]) * 80)
        assert follower.read(80) == [b"\0" * 80]
        tape.trim(4)
        assert follower.read(MOST) == [bytes([4]) * 80, bytes([5]) * 80]
        assert follower.has_jumped
        follower.has_jumped = False
        tape.begin_segment()
        assert follower.read(MOST) == []
        tape.trim(99)
        tape.append(b"new")
        assert follower.read(MOST) == [b"new"]


def test_a_segment_that_is_being_begun_is_waited_for(tmp_path: Path) -> None:
    with TapeWriter(tmp_path) as tape:
        tape.append(b"first")
    header = segment_path(tmp_path, 0).read_bytes()[:10]
    segment_path(tmp_path, 1).write_bytes(header)
    follower = TapeFollower(tmp_path)
    assert follower.read(MOST) == [b"first"]
    assert follower.read(MOST) == []


def test_damage_before_another_segment_is_said(tmp_path: Path) -> None:
    with TapeWriter(tmp_path, segment_bytes=60) as tape:
        tape.append(b"first" * 5)
        tape.append(b"second" * 5)
    path = segment_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"000000\.tape, byte 24: a damaged record, and another segment follows"):
        TapeFollower(tmp_path).read(MOST)


def test_what_is_no_tape_is_said(tmp_path: Path) -> None:
    segment_path(tmp_path, 0).write_bytes(b"something else, and long enough")
    with pytest.raises(DataError, match="it is no tape's segment"):
        TapeFollower(tmp_path).read(MOST)
