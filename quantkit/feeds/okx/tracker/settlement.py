"""Which settlement a settled funding rate belongs to, as told by the rows of the funding-rate channel."""

from collections.abc import Callable
from typing import Final

import msgspec

from quantkit.clock import NS_PER_S
from quantkit.events import Funding
from quantkit.feeds.okx.codec.decode import FundingData

#: No two settlements are closer.
_SHORTEST_NS: Final = 3600 * NS_PER_S


class Settlements:
    """The settlements of one swap: the rows name the next one, and the rate of the last once it is settled.

    Args:
        count: Told what cannot be given, by name, and how many.
    """

    __slots__ = ("_count", "_funding_ns", "_unsettled_ns")

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        self._funding_ns: int | None = None  # the settlement that was next in the last row
        self._unsettled_ns: int | None = None  # the one that became due, whose rate has not been told yet

    def take(self, data: FundingData) -> Funding | None:
        """Take a row, and return the settled rate that it is the first to tell; None where there is none to be told.

        Only a settlement that the rows have seen become due has a known time.
        """
        event = data.event
        last_ns = self._funding_ns
        if last_ns is not None and event.funding_ns > last_ns:
            self._unsettled_ns = self._due(data, last_ns)
        self._funding_ns = event.funding_ns
        if data.settled_rate is None or self._unsettled_ns is None:
            return None
        settled_ns, self._unsettled_ns = self._unsettled_ns, None
        return msgspec.structs.replace(event, rate=data.settled_rate, funding_ns=settled_ns, is_settled=True)

    def _due(self, data: FundingData, last_ns: int) -> int | None:
        """Return which settlement became due last; None where that cannot be told.

        Args:
            data: The first row that names a later settlement than `last_ns`.
            last_ns: The settlement that was next before that row.
        """
        funding_ns = data.event.funding_ns
        if data.event.exchange_ns < last_ns + _SHORTEST_NS or funding_ns < last_ns + 2 * _SHORTEST_NS:
            return last_ns
        # Several may have passed in a hole, and only the rate of the last one is told.
        if data.interval_ns is None or data.interval_ns < _SHORTEST_NS:
            self._count("settled rates of an unknown settlement", 1)
            return None
        due_ns = funding_ns - data.interval_ns
        if due_ns > last_ns:
            self._count("settlements whose rate was lost", -(-(due_ns - last_ns) // data.interval_ns))
        return max(due_ns, last_ns)
