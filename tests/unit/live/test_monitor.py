"""How often a live run shows itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.live.history import HistoryKeeper
from quantkit.live.monitor import CallbackViewer, Monitor

HOUR_NS = 3_600 * NS_PER_S


class Counting(Monitor):
    """A monitor of no run: only its rhythm is looked at."""

    def status(self, engine: Any, now_ns: int, at_ns: int) -> Any:
        return at_ns


def test_a_clock_that_is_set_back_does_not_freeze_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    engine: Any = SimpleNamespace(plan=SimpleNamespace(instruments={}))
    feed: Any = SimpleNamespace()
    monitor = Counting(feed, [CallbackViewer(shown.append)], strategy="", recording="", started_ns=0)
    monitor.tick(0)  # there is no engine yet
    monitor.watch(engine)
    moments = [HOUR_NS, HOUR_NS + 1, HOUR_NS + NS_PER_S, NS_PER_S, NS_PER_S + 1, 2 * NS_PER_S]
    for moment in moments:
        monkeypatch.setattr("quantkit.live.monitor.wall_ns", lambda at_ns=moment: at_ns)
        monitor.tick(0)
    assert shown == [HOUR_NS, HOUR_NS + NS_PER_S, NS_PER_S, 2 * NS_PER_S]


class Sometimes:
    """Watches when the test says so."""

    def __init__(self) -> None:
        self.is_watching = False
        self.shown: list[Any] = []

    def show(self, status: Any) -> None:
        self.shown.append(status)


def test_without_a_watcher_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the clock nor the engine: each of these would raise."""
    feed: Any = SimpleNamespace()
    engine: Any = SimpleNamespace()
    viewer = Sometimes()
    monitor = Counting(feed, [viewer], strategy="", recording="", started_ns=0)
    monitor.watch(engine)
    monkeypatch.setattr("quantkit.live.monitor.wall_ns", lambda: 1 / 0)
    monitor.tick(0)
    assert viewer.shown == []
    viewer.is_watching = True
    with pytest.raises(ZeroDivisionError):
        monitor.tick(0)


def test_marks_and_equity_are_noted_for_those_who_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty times and once a second, where anybody may ask; no status is made of them."""
    marks, told = {"BTC-USDT": 1.0}, SimpleNamespace(equity=1_000.0)
    engine: Any = SimpleNamespace(plan=SimpleNamespace(instruments=["BTC-USDT"]), mark=marks.get, reported=told)
    kept = HistoryKeeper()
    viewer = Sometimes()
    feed: Any = SimpleNamespace()
    monitor = Counting(feed, [viewer], strategy="", recording="", started_ns=0, history=kept)
    monitor.watch(engine)
    for moment in range(200):
        now_ns = NS_PER_S + moment * 10 * NS_PER_MS
        marks["BTC-USDT"], told.equity = float(moment), 1_000.0 + moment
        monkeypatch.setattr("quantkit.live.monitor.wall_ns", lambda at_ns=now_ns: at_ns)
        monitor.tick(now_ns)
    found = kept.taken()
    assert [path.price for path in found.prices] == [(0.0, 195.0)]
    assert found.equity.price == (1_000.0, 1_100.0)
    assert viewer.shown == []


def test_a_watcher_that_leaves_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    feed: Any = SimpleNamespace()
    engine: Any = SimpleNamespace(plan=SimpleNamespace(instruments={}))
    first, other = Sometimes(), Sometimes()
    first.is_watching = other.is_watching = True
    monitor = Counting(feed, [first, other], strategy="", recording="", started_ns=0)
    monitor.watch(engine)
    for second in range(1, 4):
        monkeypatch.setattr("quantkit.live.monitor.wall_ns", lambda at_ns=second * NS_PER_S: at_ns)
        monitor.tick(0)
        first.is_watching = False
    assert (first.shown, other.shown) == ([NS_PER_S], [NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S])
