"""The oracle is a second opinion: no rule of the engine, the broker or the ledger is behind its answers."""

import ast
from pathlib import Path

import pytest

ORACLE = Path(__file__).parents[1] / "oracle"
#: The files that decide what a run comes to; the others in the folder only feed and compare runs.
DECIDING = (
    "engine",
    "exchange",
    "venues",
    "client",
    "ledger",
    "fraction_ledger",
    "curve",
    "book",
    "groups",
    "margins",
    "statistics",
    "impact",
)
#: Records that both sides speak in, the class of strategies that both run, and lengths of intervals.
SHARED = {
    "clock": {"INTERVALS", "duration_ns", "time_ns_of"},
    "errors": {"OrderError"},
    "events": {
        "BookUpdate",
        "Candle",
        "Funding",
        "Gap",
        "Mark",
        "MarketEvent",
        "OpenInterest",
        "PriceLimit",
        "Ticker",
        "Trade",
    },
    "fees": {"Fees"},
    "instruments": {"Instrument", "Side"},
    "orderbook": {"Book"},  # the type of what a hook is given
    "orders": {
        *("Fill", "Order", "OrderRequest", "OrderState", "TimeInForce"),
        *("OrderTerms", "PositionSide", "RequestTerms", "StopLoss", "TakeProfit", "TriggerPrices", "TriggerType"),
    },
    "strategy": {"Strategy", "overrides"},
}
#: Arithmetic of `Instrument` and `Fees`: the oracle reads their fields and counts by itself.
RULES = {
    *("value", "notional", "pnl", "price_decimal", "qty_decimal", "lots_floor", "lots_ceil", "lots_within"),
    *("limit_ticks", "market_ticks", "ticks_around", "of_fill", "of_order", "coins"),
    *("qty_for", "is_off_step", "tradable_qty", "min_lots", "tradable_lots", "tradable_of", "ticks", "lots"),
}


@pytest.mark.parametrize("name", DECIDING)
def test_the_oracle_imports_records_alone(name: str) -> None:
    """A rule that both sides had in common could be wrong on both."""
    for node in ast.walk(ast.parse((ORACLE / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("quantkit") for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quantkit"):
            module = (node.module or "").removeprefix("quantkit").lstrip(".")
            assert {alias.name for alias in node.names} <= SHARED.get(module, set()), f"{name} imports from {module}"


@pytest.mark.parametrize("name", DECIDING)
def test_the_oracle_counts_by_itself(name: str) -> None:
    """An instrument is a list of steps and currencies to it."""
    tree = ast.parse((ORACLE / f"{name}.py").read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("instrument", "fees", "other", "rules")
    }
    assert not called & RULES
