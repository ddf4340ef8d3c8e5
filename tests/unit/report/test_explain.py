"""Explained orders: what is said of each kind on each kind of data, and when a run cannot be repeated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pandas as pd
import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.brokers.order_trace import OrderTrace
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.order_watch import OrderWatch
from quantkit.brokers.simulated.traded import TradeMarket
from quantkit.cli import main
from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.engine.outcome import OrderEvent
from quantkit.errors import ConfigError, DataError
from quantkit.events import BookUpdate, Candle, MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.latency import Latency
from quantkit.orders import Order, OrderState, OrderTerms, TriggerType
from quantkit.report.explain import Explanation, no_such_order
from quantkit.report.repeat import FromManifest, options_of, why_not
from quantkit.report.result import Result
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2025-05-05")
BTC = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
#: What a test has a strategy send: the number of the timer, the call, and its arguments.
Sends = list[tuple[int, str, dict[str, Any]]]


class Script(qk.Strategy):
    """Sends orders at the seconds it was told."""

    kind: str = "book"
    sends: list = []  # type: ignore[type-arg]  # noqa: RUF012  # parameters are no defaults that anybody changes

    def on_start(self) -> None:
        if self.kind == "candle":
            self.subscribe_candles(BTC.id, "1m")
        else:
            {"book": self.subscribe_book, "ticker": self.subscribe_tickers, "trade": self.subscribe_trades}[self.kind](
                BTC.id
            )
        self.seen = 0
        self.sent: list[Order] = []
        self.every("1m" if self.kind == "candle" else "1s")

    def on_timer(self, name: str) -> None:
        self.seen += 1
        for second, call, given in self.sends:
            if second == self.seen:
                if call == "cancel":
                    self.cancel(self.sent[given["number"]])
                elif call == "amend":
                    self.amend(self.sent[given["number"]], price=given.get("price"), qty=given.get("qty"))
                else:
                    self.sent.append(getattr(self, call)(BTC.id, **given))


def at(second: float) -> int:
    return START_NS + round(second * NS_PER_S)


def book(second: float, bid: float, ask: float, bid_qty: float = 8.0, *, is_snapshot: bool = False) -> BookUpdate:
    if is_snapshot:
        bids, asks = (bid, bid - 1, bid - 2), (ask, ask + 1, ask + 2)
        return BookUpdate(BTC.id, at(second), at(second), bids, (bid_qty, 5.0, 5.0), asks, (3.0, 4.0, 5.0), True)
    return BookUpdate(BTC.id, at(second), at(second), (bid,), (bid_qty,), (ask,), (3.0,), False)


def trade(second: float, price: float, qty: float, side: Side = Side.SELL) -> Trade:
    return Trade(BTC.id, at(second), at(second), price, qty, side, round(second * 1000))


def books(*more: MarketEvent) -> list[MarketEvent]:
    """Return a quiet book at 100 to 101 with trades that span 20 s, and rows between."""
    quiet: list[MarketEvent] = [book(0, 100, 101, is_snapshot=True), trade(0, 101, 1, Side.BUY)]
    return [*quiet, *more, trade(20, 101, 1, Side.BUY), book(20, 100, 101)]


def run(sends: Sends, events: Sequence[MarketEvent], kind: str = "book", **options: Any) -> Result:
    feed = MemoryFeed(sorted(events, key=lambda event: event.received_ns), [BTC])
    options = {"latency_ms": 20, "match_on": kind, "cash": {"USDT": 10_000}, **options}
    if kind == "candle":
        del options["latency_ms"]
    return qk.backtest(Script, data=feed, params={"kind": kind, "sends": sends}, **options)


def words(result: Result, number: int = 1) -> str:
    return "\n".join(result.explain(result.outcome.orders[number - 1].id).words)


# Books ----------------------------------------------------------------------------------------------------------------


def test_a_filled_limit_on_the_book() -> None:
    """The timeline of docs/explain.md: 8 in front, a sale of 2, a cancel of 3, a sale of 6 that leaves 1 for us."""
    rows = [trade(2, 100, 2), book(3, 100, 101, 3.0), trade(4, 100, 4)]
    explained = run([(1, "buy", {"qty": 1, "price": 100, "post_only": True, "tag": "join"})], books(*rows)).explain(
        "bt1"
    )
    assert explained.title == "Order bt1: buy 1 BTC-USDT-SWAP at 100 (GTC, post-only, join)"
    assert explained.words == [
        "Sent 2025-05-05T00:00:01Z, at the exchange 2025-05-05T00:00:01.02Z, 20 ms later.",
        "The market then: bid 100 x 8, ask 101 x 3, last price 101.",
        "8 stood in front of it at 100. 3 rows shortened the queue: trades by 5, what else the level lost by 3.",
        "Filled 1 at 100 as maker at 2025-05-05T00:00:04Z: trade of 4 at our price, 3 ahead; "
        "the price is its own limit.",
    ]
    table = explained.table
    assert table["what"].tolist() == ["sent", "arrived", "trade", "book", "trade"]
    assert table["ahead"].tolist()[1:] == [8, 6, 3, 0]
    assert table["prints"].tolist() == [0, 0, 2, 0, 3]
    assert table["cancels"].tolist() == [0, 0, 0, 3, 0]
    assert table["filled"].tolist() == [0, 0, 0, 0, 1]
    assert (table.index.name, table.index[-1]) == ("exchange_time", pd.Timestamp("2025-05-05T00:00:04Z"))
    assert repr(explained) == "<Explanation of bt1: filled, 5 rows>"
    assert str(explained).splitlines()[0] == explained.title
    assert "ahead before" in str(explained)
    assert "join" in explained._repr_html_()
    assert msgspec.json.encode(explained.to_dict())


def test_every_time_is_the_exchanges() -> None:
    """Rows come 7 ms late; no row comes at the moments of the messages."""
    rows = books(trade(2, 100, 9))
    late = [msgspec.structs.replace(row, received_ns=row.received_ns + 7 * NS_PER_MS) for row in rows]
    explained = run([(1, "buy", {"qty": 2, "price": 100}), (3, "amend", {"number": 0, "qty": 1})], late).explain("bt1")
    assert [(row.what, row.exchange_ns) for row in explained.rows] == [
        ("sent", at(1)),
        ("arrived", at(1.02)),
        ("trade", at(2)),
        ("cancelled", at(3.02)),
    ]
    assert [row.received_ns for row in explained.rows][2] == at(2.007)
    assert explained.table["received_time"].iloc[2] == pd.Timestamp("2025-05-05T00:00:02.007Z")
    lines = str(explained).splitlines()
    assert [line.split("  ")[0].strip() for line in lines[-5:]] == [
        "exchange time",
        "00:00:01Z",
        "00:00:01.02Z",
        "00:00:02Z",
        "00:00:03.02Z",
    ]


def test_an_order_of_several_days_is_told_with_dates() -> None:
    """A time alone would not say when."""
    day = 86_400
    days = [book(0, 100, 101, is_snapshot=True), *(trade(second, 101, 1, Side.BUY) for second in (0, day, 2 * day))]
    told = str(run([(1, "buy", {"qty": 2, "price": 90})], [*days, book(2 * day, 100, 101)]).explain("bt1"))
    assert "2025-05-05T00:00:01Z     sent" in told
    assert "2025-05-07T00:00:00Z     cancelled" in told


def test_the_reason_of_a_fill_has_its_sizes_in_the_instruments_unit() -> None:
    """A step of BTC spot says nothing; prices are written as everywhere in the words."""
    said = words(run([(1, "buy", {"qty": 1, "price": 99})], books(trade(4, 98, 4))))
    assert "trade at 98 beyond our price, 5 ahead; the price is its own limit." in said
    wide = [book(0, 1_000, 1_005, is_snapshot=True), trade(0, 1_000, 1), trade(4, 1_002, 9), book(20, 1_000, 1_005)]
    nobody = words(run([(1, "buy", {"qty": 1, "price": 1_002})], wide))
    assert "trade of 9 at our price, nobody ahead" in nobody


def test_two_orders_share_a_trade() -> None:
    """It is said of the one behind."""
    sends: Sends = [(1, "buy", {"qty": 2, "price": 100}), (1, "buy", {"qty": 3, "price": 100})]
    result = run(sends, books(trade(4, 100, 11)))
    said = words(result, 2)
    assert "Filled 1 at 100 as maker" in said
    assert "others of our orders shared what was traded, in the order of their arrival" in said
    assert "Cancelled with 2 left at 2025-05-05T00:00:20Z: end_of_data, the data ended." in said
    assert (
        "It needed 2 more to be sold at 100 (nobody in front of it, 2 its own), or an offer at 100 or below; "
        "the lowest while it was there was 101, 1 step away."
    ) in said


def test_an_unfilled_limit_says_what_it_would_have_needed() -> None:
    """What is left in front and its own, or the other side at its price; how near that came."""
    said = words(run([(1, "buy", {"qty": 2, "price": 99}), (10, "cancel", {"number": 0})], books(trade(2, 99, 1))))
    assert (
        "5 stood in front of it at 99. 1 row shortened the queue: trades by 1, what else the level lost by 0." in said
    )
    assert "Cancelled at 2025-05-05T00:00:10.02Z: requested, the strategy cancelled it." in said
    assert (
        "It needed 6 more to be sold at 99 (4 in front of it, 2 its own), or an offer at 99 or below; "
        "the lowest while it was there was 101, 2 steps away."
    ) in said
    sold = words(run([(1, "sell", {"qty": 2, "price": 103})], books(trade(2, 100, 1))))
    assert "It needed 7 more to be bought at 103 (5 in front of it, 2 its own), or a bid at 103 or above" in sold
    assert "the highest while it was there was 100, 3 steps away." in sold


def test_a_place_beyond_the_display_is_not_known() -> None:
    said = words(run([(1, "buy", {"qty": 2, "price": 90})], books()))
    assert "Its place at 90 was not known: the display did not reach that far." in said
    assert "It needed its price to be displayed, or an offer at 90 or below; the lowest" in said


def test_nobody_in_front() -> None:
    """Where the price is better than the best, and where the model says so."""
    wide = [book(0, 100, 105, is_snapshot=True), trade(0, 101, 1), trade(20, 101, 1), book(20, 100, 105)]
    assert "Nobody stood in front of it at 102." in words(run([(1, "buy", {"qty": 2, "price": 102})], wide))
    said = words(run([(1, "buy", {"qty": 2, "price": 99})], books(), queue_model="front"))
    assert "Its queue model puts nobody in front of it at 99, where 5 stood." in said


def test_changes_of_an_order() -> None:
    """Accepted, refused, and the queue of its last price alone."""
    sends: Sends = [
        (1, "buy", {"qty": 2, "price": 99, "post_only": True}),
        (2, "amend", {"number": 0, "price": 98}),
        (3, "amend", {"number": 0, "price": 101}),
        (4, "amend", {"number": 0, "price": 100}),
        (5, "amend", {"number": 0, "qty": 1}),
    ]
    explained = run(sends, books(trade(6, 100, 1))).explain("bt1")
    said = "\n".join(explained.words)
    assert "Changed 3 times by the strategy, last at 2025-05-05T00:00:05.02Z." in said
    assert "A change was refused at 2025-05-05T00:00:03.02Z: post_only_would_take, a post-only order may not" in said
    assert "8 stood in front of it at 100. 1 row shortened the queue: trades by 1" in said
    whats = [row.what for row in explained.rows]
    assert whats == ["sent", "arrived", "changed", "changed", "changed", "trade", "cancelled"]
    once = words(run(sends[:2], books()))
    assert "Changed by the strategy at 2025-05-05T00:00:02.02Z." in once


def test_taking_and_refusals_on_the_book() -> None:
    """A market order, IOC, FOK, post-only, and what the account cannot have."""
    sends: Sends = [
        (1, "buy", {"qty": 4}),
        (2, "buy", {"qty": 20, "price": 102, "time_in_force": "IOC"}),
        (3, "buy", {"qty": 20, "price": 102, "time_in_force": "FOK"}),
        (4, "buy", {"qty": 1, "price": 101, "post_only": True}),
        (5, "sell", {"qty": 1, "price": 100, "post_only": True}),
        (6, "buy", {"qty": 9_999}),
        (7, "buy", {"qty": 50}),
    ]
    result = run(sends, books())
    market = words(result)
    assert "Filled 3 at 101 as taker at 2025-05-05T00:00:01.02Z: took level 1 of the display." in market
    assert "Filled 1 at 102 as taker" in market
    ioc = words(result, 2)
    assert "Filled 3 at 102 as taker" in ioc
    assert "Cancelled with 17 left at 2025-05-05T00:00:02.02Z: ioc_unfilled, an IOC order ends with what" in ioc
    fok = words(result, 3)
    assert "Cancelled at 2025-05-05T00:00:03.02Z: fok_unfilled, a FOK order" in fok
    assert "Within its limit 0 was left to take on arrival." in fok
    assert "It needed the best offer, 101, on the far side of 101." in words(result, 4)
    assert "It needed the best bid, 100, on the far side of 100." in words(result, 5)
    rich = words(result, 6)
    assert "Rejected at 2025-05-05T00:00:06.02Z: insufficient_margin, the notional would be beyond" in rich
    assert "needed" not in rich
    assert "Cancelled with 45 left at 2025-05-05T00:00:07.02Z: no_liquidity" in words(result, 7)


def test_stops_on_the_book() -> None:
    """Triggered by a trade, and one that was not."""
    sends: Sends = [(1, "buy", {"qty": 1, "stop_price": 103}), (1, "sell", {"qty": 1, "stop_price": 90, "price": 89})]
    result = run(sends, books(trade(3, 103, 1, Side.BUY), book(4, 100, 101)))
    hit = result.explain("bt1")
    assert hit.title == "Order bt1: buy 1 BTC-USDT-SWAP stop 103 (GTC)"
    assert "Triggered at 2025-05-05T00:00:03Z." in hit.words
    assert "Filled 1 at 101 as taker" in "\n".join(hit.words)
    missed = words(result, 2)
    assert "It was not triggered: it needed a price of 90 or below; the lowest while it was there was 101." in missed


def test_an_order_that_never_arrived_or_left() -> None:
    """Cut off by the end, and refused at the call."""
    late = run([(19, "buy", {"qty": 1, "price": 100})], books(), latency_ms=5_000).explain("bt1")
    assert late.words == [
        "Sent 2025-05-05T00:00:19Z, and never arrived.",
        "Cancelled at 2025-05-05T00:00:20Z: end_of_data, the data ended.",
    ]


class Warm(qk.Strategy):
    """Orders within its warm-up."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m", warmup=2)

    def on_candle(self, candle: Candle) -> None:
        self.buy(BTC.id, 1)


