"""What the market says: one frozen struct for each kind of event, and `EVENT_KINDS`, the one table of the kinds.

Prices and sizes are floats parsed once from the exchange's text. Sizes are base units for spot and contracts for
swaps and futures. Stamps are integer UTC nanoseconds; `received_ns` is the order of replay.

A new kind is a struct and a record in the table. Columns, files, checks, merging and hooks read the table.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeAlias, get_args

import msgspec

from quantkit.instruments import Instrument, Side


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and offer, with the last trade where the source has it.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        bid, ask: Prices in the quote currency; None where a side is empty.
        bid_qty, ask_qty: Sizes: coins on spot, contracts on swaps and futures.
        last, last_qty: Of the last trade, None where the source has it not.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    bid: float | None
    bid_qty: float | None
    ask: float | None
    ask_qty: float | None
    last: float | None = None
    last_qty: float | None = None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One public print: somebody traded.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        price: In the quote currency.
        qty: Coins on spot, contracts on swaps and futures.
        side: Of the taker.
        trade_id: The exchange's own number, 0 where the source gives none.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    price: float
    qty: float
    side: Side
    trade_id: int = 0


class Extra(dict[str, Any]):
    """Further columns of a row by name, numbers and texts: a mapping that nobody can write into."""

    __slots__ = ()

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        raise TypeError("what travels with a candle cannot be changed; copy it: dict(candle.extra)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a candle can be hashed, so this has to be
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type["Extra"], tuple[dict[str, Any]]]:
        return Extra, (dict(self),)


#: Of every candle without further columns.
NO_EXTRA: Final = Extra()


class Candle(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """One closed interval; delivered at `close_ns`, never before.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        open_ns, close_ns: Bounds of the interval, UTC nanoseconds.
        open, high, low, close: Prices in the quote currency.
        volume: Traded in the interval: coins on spot, contracts on swaps and futures.
        interval: Its length, such as `1m`, `1h` or `1d`.
        extra: The further columns of its row in the user's frame, by name; a candle from elsewhere has none.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    open_ns: int
    close_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval: str
    extra: Mapping[str, Any] = NO_EXTRA


class BookUpdate(msgspec.Struct, frozen=True, gc=False):
    """A snapshot of the book or the levels that changed; size 0 removes a level.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        bid_prices, bid_qtys, ask_prices, ask_qtys: The levels; sizes as in `Ticker`.
        is_snapshot: Whether the levels are the whole book.
        seq, prev_seq: The exchange's own numbers, 0 and -1 where it gives none.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    bid_prices: tuple[float, ...]
    bid_qtys: tuple[float, ...]
    ask_prices: tuple[float, ...]
    ask_qtys: tuple[float, ...]
    is_snapshot: bool
    seq: int = 0
    prev_seq: int = -1


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The price a position is valued at.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        price: In the quote currency.
        source: `mark` or `index`.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    price: float
    source: str = "mark"


class OpenInterest(msgspec.Struct, frozen=True, gc=False):
    """How many contracts are open on the exchange, held long and short by someone; no price is made by it.

    Attributes:
        qty: Contracts.
        coins: The same in the base currency, None where the source has it not.
        usd: The same in US dollars, None where the source has it not.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    qty: float
    coins: float | None = None
    usd: float | None = None


