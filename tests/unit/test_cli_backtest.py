"""`quantkit backtest`: flags reach the run, the result comes out as text, JSON and a folder, errors have codes."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import Candle, MarketEvent
from quantkit.instruments import Instrument
from quantkit.report.result import Result as RunResult
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

ID = "BTC-USDT-SWAP"
START_NS = time_ns_of("2025-05-05")
STRATEGY = '''"""Buys and sells in turn."""

from quantkit.events import Candle
from quantkit.strategy import Strategy


class Flip(Strategy):
    """Hold `qty` every other candle."""

    qty: float = 1.0
    fails: bool = False

    def on_start(self) -> None:
        self.subscribe_candles("BTC-USDT-SWAP", "1m")
        self.seen = 0

    def on_candle(self, candle: Candle) -> None:
        self.seen += 1
        if self.fails:
            hidden = "value " * 2
            raise ValueError(f"failed on request after {len(hidden)}")
        self.target("BTC-USDT-SWAP", self.qty if self.seen % 2 else 0.0)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a strategy and two hours of candles."""
    folder = tmp_path_factory.mktemp("cli")
    prices = 1000 + np.cumsum(np.random.default_rng(3).integers(-5, 6, 121)).astype(float)
    candles: list[MarketEvent] = []
    for minute, (first, last) in enumerate(zip(prices[:-1].tolist(), prices[1:].tolist(), strict=True)):
        open_ns = START_NS + minute * NS_PER_MIN
        close_ns = open_ns + NS_PER_MIN
        high, low = max(first, last) + 1, min(first, last) - 1
        candles.append(Candle(ID, close_ns, close_ns, open_ns, close_ns, first, high, low, last, 5.0, "1m"))
    with Writer(folder / "data", source="test") as writer:
        writer.write_instrument(Instrument(ID, kind="swap", price_step="0.1", qty_step="1", contract_value="0.01"))
        writer.write(Block.from_events(candles))
    (folder / "flip.py").write_text(STRATEGY)
    return folder


def run(place: Path, *arguments: str | Path) -> Result:
    """Run a backtest of the folder's strategy in this process."""
    keep = () if "--runs" in arguments else ("--no-keep",)
    command = ["backtest", str(place / "flip.py"), "--data", str(place / "data"), *keep, *map(str, arguments)]
    return CliRunner().invoke(main, command)


def numbers(place: Path, *arguments: str | Path) -> Any:
    """Return the JSON of a backtest."""
    result = run(place, *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return msgspec.json.decode(result.stdout)


def test_text_shows_assumptions_and_numbers(place: Path) -> None:
    """Off a terminal there is no bar, and nothing but the summary."""
    result = run(place)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    for part in ("Assumptions", "Flip", "Return [%]", "# Trades", "Fills", "money in USDT"):
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_benchmark_is_named_by_its_id(place: Path) -> None:
    """The default is the first traded instrument; what nobody has is refused in one line."""
    stats = numbers(place)["stats"]
    assert (stats["benchmark"], stats["drawdown_marks"]) == (ID, "closes of 1m")
    assert numbers(place, "--benchmark", ID)["stats"] == stats
    refused = run(place, "--benchmark", "X-USDT")
    assert refused.exit_code != 0
    assert "benchmark 'X-USDT' is no instrument of the run or its data" in refused.stderr


def test_json_is_one_object_and_repeats(place: Path) -> None:
    """The same command gives the same hash."""
    first, second = numbers(place), numbers(place)
    assert first["stats"]["fills"] > 100
    assert first["hash"] == second["hash"]


def test_what_a_strategy_prints_is_no_part_of_the_json(place: Path) -> None:
    """It goes to standard error, from the file as from a hook; without --json it stays where it was sent."""
    talks = STRATEGY.replace("        self.seen = 0", "        self.seen = 0\n        print('from the hook')")
    (place / "talks.py").write_text(f"{talks}\n\nprint('from the file')\n")
    command = ["backtest", str(place / "talks.py"), "--data", str(place / "data"), "--no-keep"]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.stdout)["stats"]["fills"] > 100
    assert result.stderr.splitlines() == ["from the file", "from the hook"]
    plain = CliRunner().invoke(main, command)
    assert plain.stdout.splitlines()[:2] == ["from the file", "from the hook"]
    assert plain.stderr == ""


