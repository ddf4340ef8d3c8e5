"""Candles of foreign files: tables read into bars, with the checks of frames."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers.archives import ForeignFile
from quantkit.importers.bars import LAYOUT, Bars
from quantkit.importers.intake import Intake
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading, in_time_order
from quantkit.importers.report import Progress
from quantkit.importers.tables import TableFile, normalised
from quantkit.importers.times import TimeFormat, TimeReader

#: Columns that exchanges send beside their candles, normalised: nobody expects them in a strategy.
_SENT_ALONG: Final = frozenset(
    (
        "close_time",
        "closetime",
        "count",
        "ignore",
        "number_of_trades",
        "quote_asset_volume",
        "quote_volume",
        "taker_buy_base_asset_volume",
        "taker_buy_quote_asset_volume",
        "taker_buy_quote_volume",
        "taker_buy_volume",
        "trades",
        "turnover",
        "vol_ccy",
        "vol_ccy_quote",
        "vol_quote",
        "volccy",
        "volccyquote",
        "vwap",
    )
)
#: Second spellings of what the candles have.
_SPELLINGS: Final = frozenset(spelling for spellings in LAYOUT.spellings.values() for spelling in spellings)
#: So many columns are named.
_NAMED_COLUMNS: Final = 5

#: In a file without a header line, so many rows in a hundred that contradict themselves show another order of columns.
_ODD_PERCENT: Final = 10


def import_candles(
    files: Sequence[ForeignFile],
    intake: Intake,
    *,
    instrument_id: str | None,
    interval: str | None,
    zone: tzinfo | None,
    time_format: TimeFormat | None,
    columns: Mapping[str, str] | None,
    adjusts: bool,
    progress: Progress | None,
) -> None:
    """Take the candles of tables; a candle's time is the moment it opens.

    Raises:
        ConfigError: A column, the time zone, the instrument or the interval has to be said.
        DataError: The candles are of two intervals.
    """
    names = Names(instrument_id, intake.tally)
    bars = Bars(intake.tally, "--interval {0} (interval='{0}')", adjusts=adjusts)
    for file in in_time_order([TableFile(source, LAYOUT, columns) for source in files], zone, time_format):
        intake.tally.files.append(file.file)
        _read(file, bars, names, TimeReader(file.file, zone, is_strict=True, time_format=time_format), progress)
    candles = bars.candles(names, interval=interval, zone=zone) if bars.chunks else None
    if candles is None:
        return
    intake.add_block(candles.block)
    for gap in candles.gaps:
        intake.add(gap)
    for sentence in candles.notes:
        intake.tally.warn(sentence)


def _read(file: TableFile, bars: Bars, names: Names, times: TimeReader, progress: Progress | None) -> None:
    tally, first = bars.tally, bars.chunks
    refused, read = tally.skipped, tally.rows_read
    for chunk in file.chunks(tally, progress):
        reading = Reading(chunk)
        names.select(reading)
        if "volume" not in chunk.columns:
            tally.warn(f"{file.file} has no volume column; volume is 0")
        if "adj_close" in chunk.columns and not bars.adjusts:
            tally.warn(
                f"{file.file} has a column of adjusted closes; the other prices are taken as they stand, so that "
                "splits and dividends stay in them (--adjust scales them)"
            )
        bars.take(reading, times)
    further = [name for name in file.left_out if not _is_sent_along(normalised(name))]
    if further:
        more = f" and {len(further) - _NAMED_COLUMNS} more" if len(further) > _NAMED_COLUMNS else ""
        tally.warn(
            f"{file.file}: {', '.join(further[:_NAMED_COLUMNS])}{more} stayed out: a data folder holds candles alone; "
            "a frame (data={id: frame}) takes further columns along as candle.extra"
        )
    if bars.reverse(first):
        if times.ambiguous:
            raise ConfigError(
                f"{file.file}: rows are newest first, and {times.ambiguous} local times came twice, and only "
                "sorted rows tell them apart; sort the rows by time"
            )
        tally.warn(f"{file.file}: rows were newest first and have been reversed")
    if times.ambiguous:
        tally.warn(f"{file.file}: {times.ambiguous} local times came twice and were told apart by their order")
    if not file.has_header:
        if (tally.skipped - refused) * 100 > (tally.rows_read - read) * _ODD_PERCENT:
            raise ConfigError(
                f"{tally.refusals()}{file.file} has no header line, and these rows are not time, open, high, low, "
                "close, volume; write a first line that names the columns"
            )
        tally.warn(f"{file.file} has no header line; its columns were taken as time, open, high, low, close, volume")


def _is_sent_along(column: str) -> bool:
    """Return whether a column, normalised, is one that files of candles have anyhow.

    Examples:
        >>> _is_sent_along("quote_volume"), _is_sent_along("volume_usdt"), _is_sent_along("rsi")
        (True, True, False)
    """
    return column in _SENT_ALONG or column in _SPELLINGS or column.startswith("volume_")
