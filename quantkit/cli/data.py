"""`quantkit data`: what a data folder holds, and what is wrong with it."""

import click

from quantkit.cli.flags import as_json
from quantkit.cli.output import console_of, encoded, print_json
from quantkit.cli.root import RUN_FAILED


@click.group()
def data() -> None:
    """Look into a data folder."""


@data.command("ls")
@click.argument("folder", default="data", metavar="[DIR]")
@as_json
def data_ls(folder: str, *, is_json: bool) -> None:
    """List the streams of a data folder: span, rows, size. DIR defaults to data."""
    from quantkit.report.tables import print_streams, stream_rows
    from quantkit.storage.catalog import Catalog

    rows = stream_rows(Catalog(folder))
    if is_json:
        print_json(encoded(rows))
    else:
        print_streams(rows, folder, console_of())


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

    findings = check(Catalog(folder))
    if is_json:
        print_json(encoded(findings))
    else:
        print_findings(findings, folder, console_of())
    if any(finding.severity == "error" for finding in findings):
        click.get_current_context().exit(RUN_FAILED)
