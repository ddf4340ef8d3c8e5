"""Positions judged at the marks, and closed by the exchange where their margin is used up.

A price band is drawn around the marks of each scope: what stays within it cannot use the margin up, so only marks that
leave it are judged, exactly. A scope of one position has its liquidation price for a bound; one of several has as much
room for each mark as all of them may move together.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from quantkit.brokers.introduction import Introduction
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.price_band import SHUT_BAND, PriceBand
from quantkit.clock import iso_of
from quantkit.instruments import EXACT, Instrument, Side, decimal_of, plain
from quantkit.margin import ContractTerms
from quantkit.margin_account import MarginAccount, MarkedPosition, TakenOver
from quantkit.orders import LIQUIDATION, OrderState, PositionSide, leg_of
from quantkit.portfolio import Portfolio, Position
from quantkit.rows.cursors import NOWHERE, BookCursor
from quantkit.rows.marks import AnyMark, MarkTable
from quantkit.rows.position import RunPosition

_WINDOW: Final = 4096
#: Bounds in floats are this share of their terms' sizes nearer than the margin is; what is closer is judged exactly.
_SLACK: Final = 1e-11
#: A charge that does not take a balance whole is rounded down to this part of its currency: never more than the margin.
_NOTHING: Final = Decimal(0)
_CHARGE_STEP: Final = Decimal("1e-16")


class _Contract:
    """One contract with its terms as floats."""

    __slots__ = ("_rates", "_sizes", "_tiered", "fee_rate", "holding", "initial", "source", "unit")

    def __init__(self, holding: Holding, tiered: list[Holding], terms: ContractTerms, source: AnyMark) -> None:
        self.holding = holding
        self._tiered = tiered  # the positions whose sizes together decide the tier
        self.source = source
        self.initial = float(1 / terms.leverage)
        self.fee_rate = float(terms.fee_rate)
        self._sizes = [float(row.max_qty) for row in terms.tiers.rows]
        self._rates = [float(rate) for rate in terms.tiers.rates]

    @property
    def size(self) -> float:
        """Its position: coins, of an inverse contract the quote currency."""
        net = self.holding.net
        return net.size / net.lot * self.holding.lot_value

    @property
    def open_value(self) -> float:
        """What the position cost, above zero."""
        net = self.holding.net
        return abs(net.num) / (net.den * net.scale)

    @property
    def rates(self) -> float:
        """Maintenance rate and taker's rate; the higher of two tiers that a float cannot tell apart."""
        qty = sum(abs(each.net.size) / each.net.size_scale for each in self._tiered)
        sizes, last = self._sizes, len(self._sizes) - 1
        lower = self._rates[min(bisect_left(sizes, qty * (1 - _SLACK)), last)]
        return max(lower, self._rates[min(bisect_left(sizes, qty * (1 + _SLACK)), last)]) + self.fee_rate

    def notional(self, price: float) -> float:
        """What the position is worth at a price, above zero."""
        return abs(self.size) * price if self.holding.is_linear else abs(self.size) / price

    def gain(self, notional: float) -> float:
        """Its open profit at a worth."""
        is_more = (self.size > 0) is self.holding.is_linear
        return notional - self.open_value if is_more else self.open_value - notional

    def band(self, margin: float, rates: float) -> PriceBand:
        """Return the prices between which a margin holds."""
        size, cost = self.size, self.open_value
        slack = _SLACK * (abs(margin) + cost)
        if (size > 0) is self.holding.is_linear:
            notional = (cost - margin) / (1 - rates) + slack  # danger is below
            edge = max(0.0, notional)
        else:
            edge = (cost + margin) / (1 + rates) - slack  # danger is above
            if edge <= 0:
                return SHUT_BAND
        if self.holding.is_linear:
            price = edge / abs(size)
        else:
            price = abs(size) / edge if edge else math.inf
        return PriceBand(price, math.inf) if size > 0 else PriceBand(-math.inf, price)


