"""Where market data lie, as a command line names it: a data folder, a URI, or a database."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from quantkit.storage.catalog import Holdings
    from quantkit.storage.postgres.database import Database


def holdings_of(where: str) -> "Holdings":
    """Open a data folder or a database.

    Raises:
        ConfigError: The address cannot be read, or psycopg is missing.
        DataError: Nothing of ours is there, or it cannot be read.
    """
    from quantkit.storage.catalog import Catalog
    from quantkit.storage.places import is_database
    from quantkit.storage.postgres.stored import StoredMarket

    return StoredMarket(database_of(where)) if is_database(where) else Catalog(where)


def database_of(address: str) -> "Database":
    """Return the database of an address, and say what a password in it means.

    Raises:
        ConfigError: The address cannot be read, or psycopg is missing.
    """
    from quantkit.storage.postgres.database import Database

    database = Database(address)
    if database.has_password:
        click.echo(
            "quantkit: note: other users of this machine see a password on the command line (ps, history); give it by "
            "PGPASSWORD or ~/.pgpass",
            err=True,
        )
    return database
