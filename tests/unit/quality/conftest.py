"""A way to store rows without metadata, and to spoil a stored file while its manifest line stays true to the bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from damage import lines_of, resealed, write_lines

from quantkit.events import MarketEvent
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes events of one or more streams to a root and returns the root."""

    def write(*runs: list[MarketEvent], **options: Any) -> Path:
        with Writer(tmp_path / "data", **options) as writer:
            for run in runs:
                writer.write(Block.from_events(run))
        return tmp_path / "data"

    return write


@pytest.fixture
def tamper() -> Callable[..., Path]:
    """Return a function that rewrites the only file of a root, keeping the manifest true to the new bytes."""

    def spoil(root: Path, *, table: Callable[[Any], Any] = lambda table: table, **options: Any) -> Path:
        (entry,) = lines_of(root).entries
        path = root / entry.path
        changed = table(pq.read_table(path, partitioning=None))
        pq.write_table(changed, path, **{"write_page_checksum": True, **options})
        write_lines(root, [resealed(root, entry)])
        return path

    return spoil
