"""What a session needs of the things around it: its socket, the client, and the connection it serves."""

from typing import NamedTuple, Protocol

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import Backoff, OkxConfig
from quantkit.feeds.okx.errors import OkxError
from quantkit.feeds.okx.ws.login import Login
from quantkit.feeds.okx.ws.pipeline import Pipeline
from quantkit.feeds.okx.ws.subscriptions import Subscriptions


class Ending(NamedTuple):
    """Why a connection is over.

    Attributes:
        error: What to tell; its `is_retryable` says whether connecting again makes sense.
        crash: An error of our own that came up while a frame was handled.
    """

    error: OkxError
    crash: BaseException | None = None


class Socket(Protocol):
    """What a session needs of an open WebSocket."""

    def send(self, data: bytes) -> None:
        """Send one text frame at once, or nothing if the connection is over."""
        ...

    def abort(self, cause: str) -> None:
        """End the connection at once, as a loss."""
        ...

    async def close(self) -> None:
        """End the connection in good order, in bounded time."""
        ...


class ClientServices(Protocol):
    """What a session needs of the client around it."""

    config: OkxConfig
    pipeline: Pipeline
    login: Login

    def request_id(self) -> str:
        """Return an id that no request had before."""
        ...


class SessionCallbacks(Protocol):
    """What a session tells the connection it belongs to."""

    number: int
    needs_login: bool
    subscriptions: Subscriptions
    backoff: Backoff
    frames: int
    last_frame_ns: int

    def changed(self) -> None:
        """Take note that something worth showing has changed."""
        ...

    def stale(self, is_stale: bool) -> None:
        """Take note that the other side is silent, or speaks again."""
        ...

    def refused(self, channel: Channel, error: FeedError, *, is_late: bool) -> None:
        """Take note that a subscription is dead; `is_late` if it had been acknowledged before."""
        ...

    def planned_close(self) -> None:
        """Take note that the server will close the connection soon."""
        ...
