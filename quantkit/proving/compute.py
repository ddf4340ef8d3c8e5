"""How long a strategy's own code takes from a row, a timer or a report to each message that answers it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from quantkit.clock import cpu_ns
from quantkit.strategy import Strategy, overrides

#: Before and after the run nothing answers to a row.
_ENDS: Final = ("on_start", "on_stop")


class ComputeWatch:
    """Counts the CPU time of hooks up to each message; what the framework does in between is not theirs.

    Attributes:
        times_ns: One for each call that may send a message or start a timer.
    """

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self._spent_ns = 0
        self._since_ns: int | None = None  # when the strategy's code went on; None outside of hooks

    def attach(self, strategy: Strategy) -> None:
        """Count in every hook of this strategy."""
        for name in dir(Strategy):
            if name.startswith("on_") and name not in _ENDS and overrides(strategy, name):
                vars(strategy)[name] = self._counted(getattr(strategy, name))

    def _counted(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(hook)
        def counted(*arguments: Any) -> Any:
            if self._since_ns is not None:
                return hook(*arguments)  # one hook calls another
            self._spent_ns, self._since_ns = 0, cpu_ns()
            try:
                return hook(*arguments)
            finally:
                self._since_ns = None

        return counted

    def pause(self) -> None:
        """Take down how long the strategy took to a call, and count no further."""
        if self._since_ns is not None:
            self._spent_ns += cpu_ns() - self._since_ns
            self.times_ns.append(self._spent_ns)

    def go_on(self) -> None:
        """Count again, since the call returns to the strategy."""
        if self._since_ns is not None:
            self._since_ns = cpu_ns()
