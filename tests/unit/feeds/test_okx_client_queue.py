"""The bounded queue: a consumer that is too slow loses rows, but never without an invalid book and a gap."""

import asyncio

import pytest
from okx_server import Kept, ScriptedOkx, arg_of, run

from quantkit.errors import FeedError, SubscriptionError
from quantkit.events import BookUpdate, Gap, Ticker
from quantkit.feeds.okx.codec.channels import book, tickers
from quantkit.feeds.okx.tracker.records import Overflow
from quantkit.feeds.okx.ws.client import EventQueue, OkxClient

BTC, BOOK = tickers("BTC-USDT"), book("BTC-USDT")


class Notes:
    """Keeps the records of a client."""

    def __init__(self):
        self.records = []
        self.frames = 0

    def frame(self, connection, received_ns, data):
        self.frames += 1

    def record(self, event):
        self.records.append(event)

    @property
    def sheds(self):
        return [record.is_on for record in self.records if isinstance(record, Overflow)]


def test_a_slow_consumer_loses_rows_and_is_told():
    async def work():
        notes = Notes()
        async with ScriptedOkx() as server, OkxClient(server.config(queue_events=10), tape=notes) as okx:
            await okx.subscribe(BTC, BOOK)
            visit = server.visits[0]
            for _ in range(30):
                await visit.book(arg_of(BOOK))
                await visit.push(arg_of(BTC))
            await server.until(lambda: notes.frames == 64)
            assert notes.sheds == [True]
            assert okx.counters["times the queue was full"] == 1
            taken = [await anext(okx) for _ in range(11)]
            assert [type(event) for event in taken].count(Gap) == 1
            assert isinstance(taken[-1], Gap)
            assert (taken[-1].channel, taken[-1].cause) == ("book", "shed")
            # Half empty: it is delivered again, first of all a whole book.
            assert notes.sheds == [True, False]
            event = await anext(okx)
            assert isinstance(event, BookUpdate)
            assert event.is_snapshot
            assert event.bid_qtys == (float(visit.seq),)
            await visit.push(arg_of(BTC))
            gap, ticker = await anext(okx), await anext(okx)
            assert (gap.channel, type(ticker)) == ("ticker", Ticker)

    run(work())


def test_the_book_of_a_consumer_that_was_slow_is_right_at_every_row():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(queue_events=8)) as okx:
            await okx.subscribe(BOOK)
            visit = server.visits[0]
            last = None
            for burst in (3, 40, 5, 60, 2, 100):
                for _ in range(burst):
                    await visit.book(arg_of(BOOK))
                while last is None or last < visit.seq:
                    event = await anext(okx)
                    if isinstance(event, Gap):
                        last = None
                        event = await anext(okx)
                        assert event.is_snapshot
                    assert event.is_snapshot or event.prev_seq == last
                    last = event.seq

    run(work())


def test_the_backlog_of_who_takes_the_events_decides():
    async def work():
        notes, kept = Notes(), Kept()
        delivered = kept.events
        async with (
            ScriptedOkx() as server,
            OkxClient(server.config(queue_events=100), tape=notes, consumer=kept) as okx,
        ):
            await okx.subscribe(BOOK)
            await server.until(lambda: delivered)
            visit = server.visits[0]
            kept.behind = 100
            await visit.book(arg_of(BOOK))
            await server.until(lambda: isinstance(delivered[-1], Gap))
            kept.behind = 51
            await visit.book(arg_of(BOOK))
            await server.until(lambda: notes.frames == 4)
            assert notes.sheds == [True]
            kept.behind = 50  # no frame is needed for the consumer's progress to be seen
            await server.until(lambda: isinstance(delivered[-1], BookUpdate))
            assert notes.sheds == [True, False]
            assert delivered[-1].is_snapshot

    run(work())


def test_a_busy_consumer_does_not_hold_up_the_sockets():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(queue_events=100_000)) as okx:
            await okx.subscribe(BTC)

            async def push_on():
                while True:
                    await server.visits[0].push(arg_of(BTC))

            pushing = asyncio.create_task(push_on())
            for _ in range(500):
                await anext(okx)
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
            assert okx.connections[0].frames >= 500

    run(work())


