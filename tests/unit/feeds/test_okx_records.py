"""What is put on a tape comes back from it; anything else is refused."""

from typing import get_args

import msgspec
import pytest

from quantkit.errors import DataError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import (
    Awaited,
    BookFetched,
    Closed,
    Fetched,
    FrameRecord,
    InstrumentFetched,
    Listed,
    Lost,
    Opened,
    Overflow,
    Record,
    Stalled,
    Subscribed,
    Unsubscribed,
    pack,
    pack_frame,
    unpack,
)

ORDERS = Channel("orders", inst_type="ANY", ccy="BTC", extra_params='{"updateInterval":"0"}')
RECORDS: list[Record] = [
    Opened(1, 2, "public"),
    Lost(2**62, 2, "reset by peer"),
    Subscribed(3, 2, Channel("books", "BTC-USDT")),
    Unsubscribed(4, 2, ORDERS),
    Fetched(5, Channel("candle1m", "BTC-USDT"), [["1597026383085", "1"], []], ""),
    Fetched(5, Channel("candle1m", "BTC-USDT"), [], "no network"),
    BookFetched(6, Channel("books", "BTC-USDT"), b'{"code":"0"}\xff\x00', ""),
    Stalled(7, 2, Channel("books", "BTC-USDT"), 90_000_000_000),
    Overflow(8, True),
    Closed(9),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert unpack(pack(record)) == record


@pytest.mark.parametrize("data", [b"", b"pong", b'{"arg":1}', bytes(range(256))])
def test_a_frame_comes_back_byte_for_byte(data: bytes) -> None:
    assert unpack(pack_frame(7, 2**62, data)) == FrameRecord(7, 2**62, data)


def test_a_frame_costs_thirteen_bytes_more() -> None:
    assert len(pack_frame(2**32 - 1, 2**63 - 1, b"x" * 100)) == 113


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"F",
        pack_frame(1, 2, b"")[:-1],
        b"X" + bytes(20),
        b"R",
        b"R\xc1",
        b"R" + msgspec.msgpack.encode({"type": "opened"}),
        b"R" + msgspec.msgpack.encode({"type": "from the future", "received_ns": 1}),
        pack(Overflow(8, True))[:-1],
        b"R" + msgspec.msgpack.encode({"type": "lost", "received_ns": 1, "connection": 2, "cause": 5}),
        b"R\x81\xa1\xff\xa1\xff",
    ],
)
def test_anything_else_is_refused_with_advice(payload: bytes) -> None:
    with pytest.raises(DataError, match=r"of the tape .*newer version"):
        unpack(payload)


def test_fields_of_a_later_version_are_left_out() -> None:
    fields = {"type": "shed", "received_ns": 8, "is_on": True, "why": "later"}
    assert unpack(b"R" + msgspec.msgpack.encode(fields)) == Overflow(8, True)


@pytest.mark.parametrize(
    ("tag", "record"),
    [
        ("opened", Opened(1, 2, "public")),
        ("lost", Lost(1, 2, "reset")),
        ("wanted", Subscribed(3, 2, Channel("books", "BTC-USDT"))),
        ("unwanted", Unsubscribed(4, 2, ORDERS)),
        ("awaited", Awaited(5, Channel("candle1m", "BTC-USDT"), 60)),
        ("fetched", Fetched(5, Channel("candle1m", "BTC-USDT"), [])),
        ("book_fetched", BookFetched(6, Channel("books", "BTC-USDT"), b"{}")),
        ("listed", Listed(6, "BTC-USDT", "0.1")),
        ("instrument_fetched", InstrumentFetched(6, Channel("books", "BTC-USDT"), b"{}")),
        ("stalled", Stalled(7, 2, Channel("books", "BTC-USDT"), 90)),
        ("shed", Overflow(8, True)),
        ("closed", Closed(9)),
    ],
)
def test_tapes_of_earlier_versions_load(tag: str, record: Record) -> None:
    """A record's tag on the tape is older than the name of its class, and outlives it."""
    fields = msgspec.to_builtins(record, builtin_types=(bytes,)) | {"type": tag}
    written = b"R" + msgspec.msgpack.encode(fields)
    assert unpack(written) == record
    assert pack(record) == written


def test_every_record_has_a_tag_that_is_tested() -> None:
    assert len(get_args(Record)) == 12
