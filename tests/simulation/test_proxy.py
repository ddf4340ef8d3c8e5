"""The fault proxy does what it says, on real sockets."""

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from time import monotonic

import pytest
from simulation.proxy import Ending, FaultProxy, Greeting
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage

pytestmark = pytest.mark.long

WAIT_S = 20.0


class Server:
    """Takes connections and leaves both ends of each to the test."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self.port = self._listener.getsockname()[1]
        self._open = ExitStack()

    def accept(self) -> socket.socket:
        """The next connection."""
        end, _ = self._listener.accept()
        end.settimeout(WAIT_S)
        return self._open.enter_context(end)

    def connect(self, port: int) -> socket.socket:
        """A client's connection to a port."""
        return self._open.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))

    def close(self) -> None:
        """Close everything."""
        self._open.close()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(server.port) as made:
        yield made


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair(server: Server, proxy: FaultProxy) -> Callable[[], Pair]:
    """Return a function that gives the client's and the server's end of a new connection through the proxy."""

    def make() -> Pair:
        client = server.connect(proxy.port)
        return client, server.accept()

    return make


def read(end: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, fewer where the connection ends before."""
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def nothing_waits(end: socket.socket) -> bool:
    """Whether a read would find nothing at this moment."""
    end.setblocking(False)
    try:
        end.recv(1)
    except BlockingIOError:
        return True
    finally:
        end.settimeout(WAIT_S)
    return False


def round_trip(pair: Pair) -> None:
    """Send something each way; what was to come before through the proxy has come then."""
    client, server = pair
    client.sendall(b"ping")
    assert read(server, 4) == b"ping"
    server.sendall(b"pong")
    assert read(client, 4) == b"pong"


# Without faults -----------------------------------------------------------------------------------------------------


def test_bytes_pass_both_ways_and_are_counted(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    pairs = [pair() for _ in range(3)]
    big = bytes(range(256)) * 4000
    for client, server in pairs:
        round_trip((client, server))
        sender = threading.Thread(target=client.sendall, args=(big,))
        sender.start()
        assert read(server, len(big)) == big
        sender.join()
    proxy.wait(lambda p: all(link.up == 4 + len(big) for link in p.links))
    assert [(link.number, link.down, link.is_open) for link in proxy.links] == [(n, 4, True) for n in range(3)]
    assert (proxy.accepted, proxy.live) == (3, 3)


def test_an_end_passes_on_and_half_a_connection_stays(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)
    assert read(server, 10) == b"last"
    server.sendall(b"answer")
    server.close()
    assert read(client, 10) == b"answer"
    proxy.wait(lambda p: p.live == 0)


def test_a_break_passes_on(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    round_trip((client, server))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    proxy.wait(lambda p: p.live == 0)


def test_a_server_that_is_not_there_breaks_the_connection(server: Server, proxy: FaultProxy) -> None:
    server.close()
    with pytest.raises(ConnectionResetError):
        server.connect(proxy.port).recv(1)


def test_waiting_in_vain_says_where_things_stand(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    round_trip(pair())
    proxy.wait(lambda p: p.links[0].down == 4)
    with pytest.raises(TimeoutError, match=r"the connections stand at \[\(0, 4, 4, True\)\]"):
        proxy.wait(lambda p: p.live == 2, timeout_s=0.01)


# Ends ---------------------------------------------------------------------------------------------------------------


def test_reset_breaks_both_ends(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    pairs = [pair() for _ in range(3)]
    for one in pairs:
        round_trip(one)
    assert proxy.reset() == 3
    assert proxy.live == 0
    for end in itertools.chain(*pairs):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    round_trip(pair())
    assert (proxy.accepted, proxy.live, proxy.reset()) == (4, 1, 1)


def test_finish_ends_both_ends_in_order(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    round_trip((client, server))
    assert proxy.finish() == 1
    # An end, not a break, though this side goes on sending.
    client.sendall(b"more")
    assert client.recv(1) == b""
    client.sendall(b"and more")
    assert server.recv(1) == b""
    assert proxy.live == 0


def test_frozen_connections_stay_open_and_move_nothing(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = frozen = pair()
    round_trip(frozen)
    assert proxy.freeze() == 1
    client.sendall(b"up")
    server.sendall(b"down")
    # A connection that came later moves, and by its round trip the proxy has had every occasion to move the others.
    later = pair()
    for _ in range(20):
        round_trip(later)
    assert nothing_waits(client)
    assert nothing_waits(server)
    assert (proxy.links[0].up, proxy.links[0].down, proxy.live) == (4, 4, 2)
    assert proxy.thaw() == 1
    assert (read(server, 2), read(client, 4)) == (b"up", b"down")
    assert proxy.thaw() == 0


def test_an_end_does_not_pass_a_frozen_connection(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = frozen = pair()
    round_trip(frozen)
    proxy.freeze()
    server.close()
    for _ in range(20):
        round_trip(pair())
    assert nothing_waits(client)
    assert proxy.links[0].is_open
    proxy.thaw()
    assert client.recv(1) == b""


def test_frozen_connections_can_be_broken(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    proxy.freeze()
    client.sendall(b"x" * 100)
    assert proxy.reset() == 1
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_cut_after_passes_exactly_so_many_bytes(pair: Callable[[], Pair], proxy: FaultProxy, how: Ending) -> None:
    there = pair()
    round_trip(there)
    proxy.cut_after(7, how)
    for client, server in (there, pair()):
        client.sendall(b"the other way is free")
        assert read(server, 21) == b"the other way is free"
        server.sendall(b"0123456789")
        assert read(client, 7) == b"0123456"
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
    proxy.wait(lambda p: p.live == 0)
    assert [link.down for link in proxy.links] == [4 + 7, 7]
    proxy.cut_after(None)
    client, server = pair()
    server.sendall(b"0123456789")
    assert read(client, 10) == b"0123456789"


def test_cut_after_may_freeze_inside_a_frame(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    proxy.cut_after(5, "freeze", "up")
    client, server = pair()
    client.sendall(b"0123456789")
    assert read(server, 5) == b"01234"
    proxy.cut_after(None)
    for _ in range(20):
        round_trip(pair())
    assert nothing_waits(server)
    assert (proxy.links[0].up, proxy.links[0].is_open) == (5, True)
    proxy.thaw()
    assert read(server, 5) == b"56789"


def test_a_cut_after_no_bytes_is_refused(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="count is 0; to end connections at once there are reset"):
        proxy.cut_after(0)


# Slow links ---------------------------------------------------------------------------------------------------------


def test_a_slow_link_takes_its_time_in_small_pieces(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    proxy.slow(1000)
    begun_s = monotonic()
    server.sendall(b"x" * 300)
    pieces = []
    while sum(pieces) < 300:
        pieces.append(len(client.recv(300)))
        if len(pieces) == 1:
            client.sendall(b"fast")
            assert read(server, 4) == b"fast"
    # The last piece of 20 need not have been waited for.
    assert monotonic() - begun_s >= 0.28
    assert max(pieces) < 300
    proxy.slow(None)
    server.sendall(b"x" * 100_000)
    assert len(read(client, 100_000)) == 100_000


def test_a_slow_link_holds_its_sender_up(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    proxy.slow(10)
    server.settimeout(0.5)
    with pytest.raises(TimeoutError):
        server.sendall(bytes(1 << 28))  # more than the systems' buffers on the way, and the proxy's own
    assert proxy.links[0].down < 1000
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        read(client, 1000)


def test_delayed_bytes_come_later_and_in_order(pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    client, server = pair()
    round_trip((client, server))
    proxy.delay(0.2)
    begun_s = monotonic()
    server.sendall(b"one")
    client.sendall(b"at once")
    assert read(server, 7) == b"at once"
    proxy.delay(None)
    server.sendall(b"two")
    assert read(client, 6) == b"onetwo"
    assert monotonic() - begun_s >= 0.2


# New connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeting", ["finish", "reset", "hang"])
def test_new_connections_get_the_greeting(
    server: Server, pair: Callable[[], Pair], proxy: FaultProxy, greeting: Greeting
) -> None:
    there = pair()
    proxy.on_connect = greeting
    if greeting == "finish":
        assert server.connect(proxy.port).recv(1) == b""
    elif greeting == "reset":
        # It may come before `connect` has returned.
        with pytest.raises(ConnectionResetError):
            server.connect(proxy.port).recv(1)
    else:
        client = server.connect(proxy.port)
        client.sendall(b"hello?")
        proxy.wait(lambda p: p.accepted == 2)
        round_trip(there)
        assert nothing_waits(client)
        assert proxy.links[1].is_open
    # Those that were there live on, and nobody came to the server.
    round_trip(there)
    proxy.on_connect = "forward"
    round_trip(pair())


def test_a_refused_port_opens_again_as_the_same(server: Server, pair: Callable[[], Pair], proxy: FaultProxy) -> None:
    there, port = pair(), proxy.port
    proxy.refuse()
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            server.connect(port)
    round_trip(there)
    proxy.listen()
    proxy.listen()
    assert proxy.port == port
    round_trip(pair())
    assert proxy.accepted == 2


def test_leaving_ends_everything(server: Server) -> None:
    threads = threading.active_count()
    with FaultProxy(server.port) as proxy:
        client = server.connect(proxy.port)
        end = server.accept()
        round_trip((client, end))
        proxy.freeze()
    for one in (client, end):
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    assert threading.active_count() == threads
    with pytest.raises(ConnectionRefusedError):
        server.connect(proxy.port)


# A WebSocket through it ---------------------------------------------------------------------------------------------


async def answer_thousands(connection: ServerConnection) -> None:
    """Send a frame of a thousand bytes for each frame that comes."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            await connection.send(b"x" * 1000)


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_a_websocket_cut_inside_a_frame_ends_without_a_close_frame(how: Ending) -> None:
    async def run() -> None:
        async with serve(answer_thousands, "127.0.0.1", 0, compression=None) as server:
            with FaultProxy(next(iter(server.sockets)).getsockname()[1]) as proxy:
                async with connect(proxy.url, proxy=None) as client:
                    await client.send("go")
                    assert len(await client.recv()) == 1000
                    proxy.cut_after(500, how)
                    await client.send("go")
                    with pytest.raises(ConnectionClosedError) as caught:
                        await client.recv()
                    assert caught.value.rcvd is None
                proxy.on_connect = how
                with pytest.raises((InvalidMessage, OSError)):
                    await connect(proxy.url, proxy=None)
                proxy.cut_after(None)
                proxy.on_connect = "forward"
                async with connect(proxy.url, proxy=None) as client:
                    await client.send("go")
                    assert len(await client.recv()) == 1000

    asyncio.run(run())
