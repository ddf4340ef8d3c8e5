"""The class that a user subclasses: parameters, hooks, subscriptions, orders, readings; and its Context."""

import copy
import difflib
import inspect
import logging
import math
import sys
import typing
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol, dataclass_transform

import msgspec
import numpy as np

from quantkit.clock import datetime_of
from quantkit.errors import ConfigError
from quantkit.events import EVENT_KINDS, Candle, EventKind, Funding, Gap, Mark, OpenInterest, Ticker, Trade
from quantkit.instruments import Instrument, Side, literal
from quantkit.margin import Margin
from quantkit.orderbook import Book
from quantkit.orders import (
    PLAIN_TERMS,
    Fill,
    Order,
    OrderRequest,
    RequestTerms,
    StopLoss,
    TakeProfit,
    TimeInForce,
    TriggerType,
)
from quantkit.portfolio import Portfolio
from quantkit.sizes import Size

#: Every hook: those that take rows of the market (`events.EVENT_KINDS`), and those of the run and its orders.
HOOKS: Final = (
    "on_start",
    *(kind.hook for kind in EVENT_KINDS.values() if kind.hook is not None),
    "on_order",
    "on_fill",
    "on_timer",
    "on_stop",
)


class ExecAlgorithm(Protocol):
    """An object that works orders by itself; `Strategy.follow` lets it hear of them.

    Attributes:
        is_over: Whether it wants to hear no more.
    """

    is_over: bool

    def on_order(self, order: Order) -> None:
        """Take in the news of an order of the run, its own or another."""
        ...

    def on_timer(self, name: str) -> None:
        """Take in the moment of a timer of its own."""
        ...


class Context(Protocol):
    """The strategy's access to a run; the engine implements it alike for replay and paper runs."""

    @property
    def now_ns(self) -> int:
        """Engine time, UTC nanoseconds."""
        ...

    @property
    def rng(self) -> np.random.Generator:
        """The run's one seeded generator."""
        ...

    @property
    def portfolio(self) -> Portfolio:
        """Money and positions as reported so far."""
        ...

    @property
    def is_warming_up(self) -> bool:
        """Whether the run has not begun: orders are refused."""
        ...

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Ask for a stream; in `on_start` only."""
        ...

    def order(self, request: OrderRequest) -> Order:
        """Send an order."""
        ...

    def amend(
        self,
        order: Order,
        *,
        qty: float | None = None,
        price: float | None = None,
        stop_price: float | None = None,
        take_profit_price: float | None = None,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
    ) -> None:
        """Change an order."""
        ...

    def cancel(self, order: Order) -> None:
        """Cancel an order."""
        ...

    def cancel_all(self, instrument: str | None) -> None:
        """Cancel every open order."""
        ...

    def close(self, instrument: str, side: str = "") -> Order | None:
        """Close the position at the market."""
        ...

    def target(self, instrument: str, qty: float, side: str = "") -> Order | None:
        """Trade toward a position at the market."""
        ...

    def target_worth(self, instrument: str, number: float, *, is_share: bool, side: str = "") -> Order | None:
        """Trade toward a position of a worth at the market."""
        ...

    def quote(
        self, instrument: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep one post-only order on each side."""
        ...

    def position(self, instrument: str, side: str = "") -> float:
        """Return the reported position."""
        ...

    def margin(self, instrument: str, side: str = "") -> Margin:
        """Return the margin of the reported position."""
        ...

    def open_orders(self, instrument: str | None) -> list[Order]:
        """Return the orders that may still fill."""
        ...

    def book(self, instrument: str) -> Book | None:
        """Return the current book, None while there is no valid one."""
        ...

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return the latest closed candles."""
        ...

    def instrument_info(self, instrument: str) -> Instrument:
        """Return an instrument's metadata."""
        ...

    def follow(self, algorithm: ExecAlgorithm) -> str:
        """Tell an algorithm of orders and timers; return the name of its timers."""
        ...

    def every(self, interval: str, name: str) -> None:
        """Start a repeating timer."""
        ...

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once."""
        ...


class _Unbound:
    """The Context before a run: every use raises an error that names the missing run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # What copying and pickling look for; a strategy that is not running can do both.
            raise AttributeError(name)
        raise ConfigError(f"{name} needs a run: pass the strategy to quantkit.backtest(...)")


_UNBOUND: Final = typing.cast(Context, _Unbound())
#: Attributes that every strategy gets when it is built.
_OWN_ATTRIBUTES: Final = frozenset({"log"})


