"""Requests are evenly spaced within OKX's limits, repeated where that helps, and never otherwise."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.virtual import EPOCH_NS, simulate, virtual_loop

from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError, FeedClosedError
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import (
    OkxAuthError,
    OkxError,
    OkxLimitError,
    OkxNetworkError,
    OkxRequestError,
    OkxServerError,
)
from quantkit.feeds.okx.rest import calls
from quantkit.feeds.okx.rest.calls import ATTEMPTS, rest_timestamp
from quantkit.feeds.okx.rest.rest import OkxRest

CONFIG = OkxConfig(url="http://127.0.0.1:1")
TIME = {"code": "0", "msg": "", "data": [{"ts": "1787702400000"}]}
BUSY = {"code": "50011", "msg": "Too Many Requests", "data": []}


class Server(httpx2.AsyncBaseTransport):
    """Answers in virtual time and keeps what was asked when.

    Args:
        answer: Given the request, returns its answer or raises.
        latency_s: How long an answer takes.
    """

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response], latency_s: float = 0.0) -> None:
        self.asked: list[tuple[float, httpx2.Request]] = []
        self._answer = answer
        self._latency_s = latency_s

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((asyncio.get_running_loop().time(), request))
        await asyncio.sleep(self._latency_s)
        return self._answer(request)

    @property
    def times_s(self) -> list[float]:
        return [at_s for at_s, _ in self.asked]


def script(*answers: httpx2.Response | Exception) -> Server:
    """Return a server that gives one answer after another, the last one for ever."""
    left = list(answers)

    def answer(_: httpx2.Request) -> httpx2.Response:
        each = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(each, Exception):
            raise each
        return httpx2.Response(each.status_code, headers=each.headers, content=each.content)

    return Server(answer)


def said(body: Any, status: int = 200, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, content=body if isinstance(body, bytes) else json.dumps(body))


def run(
    server: Server, use: Callable[[OkxRest], Coroutine[Any, Any, Any]], config: OkxConfig = CONFIG, **options: Any
) -> Any:
    """Return what `use` returns with a client of the server, in virtual time."""

    async def main() -> Any:
        loop = virtual_loop()
        options.setdefault("rng", np.random.default_rng(5))
        async with OkxRest(config, transport=server, now_ns=loop.wall_ns, **options) as rest:
            return await use(rest)

    return simulate(main())


def refused(
    server: Server, use: Callable[[OkxRest], Coroutine[Any, Any, Any]] = OkxRest.server_time_ns, **options: Any
) -> OkxError:
    """Return the error that a request ends in."""
    with pytest.raises(OkxError) as caught:
        run(server, use, **options)
    return caught.value


# Pace -------------------------------------------------------------------------------------------------------------


@given(
    bursts=st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 30)), min_size=1, max_size=6),
    latency_s=st.sampled_from((0.0, 0.03, 0.7)),
)
@settings(max_examples=40, deadline=None)
def test_no_window_ever_holds_more_than_the_limit(bursts: list[tuple[float, int]], latency_s: float) -> None:
    """Whenever callers come, requests leave one by one, at least a slot apart, in the order of the calls."""
    endpoint = calls.BOOKS
    server = Server(lambda request: said({"code": "0", "data": [request.url.params["sz"]]}), latency_s)

    async def use(rest: OkxRest) -> None:
        tasks: list[asyncio.Task[bytes]] = []
        for pause_s, size in bursts:
            await asyncio.sleep(pause_s)
            tasks += [asyncio.create_task(rest.book_body("BTC-USDT", len(tasks) + 1 + each)) for each in range(size)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(server, use)
    times_s = server.times_s
    assert [int(request.url.params["sz"]) for _, request in server.asked] == list(range(1, len(times_s) + 1))
    slot_s = endpoint.window_s / endpoint.requests
    assert all(after - before >= slot_s for before, after in pairwise(times_s))
    for start_s in times_s:
        assert sum(start_s <= at_s <= start_s + endpoint.window_s for at_s in times_s) <= endpoint.requests


def test_a_full_lane_uses_nearly_all_that_is_allowed() -> None:
    server = Server(lambda _: said({"code": "0", "data": []}))

    async def use(rest: OkxRest) -> None:
        await asyncio.gather(*(rest.book_body("BTC-USDT") for _ in range(200)))

    run(server, use)
    assert 200 / 40 * 2 * 0.95 < server.times_s[-1] < 200 / 40 * 2 * 1.1


def test_rate_buckets_do_not_wait_for_each_other() -> None:
    server = Server(lambda _: said({"code": "0", "data": []}))

    async def use(rest: OkxRest) -> None:
        await asyncio.gather(
            rest.instruments("spot"), rest.instruments("swap"), rest.instruments("future"), rest.book_body("BTC-USDT")
        )

    run(server, use)
    assert server.times_s == [0.0] * 4


def test_a_cancelled_caller_leaves_its_lane() -> None:
    server = Server(lambda _: said(TIME))

    async def use(rest: OkxRest) -> int:
        tasks = [asyncio.create_task(rest.server_time_ns()) for _ in range(3)]
        await asyncio.sleep(0.001)
        tasks[1].cancel()
        await asyncio.gather(tasks[0], tasks[2])
        return len(server.asked)

    assert run(server, use) == 2


# Repeating --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        said(BUSY),
        said({"msg": "Too Many Requests", "code": 50011}, 429),
        said(b"<html>slow down</html>", 429),
        said({"code": "50061", "msg": "sub account", "data": []}),
        said({"code": "50001", "msg": "Service temporarily unavailable", "data": []}, 503),
        said({"code": "50013", "msg": "System busy", "data": []}, 429),
        said({"code": "50026", "msg": "System error", "data": []}, 500),
        said(b"<html>Bad gateway</html>", 502),
        said({"code": "0", "msg": "", "data": []}, 504),
        said({"code": "51000", "msg": "nonsense of a gateway", "data": []}, 500),
        httpx2.ConnectError("All connection attempts failed"),
        httpx2.RemoteProtocolError("Server disconnected without sending a response."),
        httpx2.ReadTimeout("slow"),
    ],
    ids=lambda each: f"{each.status_code}" if isinstance(each, httpx2.Response) else type(each).__name__,
)
def test_what_passes_is_repeated(first: httpx2.Response | Exception) -> None:
    server = script(first, said(TIME))

    async def use(rest: OkxRest) -> tuple[int, Counter[str]]:
        return await rest.server_time_ns(), rest.counters

    time_ns, counters = run(server, use)
    assert time_ns == 1787702400000_000_000
    assert len(server.asked) == 2
    assert sum(counters.values()) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (
            said({"code": "50101", "msg": "APIKey does not match current environment.", "data": []}),
            OkxAuthError,
            "50101",
        ),
        (said({"code": "50113", "msg": "Invalid Sign", "data": []}, 401), OkxAuthError, "50113"),
        (said({"msg": "Invalid OK-ACCESS-KEY", "code": 50111}, 401), OkxAuthError, "50111"),
        (said(b"", 401), OkxAuthError, "HTTP 401"),
        (said({"code": "51001", "msg": "Instrument ID does not exist", "data": []}), OkxRequestError, "51001"),
        (said({"code": "51000", "msg": "Parameter bar error", "data": []}, 400), OkxRequestError, "51000"),
        (said({"code": "1", "msg": "Operation failed", "data": []}), OkxRequestError, "1"),
        (said(b"not found", 404), OkxRequestError, "HTTP 404"),
        (said(b"", 302, location="http://login.hotel.example/"), OkxServerError, "HTTP 302"),
        (said(b"<html>Welcome to the hotel</html>"), OkxServerError, "HTTP 200"),
        (said({"code": "0", "msg": ""}), OkxServerError, "HTTP 200"),
        (said({"hello": 1}), OkxServerError, "HTTP 200"),
        (said(b"\xff\xfe"), OkxServerError, "HTTP 200"),
        (said(b"[" * 100_000), OkxServerError, "HTTP 200"),
    ],
)
def test_what_does_not_pass_is_asked_once(answer: httpx2.Response, kind: type[OkxError], code: str) -> None:
    server = script(answer)
    error = refused(server)
    assert (type(error), error.code) == (kind, code)
    assert str(error).startswith("OKX public/time: ")
    assert len(server.asked) == 1


def test_an_answer_that_was_cut_on_its_way_is_asked_for_again() -> None:
    server = script(said(b'{"code":"0","msg":"","data":[{"ts":"17877'), said(TIME))

    async def use(rest: OkxRest) -> tuple[int, int]:
        return await rest.server_time_ns(), rest.requests

    assert run(server, use) == (1787702400000_000_000, 2)


def test_a_download_has_more_patience_than_a_watch() -> None:
    """So many attempts as were wished for."""
    server = script(*[said(b"", 503)] * 7, said(TIME))
    run(server, lambda rest: rest.server_time_ns(), attempts=8)
    assert len(server.asked) == 8


def test_attempts_end() -> None:
    server = script(said(b"", 503))
    assert type(refused(server)) is OkxServerError
    assert len(server.asked) == ATTEMPTS


def test_the_retry_policy_may_give_up_earlier() -> None:
    server = script(said(b"", 503))
    refused(server, config=CONFIG.with_(retry=RetryPolicy(give_up_after=2)))
    assert len(server.asked) == 2


def test_waits_grow_with_full_jitter() -> None:
    waits = []
    for seed in range(60):
        server = script(httpx2.ConnectError("no"))
        error = refused(server, rng=np.random.default_rng(seed))
        assert type(error) is OkxNetworkError
        waits.append(np.diff(server.times_s))
    found = np.array(waits)
    # Nothing is sent sooner than the pace allows, and the upper bounds double.
    slot_s = calls.TIME.paced_window_s / calls.TIME.requests
    bounds_s = np.maximum([0.25, 0.5, 1.0, 2.0], slot_s)
    assert (found >= slot_s - 1e-9).all()
    assert (found <= bounds_s + 1e-9).all()
    assert (found.max(axis=0) > 0.9 * bounds_s).all()
    assert (found.min(axis=0) < slot_s + 0.05).all()


def test_after_a_limit_the_whole_lane_waits_for_the_window() -> None:
    server = script(said(BUSY), said(TIME))

    async def use(rest: OkxRest) -> None:
        await asyncio.gather(*(rest.server_time_ns() for _ in range(4)))

    run(server, use)
    first_s, second_s = server.times_s[:2]
    assert second_s - first_s >= calls.TIME.window_s
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("header", "at_least_s"),
    [
        ("7", 7.0),
        (format_datetime(datetime.fromtimestamp(EPOCH_NS / 1e9, UTC) + timedelta(seconds=9), usegmt=True), 9.0),
        ("-1", 2.0),
        ("soon", 2.0),
        ("", 2.0),
    ],
)
def test_retry_after_is_honoured(header: str, at_least_s: float) -> None:
    server = script(said(BUSY, 429, **{"retry-after": header}), said(TIME))
    run(server, OkxRest.server_time_ns)
    assert at_least_s <= server.times_s[1] < at_least_s + 0.5


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    error = refused(script(said(BUSY, 429, **{"retry-after": "3600"})))
    assert (type(error), error.retry_after_s) == (OkxLimitError, 3600.0)


# Limits of an answer ----------------------------------------------------------------------------------------------


class Dripping(httpx2.AsyncByteStream):
    """One byte a second, for ever."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(1.0)
            yield b" "