def test_an_order_of_the_warm_up_never_left() -> None:
    result = qk.backtest(Warm, data=MemoryFeed(candles(), [BTC]), cash={"USDT": 10_000})
    explained = result.explain(result.outcome.orders[0].id)
    assert explained.words == ["It never left: warmup, the warm-up was not over."]
    assert explained.rows == []
    assert explained.table.empty


# Other data ----------------------------------------------------------------------------------------------------------


def candles() -> list[MarketEvent]:
    """Return ten minutes of 100 to 110, the third one down to 95."""
    found: list[MarketEvent] = []
    for minute in range(10):
        opened = START_NS + minute * NS_PER_MIN
        low = 95.0 if minute == 3 else 100.0
        closed = opened + NS_PER_MIN
        found.append(Candle(BTC.id, closed, closed, opened, closed, 104.0, 110.0, low, 106.0, 50.0, "1m"))
    return found


def test_orders_on_candles() -> None:
    """Filled by an open, by a range; not filled, with the extreme; a stop that waited."""
    sends: Sends = [
        (1, "buy", {"qty": 1}),
        (1, "buy", {"qty": 1, "price": 98}),
        (1, "buy", {"qty": 1, "price": 95}),
        (1, "sell", {"qty": 1, "price": 120}),
        (1, "buy", {"qty": 1, "stop_price": 115}),
    ]
    result = run(sends, candles(), "candle")
    assert "Filled 1 at 104 as taker at 2025-05-05T00:01:00Z: candle open." in words(result)
    assert "Filled 1 at 98 as maker at 2025-05-05T00:04:00Z: candle range beyond the limit; the price is" in words(
        result, 2
    )
    assert "It needed a price below 95; the lowest while it was there was 95." in words(result, 3)
    assert "It needed a price above 120; the highest while it was there was 110." in words(result, 4)
    assert "it needed a price of 115 or above; the highest while it was there was 110." in words(result, 5)
    assert "stood in front" not in words(result, 2)


