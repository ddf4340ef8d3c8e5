"""What a user subclasses: parameters and their types, hooks that exist, and use without a run."""

import abc
import copy
import enum
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from quantkit.errors import ConfigError
from quantkit.strategy import HOOKS, Strategy, overrides


class Tempo(enum.Enum):
    """Something to choose from."""

    SLOW = "slow"
    FAST = "fast"


class Cross(Strategy):
    """Parameters of every plain type."""

    kind_of_run: ClassVar[str] = "test"
    instrument: str = "BTC-USDT"
    fast: int = 10
    qty: float = 0.5
    is_short: bool = False
    _hidden: int = 3
    untyped = 7


class Required(Strategy):
    """One parameter without a default."""

    qty: float


class Rich(Strategy):
    """Parameters of compound types."""

    limit: float | None = None
    side: Literal["long", "short"] = "long"
    level: Literal[1, 2] = 1
    windows: list[int] = [5, 10]  # noqa: RUF012  a parameter's default is copied for each strategy
    weights: dict[str, float] = {"a": 1.0}  # noqa: RUF012
    pair: tuple[int, int] = (1, 2)
    money: Decimal = Decimal("1.5")
    tempo: Tempo = Tempo.SLOW
    since: datetime | None = None


# Parameters -------------------------------------------------------------------------------------------------------


def test_defaults_and_given_values() -> None:
    """Annotated public attributes are parameters, nothing else is."""
    assert Cross().parameters == {"instrument": "BTC-USDT", "fast": 10, "qty": 0.5, "is_short": False}
    given = Cross(fast=3, qty=2)
    assert (given.fast, given.qty, type(given.qty)) == (3, 2.0, float)
    assert (given._hidden, given.untyped, given.kind_of_run) == (3, 7, "test")
    assert repr(given) == "Cross(instrument='BTC-USDT', fast=3, qty=2.0, is_short=False)"
    assert dict(Cross.parameter_types) == {"instrument": str, "fast": int, "qty": float, "is_short": bool}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Cross, {"fast": "5"}, 5),
        (Cross, {"fast": "-5"}, -5),
        (Cross, {"qty": "0.25"}, 0.25),
        (Cross, {"qty": "1e-3"}, 0.001),
        (Cross, {"is_short": "true"}, True),
        (Cross, {"is_short": "0"}, False),
        (Cross, {"instrument": "5"}, "5"),
        (Cross, {"fast": np.int64(5)}, 5),
        (Cross, {"qty": np.float32(0.5)}, 0.5),
        (Cross, {"is_short": np.True_}, True),
        (Rich, {"limit": "2.5"}, 2.5),
        (Rich, {"limit": "null"}, None),
        (Rich, {"side": "short"}, "short"),
        (Rich, {"level": "2"}, 2),
        (Rich, {"windows": "[3, 4]"}, [3, 4]),
        (Rich, {"windows": (1, 2)}, [1, 2]),
        (Rich, {"weights": '{"b": 2}'}, {"b": 2.0}),
        (Rich, {"pair": "[7, 8]"}, (7, 8)),
        (Rich, {"money": "2.50"}, Decimal("2.50")),
        (Rich, {"tempo": "fast"}, Tempo.FAST),
        (Rich, {"since": "2025-05-05T00:00:00Z"}, datetime(2025, 5, 5, tzinfo=UTC)),
    ],
)
def test_text_from_a_command_line_becomes_the_parameters_type(kind: Any, text: dict[str, Any], value: object) -> None:
    """And numpy's numbers become Python's."""
    (name,) = text
    got = getattr(kind(**text), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Cross, {"fast": 2.5}, "Cross.fast is 2.5, which is no int: Expected `int`, got `float`"),
        (Cross, {"fast": "many"}, "Cross.fast is 'many', which is no int: "),
        (Cross, {"fast": True}, "Cross.fast is True, which is no int: "),
        (Cross, {"fast": None}, "Cross.fast is None, which is no int: "),
        (Cross, {"instrument": 5}, "Cross.instrument is 5, which is no str: "),
        (Cross, {"qty": "much"}, "Cross.qty is 'much', which is no float: "),
        (Cross, {"is_short": "maybe"}, "Cross.is_short is 'maybe', which is no bool: "),
        (Rich, {"side": "up"}, "Rich.side is 'up', which is no Literal['long', 'short']: Invalid enum value 'up'"),
        (Rich, {"limit": "high"}, "Rich.limit is 'high', which is no float | None: "),
        (Rich, {"windows": "3,4"}, "Rich.windows is '3,4', which is no list[int]: "),
        (Rich, {"windows": "[3,"}, "Rich.windows is '[3,', which is no list[int]: "),
        (Rich, {"windows": '["a"]'}, """Rich.windows is '["a"]', which is no list[int]: """),
        (Rich, {"tempo": "medium"}, "Rich.tempo is 'medium', which is no Tempo: "),
        (Cross, {"fasst": 3}, "Cross has no parameter 'fasst'; did you mean fast?"),
        (Cross, {"zzz": 3}, "Cross has no parameter 'zzz'; there are instrument, fast, qty, is_short"),
        (Strategy, {"fast": 3}, "Strategy has no parameter 'fast'; it has none"),
        (Required, {}, "Required needs qty; give it a value: Required(qty=...)"),
    ],
)
def test_wrong_parameters_say_what_and_what_is_wanted(
    kind: Callable[..., Strategy], given: dict[str, Any], message: str
) -> None:
    """The class, the parameter, the value, the type."""
    with pytest.raises(ConfigError) as caught:
        kind(**given)
    assert str(caught.value).startswith(message)