class Funding(msgspec.Struct, frozen=True, gc=False):
    """A funding rate; only settled ones are charged.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        rate: Fraction of the notional; longs pay a positive one.
        funding_ns: The moment of the settlement.
        is_settled: Whether the rate is that of a settlement, and no prediction.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    rate: float
    funding_ns: int
    is_settled: bool


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Something was lost between two moments; a gap in `book` also makes the book invalid.

    Attributes:
        instrument: Its id.
        exchange_ns: The exchange's stamp, UTC nanoseconds.
        received_ns: Our receipt, the order of replay.
        channel: What was lost: `book`, `trade`, `candle 1m` and so on.
        from_ns, to_ns: The moments.
        cause: Why, in a few words.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    channel: str
    from_ns: int
    to_ns: int
    cause: str


class Timing(msgspec.Struct, frozen=True, gc=False):
    """When a message of a live run left, or since when the clocks were so far apart; both stamps are engine time.

    Attributes:
        number: Of the message in its run, counted from 1; 0 for a step of the offset, which holds from `sent_ns` on.
        sent_ns: When it left, by our clock.
        offset_ns: Our clock less the exchange's.
        sender: Stands for the strategy with its parameters; empty for a step of the offset.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    number: int
    sent_ns: int
    offset_ns: int
    sender: str = ""


class PositionTier(msgspec.Struct, frozen=True, gc=False):
    """One step of what an exchange demands of a position by its size, as it stood at `received_ns`.

    All tiers of an instrument and a margin mode are told together, with one stamp; the last ones told hold.

    Attributes:
        margin_mode: `cross` or `isolated`.
        tier: Counted from 1, the smallest positions.
        min_qty, max_qty: The sizes that it is for, both included.
        maintenance_margin_rate: Fraction of the notional below which the exchange liquidates.
        initial_margin_rate: Fraction of the notional that opening takes, the reciprocal of `max_leverage`.
        max_leverage: The highest leverage that may be set.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    margin_mode: str
    tier: int
    min_qty: float
    max_qty: float
    maintenance_margin_rate: float
    initial_margin_rate: float
    max_leverage: float


class PriceLimit(msgspec.Struct, frozen=True, gc=False):
    """The band outside of which the exchange refuses orders.

    Attributes:
        highest_buy: The highest price of a buy order, None where there is none.
        lowest_sell: The lowest price of a sell order, None where there is none.
        is_enforced: Whether the exchange applies the band now.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    highest_buy: float | None
    lowest_sell: float | None
    is_enforced: bool


class FeeRate(msgspec.Struct, frozen=True, gc=False):
    """The fees of an account's fills in an instrument, as they stood at `received_ns`.

    Attributes:
        maker: Fraction of the notional of an order that rested; above zero is paid, below zero a rebate.
        taker: The same of an order that took liquidity.
        level: The account's fee level, such as `Lv1`.
        group: The exchange's group of instruments with equal fees.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    maker: float
    taker: float
    level: str = ""
    group: str = ""


class InstrumentChange(msgspec.Struct, frozen=True):
    """An instrument's metadata are others from now on; no market data, but a row in their order."""

    instrument: str
    exchange_ns: int
    received_ns: int
    info: Instrument


MarketEvent: TypeAlias = (
    Ticker
    | Trade
    | Candle
    | BookUpdate
    | Mark
    | OpenInterest
    | Funding
    | Gap
    | Timing
    | PositionTier
    | PriceLimit
    | FeeRate
)

#: One row of a feed.
Row: TypeAlias = MarketEvent | InstrumentChange


# The table of kinds -------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """One column of a kind.

    Attributes:
        name: Of the column.
        type: `stamp` (timestamp[ns, UTC]), `int` (int64), `float` (float64), `optional` (float64 or null), `flag`
            (bool), `side` and `text` (dictionary of strings), `levels` (list of float64), `string` (plain text),
            `object` (kept in memory, never stored).
        rule: What its values have to be: `price` (above zero), `size` (zero or above), `number` (finite), `side`.
        step: Whether the instrument's steps show in it: `price`, `size`, or `volume` for sums of sizes.
        source: The event's attribute that it holds, where that has another name.
    """

    name: str
    type: str
    rule: str = ""
    step: str = ""
    source: str = ""

    @property
    def attribute(self) -> str:
        """The event's attribute that the column holds."""
        return self.source or self.name


