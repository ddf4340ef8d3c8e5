"""`quantkit import`: foreign files into a data folder."""

from pathlib import Path
from typing import Any

import click

from quantkit.cli.flags import as_json, pairs
from quantkit.cli.output import encoded, file_bar, print_json
from quantkit.report.console import console_of


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="[FORMAT] FILES...")
@click.option("--format", "format", metavar="NAME", help="Format of the files, where their content does not tell.")
@click.option("--to", "to", required=True, metavar="DIR", help="Data folder to fill; made if it is not there.")
@click.option("--instrument", metavar="ID", help="Instrument of the rows: BTC-USDT-SWAP, binance:BTC-USDT.")
@click.option("--instrument-file", type=click.Path(), metavar="F", help="Instrument metadata: OKX's JSON or our own.")
@click.option("--price-step", metavar="X", help="Smallest change of a price.")
@click.option("--qty-step", metavar="X", help="Smallest change of a size.")
@click.option("--contract-value", metavar="X", help="Size of one contract.")
@click.option("--kind", type=click.Choice(["spot", "swap", "future"]), help="Kind of the instrument.")
@click.option("--settle", metavar="CURRENCY", help="Currency of the profit.")
@click.option("--quote", metavar="CURRENCY", help="Currency of prices, if the id does not name it.")
@click.option("--inverse", "is_inverse", is_flag=True, help="Profit is paid in the coin.")
@click.option("--interval", metavar="I", help="Length of candles (1m, 1h, 1d), if the rows do not show it.")
@click.option("--timezone", metavar="TZ", help="Zone of times without an offset: UTC, Europe/Berlin.")
@click.option("--time-format", metavar="F", help="Format of times: '%d.%m.%Y %H:%M', or the unit of epoch numbers, ms.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=pairs,
    metavar="OURS=THEIRS",
    help="A column's name in the file: time=Date; repeat for more.",
)
@click.option("--only", multiple=True, metavar="ID", help="Keep this instrument; repeat for more.")
@click.option("--format-file", type=click.Path(), metavar="F", help="Python file that defines formats of your own.")
@click.option("--adjust", is_flag=True, help="Scale open, high and low as the adjusted close is.")
@click.option("--strict", is_flag=True, help="Stop at the first row that cannot be understood and write nothing.")
@click.option("--replace", is_flag=True, help="Replace stored files that overlap.")
@as_json
def import_(
    format: str | None,  # noqa: A002  the option's own word
    files: tuple[str, ...],
    columns: dict[str, str],
    only: tuple[str, ...],
    *,
    is_json: bool,
    **rest: Any,
) -> None:
    """Bring foreign files into a data folder.

    FILES are downloads of exchanges and vendors, plain or in zip, gz, zst or tar, of many days and instruments at once.
    Each one's format is found by its content, and told. FORMAT says it instead: the name of a venue's own files
    (binance/trades), or one of

    \b
      candles         OHLCV tables: CSV, Parquet, Feather; time is the bar's open
      trades          public trades: time, price, size, side
      tickers         best bid and offer
      marks, funding  mark prices, settled funding rates
      okx/ws-raw      recorded OKX frames (cryptofeed or JSON lines)
      binance/ws-raw  recorded Binance streams

    Rows that cannot be understood are shown with file and line, never dropped in silence.

    \b
    Examples:
      quantkit import BTC-USDT-trades-2025-06-*.zip --to data
      quantkit import candles btc_1m.csv --to data --instrument BTC-USDT \\
          --price-step 0.1 --qty-step 0.00001
      quantkit import candles goog.csv --to data --instrument GOOG \\
          --quote USD --timezone America/New_York --column time=Date
      quantkit import okx/ws-raw instruments.log.gz capture.log.gz --to data
    """
    from quantkit.importers import import_files
    from quantkit.report.tables import print_import
    from quantkit.storage.places import shown

    name, files = _split(format, files)
    options = {name: value for name, value in rest.items() if value is not None}
    with file_bar(is_shown=not is_json) as progress:
        report = import_files(name, files, columns=columns or None, only=only or None, progress=progress, **options)
    if is_json:
        print_json(encoded(report))
    else:
        print_import(report, shown(str(options["to"])), console_of())


def _split(format_name: str | None, files: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return the format, which may be said before the files, and the files.

    Examples:
        >>> _split(None, ("candles", "btc.csv")), _split("candles", ("btc.csv",)), _split(None, ("btc.csv", "eth.csv"))
        (('candles', ('btc.csv',)), ('candles', ('btc.csv',)), (None, ('btc.csv', 'eth.csv')))
    """
    first, *others = files
    is_word = others and "." not in first and not Path(first).is_file()
    return (first, tuple(others)) if format_name is None and is_word else (format_name, files)
