"""How large fills were against the volume of their rows, which does not cap them."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from quantkit.rows.columns import Column, Stream
from quantkit.rows.cursors import StreamCursor

#: A share of its row's volume above which a fill on candles or trades is worth a warning.
_LARGE_SHARE: Final = 0.1
_COLUMNS: Final = {"candle": "volume", "trade": "qty"}


class VolumeShares:
    """Compares fills on candles and trades with the volume of their rows, at the end of each batch.

    Args:
        matching: The stream that matches each instrument's orders.
        cursors: The run's streams.

    Attributes:
        noted: Fills not looked at yet, as (instrument, size, index): whoever books them adds them. Theirs is the row at
            the index, or the next one of its stream.
    """

    def __init__(self, matching: Mapping[str, Stream], cursors: Mapping[Stream, StreamCursor]) -> None:
        self.noted: list[tuple[str, float, int]] = []
        self._cursors = {i: cursors[stream] for i, stream in matching.items() if stream.kind in _COLUMNS}
        self._largest: dict[str, float] = {}

    def enter_batch(self) -> None:
        """Let fills whose candle has not come wait for the first of this batch."""
        if self.noted:
            self.noted = [(name, qty, 0) for name, qty, _ in self.noted]

    def leave_batch(self) -> None:
        """Look at the fills of a batch. Some wait on: the candle whose open filled them closes in a later batch."""
        if not self.noted:
            return
        by_instrument: dict[str, list[tuple[str, float, int]]] = {}
        for fill in self.noted:
            by_instrument.setdefault(fill[0], []).append(fill)
        self.noted = []
        for name, fills in by_instrument.items():
            cursor = self._cursors.get(name)
            if cursor is not None:
                rows = cursor.positions.searchsorted([index for _, _, index in fills])
                self.noted += [fill for fill, row in zip(fills, rows, strict=True) if row == cursor.rows]
                is_known = rows < cursor.rows
                if is_known.any():
                    qtys = np.array([qty for _, qty, _ in fills])[is_known]
                    self._look_at(name, qtys, cursor.column(_COLUMNS[cursor.kind])[rows[is_known]])

    def _look_at(self, instrument: str, qtys: Column, volumes: Column) -> None:
        shares = np.full(len(qtys), np.inf)
        np.divide(qtys, volumes, out=shares, where=volumes > 0)
        self._largest[instrument] = max(float(shares.max()), self._largest.get(instrument, 0.0))

    def notes(self) -> tuple[list[str], list[str]]:
        """Return sentences on the largest fills: the ordinary ones, and those to warn of."""
        self.leave_batch()
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
