"""`quantkit data export`: a data folder's rows into a database."""

import click

from quantkit.cli.data import data
from quantkit.cli.flags import as_json
from quantkit.cli.interrupt import INTERRUPTED
from quantkit.cli.output import encoded, file_bar, print_json
from quantkit.cli.stores import database_of


@data.command("export")
@click.argument("folder", metavar="DIR")
@click.argument("address", metavar="DATABASE")
@click.option("--instrument", "instruments", multiple=True, metavar="ID", help="Only this one; repeat for more.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only trade, candle, book, ...; repeat for more.")
@click.option("--from", "start", metavar="T", help="Only files with rows from this moment on, UTC.")
@click.option("--to", "end", metavar="T", help="Only files with rows before this moment.")
@click.option("--replace", is_flag=True, help="Put the folder's rows in the place of stored ones that differ.")
@as_json
def data_export(
    folder: str,
    address: str,
    instruments: tuple[str, ...],
    kinds: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    replace: bool,
    is_json: bool,
) -> None:
    """Bring the rows of a data folder into PostgreSQL or TimescaleDB.

    DATABASE is postgresql://USER@HOST:PORT/NAME. The password comes from
    PGPASSWORD or ~/.pgpass. Each file goes in one transaction; what is there
    already is passed over, so the same command goes on where it stopped.

    \b
    Examples:
      quantkit data export data postgresql://me@localhost/market
      quantkit data export data postgresql://me@localhost/market --kind candle
      quantkit backtest ma_cross --data postgresql://me@localhost/market
    """
    from quantkit.clock import time_ns_of
    from quantkit.report.text import counted
    from quantkit.storage.catalog import Catalog
    from quantkit.storage.places import is_database
    from quantkit.storage.postgres.export import export

    if not is_database(address):
        raise click.BadParameter("write it as postgresql://USER@HOST:PORT/NAME", param_hint="DATABASE")
    with file_bar(is_shown=not is_json) as progress:
        try:
            report = export(
                Catalog(folder),
                database_of(address),
                instruments=instruments,
                kinds=kinds,
                start_ns=None if start is None else time_ns_of(start),
                end_ns=None if end is None else time_ns_of(end) - 1,
                replace=replace,
                progress=None if progress is None else lambda entry, done, total: progress(entry.path, done, total),
            )
        except KeyboardInterrupt:
            click.echo("quantkit: interrupted; whole files are there, and the same command goes on", err=True)
            click.get_current_context().exit(INTERRUPTED)
    if is_json:
        print_json(encoded(report))
        return
    there = f", {counted(report.present, 'file')} were there" if report.present else ""
    gone = f", {counted(report.replaced, 'stored row')} gave way" if report.replaced else ""
    lost = f", {counted(report.reconnects, 'lost connection')}" if report.reconnects else ""
    click.echo(
        f"{counted(report.rows, 'row')} in {counted(report.files, 'file')} exported to {report.to}{there}{gone}{lost}"
    )
