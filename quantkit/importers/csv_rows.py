"""Text tables in blocks of whole lines: read by Arrow with declared types, or row by row where a row is odd.

Arrow reads a block some twenty times faster than Python, but tells no line of what is wrong. So a block in which
anything is unusual is read again row by row: results and messages are those of the slow way, whichever was taken.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import is_plausible, latest_epoch_ns
from quantkit.errors import ParseError
from quantkit.importers.archives import DAMAGE
from quantkit.importers.files import LINE_BYTES_MAX
from quantkit.importers.report import Tally

_READ_BYTES: Final = 1 << 18
_NEWLINE: Final = 10
_WHOLE: Final = re.compile(r"[0-9]{1,18}").fullmatch
#: Seconds with a fraction; as a decimal of nine digits they are nanoseconds without any rounding.
_SECONDS: Final = re.compile(r"[0-9]{10}\.[0-9]{1,9}").fullmatch
#: Fields that hold numbers in every kind of table.
_NUMBERS: Final = frozenset(
    (
        *("open", "high", "low", "close", "volume", "coins", "adj_close", "price", "qty", "rate"),
        *("bid", "bid_qty", "ask", "ask_qty", "last", "last_qty", "usd"),
    )
)
_STAMPS: Final = frozenset(("time", "received", "told"))
_WHOLES: Final = frozenset(("trade_id", "first_id", "last_id", "previous_id", "flags"))
#: Fields whose texts are few.
_WORDS: Final = frozenset(("side", "is_buyer_maker", "instrument", "venue", "action", "confirm", "is_snapshot"))
#: Words of which a column holds two: Arrow reads them as truth values, which is faster than a dictionary.
_PAIRS: Final = {
    word: pair
    for pair in (("false", "true"), ("False", "True"), ("sell", "buy"), ("Sell", "Buy"), ("SELL", "BUY"))
    for word in pair
}


class CsvBlock:
    """Some whole lines of a text table.

    Args:
        line: Number of the first one, from 1.
        content: Their bytes.
        has_quotes: Whether there is a quotation mark among them.
        is_damaged: Whether the file could not be read after them.
    """

    def __init__(self, line: int, content: bytes, *, has_quotes: bool, is_damaged: bool = False) -> None:
        self.line = line
        self.content = content
        self.is_damaged = is_damaged
        self._may_have_quotes = has_quotes
        self._newlines: int | None = None
        self._lines: list[bytes] | None = None

    @property
    def newlines(self) -> int:
        """How many lines end in it."""
        if self._newlines is None:
            self._newlines = _newlines(self.content)
        return self._newlines

    @property
    def end_line(self) -> int:
        """Number of the line after it."""
        return self.line + self.newlines

    @property
    def has_quotes(self) -> bool:
        """Whether there is a quotation mark in it."""
        # Often in the header alone, which is left out by now.
        return self._may_have_quotes and b'"' in self.content

    def counted(self, rows: int) -> None:
        """Take the number of its lines from whoever has read them all."""
        self._newlines = rows - (not self.content.endswith(b"\n"))

    def skip(self, lines: int) -> int:
        """Leave out the first lines; return how many were left out."""
        done = 0
        while done < lines and self.content:
            self._cut(self.content.find(b"\n") + 1 or len(self.content))
            done += 1
        return done

    def first_row(self, delimiter: str, file: str, tally: Tally) -> list[str] | None:
        """Return the first row that is not blank, without leaving it out; None if there is none."""
        return next((row for _, row in self.rows(delimiter, file, Tally())), None)

    def skip_rows(self, rows: int, delimiter: str) -> None:
        """Leave out the first rows, and blank lines before them."""
        text = io.StringIO(self._text(), newline="")
        reader = csv.reader(text, delimiter=delimiter)
        while rows:
            rows -= bool(next(reader))
        self.skip(reader.line_num)

    def rows(self, delimiter: str, file: str, tally: Tally) -> Iterator[tuple[int, list[str]]]:
        """Yield (line, fields) of every row that is not blank, counting them as read."""
        reader = csv.reader(io.StringIO(self._text(), newline=""), delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                tally.rows_read += 1
                tally.skip(file, self.line + reader.line_num - 1, "", f"the line is no CSV: {error}")
                continue
            if row:
                tally.rows_read += 1
                yield self.line + reader.line_num - 1, row

    def text(self, row: int) -> str:
        """Return a line by its place in the block."""
        if self._lines is None:
            self._lines = self.content.split(b"\n")
        return self._lines[row].decode("utf-8", "backslashreplace").strip()

    def _text(self) -> str:
        # Bytes that are no UTF-8 stay visible; where they matter, their row is not understood.
        return self.content.decode("utf-8", "backslashreplace").removeprefix("\ufeff")

    def _cut(self, size: int) -> None:
        cut = self.content[:size].count(b"\n")
        self.line += cut
        if self._newlines is not None:
            self._newlines -= cut
        self.content = self.content[size:]


def line_blocks(stream: BinaryIO, file: str, size: int) -> Iterator[CsvBlock]:
    """Yield a stream in blocks of whole lines, of `size` bytes or a little more.

    Raises:
        ParseError: A line is longer than any that is data.
    """
    parts: list[bytes] = []
    have, line = 0, 1
    read = getattr(stream, "read1", stream.read)
    while True:
        is_damaged = False
        try:
            part = read(_READ_BYTES)
        except DAMAGE:
            part, is_damaged = b"", True
        parts.append(part)
        have += len(part)
        if part and have < size:
            continue
        content, rest = _whole_lines(parts) if part or is_damaged else (b"".join(parts), b"")
        has_quotes = b'"' in content
        if part and has_quotes and content.count(b'"') % 2 and have < 4 * size:
            # A quoted field may hold the end of a line.
            parts = [content, rest]
            continue
        if part and len(rest) > LINE_BYTES_MAX:
            raise ParseError(f"the line has more than {LINE_BYTES_MAX:,} bytes", where=f"{file}:{line}")
        if content or is_damaged:
            block = CsvBlock(line, content, has_quotes=has_quotes, is_damaged=is_damaged)
            yield block
            # By now whoever read it may have counted its lines.
            line = block.end_line
        parts, have = [rest], len(rest)
        if not part:
            return


def _whole_lines(parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the whole lines of some bytes that come in parts, and what is left after them."""
    last = parts[-1]
    cut = last.rfind(b"\n") + 1
    if cut:  # as in almost every case, so that all is copied once
        return b"".join((*parts[:-1], last[:cut])), last[cut:]
    content = b"".join(parts)
    cut = content.rfind(b"\n") + 1
    return content[:cut], content[cut:]


