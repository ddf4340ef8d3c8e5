"""The live side of the web application: statuses over a socket, commands, metrics; FAULTS S4, S13, S14 and S15."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from live_statuses import fill, status, stream
from web_client import Browser, ask, port_of, with_token
from web_live import ScriptedControl
from web_runs import no_runs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from quantkit.clock import NS_PER_MS, NS_PER_S, monotonic_s
from quantkit.live.status import LiveStatus, MarkPath, RunHistory
from quantkit.web import link as web_link
from quantkit.web import sockets as web_sockets
from quantkit.web.link import LiveLink
from quantkit.web.server import WebServer

LIVE = "/api/v1/live"
COMMANDS = f"{LIVE}/commands"
SOCKET = f"{LIVE}/socket"


@pytest.fixture
def control() -> ScriptedControl:
    return ScriptedControl()


@pytest.fixture
def server(control: ScriptedControl) -> Iterator[WebServer]:
    with WebServer(no_runs(), LiveLink(control)) as running:
        yield running


@pytest.fixture
def browser(server: WebServer) -> Browser:
    return Browser(server)


def opened(server: WebServer, headers: dict[str, str]) -> ClientConnection:
    """Open a socket with just these headers."""
    return connect(
        f"ws{server.url.removeprefix('http')}{SOCKET}", additional_headers=headers, proxy=None, open_timeout=20
    )


@contextlib.contextmanager
def followed(server: WebServer, browser: Browser) -> Iterator[ClientConnection]:
    """Open a socket as a page does."""
    with opened(server, {"Origin": server.url, "Cookie": browser.cookie}) as page:
        with contextlib.suppress(ConnectionClosed):
            page.send(json.dumps({"key": browser.key}))
        yield page


def read_to_the_end(page: ClientConnection) -> ConnectionClosed:
    """Read until the socket ends, and return how."""
    while True:
        try:
            page.recv(timeout=20)
        except ConnectionClosed as closed:
            return closed


def next_with(page: ClientConnection, **wanted: Any) -> dict[str, Any]:
    """Return the next message whose status has some values."""
    while True:
        message: dict[str, Any] = json.loads(page.recv(timeout=20))
        found = message["status"] or {}
        if all(found.get(name) == value for name, value in wanted.items()):
            return message


def given(server: WebServer, browser: Browser, command: str, confirm: str = "") -> Any:
    """Give a command as a page does."""
    body = json.dumps({"command": command, "confirm": confirm}).encode()
    return ask(server, "POST", COMMANDS, browser.headers(), body)


def shown(server: WebServer, control: ScriptedControl, sent: LiveStatus) -> None:
    """Send a status and wait until the server has it."""
    control.send(sent)
    until_s = monotonic_s() + 20
    while monotonic_s() < until_s:
        reply = ask(server, "GET", LIVE, with_token(server))
        if reply.status == 200 and reply.json["orders"] == sent.orders:
            return
    raise AssertionError("the status did not come")


# Statuses -----------------------------------------------------------------------------------------------------------


def test_a_page_gets_each_status_and_only_what_is_new(
    server: WebServer, browser: Browser, control: ScriptedControl
) -> None:
    """Fills once, points of the equity once."""
    with followed(server, browser) as page:
        control.send(status(orders=1, now_ns=NS_PER_S, equity=100.0, last_fills=(fill(1), fill(2))))
        first = next_with(page, orders=1)
        assert [each["id"] for each in first["fills"]] == [1, 2]
        assert first["equity"] == [[1000], [100.0]]
        assert (first["kind"], first["reason"]) == ("status", "")
        control.send(status(orders=2, now_ns=2 * NS_PER_S, equity=101.0, last_fills=(fill(2), fill(3))))
        second = next_with(page, orders=2)
        assert [each["id"] for each in second["fills"]] == [3]
        assert second["equity"] == [[2000], [101.0]]


def test_prices_that_overlap_are_drawn_once(server: WebServer, browser: Browser, control: ScriptedControl) -> None:
    """Each status has the last marks again, so that none is lost with a status that was skipped."""
    with followed(server, browser) as page:
        for number, last in enumerate(((1, 2), (2, 3), (1, 2, 3, 4)), 1):
            path = MarkPath("X", tuple(NS_PER_S * each for each in last), last)
            control.send(status(orders=number, prices=(path,)))
        seen: list[list[float]] = [[], []]
        while 4000 not in seen[0]:
            times, values = json.loads(page.recv(timeout=20))["prices"].get("X", [[], []])
            seen[0] += times
            seen[1] += values
        assert seen == [[1000, 2000, 3000, 4000], [1, 2, 3, 4]]


def test_what_was_before_the_server_is_drawn_first() -> None:
    """The run's own last hour, in front of what the server sees itself, and once."""
    control = ScriptedControl()
    control.before = RunHistory(
        (MarkPath("X", (NS_PER_S, 2 * NS_PER_S), (5.0, 9.0)),), MarkPath("", (NS_PER_S, 2 * NS_PER_S), (100.0, 90.0))
    )
    now = MarkPath("X", (2 * NS_PER_S, 3 * NS_PER_S), (9.0, 7.0))
    with WebServer(no_runs(), LiveLink(control)) as server:
        shown(server, control, status(now_ns=3 * NS_PER_S, equity=95.0, prices=(now,)))
        with followed(server, Browser(server)) as page:
            first = json.loads(page.recv(timeout=20))
    assert first["prices"]["X"] == [[1000, 2000, 3000], [5.0, 9.0, 7.0]]
    assert first["equity"] == [[1000, 2000, 3000], [100.0, 90.0, 95.0]]


