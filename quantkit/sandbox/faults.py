"""Faults as values: kind, target, count and time. Faults below the protocol are not here."""

from typing import Final, TypeAlias

import msgspec

from quantkit.errors import ConfigError
from quantkit.sandbox.channels import PATHS


class AnyFault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """Where and when a fault strikes; an empty field means anywhere.

    Attributes:
        path: public, business or private.
        channel: Of the push or the arg.
        instrument: Of the push or the arg.
        connection: Number of the connection, from 1; 0 for any.
        times: How many times it strikes; 0 means until faults are cleared.
        after_s: It sleeps for so long after it was injected.
    """

    path: str = ""
    channel: str = ""
    instrument: str = ""
    connection: int = 0
    times: int = 1
    after_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: A field cannot be meant.
        """
        if self.path not in ("", *PATHS):
            raise ConfigError(f"a fault's path is {self.path!r}; use one of {', '.join(PATHS)}, or leave it out")
        if self.times < 0 or not self.after_s >= 0:
            raise ConfigError("a fault's times and after_s are zero or more")


class LostPush(AnyFault, frozen=True, tag="gap"):
    """The next push is not sent, as if it had been lost: a broken chain of a book, a missing trade."""


class Duplicate(AnyFault, frozen=True, tag="duplicate"):
    """The next push is sent twice."""


class Crossed(AnyFault, frozen=True, tag="crossed"):
    """The next update of a book adds a level that crosses the other side; the chain itself stays whole."""


class Reset(AnyFault, frozen=True, tag="reset"):
    """The instrument's sequence numbers start again from a low one, legally: the next update links and goes back."""


class Malformed(AnyFault, frozen=True, tag="malformed"):
    """The next push is damaged.

    Attributes:
        form: `cut` ends the JSON half-way, `number` turns digits into NaN, `type` makes the data an object.
    """

    form: str = "cut"

    def __post_init__(self) -> None:
        """Check the form too."""
        super().__post_init__()
        if self.form not in ("cut", "number", "type"):
            raise ConfigError(f"a malformed frame's form is {self.form!r}; use cut, number or type")


class UnknownContent(AnyFault, frozen=True, tag="unknown"):
    """Something a client has never heard of comes with the next push, which itself stays whole.

    Attributes:
        what: `field` adds fields to it, `channel` and `event` send a frame before it.
    """

    what: str = "field"

    def __post_init__(self) -> None:
        """Check the word too."""
        super().__post_init__()
        if self.what not in ("field", "channel", "event"):
            raise ConfigError(f"what is unknown is {self.what!r}; use field, channel or event")


class Stall(AnyFault, frozen=True, tag="stall"):
    """Pushes stop; without a channel and an instrument, everything of the connection but pongs.

    Attributes:
        for_s: How long; 0 means until faults are cleared. What would have been sent meanwhile is lost.
        is_deaf: Pings are not answered either.
    """

    for_s: float = 0.0
    is_deaf: bool = False


class Close(AnyFault, frozen=True, tag="close"):
    """The server closes the connection.

    Attributes:
        code: 1000, 1001 or OKX's 4001 to 4009.
        reason: The text that goes with it.
    """

    code: int = 1001
    reason: str = ""

    def __post_init__(self) -> None:
        """Check the code too."""
        super().__post_init__()
        if not (self.code in (1000, 1001, 1009, 1011, 1012, 1013) or 4000 <= self.code <= 4999):
            raise ConfigError(f"close code {self.code} cannot be sent; use 1000, 1001 or 4001 to 4009")


class Drop(AnyFault, frozen=True, tag="drop"):
    """The connection ends without a close frame."""


class UpgradeNotice(AnyFault, frozen=True, tag="notice"):
    """The server announces a service upgrade (64008) and closes later.

    Attributes:
        close_after_s: How much later; None for the rules' 60 s.
    """

    close_after_s: float | None = None


class Refuse(AnyFault, frozen=True, tag="refuse"):
    """An arg is refused.

    Attributes:
        code: OKX's.
        text: Its text; empty for OKX's own.
    """

    code: str = "60018"
    text: str = ""


class NoAck(AnyFault, frozen=True, tag="no_ack"):
    """A subscribe or unsubscribe takes effect, but its ack never comes."""


