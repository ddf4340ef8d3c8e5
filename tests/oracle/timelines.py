"""Short hand-made markets in milliseconds, played through the oracle and every way of running the real engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oracle.match import Told, difference, naive, real
from oracle.scenarios import HOOKED, Scenario
from oracle.scripted import Act, Script, Scripted

from quantkit.clock import NS_PER_MS
from quantkit.events import KINDS, BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side

#: 2026-01-01 00:00 UTC: whole minutes and seconds fall on whole multiples.
T0_NS = 1_767_225_600_000_000_000
SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")
OTHER = Instrument("BBB-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")
SPOT = Instrument("AAA-USDT", price_step="0.1", qty_step="0.01", min_qty="0.05")
FREE = Fees()
Levels = Mapping[float, float]


def ns(ms: float) -> int:
    """Return a moment of a timeline as a UTC stamp."""
    return T0_NS + round(ms * NS_PER_MS)


def ms(stamp_ns: int) -> float:
    """Return a stamp as milliseconds of the timeline."""
    return (stamp_ns - T0_NS) / NS_PER_MS


def trade(
    at: float, price: float, qty: float = 1, side: str = "sell", *, late: float = 0, of: Instrument = SWAP
) -> MarketEvent:
    """Return a print stamped `at` by the exchange and received `late` ms after."""
    return Trade(of.id, ns(at), ns(at + late), float(price), float(qty), Side(side))


def ticker(
    at: float,
    bid: float | None,
    ask: float | None,
    bid_qty: float = 5,
    ask_qty: float = 5,
    *,
    late: float = 0,
    of: Instrument = SWAP,
) -> MarketEvent:
    """Return a best bid and offer."""
    best = (None, None) if bid is None else (float(bid), float(bid_qty))
    offer = (None, None) if ask is None else (float(ask), float(ask_qty))
    return Ticker(of.id, ns(at), ns(at + late), *best, *offer)


def book(
    at: float, bids: Levels, asks: Levels, *, whole: bool = False, late: float = 0, of: Instrument = SWAP
) -> MarketEvent:
    """Return changed levels, or with `whole` a snapshot."""
    bid_prices, bid_qtys, ask_prices, ask_qtys = (
        tuple(map(float, column)) for column in (bids, bids.values(), asks, asks.values())
    )
    return BookUpdate(of.id, ns(at), ns(at + late), bid_prices, bid_qtys, ask_prices, ask_qtys, whole)


def candle(close: float, prices: tuple[float, float, float, float], *, of: Instrument = SWAP) -> MarketEvent:
    """Return a one-minute candle that closes at minute `close`."""
    at = ns(close * 60_000)
    open_, high, low, close_price = map(float, prices)
    return Candle(of.id, at, at, at - 60_000 * NS_PER_MS, at, open_, high, low, close_price, 10.0, "1m")


def mark(at: float, price: float, *, source: str = "mark", late: float = 0, of: Instrument = SWAP) -> MarketEvent:
    """Return a mark, or an index."""
    return Mark(of.id, ns(at), ns(at + late), float(price), source)


def funding(at: float, rate: float, boundary_ns: int, *, settled: bool = True, of: Instrument = SWAP) -> MarketEvent:
    """Return a funding rate."""
    return Funding(of.id, ns(at), ns(at), rate, boundary_ns, settled)


def gap(at: float, channel: str = "book", *, of: Instrument = SWAP) -> MarketEvent:
    """Return a loss of data."""
    return Gap(of.id, ns(at), ns(at), channel, ns(at - 1), ns(at), "lost")


def buy(qty: float, price: float | None = None, *, of: Instrument = SWAP, **more: Any) -> Act:
    """Return a call of `buy`."""
    return Act("buy", of.id, qty, price, more)


def sell(qty: float, price: float | None = None, *, of: Instrument = SWAP, **more: Any) -> Act:
    """Return a call of `sell`."""
    return Act("sell", of.id, qty, price, more)


def amend(
    order: int, *, qty: float = 0.0, price: float | None = None, trigger: float = 0.0, distance: float = 0.0
) -> Act:
    """Return a change of the n-th order sent, from 1; of its trigger to a price, or by a distance where it trails."""
    more = {"trigger": (trigger or 100.0, distance)} if trigger or distance else {}
    return Act("amend", "", qty, price, {"any": True, **more}, which=order - 1)


def cancel(order: int) -> Act:
    """Return a cancel of the n-th order sent, from 1."""
    return Act("cancel", "", more={"any": True}, which=order - 1)


When = tuple[str, int]


def script_of(calls: Mapping[When, Sequence[Act]]) -> Callable[[], Script]:
    """Return scripts that act at the n-th (from 0) callback of a name: {("trade", 0): [...]}."""

    def fresh() -> Script:
        seen: dict[str, int] = {}

        def script(number: int, hook: str, strategy: Scripted) -> Sequence[Act]:
            count = seen[hook] = seen.get(hook, -1) + 1
            return calls.get((hook, count), ())

        return script

    return fresh


@dataclass(frozen=True)
class Played:
    """What came of a timeline, in short forms that tables can be written in."""

    told: Told

    @property
    def fills(self) -> list[str]:
        """`order side qty @ price role stamp` of each fill."""
        said = []
        for text in self.told.fills:
            _, order, _, side, price, qty, _, _, _, role, filled_ns, *_ = text.split(" ")
            said.append(f"{order[2:]} {side} {float(qty):g} @ {float(price):g} {role} {ms(int(filled_ns)):g}")
        return said

    @property
    def events(self) -> list[str]:
        """`order state stamp>reported reason` of each order event."""
        return [
            f"{order[2:]} {state} {ms(at):g}>{ms(reported):g} {reason}".rstrip()
            for order, at, reported, state, reason in self.told.order_events
        ]

    def final(self, order: int) -> str:
        """Return an order's last `state reason`."""
        last = [event for event in self.told.order_events if event[0] == f"bt{order}"][-1]
        return f"{last[3]} {last[4]}".rstrip()

    def calls(self, hook: str) -> list[float]:
        """Return when a hook ran."""
        return [ms(now) for now, name, _ in self.told.trace if name == hook]

    @property
    def hooks(self) -> list[str]:
        """Return the hooks in the order in which they ran."""
        return [name for _, name, _ in self.told.trace if name not in ("call", "start")]


