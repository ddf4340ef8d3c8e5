"""REST: paging, horizons, limits, signatures and errors as OKX has them."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_callers import Caller, ask
from sandbox_stage import play

from quantkit.clock import iso_of
from quantkit.feeds.okx.codec.decode import InstrumentRow, decode_instruments, instrument_of
from quantkit.sandbox import faults
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.history import HORIZON_DAYS
from quantkit.sandbox.keys import sign
from quantkit.sandbox.rules import Rules

LOOSE = Rules(limits_rest=False)
MINUTE_MS = 60_000


def test_candles_are_newest_first_and_the_first_is_open() -> None:
    def check(call: Caller) -> None:
        rows = call.data("market/candles", instId="BTC-USDT", limit=300)
        assert len(rows) == 300
        assert [row[8] for row in rows[:3]] == ["0", "1", "1"]
        assert all(int(new[0]) - int(old[0]) == MINUTE_MS for new, old in pairwise(rows))
        assert len(call.data("market/candles", instId="BTC-USDT")) == 100
        assert len(call.data("market/candles", instId="BTC-USDT", limit=1000)) == 300
        for row in rows:
            low, high = float(row[3]), float(row[2])
            assert low <= float(row[1]) <= high
            assert low <= float(row[4]) <= high
            assert float(row[5]) >= 0

    ask(check)


def test_after_and_before_are_exclusive_and_before_alone_gives_the_latest() -> None:
    def check(call: Caller) -> None:
        rows = call.data("market/candles", instId="BTC-USDT", limit=50)
        middle = rows[20][0]
        assert call.data("market/candles", instId="BTC-USDT", after=middle, limit=10) == rows[21:31]
        assert call.data("market/candles", instId="BTC-USDT", before=middle, limit=10) == rows[:10]
        assert call.data("market/candles", instId="BTC-USDT", before=middle, limit=100) == rows[:20]
        both = {"after": rows[10][0], "before": rows[40][0]}
        assert call.data("market/candles", instId="BTC-USDT", **both) == rows[11:40]
        assert call.data("market/candles", instId="BTC-USDT", **both, limit=5) == rows[11:16]

    ask(check)


def test_candles_end_at_1440_bars_and_history_goes_on() -> None:
    def check(call: Caller) -> None:
        for endpoint in ("market/candles", "market/history-candles"):
            after, seen = "", []
            while True:
                page = call.data(endpoint, instId="BTC-USDT", limit=300, **({"after": after} if after else {}))
                seen += page
                if not page or len(seen) > 2000:
                    break
                after = page[-1][0]
            assert all(int(new[0]) - int(old[0]) == MINUTE_MS for new, old in pairwise(seen))
            if endpoint == "market/candles":
                assert len(seen) == 1440
                recent = seen
            else:
                assert len(seen) > 2000
                assert {row[8] for row in seen} == {"1"}
                assert seen[: len(recent) - 1] == recent[1:]

    ask(check)


def test_history_ends_at_its_horizon() -> None:
    def check(call: Caller) -> None:
        rows = call.data("market/history-candles", instId="BTC-USDT", bar="1Dutc", limit=300)
        assert len(rows) == HORIZON_DAYS - 1 or len(rows) == HORIZON_DAYS
        assert call.data("market/history-candles", instId="BTC-USDT", bar="1Dutc", after=rows[-1][0]) == []

    ask(check)


@pytest.mark.parametrize("bar", ["5m", "1H", "6Hutc", "1D", "1Wutc"])
def test_longer_bars_are_made_of_shorter_ones(bar: str) -> None:
    def check(call: Caller) -> None:
        whole = call.data("market/history-candles", instId="BTC-USDT-SWAP", bar=bar, limit=2)[0]
        after = int(whole[0])
        minutes: list[list[str]] = []
        following = int(call.data("market/candles", instId="BTC-USDT-SWAP", bar=bar, limit=1)[0][0])
        cursor = following
        while cursor > after:
            page = call.data(
                "market/history-candles", instId="BTC-USDT-SWAP", after=cursor, before=after - 1, limit=300
            )
            minutes += page
            cursor = int(page[-1][0])
        assert len(minutes) == (following - after) // MINUTE_MS
        assert whole[1] == minutes[-1][1]
        assert float(whole[2]) == max(float(row[2]) for row in minutes)
        assert float(whole[3]) == min(float(row[3]) for row in minutes)
        assert whole[4] == minutes[0][4]
        for column in (5, 6, 7):
            assert float(whole[column]) == pytest.approx(sum(float(row[column]) for row in minutes), rel=1e-6)

    ask(check)


def test_history_is_the_same_whenever_it_is_asked_for() -> None:
    def rows_of(epoch_ns: int) -> dict[str, list[str]]:
        kept: dict[str, list[str]] = {}

        def check(call: Caller) -> None:
            for row in call.data("market/history-candles", instId="SOL-USDT", bar="1H", limit=300):
                kept[row[0]] = row

        ask(check, epoch_ns=epoch_ns)
        return kept

    day_ns = 86_400 * 10**9
    first, later = rows_of(1_767_225_600 * 10**9), rows_of(1_767_225_600 * 10**9 + day_ns)
    shared = first.keys() & later.keys()
    assert len(shared) > 200
    # The hour of the first start holds its orders instead.
    assert all(first[key] == later[key] for key in sorted(shared)[:-1])


def test_trades_page_back_through_the_start_without_a_hole() -> None:
    async def scenario(exchange: Exchange) -> None:
        call = Caller(exchange)
        await asyncio.sleep(60)
        recent = call.data("market/trades", instId="BTC-USDT", limit=500)
        assert len(recent) == 500
        after, ids, times = "", [], []
        for _ in range(12):
            page = call.data("market/history-trades", instId="BTC-USDT", **({"after": after} if after else {}))
            assert len(page) == 100
            ids += [int(row["tradeId"]) for row in page]
            times += [int(row["ts"]) for row in page]
            after = page[-1]["tradeId"]
        assert ids == list(range(ids[0], ids[0] - len(ids), -1))
        assert times == sorted(times, reverse=True)
        assert times[-1] < exchange.now_ms() - 90_000
        assert [row["tradeId"] for row in recent] == [str(number) for number in ids[:500]]
        by_time = call.data("market/history-trades", instId="BTC-USDT", type=2, after=times[700], limit=10)
        assert all(int(row["ts"]) < times[700] for row in by_time)
        assert int(by_time[0]["tradeId"]) == ids[next(i for i, ts in enumerate(times) if ts < times[700])]
        assert call.code("market/history-trades", instId="BTC-USDT", type=2, before=1) == (200, "50039")

    play(scenario, rules=LOOSE)


def test_forgotten_trades_leave_no_hole() -> None:
    async def scenario(exchange: Exchange) -> None:
        call = Caller(exchange)
        await asyncio.sleep(120)
        market = exchange.market
        assert isinstance(market, GeneratedMarket)
        history = market.simulators["BTC-USDT"].history
        assert history.matches.maxlen == 1000 < history.last.trade_id - history.first_live_id
        after, ids = "", []
        while page := call.data("market/history-trades", instId="BTC-USDT", **({"after": after} if after else {})):
            ids += [int(row["tradeId"]) for row in page]
            after = page[-1]["tradeId"]
        assert ids == list(range(ids[0], ids[0] - len(ids), -1))
        assert ids[-1] > history.first_live_id

    play(scenario, GeneratedMarket(instruments=1, trades_kept=1000, tick_ms=500), rules=LOOSE)


def test_instruments_tickers_and_books() -> None:
    def check(call: Caller) -> None:
        swaps = call.data("public/instruments", instType="SWAP")
        assert [row["instId"] for row in swaps] == ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"]
        assert [row["instId"] for row in call.data("public/instruments", instType="SWAP", instFamily="BTC-USD")] == [
            "BTC-USD-SWAP"
        ]
        body = call.reply("public/instruments", instType="SPOT").body
        rows = [each for each in decode_instruments(body) if isinstance(each, InstrumentRow)]
        assert [instrument_of(row).id for row in rows] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]  # type: ignore[union-attr]
        assert len(call.data("market/tickers", instType="SPOT")) == 3
        (ticker,) = call.data("market/ticker", instId="BTC-USDT")
        assert float(ticker["bidPx"]) < float(ticker["askPx"])
        assert float(ticker["low24h"]) <= float(ticker["last"]) <= float(ticker["high24h"])
        (book,) = call.data("market/books", instId="BTC-USDT", sz=400)
        assert (len(book["bids"]), len(book["asks"])) == (400, 400)
        assert "checksum" not in book
        assert [len(call.data("market/books", instId="BTC-USDT")[0][side]) for side in ("bids", "asks")] == [1, 1]

    ask(check)


def test_funding_history_pages() -> None:
    def check(call: Caller) -> None:
        rows = call.data("public/funding-rate-history", instId="BTC-USDT-SWAP")
        assert len(rows) == 100
        times = [int(row["fundingTime"]) for row in rows]
        assert all(new - old == 28_800_000 for new, old in pairwise(times))
        page = call.data("public/funding-rate-history", instId="BTC-USDT-SWAP", after=times[9], limit=5)
        assert page == rows[10:15]
        assert call.data("public/funding-rate-history", instId="BTC-USDT-SWAP", before=times[3]) == rows[:3]
        assert len(call.data("public/funding-rate-history", instId="BTC-USDT-SWAP", limit=400)) == 270
        (now,) = call.data("public/funding-rate", instId="BTC-USDT-SWAP")
        assert (now["settFundingRate"], int(now["fundingTime"])) == (rows[0]["realizedRate"], times[0] + 28_800_000)

    ask(check)


@pytest.mark.parametrize(
    ("endpoint", "params", "expected"),
    [
        ("market/candles", {}, (400, "50014")),
        ("market/candles", {"instId": "NO-SUCH"}, (200, "51001")),
        ("market/candles", {"instId": "BTC-USDT", "bar": "1h"}, (200, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "bar": "1s"}, (200, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "limit": "many"}, (200, "51000")),
        ("market/candles", {"instId": "BTC-USDT", "after": "-1"}, (200, "51000")),
        ("market/books", {"instId": "BTC-USDT", "sz": "500"}, (200, "51000")),
        ("public/instruments", {"instType": "STOCK"}, (200, "51000")),
        ("public/instruments", {"instType": "SPOT", "instId": "NO-SUCH"}, (200, "51001")),
        ("public/funding-rate", {"instId": "BTC-USDT"}, (200, "51000")),
        ("public/mark-price", {"instType": "SWAP", "instId": "NO-SUCH"}, (200, "51001")),
        ("trade/order", {}, (401, "50103")),
        ("account/config", {}, (401, "50103")),
    ],
)
def test_errors(endpoint: str, params: dict[str, str], expected: tuple[int, str]) -> None:
    ask(lambda call: check_equal(call.code(endpoint, **params), expected))


def check_equal(found: object, expected: object) -> None:
    assert found == expected


def test_each_endpoint_has_its_limit() -> None:
    async def scenario(exchange: Exchange) -> None:
        call = Caller(exchange)
        assert [call.code("public/time")[0] for _ in range(11)] == [200] * 10 + [429]
        assert call.code("public/time") == (429, "50011")
        assert call.code("market/tickers", instType="SPOT")[0] == 200
        await asyncio.sleep(2)
        assert call.code("public/time")[0] == 200
        assert [call.code("system/status")[0] for _ in range(2)] == [200, 429]

    play(scenario)


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        ("sandbox-key", {}, (200, "0")),
        ("sandbox-demo", {"x-simulated-trading": "1"}, (200, "0")),
        ("sandbox-demo", {}, (401, "50101")),
        ("sandbox-key", {"x-simulated-trading": "1"}, (401, "50101")),
        ("sandbox-eea", {}, (401, "50119")),
        ("nobody", {}, (401, "50119")),
        ("sandbox-key", {"ok-access-passphrase": "wrong"}, (401, "50105")),
        ("sandbox-key", {"ok-access-sign": "wrong"}, (401, "50113")),
        ("sandbox-key", {"ok-access-timestamp": "2020-12-08T09:08:57.715Z"}, (401, "50102")),
        ("sandbox-key", {"ok-access-timestamp": "now"}, (401, "50102")),
    ],
)
def test_signed_requests(key: str, changes: dict[str, str], expected: tuple[int, str]) -> None:
    def check(call: Caller) -> None:
        stamp = iso_of(call.exchange.now_ms() * 10**6)
        headers = {
            "ok-access-key": key,
            "ok-access-timestamp": stamp,
            "ok-access-passphrase": "sandbox-pass",
            "ok-access-sign": sign("sandbox-secret", f"{stamp}GET/api/v5/account/balance?ccy=USDT"),
            **changes,
        }
        assert call.code("account/balance", headers, ccy="USDT") == expected

    ask(check)


def test_requests_fail_on_request_and_the_clock_is_off() -> None:
    def check(call: Caller) -> None:
        exchange = call.exchange
        exchange.inject(faults.Rest(endpoint="market/candles", status=503, retry_after_s=3))
        exchange.inject(faults.Rest(endpoint="public/time", status=200, code="50011", text="Requests too frequent."))
        assert call.code("market/ticker", instId="BTC-USDT")[0] == 200
        reply = call.reply("market/candles", instId="BTC-USDT")
        assert (reply.status, reply.headers) == (503, {"Retry-After": "3"})
        assert "data" not in json.loads(reply.body)
        assert call.code("market/candles", instId="BTC-USDT") == (200, "0")
        assert call.code("public/time") == (200, "50011")
        exchange.inject(faults.ClockSkew(offset_s=-120))
        assert int(call.data("public/time")[0]["ts"]) == exchange.now_ms() - 120_000

    ask(check)


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 400),
    after=st.none() | st.integers(-1600, 100),
    before=st.none() | st.integers(-1600, 100),
)
def test_paging_equals_a_model(limit: int, after: int | None, before: int | None) -> None:
    """`after` and `before` against a list of all bars, cut as the documentation says."""

    def check(call: Caller) -> None:
        now_ms = call.exchange.now_ms()
        newest = now_ms - now_ms % MINUTE_MS
        bars = [newest - MINUTE_MS * place for place in range(1440)]
        params = {
            name: newest + 30_000 * offset
            for name, offset in (("after", after), ("before", before))
            if offset is not None
        }
        expected = [each for each in bars if each < params.get("after", each + 1) and each > params.get("before", 0)]
        rows = call.data("market/candles", instId="BTC-USDT", limit=limit, **params)
        assert [int(row[0]) for row in rows] == expected[: min(limit, 300)]

    ask(check, market=GeneratedMarket(instruments=1, orders_per_s=1.0))
