"""Paged history equals what a model of OKX holds: no hole, no repeat, whatever the pages look like."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Any, NamedTuple

import httpx2
import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simulation.virtual import EPOCH_NS, simulate, virtual_loop

from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S, interval_ns
from quantkit.errors import ConfigError, ParseError
from quantkit.events import Candle, Funding, Trade
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.rest.history import newest_first
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.instruments import Side

MINUTE_MS = 60_000
EPOCH_MS = EPOCH_NS // NS_PER_MS
HORIZON = 1440
ID = "BTC-USDT"


class Model(httpx2.AsyncBaseTransport):
    """OKX's lists of one instrument as the protocol describes them, in virtual time.

    Bars exist from `first_ms` on, one a minute except those in `missing`; `malformed` ones are sent as nonsense. Trades
    are (id, ms) and settlements ms. `limits` are the most rows that the server gives, whatever was asked for.
    """

    def __init__(
        self,
        *,
        first_ms: int = EPOCH_MS,
        missing: frozenset[int] = frozenset(),
        malformed: frozenset[int] = frozenset(),
        trades: list[tuple[int, int]] | None = None,
        settlements: list[int] | None = None,
        limits: dict[str, int] | None = None,
        latency_s: float = 0.0,
        thin: int = 0,
    ) -> None:
        self.first_ms = first_ms
        self.missing = missing
        self.malformed = malformed
        self.trades = trades or []
        self.settlements = settlements or []
        self.limits = limits or {}
        self.asked: list[tuple[str, dict[str, str], int]] = []
        self._latency_s = latency_s
        self._thin = thin

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(self._latency_s)
        name = request.url.path.rpartition("/")[2]
        query = dict(request.url.params)
        now_ms = virtual_loop().wall_ns() // NS_PER_MS
        self.asked.append((name, query, now_ms))
        assert query["instId"] == ID
        after = int(query["after"]) if "after" in query else None
        most = min(int(query["limit"]), self.limits.get(name, 10**6))
        # Pages may be short at any place, not only at the end.
        most = max(1, most - (len(self.asked) * 7 % (self._thin + 1)))
        lists: dict[str, Callable[[], Iterator[Any]]] = {
            "candles": lambda: self._bars(now_ms, after, is_recent=True),
            "history-candles": lambda: self._bars(now_ms, after, is_recent=False),
            "trades": lambda: self._trade_rows(None, by_time=False),
            "history-trades": lambda: self._trade_rows(after, by_time=query["type"] == "2"),
            "funding-rate-history": lambda: self._funding_rows(after),
        }
        found = list(islice(lists[name](), most))
        return httpx2.Response(200, content=json.dumps({"code": "0", "msg": "", "data": found}))

    def bar(self, open_ms: int, *, is_closed: bool = True) -> list[str]:
        """Return the row of a bar; its prices tell which one it is."""
        number = (open_ms - self.first_ms) // MINUTE_MS + 1
        if open_ms in self.malformed:
            return [str(open_ms), "NaN", "1", "1", "1", "1", "1", "1", "1"]
        return [str(open_ms), *(str(number),) * 4, "1.5", "0", "0", "1" if is_closed else "0"]

    def opens(self, now_ms: int) -> range:
        return range(self.first_ms, now_ms + 1, MINUTE_MS)

    def _bars(self, now_ms: int, after: int | None, *, is_recent: bool) -> Iterator[list[str]]:
        for place, open_ms in enumerate(reversed(self.opens(now_ms))):
            if is_recent and place >= HORIZON:
                return
            is_closed = open_ms + MINUTE_MS <= now_ms
            if (is_recent or is_closed) and open_ms not in self.missing and (after is None or open_ms < after):
                yield self.bar(open_ms, is_closed=is_closed)

    def _trade_rows(self, after: int | None, *, by_time: bool) -> Iterator[dict[str, str]]:
        for trade_id, at_ms in reversed(self.trades):
            if after is None or (at_ms if by_time else trade_id) < after:
                yield {
                    "instId": ID,
                    "tradeId": str(trade_id),
                    "px": str(trade_id),
                    "sz": "2",
                    "side": "sell",
                    "ts": str(at_ms),
                }

    def _funding_rows(self, after: int | None) -> Iterator[dict[str, str]]:
        for at_ms in reversed(self.settlements):
            if after is None or at_ms < after:
                yield {
                    "instId": ID,
                    "fundingTime": str(at_ms),
                    "fundingRate": "0.5",
                    "realizedRate": f"-0.000{at_ms % 9 + 1}",
                }


def run(model: Model, use: Callable[[OkxRest], Coroutine[Any, Any, Any]], *, start_ms: int = EPOCH_MS) -> Any:
    """Return what `use` returns with a client of the model, from a moment of virtual time on."""

    async def main() -> Any:
        await asyncio.sleep((start_ms - EPOCH_MS) / 1000)
        config = OkxConfig(url="http://127.0.0.1:1")
        rng = np.random.default_rng(1)
        async with OkxRest(config, transport=model, now_ns=virtual_loop().wall_ns, rng=rng) as rest:
            return await use(rest)

    return simulate(main())


def closed_bars(model: Model, now_ms: int, start_ns: int | None = None, end_ns: int | None = None) -> list[Candle]:
    """Return, the slow way, the bars that had closed at `now_ms` within the bounds."""
    found = []
    for open_ms in model.opens(now_ms):
        open_ns, close_ns = open_ms * NS_PER_MS, (open_ms + MINUTE_MS) * NS_PER_MS
        price = float((open_ms - model.first_ms) // MINUTE_MS + 1)
        if (
            open_ms + MINUTE_MS <= now_ms
            and open_ms not in model.missing | model.malformed
            and (start_ns is None or open_ns >= start_ns)
            and (end_ns is None or close_ns <= end_ns)
        ):
            found.append(Candle(ID, close_ns, close_ns, open_ns, close_ns, price, price, price, price, 1.5, "1m"))
    return found


# Candles ----------------------------------------------------------------------------------------------------------


class Market(NamedTuple):
    """How many minutes of bars there are, which of them are missing or malformed, and the server's ways."""

    minutes: int
    missing: frozenset[int]
    malformed: frozenset[int]
    limits: dict[str, int]
    latency_s: float
    thin: int

    def model(self) -> Model:
        def bars(minutes: frozenset[int]) -> frozenset[int]:
            return frozenset(EPOCH_MS + minute * MINUTE_MS for minute in minutes)

        return Model(
            missing=bars(self.missing),
            malformed=bars(self.malformed),
            limits=self.limits,
            latency_s=self.latency_s,
            thin=self.thin,
        )


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """A market that may reach beyond the 1440 newest bars, by little or by much."""
    minutes = draw(st.one_of(st.integers(0, 30), st.integers(HORIZON - 3, HORIZON + 3), st.integers(1700, 2300)))
    some = st.frozensets(st.integers(0, max(minutes, 1)), max_size=6)
    missing = set(draw(some))
    if draw(st.booleans()):
        first = draw(st.integers(0, max(minutes, 1)))
        missing |= set(range(first, first + draw(st.integers(1, 700))))
    limits = {name: draw(st.sampled_from((1000, 300, 100))) for name in ("candles", "history-candles")}
    latency_s = draw(st.sampled_from((0.0, 0.4, 15.0)))
    return Market(minutes, frozenset(missing), draw(some), limits, latency_s, draw(st.sampled_from((0, 0, 40))))


