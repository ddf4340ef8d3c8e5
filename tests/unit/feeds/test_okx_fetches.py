"""Look-ups by REST on the tracker's behalf: one at a time for each channel, and every question answered once."""

import asyncio

import numpy as np
import pytest
from okx_server import run

from quantkit.feeds.okx.codec.channels import book, candles
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.errors import OkxServerError
from quantkit.feeds.okx.tracker.records import BookFetched, FetchBook, FetchCandles, Fetched
from quantkit.feeds.okx.ws.fetches import Fetches

BARS, BOOK = candles("BTC-USDT", "1m"), book("BTC-USDT")


class SlowRest:
    """Answers when it is told to."""

    def __init__(self):
        self.asked = []
        self.answers = asyncio.Queue()

    async def candle_rows(self, channel, first_open_ns, last_open_ns):
        self.asked.append((first_open_ns, last_open_ns))
        return await self._answer()

    async def book_body(self, instrument):
        self.asked.append(instrument)
        return await self._answer()

    async def _answer(self):
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def noted():
    return []


async def stage(noted, rest, on_note=None):
    stamps = iter(range(1, 1000))
    tasks = []

    def record(event):
        noted.append(event)
        if on_note is not None:
            on_note(event)

    def spawn(work, name):
        tasks.append(asyncio.create_task(work, name=name))

    return Fetches(
        OkxConfig(), rest, stamp=lambda: next(stamps), record=record, spawn=spawn, rng=np.random.default_rng(1)
    ), tasks


def test_a_second_question_waits_and_both_answers_say_what_they_answer(noted):
    async def work():
        rest = SlowRest()
        fetches, tasks = await stage(noted, rest)
        fetches.start(FetchCandles(BARS, 1, 1))
        assert fetches.is_running(BARS)
        fetches.start(FetchCandles(BARS, 1, 2))
        fetches.start(FetchCandles(BARS, 1, 3))  # the newest question is the one that counts
        rest.answers.put_nowait([["1"]])
        rest.answers.put_nowait(OkxServerError("busy"))
        await asyncio.gather(*tasks)
        assert rest.asked == [(1, 1), (1, 3)]
        assert noted == [Fetched(1, BARS, [["1"]], "", 1, 1), Fetched(2, BARS, [], "busy", 1, 3)]
        assert not fetches.is_running(BARS)

    run(work())


def test_bars_that_are_under_way_are_not_asked_for_twice(noted):
    async def work():
        rest = SlowRest()
        fetches, tasks = await stage(noted, rest)
        fetches.start(FetchCandles(BARS, 1, 1))
        fetches.start(FetchCandles(BARS, 1, 1))
        rest.answers.put_nowait([["1"]])
        await asyncio.gather(*tasks)
        assert rest.asked == [(1, 1)]
        assert len(noted) == 1

    run(work())


def test_a_question_that_an_answer_raises_is_asked_though_it_is_the_same(noted):
    async def work():
        rest = SlowRest()
        again = [FetchCandles(BARS, 1, 1)]
        fetches, tasks = await stage(noted, rest, lambda record: fetches.start(again.pop()) if again else None)
        fetches.start(FetchCandles(BARS, 1, 1))
        rest.answers.put_nowait([])
        rest.answers.put_nowait([["1"]])
        await asyncio.gather(*tasks)
        assert rest.asked == [(1, 1), (1, 1)]
        assert [record.rows for record in noted] == [[], [["1"]]]

    run(work())


def test_a_book_is_fetched_anew_since_the_one_under_way_may_be_too_old(noted):
    async def work():
        rest = SlowRest()
        fetches, tasks = await stage(noted, rest)
        fetches.start(FetchBook(BOOK))
        fetches.start(FetchBook(BOOK))
        rest.answers.put_nowait(b"old")
        rest.answers.put_nowait(b"new")
        await asyncio.gather(*tasks)
        assert noted == [BookFetched(1, BOOK, b"old"), BookFetched(2, BOOK, b"new")]

    run(work())
