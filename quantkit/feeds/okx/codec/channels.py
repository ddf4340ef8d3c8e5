"""What can be subscribed: one channel's name and arguments, on which path it lives, and helpers that build them."""

from typing import Final, Literal, TypeAlias

import msgspec

from quantkit.clock import INTERVALS, interval_ns
from quantkit.errors import ConfigError
from quantkit.instruments import check_id
from quantkit.rows.columns import Stream

WsPath: TypeAlias = Literal["public", "business", "private"]

#: The three WebSocket paths.
PATHS: Final[tuple[WsPath, ...]] = ("public", "business", "private")
#: Book channels that send a snapshot and then changes; OKX wants few of them on one connection.
DEPTH: Final = frozenset({"books", "books-l2-tbt", "books50-l2-tbt"})
#: The channels of rows each of which replaces the one before, and the kinds of these rows.
FLOWS: Final = {
    "tickers": "ticker",
    "bbo-tbt": "ticker",
    "mark-price": "mark",
    "index-tickers": "mark",
    "open-interest": "open_interest",
}
#: The kinds of rows beside candles that OKX sends of each kind of instrument.
STREAM_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "spot": ("book", "ticker", "trade"),
    "future": ("book", "ticker", "trade", "mark", "open_interest"),
    "swap": ("book", "ticker", "trade", "mark", "open_interest", "funding"),
}
_VIP_BOOKS: Final = frozenset({"books-l2-tbt", "books50-l2-tbt"})
_PRIVATE: Final = frozenset(
    {"account", "positions", "balance_and_position", "orders", "fills", "liquidation-warning", "account-greeks"}
)
_BUSINESS: Final = ("candle", "mark-price-candle", "index-candle", "trades-all", "sprd-")
_BUSINESS_LOGIN: Final = (
    "orders-algo",
    "algo-advance",
    "grid-",
    "deposit-info",
    "withdrawal-info",
    "economic-calendar",
)
_KINDS: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "ANY")
#: From this length on OKX's plain bars open on UTC+8, and those that open on UTC have names of their own.
_FIRST_UTC_BAR: Final = "6h"


class Channel(msgspec.Struct, frozen=True):
    """One subscription; channels that are equal by value are the same one.

    Attributes:
        name: OKX's name of the channel, such as `books` or `candle1m`.
        inst_id, inst_type, inst_family, ccy, extra_params: Its arguments; the empty ones are not sent.
    """

    name: str
    inst_id: str = ""
    inst_type: str = ""
    inst_family: str = ""
    ccy: str = ""
    extra_params: str = ""

    @property
    def path(self) -> WsPath:
        """The WebSocket path that serves it.

        Examples:
            >>> tickers("BTC-USDT").path, candles("BTC-USDT", "1m").path, account().path
            ('public', 'business', 'private')
        """
        if self.name in _PRIVATE:
            return "private"
        return "business" if self.name.startswith(_BUSINESS + _BUSINESS_LOGIN) else "public"

    @property
    def is_depth(self) -> bool:
        """Whether it sends a book as a snapshot and changes."""
        return self.name in DEPTH

    @property
    def is_book(self) -> bool:
        """Whether it brings rows of a book: the depth channels, and `books5`, which always sends the whole book."""
        return self.name in DEPTH or self.name == "books5"

    @property
    def needs_login(self) -> bool:
        """Whether its connection has to be logged in."""
        return self.name in _PRIVATE or self.name in _VIP_BOOKS or self.name.startswith(_BUSINESS_LOGIN)

    def arg(self) -> dict[str, str]:
        """Return the argument as sent in a request.

        Examples:
            >>> positions().arg()
            {'channel': 'positions', 'instType': 'ANY'}
        """
        pairs = (
            ("channel", self.name),
            ("instType", self.inst_type),
            ("instFamily", self.inst_family),
            ("instId", self.inst_id),
            ("ccy", self.ccy),
            ("extraParams", self.extra_params),
        )
        return {key: value for key, value in pairs if value}

    def __str__(self) -> str:
        return " ".join(part for part in msgspec.structs.astuple(self) if part)


def bar_of(interval: str) -> str:
    """Return OKX's name of a candle interval that opens on UTC.

    Raises:
        ConfigError: The interval is not known.

    Examples:
        >>> bar_of("1m"), bar_of("4h"), bar_of("6h"), bar_of("1d")
        ('1m', '4H', '6Hutc', '1Dutc')
    """
    bar = interval if interval_ns(interval) < INTERVALS["1h"] else interval.upper()
    return bar if interval_ns(interval) < INTERVALS[_FIRST_UTC_BAR] else f"{bar}utc"


def tickers(instrument: str) -> Channel:
    """Return the best bid and offer with the last trade, at most every 100 ms."""
    return Channel("tickers", _id(instrument))


