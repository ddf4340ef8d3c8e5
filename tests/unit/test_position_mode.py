"""The long/short mode by the page that states it: a run by hand, what strategies read, and what is refused."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from rich.console import Console

import quantkit as qk
from quantkit.clock import NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.errors import OrderError, StrategyError
from quantkit.events import Candle, Funding, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, Order, PositionSide
from quantkit.proving import check as proving
from quantkit.report.summary import fills_table

START_NS: Final = time_ns_of("2026-01-01")
SWAP: Final = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
SPOT: Final = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
PRICES: Final = (50_000.0, 51_000.0, 52_000.0, 49_000.0, 48_000.0, 48_000.0, 48_000.0)
#: Second, side, size, leg.
ORDERS: Final = ((1, "buy", 10, "long"), (2, "sell", 4, "short"), (3, "sell", 6, "long"), (4, "buy", 2, "short"))
D = Decimal


def trades(instrument: Instrument = SWAP, prices: Sequence[float] = PRICES) -> list[MarketEvent]:
    """Return a trade at each second from the first on, and one at the start."""
    return [
        Trade(instrument.id, at_ns, at_ns, price, 1.0, Side.BUY, number)
        for number, price in enumerate([prices[0], *prices])
        for at_ns in [START_NS + number * NS_PER_S]
    ]


class Acts(qk.Strategy):
    """Does what it is told at half seconds, before the trade of the next whole one."""

    instrument: str = SWAP.id
    on_candles: bool = False
    funding: bool = False

    def on_start(self) -> None:
        if self.on_candles:
            self.subscribe_candles(self.instrument, "1s")
        else:
            self.subscribe_trades(self.instrument)
        if self.funding:
            self.subscribe_funding(self.instrument)
        self.every("500ms")
        self.acts: dict[int, Callable[[qk.Strategy], Any]] = {}
        self.seen: dict[int, Any] = {}
        self.told: list[Order] = []
        self.filled: list[Fill] = []

    def on_timer(self, name: str) -> None:
        second, rest = divmod(self.now - START_NS, NS_PER_S)
        if rest and second + 1 in self.acts:
            self.seen[second + 1] = self.acts[second + 1](self)

    def on_order(self, order: Order) -> None:
        self.told.append(order)

    def on_fill(self, fill: Fill) -> None:
        self.filled.append(fill)


def run(
    acts: dict[int, Callable[[Any], Any]],
    *,
    rows: Sequence[MarketEvent] | None = None,
    instruments: Sequence[Instrument] = (SWAP,),
    **options: Any,
) -> tuple[qk.Result, Acts]:
    """Run the acts in the long/short mode."""

    class Told(Acts):
        def on_start(self) -> None:
            super().on_start()
            self.acts = acts

    given: dict[str, Any] = {
        "position_mode": "long_short",
        "cash": {"USDT": 10_000},
        "fees": qk.Fees(taker_bps=5),
        "max_leverage": 3,
        "latency_ms": 1,
        **options,
    }
    given_rows = list(trades() if rows is None else rows)
    strategy = Told(
        instrument=instruments[0].id,
        on_candles=any(isinstance(row, Candle) for row in given_rows),
        funding=any(isinstance(row, Funding) for row in given_rows),
    )
    return qk.backtest(strategy, data=MemoryFeed(given_rows, instruments), **given), strategy


def order(side: str, qty: float, leg: str, **more: Any) -> Callable[[Any], Order]:
    """Return the call of an order."""
    return lambda strategy: getattr(strategy, side)(SWAP.id, qty, position_side=leg, **more)


@pytest.fixture(scope="module")
def by_hand() -> tuple[qk.Result, Acts]:
    """The run of the page: five fills, one boundary of funding at the fifth second."""
    acts = {second: order(side, qty, leg) for second, side, qty, leg in ORDERS}
    acts[6] = order("sell", 10, "long")
    boundary_ns = START_NS + 5_000 * NS_PER_MS
    rows = trades(prices=(*PRICES[:4], 49_000.0, *PRICES[5:]))
    rows.append(Funding(SWAP.id, boundary_ns, boundary_ns + NS_PER_MS, 0.0001, boundary_ns, True))
    rows.sort(key=lambda row: row.received_ns)
    return run(acts, rows=rows, equity_every="500ms")


def test_the_run_by_hand(by_hand: tuple[qk.Result, Acts]) -> None:
    """Every number of the page's table."""
    result, strategy = by_hand
    assert [(f.side.value, f.qty, f.price, f.position_side.value, f.fee) for f in result.outcome.fills] == [
        ("buy", 10, 50_000, "long", D("2.5")),
        ("sell", 4, 51_000, "short", D("1.02")),
        ("sell", 6, 52_000, "long", D("1.56")),
        ("buy", 2, 49_000, "short", D("0.49")),
        ("sell", 4, 48_000, "long", D("0.96")),
    ]
    last = strategy.told[-1]
    assert (last.state, last.reason, last.filled_qty) == ("cancelled", "reduce_only_position_closed", 4)
    outcome = result.outcome
    assert (outcome.realised, outcome.fees) == ({"USDT": D(80)}, {"USDT": D("6.53")})
    assert (outcome.funding, outcome.equity) == ({"USDT": D("-0.098")}, D("10133.372"))
    assert outcome.position_qty == {"BTC-USDT-SWAP long": D(0), "BTC-USDT-SWAP short": D(-2)}
    assert outcome.position_mark == {"BTC-USDT-SWAP": 48_000}
    paid = [(p.position_side.value, p.amount) for p in outcome.funding_payments]
    assert paid == [("long", D("-0.196")), ("short", D("0.098"))]
    # Half a second after each fill, and after the funding.
    halves = outcome.curve.is_grid & (outcome.curve.time_ns % NS_PER_S != 0)
    after = [9_997.5, 10_096.48, 10_154.92, 10_154.43, 10_154.332, 10_133.372]
    assert outcome.curve.equity[halves].round(9).tolist() == [10_000, *after]