class _Scope:
    """What shares one margin.

    Attributes:
        contracts: Those that may be in it, by id.
        bounds: The bands of those with a position, around marks that the margin outlives.
        is_stale: Whether the bounds have to be drawn anew.
    """

    __slots__ = ("bounds", "contracts", "is_stale")

    def __init__(self) -> None:
        self.contracts: list[_Contract] = []
        self.bounds: list[tuple[_Contract, PriceBand]] = []
        self.is_stale = False


def _scopes_of(margins: MarginAccount, holdings: Mapping[str, Holding], marks: MarkTable) -> dict[str, list[_Scope]]:
    """Return the scopes that a booking in each instrument changes."""
    is_cross = margins.terms.is_cross
    scopes: dict[str, _Scope] = {}  # by position, or by currency
    found: dict[str, list[_Scope]] = {}
    for leg in sorted(holdings):
        holding = holdings[leg]
        if holding.is_spot:
            continue
        scope = scopes.setdefault(holding.currency if is_cross else leg, _Scope())
        name = holding.id
        tiered = [each for each in holdings.values() if each.id == name] if is_cross else [holding]
        scope.contracts.append(_Contract(holding, tiered, margins.terms.contracts[name], marks.sources[name]))
        found.setdefault(name, []).append(scope)
    for name, holding in holdings.items():
        if holding.is_spot and is_cross:
            instrument = holding.position.instrument
            backed = (scopes.get(currency) for currency in (instrument.base, instrument.quote))
            found[name] = [scope for scope in backed if scope is not None]
    return found


class Liquidation(NamedTuple):
    """A position that was taken over, for the result."""

    instrument: str
    at_ns: int
    loss: Fraction


