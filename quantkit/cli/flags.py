"""Flags shared by several commands, and the conversion of their texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from quantkit.errors import ConfigError

if TYPE_CHECKING:
    from quantkit.feeds.okx.config import OkxConfig, Region

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_Decorator = Callable[[Any], Any]


def pairs(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """Split `NAME=VALUE` texts at the first equals sign; a name given twice is refused."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise click.BadParameter(f"{text!r} is not of the form {param.metavar}", ctx=ctx, param=param)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", ctx=ctx, param=param)
        found[name] = value
    return found


def _amounts(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Read `CURRENCY=AMOUNT` texts as exact numbers."""
    from quantkit.instruments import decimal_of

    try:
        return {name: decimal_of(value) for name, value in pairs(ctx, param, texts).items()}
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from error


def _match_on(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> str | dict[str, str] | None:
    """Read one KIND for all instruments, or INSTRUMENT=KIND for each."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if any("=" not in text for text in texts):
        raise click.BadParameter("give one KIND alone, or INSTRUMENT=KIND for each instrument", ctx=ctx, param=param)
    return pairs(ctx, param, texts)


def _leverage(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> str | dict[str, str] | None:
    """Read one number for all instruments, or INSTRUMENT=NUMBER for each."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if any("=" not in text for text in texts):
        raise click.BadParameter("give one number alone, or INSTRUMENT=X for each instrument", ctx=ctx, param=param)
    return pairs(ctx, param, texts)


def _duration(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """Check a length of time and leave it as it was written."""
    if text is not None:
        from quantkit.clock import duration_ns

        try:
            duration_ns(text)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx=ctx, param=param) from error
    return text


def _off(ctx: click.Context, param: click.Parameter, is_given: bool | None) -> bool | None:
    """Turn a given flag into what it switches off; no flag says nothing."""
    return False if is_given else None


def as_json(command: Decorated) -> Decorated:
    """Add the flag that every command for scripts has."""
    return click.option("--json", "is_json", is_flag=True, help="Print one JSON object instead of text.")(command)


def briefly(command: Decorated) -> Decorated:
    """Add the flag that every command with a report has."""
    return click.option("--brief", "is_brief", is_flag=True, help="Print at most 24 lines, the return last.")(command)


def held_against(command: Decorated) -> Decorated:
    """Add the flag that names what a run is held against."""
    text = "Instrument that the result is held against.  [default: the first traded one]"
    return click.option("--benchmark", metavar="ID", help=text)(command)


def for_duration(command: Decorated) -> Decorated:
    """Add the flag that ends a live command after a while."""
    text = "End after this long: 60s, 5m, 8h.  [default: until Ctrl-C]"
    return click.option("--for", "duration", callback=_duration, metavar="TIME", help=text)(command)


_ACCOUNT: Final[tuple[_Decorator, ...]] = (
    click.option(
        "-p",
        "--param",
        "params",
        multiple=True,
        callback=pairs,
        metavar="NAME=VALUE",
        help="A parameter of the strategy; repeat for more.",
    ),
    click.option(
        "--cash",
        multiple=True,
        callback=_amounts,
        metavar="CURRENCY=AMOUNT",
        help="Starting balance; repeat for more currencies. The first is what the report counts in.  "
        "[default: 10,000 of the first instrument's settlement currency]",
    ),
    click.option("--fees-maker-bps", type=float, metavar="BPS", help="Fee of orders that rested, in basis points."),
    click.option("--fees-taker-bps", type=float, metavar="BPS", help="Fee of orders that took, in basis points."),
    click.option("--fees-per-contract", type=float, metavar="AMOUNT", help="Fee for each contract."),
    click.option("--fees-per-share", type=float, metavar="AMOUNT", help="Fee for each share or coin on spot."),
    click.option("--fees-per-order", type=float, metavar="AMOUNT", help="Fee for each order that fills."),
    click.option("--fees-min-per-order", type=float, metavar="AMOUNT", help="Smallest fee of an order that fills."),
    click.option(
        "--slippage-bps",
        type=float,
        metavar="BPS",
        help="On trades and candles, fill taking orders this much worse; covers half a spread too.",
    ),
    click.option(
        "--slippage",
        metavar="NAME",
        help="The same by a model: half_spread, bps:N or sqrt:C, the root of an order's part of the volume.",
    ),
    click.option(
        "--max-share",
        type=float,
        metavar="SHARE",
        help="On trades and candles, fill at most this share of a row's volume, such as 0.1.",
    ),
    click.option(
        "--queue-model",
        metavar="NAME",
        help="Books and tickers: who stands in front of a resting order, such as front or power:2.  "
        "[default: risk_averse]",
    ),
    click.option(
        "--no-own-side-prints",
        "own_side_prints",
        is_flag=True,
        default=None,
        callback=_off,
        help="Let trades beyond a resting limit fill it only where their aggressor was on the other side.",
    ),
    click.option(
        "--touch",
        is_flag=True,
        default=None,
        help="On trades, let one at a resting limit fill it, at most by its own size.",
    ),
    click.option(
        "--stale-after",
        callback=_duration,
        metavar="TIME",
        help="Let a displayed book or ticker older than this fill nothing.  [default: 10s]",
    ),
    click.option(
        "--excess-slippage-bps",
        type=float,
        metavar="BPS",
        help="On tickers, fill the size beyond the displayed one this much worse.  [default: 1]",
    ),
    click.option(
        "--position-mode",
        metavar="NAME",
        help="Contracts have one position (net), or a long and a short one (long_short).  [default: net]",
    ),
    click.option(
        "--venue-rules",
        metavar="NAME",
        help="Judge orders by OKX's order rules: auto (what OKX lists), okx (all) or off.  [default: auto]",
    ),
    click.option(
        "--stp-mode",
        metavar="NAME",
        help="With such rules, which of two own orders that meet ends: cancel_maker, cancel_taker or cancel_both.  "
        "[default: cancel_maker]",
    ),
    click.option("--latency-ms", type=float, metavar="MS", help="Delay of orders and of reports, each way."),
    click.option(
        "--latency",
        metavar="NAME",
        help="Draw each delay instead: uniform:LOW:HIGH or lognormal:MEDIAN:P99 in milliseconds, file:FILE with "
        "delays, or recording:FOLDER#ID from a recording's two clocks.",
    ),
    click.option(
        "--match-on",
        multiple=True,
        callback=_match_on,
        metavar="[INSTRUMENT=]KIND",
        help="Fill orders on book, ticker, trade or candle data instead of the finest there is.",
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of the strategy's random numbers."),
    click.option("--report-currency", metavar="CURRENCY", help="Currency of equity and statistics."),
    click.option("--max-leverage", type=float, metavar="X", help="Largest notional of contracts over equity."),
    click.option(
        "--margin",
        type=click.Choice(["off", "isolated", "cross"]),
        help="Margin and liquidation of contracts.  [default: off]",
    ),
    click.option(
        "--leverage",
        multiple=True,
        callback=_leverage,
        metavar="[INSTRUMENT=]X",
        help="With --margin: leverage.  [default: 1]",
    ),
    click.option(
        "--tiers",
        metavar="FILE",
        help="With --margin: position tiers, as JSON or CSV with OKX's columns.  [default: those in the data]",
    ),
)
_OKX: Final[tuple[_Decorator, ...]] = (
    click.option("--demo", "is_demo", is_flag=True, help="Use OKX's demo trading hosts."),
    click.option(
        "--region",
        type=click.Choice(["global", "eea", "us"]),
        help="Hosts of www.okx.com, my.okx.com (EEA) or app.okx.com (US).  [default: global]",
    ),
    click.option("--url", metavar="URL", help="Another server that speaks OKX's protocol: ws://127.0.0.1:8765."),
    click.option("--ca-file", metavar="PEM", help="Certificate authorities to trust instead of the system's."),
)


def account_options(command: Decorated) -> Decorated:
    """Add the flags of a simulated account: parameters, cash, fees, latency, matching, seed."""
    return _with(_ACCOUNT, command)


def okx_options(command: Decorated) -> Decorated:
    """Add the flags that choose OKX's servers."""
    return _with(_OKX, command)


def account_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the given `account_options` under the names of a run's options.

    Raises:
        ConfigError: One of the two fee rates is given without the other.
    """
    maker_bps, taker_bps = flags.pop("fees_maker_bps"), flags.pop("fees_taker_bps")
    if (maker_bps is None) is not (taker_bps is None):
        raise ConfigError("--fees-maker-bps and --fees-taker-bps go together; give both")
    amounts = {name: flags.pop(f"fees_{name}") for name in ("per_contract", "per_share", "per_order", "min_per_order")}
    amounts = {name: amount for name, amount in amounts.items() if amount is not None}
    options = {name: value for name, value in flags.items() if value is not None and value != {}}
    if maker_bps is not None or amounts:
        from quantkit.fees import Fees

        options["fees"] = Fees(maker_bps=maker_bps or 0.0, taker_bps=taker_bps or 0.0, **amounts)
    return options


def okx_of(*, is_demo: bool, region: "Region | None", url: str | None, ca_file: str | None) -> "OkxConfig":
    """Return the configuration of the feed that `okx_options` ask for.

    Raises:
        ConfigError: A wrong URL, or flags that exclude each other.
    """
    from quantkit.feeds.okx.config import OkxConfig

    if url is not None and region is not None:
        raise ConfigError("--region picks OKX's hosts and --url another server; give one of them")
    config = OkxConfig()
    if region is not None:
        config = config.in_region(region)
    if is_demo:
        config = config.as_demo()
    if ca_file is not None:
        config = config.with_(ca_file=ca_file)
    return config if url is None else config.at(url)


def _with(options: Sequence[_Decorator], command: Decorated) -> Decorated:
    """Add options so that `--help` lists them in the order given: decorators are applied from the last one up."""
    for option in reversed(options):
        command = option(command)
    return command
