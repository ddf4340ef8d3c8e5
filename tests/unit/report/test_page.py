"""The page of a run: its columns are the run's, its words are text, the same result gives the same bytes."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pages import ROOT
from report_runs import BTC, ETH, HOSTILE, SPIKE_HIGH, SPIKE_LOW, START_NS, Silent, Turns, run, store

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError, DataError
from quantkit.report.page import cards, charts, depth, file, page
from quantkit.report.page.depth import LEVELS
from quantkit.report.page.markup import fill, printable, raw, tag
from quantkit.report.page.packing import unpack
from quantkit.report.page.page import card, render
from quantkit.report.page.payload import prices_answer
from quantkit.report.result import Result


class Reader(HTMLParser):
    """What a browser would take from a page: elements, text, and the JSON of its data."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.blocks: dict[str, Any] = {}
        self._open = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("meta", "first", "figures", "rest"):
            self.blocks[self._open] = json.loads(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Five days of two instruments, with round trips in both."""
    root = store(tmp_path_factory.mktemp("turns"), instruments=(BTC, ETH))
    return run(root, Turns(instruments=(BTC.id, ETH.id)))


@pytest.fixture(scope="module")
def read(turns: Result) -> Reader:
    """Its page."""
    return Reader(render(turns))


def column(packed: dict[str, Any]) -> list[float]:
    """Return what the browser sees of a column."""
    return unpack(packed).tolist()


# What is in it -----------------------------------------------------------------------------------------------------


def test_every_row_of_prices_is_in_it(turns: Result, read: Reader) -> None:
    """Exactly: open, high, low and close of each candle are the run's floats, the spike's among them."""
    rows = turns.prices.rows(BTC.id)
    packed = read.blocks["rest"]["tracks"][0]["rows"]
    steps = {name: np.rint(np.array(column(packed[name])) * 10) for name in ("open", "high", "low", "close")}
    opened = steps["open"] + np.append(0, steps["close"])[:-1]
    high = steps["high"] + np.maximum(opened, steps["close"])
    low = np.minimum(opened, steps["close"]) - steps["low"]
    assert (np.array(column(packed["t"])) == rows.time_ns // NS_PER_MS).all()
    for own, found in ((rows.open, opened), (rows.high, high), (rows.low, low), (rows.close, steps["close"])):
        assert (found / 10).tolist() == own.tolist()
    assert (max(high) / 10, min(low) / 10) == (SPIKE_HIGH, SPIKE_LOW)


def test_the_first_picture_has_the_extremes_of_everything(turns: Result, read: Reader) -> None:
    """At most so many buckets, and no spike is lost in them."""
    path = read.blocks["first"]["tracks"][0]["path"]
    low = np.array(column(path["low"]))
    assert path["t"]["n"] <= 1300
    assert (max(low + column(path["rise"])), min(low)) == (SPIKE_HIGH, SPIKE_LOW)
    under = column(read.blocks["first"]["under"]["y"])
    assert min(under) == pytest.approx(turns.outcome.curve.drawdown.min(), abs=1e-5)


def test_round_trips_and_fills_are_those_of_the_result(turns: Result, read: Reader) -> None:
    """In order, with what they cost and made."""
    packed, trips = read.blocks["rest"]["trips"], turns.round_trips
    assert column(packed["pnl"]) == pytest.approx(trips["pnl"].tolist(), abs=5.1e-5)  # a hundredth of what is shown
    assert column(packed["return"]) == pytest.approx(trips["return_pct"].tolist(), abs=1e-5)
    assert column(packed["entry_price"]) == pytest.approx(trips["entry_price"].tolist(), rel=1e-9)
    names = [track["id"] for track in read.blocks["meta"]["tracks"]]
    assert [names[int(place)] for place in column(packed["track"])] == trips["instrument"].tolist()
    for place, name in enumerate(names):
        fills = turns.fills[turns.fills["instrument"] == name]
        own = read.blocks["rest"]["tracks"][place]["fills"]
        assert column(own["price"]) == fills["price"].tolist()
        signed = np.where(fills["side"] == "buy", fills["qty"], -fills["qty"])
        assert column(own["held"]) == pytest.approx(np.cumsum(signed).tolist(), abs=1e-12)


def test_the_equity_is_that_of_the_curve(turns: Result, read: Reader) -> None:
    """To a twenty-thousandth of its range."""
    equity = turns.outcome.curve.equity
    found = np.array(column(read.blocks["rest"]["equity"]["low"]))
    assert np.abs(found - equity).max() <= np.ptp(equity) / 20_000


def test_buy_and_hold_begins_with_the_run_and_ends_with_its_return(turns: Result, read: Reader) -> None:
    """The starting equity in the benchmark, drawn along its own price path."""
    hold, start = read.blocks["meta"]["hold"], float(turns.outcome.starting_equity)
    assert hold["track"] == 0
    assert "hold" not in read.blocks["first"]
    last = turns.prices.rows(BTC.id).close[-1]
    benchmark = turns.benchmark
    assert benchmark is not None
    assert benchmark.return_pct is not None
    assert hold["factor"] * last == pytest.approx(start * (1 + benchmark.return_pct / 100))
    assert f"buy and hold {cards.signed(benchmark.return_pct, unit=' %')}" in read.text


def test_a_benchmark_from_elsewhere_is_drawn_day_by_day(tmp_path: Path) -> None:
    """Under its name, from the starting equity on."""
    days = pd.date_range("2025-05-04", periods=4, tz="UTC")
    index = pd.Series([100.0, 110.0, 121.0, 133.1], index=days, name=HOSTILE)
    result = qk.backtest(Turns(), data=store(tmp_path, days=2), cash={"USDT": 100_000}, benchmark=index)
    read = Reader(render(result))
    assert read.blocks["meta"]["hold"] == {"name": f"holding {printable(HOSTILE)}"}
    values = column(read.blocks["first"]["hold"]["y"])
    assert values[0] == pytest.approx(100_000, rel=1e-4)
    assert values[-1] == pytest.approx(121_000, rel=1e-4)
    assert f"holding {printable(HOSTILE)} +21.00 %" in read.text


def test_tables_by_time_are_those_of_the_result(turns: Result, read: Reader) -> None:
    """Days of a short run; hours from three days on; the deepest drawdowns with their spans for a click."""
    assert "Returns by day" in read.text
    shown = [cards.number(value) for value in turns.daily_table.to_numpy().ravel() if value == value]
    assert all(value in read.words for value in shown)
    assert "Mean return of an hour in basis points" in read.text
    spans = [attrs for name, attrs in read.elements if name == "tr" and "data-from" in attrs]
    assert len(spans) == min(5, len(turns.drawdown_table)) > 0
    first = turns.drawdown_table.iloc[0]
    assert spans[0]["data-from"] == str(first["peak_time"].value // NS_PER_MS)
    assert f"{cards.number(100 * first['depth'])} %" in read.text


def test_a_run_of_minutes_says_what_it_lacks(result_of: Callable[..., Result]) -> None:
    """Neither days nor hours, and no interval."""
    result = result_of(end_ns=START_NS + 3_600 * 10**9)
    page = render(result)
    read = Reader(page)
    assert "Needs a day; this run is shorter." in read.text
    assert "Needs 3 days; this run has less." in read.text
    assert "needs 20 days" in read.text
    # Beside the statistics, by the names they have there, and in no bar of warning.
    assert re.search(rb'<ul class="missing">.*<b>[^<]*Sharpe Ratio[^<]*</b>', page)
    assert page.count(b'class="warn"') == len(result.outcome.warnings)
    # The headline and the table of all numbers say the same of a ratio without meaning.
    assert len(re.findall(rb"Sharpe [Rr]atio</(?:th><td|dt><dd[^>]*)>n/a", page)) == 2


def test_numbers_assumptions_and_warnings_stand_in_it(turns: Result, read: Reader) -> None:
    """Assumptions are never folded away: none of them is inside a `details`."""
    assert f"{turns.numbers['trades']:,}" in read.text
    for said in (*turns.assumptions, *turns.outcome.warnings, *(each.why for each in turns.missing)):
        assert said in read.text
    assert turns.hash in read.text
    details = re.search(r"<details>.*?</details>", render(turns).decode(), re.DOTALL)
    assert details is not None
    assert "matched on candles" not in details[0]


@pytest.fixture(scope="module")
def quotes() -> Result:
    """A run that was matched on a recorded book."""
    return qk.backtest(str(ROOT / "strategies" / "quoter.py"), data=ROOT / "data", end="2024-08-08T23:55:30Z")


def book_note(result: Result) -> str:
    """Return what a page says of the books, and see that it has some where it says so."""
    read = Reader(render(result))
    note: str = read.blocks["meta"]["tracks"][0]["book_note"]
    assert (read.blocks["rest"]["tracks"][0]["books"] is not None) is note.startswith("Click a fill")
    return note


def test_books_that_are_missing_are_told_of(quotes: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many fills, of a book that changed often, of a saved result, and of data that changed since."""
    assert book_note(quotes) == "Click a fill for the book just before it."
    saved = Result.load(quotes.save(tmp_path / "saved"))
    assert book_note(saved).endswith("none is kept. A saved result has prices and no books.")

    def refuse(*_: object) -> None:
        raise DataError("the data changed")

    with monkeypatch.context() as patch:
        patch.setattr(type(quotes.prices), "books_at", refuse)
        assert book_note(quotes) == "The book before a fill is not shown: the data changed."
    monkeypatch.setattr(depth, "FILLS_MAX", 4)
    many = len(quotes.outcome.fills)
    assert book_note(quotes) == (
        f"Click a fill for the book just before it: kept for 4 of {many} fills, those that opened and closed the round "
        "trips with the largest profit or loss."
    )
    monkeypatch.setattr(depth, "_CHANGES_MAX", 100)
    assert re.fullmatch(r".* left out: going through its [0-9,]+ changes takes too long\.", book_note(quotes))


def test_the_book_before_each_fill_is_in_it(quotes: Result) -> None:
    """Where the run was matched on one: the best levels, as the recording has them."""
    result = quotes
    own = Reader(render(result)).blocks["rest"]["tracks"][0]
    books, fills = own["books"]["columns"], result.outcome.fills
    assert column(books["fill"]) == list(range(len(fills)))
    moments = [fill.filled_ns + result.outcome.offset_ns - 1 for fill in fills]
    recorded = result.prices.books_at(fills[0].instrument, moments, LEVELS)
    for place, book in enumerate(recorded):
        assert book is not None
        part = slice(place * LEVELS, (place + 1) * LEVELS)
        assert column(books["bid_price"])[part] == book.bids[:, 0].tolist()
        assert column(books["ask_qty"])[part] == book.asks[:, 1].tolist()
    words = own["books"]["words"]
    assert {words[int(word)] for word in column(books["word"])} == {f"{fill.role}: {fill.why}" for fill in fills}


def test_a_run_on_candles_has_no_book(read: Reader) -> None:
    """And none is looked for."""
    assert all(track["books"] is None for track in read.blocks["rest"]["tracks"])


def test_costs_are_fees_and_funding_over_time(
    result_of: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left after both goes down, or up, at each funding boundary too; other money has no common sum."""
    drawn: list[Any] = []
    monkeypatch.setattr(charts, "costs", lambda *series: drawn.append(series) or {})
    result = result_of()
    assert "funding received, as it was settled" in Reader(render(result)).text
    before, after, fees, funding = ([values.round(9).tolist() for values in each] for each in drawn.pop())
    closed, start_ms = result.trips.closed, result.outcome.start_ns // NS_PER_MS
    # Each begins at zero with the run: one round trip alone would be a point.
    assert [(series[0][0], series[1][0]) for series in (before, after, fees, funding)] == [(start_ms, 0.0)] * 4
    assert [len(series[0]) for series in (before, after, fees, funding)] == [3, 5, 3, 3]
    assert funding[1] == [0.0, -0.105, -0.1]
    assert after[0][1:] == sorted(before[0][1:] + funding[0][1:])
    assert after[1][-1] == pytest.approx(float(sum(trip.pnl for trip in closed)) - 0.1)
    assert before[1][-1] == pytest.approx(float(sum(trip.pnl + trip.fees for trip in closed)))
    assert fees[1][-1] == pytest.approx(-float(sum(trip.fees for trip in closed)))
    other = [msgspec.structs.replace(each, currency="BTC") for each in result.outcome.funding_payments]
    assert "as it was settled" not in Reader(render(result_of(funding_payments=other))).text
    assert drawn.pop()[3][0].tolist() == []


# What it may not do ------------------------------------------------------------------------------------------------


def test_equal_results_give_equal_bytes(turns: Result) -> None:
    """Whatever was drawn before in the process: the chart library counts its objects from run to run."""
    first = render(turns)
    card(turns)
    assert render(turns) == first


def test_nothing_is_asked_of_a_network(read: Reader) -> None:
    """No element names an address, and the policy allows none."""
    assert not [attrs for _, attrs in read.elements if "src" in attrs or "href" in attrs]
    policy = next(attrs["content"] for _, attrs in read.elements if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'")
    assert "unsafe-eval" not in policy


def test_hostile_words_are_text(result_of: Callable[..., Result]) -> None:
    """A strategy's name, its parameters, a warning, an assumption and a tag, none of which ends an element."""
    plain = result_of()
    fills = [msgspec.structs.replace(fill, tag=HOSTILE) for fill in plain.outcome.fills]
    hostile = result_of(warnings=[HOSTILE], assumptions=[HOSTILE], fills=fills)
    hostile.config["strategy"] = f"mine:{HOSTILE}"
    hostile.config["parameters"] = {"word": HOSTILE}
    read, ordinary = Reader(render(hostile)), Reader(render(plain))
    kinds = [sorted({name for name, _ in each.elements}) for each in (read, ordinary)]
    assert kinds[0] == kinds[1]
    assert not [attrs for _, attrs in read.elements if "onerror" in attrs]
    assert read.text.count(printable(HOSTILE)) >= 4
    assert read.blocks["meta"]["tags"] == [printable(HOSTILE)]
    assert "\u202e" not in render(hostile).decode()


def test_what_is_filled_in_is_not_filled_again() -> None:
    """A name that looks like a slot stays a name; a slot without a part is a mistake of ours."""
    assert fill("<b>{{name}}</b>{{other}}", {"name": "{{other}}", "other": "x"}) == "<b>{{other}}</b>x"
    with pytest.raises(ValueError, match="differ: other"):
        fill("{{other}}", {})
    with pytest.raises(ValueError, match="holds its end"):
        raw("script", "'</script>'")
    assert tag("p", "a", title='"><b>') == '<p title="&quot;&gt;&lt;b&gt;">a</p>'


# Runs that have little -----------------------------------------------------------------------------------------------


def test_a_run_without_fills_says_so(tmp_path: Path) -> None:
    """Each card that has nothing to show gives its reason, and the price is drawn."""
    read = Reader(render(run(store(tmp_path, days=2), Silent())))
    assert read.text.count("No round trip was closed.") >= 3
    assert list(read.blocks["figures"]) == ["panels"]
    assert read.blocks["first"]["tracks"][0]["path"]["t"]["n"]


def test_a_result_without_prices_says_why(result: Result) -> None:
    """One that was made of records has no rows to read again."""
    result.config["marks"] = dict.fromkeys(result.instruments, "candle 1m")
    meta = Reader(render(result)).blocks["meta"]
    assert {track["reason"] for track in meta["tracks"]} == {"the result was made without the rows of its run"}


def test_a_run_in_which_nothing_happened_has_a_page(blank_result: Result) -> None:
    """Not even a row of the curve."""
    assert Reader(render(blank_result)).blocks["rest"]["equity"]["t"]["n"] == 0


def test_a_long_path_is_cut_to_extremes_and_rows_around_fills(turns: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are too many; the page says so, and the extremes are all there."""
    monkeypatch.setattr(page, "ROWS_MAX", 4_000)
    read = Reader(render(turns))
    own, packed = read.blocks["meta"]["tracks"][0], read.blocks["rest"]["tracks"][0]
    assert own["stride"] > 1
    assert packed["buckets"]["t"]["n"] + packed["rows"]["t"]["n"] <= 2_000
    assert own["single"] == packed["rows"]["t"]["n"] == sum(stop - start for start, stop in packed["spans"])
    low = np.array(column(packed["buckets"]["low"]))
    assert (max(low + column(packed["buckets"]["rise"])), min(low)) == (SPIKE_HIGH, SPIKE_LOW)


def test_a_served_page_names_its_files_and_asks_for_its_rows(turns: Result) -> None:
    """Nothing but data stands in it."""
    read = Reader(render(turns, mode="served", assets="/assets", api="/api/v1/runs/a"))
    scripts = [attrs["src"] for name, attrs in read.elements if name == "script" and "src" in attrs]
    assert scripts == ["/assets/bokeh.min.js", *(f"/assets/{name}" for name in page.SCRIPTS)]
    assert read.blocks["meta"]["api"] == "/api/v1/runs/a"
    assert all("rows" not in track for track in read.blocks["rest"]["tracks"])
    inline = [attrs for name, attrs in read.elements if name == "script" and "src" not in attrs]
    assert {attrs["type"] for attrs in inline} == {"application/json"}


def test_a_served_page_gets_rows_or_extremes(turns: Result) -> None:
    """As many as it asks for at most."""
    rows, instrument = turns.prices.rows(BTC.id), turns.instruments[BTC.id]
    few = prices_answer(rows, instrument, len(rows))
    assert column(few["rows"]["close"]) == rows.close.tolist()
    many = prices_answer(rows, instrument, 900)["buckets"]
    assert 450 < many["t"]["n"] <= 900
    assert min(column(many["low"])) == SPIKE_LOW


# Writing it --------------------------------------------------------------------------------------------------------


def test_a_report_is_written_whole_or_not_at_all(
    turns: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there stays until the new one is complete, and nothing is left beside it."""
    path = tmp_path / "run.html"
    assert turns.report(path) == path
    assert path.read_bytes() == render(turns)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match=r"run\.html: No space left on device"):
        turns.report(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.html"]
    assert path.read_bytes() == render(turns)


@pytest.mark.parametrize("has_browser", [True, False])
def test_a_report_opens_where_it_is_asked_for(
    has_browser: bool,
    turns: Result,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the system's browser; on a machine without one, the file is named."""
    opened: list[str] = []
    monkeypatch.setattr(file.webbrowser, "open", lambda url: opened.append(url) or has_browser)
    path = tmp_path / "a.html"
    turns.report(path)
    assert not opened
    turns.report(path, open=True)
    assert opened == [path.as_uri()]
    assert caplog.messages == ([] if has_browser else [f"no browser was found; open {path} in one"])


def test_the_command_writes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And refuses a place that cannot take one before the run, not after it."""
    store(tmp_path / "data", days=1)
    monkeypatch.chdir(tmp_path)
    words = ["backtest", "report_runs:Turns", "--data", "data", "--no-keep", "--cash", "USDT=100000", "--brief"]
    done = CliRunner().invoke(main, [*words, "--report", "turns.html"])
    assert done.exit_code == 0, done.output
    assert "report: turns.html" in done.stderr
    assert "<h1><bdi>Turns</bdi></h1>" in (tmp_path / "turns.html").read_text(encoding="utf-8")
    for arguments, said in (
        (["--report", "missing/turns.html"], "there is no folder missing"),
        (["--report", "data"], "data is a folder"),
        (["--open"], "--open shows the page of --report"),
    ):
        done = CliRunner().invoke(main, [*words, *arguments])
        assert done.exit_code == 2
        assert said in done.stderr + str(done.exception)


def test_a_plot_is_a_frame_of_its_own(turns: Result) -> None:
    """A notebook shows the chart; the frame may run scripts and touch nothing around it."""
    shown = turns.plot()._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert 'sandbox="allow-scripts"' in shown
    assert "<script" not in shown  # it is escaped into the attribute


def test_small_numbers_are_told_from_nothing(result_of: Callable[..., Result]) -> None:
    """A fall or a return of less than a hundredth of a per cent keeps two digits, and few fills their grammar."""
    plain = result_of()
    curve = plain.outcome.curve
    small = msgspec.structs.replace(curve, equity=1_000 + (curve.equity - 1_000) / 500, drawdown=curve.drawdown / 500)
    said = Reader(render(result_of(curve=small, fills=plain.outcome.fills[:1]))).text
    assert "1 fill" in said
    assert "1 fills" not in said
    assert "\u22120.0004 %" in said
