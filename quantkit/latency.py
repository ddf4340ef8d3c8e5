"""How long messages travel, or a strategy computes: always the same time, or one drawn anew for each message."""

import math
import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MS, duration_ns
from quantkit.errors import ConfigError
from quantkit.instruments import plain

#: An hour: a longer way to the exchange is a slip in the unit.
LONGEST_MS: Final = 3_600_000
#: How many equally likely delays stand for a distribution.
_SIZE: Final = 1_000
_KINDS: Final = (
    "a time such as 300us, uniform:LOW:HIGH or lognormal:MEDIAN:P99 in milliseconds, file:FILE or recording:FOLDER#ID"
)


class Latency(msgspec.Struct, frozen=True):
    """A distribution of delays, one way: a table of delays that are equally likely.

    Make one by `uniform`, `lognormal`, `measured` or `from_recording`, read it with `load`, or name it as text:
    `lognormal:20:120`.

    Attributes:
        name: Stands in assumptions and manifest.
        delays_ns: The delays, ascending.
    """

    name: str
    delays_ns: tuple[int, ...]

    @classmethod
    def uniform(cls, low_ms: float, high_ms: float) -> Self:
        """Return delays spread evenly.

        Raises:
            ConfigError: A bound is no time, or they are the wrong way round.

        Examples:
            >>> Latency.uniform(5, 50).describe()
            'uniform:5:50, median 28 ms, 99 % within 50 ms'
        """
        low_ms, high_ms = _checked(low_ms, "low"), _checked(high_ms, "high")
        if low_ms > high_ms:
            raise ConfigError(
                f"latency: low is {plain(low_ms)} ms and high {plain(high_ms)} ms; give the smaller first"
            )
        name = f"uniform:{plain(low_ms)}:{plain(high_ms)}"
        return cls(name, _table([low_ms + (high_ms - low_ms) * share for share in _shares()]))

    @classmethod
    def lognormal(cls, median_ms: float, p99_ms: float) -> Self:
        """Return delays whose logarithm is normal: most near the median, a few far above it.

        Raises:
            ConfigError: A number is no time, or the median is zero or above the 99 % point.

        Examples:
            >>> Latency.lognormal(20, 120).describe()
            'lognormal:20:120, median 20 ms, 99 % within 120 ms'
        """
        median_ms, p99_ms = _checked(median_ms, "median"), _checked(p99_ms, "p99")
        if not 0 < median_ms <= p99_ms:
            raise ConfigError(
                f"latency: the median is {plain(median_ms)} ms and p99 {plain(p99_ms)} ms; give 0 < median <= p99"
            )
        normal = NormalDist()
        sigma = math.log(p99_ms / median_ms) / normal.inv_cdf(0.99)
        name = f"lognormal:{plain(median_ms)}:{plain(p99_ms)}"
        return cls(name, _table([median_ms * math.exp(sigma * normal.inv_cdf(share)) for share in _shares()]))

    @classmethod
    def measured(cls, delays_ms: Iterable[float | str], name: str = "measured") -> Self:
        """Return the distribution of measured delays, such as `received_ns - exchange_ns` of recorded rows in ms.

        Args:
            delays_ms: One or more; more than a thousand are thinned to so many of their quantiles.
            name: What they are of.

        Raises:
            ConfigError: There are none, or one is no time.
        """
        found = sorted(_checked(delay, "a measured delay") for delay in delays_ms)
        if not found:
            raise ConfigError("latency: nothing was measured; give at least one delay")
        if len(found) > _SIZE:
            found = [found[int(share * len(found))] for share in _shares()]
        return cls(name, _table(found))

    @classmethod
    def from_recording(cls, rows: Any, *, shortest_ms: float | None = None, name: str = "recording") -> Self:
        """Return how long recorded rows took from the exchange to the recorder: receipt less the exchange's stamp.

        It is the way of the feed, not that of orders, for which it may stand until there are acknowledgements of real
        ones. It holds what the two clocks were apart, which no row can tell from the way itself: only the spread of
        the delays is sure. Where the smallest is below zero, all are moved up until it is zero.

        Args:
            rows: A query such as `qk.Catalog("data").trades("BTC-USDT-SWAP")`, its frame, or a mapping with nanoseconds
                under `received_ns` and `exchange_ns`.
            shortest_ms: What the shortest way is known to take; all delays are moved so that it does.
            name: Stands in assumptions and manifest.

        Raises:
            ConfigError: There are no rows, or a row took an hour.

        Examples:
            >>> rows = {"exchange_ns": [0, 10_000_000], "received_ns": [15_000_000, 45_000_000]}
            >>> Latency.from_recording(rows).describe()
            'recording, median 35 ms, 99 % within 35 ms'
            >>> Latency.from_recording(rows, shortest_ms=2).describe()
            'recording, shortest 2 ms, median 22 ms, 99 % within 22 ms'
        """
        if hasattr(rows, "arrow"):
            rows = rows.arrow()
        delays = np.sort(_stamps(rows, "received_ns") - _stamps(rows, "exchange_ns"))
        if not len(delays):
            raise ConfigError(f"latency: {name} has no rows; give a span with some")
        if shortest_ms is not None:
            delays += round(_checked(shortest_ms, "shortest_ms") * NS_PER_MS) - delays[0]
            name = f"{name}, shortest {plain(shortest_ms)} ms"
        elif delays[0] < 0:
            name = f"{name}, moved up by {plain(float(f'{-delays[0] / NS_PER_MS:.3g}'))} ms"
            delays -= delays[0]
        if delays[-1] >= LONGEST_MS * NS_PER_MS:
            raise ConfigError(f"latency: a row of {name} was received an hour or more after its stamp; leave it out")
        if len(delays) > _SIZE:
            delays = delays[[int(share * len(delays)) for share in _shares()]]
        return cls(name, tuple(delays.tolist()))

    @classmethod
    def of_text(cls, text: str, what: str = "latency") -> Self:
        """Return the distribution that a text names.

        Args:
            text: The name.
            what: What it is of.

        Raises:
            ConfigError: It names none; the message says which there are.
        """
        kind, *numbers = text.split(":")
        if kind == "file" and numbers:
            return cls.load(text.partition(":")[2])
        if not numbers and text[:1].isdigit():
            always_ns = duration_ns(text)
            if always_ns < LONGEST_MS * NS_PER_MS:
                return cls(text, (always_ns,))
        try:
            first, second = map(float, numbers)
        except ValueError:
            kind, first, second = "", 0.0, 0.0
        if kind == "uniform":
            return cls.uniform(first, second)
        if kind == "lognormal":
            return cls.lognormal(first, second)
        raise ConfigError(f"{what} is {text!r}; give {_KINDS}, such as lognormal:20:120")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write name and table to a file that `load` reads."""
        fields = {"name": self.name, "digest": self.digest, "delays_ns": self.delays_ns}
        Path(path).write_bytes(msgspec.json.encode(fields) + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return what `save` wrote, or the distribution of a plain list of delays: milliseconds, one a line.

        Raises:
            ConfigError: The file cannot be read, or is neither.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"{path} cannot be read: {why}") from None
        if text.lstrip().startswith("{"):
            try:
                found = msgspec.json.decode(text, type=cls)
            except (msgspec.DecodeError, ValueError) as error:
                raise ConfigError(f"{path} is no saved distribution: {error}") from None
            if not found.delays_ns or not 0 <= found.delays_ns[0] <= found.delays_ns[-1] < LONGEST_MS * NS_PER_MS:
                raise ConfigError(f"{path} is no saved distribution: it holds no times in order")
            return found
        lines = [line.strip() for line in text.splitlines()]
        return cls.measured([line for line in lines if line and not line.startswith("#")], Path(path).name)

    def drawn_ns(self, key: str) -> int:
        """Return the delay that a text draws: the place in the table is its `blake2b`, 8 bytes as a part of 2^64."""
        drawn = blake2b(key.encode(), digest_size=8).digest()
        return self.delays_ns[int.from_bytes(drawn, "big") * len(self.delays_ns) >> 64]

    @property
    def median_ns(self) -> int:
        """The delay that half of the messages stay below."""
        return self.delays_ns[len(self.delays_ns) // 2]

    @property
    def is_named(self) -> bool:
        """Whether its name alone gives it back, so that it is no table of its owner's."""
        try:
            return not self.name.startswith("file:") and self.of_text(self.name) == self
        except ConfigError:
            return False

    @property
    def digest(self) -> str:
        """SHA-256 of the table, the first 16 digits."""
        from hashlib import sha256

        return sha256(",".join(map(str, self.delays_ns)).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Return name, median and 99 % point in words; of one delay the name alone, which says it."""
        if self.delays_ns[0] == self.delays_ns[-1] and self.is_named:
            return self.name
        p99_ns = self.delays_ns[-(-len(self.delays_ns) * 99 // 100) - 1]
        median, p99 = (plain(float(f"{ns / NS_PER_MS:.2g}")) for ns in (self.median_ns, p99_ns))
        return f"{self.name}, median {median} ms, 99 % within {p99} ms"


class Travel:
    """How long the messages to one instrument's market and its answers travel: always the same time.

    Attributes:
        steady_ns: That time; None where each has to be asked for.
    """

    __slots__ = ("steady_ns",)

    def __init__(self, steady_ns: int | None) -> None:
        # An attribute: a call for every message and answer would be felt.
        self.steady_ns = steady_ns

    def order_ns(self) -> int:
        """Return how long the next message takes; called once for each unless the time is steady."""
        assert self.steady_ns is not None
        return self.steady_ns

    def report_ns(self) -> int:
        """Return how long the next answer takes; called once for each unless the time is steady."""
        assert self.steady_ns is not None
        return self.steady_ns

    def bracket_ns(self) -> int:
        """Return how long after a fill its protection comes into force; called once for each."""
        assert self.steady_ns is not None
        return self.steady_ns


class DrawnTravel(Travel):
    """Delays from a distribution, by number: the n-th message takes the same time whatever else happens.

    The place in the table is that of `<seed>:<instrument>:<order, report or bracket>:<n>`, n from 0.
    """

    __slots__ = ("_brackets", "_key", "_latency", "_orders", "_reports")

    def __init__(self, latency: Latency, *, seed: int, instrument: str) -> None:
        super().__init__(None)
        self._latency = latency
        self._key = f"{seed}:{instrument}"
        self._brackets = self._orders = self._reports = 0

    def order_ns(self) -> int:
        self._orders += 1
        return self._latency.drawn_ns(f"{self._key}:order:{self._orders - 1}")

    def report_ns(self) -> int:
        self._reports += 1
        return self._latency.drawn_ns(f"{self._key}:report:{self._reports - 1}")

    def bracket_ns(self) -> int:
        self._brackets += 1
        return self._latency.drawn_ns(f"{self._key}:bracket:{self._brackets - 1}")


def _stamps(rows: Any, name: str) -> NDArray[np.int64]:
    """Return a column of stamps of a table, of a frame on either stamp, or of a mapping."""
    column = rows.index if getattr(getattr(rows, "index", None), "name", None) == name else rows[name]
    if hasattr(column, "cast"):
        return np.array(column.cast("int64"), np.int64)
    if hasattr(column, "to_numpy"):
        column = column.to_numpy("datetime64[ns]")
    return np.array(column).astype(np.int64)


def _shares() -> list[float]:
    """Return the middles of equally likely parts."""
    return [(number + 0.5) / _SIZE for number in range(_SIZE)]


def _table(delays_ms: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(delay * NS_PER_MS) for delay in delays_ms)


def _checked(delay_ms: float | str, what: str) -> float:
    try:
        number = float(delay_ms)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < LONGEST_MS:
        raise ConfigError(f"latency: {what} is {delay_ms!r}; give zero or more milliseconds")
    return number
