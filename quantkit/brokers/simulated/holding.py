"""One position in a simulated account: how large it is, its fees, and what its open orders may still add."""

from decimal import Decimal
from typing import Final

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.fees import Fees
from quantkit.instruments import EXACT, Instrument, Side, decimal_of
from quantkit.orders import PositionSide, leg_of
from quantkit.portfolio import Portfolio

_NOTHING: Final = Decimal(0)


class Holding:
    """What an account has in one instrument, or in one leg of it.

    Args:
        portfolio: The account's ledger.
        instrument: The instrument; its steps may change later.
        fees: Its fees.
        side: Which of its positions.

    Attributes:
        id: The instrument's.
        leg: The key of the position.
        currency: Its settlement currency.
        is_spot: Whether it is no contract.
        is_linear: Whether it is a contract that is worth size x price.
        position: Its position; `position.instrument` has the steps of the moment.
        net: The whole numbers behind the position.
        money: Those behind the balance of its settlement currency.
        lot_value: One lot in units of value, as a float.
        pays_in_coins: Whether the fee of a purchase is a share of the coins that it brings.
        is_per_order: Whether an order's fee is more than the sum over its fills.
        sales_may_cost: Whether a spot sale may cost more than it brings, with amounts of money among its fees.
        rates: The exact rates of a taker and of a maker.
        rates_float: The same as floats.
        per_lot_float: The amount of money that a lot costs in fees, beside the rate.
        orders: Its open orders, by id.
        open_lots: What the open orders may still add, of sells and of buys. Orders that can only reduce add nothing.
    """

    __slots__ = (
        "_per_unit",
        "currency",
        "fees",
        "id",
        "is_linear",
        "is_per_order",
        "is_spot",
        "leg",
        "lot_value",
        "money",
        "net",
        "open_lots",
        "orders",
        "pays_in_coins",
        "per_lot_float",
        "position",
        "rates",
        "rates_float",
        "sales_may_cost",
    )

    def __init__(
        self, portfolio: Portfolio, instrument: Instrument, fees: Fees, side: PositionSide = PositionSide.NET
    ) -> None:
        self.leg = leg = leg_of(instrument.id, side)
        self.id = instrument.id
        self.currency = instrument.settle_currency
        self.is_spot = instrument.is_spot
        self.is_linear = not (instrument.is_spot or instrument.is_inverse)
        self.position = portfolio.leg(leg)
        self.net = portfolio.net(leg)
        self.money = portfolio.money(instrument.settle_currency)
        self.lot_value = float(instrument.lot_value)
        self.fees = fees
        self.is_per_order = fees.is_per_order
        self.sales_may_cost = instrument.is_spot and bool(fees.per_share or fees.is_per_order)
        self.rates = fees.rate(is_maker=False), fees.rate(is_maker=True)
        self.rates_float = float(self.rates[0]), float(self.rates[1])
        self._per_unit = fees.per_unit(instrument)
        self.per_lot_float = self._per_unit * float(instrument.lot)
        self.pays_in_coins = instrument.is_spot and fees.currency == "received"
        self.orders: dict[str, ExchangeOrder] = {}
        self.open_lots = [0, 0]

    def fee(self, side: Side, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
        """Return the fee of a fill without its order's part, and its currency; paid above zero."""
        instrument = self.position.instrument
        if self.pays_in_coins and side is Side.BUY:
            return EXACT.multiply(instrument.qty_decimal(lots), self.rates[is_maker]), instrument.base
        if self._per_unit:
            return self.fees.of_fill(instrument, instrument.qty_decimal(lots), value, is_maker=is_maker), self.currency
        return EXACT.multiply(value, self.rates[is_maker]), self.currency

    def fee_due(self, order: ExchangeOrder, of_fill: Decimal) -> Decimal:
        """Return the fee due with a fill of fee `of_fill`: the first fill adds the amount per order."""
        if not self.is_per_order:
            return of_fill
        return EXACT.subtract(self.fees.of_order(EXACT.add(order.fees_of_fills, of_fill)), order.fees_paid)

    def dearer_fee(self, lots: int, value: Decimal) -> Decimal:
        """Return what a fill costs in money at the worse of both roles, without its order's part; zero for rebates."""
        fee = EXACT.multiply(value, max(self.rates))
        if self._per_unit:
            qty = self.position.instrument.qty_decimal(lots)
            fee = EXACT.add(fee, EXACT.multiply(qty, decimal_of(self._per_unit)))
        return max(_NOTHING, fee)

    @property
    def most_lots(self) -> int:
        """The largest position in a contract, either way, that its open orders could lead to."""
        held, (sells, buys) = self.net.size // self.net.lot, self.open_lots
        return max(abs(held + buys), abs(held - sells))
