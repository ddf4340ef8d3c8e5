"""The REST endpoints: a request in, a reply out; limits, paging and signatures as OKX has them. No sockets."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from quantkit.sandbox import faults, wire
from quantkit.sandbox.bars import is_bar
from quantkit.sandbox.keys import KEYS, ApiKey, sign
from quantkit.sandbox.market import Market
from quantkit.sandbox.rules import Window

if TYPE_CHECKING:
    from quantkit.sandbox.exchange import Exchange

PREFIX: Final = "/api/v5/"
_TYPES: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")
#: `market/candles` goes back this many bars.
_HORIZON_BARS: Final = 1440
_RECENT_TRADES: Final = 500


class Reply(NamedTuple):
    """An HTTP reply.

    Attributes:
        status: HTTP status.
        body: JSON.
        headers: Beside the content's type and length.
    """

    status: int
    body: bytes
    headers: dict[str, str]


class _Refused(Exception):  # noqa: N818  it never leaves this file
    """A request ends with an error of OKX's."""

    def __init__(self, code: str, *details: str, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.text = wire.TEXTS[code].format(*details)
        self.status = status


class _Request(NamedTuple):
    """A request taken apart: its parameters, the market, the time and who asks."""

    params: dict[str, str]
    market: Market
    now_ms: int
    exchange: "Exchange"
    key: ApiKey | None

    def needed(self, name: str) -> str:
        """Return a parameter that has to be there."""
        value = self.params.get(name, "")
        if not value:
            raise _Refused("50014", name, status=400)
        return value

    def number(self, name: str) -> int | None:
        """Return a parameter that is a whole number, None where it is absent."""
        value = self.params.get(name, "")
        if not value:
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise _Refused("51000", name)
        return int(value)

    def limit(self, most: int, default: int = 100) -> int:
        """Return how many rows are asked for, at most what the endpoint gives."""
        return max(1, min(self.number("limit") or default, most))

    def instrument(self) -> str:
        """Return the instrument that the request is about."""
        name = self.needed("instId")
        if not any(row["instId"] == name for row in self.market.instruments()):
            raise _Refused("51001")
        return name

    def kind(self) -> str:
        """Return the type of instruments that the request is about."""
        kind = self.needed("instType")
        if kind not in _TYPES:
            raise _Refused("51000", "instType")
        return kind


_Rows: TypeAlias = "list[Any]"


class RestApi:
    """Answers REST requests of one exchange.

    Args:
        exchange: Whose they are.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._windows: dict[tuple[str, str], Window] = {}

    def get(self, path: str, query: str, headers: Mapping[str, str], *, address: str, now_s: float) -> Reply:
        """Answer a GET.

        Args:
            path: The URL's path, `/api/v5/...`.
            query: What stands behind its question mark, as sent.
            headers: With lower-case names.
            address: Of the client; limits count by it.
            now_s: A clock that never goes back, for limits.
        """
        endpoint = path.removeprefix(PREFIX)
        fault = self._fault(endpoint)
        if fault is not None:
            return _reply(fault.status, fault.code, fault.text, retry_after_s=fault.retry_after_s)
        found = _ENDPOINTS.get(endpoint)
        if found is None:
            return _reply(404, "404", "The requested path does not exist")
        answer, count, window_s = found
        if self._exchange.rules.limits_rest:
            window = self._windows.setdefault((endpoint, address), Window(count, window_s))
            if not window.take(now_s):
                return _reply(429, "50011", wire.TEXTS["50011"])
        try:
            key = self._signer(path, query, headers) if endpoint.startswith("account/") else None
            params = dict(parse_qsl(query, keep_blank_values=True))
            exchange = self._exchange
            data = answer(_Request(params, exchange.market, exchange.now_ms(), exchange, key))
        except _Refused as refusal:
            return _reply(refusal.status, refusal.code, refusal.text)
        return Reply(200, msgspec.json.encode({"code": "0", "msg": "", "data": data}), {})

    def _fault(self, endpoint: str) -> faults.Rest | None:
        wanted = self._exchange.faults.find(faults.Rest, path="", is_struck=False)
        if wanted is None or not endpoint.endswith(wanted.endpoint):
            return None
        return self._exchange.faults.find(faults.Rest)

    def _signer(self, path: str, query: str, headers: Mapping[str, str]) -> ApiKey:
        """Return the key that signed a request.

        Raises:
            _Refused: None did, or the signature, its time or its environment is wrong.
        """
        exchange = self._exchange
        name = headers.get("ok-access-key", "")
        if not name:
            raise _Refused("50103", status=401)
        stamp = headers.get("ok-access-timestamp", "")
        try:
            sent_s = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            raise _Refused("50102", status=401) from None
        if abs(exchange.now_ms() / 1000 + exchange.faults.skew_s() - sent_s) > exchange.rules.login_window_s:
            raise _Refused("50102", status=401)
        key = KEYS.get(name)
        if key is None or not key.is_local:
            raise _Refused("50119", status=401)
        is_demo = headers.get("x-simulated-trading") == "1"
        if key.is_demo is not is_demo:
            raise _Refused("50101", status=401)
        if headers.get("ok-access-passphrase") != key.passphrase:
            raise _Refused("50105", status=401)
        signed = f"{stamp}GET{path}{'?' if query else ''}{query}"
        if not hmac.compare_digest(headers.get("ok-access-sign", "").encode(), sign(key.secret, signed).encode()):
            raise _Refused("50113", status=401)
        return key


def _reply(status: int, code: str, text: str, *, retry_after_s: int | None = None) -> Reply:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    # The gateway's own errors come without data.
    body: dict[str, Any] = {"msg": text, "code": code} if status != 200 else {"code": code, "msg": text, "data": []}
    return Reply(status, msgspec.json.encode(body), headers)


# Endpoints ----------------------------------------------------------------------------------------------------


def _time(request: _Request) -> _Rows:
    return [{"ts": str(request.now_ms + round(request.exchange.faults.skew_s() * 1000))}]


def _instruments(request: _Request) -> _Rows:
    kind, name = request.kind(), request.params.get("instId", "")
    family = request.params.get("instFamily", "") or request.params.get("uly", "")
    rows = [row for row in request.market.instruments() if row["instType"] == kind]
    if name:
        rows = [row for row in rows if row["instId"] == name]
        if not rows:
            raise _Refused("51001")
    return [row for row in rows if not family or row.get("instFamily") == family]


def _tickers(request: _Request) -> _Rows:
    kind = request.kind()
    names = [row["instId"] for row in request.market.instruments() if row["instType"] == kind]
    return [row for name in names if (row := request.market.ticker(name, request.now_ms)) is not None]


def _ticker(request: _Request) -> _Rows:
    row = request.market.ticker(request.instrument(), request.now_ms)
    return [] if row is None else [row]


def _books(request: _Request) -> _Rows:
    depth = request.number("sz")
    if depth is not None and not 1 <= depth <= 400:
        raise _Refused("51000", "sz")
    row = request.market.book(request.instrument(), depth or 1, request.now_ms)
    return [] if row is None else [row]


def _candles(request: _Request, *, most: int = 300, is_history: bool = False) -> _Rows:
    name, bar = request.instrument(), request.params.get("bar", "") or "1m"
    if not is_bar(bar) or (bar == "1s" and not is_history):
        raise _Refused("51000", "bar")
    after, before, limit = request.number("after"), request.number("before"), request.limit(most)
    until_ms = request.now_ms + 1 if after is None else min(after, request.now_ms + 1)
    # `before` alone gives the latest rows, not those nearest to it.
    rows = request.market.candles(name, bar, until_ms, limit + 1, request.now_ms)
    if is_history:
        rows = [row for row in rows if row[8] == "1"]
    elif after is not None:
        newest = request.market.candles(name, bar, request.now_ms + 1, _HORIZON_BARS, request.now_ms)
        oldest_ms = int(newest[-1][0]) if newest else 0
        rows = [row for row in rows if int(row[0]) >= oldest_ms]
    return [row for row in rows if before is None or int(row[0]) > before][:limit]


def _history_candles(request: _Request) -> _Rows:
    return _candles(request, is_history=True)


def _trades(request: _Request) -> _Rows:
    limit = request.limit(_RECENT_TRADES)
    return request.market.trades(request.instrument(), request.now_ms)[:limit]


def _history_trades(request: _Request) -> _Rows:
    name, limit = request.instrument(), request.limit(100)
    after, before = request.number("after"), request.number("before")
    by_time = (request.params.get("type") or "1") == "2"
    if by_time:
        if before is not None:
            raise _Refused("50039")
        return request.market.older_trades(name, None, after, limit)
    rows = request.market.older_trades(name, after, None, limit)
    return [row for row in rows if before is None or int(row["tradeId"]) > before]


def _funding_rate(request: _Request) -> _Rows:
    row = request.market.row("funding-rate", request.instrument(), request.now_ms)
    if row is None:
        raise _Refused("51000", "instId")
    return [row]


def _funding_history(request: _Request) -> _Rows:
    name = request.instrument()
    if request.market.row("funding-rate", name, request.now_ms) is None:
        raise _Refused("51000", "instId")
    after, before = request.number("after"), request.number("before")
    rows = [
        row
        for row in request.market.fundings(name, request.now_ms)
        if (after is None or int(row["fundingTime"]) < after) and (before is None or int(row["fundingTime"]) > before)
    ]
    return rows[: request.limit(400)]


def _rows_of(channel: str) -> Callable[[_Request], _Rows]:
    def answer(request: _Request) -> _Rows:
        wanted = request.params.get("instId", "")
        kind = request.kind() if channel != "index-tickers" else ""
        names: Sequence[str] = [wanted]
        if not wanted:
            listed = request.market.instruments()
            names = [row["instId"] for row in listed if not kind or row["instType"] == kind]
        rows = [row for name in names if (row := request.market.row(channel, name, request.now_ms)) is not None]
        if wanted and not rows:
            raise _Refused("51001")
        return rows

    return answer


def _status(request: _Request) -> _Rows:
    wanted = request.params.get("state", "")
    return [row for row in request.market.status() if wanted in ("", row["state"])]


def _config(request: _Request) -> _Rows:
    key = request.key
    assert key is not None, "account endpoints are signed"
    return [
        {
            "acctLv": "1",
            "acctStpMode": "cancel_maker",
            "autoLoan": False,
            "ctIsoMode": "automatic",
            "feeType": "0",
            "greeksType": "PA",
            "ip": "",
            "kycLv": "2",
            "label": "sandbox",
            "level": "VIP4" if key.is_vip else "Lv1",
            "mainUid": key.uid,
            "perm": "read_only",
            "posMode": "net_mode",
            "roleType": "0",
            "settleCcy": "USDT",
            "uid": key.uid,
        }
    ]


def _balance(request: _Request) -> _Rows:
    return [request.exchange.account.account_row(request.now_ms, ccy=request.params.get("ccy", ""))]


def _positions(request: _Request) -> _Rows:
    kind, name = request.params.get("instType", ""), request.params.get("instId", "")
    return [
        row
        for row in request.exchange.account.positions
        if kind in ("", row.get("instType")) and name in ("", row.get("instId"))
    ]


#: Each endpoint with how many requests it takes in how many seconds.
_ENDPOINTS: Final[dict[str, tuple[Callable[[_Request], _Rows], int, float]]] = {
    "public/time": (_time, 10, 2.0),
    "public/instruments": (_instruments, 20, 2.0),
    "public/funding-rate": (_funding_rate, 10, 2.0),
    "public/funding-rate-history": (_funding_history, 10, 2.0),
    "public/mark-price": (_rows_of("mark-price"), 10, 2.0),
    "public/open-interest": (_rows_of("open-interest"), 20, 2.0),
    "market/index-tickers": (_rows_of("index-tickers"), 20, 2.0),
    "market/tickers": (_tickers, 20, 2.0),
    "market/ticker": (_ticker, 20, 2.0),
    "market/books": (_books, 40, 2.0),
    "market/candles": (_candles, 40, 2.0),
    "market/history-candles": (_history_candles, 20, 2.0),
    "market/trades": (_trades, 100, 2.0),
    "market/history-trades": (_history_trades, 20, 2.0),
    "system/status": (_status, 1, 5.0),
    "account/config": (_config, 5, 2.0),
    "account/balance": (_balance, 10, 2.0),
    "account/positions": (_positions, 10, 2.0),
}
