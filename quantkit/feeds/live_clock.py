"""The clocks of a live run: when its messages leave, and how far this machine's clock is ahead of the exchange's."""

from collections.abc import Callable, Sequence
from typing import Final

from quantkit.brokers.send_clock import CallClock
from quantkit.clock import NS_PER_MS, delay_text
from quantkit.events import Timing
from quantkit.feeds.clock_offset import ClockOffset
from quantkit.feeds.inbox import InputLog
from quantkit.feeds.taken import TakenRows

#: A clock that is further off is told of.
_OFFSET_WARNS_NS: Final = 500 * NS_PER_MS


class LiveClock(CallClock):
    """The send clock of a live run: a message leaves when its hook has sent it, and that time is an input of the run.

    Args:
        wall: This machine's clock, UTC ns.
        input_log: Gets each message and each step of the offset before any effect of it; None: no log.
        taken: Gets them as rows.
        sender: Stands for the strategy in those rows.

    Attributes:
        offset: The estimate of the clock offset; another thread may give it measurements.
    """

    def __init__(self, wall: Callable[[], int], *, input_log: InputLog | None, taken: TakenRows, sender: str) -> None:
        super().__init__()
        self.offset = ClockOffset()
        self._wall = wall
        self._input_log = input_log
        self._taken = taken
        self._sender = sender
        self._count = 0
        self._late_ns_max = 0
        self._offset_ns_max = 0

    def leave(self, now_ns: int, instrument: str) -> int:
        """Return the departure of a message sent now, and log it."""
        sent_ns = super().leave(now_ns, instrument)
        self._count += 1
        self._late_ns_max = max(self._late_ns_max, sent_ns - now_ns)
        if self._input_log is not None:
            self._input_log.sent(instrument, self._count, now_ns, sent_ns)
        offset_ns = self.offset.value_ns
        self._taken.note(Timing(instrument, now_ns, now_ns, self._count, sent_ns, offset_ns, self._sender))
        return sent_ns

    def moment_ns(self, now_ns: int) -> int:
        """Return the present moment."""
        return self._wall()

    def settle(self, from_ns: int, least_lag_ns: int | None, instruments: Sequence[str]) -> None:
        """Let measurements, and the rows of a batch, move the offset from a moment on.

        Args:
            from_ns: When the batch begins.
            least_lag_ns: The smallest receipt less exchange stamp in it.
            instruments: Those of the run, each of which gets a row of the step.
        """
        if not self.offset.settle(least_lag_ns, until_ns=from_ns):
            return
        offset_ns = self.offset.value_ns
        self._offset_ns_max = max(self._offset_ns_max, offset_ns, key=abs)
        self.step(from_ns, offset_ns)
        if self._input_log is not None:
            self._input_log.stepped(from_ns, offset_ns)
        for name in instruments:
            self._taken.note(Timing(name, from_ns, from_ns, 0, from_ns, offset_ns))

    def said(self) -> list[str]:
        """Return how late messages left."""
        late = f"at most {delay_text(self._late_ns_max)} after what they answered to"
        return [f"orders left when their hooks had sent them, {late}"] if self._count else []

    @property
    def notes(self) -> list[str]:
        """Warnings about this machine's clock; none while it is right."""
        said = []
        if abs(self._offset_ns_max) > _OFFSET_WARNS_NS:
            where = "ahead of" if self._offset_ns_max > 0 else "behind"
            said.append(
                f"this machine's clock was {delay_text(self._offset_ns_max)} {where} the exchange's; arrivals of "
                "orders and reports are converted; set it if it is wrong"
            )
        unmeasured = self.offset.unmeasured
        if unmeasured:
            times = f"{unmeasured} time{'' if unmeasured == 1 else 's'}"
            said.append(
                f"the exchange's time could not be had {times}; the clocks were taken to be as far apart as before"
            )
        return said
