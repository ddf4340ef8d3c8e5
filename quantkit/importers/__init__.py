"""Foreign files into a data folder: tables, and raw captures of OKX's and Binance's sockets."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers.report import ImportReport, Progress, SkippedRow
from quantkit.instruments import INSTRUMENT_KINDS, Instrument, decimal_of, plain

__all__ = ["FORMATS", "ImportReport", "Progress", "SkippedRow", "import_files"]

#: What can be imported, and what it looks like.
FORMATS: Final[dict[str, str]] = {
    "candles": "OHLCV bars in CSV, Parquet or Feather; the time is the bar's open",
    "trades": "public prints in CSV, Parquet or Feather; time, price, size and side or is_buyer_maker",
    "tickers": "best bid and ask in CSV, Parquet or Feather",
    "marks": "mark prices in CSV, Parquet or Feather",
    "funding": "settled funding rates in CSV, Parquet or Feather",
    "okx/ws-raw": "captures of OKX's public sockets: cryptofeed's raw files, or JSON lines",
    "binance/ws-raw": "captures of Binance's combined streams: `<receipt stamp> <JSON>` lines",
}


def import_files(
    format: str,  # noqa: A002  the command's own word
    files: Sequence[str | Path],
    *,
    to: str | Path,
    instrument: Instrument | str | None = None,
    instrument_file: str | Path | None = None,
    price_step: str | float | Decimal | None = None,
    qty_step: str | float | Decimal | None = None,
    contract_value: str | float | Decimal | None = None,
    kind: str | None = None,
    settle: str | None = None,
    quote: str | None = None,
    is_inverse: bool = False,
    interval: str | None = None,
    timezone: str | None = None,
    time_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    strict: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import foreign files; everything is stored together at the end, or nothing is.

    A row that cannot be understood is skipped, counted and shown with its line number. Where the exchange's clock runs
    ahead of the receiver's, one constant is added to every receipt stamp, so that the smallest latency is 1 ms.

    Args:
        format: One of `FORMATS`.
        files: Files of one instrument (tables) or of one capture; gzip is told by content.
        to: The data directory, made when it is not there.
        instrument: The instrument or its id. Tables need it unless they name it; of an OKX capture it is the one to
            keep, of a Binance capture the name of its only symbol.
        instrument_file: OKX's `public/instruments` reply, or a JSON list of `Instrument.to_dict()`.
        price_step, qty_step, contract_value, kind, settle, quote, is_inverse: The instrument's fields, as in
            `Instrument`; steps that nobody gives are inferred from the data.
        interval: Of candles; default the most common step.
        timezone: Of times that carry none, for example `UTC` or `Europe/Berlin`; also of the clock that days and other
            bars of two hours and more may follow.
        time_format: Format of times that are not understood otherwise: `%d.%m.%Y %H:%M`, as for `strptime`, or the
            unit of epoch numbers (`s`, `ms`, `us`, `ns`). A column of days beside one of times of day is read as one.
        columns: Field to column, where a table's names are not understood: `{"time": "when"}`.
        only: Ids of a capture's instruments to keep.
        strict: Stop at the first row that cannot be understood.
        replace: Put the rows in the place of stored ones of the same stream and span.
        progress: Called with the file, the bytes read and the bytes in all.

    Returns:
        What was read, written, skipped and ignored.

    Raises:
        ConfigError: A file, the format, a column, the time zone, the interval or the instrument has to be said.
        ParseError: A file is damaged, or `strict` met a row that cannot be understood.
        DataError: Nothing could be read, or it overlaps stored rows and `replace` is off.
    """
    # pyarrow comes with these; `import quantkit.importers` must not load it.
    from quantkit.importers.binance import import_binance
    from quantkit.importers.candles import import_candles
    from quantkit.importers.content import check_content
    from quantkit.importers.files import existing
    from quantkit.importers.intake import Intake
    from quantkit.importers.metadata import InstrumentOptions, read_instruments
    from quantkit.importers.okx import import_okx
    from quantkit.importers.report import Tally
    from quantkit.importers.rows import import_rows
    from quantkit.importers.times import TimeFormat, zone_of

    if format not in FORMATS:
        raise ConfigError(f"format {format!r} is not known; use one of {', '.join(FORMATS)}")
    if kind is not None and kind not in INSTRUMENT_KINDS:
        raise ConfigError(f"kind {kind!r} is not known; use one of {', '.join(INSTRUMENT_KINDS)}")
    paths = existing([files] if isinstance(files, str | Path) else files)
    is_table = not format.endswith("/ws-raw")
    check_content(paths, is_table=is_table)
    zone = zone_of(timezone)
    written = None if time_format is None else TimeFormat(time_format)
    given = instrument if isinstance(instrument, Instrument) else None
    instrument_id = instrument.id if isinstance(instrument, Instrument) else instrument
    options = InstrumentOptions(
        instrument=given,
        price_step=_text(price_step),
        qty_step=_text(qty_step),
        contract_value=_text(contract_value),
        kind=kind,
        settle=settle,
        quote=quote,
        is_inverse=True if is_inverse else None,
    )
    if given is not None and options.fields():
        raise ConfigError(f"{given.id} is given whole; leave out {', '.join(options.fields())} or give its id alone")
    if format == "okx/ws-raw" and instrument_id is not None:
        only = {instrument_id} if only is None else set(only) & {instrument_id}
    with Intake(Tally(is_strict=strict), options, only=only or None) as intake:
        if instrument_file is not None:
            (path,) = existing([instrument_file])
            intake.listed.update(read_instruments(path))
        match format:
            case "okx/ws-raw":
                import_okx(paths, intake, progress=progress)
            case "binance/ws-raw":
                import_binance(
                    paths,
                    intake,
                    instrument_id=instrument_id,
                    kind=kind if given is None else given.kind,
                    is_inverse=is_inverse if given is None else given.is_inverse,
                    progress=progress,
                )
            case "candles":
                import_candles(
                    paths,
                    intake,
                    instrument_id=instrument_id,
                    interval=interval,
                    zone=zone,
                    time_format=written,
                    columns=columns,
                    progress=progress,
                )
            case _:
                import_rows(
                    format,
                    paths,
                    intake,
                    instrument_id=instrument_id,
                    zone=zone,
                    time_format=written,
                    columns=columns,
                    progress=progress,
                )
        return intake.commit(to, format_name=format, replace=replace)


def _text(number: str | float | Decimal | None) -> str | None:
    return None if number is None else plain(decimal_of(number))
