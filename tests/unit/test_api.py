"""Loading strategies by text, and what `backtest` takes, checks and writes down."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.errors import ConfigError, DataError
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.loading import EXAMPLES, load_strategy
from quantkit.storage.catalog import Catalog

ROOT = Path(__file__).parents[2]
GOOG = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")
GOOD = """
from quantkit import Strategy

class Good(Strategy):
    fast: int = 3
"""


HOLD = """
import quantkit as qk

class Hold(qk.Strategy):
    qty: int = 1

    def on_start(self):
        self.subscribe_candles("GOOG", "1d", warmup=2)

    def on_candle(self, candle):
        self.target("GOOG", self.qty)
"""


class Hold(qk.Strategy):
    """Buys once and keeps it."""

    qty: int = 1
    tries: int = 1

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d", warmup=2)
        self.dice: list[float] = []

    def on_candle(self, candle: qk.Candle) -> None:
        self.dice.append(float(self.rng.random()))
        self.target("GOOG", self.qty)


def prices(rows: int = 30) -> pd.DataFrame:
    """Return daily bars that rise by one."""
    close = 100.0 + np.arange(rows)
    index = pd.date_range("2025-01-01", periods=rows, freq="D")
    return pd.DataFrame({"open": close - 0.5, "high": close + 1, "low": close - 1, "close": close}, index=index)


def backtest(strategy: Any = Hold, **options: Any) -> qk.Result:
    """Run over the daily bars."""
    given = {"data": {"GOOG": prices()}, "instruments": [GOOG], "cash": {"USD": 10_000}}
    return qk.backtest(strategy, **{**given, **options})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a folder of strategies; modules loaded from it are forgotten again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    before = set(sys.modules)
    path_before = list(sys.path)
    yield tmp_path
    assert sys.path == path_before
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


# Loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["strategies/good.py", "strategies/good.py:Good", "good", "good:Good", "./strategies/good.py"]
)
def test_a_strategy_is_found_by_file_and_by_name(folder: Path, text: str) -> None:
    """With and without its class."""
    (folder / "strategies" / "good.py").write_text(GOOD)
    kind = load_strategy(text)
    assert (kind.__name__, kind().parameters) == ("Good", {"fast": 3})


def test_a_strategy_is_found_in_a_module_of_the_working_directory(folder: Path) -> None:
    """As Python finds it for a script that lies there."""
    (folder / "mine_pkg").mkdir()
    (folder / "mine_pkg" / "__init__.py").write_text("")
    (folder / "mine_pkg" / "deep.py").write_text(GOOD)
    (folder / "mine_flat.py").write_text(GOOD)
    assert load_strategy("mine_pkg.deep:Good").__module__ == "mine_pkg.deep"
    assert load_strategy("mine_flat").__module__ == "mine_flat"


def test_a_strategy_file_can_import_its_neighbours(folder: Path) -> None:
    """And a strategy that it merely imports is not one of its own."""
    (folder / "base_strategy.py").write_text(GOOD)
    (folder / "child.py").write_text("from base_strategy import Good\n\nclass Child(Good):\n    fast = 5\n")
    assert load_strategy("child.py").__name__ == "Child"
    assert load_strategy("child.py:Good").__name__ == "Good"


def test_loading_again_sees_the_file_as_it_is_now(folder: Path) -> None:
    """Nothing of the first load is left."""
    file = folder / "changing.py"
    file.write_text(GOOD)
    first = load_strategy("changing.py")
    file.write_text(GOOD.replace("fast: int = 3", "fast: int = 44"))
    assert (first().parameters, load_strategy("changing.py")().parameters) == ({"fast": 3}, {"fast": 44})


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("broken.py", "x = 1\nclass :\n", "broken.py does not import: SyntaxError: invalid syntax (broken.py line 2)"),
        (
            "lacking.py",
            "import quantkit\n\nimport no_such_module_x\n",
            "lacking.py does not import: ModuleNotFoundError: No module named 'no_such_module_x' (lacking.py line 3)",
        ),
        ("raising.py", "def f():\n    1 / 0\n\nf()\n", "raising.py does not import: ZeroDivisionError: division by"),
        ("leaving.py", "import sys\nsys.exit(3)\n", "leaving.py does not import: SystemExit: 3 (leaving.py line 2)"),
        (
            "typo.py",
            "import quantkit as qk\nclass T(qk.Strategy):\n    def on_candel(self, c): ...\n",
            "typo.py: T.on_candel is no hook; did you mean on_candle?",
        ),
        ("empty.py", "x = 1\n", "empty.py holds no subclass of quantkit.Strategy; write one, or name another file"),
        ("only.py", "from quantkit import Strategy\n", "only.py holds no subclass of quantkit.Strategy; write one"),
        (
            "two.py",
            "from quantkit import Strategy\nclass A(Strategy): ...\nclass B(Strategy): ...\n",
            "two.py holds several strategies (A, B); say which: two.py:A",
        ),
        ("my-file.py", "x = 1\n", "my-file.py holds no subclass of quantkit.Strategy; write one"),
    ],
)  # fmt: skip
def test_files_that_are_no_strategy(folder: Path, name: str, source: str, message: str) -> None:
    """What is wrong, in which file, and on which line of the user's."""
    (folder / name).write_text(source)
    with pytest.raises(ConfigError) as caught:
        load_strategy(name)
    assert str(caught.value).startswith(message)
    module = f"quantkit_strategy_{name.removesuffix('.py').replace('-', '_')}"
    assert module not in sys.modules or name in ("empty.py", "only.py", "two.py", "my-file.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.py", "strategy file nowhere.py is not there; give a path to a Python file"),
        ("some/where", "strategy file some/where is not there"),
        ("good.py", "strategy file good.py is not there; there is strategies/good.py: write good"),
        ("other/good.py:Good", "strategy file other/good.py is not there; there is strategies/good.py: write good"),
        ("quoter.py", "strategy file quoter.py is not there; it is an example, strategies/quoter.py of the repository"),
        ("ma_cross", "strategy 'ma_cross' is neither in ./strategies nor a file or a module; it is an example, strat"),
        ("strategies", "strategies holds no subclass of quantkit.Strategy"),
        ("god", "strategy 'god' is neither in ./strategies nor a file or a module; did you mean good?"),
        ("zzzzz", "strategy 'zzzzz' is neither in ./strategies nor a file or a module; there is good"),
        ("good:God", "strategies/good.py has no Strategy 'God'; did you mean Good?"),
        ("good:Zzz", "strategies/good.py has no Strategy 'Zzz'; there is Good"),
        ("good:Strategies", "strategies/good.py has no Strategy 'Strategies'; there is Good"),
        ("json", "json holds no subclass of quantkit.Strategy"),
        ("json:loads", "json has no Strategy 'loads'; there is none"),
        ("no.such.module:X", "module no.such.module does not import: ModuleNotFoundError: No module named 'no'"),
        (".relative", "module .relative does not import: "),
        ("__main__x", "strategy '__main__x' is neither in ./strategies nor a file or a module; there is good"),
        ("", "the strategy has no name; give a file, a name in strategies, or module:Class"),
    ],
)
def test_texts_that_name_no_strategy(folder: Path, text: str, message: str) -> None:
    """Near misses get a hint, the rest what there is."""
    (folder / "strategies" / "good.py").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        load_strategy(text)
    assert str(caught.value).startswith(message)


