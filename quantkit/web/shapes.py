"""What the API takes and gives, as types; its description is made from them."""

from typing import Annotated, Any, Final, Literal

import msgspec

from quantkit.report.tables import StreamRow

#: The id of a run: the name of its folder, or the beginning of its hash.
RunId = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")]
TableName = Literal["orders", "order_events", "fills", "equity", "round_trips", "open_trips", "returns"]
CommandName = Literal["pause", "resume", "cancel_all", "stop"]
#: The years 1680 to 2260, which stamps in ns can say.
_FAR_MS: Final = 9_150_000_000_000
_Text = Annotated[str, msgspec.Meta(max_length=200)]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key of the one-time link, or the token."""

    credential: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a change that needs no words: `{}`."""


class SessionShape(msgspec.Struct, frozen=True):
    """What a page needs of its session.

    Attributes:
        key: Goes with every change, and first into a socket.
        expires: UTC; None for a program with the token.
        has_live: Whether the server follows a live run.
    """

    key: str
    expires: str | None
    has_live: bool


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs."""

    search: _Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0


class RunShape(msgspec.Struct, frozen=True):
    """One run of the folder.

    Attributes:
        id: Names it in the API.
        kind: `backtest` or `live`.
        state: Only a finished run has a hash and numbers.
        at: When it ended, or a live one began; UTC.
        name: Class of the strategy.
        parameters, start, end, hash: Of the run.
        stats: Its numbers; durations are seconds under keys ending in `_s`.
        is_whole: Whether the whole result was kept, so that there are a report and tables.
        note: Why it is no finished run.
    """

    id: str
    kind: str
    state: str
    at: str
    name: str
    parameters: dict[str, Any]
    start: str
    end: str
    hash: str
    stats: dict[str, Any]
    is_whole: bool
    note: str


class RunPage(msgspec.Struct, frozen=True):
    """Some of the runs that were found, newest first, and how many were found."""

    total: int
    runs: list[RunShape]
    notes: list[str] = []


class PricedShape(msgspec.Struct, frozen=True):
    """An instrument of a run, and why its prices cannot be had: "" where they can."""

    instrument: str
    reason: str


class RunDetail(msgspec.Struct, frozen=True):
    """One run with its words, its configuration, and what else there is of it.

    Attributes:
        rows: Rows of each table.
    """

    run: RunShape
    assumptions: list[str]
    warnings: list[str]
    config: dict[str, Any]
    rows: dict[str, int]
    prices: list[PricedShape]


class NumberShape(msgspec.Struct, frozen=True):
    """One statistic: `form` is its kind (money, pct, fraction, ratio, ...); moments are ISO text, durations seconds."""

    key: str
    label: str
    group: str
    form: str
    meaning: str
    value: float | int | str | None


class TableQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows of a table; JSON gives 1,000 at most, Arrow all unless told."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    format: Literal["json", "arrow"] | None = None


class TableShape(msgspec.Struct, frozen=True):
    """Some rows of a table, and how many it has; moments are ISO text, durations seconds."""

    table: str
    total: int
    offset: int
    rows: list[dict[str, Any]]


class PricesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Which span, in ms since 1970, and in how many buckets at most."""

    start: Annotated[int, msgspec.Meta(ge=-_FAR_MS, le=_FAR_MS)]
    end: Annotated[int, msgspec.Meta(ge=-_FAR_MS, le=_FAR_MS)]
    buckets: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 2000


class PriceColumns(msgspec.Struct, frozen=True, omit_defaults=True):
    """The price path of a span, packed as the report's own: see `report/page/packing.py`.

    Attributes:
        count: How many rows the span has.
        rows: Each of them: `t`, `close`, and of candles `open`, `high`, `low`.
        buckets: Or the extremes of equal numbers of them: `t`, `low`, `rise`.
    """

    count: int
    rows: dict[str, dict[str, Any]] | None = None
    buckets: dict[str, dict[str, Any]] | None = None


class EquityQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In how many buckets at most."""

    buckets: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 1300


class EquityLine(msgspec.Struct, frozen=True):
    """The equity as change since the start, per cent, at moments in ms since 1970."""

    time_ms: list[int]
    change_pct: list[float]


class DiffQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which two runs."""

    a: RunId
    b: RunId


class DataQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which streams: those whose instrument holds a text."""

    search: _Text = ""


class DataShape(msgspec.Struct, frozen=True):
    """The streams of the data folder."""

    folder: str
    streams: list[StreamRow]


class CommandShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command for the live run.

    Attributes:
        confirm: For `cancel_all` and `stop`: what the first request was answered with.
    """

    command: CommandName
    confirm: Annotated[str, msgspec.Meta(max_length=100)] = ""


class CommandAnswer(msgspec.Struct, frozen=True):
    """What became of a command.

    Attributes:
        taken_at_ns: Engine time at which the run took it; None while it asks.
        confirm: Send this along within some seconds to mean it; "" when it was taken.
        asks: What would happen, for the one who has to confirm.
    """

    taken_at_ns: int | None
    confirm: str = ""
    asks: str = ""
