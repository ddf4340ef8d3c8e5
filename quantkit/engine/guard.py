"""Calls of user code: what it raises stops the run and says where it was."""

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

from quantkit.clock import iso_of
from quantkit.errors import DataError, QuantkitError, StrategyError
from quantkit.rows.position import RunPosition
from quantkit.strategy import Strategy

#: What arguments of orders are called elsewhere.
_ELSEWHERE: Final = {
    "size": "qty",
    "quantity": "qty",
    "amount": "qty",
    "limit": "price",
    "limit_price": "price",
    "stop": "stop_price",
    "sl": "stop_loss",
    "tp": "take_profit",
    "side": "position_side",
    "tif": "time_in_force",
}
_UNKNOWN: Final = re.compile(r"Strategy\.(\w+)\(\) got an unexpected keyword argument '(\w+)'")


class HookGuard:
    """Turns an exception of a hook into a `StrategyError`.

    Args:
        strategy: Whose hooks are called.
        position: How far the run has come.
        is_live: Whether the run cannot simply be run once more over the same span.
    """

    def __init__(self, strategy: Strategy, position: RunPosition, *, is_live: bool) -> None:
        self._strategy = strategy
        self._position = position
        self._is_live = is_live

    def call(self, hook: str, call: Callable[..., Any], *arguments: Any) -> None:
        """Call user code.

        Raises:
            StrategyError: It raised; the original is its cause.
        """
        try:
            call(*arguments)
        except (StrategyError, DataError):
            raise
        except (Exception, SystemExit) as error:
            raise self.error(hook, error, *arguments) from error

    def error(self, hook: str, error: BaseException, event: object = None) -> StrategyError:
        """Return the error to raise for an exception of a hook, with its event."""
        # Before the run begins there is no market time: the span is not even decided.
        now_ns = None if hook == "on_start" else self._position.now_ns
        moment = "" if now_ns is None else iso_of(now_ns)
        what = str(error) if isinstance(error, QuantkitError) else f"{type(error).__name__}: {error}"
        if isinstance(error, AttributeError) and str(error).startswith("immutable type"):
            what += "; what a hook is given cannot be written, amend() and cancel() change an order"
        if meant := _meant(error):
            # From Python 3.13 on the interpreter guesses, too, by the letters alone.
            what = what.partition(". Did you mean ")[0] + meant
        given = "" if event is None or isinstance(event, int) else f"; it was given {str(event)[:300]}"
        again = f"; to get there again, end the same run there: --to {moment}"
        if now_ns is None or self._is_live:
            again = ""
        when = f" at {moment}" if moment else ""
        message = f"{type(self._strategy).__name__}.{hook}{when} raised {what}{given}{again}"
        return StrategyError(message, hook=hook, now_ns=now_ns)


def _meant(error: BaseException) -> str:
    """Return how an argument is called that a call gave under the name of another library."""
    found = _UNKNOWN.search(str(error)) if isinstance(error, TypeError) else None
    name = None if found is None else _ELSEWHERE.get(found[2])
    if found is None or name not in inspect.signature(getattr(Strategy, found[1])).parameters:
        return ""
    return f"; {found[2]} is {name} here"
