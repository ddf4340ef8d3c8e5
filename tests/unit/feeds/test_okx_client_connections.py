"""The client's connections: their states, their losses and how they come back, over real sockets on loopback."""

import asyncio
import errno
import json
import socket
import ssl
import struct
import subprocess

import numpy as np
import pytest
from okx_server import Kept, ScriptedOkx, arg_of, run, ticker

from quantkit.errors import ConfigError, FeedClosedError, FeedError, SubscriptionError
from quantkit.events import BookUpdate, Gap, Ticker
from quantkit.feeds.okx.codec.channels import book, candles, tickers
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy
from quantkit.feeds.okx.errors import OkxNetworkError
from quantkit.feeds.okx.tracker.records import Closed, Lost, Opened, Subscribed, Unsubscribed
from quantkit.feeds.okx.ws.client import ConnectionState, OkxClient

BTC, BOOK = tickers("BTC-USDT"), book("BTC-USDT")


class Tape:
    """Keeps what a client records."""

    def __init__(self):
        self.frames = []
        self.records = []

    def frame(self, connection, received_ns, data):
        self.frames.append((connection, received_ns, data))

    def record(self, event):
        self.records.append(event)


async def take(okx, count):
    return [await anext(okx) for _ in range(count)]


async def take_until(okx, is_last):
    taken = []
    while not taken or not is_last(taken[-1]):
        taken.append(await anext(okx))
    return taken


def reset(visit):
    """Cut a connection by a TCP reset."""
    connection = visit.socket.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    visit.socket.transport.abort()


def test_the_readme_way_to_use_it_works():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC)
            async for event in okx:
                assert isinstance(event, Ticker)
                assert event.last == 100.5
                break

    run(work())


def test_states_are_told_in_order_and_the_close_is_graceful():
    async def work():
        states = []
        async with ScriptedOkx() as server:
            async with OkxClient(server.config(), on_state=lambda status: states.append(status.state)) as okx:
                await okx.subscribe(BTC)
                (status,) = okx.connections
                assert (status.number, status.path, status.state) == (1, "public", ConnectionState.LIVE)
                assert (status.channels, status.attempts, status.error) == (1, 1, "")
                await take(okx, 1)
                (status,) = okx.connections
                assert status.frames == 2
                assert status.last_frame_ns > status.since_ns
            await server.until(lambda: server.visits[0].close_code)
            assert server.visits[0].close_code == 1000
            with pytest.raises(StopAsyncIteration):
                await anext(okx)
            with pytest.raises(FeedClosedError):
                await okx.subscribe(BTC)
        assert list(dict.fromkeys(states)) == ["connecting", "live", "closing", "closed"]

    run(work())


@pytest.mark.parametrize("ending", ["1000", "1001", "1006", "4004", "4005", "4006", "FIN", "RST", "malformed"])
def test_every_ending_is_a_loss_and_is_made_good(ending):
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC, BOOK)
            await take(okx, 2)
            visit = server.visits[0]
            if ending == "RST":
                reset(visit)
            elif ending == "FIN" or ending == "1006":
                visit.socket.transport.close()
            elif ending == "malformed":
                visit.socket.transport.write(b"\xff\xff\xff\xff")
            else:
                await visit.socket.close(int(ending), "over")
            events = await take_until(okx, lambda event: isinstance(event, BookUpdate))
            gaps = [event for event in events if isinstance(event, Gap)]
            assert [gap.channel for gap in gaps if gap.channel == "book"] == ["book"]
            assert all(gap.cause.startswith("disconnected") for gap in gaps)
            if ending.isdigit() and ending != "1006":
                assert f"closed with {ending}" in gaps[0].cause
            assert len(server.visits) == 2
            assert server.visits[1].operations("subscribe") == [["tickers BTC-USDT", "books BTC-USDT"]]
            assert events[-1].is_snapshot
            await okx.wait_live(5)

    run(work())


