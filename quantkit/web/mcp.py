"""Tools for assistants, over the model context protocol: the calls of the API, and backtests of one folder's files.

Nothing here trades.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec

import msgspec

from quantkit.errors import ConfigError, QuantkitError
from quantkit.web.calls import Calls
from quantkit.web.workshop import Workshop

if TYPE_CHECKING:
    from mcp.server import MCPServer

_P = ParamSpec("_P")
_ROWS_MAX: Final = 200
_INSTRUCTIONS: Final = (
    "quantkit backtests trading strategies on recorded markets. Look at the data first, validate a strategy file, "
    "backtest it, then read statistics, assumptions and warnings together: a result without its assumptions says "
    "little. Runs are kept and named by ids. No tool places an order."
)


class Tools:
    """What an assistant can ask for; each public method is a tool, its docstring the description.

    Args:
        calls: Runs and data.
        workshop: Strategy files that may be run.
    """

    def __init__(self, calls: Calls, workshop: Workshop) -> None:
        self._calls = calls
        self._workshop = workshop

    def list_data(self, search: str = "") -> dict[str, Any]:
        """List the market data there are: instrument, kind, interval, span and rows of each stream."""
        return _plain(self._calls.data(search))

    def list_strategies(self) -> dict[str, Any]:
        """List the strategy files that can be validated and backtested."""
        return {"files": self._workshop.files()}

    def validate_strategy(self, file: str) -> dict[str, Any]:
        """Load a strategy file in a process of its own; return its class and its parameters with their defaults."""
        return _plain(self._workshop.validate(file))

    def backtest(
        self,
        file: str,
        parameters: dict[str, str | int | float | bool] | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> dict[str, Any]:
        """Backtest a strategy file; return statistics, assumptions, warnings, and the id of the run that was kept.

        `start` and `end` are UTC, such as 2025-05-05 or 2025-05-05T12:00:00Z; default all the data.
        """
        return _plain(self._workshop.backtest(file, parameters or {}, start=start, end=end))

    def list_runs(self, search: str = "", limit: int = 20) -> dict[str, Any]:
        """List runs, newest first, with their main numbers; each word of `search` has to be found in a run."""
        return _plain(self._calls.list_runs(search, max(1, min(limit, _ROWS_MAX)), 0))

    def get_run(self, run: str) -> dict[str, Any]:
        """Return one run: assumptions, warnings, configuration, and how many rows its tables have."""
        return _plain(self._calls.get_run(run))

    def get_statistics(self, run: str) -> dict[str, Any]:
        """Return every statistic of a run with its meaning."""
        return {"statistics": msgspec.to_builtins(self._calls.numbers(run))}

    def get_table(
        self,
        run: str,
        table: Literal["orders", "order_events", "fills", "equity", "round_trips", "open_trips", "returns"],
        offset: int = 0,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Return rows of a table of a run, 200 at most at a time; `total` says how many there are."""
        return _plain(self._calls.table(run, table, max(0, offset), max(1, min(limit, _ROWS_MAX))))

    def compare_runs(self, a: str, b: str) -> dict[str, Any]:
        """Return where two runs differ: code, parameters, options, data, assumptions, numbers, first other order."""
        return _plain(self._calls.compare(a, b))


#: The tools, by name.
TOOLS: Final = tuple(name for name in vars(Tools) if not name.startswith("_"))


def server(tools: Tools) -> "MCPServer":
    """Return the server of the tools.

    Raises:
        ConfigError: The protocol's package is not installed.
    """
    try:
        from mcp.server import MCPServer
    except ImportError:
        raise ConfigError("the package mcp is not installed: pip install 'quantkit[mcp]'") from None
    found: MCPServer = MCPServer(
        "quantkit", instructions=_INSTRUCTIONS, version=version("quantkit"), log_level="CRITICAL"
    )
    for name in TOOLS:
        found.tool(name=name)(_told(getattr(tools, name)))
    return found


def _told(tool: Callable[_P, dict[str, Any]]) -> Callable[_P, Awaitable[dict[str, Any]]]:
    """Return a tool that works in a thread and whose errors are one line for the assistant."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    async def told(*arguments: _P.args, **named: _P.kwargs) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(tool, *arguments, **named)
        except QuantkitError as error:
            raise ToolError(" ".join(str(error).split())) from None

    return told


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return found
