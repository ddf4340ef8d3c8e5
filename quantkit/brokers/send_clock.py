"""When messages leave for the exchange, and how far our clock is ahead of the exchange's."""

from abc import ABC, abstractmethod
from collections import deque

from quantkit.clock import NEVER_NS
from quantkit.latency import Latency


class SendClock:
    """The clock of a replay: a message leaves at the time of its row, and both clocks agree.

    A live run and its repetitions say otherwise; see `CallClock`. Messages never overtake one another. The offset, our
    clock less the exchange's, moves in steps.

    Attributes:
        offset_ns: The offset at the engine time that was asked for last.
        next_step_ns: When it moves next.
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        self.next_step_ns = NEVER_NS
        self._left_ns = 0
        self._steps: deque[tuple[int, int]] = deque()

    def leave(self, now_ns: int, instrument: str) -> int:
        """Return the departure of a message sent now, by our clock; called once for each message.

        Args:
            now_ns: Engine time.
            instrument: The message's instrument.
        """
        self._left_ns = max(now_ns, self._left_ns)
        return self._left_ns

    def step(self, from_ns: int, offset_ns: int) -> None:
        """Set the offset from a moment on; moments never go back."""
        self._steps.append((from_ns, offset_ns))
        self.next_step_ns = self._steps[0][0]

    def offset_at(self, now_ns: int) -> int:
        """Return the offset at an engine time; ask at times that never fall.

        Before `next_step_ns` it is `offset_ns`.
        """
        while self._steps and self._steps[0][0] <= now_ns:
            self.offset_ns = self._steps.popleft()[1]
        self.next_step_ns = self._steps[0][0] if self._steps else NEVER_NS
        return self.offset_ns

    def said(self) -> list[str]:
        """Return assumptions for the result, a sentence each."""
        return []


class ComputeClock(SendClock):
    """A clock by which a message leaves when a strategy would have computed it, which no run measures.

    Args:
        compute: How long that takes.
        seed: Of the draws; the n-th message of an instrument takes the same time whatever else happens.
    """

    def __init__(self, compute: Latency, *, seed: int) -> None:
        super().__init__()
        self._compute = compute
        self._seed = seed
        self._sent: dict[str, int] = {}

    def leave(self, now_ns: int, instrument: str) -> int:
        number = self._sent.get(instrument, 0)
        self._sent[instrument] = number + 1
        return super().leave(now_ns + self._compute.drawn_ns(f"{self._seed}:{instrument}:compute:{number}"), instrument)

    def said(self) -> list[str]:
        return [f"orders and changes leave later than what they answer to by {self._compute.describe()}"]


class CallClock(SendClock, ABC):
    """A clock by which a message leaves when its hook has really sent it."""

    def leave(self, now_ns: int, instrument: str) -> int:
        return super().leave(max(now_ns, self.moment_ns(now_ns)), instrument)

    @abstractmethod
    def moment_ns(self, now_ns: int) -> int:
        """Return the moment of the call, as far as it is known; what is not after engine time changes nothing."""
