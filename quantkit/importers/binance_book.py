"""Binance's local order book: a REST snapshot aligned with the stream of updates, and their sequence checked."""

from collections import deque
from typing import Final, NamedTuple, TypeAlias

from quantkit.events import BookUpdate, Gap
from quantkit.importers.book import NaiveBook, book_gap

#: Diffs kept while waiting for a snapshot; at ten a second this is half an hour.
_WAITING_DIFFS: Final = 20_000

#: What a frame comes to: rows, a gap, or the rule by which a row is ignored.
BookOutcome: TypeAlias = BookUpdate | Gap | str

BEFORE: Final = "depth updates before the snapshot"
WAITING: Final = "depth updates that waited in vain for a snapshot"


class Diff(NamedTuple):
    """One `depthUpdate`: the ids it spans, and the last id of the one before it where the market sends that."""

    exchange_ns: int
    received_ns: int
    first_id: int
    last_id: int
    prev_id: int | None
    bid_prices: tuple[float, ...]
    bid_qtys: tuple[float, ...]
    ask_prices: tuple[float, ...]
    ask_qtys: tuple[float, ...]


class Snapshot(NamedTuple):
    """One REST depth reply."""

    exchange_ns: int
    received_ns: int
    last_id: int
    bid_prices: tuple[float, ...]
    bid_qtys: tuple[float, ...]
    ask_prices: tuple[float, ...]
    ask_qtys: tuple[float, ...]


class BinanceBook:
    """The book of one symbol.

    Diffs wait until a snapshot comes; those it already holds are dropped, the others follow it. Source: Binance API,
    "How to manage a local order book correctly", spot and USD-M futures.

    Args:
        instrument: The id for the rows.
        is_spot: Whether ids chain by `U == u + 1` as on spot, or by `pu == u` as on futures.
    """

    def __init__(self, instrument: str, *, is_spot: bool) -> None:
        self.book = NaiveBook()
        self._instrument = instrument
        self._is_spot = is_spot
        self._waiting: deque[Diff] = deque()
        self._is_live = False
        self._is_spliced = False  # whether a diff has followed the snapshot
        self._last_id = 0
        self._last_ns: int | None = None

    @property
    def waiting(self) -> int:
        """How many diffs wait for a snapshot."""
        return len(self._waiting)

    def covers(self, last_id: int) -> bool:
        """Return whether a snapshot's id lies among the diffs that wait."""
        return bool(self._waiting) and self._waiting[0].first_id - 1 <= last_id <= self._waiting[-1].last_id

    def likeness(self, snapshot: Snapshot) -> int:
        """Return how many of the levels that wait are in a snapshot, since markets may share their ids."""
        prices = {*snapshot.bid_prices, *snapshot.ask_prices}
        return sum(price in prices for diff in self._waiting for price in (*diff.bid_prices, *diff.ask_prices))

    def diff(self, diff: Diff) -> list[BookOutcome]:
        """Take one diff."""
        if not self._is_live:
            self._waiting.append(diff)
            if len(self._waiting) > _WAITING_DIFFS:
                self._waiting.popleft()
                return [WAITING]
            return []
        return self._applied(diff, diff.received_ns)

    def snapshot(self, snapshot: Snapshot) -> list[BookOutcome]:
        """Take a snapshot: the book begins with it, and the diffs that waited follow at its receipt stamp."""
        if self._is_live:
            return ["depth snapshots beside a book that is complete"]
        waiting, self._waiting = self._waiting, deque()
        outcomes: list[BookOutcome] = []
        while waiting and self._is_held(waiting[0], snapshot.last_id):
            waiting.popleft()
            outcomes.append(BEFORE)
        if waiting and not self._is_first(waiting[0], snapshot.last_id):
            # The diffs begin after the snapshot: it is of no use, and another one must come.
            self._waiting = waiting
            outcomes.append(
                self._gap(self._update(waiting[0], snapshot.received_ns), "snapshot older than the updates")
            )
            return outcomes
        update = BookUpdate(
            self._instrument, snapshot.exchange_ns, snapshot.received_ns, *snapshot[3:], True, snapshot.last_id, -1
        )
        self.book.apply(update)
        if self.book.is_crossed:
            return [*outcomes, self._gap(update, "crossed")]
        self._is_live, self._is_spliced = True, False
        self._last_id, self._last_ns = snapshot.last_id, snapshot.exchange_ns
        outcomes.append(update)
        while waiting and self._is_live:
            outcomes += self._applied(waiting.popleft(), snapshot.received_ns)
        self._waiting += waiting
        return outcomes

    def _applied(self, diff: Diff, received_ns: int) -> list[BookOutcome]:
        if not self._is_spliced and self._is_held(diff, self._last_id):
            return [BEFORE]
        update = self._update(diff, received_ns)
        if not self._follows(diff):
            self._is_live = False
            self._waiting.append(diff)
            return [self._gap(update, "sequence")]
        self.book.apply(update)
        if self.book.is_crossed:
            self._is_live = False
            return [self._gap(update, "crossed")]
        self._is_spliced = True
        self._last_id, self._last_ns = diff.last_id, diff.exchange_ns
        return [update]

    def _is_held(self, diff: Diff, last_id: int) -> bool:
        """Return whether a snapshot already holds a diff."""
        return diff.last_id <= last_id if self._is_spot else diff.last_id < last_id

    def _is_first(self, diff: Diff, last_id: int) -> bool:
        """Return whether a diff may be the first after a snapshot."""
        if self._is_spot:
            return diff.first_id <= last_id + 1 <= diff.last_id
        return diff.first_id <= last_id <= diff.last_id or diff.prev_id == last_id

    def _follows(self, diff: Diff) -> bool:
        if not self._is_spliced:
            return self._is_first(diff, self._last_id)
        if self._is_spot or diff.prev_id is None:
            return diff.first_id == self._last_id + 1
        return diff.prev_id == self._last_id

    def _update(self, diff: Diff, received_ns: int) -> BookUpdate:
        prev_id = diff.first_id - 1 if diff.prev_id is None else diff.prev_id
        return BookUpdate(self._instrument, diff.exchange_ns, received_ns, *diff[5:], False, diff.last_id, prev_id)

    def _gap(self, update: BookUpdate, cause: str) -> Gap:
        self._is_live = False
        return book_gap(update, since_ns=self._last_ns, cause=cause)