def test_records_tell_what_happened_and_frames_rise():
    async def work():
        tape = Tape()
        async with ScriptedOkx() as server, OkxClient(server.config(), tape=tape) as okx:
            await okx.subscribe(BTC)
            await take(okx, 1)
            await server.visits[0].socket.close(1001)
            await take(okx, 2)
        assert [type(record) for record in tape.records] == [Opened, Subscribed, Lost, Opened, Subscribed, Closed]
        assert {record.connection for record in tape.records[:-1]} == {1}
        stamps = sorted([record.received_ns for record in tape.records] + [stamp for _, stamp, _ in tape.frames])
        assert len(set(stamps)) == len(stamps)
        assert [stamp for _, stamp, _ in tape.frames] == sorted(stamp for _, stamp, _ in tape.frames)

    run(work())


def test_a_silent_peer_is_pinged_then_given_up_in_time():
    async def work():
        async with ScriptedOkx() as server:
            server.pongs = False
            states = []
            config = server.config(ping_after_s=0.1, dead_after_s=0.2)
            loop = asyncio.get_running_loop()

            def on_state(status):
                states.append((status.state, loop.time()))

            async with OkxClient(config, on_state=on_state) as okx:
                await okx.subscribe(BTC)
                heard_s = loop.time()
                await server.until(lambda: len(server.visits) == 2)
                assert server.visits[0].texts[-1] == "ping"
                assert server.visits[0].texts.count("ping") == 1
                stale_s = next(at_s for state, at_s in states if state == "stale")
                lost_s = next(at_s for state, at_s in states if state == "waiting" and at_s > stale_s)
                assert 0.08 <= stale_s - heard_s <= 0.19
                assert 0.18 <= lost_s - heard_s <= 0.4
                await okx.wait_live(5)

    run(work())


def test_a_pong_is_life():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(ping_after_s=0.02, dead_after_s=1.0)
            states = []
            async with OkxClient(config, on_state=lambda status: states.append(status.state)) as okx:
                await okx.subscribe(BTC)
                await server.until(lambda: server.visits[0].texts.count("ping") >= 3)
                assert len(server.visits) == 1
                assert states.count("stale") >= 2
                await server.until(lambda: okx.connections[0].state == "live")

    run(work())


def test_data_are_life_without_pongs():
    async def work():
        async with ScriptedOkx() as server:
            server.pongs = False
            config = server.config(ping_after_s=0.1, dead_after_s=0.2)
            async with OkxClient(config) as okx:
                await okx.subscribe(BTC)
                loop = asyncio.get_running_loop()
                end_s = loop.time() + 0.5
                while loop.time() < end_s:
                    await server.visits[0].push(arg_of(BTC))
                    await anext(okx)
                assert len(server.visits) == 1
                assert "ping" not in server.visits[0].texts

    run(work())


def test_a_frame_that_never_ends_is_given_up():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(frame_timeout_s=0.1)
            async with OkxClient(config) as okx:
                await okx.subscribe(BTC)
                transport = server.visits[0].socket.transport
                transport.write(b"\x81\x7e\xff\xff" + b"x" * 5)
                for _ in range(60_000):
                    if len(server.visits) == 2 or transport.is_closing():
                        break
                    transport.write(b"x")  # drop by drop: life, but no message
                    await asyncio.sleep(0)
                await server.until(lambda: len(server.visits) == 2)
                assert "a frame was not complete" in okx.connections[0].error

    run(work())


def test_messages_in_pieces_are_put_together_and_binary_ones_are_counted():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC)
            await take(okx, 1)
            socket_ = server.visits[0].socket
            await socket_.send(b"\x00\x01")
            await socket_.send([b"\x00", b"\x01"])
            text = json.dumps({"arg": BTC.arg(), "data": [ticker("BTC-USDT", "7")]})
            await socket_.send([text[:10], text[10:40], text[40:]])
            assert (await anext(okx)).last == 7.0
            assert okx.counters["binary frames"] == 2

    run(work())


