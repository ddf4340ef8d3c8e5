"""The recording of a live feed as a feed: the same rows in the same batches, and the same passing of time."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from quantkit.clock import iso_of
from quantkit.errors import DataError
from quantkit.events import Candle, Row
from quantkit.feeds.inbox import BatchMaker
from quantkit.feeds.live_catalog import LiveCatalog
from quantkit.feeds.live_source import OPEN_END_NS, LiveSource, TapeDecoder
from quantkit.instruments import Instrument
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.tape import TapeReader


class RecordedBatch(Protocol):
    """One batch in the log of a run: its count of deliveries, the stamp of the last, and the end of its time."""

    @property
    def deliveries(self) -> int: ...

    @property
    def last_ns(self) -> int: ...

    @property
    def until_ns(self) -> int: ...


class RecordedInputs(Protocol):
    """The inputs of a recorded run, in their order."""

    def warmup(self, stream: Stream, count: int) -> Sequence[Candle]:
        """Return the candles of the next warm-up, which asked for these."""
        ...

    def batches(self) -> Iterator[RecordedBatch]:
        """Yield the batches."""
        ...


def deliveries_of(folder: Path, decoder: TapeDecoder) -> Iterator[Sequence[Row]]:
    """Yield the deliveries of a tape, in the order in which the engine was handed them.

    Args:
        folder: The tape's.
        decoder: Of the exchange that it was recorded from.

    Raises:
        DataError: The tape is missing or damaged.
    """
    for payload in TapeReader(folder):
        rows = decoder.rows(payload)
        if rows:
            yield rows


class RecordedFeed(LiveCatalog):
    """A live feed's recording, with the interface of the live feed.

    Args:
        folder: The tape's.
        source: The exchange that it was recorded from.
        instruments: As the run loaded them, by id.
        opened_ns: When the live feed was opened.
        inputs: The engine's inputs, and their times.

    Attributes:
        rows: How many were handed out so far.
    """

    def __init__(
        self,
        folder: Path,
        source: type[LiveSource],
        instruments: Mapping[str, Instrument],
        opened_ns: int,
        inputs: RecordedInputs,
    ) -> None:
        super().__init__(source)
        self._set_opening(instruments.values(), opened_ns)
        self.rows = 0
        self._inputs = inputs
        self._decoder = source.decoder(instruments)
        self._deliveries = deliveries_of(folder, self._decoder)
        self._maker = BatchMaker(OPEN_END_NS)
        self._last_ns = 0  # of the rows that were found on the tape

    def assumptions(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Take note of the end of the run, and of its instruments."""
        self._maker = BatchMaker(min((wish.end_ns for wish in subscriptions), default=OPEN_END_NS))
        self._decoder.follow({wish.stream.instrument for wish in subscriptions})

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Return the candles of the run's warm-up."""
        candles = self._inputs.warmup(stream, count)
        self._maker.warmed(stream, candles)
        return Block.from_events(candles) if candles else None

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the batches of the run.

        Raises:
            DataError: The tape is damaged, or does not hold the rows that the engine took.
        """
        for recorded in self._inputs.batches():
            deliveries = [next(self._deliveries, ()) for _ in range(recorded.deliveries)]
            last_ns = deliveries[-1][-1].received_ns if deliveries and deliveries[-1] else 0
            if last_ns != recorded.last_ns:
                there = [rows[-1].received_ns for rows in deliveries if rows]
                has = f"has them up to {iso_of(max([self._last_ns, *there]))}" if there or self._last_ns else "has none"
                raise DataError(
                    f"the tape and the engine log disagree: the engine took rows up to {iso_of(recorded.last_ns)}, "
                    f"the tape {has}; frames are missing or were changed"
                )
            self._last_ns = last_ns or self._last_ns
            self.rows += sum(map(len, deliveries))
            yield self._maker.batch(deliveries, recorded.until_ns)
