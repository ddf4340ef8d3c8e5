"""Public endpoints and channels beside books, trades and candles: limits, tiers, marks, indices, liquidations."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from sandbox_callers import Caller, ask
from sandbox_stage import Client, play

from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.history import HORIZON_DAYS
from quantkit.sandbox.rules import Rules

MINUTE_MS = 60_000
LOOSE = Rules(limits_rest=False)


@pytest.mark.parametrize("kind", ["index", "mark-price"])
def test_candles_of_mark_and_index_page_as_others_do(kind: str) -> None:
    def check(call: Caller) -> None:
        rows = call.data(f"market/{kind}-candles", instId="BTC-USDT", limit=300)
        assert len(rows) == 100, "not 300 as for trades"
        assert {len(row) for row in rows} == {6}
        assert [row[5] for row in rows[:3]] == ["0", "1", "1"]
        assert all(int(new[0]) - int(old[0]) == MINUTE_MS for new, old in pairwise(rows))
        assert all(new[1] == old[4] for new, old in pairwise(rows)), "one price, so a bar opens where the last ended"
        for _, opened, high, low, close, _ in rows:
            assert float(low) <= min(float(opened), float(close)) <= max(float(opened), float(close)) <= float(high)
        after = {"after": rows[10][0], "before": rows[40][0]}
        assert call.data(f"market/{kind}-candles", instId="BTC-USDT", **after) == rows[11:40]
        assert call.data(f"market/history-{kind}-candles", instId="BTC-USDT", limit=9) == rows[1:10]
        old = call.data(f"market/history-{kind}-candles", instId="BTC-USDT", after=rows[-1][0])
        assert int(old[0][0]) == int(rows[-1][0]) - MINUTE_MS
        days = call.data(f"market/history-{kind}-candles", instId="BTC-USDT", bar="1Dutc")
        assert HORIZON_DAYS - 2 <= len(days) <= HORIZON_DAYS
        for wrong in ("1s", "1h", "2X"):
            assert call.asked(f"market/{kind}-candles", instId="BTC-USDT", bar=wrong)[1]["code"] == "51000"
        assert call.asked(f"market/{kind}-candles", instId="NO-SUCH")[1]["code"] == "51001"

    ask(check, market=GeneratedMarket(instruments=1, orders_per_s=1.0))


@pytest.mark.parametrize("bar", ["5m", "1H", "6Hutc", "1D"])
def test_longer_bars_of_a_mark_are_made_of_shorter_ones(bar: str) -> None:
    def check(call: Caller) -> None:
        following, whole = call.data("market/mark-price-candles", instId="BTC-USDT-SWAP", bar=bar, limit=2)
        minutes: list[list[str]] = []
        cursor = int(following[0])
        while cursor > int(whole[0]):
            page = call.data(
                "market/history-mark-price-candles", instId="BTC-USDT-SWAP", after=cursor, before=int(whole[0]) - 1
            )
            minutes += page
            cursor = int(page[-1][0])
        assert (whole[1], whole[4]) == (minutes[-1][1], minutes[0][4])
        assert float(whole[2]) == max(float(row[2]) for row in minutes)
        assert float(whole[3]) == min(float(row[3]) for row in minutes)

    ask(check)


def test_candles_of_a_mark_hold_every_mark_that_was_pushed() -> None:
    async def scenario(exchange: Exchange) -> None:
        public, business = Client(exchange, "public"), Client(exchange, "business")
        await public.subscribe("mark-price", "BTC-USDT-SWAP")
        await public.subscribe("index-tickers", "BTC-USDT")
        await business.subscribe("mark-price-candle1m", "BTC-USDT-SWAP")
        await business.subscribe("index-candle1m", "BTC-USDT")
        await asyncio.sleep(150)
        call = Caller(exchange)
        for channel, name, field in (("mark-price", "BTC-USDT-SWAP", "markPx"), ("index", "BTC-USDT", "idxPx")):
            bars = {int(row[0]): row for row in call.data(f"market/{channel}-candles", instId=name)}
            seen = public.rows("mark-price" if channel == "mark-price" else "index-tickers")
            assert len(seen) > 100
            for row in seen:
                _, _, high, low, _, _ = bars[int(row["ts"]) // MINUTE_MS * MINUTE_MS]
                assert float(low) <= float(row[field]) <= float(high)
            pushed: list[list[str]] = business.rows(f"{channel}-candle1m")
            closed = [row for row in pushed if row[5] == "1"]
            assert closed == [bars[int(row[0])] for row in closed]
            assert len(closed) >= 2
            assert len(pushed) > 50

    play(scenario, GeneratedMarket(tick_ms=100, orders_per_s=5.0), rules=LOOSE)


def test_what_is_listed_has_its_history_since_then() -> None:
    """No bar, trade or settlement is older than `listTime`, and the first bar opens within a minute of it."""

    def check(call: Caller) -> None:
        for kind in ("SPOT", "SWAP"):
            for row in call.data("public/instruments", instType=kind):
                listed_ms, name = int(row["listTime"]), row["instId"]
                assert call.exchange.now_ms() - listed_ms > 89 * 86_400_000
                first = listed_ms // MINUTE_MS * MINUTE_MS + 3 * MINUTE_MS
                for of in ("", "mark-price-"):
                    rows = call.data(f"market/history-{of}candles", instId=name, after=first)
                    assert listed_ms <= int(rows[-1][0]) < listed_ms + MINUTE_MS
                trades = call.data("market/history-trades", instId=name, type=2, after=first)
                assert all(int(trade["ts"]) >= listed_ms for trade in trades)
                if kind == "SWAP":
                    fundings = call.data("public/funding-rate-history", instId=name, limit=400)
                    assert all(int(each["fundingTime"]) >= listed_ms for each in fundings)

    ask(check)


def test_price_limits() -> None:
    async def scenario(exchange: Exchange) -> None:
        client, call = Client(exchange, "public"), Caller(exchange)
        await client.subscribe("price-limit", "ETH-USDT-SWAP")
        await asyncio.sleep(5)
        for name, share in (("BTC-USDT", 0.005), ("BTC-USD-SWAP", 0.005), ("ETH-USDT-SWAP", 0.01)):
            (limit,) = call.data("public/price-limit", instId=name)
            index = name.removesuffix("-SWAP")
            price = float(call.data("market/index-tickers", instId=index)[0]["idxPx"])
            assert float(limit["buyLmt"]) == pytest.approx(price * (1 + share), rel=1e-4)
            assert float(limit["sellLmt"]) == pytest.approx(price * (1 - share), rel=1e-4)
            assert limit["enabled"] is True
            kind = "SWAP" if name.endswith("SWAP") else "SPOT"
            (row,) = call.data("public/instruments", instType=kind, instId=name)
            assert (float(row["floatPxLmtPct"]), float(row["maxPxLmtPct"])) == (share, 2 * share)
        pushed = client.rows("price-limit")
        assert len(pushed) > 10
        assert float(pushed[-1]["buyLmt"]) == pytest.approx(float(limit["buyLmt"]), rel=1e-4)
        assert all(int(new["ts"]) - int(old["ts"]) >= 200 for old, new in pairwise(pushed[1:]))
        assert call.asked("public/price-limit", instId="NO-SUCH")[1]["code"] == "51001"

    play(scenario, rules=LOOSE)


def test_position_tiers() -> None:
    def check(call: Caller) -> None:
        swap: dict[str, Any] = {"instType": "SWAP", "tdMode": "cross"}
        rows = call.data("public/position-tiers", **swap, instFamily="BTC-USDT")
        first = {name: rows[0][name] for name in ("tier", "minSz", "maxSz", "mmr", "imr", "maxLever")}
        assert first == {"tier": "1", "minSz": "0", "maxSz": "1000", "mmr": "0.004", "imr": "0.01", "maxLever": "100"}
        for lower, higher in pairwise(rows):
            assert lower["maxSz"] == higher["minSz"]
            assert float(lower["mmr"]) < float(higher["mmr"])
            assert float(lower["imr"]) < float(higher["imr"])
            assert float(lower["maxLever"]) > float(higher["maxLever"])
        assert call.data("public/position-tiers", **swap, uly="BTC-USDT") == rows
        both = call.data("public/position-tiers", **swap, instFamily="ETH-USDT,BTC-USDT", tier="2")
        assert [(row["instFamily"], row["tier"]) for row in both] == [("ETH-USDT", "2"), ("BTC-USDT", "2")]
        margin = call.data("public/position-tiers", instType="MARGIN", tdMode="isolated", instId="BTC-USDT")
        assert [(row["instId"], row["maxLever"]) for row in margin] == [("BTC-USDT", "10")]
        for params, code in (
            ({**swap, "instFamily": "NO-SUCH"}, "51000"),
            (swap, "50014"),
            ({"instType": "SWAP", "instFamily": "BTC-USDT"}, "50014"),
            ({"instType": "SPOT", "tdMode": "cross"}, "51000"),
            ({"instType": "SWAP", "tdMode": "cash"}, "51000"),
            ({"instType": "MARGIN", "tdMode": "cross"}, "50015"),
        ):
            assert call.asked("public/position-tiers", **params)[1]["code"] == code

    ask(check)


def test_whole_books_go_deeper_and_take_no_trade_from_the_pushes() -> None:
    async def scenario(exchange: Exchange) -> None:
        client, call = Client(exchange, "public"), Caller(exchange)
        await client.subscribe("trades", "BTC-USDT")
        for _ in range(100):
            await asyncio.sleep(0.037)
            (whole,) = call.data("market/books-full", instId="BTC-USDT", sz=5000)
            call.data("market/books", instId="BTC-USDT", sz=400)
        rows = client.rows("trades")
        ids = [int(row["tradeId"]) for row in rows]
        assert len(ids) > 10
        assert all(new - old == int(row["count"]) for (old, new), row in zip(pairwise(ids), rows[1:], strict=True))
        (shown,) = call.data("market/books", instId="BTC-USDT", sz=400)
        assert len(whole["bids"]) > 400
        assert set(whole) == {"asks", "bids", "ts"}
        assert whole["bids"][:400] == [[price, size, count] for price, size, _, count in shown["bids"]]
        assert [len(side) for side in call.data("market/books-full", instId="BTC-USDT")[0].values()][:2] == [1, 1]
        assert call.asked("market/books-full", instId="BTC-USDT", sz=5001)[1]["code"] == "51000"

    play(scenario, GeneratedMarket(instruments=1, orders_per_s=100.0), rules=LOOSE)


def test_liquidations_are_some_of_the_trades() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for kind in ("SWAP", "FUTURES", "OPTION", "MARGIN"):
            (event,) = await client.ask("subscribe", {"channel": "liquidation-orders", "instType": kind})
            assert event["event"] == "subscribe"
        (event,) = await client.ask("subscribe", {"channel": "liquidation-orders", "instType": "SPOT"})
        assert event["code"] == "60018"
        names = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP")
        for name in names:
            await client.subscribe("trades", name)
        await asyncio.sleep(40)
        found = client.rows("liquidation-orders")
        assert {row["instId"] for row in found} == set(names)
        assert {(row["details"][0]["side"], row["details"][0]["posSide"]) for row in found} == {
            ("buy", "short"),
            ("sell", "long"),
        }
        trades = {(row["instId"], row["ts"], row["px"], row["side"]) for row in client.rows("trades")}
        for row in found:
            (details,) = row["details"]
            assert (row["instId"], details["ts"], details["bkPx"], details["side"]) in trades
        assert all("instId" not in push["arg"] for push in client.pushes("liquidation-orders"))

    play(scenario, GeneratedMarket(orders_per_s=100.0, tick_ms=100))


def test_rows_are_found_by_type_family_id_or_any() -> None:
    def check(call: Caller) -> None:
        names = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"]
        for endpoint in ("public/mark-price", "public/open-interest", "market/tickers", "public/instruments"):
            assert [row["instId"] for row in call.data(endpoint, instType="SWAP")] == names
            assert [row["instId"] for row in call.data(endpoint, instType="SWAP", instFamily="BTC-USD")] == names[2:]
        for params in ({"instId": names[0]}, {"instId": names[0], "instType": "ANY"}):
            assert [row["instId"] for row in call.data("public/mark-price", **params)] == names[:1]
        assert [row["instId"] for row in call.data("public/funding-rate", instId="ANY")] == names
        assert len(call.data("public/instruments", instType="MARGIN")) == 3
        assert call.data("public/instruments", instType="MARGIN", instId="BTC-USDT")[0]["uly"] == "BTC-USDT"
        assert call.data("public/instruments", instType="OPTION") == []
        assert [row["instId"] for row in call.data("market/index-tickers", quoteCcy="USD")] == ["BTC-USD"]
        assert len(call.data("market/index-tickers")) == 4
        assert call.data("public/underlying", instType="SWAP") == [["BTC-USD", "BTC-USDT", "ETH-USDT"]]
        assert float(call.data("market/platform-24-volume")[0]["volUsd"]) > 0

    ask(check)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"instId": "BTC-USD-SWAP", "px": "35000", "sz": "0.888"}, "310"),
        ({"instId": "BTC-USD-SWAP", "px": "50000", "sz": "5", "type": "2"}, "0.01"),
        ({"instId": "BTC-USDT-SWAP", "sz": "0.05"}, "5"),
        ({"instId": "BTC-USDT-SWAP", "sz": "0.00019"}, "0.01"),
        ({"instId": "BTC-USDT-SWAP", "sz": "7", "type": "2"}, "0.07"),
    ],
)
def test_contracts_are_converted(params: dict[str, str], expected: str) -> None:
    ask(lambda call: check_size(call, params, expected))


def check_size(call: Caller, params: dict[str, str], expected: str) -> None:
    assert call.data("public/convert-contract-coin", **params)[0]["sz"] == expected


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"instId": "BTC-USDT", "sz": "1"}, "51000"),
        ({"instId": "BTC-USD-SWAP", "sz": "1"}, "50014"),
        ({"instId": "BTC-USDT-SWAP", "sz": "NaN"}, "51000"),
        ({"instId": "BTC-USDT-SWAP", "sz": "some"}, "51000"),
        ({"instId": "BTC-USDT-SWAP", "sz": "1", "type": "3"}, "51000"),
    ],
)
def test_what_cannot_be_converted(params: dict[str, str], code: str) -> None:
    def check(call: Caller) -> None:
        assert call.asked("public/convert-contract-coin", **params)[1]["code"] == code

    ask(check)