@dataclass_transform(kw_only_default=True)
class Strategy:
    """Subclass it, annotate class attributes as parameters, and write the hooks you want.

    Parameters are keyword arguments of the constructor, checked and then fixed. Hooks are synchronous and optional. The
    market sees an order at its next row at the earliest.
    """

    __signature__: ClassVar[inspect.Signature | None] = inspect.Signature()
    parameter_types: ClassVar[Mapping[str, Any]] = {}
    parameter_defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Collect the parameters and refuse hooks that do not exist or could never run.

        Raises:
            ConfigError: A method `on_...` is no hook, is a coroutine or a generator or takes other arguments, or a
                parameter's default does not fit its type.
        """
        super().__init_subclass__()
        for name in vars(cls):
            if name.startswith("on_") and name not in HOOKS and callable(getattr(cls, name)):
                raise ConfigError(f"{cls.__name__}.{name} is no hook{_did_you_mean(name, HOOKS)}")
        types: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for base in reversed(cls.__mro__[1:]):
            types.update(vars(base).get("parameter_types", {}))
            defaults.update(vars(base).get("parameter_defaults", {}))
        own = vars(cls)
        hints = _own_hints(cls)
        for name, hint in hints.items():
            if typing.get_origin(hint) is not ClassVar and hint is not ClassVar:
                if hasattr(Strategy, name) or name in _OWN_ATTRIBUTES:
                    raise ConfigError(f"{cls.__name__}.{name}: the name is taken by Strategy; rename the parameter")
                types[name] = hint
        for name in HOOKS:  # of the class and of what is mixed in
            if inspect.getattr_static(cls, name) is not inspect.getattr_static(Strategy, name):
                _check_hook(cls, name)
        for name in types:
            if name in own and not isinstance(own[name], property):
                defaults[name] = _checked(cls.__name__, name, own[name], types[name])
                setattr(cls, name, _parameter(cls.__name__, name))
            elif name in hints:
                setattr(cls, name, _parameter(cls.__name__, name))
        cls.parameter_types, cls.parameter_defaults = types, defaults
        # With a constructor of the user's own, that one's arguments are the signature.
        cls.__signature__ = _signature(types, defaults) if cls.__init__ is Strategy.__init__ else None

    def __init__(self, *positional: Any, **parameters: Any) -> None:
        name = type(self).__name__
        if positional:
            raise ConfigError(f"{name} takes its parameters by name{_by_name(type(self), positional[0])}")
        for given in parameters:
            if given not in self.parameter_types:
                raise ConfigError(_unknown_parameter(type(self), given))
        values = {**self.parameter_defaults, **parameters}
        self._given: dict[str, Any] = {}
        for parameter, type_ in self.parameter_types.items():
            if parameter not in values:
                raise ConfigError(f"{name} needs {parameter}; give it a value: {name}({parameter}=...)")
            # A copy of its own: a list that a hook grows is neither the default of other strategies nor the user's.
            value = copy.deepcopy(_checked(name, parameter, values[parameter], type_))
            self.__dict__[f"_p_{parameter}"], self._given[parameter] = value, copy.deepcopy(value)
        self._context: Context = _UNBOUND
        self.log = logging.getLogger(f"quantkit.strategy.{name}")

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name as given to the constructor, without later changes by hooks."""
        return copy.deepcopy(self._given)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={literal(v)}' for k, v in self.parameters.items())})"

    def bind(self, context: Context) -> None:
        """Connect the strategy to a run; the engine calls it."""
        self._context = context

    # Hooks ----------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Subscribe, build indicators, start timers."""

    def on_ticker(self, ticker: Ticker) -> None:
        """Handle a change of the best bid or offer."""

    def on_candle(self, candle: Candle) -> None:
        """Handle a candle, at its close."""

    def on_book(self, book: Book) -> None:
        """Handle a change of the book; the view is valid inside the hook."""

    def on_trade(self, trade: Trade) -> None:
        """Handle a public trade."""

    def on_mark(self, mark: Mark) -> None:
        """Handle a mark or index price."""

    def on_open_interest(self, open_interest: OpenInterest) -> None:
        """Handle how many contracts are open on the exchange."""

    def on_funding(self, funding: Funding) -> None:
        """Handle a predicted or settled funding rate."""

    def on_order(self, order: Order) -> None:
        """Handle a change of state of one of your orders; `order.reason` says why."""

    def on_fill(self, fill: Fill) -> None:
        """Handle an execution of one of your orders; portfolio and order are up to date."""

    def on_timer(self, name: str) -> None:
        """Handle a timer started with `every` or `at`."""

    def on_gap(self, gap: Gap) -> None:
        """Handle a loss of data."""

    def on_stop(self) -> None:
        """Handle the end of the run; orders are refused here."""

    # Subscriptions, in on_start ---------------------------------------------------------------------------------

    def subscribe_tickers(self, instrument: str) -> None:
        """Receive `on_ticker` for an instrument."""
        self._context.subscribe("ticker", instrument, "", 0)

    def subscribe_candles(self, instrument: str, interval: str, *, warmup: int = 0) -> None:
        """Receive `on_candle`; `warmup` candles from before the start come first, with orders refused."""
        self._context.subscribe("candle", instrument, interval, warmup)

    def subscribe_book(self, instrument: str) -> None:
        """Receive `on_book`, and keep `book(instrument)` current."""
        self._context.subscribe("book", instrument, "", 0)

    def subscribe_trades(self, instrument: str) -> None:
        """Receive `on_trade` for an instrument."""
        self._context.subscribe("trade", instrument, "", 0)

    def subscribe_marks(self, instrument: str) -> None:
        """Receive `on_mark` for an instrument."""
        self._context.subscribe("mark", instrument, "", 0)

    def subscribe_open_interest(self, instrument: str) -> None:
        """Receive `on_open_interest` for an instrument."""
        self._context.subscribe("open_interest", instrument, "", 0)

    def subscribe_funding(self, instrument: str) -> None:
        """Receive `on_funding` for an instrument."""
        self._context.subscribe("funding", instrument, "", 0)

    def every(self, interval: str, name: str = "") -> None:
        """Run `on_timer(name)` at every multiple of `interval` on the UTC clock; `name` defaults to the interval."""
        self._context.every(interval, name or interval)

    def at(self, moment: str | int | datetime, name: str = "at") -> None:
        """Run `on_timer(name)` once at a moment: ISO text (UTC unless it says otherwise), UTC ns, or a datetime."""
        self._context.at(moment, name)

    def follow(self, algorithm: ExecAlgorithm) -> str:
        """Tell an object of yours of every order's news before `on_order`, until it is over.

        Returns:
            The name for its timers: those reach its `on_timer` instead of yours.
        """
        return self._context.follow(algorithm)

    # Orders ---------------------------------------------------------------------------------------------------

    def buy(
        self,
        instrument: str,
        qty: float | Size,
        *,
        price: float | None = None,
        stop_price: float | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        time_in_force: str = TimeInForce.GTC,
        tag: str = "",
        take_profit_price: float | None = None,
        trigger_type: str = TriggerType.LAST,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
        activation_price: float | None = None,
        expire_time: str | int | datetime | None = None,
        oco_group: str = "",
        take_profit: float | TakeProfit | None = None,
        stop_loss: float | StopLoss | None = None,
        at: str = "send",
        position_side: str = "",
    ) -> Order:
        """Send a buy order and return it at once, PENDING; without prices it is a market order.

        Args:
            instrument: Its id.
            qty: Size in the instrument's unit, above zero, or by money as `Pct`, `Cash` or `Risk`; rounded toward zero
                to its step.
            price: Limit, rounded down to the step for a buy.
            stop_price: Trigger, rounded up for a buy: the order sleeps until the market rises to it.
            post_only: Refuse the order if it would take on arrival.
            reduce_only: Never let it grow or flip the position.
            time_in_force: `GTC`, `IOC`, `FOK`, or `GTD`, which `expire_time` sets by itself.
            tag: Yours; kept with the order, its fills and round trips.
            take_profit_price: Trigger from the other side, rounded down for a buy: it sleeps until the market falls to
                it.
            trigger_type: Whose price sets the order off: `last`, `mark` or `index`.
            trailing_offset, trailing_offset_bps: A stop that stands so far behind the best price since it is active, as
                a price or in basis points of the best price.
            activation_price: Where a trailing stop becomes active; on arrival without it.
            expire_time: The exchange's time from which the order is no more: ISO text (UTC unless it says otherwise),
                UTC ns, or a datetime.
            oco_group: A name of yours; orders of one group cancel each other.
            take_profit, stop_loss: What protects each fill, as a price or with a limit and a trigger of its own.
            at: When a size by money becomes a number: `send`, or `fill` for a market order that fills at the open of a
                candle or buys on spot.
            position_side: `long` or `short`: the position that it opens or closes, where a contract has both.

        Raises:
            OrderError: NaN, infinite, zero or negative numbers, an unknown instrument, contradicting flags.
        """
        rare = (
            take_profit_price,
            trigger_type,
            trailing_offset,
            trailing_offset_bps,
            activation_price,
            expire_time,
            oco_group,
            take_profit,
            stop_loss,
            at,
        )
        terms = None if rare == PLAIN_TERMS else RequestTerms(*rare)
        return self._context.order(
            OrderRequest(
                instrument,
                Side.BUY,
                qty,
                price,
                stop_price,
                post_only,
                reduce_only,
                time_in_force,
                tag,
                terms,
                position_side,
            )
        )

    def sell(
        self,
        instrument: str,
        qty: float | Size,
        *,
        price: float | None = None,
        stop_price: float | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        time_in_force: str = TimeInForce.GTC,
        tag: str = "",
        take_profit_price: float | None = None,
        trigger_type: str = TriggerType.LAST,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
        activation_price: float | None = None,
        expire_time: str | int | datetime | None = None,
        oco_group: str = "",
        take_profit: float | TakeProfit | None = None,
        stop_loss: float | StopLoss | None = None,
        at: str = "send",
        position_side: str = "",
    ) -> Order:
        """Send a sell order; as `buy` the other way round: limit and take-profit rounded up, the stop down."""
        rare = (
            take_profit_price,
            trigger_type,
            trailing_offset,
            trailing_offset_bps,
            activation_price,
            expire_time,
            oco_group,
            take_profit,
            stop_loss,
            at,
        )
        terms = None if rare == PLAIN_TERMS else RequestTerms(*rare)
        return self._context.order(
            OrderRequest(
                instrument,
                Side.SELL,
                qty,
                price,
                stop_price,
                post_only,
                reduce_only,
                time_in_force,
                tag,
                terms,
                position_side,
            )
        )

    def amend(
        self,
        order: Order,
        *,
        qty: float | None = None,
        price: float | None = None,
        stop_price: float | None = None,
        take_profit_price: float | None = None,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
    ) -> None:
        """Change an order's whole size (filled part included), limit or trigger; only a smaller size keeps its place.

        A trigger changes while it has not gone off.
        """
        self._context.amend(
            order,
            qty=qty,
            price=price,
            stop_price=stop_price,
            take_profit_price=take_profit_price,
            trailing_offset=trailing_offset,
            trailing_offset_bps=trailing_offset_bps,
        )

    def cancel(self, order: Order) -> None:
        """Cancel an order; it may still fill until the cancel has arrived."""
        self._context.cancel(order)

    def cancel_all(self, instrument: str | None = None) -> None:
        """Cancel every open order, of one instrument or of all."""
        self._context.cancel_all(instrument)

    def close(self, instrument: str, *, side: str = "") -> Order | None:
        """Cancel the position's orders and close it at the market; None without a position.

        Args:
            instrument: Its id.
            side: `long` or `short`, where a contract has both.
        """
        return self._context.close(instrument, side)

    def target(self, instrument: str, qty: float, *, side: str = "") -> Order | None:
        """Trade at the market toward a signed position of `qty`.

        Counts the reported position and the working order of an earlier call, which it amends or replaces.

        Args:
            instrument: Its id.
            qty: The position, above zero when long; zero or less for the short one of two.
            side: `long` or `short`, where a contract has both.

        Returns:
            The working order, or None if the position is there already.
        """
        return self._context.target(instrument, qty, side)

    def target_pct(self, instrument: str, fraction: float, *, side: str = "") -> Order | None:
        """Trade at the market toward a position worth a share of the equity, as `target`; below zero is short."""
        return self._context.target_worth(instrument, fraction, is_share=True, side=side)

    def target_value(self, instrument: str, value: float, *, side: str = "") -> Order | None:
        """Trade at the market toward a position worth an amount, as `target`; below zero is short.

        The amount is in the quote currency, in coins for inverse contracts.
        """
        return self._context.target_worth(instrument, value, is_share=False, side=side)

    def quote(
        self, instrument: str, *, bid: float | None = None, ask: float | None = None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep a post-only bid and ask of `qty`; None takes a side off.

        An order with unchanged price and size keeps its place in the queue. Others are amended, or sent again after
        they have ended.
        """
        return self._context.quote(instrument, bid=bid, ask=ask, qty=qty)

    # Reading --------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Engine time, integer UTC nanoseconds."""
        return self._context.now_ns

    @property
    def time(self) -> datetime:
        """Engine time as an aware UTC datetime, cut to microseconds."""
        return datetime_of(self._context.now_ns)

    @property
    def rng(self) -> np.random.Generator:
        """The run's seeded random generator; strategies use no other source of randomness."""
        return self._context.rng

    @property
    def portfolio(self) -> Portfolio:
        """Cash, positions and equity as reported so far."""
        return self._context.portfolio

    @property
    def equity(self) -> float:
        """The account's value in the report currency as a float, to size orders by; `portfolio.equity` is exact.

        NaN while a needed price is unknown; an order with such a size raises.
        """
        equity = self._context.portfolio.equity_float
        return math.nan if equity is None else equity

    @property
    def is_warming_up(self) -> bool:
        """Whether the run has not begun yet: in `on_start` and while warm-up candles come, when orders are refused."""
        return self._context.is_warming_up

    def position(self, instrument: str, *, side: str = "") -> float:
        """Return the tradable part of the reported position in the instrument's unit, above zero when long.

        A remainder below the size step, or on spot below the smallest order, is no position; the exact holding is
        `portfolio.position(instrument).qty`.

        Args:
            instrument: Its id.
            side: `long` or `short`, where a contract has both.
        """
        return self._context.position(instrument, side)

    def margin(self, instrument: str, *, side: str = "") -> Margin:
        """Return initial and maintenance margin, margin ratio and liquidation price of the reported position.

        Raises:
            ConfigError: The run has no margin, or the instrument is no contract.
        """
        return self._context.margin(instrument, side)

    def open_orders(self, instrument: str | None = None) -> list[Order]:
        """Return the orders that may still fill, oldest first."""
        return self._context.open_orders(instrument)

    def book(self, instrument: str) -> Book | None:
        """Return a view of the current book, None before the first snapshot and while it is invalid."""
        return self._context.book(instrument)

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return up to `count` closed candles that were delivered, oldest first."""
        return self._context.history(instrument, interval, count)

    def instrument_info(self, instrument: str) -> Instrument:
        """Return the instrument's steps and arithmetic."""
        return self._context.instrument_info(instrument)


def check_kinds(kinds: Iterable[EventKind], cls: type[Strategy] = Strategy) -> None:
    """Refuse kinds of events that a strategy could not ask for or take.

    Raises:
        TypeError: A hook or a subscription is no method.
    """
    for kind in kinds:
        for name in (kind.hook, kind.subscription):
            if name is not None and not callable(getattr(cls, name, None)):
                raise TypeError(f"event kind {kind.name!r}: {cls.__name__} has no method {name}")


check_kinds(EVENT_KINDS.values())


def idle_hooks(strategy: Strategy, wished: Collection[str]) -> list[str]:
    """Return a sentence for each hook that a strategy has written and that no subscription feeds.

    Args:
        strategy: Whose hooks they are.
        wished: The kinds of rows that it has subscribed to.
    """
    name = type(strategy).__name__
    return [
        f"{name}.{kind.hook} never runs: call self.{kind.subscription}(...) in on_start, or remove the hook"
        for kind in EVENT_KINDS.values()
        if kind.hook is not None
        and kind.subscription is not None
        and kind.name not in wished
        and overrides(strategy, kind.hook)
    ]


def overrides(strategy: Strategy, hook: str) -> bool:
    """Return whether a strategy has written a hook of its own."""
    return getattr(type(strategy), hook) is not getattr(Strategy, hook) or hook in strategy.__dict__


def check_built(strategy: Strategy) -> None:
    """Refuse a strategy whose own constructor has left out that of `Strategy`, before it runs.

    Raises:
        ConfigError: It says what to write.
    """
    if "_given" not in vars(strategy):
        raise ConfigError(
            f"{type(strategy).__name__} is built without the constructor of Strategy; call super().__init__(...) in "
            "its __init__, or annotate parameters in the class"
        )


def _check_hook(cls: type, name: str) -> None:
    """Refuse a hook that would never run or cannot be called.

    Raises:
        ConfigError: It names the hook and says how it is written.
    """
    given = list(inspect.signature(getattr(Strategy, name)).parameters)[1:]
    written = f"def {name}({', '.join(['self', *given])})"
    raw = inspect.getattr_static(cls, name)
    if isinstance(raw, property) or not callable(getattr(cls, name)):
        raise ConfigError(f"{cls.__name__}.{name} is no method, and the name is that of a hook; write `{written}`")
    # As an instance would have it: a function without its self, a static method or a callable object whole.
    method = raw.__get__(object(), cls) if hasattr(type(raw), "__get__") else raw
    own = inspect.unwrap(method)
    if inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own):
        raise ConfigError(f"{cls.__name__}.{name} is async, and hooks are plain functions; write `def {name}`")
    if inspect.isgeneratorfunction(own):
        raise ConfigError(f"{cls.__name__}.{name} yields, and a hook is called, not iterated; take `yield` out")
    try:
        # A wrapper's own arguments count: it may call what it wraps with others.
        signature = inspect.signature(method, follow_wrapped=False)
    except ValueError:  # functions of compiled modules may have none
        return
    try:
        signature.bind(*given)
    except TypeError:
        gets = f"with {given[0]} alone" if given else "without arguments"
        raise ConfigError(f"{cls.__name__}.{name} cannot be called {gets}; write `{written}`") from None