def test_examples_are_named_where_there_is_no_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the repository's, with or without a folder of the user's own."""
    assert sorted(file.stem for file in (ROOT / "strategies").glob("*.py")) == sorted(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for name in EXAMPLES:
        with pytest.raises(ConfigError, match=r"go to a clone of it, or copy the file to \./strategies"):
            load_strategy(name)


def test_without_a_folder_of_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says where the examples are, and how to start from nothing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"strategy 'ma' .* no folder strategies here; .* quantkit new my_strategy"):
        load_strategy("ma")


# What backtest takes ----------------------------------------------------------------------------------------------


def test_a_strategy_is_given_built_as_a_class_or_as_text(folder: Path) -> None:
    """All three run the same."""
    (folder / "hold.py").write_text(HOLD)
    built = backtest(Hold(qty=2)).fills
    assert built["qty"].tolist() == [2.0]
    pd.testing.assert_frame_equal(backtest(Hold, params={"qty": "2"}).fills, built)
    pd.testing.assert_frame_equal(backtest("hold.py", params={"qty": 2}).fills, built)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"strategy": Hold(), "params": {"qty": 2}}, ConfigError, r"params go with a strategy class; this one is bu"),
        ({"strategy": int}, ConfigError, r"<class 'int'> is no Strategy; pass a subclass of quantkit.Strategy"),
        ({"strategy": 7}, ConfigError, r"7 is no Strategy"),
        ({"params": {"qtty": 2}}, ConfigError, r"Hold has no parameter 'qtty'; did you mean qty\?"),
        ({"data": {}}, ConfigError, r"data holds no frames; give \{instrument id: OHLCV frame\}"),
        ({"data": 7}, ConfigError, r"data is a int; give a folder or \{instrument id: OHLCV frame\}"),
        ({"data": "/no/such/folder"}, DataError, r"data folder /no/such/folder is not there"),
        ({"start": "soon"}, ConfigError, r"soon"),
        (
            {"start": 20250110},
            ConfigError,
            r"start 20250110 counts nanoseconds and reads as 1970-01-01T00:00:00\.02025011Z; write for example sta",
        ),
        ({"end": 1736467200}, ConfigError, r"end 1736467200 counts nanoseconds and reads as 1970-01-01T00:00:01"),
        ({"end": -1}, ConfigError, r"end -1 counts nanoseconds and reads as no time"),
        ({"start": "2025-01-10", "end": "2025-01-05"}, ConfigError, r"the run starts at 2025-01-10T00:00:00Z, no"),
        ({"start": "2026-01-01"}, DataError, r"no data: GOOG candle 1d runs from 2025-01-01T00:00:00Z to 2025-01-3"),
        ({"end": "2024-01-01"}, DataError, r"no data: GOOG candle 1d runs from"),
        ({"cash": {"USD": "much"}}, ConfigError, r"'much' is not a number"),
        ({"cash": {"USD": float("nan")}}, ConfigError, r"not a finite number"),
        ({"cash": {"USD": -5}}, ConfigError, r"-5"),
        ({"cash": {"EUR": 5}}, ConfigError, r"EUR"),
        ({"report_currency": "EUR"}, ConfigError, r"EUR"),
        ({"latency_ms": -1}, ConfigError, r"latency is -1 ms; give zero or more milliseconds"),
        ({"latency_ms": float("nan")}, ConfigError, r"latency is nan ms"),
        ({"latency_ms": 5}, ConfigError, r"GOOG is matched on candles, which know no latency: leave it out or give 0"),
        ({"match_on": "quotes"}, ConfigError, r"match_on 'quotes' is not known; use one of book, ticker, trade"),
        ({"match_on": "trade"}, DataError, r"GOOG: no trade without a hole from .*; there is candle 1d .*; choose"),
        ({"match_on": {"GOGO": "candle"}}, ConfigError, r"match_on names 'GOGO', which the strategy does not subs"),
        ({"fees": {"GOGO": qk.Fees()}}, ConfigError, r"fees names 'GOGO', .* to; there is GOOG"),
        ({"max_leverage": 0}, ConfigError, r"max_leverage is 0; it must be above zero"),
        ({"max_leverage": "3x"}, ConfigError, r"max_leverage: '3x' is not a number"),
        ({"cash": {"USDT": "10k"}}, ConfigError, r"cash of USDT: '10k' is not a number"),
        ({"slippage_bps": "2bps"}, ConfigError, r"slippage_bps is '2bps'; give basis points from 0"),
        ({"seed": -1}, ConfigError, r"seed is -1; give a whole number, zero or more"),
        ({"stale_after": "soon"}, ConfigError, r"duration 'soon' is not understood"),
        ({"equity_every": 0}, ConfigError, r"duration 0 must be above zero"),
        ({"excess_slippage_bps": float("nan")}, ConfigError, r"excess_slippage_bps is nan; give basis points from 0"),
        ({"excess_slippage_bps": -1}, ConfigError, r"excess_slippage_bps is -1"),
        ({"block_rows": 0}, ConfigError, r"block_rows is 0; a block has at least 1 row"),
        ({"instruments": []}, ConfigError, r"frame 'GOOG' has no metadata"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Each says which one and what to give instead."""
    with pytest.raises(kind, match=message):
        backtest(**options)


