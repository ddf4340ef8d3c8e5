"""A data folder at `gs://`, in an emulator of Google's store: written, replaced, read, and run as a local one."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_DAY, time_ns_of
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Block, Stream
from quantkit.storage import leftovers
from quantkit.storage.root import STAGING_PREFIX, Root
from quantkit.storage.writer import Writer

pytest.importorskip("gcp_storage_emulator", reason="an emulator is missing: pip install 'quantkit[ci]'")
pytestmark = pytest.mark.service

BTC = "BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket, to be filled in with a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    log = tmp_path_factory.mktemp("google") / "log.txt"
    with log.open("wb") as sink:
        served = subprocess.Popen(
            [*words, "--in-memory", "--default-bucket=bucket"],
            stdout=sink, stderr=sink, env=os.environ | {"PYTHONPATH": ""},
        )  # fmt: skip
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/storage/v1/b/bucket"):
                    break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield f"gs://anonymous@bucket/{{}}?scheme=http&endpoint_override=127.0.0.1%3A{port}"
    finally:
        served.terminate()
        served.wait(30)


def fill(root: str | Path, *, days: int, begin: int = 0, rows: int = 500, replace: bool = False) -> None:
    """Write days of trades."""
    with Writer(root, row_group_rows=200, replace=replace) as writer:
        writer.write_instrument(Instrument(BTC, kind="swap", price_step="0.1", qty_step="0.001"))
        for day in range(begin, begin + days):
            stamps = START_NS + day * NS_PER_DAY + np.arange(rows) * 10**9
            columns = {
                "received_ns": stamps,
                "exchange_ns": stamps,
                "price": 100 + np.arange(rows) % 7 / 10,
                "qty": np.full(rows, 0.5),
                "side": (np.arange(rows) % 2).astype(np.int8),
                "trade_id": np.arange(rows) + day * rows,
            }
            writer.write(Block(Stream("trade", BTC), rows, columns))


class Every(qk.Strategy):
    """Buys and sells now and then."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)
        self.seen = 0

    def on_trade(self, trade: qk.Trade) -> None:
        self.seen += 1
        if self.seen % 100 == 0:
            self.buy(BTC, 0.01) if self.seen % 200 else self.sell(BTC, 0.01)


def test_a_folder_of_google_s_store_is_like_a_local_one(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same files, frames and results; nothing stays aside, and what a dead writer left goes after a day."""
    url = bucket.format("data")
    for place in (url, tmp_path):
        fill(place, days=2)
        fill(place, days=1, begin=2)
        fill(place, days=1, begin=1, rows=400, replace=True)
    far, near = Catalog(url), Catalog(tmp_path)
    assert [entry.sha256 for entry in far.entries] == [entry.sha256 for entry in near.entries]
    assert far.trades(BTC).arrow().equals(near.trades(BTC).arrow())
    assert qk.backtest(Every(), data=url).hash == qk.backtest(Every(), data=tmp_path).hash
    root = Root.of(url)
    held = sorted([*(entry.path for entry in far.entries), "manifest.jsonl"])
    assert root.files() == held
    with root.filesystem.open_output_stream(root.full(f"{STAGING_PREFIX}quantkit-x-rows-0.parquet")) as sink:
        sink.write(b"x")
    fill(url, days=1, begin=3)
    assert len(root.files()) == len(held) + 2
    monkeypatch.setattr(leftovers, "_ABANDONED_NS", -NS_PER_DAY)  # as if a day had passed
    fill(url, days=1, begin=4)
    assert root.files() == sorted([*(entry.path for entry in Catalog(url).entries), "manifest.jsonl"])


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(DataError, match="there is no bucket nothing at this store; make it first"):
        Writer(bucket.replace("@bucket", "@nothing").format("data"))
