"""The board of `quantkit watch`: the latest quote and candle of each instrument, and its lines on screen."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from quantkit.cli.layout import (
    UNICODE,
    Glyphs,
    Piece,
    ScreenColumn,
    ScreenLine,
    Section,
    StyledLines,
    clean,
    ends,
    fitted,
    lines_of,
    shares,
    wanted,
)
from quantkit.cli.view import age, clock_text, elapsed, number
from quantkit.clock import NS_PER_DAY, NS_PER_MS, NS_PER_S, interval_ns, iso_of
from quantkit.events import Candle, Gap, Ticker
from quantkit.feeds.okx.codec.decode import FormingCandle
from quantkit.report.downsample import sparkline

#: Closed candles kept for the line of blocks, and shown in the table below.
_CANDLES_KEPT: Final = 60
_CANDLES_SHOWN: Final = 8
_SPARK_WIDTH: Final = 24
_QUIET_S: Final = 75
_VOLUME_DIGITS: Final = 6

_TICKERS: Final = (
    ScreenColumn("instrument", width_min=8, flex_min=14),
    ScreenColumn("last", is_right=True, width_min=9),
    ScreenColumn("bid", is_right=True, width_min=9, rank=2),
    ScreenColumn("ask", is_right=True, width_min=9, rank=2),
    ScreenColumn("spread", is_right=True, width_min=8, rank=1),
    ScreenColumn("24h", is_right=True, width_min=7, rank=1),
    ScreenColumn("lag", is_right=True, width_min=6, rank=3),
    ScreenColumn("last push", is_right=True, width_min=5, rank=3),
    ScreenColumn("candles", width_min=_SPARK_WIDTH, rank=4),
)
_CANDLES: Final = (
    ScreenColumn("open (UTC)", width_min=10),
    ScreenColumn("open", is_right=True, width_min=9, rank=1),
    ScreenColumn("high", is_right=True, width_min=9),
    ScreenColumn("low", is_right=True, width_min=9),
    ScreenColumn("close", is_right=True, width_min=9),
    ScreenColumn("volume", is_right=True, width_min=9),
    ScreenColumn("", width_min=7, rank=2),
)


class Quote:
    """One instrument: its ticker, its last closed candles and the one that is forming."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.ticker: Ticker | None = None
        self.forming: Candle | None = None
        self.closed: deque[Candle] = deque(maxlen=_CANDLES_KEPT)
        self.day_open: float | None = None  # price 24 hours ago
        self.decimals: int | None = None  # of prices; None: as many as each needs

    @property
    def last(self) -> float | None:
        """The newest price known: of the last trade, else of the candle."""
        if self.ticker is not None and self.ticker.last is not None:
            return self.ticker.last
        newest = self.forming or (self.closed[-1] if self.closed else None)
        return None if newest is None else newest.close

    @property
    def spread_bps(self) -> float | None:
        """Ask less bid over their middle; None while a side is empty."""
        ticker = self.ticker
        if ticker is None or ticker.bid is None or ticker.ask is None or ticker.bid + ticker.ask <= 0:
            return None
        return 20_000 * (ticker.ask - ticker.bid) / (ticker.ask + ticker.bid)

    @property
    def change(self) -> float | None:
        """Of the price over 24 hours, as a fraction."""
        last = self.last
        return None if last is None or not self.day_open else last / self.day_open - 1

    def use_step(self, price_step: Decimal) -> None:
        """Show prices with the decimals of their step."""
        self.decimals = len(f"{price_step:f}".partition(".")[2].rstrip("0"))

    def price(self, value: float | None) -> str:
        """Return a price of this instrument, with as many decimals as its price step has."""
        return number(value) if value is None or self.decimals is None else f"{value:,.{self.decimals}f}"

    def fill(self, candles: Iterable[Candle]) -> None:
        """Take earlier closed candles; candles received meanwhile win over them."""
        known = {candle.open_ns: candle for candle in [*candles, *self.closed]}
        self.closed = deque([known[open_ns] for open_ns in sorted(known)], maxlen=_CANDLES_KEPT)

    def add(self, candle: Candle) -> None:
        """Take a closed candle, unless it is known or older than the newest."""
        if not self.closed or candle.open_ns > self.closed[-1].open_ns:
            self.closed.append(candle)
        if self.forming is not None and self.forming.open_ns <= candle.open_ns:
            self.forming = None


class Head(NamedTuple):
    """The lines above the quotes: time and connections."""

    wall_ns: int
    started_ns: int
    connections: str
    is_live: bool


