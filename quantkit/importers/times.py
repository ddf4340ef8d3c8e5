"""Times of foreign tables: epoch numbers of any unit, ISO text, and local times made UTC."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY, NS_PER_MS, NS_PER_S, NS_PER_US
from quantkit.errors import ConfigError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,12})?").fullmatch
_ISO: Final = re.compile(
    r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s*(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?)?"
).fullmatch
#: Epoch numbers below this are of the unit: seconds until the year 5138, and so on.
_UNITS: Final = ((10**11, NS_PER_S, "s"), (10**14, NS_PER_MS, "ms"), (10**17, NS_PER_US, "us"), (2**63, 1, "ns"))
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


def unit_of(number: float) -> tuple[int, str]:
    """Return how many nanoseconds an epoch number's unit has, and the unit's name, from its magnitude.

    Examples:
        >>> unit_of(1_723_161_256), unit_of(1_723_161_256_172), unit_of(1_723_161_256_172_216)
        ((1000000000, 's'), (1000000, 'ms'), (1000, 'us'))
    """
    for limit, unit_ns, name in _UNITS:
        if abs(number) < limit:
            return unit_ns, name
    return 1, "ns"


class TimeReader:
    """Turns one file's time column into UTC nanoseconds; remembers unit and order from block to block.

    Args:
        file: For messages.
        zone: Of times that carry none; None refuses them, unless they are whole days, which are taken as UTC.
        is_strict: Whether every row is later than the one before it, as bars are; tells apart the times of a clock
            that is set back.
    """

    def __init__(self, file: str, zone: tzinfo | None, *, is_strict: bool = False) -> None:
        self.file = file
        self.zone = zone
        self._is_strict = is_strict
        self.ambiguous = 0
        self._unit: tuple[int, str] | None = None
        self._last_ns = -(2**63)
        self._step_ns = 0

    def texts(self, column: Sequence[str]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of texts, and what is wrong with which of them (their time is 0)."""
        values = np.zeros(len(column), np.int64)
        bad: dict[int, str] = {}
        for index, text in enumerate(column):
            time = self._number(text) if _NUMBER(text) else self._iso(text)
            if isinstance(time, str):
                bad[index] = time
            elif not 0 < time <= _LAST_NS:
                bad[index] = f"time {text!r} is out of range"
            else:
                values[index] = self._keep(time)
        return values, bad

    def integers(self, column: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of epoch integers, and what is wrong with which of them."""
        if not len(column):
            return column, {}
        unit_ns, name = self._unit = self._unit or unit_of(int(column[0]))
        place = [unit for _, unit, _ in _UNITS].index(unit_ns)
        lowest, limit = _UNITS[place - 1][0] if place else 1, _UNITS[place][0]
        outside = (column < lowest) | (column >= limit)
        values = np.where(outside, 0, column) * unit_ns
        bad = np.flatnonzero(outside).tolist()
        return values, {index: f"time {column[index]} does not count {name} as the first row" for index in bad}

    def floats(self, column: NDArray[np.float64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the times of epoch floats, which are exact to a microsecond."""
        return self.texts(["" if value != value else f"{value:.6f}" for value in column.tolist()])

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

    @staticmethod
    def _positive(column: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
        return column, {int(i): "time is missing or before 1970" for i in np.flatnonzero(column <= 0)}

    def _number(self, text: str) -> int | str:
        whole, _, fraction = text.partition(".")
        self._unit = self._unit or unit_of(int(whole))
        unit_ns, name = self._unit
        if unit_of(int(whole)) != self._unit:
            return f"time {text} does not count {name} as the first row"
        return int(whole) * unit_ns + (int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0)

    def _iso(self, text: str) -> int | str:
        match = _ISO(text.strip())
        if match is None:
            return f"time {text[:40]!r} is not understood" if text else "time is missing"
        year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
        fraction_ns = int((match[7] or "").ljust(9, "0")) if match[7] else 0
        try:
            local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  the zone follows below
        except ValueError:
            return f"time {text[:40]!r} is no date or time of day"
        extra_ns = fraction_ns
        if match[8]:
            offset = timedelta(0)
            if match[8] not in ("Z", "UTC"):
                digits = match[8].replace(":", "")
                offset = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:5])) * (-1 if digits[0] == "-" else 1)
            return _ns_of(local.replace(tzinfo=UTC) - offset) + extra_ns
        if self.zone is None and (match[4] is not None and (hour, minute, second, fraction_ns) != (0, 0, 0, 0)):
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


def _ns_of(moment: datetime) -> int:
    return _length_ns(moment - _EPOCH)


def _length_ns(delta: timedelta) -> int:
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * NS_PER_US
