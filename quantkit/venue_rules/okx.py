"""OKX's rules for orders: each check with its code and text, in the order in which it is made.

An order is judged as it arrives, against what is known then. What nobody knows (a price limit, a largest size, the
state of an instrument) is None or empty here, and the check that needs it says nothing. docs/order-rules.md has the
table. Source: OKX API v5, "Place order", "Error code" and "Get instruments".
"""

from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError
from quantkit.instruments import EXACT, Instrument

#: Whether a run's orders are judged by these rules: for instruments listed by OKX, for all, or for none.
VENUE_RULES: Final = ("auto", "okx", "off")
#: Whose order ends where an order of ours would meet another of ours; the mode of the one that takes counts.
STP_MODES: Final = ("cancel_maker", "cancel_taker", "cancel_both")
#: Orders that may be open at once, in one instrument and in all.
OPEN_ORDERS_MAX: Final = 500
OPEN_ORDERS_IN_ALL_MAX: Final = 4_000
#: So many requests of a kind (place, amend, cancel) for one instrument are let through in any window of this length.
REQUESTS_MAX: Final = 60
REQUESTS_WINDOW_NS: Final = 2 * NS_PER_S
#: A market order that would fill further than this from the best price is stopped there.
SLIPPAGE_MAX: Final = Decimal("0.05")
#: Currencies that count as dollars where the rules speak of dollars.
DOLLARS: Final = ("USD", "USDT", "USDC", "USDG", "USDS")

#: Our words for OKX's codes, in the order of the checks.
TEXTS: Final[dict[str, str]] = {
    "50011": "more than 60 requests of one kind for the instrument within 2 s",
    "51021": "the instrument is not listed yet",
    "51022": "the instrument is suspended",
    "51027": "the contract has expired",
    "51197": "only post-only orders are taken for now",
    "51150": "price is no multiple of the tick size",
    "51020": "size is below the smallest order",
    "51121": "size is no multiple of the lot size",
    "51203": "size is above the largest limit order",
    "51202": "size is above the largest market order",
    "51185": "value is above the largest limit order",
    "51201": "value is above the largest market order",
    "51006": "price is outside the price limit",
    "51169": "there is no position to reduce",
    "51170": "a reduce-only order on the side of the position",
    "51112": "a closing order above the position",
    "51148": "a reduce-only order above the position",
    "51171": "the change leaves a reduce-only order above the position",
    "51016": "the client order id is in use",
    "51174": "too many open orders in the instrument",
    "51025": "too many open orders",
    "54036": "fill-or-kill with the self-trade prevention mode cancel_both",
}
#: Reasons as orders carry them: code and text.
REASONS: Final[dict[str, str]] = {code: f"{code}: {text}" for code, text in TEXTS.items()}

#: The code of a limit outside the price limit, which is judged again when an order goes off.
OUTSIDE: Final = "51006"
#: What an instrument's state forbids; a state that is not here forbids nothing.
_STATES: Final = {
    "preopen": "51021",
    "test": "51021",
    "suspend": "51022",
    "rebase": "51022",
    "expired": "51027",
    "post_only": "51197",
}


class OrderBand(NamedTuple):
    """The prices between which orders have to lie, in ticks on the price step; None where there is no limit."""

    highest_buy: int | None = None
    lowest_sell: int | None = None

    def allows(self, ticks: int, *, is_buy: bool) -> bool:
        """Return whether a limit may be there. Only the side that would take is bounded.

        Examples:
            >>> band = OrderBand(101, 99)
            >>> band.allows(101, is_buy=True), band.allows(102, is_buy=True), band.allows(5, is_buy=True)
            (True, False, True)
        """
        bound = self.highest_buy if is_buy else self.lowest_sell
        return bound is None or (ticks <= bound if is_buy else ticks >= bound)


#: A band that is not known, or that the exchange does not enforce.
NO_BAND: Final = OrderBand()


class WantedOrder(NamedTuple):
    """What an order asks for, or is to have after a change.

    Attributes:
        is_buy: Its side.
        lots, left: Its whole size and what of it is open, in lots of the instrument's grid.
        ticks: Its limit in ticks of the grid, None for a market order.
        post_only, reduce_only, is_fok: Its terms.
        is_waiting: Whether it waits for a trigger: neither price limit nor position are looked at before.
        is_change: Whether an order that is open already is changed.
        is_repriced: Whether its limit is new.
        money: The quote currency that a market order spends, whose size its fills decide; None: it has a size.
    """

    is_buy: bool
    lots: int
    left: int
    ticks: int | None
    post_only: bool = False
    reduce_only: bool = False
    is_fok: bool = False
    is_waiting: bool = False
    is_change: bool = False
    is_repriced: bool = True
    money: Fraction | None = None


class Standing(NamedTuple):
    """What an order is judged against.

    Attributes:
        state: The instrument's, in OKX's word; empty: not known.
        position: Signed lots of a contract held; None of spot, whose orders do not reduce.
        reference: The price in ticks by which a market order is valued; None: not known.
        band: The price limit.
        open_orders: How many orders are open in the instrument. open_in_all: In all of them.
        is_id_open: Whether an open order bears its client order id.
        stp_mode: The mode of self-trade prevention.
        is_leg: Whether the position is one of the two of the long/short mode.
    """

    state: str = ""
    position: int | None = None
    reference: int | None = None
    band: OrderBand = NO_BAND
    open_orders: int = 0
    open_in_all: int = 0
    is_id_open: bool = False
    stp_mode: str = STP_MODES[0]
    is_leg: bool = False


