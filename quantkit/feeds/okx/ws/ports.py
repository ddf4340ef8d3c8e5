"""Protocols between a session, its socket, the client around it, and the connection it serves."""

from typing import NamedTuple, Protocol

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import Backoff, OkxConfig
from quantkit.feeds.okx.errors import OkxError
from quantkit.feeds.okx.tracker.channel import FeedMessage
from quantkit.feeds.okx.ws.login import Login
from quantkit.feeds.okx.ws.pipeline import Pipeline
from quantkit.feeds.okx.ws.subscriptions import Subscriptions


class Ending(NamedTuple):
    """The cause of a connection's end.

    Attributes:
        error: For the user; its `is_retryable` says whether to connect again.
        crash: An error of our own code while it handled a frame.
    """

    error: OkxError
    crash: BaseException | None = None


class Socket(Protocol):
    """An open WebSocket, as a session uses it."""

    def send(self, data: bytes) -> None:
        """Send one text frame at once; do nothing if the connection has ended."""
        ...

    def abort(self, cause: str) -> None:
        """End the connection at once, as a loss."""
        ...

    async def close(self) -> None:
        """End the connection in good order, in bounded time."""
        ...


class Consumer(Protocol):
    """Takes what a client receives as it comes, instead of its iteration."""

    def deliver(self, messages: list[FeedMessage]) -> None:
        """Take the events of one frame."""
        ...

    def waiting(self) -> int:
        """Return the number of delivered events that are not consumed yet."""
        ...

    def reading(self, has_begun: bool) -> None:
        """Take the begin and the end of the frames of one read from a socket."""
        ...

    def refused(self, channel: Channel, error: FeedError) -> None:
        """Take the end of a subscription by OKX; no call waits for it."""
        ...

    def fail(self, error: FeedError) -> None:
        """Take an error that ends a connection for good, or stops the client; no call waits for it."""
        ...


class ClientServices(Protocol):
    """The parts of the client that a session uses."""

    config: OkxConfig
    pipeline: Pipeline
    login: Login

    def request_id(self) -> str:
        """Return an id that no request had before."""
        ...


class SessionCallbacks(Protocol):
    """The connection that a session serves, and what the session tells it.

    Attributes:
        frames, last_frame_ns: Count of frames, and receipt of the newest; written by the session.
    """

    number: int
    needs_login: bool
    subscriptions: Subscriptions
    backoff: Backoff
    frames: int
    last_frame_ns: int

    def changed(self) -> None:
        """Take a change that is worth showing."""
        ...

    def stale(self, is_stale: bool) -> None:
        """Take the begin or end of a silence of the other side."""
        ...

    def refused(self, channel: Channel, error: FeedError, *, is_late: bool) -> None:
        """Take the end of a subscription by OKX; `is_late` if it had been acknowledged before."""
        ...

    def planned_close(self) -> None:
        """Take the announcement that the server will close the connection soon."""
        ...
