"""The channels: their paths, the keys that they need, and OKX's answer to a wrong arg."""

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from quantkit.sandbox import wire
from quantkit.sandbox.bars import is_bar

PATHS: Final = ("public", "business", "private")
#: Books that are sent as a snapshot and updates.
CHAINED: Final = ("books", "books-l2-tbt", "books50-l2-tbt")
BOOKS: Final = (*CHAINED, "books5", "bbo-tbt")
#: Private channels of which one user may hold a limited number of connections.
COUNTED: Final = (
    "orders",
    "account",
    "positions",
    "balance_and_position",
    "liquidation-warning",
    "account-greeks",
)
#: Private channels on the path of business; nothing happens in them yet.
_ALGO: Final = ("orders-algo", "algo-advance")
_VIP: Final = ("books-l2-tbt", "books50-l2-tbt", "fills")
_PUBLIC_BY_ID: Final = (
    *BOOKS,
    "tickers",
    "trades",
    "funding-rate",
    "mark-price",
    "index-tickers",
    "open-interest",
    "price-limit",
)
_BY_TYPE: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")
#: Public channels that are subscribed for a type of instruments, with the types that they take.
_PUBLIC_BY_TYPE: Final = {"instruments": _BY_TYPE, "liquidation-orders": _BY_TYPE[1:]}
#: Private channels that are subscribed for a type of instruments.
_PRIVATE_BY_TYPE: Final = ("orders", "positions", "liquidation-warning", *_ALGO)
#: Candles, by what their channels are called before the bar: of trades, of the mark, of an index.
CANDLES: Final = ("candle", "mark-price-candle", "index-candle")


class Topic(NamedTuple):
    """The source of a subscription: a channel, and an instrument or index id, a type, or nothing."""

    channel: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.channel} {self.key}".rstrip()


class TopicSubscription(msgspec.Struct):
    """One arg that a connection holds.

    Attributes:
        topic: Where its data come from.
        arg: The JSON as sent; acks echo it, and it identifies the subscription.
        head: The arg at the beginning of pushes; private channels add the user.
        fields: The arg's keys.
    """

    topic: Topic
    arg: str
    head: str
    fields: dict[str, str]
    is_live: bool = True


class ChannelRefusal(NamedTuple):
    """An error for one arg: OKX's code, and the values in its text."""

    code: str
    details: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """OKX's text."""
        return wire.TEXTS[self.code].format(*self.details)


def home_of(channel: str) -> str | None:
    """Return the path a channel lives on, None for one that does not exist."""
    if channel in _PUBLIC_BY_ID or channel in _PUBLIC_BY_TYPE or channel == "status":
        return "public"
    if channel in ("trades-all", *_ALGO) or bar_of(channel):
        return "business"
    return "private" if channel in COUNTED or channel == "fills" else None


@lru_cache(maxsize=256)
def bar_of(channel: str) -> str:
    """Return the bar of a channel of candles; empty for any other.

    Examples:
        >>> bar_of("candle1m"), bar_of("mark-price-candle1H"), bar_of("index-candle1s"), bar_of("books")
        ('1m', '1H', '', '')
    """
    for kind in CANDLES:
        bar = channel.removeprefix(kind)
        # A mark and an index have no bars of one second.
        if bar != channel and is_bar(bar) and (bar != "1s" or kind == "candle"):
            return bar
    return ""


def is_private(channel: str) -> bool:
    """Return whether a channel is about a user."""
    return channel in _ALGO or home_of(channel) == "private"


def key_of(fields: dict[str, str]) -> str:
    """Return what an arg of a public channel is about: an instrument or index, a type, or nothing."""
    return fields.get("instType" if fields.get("channel") in _PUBLIC_BY_TYPE else "instId", "")


def topic_of(fields: dict[str, str], *, path: str) -> Topic | ChannelRefusal:
    """Return the topic that an arg names on a path, or why there is none.

    Whether the instrument exists is for the market to say.

    Examples:
        >>> topic_of({"channel": "candle1m", "instId": "BTC-USDT"}, path="business")
        Topic(channel='candle1m', key='BTC-USDT')
        >>> topic_of({"channel": "candle1m", "instId": "BTC-USDT"}, path="public").code
        '64001'
    """
    channel = fields.get("channel", "")
    home = home_of(channel)
    if home is None:
        return unknown(fields)
    if home != path:
        if home == "business":
            return ChannelRefusal("64001")
        return ChannelRefusal("64002") if path == "business" else unknown(fields)
    key = key_of(fields)
    if is_private(channel):
        kind = fields.get("instType", "")
        if channel in _PRIVATE_BY_TYPE and kind not in (*_BY_TYPE, "ANY"):
            return unknown(fields)
        return Topic(channel)
    if channel == "status":
        return Topic(channel)
    if channel in _PUBLIC_BY_TYPE:
        return Topic(channel, key) if key in _PUBLIC_BY_TYPE[channel] else unknown(fields)
    return Topic(channel, key) if key else unknown(fields)


def unknown(fields: dict[str, str]) -> ChannelRefusal:
    """Return OKX's answer to an arg that names nothing: the keys it was asked for, in the text."""
    return ChannelRefusal("60018", (",".join(f"{name}:{value}" for name, value in fields.items()),))


def needs_vip(channel: str) -> bool:
    """Return whether a channel is for higher fee tiers only."""
    return channel in _VIP


def needs_login(channel: str) -> bool:
    """Return whether a channel is only for who has logged in."""
    return channel in _VIP or is_private(channel)
