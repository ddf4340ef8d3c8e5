"""Subscriptions: acknowledged, refused, renewed, given up, and spread over connections."""

import asyncio
from itertools import chain

import pytest
from okx_server import Kept, ScriptedOkx, answer, arg_of, run

from quantkit.errors import FeedError, SubscriptionError
from quantkit.events import BookUpdate, Gap, Ticker
from quantkit.feeds.okx.codec.channels import book, candles, tickers, trades
from quantkit.feeds.okx.config import RetryPolicy
from quantkit.feeds.okx.errors import OkxRequestError
from quantkit.feeds.okx.tracker.records import BookFetched, Fetched, Stalled, Subscribed, Unsubscribed
from quantkit.feeds.okx.ws.client import OkxClient

BTC, ETH, SOL, BOOK = tickers("BTC-USDT"), tickers("ETH-USDT"), tickers("SOL-USDT"), book("BTC-USDT")


class Notes:
    """Keeps the records of a client."""

    def __init__(self):
        self.records = []

    def frame(self, connection, received_ns, data):
        pass

    def record(self, event):
        self.records.append(event)

    def of(self, kind):
        return [record for record in self.records if isinstance(record, kind)]


async def drain(okx):
    return [event async for event in okx]


def test_one_request_carries_many_and_long_ones_are_cut():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(request_bytes=512)) as okx:
            wanted = [tickers(f"A{number}-USDT") for number in range(50)]
            await okx.subscribe(*wanted, wanted[0])
            (visit,) = server.visits
            assert list(chain(*visit.operations("subscribe"))) == [str(channel) for channel in wanted]
            assert 2 < len(visit.requests) < 10
            assert all(len(text) <= 512 for text in visit.texts)
            ids = [request["id"] for request in visit.requests]
            assert len(set(ids)) == len(ids)
            assert all(number.isalnum() and len(number) <= 32 for number in ids)
            await okx.subscribe(*wanted)  # what is live is not asked for again
            assert len(visit.requests) == len(ids)

    run(work())


def test_a_refused_channel_is_named_and_the_others_live():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:

            async def refuse(visit, request):
                for arg in request["args"]:
                    if arg["instId"] == "NO-SUCH":
                        await visit.refuse(request, arg)
                await answer(visit, request, but=["NO-SUCH"])
                return True

            server.on_request = refuse
            wrong = tickers("NO-SUCH")
            with pytest.raises(SubscriptionError, match=r"1 of 3 subscriptions refused, 2 live.*NO-SUCH") as caught:
                await okx.subscribe(BTC, wrong, ETH)
            assert list(caught.value.refused) == [wrong]
            assert caught.value.refused[wrong].code == "60018"
            assert isinstance(okx.refused[wrong], OkxRequestError)
            assert {(await anext(okx)).instrument, (await anext(okx)).instrument} == {"BTC-USDT", "ETH-USDT"}
            await server.visits[0].socket.close(1001)
            await server.until(lambda: len(server.visits) == 2 and server.visits[1].requests)
            assert server.visits[1].operations("subscribe") == [["tickers BTC-USDT", "tickers ETH-USDT"]]
            server.on_request = None
            await okx.subscribe(wrong)  # asked for anew, it is tried anew
            assert okx.refused == {}

    run(work())


def test_an_error_that_names_nothing_is_cleared_up_one_by_one():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(ack_timeout_s=0.1)) as okx:

            async def refuse(visit, request):
                if len(request["args"]) > 1:
                    await visit.error("60012", "Invalid request", request)
                    return True
                if request["args"][0]["instId"] == "ETH-USDT":
                    await visit.error("60018", "Invalid", request)
                    return True
                return False

            server.on_request = refuse
            with pytest.raises(SubscriptionError) as caught:
                await okx.subscribe(BTC, ETH, SOL)
            assert list(caught.value.refused) == [ETH]
            assert server.visits[0].operations("subscribe") == [
                ["tickers BTC-USDT", "tickers ETH-USDT", "tickers SOL-USDT"],
                ["tickers BTC-USDT"],
                ["tickers ETH-USDT"],
                ["tickers SOL-USDT"],
            ]

    run(work())


