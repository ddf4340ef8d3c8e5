"""The recorded captures, imported and tracked: the same frames give the same rows on both ways."""

import gzip
import re
from collections import defaultdict
from pathlib import Path

import pytest

from quantkit.events import KINDS, MarketEvent
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import Subscribed
from quantkit.feeds.okx.tracker.tracker import Tracker
from quantkit.importers import import_files
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

DATA = Path(__file__).parents[2] / "data"
RECEIVED = re.compile(rb"([0-9]+)\.([0-9]+): (.*)", re.DOTALL).fullmatch
#: The book channel and the instruments of each, but for options, which an import leaves out.
CAPTURES = {
    "okx_ws_20220227T231427Z.log.gz": (
        "books-l2-tbt",
        ("ELON-USDT", "PROPS-ETH", "ZEN-USDT", "UNI-USD-SWAP"),
    ),
    "okx_ws_20220513T162705Z.log.gz": ("books", ("BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527")),
}


def tracked(file: Path, channels: list[Channel]) -> tuple[list[MarketEvent], Tracker]:
    """Return what a tracker delivers of a capture's frames, stamped as the importer stamps them."""
    tracker = Tracker()
    for channel in channels:
        assert tracker.record(Subscribed(1, 0, channel)) == []
    delivered: list[MarketEvent] = []
    last_ns = 0
    for line in gzip.decompress(file.read_bytes()).splitlines():
        found = RECEIVED(line)
        if found is not None:
            last_ns = max(int(found[1]) * 1_000_000_000 + int(found[2].ljust(9, b"0")), last_ns + 1)
            delivered += tracker.frame(0, last_ns, found[3])  # type: ignore[arg-type]
    assert tracker.close(last_ns) == []
    return delivered, tracker


@pytest.mark.parametrize("name", CAPTURES)
def test_frames_give_the_same_rows_imported_and_tracked(name: str, tmp_path: Path) -> None:
    """But for what only an importer proves: it checks the checksums of that time, which live are never validated.

    All of them are right in these captures, so that the rows are the same to the last one.
    """
    books, instruments = CAPTURES[name]
    report = import_files("okx/ws-raw", [DATA / name], to=tmp_path / "data", only=instruments)
    shift_ns = report.received_shift_ns
    catalog = Catalog(tmp_path / "data")
    imported: dict[tuple[str, str], list[MarketEvent]] = {}
    for stream in catalog.coverage():
        events = list(read_events(catalog, [stream], 0, 2**62))
        imported[stream.kind, stream.instrument] = events
    channels = [Channel(kind, instrument) for kind in (books, "tickers", "trades") for instrument in instruments]
    delivered, tracker = tracked(DATA / name, channels)
    live: dict[tuple[str, str], list[MarketEvent]] = defaultdict(list)
    for event in delivered:
        live[KINDS[type(event)], event.instrument].append(event)
    assert set(live) == set(imported)
    for key, rows in imported.items():
        assert len(rows) == len(live[key]), key
        for row, event in zip(rows, live[key], strict=True):
            assert row.received_ns == event.received_ns + shift_ns
            for field in row.__struct_fields__:
                assert field == "received_ns" or getattr(row, field) == getattr(event, field), (key, field)
    assert report.ignored.get("repeated trades", 0) == tracker.counters["repeated trades"]
    assert list(tracker.invalid_books()) == []
