"""How large fills were against the volume of their rows, which does not cap them."""

from collections.abc import Mapping
from typing import Final

from quantkit.orders import Fill
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import StreamCursor

#: A share of its row's volume above which a fill on candles or trades is worth a warning.
_LARGE_SHARE: Final = 0.1


class VolumeShares:
    """Compares fills on candles and trades with the volume of their rows.

    Args:
        matching: The stream that matches each instrument's orders.
        cursors: The run's streams.
    """

    def __init__(self, matching: Mapping[str, Stream], cursors: Mapping[Stream, StreamCursor]) -> None:
        self._columns = {"candle": "volume", "trade": "qty"}
        self._cursors = {i: cursors[stream] for i, stream in matching.items() if stream.kind in self._columns}
        self._waiting: list[Fill] = []  # their candle has not come
        self._largest: dict[str, float] = {}

    def enter_batch(self) -> None:
        """Look at fills whose candle had not come."""
        waiting, self._waiting = self._waiting, []
        for fill in waiting:
            self.note(fill, 0)

    def note(self, fill: Fill, index: int) -> None:
        """Take in a fill by the row at an index, or by the next one of its stream."""
        cursor = self._cursors.get(fill.instrument)
        if cursor is None:
            return
        row = cursor.row_at(index)
        if row < cursor.rows:
            volume = float(cursor.column(self._columns[cursor.kind])[row])
            share = fill.qty / volume if volume > 0 else float("inf")
            self._largest[fill.instrument] = max(share, self._largest.get(fill.instrument, 0.0))
        else:
            # The candle whose open filled it closes in the next batch.
            self._waiting.append(fill)

    def notes(self) -> tuple[list[str], list[str]]:
        """Return sentences on the largest fills: the ordinary ones, and those to warn of."""
        ordinary: list[str] = []
        large: list[str] = []
        # Which one was noted first depends on where batches are cut.
        for instrument, share in sorted(self._largest.items()):
            what = self._cursors[instrument].kind
            if share < 10:
                size = f"{share:.2%} of its {what}'s volume"
            else:
                size = f"{share:,.0f} times its {what}'s volume" if share < float("inf") else f"on a {what} without any"
            said = f"{instrument}: the largest fill was {size}, which does not cap fills on {what}s"
            (large if share > _LARGE_SHARE else ordinary).append(said)
        return ordinary, large
