"""The numbers that a page draws, as packed columns: the first picture, and everything else after it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MS
from quantkit.instruments import Instrument, Side
from quantkit.orders import LIQUIDATION, Fill
from quantkit.report.downsample import Level, Levels
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.page import depth, tracks
from quantkit.report.page.cards import decimals_of
from quantkit.report.page.markup import printable
from quantkit.report.page.packing import Packed, pack, range_step, step_for
from quantkit.report.page.subject import Subject
from quantkit.report.page.tracks import Track, ms
from quantkit.report.page.triggers import trigger_lines
from quantkit.report.prices import PriceRows
from quantkit.report.round_trips import RoundTrip
from quantkit.report.text import decimals_for

#: Buckets of the first picture: about one for each pixel of the widest page.
FIRST_BUCKETS: Final = 1300
#: Fills that are drawn one by one; beyond, the largest round trips alone.
MARKS_MAX: Final = 400
LARGEST: Final = 60
CANDLES_MAX: Final = 260
STOPS_MAX: Final = 150
_UNDER_ROWS: Final = 65_536
_EQUITY_PARTS: Final = 20_000
_MEANS: Final = 650
#: Digits kept of the smallest number of a column, and at most between it and the largest.
_DIGITS: Final = 7
_DIGITS_ALL: Final = 13
#: Of per cent.
_MICRO: Final = Fraction(1, 10**6)

Columns = dict[str, Packed]


class Payload(NamedTuple):
    """What the page's scripts get.

    Attributes:
        meta: Words and scales.
        first: Columns of the first picture.
        rest: Columns of everything else, which a served page asks for.
    """

    meta: dict[str, Any]
    first: dict[str, Any]
    rest: dict[str, Any]


def payload(subject: Subject, paths: Sequence[Track], reasons: dict[str, str]) -> Payload:
    """Return the columns of a page.

    Args:
        subject: The run.
        paths: Price paths, in the order of the tabs.
        reasons: Why an instrument has no path, for those that have none.
    """
    outcome, offset_ns = subject.outcome, subject.outcome.offset_ns
    names = [*(path.rows.instrument for path in paths), *reasons]
    drawn = _Marks(subject, names)
    curve, start = outcome.curve, float(outcome.starting_equity)
    equity_ms = ms(curve.time_ns)
    equity_step = range_step(curve.equity, _EQUITY_PARTS)
    under_ms, under = _troughs(equity_ms, curve.drawdown, _UNDER_ROWS)
    brief_ms, brief = _troughs(equity_ms, curve.drawdown, FIRST_BUCKETS)
    equity = tracks.single(equity_ms, curve.equity)
    line = tracks.overview(equity, FIRST_BUCKETS)
    first: dict[str, Any] = {
        "equity": {
            "t": pack(line.time_ns),
            "low": pack(line.low, equity_step),
            "rise": pack(line.high - line.low, equity_step, is_walk=False),
        },
        "under": {"t": pack(brief_ms), "y": pack(brief, Fraction(1, 100_000))},
        "trips": drawn.trips(None if drawn.is_few else LARGEST),
        "tracks": [],
    }
    kept = tracks.overview(equity, tracks.ROWS_MAX)
    rest: dict[str, Any] = {
        "equity": {
            "t": pack(kept.time_ns),
            "low": pack(kept.low, equity_step),
            "rise": pack(kept.high - kept.low, equity_step, is_walk=False),
        },
        "under": {"t": pack(under_ms), "y": pack(under, Fraction(1, 100_000))},
        "trips": drawn.trips(None),
        "tracks": [],
    }
    described = []
    for place, name in enumerate(names):
        path = paths[place] if place < len(paths) else None
        instrument = subject.instruments[name]
        fills = drawn.fills_of(name)
        books, note = depth.depth_of(subject, name)
        brief_track: dict[str, Any] = {"fills": fills.columns() if drawn.is_few else None}
        if not drawn.is_few:
            brief_track["mean"] = fills.means(outcome.start_ns // NS_PER_MS, outcome.end_ns // NS_PER_MS)
        whole_track: dict[str, Any] = {
            "fills": fills.columns(),
            "stops": _stops(subject, name, None if path is None else path.rows),
            "books": books,
        }
        if path is not None:
            step = step_for(_prices(path.rows), Fraction(instrument.price_step))
            seen = tracks.overview(path.levels, FIRST_BUCKETS)
            brief_track["path"] = bucket_columns(seen, step)
            if path.kept.level:
                whole_track["buckets"] = bucket_columns(path.levels.level(path.kept.level), step)
                whole_track["spans"] = [list(span) for span in path.kept.spans]
            whole_track["rows"] = row_columns(path.rows, path.single(), step)
        first["tracks"].append(brief_track)
        rest["tracks"].append(whole_track)
        described.append(_described(instrument, path, reasons.get(name, "")) | {"book_note": printable(note)})
    meta = {
        "begin": outcome.start_ns // NS_PER_MS,
        "end": outcome.end_ns // NS_PER_MS,
        "offset": offset_ns // NS_PER_MS,
        "is_fine": outcome.end_ns - outcome.start_ns < NS_PER_DAY,
        "currency": printable(outcome.report_currency),
        "money_decimals": subject.money_decimals,
        # The equity read as a return: one scale, given here, so that the page divides no money.
        "return_times": 100 / start if start > 0 else None,
        "levels": depth.LEVELS,
        "largest": LARGEST,
        "marks_max": MARKS_MAX,
        "candles_max": CANDLES_MAX,
        "stops_max": STOPS_MAX,
        "is_long_short": subject.config.get("position_mode") == "long_short",
        "tracks": described,
        **drawn.words(),
    }
    meta["hold"], own = _hold(subject, [path.rows.instrument for path in paths])
    if own:
        first["hold"] = own
    return Payload(meta, first, rest)


def _hold(subject: Subject, drawn: Sequence[str]) -> tuple[dict[str, Any] | None, Columns]:
    """Return how the starting equity in the benchmark is drawn: from a price path by a factor, or day by day.

    Args:
        subject: The run.
        drawn: The instruments that have a path, in the order of the tabs.
    """
    benchmark, outcome = subject.benchmark, subject.outcome
    if benchmark is None or not benchmark.start > 0 or benchmark.return_pct is None:
        return None, {}
    factor = float(outcome.starting_equity) / benchmark.start
    if benchmark.name in drawn:
        is_first = benchmark.name == drawn[0]
        name = "buy and hold" if is_first else f"holding {benchmark.name}"
        return {"name": printable(name), "track": drawn.index(benchmark.name), "factor": factor}, {}
    ends_ns = np.minimum(benchmark.days_ns + NS_PER_DAY, outcome.end_ns)
    known = np.isfinite(benchmark.closes)
    time_ms = ms(np.append(outcome.start_ns, ends_ns[known]))
    values = factor * np.append(benchmark.start, benchmark.closes[known])
    columns = {"t": pack(time_ms), "y": pack(values, range_step(values, _EQUITY_PARTS))}
    return {"name": printable(f"holding {benchmark.name}")}, columns


def row_columns(rows: PriceRows, chosen: IntArray, step: Fraction) -> Columns:
    """Return single rows of a path: the close is a walk, the other prices are short distances from it."""
    close = rows.close[chosen]
    columns = {"t": pack(ms(rows.time_ns[chosen])), "close": pack(close, step)}
    if not rows.is_candles:
        return columns
    opened, low, high = rows.open[chosen], rows.low[chosen], rows.high[chosen]
    before = np.append(0.0, close)[: len(close)]
    return columns | {
        "open": pack(opened - before, step, is_walk=False),
        "high": pack(high - np.maximum(opened, close), step, is_walk=False),
        "low": pack(np.minimum(opened, close) - low, step, is_walk=False),
    }


def bucket_columns(level: Level, step: Fraction) -> Columns:
    """Return lowest and highest values of buckets; the highest as the distance from the lowest."""
    rise = pack(level.high - level.low, step, is_walk=False)
    return {"t": pack(ms(level.time_ns)), "low": pack(level.low, step), "rise": rise}


def prices_answer(rows: PriceRows, instrument: Instrument, buckets: int) -> dict[str, Any]:
    """Return what a served page gets for a span of prices: every row where they are few, else extremes of stretches.

    Args:
        rows: Of the span.
        instrument: Whose they are.
        buckets: Rows or stretches at most.
    """
    step = step_for(_prices(rows), Fraction(instrument.price_step))
    if len(rows) <= buckets:
        return {"rows": row_columns(rows, np.arange(len(rows)), step)}
    levels = Levels(rows.time_ns, rows.low, rows.high)
    return {"buckets": bucket_columns(tracks.overview(levels, buckets), step)}


def _described(instrument: Instrument, path: Track | None, reason: str) -> dict[str, Any]:
    """Return what the page says about an instrument."""
    return {
        "id": printable(instrument.id),
        "kind": "" if path is None else path.rows.kind,
        "interval": path.rows.interval_ns // NS_PER_MS if path is not None and path.rows.is_candles else 0,
        "rows": 0 if path is None else len(path.rows),
        "stride": 1 if path is None else path.stride,
        "single": 0 if path is None else sum(stop - start for start, stop in path.kept.spans),
        "price_decimals": decimals_of(Fraction(instrument.price_step)),
        "qty_decimals": decimals_of(Fraction(instrument.qty_step)),
        "currency": printable(instrument.settle_currency),
        "reason": printable(reason),
    }


def _prices(rows: PriceRows) -> FloatArray:
    """Return the prices by which the step of a whole path is found."""
    return np.concatenate((rows.open, rows.high, rows.low, rows.close)) if rows.is_candles else rows.close


def _troughs(time_ms: IntArray, drawdown: FloatArray, most: int) -> tuple[IntArray, FloatArray]:
    """Return the deepest of neighbouring rows: exact between them, and no trough is lost."""
    edges = np.arange(0, len(time_ms), max(1, -(-len(time_ms) // most)))
    if not len(edges):
        return time_ms, drawdown
    return time_ms[edges], np.minimum.reduceat(drawdown, edges)


def _stops(subject: Subject, name: str, rows: PriceRows | None) -> Columns:
    """Return the triggers of an instrument's orders: from when to when each stood, and its price."""
    lines = trigger_lines(subject, name, rows)
    prices = np.array([line.price for line in lines], np.float64)
    step = step_for(prices, Fraction(subject.instruments[name].price_step))
    return {
        "from": pack(_ms_of([line.from_ns for line in lines])),
        "to": pack(_ms_of([line.to_ns for line in lines])),
        "price": pack(prices, step),
    }