def test_orders_on_trades() -> None:
    """Filled by the next one, by one beyond; a touch is not enough; post-only against the last price."""
    rows: list[MarketEvent] = [trade(second, 100 + second % 3, 1) for second in range(21)]
    sends: Sends = [
        (2, "buy", {"qty": 1}),
        (2, "buy", {"qty": 1, "price": 101}),
        (2, "buy", {"qty": 1, "price": 100}),
        (2, "buy", {"qty": 1, "price": 104, "post_only": True}),
        (2, "buy", {"qty": 1, "price": 99, "time_in_force": "IOC"}),
    ]
    result = run(sends, rows, "trade")
    assert "Filled 1 at 100 as taker at 2025-05-05T00:00:03Z: next trade." in words(result)
    assert "trade at 100 beyond the limit" in words(result, 2)
    assert "It needed a price below 100; the lowest while it was there was 100." in words(result, 3)
    assert "It needed the last price, 102, on the far side of 104." in words(result, 4)
    ioc = words(result, 5)
    assert "ioc_unfilled" in ioc
    assert "left to take" not in ioc


def tickers(until: int = 20, *, ask: bool = True) -> list[MarketEvent]:
    return [
        Ticker(BTC.id, at(second), at(second), 100.0, 4.0, 102.0 if ask else None, 5.0 if ask else None)
        for second in range(until + 1)
    ]


