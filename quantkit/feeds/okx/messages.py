"""OKX v5 market-data frames as typed messages: bytes in, events out, no sockets.

One call of `decode` turns one received text frame into messages. What is malformed raises `ParseError` and nothing
else; what is merely unknown (a channel, an enum value, an event) becomes an `Unknown` message that can be counted.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from quantkit.clock import interval_ns
from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate, Candle, Funding, Mark, Ticker, Trade
from quantkit.feeds.okx import wire
from quantkit.feeds.okx.wire import InstrumentRow, Level
from quantkit.instruments import Instrument, Side

__all__ = [
    "BARS",
    "Ack",
    "BookData",
    "ConnectionCount",
    "ErrorEvent",
    "FormingCandle",
    "FundingData",
    "InstrumentData",
    "InstrumentRow",
    "MarketData",
    "Message",
    "Notice",
    "Pong",
    "Status",
    "TradeData",
    "Unknown",
    "decode",
    "decode_instruments",
    "instrument_of",
]

#: OKX's bar names and ours. Plain 6H and longer open on UTC+8 and are not among ours; months have no fixed length.
BARS: Final[dict[str, str]] = {
    "1s": "1s",
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1H": "1h",
    "2H": "2h",
    "4H": "4h",
    "6Hutc": "6h",
    "12Hutc": "12h",
    "1Dutc": "1d",
    "1Wutc": "1w",
}
#: Channels that send the whole book each time, without an action.
_WHOLE_BOOKS: Final = ("books5",)
_BOOKS: Final = ("books", "books-l2-tbt", "books50-l2-tbt", *_WHOLE_BOOKS)


class Ack(msgspec.Struct, frozen=True):
    """A subscription, its end, or a login was accepted."""

    event: str
    channel: str = ""
    instrument: str = ""
    request_id: str = ""
    connection: str = ""


class ErrorEvent(msgspec.Struct, frozen=True):
    """A request was refused; `code` is OKX's."""

    code: str
    text: str
    request_id: str = ""
    connection: str = ""


class Notice(msgspec.Struct, frozen=True):
    """The server announces something, 64008 being a planned close."""

    code: str
    text: str
    connection: str = ""


class ConnectionCount(msgspec.Struct, frozen=True):
    """How many connections hold a limited channel; refused means that this subscription is dead."""

    channel: str
    count: int
    is_refused: bool
    connection: str = ""


class Pong(msgspec.Struct, frozen=True):
    """The answer to the text ping."""


class MarketData(msgspec.Struct, frozen=True, gc=False):
    """One event that needs no context: a quote, a closed candle, a mark or index price."""

    channel: str
    event: Ticker | Candle | Mark


class TradeData(msgspec.Struct, frozen=True, gc=False):
    """One print of `trades` (ids `trade_id - count + 1` to `trade_id`) or `trades-all`.

    `count` and `seq_id` are None in frames from before OKX sent them.
    """

    channel: str
    event: Trade
    count: int | None = None
    seq_id: int | None = None


class FormingCandle(msgspec.Struct, frozen=True, gc=False):
    """The newest state of a bar that is still open; never an event."""

    channel: str
    candle: Candle


class FundingData(msgspec.Struct, frozen=True, gc=False):
    """The predicted rate of the next settlement, and what the last one charged.

    `settled_rate` belongs to the settlement before `event.funding_ns`; None where the frame does not say, or while that
    settlement is still being processed.
    """

    channel: str
    event: Funding
    settled_rate: float | None = None


class BookData(msgspec.Struct, frozen=True, gc=False):
    """A book snapshot or update with what proves its place: sequence numbers or a checksum, None where not sent.

    `bids` and `asks` are the levels as texts, in the order of the update's.
    """

    channel: str
    update: BookUpdate
    bids: list[Level]
    asks: list[Level]
    checksum: int | None = None
    seq_id: int | None = None
    prev_seq_id: int | None = None


class InstrumentData(msgspec.Struct, frozen=True):
    """An instrument was listed, changed or expired; see `instrument_of`."""

    row: InstrumentRow


class Status(msgspec.Struct, frozen=True):
    """Maintenance: `state` is scheduled, ongoing, pre_open, completed, canceled or something new."""

    title: str
    state: str
    service_type: str
    begin_ns: int | None
    end_ns: int | None


class Unknown(msgspec.Struct, frozen=True):
    """Something well-formed that this version does not use; `what` names it for counting."""

    what: str
    instrument: str = ""


