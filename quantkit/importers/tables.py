"""Foreign tables in CSV, Parquet or Feather as blocks of columns with line numbers."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY, NS_PER_S
from quantkit.errors import ConfigError, ParseError
from quantkit.importers.archives import DAMAGE, ForeignFile
from quantkit.importers.csv_rows import Coded, CsvBlock, Nanoseconds, TypedColumns, line_blocks
from quantkit.importers.files import first_lines
from quantkit.importers.report import Progress, Tally

_CHUNK_ROWS: Final = 65_536
#: Text that is read at once: more costs memory, less costs calls.
_BLOCK_BYTES: Final = 4 << 20
_PEEKED_BYTES: Final = 1 << 16
#: No epoch stamp is shorter.
_LEAST_DIGITS: Final = 8
#: What to do with a table that no plain word stands for.
FOUND_BY_ITSELF: Final = "leave the word before the files out, and their format is found by itself"
#: A table's number: exponents are allowed, since pandas writes small rates with them.
NUMBER: Final = re.compile(r"[-+]?(?:[0-9]{1,24}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})(?:[eE][-+]?[0-9]{1,3})?").fullmatch


class Stamps:
    """A typed time column: nanoseconds, 0 where there is none, and whether it lacks a zone."""

    def __init__(self, values_ns: NDArray[np.int64], *, is_naive: bool) -> None:
        self.values_ns = values_ns
        self.is_naive = is_naive

    def __len__(self) -> int:
        return len(self.values_ns)


class Words:
    """A column of few different texts: each row's code, and the text that a code stands for."""

    def __init__(self, codes: NDArray[Any], words: Sequence[str]) -> None:
        self.codes = codes
        self.words = [word.strip() for word in words]

    def __len__(self) -> int:
        return len(self.codes)

    def texts(self) -> list[str]:
        """Return each row's text."""
        return [self.words[code] for code in self.codes.tolist()]


#: Texts, integers, floats (NaN where there is no value) or stamps.
TableColumn: TypeAlias = Sequence[str] | NDArray[Any] | Stamps | Words


class TableForm(NamedTuple):
    """How a text table is written.

    Attributes:
        delimiter: Between fields.
        names: Of the columns, in order; empty for those without a use.
        skipped: Lines before the rows, a header among them.
    """

    delimiter: str
    names: tuple[str, ...]
    skipped: int


class Chunk:
    """Some rows of one file: columns, each row's line number, and each row's text for a report."""

    def __init__(
        self,
        file: str,
        lines: NDArray[np.int64],
        columns: Mapping[str, TableColumn],
        text: Callable[[int], str],
        malformed: Sequence[tuple[int, str, str]] = (),
    ) -> None:
        self.file = file
        self.lines = lines
        self.columns = columns
        self.text = text
        #: Rows that are no rows of this table: line, text and why.
        self.malformed = malformed

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: NDArray[np.int64], *, is_first: bool = True) -> "Chunk":
        """Return some of the rows as a chunk; only the first of several parts reports the malformed ones."""
        columns = {field: _taken(column, rows) for field, column in self.columns.items()}
        return Chunk(
            self.file,
            self.lines[rows],
            columns,
            lambda row: self.text(int(rows[row])),
            self.malformed if is_first else (),
        )


def _taken(column: TableColumn, rows: NDArray[np.int64]) -> TableColumn:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, Stamps):
        return Stamps(column.values_ns[rows], is_naive=column.is_naive)
    if isinstance(column, Words):
        return Words(column.codes[rows], column.words)
    return [column[row] for row in rows.tolist()]


