"""Own fills beside what was traded: a share of the volume that a market would not have given unmoved."""

from collections import defaultdict
from typing import Final

import msgspec
import numpy as np

from quantkit.clock import NS_PER_MIN, interval_ns
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import SPAN_TOLERANCE_NS
from quantkit.feeds.replay import StoredRows
from quantkit.rows.columns import Block, Stream

_NS_PER_HOUR: Final = 60 * NS_PER_MIN
#: From this share on a fill would have moved the market.
LIMIT: Final = 0.10


class VolumeShare(msgspec.Struct, frozen=True):
    """The largest shares of the traded volume that own fills had, fractions.

    Attributes:
        of_fill: Of one candle or minute, by what filled in it.
        fill_ns: When that began.
        of_hour: Of one UTC hour.
        hour_ns: When that began.
        count: How many candles or minutes with fills had a share of the limit or more.
        of: How many there were.
        source: What the volume was counted on.
    """

    of_fill: float
    fill_ns: int
    of_hour: float
    hour_ns: int
    count: int
    of: int
    source: str


def volume_share(outcome: Outcome, rows: StoredRows) -> VolumeShare | None:
    """Return the shares of a run's fills in the volume of its trades, or else of its candles.

    None without fills, or where no volume is known for what was traded.
    """
    found = [
        share
        for instrument in dict.fromkeys(fill.instrument for fill in outcome.fills)
        if (share := _share_of(instrument, outcome, rows)) is not None
    ]
    return max(found, key=lambda share: max(share.of_fill, share.of_hour), default=None)


def _share_of(instrument: str, outcome: Outcome, rows: StoredRows) -> VolumeShare | None:
    own = [(fill.filled_ns, fill.qty) for fill in outcome.fills if fill.instrument == instrument]
    stream = _source(instrument, rows, outcome)
    if stream is None:
        return None
    width_ns = NS_PER_MIN if stream.kind == "trade" else interval_ns(stream.interval)
    ours, ours_hourly = _summed(own, width_ns), _summed(own, _NS_PER_HOUR)
    traded: dict[int, float] = defaultdict(float)
    hourly: dict[int, float] = defaultdict(float)
    # A candle is received at its close: the one that holds the last fill comes after it.
    last_ns = max(at_ns for at_ns, _ in own) + width_ns
    for block in rows.rows(stream, min(at_ns for at_ns, _ in own) - _NS_PER_HOUR, max(last_ns, outcome.end_ns)):
        for stamp, qty in _traded(block):
            traded[stamp // width_ns] += qty
            hourly[stamp // _NS_PER_HOUR] += qty
    if stream.kind == "candle":
        # A fill at a bound is of the candle that opens there or of the one that closes: the benefit of the doubt.
        traded = {each: max(traded[each], traded[each - 1]) for each in ours}
    shares = {each: qty / traded[each] for each, qty in ours.items() if traded[each] > 0}
    shares_hourly = {each: qty / hourly[each] for each, qty in ours_hourly.items() if hourly[each] > 0}
    if not shares or not shares_hourly:
        return None
    worst, worst_hour = max(shares, key=shares.__getitem__), max(shares_hourly, key=shares_hourly.__getitem__)
    return VolumeShare(
        of_fill=shares[worst],
        fill_ns=worst * width_ns,
        of_hour=shares_hourly[worst_hour],
        hour_ns=worst_hour * _NS_PER_HOUR,
        count=sum(share >= LIMIT for share in shares.values()),
        of=len(shares),
        source=str(stream),
    )


def _source(instrument: str, rows: StoredRows, outcome: Outcome) -> Stream | None:
    """Return the trades of an instrument, or else its shortest candles, where they span the run."""
    found = [
        stream
        for stream, held in rows.coverage().items()
        if stream.kind in ("trade", "candle")
        and stream.instrument == instrument
        and held.start_ns <= outcome.start_ns + SPAN_TOLERANCE_NS
        and held.end_ns >= outcome.end_ns - SPAN_TOLERANCE_NS
    ]
    return min(found, key=lambda stream: interval_ns(stream.interval) if stream.interval else 0, default=None)


def _summed(fills: list[tuple[int, float]], width_ns: int) -> dict[int, float]:
    found: dict[int, float] = defaultdict(float)
    for at_ns, qty in fills:
        found[at_ns // width_ns] += qty
    return found


def _traded(block: Block) -> list[tuple[int, float]]:
    """Return stamps and sizes by the exchange's clock, a candle's at its open; added up by minute first."""
    is_trade = block.stream.kind == "trade"
    stamps = block.column("exchange_ns" if is_trade else "open_ns")
    sizes = np.nan_to_num(block.column("qty" if is_trade else "volume"))
    minutes, places = np.unique(stamps // NS_PER_MIN, return_inverse=True)
    sums = np.bincount(places, weights=sizes, minlength=len(minutes))
    return list(zip((minutes * NS_PER_MIN).tolist(), sums.tolist(), strict=True))
