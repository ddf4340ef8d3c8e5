"""The same quotes over the same rows in hftbacktest, with partial fills: the same orders, and fills to the lot.

hftbacktest is somebody else's engine for the same question. Where its rules are others than ours, they are brought in
line by name, `Rule`, and then everything is equal. With one of them left as it is, the orders that differ are counted.

Two faults of hftbacktest 2.4.4 are kept out of the way:

- An order whose rest a trade fills exactly stays in its book, and the next trade there ends the run with an error
  (14, an invalid status). So sizes here have a part of a size step that no fill there has.
- A change sent before the news of a partial fill has come gives the order its old size back. No order here meets that;
  the strategy says so if one does.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pytest

import quantkit as qk
from quantkit import queue_models
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.events import BookUpdate, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.orders import AMEND_REFUSED, OrderState
from quantkit.queue_models import Probability, Queued
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

hft = pytest.importorskip("hftbacktest", reason="hftbacktest is not installed: pip install 'quantkit[peers]'")
numba = pytest.importorskip("numba", reason="numba is not installed: pip install 'quantkit[peers]'")
types = pytest.importorskip("hftbacktest.types", reason="hftbacktest is not installed: pip install 'quantkit[peers]'")

# It is not ours to mend: what newer versions of numba and numpy deprecate.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
BTC: Final = "binance:BTC-USDT-SWAP"
#: The size steps in both engines, finer than those of the market, and ours ten times as fine: see the faults above.
STEPS_PER_LOT: Final = 10
STEP: Final = 0.00001
SWAP: Final = qk.Instrument(BTC, kind="swap", price_step="0.1", qty_step="0.00001", contract_value="1")
START_NS: Final = 1_723_161_260 * NS_PER_S  # 2024-08-08T23:54:20Z
END_NS: Final = 1_723_161_600 * NS_PER_S  # midnight
#: Rows in time are received this long after their stamp at the latest: sooner than any answer, and never at a timer.
IN_TIME_NS: Final = 3_500_000
#: What a log of hftbacktest's run has room for.
ROOM: Final = 10_000

Row = BookUpdate | Trade


class Rule(StrEnum):
    """A rule of one engine that the other has not."""

    #: Our exchange works through rows as they are received, hftbacktest's by their stamps.
    ROW_ORDER = "rows are given in the order of their stamps"
    #: Nobody hears of a fill before the row that filled: a feed slower than the answers holds them up. In hftbacktest
    #: an answer may come before the row that it follows from has been received, and tells of it.
    IN_TIME = "rows are received before answers to them"
    #: Of one stamp a message comes before rows here, and after them there: there it arrives a nanosecond sooner.
    EQUAL_STAMPS = "messages come before rows of the same stamp"
    #: A change that would make a post-only order take is refused here, and ends the order there.
    AMENDED_TO_TAKE = "a change that would take ends a post-only order"
    #: A trade beyond a price fills whoever its aggressor was, unless `own_side_prints` says otherwise; there not.
    OWN_SIDE_PRINTS = "a trade of our own side beyond our price does not fill"


class Quoting(NamedTuple):
    """A variant of the strategy."""

    every_ms: int
    latency_ms: int
    half_spread_bps: float
    qty: float
    amends: bool

    @property
    def name(self) -> str:
        how = "amended" if self.amends else "sent anew"
        return f"{self.half_spread_bps} bps, {self.qty} every {self.every_ms} ms after {self.latency_ms} ms, {how}"


class Sent(NamedTuple):
    """A message: an order, or a change or a cancel of one."""

    at_ns: int
    side: int
    price_ticks: int
    is_new: bool


#: Of an order, known by its time and its side, the fills: millisecond, price in ticks, size steps. Those of one
#: millisecond and price are one.
Fills = dict[tuple[int, int], list[tuple[int, int, int]]]


class Run(NamedTuple):
    """What a strategy sent, and what filled."""

    sent: list[Sent]
    fills: Fills


def half_spread(mid: float, bps: float) -> tuple[float, float]:
    """Return bid and ask around a mid, on the steps of 0.1; compiled for hftbacktest, plain for us."""
    away = mid * bps * 1e-4
    return math.floor((mid - away) / 0.1 + 1e-9) * 0.1, math.ceil((mid + away) / 0.1 - 1e-9) * 0.1


# hftbacktest ----------------------------------------------------------------------------------------------------------


@cache
def compiled() -> Callable[..., tuple[int, int, int]]:
    """Return the strategy as hftbacktest runs it; it writes its messages and its fills into two arrays."""
    priced, gtx, limit = numba.njit(half_spread), hft.GTX, hft.LIMIT
    expired, filled, cancelled = hft.EXPIRED, hft.FILLED, hft.CANCELED
    begin_ns, end_ns, step, per_ms = START_NS, END_NS, STEP, NS_PER_MS

    @numba.njit
    def run(hbt, every_ns, bps, qty, amends, sent, fills):  # type: ignore[no-untyped-def]
        messages = filled_times = numbers = 0
        number, sent_ms, left = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2)
        hbt.elapse(1)
        hbt.elapse(begin_ns - hbt.current_timestamp)
        timer_ns = begin_ns
        while timer_ns < end_ns:
            timer_ns += every_ns
            while hbt.current_timestamp < timer_ns:
                code = hbt.wait_next_feed(True, timer_ns - hbt.current_timestamp)
                if code not in (0, 2, 3):
                    return messages, filled_times, code
                for which in range(2):
                    if number[which] == 0:
                        continue
                    order = hbt.orders(0).get(number[which])
                    if abs(order.leaves_qty - left[which]) > step / 2:
                        fills[filled_times, 0] = sent_ms[which]
                        fills[filled_times, 1] = 1 - 2 * which
                        fills[filled_times, 2] = order.exch_timestamp // per_ms
                        fills[filled_times, 3] = order.exec_price_tick
                        fills[filled_times, 4] = round((left[which] - order.leaves_qty) / step)
                        filled_times += 1
                        left[which] = order.leaves_qty
            depth = hbt.depth(0)
            prices = priced((depth.best_bid + depth.best_ask) / 2, bps)
            for which in range(2):
                price = prices[which]
                order = hbt.orders(0).get(number[which]) if number[which] else None
                is_new = order is None or order.status in (expired, filled, cancelled)
                if not is_new and not (order.cancellable and abs(order.price - price) > 0.05):
                    continue
                sent[messages, 0] = hbt.current_timestamp
                sent[messages, 1] = 1 - 2 * which
                sent[messages, 2] = round(price * 10)
                sent[messages, 3] = is_new
                messages += 1
                if is_new:
                    numbers += 1
                    number[which], left[which], sent_ms[which] = numbers, qty, hbt.current_timestamp // per_ms
                    if which == 0:
                        hbt.submit_buy_order(0, numbers, price, qty, gtx, limit, False)
                    else:
                        hbt.submit_sell_order(0, numbers, price, qty, gtx, limit, False)
                elif amends:
                    hbt.modify(0, number[which], price, qty, False)
                else:
                    hbt.cancel(0, number[which], False)
        return messages, filled_times, 0

    return run  # type: ignore[no-any-return]


def as_events(rows: Sequence[Row], flag: int) -> Any:
    """Return rows as hftbacktest's events, for the exchange or for us.

    A level that is named again with its size is left out: here that is no change of it, there it is one, by which the
    trades since the last one are forgotten.
    """
    found: list[tuple[int, int, int, float, float]] = []
    shown: dict[tuple[int, float], float] = {}
    for row in rows:
        stamps = row.exchange_ns, row.received_ns
        if isinstance(row, Trade):
            side = hft.BUY_EVENT if row.side is qk.Side.BUY else hft.SELL_EVENT
            found.append((hft.TRADE_EVENT | side | flag, *stamps, row.price, row.qty))
            continue
        if row.is_snapshot:
            found.append((hft.DEPTH_CLEAR_EVENT | flag, *stamps, math.nan, math.nan))
        kind = (hft.DEPTH_SNAPSHOT_EVENT if row.is_snapshot else hft.DEPTH_EVENT) | flag
        for side, prices, sizes in (
            (hft.BUY_EVENT, row.bid_prices, row.bid_qtys),
            (hft.SELL_EVENT, row.ask_prices, row.ask_qtys),
        ):
            for price, size in zip(prices, sizes, strict=True):
                if shown.get((side, price)) != size:
                    shown[side, price] = size
                    found.append((kind | side, *stamps, price, size))
    events = np.zeros(len(found), types.event_dtype)
    for name, column in zip(("ev", "exch_ts", "local_ts", "px", "qty"), zip(*found, strict=True), strict=True):
        events[name] = column
    return events


def theirs(events: Any, quoting: Quoting, aligned: frozenset[Rule], *, queue: Callable[[Any], Any]) -> Run:
    """Run hftbacktest."""
    early_ns = 1 if Rule.EQUAL_STAMPS in aligned else 0
    latency_ns = quoting.latency_ms * NS_PER_MS
    asset = (
        queue(hft.BacktestAsset().data([events]).linear_asset(1.0))
        .constant_order_latency(latency_ns - early_ns, latency_ns)
        .partial_fill_exchange()
        .trading_value_fee_model(0.0002, 0.0005)
        .tick_size(0.1)
        .lot_size(STEPS_PER_LOT * STEP)
    )
    sent, fills = np.zeros((ROOM, 4), np.int64), np.zeros((ROOM, 5), np.int64)
    every_ns = quoting.every_ms * NS_PER_MS
    backtest = hft.HashMapMarketDepthBacktest([asset])
    messages, filled_times, code = compiled()(
        backtest, every_ns, quoting.half_spread_bps, quoting.qty, quoting.amends, sent, fills
    )
    backtest.close()
    assert code == 0
    assert (fills[:filled_times, 4] > 0).all(), "an order got its old size back"
    found: Fills = defaultdict(list)
    for order_ms, side, at_ms, ticks, steps in fills[:filled_times].tolist():
        found[order_ms, side].append((at_ms, ticks, steps))
    return Run([Sent(*row[:3], bool(row[3])) for row in sent[:messages].tolist()], counted(found))


# quantkit -------------------------------------------------------------------------------------------------------------


class Maker(qk.Strategy):
    """The same strategy here."""

    every_ms: int
    half_spread_bps: float
    qty: float
    amends: bool

    def on_start(self) -> None:
        self.subscribe_book(BTC)
        self.subscribe_trades(BTC)
        self.every(f"{self.every_ms}ms")
        self.quotes: list[qk.Order | None] = [None, None]
        self.messages: list[Sent] = []
        self.sent_ms: dict[str, tuple[int, int]] = {}

    def on_timer(self, name: str) -> None:
        if not START_NS < self.now <= END_NS:
            return
        book = self.book(BTC)
        assert book is not None
        assert book.mid is not None
        for which, price in enumerate(half_spread(book.mid, self.half_spread_bps)):
            order, side, ticks = self.quotes[which], 1 - 2 * which, round(price * 10)
            if order is None or order.state.is_final:
                send = self.buy if side > 0 else self.sell
                order = self.quotes[which] = send(BTC, self.qty, price=ticks / 10, post_only=True)
                self.sent_ms[order.id] = self.now // NS_PER_MS, side
                self.messages.append(Sent(self.now, side, ticks, True))
            elif order.price is not None and round(order.price * 10) != ticks:
                self.messages.append(Sent(self.now, side, ticks, False))
                if self.amends:
                    self.amend(order, price=ticks / 10)
                else:
                    self.cancel(order)


def ours(feed: MemoryFeed, quoting: Quoting, aligned: frozenset[Rule], *, queue_model: str) -> Run:
    """Run quantkit."""
    maker = Maker(
        every_ms=quoting.every_ms,
        half_spread_bps=quoting.half_spread_bps,
        qty=quoting.qty,
        amends=quoting.amends,
    )
    result = qk.backtest(
        maker,
        data=feed,
        cash={"USDT": 10_000_000},
        latency_ms=quoting.latency_ms,
        max_leverage=1_000,
        queue_model=queue_model,
        own_side_prints=Rule.OWN_SIDE_PRINTS not in aligned,
    )
    found: Fills = defaultdict(list)
    for fill in result.outcome.fills:
        found[maker.sent_ms[fill.order_id]].append(
            (fill.filled_ns // NS_PER_MS, round(float(fill.price) * 10), round(float(fill.qty) / STEP))
        )
        assert fill.role == "maker"
    return Run(maker.messages, counted(found))


def counted(fills: Fills) -> Fills:
    """Return fills with those of one millisecond and price as one, up to the last second of the strategy."""
    found: Fills = {}
    for order, several in fills.items():
        sums: dict[tuple[int, int], int] = defaultdict(int)
        for at_ms, ticks, steps in several:
            if at_ms < END_NS // NS_PER_MS - 1_000:
                sums[at_ms, ticks] += steps
        if sums:
            found[order] = [(*when, steps) for when, steps in sums.items()]
    return found


# Both -----------------------------------------------------------------------------------------------------------------

EVERY_RULE: Final = frozenset(Rule)


@cache
def recorded() -> list[Row]:
    """Return the capture's books and trades."""
    catalog = Catalog(ROOT / "data")
    coverage = catalog.coverage()
    streams = [stream for stream in coverage if stream.instrument == BTC and stream.kind in ("book", "trade")]
    first_ns = min(coverage[stream].start_ns for stream in streams)
    last_ns = max(coverage[stream].end_ns for stream in streams)
    rows = [row for row in read_events(catalog, streams, first_ns, last_ns) if isinstance(row, Row)]
    assert len(rows) == 27_861
    return rows