def test_orders_on_tickers() -> None:
    """With and without an other side; a stop goes by the best opposite price where there are no trades."""
    result = run([(1, "buy", {"qty": 1, "price": 100}), (1, "buy", {"qty": 1, "stop_price": 105})], tickers(), "ticker")
    assert "4 stood in front of it at 100." in words(result)
    assert "it needed a price of 105 or above; the highest while it was there was 102." in words(result, 2)
    alone = words(run([(1, "buy", {"qty": 1, "price": 100})], tickers(ask=False), "ticker"))
    assert "or an offer at 100 or below." in alone
    assert "The market then: bid 100 x 4." in alone


def test_an_order_before_the_first_display() -> None:
    """Nothing is said of a market that showed nothing."""
    rows: list[MarketEvent] = [*tickers()[10:], trade(0, 101, 1), trade(20, 101, 1)]
    said = run([(1, "buy", {"qty": 1, "price": 90})], rows, "ticker", start="2025-05-05").explain("bt1")
    assert said.words[1] == "The market then: last price 101."


# Repeating -----------------------------------------------------------------------------------------------------------


def test_there_is_no_such_order() -> None:
    result = run([(1, "buy", {"qty": 1})], books())
    with pytest.raises(ConfigError, match=r"there is no order 'bt2'; the run's go from bt1 to bt1; did you mean bt1\?"):
        result.explain("bt2")
    with pytest.raises(ConfigError, match="1 is no order's id; give one such as 'bt1'"):
        result.explain(1)  # type: ignore[arg-type]
    assert str(result.explain(result.outcome.orders[0])) == str(result.explain("bt1"))
    assert no_such_order("x", []) == "there is no order 'x': the run sent none"


