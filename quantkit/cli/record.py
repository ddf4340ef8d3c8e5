"""`quantkit record`: OKX's market data into a data folder, for weeks."""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from quantkit.cli.ending import signals
from quantkit.cli.flags import for_duration, okx_of, okx_options
from quantkit.cli.root import RUN_FAILED, one_line
from quantkit.cli.stores import database_of
from quantkit.storage.places import shown

if TYPE_CHECKING:
    from quantkit.collect.beats import Beats
    from quantkit.collect.mirror import Mirror, MirrorStatus
    from quantkit.feeds.okx.config import Region

_ENDING: Final = "ending: sealing what was received; Ctrl-C again ends at once, and nothing that was counted is lost"
_LINE_EVERY_NS: Final = 10_000_000_000


@click.command()
@click.argument("instruments", nargs=-1, required=True, metavar="INSTRUMENT...")
@click.option(
    "--channels",
    metavar="LIST",
    help="What to record; candles of any interval.  [default: trades,books,tickers,candles-1m,funding,marks, as far as "
    "the instruments have them]",
)
@click.option("--to", "folder", default="data", show_default=True, metavar="DIR", help="The data folder.")
@for_duration
@click.option("--roll", default="1h", show_default=True, metavar="TIME", help="Seal rows into files this often.")
@click.option("--keep", metavar="TIME", help="Remove rows older than this: 30d.  [default: keep all]")
@click.option("--keep-tape", default="0s", metavar="TIME", help="Keep the tape so long after its rows are sealed.")
@click.option("--tape", metavar="DIR", help="Folder of the tape, on this machine.  [default: DIR/.record]")
@click.option(
    "--min-free", default="1GB", show_default=True, metavar="SIZE", help="End before a disk has less room than this."
)
@click.option(
    "--redundant",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Connections of each channel, merged: one loses what another has.",
)
@click.option("--no-compact", is_flag=True, help="Leave the files of a day as they are when it is over.")
@click.option("--also", metavar="DATABASE", help="Bring the rows to postgresql://USER@HOST/NAME too, within a second.")
@click.option("--credentials", "keys", metavar="FILE", help="API key for fee-rates, if not in the environment.")
@click.option("--beat", default="1s", show_default=True, metavar="TIME", help="Time between two lines of --json.")
@okx_options
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line: beats, and what is sealed.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def record(
    instruments: tuple[str, ...],
    channels: str | None,
    folder: str,
    duration: str | None,
    roll: str,
    keep: str | None,
    keep_tape: str,
    tape: str | None,
    min_free: str,
    redundant: int,
    also: str | None,
    keys: str | None,
    beat: str,
    region: "Region | None",
    url: str | None,
    ca_file: str | None,
    *,
    no_compact: bool,
    is_demo: bool,
    is_json: bool,
    quiet: bool,
) -> None:
    """Record market data until Ctrl-C; started again in the same folder, go on.

    INSTRUMENT is OKX's id: BTC-USDT, BTC-USDT-SWAP. What is received is safe on a tape at once, and sealed into Parquet
    files every hour. What was missed between two runs is a gap row.

    \b
    Examples:
      quantkit record BTC-USDT-SWAP ETH-USDT-SWAP
      quantkit record BTC-USDT --channels trades,books --keep 30d --min-free 5GB
      quantkit record BTC-USDT-SWAP --json > beats.jsonl
    """
    from quantkit.clock import duration_ns
    from quantkit.collect.channels import channel_words
    from quantkit.collect.record import Collector
    from quantkit.collect.settings import RecordSettings, size_of
    from quantkit.feeds.okx.credentials import Credentials
    from quantkit.feeds.okx.source import OkxSource

    wanted = None if channels is None else channel_words(channels)
    # Without need no key is read, whatever the environment holds.
    credentials = Credentials.load(keys) if wanted is not None and "fee-rates" in wanted else None
    settings = RecordSettings(
        roll_ns=duration_ns(roll),
        keep_tape_ns=0 if keep_tape in ("0", "0s") else duration_ns(keep_tape),
        keep_ns=None if keep is None else duration_ns(keep),
        min_free_bytes=size_of(min_free),
        beat_ns=duration_ns(beat),
        is_compacting=not no_compact,
        redundant=redundant,
        work=None if tape is None else Path(tape),
    )
    config = okx_of(is_demo=is_demo, region=region, url=url, ca_file=ca_file)
    screen = _Screen(folder, is_json=is_json, is_quiet=quiet)
    collector = Collector(
        OkxSource(config, credentials=credentials),
        instruments,
        wanted,
        folder,
        settings=settings,
        stop=screen.stop,
        viewer=screen,
    )
    mirror = None if also is None else _mirror_of(also, folder, instruments, settings.work)
    screen.follow(mirror)
    with signals(screen.ask, last_words=screen.killed):
        try:
            ended = collector.run(None if duration is None else duration_ns(duration))
        finally:
            if mirror is not None:
                screen.mirrored(mirror.close(), is_last=True)
    if ended.error:
        click.echo(f"quantkit: error: {one_line(ended.error)}", err=True)
        click.get_current_context().exit(RUN_FAILED)


def _mirror_of(address: str, folder: str, instruments: tuple[str, ...], work: Path | None) -> "Mirror":
    """Return what brings the rows to a database; recording starts without its server too.

    Raises:
        ConfigError: The address cannot be read, or psycopg is missing.
    """
    from quantkit.collect.mirror import Mirror
    from quantkit.errors import ConfigError, DataError
    from quantkit.storage.places import is_database

    if not is_database(address):
        raise ConfigError("--also takes a database's address: postgresql://USER@HOST:PORT/NAME")
    database = database_of(address)
    try:
        with database.connected():
            pass
    except DataError as error:
        click.echo(
            f"quantkit: {one_line(str(error))}; recording goes on, and the database gets the rows when it is there",
            err=True,
        )
    mirror = Mirror(folder, database, instruments, work=work)
    mirror.start()
    return mirror


