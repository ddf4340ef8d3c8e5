"""The rows of the mark price and the index, of which each matters only where it may set an order off."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.brokers.simulated.price_band import OPEN_BAND, PriceBand
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.orders import TriggerType
from quantkit.rows.cursors import StreamCursor

#: What each type of trigger is called in the column of sources.
_SOURCES: Final = {TriggerType.MARK: "mark", TriggerType.INDEX: "index"}
_TYPES: Final = {source: type_ for type_, source in _SOURCES.items()}


class MarkStream(MatchingStream):
    """Both prices of an instrument, which come in one stream; each has a band of its own.

    Such a row moves no matching clock and fills nothing.
    """

    __slots__ = ("_parts",)

    def __init__(self, cursor: StreamCursor) -> None:
        super().__init__(cursor)
        self._parts = {type_: _OneSource(cursor, source) for type_, source in _SOURCES.items()}

    def leave_rows(self) -> None:
        for part in self._parts.values():
            part.leave_rows()
        self.rest()

    def rest(self) -> None:
        super().rest()
        for part in self._parts.values():
            part.rest()

    def watch(self, bands: Mapping[TriggerType, PriceBand], until_ns: int, index: int) -> None:
        """Need the next row from an index on that leaves the band of its type, or by which a moment has come."""
        for type_, part in self._parts.items():
            part.arm(bands.get(type_, OPEN_BAND), until_ns, index)
        self._point()

    def search_on(self) -> None:
        for part in self._parts.values():
            if part.next_index == self.next_index and not part.is_hit:
                part.search_on()
        self._point()

    def _point(self) -> None:
        """Stop where the first of the parts does; a hit comes before a search that has come as far."""
        first = min(self._parts.values(), key=lambda part: (part.next_index, not part.is_hit))
        self.next_index, self.is_hit, self.row = first.next_index, first.is_hit, first.row

    def stamp_of(self, row: int) -> int:
        """Return the exchange's stamp of a row."""
        assert self.cursor.block is not None
        return self.cursor.block.stamps_of(row)[1]

    def price_of(self, row: int) -> tuple[TriggerType | None, float, int]:
        """Return the type, the price and the exchange's stamp of a row; no type for a source that sets nothing off."""
        column, block = self.cursor.column, self.cursor.block
        assert block is not None
        return _TYPES.get(column("source")[row]), float(column("price")[row]), block.stamps_of(row)[1]


class _OneSource(GatedStream):
    """The rows of one source; those of others lie within every band."""

    __slots__ = ("_source",)

    def __init__(self, cursor: StreamCursor, source: str) -> None:
        super().__init__(cursor)
        self._source = source

    def read_prices(self) -> tuple[NDArray[Any], NDArray[Any]]:
        is_own, prices = self.cursor.column("source") == self._source, self.cursor.column("price")
        self.prices = np.where(is_own, prices, np.inf), np.where(is_own, prices, -np.inf)
        return self.prices
