"""A data folder in an object store, moto's server: equal results, few requests, no half object whatever happens."""

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_record_crash import Life, check

import quantkit as qk
from quantkit import quality
from quantkit.cli import main
from quantkit.clock import NS_PER_DAY, time_ns_of, wall_ns
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.quality.kept import remember
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Block, Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage import leftovers
from quantkit.storage.catalog import Catalog as StoredCatalog
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import Root
from quantkit.storage.writer import Writer

pytest.importorskip("moto.server", reason="moto is not installed: pip install 'quantkit[ci]'")
pytestmark = pytest.mark.service

BTC = "BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01")
DAYS = 4
KEY, SECRET = "AKIASHOWNNOWHERE", "s3cr3t/never+shown"


class Store:
    """A server of objects, and what it was asked.

    Attributes:
        port: Its port.
        log: Its log, a line for each request.
    """

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with log.open("wb") as sink:
            self._process = subprocess.Popen(command, stdout=sink, stderr=sink, env=os.environ | {"PYTHONPATH": ""})
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/data.json"):
                    return
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

    def url(self, folder: str, *, key: str = KEY, secret: str = SECRET) -> str:
        quoted = urllib.request.quote(secret, safe="")
        options = f"scheme=http&endpoint_override=127.0.0.1%3A{self.port}&region=us-east-1"
        return f"s3://{key}:{quoted}@bucket/{folder}?{options}"

    def requests(self, since: int = 0) -> list[tuple[str, str]]:
        """Method and path of each request, from a length of the log on."""
        text = self.log.read_text()[since:]
        # Some answers are coloured.
        return re.findall(r'"(?:\x1b\[[\d;]*m)*(GET|PUT|POST|HEAD|DELETE) /(\S*) HTTP', text)

    def objects(self, folder: str) -> list[str]:
        from pyarrow import fs

        root = Root.of(self.url(folder))
        found = root.filesystem.get_file_info(fs.FileSelector(root.path, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{root.path}/") for info in found if info.is_file)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    from pyarrow import fs

    served = Store(tmp_path_factory.mktemp("store") / "log.txt")
    try:
        place = {"scheme": "http", "endpoint_override": f"127.0.0.1:{served.port}", "region": "us-east-1"}
        fs.S3FileSystem(access_key=KEY, secret_key=SECRET, allow_bucket_creation=True, **place).create_dir("bucket")
        yield served
    finally:
        served.close()


def fill(root: Any, *, days: int = DAYS, rows: int = 3_000, begin: int = 0, name: str = BTC, **options: Any) -> None:
    """Write days of trades in small row groups, one a file."""
    with Writer(root, **{"row_group_rows": 500, **options}) as writer:
        writer.write_instrument(Instrument(name, kind="swap", price_step="0.1", qty_step="0.001"))
        for day in range(begin, begin + days):
            rng = np.random.default_rng(day)
            stamps = START_NS + day * NS_PER_DAY + np.sort(rng.integers(0, NS_PER_DAY, rows))
            columns = {
                "received_ns": stamps,
                "exchange_ns": stamps - 1_000,
                "price": np.round(100 + np.cumsum(rng.integers(-1, 2, rows)) / 10, 1),
                "qty": rng.integers(1, 100, rows) / 1000,
                "side": rng.integers(0, 2, rows).astype(np.int8),
                "trade_id": np.arange(rows) + day * rows,
            }
            writer.write(Block(Stream("trade", name), rows, columns))


class Every(qk.Strategy):
    """Buys and sells now and then."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)
        self.seen = 0

    def on_trade(self, trade: qk.Trade) -> None:
        self.seen += 1
        if self.seen % 500 == 0:
            self.buy(BTC, 0.01) if self.seen % 1000 else self.sell(BTC, 0.01)


@pytest.fixture(scope="module")
def filled(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in a folder and in the store, at `data`."""
    folder = tmp_path_factory.mktemp("filled") / "data"
    fill(folder)
    fill(store.url("data"))
    return folder


def test_what_a_check_of_a_store_says_is_kept_there_and_quoted(store: Store, tmp_path: Path) -> None:
    """A remote root is a data folder: not checked before, and in the words of the check after."""
    span = {"start": "2026-01-02", "end": "2026-01-02T01:00"}
    fill(tmp_path / "data")
    fill(store.url("checked"))
    before = qk.backtest(Every(), data=store.url("checked"), **span).data_quality
    assert [str(each) for each in before.streams] == [f"{BTC} trade: not checked"]
    done = CliRunner().invoke(main, ["data", "check", store.url("checked"), "--json"])
    assert done.exit_code == 0, done.output
    checked = StoredCatalog(tmp_path / "data")
    remember(checked, quality.check(checked), 1)
    remote = qk.backtest(Every(), data=store.url("checked"), **span).data_quality
    local = qk.backtest(Every(), data=tmp_path / "data", **span).data_quality
    assert [(each.stream, each.verdict, each.words) for each in remote.streams] == [
        (each.stream, each.verdict, each.words) for each in local.streams
    ]
    assert remote.verdict != "not checked"


def test_a_run_is_the_same_and_reads_what_it_needs(store: Store, filled: Path) -> None:
    """One day of four: its file, its metadata, the manifest, and of nothing else a byte; the next block comes ahead."""
    span = {"start": "2026-01-02", "end": "2026-01-02T23:59:59"}
    local = qk.backtest(Every(), data=filled, **span)
    since = len(store.log.read_text())
    remote = qk.backtest(Every(), data=store.url("data"), **span)
    asked = store.requests(since)
    assert remote.hash == local.hash
    assert len(local.fills) > 3
    assert remote.config["data_files"] == local.config["data_files"]
    parts = {
        part
        for method, path in asked
        if method == "GET"
        for part in re.findall(r"date=([\d-]+)", urllib.request.unquote(path))
    }
    assert parts == {"2026-01-02"}
    assert {method for method, _ in asked} <= {"GET", "HEAD"}
    # Six row groups of six columns, opened twice at most.
    assert len(asked) < 70
    assert store.objects("data") == sorted([*(entry.path for entry in Catalog(filled).entries), "manifest.jsonl"]), (
        "no folder has become an object"
    )


def test_the_command_line_takes_the_url(
    store: Store, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows no secret of it, in what it prints and in what it keeps."""
    strategy = tmp_path / "every.py"
    strategy.write_text(
        "import quantkit as qk\n\n\nclass Every(qk.Strategy):\n    def on_start(self):\n"
        f"        self.subscribe_trades({BTC!r})\n\n    def on_trade(self, trade):\n        pass\n"
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["backtest", str(strategy), "--data", store.url("data"), "--json"])
    assert done.exit_code == 0, done.output
    assert f"s3://bucket/data?scheme=http&endpoint_override=127.0.0.1%3A{store.port}&region=us-east-1" in done.output
    listed = CliRunner().invoke(main, ["data", "ls", store.url("data")])
    assert listed.exit_code == 0, listed.output
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (done.output, listed.output, kept.decode(errors="replace")):
        assert KEY not in text
        assert SECRET not in text
        assert urllib.request.quote(SECRET, safe="") not in text


def test_research_reads_the_same(store: Store, filled: Path) -> None:
    near, far = Catalog(filled), Catalog(store.url("data"))
    span = ("2026-01-02T12:00", "2026-01-03T12:00")
    assert far.trades(BTC, *span).arrow().equals(near.trades(BTC, *span).arrow())
    since = len(store.log.read_text())
    table = (
        far.trades(BTC, "2026-01-02T12:00", "2026-01-02T12:10", columns=["price"]).scan().to_table(columns=["price"])
    )
    assert (
        table.to_pydict()
        == near.trades(BTC, "2026-01-02T12:00", "2026-01-02T12:10").arrow().select(["price"]).to_pydict()
    )
    assert all("date" not in path or "2026-01-02" in path for _, path in store.requests(since))


@pytest.mark.parametrize(
    "url",
    [
        "s3://{key}:{secret}@bucket/data?scheme=http&endpoint_override=127.0.0.1%3A1&region=us-east-1",
        "s3://{key}:{secret}@bucket/data?scheme=http&endpoint_override=127.0.0.1%3A1&nonsense={secret}",
        "s4://{key}:{secret}@bucket/data",
        "s3://{key}:{secret}@",
    ],
)
def test_errors_show_no_secret(url: str) -> None:
    """A dead server, an option that is none, a scheme that is none."""
    secret = urllib.request.quote(SECRET, safe="")
    with pytest.raises(qk.QuantkitError) as caught:
        Catalog(url.format(key=KEY, secret=secret))
    whole = "".join(traceback.format_exception(caught.value))
    for hidden in (KEY, SECRET, secret):
        assert hidden not in str(caught.value)
        assert hidden not in whole


@pytest.mark.parametrize("act", [Catalog, Writer])
def test_a_bucket_that_is_not_there_is_named(store: Store, act: Any) -> None:
    """By whoever reads, and by whoever would write, before any row is taken."""
    with pytest.raises(DataError, match=r"^s3://nothing/data\?\S*: there is no bucket nothing at this store"):
        act(store.url("data").replace("bucket/", "nothing/"))


class Wire:
    """Passes bytes on to the store and counts those that come back."""

    def __init__(self, store: Store) -> None:
        self.bytes = 0
        self._store = store
        self._listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._serve, daemon=True).start()

    def url(self, folder: str) -> str:
        """Return the URL of a folder by way of the wire."""
        return self._store.url(folder).replace(str(self._store.port), str(self._listener.getsockname()[1]))

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._store.port))
                Thread(target=self._pass, args=(near, far, False), daemon=True).start()
                Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError), sink:
            while part := source.recv(1 << 16):
                self.bytes += len(part) if is_answer else 0
                sink.sendall(part)


class Prices(qk.Strategy):
    """Looks at the last price once a day."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)
        self.every("1d")

    def on_timer(self, name: str) -> None:
        pass


def test_a_month_reads_what_it_needs(store: Store) -> None:
    """Of two instruments one's files, each once and in few requests; of a file the columns that the run looks at."""
    for name in (BTC, "ETH-USDT-SWAP"):
        fill(store.url("month"), days=30, rows=10_000, row_group_rows=10_000, name=name)
    entries = [each for each in Catalog(store.url("month")).entries if each.instrument == BTC and each.kind == "trade"]
    asked: dict[str, list[tuple[str, str]]] = {}
    taken: dict[str, int] = {}
    wire = Wire(store)
    try:
        for strategy in (Every(), Prices()):
            since, before = len(store.log.read_text()), wire.bytes
            qk.backtest(strategy, data=wire.url("month"), end="2026-01-30T23:59:59")
            name = type(strategy).__name__
            asked[name], taken[name] = store.requests(since), wire.bytes - before
    finally:
        wire.close()
    for requests in asked.values():
        assert not [path for _, path in requests if "ETH" in path and "trade" in path]
    assert len(entries) == 30
    # Size, footer and six columns of each file; the end of a file is read 16 KB at a time.
    assert len(asked["Every"]) < 30 * 9
    assert taken["Every"] < sum(entry.size_bytes for entry in entries) * 1.05 + 30 * 20_000
    # A run that only asks for the price now and then leaves out sides and ids.
    assert len(asked["Prices"]) < 30 * 6
    assert taken["Prices"] < taken["Every"] - 30 * 10_000


# Writing ------------------------------------------------------------------------------------------------------


def test_what_is_replaced_goes_when_the_new_is_listed(store: Store, tmp_path: Path) -> None:
    fill(store.url("replaced"), days=1)
    fill(store.url("replaced"), days=1, rows=2_000, replace=True)
    fill(tmp_path, days=1)
    fill(tmp_path, days=1, rows=2_000, replace=True)
    far, near = Catalog(store.url("replaced")), Catalog(tmp_path)
    assert [entry.sha256 for entry in far.entries] == [entry.sha256 for entry in near.entries]
    assert store.objects("replaced") == sorted([*(entry.path for entry in near.entries), "manifest.jsonl"])
    assert far.trades(BTC).arrow().equals(Catalog(tmp_path).trades(BTC).arrow())


@pytest.mark.parametrize("fault", [OSError("the line broke"), KeyboardInterrupt(), MemoryError()])
def test_an_exception_in_an_upload_leaves_no_half_object(
    store: Store, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """A stream that an exception leaves publishes what it has; here under no name that anybody reads."""
    name = f"broken-{type(fault).__name__}"
    fill(store.url(name), days=1)
    before = store.objects(name)
    content = Root.of(store.url(name)).read("manifest.jsonl")
    send = Root._send

    def sent(self: Root, staged: Path, target: str) -> str:
        if "part-" not in target and "rows-" not in target:
            return send(self, staged, target)
        with self.filesystem.open_output_stream(target) as sink:
            sink.write(staged.read_bytes()[:100])
            raise fault

    monkeypatch.setattr(Root, "_send", sent)
    with pytest.raises(DataError if isinstance(fault, OSError) else type(fault)):
        fill(store.url(name), days=1, begin=1)
    assert store.objects(name) == before
    assert Root.of(store.url(name)).read("manifest.jsonl") == content
    monkeypatch.undo()
    fill(store.url(name), days=1, begin=1)
    assert sum(entry.rows for entry in Catalog(store.url(name)).entries if entry.kind == "trade") == 6_000


def test_a_stream_that_is_collected_leaves_no_half_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed by the garbage collector, which publishes it."""
    name = "collected"
    fill(store.url(name), days=1)
    before = store.objects(name)

    def sent(self: Root, staged: Path, target: str) -> str:
        sink = self.filesystem.open_output_stream(target)
        sink.write(staged.read_bytes()[:100])
        del sink
        gc.collect()
        raise OSError("lost")

    monkeypatch.setattr(Root, "_send", sent)
    with pytest.raises(DataError, match="cannot be written: lost"):
        fill(store.url(name), days=1, begin=1)
    assert store.objects(name) == before


def test_an_upload_that_is_not_what_was_sealed_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives back other bytes than it was given."""
    name = "rotten"
    fill(store.url(name), days=1)
    before = store.objects(name)
    send = Root._send

    def sent(self: Root, staged: Path, target: str) -> str:
        content = bytearray(staged.read_bytes())
        content[50] ^= 1
        staged.write_bytes(content)
        return send(self, staged, target)

    monkeypatch.setattr(Root, "_send", sent)
    with pytest.raises(DataError, match="what was uploaded is not what was sealed"):
        fill(store.url(name), days=1, begin=1)
    assert store.objects(name) == before


_KILLED_BEFORE_THE_MOVE = """
import os, signal, sys
sys.path[:0] = {paths!r}
from quantkit.storage.root import Root
import test_object_store as tests

Root._refuse_other_writer = lambda self, relative: os.kill(os.getpid(), signal.SIGKILL)
tests.fill(sys.argv[1], days=2, begin=1)
"""


def killed(script: str, *words: str) -> None:
    """Run a script in a process that kills itself."""
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    command = [sys.executable, "-c", script.format(paths=paths), *words]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_the_next_writer_clears_what_a_killed_one_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is a day old, so that nothing of a writer that lives is taken away; readers delete nothing."""
    url = store.url("left")
    fill(url, days=1)
    before = store.objects("left")
    killed(_KILLED_BEFORE_THE_MOVE, url)
    (aside,) = set(store.objects("left")) - set(before)
    assert aside.startswith(".staging-quantkit-")
    assert "/" not in aside
    assert Catalog(url).trades(BTC).arrow().num_rows == 3_000
    fill(url, days=1, begin=1)
    assert aside in store.objects("left"), "its writer may be alive"
    monkeypatch.setattr(leftovers, "_ABANDONED_NS", -NS_PER_DAY)  # as if a day had passed
    fill(url, days=1, begin=2)
    assert store.objects("left") == sorted([*(entry.path for entry in Catalog(url).entries), "manifest.jsonl"])
    assert Catalog(url).trades(BTC).arrow().num_rows == 9_000


def test_a_living_writer_keeps_what_it_has_uploaded(store: Store) -> None:
    """Another one commits between its upload and its move."""
    url, seen = store.url("living"), []
    fill(url, days=1)
    refuse = Root._refuse_other_writer

    def meanwhile(self: Root, relative: str) -> None:
        Root._refuse_other_writer = refuse  # type: ignore[method-assign]
        fill(url, days=1, begin=2)
        seen.extend(name for name in store.objects("living") if name.startswith(".staging-"))
        refuse(self, relative)

    Root._refuse_other_writer = meanwhile  # type: ignore[method-assign]
    try:
        with pytest.raises(DataError, match="another writer has replaced it meanwhile"):
            fill(url, days=1, begin=1)
    finally:
        Root._refuse_other_writer = refuse  # type: ignore[method-assign]
    assert len(seen) == 1
    assert not [name for name in store.objects("living") if name.startswith(".staging-")]


_KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from quantkit.storage.root import Root
import test_object_store as tests

send, count = Root._send, int(sys.argv[2])

def sent(self, staged, target):
    global count
    count -= 1
    if count == 0:
        sink = self.filesystem.open_output_stream(target)
        sink.write(staged.read_bytes()[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, staged, target)

Root._send = sent
tests.fill(sys.argv[1], days=2, begin=1)
"""


@pytest.mark.parametrize("uploads", [1, 2, 3])
def test_a_killed_writer_leaves_the_rows_before(store: Store, uploads: int) -> None:
    """In its first file, its second, and the manifest; the next writer goes on, and nothing is twice."""
    name = f"killed-{uploads}"
    fill(store.url(name), days=1)
    root = Root.of(store.url(name))
    content = root.read("manifest.jsonl")
    killed(_KILLED, store.url(name), str(uploads))
    assert root.read("manifest.jsonl") == content
    catalog = Catalog(store.url(name))
    assert catalog.trades(BTC).arrow().num_rows == 3_000
    fill(store.url(name), days=2, begin=1)
    catalog = Catalog(store.url(name))
    assert catalog.trades(BTC).arrow().num_rows == 9_000
    assert {row["trade_id"] for row in catalog.trades(BTC, columns=["trade_id"]).arrow().to_pylist()} == set(
        range(9_000)
    )


def test_the_second_of_two_writers_is_refused(store: Store) -> None:
    """It had read the manifest before the first one replaced it."""
    name = "two"
    fill(store.url(name), days=1)
    send = Root._send

    def sent(self: Root, staged: Path, target: str) -> str:
        if staged.name == "manifest.jsonl":
            Root._send = send  # type: ignore[method-assign]
            fill(store.url(name), days=1, begin=2)
        return send(self, staged, target)

    Root._send = sent  # type: ignore[method-assign]
    try:
        with pytest.raises(DataError, match="another writer has replaced it meanwhile"):
            fill(store.url(name), days=1, begin=1)
    finally:
        Root._send = send  # type: ignore[method-assign]
    days = [entry.first_ns // NS_PER_DAY for entry in Catalog(store.url(name)).entries if entry.kind == "trade"]
    assert [day - START_NS // NS_PER_DAY for day in days] == [0, 2]
    assert len(store.objects(name)) == 4, "the refused writer's files are gone"
    fill(store.url(name), days=1, begin=1)
    assert len(Catalog(store.url(name)).entries) == 4


@pytest.mark.usefixtures("filled")
def test_the_next_block_is_fetched_while_the_present_one_is_in_use(store: Store) -> None:
    """Requests for it are there before anybody asked for it, and none for the one after it."""
    blocks = read_blocks(Catalog(store.url("data")), Stream("trade", BTC), start_ns=0, end_ns=2**62)
    for _ in range(3):
        next(blocks).column("price")
    # The fourth's stamps and prices come by themselves; then the thread waits.
    seen = settled(store)
    fourth = next(blocks)
    fourth.column("price")
    assert len(store.requests()) - seen <= 2, "those are of the fifth"
    blocks.close()


def settled(store: Store) -> int:
    """Wait until no more requests come, and return how many there were."""
    seen, since, deadline = -1, time.monotonic(), time.monotonic() + 20
    while time.monotonic() < deadline and time.monotonic() - since < 0.5:
        now = len(store.requests())
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)
    return seen


def test_an_import_shows_no_secret(store: Store, tmp_path: Path) -> None:
    """Into the store by the command line, and the same rows as into a folder."""
    table = tmp_path / "bars.csv"
    opens = [1_735_689_600_000 + 60_000 * minute for minute in range(30)]
    rows = [f"{opened},1,3,1,2,5" for opened in opens]
    table.write_text("\n".join(["time,open,high,low,close,volume", *rows]) + "\n")
    steps = ["--instrument", "A-B", "--timezone", "UTC", "--price-step", "0.1", "--qty-step", "0.1"]
    for place in (store.url("imported"), str(tmp_path / "imported")):
        done = CliRunner().invoke(main, ["import", "candles", str(table), "--to", place, *steps])
        assert done.exit_code == 0, done.output
        assert KEY not in done.output
        assert "hidden" not in done.output
    far, near = Catalog(store.url("imported")), Catalog(tmp_path / "imported")
    assert [entry.sha256 for entry in far.entries] == [entry.sha256 for entry in near.entries]
    assert far.candles("A-B", interval="1m").pandas().equals(near.candles("A-B", interval="1m").pandas())


class Recording:
    """A collector into the store, with its tape on this machine.

    Args:
        url: Of the store's folder.
        tape: Its own folder.
        sandbox: The exchange's address.
    """

    def __init__(self, url: str, tape: Path, sandbox: str) -> None:
        words = ["record", "BTC-USDT", "--channels", "trades,books", "--to", url, "--url", sandbox]
        words += ["--tape", str(tape), "--roll", "2s", "--json", "--beat", "20ms"]
        self._process = subprocess.Popen([sys.executable, "-m", "quantkit", *words], stdout=subprocess.PIPE, text=True)
        self._last: dict[str, Any] = {}

    def wait(self, event: str) -> None:
        """Wait for something that it says."""
        while self._said()["event"] != event:
            pass

    def end(self, number: int) -> Life:
        """End it by a signal, and return how far it has come."""
        with self._process:
            self._process.send_signal(number)
            with suppress(json.JSONDecodeError, EOFError):  # the kill may cut the last line off
                while True:
                    self._said()
        status = self._process.returncode
        assert status == (0 if number == signal.SIGTERM else -number)
        return Life(wall_ns(), self._last.get("rows", 0), self._last.get("last_ns", 0))

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError
        said: dict[str, Any] = json.loads(line)
        if said["event"] == "beat":
            self._last = said
        return said


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_recording_into_the_store_survives_kills_and_uploads_each_file_once(store: Store, tmp_path: Path) -> None:
    """Its tape is on this machine: what was counted is in the store once, and the rest is named."""
    url, tape = store.url("recorded"), tmp_path / "tape"
    since = len(store.log.read_text())
    lives = []
    rng = Random(6)
    with SandboxServer(market=GeneratedMarket(7, 4, orders_per_s=120.0)) as sandbox:
        for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            recording = Recording(url, tape, sandbox.ws_url)
            recording.wait("sealed")
            for _ in range(rng.randrange(60)):
                recording.wait("beat")
            lives.append(recording.end(number))
    check(url, lives)
    entries = StoredCatalog(url).entries
    puts = Counter(
        urllib.request.unquote(path).partition("?")[0].removeprefix("bucket/recorded/")
        for method, path in store.requests(since)
        if method == "PUT"
    )
    # A kill within an upload leaves nothing that is listed; the recovery uploads it again.
    assert all(puts[entry.path] >= 1 for entry in entries)
    assert sum(puts[entry.path] - 1 for entry in entries) <= 2
    assert len([file for file in tape.rglob("*") if file.is_file() and file.suffix == ".parquet"]) == 0
