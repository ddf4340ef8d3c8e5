"""Price paths as a function of seed, asset and time, so that history needs no storage."""

import math
import zlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: How long one swing of each octave lasts. Amplitudes grow with the root of it, as a random walk's do.
_PERIODS_MS: Final = tuple(1000 * period_s for period_s in (4, 15, 60, 240, 900, 3600, 14400, 57600, 230400, 921600))
_MINUTE_MS: Final = 60_000
#: Chunks of the path that are computed at once.
_CHUNK_STEPS: Final = 512
#: Between two steps of this length the present price goes straight.
STEP_MS: Final = 500


def noise(seed: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a uniform number in [-1, 1) for each whole number, the same every time.

    Source: Sebastiano Vigna, "splitmix64", the output function.

    Args:
        seed: Any whole number.
        numbers: Shape (n,).

    Returns:
        Shape (n,).
    """
    z = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def seed_of(seed: int, *names: str) -> int:
    """Return a seed of its own for a name, whatever Python's hash seed."""
    return (seed * 1_000_003 + zlib.crc32("/".join(names).encode())) * 2_654_435_761 % 2**63


class PricePath:
    """A price over all time.

    Args:
        seed: Of the market.
        asset: What is priced; paths of other assets are independent.
        price: What the path swings around.
        minute_bps: Typical move in a minute.
    """

    def __init__(self, seed: int, asset: str, *, price: float, minute_bps: float = 5.0) -> None:
        self._price = price
        self._octaves = [
            (seed_of(seed, asset, str(period)), period, minute_bps * 1e-4 * math.sqrt(period / _MINUTE_MS))
            for period in _PERIODS_MS
        ]
        self._chunk = lru_cache(maxsize=64)(self._computed)

    def at(self, times_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the price at each time.

        Args:
            times_ms: Shape (n,), UTC ms.

        Returns:
            Shape (n,), above zero.
        """
        log = np.zeros(len(times_ms))
        for seed, period_ms, amplitude in self._octaves:
            knots = times_ms // period_ms
            part = (times_ms - knots * period_ms) / period_ms
            part = part * part * (3.0 - 2.0 * part)
            # Neighbours share their knots, so each is computed once.
            first = int(knots.min())
            values = noise(seed, np.arange(first, int(knots.max()) + 2, dtype=np.int64))
            low = values[knots - first]
            log += amplitude * (low + (values[knots - first + 1] - low) * part)
        result: NDArray[np.float64] = self._price * np.exp(log)
        return result

    def now(self, at_ms: float) -> float:
        """Return the price at one time, from chunks that are kept."""
        step = at_ms / STEP_MS
        index = int(step)
        values = self._chunk(index // _CHUNK_STEPS)
        place = index % _CHUNK_STEPS
        low = values[place]
        return low + (values[place + 1] - low) * (step - index)

    def _computed(self, chunk: int) -> list[float]:
        first = chunk * _CHUNK_STEPS
        values: list[float] = self.at(np.arange(first, first + _CHUNK_STEPS + 1, dtype=np.int64) * STEP_MS).tolist()
        return values
