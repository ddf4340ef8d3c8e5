"""Rows of a terminal view: exact widths, fair heights, and outside text that commands nothing."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from quantkit.cli.layout import (
    ASCII,
    Piece,
    ScreenColumn,
    ScreenLine,
    Section,
    StyledLines,
    beside,
    clean,
    cut,
    ends,
    fitted,
    lines_of,
    shares,
    wanted,
)

COLUMNS = (
    ScreenColumn("name", width_min=4, flex_min=6),
    ScreenColumn("value", is_right=True, width_min=5),
    ScreenColumn("extra", rank=1),
    ScreenColumn("more", rank=2, flex_min=3),
)
texts = st.text(st.characters(codec="utf-8"), max_size=30)


def plain(line: ScreenLine) -> str:
    """Return a line's text."""
    return "".join(text for text, _ in line)


def section(rows: int, *, newest: bool = False, names: bool = True) -> Section:
    """Make a section with numbered rows."""
    cells = [tuple((f"{name}{number}", "") for name in "abcd") for number in range(rows)]
    return Section("Title", "summary", COLUMNS, cells, is_newest_last=newest, has_names=names)


@given(texts, st.integers(0, 20))
def test_what_is_cut_fits(text: str, width: int) -> None:
    """Wide characters count twice; nothing is cut that fits."""
    short = cut(clean(text), width)
    assert cell_len(short) <= width
    if cell_len(clean(text)) <= width:
        assert short == clean(text)


@given(texts)
def test_clean_text_has_no_control_characters(text: str) -> None:
    """Neither escapes nor line ends nor reversals of the writing direction; the length stays."""
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(texts, texts, texts, texts), max_size=6),
    st.integers(1, 60),
    st.integers(0, 10),
    st.booleans(),
    st.booleans(),
)
def test_a_section_keeps_its_width_and_height(
    rows: list[tuple[str, str, str, str]], width: int, height: int, newest: bool, names: bool
) -> None:
    """Whatever is in it."""
    cells: list[tuple[Piece, ...]] = [tuple((text, "") for text in row) for row in rows]
    shown = Section("Title", "summary", COLUMNS, cells, is_newest_last=newest, has_names=names)
    lines = lines_of(shown, width, height)
    assert len(lines) <= min(height, wanted(shown))
    assert all(cell_len(plain(line)) == width and plain(line).isprintable() for line in lines)


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(-3, 60))
def test_shares_are_within_wants_and_budget_and_waste_nothing(wants: list[int], budget: int) -> None:
    """Nobody gets less than another while wanting more."""
    given_lines = shares(wants, budget)
    assert sum(given_lines) == max(0, min(budget, sum(wants)))
    for number, want in enumerate(wants):
        assert given_lines[number] <= want
        if given_lines[number] < want:
            assert given_lines[number] >= max(given_lines) - 1


def test_a_long_list_says_how_much_is_hidden() -> None:
    """The first rows and a count, or the newest rows."""
    lines = [plain(line).rstrip() for line in lines_of(section(9), 40, 6)]
    assert lines[1].split() == ["name", "value", "extra", "more"]
    assert lines[2:] == ["a0       b0  c0     d0", "a1       b1  c1     d1", "a2       b2  c2     d2", "  and 6 more"]
    newest = [plain(line).split()[0] for line in lines_of(section(9, newest=True), 40, 6)[2:]]
    assert newest == ["a5", "a6", "a7", "a8"]


def test_in_a_short_section_rows_take_the_place_of_names() -> None:
    """Two rows say more than one row and the names of its columns."""
    assert [plain(line).split()[0] for line in lines_of(section(2), 40, 3)[1:]] == ["a0", "a1"]
    assert [plain(line).split()[0] for line in lines_of(section(2), 40, 4)[1:]] == ["name", "a0", "a1"]


def test_an_empty_section_is_one_line() -> None:
    """It says that it is empty where the summary would stand."""
    (line,) = lines_of(section(0), 20, 9)
    assert plain(line) == "Title ───────── none"


def test_columns_shrink_then_go_by_rank() -> None:
    """The most dispensable one first; those of rank 0 stay and are cut at the end."""
    row: tuple[Piece, ...] = (("long-name-of-it", ""), ("12345", ""), ("extra", ""), ("more-of-it", ""))
    shown = Section("T", "", COLUMNS, [row], has_names=False)

    def at(width: int) -> str:
        return plain(lines_of(shown, width, 2)[1]).rstrip()

    assert at(60) == "long-name-of-it  12345  extra  more-of-it"
    assert at(30) == "long-name-…  12345  extra  mo…"
    assert at(24) == "long-name…  12345  extra"
    assert at(15) == "long-na…  12345"
    assert at(8) == "long-…"


def test_ends_of_a_line_keep_the_right_one() -> None:
    """Where both do not fit, the left one is cut."""
    assert plain(ends([("left", "")], [("right", "")], 12)) == "left   right"
    assert plain(ends([("left", "")], [("right", "")], 8)) == "le…right"
    assert plain(ends([("left", "")], [("right", "")], 3)) == "ri…"


def test_blocks_stand_side_by_side() -> None:
    """The shorter one is filled up."""
    left, right = [fitted([("a", "")], 3), fitted([("b", "")], 3)], [fitted([("x", "")], 2)]
    assert [plain(line) for line in beside(left, right, left_width=3, right_width=2)] == ["a    x ", "b      "]


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    """No character that it could not show."""
    lines = lines_of(section(9), 22, 4, ASCII)
    assert all(plain(line).isascii() for line in lines)
    assert plain(lines[0]).startswith("Title ----")


@pytest.mark.parametrize("style", ["", "bold red"])
def test_markup_in_outside_text_is_text(style: str) -> None:
    """Brackets reach the terminal as brackets."""
    out = io.StringIO()
    frame = StyledLines([fitted([("[bold]x[/bold] [link=http://a]", style)], 40)])
    Console(file=out, width=40, force_terminal=True, color_system="standard").print(frame, end="")
    assert "[bold]x[/bold] [link=http://a]" in out.getvalue()
    assert frame.text == "[bold]x[/bold] [link=http://a]"
