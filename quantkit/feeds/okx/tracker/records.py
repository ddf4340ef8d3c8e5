"""The contents of a tape: received frames, and records of every other event that changes a tracker's state.

A frame is packed raw, the hot path; a record as MessagePack. The first byte tells them apart. A tracker gives commands
to its client. Records are the answers, so a replay of the tape ignores commands.

The tags of records stand on the tapes of every version, so they stay when a class gets a better name.
"""

import struct
from typing import Final, TypeAlias

import msgspec

from quantkit.errors import DataError
from quantkit.feeds.okx.codec.channels import Channel

# Records ------------------------------------------------------------------------------------------------------


class FrameRecord(msgspec.Struct, frozen=True, gc=False):
    """One text frame as it came out of a socket."""

    connection: int
    received_ns: int
    data: bytes


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A connection is usable, after its login where it needs one."""

    received_ns: int
    connection: int
    path: str


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """A connection ended, for whatever cause."""

    received_ns: int
    connection: int
    cause: str


class Subscribed(msgspec.Struct, frozen=True, tag="wanted"):
    """A subscription was sent on a connection: the first one, after a reconnect, or for a new snapshot.

    A second connection with the same channel becomes the successor of the first.
    """

    received_ns: int
    connection: int
    channel: Channel


class Unsubscribed(msgspec.Struct, frozen=True, tag="unwanted"):
    """A subscription ended for good, not only for a new snapshot."""

    received_ns: int
    connection: int
    channel: Channel


class Awaited(msgspec.Struct, frozen=True, tag="awaited"):
    """A consumer needs every bar of a channel that opens at `open_ns` or later, whichever bar is pushed first."""

    received_ns: int
    channel: Channel
    open_ns: int


class Fetched(msgspec.Struct, frozen=True, tag="fetched"):
    """Candle rows from REST as OKX sent them, in any order: the answer to `FetchCandles`.

    Attributes:
        first_open_ns, last_open_ns: As in the command; zeros answer any command.
    """

    received_ns: int
    channel: Channel
    rows: list[list[str]]
    error: str = ""
    first_open_ns: int = 0
    last_open_ns: int = 0


class BookFetched(msgspec.Struct, frozen=True, tag="book_fetched"):
    """A book from REST, the reply's body as OKX sent it: the answer to `FetchBook`."""

    received_ns: int
    channel: Channel
    body: bytes
    error: str = ""


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """The price step of an instrument: prices of its books are checked against it."""

    received_ns: int
    instrument: str
    price_step: str


class InstrumentFetched(msgspec.Struct, frozen=True, tag="instrument_fetched"):
    """Metadata from REST, the reply's body as OKX sent it: the answer to `FetchInstrument`."""

    received_ns: int
    channel: Channel
    body: bytes
    error: str = ""


class Stalled(msgspec.Struct, frozen=True, tag="stalled"):
    """A channel was silent for too long on a live connection."""

    received_ns: int
    connection: int
    channel: Channel
    quiet_ns: int


class Overflow(msgspec.Struct, frozen=True, tag="shed"):
    """The consumer's queue is full, or has room again."""

    received_ns: int
    is_on: bool


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The run ends here; open outages get their gaps."""

    received_ns: int


Record: TypeAlias = (
    Opened
    | Lost
    | Subscribed
    | Unsubscribed
    | Awaited
    | Fetched
    | BookFetched
    | Listed
    | InstrumentFetched
    | Stalled
    | Overflow
    | Closed
)


# Commands -----------------------------------------------------------------------------------------------------


class Resubscribe(msgspec.Struct, frozen=True):
    """Unsubscribe and subscribe a channel on its connection to get a new snapshot."""

    connection: int
    channel: Channel
    cause: str


class FetchCandles(msgspec.Struct, frozen=True):
    """Fetch the closed bars that open from `first_open_ns` to `last_open_ns`, both included."""

    channel: Channel
    first_open_ns: int
    last_open_ns: int


class FetchBook(msgspec.Struct, frozen=True):
    """Fetch a book with its sequence number: the channel began without a snapshot."""

    channel: Channel


class FetchInstrument(msgspec.Struct, frozen=True):
    """Fetch the metadata of a book's instrument: a price is off the known price step."""

    channel: Channel


Command: TypeAlias = Resubscribe | FetchCandles | FetchBook | FetchInstrument


# Packing ------------------------------------------------------------------------------------------------------

_FRAME: Final = 0x46  # F
_RECORD: Final = b"R"
#: The mark, the connection's number, the stamp.
_HEAD: Final = struct.Struct("<BIq")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)
_pack_head: Final = _HEAD.pack
_NEWER: Final = "was it written by a newer version of quantkit?"


def pack_frame(connection: int, received_ns: int, data: bytes) -> bytes:
    """Return one frame as the payload of a tape's record.

    Examples:
        >>> unpack(pack_frame(3, 1_597_026_383_085_000_000, b"pong"))
        FrameRecord(connection=3, received_ns=1597026383085000000, data=b'pong')
    """
    return _pack_head(_FRAME, connection, received_ns) + data


def pack(record: Record) -> bytes:
    """Return one record as the payload of a tape's record.

    Examples:
        >>> unpack(pack(Lost(5, 3, "reset by peer")))
        Lost(received_ns=5, connection=3, cause='reset by peer')
    """
    return _RECORD + _encoder.encode(record)


def unpack(payload: bytes) -> FrameRecord | Record:
    """Return what `pack_frame` or `pack` packed.

    Raises:
        DataError: The payload is neither.
    """
    if payload[:1] == _RECORD:
        try:
            record: Record = _decoder.decode(memoryview(payload)[1:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"a record of the tape cannot be understood ({error}); {_NEWER}") from error
        return record
    if len(payload) < _HEAD.size or payload[0] != _FRAME:
        raise DataError(f"{len(payload)} bytes of the tape are neither a frame nor a record; {_NEWER}")
    _, connection, received_ns = _HEAD.unpack_from(payload)
    return FrameRecord(connection, received_ns, payload[_HEAD.size :])
