"""A TCP proxy that does to real connections what networks do: it breaks, freezes, slows, delays and refuses them.

It runs on a thread of its own. Every call returns when its fault is in force; nothing here waits for luck.
"""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

Direction = Literal["up", "down"]  # from the client to the server, and back
Ending = Literal["reset", "finish", "freeze"]
Greeting = Literal["forward", "hang", "finish", "reset"]
_AnyEnding = Literal["reset", "finish", "freeze", "close"]

#: Bytes held for one direction of a connection; beyond it the sender feels the slow link.
_HELD_BYTES_MAX: Final = 64 * 1024
_READ_BYTES: Final = 16 * 1024
_CALL_S: Final = 30.0
#: A slow link moves this often a second, where it moves more than a byte at a time.
_STEPS_PER_S: Final = 50

_Result = TypeVar("_Result")


class Link:
    """One connection through the proxy.

    Attributes:
        number: Counted from 0 in the order of arrival.
        up, down: Bytes handed on to the server and to the client.
        is_open: Neither ended nor broken off.
    """

    def __init__(self, number: int, client: socket.socket) -> None:
        self.number = number
        self.up = self.down = 0
        self.is_open = True
        self._client = client
        self._server: socket.socket | None = None
        self._moving = asyncio.Event()
        self._moving.set()
        self._left: dict[Direction, int | None] = {"up": None, "down": None}
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    def _ends(self) -> list[socket.socket]:
        return [end for end in (self._client, self._server) if end is not None]

    def _count(self, direction: Direction, sent: int) -> None:
        if direction == "up":
            self.up += sent
        else:
            self.down += sent


