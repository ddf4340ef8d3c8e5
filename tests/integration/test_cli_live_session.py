"""The live commands against the sandbox on real sockets: a session from `sandbox` to `verify`, and how each ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.cli.sandbox import _print_ready
from quantkit.sandbox import faults
from quantkit.sandbox.recorded import RecordedMarket
from quantkit.sandbox.server import SandboxServer

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pseudo-terminals")
QUANTKIT = [sys.executable, "-m", "quantkit"]
STRATEGY = '''"""Buys once, and does what else it is told to."""

from pathlib import Path

from quantkit import Strategy, Ticker


class Once(Strategy):
    """Buy `qty` at the first ticker."""

    instrument: str = "BTC-USDT"
    qty: float = 0.01
    fails_at: int = 0

    def on_start(self) -> None:
        self.subscribe_tickers(self.instrument)
        self.seen = 0

    def on_ticker(self, ticker: Ticker) -> None:
        self.seen += 1
        if self.seen == 1:
            print("first ticker", flush=True)
            self.log.info("buying")
            self.buy(self.instrument, self.qty)
        if self.seen == self.fails_at:
            raise ValueError("failed on request")
        if self.seen == 20 and Path("hang").exists():
            print("hanging", flush=True)
            while True:
                pass
'''


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    """A local exchange."""
    with SandboxServer() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a strategy, to work in."""
    (tmp_path / "once.py").write_text(STRATEGY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def live(sandbox: SandboxServer, *arguments: str) -> list[str]:
    """Return the words of a paper run against the sandbox."""
    return ["live", "--paper", "once.py", "--url", sandbox.ws_url, *arguments]


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start the command line as a user does; it is gone in the end whatever happens."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen([*QUANTKIT, *arguments], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(stream: IO[str] | None, text: str) -> str:
    """Return everything up to and with the first line that holds a text."""
    assert stream is not None
    read = ""
    for line in stream:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} never came: {read}")


def only_run(place: Path) -> Path:
    """Return the folder of the only run that was recorded."""
    (folder,) = (place / "runs").iterdir()
    return folder


# live and verify ----------------------------------------------------------------------------------------------


def test_a_paper_run_ends_like_a_backtest_and_verifies(sandbox: SandboxServer, place: Path) -> None:
    """The summary, where it lies, and the command that repeats it: word for word."""
    result = run(*live(sandbox, "--for", "2s", "--latency-ms", "5"))
    assert result.exit_code == 0, result.output
    for part in ("Assumptions", "Once", "# Trades", "Fills", "money in USDT", "latency 5 ms"):
        assert part in result.stdout
    assert re.search(r"^\d:\d\d:\d\d  Once  equity ", result.stderr, re.MULTILINE)
    folder = only_run(place).relative_to(place)
    assert result.stdout.endswith(f"Recorded in {folder}; replay it with\n  quantkit verify {folder}\n")
    verified = run("verify", str(folder))
    assert verified.exit_code == 0, verified.output
    assert verified.stdout.startswith(f"identical: {folder}\n")
    # A market order takes a fill for each level of the book that it needs.
    assert re.search(r" 1 order, [1-9] fills?;", verified.stdout)
    verdict = msgspec.json.decode(run("verify", str(folder), "--json").stdout)
    assert (verdict["is_identical"], verdict["orders"], verdict["difference"]) == (True, 1, None)


def test_a_changed_strategy_shows_the_first_difference(sandbox: SandboxServer, place: Path) -> None:
    """With both sides, and exit code 1, when the user names the file; it does not run for the recorded one."""
    assert run(*live(sandbox, "--for", "2s", "--quiet")).exit_code == 0
    folder = only_run(place)
    (place / "once.py").write_text(STRATEGY.replace("self.buy(", "self.sell("))
    refused = run("verify", str(folder))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "once.py has changed since the run was recorded; `quantkit verify" in refused.stderr
    result = run("verify", str(folder), "--strategy", str(place / "once.py"))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"different: {folder}\n")
    assert re.search(r"^  recorded  .*buy", result.stdout, re.MULTILINE)
    assert re.search(r"^  replayed  .*sell", result.stdout, re.MULTILINE)
    assert "note: " in result.stdout


