"""Book images that subscribers have: snapshots, changes between two images, and short books."""

from collections.abc import Iterable
from typing import Final, TypeAlias

from quantkit.sandbox.flow import SHOWN, OrderFlow
from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.wire import TopicPush

_Levels: TypeAlias = dict[int, tuple[int, int]]

#: How many levels of each side a chained channel shows, and how often at most it is pushed, ms.
DEPTHS: Final = {"books": SHOWN, "books-l2-tbt": SHOWN, "books50-l2-tbt": 50}
CADENCES_MS: Final = {"books": 100, "books-l2-tbt": 10, "books50-l2-tbt": 10, "books5": 100, "bbo-tbt": 10}


class BookImage:
    """The newest state of a book that a chained channel has pushed.

    Args:
        flow: Whose book it is.
        depth: Levels of each side.
    """

    def __init__(self, flow: OrderFlow, depth: int) -> None:
        self.seq_id = -1
        self.pushed_ms = 0
        self._flow = flow
        self._depth = depth
        self._bids: _Levels = {}
        self._asks: _Levels = {}

    def renew(self, now_ms: int) -> None:
        """Take the book as it is, for nobody follows the image."""
        self._bids, self._asks = _best(self._flow, self._depth)
        self.seq_id, self.pushed_ms = self._flow.seq_id, now_ms

    def snapshot(self, now_ms: int) -> TopicPush:
        """Return the image, from which the next update goes on."""
        listing = self._flow.listing
        tail = (
            f',"action":"snapshot","data":[{{"asks":[{_rows(listing, self._asks.items())}],'
            f'"bids":[{_rows(listing, self._bids.items())}],'
            f'"ts":"{now_ms}","checksum":0,"prevSeqId":-1,"seqId":{self.seq_id}}}]}}'
        )
        return TopicPush(tail, self.seq_id, -1)

    def update(self, now_ms: int, keep_alive_ms: float) -> TopicPush | None:
        """Return what changed since the last push, an empty update as a sign of life, or None."""
        bids, asks = _best(self._flow, self._depth)
        bid_rows = _changes(self._flow.listing, self._bids, bids)
        ask_rows = _changes(self._flow.listing, self._asks, asks)
        previous = self.seq_id
        if bid_rows or ask_rows:
            self._bids, self._asks, self.seq_id = bids, asks, self._flow.seq_id
        elif now_ms - self.pushed_ms < keep_alive_ms:
            return None
        self.pushed_ms = now_ms
        tail = (
            f',"action":"update","data":[{{"asks":[{ask_rows}],"bids":[{bid_rows}],'
            f'"ts":"{now_ms}","checksum":0,"prevSeqId":{previous},"seqId":{self.seq_id}}}]}}'
        )
        return TopicPush(tail, self.seq_id, previous)

    def rest_row(self, depth: int, now_ms: int) -> dict[str, object]:
        """Return the image as REST gives it."""
        listing = self._flow.listing
        return {
            "asks": [_level(listing, *each) for each in list(self._asks.items())[:depth]],
            "bids": [_level(listing, *each) for each in list(self._bids.items())[:depth]],
            "ts": str(now_ms),
            "seqId": self.seq_id,
        }


def short_book(flow: OrderFlow, depth: int, now_ms: int) -> TopicPush:
    """Return a push of books5 (five levels) or bbo-tbt (one), which send the whole of it each time."""
    bids, asks = _best(flow, depth)
    name = f'"instId":"{flow.listing.id}",' if depth > 1 else ""
    tail = (
        f',"data":[{{"asks":[{_rows(flow.listing, asks.items())}],"bids":[{_rows(flow.listing, bids.items())}],'
        f'{name}"ts":"{now_ms}","seqId":{flow.seq_id}}}]}}'
    )
    return TopicPush(tail, flow.seq_id)


def _best(flow: OrderFlow, depth: int) -> tuple[_Levels, _Levels]:
    """Return the best levels of both sides, best first."""
    bids, asks = flow.bids, flow.asks
    bid_levels, ask_levels = bids.levels, asks.levels
    return (
        {ticks: bid_levels[ticks] for ticks in reversed(bids.prices[-depth:])},
        {ticks: ask_levels[ticks] for ticks in asks.prices[:depth]},
    )


def _changes(listing: ListedInstrument, old: _Levels, new: _Levels) -> str:
    """Return the rows that turn one side into another: changed and new levels, and those that are out of it."""
    if old == new:
        return ""
    changed = [(ticks, level) for ticks, level in new.items() if old.get(ticks) != level]
    changed += [(ticks, (0, 0)) for ticks in old if ticks not in new]
    return _rows(listing, changed)


def _rows(listing: ListedInstrument, levels: Iterable[tuple[int, tuple[int, int]]]) -> str:
    price, qty = listing.price_text, listing.qty_text
    return ",".join([f'["{price(ticks)}","{qty(lots)}","0","{orders}"]' for ticks, (lots, orders) in levels])


def _level(listing: ListedInstrument, ticks: int, level: tuple[int, int]) -> list[str]:
    return [listing.price_text(ticks), listing.qty_text(level[0]), "0", str(level[1])]