def _ms_of(stamps_ns: Sequence[int]) -> IntArray:
    return ms(np.array(stamps_ns, np.int64))


class _Fills:
    """The fills of one instrument, with the position after each."""

    def __init__(self, instrument: Instrument, fills: Sequence[Fill], offset_ns: int) -> None:
        self._instrument = instrument
        self._time_ms = _ms_of([fill.filled_ns + offset_ns for fill in fills])
        self._price = np.array([fill.price for fill in fills], np.float64)
        self._is_liquidation = np.array([fill.order_id.startswith(LIQUIDATION) for fill in fills], np.int64)
        self._is_buy = np.array([fill.side is Side.BUY for fill in fills], np.int64)
        signed = [_taken(fill, instrument) for fill in fills]
        self._held = np.cumsum(np.array(signed, np.float64)) if signed else np.empty(0)

    def columns(self) -> Columns:
        """Return every fill."""
        step = Fraction(self._instrument.price_step)
        columns = {
            "t": pack(self._time_ms),
            "price": pack(self._price, step_for(self._price, step)),
            "buy": pack(self._is_buy, is_walk=False),
            "held": pack(self._held, self._held_step()),
        }
        if self._is_liquidation.any():
            columns["liquidation"] = pack(self._is_liquidation, is_walk=False)
        return columns

    def means(self, begin_ms: int, end_ms: int) -> Columns:
        """Return the mean position by time of equal stretches of the run."""
        edges = np.linspace(begin_ms, end_ms, _MEANS + 1)
        held = np.append(0.0, self._held)
        length = np.diff(self._time_ms, append=0)[:-1].astype(np.float64)
        area = np.append(0.0, np.cumsum(self._held[:-1] * length)) if len(self._held) else self._held
        before = np.searchsorted(self._time_ms, edges) - 1
        inside = np.maximum(before, 0)
        sums = np.where(before < 0, 0.0, area[inside] + held[before + 1] * (edges - self._time_ms[inside]))
        means = np.diff(sums) / np.diff(edges)
        return {"t": pack(np.rint(edges).astype(np.int64)), "y": pack(means, range_step(means, 2_000))}

    def _held_step(self) -> Fraction:
        # A fee in the base currency leaves a position between two steps.
        return step_for(np.round(self._held, 10), Fraction(self._instrument.qty_step))


