"""Random accounts over a few hundred rows: what they hold, owe, earn and lose, and what ends them.

Where `scenarios` draws small markets full of touches and ties, these have prices that move far enough to ruin, stamps
that fall on the grid of the curve all the time, several currencies, and every kind of contract at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from oracle.scenarios import Scenario
from oracle.scripted import Act, HookRaised, Script, Scripted

from quantkit.clock import NS_PER_MS
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side

#: 2026-01-01, two seconds before midnight, so that the curve has a midnight in it.
BASE_NS = 1_767_311_998_000_000_000
ROWS = 240
SPOT = Instrument("AAA-USDT", price_step="0.05", qty_step="0.001", min_qty="0.002")
LINEAR = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
INVERSE = Instrument("AAA-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="10", is_inverse=True)
OTHER = Instrument("BBB-USDT-SWAP", kind="swap", price_step="0.25", qty_step="0.01", contract_value="1")
_MANY = 120  # orders are enough
_FEES = (
    Fees(),
    Fees(maker_bps=-1, taker_bps=7.5, currency="settle"),
    Fees(maker_bps=2, taker_bps=5),
    Fees(taker_bps=3, per_contract=0.02, per_share=0.01, per_order=0.3),
    Fees(taker_bps=2, per_contract=0.01, min_per_order=1.25),
)
_BASE_FEES = (Fees.okx_spot(), Fees(maker_bps=-2, taker_bps=3, currency="received"), Fees(taker_bps=4))


@dataclass
class _Path:
    """One instrument's rows as they are made: a price that walks, and the book around it."""

    instrument: Instrument
    kind: str
    has_marks: bool
    price: float
    bids: dict[float, float] = field(default_factory=dict)
    asks: dict[float, float] = field(default_factory=dict)
    is_lost: bool = True

    def on_step(self, price: float) -> float:
        step = float(self.instrument.price_step)
        return self.instrument.price(max(1, round(price / step)))

    def row(self, dice: Random, at: tuple[int, int], what: str) -> MarketEvent:
        """Return a row of a kind that is no candle."""
        name, price = self.instrument.id, self.on_step(self.price)
        size = float(self.instrument.qty_step) * dice.randint(1, 4_000)
        match what:
            case "mark":
                return Mark(name, *at, self.on_step(self.price * dice.uniform(0.998, 1.002)))
            case "funding":
                boundary_ns = at[0] - dice.choice((0, 0, 1, 10, 50)) * NS_PER_MS
                return Funding(name, *at, dice.choice((0.0001, -0.003, 0.02, -0.02)), boundary_ns, dice.random() < 0.8)
            case "ticker":
                spread = float(self.instrument.price_step) * dice.randint(1, 3)
                bid, ask = price, self.on_step(price + spread)
                if dice.random() < 0.05:
                    return Ticker(name, *at, None, None, ask, size)
                return Ticker(name, *at, bid, size, ask, size)
            case "book":
                return self._book(dice, at)
            case "gap":
                self.is_lost = self.is_lost or self.kind == "book"
                return Gap(name, *at, "book" if self.kind == "book" else self.kind, at[0] - 1, at[0], "lost")
        return Trade(name, *at, price, size, dice.choice((Side.BUY, Side.SELL)))

    def _book(self, dice: Random, at: tuple[int, int]) -> BookUpdate:
        step, name = float(self.instrument.price_step), self.instrument.id
        middle = self.on_step(self.price)
        size = float(self.instrument.qty_step) * 500
        crossed = max(self.bids, default=0.0) >= middle or min(self.asks, default=1e18) <= middle
        if self.is_lost or crossed or dice.random() < 0.1:
            self.bids = {self.on_step(middle - n * step): size * n for n in range(1, dice.randint(2, 5))}
            self.asks = {self.on_step(middle + n * step): size * n for n in range(1, dice.randint(2, 5))}
            self.is_lost = False
            sides = (tuple(self.bids), tuple(self.bids.values()), tuple(self.asks), tuple(self.asks.values()))
            return BookUpdate(name, *at, *sides, True)
        is_bid = dice.random() < 0.5
        own = self.bids if is_bid else self.asks
        level = self.on_step(middle + (-1 if is_bid else 1) * step * dice.randint(1, 4))
        new = size * dice.choice((0, 0, 1, 2))
        if new:
            own[level] = new
        else:
            own.pop(level, None)
        named, nothing = ((level,), (new,)), ((), ())
        return BookUpdate(name, *at, *(named if is_bid else nothing), *(nothing if is_bid else named), False)

    def candle(self, dice: Random, close_ns: int, length_ns: int) -> Candle:
        """Return a candle that ends at the price of now."""
        open_ = self.on_step(self.price * dice.uniform(0.99, 1.01))
        close = self.on_step(self.price)
        high = self.on_step(max(open_, close) * dice.uniform(1, 1.01))
        low = self.on_step(min(open_, close) * dice.uniform(0.99, 1))
        prices = (open_, max(high, open_, close), min(low, open_, close), close)
        return Candle(self.instrument.id, close_ns, close_ns, close_ns - length_ns, close_ns, *prices, 100.0, "1s")


