"""A connection that OKX announces to close is replaced before it does."""

import asyncio

import pytest
from okx_server import Kept, ScriptedOkx, answer, arg_of, run

from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.codec.channels import account, book, candles, tickers
from quantkit.feeds.okx.config import RetryPolicy
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.tracker.records import Lost, Opened, Subscribed
from quantkit.feeds.okx.ws.client import OkxClient

BTC, BOOK = tickers("BTC-USDT"), book("BTC-USDT")
NOTICE = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "a"}


class Notes:
    """Keeps the records of a client."""

    def __init__(self):
        self.records = []

    def frame(self, connection, received_ns, data):
        pass

    def record(self, event):
        self.records.append(event)


def test_the_successor_is_complete_before_the_old_one_ends():
    async def work():
        notes, kept = Notes(), Kept()
        events = kept.events
        async with ScriptedOkx() as server, OkxClient(server.config(), tape=notes, consumer=kept) as okx:
            await okx.subscribe(BTC, BOOK)
            await server.until(lambda: len(events) == 2)
            first = server.visits[0]
            seq = first.seq

            async def behind(visit, request):
                # The same book on both connections: the newcomer's snapshot is ahead of the old one.
                visit.seq = seq + 100
                return False

            server.on_request = behind
            await first.send(NOTICE)
            await server.until(lambda: first.close_code)
            assert first.close_code == 1000
            assert len(server.visits) == 2
            await server.until(lambda: len(okx.connections) == 1)
            (status,) = okx.connections
            assert (status.number, status.state, status.channels) == (2, "live", 2)
            await server.visits[1].book(arg_of(BOOK))
            await server.until(lambda: events[-1].seq == seq + 114 if isinstance(events[-1], BookUpdate) else False)
            assert not [event for event in events if isinstance(event, Gap)]
            kinds = [(type(record), record.connection) for record in notes.records]
            assert kinds == [
                (Opened, 1), (Subscribed, 1), (Subscribed, 1), (Opened, 2), (Subscribed, 2), (Subscribed, 2), (Lost, 1)
            ]  # fmt: skip
            assert notes.records[-1].cause == "replaced by connection 2"
            await okx.unsubscribe(BTC)
            await server.until(lambda: server.visits[1].operations("unsubscribe") == [["tickers BTC-USDT"]])

    run(work())


@pytest.mark.parametrize("channel", [BTC, candles("BTC-USDT", "1m"), account()], ids=["public", "business", "private"])
def test_it_works_on_every_path(channel):
    async def work():
        keys = Credentials("k", "s", "p")
        async with ScriptedOkx() as server, OkxClient(server.config(), credentials=keys) as okx:
            await okx.subscribe(channel)
            await server.visits[0].send(NOTICE)
            await server.until(lambda: server.visits[0].close_code == 1000)
            assert [visit.path for visit in server.visits] == [channel.path] * 2
            await okx.wait_live(5)

    run(work())


def test_the_old_connection_stays_while_the_new_one_cannot_be_had():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC)
            await anext(okx)
            first = server.visits[0]
            server.statuses = [(503, {})] * 100_000
            await first.send(NOTICE)
            await server.until(lambda: len(server.attempts_s) >= 4)
            assert first.close_code is None
            await first.push(arg_of(BTC))
            assert (await anext(okx)).instrument == "BTC-USDT"
            server.statuses.clear()
            await server.until(lambda: first.close_code == 1000)
            assert len(server.visits) == 2

    run(work())


def test_a_book_that_does_not_arrive_delays_the_end_in_bounds():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(successor_timeout_s=0.1)
            async with OkxClient(config) as okx:
                await okx.subscribe(BOOK)
                await anext(okx)

                async def acknowledge(visit, request):
                    for arg in request["args"]:
                        await visit.ack(request, arg)
                    return True

                server.on_request = acknowledge
                await server.visits[0].send(NOTICE)
                await server.until(lambda: server.visits[0].close_code == 1000)
                assert isinstance(await anext(okx), Gap)

    run(work())


def test_a_loss_before_the_handover_is_made_good_by_the_successor_alone():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BOOK)
            await anext(okx)

            async def cut(visit, request):
                await server.visits[0].socket.close(1001)
                await answer(visit, request)
                return True

            server.on_request = cut
            await server.visits[0].send(NOTICE)
            events = [await anext(okx), await anext(okx)]
            assert [type(event) for event in events] == [Gap, BookUpdate]
            await server.until(lambda: len(okx.connections) == 1)
            assert len(server.visits) == 2
            assert okx.connections[0].number == 2

    run(work())


