"""How often a live run shows itself."""

from typing import Any

import pytest

from quantkit.clock import NS_PER_S
from quantkit.live.monitor import Monitor

HOUR_NS = 3_600 * NS_PER_S


class Counting(Monitor):
    """A monitor of no run: only its rhythm is looked at."""

    def status(self, engine: Any, now_ns: int, at_ns: int) -> Any:
        return at_ns


def test_a_clock_that_is_set_back_does_not_freeze_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    engine: Any = object()
    feed: Any = None
    monitor = Counting(feed, shown.append, strategy="", recording="", started_ns=0)
    monitor.tick(0)  # there is no engine yet
    monitor.watch(engine)
    moments = [HOUR_NS, HOUR_NS + 1, HOUR_NS + NS_PER_S, NS_PER_S, NS_PER_S + 1, 2 * NS_PER_S]
    for moment in moments:
        monkeypatch.setattr("quantkit.live.monitor.wall_ns", lambda at_ns=moment: at_ns)
        monitor.tick(0)
    assert shown == [HOUR_NS, HOUR_NS + NS_PER_S, NS_PER_S, 2 * NS_PER_S]
