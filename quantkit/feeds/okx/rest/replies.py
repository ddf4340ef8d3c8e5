"""REST replies as typed values: the envelope, rows of market data, settled funding, the account's configuration.

Rows have the form that the sockets push, so they are decoded by the same code. History has one clock only, the
exchange's: its rows are received when the exchange stamped them (ENGINE, one order of rows).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from quantkit.clock import NS_PER_MS
from quantkit.errors import ParseError
from quantkit.events import BookUpdate, Candle, Funding, Mark, Ticker, Trade
from quantkit.feeds.okx.codec import grammar, wire
from quantkit.feeds.okx.codec.decode import (
    BookData,
    FormingCandle,
    FrameMessage,
    MarketData,
    TradeData,
    Unknown,
    decode,
)

#: Takes the reason of each row that is left out.
Refuse = Callable[[str], None]


class AccountConfig(msgspec.Struct, frozen=True):
    """The configuration of an account.

    Attributes:
        level: `spot`, `futures`, `multi-currency`, `portfolio`, or OKX's own word if it is new.
        position_mode: `net_mode` or `long_short_mode`.
        permissions: Of the API key: `read_only`, `trade`, `withdraw`.
        pays_fees_in_quote: Whether spot fees are always paid in the quote currency, not in the currency received.
        uid: The account's id.
        fee_level: Such as `Lv1`.
    """

    level: str
    position_mode: str
    permissions: tuple[str, ...]
    pays_fees_in_quote: bool
    uid: str
    fee_level: str


class _AccountRow(msgspec.Struct, rename="camel"):
    acct_lv: str = ""
    pos_mode: str = ""
    perm: str = ""
    fee_type: str = ""
    uid: str = ""
    level: str = ""


class _FundingRow(msgspec.Struct, rename="camel"):
    """public/funding-rate-history: `realized_rate` was charged; it is blank in older rows."""

    inst_id: str
    funding_time: str
    funding_rate: str = ""
    realized_rate: str = ""


class _TimeRow(msgspec.Struct):
    ts: str


class _TradeCursor(msgspec.Struct, rename="camel"):
    trade_id: str


class _FundingCursor(msgspec.Struct, rename="camel"):
    funding_time: str


_LEVELS: Final = {"1": "spot", "2": "futures", "3": "multi-currency", "4": "portfolio"}

_reply: Final = msgspec.json.Decoder(wire.RestReply)
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])
_texts: Final = msgspec.json.Decoder(list[str])
_accounts: Final = msgspec.json.Decoder(list[_AccountRow])
_funding: Final = msgspec.json.Decoder(_FundingRow)
_times: Final = msgspec.json.Decoder(list[_TimeRow])
_trade_cursor: Final = msgspec.json.Decoder(_TradeCursor)
_funding_cursor: Final = msgspec.json.Decoder(_FundingCursor)


def envelope(body: bytes) -> wire.RestReply | None:
    """Return the outside of a reply, None where the body is something else."""
    try:
        return _reply.decode(body)
    except wire.DECODE_ERRORS:
        return None


def is_cut(body: bytes) -> bool:
    """Return whether a body begins as OKX's do and ends half-way.

    Examples:
        >>> is_cut(b'{"code":"0","da'), is_cut(b'{"hello":1}'), is_cut(b"<html>")
        (True, False, False)
    """
    if not body.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(body)
    except wire.DECODE_ERRORS:
        return True
    return False


def rows_of(data: msgspec.Raw, *, where: str) -> list[msgspec.Raw]:
    """Return the rows of a reply, each still undecoded, so that a malformed one harms none of the others.

    Raises:
        ParseError: The data are not a list.
    """
    try:
        return _rows.decode(data)
    except wire.DECODE_ERRORS as error:
        raise ParseError(str(error), where=where) from None


# Cursors of rows ---------------------------------------------------------------------------------------------


def candle_cursor(row: msgspec.Raw) -> int | None:
    """Return the millisecond at which a candle row's bar opens, None where it cannot be read."""
    try:
        texts = _texts.decode(row)
        return wire.time_ns(texts[0]) // NS_PER_MS if texts else None
    except (*wire.DECODE_ERRORS, ParseError):
        return None


def trade_cursor(row: msgspec.Raw) -> int | None:
    """Return a trade row's id, None where it cannot be read."""
    try:
        return wire.whole(_trade_cursor.decode(row).trade_id) or None
    except (*wire.DECODE_ERRORS, ParseError):
        return None


def funding_cursor(row: msgspec.Raw) -> int | None:
    """Return the millisecond of a funding row's settlement, None where it cannot be read."""
    try:
        return wire.time_ns(_funding_cursor.decode(row).funding_time) // NS_PER_MS
    except (*wire.DECODE_ERRORS, ParseError):
        return None


# Rows ---------------------------------------------------------------------------------------------------------


def candle_texts(rows: Iterable[msgspec.Raw], refuse: Refuse) -> list[list[str]]:
    """Return candle rows as OKX sent them, lists of texts."""
    found: list[list[str]] = []
    for row in rows:
        try:
            found.append(_texts.decode(row))
        except wire.DECODE_ERRORS as error:
            refuse(f"candle row: {error}")
    return found