class Fickle(qk.Strategy):
    """Buys more in each run of the process."""

    runs = 0

    def on_start(self) -> None:
        self.subscribe_book(BTC.id)
        self.every("1s")
        type(self).runs += 1

    def on_timer(self, name: str) -> None:
        if not self.position(BTC.id):
            self.buy(BTC.id, type(self).runs)


class Vanishing(Fickle):
    """Buys in the first run alone."""

    runs = 0

    def on_timer(self, name: str) -> None:
        if type(self).runs == 1:
            super().on_timer(name)


class Angry(Fickle):
    """Fails in the second run."""

    runs = 0

    def on_timer(self, name: str) -> None:
        if type(self).runs == 2:
            raise ValueError("not again")
        super().on_timer(name)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Fickle, "the repetition does other things, from 2025-05-05T00:00:01.02Z on; `quantkit check` finds what"),
        (Vanishing, "the repetition does other things, from 2025-05-05T00:00:01.02Z on; `quantkit check` finds what"),
        (Angry, "raised ValueError: not again"),
    ],
)
def test_a_strategy_that_does_other_things_is_told(kind: type[qk.Strategy], why: str) -> None:
    """In one line; nothing of the other run is shown."""
    kind.runs = 0  # type: ignore[attr-defined]
    result = qk.backtest(kind, data=MemoryFeed(books(), [BTC]), cash={"USDT": 10_000})
    with pytest.raises(DataError, match="the run cannot be repeated: ") as caught:
        result.explain("bt1")
    assert why in str(caught.value)


