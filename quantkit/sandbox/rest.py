"""REST requests and replies with OKX's limits, paging and signatures. No sockets."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from quantkit.sandbox import wire
from quantkit.sandbox.archives import FILES, file_at, md5_of
from quantkit.sandbox.keys import KEYS, ApiKey, sign
from quantkit.sandbox.private import POSTED, PRIVATE, SIGNED
from quantkit.sandbox.public import PUBLIC
from quantkit.sandbox.request import Refused, RestRequest, Route
from quantkit.venue_rules.window import Window

if TYPE_CHECKING:
    from quantkit.sandbox.exchange import Exchange

PREFIX: Final = "/api/v5/"
#: What is built, by method and path.
ENDPOINTS: Final[dict[str, dict[str, Route]]] = {"GET": PUBLIC | PRIVATE, "POST": POSTED}
#: Families of OKX's paths.
_FAMILIES: Final = (
    "account",
    "affiliate",
    "asset",
    "broker",
    "copytrading",
    "finance",
    "market",
    "public",
    "rfq",
    "rubik",
    "sprd",
    "support",
    "system",
    "trade",
    "tradingBot",
    "users",
)


class HttpReply(NamedTuple):
    """An HTTP reply.

    Attributes:
        status: HTTP status.
        body: JSON.
        headers: Beside the content's type and length.
        delay_s: How long it waits.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    delay_s: float = 0.0


class RestApi:
    """Answers REST requests of one exchange.

    Args:
        exchange: Whose they are.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._windows: dict[tuple[str, str], Window] = {}

    def answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        address: str,
        now_s: float,
        base: str = "",
    ) -> HttpReply:
        """Answer a request. Nothing that it may ask for changes the exchange.

        Args:
            method: GET or POST; OKX has no other.
            path: The URL's path, `/api/v5/...`.
            query: The part behind the question mark, as sent.
            headers: With lower-case names.
            body: As sent.
            address: Of the client; limits count by it.
            now_s: A clock that never goes back, for limits.
            base: The address that it was sent to, for those of files.
        """
        endpoint = path.removeprefix(PREFIX)
        fault = self._exchange.faults.of_request(endpoint)
        if fault is not None and fault.form == "error":
            failed = failure(fault.status, fault.code, fault.text, retry_after_s=fault.retry_after_s)
            return failed._replace(delay_s=fault.delay_s)
        reply = self._answer(method, path, query, headers, body, address=address, now_s=now_s, base=base)
        return reply if fault is None else _damaged(reply, fault.form)._replace(delay_s=fault.delay_s)

    def _answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        address: str,
        now_s: float,
        base: str,
    ) -> HttpReply:
        """Answer a request that no fault strikes."""
        if path.startswith(FILES):
            content = file_at(path, self._exchange.market, self._exchange.now_ms())
            if content is None:
                return failure(404, "404", "no such file")
            kind = "application/zip" if path.endswith(".zip") else "application/gzip"
            return HttpReply(200, content, {"Content-MD5": md5_of(content), "Content-Type": kind})
        endpoint = path.removeprefix(PREFIX)
        found = ENDPOINTS.get(method, {}).get(endpoint)
        if found is not None and self._exchange.rules.limits_rest:
            window = self._windows.setdefault((f"{method} {endpoint}", address), Window(found.most, found.window_s))
            if not window.take(now_s):
                return failure(429, "50011", wire.TEXTS["50011"])
        try:
            if method not in ENDPOINTS:
                raise Refused("50115", status=405)
            key = self._signer(method, path, query, headers, body) if endpoint.startswith(SIGNED) else None
            params = _posted(body) if method == "POST" else dict(parse_qsl(query, keep_blank_values=True))
            if found is None:
                # What OKX has and the sandbox has not is said to be offline, not to be unknown.
                if endpoint.partition("/")[0] in _FAMILIES:
                    raise Refused("50005", status=410)
                return failure(404, "404", "The requested path does not exist")
            exchange = self._exchange
            data = found.answer(RestRequest(params, exchange.market, exchange.now_ms(), exchange, key, base))
        except Refused as refusal:
            return failure(refusal.status, refusal.code, refusal.text)
        return HttpReply(200, msgspec.json.encode({"code": "0", "msg": "", "data": data}), {})

    def _signer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> ApiKey:
        """Return the key that signed a request.

        Raises:
            Refused: None did, or the signature, its time or its environment is wrong.
        """
        exchange = self._exchange
        name = headers.get("ok-access-key", "")
        if not name:
            raise Refused("50103", status=401)
        stamp = headers.get("ok-access-timestamp", "")
        try:
            sent_s = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            raise Refused("50102", status=401) from None
        if not exchange.is_timely(sent_s):
            raise Refused("50102", status=401)
        key = KEYS.get(name)
        if key is None or not key.is_local:
            raise Refused("50119", status=401)
        is_demo = headers.get("x-simulated-trading") == "1"
        if key.is_demo is not is_demo:
            raise Refused("50101", status=401)
        if headers.get("ok-access-passphrase") != key.passphrase:
            raise Refused("50105", status=401)
        # The body counts as it was sent, byte for byte; what is no UTF-8 was not signed by anybody.
        signed = f"{stamp}{method}{path}{'?' if query else ''}{query}{body.decode(errors='replace')}"
        if not hmac.compare_digest(headers.get("ok-access-sign", "").encode(), sign(key.secret, signed).encode()):
            raise Refused("50113", status=401)
        return key


def _damaged(reply: HttpReply, form: str) -> HttpReply:
    """Return a reply ended half-way, with a bit changed, or under another's checksum."""
    body, headers = reply.body, reply.headers
    middle = len(body) // 2
    if form == "cut":
        return reply._replace(body=body[:middle])
    if form == "flip":
        return reply._replace(body=body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
    return reply._replace(headers={**headers, "Content-MD5": md5_of(b"another file")})


def _posted(body: bytes) -> dict[str, str]:
    """Return the parameters of a POST; none of a list of orders.

    Raises:
        Refused: The body is empty, or no JSON.
    """
    if not body.strip():
        raise Refused("50000", status=400)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise Refused("50002", status=400) from None
    if not isinstance(value, dict):
        return {}
    # Clients write flags as JSON's own or as text.
    texts = {name: str(each).lower() if isinstance(each, bool) else each for name, each in value.items()}
    return {name: each for name, each in texts.items() if isinstance(each, str)}


def failure(status: int, code: str, text: str, *, retry_after_s: int | None = None) -> HttpReply:
    """Return the reply of a request that failed.

    Args:
        status: HTTP status.
        code, text: OKX's.
        retry_after_s: The Retry-After header, None for none.
    """
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    # Errors of the gateway in front come without data: who is not known, who asks too often, what is down.
    is_gateway = status in (401, 429) or status >= 500
    body: dict[str, Any] = {"msg": text, "code": code} if is_gateway else {"code": code, "msg": text, "data": []}
    return HttpReply(status, msgspec.json.encode(body), headers)
