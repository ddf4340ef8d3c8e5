"""Two connections that lose different pushes give the rows of one that loses none, on real sockets."""

import threading
from pathlib import Path
from typing import Any

import pytest

from quantkit.collect.beats import Beat, Beats, Began
from quantkit.collect.record import Collector
from quantkit.collect.settings import RecordSettings
from quantkit.events import Gap
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

NAMES = ("BTC-USDT", "BTC-USDT-SWAP")
KINDS = ("book", "trade", "ticker")
LOSSES = 10
SECONDS = 9


class Life:
    """A collector on a thread of its own."""

    def __init__(self, url: str, folder: Path, redundant: int) -> None:
        self.folder = folder
        self.began = threading.Event()
        self.gaps = 0
        self.problems: dict[str, int] = {}
        self._stop = threading.Event()
        collector = Collector(
            OkxSource(OkxConfig(url=url)),
            NAMES,
            ["books", "trades", "tickers"],
            folder,
            settings=RecordSettings(redundant=redundant, min_free_bytes=0, beat_ns=50_000_000),
            stop=self._stop,
            viewer=self,
        )
        self._thread = threading.Thread(target=collector.run)
        self._thread.start()

    def show(self, beat: Beats) -> None:
        """Take a beat."""
        if isinstance(beat, Began):
            self.began.set()
        elif isinstance(beat, Beat):
            self.gaps, self.problems = beat.gaps, beat.problems

    def end(self) -> None:
        """Stop it, and wait."""
        self._stop.set()
        self._thread.join()

    def rows(self, kind: str, name: str) -> dict[Any, Any]:
        """Return the rows of a stream by what tells them apart, in their order."""
        catalog = Catalog(self.folder)
        stream = Stream(kind, name)
        events = read_events(catalog, [stream], 0, 2**62) if stream in catalog.coverage() else iter(())
        return {key_of(event): bare_of(event) for event in events if kind != "book" or not event.is_snapshot}  # type: ignore[union-attr]


def key_of(row: Any) -> Any:
    """Return the exchange's own order of a row."""
    return row.exchange_ns, getattr(row, "seq", 0), getattr(row, "trade_id", 0)


def bare_of(row: Any) -> Any:
    """Return all of a row but its receipt."""
    return type(row)(**{**{name: getattr(row, name) for name in row.__struct_fields__}, "received_ns": 0})


def losses() -> list[faults.Fault]:
    """Return single pushes that one of the two connections does not get, far enough apart to be told."""
    return [
        faults.LostPush(connection=1 + number % 2, channel=channel, after_s=0.3 + 0.35 * number)
        for channel in ("books", "trades", "tickers")
        for number in range(2 * LOSSES)
    ]


@pytest.mark.long
def test_two_connections_that_lose_different_pushes_give_the_rows_of_one_that_loses_none(tmp_path: Path) -> None:
    """Every row once and in the order of the exchange, without a gap; the lossy ones alone would have some."""
    with SandboxServer(market=GeneratedMarket(11, 4, orders_per_s=60.0)) as sandbox:
        double = Life(sandbox.url, tmp_path / "double", 2)
        assert double.began.wait(30)
        single = Life(sandbox.url, tmp_path / "single", 1)
        assert single.began.wait(30)
        sandbox.inject(*losses())
        threading.Event().wait(SECONDS)
        double.end()
        single.end()
    for kind in KINDS:
        for name in NAMES:
            ours, theirs = double.rows(kind, name), single.rows(kind, name)
            assert len(theirs) > 20
            # A subscription begins with the present state, a row of that connection alone.
            first, last = sorted(theirs)[1], max(ours)
            common = {key: row for key, row in ours.items() if first <= key <= min(last, max(theirs))}
            expected = {key: row for key, row in theirs.items() if first <= key <= last}
            assert len(expected) > 15
            assert common == expected, (kind, name)
            assert list(common) == list(expected)
    gaps = (
        [
            event
            for name in NAMES
            for event in read_events(Catalog(tmp_path / "double"), [Stream("gap", name)], 0, 2**62)
        ]
        if double.gaps
        else []
    )
    assert [gap for gap in gaps if isinstance(gap, Gap)] == []
    assert single.gaps == 0
    assert any(name.startswith("books that broke") for name in double.problems), double.problems
