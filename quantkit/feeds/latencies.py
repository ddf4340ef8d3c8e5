"""How long rows take from the socket to the engine, as a histogram of bounded size."""

from typing import Final

#: Each doubling of a latency is cut into so many buckets: a quantile is at most a sixteenth too high.
_BUCKETS_BITS: Final = 4
_BUCKETS: Final = 1 << _BUCKETS_BITS
_DOUBLINGS: Final = 60


class Latencies:
    """Counts latencies of the span at hand and of the one before it; one thread adds, and reads.

    Examples:
        >>> latencies = Latencies()
        >>> for us in range(1, 101):
        ...     latencies.add(us * 1000)
        >>> latencies.quantile_ns(0.5) // 1000, latencies.quantile_ns(0.99) // 1000
        (51, 102)
    """

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS * _DOUBLINGS)
        self._before = [0] * (_BUCKETS * _DOUBLINGS)

    def add(self, latency_ns: int) -> None:
        """Count a latency; one below zero, by a clock that was set back, counts as none."""
        # The bits below the leading five are dropped, so that a bucket has its own length for each doubling.
        ns = latency_ns if latency_ns > _BUCKETS else _BUCKETS
        doubling = ns.bit_length() - _BUCKETS_BITS - 1
        self._counts[doubling * _BUCKETS + (ns >> doubling) - _BUCKETS] += 1

    def turn(self) -> None:
        """Begin another span, and forget the one before the last."""
        self._before, self._counts = self._counts, [0] * (_BUCKETS * _DOUBLINGS)

    def quantile_ns(self, share: float) -> int | None:
        """Return the latency that this share of both spans was not above; None without any."""
        counts = [now + before for now, before in zip(self._counts, self._before, strict=True)]
        left = share * sum(counts)
        if not left:
            return None
        for bucket, count in enumerate(counts):
            left -= count
            if count and left <= 0:
                doubling, step = divmod(bucket, _BUCKETS)
                return (_BUCKETS + step + 1 << doubling) - 1
        raise AssertionError("shares are at most 1")