#: The attributes that every event begins with, and those of a candle that are no columns of its kind: its stream's
#: interval, and what its user's frame has beside.
_HEAD: Final = ("instrument", "exchange_ns", "received_ns")
_NO_COLUMNS: Final = ("interval", "extra")
#: The types of attributes that each type of column holds.
_HOLDS: Final[dict[str, Any]] = {
    "stamp": int,
    "int": int,
    "float": float,
    "optional": float | None,
    "flag": bool,
    "side": Side,
    "text": str,
    "levels": tuple[float, ...],
    "object": Instrument,
}
#: The types of columns whose values need a rule, and the rules.
_RULED: Final = ("float", "optional", "side", "levels")
RULE_NAMES: Final = ("price", "size", "number", "side")
STEP_NAMES: Final = ("price", "size", "volume")


class EventKind(msgspec.Struct, frozen=True, kw_only=True):
    """What the package knows of one kind of row. Nothing has a default: each kind says all of it.

    Attributes:
        name: As in streams and folders.
        event: The type of its events; None for a part of another kind's rows.
        rank: Its place among rows of one stamp, lower first.
        hook: The method of a strategy that takes its rows; None: the engine alone takes them.
        subscription: The method of a strategy that asks for them; None: they come with every instrument.
        fields: Its columns beside `received_ns`, `exchange_ns` and `seq`, in the order of the type's attributes.
        per: The UTC `day` or `month` that one file holds; `none` where its rows have no files of their own.
        is_sparse: Whether its rows come when something happens, so that a month without any is no hole.
        is_timed: Whether `exchange_ns` is the moment of sending and thus tells how far the clocks are apart.

    Raises:
        TypeError: Something is missing or contradicts the type.
    """

    name: str
    event: type[Any] | None
    rank: int
    hook: str | None
    subscription: str | None
    fields: tuple[Field, ...]
    per: Literal["day", "month", "none"]
    is_sparse: bool
    is_timed: bool

    def __post_init__(self) -> None:
        """Hold the record against the event's type."""
        if self.hook is not None and not self.hook.startswith("on_"):
            raise self._error(f"hook {self.hook!r} does not begin with on_")
        if self.subscription is not None and self.hook is None:
            raise self._error(f"{self.subscription} asks for rows that no hook takes; name the hook")
        if self.per not in ("day", "month", "none"):
            raise self._error(f"per is {self.per!r}; use day, month or none")
        if not self.fields:
            raise self._error("it has no fields")
        for field in self.fields:
            self._check_field(field)
        if self.event is not None:
            self._check_type(self.event)
        elif self.hook is not None or self.is_stored:
            raise self._error("rows that are stored or reach a hook need a type")

    @property
    def is_stored(self) -> bool:
        """Whether its rows have files."""
        return self.per != "none"

    def _check_field(self, field: Field) -> None:
        if field.type not in _HOLDS:
            raise self._error(f"field {field.name} has the type {field.type!r}; use one of {', '.join(_HOLDS)}")
        if field.type == "object" and self.is_stored:
            raise self._error(f"field {field.name} is an object, which no file holds")
        if field.rule not in RULE_NAMES if field.type in _RULED else field.rule:
            given = f"the rule {field.rule!r}" if field.rule else "no rule"
            allowed = (
                f"use one of {', '.join(RULE_NAMES)}" if field.type in _RULED else "only numbers and sides have one"
            )
            raise self._error(f"field {field.name} of type {field.type} has {given}; {allowed}")
        if field.step and field.step not in STEP_NAMES:
            raise self._error(f"field {field.name} has the step {field.step!r}; use one of {', '.join(STEP_NAMES)}")

    def _check_type(self, type_: type[Any]) -> None:
        found = {each.name: each.type for each in msgspec.structs.fields(type_)}
        if tuple(found)[: len(_HEAD)] != _HEAD:
            raise self._error(f"{type_.__name__} does not begin with {', '.join(_HEAD)}")
        wanted = [name for name in list(found)[len(_HEAD) :] if name not in _NO_COLUMNS]
        held = [field.attribute for field in self.fields]
        if held != wanted:
            raise self._error(f"its fields hold {', '.join(held)}; {type_.__name__} has {', '.join(wanted)}")
        for field in self.fields:
            if found[field.attribute] != _HOLDS[field.type]:
                raise self._error(
                    f"field {field.name} is {field.type}; {type_.__name__}.{field.attribute} is "
                    f"{getattr(found[field.attribute], '__name__', found[field.attribute])}"
                )
        if (type_ in get_args(MarketEvent)) is not self.is_stored or type_ not in get_args(Row):
            raise self._error(f"add {type_.__name__} to the union MarketEvent (stored rows) or Row (others)")

    def _error(self, what: str) -> TypeError:
        return TypeError(f"event kind {self.name!r}: {what}")


