"""How far a run has come: one owner, right also while rows are handed out, and parts that are whole from the start."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantkit
from quantkit.brokers.base import DirtySet
from quantkit.engine.dispatch import HookDispatcher, HookedRows
from quantkit.engine.engine import Engine
from quantkit.engine.guard import HookGuard
from quantkit.errors import StrategyError
from quantkit.events import Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.rows.cursors import NOWHERE
from quantkit.rows.position import RunPosition
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

NAME = "BTC-USDT"
PACKAGE = Path(quantkit.__file__).parent


def line_up(position: RunPosition, dirty: DirtySet, parts: int, hook: Any) -> HookDispatcher:
    """Return a dispatcher of the rows 1, 3, 5, 7 of ten, of one stream or of two in turn."""
    received_ns = np.arange(100, 110, dtype=np.int64)
    position.enter_batch(received_ns)
    dispatcher = HookDispatcher(position, dirty, HookGuard(Strategy(), position, is_live=False))
    indices = [1, 3, 5, 7]
    split = [indices] if parts == 1 else [indices[::2], indices[1::2]]
    hooked = [HookedRows(np.array(own, np.int64), hook, None, iter(own)) for own in split]
    dispatcher.line_up(hooked, received_ns)
    return dispatcher


@pytest.mark.parametrize("parts", [1, 2])
def test_a_hook_sees_the_index_after_its_own_row(parts: int) -> None:
    """And the row's time; afterwards the run stays after the last one."""
    position, seen = RunPosition(), list[tuple[int, int, int]]()
    dispatcher = line_up(position, DirtySet(), parts, lambda row: seen.append((row, position.index, position.now_ns)))
    assert dispatcher.next_index == 1
    dispatcher.run_to(6)
    assert seen == [(1, 2, 101), (3, 4, 103), (5, 6, 105)]
    assert (position.index, dispatcher.next_index) == (6, 7)
    position.index = 7
    dispatcher.run_to(8)
    assert (seen[-1], position.index, dispatcher.next_index) == ((7, 8, 107), 8, NOWHERE)


@pytest.mark.parametrize("limit", range(11))
def test_rows_before_a_limit_are_handed_out(limit: int) -> None:
    """Also where the rows stand side by side, and in a second batch that is shorter."""
    for indices in (np.array([2, 3, 4, 9]), np.arange(10), np.arange(7)):
        received_ns, position, seen = np.arange(10, dtype=np.int64), RunPosition(), list[int]()
        dispatcher = HookDispatcher(position, set(), HookGuard(Strategy(), position, is_live=False))
        for rows in (np.arange(10), indices):
            dispatcher.line_up([HookedRows(rows, seen.append, None, iter(rows.tolist()))], received_ns[: rows[-1] + 1])
        first = dispatcher.next_index
        if first < limit:
            dispatcher.run_to(limit)
        rest = indices[indices >= limit]
        assert seen == indices[indices < limit].tolist()
        assert dispatcher.next_index == (rest[0] if len(rest) else NOWHERE)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_hook_that_raises_leaves_the_run_after_its_row(parts: int) -> None:
    """And the error names the hook and its row's time."""
    position = RunPosition()

    def on_row(row: int) -> None:
        if row == 3:
            raise ValueError("no")

    dispatcher = line_up(position, DirtySet(), parts, on_row)
    with pytest.raises(StrategyError, match=r"Strategy.on_row .* raised ValueError: no") as caught:
        dispatcher.run_to(10)
    assert (position.index, position.now_ns, caught.value.now_ns) == (4, 103, 103)


@pytest.mark.parametrize("parts", [1, 2])
def test_rows_stop_behind_a_hook_that_changed_something(parts: int) -> None:
    position, dirty = RunPosition(), DirtySet()
    dispatcher = line_up(position, dirty, parts, lambda row: dirty.add(NAME) if row == 3 else None)
    dispatcher.run_to(10)
    assert (position.index, dispatcher.next_index) == (4, 5)


def test_a_batch_begins_before_its_first_row() -> None:
    position = RunPosition(5)
    position.index = 3
    position.enter_batch(np.array([7, 8], np.int64))
    assert (position.index, position.now_ns, len(position.received_ns)) == (0, 5, 2)


def test_everything_can_be_read_before_the_run() -> None:
    """A watcher may come early: no attribute is made later."""

    class Idle(Strategy):
        def on_start(self) -> None:
            self.subscribe_trades(NAME)

    feed = MemoryFeed(
        [Trade(NAME, n, n, 100.0, 1.0, Side.BUY, n) for n in (1, 2)], [Instrument(NAME, price_step="1", qty_step="1")]
    )
    engine = simulated_run(feed, Idle(), RunOptions())
    before = set(vars(engine)) | {f"parts.{name}" for name in vars(engine._parts)}
    for name in dir(Engine):
        if not name.startswith("_") and isinstance(getattr(Engine, name), property):
            getattr(engine, name)
    assert (engine.open_orders, list(engine.fills), engine.gap_count, engine.mark(NAME)) == ([], [], 0, None)
    engine.run()
    assert set(vars(engine)) | {f"parts.{name}" for name in vars(engine._parts)} == before


@pytest.mark.parametrize("room", ["engine", "brokers", "rows"])
def test_no_class_is_longer_than_a_reader_can_hold(room: str) -> None:
    """300 lines: what needs more has two nouns."""
    for file in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 300, f"{file.name}: {node.name} has {lines} lines"


@pytest.mark.parametrize("room", ["engine", "brokers", "rows"])
def test_every_attribute_is_made_when_an_object_is(room: str) -> None:
    """`self.x = ...` outside `__init__` only where `__init__`, or that of a base in the same room, makes `x`."""
    made: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    later: list[tuple[str, str]] = []
    for file in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
            own = made.setdefault(node.name, set())
            own |= {
                target.id
                for line in node.body
                for target in ([line.target] if isinstance(line, ast.AnnAssign) else [])
                if isinstance(target, ast.Name)
            }
            for method in node.body:
                if not isinstance(method, ast.FunctionDef):
                    continue
                if any(isinstance(mark, ast.Attribute) and mark.attr == "setter" for mark in method.decorator_list):
                    own.add(method.name)
                for part in ast.walk(method):
                    if (
                        isinstance(part, ast.Attribute)
                        and isinstance(part.ctx, ast.Store)
                        and isinstance(part.value, ast.Name)
                        and part.value.id == "self"
                    ):
                        if method.name == "__init__":
                            own.add(part.attr)
                        else:
                            later.append((node.name, part.attr))

    def known(name: str) -> set[str]:
        return made.get(name, set()).union(*(known(base) for base in bases.get(name, ())))

    assert [(name, attribute) for name, attribute in later if attribute not in known(name)] == []
