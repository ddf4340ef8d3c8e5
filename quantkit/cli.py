"""The command line: flags in, text out. Everything heavy is imported inside the command that needs it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from quantkit.errors import ConfigError, QuantkitError, StrategyError

if TYPE_CHECKING:
    from rich.console import Console

#: Exit codes beside 0: the run failed, the command was wrong, the user pressed Ctrl-C.
RUN_FAILED: Final = 1
WRONG_COMMAND: Final = 2
INTERRUPTED: Final = 130

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Main(click.Group):
    """A group that turns quantkit's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; unknown exceptions pass, since a traceback of ours is a bug report."""
        try:
            return super().invoke(ctx)
        except StrategyError as error:
            _print_strategy_error(error)
            ctx.exit(RUN_FAILED)
        except QuantkitError as error:
            click.echo(f"quantkit: error: {' '.join(str(error).split())}", err=True)
            ctx.exit(WRONG_COMMAND if isinstance(error, ConfigError) else RUN_FAILED)
        except KeyboardInterrupt:
            click.echo("quantkit: interrupted", err=True)
            ctx.exit(INTERRUPTED)


_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=_Main, context_settings=_SETTINGS, epilog="Every command explains itself: quantkit COMMAND --help")
@click.version_option(package_name="quantkit", message="quantkit %(version)s")
def main() -> None:
    """Write one trading strategy; replay it over recorded markets with fills and money you can trust.

    \b
    Try it on the sample data:
      quantkit data ls
      quantkit backtest ma_cross
      quantkit backtest ma_cross -p fast=5 --from 2025-05-10 --to 2025-05-20
    """


# backtest -----------------------------------------------------------------------------------------------------