@cache
def market(aligned: frozenset[Rule]) -> tuple[MemoryFeed, Any]:
    """Return the rows for both engines, with receipts as the rules ask for: one after the other."""
    rows = recorded()
    if Rule.ROW_ORDER in aligned:
        rows = sorted(rows, key=lambda row: row.exchange_ns)
    received, last_ns = [], 0
    for row in rows:
        in_time_ns = row.exchange_ns + IN_TIME_NS if Rule.IN_TIME in aligned else row.received_ns
        last_ns = max(last_ns + 1, min(row.received_ns, in_time_ns))
        received.append(msgspec.structs.replace(row, received_ns=last_ns))
    by_stamp = sorted(received, key=lambda row: row.exchange_ns)
    events = np.concatenate([as_events(by_stamp, hft.EXCH_EVENT), as_events(received, hft.LOCAL_EVENT)])
    return MemoryFeed(received, [SWAP]), events


def end_amended_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a post-only order end whose change is refused because it would take."""
    report = Executions.report

    def end_or_report(
        self: Executions, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int, fill: qk.Fill | None = None
    ) -> None:
        if reason == f"{AMEND_REFUSED}: post_only_would_take":
            self.cancel(order, "post_only_would_take", at_ns)
        else:
            report(self, order, state, reason, at_ns, fill)

    monkeypatch.setattr(Executions, "report", end_or_report)


class Unrounded(Probability):
    """A model of ours with the two rules of hftbacktest: no place is rounded up, and prints still count behind us.

    A place may be a fraction of a size step; fills are whole ones of hftbacktest's.
    """

    def see(self, place: Queued, shown: int, stamp_ns: int) -> None:
        before, ahead = place.shown, place.ahead
        if shown == before or before is None or ahead is None:
            return
        cancelled = before - place.printed - shown
        if cancelled >= 0 and ahead:
            behind = before - ahead
            try:
                from_behind = self._part_behind(ahead, behind) * cancelled
                ahead = ahead - (cancelled - from_behind) + min(behind - from_behind, 0)
            except ValueError:  # the logarithm of a place below 0 is no number there, and less than every other
                ahead = shown
        place.ahead, place.shown, place.printed = min(ahead, shown), shown, 0

    def take_print(self, place: Queued, lots: int, stamp_ns: int) -> int:
        assert place.ahead is not None
        place.ahead -= lots
        place.printed += lots
        ours = STEPS_PER_LOT * max(0, math.floor(0.5 - place.ahead / STEPS_PER_LOT))
        if ours:
            place.ahead = 0
        return lots - ours


def in_coins(part_behind: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """Return a function of sizes in coins: hftbacktest counts in them, we in size steps, and a logarithm minds."""
    return lambda front, behind: part_behind(front * STEP, behind * STEP)


def both(
    monkeypatch: pytest.MonkeyPatch,
    quoting: Quoting,
    aligned: frozenset[Rule] = EVERY_RULE,
    *,
    queue: Callable[[Any], Any] = lambda asset: asset.risk_adverse_queue_model(),
    queue_model: str = "risk_averse",
) -> tuple[Run, Run]:
    """Run both engines and return hftbacktest's run and ours."""
    if Rule.AMENDED_TO_TAKE in aligned:
        end_amended_to_take(monkeypatch)
    feed, events = market(aligned & {Rule.ROW_ORDER, Rule.IN_TIME})
    return theirs(events, quoting, aligned, queue=queue), ours(feed, quoting, aligned, queue_model=queue_model)


