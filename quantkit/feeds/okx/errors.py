"""What OKX or the network between refuses: one typed error for each, with one line that says what to do."""

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from quantkit.clock import NS_PER_S
from quantkit.errors import FeedError

__all__ = [
    "DAMAGE",
    "OkxAuthError",
    "OkxError",
    "OkxLimitError",
    "OkxNetworkError",
    "OkxRequestError",
    "OkxServerError",
    "close_error",
    "damage",
    "is_clock_skew",
    "is_fatal_close",
    "is_retryable",
    "network_error",
    "parse_retry_after",
    "reply_error",
]

_LONGEST_TEXT: Final = 300
#: OKX quotes a malformed request back, and a login holds a passphrase and a signature. How often the quotes in it were
#: escaped is unknown, so everything from the first such name on is left out.
_SECRETS: Final = re.compile(
    r"(?<![A-Za-z])(apiKey|passphrase|sign|secret(?:Key)?|OK-ACCESS-[A-Z]+)[\\\"']*\s*[:=].*", re.IGNORECASE | re.DOTALL
)


class OkxError(FeedError):
    """OKX, or the way to it, refused something.

    Attributes:
        code: OKX's code, an HTTP status such as `HTTP 503`, or empty where there was none.
        text: OKX's own words, cut and cleaned of control characters and keys.
        where: The request, channel or connection it answers.
        is_retryable: Whether the same request, sent again later, may succeed.
        retry_after_s: How long the server asked to wait, None where it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        text: str = "",
        where: str = "",
        is_retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.text = text
        self.where = where
        self.is_retryable = is_retryable
        self.retry_after_s = retry_after_s


class OkxAuthError(OkxError):
    """The key, its signature, its rights or the clock it was signed with are wrong."""


class OkxLimitError(OkxError):
    """Too many requests; the same one may succeed later."""


class OkxRequestError(OkxError):
    """The request itself is wrong: an instrument, a channel, a parameter."""


class OkxServerError(OkxError):
    """OKX cannot answer now, or something else than OKX answered."""


class OkxNetworkError(OkxError):
    """No answer came: no network, no such host, no trusted certificate, no time left."""


#: The code of a file that did not come whole.
DAMAGE: Final = "damage"


def damage(name: str, what: str) -> OkxServerError:
    """Return the error of a file that did not come whole."""
    return OkxServerError(f"{name} is damaged ({what})", code=DAMAGE, text=what, where=name, is_retryable=True)


# OKX's codes --------------------------------------------------------------------------------------------------

_CLOCK: Final = "this machine's clock differs too much from OKX's: set it by NTP and try again"
_REGION: Final = (
    "the key is not known there: check the region it was made in (global, eea or us) and whether a demo key is used "
    "on a live host or the reverse"
)
_ENVIRONMENT: Final = (
    "the key belongs to the other environment: a demo key needs demo trading (OkxConfig(demo=True), --demo), "
    "a live key must be used without"
)
_KEY: Final = "check the API key"
_SIGNATURE: Final = "check the API key's secret"
_PASSPHRASE: Final = "check the passphrase, the one chosen when the API key was made"
_RIGHTS: Final = "give the API key the permission on OKX's page, or use one that has it"
_SLOWER: Final = "too many requests: send fewer; they are repeated with back-off"
_LATER: Final = "OKX is busy or in maintenance: try again later"
_TIER: Final = (
    "the account's fee tier does not include this channel: use books instead of books-l2-tbt and books50-l2-tbt, "
    "orders instead of fills"
)
_INSTRUMENT: Final = "check the instrument id, for example BTC-USDT or BTC-USDT-SWAP, and that the region trades it"
_PLACE: Final = "check the channel, the instrument id and that the channel belongs to this path (public or business)"
_MALFORMED: Final = "the request is malformed: please report it with this line"

#: Class and advice of each code that a session can meet without trading. Source: OKX API v5, "Error code".
_CODES: Final[dict[str, tuple[type[OkxError], str]]] = {
    # REST: keys and clock
    "50100": (OkxAuthError, "the API key is frozen: ask OKX's support"),
    "50101": (OkxAuthError, _ENVIRONMENT),
    "50102": (OkxAuthError, _CLOCK),
    "50103": (OkxAuthError, _KEY),
    "50104": (OkxAuthError, _PASSPHRASE),
    "50105": (OkxAuthError, _PASSPHRASE),
    "50106": (OkxAuthError, _SIGNATURE),
    "50107": (OkxAuthError, _CLOCK),
    "50110": (OkxAuthError, "this machine's address is not on the API key's list: add it on OKX's page"),
    "50111": (OkxAuthError, _KEY),
    "50112": (OkxAuthError, _CLOCK),
    "50113": (OkxAuthError, _SIGNATURE),
    "50114": (OkxAuthError, _RIGHTS),
    "50119": (OkxAuthError, _REGION),
    "50120": (OkxAuthError, _RIGHTS),
    "59113": (OkxAuthError, "the account needs identity verification (KYC level 2) on OKX's page"),
    # REST: limits and the server
    "50001": (OkxServerError, _LATER),
    "50004": (OkxServerError, "OKX did not answer in time: try again"),
    "50011": (OkxLimitError, _SLOWER),
    "50013": (OkxServerError, _LATER),
    "50026": (OkxServerError, _LATER),
    "50040": (OkxLimitError, _SLOWER),
    "50061": (OkxLimitError, _SLOWER),
    # REST: the request
    "50014": (OkxRequestError, "a parameter is missing"),
    "50039": (OkxRequestError, "paging by time goes backward only: leave out `before`"),
    "51000": (OkxRequestError, "check the parameter that OKX names"),
    "51001": (OkxRequestError, _INSTRUMENT),
    "51010": (OkxRequestError, "the account's mode does not allow it: change it on OKX's page"),
    # WebSocket: login
    "60001": (OkxAuthError, "log in again"),
    "60004": (OkxAuthError, _CLOCK),
    "60005": (OkxAuthError, _KEY),
    "60006": (OkxAuthError, _CLOCK),
    "60007": (OkxAuthError, _SIGNATURE),
    "60009": (OkxAuthError, "the login failed: check key, secret and passphrase, the region, and demo or live"),
    "60011": (OkxAuthError, "this channel needs a login: give credentials"),
    "60022": (OkxAuthError, "some of the accounts could not be logged in"),
    "60024": (OkxAuthError, _PASSPHRASE),
    "60026": (OkxAuthError, "use either an API key or a token"),
    "60031": (OkxAuthError, "this connection is logged in already"),
    "60032": (OkxAuthError, _REGION),
    "63999": (OkxServerError, "OKX could not check the login: try again"),
    # WebSocket: requests
    "60008": (OkxRequestError, _PLACE),
    "60012": (OkxRequestError, _MALFORMED),
    "60013": (OkxRequestError, _MALFORMED),
    "60014": (OkxLimitError, _SLOWER),
    "60018": (OkxRequestError, _PLACE),
    "60019": (OkxRequestError, _MALFORMED),
    "60023": (OkxLimitError, _SLOWER),
    "60027": (OkxRequestError, _MALFORMED),
    "60028": (OkxRequestError, _PLACE),
    "60029": (OkxRequestError, _TIER),
    "60030": (OkxRequestError, _TIER),
    "60033": (OkxRequestError, _MALFORMED),
    "64000": (OkxRequestError, _MALFORMED),
    "64001": (OkxRequestError, "the channel lives on the business path"),
    "64002": (OkxRequestError, "the channel does not live on the business path"),
    "64003": (OkxRequestError, _TIER),
    "64004": (OkxRequestError, "books-l2-tbt of this instrument is subscribed already: unsubscribe it first"),
    "64007": (OkxServerError, "OKX failed inside: try again"),
    "64008": (OkxServerError, "OKX is about to close the connection for an upgrade: connect anew"),
}
_RETRYABLE: Final = frozenset(
    {"50001", "50004", "50011", "50013", "50026", "50040", "50061", "60014", "60023", "63999", "64007"}
)
_CLOCK_SKEW: Final = frozenset({"50102", "50112", "60004", "60006"})
#: Advice of an HTTP status that came without an OKX code.
_STATUSES: Final[dict[int, tuple[type[OkxError], str]]] = {
    401: (OkxAuthError, "check key, secret and passphrase"),
    403: (OkxAuthError, "OKX refuses this address or region: check the region (global, eea or us) and the network"),
    404: (OkxRequestError, "nothing lives at this address: check the url"),
    407: (OkxNetworkError, "the proxy wants a login: check HTTPS_PROXY"),
    408: (OkxServerError, _LATER),
    429: (OkxLimitError, _SLOWER),
    451: (OkxAuthError, "OKX does not serve this place: check the region (global, eea or us)"),
}
_RETRYABLE_STATUSES: Final = frozenset({408, 429})


def is_retryable(code: str | int) -> bool:
    """Return whether a request that was refused with this code may succeed when repeated unchanged.

    Codes of clock skew are not among them, since the request has to be signed anew; see `is_clock_skew`.

    Examples:
        >>> is_retryable("50011"), is_retryable(60018)
        (True, False)
    """
    return str(code) in _RETRYABLE


def is_clock_skew(code: str | int) -> bool:
    """Return whether a code says that the request was signed with a wrong time.

    Examples:
        >>> is_clock_skew("60006"), is_clock_skew("50113")
        (True, False)
    """
    return str(code) in _CLOCK_SKEW


def reply_error(
    code: str | int, text: str | None, *, where: str, status: int = 200, retry_after_s: float | None = None
) -> OkxError:
    """Return the error for an answer that is not a success, with one sentence of advice.

    Args:
        code: OKX's, text or number; empty where the answer has none.
        text: OKX's words; they are cut where a key, signature or passphrase begins.
        where: The request, such as `OKX market/candles BTC-USDT` or `books BTC-USDT`.
        status: The HTTP status, which decides where the code is unknown or missing.
        retry_after_s: How long the server asked to wait.

    Examples:
        >>> error = reply_error("60018", "Invalid channel", where="candle1m BTC-USDT")
        >>> type(error).__name__, error.code
        ('OkxRequestError', '60018')
        >>> print(reply_error(64003, "Fee tier too low.", where="books-l2-tbt BTC-USDT"))
        books-l2-tbt BTC-USDT: Fee tier too low (OKX code 64003); the account's fee tier does not include this \
channel: use books instead of books-l2-tbt and books50-l2-tbt, orders instead of fills
    """
    code, text = str(code), _clean(text)
    known = _CODES.get(code)
    kind, advice = known or _by_status(status) or _by_family(code)
    can_repeat = code in _RETRYABLE or (known is None and (status in _RETRYABLE_STATUSES or status >= 500))
    if status >= 500 and not issubclass(kind, OkxServerError | OkxLimitError):
        # A gateway that fails may put any code into its answer; the status says that the request is not at fault.
        kind, advice, can_repeat = OkxServerError, _LATER, True
    shown = f"OKX code {_clean(code)[:20]}" if code else f"HTTP {status}"
    words = text.rstrip(".") or "refused"
    return kind(
        f"{where}: {words} ({shown}); {advice}",
        code=code or f"HTTP {status}",
        text=text,
        where=where,
        is_retryable=can_repeat,
        retry_after_s=retry_after_s,
    )


def _by_status(status: int) -> tuple[type[OkxError], str] | None:
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return OkxServerError, _LATER
    if 300 <= status < 400:
        return OkxServerError, "a proxy or login page stands between this machine and OKX: check the network"
    return None


def _by_family(code: str) -> tuple[type[OkxError], str]:
    if code.startswith("501") and len(code) == 5:
        return OkxAuthError, "check key, secret, passphrase and permissions"
    return OkxRequestError, "look the code up in OKX's documentation"


def _clean(text: str | None) -> str:
    """Cut a foreign text, blank its secrets, and make it one printable line."""
    blanked = _SECRETS.sub(r"\1 ***", (text or "")[: 4 * _LONGEST_TEXT])
    line = "".join(character if character.isprintable() else " " for character in blanked)
    return " ".join(line.split())[:_LONGEST_TEXT]


def parse_retry_after(header: str, now_ns: int) -> float | None:
    """Return the seconds that a Retry-After header asks for, a number or a date; None if it is neither."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() - now_ns / NS_PER_S)


