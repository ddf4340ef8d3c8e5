"""Channels: their arguments, their paths, and which channel brings which stream."""

import pytest

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BARS
from quantkit.rows.columns import Stream


def test_every_helper_builds_what_okx_wants():
    assert channels.tickers("BTC-USDT").arg() == {"channel": "tickers", "instId": "BTC-USDT"}
    assert channels.bbo("BTC-USDT").arg() == {"channel": "bbo-tbt", "instId": "BTC-USDT"}
    assert channels.trades("BTC-USDT").arg() == {"channel": "trades", "instId": "BTC-USDT"}
    assert channels.trades_all("BTC-USDT").arg() == {"channel": "trades-all", "instId": "BTC-USDT"}
    assert channels.candles("BTC-USDT", "1d").arg() == {"channel": "candle1Dutc", "instId": "BTC-USDT"}
    assert channels.book("BTC-USDT", "books5").arg() == {"channel": "books5", "instId": "BTC-USDT"}
    assert channels.funding_rate("BTC-USDT-SWAP").arg() == {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"}
    assert channels.mark_price("BTC-USDT-SWAP").arg() == {"channel": "mark-price", "instId": "BTC-USDT-SWAP"}
    assert channels.index_tickers("BTC-USDT").arg() == {"channel": "index-tickers", "instId": "BTC-USDT"}
    assert channels.open_interest("BTC-USDT-SWAP").arg() == {"channel": "open-interest", "instId": "BTC-USDT-SWAP"}
    assert channels.instruments("SWAP").arg() == {"channel": "instruments", "instType": "SWAP"}
    assert channels.status().arg() == {"channel": "status"}
    assert channels.account("BTC").arg() == {"channel": "account", "ccy": "BTC"}
    assert channels.positions().arg() == {"channel": "positions", "instType": "ANY"}
    assert channels.balance_and_position().arg() == {"channel": "balance_and_position"}
    assert channels.orders("SPOT").arg() == {"channel": "orders", "instType": "SPOT"}
    assert channels.fills().arg() == {"channel": "fills"}


def test_every_argument_is_sent_under_okx_name():
    channel = Channel("positions", "A-B", "SWAP", "A", "B", '{"updateInterval":"0"}')
    assert channel.arg() == {
        "channel": "positions",
        "instType": "SWAP",
        "instFamily": "A",
        "instId": "A-B",
        "ccy": "B",
        "extraParams": '{"updateInterval":"0"}',
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tickers", "public"),
        ("books-l2-tbt", "public"),
        ("mark-price", "public"),
        ("candle1m", "business"),
        ("mark-price-candle1m", "business"),
        ("index-candle1m", "business"),
        ("trades-all", "business"),
        ("sprd-tickers", "business"),
        ("orders-algo", "business"),
        ("account", "private"),
        ("orders", "private"),
        ("balance_and_position", "private"),
    ],
)
def test_each_channel_has_its_path(name, path):
    assert Channel(name).path == path


def test_login_is_needed_for_accounts_vip_books_and_algo_orders_alone():
    needing = [name for name in ("tickers", "books", "candle1m", "trades-all", "status") if Channel(name).needs_login]
    assert needing == []
    for name in ("account", "fills", "books-l2-tbt", "books50-l2-tbt", "orders-algo", "grid-positions"):
        assert Channel(name).needs_login


def test_depth_channels_are_books_with_changes():
    assert [name for name in ("books", "books5", "bbo-tbt", "books-l2-tbt") if Channel(name).is_depth] == [
        "books",
        "books-l2-tbt",
    ]
    assert Channel("books5").is_book
    assert not Channel("bbo-tbt").is_book


def test_equal_channels_are_one():
    assert len({channels.tickers("A-B"), channels.tickers("A-B"), channels.tickers("A-C")}) == 2


@pytest.mark.parametrize("interval", INTERVALS)
def test_bars_are_those_that_open_on_utc(interval):
    assert BARS[channels.bar_of(interval)] == interval


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (Stream("ticker", "BTC-USDT"), "tickers BTC-USDT"),
        (Stream("trade", "BTC-USDT"), "trades BTC-USDT"),
        (Stream("book", "BTC-USDT"), "books BTC-USDT"),
        (Stream("candle", "BTC-USDT", "1m"), "candle1m BTC-USDT"),
        (Stream("candle", "BTC-USDT", "6h"), "candle6Hutc BTC-USDT"),
        (Stream("mark", "BTC-USDT-SWAP"), "mark-price BTC-USDT-SWAP"),
        (Stream("funding", "BTC-USDT-SWAP"), "funding-rate BTC-USDT-SWAP"),
    ],
)
def test_each_stream_has_its_channel(stream, text):
    assert str(channels.channel_of(stream)) == text


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: channels.channel_of(Stream("gap", "BTC-USDT")), "no live channel"),
        (lambda: channels.tickers("binance:BTC-USDT"), "not of OKX"),
        (lambda: channels.tickers(""), "instrument"),
        (lambda: channels.candles("BTC-USDT", "7m"), "7m"),
        (lambda: channels.book("BTC-USDT", "bbo-tbt"), "books5"),
        (lambda: channels.index_tickers("BTC-USDT-SWAP"), "'BTC-USDT'"),
        (lambda: channels.instruments("ANY"), "SPOT"),
        (lambda: channels.orders("spot"), "SPOT"),
    ],
)
def test_wrong_arguments_say_what_is_right(build, words):
    with pytest.raises(ConfigError, match=words):
        build()
