"""The connections of a client: which there are, which has room, and which carries each channel."""

import asyncio
import itertools
from collections.abc import Iterator

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel, WsPath
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.ws.connection import Connection, ConnectionCallbacks


class ConnectionPool:
    """Makes connections as channels need them.

    Attributes:
        refused: The error of every channel that OKX refused or ended.

    Args:
        config: Limits of channels per connection.
        callbacks: What each connection needs and reports to.
    """

    def __init__(self, config: OkxConfig, callbacks: ConnectionCallbacks) -> None:
        self.refused: dict[Channel, FeedError] = {}
        self._config = config
        self._callbacks = callbacks
        self._numbers = itertools.count(1)
        self._connections: dict[int, Connection] = {}
        #: The connection that carries each channel.
        self._carriers: dict[Channel, Connection] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections.values()))

    def get(self, number: int) -> Connection | None:
        """Return a connection by its number, None if it has ended."""
        return self._connections.get(number)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection.number, None)

    def make(self, path: WsPath, *, needs_login: bool) -> Connection:
        """Make a connection and begin to connect; failed ones of its kind are forgotten."""
        for failed in self:
            if failed.is_failed and failed.path == path and failed.needs_login == needs_login:
                self.remove(failed)
        connection = Connection(self._callbacks, next(self._numbers), path, needs_login=needs_login)
        self._connections[connection.number] = connection
        connection.start()
        return connection

    # Channels -------------------------------------------------------------------------------------------------

    def carries(self, channel: Channel) -> bool:
        """Return whether a connection carries a channel or is to carry it."""
        return channel in self._carriers

    def want(self, channel: Channel) -> "asyncio.Future[FeedError | None]":
        """Have a channel carried; return the future of its first answer."""
        carrier = self._carriers.get(channel)
        if carrier is not None and channel in carrier.subscriptions:
            subscription = carrier.subscriptions.get(channel)
            assert subscription is not None
            return subscription.settled
        self.refused.pop(channel, None)
        connection = self._with_room(channel)
        self.assign(channel, connection)
        return connection.subscriptions.want(channel, asyncio.get_running_loop().create_future()).settled

    def _with_room(self, channel: Channel) -> Connection:
        """Return a connection with room for a channel."""
        config = self._config
        for connection in self:
            is_of_kind = connection.path == channel.path and connection.needs_login == channel.needs_login
            if not is_of_kind or not connection.takes_channels:
                continue
            has_room = len(connection.subscriptions) < config.channels_per_connection
            if channel.is_depth:
                has_room = has_room and connection.subscriptions.depth < config.depth_channels_per_connection
            if has_room:
                return connection
        return self.make(channel.path, needs_login=channel.needs_login)

    def assign(self, channel: Channel, connection: Connection) -> None:
        """Let a connection carry a channel from now on."""
        self._carriers[channel] = connection

    def forget(self, channel: Channel) -> None:
        """Let no connection carry a channel, and forget its error."""
        self._carriers.pop(channel, None)
        self.refused.pop(channel, None)

    def refuse(self, channel: Channel, connection: Connection, error: FeedError) -> None:
        """Keep the error that ended a channel on a connection."""
        if self._carriers.get(channel) is connection:
            del self._carriers[channel]
        self.refused[channel] = error

    def fail(self, connection: Connection, error: FeedError) -> None:
        """Keep the error that ended all channels of a connection."""
        for channel in [channel for channel, carrier in self._carriers.items() if carrier is connection]:
            self.refuse(channel, connection, error)

    def take_empty(self) -> list[Connection]:
        """Remove and return the connections without channels."""
        empty = [connection for connection in self if connection.takes_channels and not connection.subscriptions]
        for connection in empty:
            self.remove(connection)
        return empty

    def settle(self, error: FeedError) -> None:
        """Give an error to every call that waits for a channel."""
        for connection in self:
            for subscription in connection.subscriptions:
                subscription.settle(error)

    # Together -------------------------------------------------------------------------------------------------

    def check_live(self) -> bool:
        """Return whether every connection is up and every channel acknowledged.

        Raises:
            FeedError: A connection has failed for good.
        """
        for connection in self:
            if connection.is_failed and connection.error is not None:
                raise connection.error
        return all(connection.is_live for connection in self)

    def waiting(self) -> str:
        """Return the connections that are not live, with their states, for an error."""
        return "; ".join(
            f"{connection.where} is {connection.state}{f' ({connection.error})' if connection.error else ''}"
            for connection in self
            if not connection.is_live
        )
