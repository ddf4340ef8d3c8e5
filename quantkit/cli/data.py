"""`quantkit data`: the contents of a data folder, its faults, and the rows of a killed run."""

import click

from quantkit.cli.flags import as_json
from quantkit.cli.output import encoded, print_json
from quantkit.cli.root import RUN_FAILED
from quantkit.report.console import console_of


@click.group()
def data() -> None:
    """Look into a data folder, or rebuild one."""


@data.command("ls")
@click.argument("folder", default="data", metavar="[DIR]")
@as_json
def data_ls(folder: str, *, is_json: bool) -> None:
    """List the streams of a data folder: span, rows, size. DIR defaults to data."""
    from quantkit.report.tables import print_streams, stream_rows
    from quantkit.storage.catalog import Catalog

    catalog = Catalog(folder)
    rows = stream_rows(catalog)
    if is_json:
        print_json(encoded(rows))
    else:
        print_streams(rows, str(catalog.root), console_of())


@data.command("check")
@click.argument("folder", default="data", metavar="[DIR]")
@as_json
def data_check(folder: str, *, is_json: bool) -> None:
    """Read every row of a data folder and say what is wrong with it. DIR defaults to data.

    Exits with 1 when there are errors: files that cannot be read or rows that cannot be trusted.
    """
    from quantkit.report.tables import print_findings
    from quantkit.storage.catalog import Catalog
    from quantkit.storage.quality import check

    catalog = Catalog(folder)
    findings = check(catalog)
    if is_json:
        print_json(encoded(findings))
    else:
        print_findings(findings, str(catalog.root), console_of())
    if any(finding.severity == "error" for finding in findings):
        click.get_current_context().exit(RUN_FAILED)


@data.command("sql")
@click.argument("question", metavar="SELECT")
@click.argument("folder", default="data", metavar="[DIR]")
@click.option("--csv", "is_csv", is_flag=True, help="Print all rows as CSV.")
@as_json
def data_sql(question: str, folder: str, *, is_csv: bool, is_json: bool) -> None:
    """Answer a question in SQL. DIR defaults to data.

    Each kind of rows is a view: trade, candle, book, ticker, mark, funding, gap, ... with a column `instrument`. Needs
    DuckDB: pip install 'quantkit[sql]'.

    quantkit data sql "select instrument, count(*) from trade group by all"
    """
    import csv
    from io import StringIO

    from quantkit.report.tables import print_answer
    from quantkit.research.sql import plain_rows, sql
    from quantkit.storage.catalog import Catalog

    answer = sql(Catalog(folder), question)
    rows = plain_rows(answer)
    if is_json:
        print_json(encoded(rows))
    elif is_csv:
        text = StringIO()
        writer = csv.DictWriter(text, answer.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
    else:
        print_answer(answer.column_names, rows, console_of())


@data.command("rebuild")
@click.argument("run", metavar="RUN")
@as_json
def data_rebuild(run: str, *, is_json: bool) -> None:
    """Write a killed run's rows anew from its tape.

    RUN is the folder that `quantkit live --paper` recorded in.
    """
    from quantkit.live.rebuild import rebuild
    from quantkit.report.text import counted

    counts = {str(stream): rows for stream, rows in sorted(rebuild(run).items(), key=lambda item: item[0].sort_key)}
    if is_json:
        print_json(encoded(counts))
    else:
        console = console_of()
        for stream, rows in counts.items():
            console.print(f"{stream}: {counted(rows, 'row')}", markup=False, highlight=False)
        console.print(f"{counted(sum(counts.values()), 'row')} in {run}/data", markup=False, highlight=False)
