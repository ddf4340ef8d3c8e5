"""Random small markets and random small strategies, built so that touches, ties and crossings happen all the time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from hypothesis import strategies as generators
from oracle.engine import OracleConfig
from oracle.margins import Tier
from oracle.scripted import Act, Script, Scripted

from quantkit.brokers.send_clock import CallClock, ComputeClock, SendClock
from quantkit.clock import NS_PER_MIN, NS_PER_MS
from quantkit.events import (
    EVENT_KINDS,
    KINDS,
    BookUpdate,
    Candle,
    Funding,
    Gap,
    Mark,
    MarketEvent,
    OpenInterest,
    PriceLimit,
    Ticker,
    Trade,
)
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.latency import Latency
from quantkit.orders import StopLoss, TakeProfit

#: 2026-01-01 00:00:00 UTC and a bit less than two seconds, so that whole seconds fall inside most scenarios.
BASE_NS = 1_767_225_598_100_000_000
STEPS_MS = (0, 0, 1, 2, 5, 10, 19, 20, 21, 40, 75, 150)
SLOW_STEPS_MS = (0, 50, 100, 250, 450, 500, 900, 1000)
DELAYS_MS = (1, 1, 1, 3, 8, 20, 45, -30)  # below zero where the receiver's clock is behind
MODELS = (
    "risk_averse",
    "proportional",
    "power:2",
    "front",
    "log",
    "power3:3",
    "risk_averse",
    "log2",
    "power2:1.5",
    "power:0.5",
)
SLIPPAGES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"slippage_bps": 3.0},
    {"slippage_bps": 170.0},
    {"slippage": "half_spread"},
    {"slippage": "sqrt:1"},
    {"slippage": "sqrt:20"},
)
LATENCIES = (None, None, Latency.uniform(0, 40), Latency.lognormal(5, 100))
LATENCIES_MS = (0, 1, 5, 20, 100)
SLOW_HOOKS_MS = (0, 0, 3, 40, 700, -5)
OFFSETS_MS = (0, 2, 30, -30, 3_000, -3_000)
RATES = (0.0001, -0.0003, 0.01)
#: Kinds of rows that a strategy can ask for and hook.
HOOKED = tuple(kind.name for kind in EVENT_KINDS.values() if kind.subscription is not None)


def make_instrument(name: str, kind: str) -> Instrument:
    """Return one of the instruments that scenarios are made of."""
    match kind:
        case "spot":
            return Instrument(f"{name}-USDT", price_step="0.5", qty_step="0.1", min_qty="0.2")
        case "swap":
            return Instrument(f"{name}-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
        case "coin":
            # Backed by coins of its own, and what these are worth in money.
            return Instrument(
                f"{name}-USDT-COIN",
                kind="swap",
                price_step="0.5",
                qty_step="1",
                min_qty="2",
                contract_value="100",
                is_inverse=True,
            )
        case _:
            return Instrument(
                f"{name}-USD-SWAP",
                kind="swap",
                settle="USDT",
                price_step="0.1",
                qty_step="0.01",
                contract_value="1",
            )


@dataclass(frozen=True)
class Scenario:
    """A market, an account, and what the strategy does in which callback."""

    events: tuple[MarketEvent, ...]
    instruments: tuple[Instrument, ...]  # of one id in order of time: what holds from the start, then what changes
    match_on: dict[str, str]
    fees: dict[str, Fees]
    latency_ns: int
    start_ns: int
    end_ns: int
    subscriptions: tuple[tuple[str, str, str, int], ...]
    hooks: tuple[str, ...]
    acts: dict[int, tuple[Act, ...]]
    timers: tuple[str, ...] = ()
    moments: tuple[int, ...] = ()
    cash: dict[str, float] = field(default_factory=lambda: {"USDT": 10_000.0})
    stale_after_ns: int = 10_000 * NS_PER_MS
    touch: bool = False
    excess_slippage_bps: float = 1.0
    slippage_bps: float = 0.0
    slippage: str = ""
    queue_model: str = "risk_averse"
    own_side_prints: bool = True
    max_share: float | None = None
    venue_rules: str = "off"
    stp_mode: str = "cancel_maker"
    latency: Latency | None = None
    max_leverage: float = 1
    reads_money: bool = False
    compute: Latency | None = None  # how long the strategy takes to each message, in place of the next line
    delays_ns: tuple[int, ...] = (0,)  # how long after its row each call is made, over and over
    offsets: tuple[tuple[int, int], ...] = ()  # since when our clock is ahead of the exchange's, and by how much
    report_currency: str | None = None
    is_long_short: bool = False
    equity_every_ns: int = NS_PER_MIN
    margin: str = "off"
    leverage: dict[str, str] = field(default_factory=dict)  # by instrument
    tiers: dict[str, tuple[Tier, ...]] = field(default_factory=dict)  # by instrument

    def strategy(self) -> Scripted:
        """Return a fresh strategy that follows the script."""
        acts = self.acts

        def script(number: int, hook: str, strategy: Scripted) -> Sequence[Act]:
            return acts.get(number, ())

        return self.strategy_with(script)

    def strategy_with(self, script: Script) -> Scripted:
        """Return a fresh strategy that follows another script."""
        return Scripted(
            subscriptions=self.subscriptions,
            hooks=self.hooks,
            script=script,
            timers=self.timers,
            moments=self.moments,
            reads_money=self.reads_money,
        )

    def oracle_config(self) -> OracleConfig:
        """Return the oracle's configuration."""
        return OracleConfig(
            cash=self.cash,
            match_on=self.match_on,
            fees=self.fees,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            latency_ns=self.latency_ns,
            max_leverage=self.max_leverage,
            stale_after_ns=self.stale_after_ns,
            touch=self.touch,
            excess_slippage_bps=self.excess_slippage_bps,
            slippage=self.slippage or (f"bps:{self.slippage_bps}" if self.slippage_bps else ""),
            queue_model=self.queue_model,
            own_side_prints=self.own_side_prints,
            max_share=self.max_share,
            venue_rules=self.venue_rules,
            stp_mode=self.stp_mode,
            drawn_ns=() if self.latency is None else self.latency.delays_ns,
            delays_ns=self.delays_ns,
            compute_ns=() if self.compute is None else self.compute.delays_ns,
            offsets=self.offsets,
            report_currency=self.report_currency,
            is_long_short=self.is_long_short,
            equity_every_ns=self.equity_every_ns,
            margin=self.margin,
            leverage=self.leverage,
            tiers=self.tiers,
        )

    def send_clock(self) -> SendClock:
        """Return what tells the real engine when calls are made and how far the clocks are apart."""
        if self.compute is not None:
            return ComputeClock(self.compute, seed=0)
        return ScriptedClock(self.delays_ns, self.offsets)

    def shifted(self, by_ns: int) -> Scenario:
        """Return the same scenario at another time."""
        return replace(
            self,
            events=tuple(shift(event, by_ns) for event in self.events),
            instruments=tuple(_since(each, each.valid_from_ns + by_ns) for each in self.instruments),
            start_ns=self.start_ns + by_ns,
            end_ns=self.end_ns + by_ns,
            moments=tuple(moment + by_ns for moment in self.moments),
            offsets=tuple((from_ns + by_ns, offset_ns) for from_ns, offset_ns in self.offsets),
        )

    def before(self, cut_ns: int) -> Scenario:
        """Return the scenario without what is received from `cut_ns` on."""
        return replace(self, events=tuple(e for e in self.events if e.received_ns < cut_ns), end_ns=cut_ns - 1)


