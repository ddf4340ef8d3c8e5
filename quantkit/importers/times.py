"""Times of foreign tables as UTC: epoch numbers of any unit, dates, ISO text, local times."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import EARLIEST_EPOCH_NS, NS_PER_DAY, NS_PER_MS, NS_PER_S, NS_PER_US, iso_of, latest_epoch_ns
from quantkit.errors import ConfigError
from quantkit.importers.time_formats import COMPACT, ISO, format_remedy
from quantkit.instruments import plain

#: What the column of days is called that stands beside one of times of day.
DAY_NAMES: Final = ("date", "day", "trade_date", "trading_day", "trading_date", "dtyyyymmdd")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,12})?").fullmatch
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?").fullmatch
_CLOCK_DIGITS: Final = re.compile(r"[0-9]{1,6}(?:\.0*)?").fullmatch
_UNITS: Final[dict[str, int]] = {"s": NS_PER_S, "ms": NS_PER_MS, "us": NS_PER_US, "ns": 1}
#: Epoch numbers below this are of the unit, be they plausible or not: seconds until the year 5138, and so on.
_MAGNITUDES: Final = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))
_LAST_NS: Final = 2**63 - 1


def zone_of(name: str | None) -> tzinfo | None:
    """Return a time zone by its name.

    Raises:
        ConfigError: There is no such zone.
    """
    if name is None:
        return None
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"time zone {name!r} is not known; write for example --timezone UTC or Europe/Berlin"
        ) from None


def unit_of(number: float) -> str | None:
    """Return the unit of an epoch number: the one in which it lies between 1990 and a year from now, if there is one.

    Examples:
        >>> unit_of(1_723_161_256), unit_of(1_723_161_256_172), unit_of(1_723_161_256_172_216), unit_of(20240523)
        ('s', 'ms', 'us', None)
    """
    latest_ns = latest_epoch_ns()
    return next((name for name, ns in _UNITS.items() if EARLIEST_EPOCH_NS <= number * ns <= latest_ns), None)


def implausible(number: float) -> str:
    """Return the fault of an epoch number without a plausible unit: the dates that it would give.

    Examples:
        >>> implausible(45312)
        'would read as 1970-01-01T12:35:12Z, which is not between 1990 and a year from now'
    """
    unit = next((name for limit, name in _MAGNITUDES if abs(number) < limit), "ns")
    moment_ns = int(number) * _UNITS[unit]
    reading = iso_of(moment_ns) if 0 <= moment_ns <= _LAST_NS else f"{plain(float(number))} {unit} since 1970"
    return f"would read as {reading}, which is not between 1990 and a year from now"


class TimeFormat:
    """The user's format of times: `strptime` directives, or the unit of epoch numbers.

    Args:
        text: For example `%d.%m.%Y %H:%M`, or `s`, `ms`, `us`, `ns`.

    Raises:
        ConfigError: It is neither.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.unit = text if text in _UNITS else None
        if self.unit is None and "%" not in text:
            raise ConfigError(
                f"time format {text!r} is not understood; write it like --time-format '%d.%m.%Y %H:%M:%S', "
                f"or the unit of epoch numbers: {', '.join(_UNITS)}"
            )

    def read(self, text: str) -> datetime:
        """Return the date and time of a text.

        Raises:
            ConfigError: The format holds an unknown directive.
            ValueError: The text does not follow the format.
        """
        try:
            return datetime.strptime(text, self.text)  # noqa: DTZ007  localised by the caller
        except ValueError as error:
            if "directive" in str(error) or "stray" in str(error):
                raise ConfigError(f"time format {self.text!r}: {error}") from None
            raise


