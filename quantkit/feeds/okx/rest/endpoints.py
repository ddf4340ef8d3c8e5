"""The REST endpoints that are used, with OKX's limit of each and the most rows it gives."""

from typing import Final, NamedTuple

#: Requests reach OKX less evenly than they leave here; so much slower than allowed, no window ever holds one too many.
_HEADROOM: Final = 1.05


class Endpoint(NamedTuple):
    """One address below `/api/v5` and what it allows.

    Attributes:
        path: Without the leading `/api/v5/`.
        requests: How many are allowed in any `window_s` seconds.
        window_s: In seconds.
        most_rows: How many rows one answer holds at most, 0 where it is not paged.
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
        """The window that `requests` of them are spread over."""
        return self.window_s * _HEADROOM


# Source: OKX API v5, "Rate limit" of each endpoint.
TIME: Final = Endpoint("public/time", 10)
INSTRUMENTS: Final = Endpoint("public/instruments", 20)
CANDLES: Final = Endpoint("market/candles", 40, most_rows=300)
HISTORY_CANDLES: Final = Endpoint("market/history-candles", 20, most_rows=300)
TRADES: Final = Endpoint("market/trades", 100, most_rows=500)
HISTORY_TRADES: Final = Endpoint("market/history-trades", 20, most_rows=100)
BOOKS: Final = Endpoint("market/books", 40, most_rows=400)
TICKER: Final = Endpoint("market/ticker", 20)
TICKERS: Final = Endpoint("market/tickers", 20)
FUNDING_HISTORY: Final = Endpoint("public/funding-rate-history", 10, most_rows=400)
ACCOUNT_CONFIG: Final = Endpoint("account/config", 5)
