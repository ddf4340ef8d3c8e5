"""Names of instruments at the venues, as ids of ours."""

import re
from typing import Final

from quantkit.importers.formats.record import Named

#: Currencies of prices, those first that end in another one.
QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDP", "USDG", "USDE", "BIDR", "BVND", "IDRT", "DAI", "EUR", "GBP", "AUD",
    "CAD", "CHF", "JPY", "TRY", "BRL", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON", "ARS", "MXN", "COP", "CZK", "USD",
    "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "DOT", "SOL", "PAX", "VAI",
)  # fmt: skip
_DELIVERY: Final = re.compile(r"(.+)_([0-9]{6})$").match


def pair_of(symbol: str, marks: str = "/-_") -> tuple[str, str] | None:
    """Return base and quote of a symbol, by its separator or by the longest known quote; None where there is none.

    Examples:
        >>> pair_of("BTCUSDT"), pair_of("BTC/USD"), pair_of("1000SHIBUSDC"), pair_of("XYZ")
        (('BTC', 'USDT'), ('BTC', 'USD'), ('1000SHIB', 'USDC'), None)
    """
    text = symbol.upper()
    for mark in marks:
        parts = text.split(mark)
        if len(parts) == 2 and all(parts):
            return parts[0], parts[1]
    quotes = [quote for quote in QUOTES if text.endswith(quote) and len(text) > len(quote)]
    if not quotes:
        return None
    quote = max(quotes, key=len)
    return text.removesuffix(quote), quote


def joined(symbol: str) -> str:
    """Return a spot symbol as BASE-QUOTE, as it is where its quote is unknown.

    Examples:
        >>> joined("ethbtc"), joined("AAPL")
        ('ETH-BTC', 'AAPL')
    """
    pair = pair_of(symbol)
    return symbol.upper() if pair is None else "-".join(pair)


def okx(symbol: str) -> Named:
    """Return the instrument of an OKX name, which is its id.

    Examples:
        >>> okx("BTC-USD-SWAP").fields["is_inverse"], okx("BTC-USDT-SWAP").in_contracts, okx("BTC-USDT").in_contracts
        (True, True, False)
    """
    parts = symbol.upper().split("-")
    if len(parts) < 3:
        return Named(symbol.upper())
    kind = "swap" if parts[2] == "SWAP" else "future"
    # `BTC-USD_UM` is margined in dollars, and so linear.
    fields = {"kind": kind, "is_inverse": parts[1] == "USD"}
    return Named(symbol.upper(), fields, in_contracts=True)


def binance(symbol: str) -> Named:
    """Return a spot pair of Binance.

    Examples:
        >>> binance("BTCUSDT")
        Named(id='binance:BTC-USDT', fields={'kind': 'spot'}, in_contracts=False)
    """
    return Named(f"binance:{joined(symbol)}", {"kind": "spot"})


def binance_linear(symbol: str) -> Named:
    """Return a USD-margined contract of Binance, whose sizes are coins.

    Examples:
        >>> binance_linear("BTCUSDT").id, binance_linear("BTCUSDT_240628").id
        ('binance:BTC-USDT-SWAP', 'binance:BTC-USDT-240628')
    """
    dated = _DELIVERY(symbol)
    if dated:
        return Named(f"binance:{joined(dated[1])}-{dated[2]}", {"kind": "future"})
    return Named(f"binance:{joined(symbol)}-SWAP", {"kind": "swap"})


def binance_inverse(symbol: str) -> Named:
    """Return a coin-margined contract of Binance: 100 dollars for Bitcoin, 10 for the others.

    Examples:
        >>> binance_inverse("BTCUSD_PERP").id, binance_inverse("ETHUSD_240628").fields["contract_value"]
        ('binance:BTC-USD-SWAP', '10')
    """
    name, _, end = symbol.upper().rpartition("_")
    base = name.removesuffix("USD")
    is_swap = end == "PERP"
    fields = {
        "kind": "swap" if is_swap else "future",
        "is_inverse": True,
        "contract_value": "100" if base == "BTC" else "10",
    }
    return Named(f"binance:{base}-USD-{'SWAP' if is_swap else end}", fields)


def of_venue(venue: str, symbol: str) -> Named:
    """Return a spot pair of a venue by the name of both."""
    return Named(f"{venue}:{joined(symbol)}", {"kind": "spot"})
