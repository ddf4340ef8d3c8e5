"""Sizes by money turned into lots, from what has been reported and seen so far."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from quantkit.brokers.base import AskedOrder, OrderRoom
from quantkit.engine.last_prices import LastPrices
from quantkit.errors import OrderError
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side, decimal_of, plain, tidied
from quantkit.orders import Order, OrderType, PositionSide, TimeInForce, side_in
from quantkit.portfolio import Portfolio, shown
from quantkit.sizes import ACCOUNT_CUTS, Cash, OrderAmount, Risk, Size, SizeCost


class Sizing:
    """Works out sizes.

    Args:
        reported: The ledger as reported.
        fees: By instrument.
        prices: What rows have shown.
        room: Judges what the account would take.
    """

    def __init__(self, reported: Portfolio, fees: Mapping[str, Fees], prices: LastPrices, room: OrderRoom) -> None:
        self._reported = reported
        self._fees = fees
        self._prices = prices
        self._room = room

    def size(self, order: Order, size: Size, at: str, others: Sequence[AskedOrder]) -> tuple[int, OrderAmount, str]:
        """Return an order's lots, the money that they come from, and a note of both.

        Args:
            order: Without a size so far.
            size: As asked for.
            at: When it becomes a number: `send`, or `fill` for an order that travels with the money.
            others: The open orders.

        Raises:
            OrderError: There is nothing to size by, a risk has no stop on the losing side, or the order cannot travel
                with its money.
        """
        instrument = self._reported.instruments[order.instrument]
        try:
            if at == "fill":
                self._check_travels(order)
            ticks = self._price_ticks(order, instrument)
            price = instrument.price_decimal(ticks)
            stop = self._stop_of(size, order, price) if isinstance(size, Risk) else None
            money = (
                Fraction(decimal_of(size.amount)) if isinstance(size, Cash) else self._share(size.fraction, instrument)
            )
        except OrderError as error:
            raise OrderError(f"{order.side} {order.instrument}: {error}") from None
        amount = OrderAmount(shown(money), stop, is_at_fill=at == "fill")
        if at == "fill" and isinstance(size, Risk) and size.stop is None:
            amount = self._following(amount, order)
        cost = SizeCost(instrument, self._fees[instrument.id], order.side, ticks, stop)
        wanted = cost.lots_for(money)
        lots = self._most_lots(order, wanted, ticks, others)
        note = f"{tidied(str(size))}: {plain(amount.money)} {instrument.settle_currency} at {plain(price)}"
        if lots < wanted:
            note += ACCOUNT_CUTS
        # Where the account takes nothing, the exchange says why.
        return lots or min(wanted, instrument.min_lots), amount, note

    def lots_to(
        self,
        is_share: bool,
        number: float,
        instrument: Instrument,
        leg: str,
        held: int,
        others: Sequence[AskedOrder],
    ) -> tuple[int, OrderAmount | None, str]:
        """Return the lots, below zero to sell, that lead from a position to one of a worth, and what they are worth.

        A note comes with them where the account takes fewer.

        Args:
            is_share: Whether the worth is a share of the equity; else it is an amount.
            number: The worth; below zero for a short position, which is none on spot.
            instrument: What is traded.
            leg: The key of the position.
            held: The position.
            others: The open orders beside the one toward the position.

        Raises:
            OrderError: There is no price yet, or the equity is not known.
        """
        worth = abs(Fraction(decimal_of(number)))
        if is_share:
            worth *= max(Fraction(0), self._equity(instrument))
        if instrument.is_spot and number < 0:
            worth = Fraction(0)
        for side in (Side.BUY, Side.SELL):
            ticks = self._market_ticks(instrument, side)
            wanted = SizeCost(instrument, Fees(), side, ticks).lots_for(worth)
            missing = (wanted if number > 0 else -wanted) - held
            if missing * side.sign > 0:
                position_side = PositionSide(side_in(leg) or PositionSide.NET)
                closes = position_side is not PositionSide.NET and missing * held < 0
                probe = Order(
                    id="",
                    instrument=instrument.id,
                    side=side,
                    qty=0.0,
                    reduce_only=closes,
                    position_side=position_side,
                )
                lots = self._most_lots(probe, abs(missing), ticks, others)
                note = ""
                if lots < abs(missing):
                    asked = f"{'target_pct' if is_share else 'target_value'} {plain(decimal_of(number))}"
                    note = f"{asked}: {plain(instrument.qty(abs(missing)))} more wanted{ACCOUNT_CUTS}"
                return lots * side.sign, OrderAmount(instrument.value(lots, ticks)), note
        return 0, None, ""

    def _share(self, fraction: float, instrument: Instrument) -> Fraction:
        """Return a share of the equity in an instrument's settlement currency, at least nothing."""
        return max(Fraction(0), self._equity(instrument) * Fraction(decimal_of(fraction)))

    def _equity(self, instrument: Instrument) -> Fraction:
        """Return the equity that a size is a share of, in the instrument's settlement currency.

        Raises:
            OrderError: A mark that it needs is missing.
        """
        reported, currency = self._reported, instrument.settle_currency
        equity = reported.equity_exact() if instrument.is_spot else reported.equity_in(currency)
        if equity is not None and instrument.is_spot:
            rate = reported.rate_exact(currency)
            equity = None if rate is None else equity / rate
        if equity is None:
            raise OrderError("the equity is not known yet, since a price that it needs has not come")
        return equity

    def _price_ticks(self, order: Order, instrument: Instrument) -> int:
        """Return the price by which an order is sized.

        Raises:
            OrderError: There is none yet.
        """
        for ticks in (order.price_ticks, order.stop_ticks, order.take_profit_ticks):
            if ticks is not None:
                return ticks
        return self._market_ticks(instrument, order.side)

    def _market_ticks(self, instrument: Instrument, side: Side) -> int:
        """Return the price at which a market order would take.

        Raises:
            OrderError: There is none yet.
        """
        ticks = self._prices.ticks(instrument, side)
        if ticks is None and (mark := self._reported.mark(instrument.id)) is not None:
            ticks = instrument.market_ticks(mark, side)
        if ticks is None or ticks <= 0:
            raise OrderError("there is no price to size by yet; wait for a row, or give the size as a number")
        return ticks

    @staticmethod
    def _stop_of(size: Risk, order: Order, price: Decimal) -> Decimal:
        """Return the stop of a risk: its own, or that of the order's protection.

        Raises:
            OrderError: There is none, or it is not on the losing side of the price.
        """
        stop = None if size.stop is None else decimal_of(size.stop)
        guard = None if order.terms is None else order.terms.stop_loss
        if stop is None and guard is not None:
            if guard.price is not None:
                stop = decimal_of(guard.price)
            elif guard.trailing_offset is not None:
                stop = price - decimal_of(guard.trailing_offset) * order.side.sign
            elif guard.trailing_offset_bps is not None:
                stop = price - price * decimal_of(guard.trailing_offset_bps) / 10_000 * order.side.sign
        if stop is None:
            raise OrderError("Risk needs a stop; give Risk(..., stop=), or the order a stop_loss=")
        if (stop - price) * order.side.sign >= 0 or stop <= 0:
            where = "below" if order.side is Side.BUY else "above"
            raise OrderError(f"Risk: the stop {tidied(plain(stop))} is not {where} the price {plain(price)}")
        return stop

    @staticmethod
    def _following(amount: OrderAmount, order: Order) -> OrderAmount:
        """Return an amount whose stop follows the price that fills, as that of the order's protection does."""
        guard = None if order.terms is None else order.terms.stop_loss
        assert guard is not None  # it has given the stop at the call
        offset, offset_bps = guard.trailing_offset, guard.trailing_offset_bps
        return msgspec.structs.replace(
            amount,
            trailing_offset=None if offset is None else decimal_of(offset),
            trailing_offset_bps=None if offset_bps is None else decimal_of(offset_bps),
        )

    def _most_lots(self, order: Order, wanted: int, ticks: int, others: Sequence[AskedOrder]) -> int:
        """Return the most of some lots of an order that the account takes."""
        probe = msgspec.structs.replace(order, lots=wanted)
        return self._room.most_lots(probe, ticks, others)

    def _check_travels(self, order: Order) -> None:
        """Refuse an order that cannot travel with its money.

        Raises:
            OrderError: It says why.
        """
        is_plain = order.type is OrderType.MARKET and order.time_in_force is TimeInForce.GTC
        refusal = self._room.amount_refusal(order)
        if not is_plain or order.reduce_only:
            refusal = "needs a plain market order"
        if refusal:
            raise OrderError(f"at='fill' {refusal}")
