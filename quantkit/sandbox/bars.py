"""OKX's candle bars: names, lengths and opening times."""

import re
from datetime import UTC, datetime
from typing import Final

_NAME: Final = re.compile(r"(1s|1m|3m|5m|15m|30m|1H|2H|4H|(?:6H|12H|1D|2D|3D|5D|1W|1M|3M)(?:utc)?)").fullmatch
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "H": 3_600_000, "D": 86_400_000, "W": 7 * 86_400_000}
_EIGHT_H_MS: Final = 8 * 3_600_000
#: 1970-01-01 was a Thursday; weeks open on Mondays.
_MONDAY_MS: Final = 4 * 86_400_000


def is_bar(name: str) -> bool:
    """Return whether OKX has a bar of this name; case matters.

    Examples:
        >>> is_bar("1H"), is_bar("6Hutc"), is_bar("1h")
        (True, True, False)
    """
    return _NAME(name) is not None


def open_ms(bar: str, at_ms: int) -> int:
    """Return the opening time of the bar that holds a moment; from six hours on bars follow UTC+8 unless named `utc`.

    Args:
        bar: A name for which `is_bar` is true.
        at_ms: UTC ms.

    Examples:
        >>> open_ms("1m", 119_999), open_ms("1Dutc", 86_400_001), open_ms("1D", 86_400_001)
        (60000, 86400000, 57600000)
    """
    shift_ms = _EIGHT_H_MS if bar[-1] not in "smc" and bar not in ("1H", "2H", "4H") else 0
    plain = bar.removesuffix("utc")
    local_ms = at_ms + shift_ms
    if plain.endswith("M"):
        months = int(plain[:-1])
        day = datetime.fromtimestamp(local_ms // 1000, UTC)
        month = (day.month - 1) // months * months + 1
        return int(datetime(day.year, month, 1, tzinfo=UTC).timestamp()) * 1000 - shift_ms
    length_ms = int(plain[:-1]) * _UNITS_MS[plain[-1]]
    origin_ms = _MONDAY_MS if plain.endswith("W") else 0
    return (local_ms - origin_ms) // length_ms * length_ms + origin_ms - shift_ms


def next_open_ms(bar: str, opened_ms: int) -> int:
    """Return when the next bar opens after the one that opened at `opened_ms`."""
    plain = bar.removesuffix("utc")
    if not plain.endswith("M"):
        return opened_ms + int(plain[:-1]) * _UNITS_MS[plain[-1]]
    # No bar is longer than 93 days, and no 1M bar is shorter than 28.
    return open_ms(bar, opened_ms + int(plain[:-1]) * 31 * 86_400_000 + 86_400_000)


def previous_open_ms(bar: str, opened_ms: int) -> int:
    """Return when the bar before opened."""
    return open_ms(bar, opened_ms - 1)
