"""The mid of a book as a mark: whoever asks, at whatever index, hears what a walk row by row would find."""

from random import Random

import numpy as np
import pytest
from oracle.resting import COIN, market

from quantkit.events import BookUpdate, Gap, MarketEvent
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.marks import BookMark, _mid

Mids = dict[int, float]


def walked(events: list[MarketEvent]) -> list[float | None]:
    """Return the mid after every event of a run, row by row."""
    cursor, found = BookCursor(Stream("book", COIN.id), COIN), []
    for event in events:
        if isinstance(event, Gap):
            cursor.book.invalidate()
        else:
            cursor.load(Block.from_events([event]), np.zeros(1, np.int64))
            cursor.advance(1)
            cursor.load(None, np.empty(0, np.int64))
        found.append(_mid(cursor.book))
    return found


class Run:
    """A book, its gaps and its mark, in batches; the book itself is only where a run has come to."""

    def __init__(self) -> None:
        self.book = BookCursor(Stream("book", COIN.id), COIN)
        self.gaps = StreamCursor(Stream("gap", COIN.id))
        self.mark = BookMark(self.book, self.gaps)

    def enter(self, events: list[MarketEvent]) -> None:
        """Begin with the rows of a batch."""
        for cursor, kind in ((self.book, BookUpdate), (self.gaps, Gap)):
            rows = [(index, event) for index, event in enumerate(events) if isinstance(event, kind)]
            block = Block.from_events([event for _, event in rows]) if rows else None
            cursor.load(block, np.array([index for index, _ in rows], np.int64))

    def see(self, index: int, event: MarketEvent) -> None:
        """Come to an event: a gap is taken in, rows are applied when somebody needs them."""
        if isinstance(event, Gap):
            if self.book.rows:
                self.book.advance(self.book.row_at(index))
            self.book.book.invalidate()

    def leave(self) -> None:
        """End a batch as a run does."""
        if self.book.rows:
            self.mark.leave_rows()


@pytest.mark.parametrize("seed", range(30))
def test_it_knows_what_a_walk_finds(seed: int) -> None:
    """From the row that stood when somebody first asked, in batches of any size, with questions of now and of later."""
    dice = Random(seed)
    events = [e for e in market(seed, rows=400, has_gaps=True, has_trades=False) if isinstance(e, BookUpdate | Gap)]
    mids, run, begin = walked(events), Run(), 0
    while begin < len(events):
        batch = events[begin : begin + dice.choice((1, 2, 7, 40, 200))]
        run.enter(batch)
        asked_at: int | None = None
        is_asked = dice.random() < 0.7
        for index, event in enumerate(batch):
            run.see(index, event)
            if dice.random() < 0.2:
                run.book.advance(run.book.row_at(index + 1))
            if is_asked and (index == 0 or dice.random() < 0.1):
                until = min(len(batch), index + 1 + dice.choice((0, 0, 3, 100)))
                asked_at = index + 1 if asked_at is None else asked_at
                indices, values = run.mark.rows(until)
                known = dict(zip(indices.tolist(), values.tolist(), strict=True))
                truth = {
                    at: mid
                    for at, mid in enumerate(mids[begin : begin + until])
                    if isinstance(batch[at], BookUpdate) and mid is not None and at >= asked_at
                }
                assert {at: known.get(at) for at in truth} == truth
                assert all(mids[begin + at] == value for at, value in known.items())
        run.leave()
        begin += len(batch)


def test_the_mid_that_stood_is_known_too() -> None:
    """Funding that is told late may ask for it."""
    run = Run()
    levels = ((99.0,), (1.0,), (101.0,), (1.0,))
    events: list[MarketEvent] = [BookUpdate(COIN.id, at, at, *levels, at == 0) for at in range(3)]
    run.enter(events)
    run.book.advance(2)
    indices, values = run.mark.rows(0)
    assert (indices.tolist(), values.tolist()) == ([1], [100.0])


def test_rows_after_a_gap_do_not_move_the_mid() -> None:
    """The one who looks ahead knows of the gap before the book itself loses its way."""
    run = Run()
    whole: MarketEvent = BookUpdate(COIN.id, 0, 0, (99.0,), (1.0,), (101.0,), (1.0,), True)
    change: MarketEvent = BookUpdate(COIN.id, 2, 2, (100.0,), (1.0,), (), (), False)
    run.enter([whole, Gap(COIN.id, 1, 1, "book", 0, 1, "lost"), change])
    assert run.mark.rows(3)[1].tolist() == [100.0, 100.0]


def test_a_gap_between_two_batches_is_one_for_both_books() -> None:
    """What comes before the next snapshot changes nothing."""
    run = Run()
    whole: MarketEvent = BookUpdate(COIN.id, 0, 0, (99.0,), (1.0,), (101.0,), (1.0,), True)
    change: MarketEvent = BookUpdate(COIN.id, 2, 2, (100.0,), (1.0,), (), (), False)
    run.enter([whole])
    assert run.mark.rows(1)[1].tolist() == [100.0]
    run.leave()
    run.enter([Gap(COIN.id, 1, 1, "book", 0, 1, "lost")])
    run.see(0, Gap(COIN.id, 1, 1, "book", 0, 1, "lost"))
    run.leave()
    run.enter([change])
    assert run.mark.rows(1)[1].tolist() == [100.0]