def scenario(
    events: Sequence[MarketEvent],
    *,
    on: str,
    end: float | None = None,
    start: float = 0,
    instruments: Sequence[Instrument] = (SWAP,),
    hooks: Sequence[str] = HOOKED,
    warmup: int = 0,
    latency: float = 20,
    fees: Fees = FREE,
    **more: Any,
) -> Scenario:
    """Return a scenario of hand-made events; everything in them is subscribed and hooked unless told otherwise."""
    streams = dict.fromkeys(
        (KINDS[type(e)], e.instrument, getattr(e, "interval", "")) for e in events if not isinstance(e, Gap)
    )
    kinds = dict(item.split("=") for item in on.split(",")) if "=" in on else {i.id: on for i in instruments}
    return Scenario(
        events=tuple(events),
        instruments=tuple(instruments),
        match_on=kinds,
        fees={i.id: fees for i in instruments},
        latency_ns=round(latency * NS_PER_MS),
        start_ns=ns(start),
        end_ns=max(e.received_ns for e in events) if end is None else ns(end),
        subscriptions=tuple((*key, warmup if key[0] == "candle" else 0) for key in streams),
        hooks=tuple(hooks),
        acts={},
        **{"max_leverage": 100, **more},
    )


def play(events: Sequence[MarketEvent], calls: Mapping[When, Sequence[Act]], **more: Any) -> Played:
    """Run a timeline in every way there is, check that all agree, and return what they say."""
    return play_scenario(scenario(events, **more), calls)


def play_scenario(market: Scenario, calls: Mapping[When, Sequence[Act]]) -> Played:
    """Run a scenario with a script by callbacks, in every way there is."""
    fresh = script_of(calls)
    first = naive(market, strategy=market.strategy_with(fresh()))
    for search in (False, True):
        for block_rows in (131_072, 1):
            told = real(market, search=search, block_rows=block_rows, strategy=market.strategy_with(fresh()))
            found = difference(first, told)
            assert not found, f"search={search}, block_rows={block_rows}: {found}"
    return Played(told)
