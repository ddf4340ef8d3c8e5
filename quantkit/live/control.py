"""The way into a live run from another process: its control file, the messages, and the client.

A run that was asked to listens on the loopback address. Address and token stand in `control.json` in the run's folder,
which its owner alone may read; the file goes with the run. Over the connection go messages of JSON, each with its
length in front, as four bytes, the highest first:

- The client begins with `{"token": ...}`. A wrong one ends the connection, after a while that grows with each.
- `{"op": "status"}` is answered with a stream of `{"kind": "status", "status": {...}}`. A slow reader gets the newest
  status only. `{"kind": "end"}` is the last message of a run that has ended.
- `{"op": "history"}` is answered with `{"kind": "history", "history": {...}}`: the run's last hour.
- `{"op": "command", "name": "pause", "source": "web", "reason": ""}` is answered with `{"kind": "taken", "taken_at_ns":
  ...}` once the run has taken it, or with `{"kind": "refused", "reason": ...}`.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from quantkit.engine.commands import CommandName
from quantkit.errors import ConfigError, DataError, FeedError
from quantkit.live.folder import ENGINE
from quantkit.live.status import LiveStatus, RunHistory
from quantkit.storage.tape import held

CONTROL_FILE: Final = "control.json"
#: What the run takes at most, and what its client takes: a status may be long.
REQUEST_BYTES_MAX: Final = 4096
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
_RECEIVE_BUFFER_BYTES: Final = 64 * 1024
_PREFIX: Final = 4
_CONNECT_S: Final = 5.0
_PROTOCOL: Final = 1


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a control file."""

    host: str
    port: int
    token: str
    pid: int
    protocol: int = _PROTOCOL


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first message of a client."""

    token: str


class StatusOp(msgspec.Struct, frozen=True, tag_field="op", tag="status", forbid_unknown_fields=True):
    """Asks for statuses."""


class HistoryOp(msgspec.Struct, frozen=True, tag_field="op", tag="history", forbid_unknown_fields=True):
    """Asks for the last hour."""


class CommandOp(msgspec.Struct, frozen=True, tag_field="op", tag="command", forbid_unknown_fields=True):
    """Gives a command."""

    name: CommandName
    source: str = "control"
    reason: str = ""


ControlRequest: TypeAlias = StatusOp | HistoryOp | CommandOp


class StatusReply(msgspec.Struct, frozen=True, tag_field="kind", tag="status"):
    """A status."""

    status: LiveStatus


class HistoryReply(msgspec.Struct, frozen=True, tag_field="kind", tag="history"):
    """The last hour of the run."""

    history: RunHistory


class EndReply(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    """The run is over."""


class TakenReply(msgspec.Struct, frozen=True, tag_field="kind", tag="taken"):
    """The run has taken a command, at this moment of its time."""

    taken_at_ns: int


class RefusedReply(msgspec.Struct, frozen=True, tag_field="kind", tag="refused"):
    """The run does not do what was asked."""

    reason: str


ControlReply: TypeAlias = StatusReply | HistoryReply | EndReply | TakenReply | RefusedReply

_replies: Final = msgspec.json.Decoder(ControlReply)
_addresses: Final = msgspec.json.Decoder(Address)


def framed(message: msgspec.Struct) -> bytes:
    """Return a message with its length in front.

    Examples:
        >>> framed(Hello("secret"))
        b'\\x00\\x00\\x00\\x12{"token":"secret"}'
    """
    content = msgspec.json.encode(message)
    return len(content).to_bytes(_PREFIX, "big") + content


async def read_message(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    """Return the next message; empty at the end of the connection.

    Raises:
        DataError: It is longer than it may be, or cut off.
    """
    try:
        prefix = await reader.readexactly(_PREFIX)
        length = int.from_bytes(prefix, "big")
        if not 0 < length <= bytes_max:
            raise DataError(f"a control message of {length} bytes; it has 1 to {bytes_max}")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != _PREFIX:
            raise DataError("a control message was cut off") from error
        return b""


def write_address(folder: Path, address: Address) -> None:
    """Write a run's control file, whole or not at all; nobody but its owner may read it.

    Raises:
        OSError: The disk refuses.
    """
    fresh = folder / f".{CONTROL_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(address))
        fresh.replace(folder / CONTROL_FILE)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def read_address(folder: Path) -> Address:
    """Return where a run listens.

    Raises:
        ConfigError: It does not, or not any more; the message says which.
        DataError: The file is none of ours.
    """
    file = folder / CONTROL_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{folder}: no run listens there: it is over, or was started without --control or --serve"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        address = _addresses.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not understood: {error}") from error
    if address.protocol != _PROTOCOL:
        raise DataError(f"{file}: control protocol {address.protocol}; this quantkit speaks {_PROTOCOL}")
    if is_stale(folder):
        raise ConfigError(f"{folder}: the run is over, it was killed: its {CONTROL_FILE} is stale")
    return address


def is_stale(folder: Path) -> bool:
    """Return whether a folder's run is over, though its control file is there: nobody writes its engine log."""
    try:
        with held(folder / ENGINE) as is_ours:
            return is_ours
    except (OSError, DataError):
        return False


