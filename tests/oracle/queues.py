"""Places in a level's queue, model by model, in exact fractions wherever the formula allows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

#: What logarithms and broken powers cannot tell from a whole number.
NOISE = Fraction(1, 10**9)


@dataclass
class Queue:
    """One order's place: what is ahead, what the level showed last, and what was printed there since that changed."""

    model: str = "risk_averse"
    ahead: int | None = None
    level: int | None = None
    printed: int = 0

    def join(self, level: int | None) -> None:
        """Stand at the end of a level, whose size may be unknown."""
        self.ahead, self.level, self.printed = level, level, 0
        if self.model == "front":
            self.ahead = 0

    def gap(self) -> None:
        """Forget how large the level was."""
        self.level = None

    def traded(self, lots: int) -> None:
        """Let a print take from the head of the queue."""
        assert self.ahead is not None
        self.ahead = self.ahead - min(lots, self.ahead)
        self.printed += lots

    def shown(self, level: int) -> None:
        """Look at the level's new size."""
        was, self.level = self.level, level
        if self.ahead is None:
            self.ahead, self.printed = level, 0
            return
        if was == level:
            return
        if was is not None and self.ahead and self.model not in ("risk_averse", "front"):
            left = was - self.printed
            if left > level:
                behind = max(left - self.ahead, 0)
                gone = left - level
                gone_behind = min(behind, gone * self._behind(self.ahead, behind))
                self.ahead = max(0, math.ceil(Fraction(self.ahead) - (gone - gone_behind) - NOISE))
        self.printed = 0
        self.ahead = min(self.ahead, level)

    def _behind(self, front: int, behind: int) -> Fraction:
        """Return which part of the cancels came from behind."""
        name, _, power = self.model.partition(":")
        if name == "proportional":
            return Fraction(behind, behind + front)
        if name == "log":
            back, ahead = math.log1p(behind), math.log1p(front)
            return Fraction(back / (back + ahead))
        if name == "log2":
            return Fraction(math.log1p(behind) / math.log1p(behind + front))
        exponent = Fraction(power)
        if exponent.denominator == 1:
            n = int(exponent)
            b, f, whole = Fraction(behind) ** n, Fraction(front) ** n, Fraction(front + behind) ** n
        else:
            b, f, whole = (Fraction(float(x) ** float(power)) for x in (behind, front, front + behind))
        return {"power": b / (b + f), "power2": b / whole, "power3": 1 - f / whole}[name]
