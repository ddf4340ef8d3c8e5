"""Lines of foreign files: numbered, counted, with damage as a counted row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from quantkit.errors import ConfigError, ParseError
from quantkit.importers.archives import DAMAGE, ForeignFile, Unpacker
from quantkit.importers.report import Progress, Tally

__all__ = ["DAMAGE", "LINE_BYTES_MAX", "existing", "first_lines", "numbered_lines", "opened"]

_PROGRESS_LINES: Final = 8192
#: No table or capture has a longer line: a book of 5,000 levels takes 0.3 MB.
LINE_BYTES_MAX: Final = 16 << 20


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
    """Open one file, unpacked if its content is packed.

    Yields:
        The unpacked bytes, and the file itself, whose position tells how far reading has come.

    Raises:
        ConfigError: It cannot be read, or holds several files.
    """
    with Unpacker() as unpacker:
        files = unpacker.unpacked([path]).files
        if len(files) != 1:
            raise ConfigError(f"{path} is an archive of {len(files)} files; unpack it and name the one that is meant")
        with files[0].opened() as streams:
            yield streams


def numbered_lines(file: ForeignFile, tally: Tally, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line without its end) of every line that is not blank, counting them as rows read.

    A damaged or cut file yields what can be unpacked; the rest counts as one skipped row.

    Raises:
        ParseError: A line is longer than any that is data.
    """
    number = 0
    with file.opened() as (stream, raw):
        try:
            for line in _lines(stream):
                number += 1
                if progress is not None and number % _PROGRESS_LINES == 0:
                    progress(file.name, raw.tell(), file.packed)
                if len(line) == LINE_BYTES_MAX:
                    raise ParseError(f"the line has more than {LINE_BYTES_MAX:,} bytes", where=f"{file}:{number}")
                text = line.strip()
                if text:
                    tally.rows_read += 1
                    yield number, text
        except DAMAGE:
            tally.rows_read += 1
            tally.skip(file.name, number + 1, "", "the compressed file is damaged or ends early")
    if progress is not None:
        progress(file.name, file.packed, file.packed)


def first_lines(file: ForeignFile, count: int) -> list[bytes]:
    """Return up to `count` lines from the start of a file, without judging them."""
    lines: list[bytes] = []
    with file.opened() as (stream, _):
        try:
            for line in _lines(stream):
                if line.strip():
                    lines.append(line.strip())
                if len(lines) == count:
                    break
        except DAMAGE:
            pass
    return lines


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.readline, LINE_BYTES_MAX), b"")
