"""Measure what orders cost: one at the market, an amend, a quoter, a crossing of averages, a hundred thousand fills.

Each time is CPU time, the median of several rounds in which the floor and the run without orders are measured in turn;
what an order costs is the difference to that run. The floor of an order is its objects and two calls: the order, its
two reports and the fill, `on_order` and `on_fill` that do nothing.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
from market import INSTRUMENT, store_candles, store_steady_trades
from measure import cpu, python_calls, show

import quantkit as qk
from quantkit.indicators import Sma

ROUNDS = 5
BOOK = "binance:BTC-USDT-SWAP"
#: One of each kind of queue model.
QUEUES = ("risk_averse", "front", "proportional", "power:2", "log2")
#: Trades for each order: it is sent at one, fills at the next, and is long reported before the one after the next.
SPACING = 10


class Taker(qk.Strategy):
    """Sends a market order, buy and sell in turn, at every tenth trade."""

    sends: bool = True

    def on_start(self) -> None:
        self.subscribe_trades(INSTRUMENT.id)
        self.seen = 0

    def on_trade(self, trade: qk.Trade) -> None:
        self.seen += 1
        if self.seen % SPACING == 0 and self.sends:
            send = self.buy if self.seen // SPACING % 2 else self.sell
            send(INSTRUMENT.id, 0.01)

    def on_order(self, order: qk.Order) -> None:
        pass

    def on_fill(self, fill: qk.Fill) -> None:
        pass


class Amender(Taker):
    """Keeps one order resting far away and moves it at every tenth trade."""

    def on_trade(self, trade: qk.Trade) -> None:
        self.seen += 1
        if self.seen == 1:
            self.order = self.buy(INSTRUMENT.id, 0.01, price=10_000.0)
        elif self.seen % SPACING == 0 and self.sends:
            self.amend(self.order, price=10_000.0 + self.seen % 100)


class Quoter(qk.Strategy):
    """Quotes at the best prices every 100 ms, a side less when it holds much; without orders it reads the book only."""

    sends: bool = True

    def on_start(self) -> None:
        self.subscribe_book(BOOK)
        self.every("100ms")

    def on_timer(self, name: str) -> None:
        book = self.book(BOOK)
        if book is None:
            return
        bid, ask = book.best_bid, book.best_ask
        if self.sends:
            held = self.position(BOOK)
            self.quote(BOOK, bid=bid if held < 0.05 else None, ask=ask if held > -0.05 else None, qty=0.01)


class Resting(Quoter):
    """Quotes as above, with further orders at rest on both sides, some of them near enough to be met."""

    further: int = 0

    def on_start(self) -> None:
        super().on_start()
        self.left = self.further

    def on_timer(self, name: str) -> None:
        book = self.book(BOOK)
        if self.left and book is not None and book.best_bid is not None and book.best_ask is not None:
            for step in range(self.left):
                self.buy(BOOK, 0.001, price=book.best_bid - 1 - 5 * step, post_only=True)
                self.sell(BOOK, 0.001, price=book.best_ask + 1 + 5 * step, post_only=True)
            self.left = 0
        super().on_timer(name)


class Cross(qk.Strategy):
    """Holds while the fast average is above the slow one."""

    sends: bool = True

    def on_start(self) -> None:
        self.subscribe_candles(INSTRUMENT.id, "1m")
        self.fast, self.slow = Sma(10), Sma(30)

    def on_candle(self, candle: qk.Candle) -> None:
        fast, slow = self.fast.update(candle.close), self.slow.update(candle.close)
        if self.sends and self.slow.is_ready:
            self.target(candle.instrument, 0.01 if fast > slow else 0.0)


def _order() -> qk.Order:
    return qk.Order(id="bench1", instrument=INSTRUMENT.id, side=qk.Side.BUY, qty=0.01, lots=10, sent_ns=1)


def _hook(_told: object) -> None:
    pass


def order_floor(count: int) -> None:
    """Build the objects of market orders and call the two hooks."""
    for number in range(count):
        order = _order()
        for state in (qk.OrderState.ACCEPTED, qk.OrderState.FILLED):
            msgspec.structs.replace(order, state=state, updated_ns=2)
        _hook(order)
        _hook(
            qk.Fill(
                id=number,
                order_id="bench1",
                instrument=INSTRUMENT.id,
                side=qk.Side.BUY,
                price=50_000.0,
                qty=0.01,
                value=Decimal(500),
                fee=Decimal("0.25"),
                fee_currency="USDT",
                role="taker",
                filled_ns=1,
                revealed_ns=2,
                why="trade",
                tag="",
                lots=10,
                ticks=500_000,
            )
        )


def amend_floor(count: int) -> None:
    """Build the request and the report of amends and call the hook."""
    order = _order()
    for number in range(count):
        msgspec.structs.replace(order, price=10_000.0)
        _hook(msgspec.structs.replace(order, price=10_000.0, updated_ns=number))


def _backtest(strategy: qk.Strategy, data: Path, **options: object) -> qk.Result:
    return qk.backtest(strategy, data=data, cash={"USDT": 1e7}, **options)  # type: ignore[arg-type]


def _both(make: Callable[..., qk.Strategy], data: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    return (lambda: _backtest(make(sends=True), data)), (lambda: _backtest(make(sends=False), data))


def bench_orders(folder: Path) -> None:
    """A market order with its fill on trades, and an amend of a resting order."""
    count = 2_000
    store_steady_trades(folder / "orders", count * SPACING + 5)
    for make, floor, what, aim, calls_aim in (
        (Taker, order_floor, "market order with its fill", "<= 60 us", "<= 80"),
        (Amender, amend_floor, "amend of a resting order", "<= 30 us", "<= 50"),
    ):
        busy, idle = _both(make, folder / "orders")
        floors: list[float] = []
        times: list[float] = []
        for _ in range(ROUNDS):
            floors.append(cpu(lambda floor=floor: floor(count)) / count)  # type: ignore[misc]
            times.append((cpu(busy) - cpu(idle)) / count)
        show(f"{what}, floor: build, call", f"{statistics.median(floors) * 1e6:.1f} us")
        show(what, f"{statistics.median(times) * 1e6:.0f} us", aim)
        show("  the best round", f"{min(times) * 1e6:.0f} us")
        ratio = statistics.median(ours / floor for ours, floor in zip(times, floors, strict=True))
        show("  ratio to the floor", f"{ratio:.1f}")
        show("  Python calls", f"{(python_calls(busy) - python_calls(idle)) / count:.1f}", calls_aim)


def bench_quoter(data: Path) -> None:
    """The shipped BTCUSDT book, two sides quoted anew every 100 ms, over reading it at the same times."""
    _compare("quoter on the recorded BTCUSDT book", *_both(Quoter, data), "<= 0.25 s")
    fills, orders = (len(getattr(_backtest(Quoter(), data), name)) for name in ("fills", "order_events"))
    show("  fills, events of orders", f"{fills}, {orders}")
    for model in QUEUES:
        few, many = (min(_queued(model, further, data) for _ in range(ROUNDS)) for further in (0, 9))
        show(f"  queue model {model}", f"{few:.3f} s", "<= 0.3 s")
        show("    ten times the resting orders", f"x {many / few:.2f}", "<= 2")


def _queued(model: str, further: int, data: Path) -> float:
    """Return the CPU time of the quoter with a queue model and further orders at rest on each side."""
    return cpu(lambda: _backtest(Resting(further=further), data, queue_model=model, max_leverage=10))


def bench_cross(folder: Path) -> None:
    """A crossing of two averages over 100,000 candles, to the finished result, over the same run without orders."""
    store_candles(folder / "cross", 100_000)

    def run(*, sends: bool) -> None:
        _finish(_backtest(Cross(sends=sends), folder / "cross"))

    _compare("100,000 candles, cross of two averages", lambda: run(sends=True), lambda: run(sends=False), "<= 0.6 s")
    show("  fills", f"{len(_backtest(Cross(), folder / 'cross').fills)}")


def _compare(what: str, busy: Callable[[], object], idle: Callable[[], object], aim: str) -> None:
    rounds = [(cpu(idle), cpu(busy)) for _ in range(ROUNDS)]
    floors, times = zip(*rounds, strict=True)
    show(f"{what}, floor: without orders", f"{statistics.median(floors):.3f} s")
    show(what, f"{statistics.median(times):.3f} s", aim)
    show("  the best round", f"{min(times):.3f} s")
    show("  ratio to the floor", f"{statistics.median(ours / floor for floor, ours in rounds):.2f}")


def _finish(result: qk.Result) -> None:
    """Ask for everything that a result works out when it is asked for."""
    for name in ("stats", "equity", "returns", "orders", "fills", "round_trips", "open_trips"):
        getattr(result, name)


_RUN = """
import json, resource, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from orders import _backtest, _finish, EveryTrade
sends = sys.argv[2] == "True"
begin = time.process_time()
result = _backtest(EveryTrade(sends=sends), Path(sys.argv[1]))
_finish(result)
seconds, peak = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak / 1024, len(result.fills)]))
"""


class EveryTrade(qk.Strategy):
    """Sends a market order, buy and sell in turn, at every trade."""

    sends: bool = True

    def on_start(self) -> None:
        self.subscribe_trades(INSTRUMENT.id)
        self.is_buyer = True

    def on_trade(self, trade: qk.Trade) -> None:
        if self.sends:
            (self.buy if self.is_buyer else self.sell)(INSTRUMENT.id, 0.01)
            self.is_buyer = not self.is_buyer


def bench_fills(folder: Path) -> None:
    """A hundred thousand fills in one run with everything that its result holds, in a process of its own."""
    store_steady_trades(folder / "fills", 100_001)
    code = _RUN.format(here=str(Path(__file__).parent))
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for _ in range(3):
        for sends in (False, True):
            arguments = [sys.executable, "-c", code, str(folder / "fills"), str(sends)]
            found[sends].append(json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout))
    (idle_s, idle_mib, _), (busy_s, busy_mib, fills) = (
        [statistics.median(numbers) for numbers in zip(*found[sends], strict=True)] for sends in (False, True)
    )
    show(f"{fills:,.0f} fills in one run, floor: without orders", f"{idle_s:.2f} s")
    show(f"{fills:,.0f} fills in one run, to the finished result", f"{busy_s:.2f} s", "<= 8 s")
    show("  ratio to the floor", f"{busy_s / idle_s:.1f}")
    show("  memory above the run without orders", f"{busy_mib - idle_mib:.0f} MiB", "<= 300 MiB")
