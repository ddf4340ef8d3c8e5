"""Positions as a strategy reads them and asks for them: what is missing to each, with the order that is under way."""

import math
from typing import NamedTuple

from quantkit.engine.desks import Desk, asked_orders
from quantkit.engine.legs import check_leg_target
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.sizing import Sizing
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderRequest, instrument_of, leg_of, side_in
from quantkit.portfolio import Portfolio, position_side_of
from quantkit.sizes import SIZES, OrderAmount


class TargetWorth(NamedTuple):
    """A position by its worth: a share of the equity, or an amount of money; below zero is short."""

    number: float
    is_share: bool


class Targets:
    """Trades toward positions, at the market, and tells how large they are.

    Args:
        orders: Sends, amends and cancels.
        sizing: Works out positions that are asked for by their worth.
        reported: The ledger of the reported fills.

    Attributes:
        remembered: Positions asked for during the warm-up, by their keys.
    """

    def __init__(self, orders: OrderManager, sizing: Sizing, reported: Portfolio) -> None:
        self.remembered: dict[str, float | TargetWorth] = {}
        self._orders = orders
        self._sizing = sizing
        self._reported = reported

    def position(self, instrument_id: str, side: str = "") -> float:
        """Return the tradable part of a reported position.

        Raises:
            OrderError: The instrument is unknown, or the side missing or too much.
        """
        orders = self._orders
        instrument = orders.instrument(instrument_id)
        desk = self._desk_of(instrument, side) if side or orders.is_long_short else orders.desks[instrument_id]
        if desk.holder is not instrument:
            self._read(desk, instrument)
        return desk.held_qty

    def _desk_of(self, instrument: Instrument, side: str) -> Desk:
        """Return the desk of the position that a call names."""
        is_long_short = self._orders.is_long_short
        return self._orders.legs[leg_of(instrument.id, position_side_of(instrument, side, is_long_short=is_long_short))]

    def _read(self, desk: Desk, instrument: Instrument) -> None:
        """Work a position out: hooks ask at every row, and the answer changes with a fill or with the steps."""
        desk.holder = instrument
        desk.held_lots = instrument.tradable_lots(self._reported.leg(desk.leg).qty)
        desk.held_qty = instrument.qty(desk.held_lots)

    def begin(self) -> None:
        """Trade toward what was asked for during the warm-up."""
        for leg, wanted in self.remembered.items():
            if isinstance(wanted, TargetWorth):
                self.target_worth(instrument_of(leg), wanted, side_in(leg))
            else:
                self.target(instrument_of(leg), wanted, side_in(leg))

    def target(self, instrument_id: str, qty: float, side: str = "") -> Order | None:
        """Trade toward a signed position; see `Strategy.target`.

        Raises:
            OrderError: `qty` is NaN or infinite, the instrument unknown, or the side missing or too much.
        """
        orders = self._orders
        instrument = orders.instruments.get(instrument_id) or orders.instrument(instrument_id)
        desk = self._desk_of(instrument, side) if side or orders.is_long_short else orders.desks[instrument_id]
        if qty == desk.reached and desk.holder is instrument:
            return None  # as before: a strategy that names its target at every row asks for nothing mostly
        if isinstance(qty, SIZES):
            raise OrderError(f"target {instrument_id}: qty is {qty}; give a number, or use target_pct or target_value")
        if not math.isfinite(qty):
            raise OrderError(f"target {instrument_id}: qty is {qty}; give a finite number")
        check_leg_target(qty, side, f"target {instrument_id}: qty")
        if orders.refusal == "warmup":
            self.remembered[desk.leg] = qty
            return None
        if desk.holder is not instrument:
            self._read(desk, instrument)
        return self._trade(desk, instrument, instrument.lots_floor(qty) - desk.held_lots, reached=qty)

    def target_worth(self, instrument_id: str, worth: TargetWorth, side: str = "") -> Order | None:
        """Trade toward a position of a worth; see `Strategy.target_pct` and `Strategy.target_value`.

        Raises:
            OrderError: The number is NaN or infinite, the instrument unknown, the side missing or too much, or there
                is no price yet.
        """
        orders = self._orders
        instrument = orders.instrument(instrument_id)
        what = "target_pct" if worth.is_share else "target_value"
        try:
            number = float(worth.number)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise OrderError(f"{what} {instrument_id}: {worth.number!r} is no finite number")
        desk = self._desk_of(instrument, side) if side or orders.is_long_short else orders.desks[instrument_id]
        check_leg_target(number, side, f"{what} {instrument_id}: the worth")
        if orders.refusal == "warmup":
            self.remembered[desk.leg] = TargetWorth(number, worth.is_share)
            return None
        if desk.holder is not instrument:
            self._read(desk, instrument)
        others = [
            asked for asked in asked_orders(orders.desks) if desk.target is None or asked.order is not desk.target.order
        ]
        try:
            found = self._sizing.lots_to(worth.is_share, number, instrument, desk.leg, desk.held_lots, others)
        except OrderError as error:
            raise OrderError(f"{what} {instrument_id}: {error}") from None
        return self._trade(desk, instrument, *found)

    def close(self, instrument_id: str, side: str = "") -> Order | None:
        """Cancel the position's orders and close it; see `Strategy.close`."""
        kept_orders = self._orders.open_orders(instrument_id)
        desk = self._desk_of(self._orders.instruments[instrument_id], side)
        kept = desk.target
        for order in kept_orders:
            if order.leg == desk.leg and (kept is None or order is not kept.order):
                self._orders.cancel(order)
        return self.target(instrument_id, 0.0, side)

    def _trade(
        self,
        desk: Desk,
        instrument: Instrument,
        lots: int,
        amount: OrderAmount | None = None,
        note: str = "",
        *,
        reached: float | None = None,
    ) -> Order | None:
        """Bring what is under way to some lots, below zero to sell.

        Args:
            desk, instrument: What is traded.
            lots: What is missing.
            amount: The money that it comes from.
            note: What the order is to say of its size.
            reached: Remembered as the target where nothing is missing.
        """
        orders, kept, held, leg = self._orders, desk.target, desk.held_lots, side_in(desk.leg)
        side = Side.BUY if lots > 0 else Side.SELL
        if kept is not None and not kept.is_cancelling and not kept.order.state.is_final:
            order = kept.order
            if order.side is side and lots:
                if kept.lots - order.filled_lots == abs(lots):
                    return None
                qty = instrument.qty(order.filled_lots + abs(lots))
                orders.amend(order, qty=qty, is_sized=amount is not None)
                if note:
                    kept.roundings["size", order.filled_lots + abs(lots)] = note
                return order
            orders.cancel(order)
        can_be_closed = not instrument.is_spot and held != 0 and lots == -held
        if abs(lots) < instrument.min_lots and not can_be_closed:
            desk.reached = reached
            return None
        request = OrderRequest(instrument.id, side, instrument.qty(abs(lots)), position_side=leg)
        order = orders.send(request, amount, note)
        desk.target, desk.reached = orders.desks[instrument.id].open.get(order.id), None
        return order
