"""Recorded markets: frames as they were, books whose recorded checksums hold, snapshots for who comes late."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from sandbox_callers import Caller, ask
from sandbox_stage import Client, play

from quantkit.errors import ConfigError
from quantkit.feeds.okx.tracker.book import checksum
from quantkit.sandbox import capture, faults
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.recorded import RecordedMarket

DATA = Path(__file__).parents[2] / "data"
FEBRUARY = [DATA / "okx_ws_20220227T231427Z.log.gz", DATA / "okx_rest_instruments_20220227.log.gz"]
MAY = [DATA / "okx_ws_20220513T162705Z.log.gz", DATA / "okx_rest_instruments_20220513.log.gz"]


def verified(client: Client, channel: str, instrument: str) -> int:
    """Rebuild a book from what a client got, and return how many checksums held; each has to."""
    sides: dict[str, dict[float, tuple[str, str]]] = {"bids": {}, "asks": {}}
    count = 0
    for push in client.pushes(channel, instrument):
        (row,) = push["data"]
        for side, levels in sides.items():
            if push["action"] == "snapshot":
                levels.clear()
            for price, size, *_ in row[side]:
                if float(size):
                    levels[float(price)] = (price, size)
                else:
                    levels.pop(float(price), None)
        bids = [sides["bids"][price] for price in sorted(sides["bids"], reverse=True)]
        asks = [sides["asks"][price] for price in sorted(sides["asks"])]
        assert checksum(bids, asks) == row["checksum"]
        count += 1
    return count


@pytest.mark.parametrize(("paths", "channel", "books"), [(FEBRUARY, "books-l2-tbt", 3679), (MAY, "books", 290)])
@pytest.mark.parametrize("speed", [1.0, 25.0, 0.0])
def test_every_recorded_checksum_holds(paths: list[Path], channel: str, books: int, speed: float) -> None:
    market = RecordedMarket(paths, speed=speed, is_waiting=True)

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for topic in sorted(market.contents.topics):
            await client.subscribe(topic.channel, topic.key)
        begin_s = asyncio.get_running_loop().time()
        market.release()
        while not market.has_ended:
            await asyncio.sleep(0.01)
        took_s = asyncio.get_running_loop().time() - begin_s
        await exchange.drained()
        if speed:
            assert took_s == pytest.approx((30.0 if paths is FEBRUARY else 10.8) / speed, rel=0.1, abs=0.1)
        topics = [topic for topic in market.contents.topics if topic.channel == channel]
        assert sum(verified(client, channel, topic.key) for topic in topics) == books
        assert sum("data" in frame for frame in client.frames()) == market.frames_sent

    play(scenario, market)


def test_lines_that_are_nested_without_end_are_passed_over(tmp_path: Path) -> None:
    """They are no frame and no list of instruments, and no reason to end."""
    (file := tmp_path / "deep.log").write_bytes(
        b'1650000000.0: {"arg":{"channel":"trades","instId":"A-B"},"data":[{}]}\n'
        b'https://x/instruments?a=b -> 1.0: {"data":' + b"[" * 100_000 + b"\n"
    )
    found = capture.contents([file])
    assert (found.topics, found.instruments) == ({Topic("trades", "A-B")}, {})


def test_frames_are_the_recorded_ones_to_the_letter() -> None:
    market = RecordedMarket(MAY, speed=0.0, is_waiting=True)

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for topic in sorted(market.contents.topics):
            await client.subscribe(topic.channel, topic.key)
        market.release()
        while not market.has_ended:
            await asyncio.sleep(0.01)
        await exchange.drained()
        recorded = [
            line.partition(": ")[2].strip()
            for line in gzip.decompress(MAY[0].read_bytes()).decode().splitlines()
            if '"data"' in line and not line.startswith("wss")
        ]
        assert [text for text in client.texts if '"data"' in text] == recorded

    play(scenario, market)


def test_who_comes_late_gets_a_snapshot_and_every_checksum_holds() -> None:
    market = RecordedMarket(MAY)

    async def scenario(exchange: Exchange) -> None:
        clients = []
        for _ in range(8):
            client = Client(exchange, "public")
            await client.subscribe("books", "BTC-USDT")
            clients.append(client)
            await asyncio.sleep(1.3)
        await asyncio.sleep(2)
        counts = [verified(client, "books", "BTC-USDT") for client in clients]
        assert all(client.pushes("books")[0]["action"] == "snapshot" for client in clients)
        assert counts == sorted(counts, reverse=True)
        assert 1 <= counts[-1] < counts[0]

    play(scenario, market)


def test_time_begins_with_the_first_subscriber() -> None:
    market = RecordedMarket(MAY)

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await asyncio.sleep(20)
        assert market.frames_sent == 0
        await client.subscribe("trades", "BTC-USDT")
        await asyncio.sleep(5)
        assert 0 < market.frames_sent < 389
        await asyncio.sleep(7)
        assert market.has_ended

    play(scenario, market)


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_the_server_tells_the_time_of_the_recording(speed: float) -> None:
    """It stands at the first stamp, then passes as the recording does, and is never behind a row that was sent."""
    market = RecordedMarket(MAY, speed=speed)

    async def scenario(exchange: Exchange) -> None:
        now_ms = exchange.now_ms()
        first_ms = market.time_ms(now_ms)
        await asyncio.sleep(20)
        assert market.time_ms(now_ms) == first_ms
        client = Client(exchange, "public")
        await client.subscribe("trades", "BTC-USDT")
        before_ms = first_ms
        for _ in range(11):
            await asyncio.sleep(1 / speed)
            told_ms = market.time_ms(now_ms)
            newest_ms = max((int(row["ts"]) for row in client.rows("trades")), default=0)
            assert told_ms >= max(newest_ms, before_ms + 990)
            assert told_ms - newest_ms < 3_000 or not newest_ms
            before_ms = told_ms
        # The recording is of 13 May 2022; whoever signs by its time, or by that of the machine, is let in.
        assert first_ms == 1652459223003
        assert exchange.is_timely(told_ms / 1000)
        assert exchange.is_timely(exchange.now_ms() / 1000)
        assert not exchange.is_timely(told_ms / 1000 + 60)
        login = await Client(exchange, "private").login(timestamp=str(told_ms // 1000))
        assert login["event"] == "login"

    play(scenario, market)


def test_a_recording_without_stamps_has_the_time_of_the_exchange(tmp_path: Path) -> None:
    (file := tmp_path / "bare.log").write_text(
        '1652459225.5: {"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"last":"1"}]}\n'
    )
    market = RecordedMarket([file])

    async def scenario(exchange: Exchange) -> None:
        assert market.time_ms(exchange.now_ms()) == exchange.now_ms()

    play(scenario, market)


def test_a_recording_that_begins_again_tells_its_time_again() -> None:
    market = RecordedMarket(MAY, is_repeating=True)

    async def scenario(exchange: Exchange) -> None:
        await Client(exchange, "public").subscribe("trades", "BTC-USDT")
        await asyncio.sleep(10)
        late_ms = market.time_ms(0)
        await asyncio.sleep(3)
        assert market.time_ms(0) < late_ms

    play(scenario, market)


def test_a_recording_can_repeat() -> None:
    market = RecordedMarket(MAY, is_repeating=True)

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        await asyncio.sleep(28)
        assert [push["action"] for push in client.pushes("books")].count("snapshot") == 3
        assert verified(client, "books", "BTC-USDT") > 200

    play(scenario, market)


def test_what_rest_knows_of_a_recording() -> None:
    market = RecordedMarket(MAY)

    async def scenario(exchange: Exchange) -> None:
        assert {row["instId"] for row in market.instruments()} == {"BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527"}
        assert (market.ticker("BTC-USDT", 0), market.book("BTC-USDT", 5, 0), market.trades("BTC-USDT", 0)) == (
            None,
            None,
            [],
        )
        client = Client(exchange, "public")
        await client.subscribe("tickers", "BTC-USDT")
        await client.subscribe("trades", "BTC-USDT")
        await asyncio.sleep(11)
        assert market.ticker("BTC-USDT", 0) == client.rows("tickers")[-1]
        book = market.book("BTC-USDT", 5, 0)
        assert book is not None
        assert (len(book["bids"]), "checksum" in book) == (5, False)
        rows = client.rows("trades")
        assert market.trades("BTC-USDT", 0) == rows[::-1]
        assert market.older_trades("BTC-USDT", int(rows[5]["tradeId"]), None, 3) == rows[2:5][::-1]
        assert not market.has(Topic("candle1m", "BTC-USDT"))
        with pytest.raises(ConfigError, match="cannot be reset"):
            exchange.inject(faults.Reset())

    play(scenario, market)


def test_other_line_forms(tmp_path: Path) -> None:
    frame = (
        '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"%s","data":[{"asks":[["2","1","0","1"]],"bids":[],'
    )
    frame += '"ts":"%d","checksum":0,"prevSeqId":%d,"seqId":%d}]}'
    bare = tmp_path / "bare.jsonl"
    bare.write_text(
        "\n".join([frame % ("snapshot", 1767225600000, -1, 7), "", frame % ("update", 1767225601000, 7, 9)]) + "\n"
    )
    wrapped = tmp_path / "wrapped.jsonl"
    push = '{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"1","ts":"1"}]}'
    wrapped.write_text(f'{{"t": 1767225500.5, "dir": "in", "frame": {push}}}\n{{"t":1,"dir":"out","frame":{push}}}\n')
    market = RecordedMarket([bare, wrapped])
    assert market.contents.files == (wrapped, bare)

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("trades", "A-B")
        await client.subscribe("books", "BTC-USDT")
        await asyncio.sleep(1)
        assert client.rows("trades")[0]["tradeId"] == "1"

    play(scenario, market)
    late = RecordedMarket([bare], speed=0.0)

    async def second(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        await asyncio.sleep(1)
        assert [(row["prevSeqId"], row["seqId"]) for row in client.rows("books")] == [(-1, 7), (7, 9)]
        other = Client(exchange, "public")
        await other.subscribe("books", "BTC-USDT")
        assert [(row["prevSeqId"], row["seqId"]) for row in other.rows("books")] == [(-1, 9)]

    play(second, late)


def test_files_that_are_no_captures(tmp_path: Path) -> None:
    empty = tmp_path / "empty.log"
    empty.write_text("nothing\n")
    cut = tmp_path / "cut.log.gz"
    cut.write_bytes(MAY[0].read_bytes()[:2000])
    for paths, words in (
        ([], "no recorded frame"),
        ([empty], "no recorded frame"),
        ([tmp_path / "gone"], "not there"),
        ([tmp_path], "a folder"),
        ([cut], "damaged"),
    ):
        with pytest.raises(ConfigError, match=words):
            RecordedMarket(paths)
    with pytest.raises(ConfigError, match="below zero"):
        RecordedMarket(MAY, speed=-1)


def test_recorded_rows_stay_json() -> None:
    market = RecordedMarket(FEBRUARY)
    assert json.loads(json.dumps(market.instruments()))


def test_a_channel_that_was_subscribed_and_stayed_silent_is_acknowledged(tmp_path: Path) -> None:
    """What the recording's own acks name, in every form of line; what it never asked for stays unknown."""
    capture = tmp_path / "capture.log"
    lines = [
        '{"event":"subscribe","arg":{"channel":"tickers","instId":"A-B"}}',
        '{"id":"7","event":"subscribe","arg":{"channel":"liquidation-orders","instType":"SWAP"},"connId":"a4d3ae55"}',
        '{"event":"subscribe","arg":{"channel":"candle1m","instId":"A-B"},"connId":"a4d3ae55"}',
        '{"event":"unsubscribe","arg":{"channel":"books5","instId":"A-B"}}',
        '{"event":"subscribe","arg":{"channel":7}}',
        '{"arg":{"channel":"trades","instId":"A-B"},"data":[{"instId":"A-B","tradeId":"1","ts":"1"}]}',
    ]
    capture.write_text("".join(f"1767225600.{place}: {line}\n" for place, line in enumerate(lines)))
    wrapped = tmp_path / "wrapped.jsonl"
    ack = '{"event":"subscribe","arg":{"channel":"mark-price","instId":"A-B"}}'
    wrapped.write_text(f'{{"t": 1767225500.5, "dir": "in", "frame": {ack}}}\n')
    market = RecordedMarket([capture, wrapped])
    assert market.contents.topics == {("trades", "A-B")}
    assert market.contents.silent == {
        ("tickers", "A-B"),
        ("liquidation-orders", "SWAP"),
        ("candle1m", "A-B"),
        ("mark-price", "A-B"),
    }

    async def scenario(exchange: Exchange) -> None:
        public, business = Client(exchange, "public"), Client(exchange, "business")
        for client, channel, fields, event in (
            (public, "tickers", {"instId": "A-B"}, "subscribe"),
            (public, "mark-price", {"instId": "A-B"}, "subscribe"),
            (public, "liquidation-orders", {"instType": "SWAP"}, "subscribe"),
            (business, "candle1m", {"instId": "A-B"}, "subscribe"),
            (public, "books5", {"instId": "A-B"}, "error"),
            (public, "liquidation-orders", {"instType": "OPTION"}, "error"),
            (public, "tickers", {"instId": "B-A"}, "error"),
        ):
            assert [each["event"] for each in await client.ask("subscribe", {"channel": channel, **fields})] == [event]
        await asyncio.sleep(1)
        assert (public.pushes("tickers"), business.pushes("candle1m")) == ([], [])
        assert market.ticker("A-B", 0) is None

    play(scenario, market)


