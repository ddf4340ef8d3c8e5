"""Whatever bytes come, the OKX decoder gives messages or a FrameError."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fuzz_okx_decode import CORPUS, take_any
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import ParseError
from quantkit.feeds.okx.codec.decode import BookData, FrameError, MarketData, OrdersData, TradeData, decode

REPOSITORY = Path(__file__).parents[2]
FRAMES = REPOSITORY.parent / "shared" / "okx" / "frames"
CAPTURE = REPOSITORY / "tests" / "data" / "okx_ws_20220513T162705Z.log.gz"

CHANNELS = (
    "tickers", "trades", "trades-all", "books", "books5", "bbo-tbt", "books-l2-tbt", "funding-rate", "mark-price",
    "index-tickers", "open-interest", "instruments", "status", "candle1m", "candle1D", "account", "positions",
    "balance_and_position", "orders", "fills", "nothing",
)  # fmt: skip
FIELDS = (
    "instId", "px", "sz", "side", "ts", "tradeId", "count", "seqId", "prevSeqId", "checksum", "asks", "bids", "last",
    "askPx", "bidPx", "bidSz", "fundingRate", "fundingTime", "settFundingRate", "settState", "markPx", "idxPx",
    "instType", "tickSz", "oi", "oiCcy", "ordId", "details", "balData", "posData", "trades", "ccy", "uTime", "pos",
    "reduceOnly", "fillPx", "totalEq",
)  # fmt: skip
numbers = st.sampled_from(
    ["1", "0", "-1", "1.5", "", "nan", "1e5", "9" * 30, "1597026383085", "BTC-USDT", "buy", "1" * 13]
)
leaves = st.one_of(
    numbers, st.text(max_size=5), st.integers(-(2**70), 2**70), st.none(), st.booleans(), st.floats(allow_nan=False)
)
levels = st.lists(st.lists(numbers, max_size=5), max_size=3)
parts = st.lists(st.dictionaries(st.sampled_from(FIELDS), leaves, max_size=4), max_size=2)
rows = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), st.one_of(leaves, levels, parts), max_size=len(FIELDS)),
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
        "curPage": leaves,
        "lastPage": leaves,
    },
)


def recorded() -> list[bytes]:
    """Return recorded and collected frames, the long ones left out."""
    lines = gzip.decompress(CAPTURE.read_bytes()).splitlines()
    found = [line.partition(b": ")[2] for line in lines if line[:1].isdigit()]
    for file in sorted(FRAMES.glob("*.jsonl")):
        found += [line.partition(b'"frame":')[2][:-1] for line in file.read_bytes().splitlines()]
    return [*CORPUS, *(frame for frame in found if 0 < len(frame) < 3000)]


REAL = recorded()


@pytest.mark.parametrize("frame", CORPUS, ids=lambda frame: frame[:40].decode())
def test_the_corpus_is_well_formed(frame: bytes) -> None:
    """The seeds of the fuzzer decode, or they would lead nowhere."""
    take_any(frame)
    assert decode(frame, received_ns=1)


@pytest.mark.parametrize("frame", CORPUS, ids=lambda frame: frame[:40].decode())
def test_every_cut_and_every_flipped_bit_of_the_corpus(frame: bytes) -> None:
    """Damage of one bit, a cut at any byte, and bytes after the end."""
    for place in range(len(frame)):
        take_any(frame[:place])
        for bit in (0, 3, 5, 7):
            take_any(frame[:place] + bytes([frame[place] ^ 1 << bit]) + frame[place + 1 :])
    for tail in (b"}", b" x", frame, b"\x00", b"\xff"):
        with pytest.raises(FrameError):
            decode(frame + tail, received_ns=1)
    with pytest.raises(FrameError):
        decode(b"\xef\xbb\xbf" + frame, received_ns=1)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(frame: bytes) -> None:
    """Junk is refused as junk."""
    take_any(frame)


@settings(max_examples=600, deadline=None)
@given(frames)
def test_any_json_of_nearly_the_right_form(frame: dict[str, Any]) -> None:
    """Right keys with wrong values are refused, or unknown, or right after all."""
    take_any(json.dumps(frame).encode(errors="replace"))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(REAL), st.data())
def test_any_damaged_recorded_frame(frame: bytes, data: st.DataObject) -> None:
    """Bytes replaced, cut out and put in somewhere."""
    place = data.draw(st.integers(0, len(frame)))
    cut = data.draw(st.integers(0, 4))
    put = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"null", b"1e5", b"[", b"{}", b",", b"-"])))
    take_any(frame[:place] + put + frame[place + cut :])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL), st.randoms(use_true_random=False), st.booleans())
def test_order_of_keys_and_spaces_change_nothing(frame: bytes, dice: Any, has_spaces: bool) -> None:
    """The quick way through the decoder and the slow one give the same messages."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        if isinstance(value, dict):
            items = list(value.items())
            dice.shuffle(items)
            return {key: shuffled(each) for key, each in items}
        return value

    try:
        parsed = json.loads(frame)
    except ValueError:
        return
    other = json.dumps(shuffled(parsed), separators=(", ", ": ") if has_spaces else (",", ":")).encode()
    assert outcome(frame) == outcome(other)


def outcome(frame: bytes) -> Any:
    """Return the messages, or where the error is."""
    try:
        return decode(frame, received_ns=1)
    except FrameError as error:
        return (error.channel, error.instrument)


plain_numbers = st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False).filter(lambda number: number > 0)


@settings(max_examples=200, deadline=None)
@given(plain_numbers)
def test_a_price_is_parsed_once_and_exactly(number: Decimal) -> None:
    """Each channel gives the float nearest to the text, and private ones the very number."""
    text = format(number, "f")
    row = b'{"instId":"A-B","px":"%s","sz":"%s","side":"buy","markPx":"%s","bidPx":"%s","ts":"1597026383085",' % (
        (text.encode(),) * 4
    )
    row += b'"bids":[["%s","%s"]],"asks":[],"ordId":"1"}' % ((text.encode(),) * 2)
    nearest = float(text)
    for channel in ("trades", "mark-price", "tickers", "books", "orders"):
        frame = b'{"arg":{"channel":"%s","instId":"A-B"},"action":"update","data":[%s]}' % (channel.encode(), row)
        (message,) = decode(frame, received_ns=1)
        match message:
            case TradeData(event=trade):
                assert (trade.price, trade.qty) == (nearest, nearest)
            case MarketData(event=event):
                assert nearest in (getattr(event, "price", None), getattr(event, "bid", None))
            case BookData(update=update):
                assert update.bid_prices == update.bid_qtys == (nearest,)
            case OrdersData(orders=(order,)):
                assert order.price == order.qty == number
            case _:
                raise AssertionError(message)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789.-+eE_ naifNI\t,", max_size=8))
def test_a_text_is_a_price_everywhere_or_nowhere(text: str) -> None:
    """All channels keep one grammar, in one price and in many."""
    seen: set[bool] = set()
    for channel in ("trades", "mark-price", "books", "books-l2-tbt"):
        row = {"instId": "A-B", "px": text, "sz": "1", "side": "buy", "markPx": text, "ts": "1597026383085",
               "bids": [["1", "1"], [text, "1"]], "asks": []}  # fmt: skip
        frame = json.dumps({"arg": {"channel": channel, "instId": "A-B"}, "action": "update", "data": [row]}).encode()
        try:
            decode(frame, received_ns=1)
        except ParseError:
            seen.add(False)
        else:
            seen.add(True)
    assert len(seen) == 1
