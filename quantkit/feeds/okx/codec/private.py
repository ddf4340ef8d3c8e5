"""What OKX's private channels say: account, positions, balances, orders and fills, with exact numbers.

Money and sizes are `Decimal`, times UTC nanoseconds, ids text. The words of OKX's enumerations (states, kinds, causes)
stay text, so that a new one harms nothing. Every field but the instrument may be absent: OKX leaves out what an account
mode does not know. Signs are OKX's: a negative fee is paid, a positive one received. Source: OKX API v5, "Trading
account" and "Order book trading", WebSocket channels.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_origin

import msgspec
from msgspec import field

from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import grammar, wire
from quantkit.feeds.okx.codec.channels import Channel

Part = TypeVar("Part", bound=msgspec.Struct)


# What a frame holds -------------------------------------------------------------------------------------------


class BalanceUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One currency of the account."""

    currency: str = field(name="ccy")
    equity: Decimal | None = field(name="eq", default=None)
    equity_usd: Decimal | None = field(name="eqUsd", default=None)
    cash: Decimal | None = field(name="cashBal", default=None)
    available: Decimal | None = field(name="availBal", default=None)
    available_equity: Decimal | None = field(name="availEq", default=None)
    frozen: Decimal | None = field(name="frozenBal", default=None)
    in_orders: Decimal | None = field(name="ordFrozen", default=None)
    liability: Decimal | None = field(name="liab", default=None)
    unrealised_pnl: Decimal | None = field(name="upl", default=None)
    updated_ns: int | None = field(name="uTime", default=None)


class AccountUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The account as a whole, in US dollars, and the currencies that are reported."""

    total_equity: Decimal | None = field(name="totalEq", default=None)
    adjusted_equity: Decimal | None = field(name="adjEq", default=None)
    isolated_equity: Decimal | None = field(name="isoEq", default=None)
    available_equity: Decimal | None = field(name="availEq", default=None)
    initial_margin: Decimal | None = field(name="imr", default=None)
    maintenance_margin: Decimal | None = field(name="mmr", default=None)
    margin_ratio: Decimal | None = field(name="mgnRatio", default=None)
    notional_usd: Decimal | None = field(name="notionalUsd", default=None)
    unrealised_pnl: Decimal | None = field(name="upl", default=None)
    updated_ns: int | None = field(name="uTime", default=None)
    balances: tuple[BalanceUpdate, ...] = field(name="details", default=())


class PositionUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One position; `qty` is signed in net mode, and counts contracts of `side` (long or short) otherwise."""

    instrument: str = field(name="instId")
    kind: str = field(name="instType", default="")
    position_id: str = field(name="posId", default="")
    side: str = field(name="posSide", default="")
    margin_mode: str = field(name="mgnMode", default="")
    currency: str = field(name="ccy", default="")
    qty: Decimal | None = field(name="pos", default=None)
    available_qty: Decimal | None = field(name="availPos", default=None)
    average_price: Decimal | None = field(name="avgPx", default=None)
    mark_price: Decimal | None = field(name="markPx", default=None)
    last_price: Decimal | None = field(name="last", default=None)
    liquidation_price: Decimal | None = field(name="liqPx", default=None)
    unrealised_pnl: Decimal | None = field(name="upl", default=None)
    realised_pnl: Decimal | None = field(name="realizedPnl", default=None)
    leverage: Decimal | None = field(name="lever", default=None)
    margin: Decimal | None = field(name="margin", default=None)
    margin_ratio: Decimal | None = field(name="mgnRatio", default=None)
    initial_margin: Decimal | None = field(name="imr", default=None)
    maintenance_margin: Decimal | None = field(name="mmr", default=None)
    notional_usd: Decimal | None = field(name="notionalUsd", default=None)
    adl: str = field(name="adl", default="")
    trade_id: int | None = field(name="tradeId", default=None)
    created_ns: int | None = field(name="cTime", default=None)
    updated_ns: int | None = field(name="uTime", default=None)


class CashBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The cash of one currency that changed."""

    currency: str = field(name="ccy")
    cash: Decimal | None = field(name="cashBal", default=None)
    updated_ns: int | None = field(name="uTime", default=None)


class PositionChange(msgspec.Struct, frozen=True, kw_only=True):
    """A position that changed; signs as in `PositionUpdate`."""

    instrument: str = field(name="instId")
    kind: str = field(name="instType", default="")
    position_id: str = field(name="posId", default="")
    side: str = field(name="posSide", default="")
    margin_mode: str = field(name="mgnMode", default="")
    currency: str = field(name="ccy", default="")
    qty: Decimal | None = field(name="pos", default=None)
    average_price: Decimal | None = field(name="avgPx", default=None)
    trade_id: int | None = field(name="tradeId", default=None)
    updated_ns: int | None = field(name="uTime", default=None)


class TradeReference(msgspec.Struct, frozen=True, kw_only=True):
    """The trade that changed a balance or a position."""

    instrument: str = field(name="instId")
    trade_id: int | None = field(name="tradeId", default=None)


class BalanceAndPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Balances and positions after one event; `cause` is snapshot, filled, funding_fee, liquidation and so on."""

    pushed_ns: int | None = field(name="pTime", default=None)
    cause: str = field(name="eventType", default="")
    balances: tuple[CashBalance, ...] = field(name="balData", default=())
    positions: tuple[PositionChange, ...] = field(name="posData", default=())
    trades: tuple[TradeReference, ...] = field(name="trades", default=())


class OrderUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One order after a change; fields with `fill_` are those of the fill that changed it, if any."""

    instrument: str = field(name="instId")
    order_id: str = field(name="ordId")
    client_order_id: str = field(name="clOrdId", default="")
    tag: str = field(name="tag", default="")
    kind: str = field(name="instType", default="")
    side: str = field(name="side", default="")
    position_side: str = field(name="posSide", default="")
    trade_mode: str = field(name="tdMode", default="")
    order_type: str = field(name="ordType", default="")
    state: str = field(name="state", default="")
    price: Decimal | None = field(name="px", default=None)
    qty: Decimal | None = field(name="sz", default=None)
    qty_currency: str = field(name="tgtCcy", default="")
    filled_qty: Decimal | None = field(name="accFillSz", default=None)
    average_price: Decimal | None = field(name="avgPx", default=None)
    fee: Decimal | None = field(name="fee", default=None)
    fee_currency: str = field(name="feeCcy", default="")
    rebate: Decimal | None = field(name="rebate", default=None)
    rebate_currency: str = field(name="rebateCcy", default="")
    pnl: Decimal | None = field(name="pnl", default=None)
    fill_price: Decimal | None = field(name="fillPx", default=None)
    fill_qty: Decimal | None = field(name="fillSz", default=None)
    fill_fee: Decimal | None = field(name="fillFee", default=None)
    fill_fee_currency: str = field(name="fillFeeCcy", default="")
    fill_pnl: Decimal | None = field(name="fillPnl", default=None)
    fill_ns: int | None = field(name="fillTime", default=None)
    trade_id: int | None = field(name="tradeId", default=None)
    role: str = field(name="execType", default="")  # T taker, M maker
    category: str = field(name="category", default="")
    source: str = field(name="source", default="")
    cancel_source: str = field(name="cancelSource", default="")
    amend_source: str = field(name="amendSource", default="")
    amend_result: str = field(name="amendResult", default="")
    request_id: str = field(name="reqId", default="")
    code: str = field(name="code", default="")
    text: str = field(name="msg", default="")
    is_reduce_only: bool | None = field(name="reduceOnly", default=None)
    leverage: Decimal | None = field(name="lever", default=None)
    created_ns: int | None = field(name="cTime", default=None)
    updated_ns: int | None = field(name="uTime", default=None)

    @property
    def is_final(self) -> bool:
        """Whether the order is final: filled or canceled."""
        return self.state in ("filled", "canceled", "mmp_canceled")


class AccountFill(msgspec.Struct, frozen=True, kw_only=True):
    """One of our own fills; `client_order_id` is "0" unless it was a whole number when the order was sent."""

    instrument: str = field(name="instId")
    order_id: str = field(name="ordId")
    client_order_id: str = field(name="clOrdId", default="")
    side: str = field(name="side", default="")
    price: Decimal | None = field(name="fillPx", default=None)
    qty: Decimal | None = field(name="fillSz", default=None)
    trade_id: int | None = field(name="tradeId", default=None)
    role: str = field(name="execType", default="")  # T taker, M maker
    count: int | None = field(name="count", default=None)
    exchange_ns: int | None = field(name="ts", default=None)


# Messages -----------------------------------------------------------------------------------------------------


class AccountData(msgspec.Struct, frozen=True, kw_only=True):
    """A push of `account`.

    `event_type` is `snapshot` for the first push and the regular full ones, which may come in pages, and `event_update`
    for changes; None is what OKX did not send.
    """

    channel: Channel
    received_ns: int
    accounts: tuple[AccountUpdate, ...]
    event_type: str = ""
    page: int | None = None
    is_last_page: bool | None = None


class PositionsData(msgspec.Struct, frozen=True, kw_only=True):
    """A push of `positions`; event type and pages as in `AccountData`."""

    channel: Channel
    received_ns: int
    positions: tuple[PositionUpdate, ...]
    event_type: str = ""
    page: int | None = None
    is_last_page: bool | None = None


class BalanceAndPositionData(msgspec.Struct, frozen=True, kw_only=True):
    """A push of `balance_and_position`."""

    channel: Channel
    received_ns: int
    changes: tuple[BalanceAndPosition, ...]


class OrdersData(msgspec.Struct, frozen=True, kw_only=True):
    """A push of `orders`; the same state may come twice, so that fills are told apart by `trade_id`."""

    channel: Channel
    received_ns: int
    orders: tuple[OrderUpdate, ...]


class FillsData(msgspec.Struct, frozen=True, kw_only=True):
    """A push of `fills`, which only VIP accounts get and which leaves out liquidations."""

    channel: Channel
    received_ns: int
    fills: tuple[AccountFill, ...]


PrivateMessage: TypeAlias = AccountData | PositionsData | BalanceAndPositionData | OrdersData | FillsData


# Reading ------------------------------------------------------------------------------------------------------

_push: Final = msgspec.json.Decoder(wire.PrivatePush).decode


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ParseError(f"{str(value)[:40]} is not a text")
    return value


def _instrument(value: object) -> str:
    return grammar.INSTRUMENT_IDS[_text(value)]


def _amount(value: object) -> Decimal | None:
    text = _text(value)
    return grammar.amount(text) if text else None


def _time(value: object) -> int | None:
    text = _text(value)
    return grammar.time_ns(text) if text else None


def _whole(value: object) -> int | None:
    text = _text(value)
    return grammar.whole(text) if text else None


def _flag(value: object) -> bool | None:
    """OKX sends `reduceOnly` as a text here and as a boolean elsewhere."""
    if isinstance(value, bool):
        return value
    text = _text(value)
    if text not in ("", "true", "false"):
        raise ParseError(f"{text[:40]!r} is neither true nor false")
    return text == "true" if text else None


_VALUES: Final[dict[Any, Callable[[object], Any]]] = {
    str: _text,
    Decimal | None: _amount,
    int | None: _whole,
    bool | None: _flag,
}


def _reader(part: type[Part]) -> Callable[[object], Part]:
    """Return what makes a `part` of a JSON object: each field by its key, its declared type saying how."""
    steps: list[tuple[str, str, bool, Callable[[object], Any]]] = []
    for each in msgspec.structs.fields(part):
        if each.name == "instrument":
            read: Callable[[object], Any] = _instrument
        elif each.name.endswith("_ns"):
            read = _time
        elif get_origin(each.type) is tuple:
            read = _rows(_reader(get_args(each.type)[0]))
        else:
            read = _VALUES[each.type]
        steps.append((each.name, each.encode_name, each.required, read))

    def of(row: object) -> Part:
        if not isinstance(row, Mapping):
            raise ParseError(f"{str(row)[:40]} is not a row")
        values: dict[str, Any] = {}
        for name, key, is_required, read in steps:
            if key in row:
                try:
                    values[name] = read(row[key])
                except ParseError as error:
                    raise ParseError(f"{key}: {error}") from None
            if is_required and not values.get(name):
                raise ParseError(f"{key} is missing")
        return part(**values)

    return of


def _rows(read: Callable[[object], Part]) -> Callable[[object], tuple[Part, ...]]:
    def of(rows: object) -> tuple[Part, ...]:
        if not isinstance(rows, list):
            raise ParseError(f"{str(rows)[:40]} is not a list of rows")
        return tuple([read(row) for row in rows])

    return of


_accounts: Final = _rows(_reader(AccountUpdate))
_positions: Final = _rows(_reader(PositionUpdate))
_changes: Final = _rows(_reader(BalanceAndPosition))
_orders: Final = _rows(_reader(OrderUpdate))
_fills: Final = _rows(_reader(AccountFill))

#: The channels that `read` understands.
PRIVATE_CHANNELS: Final = ("account", "positions", "balance_and_position", "orders", "fills")


def read_private(frame: bytes, received_ns: int, channel: str) -> list[PrivateMessage]:
    """Make the message of a frame of a private channel, also of one without rows.

    Raises:
        ParseError: A field is malformed, or one of those that have to be there is missing.
    """
    push = _push(frame)
    to: dict[str, Any] = {"channel": push.arg.subscription, "received_ns": received_ns}
    page: dict[str, Any] = {"event_type": push.event_type, "page": push.cur_page, "is_last_page": push.last_page}
    match channel:
        case "account":
            return [AccountData(accounts=_accounts(push.data), **page, **to)]
        case "positions":
            return [PositionsData(positions=_positions(push.data), **page, **to)]
        case "balance_and_position":
            return [BalanceAndPositionData(changes=_changes(push.data), **to)]
        case "orders":
            return [OrdersData(orders=_orders(push.data), **to)]
        case "fills":
            return [FillsData(fills=_fills(push.data), **to)]
        case _:
            raise AssertionError(f"{channel} is no private channel")