def test_flags_reach_the_run(place: Path) -> None:
    """Each of them changes what it is there to change."""
    plain = numbers(place)["stats"]
    double = numbers(place, "-p", "qty=2", "--cash", "USDT=500")["stats"]
    assert double["equity_start"] == 500
    assert double["fees_paid"] == pytest.approx(2 * plain["fees_paid"])
    free = numbers(place, "--fees-maker-bps", "0", "--fees-taker-bps", "0")["stats"]
    assert free["fees_paid"] == 0
    hour = numbers(place, "--from", "2025-05-05T00:30:00Z", "--to", "2025-05-05T01:30:00Z")["stats"]
    assert (hour["start"], hour["duration_s"]) == ("2025-05-05T00:30:00+00:00", 3600)
    counted = numbers(place, "--match-on", "candle", "--latency-ms", "0", "--seed", "5", "--report-currency", "USDT")
    assert counted["stats"]["fills"] == plain["fills"]
    each = numbers(place, "--match-on", f"{ID}=candle", "--max-leverage", "2")
    assert each["stats"]["fills"] == plain["fills"]


def test_save_keeps_the_result(place: Path, tmp_path: Path) -> None:
    """What was saved loads to the hash that was printed."""
    printed = numbers(place, "--save", tmp_path / "run")
    assert printed["saved_to"] == str(tmp_path / "run")
    loaded = RunResult.load(tmp_path / "run")
    assert loaded.hash == printed["hash"]
    assert len(loaded.fills) == printed["stats"]["fills"]
    assert run(place, "--save", tmp_path / "run").exit_code == 2


def test_quiet_prints_nothing(place: Path) -> None:
    """For scripts that want the folder or the exit code alone."""
    result = run(place, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_strategy_that_raises_exits_with_1(place: Path) -> None:
    """Hook, market time and the user's line; no values of variables."""
    result = run(place, "-p", "fails=true")
    assert result.exit_code == 1
    assert "on_candle" in result.stderr
    assert "2025-05-05T00:01:00Z" in result.stderr
    assert "failed on request after 12" in result.stderr
    assert "flip.py" in result.stderr
    assert "value value" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "qtty=1"],
        ["-p", "qty=much"],
        ["--from", "yesterday"],
        ["--match-on", "tea"],
        ["--latency-ms", "20", "--match-on", "candle"],
        ["--report-currency", "EUR"],
    ],
)
def test_what_the_user_can_fix_exits_with_2(place: Path, arguments: list[str]) -> None:
    """One line that says what is wrong."""
    result = run(place, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("quantkit: error: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_strategy_exits_with_2(place: Path) -> None:
    """Neither a file nor a name."""
    result = CliRunner().invoke(main, ["backtest", "no_such_thing", "--data", str(place / "data")])
    assert result.exit_code == 2
    assert "no_such_thing" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_the_bar_is_drawn_on_standard_error_of_a_terminal(place: Path) -> None:
    """Standard output stays the summary alone, ready to be piped."""
    import pty

    reader, terminal = pty.openpty()
    words = ["backtest", str(place / "flip.py"), "--data", str(place / "data"), "--no-keep"]
    command = [sys.executable, "-m", "quantkit", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    ) as process:
        os.close(terminal)
        drawn = b""
        # A terminal whose other side is gone ends in an error on Linux and in nothing elsewhere.
        with contextlib.suppress(OSError):
            while part := os.read(reader, 4096):
                drawn += part
        assert process.stdout is not None
        shown = process.stdout.read()
    os.close(reader)
    assert process.returncode == 0
    assert b"Sharpe Ratio" in shown
    assert b"\x1b" not in shown
    assert b"\x1b" in drawn
