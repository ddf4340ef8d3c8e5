"""The periodic look at what should have come and has not: silent books, late candles, a consumer that caught up."""

import asyncio
import math
from typing import Final, Protocol

from quantkit.clock import NS_PER_S
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.tracker.records import FetchCandles, Record, Stalled
from quantkit.feeds.okx.tracker.tracker import Tracker
from quantkit.feeds.okx.ws.connection import Line
from quantkit.feeds.okx.ws.subscriptions import Interest, Stage

#: How long at most a book may be silent before its connection is given up once more for its sake.
_LONGEST_PATIENCE_S: Final = 3600.0


class Watched(Protocol):
    """What the watch sees of a client."""

    config: OkxConfig
    tracker: Tracker
    lines: dict[int, Line]

    @property
    def is_shedding(self) -> bool:
        """Whether events are dropped because the consumer is too slow."""
        ...

    def stamp(self) -> int:
        """Return the time, UTC ns, above every stamp before."""
        ...

    def note(self, record: Record) -> None:
        """Put a record on the tape and tell the tracker."""
        ...

    def fetch_late(self, command: FetchCandles) -> None:
        """Fetch bars that should have come by now."""
        ...

    def check_backlog(self) -> None:
        """Stop or begin to deliver, as the consumer has room."""
        ...


class Watch:
    """Looks every `watch_every_s`.

    Silence is measured by the event loop's clock, so that a step of the machine's wall clock is no silence.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._loop = asyncio.get_running_loop()
        self._fetched_s: dict[Channel, float] = {}  # when late bars were asked for last

    async def run(self) -> None:
        """Look until cancelled."""
        config = self._watched.config
        while True:
            await asyncio.sleep(config.watch_every_s)
            self.look()

    def look(self) -> None:
        """Look once."""
        watched = self._watched
        if watched.is_shedding:
            watched.check_backlog()
        for line in list(watched.lines.values()):
            if line.is_up and not line.is_retiring:
                for interest in line.interests:
                    if interest.channel.is_depth and interest.stage is Stage.LIVE and line.is_up:
                        self._look_at_book(line, interest)
        late_ns = int(watched.config.candle_late_s * NS_PER_S)
        for command in watched.tracker.overdue(watched.stamp(), grace_ns=late_ns):
            # A bar that REST does not have either, as of an instrument that is suspended, is not asked for in a loop.
            now_s = self._loop.time()
            if now_s - self._fetched_s.get(command.channel, -math.inf) >= watched.config.candle_late_s:
                self._fetched_s[command.channel] = now_s
                watched.fetch_late(command)

    def _look_at_book(self, line: Line, interest: Interest) -> None:
        """Renew a book that is silent, and the connection if that did not help."""
        watched, config = self._watched, self._watched.config
        now_s = self._loop.time()
        heard_ns = watched.tracker.heard_ns(line.number, interest.channel)
        if heard_ns != interest.heard_ns:
            interest.heard_ns, interest.heard_s = heard_ns, now_s
        is_heard = heard_ns > 0
        quiet_s = now_s - (max(interest.heard_s, interest.acked_s) if is_heard else interest.acked_s)
        if is_heard and interest.heard_s - interest.acked_s > config.ack_timeout_s:
            interest.renewals = interest.aborts = 0  # more came than the snapshot of every new subscription
        # A subscription that brought nothing at all has failed as much as one that was not acknowledged.
        limit_s = config.stall_after_s if is_heard else config.ack_timeout_s
        if quiet_s <= limit_s:
            return
        if is_heard:
            quiet_ns = int(quiet_s * NS_PER_S)
            watched.note(Stalled(watched.stamp(), line.number, interest.channel, quiet_ns))
        if interest.renewals:
            # A book that never comes, as of an instrument that is not open yet, must not cut the others off for ever.
            if quiet_s <= min(limit_s * 2**interest.aborts, _LONGEST_PATIENCE_S):
                return
            interest.aborts += 1
            line.abort(f"{interest.channel}: nothing came for {quiet_s:.1f} s, also after a new subscription")
            return
        interest.renewals += 1
        line.resync(interest.channel)
