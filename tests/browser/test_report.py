"""The report in a browser: it asks no network, zooms without losing a spike, sorts, searches, and keeps names text."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from browsing import Look, Watch, every_look
from pages import ROOT
from report_runs import BTC, ETH, HOSTILE, SPIKE, SPIKE_HIGH, SPIKE_LOW, START_NS, Silent, Turns, run, store

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_MS
from quantkit.report.kernel import KernelRows
from quantkit.report.page import page as page_module
from quantkit.report.page.document import ASSETS
from quantkit.report.page.markup import printable
from quantkit.report.page.packing import pack, unpack
from quantkit.report.result import Result

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page, WebSocketRoute

MODEL = """const model = (type, name) => Bokeh.documents.flatMap(each => [...each.all_models])
    .find(each => each.type === type && each.name === name);"""
#: What the chart library holds of a panel: a source's columns; the span and the prices in view.
READ_PANEL = f"""name => {{ {MODEL}
  const columns = Object.entries(model("ColumnDataSource", name).data);
  return Object.fromEntries(columns.map(([key, values]) => [key, Array.from(values)]));
}}"""
READ_VIEW = f"""() => {{ {MODEL}
  const {{x_range, y_range}} = model("Figure", "price");
  return {{from: x_range.start, to: x_range.end, low: y_range.start, high: y_range.end}};
}}"""
READ_COLOUR = f"""() => {{ {MODEL} return model("GlyphRenderer", "accent").glyph.line_color.value; }}"""


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Five days of one instrument with a spike, and 120 round trips."""
    return run(store(tmp_path_factory.mktemp("turns")))


