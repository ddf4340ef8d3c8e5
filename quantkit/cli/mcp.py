"""`quantkit mcp`: tools for assistants, over standard input and output."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--strategies",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of strategy files; no other file is run.",
)
@click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Folder that keeps the results.")
@click.option("--data", default="data", show_default=True, metavar="DIR", help="Data folder.")
@click.option("--seconds", default=300, show_default=True, type=click.IntRange(1), help="Time limit of a backtest.")
@click.option("--memory-gb", default=8.0, show_default=True, type=float, help="Memory limit of a backtest.")
def mcp(strategies: Path, runs: str, data: str, *, seconds: int, memory_gb: float) -> None:
    """Serve tools for assistants over standard input and output.

    The model context protocol (MCP): what data there are, validate and backtest the strategy files of a folder,
    results, fills, assumptions, comparisons. No tool trades. Strategies run with your rights, in processes with
    limits on time and memory.

    \b
    Example:
      quantkit mcp --strategies strategies
    """
    from quantkit.runs.folder import Runs
    from quantkit.web.calls import Calls
    from quantkit.web.mcp import Tools, server
    from quantkit.web.workshop import Workshop

    workshop = Workshop(
        strategies, runs=Path(runs), data=Path(data), seconds=seconds, memory_bytes=int(memory_gb * 2**30)
    )
    server(Tools(Calls(Runs(runs), Path(data)), workshop)).run("stdio")
