"""The control endpoint of a live run: a thread that hands out its statuses and takes its commands.

The thread of the engine leaves the newest status here and goes on; all else happens on the endpoint's own thread. A
client that does not read holds at most one status back, and nobody waits for it.
"""

import asyncio
import hmac
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from quantkit.errors import ConfigError, DataError
from quantkit.live.commands import RunCommands
from quantkit.live.control import (
    CONTROL_FILE,
    REQUEST_BYTES_MAX,
    Address,
    CommandOp,
    ControlReply,
    ControlRequest,
    EndReply,
    Hello,
    HistoryOp,
    HistoryReply,
    RefusedReply,
    StatusReply,
    TakenReply,
    framed,
    read_message,
    write_address,
)
from quantkit.live.history import HistoryKeeper
from quantkit.live.status import LiveStatus

HOST: Final = "127.0.0.1"
CLIENTS_MAX: Final = 128
#: So many show their token at a time; the others wait for that.
_STRANGERS_MAX: Final = 32
#: How long a client may take over its first message, and over what it wants.
_HELLO_S: Final = 5.0
#: A wrong token is answered after this, doubled with each that came before, up to so long.
_BACK_OFF_S: Final = 0.05
_BACK_OFF_S_MAX: Final = 5.0
#: The system keeps so much for a client that does not read.
_SEND_BUFFER_BYTES: Final = 64 * 1024
#: At the end of a run, clients get so long to read the last message.
_LAST_WORDS_S: Final = 1.0

_hellos: Final = msgspec.json.Decoder(Hello)
_requests: Final = msgspec.json.Decoder(ControlRequest)


class _Newest:
    """The newest status, for as many readers as there are: each waits for one that it has not had.

    Attributes:
        frame: It, as it goes over the wire.
        number: How many there were.
    """

    def __init__(self) -> None:
        self.frame = b""
        self.number = 0
        self._is_over = False
        self._has_changed = asyncio.Event()

    def put(self, status: LiveStatus) -> None:
        """Replace it; encoded once for all."""
        self.frame = framed(StatusReply(status))
        self.number += 1
        self._tell()

    def end(self) -> None:
        """Let readers know that no other one comes."""
        self._is_over = True
        self._tell()

    async def after(self, number: int) -> int | None:
        """Wait for a status after that of a number, and return its own; None once none comes any more."""
        while self.number <= number and not self._is_over:
            await self._has_changed.wait()
        return None if self._is_over else self.number

    def _tell(self) -> None:
        changed, self._has_changed = self._has_changed, asyncio.Event()
        changed.set()


