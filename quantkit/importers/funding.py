"""Funding rates of foreign tables: settlements, and changing rates with the time of their settlement."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, iso_of, span_text
from quantkit.errors import ConfigError
from quantkit.importers.reading import Reading
from quantkit.importers.report import Tally
from quantkit.importers.tables import Chunk, ColumnLayout
from quantkit.importers.times import TimeFormat, TimeReader
from quantkit.rows.columns import Block, Column, Stream
from quantkit.storage.checks import LEAST_SETTLEMENT_NS

#: A rate that was told earlier than this before its settlement may not be the one that was settled.
_FRESH_NS: Final = 15 * NS_PER_MIN
#: The moment of a settlement, by a name that says so.
_SETTLED: Final = (
    "funding_time",
    "fundingtime",
    "funding_timestamp",
    "fundingtimestamp",
    "funding_rate_timestamp",
    "fundingratetimestamp",
    "calc_time",
    "next_funding_time",
    "nextfundingtime",
    "next_funding_timestamp",
)


def layout_of(spellings: Mapping[str, tuple[str, ...]], *, foreign: Mapping[str, str]) -> ColumnLayout:
    """Return the layout of a table with funding rates.

    Args:
        spellings: Of the fields that all tables of rows have.
        foreign: Columns of tables of another content.
    """
    return ColumnLayout(
        {
            **spellings,
            "time": (*_SETTLED, *spellings["time"]),
            # When the exchange told the rate, where another column has the settlement's moment.
            "told": ("timestamp", "ts", "time", "t"),
            "high": ("high",),
            # freqtrade keeps the rate in the column of the opening price.
            "rate": (
                "realized_rate",
                "realizedrate",
                "funding_rate",
                "fundingrate",
                "last_funding_rate",
                "rate",
                "funding",
                "open",
            ),
        },
        required=("time", "rate"),
        foreign=foreign,
    )


def is_told(chunk: Chunk) -> bool:
    """Return whether each rate has a time of publication and one of settlement: it changes until then."""
    return "told" in chunk.columns


def rates_of(reading: Reading) -> NDArray[np.float64]:
    """Return the rates of rows and refuse impossible ones; NaN where a table of changing rates has none.

    Raises:
        ConfigError: The table is one of candles.
    """
    rate = reading.numbers("rate", is_optional=is_told(reading.chunk))
    if "high" in reading.chunk.columns and (reading.numbers("high", is_optional=True) > 0.0).any():
        raise ConfigError(f"{reading.chunk.file} has a column of high prices: it is a table of candles, not of rates")
    reading.refuse_where(np.abs(rate) > 1.0, "a funding rate is a fraction of the notional, at most 1")
    return rate


class SettlementList:
    """The settlements of an import so far, to tell them from rates that change."""

    def __init__(self) -> None:
        self._newest_ns = 0

    def take(self, reading: Reading, settled_ns: NDArray[np.int64]) -> None:
        """Refuse rows that are too close to be settlements.

        Args:
            reading: Rows of a list of settlements.
            settled_ns: When each was settled.

        Raises:
            ConfigError: Most of them are: the table holds changing rates.
        """
        good = [index for index in range(len(settled_ns)) if index not in reading.bad]
        times = np.concatenate(([self._newest_ns] if self._newest_ns else [], settled_ns[good])).astype(np.int64)
        steps = np.diff(times)
        close = steps < LEAST_SETTLEMENT_NS
        if 2 * int(close.sum()) > len(steps):
            apart = span_text(int(np.median(steps[close])))
            raise ConfigError(
                f"{reading.chunk.file}: rates are {apart} apart, too close for settlements: these are changing rates; "
                "import settled rates, or name the column of the settlement: --column time=... "
                "(columns={'time': '...'})"
            )
        for index in good:
            step_ns = int(settled_ns[index]) - self._newest_ns
            if self._newest_ns and step_ns < LEAST_SETTLEMENT_NS:
                reading.refuse({index: f"the rate comes {span_text(step_ns)} after the one before; no settlement does"})
            else:
                self._newest_ns = int(settled_ns[index])


class _ReceivedRate(NamedTuple):
    """A rate, when the exchange told it, and when that was received."""

    told_ns: int
    received_ns: int
    rate: float


class ToldRates:
    """Turns changing rates into settlements: the last rate published before each settlement.

    Args:
        tally: Counts the rates that are not settled.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._before: dict[int, _ReceivedRate] = {}
        self._after: dict[int, _ReceivedRate] = {}
        self._newest_ns = 0
        self._rows = 0
        self._files: dict[str, dict[str, TimeReader]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no rate was taken."""
        return not (self._before or self._after)

    def take(self, reading: Reading, zone: tzinfo | None, time_format: TimeFormat | None) -> None:
        """Take the rows of a chunk, in any order."""
        chunk = reading.chunk
        # Each column has a unit and an order of its own.
        readers = self._files.setdefault(
            chunk.file,
            {field: TimeReader(chunk.file, zone, time_format=time_format) for field in ("time", "told", "received")},
        )
        self._tally.warn(
            f"{chunk.file}: rates that change until they are settled; of each settlement the last one told before it "
            "was taken"
        )
        rate = rates_of(reading)
        unsaid = np.isnan(rate) | reading.missing("time")
        reading.leave_out(unsaid, self._tally, "rows without a funding rate or the moment of its settlement")
        settled_ns, told_ns = reading.times("time", readers["time"]), reading.times("told", readers["told"])
        has_receipts = "received" in chunk.columns
        received_ns = reading.times("received", readers["received"]) if has_receipts else told_ns
        good = np.flatnonzero(reading.kept(self._tally))
        if not good.size:
            return
        self._rows += good.size
        self._newest_ns = max(self._newest_ns, int(told_ns[good].max()))
        order = good[np.lexsort((told_ns[good], settled_ns[good]))]
        is_before = told_ns[order] <= settled_ns[order]
        for early, rows in ((True, order[is_before]), (False, order[~is_before])):
            is_first = np.diff(settled_ns[rows], prepend=-1) != 0
            is_last = np.diff(settled_ns[rows], append=-1) != 0
            for row in rows[is_last if early else is_first].tolist():
                told = _ReceivedRate(int(told_ns[row]), int(received_ns[row]), float(rate[row]))
                self._hold(int(settled_ns[row]), told, early=early)

    def _hold(self, settled_ns: int, told: _ReceivedRate, *, early: bool) -> None:
        """Keep the last rate told before a settlement, and the first told after it."""
        kept = self._before if early else self._after
        held = kept.get(settled_ns)
        if held is None or (told.told_ns >= held.told_ns if early else told.told_ns < held.told_ns):
            kept[settled_ns] = told

    def block(self, instrument: str) -> Block | None:
        """Return the settlements, None if there are none.

        A settlement is known at its due time, or at the receipt of its rate if that is later. A settlement long after
        the last row is left out: its rate may have changed.
        """
        settled: dict[int, _ReceivedRate] = {}
        stale = []
        for at_ns in sorted(self._before.keys() | self._after.keys()):
            told = self._before.get(at_ns) or self._after[at_ns]
            age_ns = at_ns - told.told_ns
            if age_ns > _FRESH_NS and self._newest_ns < at_ns:
                self._tally.ignore("rates of a settlement that the rows end long before")
                self._rows -= 1
                continue
            if age_ns > _FRESH_NS:
                stale.append(at_ns)
            settled[at_ns] = told
        self._tally.ignore("rates that were not the last before a settlement", self._rows - len(settled))
        if stale:
            self._tally.warn(
                f"{instrument}: the last rate of {len(stale)} of {len(settled)} settlements was told more than "
                f"{span_text(_FRESH_NS)} before, the first at {iso_of(stale[0])}; it may have changed since"
            )
        if not settled:
            return None
        at = np.array(list(settled), np.int64)
        received = np.maximum(at, [told.received_ns for told in settled.values()])
        columns: Mapping[str, Column] = {
            "received_ns": np.maximum.accumulate(received),
            "exchange_ns": at,
            "funding_ns": at,
            "rate": np.array([told.rate for told in settled.values()]),
            "is_settled": np.ones(len(at), np.bool_),
        }
        return Block(Stream("funding", instrument), len(at), columns)
