"""The options of a run, each once: value, unit, default, and its names in calls, flags and manifests."""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple, Self, get_type_hints

import msgspec

from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S, duration_ns, time_ns_of
from quantkit.errors import ConfigError
from quantkit.fees import Fees
from quantkit.instruments import decimal_of
from quantkit.latency import LONGEST_MS, Latency
from quantkit.margin import MARGIN_MODES, MarginTier, read_tiers
from quantkit.queue_models import DEFAULT_QUEUE_MODEL, queue_model
from quantkit.slippage import slippage_model
from quantkit.venue_rules.okx import STP_MODES, VENUE_RULES, check_stp_mode, check_venue_rules

#: A contract has one net position, or a long and a short one.
POSITION_MODES: Final = ("net", "long_short")
#: A second: rows that wait longer for each other are a slip in the unit.
_BATCH_MS_MAX: Final = 1_000


def _unchanged(value: Any, keyword: str) -> Any:
    return value


def _decimal(value: Any, what: str) -> Decimal:
    try:
        return decimal_of(value)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None


def _cash(value: Any, keyword: str) -> dict[str, Decimal]:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"cash is {value!r}; give balances by currency, for example cash={{'USDT': 10_000}}")
    return {currency: _decimal(amount, f"cash of {currency}") for currency, amount in (value or {}).items()}


def _fees(value: Any, keyword: str) -> Fees | dict[str, Fees] | None:
    if value is None or isinstance(value, Fees):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"fees is {value!r}; give for example fees=Fees(maker_bps=2, taker_bps=5)")
    return dict(value)


def _latency_ns(value: Any, keyword: str) -> int | None:
    if value is None:
        return None
    try:
        value_ms = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"latency_ms is {value!r}; give a number of milliseconds") from None
    if not 0 <= value_ms < LONGEST_MS:
        raise ConfigError(f"latency is {value} ms; give zero or more milliseconds")
    return round(value_ms * NS_PER_MS)


def _latency(value: Any, keyword: str) -> Latency | None:
    if value is None or isinstance(value, Latency):
        return value
    if isinstance(value, str):
        return Latency.of_text(value, keyword)
    if keyword == "compute":
        raise ConfigError(f"compute is {value!r}; give a time as text such as '300us', a qk.Latency or its text")
    raise ConfigError(f"latency is {value!r}; give a qk.Latency or its text; a number goes into latency_ms")


def _batch_ns(value: Any, keyword: str) -> int:
    try:
        value_ms = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"batch_ms is {value!r}; give a number of milliseconds") from None
    if not 0 <= value_ms <= _BATCH_MS_MAX:
        raise ConfigError(f"batch_ms is {value}; give 0 to {_BATCH_MS_MAX} milliseconds")
    return round(value_ms * NS_PER_MS)


def _match_on(value: Any, keyword: str) -> dict[str, str]:
    return {"*": value} if isinstance(value, str) else dict(value or {})


def _moment_ns(value: Any, keyword: str) -> int | None:
    return None if value is None else time_ns_of(value)


def _seed(value: Any, keyword: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(f"seed is {value!r}; give a whole number, zero or more")
    return number


def _leverage(value: Any, keyword: str) -> Decimal:
    return _one_leverage(value, keyword)


def _margin(value: Any, keyword: str) -> str:
    if value not in MARGIN_MODES:
        raise ConfigError(
            f"margin is {value!r}; give {', '.join(map(repr, MARGIN_MODES[:-1]))} or {MARGIN_MODES[-1]!r}"
        )
    return str(value)


def _leverages(value: Any, keyword: str) -> Decimal | dict[str, Decimal] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: _one_leverage(each, f"leverage of {name}") for name, each in value.items()}
    return _one_leverage(value, "leverage")


def _one_leverage(value: Any, what: str) -> Decimal:
    leverage = _decimal(value, what)
    if leverage <= 0:
        raise ConfigError(f"{what} is {value}; it must be above zero")
    return leverage


