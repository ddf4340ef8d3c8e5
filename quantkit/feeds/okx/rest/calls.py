"""REST requests as OKX wants them: paced, signed, repeated where that helps, and judged; no HTTP library in here."""

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec
import numpy as np

from quantkit.clock import NS_PER_MS, datetime_of
from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import (
    OkxError,
    OkxLimitError,
    OkxServerError,
    is_clock_skew,
    parse_retry_after,
    reply_error,
)
from quantkit.feeds.okx.limits import Pacer
from quantkit.feeds.okx.rest.replies import envelope, is_cut, server_time_ns

#: How often a request is sent before its error is passed on, unless more or fewer are wanted.
ATTEMPTS: Final = 5
#: A server that asks for more patience than this is not waited for.
LONGEST_WAIT_S: Final = 60.0
#: Names hold foreign text, so a server could make up ever new ones.
_MOST_NAMES: Final = 200

#: Requests reach OKX less evenly than they leave here; so much slower than allowed, no window ever holds one too many.
_HEADROOM: Final = 1.05

_log: Final = logging.getLogger("quantkit.feeds.okx")


class Endpoint(NamedTuple):
    """One address below `/api/v5` and its limits.

    Attributes:
        path: Without the leading `/api/v5/`.
        requests: Requests allowed in any `window_s` seconds.
        window_s: Length of the window, seconds.
        most_rows: Largest number of rows in an answer, 0 where it is not paged.
    """

    path: str
    requests: int
    window_s: float = 2.0
    most_rows: int = 0

    @property
    def target(self) -> str:
        """The path of a request, without query."""
        return f"/api/v5/{self.path}"

    @property
    def paced_window_s(self) -> float:
        """The window over which `requests` requests are spread."""
        return self.window_s * _HEADROOM


# Source: OKX API v5, "Rate limit" of each endpoint.
TIME: Final = Endpoint("public/time", 10)
INSTRUMENTS: Final = Endpoint("public/instruments", 20)
CANDLES: Final = Endpoint("market/candles", 40, most_rows=300)
HISTORY_CANDLES: Final = Endpoint("market/history-candles", 20, most_rows=300)
INDEX_CANDLES: Final = Endpoint("market/index-candles", 20, most_rows=100)
HISTORY_INDEX_CANDLES: Final = Endpoint("market/history-index-candles", 10, most_rows=100)
MARK_CANDLES: Final = Endpoint("market/mark-price-candles", 20, most_rows=100)
HISTORY_MARK_CANDLES: Final = Endpoint("market/history-mark-price-candles", 10, most_rows=100)
TRADES: Final = Endpoint("market/trades", 100, most_rows=500)
HISTORY_TRADES: Final = Endpoint("market/history-trades", 20, most_rows=100)
BOOKS: Final = Endpoint("market/books", 40, most_rows=400)
TICKER: Final = Endpoint("market/ticker", 20)
TICKERS: Final = Endpoint("market/tickers", 20)
FUNDING_HISTORY: Final = Endpoint("public/funding-rate-history", 10, most_rows=400)
OPEN_INTEREST: Final = Endpoint("public/open-interest", 20)
PRICE_LIMIT: Final = Endpoint("public/price-limit", 20)
POSITION_TIERS: Final = Endpoint("public/position-tiers", 10)
MARKET_DATA_HISTORY: Final = Endpoint("public/market-data-history", 2, 5.0)
TRADE_FEE: Final = Endpoint("account/trade-fee", 5)
ACCOUNT_CONFIG: Final = Endpoint("account/config", 5)


class Answer(NamedTuple):
    """An HTTP answer.

    Attributes:
        status: The HTTP status.
        body: All of it, decompressed.
        retry_after: The header of that name, empty where there was none.
        sent_ns, received_ns: The machine's clock when the request left and when the answer was complete.
    """

    status: int
    body: bytes
    retry_after: str
    sent_ns: int
    received_ns: int


class Reply(NamedTuple):
    """A success: the whole body, its data, and the stamps of its `Answer`."""

    body: bytes
    data: msgspec.Raw
    sent_ns: int
    received_ns: int


#: Turns the path and query exactly as sent into the headers of a signature.
Signer = Callable[[str], Mapping[str, str]]
#: Sends a GET for a path and query and returns the answer; raises `OkxNetworkError` where none came.
Send = Callable[[str, Signer | None, str], Awaitable[Answer]]