# WebSocket closes ---------------------------------------------------------------------------------------------

#: Class, advice and whether connecting again without a change would only repeat it.
_CLOSES: Final[dict[int, tuple[type[OkxError], str, bool]]] = {
    1009: (OkxRequestError, "a request or frame was too large", False),
    4001: (OkxAuthError, "the login failed: check key, secret and passphrase, the region, and demo or live", True),
    4002: (OkxRequestError, "OKX found the parameters invalid", True),
    4003: (OkxAuthError, "too many accounts are logged in: close other sessions", True),
    4004: (OkxServerError, "OKX heard nothing for 30 s: the sign of life did not get through", False),
    4005: (OkxServerError, "this machine reads too slowly: subscribe to less, or give it more room", False),
    4006: (OkxServerError, "OKX closed the connection for an unknown reason", False),
    4007: (OkxAuthError, "the API key was changed or deleted: give the new one", True),
    4008: (OkxLimitError, "the account has too many channels: subscribe to less or close other sessions", True),
    4009: (OkxLimitError, "this connection has too many channels: lower channels_per_connection", True),
}


def is_fatal_close(close_code: int) -> bool:
    """Return whether connecting again without a change would only repeat this close.

    Examples:
        >>> is_fatal_close(4001), is_fatal_close(4004), is_fatal_close(1001)
        (True, False, False)
    """
    return close_code in _CLOSES and _CLOSES[close_code][2]


