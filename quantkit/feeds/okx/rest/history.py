"""OKX's history, page by page, newest first: bars from two endpoints, trades by id, settled funding."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from quantkit.clock import NS_PER_MS, interval_ns
from quantkit.errors import ConfigError, ParseError
from quantkit.events import Candle, Funding, Mark, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BARS
from quantkit.feeds.okx.rest import replies
from quantkit.feeds.okx.rest.calls import (
    CANDLES,
    FUNDING_HISTORY,
    HISTORY_CANDLES,
    HISTORY_INDEX_CANDLES,
    HISTORY_MARK_CANDLES,
    HISTORY_TRADES,
    INDEX_CANDLES,
    MARK_CANDLES,
    TRADES,
    Endpoint,
    RestCalls,
)

#: Where bars of trades, marks and indexes are, by the channels' word before the bar: recent ones, and the history.
_BAR_ENDPOINTS: Final = {
    "candle": (CANDLES, HISTORY_CANDLES),
    "mark-price-candle": (MARK_CANDLES, HISTORY_MARK_CANDLES),
    "index-candle": (INDEX_CANDLES, HISTORY_INDEX_CANDLES),
}
#: The channels' words for bars of a `Mark.source`.
MARK_WORDS: Final = {"mark": "mark-price-candle", "index": "index-candle"}
#: Trades with ids so much higher than the newest one before a moment are looked at as well: ids and times are given
#: in one order by the exchange, but for matches of nearly one moment.
_ID_MARGIN: Final = 100
#: The number of newest bars that the recent endpoints have; older ones come from the history.
_RECENT_BARS: Final = 1440
#: Bars that only the history endpoint has.
_HISTORY_ONLY: Final = ("1s",)


class PagedRow(NamedTuple):
    """One undecoded row and its cursor, its position in the list: a time in milliseconds or a rising id."""

    cursor: int
    row: msgspec.Raw


async def newest_first(
    fetch: Callable[[int | None], Awaitable[Sequence[msgspec.Raw]]],
    cursor_of: Callable[[msgspec.Raw], int | None],
    *,
    older_than: int | None = None,
    where: str,
) -> AsyncGenerator[list[PagedRow], None]:
    """Yield pages of rows, newest first, no row twice, until there are no older ones.

    The length of a page says nothing: limits differ between endpoints and years, and a page may be short in the middle
    of a list. So the next page starts at the end of the last one, and only an empty page ends the list.

    Args:
        fetch: Returns rows older than a cursor (excluding it), the newest rows for None.
        cursor_of: Returns a row's cursor; a row without a readable one (None) is left out. Called once for each row.
        older_than: Where to begin; None for the newest row.
        where: The list, for messages.

    Raises:
        ParseError: No row of a page has a readable cursor, or all rows are newer than asked for. Going on would repeat
            the page for ever, and stopping would hide the missing history.
    """
    while True:
        rows = await fetch(older_than)
        if not rows:
            return
        # Of rows with one cursor the first is kept, since servers list the newest state first.
        page: dict[int, msgspec.Raw] = {}
        for row in rows:
            cursor = cursor_of(row)
            if cursor is not None:
                page.setdefault(cursor, row)
        if not page:
            raise ParseError(f"none of {len(rows)} rows has a readable time or id", where=where)
        older = sorted(
            (PagedRow(*item) for item in page.items() if older_than is None or item[0] < older_than), reverse=True
        )
        if not older:
            if older_than is not None and max(page) > older_than:
                raise ParseError(f"asked for rows older than {older_than}, newer ones came", where=where)
            return
        yield older
        older_than = older[-1].cursor


class History:
    """Lists that OKX returns in pages.

    Args:
        calls: Makes the requests.
        now_ns: The machine's clock.
    """

    def __init__(self, calls: RestCalls, now_ns: Callable[[], int]) -> None:
        self._calls = calls
        self._now_ns = now_ns

    # Candles --------------------------------------------------------------------------------------------------

    async def candles(
        self, channel: Channel, *, start_ns: int | None, end_ns: int | None, count: int | None
    ) -> AsyncGenerator[list[Candle], None]:
        """Yield pages of closed bars, newest first within and between them.

        Args:
            channel: A candle channel.
            start_ns: Bars that open then or later.
            end_ns: Bars that have closed by then.
            count: The number of bars wanted, which bounds the length of a page.
        """
        length_ns = bar_length_ns(channel)
        # A bar that closes by the end opens a whole interval before it, and paging excludes the cursor it is given.
        older_than = None if end_ns is None else (end_ns - length_ns) // NS_PER_MS + 1
        async with aclosing(self._bars(channel, length_ns, older_than, count)) as pages:
            async for page in pages:
                bars = replies.closed_candles(_rows(page), channel.name, channel.inst_id, self._calls.count)
                yield [bar for bar in bars if start_ns is None or bar.open_ns >= start_ns]
                if start_ns is not None and page[-1].cursor * NS_PER_MS <= start_ns:
                    return

    async def marks(
        self, channel: Channel, source: str, *, start_ns: int | None, end_ns: int | None
    ) -> AsyncGenerator[list[Mark], None]:
        """Yield pages of the last prices of closed bars of marks or of an index, newest first.

        Args:
            channel: Of bars of marks or of an index.
            source: Of the marks: `mark` or `index`.
            start_ns: Bars that open then or later.
            end_ns: Bars that have closed by then.
        """
        length_ns = bar_length_ns(channel)
        older_than = None if end_ns is None else (end_ns - length_ns) // NS_PER_MS + 1
        async with aclosing(self._bars(channel, length_ns, older_than, None)) as pages:
            async for page in pages:
                marks = replies.closing_marks(_rows(page), channel.inst_id, source, length_ns, self._calls.count)
                yield [mark for mark in marks if start_ns is None or mark.received_ns - length_ns >= start_ns]
                if start_ns is not None and page[-1].cursor * NS_PER_MS <= start_ns:
                    return

    async def candle_rows(self, channel: Channel, first_open_ns: int, last_open_ns: int) -> list[list[str]]:
        """Return the rows of bars that open between two moments, both included, newest first."""
        first, last = -(-first_open_ns // NS_PER_MS), last_open_ns // NS_PER_MS
        found: list[msgspec.Raw] = []
        async with aclosing(self._bars(channel, bar_length_ns(channel), last + 1, None)) as pages:
            async for page in pages:
                found += [row for cursor, row in page if cursor >= first]
                if page[-1].cursor <= first:
                    break
        return replies.candle_texts(found, self._calls.count)

    async def _bars(
        self, channel: Channel, length_ns: int, older_than: int | None, count: int | None
    ) -> AsyncGenerator[list[PagedRow], None]:
        """Yield rows of bars, first those that the recent endpoint still knows, then the history from there on."""
        word, _, bar = channel.name.rpartition("candle")
        recent, history = _BAR_ENDPOINTS[f"{word}candle"]
        # The bar that is still open takes a row of the first page.
        wanted = recent.most_rows if count is None else count + 1
        horizon_ns = self._now_ns() + self._calls.offset_ns - _RECENT_BARS * length_ns
        is_past = bar in _HISTORY_ONLY or (older_than is not None and older_than * NS_PER_MS <= horizon_ns)
        for endpoint in (history,) if is_past else (recent, history):

            async def fetch(cursor: int | None, endpoint: Endpoint = endpoint) -> Sequence[msgspec.Raw]:
                limit = min(wanted, endpoint.most_rows)
                query = {"instId": channel.inst_id, "bar": bar, "after": _text(cursor), "limit": str(limit)}
                return await self._fetch(endpoint, query)

            where = f"OKX {endpoint.path} {channel.inst_id}"
            async with aclosing(
                self._newest_first(fetch, replies.candle_cursor, older_than=older_than, where=where)
            ) as pages:
                async for page in pages:
                    yield page
                    older_than = page[-1].cursor

    # Trades ---------------------------------------------------------------------------------------------------

    async def newest_trades(self, instrument: str, count: int) -> AsyncGenerator[list[Trade], None]:
        """Yield pages of trades, newest first, beginning with those that `market/trades` knows."""

        async def fetch(cursor: int | None) -> Sequence[msgspec.Raw]:
            if cursor is not None:
                return await self._older_trades(instrument, cursor)
            limit = min(count, TRADES.most_rows)
            return await self._fetch(TRADES, {"instId": instrument, "limit": str(limit)})

        where = f"OKX {TRADES.path} {instrument}"
        async with aclosing(self._newest_first(fetch, replies.trade_cursor, where=where)) as pages:
            async for page in pages:
                yield replies.past_trades(_rows(page), instrument, self._calls.count)

    async def trades(
        self, instrument: str, *, start_ns: int | None, end_ns: int | None
    ) -> AsyncGenerator[list[Trade], None]:
        """Yield pages of the trades in [start_ns, end_ns), newest first."""
        async with aclosing(self.trade_pages(instrument, end_ns=end_ns)) as pages:
            async for found in pages:
                yield [
                    trade
                    for trade in found
                    if (start_ns is None or trade.exchange_ns >= start_ns)
                    and (end_ns is None or trade.exchange_ns < end_ns)
                ]
                # Ids and times need not rise together within a page, so the whole page has to be older.
                if start_ns is not None and found and max(trade.exchange_ns for trade in found) < start_ns:
                    return

    async def trade_pages(self, instrument: str, *, end_ns: int | None) -> AsyncGenerator[list[Trade], None]:
        """Yield pages of trades back to the first that OKX keeps, newest first: at least all before `end_ns`."""
        where = f"OKX {HISTORY_TRADES.path} {instrument}"
        older_than = None
        if end_ns is not None:
            # By time only to find an id: pages cut by time would lose trades of the same millisecond.
            limit = str(HISTORY_TRADES.most_rows)
            query = {"instId": instrument, "type": "2", "after": str(-(-end_ns // NS_PER_MS)), "limit": limit}
            rows = await self._fetch(HISTORY_TRADES, query)
            if not rows:
                return
            ids = [cursor for row in rows if (cursor := replies.trade_cursor(row)) is not None]
            if not ids:
                raise ParseError(f"none of {len(rows)} rows has a readable id", where=where)
            older_than = max(ids) + 1 + _ID_MARGIN

        async def fetch(cursor: int | None) -> Sequence[msgspec.Raw]:
            return await self._older_trades(instrument, cursor)

        async with aclosing(
            self._newest_first(fetch, replies.trade_cursor, older_than=older_than, where=where)
        ) as pages:
            async for page in pages:
                yield replies.past_trades(_rows(page), instrument, self._calls.count)

    async def _older_trades(self, instrument: str, trade_id: int | None) -> Sequence[msgspec.Raw]:
        limit = str(HISTORY_TRADES.most_rows)
        query = {"instId": instrument, "type": "1", "after": _text(trade_id), "limit": limit}
        return await self._fetch(HISTORY_TRADES, query)

    # Funding --------------------------------------------------------------------------------------------------

    async def funding(
        self, instrument: str, *, start_ns: int | None, end_ns: int | None
    ) -> AsyncGenerator[list[Funding], None]:
        """Yield pages of the settlements in [start_ns, end_ns], newest first."""
        endpoint = FUNDING_HISTORY

        async def fetch(cursor: int | None) -> Sequence[msgspec.Raw]:
            query = {"instId": instrument, "after": _text(cursor), "limit": str(endpoint.most_rows)}
            return await self._fetch(endpoint, query)

        older_than = None if end_ns is None else end_ns // NS_PER_MS + 1
        where = f"OKX {endpoint.path} {instrument}"
        async with aclosing(
            self._newest_first(fetch, replies.funding_cursor, older_than=older_than, where=where)
        ) as pages:
            async for page in pages:
                rates = replies.settled_funding(_rows(page), instrument, self._calls.count)
                yield [rate for rate in rates if start_ns is None or rate.funding_ns >= start_ns]
                if start_ns is not None and page[-1].cursor * NS_PER_MS <= start_ns:
                    return

    def _newest_first(
        self,
        fetch: Callable[[int | None], Awaitable[Sequence[msgspec.Raw]]],
        cursor_of: Callable[[msgspec.Raw], int | None],
        *,
        older_than: int | None = None,
        where: str,
    ) -> AsyncGenerator[list[PagedRow], None]:
        """Page through a list and count the rows without a readable cursor."""

        def counted(row: msgspec.Raw) -> int | None:
            cursor = cursor_of(row)
            if cursor is None:
                self._calls.count(f"{where}: rows without a readable time or id")
            return cursor

        return newest_first(fetch, counted, older_than=older_than, where=where)

    async def _fetch(self, endpoint: Endpoint, query: dict[str, str]) -> Sequence[msgspec.Raw]:
        reply = await self._calls.get(endpoint, query)
        return replies.rows_of(reply.data, where=f"OKX {endpoint.path} {query['instId']}")


def bar_length_ns(channel: Channel) -> int:
    """Return how long a candle channel's bars are.

    Raises:
        ConfigError: It is no channel of candles, or its bars do not open on UTC.
    """
    word, middle, bar = channel.name.rpartition("candle")
    interval = BARS.get(bar) if word + middle in _BAR_ENDPOINTS else None
    if interval is None:
        raise ConfigError(f"{channel}: not a channel of candles that open on UTC; use channels.candles(id, interval)")
    return interval_ns(interval)


def _rows(page: Sequence[PagedRow]) -> list[msgspec.Raw]:
    return [paged.row for paged in page]


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
