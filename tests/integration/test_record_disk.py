"""A collector on a disk that fills: it ends with one line, what it counted stays, and more room lets it go on."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import WORK

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and mounts of POSIX systems")
RECORD = ("record", "BTC-USDT-SWAP", "ETH-USDT-SWAP", "--channels", "trades,books,tickers", "--json", "--beat", "20ms")

#: Runs the command line with a limit on the length of files.
LIMITED = """
import resource, sys
from quantkit.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""

#: Mounts a small disk, records on it until it is full, makes it larger, and goes on; prints what was counted.
SMALL_DISK = """
import json, shutil, subprocess, sys
folder, url = sys.argv[1:]
record = [sys.executable, "-m", "quantkit", *{record!r}, "--to", folder + "/data", "--url", url]

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)

mount("size=400k")
full = subprocess.run([*record, "--min-free", {least!r}, "--for", "60s", "--roll", {roll!r}],
                      capture_output=True, text=True)
lines = [json.loads(line) for line in full.stdout.splitlines()]
mount("remount,size=64m")
again = subprocess.run([*record, "--min-free", "0", "--for", "1s", "--roll", "1h"], capture_output=True, text=True)
shutil.copytree(folder + "/data", folder + "-copy")
print(json.dumps({{"codes": [full.returncode, again.returncode], "errors": [full.stderr, again.stderr],
                   "full": lines, "again": [json.loads(line) for line in again.stdout.splitlines()]}}))
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    """A lively market."""
    with SandboxServer(market=GeneratedMarket(3, 6, orders_per_s=400.0)) as server:
        yield server


def counted(lines: list[dict[str, object]]) -> int:
    """Return how many rows a collector had counted at last."""
    return max((int(str(line["rows"])) for line in lines if line["event"] == "beat"), default=0)


def stored(folder: Path) -> int:
    """Return how many rows a folder holds, in files that are whole."""
    catalog = Catalog(folder)
    for entry in catalog.entries:
        DataFile(catalog.root, entry, verify_digest=True)
    return sum(
        block.size
        for stream in catalog.coverage()
        if stream.kind not in ("gap", "instrument")
        for block in read_blocks(catalog, stream, start_ns=0, end_ns=2**62)
    )


def can_mount() -> bool:
    """Return whether this system lets its users mount small disks of their own."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(sys.platform == "win32" or not can_mount(), reason="no mounts for users here")
@pytest.mark.parametrize(
    ("least", "roll", "message"),
    [("0", "1h", "No space left"), ("0", "1s", "No space left"), ("100KB", "1h", "shall stay free")],
    ids=["tape", "files", "guard"],
)
def test_a_disk_that_fills_loses_nothing_that_was_counted(
    sandbox: SandboxServer, tmp_path: Path, least: str, roll: str, message: str
) -> None:
    """Whether the tape or the files find it full, or the guard ends the collector before."""
    (tmp_path / "disk").mkdir()
    script = SMALL_DISK.format(record=RECORD, least=least, roll=roll)
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", script, str(tmp_path / "disk"), sandbox.ws_url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    full = told["errors"][0]
    assert told["codes"] == [1, 0], told["errors"]
    assert full.splitlines()[-1].startswith("quantkit: error: ")
    assert message in full.splitlines()[-1]
    before = counted(told["full"])
    assert before > 50
    assert stored(tmp_path / "disk-copy") >= before + counted(told["again"])


@pytest.mark.parametrize("limit", [40_000, 200_000])
def test_a_file_that_cannot_grow_ends_the_collector(sandbox: SandboxServer, tmp_path: Path, limit: int) -> None:
    """The same without mounts."""
    to = ("--to", str(tmp_path / "data"), "--url", sandbox.ws_url, "--min-free", "0")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *RECORD, *to, "--for", "60s"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    before = counted([json.loads(line) for line in done.stdout.splitlines()])
    assert before > 0
    again = subprocess.run(
        [sys.executable, "-m", "quantkit", *RECORD, *to, "--for", "1s"], capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0, again.stderr
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert stored(tmp_path / "data") == before + counted(lines)
    assert not list((tmp_path / "data" / WORK / "staging").glob("*"))