def test_a_page_that_comes_later_gets_what_was_before(
    server: WebServer, browser: Browser, control: ScriptedControl
) -> None:
    """Whether it is another one or was loaded anew."""
    shown(server, control, status(orders=1, equity=100.0, last_fills=(fill(1),)))
    shown(server, control, status(orders=2, equity=101.0, last_fills=(fill(2),), now_ns=status().now_ns + NS_PER_S))
    for _ in range(2):
        with followed(server, browser) as page:
            message = next_with(page, orders=2)
            assert [each["id"] for each in message["fills"]] == [1, 2]
            assert message["equity"][1] == [100.0, 101.0]


def test_a_page_is_told_that_the_run_has_ended(server: WebServer, browser: Browser, control: ScriptedControl) -> None:
    """It never looks alive when it is not; the last status stays, with its age."""
    with followed(server, browser) as page:
        control.send(status(orders=1), None)
        message = json.loads(page.recv(timeout=20))
        while message["reason"] != "the run has ended":
            message = json.loads(page.recv(timeout=20))
        assert message["status"]["orders"] == 1
        assert message["age_ms"] >= 0


def test_the_newest_status_stands_in_the_api(server: WebServer, control: ScriptedControl) -> None:
    """Before the first one it says why not."""
    assert ask(server, "GET", LIVE, with_token(server)).status == 503
    sent = status(orders=7)
    shown(server, control, sent)
    reply = ask(server, "GET", LIVE, with_token(server))
    assert reply.json == json.loads(msgspec.json.encode(sent))


def test_without_a_live_run_the_paths_say_so() -> None:
    with WebServer(no_runs()) as server:
        reply = ask(server, "GET", LIVE, with_token(server))
        assert (reply.status, "--live" in reply.json["error"]) == (404, True)
        with pytest.raises(InvalidStatus) as refused:
            opened(server, with_token(server))
        assert refused.value.response.status_code == 403


