"""Spellings of dates in foreign tables: ISO, one number, the year last."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

#: kdb+, and so BitMEX, has a `D` between date and time.
ISO: Final = re.compile(
    r"([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})"
    r"(?:[TD ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s*(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?)?"
).fullmatch
#: Dates written as one number: day, minute, second, millisecond.
COMPACT: Final = re.compile(
    r"((?:19|20)[0-9]{2})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{3})?)?)?"
).fullmatch
#: How many digits of a date written as one number are written how, as far as `strptime` tells them apart.
_COMPACT_FORMATS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
#: Dates whose year comes last: days and months in either order, perhaps with a time of day.
_YEAR_LAST: Final = re.compile(
    r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(?:([T ])[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?(\.[0-9]{1,6})?)?"
).fullmatch
#: What has fewer digits is no date that a format could tell.
_DATE_DIGITS: Final = 4


def compact_format(text: str) -> str | None:
    """Return the format of a date written as one number, None for any other number.

    Examples:
        >>> compact_format("20240523"), compact_format("202405231530"), compact_format("20241340")
        ('%Y%m%d', '%Y%m%d%H%M', None)
    """
    written = _COMPACT_FORMATS.get(len(text)) if COMPACT(text) else None
    return written if written is not None and _follows(text, written) else None


def is_iso(text: str) -> bool:
    """Return whether a text is written like an ISO date, year first."""
    return ISO(text.strip()) is not None


def year_last_formats(texts: Iterable[str]) -> list[str]:
    """Return the formats that all these texts follow, day first or month first; both where both fit.

    Examples:
        >>> year_last_formats(["05/06/2024", "23/05/2024"]), year_last_formats(["5.6.24 10:30"])
        (['%d/%m/%Y'], ['%d.%m.%y %H:%M', '%m.%d.%y %H:%M'])
        >>> year_last_formats(["2024-05-23"]), year_last_formats([])
        ([], [])
    """
    formats: list[str] | None = None
    for text in texts:
        match = _YEAR_LAST(text.strip())
        if match is None:
            return []
        mark, year, gap, seconds, fraction = match.group(2, 4, 5, 6, 7)
        clock = f"{gap}%H:%M{':%S' if seconds else ''}{'.%f' if fraction else ''}" if gap else ""
        dates = ("%d{0}%m{0}", "%m{0}%d{0}")
        here = [f"{date.format(mark)}{'%Y' if len(year) == 4 else '%y'}{clock}" for date in dates]
        formats = [each for each in formats or here if each in here and _follows(text.strip(), each)]
        if not formats:
            return []
    return formats or []


def format_remedy(text: str) -> str:
    """Return the end of an error about a text that may be a date: the option that describes its format.

    Examples:
        >>> format_remedy("23/05/2024 10:30"), format_remedy("x")
        ("; say how times are written: --time-format '%d/%m/%Y %H:%M' (time_format=)", '')
    """
    formats = [f"'{written}'" for written in year_last_formats([text])]
    if formats:
        how = " ".join(["--time-format", formats[0], *(f"or {other} where months come first" for other in formats[1:])])
        return f"; say how times are written: {how} (time_format=)"
    is_date = sum(character.isdigit() for character in text) >= _DATE_DIGITS
    return "; say how times are written: --time-format (time_format=)" if is_date else ""


def _follows(text: str, written: str) -> bool:
    try:
        datetime.strptime(text, written)  # noqa: DTZ007  only whether it can be read
    except ValueError:
        return False
    return True
