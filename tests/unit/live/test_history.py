"""The last hour of a run: bounded, no spike lost, and safe to read from another thread."""

import threading

from quantkit.clock import NS_PER_S
from quantkit.live.history import HistoryKeeper
from quantkit.live.status import RunHistory

HOUR_S = 3600


def test_no_extreme_is_lost_and_no_hour_is_kept_twice() -> None:
    """Two hours of marks each second, with one spike in each."""
    kept = HistoryKeeper()
    for second in range(2 * HOUR_S):
        kept.add_mark("BTC-USDT", second * NS_PER_S, {100: 50.0, HOUR_S + 100: 900.0}.get(second, 100.0 + second % 7))
    (path,) = kept.taken().prices
    assert len(path.time_ns) <= 480
    assert list(path.time_ns) == sorted(set(path.time_ns))
    assert (path.time_ns[path.price.index(900.0)], min(path.price)) == ((HOUR_S + 100) * NS_PER_S, 100.0)
    assert path.time_ns[0] >= (HOUR_S - 20) * NS_PER_S


def test_a_price_that_has_not_moved_for_an_hour_stands() -> None:
    """Of others the last mark before the hour is there as well, so that their line begins with the hour."""
    kept = HistoryKeeper()
    kept.add_mark("QUIET", NS_PER_S, 1.0)
    kept.add_mark("QUIET", 60 * NS_PER_S, 2.0)
    kept.add_equity(3 * HOUR_S * NS_PER_S, 10.0)
    found = kept.taken()
    assert [(path.time_ns, path.price) for path in found.prices] == [((60 * NS_PER_S,), (2.0,))]
    assert found.equity.price == (10.0,)


def test_it_is_read_while_it_grows() -> None:
    kept, is_over, errors = HistoryKeeper(), threading.Event(), list[Exception]()
    kept.add_equity(0, 1.0)

    def read() -> None:
        try:
            while not is_over.is_set():
                assert len(kept.taken().equity.price) > 0
        except Exception as error:  # noqa: BLE001  the test raises it
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for moment in range(20_000):
        kept.add_mark(f"I{moment % 40}", moment * NS_PER_S, moment % 13)
        kept.add_equity(moment * NS_PER_S, moment % 11)
    is_over.set()
    reader.join()
    assert errors == []


def test_an_empty_one_is_empty() -> None:
    assert HistoryKeeper().taken() == RunHistory()
