"""Reading ahead: the same rows and the same errors at the same turns, one row group in advance at most."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from counted_files import CountedFolder
from damage import flipped

from quantkit.errors import DataError
from quantkit.events import MarketEvent
from quantkit.feeds.replay import ReplayFeed
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.ahead import read_ahead
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import RowGroup
from quantkit.storage.reader import read_blocks

TRADES = Stream("trade", "binance:BTC-USDT-SWAP")
END_NS = 2**62
Make = Callable[..., list[MarketEvent]]


@pytest.fixture
def folder(store: Callable[..., Path], make_trades: Make) -> Path:
    return store(make_trades(60), row_group_rows=10)


def blocks(catalog: Catalog) -> Iterator[Block]:
    return read_blocks(catalog, TRADES, start_ns=0, end_ns=END_NS)


def test_the_rows_are_those_without_it(folder: Path) -> None:
    near = [block.events() for block in blocks(Catalog(folder))]
    far = [block.events() for block in blocks(Catalog(CountedFolder(folder).root))]
    assert far == near
    assert len(far) == 6


def test_a_replay_is_that_without_it(folder: Path) -> None:
    found = []
    for catalog in (Catalog(folder), Catalog(CountedFolder(folder).root)):
        feed = ReplayFeed(catalog, block_rows=7)
        feed.subscribe([Subscription(TRADES, 0, END_NS)])
        found.append(
            [(batch.received_ns.tolist(), batch.blocks[0].column("price").tolist()) for batch in feed.batches()]
        )
    assert found[0] == found[1]


class Fake:
    """A row group that notes on which thread its columns were decoded."""

    def __init__(self, number: int, log: list[tuple[int, str, bool]]) -> None:
        self.number = number
        self._log = log
        self._names: dict[str, None] = {"received_ns": None}

    @property
    def decoded(self) -> tuple[str, ...]:
        return tuple(self._names)

    def column(self, name: str) -> None:
        if name not in self._names:
            self._names[name] = None
            self._log.append((self.number, name, threading.current_thread() is threading.main_thread()))


def test_the_columns_of_the_groups_before_come_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two are decoded when they are asked for, since nobody knew; the others were there."""
    log: list[tuple[int, str, bool]] = []
    made = []

    def groups() -> Iterator[Fake]:
        for number in range(6):
            made.append(number)
            yield Fake(number, log)

    ahead = read_ahead(groups())  # type: ignore[arg-type]
    for number in range(4):
        group = next(ahead)
        assert len(made) <= number + 2, "one ahead, no more"
        group.column("price")
    ahead.close()
    assert log[:2] == [(0, "price", True), (1, "price", True)]
    assert [entry for entry in log if entry[0] in (2, 3)] == [(2, "price", False), (3, "price", False)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("quantkit-read-ahead")]


def test_an_error_comes_at_its_turn(folder: Path) -> None:
    """What lies before a damaged row group is delivered, and the damage is told where it would be told anyhow."""
    (entry,) = Catalog(folder).entries
    path = folder / entry.path
    content = path.read_bytes()
    rng, outcomes = np.random.default_rng(1), set()
    for bit in rng.integers(32, 8 * (len(content) - 4_000), 40).tolist():
        path.write_bytes(flipped(content, bit))
        told = []
        for catalog in (Catalog(folder), Catalog(CountedFolder(folder).root)):
            seen: list[object] = []
            try:
                for block in blocks(catalog):
                    seen.append(block.column("price").tolist())
                    seen.append(block.column("qty").tolist())
            except DataError as error:
                seen.append(str(error))
            told.append(seen)
        assert told[0] == told[1]
        outcomes.add(len(told[0]))
    assert len(outcomes) > 3


def test_a_group_that_cannot_be_had_is_told_after_those_before() -> None:
    def groups() -> Iterator[RowGroup]:
        yield Fake(0, [])  # type: ignore[misc]
        raise DataError("gone")

    ahead = read_ahead(groups())
    assert next(ahead).number == 0  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="gone"):
        next(ahead)
