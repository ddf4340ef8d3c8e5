"""Stored prices and sizes against the stored steps of their moment, for `quantkit data check`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import iso_of
from quantkit.events import EVENT_KINDS
from quantkit.instruments import Instrument, plain
from quantkit.rows.columns import Block, Column, offsets_of

#: The offsets of a row's levels, by column.
_STARTS: Final = {
    field.name: offsets_of(field) for kind in EVENT_KINDS.values() for field in kind.fields if field.type == "levels"
}


class StepCheck:
    """Counts the rows of one stream that are off the steps of their moment.

    Args:
        kind: The stream's.
        versions: The instrument's metadata in order of `valid_from_ns`; without any, nothing is counted.
    """

    def __init__(self, kind: str, versions: Sequence[Instrument]) -> None:
        self._versions = versions
        # Volumes are computed from many sizes and are on no step.
        fields = EVENT_KINDS[kind].fields
        self._columns = {what: [field.name for field in fields if field.step == what] for what in ("price", "size")}
        self._counts = {"price": 0, "size": 0}
        self._first: dict[str, tuple[int, Instrument]] = {}
        self._rows = 0

    def take(self, block: Block, received_ns: Column) -> None:
        """Look at further rows."""
        self._rows += block.size
        for number, version in enumerate(self._versions):
            # The first holds for what came before it too.
            begin = int(np.searchsorted(received_ns, version.valid_from_ns)) if number else 0
            end = block.size
            if number + 1 < len(self._versions):
                end = int(np.searchsorted(received_ns, self._versions[number + 1].valid_from_ns))
            for what, is_off in (("price", version.off_step), ("size", version.off_qty_step)):
                if begin < end and self._columns[what]:
                    off = _rows_off(block, self._columns[what], is_off)[begin:end]
                    if off.any() and what not in self._first:
                        self._first[what] = (int(received_ns[begin + int(np.argmax(off))]), version)
                    self._counts[what] += int(off.sum())

    def findings(self) -> Iterator[str]:
        """Yield a sentence for prices and for sizes that are off their step."""
        for what, (first_ns, version) in self._first.items():
            step = version.price_step if what == "price" else version.qty_step
            option = "--price-step" if what == "price" else "--qty-step"
            yield (
                f"{self._counts[what]} of {self._rows} rows have a {what} off the stored step of {plain(step)}, first "
                f"at {iso_of(first_ns)}; if the step is wrong, import with {option}"
            )


def _rows_off(
    block: Block, names: Sequence[str], is_off: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    rows = np.zeros(block.size, np.bool_)
    for name in names:
        off = is_off(block.column(name))
        if name in _STARTS:
            counted = np.concatenate(([0], np.cumsum(off)))
            off = np.diff(counted[block.column(_STARTS[name])]) > 0
        rows |= off
    return rows