def test_a_strategy_that_subscribes_to_nothing() -> None:
    """The message is the line to write."""
    with pytest.raises(
        ConfigError, match=r"the strategy subscribes to nothing; call for example self.subscribe_candles"
    ):
        backtest(qk.Strategy)


def test_moments_are_text_numbers_or_datetimes() -> None:
    """All of one moment are one run."""
    moments: list[Any] = ["2025-01-10", "2025-01-10T00:00:00Z", datetime(2025, 1, 10, tzinfo=UTC)]
    moments.append(int(moments[-1].timestamp()) * 10**9)
    assert len({backtest(start=moment, end="2025-01-20").hash for moment in moments}) == 1


def test_the_run_starts_after_the_warm_up_and_ends_with_the_data() -> None:
    """Unless told otherwise; with a start of one's own the warm-up may be short, which is said."""
    default = backtest().manifest["config"]
    assert (default["start_ns"], default["end_ns"]) == tuple(
        int(pd.Timestamp(day, tz="UTC").value) for day in ("2025-01-03", "2025-01-31")
    )
    early = backtest(start="2025-01-02")
    assert "GOOG candle 1d: warm-up 1 of 2" in early.warnings
    assert not any("warm-up" in warning for warning in backtest(start="2025-01-03").warnings)


def test_the_seed_decides_the_dice() -> None:
    """The same seed gives the same numbers, another one others."""

    def dice(seed: int) -> list[float]:
        strategy = Hold()
        backtest(strategy, seed=seed)
        return strategy.dice

    assert dice(1) == dice(1)
    assert dice(1) != dice(2)


