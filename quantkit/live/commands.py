"""Commands on their way to a live run: given from any thread, taken by the engine between two batches."""

import threading
from collections import deque
from concurrent.futures import Future
from typing import Final, Protocol

from quantkit.clock import wall_ns
from quantkit.engine.commands import COMMANDS, CommandName, RunCommand
from quantkit.errors import ConfigError

#: So many commands may wait for the end of a batch.
_WAITING_MAX: Final = 32
#: Lengths of what a command says of itself, in characters.
_SOURCE_MAX: Final = 40
_REASON_MAX: Final = 200


class CommandLog(Protocol):
    """Records commands before they have any effect."""

    def command(self, command: RunCommand) -> None:
        """Add a command."""
        ...


class Commanded(Protocol):
    """The feed of a run that takes commands."""

    def wake_at(self, moment_ns: int) -> None:
        """Return to the engine as soon as time has come to a moment, though no row has; from any thread."""
        ...

    def stop(self) -> None:
        """End after what has been received by now; from any thread."""
        ...


class RunCommands:
    """Commands to one live run: pause its strategy, resume it, cancel all its orders, stop it.

    Give it to `paper(..., commands=)` and call it from any thread. Each call returns a future of the engine time at
    which the run took the command, UTC ns. Commands wait until the batch under way has been run through; before the
    run's first batch only `stop` has an effect, as the `stop` event has. A command that the run did not take any more
    ends its future with a ConfigError.

    Raises:
        ConfigError: By each call: the run is over, too many commands wait, or a text is too long.

    Examples:
        >>> commands = RunCommands()
        >>> taken = commands.pause(reason="lunch")
        >>> taken.done()
        False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[RunCommand, Future[int]]] = deque()
        self._feed: Commanded | None = None
        self._log: CommandLog | None = None
        self._has_begun = False
        self._is_over = False

    # From any thread ------------------------------------------------------------------------------------------

    def pause(self, *, source: str = "python", reason: str = "") -> "Future[int]":
        """Let hooks run on, and refuse their new orders and changes with the reason `paused`."""
        return self.give("pause", source=source, reason=reason)

    def resume(self, *, source: str = "python", reason: str = "") -> "Future[int]":
        """Take orders again."""
        return self.give("resume", source=source, reason=reason)

    def cancel_all(self, *, source: str = "python", reason: str = "") -> "Future[int]":
        """Cancel every open order, as the strategy's own `cancel_all` would."""
        return self.give("cancel_all", source=source, reason=reason)

    def stop(self, *, source: str = "python", reason: str = "") -> "Future[int]":
        """End the run cleanly, with its result: open orders are cancelled, positions stay and are valued."""
        return self.give("stop", source=source, reason=reason)

    def give(self, name: CommandName, *, source: str = "python", reason: str = "") -> "Future[int]":
        """Give a command by its name."""
        if name not in COMMANDS:
            raise ConfigError(f"{name!r} is no command; give {', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}")
        for what, text, longest in (("source", source, _SOURCE_MAX), ("reason", reason, _REASON_MAX)):
            if len(text) > longest:
                raise ConfigError(f"the {what} of a command is a text of at most {longest} characters")
        given_ns = wall_ns()
        taken: Future[int] = Future()
        with self._lock:
            if self._is_over:
                raise ConfigError(f"{name}: the run is over")
            if len(self._waiting) >= _WAITING_MAX:
                raise ConfigError(f"{name}: {_WAITING_MAX} commands wait already; the run is busy with a hook")
            self._waiting.append((RunCommand(name, _line(source), _line(reason), given_ns, 0), taken))
            feed, has_begun = self._feed, self._has_begun
        if feed is not None:
            feed.wake_at(given_ns)
            if name == "stop" and not has_begun:
                feed.stop()
        return taken

    # The run --------------------------------------------------------------------------------------------------

    def begin(self, feed: Commanded, log: CommandLog | None) -> None:
        """Belong to a run.

        Args:
            feed: The run's, woken for each command and ended by `stop`.
            log: Gets each command before its effect; None: no log.

        Raises:
            ConfigError: The commands belong to another run.
        """
        with self._lock:
            if self._feed is not None or self._is_over:
                raise ConfigError("commands belong to one run; make new RunCommands() for each")
            self._feed, self._log = feed, log
            is_asked = any(command.name == "stop" for command, _ in self._waiting)
        if is_asked:
            feed.stop()

    def take(self, now_ns: int) -> RunCommand | None:
        """Return the next command, once it has been logged; None: no more are waiting."""
        self._has_begun = True
        if not self._waiting:
            return None
        with self._lock:
            command, taken = self._waiting.popleft()
            feed = self._feed
        command = RunCommand(command.name, command.source, command.reason, command.given_ns, now_ns)
        if self._log is not None:
            self._log.command(command)
        if command.name == "stop" and feed is not None:
            feed.stop()
        # A future that its owner has cancelled takes no result; its command counts all the same.
        if taken.set_running_or_notify_cancel():
            taken.set_result(now_ns)
        return command

    def end(self) -> None:
        """Refuse what still waits, and all later commands: the run is over."""
        with self._lock:
            self._is_over = True
            waiting, self._waiting = self._waiting, deque()
        for command, taken in waiting:
            if taken.set_running_or_notify_cancel():
                taken.set_exception(ConfigError(f"{command.name}: the run ended before it took the command"))


def _line(text: str) -> str:
    """Return outside text as one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
