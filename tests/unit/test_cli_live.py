"""`quantkit live` before it connects: flags, and what is refused with one line."""

import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def test_real_orders_are_not_built_yet() -> None:
    """One line, whatever else is given."""
    result = run("live", "quoter", "--url", "ws://127.0.0.1:9")
    assert result.exit_code == 2
    assert result.stderr == (
        "quantkit: error: real orders are not built yet; add --paper to run with simulated fills\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--for", "soon"], "duration 'soon' is not understood"),
        (["--for", "0s"], "must be above zero"),
        (["--region", "mars"], "'mars' is not one of"),
        (["--region", "eea", "--url", "ws://127.0.0.1:9"], "give one of them"),
        (["--url", "ftp://127.0.0.1"], "its scheme is not ws, wss, http or https"),
        (["--url", "127.0.0.1:8765"], "write for example ws://127.0.0.1:8765"),
        (["--url", "ws://name:pass@127.0.0.1"], "it holds a user name or password"),
        (["--fees-taker-bps", "1"], "--fees-maker-bps and --fees-taker-bps go together"),
        (["-p", "qty"], "'qty' is not of the form NAME=VALUE"),
        (["--cash", "USDT=much"], "'much' is not a number"),
        (["--control", "--no-record"], "--control needs the recording"),
        (["--serve", "--no-record"], "--serve needs the recording"),
        (["--serve", "8767"], "--serve 8767: give HOST:PORT"),
        (["--serve", "localhost:x"], "--serve localhost:x: give HOST:PORT"),
        (["--serve", ":8767"], "--serve :8767: give HOST:PORT"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_flags_are_refused_before_the_run(arguments: list[str], why: str) -> None:
    """Each says what is wrong with it, and exits with 2."""
    result = run("live", "--paper", "quoter", *arguments)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Missing argument"),
        (["BTC-USDT", "--candles", "7m"], "interval '7m' is not known"),
        (["BTC-USDT", "--for", "soon"], "duration 'soon' is not understood"),
        (["BTC-USDT", "--region", "eea", "--url", "ws://127.0.0.1:9"], "give one of them"),
        (["BTC-USDT", "--url", "nonsense"], "its scheme is not ws, wss, http or https"),
    ],
)
def test_wrong_flags_of_watch_are_refused(arguments: list[str], why: str) -> None:
    """Before anything is connected."""
    result = run("watch", *arguments)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())
