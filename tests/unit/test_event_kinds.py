"""The table of kinds: a record that lacks something fails when it is declared, and no hook is silently dead."""

from typing import Any, get_args

import msgspec
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import EVENT_KINDS, EVENT_TYPES, KINDS, MarketEvent, Row, Trade, kinds_by_name
from quantkit.events import EventKind as Kind
from quantkit.events import Field as Column
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import DTYPES, KIND_COLUMNS
from quantkit.storage.checks import RULES
from quantkit.storage.schema import PHYSICAL, TABLES
from quantkit.strategy import HOOKS, Strategy, check_kinds, idle_hooks

TRADE = EVENT_KINDS["trade"]
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", quote="USDT", price_step="0.5", qty_step="1")
START_NS = time_ns_of("2025-05-05")


def record(**changes: Any) -> dict[str, Any]:
    """What declares the kind of trades, with changes; one that is `...` leaves the entry out."""
    given = {**msgspec.structs.asdict(TRADE), **changes}
    return {name: value for name, value in given.items() if value is not ...}


@pytest.mark.parametrize("entry", TRADE.__struct_fields__)
def test_a_kind_says_everything(entry: str) -> None:
    """There are no defaults that a new kind could take over unseen."""
    assert Kind(**record()) == TRADE
    with pytest.raises(TypeError, match=f"Missing required argument '{entry}'"):
        Kind(**record(**{entry: ...}))


class Half(msgspec.Struct, frozen=True, gc=False):
    """An event that is in no union and begins otherwise."""

    instrument: str
    price: float


class Stranger(msgspec.Struct, frozen=True, gc=False):
    """An event that is in no union."""

    instrument: str
    exchange_ns: int
    received_ns: int
    price: float


def changed(place: int, **entries: str) -> tuple[Column, ...]:
    """The columns of trades with one changed."""
    columns = list(TRADE.fields)
    columns[place] = columns[place]._replace(**entries)
    return tuple(columns)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hook": "trades"}, "hook 'trades' does not begin with on_"),
        ({"hook": None}, "subscribe_trades asks for rows that no hook takes; name the hook"),
        ({"per": "week"}, "per is 'week'; use day, month or none"),
        ({"fields": ()}, "it has no fields"),
        ({"event": None}, "rows that are stored or reach a hook need a type"),
        ({"fields": TRADE.fields[1:]}, "its fields hold qty, side, trade_id; Trade has price, qty, side, trade_id"),
        ({"fields": TRADE.fields[::-1]}, "its fields hold trade_id, side, qty, price; Trade has price"),
        ({"fields": changed(0, type="money")}, "field price has the type 'money'; use one of stamp"),
        ({"fields": changed(0, type="optional")}, "field price is optional; Trade.price is float"),
        ({"fields": changed(3, type="text")}, "field trade_id is text; Trade.trade_id is int"),
        ({"fields": changed(0, rule="")}, "field price of type float has no rule; use one of price, size"),
        ({"fields": changed(0, rule="big")}, "field price of type float has the rule 'big'; use one of price"),
        ({"fields": changed(3, rule="size")}, "field trade_id of type int has the rule 'size'; only numbers and sides"),
        ({"fields": changed(0, step="money")}, "field price has the step 'money'; use one of price, size, volume"),
        ({"fields": (Column("info", "object"),)}, "field info is an object, which no file holds"),
        ({"event": Half}, "Half does not begin with instrument, exchange_ns, received_ns"),
        (
            {"event": Stranger, "fields": (Column("price", "float", "price"),)},
            "add Stranger to the union MarketEvent (stored rows) or Row (others)",
        ),
        ({"per": "none"}, "add Trade to the union MarketEvent (stored rows) or Row (others)"),
    ],
)
def test_a_kind_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    """In one line that names the kind."""
    with pytest.raises(TypeError) as caught:
        Kind(**record(**changes))
    assert str(caught.value).startswith(f"event kind 'trade': {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "book"}, "event kinds: two have the name book"),
        ({"rank": TRADE.rank - 1}, "event kinds: two have the rank"),
        ({"hook": "on_ticker"}, "event kinds: two have the hook on_ticker"),
        ({"subscription": "subscribe_book"}, "event kinds: two have the subscription subscribe_book"),
        ({"rank": -1}, "event kinds: list them in the order of their ranks"),
    ],
)
def test_kinds_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    kinds = [Kind(**record(**changes)) if kind is TRADE else kind for kind in EVENT_KINDS.values()]
    with pytest.raises(TypeError, match=message):
        kinds_by_name(*kinds)


def test_every_event_has_a_record() -> None:
    """And only once: an event of two kinds would have two ranks."""
    others = [kind for kind in EVENT_KINDS.values() if kind is not TRADE]
    with pytest.raises(TypeError, match="event kinds: Trade has no record"):
        kinds_by_name(*others)
    with pytest.raises(TypeError, match="event kinds: two have the event Trade"):
        kinds_by_name(*EVENT_KINDS.values(), Kind(**record(name="print", rank=99, hook="on_print", subscription=None)))
    assert set(get_args(MarketEvent)) == set(EVENT_TYPES.values()) == set(KINDS)
    assert {kind.event for kind in EVENT_KINDS.values()} == {*get_args(Row), None}


