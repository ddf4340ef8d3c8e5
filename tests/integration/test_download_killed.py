"""`quantkit download` as a process that is killed: the same command goes on, and the folder is the whole one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantkit.clock import NS_PER_DAY, iso_of, wall_ns
from quantkit.quality import check
from quantkit.rows.columns import Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

pytestmark = pytest.mark.long

KINDS = "candles-1h,funding,marks-1h,index-1h"


def command(url: str, folder: Path, *more: str) -> list[str]:
    day_ns = wall_ns() // NS_PER_DAY * NS_PER_DAY
    span = ["--from", iso_of(day_ns - 85 * NS_PER_DAY), "--to", iso_of(day_ns)]
    asked = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "--kinds", KINDS, *span, "--url", url, "--data", str(folder)]
    return [sys.executable, "-m", "quantkit", "download", *asked, *more]


def rows_of(folder: Path) -> list[object]:
    catalog = Catalog(folder)
    streams: list[Stream] = sorted({entry.stream for entry in catalog.entries if entry.kind != "instrument"})
    return list(read_events(catalog, streams, 0, 2**62))


def wait_for(folder: Path, asked: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until so many spans were asked for, or the process is through."""
    manifest = folder / "manifest.jsonl"
    deadline_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline_s:
        if manifest.exists() and manifest.read_bytes().count(b'"asked"') >= asked:
            return
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("signal_", "spans"), [(signal.SIGKILL, (1, 3, 5, 7)), (signal.SIGINT, (1, 5))], ids=["killed", "interrupted"]
)
def test_a_killed_download_goes_on(tmp_path: Path, signal_: signal.Signals, spans: tuple[int, ...]) -> None:
    with SandboxServer(GeneratedMarket(orders_per_s=0)) as server:
        whole = subprocess.run(command(server.url, tmp_path / "whole"), capture_output=True, check=False)
        assert whole.returncode == 0, whole.stderr.decode()
        kills = 0
        for asked in spans:
            folder = tmp_path / "killed"
            with subprocess.Popen(command(server.url, folder), stderr=subprocess.PIPE) as process:
                wait_for(folder, asked, process)
                if process.poll() is None:
                    os.kill(process.pid, signal_)
                    kills += 1
                said = process.communicate(timeout=60)[1].decode()
            if signal_ == signal.SIGINT and process.returncode:
                assert (process.returncode, said.splitlines()[-1]) == (
                    130,
                    "quantkit: interrupted; what came is stored, and the same command goes on from there",
                )
            if (folder / "manifest.jsonl").exists():
                assert not [each for each in check(Catalog(folder)).findings if each.severity == "error"]
        assert kills
        last = subprocess.run(command(server.url, folder), capture_output=True, check=False)
        assert last.returncode == 0, last.stderr.decode()
        assert rows_of(folder) == rows_of(tmp_path / "whole")
