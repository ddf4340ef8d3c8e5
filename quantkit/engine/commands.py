"""Commands from outside to a run: what they are, and what they do between two batches."""

from typing import Final, Literal, Protocol, TypeAlias, assert_never, get_args

import msgspec

from quantkit.clock import iso_of
from quantkit.engine.order_manager import OrderManager
from quantkit.rows.position import RunPosition

CommandName: TypeAlias = Literal["pause", "resume", "cancel_all", "stop"]
COMMANDS: Final[tuple[CommandName, ...]] = get_args(CommandName)
#: Commands that a result names one by one; of more it names the last ones.
_NAMED: Final = 10


class RunCommand(msgspec.Struct, frozen=True, gc=False, tag="command"):
    """A command as the run took it: an input, like a row.

    Attributes:
        name: `pause` refuses new orders and changes, `resume` ends that; `cancel_all` cancels every open order, `stop`
            ends the run.
        source: The giver, such as `python` or `web`. reason: A remark of the giver's.
        given_ns: This machine's time when it was given.
        taken_ns: Engine time when it was taken.
    """

    name: CommandName
    source: str
    reason: str
    given_ns: int
    taken_ns: int

    def __str__(self) -> str:
        said = f"{self.source}: {self.reason}" if self.reason else self.source
        return f"{self.name} at {iso_of(self.taken_ns)} ({said})"


class CommandSource(Protocol):
    """Commands for the engine: those given to a live run, or those in the log of a recorded one."""

    def take(self, now_ns: int) -> RunCommand | None:
        """Return the next command, logged by then; None: no more are waiting.

        A live source ends its feed by itself when it hands out a `stop`.
        """
        ...


class Commands:
    """Takes commands between two batches.

    Args:
        source: Of commands; None for a run that takes none.
        orders: Paused and resumed, and told to cancel.
        position: The run's position.

    Attributes:
        taken: All commands so far, in order.
    """

    def __init__(self, source: CommandSource | None, orders: OrderManager, position: RunPosition) -> None:
        self.taken: list[RunCommand] = []
        self._source = source
        self._orders = orders
        self._position = position

    def take(self, now_ns: int) -> None:
        """Take what waits.

        Args:
            now_ns: The end of the batch before, up to which time has passed.
        """
        source = self._source
        if source is None:
            return
        while (command := source.take(now_ns)) is not None:
            self._position.now_ns = now_ns
            self.taken.append(command)
            self._do(command.name)

    def _do(self, name: CommandName) -> None:
        match name:
            case "pause":
                self._orders.is_paused = True
            case "resume":
                self._orders.is_paused = False
            case "cancel_all":
                self._orders.cancel_all(None)
            case "stop":
                pass  # its source has ended the feed
            case _:
                assert_never(name)

    def notes(self) -> list[str]:
        """Return a sentence for the result, none for a run without commands."""
        if not self.taken:
            return []
        count, named = len(self.taken), self.taken[-_NAMED:]
        last = "" if count == len(named) else f", the last {len(named)}"
        what = "command" if count == 1 else "commands"
        return [f"{count} {what} from outside{last}: {', '.join(map(str, named))}"]