class _Screen:
    """Shows a collector's beats: JSON lines, one line that is written over, or a line every ten seconds."""

    def __init__(self, folder: str, *, is_json: bool, is_quiet: bool) -> None:
        self.stop = threading.Event()
        self._folder = shown(folder)
        self._is_json = is_json
        self._is_quiet = is_quiet and not is_json
        self._is_drawn = sys.stderr.isatty()
        self._is_open = False  # whether the line that is written over is there
        self._due_ns = 0
        self._is_asked = False
        self._mirror: Mirror | None = None

    def follow(self, mirror: "Mirror | None") -> None:
        """Say of each beat how far the database is."""
        self._mirror = mirror

    def ask(self) -> None:
        """Ask for a clean end; called inside a signal handler."""
        self.stop.set()

    def killed(self) -> str:
        """Return what is said when the user insists on the end."""
        return f"killed; what was counted is on the tape, and the next run in {one_line(self._folder)} seals it"

    def show(self, beat: "Beats") -> None:
        """Print what there is to print."""
        from quantkit.collect.beats import Beat

        if self._is_json:
            import msgspec

            sys.stdout.write(msgspec.json.encode(beat).decode() + "\n")
            sys.stdout.flush()
            if isinstance(beat, Beat) and self._mirror is not None:
                self.mirrored(self._mirror.status)
            return
        if self._is_quiet:
            return
        if self.stop.is_set() and not self._is_asked:
            self._is_asked = True
            self._line(_ENDING)
        if not isinstance(beat, Beat):
            self._line(_text_of(beat, self._folder))
        elif self._is_drawn:
            width = click.get_current_context().terminal_width or _columns()
            sys.stderr.write("\r\x1b[K" + self._status(beat)[: width - 1])
            sys.stderr.flush()
            self._is_open = True
        elif beat.now_ns >= self._due_ns:
            self._due_ns = beat.now_ns + _LINE_EVERY_NS
            self._line(self._status(beat))

    def mirrored(self, status: "MirrorStatus", *, is_last: bool = False) -> None:
        """Say how far the database has followed; without --json at the end alone."""
        if self._is_json:
            import msgspec

            click.echo(msgspec.json.encode(status).decode())
        elif is_last and (status.is_behind or status.error):
            self._line(
                f"note: {status.to} is behind ({one_line(status.error or 'no answer in time')}); "
                f"`quantkit data export {one_line(self._folder)} {status.to}` brings the rest"
            )
        elif is_last and not self._is_quiet:
            self._line(f"brought {status.rows:,} rows to {status.to}")

    def _status(self, beat: "Beats") -> str:
        if self._mirror is None:
            return _status_of(beat)
        return f"{_status_of(beat)}  {_followed(beat, self._mirror.status)}"

    def _line(self, text: str) -> None:
        if self._is_open:
            sys.stderr.write("\r\x1b[K")
            self._is_open = False
        click.echo(text, err=True)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _status_of(beat: "Beats") -> str:
    from quantkit.clock import iso_of
    from quantkit.collect.beats import Beat

    assert isinstance(beat, Beat)
    live = sum(each.state == "live" for each in beat.connections)
    parts = [
        iso_of(beat.now_ns)[11:19],
        f"{beat.rows:,} rows",
        f"{beat.rows_per_s:,.0f}/s",
        f"{beat.gaps:,} gap{'' if beat.gaps == 1 else 's'}",
        f"{live}/{len(beat.connections)} live",
        *([f"{len(beat.refused)} refused"] if beat.refused else []),
        f"sealed to {iso_of(beat.sealed_ns)[11:19]}" if beat.sealed_ns else "nothing sealed yet",
        f"{beat.free_bytes / 1e9:,.0f} GB free",
    ]
    return "  ".join(parts)


def _followed(beat: "Beats", status: "MirrorStatus") -> str:
    from quantkit.collect.beats import Beat

    assert isinstance(beat, Beat)
    if status.error:
        return f"database behind: {one_line(status.error)}"
    if status.last_ns and beat.last_ns > status.last_ns:
        return f"database {(beat.last_ns - status.last_ns) / 1e9:,.1f} s behind"
    return f"{status.rows:,} rows in the database"


def _text_of(beat: "Beats", folder: str) -> str:
    from quantkit.clock import iso_of
    from quantkit.collect.beats import Began, Ended, Sealed, StreamRefused, Tidied
    from quantkit.report.text import counted

    match beat:
        case Began():
            shown = ", ".join(beat.streams[:6]) + (
                f" and {len(beat.streams) - 6} more" if len(beat.streams) > 6 else ""
            )
            again = f"; {counted(beat.recovered, 'row')} of the last run were on the tape" if beat.recovered else ""
            return f"recording {shown} in {one_line(folder)}{again}"
        case StreamRefused():
            why = one_line(f"{beat.stream} was refused: {beat.why}")
            return f"{iso_of(beat.now_ns)[:19]}  {why}; the other streams go on"
        case Sealed():
            files = counted(beat.files, "file")
            return f"{iso_of(beat.now_ns)[:19]}  sealed {counted(beat.rows, 'row')} in {files}"
        case Tidied():
            return f"{iso_of(beat.now_ns)[:19]}  compacted {counted(beat.compacted, 'file')}, removed {beat.removed}"
        case Ended():
            notes = "".join(f"\nnote: {one_line(note)}" for note in beat.notes)
            return f"recorded {counted(beat.rows, 'row')} and {counted(beat.gaps, 'gap')} in {one_line(folder)}{notes}"
        case _:
            return ""