class ControlServer:
    """Listens for clients on the loopback address while a run goes on, and is its viewer.

    Args:
        folder: The run's, which gets the control file.
        commands: Get what clients command.
        history: Of the run, for clients that come later.
        port: Where to listen; 0 lets the system choose.

    Raises:
        ConfigError: It cannot listen, or the control file cannot be written.
    """

    def __init__(self, folder: Path, commands: RunCommands, history: HistoryKeeper, *, port: int = 0) -> None:
        self._folder = folder
        self._commands = commands
        self._history = history
        self._port = port
        self._token = secrets.token_urlsafe(32)
        self._newest = _Newest()
        self._lock = threading.Lock()
        self._left: LiveStatus | None = None  # by the engine, for the endpoint's thread, which has been told
        self._watchers = 0
        self._clients: set[asyncio.Task[None]] = set()
        self._door = asyncio.Semaphore(_STRANGERS_MAX)
        self._failures = 0
        self._error: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ending = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="quantkit-control", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise ConfigError(f"{self._folder}: the run cannot be controlled: {self._error}") from self._error

    # The thread of the engine ---------------------------------------------------------------------------------

    @property
    def is_watching(self) -> bool:
        """Whether any client reads statuses."""
        return self._watchers > 0

    def show(self, status: LiveStatus) -> None:
        """Leave a status for the clients; what was left before and nobody took is forgotten."""
        with self._lock:
            is_told, self._left = self._left is not None, status
        if not is_told:
            self._on_loop(self._take_over)

    def close(self) -> None:
        """Tell clients that the run has ended, and stop listening; fine to call twice."""
        self._on_loop(self._is_ending.set)
        self._thread.join()

    # The endpoint's thread ------------------------------------------------------------------------------------

    def _on_loop(self, call: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(call)

    def _take_over(self) -> None:
        with self._lock:
            status, self._left = self._left, None
        if status is not None:
            self._newest.put(status)

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - the run goes on without an endpoint, or is told at its start
            self._error = error
        finally:
            self._is_ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, HOST, self._port, limit=REQUEST_BYTES_MAX)
        file = self._folder / CONTROL_FILE
        try:
            async with server:
                port = server.sockets[0].getsockname()[1]
                write_address(self._folder, Address(host=HOST, port=port, token=self._token, pid=os.getpid()))
                self._is_ready.set()
                await self._is_ending.wait()
                with suppress(OSError):
                    file.unlink(missing_ok=True)
                server.close()
                self._newest.end()
                await self._say_good_bye()
        finally:
            with suppress(OSError):
                file.unlink(missing_ok=True)

    async def _say_good_bye(self) -> None:
        """Let clients read that the run has ended; those that do not are cut off."""
        clients = set(self._clients)
        if clients:
            await asyncio.wait(clients, timeout=_LAST_WORDS_S)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.current_task()
        assert client is not None
        if len(self._clients) >= CLIENTS_MAX:
            writer.transport.abort()
            return
        self._clients.add(client)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            if await self._is_known(reader):
                await self._obey(reader, writer)
        except (OSError, DataError, TimeoutError):
            pass  # gone, or no client of ours
        finally:
            self._clients.discard(client)
            # Nothing is owed any more; to close would wait for what it has not read.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()

    async def _is_known(self, reader: asyncio.StreamReader) -> bool:
        """Return whether a client has the token; one that has not waits for that, and so does nobody else."""
        async with self._door:
            async with asyncio.timeout(_HELLO_S):
                content = await read_message(reader, REQUEST_BYTES_MAX)
            if not content:
                return False
            try:
                token = _hellos.decode(content).token
            except (msgspec.DecodeError, UnicodeDecodeError):
                token = ""
            if hmac.compare_digest(token.encode(errors="replace"), self._token.encode()):
                return True
            wait_s = min(_BACK_OFF_S * 2.0 ** min(self._failures, 16), _BACK_OFF_S_MAX)
            self._failures += 1
            await asyncio.sleep(wait_s)
            return False

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HELLO_S):
            content = await read_message(reader, REQUEST_BYTES_MAX)
        if not content:
            return
        try:
            request = _requests.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await self._say(writer, RefusedReply(f"not understood: {error}"))
            return
        if isinstance(request, CommandOp):
            await self._say(writer, await self._command(request))
        elif isinstance(request, HistoryOp):
            await self._say(writer, HistoryReply(self._history.taken()))
        else:
            await self._stream(writer)

    async def _command(self, request: CommandOp) -> ControlReply:
        try:
            taken = self._commands.give(request.name, source=request.source, reason=request.reason)
            # The command counts also if its client is gone by then.
            return TakenReply(await asyncio.shield(asyncio.wrap_future(taken)))
        except ConfigError as error:
            return RefusedReply(str(error))

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """Send the newest status again and again; while one is not read, those that come are left out."""
        # Room for one: `drain` waits until it has gone to the system.
        writer.transport.set_write_buffer_limits(high=0)
        newest, number = self._newest, self._newest.number
        self._watchers += 1
        try:
            while (found := await newest.after(number)) is not None:
                number = found
                writer.write(newest.frame)
                await writer.drain()
            await self._say(writer, EndReply())
        finally:
            self._watchers -= 1

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, reply: ControlReply) -> None:
        writer.write(framed(reply))
        await writer.drain()