def _signature(types: Mapping[str, Any], defaults: Mapping[str, Any]) -> inspect.Signature:
    """Return the constructor's signature as help, notebooks and editors show it."""
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, inspect.Parameter.empty),
                annotation=type_,
            )
            for name, type_ in types.items()
        ]
    )


def _by_name(cls: type[Strategy], value: Any) -> str:
    """Return how a value that came without a name is written: with the first parameter of its type."""
    known = list(cls.parameter_types)
    if not known:
        return "; it has none"
    fitting = [name for name in known if type(cls.parameter_defaults.get(name)) is type(value)]
    return f": {cls.__name__}({(fitting or known)[0]}={value!r}); it has {', '.join(known)}"


def _unknown_parameter(cls: type[Strategy], name: str) -> str:
    """Return what to do about a parameter that a class does not have: annotate it, or spell it otherwise."""
    plain = vars(cls).get(name)
    if plain is not None and not callable(plain) and not hasattr(Strategy, name):
        return (
            f"{cls.__name__}.{name} is no parameter, since it has no annotation; "
            f"write `{name}: {type(plain).__name__} = {plain!r}` in the class"
        )
    return f"{cls.__name__} has no parameter {name!r}{_did_you_mean(name, cls.parameter_types)}"


def _own_hints(cls: type) -> dict[str, Any]:
    """Return the types of a class's own public annotations, those written as text resolved.

    Text is looked up where the class statement stands: in a function or a notebook cell as well as in a module.

    Raises:
        ConfigError: A name in an annotation is not known there.
    """
    written = {name: hint for name, hint in vars(cls).get("__annotations__", {}).items() if not name.startswith("_")}
    frame = sys._getframe(2)
    # A hook of the user's own and a metaclass's constructor stand between this call and the class statement.
    while frame.f_code.co_name in ("__init_subclass__", "__new__") and frame.f_back is not None:
        frame = frame.f_back
    module = sys.modules.get(cls.__module__)
    names = {**(vars(module) if module is not None else {}), **frame.f_globals, **frame.f_locals}
    found = {}
    for name, hint in written.items():
        try:
            holder = type("holder", (), {"__annotations__": {name: hint}})
            found[name] = typing.get_type_hints(holder, names, names)[name]
        except Exception as error:
            raise ConfigError(
                f"{cls.__name__}.{name}: the annotation {hint!r} is not understood: {error}; "
                "use a type that is imported or defined above the class"
            ) from error
    return found


def _parameter(owner: str, name: str) -> property:
    def refuse(_self: object, _value: object) -> None:
        raise ConfigError(f"{owner}.{name} is a parameter and cannot change; pass it when building: {name}=...")

    # attrgetter runs in C: reading a parameter in a hook costs no Python call.
    return property(attrgetter(f"_p_{name}"), refuse)


def _checked(owner: str, name: str, value: Any, type_: Any) -> Any:
    """Return a parameter's value as its type; text is converted, as it comes from a command line.

    Raises:
        ConfigError: The value does not fit.
    """
    if isinstance(value, np.generic):
        value = value.item()  # a sweep over an array hands out numpy's own numbers
    try:
        if not isinstance(value, str) or type_ is str:
            return msgspec.convert(value, type_)
        try:
            return msgspec.convert(value, type_, strict=False)
        except msgspec.ValidationError:
            if value[:1] not in ("[", "{"):
                raise
            return msgspec.json.decode(value, type=type_, strict=False)
    except (msgspec.DecodeError, TypeError) as error:
        wanted = type_.__name__ if isinstance(type_, type) else str(type_).replace("typing.", "")
        raise ConfigError(f"{owner}.{name} is {value!r}, which is no {wanted}: {error}") from None


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if known else "; it has none"