def close_error(close_code: int, reason: str, *, where: str) -> OkxError:
    """Return the error for a connection that the server closed.

    Args:
        close_code: Of the WebSocket close frame, 1006 where there was none.
        reason: Its text.
        where: The connection.

    Examples:
        >>> print(close_error(4004, "No data received in 30s.", where="public connection 1"))
        public connection 1: closed with 4004 (No data received in 30s.); OKX heard nothing for 30 s: the sign of \
life did not get through
    """
    kind, advice, is_fatal = _CLOSES.get(close_code, (OkxServerError, "it is made anew", False))
    text = _clean(reason)
    quoted = f" ({text})" if text else ""
    return kind(
        f"{where}: closed with {close_code}{quoted}; {advice}",
        code=str(close_code),
        text=text,
        where=where,
        is_retryable=not is_fatal,
    )


# The network --------------------------------------------------------------------------------------------------


def network_error(error: BaseException, *, where: str) -> OkxNetworkError:
    """Return the error for a request or connection that got no answer.

    Args:
        error: What a socket, TLS, or HTTP library raised; the cause is looked for through its chain.
        where: The request and its host, such as `OKX market/candles at openapi.okx.com`.

    Returns:
        `is_retryable` unless the certificate is not trusted: nothing is ever sent over a connection that is not
        verified, and repeating does not make it so.

    Examples:
        >>> print(network_error(ConnectionRefusedError(111, "Connection refused"), where="OKX at 127.0.0.1"))
        OKX at 127.0.0.1: the connection was refused; check that the server runs and the url is right
    """
    chain = list(_chain(error))
    for causes, problem, advice in _NETWORK:
        found = next((each for each in chain if isinstance(each, causes)), None)
        if found is None:
            continue
        detail = ""
        if isinstance(found, ssl.SSLCertVerificationError):
            detail = f" ({_clean(getattr(found, 'verify_message', str(found)))})"
        elif isinstance(found, ssl.SSLError):
            detail = f" ({_clean(getattr(found, 'reason', None) or str(found))})"
        return OkxNetworkError(
            f"{where}: {problem}{detail}; {advice}",
            text=_clean(str(found)),
            where=where,
            is_retryable=not isinstance(found, ssl.SSLCertVerificationError),
        )
    text = _clean(str(error)) or type(error).__name__
    return OkxNetworkError(
        f"{where}: no answer ({text}); check the network and the url", text=text, where=where, is_retryable=True
    )


