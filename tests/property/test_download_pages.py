"""Pages of history against a list kept apart from them: whatever a page holds, no row is lost and none comes twice."""

import asyncio
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

import httpx2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.virtual import EPOCH_NS, simulate, virtual_loop

from quantkit.clock import NS_PER_MIN, NS_PER_MS
from quantkit.collect.kinds import kinds_of
from quantkit.collect.past import HistoryPart, found_in, pages_of
from quantkit.events import Candle, Funding, Mark, MarketEvent, Trade
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.rest.rest import OkxRest

ID = "BTC-USDT-SWAP"
EPOCH_MS = EPOCH_NS // NS_PER_MS
MINUTE_MS = 60_000
#: What the recent endpoints know, in bars.
HORIZON = 1440


class Lists(httpx2.AsyncBaseTransport):
    """Answers from plain lists, newest first, `after` excluded, never more rows than the next of `sizes`.

    Args:
        trades: Id and millisecond, by id.
        bars: Opening minutes, counted back from the start of the test, 1 for the newest that has closed.
        settlements: Milliseconds.
        sizes: Lengths of pages, over and over.
        grows: Whether another trade happens before each answer.
    """

    def __init__(
        self,
        trades: Sequence[tuple[int, int]] = (),
        bars: Sequence[int] = (),
        settlements: Sequence[int] = (),
        *,
        sizes: Sequence[int],
        grows: bool,
    ) -> None:
        self.trades = list(trades)
        self.opens = sorted({EPOCH_MS - back * MINUTE_MS for back in bars}, reverse=True)
        self.settlements = sorted(settlements, reverse=True)
        self._sizes, self._grows, self._asked = sizes, grows, 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.01)
        self._asked += 1
        if self._grows and self.trades:
            newest = self.trades[-1]
            self.trades.append((newest[0] + 1, max(newest[1], EPOCH_MS + self._asked)))
        name, query = request.url.path.rpartition("/")[2], dict(request.url.params)
        assert "before" not in query, "with it, OKX gives other rows on every endpoint"
        after = int(query.get("after", 2**62))
        most = min(int(query["limit"]), self._sizes[self._asked % len(self._sizes)])
        rows: list[Any]
        if name == "history-trades":
            place = 1 if query["type"] == "2" else 0
            older = [each for each in self.trades if each[place] < after]
            # By time OKX sorts by time; ids of one moment may lie the other way round.
            rows = [self._trade(*each) for each in sorted(older, key=lambda each: each[place], reverse=True)]
        elif name == "funding-rate-history":
            rows = [
                {"instId": ID, "fundingTime": str(at), "fundingRate": "0.1", "realizedRate": "0.0001"}
                for at in self.settlements
                if at < after
            ]
        else:
            recent = EPOCH_MS - (HORIZON - 1) * MINUTE_MS
            rows = [
                self._bar(at, is_short="mark" in name)
                for at in self.opens
                if at < after and ("history" in name or at >= recent)
            ]
        found = list(islice(rows, most))
        return httpx2.Response(200, content=json.dumps({"code": "0", "msg": "", "data": found}))

    def _trade(self, trade_id: int, at_ms: int) -> dict[str, str]:
        row = {"instId": ID, "px": "1", "sz": "1", "side": "buy"}
        return {**row, "tradeId": str(trade_id), "ts": str(at_ms)}

    def _bar(self, open_ms: int, *, is_short: bool) -> list[str]:
        prices = [str(open_ms), *("5",) * 4]
        return [*prices, "1"] if is_short else [*prices, "1", "0", "0", "1"]


def asked(server: Lists, kind: str, from_ms: int, to_ms: int) -> tuple[list[MarketEvent], list[tuple[int, int]]]:
    """Return the rows and the holes of a part of a list, in milliseconds since the start."""
    part = HistoryPart(kinds_of(kind)[0], ID, ((EPOCH_MS + from_ms) * NS_PER_MS, (EPOCH_MS + to_ms) * NS_PER_MS))

    async def main() -> Any:
        config, rng = OkxConfig(url="http://127.0.0.1:1"), np.random.default_rng(1)
        async with OkxRest(config, transport=server, now_ns=virtual_loop().wall_ns, rng=rng) as rest:
            return found_in(part, [page async for page in pages_of(rest, part)])

    found = simulate(main())
    return list(found.rows), [
        (begin // NS_PER_MS - EPOCH_MS, end // NS_PER_MS - EPOCH_MS) for begin, end in found.holes
    ]


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4)
#: Many trades of one millisecond, so that pages end among them.
prints = st.lists(st.tuples(st.integers(1, 3), st.sampled_from((0, 0, 0, 1, 5))), min_size=1, max_size=60)


