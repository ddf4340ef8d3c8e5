"""`quantkit import`: flags to fields, the report as text and JSON, strictness and exit codes."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.clock import time_ns_of
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog

ROWS = "time,price,size,side\n1746403200000,100.5,0.1,buy\n1746403201000,abc,0.1,buy\n1746403202000,100.6,0.2,sell\n"


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    """Two trades and a row that is none, in line 3."""
    path = tmp_path / "trades.csv"
    path.write_text(ROWS)
    return path


def run(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def test_what_was_written_and_what_was_not_is_shown(trades: Path, tmp_path: Path) -> None:
    """The stream with its rows, and the bad row with file, line and reason."""
    result = run("trades", trades, "--to", tmp_path / "data", "--instrument", "BTC-USDT")
    assert result.exit_code == 0
    assert "BTC-USDT trade 2" in " ".join(result.output.split())
    assert f"{trades}:3: price 'abc' is not a number" in result.output
    assert "1 row could not be understood" in result.output
    assert Catalog(tmp_path / "data").coverage()[Stream("trade", "BTC-USDT")].rows == 2


def test_json_is_the_whole_report(trades: Path, tmp_path: Path) -> None:
    """One object, nothing else on standard output."""
    result = run("trades", trades, "--to", tmp_path / "data", "--instrument", "BTC-USDT", "--json")
    report = msgspec.json.decode(result.stdout)
    assert report["rows_written"] == {"BTC-USDT trade": 2}
    assert (report["rows_read"], report["skipped"], report["skipped_rows"][0]["line"]) == (3, 1, 3)
    assert report["instruments"] == {"BTC-USDT": "inferred"}


def test_a_time_format_reads_times_of_any_form(tmp_path: Path) -> None:
    """As the user writes it, with the zone they are in."""
    path = tmp_path / "trades.csv"
    path.write_text("time,price,size,side\n05.05.2025 12:00,100.5,0.1,buy\n")
    options = ("--instrument", "BTC-USDT", "--timezone", "UTC", "--time-format", "%d.%m.%Y %H:%M")
    assert run("trades", path, "--to", tmp_path / "data", *options).exit_code == 0
    assert Catalog(tmp_path / "data").coverage()[Stream("trade", "BTC-USDT")].start_ns == time_ns_of(
        "2025-05-05T12:00Z"
    )


def test_strict_fails_and_writes_nothing(trades: Path, tmp_path: Path) -> None:
    """The first bad row ends it with 1 and one line."""
    result = run("trades", trades, "--to", tmp_path / "data", "--instrument", "BTC-USDT", "--strict")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"quantkit: error: {trades}:3: price 'abc' is not a number")
    assert result.stderr.count("\n") == 1
    assert list((tmp_path / "data").rglob("*.parquet")) == []


def test_flags_become_the_instrument(tmp_path: Path) -> None:
    """Every flag of the instrument arrives, and a named column is found."""
    path = tmp_path / "fills.csv"
    path.write_text("when,price,size,side\n1746403200000,50000.5,3,buy\n")
    data = tmp_path / "data"
    flags = "--instrument BTC-USD-SWAP --kind swap --price-step 0.1 --qty-step 1 --contract-value 100 --inverse"
    result = run("trades", path, "--to", data, *flags.split(), "--settle", "BTC", "--column", "time=when")
    assert result.exit_code == 0, result.output
    made = Catalog(data).instruments()["BTC-USD-SWAP"].to_dict()
    wanted = {
        "kind": "swap",
        "price_step": "0.1",
        "qty_step": "1",
        "contract_value": "100",
        "is_inverse": True,
        "settle": "BTC",
    }
    assert {name: made[name] for name in wanted} == wanted


def test_overlap_needs_replace(trades: Path, tmp_path: Path) -> None:
    """The same rows again are refused with the flag that allows them."""
    again = ("trades", trades, "--to", tmp_path / "data", "--instrument", "BTC-USDT")
    assert run(*again).exit_code == 0
    refused = run(*again)
    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    assert run(*again, "--replace").exit_code == 0
    assert Catalog(tmp_path / "data").coverage()[Stream("trade", "BTC-USDT")].rows == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nonsense", "{}"], "format 'nonsense' is not known"),
        (["trades", "{}.gone"], "is not there"),
        (["trades", "{}", "--column", "time"], "'time' is not of the form OURS=THEIRS"),
        (["trades", "{}", "--kind", "option"], "'option' is not one of"),
        (["trades", "{}", "--timezone", "Mars/Base"], "Mars/Base"),
    ],
)
def test_wrong_commands_exit_with_2(trades: Path, tmp_path: Path, arguments: list[str], why: str) -> None:
    """Nothing is read, nothing is written, and the message says what to change."""
    filled = [argument.format(trades) for argument in arguments]
    result = run(*filled, "--to", tmp_path / "data", "--instrument", "BTC-USDT")
    assert result.exit_code == 2
    assert why in result.stderr
    assert not (tmp_path / "data" / "manifest.jsonl").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_the_bar_is_drawn_on_standard_error_of_a_terminal(trades: Path, tmp_path: Path) -> None:
    """A file's name may hold brackets; standard output stays the report alone."""
    import pty

    path = trades.rename(tmp_path / "odd [red] name.csv")
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "quantkit", "import", "trades", str(path), "--to", str(tmp_path / "data")]
    with subprocess.Popen(
        [*command, "--instrument", "BTC-USDT"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
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
    assert b"BTC-USDT trade" in shown
    assert b"\x1b" not in shown
    assert b"\x1b" in drawn


def test_the_format_is_found_and_told(tmp_path: Path) -> None:
    """Without a word for it; several files at once; the word stays possible before the files or as an option."""
    rows = [f"BTC-USDT,{number},buy,104000.{number},0.5,{1748736000000 + number}" for number in range(9)]
    header = "instrument_name,trade_id,side,price,size,created_time"
    files = []
    for name, part in (("a.csv", rows[:6]), ("b.csv", rows[4:])):
        files.append(tmp_path / name)
        files[-1].write_text("\n".join([header, *part]) + "\n")
    result = run(*files, "--to", tmp_path / "data")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "BTC-USDT trade 9" in shown
    assert shown.count("okx/trades, OKX trades, daily and monthly files, by its header instrument_name") == 1
    assert "2 files from" in shown
    assert "2 left out: rows that came before, in another file or the same" in shown
    assert run("okx/trades", *files, "--to", tmp_path / "word").exit_code == 0
    assert run(*files, "--format", "okx/trades", "--to", tmp_path / "option").exit_code == 0
    wrong = run("okx/traids", *files, "--to", tmp_path / "wrong")
    assert wrong.exit_code != 0
    assert "format 'okx/traids' is not known" in wrong.stderr


def test_a_folder_of_the_same_name_is_no_file(trades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word before the files stays the format."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trades").mkdir()
    assert run("trades", trades.name, "--to", "data", "--instrument", "BTC-USDT").exit_code == 0