@given(
    market=markets(),
    offset_ms=st.integers(0, MINUTE_MS - 1),
    count=st.one_of(st.none(), st.integers(1, 20), st.integers(250, 1900)),
    start_minute=st.one_of(st.none(), st.integers(-5, 2300)),
    end_minute=st.one_of(st.none(), st.integers(-5, 2400)),
    shift_ns=st.sampled_from((0, 0, 1, -1, 30 * NS_PER_S)),
)
@settings(max_examples=150, deadline=None)
def test_candles_are_what_the_exchange_holds(
    market: Market,
    offset_ms: int,
    count: int | None,
    start_minute: int | None,
    end_minute: int | None,
    shift_ns: int,
) -> None:
    """Across the seam of recent bars and history, with short pages, holes, nonsense and time passing meanwhile."""
    start_ns = None if start_minute is None else EPOCH_NS + start_minute * NS_PER_MIN + shift_ns
    end_ns = None if end_minute is None else EPOCH_NS + end_minute * NS_PER_MIN - shift_ns
    assume(start_ns is None or end_ns is None or start_ns < end_ns)
    model = market.model()
    found = run(
        model,
        lambda rest: rest.candles(ID, "1m", count=count, start_ns=start_ns, end_ns=end_ns),
        start_ms=EPOCH_MS + market.minutes * MINUTE_MS + offset_ms,
    )
    expected = closed_bars(model, model.asked[0][2], start_ns, end_ns)
    most = 100 if count is None and start_ns is None else count
    assert found == (expected if most is None else expected[-most:])


