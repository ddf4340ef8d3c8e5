"""The command line's frame: help, version, start-up time, exit codes, and how errors are told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.cli.root import Main, one_line
from quantkit.errors import ConfigError, DataError, FeedError, StrategyError
from quantkit.importers import FORMATS

HEAVY = ("numpy", "pandas", "pyarrow", "rich", "websockets", "httpx2", "starlette", "uvicorn", "msgspec", "asyncio")


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def run_process(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "quantkit", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["backtest"],
        ["live"],
        ["watch"],
        ["verify"],
        ["sandbox"],
        ["serve"],
        ["mcp"],
        ["download"],
        ["import"],
        ["data"],
        ["data", "ls"],
        ["data", "check"],
        ["runs"],
        ["runs", "ls"],
        ["runs", "show"],
        ["runs", "diff"],
        ["runs", "report"],
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    """`--help` and `-h` give a text that fits the terminal it was asked for."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert max(map(len, result.output.splitlines())) <= 80
    assert run(*command, "-h").output == result.output


def test_help_of_commands_has_examples() -> None:
    """A newcomer copies a line and it works."""
    for command in ("backtest", "download", "import", "live", "runs", "watch", "verify", "sandbox", "serve", "mcp"):
        assert f"quantkit {command}" in run(command, "--help").output.partition("Example")[2]


def test_help_of_import_names_every_format() -> None:
    """What can be imported is told where one looks for it."""
    words = run("import", "--help").output.replace(",", " ").split()
    assert [name for name in FORMATS if name not in words] == []


def test_version() -> None:
    """The installed version, on one line."""
    result = run("--version")
    assert re.fullmatch(r"quantkit \d+\.\d+\.\d+\n", result.output)


