"""Files of recognised formats: their rows by the format's record, whatever the order, split by instrument."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError, DataError
from quantkit.importers import funding
from quantkit.importers.bars import Bars
from quantkit.importers.book_files import READERS
from quantkit.importers.formats.record import Format
from quantkit.importers.intake import Intake
from quantkit.importers.merging import Disorder
from quantkit.importers.namer import Namer
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_tables import Said, record_time_format, record_zone, table_of
from quantkit.importers.report import Progress
from quantkit.importers.rows import PARSERS
from quantkit.importers.tables import Chunk
from quantkit.importers.times import TimeReader
from quantkit.instruments import plain
from quantkit.rows.columns import Block, Column, Stream

#: Fixed-point formats write the largest whole number where there is no price.
_NO_PRICE: Final = float(2**63 - 1)
#: Files with fewer trades may well have one side only.
_SIDED_ROWS: Final = 1_000
#: How venues write lengths of candles that are not ours.
_INTERVALS: Final = {
    **{f"{hours}H": f"{hours}h" for hours in (1, 2, 4, 6, 12)},
    "60m": "1h",
    "1D": "1d",
    "D": "1d",
    "d": "1d",
    "1W": "1w",
    "W": "1w",
    "minute": "1m",
    "hour": "1h",
    **{f"M{minutes}": f"{minutes}m" for minutes in (1, 5, 15, 30)},
    # Minutes alone.
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "240": "4h",
    "360": "6h",
    "720": "12h",
    "1440": "1d",
    "10080": "1w",
}


def import_formatted(found: Sequence[Recognised], intake: Intake, said: Said, progress: Progress | None) -> None:
    """Take the rows of files whose formats are known.

    Raises:
        ConfigError: The instrument, the zone or the interval has to be said, or a file breaks its format's rules.
        DataError: Two rows of one key differ, or candles are of two intervals.
    """
    namer = Namer(intake, said.instrument_id)
    streams: dict[str, Format] = {}
    # A rate that one file tells may be settled in the next one.
    told: dict[str, funding.ToldRates] = {}
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
                READERS[reading.reader](each, intake, namer, said, progress)
            elif reading.holds == "candle":
                candles.read(each, reading, progress)
            else:
                names = _read_rows(each, reading, intake, said, namer, told, progress)
                for name in names if reading.holds == "trade" else ():
                    first = streams.setdefault(name, reading)
                    if first.name != reading.name:
                        raise ConfigError(
                            f"{each.file} has trades of {name}, which another file has as {first.title}: every trade "
                            f"would come twice; import {first.name} or {reading.name}"
                        )
    candles.finish()
    for name, rates in told.items():
        block = None if rates.is_empty else rates.block(name)
        if block is not None:
            intake.add_block(block)


def _rounded(stamps: NDArray[np.int64], round_ns: int) -> NDArray[np.int64]:
    return stamps if round_ns == 1 else (stamps + round_ns // 2) // round_ns * round_ns


def _scaled(reading: Reading, record: Format) -> None:
    """Divide the whole numbers of a fixed-point format; the largest one stands for no price."""
    columns = dict(reading.chunk.columns)
    for field, scale in record.scales.items():
        if field in columns:
            numbers = reading.numbers(field, is_optional=True)
            columns[field] = np.where(numbers >= _NO_PRICE, np.nan, numbers / scale)
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
    for field in record.needs:
        if field in reading.chunk.columns:
            reading.leave_out(reading.missing(field), intake.tally, f"rows without {field}")


def _read_rows(
    each: Recognised,
    record: Format,
    intake: Intake,
    said: Said,
    namer: Namer,
    told: dict[str, funding.ToldRates],
    progress: Progress | None,
) -> set[str]:
    """Take the rows of a table with one event a row; return the instruments that it holds."""
    file = table_of(each, record, said)
    kind, parse, tally = record.holds, PARSERS[record.holds], intake.tally
    zone, time_format = record_zone(record, said), record_time_format(record, said)
    clocks = [TimeReader(file.file, zone, time_format=time_format, mixes_units=True) for _ in range(2)]
    disorder: dict[str, Disorder] = {}
    sides = np.zeros(2, np.int64)
    for chunk in file.chunks(tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            _leave_out(reading, record, intake)
            if each.is_fixed_point:
                _scaled(reading, record)
            if kind == "funding" and funding.is_told(part):
                told.setdefault(name, funding.ToldRates(tally)).take(reading, zone, time_format)
                continue
            exchange_ns = _rounded(reading.times("time", clocks[0]), record.round_ns)
            has_receipts = "received" in part.columns
            time_ns = reading.times("received", clocks[1]) if has_receipts else exchange_ns
            values = parse(reading, intake)
            if kind == "mark" and record.source != "mark":
                values["source"] = np.full(len(part), record.source, dtype=object)
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
    for each_disorder in disorder.values():
        each_disorder.tell(file.file, tally)
    _tell_ambiguous(file.file, clocks[0], intake)
    return set(disorder)


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

    def __init__(self, intake: Intake, said: Said, namer: Namer) -> None:
        self._intake = intake
        self._said = said
        self._namer = namer
        self._bars: dict[tuple[str, str], Bars] = {}
        self._records: dict[tuple[str, str], Format] = {}
        self._coins: dict[str, list[NDArray[np.float64]]] = {}

    def read(self, each: Recognised, record: Format, progress: Progress | None) -> None:
        """Take the candles of a file."""
        tally = self._intake.tally
        file = table_of(each, record, self._said)
        interval = self._said.interval or _interval(each)
        zone = record_zone(record, self._said)
        times = TimeReader(
            file.file, zone, is_strict=True, time_format=record_time_format(record, self._said), mixes_units=True
        )
        for chunk in file.chunks(tally, progress):
            for name, part in self._namer.parts(record, chunk, each):
                key = (name, interval)
                if key not in self._bars:
                    option = "--interval {0} (interval='{0}')"
                    self._bars[key] = Bars(tally, option, is_sorted=True, adjusts=self._said.adjusts)
                    self._records[key] = record
                reading = Reading(part)
                _leave_out(reading, record, self._intake)
                if each.is_fixed_point:
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
            zone = record_zone(record, self._said)
            candles = bars.candles(Names(name, self._intake.tally), interval=interval or None, zone=zone)
            if candles is None:
                continue
            block = candles.block
            if record.last_is_open:
                self._intake.tally.ignore("last candles, which may still have been forming")
                block = block.slice(0, block.size - 1)
            if block.size:
                self._intake.add_block(block)
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
            listed = self._intake.listed.get(name)
            if listed is not None and not np.isclose(float(listed.unit), value, rtol=1e-3):
                self._intake.tally.warn(
                    f"{name}: its candles show contracts of {hints['contract_value']}, the metadata say "
                    f"{plain(listed.unit)}"
                )


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