def kinds_by_name(*kinds: EventKind) -> dict[str, EventKind]:
    """Return kinds by name, in the order of their ranks.

    Raises:
        TypeError: Two share a name, an event type, a rank or a hook, or they are not in order.
    """
    for what in ("name", "event", "rank", "hook", "subscription"):
        given = [value for kind in kinds if (value := getattr(kind, what)) is not None]
        twice = next((value for place, value in enumerate(given) if value in given[:place]), None)
        if twice is not None:
            raise TypeError(f"event kinds: two have the {what} {getattr(twice, '__name__', twice)}")
    if [kind.rank for kind in kinds] != sorted(kind.rank for kind in kinds):
        raise TypeError("event kinds: list them in the order of their ranks")
    missing = {*get_args(Row)} - {kind.event for kind in kinds}
    if missing:
        raise TypeError(f"event kinds: {', '.join(sorted(type_.__name__ for type_ in missing))} has no record")
    return {kind.name: kind for kind in kinds}


def _levels(side: str) -> tuple[Field, Field]:
    return Field(f"{side}_prices", "levels", "price", "price"), Field(f"{side}_qtys", "levels", "size", "size")


_OHLC: Final = tuple(Field(name, "float", "price", "price") for name in ("open", "high", "low", "close"))

#: Every kind of row by name, in the order of rows of one stamp. Funding comes after the marks and candles of its
#: boundary, which value it, and before all that belongs after the boundary.
EVENT_KINDS: Final[dict[str, EventKind]] = kinds_by_name(
    EventKind(
        name="gap",
        event=Gap,
        rank=0,
        hook="on_gap",
        subscription=None,
        fields=(Field("channel", "text"), Field("from_ns", "stamp"), Field("to_ns", "stamp"), Field("cause", "text")),
        per="month",
        is_sparse=True,
        is_timed=False,
    ),
    EventKind(
        name="mark",
        event=Mark,
        rank=1,
        hook="on_mark",
        subscription="subscribe_marks",
        fields=(Field("price", "float", "price"), Field("source", "text")),  # finer than the step
        per="month",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="open_interest",
        event=OpenInterest,
        rank=2,
        hook="on_open_interest",
        subscription="subscribe_open_interest",
        fields=(
            Field("qty", "float", "size"),
            Field("coins", "optional", "size"),
            Field("usd", "optional", "size"),
        ),
        per="month",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="candle",
        event=Candle,
        rank=3,
        hook="on_candle",
        subscription="subscribe_candles",
        fields=(
            Field("open_ns", "stamp"),
            Field("close_ns", "stamp"),
            *_OHLC,
            Field("volume", "float", "size", "volume"),
        ),
        per="month",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="funding",
        event=Funding,
        rank=4,
        hook="on_funding",
        subscription="subscribe_funding",
        fields=(Field("rate", "float", "number"), Field("funding_ns", "stamp"), Field("is_settled", "flag")),
        per="month",
        is_sparse=False,
        is_timed=False,
    ),
    EventKind(
        name="instrument",
        event=InstrumentChange,
        rank=5,
        hook=None,
        subscription=None,
        fields=(Field("info", "object"),),
        per="none",  # made of the metadata, which have a file of their own
        is_sparse=True,
        is_timed=False,
    ),
    EventKind(
        name="candle_open",  # a candle's open price, after every candle that closes at that instant
        event=None,
        rank=6,
        hook=None,
        subscription=None,
        fields=(Field("open", "float", "price"), Field("open_ns", "stamp"), Field("close_ns", "stamp")),
        per="none",
        is_sparse=False,
        is_timed=False,
    ),
    EventKind(
        name="book",
        event=BookUpdate,
        rank=7,
        hook="on_book",
        subscription="subscribe_book",
        fields=(
            *_levels("bid"),
            *_levels("ask"),
            Field("is_snapshot", "flag"),
            Field("update_seq", "int", source="seq"),  # `seq` is the row's own
            Field("prev_update_seq", "int", source="prev_seq"),
        ),
        per="day",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="ticker",
        event=Ticker,
        rank=8,
        hook="on_ticker",
        subscription="subscribe_tickers",
        fields=(
            Field("bid", "optional", "price", "price"),
            Field("bid_qty", "optional", "size", "size"),
            Field("ask", "optional", "price", "price"),
            Field("ask_qty", "optional", "size", "size"),
            Field("last", "optional", "price", "price"),
            Field("last_qty", "optional", "size", "size"),
        ),
        per="day",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="trade",
        event=Trade,
        rank=9,
        hook="on_trade",
        subscription="subscribe_trades",
        fields=(
            Field("price", "float", "price", "price"),
            Field("qty", "float", "size", "size"),
            Field("side", "side", "side"),
            Field("trade_id", "int"),
        ),
        per="day",
        is_sparse=False,
        is_timed=True,
    ),
    EventKind(
        name="timing",  # never among the rows of a run; a replay reads it beforehand
        event=Timing,
        rank=10,
        hook=None,
        subscription=None,
        fields=(
            Field("number", "int"),
            Field("sent_ns", "stamp"),
            Field("offset_ns", "int"),
            Field("sender", "text"),
        ),
        per="month",
        is_sparse=True,
        is_timed=False,
    ),
    EventKind(
        name="position_tier",  # of the exchange's rules that can only be asked for, so that they are kept
        event=PositionTier,
        rank=11,
        hook=None,
        subscription=None,
        fields=(
            Field("margin_mode", "text"),
            Field("tier", "int"),
            Field("min_qty", "float", "size"),
            Field("max_qty", "float", "size"),
            Field("maintenance_margin_rate", "float", "number"),
            Field("initial_margin_rate", "float", "number"),
            Field("max_leverage", "float", "number"),
        ),
        per="month",
        is_sparse=True,
        is_timed=False,
    ),
    EventKind(
        name="price_limit",
        event=PriceLimit,
        rank=12,
        hook=None,
        subscription=None,
        fields=(
            Field("highest_buy", "optional", "price"),
            Field("lowest_sell", "optional", "price"),
            Field("is_enforced", "flag"),
        ),
        per="month",
        is_sparse=True,
        is_timed=True,
    ),
    EventKind(
        name="fee_rate",
        event=FeeRate,
        rank=13,
        hook=None,
        subscription=None,
        fields=(
            Field("maker", "float", "number"),
            Field("taker", "float", "number"),
            Field("level", "text"),
            Field("group", "text"),
        ),
        per="month",
        is_sparse=True,
        is_timed=False,
    ),
)

RANKS: Final[dict[str, int]] = {kind.name: kind.rank for kind in EVENT_KINDS.values()}
#: The event types of the kinds whose rows are stored, by name, and their names by type.
EVENT_TYPES: Final[dict[str, type[MarketEvent]]] = {
    kind.name: kind.event for kind in EVENT_KINDS.values() if kind.is_stored and kind.event is not None
}
KINDS: Final[dict[type[MarketEvent], str]] = {event: kind for kind, event in EVENT_TYPES.items()}