class ColumnLayout:
    """The columns of a format: spellings, required fields, and signs of another content.

    Args:
        spellings: For each field the column names it is known by, normalised, the likeliest first.
        required: Fields without which a file cannot be read.
        headless: The fields' order in files without a header line, by number of columns; empty refuses those.
        foreign: Columns that only tables of another content have, and what those are; such a table is refused.
        likely: Columns of other tables, and what those are, for a table that lacks a required field.
    """

    def __init__(
        self,
        spellings: Mapping[str, tuple[str, ...]],
        *,
        required: tuple[str, ...],
        headless: Mapping[int, tuple[str, ...]] | None = None,
        foreign: Mapping[str, str] | None = None,
        likely: Mapping[str, str] | None = None,
    ) -> None:
        self.spellings = spellings
        self.required = required
        self.headless = headless or {}
        self.foreign = foreign or {}
        self.likely = likely or {}

    def find(self, names: Sequence[str], file: str, columns: Mapping[str, str] | None) -> dict[str, str]:
        """Return the column of each field that a file has.

        Args:
            names: The file's columns.
            file: For messages.
            columns: Field to column, as the user says; comes first.

        Raises:
            ConfigError: A required field has no column, or `columns` names one that is not there.
        """
        normal = {normalised(name): name for name in reversed(names)}
        found: dict[str, str] = {}
        for field, name in (columns or {}).items():
            if field not in self.spellings:
                raise ConfigError(f"columns: {field!r} is no field here; the fields are {', '.join(self.spellings)}")
            column = name if name in names else normal.get(normalised(name))
            if column is None:
                raise ConfigError(f"{file} has no column {name!r} for {field}; it has {', '.join(names)}")
            found[field] = column
        taken = set(found.values())
        for field, spellings in self.spellings.items():
            if field in found:
                continue
            column = next((normal[s] for s in spellings if s in normal and normal[s] not in taken), None)
            if column is not None:
                found[field] = column
                taken.add(column)
        missing = [field for field in self.required if field not in found]
        for name, content in {**self.foreign, **(self.likely if missing else {})}.items():
            if name in normal and normal[name] not in (columns or {}).values():
                raise ConfigError(f"{file} has a column {normal[name]!r}: it is a table of {content}")
        if missing:
            raise ConfigError(
                f"{file} has no column for {' and '.join(missing)} among {', '.join(names)[:200]}; "
                f"name it: columns={{{missing[0]!r}: '...'}} (--column {missing[0]}=...)"
            )
        return found


def normalised(name: str) -> str:
    """Return a column name in the form for comparison: lower case, underscores, stripped.

    Examples:
        >>> normalised(" Open Time"), normalised("isBuyerMaker"), normalised("bid-px")
        ('open_time', 'isbuyermaker', 'bid_px')
        >>> normalised("<DATE>")
        'date'
    """
    return re.sub(r"[\s\-./]+", "_", name.strip().lower().removeprefix("<").removesuffix(">"))


