"""Databento's DBN files as their own CSV, written by their own decoder."""

import importlib
from pathlib import Path
from typing import Any, Final

from quantkit.errors import ConfigError, DataError
from quantkit.importers.archives import ForeignFile

_READ_BYTES: Final = 1 << 20
_MARK: Final = b"DBN"


def is_dbn(head: bytes) -> bool:
    """Return whether a file begins like Databento's own format."""
    return head.startswith(_MARK)


def write_table(file: ForeignFile, path: Path) -> ForeignFile:
    """Write a DBN file as CSV, and return that table under its name.

    Raises:
        ConfigError: The decoder is not installed.
        DataError: The file is damaged or of a kind that the decoder does not know.
    """
    try:
        # Only who has such files needs it.
        dbn: Any = importlib.import_module("databento_dbn")
    except ImportError:
        raise ConfigError(
            f"{file} is a Databento DBN file; pip install 'quantkit[databento]' reads it, or write it as CSV: "
            "databento.DBNStore.from_file(...).to_csv(...)"
        ) from None
    try:
        with file.opened() as (stream, _), path.open("wb") as table:
            part = stream.read(_READ_BYTES)
            # Without a mapping the column of symbols would be empty.
            has_symbols = bool(dbn.Metadata.decode(part).mappings)
            transcoder = dbn.Transcoder(
                table, dbn.Encoding.CSV, dbn.Compression.NONE, pretty_px=False, pretty_ts=False, map_symbols=has_symbols
            )
            while part:
                transcoder.write(part)
                part = stream.read(_READ_BYTES)
            transcoder.flush()
            left = bytes(transcoder.buffer())
    except dbn.DBNError as error:
        raise DataError(f"{file} cannot be decoded as DBN ({error}); download it again") from None
    if left:
        raise DataError(f"{file} ends inside a record; download it again")
    return ForeignFile.of(path).renamed(file.name)
