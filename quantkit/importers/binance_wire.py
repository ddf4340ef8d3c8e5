"""Binance's JSON: fields of events by their letters, numbers, and symbols."""

import re
from typing import Any, Final

import msgspec

from quantkit.errors import ConfigError, ParseError

_NUMBER: Final = re.compile(r"[0-9]{1,24}(?:\.[0-9]{1,24})?").fullmatch
#: The longest first, so that FDUSD is not taken for USD.
_QUOTES: Final = ("FDUSD", "USDT", "USDC", "BUSD", "USD", "BTC", "ETH")
#: The events that are used.
USED: Final = frozenset(("depthUpdate", "trade", "bookTicker"))


class PriceLevel(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One price level of a book, as text; further items are ignored."""

    price: str
    qty: str


class StreamEvent(msgspec.Struct):
    """The fields of the events that are used, by Binance's letters."""

    event: str = msgspec.field(name="e", default="")
    event_ms: int = msgspec.field(name="E", default=0)
    trade_ms: int = msgspec.field(name="T", default=0)
    symbol: str = msgspec.field(name="s", default="")
    pair: str = msgspec.field(name="ps", default="")
    first_id: int = msgspec.field(name="U", default=0)
    last_id: int = msgspec.field(name="u", default=0)
    prev_id: int | None = msgspec.field(name="pu", default=None)
    bid: list[PriceLevel] | str | None = msgspec.field(name="b", default=None)
    bid_qty: str | None = msgspec.field(name="B", default=None)
    ask: list[PriceLevel] | str | None = msgspec.field(name="a", default=None)
    ask_qty: str | None = msgspec.field(name="A", default=None)
    trade_id: int = msgspec.field(name="t", default=0)
    price: str = msgspec.field(name="p", default="")
    qty: str = msgspec.field(name="q", default="")
    execution: str = msgspec.field(name="X", default="")
    is_buyer_maker: bool | None = msgspec.field(name="m", default=None)


class Line(StreamEvent):
    """A whole line: a combined-stream frame, a bare one, or a REST depth snapshot."""

    data: StreamEvent | None = None
    snapshot_id: int | None = msgspec.field(name="lastUpdateId", default=None)
    snapshot_symbol: str = msgspec.field(name="symbol", default="")
    bids: list[PriceLevel] = []
    asks: list[PriceLevel] = []


class Event(msgspec.Struct):
    """An event of which only the name is wanted."""

    event: str = msgspec.field(name="e", default="")


class AnyLine(msgspec.Struct):
    """A line of which only the event's name is wanted."""

    event: str = msgspec.field(name="e", default="")
    data: Event | None = None


def names_of(symbol: str, market: str) -> tuple[str, dict[str, Any]]:
    """Return the id of a Binance symbol and the fields of its metadata that the market implies.

    Raises:
        ConfigError: The symbol's quote currency is not known.

    Examples:
        >>> names_of("BTCUSDT", "spot")[0], names_of("BTCUSDT", "usdm")[0], names_of("BTCUSD_PERP", "cm")[0]
        ('binance:BTC-USDT', 'binance:BTC-USDT-SWAP', 'binance:BTC-USD-SWAP')
    """
    pair, _, ending = symbol.partition("_")
    quote = next((quote for quote in _QUOTES if pair.endswith(quote) and len(pair) > len(quote)), None)
    if quote is None or not pair.isalnum() or not pair.isascii() or not (ending in ("", "PERP") or ending.isdigit()):
        raise ConfigError(
            f"Binance symbol {symbol[:40]!r} is not understood; say which instrument it is, "
            "for example --instrument binance:BTC-USDT-SWAP"
        )
    base = pair.removesuffix(quote)
    name = f"binance:{base}-{quote}"
    if market == "spot":
        return name, {"kind": "spot", "base": base, "quote": quote}
    kind, name = ("future", f"{name}-{ending}") if ending.isdigit() else ("swap", f"{name}-SWAP")
    if market == "usdm":
        return name, {"kind": kind, "base": base, "quote": quote, "settle": quote}
    value = "100" if base == "BTC" else "10"
    return name, {
        "kind": kind,
        "base": base,
        "quote": quote,
        "settle": base,
        "is_inverse": True,
        "contract_value": value,
    }


def number(text: str) -> float:
    if _NUMBER(text) is None:
        raise ParseError(f"{text[:40]!r} is not a plain number")
    return float(text)


def levels_of(levels: list[PriceLevel]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    prices = tuple([number(level.price) for level in levels])
    if prices and min(prices) <= 0.0:
        raise ParseError("a level's price is not above zero")
    return prices, tuple([number(level.qty) for level in levels])


def check_ids(*ids: int) -> None:
    if not all(-1 <= each < 2**63 for each in ids):
        raise ParseError("an update or trade id is out of range")


def is_spot_quote(frame: StreamEvent) -> bool:
    return frame.event == "" and frame.bid_qty is not None and frame.ask_qty is not None and frame.symbol != ""
