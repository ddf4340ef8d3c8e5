"""Who the sandbox lets in: programs of this machine; no page of the web, no name that was resolved to this machine."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from quantkit.sandbox.channels import PATHS
from quantkit.sandbox.door import objection
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.server import SandboxServer
from quantkit.serving import BODY_BYTES

RULES = Rules(connects_per_s=1000, limits_rest=False)
#: One of each sort of path: public data, the sandbox's own control, and what there is not.
TARGETS = [
    ("GET", "/api/v5/public/time"),
    ("POST", "/api/v5/trade/order"),
    ("GET", "/sandbox/state"),
    ("POST", "/sandbox/faults"),
    ("DELETE", "/sandbox/faults"),
    ("POST", "/sandbox/push"),
    ("OPTIONS", "/sandbox/faults"),
    ("GET", "/nothing"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(rules=RULES) as server:
        yield server


def ask(
    sandbox: SandboxServer, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, Any]:
    """Return status and decoded body of a request with just these headers."""
    port = int(sandbox.url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, headers or {})
        reply = connection.getresponse()
        assert not [name for name, _ in reply.getheaders() if name.lower().startswith("access-control-")]
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8765",
        "127.0.0.1.example",
        "localhost.example",
        "10.0.0.7",
        "",
        "[::1",
        "0x7f",
    ],
)
@pytest.mark.parametrize(("method", "path"), TARGETS)
def test_another_host_is_refused(sandbox: SandboxServer, method: str, path: str, host: str) -> None:
    status, reply = ask(sandbox, method, path, {"Host": host}, b"{}" if method == "POST" else b"")
    assert (status, reply["code"], reply["data"]) == (403, "403", [])
    assert "localhost" in reply["msg"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://pages.example"},
        {"Origin": "http://localhost.pages.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), TARGETS)
def test_a_page_of_the_web_is_refused(sandbox: SandboxServer, method: str, path: str, headers: dict[str, str]) -> None:
    status, reply = ask(sandbox, method, path, headers, b'{"kind":"drop"}' if method == "POST" else b"")
    assert (status, reply["code"]) == (403, "403")
    assert sandbox.state()["faults"] == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", ["https://pages.example", "null", "http://127.0.0.1.example:8765"])
def test_a_page_gets_no_socket(sandbox: SandboxServer, path: str, origin: str) -> None:
    async def status() -> int:
        try:
            async with connect(f"{sandbox.ws_url}/ws/v5/{path}", proxy=None, additional_headers={"Origin": origin}):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    before = sandbox.state()["connections_so_far"]
    assert asyncio.run(status()) == 403
    assert sandbox.state()["connections_so_far"] == before


@pytest.mark.parametrize(("host", "expected"), [("rebound.example", b"403"), ("localhost", b"101")])
def test_another_host_gets_no_socket(sandbox: SandboxServer, host: str, expected: bytes) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(
            f"GET /ws/v5/public HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert raw.recv(12) == b"HTTP/1.1 " + expected


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:8765", "LOCALHOST", "[::1]:8765", "127.1.2.3"])
@pytest.mark.parametrize("origin", ["", "http://localhost:3000", "http://127.0.0.1:8765", "https://[::1]"])
def test_this_machine_is_let_in(sandbox: SandboxServer, host: str, origin: str) -> None:
    headers = {"Host": host, **({"Origin": origin} if origin else {}), "Sec-Fetch-Site": "same-origin"}
    assert ask(sandbox, "GET", "/api/v5/public/time", headers)[0] == 200


def test_an_address_that_was_listened_on_is_a_host_too() -> None:
    """Who lets others of a network in asks for it; a name is still nobody's."""
    for host, listening, is_in in (
        ("192.0.2.5:8765", "192.0.2.5", True),
        ("192.0.2.6:8765", "192.0.2.5", False),
        ("192.0.2.6:8765", "0.0.0.0", True),
        ("[2001:db8::7]", "::", True),
        ("rebound.example", "0.0.0.0", False),
        ("192.0.2.5", "localhost", False),
        ("localhost", "localhost", True),
    ):
        assert (objection({"host": host}, host=listening) == "") is is_in
        assert (objection({"host": "localhost", "origin": f"http://{host}"}, host=listening) == "") is is_in


@pytest.mark.parametrize("path", ["/api/v5/trade/order", "/sandbox/faults", "/sandbox/push"])
def test_a_body_ends_at_64_kib(sandbox: SandboxServer, path: str) -> None:
    status, reply = ask(sandbox, "POST", path, body=b" " * (BODY_BYTES + 1))
    assert (status, reply["code"]) == (413, "413")
    assert str(BODY_BYTES) in reply["msg"]
    assert ask(sandbox, "POST", path, body=b" " * BODY_BYTES)[0] in (400, 401)


def test_a_body_without_an_end_is_cut_off(sandbox: SandboxServer) -> None:
    """It is refused as soon as it is too long, not once all of it has come."""
    port = int(sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(
            b"POST /sandbox/push HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"10000\r\n"
            + b" " * 65_536
            + b"\r\n"
            + b"1\r\n \r\n"
        )
        assert raw.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v4/time", 404),
        ("GET", "/api/v5/nonsense", 404),
        ("POST", "/", 404),
        ("POST", "/sandbox/state", 405),
        ("GET", "/sandbox/faults", 405),
        ("PUT", "/api/v5/public/time", 405),
        ("OPTIONS", "/api/v5/public/time", 405),
    ],
)
def test_every_path_answers_in_the_envelope(sandbox: SandboxServer, method: str, path: str, expected: int) -> None:
    status, reply = ask(sandbox, method, path)
    assert status == expected
    assert set(reply) == {"code", "msg", "data"}


def test_no_get_changes_anything(sandbox: SandboxServer) -> None:
    before = sandbox.state()
    for path in ("/sandbox/state", "/sandbox/faults", "/sandbox/push", "/api/v5/account/set-position-mode"):
        ask(sandbox, "GET", path + "?kind=drop")
    after = sandbox.state()
    for name in ("faults", "connections", "connections_so_far"):
        assert after[name] == before[name]


def test_a_mistake_of_ours_still_answers_in_the_envelope(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.exchange.market, "status", lambda: 1 / 0)
    status, reply = ask(sandbox, "GET", "/api/v5/system/status")
    assert (status, reply["code"]) == (500, "50026")