class RestCalls:
    """Makes requests one after another in each bucket: an endpoint, or one of its instrument types.

    Args:
        send: Puts one request on the wire.
        config: Host and retry policy.
        credentials: For private requests.
        now_ns: The machine's clock.
        rng: For the jitter of back-offs.
        attempts: How often a request is sent before its error is passed on, unless the retry policy gives up earlier.

    Attributes:
        requests: How many were sent.
        counters: Requests repeated and rows left out, by name; each new name is logged once.
        offset_ns: The exchange's clock minus this machine's, once measured.
        offset_error_ns: Largest error of the offset.
    """

    def __init__(
        self,
        send: Send,
        config: OkxConfig,
        *,
        credentials: Credentials | None,
        now_ns: Callable[[], int],
        rng: np.random.Generator,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.requests = 0
        self._attempts = attempts
        self.counters: collections.Counter[str] = collections.Counter()
        self.offset_ns = self.offset_error_ns = 0
        self._send = send
        self._config = config
        self._credentials = credentials
        self._now_ns = now_ns
        self._rng = rng
        self._buckets: dict[tuple[Endpoint, str], RateBucket] = {}

    def count(self, what: str) -> None:
        """Count something that is not an error of the caller, and log it when it is new."""
        name = what[:120]
        if name not in self.counters and len(self.counters) >= _MOST_NAMES:
            name = "others"
        if name not in self.counters:
            _log.warning("OKX REST: %s; further ones are counted only", name)
        self.counters[name] += 1

    async def get(
        self, endpoint: Endpoint, query: Mapping[str, str] | None = None, *, bucket: str = "", is_private: bool = False
    ) -> Reply:
        """Return the reply to a GET request.

        Args:
            endpoint: What to ask.
            query: Its parameters, in the order in which they are sent; the empty ones are left out.
            bucket: What OKX counts apart within the endpoint, such as the instrument type.
            is_private: Whether to sign it.

        Raises:
            OkxError: Refused for good, or still refused after the last attempt.
            ConfigError: It is private and there are no credentials, or the host must not see them.
        """
        sent = {name: value for name, value in (query or {}).items() if value}
        target = endpoint.target + (f"?{urlencode(sent)}" if sent else "")
        where = f"OKX {endpoint.path} {sent.get('instId', bucket)}".rstrip()
        signer = self._signer() if is_private else None
        rate_bucket = self._buckets.setdefault((endpoint, bucket), RateBucket(endpoint))
        has_measured = False
        failures = 0
        while True:
            await rate_bucket.enter()
            self.requests += 1
            try:
                return self._judge(await self._send(target, signer, where), where)
            except OkxError as error:
                if is_clock_skew(error.code) and is_private and not has_measured:
                    has_measured = True
                    self.count("requests signed anew with the exchange's time")
                    await self.measure_offset()
                    continue
                failures += 1
                wait_s = self.wait_s(error, failures, endpoint)
                if wait_s is None:
                    raise
                self.count(f"{endpoint.path} repeated after {error.code or type(error).__name__}")
                if isinstance(error, OkxLimitError):
                    # The whole bucket waits: its next request would be refused as well.
                    rate_bucket.hold(wait_s)
                else:
                    await asyncio.sleep(wait_s)

    async def measure_offset(self) -> int:
        """Measure and keep the exchange's clock minus this machine's, in nanoseconds.

        Of two answers the faster one counts, since connecting delays the first; it is exact to half its round trip.

        Raises:
            OkxError: The request failed.
        """
        replies = [await self.get(TIME), await self.get(TIME)]
        best = min(replies, key=lambda reply: reply.received_ns - reply.sent_ns)
        middle_ns = (best.sent_ns + best.received_ns) // 2
        self.offset_ns = server_time_ns(best.data, where=f"OKX {TIME.path}") - middle_ns
        # The exchange tells whole milliseconds.
        self.offset_error_ns = (best.received_ns - best.sent_ns) // 2 + NS_PER_MS
        return self.offset_ns

    def _signer(self) -> Signer:
        credentials = self._credentials
        if credentials is None:
            raise ConfigError(
                "this request needs an API key: give credentials, for example Credentials.from_environment()"
            )
        self._config.check_keys_allowed()

        def sign(path: str) -> Mapping[str, str]:
            return credentials.sign_rest(rest_timestamp(self._now_ns() + self.offset_ns), "GET", path)

        return sign

    def _judge(self, answer: Answer, where: str) -> Reply:
        """Return a success, raise anything else as its error."""
        status = answer.status
        reply = envelope(answer.body)
        patience_s = parse_retry_after(answer.retry_after, answer.received_ns)
        code = "" if reply is None else str(reply.code)
        if status != 200 or (reply is not None and code != "0"):
            text = None if reply is None else reply.msg
            raise reply_error("" if code == "0" else code, text, where=where, status=status, retry_after_s=patience_s)
        if reply is None or not reply.data:
            # A login page of a hotel or a company's proxy answers everything with success.
            raise OkxServerError(
                f"{where}: the answer is not one of OKX's; check the url, and whether a proxy or login page answers",
                code="HTTP 200",
                where=where,
                is_retryable=is_cut(answer.body),
            )
        return Reply(answer.body, reply.data, answer.sent_ns, answer.received_ns)

    def wait_s(self, error: OkxError, failures: int, endpoint: Endpoint) -> float | None:
        """Return how long to wait before the next attempt, None where there shall be none."""
        policy = self._config.retry
        attempts = self._attempts if policy.give_up_after is None else min(self._attempts, policy.give_up_after)
        if not error.is_retryable or failures >= attempts:
            return None
        wait_s = float(self._rng.uniform(0.0, policy.bound_s(failures)))
        if isinstance(error, OkxLimitError):
            # After a whole window the requests that filled it no longer count.
            wait_s += endpoint.window_s
        if error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
        return wait_s if wait_s <= LONGEST_WAIT_S else None


class RateBucket:
    """The queue in front of one endpoint: first come, first served, evenly spaced."""

    __slots__ = ("_lock", "_pacer")

    def __init__(self, endpoint: Endpoint) -> None:
        self._pacer = Pacer(endpoint.requests, endpoint.paced_window_s)
        self._lock = asyncio.Lock()

    async def enter(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._lock:
            while (wait_s := self._pacer.take(loop.time())) > 0.0:
                await asyncio.sleep(wait_s)

    def hold(self, wait_s: float) -> None:
        self._pacer.hold(asyncio.get_running_loop().time() + wait_s)


def rest_timestamp(now_ns: int) -> str:
    """Return UTC nanoseconds as the time of a REST signature.

    Examples:
        >>> rest_timestamp(1607418537715_000_000)
        '2020-12-08T09:08:57.715Z'
    """
    return datetime_of(now_ns).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ns // 1_000_000 % 1000:03d}Z"
