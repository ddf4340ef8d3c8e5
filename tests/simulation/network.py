"""The network of the virtual loop: links that delay, cut into pieces, freeze, break off and refuse."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

#: Bytes that a receiver's machine takes in while its program does not read.
WINDOW_BYTES: Final = 64 * 1024
_END: Final = b""


class Pipe:
    """One direction of a link: bytes in order, some time after they were written.

    Attributes:
        is_frozen: Nothing arrives, and nobody is told.
        piece_bytes: The largest piece that arrives at once; None leaves writes whole.
        piece_gap_s: Time between two pieces of one write.
        bytes_left: How many bytes still arrive before the pipe freezes; None for no end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: np.random.Generator, latency_s: tuple[float, float]):
        self._loop = loop
        self._rng = rng
        self._latency_s = latency_s
        self._queue: deque[tuple[float, bytes]] = deque()
        self._last_due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._is_writer_paused = False
        self.writer: Endpoint
        self.reader: Endpoint
        self.high_bytes, self.low_bytes = 64 * 1024, 16 * 1024
        self.is_frozen = False
        self.piece_bytes: int | None = None
        self.piece_gap_s = 0.0
        self.bytes_left: int | None = None

    def write(self, data: bytes) -> None:
        """Send bytes; an empty write ends the stream."""
        due_s = max(self._loop.time() + self._rng.uniform(*self._latency_s), self._last_due_s)
        size = self.piece_bytes or max(len(data), 1)
        for start in range(0, max(len(data), 1), size):
            self._queue.append((due_s, data[start : start + size]))
            due_s += self.piece_gap_s
        self._last_due_s = due_s
        self._waiting_bytes += len(data)
        if not self._is_writer_paused and self._waiting_bytes > WINDOW_BYTES + self.high_bytes:
            self._is_writer_paused = True
            self.writer.protocol.pause_writing()
        self.wake()

    def wake(self) -> None:
        """Deliver what is due, now or when it will be."""
        if self._timer is None and self._queue and not self.is_frozen and not self.reader.is_reading_paused:
            self._timer = self._loop.call_at(max(self._queue[0][0], self._loop.time()), self._deliver)

    def drop(self) -> None:
        """Forget what has not arrived."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self) -> None:
        self._timer = None
        if self.reader.is_ended:
            # As a machine answers bytes for a socket that it has closed.
            self.drop()
            self.writer.refused()
            return
        while self._queue and self._queue[0][0] <= self._loop.time():
            if self.is_frozen or self.reader.is_reading_paused or self.reader.is_ended:
                break
            data = self._take()
            self.reader.arrived(data)
            if data == _END:
                break
        if self._is_writer_paused and self._waiting_bytes <= WINDOW_BYTES + self.low_bytes:
            self._is_writer_paused = False
            if not self.writer.is_ended:
                self.writer.protocol.resume_writing()
        self.wake()

    def _take(self) -> bytes:
        """Take the next bytes, several writes together where they are due together, as TCP would join them."""
        data = self._queue.popleft()[1]
        if data == _END:
            return data
        while (
            self._queue
            and self.piece_bytes is None
            and self._queue[0][0] <= self._loop.time()
            and self._queue[0][1] != _END
        ):
            data += self._queue.popleft()[1]
        if self.bytes_left is not None and len(data) >= self.bytes_left:
            data, rest = data[: self.bytes_left], data[self.bytes_left :]
            if rest:
                self._queue.appendleft((self._loop.time(), rest))
            self.is_frozen, self.bytes_left = True, None
        elif self.bytes_left is not None:
            self.bytes_left -= len(data)
        self._waiting_bytes -= len(data)
        return data


class Endpoint(asyncio.Transport):
    """One end of a link, as the transport that a protocol sees."""

    def __init__(self, link: "Link", protocol: Any, outgoing: Pipe, names: tuple[tuple[str, int], tuple[str, int]]):
        super().__init__({"sockname": names[0], "peername": names[1]})
        self.protocol = protocol
        self.peer: Endpoint
        self.is_reading_paused = False
        self.is_ended = False
        self.is_made = False
        self.incoming: Pipe
        self._link = link
        self._outgoing = outgoing
        self._is_closing = False
        self._has_written_eof = False

    # Written by the protocol -------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the other end, or nowhere once the link has ended, as asyncio does."""
        assert not self._has_written_eof
        if not self._is_closing and data:
            self._outgoing.write(bytes(data))

    def can_write_eof(self) -> bool:
        """Return that half of the link can be closed."""
        return True

    def write_eof(self) -> None:
        """Close the sending half."""
        if not self._has_written_eof and not self._is_closing:
            self._has_written_eof = True
            self._outgoing.write(_END)

    def close(self) -> None:
        """Close after what was written; the other end reads the end of the stream."""
        if not self._is_closing:
            if not self._has_written_eof:
                self._outgoing.write(_END)
            self.end(None)

    def abort(self) -> None:
        """Break off: the other end is told by a reset, unless the link carries nothing."""
        if not self.is_ended:
            self.end(None)
            if not self._outgoing.is_frozen:
                self._link.tell_reset(self.peer)

    def is_closing(self) -> bool:
        """Return whether the end has been decided."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Return whether bytes are handed to the protocol."""
        return not self.is_reading_paused and not self._is_closing

    def pause_reading(self) -> None:
        """Leave bytes on the link."""
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        """Take bytes again."""
        self.is_reading_paused = False
        self.incoming.wake()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set above and below how many unsent bytes the protocol is paused and resumed."""
        pipe = self._outgoing
        pipe.high_bytes = 64 * 1024 if high is None else high
        pipe.low_bytes = pipe.high_bytes // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait beyond what the other machine has taken in."""
        return max(0, self._outgoing._waiting_bytes - WINDOW_BYTES)

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        """Hand the link to another protocol."""
        self.protocol = protocol

    # Told by the link --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Hand the transport to the protocol."""
        self.is_made = True
        self.protocol.connection_made(self)

    def arrived(self, data: bytes) -> None:
        """Take bytes from the other end; none means that it has finished."""
        if self.is_ended:
            return
        if data:
            self._link.heard(self)
            self.protocol.data_received(data)
        elif not self.protocol.eof_received():
            self.close()

    def refused(self) -> None:
        """Learn that the other side has closed already."""
        if not self.is_ended:
            self._link.tell_reset(self)

    def end(self, error: Exception | None) -> None:
        """End this side at once and tell the protocol with the loop's next step."""
        if not self.is_ended:
            self.is_ended = self._is_closing = True
            self.incoming.drop()
            if self.is_made:
                self._link.loop.call_soon(self.protocol.connection_lost, error)
            self._link.noticed(self)


