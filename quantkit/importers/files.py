"""Opening foreign files: gzip by content, numbered lines, damage as a counted row."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from quantkit.errors import ConfigError
from quantkit.importers.report import Progress, Tally

_GZIP: Final = b"\x1f\x8b"
_PROGRESS_LINES: Final = 8192
#: What reading a damaged or cut gzip file raises.
DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile)


def existing(files: Sequence[str | Path]) -> list[Path]:
    """Return the files as paths.

    Raises:
        ConfigError: There are none, or one is missing or no file.
    """
    if not files:
        raise ConfigError("nothing to import; name at least one file")
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; name files to import")
    repeated = {path for path in paths if paths.count(path) > 1}
    if repeated:
        raise ConfigError(f"{min(repeated)} is named more than once; name each file once")
    return paths


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file, unpacked if its content is gzip.

    Yields:
        The unpacked bytes, and the file itself, whose position tells how far reading has come.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    with raw:
        head = raw.read(len(_GZIP))
        raw.seek(0)
        if head != _GZIP:
            yield raw, raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield cast(BinaryIO, unpacked), raw


def numbered_lines(path: Path, tally: Tally, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line without its end) of every line that is not blank, counting them as rows read.

    A damaged or cut gzip file yields what can be unpacked; the rest counts as one skipped row.
    """
    total = path.stat().st_size
    number = 0
    with opened(path) as (stream, raw):
        try:
            for line in stream:
                number += 1
                if progress is not None and number % _PROGRESS_LINES == 0:
                    progress(str(path), raw.tell(), total)
                text = line.strip()
                if text:
                    tally.rows_read += 1
                    yield number, text
        except DAMAGE:
            tally.rows_read += 1
            tally.skip(str(path), number + 1, "", "the compressed file is damaged or ends early")
    if progress is not None:
        progress(str(path), total, total)


def first_lines(path: Path, count: int) -> list[bytes]:
    """Return up to `count` lines from the start of a file, without judging them."""
    lines: list[bytes] = []
    with opened(path) as (stream, _):
        try:
            for line in stream:
                if line.strip():
                    lines.append(line.strip())
                if len(lines) == count:
                    break
        except DAMAGE:
            pass
    return lines
