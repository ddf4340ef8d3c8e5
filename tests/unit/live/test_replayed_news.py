"""The news of orders in the log of a run, given back where the run took it."""

from decimal import Decimal

import pytest

from quantkit.brokers.asynchronous.inputs import Acknowledged, Cancelled
from quantkit.live.journal import BrokerNews, Entry, FeedEnded, InputBatch, Output, Started, Stopped
from quantkit.live.replayer import CutShortError, DifferenceError, LogReplayer

STARTED = Started(
    version=3,
    opened_ns=1,
    strategy="mine:Mine",
    source=None,
    strategy_digest=None,
    parameters={},
    config={},
    instruments=[],
    versions={},
    broker="wire",
)
STOPPED = Stopped(
    ended="bankrupt",
    end_ns=9,
    result_hash="",
    orders=0,
    fills=0,
    equity=Decimal(0),
    cash={},
    positions={},
)
ACK = Acknowledged(order_id="bt1", at_ns=4, received_ns=5)
END = Cancelled(order_id="bt1", at_ns=6, received_ns=7, reason="requested")


def replayer(*entries: Entry) -> LogReplayer:
    return LogReplayer(iter([STARTED, *entries]))


def test_each_batch_gets_its_own_news_and_the_end_the_rest() -> None:
    log = replayer(
        InputBatch(0, 0, 5), BrokerNews(5, [ACK]), InputBatch(0, 0, 6), FeedEnded(), BrokerNews(None, [END]), STOPPED
    )
    assert [list(log.news.take(batch.until_ns)) for batch in log.batches()] == [[ACK], []]
    assert log.news.take_rest() == [END]
    assert log.news.take_rest() == ()
    assert log.stopped() == STOPPED


def test_the_rest_of_a_run_that_broke_off_is_not_that_of_its_last_batch() -> None:
    """Nothing came before that batch, and the run ended within it: both stand side by side in the log."""
    log = replayer(InputBatch(0, 0, 5), BrokerNews(None, [END]), STOPPED)
    assert log.news.take(next(log.batches()).until_ns) == ()
    assert log.news.take_rest() == [END]


def test_news_that_the_repeated_run_does_not_take_is_a_difference() -> None:
    log = replayer(InputBatch(0, 0, 5), BrokerNews(5, [ACK]), InputBatch(0, 0, 6))
    batches = log.batches()
    next(batches)
    with pytest.raises(DifferenceError) as raised:
        next(batches)
    assert raised.value.difference.recorded == "acknowledged of order bt1"
    assert raised.value.difference.replayed == "not taken"
    log = replayer(InputBatch(0, 0, 5), BrokerNews(5, [ACK]), Output([], []))
    next(log.batches())
    with pytest.raises(DifferenceError, match="news of orders"):
        log.output([], [])


def test_a_log_that_ends_with_its_news_is_cut_short() -> None:
    log = replayer(InputBatch(0, 0, 5), BrokerNews(5, [ACK]))
    batches = log.batches()
    assert log.news.take(next(batches).until_ns) == [ACK]
    with pytest.raises(CutShortError):
        next(batches)