@given(market=markets(), first=st.integers(0, 2300), length=st.integers(0, 900))
@settings(max_examples=80, deadline=None)
def test_candle_rows_are_the_texts_between_two_bars(market: Market, first: int, length: int) -> None:
    model = market.model()
    first_ms, last_ms = EPOCH_MS + first * MINUTE_MS, EPOCH_MS + (first + length) * MINUTE_MS
    rows = run(
        model,
        lambda rest: rest.candle_rows(channels.candles(ID, "1m"), first_ms * NS_PER_MS, last_ms * NS_PER_MS),
        start_ms=EPOCH_MS + market.minutes * MINUTE_MS,
    )
    now_ms = model.asked[0][2]
    expected = [
        model.bar(open_ms, is_closed=open_ms + MINUTE_MS <= now_ms)
        for open_ms in reversed(model.opens(now_ms))
        if first_ms <= open_ms <= last_ms and open_ms not in model.missing
    ]
    assert rows == expected


@pytest.mark.parametrize("bars", range(296, 306))
def test_a_start_beside_the_end_of_a_page_is_reached_and_not_passed(bars: int) -> None:
    """The first page holds the open bar and 299 closed ones."""
    now_ms = EPOCH_MS + 2000 * MINUTE_MS
    model = Model()
    start_ns = (now_ms - bars * MINUTE_MS) * NS_PER_MS
    found = run(model, lambda rest: rest.candles(ID, "1m", start_ns=start_ns), start_ms=now_ms)
    assert found == closed_bars(model, now_ms)[-bars:]
    assert len(model.asked) == (1 if bars <= 299 else 2)


def test_the_seam_costs_one_request_and_old_bars_none_of_the_recent_ones() -> None:
    now_ms = EPOCH_MS + 3000 * MINUTE_MS
    model = Model()
    found = run(model, lambda rest: rest.candles(ID, "1m", count=1600), start_ms=now_ms)
    assert len(found) == 1600
    assert [name for name, _, _ in model.asked] == ["candles"] * 6 + ["history-candles"]
    model = Model()
    old_ns = EPOCH_NS + 900 * NS_PER_MIN
    found = run(model, lambda rest: rest.candles(ID, "1m", count=300, end_ns=old_ns), start_ms=now_ms)
    assert len(found) == 300
    assert found[-1].close_ns == old_ns
    assert [name for name, _, _ in model.asked] == ["history-candles"]


def test_no_more_rows_are_asked_for_than_wanted() -> None:
    model = Model()
    run(model, lambda rest: rest.candles(ID, "1m", count=20), start_ms=EPOCH_MS + 100 * MINUTE_MS)
    assert [query["limit"] for _, query, _ in model.asked] == ["21"]


def test_pages_come_newest_first_and_may_be_left_early() -> None:
    model = Model()

    async def two_pages(rest: OkxRest) -> list[list[Candle]]:
        found = []
        async with aclosing(rest.candle_pages(ID, "1m")) as pages:
            async for page in pages:
                found.append(page)
                if len(found) == 2:
                    break
        return found

    newer, older = run(model, two_pages, start_ms=EPOCH_MS + 1000 * MINUTE_MS)
    assert older + newer == closed_bars(model, EPOCH_MS + 1000 * MINUTE_MS)[-599:]
    assert len(model.asked) == 2


def test_one_second_bars_come_from_the_history_alone() -> None:
    model = Model(first_ms=EPOCH_MS)
    found = run(
        model, lambda rest: rest.candles(ID, "1s", count=3, end_ns=EPOCH_NS + 5 * NS_PER_MIN), start_ms=EPOCH_MS + 10**6
    )
    assert {name for name, _, _ in model.asked} == {"history-candles"}
    assert model.asked[0][1]["bar"] == "1s"
    assert [bar.close_ns - bar.open_ns for bar in found] == [NS_PER_S] * 3


@pytest.mark.parametrize(("interval", "bar"), [("1h", "1H"), ("6h", "6Hutc"), ("1d", "1Dutc"), ("1w", "1Wutc")])
def test_intervals_ask_for_bars_that_open_on_utc(interval: str, bar: str) -> None:
    model = Model()
    run(model, lambda rest: rest.candles(ID, interval, count=1))
    assert {query["bar"] for _, query, _ in model.asked} == {bar}