def test_parameters_are_frozen() -> None:
    """On the object; and a mutable default is not shared."""
    cross = Cross()
    with pytest.raises(ConfigError, match=r"Cross.fast is a parameter and cannot change; pass it when building: fast="):
        cross.fast = 5
    first, second = Rich(), Rich()
    first.windows.append(99)
    assert second.windows == [5, 10]
    assert Rich().windows == [5, 10]


def test_defaults_are_checked_when_the_class_is_made() -> None:
    """A default that does not fit is found before any run."""
    with pytest.raises(ConfigError, match=r"Bad.fast is 'x', which is no int"):

        class Bad(Strategy):
            fast: int = "x"


def test_inherited_parameters_can_get_other_defaults_and_types() -> None:
    """With an annotation or without; the parent keeps its own."""

    class Child(Cross):
        fast = 20
        qty: int = 4
        more: str = "m"

    assert Child().parameters == {"instrument": "BTC-USDT", "fast": 20, "qty": 4, "is_short": False, "more": "m"}
    assert type(Child().qty) is int
    assert Cross().parameters["fast"] == 10
    with pytest.raises(ConfigError, match=r"Child.fast is a parameter"):
        Child().fast = 1
    with pytest.raises(ConfigError, match=r"Worse.fast is 'x'"):

        class Worse(Cross):
            fast = "x"

    class Narrow(Required):
        qty: int

    assert Narrow(qty="3").qty == 3
    with pytest.raises(ConfigError, match="Narrow needs qty"):
        Narrow()


def test_parameters_of_several_bases_come_together() -> None:
    """The nearer base wins, as attributes do."""

    class Sized(Strategy):
        size: float = 1.0
        fast: int = 99

    class Both(Cross, Sized):
        pass

    assert Both().parameters == {
        "size": 1.0,
        "fast": 10,
        "instrument": "BTC-USDT",
        "qty": 0.5,
        "is_short": False,
    }
    assert Both(size=3).size == 3.0


@pytest.mark.parametrize("name", ["now", "buy", "on_trade", "log", "parameters", "portfolio", "rng", "bind"])
def test_names_that_strategy_needs_are_refused(name: str) -> None:
    """A parameter must not hide a method."""
    with pytest.raises(ConfigError, match=rf"Taken.{name}: the name is taken by Strategy; rename the parameter"):
        type("Taken", (Strategy,), {"__annotations__": {name: int}, name: 1, "__module__": __name__})


def test_annotations_as_text_with_names_of_the_function_around() -> None:
    """A class in a function or a notebook cell that begins with `from __future__ import annotations`."""
    source = """
from __future__ import annotations
from typing import ClassVar, Literal
from quantkit.strategy import Strategy

def make():
    Choice = Literal["a", "b"]

    class Local(Strategy):
        note: ClassVar[str] = "n"
        choice: Choice = "a"
        windows: list[int] = [1]
        limit: float | None = None
        _private: Unknown = 1

    class Child(Local):
        more: Choice = "b"

    return Local, Child

Outer = Literal["x"]

class Top(Strategy):
    value: Outer = "x"
"""
    names: dict[str, Any] = {"__name__": "a_cell_that_is_no_module"}
    exec(compile(source, "cell", "exec", dont_inherit=True), names)  # noqa: S102  as a notebook does it
    local, child = names["make"]()
    assert local(choice="b", windows="[2]", limit="3").parameters == {"choice": "b", "windows": [2], "limit": 3.0}
    assert child().parameters == {"choice": "a", "windows": [1], "limit": None, "more": "b"}
    assert names["Top"]().value == "x"
    with pytest.raises(ConfigError, match=r"Local.choice is 'c'"):
        local(choice="c")


