"""The tracker: frames and records in, events for the consumer out; no sockets, no clock, no waiting.

The events are a pure function of the frames and records in their order: a tape replayed through a new tracker gives
the same events.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, assert_never, get_args

from quantkit.clock import INTERVALS, NS_PER_S
from quantkit.errors import ParseError
from quantkit.events import KINDS, RANKS, Candle, Gap
from quantkit.feeds.okx.codec.channels import FLOWS, Channel
from quantkit.feeds.okx.codec.decode import (
    BARS,
    HEAD,
    TICKERS_HEAD,
    TRADES_HEAD,
    BookData,
    ControlMessage,
    ForeignCandle,
    FormingCandle,
    FrameError,
    FrameMessage,
    FundingData,
    InstrumentData,
    MarketData,
    PrivateMessage,
    Status,
    TradeData,
    Unknown,
    decode,
)
from quantkit.feeds.okx.codec.listing import decode_instruments
from quantkit.feeds.okx.tracker.book import SequencedBook
from quantkit.feeds.okx.tracker.books import BookChannel, DepthChannel, WholeBookChannel
from quantkit.feeds.okx.tracker.candles import CandleChannel
from quantkit.feeds.okx.tracker.channel import AHEAD_NS, ChannelState, Counters, FeedMessage, PassThroughChannel
from quantkit.feeds.okx.tracker.quotes import FastPath, FundingChannel, QuoteChannel, fast_path_of_tickers
from quantkit.feeds.okx.tracker.records import (
    Awaited,
    BookFetched,
    Closed,
    Command,
    FetchCandles,
    Fetched,
    InstrumentFetched,
    Listed,
    Lost,
    Opened,
    Overflow,
    Record,
    Stalled,
    Subscribed,
    Unsubscribed,
)
from quantkit.feeds.okx.tracker.trades import TradeChannel, fast_path_of_trades

__all__ = ["ControlMessage", "FeedMessage", "Tracker", "ignore"]

#: The channel's name, and the instrument or kind of instruments.
_Key: TypeAlias = tuple[str, str]

_log: Final = logging.getLogger("quantkit.feeds.okx")

_LAST_RANK: Final = max(RANKS.values()) + 1
_TRADES: Final = ("trades", "trades-all")


def ignore(*_: object) -> None:
    """Do nothing: a replay of a tape ignores commands and messages about connections."""


class Tracker:
    """Turns frames and records into messages, and gives the client commands.

    Every outage of a stream has exactly one `Gap`. A book's gap comes when the book becomes invalid; a gap of trades,
    quotes, marks or rates comes before the first row after the outage. Missing bars are fetched; they have a gap only
    if that fails. While the consumer has no room (`Overflow`) rows of market data are not delivered. Messages about the
    account and metadata are: they cannot be had again. Subscribe one channel for each stream: `books` and `books5` both
    bring rows of the same book.

    Args:
        command: Takes commands; a replay ignores them.
        control: Takes acknowledgements, errors and notices, with the number of their connection.
        proves_checksums: Hold depth books against their checksums; recordings before 2022 have no other proof.

    Examples:
        >>> tracker = Tracker()
        >>> tracker.record(Subscribed(1, 0, Channel("mark-price", "A-B-SWAP")))
        []
        >>> row = b'{"instId":"A-B-SWAP","markPx":"2","ts":"1597026383085"}'
        >>> push = b'{"arg":{"channel":"mark-price","instId":"A-B-SWAP"},"data":[%b]}' % row
        >>> [event.price for event in tracker.frame(0, 1597026383100000000, push)]
        [2.0]
    """

    def __init__(
        self,
        *,
        command: Callable[[Command], None] = ignore,
        control: Callable[[int, ControlMessage], None] = ignore,
        proves_checksums: bool = False,
    ) -> None:
        self._command = command
        self._proves_checksums = proves_checksums
        self._control = control
        self._counters = Counters()
        self._states: dict[_Key, ChannelState] = {}
        #: The `take` method of each channel.
        self._takes: dict[_Key, Callable[[int, int, Any, list[FeedMessage]], None]] = {}
        #: Known price steps, by instrument.
        self._steps: dict[str, str] = {}
        #: The first awaited bar of channels that are not subscribed yet.
        self._awaited: dict[_Key, int] = {}
        self._is_overflowing = False
        #: Channels with a fast path, by name and instrument, and the fast paths by how their frames begin.
        self._fast_states: dict[str, dict[str, Any]] = {"trades": {}, "tickers": {}}
        self._fast_paths: dict[bytes, FastPath] = {
            TRADES_HEAD: fast_path_of_trades(self._fast_states["trades"]),
            TICKERS_HEAD: fast_path_of_tickers(self._fast_states["tickers"]),
        }

    @property
    def counters(self) -> Counter[str]:
        """The number of messages that were not delivered, by name."""
        return self._counters.by_name

    # In -------------------------------------------------------------------------------------------------------

    def frame(self, connection: int, received_ns: int, data: bytes) -> list[FeedMessage]:
        """Take one text frame.

        Args:
            connection: The number of the connection it came from.
            received_ns: The receiver's stamp, UTC ns, later than any before.
            data: The frame as received; malformed bytes raise nothing.

        Returns:
            Messages in the order of rows, each stamped with `received_ns`. A row that the exchange stamped more than a
            day ahead counts as malformed.
        """
        # Fast path for single-row frames of trades and tickers, nearly all of the traffic. Anything unusual falls back
        # to `decode`.
        fast_path = self._fast_paths.get(data[:HEAD])
        if fast_path is not None:
            event = fast_path(connection, received_ns, data)
            if event is not None:
                return [event]
        try:
            messages = decode(data, received_ns=received_ns)
        except FrameError as error:
            return self._malformed(connection, received_ns, error)
        return self.messages(connection, received_ns, messages)

    def messages(self, connection: int, received_ns: int, messages: Sequence[FrameMessage]) -> list[FeedMessage]:
        """Take the messages of one frame that is decoded already, as `frame` does."""
        out: list[FeedMessage] = []
        latest_ns = received_ns + AHEAD_NS
        message: Any
        for message in messages:
            kind = type(message)
            # The busiest messages are looked up in place: a call for each key costs a tenth of the whole time.
            if kind is TradeData or kind is MarketData:
                event = message.event
                key = (message.channel, event.instrument)
                stamp_ns = event.exchange_ns
            elif kind in _KEYS:
                key = _KEYS[kind](message)
                stamp_ns = _STAMPS[kind](message) if kind in _STAMPS else 0
                if kind is InstrumentData:
                    self._listed(message.row.inst_id, message.row.tick_sz)
            else:
                self._other(connection, message)
                continue
            take = self._takes.get(key)
            if take is None:
                self._counters.count("rows of channels that nobody wants")
            elif stamp_ns > latest_ns:
                self._early(connection, received_ns, key, out)
            else:
                take(connection, received_ns, message, out)
        if len(out) > 1:
            out.sort(key=_order)
        return out

    def record(self, event: Record) -> list[FeedMessage]:
        """Take a record.

        Returns:
            Messages in the order of rows, each stamped with the record's `received_ns`.
        """
        out: list[FeedMessage] = []
        received_ns = event.received_ns
        match event:
            case Opened():
                pass
            case Lost():
                for state in self._states.values():
                    state.lost(event.connection, received_ns, event.cause, out)
            case Subscribed():
                self._subscribed(event, out)
            case Unsubscribed():
                key = _key(event.channel)
                ended = self._states.get(key)
                if ended is not None and ended.unsubscribed(event.connection, event.channel, received_ns, out):
                    del self._states[key], self._takes[key]
                    self._fast_states.get(key[0], {}).pop(key[1], None)
            case Awaited():
                awaited = self._states.get(_key(event.channel))
                if isinstance(awaited, CandleChannel):
                    awaited.begin(event.open_ns)
                else:
                    self._awaited[_key(event.channel)] = event.open_ns
            case Fetched():
                bars = self._states.get(_key(event.channel))
                if isinstance(bars, CandleChannel):
                    bars.fetched(event, out)
            case BookFetched():
                book = self._states.get(_key(event.channel))
                if isinstance(book, DepthChannel):
                    book.fetched(event.body, event.error, received_ns, out)
            case Listed():
                self._listed(event.instrument, event.price_step)
            case InstrumentFetched():
                self._relisted(event, out)
            case Stalled():
                quiet = self._states.get(_key(event.channel))
                if quiet is not None:
                    quiet.stalled(event.connection, received_ns, event.quiet_ns, out)
            case Overflow():
                self._overflow(event, out)
            case Closed():
                out += self.close(received_ns)
            case _:
                assert_never(event)
        out.sort(key=_order)
        return out

    def close(self, received_ns: int) -> list[Gap]:
        """Return the gaps of open outages at the end of a run, as `record(Closed(...))` does."""
        out: list[FeedMessage] = []
        for state in self._states.values():
            state.close(received_ns, out)
        return sorted((gap for gap in out if isinstance(gap, Gap)), key=_order)

    # Asking ---------------------------------------------------------------------------------------------------

    def heard_ns(self, connection: int, channel: Channel) -> int:
        """Return when a connection last brought a frame of a channel since its subscription, UTC ns.

        Returns:
            0 without one. For a book also 0 while the connection's snapshot is missing; for other channels the stamp
            may be of an older frame.
        """
        state = self._states.get(_key(channel))
        return 0 if state is None else state.heard_ns(connection)

    def overdue(self, now_ns: int, grace_ns: int = 5 * NS_PER_S) -> list[FetchCandles]:
        """Return fetches of the bars that are late; the tracker does not change.

        Args:
            now_ns: The receiver's clock, UTC ns.
            grace_ns: How long after its close a bar is late.
        """
        return [
            asked
            for state in self._states.values()
            if isinstance(state, CandleChannel) and (asked := state.overdue(now_ns, grace_ns)) is not None
        ]

    def book(self, channel: Channel) -> SequencedBook | None:
        """Return the book of a depth channel as its delivered rows leave it; None while it cannot be relied on."""
        state = self._states.get(_key(channel))
        return state.book if isinstance(state, DepthChannel) and state.is_visible else None

    def invalid_books(self) -> Iterator[Channel]:
        """Yield the book channels that are wanted and whose book cannot be relied on now."""
        for state in self._states.values():
            if isinstance(state, BookChannel) and not state.is_visible:
                yield state.channel

    # Inside ---------------------------------------------------------------------------------------------------

    def _listed(self, instrument: str, price_step: str) -> None:
        """Check the books of an instrument against a price step from now on, if it is a new one."""
        if price_step and self._steps.get(instrument) != price_step:
            self._steps[instrument] = price_step
            for state in self._states.values():
                if isinstance(state, BookChannel) and state.channel.inst_id == instrument:
                    state.listed(price_step)

    def _relisted(self, record: InstrumentFetched, out: list[FeedMessage]) -> None:
        """Take metadata that were fetched because a price was off the step, or the error of the fetch."""
        name, step = record.channel.inst_id, ""
        try:
            rows = [] if record.error else decode_instruments(record.body)
        except ParseError:
            self._counters.count("malformed fetched metadata")
            rows = []
        for row in rows:
            if not isinstance(row, ParseError) and row.inst_id == name:
                step = row.tick_sz
                out.append(InstrumentData(row, record.received_ns))
        self._listed(name, step)
        state = self._states.get(_key(record.channel))
        if isinstance(state, BookChannel):
            state.listed(step)

    def _subscribed(self, record: Subscribed, out: list[FeedMessage]) -> None:
        key = _key(record.channel)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = self._state_of(record.channel)
            self._takes[key] = state.take
            if isinstance(state, BookChannel):
                state.listed(self._steps.get(record.channel.inst_id, ""))
            if key[0] in self._fast_states:
                self._fast_states[key[0]][key[1]] = state
            if isinstance(state, CandleChannel) and key in self._awaited:
                state.begin(self._awaited.pop(key))
            if self._is_overflowing:
                state.pause(record.received_ns, out)
        state.subscribed(record.connection, record.channel)

    def _state_of(self, channel: Channel) -> ChannelState:
        name, counters, command = channel.name, self._counters, self._command
        if channel.is_depth:
            return DepthChannel(channel, counters, command, proves_checksums=self._proves_checksums)
        if channel.is_book:
            return WholeBookChannel(channel, counters, command)
        if name in _TRADES:
            return TradeChannel(channel, counters, command)
        if name in FLOWS:
            return QuoteChannel(channel, counters, command, FLOWS[name])
        if name == "funding-rate":
            return FundingChannel(channel, counters, command)
        if name.startswith("candle") and name.removeprefix("candle") in BARS:
            return CandleChannel(channel, counters, command)
        return PassThroughChannel(channel, counters, command)

    def _overflow(self, record: Overflow, out: list[FeedMessage]) -> None:
        if record.is_on == self._is_overflowing:
            return
        self._is_overflowing = record.is_on
        for state in self._states.values():
            if record.is_on:
                state.pause(record.received_ns, out)
            else:
                state.resume(record.received_ns, out)

    def _malformed(self, connection: int, received_ns: int, error: FrameError) -> list[FeedMessage]:
        out: list[FeedMessage] = []
        self._counters.count(f"malformed frames of {error.channel or 'no known channel'}")
        state = self._states.get((error.channel, error.instrument))
        if state is not None:
            state.malformed(connection, received_ns, out)
        return out

    def _early(self, connection: int, received_ns: int, key: _Key, out: list[FeedMessage]) -> None:
        """Take a row from the future as malformed: its other numbers cannot be trusted either."""
        name = "rows stamped a day ahead of this machine's clock"
        if name not in self._counters.by_name:
            _log.warning("%s %s: %s; if that is wrong, set it by NTP", *key, name)
        self._counters.count(name)
        self._states[key].malformed(connection, received_ns, out)

    def _other(self, connection: int, message: ControlMessage | Unknown) -> None:
        """Take a message that belongs to no channel."""
        if isinstance(message, Unknown):
            self._counters.count(f"unknown: {message.what}")
        else:
            self._control(connection, message)


# Keys and order -----------------------------------------------------------------------------------------------


def _key(channel: Channel) -> _Key:
    if channel.path == "private":
        return (channel.name, "")
    return (channel.name, channel.inst_id or channel.inst_type)


def _event_key(message: Any) -> _Key:
    return (message.channel, message.event.instrument)


#: The key of each type of message.
_KEYS: Final[dict[type, Callable[[Any], _Key]]] = {
    MarketData: _event_key,
    TradeData: _event_key,
    FundingData: _event_key,
    BookData: lambda message: (message.channel, message.update.instrument),
    FormingCandle: lambda message: (message.channel, message.candle.instrument),
    ForeignCandle: lambda message: (message.channel, message.instrument),
    InstrumentData: lambda message: ("instruments", message.row.inst_type),
    Status: lambda message: ("status", ""),
    **dict.fromkeys(get_args(PrivateMessage), lambda message: (message.channel.name, "")),
}


#: The exchange's stamp of each type of message; of an open bar its opening. Other messages have none.
_STAMPS: Final[dict[type, Callable[[Any], int]]] = {
    FundingData: lambda message: message.event.exchange_ns,
    BookData: lambda message: message.update.exchange_ns,
    FormingCandle: lambda message: message.candle.open_ns,
    ForeignCandle: lambda message: message.open_ns,
}


def _order(event: Any) -> tuple[int, int, str]:
    """Return the sort key of an event among those of one stamp; messages that are no rows of the market come last."""
    if isinstance(event, InstrumentData):
        return (RANKS["instrument"], 0, event.row.inst_id)
    kind = KINDS.get(type(event))
    if kind is None:
        return (_LAST_RANK, 0, "")
    interval_ns = INTERVALS[event.interval] if isinstance(event, Candle) else 0
    return (RANKS[kind], interval_ns, event.instrument)