def test_json_is_one_object(sandbox: SandboxServer, place: Path) -> None:
    """What the strategy prints goes to standard error, and nothing is recorded when nothing is to be."""
    result = run(*live(sandbox, "--for", "2s", "--json", "--no-record"))
    assert result.exit_code == 0, result.output
    stats = msgspec.json.decode(result.stdout)["stats"]
    assert stats["orders"] == 1
    assert stats["fills"] >= 1
    assert "first ticker" in result.stderr
    assert not (place / "runs").exists()


def test_quiet_prints_what_the_strategy_prints_and_nothing_else(sandbox: SandboxServer, place: Path) -> None:
    """The recording goes where it is told to."""
    result = run(*live(sandbox, "--for", "1s", "--quiet", "--record", "kept"))
    assert (result.exit_code, result.output) == (0, "first ticker\n")
    assert len(list((place / "kept").iterdir())) == 1


def test_a_feed_that_is_lost_gives_a_result_and_fails(place: Path) -> None:
    """What was done until then is kept and printed; the exit code says that the run did not end as it should."""
    with SandboxServer() as own:
        own.inject(faults.Close(code=4008, reason="too many channels", path="public", after_s=4.0))
        result = run(*live(own, "--for", "60s"))
    assert result.exit_code == 1, result.output
    assert "Return [%]" in result.output
    assert "the feed was lost and the run ended with it" in " ".join(result.output.split())
    assert (only_run(place) / "result" / "manifest.json").is_file()
    assert run("verify", str(only_run(place))).exit_code == 0


@pytest.mark.parametrize("at", [1, 3])
def test_a_strategy_that_raises_leaves_a_recording_and_a_result(sandbox: SandboxServer, place: Path, at: int) -> None:
    """The hook and the user's line, and what came before it, be it nothing."""
    result = run(*live(sandbox, "--for", "20s", "-p", f"fails_at={at}"))
    assert result.exit_code == 1
    folder = only_run(place).relative_to(place)
    assert "The run ended early: strategy_error at" in result.stdout
    assert f"quantkit verify {folder}" in result.stdout
    assert (place / folder / "result" / "manifest.json").is_file()
    assert "quantkit: error: " in result.stderr
    assert "failed on request" in result.stderr
    assert "on_ticker" in result.stderr
    verified = run("verify", str(folder))
    assert verified.exit_code == 0, verified.output
    assert "ended: strategy_error" in verified.stdout


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly(sandbox: SandboxServer, place: Path, number: signal.Signals) -> None:
    """The result is printed and the recording sealed."""
    with started(*live(sandbox, "--plain"), cwd=place) as process:
        # The strategy's own line and the first one about the run come in either order.
        said = wait_for(process.stderr, "INFO quantkit.strategy.Once: buying\n")
        assert "  Once  equity " in said or wait_for(process.stderr, "  Once  equity ")
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
    assert "money in USDT" in out
    folder = only_run(place)
    assert f"quantkit verify runs/{folder.name}\n" in out
    assert run("verify", str(folder)).exit_code == 0


@posix
def test_a_second_signal_ends_a_hook_that_hangs(sandbox: SandboxServer, place: Path) -> None:
    """The process is gone at once, and the recording can be read up to there."""
    (place / "hang").touch()
    with started(*live(sandbox, "--plain"), cwd=place) as process:
        wait_for(process.stdout, "hanging")
        # A signal that comes while the one before it is still waiting to be seen counts for nothing.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    folder = only_run(place)
    assert f"quantkit data rebuild runs/{folder.name} writes its rows" in err
    assert err.endswith(f"quantkit verify runs/{folder.name} repeats it up to here\n")
    (place / "hang").unlink()  # the repeated run must not hang too
    verified = run("verify", str(folder))
    assert verified.exit_code == 0, verified.output
    assert "ended: cut short" in verified.stdout


@posix
def test_the_view_is_drawn_on_a_terminal(sandbox: SandboxServer, place: Path) -> None:
    """On standard error; standard output stays the result alone, and the terminal is left as it was."""
    import pty

    reader, terminal = pty.openpty()
    options = {"stderr": terminal, "env": {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}}
    drawn = b""
    with started(*live(sandbox), cwd=place, **options) as process:
        os.close(terminal)
        # A terminal whose other side is gone ends in an error on Linux and in nothing elsewhere.
        with suppress(OSError):
            while part := os.read(reader, 65_536):
                drawn += part
                if b"first ticker" in drawn and b"BTC-USDT ticker" in drawn and process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    break
            while part := os.read(reader, 65_536):
                drawn += part
        os.close(reader)
        assert process.stdout is not None
        out = process.stdout.read()
        assert process.wait(120) == 0
    before, after = drawn.split(b"\x1b[?1049l")
    assert before.startswith(b"\x1b[?1049h")
    assert b"Connections" in before
    # What the strategy printed and logged is still there when the view has gone.
    assert b"first ticker" in after
    assert b"buying" in after
    assert b"\x1b[?25h" in after or before.rindex(b"\x1b[?25h") > before.rindex(b"\x1b[?25l")
    assert "\x1b" not in out
    assert "money in USDT" in out