#: From the most telling cause to the least: what happened and what to do.
_NETWORK: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (
        ssl.SSLCertVerificationError,
        "TLS failed, the server's certificate is not trusted",
        "check the url, this machine's clock, and whether a proxy intercepts TLS (name its CA with ca_file)",
    ),
    (ssl.SSLError, "TLS failed", "check that the url's port speaks TLS and that no proxy breaks it"),
    (socket.gaierror, "the host name cannot be resolved", "check the network connection, DNS and the url"),
    (ConnectionRefusedError, "the connection was refused", "check that the server runs and the url is right"),
    (ConnectionResetError, "the connection was cut", "it is made anew; check the network if that repeats"),
    (BrokenPipeError, "the connection was cut", "it is made anew; check the network if that repeats"),
    (TimeoutError, "no answer in time", "check the network connection and any firewall or proxy"),
    (OSError, "the network cannot be reached", "check the network connection and the url"),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the members of groups included."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        # HTTP libraries cut the chain with `from None`, and keep the error they wrap among the arguments.
        causes = [each.__cause__, *(wrapped for wrapped in each.args if isinstance(wrapped, BaseException))]
        found = [cause for cause in causes if cause is not None]
        if not found and each.__context__ is not None:
            found = [each.__context__]
        waiting.extend(found)