def test_a_longer_repetition_is_told(tmp_path: Path) -> None:
    """More events than the run had: no moment of the run can be named."""
    result = run([(1, "buy", {"qty": 1, "price": 99})], books())
    result.outcome.order_events.pop()
    with pytest.raises(DataError, match="the repetition does other things; `quantkit check`"):
        result.explain("bt1")


def test_frames_are_read_again() -> None:
    """And have to be what they were."""
    index = pd.date_range("2025-05-05", periods=10, freq="1min", tz="UTC")
    frame = pd.DataFrame({"open": 104.0, "high": 110.0, "low": 100.0, "close": 106.0, "volume": 5.0}, index=index)
    params = {"kind": "candle", "sends": [(1, "buy", {"qty": 1})]}
    result = qk.backtest(Script, data={BTC.id: frame}, instruments=[BTC], params=params, cash={"USDT": 10_000})
    assert "Filled 1 at 104 as taker" in words(result)
    frame["open"] = 105.0
    with pytest.raises(DataError, match="does other things"):
        result.explain("bt1")


def test_a_result_of_records_and_a_feed_of_one_use_say_so(result: Result) -> None:
    with pytest.raises(DataError, match="the result does not know the inputs of its run"):
        result.explain(result.outcome.orders[0].id)

    class Once:
        """A feed that is no `StoredRows`."""

        def __init__(self) -> None:
            self._feed = MemoryFeed(books(), [BTC])

        def __getattr__(self, name: str) -> Any:
            return getattr(self._feed, name)

    once = qk.backtest(Script, data=Once(), params={"sends": [(1, "buy", {"qty": 1})]}, cash={"USDT": 10_000})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the rows of the run came from a feed that gives them only once"):
        once.explain("bt1")


# Saved ---------------------------------------------------------------------------------------------------------------

STRATEGY = """
import quantkit as qk

class Mine(qk.Strategy):
    qty: float = 1.0

    def on_start(self):
        self.subscribe_candles("BTC-USDT-SWAP", "1m")

    def on_candle(self, candle):
        if not self.position(candle.instrument):
            self.buy(candle.instrument, self.qty)
"""


def store(folder: Path, rows: list[MarketEvent]) -> None:
    with Writer(folder, source="generated") as writer:
        writer.write_instrument(BTC)
        writer.write(Block.from_events(rows))


def saved(tmp_path: Path, **options: Any) -> Path:
    """Save a run over a folder, and return the folder of the runs."""
    store(tmp_path / "data", candles())
    (tmp_path / "mine.py").write_text(STRATEGY)
    result = qk.backtest(str(tmp_path / "mine.py"), data=tmp_path / "data", cash={"USDT": 10_000}, **options)
    result.save(tmp_path / "runs" / "first")
    return tmp_path / "runs"


def test_a_saved_result_explains_its_orders(tmp_path: Path) -> None:
    """With its own copy of the code, whatever the strategy's file holds now; on the command line too."""
    runs = saved(tmp_path, fees=qk.Fees(maker_bps=1, taker_bps=3), seed=7, equity_every="5m", max_leverage=2)
    (tmp_path / "mine.py").write_text("1 / 0")
    loaded = Result.load(runs / "first")
    assert "Filled 1 at 104 as taker at 2025-05-05T00:01:00Z: candle open." in words(loaded)
    told = CliRunner().invoke(main, ["runs", "explain", "first", "bt1", "--runs", str(runs)])
    assert told.exit_code == 0
    assert told.stdout == str(loaded.explain("bt1")) + "\n"
    as_json = CliRunner().invoke(main, ["runs", "explain", "first", "bt1", "--runs", str(runs), "--json"])
    assert msgspec.json.decode(as_json.stdout)["words"] == loaded.explain("bt1").words
    wrong = CliRunner().invoke(main, ["runs", "explain", "first", "bt9", "--runs", str(runs)])
    assert (wrong.exit_code, "there is no order 'bt9'" in wrong.stderr) == (2, True)


def test_the_options_of_a_manifest_are_those_of_the_run(tmp_path: Path) -> None:
    runs = saved(tmp_path, seed=7, equity_every="5m", max_leverage=2)
    options = options_of(Result.load(runs / "first").config)
    assert (options.seed, options.equity_every_ns, options.max_leverage) == (7, 5 * NS_PER_MIN, 2)
    assert (options.latency_ns, options.match_on, options.stale_after_ns) == (None, {BTC.id: "candle"}, 10 * NS_PER_S)


