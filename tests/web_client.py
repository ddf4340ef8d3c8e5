"""Plain HTTP and WebSocket requests to a web server of this machine, with just the headers that a test gives."""

import http.client
import json
from typing import Any, NamedTuple

from quantkit.web.server import WebServer


class Reply(NamedTuple):
    """An answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def port_of(server: WebServer) -> int:
    """Return where a server listens."""
    return int(server.url.rpartition(":")[2])


def ask(
    server: WebServer, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Reply:
    """Send one request with just these headers, and `Host`."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return Reply(reply.status, found, reply.read())
    finally:
        connection.close()


def with_token(server: WebServer, **headers: str) -> dict[str, str]:
    """Return the headers of a program, with some more."""
    return {
        "Authorization": f"Bearer {server.token}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


class Browser:
    """What a signed-in browser sends.

    Args:
        server: Signed in by its token.
    """

    def __init__(self, server: WebServer) -> None:
        self.server = server
        body = json.dumps({"credential": server.token}).encode()
        reply = ask(server, "POST", "/api/v1/session", {**self.own(), "Content-Type": "application/json"}, body)
        assert reply.status == 200, reply
        self.key = reply.json["key"]
        self.cookie = reply.headers["set-cookie"].partition(";")[0]

    def own(self) -> dict[str, str]:
        """Return what a browser says of itself on a page of this server."""
        return {"Origin": self.server.url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}

    def headers(self, **changed: str | None) -> dict[str, str]:
        """Return the headers of a change, some of them changed; None leaves one out."""
        usual: dict[str, str | None] = {
            **self.own(),
            "Cookie": self.cookie,
            "Content-Type": "application/json",
            "X-Quantkit-Key": self.key,
        }
        usual |= {name.replace("_", "-"): value for name, value in changed.items()}
        return {name: value for name, value in usual.items() if value is not None}