def _tiers(value: Any, keyword: str) -> dict[str, list[MarginTier]] | None:
    return read_tiers(value)


def _duration_ns(value: Any, keyword: str) -> int:
    return duration_ns(value)


def _is_set(value: Any, keyword: str) -> bool:
    return bool(value)


def _slippage_bps(value: Any, keyword: str) -> float:
    try:
        bps = float(value)
    except (TypeError, ValueError):
        bps = -1.0
    if not 0 <= bps < 10_000:
        raise ConfigError(f"{keyword} is {value!r}; give basis points from 0 to below 10000")
    return bps


def _share(value: Any, keyword: str) -> float | None:
    if value is None:
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 < share <= 1:
        raise ConfigError(f"{keyword} is {value!r}; give a share of the volume above 0, at most 1, such as 0.1")
    return share


def _slippage(value: Any, keyword: str) -> str | None:
    if value is not None:
        slippage_model(value)  # refuses a name that there is not
    return value  # type: ignore[no-any-return]


def _queue_model(value: Any, keyword: str) -> str:
    queue_model(value)  # refuses a name that there is not
    return str(value)


def _position_mode(value: Any, keyword: str) -> str:
    if value not in POSITION_MODES:
        raise ConfigError(f"{keyword} is {value!r}; use one of {', '.join(POSITION_MODES)}")
    return str(value)


def _venue_rules(value: Any, keyword: str) -> str:
    return check_venue_rules(value)


def _stp_mode(value: Any, keyword: str) -> str:
    return check_stp_mode(value)


def _as_is(value: Any) -> Any:
    return value


def _named(value: Latency | None) -> dict[str, Any] | None:
    if value is None:
        return None
    named: dict[str, Any] = {"name": value.name, "digest": value.digest}
    # What no name gives back is kept.
    return named if value.is_named else {**named, "delays_ns": list(value.delays_ns)}


def _floats(value: Decimal | dict[str, Decimal] | None) -> float | dict[str, float] | None:
    if isinstance(value, dict):
        return {name: float(each) for name, each in value.items()}
    return None if value is None else float(value)


def _digested(value: dict[str, list[MarginTier]] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"families": sorted(value), "digest": sha256(msgspec.json.encode(value, order="sorted")).hexdigest()}


def _in_ms(value_ns: int) -> float:
    return value_ns / 1e6


