"""A database as a feed: what `quantkit data export` brought there."""

from collections.abc import Iterable, Iterator

from quantkit.feeds.replay import HeldRows
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.stored import StoredMarket
from quantkit.storage.reader import BLOCK_ROWS


class DatabaseFeed(HeldRows):
    """Rows from PostgreSQL or TimescaleDB.

    Args:
        address: `postgresql://user@host:port/name`; the password comes from `PGPASSWORD` or `~/.pgpass`.
        instruments, block_rows: See `StoredRows`.

    Raises:
        ConfigError: psycopg is not installed, or the address cannot be read.
        DataError: The server cannot be reached, or holds nothing of ours.
    """

    def __init__(self, address: str, *, instruments: Iterable[Instrument] = (), block_rows: int = BLOCK_ROWS) -> None:
        self._market = StoredMarket(Database(address))
        super().__init__(self._market, instruments=instruments, block_rows=block_rows)

    def _read(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        return self._market.blocks(stream, start_ns, end_ns, self._block_rows)
