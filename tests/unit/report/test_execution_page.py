"""How well orders did, as the report page and the notebook show it; runs with little to show say so or nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from handmade_run import START_NS
from msgspec.structs import replace
from report_runs import BTC, ETH, Silent, Turns, run, store

import quantkit as qk
from quantkit.engine.outcome import OrderEvent
from quantkit.orders import OrderState
from quantkit.report import execution_card
from quantkit.report.execution import Inventory
from quantkit.report.page import charts, execution
from quantkit.report.page.page import render
from quantkit.report.result import Result

ROOT = Path(__file__).parents[3]
END = "2024-08-08T23:55:30Z"


@pytest.fixture(scope="module")
def quoted() -> Result:
    return qk.backtest("quoter", data=ROOT / "data", end=END, queue_model="power:2")


def sections(result: Result) -> ElementTree.Element | None:
    """Return the cards as a tree; None of a run that has none."""
    section = execution.section(result, execution.figures(result))
    return ElementTree.fromstring(section) if section else None


def words(tree: ElementTree.Element | None) -> str:
    assert tree is not None
    return " ".join("".join(tree.itertext()).split())


def test_a_quoter_has_three_pictures_and_their_numbers(quoted: Result) -> None:
    """Each in an element of its own; the table has the figures."""
    drawn = execution.figures(quoted)
    assert list(drawn) == ["markouts", "queue", "inventory"]
    page = render(quoted).decode()
    assert all(f'id="figure_{name}"' in page for name in drawn)
    tree, figures = sections(quoted), quoted.execution.figures
    said = words(tree)
    assert "mid of best bid and offer" in said
    assert "down from there is adverse selection" in said
    assert f"{len(quoted.execution.queue_times_s)} orders to the first maker fill" in said
    assert "Both: quote uptime" in said
    assert f"{figures['quoted_pct']:.0f} %" in said
    assert tree is not None
    rows = {row[0].text or "".join(row[0].itertext()): row for row in tree.iter("tr")}
    assert [cell.text for cell in rows["fills"]][-1] == str(quoted.execution.markout_rows[3].fills)
    assert len(rows["against us since"]) == 6
    assert "Adverse Selection 5 s [bps]" in page


def test_a_run_on_candles_shows_what_it_has(tmp_path: Path) -> None:
    """One horizon is no line; of several instruments the one most traded is drawn."""
    result = run(store(tmp_path, instruments=(BTC, ETH)), Turns(instruments=(BTC.id, ETH.id)))
    assert list(execution.figures(result)) == ["inventory"]
    said = words(sections(result))
    assert "close of the candle" in said
    assert "60 sTaker, bps" in said
    assert "No limit order reached the exchange." in said
    assert f"of {BTC.id}, the one most traded, bars of 0.01; flat" in said
    assert execution_card.card(result.execution) == ""


def test_a_run_without_orders_shows_nothing(tmp_path: Path) -> None:
    result = run(store(tmp_path, days=1), Silent())
    assert sections(result) is None
    assert 'id="execution"' not in render(result).decode()


class Patient(qk.Strategy):
    """Bids far below the market."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")
        self.bid = False

    def on_candle(self, candle: qk.Candle) -> None:
        if not self.bid:
            self.bid = True
            self.buy(BTC.id, 0.01, price=candle.close / 2)


def test_a_run_without_fills_shows_its_quotes(tmp_path: Path) -> None:
    result = run(store(tmp_path, days=1), Patient())
    said = words(sections(result))
    assert said.count("No order was filled.") == 2
    assert "None of them filled while it rested." in said
    assert "Filled, of their size 0 %" in said.replace("size0", "size 0")
    card = execution_card.card(result.execution)
    assert "<svg" not in card
    assert "Quote Uptime" in card