def test_round_trips_and_tables_are_by_leg(by_hand: tuple[qk.Result, Acts]) -> None:
    """One closed long trip beside an open short one, and a column in every table."""
    result, _ = by_hand
    (closed,), (left,) = result.trips.closed, result.trips.open
    assert (closed.side, closed.position_side, closed.qty) == (Side.BUY, PositionSide.LONG, 10)
    assert (closed.entry_price, closed.exit_price, closed.pnl) == (50_000, 50_400, D(40) - D("5.02"))
    assert (left.side, left.position_side, left.qty, left.realised) == (Side.SELL, PositionSide.SHORT, 2, D(40))
    assert left.unrealised == 60
    legs = ["long", "short", "long", "short", "long"]
    assert result.fills["position_side"].tolist() == legs
    assert result.orders["position_side"].tolist() == legs
    assert result.orders["reduce_only"].tolist() == [False, False, True, True, True]
    assert result.funding["position_side"].tolist() == ["long", "short"]
    assert result.round_trips["position_side"].tolist() == ["long"]
    assert result.open_trips["position_side"].tolist() == ["short"]
    assert result.stats["equity_closed"] == pytest.approx(10_133.372 - 2 * 480 * 0.0005)
    inventory = {each.instrument: each.qtys.tolist() for each in result.execution.inventories}
    assert set(inventory) == {"BTC-USDT-SWAP long", "BTC-USDT-SWAP short"}
    assert min(inventory["BTC-USDT-SWAP short"]) < 0 <= min(inventory["BTC-USDT-SWAP long"])
    assert "contracts: a long and a short position each, whose notionals add up" in result.assumptions


def test_what_is_shown_names_the_leg(by_hand: tuple[qk.Result, Acts]) -> None:
    """Cards of orders, and fills in the terminal."""
    result, _ = by_hand
    shown = result.outcome.orders[1]._repr_html_()
    assert "position" in shown
    assert "short" in shown
    assert "position" not in Order(id="bt1", instrument="A", side=Side.BUY, qty=1.0)._repr_html_()
    told = Console(width=120, record=True)
    told.print(fills_table(result.outcome.fills))
    assert "BTC-USDT-SWAP short" in told.export_text()


