"""`quantkit serve`: pages and a JSON API over a folder of runs and one live run, in a browser of this machine."""

import tempfile
import threading
import webbrowser
from contextlib import suppress
from html import escape
from pathlib import Path

import click

from quantkit.errors import ConfigError


@click.command()
@click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Folder of the runs.")
@click.option(
    "--live", "live_run", metavar="RUN", help="Folder of a paper run that is under way, to follow and command."
)
@click.option("--with-run", is_flag=True, help="End some seconds after the live run.")
@click.option("--data", default="data", show_default=True, metavar="DIR", help="Data folder to list.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port", default=8767, show_default=True, type=click.IntRange(0, 65_535), metavar="N", help="0 takes a free one."
)
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="Another name that browsers reach it by; repeat for more."
)
@click.option("--certificate", type=click.Path(path_type=Path), metavar="F", help="PEM file; speak TLS.")
@click.option("--key", type=click.Path(path_type=Path), metavar="F", help="PEM file of the certificate's key.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="F",
    help="File of the token, made if missing, so that programs keep it.  [default: a new token each start]",
)
@click.option(
    "--i-understand", "may_be_seen", is_flag=True, help="Serve other machines without TLS: others can read along."
)
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
def serve(
    runs: str,
    live_run: str | None,
    data: str,
    host: str,
    port: int,
    names: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
    *,
    with_run: bool,
    may_be_seen: bool,
    is_opened: bool,
) -> None:
    """Show runs in the browser: reports, comparisons, a live run.

    Only this machine reaches it, and only who has the link or the token that it prints. Ctrl-C ends it; a live run
    that it follows goes on.

    \b
    Examples:
      quantkit serve --open
      quantkit serve --live runs/Quoter-20261130-120000
      quantkit serve --port 9000 --token-file serve.token
    """
    if (certificate is None) is not (key is None):
        raise ConfigError("--certificate and --key go together; give both")
    if with_run and live_run is None:
        raise ConfigError("--with-run needs the run: add --live RUN")

    from quantkit.live.control import ControlClient
    from quantkit.runs.folder import Runs
    from quantkit.web.calls import Calls
    from quantkit.web.link import LiveLink
    from quantkit.web.server import SESSIONS
    from quantkit.web.server import serve as run_server

    if live_run is not None and not Path(live_run).is_dir():
        raise ConfigError(f"there is no run {live_run}; name the folder of one that is under way")
    link = None if live_run is None else LiveLink(ControlClient(Path(live_run)))
    opener = _Opener() if is_opened else None

    def ready(url: str, once: str, token: str) -> None:
        click.echo(f"quantkit serve: {runs} at {url}")
        click.echo(f"  open {once}")
        click.echo(f"  The link works once. Further browsers and programs use the token: {token}")
        click.echo("Ctrl-C ends it.")
        if opener is not None:
            opener.open(once)

    try:
        run_server(
            Calls(Runs(runs), Path(data)),
            link,
            host=host,
            port=port,
            names=names,
            sessions=Path(runs) / SESSIONS,
            token_file=token_file,
            certificate=certificate,
            key=key,
            may_be_seen=may_be_seen,
            ends_with_run=with_run,
            on_ready=ready,
        )
        if with_run and link is not None and link.is_over:
            click.echo("quantkit serve: the run is over, and so is its server")
    finally:
        if opener is not None:
            opener.close()


class _Opener:
    """Opens the one-time link in the browser by a private file, since everybody sees the words of a command."""

    def __init__(self) -> None:
        self._file: Path | None = None

    def open(self, link: str) -> None:
        """Open it."""
        with tempfile.NamedTemporaryFile(
            "w", suffix=".html", prefix="quantkit-", delete=False, encoding="utf-8"
        ) as file:
            file.write(
                f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={escape(link)}">'
            )
        self._file = Path(file.name)
        # One for the terminal would hold the server up until somebody leaves it.
        threading.Thread(target=webbrowser.open, args=(self._file.as_uri(),), daemon=True).start()

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
