"""Binance's public archive, `data.binance.vision`: one CSV in a zip, with or without a header."""

from typing import Final

import numpy as np

from quantkit.clock import NS_PER_MIN, NS_PER_S
from quantkit.importers.formats.record import OHLCV, Format, Named, Table
from quantkit.importers.formats.symbols import binance, binance_inverse, binance_linear

_KLINES: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
_PRICES: Final = "open:number high:number low:number close:number volume:number"
_SHAPE: Final = (
    "open_time:{0} " + _PRICES + " close_time:{0} quote_volume:number count:int taker_buy_volume:number "
    "taker_buy_quote_volume:number ignore:any"
)
_KLINE_NAME: Final = r"^(?P<symbol>[A-Z0-9_]+)-(?P<interval>[0-9]+(?:mo|[smhdw]))-[0-9]{4}-"
_NAME: Final = r"^(?P<symbol>[A-Z0-9_]+)-(?:aggTrades|trades|fundingRate|bookTicker|bookDepth|metrics)-[0-9]{4}-"
_CANDLE: Final = OHLCV | {"time": "open_time"}
#: A kline's close is known one unit after its close time: rounding to the second reaches it.
_MARK: Final = {"time": "close_time", "price": "close"}
_TRADE: Final = {"trade_id": "id", "price": "price", "qty": "qty", "time": "time", "is_buyer_maker": "is_buyer_maker"}
_AGGREGATE: Final = {
    "trade_id": "agg_trade_id",
    "price": "price",
    "qty": "quantity",
    "time": "transact_time",
    "is_buyer_maker": "is_buyer_maker",
}
_TICKER: Final = {
    "time": "transaction_time",
    "received": "event_time",
    "bid": "best_bid_price",
    "bid_qty": "best_bid_qty",
    "ask": "best_ask_price",
    "ask_qty": "best_ask_qty",
}
_WHICH: Final = "Are these klines of trades, of mark prices, of index prices or of the premium?"


def _futures(symbol: str) -> Named:
    """Return a contract by its symbol: coin-margined ones end in `USD_PERP` or `USD_` and a date."""
    return binance_inverse(symbol) if "USD_" in symbol else binance_linear(symbol)


def _has_one_interval(table: Table) -> bool:
    """Return whether each row closes one unit before an interval is over, and intervals are equal."""
    lengths = table.numbers("close_time") - table.numbers("open_time") + 1
    return bool((lengths > 0).all()) and len(np.unique(lengths)) <= 4  # months differ


def _is_traded(table: Table) -> bool:
    flat = (table.numbers("high") == table.numbers("low")).all()
    return _has_one_interval(table) and bool(table.numbers("volume").any() or flat)


def _is_priced(table: Table) -> bool:
    """Return whether prices move without trades, as those of marks and indices do."""
    idle = not table.numbers("volume").any() and not table.numbers("count").any()
    return _has_one_interval(table) and idle and bool((table.numbers("low") > 0).all())


def _is_premium(table: Table) -> bool:
    idle = not table.numbers("volume").any() and not table.numbers("count").any()
    return _has_one_interval(table) and idle and bool((np.abs(table.numbers("close")) < 1).all())


def _is_linear(table: Table) -> bool:
    return not any("USD_" in symbol for symbol in table.texts("symbol"))


def _is_inverse(table: Table) -> bool:
    return all("USD_" in symbol for symbol in table.texts("symbol"))


