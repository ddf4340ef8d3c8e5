"""The price path of a run: what each instrument was valued on, row by row, read again when somebody asks for it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from quantkit.clock import interval_ns
from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError
from quantkit.orderbook import Book
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.rows.columns import Stream


class PriceRows(msgspec.Struct, frozen=True):
    """Rows of one instrument's price path as aligned arrays of shape (n,).

    Attributes:
        instrument: The id.
        kind: Of the rows: `candle`, `mark`, `trade`, `ticker` (its mid) or `book` (its mid after each change).
        interval_ns: Of candles; 0 for others.
        time_ns: When each row was received, in the order of replay; a candle at its close, never before.
        open, high, low, close: Of candles; of other rows the price, one array under four names.
    """

    instrument: str
    kind: str
    interval_ns: int
    time_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def is_candles(self) -> bool:
        """Whether each row has a range."""
        return self.kind == "candle"

    @classmethod
    def of_prices(cls, stream: Stream, time_ns: IntArray, prices: FloatArray) -> "PriceRows":
        """Return rows of single prices."""
        return cls(stream.instrument, stream.kind, _length(stream), time_ns, prices, prices, prices, prices)

    @classmethod
    def of_candles(cls, stream: Stream, time_ns: IntArray, ohlc: Sequence[FloatArray]) -> "PriceRows":
        """Return rows of open, high, low and close."""
        return cls(stream.instrument, stream.kind, _length(stream), time_ns, *ohlc)

    @classmethod
    def joined(cls, stream: Stream, parts: Sequence["PriceRows"]) -> "PriceRows":
        """Return rows that follow each other as one; none of a stream without any."""
        if len(parts) == 1:
            return parts[0]
        time_ns = np.concatenate([np.empty(0, np.int64), *(part.time_ns for part in parts)])
        names = ("open", "high", "low", "close") if stream.kind == "candle" else ("close",)
        columns = [np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)]) for name in names]
        if stream.kind == "candle":
            return cls.of_candles(stream, time_ns, columns)
        return cls.of_prices(stream, time_ns, columns[0])


def _length(stream: Stream) -> int:
    return interval_ns(stream.interval) if stream.interval else 0


class Recording(ABC):
    """Rows that a live run recorded in a folder, sealed."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder."""

    @abstractmethod
    def files_of(self, streams: Iterable[Stream]) -> dict[str, str]:
        """Return the digests, by path, of the files of some streams, and of their instruments' books and gaps."""