def _since(instrument: Instrument, valid_from_ns: int) -> Instrument:
    return Instrument.from_dict({**instrument.to_dict(), "valid_from_ns": valid_from_ns})


def shift(event: MarketEvent, by_ns: int) -> MarketEvent:
    """Return an event with all its stamps moved."""
    names = [name for name in event.__struct_fields__ if name.endswith("_ns")]
    return msgspec.structs.replace(event, **{name: getattr(event, name) + by_ns for name in names})


class ScriptedClock(CallClock):
    """Lets each call be made some time after its row, and the offset move in given steps."""

    def __init__(self, delays_ns: Sequence[int], offsets: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._delays = itertools.cycle(delays_ns)
        for step in offsets:
            self.step(*step)

    def moment_ns(self, now_ns: int) -> int:
        """Return the moment of the call."""
        return now_ns + next(self._delays)


@dataclass
class _Market:
    """Turns rows of small numbers into events of one instrument, never a crossed book."""

    instrument: Instrument
    middle: int = 100
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    is_shown: bool = False

    def price(self, ticks: int) -> float:
        return self.instrument.price(ticks)

    def qty(self, lots: int) -> float:
        return self.instrument.qty(lots)

    def trade(self, at: tuple[int, int], x: int, y: int, z: int) -> Trade:
        side = Side.BUY if z % 2 else Side.SELL
        return Trade(self.instrument.id, *at, self.price(self.middle + x - 3), self.qty(1 + y), side)

    def mark(self, at: tuple[int, int], x: int, y: int, z: int) -> Mark:
        price = self.price(self.middle + x - 3) + float(self.instrument.price_step) * (y % 3) / 4
        return Mark(self.instrument.id, *at, price, "index" if z > 5 else "mark")

    def open_interest(self, at: tuple[int, int], x: int, y: int, z: int) -> OpenInterest:
        return OpenInterest(self.instrument.id, *at, self.qty(100 + x), None if y % 2 else float(z))

    def funding(self, at: tuple[int, int], x: int, y: int, z: int) -> Funding:
        boundary = at[0] - (0, 1, NS_PER_MS, 20 * NS_PER_MS, 21 * NS_PER_MS, 40 * NS_PER_MS, -1)[x]
        return Funding(self.instrument.id, *at, RATES[y % 3], boundary, z % 4 != 0)

    def gap(self, at: tuple[int, int], x: int, y: int, z: int) -> Gap:
        self.is_shown = False
        channel = "book" if x < 5 else "trade"
        return Gap(self.instrument.id, *at, channel, at[0] - 1, at[0], "lost")

    def ticker(self, at: tuple[int, int], x: int, y: int, z: int) -> Ticker:
        bid = self.middle + x - 4
        ask = bid + 1 + z % 3
        has_bid, has_ask = z != 7, z != 6
        return Ticker(
            self.instrument.id,
            *at,
            self.price(bid) if has_bid else None,
            self.qty(1 + y) if has_bid else None,
            self.price(ask) if has_ask else None,
            self.qty(1 + (x + y) % 5) if has_ask else None,
        )

    def snapshot(self, at: tuple[int, int], x: int, y: int, z: int) -> BookUpdate:
        top, gap = self.middle + x - 4, 1 + z % 3
        self.bids = {top - i * (1 + z % 2): 1 + (y + i) % 5 for i in range(1 + y % 3)}
        self.asks = {top + gap + i * (1 + y % 2): 1 + (x + i) % 5 for i in range(1 + z % 3)}
        self.is_shown = True
        return self._update(at, list(self.bids.items()), list(self.asks.items()), is_snapshot=True)

    def change(self, at: tuple[int, int], x: int, y: int, z: int) -> BookUpdate:
        """Set one level, and remove what it would cross."""
        if not self.bids and not self.asks:
            return self.snapshot(at, x, y, z)
        ours, theirs = (self.bids, self.asks) if z % 2 else (self.asks, self.bids)
        ticks = self.middle + x - 3
        sign = 1 if z % 2 else -1
        crossed = [] if y == 0 else [t for t in theirs if (ticks - t) * sign >= 0]
        named = [(ticks, y)]
        if y:
            ours[ticks] = y
        else:
            ours.pop(ticks, None)
        removed = [(t, 0) for t in crossed]
        for t in crossed:
            del theirs[t]
        bids, asks = (named, removed) if z % 2 else (removed, named)
        return self._update(at, bids, asks, is_snapshot=False)

    def _update(
        self,
        at: tuple[int, int],
        bids: Sequence[tuple[int, int]],
        asks: Sequence[tuple[int, int]],
        *,
        is_snapshot: bool,
    ) -> BookUpdate:
        return BookUpdate(
            self.instrument.id,
            *at,
            tuple(self.price(t) for t, _ in bids),
            tuple(self.qty(n) for _, n in bids),
            tuple(self.price(t) for t, _ in asks),
            tuple(self.qty(n) for _, n in asks),
            is_snapshot,
        )

    def candle(self, close_ns: int, length_ns: int, interval: str, x: int, y: int, z: int) -> Candle:
        open_, close = self.middle + x - 3, self.middle + y - 2
        high, low = max(open_, close) + z % 3, min(open_, close) - z // 3
        low_price, high_price = self.price(low), self.price(high)
        open_price, close_price = self.price(open_), self.price(close)
        return Candle(
            self.instrument.id,
            close_ns,
            close_ns,
            close_ns - length_ns,
            close_ns,
            open_price,
            high_price,
            low_price,
            close_price,
            self.qty(1 + 3 * x + y),
            interval,
        )


_ROWS_OF = {
    # Eight kinds of rows for each kind of matching data; what matters most comes most.
    "book": ("change", "change", "change", "snapshot", "trade", "trade", "gap", "other"),
    "ticker": ("ticker", "ticker", "ticker", "trade", "trade", "trade", "other", "other"),
    "trade": ("trade", "trade", "trade", "trade", "trade", "other", "other", "other"),
    "candle": ("other", "other", "other", "other", "other", "other", "other", "other"),
}
_OTHER_ROWS = {
    "book": ("mark", "funding", "snapshot", "open_interest"),
    "ticker": ("mark", "funding", "gap", "open_interest"),
    "trade": ("mark", "funding", "ticker", "gap"),
    "candle": ("mark", "funding", "trade", "mark"),
}


def _small(high: int) -> generators.SearchStrategy[int]:
    return generators.integers(0, high)


_ROW = generators.tuples(_small(1), _small(7), _small(11), _small(7), _small(6), _small(4), _small(7), _small(6))
_ACT = generators.tuples(_small(45), _small(14), _small(1), _small(9), _small(8), _small(14), _small(9), _small(17))
_CANDLE = generators.tuples(_small(6), _small(4), _small(7), _small(5))


@generators.composite
def scenarios(draw: generators.DrawFn, kinds: Sequence[str] = ("book", "ticker", "trade", "candle")) -> Scenario:
    """Draw a market of one or two instruments and a script of up to two dozen calls."""
    matched = [draw(generators.sampled_from(kinds))]
    if draw(_small(2)) == 0 and matched[0] != "candle":
        matched.append(draw(generators.sampled_from([kind for kind in kinds if kind != "candle"] or kinds)))
    instruments = tuple(
        make_instrument(name, draw(generators.sampled_from(("swap", "spot", "fine", "coin"))))
        for name, _ in zip(("AAA", "BBB"), matched, strict=False)
    )
    match_on = {instrument.id: kind for instrument, kind in zip(instruments, matched, strict=True)}
    has_candles = "candle" in matched or draw(_small(2)) == 0
    events = _events(draw, instruments, matched, has_candles=has_candles)
    intervals = {(e.instrument, e.interval) for e in events if isinstance(e, Candle) and e.received_ns >= BASE_NS}
    for instrument in instruments:
        if match_on[instrument.id] == "candle" and (instrument.id, "1s") not in intervals:
            events.append(_Market(instrument).candle(BASE_NS + 900 * NS_PER_MS, 10**9, "1s", 3, 2, 4))
            intervals.add((instrument.id, "1s"))
    coins = {i.base: 9.0 if i.is_inverse else 1.5 for i in instruments if _holds_coins(i) and draw(_small(2))}
    for instrument in instruments:
        if instrument.base in coins or instrument.is_inverse:
            # Coins of the account have to be worth something from the start, or the run is refused.
            events.append(_Market(instrument).mark((BASE_NS - NS_PER_MS, BASE_NS), 3, 0, 0))
    latency_ms = draw(generators.sampled_from(LATENCIES_MS))
    stamps = sorted({e.received_ns for e in events if e.received_ns >= BASE_NS})
    listed = [version for instrument in instruments for version in _versions(draw, instrument, stamps)]
    # What lies before the start altogether is no stream of the run.
    subscriptions = sorted(
        {
            (kind, e.instrument, getattr(e, "interval", ""))
            for e in events
            if (kind := KINDS[type(e)]) not in ("gap", "price_limit") and e.received_ns >= BASE_NS
        }
    )
    warmup = draw(_small(3))
    venue_rules = draw(generators.sampled_from(("off", "off", "okx")))
    end_ns = max(BASE_NS + 1, *(e.received_ns for e in events))
    if venue_rules == "okx":
        events += _price_limits(draw, instruments, stamps)
    return Scenario(
        events=tuple(events),
        instruments=tuple(listed),
        match_on=match_on,
        fees={instrument.id: draw(generators.sampled_from(_fees(instrument))) for instrument in instruments},
        latency_ns=latency_ms * NS_PER_MS,
        start_ns=BASE_NS,
        end_ns=end_ns + draw(generators.sampled_from((1, 0, 30 * NS_PER_MS, 2 * 10**9))),
        subscriptions=tuple((*key, warmup if key[0] == "candle" else 0) for key in subscriptions),
        hooks=tuple(draw(generators.sets(generators.sampled_from(HOOKED)))),
        acts=_acts(draw, instruments, 7 if "candle" in matched else 11),
        timers=draw(generators.sampled_from(((), ("100ms",), ("10ms",), ("250ms", "500ms")))),
        moments=(BASE_NS + draw(_small(300)) * NS_PER_MS,) if draw(_small(3)) == 0 else (),
        cash={"USDT": draw(generators.sampled_from((10_000.0, 45.0, 450.0))), **coins},
        stale_after_ns=draw(generators.sampled_from((10_000, 10_000, 60))) * NS_PER_MS,
        touch=draw(generators.booleans()),
        excess_slippage_bps=draw(generators.sampled_from((0.0, 1.0, 250.0))),
        **draw(generators.sampled_from(SLIPPAGES)),
        queue_model=draw(generators.sampled_from(MODELS)),
        own_side_prints=draw(generators.booleans()),
        max_share=draw(generators.sampled_from((None, None, 0.5, 0.3))),
        venue_rules=venue_rules,
        stp_mode=draw(generators.sampled_from(("cancel_maker", "cancel_taker", "cancel_both"))),
        latency=None if "candle" in matched else draw(generators.sampled_from(LATENCIES)),
        max_leverage=draw(generators.sampled_from((1, 3, 40))),
        **_clocks(draw),
    )


def _versions(draw: generators.DrawFn, instrument: Instrument, stamps: Sequence[int]) -> list[Instrument]:
    """Draw what the exchange's steps are: mostly those of the data, else coarser ones, or ones that change."""
    if draw(_small(2)):
        return [instrument]
    moments = [0, *sorted(draw(generators.sets(generators.sampled_from(stamps), max_size=3)))]
    found = []
    for moment_ns in moments:
        price, qty = draw(generators.sampled_from((1, 2, 3, 5))), draw(generators.sampled_from((1, 1, 2)))
        fields = {"price_step": instrument.price_step * price, "qty_step": instrument.qty_step * qty}
        least = instrument.qty_step * qty * draw(generators.sampled_from((1, 1, 2)))
        found.append(_since(Instrument.from_dict({**instrument.to_dict(), **fields, "min_qty": least}), moment_ns))
    return found


def _price_limits(
    draw: generators.DrawFn, instruments: Sequence[Instrument], stamps: Sequence[int]
) -> list[MarketEvent]:
    """Draw price limits around the prices of orders, some of them off the step, one-sided or not enforced."""
    found: list[MarketEvent] = []
    drawn = generators.tuples(generators.sampled_from([0, *stamps]), _small(1), _small(9), _small(9), _small(7))
    for moment_ns, which, high, low, flags in draw(generators.lists(drawn, max_size=4)):
        instrument, at_ns = instruments[which % len(instruments)], max(moment_ns, BASE_NS - NS_PER_MS)
        highest, lowest = (
            instrument.price(98 + high) + (flags == 1) * float(instrument.tick) / 2,
            instrument.price(102 - low),
        )
        found.append(
            PriceLimit(
                instrument.id,
                at_ns,
                at_ns,
                None if flags == 2 else highest,
                None if flags == 3 else lowest,
                is_enforced=flags != 4,
            )
        )
    return found


def _holds_coins(instrument: Instrument) -> bool:
    return instrument.is_spot or instrument.is_inverse


def _clocks(draw: generators.DrawFn) -> dict[str, Any]:
    """Draw when calls are made and how far the clocks are apart, half the time as in a plain replay."""
    if draw(generators.booleans()):
        return {}
    if draw(_small(3)) == 0:
        return {"compute": Latency.lognormal(2, 60)}
    delays = draw(generators.lists(generators.sampled_from(SLOW_HOOKS_MS), min_size=1, max_size=5))
    moments = sorted(draw(generators.lists(generators.integers(0, 1_500), max_size=3)))
    return {
        "delays_ns": tuple(delay * NS_PER_MS for delay in delays),
        "offsets": tuple(
            (BASE_NS + moment * NS_PER_MS, draw(generators.sampled_from(OFFSETS_MS)) * NS_PER_MS) for moment in moments
        ),
    }


def _fees(instrument: Instrument) -> tuple[Fees, ...]:
    settle = "received" if instrument.is_spot else "settle"
    return (
        Fees(),
        Fees(maker_bps=2, taker_bps=5),
        Fees(maker_bps=-1, taker_bps=7.5, currency=settle),
        Fees(taker_bps=3, per_contract=0.85, per_share=0.5, per_order=0.3),
        Fees(maker_bps=-2, taker_bps=2, per_contract=0.01, per_share=0.01, min_per_order=1.25),
        Fees(maker_bps=-2, taker_bps=2, per_contract=0.01, per_share=130, per_order=0.3, min_per_order=30),
    )


def _events(
    draw: generators.DrawFn, instruments: Sequence[Instrument], matched: Sequence[str], *, has_candles: bool
) -> list[MarketEvent]:
    markets = [_Market(instrument) for instrument in instruments]
    has_marks = draw(generators.booleans())
    is_slow = "candle" in matched
    events: list[MarketEvent] = []
    now_ns = BASE_NS
    for market, kind in zip(markets, matched, strict=True):
        if kind == "book":
            events.append(market.snapshot((now_ns - NS_PER_MS, now_ns), 3, 2, 1))
        elif kind == "ticker":
            events.append(market.ticker((now_ns - NS_PER_MS, now_ns), 3, 2, 1))
        elif kind == "trade":
            events.append(market.trade((now_ns - NS_PER_MS, now_ns), 3, 2, 1))
    for which, row, step, delay, x, y, z, other in draw(generators.lists(_ROW, min_size=16, max_size=64)):
        now_ns += (SLOW_STEPS_MS[step % 8] if is_slow else STEPS_MS[step]) * NS_PER_MS
        market, kind = (markets[which % len(markets)], matched[which % len(markets)])
        market.middle += (0, 0, 0, 1, -1, 0, 0)[other]
        name = "mark" if has_marks and other > 4 else _ROWS_OF[kind][row]
        if name == "other":
            name = _OTHER_ROWS[kind][other % 4]
        if name == "funding" and market.instrument.is_spot:
            name = "mark"
        stamps = (now_ns - DELAYS_MS[delay] * NS_PER_MS, now_ns)
        events.append(getattr(market, name)(stamps, x, y, z))
    if has_candles:
        events += _candles(draw, markets[0], now_ns)
    return events


def _candles(draw: generators.DrawFn, market: _Market, until_ns: int) -> list[MarketEvent]:
    """Draw one-second candles from a few seconds before the start, some of them missing."""
    second_ns = 10**9
    shapes = draw(generators.lists(_CANDLE, min_size=1, max_size=8))
    candles: list[MarketEvent] = []
    close_ns = (BASE_NS // second_ns - 2) * second_ns
    for number in range(40):
        close_ns += second_ns
        if close_ns > until_ns:
            break
        x, y, z, skip = shapes[number % len(shapes)]
        market.middle += (0, 1, -1)[x % 3]
        if skip:
            candles.append(market.candle(close_ns, second_ns, "1s", x, y, z))
    return candles


def _acts(draw: generators.DrawFn, instruments: Sequence[Instrument], spread: int) -> dict[int, tuple[Act, ...]]:
    acts: dict[int, list[Act]] = {}
    has_terms = draw(generators.booleans())
    for at, what, which, x, y, flags, n, terms in draw(generators.lists(_ACT, min_size=8, max_size=24)):
        instrument = instruments[which % len(instruments)]
        act = _act(instrument, what, x, y, flags, n)
        if has_terms and act.what in ("buy", "sell"):
            act = _with_terms(instrument, act, x, y, n, terms)
        acts.setdefault(1 + at % (4 * spread), []).append(act)
    return {number: tuple(some) for number, some in acts.items()}


def _bracket(instrument: Instrument, stop: int, target: int, n: int) -> dict[str, Any]:
    """Return a stop and a target, now and then with limits."""
    limit = instrument.price(target) + 0.01
    loss = StopLoss(instrument.price(stop), instrument.price(stop + n % 3 - 1) if n % 4 == 0 else None)
    return {"stop_loss": loss, "take_profit": TakeProfit(instrument.price(target), limit)}


def _with_terms(instrument: Instrument, act: Act, x: int, y: int, n: int, terms: int) -> Act:
    """Give a call a trigger of another kind, or an end of its time; some of it is refused."""
    kept = {name: value for name, value in act.more.items() if name not in ("post_only", "stop_price")}
    near, source = (
        instrument.price(97 + (x + n) % 7) + float(instrument.price_step) * (y % 3) / 3,
        ("mark", "index")[n % 2],
    )
    step = float(instrument.price_step)
    offset = {"trailing_offset": step * (1 + y % 4)} if y % 2 else {"trailing_offset_bps": 100.0 * (1 + x % 4) + n / 8}
    expires = {"expires_in_ms": (1, 5, 20, 21, 40, 75, 150, 300, 600, 900)[x]}
    match terms:
        case 0 | 1:
            return act._replace(more={**kept, "take_profit_price": near})
        case 2:
            return act._replace(price=None, more={**kept, "take_profit_price": near})
        case 3:
            return act._replace(more={**kept, "take_profit_price": near, "trigger_type": source})
        case 4 | 5:
            return act._replace(more={**kept, "stop_price": near, "trigger_type": source})
        case 6 | 7 | 8:
            return act._replace(price=None, more={**kept, **offset})
        case 9:
            return act._replace(price=None, more={**kept, **offset, "activation_price": near})
        case 10:
            return act._replace(price=None, more={**kept, **offset, "trigger_type": "mark"})
        case 11:
            return act._replace(price=None, more={**kept, **offset, "trigger_type": "mark", "activation_price": near})
        case 12 | 13:
            return act._replace(more={**act.more, **expires})
        case 14:
            return act._replace(price=None, more={**kept, **offset, **expires})
        case 15:
            return act._replace(more={**kept, "take_profit_price": near, **expires})
        case _:
            return act


def _act(instrument: Instrument, what: int, x: int, y: int, flags: int, n: int) -> Act:
    """Turn small numbers into a call."""
    price, qty = instrument.price(96 + x), instrument.qty(1 + y)
    side = "buy" if n % 2 else "sell"
    options: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"post_only": True},
        {"time_in_force": "IOC"},
        {"time_in_force": "FOK"},
        {"reduce_only": True},
        {"stop_price": instrument.price(96 + (x + n) % 10)},
        {"tag": "t"},
        {"stop_price": instrument.price(97 + n % 7), "time_in_force": "IOC"},
        {"oco_group": "a"},
        {"oco_group": "ab"[n > 5], "stop_price": instrument.price(96 + (x + n) % 10)},
        {"stop_loss": instrument.price(96 + (x + n) % 8)},
        _bracket(instrument, 97 + n % 4, 100 + x % 3, n),
        _bracket(instrument, 102 - n % 4, 99 - x % 3, n),
        {**_bracket(instrument, 98, 101, n), "oco_group": "a"},
    )
    match what:
        case 0 | 1 | 2 | 3 | 4:
            return Act(side, instrument.id, qty, price, options[flags])
        case 5 | 6:
            return Act(side, instrument.id, qty, None, {k: v for k, v in options[flags].items() if k != "post_only"})
        case 7 | 8:
            return Act("amend", "", qty if flags % 3 else 0.0, price if flags % 3 != 1 else None, {}, which=n)
        case 14:
            trigger = instrument.price(97 + (x + n) % 7), float(instrument.price_step) * (1 + y % 4)
            return Act("amend", "", qty if flags == 8 else 0.0, more={"trigger": trigger}, which=n)
        case 9:
            return Act("cancel", "", which=n, more={"any": flags % 2})
        case 10:
            return Act("cancel_all", instrument.id if flags % 2 else "")
        case 11:
            lots = (y - 4) if not instrument.is_spot else y
            return Act("target", instrument.id, instrument.qty(abs(lots)) * (1 if lots >= 0 else -1))
        case 12:
            ask = instrument.price(96 + x + 1 + n % 4) if flags % 4 else None
            return Act("quote", instrument.id, qty, price if flags % 3 else None, {"ask": ask})
        case _:
            return Act("close", instrument.id)
