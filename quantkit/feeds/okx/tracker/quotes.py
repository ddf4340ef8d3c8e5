"""Quotes, marks and funding rates: each row replaces the one before."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.events import Funding, Gap, Mark, Ticker, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import MALFORMED, FundingData, MarketData
from quantkit.feeds.okx.codec.grammar import OPTIONAL_PRICES, OPTIONAL_QTYS
from quantkit.feeds.okx.codec.readers import ticker_rows
from quantkit.feeds.okx.tracker.channel import AHEAD_NS, ChannelState, Counters, FeedMessage
from quantkit.feeds.okx.tracker.records import Command

#: No two settlements are closer.
_SHORTEST_NS: Final = 3600 * NS_PER_S

_QuoteRow: TypeAlias = Ticker | Mark | Funding | Trade

#: Fast path for single-row frames: `take(connection, received_ns, data)` returns the event and updates the channel's
#: state. It returns None and changes nothing where the frame needs `decode`.
FastPath: TypeAlias = Callable[[int, int, bytes], Ticker | Trade | None]

#: What makes a fast path fall back to `decode`: a malformed frame, an unknown instrument, or not exactly one row.
DOUBTS: Final = (*MALFORMED, KeyError, ValueError)


class QuoteChannel(ChannelState):
    """Quotes and marks. The gap of an outage comes before the first row after it."""

    __slots__ = ("_cause", "_is_settling", "_kind", "_last", "_steady")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None], kind: str) -> None:
        super().__init__(channel, counters, command)
        self._kind = kind
        self._last: _QuoteRow | None = None
        #: The cause of the present outage; None without an outage.
        self._cause: str | None = None
        #: Whether the owner was a successor until now, so that its rows may still be copies.
        self._is_settling = False
        #: The connection whose rows are delivered without further checks; None during outages and handovers.
        self._steady: int | None = None

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a quote or a mark; crossed quotes and those without a side are counted instead."""
        data: MarketData = message
        event: Any = data.event
        if type(event) is Ticker:
            bid, ask = event.bid, event.ask
            if bid is None or ask is None:
                if bid is ask:
                    self._counters.count("quotes without a side")
                    return
            elif bid > ask:
                self._counters.count("crossed quotes, as before an instrument opens")
                return
        if connection == self._steady or self._admits(connection, event, out):
            self._last = event
            out.append(event)

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering."""
        self.is_paused = True
        self._steady = None

    def resume(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver again; the gap comes before the first row."""
        self.is_paused = False

    def close(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Add the gap of an outage that no row ended."""
        last, cause = self._last, self._cause
        if last is not None and cause is not None:
            since_ns = last.exchange_ns
            end_ns = max(since_ns, received_ns)
            out.append(Gap(last.instrument, since_ns, received_ns, self._kind, since_ns, end_ns, cause))
        self._cause = None

    def _admits(self, connection: int, event: _QuoteRow, out: list[FeedMessage]) -> bool:
        """Return whether to deliver a row; add the gap of the outage that it ends."""
        if not self._is_ours(connection, event.received_ns):
            return False
        is_other = connection == self.successor
        if (is_other or self._is_settling) and self._cause is None and not self._is_news(event):
            self._counters.count("repeated rows of a handover")
            return False
        self._is_settling = False
        if is_other:
            # Until the old connection ends, the connection that is ahead is the owner.
            self.owner, self.successor = connection, self.owner
        if self.is_paused:
            self._fail(event.received_ns, "shed", out)
            self._counters.count("rows shed")
            return False
        if self._cause is not None and self._last is not None:
            out.append(self._gap(self._last, event, event.received_ns, self._cause))
            self._cause = None
        if self.successor is None:
            self._steady = connection
        return True

    def _gap(self, last: _QuoteRow, event: _QuoteRow, received_ns: int, cause: str) -> Gap:
        since_ns = min(last.exchange_ns, event.exchange_ns)
        return Gap(event.instrument, event.exchange_ns, received_ns, self._kind, since_ns, event.exchange_ns, cause)

    def _is_news(self, event: _QuoteRow) -> bool:
        """Return whether a row is newer than the last one delivered, by the exchange's clock."""
        return self._last is None or event.exchange_ns > self._last.exchange_ns

    def _restarted(self, connection: int) -> None:
        self._steady = None

    def _promoted(self, received_ns: int, out: list[FeedMessage]) -> None:
        self._is_settling = self.owner is not None

    def _left(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        self._steady = None

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        self._steady = None
        self._is_settling = False
        # Before the first row no row can be missing.
        if self._cause is None and self._last is not None:
            self._cause = cause


class SettlementTimes:
    """Attributes settled rates of one swap to their settlements.

    A row names the time of the next settlement, and the rate of the last one but not its time.

    Args:
        count: Counts rates that cannot be attributed or were lost, by name.
    """

    __slots__ = ("_count", "_funding_ns", "_unsettled_ns")

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        self._funding_ns: int | None = None  # the next settlement, by the last row
        self._unsettled_ns: int | None = None  # a settlement that became due, while its rate is unknown

    def take(self, data: FundingData) -> Funding | None:
        """Take a row; return the settled rate that it brings first, None without one.

        The time of a settlement is known only if a row before named it as the next one.
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
        """Return the settlement that became due last; None where it is unknown.

        Args:
            data: The first row that names a later settlement than `last_ns`.
            last_ns: The settlement that was next before that row.
        """
        funding_ns = data.event.funding_ns
        if data.event.exchange_ns < last_ns + _SHORTEST_NS or funding_ns < last_ns + 2 * _SHORTEST_NS:
            return last_ns
        # Several settlements may have passed in an outage; OKX tells only the rate of the last one.
        if data.interval_ns is None or data.interval_ns < _SHORTEST_NS:
            self._count("settled rates of an unknown settlement", 1)
            return None
        due_ns = funding_ns - data.interval_ns
        if due_ns > last_ns:
            self._count("settlements whose rate was lost", -(-(due_ns - last_ns) // data.interval_ns))
        return max(due_ns, last_ns)


class FundingChannel(QuoteChannel):
    """Funding rates: the predicted rate, and the settled rate with the time of its settlement."""

    __slots__ = ("_settlements",)

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command, "funding")
        self._settlements = SettlementTimes(counters.count)

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver the predicted rate, and the settled rate that comes with it."""
        data: FundingData = message
        event = data.event
        if connection != self._steady and not self._admits(connection, event, out):
            return
        self._last = event
        out.append(event)
        settled = self._settlements.take(data)
        if settled is not None:
            out.append(settled)


def fast_path_of_tickers(states: Mapping[str, QuoteChannel]) -> FastPath:
    """Return the fast path for `tickers` frames of one quote with both sides; any other frame falls back to `decode`.

    It uses the row decoder and the grammar of `decode`, and does what `QuoteChannel.take` does in steady state.

    Args:
        states: The quote channels by instrument.
    """

    def take(connection: int, received_ns: int, data: bytes) -> Ticker | None:
        try:
            (row,) = ticker_rows(data).data
            state = states[row.inst_id]
            before = state._last
            bid, ask, last = OPTIONAL_PRICES[row.bid_px], OPTIONAL_PRICES[row.ask_px], OPTIONAL_PRICES[row.last]
            if connection != state._steady or before is None or bid is None or ask is None or bid > ask:
                return None
            exchange_ns = row.ts * NS_PER_MS
            # The first comparison is nearly always false and saves the sum.
            if exchange_ns > received_ns and exchange_ns > received_ns + AHEAD_NS:
                return None
            quote = Ticker(
                before.instrument,
                exchange_ns,
                received_ns,
                bid,
                OPTIONAL_QTYS[row.bid_sz],
                ask,
                OPTIONAL_QTYS[row.ask_sz],
                last,
                last and OPTIONAL_QTYS[row.last_sz],
            )
        except DOUBTS:
            return None
        state._last = quote
        return quote

    return take