class ControlClient:
    """Reads the statuses of a live run and gives it commands, from any process of the same user.

    Each call opens a connection of its own. Losing it, or the end of this process, changes nothing in the run.

    Args:
        run: The run's folder.

    Examples:
        >>> import asyncio
        >>> asyncio.run(ControlClient("runs/none").command("pause"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        quantkit.errors.ConfigError: runs/none: no run listens there: it is over, or was started without ...
    """

    def __init__(self, run: str | Path) -> None:
        self.folder = Path(run)

    async def statuses(self) -> AsyncIterator[LiveStatus]:
        """Yield each status from now on, the newest one where some were missed; end with the run.

        Raises:
            ConfigError: No run listens there.
            FeedError: The connection is lost.
        """
        reader, writer = await self._connect()
        try:
            writer.write(framed(StatusOp()))
            while True:
                match await self._reply(reader):
                    case StatusReply(status):
                        yield status
                    case EndReply():
                        return
                    case RefusedReply(reason):
                        raise FeedError(f"{self.folder}: {reason}")
                    case TakenReply() | HistoryReply():
                        raise FeedError(f"{self.folder}: an answer that nobody asked for")
        finally:
            writer.close()

    async def history(self) -> RunHistory:
        """Return the last hour of the run; empty of a run of an older version, which keeps none.

        Raises:
            ConfigError: No run listens there.
            FeedError: The connection is lost.
        """
        reader, writer = await self._connect()
        try:
            writer.write(framed(HistoryOp()))
            reply = await self._reply(reader)
            return reply.history if isinstance(reply, HistoryReply) else RunHistory()
        finally:
            writer.close()

    async def command(self, name: CommandName, *, source: str = "control", reason: str = "") -> int:
        """Give a command, and return the engine time at which the run took it, UTC ns.

        Raises:
            ConfigError: No run listens there, or it refuses the command.
            FeedError: The connection is lost; whether the run took the command is not known then.
        """
        reader, writer = await self._connect()
        try:
            writer.write(framed(CommandOp(name, source, reason)))
            match await self._reply(reader):
                case TakenReply(taken_at_ns):
                    return taken_at_ns
                case RefusedReply(told):
                    raise ConfigError(told)
                case _:
                    raise FeedError(f"{self.folder}: {name}: the run has ended")
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = read_address(self.folder)
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        line.setblocking(False)
        # What the system keeps for a slow reader is old by the time that it is read.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().sock_connect(line, (address.host, address.port))
                reader, writer = await asyncio.open_connection(sock=line, limit=_RECEIVE_BUFFER_BYTES)
        except (OSError, TimeoutError) as error:
            line.close()
            raise FeedError(f"{self.folder}: the run cannot be reached: {str(error) or 'no answer in time'}") from error
        with suppress(OSError):
            writer.write(framed(Hello(address.token)))
        return reader, writer

    async def _reply(self, reader: asyncio.StreamReader) -> ControlReply:
        try:
            content = await read_message(reader, REPLY_BYTES_MAX)
            if content:
                return _replies.decode(content)
        except (OSError, DataError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FeedError(f"{self.folder}: the connection to the run is lost: {error}") from error
        raise FeedError(f"{self.folder}: the run has closed the connection")
