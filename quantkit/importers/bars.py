"""Bars of a file or a frame: interval, rows off the step, closing times, holes and sessions."""

from collections.abc import Callable
from datetime import tzinfo
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, interval_ns, iso_of, span_text
from quantkit.errors import ConfigError, DataError
from quantkit.events import Gap
from quantkit.importers.closes import BarStamps, Grid, changing, grid_of
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading
from quantkit.importers.report import Tally
from quantkit.importers.tables import Chunk, ColumnLayout
from quantkit.importers.times import DAY_NAMES, TimeReader
from quantkit.instruments import plain
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.rows.extras import ExtraColumns
from quantkit.storage.sessions import Sessions

PRICES: Final = ("open", "high", "low", "close")
#: Why a bar is refused whose time is not after that of the bar before it.
REPEATED: Final = "the bar opens when the one before it does"
BACKWARD: Final = "the bar opens before the one before it"

LAYOUT: Final = ColumnLayout(
    {
        "time": (
            "open_time",
            "opentime",
            "time",
            "datetime",
            "timestamp",
            "ts",
            "t",
            "open_time_ms",
            "start",
            "unix",
            "date",
        ),
        "day": DAY_NAMES,
        "open": ("open", "o", "open_price"),
        "high": ("high", "h", "high_price", "max"),
        "low": ("low", "l", "low_price", "min"),
        "close": ("close", "c", "close_price", "last"),
        "volume": ("volume", "vol", "v", "base_volume", "volume_base", "amount", "qty"),
        "confirm": ("confirm",),
        "adj_close": ("adj_close", "adjclose", "adjusted_close"),
        "instrument": ("instrument_name", "instid", "inst_id", "symbol", "ticker", "pair", "coin"),
    },
    required=("time", *PRICES),
    # Binance's own downloads have no header line.
    headless={
        6: ("time", "open", "high", "low", "close", "volume"),
        12: ("time", "open", "high", "low", "close", "volume", "", "", "", "", "", ""),
    },
)

_NAMES: Final[dict[int, str]] = {length: name for name, length in INTERVALS.items()}
#: Another step that comes so often in a row is a second interval, and no row of hazard.
_LEAST_RUN: Final = 20
#: Adjusted prices carry the noise of floats, so a range is held to a billionth.
_NOISE: Final = 1e-9


