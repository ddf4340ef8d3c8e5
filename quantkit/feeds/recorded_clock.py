"""The clocks of a backtest over a live run's rows: its recorded sending times and clock offsets."""

from collections import deque
from collections.abc import Iterable

from quantkit.brokers.send_clock import CallClock
from quantkit.clock import delay_text
from quantkit.events import Timing


class RecordedClock(CallClock):
    """Lets messages leave at the recorded times, as long as the run sends the recorded messages.

    The first message with another engine time than the recorded one, or without a recorded one, leaves at the time of
    its row, and so do all later messages. So do all messages of another strategy.

    Args:
        rows: Of kind `timing`.
        sender: Stands for the strategy that runs.
        ignores_compute: Whether the run was given a time that the strategy computes, which these rows make needless.
    """

    def __init__(self, rows: Iterable[Timing], sender: str, *, ignores_compute: bool = False) -> None:
        super().__init__()
        self._ignores_compute = ignores_compute
        held = list(rows)
        # Each step stands with every instrument of its run.
        for step in sorted({(row.sent_ns, row.offset_ns) for row in held if not row.number}):
            self.step(*step)
        calls = [row for row in held if row.number]
        self._offset_ns_max = max((abs(row.offset_ns) for row in held), default=0)
        self._late_ns_max = max((row.sent_ns - row.received_ns for row in calls), default=0)
        self._has_calls = bool(calls)
        self._calls = deque(
            sorted((row for row in calls if row.sender == sender), key=lambda row: (row.received_ns, row.number))
        )
        self._repeated = self._count = 0

    def moment_ns(self, now_ns: int) -> int:
        """Return when the recorded message left."""
        self._count += 1
        if self._calls and self._calls[0].received_ns != now_ns:
            self._calls.clear()
        if not self._calls:
            return now_ns
        self._repeated += 1
        return self._calls.popleft().sent_ns

    def said(self) -> list[str]:
        """Return whether messages left as in the recorded run, and how far the clocks were apart."""
        said = ["no time to compute is added: the data hold the sending times of a live run"] * self._ignores_compute
        late = f"up to {delay_text(self._late_ns_max)} after what they answered to"
        if self._has_calls and self._repeated == self._count:
            said.append(f"orders left when those of the live run that recorded the data did, {late}")
        elif self._has_calls:
            left = self._count - self._repeated
            which = "orders and changes" if not self._repeated else f"{left} of {self._count} orders and changes"
            said.append(
                f"{which} left at the time of what they answered to; the live run that recorded the data sent others, "
                f"and its own left {late}"
            )
        if self._offset_ns_max:
            said.append(
                f"the clock of the machine that recorded the data was up to {delay_text(self._offset_ns_max)} off the "
                "exchange's; arrivals and reports are converted"
            )
        return said
