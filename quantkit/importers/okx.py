"""Raw captures of OKX's public sockets: recorder lines and JSONL, with or without receipt stamps."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, assert_never

import msgspec

from quantkit.clock import NS_PER_S
from quantkit.errors import ParseError
from quantkit.events import KINDS, Candle, Gap, MarketEvent, Ticker
from quantkit.feeds.okx.codec import decode as messages
from quantkit.feeds.okx.tracker.quotes import Settlements
from quantkit.importers.captures import ReceiptClock, in_capture_order
from quantkit.importers.files import first_lines, numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.metadata import instruments_of_reply
from quantkit.importers.okx_checks import OkxBook, OkxTrades
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
_ROWS: Final = (messages.BookData, messages.TradeData, messages.FundingData, messages.MarketData)
_Row: TypeAlias = messages.BookData | messages.TradeData | messages.FundingData | messages.MarketData
#: By which rule the other messages are left out.
_RULES: Final[dict[type, str]] = {
    messages.Ack: "acknowledgements",
    messages.Notice: "notices",
    messages.ConnectionCount: "connection counts",
    messages.Pong: "pongs",
    messages.Status: "status messages",
    messages.ForeignCandle: "bars of other intervals than ours",
    messages.OpenInterest: "open interest",
    messages.AccountData: "private messages",
    messages.PositionsData: "private messages",
    messages.BalanceAndPositionData: "private messages",
    messages.OrdersData: "private messages",
    messages.FillsData: "private messages",
}
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
        self._books: dict[tuple[str, str], OkxBook] = {}
        self._trades: dict[tuple[str, str], OkxTrades] = {}
        self._settlements: dict[str, Settlements] = {}
        self._candles: dict[tuple[str, str], int] = {}
        self._newest_ns = 0
        self._connections: set[tuple[int, bytes]] = set()
        #: Exchange time of the newest row of each (run, kind, instrument, channel), for what a lost connection costs.
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
            drafts = (_exchange_ns(message) for message in messages.decode(line.body, received_ns=0))
            self._newest_ns = received_ns = max((self._newest_ns, *drafts))
        else:
            received_ns = self.clock.stamp(line.stamp_ns)
        found = messages.decode(line.body, received_ns=received_ns)
        if not found:
            self.tally.ignore("frames without rows")
        for message in found:
            if isinstance(message, _ROWS):
                self._row(message, received_ns, has_clock=line.stamp_ns is not None)
            else:
                self._other(message)

    def _row(self, message: _Row, received_ns: int, *, has_clock: bool) -> None:
        event = message.update if isinstance(message, messages.BookData) else message.event
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
        match message:
            case messages.BookData():
                self._book(message)
            case messages.TradeData():
                self._trade(message)
            case messages.FundingData():
                self._rate(message)
            case messages.MarketData():
                self._plain(message)
            case _:
                assert_never(message)

    def _other(self, message: messages.Message) -> None:
        match message:
            case messages.InstrumentData():
                instrument = messages.instrument_of(message.row)
                if instrument is not None:
                    self.intake.listed[instrument.id] = instrument
                self.tally.ignore("instrument rows")
            case messages.ErrorEvent():
                self.tally.warn(f"the exchange refused a request, code {message.code}: {message.text[:200]}")
                self.tally.ignore("errors")
            case messages.FormingCandle():
                self.tally.ignore("bars that are still open")
            case messages.Unknown():
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
            # A book proves itself by its numbers or its checksum, whatever the connection did.
            if run == self.clock.run and kind != "book":
                end_ns = max(since_ns, line.stamp_ns)
                self.intake.add(Gap(name, since_ns, received_ns, kind, since_ns, end_ns, "reconnected"), channel)

    # Rows -----------------------------------------------------------------------------------------------------

    def _add(self, event: MarketEvent, channel: str) -> None:
        self._seen[self.clock.run, KINDS[type(event)], event.instrument, channel] = event.exchange_ns
        self.intake.add(event, channel)

    def _book(self, data: messages.BookData) -> None:
        key = (data.update.instrument, data.channel)
        book = self._books.get(key)
        if book is None:
            book = self._books[key] = OkxBook(self.tally)
        outcome = book.take(data)
        if isinstance(outcome, str):
            self.tally.ignore(outcome)
        else:
            self._add(outcome, data.channel)

    def _trade(self, data: messages.TradeData) -> None:
        trades = self._trades.setdefault((data.event.instrument, data.channel), OkxTrades())
        if trades.is_repeated(data.event.trade_id):
            self.tally.ignore("repeated trades")
            return
        gap = trades.gap(data)
        if gap is not None:
            self.intake.add(gap, data.channel)
        self._add(data.event, data.channel)

    def _rate(self, data: messages.FundingData) -> None:
        event = data.event
        self._add(event, data.channel)
        if event.instrument not in self._settlements:
            self._settlements[event.instrument] = Settlements(self.tally.ignore)
        settled = self._settlements[event.instrument].take(data)
        if settled is not None:
            self._add(settled, data.channel)

    def _plain(self, data: messages.MarketData) -> None:
        event = data.event
        if isinstance(event, Ticker):
            if event.bid is None and event.ask is None:
                self.tally.ignore("quotes without a side")
                return
            if event.bid is not None and event.ask is not None and event.bid > event.ask:
                self.tally.ignore("crossed quotes, as before an instrument opens")
                return
        if isinstance(event, Candle):
            key = (event.instrument, event.interval)
            if event.open_ns <= self._candles.get(key, 0):
                self.tally.ignore("repeated bars")
                return
            self._candles[key] = event.open_ns
        self._add(event, data.channel)


def import_okx(paths: Sequence[Path], intake: Intake, *, progress: Progress | None) -> None:
    """Take the events of captures of OKX's public sockets; all files are one capture.

    A line is one of a recorder's (`URL <-> T` connected, `URL <- T: frame` sent, `T: frame` received,
    `URL -> T: reply`), a JSON object `{t, dir, frame}`, or a bare frame. That has no receipt stamp: its rows are
    received when the exchange stamped them.
    """
    capture = _Capture(intake)
    for path, first_ns in in_capture_order(paths, _first_ns):
        file = str(path)
        intake.tally.files.append(file)
        capture.clock.begin(file, first_ns)
        for number, text in numbered_lines(path, intake.tally, progress):
            try:
                capture.take(_taken_apart(text))
            except ParseError as error:
                intake.tally.skip(file, number, text[:200].decode(errors="replace"), str(error))


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


def _first_ns(path: Path) -> int | None:
    """Return the stamp of a capture's first row, the exchange's where it has no other."""
    for text in first_lines(path, _PEEKED_LINES):
        try:
            line = _taken_apart(text)
            if line.stamp_ns is not None and line.what != "sent":
                return line.stamp_ns
            if line.what == "received":
                newest_ns = max(map(_exchange_ns, messages.decode(line.body, received_ns=0)), default=0)
                if newest_ns:
                    return newest_ns
        except ParseError:
            continue
    return None


def _exchange_ns(message: messages.Message) -> int:
    if isinstance(message, messages.BookData):
        return message.update.exchange_ns
    return message.event.exchange_ns if isinstance(message, _ROWS) else 0
