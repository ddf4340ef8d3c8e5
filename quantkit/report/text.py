"""How the numbers of a result are written for people, in the terminal and in a notebook."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from quantkit.report.stats import Stat, Value

MISSING = "-"
#: Of the equity's range, and the most decimals: those of the smallest unit of a coin.
_RANGE_DIGITS: Final = 4
_DECIMALS_MAX: Final = 8
#: A ratio with more decimals than these is written with an exponent after all.
_DIGITS_MAX: Final = 12


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
        digits = 1 - math.floor(math.log10(abs(scaled)))
        return f"{scaled:.{digits}f}".rstrip("0") if digits <= _DIGITS_MAX else f"{scaled:.2g}"
    return f"{scaled:,.2f}" if abs(scaled) < 1e9 else f"{scaled:.3g}"


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
        return f"{amount:.8f}".rstrip("0") if abs(amount) >= 1e-8 else f"{amount:.2g}"
    if not amount:
        return "0.00"
    return f"{amount:,.{decimals}f}" if abs(amount) < 1e12 else f"{amount:.6g}"


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


def escaped(text: str) -> str:
    """Return outside text so that brackets in it are not taken for markup, nor control characters for commands."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else " " for c in text))


def _time(moment: datetime) -> str:
    """Return a moment in UTC to the minute, cut rather than rounded."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
