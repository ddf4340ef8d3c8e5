"""The kinds of data that can be asked of an exchange, by the words of the command line."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, bar_open_ns
from quantkit.errors import ConfigError
from quantkit.feeds.okx.rest.archive import ARCHIVES, ArchiveKind
from quantkit.feeds.okx.rest.ids import index_of, kind_of
from quantkit.rows.columns import Stream


class _Word(NamedTuple):
    """What a kind's word says.

    Attributes:
        kind: Of the rows.
        of: The kinds of instruments that have it.
        takes_interval: Whether an interval follows the word.
        is_past: Whether there is a history of it; else it is what holds now.
        text: In a few words, for help.
    """

    kind: str
    of: tuple[str, ...]
    takes_interval: bool
    is_past: bool
    text: str


_CONTRACTS: Final = ("swap", "future")
_ALL: Final = ("spot", *_CONTRACTS)

#: Every word of a kind.
WORDS: Final[dict[str, _Word]] = {
    "candles": _Word("candle", _ALL, True, True, "bars of trades: candles-1m, candles-1h, candles-1d"),
    "trades": _Word("trade", _ALL, False, True, "public trades, each match by itself; the exchange keeps 3 months"),
    "funding": _Word("funding", ("swap",), False, True, "settled funding rates; the exchange keeps 3 months"),
    "marks": _Word("mark", _CONTRACTS, True, True, "mark prices at the close of bars: marks-1m"),
    "index": _Word("mark", _ALL, True, True, "index prices at the close of bars: index-1m"),
    "books": _Word("book", _ALL, False, True, "books of 400 levels, from daily files alone; out three days late"),
    "open-interest": _Word("open_interest", _CONTRACTS, False, False, "open interest now"),
    "instruments": _Word("instrument", _ALL, False, False, "steps and contract values now; every download takes them"),
    "tiers": _Word("position_tier", _CONTRACTS, False, False, "position tiers now"),
    "price-limit": _Word("price_limit", _ALL, False, False, "the band of order prices now"),
    "fee-rates": _Word("fee_rate", _ALL, False, False, "the account's fees now; needs an API key"),
}


class DownloadKind(NamedTuple):
    """One kind that was asked for.

    Attributes:
        text: As it was written: `candles-1m`.
        word: Its first part: `candles`.
        interval: Of bars, else empty.
    """

    text: str
    word: str
    interval: str

    @property
    def is_past(self) -> bool:
        """Whether there is a history of it."""
        return WORDS[self.word].is_past

    @property
    def length_ns(self) -> int:
        """Of its bars, 0 where it has none."""
        return INTERVALS.get(self.interval, 0)

    @property
    def phase_ns(self) -> int:
        """How much later than a whole multiple of their length its bars open: weeks begin on Monday."""
        return bar_open_ns(self.length_ns, self.interval) % self.length_ns if self.interval else 0

    @property
    def archive(self) -> ArchiveKind | None:
        """The exchange's files of it; None where there are none."""
        return None if self.word == "candles" and self.interval != "1m" else ARCHIVES.get(self.word)

    @property
    def is_filed_only(self) -> bool:
        """Whether its history lies in files alone, and cannot be asked for page by page."""
        return self.word == "books"

    @property
    def piece_ns(self) -> int:
        """How long a span is stored at once; 0 for a month. At most some 100,000 rows wait in memory."""
        if self.word == "trades":
            return NS_PER_DAY // 4
        if self.is_filed_only:
            return NS_PER_DAY
        return NS_PER_DAY if self.interval and self.length_ns < NS_PER_MIN else 0

    def fits(self, instrument: str) -> bool:
        """Return whether an instrument has it."""
        return kind_of(instrument) in WORDS[self.word].of

    def stream(self, instrument: str) -> Stream:
        """Return the stream of its rows; prices of an index are the index's, whatever contract asked."""
        kind = WORDS[self.word].kind
        if self.word == "index":
            return Stream(kind, index_of(instrument))
        return Stream(kind, instrument, self.interval if kind == "candle" else "")


def kinds_of(texts: str | Iterable[str]) -> list[DownloadKind]:
    """Return the kinds of a list with commas, or of several words, each once.

    Raises:
        ConfigError: There is none, or one is not known.

    Examples:
        >>> [kind.word for kind in kinds_of("candles-1m, funding")]
        ['candles', 'funding']
    """
    parts = texts.split(",") if isinstance(texts, str) else list(texts)
    found = list(dict.fromkeys(_kind(part.strip()) for part in parts if part.strip()))
    if not found:
        raise ConfigError(f"no kind of data is named; use {_known()}")
    return found


def _kind(text: str) -> DownloadKind:
    if text in WORDS and not WORDS[text].takes_interval:
        return DownloadKind(text, text, "")
    word, _, interval = text.partition("-")
    if word in WORDS and WORDS[word].takes_interval:
        if interval in INTERVALS:
            return DownloadKind(text, word, interval)
        raise ConfigError(f"kind {text!r} needs an interval: {word}-1m; intervals are {', '.join(INTERVALS)}")
    raise ConfigError(f"kind {text!r} is not known; use {_known()}")


def _known() -> str:
    return ", ".join(f"{word}-1m" if each.takes_interval else word for word, each in WORDS.items())
