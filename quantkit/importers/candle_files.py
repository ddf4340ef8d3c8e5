"""Candles of recognised files: one table for each instrument and interval, whatever files they come from."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError
from quantkit.importers.bars import Bars
from quantkit.importers.formats.record import Format
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_rows import leave_out, scale, tell_ambiguous
from quantkit.importers.record_tables import Said, record_time_format, record_zone, table_of, tickers_of
from quantkit.importers.report import Progress
from quantkit.importers.tables import Chunk
from quantkit.importers.times import TimeReader
from quantkit.instruments import plain

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


class CandleFiles:
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
        tickers = tickers_of(each)
        file = table_of(each, record, self._said)
        interval = self._said.interval or _interval(each)
        zone = record_zone(record, self._said)
        times = TimeReader(
            file.file, zone, is_strict=True, time_format=record_time_format(record, self._said), mixes_units=True
        )
        for chunk in file.chunks(tally, progress):
            for name, part in self._parts(record, chunk, each, tickers):
                key = (name, interval)
                if key not in self._bars:
                    option = "--interval {0} (interval='{0}')"
                    self._bars[key] = Bars(
                        tally,
                        option,
                        is_sorted=True,
                        adjusts=self._said.adjusts,
                        stamps_close=record.stamps_close,
                    )
                    self._records[key] = record
                reading = Reading(part)
                leave_out(reading, record, self._intake)
                if each.is_fixed_point:
                    scale(reading, record)
                if "coins" in part.columns:
                    self._take_coins(name, reading)
                self._bars[key].take(reading, times)
        tell_ambiguous(file.file, times, self._intake)

    def _parts(
        self, record: Format, chunk: Chunk, each: Recognised, tickers: Sequence[str]
    ) -> Iterator[tuple[str, Chunk]]:
        """Yield a chunk's rows by instrument; of one with tickers side by side, each one's columns."""
        if not tickers:
            yield from self._namer.parts(record, chunk, each)
            return
        for name, ticker in self._namer.columns(record, tickers, each):
            columns = {
                field: chunk.columns[column]
                for field in record.columns
                if (column := field if field == "time" else f"{field}@{ticker}") in chunk.columns
            }
            # What is wrong with a row's form is told once.
            malformed = () if ticker != tickers[0] else chunk.malformed
            yield name, Chunk(chunk.file, chunk.lines, columns, chunk.text, malformed)

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