class TableFile:
    """One CSV, Parquet or Feather file, told apart by content, read in chunks under the fields' names.

    Args:
        source: The file, plain or packed.
        layout: The format's fields.
        columns: Field to column, as the user says.
        form: How the text is written, where recognition found out; None finds it here.
    """

    def __init__(
        self,
        source: ForeignFile,
        layout: ColumnLayout,
        columns: Mapping[str, str] | None,
        form: TableForm | None = None,
    ) -> None:
        self.source = source
        self.file = source.name
        self._layout = layout
        self._columns = columns
        self._form = form
        head = b""
        # The reading itself tells of damage.
        with source.opened() as (stream, _), suppress(*DAMAGE):
            head = stream.read(6)
        #: Columns of the file that belong to no field, once its rows are read; none of a file without a header line.
        self.left_out: list[str] = []
        self.is_csv = not head.startswith((b"PAR1", b"ARROW1", b"FEA1"))
        self._is_parquet = head.startswith(b"PAR1")
        self.has_header = True

    def chunks(self, tally: Tally, progress: Progress | None, *, rows: int = _CHUNK_ROWS) -> Iterator[Chunk]:
        """Yield the file's rows, counting them as read.

        Raises:
            ConfigError: A field has no column.
            ParseError: The file is damaged.
        """
        if self.is_csv:
            yield from self._csv_chunks(tally, progress, rows)
        else:
            yield from self._arrow_chunks(tally, progress, rows)

    # CSV ------------------------------------------------------------------------------------------------------

    def _csv_chunks(self, tally: Tally, progress: Progress | None, rows: int) -> Iterator[Chunk]:
        form, fields = self._form, None
        if form is not None:
            fields = self._find([name for name in form.names if name])
        delimiter = self._delimiter() if form is None else form.delimiter
        typed: TypedColumns | None = None
        with self.source.opened() as (stream, raw):
            skipped = 0 if form is None else form.skipped
            is_whole = True
            for block in line_blocks(stream, self.file, _BLOCK_BYTES if rows >= _CHUNK_ROWS else _PEEKED_BYTES):
                is_whole = not block.is_damaged
                if progress is not None:
                    progress(self.file, raw.tell(), self.source.packed)
                skipped -= block.skip(skipped)
                if form is None:
                    row = block.first_row(delimiter, self.file, tally)
                    if row is None:
                        continue
                    names, fields = self._header(row)
                    if self.has_header:
                        block.skip_rows(1, delimiter)
                    form = TableForm(delimiter, tuple(names), 0)
                assert fields is not None
                if typed is None and rows >= _CHUNK_ROWS:
                    typed = TypedColumns(form.names, fields, form.delimiter)
                columns = None if typed is None else typed.of(block)
                if columns is not None:
                    tally.rows_read += columns.size
                    lines = np.arange(block.line, block.line + columns.size, dtype=np.int64)
                    yield Chunk(self.file, lines, _typed(columns.columns), block.text)
                else:
                    yield from self._slow_chunks(block, form, fields, tally, rows)
            if not is_whole:
                tally.rows_read += 1
                tally.skip(self.file, block.end_line, "", "the compressed file is damaged or ends early")
        if progress is not None:
            progress(self.file, self.source.packed, self.source.packed)

    def _slow_chunks(
        self, block: CsvBlock, form: TableForm, fields: Mapping[str, str], tally: Tally, rows: int
    ) -> Iterator[Chunk]:
        """Yield the rows of a block read one by one, with what is wrong with each malformed one."""
        numbered = block.rows(form.delimiter, self.file, tally)
        width = len(form.names)
        while pending := list(islice(numbered, rows)):
            good = [row for row in pending if len(row[1]) == width]
            malformed = [
                (line, ",".join(row), f"{len(row)} fields where {width} are expected")
                for line, row in pending
                if len(row) != width
            ]
            if good:
                yield _csv_chunk(self.file, good, form.names, fields, malformed)
            else:
                for line, cells, why in malformed:
                    tally.skip(self.file, line, cells, why)

    def _delimiter(self) -> str:
        head = b"".join(first_lines(self.source, 1))
        return max((",", ";", "\t", "|"), key=lambda each: head.count(each.encode()))

    def _header(self, row: list[str]) -> tuple[list[str], dict[str, str]]:
        if not all(NUMBER(cell.strip()) or cell.strip().lower() in ("true", "false") for cell in row):
            names = [name.strip() for name in row]
            return names, self._find(names)
        self.has_header = False
        if lobster := _lobster(row):
            raise ConfigError(f"{self.file} is {lobster}")
        order = self._layout.headless.get(len(row))
        if order is None:
            raise ConfigError(
                f"{self.file} has no header line, and {len(row)} columns of numbers are no known layout; "
                f"write a first line that names them: {', '.join(self._layout.required)}, ..."
            )
        if not self._fits(row, order):
            expected = ", ".join(name or "..." for name in order)
            raise ConfigError(
                f"{self.file} has no header line, and its first row is not {expected}: {','.join(row)[:120]}; "
                "write a first line that names the columns"
            )
        names = [name or f"column {index}" for index, name in enumerate(order, 1)]
        return names, {field: field for field in self._layout.spellings if field in names}

    def _find(self, names: Sequence[str]) -> dict[str, str]:
        """Return the column of each field, and keep the names of the others."""
        fields = self._layout.find(names, self.file, self._columns)
        self.left_out = [name for name in names if name and name not in fields.values()]
        return fields

    @staticmethod
    def _fits(row: Sequence[str], order: Sequence[str]) -> bool:
        """Return whether a row without a header can be of the layout that its number of columns stands for."""
        cells = {name: cell.strip().lower() for name, cell in zip(order, row, strict=True) if name}
        flag = cells.get("is_buyer_maker", "true")
        is_time = NUMBER(cells["time"]) is not None and len(cells["time"].partition(".")[0]) >= _LEAST_DIGITS
        return is_time and flag in ("true", "false") and cells.get("trade_id", "0").isdecimal()

    # Parquet and Feather --------------------------------------------------------------------------------------

    def _arrow_chunks(self, tally: Tally, progress: Progress | None, rows: int) -> Iterator[Chunk]:
        import pyarrow as pa

        first_row = 1
        try:
            with ExitStack() as stack:
                schema, batches = self._arrow_batches(str(stack.enter_context(self.source.on_disk())), rows)
                names = list(schema.names) if self._form is None else list(self._form.names)
                fields = self._find(names)
                for batch in batches:
                    lines = np.arange(first_row, first_row + batch.num_rows, dtype=np.int64)
                    first_row += batch.num_rows
                    tally.rows_read += batch.num_rows
                    columns = {field: _arrow_column(batch.column(names.index(name))) for field, name in fields.items()}
                    yield Chunk(self.file, lines, columns, _arrow_text(batch))
                if progress is not None:
                    progress(self.file, self.source.packed, self.source.packed)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ParseError(f"the file cannot be read: {reason}", where=self.file) from error

    def schema(self) -> tuple[list[str], dict[str, str]]:
        """Return the columns of a Parquet or Feather file, and what its maker says of them.

        Raises:
            ParseError: It is damaged.
        """
        import pyarrow as pa

        try:
            with self.source.on_disk() as path:
                schema = self._arrow_batches(str(path), 1)[0]
        except (pa.ArrowException, OSError) as error:
            raise ParseError("the file cannot be read", where=self.file) from error
        said = (schema.metadata or {}).items()
        return list(schema.names), {key.decode(errors="replace"): text.decode(errors="replace") for key, text in said}

    def _arrow_batches(self, path: str, rows: int) -> tuple[Any, Iterator[Any]]:
        if self._is_parquet:
            import pyarrow.parquet as pq

            file = pq.ParquetFile(path)
            return file.schema_arrow, file.iter_batches(batch_size=rows)
        from pyarrow import feather

        table = feather.read_table(path, memory_map=False)
        return table.schema, iter(table.to_batches(max_chunksize=rows))


