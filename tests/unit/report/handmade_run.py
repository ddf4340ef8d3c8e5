"""A small run made by hand: three days, two instruments, a closed long, a closed short and one position left open."""

from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, time_ns_of
from quantkit.engine.outcome import DailyMark, EquityCurve, Excursion, FundingPayment, OrderEvent, Outcome
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, Order, OrderState
from quantkit.report.result import Result

SPOT = Instrument("binance:BTC-USDT", price_step="0.1", qty_step="0.001")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
START_NS = time_ns_of("2025-05-05")

# instrument, signed lots, price, fee, fee currency, hours after the start
TRADES = [
    (SWAP, 100, 100.0, "0.05", "USDT", 2),
    (SWAP, -100, 110.0, "0.055", "USDT", 20),
    (SWAP, -50, 120.0, "0.03", "USDT", 26),
    (SWAP, 50, 124.0, "0.031", "USDT", 40),
    (SPOT, 1000, 120.0, "0.001", "BTC", 50),
]


def _records() -> tuple[list[Order], list[OrderEvent], list[Fill]]:
    orders, events, fills = [], [], []
    for number, (instrument, lots, price, fee, currency, hours) in enumerate(TRADES, 1):
        side = Side.BUY if lots > 0 else Side.SELL
        at_ns = START_NS + hours * 60 * NS_PER_MIN
        ticks, qty = instrument.ticks(price), instrument.qty(abs(lots))
        order = Order(
            id=f"bt{number}",
            instrument=instrument.id,
            side=side,
            qty=qty,
            price=None if number % 2 else price,
            price_ticks=None if number % 2 else ticks,
            state=OrderState.FILLED,
            filled_qty=qty,
            average_price=price,
            sent_ns=at_ns - 20_000_000,
            updated_ns=at_ns,
            lots=abs(lots),
            filled_lots=abs(lots),
            tag="in" if number == 1 else "",
        )
        orders.append(order)
        states = (OrderState.ACCEPTED, OrderState.FILLED)
        events.extend(OrderEvent(order.id, at_ns, at_ns + 20_000_000, state, "") for state in states)
        fills.append(
            Fill(
                id=number,
                order_id=order.id,
                instrument=instrument.id,
                side=side,
                price=price,
                qty=qty,
                value=instrument.value(abs(lots), ticks),
                fee=Decimal(fee),
                fee_currency=currency,
                role="taker",
                filled_ns=at_ns,
                revealed_ns=at_ns,
                why="open of the next candle",
                tag=order.tag,
                lots=abs(lots),
                ticks=ticks,
            )
        )
    return orders, events, fills


def make_outcome(**changes: Any) -> Outcome:
    """Build the run; `changes` replace fields."""
    orders, events, fills = _records()
    hours = np.arange(0, 72 + 1)
    equity = np.interp(hours, [0, 2, 20, 26, 40, 50, 72], [1000, 1000, 1009.9, 1009.9, 1007.8, 1007.7, 1012.6])
    peak = np.maximum.accumulate(equity)
    held = ((hours >= 2) & (hours < 20)) | ((hours >= 26) & (hours < 40)) | (hours >= 50)
    fields: dict[str, Any] = {
        "orders": orders,
        "order_events": events,
        "fills": fills,
        "excursions": [
            Excursion(SWAP.id, 1, 95.0, 112.0),
            Excursion(SWAP.id, 3, 118.0, 126.0),
            Excursion(SPOT.id, 5, 119.0, 125.0),
        ],
        "curve": EquityCurve(
            time_ns=START_NS + hours.astype(np.int64) * 60 * NS_PER_MIN,
            equity=equity.astype(np.float64),
            cash=np.where(hours >= 50, equity - 120, equity).astype(np.float64),
            exposure=np.where(held, 0.1, 0.0),
            drawdown=np.minimum(equity / peak - 1, np.where(hours == 10, -0.005, 0.0)),
        ),
        "cash": {"USDT": Decimal("887.734"), "BTC": Decimal("0.999")},
        "equity": Decimal("1012.609"),
        "starting_equity": Decimal(1000),
        "report_currency": "USDT",
        "position_qty": {SWAP.id: Decimal(0), SPOT.id: Decimal("0.999")},
        "position_mark": {SWAP.id: 125.0, SPOT.id: 125.0},
        "realised": {"USDT": Decimal(8)},
        "funding": {"USDT": Decimal("-0.1")},
        "fees": {"USDT": Decimal("0.166"), "BTC": Decimal("0.001")},
        "start_ns": START_NS,
        "end_ns": START_NS + 3 * NS_PER_DAY,
        "ended": "completed",
        "assumptions": ["BTC-USDT-SWAP is matched on candles of 1m", "latency 0 ms"],
        "warnings": ["BTC-USDT-SWAP candle 1m: 3 bars are missing"],
        "rows": {"BTC-USDT-SWAP candle 1m": 4320},
        "daily_marks": [
            DailyMark(name, START_NS + day * NS_PER_DAY, price)
            for name, prices in ((SWAP.id, (100.0, 118.0, 120.0, 125.0)), (SPOT.id, (99.0, 117.0, 119.0, 125.0)))
            for day, price in enumerate(prices)
        ],
        "funding_payments": [
            FundingPayment(SWAP.id, START_NS + 8 * 60 * NS_PER_MIN, 0.001, 105.0, Decimal("-0.105"), "USDT"),
            FundingPayment(SWAP.id, START_NS + 32 * 60 * NS_PER_MIN, 0.0001, 100.0, Decimal("0.005"), "USDT"),
        ],
    }
    return Outcome(**{**fields, **changes})


def empty_outcome(**changes: Any) -> Outcome:
    """Build a run in which nothing happened."""
    none = np.empty(0)
    blank = {
        "orders": [],
        "order_events": [],
        "fills": [],
        "excursions": [],
        "curve": EquityCurve(time_ns=np.empty(0, np.int64), equity=none, cash=none, exposure=none, drawdown=none),
        "equity": Decimal(1000),
        "position_qty": {},
        "realised": {},
        "funding": {},
        "fees": {},
        "assumptions": [],
        "warnings": [],
        "daily_marks": [],
        "funding_payments": [],
    }
    return make_outcome(**{**blank, **changes})


INSTRUMENTS = {SWAP.id: SWAP, SPOT.id: SPOT}
CONFIG: dict[str, Any] = {
    "strategy": "ma_cross:MaCross",
    "parameters": {"fast": 5, "interval": "1m"},
    "seed": 7,
    "cash": {"USDT": Decimal(1000)},
    "fees": {name: msgspec.to_builtins(Fees(maker_bps=2, taker_bps=5)) for name in INSTRUMENTS},
}


def make_result(**changes: Any) -> Result:
    """Build the run's result."""
    return Result(make_outcome(**changes), CONFIG, INSTRUMENTS)
