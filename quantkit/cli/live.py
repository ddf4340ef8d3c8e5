"""`quantkit live`: a strategy on OKX's sockets, with simulated fills, recorded as it runs."""

import sys
import threading
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quantkit.cli.ending import signals
from quantkit.cli.flags import (
    account_of,
    account_options,
    as_json,
    briefly,
    for_duration,
    held_against,
    okx_of,
    okx_options,
)
from quantkit.cli.output import print_result
from quantkit.cli.pages import Pages
from quantkit.cli.root import RUN_FAILED, one_line
from quantkit.errors import ConfigError, FeedClosedError, QuantkitError
from quantkit.report.console import console_of

if TYPE_CHECKING:
    from quantkit.cli.screen import PlainScreen, Screen
    from quantkit.feeds.okx.config import Region
    from quantkit.live.status import LiveStatus
    from quantkit.report.result import Result

_ENDING: Final = "ending: cancelling open orders, sealing the recording; Ctrl-C again ends at once"


@click.command()
@click.argument("strategy")
@click.option("--paper", is_flag=True, help="Simulate the fills; required, since real orders are not built yet.")
@for_duration
@account_options
@click.option(
    "--record", default="runs", show_default=True, metavar="DIR", help="Folder in which the run gets a folder."
)
@click.option("--no-record", "is_unrecorded", is_flag=True, help="Keep nothing; the run cannot be verified.")
@click.option(
    "--batch-ms",
    type=float,
    metavar="MS",
    help="Hand rows to the strategy at least this far apart, for less CPU.  [default: each at once]",
)
@click.option(
    "--control", "is_controlled", is_flag=True, help="Let other processes of yours watch and command the run."
)
@click.option(
    "--serve",
    is_flag=False,
    flag_value="127.0.0.1:8767",
    metavar="[HOST:PORT]",
    help="Show the run in the browser, by a `quantkit serve` of its own.  [default: 127.0.0.1:8767]",
)
@okx_options
@click.option("--plain", is_flag=True, help="A line every ten seconds instead of the view.")
@held_against
@briefly
@as_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def live(
    strategy: str,
    duration: str | None,
    record: str,
    region: "Region | None",
    url: str | None,
    ca_file: str | None,
    benchmark: str | None,
    serve: str | None,
    *,
    paper: bool,
    is_unrecorded: bool,
    is_controlled: bool,
    is_demo: bool,
    plain: bool,
    is_brief: bool,
    is_json: bool,
    quiet: bool,
    **account: Any,
) -> None:
    """Run a strategy on the live market, with simulated fills.

    STRATEGY is a file (my_strategy.py), a name in the folder strategies (quoter), or module:Class. Its instruments are
    OKX's: BTC-USDT, BTC-USDT-SWAP. Ctrl-C ends the run and prints its result, a second
    one ends at once.

    \b
    Examples:
      quantkit live --paper quoter -p instrument=BTC-USDT-SWAP
      quantkit live --paper my_strategy.py --for 8h --cash USDT=5000
      quantkit live --paper quoter -p instrument=BTC-USDT-SWAP \\
          --url ws://127.0.0.1:8765
    """
    if not paper:
        raise ConfigError("real orders are not built yet; add --paper to run with simulated fills")
    if is_unrecorded and (is_controlled or serve is not None):
        flag = "--serve" if serve is not None else "--control"
        raise ConfigError(f"{flag} needs the recording: the run's address and token stand in its folder")
    pages = None if serve is None else Pages(serve)
    options = account_of(account)
    okx = okx_of(is_demo=is_demo, region=region, url=url, ca_file=ca_file)

    from quantkit.api import paper as run_paper
    from quantkit.cli.screen import can_draw, live_screen
    from quantkit.feeds.live_feed import FEED_LOST
    from quantkit.live.run import NOT_SAVED

    run = _Run(None if is_unrecorded else record, pages)
    is_drawn = can_draw(sys.stderr) and not (plain or is_json)
    # What a strategy prints is no part of the JSON.
    aside: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if is_json else nullcontext()
    try:
        with (
            aside,
            live_screen(is_drawn=is_drawn, is_quiet=quiet) as run.screen,
            signals(run.ask, last_words=run.killed),
            nullcontext() if pages is None else pages,
        ):
            result = run_paper(
                strategy,
                okx=okx,
                record=None if is_unrecorded else record,
                duration=duration,
                on_status=run.show,
                stop=run.stop,
                control=is_controlled or pages is not None,
                benchmark=benchmark,
                **options,
            )
    except QuantkitError as error:
        if run.recording and not quiet:
            _print_rest(run.recording, is_json=is_json, is_brief=is_brief)
        if isinstance(error, FeedClosedError) and run.stop.is_set():
            # Stopped before it could start: the user did that, and nothing failed.
            raise KeyboardInterrupt from error
        raise
    if not quiet:
        _print_recorded(result, run.recording, is_json=is_json, is_brief=is_brief)
    if any(warning.startswith((FEED_LOST, NOT_SAVED)) for warning in result.warnings):
        click.get_current_context().exit(RUN_FAILED)


class _Run:
    """What the parts of the command know of the run: how to end it, where it is shown, where it is recorded.

    Args:
        record: The folder of runs; None where nothing is recorded.
        pages: The server of pages that follows the run; None without one.
    """

    def __init__(self, record: str | None, pages: Pages | None) -> None:
        self._record = record
        self._pages = pages
        self.stop = threading.Event()
        self.screen: Screen | PlainScreen | None = None
        self.recording = ""

    def ask(self) -> None:
        """Ask for a clean end; called inside a signal handler."""
        self.stop.set()
        if self.screen is not None:
            self.screen.ending = _ENDING

    def show(self, status: "LiveStatus") -> None:
        """Take a status from the engine."""
        self.recording = status.recording
        if self._pages is not None:
            self._pages.show(status.recording)
        if self.screen is not None:
            self.screen.show(status)

    def killed(self) -> str:
        """Return what is said when the user insists on the end."""
        if self._record is None:
            return "killed; nothing was recorded"
        if not self.recording:
            # A hook that hangs at the first row does so before the engine told its folder.
            return f"killed; what was received, if anything, is in the newest folder of {one_line(self._record)}"
        place = one_line(self.recording)
        return (
            f"killed; what was received is in {place}: quantkit data rebuild {place} writes its rows, "
            f"quantkit verify {place} repeats it up to here"
        )


def _print_rest(recording: str, *, is_json: bool, is_brief: bool) -> None:
    """Print what there is of a run that failed: its result as of then, else where it was recorded."""
    from quantkit.live.folder import RESULT
    from quantkit.report.result import Result

    if (Path(recording) / RESULT).is_dir():
        result = Result.load(Path(recording) / RESULT)
        _print_recorded(result, recording, is_json=is_json, is_brief=is_brief)
    else:
        click.echo(f"quantkit: recorded up to here in {one_line(recording)}", err=True)


def _print_recorded(result: "Result", recording: str, *, is_json: bool, is_brief: bool) -> None:
    """Print a run as a backtest's, and where it lies."""
    from quantkit.report.text import escaped

    print_result(result, is_json=is_json, is_brief=is_brief)
    # The last line of a short report is the return, and it has said where the result is.
    if recording and not (is_json or is_brief):
        place = escaped(recording)
        console_of().print(f"Recorded in [bold]{place}[/bold]; replay it with", soft_wrap=True)
        console_of().print(f"  quantkit verify {place}", soft_wrap=True)
