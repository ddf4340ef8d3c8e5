"""OKX's REST interface: instruments, history and snapshots as typed values, over one paced HTTP client."""

import collections
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

import numpy as np

from quantkit import clock
from quantkit.clock import iso_of
from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate, Candle, Funding, Mark, Ticker, Trade
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import decode_instruments, instrument_of
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxRequestError, reply_error
from quantkit.feeds.okx.rest import replies
from quantkit.feeds.okx.rest.archive import Archive
from quantkit.feeds.okx.rest.calls import (
    ACCOUNT_CONFIG,
    ATTEMPTS,
    BOOKS,
    INSTRUMENTS,
    TICKER,
    TICKERS,
    TIME,
    Reply,
    RestCalls,
)
from quantkit.feeds.okx.rest.history import MARK_WORDS, History
from quantkit.feeds.okx.rest.http import HttpClient, Transport
from quantkit.feeds.okx.rest.ids import expires_ns, kind_of, own_id, type_of_kind
from quantkit.feeds.okx.rest.replies import AccountConfig
from quantkit.feeds.okx.rest.rules import RulesNow
from quantkit.instruments import Instrument

_DEFAULT_CANDLES: Final = 100


class OkxRest:
    """A client for OKX's REST market data. It cannot trade.

    Use it as a context manager on one event loop. Requests are spaced to stay within OKX's limits, and repeated with
    back-off where that can help. A malformed row is counted and left out, never an error for the others.

    Args:
        config: Hosts, limits and timeouts.
        credentials: Needed for `account_config` and for the account's fees.
        transport: An HTTP transport of httpx2 to use instead of the network's.
        now_ns: The machine's clock, UTC ns.
        rng: For the jitter of back-offs.
        timeout_s: For one request from connecting to the last byte.
        attempts: How often a request is sent before its error is passed on, unless the retry policy gives up earlier.

    Attributes:
        archive: Its daily files.
        now: What OKX tells of the present alone: open interest, price limits, tiers, fees.
        counters: Rows left out and requests repeated, by name.
        requests: How many requests were sent.

    Examples:
        >>> async def newest() -> list[Candle]:
        ...     async with OkxRest(OkxConfig()) as rest:
        ...         return await rest.candles("BTC-USDT", "1m", count=500)
    """

    def __init__(
        self,
        config: OkxConfig | None = None,
        *,
        credentials: Credentials | None = None,
        transport: "Transport | None" = None,
        now_ns: Callable[[], int] = clock.wall_ns,
        rng: np.random.Generator | None = None,
        timeout_s: float = 20.0,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.config = config or OkxConfig()
        self._http = HttpClient(self.config, transport=transport, now_ns=now_ns, timeout_s=timeout_s)
        self._calls = RestCalls(
            self._http.send,
            self.config,
            credentials=credentials,
            now_ns=now_ns,
            rng=np.random.default_rng() if rng is None else rng,
            attempts=attempts,
        )
        self._history = History(self._calls, now_ns)
        self._now_ns = now_ns
        self.now = RulesNow(self._calls)
        self.archive = Archive(self._calls, self._http, self.config.rest_url.partition("://")[2])

    @property
    def counters(self) -> collections.Counter[str]:
        """Rows left out and requests repeated, by name."""
        return self._calls.counters

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._calls.requests

    async def __aenter__(self) -> Self:
        self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; requests under way fail."""
        await self._http.close()

    # The exchange ---------------------------------------------------------------------------------------------

    async def server_time_ns(self) -> int:
        """Return the exchange's clock, UTC ns, exact to a millisecond and the way back.

        Raises:
            OkxError: The request failed.
        """
        reply = await self._calls.get(TIME)
        return replies.server_time_ns(reply.data, where=f"OKX {TIME.path}")

    async def clock_offset_ns(self) -> int:
        """Measure the exchange's clock minus this machine's, in nanoseconds; later signatures use it.

        Raises:
            OkxError: The request failed.
        """
        return await self._calls.measure_offset()

    @property
    def clock_offset_error_ns(self) -> int:
        """Largest error of the last measured clock offset: half of its round trip and the server's rounding."""
        return self._calls.offset_error_ns

    async def instruments(
        self, kind: str, instrument: str | None = None, *, valid_from_ns: int = 0
    ) -> list[Instrument]:
        """Return the metadata of all instruments of a kind, or of one.

        Rows without steps, as before an instrument opens, and of contracts that are not understood are counted and
        left out.

        Args:
            kind: `spot`, `swap` or `future`.
            instrument: An id, to ask for it alone.
            valid_from_ns: Since when the metadata hold, kept with each.

        Raises:
            OkxRequestError: There is no such instrument.
            OkxError: The request failed otherwise.
        """
        rows = decode_instruments(await self._instruments_body(kind, instrument))
        if instrument is not None and not rows:
            raise reply_error("51001", "Instrument ID does not exist", where=f"OKX {INSTRUMENTS.path} {instrument}")
        found: list[Instrument] = []
        for row in rows:
            try:
                if isinstance(row, ParseError):
                    raise row
                each = instrument_of(row, valid_from_ns=valid_from_ns)
            except ParseError as error:
                self._calls.count(f"instrument left out: {error}")
                continue
            if each is None:
                self._calls.count(f"{kind} instruments that cannot be traded yet or here left out")
            elif instrument is None or each.id == instrument:
                found.append(each)
        return found

    async def _instruments_body(self, kind: str, instrument: str | None) -> bytes:
        inst_type = type_of_kind(kind)
        query = {"instType": inst_type, "instId": own_id(instrument) if instrument else ""}
        return (await self._calls.get(INSTRUMENTS, query, bucket=inst_type)).body

    async def instrument_body(self, instrument: str) -> bytes:
        """Return the reply of `public/instruments` for one instrument as OKX sent it.

        Raises:
            OkxError: The request failed.
        """
        return await self._instruments_body(kind_of(instrument), instrument)

    async def instrument(self, instrument: str, *, valid_from_ns: int = 0) -> Instrument:
        """Return the metadata of one instrument, its kind told from its id.

        Args:
            instrument: An id such as `BTC-USDT`, `BTC-USDT-SWAP` or `BTC-USD-261225`.
            valid_from_ns: Since when the metadata hold, kept with it.

        Raises:
            OkxRequestError: There is no such instrument, it has expired, or it cannot be traded yet.
            OkxError: The request failed otherwise.
        """
        try:
            found = await self.instruments(kind_of(instrument), instrument, valid_from_ns=valid_from_ns)
        except OkxRequestError as error:
            end_ns = expires_ns(instrument)
            if end_ns is None or end_ns > self._now_ns():
                raise
            raise OkxRequestError(
                f"{instrument} expired on {iso_of(end_ns)[:10]} and is not listed any more: fetch its files of trades "
                f"from okx.com/historical-data and import them (quantkit import FILE... --only {instrument} "
                "--contract-value N)",
                code=error.code,
                where=instrument,
            ) from None
        if not found:
            raise OkxRequestError(
                f"{instrument}: OKX lists it, but without steps or of a kind that cannot be traded here; "
                "wait until it opens, or choose another instrument",
                where=instrument,
            )
        return found[0]

    # Candles --------------------------------------------------------------------------------------------------

    async def candles(
        self,
        instrument: str,
        interval: str,
        *,
        count: int | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[Candle]:
        """Return closed candles, oldest first, each received at its close.

        Args:
            instrument: The id.
            interval: Such as `1m`; those of 6h and longer open on UTC.
            count: How many at most, the newest ones; 100 where neither it nor `start_ns` is given.
            start_ns: Bars that open then or later, UTC ns.
            end_ns: Bars that have closed by then; all closed ones where it is None.

        Raises:
            ConfigError: The interval is not known, or the arguments contradict each other.
            ParseError: A page cannot be understood as a whole, so that going on would lose bars.
            OkxError: A request failed.
        """
        if count is None and start_ns is None:
            count = _DEFAULT_CANDLES
        if count is not None and count < 1:
            raise ConfigError(f"count is {count}; ask for at least one candle")
        channel = _candle_channel(instrument, interval, start_ns, end_ns)
        found: list[Candle] = []
        async with aclosing(self._history.candles(channel, start_ns=start_ns, end_ns=end_ns, count=count)) as pages:
            async for page in pages:
                found += page
                if count is not None and len(found) >= count:
                    break
        return found[:count][::-1]

    async def candle_pages(
        self, instrument: str, interval: str, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> AsyncGenerator[list[Candle], None]:
        """Yield closed candles page by page, the newest page first, each page oldest first.

        Args:
            instrument, interval, start_ns, end_ns: As for `candles`; without a start back to the first bar there is.

        Raises:
            ConfigError: The interval is not known, or the end is not after the start.
            OkxError: A request failed.
        """
        channel = _candle_channel(instrument, interval, start_ns, end_ns)
        async with aclosing(self._history.candles(channel, start_ns=start_ns, end_ns=end_ns, count=None)) as pages:
            async for page in pages:
                if page:
                    yield page[::-1]

    async def candle_rows(self, channel: Channel, first_open_ns: int, last_open_ns: int) -> list[list[str]]:
        """Return the rows of bars that open between two moments, both included, as OKX sent them, newest first.

        Args:
            channel: A candle channel, such as `channels.candles("BTC-USDT", "1m")`.
            first_open_ns, last_open_ns: UTC ns.

        Raises:
            ConfigError: The channel is not one of candles.
            OkxError: A request failed.
        """
        return await self._history.candle_rows(channel, first_open_ns, last_open_ns)

    async def mark_pages(
        self,
        instrument: str,
        interval: str,
        *,
        source: str = "mark",
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> AsyncGenerator[list[Mark], None]:
        """Yield the last mark of each closed bar page by page, the newest page first, each page oldest first.

        Args:
            instrument: A contract's id; of an index the index's, such as `BTC-USDT`.
            interval: Such as `1m`.
            source: `mark` or `index`.
            start_ns, end_ns: As for `candles`; without a start back to the first bar there is.

        Raises:
            ConfigError: The interval or the source is not known, or the end is not after the start.
            OkxError: A request failed.
        """
        if source not in MARK_WORDS:
            raise ConfigError(f"source {source!r} is not known; use one of {', '.join(MARK_WORDS)}")
        candles = _candle_channel(instrument, interval, start_ns, end_ns)
        channel = Channel(MARK_WORDS[source] + candles.name.removeprefix("candle"), candles.inst_id)
        async with aclosing(self._history.marks(channel, source, start_ns=start_ns, end_ns=end_ns)) as pages:
            async for page in pages:
                if page:
                    yield page[::-1]

    # Books, quotes, trades, funding ---------------------------------------------------------------------------

    async def book_body(self, instrument: str, depth: int = 400) -> bytes:
        """Return the reply of `market/books` as OKX sent it.

        Args:
            instrument: The id.
            depth: Levels of each side, 1 to 400.

        Raises:
            ConfigError: The depth is outside of that.
            OkxError: The request failed.
        """
        return (await self._book(instrument, depth)).body

    async def book(self, instrument: str, depth: int = 400) -> BookUpdate:
        """Return a snapshot of the book with its sequence number, received now.

        Args:
            instrument: The id.
            depth: Levels of each side, 1 to 400.

        Raises:
            ConfigError: The depth is outside of that.
            ParseError: The snapshot is malformed.
            OkxError: The request failed.
        """
        reply = await self._book(instrument, depth)
        where = f"OKX {BOOKS.path} {instrument}"
        rows = replies.rows_of(reply.data, where=where)
        return replies.whole_book(rows, instrument, reply.received_ns, where=where)

    async def _book(self, instrument: str, depth: int) -> Reply:
        if not 1 <= depth <= BOOKS.most_rows:
            raise ConfigError(f"depth is {depth}; use 1 to {BOOKS.most_rows}")
        return await self._calls.get(BOOKS, {"instId": own_id(instrument), "sz": str(depth)})

    async def tickers(self, kind: str) -> list[Ticker]:
        """Return the quotes of all instruments of a kind, `spot`, `swap` or `future`, received now.

        Raises:
            OkxError: The request failed.
        """
        reply = await self._calls.get(TICKERS, {"instType": type_of_kind(kind)})
        rows = replies.rows_of(reply.data, where=f"OKX {TICKERS.path}")
        return replies.current_tickers(rows, reply.received_ns, self._calls.count)

    async def ticker(self, instrument: str) -> Ticker:
        """Return the quote of one instrument, received now.

        Raises:
            ParseError: The quote is malformed or missing.
            OkxError: The request failed.
        """
        reply = await self._calls.get(TICKER, {"instId": own_id(instrument)})
        where = f"OKX {TICKER.path} {instrument}"
        rows = replies.rows_of(reply.data, where=where)
        for ticker in replies.current_tickers(rows, reply.received_ns, self._calls.count):
            if ticker.instrument == instrument:
                return ticker
        raise ParseError("no quote in the reply", where=where)

    async def trades(self, instrument: str, count: int = 100) -> list[Trade]:
        """Return the newest trades, each match by itself, oldest first, received when they happened.

        Args:
            instrument: The id.
            count: How many at most; OKX keeps three months.

        Raises:
            ConfigError: The count is below one.
            OkxError: A request failed.
        """
        if count < 1:
            raise ConfigError(f"count is {count}; ask for at least one trade")
        found: list[Trade] = []
        async with aclosing(self._history.newest_trades(own_id(instrument), count)) as pages:
            async for page in pages:
                found += page
                if len(found) >= count:
                    break
        return found[:count][::-1]

    async def history_trades(
        self, instrument: str, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> AsyncGenerator[Trade, None]:
        """Yield past trades, each match by itself, newest first, received when they happened.

        Args:
            instrument: The id.
            start_ns: Trades then or later, UTC ns; without it back to the first that OKX keeps, three months.
            end_ns: Trades before then; without it from the newest.

        Raises:
            OkxError: A request failed.
        """
        async with aclosing(self._history.trades(own_id(instrument), start_ns=start_ns, end_ns=end_ns)) as pages:
            async for page in pages:
                for trade in page:
                    yield trade

    async def trade_pages(self, instrument: str, *, end_ns: int | None = None) -> AsyncGenerator[list[Trade], None]:
        """Yield past trades page by page, newest first, back to the first that OKX keeps.

        Args:
            instrument: The id.
            end_ns: All trades before then are among them, and perhaps some later ones; without it all.

        Raises:
            OkxError: A request failed.
        """
        async with aclosing(self._history.trade_pages(own_id(instrument), end_ns=end_ns)) as pages:
            async for page in pages:
                if page:
                    yield page

    async def funding_history(
        self,
        instrument: str,
        *,
        count: int | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[Funding]:
        """Return settled funding rates, as charged, oldest first, received when they were settled.

        Args:
            instrument: A swap's id.
            count: How many at most, the newest ones.
            start_ns: Settlements then or later, UTC ns; without it back to the first that OKX keeps, three months.
            end_ns: Settlements by then; without it the newest.

        Raises:
            ConfigError: The count is below one.
            OkxError: A request failed.
        """
        if count is not None and count < 1:
            raise ConfigError(f"count is {count}; ask for at least one rate")
        found: list[Funding] = []
        async with aclosing(self._history.funding(own_id(instrument), start_ns=start_ns, end_ns=end_ns)) as pages:
            async for page in pages:
                found += page
                if count is not None and len(found) >= count:
                    break
        return found[:count][::-1]

    async def funding_pages(
        self, instrument: str, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> AsyncGenerator[list[Funding], None]:
        """Yield settled funding rates page by page, newest first.

        Args:
            instrument, start_ns, end_ns: As for `funding_history`.

        Raises:
            OkxError: A request failed.
        """
        async with aclosing(self._history.funding(own_id(instrument), start_ns=start_ns, end_ns=end_ns)) as pages:
            async for page in pages:
                if page:
                    yield page

    # The account ----------------------------------------------------------------------------------------------

    async def account_config(self) -> AccountConfig:
        """Return the account's configuration, which proves the key.

        Raises:
            ConfigError: There are no credentials, or they must not be sent to this host.
            OkxAuthError: OKX refuses them.
            OkxError: The request failed otherwise.
        """
        reply = await self._calls.get(ACCOUNT_CONFIG, is_private=True)
        return replies.account_config(reply.data, where=f"OKX {ACCOUNT_CONFIG.path}")


def _candle_channel(instrument: str, interval: str, start_ns: int | None, end_ns: int | None) -> Channel:
    if start_ns is not None and end_ns is not None and end_ns <= start_ns:
        raise ConfigError(f"candles of {instrument}: the end must be after the start")
    return channels.candles(instrument, interval)
