"""What a displayed market shows, in the steps that count for orders."""

from collections.abc import Iterator
from typing import Protocol

from quantkit.instruments import Instrument, Side


class Display(Protocol):
    """The displayed market, in ticks and lots, at the steps that count for orders."""

    def use(self, instrument: Instrument) -> None:
        """Go by other steps from now on."""
        ...

    @property
    def is_valid(self) -> bool:
        """Whether it is valid."""
        ...

    def meets(self, side: Side, level: int) -> int:
        """Return where orders meet a level, given in the display's own ticks."""
        ...

    def best(self, side: Side) -> int | None:
        """Return the best price of a side, None when it is empty."""
        ...

    def shown(self, side: Side, ticks: int) -> int | None:
        """Return the size at a price in whole size steps, None where that is outside what is displayed."""
        ...

    def ahead(self, side: Side, ticks: int) -> int | None:
        """Return `shown` with a size step that is displayed in part counted whole: a queue is not shortened."""
        ...

    def levels(self, side: Side) -> Iterator[tuple[int, int]]:
        """Yield (ticks, size steps) of a side, best first."""
        ...
