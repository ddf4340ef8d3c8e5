"""The machine's clock, read here only, and conversions between spellings of time."""

import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import Final

from quantkit.errors import ConfigError

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
NS_PER_MIN: Final = 60 * NS_PER_S
NS_PER_DAY: Final = 86_400 * NS_PER_S
#: Later than any stamp: "never" for a moment in nanoseconds.
NEVER_NS: Final = 2**63 - 1

INTERVALS: Final[dict[str, int]] = {
    "1s": NS_PER_S,
    "1m": NS_PER_MIN,
    "3m": 3 * NS_PER_MIN,
    "5m": 5 * NS_PER_MIN,
    "15m": 15 * NS_PER_MIN,
    "30m": 30 * NS_PER_MIN,
    "1h": 60 * NS_PER_MIN,
    "2h": 120 * NS_PER_MIN,
    "4h": 240 * NS_PER_MIN,
    "6h": 360 * NS_PER_MIN,
    "12h": 720 * NS_PER_MIN,
    "1d": NS_PER_DAY,
    "1w": 7 * NS_PER_DAY,
}

#: Weeks begin on Monday; 1970 began on a Thursday.
_MONDAY_NS: Final = 4 * NS_PER_DAY

#: 1990-01-01. No electronic market's epoch stamps are older.
EARLIEST_EPOCH_NS: Final = 7305 * NS_PER_DAY

