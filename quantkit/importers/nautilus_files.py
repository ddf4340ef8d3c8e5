"""NautilusTrader's files of instruments: steps, sizes of contracts and currencies of what its catalog holds."""

from typing import Any

from quantkit.errors import ConfigError, ParseError
from quantkit.importers.intake import Intake
from quantkit.importers.namer import Namer
from quantkit.importers.recognition import Recognised
from quantkit.importers.record_tables import Said
from quantkit.importers.report import Progress
from quantkit.instruments import Instrument


def read_instruments(each: Recognised, intake: Intake, namer: Namer, said: Said, progress: Progress | None) -> None:
    """Take the instruments of a file as metadata of the rows beside it; the newest version counts.

    Raises:
        ParseError: A row is no instrument.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with each.file.on_disk() as path:
        try:
            rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
        except pa.ArrowException as error:
            raise ParseError("the file cannot be read", where=each.file.name) from error
    record = each.format
    assert record.instrument is not None
    for number, row in enumerate(rows, 1):
        intake.tally.rows_read += 1
        named = record.instrument(str(row["id"]))
        try:
            instrument = Instrument(
                namer.of_symbol(record, str(row["id"]), each),
                kind=named.fields.get("kind", "spot"),
                base=row.get("base_currency"),
                quote=row.get("quote_currency"),
                settle=row.get("settlement_currency"),
                price_step=row["price_increment"],
                qty_step=row["size_increment"],
                contract_value=row.get("multiplier") or "1",
                is_inverse=bool(row.get("is_inverse")),
            )
        except (ConfigError, KeyError) as error:
            raise ParseError(f"the instrument cannot be read: {error}", where=f"{each.file.name}:{number}") from None
        intake.listed[instrument.id] = instrument
