"""The web application turns away whoever may not come in: FAULTS S1 to S4, S13, S14, S17 and S18 over real HTTP."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_client import Browser, ask, port_of, with_token
from web_runs import no_runs

from quantkit.clock import monotonic_s
from quantkit.errors import ConfigError
from quantkit.serving import BODY_BYTES
from quantkit.web import server as web_server
from quantkit.web.access import Admission, BrowserSessions
from quantkit.web.api import Api
from quantkit.web.calls import Calls
from quantkit.web.operations import PREFIX, Workers
from quantkit.web.security import SESSION, Site
from quantkit.web.server import WebServer, serve


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer(no_runs()) as running:
        yield running


def every_route() -> list[tuple[str, str]]:
    """Return method and path of every operation."""
    api = Api(no_runs(), Site.of("127.0.0.1", 80), Admission("t" * 32, BrowserSessions(None)), None, Workers())
    return [
        (operation.method, PREFIX + operation.path.replace("{table}", "fills").replace("{", "").replace("}", ""))
        for operation, _ in api.operations()
    ]


ROUTES = every_route()
READING = [path for method, path in ROUTES if method == "GET"]
CHANGING = [(method, path) for method, path in ROUTES if method != "GET"]


# S1: nobody comes in without credentials --------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/"), ("GET", "/metrics"), ("GET", "/nothing")])
def test_every_route_needs_credentials(server: WebServer, method: str, path: str) -> None:
    """Also those that are not there: nobody finds out what is. Signing in takes a credential itself."""
    reply = ask(server, method, path, {"Content-Type": "application/json"}, b'{"credential": "wrong"}')
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert set(reply.json) == {"error"}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_another_address_takes_an_explicit_flag(host: str) -> None:
    """Before anything listens."""
    with pytest.raises(ConfigError, match="--i-understand"):
        serve(
            no_runs(),
            None,
            host=host,
            port=0,
            names=["example.org"],
            sessions=None,
            token_file=None,
            certificate=None,
            key=None,
            may_be_seen=False,
            on_ready=lambda *_: None,
        )


def test_every_address_needs_a_name() -> None:
    """`Host` is compared with names that somebody chose."""
    with pytest.raises(ConfigError, match="--name"):
        Site.of("0.0.0.0", 8767)
    assert Site.of("0.0.0.0", 8767, names=["quant.example"]).hosts == {"quant.example:8767"}


# S2: DNS rebinding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:{port}.example",
        "127.0.0.1.example:{port}",
        "localhost.example:{port}",
        "127.0.0.2:{port}",
        "2130706433:{port}",
        "0.0.0.0:{port}",
        "[::1]:{port}",
        "",
        "user@127.0.0.1:{port}",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/session", "/open", "/"])
def test_only_its_own_names_reach_it(server: WebServer, host: str, path: str) -> None:
    """With the right token too."""
    reply = ask(server, "GET", path, with_token(server, Host=host.format(port=port_of(server))))
    assert reply.status == 421


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"])
def test_its_own_names_reach_it(server: WebServer, host: str) -> None:
    headers = with_token(server, Host=host.format(port=port_of(server)))
    assert ask(server, "GET", "/api/v1/session", headers).status == 200


def test_two_hosts_in_one_request_are_refused(server: WebServer) -> None:
    """Which of them counts is not for a guess."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as raw:
        own = f"127.0.0.1:{port_of(server)}"
        raw.sendall(f"GET /api/v1/session HTTP/1.1\r\nHost: {own}\r\nHost: a.example\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


# S3: cross-site requests ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(server: WebServer) -> Browser:
    return Browser(server)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1", ""])
@pytest.mark.parametrize("path", READING[:3])
def test_pages_of_other_origins_read_nothing(server: WebServer, browser: Browser, origin: str, path: str) -> None:
    """Though the browser sends the cookie along from a page on another port of this machine."""
    origin = origin.format(port=port_of(server))
    assert ask(server, "GET", path, browser.headers(Origin=origin)).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_what_other_sites_start_is_refused(server: WebServer, browser: Browser, site: str) -> None:
    """Another port of this machine is the same site and another origin."""
    for headers in (browser.headers(Sec_Fetch_Site=site), browser.headers(Sec_Fetch_Site=site, Origin=None)):
        assert ask(server, "GET", "/api/v1/session", headers).status == 403


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "multipart/form-data"}, 415),
        ({"Content_Type": None}, 415),
        ({"Origin": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_changes_say_that_a_page_of_ours_made_them(
    server: WebServer, browser: Browser, method: str, path: str, changed: dict[str, str | None], status: int
) -> None:
    """Each sign alone is missed."""
    assert ask(server, method, path, browser.headers(**changed), b"{}").status == status


@pytest.mark.parametrize(("method", "path"), [each for each in CHANGING if each != ("POST", SESSION)])
@pytest.mark.parametrize("key", [None, "", "0" * 64])
def test_changes_carry_the_key_of_their_session(
    server: WebServer, browser: Browser, method: str, path: str, key: str | None
) -> None:
    """Which only a page of ours can read."""
    reply = ask(server, method, path, browser.headers(X_Quantkit_Key=key), b"{}")
    assert (reply.status, "x-quantkit-key" in reply.json["error"]) == (403, True)


def test_the_key_of_another_session_does_not_do(server: WebServer, browser: Browser) -> None:
    other = Browser(server)
    assert other.key != browser.key
    assert ask(server, "DELETE", SESSION, browser.headers(X_Quantkit_Key=other.key)).status == 403


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_nothing_changes_by_a_get(server: WebServer, browser: Browser, method: str, path: str) -> None:
    """A path that takes a change gives the same answer before and after."""
    del method
    before = ask(server, "GET", "/api/v1/session", browser.headers())
    assert ask(server, "GET", path, browser.headers()).status in (200, 405)
    assert ask(server, "GET", "/api/v1/session", browser.headers()).json == before.json


def test_the_cookie_is_out_of_reach(server: WebServer) -> None:
    """For scripts, and for requests that other sites start; its name carries the port, unknown to cookies."""
    body = json.dumps({"credential": server.token}).encode()
    reply = ask(server, "POST", SESSION, {"Content-Type": "application/json"}, body)
    name, *attributes = reply.headers["set-cookie"].split("; ")
    assert name.startswith(f"quantkit-{port_of(server)}=")
    assert {each.lower() for each in attributes} == {"httponly", "path=/", "samesite=strict"}
    assert Site.of("127.0.0.1", 8767, is_tls=True).cookie == "__Host-quantkit-8767"


def test_every_answer_has_the_headers(server: WebServer) -> None:
    """Refusals too."""
    for headers in (with_token(server), {}, {"Host": "evil.example"}):
        found = ask(server, "GET", "/api/v1/session", headers).headers
        policy = found["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert (found["x-content-type-options"], found["referrer-policy"]) == ("nosniff", "no-referrer")
        assert (found["cache-control"], found["cross-origin-resource-policy"]) == ("no-store", "same-origin")
        assert not [name for name in found if name.startswith("access-control-")]
        assert "server" not in found


# S14: sessions ----------------------------------------------------------------------------------------------------


def test_the_link_signs_one_browser_in() -> None:
    """The second one who follows it stays outside, and its successor is not printed."""
    with WebServer(no_runs()) as server:
        key = server.link.partition("#")[2]
        body = json.dumps({"credential": key}).encode()
        headers = {"Content-Type": "application/json", "Origin": server.url}
        assert ask(server, "POST", SESSION, headers, body).status == 200
        assert ask(server, "POST", SESSION, headers, body).status == 401


def test_signing_out_ends_the_session(server: WebServer) -> None:
    """The cookie is worth nothing from then on."""
    browser = Browser(server)
    assert ask(server, "GET", SESSION, browser.headers()).status == 200
    reply = ask(server, "DELETE", SESSION, browser.headers(), b"{}")
    assert (reply.status, "Max-Age=0" in reply.headers["set-cookie"]) == (200, True)
    assert ask(server, "GET", SESSION, browser.headers()).status == 401


def test_sessions_outlive_the_server(tmp_path: Path) -> None:
    """In a file of their owner's alone, which holds no cookie; a session that was ended stays so."""
    kept = tmp_path / "sessions.json"
    with WebServer(no_runs(), sessions=kept) as server:
        port = port_of(server)
        stays, leaves = Browser(server), Browser(server)
        ask(server, "DELETE", SESSION, leaves.headers(), b"{}")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert stays.cookie.partition("=")[2] not in kept.read_text()
    with WebServer(no_runs(), sessions=kept, port=port) as again:
        assert again.token != server.token
        assert ask(again, "GET", SESSION, stays.headers()).json["key"] == stays.key
        assert ask(again, "GET", SESSION, leaves.headers()).status == 401


# S13: too much ----------------------------------------------------------------------------------------------------


def test_a_body_is_short(server: WebServer) -> None:
    """Whether it says its length or not."""
    for length in (BODY_BYTES + 1, 10**15):
        headers = with_token(server, Content_Type="application/json", Content_Length=str(length))
        assert ask(server, "POST", SESSION, headers).status == 413
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as raw:
        head = "".join(f"{name}: {value}\r\n" for name, value in with_token(server).items())
        raw.sendall(
            f"POST {SESSION} HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server)}\r\n{head}Content-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        part = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(5):
                raw.sendall(part)
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_who_sends_no_request_is_put_out(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow heads hold no connection."""
    monkeypatch.setattr(web_server, "HEAD_S", 0.3)
    with (
        WebServer(no_runs()) as server,
        socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as raw,
    ):
        began_s = monotonic_s()
        raw.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b""
        assert monotonic_s() - began_s >= 0.2
        assert ask(server, "GET", SESSION, with_token(server)).status == 200


def test_who_does_not_read_is_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credential it could hold its connection for ever; who reads slowly is served to the end."""
    monkeypatch.setattr(web_server, "READ_S", 0.5)
    with WebServer(no_runs()) as server, _asked_for_much(server) as deaf, _asked_for_much(server) as slow:
        answered = 0
        with contextlib.suppress(ConnectionResetError):
            while answered < 1_000_000:
                more = len(slow.recv(65_536))
                assert more, "who reads was put out"
                answered += more
        # What the system keeps for it is all that it gets.
        deaf.settimeout(20)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            threading.Event().wait(2.0)
            while more := len(deaf.recv(65_536)):
                got += more
        assert 0 < got < _MUCH * 500


_MUCH = 20_000


@contextlib.contextmanager
def _asked_for_much(server: WebServer) -> Iterator[socket.socket]:
    """Ask for a file so often that the answers fill every buffer on the way."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(60)
        line.connect(("127.0.0.1", port_of(server)))
        request = f"GET /assets/report.css HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server)}\r\n\r\n".encode()
        sent = threading.Thread(target=_sent, args=(line, request * _MUCH), daemon=True)
        sent.start()
        yield line
    sent.join()


def _sent(line: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        line.sendall(content)


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is closed at once, and room that is left serves again."""
    monkeypatch.setattr(web_server, "CONNECTIONS_MAX", 5)
    with WebServer(no_runs()) as server:
        held = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) for _ in range(5)]
        further = socket.create_connection(("127.0.0.1", port_of(server)), timeout=20)
        with further, contextlib.suppress(ConnectionResetError):
            assert further.recv(100) == b""
        for each in held:
            each.close()
        assert _until_served(server)


def _until_served(server: WebServer) -> bool:
    """Ask until the server has seen that connections were closed."""
    until_s = monotonic_s() + 10
    while monotonic_s() < until_s:
        with contextlib.suppress(OSError):
            return ask(server, "GET", SESSION, with_token(server)).status == 200
    return False


# S17: paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "..%5c..%5cwindows", "a%00b", "%252e%252e", "C:"],
)
@pytest.mark.parametrize("rest", ["", "/stats", "/tables/fills", "/tables/..%2f..%2fmanifest.json"])
def test_a_run_is_named_by_an_id(server: WebServer, run: str, rest: str) -> None:
    """What looks like a path leads nowhere."""
    reply = ask(server, "GET", f"/api/v1/runs/{run}{rest}", with_token(server))
    assert reply.status in (400, 404)
    assert b"root:" not in reply.body


# S18: guessing ----------------------------------------------------------------------------------------------------


def test_guesses_have_to_wait() -> None:
    """Also the right one, while the wait lasts; a signed-in browser goes on."""
    with WebServer(no_runs()) as server:
        browser = Browser(server)
        statuses = [
            ask(server, "GET", SESSION, {"Authorization": f"Bearer guess {number}"}).status for number in range(12)
        ]
        assert statuses == [401] * 9 + [429] * 3
        refused = ask(server, "GET", SESSION, with_token(server))
        assert (refused.status, int(refused.headers["retry-after"]) >= 1) == (429, True)
        assert ask(server, "GET", SESSION, browser.headers()).status == 200


def test_nothing_is_said_of_how_a_mistake_came_about(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, no value."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(Calls, "data", broken)
    reply = ask(server, "GET", "/api/v1/data", with_token(server))
    assert reply.status == 500
    assert b"secret" not in reply.body


def test_loops_are_left_alone() -> None:
    """The server's loop is its thread's."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
