"""The positions that fills have built, at any moment so far."""

from collections.abc import Sequence

from quantkit.orders import Fill, PositionSide


class FillHistory:
    """Answers how much was held before a moment, as funding asks it.

    Args:
        fills: Every fill so far, in the order in which the exchange made them; others add to it.
    """

    def __init__(self, fills: Sequence[Fill]) -> None:
        self._fills = fills
        self._seen = 0  # how many of them have been taken in
        self._past: dict[str, _Past] = {}

    def qty_at(self, leg: str, boundary_ns: int) -> int:
        """Return the signed size steps of a position from fills stamped before a moment."""
        if self._seen < len(self._fills):
            for fill in self._fills[self._seen :]:
                its = fill.instrument if fill.position_side is PositionSide.NET else fill.leg
                self._past.setdefault(its, _Past()).add(fill)
            self._seen = len(self._fills)
        past = self._past.get(leg)
        return 0 if past is None else past.lots_at(boundary_ns)


class _Past:
    """One position's fills."""

    __slots__ = ("_fills", "_latest_ns", "_lots")

    def __init__(self) -> None:
        self._fills: list[Fill] = []
        self._latest_ns: list[int] = []  # for each of them, the latest stamp so far
        self._lots = 0  # signed size steps of all

    def add(self, fill: Fill) -> None:
        self._fills.append(fill)
        self._latest_ns.append(max(fill.filled_ns, self._latest_ns[-1]) if self._latest_ns else fill.filled_ns)
        self._lots += fill.signed_lots

    def lots_at(self, boundary_ns: int) -> int:
        lots = self._lots
        for fill, latest_ns in zip(reversed(self._fills), reversed(self._latest_ns), strict=True):
            if latest_ns < boundary_ns:  # as was everything earlier
                break
            if fill.filled_ns >= boundary_ns:
                lots -= fill.signed_lots
        return lots