class Link:
    """One connection between a client and a server, with what can go wrong on it.

    Attributes:
        number: Counts the links of a network from 0.
        opened_s: Virtual time of the dial that made it.
        heard_s: When the client last received a byte; virtual seconds.
        client_ended_s: When the client's side ended; None while it lives.
    """

    def __init__(self, network: "Network", number: int) -> None:
        self.loop = network.loop
        self.number = number
        self.opened_s = self.heard_s = self.loop.time()
        self.client_ended_s: float | None = None
        self._network = network
        rng, latency_s = network.rng, network.latency_s
        self.up = Pipe(self.loop, rng, latency_s)
        self.down = Pipe(self.loop, rng, latency_s)
        self.client: Endpoint
        self.server: Endpoint

    @property
    def is_live(self) -> bool:
        """Whether both sides believe in the link."""
        return not self.client.is_ended and not self.server.is_ended

    def join(self, client: Any, server: Any, port: int) -> None:
        """Put a protocol at each end."""
        here, there = ("10.0.0.1", 40_000 + self.number), ("10.0.0.2", port)
        self.client = Endpoint(self, client, self.up, (here, there))
        self.server = Endpoint(self, server, self.down, (there, here))
        self.client.peer, self.server.peer = self.server, self.client
        self.client.incoming, self.server.incoming = self.down, self.up
        self.up.writer, self.up.reader = self.client, self.server
        self.down.writer, self.down.reader = self.server, self.client

    def heard(self, side: Endpoint) -> None:
        """Note when the client received something."""
        if side is self.client:
            self.heard_s = self.loop.time()

    def noticed(self, side: Endpoint) -> None:
        """Note when the client's side ended."""
        if side is self.client:
            self.client_ended_s = self.loop.time()

    def tell_reset(self, side: Endpoint) -> None:
        """Let one side learn of a reset, as late as a packet takes."""
        delay_s = self._network.rng.uniform(*self._network.latency_s)
        self.loop.call_later(delay_s, side.end, ConnectionResetError("connection reset by peer"))

    # Faults ------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Break the link off for both sides (RST)."""
        self.tell_reset(self.client)
        self.tell_reset(self.server)

    def finish(self) -> None:
        """Let the server's side close without a close frame (FIN)."""
        self.server.close()

    def partition(self) -> None:
        """Lose every packet in both directions from now on; nobody is told."""
        self.up.is_frozen = self.down.is_frozen = True

    def heal(self) -> None:
        """Let packets through again; what was written meanwhile arrives, as TCP repeats it."""
        for pipe in (self.up, self.down):
            pipe.is_frozen = False
            pipe.wake()

    def stall_inside(self, n_bytes: int) -> None:
        """Let so many more bytes reach the client and then none."""
        self.down.bytes_left = n_bytes

    def trickle(self, gap_s: float = 1.0) -> None:
        """Send every further byte to the client alone, `gap_s` after the one before."""
        self.down.piece_bytes, self.down.piece_gap_s = 1, gap_s

    def bytewise(self) -> None:
        """Hand every further byte to the client alone, without delay."""
        self.down.piece_bytes, self.down.piece_gap_s = 1, 0.0


