"""What proves OKX captures: the order and checksum of books, and the ids of trades."""

from collections import deque
from typing import Final

from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.codec import decode as messages
from quantkit.feeds.okx.tracker.book import CHECKSUM_LEVELS, Link, checksum, link
from quantkit.importers.book import NaiveBook, book_gap
from quantkit.importers.report import Tally

#: How many trade ids are remembered of an instrument to tell repeated trades.
_REMEMBERED_IDS: Final = 100_000


class OkxBook:
    """Watches the book of one instrument on one channel: order, checksum and crossing.

    Args:
        tally: Counts checksums and links that proved right.
    """

    def __init__(self, tally: Tally) -> None:
        self.book = NaiveBook()
        self.is_valid = False
        self._tally = tally
        self._has_begun = False
        self._last_seq_id: int | None = None
        self._last_ns: int | None = None

    def take(self, data: messages.BookData) -> BookUpdate | Gap | str:
        """Return the update if it follows, a gap if it reveals one, or the rule by which it is ignored."""
        if not self.is_valid and not data.update.is_snapshot:
            if self._has_begun:
                return "book updates while waiting for a snapshot"
            self._has_begun = True
            self._tally.ignore("book updates while waiting for a snapshot")
            return book_gap(data.update, since_ns=None, cause="no snapshot")
        self._has_begun = True
        match link(data, self._last_seq_id):
            case Link.REPEAT:
                return "repeated book frames"
            case Link.BROKEN:
                return self._broken(data, "sequence")
            case _:
                pass
        self.book.apply(data.update, data.bids, data.asks)
        if self.book.is_crossed:
            return self._broken(data, "crossed")
        if data.checksum:  # 0 means that there is none
            if data.checksum != self._checksum():
                return self._broken(data, "checksum")
            self._tally.check("book checksums")
        elif data.seq_id is not None and not data.update.is_snapshot:
            self._tally.check("book sequence links")
        self.is_valid = True
        self._last_seq_id, self._last_ns = data.seq_id, data.update.exchange_ns
        return data.update

    def _broken(self, data: messages.BookData, cause: str) -> Gap:
        self.is_valid = False
        return book_gap(data.update, since_ns=self._last_ns, cause=cause)

    def _checksum(self) -> int:
        bids, asks = self.book.bids, self.book.asks
        best_bids = [bids[price] for price in sorted(bids, reverse=True)[:CHECKSUM_LEVELS]]
        best_asks = [asks[price] for price in sorted(asks)[:CHECKSUM_LEVELS]]
        return checksum([(level.px, level.sz) for level in best_bids], [(level.px, level.sz) for level in best_asks])


class OkxTrades:
    """Watches the trade ids of one instrument on one channel."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._order: deque[int] = deque()
        self._last: messages.TradeData | None = None

    def is_repeated(self, trade_id: int) -> bool:
        """Return whether an id came before, and remember it."""
        if trade_id in self._ids:
            return True
        if trade_id:
            self._ids.add(trade_id)
            self._order.append(trade_id)
            if len(self._order) > _REMEMBERED_IDS:
                self._ids.discard(self._order.popleft())
        return False

    def gap(self, data: messages.TradeData) -> Gap | None:
        """Return the gap before a trade, where ids that count every match show one."""
        last, self._last = self._last, data
        matches = 1 if data.channel == "trades-all" else data.count
        trade = data.event
        if last is None or not matches or trade.trade_id <= last.event.trade_id:
            return None
        first_id = trade.trade_id - matches + 1
        if first_id <= last.event.trade_id + 1:
            return None
        cause = f"trades {last.event.trade_id + 1} to {first_id - 1} are missing"
        start_ns = min(last.event.exchange_ns, trade.exchange_ns)
        return Gap(trade.instrument, trade.exchange_ns, trade.received_ns, "trade", start_ns, trade.exchange_ns, cause)