class NoSnapshot(AnyFault, frozen=True, tag="no_snapshot"):
    """A book is subscribed, but its snapshot never comes; updates do."""


class LoginFailure(AnyFault, frozen=True, tag="login_failure"):
    """A login is refused.

    Attributes:
        code: OKX's.
        is_closing: Whether the connection is then closed with 4001.
    """

    code: str = "60009"
    is_closing: bool = False


class Handshake(AnyFault, frozen=True, tag="handshake"):
    """A handshake is answered with an HTTP error.

    Attributes:
        status: 403, 429, 503 or another one.
        retry_after_s: The Retry-After header, None for none.
    """

    status: int = 503
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        """Check the status too."""
        super().__post_init__()
        if not 400 <= self.status <= 599:
            raise ConfigError(f"handshake status {self.status} is no error; use 400 to 599")


class Rest(AnyFault, frozen=True, tag="rest"):
    """A REST request fails.

    Attributes:
        endpoint: The end of its path, such as `market/candles`; empty for any.
        every: It strikes each so-and-so-many-th of the requests that it is for: 10 is one in ten.
        form: `error` answers with what follows; `cut` gives the true answer, ended half-way; `flip` the true one with
            one bit of it changed; `digest` the true one under a checksum that is not its own.
        delay_s: The answer waits for so long.
        status: HTTP status; 200 for an error in the reply alone.
        code: OKX's code in the reply.
        text: Its text.
        retry_after_s: The Retry-After header, None for none.
    """

    endpoint: str = ""
    every: int = 1
    form: str = "error"
    delay_s: float = 0.0
    status: int = 503
    code: str = "50001"
    text: str = "Service temporarily unavailable. Try again later."
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        """Check its own fields too."""
        super().__post_init__()
        if self.every < 1 or not self.delay_s >= 0:
            raise ConfigError("a REST fault strikes every 1 or more requests, and delays by zero or more seconds")
        if self.form not in ("error", "cut", "flip", "digest"):
            raise ConfigError(f"a REST fault's form is {self.form!r}; use error, cut, flip or digest")


class ClockSkew(AnyFault, frozen=True, tag="clock_skew"):
    """The server's clock, as logins and `public/time` see it, is off.

    Attributes:
        offset_s: Positive: the server is ahead.
    """

    offset_s: float = 0.0


class AccountConnections(AnyFault, frozen=True, tag="account_connections"):
    """A private channel is refused because too many connections hold it."""


Fault: TypeAlias = (
    LostPush
    | Duplicate
    | Crossed
    | Reset
    | Malformed
    | UnknownContent
    | Stall
    | Close
    | Drop
    | UpgradeNotice
    | Refuse
    | NoAck
    | NoSnapshot
    | LoginFailure
    | Handshake
    | Rest
    | ClockSkew
    | AccountConnections
)
#: Faults that change the next push that matches.
PUSH_FAULTS: Final = (LostPush, Duplicate, Crossed, Malformed, UnknownContent, Stall)
#: Faults that act on connections by themselves, at their time.
ACTIONS: Final = (Close, Drop, UpgradeNotice)

_decoder: Final = msgspec.json.Decoder(Fault | list[Fault])


def decode_faults(body: bytes) -> list[Fault]:
    """Return the faults of a JSON object or list, each with its `kind`.

    Raises:
        ConfigError: It is neither, or a field is unknown or out of range.

    Examples:
        >>> decode_faults(b'{"kind": "close", "code": 4004, "path": "public"}')[0].code
        4004
    """
    try:
        found = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ConfigError(f"this is no fault: {error}") from None
    return found if isinstance(found, list) else [found]


def parse_fault(text: str) -> Fault:
    """Return the fault of a short text: its kind, then `name=value` pairs, separated by commas.

    Raises:
        ConfigError: The kind or a name is unknown, or a value does not fit.

    Examples:
        >>> parse_fault("close,code=4004,after_s=2").code
        4004
        >>> parse_fault("gap,channel=books").channel
        'books'
    """
    kind, *pairs = (part.strip() for part in text.split(","))
    fields: dict[str, object] = {"kind": kind}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ConfigError(f"fault {text!r}: write {name}=value")
        fields[name.strip()] = value.strip()
    try:
        # Text is converted to each field's own type.
        fault: Fault = msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"fault {text!r} is not understood: {error}; for example 'gap,channel=books'") from None
    return fault