def test_a_frame_that_is_too_long_ends_the_connection():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(max_frame_bytes=4096)) as okx:
            await okx.subscribe(BTC)
            await server.visits[0].socket.send("x" * 5000)
            await server.until(lambda: len(server.visits) == 2)
            await okx.wait_live(5)

    run(work())


def test_compression_can_be_offered():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(compress=True)) as okx:
            await okx.subscribe(BTC)
            assert isinstance(await anext(okx), Ticker)
            request = server.visits[0].socket.request
            assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]

    run(work())


@pytest.mark.parametrize("status", [503, 429, 403, 302])
def test_a_refused_handshake_is_tried_again(status):
    async def work():
        async with ScriptedOkx() as server:
            server.statuses = [(status, {"Location": "ws://127.0.0.1:9/elsewhere"})] * 3
            errors = []
            async with OkxClient(server.config(), on_state=lambda status: errors.append(status.error)) as okx:
                await okx.subscribe(BTC)
                assert len(server.attempts_s) == 4
                assert okx.connections[0].attempts == 4
            assert any(f"HTTP {status}" in error for error in errors)

    run(work())


def test_retry_after_is_honoured():
    async def work():
        async with ScriptedOkx() as server:
            server.statuses = [(429, {"Retry-After": "1"})]
            async with OkxClient(server.config()) as okx:
                await okx.subscribe(BTC)
            first_s, second_s = server.attempts_s
            assert second_s - first_s >= 1.0

    run(work())


def test_connects_are_paced_over_all_paths():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(connects_per_s=3, depth_channels_per_connection=1)
            wanted = [book(f"A{number}-USDT") for number in range(6)] + [candles("BTC-USDT", "1m")]
            async with OkxClient(config) as okx:
                await okx.subscribe(*wanted)
                assert len(server.visits) == 7
            at_s = sorted(server.attempts_s)
            assert all(at_s[place + 3] - at_s[place] > 1.0 for place in range(len(at_s) - 3))

    run(work())


def test_a_server_that_accepts_and_closes_is_backed_off_from():
    async def work():
        async with ScriptedOkx() as server:
            waits = []

            async def close(visit):
                waits.append(visit.at_s)
                await visit.socket.close(1001)
                return False

            server.on_open = close
            config = server.config(retry=RetryPolicy(base_s=0.01, cap_s=60.0, give_up_after=6))
            async with OkxClient(config, rng=np.random.default_rng(5)) as okx:
                with pytest.raises(SubscriptionError, match="closed with 1001"):
                    await okx.subscribe(BTC)
                assert okx.connections[0].state == "failed"
            assert len(waits) == 6
            # The bounds double: 10, 20, 40, 80, 160 ms; a loop without back-off would need next to nothing.
            assert waits[-1] - waits[0] > 0.05

    run(work())