class Nanoseconds(NamedTuple):
    """A column of stamps whose unit is no question."""

    stamps: NDArray[np.int64]


class Coded(NamedTuple):
    """A column of few different texts: each row's code, and the texts that the codes stand for."""

    codes: NDArray[np.int32] | NDArray[np.int8]
    texts: list[str]


class _Typed(NamedTuple):
    """Columns of a block: numbers as arrays, words as `Coded`, stamps as `Nanoseconds`, other texts as lists."""

    size: int
    columns: dict[str, Any]


class TypedColumns:
    """Reads blocks with one type a column, as the first row shows them.

    Args:
        names: Of all columns.
        fields: Field to column.
        delimiter: Between fields.
    """

    def __init__(self, names: Sequence[str], fields: Mapping[str, str], delimiter: str) -> None:
        self._delimiter = delimiter
        self._width = len(names)
        self._places = {field: list(names).index(name) for field, name in fields.items()}
        self._types: dict[str, str] | None = None
        #: The two words of each column that holds no others.
        self._pairs: dict[str, tuple[str, str]] = {}

    def of(self, block: CsvBlock) -> _Typed | None:
        """Return a block's columns; None where a row is unusual, be it in its form or in a value."""
        if block.has_quotes or not block.content or block.content.isspace():
            return None
        if self._types is None and not self._plan(block.content):
            return None
        assert self._types is not None
        typed = self._read(block, self._types)
        if typed is None and self._pairs:
            # There may be a third word, or none at all in some row.
            self._types.update(dict.fromkeys(self._pairs, "words"))
            self._pairs = {}
            typed = self._read(block, self._types)
        return typed

    def _read(self, block: CsvBlock, kinds: Mapping[str, str]) -> _Typed | None:
        """Return a block's columns as they are of their types; None where one is not."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        content = block.content
        types = {"float": pa.float64(), "int": pa.int64(), "seconds": pa.decimal128(28, 9), "text": pa.string()}
        types["words"] = pa.dictionary(pa.int32(), pa.string())
        types["pair"] = pa.bool_()
        # Arrow sees the end of a line in a lone return, too, so that its count is not ours.
        is_counted = b"\r" not in content and self._width > 1
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(content),
                read_options=arrow_csv.ReadOptions(
                    column_names=[str(place) for place in range(self._width)],
                    use_threads=False,
                    block_size=len(content) + 1,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self._delimiter, quote_char=False, ignore_empty_lines=not is_counted
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={str(place): types[kinds[field]] for field, place in self._places.items()},
                    include_columns=[str(place) for place in self._places.values()],
                    null_values=[""],
                    strings_can_be_null=False,
                    false_values=sorted({pair[0] for pair in self._pairs.values()}),
                    true_values=sorted({pair[1] for pair in self._pairs.values()}),
                ),
            )
        except pa.ArrowException:
            return None
        if is_counted:
            block.counted(table.num_rows)
        elif table.num_rows != block.newlines + (not content.endswith(b"\n")):
            return None  # blank lines: the numbers of lines would be wrong
        columns: dict[str, Any] = {}
        for field, place in self._places.items():
            column = self._converted(table.column(str(place)).combine_chunks(), field, kinds[field])
            if column is None:
                return None
            columns[field] = column
        return _Typed(table.num_rows, columns)

    def _plan(self, content: bytes) -> bool:
        """Take each column's type from the first row; return whether that row shows them."""
        first = content.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", "backslashreplace")
        cells = [cell.strip() for cell in first.split(self._delimiter)]
        if len(cells) != self._width:
            return False
        self._types = {}
        for field, place in self._places.items():
            cell = cells[place]
            kind = "text"
            if field.partition("@")[0] in _NUMBERS or field.startswith("level_"):
                kind = "float"
            elif field in _WORDS and cell in _PAIRS and set(self._pairs.values()) <= {_PAIRS[cell]}:
                kind, self._pairs[field] = "pair", _PAIRS[cell]
            elif field in _WORDS:
                kind = "words"
            elif (field in _STAMPS or field in _WHOLES) and _WHOLE(cell):
                kind = "int"
            elif field in _STAMPS and "day" not in self._places and _SECONDS(cell):
                kind = "seconds"
            self._types[field] = kind
        if "day" in self._places and "time" in self._types:
            self._types["time"] = "text"  # a time of day
        return True

    def _converted(self, array: Any, field: str, kind: str) -> Any:
        """Return an Arrow column as ours; None where a value needs the slow way."""
        if kind == "text":
            return [text.strip() for text in array.to_pylist()]
        if kind == "words":
            return Coded(array.indices.to_numpy(zero_copy_only=False), array.dictionary.to_pylist())
        if kind == "float":
            values: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
            usual = np.isfinite(values)
            return values if int((~usual).sum()) == array.null_count else None
        if array.null_count:
            return None
        if kind == "int":
            return array.to_numpy()
        if kind == "pair":
            return Coded(array.to_numpy(zero_copy_only=False).view(np.int8), list(self._pairs[field]))
        # A decimal of nine digits is a whole number of nanoseconds in 16 bytes, of which a stamp fills the first 8.
        words = np.frombuffer(array.buffers()[1], np.int64)
        stamps = words[2 * array.offset : 2 * (array.offset + len(array)) : 2].copy()
        return Nanoseconds(stamps) if _are_plausible(stamps) else None


def _newlines(content: bytes) -> int:
    """Return how many lines end in some bytes; `bytes.count` takes six times as long where lines are short."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == _NEWLINE))


def _are_plausible(stamps: NDArray[np.int64]) -> bool:
    latest_ns = latest_epoch_ns()
    return is_plausible(int(stamps.min()), latest_ns) and is_plausible(int(stamps.max()), latest_ns)
