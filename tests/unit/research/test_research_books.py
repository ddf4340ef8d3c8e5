"""The book at any moment against a plain book: levels, losses, days without a file, and what it keeps in memory."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Gap
from quantkit.instruments import Instrument
from quantkit.research import books as research_books
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Block, Stream
from quantkit.storage.files import RowGroup
from quantkit.storage.writer import Writer

BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")
START_NS = time_ns_of("2026-01-01T23:57:00")
Levels = list[tuple[float, float]]


class PlainBook:
    """Two dictionaries; None while it is not known."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] | None = None

    def take(self, update: BookUpdate) -> None:
        if update.is_snapshot:
            self.sides = {}, {}
        if self.sides is None:
            return
        changes = ((update.bid_prices, update.bid_qtys), (update.ask_prices, update.ask_qtys))
        for side, (prices, qtys) in zip(self.sides, changes, strict=True):
            for price, qty in zip(prices, qtys, strict=True):
                side[price] = qty
                if not qty:
                    del side[price]

    def lists(self) -> tuple[Levels, Levels] | None:
        if self.sides is None:
            return None
        return sorted(self.sides[0].items(), reverse=True), sorted(self.sides[1].items())


def updates(count: int, rng: np.random.Generator, *, snapshots: float = 0.02) -> Iterator[BookUpdate]:
    """A book that moves; some rows share a stamp, a few levels are far away."""
    mid, received_ns = 1000.0, START_NS
    for number in range(count):
        received_ns += int(rng.choice([0, NS_PER_S // 10, 3 * NS_PER_S]))
        mid += 0.5 * int(rng.integers(-2, 3))
        is_snapshot = number == 3 or rng.random() < snapshots
        near = rng.integers(1, 12, 8 if is_snapshot else int(rng.integers(1, 4)))
        prices = [np.unique(mid - 0.5 * near)[::-1], np.unique(mid + 0.5 * near)]
        if number % 40 == 7:
            prices = [np.append(prices[0], 0.5), np.append(prices[1], 200_000.0)]
        qtys = [np.round(rng.integers(0 if not is_snapshot else 1, 40, len(side)) / 10, 1) for side in prices]
        if not is_snapshot and number > 3:
            # What would cross the book goes.
            prices = [
                np.append(prices[0], mid + 0.5 * np.arange(0, 14)),
                np.append(prices[1], mid - 0.5 * np.arange(14)),
            ]
            qtys = [np.append(side, np.zeros(14)) for side in qtys]
        tuples = [tuple(side.tolist()) for side in (prices[0], qtys[0], prices[1], qtys[1])]
        yield BookUpdate(BTC.id, received_ns - 5, received_ns, *tuples, is_snapshot, number, number - 1)


def stored(root: Path, rows: list[BookUpdate], gaps: list[Gap] = [], group_rows: int = 40) -> Catalog:  # noqa: B006
    with Writer(root, row_group_rows=group_rows) as writer:
        writer.write_instrument(BTC)
        writer.write(Block.from_events(rows))
        if gaps:
            writer.write(Block.from_events(gaps))
    return Catalog(root)


def gap_at(moment_ns: int, channel: str = "books") -> Gap:
    return Gap(BTC.id, moment_ns, moment_ns, channel, moment_ns - NS_PER_S, moment_ns, "sequence")


class Expected:
    """The plain book after every row and loss.

    Args:
        rows: The rows.
        losses_ns: When the book was lost; before the rows of that stamp.
    """

    def __init__(self, rows: list[BookUpdate], losses_ns: list[int]) -> None:
        book = PlainBook()
        self.stamps: list[int] = []
        self.books: list[tuple[Levels, Levels] | None] = []
        steps = [(loss_ns, 0, None) for loss_ns in losses_ns]
        steps += [(row.received_ns, 1, row) for row in rows]  # type: ignore[misc]
        for stamp_ns, _, row in sorted(steps, key=lambda step: step[:2]):
            if row is None:
                book.sides = None
            else:
                book.take(row)
            self.stamps.append(stamp_ns)
            self.books.append(book.lists())
        self.end_ns = rows[-1].received_ns

    def at(self, moment_ns: int) -> tuple[Levels, Levels] | None:
        found = bisect_right(self.stamps, moment_ns) - 1
        return None if found < 0 or moment_ns > self.end_ns else self.books[found]


def lists_of(book: qk.Book | None) -> tuple[Levels, Levels] | None:
    if book is None:
        return None
    return [tuple(row) for row in book.bids.tolist()], [tuple(row) for row in book.asks.tolist()]  # type: ignore[misc]


@pytest.fixture(params=[False, True], ids=["kept", "let go"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few levels, all kept or let go at once."""
    monkeypatch.setattr(research_books, "_SPACING_LEVELS", 30)
    if request.param:
        monkeypatch.setattr("quantkit.research.catalog.PACKED_BYTES", 1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_the_book_at_any_moment_is_the_plain_one(tmp_path: Path, seed: int) -> None:
    """In any order of asking, over two days, across gaps, before the first snapshot and at the last row."""
    rng = np.random.default_rng(seed)
    rows = list(updates(400, rng))
    assert len({row.received_ns // NS_PER_DAY for row in rows}) == 2
    losses = sorted(int(rows[place].received_ns) + shift for place, shift in ((150, 0), (151, 1), (300, 0), (390, 7)))
    catalog = stored(tmp_path, rows, [gap_at(loss_ns) for loss_ns in losses])
    expected = Expected(rows, losses)
    moments = [row.received_ns + shift for row in rows for shift in (-1, 0, 1)]
    assert {expected.at(moment) is None for moment in moments} == {True, False}
    for moment in rng.permutation(moments)[:250].tolist():
        found = catalog.book_at(BTC.id, moment)
        assert lists_of(found) == expected.at(moment), moment
        if found is not None:
            assert found.received_ns == max(row.received_ns for row in rows if row.received_ns <= moment)
            assert found.exchange_ns == found.received_ns - 5


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(2))
def test_best_prices_and_depth_are_those_of_the_plain_book(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = list(updates(500, rng))
    losses = [rows[200].received_ns + 1]
    catalog = stored(tmp_path, rows, [gap_at(losses[0])])
    expected = Expected(rows, losses)
    begin, end = rows[60].received_ns + 10, rows[450].received_ns
    frame = catalog.depth(BTC.id, begin, end, levels=3, every="1700ms").pandas()
    moments = list(range(begin, end, 1_700_000_000))
    assert frame.index.view(np.int64).tolist() == moments
    assert frame.columns[:5].tolist() == ["bid_1", "bid_qty_1", "ask_1", "ask_qty_1", "bid_2"]
    for moment, row in zip(moments, frame.to_numpy().reshape(len(frame), 3, 2, 2).tolist(), strict=True):
        book = expected.at(moment)
        for side in (0, 1):
            levels = [] if book is None else [list(level) for level in book[side][:3]]
            found = [level[side] for level in row if not np.isnan(level[side][0])]
            assert found == levels, moment
    every = catalog.bbo(BTC.id, begin, end, every="1700ms").pandas()
    np.testing.assert_array_equal(every.to_numpy(), frame.iloc[:, :4].to_numpy())
    changes = catalog.bbo(BTC.id, begin, end).pandas()
    assert changes.index[0] == pd.Timestamp(begin, tz="UTC")
    plain = [(stamp, book) for stamp, book in zip(expected.stamps, expected.books, strict=True) if begin < stamp < end]
    plain = [(begin, expected.at(begin)), *plain]
    wanted: list[list[float | None]] = []
    for _, book in plain:
        best = [None] * 4 if book is None else [*(book[0] or [(None, None)])[0], *(book[1] or [(None, None)])[0]]
        if not wanted or wanted[-1] != best:
            wanted.append(best)
    assert catalog.bbo(BTC.id, begin, end, columns=["bid", "bid_qty", "ask", "ask_qty"]).arrow().drop_columns(
        "received_ns"
    ).to_pylist() == [dict(zip(("bid", "bid_qty", "ask", "ask_qty"), best, strict=True)) for best in wanted]


def test_a_day_without_a_file_leaves_no_stale_book(tmp_path: Path) -> None:
    """The book of the last day is not that of the day after; the next snapshot makes it known again."""
    book = (100.0,), (1.0,), (101.0,), (2.0,)
    day = time_ns_of("2026-01-05")
    rows = [
        BookUpdate(BTC.id, day, day, *book, True),
        BookUpdate(BTC.id, day, day + 2 * NS_PER_DAY, (99.0,), (1.0,), (), (), False),
        BookUpdate(BTC.id, day, day + 2 * NS_PER_DAY + 1, *book, True),
    ]
    catalog = stored(tmp_path, rows)
    known = {day: True, day + NS_PER_DAY - 1: True, day + NS_PER_DAY: False, day + 2 * NS_PER_DAY: False}
    known |= {day + 2 * NS_PER_DAY + 1: True, day + 2 * NS_PER_DAY + 2: False, day - 1: False}
    assert {moment: catalog.book_at(BTC.id, moment) is not None for moment in known} == known
    frame = catalog.bbo(BTC.id, day, day + 3 * NS_PER_DAY, every=6 * 3600 * NS_PER_S).pandas()
    assert frame["bid"].notna().tolist() == [True] * 4 + [False] * 8
    held_on = catalog.bbo(BTC.id, day, day + 3 * NS_PER_DAY)
    assert held_on.pandas()["bid"].fillna(0.0).tolist() == [100.0, 0.0, 100.0]


def test_a_recording_that_went_on_quietly_is_no_hole(tmp_path: Path) -> None:
    """It was listened to: nothing changed, and the book stands to the end of listening."""
    day = time_ns_of("2026-01-05")
    with Writer(tmp_path) as writer:
        writer.write_instrument(BTC)
        writer.write(Block.from_events([BookUpdate(BTC.id, day, day, (100.0,), (1.0,), (101.0,), (2.0,), True)]))
        writer.watched(Stream("book", BTC.id), day, day + 3 * NS_PER_DAY)
    catalog = Catalog(tmp_path)
    assert catalog.book_at(BTC.id, day + 2 * NS_PER_DAY) is not None
    assert catalog.book_at(BTC.id, day + 3 * NS_PER_DAY + 1) is None


def test_a_gap_of_another_channel_loses_no_book(tmp_path: Path) -> None:
    rows = list(updates(20, np.random.default_rng(1)))
    catalog = stored(tmp_path, rows, [gap_at(rows[15].received_ns, "trades")])
    assert catalog.book_at(BTC.id, rows[-1].received_ns) is not None


def test_only_the_first_question_about_a_file_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    begin = RowGroup.__init__

    def noted(self: RowGroup, file: Any, index: int) -> None:
        decoded.append(index)
        begin(self, file, index)

    rows = list(updates(300, np.random.default_rng(5)))
    catalog = stored(tmp_path, rows)
    monkeypatch.setattr(RowGroup, "__init__", noted)
    for row in rows[::-1]:
        catalog.book_at(BTC.id, row.received_ns)
    days = [row.received_ns // NS_PER_DAY for row in rows]
    groups = sum(-(-days.count(day) // 40) for day in set(days))
    assert len(decoded) <= groups + 3


def test_a_crossed_recording_is_refused(tmp_path: Path) -> None:
    rows = [
        BookUpdate(BTC.id, START_NS, START_NS, (100.0,), (1.0,), (101.0,), (1.0,), True),
        BookUpdate(BTC.id, START_NS, START_NS + 1, (102.0,), (1.0,), (), (), False),
    ]
    catalog = stored(tmp_path, rows)
    for ask in (
        lambda: catalog.book_at(BTC.id, START_NS + 1),
        lambda: catalog.bbo(BTC.id).arrow(),
        lambda: catalog.depth(BTC.id, every=1, end=START_NS + 2).arrow(),
    ):
        with pytest.raises(qk.DataError, match="crossed book"):
            ask()


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    catalog = stored(tmp_path, list(updates(20, np.random.default_rng(1))))
    with pytest.raises(qk.ConfigError, match="levels is 0; give 1 or more"):
        catalog.depth(BTC.id, levels=0)
    with pytest.raises(qk.ConfigError, match="duration '7 parsecs' is not understood"):
        catalog.bbo(BTC.id, every="7 parsecs")
    with pytest.raises(qk.ConfigError, match="more than 100,000,000 such moments"):
        catalog.bbo(BTC.id, "2000-01-01", every=1_000).arrow()
    with pytest.raises(qk.ConfigError, match="no column mid; there is received_ns, bid"):
        catalog.bbo(BTC.id, columns=["mid"])


def test_the_sample_book_is_the_one_of_a_run() -> None:
    """What a strategy sees at its timer is what `book_at` gives."""
    instrument = "binance:BTC-USDT-SWAP"
    seen: dict[int, tuple[Levels, Levels] | None] = {}

    class Look(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_book(instrument)
            self.every("20s")

        def on_timer(self, name: str) -> None:
            book = self.book(instrument)
            seen[self.now] = lists_of(None if book is None else book.copy())

    qk.backtest(Look(), data="data")
    catalog = Catalog("data")
    assert len(seen) > 10
    for moment, book in seen.items():
        # A timer comes before the rows of its own stamp.
        assert lists_of(catalog.book_at(instrument, moment - 1)) == book
