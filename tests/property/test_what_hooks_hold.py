"""Whatever a hook is given or can ask for: writing into it changes neither the exchange nor the result."""

import sys
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from oracle.match import outcome_of
from oracle.scenarios import Scenario, scenarios
from oracle.scripted import Scripted

import quantkit as qk
from quantkit.orderbook import Book
from quantkit.strategy import HOOKS

QUICK = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
PLAIN = (str, int, float, bool, type(None))


def spoil(thing: Any, depth: int = 3) -> int:
    """Write into everything public of an object, and into what it holds; return how many writes it took."""
    if isinstance(thing, PLAIN) or depth == 0:
        return 0
    if isinstance(thing, np.ndarray):
        thing[...] = -1
        return 1
    if isinstance(thing, list | set):
        taken = sum(spoil(entry, depth - 1) for entry in list(thing))
        thing.clear()
        return taken + 1
    if isinstance(thing, dict | MappingProxyType):
        taken = sum(spoil(entry, depth - 1) for entry in thing.values())
        try:
            thing.clear()  # type: ignore[union-attr]
        except (AttributeError, TypeError):  # a view of one, or one that nobody can write into
            return taken
        return taken + 1
    taken = 0
    for name in dir(thing):
        if name.startswith("_"):
            continue
        try:
            value = getattr(thing, name)
        except qk.QuantkitError:
            continue
        if callable(value):
            continue
        taken += spoil(value, depth - 1)
        for write in (lambda name=name: setattr(thing, name, 7), lambda name=name: delattr(thing, name)):
            try:
                write()
            except (AttributeError, TypeError):
                continue
            taken += 1
    return taken


class Vandal(Scripted):
    """Follows its script as any other, and spoils all that it can reach on the way."""

    def _called(self, hook: str, text: str) -> None:
        super()._called(hook, text)
        # Every few callbacks will do: what is written into stays with whoever holds it.
        if hook != "start" and self._count % 7 == 2:
            self._spoil_all()

    def _do(self, act: Any) -> None:
        super()._do(act)
        spoil(self.sent[-1:])

    def _spoil_all(self) -> None:
        spoil(self.open_orders())
        spoil(self.portfolio)
        spoil(self.parameters)
        for name in dict.fromkeys(instrument for _, instrument, _, _ in self._subscriptions):
            spoil(self.portfolio.position(name))
            spoil(self.instrument_info(name))
        for kind, name, interval, _ in self._subscriptions:
            if kind == "candle":
                spoil(self.history(name, interval, 3))
            elif kind == "book" and (book := self.book(name)) is not None:
                self._spoil_book(book)

    def _spoil_book(self, book: Book) -> None:
        for seen in (book.copy(), book):
            spoil(seen.depth(2)[0])
            spoil(seen.bids)
            spoil(seen)


def _spoiling(hook: str) -> Any:
    def run(self: Vandal, given: Any) -> None:
        getattr(Scripted, hook)(self, given)
        if isinstance(given, Book):
            self._spoil_book(given)
        else:
            spoil(given)

    return run


for _hook in HOOKS:
    if _hook not in ("on_start", "on_stop", "on_timer"):
        # Scripted sees market data by methods of its own, which it sets as hooks where they are wanted.
        _name = _hook if _hook in vars(Scripted) else _hook.replace("on_", "_see_")
        setattr(Vandal, _name, _spoiling(_name))


def vandal_of(market: Scenario) -> Vandal:
    """Return a vandal that follows a scenario's script."""
    acts = market.acts
    return Vandal(
        subscriptions=market.subscriptions,
        hooks=market.hooks,
        script=lambda number, hook, strategy: acts.get(number, ()),
        timers=market.timers,
        moments=market.moments,
        reads_money=market.reads_money,
    )


@QUICK
@given(market=scenarios())
def test_a_vandal_gets_the_run_that_anybody_gets(market: Scenario) -> None:
    """Orders, events, fills, money and everything it sees itself, whatever it has written into."""
    (honest, seen), (spoiled, seen_too) = outcome_of(market), outcome_of(market, strategy=vandal_of(market))
    assert seen.trace == seen_too.trace
    for name in ("orders", "order_events", "fills", "cash", "equity", "position_qty", "warnings", "ended"):
        # A warning names the strategy's class.
        assert repr(getattr(honest, name)) == repr(getattr(spoiled, name)).replace("Vandal.", "Scripted.")
    assert honest.curve.equity.tolist() == spoiled.curve.equity.tolist()


def test_the_vandal_does_write_where_it_can() -> None:
    """Into plain objects, lists and dictionaries, so that what it leaves as it was is guarded."""

    class Plain:
        def __init__(self) -> None:
            self.qty = 1.0
            self.levels = [1, 2]
            self.fees = {"USDT": 1}

    plain = Plain()
    levels, fees = plain.levels, plain.fees
    assert spoil(plain) == 8
    assert (vars(plain), levels, fees) == ({}, [], {})