def test_an_annotation_that_nobody_knows_is_told() -> None:
    """The class, the parameter, and what to do."""
    with pytest.raises(ConfigError, match=r"Lost.qty: the annotation 'Quantity' is not understood: name 'Quantity' is"):

        class Lost(Strategy):
            qty: "Quantity" = 1.0  # noqa: F821


def test_text_annotations_below_other_machinery() -> None:
    """A metaclass and a class hook of the user's own stand between the class statement and the look-up."""
    amount = float

    class Base(Strategy, abc.ABC):
        def __init_subclass__(cls) -> None:
            super().__init_subclass__()

        @abc.abstractmethod
        def signal(self) -> float:
            """Say where to go."""

    class Leaf(Base):
        qty: "amount" = 1

        def signal(self) -> float:
            return self.qty

    assert Leaf(qty="2").signal() == 2.0


def test_a_strategy_writes_small_numbers_without_exponents() -> None:
    """As they are typed; what has hundreds of digits stays short."""

    class Small(Strategy):
        x: float = 5e-05
        y: float = 1e308
        z: float = 2.0

    assert repr(Small()) == "Small(x=0.00005, y=1e+308, z=2.0)"


# Hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("on_candel", r"Typo.on_candel is no hook; did you mean on_candle\?"),
        ("on_trades", r"Typo.on_trades is no hook; did you mean on_trade\?"),
        ("on_bar", r"Typo.on_bar is no hook"),
    ],
)
def test_a_hook_that_does_not_exist_is_refused_when_the_class_is_made(name: str, message: str) -> None:
    """A misspelt hook would never run, and nobody would know."""
    with pytest.raises(ConfigError, match=message):
        type("Typo", (Strategy,), {name: lambda self, event: None})


def test_attributes_that_merely_begin_with_on_are_no_hooks() -> None:
    """Only what can be called could be meant as one."""

    class Fine(Strategy):
        on_balance = 3

    assert Fine().on_balance == 3


def test_overrides_tells_hooks_that_were_written() -> None:
    """In the class, in a parent, or on the object itself."""

    class Parent(Strategy):
        def on_candle(self, candle: Any) -> None:
            """Do something."""

    class Child(Parent):
        pass

    assert overrides(Child(), "on_candle")
    assert not overrides(Child(), "on_trade")
    child: Any = Child()
    child.on_trade = print
    assert overrides(child, "on_trade")
    assert all(not overrides(Strategy(), hook) for hook in HOOKS)


def test_every_hook_does_nothing_unless_written() -> None:
    """A strategy need not call its parent's."""
    strategy: Any = Strategy()
    for hook in HOOKS:
        arguments = () if hook in ("on_start", "on_stop") else (None,)
        assert getattr(strategy, hook)(*arguments) is None


# Without a run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.buy("A", 1),
        lambda s: s.sell("A", 1),
        lambda s: s.target("A", 1),
        lambda s: s.close("A"),
        lambda s: s.quote("A", bid=1, qty=1),
        lambda s: s.cancel_all(),
        lambda s: s.subscribe_candles("A", "1m"),
        lambda s: s.subscribe_book("A"),
        lambda s: s.every("1s"),
        lambda s: s.at(0),
        lambda s: s.now,
        lambda s: s.time,
        lambda s: s.rng,
        lambda s: s.portfolio,
        lambda s: s.position("A"),
        lambda s: s.open_orders(),
        lambda s: s.book("A"),
        lambda s: s.history("A", "1m", 1),
        lambda s: s.instrument_info("A"),
    ],
)
def test_acting_without_a_run_says_what_is_missing(use: Callable[[Strategy], object]) -> None:
    """Every call and every reading that needs one."""
    with pytest.raises(ConfigError, match=r"needs a run: pass the strategy to quantkit.backtest\(...\)"):
        use(Cross())


def test_a_strategy_can_be_copied_and_sent_to_another_process() -> None:
    """With its parameters, before it runs."""
    for twin in (copy.deepcopy(Cross(fast=3)), pickle.loads(pickle.dumps(Cross(fast=3)))):
        assert twin.parameters == Cross(fast=3).parameters
        with pytest.raises(ConfigError, match="needs a run"):
            twin.now


def test_each_strategy_has_its_own_log() -> None:
    """Named so that an application can turn it up."""
    assert Cross().log.name == "quantkit.strategy.Cross"
