"""The generated market: its books chain, its trades count, its candles add up, and a seed is a seed."""

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from sandbox_stage import Book, Client, play

from quantkit.errors import ConfigError
from quantkit.feeds.okx.codec.decode import InstrumentRow, decode, instrument_of
from quantkit.sandbox import bars
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.rules import Rules

NAMES = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP")


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_books_rebuilt_from_pushes_equal_the_market(seed: int) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.login("sandbox-vip")
        for name in NAMES:
            await client.subscribe("books", name)
        await client.subscribe("books50-l2-tbt", "BTC-USDT")
        await client.subscribe("books-l2-tbt", "ETH-USDT")
        await asyncio.sleep(30)
        for name in NAMES:
            if name == "ETH-USDT":
                continue
            assert_equal(exchange, client, "books", name, 400)
        assert_equal(exchange, client, "books50-l2-tbt", "BTC-USDT", 50)
        assert_equal(exchange, client, "books-l2-tbt", "ETH-USDT", 400)

    play(scenario, GeneratedMarket(seed, orders_per_s=200))


def assert_equal(exchange: Exchange, client: Client, channel: str, name: str, depth: int) -> None:
    pushes = client.pushes(channel, name)
    assert len(pushes) > 100
    assert all(row["checksum"] == 0 for push in pushes for row in push["data"])
    book = Book()
    steps = set()
    for push in pushes:
        last = book.seq_id
        book.take(push)
        if last is not None:
            steps.add((book.seq_id or 0) - last)
    assert len(steps) > 10, "numbers step irregularly"
    market = exchange.market
    assert isinstance(market, GeneratedMarket)
    simulator = market.simulators[name]
    for side, levels in (("bids", book.bids), ("asks", book.asks)):
        prices = simulator.flow.bids.prices[-depth:] if side == "bids" else simulator.flow.asks.prices[:depth]
        source = simulator.flow.bids.levels if side == "bids" else simulator.flow.asks.levels
        listing = simulator.listing
        truth = {float(listing.price_text(each)): listing.qty_text(source[each][0]) for each in prices}
        # Orders since the last push are not in the client's book yet: at most a few levels.
        differing = {price for price in truth.keys() | levels.keys() if truth.get(price) != levels.get(price)}
        assert len(differing) < 60
    assert len(book.bids) == len(book.asks) == depth


def test_every_frame_is_understood_by_the_decoder() -> None:
    async def scenario(exchange: Exchange) -> None:
        public, business = Client(exchange, "public"), Client(exchange, "business")
        for channel in ("tickers", "trades", "books", "books5", "bbo-tbt", "mark-price"):
            for name in NAMES:
                await public.subscribe(channel, name)
        for channel, name in (("funding-rate", "BTC-USDT-SWAP"), ("open-interest", "BTC-USD-SWAP")):
            await public.subscribe(channel, name)
        await public.subscribe("index-tickers", "BTC-USD")
        await public.subscribe("status")
        for channel in ("candle1s", "candle1m", "candle4H", "candle1Dutc", "trades-all"):
            await business.subscribe(channel, "BTC-USDT")
        await asyncio.sleep(5)
        kinds: set[str] = set()
        for client in (public, business):
            for text in client.texts:
                found = decode(text.encode(), received_ns=1)
                assert found
                kinds |= {type(message).__name__ for message in found}
        assert {"MarketData", "TradeData", "BookData", "FundingData", "FormingCandle", "Status", "Ack"} <= kinds
        assert "ErrorEvent" not in kinds

    play(scenario)


def test_the_market_listed_is_understood_by_the_decoder() -> None:
    market = GeneratedMarket(instruments=20)
    rows = [msgspec.convert(row, InstrumentRow) for row in market.instruments()]
    made = [instrument_of(row) for row in rows]
    assert [each.id for each in made if each is not None] == [each.id for each in market.listings]
    inverse = made[5]
    assert inverse is not None
    assert inverse.is_inverse
    assert (inverse.settle, str(inverse.contract_value)) == ("BTC", "100")


