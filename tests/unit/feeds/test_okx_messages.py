"""OKX frames become typed messages, malformed ones a ParseError, unknown ones something to count."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from quantkit.errors import ParseError
from quantkit.events import BookUpdate, Candle, Funding, Mark, OpenInterest, Ticker, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import (
    Ack,
    BookData,
    ConnectionCount,
    ErrorEvent,
    ForeignCandle,
    FormingCandle,
    FrameError,
    FrameMessage,
    FundingData,
    InstrumentData,
    InstrumentRow,
    MarketData,
    Notice,
    Pong,
    Status,
    TradeData,
    Unknown,
    decode,
    decode_instruments,
    instrument_of,
)
from quantkit.feeds.okx.tracker.book import Link, checksum, link
from quantkit.instruments import Instrument, Side

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY / "tests" / "data"
FRAMES = REPOSITORY.parent / "shared" / "okx" / "frames"
TS = "1597026383085"
TS_NS = 1597026383085_000_000


def push(channel: str, rows: Any, *, inst_id: str = "BTC-USDT", **rest: Any) -> bytes:
    """Return a push frame of a channel."""
    return json.dumps({"arg": {"channel": channel, "instId": inst_id}, **rest, "data": rows}).encode()


def only(frame: bytes) -> FrameMessage:
    """Return the one message of a frame."""
    (message,) = decode(frame, received_ns=7)
    return message


def book_row(bids: list[list[str]], asks: list[list[str]], **rest: Any) -> dict[str, Any]:
    return {"bids": bids, "asks": asks, "ts": TS, **rest}


# Rows -------------------------------------------------------------------------------------------------------------


def test_ticker_fields_and_empty_sides() -> None:
    row = {"instId": "BTC-USDT", "last": "10", "lastSz": "0", "askPx": "", "askSz": "", "bidPx": "9.5", "bidSz": "2"}
    message = only(push("tickers", [{**row, "ts": TS, "sodUtc0": "1", "newField": {"a": 1}}]))
    assert message == MarketData("tickers", Ticker("BTC-USDT", TS_NS, 7, 9.5, 2.0, None, None, 10.0, None))


def test_best_quote_of_a_one_sided_book_stays_legal() -> None:
    message = only(push("bbo-tbt", [book_row([["9.5", "2", "0", "1"]], [], seqId=3)]))
    assert message == MarketData("bbo-tbt", Ticker("BTC-USDT", TS_NS, 7, 9.5, 2.0, None, None))


@pytest.mark.parametrize(
    ("extra", "count", "seq_id"),
    [({}, None, None), ({"count": "3", "seqId": 9, "source": "1"}, 3, 9)],
    ids=["2022", "2026"],
)
def test_trade_of_both_generations(extra: dict[str, Any], count: int | None, seq_id: int | None) -> None:
    row = {"instId": "BTC-USDT", "tradeId": "130", "px": "42219.9", "sz": "0.12", "side": "sell", "ts": TS, **extra}
    expected = Trade("BTC-USDT", TS_NS, 7, 42219.9, 0.12, Side.SELL, 130)
    assert only(push("trades", [row])) == TradeData("trades", expected, count, seq_id)


def test_trade_without_id_and_with_an_unknown_side() -> None:
    row = {"instId": "A-B", "tradeId": "", "px": "1", "sz": "1", "side": "buy", "ts": TS}
    messages = decode(push("trades-all", [row, {**row, "side": "both"}]), received_ns=7)
    assert isinstance(messages[0], TradeData)
    assert messages[0].event.trade_id == 0
    assert messages[1] == Unknown("trade side both", "A-B")


def test_book_levels_keep_their_texts_and_absent_numbers_stay_absent() -> None:
    frame = push("books", [book_row([["100.10", "0", "0", "0"]], [["101", "2.50", "0", "3"]])], action="update")
    message = only(frame)
    assert isinstance(message, BookData)
    assert message.update == BookUpdate("BTC-USDT", TS_NS, 7, (100.1,), (0.0,), (101.0,), (2.5,), False, 0, -1)
    assert [column[0] for column in message.ask_texts] == ["101", "2.50"]
    assert (message.checksum, message.seq_id, message.prev_seq_id) == (None, None, None)


def test_book_levels_of_three_items_and_of_a_foreign_fourth() -> None:
    frame = push(
        "books", [book_row([["1", "1", "3"]], [["2", "1", "0", 4, {}]], seqId=2, prevSeqId=-1)], action="snapshot"
    )
    message = only(frame)
    assert isinstance(message, BookData)
    assert message.update.is_snapshot
    assert (message.update.seq, message.update.prev_seq) == (2, -1)


def test_books5_is_a_snapshot_each_time_and_an_unknown_action_is_counted() -> None:
    row = book_row([["1", "1", "0", "1"]], [], instId="BTC-USDT", seqId=5)
    message = only(push("books5", [row]))
    assert isinstance(message, BookData)
    assert message.update.is_snapshot
    assert only(push("books", [row], action="partial")) == Unknown("book action partial", "BTC-USDT")


@pytest.mark.parametrize(
    ("bar", "interval", "minutes"),
    [("1m", "1m", 1), ("1H", "1h", 60), ("4H", "4h", 240), ("6Hutc", "6h", 360), ("1Dutc", "1d", 1440)],
)
def test_candle_closes_an_interval_after_it_opens(bar: str, interval: str, minutes: int) -> None:
    row = [TS, "10", "12", "9", "11", "5", "50", "50", "1"]
    message = only(push(f"candle{bar}", [row]))
    close_ns = TS_NS + minutes * 60_000_000_000
    expected = Candle("BTC-USDT", close_ns, 7, TS_NS, close_ns, 10.0, 12.0, 9.0, 11.0, 5.0, interval)
    assert message == MarketData(f"candle{bar}", expected)


def test_only_confirmed_candles_are_events() -> None:
    row = [TS, "10", "12", "9", "11", "5", "50", "50", "0"]
    forming = only(push("candle1m", [row]))
    assert isinstance(forming, FormingCandle)
    assert forming.candle.close == 11.0
    assert only(push("candle1m", [row[:7]])) == Unknown("candle confirm ", "BTC-USDT")
    for bar in ("1m2", "", "1d", "M"):
        assert only(push(f"candle{bar}", [row])) == Unknown(f"channel candle{bar}", "BTC-USDT")


@pytest.mark.parametrize("bar", ["6H", "12H", "1D", "1W", "1M", "3Mutc", "2Dutc"])
def test_bars_that_no_interval_of_ours_describes_never_pass_as_candles(bar: str) -> None:
    row = [TS, "10", "12", "9", "11", "5", "50", "50", "1"]
    expected = ForeignCandle(f"candle{bar}", "BTC-USDT", bar, TS_NS, 7, 10.0, 12.0, 9.0, 11.0, 5.0, True)
    assert only(push(f"candle{bar}", [row])) == expected
    forming = only(push(f"candle{bar}", [[*row[:8], "0"]]))
    assert isinstance(forming, ForeignCandle)
    assert not forming.is_closed


def test_funding_prediction_and_settled_rate() -> None:
    row = {"instId": "BTC-USDT-SWAP", "fundingRate": "-0.0001", "fundingTime": TS, "nextFundingRate": "", "ts": TS}
    predicted = Funding("BTC-USDT-SWAP", TS_NS, 7, -0.0001, TS_NS, False)
    assert only(push("funding-rate", [row])) == FundingData("funding-rate", predicted, None)
    settled = only(push("funding-rate", [{**row, "settState": "settled", "settFundingRate": "0.0002"}]))
    assert settled == FundingData("funding-rate", predicted, 0.0002)
    processing = only(push("funding-rate", [{**row, "settState": "processing", "settFundingRate": "0.0002"}]))
    assert processing == FundingData("funding-rate", predicted, None)
    assert only(push("funding-rate", [{**row, "fundingRate": ""}])) == Unknown(
        "funding without a rate", "BTC-USDT-SWAP"
    )


def test_marks_indexes_and_status() -> None:
    mark = only(push("mark-price", [{"instType": "SWAP", "instId": "A-B-SWAP", "markPx": "0.1", "ts": TS}]))
    assert mark == MarketData("mark-price", Mark("A-B-SWAP", TS_NS, 7, 0.1, "mark"))
    index = only(push("index-tickers", [{"instId": "A-B", "idxPx": "0.2", "ts": TS, "high24h": ""}]))
    assert index == MarketData("index-tickers", Mark("A-B", TS_NS, 7, 0.2, "index"))
    status = only(push("status", [{"title": "x", "state": "brand new", "begin": TS, "end": "", "serviceType": "0"}]))
    assert status == Status("x", "brand new", "0", TS_NS, None)


def test_status_of_the_documentation_counts_seconds() -> None:
    status = only(push("status", [{"title": "x", "state": "scheduled", "begin": "1610019546", "end": TS}]))
    assert isinstance(status, Status)
    assert (status.begin_ns, status.end_ns) == (1610019546_000_000_000, TS_NS)


def test_open_interest() -> None:
    row = {"instType": "SWAP", "instId": "A-B-SWAP", "oi": "5000", "oiCcy": "555.55", "oiUsd": "", "ts": TS}
    event = OpenInterest("A-B-SWAP", TS_NS, 7, 5000.0, 555.55)
    assert only(push("open-interest", [row])) == MarketData("open-interest", event)
    usd = only(push("open-interest", [{**row, "oiUsd": "1.5"}]))
    assert isinstance(usd, MarketData)
    assert usd.event == msgspec.structs.replace(event, usd=1.5)


# Events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"pong", Pong()),
        (
            b'{"id":"1512","event":"subscribe","arg":{"channel":"books","instId":"A-B"},"connId":"accb8e21"}',
            Ack("subscribe", "books", "A-B", "1512", "accb8e21", Channel("books", "A-B")),
        ),
        (
            b'{"arg":{"channel":"trades","instId":"A-B"},"event":"unsubscribe","connId":"c"}',
            Ack("unsubscribe", "trades", "A-B", "", "c", Channel("trades", "A-B")),
        ),
        (
            b'{"event":"subscribe","arg":{"channel":"positions","instType":"ANY","instFamily":"A-B"},"connId":"c"}',
            Ack("subscribe", "positions", "", "", "c", Channel("positions", "", "ANY", "A-B")),
        ),
        (
            b'{"event":"subscribe","arg":{"channel":"account","ccy":"BTC","extraParams":"{}"}}',
            Ack("subscribe", "account", subscription=Channel("account", ccy="BTC", extra_params="{}")),
        ),
        (b'{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}', Ack("login", connection="a4d3ae55")),
        (b'{"event":"error","msg":"no","code":60018,"id":"7"}', ErrorEvent("60018", "no", "7")),
        (b'{"event":"notice","code":"64008","msg":"soon","connId":"c"}', Notice("64008", "soon", "c")),
        (
            b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"c"}',
            ConnectionCount("orders", 2, False, "c"),
        ),
        (
            b'{"event":"channel-conn-count-error","channel":"orders","connCount":"30","connId":"c"}',
            ConnectionCount("orders", 30, True, "c"),
        ),
        (b'{"event":"party"}', Unknown("event party")),
        (b'{"op":"order","id":"1","code":"0","data":[]}', Unknown("reply to order")),
        (b"{}", Unknown("frame without a channel")),
        (b'{"arg":{"channel":"price-limit","instId":"A-B"},"data":[{}]}', Unknown("channel price-limit", "A-B")),
        (b'{"arg":{"channel":"trades-some","instId":"A-B"},"data":[{}]}', Unknown("channel trades-some", "A-B")),
    ],
)
def test_events_and_unknown_frames(frame: bytes, expected: FrameMessage) -> None:
    assert only(frame) == expected


# Malformed --------------------------------------------------------------------------------------------------------

GOOD_TRADE = {"instId": "A-B", "tradeId": "1", "px": "1", "sz": "1", "side": "buy", "ts": TS}


@pytest.mark.parametrize(
    "change",
    [
        {"px": "1e3"},
        {"px": "+1"},
        {"px": " 1"},
        {"px": "1."},
        {"px": ".5"},
        {"px": "1_0"},
        {"px": "nan"},
        {"px": "inf"},
        {"px": "0"},
        {"px": "-1"},
        {"px": "9" * 25},
        {"px": "1\n"},
        {"px": "١"},
        {"px": 1},
        {"px": None},
        {"sz": "0"},
        {"sz": "-1"},
        {"ts": "1597026383085.5"},
        {"ts": "9999999999999"},
        {"ts": "-1"},
        {"ts": ""},
        {"ts": "0"},
        {"ts": "1597026383"},
        {"ts": "1597026383085000"},
        {"ts": "4000000000000"},
        {"ts": True},
        {"ts": None},
        {"tradeId": "1" * 19},
        {"tradeId": "abc"},
        {"instId": "../../etc"},
        {"instId": "a/b"},
        {"instId": ""},
        {"instId": "binance:A-B"},
        {"seqId": 2**63},
        {"seqId": -2},
        {"seqId": "x"},
        {"seqId": 1.5},
        {"count": "-1"},
        {"count": "1.5"},
    ],
    ids=str,
)
def test_malformed_values_are_parse_errors(change: dict[str, Any]) -> None:
    only(push("trades", [GOOD_TRADE]))
    with pytest.raises(ParseError, match=r"^OKX trades"):
        decode(push("trades", [{**GOOD_TRADE, **change}]), received_ns=7)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"ping",
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b'{"event":"\xff"}',
        b'{"event":"subscribe"',
        b'{"arg":5}',
        b'{"arg":{"channel":"trades","instId":"A-B"}}',
        b'{"arg":{"channel":"trades","instId":"A-B"},"data":null}',
        b'{"arg":{"channel":"trades","instId":"A-B"},"data":{}}',
        b'{"arg":{"channel":"books","instId":"A-B"},"action":"update","data":[{"asks":[["1"]],"bids":[],"ts":"1"}]}',
        b'{"arg":{"channel":"books"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1"}]}',
        b'{"event":"channel-conn-count","connCount":"many"}',
        b"[" * 100_000,
        b'{"data":' + b"[" * 100_000,
    ],
    ids=lambda frame: repr(frame[:40]),
)
def test_malformed_frames_are_parse_errors(frame: bytes) -> None:
    with pytest.raises(ParseError):
        decode(frame, received_ns=7)


def test_error_names_channel_and_instrument_as_far_as_known() -> None:
    bad = json.dumps({"data": [{**GOOD_TRADE, "px": "nan"}], "arg": {"channel": "trades", "instId": "A-B"}}).encode()
    cut = push("books", [book_row([["1", "1"]], [])], action="update").replace(b" ", b"")[:-9]
    book = push("books", [book_row([["0", "1"]], [])], action="update")
    for frame, channel, instrument in (
        (bad, "trades", "A-B"),
        (cut, "books", "BTC-USDT"),
        (book, "books", "BTC-USDT"),
        (b'{"arg":{"channel":"positions"},"data":[{}]}', "positions", ""),
        (b'{"arg":{"channel":"positions"', "positions", ""),
        (b"\xff", "", ""),
    ):
        with pytest.raises(FrameError) as caught:
            decode(frame, received_ns=7)
        assert (caught.value.channel, caught.value.instrument) == (channel, instrument)
        assert caught.value.where == f"OKX {channel or 'frame'} {instrument}".rstrip()
        assert str(caught.value).startswith(caught.value.where)


@pytest.mark.parametrize(
    ("px", "sz"), [("0", "1"), ("-1", "1"), ("1", "-1"), ("1,2", "1"), ("1", "1e5"), ("", "1"), ("1", ""), ("1", " 1")]
)
def test_one_bad_level_spoils_the_book(px: str, sz: str) -> None:
    levels = [["10", "1", "0", "1"], [px, sz, "0", "1"], ["12", "1", "0", "1"]]
    with pytest.raises(FrameError):
        decode(push("books", [book_row(levels, [])], action="update"), received_ns=7)
    with pytest.raises(FrameError):
        decode(push("books", [book_row([], levels)], action="update"), received_ns=7)


@pytest.mark.parametrize("level", [[], ["1"], [1, "1"], ["1", 1], ["1", None], "11", None, {"px": "1"}], ids=repr)
@pytest.mark.parametrize("channel", ["books", "bbo-tbt"])
def test_level_of_another_form_is_malformed(level: Any, channel: str) -> None:
    with pytest.raises(FrameError):
        decode(push(channel, [book_row([level], [])], action="update"), received_ns=7)


def test_minus_zero_is_zero_and_removes_a_level() -> None:
    message = only(push("books", [book_row([["10", "-0"], ["9", "2"]], [])], action="update"))
    assert isinstance(message, BookData)
    assert str(message.update.bid_qtys) == "(0.0, 2.0)"


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    row = f'{{"instId":"A-B","px":"9","px":"2","sz":"1","side":"buy","ts":"{TS}"}}'
    for outside in (
        '{"arg":{"channel":"trades","instId":"A-B"},"data":[],"data":[ROW]}',
        '{"data":[],"data":[ROW],"arg":{"channel":"books"},"arg":{"channel":"trades","instId":"A-B"}}',
    ):
        message = only(outside.replace("ROW", row).encode())
        assert isinstance(message, TradeData)
        assert message.event.price == 2.0


def test_whole_numbers_may_be_bare() -> None:
    message = only(push("trades", [{**GOOD_TRADE, "ts": int(TS), "tradeId": 5, "count": 2, "seqId": "9"}]))
    assert message == TradeData("trades", Trade("A-B", TS_NS, 7, 1.0, 1.0, Side.BUY, 5), 2, 9)


@pytest.mark.parametrize(
    ("frame", "stamp_ns"),
    [
        (push("trades", [{"instId": "A-B", "tradeId": "1", "px": "1", "sz": "1", "side": "buy", "ts": TS}]), TS_NS),
        (push("tickers", [{"instId": "A-B", "ts": TS}]), TS_NS),
        (push("bbo-tbt", [book_row([], [])]), TS_NS),
        (push("books5", [book_row([], [])]), TS_NS),
        (push("candle1m", [[TS, "1", "1", "1", "1", "0", "", "", "1"]]), TS_NS),
        (push("candle1m", [[TS, "1", "1", "1", "1", "0", "", "", "0"]]), TS_NS),
        (push("candle1D", [[TS, "1", "1", "1", "1", "0", "", "", "0"]]), TS_NS),
        (push("open-interest", [{"instId": "A-B", "oi": "1", "ts": TS}]), TS_NS),
        (
            push("funding-rate", [{"instId": "A-B", "fundingRate": "0", "fundingTime": "1697026383085", "ts": TS}]),
            TS_NS,
        ),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else "",
)
def test_a_stamp_from_the_future_is_refused_where_asked(frame: bytes, stamp_ns: int) -> None:
    assert decode(frame, received_ns=7, latest_ns=stamp_ns) == decode(frame, received_ns=7)
    with pytest.raises(FrameError, match="future"):
        decode(frame, received_ns=7, latest_ns=stamp_ns - 1)


def test_what_has_no_stamp_is_never_from_the_future() -> None:
    assert decode(b"pong", received_ns=7, latest_ns=0) == [Pong()]


def test_candle_that_contradicts_itself_is_malformed() -> None:
    with pytest.raises(ParseError, match="within high and low"):
        decode(push("candle1m", [[TS, "10", "9", "8", "11", "5", "5", "5", "1"]]), received_ns=7)


# Continuity -------------------------------------------------------------------------------------------------------


def chain_link(prev_seq_id: int | None, seq_id: int | None, last: int | None, *, action: str = "update") -> Link:
    row = book_row([], [], prevSeqId=prev_seq_id, seqId=seq_id)
    message = only(push("books", [row], action=action))
    assert isinstance(message, BookData)
    return link(message, last)


def test_sequence_rules() -> None:
    assert chain_link(-1, 10, 99, action="snapshot") is Link.START
    assert chain_link(10, 15, 10) is Link.NEXT
    assert chain_link(15, 15, 15) is Link.NEXT  # sign of life
    assert chain_link(15, 3, 15) is Link.NEXT  # maintenance reset
    assert chain_link(10, 15, 15) is Link.REPEAT
    assert chain_link(12, 13, 10) is Link.BROKEN
    assert chain_link(16, 20, 15) is Link.BROKEN
    assert chain_link(None, None, None) is Link.NEXT  # from before sequence numbers
    assert chain_link(12, 13, None) is Link.NEXT


def test_checksum_of_a_short_side_appends_the_other() -> None:
    bids, asks = [("3366.1", "7")], [("3366.8", "9"), ("3368", "8")]
    # crc32 of 3366.1:7:3366.8:9:3368:8
    assert checksum(bids, asks) == -1471518219
    many = [(str(price), "1") for price in range(30)]
    assert checksum(many, many) == checksum(many[:25], many[:25])


# Instruments ------------------------------------------------------------------------------------------------------

SWAP_ROW = {
    "instId": "BTC-USD-SWAP",
    "instType": "SWAP",
    "settleCcy": "BTC",
    "ctVal": "100",
    "ctMult": "1",
    "ctValCcy": "USD",
    "ctType": "inverse",
    "tickSz": "0.1",
    "lotSz": "1",
    "minSz": "1",
    "uly": "BTC-USD",
    "state": "rebase",
}


def row_of(**change: Any) -> InstrumentRow:
    return msgspec.convert({**SWAP_ROW, **change}, InstrumentRow)


def test_inverse_swap_metadata() -> None:
    expected = Instrument(
        "BTC-USD-SWAP",
        kind="swap",
        price_step="0.1",
        qty_step="1",
        contract_value="100",
        is_inverse=True,
        source="capture",
    )
    assert instrument_of(row_of()) == expected


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({"maxLmtSz": "100", "maxMktSz": "30", "maxLmtAmt": "200"}, ("100", "30", "200", None)),
        ({"maxMktAmt": "7"}, (None, None, None, "7")),
        ({"maxLmtSz": "", "maxMktSz": "0", "maxLmtAmt": "-3", "maxMktAmt": "much"}, (None,) * 4),
        ({"maxLmtSz": "1e30"}, (None,) * 4),
        ({"instType": "SPOT", "ctType": "", "ctVal": "", "maxMktSz": "9"}, (None, None, None, "9")),
        ({"instType": "SPOT", "ctType": "", "ctVal": "", "maxMktSz": "9", "maxMktAmt": "8"}, (None, None, None, "8")),
    ],
)
def test_the_largest_orders_of_an_instrument(fields: dict[str, str], limits: tuple[str | None, ...]) -> None:
    """A bound that is no number above zero bounds nothing; on spot both bounds of a market order are in dollars."""
    found = instrument_of(row_of(**fields))
    assert found is not None
    most = (found.max_limit_qty, found.max_market_qty, found.max_limit_value, found.max_market_value)
    assert tuple(None if each is None else str(each) for each in most) == limits


def test_spot_linear_and_stablecoin_families() -> None:
    spot = instrument_of(
        row_of(
            instId="BTC-USDT",
            instType="SPOT",
            baseCcy="BTC",
            quoteCcy="USDT",
            settleCcy="",
            ctVal="",
            ctMult="",
            ctType="",
            ctValCcy="",
            lotSz="0.00000001",
            minSz="0.00001",
            uly="",
        )
    )
    assert spot is not None
    assert (spot.kind, str(spot.min_qty), str(spot.unit)) == ("spot", "0.00001", "1")
    linear = instrument_of(
        row_of(
            instId="ETH-USD_UM-SWAP",
            ctType="linear",
            settleCcy="USDC",
            ctVal="0.1",
            ctMult="1",
            uly="ETH-USD_UM",
            instFamily="ETH-USD_UM",
        )
    )
    assert linear is not None
    assert (linear.base, linear.quote, linear.settle, linear.is_inverse) == ("ETH", "USD", "USDC", False)


@pytest.mark.parametrize(
    "change",
    [
        {"instType": "OPTION"},
        {"instType": "MARGIN"},
        {"instType": "WARRANT"},
        {"tickSz": ""},
        {"lotSz": ""},
        {"ctVal": ""},
        {"ctType": "quanto"},
    ],
    ids=str,
)
def test_what_is_not_traded_or_not_open_yet_is_none(change: dict[str, str]) -> None:
    assert instrument_of(row_of(**change)) is None


@pytest.mark.parametrize("change", [{"tickSz": "0"}, {"tickSz": "1e-3"}, {"instId": "../x"}, {"minSz": "-1"}], ids=str)
def test_malformed_metadata_is_a_parse_error(change: dict[str, str]) -> None:
    with pytest.raises(ParseError):
        instrument_of(row_of(**change))


def test_one_bad_row_of_a_reply_does_not_cost_the_others() -> None:
    body = json.dumps({"code": "0", "msg": "", "data": [SWAP_ROW, {"instId": 5}]}).encode()
    good, bad = decode_instruments(body)
    assert isinstance(good, InstrumentRow)
    assert isinstance(bad, ParseError)
    for refused in (b'{"code":50011,"msg":"Too Many Requests"}', b'{"code":"0","msg":""}', b"<html>", b"\xff"):
        with pytest.raises(ParseError):
            decode_instruments(refused)


# Recorded frames --------------------------------------------------------------------------------------------------


def received_frames(name: str) -> list[bytes]:
    """Return the frames of a recorder's file that were received."""
    lines = gzip.decompress((DATA / name).read_bytes()).splitlines()
    return [line.partition(b": ")[2] for line in lines if line[:1].isdigit()]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("okx_ws_20220227T231427Z.log.gz", {"Ack": 60, "BookData": 3679, "TradeData": 19, "MarketData": 19}),
        ("okx_ws_20220513T162705Z.log.gz", {"Ack": 18, "BookData": 290, "TradeData": 74, "MarketData": 28}),
    ],
)
def test_recorded_captures_decode_whole(name: str, counts: dict[str, int]) -> None:
    found: dict[str, int] = {}
    for frame in received_frames(name):
        for message in decode(frame, received_ns=1):
            found[type(message).__name__] = found.get(type(message).__name__, 0) + 1
    assert found == counts