class Option(NamedTuple):
    """The doors of one field of `RunOptions`: keyword, flags, and its place in the manifest of a result.

    Attributes:
        keyword: Argument of the calls; empty: the field's name.
        read: Turns the argument into the field's value, or raises ConfigError.
        flags: Flags of the command line, if any.
        calls: Which of them take it; their commands have its flags.
        manifest_key: Key in the manifest's `config`; empty: the keyword, None: not there.
        to_manifest: Turns the field's value into the one there; None: the plan of the run has it, by instrument.
    """

    keyword: str = ""
    read: Callable[[Any, str], Any] = _unchanged
    flags: tuple[str, ...] = ()
    calls: tuple[str, ...] = ("backtest", "paper")
    manifest_key: str | None = ""
    to_manifest: Callable[[Any], Any] | None = _as_is


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to do a run. A new option is one field here, and one line at each door that its `Option` names.

    Attributes:
        cash: Starting balances by currency; empty means 10,000 of the first instrument's settlement currency.
        report_currency: Currency of the equity; None: the first of `cash`.
        fees: For all instruments or by id; None takes OKX's presets by kind.
        latency_ns: One way; None means 20 ms, and 0 for instruments matched on candles.
        latency: A distribution from which the delay of each message is drawn instead.
        compute: How long the strategy takes from a row to a message: a time, or a distribution to draw it from.
        match_on: Matching data by instrument id, or for all with the key `*`; else the finest that spans the run.
        start_ns, end_ns: Span, UTC; None: what the subscribed data have in common, after the warm-up.
        seed: Of `strategy.rng`.
        max_leverage: Bound on the notional of contracts over the equity in the currency that they settle in.
        margin: Of contracts: `off`, `isolated` or `cross`.
        leverage: With margin, for all contracts or by id; None: 1.
        tiers: With margin, position tiers by instrument family; None: those that are stored.
        position_mode: Whether a contract has one position, `net`, or a long and a short one, `long_short`.
        stale_after_ns: A display older than this fills nothing.
        equity_every_ns: Grid of the equity curve.
        touch: Trade matching: whether an opposite-aggressor trade at the limit fills.
        excess_slippage_bps: Ticker matching: how much worse the size beyond the displayed one fills.
        slippage_bps: Trade and candle matching: how much worse than the traded price fills what takes; half a spread.
        slippage: A model of it by name in place of `slippage_bps`; `half_spread`, `bps:N` or `sqrt:C`.
        max_share: Trade and candle matching: what of a row's volume fills orders at most; None: all that they ask for.
        queue_model: Book and ticker matching: how many stand in front of a resting order; `risk_averse`, `front`,
            `proportional`, `power:N`, `power2:N`, `power3:N`, `log` or `log2`.
        own_side_prints: Whether a trade beyond a resting limit fills it also if its aggressor was on the order's side.
        venue_rules: Whether orders are judged by OKX's rules: `auto` for instruments listed by OKX, `okx`, `off`.
        stp_mode: With such rules, which of two own orders that meet ends; `cancel_maker`, `cancel_taker` or
            `cancel_both`.
        search: Whether rows that cannot matter are skipped; never changes a result.
        batch_ns: Live: time between two batches at least; saves CPU. 0: a row reaches the strategy at once.
    """

    cash: Annotated[
        dict[str, Decimal | float | int | str],
        Option(read=_cash, flags=("--cash",), to_manifest=None),
    ] = {}
    report_currency: Annotated[
        str | None,
        Option(flags=("--report-currency",), to_manifest=None),
    ] = None
    fees: Annotated[
        Fees | dict[str, Fees] | None,
        Option(
            read=_fees,
            flags=(
                "--fees-maker-bps",
                "--fees-taker-bps",
                "--fees-per-contract",
                "--fees-per-share",
                "--fees-per-order",
                "--fees-min-per-order",
            ),
            to_manifest=None,
        ),
    ] = None
    latency_ns: Annotated[
        int | None,
        Option(keyword="latency_ms", read=_latency_ns, flags=("--latency-ms",), to_manifest=None),
    ] = None
    latency: Annotated[
        Latency | None,
        Option(read=_latency, flags=("--latency",), to_manifest=_named),
    ] = None
    compute: Annotated[
        Latency | None,
        Option(read=_latency, flags=("--compute",), calls=("backtest",), to_manifest=_named),
    ] = None
    match_on: Annotated[
        dict[str, str],
        Option(read=_match_on, flags=("--match-on",), manifest_key="matching", to_manifest=None),
    ] = {}
    start_ns: Annotated[
        int | None,
        Option(
            keyword="start",
            read=_moment_ns,
            flags=("--from",),
            calls=("backtest",),
            manifest_key="start_ns",
            to_manifest=None,
        ),
    ] = None
    end_ns: Annotated[
        int | None,
        Option(
            keyword="end",
            read=_moment_ns,
            flags=("--to",),
            calls=("backtest",),
            manifest_key="end_ns",
            to_manifest=None,
        ),
    ] = None
    seed: Annotated[
        int,
        Option(read=_seed, flags=("--seed",)),
    ] = 0
    max_leverage: Annotated[
        Decimal | float | int,
        Option(read=_leverage, flags=("--max-leverage",), to_manifest=float),
    ] = 1
    margin: Annotated[
        str,
        Option(read=_margin, flags=("--margin",)),
    ] = "off"
    leverage: Annotated[
        Decimal | dict[str, Decimal] | None,
        Option(read=_leverages, flags=("--leverage",), to_manifest=_floats),
    ] = None
    tiers: Annotated[
        dict[str, list[MarginTier]] | None,
        Option(read=_tiers, flags=("--tiers",), to_manifest=_digested),
    ] = None
    position_mode: Annotated[
        str,
        Option(read=_position_mode, flags=("--position-mode",)),
    ] = "net"
    stale_after_ns: Annotated[
        int,
        Option(
            keyword="stale_after",
            read=_duration_ns,
            flags=("--stale-after",),
            manifest_key="stale_after_ms",
            to_manifest=_in_ms,
        ),
    ] = 10 * NS_PER_S
    equity_every_ns: Annotated[
        int,
        Option(keyword="equity_every", read=_duration_ns, manifest_key="equity_every_ms", to_manifest=_in_ms),
    ] = NS_PER_MIN
    touch: Annotated[
        bool,
        Option(read=_is_set, flags=("--touch",)),
    ] = False
    excess_slippage_bps: Annotated[
        float,
        Option(read=_slippage_bps, flags=("--excess-slippage-bps",)),
    ] = 1.0
    slippage_bps: Annotated[
        float,
        Option(read=_slippage_bps, flags=("--slippage-bps",)),
    ] = 0.0
    slippage: Annotated[
        str | None,
        Option(read=_slippage, flags=("--slippage",)),
    ] = None
    max_share: Annotated[
        float | None,
        Option(read=_share, flags=("--max-share",)),
    ] = None
    queue_model: Annotated[
        str,
        Option(read=_queue_model, flags=("--queue-model",)),
    ] = DEFAULT_QUEUE_MODEL
    own_side_prints: Annotated[
        bool,
        Option(read=_is_set, flags=("--no-own-side-prints",)),
    ] = True
    venue_rules: Annotated[
        str,
        Option(read=_venue_rules, flags=("--venue-rules",)),
    ] = VENUE_RULES[0]
    stp_mode: Annotated[
        str,
        Option(read=_stp_mode, flags=("--stp-mode",)),
    ] = STP_MODES[0]
    search: Annotated[
        bool,
        Option(calls=("backtest",), manifest_key=None),
    ] = True
    batch_ns: Annotated[
        int,
        Option(keyword="batch_ms", read=_batch_ns, flags=("--batch-ms",), calls=("paper",), manifest_key=None),
    ] = 0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Return the options among the arguments of a call; those that it does not take keep their defaults.

        Args:
            given: By keyword; others than options are ignored.

        Raises:
            ConfigError: An option is wrong; the message names it and shows an example.
        """
        return cls(
            **{
                field: option.read(given[option.keyword], option.keyword)
                for field, option in OPTIONS.items()
                if option.keyword in given
            }
        )

    @property
    def is_long_short(self) -> bool:
        """Whether a contract has a long and a short position."""
        return self.position_mode == POSITION_MODES[1]

    @property
    def manifest_fields(self) -> dict[str, Any]:
        """The part of the manifest's `config` that no plan decides, JSON-ready."""
        return {
            option.manifest_key: option.to_manifest(getattr(self, field))
            for field, option in OPTIONS.items()
            if option.to_manifest is not None and option.manifest_key is not None
        }


def _options() -> dict[str, Option]:
    """Return the options by field, their names filled in."""
    found = {}
    for field, hint in get_type_hints(RunOptions, include_extras=True).items():
        option: Option = hint.__metadata__[0]
        keyword = option.keyword or field
        found[field] = option._replace(
            keyword=keyword, manifest_key=keyword if option.manifest_key == "" else option.manifest_key
        )
    return found


#: By field of `RunOptions`; every name is filled in.
OPTIONS: Final[dict[str, Option]] = _options()
