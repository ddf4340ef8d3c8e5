"""Trades of one channel: each once, in the order of their ids, with a gap for missing ids."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from quantkit.clock import NS_PER_MS
from quantkit.events import Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import TradeData
from quantkit.feeds.okx.codec.grammar import PRICES, TRADED_QTYS
from quantkit.feeds.okx.codec.readers import SIDES, trade_rows
from quantkit.feeds.okx.tracker.channel import AHEAD_NS, REMEMBERED, Counters, FeedMessage
from quantkit.feeds.okx.tracker.quotes import DOUBTS, FastPath, QuoteChannel
from quantkit.feeds.okx.tracker.records import Command


class TradeChannel(QuoteChannel):
    """Trades, each once. Where ids count every match they show missing trades, even across a reconnect."""

    __slots__ = ("_ahead", "_ids", "_last_id", "_matches")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command, "trade")
        #: The highest id delivered.
        self._last_id = 0
        #: The ids delivered last.
        self._ids: deque[int] = deque(maxlen=REMEMBERED)
        #: The number of matches in a row without a `count`; None if unknown.
        self._matches = 1 if channel.name == "trades-all" else None
        #: Rows of the successor that are ahead of the owner: the owner may still bring the trades between.
        self._ahead: deque[TradeData] = deque()

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a new trade, after the gap that its id shows."""
        data: TradeData = message
        trade = data.event
        trade_id, last = trade.trade_id, self._last
        matches = data.count or self._matches
        if (
            connection == self._steady
            and trade_id > self._last_id
            and (matches is None or trade_id - matches <= self._last_id)
        ):
            self._last = trade
            self._last_id = trade_id
            self._ids.append(trade_id)
            out.append(trade)
            if self._ahead:
                self._catch_up(received_ns, out)
            return
        if last is not None and trade_id and trade_id <= self._last_id and self._is_repeated(trade, last.exchange_ns):
            if self._is_ours(connection, received_ns):
                self._counters.count("repeated trades")
            return
        if connection != self._steady:
            if not self._is_ours(connection, received_ns):
                return
            if self.is_paused:
                self._fail(received_ns, "shed", out)
                self._counters.count("rows shed")
                return
            if connection == self.successor and self._cause is None:
                if not trade_id:
                    # Without an id a copy from the owner could not be recognised.
                    self._counters.count("trades without an id during a handover")
                    return
                if self._missing(data):
                    self._keep_ahead(data, received_ns, out)
                    return
            if self.successor is None:
                self._steady = connection
        self._deliver(data, trade, out)
        if self._ahead:
            self._catch_up(received_ns, out)

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering; the rows kept ahead are lost too."""
        super().pause(received_ns, out)
        self._ahead.clear()

    def close(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Add the gap of an open outage, and of the trades missing before the rows kept ahead."""
        if self._ahead:
            self._fail(received_ns, self._missing(self._ahead[0]), out)
        super().close(received_ns, out)

    def _is_repeated(self, trade: Trade, last_ns: int) -> bool:
        """Return whether a trade whose id is not above the last was delivered before."""
        return trade.exchange_ns < last_ns or trade.trade_id in self._ids

    def _missing(self, data: TradeData) -> str:
        """Return which ids are missing before this trade, where ids count every match; else nothing."""
        matches = data.count or self._matches
        if not matches or not self._last_id:
            return ""
        first_id = data.event.trade_id - matches + 1
        # A lower id means that the exchange began to count anew.
        if first_id <= self._last_id + 1:
            return ""
        return f"trades {self._last_id + 1} to {first_id - 1} are missing"

    def _deliver(self, data: TradeData, trade: Trade, out: list[FeedMessage]) -> None:
        """Deliver a trade, after the gap of missing trades."""
        last = self._last
        cause = "; ".join(part for part in (self._cause, self._missing(data)) if part)
        if last is not None and cause:
            out.append(self._gap(last, trade, trade.received_ns, cause))
        self._cause = None
        self._last = trade
        # A much lower id begins a new count; a slightly lower one came late, and the highest id stays.
        if trade.trade_id > self._last_id or 0 < trade.trade_id < self._last_id - REMEMBERED:
            self._last_id = trade.trade_id
        self._ids.append(trade.trade_id)
        out.append(trade)

    # Rows kept ahead ------------------------------------------------------------------------------------------

    def _keep_ahead(self, data: TradeData, received_ns: int, out: list[FeedMessage]) -> None:
        self._ahead.append(data)
        if len(self._ahead) > REMEMBERED:
            self._flush(received_ns, out)

    def _catch_up(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver the rows kept ahead that follow directly; drop those that the owner brought."""
        while self._ahead and not self._missing(self._ahead[0]):
            self._turn(self._ahead.popleft(), received_ns, out)

    def _flush(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver all rows kept ahead: no connection brings the trades between any more."""
        while self._ahead:
            self._turn(self._ahead.popleft(), received_ns, out)

    def _turn(self, data: TradeData, received_ns: int, out: list[FeedMessage]) -> None:
        if data.event.trade_id > self._last_id:
            self._deliver(data, msgspec.structs.replace(data.event, received_ns=received_ns), out)

    def _promoted(self, received_ns: int, out: list[FeedMessage]) -> None:
        self._flush(received_ns, out)


def fast_path_of_trades(states: Mapping[str, TradeChannel]) -> FastPath:
    """Return the fast path for `trades` frames of one trade that follows directly; others fall back to `decode`.

    It uses the row decoder and the grammar of `decode`, and does what `TradeChannel.take` does in steady state.

    Args:
        states: The trade channels by instrument.
    """

    def take(connection: int, received_ns: int, data: bytes) -> Trade | None:
        try:
            (row,) = trade_rows(data).data
            state = states[row.inst_id]
            before, last_id = state._last, state._last_id
            trade_id = row.trade_id or 0
            if connection != state._steady or before is None or trade_id <= last_id or state._ahead:
                return None
            matches = row.count or state._matches
            if matches and trade_id - matches > last_id:
                return None
            exchange_ns = row.ts * NS_PER_MS
            # The first comparison is nearly always false and saves the sum.
            if exchange_ns > received_ns and exchange_ns > received_ns + AHEAD_NS:
                return None
            trade = Trade(
                before.instrument,
                exchange_ns,
                received_ns,
                PRICES[row.px],
                TRADED_QTYS[row.sz],
                SIDES[row.side],
                trade_id,
            )
        except DOUBTS:
            return None
        state._last = trade
        state._last_id = trade_id
        state._ids.append(trade_id)
        return trade

    return take