class Board:
    """The quotes of the instruments watched, in the order asked for."""

    def __init__(self, instruments: Iterable[str], interval: str) -> None:
        self.quotes = {instrument: Quote(instrument) for instrument in instruments}
        self.interval = interval
        self.notes: deque[str] = deque(maxlen=5)

    def take(self, event: object) -> Candle | None:
        """Take an event of the feed; return it if it is a closed candle of a watched instrument."""
        match event:
            case Ticker():
                if (quote := self.quotes.get(event.instrument)) is not None:
                    quote.ticker = event
            case FormingCandle():
                if (quote := self.quotes.get(event.candle.instrument)) is not None:
                    quote.forming = event.candle
            case Candle():
                if (quote := self.quotes.get(event.instrument)) is not None:
                    quote.add(event)
                    return event
            case Gap():
                self.notes.append(f"{event.instrument} {event.channel}: {event.cause}")
        return None

    def frame(self, head: Head, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> StyledLines:
        """Return the quotes in at most `height` lines of exactly `width` cells."""
        title: list[Piece] = [("quantkit watch", "bold"), (f"  {elapsed(head.wall_ns - head.started_ns)}", "")]
        state: Piece = (clean(head.connections), "green" if head.is_live else "yellow")
        blank: ScreenLine = [(" " * width, "")]
        sections = [self._tickers(head.wall_ns, glyphs), *(self._candles(quote) for quote in self.quotes.values())]
        if self.notes:
            rows = [((note, "yellow"),) for note in self.notes]
            sections.append(
                Section(
                    "Gaps and warnings",
                    "",
                    (ScreenColumn("", flex_min=1),),
                    rows,
                    "none",
                    is_newest_last=True,
                    has_names=False,
                )
            )
        room = height - 3
        wants = [wanted(section) for section in sections]
        is_airy = sum(wants) + len(wants) <= room
        lines = [ends(title, [state], width, glyphs), blank]
        for section, share in zip(sections, shares(wants, room), strict=True):
            lines += lines_of(section, width, share, glyphs)
            if is_airy:
                lines.append(blank)
        lines += [blank] * (height - 1 - len(lines))
        return StyledLines([*lines, fitted([("Ctrl-C ends", "dim")], width, glyphs)][:height])

    def plain_lines(self, wall_ns: int) -> list[str]:
        """Return a line for each instrument that has a ticker."""
        lines = []
        for quote in self.quotes.values():
            ticker = quote.ticker
            if ticker is not None:
                change = "" if quote.change is None else f"  24h {100 * quote.change:+.2f} %"
                lines.append(
                    f"{clock_text(wall_ns)}  {clean(quote.instrument)}  last {quote.price(quote.last)}  "
                    f"bid {quote.price(ticker.bid)}  ask {quote.price(ticker.ask)}  spread {_spread(quote)}{change}"
                )
        return lines

    def _tickers(self, wall_ns: int, glyphs: Glyphs) -> Section:
        columns = _TICKERS if glyphs is UNICODE else _TICKERS[:-1]
        rows = [_ticker_row(quote, wall_ns)[: len(columns)] for quote in self.quotes.values()]
        return Section("Tickers", f"candles of {self.interval}", columns, rows)

    def _candles(self, quote: Quote) -> Section:
        rows = [_candle_row(quote, candle, "") for candle in list(quote.closed)[-_CANDLES_SHOWN:]]
        if quote.forming is not None:
            rows.append(_candle_row(quote, quote.forming, "forming"))
        title = f"{clean(quote.instrument)} {self.interval}"
        return Section(title, "", _CANDLES, rows, "no candle yet", is_newest_last=True)


def candle_line(quote: Quote, candle: Candle) -> str:
    """Return a closed candle as one line of plain text.

    Examples:
        >>> candle = Candle("BTC-USDT", 0, 0, 0, 60_000_000_000, 1.0, 3.0, 0.5, 2.0, 10.0, "1m")
        >>> candle_line(Quote("BTC-USDT"), candle)
        '00:01:00  BTC-USDT  1m candle of 00:00:00  open 1  high 3  low 0.5  close 2  volume 10'
    """
    return (
        f"{clock_text(candle.close_ns)}  {clean(candle.instrument)}  {candle.interval} candle of {_moment(candle)}  "
        f"open {quote.price(candle.open)}  high {quote.price(candle.high)}  low {quote.price(candle.low)}  "
        f"close {quote.price(candle.close)}  volume {number(candle.volume, digits=_VOLUME_DIGITS)}"
    )


def _ticker_row(quote: Quote, wall_ns: int) -> tuple[Piece, ...]:
    ticker = quote.ticker
    closes = [candle.close for candle in list(quote.closed)] + ([quote.forming.close] if quote.forming else [])
    spark = sparkline(np.array(closes[-_SPARK_WIDTH:], np.float64), width=_SPARK_WIDTH)
    change = quote.change
    moved: Piece = ("-", "dim") if change is None else (f"{100 * change:+.2f} %", _gain(change))
    if ticker is None:
        blank: Piece = ("-", "dim")
        return (
            (quote.instrument, "bold"),
            (quote.price(quote.last), ""),
            *[blank] * 3,
            moved,
            *[blank] * 2,
            (spark, "cyan"),
        )
    quiet_ns = wall_ns - ticker.received_ns
    return (
        (quote.instrument, "bold"),
        (quote.price(quote.last), _gain(change or 0.0)),
        (quote.price(ticker.bid), ""),
        (quote.price(ticker.ask), ""),
        (_spread(quote), ""),
        moved,
        (f"{(ticker.received_ns - ticker.exchange_ns) / NS_PER_MS:,.0f} ms", ""),
        (age(quiet_ns), "yellow" if quiet_ns > _QUIET_S * NS_PER_S else ""),
        (spark, "cyan"),
    )


def _candle_row(quote: Quote, candle: Candle, state: str) -> tuple[Piece, ...]:
    style = "dim" if state else ""
    colour = _gain(candle.close - candle.open)
    return (
        (_moment(candle), "dim"),
        (quote.price(candle.open), style),
        (quote.price(candle.high), style),
        (quote.price(candle.low), style),
        (quote.price(candle.close), colour),
        (number(candle.volume, digits=_VOLUME_DIGITS), style),
        (state, "dim"),
    )


def _moment(candle: Candle) -> str:
    """Return when a candle opened: the time, or the date where a candle is half a day or longer."""
    is_long = interval_ns(candle.interval) >= NS_PER_DAY // 2
    return iso_of(candle.open_ns)[:10] if is_long else clock_text(candle.open_ns)


def _spread(quote: Quote) -> str:
    spread_bps = quote.spread_bps
    if spread_bps is None:
        return "-"
    return f"{spread_bps:,.2f} bps" if abs(spread_bps) >= 0.01 or not spread_bps else f"{spread_bps:.2g} bps"


def _gain(value: float) -> str:
    return "green" if value > 0 else "red" if value < 0 else ""