class PriceSource(ABC):
    """Where the price paths of a run can be read again."""

    @property
    def recording(self) -> Recording | None:
        """The recording of a live run that they come from, if they do."""
        return None

    @abstractmethod
    def reason(self, stream: Stream) -> str:
        """Return in a sentence why a stream cannot be read as the run read it; nothing if it can."""

    @abstractmethod
    def chunks(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        """Yield the rows received within a span, both ends included, some at a time.

        Raises:
            DataError: They cannot be read.
        """

    @abstractmethod
    def books(self, instrument: str, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        """Return copies of a book, some levels of each side, at each of some rising moments; None where there was none.

        Raises:
            DataError: It was recorded, and cannot be read.
        """


class NoPrices(PriceSource):
    """Rows that cannot be read again.

    Args:
        why: A sentence.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    def reason(self, stream: Stream) -> str:
        """Return it."""
        return self._why

    def chunks(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        """Refuse.

        Raises:
            DataError: Always.
        """
        raise DataError(self._why)

    def books(self, instrument: str, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        """Return none."""
        return [None] * len(times_ns)


#: Of a result that somebody made of records.
UNKNOWN: Final = NoPrices("the result was made without the rows of its run")


class Prices:
    """The price paths of a run's instruments: what the run valued them on.

    Rows are read from where they are stored, each time anew. Those without a price are left out.

    Args:
        source: Where.
        marks: What the run valued each instrument on.
        outcome: The run's records.
    """

    def __init__(self, source: PriceSource, marks: Mapping[str, Stream], outcome: Outcome) -> None:
        self._source = source
        self._start_ns, self._end_ns = outcome.start_ns, outcome.end_ns
        order = dict.fromkeys([*traded(outcome), *marks])
        self._marks = {name: marks[name] for name in order if name in marks}
        self._reasons: dict[str, str] = {}

    @property
    def streams(self) -> dict[str, Stream]:
        """What each instrument of the run was valued on, traded ones first, in the order of their first fills."""
        return dict(self._marks)

    @property
    def recording(self) -> Recording | None:
        """The recording of a live run that the paths are read from, if they are."""
        return self._source.recording

    @property
    def instruments(self) -> list[str]:
        """The instruments that have a price path, traded ones first, in the order of their first fills."""
        return [name for name in self._marks if not self.reason(name)]

    def reason(self, instrument: str) -> str:
        """Return in a sentence why an instrument has no price path; nothing if it has one.

        Of stored files the names, lengths, digests and footers are compared for that, as for the run itself. Damage
        further inside is found when rows are read, which raises; the reason is known from then on.
        """
        if instrument not in self._marks:
            there = f"; there is {', '.join(self._marks)}" if self._marks else ""
            return f"{instrument} is no instrument of the run{there}"
        if instrument not in self._reasons:
            self._reasons[instrument] = self._source.reason(self._marks[instrument])
        return self._reasons[instrument]

    def rows(self, instrument: str, start_ns: int | None = None, end_ns: int | None = None) -> PriceRows:
        """Return the rows of an instrument that were received within a span.

        Args:
            instrument: The id.
            start_ns, end_ns: UTC ns, both included; default the run's.

        Raises:
            DataError: There is no price path; `reason` says why beforehand.
        """
        chunks = list(self.chunks(instrument, start_ns, end_ns))
        return PriceRows.joined(self._marks[instrument], chunks)

    def chunks(self, instrument: str, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[PriceRows]:
        """Yield what `rows` returns, some rows at a time: few are in memory at once.

        Raises:
            DataError: There is no price path.
        """
        why = self.reason(instrument)
        if why:
            raise DataError(why)
        first_ns = self._start_ns if start_ns is None else max(start_ns, self._start_ns)
        last_ns = self._end_ns if end_ns is None else min(end_ns, self._end_ns)
        if first_ns > last_ns:
            return iter(())
        return self._read(instrument, first_ns, last_ns)

    def _read(self, instrument: str, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        """Yield rows; what stops them, damage in the middle of a file say, is the reason from then on."""
        try:
            yield from self._source.chunks(self._marks[instrument], start_ns, end_ns)
        except DataError as error:
            self._reasons[instrument] = str(error)
            raise

    def book_at(self, instrument: str, time_ns: int, levels: int = 20) -> Book | None:
        """Return the book as it stood at a moment of the run: `bids` and `asks`, price and size, best first.

        Args:
            instrument: The id.
            time_ns: UTC ns by the clock of receipt; what was received at that moment is in it. A fill's
                `filled_ns` is by the exchange's clock: add `outcome.offset_ns`.
            levels: How many of each side.

        Returns:
            None where no book was recorded, or none was valid.
        """
        return self.books_at(instrument, [time_ns], levels)[0]

    def books_at(self, instrument: str, times_ns: Collection[int], levels: int = 20) -> list[Book | None]:
        """Return what `book_at` does for each of many moments, in their order: the recording is gone through once."""
        moments = sorted({moment for moment in times_ns if self._start_ns <= moment <= self._end_ns})
        found: dict[int, Book | None] = {}
        if moments and instrument in self._marks:
            found = dict(zip(moments, self._source.books(instrument, moments, levels), strict=True))
        return [found.get(moment) for moment in times_ns]


def traded(outcome: Outcome) -> list[str]:
    """Return the instruments that have fills, in the order of the first ones."""
    return list(dict.fromkeys(fill.instrument for fill in outcome.fills))


def streams_of(marks: Mapping[str, str]) -> dict[str, Stream]:
    """Return what instruments are valued on as streams, of the texts that a manifest has.

    Examples:
        >>> streams_of({"BTC-USDT": "candle 1m", "ETH-USDT": "trade"})["BTC-USDT"]
        Stream(kind='candle', instrument='BTC-USDT', interval='1m')
    """
    return {name: Stream(text.partition(" ")[0], name, text.partition(" ")[2]) for name, text in marks.items()}
