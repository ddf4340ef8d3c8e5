"""quantkit: write one trading strategy, replay it over recorded markets, and trust the fills and the money."""

import importlib

#: As in `typing`, whose import would take longer than all else that happens here.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from quantkit.api import backtest, paper, paper_async
    from quantkit.collect.download import download
    from quantkit.errors import (
        ConfigError,
        DataError,
        FeedError,
        OrderError,
        QuantkitError,
        StrategyError,
    )
    from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, OpenInterest, Ticker, Trade
    from quantkit.execution import Iceberg, Twap
    from quantkit.feeds.okx.config import OkxConfig
    from quantkit.feeds.okx.ws.client import OkxClient
    from quantkit.fees import Fees
    from quantkit.instruments import Instrument, Side
    from quantkit.latency import Latency
    from quantkit.live.commands import RunCommands
    from quantkit.loading import load_strategy
    from quantkit.orderbook import Book
    from quantkit.orders import (
        Fill,
        Order,
        OrderState,
        OrderType,
        PositionSide,
        StopLoss,
        TakeProfit,
        TimeInForce,
        TriggerType,
    )
    from quantkit.portfolio import Portfolio, Position
    from quantkit.proving.check import check
    from quantkit.report.result import Result
    from quantkit.research.catalog import Catalog
    from quantkit.sizes import Cash, Pct, Risk
    from quantkit.strategy import Strategy

__version__ = "0.6.0"

#: Where each public name lives; loaded when first asked for, so that `import quantkit` costs next to nothing.
_HOMES = {
    "Book": "quantkit.orderbook",
    "BookUpdate": "quantkit.events",
    "Candle": "quantkit.events",
    "Cash": "quantkit.sizes",
    "Catalog": "quantkit.research.catalog",
    "ConfigError": "quantkit.errors",
    "DataError": "quantkit.errors",
    "FeedError": "quantkit.errors",
    "Fees": "quantkit.fees",
    "Fill": "quantkit.orders",
    "Funding": "quantkit.events",
    "Gap": "quantkit.events",
    "Iceberg": "quantkit.execution",
    "Instrument": "quantkit.instruments",
    "Latency": "quantkit.latency",
    "Margin": "quantkit.margin",
    "Mark": "quantkit.events",
    "OkxClient": "quantkit.feeds.okx.ws.client",
    "OkxConfig": "quantkit.feeds.okx.config",
    "OpenInterest": "quantkit.events",
    "Order": "quantkit.orders",
    "OrderError": "quantkit.errors",
    "OrderState": "quantkit.orders",
    "OrderType": "quantkit.orders",
    "Pct": "quantkit.sizes",
    "Portfolio": "quantkit.portfolio",
    "Position": "quantkit.portfolio",
    "PositionSide": "quantkit.orders",
    "QuantkitError": "quantkit.errors",
    "Result": "quantkit.report.result",
    "Risk": "quantkit.sizes",
    "RunCommands": "quantkit.live.commands",
    "Side": "quantkit.orders",
    "StopLoss": "quantkit.orders",
    "Strategy": "quantkit.strategy",
    "StrategyError": "quantkit.errors",
    "TakeProfit": "quantkit.orders",
    "Ticker": "quantkit.events",
    "TimeInForce": "quantkit.orders",
    "Trade": "quantkit.events",
    "Twap": "quantkit.execution",
    "TriggerType": "quantkit.orders",
    "backtest": "quantkit.api",
    "check": "quantkit.proving.check",
    "download": "quantkit.collect.download",
    "load_strategy": "quantkit.loading",
    "paper": "quantkit.api",
    "paper_async": "quantkit.api",
}

__all__ = [
    "Book",
    "BookUpdate",
    "Candle",
    "Cash",
    "Catalog",
    "ConfigError",
    "DataError",
    "FeedError",
    "Fees",
    "Fill",
    "Funding",
    "Gap",
    "Iceberg",
    "Instrument",
    "Latency",
    "Margin",
    "Mark",
    "OkxClient",
    "OkxConfig",
    "OpenInterest",
    "Order",
    "OrderError",
    "OrderState",
    "OrderType",
    "Pct",
    "Portfolio",
    "Position",
    "PositionSide",
    "QuantkitError",
    "Result",
    "Risk",
    "RunCommands",
    "Side",
    "StopLoss",
    "Strategy",
    "StrategyError",
    "TakeProfit",
    "Ticker",
    "TimeInForce",
    "Trade",
    "TriggerType",
    "Twap",
    "backtest",
    "check",
    "download",
    "load_strategy",
    "paper",
    "paper_async",
]


def __getattr__(name: str) -> "Any":
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'quantkit' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
