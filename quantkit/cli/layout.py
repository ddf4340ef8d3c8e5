"""A terminal's rows made of styled pieces: columns that fit a width, sections that share a height.

A live view is drawn four times a second beside the engine, so that its cost counts: pieces are cut and padded once and
handed to rich as they are. Outside text is cleaned of everything that a terminal could take for a command.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: A piece of a line: its text, and a style in rich's words ("" for the plain one).
Piece: TypeAlias = tuple[str, str]
ScreenLine: TypeAlias = list[Piece]

_GAP: Final = 2
#: With fewer lines than this for a list that does not fit, its rows say more than the names of its columns.
_NAMED_MIN: Final = 6


class ScreenColumn(NamedTuple):
    """One column of a section.

    Attributes:
        is_right: Numbers stand on the right.
        width_min: Keeps the columns beside it still while a number grows.
        rank: When the width is short, columns of the highest rank go first; those of rank 0 stay.
        flex_min: Above zero: cut with an ellipsis down to so many cells before columns have to go.
    """

    name: str
    is_right: bool = False
    width_min: int = 0
    rank: int = 0
    flex_min: int = 0


class Section(NamedTuple):
    """A titled list: shown whole, or in part with the number of what is left out.

    Attributes:
        empty: Text beside the title of a section without rows.
        is_newest_last: Whether the last rows stay when not all of them fit.
    """

    title: str
    summary: str
    columns: tuple[ScreenColumn, ...]
    rows: Sequence[tuple[Piece, ...]]
    empty: str = "none"
    is_newest_last: bool = False
    has_names: bool = True


class Glyphs(NamedTuple):
    """Signs for rules and ellipses that a terminal can show."""

    rule: str
    ellipsis: str


UNICODE: Final = Glyphs(rule="─", ellipsis="…")
ASCII: Final = Glyphs(rule="-", ellipsis="~")


class StyledLines:
    """Lines as rich prints them."""

    def __init__(self, lines: Sequence[ScreenLine]) -> None:
        self.lines = lines

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        for line in self.lines:
            for text, style in line:
                yield Segment(text, console.get_style(style) if style else None)
            yield Segment.line()

    @property
    def text(self) -> str:
        """The plain text, without styles and without blanks at line ends."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines)


def clean(text: str) -> str:
    """Return outside text with blanks in place of control characters: line ends, escapes, reversals.

    Examples:
        >>> clean("a\\x1b[31mb\\u202ec")
        'a [31mb c'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def cut(text: str, width: int, ellipsis: str = UNICODE.ellipsis) -> str:
    """Return text of at most `width` terminal cells, with an ellipsis where something is missing.

    Examples:
        >>> cut("BTC-USDT-SWAP", 8), cut("ETH", 8), cut("ETH", 0)
        ('BTC-USD…', 'ETH', '')
    """
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + ellipsis if width > 0 else ""


def fitted(pieces: Sequence[Piece], width: int, glyphs: Glyphs = UNICODE) -> ScreenLine:
    """Return the pieces cut or padded to exactly `width` cells."""
    line: ScreenLine = []
    left = width
    for text, style in pieces:
        shown = cut(text, left, glyphs.ellipsis)
        if shown:
            line.append((shown, style))
            left -= cell_len(shown)
        if shown != text:
            break
    if left > 0:
        line.append((" " * left, ""))
    return line


def cells(pieces: Sequence[Piece]) -> int:
    """Return how many cells the pieces take."""
    return sum(cell_len(text) for text, _ in pieces)


def ends(left: Sequence[Piece], right: Sequence[Piece], width: int, glyphs: Glyphs = UNICODE) -> ScreenLine:
    """Return a line with pieces at both ends; the left end is cut where both do not fit."""
    tail = fitted(right, min(width, cells(right)), glyphs)
    room = width - cells(tail)
    return [*fitted(left, room, glyphs), *tail]


def heading(section: Section, width: int, glyphs: Glyphs = UNICODE) -> ScreenLine:
    """Return a section's title on a rule, with its summary at the right."""
    said = section.summary if section.rows else section.empty
    title = [(section.title, "bold cyan"), (" ", "")]
    tail: list[Piece] = [(f" {said}", "dim")] if said else []
    room = width - sum(cell_len(text) for text, _ in [*title, *tail])
    return fitted([*title, (glyphs.rule * max(0, room), "dim"), *tail], width, glyphs)


