"""Whatever bytes come, the OKX decoder gives messages or a ParseError."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import ParseError
from quantkit.feeds.okx.messages import decode, decode_instruments

CHANNELS = (
    "tickers", "trades", "trades-all", "books", "books5", "bbo-tbt", "books-l2-tbt", "funding-rate", "mark-price",
    "index-tickers", "instruments", "status", "candle1m", "candle1D", "nothing",
)  # fmt: skip
FIELDS = (
    "instId", "px", "sz", "side", "ts", "tradeId", "count", "seqId", "prevSeqId", "checksum", "asks", "bids", "last",
    "askPx", "bidPx", "bidSz", "fundingRate", "fundingTime", "settFundingRate", "settState", "markPx", "idxPx",
    "instType", "tickSz",
)  # fmt: skip
numbers = st.sampled_from(
    ["1", "0", "-1", "1.5", "", "nan", "1e5", "9" * 30, "1597026383085", "BTC-USDT", "buy", "1" * 13]
)
leaves = st.one_of(
    numbers, st.text(max_size=5), st.integers(-(2**70), 2**70), st.none(), st.booleans(), st.floats(allow_nan=False)
)
levels = st.lists(st.lists(numbers, max_size=5), max_size=3)
rows = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), st.one_of(leaves, levels), max_size=len(FIELDS)),
    st.lists(numbers, max_size=10),
    leaves,
)
frames = st.fixed_dictionaries(
    {},
    optional={
        "arg": st.one_of(
            st.fixed_dictionaries({"channel": st.sampled_from(CHANNELS)}, optional={"instId": leaves}), leaves
        ),
        "data": st.one_of(st.lists(rows, max_size=3), leaves),
        "action": st.one_of(st.sampled_from(["snapshot", "update"]), leaves),
        "event": st.one_of(st.sampled_from(["subscribe", "error", "channel-conn-count"]), leaves),
        "connCount": leaves,
        "code": leaves,
        "op": leaves,
    },
)
#: A frame that decodes, for damaging.
GOOD = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["8476.98","415","0","13"]],'
    b'"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","checksum":-855196043,"prevSeqId":-1,"seqId":123456}]}'
)


def check(frame: bytes) -> None:
    for read in (lambda: decode(frame, received_ns=1), lambda: decode_instruments(frame)):
        found: list[Any] | None = None
        with suppress(ParseError):
            found = read()
        assert found is None or isinstance(found, list)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(frame: bytes) -> None:
    """Junk is refused as junk."""
    check(frame)


@settings(max_examples=400, deadline=None)
@given(frames)
def test_any_json_of_nearly_the_right_form(frame: dict[str, Any]) -> None:
    """Right keys with wrong values are refused, or unknown, or right after all."""
    check(json.dumps(frame).encode(errors="replace"))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 3))
def test_any_damaged_byte(place: int, byte: int, cut: int) -> None:
    """A flipped or cut byte never does more than a ParseError."""
    check(GOOD[:place] + bytes([byte]) + GOOD[place + 1 + cut :])


@settings(max_examples=200, deadline=None)
@given(st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False).filter(lambda price: price > 0))
def test_a_price_is_parsed_once_and_exactly(price: Any) -> None:
    """The float is the one nearest to the text."""
    frame = (
        b'{"arg":{"channel":"mark-price","instId":"A-B"},"data":[{"instId":"A-B","markPx":"%s","ts":"1597026383085"}]}'
        % format(price, "f").encode()
    )
    (message,) = decode(frame, received_ns=1)
    assert message.event.price == float(format(price, "f"))  # type: ignore[union-attr]