def test_a_saved_result_has_the_legs(by_hand: tuple[qk.Result, Acts], tmp_path: Path) -> None:
    """Orders, fills, funding and positions come back as they were."""
    result, _ = by_hand
    loaded = qk.Result.load(result.save(tmp_path / "saved"))
    for name in ("orders", "fills", "funding_payments", "position_qty"):
        assert str(getattr(loaded.outcome, name)) == str(getattr(result.outcome, name))
    assert loaded.hash == result.hash
    assert loaded.config["position_mode"] == "long_short"


def test_profit_of_the_legs_is_the_change_of_the_equity(by_hand: tuple[qk.Result, Acts]) -> None:
    """Realised and open profit of both, less fees, plus funding."""
    result, strategy = by_hand
    book = strategy.portfolio
    long, short = (book.position(SWAP.id, side) for side in ("long", "short"))
    parts = sum(leg.realised + leg.unrealised(48_000) for leg in (long, short))
    parts += sum(amount for leg in (long, short) for amount in leg.funding.values())
    parts -= sum(amount for leg in (long, short) for amount in leg.fees.values())
    assert parts == result.outcome.equity - result.outcome.starting_equity


# One leg is the net position ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", ["long", "short"])
@pytest.mark.parametrize("is_on_candles", [False, True], ids=["trades", "candles"])
def test_a_run_of_one_leg_is_the_net_run(leg: str, is_on_candles: bool) -> None:
    """Fill by fill and amount by amount: with closing orders that only reduce."""
    opens, closes = ("buy", "sell") if leg == "long" else ("sell", "buy")
    worse = 1.0 if leg == "long" else -1.0

    def acts(**side: Any) -> dict[int, Callable[[Any], Any]]:
        def act(what: str, qty: float, **more: Any) -> Callable[[Any], Any]:
            if what == closes:
                more["reduce_only"] = True
            return lambda strategy: getattr(strategy, what)(SWAP.id, qty, **more, **side)

        return {
            1: act(opens, 20),
            2: act(closes, 50, price=50_000 + 3_000 * worse),
            3: act(closes, 5),
            4: act(opens, 90),
            5: act(closes, 7, stop_price=50_000 - 1_500 * worse),
            6: act(closes, 1_000),
        }

    prices = [50_000.0, *(50_000 + worse * step for step in (400, 900, -300, -1_600, -1_800, 100, 200))]
    rows: list[MarketEvent] = trades(prices=prices)
    if is_on_candles:
        rows = [
            Candle(SWAP.id, at, at, at - NS_PER_S, at, p, p + 50, p - 50, p + 10, 9.0, "1s")
            for at, p in ((START_NS + n * NS_PER_S, price) for n, price in enumerate([prices[0], *prices]))
        ]
    rows.append(Funding(SWAP.id, *[START_NS + 3_500 * NS_PER_MS] * 2, 0.001, START_NS + 3_500 * NS_PER_MS, True))
    rows.sort(key=lambda row: row.received_ns)
    options: dict[str, Any] = {"match_on": "candle" if is_on_candles else "trade", "latency_ms": None}
    net, _ = run(acts(), rows=rows, position_mode="net", **options)
    legs, _ = run(acts(position_side=leg), rows=rows, **options)
    assert len(net.outcome.fills) >= 4
    plain = {"position_side", "leg"}
    for name in ("orders", "fills", "funding_payments"):
        for one, other in zip(getattr(net.outcome, name), getattr(legs.outcome, name), strict=True):
            for field in one.__struct_fields__:
                if field not in plain:
                    assert getattr(one, field) == getattr(other, field), (name, field)
    assert net.outcome.order_events == legs.outcome.order_events
    for field in ("cash", "equity", "realised", "fees", "funding", "excursions"):
        assert getattr(net.outcome, field) == getattr(legs.outcome, field), field
    for name, column in net.outcome.curve.numbers.items():
        assert (column == legs.outcome.curve.numbers[name]).all(), name
    assert [trip.pnl for trip in net.trips.closed] == [trip.pnl for trip in legs.trips.closed]