@pytest.fixture(scope="module")
def report(turns: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    return turns.report(tmp_path_factory.mktemp("page") / "turns.html")


def open_whole(page: "Page", path: Path) -> "Page":
    """Open a report and wait until everything is drawn."""
    page.goto(path.as_uri())
    page.locator("html[data-state=whole]").wait_for(state="attached")
    return page


def view(page: "Page") -> dict[str, float]:
    """Return the span and the prices in view, once the view stands still."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found: dict[str, float] = page.evaluate(READ_VIEW)
    return found


@every_look
def test_it_opens_without_a_network_and_without_an_error(
    page: "Page", watch: Watch, report: Path, screenshot: Callable[..., Path | None]
) -> None:
    """One request, for the file itself; nothing is wider than the window."""
    open_whole(page, report)
    assert [url for url in watch.requests if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    assert page.locator("canvas").count() > 0
    screenshot("report", full_page=True)


def test_a_spike_of_one_minute_is_drawn_at_its_price(page: "Page", report: Path) -> None:
    """In the whole run, and as the wick of its own candle after a zoom."""
    open_whole(page, report)
    for drawn in (page.evaluate(READ_PANEL, "price"),):
        assert (max(drawn["y"]), min(drawn["y"])) == (SPIKE_HIGH, SPIKE_LOW)
    moment = (START_NS + (SPIKE + 1) * NS_PER_MIN) // NS_PER_MS
    page.evaluate("moment => View.set(moment - 3e6, moment + 3e6)", moment)
    seen = view(page)
    assert seen["low"] < SPIKE_LOW < SPIKE_HIGH < seen["high"]
    wicks = page.evaluate(READ_PANEL, "wicks")
    at = wicks["high"].index(SPIKE_HIGH)
    assert (wicks["x"][at], wicks["low"][at]) == (moment - 30_000, SPIKE_LOW)
    assert not page.evaluate(READ_PANEL, "price")["x"]
    assert "Price: all candles of 1 min" in page.locator("#resolution").inner_text()


def test_buttons_keys_and_wheel_zoom(page: "Page", report: Path) -> None:
    """The wheel belongs to the page until the chart is clicked, and again after Esc."""
    open_whole(page, report)
    whole = view(page)
    page.get_by_role("button", name="1 D", exact=True).click()
    day = view(page)
    assert day["to"] - day["from"] == pytest.approx(86_400_000, rel=1e-6)
    assert page.get_by_role("button", name="1 D", exact=True).get_attribute("aria-pressed") == "true"
    page.locator("#stack").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    near = view(page)
    assert near["to"] - near["from"] == pytest.approx(0.6 * 86_400_000, rel=1e-6)
    assert near["from"] > day["from"]
    page.get_by_role("button", name="All", exact=True).click()
    assert view(page)["to"] == pytest.approx(whole["to"])

    box = page.locator("#figure_panels").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 400, box["y"] + 100)
    page.mouse.wheel(0, -120)
    assert view(page) == whole
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#figure_panels").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 400, box["y"] + 100)
    page.mouse.wheel(0, -240)
    while (zoomed := view(page)) == whole:
        page.wait_for_timeout(20)  # until the wheel has come to the page
    assert zoomed["to"] - zoomed["from"] < 0.95 * (whole["to"] - whole["from"])
    page.keyboard.press("Escape")
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(100)
    assert view(page) == zoomed


def test_dragging_moves_all_panels_and_stays_in_the_run(page: "Page", report: Path) -> None:
    """And the bar below shows where one is."""
    open_whole(page, report)
    page.get_by_role("button", name="1 D", exact=True).click()
    before = view(page)
    box = page.locator("#figure_panels").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 100, steps=4)
    page.mouse.up()
    after = view(page)
    assert after["from"] < before["from"]
    assert after["to"] - after["from"] == pytest.approx(before["to"] - before["from"])
    page.evaluate("View.set(0, 86400000)")
    assert view(page)["from"] > START_NS // NS_PER_MS - 86_400_000


def test_a_click_on_a_round_trip_moves_the_chart_to_it(page: "Page", report: Path, turns: Result) -> None:
    """So does Enter; the row stays marked."""
    open_whole(page, report)
    trips = turns.round_trips
    for row, act in ((3, lambda each: each.click()), (5, lambda each: each.press("Enter"))):
        chosen = page.locator(f"tr[data-row='{row}']")
        act(chosen)
        seen = view(page)
        entry, left = (trips[name].iloc[row].value / 1e6 for name in ("entry_time", "exit_time"))
        assert seen["from"] < entry < left < seen["to"]
        assert seen["to"] - seen["from"] < 4 * (left - entry)
        assert page.locator(f"tr[data-row='{row}']").get_attribute("aria-selected") == "true"
        assert page.locator("tr[aria-selected=true]").count() == 1
        lines = [page.evaluate(READ_PANEL, name) for name in ("trip_gain", "trip_loss")]
        assert trips["entry_price"].iloc[row] in lines[0]["y0"] + lines[1]["y0"]


def test_a_click_on_a_drawdown_shows_it_whole(page: "Page", report: Path, turns: Result) -> None:
    """From the peak to the recovery."""
    open_whole(page, report)
    fall = turns.drawdown_table.iloc[1]
    page.locator("tr[data-from]").nth(1).press("Enter")
    seen = view(page)
    assert seen["from"] < fall["peak_time"].value / 1e6 < fall["recovery_time"].value / 1e6 < seen["to"]


def test_the_table_sorts_and_searches(page: "Page", report: Path, turns: Result) -> None:
    """With few rows in the document, whatever their number; a condition compares numbers."""
    open_whole(page, report)
    trips = turns.round_trips
    assert page.locator("#rows tr[data-row]").count() == 34 < len(trips)
    head = page.locator("th[data-column=pnl]")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#rows tr[data-row]").first.get_attribute("data-row") == str(trips["pnl"].idxmax())
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("#rows tr[data-row]").first.get_attribute("data-row") == str(trips["pnl"].idxmin())
    page.locator("#scroll").evaluate("each => each.scrollTop = each.scrollHeight")
    page.locator(f"tr[data-row='{trips['pnl'].idxmax()}']").wait_for()
    assert page.locator("#rows tr[data-row]").count() == 34

    page.locator("#find").fill("pnl < -0.2")
    wanted = int((trips["pnl"] < -0.2).sum())
    assert page.locator("#count").inner_text() == f"{wanted} of {len(trips)}"
    page.locator("#find").fill("2025-05-06")
    assert page.locator("#count").inner_text().endswith(f" of {len(trips)}")
    page.locator("#find").fill("no such words")
    assert page.locator("#rows tr[data-row]").count() == 0


def test_the_readout_says_the_candle_under_the_pointer(page: "Page", report: Path) -> None:
    """In a line of its own, for all panels."""
    open_whole(page, report)
    moment = (START_NS + (SPIKE + 1) * NS_PER_MIN) // NS_PER_MS
    page.evaluate("moment => View.read(moment)", moment)
    said = page.locator("#readout").inner_text()
    assert f"H {SPIKE_HIGH:,.1f}" in said
    assert f"L {SPIKE_LOW:,.1f}" in said
    assert "Equity" in said
    assert "Drawdown" in said


def test_light_and_dark_colour_the_charts_too(open_page: Callable[..., "Page"], report: Path) -> None:
    """As the system says, and as the reader chose."""
    page = open_whole(open_page(Look(scheme="dark")), report)
    assert page.evaluate(READ_COLOUR) == "#8ab8ff"
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(READ_COLOUR) == "#1f4e8c"
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_a_tab_shows_another_instrument(page: "Page", tmp_path: Path) -> None:
    """Price, position and fills change; the equity is everybody's."""
    root = store(tmp_path, days=2, instruments=(BTC, ETH))
    result = run(root, Turns(instruments=(BTC.id, ETH.id)))
    open_whole(page, result.report(tmp_path / "two.html"))
    equity = page.evaluate(READ_PANEL, "equity")
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == [BTC.id, ETH.id]
    tabs.nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert 4_000 < view(page)["low"] < view(page)["high"] < 6_000
    assert page.evaluate(READ_PANEL, "equity") == equity
    page.locator("tr[data-row='0']").click()
    assert tabs.nth(0).get_attribute("aria-selected") == "true"


def test_the_book_stands_below_the_chart_of_a_chosen_fill(page: "Page", tmp_path: Path) -> None:
    """By a click on a round trip, on a fill, or on to the next one."""
    result = qk.backtest(str(ROOT / "strategies" / "quoter.py"), data=ROOT / "data", end="2024-08-08T23:55:30Z")
    open_whole(page, result.report(tmp_path / "quoter.html"))
    assert not page.locator("#depth").is_visible()
    page.locator("tr[data-row='1']").click()
    trip, fills = result.round_trips.iloc[1], result.outcome.fills
    said = page.locator("#fill_words")
    place = next(row for row, fill in enumerate(fills) if fill.filled_ns == trip["entry_time"].value)
    assert f"at {fills[place].price:,.1f}" in said.inner_text()
    assert page.locator("#depth_bid tr").count() == page.locator("#depth_ask tr").count() == 8
    page.get_by_role("button", name="The fill after").click()
    assert f"at {fills[place + 1].price:,.1f}" in said.inner_text()
    best = page.locator("#depth_bid tr").first.locator("td").last.inner_text()
    book = result.prices.book_at(fills[0].instrument, fills[place + 1].filled_ns + result.outcome.offset_ns - 1)
    assert book is not None
    assert best == f"{book.bids[0][0]:,.1f}"


def test_hostile_words_are_shown_and_not_run(page: "Page", tmp_path: Path) -> None:
    """In the head, in warnings, and in the table, whose cells the page's script makes."""
    result = run(store(tmp_path, days=1), Turns(word=HOSTILE))
    result.config["strategy"] = f"mine:{HOSTILE}"
    result.outcome.warnings.append(HOSTILE)
    open_whole(page, result.report(tmp_path / "hostile.html"))
    shown = printable(HOSTILE)
    assert page.locator("h1").inner_text() == shown
    assert page.locator(".warn", has_text=shown).count() == 1
    assert page.locator("tr[data-row='0'] td").last.text_content() == shown
    assert page.evaluate("window.owned") is None
    assert page.locator("img").count() == 0


def test_a_run_without_fills_has_its_price_and_no_table(page: "Page", tmp_path: Path) -> None:
    """And no error."""
    open_whole(page, run(store(tmp_path, days=1), Silent()).report(tmp_path / "silent.html"))
    assert page.evaluate(READ_PANEL, "price")["x"]
    assert not page.locator("#find").is_visible()


def test_printing_is_light_and_shows_whole_rows(page: "Page", report: Path, tmp_path: Path) -> None:
    """On one width, without buttons."""
    open_whole(page, report)
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    page.emulate_media(media="print")
    assert not page.locator("#print").is_visible()


def test_printing_in_dark_paints_the_charts_in_light_before_it_begins(
    open_page: Callable[..., "Page"], report: Path, tmp_path: Path
) -> None:
    """However it is started: Ctrl+P leaves no frame for a canvas to be painted in. Afterwards it is dark again."""
    page = open_whole(open_page(Look(scheme="dark")), report)
    light, dark = "31,78,140", "138,184,255"
    painted = page.evaluate(f"""() => {{
      {MODEL}
      const view = Bokeh.index.find_one(model("Figure", "equity"));
      const colours = () => {{
        const {{canvas}} = view.canvas_view.primary;
        const {{data}} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), found = new Set();
        for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
        return [...found];
      }};
      const out = [colours()];
      for (const name of ["beforeprint", "afterprint"]) {{ dispatchEvent(new Event(name)); out.push(colours()); }}
      return out;
    }}""")
    assert [(light in colours, dark in colours) for colours in painted] == [(False, True), (True, False), (False, True)]
    page.evaluate("""() => {
      window.seen = [];
      for (const name of ["beforeprint", "afterprint"]) {
        addEventListener(name, () => window.seen.push(document.documentElement.dataset.theme));
      }
    }""")
    page.pdf(path=tmp_path / "dark.pdf", prefer_css_page_size=True)
    assert page.evaluate("window.seen") == ["light", "dark"]
    page.emulate_media(media="print")
    page.locator("html[data-theme=light]").wait_for(state="attached")
    assert page.evaluate(READ_COLOUR) == "#1f4e8c"
    page.emulate_media(media="screen")
    page.locator("html[data-theme=dark]").wait_for(state="attached")
    assert page.evaluate(READ_COLOUR) == "#8ab8ff"


def test_a_card_alone_draws_in_a_frame(page: "Page", turns: Result, tmp_path: Path) -> None:
    """As in a notebook: the frame has no storage, and no buttons of the page."""
    outside = tmp_path / "notebook.html"
    outside.write_text(f"<!doctype html><title>notebook</title>{turns.plot()._repr_html_()}", encoding="utf-8")
    page.goto(outside.as_uri())
    inside = page.frame_locator("iframe")
    inside.locator("html[data-state=whole]").wait_for(state="attached")
    assert inside.locator("#stack canvas").count() > 0


# A notebook's frame, and the kernel behind it -------------------------------------------------------------------------

NOTEBOOK = "http://localhost:8888/notebook"


class Kernel:
    """A notebook's page, and the kernel behind the message channel that Jupyter Server would give it.

    Args:
        page: Where the notebook is shown.
        rows: What the kernel answers with; None for a kernel that knows nothing of plots.
    """

    def __init__(self, page: "Page", rows: KernelRows | None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.opened: list[str] = []
        self._page = page
        self._rows = rows
        page.route_web_socket("**/api/kernels/**", self._open)

    def show(self, output: str, *, base: str = "/") -> "FrameLocator":
        """Show an output of a cell, on a page that names its server or none, and return its frame once it is drawn."""
        named = f' data-base-url="{base}"' if base else ""
        whole = f"<!doctype html><title>notebook</title><link rel=icon href=data:,><body{named}>{output}"
        self._page.route(NOTEBOOK, lambda route: route.fulfill(body=whole, content_type="text/html; charset=utf-8"))
        self._page.goto(NOTEBOOK)
        frame = self._page.frame_locator("iframe")
        frame.locator("html[data-state=whole]").wait_for(state="attached")
        return frame

    def _open(self, socket: "WebSocketRoute") -> None:
        self.opened.append(socket.url)
        socket.on_message(lambda message: self._answer(socket, json.loads(message)))

    def _answer(self, socket: "WebSocketRoute", message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        comm = content["comm_id"]
        if kind == "comm_open" and self._rows is None:
            socket.send(json.dumps({"header": {"msg_type": "comm_close"}, "content": {"comm_id": comm}}))
        if kind == "comm_msg" and self._rows is not None:
            # What other cells print comes over the same channel.
            socket.send(json.dumps({"header": {"msg_type": "stream"}, "content": {"text": "a word"}}))
            self.asked.append(content["data"])
            data = json.loads(json.dumps(self._rows.answer(content["data"])))
            socket.send(json.dumps({"header": {"msg_type": "comm_msg"}, "content": {"comm_id": comm, "data": data}}))


@pytest.fixture
def cut(turns: Result, monkeypatch: pytest.MonkeyPatch) -> KernelRows:
    """A kernel whose plots hold 1,500 of 7,200 rows."""
    monkeypatch.setattr(page_module, "ROWS_MAX", 1_500)
    rows = KernelRows("abc-1")
    monkeypatch.setattr("quantkit.report.plots.kernel_rows", lambda: rows)
    return rows


def look_at(frame: "FrameLocator", middle_ms: float, span_ms: float) -> None:
    """Go to a span of a frame's chart."""
    ends = [middle_ms - span_ms / 2, middle_ms + span_ms / 2]
    frame.locator("html").evaluate("(_, [from, to]) => View.set(from, to)", ends)


def wait_for_words(frame: "FrameLocator", words: str) -> None:
    """Wait until a frame's chart says what it draws in certain words."""
    frame.locator("#resolution", has_text=words).wait_for()


#: A stretch of the run without fills, around which single rows would be kept.
QUIET_MS = START_NS / NS_PER_MS + 4_005 * 60_000


def test_a_card_asks_the_kernel_for_rows_that_it_does_not_hold(page: "Page", cut: KernelRows, turns: Result) -> None:
    """Down to single candles, with one question for a view, and none for what it has."""
    kernel = Kernel(page, cut)
    frame = kernel.show(turns.plot()._repr_html_())
    said = frame.locator("#resolution")
    assert "finer ones come from the notebook's kernel" in said.inner_text()
    assert not kernel.asked
    look_at(frame, QUIET_MS, 4e6)
    wait_for_words(frame, "Price: all candles of 1 min")
    wicks = frame.locator("html").evaluate(f"_ => ({READ_PANEL})('wicks')")
    assert wicks["high"][wicks["x"].index(START_NS // NS_PER_MS + SPIKE * 60_000 + 30_000)] == SPIKE_HIGH
    assert kernel.opened == ["ws://localhost:8888/api/kernels/abc-1/channels?" + kernel.opened[0].partition("?")[2]]
    asked = len(kernel.asked)
    look_at(frame, QUIET_MS, 3.9e6)
    page.wait_for_timeout(300)
    assert len(kernel.asked) == asked == 1
    # Far outside of what was asked for before: the same channel is used again.
    look_at(frame, QUIET_MS - 2e8, 4e6)
    wait_for_words(frame, "Price: all candles of 1 min")
    assert len(kernel.opened) == 1
    assert len(kernel.asked) <= 2
    # A wide view gets extremes, once.
    asked = len(kernel.asked)
    look_at(frame, QUIET_MS, 1.5e8)
    wait_for_words(frame, "the lowest and the highest of 2 candles")
    page.wait_for_timeout(300)
    assert len(kernel.asked) == asked + 1


@pytest.mark.parametrize("missing", ["server", "target", "script"])
def test_a_card_without_its_kernel_draws_what_it_holds_and_says_so(
    page: "Page", cut: KernelRows, turns: Result, missing: str
) -> None:
    """In a saved notebook, in a program that is no Jupyter server, or where its script is not trusted."""
    output = turns.plot()._repr_html_()
    assert "<script>" in output
    kernel = Kernel(page, None if missing == "target" else cut)
    if missing == "script":
        output = output[: output.index("<script>")]
    frame = kernel.show(output, base="" if missing == "server" else "/")
    look_at(frame, QUIET_MS, 4e6)
    wait_for_words(frame, "Finer rows came from the kernel that drew this cell")
    wait_for_words(frame, "Price: each point the lowest and the highest of")
    drawn = frame.locator("html").evaluate(f"_ => ({READ_PANEL})('price')")
    assert max(drawn["y"]) == SPIKE_HIGH
    assert len(kernel.opened) == (missing == "target")


def test_a_card_draws_a_span_alone(page: "Page", cut: KernelRows, turns: Result) -> None:
    """Row by row, however long the run; nothing needs to be asked."""
    output = turns.plot("2025-05-07T18:00", "2025-05-08T00:00")._repr_html_()
    kernel = Kernel(page, cut)
    frame = kernel.show(output)
    assert frame.locator("#resolution").inner_text() == "Price: all candles of 1 min. No extreme is left out."
    drawn = frame.locator("html").evaluate(f"_ => ({READ_PANEL})('price')")
    assert max(drawn["y"]) == SPIKE_HIGH
    assert "<script>" not in output


# The rules in two languages ------------------------------------------------------------------------------------------


@pytest.fixture
def scripts(page: "Page") -> "Page":
    """A page with the scripts that unpack and sort into levels, and nothing else."""
    page.set_content("<!doctype html><title>scripts</title>")
    for name in ("format.js", "columns.js", "levels.js"):
        page.add_script_tag(content=(ASSETS / name).read_text(encoding="utf-8"))
    return page


def test_the_browser_unpacks_what_python_packed(scripts: "Page") -> None:
    """To the last bit, whatever the numbers: small, far apart, on odd steps, none."""
    rng = np.random.default_rng(7)
    columns = [
        (np.empty(0), Fraction(1), True),
        (rng.integers(0, 2**52, 50).astype(np.float64), Fraction(1), True),
        (rng.integers(-(2**31), 2**31, 500).astype(np.float64), Fraction(1), False),
        (rng.integers(-(2**31), 2**31, 500).astype(np.float64), Fraction(1), True),
        (rng.integers(-1_000, 1_000, 500) * 0.3, Fraction(3, 10), True),
        (50_000 + rng.integers(-50, 51, 2_000).cumsum() / 10, Fraction(1, 10), True),
        (rng.normal(size=500), Fraction(1, 10**8), False),
    ]
    packed = [pack(values, step, is_walk=is_walk) for values, step, is_walk in columns]
    found = scripts.evaluate(
        "async packed => (await Promise.all(packed.map(Columns.unpack))).map(values => Array.from(values))", packed
    )
    assert found == [unpack(each).tolist() for each in packed]


def test_a_level_of_the_browser_has_the_extremes_of_its_rows(scripts: "Page") -> None:
    """Level k holds the lowest and the highest of 2^k rows on a fixed grid, as `Levels` of Python does."""
    values = np.random.default_rng(9).normal(size=3_000).cumsum()
    found: list[dict[str, Any]] = scripts.evaluate(
        """values => Levels.build(Float64Array.from(values, (_, i) => i), Float64Array.from(values),
             Float64Array.from(values)).map(({t, low, high}) => ({t: [...t], low: [...low], high: [...high]}))""",
        values.tolist(),
    )
    from quantkit.report.downsample import Levels

    own = Levels(np.arange(3_000), values, values)
    for k, level in enumerate(found):
        expected = own.level(k)
        assert level == {
            "t": expected.time_ns.tolist(),
            "low": expected.low.tolist(),
            "high": expected.high.tolist(),
        }


def test_numbers_read_alike_in_both_languages(scripts: "Page") -> None:
    """A real minus, thousands, a sign where one belongs, and no minus before zero."""
    from quantkit.report.page import cards

    values = [0.0, -0.001, 0.004, 1234.567, -1234.567, 0.5, -99.995]
    found = scripts.evaluate("values => values.map(v => [Format.number(v), Format.signed(v)])", values)
    assert [pair[1] for pair in found] == [cards.signed(value) for value in values]
    assert json.loads(msgspec.json.encode(found))[3] == ["1,234.57", "+1,234.57"]