# S4: who may open a socket ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "status_code"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": None}, 403),
        ({"Cookie": None}, 401),
        ({"Cookie": "quantkit=wrong"}, 401),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "rebound.example"}, 421),
    ],
)
def test_sockets_are_refused_at_the_door(
    server: WebServer, browser: Browser, changed: dict[str, str | None], status_code: int
) -> None:
    """Each sign alone is missed."""
    headers = {"Origin": server.url, "Cookie": browser.cookie, **changed}
    # The client adds a host of its own, which must not stand beside the one of the test.
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as raw:
        given = {"Host": f"127.0.0.1:{port_of(server)}", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
        raw.sendall(
            f"GET {SOCKET} HTTP/1.1\r\n{lines}Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(f"HTTP/1.1 {status_code} ".encode())


@pytest.mark.parametrize("first", ['{"key": "wrong"}', "{}", "[", '{"key": null}', "x" * 5000])
def test_the_first_message_carries_the_key(server: WebServer, browser: Browser, first: str) -> None:
    """Nothing is sent before it."""
    with opened(server, {"Origin": server.url, "Cookie": browser.cookie}) as page:
        page.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            page.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1008, 1009)


def test_who_says_nothing_gets_nothing(
    server: WebServer, browser: Browser, control: ScriptedControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_sockets, "_FIRST_S", 0.1)
    control.send(status())
    with opened(server, {"Origin": server.url, "Cookie": browser.cookie}) as page, pytest.raises(ConnectionClosed):
        page.recv(timeout=20)


def test_a_program_follows_by_its_token(server: WebServer, control: ScriptedControl) -> None:
    """It sends no origin."""
    with opened(server, with_token(server)) as program:
        program.send(json.dumps({"key": server.token}))
        control.send(status(orders=3))
        assert next_with(program, orders=3)["kind"] == "status"


# S14: sockets end with their session --------------------------------------------------------------------------------


def test_signing_out_closes_sockets(server: WebServer, browser: Browser, control: ScriptedControl) -> None:
    """Of that session alone."""
    other = Browser(server)
    with followed(server, browser) as leaves, followed(server, other) as stays:
        control.send(status(orders=1))
        for page in (leaves, stays):
            next_with(page, orders=1)
        ask(server, "DELETE", "/api/v1/session", browser.headers(), b"{}")
        closed = read_to_the_end(leaves)
        assert closed.rcvd is not None
        assert closed.rcvd.code == web_sockets.SIGNED_OUT
        control.send(status(orders=2))
        next_with(stays, orders=2)


# S13: slow and many -------------------------------------------------------------------------------------------------


def test_who_does_not_read_is_put_out_and_others_go_on(
    server: WebServer, browser: Browser, control: ScriptedControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one message waits for it beside what the sockets' buffers hold; memory does not grow."""
    monkeypatch.setattr(web_sockets, "_READ_S", 0.5)
    monkeypatch.setattr(web_sockets, "_EVERY_S", 0.0)
    wide = status(notes=tuple("n" * 20_000 for _ in range(10)))
    with socket.socket() as slow, followed(server, browser) as reads:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", port_of(server)))
        key = json.dumps({"key": browser.key}).encode()
        mask = b"\0\0\0\0"
        slow.sendall(
            f"GET {SOCKET} HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server)}\r\nOrigin: {server.url}\r\n"
            f"Cookie: {browser.cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            + bytes((0x81, 0x80 | len(key)))
            + mask
            + key
        )
        until_s = monotonic_s() + 60
        number = 0
        while _sockets(server) != 1 or number < 3:
            number += 1
            control.send(msgspec.structs.replace(wide, orders=number))
            next_with(reads, orders=number)
            assert monotonic_s() < until_s, "the slow one is still there"


def _sockets(server: WebServer) -> int:
    found = re.search(r"^quantkit_serve_sockets (\d+)$", _metrics(server), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _metrics(server: WebServer) -> str:
    reply = ask(server, "GET", "/metrics", with_token(server))
    assert reply.status == 200
    return reply.body.decode()


def test_sockets_are_limited(server: WebServer, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_sockets, "SOCKETS_MAX", 2)
    with followed(server, browser) as one, followed(server, browser) as two, followed(server, browser) as third:
        one.recv(timeout=20)
        two.recv(timeout=20)
        with pytest.raises(ConnectionClosed) as closed:
            third.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013


def test_a_page_has_nothing_more_to_say(server: WebServer, browser: Browser) -> None:
    """Nobody fills a queue."""
    with followed(server, browser) as page:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(100):
                page.send("more")
        read_to_the_end(page)


# S15: commands ------------------------------------------------------------------------------------------------------


def test_a_pause_is_taken_at_once(server: WebServer, browser: Browser, control: ScriptedControl) -> None:
    """With the moment in the run's own time."""
    assert given(server, browser, "pause").json == {"taken_at_ns": 1001, "confirm": "", "asks": ""}
    assert given(server, browser, "resume").json["taken_at_ns"] == 1002
    assert control.commands == ["pause", "resume"]


@pytest.mark.parametrize("command", ["stop", "cancel_all"])
def test_what_cannot_be_undone_is_asked_twice(
    server: WebServer, browser: Browser, control: ScriptedControl, command: str
) -> None:
    """The first answer says what would happen; each confirmation counts once."""
    shown(server, control, status(orders=5))
    asked = given(server, browser, command).json
    assert asked["taken_at_ns"] is None
    assert "order" in asked["asks"]
    assert control.commands == []
    assert given(server, browser, command, asked["confirm"]).json["taken_at_ns"] == 1001
    assert given(server, browser, command, asked["confirm"]).json["taken_at_ns"] is None
    assert control.commands == [command]


def test_confirmations_are_for_one_command_one_visitor_and_a_while(
    server: WebServer, browser: Browser, control: ScriptedControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = given(server, browser, "cancel_all").json["confirm"]
    assert given(server, browser, "stop", confirm).json["taken_at_ns"] is None
    confirm = given(server, browser, "stop").json["confirm"]
    assert given(server, Browser(server), "stop", confirm).json["taken_at_ns"] is None
    monkeypatch.setattr(web_link, "CONFIRM_S", -1.0)
    confirm = given(server, browser, "stop").json["confirm"]
    assert given(server, browser, "stop", confirm).json["taken_at_ns"] is None
    assert control.commands == []


def test_a_run_that_refuses_is_told(server: WebServer, browser: Browser, control: ScriptedControl) -> None:
    control.refuses = "pause: the run is over"
    reply = given(server, browser, "pause")
    assert (reply.status, reply.json["error"]) == (409, "the run did not take it: pause: the run is over")


@pytest.mark.parametrize(
    "body", [b"{}", b'{"command": "buy"}', b'{"command": "stop", "more": 1}', b"[]", b"\xff", b"[" * 9999]
)
def test_other_commands_are_not_understood(server: WebServer, browser: Browser, body: bytes) -> None:
    assert ask(server, "POST", COMMANDS, browser.headers(), body).status == 400


# Metrics ------------------------------------------------------------------------------------------------------------

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_VALUE = r"(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]Inf)"
_SAMPLE = re.compile(rf"({_NAME})(\{{{_LABEL}(?:,{_LABEL})*\}})? ({_VALUE})")
_COMMENT = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.+)")


def parsed(text: str) -> dict[str, dict[str, float]]:
    """Read Prometheus text strictly: each family once, HELP and TYPE before its samples, each set of labels once."""
    assert text.endswith("\n")
    found: dict[str, dict[str, float]] = {}
    helped: set[str] = set()
    kinds: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        comment = _COMMENT.fullmatch(line)
        if comment is not None:
            what, name, rest = comment.groups()
            if what == "HELP":
                assert name not in helped
                helped.add(name)
            else:
                assert name not in kinds
                assert name in helped
                assert rest in ("counter", "gauge")
                assert (rest == "counter") is name.endswith("_total")
                kinds[name] = rest
                current = name
                found[name] = {}
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        name, labels, value = sample.groups()
        assert name == current
        assert (labels or "") not in found[name]
        found[name][labels or ""] = float(value)
    assert all(found.values())
    return found


def test_metrics_are_prometheus_text(server: WebServer, control: ScriptedControl) -> None:
    """By the grammar of the format; hostile names are escaped."""
    before = parsed(_metrics(server))
    assert before == {"quantkit_live_up": {"": 0.0}, "quantkit_serve_sockets": {"": 0.0}}
    shown_too = {"drawdown": -0.5, "fees": {"USDT": 1.5, "BTC": 0.001}, "is_paused": True, "latency_p99_ms": 2.5}
    hostile = 'a"b\\c\nd\u202e{}'
    shown(
        server,
        control,
        status(
            orders=9, equity=1e-7, **shown_too, streams=(stream(hostile, lag_ms=12.0), stream("quiet", lag_ms=None))
        ),
    )
    found = parsed(_metrics(server))
    escaped = 'a\\"b\\\\c\\nd\u202e{}'
    assert found["quantkit_live_lag_seconds"] == {f'{{stream="{escaped}"}}': 0.012}
    assert set(found["quantkit_live_rows_total"].values()) == {12_345.0}
    assert found["quantkit_live_equity"] == {'{currency="USDT"}': 1e-7}
    assert found["quantkit_live_gaps_total"] == {"": 2.0}
    assert found["quantkit_live_up"] == {"": 1.0}
    assert found["quantkit_live_drawdown"] == {"": -0.5}
    assert found["quantkit_live_fees"] == {'{currency="USDT"}': 1.5, '{currency="BTC"}': 0.001}
    assert found["quantkit_live_paused"] == {"": 1.0}
    assert found["quantkit_live_latency_seconds"] == {'{quantile="0.99"}': 0.0025}
    assert 0 <= found["quantkit_live_status_age_seconds"][""] < 60


def test_metrics_say_when_nothing_comes(server: WebServer, control: ScriptedControl) -> None:
    shown(server, control, status(orders=9))
    control.send(None)
    while parsed(_metrics(server))["quantkit_live_up"][""]:
        time.sleep(0.01)
    assert "quantkit_live_status_age_seconds" not in parsed(_metrics(server))


def test_stamps_are_milliseconds() -> None:
    """What a page draws by."""
    link = LiveLink(ScriptedControl())
    link._take(status(now_ns=1_500 * NS_PER_MS, equity=1.0))
    assert link.equity.since(0) == ([1500], [1.0])