def test_a_missing_answer_is_asked_for_again_and_then_the_connection_is_made_anew():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(ack_timeout_s=0.05)) as okx:

            async def ignore(visit, request):
                if visit.number == 0:
                    await answer(visit, request, but=["ETH-USDT"])
                    return True
                return False

            server.on_request = ignore
            await okx.subscribe(BTC, ETH)
            first, second = server.visits
            assert first.operations("subscribe") == [["tickers BTC-USDT", "tickers ETH-USDT"], ["tickers ETH-USDT"]]
            assert second.operations("subscribe") == [["tickers BTC-USDT", "tickers ETH-USDT"]]
            assert "no answer to subscribe of tickers ETH-USDT" in okx.connections[0].error

    run(work())


def test_a_lost_answer_costs_one_request_and_no_second_record():
    async def work():
        notes = Notes()
        async with ScriptedOkx() as server, OkxClient(server.config(ack_timeout_s=0.05), tape=notes) as okx:

            async def lose(visit, request):
                return len(visit.requests) == 1

            server.on_request = lose
            await okx.subscribe(BTC)
            assert len(server.visits) == 1
            assert len(server.visits[0].requests) == 2
            assert len(notes.of(Subscribed)) == 1

    run(work())


def test_too_many_requests_are_repeated_later():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:

            async def busy(visit, request):
                if len(visit.requests) < 4:
                    await visit.error("60014", "Requests too frequent", request)
                    return True
                return False

            server.on_request = busy
            await okx.subscribe(BTC, ETH)
            assert len(server.visits) == 1
            assert len(server.visits[0].requests) == 4

    run(work())


def test_operations_of_an_hour_are_limited_and_the_wait_is_shown():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(operations_per_h=3)) as okx:
            for channel in (BTC, ETH, SOL):
                await okx.subscribe(channel)
            waiting = asyncio.create_task(okx.subscribe(trades("BTC-USDT")))
            await server.until(lambda: "hourly limit" in okx.connections[0].error)
            assert len(server.visits[0].requests) == 3
            await server.visits[0].socket.close(1001)  # the limit is each connection's own
            await waiting
            assert len(server.visits[1].requests) == 1

    run(work())


def test_unsubscribing_ends_the_events_and_the_last_one_the_connection():
    async def work():
        notes = Notes()
        async with ScriptedOkx() as server, OkxClient(server.config(), tape=notes) as okx:
            await okx.subscribe(BTC, ETH)
            for _ in range(2):
                await anext(okx)
            await okx.unsubscribe(ETH)
            visit = server.visits[0]
            await visit.push(arg_of(ETH))
            await visit.push(arg_of(BTC))
            assert (await anext(okx)).instrument == "BTC-USDT"
            await server.until(lambda: visit.operations("unsubscribe") == [["tickers ETH-USDT"]])
            assert [record.channel for record in notes.of(Unsubscribed)] == [ETH]
            await okx.unsubscribe(ETH)  # what is not subscribed is no error
            await okx.unsubscribe(BTC)
            assert okx.connections == ()
            await server.until(lambda: visit.close_code == 1000)
            await okx.subscribe(BTC)
            assert len(server.visits) == 2

    run(work())


def test_a_channel_that_comes_back_while_it_leaves_is_subscribed_again():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC, ETH)
            for _ in range(2):
                await anext(okx)
            await okx.unsubscribe(ETH)
            await okx.subscribe(ETH)
            assert (await anext(okx)).instrument == "ETH-USDT"
            (visit,) = server.visits
            assert [request["op"] for request in visit.requests] == ["subscribe", "unsubscribe", "subscribe"]

    run(work())


def test_giving_up_before_it_is_live_is_told_to_who_waits():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:

            async def ignore(visit, request):
                return True

            server.on_request = ignore
            waiting = asyncio.create_task(okx.subscribe(BTC, ETH))
            await server.until(lambda: server.visits and server.visits[0].requests)
            await okx.unsubscribe(BTC, ETH)
            with pytest.raises(SubscriptionError, match="unsubscribed before"):
                await waiting

    run(work())


