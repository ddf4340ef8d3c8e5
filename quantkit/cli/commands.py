"""The commands of the command line, put together."""

from quantkit.cli import (
    backtest,
    data,
    download,
    importing,
    live,
    mcp,
    new,
    record,
    runs,
    sandbox,
    serve,
    verify,
    watch,
)
from quantkit.cli.root import main

__all__ = ["main"]

for _command in (
    new.new,
    backtest.backtest,
    live.live,
    runs.runs,
    serve.serve,
    watch.watch,
    verify.verify,
    sandbox.sandbox,
    download.download,
    record.record,
    importing.import_,
    data.data,
    mcp.mcp,
):
    main.add_command(_command)
