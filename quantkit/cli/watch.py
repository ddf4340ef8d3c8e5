"""`quantkit watch`: tickers and candles of OKX in the terminal."""

import sys
from typing import TYPE_CHECKING

import click

from quantkit.cli.flags import for_duration, okx_of, okx_options

if TYPE_CHECKING:
    from quantkit.feeds.okx.config import Region


@click.command()
@click.argument("instruments", nargs=-1, required=True, metavar="INSTRUMENT...")
@click.option("--candles", "interval", default="1m", show_default=True, metavar="I", help="Length of the candles.")
@for_duration
@okx_options
@click.option("--plain", is_flag=True, help="Lines instead of the table.")
def watch(
    instruments: tuple[str, ...],
    interval: str,
    duration: str | None,
    region: "Region | None",
    url: str | None,
    ca_file: str | None,
    *,
    is_demo: bool,
    plain: bool,
) -> None:
    """Show live tickers and candles.

    INSTRUMENT is OKX's id: BTC-USDT, BTC-USDT-SWAP. Ctrl-C ends.

    \b
    Examples:
      quantkit watch BTC-USDT ETH-USDT SOL-USDT
      quantkit watch BTC-USDT-SWAP --candles 5m --region eea
      quantkit watch BTC-USDT --for 1m > quotes.txt
    """
    import asyncio

    from quantkit.cli.screen import can_draw
    from quantkit.clock import NS_PER_S, duration_ns, interval_ns

    interval_ns(interval)
    config = okx_of(is_demo=is_demo, region=region, url=url, ca_file=ca_file)
    length_s = None if duration is None else duration_ns(duration) / NS_PER_S

    from quantkit.cli.quotes import Board
    from quantkit.cli.watching import Watch

    board = Board(dict.fromkeys(instruments), interval)
    watched = Watch(config, board, is_drawn=can_draw(sys.stdout) and not plain)
    asyncio.run(watched.run(length_s))
    if watched.is_interrupted:
        raise KeyboardInterrupt