def test_depth_channels_are_spread_and_the_rest_shares_a_connection():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(depth_channels_per_connection=30)
            async with OkxClient(config) as okx:
                names = [f"A{number}-USDT" for number in range(70)]
                await okx.subscribe(*[book(name) for name in names], *[tickers(name) for name in names])
                await okx.subscribe(candles("BTC-USDT", "1m"))
                loads = [
                    sum(channel.startswith("books") for part in visit.operations("subscribe") for channel in part)
                    for visit in server.visits
                    if visit.path == "public"
                ]
                assert sorted(loads) == [10, 30, 30]
                assert [visit.path for visit in server.visits].count("business") == 1
                assert len(server.visits) == 4
                assert sum(status.channels for status in okx.connections) == 141

    run(work())


def test_a_broken_book_is_renewed_once_however_many_updates_follow():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BOOK)
            await anext(okx)
            visit = server.visits[0]
            await visit.book(arg_of(BOOK), lost=5)
            for _ in range(100):
                await visit.book(arg_of(BOOK))
            events = [await anext(okx), await anext(okx)]
            assert [type(event) for event in events] == [Gap, BookUpdate]
            assert events[1].is_snapshot
            assert [request["op"] for request in visit.requests] == ["subscribe", "unsubscribe", "subscribe"]

    run(work())


def test_a_snapshot_that_never_comes_is_asked_for_again_and_then_the_connection_is_made_anew():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(ack_timeout_s=0.1)) as okx:

            async def acknowledge(visit, request):
                if visit.number > 0:
                    return False
                for arg in request["args"]:
                    await visit.ack(request, arg)
                return True

            server.on_request = acknowledge
            await okx.subscribe(BOOK)
            event = await anext(okx)
            assert isinstance(event, BookUpdate)
            assert [request["op"] for request in server.visits[0].requests] == ["subscribe", "unsubscribe", "subscribe"]
            assert "nothing came" in okx.connections[0].error

    run(work())


def test_a_silent_book_is_stalled_renewed_and_then_the_connection_is_made_anew():
    async def work():
        notes = Notes()
        async with ScriptedOkx() as server:
            config = server.config(stall_after_s=0.1, ack_timeout_s=0.2)
            async with OkxClient(config, tape=notes) as okx:
                await okx.subscribe(BOOK)
                visit = server.visits[0]
                await anext(okx)
                gap, snapshot = await anext(okx), await anext(okx)
                assert "stalled" in gap.cause
                assert snapshot.is_snapshot
                assert [request["op"] for request in visit.requests] == ["subscribe", "unsubscribe", "subscribe"]
                assert isinstance(await anext(okx), Gap)
                await server.until(lambda: len(server.visits) == 2)
                assert len(notes.of(Stalled)) == 2
                assert all(record.quiet_ns > 1e8 for record in notes.of(Stalled))

    run(work())


def test_a_book_that_lives_is_left_alone():
    async def work():
        async with ScriptedOkx() as server:
            config = server.config(stall_after_s=0.3)
            async with OkxClient(config) as okx:
                await okx.subscribe(BOOK)
                loop = asyncio.get_running_loop()
                end_s = loop.time() + 0.7
                while loop.time() < end_s:
                    await server.visits[0].book(arg_of(BOOK))
                    assert isinstance(await anext(okx), BookUpdate)
                assert len(server.requests()) == 1

    run(work())


def test_okx_may_think_better_of_an_acknowledgement():
    async def work():
        fine = book("BTC-USDT", "books-l2-tbt")
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:

            async def refuse_late(visit, request):
                await answer(visit, request)
                for arg in request["args"]:
                    if arg == BOOK.arg():
                        await visit.error("64004", "books-l2-tbt is subscribed", request)
                return True

            server.on_request = refuse_late
            await okx.subscribe(BTC, BOOK)
            with pytest.raises(FeedError, match="64004"):
                await drain(okx)
            assert list(okx.refused) == [BOOK]
            assert okx.connections[0].channels == 1
            await server.visits[0].push(arg_of(BTC))
            assert isinstance(await anext(okx), Ticker)  # the others live on
            assert fine not in okx.refused

    run(work())


