"""Raw captures of Binance's sockets: `<receipt stamp> <combined-stream JSON>` lines and REST depth snapshots."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, Final

import msgspec

from quantkit.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate, Gap, Ticker, Trade
from quantkit.importers.archives import ForeignFile
from quantkit.importers.binance_book import WAITING, BinanceBook, BookOutcome, Diff, Snapshot
from quantkit.importers.binance_wire import (
    USED,
    AnyLine,
    Line,
    StreamEvent,
    check_ids,
    is_spot_quote,
    levels_of,
    names_of,
    number,
)
from quantkit.importers.captures import ReceiptClock, in_capture_order
from quantkit.importers.files import first_lines, numbered_lines
from quantkit.importers.intake import Intake
from quantkit.importers.report import Progress
from quantkit.instruments import Side

_LINE: Final = re.compile(rb"([0-9]{10}|[0-9]{13}|[0-9]{16}|[0-9]{19}) +(\{.*)", re.DOTALL).fullmatch
_UNIT_NS: Final = {10: NS_PER_S, 13: NS_PER_MS, 16: NS_PER_US, 19: 1}
_LAST_MS: Final = (2**63 - 1) // NS_PER_MS
_MARKETS: Final = ("spot", "usdm", "cm")


_line: Final = msgspec.json.Decoder(Line)
_any_line: Final = msgspec.json.Decoder(AnyLine)


class _Symbol:
    """One symbol of a capture: its id, its market and its book."""

    def __init__(self, symbol: str, instrument: str, market: str) -> None:
        self.symbol = symbol
        self.instrument = instrument
        self.market = market
        self.book = BinanceBook(instrument, is_spot=market == "spot")
        self.last_trade_id = 0
        self.last_trade_ns = 0


class _BinanceCapture:
    """The state of one import of Binance captures."""

    def __init__(self, intake: Intake, *, instrument_id: str | None, kind: str | None, is_inverse: bool) -> None:
        self.intake = intake
        self.tally = intake.tally
        self.clock = ReceiptClock(intake.tally)
        self.file = ""
        self._instrument_id = instrument_id
        self._market = "cm" if is_inverse else "spot" if kind == "spot" else None
        self._is_contract = kind in ("swap", "future")
        self._symbols: dict[str, _Symbol] = {}
        self._file_symbols: dict[str, _Symbol] = {}
        self._waiting: list[Snapshot] = []
        self._newest_ns = 0

    def begin(self, file: str, first_ns: int) -> None:
        """Start a file."""
        self.end_file()
        self.file = file
        self._file_symbols = {}
        self.clock.begin(file, first_ns)

    def end_file(self) -> None:
        """Count the snapshots of the file that no diff followed."""
        self.tally.ignore("depth snapshots without diffs", len(self._waiting))
        self._waiting = []

    def end(self) -> None:
        """Count the diffs that no snapshot came for."""
        for symbol in self._symbols.values():
            if symbol.book.waiting:
                self.tally.ignore(WAITING, symbol.book.waiting)
                self.tally.warn(f"{symbol.instrument}: depth updates at the end wait for a snapshot that does not come")

    def take(self, text: bytes) -> None:
        """Take one line.

        Raises:
            ParseError: It cannot be understood.
        """
        match = _LINE(text)
        if match is None:
            raise ParseError("the line is not `<receipt stamp> <JSON>`, the stamp being epoch s, ms, us or ns")
        received_ns = self.clock.stamp(int(match[1]) * _UNIT_NS[len(match[1])])
        try:
            line = _line.decode(match[2])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._unread(match[2], error)
            return
        if line.snapshot_id is not None:
            self._snapshot(line, received_ns)
            return
        frame = line.data if line.data is not None else line
        if frame.event not in USED and not is_spot_quote(frame):
            self.tally.ignore(f"unused: {frame.event[:40] or 'reply'}")
            return
        symbol = self._symbol(frame)
        if symbol is None or not self.intake.wants(symbol.instrument):
            self.tally.ignore("rows of other instruments")
            return
        self.clock.claim(symbol.instrument)
        if frame.event == "depthUpdate":
            self._diff(symbol, frame, received_ns)
        elif frame.event == "trade":
            self._trade(symbol, frame, received_ns)
        else:
            self._quote(symbol, frame, received_ns)

    def _unread(self, body: bytes, error: Exception) -> None:
        """Ignore an event that is not used, whatever its fields are."""
        try:
            line = _any_line.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ParseError(str(error) or type(error).__name__) from error
        event = line.event or (line.data.event if line.data is not None else "")
        if not event or event in USED:
            raise ParseError(str(error) or type(error).__name__) from error
        self.tally.ignore(f"unused: {event[:40]}")

    def _symbol(self, frame: StreamEvent) -> _Symbol | None:
        """Return the symbol of a frame; None where only others are kept and its name is not understood."""
        symbol = self._symbols.get(frame.symbol)
        if symbol is None:
            if not frame.symbol:
                raise ParseError(f"a {frame.event} without a symbol")
            market = self._market or self._market_of(frame)
            if self._instrument_id is None:
                try:
                    instrument, hints = names_of(frame.symbol, market)
                except ConfigError:
                    if self.intake.only is None:
                        raise
                    return None
            else:
                instrument, hints = self._instrument_id, _hints(frame.symbol, market)
                if self._symbols:
                    raise ConfigError(
                        f"the captures hold several symbols ({', '.join(self._symbols)}, {frame.symbol}); "
                        "leave the instrument out and give the ids to keep with --only"
                    )
            self.intake.hints[instrument] = hints
            symbol = self._symbols[frame.symbol] = _Symbol(frame.symbol, instrument, market)
        self._file_symbols.setdefault(frame.symbol, symbol)
        return symbol

    def _market_of(self, frame: StreamEvent) -> str:
        """Tell the market by what only its frames have, else by the file's name."""
        if frame.pair or frame.symbol.endswith("USD_PERP"):
            return "cm"
        if (
            self._is_contract
            or frame.prev_id is not None
            or frame.execution
            or (frame.event == "bookTicker" and frame.event_ms)
        ):
            return "usdm"
        named = next(
            (
                market
                for market in _MARKETS
                if re.search(rf"(?<![a-z]){market}(?![a-z])", PurePath(self.file).name.lower())
            ),
            None,
        )
        return named or "spot"

    # Events ---------------------------------------------------------------------------------------------------

    def _stamped(self, frame: StreamEvent, received_ns: int) -> int:
        """Return the matching engine's stamp of a frame, else the event's; note its latency."""
        milliseconds = frame.trade_ms or frame.event_ms
        if not 0 < milliseconds <= _LAST_MS:
            raise ParseError(f"{frame.event} has the time {milliseconds}, which is not in milliseconds since 1970")
        exchange_ns = milliseconds * NS_PER_MS
        self.clock.check(exchange_ns, "exchange's")
        self.intake.latency(exchange_ns, received_ns)
        self._newest_ns = max(self._newest_ns, exchange_ns)
        return exchange_ns

    def _diff(self, symbol: _Symbol, frame: StreamEvent, received_ns: int) -> None:
        if not isinstance(frame.bid, list) or not isinstance(frame.ask, list):
            raise ParseError("a depth update without levels")
        check_ids(frame.first_id, frame.last_id, frame.prev_id or 0)
        levels = (*levels_of(frame.bid), *levels_of(frame.ask))
        exchange_ns = self._stamped(frame, received_ns)
        diff = Diff(exchange_ns, received_ns, frame.first_id, frame.last_id, frame.prev_id, *levels)
        if self._waiting and len(self._file_symbols) == 1:
            waiting, self._waiting = self._waiting, []
            for snapshot in waiting:
                self._outcomes(symbol.book.snapshot(snapshot))
        self._outcomes(symbol.book.diff(diff))

    def _snapshot(self, line: Line, received_ns: int) -> None:
        assert line.snapshot_id is not None
        check_ids(line.snapshot_id)
        levels = (*levels_of(line.bids), *levels_of(line.asks))
        if line.trade_ms or line.event_ms:
            exchange_ns = self._stamped(line, received_ns)
        else:
            exchange_ns = self._newest_ns or received_ns
        snapshot = Snapshot(exchange_ns, received_ns, line.snapshot_id, *levels)
        candidates = [each for each in self._file_symbols.values() if self.intake.wants(each.instrument)]
        if line.snapshot_symbol:
            candidates = [each for each in candidates if each.symbol == line.snapshot_symbol]
        if len(candidates) > 1:
            candidates = [each for each in candidates if each.book.covers(line.snapshot_id)]
        if len(candidates) > 1:
            alike = {each.symbol: each.book.likeness(snapshot) for each in candidates}
            candidates = [each for each in candidates if alike[each.symbol] == max(alike.values())]
        if len(candidates) == 1:
            self._outcomes(candidates[0].book.snapshot(snapshot))
        elif self._file_symbols:
            raise ParseError("the depth snapshot cannot be told to belong to one symbol")
        else:
            # The first line of a file may be the snapshot; the first diff says whose it is.
            self._waiting.append(snapshot)

    def _outcomes(self, outcomes: Iterable[BookOutcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, str):
                self.tally.ignore(outcome)
            else:
                if isinstance(outcome, BookUpdate) and not outcome.is_snapshot:
                    self.tally.check("book sequence links")
                self.intake.add(outcome)

    def _trade(self, symbol: _Symbol, frame: StreamEvent, received_ns: int) -> None:
        check_ids(frame.trade_id)
        last_id, last_ns = symbol.last_trade_id, symbol.last_trade_ns
        if frame.trade_id <= last_id:
            self.tally.ignore("repeated trades")
            return
        # Insurance fund and auto-deleveraging trades are no prints of the book: nobody's resting order met them.
        is_print = frame.execution in ("", "MARKET")
        price, qty, side = _printed(frame) if is_print else (0.0, 0.0, Side.BUY)
        exchange_ns = self._stamped(frame, received_ns)
        symbol.last_trade_id, symbol.last_trade_ns = frame.trade_id, exchange_ns
        if last_id and frame.trade_id > last_id + 1:
            cause = f"trades {last_id + 1} to {frame.trade_id - 1} are missing"
            start_ns = min(last_ns, exchange_ns)
            self.intake.add(Gap(symbol.instrument, exchange_ns, received_ns, "trade", start_ns, exchange_ns, cause))
        if is_print:
            self.intake.add(Trade(symbol.instrument, exchange_ns, received_ns, price, qty, side, frame.trade_id))
        else:
            self.tally.ignore(f"trades of kind {frame.execution[:40]}")

    def _quote(self, symbol: _Symbol, frame: StreamEvent, received_ns: int) -> None:
        bid, bid_qty = _quoted(frame.bid, frame.bid_qty)
        ask, ask_qty = _quoted(frame.ask, frame.ask_qty)
        if frame.trade_ms or frame.event_ms:
            exchange_ns = self._stamped(frame, received_ns)
        else:
            exchange_ns = self._newest_ns or received_ns
            self.tally.warn(
                f"{symbol.instrument}: quotes carry no exchange time; theirs is the newest that the capture has seen"
            )
        if bid is None and ask is None:
            self.tally.ignore("quotes without a side")
        elif bid is not None and ask is not None and bid > ask:
            self.tally.ignore("crossed quotes")
        else:
            self.intake.add(Ticker(symbol.instrument, exchange_ns, received_ns, bid, bid_qty, ask, ask_qty))


def import_binance(
    files: Sequence[ForeignFile],
    intake: Intake,
    *,
    instrument_id: str | None,
    kind: str | None,
    is_inverse: bool,
    progress: Progress | None,
) -> None:
    """Take the events of captures of Binance's combined streams; all files are one capture.

    Args:
        files: The files; contiguous ones carry on each other's books.
        intake: Takes the events.
        instrument_id: For the only symbol of the captures; None makes it from the symbol.
        kind: Of the instrument, where the frames do not tell the market.
        is_inverse: Whether the market is coin-margined.
        progress: Told how far reading has come.
    """
    capture = _BinanceCapture(intake, instrument_id=instrument_id, kind=kind, is_inverse=is_inverse)
    for source, first_ns in in_capture_order(files, _first_ns):
        file = source.name
        intake.tally.files.append(file)
        capture.begin(file, first_ns)
        for line_number, text in numbered_lines(source, intake.tally, progress):
            try:
                capture.take(text)
            except ParseError as error:
                intake.tally.skip(file, line_number, text[:200].decode(errors="replace"), str(error))
    capture.end_file()
    capture.end()


def _first_ns(file: ForeignFile) -> int | None:
    for text in first_lines(file, 16):
        match = _LINE(text)
        if match is not None:
            return int(match[1]) * _UNIT_NS[len(match[1])]
    return None


def _hints(symbol: str, market: str) -> dict[str, Any]:
    """Return what the market implies for an instrument that the user named; nothing for a symbol of no known form."""
    try:
        return names_of(symbol, market)[1]
    except ConfigError:
        return {}


def _printed(frame: StreamEvent) -> tuple[float, float, Side]:
    """Return a trade's price, size and the taker's side."""
    if frame.is_buyer_maker is None:
        raise ParseError("a trade that does not say who rested")
    price, qty = number(frame.price), number(frame.qty)
    if price <= 0.0 or qty <= 0.0:
        raise ParseError(f"a trade of {frame.qty} at {frame.price}")
    return price, qty, Side.SELL if frame.is_buyer_maker else Side.BUY


def _quoted(price: Any, qty: str | None) -> tuple[float | None, float | None]:
    """Return one side of a quote; Binance writes zero for an empty one."""
    if not isinstance(price, str) or qty is None:
        raise ParseError("a quote without a side's price or size")
    value = number(price)
    return (value, number(qty)) if value else (None, None)