# The public door --------------------------------------------------------------------------------------------------

SWAP = qk.Instrument("A-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")


def frame(prices: dict[str, np.ndarray[Any, Any]]) -> pd.DataFrame:
    """Return candles over arrays that stay the caller's own."""
    index = pd.date_range("2024-03-01", periods=len(prices["open"]), freq="1min", tz="UTC")
    return pd.DataFrame(prices, index=index, copy=False)


def arrays(count: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of candles that all stand at 100."""
    return {name: np.full(count, 100.0) for name in ("open", "high", "low", "close", "volume")}


class Buyer(qk.Strategy):
    """Buys at the first candle and calls `meddle` with what it got, in every hook after."""

    sizes: list[float] = [1.0, 2.0]  # noqa: RUF012  a parameter, of which every strategy has its own copy

    def on_start(self) -> None:
        self.subscribe_candles(SWAP.id, "1m")
        self.order: qk.Order | None = None

    def on_candle(self, candle: qk.Candle) -> None:
        if self.order is None:
            self.order = self.buy(SWAP.id, self.sizes[0], price=101.0)
        self.meddle(self.order)

    def meddle(self, order: qk.Order) -> None:
        """Do nothing."""


def run(strategy: Buyer, columns: dict[str, np.ndarray[Any, Any]] | None = None) -> qk.Result:
    """Run on candles."""
    return qk.backtest(strategy, data={SWAP.id: frame(columns or arrays())}, instruments=[SWAP], cash={"USDT": 1000})


@pytest.mark.parametrize(
    ("name", "value"),
    [("qty", 99.0), ("filled_qty", 99.0), ("state", qk.OrderState.REJECTED), ("lots", 99), ("id", "x")],
)
def test_an_order_that_is_written_into_says_so(name: str, value: Any) -> None:
    """The hook fails where the slip is, with what to call instead."""

    class Writer(Buyer):
        def meddle(self, order: qk.Order) -> None:
            setattr(order, name, value)

    with pytest.raises(qk.StrategyError, match=r"on_candle .*immutable type: 'Order'; .*amend\(\) and cancel\(\)"):
        run(Writer())

    class Stubborn(Buyer):
        def meddle(self, order: qk.Order) -> None:
            with pytest.raises(AttributeError):
                setattr(order, name, value)
            # Later Pythons let `object` write past a type's own refusal; that is no slip any more.
            if sys.version_info < (3, 13):
                with pytest.raises(TypeError):
                    object.__setattr__(order, name, value)

    # A class of another name has the hash of another strategy; its orders are those of an honest one.
    honest, stubborn = run(Buyer()), run(Stubborn())
    pd.testing.assert_frame_equal(honest.orders, stubborn.orders)
    assert honest.outcome.fills == stubborn.outcome.fills


def test_positions_and_portfolios_say_whose_they_are() -> None:
    """Attributes cannot be set, mappings cannot be filled."""

    class Writer(Buyer):
        def meddle(self, order: qk.Order) -> None:
            held = self.portfolio.position(SWAP.id)
            for thing in (held, self.portfolio):
                with pytest.raises(AttributeError, match="is the ledger's"):
                    thing.qty = 5
                with pytest.raises(AttributeError, match="is the ledger's"):
                    del thing.qty
            for mapping in (held.fees, held.funding, self.portfolio.instruments, self.portfolio.deposits):
                with pytest.raises(TypeError):
                    mapping["USDT"] = 5

    assert len(run(Writer()).outcome.fills) == 1


def test_parameters_that_a_hook_changes_are_recorded_as_they_were_given() -> None:
    """And are neither the default of other strategies nor the list that the user passed."""

    class Growing(Buyer):
        def meddle(self, order: qk.Order) -> None:
            self.sizes.append(9.0)
            self.parameters["sizes"].append(8.0)

    first, given = Growing(), [1.0, 2.0]
    result = run(first)
    assert first.sizes[2:] == [9.0] * 8
    assert first.parameters == result.config["parameters"] == {"sizes": [1.0, 2.0]}
    assert Growing().sizes == [1.0, 2.0]
    second = Growing(sizes=given)
    assert run(second).hash == result.hash
    assert given == [1.0, 2.0]


def test_a_frame_that_is_written_into_is_not_the_market() -> None:
    """Candles are read before the run, and stay what they were."""
    columns = arrays()

    class Forger(Buyer):
        def meddle(self, order: qk.Order) -> None:
            self.seen = [*getattr(self, "seen", []), self.history(SWAP.id, "1m", 1)[0].close]
            for column in columns.values():
                column[:] = 1.0

    strategy = Forger()
    result = run(strategy, columns)
    assert strategy.seen == [100.0] * 8
    assert [fill.price for fill in result.outcome.fills] == [100.0]
