"""The bar of a backtest: in a notebook, in runs that take a while, and never anywhere else."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_DAY
from quantkit.report.progress import NotebookBar, shown

DATA = Path(__file__).parents[3] / "data"


class Screen:
    """What IPython's `display` shows, one list of drawings for each output."""

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, str]]] = []

    def __call__(self, data: dict[str, str], **options: Any) -> SimpleNamespace:
        """Show something new, and return a handle to it."""
        assert options == {"raw": True, "display_id": True}
        drawings = [data]
        self.outputs.append(drawings)
        return SimpleNamespace(update=lambda data, raw: drawings.append(data))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by the clock for durations, in a list of one."""
    time = [100.0]
    monkeypatch.setattr("quantkit.report.progress.monotonic_s", lambda: time[0])
    return time


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A process whose IPython belongs to a kernel."""
    screen = Screen()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=screen))
    return screen


def test_a_bar_is_one_output_that_is_drawn_over_itself_and_removed(now: list[float]) -> None:
    """At most every 200 ms, and not before half a second is over."""
    screen = Screen()
    bar = NotebookBar(screen)
    for at in (100.1, 100.4, 100.6, 100.7, 101.0):
        now[0] = at
        bar(round((at - 100) * NS_PER_DAY), 0, 2 * NS_PER_DAY)
    (drawings,) = screen.outputs
    assert [drawing["text/plain"] for drawing in drawings] == [" 30 %  1970-01-01 14:24", " 50 %  1970-01-02 00:00"]
    assert 'value="30"' in drawings[0]["text/html"]
    bar.clear()
    assert drawings[-1] == {"text/plain": "", "text/html": ""}


def test_a_quick_run_shows_nothing(now: list[float]) -> None:
    """Nor is anything cleared."""
    screen = Screen()
    bar = NotebookBar(screen)
    bar(5, 0, 10)
    bar.clear()
    assert screen.outputs == []


def test_a_bar_stays_between_nothing_and_all(now: list[float]) -> None:
    """Rows from the warm-up come before the start; a run of one moment is done."""
    screen = Screen()
    bar = NotebookBar(screen)
    for moment, span in ((-5, (0, 10)), (15, (0, 10)), (0, (0, 0))):
        now[0] += 1
        bar(moment, *span)
    assert [drawing["text/plain"][:5] for drawing in screen.outputs[0]] == ["  0 %", "100 %", "  0 %"]


def test_a_failed_run_takes_its_bar_away(now: list[float], notebook: Screen) -> None:
    """The traceback stands alone."""

    def fail() -> None:
        with shown(None) as progress:
            assert progress is not None
            now[0] += 1
            progress(1, 0, 2)
            raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        fail()
    assert notebook.outputs[0][-1]["text/plain"] == ""


def test_false_and_functions_are_taken_as_they_are(notebook: Screen) -> None:
    """A notebook's bar is only a default."""
    calls: list[tuple[int, int, int]] = []
    given: Callable[[int, int, int], None] = lambda *now: calls.append(now)  # noqa: E731
    with shown(given) as progress:
        assert progress is given
    with shown(False) as progress:
        assert progress is None
    assert notebook.outputs == []


def test_there_is_no_bar_outside_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPython, in its terminal, and with a module of that name alone."""
    monkeypatch.setitem(sys.modules, "IPython", None)
    with shown(None) as progress:
        assert progress is None
    for shell in (None, SimpleNamespace()):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        with shown(None) as progress:
            assert progress is None


def test_a_backtest_draws_it(notebook: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the run's own span; the result is the same as without."""
    monkeypatch.setattr("quantkit.report.progress._PATIENCE_S", 0.0)
    monkeypatch.setattr("quantkit.report.progress._PAUSE_S", 0.0)
    span = {"data": DATA, "start": "2025-05-10", "end": "2025-05-12"}
    with_bar = qk.backtest("ma_cross", **span)
    (drawings,) = notebook.outputs
    assert any("2025-05-1" in drawing["text/plain"] for drawing in drawings)
    assert qk.backtest("ma_cross", progress=False, **span).hash == with_bar.hash
    assert len(notebook.outputs) == 1
