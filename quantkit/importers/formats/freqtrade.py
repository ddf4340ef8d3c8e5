"""freqtrade's own data in Feather: what the rows are, their names alone tell."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named

_CANDLE: Final = OHLCV | {"time": "date"}
_HEADER: Final = "date,open,high,low,close,volume"
_SYMBOL: Final = r"^(?P<symbol>[A-Z0-9]+_[A-Z0-9]+(?:_[A-Z0-9]+)?)"


def freqtrade(symbol: str) -> Named:
    """Return the pair that a file's name names; a third part is the currency of a contract's profit.

    Examples:
        >>> freqtrade("BTC_USDT").id, freqtrade("BTC_USDT_USDT").id, freqtrade("BTC_USD_BTC").fields["is_inverse"]
        ('freqtrade:BTC-USDT', 'freqtrade:BTC-USDT-SWAP', True)
    """
    base, quote, *settle = symbol.split("_")
    if not settle:
        return Named(f"freqtrade:{base}-{quote}", {"kind": "spot"})
    is_inverse = settle[0] == base
    # Sizes are coins, whatever the venue counts.
    return Named(f"freqtrade:{base}-{quote}-SWAP", {"kind": "swap", "is_inverse": is_inverse}, in_contracts=is_inverse)


FORMATS: Final = (
    *(
        Format(
            name=f"freqtrade/{name}",
            title=f"freqtrade {name}",
            holds=holds,
            container="arrow",
            headers=(_HEADER,),
            columns=columns,
            name_pattern=rf"{_SYMBOL}-(?P<interval>[0-9]+[mhdw]){ending}\.feather$",
            needs_name=True,
            instrument=freqtrade,
        )
        for name, holds, ending, columns in (
            ("candles", "candle", "(?:-futures)?", _CANDLE),
            ("marks", "mark", "-mark", {"time": "date", "price": "open"}),
            # The rate stands where the opening price would.
            ("funding", "funding", "-funding_rate", {"time": "date", "rate": "open"}),
        )
    ),
    Format(
        name="freqtrade/trades",
        title="freqtrade trades",
        holds="trade",
        container="arrow",
        headers=("timestamp,id,type,side,price,amount,cost",),
        columns={"time": "timestamp", "trade_id": "id", "side": "side", "price": "price", "qty": "amount"},
        name_pattern=_SYMBOL + r"-trades\.feather$",
        needs_name=True,
        instrument=freqtrade,
    ),
)
