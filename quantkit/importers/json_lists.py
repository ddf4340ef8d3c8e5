"""Lists in JSON as tables: lists of lists, as ccxt, freqtrade, jesse and Coinbase write candles, and of objects."""

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
_OBJECTS: Final = re.compile(rb"\s*\[\s*\{").match
#: Coinbase's answer; other answers are told by nobody.
_CANDLES: Final = re.compile(rb'\s*\{\s*"candles"\s*:\s*\[').match
_rows: Final = msgspec.json.Decoder(list[list[msgspec.Raw]])
_objects: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_candles: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_list(head: bytes) -> bool:
    """Return whether a file begins like a list of rows."""
    return any(begins(head) for begins in (_LIST, _OBJECTS, _CANDLES))


def write_table(file: ForeignFile, path: Path) -> ForeignFile:
    """Write the rows of a list as CSV, one a line, in the digits of the file; return that table under its name.

    Raises:
        ConfigError: The list is too large to be read at once.
        ParseError: It is no such list.
    """
    content = _content(file)
    try:
        table = _lists(content) if _LIST(content) else _records(content, file)
    except msgspec.DecodeError as error:
        raise ParseError(f"the list is no JSON of rows: {error}", where=file.name) from None
    with path.open("wb") as stream:
        stream.writelines(b",".join(cells) + b"\n" for cells in table)
    return ForeignFile.of(path).renamed(file.name)


def _content(file: ForeignFile) -> bytes:
    parts: list[bytes] = []
    have = 0
    with file.opened() as (stream, _):
        while part := stream.read(_READ_BYTES):
            parts.append(part)
            have += len(part)
            if have > _BYTES_MAX:
                raise ConfigError(f"{file} is one list of more than {_BYTES_MAX:,} bytes; write it as CSV")
    return b"".join(parts)


def _lists(content: bytes) -> list[list[bytes]]:
    return [[_cell(cell) for cell in row] for row in _rows.decode(content)]


def _records(content: bytes, file: ForeignFile) -> list[list[bytes]]:
    """Return objects as rows under a line of their names.

    Raises:
        ParseError: They have not the same names.
    """
    if _CANDLES(content):
        content = bytes(_candles.decode(content)["candles"])
    records = _objects.decode(content)
    names = list(records[0]) if records else []
    for place, record in enumerate(records, 1):
        if record.keys() != set(names):
            raise ParseError("the object has other fields than the first", where=f"{file.name}, object {place}")
    return [[name.encode() for name in names], *([_cell(record[name]) for name in names] for record in records)]


def _cell(raw: msgspec.Raw) -> bytes:
    """Return a value in its own digits; a nested one, a quote or a comma in it would be no cell.

    Raises:
        msgspec.DecodeError: It is nested, or a text that no cell holds.
    """
    text = bytes(raw)
    if text == b"null":
        return b""
    plain = text[1:-1] if text.startswith(b'"') else text
    if any(mark in plain for mark in (b",", b'"', b"\n", b"[", b"{")):
        raise msgspec.DecodeError(f"{plain[:40].decode(errors='replace')!r} is no value of a cell")
    return plain
