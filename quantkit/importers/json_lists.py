"""Lists of lists of numbers, as ccxt, freqtrade, jesse and Coinbase write candles, as tables without a header."""

import re
from pathlib import Path
from typing import Final

import msgspec

from quantkit.errors import ConfigError, ParseError
from quantkit.importers.archives import ForeignFile

#: A hundred years of daily candles or five of minutes; more is no file that anybody writes as one list.
_BYTES_MAX: Final = 256 << 20
_READ_BYTES: Final = 1 << 20
_LIST: Final = re.compile(rb"\s*\[\s*\[\s*[0-9]").match
_rows: Final = msgspec.json.Decoder(list[list[msgspec.Raw]])


def is_list(head: bytes) -> bool:
    """Return whether a file begins like a list of lists of numbers."""
    return _LIST(head) is not None


def write_table(file: ForeignFile, path: Path) -> ForeignFile:
    """Write the rows of a list as CSV, one a line, in the digits of the file; return that table under its name.

    Raises:
        ConfigError: The list is too large to be read at once.
        ParseError: It is no such list.
    """
    parts: list[bytes] = []
    have = 0
    with file.opened() as (stream, _):
        while part := stream.read(_READ_BYTES):
            parts.append(part)
            have += len(part)
            if have > _BYTES_MAX:
                raise ConfigError(f"{file} is one list of more than {_BYTES_MAX:,} bytes; write it as CSV")
    try:
        rows = _rows.decode(b"".join(parts))
    except msgspec.DecodeError as error:
        raise ParseError(f"the list is no JSON of rows: {error}", where=file.name) from None
    with path.open("wb") as table:
        for row in rows:
            cells = (bytes(cell).strip(b'"') for cell in row)
            table.write(b",".join(b"" if cell == b"null" else cell for cell in cells) + b"\n")
    return ForeignFile.of(path).renamed(file.name)