class Legs(qk.Strategy):
    """Holds a long and a short position of one contract; most fills are the short one's."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")
        self.seen = 0

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen += 1
        if self.seen in (1, 5):
            self.buy(BTC.id, 0.02, position_side="long")
        if self.seen in (3, 7, 9):
            self.sell(BTC.id, 0.01, position_side="short")


def test_a_run_in_long_short_mode_has_a_page(tmp_path: Path) -> None:
    """With the inventory of the leg that traded most, under its own name."""
    result = qk.backtest(Legs(), data=store(tmp_path, days=1), cash={"USDT": 100_000}, position_mode="long_short")
    assert result.execution.fill_counts == {f"{BTC.id} long": 2, f"{BTC.id} short": 3}
    assert f"each position of {BTC.id} short, the one most traded, bars of 0.01;" in words(sections(result))
    assert 'id="figure_inventory"' in render(result).decode()


def test_without_prices_it_says_why(result_of: Callable[..., Result]) -> None:
    """And without a price after the fills."""
    base = result_of().outcome
    result = result_of(order_events=[*base.order_events])
    said = words(sections(result))
    assert "has no price path to hold its fills against" in said
    late = qk.backtest("quoter", data=ROOT / "data", end="2024-08-08T23:54:30Z")
    ended = replace(late.outcome, fills=[replace(fill, revealed_ns=late.outcome.end_ns) for fill in late.outcome.fills])
    silent = Result(ended, late.config, late.instruments, prices=late._price_source)
    assert "No price came after a fill within the run." in words(sections(silent))


def test_triggered_orders_that_rested_are_told(result_of: Callable[..., Result]) -> None:
    """Makers without a limit order among them."""
    base = result_of().outcome
    orders = [replace(order, price=None, price_ticks=None) for order in base.orders]
    fills = [replace(fill, role="maker") for fill in base.fills]
    events = [OrderEvent(order.id, START_NS, START_NS, OrderState.ACCEPTED, "") for order in orders]
    said = words(sections(result_of(orders=orders, fills=fills, order_events=events)))
    assert "No limit order reached the exchange. Triggered ones rested." in said


def test_a_long_wait_has_whole_seconds() -> None:
    assert (execution._seconds(0.4684), execution._seconds(3_600.4)) == ("0.468 s", "3,600 s")


# Charts ---------------------------------------------------------------------------------------------------------------


def models(figure: charts.FigureJson, kind: str) -> list[dict[str, Any]]:
    """Return the models of a kind in a document, wherever they stand."""
    found: list[dict[str, Any]] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("name") == kind:
                found.append(value)
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(figure)
    return found


def test_lines_of_markouts_leave_out_what_is_not_known() -> None:
    """Only makers with a spread have the dotted line."""
    figure = charts.markouts({"maker": [0.2, -0.9, -1.0, None, None], "taker": [None, 0.5, 0.4, None, None]})
    assert len(models(figure["doc"], "LinearAxis")) == 2
    names = [each["attributes"].get("name") for each in models(figure["doc"], "GlyphRenderer")]
    assert names == ["accent", "accent", "dot_accent", "bench", "dot_bench"]
    bare = charts.markouts({"maker": [None] * 5, "taker": [None, 0.5, 0.4, None, None]})
    names = [each["attributes"].get("name") for each in models(bare["doc"], "GlyphRenderer")]
    assert names == ["accent", "dot_accent", "bench", "dot_bench"]


@pytest.mark.parametrize("seconds", [[0.0, 0.5], [1.0], [0.2, 3.0, 3_000.0]])
def test_every_time_in_queue_is_in_a_bar(seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest and the longest too."""
    counts: list[Any] = []
    count = np.histogram

    def counted(*given: Any) -> Any:
        found = count(*given)
        counts.append(found[0])
        return found

    monkeypatch.setattr(charts.np, "histogram", counted)
    charts.queue_times(np.array(seconds))
    assert counts[0].sum() == len(seconds)


# The notebook -----------------------------------------------------------------------------------------------------


def test_the_notebook_card_draws_it(quoted: Result) -> None:
    """As well-formed HTML with three small pictures."""
    tree = ElementTree.fromstring(execution_card.card(quoted.execution))
    assert len(list(tree.iter("svg"))) == 3
    assert "Markout 5 s [bps]" in "".join(tree.itertext())
    assert ElementTree.fromstring(quoted._repr_html_()).findall(".//figure")[1:]


def test_pictures_of_little_are_left_out() -> None:
    """A position of no time, and a single moment in the queue."""
    assert execution_card._inventory(Inventory("X", 1.0, np.array([0.0]), np.array([0.0]))) == ""
    assert execution_card._queue(np.empty(0)) == ""
    assert "1 orders" not in execution_card._queue(np.array([0.5, 0.7]))
