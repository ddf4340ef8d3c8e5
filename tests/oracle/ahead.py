"""One resting order's place in the queue, recomputed from raw rows of a book and of trades: a dict of levels, a loop.

Written from docs/fills.md; the places themselves are `queues.Queue`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from oracle.queues import Queue


@dataclass(frozen=True)
class Move:
    """A row that changed the place: when it was received, whether it was a trade, and the place around it."""

    received_ns: int
    is_trade: bool
    before: int | None
    after: int | None
    level: int | None


@dataclass(frozen=True)
class Print:
    """A trade at our price: size, and what stood in front before it."""

    received_ns: int
    lots: int
    before: int


def _steps(size: float, step: Any) -> Fraction:
    return Fraction(repr(size)) / Fraction(str(step))


def walk(
    rows: Iterable[Any],
    *,
    is_buy: bool,
    price: float,
    qty_step: Any,
    arrived_ns: int,
    looked_ns: int,
    until_ns: int,
    model: str,
) -> tuple[int | None, list[Move], list[Print]]:
    """Return the place on arrival, every change of it after that, and the trades at the price.

    Args:
        rows: Book updates and trades in the order of replay.
        is_buy, price: The order's.
        qty_step: Of the instrument.
        arrived_ns: Its arrival by the exchange's clock. looked_ns: When the run came to that.
        until_ns: When it ended; rows received then are the last.
        model: Of the queue.
    """
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    clock, queue, start, moves, prints = 0, None, None, list[Move](), list[Print]()
    own, other = (bids, asks) if is_buy else (asks, bids)

    def level() -> int | None:
        size = own.get(price, 0.0)
        if not size:
            best = (max if is_buy else min)(own, default=None)
            is_better = best is None or (price > best if is_buy else price < best)
            has_worse = any(each < price if is_buy else each > price for each in own)
            if not is_better and not has_worse:
                return None
        return math.ceil(_steps(size, qty_step))

    for row in rows:
        if row.received_ns > until_ns:
            break
        if queue is None and row.received_ns >= looked_ns:
            queue = Queue(model)
            queue.join(level())
            start = queue.ahead
        clock = max(clock, row.exchange_ns)
        before = None if queue is None else (queue.ahead, queue.level, queue.printed)
        if hasattr(row, "bid_prices"):
            if row.is_snapshot:
                bids.clear()
                asks.clear()
            for side, prices, sizes in ((bids, row.bid_prices, row.bid_qtys), (asks, row.ask_prices, row.ask_qtys)):
                for at, size in zip(prices, sizes, strict=True):
                    if size:
                        side[at] = size
                    else:
                        side.pop(at, None)
            if queue is not None:
                best = (min if is_buy else max)(other, default=None)
                reaches = best is not None and (best <= price if is_buy else best >= price)
                if not (reaches and clock >= arrived_ns) and (shown := level()) is not None:
                    queue.shown(shown, row.exchange_ns)
        elif queue is not None and clock >= arrived_ns and row.price == price and (row.side == "sell") is is_buy:
            assert queue.ahead is not None
            lots = math.floor(_steps(row.qty, qty_step))
            prints.append(Print(row.received_ns, lots, queue.ahead))
            queue.traded(lots, row.exchange_ns)
        if queue is not None and before is not None and before != (queue.ahead, queue.level, queue.printed):
            is_trade = not hasattr(row, "bid_prices")
            moves.append(Move(row.received_ns, is_trade, before[0], queue.ahead, level()))
    return start, moves, prints
