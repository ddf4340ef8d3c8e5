"""What a foreign file is: told by its content, and by its path only where content cannot tell."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple

from quantkit.errors import ConfigError
from quantkit.importers import bars, rows
from quantkit.importers.archives import DAMAGE, ForeignFile
from quantkit.importers.formats.record import Format, Table
from quantkit.importers.price_order import price_order
from quantkit.importers.tables import ColumnLayout, TableFile, TableForm, normalised

#: A shape without a header line has to fit every one of so many rows.
SAMPLE_ROWS: Final = 1_000
_SAMPLE_BYTES: Final = 1 << 19
_DELIMITERS: Final = ("\t", ";", ",", "|")
_DELIMITER_ROWS: Final = 20
#: Texts that are no sign of a header.
_PLAIN_WORDS: Final = frozenset(("e", "nan", "null", "none", "true", "false", "inf", ""))
_URL: Final = re.compile(r"(?i)^\W*(?:https?://|www\.)\S+\W*$").match
_BILINGUAL: Final = re.compile(r"^([\x21-\x2e\x30-\x7e]+)/.*[^\x00-\x7f]").match
_QUOTED: Final = re.compile(r'"[^"]*"')


class TextSample:
    """The beginning of a file, taken apart.

    Args:
        file: The file.
        content: Its first bytes, whole lines.
    """

    def __init__(self, file: ForeignFile, content: bytes) -> None:
        self.file = file
        stripped = (line.strip() for line in content.split(b"\n"))
        self.lines = list(islice((line for line in stripped if line), SAMPLE_ROWS + 8))
        #: Lines before the header or the first row, and what they were.
        self.skipped = 0
        self.preamble = ""
        texts = self._texts(content.removeprefix(b"\xef\xbb\xbf"))
        if texts and _URL(texts[0]) and "," not in texts[0]:
            self.preamble, self.skipped = texts[0].strip(), 1
            texts = texts[1:]
        self.delimiter = self._delimiter(texts)
        split = map(self._split, texts)  # no more of them than are looked at
        first: list[str] = []
        while not any(first) and (row := next(split, None)) is not None:
            self.skipped += not any(row)
            first = row
        self.has_header = any(_is_name(cell) for cell in first)
        self.names = tuple(self._name(cell) for cell in first) if self.has_header else ()
        if self.has_header:
            self.skipped += 1
        body = split if self.has_header else chain([first], split)
        self.rows = list(islice((row for row in body if any(row)), SAMPLE_ROWS))

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the columns in lower case; empty where there is no header line."""
        return tuple(name.lower() for name in self.names)

    def _texts(self, content: bytes) -> list[str]:
        """Return the lines of the file as text.

        Raises:
            ConfigError: They are in no encoding that tables come in.
        """
        for encoding in ("utf-8", "gb18030"):
            try:
                return content.decode(encoding).splitlines()
            except UnicodeDecodeError:
                continue
        raise ConfigError(f"{self.file} is text in an encoding that is neither UTF-8 nor GB18030; save it as UTF-8")

    @staticmethod
    def _delimiter(texts: Sequence[str]) -> str:
        head = [_QUOTED.sub("", text) for text in texts[:_DELIMITER_ROWS] if text.strip()]
        for delimiter in _DELIMITERS:
            counts = {text.count(delimiter) for text in head[1:] or head}
            if len(counts) == 1 and counts != {0}:
                return delimiter
        return max(_DELIMITERS, key=lambda each: sum(text.count(each) for text in head))

    def _split(self, text: str) -> list[str]:
        if '"' not in text:
            return [cell.strip() for cell in text.split(self.delimiter)]
        import csv

        return [cell.strip() for cell in next(csv.reader([text], delimiter=self.delimiter), [])]

    @staticmethod
    def _name(cell: str) -> str:
        """Return a column's name; of one in two languages, the English."""
        match = _BILINGUAL(cell)
        return match[1] if match else cell


def _is_name(cell: str) -> bool:
    """Return whether a cell shows that its row is a header.

    Examples:
        >>> _is_name("price"), _is_name("1.5e-05"), _is_name("True"), _is_name("2024-01-02")
        (True, False, False, False)
    """
    return any(word.lower() not in _PLAIN_WORDS for word in re.findall(r"[^\W\d_]+", cell) if not _is_moment(cell))


def _is_moment(cell: str) -> bool:
    """Return whether a cell is a date or a time of day, whose letters are no name."""
    return re.match(r"[0-9]{1,4}[-/.:][0-9]{1,2}", cell) is not None


