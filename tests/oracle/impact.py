"""How much worse than the traded price an order fills that takes, counted from a list of everything before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: Returns looked back on, and the length of a bar of trades.
LOOK_BACK = 20
MINUTE_NS = 60 * 10**9


@dataclass
class Seen:
    """Everything that a market has shown before the present row."""

    candles: list[tuple[float, float, float, float]] = field(default_factory=list)  # high, low, close, volume
    trades: list[tuple[int, float, float, bool]] = field(default_factory=list)  # clock, price, size, is a purchase

    def bars(self, clock_ns: int) -> list[tuple[float, float, float, float]]:
        """Return the last bars that had closed by a moment."""
        if not self.trades:
            return self.candles[-LOOK_BACK - 1 :]
        minutes = sorted({at // MINUTE_NS for at, *_ in self.trades if at // MINUTE_NS < clock_ns // MINUTE_NS})
        found = []
        for minute in minutes[-LOOK_BACK - 1 :]:
            inside = [(price, size) for at, price, size, _ in self.trades if at // MINUTE_NS == minute]
            volume = 0.0
            for _, size in inside:
                volume += size
            prices = [price for price, _ in inside]
            found.append((max(prices), min(prices), prices[-1], volume))
        return found

    def last_of(self, *, buyers: bool) -> float | None:
        """Return the last price at which one side took."""
        return next((price for _, price, _, is_buy in reversed(self.trades) if is_buy is buyers), None)


def slipped(name: str, price: float, sign: int, qty: float, step: float, seen: Seen, clock_ns: int) -> float:
    """Return what a fill pays where `price` is traded."""
    family, _, number = name.partition(":")
    if family == "bps":
        return price * (1 + sign * float(number) / 10_000)
    bars = seen.bars(clock_ns)
    if family == "sqrt":
        moves = [math.log(bars[n + 1][2] / bars[n][2]) ** 2 for n in range(len(bars) - 1)]
        sigma = math.sqrt(math.fsum(moves) / len(moves)) if len(moves) > 1 else 0.0
        volume = math.fsum(bar[3] for bar in bars[1:]) / len(moves) if moves else 0.0
        part = qty / volume if volume > 0 else 1.0
        return price * (1 + sign * float(number) * sigma * math.sqrt(part))
    bought, sold = seen.last_of(buyers=True), seen.last_of(buyers=False)
    if bought is None or sold is None:
        products = []
        for n in range(len(bars) - 1):
            middles = [(math.log(high) + math.log(low)) / 2 for high, low, _, _ in bars[n : n + 2]]
            close = math.log(bars[n][2])
            products.append(4 * (close - middles[0]) * (close - middles[1]))
        mean = math.fsum(products) / len(products) if len(products) > 1 else 0.0
        spread = price * (math.sqrt(mean) if mean > 0 else 0.0)
    else:
        spread = bought - sold
    return price + sign * max(spread, step) / 2
