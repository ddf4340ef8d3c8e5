"""What the frames of a notebook's plots may ask the kernel for: prices of the latest plots, and nothing else."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from report_runs import BTC, SPIKE_HIGH, START_NS, run, store

from quantkit.clock import NS_PER_DAY, NS_PER_MS
from quantkit.errors import ConfigError
from quantkit.report.kernel import KernelRows, kernel_rows
from quantkit.report.page import page
from quantkit.report.page.packing import unpack
from quantkit.report.plots import Plot
from quantkit.report.result import Result

START_MS, DAY_MS = START_NS // NS_PER_MS, NS_PER_DAY // NS_PER_MS


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Three days of one instrument with a spike."""
    return run(store(tmp_path_factory.mktemp("turns"), days=3))


@pytest.fixture
def rows(turns: Result) -> KernelRows:
    """A kernel that drew one plot of them."""
    rows = KernelRows("abc")
    rows.offer("plot", turns, [BTC.id])
    return rows


def question(**changes: Any) -> dict[str, Any]:
    """Build a question as a frame sends it."""
    asked = {"plot": "plot", "ask": 7, "place": 0, "from": START_MS, "to": START_MS + DAY_MS, "buckets": 2_000}
    return asked | changes


def test_a_frame_gets_every_row_or_extremes(rows: KernelRows) -> None:
    """As many as it asks for at most; the number of the question comes back."""
    found = rows.answer(question())
    assert found["ask"] == 7
    assert found["rows"]["count"] == 1_440 == len(unpack(found["rows"]["rows"]["close"]))
    found = rows.answer(question(to=START_MS + 3 * DAY_MS, buckets=1_000))
    low, rise = (unpack(found["rows"]["buckets"][name]) for name in ("low", "rise"))
    assert len(low) <= 1_000
    assert max(low + rise) == SPIKE_HIGH
    assert json.dumps(found)


@pytest.mark.parametrize(
    "asked",
    [
        question(plot="another"),
        question(place=1),
        question(buckets="many"),
        {"ask": 7},
        question(**{"from": None}),
    ],
    ids=lambda asked: "-".join(map(str, asked.values())),
)
def test_what_is_not_there_is_gone(rows: KernelRows, asked: dict[str, Any]) -> None:
    """As of a plot of the kernel before a restart."""
    assert rows.answer(asked) == {"ask": 7, "gone": True}


def test_odd_questions_are_answered(rows: KernelRows) -> None:
    """Whatever a frame sends: no question is an error in the kernel."""
    assert rows.answer([1]) == {"ask": None, "gone": True}
    assert rows.answer(question(place=-5, buckets=-1))["rows"]["count"] == 1_440
    assert rows.answer(question(**{"from": -(10**18), "to": 10**18}))["rows"]["count"] == 3 * 1_440


def test_only_the_latest_plots_are_held(turns: Result) -> None:
    """Each holds its result, and a notebook is run many times."""
    rows = KernelRows("abc")
    for number in range(20):
        rows.offer(f"plot{number}", turns, [BTC.id])
    held = [number for number in range(20) if "rows" in rows.answer(question(plot=f"plot{number}"))]
    assert held == list(range(8, 20))


def test_a_channel_is_answered(rows: KernelRows) -> None:
    """By Jupyter's own objects: one for each frame."""
    heard: list[Any] = []
    sent: list[Any] = []
    comm = SimpleNamespace(on_msg=heard.append, send=sent.append)
    rows.opened(comm, {})
    heard[0]({"content": {"data": question()}})
    assert sent[0]["rows"]["count"] == 1_440


def test_a_process_without_a_notebook_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where IPython runs in a terminal."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert kernel_rows() is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert kernel_rows() is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    assert kernel_rows() is None


def test_a_plot_names_its_kernel_where_it_is_cut(turns: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that holds every row has nobody to ask."""
    monkeypatch.setattr("quantkit.report.plots.kernel_rows", lambda: KernelRows("abc"))
    assert "<script>" not in turns.plot()._repr_html_()
    monkeypatch.setattr(page, "ROWS_MAX", 1_000)
    output = turns.plot()._repr_html_()
    assert '"kernel": "abc"' in output[output.index("<script>") :]
    assert turns.plot()._repr_html_() != output  # each has a name of its own
    monkeypatch.setattr("quantkit.report.plots.kernel_rows", lambda: None)
    assert "<script>" not in turns.plot()._repr_html_()


def test_a_plot_of_a_span_lies_in_the_run(turns: Result) -> None:
    """What lies outside is refused in words."""
    assert isinstance(turns.plot("2025-05-06", "2025-05-06T12:00"), Plot)
    assert isinstance(turns.plot(end="2025-05-06"), Plot)
    with pytest.raises(ConfigError, match="nothing of the run lies in the span to plot; it runs from 2025-05-05"):
        turns.plot("2025-06-01")
