"""Access control: programs of this machine may talk to the exchange, web pages in its browser may not."""

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quantkit.sandbox.rest import HttpReply, failure

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


def objection(headers: Mapping[str, str], *, host: str) -> str:
    """Return why a request is not let in; empty for one that is.

    A page can make a browser ask this machine anything. It gives itself away: the browser says whose page it is, and a
    page that had its own name resolved to this machine asks for that name.

    Args:
        headers: With lower-case names.
        host: The address that the server was told to listen on.

    Examples:
        >>> objection({"host": "127.0.0.1:8765"}, host="127.0.0.1")
        ''
        >>> objection({"host": "rebound.example"}, host="127.0.0.1")
        "the sandbox is at localhost, not at 'rebound.example'"
        >>> objection({"host": "localhost", "origin": "https://a.example"}, host="127.0.0.1")
        "pages of 'https://a.example' may not use the sandbox"
    """
    asked = headers.get("host", "")
    if not _is_here(_name(f"//{asked}"), host):
        return f"the sandbox is at localhost, not at {asked!r}"
    origin = headers.get("origin")
    if origin is not None and not _is_here(_name(origin), host):
        return f"pages of {origin!r} may not use the sandbox"
    if headers.get("sec-fetch-site") == "cross-site":
        return "pages of other sites may not use the sandbox"
    return ""


def _name(url: str) -> str:
    """Return the host of a URL; empty for what is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_here(name: str, host: str) -> bool:
    """Return whether a name means this machine: a loopback address, or the address that was listened on on purpose."""
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    try:
        own = ipaddress.ip_address(host)
    except ValueError:
        return address.is_loopback
    # Who listens on every address is asked for by any of them. An address, unlike a name, is nobody else's to resolve.
    return address.is_loopback or address == own or own.is_unspecified


class Door:
    """Turns away what may not come in, before the application sees it.

    Args:
        application: What is behind it.
        host: The address that the server listens on.
    """

    def __init__(self, application: "ASGIApp", host: str) -> None:
        self._application = application
        self._host = host

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let a request or a handshake through, or answer it with HTTP 403."""
        if scope["type"] in ("http", "websocket"):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            reason = objection(headers, host=self._host)
            if reason:
                await response_of(failure(403, "403", reason))(scope, receive, send)
                return
        await self._application(scope, receive, send)


def response_of(reply: HttpReply) -> "Response":
    """Return a reply for starlette."""
    from starlette.responses import Response

    return Response(reply.body, reply.status, reply.headers, media_type="application/json")
