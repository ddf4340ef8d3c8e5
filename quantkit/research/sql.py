"""Questions in SQL about a data folder, answered by DuckDB: a view of each kind, nothing written, nothing else read."""

import re
from decimal import Decimal
from typing import Any, Final

from quantkit.clock import iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.storage.catalog import Catalog as StoredCatalog
from quantkit.storage.dataset import dataset_of
from quantkit.storage.root import first_line
from quantkit.storage.schema import TABLES

#: What a question may be made of: no statement that writes, loads or sets anything.
_ASKING: Final = ("SELECT", "EXPLAIN")


def sql(catalog: StoredCatalog, question: str) -> Any:
    """Return the answer to a question in SQL as a `pyarrow.Table`.

    The views are named as the kinds (`trade`, `candle`, `book`, ...) and hold the rows of the files that the manifest
    lists, with a column `instrument` (candles: `interval` too). Files whose instrument or interval the question
    excludes are not opened, and columns that it does not name are not read.

    Args:
        catalog: The data folder.
        question: One `select`, or `describe` or `show tables`.

    Raises:
        ConfigError: DuckDB is not installed, or the question is no `select` that it understands.
        DataError: A file cannot be read.
    """
    try:
        import duckdb
    except ImportError:
        raise ConfigError("DuckDB is not installed; pip install 'quantkit[sql]'") from None
    settings: dict[str, Any] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        try:
            connection.execute("set timezone = 'UTC'")
            statements = connection.extract_statements(question)
            asked = [statement.type.name for statement in statements]
            if len(asked) != 1 or asked[0] not in _ASKING or _runs_what_it_explains(question, asked[0]):
                raise ConfigError(f"one select is answered, nothing else; given is {', '.join(asked) or 'nothing'}")
            for kind in TABLES:
                # What is not named in the question costs nothing.
                if re.search(rf"(?i)\b({kind}|show)\b", question):
                    held = [entry for entry in catalog.entries if entry.kind == kind]
                    if held:
                        connection.register(kind, dataset_of(catalog.root, kind, held))
            connection.execute("set lock_configuration = true")
            return connection.sql(question).to_arrow_table()
        except duckdb.Error as error:
            kinds = sorted({entry.kind for entry in catalog.entries})
            hint = f"; there is {', '.join(kinds)}" if isinstance(error, duckdb.CatalogException) else ""
            raise ConfigError(f"the question is not answered: {first_line(error)}{hint}") from None
        except OSError as error:
            raise DataError(f"{catalog.root}: cannot be read: {first_line(error)}") from error


def _runs_what_it_explains(question: str, asked: str) -> bool:
    return asked == "EXPLAIN" and not re.fullmatch(r"(?is)\s*explain\s+(analyze\s+)?(select|with|from)\b.*", question)


def plain_rows(table: Any) -> list[dict[str, Any]]:
    """Return an answer's rows as records of plain values: stamps as ISO text, whole numbers as such."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for field in table.schema:
        values = table.column(field.name)
        if pa.types.is_timestamp(field.type):
            stamps = values.cast(pa.timestamp("ns", field.type.tz)).cast(pa.int64()).to_pylist()
            columns[field.name] = [None if stamp is None else iso_of(stamp) for stamp in stamps]
        elif pa.types.is_decimal(field.type):
            columns[field.name] = [_number(value) for value in values.to_pylist()]
        else:
            columns[field.name] = values.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
