"""The memory of a check is that of a few row groups, however many rows a stream has."""

import tracemalloc
from pathlib import Path

import numpy as np
from quality_rows import BTC, START_NS, STEPS

from quantkit.clock import NS_PER_MS
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

GROUP = 1_000


def filled(folder: Path, rows: int) -> Catalog:
    """Store trades within quotes and a book that changes with each of them, in small row groups."""
    now = START_NS + np.arange(rows) * 100 * NS_PER_MS
    price = 100.0 + np.abs(np.arange(rows) % 20 - 10) / 2
    stamps = {"received_ns": now, "exchange_ns": now}
    qty = 1.0 + np.arange(rows) % 5
    trade = {"price": price, "qty": qty, "side": np.zeros(rows, np.int8), "trade_id": np.arange(1, rows + 1)}
    quote = {"bid": price - 0.5, "bid_qty": qty, "ask": price + 0.5, "ask_qty": qty, "last": price, "last_qty": qty}
    edges = np.arange(rows + 1)
    levels = {"bid_start": edges, "bid_prices": np.full(rows, 99.0), "bid_qtys": qty}
    levels |= {"ask_start": edges, "ask_prices": np.full(rows, 111.0), "ask_qtys": qty}
    numbers = np.arange(1, rows + 1)
    book = levels | {"is_snapshot": numbers == 1, "update_seq": numbers, "prev_update_seq": numbers - 1}
    with Writer(folder, row_group_rows=GROUP) as writer:
        for kind, columns in (("trade", trade), ("ticker", quote), ("book", book)):
            writer.write(Block(Stream(kind, BTC), rows, {**stamps, **columns}))
        writer.write_instrument(STEPS)
    return Catalog(folder)


def test_four_times_the_rows_take_no_more(tmp_path: Path) -> None:
    peaks = []
    for rows in (2 * GROUP, 20 * GROUP, 80 * GROUP):  # the first time modules are loaded, too
        catalog = filled(tmp_path / f"{len(peaks)}", rows)
        tracemalloc.start()
        report = check(catalog)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.findings == []
        assert sum(each.rows for each in report.streams) == 3 * rows
    assert peaks[2] < 1.2 * peaks[1]