# What strategies call -----------------------------------------------------------------------------------------------


def test_targets_readings_and_closing_name_a_leg() -> None:
    """Each leg goes its own way, and never through zero."""
    told: list[tuple[float, float]] = []

    def look(strategy: Any) -> None:
        told.append(tuple(strategy.position(SWAP.id, side=side) for side in ("long", "short")))

    def at(*calls: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda strategy: (look(strategy), *[call(strategy) for call in calls])

    result, _ = run(
        {
            1: at(lambda s: s.target(SWAP.id, 5, side="long"), lambda s: s.target(SWAP.id, -3, side="short")),
            2: at(lambda s: s.target(SWAP.id, 5, side="long"), lambda s: s.target(SWAP.id, -1, side="short")),
            3: at(
                lambda s: s.buy(SWAP.id, 1, price=10.0, position_side="long"),
                lambda s: s.buy(SWAP.id, 1, price=9.0, position_side="short"),
            ),
            4: at(lambda s: s.close(SWAP.id, side="long")),
            5: at(lambda s: s.close(SWAP.id, side="long")),
            6: at(lambda s: [order.position_side for order in s.open_orders(SWAP.id)]),
        }
    )
    assert told == [(0, 0), (5, -3), (5, -1), (5, -1), (0, -1), (0, -1)]
    ended = [
        (o.side.value, o.position_side.value, o.reduce_only, o.state.value, o.reason) for o in result.outcome.orders
    ]
    assert ended == [
        ("buy", "long", False, "filled", ""),
        ("sell", "short", False, "filled", ""),
        ("buy", "short", True, "filled", ""),
        ("buy", "long", False, "cancelled", "requested"),
        ("buy", "short", True, "cancelled", "end_of_data"),
        ("sell", "long", True, "filled", ""),
    ]


def test_a_target_that_is_under_way_is_counted_by_leg() -> None:
    """A working order of one leg is no part of the other."""

    def both(strategy: Any) -> list[Order | None]:
        return [strategy.target(SWAP.id, qty, side=side) for qty, side in ((5, "long"), (-3, "short"))]

    result, strategy = run({1: lambda s: [*both(s), *both(s), s.target(SWAP.id, 7, side="long")]})
    assert strategy.seen[1][2:4] == [None, None]
    assert strategy.seen[1][4] is strategy.seen[1][0]
    assert [(o.position_side.value, o.filled_qty) for o in result.outcome.orders] == [("long", 7), ("short", 3)]


def test_worths_of_legs() -> None:
    """A share of the equity, or an amount, by leg: half of 10,000 is 10 contracts of 500, a short of 2,000 is 4."""

    def act(strategy: Any) -> None:
        strategy.target_pct(SWAP.id, 0.5, side="long")
        strategy.target_value(SWAP.id, -2_000, side="short")

    def less(strategy: Any) -> None:
        strategy.target_pct(SWAP.id, 0.0, side="long")
        strategy.target_value(SWAP.id, -1_000, side="short")
        strategy.sell(SWAP.id, qk.Cash(500), position_side="short")

    result, _ = run({1: act, 3: less}, rows=trades(prices=[50_000.0] * 6), fees=qk.Fees())
    assert [(fill.side.value, fill.qty, fill.position_side.value) for fill in result.outcome.fills] == [
        ("buy", 10, "long"),
        ("sell", 4, "short"),
        ("sell", 10, "long"),
        ("buy", 2, "short"),
        ("sell", 1, "short"),
    ]


def test_targets_of_on_start_are_traded_by_leg() -> None:
    """Those of before the run are remembered with their leg; `close` takes one back."""

    class Early(Acts):
        def on_start(self) -> None:
            super().on_start()
            assert self.target(SWAP.id, 2, side="long") is None
            self.target(SWAP.id, -2, side="short")
            self.target(SWAP.id, -1, side="short")
            assert self.position(SWAP.id, side="short") == 0
            refused = self.sell(SWAP.id, 1, position_side="long")
            assert (refused.position_side, refused.reduce_only, refused.reason) == (PositionSide.LONG, True, "warmup")
            self.close(SWAP.id, side="long")

    result = qk.backtest(Early(), data=MemoryFeed(trades(), [SWAP]), position_mode="long_short", max_leverage=3)
    assert [(f.position_side.value, f.qty) for f in result.outcome.fills] == [("short", 1)]


def test_triggers_close_their_own_leg() -> None:
    """A take-profit of the long leg and a trailing stop of the short one, each within its leg."""

    def act(strategy: Any) -> None:
        strategy.sell(SWAP.id, 9, take_profit_price=51_500, position_side="long")
        strategy.buy(SWAP.id, 9, trailing_offset=500, position_side="short")

    result, _ = run(
        {1: lambda s: [order("buy", 5, "long")(s), order("sell", 3, "short")(s)], 3: act},
        rows=trades(prices=[50_000, 50_000, 50_000, 51_600, 51_600, 51_600]),
    )
    assert [(f.side.value, f.qty, f.leg) for f in result.outcome.fills[2:]] == [
        ("sell", 5, "BTC-USDT-SWAP long"),
        ("buy", 3, "BTC-USDT-SWAP short"),
    ]
    assert {o.reason for o in result.outcome.orders[2:]} == {"reduce_only_position_closed"}


def test_spot_has_one_position_in_both_modes() -> None:
    """Its orders, targets and quotes need no side; `net` may be said."""

    def act(strategy: Any) -> None:
        strategy.buy(SPOT.id, 0.02, position_side="net")
        strategy.quote(SPOT.id, bid=10.0, ask=None, qty=0.01)

    def leave(strategy: Any) -> float:
        held: float = strategy.position(SPOT.id)
        strategy.close(SPOT.id)
        return held

    result, strategy = run({1: act, 3: leave}, rows=trades(SPOT), instruments=[SPOT])
    assert strategy.seen[3] == 0.02
    assert result.outcome.position_qty == {SPOT.id: D(0)}
    assert [order.position_side.value for order in result.outcome.orders] == ["net"] * 3


# Bad input ----------------------------------------------------------------------------------------------------------

NAME_ONE: Final = "BTC-USDT-SWAP has a long and a short position; name one: "


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: s.buy(SWAP.id, 1), f"buy BTC-USDT-SWAP: {NAME_ONE}position_side='long' or position_side='short'"),
        (
            lambda s: s.sell(SWAP.id, 1, position_side="up"),
            "sell BTC-USDT-SWAP: position_side 'up' of BTC-USDT-SWAP is not known; use long or short",
        ),
        (
            lambda s: s.buy(SWAP.id, 1, position_side="long", reduce_only=True),
            "buy BTC-USDT-SWAP: it opens the long position; leave reduce_only out",
        ),
        (
            lambda s: s.sell(SWAP.id, 1, position_side="short", reduce_only=True),
            "sell BTC-USDT-SWAP: it opens the short position; leave reduce_only out",
        ),
        (
            lambda s: s.sell(SWAP.id, 1, position_side="long", stop_loss=1.0),
            "sell BTC-USDT-SWAP: it closes the long position; give no take_profit= and no stop_loss=",
        ),
        (lambda s: s.position(SWAP.id), f"{NAME_ONE}side='long' or side='short'"),
        (lambda s: s.portfolio.position(SWAP.id), f"{NAME_ONE}side='long' or side='short'"),
        (lambda s: s.target(SWAP.id, 1), f"{NAME_ONE}side='long' or side='short'"),
        (lambda s: s.close(SWAP.id), f"{NAME_ONE}side='long' or side='short'"),
        (
            lambda s: s.target(SWAP.id, -1, side="long"),
            "target BTC-USDT-SWAP: qty is -1; the long position is zero or more",
        ),
        (
            lambda s: s.target(SWAP.id, 1, side="short"),
            "target BTC-USDT-SWAP: qty is 1; the short position is zero or less",
        ),
        (
            lambda s: s.target_pct(SWAP.id, -0.5, side="long"),
            "target_pct BTC-USDT-SWAP: the worth is -0.5; the long position is zero or more",
        ),
        (lambda s: s.target_value(SWAP.id, 5), f"{NAME_ONE}side='long' or side='short'"),
        (
            lambda s: s.quote(SWAP.id, bid=1.0, ask=None, qty=1),
            "quote BTC-USDT-SWAP: it keeps one net position; in the long/short mode send buy and sell with "
            "position_side=",
        ),
    ],
)
def test_calls_that_name_no_leg_are_refused(call: Callable[[Any], Any], said: str) -> None:
    """In one line, in a hook and in `on_start` alike."""
    with pytest.raises(StrategyError) as caught:
        run({1: call})
    assert isinstance(caught.value.__cause__, OrderError)
    assert str(caught.value.__cause__) == said

    class Early(Acts):
        def on_start(self) -> None:
            super().on_start()
            call(self)

    if not {"portfolio", "target_pct", "target_value"} & set(call.__code__.co_names):
        with pytest.raises(StrategyError) as caught:
            qk.backtest(Early(), data=MemoryFeed(trades(), [SWAP]), position_mode="long_short")
        assert str(caught.value.__cause__) == said


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.buy(SWAP.id, 1, position_side="long"),
        lambda s: s.position(SWAP.id, side="long"),
        lambda s: s.target(SWAP.id, 1, side="long"),
        lambda s: s.close(SWAP.id, side="long"),
    ],
)
def test_a_net_run_knows_no_legs(call: Callable[[Any], Any]) -> None:
    """A side is too much there, and says what to run with."""
    with pytest.raises(
        StrategyError, match=r"BTC-USDT-SWAP has one position; leave (position_)?side='long' out, or run"
    ):
        run({1: call}, position_mode="net")


