"""What live feeds share: deliveries as batches, and who is told of what the engine takes in."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quantkit.events import KINDS, Candle, InstrumentChange, MarketEvent, Row
from quantkit.rows.batch import Batch
from quantkit.rows.columns import Block, Stream

#: Rows whose exchange stamp says nothing about the clocks.
_UNTIMED: Final = ("gap", "funding", "instrument")


class Intake(Protocol):
    """Is told what an engine takes in, before the engine sees it."""

    def took(self, deliveries: int, last_ns: int, until_ns: int) -> None:
        """Note a batch: so many deliveries, the last stamped `last_ns` (0 without any), then time up to `until_ns`."""
        ...

    def warmed(self, stream: Stream, count: int, candles: Sequence[Candle]) -> None:
        """Note the candles that a warm-up of `count` got."""
        ...

    def drained(self) -> None:
        """Note that nothing more comes."""
        ...

    def sent(self, instrument: str, number: int, at_ns: int, sent_ns: int) -> None:
        """Note when a message left: by the engine's time, and by our clock."""
        ...

    def stepped(self, from_ns: int, offset_ns: int) -> None:
        """Note since when our clock is how far ahead of the exchange's."""
        ...


def rows_of(events: Iterable[object]) -> list[MarketEvent]:
    """Return the rows that an engine can take among everything an exchange sends."""
    return [event for event in events if type(event) in KINDS]  # type: ignore[misc]


class BatchMaker:
    """Turns deliveries into batches.

    Args:
        end_ns: Rows stamped later are left out, and time does not pass beyond it.
    """

    def __init__(self, end_ns: int) -> None:
        self._end_ns = end_ns
        self._warmed_ns: dict[Stream, int] = {}
        self._streams: dict[tuple[type, str, str], Stream] = {}
        self._sort_keys: dict[Stream, tuple[int, int, str]] = {}
        #: Rows so far, and `received_ns` and `exchange_ns` of the last, by stream.
        self.counts: dict[Stream, tuple[int, int, int]] = {}
        #: The smallest receipt less exchange stamp of the last batch, None where no row told of it.
        self.least_lag_ns: int | None = None

    def warmed(self, stream: Stream, candles: Sequence[Candle]) -> None:
        """Leave out from now on the candles that a warm-up has delivered."""
        if candles:
            self._warmed_ns[stream] = candles[-1].close_ns

    def batch(self, deliveries: Iterable[Sequence[Row]], until_ns: int) -> Batch:
        """Return a batch of deliveries that came in this order, and of the time up to `until_ns`."""
        # Deliveries come in the total order, so that counting rows tells their places.
        groups: dict[Stream, tuple[list[Row], list[int]]] = {}
        stamps: list[int] = []
        least_lag_ns: int | None = None
        for events in deliveries:
            for event in events:
                if event.received_ns > self._end_ns:
                    continue
                interval = event.interval if isinstance(event, Candle) else ""
                key = (type(event), event.instrument, interval)
                stream = self._streams.get(key)
                if stream is None:
                    kind = "instrument" if isinstance(event, InstrumentChange) else KINDS[type(event)]
                    stream = self._streams[key] = Stream(kind, key[1], interval)
                    self._sort_keys[stream] = stream.sort_key
                if interval and event.close_ns <= self._warmed_ns.get(stream, 0):  # type: ignore[union-attr]
                    continue
                group = groups.get(stream)
                if group is None:
                    groups[stream] = ([event], [len(stamps)])
                else:
                    group[0].append(event)
                    group[1].append(len(stamps))
                stamps.append(event.received_ns)
                lag_ns = event.received_ns - event.exchange_ns
                if (least_lag_ns is None or lag_ns < least_lag_ns) and stream.kind not in _UNTIMED:
                    least_lag_ns = lag_ns
        self.least_lag_ns = least_lag_ns
        blocks: list[Block] = []
        positions: list[NDArray[np.int64]] = []
        for stream in sorted(groups, key=self._sort_keys.__getitem__):
            rows, places = groups[stream]
            last = rows[-1]
            before = self.counts.get(stream)
            self.counts[stream] = (len(rows) + (before[0] if before else 0), last.received_ns, last.exchange_ns)
            blocks.append(Block.from_events(rows, stream=stream))
            positions.append(np.array(places, np.int64))
        return Batch.lined_up(blocks, np.array(stamps, np.int64), positions, until_ns=min(until_ns, self._end_ns))