def test_a_saved_result_of_other_data_is_refused(tmp_path: Path) -> None:
    """Data that are gone, data that changed, a result without code."""
    runs = saved(tmp_path)
    (tmp_path / "data").rename(tmp_path / "were")
    store(tmp_path / "data", candles()[:-1])
    with pytest.raises(DataError, match="the data of the run changed since"):
        Result.load(runs / "first").explain("bt1")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="the run cannot be repeated: "):
        Result.load(runs / "first").explain("bt1")


def test_a_run_that_was_received_live_names_the_backtest_that_repeats_it(result: Result) -> None:
    """Where it was recorded; saved or not."""
    result.config |= {"strategy": "quoter:Quoter", "data": "paper/Quoter-1", "data_files": {}}
    with pytest.raises(DataError) as error:
        result.explain(result.outcome.orders[0].id)
    said = (
        "the run cannot be repeated: what the run read was received live; a backtest over its recording does the same: "
        "`quantkit backtest paper/Quoter-1/strategy/quoter.py --data paper/Quoter-1/data --save runs/again` with the "
        "options of the run, then `quantkit runs explain again ORDER`"
    )
    assert str(error.value) == said
    with pytest.raises(DataError) as error:
        FromManifest(Path(), {}, result.config, []).inputs()
    assert str(error.value) == said.partition(": ")[2]
    assert "was received live and not recorded; give record= to runs" in why_not({"data": "live"})


def test_a_saved_result_of_rows_in_memory_is_refused(tmp_path: Path) -> None:
    """And one without the code of its strategy, though its data are there."""
    result = run([(1, "buy", {"qty": 1})], books())
    with pytest.raises(DataError, match="what the run read was in memory, so a saved result cannot repeat it"):
        Result.load(result.save(tmp_path / "kept")).explain("bt1")
    runs = saved(tmp_path)
    loaded = Result.load(runs / "first")
    loaded.sources = {}
    bare = Result.load(loaded.save(tmp_path / "bare"))
    with pytest.raises(DataError, match="saved without the code of its strategy"):
        bare.explain("bt1")


def test_drawn_delays_come_from_their_name_or_not_at_all(tmp_path: Path) -> None:
    """A manifest of before it held a table of one's own does not give that back."""
    base = Result.load(saved(tmp_path) / "first").config
    named = Latency.of_text("uniform:10:30")
    matched = {**base, "matching": {BTC.id: "book"}, "latency_ms": {BTC.id: 20.0}}
    config = {**matched, "latency": {"name": named.name, "digest": named.digest}}
    assert options_of(config).latency == named
    own = Latency.measured([1.0, 2.0], "my box")
    with pytest.raises(DataError, match="the result names the latency of its run, 'my box', and does not hold it"):
        options_of({**base, "latency": {"name": own.name, "digest": own.digest}})
    assert options_of({**matched, "latency_ms": {BTC.id: 5.0}}).latency_ns == 5 * NS_PER_MS


def test_tiers_without_their_table_are_refused(tmp_path: Path) -> None:
    """Of a manifest that has their digest alone."""
    base = Result.load(saved(tmp_path) / "first").config
    with pytest.raises(
        DataError, match="the result names the tiers of its run, BTC-USDT, and does not hold it; run it"
    ):
        options_of({**base, "tiers": {"families": ["BTC-USDT"], "digest": "c0ffee"}})


def test_a_child_is_placed_for_its_parent() -> None:
    """It was never sent by the strategy; its group and its parent are named."""
    both = {"take_profit": qk.TakeProfit(103, 103), "stop_loss": 95}
    result = run([(1, "buy", {"qty": 1, "price": 100, **both})], books(trade(3, 99, 1), trade(5, 104, 9, Side.BUY)))
    parent, stop, target = (order.id for order in result.outcome.orders)
    explained = result.explain(target)
    assert explained.words[0] == f"Placed for the fills of {parent}, at the exchange 2025-05-05T00:00:03.02Z."
    assert [(row.what, row.exchange_ns) for row in explained.rows] == [("arrived", at(3.02)), ("trade", at(5))]
    assert "Filled 1 at 103 as maker at 2025-05-05T00:00:05Z" in "\n".join(explained.words)
    said = "\n".join(result.explain(stop).words)
    assert "oco, another order of its group filled." in said
    assert "It was not triggered: it needed a price of 95 or below; the lowest while it was there was 104." in said


