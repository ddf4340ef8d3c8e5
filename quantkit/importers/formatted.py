"""Files of recognised formats: their rows by the format's record, whatever the order, split by instrument."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError, DataError
from quantkit.importers import funding
from quantkit.importers.bars import Bars
from quantkit.importers.book_files import READERS
from quantkit.importers.formats.record import Format, Named
from quantkit.importers.intake import Intake
from quantkit.importers.merging import Disorder
from quantkit.importers.names import FIELD, Names
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.report import Progress
from quantkit.importers.rows import PARSERS
from quantkit.importers.tables import Chunk, ColumnLayout, TableFile, Words, normalised
from quantkit.importers.times import TimeFormat, TimeReader, zone_of
from quantkit.instruments import check_id
from quantkit.rows.columns import Block, Column, Stream

#: Fields without which a table of a kind cannot be read.
_REQUIRED: Final = {
    "candle": ("time", "open", "high", "low", "close"),
    "trade": ("time", "price", "qty"),
    "ticker": ("time", "bid", "ask"),
    "mark": ("time", "price"),
    "funding": ("time", "rate"),
}
#: Files with fewer trades may well have one side only.
_SIDED_ROWS: Final = 1_000
#: How venues write lengths of candles that are not ours.
_INTERVALS: Final = {"60m": "1h", "1H": "1h", "2H": "2h", "4H": "4h", "6H": "6h", "12H": "12h", "1D": "1d", "1W": "1w"}


class Said(NamedTuple):
    """What the user says about the rows.

    Attributes:
        instrument_id: Their instrument.
        interval: Of candles.
        zone: Of times without an offset.
        time_format: How times are written.
        columns: Field to column.
        adjusts: Whether open, high and low are scaled as the adjusted close is.
    """

    instrument_id: str | None = None
    interval: str | None = None
    zone: tzinfo | None = None
    time_format: TimeFormat | None = None
    columns: Mapping[str, str] | None = None
    adjusts: bool = False


def import_formatted(found: Sequence[Recognised], intake: Intake, said: Said, progress: Progress | None) -> None:
    """Take the rows of files whose formats are known.

    Raises:
        ConfigError: The instrument, the zone or the interval has to be said, or a file breaks its format's rules.
        DataError: Two rows of one key differ, or candles are of two intervals.
    """
    namer = _Namer(intake, said.instrument_id)
    candles = _CandleFiles(intake, said, namer)
    for each in found:
        record = each.format
        intake.tally.files.append(each.file.name)
        for note in record.notes:
            intake.tally.warn(note)
        for reading in (record, *record.reads_too):
            if reading.holds == "none":
                intake.tally.ignore(f"files of {reading.title}: {reading.left_out}")
            elif reading.holds == "book":
                READERS[reading.reader](each, intake, namer.of_symbol(reading, each.symbol, each), progress)
            elif reading.holds == "candle":
                candles.read(each, reading, progress)
            else:
                _read_rows(each, reading, intake, said, namer, progress)
    candles.finish()


class _Namer:
    """Names the instruments of files.

    Args:
        intake: Learns what the names tell of the instruments.
        instrument_id: As the user says; None takes what the files say.
    """

    def __init__(self, intake: Intake, instrument_id: str | None) -> None:
        self._intake = intake
        self._given = instrument_id
        self._named: dict[tuple[str, str], str] = {}
        self._seen: dict[str, set[str]] = {}
        if instrument_id is not None:
            check_id(instrument_id)

    def of_symbol(self, record: Format, symbol: str, each: Recognised) -> str:
        """Return the id of the instrument that a file's name or first line names.

        Raises:
            ConfigError: Neither it nor the user does.
        """
        if not symbol or record.instrument is None:
            if self._given is None:
                raise ConfigError(
                    f"{each.file} ({record.title}) does not name its instrument; "
                    "give --instrument, for example BTC-USDT (instrument='...')"
                )
            return self._given
        named = self._name(record, symbol, each)
        return self._given or named

    def parts(self, record: Format, chunk: Chunk, each: Recognised) -> Iterator[tuple[str, Chunk]]:
        """Yield a chunk's rows by instrument, those that are wanted."""
        column = chunk.columns.get(FIELD)
        if column is None:
            name = self.of_symbol(record, each.symbol, each)
            if self._wants(name):
                yield name, chunk
            else:
                self._intake.tally.ignore("rows of other instruments", len(chunk))
            return
        if not isinstance(column, Words):
            texts = Reading(chunk).texts(FIELD)
            known = dict.fromkeys(texts)
            places = {text: place for place, text in enumerate(known)}
            column = Words(np.array([places[text] for text in texts], np.int32), list(known))
        ids = [self._name(record, word, each) for word in column.words]
        if self._given is not None:
            ids = self._chosen(ids, column.words, each)
        if len(ids) == 1 and self._wants(ids[0]):
            yield ids[0], chunk
            return
        is_first = True
        for name in dict.fromkeys(ids):
            wanted = np.array([each_id == name for each_id in ids], np.bool_)
            rows = np.flatnonzero(wanted[column.codes])
            if not name or not self._wants(name):
                self._intake.tally.ignore("rows of other instruments", len(rows))
                continue
            yield name, chunk.take(rows, is_first=is_first)
            is_first = False

    def _chosen(self, ids: Sequence[str], words: Sequence[str], each: Recognised) -> list[str]:
        """Return the ids of which the user wants one, empty for the others; a single one bears the user's name."""
        assert self._given is not None
        seen = self._seen.setdefault(each.file.name, set())
        seen |= set(words)
        wanted = self._given.rpartition(":")[2]
        chosen = [
            self._given if self._given == one or wanted == word else "" for one, word in zip(ids, words, strict=True)
        ]
        if any(chosen) or len(seen) == 1:
            return chosen if any(chosen) else [self._given] * len(ids)
        if any(self._given == self._named[each.format.name, word] or wanted == word for word in seen):
            return chosen
        raise ConfigError(
            f"{each.file} holds several instruments, {', '.join(sorted(seen)[:5])} among them, and none is "
            f"{self._given}; leave the instrument out, or choose with --only"
        )

    def _wants(self, name: str) -> bool:
        return self._intake.wants(name)

    def _name(self, record: Format, symbol: str, each: Recognised) -> str:
        key = (each.format.name, symbol)
        if key not in self._named:
            named = Named(symbol) if record.instrument is None else record.instrument(symbol)
            check_id(named.id)
            self._named[key] = named.id
            name = self._given or named.id
            self._intake.hints.setdefault(name, {}).update(named.fields)
            if named.in_contracts:
                self._intake.in_contracts.add(name)
        return self._named[key]