def test_an_instrument_that_is_not_there(sandbox: SandboxServer, place: Path) -> None:
    """One line that names what is."""
    result = run(*live(sandbox, "-p", "instrument=BTC-USDX"))
    assert result.exit_code in (1, 2)
    assert result.stderr.count("\n") == 1
    assert "BTC-USDX" in result.stderr
    assert "BTC-USDT" in result.stderr


# watch --------------------------------------------------------------------------------------------------------


def test_watch_prints_candles_and_quotes(sandbox: SandboxServer) -> None:
    """Lines when there is no terminal, the last quotes at the end, the connections on standard error."""
    result = run("watch", "BTC-USDT", "ETH-USDT", "--candles", "1s", "--for", "3s", "--url", sandbox.ws_url)
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^\d\d:\d\d:\d\d  BTC-USDT  1s candle of .*  close [\d,]+\.\d  volume ", result.stdout, re.MULTILINE
    )
    quotes = result.stdout.splitlines()[-2:]
    assert re.match(r"\d\d:\d\d:\d\d  BTC-USDT  last .*  bid .*  ask .*  spread \d.* bps", quotes[0])
    assert "  ETH-USDT  last " in quotes[1]
    assert "public 1 live" in result.stderr


def test_watch_tells_of_an_unknown_instrument(sandbox: SandboxServer) -> None:
    """One line, with what may have been meant."""
    result = run("watch", "BTC-USDX", "--url", sandbox.ws_url)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "BTC-USDX" in result.stderr
    assert result.stderr.endswith("did you mean BTC-USDT?\n")


@posix
def test_watch_draws_a_table_on_a_terminal_and_ends_on_a_signal(sandbox: SandboxServer) -> None:
    """The terminal is left as it was, with the last quotes on it."""
    import pty

    reader, terminal = pty.openpty()
    options = {"stdout": terminal, "env": {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}}
    drawn = b""
    with started("watch", "BTC-USDT", "--url", sandbox.ws_url, **options) as process:
        os.close(terminal)
        with suppress(OSError):
            while part := os.read(reader, 65_536):
                drawn += part
                if b"forming" in drawn and process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    break
            while part := os.read(reader, 65_536):
                drawn += part
        os.close(reader)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    before, after = drawn.split(b"\x1b[?1049l")
    assert b"BTC-USDT 1m" in before
    assert re.search(rb"BTC-USDT  last [\d,.]+  bid ", after)


@pytest.mark.parametrize("command", [["watch", "BTC-USDT"], ["live", "--paper", "once.py", "--no-record"]])
@pytest.mark.usefixtures("place")
def test_no_server_tls_trouble_and_no_such_host(sandbox: SandboxServer, command: list[str]) -> None:
    """Each is told by a last line that says what it is, and exits with 1."""
    tls = sandbox.ws_url.replace("ws://", "wss://")
    for url, why in (("ws://127.0.0.1:9", "refused"), (tls, "TLS"), ("ws://host.invalid", "cannot be resolved")):
        result = run(*command, "--url", url)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        last = result.stderr.splitlines()[-1]
        assert last.startswith("quantkit: error: ")
        assert why in last
        assert "Traceback" not in result.stderr


# sandbox ------------------------------------------------------------------------------------------------------


@posix
def test_the_sandbox_says_what_to_type_next(place: Path) -> None:
    """Where it listens and two commands that work; a signal ends it."""
    with started("sandbox", "--port", "0", "--instruments", "2", "--fault", "gap,channel=books", cwd=place) as process:
        said = wait_for(process.stdout, "Ctrl-C ends it")
        ready = re.match(r"sandbox ready at (ws://127\.0\.0\.1:\d+): BTC-USDT, ", said)
        assert ready is not None, said
        commands = re.findall(r"^  quantkit (.*)$", said, re.MULTILINE)
        assert [words.split()[0] for words in commands] == ["watch", "live"]
        assert all(words.endswith(f"--url {ready[1]}") for words in commands)
        assert run(*commands[0].split(), "--for", "1s").exit_code == 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert (out, err, process.returncode) == ("", "", 0)


