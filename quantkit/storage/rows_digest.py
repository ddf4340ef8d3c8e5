"""One digest for the rows of a stream, however they are spread over files and row groups."""

import hashlib

import numpy as np

from quantkit.rows.columns import KIND_COLUMNS, Block, Column, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks

#: What of the stamps belongs to a row; `seq` counts within a file and is the order of the rows already.
_STAMPS = ("received_ns", "exchange_ns")


class RowsDigest:
    """Takes rows in their order, in blocks of any size.

    Each column has a digest of its own, so that the place where one block ends and the next begins leaves no trace.

    Args:
        stream: Whose rows they are.
    """

    def __init__(self, stream: Stream) -> None:
        self.rows = 0
        self._stream = stream
        self._columns = {name: hashlib.sha256() for name in (*_STAMPS, *KIND_COLUMNS[stream.kind])}

    def add(self, block: Block) -> None:
        """Take rows that follow on."""
        self.rows += block.size
        for name, digest in self._columns.items():
            values = block.column(name)
            if name.endswith("_start"):
                values = np.diff(values)  # how many levels each row has: offsets depend on the block
            digest.update(_bytes_of(values))

    def hexdigest(self) -> str:
        """Return the digest of the stream's name, its columns and the number of its rows."""
        whole = hashlib.sha256(f"{self._stream}\n{self.rows}\n".encode())
        for name, digest in self._columns.items():
            whole.update(f"{name} {digest.hexdigest()}\n".encode())
        return whole.hexdigest()


def rows_digest(catalog: Catalog, stream: Stream, start_ns: int, end_ns: int) -> str:
    """Return the digest of a stream's rows in a span, SHA-256 in hex.

    Equal rows in equal order give equal digests: after a compaction, from a download and an import, from two stores.

    Args:
        catalog: Where the rows lie.
        stream: Any of market data.
        start_ns, end_ns: First and last `received_ns`, both included.

    Raises:
        DataError: A file is missing or damaged.
    """
    digest = RowsDigest(stream)
    for block in read_blocks(catalog, stream, start_ns=start_ns, end_ns=end_ns):
        digest.add(block)
    return digest.hexdigest()


def _bytes_of(values: Column) -> bytes:
    if values.dtype == object:
        texts = [str(text).encode() for text in values.tolist()]
        return b"".join(b"%d:%b" % (len(text), text) for text in texts)
    if values.dtype == np.float64:
        # Every NaN is an absent value, whatever its bits; minus zero is zero.
        values = np.where(np.isnan(values), np.nan, values + 0.0)
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
