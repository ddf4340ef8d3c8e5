"""The protocol of a connection, whether it is a socket or a simulated network."""

from typing import Final, Protocol

#: As a close code: end the connection at once, without a close frame. No peer ever sends it.
ABORT: Final = 1006


class PeerGone(Exception):  # noqa: N818  it is the normal end of every connection, not an error
    """The other side closed, or the connection broke."""


class Peer(Protocol):
    """The server's end of one connection."""

    async def receive(self) -> str:
        """Return the next text message.

        Raises:
            PeerGone: There will be none.
        """
        ...

    async def send(self, text: str) -> None:
        """Send one text message, waiting while the other side does not read.

        Raises:
            PeerGone: The connection has ended.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; with `ABORT` drop the connection instead. Never raises, never waits long."""
        ...


class BatchPeer(Peer, Protocol):
    """A peer that can write several messages at once, which costs a third of writing them one by one."""

    async def send_many(self, texts: list[str]) -> None:
        """Send text messages in order, waiting while the other side does not read.

        Raises:
            PeerGone: The connection has ended.
        """
        ...
