"""Places in a level's queue, model by model, in exact fractions wherever the formula allows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
    looks: list[tuple[int, int, Queue]] = field(default_factory=list)  # stamp, size, and the place before

    def join(self, level: int | None) -> None:
        """Stand at the end of a level, whose size may be unknown."""
        self.ahead, self.level, self.printed = level, level, 0
        self.looks = []
        if self.model == "front":
            self.ahead = 0

    def gap(self) -> None:
        """Forget how large the level was."""
        self.level = None
        self.looks = []

    def traded(self, lots: int, stamp_ns: int) -> int:
        """Let a print take from the head of the queue, in the order of stamps; return how long that was then."""
        assert self.ahead is not None
        after = [n for n, (seen_ns, _, _) in enumerate(self.looks) if seen_ns > stamp_ns]
        again = self.looks[after[0] :] if after else []
        self.looks, now = [], self.ahead
        if again:
            then = again[0][2]
            self.ahead, self.level, self.printed = then.ahead, then.level, then.printed
        assert self.ahead is not None
        before = self.ahead
        self.ahead = before - min(lots, before)
        self.printed += lots
        for seen_ns, level, _ in again:
            self.shown(level, seen_ns)
        self.ahead = min(self.ahead, now)
        return before

    def shown(self, level: int, stamp_ns: int) -> None:
        """Look at the level's new size."""
        before = Queue(self.model, self.ahead, self.level, self.printed)
        self._look(level)
        # The default model goes by the place alone, and what has come to the front stays there.
        is_other = self.ahead != before.ahead or (self.model != "risk_averse" and level != before.level)
        if before.ahead and is_other:
            self.looks = [*self.looks, (stamp_ns, level, before)][-8:]

    def _look(self, level: int) -> None:
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