@pytest.mark.parametrize("option", [{"block_rows": 1}, {"block_rows": 7}, {"search": False}])
def test_how_the_replay_walks_never_shows(option: dict[str, Any]) -> None:
    """Neither in fills nor in the curve."""
    pd.testing.assert_frame_equal(backtest(**option).equity, backtest().equity, check_exact=True)
    assert backtest(**option).hash == backtest().hash


def test_progress_is_told_to_the_end() -> None:
    """With the span, and never backwards."""
    seen: list[tuple[int, int, int]] = []
    backtest(progress=lambda now, start, end: seen.append((now, start, end)), block_rows=5)
    moments = [now for now, _, _ in seen]
    assert len(moments) > 3
    assert moments == sorted(moments)
    assert moments[-1] == seen[-1][2]


class Looks(qk.Strategy):
    """Subscribes to hourly candles with a warm-up, or to the book."""

    kind: str = "candle"
    warmup: int = 30

    def on_start(self) -> None:
        if self.kind == "candle":
            self.subscribe_candles("binance:BTC-USDT-SWAP", "1h", warmup=self.warmup)
        else:
            self.subscribe_book("binance:BTC-USDT-SWAP")


@pytest.mark.parametrize(
    ("kind", "start", "end", "parts"),
    [
        ("candle", "2025-06-01T03:00:00Z", "2025-06-01T05:00:00Z", {"month=2025-05", "month=2025-06"}),
        ("book", "2024-08-09", "2024-08-09T00:00:01Z", {"date=2024-08-08", "date=2024-08-09"}),
    ],
)
def test_a_result_names_the_files_before_its_start(kind: str, start: str, end: str, parts: set[str]) -> None:
    """Those of the warm-up, and of a book that began earlier, with their digests."""
    config = qk.backtest(Looks(kind=kind), data=ROOT / "data", start=start, end=end).config
    files = {path for path in config["data_files"] if f"kind={kind}" in path}
    assert {path.split("/")[-2] for path in files} == parts
    digests = {entry.path: entry.sha256 for entry in Catalog(ROOT / "data").entries}
    assert config["data_files"].items() <= digests.items()


