"""Requests: cut to size, and their answers attributed to channels."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantkit.feeds.okx.codec.channels import Channel, book, instruments, orders, tickers, trades
from quantkit.feeds.okx.codec.decode import Ack, ErrorEvent
from quantkit.feeds.okx.ws.operations import Request, parts

BTC, ETH, SOL = tickers("BTC-USDT"), tickers("ETH-USDT"), trades("SOL-USDT")


def request_of(*channels):
    request = Request("subscribe", channels)
    request.begin("r1")
    return request


def ack(channel, request_id="r1", event="subscribe"):
    return Ack(event, channel.name, channel.inst_id, request_id)


def wrong(channel, code="60018", request_id="r1"):
    return ErrorEvent(code, f"Wrong URL or channel:{channel.name},instId:{channel.inst_id} doesn't exist.", request_id)


@given(st.integers(256, 4096), st.lists(st.integers(0, 10**12), max_size=200, unique=True))
def test_no_request_is_longer_than_allowed_and_nothing_is_lost(limit_bytes, numbers):
    channels = [tickers(f"A{number}-USDT") for number in numbers]
    cut = parts(channels, limit_bytes)
    assert [channel for part in cut for channel in part] == channels
    for part in cut:
        assert len(Request("unsubscribe", part).begin("9" * 32)) <= limit_bytes


def test_an_argument_that_is_too_long_by_itself_stands_alone():
    long = Channel("account", extra_params="x" * 500)
    assert parts([BTC, long, ETH], 256) == [(BTC,), (long,), (ETH,)]


def test_a_request_is_what_okx_expects():
    text = Request("unsubscribe", [BTC]).begin("r7")
    assert msgspec.json.decode(text) == {
        "id": "r7",
        "op": "unsubscribe",
        "args": [{"channel": "tickers", "instId": "BTC-USDT"}],
    }


def test_each_argument_is_acknowledged_once():
    request = request_of(BTC, ETH)
    assert request.ack(ack(BTC)) == BTC
    assert request.ack(ack(BTC)) is None
    assert not request.is_settled
    assert request.ack(ack(ETH)) == ETH
    assert request.is_settled


def test_answers_of_other_requests_do_not_count():
    request = request_of(BTC)
    assert request.ack(ack(BTC, "r9")) is None
    assert request.ack(ack(BTC, event="unsubscribe")) is None
    assert request.ack(ack(ETH)) is None
    assert request.ack(ack(BTC, "")) == BTC  # a server that echoes no id


def test_answers_to_an_earlier_sending_count():
    request = request_of(BTC)
    assert msgspec.json.decode(request.begin("r2"))["id"] == "r2"
    assert request.ack(ack(BTC, "r1")) == BTC


def test_an_error_is_attributed_by_the_names_in_it():
    request = request_of(BTC, ETH, SOL)
    assert request.refuse(wrong(ETH)) is None
    assert list(request.refused) == [ETH]
    assert list(request.waiting) == [BTC, SOL]
    assert request.refused[ETH].code == "60018"


def test_an_instrument_whose_name_begins_another_is_not_mistaken_for_it():
    spot, swap = tickers("BTC-USDT"), tickers("BTC-USDT-SWAP")
    request = request_of(spot, swap)
    request.refuse(wrong(swap))
    assert list(request.refused) == [swap]


def test_an_error_without_names_is_the_last_unanswered_ones():
    request = request_of(BTC, ETH)
    request.refuse(ErrorEvent("60018", "no such thing", "r1"))
    assert request.refused == {}
    assert request.has_loose_errors
    request.ack(ack(BTC))
    assert list(request.refused) == [ETH]


def test_as_many_equal_errors_as_channels_refuse_them_all():
    request = request_of(BTC, ETH)
    request.refuse(ErrorEvent("60018", "no", "r1"))
    request.refuse(ErrorEvent("60018", "no", "r1"))
    assert set(request.refused) == {BTC, ETH}


def test_different_errors_without_names_are_asked_one_by_one():
    request = request_of(BTC, ETH)
    request.refuse(ErrorEvent("60018", "no", "r1"))
    request.refuse(ErrorEvent("60033", "no", "r1"))
    assert request.is_ambiguous
    assert request.refused == {}


def test_an_error_of_the_whole_request_is_asked_one_by_one():
    request = request_of(BTC, ETH)
    request.refuse(ErrorEvent("60012", "Invalid request", "r1"))
    assert request.is_ambiguous


def test_an_error_of_the_only_argument_is_its_own():
    request = request_of(BTC)
    request.refuse(ErrorEvent("60012", "Invalid request", "r1"))
    assert list(request.refused) == [BTC]


@pytest.mark.parametrize("code", ["60014", "64007", "63999"])
def test_a_busy_server_refuses_nothing(code):
    request = request_of(BTC, ETH)
    request.ack(ack(BTC))
    request.refuse(ErrorEvent(code, "later", "r1"))
    assert request.is_busy
    assert request.refused == {}
    assert msgspec.json.decode(request.begin("r2"))["args"] == [ETH.arg()]
    assert not request.is_busy


def test_an_error_after_the_acknowledgement_names_the_book_it_is_about():
    coarse, fine = book("BTC-USDT"), book("BTC-USDT", "books-l2-tbt")
    request = request_of(fine, coarse, BTC)
    for channel in (fine, coarse):
        request.ack(ack(channel))
    assert request.refuse(ErrorEvent("64004", "books-l2-tbt is subscribed", "r1")) == coarse
    assert list(request.waiting) == [BTC]


def test_a_late_error_of_a_single_argument_is_its_own():
    request = request_of(BTC)
    request.ack(ack(BTC))
    assert request.refuse(ErrorEvent("64003", "no", "r1")) == BTC


def test_channels_without_an_instrument_are_named_by_their_kind():
    request = request_of(instruments("SPOT"), instruments("SWAP"), orders())
    request.refuse(ErrorEvent("60018", "Wrong channel:instruments,instType:SWAP", "r1"))
    assert list(request.refused) == [instruments("SWAP")]
