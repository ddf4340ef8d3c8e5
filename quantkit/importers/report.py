"""The account of an import: each row read is written, skipped with a reason, or ignored by a named rule."""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from quantkit.errors import ParseError

#: How many skipped rows a report shows in full.
SHOWN_ROWS: Final = 20
_SHOWN_CHARS: Final = 200

#: Called with a file's name, the bytes read of it and its size.
Progress: TypeAlias = Callable[[str, int, int], None]


class SkippedRow(msgspec.Struct, frozen=True):
    """One row that could not be understood.

    Attributes:
        file: As given.
        line: Counts from 1; in a text file the line, in Parquet and Feather the row.
        text: Its beginning.
        why: What is wrong with it.
    """

    file: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.why}: {self.text}" if self.text else f"{self.file}:{self.line}: {self.why}"
        )


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of `import_files`.

    Attributes:
        format: Of the files.
        files: In the order in which they were read.
        rows_read: Table rows, or lines of captures.
        rows_written: Rows stored, by the stream's name, for example `BTC-USDT trade`.
        skipped: How many rows could not be understood; `skipped_rows` holds the first 20 of them.
        ignored: Rows left out by a rule, counted by the rule's name.
        checked: Counts of verified checksums and sequence links.
        instruments: Where each instrument's metadata comes from: given, capture, stored or inferred.
        recognised: What each file was found to be, and by what, where nobody said it.
        received_shift_ns: Shift added to every receipt stamp, where the receiver's clock was behind.
        warnings: Sentences that the reader has to know.
    """

    format: str
    files: list[str]
    rows_read: int
    rows_written: dict[str, int]
    skipped: int
    skipped_rows: list[SkippedRow]
    ignored: dict[str, int]
    checked: dict[str, int]
    instruments: dict[str, str]
    received_shift_ns: int
    warnings: list[str]
    recognised: dict[str, str] = {}


class Tally:
    """Counts while an import runs.

    Args:
        is_strict: Whether the first row that cannot be understood is an error.
    """

    def __init__(self, *, is_strict: bool = False) -> None:
        self.is_strict = is_strict
        self.files: list[str] = []
        self.rows_read = 0
        self.skipped = 0
        self.skipped_rows: list[SkippedRow] = []
        self.ignored: dict[str, int] = {}
        self.checked: dict[str, int] = {}
        self.warnings: list[str] = []
        self.recognised: dict[str, str] = {}

    def skip(self, file: str, line: int, text: str, why: str) -> None:
        """Count a row that cannot be understood.

        Raises:
            ParseError: The import is strict.
        """
        row = SkippedRow(file, line, text[:_SHOWN_CHARS], why)
        if self.is_strict:
            raise ParseError(f"{why}: {row.text}" if row.text else why, where=f"{file}:{line}")
        self.skipped += 1
        if len(self.skipped_rows) < SHOWN_ROWS:
            self.skipped_rows.append(row)

    def set_aside(self, file: str, line: int, text: str, why: str) -> None:
        """Count a sound row that does not belong to this table."""
        self.skip(file, line, text, why)

    def refusals(self) -> str:
        """Return the beginning of an error after refused rows: their number, and the first of them."""
        if not self.skipped:
            return ""
        return f"{self.skipped:,} of {self.rows_read:,} rows were refused, the first {self.skipped_rows[0]}; "

    def ignore(self, rule: str, rows: int = 1) -> None:
        """Count rows that a rule leaves out."""
        if rows:
            self.ignored[rule] = self.ignored.get(rule, 0) + rows

    def check(self, what: str, count: int = 1) -> None:
        """Count a check that passed, or a finding."""
        if count:
            self.checked[what] = self.checked.get(what, 0) + count

    def warn(self, sentence: str) -> None:
        """Keep a sentence, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
