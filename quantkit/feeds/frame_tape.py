"""The tape of a live feed: every payload of its client, safe before its rows reach the engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from quantkit.errors import DataError
from quantkit.events import Row
from quantkit.storage.tape import TapeWriter


class LiveTape(Protocol):
    """What a receiver makes safe before it hands rows over: the frames that it got, or the rows themselves."""

    error: DataError | None

    @property
    def takes_frames(self) -> bool:
        """Whether the client shall pack its frames for `keep`."""
        ...

    @property
    def written_bytes(self) -> int:
        """How many bytes were written so far."""
        ...

    def open(self) -> None:
        """Take hold of the tape.

        Raises:
            DataError: The disk refuses, or somebody else has it.
        """
        ...

    def keep(self, payload: bytes) -> None:
        """Keep a payload of the client for the next `flush`."""
        ...

    def take(self, deliveries: Sequence[Sequence[Row]]) -> Sequence[Sequence[Row]]:
        """Keep rows for the next `flush`, where rows are kept, and return those that are to be handed over then."""
        ...

    def flush(self) -> bool:
        """Hand everything to the operating system; return whether all was taken, else `error` says why not."""
        ...

    def close(self) -> None:
        """Make it durable and let go of it; `error` says whether it could be."""
        ...


class FrameTape:
    """The tape of a client's messages, in the client's own format; `flush` makes it safe.

    After the first refusal of the disk nothing more is written: a tape with a hole would differ from the deliveries.

    Args:
        folder: Where; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tape: TapeWriter | None = None
        self._waiting: list[bytes] = []
        #: Why no more is written, None while everything was.
        self.error: DataError | None = None

    @property
    def takes_frames(self) -> bool:
        """Whether anything is written."""
        return self._folder is not None

    @property
    def written_bytes(self) -> int:
        """Its length so far."""
        return 0 if self._tape is None else self._tape.written_bytes

    def open(self) -> None:
        """Begin the tape.

        Raises:
            DataError: There is one already, or the disk refuses.
        """
        if self._folder is not None:
            self._tape = TapeWriter(self._folder)

    def keep(self, payload: bytes) -> None:
        """Keep a payload for the next `flush`."""
        self._waiting.append(payload)

    def take(self, deliveries: Sequence[Sequence[Row]]) -> Sequence[Sequence[Row]]:
        """Return the rows, which can be made of the frames again."""
        return deliveries

    def flush(self) -> bool:
        """Hand everything to the operating system: a kill of this process does not lose it any more.

        Returns:
            Whether all was taken, now and before; else `error` says why not.
        """
        if self._waiting and self._tape is not None and self.error is None:
            try:
                self._tape.append_many(self._waiting)
            except DataError as error:
                self.error = error
        self._waiting.clear()
        return self.error is None

    def close(self) -> None:
        """Make it durable and let go of the file, once; `error` says whether it could be."""
        self.flush()
        tape, self._tape = self._tape, None
        try:
            if tape is not None:
                tape.close()
        except DataError as error:
            self.error = self.error or error
