"""Commands on their way into a run, and in its log."""

import threading
from typing import Any

import pytest
from cut_feed import ListLog

import quantkit as qk
from quantkit.brokers.base import Decision
from quantkit.engine.commands import RunCommand
from quantkit.live.commands import RunCommands
from quantkit.live.journal import Entry, FeedEnded, InputBatch, Output, Started
from quantkit.live.replayer import CutShortError, DifferenceError, LogReplayer

STARTED = Started(
    version=4,
    opened_ns=1,
    strategy="mine:Mine",
    source=None,
    strategy_digest=None,
    parameters={},
    config={},
    instruments=[],
    versions={},
)
PAUSE = RunCommand("pause", "web", "lunch", 3, 5)
STOP = RunCommand("stop", "web", "", 4, 5)


class Feed:
    """A feed that writes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def wake_at(self, moment_ns: int) -> None:
        self.asked.append("wake")

    def stop(self) -> None:
        self.asked.append("stop")


def begun() -> tuple[RunCommands, Feed, ListLog]:
    """Return commands of a run that has taken its first batch."""
    commands, feed, log = RunCommands(), Feed(), ListLog()
    commands.begin(feed, log)
    assert commands.take(0) is None
    return commands, feed, log


def test_a_command_wakes_the_feed_and_is_logged_before_anybody_hears_that_it_was_taken() -> None:
    commands, feed, log = begun()
    logged: list[int] = []
    taken = commands.pause(source="web", reason="lunch")
    taken.add_done_callback(lambda _: logged.append(len(log.entries)))
    assert feed.asked == ["wake"]
    assert not taken.done()
    command = commands.take(7)
    assert command is not None
    assert (command.name, command.source, command.reason, command.taken_ns) == ("pause", "web", "lunch", 7)
    assert log.entries == [command]
    assert (logged, taken.result(0)) == ([1], 7)
    assert commands.take(8) is None


def test_commands_are_taken_in_their_order() -> None:
    commands, _, _ = begun()
    for give in (commands.pause, commands.cancel_all, commands.resume):
        give()
    taken = [commands.take(1), commands.take(1), commands.take(1), commands.take(1)]
    assert [None if command is None else command.name for command in taken] == ["pause", "cancel_all", "resume", None]


def test_stop_ends_the_feed_once_it_is_taken() -> None:
    commands, feed, _ = begun()
    commands.stop()
    assert feed.asked == ["wake"]
    commands.take(1)
    assert feed.asked == ["wake", "stop"]


def test_before_the_first_batch_stop_ends_the_feed_at_once() -> None:
    """A run that never starts would never take it."""
    commands, feed = RunCommands(), Feed()
    commands.begin(feed, None)
    commands.pause()
    commands.stop()
    assert feed.asked == ["wake", "wake", "stop"]
    early, feed = RunCommands(), Feed()
    early.stop()
    early.begin(feed, None)
    assert feed.asked == ["stop"]


def test_what_was_not_taken_is_told_at_the_end_and_later_commands_are_refused() -> None:
    commands, _, _ = begun()
    taken = commands.pause()
    commands.end()
    with pytest.raises(qk.ConfigError, match="pause: the run ended before it took the command"):
        taken.result(0)
    with pytest.raises(qk.ConfigError, match="resume: the run is over"):
        commands.resume()
    commands.end()


def test_a_future_that_nobody_wants_any_more_changes_nothing() -> None:
    commands, _, _ = begun()
    assert commands.pause().cancel()
    assert commands.resume().cancel()
    command = commands.take(1)
    assert command is not None
    assert command.name == "pause"
    commands.end()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "sell"}, "'sell' is no command; give pause, resume, cancel_all or stop"),
        ({"name": "pause", "source": "x" * 41}, "source of a command is a text of at most 40"),
        ({"name": "pause", "reason": "x" * 201}, "reason of a command is a text of at most 200"),
    ],
)
def test_a_wrong_command_is_refused(given: dict[str, Any], told: str) -> None:
    commands, feed, _ = begun()
    with pytest.raises(qk.ConfigError, match=told):
        commands.give(**given)
    assert feed.asked == []


def test_only_so_many_commands_wait() -> None:
    """A run that is busy does not gather them for ever."""
    commands, _, _ = begun()
    for _ in range(32):
        commands.pause()
    with pytest.raises(qk.ConfigError, match="32 commands wait already"):
        commands.pause()
    commands.take(1)
    commands.pause()


def test_what_a_command_says_is_one_line() -> None:
    """No terminal and no log takes it for more."""
    commands, _, _ = begun()
    commands.pause(source="a\nb", reason="c\x1b[2J‮d")
    command = commands.take(1)
    assert command is not None
    assert (command.source, command.reason) == ("a b", "c [2J d")
    assert str(command) == "pause at 1970-01-01T00:00:00.000000001Z (a b: c [2J d)"


def test_commands_belong_to_one_run() -> None:
    commands, _, _ = begun()
    with pytest.raises(qk.ConfigError, match="commands belong to one run"):
        commands.begin(Feed(), None)


def test_many_threads_lose_no_command() -> None:
    commands, _, log = begun()
    gate = threading.Barrier(8)

    def give() -> None:
        gate.wait()
        for _ in range(4):
            commands.pause()

    threads = [threading.Thread(target=give) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while commands.take(1) is not None:
        pass
    assert len(log.entries) == 32


# In the log ---------------------------------------------------------------------------------------------------------


def replayer(*entries: Entry) -> LogReplayer:
    return LogReplayer(iter([STARTED, *entries]))


def test_a_repetition_takes_commands_where_the_run_did() -> None:
    log = replayer(InputBatch(0, 0, 5), PAUSE, STOP, InputBatch(0, 0, 6), FeedEnded())
    taken = []
    for batch in log.batches():
        while (command := log.commands.take(batch.until_ns)) is not None:
            taken.append((batch.until_ns, command))
    assert taken == [(5, PAUSE), (5, STOP)]


def test_a_command_that_is_not_taken_is_a_difference() -> None:
    """Because engine time is another one, or because nobody asks for it."""
    log = replayer(InputBatch(0, 0, 5), PAUSE, InputBatch(0, 0, 6))
    batches = log.batches()
    next(batches)
    assert log.commands.take(4) is None
    with pytest.raises(DifferenceError, match="commands at") as raised:
        next(batches)
    assert raised.value.difference.recorded == "pause at 1970-01-01T00:00:00.000000005Z (web: lunch)"
    assert raised.value.difference.replayed == "not taken"
    log = replayer(InputBatch(0, 0, 5), PAUSE, Output([], []))
    next(log.batches())
    with pytest.raises(DifferenceError, match="commands at"):
        log.output([], [])


def test_a_log_that_ends_with_a_command_is_cut_short() -> None:
    log = replayer(InputBatch(0, 0, 5), PAUSE)
    batches = log.batches()
    assert log.commands.take(next(batches).until_ns) == PAUSE
    assert not log.goes_on
    with pytest.raises(CutShortError):
        next(batches)


def test_a_run_with_a_command_ahead_goes_on() -> None:
    """Where the repetition broke off, the recorded run did not."""
    assert replayer(PAUSE).goes_on
    decision = Decision(1, "cancel", "bt1", "A", "buy", None, None, None, "GTC", False, False, "")
    assert not replayer(Output([decision], [])).goes_on