def differing(one: Run, other: Run) -> list[tuple[int, int]]:
    """Return the orders whose fills differ."""
    return sorted(
        order for order in one.fills.keys() | other.fills.keys() if one.fills.get(order) != other.fills.get(order)
    )


#: By variant how many orders fill, and in how many parts.
QUOTINGS: Final = {
    Quoting(250, 20, 0.0, 0.01056, amends=True): (353, 378),
    Quoting(250, 20, 0.0, 0.50056, amends=False): (308, 584),
    Quoting(250, 20, 1.0, 0.01056, amends=True): (84, 86),
    Quoting(250, 20, 1.0, 0.50056, amends=False): (68, 75),
    Quoting(100, 20, 0.0, 0.50056, amends=True): (401, 787),
    Quoting(100, 20, 0.3, 0.01056, amends=False): (231, 231),
    Quoting(100, 5, 0.0, 0.50056, amends=True): (465, 895),
    Quoting(100, 5, 0.0, 0.01056, amends=False): (501, 529),
    Quoting(250, 100, 0.0, 0.50056, amends=True): (245, 490),
    Quoting(250, 100, 0.3, 0.01056, amends=False): (167, 167),
}


@pytest.mark.parametrize("quoting", QUOTINGS, ids=[quoting.name for quoting in QUOTINGS])
def test_every_order_is_sent_and_filled_the_same(quoting: Quoting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Millisecond, side, price and size of each fill, and each message that the strategy sends."""
    one, other = both(monkeypatch, quoting)
    assert one.sent == other.sent
    assert one.fills == other.fills
    assert (len(other.fills), sum(len(fills) for fills in other.fills.values())) == QUOTINGS[quoting]


#: By model its name there, its exponent, and how many orders fill.
MODELS: Final[dict[str, tuple[str, tuple[float, ...], int]]] = {
    "proportional": ("power_prob_queue_model", (1.0,), 388),
    "power:2": ("power_prob_queue_model", (2.0,), 379),
    "power2:3": ("power_prob_queue_model2", (3.0,), 436),
    "power3:3": ("power_prob_queue_model3", (3.0,), 359),
    "log": ("log_prob_queue_model", (), 397),
    "log2": ("log_prob_queue_model2", (), 368),
}


@pytest.mark.parametrize("model", MODELS)
def test_its_queue_models_have_the_functions_of_ours(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rules of its places, the functions are the same ones, and so is every fill."""
    theirs_by_name, exponent, filled = MODELS[model]
    own = queue_models.queue_model(model)
    assert isinstance(own, Probability)
    part_behind = in_coins(own._part_behind)
    monkeypatch.setitem(queue_models._PLAIN, "theirs", lambda: Unrounded(part_behind))
    quoting = Quoting(250, 20, 0.0, 0.01056, amends=True)
    one, other = both(
        monkeypatch,
        quoting,
        queue=lambda asset: getattr(asset, theirs_by_name)(*exponent),
        queue_model="theirs",
    )
    assert one == other
    assert len(other.fills) == filled


#: By rules left as they are how many orders differ, of 467 at most.
UNALIGNED: Final = {
    (Rule.ROW_ORDER,): 11,
    (Rule.IN_TIME,): 18,
    (Rule.EQUAL_STAMPS,): 20,
    (Rule.AMENDED_TO_TAKE,): 6,
    (Rule.OWN_SIDE_PRINTS,): 25,
    tuple(Rule): 72,
}


@pytest.mark.parametrize("left", UNALIGNED, ids=[", ".join(rule.name for rule in left) for left in UNALIGNED])
def test_each_rule_is_needed(left: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """So many orders differ where one rule, or all of them, are left as they are in each engine."""
    one, other = both(monkeypatch, Quoting(100, 5, 0.0, 0.50056, amends=True), EVERY_RULE - set(left))
    assert len(differing(one, other)) == UNALIGNED[left]
