"""Whatever is appended, cut off or spoilt: a tape gives what was appended, from the first record on, and no more."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import DataError
from quantkit.storage.tape import TapeReader, TapeWriter

payloads = st.binary(min_size=1, max_size=60)
groups = st.lists(st.lists(payloads, max_size=6), max_size=8)
segment_sizes = st.integers(1, 400)


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder for one example."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def write(path: Path, some: list[list[bytes]], segment_bytes: int) -> list[bytes]:
    """Append groups, every second one record by record, and resume after each; return all payloads."""
    everything: list[bytes] = []
    for index, group in enumerate(some):
        with TapeWriter(path, resume=True, segment_bytes=segment_bytes) as tape:
            assert tape.sync() == len(everything)
            if index % 2:
                assert tape.append_many(group) == len(everything)
            else:
                assert [tape.append(payload) for payload in group] == [
                    len(everything) + number for number in range(len(group))
                ]
        everything += group
    return everything


def read(path: Path) -> tuple[list[bytes], int, bool]:
    """What a tape gives, its torn bytes, and whether it was found damaged."""
    found: list[bytes] = []
    try:
        reader = TapeReader(path)
        found.extend(reader)
    except DataError:
        return found, 0, True
    return found, reader.torn_bytes, False


@settings(max_examples=80, deadline=None)
@given(some=groups, segment_bytes=segment_sizes, first=st.integers(0, 60))
def test_what_is_appended_is_read(some: list[list[bytes]], segment_bytes: int, first: int) -> None:
    with folder() as path:
        everything = write(path, some, segment_bytes)
        if some:
            reader = TapeReader(path)
            assert list(reader) == everything
            assert list(reader.read(first)) == everything[first:]
            assert reader.torn_bytes == 0


@settings(max_examples=120, deadline=None)
@given(some=groups.filter(any), segment_bytes=segment_sizes, data=st.data())
def test_a_cut_tape_gives_a_prefix_and_goes_on_from_there(
    some: list[list[bytes]], segment_bytes: int, data: st.DataObject
) -> None:
    with folder() as path:
        everything = write(path, some, segment_bytes)
        last = max(path.glob("*.tape"))
        size = last.stat().st_size
        kept = data.draw(st.integers(0, size), label="bytes kept")
        with last.open("r+b") as file:
            file.truncate(kept)
        found, torn_bytes, is_damaged = read(path)
        assert not is_damaged
        assert found == everything[: len(found)]
        assert torn_bytes <= kept
        with TapeWriter(path, resume=True, segment_bytes=segment_bytes) as tape:
            assert (tape.sync(), tape.torn_bytes) == (len(found), torn_bytes)
            tape.append(b"next")
        assert read(path) == ([*found, b"next"], 0, False)


@settings(max_examples=150, deadline=None)
@given(some=groups.filter(any), segment_bytes=segment_sizes, data=st.data())
def test_a_spoilt_tape_never_gives_a_wrong_record(
    some: list[list[bytes]], segment_bytes: int, data: st.DataObject
) -> None:
    with folder() as path:
        everything = write(path, some, segment_bytes)
        file = data.draw(st.sampled_from(sorted(path.glob("*.tape"))), label="file")
        content = bytearray(file.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1), label="start")
        # A wrong bit, a page of zeros, or bytes of another place.
        spoilt = data.draw(
            st.integers(1, 255).map(lambda mask: bytes([content[start] ^ mask]))
            | st.integers(1, 200).map(bytes)
            | st.binary(min_size=1, max_size=40),
            label="bytes",
        )[: len(content) - start]
        is_same = content[start : start + len(spoilt)] == spoilt
        content[start : start + len(spoilt)] = spoilt
        file.write_bytes(content)
        found, torn_bytes, is_damaged = read(path)
        assert found == everything[: len(found)]
        # Whatever is missing is said, in one way or the other.
        assert (len(found) == len(everything)) == (is_same or (not torn_bytes and not is_damaged))
        assert is_same or torn_bytes or is_damaged


@settings(max_examples=60, deadline=None)
@given(some=groups.filter(any), cut=st.binary(min_size=0, max_size=30))
def test_any_bytes_behind_the_last_record_are_cut_off(some: list[list[bytes]], cut: bytes) -> None:
    with folder() as path:
        everything = write(path, some, 1 << 20)
        with (path / "000000.tape").open("ab") as file:
            file.write(cut)
        assert read(path) == (everything, len(cut), False)
        for torn_bytes in (len(cut), 0):
            with TapeWriter(path, resume=True) as tape:
                assert (tape.sync(), tape.torn_bytes) == (len(everything), torn_bytes)