def test_a_subscription_that_okx_ends_by_itself_is_tried_once_more():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC, ETH)
            visit = server.visits[0]
            for _ in range(2):
                await anext(okx)
            await visit.send({"event": "unsubscribe", "arg": ETH.arg(), "connId": "a"})
            assert (await anext(okx)).instrument == "ETH-USDT"
            assert visit.operations("subscribe")[-1] == ["tickers ETH-USDT"]
            await visit.send({"event": "unsubscribe", "arg": ETH.arg(), "connId": "a"})
            with pytest.raises(FeedError, match="ended the subscription by itself"):
                await anext(okx)
            assert list(okx.refused) == [ETH]

    run(work())


def test_unknown_events_and_errors_of_nobody_change_nothing():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config()) as okx:
            await okx.subscribe(BTC)
            await anext(okx)
            visit = server.visits[0]
            await visit.send({"event": "brand-new", "x": 1})
            await visit.send({"event": "notice", "code": "12345", "msg": "hello"})
            await visit.error("60012", "Invalid request")
            await visit.send({"event": "subscribe", "arg": SOL.arg(), "id": "999"})
            await visit.socket.send("{not json")
            await visit.push(arg_of(BTC))
            assert isinstance(await anext(okx), Ticker)
            assert len(server.visits) == 1
            assert okx.refused == {}

    run(work())


class Rest:
    """Answers look-ups as a test wants."""

    def __init__(self):
        self.asked = []
        self.rows = []
        self.error = None

    async def candle_rows(self, channel, first_open_ns, last_open_ns):
        self.asked.append((channel, first_open_ns, last_open_ns))
        if self.error is not None:
            raise self.error
        return self.rows

    async def book_body(self, instrument, depth=400):
        self.asked.append(instrument)
        if self.error is not None:
            raise self.error
        row = '{"asks":[["101","1","0","1"]],"bids":[["100","1","0","1"]],"ts":"1700000000000","seqId":107}'
        return ('{"code":"0","msg":"","data":[' + row + "]}").encode()


def test_a_book_without_a_snapshot_is_spliced_from_rest():
    async def work():
        rest, notes = Rest(), Notes()
        async with ScriptedOkx() as server, OkxClient(server.config(), rest=rest, tape=notes) as okx:

            async def update_first(visit, request):
                for arg in request["args"]:
                    await visit.ack(request, arg)
                    await visit.book(arg)
                    await visit.book(arg)
                return True

            server.on_request = update_first
            await okx.subscribe(BOOK)
            event = await anext(okx)
            assert isinstance(event, BookUpdate)
            assert event.is_snapshot
            assert rest.asked == ["BTC-USDT"]
            assert [record.error for record in notes.of(BookFetched)] == [""]

    run(work())


def test_a_failed_look_up_is_recorded_with_its_reason():
    async def work():
        rest, notes = Rest(), Notes()
        rest.error = OkxRequestError("OKX market/books: no", code="51001")
        async with ScriptedOkx() as server, OkxClient(server.config(), rest=rest, tape=notes) as okx:

            async def update_first(visit, request):
                for arg in request["args"]:
                    await visit.ack(request, arg)
                    if request["op"] == "subscribe":
                        await visit.book(arg)
                return True

            server.on_request = update_first
            await okx.subscribe(BOOK)
            await server.until(lambda: notes.of(BookFetched))
            assert notes.of(BookFetched)[0].error == "OKX market/books: no"

    run(work())


