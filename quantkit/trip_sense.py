"""Where a round trip in one instrument begins and ends."""

from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill


class TripSense:
    """Tells where round trips begin and end in one instrument; the report and the marks between both go by it.

    A trip ends with the fill that leaves nothing tradable. What remains below the size step or the smallest order does
    not keep it open; should a later fill take more of the remainder off, as the rest of the same order does, it still
    belongs to that trip. A fill that goes through zero ends one trip and begins the next. A trip begins with something
    tradable too: until further fills of its side make it so, it is idle and no position.

    Attributes:
        side: Of the fill that began the latest trip; None before the first.
        is_over: Whether that trip has ended, so that only a remainder is left of it.
        is_idle: Whether its fills so far have brought nothing that can be traded.
    """

    __slots__ = ("is_idle", "is_over", "side")

    def __init__(self) -> None:
        self.side: Side | None = None
        self.is_over = self.is_idle = False

    def split(self, fill: Fill, instrument: Instrument, before: int, after: int) -> tuple[int, int]:
        """Take a fill in, with the holding before and after it.

        Args:
            fill: The fill.
            instrument: Its instrument, whose steps of the moment say what can be traded.
            before: `lots_covering` of the position.
            after: `lots` of the position.

        Returns:
            Lots of the fill that belong to the latest trip, and those that begin a new one.
        """
        if self.side is None:
            old = 0
        elif fill.side is self.side:
            old = 0 if self.is_over else fill.lots
        else:
            # What is held against the trip's side is no part of it.
            old = max(0, min(fill.lots, before * self.side.sign))
        is_nothing = not after or instrument.tradable_of(after) == 0
        if old < fill.lots:
            self.side, self.is_over, self.is_idle = fill.side, False, is_nothing
        elif fill.side is self.side:
            self.is_idle = self.is_idle and is_nothing
        else:
            self.is_over, self.is_idle = is_nothing, False
        return old, fill.lots - old

    def judge(self, instrument: Instrument, lots: int, *, has_exits: bool) -> None:
        """Judge the latest trip once more without a fill, by steps that have changed since.

        Args:
            instrument: As it is now.
            lots: Of the position.
            has_exits: Whether fills have taken something off the trip.
        """
        is_nothing = not instrument.tradable_of(lots)
        self.is_over, self.is_idle = is_nothing and has_exits, is_nothing and not has_exits
