"""Fills folded into round trips: from the fill that leaves zero to the one that comes back to it or goes beyond.

Sizes and money stay exact: the arithmetic is the ledger's own `Position`, so the profit of all trips before fees is
the ledger's realised profit. A fill that flips the position is split in proportion, value and fee alike. What is
left over below one size step or the smallest order (a fee taken in the base currency cannot be sold) does not keep a
trip open; it stays in the position at its average cost and goes into the next trip. Funding is not part of a trip.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from quantkit.engine.outcome import Excursion
from quantkit.errors import DataError
from quantkit.instruments import EXACT, Instrument, Side
from quantkit.orders import Fill, PositionSide
from quantkit.portfolio import Position, shown_ratio
from quantkit.trip_sense import TripSense

_NOTHING: Final = Decimal(0)
_NO_SHARE: Final = Fraction(0)


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """One position from its opening to its end.

    Attributes:
        instrument: Its id. side: `buy` for a long trip. currency: What `fees` and `pnl` are counted in.
        qty: Sum of the entries, in the instrument's unit, exact.
        entry_price, exit_price: Averages over the fills, harmonic for inverse contracts.
        fees: Paid above zero; a fee in the base currency counts at its fill's price.
        pnl: Profit after fees, without funding.
        return_pct: `pnl` in per cent of what the entries were worth.
        mae, mfe: Deepest mark against and for the trip, as fractions of the entry price; `mae <= 0 <= mfe`.
        tag: Of the fill that opened it.
        position_side: The leg in the long/short mode, else `net`.
    """

    instrument: str
    side: Side
    currency: str
    entry_ns: int
    exit_ns: int
    qty: Decimal
    entry_price: float
    exit_price: float
    fees: Decimal
    pnl: Decimal
    return_pct: float
    mae: float
    mfe: float
    tag: str
    position_side: PositionSide = PositionSide.NET


class OpenTrip(msgspec.Struct, frozen=True, kw_only=True):
    """A position that the end of the run found open; its profit is not realised.

    Attributes:
        qty: What is still held, unsigned, exact.
        entry_price: Average over the entries.
        mark_price: The last mark, None where none was seen.
        fees: Paid so far. realised: Profit of what was already closed, before fees.
        unrealised: Profit of the rest at the last mark, before any fee for closing; None without a mark.
    """

    instrument: str
    side: Side
    currency: str
    entry_ns: int
    qty: Decimal
    entry_price: float
    mark_price: float | None
    fees: Decimal
    realised: Decimal
    unrealised: Decimal | None
    mae: float
    mfe: float
    tag: str
    position_side: PositionSide = PositionSide.NET


class Trips(NamedTuple):
    """Closed trips in order of closing, open ones in order of opening."""

    closed: list[RoundTrip]
    open: list[OpenTrip]


def fold(
    fills: Iterable[Fill],
    instruments: Mapping[str, Instrument],
    *,
    changes: Iterable[Instrument] = (),
    excursions: Iterable[Excursion] = (),
    marks: Mapping[str, float | None] | None = None,
) -> Trips:
    """Fold fills into round trips.

    Args:
        fills: In the order in which they happened.
        instruments: Every instrument that was traded, as at the start.
        changes: Metadata that came into force later, on the same grids, in order of time.
        excursions: Lowest and highest mark of each trip; a trip without one uses its own fills' prices.
        marks: Last mark by instrument, for what is still open.

    Returns:
        The closed and the open trips.

    Raises:
        DataError: A fill's instrument is unknown, or its fee currency is neither the settlement nor the base one.
    """
    later: dict[str, list[Instrument]] = {}
    for change in changes:
        later.setdefault(change.id, []).append(change)
    seen = {(excursion.instrument, excursion.fill_id): excursion for excursion in excursions}
    holdings: dict[str, _Holding] = {}
    closed: list[tuple[int, RoundTrip]] = []  # with the number of the fill that closed it
    for number, fill in enumerate(fills):
        leg = fill.leg
        holding = holdings.get(leg)
        if holding is None:
            instrument = instruments.get(fill.instrument)
            if instrument is None:
                raise DataError(f"fill {fill.id}: instrument {fill.instrument} is not among those of the run")
            holding = holdings[leg] = _Holding(instrument, later.get(fill.instrument, ()), fill.position_side)
        trip = holding.add(number, fill, seen)
        if trip is not None:
            closed.append(trip)
    marks = marks or {}
    left: list[tuple[int, OpenTrip]] = []  # with the number of the fill that opened it
    for holding in holdings.values():
        holding.end()
        closed.extend(holding.take_closed(seen))
        left.extend(holding.left_open(seen, marks.get(holding.instrument.id)))
    closed.sort(key=lambda pair: pair[0])
    left.sort(key=lambda pair: pair[0])
    return Trips([trip for _, trip in closed], [trip for _, trip in left])


def fee_in_settlement(fill: Fill, instrument: Instrument) -> Decimal:
    """Return a fill's fee in the settlement currency, exact; one in the base currency at the fill's price.

    Raises:
        DataError: The fee's currency is neither of the two.
    """
    fee = fill.fee
    if fill.fee_currency == instrument.settle_currency or not fee:
        return fee
    if instrument.is_spot and fill.fee_currency == instrument.base:
        return EXACT.multiply(fee, instrument.price_decimal(fill.ticks))
    raise DataError(
        f"fill {fill.id} of {fill.instrument}: a fee in {fill.fee_currency} has no price here; "
        f"expected {instrument.settle_currency}"
    )


class _Sum:
    """An exact sum of amounts, and of shares of amounts, which need not be decimals."""

    __slots__ = ("_shares", "_whole")

    def __init__(self) -> None:
        self._whole = _NOTHING
        self._shares = _NO_SHARE

    def add(self, amount: Decimal, lots: int, of_lots: int) -> None:
        """Add what falls to `lots` of an amount for `of_lots`."""
        if lots == of_lots:
            self._whole = EXACT.add(self._whole, amount)
        else:
            self._shares += Fraction(amount) * Fraction(lots, of_lots)

    def ratio(self) -> tuple[int, int]:
        """Return the sum as a quotient of whole numbers."""
        if self._shares:
            return (self._shares + Fraction(self._whole)).as_integer_ratio()
        return self._whole.as_integer_ratio()


class _RunningTrip:
    """A trip while it may still grow: sums over its fills, in the settlement currency."""

    __slots__ = (
        "entry_lots",
        "entry_ns",
        "entry_number",
        "entry_value",
        "exit_lots",
        "exit_ns",
        "exit_number",
        "exit_value",
        "fees",
        "fill_id",
        "highest",
        "lowest",
        "realised_after",
        "realised_before",
        "side",
        "tag",
    )

    def __init__(self, number: int, fill: Fill, realised_before: tuple[int, int]) -> None:
        self.side = fill.side
        self.tag = fill.tag
        self.fill_id = fill.id
        self.entry_number = self.exit_number = number
        self.entry_ns = self.exit_ns = fill.filled_ns
        self.entry_lots = self.exit_lots = 0
        self.entry_value, self.exit_value, self.fees = _Sum(), _Sum(), _Sum()
        self.lowest = self.highest = fill.price
        self.realised_before = self.realised_after = realised_before

    def add(self, fill: Fill, lots: int, fee: Decimal) -> None:
        """Count `lots` of a fill with their share of its value and of its whole fee."""
        if fill.side is self.side:
            self.entry_lots += lots
            self.entry_value.add(fill.value, lots, fill.lots)
        else:
            self.exit_lots += lots
            self.exit_value.add(fill.value, lots, fill.lots)
        self.fees.add(fee, lots, fill.lots)
        price = fill.price
        if price < self.lowest:
            self.lowest = price
        elif price > self.highest:
            self.highest = price

    def excursions(
        self, seen: Mapping[tuple[str, int], Excursion], instrument: Instrument, entry_price: float
    ) -> tuple[float, float]:
        """Return the deepest mark against and for the trip, as fractions of the entry price."""
        marks = seen.get((instrument.id, self.fill_id))
        low, high = (self.lowest, self.highest) if marks is None else (marks.low, marks.high)
        down, up = min(low / entry_price - 1, 0.0), max(high / entry_price - 1, 0.0)
        # Zero is subtracted from, since the plain negation of 0.0 would print as -0.0.
        return (down, up) if self.side is Side.BUY else (0.0 - up, 0.0 - down)


class _Holding:
    """One position and its latest trip, which may be over but for a remainder."""

    __slots__ = ("_later", "instrument", "position", "sense", "trip")

    def __init__(self, instrument: Instrument, later: Sequence[Instrument], side: PositionSide) -> None:
        self.instrument = instrument
        self._later = deque(later)
        self.position = Position(instrument, side)
        self.sense = TripSense()
        self.trip: _RunningTrip | None = None

    def add(self, number: int, fill: Fill, seen: Mapping[tuple[str, int], Excursion]) -> tuple[int, RoundTrip] | None:
        """Book a fill and return the trip that it is known to have closed, if there is one."""
        while self._later and self._later[0].valid_from_ns <= fill.revealed_ns:
            # What can be traded depends on the steps of the moment.
            self.instrument = self._later.popleft()
        fee = fee_in_settlement(fill, self.instrument)
        position, sense, trip = self.position, self.sense, self.trip
        before, was_idle = position.lots_covering, sense.is_idle
        position.book(fill)
        old, new = sense.split(fill, self.instrument, before, position.lots)
        if trip is not None and old:
            trip.add(fill, old, fee)
            if was_idle:
                trip.entry_ns = fill.filled_ns  # before, there was no position
            if fill.side is not trip.side:
                # The ledger takes the whole fill: what it realises comes from the closing part alone.
                trip.exit_number, trip.exit_ns = number, fill.filled_ns
                trip.realised_after = position.realised_ratio
        if not new:
            return None
        realised = (0, 1) if trip is None else trip.realised_after
        self.trip = _RunningTrip(number, fill, realised)
        self.trip.add(fill, new, fee)
        return (trip.exit_number, self._close(trip, seen)) if trip is not None and trip.exit_lots else None

    def end(self) -> None:
        """Judge the latest trip by the steps of the end, where these came into force after its last fill."""
        if not self._later:
            return
        self.instrument = self._later.pop()
        self._later.clear()
        if self.trip is not None and not self.sense.is_over:
            self.sense.judge(self.instrument, self.position.lots, has_exits=self.trip.exit_lots > 0)

    def take_closed(self, seen: Mapping[tuple[str, int], Excursion]) -> Iterator[tuple[int, RoundTrip]]:
        """Yield the latest trip if it is over, and forget it."""
        if self.trip is not None and self.sense.is_over:
            yield self.trip.exit_number, self._close(self.trip, seen)
            self.trip = None

    def _close(self, trip: _RunningTrip, seen: Mapping[tuple[str, int], Excursion]) -> RoundTrip:
        instrument = self.instrument
        entry_value, fees = trip.entry_value.ratio(), trip.fees.ratio()
        profit, parts = _less(_less(trip.realised_after, trip.realised_before), fees)
        entry_price = _average_price(instrument, trip.entry_lots, entry_value)
        mae, mfe = trip.excursions(seen, instrument, entry_price)
        return RoundTrip(
            instrument=instrument.id,
            side=trip.side,
            currency=instrument.settle_currency,
            entry_ns=trip.entry_ns,
            exit_ns=trip.exit_ns,
            qty=instrument.qty_decimal(trip.entry_lots),
            entry_price=entry_price,
            exit_price=_average_price(instrument, trip.exit_lots, trip.exit_value.ratio()),
            fees=shown_ratio(*fees),
            pnl=shown_ratio(profit, parts),
            return_pct=100 * profit * entry_value[1] / (parts * entry_value[0]),
            mae=mae,
            mfe=mfe,
            tag=trip.tag,
            position_side=self.position.position_side,
        )

    def left_open(
        self, seen: Mapping[tuple[str, int], Excursion], mark: float | None
    ) -> Iterator[tuple[int, OpenTrip]]:
        """Yield what the end of the run found open, valued at the last mark."""
        trip = self.trip
        if trip is None or self.sense.is_idle:
            return
        entry_price = _average_price(self.instrument, trip.entry_lots, trip.entry_value.ratio())
        mae, mfe = trip.excursions(seen, self.instrument, entry_price)
        open_trip = OpenTrip(
            instrument=self.instrument.id,
            side=trip.side,
            currency=self.instrument.settle_currency,
            entry_ns=trip.entry_ns,
            qty=self.position.qty.copy_abs(),
            entry_price=entry_price,
            mark_price=mark,
            fees=shown_ratio(*trip.fees.ratio()),
            realised=shown_ratio(*_less(self.position.realised_ratio, trip.realised_before)),
            unrealised=None if mark is None else self.position.unrealised(mark),
            mae=mae,
            mfe=mfe,
            tag=trip.tag,
            position_side=self.position.position_side,
        )
        yield trip.entry_number, open_trip


def _less(amount: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the difference of two quotients, not reduced."""
    return amount[0] * other[1] - other[0] * amount[1], amount[1] * other[1]


def _average_price(instrument: Instrument, lots: int, value: tuple[int, int]) -> float:
    """Return the price at which `lots` are worth `value`: the mean of the fills, harmonic for inverse contracts."""
    one, units = instrument.lot_value.as_integer_ratio()
    size = one * lots
    # A quotient of whole numbers is the float nearest to it.
    if instrument.is_inverse:
        return size * value[1] / (value[0] * units)
    return value[0] * units / (size * value[1])
