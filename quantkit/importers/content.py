"""Foreign content by its first bytes, where no importer can read it."""

import re
from collections.abc import Sequence
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers.archives import DAMAGE, ForeignFile

_HEAD_BYTES: Final = 4096
#: Beginnings of files, what they are, and what to do.
_FOREIGN: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PK\x03\x04", "an Excel or npz file", "write it as CSV or Parquet"),
    (b"BZh", "packed with bzip2", "unpack it first: bunzip2"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it first: unxz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the files inside"),
    (b"Rar!", "a rar archive", "unpack it and name the files inside"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save it as CSV"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet: pandas.read_hdf(...).to_parquet(...)"),
    (b"\x93NUMPY", "a numpy array", "write it as CSV or Parquet with named columns"),
    (b"SQLite format 3", "an SQLite database", "write the table as CSV or Parquet"),
    (b"\x80\x02", "a Python pickle", "write it as Parquet: frame.to_parquet(...)"),
    (b"\x80\x03", "a Python pickle", "write it as Parquet: frame.to_parquet(...)"),
    (b"\x80\x04", "a Python pickle", "write it as Parquet: frame.to_parquet(...)"),
    (b"\x80\x05", "a Python pickle", "write it as Parquet: frame.to_parquet(...)"),
    (b"DBN", "a Databento DBN file", "write it as CSV or Parquet with their client: to_csv(...)"),
    (b"Obj\x01", "an Avro file", "write it as CSV or Parquet"),
    (b"ORC", "an ORC file", "write it as CSV or Parquet"),
    (b"%PDF", "a PDF document", "download the data themselves"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
)
_TABLES: Final = (b"PAR1", b"ARROW1", b"FEA1")
_HTML: Final = re.compile(rb"\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE).match
_JSON: Final = re.compile(rb"\s*(?:\{|\[\s*[\[{])").match


def check_content(files: Sequence[ForeignFile], *, is_table: bool) -> None:
    """Refuse files that are neither tables nor text, and tables where captures are wanted, before any row is read.

    Args:
        files: The files.
        is_table: Whether tables are wanted, or lines of a capture.

    Raises:
        ConfigError: It names the file, what it is, and what to do.
    """
    for file in files:
        head = head_of(file)
        found = foreign(head) or _other(head, is_table=is_table)
        if found is not None:
            what, remedy = found
            raise ConfigError(f"{file} is {what}; {remedy}")


def head_of(file: ForeignFile) -> bytes:
    """Return the first bytes of a file; of a damaged one what can be read."""
    with file.opened() as (stream, _):
        try:
            return stream.read(_HEAD_BYTES)
        except DAMAGE:
            return b""  # the reading itself tells of damage, with what could be read before it


def is_arrow_table(head: bytes) -> bool:
    """Return whether a file is Parquet or Feather."""
    return head.startswith(_TABLES)


def foreign(head: bytes) -> tuple[str, str] | None:
    """Return what a file is that nobody reads here, and what to do; None of others."""
    if is_arrow_table(head):
        return None
    for beginning, what, remedy in _FOREIGN:
        if head.startswith(beginning):
            return what, remedy
    if _HTML(head):
        return "a web page, not the data", "download the data again"
    if re.match(rb"(?i)exceeded the daily hits limit", head):
        return "stooq's refusal (its daily limit is exceeded), not the data", "download the data again tomorrow"
    if b"MetaQuotes" in head[:200]:
        return "MetaTrader's own history (hst or fxt)", "export it as CSV"
    if len(head) > 1 and all(head[:200:2]) and not any(head[1:200:2]):
        return "text in UTF-16", "save it as UTF-8"
    if b"\0" in head:
        return "binary and of no known kind", "give CSV, Parquet, Feather or captured lines"
    return None


def _other(head: bytes, *, is_table: bool) -> tuple[str, str] | None:
    if is_arrow_table(head) and not is_table:
        return "a Parquet or Feather table, no capture", "import it as candles, trades, tickers, marks or funding"
    if is_table and _JSON(head):
        return "JSON, no table", "write it as CSV or Parquet, or import it as okx/ws-raw if it holds OKX's frames"
    return None
