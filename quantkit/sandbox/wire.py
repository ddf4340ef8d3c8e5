"""OKX's frames and replies as text: acks, errors, notices, and the tails of pushes."""

from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from quantkit.venue_rules.okx import TEXTS as ORDER_TEXTS

#: OKX's own words for the codes that the sandbox sends, and ours for those of its order rules.
TEXTS: Final[dict[str, str]] = ORDER_TEXTS | {
    "50000": "Body for a POST request cannot be empty.",
    "50002": "JSON syntax error",
    "50005": "API is offline or unavailable.",
    "50011": "Requests too frequent.",
    "50014": "Parameter {} can not be empty.",
    "50015": "Either parameter {} or {} is required.",
    "50025": "Parameter {} count exceeds the limit {}.",
    "50026": "System error. Try again later.",
    "50039": "Parameter before is not supported with type 2.",
    "50076": "The time range of the query is too long.",
    "50101": "APIKey does not match current environment.",
    "50102": "Timestamp request expired.",
    "50103": "Request header OK-ACCESS-KEY can not be empty.",
    "50105": "Request header OK-ACCESS-PASSPHRASE incorrect.",
    "50113": "Invalid Sign",
    "50115": "Invalid request method",
    "50119": "API key doesn't exist",
    "51000": "Parameter {} error",
    "51001": "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
    "51003": "Either client order ID or order ID is required.",
    "51603": "Order does not exist",
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60009": "Login failed.",
    "60011": "Please log in",
    "60012": "Invalid request: {}",
    "60013": "Invalid args",
    "60014": "Requests too frequent.",
    "60018": (
        "Wrong URL or {} doesn't exist. Please use the correct URL, channel and parameters referring to API document."
    ),
    "60024": "Wrong passphrase",
    "60028": "The current service does not support this function. Please check the URL.",
    "60031": "The WebSocket endpoint does not allow multiple or repeated logins.",
    "60032": "API key doesn't exist.",
    "60033": "Parameter {} error",
    "64001": "This channel has been migrated to the '/business' URL. Please subscribe using the new URL.",
    "64002": (
        "This channel is not supported by \"/business\" URL. Please use '/private' (for private channels), "
        "or '/public' (for public channels)."
    ),
    "64003": "Your trading fee tier doesn't meet the requirement to access this channel",
    "64004": "Subscribe to both {} and books-l2-tbt for {} is not allowed. Unsubscribe books-l2-tbt first.",
    "64008": "The connection will soon be closed for a service upgrade. Please reconnect.",
}


class TopicPush(NamedTuple):
    """One push of a topic, the same for every subscriber but for the `arg` it begins with.

    Attributes:
        tail: The frame's text after `"arg":{...}`, from the comma on.
        seq_id: The book's sequence number, or a trade's id; None where it has none.
        prev_seq_id: The book's previous number; -1 for a snapshot, None outside a chain.
    """

    tail: str
    seq_id: int | None = None
    prev_seq_id: int | None = None


def text_of(value: Any) -> str:
    """Return a value as compact JSON text, keys in their order.

    Examples:
        >>> text_of({"channel": "books", "instId": "BTC-USDT"})
        '{"channel":"books","instId":"BTC-USDT"}'
    """
    return msgspec.json.encode(value).decode()


def plain(value: Decimal) -> str:
    """Return a number as plain text without trailing zeros, whatever its size.

    Examples:
        >>> plain(Decimal("1E+2")), plain(Decimal("0.50")), plain(Decimal("1E-9"))
        ('100', '0.5', '0.000000001')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rows(*data: Any) -> str:
    """Return the tail of a push that carries these rows.

    Examples:
        >>> rows({"px": "1"})
        ',"data":[{"px":"1"}]}'
    """
    return f',"data":{text_of(data)}}}'


def frame(arg: str, tail: str) -> str:
    """Return a whole push: the arg as subscribed and what follows."""
    return f'{{"arg":{arg}{tail}'


def ack(event: str, arg: str, *, connection: str, request_id: str | None) -> str:
    """Return the acknowledgement of one arg of a request."""
    return f'{_id(request_id)}"event":"{event}","arg":{arg},"connId":"{connection}"}}'


def error(code: str, text: str, *, connection: str, request_id: str | None = None) -> str:
    """Return an error event, with the id of its request if that had one."""
    return f'{_id(request_id)}"event":"error","msg":{text_of(text)},"code":"{code}","connId":"{connection}"}}'


def login_done(connection: str) -> str:
    """Return the acknowledgement of a login."""
    return f'{{"event":"login","msg":"","code":"0","connId":"{connection}"}}'


def operation_refused(operation: str, code: str, *, request_id: str | None, now_us: int) -> str:
    """Return the reply to an operation on orders that was refused as a whole: its own form, without data."""
    reply = {"id": request_id or "", "op": operation, "code": code, "msg": TEXTS[code], "data": []}
    return text_of(reply | {"inTime": str(now_us), "outTime": str(now_us)})


def notice(connection: str) -> str:
    """Return the announcement of a planned close."""
    return f'{{"event":"notice","code":"64008","msg":"{TEXTS["64008"]}","connId":"{connection}"}}'


def connection_count(channel: str, count: int, *, connection: str, is_refused: bool) -> str:
    """Return how many connections hold a limited channel; refused means that the subscription is dead."""
    event = "channel-conn-count-error" if is_refused else "channel-conn-count"
    return f'{{"event":"{event}","channel":"{channel}","connCount":"{count}","connId":"{connection}"}}'


def _id(request_id: str | None) -> str:
    return "{" if request_id is None else f'{{"id":{text_of(request_id)},'
