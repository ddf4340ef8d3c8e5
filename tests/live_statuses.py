"""Made-up statuses of a live run, for the tests of what shows them."""

from decimal import Decimal
from typing import Any

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.instruments import Side
from quantkit.live.status import ConnectionLine, LiveStatus, OrderLine, PositionLine, StreamLine
from quantkit.orders import Fill

NOW_NS = 1_788_264_000 * NS_PER_S  # 2026-09-01T12:00:00Z


def fill(number: int) -> Fill:
    """Make one of several fills, the higher the number the later."""
    return Fill(
        id=number,
        order_id=f"r{number}",
        instrument="BTC-USDT-SWAP",
        side=Side.BUY if number % 2 else Side.SELL,
        price=106_231.9 + number,
        qty=0.01,
        value=Decimal(1),
        fee=Decimal("0.02124"),
        fee_currency="USDT",
        role="maker",
        filled_ns=NOW_NS - (20 - number) * NS_PER_S,
        revealed_ns=NOW_NS,
        why="",
        tag="",
        lots=1,
        ticks=1,
    )


def stream(name: str, *, lag_ms: float | None = 12.0, quiet_s: int = 0, rows_per_s: float = 9.8) -> StreamLine:
    """Make a stream whose last row came `quiet_s` seconds ago."""
    return StreamLine(name, 12_345, rows_per_s, NOW_NS - quiet_s * NS_PER_S - 100 * NS_PER_MS, lag_ms)


def status(**changed: Any) -> LiveStatus:
    """Make a status of a run of 12 minutes 34 seconds, with some fields changed."""
    values: dict[str, Any] = {
        "strategy": "Quoter",
        "now_ns": NOW_NS - 5 * NS_PER_MS,
        "wall_ns": NOW_NS,
        "started_ns": NOW_NS - 754 * NS_PER_S,
        "recording": "runs/20260901-120000-quoter",
        "currency": "USDT",
        "equity": 10_012.34,
        "pnl": 12.34,
        "orders": 1234,
        "fills_count": 45,
        "gaps": 2,
        "queue": 0,
        "queue_max": 100_000,
        "connections": (
            ConnectionLine("public 1", "live", NOW_NS - 754 * NS_PER_S, 12, 1_234_567, 0),
            ConnectionLine("business 1", "connecting", NOW_NS - 3 * NS_PER_S, 3, 1234, 3, "closed: 1006 abnormal"),
        ),
        "streams": (stream("BTC-USDT-SWAP book"), stream("BTC-USDT-SWAP trade", lag_ms=812.0)),
        "positions": (
            PositionLine("BTC-USDT-SWAP", -0.03, 106_231.93333333, 106_200.1, -1.234, 15.2, "USDT"),
            PositionLine("ETH-USDT-SWAP", 1.5, 4012.1, 4020.2, 12.1, -3.2, "USDT"),
        ),
        "open_orders": (OrderLine("r1", "BTC-USDT-SWAP", "buy", 0.01, 0.005, 106_220.1, "partly_filled", "grid"),),
        "last_fills": tuple(fill(number) for number in range(1, 11)),
        "notes": ("12:00:01 gap BTC-USDT-SWAP book: disconnected: 1006 abnormal",),
    }
    return LiveStatus(**{**values, **changed})