def test_a_dripping_answer_times_out_as_a_whole() -> None:
    server = Server(lambda _: httpx2.Response(200, stream=Dripping()))
    error = refused(server, config=CONFIG.with_(retry=RetryPolicy(give_up_after=1)), timeout_s=20.0)
    assert type(error) is OkxNetworkError
    assert "no answer in time" in str(error)


def test_a_dripping_answer_takes_no_longer_than_the_timeout() -> None:
    server = Server(lambda _: httpx2.Response(200, stream=Dripping()))

    async def use(rest: OkxRest) -> float:
        with pytest.raises(OkxNetworkError):
            await rest.server_time_ns()
        return virtual_loop().time()

    config = CONFIG.with_(retry=RetryPolicy(give_up_after=1))
    assert run(server, use, config, timeout_s=12.0) == pytest.approx(12.0)


class Endless(httpx2.AsyncByteStream):
    """Megabytes without end."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        block = bytes(2**20)
        while True:
            yield block


def test_an_endless_answer_is_cut_off() -> None:
    error = refused(Server(lambda _: httpx2.Response(200, stream=Endless())))
    assert type(error) is OkxServerError
    assert "longer than 64 MiB" in str(error)


def test_a_broken_compression_is_a_network_error() -> None:
    server = Server(lambda _: httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=Plain(b"not gzip")))
    assert type(refused(server)) is OkxNetworkError


class Plain(httpx2.AsyncByteStream):
    """Bytes as they are, whatever the headers say."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