def _pairs(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """Split `NAME=VALUE` texts at the first equals sign; one name twice is a slip that must not be decided silently."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise click.BadParameter(f"{text!r} is not of the form {param.metavar}", ctx=ctx, param=param)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", ctx=ctx, param=param)
        found[name] = value
    return found


def _amounts(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Read `CURRENCY=AMOUNT` texts as exact numbers."""
    from quantkit.instruments import decimal_of

    try:
        return {name: decimal_of(value) for name, value in _pairs(ctx, param, texts).items()}
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from error


def _match_on(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> str | dict[str, str] | None:
    """Read one KIND for all instruments, or INSTRUMENT=KIND for each."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    if any("=" not in text for text in texts):
        raise click.BadParameter("give one KIND alone, or INSTRUMENT=KIND for each instrument", ctx=ctx, param=param)
    return _pairs(ctx, param, texts)


def _as_json(command: _Command) -> _Command:
    """Add the flag that every command for scripts has."""
    return click.option("--json", "is_json", is_flag=True, help="Print one JSON object instead of text.")(command)


@main.command()
@click.argument("strategy")
@click.option("--data", default="data", show_default=True, metavar="DIR", help="Data folder or URI.")
@click.option("--from", "start", metavar="T", help="First moment, UTC: 2025-05-05 or 2025-05-05T12:00:00Z.")
@click.option("--to", "end", metavar="T", help="Last moment, UTC.")
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="A parameter of the strategy; repeat for more.",
)
@click.option(
    "--cash",
    multiple=True,
    callback=_amounts,
    metavar="CURRENCY=AMOUNT",
    help="Starting balance; repeat for more currencies. The first is what the report counts in.  [default: USDT=10000]",
)
@click.option("--fees-maker-bps", type=float, metavar="BPS", help="Fee of orders that rested, in basis points.")
@click.option("--fees-taker-bps", type=float, metavar="BPS", help="Fee of orders that took, in basis points.")
@click.option("--latency-ms", type=float, metavar="MS", help="Delay of orders and of reports, each way.")
@click.option(
    "--match-on",
    multiple=True,
    callback=_match_on,
    metavar="[INSTRUMENT=]KIND",
    help="Fill orders on book, ticker, trade or candle data instead of the finest there is.",
)
@click.option("--seed", type=int, metavar="N", help="Seed of the strategy's random numbers.")
@click.option("--report-currency", metavar="CURRENCY", help="What equity is counted in.")
@click.option("--max-leverage", type=float, metavar="X", help="Largest notional of contracts over equity.")
@click.option(
    "--save", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Keep the result in a new folder."
)
@_as_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def backtest(
    strategy: str,
    data: str,
    start: str | None,
    end: str | None,
    params: dict[str, str],
    cash: dict[str, Any],
    fees_maker_bps: float | None,
    fees_taker_bps: float | None,
    folder: Path | None,
    *,
    is_json: bool,
    quiet: bool,
    **rest: Any,
) -> None:
    """Replay recorded data through a strategy.

    STRATEGY is a file (my_strategy.py), a name in the folder strategies (ma_cross), or module:Class.

    \b
    Examples:
      quantkit backtest ma_cross --from 2025-05-05 --to 2025-06-01
      quantkit backtest my_strategy.py -p fast=5 -p slow=50
      quantkit backtest ma_cross --cash USDT=5000 --save runs/first
      quantkit backtest ma_cross --json | jq .stats.sharpe_ratio
    """
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        # Said before the run, not after an hour of it.
        raise ConfigError(f"--save {folder} exists already and is not empty; choose a new folder")
    if (fees_maker_bps is None) is not (fees_taker_bps is None):
        raise ConfigError("--fees-maker-bps and --fees-taker-bps go together; give both")
    options: dict[str, Any] = {name: value for name, value in rest.items() if value is not None}
    if fees_maker_bps is not None and fees_taker_bps is not None:
        from quantkit.instruments import Fees

        options["fees"] = Fees(maker_bps=fees_maker_bps, taker_bps=fees_taker_bps)
    if cash:
        options["cash"] = cash

    from quantkit.run import backtest as run_backtest

    # What a strategy prints is no part of the JSON.
    aside: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if is_json else nullcontext()
    with aside, _progress_bar(is_shown=not (quiet or is_json)) as progress:
        result = run_backtest(strategy, data=data, start=start, end=end, params=params, progress=progress, **options)
    if folder is not None:
        result.save(folder)
    if quiet:
        return
    from quantkit.report import summary

    if is_json:
        _print_json(summary.as_json(result))
    else:
        summary.render(result, _console())


@contextmanager
def _progress_bar(*, is_shown: bool) -> Iterator[Callable[[int, int, int], None] | None]:
    """Give a `progress(done_ns, start_ns, end_ns)` that draws a bar on standard error, or None off a terminal."""
    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from quantkit.clock import iso_of

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(done_ns: int, start_ns: int, end_ns: int) -> None:
            moment = iso_of(done_ns)[:16].replace("T", " ")
            bar.update(task, description=moment, completed=done_ns - start_ns, total=max(1, end_ns - start_ns))

        yield progress


# import -------------------------------------------------------------------------------------------------------


@main.command("import")
@click.argument("format", metavar="FORMAT")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILES...")
@click.option("--to", "to", required=True, metavar="DIR", help="Data folder to fill; made if it is not there.")
@click.option("--instrument", metavar="ID", help="Whose rows these are: BTC-USDT-SWAP, binance:BTC-USDT.")
@click.option("--instrument-file", type=click.Path(), metavar="F", help="Instrument metadata: OKX's JSON or our own.")
@click.option("--price-step", metavar="X", help="Smallest change of a price.")
@click.option("--qty-step", metavar="X", help="Smallest change of a size.")
@click.option("--contract-value", metavar="X", help="What one contract stands for.")
@click.option("--kind", type=click.Choice(["spot", "swap", "future"]), help="What kind of instrument it is.")
@click.option("--settle", metavar="CURRENCY", help="What profit is paid in.")
@click.option("--quote", metavar="CURRENCY", help="What prices are in, where the id does not say it.")
@click.option("--inverse", "is_inverse", is_flag=True, help="Profit is paid in the coin.")
@click.option("--interval", metavar="I", help="Length of candles (1m, 1h, 1d), where the rows do not show it.")
@click.option("--timezone", metavar="TZ", help="Zone of times without an offset: UTC, Europe/Berlin.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_pairs,
    metavar="OURS=THEIRS",
    help="What a column is called in the file: time=Date; repeat for more.",
)
@click.option("--only", multiple=True, metavar="ID", help="Keep this instrument of a capture; repeat for more.")
@click.option("--strict", is_flag=True, help="Stop at the first row that cannot be understood and write nothing.")
@click.option("--replace", is_flag=True, help="Replace stored files that overlap.")
@_as_json
def import_(
    format: str,  # noqa: A002  the argument's own word
    files: tuple[str, ...],
    columns: dict[str, str],
    only: tuple[str, ...],
    *,
    is_json: bool,
    **rest: Any,
) -> None:
    """Bring foreign files into a data folder.

    FORMAT says what the FILES are; several files are one recording, in the order given.

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
      quantkit import candles btc_1m.csv --to data --instrument BTC-USDT \\
          --price-step 0.1 --qty-step 0.00001
      quantkit import candles goog.csv --to data --instrument GOOG \\
          --quote USD --timezone America/New_York --column time=Date
      quantkit import okx/ws-raw instruments.log.gz capture.log.gz --to data
    """
    from quantkit.importers import import_files
    from quantkit.report.tables import print_import

    options = {name: value for name, value in rest.items() if value is not None}
    with _file_bar(is_shown=not is_json) as progress:
        report = import_files(format, files, columns=columns or None, only=only or None, progress=progress, **options)
    if is_json:
        _print_json(_encoded(report))
    else:
        print_import(report, str(options["to"]), _console())


@contextmanager
def _file_bar(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give a `progress(file, bytes_done, bytes_total)` that draws a bar on standard error, or None off a terminal."""
    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def progress(file: str, done: int, total: int) -> None:
            bar.update(task, description=escape(Path(file).name), completed=done, total=max(1, total))

        yield progress


# data ---------------------------------------------------------------------------------------------------------


@main.group()
def data() -> None:
    """Look into a data folder."""


@data.command("ls")
@click.argument("folder", default="data", metavar="[DIR]")
@_as_json
def data_ls(folder: str, *, is_json: bool) -> None:
    """List the streams of a data folder: span, rows, size. DIR defaults to data."""
    from quantkit.report.tables import print_streams, stream_rows
    from quantkit.storage.catalog import Catalog

    rows = stream_rows(Catalog(folder))
    if is_json:
        _print_json(_encoded(rows))
    else:
        print_streams(rows, folder, _console())


@data.command("check")
@click.argument("folder", default="data", metavar="[DIR]")
@_as_json
def data_check(folder: str, *, is_json: bool) -> None:
    """Read every row of a data folder and say what is wrong with it. DIR defaults to data.

    Exits with 1 when there are errors: files that cannot be read or rows that cannot be trusted.
    """
    from quantkit.report.tables import print_findings
    from quantkit.storage.catalog import Catalog
    from quantkit.storage.quality import check

    findings = check(Catalog(folder))
    if is_json:
        _print_json(_encoded(findings))
    else:
        print_findings(findings, folder, _console())
    if any(finding.severity == "error" for finding in findings):
        click.get_current_context().exit(RUN_FAILED)


# Output -------------------------------------------------------------------------------------------------------


def _console(*, stderr: bool = False) -> "Console":
    """Return a console that leaves numbers and paths in their plain colour."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _encoded(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def _print_json(line: bytes) -> None:
    """Print JSON as it is: a console would wrap it."""
    click.echo(line.decode())


def _print_strategy_error(error: StrategyError) -> None:
    """Print which hook raised, when in the market, and the user's own traceback without the values of variables."""
    from rich.markup import escape
    from rich.traceback import Traceback

    from quantkit.clock import iso_of

    console = _console(stderr=True)
    message, moment = " ".join(str(error).split()), iso_of(error.now_ns)
    click.echo(f"quantkit: error: {message}", err=True)
    if error.hook not in message or moment not in message:
        console.print(f"hook [bold]{escape(error.hook)}[/bold] at [bold]{moment}[/bold] (market time)")
    cause = error.__cause__
    if cause is not None:
        trace = cause.__traceback__
        # Frames of the engine above the hook say nothing about the user's code.
        while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        console.print(Traceback.from_exception(type(cause), cause, trace, show_locals=False, suppress=[_package()]))


def _package() -> str:
    return str(Path(__file__).parent)


def _is_ours(file: str) -> bool:
    return Path(file).is_relative_to(_package())


if __name__ == "__main__":
    main()