@given(steps=prints, sizes=sizes, grows=st.booleans(), begin=st.integers(-5, 120), length=st.integers(1, 120))
@settings(max_examples=120, deadline=None)
def test_trades_are_those_of_the_list(
    steps: list[tuple[int, int]], sizes: list[int], grows: bool, begin: int, length: int
) -> None:
    ids = np.cumsum([step for step, _ in steps]).tolist()
    times = (EPOCH_MS - 200 + np.cumsum([pause for _, pause in steps])).tolist()
    trades = list(zip(ids, times, strict=True))
    server = Lists(trades, sizes=sizes, grows=grows)
    from_ms, to_ms = begin - 200, begin - 200 + length
    rows, holes = asked(server, "trades", from_ms, min(to_ms, 0))
    wanted = [each for each in trades if EPOCH_MS + from_ms <= each[1] < EPOCH_MS + min(to_ms, 0)]
    assert [(row.trade_id, row.exchange_ns // NS_PER_MS) for row in rows if isinstance(row, Trade)] == wanted
    is_early = trades[0][1] < EPOCH_MS + from_ms
    if wanted and is_early:
        assert holes == []
    elif wanted and wanted[0][1] > EPOCH_MS + from_ms:
        assert holes == [(from_ms, wanted[0][1] - EPOCH_MS)]


@given(
    swaps=st.sets(st.integers(0, 39), max_size=12),
    sizes=sizes,
    begin=st.integers(0, 60),
    length=st.integers(1, 60),
)
@settings(max_examples=80, deadline=None)
def test_trades_whose_times_and_ids_are_not_in_one_order_are_found(
    swaps: set[int], sizes: list[int], begin: int, length: int
) -> None:
    """Matches of nearly one moment: a neighbour's stamp stands with each of some ids."""
    times = [EPOCH_MS - 100 + number // 2 for number in range(41)]
    for place in swaps:
        times[place], times[place + 1] = times[place + 1], times[place]
    trades = list(enumerate(times, 1))
    rows, _ = asked(Lists(trades, sizes=sizes, grows=False), "trades", begin - 110, begin - 110 + length)
    wanted = {each for each in trades if begin - 110 <= each[1] - EPOCH_MS < begin - 110 + length}
    found = [(row.trade_id, row.exchange_ns // NS_PER_MS) for row in rows if isinstance(row, Trade)]
    assert (set(found), len(found)) == (wanted, len(wanted))


@given(
    gaps=st.sets(st.integers(1, 1500), max_size=8),
    sizes=st.lists(st.integers(60, 400), min_size=1, max_size=3),
    kind=st.sampled_from(("candles-1m", "marks-1m")),
    newest=st.integers(2, 60),
    length=st.integers(1, 1500),
)
@settings(max_examples=25, deadline=None)
def test_bars_are_those_of_the_list_on_both_sides_of_the_seam(
    gaps: set[int], sizes: list[int], kind: str, newest: int, length: int
) -> None:
    """The recent endpoint ends within the span, the pages of marks hold a third, and some bars are missing."""
    backs = [back for back in range(1, 1600) if back not in gaps]
    server = Lists(bars=backs, sizes=sizes, grows=False)
    oldest = newest + length
    rows, holes = asked(server, kind, -oldest * MINUTE_MS, -newest * MINUTE_MS)
    if kind == "candles-1m":
        stamps = [row.open_ns for row in rows if isinstance(row, Candle)]
    else:
        # A mark is received when its bar closes.
        stamps = [row.received_ns for row in rows if isinstance(row, Mark)]
        backs = [back - 1 for back in backs]
    wanted = [EPOCH_NS - back * NS_PER_MIN for back in sorted(backs, reverse=True) if newest < back <= oldest]
    assert stamps == wanted
    missing = [at for begin, end in holes for at in range(begin // MINUTE_MS, end // MINUTE_MS)]
    assert missing == [-back for back in range(oldest, newest, -1) if back not in backs]


@given(count=st.integers(0, 40), sizes=sizes, begin=st.integers(-45, 0), length=st.integers(1, 45))
@settings(max_examples=40, deadline=None)
def test_funding_is_that_of_the_list(count: int, sizes: list[int], begin: int, length: int) -> None:
    hours = 8 * 60 * MINUTE_MS
    settlements = [EPOCH_MS - number * hours for number in range(1, count + 1)]
    server = Lists(settlements=settlements, sizes=sizes, grows=False)
    to_ms = min(begin + length, 0) * hours
    if to_ms <= begin * hours:
        return
    rows, holes = asked(server, "funding", begin * hours, to_ms)
    wanted = [at for at in sorted(settlements) if begin * hours <= at - EPOCH_MS < to_ms]
    assert [row.funding_ns // NS_PER_MS for row in rows if isinstance(row, Funding)] == wanted
    assert all(end - begin > 24 * 60 * MINUTE_MS for begin, end in holes)