Message: TypeAlias = (
    Ack
    | ErrorEvent
    | Notice
    | ConnectionCount
    | Pong
    | MarketData
    | TradeData
    | FormingCandle
    | FundingData
    | BookData
    | InstrumentData
    | Status
    | Unknown
)

_RowDecoder: TypeAlias = Callable[[wire.Envelope, wire.Arg, msgspec.Raw, int], "list[Message]"]

_envelope: Final = msgspec.json.Decoder(wire.Envelope)
_tickers: Final = msgspec.json.Decoder(list[wire.TickerRow])
_trades: Final = msgspec.json.Decoder(list[wire.TradeRow])
_books: Final = msgspec.json.Decoder(list[wire.BookRow])
_candles: Final = msgspec.json.Decoder(list[wire.CandleRow])
_fundings: Final = msgspec.json.Decoder(list[wire.FundingRow])
_marks: Final = msgspec.json.Decoder(list[wire.MarkRow])
_indexes: Final = msgspec.json.Decoder(list[wire.IndexRow])
_instruments: Final = msgspec.json.Decoder(list[InstrumentRow])
_statuses: Final = msgspec.json.Decoder(list[wire.StatusRow])
_reply: Final = msgspec.json.Decoder(wire.RestReply)
_raw_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])
_instrument_row: Final = msgspec.json.Decoder(InstrumentRow)