@pytest.mark.parametrize("mode", ["hedge", "", None, 1])
def test_a_mode_that_is_none_is_refused(mode: object) -> None:
    """With the two there are."""
    with pytest.raises(qk.ConfigError, match=r"position_mode is .*; use one of net, long_short"):
        run({}, position_mode=mode)


@pytest.mark.parametrize(
    ("opened", "reason"),
    [(0, "51169: there is no position to reduce"), (2, "51112: a closing order above the position")],
)
def test_okx_rules_judge_a_leg(opened: int, reason: str) -> None:
    """With OKX's codes for closing orders."""
    acts = {1: order("buy", opened, "long")} if opened else {}
    result, _ = run({**acts, 3: order("sell", 3, "long")}, venue_rules="okx")
    assert result.outcome.orders[-1].reason == reason


def test_an_explanation_repeats_the_mode(tmp_path: Path) -> None:
    """It runs the strategy again as the result says it was run."""
    file = tmp_path / "legs.py"
    file.write_text(
        "import quantkit as qk\n\n\nclass Legs(qk.Strategy):\n"
        "    def on_start(self) -> None:\n        self.subscribe_candles('A-USDT-SWAP', '1m')\n\n"
        "    def on_candle(self, candle: qk.Candle) -> None:\n"
        "        self.target('A-USDT-SWAP', 2, side='long')\n"
        "        self.target('A-USDT-SWAP', -1, side='short')\n"
    )
    index = pd.date_range("2026-01-01", periods=20, freq="1min", tz="UTC")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 100.0), index=index).assign(volume=5.0)
    swap = Instrument("A-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")
    result = qk.backtest(str(file), data={swap.id: frame}, instruments=[swap], position_mode="long_short")
    assert [fill.leg for fill in result.outcome.fills] == ["A-USDT-SWAP long", "A-USDT-SWAP short"]
    assert "filled" in str(result.explain("bt2"))
    assert "position_mode" in proving.OPTIONS