def test_trades_count_every_match_and_begin_with_the_last() -> None:
    async def scenario(exchange: Exchange) -> None:
        public, business = Client(exchange, "public"), Client(exchange, "business")
        await public.subscribe("trades", "BTC-USDT")
        await business.subscribe("trades-all", "BTC-USDT")
        await asyncio.sleep(60)
        rows = public.rows("trades")
        assert len(rows) > 200
        assert int(rows[0]["ts"]) <= exchange.now_ms() - 60_000
        for last, row in pairwise(rows):
            assert int(row["tradeId"]) - int(row["count"]) == int(last["tradeId"])
            assert int(row["ts"]) >= int(last["ts"])
        assert any(int(row["count"]) > 1 for row in rows)
        singles = business.rows("trades-all")
        for last, row in pairwise(singles):
            assert int(row["tradeId"]) == int(last["tradeId"]) + 1
        sums: dict[str, float] = {}
        ends = {int(row["tradeId"]) for row in rows}
        total = 0.0
        for single in singles:
            total += float(single["sz"])
            if int(single["tradeId"]) in ends:
                sums[single["tradeId"]] = total
                total = 0.0
        for row in rows[1:]:
            if row["tradeId"] in sums and row is not rows[1]:
                assert sums[row["tradeId"]] == pytest.approx(float(row["sz"]))

    play(scenario)


def test_trades_take_what_the_book_shows() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("bbo-tbt", "ETH-USDT")
        await client.subscribe("trades", "ETH-USDT")
        await asyncio.sleep(60)
        best: dict[str, Any] | None = None
        near = 0
        rows = 0
        for frame in client.frames():
            if frame.get("arg", {}).get("channel") == "bbo-tbt" and "data" in frame:
                best = frame["data"][0]
            elif best is not None and "data" in frame:
                (row,) = frame["data"]
                rows += 1
                middle = (float(best["bids"][0][0]) + float(best["asks"][0][0])) / 2
                near += abs(float(row["px"]) / middle - 1) < 0.001
        assert rows > 200
        assert near > 0.98 * rows

    play(scenario)


def test_candles_are_made_of_the_trades() -> None:
    async def scenario(exchange: Exchange) -> None:
        public, business = Client(exchange, "public"), Client(exchange, "business")
        await public.subscribe("trades", "BTC-USDT")
        await business.subscribe("candle1m", "BTC-USDT")
        await business.subscribe("candle1s", "BTC-USDT")
        await asyncio.sleep(200)
        trades = public.rows("trades")
        closed = [row for row in business.rows("candle1m") if row[8] == "1"]
        assert len(closed) == 3
        for row in closed[1:]:
            start = int(row[0])
            inside = [each for each in trades if start <= int(each["ts"]) < start + 60_000]
            prices = [float(each["px"]) for each in inside]
            expected = [prices[0], max(prices), min(prices), prices[-1]]
            assert [float(text) for text in row[1:5]] == expected
            volume = sum(float(each["sz"]) for each in inside)
            assert float(row[5]) == pytest.approx(volume)
            assert float(row[7]) == pytest.approx(sum(float(each["sz"]) * float(each["px"]) for each in inside))
        seconds = [int(row[0]) for row in business.rows("candle1s") if row[8] == "1"]
        assert seconds == list(range(seconds[0], seconds[0] + 1000 * len(seconds), 1000))
        assert len(seconds) >= 198

    play(scenario, GeneratedMarket(instruments=1))


def test_candles_are_pushed_at_most_once_a_second_and_close_once() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "business")
        await client.subscribe("candle1m", "BTC-USDT")
        await asyncio.sleep(125)
        times = [time_s for text, time_s in zip(client.texts, client.times_s, strict=True) if '"data"' in text]
        # One at once for a new subscriber, and closes come when they come.
        assert sum(1 for last, now in pairwise(times[1:]) if now - last < 0.99) <= 2
        opens = [row[0] for row in client.rows("candle1m") if row[8] == "1"]
        assert len(opens) == len(set(opens)) == 2

    play(scenario)