_UNITS_NS: Final = {
    "ns": 1,
    "us": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": NS_PER_MIN,
    "min": NS_PER_MIN,
    "h": 60 * NS_PER_MIN,
    "d": NS_PER_DAY,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ns|us|ms|s|min|m|h|d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_ns() -> int:
    """Return the machine's UTC time in nanoseconds since 1970."""
    return time.time_ns()


def latest_epoch_ns() -> int:
    """Return the moment one year from now; a later one is no plausible epoch stamp."""
    return wall_ns() + 366 * NS_PER_DAY


def is_plausible(stamp_ns: int, latest_ns: int) -> bool:
    """Return whether a stamp of a machine lies between 1990 and `latest_epoch_ns`, which the caller asks for once."""
    return EARLIEST_EPOCH_NS <= stamp_ns <= latest_ns


def cpu_ns() -> int:
    """Return the CPU time that the calling thread has used, in nanoseconds; only differences mean anything."""
    return time.thread_time_ns()


def monotonic_s() -> float:
    """Return a clock that never goes back, in seconds, for durations only."""
    return time.monotonic()


def interval_ns(interval: str) -> int:
    """Return the length of a candle interval in nanoseconds.

    Raises:
        ConfigError: `interval` is not one of `INTERVALS`.

    Examples:
        >>> interval_ns("1m")
        60000000000
    """
    try:
        return INTERVALS[interval]
    except KeyError:
        raise ConfigError(f"interval {interval!r} is not known; use one of {', '.join(INTERVALS)}") from None


def duration_ns(duration: str | int | timedelta) -> int:
    """Return a duration in nanoseconds; an int already counts nanoseconds.

    Raises:
        ConfigError: The text is not a number with a unit, or not above zero.

    Examples:
        >>> duration_ns("100ms"), duration_ns("1.5s")
        (100000000, 1500000000)
    """
    if isinstance(duration, timedelta):
        value = duration // timedelta(microseconds=1) * NS_PER_US
    elif isinstance(duration, int):
        value = duration
    else:
        match = _DURATION.fullmatch(duration.strip())
        if match is None:
            raise ConfigError(f"duration {duration!r} is not understood; write for example '100ms', '1s' or '5m'")
        whole, _, fraction = match[1].partition(".")
        unit = _UNITS_NS[match[2]]
        value = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if value <= 0:
        raise ConfigError(f"duration {duration!r} must be above zero")
    return value


def bar_open_ns(moment_ns: int, interval: str) -> int:
    """Return the opening time of the bar that contains a moment: UTC multiples, weeks from Monday.

    Examples:
        >>> iso_of(bar_open_ns(time_ns_of("2026-11-24T13:17:02"), "1h"))
        '2026-11-24T13:00:00Z'
        >>> iso_of(bar_open_ns(time_ns_of("2026-11-24T13:17:02"), "1w"))
        '2026-11-23T00:00:00Z'
    """
    return moment_ns - (moment_ns - (_MONDAY_NS if interval == "1w" else 0)) % interval_ns(interval)


def datetime_of(ns: int) -> datetime:
    """Return UTC nanoseconds as an aware datetime, cut to microseconds.

    Examples:
        >>> datetime_of(1_500_000_000).isoformat()
        '1970-01-01T00:00:01.500000+00:00'
    """
    return _EPOCH + timedelta(microseconds=ns // NS_PER_US)


def iso_of(ns: int) -> str:
    """Return UTC nanoseconds as ISO text with as many fraction digits as needed.

    Examples:
        >>> iso_of(1_500_000_000)
        '1970-01-01T00:00:01.5Z'
    """
    seconds, fraction = divmod(ns, NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def span_text(span_ns: int) -> str:
    """Return a length of time in its two largest units.

    Examples:
        >>> span_text(151 * NS_PER_DAY + 23 * 60 * NS_PER_MIN), span_text(1_500_000_000), span_text(0)
        ('151d 23h', '1.5s', '0s')
    """
    if span_ns < NS_PER_MIN:
        return f"{span_ns / NS_PER_S:g}s"
    minutes = span_ns // NS_PER_MIN
    units = (("d", minutes // 1440), ("h", minutes // 60 % 24), ("m", minutes % 60), ("s", span_ns // NS_PER_S % 60))
    first = next(number for number, (_, count) in enumerate(units) if count)
    return " ".join(f"{count}{unit}" for unit, count in units[first : first + 2] if count)


def delay_text(delay_ns: int) -> str:
    """Return a delay or a clock difference as text, without its sign.

    Examples:
        >>> delay_text(1_260_000), delay_text(-2_512_000_000), delay_text(151 * NS_PER_DAY)
        ('1.3 ms', '2.51 s', '151d')
    """
    delay_ns = abs(delay_ns)
    if delay_ns < NS_PER_S:
        return f"{delay_ns / NS_PER_MS:.1f} ms"
    return f"{delay_ns / NS_PER_S:.2f} s" if delay_ns < NS_PER_MIN else span_text(delay_ns)


def time_ns_of(moment: str | int | date) -> int:
    """Return a moment as UTC nanoseconds; text without an offset is UTC, and so is the midnight of a plain date.

    An int counts nanoseconds already. A naive `datetime` is refused, since its zone is unknown.

    Raises:
        ConfigError: The text is not an ISO date or time, the datetime is naive, or it is neither.

    Examples:
        >>> time_ns_of("1970-01-02"), time_ns_of("1970-01-01T00:00:01.5Z")
        (86400000000000, 1500000000)
    """
    if isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        text, extra_ns = _split_nanoseconds(moment.strip())
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                f"time {moment!r} is not understood; write for example 2025-05-05 or 2025-05-05T12:00:00Z"
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    elif not isinstance(moment, date):
        raise ConfigError(f"time {moment!r} is not understood; write for example '2025-05-05'")
    elif not isinstance(moment, datetime):
        moment, extra_ns = datetime(moment.year, moment.month, moment.day, tzinfo=UTC), 0
    else:
        extra_ns = getattr(moment, "nanosecond", 0)  # a pandas Timestamp is a datetime that holds three digits more
        if moment.tzinfo is None:
            raise ConfigError(f"time {moment} has no time zone; add one: .replace(tzinfo=datetime.UTC)")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * NS_PER_US + extra_ns


def _split_nanoseconds(text: str) -> tuple[str, int]:
    """Cut digits seven to nine of a fraction off ISO text, since `datetime` holds six."""
    match = re.search(r"([.,][0-9]{6})([0-9]+)", text)
    if match is None:
        return text, 0
    if len(match[2]) > 3:
        raise ConfigError(f"time {text!r} is finer than a nanosecond; write at most nine digits of a second")
    return text[: match.end(1)] + text[match.end(2) :], int(match[2].ljust(3, "0"))