def _lobster(row: Sequence[str]) -> str:
    """Return what a row is if it is one of LOBSTER's; they have no header, and seconds after midnight come first."""
    cells = [cell.strip() for cell in row]
    whole = [cell.removeprefix("-").isdecimal() for cell in cells]
    if (
        len(cells) in (6, 7)
        and "." in cells[0]
        and NUMBER(cells[0])
        and float(cells[0]) < NS_PER_DAY / NS_PER_S
        and all(whole[1:6])
        and cells[1] in ("1", "2", "3", "4", "5", "6", "7")
        and cells[5] in ("1", "-1")
    ):
        return f"a LOBSTER message file: {FOUND_BY_ITSELF}"
    if len(cells) >= 4 and len(cells) % 4 == 0 and all(whole) and _is_ladder(list(map(int, cells))):
        return f"a LOBSTER order-book file: {FOUND_BY_ITSELF}"
    return ""


def _is_ladder(cells: Sequence[int]) -> bool:
    """Return whether cells are levels of ask price, ask size, bid price, bid size, from the best outward."""
    asks, bids = cells[0::4], cells[2::4]
    return asks[0] > bids[0] and list(asks) == sorted(asks) and list(bids) == sorted(bids, reverse=True)


def _typed(columns: Mapping[str, Any]) -> dict[str, TableColumn]:
    """Return columns that were read with their types as columns of a table."""
    found: dict[str, TableColumn] = {}
    for field, column in columns.items():
        if isinstance(column, Coded):
            found[field] = Words(column.codes, column.texts)
        elif isinstance(column, Nanoseconds):
            found[field] = Stamps(column.stamps, is_naive=False)
        else:
            found[field] = column
    return found


def _csv_chunk(
    file: str,
    rows: list[tuple[int, list[str]]],
    names: Sequence[str],
    fields: Mapping[str, str],
    malformed: Sequence[tuple[int, str, str]],
) -> Chunk:
    cells = list(zip(*(row for _, row in rows), strict=True))
    columns = {field: [cell.strip() for cell in cells[names.index(name)]] for field, name in fields.items()}
    lines = np.array([line for line, _ in rows], np.int64)
    return Chunk(file, lines, columns, lambda index: ",".join(rows[index][1]), malformed)


def _arrow_column(array: Any) -> TableColumn:
    """Return an Arrow array as the nearest column of ours."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        is_naive = pa.types.is_date(kind) or kind.tz is None
        stamps = array.cast(pa.timestamp("ns")) if kind != pa.timestamp("ns") else array
        values = pc.fill_null(stamps.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return Stamps(values, is_naive=is_naive)
    if pa.types.is_floating(kind):
        floats: NDArray[Any] = array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        return floats
    if pa.types.is_fixed_size_binary(kind):
        return _fixed_point(array)
    if pa.types.is_uint64(kind) and (len(array) == 0 or pc.max(array).as_py() >= 2**63):
        kind = pa.string()  # an id, of which every digit counts
    if pa.types.is_integer(kind) and not array.null_count:
        integers: NDArray[Any] = array.to_numpy().astype(np.int64, copy=False)
        return integers
    return [text.strip() for text in pc.fill_null(array.cast(pa.string()), "").to_pylist()]


def _fixed_point(array: Any) -> NDArray[np.float64]:
    """Return NautilusTrader's fixed-point numbers: 128 bits of 1e-16 or 64 bits of 1e-9, the lowest byte first."""
    import pyarrow as pa

    width = array.type.byte_width
    content = array.buffers()[1]
    if width == 8:
        units = np.frombuffer(content, np.int64)[array.offset : array.offset + len(array)]
        return units / 1e9
    if width != 16:
        raise pa.ArrowInvalid(f"values of {width} bytes are no numbers")
    # The bytes are those of Arrow's own decimals; the fewest digits that hold them all make exact whole numbers.
    decimals = pa.Array.from_buffers(pa.decimal128(38, 16), len(array), [None, content], offset=array.offset)
    for digits in range(17):
        with suppress(pa.ArrowInvalid):
            units = decimals.cast(pa.decimal128(38, digits)).cast(pa.decimal128(38, digits))
            words = np.frombuffer(units.buffers()[1], np.int64)[2 * units.offset :][: 2 * len(array)]
            return words[::2] / 10.0**digits
    raise pa.ArrowInvalid("values are no decimals")


def _arrow_text(batch: Any) -> Callable[[int], str]:
    def text(index: int) -> str:
        return ", ".join(f"{name}={batch.column(name)[index]}" for name in batch.schema.names)

    return text
