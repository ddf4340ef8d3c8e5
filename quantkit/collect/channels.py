"""The words for what is collected, as streams of the instruments that have them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError
from quantkit.events import EVENT_KINDS
from quantkit.feeds.live_source import LiveSource
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream

_CANDLES: Final = "candles-"
#: What has no channel and is asked for again and again.
POLLED: Final = {"tiers": "position_tier", "price-limit": "price_limit", "fee-rates": "fee_rate"}
#: Kinds whose channel has another word than the strategy's subscription.
_WORDS: Final = {"book": "books"}
#: What is recorded where nobody says what, as far as one of the instruments has it.
DEFAULT_CHANNELS: Final = ("trades", "books", "tickers", "candles-1m", "funding", "marks")
#: Kinds of rows by the word of their channel, that of a strategy's subscription; candles name their interval as well.
CHANNELS: Final[dict[str, str]] = {
    _WORDS.get(kind.name, kind.subscription.removeprefix("subscribe_").replace("_", "-")): kind.name
    for kind in EVENT_KINDS.values()
    if kind.subscription is not None and kind.name != "candle"
}


def channel_words(text: str) -> list[str]:
    """Split a list of channels such as `trades,books,candles-1m`.

    Raises:
        ConfigError: One is not known.

    Examples:
        >>> channel_words("trades, candles-1m")
        ['trades', 'candles-1m']
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise ConfigError("no channel is named; use one or more of " + _known())
    for word in words:
        interval = word.removeprefix(_CANDLES)
        if word not in CHANNELS and word not in POLLED and not (word.startswith(_CANDLES) and interval in INTERVALS):
            raise ConfigError(f"channel {word!r} is not known; use {_known()}")
    return words


def streams_of(
    instruments: Iterable[str],
    channels: Collection[str] | None,
    known: Mapping[str, Instrument],
    source: type[LiveSource],
) -> list[Stream]:
    """Return the streams that bring channels of instruments; one that an instrument cannot have is left out.

    Args:
        instruments: Their ids.
        channels: Their words, as `channel_words` returns them; None takes those of `DEFAULT_CHANNELS` that there are.
        known: What the exchange lists, by id.
        source: The exchange.

    Raises:
        ConfigError: An instrument is not listed, or none of them has a channel that is named.
    """
    found: list[Stream] = []
    had: set[str] = set()
    for name in dict.fromkeys(instruments):
        if name not in known:
            close = [each for each in known if each.casefold() == name.casefold()]
            hint = f"did you mean {close[0]}?" if close else f"{len(known)} instruments are"
            raise ConfigError(f"{name} is not listed by the exchange; {hint}")
        sent = {*source.streams_of(known[name]), *source.polled_of(known[name])}
        for word in DEFAULT_CHANNELS if channels is None else channels:
            stream = _stream(word, name)
            if stream in sent:
                found.append(stream)
                had.add(word)
    missing = [word for word in channels or () if word not in had]
    if missing:
        raise ConfigError(f"none of the instruments has {', '.join(missing)}; leave it out, or name one that does")
    return found


def _stream(word: str, name: str) -> Stream:
    if word.startswith(_CANDLES):
        return Stream("candle", name, word.removeprefix(_CANDLES))
    return Stream(CHANNELS.get(word) or POLLED[word], name)


def _known() -> str:
    return f"{', '.join((*CHANNELS, *POLLED))} and candles-1m with any of the intervals {', '.join(INTERVALS)}"