@posix
def test_a_replayed_recording_says_what_works_with_it(place: Path) -> None:
    """Each command that it prints runs as it stands; `watch` shows tickers where no candles were recorded."""
    data = Path(__file__).parents[1] / "data"
    (place / "strategies").mkdir()
    shutil.copy(Path(__file__).parents[2] / "strategies" / "quoter.py", place / "strategies")
    for date, instruments, spot in (
        ("20220513T162705Z", "20220513", "BTC-USDT"),
        ("20220227T231427Z", "20220227", "ELON-USDT"),
    ):
        files = [data / f"okx_ws_{date}.log.gz", data / f"okx_rest_instruments_{instruments}.log.gz"]
        with started("sandbox", *map(str, files), "--port", "0", cwd=place) as process:
            said = wait_for(process.stdout, "Ctrl-C ends it")
            commands = re.findall(r"^  quantkit (.*)$", said, re.MULTILINE)
            assert [words.split()[0] for words in commands] == ["watch", "live"]
            assert all(spot in words for words in commands)
            watched = run(*commands[0].split(), "--for", "1s")
            assert watched.exit_code == 0, watched.output
            assert re.search(rf"{spot} +last [\d.,]+ +bid [\d.,]+ +ask [\d.,]+", watched.stdout)
            assert watched.stderr.count("note: ") == 1
            assert f"refused: candle1m {spot}" in watched.stderr
            lived = run(*commands[1].split(), "--for", "1s", "--no-record", "--json")
            assert lived.exit_code == 0, lived.output
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)


def test_a_recording_for_other_clients_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No command is printed that could not work."""
    push = '{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"1","ts":"1767225600000"}]}'
    (place / "trades.log").write_text(f"1767225600.0: {push}\n")
    row = '{"code":"0","msg":"","data":[{"instId":"A-B","instType":"SPOT"}]}'
    (place / "instruments.log").write_text(
        f"https://x/api/v5/public/instruments?instType=SPOT -> 1767225600.0: {row}\n"
    )
    for files, expected in (
        (["trades.log"], "name a recording of public/instruments too"),
        (["trades.log", "instruments.log"], "neither tickers nor candles nor whole books"),
    ):
        _print_ready("http://127.0.0.1:9", RecordedMarket(files))
        said = capsys.readouterr().out
        assert expected in said
        assert "quantkit" not in said


def test_watch_of_what_is_not_there_at_all_fails(place: Path) -> None:
    """An instrument whose metadata were recorded, but neither tickers nor candles."""
    push = '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1","ts":"1"}]}'
    (place / "trades.log").write_text(f"1767225600.0: {push}\n")
    instruments = Path(__file__).parents[1] / "data" / "okx_rest_instruments_20220513.log.gz"
    with SandboxServer(RecordedMarket(["trades.log", instruments])) as server:
        result = run("watch", "BTC-USDT", "--url", server.ws_url, "--for", "9s")
    assert result.exit_code == 1
    assert "2 of 2 subscriptions refused" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--fault", "nonsense"], "fault 'nonsense' is not understood"),
        (["--fault", "gap,channels=books"], "channels"),
        (["--instruments", "0"], "ask for one or more"),
        (["--rate", "-1"], "cannot be generated"),
        (["--speed", "2"], "--speed is for recorded frames"),
        (["nofile.log"], "nofile.log is not there"),
        (["nofile.log", "--seed", "2"], "--seed is for a market that is made up"),
        (["--certificate", "x.pem"], "--certificate and --key go together"),
        (["--host", "no such host"], "cannot listen on no such host"),
    ],
)
@pytest.mark.usefixtures("place")
def test_wrong_flags_of_the_sandbox_are_refused(arguments: list[str], why: str) -> None:
    """One line, and exit code 2."""
    result = run("sandbox", "--port", "0", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert why in result.stderr


@pytest.mark.usefixtures("place")
def test_verify_of_what_is_no_run() -> None:
    """One line each."""
    missing, other = run("verify", "nowhere"), run("verify", ".")
    assert missing.exit_code == 2
    assert "'nowhere' does not exist" in missing.stderr
    assert other.exit_code == 1
    assert "holds no recorded run" in other.stderr