def test_a_long_table_is_cut_in_the_middle() -> None:
    """Its beginning and its end are shown."""
    rows = [book(2 + place / 10, 100, 101, 90.0 - place) for place in range(1, 58)]
    explained = run([(1, "buy", {"qty": 1, "price": 100})], books(book(0.5, 100, 101, 90.0), *rows)).explain("bt1")
    lines = str(explained).splitlines()
    assert len(explained.rows) == 61
    assert [line for line in lines if "more)" in line] == ["(21 more)"]
    assert len(lines) == 1 + len(explained.words) + 2 + 41


def test_an_order_that_no_longer_fits_new_steps() -> None:
    """The exchange ends it at the change."""
    changed = Instrument(
        "BTC-USDT-SWAP", kind="swap", price_step="2", qty_step="1", contract_value="0.1", valid_from_ns=at(5)
    )
    feed = MemoryFeed(sorted(books(), key=lambda event: event.received_ns), [BTC, changed])
    params = {"sends": [(1, "buy", {"qty": 1, "price": 99})]}
    result = qk.backtest(Script, data=feed, params=params, match_on="book", cash={"USDT": 10_000})
    explained = result.explain("bt1")
    assert "Cancelled at 2025-05-05T00:00:05Z: instrument_changed, it no longer fits" in "\n".join(explained.words)
    assert explained.rows[-1].what == "cancelled"


def test_an_order_refused_while_the_run_was_paused(result_of: Callable[..., Result]) -> None:
    """Of a live run; nothing has to be repeated for it."""
    order = Order(id="p1", instrument="BTC-USDT-SWAP", side=Side.BUY, qty=1, lots=1, reason="paused",
                  state=OrderState.REJECTED, sent_ns=START_NS)  # fmt: skip
    events = [OrderEvent("p1", START_NS, START_NS, OrderState.REJECTED, "paused")]
    assert result_of(orders=[order], order_events=events, fills=[]).explain("p1").words == [
        "Sent 2025-05-05T00:00:00Z, and refused before it left.",
        "Rejected at 2025-05-05T00:00:00Z: paused, the run was paused from outside.",
    ]


@pytest.mark.parametrize(
    ("terms", "stop", "seen", "needed"),
    [
        (
            OrderTerms(take_profit_price=90.0, take_profit_ticks=90),
            None,
            95,
            "it needed a price of 90 or below; the lowest while it was there was 95",
        ),
        (OrderTerms(trigger_type=TriggerType.MARK), 110, 95, "it needed a mark price of 110 or above"),
        (
            OrderTerms(trailing_offset=5.0, trailing_ticks=5),
            None,
            107,
            "it needed a price of 112 or above; the highest while it was there was 105",
        ),
        (OrderTerms(trailing_offset=5.0, trailing_ticks=5), None, None, "no price came that its trigger could follow"),
    ],
)
def test_other_triggers_say_what_they_waited_for(
    terms: OrderTerms, stop: int | None, seen: int | None, needed: str
) -> None:
    """From the far side, on the mark price, trailing and not active yet."""
    outcome = run([(1, "buy", {"qty": 1, "price": 99})], books()).outcome
    order = msgspec.structs.replace(outcome.orders[0], price=None, price_ticks=None, stop_ticks=stop, terms=terms)
    trace = OrderTrace("bt1")
    held = ExchangeOrder(order)
    held.arrived_ns = at(1)
    assert held.trigger is not None
    if seen is not None:
        held.trigger.meets(seen, seen)
    trace.traded = (95.0, 105.0)
    market = TradeMarket(BTC, cast(Any, None))  # which hears of nothing
    for state in (OrderState.PENDING, OrderState.ACCEPTED, OrderState.CANCELLED):
        held.state = state
        OrderWatch(held, trace).look(market, at(1), at(1))
    explained = Explanation(order, outcome, BTC, trace)
    assert explained.words[-1] == f"It was not triggered: {needed}."
    assert ("take profit 90" in explained.title) is (terms.take_profit_price is not None)