def test_repeated_notices_make_one_successor_at_a_time():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            gate = asyncio.Event()

            async def notice_again(visit, request):
                if visit.number == 1:
                    await visit.send(NOTICE)
                    await visit.send(NOTICE)
                    await gate.wait()
                return False

            server.on_request = notice_again
            await okx.subscribe(BTC)
            for _ in range(3):
                await server.visits[0].send(NOTICE)
            await server.until(lambda: len(server.visits) == 2)
            assert len(okx.connections) == 2
            gate.set()
            await server.until(lambda: len(server.visits) == 3 and server.visits[1].close_code == 1000)
            await server.until(lambda: [status.number for status in okx.connections] == [3])
            await okx.wait_live(5)
            assert len(server.visits) == 3

    run(work())


def test_closing_in_the_middle_of_a_handover_ends_everything():
    async def work():
        async with ScriptedOkx() as server:
            async with OkxClient(server.config()) as okx:

                async def ignore(visit, request):
                    return visit.number == 1

                server.on_request = ignore
                await okx.subscribe(BTC)
                await server.visits[0].send(NOTICE)
                await server.until(lambda: len(server.visits) == 2 and server.visits[1].requests)
            await server.until(lambda: all(visit.close_code == 1000 for visit in server.visits))
            assert all(status.state == "closed" for status in okx.connections)

    run(work())


def test_a_silent_connection_is_lost_not_replaced():
    async def work():
        notes = Notes()
        async with ScriptedOkx() as server:
            server.pongs = False
            config = server.config(ping_after_s=0.05, dead_after_s=20.0)
            async with OkxClient(config, tape=notes) as okx:
                await okx.subscribe(BTC)
                await anext(okx)
                server.statuses = [(503, {})] * 100_000
                await server.visits[0].send(NOTICE)
                await server.until(lambda: okx.connections[0].state == "stale" and len(okx.connections) == 2)
                server.statuses.clear()
                gap, ticker = await anext(okx), await anext(okx)
                assert (gap.channel, ticker.instrument) == ("ticker", "BTC-USDT")
                assert "silent when connection 2 was ready" in gap.cause
                await server.until(lambda: [status.number for status in okx.connections] == [2])
                kinds = [(type(record), record.connection) for record in notes.records]
                assert kinds == [(Opened, 1), (Subscribed, 1), (Opened, 2), (Lost, 1), (Subscribed, 2)]

    run(work())


def test_a_book_that_breaks_while_the_successor_is_awaited_is_renewed_on_the_old_connection():
    async def work():
        kept = Kept()
        events = kept.events
        async with ScriptedOkx() as server, OkxClient(server.config(), consumer=kept) as okx:
            await okx.subscribe(BOOK)
            await server.until(lambda: len(events) == 1)
            first = server.visits[0]
            server.statuses = [(503, {"Retry-After": "20"})]
            await first.send(NOTICE)
            await server.until(lambda: len(server.attempts_s) == 2)
            await first.book(arg_of(BOOK), lost=3)
            # The server may take a minute to close; the book is not to be dark for so long.
            await server.until(lambda: len(events) == 3)
            assert [type(event) for event in events] == [BookUpdate, Gap, BookUpdate]
            assert events[-1].is_snapshot
            assert first.operations("unsubscribe") == [["books BTC-USDT"]]
            assert [status.state for status in okx.connections] == ["live", "waiting"]

    run(work())


def test_a_successor_that_is_told_to_close_at_once_is_replaced_without_a_rush():
    async def work():
        async with ScriptedOkx() as server:

            async def upgrading(visit, request):
                await answer(visit, request)
                if request["op"] == "subscribe":
                    await visit.send(NOTICE)
                return True

            server.on_request = upgrading
            config = server.config(retry=RetryPolicy(base_s=0.1, cap_s=1000.0))
            async with OkxClient(config, consumer=Kept()) as okx:
                await okx.subscribe(BOOK, BTC)
                await server.until(lambda: len(server.attempts_s) == 5)
                # The first is replaced at once, the next after 0.1, 0.2 and 0.4 s.
                assert server.attempts_s[4] - server.attempts_s[1] >= 0.7
                await server.until(lambda: server.visits[3].close_code)
                assert [visit.close_code for visit in server.visits[:4]] == [1000] * 4

    run(work())
