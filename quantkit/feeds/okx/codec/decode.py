"""OKX v5 frames as typed messages: bytes in, messages out, no sockets.

One call of `decode` turns one received text frame into messages. A malformed frame raises `FrameError` and no other
error; an unknown channel, enum value or event becomes an `Unknown` message for the counters. The types of market data
are in `messages`, those of the private channels in `private`; all are importable from here.
"""

import re
from typing import Final, TypeAlias

import msgspec

from quantkit.errors import ParseError
from quantkit.events import Candle
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.grammar import whole
from quantkit.feeds.okx.codec.listing import decode_instruments, instrument_of
from quantkit.feeds.okx.codec.messages import (
    BARS,
    FOREIGN_BARS,
    BookData,
    ForeignCandle,
    FormingCandle,
    FundingData,
    InstrumentData,
    MarketData,
    MarketMessage,
    Status,
    TradeData,
    Unknown,
)
from quantkit.feeds.okx.codec.private import (
    PRIVATE_CHANNELS,
    AccountData,
    AccountFill,
    AccountUpdate,
    BalanceAndPosition,
    BalanceAndPositionData,
    BalanceUpdate,
    CashBalance,
    FillsData,
    OrdersData,
    OrderUpdate,
    PositionChange,
    PositionsData,
    PositionUpdate,
    PrivateMessage,
    TradeReference,
    read_private,
)
from quantkit.feeds.okx.codec.readers import READERS, Reader, read_candles
from quantkit.feeds.okx.codec.wire import InstrumentRow

__all__ = [
    "BARS",
    "AccountData",
    "AccountFill",
    "AccountUpdate",
    "Ack",
    "BalanceAndPosition",
    "BalanceAndPositionData",
    "BalanceUpdate",
    "BookData",
    "CashBalance",
    "ConnectionCount",
    "ControlMessage",
    "ErrorEvent",
    "FillsData",
    "ForeignCandle",
    "FormingCandle",
    "FrameError",
    "FrameMessage",
    "FundingData",
    "InstrumentData",
    "InstrumentRow",
    "MarketData",
    "MarketMessage",
    "Notice",
    "OrderUpdate",
    "OrdersData",
    "Pong",
    "PositionChange",
    "PositionUpdate",
    "PositionsData",
    "PrivateMessage",
    "Status",
    "TradeData",
    "TradeReference",
    "Unknown",
    "decode",
    "decode_instruments",
    "instrument_of",
]


class FrameError(ParseError):
    """A frame that is malformed.

    Attributes:
        channel: Its channel, "" if unknown.
        instrument: Its instrument, "" if unknown, or if the channel has no single instrument.
    """

    def __init__(self, message: str, *, channel: str = "", instrument: str = "") -> None:
        where = f"OKX {channel} {instrument}".rstrip() if channel else "OKX frame"
        super().__init__(message, where=where[:120])
        self.channel = channel
        self.instrument = instrument


class Ack(msgspec.Struct, frozen=True):
    """A subscription, its end, or a login was accepted; `subscription` is the argument as echoed, None for a login."""

    event: str
    channel: str = ""
    instrument: str = ""
    request_id: str = ""
    connection: str = ""
    subscription: Channel | None = None


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
    """The number of connections that hold a limited channel; refused means that this subscription is dead."""

    channel: str
    count: int
    is_refused: bool
    connection: str = ""


class Pong(msgspec.Struct, frozen=True):
    """The answer to the text ping."""


#: Messages about the connection, not the market.
ControlMessage: TypeAlias = Ack | ErrorEvent | Notice | ConnectionCount | Pong
FrameMessage: TypeAlias = ControlMessage | MarketMessage | PrivateMessage

_READERS: Final[dict[str, Reader]] = {
    **READERS,
    **dict.fromkeys((f"candle{bar}" for bar in (*BARS, *FOREIGN_BARS)), read_candles),
    **dict.fromkeys(PRIVATE_CHANNELS, read_private),
}
#: How the frames of busy channels begin: their reader is known without the envelope.
TRADES_HEAD: Final = b'{"arg":{"channel":"trades",'
TICKERS_HEAD: Final = b'{"arg":{"channel":"tickers"'
#: Length of such a beginning.
HEAD: Final = len(TICKERS_HEAD)
_BY_HEAD: Final[dict[bytes, tuple[Reader, str]]] = {
    TICKERS_HEAD: (READERS["tickers"], "tickers"),
    TRADES_HEAD: (READERS["trades"], "trades"),
    b'{"arg":{"channel":"books","': (READERS["books"], "books"),
    b'{"arg":{"channel":"bbo-tbt"': (READERS["bbo-tbt"], "bbo-tbt"),
}
#: What a frame raises that cannot be read.
MALFORMED: Final = (ParseError, *wire.DECODE_ERRORS)
#: Finds the channel of a frame that is not JSON: its state can no longer be trusted.
_BEGINNING: Final = re.compile(rb'\{"arg":\{"channel":"([\w-]{1,40})"(?:,"instId":"([\w.-]{1,60})")?', re.ASCII).match

