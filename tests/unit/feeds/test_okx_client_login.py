"""Logins: signed, corrected by the server's clock, refused for good, and never sent to a stranger."""

import pytest
from okx_server import ScriptedOkx, arg_of, run

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError, FeedError, SubscriptionError
from quantkit.feeds.okx.codec.channels import account, book, orders, tickers
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxAuthError, OkxError, OkxNetworkError, OkxRequestError
from quantkit.feeds.okx.tracker.records import Opened
from quantkit.feeds.okx.ws.client import OkxClient

KEYS = Credentials("the-key", "the-secret", "the-passphrase")
BTC = tickers("BTC-USDT")


async def drain(okx):
    return [event async for event in okx]


class Clock:
    """A REST client that knows the server's time and nothing else."""

    def __init__(self, ahead_ns):
        self.ahead_ns = ahead_ns
        self.asked = 0

    async def clock_offset_ns(self):
        self.asked += 1
        if isinstance(self.ahead_ns, Exception):
            raise self.ahead_ns
        return self.ahead_ns


class Tape:
    """Keeps frames and records."""

    def __init__(self):
        self.frames, self.records = [], []

    def frame(self, connection, received_ns, data):
        self.frames.append(data)

    def record(self, event):
        self.records.append(event)


def refusing(code, text="no", *, close=None, times=10**9):
    """Return a handler that refuses logins."""
    refused = []

    async def handle(visit, request):
        if request["op"] != "login" or len(refused) >= times:
            return False
        refused.append(request)
        await visit.error(code, text)
        if close is not None:
            await visit.socket.close(close, "login failed")
        return True

    return handle


def test_private_channels_come_after_a_signed_login_on_a_connection_of_their_own():
    async def work():
        tape = Tape()
        options = {"credentials": KEYS, "tape": tape, "stamp": _from(1_700_000_000)}
        async with ScriptedOkx() as server, OkxClient(server.config(), **options) as okx:
            await okx.subscribe(account(), BTC)
            private = next(visit for visit in server.visits if visit.path == "private")
            assert [request["op"] for request in private.requests] == ["login", "subscribe"]
            assert private.requests[0]["args"] == [KEYS.sign_login(1_700_000_000)]
            public = next(visit for visit in server.visits if visit.path == "public")
            assert [request["op"] for request in public.requests] == ["subscribe"]
            await server.until(lambda: len(tape.frames) == 4)
        assert not any(b"login" in frame for frame in tape.frames)
        assert [record.path for record in tape.records if isinstance(record, Opened)].count("private") == 1

    run(work())


def _from(seconds):
    now_ns = seconds * NS_PER_S

    def stamp():
        nonlocal now_ns
        now_ns += 1
        return now_ns

    return stamp


def test_vip_books_log_in_on_public_apart_from_the_rest():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            await okx.subscribe(BTC, book("BTC-USDT", "books-l2-tbt"))
            assert sorted((visit.path, len(visit.requests)) for visit in server.visits) == [
                ("public", 1),
                ("public", 2),
            ]

    run(work())


def test_a_login_is_signed_anew_on_every_connection():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            await okx.subscribe(account())
            await server.visits[0].socket.close(1001)
            await server.until(lambda: len(server.visits) == 2 and len(server.visits[1].requests) == 2)
            assert [request["op"] for request in server.visits[1].requests] == ["login", "subscribe"]

    run(work())


@pytest.mark.parametrize("code", ["60004", "60006"])
def test_a_wrong_clock_is_measured_and_the_login_repeated_once(code):
    async def work():
        clock = Clock(3600 * NS_PER_S)
        async with ScriptedOkx() as server:
            server.on_request = refusing(code, "Timestamp request expired", times=1)
            options = {"credentials": KEYS, "rest": clock, "stamp": _from(1_700_000_000)}
            async with OkxClient(server.config(), **options) as okx:
                await okx.subscribe(account())
                (visit,) = server.visits
                stamps = [request["args"][0]["timestamp"] for request in visit.requests[:2]]
                assert stamps == ["1700000000", "1700003600"]
                assert clock.asked == 1
                await visit.socket.close(1001)  # what was measured is used from then on
                await server.until(lambda: len(server.visits) == 2 and server.visits[1].requests)
                assert server.visits[1].requests[0]["args"][0]["timestamp"] == "1700003600"

    run(work())


def test_a_clock_that_stays_wrong_is_told_with_its_offset():
    async def work():
        async with ScriptedOkx() as server:
            server.on_request = refusing("60006", "Timestamp request expired")
            async with OkxClient(server.config(), credentials=KEYS, rest=Clock(-45 * NS_PER_S)) as okx:
                with pytest.raises(SubscriptionError, match=r"-45\.000 s"):
                    await okx.subscribe(account())
                assert len(server.visits) == 1
                assert len(server.visits[0].requests) == 2

    run(work())


