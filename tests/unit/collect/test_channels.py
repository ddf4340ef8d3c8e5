"""The words of what is collected."""

import pytest

from quantkit.collect.channels import channel_words, streams_of
from quantkit.errors import ConfigError
from quantkit.feeds.okx.source import OkxSource
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream

SPOT = Instrument(id="BTC-USDT", kind="spot", base="BTC", quote="USDT", price_step="0.1", qty_step="0.001")
SWAP = Instrument(
    id="BTC-USDT-SWAP", kind="swap", base="BTC", quote="USDT", settle="USDT", price_step="0.1", qty_step="0.01"
)
KNOWN = {each.id: each for each in (SPOT, SWAP)}


def test_words_become_the_streams_of_the_instruments_that_have_them() -> None:
    """A spot pair has no funding, and nobody is told of that twice."""
    words = channel_words("trades, books,trades,candles-5m,funding,tiers,price-limit")
    assert words == ["trades", "books", "candles-5m", "funding", "tiers", "price-limit"]
    streams = streams_of(["BTC-USDT", "BTC-USDT-SWAP", "BTC-USDT"], words, KNOWN, OkxSource)
    spot = [Stream("trade", "BTC-USDT"), Stream("book", "BTC-USDT"), Stream("candle", "BTC-USDT", "5m")]
    assert streams[:4] == [*spot, Stream("price_limit", "BTC-USDT")]
    assert [stream.kind for stream in streams[4:]] == [
        "trade",
        "book",
        "candle",
        "funding",
        "position_tier",
        "price_limit",
    ]


@pytest.mark.parametrize("text", ["", ",", "candles", "candles-7m", "quotes", "trade"])
def test_words_that_are_none_are_told(text: str) -> None:
    """With those that are."""
    with pytest.raises(ConfigError, match=r"trades.*candles-1m"):
        channel_words(text)


def test_without_channels_the_usual_ones_are_taken_that_there_are() -> None:
    """Nobody named funding of a spot pair, so nobody is told off for it."""
    found = {stream.kind for stream in streams_of(["BTC-USDT"], None, KNOWN, OkxSource)}
    assert found == {"trade", "book", "ticker", "candle"}


def test_what_is_not_there_is_told() -> None:
    """An instrument, or a channel that none of them has."""
    with pytest.raises(ConfigError, match="did you mean BTC-USDT"):
        streams_of(["btc-usdt"], ["trades"], KNOWN, OkxSource)
    with pytest.raises(ConfigError, match="2 instruments are"):
        streams_of(["ETH-USDT"], ["trades"], KNOWN, OkxSource)
    with pytest.raises(ConfigError, match="none of the instruments has funding, tiers"):
        streams_of(["BTC-USDT"], ["trades", "funding", "tiers"], KNOWN, OkxSource)