_envelope: Final = msgspec.json.Decoder(wire.Envelope).decode


def decode(frame: bytes, *, received_ns: int, latest_ns: int | None = None) -> list[FrameMessage]:
    """Turn one text frame into messages.

    Events come with the proof of their place in the sequence: `MarketData.event`, `TradeData.event` with its ids,
    `BookData.update` with its sequence numbers, `FundingData.event`. A frame that begins like a push of a busy channel
    (tickers, trades, books, bbo-tbt) is taken for one and decoded in one pass; keys in another order cost a second
    pass and change nothing.

    Args:
        frame: The frame as received, UTF-8.
        received_ns: The receiver's stamp, UTC ns; every event of the frame carries it.
        latest_ns: Refuse rows that the exchange stamped after this, UTC ns; None takes any. Only a future stamp can be
            told to be wrong: the first push of a quiet instrument's trades may be days old.

    Returns:
        One message for each row of market data, one for a push of a private channel, or one for an event; empty where
        a push of market data has no rows.

    Raises:
        FrameError: The bytes are not JSON of the expected form, or a number, time or id in them is malformed.

    Examples:
        >>> decode(b'{"arg":{"channel":"mark-price","instId":"A-B-SWAP"},'
        ...        b'"data":[{"instId":"A-B-SWAP","markPx":"0.1","ts":"1597026383085"}]}', received_ns=1)[0].event.price
        0.1
        >>> decode(b"pong", received_ns=1)
        [Pong()]
    """
    known = _BY_HEAD.get(frame[:HEAD])
    if known is not None:
        read, channel = known
        try:
            messages = read(frame, received_ns, channel)
        except MALFORMED:
            # An acknowledgement may begin the same way; a real error is raised below, with its channel.
            messages = _decode_any(frame, received_ns)
    else:
        messages = _decode_any(frame, received_ns)
    if latest_ns is not None:
        _check_stamps(messages, latest_ns)
    return messages


def _decode_any(frame: bytes, received_ns: int) -> list[FrameMessage]:
    if frame == b"pong":
        return [Pong()]
    channel = instrument = ""
    try:
        envelope = _envelope(frame)
        arg = envelope.arg
        if arg is not None:
            channel, instrument = arg.channel, arg.inst_id
        if envelope.event is not None:
            return [_event(envelope)]
        if not channel:
            return [Unknown(f"reply to {envelope.op}"[:80] if envelope.op else "frame without a channel")]
        read = _READERS.get(channel)
        if read is None:
            return [Unknown(f"channel {channel}"[:80], instrument)]
        return read(frame, received_ns, channel)
    except MALFORMED as error:
        if not channel:
            beginning = _BEGINNING(frame)
            channel, instrument = (part.decode() for part in beginning.groups(b"")) if beginning else ("", "")
        text = str(error) or type(error).__name__
        raise FrameError(text, channel=channel, instrument=instrument) from error


def _event(envelope: wire.Envelope) -> FrameMessage:
    arg = envelope.arg or wire.Arg()
    request_id, connection = envelope.id or "", envelope.conn_id
    match envelope.event:
        case "subscribe" | "unsubscribe" | "login" as event:
            subscription = arg.subscription if arg.channel else None
            return Ack(event, arg.channel, arg.inst_id, request_id, connection, subscription)
        case "error":
            return ErrorEvent(str(envelope.code), envelope.msg or "", request_id, connection)
        case "notice":
            return Notice(str(envelope.code), envelope.msg or "", connection)
        case "channel-conn-count" | "channel-conn-count-error" as event:
            count = whole(str(envelope.conn_count))
            return ConnectionCount(envelope.channel, count, event.endswith("error"), connection)
        case event:
            return Unknown(f"event {event}"[:80])


def _check_stamps(messages: list[FrameMessage], latest_ns: int) -> None:
    """Refuse what the exchange cannot have stamped yet.

    Raises:
        FrameError: A row's stamp is later than `latest_ns`.
    """
    for message in messages:
        match message:
            case MarketData(channel=channel, event=Candle() as candle):
                instrument, stamp_ns = candle.instrument, candle.open_ns
            case MarketData(channel=channel) | TradeData(channel=channel) | FundingData(channel=channel):
                instrument, stamp_ns = message.event.instrument, message.event.exchange_ns
            case BookData(channel=channel, update=update):
                instrument, stamp_ns = update.instrument, update.exchange_ns
            case FormingCandle(channel=channel, candle=candle):
                instrument, stamp_ns = candle.instrument, candle.open_ns
            case ForeignCandle(channel=channel, instrument=instrument, open_ns=stamp_ns):
                pass
            case _:
                continue
        if stamp_ns > latest_ns:
            raise FrameError(f"stamp {stamp_ns} is in the future", channel=channel, instrument=instrument)