class VirtualServer:
    """What `create_server` returns: a port that is listened on."""

    def __init__(self, network: "Network", port: int, factory: Callable[[], Any]) -> None:
        self.network = network
        self.port = port
        self.factory = factory
        self.sockets: tuple[Any, ...] = ()

    def is_serving(self) -> bool:
        """Return whether dials reach it."""
        return self.network.servers.get(self.port) is self

    def close(self) -> None:
        """Stop listening; links that exist live on."""
        if self.is_serving():
            del self.network.servers[self.port]

    async def wait_closed(self) -> None:
        """Return at once: closing takes no time."""

    async def start_serving(self) -> None:
        """Do nothing: it serves from the start."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self.network.loop


class Network:
    """All links and servers of a virtual loop.

    Attributes:
        latency_s: Least and most that a packet takes.
        dials: Virtual seconds of every attempt to connect, refused ones included; not of names that were not found.
        links: Every link ever made.
        dial_error: Raised for every dial while set: a refusal, or a bad certificate.
        is_nameless: Names are not found; addresses still are.
        is_unreachable: Dials get no answer at all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: np.random.Generator) -> None:
        self.loop = loop
        self.rng = rng
        self.latency_s = (0.001, 0.040)
        self.servers: dict[int, VirtualServer] = {}
        self.dials: list[float] = []
        self.links: list[Link] = []
        self.dial_error: Callable[[], OSError] | None = None
        self.is_unreachable = False
        self.is_nameless = False

    @property
    def live(self) -> list[Link]:
        """Links that both sides believe in."""
        return [link for link in self.links if link.is_live]

    def listen(self, factory: Callable[[], Any], port: int) -> VirtualServer:
        """Open a port."""
        if port in self.servers:
            raise OSError(f"port {port} is taken")
        server = self.servers[port] = VirtualServer(self, port, factory)
        return server

    async def dial(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Endpoint, Any]:
        """Connect to a port.

        Raises:
            OSError: `dial_error` is set, the name is not found, or nobody listens.
        """
        if self.is_nameless and not host.replace(".", "").isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.dials.append(self.loop.time())
        await asyncio.sleep(self.rng.uniform(*self.latency_s))
        if self.is_unreachable:
            await self.loop.create_future()
        if self.dial_error is not None:
            raise self.dial_error()
        server = self.servers.get(port)
        if server is None:
            raise ConnectionRefusedError(f"connect call failed {host}:{port}")
        link = Link(self, len(self.links))
        protocol = factory()
        link.join(protocol, server.factory(), port)
        self.links.append(link)
        link.server.begin()
        try:
            await asyncio.sleep(self.rng.uniform(*self.latency_s))
        except asyncio.CancelledError:
            link.client.abort()
            raise
        if link.client.is_ended:
            raise ConnectionResetError("connection reset by peer")
        link.client.begin()
        return link.client, protocol