class Recognised(NamedTuple):
    """A file and what it is.

    Attributes:
        file: The file.
        format: Its format; a plain word of tables (`candles`) where no venue's record fits.
        by: What it was told by.
        form: How the table is written, None of a file that is none.
        symbol: The instrument as the file's name or its first line calls it, empty where neither does.
        interval: Of candles, as the file's name says; empty where it does not.
        venue: Where the rows come from, as the file's name says.
        is_fixed_point: Whether prices are whole numbers, of a format that writes them so or with a point.
    """

    file: ForeignFile
    format: Format
    by: str
    form: TableForm | None = None
    symbol: str = ""
    interval: str = ""
    venue: str = ""
    is_fixed_point: bool = False


class _Fit(NamedTuple):
    format: Format
    by: str
    form: TableForm | None
    width: int = 0


def sample_of(file: ForeignFile) -> TextSample | None:
    """Return the beginning of a text file, None of an empty one.

    Raises:
        ConfigError: It is no text that tables come in.
    """
    content, _ = beginning(file)
    if len(content) >= _SAMPLE_BYTES:
        content = content[: content.rfind(b"\n") + 1] or content
    return TextSample(file, content) if content.strip() else None


def beginning(file: ForeignFile) -> tuple[bytes, bool]:
    """Return the first bytes of a file, and whether it is damaged there."""
    parts: list[bytes] = []
    is_damaged = False
    with file.opened() as (stream, _):
        read = getattr(stream, "read1", stream.read)
        try:
            while sum(map(len, parts)) < _SAMPLE_BYTES and (part := read(_SAMPLE_BYTES)):
                parts.append(part)
        except DAMAGE:
            is_damaged = True
    return b"".join(parts), is_damaged


def recognise(
    file: ForeignFile, sample: TextSample, formats: Iterable[Format], *, wanted: str | None = None
) -> Recognised | None:
    """Return what a file is; None where it has a known header and no rows.

    Args:
        file: The file.
        sample: Its beginning.
        formats: Those that are known.
        wanted: The format that the user names; it still has to fit.

    Raises:
        ConfigError: No format fits, the one named does not, or several do: the message asks what decides it.
    """
    known = [each for each in formats if each.container == "text"]
    if wanted is not None:
        known = [each for each in known if each.name == wanted]
    if sample.has_header and not sample.rows and any(_form(each, sample) for each in known):
        return None
    fits = [fit for each in known if (fit := _fit(each, sample, is_said=wanted is not None))]
    # A header that is known to its end goes before one that only begins like it.
    widest = max((fit.width for fit in fits), default=0)
    chosen = [fit for fit in fits if fit.width == widest]
    failed = [each for each in known if each.test_says and not fits and _form(each, sample)]
    if len(chosen) > 1:
        for place, text in (("name", file.leaf), ("path", file.name)):
            named = [fit for fit in chosen if fit.format.path and re.search(fit.format.path, text)]
            if len(named) == 1:
                chosen = [named[0]._replace(by=f"{named[0].by} and its {place}")]
                break
    if len(chosen) > 1:
        questions = {fit.format.question for fit in chosen if fit.format.question}
        raise ConfigError(
            f"{file} can be {' or '.join(f'{fit.format.name} ({fit.format.title})' for fit in chosen)}: "
            f"the content is the same. {' '.join(sorted(questions)) or 'Which is it?'} "
            f"Say it with {' or '.join(f'--format {fit.format.name}' for fit in chosen)} (format=...)"
        )
    if chosen:
        return _recognised(file, sample, chosen[0])
    if wanted is not None:
        (record,) = known
        raise ConfigError(f"{file} is no {record.title}: {_unlike(record, sample)}")
    if failed:
        reasons = [f"{each.title}, but {_unlike(each, sample)}" for each in failed]
        raise ConfigError(f"{file} has the columns of {'; of '.join(reasons)}")
    return _generic(file, sample)


def _fit(record: Format, sample: TextSample, *, is_said: bool) -> _Fit | None:
    form = _form(record, sample)
    is_unnamed = record.needs_name and not is_said and not record.found_in_name(sample.file.leaf)
    if form is None or is_unnamed:
        return None
    by, table = form
    if table is not None and record.test is not None:
        if not _holds(record, Table(tuple(name.lower() for name in table.names), sample.rows)):
            return None
        if record.test_says:
            by += f"; {record.test_says}"
    return _Fit(record, by, table, record.header_length(sample.header))


def _holds(record: Format, table: Table) -> bool:
    assert record.test is not None
    width = len(table.names)
    whole = Table(table.names, [row for row in table.rows if len(row) == width])
    return len(whole) > 0 and record.test(whole)