# Private requests -------------------------------------------------------------------------------------------------

CREDENTIALS = Credentials("the-key", "the-secret", "the-passphrase")
ACCOUNT = {"code": "0", "data": [{"acctLv": "2", "posMode": "net_mode", "perm": "read_only,trade", "feeType": "0"}]}


def test_skew_is_measured_once_and_the_request_signed_anew() -> None:
    skew_s = -90.0

    def answer(request: httpx2.Request) -> httpx2.Response:
        now_s = EPOCH_NS / 1e9 + virtual_loop().time() + skew_s
        if request.url.path.endswith("/public/time"):
            return said({"code": "0", "data": [{"ts": str(int(now_s * 1000))}]})
        stamp_s = datetime.fromisoformat(request.headers["ok-access-timestamp"]).timestamp()
        if abs(stamp_s - now_s) > 30.0:
            return said({"code": "50102", "msg": "Timestamp request expired", "data": []}, 401)
        return said(ACCOUNT)

    server = Server(answer, latency_s=0.2)

    async def use(rest: OkxRest) -> tuple[str, int]:
        level = (await rest.account_config()).level
        await rest.account_config()
        return level, await rest.clock_offset_ns()

    level, offset_ns = run(server, use, credentials=CREDENTIALS)
    assert level == "futures"
    assert offset_ns == pytest.approx(skew_s * 1e9, abs=0.11e9)
    paths = Counter(request.url.path for _, request in server.asked)
    assert paths == {"/api/v5/account/config": 3, "/api/v5/public/time": 4}