def test_malformed_bars_are_counted() -> None:
    model = Model(malformed=frozenset({EPOCH_MS + MINUTE_MS}))

    async def use(rest: OkxRest) -> int:
        assert len(await rest.candles(ID, "1m", count=10)) == 4
        return sum(rest.counters.values())

    assert run(model, use, start_ms=EPOCH_MS + 5 * MINUTE_MS) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda rest: rest.candles(ID, "7m"),
        lambda rest: rest.candles("binance:BTC-USDT", "1m"),
        lambda rest: rest.candles("../BTC", "1m"),
        lambda rest: rest.candles(ID, "1m", count=0),
        lambda rest: rest.candles(ID, "1m", start_ns=5, end_ns=5),
        lambda rest: rest.candle_rows(channels.trades(ID), 1, 2),
        lambda rest: rest.candle_rows(Channel("candle6H", ID), 1, 2),
        lambda rest: rest.trades(ID, 0),
        lambda rest: rest.funding_history(ID, count=0),
        lambda rest: rest.book(ID, 0),
        lambda rest: rest.book(ID, 401),
        lambda rest: rest.tickers("option"),
        lambda rest: rest.instruments("perp"),
    ],
)
def test_nonsense_is_refused_before_anything_is_sent(use: Callable[[OkxRest], Coroutine[Any, Any, Any]]) -> None:
    model = Model()
    with pytest.raises(ConfigError):
        run(model, use)
    assert model.asked == []


# Trades -----------------------------------------------------------------------------------------------------------


