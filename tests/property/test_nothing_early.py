"""No hook sees a number before its row had closed and come, whichever way the data came in."""

import importlib
import inspect
import pkgutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from campaign import scaled
from hypothesis import given, settings
from hypothesis import strategies as generators
from property.ways_in import IMPORTS, OTHERS, SWAP, ZONES, Given, Setting

import quantkit as qk
import quantkit.feeds
from quantkit.clock import INTERVALS, NS_PER_MIN, NS_PER_S
from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS, EVENT_TYPES
from quantkit.feeds.database import DatabaseFeed
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.recorded import RecordedFeed
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.importers import FORMATS
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.strategy import overrides

WAYS = {**{f"import {name}": way for name, way in IMPORTS.items()}, **OTHERS}
#: How each kind of row is asked for; a gap comes unasked.
SUBSCRIBE = {kind.name: kind.subscription for kind in EVENT_KINDS.values() if kind.subscription is not None}
#: What a feed of every kind of rows is to show.
EVERY = {*SUBSCRIBE, "history"} - {"candle"}

#: What a way that brings rows of several kinds is to show of each.
SOURCES = {
    "import okx/ws-raw": ("trade", "ticker", "book", "mark", "open_interest", "candle 1m", "history"),
    "import binance/ws-raw": ("trade", "ticker", "book", "book()"),
    "import marks": ("mark", "trade"),
    "import funding": ("funding", "trade"),
    "folder": EVERY,
    "memory": EVERY,
}
#: Why a run may be refused before it begins: what is asked for cannot be had of so little.
REFUSALS = ("cannot be built from", "a warm-up of 3 candles lasts until", "no data: ")


class Witness(qk.Strategy):
    """Listens to everything there is, looks back in every hook, and notes what it sees before it was known."""

    def __init__(self, given: Given, streams: list[Stream], setting: Setting) -> None:
        super().__init__()
        self.given, self.streams, self.warmup = given, streams, setting.warmup
        self.beat = "1h" if setting.interval == "1m" else "6h"
        self.early: list[str] = []
        for kind in EVENT_KINDS.values():  # those without a hook below
            if kind.hook is not None and not overrides(self, kind.hook):
                setattr(self, kind.hook, partial(self.see_event, kind.name))
        self.seen: dict[str, int] = {}

    def on_start(self) -> None:
        for kind, _, interval in self.streams:
            subscribe = getattr(self, SUBSCRIBE[kind])
            if kind == "candle":
                subscribe(self.given.instrument, interval, warmup=self.warmup)
            else:
                subscribe(self.given.instrument)
        self.every(self.beat)

    def see(self, source: str, numbers: list[float | None], *moments_ns: int) -> None:
        """Compare numbers that a hook was shown with when they were known, and moments with now."""
        for number in numbers:
            known_ns = None if number is None else self.given.known_ns.get(number)
            if known_ns is not None:
                self.seen[source] = self.seen.get(source, 0) + 1
                if self.now < known_ns:
                    self.early.append(f"{source}: {number} seen {(known_ns - self.now) / NS_PER_S} s early")
        if any(moment > self.now for moment in moments_ns):
            self.early.append(f"{source}: stamped {moments_ns}, now {self.now}")

    def see_event(self, source: str, event: Any) -> None:
        """Look at every number of a row, and when it came."""
        fields = [value for value in msgspec.structs.astuple(event) if isinstance(value, float)]
        closes = (event.close_ns,) if isinstance(event, qk.Candle) else ()
        self.see(source, fields, event.received_ns, *closes)
        self.look_back()

    def look_back(self) -> None:
        """Ask for what can be asked for."""
        for kind, _, interval in self.streams:
            if kind == "candle":
                for candle in self.history(self.given.instrument, interval, 5):
                    fields = [candle.open, candle.high, candle.low, candle.close]
                    self.see("history", fields, candle.received_ns, candle.close_ns)
            elif kind == "book" and (book := self.book(self.given.instrument)) is not None:
                self.see("book()", [book.best_bid, book.best_ask])

    def on_candle(self, candle: qk.Candle) -> None:
        self.see_event(f"candle {candle.interval}", candle)

    def on_book(self, book: qk.Book) -> None:
        self.see("book", [book.best_bid, book.best_ask], book.received_ns)

    def on_timer(self, name: str) -> None:
        self.look_back()