#: What of the collection is well-formed and not used: other channels, and REST replies, which are no frames.
UNUSED = {
    "channel price-limit",
    "channel liquidation-orders",
    "channel orders-algo",
    "frame without a channel",
}


@pytest.mark.skipif(not FRAMES.exists(), reason="the frame collection is not beside the repository")
def test_collected_frames_decode_or_are_told_apart() -> None:
    """Every frame of the collection becomes typed messages, or an unknown one that is listed here."""
    kinds: dict[str, int] = {}
    unknown: set[str] = set()
    refused: list[str] = []
    for file in sorted(FRAMES.glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            entry = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            if bytes(entry.get("dir", b"")) == b'"out"':
                continue
            try:
                messages = decode(bytes(entry["frame"]), received_ns=1)
            except ParseError as error:
                refused.append(str(error))
                continue
            for message in messages:
                kinds[type(message).__name__] = kinds.get(type(message).__name__, 0) + 1
                if isinstance(message, InstrumentData):
                    assert message.row.inst_id
                if isinstance(message, Unknown):
                    unknown.add(message.what)
    assert kinds.keys() >= {
        "AccountData",
        "Ack",
        "BalanceAndPositionData",
        "BookData",
        "ForeignCandle",
        "FundingData",
        "InstrumentData",
        "MarketData",
        "OrdersData",
        "PositionsData",
        "Status",
        "TradeData",
    }
    assert unknown <= UNUSED | {"candle confirm "}
    # One hand-made level has the price 0.
    assert refused == ["OKX books BTC-USDT: price '0' is not above zero"]


@pytest.mark.skipif(not FRAMES.exists(), reason="the frame collection is not beside the repository")
def test_collected_instrument_replies_become_instruments() -> None:
    replies = msgspec.json.decode((FRAMES / "cryptofeed_rest_instruments_2022-05.json").read_bytes())
    rows = {kind: decode_instruments(msgspec.json.encode(reply)) for kind, reply in replies.items()}
    made = {
        kind: [instrument_of(row) for row in listed if isinstance(row, InstrumentRow)] for kind, listed in rows.items()
    }
    for kind, instruments in made.items():
        assert instruments, kind
        assert all((each is None) == kind.startswith("OPTION") for each in instruments), kind
