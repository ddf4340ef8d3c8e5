"""`quantkit sandbox`: the local exchange that speaks OKX's protocol."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantkit.errors import ConfigError

if TYPE_CHECKING:
    from quantkit.sandbox.market import MarketSource


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65_535), metavar="N", help="0 takes a free one."
)
@click.option("--instruments", type=int, metavar="N", help="How many instruments to make up.  [default: 6]")
@click.option("--rate", type=float, metavar="X", help="Orders a second in each instrument.  [default: 30]")
@click.option("--seed", type=int, metavar="N", help="Of everything that is random; the same one, the same prices.")
@click.option(
    "--speed", type=float, metavar="X", help="Replay FILEs so many times faster; 0: as fast as possible.  [default: 1]"
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="SPEC",
    help="Let something go wrong, for example close,code=4004,after_s=30; repeat for more.",
)
@click.option("--demo", "is_demo", is_flag=True, help="Be the demo environment, which takes demo keys only.")
@click.option("--certificate", type=click.Path(path_type=Path), metavar="F", help="PEM file; speak TLS.")
@click.option("--key", type=click.Path(path_type=Path), metavar="F", help="PEM file of the certificate's key.")
def sandbox(
    files: tuple[Path, ...],
    host: str,
    port: int,
    instruments: int | None,
    rate: float | None,
    seed: int | None,
    speed: float | None,
    faults: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    *,
    is_demo: bool,
) -> None:
    """Run a local exchange that speaks OKX's protocol.

    Without FILE its market is made up: books, trades, candles and rates that belong together. FILEs are recorded OKX
    frames (and instruments), sent again as they were. Ctrl-C ends it.

    \b
    Faults, each with path=, channel=, instrument=, times=, after_s=:
      gap duplicate crossed reset malformed unknown stall close drop notice
      refuse no_ack no_snapshot login_failure handshake rest clock_skew
      account_connections

    \b
    Examples:
      quantkit sandbox
      quantkit sandbox --port 9000 --instruments 50 --rate 5
      quantkit sandbox --fault gap,channel=books,after_s=10 --fault notice
      quantkit sandbox capture.log.gz instruments.log.gz --speed 10
    """
    market = _market(files, instruments=instruments, rate=rate, seed=seed, speed=speed)
    if (certificate is None) is not (key is None):
        raise ConfigError("--certificate and --key go together; give both")

    from quantkit.sandbox.faults import parse_fault
    from quantkit.sandbox.server import serve

    wanted = [parse_fault(text) for text in faults]
    serve(
        host=host,
        port=port,
        market=market,
        is_demo=is_demo,
        faults=wanted,
        certificate=certificate,
        key=key,
        on_ready=lambda url: _print_ready(url, market),
    )


def _market(
    files: tuple[Path, ...], *, instruments: int | None, rate: float | None, seed: int | None, speed: float | None
) -> "MarketSource":
    """Return the market that the flags ask for.

    Raises:
        ConfigError: Flags of the one kind of market are given with the other.
    """
    made_up = {"--instruments": instruments, "--rate": rate, "--seed": seed}
    if files:
        wrong = [flag for flag, value in made_up.items() if value is not None]
        if wrong:
            raise ConfigError(f"{wrong[0]} is for a market that is made up; leave it out, or the files")

        from quantkit.sandbox.recorded import RecordedMarket

        return RecordedMarket(files, speed=1.0 if speed is None else speed)
    if speed is not None:
        raise ConfigError("--speed is for recorded frames; name the files, or leave it out")

    from quantkit.sandbox.generated import GeneratedMarket

    return GeneratedMarket(
        1 if seed is None else seed,
        6 if instruments is None else instruments,
        orders_per_s=30.0 if rate is None else rate,
    )


def _print_ready(url: str, market: "MarketSource") -> None:
    """Say where it listens, what it trades, and what to type next."""
    base = "ws" + url.removeprefix("http")
    names = list(dict.fromkeys(str(row["instId"]) for row in market.instruments()))
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    click.echo(f"sandbox ready at {base}: {shown or 'no instruments'}")
    commands = _commands(market)
    if commands:
        click.echo("In another terminal:")
        for command in commands:
            click.echo(f"  {command} --url {base}")
    elif not names:
        click.echo("Clients ask for instruments first: name a recording of public/instruments too.")
    else:
        click.echo(
            "For clients of your own: these files hold neither tickers nor candles nor whole books of an instrument."
        )
    click.echo("Ctrl-C ends it.")


def _commands(market: "MarketSource") -> list[str]:
    """Return the commands that work with a market: a recorded one need not hold what they subscribe."""
    from quantkit.sandbox.channels import Topic

    # A swap in USDT is what the example strategies are made for.
    rows = sorted(
        market.instruments(),
        key=lambda row: (not row["instId"].endswith("USDT-SWAP"), not row["instId"].endswith("USDT")),
    )

    def first(kinds: dict[str, tuple[str, ...]]) -> str:
        """Return the first instrument of which all channels are there that its type needs; empty for none."""
        for row in rows:
            channels = kinds.get(row["instType"], ())
            if channels and all(market.has(Topic(channel, row["instId"])) for channel in channels):
                return str(row["instId"])
        return ""

    book = ("books", "trades")
    watched = first(dict.fromkeys(("SPOT", "SWAP", "FUTURES", "OPTION"), ("tickers",)))
    quoted = first({"SPOT": book, "SWAP": (*book, "mark-price", "funding-rate")})
    return [
        *([f"quantkit watch {watched}"] if watched else []),
        *([f"quantkit live --paper quoter -p instrument={quoted} -p half_spread_bps=0.1"] if quoted else []),
    ]