def test_books_are_served_from_the_recorded_books_tick_by_tick() -> None:
    """Nobody has to ask for the channel of a higher fee tier; a late subscriber gets a snapshot, and checksums hold."""
    market = RecordedMarket(FEBRUARY, speed=25.0, is_waiting=True)

    async def scenario(exchange: Exchange) -> None:
        early, late, both = (Client(exchange, "public") for _ in range(3))
        await early.subscribe("books", "UNI-USD-SWAP")
        await both.subscribe("books-l2-tbt", "UNI-USD-SWAP")
        market.release()
        await asyncio.sleep(0.3)
        await late.subscribe("books", "UNI-USD-SWAP")
        while not market.has_ended:
            await asyncio.sleep(0.01)
        await exchange.drained()
        count = verified(early, "books", "UNI-USD-SWAP")
        assert count == verified(both, "books-l2-tbt", "UNI-USD-SWAP") > 100
        assert 1 < verified(late, "books", "UNI-USD-SWAP") < count
        assert {push["arg"]["channel"] for push in early.pushes("books")} == {"books"}
        tail = [push["data"] for push in both.pushes("books-l2-tbt")]
        assert [push["data"] for push in early.pushes("books")] == tail

    play(scenario, market)


def test_recorded_books_are_not_replaced() -> None:
    market = RecordedMarket(MAY)
    assert market.has(Topic("books", "BTC-USDT"))
    assert not market.has(Topic("books-l2-tbt", "BTC-USDT"))


def test_rest_of_a_recording_says_what_is_not_known() -> None:
    """Limits that were not recorded are off, and tiers and bars are empty lists rather than errors."""

    def check(call: Caller) -> None:
        (limit,) = call.data("public/price-limit", instId="UNI-USD-SWAP")
        assert (limit["buyLmt"], limit["sellLmt"], limit["enabled"]) == ("", "", False)
        assert call.data("public/position-tiers", instType="SWAP", tdMode="cross", instFamily="UNI-USD") == []
        assert call.data("market/mark-price-candles", instId="UNI-USD-SWAP") == []
        assert call.asked("market/index-candles", instId="UNI-USD")[1]["code"] == "51001"
        assert call.data("market/books-full", instId="UNI-USD-SWAP", sz=5) == []
        (row,) = call.data("account/balance")
        assert {each["ccy"]: each["eqUsd"] for each in row["details"]} == {"USDT": "100000", "BTC": ""}
        assert row["totalEq"] == "100000"

    ask(check, market=RecordedMarket(MAY))