class TimeReader:
    """Turns one file's time column into UTC nanoseconds; remembers unit and order from block to block.

    Args:
        file: For messages.
        zone: Of times that carry none; None refuses them, unless they are whole days, which are taken as UTC.
        is_strict: Whether every row is later than the one before it, as bars are; tells apart the times of a clock
            that is set back.
        time_format: How times are written, as the user says.
        mixes_units: Whether epoch numbers may change their unit, as in files that a maker joined.
    """

    def __init__(
        self,
        file: str,
        zone: tzinfo | None,
        *,
        is_strict: bool = False,
        time_format: TimeFormat | None = None,
        mixes_units: bool = False,
    ) -> None:
        self.file = file
        self.zone = zone
        self.time_format = time_format
        self._is_strict = is_strict
        self._mixes_units = mixes_units
        self.ambiguous = 0
        self._unit = None if time_format is None else time_format.unit
        #: The first and the last plausible moment of an epoch number; what the user says needs no proof.
        self._bounds_ns = (EARLIEST_EPOCH_NS, latest_epoch_ns()) if time_format is None else (1, _LAST_NS)
        self._last_ns = -(2**63)
        self._step_ns = 0
        self._clock_digits = 0
        self._has_clock: bool | None = None

    def texts(self, column: Sequence[str]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of texts, and the faults of bad ones (their time is 0)."""
        values = np.zeros(len(column), np.int64)
        bad: dict[int, str] = {}
        for index, text in enumerate(column):
            if self.time_format is not None and self.time_format.unit is None:
                time = self._formatted(self.time_format, text)
            else:
                time = self._number(text) if _NUMBER(text) else self._iso(text)
            if isinstance(time, str):
                bad[index] = time
            elif not 0 < time <= _LAST_NS:
                bad[index] = f"time {text!r} is out of range"
            else:
                values[index] = self._keep(time)
        return values, bad

    def integers(self, column: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of integers, and the faults of bad ones."""
        if self._mixes_units and self.time_format is None:
            return self._of_any_unit(column)
        unit = self._unit or (unit_of(int(column[0])) if len(column) else None)
        if unit is None or (self.time_format is not None and self.time_format.unit is None):
            return self.texts([str(value) for value in column.tolist()])
        self._unit = unit
        unit_ns = _UNITS[unit]
        lowest_ns, highest_ns = self._bounds_ns
        outside = (column < -(-lowest_ns // unit_ns)) | (column > highest_ns // unit_ns)
        values = np.where(outside, 0, column) * unit_ns
        bad = np.flatnonzero(outside).tolist()
        return values, {index: self._odd(str(column[index])) for index in bad}

    def _of_any_unit(self, column: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of integers, each of the unit that its digits show."""
        if len(column):
            least, most = int(column.min()), int(column.max())
            one_ns = _unit_ns_of(most)
            lowest_ns, highest_ns = self._bounds_ns
            if lowest_ns <= least * one_ns and most * one_ns <= highest_ns and _unit_ns_of(least) == one_ns:
                return column * one_ns, {}
        unit_ns = np.select([column < limit for limit, _ in _MAGNITUDES], [_UNITS[name] for _, name in _MAGNITUDES], 1)
        lowest_ns, highest_ns = self._bounds_ns
        outside = (column < -(-lowest_ns // unit_ns)) | (column > highest_ns // unit_ns)
        values = np.where(outside, 0, column) * unit_ns
        return values, {index: self._odd(str(column[index])) for index in np.flatnonzero(outside).tolist()}

    def floats(self, column: NDArray[np.float64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of epoch floats, which are exact to a microsecond."""
        return self.texts(["" if value != value else _plain_float(value) for value in column.tolist()])

    def stamps(self, column: NDArray[np.int64], *, is_naive: bool) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of nanosecond stamps of a typed column; naive ones are localised."""
        if not is_naive or self.zone is UTC:
            return self._positive(column)
        if self.zone is None:
            if (column % NS_PER_DAY).any():
                raise self._refusal(str(np.datetime64(int(column[(column % NS_PER_DAY).argmax()]), "ns")))
            return self._positive(column)
        values = np.zeros(len(column), np.int64)
        bad: dict[int, str] = {}
        for index, stamp in enumerate(column.tolist()):
            local = datetime(1970, 1, 1) + timedelta(microseconds=stamp // NS_PER_US)  # noqa: DTZ001  localised below
            time = self._localised(local, stamp % NS_PER_US)
            if isinstance(time, str):
                bad[index] = time
            else:
                values[index] = self._keep(time)
        return values, bad

    def dated(self, days: Sequence[str], clocks: Sequence[str]) -> list[str] | None:
        """Return dates and times of day as one text each; None where the second column does not hold times of day.

        Digits alone are `HHMM`, or `HHMMSS` where some have more than four; zeros before them may be missing.
        """
        if self._has_clock is None:
            first = next((text for text in clocks if text), "")
            self._has_clock = bool(_CLOCK(first) or _CLOCK_DIGITS(first))
            if self._has_clock and _CLOCK(first) is None:
                widest = max((len(text.partition(".")[0]) for text in clocks), default=0)
                self._clock_digits = 4 if widest <= 4 else 6
        if not self._has_clock:
            return None
        return [f"{_day(day)} {self._clock(clock)}" for day, clock in zip(days, clocks, strict=True)]

    def _clock(self, text: str) -> str:
        if self._clock_digits and _CLOCK_DIGITS(text) and self.time_format is None:
            digits = text.partition(".")[0].zfill(self._clock_digits)
            return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))
        return text.zfill(5) if _CLOCK(text) and text[1] == ":" else text

    def _positive(self, column: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        # Stamps of the first day of 1970 were made from numbers whose unit nobody said.
        bad = {
            index: "time is missing or before 1970"
            if column[index] <= 0
            else f"time reads as {iso_of(int(column[index]))}; it was made from a number of another unit"
            for index in np.flatnonzero(column < NS_PER_DAY).tolist()
        }
        return (np.where(column < NS_PER_DAY, 0, column) if bad else column), bad

    def _number(self, text: str) -> int | str:
        whole, _, fraction = text.partition(".")
        unit = self._unit or unit_of(int(whole))
        if unit is None:
            return self._odd(text) if fraction.strip("0") else self._iso(whole)
        unit_ns = _UNITS[unit]
        time_ns = int(whole) * unit_ns + (int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0)
        if not self._bounds_ns[0] <= time_ns <= self._bounds_ns[1]:
            return self._odd(text)
        if not self._mixes_units:
            self._unit = unit
        return time_ns

    def _odd(self, text: str) -> str:
        """Return what is wrong with a number that is no plausible time, or not of the unit of the first row."""
        number = float(text)
        if self._unit is not None and (self.time_format is not None or unit_of(number) is not None):
            return f"time {text} does not count {self._unit} as the first row"
        return f"time {text} {implausible(number)}; say how times are written: --time-format (time_format=)"

    def _iso(self, text: str) -> int | str:
        match = COMPACT(text) if text.isdecimal() else ISO(text.strip())
        if match is None:
            if _NUMBER(text):
                return self._odd(text)
            remedy = format_remedy(text) if self.time_format is None else ""
            return f"time {text[:40]!r} is not understood{remedy}" if text else "time is missing"
        year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
        fraction_ns = int((match[7] or "").ljust(9, "0")) if match[7] else 0
        try:
            local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  the zone follows below
        except ValueError:
            return self._odd(text) if text.isdecimal() else f"time {text[:40]!r} is no date or time of day"
        zone_text = match[8] if match.re.groups > 7 else None
        if zone_text:
            offset = timedelta(0)
            if zone_text not in ("Z", "UTC"):
                digits = zone_text.replace(":", "")
                offset = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:5])) * (-1 if digits[0] == "-" else 1)
            return _ns_of(local.replace(tzinfo=UTC) - offset) + fraction_ns
        return self._placed(local, fraction_ns, text)

    def _formatted(self, time_format: TimeFormat, text: str) -> int | str:
        if not text:
            return "time is missing"
        try:
            moment = time_format.read(text)
        except ValueError:
            return f"time {text[:40]!r} does not follow the format {time_format.text}"
        return self._placed(moment, 0, text) if moment.tzinfo is None else _ns_of(moment)

    def _placed(self, local: datetime, extra_ns: int, text: str) -> int | str:
        """Give a time without a zone that of the file.

        Raises:
            ConfigError: It is not known, and the time is no whole day.
        """
        if self.zone is None and (local.hour, local.minute, local.second, local.microsecond, extra_ns) != (0,) * 5:
            raise self._refusal(text)
        return self._localised(local, extra_ns)

    def _localised(self, local: datetime, extra_ns: int) -> int | str:
        """Give a local time its zone; a clock set back is told apart by the row before."""
        zone = self.zone or UTC
        if zone is UTC:
            return _ns_of(local.replace(tzinfo=UTC)) + extra_ns
        before, after = (local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
        local_ns = _ns_of(local.replace(tzinfo=UTC)) + extra_ns
        early_ns, late_ns = local_ns - _length_ns(before), local_ns - _length_ns(after)
        if before == after:
            return early_ns
        if before < after:
            return f"time {local} does not exist in {zone}, whose clocks were set forward"
        self.ambiguous += 1
        return early_ns if self._is_early(early_ns, late_ns) else late_ns

    def _is_early(self, early_ns: int, late_ns: int) -> bool:
        """Decide which of two moments a repeated local time is, by the rows before it."""
        if not self._is_strict:
            return early_ns >= self._last_ns
        goes_on = late_ns - self._last_ns == self._step_ns and early_ns - self._last_ns != self._step_ns
        return early_ns > self._last_ns and not goes_on

    def _keep(self, time_ns: int) -> int:
        self._last_ns, self._step_ns = time_ns, time_ns - self._last_ns
        return time_ns

    def _refusal(self, text: str) -> ConfigError:
        return ConfigError(
            f"{self.file}: times such as {text!r} carry no time zone; say which one they are in, "
            "for example --timezone UTC (timezone='UTC')"
        )


def _unit_ns_of(number: int) -> int:
    """Return the length of the unit that an epoch number's digits show."""
    return next((_UNITS[name] for limit, name in _MAGNITUDES if number < limit), 1)


def _plain_float(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _day(text: str) -> str:
    """Return a date without the midnight that some tables write after it."""
    return re.sub(r"(?:[T ]00:00(?::00(?:\.0*)?)?|\.0+)$", "", text)


def _ns_of(moment: datetime) -> int:
    return _length_ns(moment - _EPOCH)


def _length_ns(delta: timedelta) -> int:
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * NS_PER_US