def _form(record: Format, sample: TextSample) -> tuple[str, TableForm | None] | None:
    """Return by what a format's columns are found in a file, and how it is written; None if they are not."""
    if record.lines is not None:
        lines = sample.lines[:_DELIMITER_ROWS]
        return ("its lines", None) if lines and record.lines(lines) else None
    if record.delimiter and sample.delimiter != record.delimiter:
        return None
    if sample.has_header:
        if not record.header_length(sample.header):
            return None
        columns = sample.names if record.names_of is None else record.names_of(sample.names, sample.rows)
        if record.shapes and sample.rows and len(sample.rows[0]) > len(columns):
            # A header line may lack a name; the shape of the rows has it.
            columns = record.shape_of(sample.rows) or columns
        shown = ",".join(sample.names)
        by = f"its header {shown if len(shown) <= 60 else shown[:57] + '...'}"
        return by, TableForm(sample.delimiter, columns, sample.skipped + record.skipped_lines)
    names = record.shape_of(sample.rows) if sample.rows else None
    if names is None:
        return None
    count = f"{len(sample.rows):,} rows" if len(sample.rows) > 1 else "one row"
    by = f"the shape of its {count} without a header"
    return by, TableForm(sample.delimiter, names, sample.skipped)


def _unlike(record: Format, sample: TextSample) -> str:
    """Return why a file is not of a format."""
    if record.lines is not None:
        return "its lines are others"
    if record.test_says and _form(record, sample):
        return f"not {record.test_says}"
    if sample.has_header:
        return f"its header is {','.join(sample.names)[:200]}"
    row = sample.delimiter.join(sample.rows[0])[:200] if sample.rows else "(none)"
    return f"its first row is {row}"


def _recognised(file: ForeignFile, sample: TextSample, fit: _Fit) -> Recognised:
    record = fit.format
    told = record.found_in_name(file.leaf) or _outer(record, file)
    symbol = told.get("symbol", "")
    if record.symbol_of is not None and sample.lines:
        symbol = record.symbol_of(sample.lines)
    by = f"{fit.by}, after a first line {sample.preamble}" if sample.preamble else fit.by
    is_fixed = _is_fixed(record, sample, fit)
    return Recognised(file, record, by, fit.form, symbol, told.get("interval", ""), told.get("venue", ""), is_fixed)


def _is_fixed(record: Format, sample: TextSample, fit: _Fit) -> bool:
    """Return whether the scaled columns of a format are whole numbers."""
    if not record.scales or fit.form is None:
        return False
    names = tuple(name.lower() for name in fit.form.names)
    table = Table(names, [row for row in sample.rows if len(row) == len(names)])
    columns = [record.columns[field] for field in record.scales]
    return not any("." in text for name in columns if name in table for text in table.texts(name))


def _outer(record: Format, file: ForeignFile) -> Mapping[str, str]:
    """Return what the name of the archive tells, where the member's own name tells nothing."""
    for part in reversed(file.name.split("!")[:-1]):
        if told := record.found_in_name(part.replace("\\", "/").rpartition("/")[2]):
            return told
    return {}


# Tables of no known venue --------------------------------------------------------------------------------------

#: The plain words for tables, and the fields that show each.
_GENERIC: Final[dict[str, tuple[ColumnLayout, tuple[tuple[str, ...], ...]]]] = {
    "candles": (bars.LAYOUT, (("time", "open", "high", "low", "close"),)),
    "trades": (rows.TRADES, (("time", "price", "qty", "side"), ("time", "price", "qty", "is_buyer_maker"))),
    "tickers": (rows.TICKERS, (("time", "bid", "ask"),)),
}
#: Names that only one content has.
_TELLING: Final = {
    "funding": ("funding_rate", "fundingrate", "last_funding_rate", "realized_rate"),
    "marks": ("mark_price", "markprice", "mark_px"),
}


def generic(word: str) -> Format:
    """Return the record of a plain word of tables, whose columns are found by their names."""
    holds = {"candles": "candle", "trades": "trade", "tickers": "ticker", "marks": "mark", "funding": "funding"}[word]
    return Format(name=word, title=f"a table of {word}", holds=holds)