def _layout(record: Format, names: Sequence[str]) -> ColumnLayout:
    """Return where the fields of a format stand in a file, as far as it has them."""
    known = {normalised(name) for name in names}
    spellings = {
        field: (normalised(column),) for field, column in record.columns.items() if normalised(column) in known
    }
    return ColumnLayout(spellings, required=_REQUIRED[record.holds])


def _table(each: Recognised, record: Format, said: Said) -> TableFile:
    names = () if each.form is None else each.form.names
    return TableFile(each.file, _layout(record, names), said.columns, each.form)


def _zone(record: Format, said: Said) -> tzinfo | None:
    return said.zone or (zone_of(record.zone) if record.zone else None)


def _rounded(stamps: NDArray[np.int64], round_ns: int) -> NDArray[np.int64]:
    return stamps if round_ns == 1 else (stamps + round_ns // 2) // round_ns * round_ns


def _scaled(reading: Reading, record: Format) -> None:
    """Divide the integers of a fixed-point format; a price with a point is one already."""
    columns = dict(reading.chunk.columns)
    for field, scale in record.scales.items():
        column = columns.get(field)
        if isinstance(column, np.ndarray) and column.size:
            columns[field] = column / scale
    chunk = reading.chunk
    reading.chunk = Chunk(chunk.file, chunk.lines, columns, chunk.text, chunk.malformed)


def _leave_out(reading: Reading, record: Format, intake: Intake) -> None:
    """Leave out rows that are not this format's, and trades without a side."""
    for column, words in record.keep.items():
        if column in reading.chunk.columns:
            texts = reading.texts(column)
            others = np.array([text not in words for text in texts], np.bool_)
            reading.leave_out(others, intake.tally, f"rows of {record.title} that are no {record.holds}s")
    if record.unsided and "side" in reading.chunk.columns:
        unsided = np.array([text.lower() in record.unsided for text in reading.texts("side")], np.bool_)
        reading.leave_out(unsided, intake.tally, "trades whose taker's side is not known")


def _read_rows(
    each: Recognised, record: Format, intake: Intake, said: Said, namer: _Namer, progress: Progress | None
) -> None:
    """Take the rows of a table with one event a row."""
    file = _table(each, record, said)
    kind, parse, tally = record.holds, PARSERS[record.holds], intake.tally
    zone = _zone(record, said)
    clocks = [TimeReader(file.file, zone, time_format=said.time_format, mixes_units=True) for _ in range(2)]
    disorder: dict[str, Disorder] = {}
    told: dict[str, funding.ToldRates] = {}
    sides = np.zeros(2, np.int64)
    for chunk in file.chunks(tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            _leave_out(reading, record, intake)
            if record.scales:
                _scaled(reading, record)
            if kind == "funding" and funding.is_told(part):
                told.setdefault(name, funding.ToldRates(tally)).take(reading, zone, said.time_format)
                continue
            exchange_ns = _rounded(reading.times("time", clocks[0]), record.round_ns)
            has_receipts = "received" in part.columns
            time_ns = reading.times("received", clocks[1]) if has_receipts else exchange_ns
            values = parse(reading, intake)
            good = reading.kept(tally)
            if not good.any():
                continue
            is_whole = bool(good.all())
            columns: dict[str, Column] = {**values, "received_ns": time_ns, "exchange_ns": exchange_ns}
            columns["seq"] = part.lines
            if not is_whole:
                columns = {field: column[good] for field, column in columns.items()}
            if has_receipts:
                late_ns = columns["received_ns"] - columns["exchange_ns"]
                least = int(late_ns.argmin())
                intake.latency(int(columns["exchange_ns"][least]), int(columns["received_ns"][least]))
            if kind == "funding":
                columns["funding_ns"] = columns["exchange_ns"]
            if kind == "trade":
                sides += np.bincount(columns["side"], minlength=2)
            disorder.setdefault(name, Disorder()).look(columns["received_ns"])
            intake.add_read(Block(Stream(kind, name), len(columns["seq"]), columns), file.file)
    if record.one_sided and sides.sum() >= _SIDED_ROWS and not sides.all():
        raise DataError(f"{file.file}: all {int(sides.sum()):,} trades have one side; {record.one_sided}")
    for name, rates in told.items():
        block = None if rates.is_empty else rates.block(name)
        if block is not None:
            fields = ("received_ns", "exchange_ns", "funding_ns", "rate", "is_settled")
            settled: dict[str, Column] = {field: block.column(field) for field in fields}
            settled["seq"] = np.zeros(block.size, np.int64)
            intake.add_read(Block(block.stream, block.size, settled), file.file)
    for each_disorder in disorder.values():
        each_disorder.tell(file.file, tally)
    _tell_ambiguous(file.file, clocks[0], intake)


def _tell_ambiguous(file: str, times: TimeReader, intake: Intake) -> None:
    if times.ambiguous:
        intake.tally.warn(f"{file}: {times.ambiguous} local times came twice and were told apart by their order")


class _CandleFiles:
    """The candles of several files: one table for each instrument and interval, whatever files they come from.

    Args:
        intake: Takes the candles.
        said: By the user.
        namer: Knows the instruments.
    """

    def __init__(self, intake: Intake, said: Said, namer: _Namer) -> None:
        self._intake = intake
        self._said = said
        self._namer = namer
        self._bars: dict[tuple[str, str], Bars] = {}
        self._records: dict[tuple[str, str], Format] = {}
        self._coins: dict[str, list[NDArray[np.float64]]] = {}

    def read(self, each: Recognised, record: Format, progress: Progress | None) -> None:
        """Take the candles of a file."""
        tally = self._intake.tally
        file = _table(each, record, self._said)
        interval = self._said.interval or _interval(each)
        zone = _zone(record, self._said)
        times = TimeReader(file.file, zone, is_strict=True, time_format=self._said.time_format, mixes_units=True)
        for chunk in file.chunks(tally, progress):
            for name, part in self._namer.parts(record, chunk, each):
                key = (name, interval)
                if key not in self._bars:
                    option = "--interval {0} (interval='{0}')"
                    self._bars[key] = Bars(tally, option, is_sorted=True, adjusts=self._said.adjusts)
                    self._records[key] = record
                reading = Reading(part)
                _leave_out(reading, record, self._intake)
                if record.scales:
                    _scaled(reading, record)
                if "coins" in part.columns:
                    self._take_coins(name, reading)
                self._bars[key].take(reading, times)
        _tell_ambiguous(file.file, times, self._intake)

    def _take_coins(self, name: str, reading: Reading) -> None:
        """Take both volumes of candles, whose ratio is the contract's value."""
        coins, volume = reading.numbers("coins", is_optional=True), reading.numbers("volume", is_optional=True)
        traded = (volume > 0.0) & (coins > 0.0)
        if traded.any():
            self._coins.setdefault(name, []).append(coins[traded] / volume[traded])

    def finish(self) -> None:
        """Hand over all candles, and the contract values that they show."""
        for name, ratios in self._coins.items():
            self._learn_value(name, np.concatenate(ratios))
        for (name, interval), bars in self._bars.items():
            record = self._records[name, interval]
            zone = _zone(record, self._said)
            candles = bars.candles(Names(name, self._intake.tally), interval=interval or None, zone=zone)
            if candles is None:
                continue
            self._intake.add_block(candles.block)
            for sentence in candles.notes:
                self._intake.tally.warn(sentence)
            if record.skips_quiet:
                if candles.gaps:
                    self._intake.tally.warn(
                        f"{name}: {len(candles.gaps):,} stretches have no candles: {record.title} leave out "
                        "intervals without a trade, so they count as quiet and not as gaps"
                    )
                continue
            for gap in candles.gaps:
                self._intake.add(gap)

    def _learn_value(self, name: str, ratios: NDArray[np.float64]) -> None:
        """Take the value of a linear contract from volume in coins to volume in contracts, if it is one number."""
        hints = self._intake.hints.setdefault(name, {})
        if name not in self._intake.in_contracts or hints.get("is_inverse"):
            return
        value = float(f"{np.median(ratios):.6g}")
        if np.allclose(ratios, value, rtol=1e-3):
            hints["contract_value"] = f"{value:.12f}".rstrip("0").rstrip(".")


def _interval(each: Recognised) -> str:
    """Return the interval that a file's name tells, empty if it tells none.

    Raises:
        ConfigError: It is none of ours.
    """
    text = _INTERVALS.get(each.interval, each.interval)
    if text and text not in INTERVALS:
        raise ConfigError(
            f"{each.file} has candles of {text}, which are not stored; intervals are {', '.join(INTERVALS)}"
        )
    return text
