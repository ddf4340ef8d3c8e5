"""What a session needs of the things around it: its socket, the client, and the connection it serves."""

from collections import Counter
from typing import NamedTuple, Protocol

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import Backoff, OkxConfig
from quantkit.feeds.okx.errors import OkxError
from quantkit.feeds.okx.tracker.records import Record
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
    counters: Counter[str]

    def stamp(self) -> int:
        """Return the time, UTC ns, above every stamp before."""
        ...

    def record(self, event: Record) -> None:
        """Put a record on the tape and tell the tracker."""
        ...

    def frame(self, connection: int, received_ns: int, data: bytes) -> bool:
        """Put a frame on the tape and deliver its events; return whether it brought some."""
        ...

    def request_id(self) -> str:
        """Return an id that no request had before."""
        ...

    def login_request(self) -> bytes:
        """Return a login, signed now."""
        ...

    async def measure_clock(self) -> int:
        """Ask OKX for its time, use it for later logins, and return how far it is ahead, in ns."""
        ...

    def clean(self, text: str) -> str:
        """Return a foreign text without the credentials it may quote."""
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
