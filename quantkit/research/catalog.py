"""A data folder opened for research: rows as frames, books at any moment, candles built from trades."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from quantkit.clock import NEVER_NS, bar_open_ns, duration_ns, interval_ns, iso_of, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import EVENT_TYPES
from quantkit.feeds.resample import coarser_blocks, sources_of
from quantkit.instruments import Instrument
from quantkit.orderbook import Book
from quantkit.research.bars import COLUMNS as BAR_COLUMNS
from quantkit.research.bars import LATE_NS, size_bars, time_bars, touched
from quantkit.research.books import PACKED_BYTES, PackedSegments, StoredBooks
from quantkit.research.query import EVER_NS, BuiltQuery, Query, StoredQuery
from quantkit.research.tops import level_columns, tops
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog as StoredCatalog
from quantkit.storage.codec import normalised, table_of
from quantkit.storage.dataset import within
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import Root
from quantkit.storage.schema import TABLES, arrow_schema, arrow_type

__all__ = ["Catalog"]

#: A moment as users write it.
When: TypeAlias = str | int | date | None
_BBO: Final = ("bid", "bid_qty", "ask", "ask_qty")


class Catalog(StoredCatalog):
    """A data folder as it stood when it was opened.

    `trades`, `tickers`, `candles` and the other kinds return a query: `.pandas()`, `.arrow()`, `.polars()` and
    `.scan()` read it, and no more than its span and its columns. A span is `start <= stamp < end`, by what we received
    (candles: by their open); None is open. Text without an offset is UTC.

    Args:
        root: Folder, or a URI that `pyarrow.fs` understands, such as `s3://bucket/data`.

    Raises:
        DataError: The folder or its manifest is missing or cannot be read.
    """

    def __init__(self, root: str | Path | Root) -> None:
        super().__init__(root)
        self._packed = PackedSegments(PACKED_BYTES)
        self._books: dict[str, StoredBooks] = {}

    # Rows as they are stored ----------------------------------------------------------------------------------

    def rows(
        self,
        kind: str,
        instrument: str,
        start: When = None,
        end: When = None,
        *,
        interval: str = "",
        columns: Sequence[str] | None = None,
    ) -> Query:
        """Return the rows of any kind, for example `rows("timing", ...)`.

        Args:
            kind: As `quantkit data ls` names it.
            instrument: Its id.
            start, end: The span.
            interval: Of candles.
            columns: The wanted ones; the stamp is always among them. Default all.

        Raises:
            ConfigError: The kind or a column is not known, or the span ends before it begins.
            DataError: There are no such rows; the message names what there is.
        """
        if kind not in EVENT_TYPES:
            raise ConfigError(f"rows of kind {kind!r} are not stored; kinds are {', '.join(EVENT_TYPES)}")
        stream = Stream(kind, instrument, interval)
        if kind != "gap" or instrument not in {held.instrument for held in self.coverage()}:
            sources_of(stream, self.coverage())
        return StoredQuery(self, stream, *_span(start, end), columns)

    def trades(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return public trades: `price`, `qty`, `side` of the taker, `trade_id`."""
        return self.rows("trade", instrument, start, end, columns=columns)

    def tickers(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return tickers: `bid`, `bid_qty`, `ask`, `ask_qty`, `last`, `last_qty`."""
        return self.rows("ticker", instrument, start, end, columns=columns)

    def books(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return the book's snapshots and changes as they came; `book_at`, `bbo` and `depth` put them together."""
        return self.rows("book", instrument, start, end, columns=columns)

    def marks(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return mark prices: `price`, `source`."""
        return self.rows("mark", instrument, start, end, columns=columns)

    def funding(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return funding rates: `rate`, `funding_ns`, `is_settled`."""
        return self.rows("funding", instrument, start, end, columns=columns)

    def open_interest(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return open interest: `qty`, `coins`, `usd`."""
        return self.rows("open_interest", instrument, start, end, columns=columns)

    def gaps(
        self, instrument: str, start: When = None, end: When = None, *, columns: Sequence[str] | None = None
    ) -> Query:
        """Return losses: `channel`, `from_ns`, `to_ns`, `cause`; none where nothing was lost."""
        return self.rows("gap", instrument, start, end, columns=columns)

    # Candles --------------------------------------------------------------------------------------------------

    def candles(
        self,
        instrument: str,
        start: When = None,
        end: When = None,
        *,
        interval: str | None = None,
        volume: float | Decimal | None = None,
        ticks: int | None = None,
        dollars: float | Decimal | None = None,
        from_trades: bool = False,
        columns: Sequence[str] | None = None,
    ) -> Query:
        """Return candles, stored or built; indexed by `open_ns`, and known only at `received_ns`.

        `interval` gives the stored candles; where there are none, candles built from stored shorter ones as in a
        backtest, and without those from trades. `volume`, `ticks` and `dollars` build candles of equal size from
        trades: each ends with the trade that makes its sum reach the size.

        Conventions of candles built from trades:
            - A candle of time holds the trades with `open_ns <= exchange_ns < close_ns`, on UTC multiples of the
              interval, weeks from Monday, as the longer candles of a backtest. Without trades there is none.
            - One that begins before the stored trades do, or ends after them, is left out: it would not be whole.
            - Candles of size take the trades received in the span, in that order, from the first one on. A trade is
              never split, its excess is not carried over, and the unfinished last candle is left out. `open_ns` and
              `close_ns` are the exchange's stamps of the first and last trade.
            - Volumes are exact sums of whole size steps. Dollars are the quote currency: `qty x contract value x
              price`, of inverse contracts `qty x contract value`.
            - `has_gap` marks a candle in whose time trades are known to be lost.

        Args:
            instrument: Its id.
            start, end: The span; a candle of time belongs to it by its open.
            interval: Such as `1m`.
            volume: Coins on spot, contracts on swaps and futures.
            ticks: Trades.
            dollars: In the quote currency.
            from_trades: Build candles of time from trades even where candles are stored.
            columns: The wanted ones; default all.

        Raises:
            ConfigError: Not one of `interval`, `volume`, `ticks` and `dollars` is given, or it is out of range.
            DataError: There is nothing to read or build them from.
        """
        given = {"interval": interval, "volume": volume, "ticks": ticks, "dollars": dollars}
        wanted = [name for name, value in given.items() if value is not None]
        if len(wanted) != 1:
            raise ConfigError(f"candles need one of interval, volume, ticks and dollars; {len(wanted)} are given")
        stream = Stream("candle", instrument, interval or "")
        start_ns, end_ns = _span(start, end)
        if interval is not None:
            interval_ns(interval)
            if not from_trades and any(
                held.kind == "candle" for held in self.coverage() if held.instrument == instrument
            ):
                return self._candles(stream, start_ns, end_ns, columns)
        sources_of(Stream("trade", instrument), self.coverage())
        unit, size = wanted[0], given[wanted[0]]

        def build() -> Any:
            if interval is not None:
                return self._time_bars(stream, start_ns, end_ns)
            return self._size_bars(stream, start_ns, end_ns, unit, size)

        return BuiltQuery(stream, start_ns, end_ns, time="open_ns", columns=BAR_COLUMNS, build=build, chosen=columns)

    def _candles(self, stream: Stream, start_ns: int, end_ns: int, columns: Sequence[str] | None) -> Query:
        """Return stored candles, or longer ones built from them."""
        names = [field.name for field in TABLES["candle"]]
        source = sources_of(stream, self.coverage())[0]
        if source == stream:
            return StoredQuery(self, stream, start_ns, end_ns, columns)
        length = interval_ns(stream.interval)

        def build() -> Any:
            import pyarrow as pa

            held = self.coverage()[source]
            first_ns = bar_open_ns(max(start_ns, held.start_ns), stream.interval)
            stop_ns = bar_open_ns(min(end_ns, held.end_ns) - 1, stream.interval) + length
            bars = StoredQuery(self, source, first_ns, stop_ns).blocks()
            built = coarser_blocks(bars, stream, start_ns=EVER_NS, end_ns=NEVER_NS, data_start_ns=held.start_ns)
            schema = arrow_schema(stream).remove_metadata()
            table = pa.Table.from_batches([], schema)
            table = pa.concat_tables([table, *(table_of(normalised(block)).cast(schema) for block in built)])
            return table.filter(within("open_ns", start_ns, end_ns))

        return BuiltQuery(stream, start_ns, end_ns, time="open_ns", columns=names, build=build, chosen=columns)

    def _time_bars(self, stream: Stream, start_ns: int, end_ns: int) -> Any:
        held = self.coverage()[Stream("trade", stream.instrument)]
        first_ns = max(start_ns, held.start_ns)
        # A candle belongs to the span by its open; what is not whole goes below.
        stop_ns = min(end_ns, held.end_ns)
        length = interval_ns(stream.interval)
        blocks = self._trades(stream.instrument, first_ns - LATE_NS, stop_ns + length + LATE_NS)
        parts = []
        for bars in time_bars(blocks, self._instrument(stream.instrument), stream.interval):
            opened, closed = bars["open_ns"], bars["close_ns"]
            is_whole = (opened >= first_ns) & (opened < end_ns) & (closed <= held.end_ns + 1)
            parts.append({name: column[is_whole] for name, column in bars.items()})
        return self._bar_table(stream.instrument, parts)

    def _size_bars(self, stream: Stream, start_ns: int, end_ns: int, unit: str, size: Any) -> Any:
        blocks = self._trades(stream.instrument, start_ns, end_ns)
        parts = list(size_bars(blocks, self._instrument(stream.instrument), unit=unit, size=size))
        return self._bar_table(stream.instrument, parts)

    def _trades(self, instrument: str, start_ns: int, end_ns: int) -> Iterator[Block]:
        return read_blocks(self, Stream("trade", instrument), start_ns=start_ns, end_ns=min(end_ns, NEVER_NS) - 1)

    def _bar_table(self, instrument: str, parts: Sequence[dict[str, Any]]) -> Any:
        import pyarrow as pa

        floats = ("open", "high", "low", "close", "volume")
        columns = {
            name: np.concatenate([part[name] for part in parts] or [np.empty(0, np.float64 if name in floats else int)])
            for name in BAR_COLUMNS
            if name != "has_gap"
        }
        gaps = self.rows("gap", instrument, columns=("channel", "from_ns", "to_ns")).arrow()
        spans = [
            (gaps.column("from_ns")[row].value, gaps.column("to_ns")[row].value)
            for row, channel in enumerate(gaps.column("channel").to_pylist())
            if channel.startswith("trade")
        ]
        columns["has_gap"] = touched(columns["open_ns"], columns["close_ns"], np.array(spans, np.int64).reshape(-1, 2))
        arrays = {
            name: pa.array(values).view(arrow_type("stamp")) if name.endswith("_ns") else pa.array(values)
            for name, values in columns.items()
        }
        return pa.table({name: arrays[name] for name in BAR_COLUMNS})

    # Books ----------------------------------------------------------------------------------------------------

    def book_at(self, instrument: str, time: str | int | date) -> Book | None:
        """Return the book as of the rows received by a moment; None where it is not known.

        It is not known before the first snapshot, from a gap to the next snapshot, over a day without a file, and after
        the last row that was recorded: a stale book is never returned. The first question about a file reads it once
        and keeps checkpoints; later ones take a few milliseconds. All of it takes some 400 MB at most.

        Args:
            instrument: Its id.
            time: The moment.

        Raises:
            DataError: There is no book of the instrument, no metadata, or the recording is damaged or crossed.
        """
        return self._books_of(instrument).at(time_ns_of(time))

    def bbo(
        self,
        instrument: str,
        start: When = None,
        end: When = None,
        *,
        every: str | int | timedelta | None = None,
        columns: Sequence[str] | None = None,
    ) -> Query:
        """Return the best bid and offer of the book: `bid`, `bid_qty`, `ask`, `ask_qty`.

        Missing where a side is empty and while the book is not known, see `book_at`.

        Args:
            instrument: Its id.
            start, end: The span; default what is held.
            every: From one row to the next, such as `1s`, each as of its moment. None gives a row at the start and at
                every change.
            columns: The wanted ones; default all.

        Raises:
            ConfigError: `every` is no duration.
            DataError: As `book_at`.
        """
        return self._tops(instrument, start, end, 1, every, _BBO, columns)

    def depth(
        self,
        instrument: str,
        start: When = None,
        end: When = None,
        *,
        levels: int = 10,
        every: str | int | timedelta | None = None,
        columns: Sequence[str] | None = None,
    ) -> Query:
        """Return the best levels of the book: `bid_1`, `bid_qty_1`, `ask_1`, `ask_qty_1`, `bid_2` and so on.

        Args:
            instrument, start, end, every, columns: As in `bbo`.
            levels: How many of each side.

        Raises:
            ConfigError: `levels` is below 1, or `every` is no duration.
            DataError: As `book_at`.
        """
        return self._tops(instrument, start, end, levels, every, level_columns(levels), columns)

    def _tops(
        self,
        instrument: str,
        start: When,
        end: When,
        levels: int,
        every: str | int | timedelta | None,
        names: tuple[str, ...],
        columns: Sequence[str] | None,
    ) -> Query:
        books = self._books_of(instrument)
        if levels < 1:
            raise ConfigError(f"levels is {levels}; give 1 or more")
        stream = Stream("book", instrument)
        held = self.coverage()[stream]
        start_ns, end_ns = _span(start, end)
        start_ns = held.start_ns if start is None else start_ns
        end_ns = held.end_ns + 1 if end is None else end_ns
        every_ns = None if every is None else duration_ns(every)

        def build() -> Any:
            blocks = read_blocks(self, stream, start_ns=start_ns + 1, end_ns=end_ns - 1)
            return tops(books, blocks, start_ns, end_ns, levels=levels, every_ns=every_ns).table(names)

        return BuiltQuery(
            stream,
            start_ns,
            end_ns,
            time="received_ns",
            columns=("received_ns", *names),
            build=build,
            chosen=columns,
        )

    def _books_of(self, instrument: str) -> StoredBooks:
        if instrument not in self._books:
            stream = Stream("book", instrument)
            sources_of(stream, self.coverage())
            self._books[instrument] = StoredBooks(self, stream, self._instrument(instrument), self._packed)
        return self._books[instrument]

    def _instrument(self, instrument: str) -> Instrument:
        versions = self.versions().get(instrument)
        if not versions:
            raise DataError(f"{instrument}: data but no metadata; import it again with its steps")
        return versions[-1]


def _span(start: When, end: When) -> tuple[int, int]:
    """Return a span in nanoseconds.

    Raises:
        ConfigError: It ends before it begins, or a moment is not understood.
    """
    start_ns = EVER_NS if start is None else time_ns_of(start)
    end_ns = NEVER_NS if end is None else time_ns_of(end)
    if end_ns < start_ns:
        raise ConfigError(f"the span ends at {iso_of(end_ns)}, before its start at {iso_of(start_ns)}")
    return start_ns, end_ns