def test_a_late_candle_is_fetched():
    async def work():
        rest, notes = Rest(), Notes()
        minute_ns = 60 * 10**9
        open_ms = 1_700_000_040_000
        now_ns = [open_ms * 10**6]

        def stamp():
            now_ns[0] += 1
            return now_ns[0]

        def row(number, confirm):
            return [str(open_ms + number * 60_000), "1", "2", "1", "2", "5", "5", "5", confirm]

        rest.rows = [row(2, "1"), row(1, "1")]
        channel = candles("BTC-USDT", "1m")
        async with ScriptedOkx() as server:
            config = server.config(candle_late_s=5.0, retry=RetryPolicy(base_s=0.001, cap_s=0.01))
            async with OkxClient(config, rest=rest, tape=notes, stamp=stamp) as okx:
                await okx.subscribe(channel)
                await server.visits[0].send({"arg": channel.arg(), "data": [row(0, "1")]})
                assert (await anext(okx)).open_ns == open_ms * 10**6
                assert rest.asked == []
                now_ns[0] += 3 * minute_ns + 5 * 10**9
                assert [(await anext(okx)).open_ns for _ in range(2)] == [
                    (open_ms + number * 60_000) * 10**6 for number in (1, 2)
                ]
                assert rest.asked[0] == (channel, (open_ms + 60_000) * 10**6, (open_ms + 120_000) * 10**6)
                assert notes.of(Fetched)[0].rows == rest.rows

    run(work())


def test_channels_beyond_what_a_connection_may_carry_get_another():
    async def work():
        async with ScriptedOkx() as server, OkxClient(server.config(channels_per_connection=3)) as okx:
            await okx.subscribe(*[tickers(f"A{number}-USDT") for number in range(7)])
            assert sorted(status.channels for status in okx.connections) == [1, 3, 3]

    run(work())


def test_a_book_that_always_breaks_does_not_use_up_the_requests_of_an_hour():
    async def work():
        async def broken(visit, request):
            await answer(visit, request)
            if request["op"] == "subscribe":
                for arg in request["args"]:
                    if arg == arg_of(BOOK):
                        await visit.book(arg, lost=5)
            return True

        kept = Kept()
        async with ScriptedOkx() as server:
            server.on_request = broken
            config = server.config(retry=RetryPolicy(base_s=1000.0, cap_s=1000.0))
            async with OkxClient(config, consumer=kept) as okx:
                await okx.subscribe(BOOK)
                await server.until(lambda: sum(isinstance(event, Gap) for event in kept.events) == 21)
                # Twenty times at once; from then on it rests, and the others have their turn.
                await okx.subscribe(BTC)
                (visit,) = server.visits
                assert visit.operations("unsubscribe") == [["books BTC-USDT"]] * 20
                assert visit.operations("subscribe") == [["books BTC-USDT"]] * 21 + [["tickers BTC-USDT"]]
                with pytest.raises(FeedError, match="not live"):
                    await okx.wait_live(0.01)
                await okx.unsubscribe(BOOK)
                await okx.wait_live(5.0)

    run(work())


def test_a_book_that_rested_is_subscribed_anew():
    async def work():
        async def broken(visit, request):
            await answer(visit, request)
            if request["op"] == "subscribe" and len(visit.operations("subscribe")) <= 24:
                await visit.book(arg_of(BOOK), lost=5)
            return True

        async with ScriptedOkx() as server:
            server.on_request = broken
            async with OkxClient(server.config(), consumer=Kept()) as okx:
                await okx.subscribe(BOOK)
                await server.until(lambda: len(server.visits[0].operations("subscribe")) == 25)
                await okx.wait_live(5.0)
                assert len(server.visits) == 1

    run(work())


def test_a_book_that_never_comes_cuts_the_others_off_ever_more_rarely():
    async def work():
        async def silent(visit, request):
            for arg in request["args"]:
                await visit.ack(request, arg)
                if request["op"] == "subscribe" and arg != arg_of(BOOK):
                    await visit.push(arg)
            return True

        async with ScriptedOkx() as server:
            server.on_request = silent
            async with OkxClient(server.config(ack_timeout_s=0.05), consumer=Kept()) as okx:
                await okx.subscribe(BOOK, BTC)
                await server.until(lambda: len(server.attempts_s) == 5)
                # Renewed after 0.05 s, then given up after 0.05, 0.1, 0.2 and 0.4 s more.
                assert server.attempts_s[4] - server.attempts_s[0] >= 0.95

    run(work())
