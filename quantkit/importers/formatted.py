"""Files of recognised formats: their rows by the format's record, whatever the order, split by instrument."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError, DataError
from quantkit.importers import funding
from quantkit.importers.binance_depth import read_binance
from quantkit.importers.book_files import READERS
from quantkit.importers.candle_files import CandleFiles
from quantkit.importers.formats.record import Format
from quantkit.importers.hftbacktest_files import read_hftbacktest
from quantkit.importers.intake import Intake
from quantkit.importers.lobster_files import read_lobster
from quantkit.importers.merging import Disorder
from quantkit.importers.namer import Namer
from quantkit.importers.nautilus_files import read_instruments
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_rows import Carried, leave_out, scale, tell_ambiguous
from quantkit.importers.record_tables import Said, record_time_format, record_zone, table_of
from quantkit.importers.report import Progress
from quantkit.importers.rows import PARSERS
from quantkit.importers.times import TimeReader
from quantkit.rows.columns import Block, Column, Stream

#: What reads one file of a format.
_READERS: Final = {**READERS, "hftbacktest": read_hftbacktest, "nautilus": read_instruments}
#: What reads all files of a format at once, since several of them make one book.
_TOGETHER: Final = {"binance": read_binance, "lobster": read_lobster}
#: Files with fewer trades may well have one side only.
_SIDED_ROWS: Final = 1_000


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
    candles = CandleFiles(intake, said, namer)
    # Files of which several make one book.
    together: dict[str, list[Recognised]] = {}
    for each in found:
        record = each.format
        intake.tally.files.append(each.file.name)
        for note in record.notes:
            intake.tally.warn(note)
        for reading in (record, *record.reads_too):
            if reading.holds == "none":
                intake.tally.ignore(f"files of {reading.title}: {reading.left_out}")
            elif reading.reader in _TOGETHER:
                together.setdefault(reading.reader, []).append(each)
            elif reading.reader:
                _READERS[reading.reader](each, intake, namer, said, progress)
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
    for reader, members in together.items():
        _TOGETHER[reader](members, intake, namer, said, progress)
    for name, rates in told.items():
        block = None if rates.is_empty else rates.block(name)
        if block is not None:
            intake.add_block(block)


def _rounded(stamps: NDArray[np.int64], round_ns: int) -> NDArray[np.int64]:
    return stamps if round_ns == 1 else (stamps + round_ns // 2) // round_ns * round_ns


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
    carried: dict[str, Carried] = {}
    sides = np.zeros(2, np.int64)
    for chunk in file.chunks(tally, progress):
        for name, part in namer.parts(record, chunk, each):
            reading = Reading(part)
            leave_out(reading, record, intake)
            if each.is_fixed_point:
                scale(reading, record)
            if record.carries:
                carried.setdefault(name, Carried()).fill(reading, record, intake)
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
    tell_ambiguous(file.file, clocks[0], intake)
    return set(disorder)
