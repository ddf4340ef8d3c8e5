"""Arrays of numpy in files, plain or in an npz archive, read in blocks whatever their size."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError, DataError
from quantkit.importers.archives import DAMAGE, ForeignFile

_NPY: Final = b"\x93NUMPY"
_ZIP: Final = b"PK\x03\x04"
#: Rows that are read at once.
_ROWS: Final = 65_536
#: The name of the only array that is data; hftbacktest writes it so.
_DATA: Final = "data.npy"
#: What reading something else raises.
_NO_ARRAY: Final[tuple[type[Exception], ...]] = (ValueError, *DAMAGE)


def is_array(head: bytes) -> bool:
    """Return whether a file begins like an array of numpy, or like an archive of such."""
    # An archive that is no npz was taken apart before.
    return head.startswith(_NPY) or (head.startswith(_ZIP) and b".npy" in head[:300])


def fields_of(file: ForeignFile) -> tuple[str, ...]:
    """Return the names of an array's fields, none of one without names.

    Raises:
        ConfigError: The file is no such array.
    """
    with _opened(file) as (_, dtype, _size):
        return dtype.names or ()


def blocks(file: ForeignFile) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield an array in blocks, each with the number of its first row from 1.

    Raises:
        ConfigError: The file is no such array.
        DataError: It is damaged or ends early.
    """
    with _opened(file) as (stream, dtype, size):
        row = 0
        while row < size:
            count = min(_ROWS, size - row)
            try:
                content = stream.read(count * dtype.itemsize)
            except DAMAGE as error:
                raise DataError(f"{file} is damaged ({error}); write it again") from None
            if len(content) < count * dtype.itemsize:
                raise DataError(f"{file} ends after row {row + len(content) // dtype.itemsize:,} of {size:,}")
            yield row + 1, np.frombuffer(content, dtype)
            row += count


@contextmanager
def _opened(file: ForeignFile) -> Iterator[tuple[BinaryIO, np.dtype[Any], int]]:
    with _member(file).opened() as (stream, _):
        try:
            version = np.lib.format.read_magic(stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(stream)
        except _NO_ARRAY as error:
            raise ConfigError(f"{file} is no array of numpy: {error}") from None
        if len(shape) != 1 or dtype.hasobject:
            raise ConfigError(
                f"{file} is an array of numpy without named columns; write it as CSV or Parquet with named columns"
            )
        yield stream, dtype, shape[0]


def _member(file: ForeignFile) -> ForeignFile:
    """Return the array in an archive, or the file itself.

    Raises:
        ConfigError: The archive has several arrays and none is called `data`.
    """
    with file.on_disk() as path:
        if not zipfile.is_zipfile(path):
            return file
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    names = [member.filename for member in members]
    place = names.index(_DATA) if _DATA in names else 0
    if _DATA not in names and len(names) > 1:
        raise ConfigError(f"{file} holds several arrays ({', '.join(names)[:200]}), and none is called data")
    return file.inside("zip", place, names[place])