@dataclass(frozen=True)
class AccountCase:
    """A scenario with the script of its strategy, which looks up prices by the time it runs at."""

    seed: int
    scenario: Scenario
    prices: dict[str, tuple[list[int], list[float]]]
    raises_at: int | None

    def strategy(self) -> Scripted:
        """Return a fresh strategy."""
        return self.scenario.strategy_with(self._script())

    def _script(self) -> Script:
        def script(number: int, hook: str, strategy: Scripted) -> Sequence[Act]:
            is_priced = hook != "start" and strategy.now > BASE_NS + 200 * NS_PER_MS
            if self.raises_at is not None and number >= self.raises_at and is_priced:
                raise HookRaised
            dice = Random(self.seed * 1_000_003 + number)
            # What answers its own orders all the time would never come to an end.
            share = {"start": 0.0, "order": 0.04, "fill": 0.15}.get(hook, 0.3)
            if dice.random() >= share or len(strategy.sent) > _MANY:
                return ()
            acts = [self._act(dice, strategy) for _ in range(dice.choice((1, 1, 2)))]
            return [self._in_leg(dice, act, strategy) for act in acts] if self.scenario.is_long_short else acts

        return script

    def _in_leg(self, dice: Random, act: Act, strategy: Scripted) -> Act:
        """Return a call that names a leg, and now and then one that does not or should not."""
        is_contract = any(i.id == act.instrument and not i.is_spot for i in self.scenario.instruments)
        if act.what not in ("buy", "sell", "target", "close") or is_contract is (dice.random() < 0.03):
            return act
        side = dice.choice(("long", "short"))
        if act.what in ("target", "close"):
            qty = abs(act.qty) if side == "long" else -abs(act.qty)
            return act._replace(qty=qty if dice.random() < 0.95 else -qty, more={"side": side})
        more = {**act.more, "position_side": side}
        if dice.random() < 0.3 and "stop_price" not in more:
            stamps, prices = self.prices[act.instrument]
            price = prices[max(0, bisect_right(stamps, strategy.now) - 1)]
            more["stop_loss"] = price * (0.97 if act.what == "buy" else 1.03)
        return act._replace(more=more)

    def _act(self, dice: Random, strategy: Scripted) -> Act:
        instrument = dice.choice(self.scenario.instruments)
        stamps, prices = self.prices[instrument.id]
        price = prices[max(0, bisect_right(stamps, strategy.now) - 1)]
        step = float(instrument.price_step)
        near = max(step, round((price + step * dice.randint(-4, 4)) / step) * step)
        money = dice.choice((20, 200, 900, 4_000)) * self.scenario.max_leverage ** dice.choice((0, 0.5, 1))
        unit = float(instrument.contract_value) * (1 if instrument.is_inverse else price)
        qty = max(float(instrument.min_qty), money / unit)
        side = dice.choice(("buy", "buy", "sell"))
        match dice.randint(0, 11):
            case 0 | 1 | 2:
                return Act(side, instrument.id, qty)
            case 3 | 4:
                more = dice.choice(({}, {"post_only": True}, {"time_in_force": "IOC"}, {"reduce_only": True}))
                return Act(side, instrument.id, qty, near, more)
            case 5:
                return Act(side, instrument.id, qty, None, {"stop_price": near})
            case 6 | 7:
                sign = 1 if instrument.is_spot else dice.choice((1, -1))
                return Act("target", instrument.id, sign * qty * dice.choice((0.3, 1)))
            case 8:
                return Act("close", instrument.id)
            case 9:
                return Act("quote", instrument.id, qty, max(step, near - 2 * step), {"ask": near + 2 * step})
            case 10:
                return Act("amend", "", qty, near if dice.random() < 0.5 else None, which=dice.randint(0, 5))
        return Act("cancel", "", which=dice.randint(0, 5))


