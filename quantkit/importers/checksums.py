"""Checksum files beside archives, as Binance publishes them: `<sha256>  <name>`."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quantkit.errors import ConfigError, DataError
from quantkit.importers.report import Tally

_SUFFIX: Final = ".CHECKSUM"
_LINE: Final = re.compile(r"([0-9a-fA-F]{64})(?:\s+\*?(\S+))?\s*").fullmatch
_LINE_BYTES: Final = 4096


def verified(paths: Sequence[Path], tally: Tally) -> list[Path]:
    """Return the data files among some paths, each held against the checksum file beside it where there is one.

    Raises:
        DataError: A file does not match its checksum, or a checksum file holds none.
        ConfigError: There are only checksum files.
    """
    files = [path for path in paths if not path.name.endswith(_SUFFIX)]
    if not files:
        raise ConfigError(f"{paths[0]} is a checksum and no data; name the file beside it")
    for path in files:
        sidecar = path.with_name(path.name + _SUFFIX)
        if sidecar.is_file():
            _verify(path, sidecar)
            tally.check("SHA-256 of files with a checksum beside them")
    return files


def _verify(path: Path, sidecar: Path) -> None:
    with sidecar.open("rb") as stream:
        match = _LINE(stream.read(_LINE_BYTES).decode("utf-8", "replace"))
    if match is None:
        raise DataError(f"{sidecar} holds no SHA-256; download it again, or remove it")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != match[1].lower():
        raise DataError(
            f"{path} is not the file that {sidecar.name} was made of: its SHA-256 is {digest}; download both again"
        )
