"""News on its way from another thread to the engine."""

import threading
from collections.abc import Sequence

from quantkit.brokers.asynchronous.input_queue import InputQueue
from quantkit.brokers.asynchronous.inputs import Acknowledged, OrderInput

UNTIL = 2**62


class Clock:
    """A machine's clock that the test sets, backward too."""

    def __init__(self) -> None:
        self.now_ns = 100

    def __call__(self) -> int:
        return self.now_ns


class Watched:
    """A log and a sleeper that write down what happens to them."""

    def __init__(self) -> None:
        self.logged: list[list[OrderInput]] = []
        self.untils: list[int | None] = []
        self.wakes: list[int] = []

    def broker_news(self, news: Sequence[OrderInput], until_ns: int | None) -> None:
        self.logged.append(list(news))
        self.untils.append(until_ns)

    def wake_at(self, moment_ns: int) -> None:
        self.wakes.append(moment_ns)


def ack(number: int) -> Acknowledged:
    return Acknowledged(order_id=f"a{number}", at_ns=number)


def stamps(news: Sequence[OrderInput]) -> list[int]:
    return [each.received_ns for each in news]


def test_stamps_rise_strictly_whatever_the_clock_does() -> None:
    clock = Clock()
    queue = InputQueue(clock)
    queue.put(ack(1), ack(2))
    clock.now_ns = 50
    queue.put(ack(3))
    clock.now_ns = 200
    queue.put(ack(4))
    taken = queue.take(UNTIL)
    assert stamps(taken) == [100, 101, 102, 200]
    assert [each.order_id for each in taken] == ["a1", "a2", "a3", "a4"]


def test_what_came_later_than_the_engine_has_come_waits() -> None:
    clock, watched = Clock(), Watched()
    queue = InputQueue(clock, sleeper=watched, log=watched)
    queue.put(ack(1))
    clock.now_ns = 300
    queue.put(ack(2))
    assert watched.wakes == [100, 100]
    assert stamps(queue.take(100)) == [100]
    assert watched.wakes[2:] == [300]  # or what is left would wait as long as the market is quiet
    assert queue.take(299) == []
    assert stamps(queue.take(300)) == [300]
    assert queue.take(300) == []


def test_the_past_of_the_run_is_not_changed() -> None:
    """The engine has come to 500 before the news of 400 is there: it counts from 501 on."""
    clock = Clock()
    queue = InputQueue(clock)
    assert queue.take(500) == []
    clock.now_ns = 400
    queue.put(ack(1), ack(2))
    assert queue.take(500) == []
    assert stamps(queue.take(501)) == [501]
    assert stamps(queue.take(600)) == [502]


def test_the_rest_is_everything_as_often_as_it_is_asked_for() -> None:
    queue = InputQueue(Clock())
    queue.take(500)
    queue.put(ack(1))
    assert stamps(queue.take_rest()) == [501]
    queue.put(ack(2))
    assert stamps(queue.take_rest()) == [502]
    assert queue.take_rest() == []


def test_the_log_has_news_with_the_stamps_that_count_before_it_is_handed_over() -> None:
    clock, watched = Clock(), Watched()
    queue = InputQueue(clock, log=watched)
    queue.take(1_000)
    assert watched.logged == []
    queue.put(ack(1), ack(2))
    taken = queue.take(2_000)
    assert watched.logged == [taken]
    assert stamps(taken) == [1_001, 1_002]
    queue.put(ack(3))
    queue.take_rest()
    assert watched.untils == [2_000, None]


def test_threads_lose_nothing() -> None:
    """Four threads put while a fifth takes."""
    queue, taken, is_over = InputQueue(Clock()), list[OrderInput](), threading.Event()

    def put(first: int) -> None:
        for number in range(first, first + 500):
            queue.put(ack(number))

    def take() -> None:
        until_ns = 100
        while not is_over.is_set():
            until_ns += 10
            taken.extend(queue.take(until_ns))

    putting = [threading.Thread(target=put, args=(first,)) for first in (0, 500, 1_000, 1_500)]
    taking = threading.Thread(target=take)
    for thread in (taking, *putting):
        thread.start()
    for thread in putting:
        thread.join()
    is_over.set()
    taking.join()
    taken.extend(queue.take(UNTIL))
    assert sorted(each.at_ns for each in taken) == list(range(2_000))
    assert stamps(taken) == sorted(set(stamps(taken)))