def test_a_feed_of_an_earlier_run_names_no_files_of_it() -> None:
    """Each result has those that it was made of."""
    feed = ReplayFeed(ROOT / "data")
    spans = (("2025-05-31", 30), ("2025-06-01T02:00:00Z", 0))
    runs = [
        qk.backtest(Looks(warmup=warmup), data=feed, start=start, end="2025-06-01T05:00:00Z") for start, warmup in spans
    ]
    months = [{path.split("/")[-2] for path in run.config["data_files"] if "candle" in path} for run in runs]
    assert months == [{"month=2025-05", "month=2025-06"}, {"month=2025-06"}]


def test_the_configuration_is_written_down_as_it_was_used() -> None:
    """Defaults filled in."""
    config = backtest(
        cash={"USD": Decimal("2500.50")},
        fees=qk.Fees(maker_bps=1, taker_bps=2),
        max_leverage="2",
        stale_after=timedelta(seconds=3),
        equity_every="1h",
    ).manifest["config"]
    assert config["cash"] == {"USD": "2500.50"}
    assert config["report_currency"] == "USD"
    assert (config["latency_ms"], config["matching"], config["marks"]) == (
        {"GOOG": 0.0},
        {"GOOG": "candle 1d"},
        {"GOOG": "candle 1d"},
    )
    assert (config["max_leverage"], config["stale_after_ms"], config["equity_every_ms"]) == (2.0, 3000.0, 3_600_000.0)
    assert config["parameters"] == {"qty": 1, "tries": 1}
    assert config["strategy"].endswith("test_api:Hold")
    assert len(config["strategy_digest"]) == 64
    assert (config["data"], config["data_files"]) == ("memory", {})
    assert config["fees"]["GOOG"]["taker_bps"] == 2


def test_a_class_without_a_file_has_no_digest() -> None:
    """One that was typed into a notebook or a shell."""
    names: dict[str, Any] = {"__name__": "a_cell", "Hold": Hold}
    exec("class Typed(Hold):\n    qty = 2\n", names)  # noqa: S102  as a notebook does it
    assert backtest(names["Typed"]).manifest["config"]["strategy_digest"] is None


def test_any_feed_can_be_given() -> None:
    """Events in memory, for example."""
    day = 86_400 * 10**9
    start = int(pd.Timestamp("2025-01-01", tz="UTC").value)
    candles = [
        qk.Candle("GOOG", start + (n + 1) * day, start + (n + 1) * day, start + n * day, start + (n + 1) * day,
                  100.0 + n - 0.5, 101.0 + n, 99.0 + n, 100.0 + n, 0.0, "1d")
        for n in range(30)
    ]  # fmt: skip
    result = backtest(data=MemoryFeed(candles, [GOOG]), instruments=[])
    pd.testing.assert_frame_equal(result.fills, backtest().fills)


def test_cash_defaults_to_ten_thousand_of_what_the_first_instrument_settles_in() -> None:
    """And the result says what it counts in."""
    config = backtest(cash=None).manifest["config"]
    assert (config["cash"], config["report_currency"]) == ({"USD": "10000"}, "USD")


def test_leverage_is_text_a_number_or_a_decimal() -> None:
    """All of one value."""
    made: list[Callable[[], qk.Result]] = [lambda x=x: backtest(max_leverage=x) for x in (2, 2.0, "2", Decimal(2))]  # type: ignore[misc]
    assert len({make().hash for make in made}) == 1