def decode(frame: bytes, *, received_ns: int) -> list[Message]:
    """Turn one text frame into messages.

    Args:
        frame: The frame as received, UTF-8.
        received_ns: The receiver's stamp, UTC ns; every event of the frame carries it.

    Returns:
        One message for each row of data, or one for an event; empty where a push has no rows.

    Raises:
        ParseError: The bytes are not JSON of the expected form, or a number, time or id in them is malformed.

    Examples:
        >>> decode(b'{"arg":{"channel":"mark-price","instId":"A-B-SWAP"},'
        ...        b'"data":[{"instId":"A-B-SWAP","markPx":"0.1","ts":"1597026383085"}]}', received_ns=1)[0].event.price
        0.1
        >>> decode(b"pong", received_ns=1)
        [Pong()]
    """
    if frame == b"pong":
        return [Pong()]
    where = "OKX frame"
    try:
        envelope = _envelope.decode(frame)
        if envelope.event is not None:
            return [_event(envelope)]
        arg = envelope.arg
        if arg is None or not arg.channel:
            return [Unknown(f"reply to {envelope.op}"[:80] if envelope.op else "frame without a channel")]
        where = f"OKX {arg.channel} {arg.inst_id}".rstrip()[:120]
        rows = _CHANNELS.get(arg.channel)
        if rows is None:
            if not arg.channel.startswith("candle"):
                return [Unknown(f"channel {arg.channel}"[:80], arg.inst_id)]
            rows = _candle_rows
        if not envelope.data:
            raise ParseError("a push without data")
        return rows(envelope, arg, envelope.data, received_ns)
    except ParseError as error:
        raise ParseError(str(error), where=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(str(error) or type(error).__name__, where=where) from error


def decode_instruments(body: bytes) -> list[InstrumentRow | ParseError]:
    """Return the rows of a REST reply of `public/instruments`; a malformed row comes back as its error.

    Raises:
        ParseError: The body is not a reply, or one with an error code.
    """
    try:
        reply = _reply.decode(body)
        if str(reply.code) != "0" or not reply.data:
            raise ParseError(f"the reply has code {reply.code}: {reply.msg}"[:200], where="OKX instruments")
        raw_rows = _raw_rows.decode(reply.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(str(error) or type(error).__name__, where="OKX instruments") from error
    rows: list[InstrumentRow | ParseError] = []
    for raw in raw_rows:
        try:
            rows.append(_instrument_row.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rows.append(ParseError(str(error) or type(error).__name__, where="OKX instruments"))
    return rows


def instrument_of(row: InstrumentRow, *, source: str = "capture", valid_from_ns: int = 0) -> Instrument | None:
    """Return the instrument that a row of metadata describes.

    Args:
        row: From REST or the instruments channel.
        source: Where the metadata comes from, kept with the instrument.
        valid_from_ns: Since when it holds.

    Returns:
        None for what is not traded here (options, margin, kinds unknown), and for a row whose steps are still blank, as
        they are before an instrument opens.

    Raises:
        ParseError: A number or the id is malformed, or the fields contradict each other.
    """
    kind = _KINDS.get(row.inst_type)
    if kind is None or not row.tick_sz or not row.lot_sz:
        return None
    if kind != "spot" and not row.ct_val:
        return None
    name = wire.instrument_id(row.inst_id)
    # A family such as BTC-USD_UM is settled in a stablecoin; its quote currency is USD all the same.
    family = (row.inst_family or row.uly or name).split("-")
    base = row.base_ccy or family[0]
    quote = row.quote_ccy or (family[1] if len(family) > 1 else "").removesuffix("_UM")
    for text in (row.tick_sz, row.lot_sz, row.min_sz or "1", row.ct_val or "1", row.ct_mult or "1"):
        wire.price(text)
    if row.ct_type not in ("", "linear", "inverse"):
        return None
    try:
        return Instrument(
            name,
            kind=kind,
            base=base,
            quote=quote,
            settle=row.settle_ccy or None,
            price_step=row.tick_sz,
            qty_step=row.lot_sz,
            min_qty=row.min_sz or None,
            contract_value="1" if kind == "spot" else row.ct_val,
            contract_multiplier="1" if kind == "spot" else row.ct_mult or "1",
            is_inverse=row.ct_type == "inverse",
            source=source,
            valid_from_ns=valid_from_ns,
        )
    except ConfigError as error:
        raise ParseError(str(error), where="OKX instruments") from None


_KINDS: Final = {"SPOT": "spot", "SWAP": "swap", "FUTURES": "future"}


# Events -------------------------------------------------------------------------------------------------------


def _event(envelope: wire.Envelope) -> Message:
    arg = envelope.arg or wire.Arg()
    request_id, connection = envelope.id or "", envelope.conn_id
    match envelope.event:
        case "subscribe" | "unsubscribe" | "login" as event:
            return Ack(event, arg.channel, arg.inst_id, request_id, connection)
        case "error":
            return ErrorEvent(str(envelope.code), envelope.msg or "", request_id, connection)
        case "notice":
            return Notice(str(envelope.code), envelope.msg or "", connection)
        case "channel-conn-count" | "channel-conn-count-error" as event:
            count = wire.whole(str(envelope.conn_count))
            return ConnectionCount(envelope.channel, count, event.endswith("error"), connection)
        case event:
            return Unknown(f"event {event}"[:80])


# Rows of each channel -----------------------------------------------------------------------------------------


def _ticker_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    messages: list[Message] = []
    for row in _tickers.decode(data):
        bid, ask = wire.optional_price(row.bid_px), wire.optional_price(row.ask_px)
        last = wire.optional_price(row.last)
        event = Ticker(
            wire.instrument_id(row.inst_id),
            wire.time_ns(row.ts),
            received_ns,
            bid,
            None if bid is None else wire.optional_qty(row.bid_sz),
            ask,
            None if ask is None else wire.optional_qty(row.ask_sz),
            last,
            None if last is None else wire.optional_qty(row.last_sz),
        )
        messages.append(MarketData(arg.channel, event))
    return messages


def _trade_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    messages: list[Message] = []
    for row in _trades.decode(data):
        name = wire.instrument_id(row.inst_id)
        side = _SIDES.get(row.side)
        if side is None:
            messages.append(Unknown(f"trade side {row.side}"[:80], name))
            continue
        size = wire.qty(row.sz)
        if size == 0.0:
            raise ParseError(f"trade {row.trade_id!r} has no size")
        event = Trade(name, wire.time_ns(row.ts), received_ns, wire.price(row.px), size, side, wire.whole(row.trade_id))
        messages.append(
            TradeData(arg.channel, event, wire.whole(row.count) if row.count else None, _sequence(row.seq_id))
        )
    return messages


_SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}


def _book_rows(envelope: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    if arg.channel in _WHOLE_BOOKS:
        is_snapshot = True
    elif envelope.action in ("snapshot", "update"):
        is_snapshot = envelope.action == "snapshot"
    else:
        return [Unknown(f"book action {envelope.action}"[:80], arg.inst_id)]
    name = wire.instrument_id(arg.inst_id)
    messages: list[Message] = []
    for row in _books.decode(data):
        seq_id, prev_seq_id = _sequence(row.seq_id), _sequence(row.prev_seq_id)
        update = BookUpdate(
            name,
            wire.time_ns(row.ts),
            received_ns,
            tuple([wire.price(level.px) for level in row.bids]),
            tuple([wire.qty(level.sz) for level in row.bids]),
            tuple([wire.price(level.px) for level in row.asks]),
            tuple([wire.qty(level.sz) for level in row.asks]),
            is_snapshot,
            0 if seq_id is None else seq_id,
            -1 if prev_seq_id is None else prev_seq_id,
        )
        messages.append(BookData(arg.channel, update, row.bids, row.asks, row.checksum, seq_id, prev_seq_id))
    return messages


def _best_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    name = wire.instrument_id(arg.inst_id)
    messages: list[Message] = []
    for row in _books.decode(data):
        bid, bid_qty = _best(row.bids)
        ask, ask_qty = _best(row.asks)
        event = Ticker(name, wire.time_ns(row.ts), received_ns, bid, bid_qty, ask, ask_qty)
        messages.append(MarketData(arg.channel, event))
    return messages


def _best(levels: list[Level]) -> tuple[float | None, float | None]:
    return (wire.price(levels[0].px), wire.optional_qty(levels[0].sz)) if levels else (None, None)


def _candle_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    interval = BARS.get(arg.channel.removeprefix("candle"))
    if interval is None:
        return [Unknown(f"channel {arg.channel}"[:80], arg.inst_id)]
    name = wire.instrument_id(arg.inst_id)
    length_ns = interval_ns(interval)
    messages: list[Message] = []
    for row in _candles.decode(data):
        if row.confirm not in ("0", "1"):
            messages.append(Unknown(f"candle confirm {row.confirm}"[:80], name))
            continue
        open_ns = wire.time_ns(row.ts)
        close_ns = open_ns + length_ns
        prices = (wire.price(row.open), wire.price(row.high), wire.price(row.low), wire.price(row.close))
        if prices[1] < max(prices) or prices[2] > min(prices):
            raise ParseError(f"open and close are not within high and low: {prices}")
        candle = Candle(name, close_ns, received_ns, open_ns, close_ns, *prices, wire.qty(row.vol), interval)
        messages.append(MarketData(arg.channel, candle) if row.confirm == "1" else FormingCandle(arg.channel, candle))
    return messages


def _funding_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    messages: list[Message] = []
    for row in _fundings.decode(data):
        name = wire.instrument_id(row.inst_id)
        if not row.funding_rate or not row.funding_time:
            messages.append(Unknown("funding without a rate", name))
            continue
        event = Funding(
            name,
            # Frames without a stamp of their own (old documentation examples) are as old as their receipt.
            wire.time_ns(row.ts) if row.ts else received_ns,
            received_ns,
            wire.number(row.funding_rate),
            wire.time_ns(row.funding_time),
            is_settled=False,
        )
        has_settled = row.sett_state == "settled" and row.sett_funding_rate != ""
        messages.append(FundingData(arg.channel, event, wire.number(row.sett_funding_rate) if has_settled else None))
    return messages


def _mark_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    return [
        MarketData(
            arg.channel,
            Mark(wire.instrument_id(row.inst_id), wire.time_ns(row.ts), received_ns, wire.price(row.mark_px)),
        )
        for row in _marks.decode(data)
    ]


def _index_rows(_: wire.Envelope, arg: wire.Arg, data: msgspec.Raw, received_ns: int) -> list[Message]:
    return [
        MarketData(
            arg.channel,
            Mark(wire.instrument_id(row.inst_id), wire.time_ns(row.ts), received_ns, wire.price(row.idx_px), "index"),
        )
        for row in _indexes.decode(data)
    ]


def _instrument_rows(_: wire.Envelope, __: wire.Arg, data: msgspec.Raw, ___: int) -> list[Message]:
    return [InstrumentData(row) for row in _instruments.decode(data)]


def _status_rows(_: wire.Envelope, __: wire.Arg, data: msgspec.Raw, ___: int) -> list[Message]:
    return [
        Status(
            row.title,
            row.state,
            row.service_type,
            wire.time_ns(row.begin) if row.begin else None,
            wire.time_ns(row.end) if row.end else None,
        )
        for row in _statuses.decode(data)
    ]


def _sequence(number: int | None) -> int | None:
    """Check that a sequence number fits into 64 bits, since storage keeps it as such."""
    if number is not None and not -1 <= number < 2**63:
        raise ParseError(f"sequence number {str(number)[:40]} is out of range")
    return number


def _channels(names: Iterable[str], rows: _RowDecoder) -> dict[str, _RowDecoder]:
    return dict.fromkeys(names, rows)


_CHANNELS: Final[dict[str, _RowDecoder]] = {
    "tickers": _ticker_rows,
    "bbo-tbt": _best_rows,
    "funding-rate": _funding_rows,
    "mark-price": _mark_rows,
    "index-tickers": _index_rows,
    "instruments": _instrument_rows,
    "status": _status_rows,
    **_channels(("trades", "trades-all"), _trade_rows),
    **_channels(_BOOKS, _book_rows),
}
