"""The command line: flags in, text out. Everything heavy is imported inside the command that needs it."""

from quantkit.cli import backtest, data, importing, live, new, sandbox, verify, watch
from quantkit.cli.root import main

__all__ = ["main"]

for _command in (
    new.new,
    backtest.backtest,
    live.live,
    watch.watch,
    verify.verify,
    sandbox.sandbox,
    importing.import_,
    data.data,
):
    main.add_command(_command)