class Distant(httpx2.AsyncBaseTransport):
    """A clock that is ahead; the way there takes as long as the way back, but connecting delays the first request."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms
        self._connecting_s = 0.8

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(self._connecting_s + 0.15)
        self._connecting_s = 0.0
        answer = said({"code": "0", "data": [{"ts": str(virtual_loop().wall_ns() // NS_PER_MS + self._ahead_ms)}]})
        await asyncio.sleep(0.15)
        return answer


def test_the_offset_is_measured_in_the_middle_of_the_faster_request() -> None:
    async def main() -> int:
        async with OkxRest(CONFIG, transport=Distant(4321), now_ns=virtual_loop().wall_ns) as rest:
            return await rest.clock_offset_ns()

    assert simulate(main()) == pytest.approx(4321 * NS_PER_MS, abs=NS_PER_MS)


def test_lasting_skew_is_an_error_that_names_the_clock() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/public/time"):
            return said(TIME)
        return said({"code": "50102", "msg": "Timestamp request expired", "data": []}, 401)

    server = Server(answer)
    error = refused(server, OkxRest.account_config, credentials=CREDENTIALS)
    assert type(error) is OkxAuthError
    assert "clock" in str(error)
    assert len(server.asked) == 4


def test_private_requests_need_credentials_and_a_host_that_may_see_them() -> None:
    server = script(said(ACCOUNT))
    with pytest.raises(ConfigError, match="credentials"):
        run(server, OkxRest.account_config)
    with pytest.raises(ConfigError, match="never sent"):
        run(server, OkxRest.account_config, OkxConfig(url="https://okx.example"), credentials=CREDENTIALS)
    assert server.asked == []


@pytest.mark.parametrize("demo", [False, True])
def test_only_demo_trading_is_announced_as_such(demo: bool) -> None:
    server = script(said(TIME))
    run(server, OkxRest.server_time_ns, OkxConfig(url="http://127.0.0.1:1", demo=demo))
    assert server.asked[0][1].headers.get("x-simulated-trading") == ("1" if demo else None)


def test_public_requests_carry_no_key() -> None:
    server = script(said(TIME))
    run(server, OkxRest.server_time_ns, credentials=CREDENTIALS)
    assert not [name for name in server.asked[0][1].headers if name.startswith("ok-access")]


@given(now_ns=st.integers(0, 4 * 10**18))
@settings(max_examples=100, deadline=None)
def test_the_signing_time_is_iso_with_milliseconds(now_ns: int) -> None:
    text = rest_timestamp(now_ns)
    moment = datetime.fromisoformat(text)
    assert len(text) == len("2020-12-08T09:08:57.715Z")
    assert round(moment.timestamp() * 1000) == now_ns // 1_000_000


# Life of a client -------------------------------------------------------------------------------------------------


def test_a_client_that_is_not_open_says_so() -> None:
    async def closed() -> None:
        rest = OkxRest(CONFIG, transport=script(said(TIME)))
        with pytest.raises(FeedClosedError, match="async with"):
            await rest.server_time_ns()
        async with rest:
            await rest.server_time_ns()
        with pytest.raises(FeedClosedError, match="async with"):
            await rest.server_time_ns()
        await rest.close()

    simulate(closed())


@pytest.mark.parametrize("proxy", ["ftp://user:hunter2@proxy.example", "http://[bad:hunter2"])
def test_an_unusable_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    async def enter() -> None:
        async with OkxRest(OkxConfig()):
            pass

    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        asyncio.run(enter())
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


def test_a_loopback_url_and_a_refused_environment_never_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that no client could use shows that it is not even read."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.example")
    monkeypatch.setenv("HTTP_PROXY", "ftp://proxy.example")

    async def enter(config: OkxConfig) -> None:
        async with OkxRest(config):
            pass

    asyncio.run(enter(OkxConfig(url="http://127.0.0.1:1")))
    asyncio.run(enter(OkxConfig(trust_env=False)))


def test_counters_stay_bounded_whatever_a_server_invents() -> None:
    rows = [{"instId": f"../{number}", "instType": "SPOT", "tickSz": "1", "lotSz": "1"} for number in range(1000)]
    server = script(said({"code": "0", "data": rows}))

    async def use(rest: OkxRest) -> Counter[str]:
        assert await rest.instruments("spot") == []
        return rest.counters

    counters = run(server, use)
    assert sum(counters.values()) == 1000
    assert len(counters) <= 201


def test_queries_are_encoded_and_blank_ones_left_out() -> None:
    server = script(said({"code": "0", "data": []}))
    run(server, lambda rest: rest.trades("BTC-USD_UM-261225", 7))
    request = server.asked[0][1]
    assert parse_qs(request.url.query.decode()) == {"instId": ["BTC-USD_UM-261225"], "limit": ["7"]}