@pytest.mark.parametrize("command", ["backtest", "live", "runs", "watch", "verify", "sandbox"])
def test_help_loads_nothing_heavy(command: str) -> None:
    """What a command does not need is not imported: this is what keeps `--help` fast."""
    code = (
        "import sys\nfrom quantkit.cli import main\n"
        f"try: main([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_completion_comes_with_click(tmp_path: Path) -> None:
    """The shell asks for what may follow and gets the commands."""
    done = subprocess.run(
        [sys.executable, "-c", "from quantkit.cli import main; main(prog_name='quantkit')"],
        env={
            **os.environ,
            "_QUANTKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": "quantkit ",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert {"plain,backtest", "plain,live", "plain,watch", "plain,data", "plain,import"} <= set(done.stdout.split())


@click.group(cls=Main)
def _failing() -> None:
    """Commands that end in every way."""


@_failing.command()
@click.argument("how")
def end(how: str) -> None:
    """End in the way asked for."""
    endings: dict[str, BaseException] = {
        "config": ConfigError("the flag --x is wrong;\n   use --y"),
        "data": DataError("row 7 is no row"),
        "feed": FeedError("lost"),
        "interrupt": KeyboardInterrupt(),
        "bug": ZeroDivisionError("ours"),
    }
    if how == "strategy":
        secret = "value " * 2
        try:
            raise KeyError(len(secret))
        except KeyError as error:
            raise StrategyError("MaCross.on_candle raised KeyError: 12", hook="on_candle", now_ns=10**18) from error
    raise endings[how]


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("config", 2, "quantkit: error: the flag --x is wrong; use --y\n"),
        ("data", 1, "quantkit: error: row 7 is no row\n"),
        ("feed", 1, "quantkit: error: lost\n"),
        ("interrupt", 130, "quantkit: interrupted\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(how: str, code: int, text: str) -> None:
    """What the user can fix is 2, what failed is 1, Ctrl-C is 130; standard output stays clean."""
    result = CliRunner().invoke(_failing, ["end", how])
    assert (result.exit_code, result.stderr, result.stdout) == (code, text, "")


def test_a_strategys_error_shows_hook_moment_and_traceback() -> None:
    """The user's own lines are shown, the values of variables are not."""
    result = CliRunner().invoke(_failing, ["end", "strategy"])
    assert result.exit_code == 1
    assert result.stderr.startswith("quantkit: error: MaCross.on_candle raised KeyError: 12\n")
    assert "hook on_candle at 2001-09-09T01:46:40Z (market time)" in result.stderr
    assert "raise KeyError(" in result.stderr
    assert "test_cli_main.py" in result.stderr
    assert "value value" not in result.stderr


def test_outside_text_in_an_error_commands_no_terminal() -> None:
    """What an exchange or a file says may hold escapes; the line that quotes it holds none."""
    assert one_line("refused:\n\x1b]0;title\x07 no\x1b[2J\u202e\r\n") == "refused: ]0;title no[2J"


def test_a_bug_of_ours_is_not_hidden() -> None:
    """An exception that nobody raised on purpose keeps its traceback."""
    result = CliRunner().invoke(_failing, ["end", "bug"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_usage_errors_exit_with_2() -> None:
    """Unknown commands, flags and missing arguments."""
    for arguments in (["nonsense"], ["backtest"], ["backtest", "x", "--nonsense"], ["import", "candles"]):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert "Usage: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-p", "fast"], "'fast' is not of the form NAME=VALUE"),
        (["-p", "=5"], "'=5' is not of the form NAME=VALUE"),
        (["-p", "fast=1", "-p", "fast=2"], "fast is given twice"),
        (["--cash", "USDT"], "'USDT' is not of the form CURRENCY=AMOUNT"),
        (["--cash", "USDT=lots"], "'lots' is not a number"),
        (["--cash", "USDT=inf"], "'inf' is not a finite number"),
        (["--match-on", "trade", "--match-on", "candle"], "give one KIND alone"),
        (["--match-on", "trade", "--match-on", "BTC-USDT=candle"], "give one KIND alone"),
        (["--match-on", "BTC=trade", "--match-on", "BTC=candle"], "BTC is given twice"),
        (["--fees-maker-bps", "1"], "--fees-maker-bps and --fees-taker-bps go together"),
        (["--fees-maker-bps", "1", "--fees-taker-bps", "9999"], "taker_bps is 9999"),
        (["--seed", "x"], "'x' is not a valid integer"),
    ],
)
def test_wrong_flags_are_refused_before_the_run(arguments: list[str], why: str) -> None:
    """Each says what is wrong with it, and exits with 2."""
    result = run("backtest", "ma_cross", *arguments)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())


def test_save_is_refused_before_the_run(tmp_path: Path) -> None:
    """A folder that holds something is not found out after an hour."""
    (tmp_path / "kept.txt").write_text("mine")
    result = run("backtest", "ma_cross", "--save", str(tmp_path))
    assert result.exit_code == 2
    assert f"{tmp_path} exists already and is not empty" in result.stderr


def test_a_closed_pipe_is_quiet() -> None:
    """`quantkit ... | head -1` ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quantkit", "backtest", "--help"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip() == ""


def test_a_missing_data_folder_says_what_to_do(tmp_path: Path) -> None:
    """The first thing that goes wrong for a newcomer."""
    done = run_process("data", "ls", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"quantkit: error: data folder nowhere .*quantkit import.*\n", done.stderr)
    assert done.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["data", "ls", "--json"], ["--help"], ["data", "--help"]])
def test_output_that_finds_no_space_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quantkit", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "quantkit: error: the output cannot be written: no space left; free some, or print elsewhere\n"
    )


def test_output_that_takes_ascii_alone_gets_plain_signs(tmp_path: Path) -> None:
    """Bullets, bars and boxes are not worth a traceback after a run."""
    strategy = tmp_path / "s.py"
    strategy.write_text(
        "import quantkit as qk\n\n\nclass S(qk.Strategy):\n    def on_start(self):\n"
        "        self.subscribe_candles('binance:BTC-USDT-SWAP', '1h')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "quantkit", "backtest", str(strategy), "--no-keep"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Return [%]" in done.stdout
    assert " - " in done.stdout
    assert done.stdout.isascii()
