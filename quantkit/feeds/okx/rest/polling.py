"""Rules of the exchange that have no channel, asked for again and again; what has changed is a row."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

import msgspec

from quantkit.errors import QuantkitError
from quantkit.events import Row
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.rest.rules import RuleRow
from quantkit.rows.columns import Stream

#: The kinds that are polled: which instruments have them, and how many seconds lie between two requests.
POLLED: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "price_limit": (("spot", "swap", "future"), 60.0),
    "position_tier": (("swap", "future"), 3600.0),
    # Of the account, so only with an API key.
    "fee_rate": (("spot", "swap", "future"), 3600.0),
}


class PolledSink(Protocol):
    """Takes the rows of a poll."""

    def stamp(self) -> int:
        """Return a stamp later than every one before."""
        ...

    def deliver(self, rows: Sequence[Row]) -> None:
        """Take the rows of one stamp."""
        ...


class RulesPoller:
    """Polls on tasks of its own; a request that fails is counted and made again at the next turn.

    Args:
        rest: Paces the requests.
        sink: Gets the rows.

    Attributes:
        counters: Requests that failed, by name.
    """

    def __init__(self, rest: OkxRest, sink: PolledSink) -> None:
        self.counters: Counter[str] = Counter()
        self._rest = rest
        self._sink = sink
        self._told: dict[Stream, list[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, streams: Collection[Stream]) -> None:
        """Begin to poll streams."""
        for kind, (_, every_s) in POLLED.items():
            asked = [stream for stream in streams if stream.kind == kind]
            if asked:
                self._tasks.append(asyncio.create_task(self._poll(asked, every_s), name=f"poll {kind}"))

    async def close(self) -> None:
        """End every poll."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _poll(self, streams: Sequence[Stream], every_s: float) -> None:
        while True:
            for stream in streams:
                try:
                    rows = await self._rest.now.rows(stream.kind, stream.instrument)
                except QuantkitError:
                    self.counters[f"failed requests of {stream.kind}"] += 1
                else:
                    self._tell(stream, rows)
            await asyncio.sleep(every_s)

    def _tell(self, stream: Stream, rows: Sequence[RuleRow]) -> None:
        """Deliver rows that differ from the last ones in more than their stamps."""
        bare = [msgspec.structs.astuple(row)[3:] for row in rows]
        if rows and self._told.get(stream) != bare:
            self._told[stream] = bare
            received_ns = self._sink.stamp()
            self._sink.deliver([msgspec.structs.replace(row, received_ns=received_ns) for row in rows])