def lines_of(section: Section, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[ScreenLine]:
    """Return a section in at most `height` lines of exactly `width` cells, its title among them."""
    if height <= 0:
        return []
    head = heading(section, width, glyphs)
    has_names = section.has_names and height >= min(wanted(section), _NAMED_MIN)
    room = height - 1 - has_names
    if not section.rows or room <= 0:
        return [head]
    rows, hidden = section.rows, 0
    if len(rows) > room:
        shown = max(1, room - 1) if not section.is_newest_last else room
        rows, hidden = (rows[-shown:], 0) if section.is_newest_last else (rows[:shown], len(rows) - shown)
    body = list(_grid(section.columns, rows, width, glyphs, has_names=has_names))
    if hidden and len(rows) < room:
        body.append(fitted([(f"  and {hidden:,} more", "dim")], width, glyphs))
    return [head, *body]


def wanted(section: Section) -> int:
    """Return how many lines show all of a section."""
    return 1 + (len(section.rows) + (1 if section.has_names else 0) if section.rows else 0)


def shares(wants: Sequence[int], budget: int) -> list[int]:
    """Return the lines of each section: all that it needs if there is room, else the largest are cut first.

    Examples:
        >>> shares([3, 10, 4], 30), shares([3, 10, 4], 12), shares([3, 10, 4], 2)
        ([3, 10, 4], [3, 5, 4], [1, 1, 0])
    """
    given = [0] * len(wants)
    for _ in range(max(0, budget)):
        open_ones = [number for number, want in enumerate(wants) if given[number] < want]
        if not open_ones:
            break
        given[min(open_ones, key=lambda number: given[number])] += 1
    return given


def beside(
    left: Sequence[ScreenLine], right: Sequence[ScreenLine], *, left_width: int, right_width: int
) -> Iterator[ScreenLine]:
    """Yield the lines of two blocks side by side, two cells apart."""
    for number in range(max(len(left), len(right))):
        first = left[number] if number < len(left) else [(" " * left_width, "")]
        second = right[number] if number < len(right) else [(" " * right_width, "")]
        yield [*first, (" " * _GAP, ""), *second]


def _grid(
    columns: Sequence[ScreenColumn], rows: Iterable[tuple[Piece, ...]], width: int, glyphs: Glyphs, *, has_names: bool
) -> Iterator[ScreenLine]:
    table = [tuple((clean(text), style) for text, style in row) for row in rows]
    widths = _widths(columns, table, width, has_names=has_names)
    if has_names:
        names = [(column.name, "dim") for column in columns]
        yield _row(columns, names, widths, width, glyphs)
    for row in table:
        yield _row(columns, row, widths, width, glyphs)


def _widths(
    columns: Sequence[ScreenColumn], rows: Sequence[tuple[Piece, ...]], width: int, *, has_names: bool
) -> dict[int, int]:
    """Return the width of each column that is shown, by its number."""
    widths = {}
    for number, column in enumerate(columns):
        named = cell_len(column.name) if has_names else 0
        widths[number] = max(named, column.width_min, *(cell_len(row[number][0]) for row in rows))
    least = {number: min(room, columns[number].flex_min or room) for number, room in widths.items()}
    while _over(least, width) > 0:
        last = max(least, key=lambda number: (columns[number].rank, number))
        if columns[last].rank == 0:
            break  # the row is cut at its end
        del least[last], widths[last]
    # Of those that stay, the most dispensable one is cut first.
    for number in sorted(widths, key=lambda number: -columns[number].rank):
        widths[number] = max(least[number], widths[number] - max(0, _over(widths, width)))
    return widths


def _over(widths: dict[int, int], width: int) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1) - width


def _row(
    columns: Sequence[ScreenColumn], row: Sequence[Piece], widths: dict[int, int], width: int, glyphs: Glyphs
) -> ScreenLine:
    pieces: list[Piece] = []
    for number, room in widths.items():
        text, style = row[number]
        shown = cut(text, room, glyphs.ellipsis)
        pad = " " * (room - cell_len(shown))
        if pieces:
            pieces.append((" " * _GAP, ""))
        pieces.append((pad + shown if columns[number].is_right else shown + pad, style))
    return fitted(pieces, width, glyphs)