def code_of(asked: WantedOrder, instrument: Instrument, standing: Standing) -> str:
    """Return the code by which OKX refuses an order, empty where it takes it.

    Args:
        asked: The order.
        instrument: On a grid that expresses the order's numbers.
        standing: What it is judged against.

    Examples:
        >>> swap = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
        >>> order = WantedOrder(is_buy=True, lots=1, left=1, ticks=1_000_001)
        >>> code_of(order, swap, Standing(band=OrderBand(1_000_000)))
        '51006'
    """
    return (
        _state_code(asked, standing.state)
        or _step_code(asked, instrument, standing.position)
        or _largest_code(asked, instrument, standing.reference)
        or _price_code(asked, standing.band)
        or _reducing_code(asked, standing)
        or _count_code(asked, standing)
        or ("54036" if asked.is_fok and standing.stp_mode == "cancel_both" else "")
    )


def _state_code(asked: WantedOrder, state: str) -> str:
    code = _STATES.get(state, "")
    return "" if code == "51197" and asked.post_only else code


def _step_code(asked: WantedOrder, instrument: Instrument, position: int | None) -> str:
    if asked.ticks is not None and asked.ticks % instrument.ticks_per_step:
        return "51150"
    if asked.money is not None:
        return ""
    if asked.lots < instrument.min_lots and not _closes(asked, position):
        return "51020"
    if asked.lots % instrument.lots_per_step or asked.left % instrument.lots_per_step:
        return "51121"
    return ""


def _closes(asked: WantedOrder, position: int | None) -> bool:
    """Return whether an order takes a whole position in a contract off, which no smallest order can forbid."""
    reducible = _reducible(asked, position)
    return reducible > 0 and (asked.left == reducible or (asked.reduce_only and asked.left > reducible))


def _reducible(asked: WantedOrder, position: int | None) -> int:
    """Return how much of a position an order could take off, below zero where it is on the same side."""
    return 0 if position is None else -position if asked.is_buy else position


def _largest_code(asked: WantedOrder, instrument: Instrument, reference: int | None) -> str:
    """Check the largest sizes and values. A value in a currency that is no dollar is not known."""
    is_market = asked.ticks is None
    if asked.money is not None:
        most = instrument.max_market_value if instrument.is_spot and instrument.quote in DOLLARS else None
        return "51201" if most is not None and asked.money > most else ""
    lots = instrument.max_market_lots if is_market else instrument.max_limit_lots
    if lots is not None and asked.lots > lots:
        return "51202" if is_market else "51203"
    most = instrument.max_market_value if is_market else instrument.max_limit_value
    if most is None:
        return ""
    value = dollars_of(instrument, asked.lots, reference if asked.ticks is None else asked.ticks)
    return "" if value is None or value <= most else "51201" if is_market else "51185"


def dollars_of(instrument: Instrument, lots: int, ticks: int | None) -> Decimal | None:
    """Return what a size is worth in dollars, None where nobody knows.

    Examples:
        >>> coin = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100",
        ...                   is_inverse=True)
        >>> dollars_of(coin, 3, None), dollars_of(Instrument("A-EUR", price_step="1", qty_step="1"), 3, 7)
        (Decimal('300'), None)
    """
    if instrument.quote not in DOLLARS:
        return None
    if instrument.is_inverse:
        return EXACT.multiply(instrument.lot_value, lots)
    return None if ticks is None else instrument.value(lots, ticks)


def _price_code(asked: WantedOrder, band: OrderBand) -> str:
    if (
        asked.ticks is None
        or asked.is_waiting
        or not asked.is_repriced
        or band.allows(asked.ticks, is_buy=asked.is_buy)
    ):
        return ""
    return "51006"


def _reducing_code(asked: WantedOrder, standing: Standing) -> str:
    if not asked.reduce_only or asked.is_waiting or standing.position is None:
        return ""
    reducible = _reducible(asked, standing.position)
    if reducible <= 0:
        return "51170" if reducible else "51169"
    if asked.left <= reducible:
        return ""
    return "51112" if standing.is_leg else "51171" if asked.is_change else "51148"


def _count_code(asked: WantedOrder, standing: Standing) -> str:
    if asked.is_change:
        return ""
    if standing.is_id_open:
        return "51016"
    if standing.open_orders >= OPEN_ORDERS_MAX:
        return "51174"
    return "51025" if standing.open_in_all >= OPEN_ORDERS_IN_ALL_MAX else ""


def applies(venue_rules: str, instrument: Instrument) -> bool:
    """Return whether orders in an instrument are judged by OKX's rules.

    With `auto` they are where OKX itself listed it: an id without a prefix alone says little, since instruments given
    by hand, or inferred from a file, bear one too.

    Examples:
        >>> mine = Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")
        >>> applies("auto", mine), applies("okx", mine), applies("off", mine)
        (False, True, False)
    """
    if venue_rules == "auto":
        return instrument.exchange == "okx" and instrument.source == "capture"
    return venue_rules == "okx"


def check_venue_rules(value: object) -> str:
    """Return the name of a choice of rules.

    Raises:
        ConfigError: It is none.
    """
    if value not in VENUE_RULES:
        raise ConfigError(f"venue_rules is {value!r}; use one of {', '.join(VENUE_RULES)}")
    return str(value)


def check_stp_mode(value: object) -> str:
    """Return the name of a mode of self-trade prevention.

    Raises:
        ConfigError: It is none.
    """
    if value not in STP_MODES:
        raise ConfigError(f"stp_mode is {value!r}; use one of {', '.join(STP_MODES)}")
    return str(value)