def bbo(instrument: str) -> Channel:
    """Return the best bid and offer of the book, at most every 10 ms."""
    return Channel("bbo-tbt", _id(instrument))


def trades(instrument: str) -> Channel:
    """Return public trades, one row for each taker order and price."""
    return Channel("trades", _id(instrument))


def trades_all(instrument: str) -> Channel:
    """Return public trades, one row for each match."""
    return Channel("trades-all", _id(instrument))


def candles(instrument: str, interval: str) -> Channel:
    """Return candles of an interval such as `1m`; those of 6h and longer open on UTC.

    Raises:
        ConfigError: The interval is not known.
    """
    return Channel(f"candle{bar_of(interval)}", _id(instrument))


def book(instrument: str, kind: str = "books") -> Channel:
    """Return the order book.

    Args:
        instrument: The id.
        kind: `books` (400 levels, 100 ms), `books5` (5 levels, sent whole), or for VIP accounts `books-l2-tbt` and
            `books50-l2-tbt` (400 and 50 levels, 10 ms).

    Raises:
        ConfigError: `kind` is something else.
    """
    kinds = ("books", "books5", "books-l2-tbt", "books50-l2-tbt")
    if kind not in kinds:
        raise ConfigError(f"book kind {kind!r} is not known; use one of {', '.join(kinds)}")
    return Channel(kind, _id(instrument))


def funding_rate(instrument: str) -> Channel:
    """Return the predicted and the last settled funding rate of a swap."""
    return Channel("funding-rate", _id(instrument))


def mark_price(instrument: str) -> Channel:
    """Return mark prices."""
    return Channel("mark-price", _id(instrument))


def index_tickers(index: str) -> Channel:
    """Return the prices of an index such as `BTC-USDT`; a swap's id is not an index.

    Raises:
        ConfigError: The id is a swap's.
    """
    if index.endswith("-SWAP"):
        raise ConfigError(f"index tickers: {index!r} is a swap; name its index {index.removesuffix('-SWAP')!r}")
    return Channel("index-tickers", _id(index))


def open_interest(instrument: str) -> Channel:
    """Return open interest, at most every 3 s."""
    return Channel("open-interest", _id(instrument))


def instruments(inst_type: str) -> Channel:
    """Return changes of the metadata of a kind: `SPOT`, `SWAP`, `FUTURES`, `OPTION` or `MARGIN`.

    Raises:
        ConfigError: The kind is something else.
    """
    if inst_type == "ANY":
        raise ConfigError(
            "instruments: OKX has no channel for ANY kind; subscribe to SPOT, SWAP and FUTURES one by one"
        )
    return Channel("instruments", inst_type=_kind(inst_type))


def status() -> Channel:
    """Return news of planned and running maintenance."""
    return Channel("status")


def account(ccy: str = "") -> Channel:
    """Return balances of the account, of one currency or all."""
    return Channel("account", ccy=ccy)


def positions(inst_type: str = "ANY") -> Channel:
    """Return open positions of a kind of instrument."""
    return Channel("positions", inst_type=_kind(inst_type))


def balance_and_position() -> Channel:
    """Return balances and positions, pushed fast and only on change."""
    return Channel("balance_and_position")


def orders(inst_type: str = "ANY") -> Channel:
    """Return the account's orders of a kind of instrument as they change."""
    return Channel("orders", inst_type=_kind(inst_type))


def fills() -> Channel:
    """Return the account's fills (VIP accounts)."""
    return Channel("fills")


def channel_of(stream: Stream) -> Channel:
    """Return the channel that brings a stream's rows.

    Raises:
        ConfigError: OKX has none for it.

    Examples:
        >>> str(channel_of(Stream("candle", "BTC-USDT", "6h")))
        'candle6Hutc BTC-USDT'
    """
    match stream.kind:
        case "ticker":
            return tickers(stream.instrument)
        case "trade":
            return trades(stream.instrument)
        case "book":
            return book(stream.instrument)
        case "candle":
            return candles(stream.instrument, stream.interval)
        case "mark":
            return mark_price(stream.instrument)
        case "funding":
            return funding_rate(stream.instrument)
        case "open_interest":
            return open_interest(stream.instrument)
        case kind:
            raise ConfigError(f"{stream}: OKX has no live channel for rows of kind {kind!r}")


def _id(instrument: str) -> str:
    check_id(instrument)
    if ":" in instrument:
        venue, _, rest = instrument.partition(":")
        what = (
            "is written with its exchange" if venue.casefold() == "okx" else f"is an instrument of {venue}, not of OKX"
        )
        raise ConfigError(f"{instrument}: {what}; did you mean {rest!r}?")
    return instrument


def _kind(inst_type: str) -> str:
    if inst_type not in _KINDS:
        raise ConfigError(f"instrument kind {inst_type!r} is not known; use one of {', '.join(_KINDS)}")
    return inst_type
