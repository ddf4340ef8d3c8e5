"""The thread of a live feed: the tape before the rows, one hand-over for each callback, and every way that it ends."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from quantkit.clock import wall_ns
from quantkit.errors import DataError, FeedClosedError, FeedError
from quantkit.events import Candle, Gap, Row, Trade
from quantkit.feeds.frame_tape import FrameTape
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.live_source import OPEN_END_NS, ClockReading, ConnectionLine, LiveSink
from quantkit.feeds.receiver import Receiver
from quantkit.feeds.taken import TakenRows
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeReader

T = TypeVar("T")


class Client:
    """A client without an exchange: the test stamps, keeps and delivers by itself."""

    def __init__(self, sink: LiveSink, opening: BaseException | None) -> None:
        self.sink = sink
        self.opening = opening
        self.clock: FeedError | ClockReading = ClockReading(5_000, 10)
        self.measured = threading.Semaphore(0)
        self.ends_ns = 0
        self.has_ended = False
        self.is_closed = False

    async def __aenter__(self) -> Self:
        if self.opening is not None:
            raise self.opening
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_closed = True

    async def instruments(self, valid_from_ns: int) -> Sequence[Instrument]:
        return []

    async def clock_offset(self) -> ClockReading:
        self.measured.release()
        if isinstance(self.clock, FeedError):
            raise self.clock
        return self.clock

    async def subscribe(self, streams: Collection[Stream], names: Collection[str], since_ns: int) -> None: ...

    def poll(self, streams: Collection[Stream]) -> None: ...

    async def candles(self, stream: Stream, count: int, until_ns: int) -> Sequence[Candle]:
        return []

    def ends_at(self, end_ns: int) -> None:
        self.ends_ns = end_ns

    def end(self) -> None:
        self.has_ended = True
        self.sink.deliver([trade(self.ends_ns)])

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        return (ConnectionLine("one", "closed" if self.is_closed else "live", 0, 0, 0, 1),)

    @property
    def problems(self) -> Mapping[str, int]:
        return {}


class Source:
    """Gives the client of a test."""

    def __init__(self, opening: BaseException | None = None) -> None:
        self.opening = opening
        self.made: list[Client] = []

    def client(self, sink: LiveSink, *, wall: Callable[[], int]) -> Client:
        self.made.append(Client(sink, self.opening))
        return self.made[-1]


class Full(FrameTape):
    """A tape on a disk that has no room."""

    def flush(self) -> bool:
        self.error = DataError("the disk is full")
        return False


def trade(received_ns: int) -> Trade:
    return Trade("A-B", received_ns, received_ns, 1.0, 1.0, Side.BUY)


class Setting:
    """A receiver, its client and its clock."""

    def __init__(
        self, tape: FrameTape | None = None, opening: BaseException | None = None, *, outlasts_refusals: bool = False
    ) -> None:
        source: Any = Source(opening)
        self.stop = threading.Event()
        self.clock = LiveClock(wall_ns, input_log=None, taken=TakenRows(wall_ns, OPEN_END_NS), sender="")
        self.receiver = Receiver(
            source,
            tape=tape or FrameTape(None),
            clock=self.clock,
            wall=wall_ns,
            stop=self.stop,
            outlasts_refusals=outlasts_refusals,
        )
        (self.client,) = source.made

    def on_thread(self, work: Callable[[], T]) -> T:
        """Run something in one callback of the loop, and wait until the callbacks after it have run."""

        async def once() -> T:
            return work()

        async def nothing() -> None: ...

        found = self.receiver.call(once())
        self.receiver.call(nothing())
        return found

    def taken(self) -> list[list[Row]]:
        """Return what the engine would get now."""
        found = self.receiver.inbox.take(lambda: 0, 1_000)
        assert found is not None
        return [list(rows) for rows in found[0]]


@contextmanager
def running(tape: FrameTape | None = None, *, outlasts_refusals: bool = False) -> Iterator[Setting]:
    setting = Setting(tape, outlasts_refusals=outlasts_refusals)
    setting.receiver.start()
    try:
        yield setting
    finally:
        setting.receiver.stop()
        setting.receiver.join()


def test_the_rows_of_one_callback_are_handed_over_together_at_its_end() -> None:
    with running() as setting:
        sink = setting.receiver

        def two() -> int:
            for _ in range(2):
                sink.deliver([trade(sink.stamp())])
            assert sink.waiting() == 2
            return len(sink.inbox)

        assert setting.on_thread(two) == 0
        assert [len(rows) for rows in setting.taken()] == [1, 1]
        assert sink.waiting() == 0


@pytest.mark.parametrize("outlasts", [False, True])
def test_a_refused_stream_ends_with_a_gap_where_the_feed_outlasts_it(outlasts: bool) -> None:
    """A run goes by all of its streams, so that there the client has to end the feed."""
    streams = [Stream("instrument", "A-B"), Stream("book", "A-B")]
    with running(outlasts_refusals=outlasts) as setting:
        sink = setting.receiver
        assert setting.on_thread(lambda: sink.refused(streams, FeedError("no such channel"))) is outlasts
        gaps = [row for rows in setting.taken() for row in rows] if len(sink.inbox) else []
        assert [type(row) for row in gaps] == [Gap] * outlasts
        assert [str(stream) for stream in sink.refusals] == ["A-B instrument", "A-B book"] * outlasts
        assert sink.failure is None


def test_the_rows_of_one_read_are_handed_over_when_it_ends() -> None:
    """Without another round of the loop: they are there before the callback is over."""
    with running() as setting:
        sink = setting.receiver

        def read() -> tuple[int, int]:
            sink.reading(True)
            sink.deliver([trade(sink.stamp())])
            before = len(sink.inbox)
            sink.reading(False)
            return before, len(sink.inbox)

        assert setting.on_thread(read) == (0, 1)


def test_the_tape_has_a_payload_before_the_engine_has_its_rows(tmp_path: Path) -> None:
    tape = FrameTape(tmp_path / "frames")
    tape.open()
    with running(tape) as setting:
        sink = setting.receiver
        assert sink.is_recorded

        def receive() -> None:
            stamp_ns = sink.stamp()
            sink.keep(b"one")
            sink.deliver([trade(stamp_ns)])

        setting.on_thread(receive)
        assert len(setting.taken()) == 1
        assert [bytes(payload) for payload in TapeReader(tmp_path / "frames")] == [b"one"]
    tape.close()
    tape.close()
    assert tape.error is None


def test_what_cannot_be_recorded_is_not_handed_over() -> None:
    with running(Full(None)) as setting:
        sink = setting.receiver

        async def receive() -> None:
            sink.deliver([trade(sink.stamp())])

        sink.call(receive())
        sink.join()
        assert str(sink.failure) == "the disk is full"
        assert sink.inbox.take(lambda: 0, 10) is None
        with pytest.raises(DataError, match="the disk is full"):
            sink.raise_failure()


def test_a_client_that_cannot_be_opened_says_why() -> None:
    for error, told in ((FeedError("no such host"), "no such host"), (KeyError("x"), "the feed ended: KeyError: 'x'")):
        setting = Setting(opening=error)
        with pytest.raises(FeedError, match=told):
            setting.receiver.start()
        setting.receiver.join()


def test_a_call_ends_with_the_feed_and_says_why() -> None:
    with running() as setting:
        lost = FeedError("refused for good")

        async def lose() -> None:
            setting.receiver.fail(lost)
            setting.receiver.fail(FeedError("what follows from it"))
            await asyncio.Event().wait()

        with pytest.raises(FeedError, match="refused for good"):
            setting.receiver.call(lose())
        assert setting.receiver.failure is lost
        assert setting.receiver.connections[0].state == "closed"
        assert setting.receiver.closed_error() is lost


def test_a_call_ends_when_somebody_stops_the_run() -> None:
    with running() as setting:

        async def wait() -> None:
            setting.stop.set()
            await asyncio.Event().wait()

        with pytest.raises(FeedClosedError, match="stopped before the run could start"):
            setting.receiver.call(wait())


def test_a_call_is_given_up_long_after_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.feeds.receiver._LATE_NS", 0)
    with running() as setting:
        setting.receiver.ends_at(1)
        with pytest.raises(FeedError, match="the run's time is over and it has not started"):
            setting.receiver.call(asyncio.Event().wait())


def test_without_a_thread_there_are_no_calls() -> None:
    receiver = Setting().receiver
    receiver.stop()
    with pytest.raises(FeedClosedError, match="the feed is not open"):
        receiver.call(asyncio.Event().wait())
    assert receiver.failure is None


def test_the_rows_end_with_the_run() -> None:
    """What the client has left to say of that moment is the last, and the inbox knows that nothing follows."""
    with running() as setting:
        end_ns = wall_ns() + 50_000_000
        setting.receiver.ends_at(end_ns)
        setting.receiver.arm_end()
        rows: list[Row] = []
        until_ns = 0
        while until_ns < end_ns:
            taken = setting.receiver.inbox.take(end_ns, 10)
            assert taken is not None
            deliveries, until_ns = taken
            rows += [row for delivery in deliveries for row in delivery]
        assert (rows, until_ns, setting.client.ends_ns) == ([trade(end_ns)], end_ns, end_ns)


def test_a_run_that_begins_after_its_end_takes_nothing() -> None:
    with running() as setting:
        end_ns = wall_ns() - 1
        setting.receiver.ends_at(end_ns)
        setting.receiver.arm_end()
        setting.on_thread(lambda: None)
        assert setting.receiver.inbox.take(OPEN_END_NS, 10) == ([], end_ns)
        assert setting.client.ends_ns == 0


def test_a_measurement_moves_the_clock_and_a_missing_answer_is_counted() -> None:
    with running() as setting:
        setting.receiver.call(setting.receiver.measure())
        assert (setting.clock.offset.settle(None, until_ns=0), setting.clock.offset.value_ns) == (True, 5_000)
        setting.client.clock = FeedError("too many requests")
        setting.receiver.call(setting.receiver.measure())
        assert setting.clock.offset.unmeasured == 1
        setting.receiver.measure_soon()
        assert all(setting.client.measured.acquire(timeout=30) for _ in range(3))
