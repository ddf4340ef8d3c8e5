"""Tardis.dev's CSV files: both clocks, every venue in one form."""

import re
from typing import Final

from quantkit.importers.formats.bybit import inverse as bybit_inverse
from quantkit.importers.formats.bybit import linear as bybit_linear
from quantkit.importers.formats.record import Format, Named
from quantkit.importers.formats.symbols import binance, binance_inverse, binance_linear, joined, of_venue, okx

_COMMON: Final = "exchange,symbol,timestamp,local_timestamp,"
_STAMPED: Final = {"venue": "exchange", "instrument": "symbol", "time": "timestamp", "received": "local_timestamp"}
_TRADE: Final = {**_STAMPED, "trade_id": "id", "side": "side", "price": "price", "qty": "amount"}
_TICKER: Final = {
    **_STAMPED,
    "bid": "bid_price",
    "bid_qty": "bid_amount",
    "ask": "ask_price",
    "ask_qty": "ask_amount",
}
_WHICH: Final = "Are these trades or liquidations?"


def market(venue: str, symbol: str) -> Named:
    """Return the instrument of a venue, as Tardis writes both.

    Examples:
        >>> market("okex-swap", "BTC-USDT-SWAP").id, market("binance-futures", "BTCUSDT").id
        ('BTC-USDT-SWAP', 'binance:BTC-USDT-SWAP')
        >>> market("deribit", "BTC-PERPETUAL").id, market("coinbase", "BTC-USD").id, market("huobi-dm-swap", "X").id
        ('deribit:BTC-USD-SWAP', 'coinbase:BTC-USD', 'huobi-dm-swap:X')
    """
    match venue:
        case "okex" | "okex-swap" | "okex-futures" | "okex-spreads":
            return okx(symbol)
        case "binance" | "binance-us":
            return binance(symbol) if venue == "binance" else of_venue(venue, symbol)
        case "binance-futures":
            return binance_linear(symbol)
        case "binance-delivery":
            return binance_inverse(symbol)
        case "bybit":
            return (
                bybit_inverse(symbol)
                if re.fullmatch(r"[A-Z0-9]+USD(?:[A-Z][0-9]{2})?", symbol)
                else bybit_linear(symbol)
            )
        case "bybit-spot":
            return of_venue("bybit", symbol)
        case "bitmex" if symbol == "XBTUSD":
            return Named("bitmex:BTC-USD-SWAP", {"kind": "swap", "is_inverse": True, "contract_value": "1"})
        case "deribit" if symbol in ("BTC-PERPETUAL", "ETH-PERPETUAL"):
            # Amounts are dollars.
            name = f"deribit:{symbol[:3]}-USD-SWAP"
            return Named(name, {"kind": "swap", "is_inverse": True, "contract_value": "1"})
    is_contract = re.search(r"futures|swap|perp|-dm|deribit|bitmex|delivery|derivatives|dydx|hyperliquid", venue)
    return Named(
        f"{venue}:{joined(symbol)}", {"kind": "swap" if is_contract else "spot"}, in_contracts=bool(is_contract)
    )


FORMATS: Final = (
    Format(
        name="tardis/trades",
        title="Tardis trades",
        holds="trade",
        headers=(_COMMON + "id,side,price,amount",),
        columns=_TRADE,
        path=r"(?i)(?<![a-z])trades?(?![a-z])",
        question=_WHICH,
        market=market,
        unsided=frozenset(("unknown", "")),
    ),
    Format(
        name="tardis/liquidations",
        title="Tardis liquidations",
        holds="none",
        headers=(_COMMON + "id,side,price,amount",),
        path=r"(?i)liquidations",
        question=_WHICH,
        left_out="quantkit has no event for them",
    ),
    Format(
        name="tardis/quotes",
        title="Tardis quotes and book tickers",
        holds="ticker",
        headers=(_COMMON + "ask_amount,ask_price,bid_price,bid_amount",),
        columns=_TICKER,
        market=market,
        needs=("bid", "ask"),
    ),
    Format(
        name="tardis/derivative-ticker",
        title="Tardis derivative tickers",
        holds="mark",
        headers=(
            _COMMON
            + "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price",
        ),
        columns={**_STAMPED, "price": "mark_price"},
        market=market,
        needs=("price",),
        reads_too=(
            Format(
                name="tardis/derivative-ticker",
                title="Tardis derivative tickers",
                holds="funding",
                columns={
                    "venue": "exchange",
                    "instrument": "symbol",
                    "time": "funding_timestamp",
                    "told": "timestamp",
                    "received": "local_timestamp",
                    "rate": "funding_rate",
                },
                market=market,
            ),
        ),
    ),
    Format(
        name="tardis/incremental-book",
        title="Tardis incremental order books",
        holds="book",
        headers=(_COMMON + "is_snapshot,side,price,amount",),
        columns={**_STAMPED, "is_snapshot": "is_snapshot", "side": "side", "price": "price", "qty": "amount"},
        market=market,
        reader="tardis",
    ),
    Format(
        name="tardis/book-snapshot",
        title="Tardis order-book snapshots of 5 or 25 levels",
        holds="book",
        headers=(_COMMON + "asks[0].price,asks[0].amount,bids[0].price,bids[0].amount",),
        columns=_STAMPED,
        levels={
            "bid": "bids[{n}].price",
            "bid_qty": "bids[{n}].amount",
            "ask": "asks[{n}].price",
            "ask_qty": "asks[{n}].amount",
        },
        market=market,
        reader="snapshots",
    ),
)
