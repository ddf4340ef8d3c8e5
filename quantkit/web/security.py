"""What every request has to pass before the application sees it, and the headers of every answer.

Host, origin, Fetch Metadata, credentials, the key of a change, size and time. Nothing here knows what is served.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.errors import ConfigError
from quantkit.serving import BODY_BYTES
from quantkit.web.access import Admission, LockedOutError, Visitor, same_key

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Carries a visitor's key with every change; no page of another site can send it.
KEY_HEADER: Final = "x-quantkit-key"
#: How long an answer may take, with a client that reads it.
REQUEST_S: Final = 60.0
#: Where a browser signs in.
OPEN: Final = "/open"
SESSION: Final = "/api/v1/session"
_READING: Final = frozenset({"GET", "HEAD"})
#: No inline script; styles inline, since the chart library puts its own into the page.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


class HttpRefusal(Exception):  # noqa: N818  what a request is answered with, no error of ours
    """A request is not let in.

    Args:
        status: HTTP status.
        reason: One line.
        headers: Beside the usual ones.
    """

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Site(msgspec.Struct, frozen=True):
    """The names that a server goes by.

    Attributes:
        hosts: What the header `Host` may say, port included.
        origins: What the header `Origin` may say.
        cookie: Name of the cookie of a session. Cookies know no ports, so that it carries the port.
        is_tls: Whether it speaks TLS.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    cookie: str
    is_tls: bool

    @classmethod
    def of(cls, host: str, port: int, *, names: Sequence[str] = (), is_tls: bool = False) -> "Site":
        """Return the site of an address.

        Args:
            host, port: What the server listens on.
            names: Further names that it is reached by.
            is_tls: Whether it speaks TLS.

        Raises:
            ConfigError: It listens on every address, and no name says which of them is meant.

        Examples:
            >>> sorted(Site.of("127.0.0.1", 8767).hosts)
            ['127.0.0.1:8767', 'localhost:8767']
        """
        if _is_unspecified(host) and not names:
            raise ConfigError(f"{host} is every address of this machine: add --name HOST, by which browsers reach it")
        own = () if _is_unspecified(host) else (host,)
        known = [*own, *(("localhost",) if is_loopback(host) else ()), *names]
        shown = [f"[{name}]" if ":" in name else name.lower() for name in known]
        scheme, usual = ("https", 443) if is_tls else ("http", 80)
        hosts = {f"{name}:{port}" for name in shown} | ({*shown} if port == usual else set())
        return cls(
            hosts=frozenset(hosts),
            origins=frozenset(f"{scheme}://{name}" for name in hosts),
            # The prefix keeps other sites of this machine from setting it; browsers take it with TLS alone.
            cookie=f"{'__Host-' if is_tls else ''}quantkit-{port}",
            is_tls=is_tls,
        )


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


class Guard:
    """Lets requests and handshakes through, or answers them itself.

    The application finds who it is talking to in `scope["state"]["visitor"]`.

    Args:
        application: What is behind it.
        site: The names of the server.
        admission: Knows credentials.
        public: Paths that need none: the page that signs a browser in, and its files.
    """

    def __init__(self, application: "ASGIApp", site: Site, admission: Admission, public: frozenset[str]) -> None:
        self._application = application
        self._site = site
        self._admission = admission
        self._public = public

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request or one socket."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        sending = _Headed(send)
        try:
            headers = single_headers(scope["headers"])
            visitor = self.check(scope["type"], scope.get("method", "GET"), scope["path"], headers)
        except HttpRefusal as refusal:
            await _answer(refusal)(scope, receive, sending)
            return
        scope.setdefault("state", {})["visitor"] = visitor
        if scope["type"] == "websocket":
            await self._application(scope, receive, sending)
            return
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._application(scope, receive, sending)
        except TimeoutError:
            if not sending.has_begun:
                await _answer(HttpRefusal(503, f"this took more than {REQUEST_S:.0f} s"))(scope, receive, sending)

    def check(self, kind: str, method: str, path: str, headers: Mapping[str, str]) -> Visitor | None:
        """Return who a request comes from; None for nobody, who may see this path.

        Args:
            kind: `http` or `websocket`.
            method, path, headers: Of the request; the headers' names in lower case.

        Raises:
            HttpRefusal: It is not let in.
        """
        if headers.get("host", "").lower() not in self._site.hosts:
            raise HttpRefusal(421, "this server does not go by that name")
        self._check_origin(kind, method, path, headers)
        is_change = method not in _READING
        if is_change:
            _check_change(headers)
        try:
            visitor = self._admission.visitor(headers.get("authorization"), self._cookie(headers))
        except LockedOutError as error:
            raise HttpRefusal(429, str(error), retry_after=str(int(error.wait_s) + 1)) from error
        if visitor is None:
            if path in self._public or (path == SESSION and method == "POST"):
                return None
            if kind == "http" and not path.startswith("/api/") and "text/html" in headers.get("accept", ""):
                raise HttpRefusal(303, "sign in first", location=OPEN)
            raise HttpRefusal(401, "sign in first, or send the token", www_authenticate="Bearer")
        if visitor.session is not None and (is_change or kind == "websocket"):
            if "origin" not in headers:
                raise HttpRefusal(403, "a browser's change names its origin")
            is_sign_in = path == SESSION and method == "POST"
            if is_change and not is_sign_in and not same_key(headers.get(KEY_HEADER, ""), visitor):
                raise HttpRefusal(403, f"a change carries the session's key in {KEY_HEADER}")
        return visitor

    def _check_origin(self, kind: str, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Turn away what a page of another site made a browser send."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._site.origins:
            raise HttpRefusal(403, "pages of other sites may not use this server")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # A link in somebody's terminal on the web may lead to the page that signs in, which holds nothing.
            is_link = kind == "http" and method in _READING and path == OPEN
            if not (is_link and headers.get("sec-fetch-mode") == "navigate"):
                raise HttpRefusal(403, "pages of other sites may not use this server")

    def _cookie(self, headers: Mapping[str, str]) -> str | None:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._site.cookie)
        except CookieError:
            return None
        return None if found is None else found.value


def _check_change(headers: Mapping[str, str]) -> None:
    """Refuse what a form of another site could send, and bodies that nobody needs."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpRefusal(415, "a change is JSON: content-type application/json")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:12]) > BODY_BYTES:
        raise HttpRefusal(413, f"a body may be {BODY_BYTES:,} bytes long")


def single_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by lower-case name; those that decide who is let in may come once only.

    Raises:
        HttpRefusal: One of them comes twice.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found:
            if name in _SINGLE:
                raise HttpRefusal(400, f"the header {name} comes twice")
            value = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}"
        found[name] = value
    return found


_SINGLE: Final = frozenset(
    ("host", "origin", "authorization", "content-type", "content-length", KEY_HEADER, "sec-fetch-site")
)


class _Headed:
    """Adds the headers of every answer."""

    def __init__(self, send: "Send") -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: "Message") -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.has_begun = True
            own: list[Any] = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            own += [pair for pair in HEADERS if pair[0] not in names]
            if b"cache-control" not in names:
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": own}
        await self._send(message)


def _answer(refusal: HttpRefusal) -> "Response":
    return problem(refusal.status, refusal.reason, refusal.headers)


def problem(status: int, reason: str, headers: Mapping[str, str] | None = None) -> "Response":
    """Return an answer that says in one line what is wrong."""
    from starlette.responses import Response

    return Response(
        msgspec.json.encode({"error": reason}), status, headers=dict(headers or {}), media_type="application/json"
    )