FORMATS: Final = (
    Format(
        name="binance/spot-klines",
        title="Binance spot klines",
        holds="candle",
        shapes=(_SHAPE.format("ms|us"),),
        columns=_CANDLE,
        test=_is_traded,
        test_says="with trades in the rows",
        path=r"(?i)[/\\]spot[/\\]",
        question="Are they of the spot market or of futures?",
        name_pattern=_KLINE_NAME,
        instrument=binance,
    ),
    Format(
        name="binance/futures-klines",
        title="Binance futures klines",
        holds="candle",
        headers=(_KLINES,),
        shapes=(_SHAPE.format("ms"),),
        columns=_CANDLE,
        test=_is_traded,
        test_says="with trades in the rows",
        path=r"(?i)futures.*[/\\]klines|[/\\](?:um|cm)[/\\].*[/\\]klines",
        question=_WHICH,
        name_pattern=_KLINE_NAME,
        instrument=_futures,
    ),
    *(
        Format(
            name=f"binance/{kind}-klines",
            title=f"Binance klines of {kind} prices",
            holds="mark",
            headers=(_KLINES,),
            shapes=(_SHAPE.format("ms"),),
            columns=_MARK,
            test=_is_priced,
            test_says="with prices that move without trades",
            path=rf"(?i){kind}PriceKlines",
            question=_WHICH,
            name_pattern=_KLINE_NAME,
            instrument=_futures,
            round_ns=NS_PER_S,
            source=kind,
        )
        for kind in ("mark", "index")
    ),
    Format(
        name="binance/premium-klines",
        title="Binance klines of the premium index",
        holds="none",
        headers=(_KLINES,),
        shapes=(_SHAPE.format("ms"),),
        test=_is_premium,
        test_says="with values near zero that move without trades",
        path=r"(?i)premiumIndexKlines",
        question=_WHICH,
        left_out="quantkit has no event for them",
    ),
    Format(
        name="binance/spot-aggtrades",
        title="Binance spot aggregate trades",
        holds="trade",
        shapes=(
            "agg_trade_id:int price:number quantity:number first:int last:int transact_time:ms|us is_buyer_maker:bool "
            "best:bool",
        ),
        columns=_AGGREGATE,
        name_pattern=_NAME,
        instrument=binance,
    ),
    Format(
        name="binance/futures-aggtrades",
        title="Binance futures aggregate trades",
        holds="trade",
        headers=("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",),
        shapes=(
            "agg_trade_id:int price:number quantity:number first:int last:int transact_time:ms is_buyer_maker:bool",
        ),
        columns=_AGGREGATE,
        name_pattern=_NAME,
        instrument=_futures,
    ),
    Format(
        name="binance/spot-trades",
        title="Binance spot trades",
        holds="trade",
        shapes=("id:int price:number qty:number quote_qty:number time:ms|us is_buyer_maker:bool best:bool",),
        columns=_TRADE,
        name_pattern=_NAME,
        instrument=binance,
    ),
    Format(
        name="binance/futures-trades",
        title="Binance futures trades",
        holds="trade",
        headers=("id,price,qty,quote_qty,time,is_buyer_maker", "id,price,qty,base_qty,time,is_buyer_maker"),
        shapes=("id:int price:number qty:number quote_qty:number time:ms is_buyer_maker:bool",),
        columns=_TRADE,
        name_pattern=_NAME,
        instrument=_futures,
        one_sided="since July 2026 Binance's files of single trades say so of every row; aggTrades have the sides",
    ),
    Format(
        name="binance/funding",
        title="Binance settled funding rates",
        holds="funding",
        headers=("calc_time,funding_interval_hours,last_funding_rate",),
        columns={"time": "calc_time", "rate": "last_funding_rate"},
        name_pattern=_NAME,
        instrument=_futures,
        round_ns=NS_PER_MIN,
    ),
    Format(
        name="binance/bookticker",
        title="Binance best bid and offer",
        holds="ticker",
        headers=("update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",),
        columns=_TICKER,
        name_pattern=_NAME,
        instrument=_futures,
    ),
    Format(
        name="binance/bookdepth",
        title="Binance depth in bands around the price",
        holds="none",
        headers=("timestamp,percentage,depth,notional",),
        left_out="sums of depth in bands are no order book",
    ),
    *(
        Format(
            name=f"binance/{name}metrics",
            title=f"Binance open interest of {says} futures",
            holds="open_interest",
            headers=("create_time,symbol,sum_open_interest,sum_open_interest_value",),
            columns={"time": "create_time", "instrument": "symbol", "qty": "sum_open_interest", **more},
            test=test,
            name_pattern=_NAME,
            instrument=_futures,
            zone="UTC",
            notes=("ratios of long and short accounts in Binance's metrics have no event, and stay out",),
        )
        for name, says, test, more in (
            ("", "dollar-margined", _is_linear, {"usd": "sum_open_interest_value"}),
            ("coin-", "coin-margined", _is_inverse, {}),
        )
    ),
    Format(
        name="binance/t-depth",
        title="Binance historical order books",
        holds="book",
        headers=("symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu",),
        columns={
            "instrument": "symbol",
            "time": "timestamp",
            "first_id": "first_update_id",
            "last_id": "last_update_id",
            "previous_id": "pu",
            "side": "side",
            "action": "update_type",
            "price": "price",
            "qty": "qty",
        },
        instrument=_futures,
        reader="binance",
    ),
)