class Liquidations:
    """Judges positions at each mark, and takes over what has no margin left.

    Args:
        margins: What backs the account's positions.
        holdings: What the account has, by position.
        marks: The mark of each instrument.
        executions: Cancels orders and books fills.
        position: How far the run has come.
        send_clock: Says how far our clock is ahead of the exchange's.

    Attributes:
        is_safe: Whether no mark of this batch can liquidate anything.
        found: The liquidations so far.
    """

    is_following = True

    def __init__(
        self,
        margins: MarginAccount,
        holdings: Mapping[str, Holding],
        marks: MarkTable,
        executions: Executions,
        position: RunPosition,
        send_clock: SendClock,
    ) -> None:
        self.is_safe = True
        self.found: list[Liquidation] = []
        self._margins = margins
        self._holdings = holdings
        self._ledger = margins.ledger
        self._is_cross = margins.terms.is_cross
        self._marks = marks
        self._executions = executions
        self._position = position
        self._send_clock = send_clock
        self._judged = -1  # the last row of this batch that was judged
        self._safe_until = 0  # the index to which marks have been looked through
        self._extremes: dict[str, tuple[float, float]] = {}  # of the marks of this batch
        self._doubted: _Contract | None = None  # whose mark left its band
        self._of = _scopes_of(margins, holdings, marks)  # those that a booking in an instrument changes
        scopes = [scope for found in self._of.values() for scope in found]
        self._own = {each.holding.leg: (scope, each) for scope in scopes for each in scope.contracts}
        self._stale: list[_Scope] = []  # those whose bounds have to be drawn anew
        self._open: list[_Scope] = []  # those with positions, as their bounds were drawn
        self._watched: list[_Scope] = []  # of these, those that a mark of this batch may use up

    # What happens ---------------------------------------------------------------------------------------------

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        self.account_changed(order.instrument)

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def account_changed(self, instrument: str) -> None:
        """Look anew at what a booking in an instrument has changed."""
        for scope in self._of.get(instrument, ()):
            self._redraw_later(scope)

    def enter_batch(self) -> None:
        """Begin a batch, of which nothing has been looked at."""
        self._judged, self._safe_until = -1, 0
        self._extremes = {}
        for scope in self._open:
            self._redraw_later(scope)

    def _redraw_later(self, scope: _Scope) -> None:
        if not scope.is_stale:
            scope.is_stale = True
            self._stale.append(scope)
        self.is_safe = False

    # Bounds ---------------------------------------------------------------------------------------------------

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` at which a mark leaves its band, `NOWHERE` if none does."""
        if self._stale:
            self._redraw()
        begin, first = self._safe_until, NOWHERE
        if self.is_safe or horizon <= begin:
            return NOWHERE
        for scope in self._watched:
            for contract, band in scope.bounds:
                low, high = band.low, band.high
                indices, values = contract.source.rows(horizon)
                row, stop = indices.searchsorted((begin, horizon)).tolist()
                while row < stop:
                    window = values[row : min(row + _WINDOW, stop)]
                    if window.min() <= low or window.max() >= high:
                        index = int(indices[row + int(np.argmax((window <= low) | (window >= high)))])
                        if index < first:
                            first, self._doubted = index, contract
                        break
                    row += _WINDOW
        self._safe_until = min(first, horizon)
        return first

    def _redraw(self) -> None:
        """Draw the bounds of what has changed, and find out which of this batch's marks are to be watched."""
        self._safe_until = max(self._position.index, self._judged + 1)
        for scope in self._stale:
            if scope in self._open:
                self._open.remove(scope)
            scope.is_stale = False
            scope.bounds = self._bounds(scope)
            if scope.bounds:
                self._open.append(scope)
        self._stale.clear()
        self._watched = [scope for scope in self._open if not self._outlives_batch(scope)]
        self.is_safe = not self._watched

    def _bounds(self, scope: _Scope) -> list[tuple[_Contract, PriceBand]]:
        held = [contract for contract in scope.contracts if contract.holding.net.size]
        if not held:
            return []
        margin = self._margin(held[0])
        if len(held) == 1:
            return [(held[0], held[0].band(margin, held[0].rates))]
        return self._shared_bounds(held, margin)

    def _margin(self, own: _Contract) -> float:
        """Return what backs the scope of a contract, without open profit."""
        if self._is_cross:
            num, den = own.holding.money.ratio()
            return num / den
        position = own.holding.position
        funding = float(position.margin_funding) if position.has_margin_funding else 0.0
        return own.open_value * own.initial + funding

    def _shared_bounds(self, held: list[_Contract], balance: float) -> list[tuple[_Contract, PriceBand]]:
        """Return bounds so near to the marks that all of them together cannot use a balance up."""
        room, gross, terms, marks = balance, 0.0, abs(balance), []
        for contract in held:
            mark = self.mark_of(contract.holding.id)
            notional, rates = contract.notional(mark), contract.rates
            room += contract.gain(notional) - notional * rates
            gross += notional * (1 + rates)
            terms += notional + contract.open_value
            marks.append(mark)
        room -= _SLACK * terms
        if room <= 0:
            return [(each, SHUT_BAND) for each in held]
        # A move by half of the mark at most doubles what it changes in an inverse contract.
        share = min(0.5, room / gross / 2)
        return [
            (each, PriceBand(mark * (1 - share), mark * (1 + share))) for each, mark in zip(held, marks, strict=True)
        ]

    def _outlives_batch(self, scope: _Scope) -> bool:
        """Whether all marks of this batch are within a scope's bounds."""
        for contract, band in scope.bounds:
            name = contract.holding.id
            if name not in self._extremes:
                self._extremes[name] = contract.source.extremes()
            low, high = self._extremes[name]
            if not (band.low < low and (high < band.high or band.high == math.inf)):
                return False
        return True

    def mark_of(self, name: str) -> float:
        """Return the mark of a position after the last row that was judged; without one it is that of its last fill."""
        mark = self._marks.sources[name].at(max(self._position.index, self._judged + 1))
        return self._marks.own_prices[name] if mark is None else mark

    # Judgement ------------------------------------------------------------------------------------------------

    def judge(self, index: int) -> None:
        """Judge the positions whose mark was last doubted, and take them over where their margin is used up."""
        self._judged, self._safe_until = index, index + 1
        assert self._doubted is not None
        name, cursor = self._doubted.holding.id, self._doubted.source.cursor
        if isinstance(cursor, BookCursor):
            cursor.advance(cursor.row_at(index + 1))  # the book as the row leaves it
        # Two legs of a contract have one mark.
        for scope in dict.fromkeys(self._of[name]):
            held = [each.holding.position for each in scope.contracts if each.holding.id == name]
            for position in [each for each in held if not each.is_flat][:1]:
                self._judge(scope, position)

    def _judge(self, scope: _Scope, position: Position) -> None:
        """Judge the scope of a position at the mark that it has now."""
        margins = self._margins
        marked = margins.marked(margins.scope_of(position), self.mark_of)
        self._redraw_later(scope)
        assert marked is not None
        if not margins.is_used_up(marked):
            return
        at_ns = self._position.now_ns - self._send_clock.offset_at(self._position.now_ns)
        self._cancel_orders(scope, at_ns)
        if self._offset(scope, at_ns):
            marked = margins.marked(margins.scope_of(position), self.mark_of)
            assert marked is not None
            if not marked or not margins.is_used_up(marked):
                return
        required = sum((each.required for each in marked), Fraction(0))
        self._take_all(marked, f"{_short(margins.left(marked))} of margin left, {_short(required)} required", at_ns)

    def _clearly_outlives(self, scope: _Scope, own: _Contract, price: float) -> bool:
        """Whether floats show that a position which has its margin for itself has some left at a price."""
        if any(each.holding.net.size for each in scope.contracts if each is not own):
            return False
        margin, notional = self._margin(own), own.notional(price)
        return margin + own.gain(notional) > _SLACK * (abs(margin) + notional + own.open_value)

    def takes_over(self, order: ExchangeOrder, ticks: int, at_ns: int) -> bool:
        """Take a position over that a fill at a price would close for more than its margin; return whether it did."""
        holding, margins = self._holdings[order.leg], self._margins
        if holding.is_spot or not holding.net.size or (holding.net.size > 0) is order.is_buy:
            return False
        price, (scope, own) = holding.position.instrument.price(ticks), self._own[order.leg]
        if self._clearly_outlives(scope, own, price):
            return False
        marked = margins.marked(
            margins.scope_of(holding.position), lambda name: price if name == holding.id else self._ledger.mark(name)
        )
        if not marked or margins.left(marked) >= 0:
            return False
        self._redraw_later(scope)
        self._cancel_orders(scope, at_ns)
        self._take_all(marked, f"a fill at {plain(price)} is beyond the bankruptcy price", at_ns)
        return True

    def _cancel_orders(self, scope: _Scope, at_ns: int) -> None:
        """Cancel the open orders of a scope."""
        for contract in scope.contracts:
            leg, market = contract.holding.leg, self._executions.listings[contract.holding.id].market
            while (order := next((each for each in market.orders if each.leg == leg), None)) is not None:
                self._executions.cancel(order, LIQUIDATION, at_ns)

    def _take_all(self, marked: list[MarkedPosition], why: str, at_ns: int) -> None:
        """Take the positions of a scope over, which together lose its margin, with orders of the exchange's own.

        The last one of a cross scope takes the balance whole: without a position that is a decimal number.
        """
        marks = {id(each.position): each.mark for each in marked}
        rest, all_taken = Fraction(0), sorted(self._margins.taken_over(marked), key=_by_leg)
        for taken in all_taken:
            ticks, due = _closing_of(taken, marks[id(taken.position)])
            due += rest
            charge = _exactly(due) if self._is_cross and taken is all_taken[-1] else _floor(due)
            rest = due - Fraction(charge)
            lots = abs(taken.position.lots)
            self._close(taken.position, lots, ticks, taken.loss, charge, f"liquidation: {why}", at_ns)

    def _offset(self, scope: _Scope, at_ns: int) -> bool:
        """Close the legs of each contract of a scope against each other, at the mark and for nothing.

        Returns:
            Whether there was anything to close. The equity stays, and less margin is required.
        """
        is_any = False
        legs = {contract.holding.leg: contract.holding.position for contract in scope.contracts}
        for long in [each for each in legs.values() if each.position_side is PositionSide.LONG]:
            instrument = long.instrument
            short = legs.get(leg_of(instrument.id, PositionSide.SHORT))
            lots = 0 if short is None else min(long.lots, -short.lots)
            if short is None or not lots:
                continue
            is_any = True
            ticks = _ticks_of(Fraction(decimal_of(self.mark_of(instrument.id))), True, instrument)
            for position in (long, short):
                cost = abs(position.open_value) * lots / abs(position.lots)
                gain = Fraction(instrument.value(lots, ticks)) - cost
                gain = gain if (position is long) is not instrument.is_inverse else -gain
                self._close(
                    position, lots, ticks, -gain, _NOTHING, "liquidation: legs closed against each other", at_ns
                )
        return is_any

    def _close(
        self, position: Position, lots: int, ticks: int, loss: Fraction, charge: Decimal, why: str, at_ns: int
    ) -> None:
        """Close lots of a position with an order of the exchange's own."""
        instrument, executions = position.instrument, self._executions
        introduction = Introduction.of_closing(
            instrument.id,
            Side.SELL if position.lots > 0 else Side.BUY,
            tag=LIQUIDATION,
            sent_ns=self._position.now_ns,
            position_side=position.position_side,
        )
        made = introduction.order(f"{LIQUIDATION}{len(self.found) + 1}", instrument, lots, None)
        order = executions.orders[made.id] = ExchangeOrder(made, introduction)
        order.arrived_ns = at_ns
        self.found.append(Liquidation(instrument.id, at_ns, loss))
        executions.report(order, OrderState.ACCEPTED, "", at_ns)
        executions.fill(order, lots, ticks, is_maker=False, at_ns=at_ns, why=why, charge=charge)

    # The end --------------------------------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """Return sentences for the result."""
        return _sentences(self.found, self._ledger)


def _sentences(liquidations: list[Liquidation], ledger: Portfolio) -> list[str]:
    """Return a sentence about the liquidations of each instrument."""
    by_name: dict[str, list[Liquidation]] = {}
    for each in liquidations:
        by_name.setdefault(each.instrument, []).append(each)
    said = []
    for name, found in by_name.items():
        currency = ledger.instruments[name].settle_currency
        lost = _short(sum((each.loss for each in found), Fraction(0)))
        many = "1 liquidation" if len(found) == 1 else f"{len(found)} liquidations"
        said.append(f"{name}: {many}, the first at {iso_of(found[0].at_ns)}; {lost} {currency} of margin lost")
    return said


def _closing_of(taken: TakenOver, mark: Fraction) -> tuple[int, Fraction]:
    """Return the price that closes a position, and what is to be charged for it to cost what it has to cost."""
    position, instrument = taken.position, taken.position.instrument
    is_long = position.lots > 0
    ticks = _ticks_of(mark if taken.price is None else taken.price, is_long, instrument)
    rise = Fraction(instrument.value(abs(position.lots), ticks)) - abs(position.open_value)
    return ticks, (rise if is_long is not instrument.is_inverse else -rise) + taken.loss


def _by_leg(taken: TakenOver) -> tuple[str, str]:
    return taken.position.instrument.id, taken.position.position_side


def _ticks_of(price: Fraction, rounds_up: bool, instrument: Instrument) -> int:
    """Return a price on the price step that costs the account less, at least one step."""
    step = instrument.ticks_per_step
    steps = price / (Fraction(instrument.tick) * step)
    whole = -(-steps // 1) if rounds_up else steps // 1
    return max(1, int(whole)) * step


def _short(amount: Fraction) -> str:
    """Return an amount to eight digits, for sentences."""
    return plain(float(f"{float(amount):.8g}"))


def _exactly(amount: Fraction) -> Decimal:
    """Return an amount that has a finite number of decimal places."""
    return EXACT.divide(Decimal(amount.numerator), Decimal(amount.denominator))


def _floor(amount: Fraction) -> Decimal:
    """Return an amount rounded down to what is charged."""
    steps = amount * 10**16 // 1
    return EXACT.multiply(Decimal(steps), _CHARGE_STEP).quantize(_CHARGE_STEP, rounding=ROUND_FLOOR, context=EXACT)
