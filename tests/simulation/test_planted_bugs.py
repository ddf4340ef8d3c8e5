"""Bugs put into the client on purpose: each is found within a few seeds, or the simulation is worth nothing."""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from campaign import SCALE
from simulation.setting import CONFIG, Setting
from simulation.swarm import Swarm
from simulation.virtual import simulate

from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.limits import SlidingLimit
from quantkit.feeds.okx.tracker.book import SequencedBook
from quantkit.feeds.okx.tracker.books import DepthChannel
from quantkit.feeds.okx.tracker.candles import CandleChannel
from quantkit.feeds.okx.tracker.records import Lost
from quantkit.feeds.okx.tracker.tracker import Tracker
from quantkit.feeds.okx.tracker.trades import TradeChannel
from quantkit.feeds.okx.ws.pipeline import Pipeline
from quantkit.feeds.okx.ws.sockets import FrameSocket
from quantkit.feeds.okx.ws.subscriptions import Subscriptions

pytestmark = [pytest.mark.long, pytest.mark.campaign]

_SEEDS = range(10)
_Patch = Callable[[pytest.MonkeyPatch], None]


def _rewrite(patch: pytest.MonkeyPatch, change: Callable[[list[Any]], list[Any]]) -> None:
    """Let a tracker deliver something else than it found."""
    frame, note = Tracker.frame, Tracker.record
    patch.setattr(Tracker, "frame", lambda tracker, *args: change(frame(tracker, *args)))
    patch.setattr(Tracker, "record", lambda tracker, record: change(note(tracker, record)))


def _no_sequence_check(patch: pytest.MonkeyPatch) -> None:
    def accept(state: DepthChannel, connection: int, data: Any, cause: str, out: list[Any]) -> None:
        state._apply(data, out)

    patch.setattr(DepthChannel, "_break", accept)


def _snapshot_merged_into_the_old_book(patch: pytest.MonkeyPatch) -> None:
    real = SequencedBook.apply

    def merge(book: SequencedBook, data: Any) -> int:
        return real(book, msgspec.structs.replace(data, update=msgspec.structs.replace(data.update, is_snapshot=False)))

    patch.setattr(SequencedBook, "apply", merge)
    patch.setattr(DepthChannel, "_forget_levels", lambda state, phase: setattr(state, "phase", phase))


def _snapshot_delivered_as_an_update(patch: pytest.MonkeyPatch) -> None:
    def change(events: list[Any]) -> list[Any]:
        return [
            msgspec.structs.replace(event, is_snapshot=False) if type(event) is BookUpdate else event
            for event in events
        ]

    _rewrite(patch, change)


def _outage_of_quotes_without_a_gap(patch: pytest.MonkeyPatch) -> None:
    _rewrite(patch, lambda events: [each for each in events if type(each) is not Gap or each.channel != "ticker"])


def _broken_book_without_a_gap(patch: pytest.MonkeyPatch) -> None:
    _rewrite(patch, lambda events: [each for each in events if type(each) is not Gap or each.channel != "book"])


def _every_outage_told_twice(patch: pytest.MonkeyPatch) -> None:
    _rewrite(patch, lambda events: [each for each in events for _ in range(1 + (type(each) is Gap))])


def _rows_of_a_frame_in_disorder(patch: pytest.MonkeyPatch) -> None:
    _rewrite(patch, lambda events: events[::-1])


def _trades_repeated_after_a_reconnect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TradeChannel, "_is_repeated", lambda *_: False)


def _missing_bars_skipped(patch: pytest.MonkeyPatch) -> None:
    real = CandleChannel._advance

    def skip(state: CandleChannel, received_ns: int, out: list[Any]) -> None:
        if state._held:
            state._due_ns = min(state._held)
        real(state, received_ns, out)

    patch.setattr(CandleChannel, "_advance", skip)
    patch.setattr(CandleChannel, "_ask", lambda *_: None)
    patch.setattr(CandleChannel, "overdue", lambda *_: None)


