"""Foreign files into a data folder: tables, and raw captures of OKX's and Binance's sockets."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers.formats import Format, Named, Table, register
from quantkit.importers.report import ImportReport, Progress, SkippedRow
from quantkit.instruments import INSTRUMENT_KINDS, Instrument, decimal_of, plain

__all__ = [
    "FORMATS",
    "Format",
    "ImportReport",
    "Named",
    "Progress",
    "SkippedRow",
    "Table",
    "import_files",
    "register",
]

#: What can be imported under a plain word, and what it looks like; `formats.FORMATS` has the venues' own files.
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
    format: str | Format | None,  # noqa: A002  the command's own word
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
    format_file: str | Path | None = None,
    adjust: bool = False,
    strict: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import foreign files; everything is stored together at the end, or nothing is.

    A row that cannot be understood is skipped, counted and shown with its line number. Where the exchange's clock runs
    ahead of the receiver's, one constant is added to every receipt stamp, so that the smallest latency is 1 ms.

    Args:
        format: One of `FORMATS`, or of `formats.FORMATS`, or a record of one's own; None finds each file's own by its
            content.
        files: The files, plain or in gzip, zstd, zip or tar, which is told by content. With None or a venue's format
            they may be of many months and instruments; tables of a plain word are of one instrument, a capture is one.
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
        only: Ids of the instruments to keep.
        format_file: A Python file that defines formats of one's own.
        adjust: Scale open, high and low as the adjusted close is, and take that as the close.
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
    from quantkit.importers.archives import Unpacker
    from quantkit.importers.checksums import verified
    from quantkit.importers.files import existing
    from quantkit.importers.formats import FORMATS as VENUES
    from quantkit.importers.formats import load_formats
    from quantkit.importers.intake import Intake
    from quantkit.importers.metadata import InstrumentOptions, read_instruments
    from quantkit.importers.record_tables import Said
    from quantkit.importers.report import Tally
    from quantkit.importers.run import ImportRun
    from quantkit.importers.times import TimeFormat, zone_of

    known = dict(VENUES)
    if format_file is not None:
        known |= {each.name: each for each in load_formats(existing([format_file])[0])}
    if isinstance(format, Format):
        known[format.name] = format
    name = format.name if isinstance(format, Format) else format
    if name is not None and name not in FORMATS and name not in known:
        raise ConfigError(f"format {name!r} is not known; use one of {', '.join((*FORMATS, *known))}")
    if kind is not None and kind not in INSTRUMENT_KINDS:
        raise ConfigError(f"kind {kind!r} is not known; use one of {', '.join(INSTRUMENT_KINDS)}")
    tally = Tally(is_strict=strict)
    paths = verified(existing([files] if isinstance(files, str | Path) else files), tally)
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
    if name == "okx/ws-raw" and instrument_id is not None:
        only = {instrument_id} if only is None else set(only) & {instrument_id}
    said = Said(
        instrument_id=instrument_id,
        interval=interval,
        zone=zone_of(timezone),
        time_format=None if time_format is None else TimeFormat(time_format),
        columns=columns,
        adjusts=adjust,
    )
    with Intake(tally, options, only=only or None) as intake, Unpacker() as unpacker:
        if instrument_file is not None:
            (path,) = existing([instrument_file])
            intake.listed.update(read_instruments(path))
        unpacked = unpacker.unpacked(paths)
        for what, count in unpacked.left_out.items():
            tally.ignore(what, count)
        run = ImportRun(unpacker, intake, said, known, progress)
        run.take(unpacked.files, name)
        return intake.commit(to, format_name=name or run.names(), replace=replace)


def _text(number: str | float | Decimal | None) -> str | None:
    return None if number is None else plain(decimal_of(number))
