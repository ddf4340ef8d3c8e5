"""Instruments: their steps, rounding, and all contract arithmetic.

Prices and sizes travel as floats in events and as integers (ticks, lots) inside the broker. Money is `Decimal`.
Ticks and lots count the fixed grid of a run. The steps are those that the exchange accepts at present, whole
multiples of the grid. Grid and steps differ only in a run that spans a change of the steps.
Linear contracts and spot are worth `qty x unit x price` in the quote currency, inverse ones `qty x unit / price`
in the coin, where `unit = contract_value x contract_multiplier`. Source: OKX API v5, "Contract Size".
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError, OrderError
from quantkit.portable import unportable

#: Wide enough that sums and products of market numbers never round.
EXACT: Final = Context(prec=120)
#: Coin values of inverse contracts are rounded once, half-even, to this step.
COIN_STEP: Final = Decimal("1e-12")
#: A price this close to a step, as a fraction of the step, is on it: float noise, not intent.
GRID_TOLERANCE: Final = 1e-6
#: Beyond some 1e9 steps the rounding of the float itself is the larger noise: three roundings of half a unit each.
_FLOAT_NOISE: Final = 2.0**-51
#: Steps and contract values outside these bounds are mistakes, and would turn exact arithmetic into a memory hog.
_SMALLEST: Final = Decimal("1e-20")
_LARGEST: Final = Decimal("1e20")

#: More steps than these are a slip, and a whole number of 64 bits cannot count them.
_STEPS_MAX: Final = 9e18
#: Beyond these a float's plain digits are so many that its exponent is the better text.
#: A number of so many digits that its last ones are those of float arithmetic.
_NOISY: Final = re.compile(r"\d+\.\d{15,}|\d{2,}\.\d{13,}|\d{4,}\.\d{10,}")
_TINY: Final = 1e-16
_HUGE: Final = 1e22

#: The largest orders that the exchange takes, where that is known.
ORDER_LIMITS: Final = ("max_limit_qty", "max_market_qty", "max_limit_value", "max_market_value")
#: What may change while a run goes on.
CHANGEABLE: Final = ("price_step", "qty_step", "min_qty", *ORDER_LIMITS)
INSTRUMENT_KINDS: Final = ("spot", "swap", "future")


class Side(StrEnum):
    """Who pays: a buyer pays quote currency, a seller gives the instrument.

    Attributes:
        sign: +1 for a buy, -1 for a sell.
        opposite: The other side.
    """

    # Plain attributes: a property would be a call in Python wherever a side is asked.
    sign: int
    opposite: "Side"

    BUY = "buy"
    SELL = "sell"


Side.BUY.sign, Side.SELL.sign = 1, -1
Side.BUY.opposite, Side.SELL.opposite = Side.SELL, Side.BUY


def decimal_of(number: float | int | str | Decimal) -> Decimal:
    """Return the shortest plain decimal that `number` equals in value.

    Raises:
        ConfigError: The text is not a finite number.

    Examples:
        >>> decimal_of(0.1), decimal_of("1.50")
        (Decimal('0.1'), Decimal('1.50'))
    """
    # Numpy's numbers have a `repr` of their own, and its integers are no `int`.
    if (item := getattr(number, "item", None)) is not None:
        number = item()
    try:
        value = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    except (InvalidOperation, ValueError, TypeError):
        raise ConfigError(f"{number!r} is not a number") from None
    if not value.is_finite():
        raise ConfigError(f"{number!r} is not a finite number")
    return value


def plain(number: Decimal | float) -> str:
    """Return a number as plain text, without exponent or trailing zeros.

    Examples:
        >>> plain(Decimal("1E+3")), plain(0.00001), plain(-0.0)
        ('1000', '0.00001', '0')
    """
    value = decimal_of(number) if isinstance(number, float) else number
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def tidied(text: str) -> str:
    """Return a text without what float arithmetic leaves behind the twelfth digit of a number.

    Examples:
        >>> tidied("stop loss 146.81531700000002 rounded to 146.81"), tidied(f"{0.1 + 0.2}")
        ('stop loss 146.815317 rounded to 146.81', '0.3')
    """
    return _NOISY.sub(lambda found: plain(Decimal(f"{float(found[0]):.12g}")), text)


def literal(value: object) -> str:
    """Return a value as it is written in Python, a float without exponent where that is readable.

    Examples:
        >>> literal(0.00005), literal(2.0), literal(1e308), literal("BTC-USDT")
        ('0.00005', '2.0', '1e+308', "'BTC-USDT'")
    """
    text = repr(value)
    if isinstance(value, float) and "e" in text and _TINY < abs(value) < _HUGE:
        return plain(value)
    return text


def common_step(steps: Iterable[Decimal]) -> Decimal:
    """Return the largest common step: every one of `steps` is a multiple of it.

    Examples:
        >>> common_step([Decimal("0.1"), Decimal("0.25")]), common_step([Decimal("0.10"), Decimal("1")])
        (Decimal('0.05'), Decimal('0.10'))
    """
    parts = {Fraction(step): step for step in steps}
    scale = math.lcm(*(part.denominator for part in parts))
    common = Fraction(math.gcd(*(int(part * scale) for part in parts)), scale)
    return parts.get(common) or EXACT.divide(Decimal(common.numerator), Decimal(common.denominator))


def round_up(amount: Fraction) -> Decimal:
    """Round an amount up to 1, 2 or 5 times a power of ten, for suggestions in messages.

    Examples:
        >>> round_up(Fraction(833, 10_000)), round_up(Fraction(1_200)), round_up(Fraction(5))
        (Decimal('0.1'), Decimal('2E+3'), Decimal('5'))
    """
    power = math.floor(math.log10(amount)) - 1
    while True:
        for digit in (1, 2, 5):
            if (number := Decimal(digit).scaleb(power)) >= amount:
                return number
        power += 1


def names_of(ids: Sequence[str], most: int = 20) -> str:
    """Return ids as a list for a message, cut off where it grows long.

    Examples:
        >>> names_of(["BTC-USDT", "ETH-USDT"]), names_of([]), names_of(["A-B", "C-D", "E-F"], most=1)
        ('BTC-USDT, ETH-USDT', 'nothing', 'A-B and 2 more')
    """
    rest = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + rest or "nothing"


def closest_id(wanted: str, ids: Sequence[str]) -> str | None:
    """Return the most likely id: the same pair on another venue or as a contract, else a similar name.

    Examples:
        >>> ids = ["ZEN-USDT", "binance:BTC-USDT-SWAP", "binance:ETH-USDT-SWAP"]
        >>> closest_id("BTC-USDT", ids), closest_id("ethusdt", ids), closest_id("ZEN-USD", ids), closest_id("?", ids)
        ('binance:BTC-USDT-SWAP', 'binance:ETH-USDT-SWAP', 'ZEN-USDT', None)
    """
    meant = _letters(wanted)
    names = {name: _letters(name) for name in ids}
    if meant:
        # The shortest continuation is the nearest: the spot pair before the swap, the swap before a dated future.
        same = [name for name, letters in names.items() if letters.startswith(meant) or meant.startswith(letters)]
        if same:
            return min(same, key=lambda name: (abs(len(names[name]) - len(meant)), len(name), name))
    close = difflib.get_close_matches(wanted.rpartition(":")[2], [name.rpartition(":")[2] for name in ids], n=1)
    return next((name for name in ids if close and name.rpartition(":")[2] == close[0]), None)


def _letters(instrument_id: str) -> str:
    """Return an id without its venue, in capitals, with nothing but letters and digits: BTCUSDT for btc/usdt."""
    return "".join(c for c in instrument_id.rpartition(":")[2].upper() if c.isalnum())


class Instrument:
    """One tradable thing and its arithmetic. Immutable; equal when all fields are equal.

    Args:
        id: A plain id is OKX's (`BTC-USDT-SWAP`); another venue is a prefix (`binance:BTC-USDT-SWAP`).
        kind: `spot`, `swap` or `future`.
        base, quote: Currencies; taken from an id of the form `BASE-QUOTE...` when left out.
        settle: Currency of the profit; default the quote (linear, spot) or the base (inverse).
        price_step, qty_step: Steps of order prices and sizes, above zero.
        min_qty: Smallest order, default one step.
        contract_value, contract_multiplier: Their product is one contract's size: coins (linear), quote (inverse).
        is_inverse: Whether profit is paid in the coin.
        exchange: Default the id's prefix, else `okx`.
        source: Where the metadata comes from: `given`, `capture` or `inferred`.
        valid_from_ns: Start of its validity, UTC ns.
        tick, lot: The grid for integer prices and sizes; the steps are multiples of it. Default the steps themselves.
        max_limit_qty, max_market_qty: Largest size of a limit and of a market order; None: not known.
        max_limit_value, max_market_value: Largest value of one, in dollars; None: not known.

    Attributes:
        settle_currency: The currency of a fill's value: quote for spot, settlement currency for contracts.
        ticks_per_step: Ticks of a price step: 1 unless the grid is finer than the step.
        lots_per_step: Lots of a size step: 1 unless the grid is finer than the step.
        is_on_finer_grid: Whether there are ticks or lots between the steps, as where the steps change within a run.
        max_limit_lots, max_market_lots: The largest sizes in whole size steps.

    Raises:
        ConfigError: A field is missing, unknown or out of range; the message names it.

    Examples:
        >>> swap = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
        >>> swap.base, swap.settle_currency, swap.qty_for(base=0.02)
        ('BTC', 'USDT', 2.0)
    """

    __slots__ = (
        "_lot_ratio",
        "_price_step_inv",
        "_qty_step_inv",
        "_qty_step_ratio",
        "_tick_inv",
        "_tick_ratio",
        "_tick_value",
        "base",
        "contract_multiplier",
        "contract_value",
        "exchange",
        "id",
        "is_inverse",
        "is_on_finer_grid",
        "is_spot",
        "kind",
        "lot",
        "lot_value",
        "lots_per_step",
        "max_limit_lots",
        "max_limit_qty",
        "max_limit_value",
        "max_market_lots",
        "max_market_qty",
        "max_market_value",
        "min_lots",
        "min_qty",
        "price_step",
        "qty_step",
        "quote",
        "settle",
        "settle_currency",
        "source",
        "tick",
        "ticks_per_step",
        "unit",
        "valid_from_ns",
    )

    id: str
    kind: str
    base: str
    quote: str
    settle: str
    exchange: str
    price_step: Decimal
    qty_step: Decimal
    min_qty: Decimal
    contract_value: Decimal
    contract_multiplier: Decimal
    is_inverse: bool
    source: str
    valid_from_ns: int
    is_spot: bool
    unit: Decimal
    tick: Decimal
    lot: Decimal
    lot_value: Decimal
    min_lots: int
    settle_currency: str
    ticks_per_step: int
    lots_per_step: int
    is_on_finer_grid: bool
    max_limit_qty: Decimal | None
    max_market_qty: Decimal | None
    max_limit_value: Decimal | None
    max_market_value: Decimal | None
    max_limit_lots: int | None
    max_market_lots: int | None
    _tick_inv: float
    _price_step_inv: float
    _qty_step_inv: float
    _lot_ratio: tuple[int, int]
    _tick_ratio: tuple[int, int]
    _qty_step_ratio: tuple[int, int]
    _tick_value: Decimal

    def __init__(
        self,
        id: str,  # noqa: A002  the field's own word
        *,
        kind: str = "spot",
        base: str | None = None,
        quote: str | None = None,
        settle: str | None = None,
        price_step: str | float | Decimal,
        qty_step: str | float | Decimal,
        min_qty: str | float | Decimal | None = None,
        contract_value: str | float | Decimal = "1",
        contract_multiplier: str | float | Decimal = "1",
        is_inverse: bool = False,
        exchange: str | None = None,
        source: str = "given",
        valid_from_ns: int = 0,
        tick: str | float | Decimal | None = None,
        lot: str | float | Decimal | None = None,
        max_limit_qty: str | float | Decimal | None = None,
        max_market_qty: str | float | Decimal | None = None,
        max_limit_value: str | float | Decimal | None = None,
        max_market_value: str | float | Decimal | None = None,
    ) -> None:
        check_id(id)
        prefix, _, name = id.rpartition(":")
        if kind not in INSTRUMENT_KINDS:
            raise ConfigError(f"{id}: kind {kind!r} is not known; use one of {', '.join(INSTRUMENT_KINDS)}")
        if is_inverse and kind == "spot":
            raise ConfigError(f"{id}: a spot instrument cannot be inverse; give kind='swap' or 'future'")
        parts = name.split("-")
        base = base or parts[0]
        quote = quote or (parts[1] if len(parts) > 1 else None) or settle
        if not base:
            raise ConfigError(f"{id}: the base currency is not in the id; give base='BTC' or another currency")
        if not quote:
            raise ConfigError(f"{id}: the quote currency is not in the id; give quote='USD' or another currency")
        put = object.__setattr__
        put(self, "id", id)
        put(self, "kind", kind)
        put(self, "is_spot", kind == "spot")
        put(self, "base", base)
        put(self, "quote", quote)
        put(self, "settle", quote if kind == "spot" else settle or (base if is_inverse else quote))
        # A second name as a plain attribute: a property would be a call in Python for every fill.
        put(self, "settle_currency", self.settle)
        put(self, "exchange", exchange or prefix or "okx")
        put(self, "is_inverse", is_inverse)
        put(self, "source", source)
        put(self, "valid_from_ns", valid_from_ns)
        for field, number in (
            ("price_step", price_step),
            ("qty_step", qty_step),
            ("min_qty", qty_step if min_qty is None else min_qty),
            ("contract_value", contract_value),
            ("contract_multiplier", contract_multiplier),
            ("tick", price_step if tick is None else tick),
            ("lot", qty_step if lot is None else lot),
        ):
            put(self, field, _amount(number, f"{id}: {field}"))
        limits = (max_limit_qty, max_market_qty, max_limit_value, max_market_value)
        for field, most in zip(ORDER_LIMITS, limits, strict=True):
            put(self, field, None if most is None else _amount(most, f"{id}: {field}"))
        put(self, "unit", EXACT.multiply(self.contract_value, self.contract_multiplier))
        if self.is_spot and self.unit != 1:
            raise ConfigError(f"{id}: a spot instrument has no contract value; leave it at 1")
        put(self, "lot_value", EXACT.multiply(self.lot, self.unit))
        put(self, "ticks_per_step", self._multiple("price_step", "tick"))
        put(self, "lots_per_step", self._multiple("qty_step", "lot"))
        put(self, "is_on_finer_grid", self.ticks_per_step != 1 or self.lots_per_step != 1)
        least = max(1, math.ceil(Fraction(self.min_qty) / Fraction(self.qty_step)))
        put(self, "min_lots", least * self.lots_per_step)
        for field in ("max_limit", "max_market"):
            qty = getattr(self, f"{field}_qty")
            steps = None if qty is None else math.floor(Fraction(qty) / Fraction(self.qty_step)) * self.lots_per_step
            put(self, f"{field}_lots", steps)
        # Multiplying by an exact inverse keeps one multiplication per conversion on the hot path.
        put(self, "_tick_inv", float(1 / Fraction(self.tick)))
        put(self, "_price_step_inv", float(1 / Fraction(self.price_step)))
        put(self, "_qty_step_inv", float(1 / Fraction(self.qty_step)))
        put(self, "_tick_ratio", self.tick.as_integer_ratio())
        put(self, "_lot_ratio", self.lot.as_integer_ratio())
        put(self, "_qty_step_ratio", self.qty_step.as_integer_ratio())
        put(self, "_tick_value", EXACT.multiply(self.lot_value, self.tick))

    def _multiple(self, step: str, grid: str) -> int:
        """Return how many units of the grid a step has.

        Raises:
            ConfigError: It is no whole number of them.
        """
        count = Fraction(getattr(self, step)) / Fraction(getattr(self, grid))
        if count.denominator != 1:
            raise ConfigError(f"{self.id}: {step} {getattr(self, step)} is no multiple of {grid} {getattr(self, grid)}")
        return count.numerator

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Instrument is immutable; build a new one to change {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an Instrument is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Instrument.from_dict, (self.to_dict(),))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instrument) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.id, self.price_step, self.qty_step))

    def __repr__(self) -> str:
        return (
            f"Instrument({self.id!r}, kind={self.kind!r}, price_step='{plain(self.price_step)}', "
            f"qty_step='{plain(self.qty_step)}', settle={self.settle!r}"
            + (f", contract_value='{plain(self.unit)}'" if self.unit != 1 else "")
            + (", is_inverse=True" if self.is_inverse else "")
            + ")"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, numbers as plain text."""
        grid = {
            name: plain(getattr(self, name))
            for name, step in (("tick", self.price_step), ("lot", self.qty_step))
            if getattr(self, name) != step
        }
        return {
            "id": self.id,
            "exchange": self.exchange,
            "kind": self.kind,
            "base": self.base,
            "quote": self.quote,
            "settle": self.settle,
            "price_step": plain(self.price_step),
            "qty_step": plain(self.qty_step),
            "min_qty": plain(self.min_qty),
            "contract_value": plain(self.contract_value),
            "contract_multiplier": plain(self.contract_multiplier),
            "is_inverse": self.is_inverse,
            "source": self.source,
            "valid_from_ns": self.valid_from_ns,
            **grid,
            **self.order_limits(),
        }

    def order_limits(self) -> dict[str, str]:
        """Return the largest orders that the exchange takes, as plain text, as far as known."""
        return {name: plain(most) for name in ORDER_LIMITS if (most := getattr(self, name)) is not None}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Instrument":
        """Build an instrument from `to_dict`'s form.

        Raises:
            ConfigError: A field is missing, unknown or out of range.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"instrument {fields.get('id', '?')}: {error}") from None

    # Changes --------------------------------------------------------------------------------------------------

    def on_grid(self, tick: Decimal, lot: Decimal) -> "Instrument":
        """Return the same instrument on another grid.

        Raises:
            ConfigError: A step is no multiple of it.
        """
        if (tick, lot) == (self.tick, self.lot):
            return self
        return Instrument.from_dict({**self.to_dict(), "tick": tick, "lot": lot})

    def change_to(self, other: "Instrument") -> dict[str, tuple[str, str]]:
        """Return the fields that differ in later metadata of the instrument, each with both values as text.

        Start of validity and source do not count as a difference.
        """
        one, new = self.to_dict(), other.to_dict()
        silent = ("source", "valid_from_ns", "tick", "lot")
        changed = {n: (str(one[n]), str(new[n])) for n in one if n in new and n not in silent and one[n] != new[n]}
        for name in ORDER_LIMITS:
            if (name in one) is not (name in new):
                changed[name] = one.get(name, "not known"), new.get(name, "not known")
        return changed

    # Currencies -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The id without its exchange prefix, as it stands in paths."""
        return self.id.rpartition(":")[2]

    # The grids ------------------------------------------------------------------------------------------------

    def ticks(self, price: float) -> int:
        """Return the nearest whole number of ticks."""
        return round(price * self._tick_inv)

    def price(self, ticks: int) -> float:
        """Return the float nearest to a number of ticks, equal to the parsed exchange text."""
        # A quotient of whole numbers is correctly rounded, so it is the float that the decimal text parses to.
        tick, ticks_in_unit = self._tick_ratio
        return ticks * tick / ticks_in_unit

    def price_decimal(self, ticks: int) -> Decimal:
        """Return a number of ticks as a price, exactly."""
        return EXACT.multiply(self.tick, ticks)

    def lots(self, qty: float) -> int:
        """Return the nearest whole number of lots."""
        return round(qty / float(self.lot))

    def lots_floor(self, qty: float) -> int:
        """Return the lots of the whole size steps in `qty`, toward zero; float noise counts as on the step."""
        exact = qty * self._qty_step_inv
        if not abs(exact * self.lots_per_step) < _STEPS_MAX:
            raise self._uncountable(qty, "size", self.lot)
        steps = round(exact)
        if steps != exact and not _is_noise(exact - steps, exact):
            steps = math.trunc(exact)
        return steps * self.lots_per_step

    def lots_ceil(self, qty: float) -> int:
        """Return the lots of the size steps that cover `qty`: the last step may be covered in part."""
        exact = qty * self._qty_step_inv
        nearest = round(exact)
        return (nearest if _is_noise(exact - nearest, exact) else math.ceil(exact)) * self.lots_per_step

    def lots_within(self, amount: Decimal | Fraction) -> int:
        """Return the lots of the whole size steps in an exact signed amount, toward zero."""
        amount_num, amount_den = amount.as_integer_ratio()
        step_num, step_den = self._qty_step_ratio
        steps = abs(amount_num) * step_den // (amount_den * step_num)
        return (steps if amount_num >= 0 else -steps) * self.lots_per_step

    def whole_lots(self, lots: int) -> int:
        """Return the lots of the whole size steps in a number of lots, zero or more."""
        return lots - lots % self.lots_per_step

    def _uncountable(self, number: float, what: str, step: Decimal) -> OrderError:
        """Return why a number is no usable count of steps: such an order would not fit into 64 bits."""
        return OrderError(
            f"{self.id}: a {what} of {literal(number)} is more than {int(_STEPS_MAX):,} steps of {plain(step)}"
        )

    def qty(self, lots: int) -> float:
        """Return the float nearest to a number of lots."""
        # A quotient of whole numbers is correctly rounded, as the reading of the decimal's text is.
        lot, lots_in_unit = self._lot_ratio
        return lots * lot / lots_in_unit

    def qty_decimal(self, lots: int) -> Decimal:
        """Return a number of lots as a size, exactly."""
        return EXACT.multiply(self.lot, lots)

    # The steps ------------------------------------------------------------------------------------------------

    def tradable_lots(self, holding: Decimal) -> int:
        """Return the lots of a signed holding that can be traded: whole size steps, and 0 below the smallest order.

        This is the only definition of a position: `position`, `close`, `target` and round trips use it. The minimum
        applies to spot; a contract can always be closed.

        Examples:
            >>> coin = Instrument("BTC-USDT", price_step="0.1", qty_step="0.00000001", min_qty="0.00001")
            >>> coin.tradable_lots(Decimal("0.0312027661")), coin.tradable_lots(Decimal("0.000009"))
            (3120276, 0)
        """
        return self.tradable_of(self.lots_within(holding))

    def tradable_of(self, lots: int) -> int:
        """Return what of a signed number of lots can be traded, as `tradable_lots` of a holding."""
        step = self.lots_per_step
        whole = lots - lots % step if lots >= 0 else lots + -lots % step
        return 0 if self.is_spot and -self.min_lots < whole < self.min_lots else whole

    def tradable_qty(self, holding: Decimal) -> Decimal:
        """Return `tradable_lots` in the instrument's unit."""
        return self.qty_decimal(self.tradable_lots(holding))

    def limit_ticks(self, price: float, side: Side) -> int:
        """Round a limit price to the passive side of its step: buys down, sells up."""
        exact = price * self._price_step_inv
        if not abs(exact * self.ticks_per_step) < _STEPS_MAX:
            raise self._uncountable(price, "price", self.tick)
        nearest = round(exact)
        if nearest != exact and not _is_noise(exact - nearest, exact):
            nearest = math.floor(exact) if side is Side.BUY else math.ceil(exact)
        return nearest * self.ticks_per_step

    def stop_ticks(self, price: float, side: Side) -> int:
        """Round a stop price away from the market: buy stops up, sell stops down."""
        return self.limit_ticks(price, side.opposite)

    def market_ticks(self, price: float, side: Side) -> int:
        """Round a traded price against the taker when the data are off the step: buys up, sells down."""
        return self.limit_ticks(price, side.opposite)

    def ticks_around(self, price: float) -> tuple[int, int]:
        """Return the steps below and above a price, in ticks; the two are equal for a price on a step."""
        exact = price * self._price_step_inv
        nearest = round(exact)
        if nearest == exact or _is_noise(exact - nearest, exact):
            ticks = nearest * self.ticks_per_step
            return ticks, ticks
        low = math.floor(exact) * self.ticks_per_step
        return low, low + self.ticks_per_step

    def fits(self, *, lots: int, left: int, limit: int | None, stop: int | None, may_be_small: bool = False) -> bool:
        """Return whether an order's numbers are on the steps, and its whole size is large enough."""
        return (
            (lots >= self.min_lots or may_be_small)
            and lots % self.lots_per_step == 0
            and left % self.lots_per_step == 0
            and (limit is None or limit % self.ticks_per_step == 0)
            and (stop is None or stop % self.ticks_per_step == 0)
        )

    def is_off_step(self, price: float) -> bool:
        """Return whether a price is off the step, by more than float rounding explains."""
        exact = price * self._price_step_inv
        return not _is_noise(exact - round(exact), exact)

    def off_step(self, prices: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return a mask of the prices off the step; NaN counts as on it."""
        return off_grid(prices, self._price_step_inv)

    def off_qty_step(self, qtys: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return a mask of the sizes off the step; NaN counts as on it."""
        return off_grid(qtys, self._qty_step_inv)

    # Value ----------------------------------------------------------------------------------------------------

    def value(self, lots: int, ticks: int) -> Decimal:
        """Return the value of `lots` at `ticks` in the settlement currency.

        Spot and linear contracts: exact. Inverse: coins, rounded once, half-even, to 1e-12. The sign is that of `lots`.
        """
        if not self.is_inverse:
            return EXACT.multiply(self._tick_value, lots * ticks)
        size = EXACT.multiply(self.lot_value, lots)
        price = EXACT.multiply(self.tick, ticks)
        return EXACT.divide(size, price).quantize(COIN_STEP, rounding=ROUND_HALF_EVEN, context=EXACT)

    def notional(self, qty: float | Decimal, price: float | Decimal) -> Decimal:
        """Return the value of `qty` at `price` in the settlement currency; inverse rounded as in `value`.

        Examples:
            >>> coin = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1",
            ...                   contract_value="100", is_inverse=True)
            >>> coin.notional(10, 50_000)
            Decimal('0.020000000000')
        """
        size = EXACT.multiply(decimal_of(qty), self.unit)
        if not self.is_inverse:
            return EXACT.multiply(size, decimal_of(price))
        return EXACT.divide(size, decimal_of(price)).quantize(COIN_STEP, rounding=ROUND_HALF_EVEN, context=EXACT)

    def pnl(self, qty: float | Decimal, entry: float | Decimal, exit: float | Decimal) -> Decimal:  # noqa: A002
        """Return the profit of a signed position from entry to exit, in the settlement currency.

        Source: OKX API v5, "Profit and loss": linear `n x u x (exit - entry)`, inverse `n x u x (1/entry - 1/exit)`.

        Examples:
            >>> coin = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1",
            ...                   contract_value="100", is_inverse=True)
            >>> coin.pnl(10, 50_000, 40_000), coin.pnl(-10, 50_000, 40_000)
            (Decimal('-0.005000000000'), Decimal('0.005000000000'))
        """
        before, after = self.notional(qty, entry), self.notional(qty, exit)
        return EXACT.subtract(before, after) if self.is_inverse else EXACT.subtract(after, before)

    def coins(self, qty: float, price: float) -> float:
        """Return `qty` at `price` in coins of the base currency."""
        size = qty * float(self.unit)
        return size / price if self.is_inverse else size

    def qty_for(self, *, base: float, price: float | None = None) -> float:
        """Turn coins into the instrument's own unit, rounded toward zero to the size step as in `lots_floor`.

        Args:
            base: Coins of the base currency.
            price: Needed by inverse contracts, whose size is counted in quote currency.

        Raises:
            OrderError: The instrument is inverse and no price is given.
        """
        if self.is_inverse:
            if price is None:
                raise OrderError(f"{self.id}: an inverse contract's size depends on the price; give price=")
            contracts = EXACT.divide(EXACT.multiply(decimal_of(base), decimal_of(price)), self.unit)
        else:
            contracts = EXACT.divide(decimal_of(base), self.unit)
        return self.qty(self.lots_floor(float(contracts)))


def _amount(number: str | float | Decimal, what: str) -> Decimal:
    """Return a field of an instrument as a decimal.

    Raises:
        ConfigError: It is no number, or out of bounds.
    """
    try:
        value = decimal_of(number)
    except ConfigError as error:
        raise ConfigError(f"{what} {error}") from None
    if not _SMALLEST <= value <= _LARGEST:
        raise ConfigError(f"{what} is {number}; it must be above zero, from {_SMALLEST} to {_LARGEST}")
    return value


def on_step_of(step: str) -> Callable[[float], bool]:
    """Return a function that says whether a price is on a step, as far as float rounding tells.

    Examples:
        >>> is_on = on_step_of("0.1")
        >>> is_on(0.1 + 0.2), is_on(0.25)
        (True, False)
    """
    per_unit = float(1 / Fraction(step))

    def is_on_step(price: float) -> bool:
        steps = price * per_unit
        return _is_noise(steps - round(steps), steps)

    return is_on_step


def off_grid(numbers: NDArray[np.float64], per_unit: float) -> NDArray[np.bool_]:
    """Return which numbers are off a grid of `per_unit` steps a unit, by more than float rounding explains."""
    steps = numbers * per_unit
    away = np.abs(steps - np.rint(steps))
    # Nearly always nothing is off, and one comparison says so.
    off = away > GRID_TOLERANCE
    if off.any():
        off &= away > np.abs(steps) * _FLOAT_NOISE
    return off


def _is_noise(off_step: float, steps: float) -> bool:
    """Return whether a distance from the grid, in steps, is no more than float rounding of `steps` explains."""
    return abs(off_step) <= max(GRID_TOLERANCE, abs(steps) * _FLOAT_NOISE)


def check_id(instrument_id: str) -> None:
    """Refuse an id that could leave its folder or confuse a path.

    Raises:
        ConfigError: The id is empty, too long, holds a path separator, a dot path or a control character, or is a name
            that not every machine takes, or takes as another one.
    """
    if not isinstance(instrument_id, str):
        raise ConfigError(f"instrument id {instrument_id!r} is not text")
    prefix, colon, name = instrument_id.rpartition(":")
    good = bool(name) and len(instrument_id) <= 120 and not (colon and not prefix)
    for part in (prefix, name):
        if part in (".", "..") or not all(c.isalnum() or c in "-_.+" for c in part):
            good = False
    if not good:
        raise ConfigError(
            f"instrument id {instrument_id[:60]!r} is not usable; write letters, digits and - _ . + "
            "with an optional exchange prefix, for example binance:BTC-USDT-SWAP"
        )
    for part in (prefix, name):
        reason = unportable(part) if part else None
        if reason is not None:
            raise ConfigError(
                f"instrument id {instrument_id[:60]!r} is not usable: {part[:60]!r} {reason}; spell it another way, "
                "for example with its currency: BTC-USDT"
            )
