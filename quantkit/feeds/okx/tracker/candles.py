"""Candles of one channel: every closed bar once and in order; missing bars are fetched while later ones wait."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from quantkit.clock import bar_open_ns, interval_ns
from quantkit.errors import ParseError
from quantkit.events import Candle, Gap
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BARS, FormingCandle, MarketData, decode
from quantkit.feeds.okx.tracker.channel import REMEMBERED, ChannelState, Counters, FeedMessage
from quantkit.feeds.okx.tracker.records import Command, FetchCandles, Fetched

_MISSING: Final = "missing"


def open_at(channel: Channel, moment_ns: int) -> int | None:
    """Return the opening time of the bar that was open at a moment; None for a channel without candles of ours.

    Examples:
        >>> open_at(Channel("candle1m", "BTC-USDT"), 90_000_000_000)
        60000000000
    """
    interval = BARS.get(channel.name.removeprefix("candle")) if channel.name.startswith("candle") else None
    if interval is None:
        return None
    return bar_open_ns(moment_ns, interval)


class CandleChannel(ChannelState):
    """The bars of one interval of one instrument.

    A bar that does not follow the last one waits until the bars between are fetched; a gap takes the place of bars that
    cannot be fetched. While the consumer has no room bars wait too, so that an overflow loses none.
    """

    __slots__ = ("_asked", "_cause", "_due_ns", "_held", "_interval", "_is_awaiting", "_is_resuming", "_length_ns")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command)
        self._interval = BARS[channel.name.removeprefix("candle")]
        self._length_ns = interval_ns(self._interval)
        #: Opening time of the next bar to deliver; None before the first push, unless a bar is awaited.
        self._due_ns: int | None = None
        self._is_awaiting = False
        self._held: dict[int, Candle] = {}
        #: The fetch under way.
        self._asked: FetchCandles | None = None
        #: Whether the next push may show that bars closed during an outage.
        self._is_resuming = False
        self._cause = _MISSING

    def begin(self, open_ns: int) -> None:
        """Deliver every bar from this one on, also bars that closed before the first push."""
        if self._due_ns is None:
            self._due_ns = open_ns
            self._is_awaiting = self._is_resuming = True

    # Taking ---------------------------------------------------------------------------------------------------

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a closed bar when the bars before it are delivered, and an open bar at once."""
        if not self._is_ours(connection, received_ns):
            return
        if isinstance(message, FormingCandle):
            self._forming(connection, message, out)
        else:
            data: MarketData = message
            candle: Any = data.event
            if self._hold(candle):
                self._is_resuming = False
                self._advance(received_ns, out)

    def fetched(self, answer: Fetched, out: list[FeedMessage]) -> None:
        """Take the answer to a fetch; bars that were asked for and are not in it are lost.

        The client fetches late bars unasked as well. Such an answer may bring bars, but it does not end the fetch under
        way.
        """
        received_ns, asked = answer.received_ns, self._asked
        if self._due_ns is None:
            self._counters.count("fetched bars before the first push")
            return
        if asked is not None and answer.last_open_ns:
            is_other = (answer.first_open_ns, answer.last_open_ns) != (asked.first_open_ns, asked.last_open_ns)
            asked = None if is_other else asked
        if asked is not None:
            self._asked = None
        for row in answer.rows:
            for candle in self._decoded(row, received_ns):
                self._hold(candle)
        self._deliver(received_ns, out)
        if asked is not None and not self.is_paused:
            cause = f"not fetched: {answer.error}" if answer.error else _MISSING
            while self._due_ns <= asked.last_open_ns:
                end_ns = min((open_ns for open_ns in self._held), default=asked.last_open_ns + self._length_ns)
                self._skip_to(min(end_ns, asked.last_open_ns + self._length_ns), cause, received_ns, out)
                self._deliver(received_ns, out)
        self._advance(received_ns, out)

    def overdue(self, now_ns: int, grace_ns: int) -> FetchCandles | None:
        """Return the fetch of bars that are late; None if no bar is late or a fetch is under way."""
        if self._due_ns is None or self._asked is not None or self.owner is None:
            return None
        closed = (now_ns - grace_ns - self._due_ns) // self._length_ns
        if closed < 1 or self._due_ns in self._held:
            return None
        return FetchCandles(self.channel, self._due_ns, self._due_ns + (closed - 1) * self._length_ns)

    def resume(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver again, first the bars that waited."""
        self.is_paused = False
        self._advance(received_ns, out)

    def close(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Add the gap of bars that will not be delivered."""
        if self._due_ns is None:
            return
        ends = [open_ns + self._length_ns for open_ns in self._held]
        if self._asked is not None:
            ends.append(self._asked.last_open_ns + self._length_ns)
        if self.owner is None or self._is_resuming:
            ends.append(received_ns - (received_ns - self._due_ns) % self._length_ns)
        self._held.clear()
        self._asked = None
        if ends and max(ends) > self._due_ns:
            self._skip_to(max(ends), self._cause, received_ns, out)

    # Order ----------------------------------------------------------------------------------------------------

    def _forming(self, connection: int, message: FormingCandle, out: list[FeedMessage]) -> None:
        open_ns = message.candle.open_ns
        self._see(open_ns)
        if self._is_resuming:
            self._is_resuming = False
            assert self._due_ns is not None
            if open_ns > self._due_ns and self._asked is None and not self._held:
                self._ask(self._due_ns, open_ns - self._length_ns)
        if connection != self.owner:
            self._counters.count("repeated rows of a handover")
        elif self.is_paused:
            self._counters.count("rows shed")
        else:
            out.append(message)

    def _see(self, open_ns: int) -> None:
        """Begin with the first bar that comes, or with the awaited one."""
        # A machine whose clock is ahead awaits a later bar than the next one.
        if self._due_ns is None or (self._is_awaiting and open_ns < self._due_ns):
            self._due_ns = open_ns
        self._is_awaiting = False

    def _hold(self, candle: Candle) -> bool:
        """Keep a bar until the bars before it are delivered; return False for one that is not wanted."""
        self._see(candle.open_ns)
        assert self._due_ns is not None
        if candle.open_ns < self._due_ns or candle.open_ns in self._held:
            self._counters.count("repeated bars")
            return False
        if (candle.open_ns - self._due_ns) % self._length_ns:
            self._counters.count("bars that do not open on their interval")
            return False
        self._held[candle.open_ns] = candle
        return True

    def _deliver(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver the bars that follow the last one directly."""
        held, due_ns = self._held, self._due_ns
        if self.is_paused or due_ns is None:
            return
        while (candle := held.pop(due_ns, None)) is not None:
            if candle.received_ns != received_ns:
                candle = msgspec.structs.replace(candle, received_ns=received_ns)
            out.append(candle)
            due_ns += self._length_ns
            self._cause = _MISSING
        self._due_ns = due_ns

    def _advance(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver the bars that follow directly, and fetch those missing before the rest."""
        self._deliver(received_ns, out)
        if self._due_ns is None or not self._held:
            return
        if len(self._held) > REMEMBERED:
            # The consumer or the fetch took too long; memory is bounded.
            end_ns = max(self._held) + self._length_ns if self.is_paused else min(self._held)
            self._held = {open_ns: candle for open_ns, candle in self._held.items() if open_ns >= end_ns}
            self._asked = None
            self._skip_to(end_ns, "shed" if self.is_paused else "not fetched in time", received_ns, out)
            self._deliver(received_ns, out)
        # While the consumer has no room a fetch can wait; it would be repeated without end where it does not help.
        if self._asked is None and self._held and not self.is_paused:
            self._ask(self._due_ns, min(self._held) - self._length_ns)

    def _ask(self, first_open_ns: int, last_open_ns: int) -> None:
        self._asked = FetchCandles(self.channel, first_open_ns, last_open_ns)
        self._command(self._asked)

    def _skip_to(self, end_ns: int, cause: str, received_ns: int, out: list[FeedMessage]) -> None:
        """Report the bars up to a moment as lost."""
        assert self._due_ns is not None
        channel = f"candle {self._interval}"
        out.append(Gap(self.channel.inst_id, end_ns, received_ns, channel, self._due_ns, end_ns, cause))
        self._due_ns = end_ns

    def _decoded(self, row: list[str], received_ns: int) -> list[Candle]:
        """Return the closed bar of a REST row, decoded like a pushed one."""
        push = {"arg": {"channel": self.channel.name, "instId": self.channel.inst_id}, "data": [row]}
        try:
            messages = decode(msgspec.json.encode(push), received_ns=received_ns)
        except ParseError:
            self._counters.count("malformed fetched bars")
            return []
        return [
            message.event
            for message in messages
            if isinstance(message, MarketData) and isinstance(message.event, Candle)
        ]

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        self._is_resuming = True
        self._cause = cause
