"""Numbers of a result in writing, for the terminal and the notebook."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from quantkit.instruments import literal, plain
from quantkit.report.stats import Stat, Value

MISSING = "-"
#: Of the equity's range, and the most decimals: those of the smallest unit of a coin.
_RANGE_DIGITS: Final = 4
_DECIMALS_MAX: Final = 8
#: What does not fit into a column as a plain number is written with an exponent after all.
_TINY: Final = 1e-15
_LARGE: Final = 1e15


def written(stat: Stat, value: Value, decimals: int = 2) -> str:
    """Return a number as the summary shows it; `decimals` are those of amounts of money.

    Examples:
        >>> from quantkit.report.stats import STATS
        >>> written(STATS["max_drawdown"], -0.1234), written(STATS["equity_final"], 10_203.5)
        ('-12.34', '10,203.50')
        >>> written(STATS["profit_factor"], None), written(STATS["trades"], 1200)
        ('-', '1,200')
        >>> written(STATS["max_drawdown"], -5.7e-07)
        '-0.000057'
    """
    match value:
        case None:
            return MISSING
        case datetime():
            return _time(value)
        case timedelta():
            return duration(value)
        case str():
            return value
        case int():
            return f"{value:,}"
    # Adding zero turns -0.0 into 0.0.
    scaled = (100 * value if stat.form == "fraction" else value) + 0.0
    if stat.form == "money":
        return money(scaled, decimals)
    # A ratio that is not zero never reads as one.
    if scaled and abs(scaled) < 0.005:
        return _tiny(scaled)
    if abs(scaled) < 1e9:
        return f"{scaled:,.2f}"
    return f"{scaled:,.0f}" if abs(scaled) < _LARGE else f"{scaled:.3g}"


def _tiny(number: float) -> str:
    """Return a small number's first two digits behind as many zeros as it takes, while a column has room for them."""
    return plain(float(f"{number:.2g}")) if abs(number) >= _TINY else f"{number:.2g}"


def decimals_for(extent: float) -> int:
    """Return the decimals that show four digits of changes below one, and 2 for larger ones or none.

    Examples:
        >>> decimals_for(565.56), decimals_for(0.0123), decimals_for(0.0)
        (2, 5, 2)
    """
    if not 0 < extent < 1:
        return 2
    return min(_DECIMALS_MAX, _RANGE_DIGITS - 1 - math.floor(math.log10(extent)))


def money(amount: float, decimals: int = 2) -> str:
    """Return an amount with two decimals or those asked for, or as many as a small one needs to be seen.

    Examples:
        >>> money(1234.5), money(0.00012345), money(-0.5), money(0.0)
        ('1,234.50', '0.00012345', '-0.50', '0.00')
        >>> money(1.0001234, 7), money(0.0, 7)
        ('1.0001234', '0.00')
    """
    amount += 0.0
    if amount and abs(amount) < 0.01:
        return f"{amount:.8f}".rstrip("0") if abs(amount) >= 1e-8 else _tiny(amount)
    if not amount:
        return "0.00"
    if abs(amount) < 1e12:
        return f"{amount:,.{decimals}f}"
    return f"{amount:,.0f}" if abs(amount) < _LARGE else f"{amount:.6g}"


def grouped(number: float) -> str:
    """Return a size or a price with every digit it has, thousands marked, without an exponent.

    Examples:
        >>> grouped(104653.9), grouped(5e-05), grouped(1234567.5), grouped(1e16)
        ('104,653.9', '0.00005', '1,234,567.5', '10,000,000,000,000,000')
    """
    whole, point, rest = plain(number).partition(".")
    return f"{int(whole):,}{point}{rest}" if whole != "-0" else f"-0{point}{rest}"


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units.

    Examples:
        >>> duration(timedelta(days=27, hours=3, minutes=5)), duration(timedelta(seconds=61))
        ('27d 3h', '1m 1s')
        >>> duration(timedelta(milliseconds=1500)), duration(timedelta())
        ('1.5s', '0s')
    """
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    units = (("d", whole // 86_400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60))
    first = next(i for i, (_, count) in enumerate(units) if count)
    return " ".join(f"{count}{unit}" for unit, count in units[first : first + 2] if count)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun; `info` has no plural.

    Examples:
        >>> counted(1, "fill"), counted(1200, "fill")
        ('1 fill', '1,200 fills')
    """
    return f"{count:,} {noun}{'s' if count != 1 and noun != 'info' else ''}"


def strategy_of(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the class and the parameters that a run's configuration names."""
    named, parameters = config.get("strategy"), config.get("parameters")
    name = named.rpartition(":")[2] if isinstance(named, str) and named else "Result"
    return name, parameters if isinstance(parameters, dict) else {}


def title_of(config: Mapping[str, Any], width: int) -> str:
    """Return the strategy's class with its parameters, or without where they do not fit.

    Examples:
        >>> title_of({"strategy": "ma_cross:MaCross", "parameters": {"fast": 5}}, 40), title_of({}, 40)
        ('MaCross(fast=5)', 'Result')
    """
    name, parameters = strategy_of(config)
    whole = f"{name}({listed(parameters)})"
    return whole if parameters and len(whole) <= width else name


def listed(parameters: Mapping[str, Any]) -> str:
    """Return parameters as they would be typed.

    Examples:
        >>> listed({"interval": "1h", "qty": 5e-05})
        "interval='1h', qty=0.00005"
    """
    return ", ".join(f"{key}={literal(value)}" for key, value in parameters.items())


def escaped(text: str) -> str:
    """Return outside text so that brackets in it are not taken for markup, nor control characters for commands."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else " " for c in text))


def _time(moment: datetime) -> str:
    """Return a moment in UTC to the minute, cut rather than rounded."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