def _generic(file: ForeignFile, sample: TextSample) -> Recognised:
    """Return what a table of no known venue is, by the names of its columns.

    Raises:
        ConfigError: They do not tell, or there are none.
    """
    if sample.lines and sample.lines[0][:1] in (b"{", b"["):
        shown = sample.lines[0][:120].decode(errors="replace")
        raise ConfigError(
            f"{file} is JSON of no known kind, beginning with {shown}; write it as CSV, or say that it is a capture: "
            "--format okx/ws-raw (format=...)"
        )
    if not sample.has_header and (dump := _dump(file, sample)) is not None:
        return dump
    if not sample.has_header:
        row = sample.delimiter.join(sample.rows[0])[:120] if sample.rows else ""
        raise ConfigError(
            f"{file} is of no known format: it has no header line, and its rows are like {row}; "
            "say what it holds: --format candles, trades, tickers, marks or funding (format=...)"
        )
    normal = {normalised(name) for name in sample.names}
    found = [
        word
        for word, (layout, choices) in _GENERIC.items()
        if any(all(set(layout.spellings[field]) & normal for field in fields) for fields in choices)
    ]
    found += [word for word, names in _TELLING.items() if set(names) & normal]
    if len(found) != 1:
        names = ", ".join(sample.names)[:200]
        raise ConfigError(
            f"{file} is of no known format; its columns are {names}. What does it hold? "
            "Say it with --format candles, trades, tickers, marks or funding (format=...)"
        )
    return Recognised(file, generic(found[0]), f"its columns {', '.join(islice(sample.names, 8))}")


#: Candles without a header, in the order that their prices show.
DUMP: Final = Format(
    name="plain/candles",
    title="candles without a header",
    holds="candle",
    columns={name: name for name in ("time", "open", "high", "low", "close", "volume")},
    notes=(
        "the order of the columns was told by the prices; the volume was taken as coins, or contracts of a contract",
    ),
    last_is_open=True,
)
_DUMP_WIDTHS: Final = (5, 6)


def _dump(file: ForeignFile, sample: TextSample) -> Recognised | None:
    """Return rows of a stamp, four prices and perhaps a volume as candles, if their prices show which is which."""
    width = len(sample.rows[0]) if sample.rows else 0
    prices = " ".join(f"p{place}:number" for place in range(4))
    shapes = (f"time:stamp {prices}", f"time:stamp {prices} volume:any")
    if (
        width not in _DUMP_WIDTHS
        or Format(name="", title="", holds="none", shapes=shapes).shape_of(sample.rows) is None
    ):
        return None
    rows = sorted(sample.rows, key=lambda row: int(row[0]))
    order = price_order([[float(cell) for cell in row[1:5]] for row in rows])
    if order is None:
        return None
    names = ("time", *order, "volume")[:width]
    by = f"its {len(rows):,} rows of a stamp and {', '.join(order)}"
    return Recognised(file, DUMP, by, TableForm(sample.delimiter, names, sample.skipped))


def of_schema(file: ForeignFile, formats: Iterable[Format], *, wanted: str | None = None) -> Recognised:
    """Return what a Parquet or Feather table is, by the names of its columns.

    Raises:
        ConfigError: They do not tell, or are not those of the format that the user names.
        ParseError: The file is damaged.
    """
    names, said = TableFile(file, bars.LAYOUT, None).schema()
    found = _by_names(file, names, formats, "arrow", wanted)
    if found is None:
        return _generic(file, TextSample(file, (",".join(names) + "\n").encode()))
    record = found.format
    if record.told_by is None:
        return found
    symbol, interval = record.told_by(said)
    return found._replace(symbol=symbol or found.symbol, interval=interval or found.interval)


def of_array(
    file: ForeignFile, names: Sequence[str], formats: Iterable[Format], *, wanted: str | None = None
) -> Recognised:
    """Return what an array of numpy is, by the names of its fields.

    Raises:
        ConfigError: It is none that is known, or not of the format that the user names.
    """
    found = _by_names(file, names, formats, "array", wanted)
    if found is None:
        raise ConfigError(f"{file} is an array of {', '.join(names)[:200]}, which is of no known format")
    return found


def _by_names(
    file: ForeignFile, names: Sequence[str], formats: Iterable[Format], container: str, wanted: str | None
) -> Recognised | None:
    """Return what the names of columns show, None where no record has them.

    Raises:
        ConfigError: The format that the user names has not these columns.
    """
    fits: list[tuple[int, bool, Format, tuple[str, ...]]] = []
    for each in formats:
        columns = tuple(names) if each.names_of is None else each.names_of(tuple(names), [])
        length = each.header_length(tuple(name.lower() for name in columns))
        is_named = wanted is not None or not each.needs_name or bool(each.found_in_name(file.leaf))
        if each.container == container and length and is_named and each.name == (wanted or each.name):
            fits.append((length, each.needs_name, each, columns))
    if not fits and wanted is not None:
        raise ConfigError(f"{file} is not of {wanted}: its columns are {', '.join(names)[:200]}")
    if not fits:
        return None
    _, _, record, columns = max(fits, key=lambda fit: (fit[1], fit[0]))
    told = record.found_in_name(file.leaf)
    form = TableForm(",", columns, 0)
    by = f"its columns {', '.join(islice(names, 8))}"
    return Recognised(file, record, by, form, told.get("symbol", ""), told.get("interval", ""), told.get("venue", ""))
