"""The tools for assistants, driven by the protocol's own client."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from web_runs import DATA, ROOT, one_run

pytest.importorskip("mcp", reason="mcp is not installed: pip install 'quantkit[ci]'")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from quantkit.runs.folder import Runs
from quantkit.web.calls import Calls
from quantkit.web.mcp import TOOLS, Tools, server
from quantkit.web.workshop import Workshop

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

Ask = Callable[..., Awaitable[Any]]
Talk = Callable[[Callable[[Any, Ask], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    one_run(found)
    return found


@pytest.fixture(params=["memory", pytest.param("stdio", marks=pytest.mark.service)])
def talk(request: pytest.FixtureRequest, runs: Path) -> Talk:
    """Talk to the tools within this process, or to the command as an assistant starts it."""

    def opened() -> Client:
        strategies = ROOT / "strategies"
        if request.param == "memory":
            calls = Calls(Runs(runs), DATA)
            return Client(server(Tools(calls, Workshop(strategies, runs=runs, data=DATA))))
        words = ["mcp", "--strategies", str(strategies), "--runs", str(runs), "--data", str(DATA)]
        # The client hands on little of the environment by itself.
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        started = StdioServerParameters(command=sys.executable, args=["-m", "quantkit", *words], env=environment)
        return Client(stdio_client(started))

    def talked_to(talked: Callable[[Any, Ask], Awaitable[None]]) -> None:
        async def go() -> None:
            async with opened() as client:

                async def ask(tool: str, **arguments: Any) -> Any:
                    answer = await client.call_tool(tool, arguments)
                    text = answer.content[0].text
                    return text if answer.is_error else json.loads(text)

                await talked(client, ask)

        asyncio.run(go())

    return talked_to


def test_the_tools_are_described_and_none_trades(talk: Talk) -> None:
    """Each has a description and a schema of what it takes."""

    async def talked(client: Any, _: Ask) -> None:
        tools = (await client.list_tools()).tools
        assert tuple(tool.name for tool in tools) == TOOLS
        assert not [name for name in TOOLS if any(word in name for word in ("order", "buy", "sell", "live", "command"))]
        for tool in tools:
            assert tool.description
            assert tool.input_schema["type"] == "object"

    talk(talked)


def test_an_assistant_finds_its_way(talk: Talk) -> None:
    """Data, strategy, backtest, numbers, fills, assumptions, comparison."""

    async def talked(_: Any, ask: Ask) -> None:
        assert {stream["kind"] for stream in (await ask("list_data", search="BTC"))["streams"]}
        assert "ma_cross.py" in (await ask("list_strategies"))["files"]
        strategy = await ask("validate_strategy", file="ma_cross.py")
        assert strategy["parameters"]["fast"] == 10
        made = await ask("backtest", file="ma_cross.py", parameters={"fast": 5}, start="2025-05-10", end="2025-05-14")
        assert made["report"]["stats"]["fills"] > 0
        listed = await ask("list_runs", search="macross")
        assert {made["run"], "ma_cross"} <= {run["id"] for run in listed["runs"]}
        assert (await ask("get_run", run=made["run"]))["assumptions"] == made["report"]["assumptions"]
        fills = await ask("get_table", run=made["run"], table="fills", limit=2)
        assert (len(fills["rows"]), fills["total"]) == (2, made["report"]["stats"]["fills"])
        numbers = (await ask("get_statistics", run="ma_cross"))["statistics"]
        assert all(number["meaning"] for number in numbers)
        compared = await ask("compare_runs", a="ma_cross", b=made["run"])
        assert compared["parameters"] == [{"name": "fast", "a": 10, "b": 5}]

    talk(talked)


def test_errors_are_one_line(talk: Talk) -> None:
    """Of quantkit, and of arguments that are none."""

    async def talked(_: Any, ask: Ask) -> None:
        for told, tool, arguments in (
            ("is no strategy file of the folder", "validate_strategy", {"file": "../x.py"}),
            ("is no strategy file of the folder", "backtest", {"file": "/etc/passwd"}),
            ("has no parameter", "backtest", {"file": "ma_cross.py", "parameters": {"speed": 1}}),
            ("there is no run", "get_run", {"run": "gone"}),
        ):
            answer = await ask(tool, **arguments)
            assert told in answer
            assert len(answer.splitlines()) == 1

    talk(talked)
