"""A live run whose statuses a test sends, for the tests of the web application."""

import asyncio
import queue
from collections.abc import AsyncIterator

from quantkit.errors import ConfigError
from quantkit.live.status import LiveStatus, RunHistory
from quantkit.web.shapes import CommandName


class ScriptedControl:
    """The control socket of a run: gives the statuses that a test sends, and notes the commands it gets.

    A test sends from its own thread; `None` ends the run.
    """

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[LiveStatus | None] = queue.SimpleQueue()
        self.commands: list[CommandName] = []
        self.refuses = ""
        self.before = RunHistory()

    def send(self, *statuses: LiveStatus | None) -> None:
        """Give the link statuses, in order."""
        for status in statuses:
            self.sent.put(status)

    async def statuses(self) -> AsyncIterator[LiveStatus]:
        """Give what was sent."""
        while True:
            try:
                status = self.sent.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.002)
                continue
            if status is None:
                return
            yield status

    async def history(self) -> RunHistory:
        """Give what was before."""
        return self.before

    async def command(self, name: CommandName, *, source: str = "control", reason: str = "") -> int:
        """Note a command, or refuse it."""
        if self.refuses:
            raise ConfigError(self.refuses)
        assert (source, reason) == ("web", "")
        self.commands.append(name)
        return 1_000 + len(self.commands)
