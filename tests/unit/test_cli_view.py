"""The view of a live run: everything that matters is on it, at every size, whatever names and errors say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_statuses import NOW_NS, fill, status, stream
from rich.cells import cell_len

from quantkit.cli.layout import ASCII, StyledLines
from quantkit.cli.view import frame_of, status_line
from quantkit.clock import NS_PER_S
from quantkit.live.status import ConnectionLine, LiveStatus, OrderLine, PositionLine


def frame(shown: LiveStatus, width: int = 120, height: int = 45, *, later_s: int = 0, **options: object) -> StyledLines:
    """Return the view some seconds after the status."""
    return frame_of(shown, width=width, height=height, wall_ns=NOW_NS + later_s * NS_PER_S, **options)  # type: ignore[arg-type]


def styles(shown: StyledLines, text: str) -> set[str]:
    """Return the styles of the pieces that hold a text."""
    return {style for line in shown.lines for piece, style in line if piece.strip().startswith(text)}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (120, 30), (120, 60), (200, 60)])
def test_what_matters_is_on_the_screen(width: int, height: int) -> None:
    """At 80 and at 120 columns, on a small terminal and a large one."""
    text = frame(status(), width, height).text
    for part in (
        "paper  0:12:34  Quoter",
        "recorded in runs/20260901-120000-quoter",
        "equity 10,012.34 USDT",
        "PnL +12.34 (+0.12 %)",
        "orders 1,234   fills 45   gaps 2",
        "1 of 2 live",
        "connecting (3)",
        "BTC-USDT-SWAP book",
        "20 rows/s, lag up to 812 ms",
        "-0.03  106,231.93",
        "106,220.1  partly filled",
        "106,241.9",
        "gap BTC-USDT-SWAP book: disconnected",
        "Ctrl-C ends the run",
    ):
        assert part in text, part
    assert len(text.splitlines()) == height


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 70), st.text(max_size=40), st.integers(0, 80))
def test_every_size_is_filled_exactly(width: int, height: int, words: str, streams: int) -> None:
    """No line is too long for the terminal, none breaks, none holds a control character."""
    shown = status(
        strategy=words,
        recording=words,
        notes=(words,),
        streams=tuple(stream(f"{words} {number}") for number in range(streams)),
        connections=(ConnectionLine(words, words, 0, 1, 1, 1, words),),
        open_orders=(OrderLine(words, words, words, 1.0, 0.0, None, words, words),),
        positions=(PositionLine(words, 1.0, None, None, 0.0, 0.0, words),),
    )
    lines = ["".join(text for text, _ in line) for line in frame(shown, width, height, printed=[words]).lines]
    assert len(lines) <= height
    assert all(cell_len(line) == width and line.isprintable() for line in lines)


def test_what_is_not_known_yet_is_a_dash() -> None:
    """Before the first prices, without a recording, without a market."""
    shown = status(
        equity=None,
        pnl=None,
        recording="",
        streams=(stream("BTC-USDT book", lag_ms=None, rows_per_s=0.0),),
        positions=(PositionLine("BTC-USDT", 1.0, None, None, 0.0, 0.0, "USDT"),),
        open_orders=(),
        last_fills=(),
        notes=(),
        gaps=0,
    )
    text = frame(shown).text
    assert "equity - USDT   PnL -" in text
    assert "not recorded" in text
    assert "0 rows/s" in text
    assert text.count("none\n") == 2  # no open order, no gap
    assert "none yet" in text


def test_an_engine_that_is_silent_is_told() -> None:
    """A hook that does not return is seen while it does not return."""
    assert "engine busy" not in frame(status(), later_s=1).text
    busy = frame(status(), later_s=5)
    assert "engine busy for 5.0s" in busy.text
    assert "0:12:39" in busy.text


def test_a_queue_is_shown_while_it_is_not_empty() -> None:
    """More and more alarming."""
    assert "waiting" not in frame(status()).text
    for queue, style in ((100, "dim"), (20_000, "yellow"), (60_000, "bold red")):
        assert styles(frame(status(queue=queue)), f"{queue:,} events waiting") == {style}


def test_a_paused_run_says_so() -> None:
    """At every width, and in the plain line."""
    for width in (80, 120):
        shown = frame(status(is_paused=True), width)
        assert "paper  paused  0:12:34  Quoter" in shown.text
        assert styles(shown, "paused") == {"bold yellow"}
    assert "  Quoter  paused  equity" in status_line(status(is_paused=True))
    assert "paused" not in frame(status()).text
    assert "paused" not in status_line(status())


def test_the_largest_lag_of_the_engine_is_told() -> None:
    """Where nothing more pressing is to be said in its place."""
    assert "late" not in frame(status()).text
    for behind_ms, told, style in ((5, "5.0 ms", "dim"), (600, "600.0 ms", "yellow"), (3_200, "3.20 s", "bold red")):
        late = status(behind_ns_max=behind_ms * 1_000_000)
        assert styles(frame(late), f"engine up to {told} late") == {style}
        assert status_line(late).endswith(f"engine up to {told} late")
    assert "3.20 s late" in frame(late, width=80, height=24).text.splitlines()[1]
    assert "late" not in frame(status(behind_ns_max=5, queue=9)).text


@pytest.mark.parametrize(("queue", "later_s", "told"), [(7, 0, "7 waiting"), (0, 8, "busy for 8.0s"), (0, 0, "gaps 2")])
def test_a_narrow_terminal_leaves_out_words_and_no_numbers(queue: int, later_s: int, told: str) -> None:
    head = frame(status(queue=queue), width=80, height=24, later_s=later_s).text.splitlines()[1]
    for shown in ("equity 10,012.34 USDT", "PnL +12.34", "orders 1,234", "fills 45", "gaps 2", told):
        assert shown in head


def test_a_share_that_would_read_zero_is_left_out() -> None:
    assert "(+0.12 %)" in frame(status()).text
    assert "%" not in frame(status(pnl=-0.07, equity=9_999.93)).text.splitlines()[1]


def test_colours_mean_good_and_bad() -> None:
    """A gain is green and a loss red; a late stream and a quiet one are marked, a failed connection stands out."""
    good, bad = frame(status()), frame(status(pnl=-5.0))
    assert styles(good, "+12.34 (") == {"green"}
    assert styles(bad, "-5.00 (-0.05 %)") == {"red"}
    late = frame(status(streams=(stream("a", lag_ms=5400.0), stream("b", lag_ms=-700.0), stream("c", quiet_s=90))))
    assert styles(late, "5,400 ms") == {"bold red"}
    assert styles(late, "-700 ms") == {"yellow"}
    assert styles(late, "1m") == {"yellow"}
    failed = frame(status(connections=(ConnectionLine("private 1", "failed", 0, 0, 0, 1, "60032 wrong region"),)))
    assert styles(failed, "failed (1)") == {"bold red"}
    assert "60032 wrong region" in failed.text


def test_troubled_connections_come_first() -> None:
    """They are seen however many there are and however small the terminal is."""
    many = tuple(ConnectionLine(f"public {number}", "live", 0, 30, 5, 0) for number in range(1, 9))
    shown = frame(status(connections=(*many, ConnectionLine("private 1", "stale", 0, 1, 5, 0))), 80, 24).text
    assert "private 1" in shown
    assert "8 of 9 live" in shown


def test_the_newest_fills_and_notes_are_kept_on_a_small_terminal() -> None:
    """And the oldest go."""
    text = frame(status(notes=tuple(f"note {number}" for number in range(10))), 80, 24).text
    assert "note 9" in text
    assert "note 0" not in text
    assert f"{fill(10).price:,}" in text
    assert f"{fill(1).price:,}" not in text


def test_what_a_strategy_prints_has_its_place() -> None:
    """Below everything else, and only when there is something."""
    assert "Printed" not in frame(status()).text
    text = frame(status(), printed=["hello", "\x1b[2Jworld"]).text
    assert text.index("Gaps and warnings") < text.index("Printed and logged") < text.index("hello")
    assert " [2Jworld" in text


def test_the_last_line_tells_that_the_run_is_ending() -> None:
    """Instead of how to end it."""
    text = frame(status(), ending="ending: sealing the recording").text
    assert text.splitlines()[-1] == "ending: sealing the recording"


def test_a_terminal_without_unicode_is_served() -> None:
    """Nothing but ASCII in lines of our own."""
    assert frame(status(strategy="x" * 99), 80, 24, glyphs=ASCII).text.isascii()


def test_a_plain_line_says_it_all() -> None:
    """One line for a log."""
    line = status_line(status(queue=7))
    assert line == (
        "0:12:34  Quoter  equity 10,012.34 USDT (+12.34)  1,234 orders  45 fills  1 open  20 rows/s  lag 812 ms  2 gaps"
        "  1/2 live, business 1 connecting  7 waiting"
    )
    quiet = status_line(status(strategy="a\nb\x1b", equity=None, pnl=None, streams=(), connections=()))
    assert quiet.startswith("0:12:34  a b   equity - USDT  1,234 orders")
    assert quiet.isprintable()