def account_case(seed: int) -> AccountCase:
    """Return the account and market of a seed."""
    dice = Random(seed)
    on_candles = dice.random() < 0.25
    instruments = _instruments(dice)
    kinds = {i.id: "candle" if on_candles else dice.choice(("trade", "ticker", "book")) for i in instruments}
    start = dict(zip("AB", (dice.uniform(20, 400), dice.uniform(50, 900)), strict=True))
    paths = [_Path(i, kinds[i.id], dice.random() < 0.4, start[i.id[0]]) for i in instruments]
    events, prices = _rows(dice, paths, wildness=dice.choice((0.0005, 0.003, 0.02, 0.06)), on_candles=on_candles)
    cash, report_currency = _cash(dice, instruments, start["A"])
    wanted = sorted(
        {(_NAMES[type(e)], e.instrument, getattr(e, "interval", "")) for e in events if not isinstance(e, Gap)}
    )
    last_ns = max(event.received_ns for event in events)
    scenario = Scenario(
        events=tuple(events),
        instruments=instruments,
        match_on=kinds,
        fees={i.id: dice.choice(_BASE_FEES if i.is_spot else _FEES) for i in instruments},
        latency_ns=0 if on_candles else dice.choice((0, 1, 5, 20, 50)) * NS_PER_MS,
        start_ns=BASE_NS,
        end_ns=last_ns + dice.choice((0, 1, 2_000 * NS_PER_MS)),
        subscriptions=tuple((*stream, 0) for stream in wanted),
        hooks=tuple(dice.sample(("ticker", "candle", "book", "trade", "mark", "funding"), dice.randint(0, 4))),
        acts={},
        timers=dice.choice((("50ms",), ("10ms", "250ms"), ("50ms", "1s"))),
        cash=cash,
        touch=dice.random() < 0.5,
        slippage_bps=dice.choice((0.0, 3.0)),
        max_leverage=dice.choice((1, 3, 20, 100, 1000)),
        reads_money=dice.random() < 0.7,
        report_currency=report_currency,
        equity_every_ns=dice.choice((5, 50, 70, 1_000)) * NS_PER_MS,
    )
    raises_at = dice.randint(25, 150) if dice.random() < 0.15 else None
    return AccountCase(seed, scenario, prices, raises_at)


_NAMES: dict[type, str] = {
    Trade: "trade",
    Ticker: "ticker",
    BookUpdate: "book",
    Candle: "candle",
    Mark: "mark",
    Funding: "funding",
}


def _instruments(dice: Random) -> tuple[Instrument, ...]:
    """Choose two to four; coins can be counted in money through the pair or a linear contract."""
    chosen = [dice.choice((SPOT, LINEAR)), *dice.sample((SPOT, LINEAR, INVERSE, OTHER), dice.randint(1, 3))]
    unique = list(dict.fromkeys(instrument.id for instrument in chosen))
    by_id = {instrument.id: instrument for instrument in chosen}
    return tuple(by_id[name] for name in unique)


def _cash(dice: Random, instruments: Sequence[Instrument], price: float) -> tuple[dict[str, float], str | None]:
    money = dice.choice((300.0, 5_000.0, 100_000.0))
    coins = round(money / price, 4)
    match dice.randint(0, 3) if INVERSE in instruments else dice.choice((0, 0, 1, 2)):
        case 0:
            return {"USDT": money}, None
        case 1:
            return {"USDT": money, "AAA": coins}, None
        case 2:
            return {"AAA": coins, "USDT": money}, "USDT"
    # What pays for contracts on BBB and for coins is counted in coins.
    return {"USDT": money, "AAA": coins}, "AAA"


