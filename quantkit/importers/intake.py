"""The end of every import: streams, one clock shift, metadata, and the commit to the data folder."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MS, NS_PER_S
from quantkit.errors import ConfigError, DataError, EmptyImportError, ParseError
from quantkit.events import EVENT_KINDS, KINDS, Candle, Gap, MarketEvent
from quantkit.importers.merging import Merge, Origin
from quantkit.importers.metadata import InstrumentOptions, Steps, resolve
from quantkit.importers.report import ImportReport, Tally
from quantkit.importers.spool import ImportSpool, SpoolKey
from quantkit.instruments import Instrument, decimal_of, plain
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

_BLOCK_ROWS: Final = 8192
#: The smallest latency after a shift of the receipt clock.
_LEAST_LATENCY_NS: Final = NS_PER_MS
#: Where a capture tells one stream over several channels: the finest is kept.
_FINEST_FIRST: Final[dict[str, tuple[str, ...]]] = {
    "book": ("books-l2-tbt", "books", "books50-l2-tbt", "books5"),
    "ticker": ("bbo-tbt", "tickers"),
    "trade": ("trades-all", "trades"),
    "mark": ("mark-price", "index-tickers"),
}


class Intake:
    """Collects the rows of one import; nothing reaches the data directory before `commit`.

    Args:
        tally: The import's counts.
        options: The user's options for the instrument.
        only: Ids to keep; None keeps all.
    """

    def __init__(self, tally: Tally, options: InstrumentOptions, *, only: Collection[str] | None = None) -> None:
        self.tally = tally
        self.options = options
        self.only = None if only is None else frozenset(only)
        #: Metadata found in the files, by id.
        self.listed: dict[str, Instrument] = {}
        #: Fields that the source's format implies for an instrument, for what has to be inferred.
        self.hints: dict[str, dict[str, Any]] = {}
        #: The newest stamp of each instrument's book, since files of books go on with each other.
        self.book_ends_ns: dict[str, int] = {}
        #: Instruments whose sizes count contracts of a value that the files do not tell.
        self.in_contracts: set[str] = set()
        self._spool = ImportSpool()
        self._pending: dict[SpoolKey, list[MarketEvent]] = {}
        self._rows: dict[SpoolKey, int] = {}
        self._steps: dict[str, Steps] = {}
        self._least_latency_ns: int | None = None

    def __enter__(self) -> "Intake":
        self._spool.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._spool.__exit__(*failure)

    def wants(self, instrument_id: str) -> bool:
        """Return whether an instrument is among those to keep."""
        return self.only is None or instrument_id in self.only

    def add(self, event: MarketEvent, channel: str = "") -> None:
        """Take one event; the events of one stream come in the order of their `received_ns`.

        Args:
            event: The event.
            channel: The source's channel, where a stream may come over several.
        """
        interval = event.interval if isinstance(event, Candle) else ""
        key = SpoolKey(Stream(KINDS[type(event)], event.instrument, interval), channel)
        pending = self._pending.setdefault(key, [])
        pending.append(event)
        if len(pending) == _BLOCK_ROWS:
            self._flush(key)

    def add_block(self, block: Block) -> None:
        """Take a block of rows that follow those of their stream so far; `seq` is assigned here."""
        self._put(SpoolKey(block.stream), block)

    def add_read(self, block: Block, file: str) -> None:
        """Take a block of rows of any time, whose `seq` is the line of each; they are put in order in the end."""
        time_ns = block.column("received_ns")
        self._put(SpoolKey(block.stream), block, Origin(file, int(time_ns.min()), int(time_ns.max())))

    def latency(self, exchange_ns: int, received_ns: int) -> None:
        """Record the latency of a row with stamps of both clocks; it may be negative.

        Raises:
            ParseError: The exchange's stamp is more than a day ahead. One such row must not shift all the others.
        """
        latency_ns = received_ns - exchange_ns
        if latency_ns < -NS_PER_DAY:
            raise ParseError(f"the exchange's stamp is {plain(-latency_ns / NS_PER_S)} s ahead of the receipt")
        if self._least_latency_ns is None or latency_ns < self._least_latency_ns:
            self._least_latency_ns = latency_ns

    @property
    def received_shift_ns(self) -> int:
        """What to add to every receipt stamp so that no row was received before it was sent (ENGINE section 2)."""
        if self._least_latency_ns is None or self._least_latency_ns >= 0:
            return 0
        return _LEAST_LATENCY_NS - self._least_latency_ns

    def commit(self, to: str | Path, *, format_name: str, replace: bool) -> ImportReport:
        """Store everything taken and report.

        Raises:
            EmptyImportError: There is nothing to store.
            DataError: It overlaps what is stored.
        """
        for key in list(self._pending):
            self._flush(key)
        keys = self._chosen()
        if not keys:
            raise EmptyImportError(self._nothing(format_name))
        shift_ns = self.received_shift_ns
        instruments = self._instruments(to, sorted({key.stream.instrument for key in keys}))
        written: dict[str, int] = {}
        with Writer(to, source=f"import {format_name}", replace=replace) as writer:
            for instrument, source in instruments.values():
                if instrument is not None and source != "stored":
                    writer.write_instrument(instrument)
            if shift_ns:
                writer.note("received_shift_ns", shift_ns)
            for stream in sorted({key.stream for key in keys}, key=lambda stream: stream.sort_key):
                written[str(stream)] = self._write(writer, [key for key in keys if key.stream == stream], shift_ns)
        return ImportReport(
            format=format_name,
            files=self.tally.files,
            rows_read=self.tally.rows_read,
            rows_written=written,
            skipped=self.tally.skipped,
            skipped_rows=self.tally.skipped_rows,
            ignored=dict(sorted(self.tally.ignored.items())),
            checked=dict(sorted(self.tally.checked.items())),
            instruments={name: source for name, (_, source) in instruments.items()},
            received_shift_ns=shift_ns,
            warnings=self.tally.warnings,
            recognised=self.tally.recognised,
        )

    def _flush(self, key: SpoolKey) -> None:
        events = self._pending.pop(key, [])
        if events:
            self._put(key, Block.from_events(events))

    def _put(self, key: SpoolKey, block: Block, origin: Origin | None = None) -> None:
        first_seq = self._rows.get(key, 0)
        self._rows[key] = first_seq + block.size
        columns = {name: block.column(name) for name in STAMPS + KIND_COLUMNS[key.stream.kind] if name != "seq"}
        is_read = origin is not None
        columns["seq"] = block.column("seq") if is_read else np.arange(first_seq, self._rows[key], dtype=np.int64)
        self._spool.put(key, Block(key.stream, block.size, columns), origin)
        steps = self._steps.setdefault(key.stream.instrument, Steps())
        for field in EVENT_KINDS[key.stream.kind].fields:
            if field.step:
                (steps.price if field.step == "price" else steps.qty).add(block.column(field.name))

    def _chosen(self) -> list[SpoolKey]:
        """Return the keys to store: one channel for each stream, and the gaps of the channels chosen."""
        best: dict[Stream, SpoolKey] = {}
        for key in self._spool.keys:
            if key.stream.kind == "gap":
                continue
            other = best.get(key.stream)
            if other is None or _fineness(key) < _fineness(other):
                best[key.stream] = key
        chosen: list[SpoolKey] = []
        for key in self._spool.keys:
            if key.stream.kind == "gap":
                beaten = any(
                    keeper.stream.instrument == key.stream.instrument
                    and keeper.channel != key.channel
                    and key.channel in _FINEST_FIRST.get(keeper.stream.kind, ())
                    for keeper in best.values()
                )
                if not beaten:
                    chosen.append(key)
            elif best[key.stream] == key:
                chosen.append(key)
            else:
                keeper = best[key.stream].channel
                self.tally.ignore(f"{key.channel} rows beside the finer {keeper}", self._spool.rows(key))
        return chosen

    def _instruments(self, to: str | Path, names: list[str]) -> dict[str, tuple[Instrument | None, str]]:
        """Return each instrument's metadata and its source; None where the data cannot show it and nobody said it."""
        # What was inferred before may be refined by these data; the writer compares.
        stored = {name: each for name, each in _stored_instruments(to).items() if each.source != "inferred"}
        found: dict[str, tuple[Instrument | None, str]] = {}
        if self.options.fields() and len(names) > 1:
            raise ConfigError(
                f"the files hold several instruments ({', '.join(names)}), and the fields of one are given; "
                "give --instrument-file, or import one at a time with --only"
            )
        for name in names:
            steps = self._steps[name]
            if steps.price.is_empty and not (self.options.fields() or self._is_described(name) or name in stored):
                found[name] = (None, "missing")
                self.tally.warn(f"{name}: no metadata is stored, since these rows do not show its steps")
                continue
            instrument, source = resolve(
                name, steps, self.options, listed=self.listed, stored=stored, hints=self.hints.get(name, {})
            )
            is_known = self._is_described(name) or name in stored
            if name in self.in_contracts and not is_known and not self._is_valued(name):
                raise ConfigError(
                    f"{name}: its sizes count contracts; how many coins (of an inverse one: dollars) is one? Say it "
                    "with --contract-value (contract_value=), or give --instrument-file"
                )
            found[name] = (instrument, source)
            self._compare(instrument, steps)
        return found

    def _is_valued(self, name: str) -> bool:
        return "contract_value" in self.options.fields() or "contract_value" in self.hints.get(name, {})

    def _is_described(self, name: str) -> bool:
        return name in self.listed or (self.options.instrument is not None and self.options.instrument.id == name)

    def _compare(self, instrument: Instrument, steps: Steps) -> None:
        """Warn where the data do not lie on the instrument's steps.

        Raises:
            ConfigError: A price is smaller than the step, which would make it zero.
        """
        if not steps.price.is_empty and decimal_of(steps.price.least) < instrument.price_step:
            raise ConfigError(
                f"{instrument.id}: the price step {instrument.price_step:f} is larger than the price "
                f"{decimal_of(steps.price.least):f}; the data lie on {steps.price.step():f} (--price-step)"
            )
        for what, step, finder in (
            ("prices", instrument.price_step, steps.price),
            ("sizes", instrument.qty_step, steps.qty),
        ):
            if not finder.divides(step):
                self.tally.warn(
                    f"{instrument.id}: some {what} are not on the step {step:f}; the data lie on {finder.step():f}"
                )

    def _write(self, writer: Writer, keys: list[SpoolKey], shift_ns: int) -> int:
        if len(keys) > 1:  # gaps of several channels
            blocks = [block for key in keys for block in self._spool.blocks(key)]
            gaps = [event for block in blocks for event in block.events() if isinstance(event, Gap)]
            gaps.sort(key=lambda gap: gap.received_ns)
            writer.write(_shifted(Block.from_events(gaps), shift_ns))
            return len(gaps)
        parts = self._spool.parts(keys[0])
        in_order: Iterator[Block] = self._spool.blocks(keys[0])
        if parts:
            in_order = Merge(keys[0].stream, self.tally).blocks(parts)
        rows = 0
        for block in in_order:
            writer.write(_shifted(block, shift_ns))
            rows += block.size
        return rows

    def _nothing(self, format_name: str) -> str:
        if not self.tally.rows_read and not self.tally.skipped:
            left_out = f" ({', '.join(self.tally.ignored)})" if self.tally.ignored else ""
            files = self.tally.files
            hold = "holds" if len(files) == 1 else "hold"
            return f"nothing to store: {', '.join(files) or 'the files'} {hold} no rows{left_out}"
        rows = f"{self.tally.rows_read} rows read, {self.tally.skipped} skipped"
        first = f"; the first: {self.tally.skipped_rows[0]}" if self.tally.skipped_rows else ""
        ignored = f"; ignored: {self.tally.ignored}" if self.tally.ignored else ""
        return f"no {format_name} row to store in {', '.join(self.tally.files)} ({rows}{first}{ignored})"


def _fineness(key: SpoolKey) -> int:
    order = _FINEST_FIRST.get(key.stream.kind, ())
    return order.index(key.channel) if key.channel in order else len(order)


def _shifted(block: Block, shift_ns: int) -> Block:
    if not shift_ns:
        return block
    columns = {name: block.column(name) for name in STAMPS + KIND_COLUMNS[block.stream.kind]}
    columns["received_ns"] = columns["received_ns"] + shift_ns
    return Block(block.stream, block.size, columns)


def _stored_instruments(to: str | Path) -> Mapping[str, Instrument]:
    """Return the metadata that the data directory holds; empty where there is no directory yet."""
    try:
        return Catalog(to).instruments()
    except DataError:
        # An unreadable directory is the writer's to report; a missing one is about to be made.
        return {}