def test_a_clock_that_cannot_be_measured_yet_is_tried_again():
    async def work():
        clock = Clock(OkxNetworkError("no network", is_retryable=True))
        async with ScriptedOkx() as server:
            server.on_request = refusing("60006", times=2)
            async with OkxClient(server.config(), credentials=KEYS, rest=clock) as okx:
                await okx.subscribe(account())
                assert len(server.visits) == 3

    run(work())


@pytest.mark.parametrize("code", ["60005", "60007", "60012", "60024", "60032", "50101"])
def test_wrong_keys_are_fatal_at_once_and_public_data_go_on(code):
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            server.on_request = refusing(code, "Invalid")
            with pytest.raises(SubscriptionError, match=code) as caught:
                await okx.subscribe(account(), orders(), BTC)
            assert set(caught.value.refused) == {account(), orders()}
            assert isinstance(caught.value.refused[account()], OkxAuthError | OkxRequestError)
            assert [visit.path for visit in server.visits].count("private") == 1
            states = {status.path: status.state for status in okx.connections}
            assert states == {"private": "failed", "public": "live"}
            assert (await anext(okx)).instrument == "BTC-USDT"
            with pytest.raises(OkxError, match=code):
                await okx.wait_live(1)
            server.on_request = None
            await okx.subscribe(account())  # asked for again, say after the key was mended, it is tried again
            assert {status.path: status.state for status in okx.connections} == {"private": "live", "public": "live"}

    run(work())


@pytest.mark.parametrize("code", [4001, 4002, 4003, 4007, 4008, 4009])
def test_fatal_closes_do_not_loop_and_are_raised_where_data_are_awaited(code):
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            await okx.subscribe(account(), BTC)
            await anext(okx)
            private = next(visit for visit in server.visits if visit.path == "private")
            public = next(visit for visit in server.visits if visit.path == "public")
            await private.socket.close(code, "over")
            with pytest.raises(OkxError, match=str(code)):
                await drain(okx)
            assert account() in okx.refused
            await public.push(arg_of(BTC))
            assert (await anext(okx)).instrument == "BTC-USDT"
            assert len(server.visits) == 2

    run(work())


def test_an_unexplained_refusal_gets_one_more_try():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            server.on_request = refusing("60009", "Login failed")
            with pytest.raises(SubscriptionError, match="60009"):
                await okx.subscribe(account())
            assert len(server.visits) == 2

    run(work())


@pytest.mark.parametrize("code", ["60014", "63999"])
def test_a_busy_login_is_tried_again(code):
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            server.on_request = refusing(code, times=3)
            await okx.subscribe(account())
            assert len(server.visits) == 4

    run(work())


def test_a_login_without_an_answer_is_given_up_and_tried_again():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(ack_timeout_s=0.05), credentials=KEYS) as okx:

            async def ignore(visit, request):
                return request["op"] == "login" and visit.number == 0

            server.on_request = ignore
            await okx.subscribe(account())
            assert len(server.visits) == 2

    run(work())


def test_a_connection_lost_during_the_login_is_made_again():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:

            async def cut(visit, request):
                if visit.number == 0:
                    visit.socket.transport.abort()
                return visit.number == 0

            server.on_request = cut
            await okx.subscribe(account())
            assert len(server.visits) == 2

    run(work())


def test_too_many_connections_of_a_channel_end_its_subscription():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=KEYS) as okx:
            await okx.subscribe(account(), orders())
            count = {"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": "a"}
            await server.visits[0].send(count)
            await server.visits[0].send({**count, "event": "channel-conn-count-error", "connCount": "30"})
            with pytest.raises(FeedError, match="30 connections of this account carry orders"):
                await drain(okx)
            assert list(okx.refused) == [orders()]
            assert okx.connections[0].channels == 1

    run(work())


def test_private_channels_without_keys_are_refused_before_anything_is_sent():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            with pytest.raises(ConfigError, match="account: needs a login"):
                await okx.subscribe(BTC, account())
            assert server.visits == []

    run(work())


def test_keys_are_not_accepted_for_a_strange_host():
    with pytest.raises(ConfigError, match="never sent"):
        OkxClient(OkxConfig(url="wss://ws.okx.com.example"), credentials=KEYS)


def test_a_redirect_gets_no_keys():
    async def work():
        async with ScriptedOkx() as stranger, ScriptedOkx() as server:
            server.statuses = [(307, {"Location": f"ws://127.0.0.1:{stranger.port}/ws/v5/private"})]
            async with OkxClient(server.config(), credentials=KEYS) as okx:
                await okx.subscribe(account())
            assert stranger.attempts_s == []

    run(work())