def closed_candles(rows: Sequence[msgspec.Raw], channel: str, instrument: str, refuse: Refuse) -> list[Candle]:
    """Return the closed bars among rows, in the rows' order, received at their close."""
    found: list[Candle] = []
    for message in _pushed(rows, channel, instrument, 0, refuse):
        if isinstance(message, MarketData) and isinstance(message.event, Candle):
            found.append(msgspec.structs.replace(message.event, received_ns=message.event.close_ns))
        elif not isinstance(message, FormingCandle):
            refuse(_strange(message))
    return found


def closing_marks(
    rows: Iterable[msgspec.Raw], instrument: str, source: str, length_ns: int, refuse: Refuse
) -> list[Mark]:
    """Return the last price of each closed bar of marks or of an index, in the rows' order, received at its close.

    A bar's high and low have no moment, so a mark is made of its close alone.
    """
    found: list[Mark] = []
    for texts in candle_texts(rows, refuse):
        try:
            open_ms, _, _, _, close, is_closed = texts
            closes_ns = wire.time_ns(open_ms) + length_ns
            price = grammar.price(close)
        except (ValueError, ParseError) as error:
            refuse(f"{source} candle row: {error}")
            continue
        if is_closed == "1":
            found.append(Mark(instrument, closes_ns, closes_ns, price, source))
    return found


def past_trades(rows: Sequence[msgspec.Raw], instrument: str, refuse: Refuse) -> list[Trade]:
    """Return the trades of an instrument among rows, in the rows' order, received when they happened."""
    found: list[Trade] = []
    for message in _pushed(rows, "trades-all", instrument, 0, refuse):
        if isinstance(message, TradeData) and message.event.instrument == instrument:
            found.append(msgspec.structs.replace(message.event, received_ns=message.event.exchange_ns))
        else:
            refuse(_strange(message))
    return found


def current_tickers(rows: Sequence[msgspec.Raw], received_ns: int, refuse: Refuse) -> list[Ticker]:
    """Return the quotes among rows, in the rows' order."""
    found: list[Ticker] = []
    for message in _pushed(rows, "tickers", "", received_ns, refuse):
        if isinstance(message, MarketData) and isinstance(message.event, Ticker):
            found.append(message.event)
        else:
            refuse(_strange(message))
    return found


def whole_book(rows: Sequence[msgspec.Raw], instrument: str, received_ns: int, *, where: str) -> BookUpdate:
    """Return the one row of a reply of `market/books` as a snapshot.

    Raises:
        ParseError: There is not exactly one, or it is malformed.
    """
    if len(rows) != 1:
        raise ParseError(f"{len(rows)} books instead of one", where=where)
    problems: list[str] = []
    for message in _pushed(rows, "books", instrument, received_ns, problems.append):
        if isinstance(message, BookData):
            return message.update
    raise ParseError(problems[0] if problems else "no book", where=where)


def settled_funding(rows: Iterable[msgspec.Raw], instrument: str, refuse: Refuse) -> list[Funding]:
    """Return the settlements among rows, in the rows' order: the rate that was charged, at the moment it was."""
    found: list[Funding] = []
    for row in rows:
        try:
            each = _funding.decode(row)
            if wire.instrument_id(each.inst_id) != instrument:
                raise ParseError(f"a row of {each.inst_id}")
            rate = wire.number(each.realized_rate or each.funding_rate)
            at_ns = wire.time_ns(each.funding_time)
        except (*wire.DECODE_ERRORS, ParseError) as error:
            refuse(f"funding row: {error}")
        else:
            found.append(Funding(instrument, at_ns, at_ns, rate, at_ns, is_settled=True))
    return found


def server_time_ns(data: msgspec.Raw, *, where: str) -> int:
    """Return the exchange's clock from a reply of `public/time`.

    Raises:
        ParseError: It holds none.
    """
    try:
        (row,) = _times.decode(data)
        return wire.time_ns(row.ts)
    except (*wire.DECODE_ERRORS, ValueError, ParseError) as error:
        raise ParseError(f"no time in the reply ({error})", where=where) from None


def account_config(data: msgspec.Raw, *, where: str) -> AccountConfig:
    """Return the configuration from a reply of `account/config`.

    Raises:
        ParseError: It holds none.
    """
    try:
        (row,) = _accounts.decode(data)
    except (*wire.DECODE_ERRORS, ValueError):
        # The reply describes an account, so no part of it is repeated here.
        raise ParseError("the reply holds no account", where=where) from None
    return AccountConfig(
        level=_LEVELS.get(row.acct_lv, row.acct_lv),
        position_mode=row.pos_mode,
        permissions=tuple(word for word in row.perm.split(",") if word),
        pays_fees_in_quote=row.fee_type == "1",
        uid=row.uid,
        fee_level=row.level,
    )


def _pushed(
    rows: Sequence[msgspec.Raw], channel: str, instrument: str, received_ns: int, refuse: Refuse
) -> list[FrameMessage]:
    """Decode rows like pushed ones; a malformed row is left out with its reason."""
    try:
        return decode(_push(rows, channel, instrument), received_ns=received_ns)
    except ParseError:
        found: list[FrameMessage] = []
        for row in rows:
            try:
                found += decode(_push([row], channel, instrument), received_ns=received_ns)
            except ParseError as error:
                refuse(str(error))
        return found


def _push(rows: Sequence[msgspec.Raw], channel: str, instrument: str) -> bytes:
    arg = {"channel": channel, "instId": instrument}
    return msgspec.json.encode({"arg": arg, "action": "snapshot", "data": rows})


def _strange(message: FrameMessage) -> str:
    return message.what if isinstance(message, Unknown) else f"an unexpected {type(message).__name__}"
