"""The rows of a run with another future: what comes after a moment is moved, mixed up or missing."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.events import EVENT_KINDS, Extra, PositionTier
from quantkit.feeds.replay import StoredRows
from quantkit.instruments import Instrument
from quantkit.rows.batch import Batch
from quantkit.rows.columns import Block, Column, Stream
from quantkit.rows.extras import ExtraRows
from quantkit.storage.reader import BLOCK_ROWS

#: `moved`: other prices and sizes. `shuffled`: the rows' values change places. `removed`: no row comes any more.
#: `shortened`: the run itself ends there.
Alteration: TypeAlias = Literal["moved", "shuffled", "removed", "shortened"]
_SHUFFLE_SEED: Final = 20_260_101
#: How far prices are moved at most, a fraction.
_MOVED: Final = 0.2


class Future(msgspec.Struct, frozen=True):
    """What is other after a moment.

    Attributes:
        cut_ns: Rows received later are altered.
        alteration: How.
        until_ns: No row comes after it: what is compared lies long before; None: all come.
    """

    cut_ns: int
    alteration: Alteration
    until_ns: int | None = None


class AlteredRows(StoredRows):
    """Rows as stored, but for what is altered; counts what it hands out.

    Args:
        inner: The rows.
        instruments: Given by the user.
        future: What is other after a moment; None: nothing.
        late: A further column of candles that each row gets from the row before; None: none.
        block_rows: See `StoredRows`.
    """

    def __init__(
        self,
        inner: StoredRows,
        instruments: Iterable[Instrument],
        *,
        future: Future | None = None,
        late: str | None = None,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        super().__init__(instruments=instruments, block_rows=block_rows)
        self._inner = inner
        self._future = future
        self._late = late
        self._coverage = inner.coverage()
        self._taken = 0  # rows of batches that are over
        self._present: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def described_as(self) -> str:
        """As the rows are."""
        return self._inner.described_as

    def forget_reads(self) -> None:
        """Let `data_files` be about what is read from now on."""
        self._inner.forget_reads()

    def data_files(self, instruments: Collection[str]) -> dict[str, str]:
        """Return the files of the rows."""
        return self._inner.data_files(instruments)

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return whether the stored stream has one."""
        return self._inner.has_hole(stream, start_ns, end_ns)

    def assumptions(self) -> Sequence[str]:
        """Return those about the stored rows."""
        return self._inner.assumptions()

    def position_tiers(self, instrument: str, margin_mode: str, at_ns: int) -> Sequence[PositionTier]:
        """Return the stored ones: they are chosen before the run, like metadata."""
        return self._inner.position_tiers(instrument, margin_mode, at_ns)

    def _stored_versions(self) -> Mapping[str, Sequence[Instrument]]:
        return self._inner._stored_versions()

    def rows(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield a stored stream's rows, those after the cut altered."""
        blocks = self._inner.rows(stream, start_ns, end_ns)
        if self._late is not None:
            blocks = _delayed(blocks, self._late)
        return blocks if self._future is None else _altered(blocks, self._future)

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the subscribed rows in total order."""
        for batch in super().batches(next_wake_ns):
            self._present = batch.received_ns
            yield batch
            self._taken += len(batch)
            self._present = self._present[:0]

    def taken_by(self, now_ns: int) -> int:
        """Return how many rows of the run were received by a moment of the present batch."""
        return self._taken + int(self._present.searchsorted(now_ns, "right"))


def _altered(blocks: Iterator[Block], future: Future) -> Iterator[Block]:
    for block in blocks:
        stamps = block.column("received_ns")
        same = int(stamps.searchsorted(future.cut_ns, "right"))
        if same:
            yield block.slice(0, same)
        if future.alteration in ("removed", "shortened"):
            if same < block.size:
                return
            continue
        end = block.size if future.until_ns is None else int(stamps.searchsorted(future.until_ns, "right"))
        if end > same:
            yield _other(block.slice(same, end), future.alteration)
        if end < block.size:
            return


def _other(block: Block, alteration: Alteration) -> Block:
    """Return rows with other values and the same stamps."""
    values = {field.name for field in EVENT_KINDS[block.stream.kind].fields if field.type in ("float", "optional")}
    sizes = {field.name for field in EVENT_KINDS[block.stream.kind].fields if field.type == "levels"}
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(block.size)

    def load(name: str) -> Column:
        column = block.column(name)
        if alteration == "shuffled" and name in values | {"side"}:
            return column[order]
        if name in values:
            # By the stamp, so that streams of one moment move alike, and bid and ask together.
            return column * _factors(block.column("received_ns"))
        if name in sizes and name.endswith("qtys"):
            return column * 3.0  # a level that is gone stays gone, and no price crosses another
        return column

    extras = None
    if block.has_extras:
        rows = list(block.extras())
        extras = ExtraRows([rows[number] for number in order.tolist()])
    return Block(block.stream, block.size, {}, load=load, extras=extras)


def _factors(stamps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a factor for each stamp, scattered around one."""
    mixed = (stamps.astype(np.uint64) // np.uint64(1_000)) * np.uint64(0x9E3779B97F4A7C15)
    return 1.0 + _MOVED * ((mixed >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5)


def _delayed(blocks: Iterator[Block], column: str) -> Iterator[Block]:
    """Yield candles whose further column is that of the candle before."""
    before: Any = None
    for block in blocks:
        if not block.has_extras:
            yield block
            continue
        rows = []
        for extra in block.extras():
            own = extra.get(column)
            if column in extra:
                rows.append(Extra({**extra, column: own if before is None else before}))
                before = own
            else:
                rows.append(extra)
        yield Block(block.stream, block.size, {}, load=block.column, extras=ExtraRows(rows))