@st.composite
def prints(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Trades with rising ids, many of them in one millisecond, some ids left out, more than a page of them."""
    gaps = draw(st.lists(st.integers(1, 3), max_size=350))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pauses = rng.choice([0, 0, 0, 1, 50], len(gaps))
    ids = np.cumsum([1000, *gaps])[1:]
    times = EPOCH_MS + np.cumsum(pauses)
    return [(int(trade_id), int(at_ms)) for trade_id, at_ms in zip(ids, times, strict=True)]


def trade(trade_id: int, at_ms: int) -> Trade:
    return Trade(ID, at_ms * NS_PER_MS, at_ms * NS_PER_MS, float(trade_id), 2.0, Side.SELL, trade_id)


@given(trades=prints(), count=st.integers(1, 400), limit=st.sampled_from((500, 60)))
@settings(max_examples=80, deadline=None)
def test_the_newest_trades_go_on_in_the_history(trades: list[tuple[int, int]], count: int, limit: int) -> None:
    model = Model(trades=trades, limits={"trades": limit, "history-trades": 100})
    assert run(model, lambda rest: rest.trades(ID, count)) == [trade(*each) for each in trades[-count:]]


@given(
    trades=prints(),
    start_ms=st.one_of(st.none(), st.integers(-5, 4000)),
    end_ms=st.one_of(st.none(), st.integers(-5, 4000)),
    shift_ns=st.sampled_from((0, 1, -1)),
    thin=st.sampled_from((0, 60)),
)
@settings(max_examples=150, deadline=None)
def test_history_trades_lose_none_of_one_millisecond(
    trades: list[tuple[int, int]], start_ms: int | None, end_ms: int | None, shift_ns: int, thin: int
) -> None:
    start_ns = None if start_ms is None else EPOCH_NS + start_ms * NS_PER_MS + shift_ns
    end_ns = None if end_ms is None else EPOCH_NS + end_ms * NS_PER_MS + shift_ns
    model = Model(trades=trades, limits={"history-trades": 100}, thin=thin)

    async def use(rest: OkxRest) -> list[Trade]:
        return [each async for each in rest.history_trades(ID, start_ns=start_ns, end_ns=end_ns)]

    expected = [
        trade(trade_id, at_ms)
        for trade_id, at_ms in reversed(trades)
        if (start_ns is None or at_ms * NS_PER_MS >= start_ns) and (end_ns is None or at_ms * NS_PER_MS < end_ns)
    ]
    assert run(model, use) == expected


@pytest.mark.parametrize("start_ms", [0, 1, 2])
def test_pages_within_one_millisecond_do_not_end_the_search(start_ms: int) -> None:
    trades = [(number, EPOCH_MS + (number > 260)) for number in range(1, 300)]
    model = Model(trades=trades, limits={"history-trades": 100})

    async def use(rest: OkxRest) -> list[int]:
        return [each.trade_id async for each in rest.history_trades(ID, start_ns=EPOCH_NS + start_ms * NS_PER_MS)]

    assert run(model, use) == list(range(299, [0, 260, 299][start_ms], -1))


def test_times_that_do_not_rise_with_the_ids_are_judged_one_by_one() -> None:
    """Matches of one moment may be stamped a little out of order."""
    times = [1, 5, 3, 9, 4, 6, 12, 8]
    trades = [(number, EPOCH_MS + at_ms) for number, at_ms in enumerate(times, 1)]
    model = Model(trades=trades, limits={"history-trades": 2})

    async def use(rest: OkxRest) -> list[int]:
        found = rest.history_trades(ID, start_ns=EPOCH_NS + 4 * NS_PER_MS, end_ns=EPOCH_NS + 9 * NS_PER_MS)
        return [each.trade_id async for each in found]

    assert run(model, use) == [8, 6, 5, 2]


def test_trades_of_the_past_are_not_read_further_than_the_start() -> None:
    trades = [(number, EPOCH_MS + number) for number in range(1, 2000)]
    model = Model(trades=trades)

    async def use(rest: OkxRest) -> int:
        return len([each async for each in rest.history_trades(ID, start_ns=EPOCH_NS + 1850 * NS_PER_MS)])

    assert run(model, use) == 150
    assert len(model.asked) == 3


# Funding ----------------------------------------------------------------------------------------------------------


@given(
    hours=st.lists(st.sampled_from((1, 4, 8)), max_size=300),
    count=st.one_of(st.none(), st.integers(1, 250)),
    start_hour=st.one_of(st.none(), st.integers(-1, 1500)),
    end_hour=st.one_of(st.none(), st.integers(-1, 1500)),
    limit=st.sampled_from((400, 100, 7)),
)
@settings(max_examples=50, deadline=None)
def test_funding_is_what_was_charged(
    hours: list[int], count: int | None, start_hour: int | None, end_hour: int | None, limit: int
) -> None:
    settlements = [EPOCH_MS + int(hour) * 60 * MINUTE_MS for hour in np.cumsum(hours)] if hours else []
    model = Model(settlements=settlements, limits={"funding-rate-history": limit})
    hour_ns = interval_ns("1h")
    start_ns = None if start_hour is None else EPOCH_NS + start_hour * hour_ns
    end_ns = None if end_hour is None else EPOCH_NS + end_hour * hour_ns
    expected = [
        Funding(ID, at_ns, at_ns, float(f"-0.000{at_ns // NS_PER_MS % 9 + 1}"), at_ns, is_settled=True)
        for at_ns in (at_ms * NS_PER_MS for at_ms in settlements)
        if (start_ns is None or at_ns >= start_ns) and (end_ns is None or at_ns <= end_ns)
    ]
    found = run(model, lambda rest: rest.funding_history(ID, count=count, start_ns=start_ns, end_ns=end_ns))
    assert found == (expected if count is None else expected[-count:])


# Pages by themselves ----------------------------------------------------------------------------------------------


def cursor_of(row: msgspec.Raw) -> int | None:
    text = bytes(row)
    return int(text) if text.isdigit() else None


def paged(pages: list[list[str]], older_than: int | None = None) -> tuple[list[list[int]], list[int | None]]:
    """Return the places of what comes out of given pages, and which cursors were asked for."""
    asked: list[int | None] = []

    async def main() -> list[list[int]]:
        async def fetch(cursor: int | None) -> list[msgspec.Raw]:
            asked.append(cursor)
            return [msgspec.Raw(text.encode()) for text in (pages.pop(0) if pages else [])]

        found = newest_first(fetch, cursor_of, older_than=older_than, where="the list")
        return [[paged.cursor for paged in page] async for page in found]

    return asyncio.run(main()), asked


def test_rows_in_any_order_and_repeated_ones_come_once_newest_first() -> None:
    assert paged([["7", "9", "9", "8"], ["6", "7", "3"], ["x", "1"]]) == ([[9, 8, 7], [6, 3], [1]], [None, 7, 3, 1])


def test_a_server_that_includes_the_place_it_was_given_still_ends() -> None:
    assert paged([["9", "8"], ["8", "7"], ["7"], ["6"]]) == ([[9, 8], [7]], [None, 8, 7])


@pytest.mark.parametrize(
    ("pages", "older_than", "message"),
    [
        ([["9", "8"], ["9", "8"]], None, "older than 8"),
        ([["x", "y"]], None, "none of 2 rows"),
        ([["12"]], 10, "older than 10"),
    ],
)
def test_pages_that_lead_nowhere_are_an_error_not_an_end(
    pages: list[list[str]], older_than: int | None, message: str
) -> None:
    with pytest.raises(ParseError, match=f"the list: .*{message}"):
        paged(pages, older_than)
