"""Stored prices and sizes against the stored steps of their moment."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.events import EVENT_KINDS
from quantkit.instruments import Instrument, plain
from quantkit.quality.findings import Finding
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.rows.columns import Block, offsets_of

#: The offsets of a row's levels, by column.
_STARTS: Final = {
    field.name: offsets_of(field) for kind in EVENT_KINDS.values() for field in kind.fields if field.type == "levels"
}


class StepCheck:
    """Counts the rows of one stream that are off the steps of their moment.

    Args:
        facts: The stream.
        versions: The instrument's metadata in order of `valid_from_ns`; without any, nothing is counted.
    """

    def __init__(self, facts: StreamFacts, versions: Sequence[Instrument]) -> None:
        self._stream = facts.stream
        self._versions = versions
        # Volumes are computed from many sizes and are on no step.
        fields = EVENT_KINDS[facts.stream.kind].fields
        self._columns = {what: [field.name for field in fields if field.step == what] for what in ("price", "size")}
        self._tallies = {"price": PlaceTally(), "size": PlaceTally()}
        self._first: dict[str, Instrument] = {}
        self._rows = 0

    def take(self, piece: RowPiece) -> None:
        """Look at further rows."""
        self._rows += piece.block.size
        for number, version in enumerate(self._versions):
            # The first holds for what came before it too.
            begin = int(np.searchsorted(piece.received_ns, version.valid_from_ns)) if number else 0
            end = piece.block.size
            if number + 1 < len(self._versions):
                end = int(np.searchsorted(piece.received_ns, self._versions[number + 1].valid_from_ns))
            for what, is_off in (("price", version.off_step), ("size", version.off_qty_step)):
                if begin < end and self._columns[what]:
                    off = begin + np.flatnonzero(_rows_off(piece.block, self._columns[what], is_off)[begin:end])
                    if off.size:
                        self._first.setdefault(what, version)
                        self._tallies[what].add(piece, off)

    def findings(self) -> list[Finding]:
        """Return what is off its step, prices and sizes each."""
        found = []
        for what, version in self._first.items():
            tally = self._tallies[what]
            step = version.price_step if what == "price" else version.qty_step
            option = "--price-step" if what == "price" else "--qty-step"
            sentence = (
                f"{tally.count} of {self._rows} rows have a {what} off the stored step of {plain(step)}, first "
                f"at {tally.first}; if the step is wrong, import with {option}"
            )
            found.append(tally.finding("warning", self._stream, f"{what}_step", sentence))
        return found

    def unverified(self) -> list[str]:
        """Say that there are no steps to hold prices and sizes against."""
        has_steps = self._columns["price"] or self._columns["size"]
        return ["price and size steps: the instrument has no metadata"] if has_steps and not self._versions else []


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
