"""How a collector works: where it stores, how often it seals, how long it keeps, and when it stops."""

from pathlib import Path
from typing import Final

import msgspec

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, delay_text
from quantkit.errors import ConfigError

_HOUR_NS: Final = 60 * NS_PER_MIN
_REDUNDANT_MAX: Final = 5


class RecordSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a collector.

    Attributes:
        roll_ns: Rows are sealed when the UTC clock reaches a multiple of it; until then the tape alone has them.
        keep_tape_ns: Segments of the tape stay for so long after their rows were sealed and verified.
        keep_ns: Rows older than that are removed; None keeps everything.
        min_free_bytes: With less room on a disk than that, the collector ends.
        beat_ns: Between two heartbeats.
        is_compacting: Whether the files of a day become one when it is over.
        redundant: How many connections carry each channel; what one of them loses another one has.
        work: The collector's own folder; None for `.record` in the data folder.

    Raises:
        ConfigError: A value makes no sense.
    """

    roll_ns: int = _HOUR_NS
    keep_tape_ns: int = 0
    keep_ns: int | None = None
    min_free_bytes: int = 1 << 30
    beat_ns: int = NS_PER_S
    is_compacting: bool = True
    redundant: int = 1
    work: Path | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not NS_PER_S <= self.roll_ns <= NS_PER_DAY or NS_PER_DAY % self.roll_ns:
            raise ConfigError(
                f"rows cannot be sealed every {delay_text(self.roll_ns)}; use a part of a day from 1s on, as 5m or 1h"
            )
        if self.keep_tape_ns < 0 or self.min_free_bytes < 0 or self.beat_ns < 1:
            raise ConfigError("times to keep, space and the time between heartbeats cannot be negative")
        if not 1 <= self.redundant <= _REDUNDANT_MAX:
            raise ConfigError(f"a channel is carried by 1 to {_REDUNDANT_MAX} connections, not {self.redundant}")
        if self.keep_ns is not None and self.keep_ns < NS_PER_DAY:
            raise ConfigError(f"rows are kept for a day at least; {delay_text(self.keep_ns)} is shorter")


_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1, "": 1}


def size_of(text: str) -> int:
    """Return a size in bytes.

    Raises:
        ConfigError: It is none.

    Examples:
        >>> size_of("5GB"), size_of("512 kb"), size_of("0")
        (5000000000, 512000, 0)
    """
    number = text.strip().upper().rstrip("KMGTB")
    unit = text.strip().upper()[len(number) :]
    try:
        size = float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        size = -1.0
    if not 0 <= size < float("inf"):
        raise ConfigError(f"{text!r} is no size; write it as 500MB or 5GB")
    return int(size)
