"""Raw captures of OKX's public sockets: recorder lines and JSONL, with or without receipt stamps.

The frames go through the tracker of the live feed, so that a capture and a live recording keep the same rows by the
same rules. A capture does not say which connection brought a frame: all of them count as one, and a line of a
reconnect adds the gaps.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from quantkit.clock import NS_PER_S
from quantkit.errors import ParseError
from quantkit.events import KINDS, Gap, MarketEvent
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import (
    AccountData,
    Ack,
    BalanceAndPositionData,
    BookData,
    ConnectionCount,
    ErrorEvent,
    FillsData,
    ForeignCandle,
    FormingCandle,
    FrameMessage,
    FundingData,
    InstrumentData,
    MarketData,
    Notice,
    OrdersData,
    Pong,
    PositionsData,
    Status,
    TradeData,
    Unknown,
    decode,
)
from quantkit.feeds.okx.codec.listing import instrument_of
from quantkit.feeds.okx.tracker.records import BookFetched, Command, FetchBook, FetchCandles, Fetched, Subscribed
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker
from quantkit.importers.archives import ForeignFile
from quantkit.importers.book import book_gap
from quantkit.importers.captures import ReceiptClock, in_capture_order
from quantkit.importers.files import first_lines, numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.metadata import instruments_of_reply
from quantkit.importers.report import Progress

_RECEIVED: Final = re.compile(rb"([0-9]{9,11}(?:\.[0-9]{1,9})?): (.*)", re.DOTALL).fullmatch
_CONNECTED: Final = re.compile(rb"(wss?://\S+) <-> ([0-9.]+)").fullmatch
_SENT: Final = re.compile(rb"wss?://\S+ <- ([0-9.]+): .*", re.DOTALL).fullmatch
_REST: Final = re.compile(rb"(https?://\S+) -> ([0-9.]+): (.*)", re.DOTALL).fullmatch
_STAMP: Final = re.compile(rb"[0-9]{9,11}(?:\.[0-9]{1,9})?").fullmatch
_OPTION: Final = re.compile(r"-[0-9]{6}-[0-9.]+-[CP]$").search
_PEEKED_LINES: Final = 64


class _Wrapped(msgspec.Struct):
    """A line of the JSONL form with a receipt stamp."""

    t: msgspec.Raw
    dir: str
    frame: msgspec.Raw


#: The messages that hold a row of market data.
_ROWS: Final = (BookData, TradeData, FundingData, MarketData)
_Row: TypeAlias = BookData | TradeData | FundingData | MarketData
#: By which rule the other messages are left out.
_RULES: Final[dict[type, str]] = {
    Ack: "acknowledgements",
    Notice: "notices",
    ConnectionCount: "connection counts",
    Pong: "pongs",
    Status: "status messages",
    ForeignCandle: "bars of other intervals than ours",
    AccountData: "private messages",
    PositionsData: "private messages",
    BalanceAndPositionData: "private messages",
    OrdersData: "private messages",
    FillsData: "private messages",
}
#: All frames of a capture count as those of one connection.
_CONNECTION: Final = 0
#: Names that the tracker counts although no row is left out.
_NOT_ROWS: Final = ("books that broke: ", "removed levels that were not there")
_wrapped: Final = msgspec.json.Decoder(_Wrapped)


class _Line(NamedTuple):
    """One line taken apart.

    Attributes:
        what: received, connected, sent, rest or configuration.
        stamp_ns: Receipt stamp, None where the line has none.
        body: The frame or the reply.
        source: The URL of a connection or a reply.
    """

    what: str
    stamp_ns: int | None
    body: bytes
    source: bytes = b""


class _Capture:
    """The state of one import of OKX captures."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.tally = intake.tally
        self.clock = ReceiptClock(intake.tally)
        self._commands: list[Command] = []
        self._tracker = Tracker(command=self._commands.append, proves_checksums=True)
        self._channels: set[Channel] = set()
        self._newest_ns = 0
        self._connections: set[tuple[int, bytes]] = set()
        #: Exchange time of the newest row of each (run, kind, instrument, channel): begin of a reconnect's gap.
        self._seen: dict[tuple[int, str, str, str], int] = {}

    def take(self, line: _Line) -> None:
        """Take one line.

        Raises:
            ParseError: It cannot be understood.
        """
        match line.what:
            case "received":
                self._frame(line)
            case "connected":
                self._connected(line)
            case "rest" if b"/instruments" in line.source:
                found, malformed = instruments_of_reply(line.body)
                self.intake.listed.update(found)
                self.tally.ignore("instrument lists")
                for error in malformed:
                    self.tally.warn(f"metadata that cannot be understood: {error}")
            case what:
                self.tally.ignore(f"{what} lines")

    # Frames ---------------------------------------------------------------------------------------------------

    def _frame(self, line: _Line) -> None:
        if line.stamp_ns is None:
            # The exchange's clock is the only one; rows of one channel may be stamped before those of another.
            drafts = (_exchange_ns(message) for message in decode(line.body, received_ns=0))
            self._newest_ns = received_ns = max((self._newest_ns, *drafts))
        else:
            received_ns = self.clock.stamp(line.stamp_ns)
        found = decode(line.body, received_ns=received_ns)
        if not found:
            self.tally.ignore("frames without rows")
        for message in found:
            if isinstance(message, _ROWS):
                self._row(message, received_ns, has_clock=line.stamp_ns is not None)
            else:
                self._other(message)

    def _row(self, message: _Row, received_ns: int, *, has_clock: bool) -> None:
        event = _event_of(message)
        name = event.instrument
        if _OPTION(name):
            self.tally.ignore("rows of options")
            return
        if not self.intake.wants(name):
            self.tally.ignore("rows of other instruments")
            return
        self.clock.check(event.exchange_ns, "exchange's")
        self.clock.claim(name)
        if has_clock:
            self.intake.latency(event.exchange_ns, received_ns)
        self._track(message, received_ns)

    def _other(self, message: FrameMessage) -> None:
        match message:
            case InstrumentData():
                instrument = instrument_of(message.row)
                if instrument is not None:
                    self.intake.listed[instrument.id] = instrument
                self.tally.ignore("instrument rows")
            case ErrorEvent():
                self.tally.warn(f"the exchange refused a request, code {message.code}: {message.text[:200]}")
                self.tally.ignore("errors")
            case FormingCandle():
                self.tally.ignore("bars that are still open")
            case Unknown():
                self.tally.ignore(f"unused: {message.what}")
            case _:
                self.tally.ignore(_RULES[type(message)])

    def _connected(self, line: _Line) -> None:
        self.tally.ignore("connected lines")
        connection = (self.clock.run, line.source)
        if line.stamp_ns is None or connection not in self._connections:
            self._connections.add(connection)
            return
        received_ns = self.clock.stamp(line.stamp_ns)
        for (run, kind, name, channel), since_ns in self._seen.items():
            # Sequence numbers or checksums prove a book across a reconnect.
            if run == self.clock.run and kind != "book":
                end_ns = max(since_ns, line.stamp_ns)
                self.intake.add(Gap(name, since_ns, received_ns, kind, since_ns, end_ns, "reconnected"), channel)

    # Rows -----------------------------------------------------------------------------------------------------

    def _track(self, message: _Row, received_ns: int) -> None:
        """Pass a row to the tracker and store its events."""
        tracker = self._tracker
        channel = Channel(message.channel, _event_of(message).instrument)
        if channel not in self._channels:
            self._channels.add(channel)
            tracker.record(Subscribed(received_ns, _CONNECTION, channel))
        found = tracker.messages(_CONNECTION, received_ns, [message])
        if isinstance(message, BookData) and message.update in found:
            self._check(message)
        self._store(found, channel.name)
        while self._commands:
            self._answer(self._commands.pop(), message, received_ns)

    def _check(self, data: BookData) -> None:
        """Count the proof of a book message: its checksum or its sequence number."""
        if data.checksum:
            self.tally.check("book checksums")
        elif data.seq_id is not None and not data.update.is_snapshot:
            self.tally.check("book sequence links")

    def _answer(self, command: Command, message: _Row, received_ns: int) -> None:
        """Answer a command of the tracker: a capture holds frames alone, so every fetch is empty."""
        tracker, channel = self._tracker, command.channel
        if isinstance(command, FetchBook) and isinstance(message, BookData):
            self.tally.ignore("book updates while waiting for a snapshot")
            self.intake.add(book_gap(message.update, since_ns=None, cause="no snapshot"), channel.name)
            self._store(tracker.record(BookFetched(received_ns, channel, b"", "no replies")), channel.name)
        elif isinstance(command, FetchCandles):
            self._store(tracker.record(Fetched(received_ns, channel, [])), channel.name)

    def _store(self, found: Sequence[FeedMessage], channel: str) -> None:
        for event in found:
            if isinstance(event, MarketEvent):
                if not isinstance(event, Gap):
                    self._seen[self.clock.run, KINDS[type(event)], event.instrument, channel] = event.exchange_ns
                self.intake.add(event, channel)

    def close(self) -> None:
        """Report the rows that the tracker left out."""
        for name, count in self._tracker.counters.items():
            if not name.startswith(_NOT_ROWS):
                self.tally.ignore(name, count)