class Bars:
    """All bars of a table, in the order of its rows, with where each stands.

    Args:
        tally: Counts the rows that are refused or left out.
        interval_option: How a user says an interval, `{0}` standing for it.
        is_sorted: Whether rows are to be sorted, and counted once where they come twice.
        adjusts: Whether all prices are scaled as the adjusted close is.
        stamps_close: Whether the rows bear the times of closes.
    """

    def __init__(
        self,
        tally: Tally,
        interval_option: str,
        *,
        is_sorted: bool = False,
        adjusts: bool = False,
        stamps_close: bool = False,
    ) -> None:
        self.tally = tally
        self._interval_option = interval_option
        self._is_sorted = is_sorted
        self.adjusts = adjusts
        self._stamps_close = stamps_close
        self._order: NDArray[np.int64] | None = None
        self._open_ns: list[BarStamps] = []
        self._values: list[NDArray[np.float64]] = []  # shape (n, 5): open, high, low, close, volume
        self._readings: list[tuple[Reading, NDArray[np.int64]]] = []  # the chunk and the indices of its bars

    @property
    def chunks(self) -> int:
        """How many chunks were taken."""
        return len(self._readings)

    def take(self, reading: Reading, times: TimeReader) -> None:
        """Take a chunk: refuse the rows that are no candles, keep the others."""
        open_ns = reading.times("time", times)
        opens, highs, lows, closes = (reading.numbers(field) for field in PRICES)
        columns = reading.chunk.columns
        volume = reading.numbers("volume") if "volume" in columns else np.zeros(len(reading.chunk))
        if "confirm" in columns:
            still_open = np.array([text in ("0", "false", "False") for text in reading.texts("confirm")], np.bool_)
            reading.leave_out(still_open, self.tally, "bars that are still open")
        if self.adjusts:
            opens, highs, lows, closes = self._adjusted(reading, (opens, highs, lows, closes))
        for field, price in zip(PRICES, (opens, highs, lows, closes), strict=True):
            reading.refuse_where(price <= 0.0, f"{field} is not above zero")
        reading.refuse_where(volume < 0.0, "volume is below zero")
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        slack = np.abs(highs) * _NOISE
        reading.refuse_where((highs < top - slack) | (highs < lows), "high is not the highest price")
        reading.refuse_where(lows > bottom + slack, "low is not the lowest price")
        kept = reading.kept(self.tally)
        bars = (opens, np.maximum(highs, top), np.minimum(lows, bottom), closes, volume)
        self._open_ns.append(open_ns[kept])
        self._values.append(np.column_stack(bars)[kept])
        self._readings.append((reading, np.flatnonzero(kept)))

    @staticmethod
    def _adjusted(reading: Reading, prices: tuple[NDArray[np.float64], ...]) -> tuple[NDArray[np.float64], ...]:
        """Return prices scaled as the adjusted close is; volumes stay.

        Raises:
            ConfigError: The table has no adjusted close.
        """
        if "adj_close" not in reading.chunk.columns:
            raise ConfigError(f"{reading.chunk.file} has no column of adjusted closes; leave --adjust (adjust=) out")
        adjusted = reading.numbers("adj_close")
        closes = prices[-1]
        factor = np.divide(adjusted, closes, out=np.full(len(closes), np.nan), where=closes > 0.0)
        return (*(price * factor for price in prices[:-1]), adjusted)

    def reverse(self, first: int) -> bool:
        """Turn around the chunks from `first` on if all their bars run newest first; return whether they did."""
        chunks = slice(first, None)
        open_ns = np.concatenate([np.zeros(0, np.int64), *self._open_ns[chunks]])
        steps = np.diff(open_ns)
        if not (steps < 0).any() or (steps > 0).any():
            return False
        self._open_ns[chunks] = [each[::-1] for each in reversed(self._open_ns[chunks])]
        self._values[chunks] = [each[::-1] for each in reversed(self._values[chunks])]
        self._readings[chunks] = [(reading, places[::-1]) for reading, places in reversed(self._readings[chunks])]
        return True

    def candles(self, names: Names, *, interval: str | None, zone: tzinfo | None) -> "Candles | None":
        """Return the candles that the bars are; None where no row was good.

        Bars on a smaller step than the interval are left out and counted. What is missing between bars is a gap, but
        for the nights and weekends of an instrument that trades in sessions.

        Args:
            names: Knows the instrument's id.
            interval: Of the candles; None takes the most common step.
            zone: Of the clock that bars of two hours and more may follow.

        Raises:
            ConfigError: The interval has to be said.
            DataError: The bars are of two intervals.
        """
        if not sum(map(len, self._open_ns)):
            return None
        name = names.instrument
        open_ns, values = np.concatenate(self._open_ns), np.concatenate(self._values)
        if self._is_sorted:
            self._order = self._sorted(open_ns, values)
            open_ns, values = open_ns[self._order], values[self._order]
        rows = np.flatnonzero(self._in_order(open_ns))
        is_given = interval is not None
        interval, share = self._interval(open_ns[rows], interval)
        length_ns = interval_ns(interval)
        if self._stamps_close:
            open_ns = open_ns - length_ns
        zone = changing(zone, open_ns[rows])
        grid = grid_of(open_ns[rows], length_ns, zone)
        self._refuse_two(grid, open_ns, rows, interval)
        apart = _apart(open_ns[rows], grid, length_ns)
        for row in rows[~apart].tolist():
            self._report(self.tally.set_aside, row, f"the bar opens on a smaller step than {interval}")
        rows = rows[apart]
        open_ns, values = open_ns[rows], values[rows]
        close_ns = grid_of(open_ns, length_ns, zone).close_ns
        sessions = Sessions(length_ns, zone)
        sessions.add(open_ns)
        empty = np.flatnonzero(open_ns[1:] > close_ns[:-1])
        lost, closed = sessions.holes(close_ns[:-1][empty], open_ns[1:][empty])
        columns = {
            "received_ns": close_ns,
            "exchange_ns": close_ns,
            "seq": np.arange(len(open_ns), dtype=np.int64),
            "open_ns": open_ns,
            "close_ns": close_ns,
            **{field: np.ascontiguousarray(values[:, place]) for place, field in enumerate((*PRICES, "volume"))},
        }
        block = Block(Stream("candle", name, interval), len(open_ns), columns)
        # Only at the next bar's open is it known how much is missing.
        gaps = [Gap(name, to_ns, to_ns, f"candle {interval}", from_ns, to_ns, "missing") for from_ns, to_ns in lost]
        step = "" if is_given else f"{name}: candles of {interval}, the most common step of the rows{share}"
        return Candles(block, gaps, step, _notes(block, closed))

    def _sorted(self, open_ns: BarStamps, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the places of the bars by their times, without those that repeat another one.

        Raises:
            DataError: Two bars open together and differ.
        """
        order = np.argsort(open_ns, kind="stable")
        opens, sorted_values = open_ns[order], values[order]
        same = opens[1:] == opens[:-1]
        for row in np.flatnonzero(same & (sorted_values[1:] != sorted_values[:-1]).any(axis=1)).tolist():
            chunks = [self._placed(int(order[place])) for place in (row, row + 1)]
            first, second = (f"{chunk.file}:{int(chunk.lines[index])}" for chunk, index in chunks)
            raise DataError(
                f"{first} and {second} both have the bar of {iso_of(int(opens[row]))}, with different values; import "
                "one of the files"
            )
        self.tally.ignore("rows that came before, in another file or the same", int(same.sum()))
        return order[np.concatenate(([True], ~same))]

    def _in_order(self, open_ns: BarStamps) -> NDArray[np.bool_]:
        """Return which bars open later than every bar before them, and count the others."""
        newest = np.maximum.accumulate(np.concatenate(([0], open_ns)))[:-1]
        for wrong, why in ((open_ns == newest, REPEATED), (open_ns < newest, BACKWARD)):
            for row in np.flatnonzero(wrong).tolist():
                self._report(self.tally.skip, row, why)
        return open_ns > newest

    def _report(self, report: Callable[[str, int, str, str], None], row: int, why: str) -> None:
        chunk, index = self._placed(row)
        report(chunk.file, int(chunk.lines[index]), chunk.text(index), why)

    def _placed(self, row: int) -> tuple[Chunk, int]:
        """Return the chunk of a bar and its place there."""
        if self._order is not None:
            row = int(self._order[row])
        edges = np.cumsum([0, *(len(indices) for _, indices in self._readings)])
        part = int(np.searchsorted(edges, row, side="right")) - 1
        reading, indices = self._readings[part]
        return reading.chunk, int(indices[row - int(edges[part])])

    def _interval(self, open_ns: BarStamps, interval: str | None) -> tuple[str, str]:
        """Return the interval: the one given, checked, else the most common step; and how common that is.

        Raises:
            ConfigError: There is no step to infer it from, it is none of ours, or it is not the one given.
        """
        if interval is not None:
            interval_ns(interval)
        if len(open_ns) < 2:
            if interval is None:
                raise ConfigError(
                    f"{self.tally.refusals()}one candle does not show its interval; "
                    f"say it, for example {self._interval_option.format('1m')}"
                )
            return interval, ""
        steps, counts = np.unique(_nominal(np.diff(open_ns)), return_counts=True)
        most = int(counts.max())
        # Of steps that are equally common the shortest that is an interval goes first.
        common_ns = min(steps[counts == most].tolist(), key=lambda step_ns: (step_ns not in _NAMES, step_ns))
        common = f"{self.tally.refusals()}the candles' most common step is {plain(common_ns / 1e9)} s"
        if interval is not None:
            # Where bars are missing the most common step may be longer, but not every one.
            if interval_ns(interval) not in steps:
                option = self._interval_option.format(_NAMES.get(common_ns, "..."))
                raise ConfigError(f"{common}, and none is {interval}; give {option} or other rows")
            return interval, ""
        if common_ns not in _NAMES:
            raise ConfigError(f"{common}, which is no interval; intervals are {', '.join(INTERVALS)}")
        return _NAMES[common_ns], "" if most == len(open_ns) - 1 else f" ({most:,} of {len(open_ns) - 1:,})"

    def _refuse_two(self, grid: Grid, open_ns: BarStamps, rows: NDArray[np.int64], interval: str) -> None:
        """Refuse rows of two intervals.

        Raises:
            DataError: Another step comes many times in a row; the message names both and where they change.
        """
        steps = np.diff(grid.phase_ns)
        if not steps.size:
            return
        edges = np.flatnonzero(np.concatenate(([True], steps[1:] != steps[:-1], [True])))
        begins, ends = edges[:-1], edges[1:]
        is_second = (ends - begins >= _LEAST_RUN) & (steps[begins] != interval_ns(interval))
        for begin, end in zip(begins[is_second].tolist(), ends[is_second].tolist(), strict=True):
            step_ns = int(steps[begin])
            other = _NAMES.get(step_ns, span_text(step_ns))
            row = int(rows[begin or end])
            before, after = (interval, other) if begin else (other, interval)
            file, at = self._placed(row)[0].file, iso_of(int(open_ns[row]))
            raise DataError(
                f"{self.tally.refusals()}{file}: the rows have two intervals, {before} and from {at} on {after}; "
                "split them there and import one interval at a time"
            )


class Candles(NamedTuple):
    """The candles of a table.

    Attributes:
        block: The candles.
        gaps: What is missing between them.
        step: How the interval was found, empty where it was given.
        notes: What else the reader has to know, a sentence each.
    """

    block: Block
    gaps: list[Gap]
    step: str
    notes: list[str]

    def with_extras(self, extras: ExtraColumns | None) -> "Candles":
        """Return the same candles with what travels beside them."""
        block = self.block
        columns = {name: block.column(name) for name in (*STAMPS, *KIND_COLUMNS["candle"])}
        return self._replace(block=Block(block.stream, block.size, columns, extras=extras))


def _notes(block: Block, closed: int) -> list[str]:
    """Return what is to be said of nights, weekends and changes of clocks."""
    name, interval = block.stream.instrument, block.stream.interval
    notes = []
    if closed:
        what = "weekends" if interval == "1d" else "nights and weekends"
        notes.append(f"{name}: {closed} {what}, in which no bar ever opens, count as closed and not as gaps")
    odd = np.flatnonzero(block.column("close_ns") - block.column("open_ns") != interval_ns(interval))
    if odd.size:
        notes.append(
            f"{name}: clocks change; {odd.size} of the bars last{'s' if odd.size == 1 else ''} longer or shorter "
            f"than {interval}, first the one of {iso_of(int(block.column('open_ns')[odd[0]]))}"
        )
    return notes


def _nominal(steps: BarStamps) -> BarStamps:
    """Return steps with days of 23 to 25 hours as days of 24, and likewise weeks."""
    for length_ns in (NS_PER_DAY, 7 * NS_PER_DAY):
        steps = np.where(np.abs(steps - length_ns) <= 60 * NS_PER_MIN, length_ns, steps)
    return steps


def _apart(open_ns: BarStamps, grid: Grid, length_ns: int) -> NDArray[np.bool_]:
    """Return which bars stay when each has to open no earlier than the one before it closes.

    Of two that overlap, the one stays whose distance to the bars around them is whole more often.
    """
    stays = np.ones(len(open_ns), np.bool_)
    opens, closes, phases = open_ns.tolist(), grid.close_ns.tolist(), grid.phase_ns.tolist()
    done = 0
    for first in np.flatnonzero(open_ns[1:] < grid.close_ns[:-1]).tolist():
        if first < done:
            continue
        kept, row = first, first + 1
        while row < len(opens) and opens[row] < closes[kept]:
            before = kept - 1
            while before >= 0 and not stays[before]:
                before -= 1
            around = [phases[place] for place in (before, row + 1) if 0 <= place < len(opens)]
            fits = [sum((phases[place] - phase) % length_ns == 0 for phase in around) for place in (kept, row)]
            out = kept if fits[1] > fits[0] else row
            stays[out] = False
            kept = row if out == kept else kept
            row += 1
        done = row
    return stays