def test_a_minute_without_a_trade_repeats_the_last_price() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "business")
        await client.subscribe("candle1m", "BTC-USDT")
        for _ in range(8):
            await asyncio.sleep(20)
            client.tell("ping")
        closed = [row for row in client.rows("candle1m") if row[8] == "1"]
        assert len(closed) == 2
        assert closed[1][1:5] == [closed[0][4]] * 4
        assert closed[1][5:8] == ["0", "0", "0"]

    play(scenario, GeneratedMarket(instruments=1, orders_per_s=0))


def test_a_quiet_book_gives_a_sign_of_life() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        for _ in range(16):
            await asyncio.sleep(8)
            client.tell("ping")
        snapshot, *alive = client.rows("books")
        assert len(alive) == 2
        for row in alive:
            assert (row["bids"], row["asks"]) == ([], [])
            assert row["prevSeqId"] == row["seqId"] == snapshot["seqId"]

    play(scenario, GeneratedMarket(instruments=1, orders_per_s=0), rules=Rules())


def test_who_joins_late_gets_a_snapshot_that_links() -> None:
    async def scenario(exchange: Exchange) -> None:
        clients = []
        for _ in range(5):
            client = Client(exchange, "public")
            await client.subscribe("books", "BTC-USDT")
            await asyncio.sleep(1.037)
            clients.append(client)
        books = []
        for client in clients:
            book = Book()
            for push in client.pushes("books"):
                book.take(push)
            books.append(book)
        assert len({book.seq_id for book in books}) == 1
        assert all(book.bids == books[0].bids and book.asks == books[0].asks for book in books)

    play(scenario)


def test_a_book_from_rest_links_to_the_pushes() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        for _ in range(20):
            await asyncio.sleep(0.237)
            row = exchange.market.book("BTC-USDT", 400, exchange.now_ms())
            assert row is not None
            await asyncio.sleep(1.0)
            later = [each for each in client.rows("books") if each["seqId"] > row["seqId"]]
            assert later[0]["prevSeqId"] <= row["seqId"] < later[0]["seqId"]
            spliced = Book()
            spliced.take({"action": "snapshot", "data": [{**row, "prevSeqId": -1, "checksum": 0}]})
            for each in later:
                spliced.take({"action": "update", "data": [each]})
            whole = Book()
            for push in client.pushes("books"):
                whole.take(push)
            assert (spliced.bids, spliced.asks) == (whole.bids, whole.asks)

    play(scenario)


def test_the_same_seed_is_the_same_market() -> None:
    def texts(seed: int, others: bool) -> list[str]:
        kept: list[str] = []

        async def scenario(exchange: Exchange) -> None:
            client = Client(exchange, "public")
            if others:
                await client.subscribe("books5", "SOL-USDT")
            await asyncio.sleep(0.5)
            await client.subscribe("trades", "BTC-USDT")
            await asyncio.sleep(20)
            kept.extend(str(row) for row in client.rows("trades", "BTC-USDT")[1:])

        play(scenario, GeneratedMarket(seed))
        return kept

    first = texts(3, False)
    assert len(first) > 50
    # What others listen to changes nothing.
    again = texts(3, True)
    shorter = min(len(first), len(again)) - 3
    assert first[:shorter] == again[:shorter]
    assert texts(4, False)[:10] != first[:10]


