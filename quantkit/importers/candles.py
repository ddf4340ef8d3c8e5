"""Candles of foreign tables: intervals, bars that are missing, repeated or impossible."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS, interval_ns
from quantkit.errors import ConfigError
from quantkit.events import Gap
from quantkit.importers.intake import Intake
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading, in_time_order
from quantkit.importers.report import Progress
from quantkit.importers.tables import Layout, TableFile
from quantkit.importers.times import TimeReader
from quantkit.storage.columns import Block, Stream

_NAMES: Final[dict[int, str]] = {length: name for name, length in INTERVALS.items()}
_PRICES: Final = ("open", "high", "low", "close")

LAYOUT: Final = Layout(
    {
        "time": (
            "open_time",
            "opentime",
            "time",
            "date",
            "datetime",
            "timestamp",
            "ts",
            "t",
            "open_time_ms",
            "start",
            "unix",
        ),
        "open": ("open", "o", "open_price"),
        "high": ("high", "h", "high_price", "max"),
        "low": ("low", "l", "low_price", "min"),
        "close": ("close", "c", "close_price", "last"),
        "volume": ("volume", "vol", "v", "base_volume", "volume_base", "amount", "qty"),
        "confirm": ("confirm",),
        "instrument": ("instrument_name", "instid", "inst_id", "symbol", "ticker", "pair", "coin"),
    },
    required=("time", *_PRICES),
    # Binance's own downloads have no header line.
    headless={
        6: ("time", "open", "high", "low", "close", "volume"),
        12: ("time", "open", "high", "low", "close", "volume", "", "", "", "", "", ""),
    },
)


class _Bars:
    """All bars of an import, in the order of the files, with where each stands."""

    def __init__(self) -> None:
        self.open_ns: list[NDArray[np.int64]] = []
        self.values: list[NDArray[np.float64]] = []  # shape (n, 5): open, high, low, close, volume
        self.readings: list[tuple[Reading, NDArray[np.int64]]] = []  # the chunk and the indices of its bars

    def add(
        self, reading: Reading, kept: NDArray[np.bool_], open_ns: NDArray[np.int64], *columns: NDArray[np.float64]
    ) -> None:
        """Take the good rows of a chunk."""
        self.open_ns.append(open_ns[kept])
        self.values.append(np.column_stack(columns)[kept])
        self.readings.append((reading, np.flatnonzero(kept)))

    def reverse(self, first: int) -> bool:
        """Turn around the chunks from `first` on if all their bars run newest first; return whether they did."""
        chunks = slice(first, None)
        open_ns = np.concatenate([np.zeros(0, np.int64), *self.open_ns[chunks]])
        steps = np.diff(open_ns)
        if not (steps < 0).any() or (steps > 0).any():
            return False
        self.open_ns[chunks] = [each[::-1] for each in reversed(self.open_ns[chunks])]
        self.values[chunks] = [each[::-1] for each in reversed(self.values[chunks])]
        self.readings[chunks] = [(reading, places[::-1]) for reading, places in reversed(self.readings[chunks])]
        return True


def import_candles(
    paths: Sequence[Path],
    intake: Intake,
    *,
    instrument_id: str | None,
    interval: str | None,
    zone: tzinfo | None,
    columns: Mapping[str, str] | None,
    progress: Progress | None,
) -> None:
    """Take the candles of tables; a candle's time is the moment it opens.

    Raises:
        ConfigError: A column, the time zone, the instrument or the interval has to be said.
    """
    names = Names(instrument_id, intake.tally)
    bars = _Bars()
    for file in in_time_order([TableFile(path, LAYOUT, columns) for path in paths], zone):
        intake.tally.files.append(file.file)
        _read(file, bars, names, intake, zone, progress)
    if not bars.open_ns:
        return
    open_ns, values = np.concatenate(bars.open_ns), np.concatenate(bars.values)
    if not len(open_ns):
        return
    good = _in_order(open_ns, bars, intake)
    open_ns, values = open_ns[good], values[good]
    length_ns, interval = _interval(open_ns, interval)
    apart = _apart(open_ns, length_ns)
    _skip(bars, np.flatnonzero(good)[~apart], f"the bar opens before the one before it closes ({interval})", intake)
    _store(names.instrument, interval, length_ns, open_ns[apart], values[apart], intake)


def _read(
    file: TableFile, bars: _Bars, names: Names, intake: Intake, zone: tzinfo | None, progress: Progress | None
) -> None:
    times = TimeReader(file.file, zone, is_strict=True)
    first = len(bars.readings)
    for chunk in file.chunks(intake.tally, progress):
        reading = Reading(chunk)
        names.select(reading)
        open_ns = reading.times("time", times)
        prices = [reading.numbers(field) for field in _PRICES]
        if "volume" in chunk.columns:
            volume = reading.numbers("volume")
        else:
            intake.tally.warn(f"{file.file} has no volume column; volume is 0")
            volume = np.zeros(len(chunk))
        if "confirm" in chunk.columns:
            still_open = np.array([text in ("0", "false", "False") for text in reading.texts("confirm")], np.bool_)
            reading.leave_out(still_open, intake.tally, "bars that are still open")
        opens, highs, lows, closes = prices
        for field, price in zip(_PRICES, prices, strict=True):
            reading.refuse_where(price <= 0.0, f"{field} is not above zero")
        reading.refuse_where(volume < 0.0, "volume is below zero")
        body = np.column_stack((opens, closes))
        reading.refuse_where((highs < body.max(axis=1)) | (highs < lows), "high is not the highest price")
        reading.refuse_where(lows > body.min(axis=1), "low is not the lowest price")
        bars.add(reading, reading.kept(intake.tally), open_ns, *prices, volume)
    if bars.reverse(first):
        if times.ambiguous:
            raise ConfigError(
                f"{file.file}: rows are newest first, and {times.ambiguous} local times came twice, which only rows "
                "in order tell apart; sort the rows by time"
            )
        intake.tally.warn(f"{file.file}: rows were newest first and have been reversed")
    if times.ambiguous:
        intake.tally.warn(f"{file.file}: {times.ambiguous} local times came twice and were told apart by their order")
    if not file.has_header:
        intake.tally.warn(
            f"{file.file} has no header line; its columns were taken as time, open, high, low, close, volume"
        )


def _in_order(open_ns: NDArray[np.int64], bars: _Bars, intake: Intake) -> NDArray[np.bool_]:
    """Return which bars open later than every bar before them, and count the others."""
    newest = np.maximum.accumulate(np.concatenate(([0], open_ns)))[:-1]
    good = open_ns > newest
    repeated, backward = open_ns == newest, open_ns < newest
    _skip(bars, np.flatnonzero(repeated), "the bar opens when the one before it does", intake)
    _skip(bars, np.flatnonzero(backward), "the bar opens before the one before it", intake)
    return good


def _apart(open_ns: NDArray[np.int64], length_ns: int) -> NDArray[np.bool_]:
    """Return which bars open no earlier than the one kept before them closes."""
    apart = np.ones(len(open_ns), np.bool_)
    if (np.diff(open_ns) < length_ns).any():
        closed_ns = 0
        for place, opened_ns in enumerate(open_ns.tolist()):
            apart[place] = opened_ns >= closed_ns
            if apart[place]:
                closed_ns = opened_ns + length_ns
    return apart


def _skip(bars: _Bars, wrong: NDArray[np.int64], why: str, intake: Intake) -> None:
    edges = np.cumsum([0, *(len(indices) for _, indices in bars.readings)])
    for place in wrong.tolist():
        part = int(np.searchsorted(edges, place, side="right")) - 1
        reading, indices = bars.readings[part]
        index = int(indices[place - int(edges[part])])
        chunk = reading.chunk
        intake.tally.skip(chunk.file, int(chunk.lines[index]), chunk.text(index), why)


def _interval(open_ns: NDArray[np.int64], interval: str | None) -> tuple[int, str]:
    """Return the interval's length and name: the one given, checked, else the most common step.

    Raises:
        ConfigError: There is no step to infer it from, it is none of ours, or it is not the one given.
    """
    if len(open_ns) < 2:
        if interval is None:
            raise ConfigError(
                "one candle does not show its interval; say it, for example --interval 1m (interval='1m')"
            )
        return interval_ns(interval), interval
    steps, counts = np.unique(np.diff(open_ns), return_counts=True)
    common_ns = int(steps[counts.argmax()])
    if interval is not None:
        # Where bars are missing the most common step may be longer, but not every one.
        if interval_ns(interval) not in steps:
            raise ConfigError(
                f"the candles' most common step is {common_ns / 1e9:g} s, and none is {interval}; "
                f"give --interval {_NAMES.get(common_ns, '...')} or other files"
            )
        return interval_ns(interval), interval
    if common_ns not in _NAMES:
        raise ConfigError(
            f"the candles' most common step is {common_ns / 1e9:g} s, which is no interval; "
            f"those are {', '.join(INTERVALS)}"
        )
    return common_ns, _NAMES[common_ns]


def _store(
    name: str,
    interval: str,
    length_ns: int,
    open_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    intake: Intake,
) -> None:
    close_ns = open_ns + length_ns
    columns = {
        "received_ns": close_ns,
        "exchange_ns": close_ns,
        "open_ns": open_ns,
        "close_ns": close_ns,
        **{field: np.ascontiguousarray(values[:, place]) for place, field in enumerate((*_PRICES, "volume"))},
    }
    intake.add_block(Block(Stream("candle", name, interval), len(open_ns), columns))
    for place in np.flatnonzero(np.diff(open_ns) >= 2 * length_ns).tolist():
        # Only at the next bar's open is it known how much is missing.
        start_ns, end_ns = int(close_ns[place]), int(open_ns[place + 1])
        intake.add(Gap(name, end_ns, end_ns, f"candle {interval}", start_ns, end_ns, "missing"))
