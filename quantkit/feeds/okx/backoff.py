"""How long to wait before the next attempt after failures in a row."""

import numpy as np

from quantkit.feeds.okx.config import RetryPolicy

#: A server may ask for patience, but not for ever.
_LONGEST_RETRY_AFTER_S = 3600.0


class Backoff:
    """Exponential back-off with full jitter: uniform between 0 and a bound that grows with each failure.

    Args:
        policy: The bounds.
        rng: Where the jitter comes from, so that connections that fell together do not come back together.

    Examples:
        >>> backoff = Backoff(RetryPolicy(base_s=1.0), np.random.default_rng(1))
        >>> backoff.failed()
        >>> 0.0 <= backoff.wait_s() <= 1.0, backoff.wait_s(retry_after_s=5.0)
        (True, 5.0)
    """

    __slots__ = ("_policy", "failures", "rng")

    def __init__(self, policy: RetryPolicy, rng: np.random.Generator) -> None:
        self._policy = policy
        self.rng = rng
        self.failures = 0

    def failed(self) -> None:
        """Count a failure."""
        self.failures += 1

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the policy says to give up."""
        limit = self._policy.give_up_after
        return limit is not None and self.failures >= limit

    def wait_s(self, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait now, at least what the server asked for; 0 before the first failure."""
        jitter_s = float(self.rng.uniform(0.0, self._policy.bound_s(self.failures))) if self.failures else 0.0
        return max(jitter_s, min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))