def test_short_books_are_whole_each_time() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books5", "BTC-USDT")
        await client.subscribe("bbo-tbt", "BTC-USDT")
        await asyncio.sleep(5)
        for channel, depth in (("books5", 5), ("bbo-tbt", 1)):
            pushes = client.pushes(channel)
            assert len(pushes) > 20
            for push in pushes:
                (row,) = push["data"]
                assert "action" not in push
                assert "prevSeqId" not in row
                assert len(row["bids"]) == len(row["asks"]) == depth
                assert float(row["bids"][0][0]) < float(row["asks"][0][0])
            assert all(last["data"][0]["seqId"] < now["data"][0]["seqId"] for last, now in pairwise(pushes[1:]))

    play(scenario)


def test_fifty_instruments_live_together() -> None:
    async def scenario(exchange: Exchange) -> None:
        market = exchange.market
        assert isinstance(market, GeneratedMarket)
        client = Client(exchange, "public")
        for listing in market.listings:
            await client.subscribe("books", listing.id)
        await asyncio.sleep(5)
        for listing in market.listings:
            book = Book()
            for push in client.pushes("books", listing.id):
                book.take(push)

    play(scenario, GeneratedMarket(instruments=50, orders_per_s=20))


def test_slow_channels_keep_their_pace() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for channel, key in (
            ("mark-price", "BTC-USDT-SWAP"),
            ("index-tickers", "BTC-USDT"),
            ("funding-rate", "BTC-USDT-SWAP"),
            ("open-interest", "BTC-USDT-SWAP"),
            ("tickers", "BTC-USDT"),
        ):
            await client.subscribe(channel, key)
        await asyncio.sleep(130)
        for channel, least, most in (
            ("mark-price", 100, 652),
            ("index-tickers", 100, 1302),
            ("funding-rate", 2, 4),
            ("open-interest", 40, 45),
            ("tickers", 300, 1302),
        ):
            assert least <= len(client.rows(channel)) <= most, channel
        rates = client.rows("funding-rate")
        assert {row["settState"] for row in rates} == {"settled"}
        assert int(rates[0]["fundingTime"]) % 28_800_000 == 0

    play(scenario)


@pytest.mark.parametrize(
    ("bar", "moment", "opened"),
    [
        ("1m", "2026-03-04T05:06:07", "2026-03-04T05:06:00"),
        ("4H", "2026-03-04T05:06:07", "2026-03-04T04:00:00"),
        ("6H", "2026-03-04T05:06:07", "2026-03-04T04:00:00"),
        ("6Hutc", "2026-03-04T05:06:07", "2026-03-04T00:00:00"),
        ("1D", "2026-03-04T17:00:00", "2026-03-04T16:00:00"),
        ("1Dutc", "2026-03-04T17:00:00", "2026-03-04T00:00:00"),
        ("1Wutc", "2026-03-04T17:00:00", "2026-03-02T00:00:00"),
        ("1Mutc", "2026-03-04T17:00:00", "2026-03-01T00:00:00"),
        ("1M", "2026-02-28T17:00:00", "2026-02-28T16:00:00"),
        ("3Mutc", "2026-03-04T17:00:00", "2026-01-01T00:00:00"),
    ],
)
def test_bars_open_where_okx_opens_them(bar: str, moment: str, opened: str) -> None:
    from quantkit.clock import time_ns_of

    at_ms, opened_ms = time_ns_of(moment) // 10**6, time_ns_of(opened) // 10**6
    assert bars.is_bar(bar)
    assert bars.open_ms(bar, at_ms) == opened_ms
    following = bars.next_open_ms(bar, opened_ms)
    assert bars.open_ms(bar, following) == following
    assert bars.open_ms(bar, following - 1) == opened_ms
    assert bars.previous_open_ms(bar, following) == opened_ms


def test_wrong_markets() -> None:
    for options, words in (
        ({"instruments": 0}, "0 instruments"),
        ({"orders_per_s": -1.0}, "-1.0 orders"),
        ({"orders_per_s": float("nan")}, "nan orders"),
        ({"tick_ms": 0}, "tick of 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            GeneratedMarket(**options)  # type: ignore[arg-type]