class FaultProxy:
    """Hands on connections to a port of this machine, with the faults that it is told.

    Faults concern the connections that are there, `on_connect` the ones to come, and the rules (`slow`, `delay`,
    `cut_after`) both, until they are lifted with None.

    Args:
        target_port: Where to.
        host: Of both.

    Attributes:
        port: Where clients connect to; stays the same through `refuse` and `listen`.
        on_connect: What happens to new connections: `forward`, `hang` (accepted, and never a byte), `finish` and
            `reset` (accepted and ended at once).
        links: Every connection that was ever accepted.
    """

    def __init__(self, target_port: int, *, host: str = "127.0.0.1") -> None:
        self.port = 0
        self.on_connect: Greeting = "forward"
        self.links: list[Link] = []
        self._target = (host, target_port)
        self._host = host
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._rates: dict[Direction, float | None] = {"up": None, "down": None}
        self._delays_s: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        self._cut: tuple[Direction, int, Ending] | None = None
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mistakes: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if kind is None and self._mistakes:
            raise self._mistakes[0]

    # What there is --------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL of a WebSocket server behind it."""
        return f"ws://{self._host}:{self.port}"

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return len(self.links)

    @property
    def live(self) -> int:
        """How many of them are open."""
        return sum(link.is_open for link in self.links)

    def wait(self, condition: Callable[["FaultProxy"], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until something holds of the proxy's counts.

        Raises:
            TimeoutError: It did not come to hold.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_s):
                counts = [(link.number, link.up, link.down, link.is_open) for link in self.links]
                raise TimeoutError(f"after {timeout_s:g} s the connections stand at {counts}")

    # Faults ---------------------------------------------------------------------------------------------------

    def reset(self) -> int:
        """Break every connection off with an RST to both ends; return how many."""
        return self._end_all("reset")

    def finish(self) -> int:
        """End every connection with a FIN to both ends, as a dying process does, without a close frame."""
        return self._end_all("finish")

    def freeze(self) -> int:
        """Hand nothing on in either direction, while the sockets stay open: a peer that is gone without a word."""
        return self._end_all("freeze")

    def thaw(self) -> int:
        """Hand on again what frozen connections hold, and what follows."""

        async def thaw() -> int:
            frozen = [link for link in self.links if link.is_open and not link._moving.is_set()]
            for link in frozen:
                link._moving.set()
            return len(frozen)

        return self._call(thaw())

    def slow(self, bytes_per_s: float | None, direction: Direction = "down") -> None:
        """Hand on no more than so many bytes a second, evenly; below fifty byte by byte, so inside frames too."""
        self._rates[direction] = bytes_per_s

    def delay(self, seconds: float | None, direction: Direction = "down") -> None:
        """Hand on what comes from now on so much later, in order."""
        self._delays_s[direction] = seconds or 0.0

    def cut_after(self, count: int | None, how: Ending = "reset", direction: Direction = "down") -> None:
        """Hand on exactly so many more bytes of each connection, counted from its begin for new ones; then end it."""

        async def set_budget() -> None:
            self._cut = None if count is None else (direction, count, how)
            for link in self.links:
                self._give_budget(link)

        if count is not None and count < 1:
            raise ValueError(f"count is {count}; to end connections at once there are reset, finish and freeze")
        self._call(set_budget())

    def refuse(self) -> None:
        """Let nobody connect: the port is closed."""
        self._call(self._close_listener())

    def listen(self) -> None:
        """Take connections again, on the same port."""
        self._call(self._listen())

    # On the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._mistakes.append(error)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self.port))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = self._started(self._accept(listener))

    async def _close_listener(self) -> None:
        if self._listener is None:
            return
        assert self._accepting is not None
        await _cancelled(self._accepting)
        self._listener.close()
        self._listener = None

    async def _stop(self) -> None:
        await self._close_listener()
        for link in self.links:
            await self._end(link, "reset")
        for task in [task for task in self._tasks if task is not asyncio.current_task()]:
            await _cancelled(task)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(len(self.links), client)
            self._give_budget(link)
            self.links.append(link)
            if self.on_connect == "forward":
                link._task = self._started(self._serve(link))
            elif self.on_connect != "hang":
                await self._end(link, self.on_connect)
            self._tell()

    def _give_budget(self, link: Link) -> None:
        link._left = {"up": None, "down": None}
        if self._cut is not None:
            direction, count, _ = self._cut
            link._left[direction] = count

    # One connection -------------------------------------------------------------------------------------------

    async def _serve(self, link: Link) -> None:
        server = link._server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        how: _AnyEnding = "close"
        try:
            await self._loop.sock_connect(server, self._target)
            async with asyncio.TaskGroup() as group:
                up, down = _Held(), _Held()
                group.create_task(self._take_in(link, link._client, up, "up"))
                group.create_task(self._hand_on(link, server, up, "up"))
                group.create_task(self._take_in(link, server, down, "down"))
                group.create_task(self._hand_on(link, link._client, down, "down"))
        except* OSError:
            # An end that breaks off, or a server that is not there, is what the other end gets to see.
            how = "reset"
        link._task = None
        self._started(self._end(link, how))

    async def _take_in(self, link: Link, source: socket.socket, held: "_Held", direction: Direction) -> None:
        data = b"-"
        while data:
            await held.has_room.wait()
            await link._moving.wait()
            data = await self._loop.sock_recv(source, _READ_BYTES)
            held.put(self._loop.time() + self._delays_s[direction], data)

    async def _hand_on(self, link: Link, sink: socket.socket, held: "_Held", direction: Direction) -> None:
        while True:
            await held.has_data.wait()
            due_s, data = held.next
            await asyncio.sleep(due_s - self._loop.time())
            await self._send(link, sink, data, direction)
            await link._moving.wait()
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            held.pop()

    async def _send(self, link: Link, sink: socket.socket, data: bytes, direction: Direction) -> None:
        view = memoryview(data)
        while view:
            await link._moving.wait()
            rate, left = self._rates[direction], link._left[direction]
            size = len(view) if rate is None else max(1, int(rate / _STEPS_PER_S))
            try:
                sent = sink.send(view[: size if left is None else min(size, left)])
            except BlockingIOError:
                await self._writable(sink)
                continue
            view = view[sent:]
            link._count(direction, sent)
            if left is not None:
                link._left[direction] = left - sent or None
                if left == sent:
                    await self._cut_off(link)
            self._tell()
            if rate is not None:
                await asyncio.sleep(sent / rate)

    async def _writable(self, sink: socket.socket) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(sink, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_writer(sink)

    async def _cut_off(self, link: Link) -> None:
        """End a connection from within one of its own tasks, which ends with it."""
        assert self._cut is not None
        how = self._cut[2]
        if how == "freeze":
            await self._end(link, how)
        else:
            self._started(self._end(link, how))
            await self._loop.create_future()

    def _end_all(self, how: Ending) -> int:
        async def end() -> int:
            there = [link for link in self.links if link.is_open]
            for link in there:
                await self._end(link, how)
            return len(there)

        return self._call(end())

    async def _end(self, link: Link, how: "_AnyEnding") -> None:
        if how == "freeze":
            link._moving.clear()
            return
        if link._is_ending:
            return
        link._is_ending = True
        if link._task is not None:
            await _cancelled(link._task)
        for end in link._ends():
            if how == "finish":
                with suppress(OSError):  # the peer may have broken off meanwhile
                    end.shutdown(socket.SHUT_WR)
                self._started(self._drain(end))
            else:
                if how == "reset":
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
        link.is_open = False
        self._tell()

    async def _drain(self, end: socket.socket) -> None:
        """Read until the peer ends too: a socket closed over unread bytes would send an RST after its FIN."""
        with end, suppress(OSError):
            while await self._loop.sock_recv(end, _READ_BYTES):
                pass


class _Held:
    """Bytes on their way in one direction, with when they are due; no bytes are the end."""

    def __init__(self) -> None:
        self.has_data = asyncio.Event()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0

    @property
    def next(self) -> tuple[float, bytes]:
        return self._pieces[0]

    def put(self, due_s: float, data: bytes) -> None:
        self._pieces.append((due_s, data))
        self._size += len(data)
        self.has_data.set()
        if self._size >= _HELD_BYTES_MAX:
            self.has_room.clear()

    def pop(self) -> None:
        self._size -= len(self._pieces.popleft()[1])
        self.has_room.set()
        if not self._pieces:
            self.has_data.clear()


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has let go of its sockets."""
    task.cancel()
    await asyncio.wait({task})
