"""How large fills were against the volume of their rows, which caps them only with `max_share`."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from quantkit.orders import LIQUIDATION, Fill
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
        fills: Every fill so far; others add to it.
        indices: Where the run stood at each. Its row is the one there, or the next one of its stream.
        max_share: What caps fills; None: nothing does. Below it no fill is worth a warning.
    """

    def __init__(
        self,
        matching: Mapping[str, Stream],
        cursors: Mapping[Stream, StreamCursor],
        fills: Sequence[Fill],
        indices: Sequence[int],
        *,
        max_share: float | None = None,
    ) -> None:
        self._max_share = max_share
        self._fills = fills
        self._indices = indices
        self._seen = 0  # how many of them have been taken in
        self._waiting: list[tuple[str, float, int]] = []  # of these, those not looked at yet: instrument, size, index
        self._cursors = {i: cursors[stream] for i, stream in matching.items() if stream.kind in _COLUMNS}
        self._largest: dict[str, float] = {}

    def enter_batch(self) -> None:
        """Let fills whose candle has not come wait for the first of this batch."""
        self._take_in()
        if self._waiting:
            self._waiting = [(name, qty, 0) for name, qty, _ in self._waiting]

    def leave_batch(self) -> None:
        """Look at the fills of a batch. Some wait on: the candle whose open filled them closes in a later batch."""
        self._take_in()
        if not self._waiting:
            return
        by_instrument: dict[str, list[tuple[str, float, int]]] = {}
        for fill in self._waiting:
            by_instrument.setdefault(fill[0], []).append(fill)
        self._waiting = []
        for name, fills in by_instrument.items():
            cursor = self._cursors.get(name)
            if cursor is not None:
                rows = cursor.positions.searchsorted([index for _, _, index in fills])
                self._waiting += [fill for fill, row in zip(fills, rows, strict=True) if row == cursor.rows]
                is_known = rows < cursor.rows
                if is_known.any():
                    qtys = np.array([qty for _, qty, _ in fills])[is_known]
                    self._look_at(name, qtys, cursor.column(_COLUMNS[cursor.kind])[rows[is_known]])

    def _take_in(self) -> None:
        """Let new fills wait to be looked at."""
        if self._seen < len(self._fills):
            new = zip(self._fills[self._seen :], self._indices[self._seen :], strict=True)
            # What the exchange takes over at a liquidation meets no market.
            self._waiting += [
                (f.instrument, f.qty, index) for f, index in new if not f.order_id.startswith(LIQUIDATION)
            ]
            self._seen = len(self._fills)

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
            said = f"{instrument}: the largest fill was {size}"
            if self._max_share is None:
                said += f", which does not cap fills on {what}s"
            elif share > self._max_share:
                said += f"; opens are capped by the {what} before"
            (large if share > max(_LARGE_SHARE, self._max_share or 0.0) else ordinary).append(said)
        return ordinary, large
