"""The tape of a collector: the delivered rows themselves, safe before anybody is told of them.

A row stands for itself, while a frame means nothing without the frames before it. So the segments of this tape can be
removed once their rows are sealed, and its tail can be read alone.

A record is one byte, `R` for rows or `L` for the begin of listening, and MessagePack.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS, KINDS, Candle, InstrumentChange, Row, Trade
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeReader, TapeWriter

#: Length of a segment. Space is freed by whole segments.
SEGMENT_BYTES: Final = 64 << 20
#: Deliveries of one record at most, so that the longest books stay far below the longest record.
_DELIVERIES: Final = 256
_ROWS: Final = b"R"
_LISTENING: Final = b"L"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_astuple = msgspec.structs.astuple
_HEAD: Final = ("instrument", "exchange_ns", "received_ns")
#: Where the values of a kind's event are levels, and a side.
_LEVELS: Final = {
    kind.name: [place for place, field in enumerate(kind.fields, len(_HEAD)) if field.type == "levels"]
    for kind in EVENT_KINDS.values()
}
_SIDES: Final = {
    kind.name: [place for place, field in enumerate(kind.fields, len(_HEAD)) if field.type == "side"]
    for kind in EVENT_KINDS.values()
}


class Listening(msgspec.Struct, frozen=True):
    """From a moment on these streams are listened to, and no others.

    Attributes:
        since_ns: The moment.
        streams: Those that are listened to.
        instruments: Their instruments' metadata then, as `Instrument.to_dict` gives them.
    """

    since_ns: int
    streams: list[Stream]
    instruments: list[dict[str, Any]]


class RowTape:
    """A tape of rows, with the interface of `FrameTape`.

    After the first refusal of the disk nothing more is written: rows that follow a hole would hide it.

    Args:
        folder: Where; made if it is not there.
        segment_bytes: Length of a segment.

    Attributes:
        error: Why no more is written, None while everything was.
    """

    #: Whether the client shall pack its frames for it.
    takes_frames: Final = False

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.error: DataError | None = None
        self._segment_bytes = segment_bytes
        self._tape: TapeWriter | None = None
        self._waiting: list[bytes] = []
        self._known: dict[str, frozenset[int]] = {}
        self._last_ns: dict[int, int] = {}  # the last stamp of each segment

    @property
    def written_bytes(self) -> int:
        """How many bytes were added."""
        return 0 if self._tape is None else self._tape.written_bytes

    @property
    def torn_bytes(self) -> int:
        """How many bytes of an unfinished record were cut off at the opening."""
        return 0 if self._tape is None else self._tape.torn_bytes

    def open(self) -> None:
        """Take hold of the tape, and cut off an unfinished record; fine to call again.

        Raises:
            DataError: Another recorder has it, it is damaged, or the disk refuses.
        """
        if self._tape is None:
            self._tape = TapeWriter(
                self.folder, resume=True, segment_bytes=self._segment_bytes, is_trimmed=True, is_marked=True
            )

    def keep(self, payload: bytes) -> None:
        """Do nothing: frames are not kept."""

    def know(self, trades: Mapping[str, frozenset[int]]) -> None:
        """Leave out trades that are recorded already: a subscription begins with the last one that there was.

        Args:
            trades: The ids of the last ones, by instrument.
        """
        self._known = dict(trades)

    def take(self, deliveries: Sequence[Sequence[Row]]) -> Sequence[Sequence[Row]]:
        """Keep rows for the next `flush`, and return them; those that are known are left out."""
        if self._known and deliveries:
            news = ([row for row in rows if not self._is_known(row)] for rows in deliveries)
            deliveries = [rows for rows in news if rows]
        for start in range(0, len(deliveries), _DELIVERIES):
            self._waiting.append(pack_rows(deliveries[start : start + _DELIVERIES]))
        if deliveries and self._tape is not None:
            self._last_ns[self._tape.segment] = deliveries[-1][-1].received_ns
        return deliveries

    def _is_known(self, row: Row) -> bool:
        if type(row) is not Trade or row.instrument not in self._known:
            return False
        if row.trade_id in self._known[row.instrument]:
            return True
        # From the first new trade on the tracker tells the copies.
        del self._known[row.instrument]
        return False

    def listen(self, listening: Listening) -> None:
        """Put the begin of listening on the tape.

        Raises:
            DataError: The disk refuses.
        """
        assert self._tape is not None, "the tape is open"
        self._tape.append(_LISTENING + _encode(listening))

    def flush(self) -> bool:
        """Hand everything to the operating system: a kill of this process does not lose it any more.

        Returns:
            Whether all was taken, now and before; else `error` says why not.
        """
        if self._waiting and self._tape is not None and self.error is None:
            before = self._tape.segment
            try:
                self._tape.append_many(self._waiting)
            except DataError as error:
                self.error = error
            else:
                if self._tape.segment != before:
                    self._last_ns[self._tape.segment] = self._last_ns[before]
        self._waiting.clear()
        return self.error is None

    def sync(self) -> None:
        """Wait until the disk has everything.

        Raises:
            DataError: The disk refuses.
        """
        if self._tape is not None:
            self._tape.sync()

    def stamped(self, last_ns: int) -> None:
        """Take note that no row of the present segments is stamped later."""
        if self._tape is not None:
            self._last_ns = dict.fromkeys(self._tape.segments, last_ns)

    def trim(self, before_ns: int, *, is_whole: bool = False) -> int:
        """Remove the segments whose rows are all stamped before a moment, and return their number.

        Args:
            before_ns: The moment.
            is_whole: Let the open segment go too, if it is one of them: an empty one takes its place. Only while
                nothing is being written.

        Raises:
            DataError: The disk refuses.
        """
        tape = self._tape
        assert tape is not None, "the tape is open"
        if is_whole and self._last_ns.get(tape.segment, 0) < before_ns:
            tape.begin_segment()
        # A copy, since rows go on to come on another thread.
        stamped = list(self._last_ns.items())
        keep = min((number for number, last_ns in stamped if last_ns >= before_ns), default=tape.segment)
        gone = tape.trim(keep)
        for number, _ in stamped:
            if number < min(keep, tape.segment):
                self._last_ns.pop(number, None)
        return gone

    def close(self) -> None:
        """Make it durable and let go of it, once; `error` says whether it could be."""
        self.flush()
        tape, self._tape = self._tape, None
        try:
            if tape is not None:
                tape.close()
        except DataError as error:
            self.error = self.error or error


def read_rows(folder: Path) -> Iterator[Listening | Sequence[Row]]:
    """Yield what a tape of rows holds: the deliveries, and every begin of listening.

    Raises:
        DataError: The tape is missing or damaged, or was written by a newer quantkit.
    """
    for payload in TapeReader(folder, is_trimmed=True):
        yield from read_record(payload)


def read_record(payload: bytes) -> Iterator[Listening | Sequence[Row]]:
    """Yield what one record holds.

    Raises:
        DataError: It is damaged, or was written by a newer quantkit.
    """
    if payload.startswith(_LISTENING):
        yield _listening(payload)
    else:
        yield from unpack_rows(payload)


def pack_rows(deliveries: Iterable[Sequence[Row]]) -> bytes:
    """Return deliveries as the payload of one record.

    Examples:
        >>> from quantkit.events import Mark
        >>> [list(rows) for rows in unpack_rows(pack_rows([[Mark("A-B", 1, 2, 3.5)]]))]
        [[Mark(instrument='A-B', exchange_ns=1, received_ns=2, price=3.5, source='mark')]]
    """
    return _ROWS + _encode([[_packed(row) for row in rows] for rows in deliveries])


def unpack_rows(payload: bytes) -> Iterator[Sequence[Row]]:
    """Yield the deliveries of a record.

    Raises:
        DataError: It is none of `pack_rows`.
    """
    if not payload.startswith(_ROWS):
        raise DataError("a record of the tape holds no rows; was it written by a newer version of quantkit?")
    try:
        for rows in _decode(memoryview(payload)[1:]):
            yield [_unpacked(*row) for row in rows]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"a record of the tape cannot be understood ({error}); was it written by a newer version of quantkit?"
        ) from error


def _packed(row: Row) -> tuple[str, list[Any] | tuple[Any, ...]]:
    if isinstance(row, InstrumentChange):
        return "instrument", (row.instrument, row.exchange_ns, row.received_ns, row.info.to_dict())
    if isinstance(row, Candle):
        return "candle", _astuple(row)[:-1]  # a live candle has no further columns
    return KINDS[type(row)], _astuple(row)


def _unpacked(kind: str, values: list[Any]) -> Row:
    if kind == "instrument":
        return InstrumentChange(values[0], values[1], values[2], Instrument.from_dict(values[3]))
    for place in _LEVELS[kind]:
        values[place] = tuple(values[place])
    for place in _SIDES[kind]:
        values[place] = Side(values[place])
    event = EVENT_KINDS[kind].event
    assert event is not None, "a kind on the tape has events"
    row: Row = event(*values)
    return row


def _listening(payload: bytes) -> Listening:
    try:
        return msgspec.msgpack.decode(memoryview(payload)[1:], type=Listening)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"a record of the tape cannot be understood ({error}); was it written by a newer version of quantkit?"
        ) from error