def _taken(fill: Fill, instrument: Instrument) -> float:
    """Return by how much a fill changes the position."""
    signed = fill.qty if fill.side is Side.BUY else -fill.qty
    is_in_base = instrument.is_spot and fill.fee_currency == instrument.base
    return signed - float(fill.fee) if is_in_base else signed


class _Marks:
    """Fills and round trips of a run, as columns."""

    def __init__(self, subject: Subject, names: Sequence[str]) -> None:
        self._subject = subject
        self._place = {name: place for place, name in enumerate(names)}
        self._closed: list[RoundTrip] = subject.trips.closed
        tags = dict.fromkeys(trip.tag for trip in self._closed)
        self._tags = {tag: place for place, tag in enumerate(tags)}
        #: Whether every fill is drawn in the first picture.
        self.is_few = len(subject.outcome.fills) <= MARKS_MAX

    def words(self) -> dict[str, Any]:
        """Return the texts that the columns point to, and the decimals of their numbers."""
        returns = [abs(trip.return_pct) for trip in self._closed]
        moves = [100 * max(-trip.mae, trip.mfe) for trip in self._closed]
        return {
            "tags": [printable(tag) for tag in self._tags],
            "trips": len(self._closed),
            "return_decimals": _pct_decimals(returns),
            "move_decimals": _pct_decimals(moves),
            "pnl_decimals": self._pnl_decimals(),
        }

    def fills_of(self, name: str) -> _Fills:
        """Return the fills of one instrument."""
        outcome = self._subject.outcome
        fills = [fill for fill in outcome.fills if fill.instrument == name]
        return _Fills(self._subject.instruments[name], fills, outcome.offset_ns)

    def trips(self, largest: int | None) -> Columns:
        """Return closed round trips in order of closing: all, or so many with the largest profit or loss."""
        closed = self._closed
        if largest is not None:
            rank = sorted(range(len(closed)), key=lambda row: (-abs(closed[row].pnl), row))[:largest]
            closed = [closed[row] for row in sorted(rank)]
        offset_ns = self._subject.outcome.offset_ns
        by_size = np.argsort(-np.abs(np.array([float(trip.pnl) for trip in closed])), kind="stable")
        columns: dict[str, tuple[list[float], Fraction | None]] = {
            "entry_price": ([trip.entry_price for trip in closed], None),
            "exit_price": ([trip.exit_price for trip in closed], None),
            "qty": ([float(trip.qty) for trip in closed], None),
            "fees": ([float(trip.fees) for trip in closed], self._cent()),
            "pnl": ([float(trip.pnl) for trip in closed], self._cent()),
            "return": ([trip.return_pct for trip in closed], _MICRO),
            "mae": ([100 * trip.mae for trip in closed], _MICRO),
            "mfe": ([100 * trip.mfe for trip in closed], _MICRO),
        }
        packed = {}
        for key, (values, step) in columns.items():
            array = np.array(values, np.float64)
            packed[key] = pack(array, step or _digits(array), is_walk=False)
        return packed | {
            "track": pack(np.array([self._place[trip.instrument] for trip in closed], np.int64), is_walk=False),
            "entry": pack(_ms_of([trip.entry_ns + offset_ns for trip in closed])),
            "exit": pack(_ms_of([trip.exit_ns + offset_ns for trip in closed])),
            "long": pack(np.array([trip.side is Side.BUY for trip in closed], np.int64), is_walk=False),
            "tag": pack(np.array([self._tags[trip.tag] for trip in closed], np.int64), is_walk=False),
            "by_size": pack(by_size, is_walk=False),
        }

    def _pnl_decimals(self) -> int:
        """Return the decimals in which the profits of this run can be told apart."""
        return decimals_for(max((abs(float(trip.pnl)) for trip in self._closed), default=0.0))

    def _cent(self) -> Fraction:
        """Return the step of amounts of money: a hundredth of what is shown."""
        return Fraction(1, 10 ** (self._pnl_decimals() + 2))


def _digits(values: FloatArray) -> Fraction:
    """Return a power of ten that keeps the digits of the smallest value, as far as the largest one lets it."""
    sizes = np.abs(values[values != 0])
    if not len(sizes):
        return Fraction(1)
    wanted = np.floor(np.log10(float(sizes.min()))) - _DIGITS
    least = np.ceil(np.log10(float(sizes.max()))) - _DIGITS_ALL
    return Fraction(10) ** int(np.clip(wanted, least, 0))


def _pct_decimals(values: Sequence[float]) -> int:
    """Return the decimals in which per cent of a run can be told apart.

    Examples:
        >>> _pct_decimals([2.5, 0.1]), _pct_decimals([0.03, 0.02]), _pct_decimals([])
        (2, 4, 2)
    """
    return 2 if not values or max(values) >= 0.25 else 4