def import_okx(files: Sequence[ForeignFile], intake: Intake, *, progress: Progress | None) -> None:
    """Take the events of captures of OKX's public sockets; all files are one capture.

    A line is one of a recorder's (`URL <-> T` connected, `URL <- T: frame` sent, `T: frame` received,
    `URL -> T: reply`), a JSON object `{t, dir, frame}`, or a bare frame. A bare frame has no receipt stamp; it counts
    as received when the exchange stamped it.
    """
    capture = _Capture(intake)
    for source, first_ns in in_capture_order(files, _first_ns):
        file = source.name
        intake.tally.files.append(file)
        capture.clock.begin(file, first_ns)
        for number, text in numbered_lines(source, intake.tally, progress):
            try:
                capture.take(_taken_apart(text))
            except ParseError as error:
                intake.tally.skip(file, number, text[:200].decode(errors="replace"), str(error))
    capture.close()


def _taken_apart(text: bytes) -> _Line:
    """Tell the forms of lines apart.

    Raises:
        ParseError: The line has none of the known forms.
    """
    if text.startswith(b"{"):
        if not text.startswith(b'{"t":'):
            return _Line("received", None, text)
        try:
            wrapped = _wrapped.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ParseError(str(error)) from error
        what = "received" if wrapped.dir == "in" else "sent"
        return _Line(what, _stamp_ns(bytes(wrapped.t)), bytes(wrapped.frame))
    received = _RECEIVED(text)
    if received is not None:
        return _Line("received", _stamp_ns(received[1]), received[2])
    connected = _CONNECTED(text)
    if connected is not None:
        return _Line("connected", _stamp_ns(connected[2]), b"", connected[1])
    if _SENT(text) is not None:
        return _Line("sent", None, b"")
    rest = _REST(text)
    if rest is not None:
        return _Line("rest", _stamp_ns(rest[2]), rest[3], rest[1])
    if text.startswith(b"configuration: "):
        return _Line("configuration", None, b"")
    raise ParseError("the line is neither a recorder's nor JSON")


def _stamp_ns(text: bytes) -> int:
    """Return epoch seconds with a fraction as nanoseconds, exactly."""
    if _STAMP(text) is None:
        raise ParseError(f"receipt stamp {text[:40].decode(errors='replace')!r} is not understood")
    whole, _, fraction = text.partition(b".")
    return int(whole) * NS_PER_S + int(fraction.ljust(9, b"0"))


def _first_ns(file: ForeignFile) -> int | None:
    """Return the stamp of a capture's first row, the exchange's where it has no other."""
    for text in first_lines(file, _PEEKED_LINES):
        try:
            line = _taken_apart(text)
            if line.stamp_ns is not None and line.what != "sent":
                return line.stamp_ns
            if line.what == "received":
                newest_ns = max(map(_exchange_ns, decode(line.body, received_ns=0)), default=0)
                if newest_ns:
                    return newest_ns
        except ParseError:
            continue
    return None


def _event_of(message: _Row) -> MarketEvent:
    return message.update if isinstance(message, BookData) else message.event


def _exchange_ns(message: FrameMessage) -> int:
    return _event_of(message).exchange_ns if isinstance(message, _ROWS) else 0