setting_of = generators.builds(
    Setting,
    seed=generators.integers(0, 10_000),
    zone=generators.sampled_from(ZONES),
    interval=generators.sampled_from(["1m", "1h", "4h", "1d"]),
    longer=generators.sampled_from([None, "5m", "4h", "1d", "1w"]),
    shift_ns=generators.sampled_from([0, 0, 0, 14 * NS_PER_S, 30 * NS_PER_MIN, 60 * NS_PER_MIN]),
    late_ns=generators.sampled_from([0, 7 * NS_PER_S, 20 * NS_PER_MIN]),
    warmup=generators.sampled_from([0, 3]),
    block_rows=generators.sampled_from([1, 5, 1_000]),
    # Minutes that begin an hour late have no moment in common with the half hour of other rows.
).filter(lambda setting: setting.interval != "1m" or setting.shift_ns < 60 * NS_PER_MIN)


def witness_of(found: Given, setting: Setting) -> Witness:
    """Return a strategy that listens to every stream there is, and to longer candles made of them."""
    if isinstance(found.data, dict):
        streams = [Stream("candle", found.instrument, setting.interval)]
    else:
        feed = ReplayFeed(found.data) if isinstance(found.data, Path) else found.data
        streams = [stream for stream in feed.coverage() if stream.kind in SUBSCRIBE]
    lengths = [INTERVALS[stream.interval] for stream in streams if stream.kind == "candle"]
    if setting.longer is not None and lengths and INTERVALS[setting.longer] > max(lengths):
        streams.append(Stream("candle", found.instrument, setting.longer))
    return Witness(found, streams, setting)


def check(way: str, setting: Setting) -> None:
    """Bring data in one way, run, and see that nothing was early; a pair that cannot be built is refused at once."""
    with tempfile.TemporaryDirectory() as folder:
        found = WAYS[way](setting, Path(folder))
        witness = witness_of(found, setting)
        metadata = [SWAP] if isinstance(found.data, dict) else []
        options = {"data": found.data, "cash": {"USDT": 1_000}, "equity_every": "6h", "instruments": metadata}
        try:
            qk.backtest(witness, block_rows=setting.block_rows, **options)
        except DataError as error:
            if not any(reason in str(error) for reason in REFUSALS):
                raise
            assert witness.seen == {}, "the refusal came in the middle of the run"
            witness = witness_of(found, setting._replace(longer=None, warmup=0))
            qk.backtest(witness, **options)
    assert witness.early == []
    if not setting.warmup:
        # A run that is warmed up first may begin after the half hour in which the other rows come.
        assert set(witness.seen) >= set(SOURCES.get(way, ())), witness.seen
    assert witness.seen, "nothing was seen at all"


@pytest.mark.parametrize("way", sorted(WAYS))
@given(setting=setting_of)
@pytest.mark.campaign
@pytest.mark.long
@settings(max_examples=scaled(6), deadline=None)
def test_nothing_is_known_before_it_could_be(way: str, setting: Setting) -> None:
    """Each number that a hook is shown had been traded, closed and received by then."""
    check(way, setting)


def test_every_way_in_is_tried() -> None:
    """A new importer, feed or kind of row has to be added here."""
    assert set(IMPORTS) == set(FORMATS)
    # Gaps come unasked; a live run's own timings, tiers, limits and fees come to no hook.
    silent = {kind.name for kind in EVENT_KINDS.values() if kind.is_stored and kind.hook is None}
    assert silent == {"timing", "position_tier", "price_limit", "fee_rate"}
    assert set(SUBSCRIBE) == set(EVENT_TYPES) - silent - {"gap"}
    feeds = set()
    for module in pkgutil.walk_packages(quantkit.feeds.__path__, "quantkit.feeds."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if getattr(found, "_is_protocol", False) or inspect.isabstract(found):
                continue
            if hasattr(found, "batches") and hasattr(found, "warmup"):
                feeds.add(found)
    # The live one, its recording and the database have tests of their own, against servers.
    assert feeds == {ReplayFeed, MemoryFeed, DatabaseFeed, LiveFeed, RecordedFeed}


class Peeking(MemoryFeed):
    """Hands a candle over before its last bar has come, and stamps it with its close."""

    def _blocks(self, wish: Subscription) -> Iterator[Block]:
        for block in super()._blocks(wish):
            columns = {name: block.column(name) for name in (*STAMPS, *KIND_COLUMNS[block.stream.kind])}
            if block.stream.interval == "5m":
                columns["received_ns"] = columns["close_ns"]
            yield Block(block.stream, block.size, columns)


def test_a_planted_look_ahead_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven seconds are enough: the check is not blind."""
    setting = Setting(7, "UTC", "1m", "5m", 0, 7 * NS_PER_S, 0, 5)
    check("memory", setting)
    monkeypatch.setattr("property.ways_in.MemoryFeed", Peeking)
    with pytest.raises(AssertionError, match=r"candle 5m: .* seen .* s early"):
        check("memory", setting)
