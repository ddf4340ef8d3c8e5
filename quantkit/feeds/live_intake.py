"""What a live run and a collector share: the receiver of a source, its tape and its recorder, as one."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from quantkit.feeds.frame_tape import LiveTape
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.live_source import LiveSource
from quantkit.feeds.receiver import Receiver
from quantkit.feeds.recorder import Recorder
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.storage.root import Root


class RecorderSettings(NamedTuple):
    """Where an intake stores rows, and how; see `Recorder`.

    Attributes:
        root: The data folder.
        source: Where the rows come from, for the manifest.
        rotate_s: Seconds between commits.
        staging: A folder of the caller's own for files that are being written.
        is_taped: Whether the tape holds the rows themselves.
    """

    root: Path | Root
    source: str
    rotate_s: float = 300.0
    staging: Path | None = None
    is_taped: bool = False


class LiveIntake:
    """Receives a source's rows and makes them safe: first the tape has them, then whoever takes them may store them.

    Args:
        source: The exchange.
        tape: Gets everything first.
        settings: Of the recorder; None: rows are not stored.
        clock: Gets measurements of the exchange's clock.
        wall: The machine's UTC time in nanoseconds.
        stop: Set from outside, it ends calls that wait.
        batch_ns: From one batch to the next at least so long.
        outlasts_refusals: Whether to go on with the other streams where the exchange refuses some.

    Attributes:
        receiver: The thread of the sockets.
        tape: As given.
        recorder: Stores the rows that it is given; None before `open`, or without settings.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        tape: LiveTape,
        settings: RecorderSettings | None,
        clock: LiveClock,
        wall: Callable[[], int],
        stop: threading.Event,
        batch_ns: int = 0,
        outlasts_refusals: bool = False,
    ) -> None:
        self.tape = tape
        self.recorder: Recorder | None = None
        self.receiver = Receiver(
            source,
            tape=tape,
            clock=clock,
            wall=wall,
            stop=stop,
            batch_ns=batch_ns,
            outlasts_refusals=outlasts_refusals,
        )
        self._settings = settings

    def open(self) -> Sequence[Instrument]:
        """Take hold of the tape and the folder, connect, and return the instruments as the exchange lists them now.

        Raises:
            DataError: The tape or the folder cannot be written.
            FeedError: The exchange cannot be reached, or refuses.
        """
        self.tape.open()
        if self._settings is not None:
            root, source, rotate_s, staging, is_taped = self._settings
            self.recorder = Recorder(root, source=source, rotate_s=rotate_s, staging=staging, is_taped=is_taped)
        receiver = self.receiver
        receiver.start()
        # What the exchange says now is known from now on.
        loaded = receiver.call(receiver.client.instruments(receiver.inbox.now_ns()))
        receiver.call(receiver.measure())
        return loaded

    def subscribe(
        self,
        streams: Collection[Stream],
        names: Sequence[str],
        instruments: Mapping[str, Instrument],
        since_ns: int,
        polled: Collection[Stream] = (),
    ) -> None:
        """Subscribe to streams and wait until every one is confirmed; the folder keeps that they are listened to.

        Args:
            streams: Those with a channel of their own.
            names: The instruments whose metadata are kept, and whose changes are rows.
            instruments: By id, as loaded.
            since_ns: Every candle that closes later is a row.
            polled: Those without a channel.

        Raises:
            ConfigError: A stream cannot be had live.
            FeedError: A stream was refused and is not outlasted, or the connection cannot be had.
        """
        if self.recorder is not None:
            self.recorder.add_instruments(instruments[name] for name in names)
            self.recorder.watch([*streams, *polled], since_ns)
        client = self.receiver.client
        self.receiver.call(client.subscribe(tuple(streams), names, since_ns))
        if polled:
            self.receiver.on_loop(lambda: client.poll(polled))

    def end(self) -> None:
        """End the sockets, and wait until all that was received can be taken; fine to call twice."""
        self.receiver.stop()
        self.receiver.join()

    def close(self, until_ns: int) -> None:
        """Store the rest and let go of the tape; fine to call twice.

        Args:
            until_ns: When listening ended.
        """
        if self.recorder is not None:
            self.recorder.close(until_ns)
        self.tape.close()