def test_no_server_is_told_and_waited_for():
    async def work():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = OkxConfig(
            url=f"ws://127.0.0.1:{port}", retry=RetryPolicy(base_s=0.001, cap_s=0.01), connects_per_s=999
        )
        async with OkxClient(config) as okx:
            waiting = asyncio.create_task(okx.subscribe(BTC))
            await asyncio.sleep(0)
            with pytest.raises(FeedError, match=r"not live after 0\.2 s.*refused"):
                await okx.wait_live(0.2)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert okx.connections[0].attempts > 3

    run(work())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that only itself vouches for, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def tls_of(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_an_untrusted_certificate_is_fatal_at_once(certificate):
    async def work():
        async with ScriptedOkx(tls_of(certificate)) as server:
            server_url = f"wss://localhost:{server.port}"
            async with OkxClient(server.config(url=server_url)) as okx:
                with pytest.raises(SubscriptionError, match="certificate is not trusted") as caught:
                    await okx.subscribe(BTC)
                assert isinstance(caught.value.refused[BTC], OkxNetworkError)
                assert okx.connections[0].attempts == 1
                with pytest.raises(OkxNetworkError, match="certificate"):
                    await okx.wait_live(1)
            assert server.visits == []

    run(work())


def test_a_certificate_authority_of_ones_own_can_be_named(certificate):
    async def work():
        async with ScriptedOkx(tls_of(certificate)) as server:
            config = server.config(url=f"wss://localhost:{server.port}", ca_file=str(certificate[0]))
            async with OkxClient(config) as okx:
                await okx.subscribe(BTC)
                assert isinstance(await anext(okx), Ticker)
                reset(server.visits[0])
                await server.until(lambda: len(server.visits) == 2)
                await okx.wait_live(5)

    run(work())


def test_tls_that_is_cut_is_tried_again_and_never_without(certificate):
    async def work():
        begun = []

        async def cut(reader, writer):
            begun.append(await reader.read(1))
            writer.close()

        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        retry = RetryPolicy(base_s=0.001, cap_s=0.01, give_up_after=5)
        config = OkxConfig(url=f"wss://localhost:{port}", retry=retry, connects_per_s=99, ca_file=str(certificate[0]))
        async with server, OkxClient(config) as okx:
            with pytest.raises(SubscriptionError):
                await okx.subscribe(BTC)
        assert begun == [b"\x16"] * 5  # how every TLS handshake begins

    run(work())


def test_a_server_of_another_kind_is_told():
    async def work():
        async def speak(reader, writer):
            writer.write(b"SSH-2.0-nothing\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        retry = RetryPolicy(base_s=0.001, cap_s=0.01, give_up_after=2)
        async with server, OkxClient(OkxConfig(url=f"ws://127.0.0.1:{port}", retry=retry, connects_per_s=99)) as okx:
            with pytest.raises(SubscriptionError, match="no WebSocket server"):
                await okx.subscribe(BTC)

    run(work())


def test_a_handshake_that_never_ends_is_given_up():
    async def work():
        silent = asyncio.Event()

        async def say_nothing(reader, writer):
            await silent.wait()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        retry = RetryPolicy(base_s=0.001, cap_s=0.01, give_up_after=2)
        config = OkxConfig(url=f"ws://127.0.0.1:{port}", retry=retry, connects_per_s=99, handshake_timeout_s=0.1)
        async with server:
            async with OkxClient(config) as okx:
                with pytest.raises(SubscriptionError, match="no answer in time"):
                    await okx.subscribe(BTC)
            silent.set()

    run(work())


def test_a_name_service_that_fails_is_bridged_by_the_last_address(monkeypatch):
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(url=f"ws://localhost:{server.port}")
            async with OkxClient(config) as okx:
                await okx.subscribe(BTC)
                await take(okx, 1)
                loop = asyncio.get_running_loop()
                lookup, asked = loop.getaddrinfo, []

                async def fail(host, *args, **options):
                    asked.append(host)
                    if host == "localhost":
                        raise socket.gaierror(-3, "Temporary failure in name resolution")
                    return await lookup(host, *args, **options)

                monkeypatch.setattr(loop, "getaddrinfo", fail)
                await server.visits[0].socket.close(1001)
                await take_until(okx, lambda event: isinstance(event, Ticker))
                assert asked[0] == "localhost"
                assert len(server.visits) == 2

    run(work())


@pytest.mark.parametrize("error", [RuntimeError("no space left"), OSError(errno.ENOSPC, "no space left")])
def test_a_tape_that_fails_stops_the_client_with_its_error(error):
    class Full(Tape):
        def frame(self, connection, received_ns, data):
            if b"tickers" in data:
                raise error
            super().frame(connection, received_ns, data)

    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(), tape=Full()) as okx:
            with pytest.raises(FeedError, match="no space left") as caught:
                await okx.subscribe(BTC)
            assert caught.value.__cause__ is error
            assert okx.connections[0].state == "failed"
            for _ in range(3):
                with pytest.raises(FeedError, match="no space left"):
                    await anext(okx)
            # A full disk is no loss of the connection: nothing is tried again.
            assert len(server.visits) == 1

    run(work())


class _NotesOf(Tape):
    """Fails at one kind of record."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def record(self, event):
        if isinstance(event, self.kind):
            raise OSError(errno.ENOSPC, "no space left")
        super().record(event)


def test_a_tape_that_fails_at_a_record_stops_the_client_whoever_noted_it():
    async def work():
        async with ScriptedOkx() as server:
            async with OkxClient(server.config(), tape=_NotesOf(Unsubscribed)) as okx:
                await okx.subscribe(BTC, BOOK)
                with pytest.raises(FeedError, match="no space left"):
                    await okx.unsubscribe(BTC)
                assert okx.connections[0].state == "failed"
                with pytest.raises(FeedError, match="no space left"):
                    await okx.subscribe(tickers("ETH-USDT"))
            async with OkxClient(server.config(), tape=_NotesOf(Opened)) as okx:
                with pytest.raises(FeedError, match="no space left"):
                    await okx.subscribe(BTC)
                await server.until(lambda: server.visits[-1].close_code)
                assert [status.state for status in okx.connections] == ["failed"]
            assert len(server.visits) == 2

    run(work())


def test_all_is_closed_though_the_end_cannot_be_recorded():
    async def work():
        async with ScriptedOkx() as server:
            okx = OkxClient(server.config(), tape=_NotesOf(Closed))
            await okx.__aenter__()
            await okx.subscribe(BTC)
            assert isinstance(await anext(okx), Ticker)
            with pytest.raises(FeedError, match="no space left"):
                await okx.__aexit__(None, None, None)
            await server.until(lambda: server.visits[0].close_code)
            with pytest.raises(FeedError, match="no space left"):
                await anext(okx)
            with pytest.raises(StopAsyncIteration):
                await anext(okx)
            await okx.close()

    run(work())


@pytest.mark.parametrize("state", ["connecting", "live", "stale"])
def test_a_listener_that_fails_stops_the_client_and_no_watch_over_silence_is_lost(state):
    def on_state(status):
        if status.state == state:
            raise BrokenPipeError("the terminal is gone")

    async def work():
        async with ScriptedOkx() as server:
            server.pongs = False
            config = server.config(ping_after_s=0.05, dead_after_s=0.1)
            async with OkxClient(config, on_state=on_state) as okx:
                with pytest.raises(FeedError, match="the terminal is gone"):
                    await _use(okx)
                assert [status.state for status in okx.connections] == ["failed"]
                assert len(server.attempts_s) == len(server.visits) <= 1

    run(work())


async def _use(okx):
    await okx.subscribe(BTC)
    while True:
        await anext(okx)


def test_a_close_that_is_given_up_leaves_no_socket_behind():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(close_timeout_s=20.0)) as okx:
            await okx.subscribe(BTC)
            visit = server.visits[0]
            visit.socket.transport.pause_reading()  # the close frame is never answered
            leaving = asyncio.create_task(okx.unsubscribe(BTC))
            await server.until(lambda: not okx.connections)
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert leaving.cancelled()
            visit.socket.transport.resume_reading()
            await server.until(lambda: visit.close_code)

    run(work())


def test_wrong_use_is_told():
    async def work():
        okx = OkxClient(OkxConfig(url="ws://127.0.0.1:9"))
        with pytest.raises(FeedClosedError, match="async with"):
            await okx.subscribe(BTC)
        assert okx.connections == ()
        async with okx:
            with pytest.raises(FeedClosedError, match="entered once"):
                await okx.__aenter__()
        async with OkxClient(OkxConfig(url="ws://127.0.0.1:9"), consumer=Kept()) as handed:
            with pytest.raises(FeedError, match="consumer"):
                await anext(handed)
        with pytest.raises(ConfigError, match="PEM"):
            async with OkxClient(OkxConfig(ca_file="/nowhere.pem")):
                pass

    run(work())


def test_closing_does_not_wait_for_a_peer_that_is_gone():
    async def work():
        async with ScriptedOkx() as server:
            okx = OkxClient(server.config(close_timeout_s=0.1))
            async with okx:
                await okx.subscribe(BTC)
                server.visits[0].socket.transport.pause_reading()
                begun_s = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - begun_s < 2.0

    run(work())
