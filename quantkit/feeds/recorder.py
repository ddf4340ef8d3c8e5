"""The recorder: what a live feed delivers, on its way into a data folder while the run goes on."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

import msgspec

from quantkit.clock import monotonic_s
from quantkit.errors import ConfigError, DataError, QuantkitError
from quantkit.events import KINDS, BookUpdate, Gap, MarketEvent
from quantkit.feeds.recording import Commits, Holes, stream_of
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.storage import manifest
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root

#: The worker looks at its queue this often, or when so many rows wait: a wake-up for each frame would cost more than
#: the frame.
_LOOK_EVERY_S: Final = 0.25
_LOOK_AT_ROWS: Final = 4_096
#: A full snapshot weighs as much as fifty trades, so a row of levels counts for more than one.
_LEVELS_PER_ROW: Final = 16
#: Where the rows are on a tape, so long may the disk hold up whoever adds them before they count as lost.
_PATIENCE_S: Final = 600.0

_LOG: Final = logging.getLogger("quantkit.feeds.recorder")


class RecorderStatus(msgspec.Struct, frozen=True):
    """How far a recorder has come, in rows, gap rows aside.

    Attributes:
        added: Given to `add`.
        committed: Visible in the folder.
        lost: Not stored; gap rows mark them. The rest waits.
        ignored: Objects that are no market events, by the name of their class.
        commits: How often rows became visible.
    """

    added: int
    committed: int
    lost: int
    ignored: dict[str, int]
    commits: int


class Commit(NamedTuple):
    """A commit that has become visible: its files, and the moment up to which every row is."""

    entries: list[FileEntry]
    sealed_ns: int


class Recorder:
    """Stores events in a data folder, on a thread of its own.

    Rows become visible every `rotate_s` and at the close, each commit whole or not at all. A kill loses what has
    not been committed, which is what a tape beside it is for. Rows of one `received_ns` always share a commit.

    No call waits or raises. A row is lost if the disk or the queue is full, or by itself if it must not be stored:
    `status` counts it, `error` names the reason, and a gap row of its channel marks it. Recording goes on soon.

    Where the rows are on a tape as well (`is_taped`), nothing else is lost: `add` waits while the queue is full, and
    after a refusal of the disk nothing more is stored, so that a recovery finds where to go on.

    Args:
        root: Data folder or URI.
        source: Where the rows come from; kept in the manifest.
        rotate_s: Seconds between commits.
        queue_rows: Rows that may wait for the thread; every 16 levels of a book update count for one more. Beyond it
            rows are lost, which bounds the memory.
        now_s: A clock that never goes back, in seconds.
        on_commit: Called on the recorder's thread with a commit's new files; must not raise.
        staging: A local folder of the caller's own for files that are being written; None: one beside the files.
        is_taped: Whether the rows can be had again from a tape.

    Raises:
        ConfigError: `rotate_s` or `queue_rows` is not above zero, or the root is no place that can be opened.
        DataError: The folder's manifest cannot be read.
    """

    def __init__(
        self,
        root: str | Path | Root,
        *,
        source: str = "",
        rotate_s: float = 300.0,
        queue_rows: int = 200_000,
        now_s: Callable[[], float] = monotonic_s,
        on_commit: Callable[[list[FileEntry]], None] | None = None,
        staging: Path | None = None,
        is_taped: bool = False,
    ) -> None:
        if not rotate_s > 0:
            raise ConfigError(f"rotate_s is {rotate_s}; use seconds above zero")
        if queue_rows < 1:
            raise ConfigError(f"queue_rows is {queue_rows}; a queue holds at least 1 row")
        self.root = Root.of(root)
        manifest.load(self.root)  # a folder that cannot be read is said now, not after the first rotation
        self._rotate_s = rotate_s
        self._queue_rows = queue_rows
        self._now_s = now_s
        self._on_commit = on_commit
        self._is_taped = is_taped
        self._changed = threading.Condition()
        # Shared with the thread, under the condition.
        self._queue: deque[Sequence[MarketEvent]] = deque()
        self._queued = 0  # their weight
        self._instruments: list[Instrument] = []
        self._watched: dict[Stream, tuple[int, int]] = {}  # since when, and the warm-up asked for
        self._until_ns = 0
        self._overflow = Holes()
        self._added = 0
        self._lost = 0  # before they came to the thread
        self._ignored: Counter[str] = Counter()
        self._error: QuantkitError | None = None
        self._is_failing = False
        self._has_given_up = False  # the disk refuses, and the tape has the rows
        self._wanted = 0  # commits asked for and
        self._answered = 0  # those that have been tried
        self._is_closing = False
        self._done: list[Commit] = []  # commits that nobody has asked for yet
        self._commits = Commits(self.root, source, staging=staging)
        self._thread = threading.Thread(target=self._work, name="quantkit-recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def error(self) -> QuantkitError | None:
        """The newest failure, None while everything was stored."""
        return self._error

    @property
    def has_given_up(self) -> bool:
        """Whether the disk has refused rows that are on a tape: nothing more is stored until a recovery."""
        return self._has_given_up

    @property
    def status(self) -> RecorderStatus:
        """How far it has come."""
        with self._changed:
            return RecorderStatus(
                added=self._added,
                committed=self._commits.committed,
                lost=self._lost + self._commits.lost,
                ignored=dict(self._ignored),
                commits=self._commits.count,
            )

    def add(self, events: Sequence[object]) -> None:
        """Take events in the order of their `received_ns`, from one thread at a time; never waits, never raises.

        Args:
            events: Market events of any kinds and instruments. What is none (a forming candle, an account's
                balance) is counted and not stored.
        """
        rows = cast("list[MarketEvent]", [event for event in events if type(event) in KINDS])
        weight = sum(map(_weight, rows))
        with self._changed:
            if len(rows) < len(events):
                self._ignored.update(type(event).__name__ for event in events if type(event) not in KINDS)
            if not rows:
                return
            self._added += sum(type(row) is not Gap for row in rows)
            if self._is_taped:
                self._changed.wait_for(lambda: self._has_room(weight), timeout=_PATIENCE_S)
            if self._is_closing or not self._thread.is_alive():
                if not self._is_taped:
                    self._lose(rows, "the recorder is closed")
            elif not self._has_room(weight):
                self._lose(rows, f"the disk is too slow: {self._queue_rows} rows wait for it")
            else:
                self._let_in(rows, weight)

    def add_instruments(self, instruments: Iterable[Instrument]) -> None:
        """Take instruments' metadata, each valid from its `valid_from_ns`; never waits, never raises.

        Metadata equal to the stored ones of that moment are not stored again.
        """
        with self._changed:
            self._instruments += instruments

    def watch(self, streams: Iterable[Stream], since_ns: int, *, warmup: int = 0) -> None:
        """Keep in the folder that the streams are listened to from `since_ns` on; never waits, never raises.

        So a silent stream differs from one that is not recorded. The span reaches to the newest row of any stream, or
        to the end given to `close`. A second call for a stream keeps the first moment and the longer warm-up.

        Args:
            streams: Of any kinds and instruments.
            since_ns: When listening began.
            warmup: How many candles from before were asked for; fewer come where there were no more.
        """
        with self._changed:
            for stream in streams:
                first_ns, asked = self._watched.get(stream, (since_ns, 0))
                self._watched[stream] = first_ns, max(asked, warmup)

    def ask_commit(self) -> None:
        """Let the added rows become visible soon; does not wait."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()

    def take_commits(self) -> list[Commit]:
        """Return the commits that succeeded since the last call."""
        with self._changed:
            done, self._done = self._done, []
        return done

    def commit(self) -> QuantkitError | None:
        """Make the added rows visible, and wait for it; rows of the newest stamp stay, as more may follow.

        Returns:
            `error`.
        """
        with self._changed:
            self._wanted += 1
            number = self._wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= number or not self._thread.is_alive())
        return self._error

    def close(self, until_ns: int = 0) -> QuantkitError | None:
        """Commit everything and end the thread; fine to call again.

        Args:
            until_ns: When listening ended, if that is after the newest row.

        Returns:
            `error`: rows are missing in the folder if it is not None.
        """
        with self._changed:
            self._is_closing = True
            self._until_ns = until_ns
            self._changed.notify_all()
        self._thread.join()
        return self._error

    # Under the condition --------------------------------------------------------------------------------------

    def _has_room(self, weight: int) -> bool:
        return not self._queued or self._queued + weight <= self._queue_rows or self._is_closing

    def _let_in(self, rows: list[MarketEvent], weight: int) -> None:
        if self._overflow:
            self._queue.append(self._overflow.rows())
            self._overflow.clear()
        self._queue.append(rows)
        before, self._queued = self._queued, self._queued + weight
        if before < _LOOK_AT_ROWS <= self._queued:
            self._changed.notify_all()

    def _lose(self, rows: list[MarketEvent], why: str) -> None:
        if not self._overflow:
            self._fail(DataError(f"data folder {self.root}: rows are not stored: {why}"))
        for row in rows:
            if type(row) is Gap:
                self._overflow.keep(row)
            else:
                self._overflow.widen(stream_of(row), row.received_ns, row.received_ns)
                self._lost += 1

    # On the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        due_s = self._now_s() + self._rotate_s
        is_last = False
        try:
            while not is_last and not self._has_given_up:
                with self._changed:
                    self._changed.wait_for(self._has_work, timeout=_LOOK_EVERY_S)
                    is_last, wanted = self._is_closing, self._wanted
                    runs = self._taken(is_last)
                    if self._is_taped and runs:
                        self._changed.notify_all()  # whoever waits for room
                for run in runs:
                    self._store(run)
                if is_last or wanted > self._answered or self._now_s() >= due_s:
                    self._commit(is_last)
                    due_s = self._now_s() + self._rotate_s
                with self._changed:
                    self._answered = wanted
                    self._changed.notify_all()
            if self._has_given_up:
                self._commits.abandon()
        except BaseException as error:
            # Our own mistake, or that of `on_commit`: it ends the thread, and nobody may wait for it in vain.
            self._fail(DataError(f"data folder {self.root}: the recorder has ended: {error!r}"))
            raise
        finally:
            with self._changed:
                self._is_closing = True
                self._answered = self._wanted
                self._changed.notify_all()

    def _has_work(self) -> bool:
        return self._is_closing or self._wanted > self._answered or self._queued >= _LOOK_AT_ROWS

    def _taken(self, is_last: bool) -> list[Sequence[MarketEvent]]:
        runs = list(self._queue)
        if is_last and self._overflow:
            runs.append(self._overflow.rows())
            self._overflow.clear()
        self._queue.clear()
        self._queued = 0
        self._commits.watched |= self._watched
        self._commits.until_ns = max(self._commits.until_ns, self._until_ns)
        self._commits.instruments += self._instruments
        self._instruments = []
        return runs

    def _store(self, run: Sequence[MarketEvent]) -> None:
        if not self._has_given_up:
            with self._telling():
                self._commits.take(run)

    def _commit(self, is_last: bool) -> None:
        if self._has_given_up:
            return
        with self._telling():
            self._commits.write_instruments()
        with self._telling():
            entries = self._commits.commit(everything=is_last)
            if entries:
                self._is_failing = False
                with self._changed:
                    self._done.append(Commit(entries, self._commits.sealed_ns))
                if self._on_commit is not None:
                    self._on_commit(entries)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say a failure to store, and go on."""
        try:
            yield
        except QuantkitError as error:
            self._has_given_up = self._is_taped and isinstance(error.__cause__, OSError)
            self._fail(error)
        for refusal in self._commits.take_refusals():
            self._fail(refusal)

    def _fail(self, error: QuantkitError) -> None:
        # A disk that stays full is said once, not with every commit; the rows of `status` say how long it does.
        if not self._is_failing:
            _LOG.error("%s", error)
        self._is_failing = True
        self._error = error


def _weight(row: MarketEvent) -> int:
    if type(row) is not BookUpdate:
        return 1
    return 1 + (len(row.bid_prices) + len(row.ask_prices)) // _LEVELS_PER_ROW