def test_what_waits_is_still_delivered_after_the_close():
    async def work():
        async with ScriptedOkx() as server:
            async with OkxClient(server.config()) as okx:
                await okx.subscribe(BTC)
                await server.until(lambda: okx.connections[0].frames == 2)
            assert [type(event) async for event in okx] == [Ticker]

    run(work())


def test_a_waiting_consumer_ends_when_the_client_is_closed():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC)
            await anext(okx)
            waiting = asyncio.create_task(_drain(okx))
            await asyncio.sleep(0)
            await okx.close()
            assert await waiting == []
            await okx.close()

    run(work())


async def _drain(okx):
    return [event async for event in okx]


def test_outages_that_are_open_at_the_end_are_told():
    async def work():
        async with ScriptedOkx() as server:
            async with OkxClient(server.config()) as okx:
                await okx.subscribe(BTC)
                await anext(okx)
                server.statuses = [(503, {})] * 100_000
                await server.visits[0].socket.close(1001)
                await server.until(lambda: len(server.attempts_s) > 3)
            assert [(type(event), event.channel) async for event in okx] == [(Gap, "ticker")]

    run(work())


def test_who_takes_the_events_is_told_of_errors_that_no_call_waits_for():
    async def work():
        kept = Kept()
        async with ScriptedOkx() as server, OkxClient(server.config(), consumer=kept) as okx:
            await okx.subscribe(BTC)
            await server.visits[0].socket.close(4009, "too many")
            await server.until(lambda: kept.errors)
            assert [error.code for error in kept.errors] == ["4009"]
            assert okx.connections[0].state == "failed"

    run(work())


def test_an_inbox_raises_errors_once_and_after_what_came_before():
    async def work():
        inbox = EventQueue()
        inbox.put([1])
        inbox.fail(ValueError("x"))
        inbox.put([2])
        assert [await inbox.take(), await inbox.take()] == [1, 2]
        with pytest.raises(ValueError, match="x"):
            await inbox.take()
        inbox.close()
        with pytest.raises(StopAsyncIteration):
            await inbox.take()

    run(work())


def test_the_last_error_of_an_inbox_is_raised_again_and_again():
    async def work():
        inbox = EventQueue()
        inbox.fail(ValueError("x"))
        inbox.fail(KeyError("last"), is_last=True)
        with pytest.raises(ValueError, match="x"):
            await inbox.take()
        for _ in range(3):
            with pytest.raises(KeyError, match="last"):
                await inbox.take()
        inbox.close()
        with pytest.raises(StopAsyncIteration):
            await inbox.take()

    run(work())


def test_a_live_subscription_that_ends_with_the_one_waited_for_is_told_too():
    async def work():
        ether = tickers("ETH-USDT")

        async def on_request(visit, request):
            if arg_of(ether) in request["args"]:
                await visit.socket.close(4009, "too many")
                return True
            return False

        async with ScriptedOkx() as server:
            server.on_request = on_request
            async with OkxClient(server.config()) as okx:
                await okx.subscribe(BTC)
                assert isinstance(await anext(okx), Ticker)
                with pytest.raises(SubscriptionError, match="4009") as caught:
                    await okx.subscribe(ether)
                assert set(caught.value.refused) == {ether}
                assert set(okx.refused) == {BTC, ether}
                # No call waits for the first one any more, so that it is the iteration that has to say so.
                with pytest.raises(FeedError, match="4009"):
                    await anext(okx)

    run(work())


def test_all_that_one_call_waits_for_is_told_by_that_call_alone():
    async def work():
        kept = Kept()
        async with ScriptedOkx() as server:

            async def on_request(visit, request):
                await visit.socket.close(4009, "too many")
                return True

            server.on_request = on_request
            async with OkxClient(server.config(), consumer=kept) as okx:
                with pytest.raises(SubscriptionError, match="4009"):
                    await okx.subscribe(BTC, BOOK)
            assert kept.errors == []

    run(work())
