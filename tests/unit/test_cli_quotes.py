"""The board of `quantkit watch`: what it takes from the feed, and how it is shown."""

from decimal import Decimal

import pytest
from rich.cells import cell_len

from quantkit.cli.layout import ASCII, StyledLines
from quantkit.cli.quotes import Board, Head, candle_line
from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S
from quantkit.events import Candle, Gap, Ticker
from quantkit.feeds.okx.codec.decode import FormingCandle

NOW_NS = 1_788_264_000 * NS_PER_S  # 2026-09-01T12:00:00Z


def ticker(bid: float | None = 99.0, ask: float | None = 101.0, last: float | None = 100.0) -> Ticker:
    """Make a ticker of BTC-USDT that came 42 ms after it was sent."""
    return Ticker("BTC-USDT", NOW_NS - 42 * NS_PER_MS, NOW_NS, bid, 1.0, ask, 1.0, last, 1.0)


def candle(minute: int, close: float = 100.0, instrument: str = "BTC-USDT") -> Candle:
    """Make a candle that opens so many minutes after (before: below zero) noon."""
    open_ns = NOW_NS + minute * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    return Candle(instrument, close_ns, close_ns, open_ns, close_ns, 100.0, 103.0, 97.0, close, 12.5, "1m")


def frame(board: Board, width: int = 120, height: int = 50, later_s: int = 0) -> StyledLines:
    """Return the board some seconds after noon, 12 seconds after its start."""
    wall_ns = NOW_NS + later_s * NS_PER_S
    return board.frame(Head(wall_ns, wall_ns - 12 * NS_PER_S, "2/2 live", is_live=True), width=width, height=height)


def test_quotes_are_shown() -> None:
    """Last, bid, ask, spread, the change over a day, lag, and the candles."""
    board = Board(["BTC-USDT", "ETH-USDT"], "1m")
    board.quotes["BTC-USDT"].day_open = 80.0
    assert board.take(ticker()) is None
    board.take(candle(-1, 101.0))
    board.take(FormingCandle("candle1m", candle(0, 102.0)))
    text = frame(board).text
    assert text.startswith("quantkit watch  0:00:12")
    assert text.splitlines()[0].endswith("2/2 live")
    (row,) = (line for line in text.splitlines() if line.startswith("BTC-USDT  "))
    assert row.split() == ["BTC-USDT", "100", "99", "101", "200.00", "bps", "+25.00", "%", "42", "ms", "0.0s", "▁█"]
    assert "11:59:00" in text
    assert text.count("forming") == 1
    assert "ETH-USDT 1m ─" in text
    assert text.count("no candle yet") == 1


def test_what_is_missing_is_a_dash() -> None:
    """An empty side has no spread; without a last trade the candle's close is the price."""
    board = Board(["BTC-USDT"], "1m")
    assert frame(board).text.count(" -") >= 5
    board.take(ticker(bid=None, last=None))
    quote = board.quotes["BTC-USDT"]
    assert (quote.last, quote.spread_bps, quote.change) == (None, None, None)
    board.take(FormingCandle("candle1m", candle(0, 102.0)))
    assert quote.last == 102.0
    board.take(candle(0, 103.0))
    assert quote.last == 103.0
    assert quote.forming is None


def test_candles_come_in_order_and_once() -> None:
    """Fetched ones fill up what was missed; a repeated one changes nothing."""
    board = Board(["BTC-USDT"], "1m")
    quote = board.quotes["BTC-USDT"]
    assert board.take(candle(0)) == candle(0)
    board.take(candle(0))
    board.take(candle(1))
    quote.fill([candle(-2), candle(-1), candle(0)])
    board.take(candle(1))
    assert [(each.open_ns - NOW_NS) // NS_PER_MIN for each in quote.closed] == [-2, -1, 0, 1]
    quote.fill([candle(minute) for minute in range(-200, 0)])
    assert len(quote.closed) == 60
    assert quote.closed[-1] == candle(1)


def test_other_instruments_and_messages_are_left_alone() -> None:
    """The feed may bring more than was asked for."""
    board = Board(["ETH-USDT"], "1m")
    for event in (ticker(), candle(0), FormingCandle("candle1m", candle(0)), object()):
        assert board.take(event) is None
    assert board.plain_lines(NOW_NS) == []


def test_gaps_are_told() -> None:
    """With what was lost and why."""
    board = Board(["BTC-USDT"], "1m")
    board.take(Gap("BTC-USDT", NOW_NS, NOW_NS, "ticker", NOW_NS - 5, NOW_NS, "disconnected: 1006"))
    assert "BTC-USDT ticker: disconnected: 1006" in frame(board).text


def test_plain_lines() -> None:
    """A line an instrument, and one for a candle."""
    board = Board(["BTC-USDT"], "1m")
    board.take(ticker(bid=99.99999, ask=100.00001))
    board.quotes["BTC-USDT"].day_open = 110.0
    assert board.plain_lines(NOW_NS) == [
        "12:00:00  BTC-USDT  last 100  bid 99.99999  ask 100.00001  spread 0.002 bps  24h -9.09 %"
    ]
    assert candle_line(board.quotes["BTC-USDT"], candle(0)).startswith(
        "12:01:00  BTC-USDT  1m candle of 12:00:00  open 100  high 103"
    )


@pytest.mark.parametrize(
    ("step", "shown"), [("0.10", "100.0"), ("1E+1", "100"), ("0.00001", "100.00000"), ("5", "100")]
)
def test_prices_have_the_decimals_of_their_step(step: str, shown: str) -> None:
    """So that they stand below each other."""
    board = Board(["BTC-USDT"], "1m")
    board.take(ticker())
    board.quotes["BTC-USDT"].use_step(Decimal(step))
    assert f"last {shown}  bid" in board.plain_lines(NOW_NS)[0]


def test_a_long_candle_shows_its_day() -> None:
    """The time of day says nothing about candles of a day."""
    board = Board(["BTC-USDT"], "1d")
    day = Candle("BTC-USDT", NOW_NS, NOW_NS, NOW_NS - 1440 * NS_PER_MIN, NOW_NS, 1.0, 2.0, 0.5, 1.5, 9.0, "1d")
    board.take(day)
    assert "2026-08-31" in frame(board).text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (120, 60), (12, 3), (1, 1)])
def test_every_size_is_filled_exactly(width: int, height: int) -> None:
    """With more instruments than fit, too."""
    board = Board([f"COIN{number}-USDT\x1b[2J" for number in range(20)], "1m")
    board.notes.append("\x1b]0;title\x07")
    shown = frame(board, width, height)
    lines = ["".join(text for text, _ in line) for line in shown.lines]
    assert len(lines) == height
    assert all(cell_len(line) == width and line.isprintable() for line in lines)


def test_quiet_tickers_are_marked_and_plain_terminals_are_served() -> None:
    """OKX repeats a ticker at least once a minute; block characters need Unicode."""
    board = Board(["BTC-USDT"], "1m")
    board.take(ticker())
    board.take(candle(0))
    marked = {style for line in frame(board, later_s=100).lines for text, style in line if text.strip() == "1m"}
    assert marked == {"yellow"}
    head = Head(NOW_NS, NOW_NS, "connecting", is_live=False)
    assert board.frame(head, width=120, height=30, glyphs=ASCII).text.isascii()
