"""The commands of the command line, put together."""

from quantkit.cli import (
    backtest,
    check,
    data,
    download,
    exporting,
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

#: `data export` adds itself to the group.
__all__ = ["exporting", "main"]

for _command in (
    new.new,
    backtest.backtest,
    check.check,
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