def test_the_law_of_ranks_holds() -> None:
    """ENGINE section 2: a new kind goes between these and moves none of them past another."""
    law = ["gap", "mark", "candle", "funding", "instrument", "candle_open", "book", "ticker", "trade", "timing"]
    assert [name for name in EVENT_KINDS if name in law] == law


def test_every_column_can_be_kept_stored_and_checked() -> None:
    """Wherever the table is read, each of its words is known."""
    for kind in EVENT_KINDS.values():
        assert KIND_COLUMNS[kind.name]
        assert {field.rule for field in kind.fields} <= {*RULES, ""}
        assert {field.type for field in kind.fields} <= set(DTYPES)
        if kind.is_stored:
            assert {field.type for field in kind.fields} <= set(PHYSICAL)
            assert [field.name for field in TABLES[kind.name]][3:] == [field.name for field in kind.fields]


def test_a_kind_whose_methods_a_strategy_lacks_is_refused() -> None:
    """When the module is imported, so that a hook can neither be forgotten nor misspelt in the table."""
    for entry in ("hook", "subscription"):
        kind = Kind(**record(**{entry: "on_fire"}))
        with pytest.raises(TypeError, match="event kind 'trade': Strategy has no method on_fire"):
            check_kinds([kind])
    assert set(HOOKS) >= {kind.hook for kind in EVENT_KINDS.values() if kind.hook}


class Asked:
    """A context that writes down which kinds are asked for."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Note the kind."""
        assert (instrument, warmup) == ("A", 0)
        self.kinds.append(kind)


@pytest.mark.parametrize("kind", [kind for kind in EVENT_KINDS.values() if kind.subscription], ids=lambda k: k.name)
def test_a_subscription_asks_for_its_own_kind(kind: Kind) -> None:
    strategy, context = Strategy(), Asked()
    strategy.bind(context)  # type: ignore[arg-type]
    arguments = ("A", "1m") if kind.name == "candle" else ("A",)
    getattr(strategy, str(kind.subscription))(*arguments)
    assert context.kinds == [kind.name]


@pytest.mark.parametrize("kind", [kind for kind in EVENT_KINDS.values() if kind.hook], ids=lambda k: k.name)
def test_a_hook_that_nothing_feeds_is_told(kind: Kind) -> None:
    """Gaps come with every instrument; all others have to be asked for."""
    writes = type("Writes", (Strategy,), {str(kind.hook): lambda self, event: None})()
    said = f"Writes.{kind.hook} never runs: call self.{kind.subscription}(...) in on_start, or remove the hook"
    assert idle_hooks(writes, []) == ([said] if kind.subscription else [])
    assert idle_hooks(writes, [kind.name]) == []
    assert idle_hooks(Strategy(), []) == []


def value_of(column: Column) -> Any:
    """A value that a column may hold."""
    values = {"flag": True, "side": Side.BUY, "text": "book", "levels": (100.0,), "stamp": START_NS + NS_PER_MIN}
    return values.get(column.type, 100.0 if column.rule else 1)


@pytest.mark.parametrize("kind", [kind for kind in EVENT_KINDS.values() if kind.hook], ids=lambda k: k.name)
def test_the_engine_calls_the_hook_of_every_kind(kind: Kind) -> None:
    """A kind that is in the table reaches its hook without another word."""
    told: list[Any] = []

    def start(self: Strategy) -> None:
        self.subscribe_trades(SWAP.id)
        if kind.subscription and kind.name != "trade":
            arguments = (SWAP.id, "1m") if kind.name == "candle" else (SWAP.id,)
            getattr(self, kind.subscription)(*arguments)

    writes = type("Writes", (Strategy,), {"on_start": start, str(kind.hook): lambda self, event: told.append(event)})()
    at_ns = START_NS + NS_PER_MIN
    values = [value_of(field) for field in kind.fields]
    if kind.name == "candle":
        values[0] = START_NS
        values.append("1m")
    if kind.name == "book":
        values[2:4] = (101.0,), (100.0,)
    assert kind.event is not None
    row = kind.event(SWAP.id, at_ns, at_ns, *values)
    trades = [Trade(SWAP.id, at, at, 100.0, 1.0, Side.BUY) for at in (START_NS, at_ns + 1)]
    outcome = qk.backtest(writes, data=MemoryFeed([*trades, row], [SWAP]), match_on="trade").outcome
    assert len(told) == (3 if kind.name == "trade" else 1)
    assert kind.name == "book" or row in told  # that hook is given a view of the whole book
    assert not any("never runs" in text for text in outcome.warnings)