def _rows(
    dice: Random, paths: Sequence[_Path], *, wildness: float, on_candles: bool
) -> tuple[list[MarketEvent], dict[str, tuple[list[int], list[float]]]]:
    events: list[MarketEvent] = []
    prices: dict[str, tuple[list[int], list[float]]] = {path.instrument.id: ([], []) for path in paths}
    now_ns = BASE_NS
    for path in paths:
        if not on_candles:
            events.append(path.row(dice, (now_ns - NS_PER_MS, now_ns), path.kind))
        if path.has_marks:
            events.append(path.row(dice, (now_ns, now_ns), "mark"))
        if dice.random() < 0.3:
            now_ns += 5 * NS_PER_MS  # what converts may be priced later than the run begins
    for _ in range(ROWS // (8 if on_candles else 1)):
        now_ns += (1_000 if on_candles else dice.choice((0, 0, 5, 5, 10, 40, 50, 150))) * NS_PER_MS
        if dice.random() < 0.5 or on_candles:
            move = dice.gauss(0, wildness) + (dice.choice((-0.2, 0.25)) if dice.random() < wildness else 0.0)
            for path in paths:
                path.price *= max(0.05, 1 + move + dice.gauss(0, wildness / 10))
        for path in paths if on_candles else [dice.choice(paths)]:
            prices[path.instrument.id][0].append(now_ns)
            prices[path.instrument.id][1].append(path.on_step(path.price))
            if on_candles and dice.random() < 0.95:
                events.append(path.candle(dice, now_ns, 1_000 * NS_PER_MS))
            what = dice.random()
            at = (now_ns - dice.choice((0, 1, 1, 5, 30)) * NS_PER_MS, now_ns)
            if what < 0.25 and path.has_marks:
                events.append(path.row(dice, at, "mark"))
            elif what < 0.30 and not path.instrument.is_spot:
                events.append(path.row(dice, at, "funding"))
            elif what < 0.32:
                events.append(path.row(dice, at, "gap"))
            elif not on_candles:
                is_print = path.kind in ("book", "ticker") and dice.random() < 0.4
                events.append(path.row(dice, at, "trade" if is_print else path.kind))
    for path in paths:
        # Every stream reaches to the end.
        now_ns += 5 * NS_PER_MS
        prices[path.instrument.id][0].insert(0, BASE_NS)
        prices[path.instrument.id][1].insert(0, path.on_step(path.price))
    return events, prices


def legged(case: AccountCase) -> AccountCase:
    """Return a case in the long/short mode."""
    return replace(case, scenario=replace(case.scenario, is_long_short=True))


def shortened(case: AccountCase, until_ns: int) -> AccountCase:
    """Return a case without what comes after a moment, to look at a difference."""
    events = tuple(event for event in case.scenario.events if event.received_ns <= until_ns)
    return replace(case, scenario=replace(case.scenario, events=events, end_ns=until_ns))


#: So many contracts, at this maintenance rate, with at most this leverage; the unit of a contract is what it is worth.
_STEEP = (("40", "0.004", "100"), ("200", "0.02", "50"), ("1000", "0.05", "20"), ("1000000", "0.1", "3"))
_FLAT = (("100000000", "0.005", "1000"),)
_HARSH = (("100000000", "0.3", "1000"),)


def margin_case(seed: int) -> AccountCase:
    """Return the account and market of a seed, under margin."""
    case, dice = account_case(seed), Random(seed * 7 + 3)
    contracts = [i.id for i in case.scenario.instruments if not i.is_spot]
    levers = [str(each) for each in (1, 2, 3, 7, 20, 50)]
    tables = {"-".join(name.split("-")[:2]): dice.choice((_STEEP, _FLAT, _FLAT, _HARSH)) for name in contracts}
    tiers = {name: tables["-".join(name.split("-")[:2])] for name in contracts}
    leverage = {}
    for name in contracts:
        most = max(int(row[2]) for row in tiers[name])
        leverage[name] = dice.choice([lever for lever in levers if int(lever) <= most])
    scenario = replace(
        case.scenario,
        margin=dice.choice(("isolated", "cross", "cross")),
        leverage=leverage,
        tiers=tiers,
        max_leverage=dice.choice((1, 3, 7, 20)),  # the script sizes by it
    )
    return replace(case, scenario=scenario)
