"""Rows in memory, handed over as a live feed does: in batches that end at given moments, up to which time passes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from quantkit.engine.commands import CommandName, RunCommand
from quantkit.events import MarketEvent
from quantkit.feeds.recording import stream_of
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument
from quantkit.live.journal import EngineLog, Entry
from quantkit.live.replayer import LogReplayer
from quantkit.rows.batch import Batch
from quantkit.rows.columns import Block, Stream


class ListLog(EngineLog):
    """A run's engine log, kept in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.has_begun = False

    def write(self, entry: Entry) -> None:
        """Add an entry."""
        self.entries.append(entry)

    def close(self) -> None:
        """Do nothing."""


class CutFeed(MemoryFeed):
    """Hands rows out in batches.

    Args:
        events: The rows.
        instruments: Metadata of every instrument.
        cuts: Where batches end, rising; the first is the moment before the first batch.
        log: Gets every batch, or has them where the run is repeated; None: nobody.
    """

    def __init__(
        self,
        events: Sequence[MarketEvent],
        instruments: Sequence[Instrument],
        cuts: Sequence[int],
        log: ListLog | LogReplayer | None = None,
    ) -> None:
        super().__init__(events, instruments)
        self._rows = sorted(events, key=lambda event: event.received_ns)
        self._cuts = list(cuts)
        self._log = log

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the batches."""
        recorded = self._log.batches() if isinstance(self._log, LogReplayer) else None
        for after_ns, until_ns in pairwise(self._cuts):
            if recorded is not None:
                assert next(recorded).until_ns == until_ns
            streams: dict[Stream, list[MarketEvent]] = {}
            for row in self._rows:
                if after_ns < row.received_ns <= until_ns:
                    streams.setdefault(stream_of(row), []).append(row)
            if isinstance(self._log, ListLog):
                self._log.input_batch(len(streams), 0, until_ns)
            yield Batch([Block.from_events(rows) for rows in streams.values()], until_ns=until_ns)
        if recorded is not None:
            assert next(recorded, None) is None
        if isinstance(self._log, ListLog):
            self._log.feed_ended()


class Script:
    """Commands by the end of the batch after which they come; logged like those of a live run."""

    def __init__(self, commands: Sequence[tuple[int, CommandName]], log: ListLog | None = None) -> None:
        self.waiting = list(commands)
        self._log = log

    def take(self, now_ns: int) -> RunCommand | None:
        """Return the next command that is due."""
        if not self.waiting or self.waiting[0][0] > now_ns:
            return None
        command = RunCommand(self.waiting.pop(0)[1], "test", "", now_ns, now_ns)
        if self._log is not None:
            self._log.command(command)
        return command
