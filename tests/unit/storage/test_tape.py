"""The tape: what is appended comes back, in order and whole, or not at all."""

import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest

from quantkit.errors import ConfigError, DataError
from quantkit.storage.segments import MAGIC, RECORD_BYTES_MAX, mark_of
from quantkit.storage.tape import TapeReader, TapeWriter, held

HEADER_BYTES = 24
PREFIX_BYTES = 8
PAYLOADS = [b"first", b"\x00\x01", b"a third one"]


def made(path: Path, payloads: list[bytes], *, segment_bytes: int = 1 << 20) -> Path:
    """A tape that holds `payloads`."""
    with TapeWriter(path, segment_bytes=segment_bytes) as tape:
        for number, payload in enumerate(payloads):
            assert tape.append(payload) == number
    return path


def segments(path: Path) -> list[Path]:
    """A tape's files, in order."""
    return sorted(path.glob("*.tape"))


def framed(payload: bytes) -> bytes:
    """A record as the format has it, written out once more."""
    length = struct.pack("<I", len(payload))
    return length + struct.pack("<I", crc32(length + payload)) + payload


@contextmanager
def space_for(file_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a disk about to fill: a write is cut short there, and the next one fails."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_file_is_as_the_format_says(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    head = MAGIC + struct.pack("<IQ", 1, 0)
    expected = head + struct.pack("<I", crc32(head)) + b"".join(map(framed, PAYLOADS))
    assert (path / "000000.tape").read_bytes() == expected


def test_payloads_come_back_in_order(tmp_path: Path) -> None:
    payloads = [b"x" * size for size in (1, 300, 1 << 20, 3, (1 << 21) + 7)]
    reader = TapeReader(made(tmp_path / "tape", payloads, segment_bytes=64 << 20))
    assert list(reader) == payloads
    assert list(reader) == payloads  # and again
    assert reader.torn_bytes == 0


def test_a_record_of_the_greatest_length(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [b"before", bytes(RECORD_BYTES_MAX), b"after"])
    assert [len(payload) for payload in TapeReader(path)] == [6, RECORD_BYTES_MAX, 5]


@pytest.mark.parametrize("payload", [b"", bytes(RECORD_BYTES_MAX + 1)])
def test_a_length_out_of_range_is_refused_and_leaves_nothing(tmp_path: Path, payload: bytes) -> None:
    with TapeWriter(tmp_path / "tape") as tape:
        tape.append(b"before")
        with pytest.raises(DataError, match=r"record 1: \d+ bytes; a record has 1 to 16777216"):
            tape.append(payload)
        with pytest.raises(DataError, match="a record has 1 to"):
            tape.append_many([b"good", payload])
        assert tape.append(b"after") == 1
    assert list(TapeReader(tmp_path / "tape")) == [b"before", b"after"]


def test_a_new_tape_is_empty(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "deep" / "tape") as tape:
        assert tape.sync() == 0
    assert list(TapeReader(tmp_path / "deep" / "tape")) == []


def test_what_is_appended_can_be_read_before_the_close(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape") as tape:
        tape.append(b"one")
        assert list(TapeReader(tape.path)) == [b"one"]


# Segments -------------------------------------------------------------------------------------------------------


def test_segments_follow_each_other(tmp_path: Path) -> None:
    payloads = [bytes([number]) * 20 for number in range(10)]
    path = made(tmp_path / "tape", payloads, segment_bytes=HEADER_BYTES + 3 * (PREFIX_BYTES + 20))
    assert [file.name for file in segments(path)] == [f"00000{number}.tape" for number in range(4)]
    assert [struct.unpack_from("<Q", file.read_bytes(), 12)[0] for file in segments(path)] == [0, 3, 6, 9]
    reader = TapeReader(path)
    assert list(reader) == payloads
    for first in range(12):
        assert list(reader.read(first)) == payloads[first:]


def test_a_record_longer_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    payloads = [b"a", b"b" * 500, b"c"]
    path = made(tmp_path / "tape", payloads, segment_bytes=100)
    assert len(segments(path)) == 3
    assert list(TapeReader(path)) == payloads


def test_a_group_shares_a_segment(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape", segment_bytes=100) as tape:
        assert tape.append_many([]) == 0
        assert tape.append_many([b"a", b"b"]) == 0
        assert tape.append_many(bytes([n]) * 30 for n in range(4)) == 2
        assert tape.append(b"last") == 6
        assert tape.sync() == 7
    assert len(segments(tape.path)) == 3
    assert list(TapeReader(tape.path)) == [b"a", b"b", *(bytes([n]) * 30 for n in range(4)), b"last"]


def test_segment_bytes_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="segment_bytes is 0"):
        TapeWriter(tmp_path / "tape", segment_bytes=0)
    assert not (tmp_path / "tape").exists()


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [b"x" * 50] * 4, segment_bytes=100)
    segments(path)[1].unlink()
    with pytest.raises(DataError, match=r"000001\.tape: missing, though 3 segments"):
        TapeReader(path)
    with pytest.raises(DataError, match=r"000001\.tape: missing"):
        TapeWriter(path, resume=True)


def test_exchanged_segments_are_noticed(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [bytes([n]) * 50 for n in range(4)], segment_bytes=100)
    one, two = segments(path)[1:3]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    found: list[bytes] = []
    with pytest.raises(DataError, match=r"000001\.tape, byte 0: it begins with record 2, but record 1 is next"):
        found.extend(TapeReader(path))
    assert found == [bytes(50)]


def test_a_segment_of_another_place_is_no_first_one(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [bytes([n]) * 50 for n in range(3)], segment_bytes=100)
    segments(path)[0].write_bytes(segments(path)[2].read_bytes())
    with pytest.raises(DataError, match=r"000000\.tape, byte 0: it begins with record 2, but record 0 is next"):
        list(TapeReader(path))


def test_a_segment_that_lost_its_last_record_is_noticed(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [bytes([n]) * 30 for n in range(6)], segment_bytes=HEADER_BYTES + 2 * 38)
    with segments(path)[1].open("r+b") as file:
        file.truncate(HEADER_BYTES + 38)
    with pytest.raises(DataError, match=r"000002\.tape, byte 0: it begins with record 4, but record 3 is next"):
        list(TapeReader(path))
    with segments(path)[1].open("r+b") as file:
        file.truncate(HEADER_BYTES + 37)
    with pytest.raises(DataError, match=r"000001\.tape, byte 24: a damaged record, and another segment follows"):
        list(TapeReader(path))


# One writer at a time ---------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    first = TapeWriter(tmp_path / "tape")
    for resume in (False, True):
        with pytest.raises(DataError, match="another writer has it; end that one"):
            TapeWriter(tmp_path / "tape", resume=resume)
    first.append(b"one")
    first.close()
    first.close()
    with TapeWriter(tmp_path / "tape", resume=True) as second:
        assert second.append(b"two") == 1
    assert list(TapeReader(tmp_path / "tape")) == [b"one", b"two"]


def test_a_tape_is_not_gone_on_with_by_mistake(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    before = segments(path)[0].read_bytes()
    with pytest.raises(DataError, match="there is one already; name another folder, or resume it"):
        TapeWriter(path)
    assert segments(path)[0].read_bytes() == before


def test_a_closed_tape_takes_nothing(tmp_path: Path) -> None:
    tape = TapeWriter(tmp_path / "tape")
    tape.close()
    with pytest.raises(DataError, match="it is closed; resume it"):
        tape.append(b"late")
    with pytest.raises(DataError, match="it is closed"):
        tape.append_many([b"late"])
    with pytest.raises(DataError, match="it is closed"):
        tape.sync()


def test_places_that_are_no_tape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not there, or without records \(000000\.tape\)"):
        TapeReader(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file: cannot be written"):
        TapeWriter(tmp_path / "file")
    with pytest.raises(DataError, match="file: cannot be read"):
        TapeReader(tmp_path / "file")


# Resuming after a kill --------------------------------------------------------------------------------------------


def test_a_tape_cut_at_any_byte_gives_a_prefix_and_goes_on(tmp_path: Path) -> None:
    whole = segments(made(tmp_path / "whole", PAYLOADS))[0].read_bytes()
    ends = [HEADER_BYTES]
    for payload in PAYLOADS:
        ends.append(ends[-1] + PREFIX_BYTES + len(payload))
    for size in range(len(whole) + 1):
        path = tmp_path / str(size)
        path.mkdir()
        (path / "000000.tape").write_bytes(whole[:size])
        count = max(sum(end <= size for end in ends) - 1, 0)
        torn = size - (ends[count] if size >= HEADER_BYTES else 0)
        reader = TapeReader(path)
        assert (list(reader), reader.torn_bytes) == (PAYLOADS[:count], torn)
        assert (path / "000000.tape").read_bytes() == whole[:size]  # reading changes nothing
        with TapeWriter(path, resume=True) as tape:
            assert (tape.torn_bytes, tape.sync()) == (torn, count)
        with TapeWriter(path, resume=True) as tape:
            assert (tape.torn_bytes, tape.sync()) == (0, count)  # recovering twice is recovering once
            assert tape.append(b"next") == count
        assert list(TapeReader(path)) == [*PAYLOADS[:count], b"next"]


def test_a_kill_while_a_segment_begins_loses_nothing(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [b"x" * 50, b"y" * 50], segment_bytes=100)
    header = segments(path)[1].read_bytes()[:HEADER_BYTES]
    for size in range(HEADER_BYTES):
        (path / "000002.tape").write_bytes(header[:size])
        reader = TapeReader(path)
        assert (list(reader), reader.torn_bytes) == ([b"x" * 50, b"y" * 50], size)
        assert list(reader.read(2)) == []
        with TapeWriter(path, resume=True, segment_bytes=100) as tape:
            assert (tape.torn_bytes, tape.sync()) == (size, 2)
        assert len(segments(path)) == 2


def test_resuming_keeps_to_the_segment_that_is_open(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [b"x" * 50, b"y" * 50], segment_bytes=100)
    with TapeWriter(path, resume=True, segment_bytes=200) as tape:
        assert tape.append(b"z" * 50) == 2
    with TapeWriter(path, resume=True, segment_bytes=100) as tape:
        assert tape.append(b"w") == 3
    assert len(segments(path)) == 3
    assert list(TapeReader(path)) == [b"x" * 50, b"y" * 50, b"z" * 50, b"w"]


# Damage -----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_never_gives_a_wrong_record(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    file = segments(path)[0]
    whole = file.read_bytes()
    last = len(whole) - PREFIX_BYTES - len(PAYLOADS[-1])
    for bit in range(8 * len(whole)):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(spoilt)
        reader = TapeReader(path)
        found: list[bytes] = []
        if bit // 8 < last:
            # What follows is sound, so this is no kill's work: it is never cut off.
            with pytest.raises(DataError, match=r"000000\.tape"):
                found.extend(reader)
            with pytest.raises(DataError, match=r"000000\.tape"):
                TapeWriter(path, resume=True)
        else:
            found.extend(reader)
            assert reader.torn_bytes == len(whole) - last
        assert found == PAYLOADS[: len(found)]
        assert file.read_bytes() == spoilt


def test_damage_is_named_by_its_place_after_what_is_sound(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", [b"a" * 300] * 9000, segment_bytes=8 << 20)
    file = segments(path)[0]
    spoilt = bytearray(file.read_bytes())
    at = HEADER_BYTES + 308 * 5000
    spoilt[at + 200] ^= 1
    file.write_bytes(spoilt)
    found: list[bytes] = []
    with pytest.raises(DataError) as caught:
        found.extend(TapeReader(path))
    assert len(found) == 5000
    assert f"{file}, byte {at}: a damaged record, and a whole one follows at byte {at + 308}" in str(caught.value)


def test_pages_that_never_reached_the_disk_end_the_tape(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    with segments(path)[0].open("ab") as file:
        file.write(bytes(3 << 20))
    reader = TapeReader(path)
    assert (list(reader), reader.torn_bytes) == (PAYLOADS, 3 << 20)


def test_a_torn_record_longer_than_a_window_is_cut_off(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    # At every fourth of the first bytes a plausible length begins, and the checksum of none agrees.
    payload = b"\x00\x10\x00\x00" * 5_000 + b"x" * (2 << 20)
    with segments(path)[0].open("ab") as file:
        file.write(framed(payload)[:-1])
    with TapeWriter(path, resume=True) as tape:
        assert (tape.torn_bytes, tape.sync()) == (PREFIX_BYTES + len(payload) - 1, 3)


@pytest.mark.parametrize("distance", [(1 << 20) - 4, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_sound_record_is_found_however_far_behind_the_damage(tmp_path: Path, distance: int) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    with segments(path)[0].open("ab") as file:
        end = file.tell()
        file.write(bytes(distance) + framed(b"sound"))
    with pytest.raises(DataError, match=f"byte {end}: .* a whole one follows at byte {end + distance}"):
        TapeWriter(path, resume=True)


def test_foreign_and_newer_files_are_told_apart(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    file = segments(path)[0]
    whole = file.read_bytes()
    file.write_bytes(b"PAR1" + whole[4:])
    with pytest.raises(DataError, match=r"000000\.tape, byte 0: it is no tape's segment"):
        list(TapeReader(path))
    head = MAGIC + struct.pack("<IQ", 3, 0)
    file.write_bytes(head + struct.pack("<I", crc32(head)) + whole[HEADER_BYTES:])
    with pytest.raises(DataError, match=r"written in version 3, this quantkit reads 2; use a newer one"):
        list(TapeReader(path))
    (path / "notes.txt").write_text("other files in the folder are nobody's business")
    file.write_bytes(whole)
    assert list(TapeReader(path)) == PAYLOADS


# A disk that refuses ----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_the_record_and_keeps_the_tape_whole(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape") as tape:
        tape.append(b"before")
        size = segments(tape.path)[0].stat().st_size
        with space_for(size + 20):
            with pytest.raises(DataError, match=r"tape .*, record 1: cannot be written: .*; free space"):
                tape.append(b"x" * 100)
            assert segments(tape.path)[0].stat().st_size == size  # the 20 bytes that fitted are gone again
            with pytest.raises(DataError, match="record 1: cannot be written"):
                tape.append_many([b"ok", b"x" * 100])
            assert tape.append(b"fits") == 1
        assert tape.append(b"x" * 100) == 2
    reader = TapeReader(tape.path)
    assert (list(reader), reader.torn_bytes) == ([b"before", b"fits", b"x" * 100], 0)


def test_a_disk_too_full_for_the_next_segment_refuses_and_goes_on_later(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "tape", segment_bytes=100) as tape:
        tape.append(b"x" * 50)
        with space_for(10), pytest.raises(DataError, match=r"000001\.tape: cannot be begun"):
            tape.append(b"y" * 50)
        assert len(segments(tape.path)) == 1
        assert tape.append(b"y" * 50) == 1
    assert list(TapeReader(tape.path)) == [b"x" * 50, b"y" * 50]


@contextmanager
def replaced(descriptor: int, other: int) -> Iterator[None]:
    """Let an open file be another one, which refuses what a broken disk would refuse."""
    held = os.dup(descriptor)
    os.dup2(other, descriptor)
    try:
        yield
    finally:
        os.dup2(held, descriptor)
        os.close(held)
        os.close(other)


def test_a_record_that_cannot_be_cut_off_ends_the_tape(tmp_path: Path) -> None:
    tape = TapeWriter(tmp_path / "tape")
    tape.append(b"before")
    # A file open for reading takes neither a write nor a cut.
    reading = os.open(segments(tape.path)[0], os.O_RDONLY)
    with replaced(tape._descriptor, reading), pytest.raises(DataError, match="record 1: cannot be written"):
        tape.append(b"lost")
    with pytest.raises(DataError, match="the record before was not written whole"):
        tape.append(b"never behind pieces")
    tape.close()
    assert list(TapeReader(tape.path)) == [b"before"]


@pytest.mark.skipif(sys.platform != "linux", reason="a pipe cannot be synced there")
@pytest.mark.parametrize("step", [TapeWriter.sync, partial(TapeWriter.append, payload=b"y" * 50)])
def test_a_disk_that_cannot_sync_ends_the_tape(tmp_path: Path, step: Callable[[TapeWriter], int]) -> None:
    tape = TapeWriter(tmp_path / "tape", segment_bytes=100)
    tape.append(b"x" * 50)
    read_end, write_end = os.pipe()
    with replaced(tape._descriptor, write_end), pytest.raises(DataError, match="its records may be lost"):
        step(tape)
    os.close(read_end)
    # What a failed sync left of the system's pages is unknown, so a later success would prove nothing.
    with pytest.raises(DataError, match="its records may be lost"):
        tape.append(b"more")
    with pytest.raises(DataError, match="its records may be lost"):
        tape.sync()
    tape.close()
    assert list(TapeReader(tape.path)) == [b"x" * 50]


# Threads ----------------------------------------------------------------------------------------------------------


def test_sync_counts_what_is_safe_while_another_thread_appends(tmp_path: Path) -> None:
    payloads = [number.to_bytes(4, "big") * 10 for number in range(3000)]
    counts: list[int] = []
    with TapeWriter(tmp_path / "tape", segment_bytes=4096) as tape:
        assert tape.sync() == 0
        done = threading.Event()

        def sync_until_done() -> None:
            while not done.is_set():
                counts.append(tape.sync())

        thread = threading.Thread(target=sync_until_done)
        thread.start()
        for payload in payloads:
            tape.append(payload)
        done.set()
        thread.join()
        assert tape.sync() == len(payloads)
    assert counts == sorted(counts)
    assert list(TapeReader(tape.path)) == payloads


def test_a_reader_takes_what_the_writer_finishes_meanwhile(tmp_path: Path) -> None:
    path = made(tmp_path / "tape", PAYLOADS)
    frame = framed(b"under way")
    with segments(path)[0].open("ab", buffering=0) as file:
        file.write(frame[:10])
        reader = TapeReader(path)
        found = reader.read()
        first = next(found)  # the reader has seen the pieces by now
        file.write(frame[10:] + framed(b"and another"))
        assert [first, *found] == [*PAYLOADS, b"under way", b"and another"]
    assert reader.torn_bytes == 0


def test_a_mark_that_the_writer_finishes_while_the_end_is_looked_at_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TapeWriter(tmp_path, is_marked=True) as tape:
        tape.append(b"first")
    rest = [mark_of(1)[10:] + framed(b"second")]
    with segments(tmp_path)[0].open("ab", buffering=0) as file:
        file.write(mark_of(1)[:10])

        def size_of(descriptor: int) -> os.stat_result:
            while rest:
                file.write(rest.pop())
            return fstat(descriptor)

        fstat = os.fstat
        monkeypatch.setattr("quantkit.storage.segments.os.fstat", size_of)
        assert list(TapeReader(tmp_path)) == [b"first", b"second"]


def test_a_tape_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """By its writer, or by whoever keeps writers away."""
    path = made(tmp_path / "tape", PAYLOADS)
    with held(path) as is_ours:
        assert is_ours
        with held(path) as is_ours_too:
            assert not is_ours_too
        with pytest.raises(DataError, match="another writer has it"):
            TapeWriter(path, resume=True)
    with TapeWriter(path, resume=True), held(path) as is_ours:
        assert not is_ours
    with pytest.raises(DataError, match=r"writer\.lock: cannot be locked: .*No such file"), held(tmp_path / "none"):
        pass
