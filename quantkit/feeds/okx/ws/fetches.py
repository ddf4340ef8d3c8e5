"""REST fetches for the tracker: missing candles, books and metadata, one at a time for each channel."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import numpy as np

from quantkit.errors import QuantkitError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.records import (
    BookFetched,
    FetchBook,
    FetchCandles,
    Fetched,
    FetchInstrument,
    InstrumentFetched,
    Record,
)

Fetch: TypeAlias = FetchCandles | FetchBook | FetchInstrument


class Fetches:
    """Answers `FetchCandles`, `FetchBook` and `FetchInstrument` by records.

    Args:
        config: Of the server.
        rest: A client in use; None makes one when first needed.
        stamp: Returns strictly rising UTC ns.
        record: Gets the answers.
        spawn: Runs a task.
        rng: For the jitter of REST's back-off.
    """

    def __init__(
        self,
        config: OkxConfig,
        rest: OkxRest | None,
        *,
        stamp: Callable[[], int],
        record: Callable[[Record], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        rng: np.random.Generator,
    ) -> None:
        self._config = config
        self._given = rest
        self._own: OkxRest | None = None
        self._making = asyncio.Lock()
        self._stamp = stamp
        self._record = record
        self._spawn = spawn
        self._rng = rng
        #: The fetch under way of each channel; None while its answer is given.
        self._running: dict[Channel, Fetch | None] = {}
        self._next: dict[Channel, Fetch] = {}

    async def rest(self) -> OkxRest:
        """Return the REST client."""
        if self._given is not None:
            return self._given
        async with self._making:
            if self._own is None:
                self._own = await OkxRest(self._config, now_ns=self._stamp, rng=self._rng).__aenter__()
        return self._own

    def is_running(self, channel: Channel) -> bool:
        """Return whether a fetch of a channel is under way."""
        return channel in self._running

    def start(self, command: Fetch) -> None:
        """Begin a fetch; during a fetch of the same channel the newest command that asks for more waits."""
        channel = command.channel
        if channel in self._running:
            self._next.pop(channel, None)
            # The book under way may be too old, so a second fetch is needed; bars never change.
            if isinstance(command, FetchBook) or command != self._running[channel]:
                self._next[channel] = command
            return
        self._running[channel] = command
        self._spawn(self._run(command), f"OKX fetch {command.channel}")

    async def _run(self, command: Fetch) -> None:
        channel = command.channel
        following: Fetch | None = command
        try:
            while following is not None:
                self._running[channel] = following
                answer = await self._answer(following)
                self._running[channel] = None
                self._record(answer)
                following = self._next.pop(channel, None)
        finally:
            self._running.pop(channel, None)

    async def _answer(self, command: Fetch) -> Record:
        channel, error = command.channel, ""
        rows: list[list[str]] = []
        body = b""
        try:
            rest = await self.rest()
            if isinstance(command, FetchCandles):
                rows = await rest.candle_rows(channel, command.first_open_ns, command.last_open_ns)
            elif isinstance(command, FetchBook):
                body = await rest.book_body(channel.inst_id)
            else:
                body = await rest.instrument_body(channel.inst_id)
        except QuantkitError as failure:
            error = str(failure)
        if isinstance(command, FetchCandles):
            return Fetched(self._stamp(), channel, rows, error, command.first_open_ns, command.last_open_ns)
        if isinstance(command, FetchBook):
            return BookFetched(self._stamp(), channel, body, error)
        return InstrumentFetched(self._stamp(), channel, body, error)

    async def close(self) -> None:
        """Close the REST client, unless it was given."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()