def _a_normal_close_is_the_end(patch: pytest.MonkeyPatch) -> None:
    real = FrameSocket._end

    def end(socket: Any, error: Any, crash: Any = None) -> None:
        closed = socket.protocol.close_rcvd
        if closed is None or closed.code not in (1000, 1001):
            real(socket, error, crash)

    patch.setattr(FrameSocket, "_end", end)


def _configure(patch: pytest.MonkeyPatch, name: str, value: float) -> None:
    """Let the client run with a value that its configuration would refuse."""
    config = CONFIG.with_()
    msgspec.structs.force_setattr(config, name, value)
    defaults = Setting.__init__.__kwdefaults__
    assert defaults is not None
    patch.setitem(defaults, "config", config)


def _a_dead_peer_noticed_after_a_minute(patch: pytest.MonkeyPatch) -> None:
    # What the library's own keep-alive comes to: an interval, a timeout and a close timeout.
    _configure(patch, "dead_after_s", 59.5)


def _a_frame_may_take_for_ever(patch: pytest.MonkeyPatch) -> None:
    _configure(patch, "frame_timeout_s", 86_400.0)


def _no_limit_of_connects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlidingLimit, "take", lambda *_: 0.0)


def _subscriptions_forgotten_by_a_reconnect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Subscriptions, "restart", lambda subscriptions: subscriptions._subscriptions.clear())


def _a_full_queue_drops_in_silence(patch: pytest.MonkeyPatch) -> None:
    def hand(pipeline: Any, delivered: list[Any]) -> None:
        if pipeline._backlog() < pipeline._queue_events:
            pipeline._deliver(delivered)

    patch.setattr(Pipeline, "_hand_over", hand)


def _losses_missing_on_the_tape(patch: pytest.MonkeyPatch) -> None:
    real = Pipeline.record

    def record(pipeline: Any, event: Any) -> None:
        tape = pipeline._tape
        if isinstance(event, Lost) and event.received_ns % 2:
            pipeline._tape = None
        real(pipeline, event)
        pipeline._tape = tape

    patch.setattr(Pipeline, "record", record)


@pytest.mark.parametrize(
    ("plant", "faults"),
    [
        (_no_sequence_check, ("drop", "swap", "reset")),
        (_snapshot_merged_into_the_old_book, ("reset", "drop", "slow consumer")),
        (_snapshot_delivered_as_an_update, ("reset",)),
        (_outage_of_quotes_without_a_gap, ("partition", "reset")),
        (_broken_book_without_a_gap, ("reset", "drop")),
        (_every_outage_told_twice, ("finish",)),
        (_rows_of_a_frame_in_disorder, ("reset",)),
        (_trades_repeated_after_a_reconnect, ("reset",)),
        (_missing_bars_skipped, ("partition", "silence")),
        (_a_normal_close_is_the_end, ("close 1000", "close 1001", "reset")),
        (_a_dead_peer_noticed_after_a_minute, ("partition", "silence")),
        (_a_frame_may_take_for_ever, ("trickle",)),
        (_no_limit_of_connects, ("storm", "dial error")),
        (_subscriptions_forgotten_by_a_reconnect, ("reset",)),
        (_a_full_queue_drops_in_silence, ("slow consumer", "reset")),
        (_losses_missing_on_the_tape, ("reset",)),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_planted_bug_is_found(plant: _Patch, faults: tuple[str, ...]) -> None:
    """And without it the same runs are clean; a campaign looks at all of them, whatever the bug needs."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        found = next((seed for seed in _SEEDS if not _runs_clean(faults, seed)), None)
    assert found is not None
    control = _SEEDS if SCALE > 1 else range(found + 1)
    assert [seed for seed in control if not _is_clean(faults, seed)] == []


def _runs_clean(faults: tuple[str, ...], seed: int) -> bool:
    """Return whether a run shows nothing wrong."""

    async def main() -> None:
        swarm = Swarm(seed, faults=faults)
        await swarm.run(disconnects=6)
        swarm.check()

    try:
        simulate(main(), seed=seed)
    except (AssertionError, TimeoutError, ExceptionGroup):
        return False
    return True


#: Of the client as it is: the same faults and seed serve several bugs.
_is_clean = cache(_runs_clean)
