"""A foreign format as a record: how its files are told apart, and what their columns mean."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError
from quantkit.events import EVENT_KINDS

#: What a format may hold; `none` is recognised, named, counted and left out.
HOLDINGS: Final = (*EVENT_KINDS, "none")

#: The columns of candles that bear our names.
OHLC: Final = {name: name for name in ("open", "high", "low", "close")}
OHLCV: Final = OHLC | {"volume": "volume"}

_NUMBER: Final = r"[-+]?(?:[0-9]{1,24}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})(?:[eE][-+]?[0-9]{1,3})?"
#: The types of columns in the shape of a file without a header line.
_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    "any": re.compile(r".*").fullmatch,
    "int": re.compile(r"-?[0-9]{1,20}").fullmatch,
    "number": re.compile(_NUMBER).fullmatch,
    "bool": re.compile(r"(?i:true|false)").fullmatch,
    "seconds": re.compile(r"[12][0-9]{9}(?:\.[0-9]{1,9})?").fullmatch,
    "ms": re.compile(r"[12][0-9]{12}").fullmatch,
    "ms|us": re.compile(r"[12][0-9]{12}(?:[0-9]{3})?").fullmatch,
    "stamp": re.compile(r"[12][0-9]{9}(?:[0-9]{3}){0,3}").fullmatch,
    "yyyymmdd_hhmmss": re.compile(r"[12][0-9]{7} [0-9]{6}").fullmatch,
    "yyyymmdd_hhmmssmmm": re.compile(r"[12][0-9]{7} [0-9]{9}").fullmatch,
    "yyyy.mm.dd": re.compile(r"[12][0-9]{3}\.[0-9]{2}\.[0-9]{2}").fullmatch,
    "clock": re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?").fullmatch,
    "hh:mm": re.compile(r"[0-9]{2}:[0-9]{2}").fullmatch,
    "yyyy.mm.dd_hh:mm": re.compile(r"[12][0-9]{3}\.[0-9]{2}\.[0-9]{2} [0-9]{2}:[0-9]{2}").fullmatch,
}


class Named(NamedTuple):
    """What the name of an instrument in a file stands for.

    Attributes:
        id: Ours.
        fields: Of `Instrument`, as far as the name or the venue tells them.
        in_contracts: Whether sizes count contracts, whose value nobody has said.
    """

    id: str
    fields: Mapping[str, Any] = {}
    in_contracts: bool = False


class Table:
    """The first rows of a text table under the names of their columns.

    Args:
        names: Of the columns.
        rows: Texts.
    """

    def __init__(self, names: tuple[str, ...], rows: list[list[str]]) -> None:
        self.names = names
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def texts(self, name: str) -> list[str]:
        """Return a column."""
        place = self._places[name]
        return [row[place].strip() for row in self.rows]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers, NaN where there is none."""
        number = _TYPES["number"]
        return np.array([float(text) if number(text) else np.nan for text in self.texts(name)], np.float64)


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of foreign file.

    Attributes:
        name: `venue/kind`, as the command takes it.
        title: What it is, for messages and for the table of the manual.
        holds: One of `HOLDINGS`.
        container: What the rows are kept in: `text`, `arrow` (Parquet and Feather) or `array` (of numpy, with names).
        headers: Header lines in lower case, separated by commas, `*` for any end of a name; columns added behind them
            are taken as well.
        shapes: Of files without a header line: `name:type` of each column, separated by blanks.
        lines: Whether these are the first lines of a file that is no table.
        columns: Field of ours to column of theirs, or to several with `|` between them, of which the first counts that
            is there: `time`, `received`, `day`, `price`, `qty`, `side`,
            `is_buyer_maker`, `trade_id`, `bid`, `bid_qty`, `ask`, `ask_qty`, `open`, `high`, `low`, `close`,
            `volume`, `confirm`, `rate`, `told`, `usd`, `flags`, `instrument`, `venue`.
        levels: Field of each level of a book (`bid`, `bid_qty`, `ask`, `ask_qty`) to its column, `{n}` for its number.
        test: A property of the first rows that must hold, since the columns alone do not prove the format.
        test_says: That property in words, for messages.
        path: A pattern of file names that decides where two formats have the same content.
        question: What decides it otherwise, asked of the user.
        name_pattern: A pattern of file names with the groups `symbol`, `interval` and `venue`, each of which may be
            missing.
        needs_name: Whether a file is of this format only if its name fits that pattern.
        instrument: What a name of an instrument stands for; None where only the user can tell.
        market: The same, of a venue and a name, where files come from several venues.
        symbol_of: The name of the instrument in the first lines of a file.
        told_by: Instrument and interval that the metadata of a Parquet file name, empty where they do not.
        zone: Of times without an offset; empty asks the user.
        time_format: How times are written, where no rule for numbers and dates reads them.
        round_ns: Stamps are rounded to multiples of this.
        scales: Field to the whole number that its integers are multiples of.
        unsided: Words for the side of trades that had none; they are left out.
        keep: Column to the words of rows that are this format's; the others are left out.
        one_sided: Why a file whose trades all have one side is refused; empty takes it.
        needs: Fields without which a row says nothing of this kind; such rows are left out.
        carries: Field that stays as it was where its cell is empty, to the bit of `flags` that says it changed.
        stamps_close: Whether the time of a candle is that of its close.
        names_of: The names of the columns, from the header line and the first rows, where several lines make them.
        source: Of marks: `mark` or `index`.
        skips_quiet: Whether a missing candle means that nothing was traded, and no hole.
        last_is_open: Whether the newest candle may still have been forming.
        reader: What reads a format of lines.
        reads_too: Further kinds that the same rows hold.
        notes: Sentences that every import of it shows.
        left_out: Why a format that holds none is left out.
        delimiter: Where the separator is part of the format.
        skipped_lines: Lines between header and rows.
    """

    name: str
    title: str
    holds: str
    container: str = "text"
    headers: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    lines: Callable[[list[bytes]], bool] | None = None
    columns: Mapping[str, str] = {}
    levels: Mapping[str, str] = {}
    test: Callable[[Table], bool] | None = None
    test_says: str = ""
    path: str = ""
    question: str = ""
    name_pattern: str = ""
    needs_name: bool = False
    instrument: Callable[[str], Named] | None = None
    market: Callable[[str, str], Named] | None = None
    symbol_of: Callable[[list[bytes]], str] | None = None
    told_by: Callable[[Mapping[str, str]], tuple[str, str]] | None = None
    zone: str = ""
    time_format: str = ""
    round_ns: int = 1
    scales: Mapping[str, int] = {}
    unsided: frozenset[str] = frozenset()
    keep: Mapping[str, frozenset[str]] = {}
    one_sided: str = ""
    needs: tuple[str, ...] = ()
    carries: Mapping[str, int] = {}
    stamps_close: bool = False
    names_of: Callable[[tuple[str, ...], list[list[str]]], tuple[str, ...]] | None = None
    source: str = "mark"
    skips_quiet: bool = False
    last_is_open: bool = False
    reader: str = ""
    reads_too: tuple["Format", ...] = ()
    notes: tuple[str, ...] = ()
    left_out: str = ""
    delimiter: str = ""
    skipped_lines: int = 0

    def __post_init__(self) -> None:
        if self.holds not in HOLDINGS:
            raise ConfigError(f"format {self.name}: it holds {self.holds!r}; use one of {', '.join(HOLDINGS)}")
        for shape in self.shapes:
            unknown = sorted({kind for _, kind in _parsed(shape)} - _TYPES.keys())
            if unknown:
                raise ConfigError(f"format {self.name}: type {unknown[0]!r} is not known; use {', '.join(_TYPES)}")

    def header_length(self, header: tuple[str, ...]) -> int:
        """Return how many columns at the beginning of a header, in lower case, are this format's; 0 if it is none."""
        lengths = [0]
        for known in self.headers:
            wanted = known.split(",")
            if len(wanted) <= len(header) and all(map(fits_name, wanted, header)):
                lengths.append(len(wanted))
        return max(lengths)

    def shape_of(self, rows: list[list[str]]) -> tuple[str, ...] | None:
        """Return the names of a file's columns if every row has one of this format's shapes."""
        for shape in self.shapes:
            columns = _parsed(shape)
            tests = [_TYPES[kind] for _, kind in columns]
            if all(
                len(row) == len(tests) and all(test(cell.strip()) for test, cell in zip(tests, row, strict=True))
                for row in rows
            ):
                return tuple(name for name, _ in columns)
        return None

    def found_in_name(self, leaf: str) -> Mapping[str, str]:
        """Return what a file's name tells: `symbol`, `interval` and `venue`, as far as it does."""
        match = re.search(self.name_pattern, leaf) if self.name_pattern else None
        return {} if match is None else {name: text for name, text in match.groupdict().items() if text}


def fits_name(wanted: str, name: str) -> bool:
    """Return whether a column's name is the wanted one, of which `*` may be the end.

    Examples:
        >>> fits_name("volume *", "volume btc"), fits_name("volume", "volume btc")
        (True, False)
    """
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _parsed(shape: str) -> list[tuple[str, str]]:
    """Return the names and types of a shape's columns.

    Examples:
        >>> _parsed("time:ms price:number best")
        [('time', 'ms'), ('price', 'number'), ('best', 'any')]
    """
    parts = [column.partition(":") for column in shape.split()]
    return [(name, kind or "any") for name, _, kind in parts]
