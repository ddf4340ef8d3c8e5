"""What a newcomer types in the first hour: it works, or one line says what to do."""

import functools
import inspect
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import quantkit as qk
from quantkit.cli import main
from quantkit.errors import ConfigError, StrategyError
from quantkit.report.summary import fills_table
from quantkit.strategy import Strategy

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"

HOURLY = """
import quantkit as qk


class Hourly(qk.Strategy):
    instrument: str = "binance:BTC-USDT-SWAP"
    qty: float = 0.01
    price_factor: float = 0.0
    plain = 5

    def on_start(self):
        self.subscribe_candles(self.instrument, "1h", warmup=2)

    def on_candle(self, candle):
        price = candle.close * self.price_factor or None
        self.buy(self.instrument, self.qty, price=price)
"""


class Hourly(Strategy):
    """Notes what it may read while it warms up and after."""

    instrument: str = "binance:BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, "1h", warmup=3)
        self.seen: list[bool] = [self.is_warming_up]
        self.worth: list[float] = []

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen.append(self.is_warming_up)
        self.worth.append(self.equity)
        if not self.is_warming_up:
            self.target(self.instrument, 0.01)


def run(folder: Path, *words: str) -> Result:
    """Run a command on the sample data, with the strategy above in a file."""
    (folder / "hourly.py").write_text(HOURLY)
    span = ["--from", "2025-05-06", "--to", "2025-05-07", "--no-keep"] if words[0] == "backtest" else []
    return CliRunner().invoke(main, [*words, "--data", str(DATA), *span])


def error_line(result: Result, code: int = 2) -> str:
    """Return the one line of an error."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[0].removeprefix("quantkit: error: ")


# Strategies -------------------------------------------------------------------------------------------------------


def test_equity_is_a_float_beside_the_exact_amount() -> None:
    """The starting cash during the warm-up, then what the portfolio says."""
    strategy = Hourly()
    result = qk.backtest(strategy, data=DATA, start="2025-05-06", end="2025-05-07", cash={"USDT": 5000})
    assert strategy.worth[0] == 5000.0
    assert len(set(strategy.worth)) > 10
    assert strategy.equity == float(result.outcome.equity)


def test_equity_is_unknown_without_a_needed_price() -> None:
    """NaN, which no order takes for a size."""

    class Sizing(Strategy):
        """Sizes by an equity that counts coins without a price yet."""

        def on_start(self) -> None:
            self.subscribe_trades("binance:BTC-USDT-SWAP")
            self.at("2024-08-08T23:54:15Z", "early")

        def on_timer(self, name: str) -> None:
            assert self.portfolio.equity is None
            self.buy("binance:BTC-USDT-SWAP", 0.5 * self.equity)

    with pytest.raises(StrategyError, match=r"qty is nan; give a finite number above zero"):
        qk.backtest(
            Sizing(), data=DATA, start="2024-08-08T23:54:14Z", end="2024-08-08T23:56:00Z", cash={"USDT": 1, "BTC": 1}
        )


def test_warming_up_ends_with_the_start() -> None:
    """True in `on_start` and for the candles before the start."""
    strategy = Hourly()
    qk.backtest(strategy, data=DATA, start="2025-05-06", end="2025-05-06T06:00:00Z")
    assert strategy.seen == [True] * 4 + [False] * 6


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            "    async def on_candle(self, candle): ...\n",
            "is async, and hooks are plain functions; write `def on_candle`",
        ),
        ("    async def on_candle(self, candle):\n        yield 1\n", "is async, and hooks are plain functions"),
        ("    def on_candle(self, candle):\n        yield 1\n", "yields, and a hook is called, not iterated"),
        ("    @plain\n    async def on_candle(self, candle): ...\n", "is async, and hooks are plain functions"),
        ("    on_candle = 5\n", "is no method, and the name is that of a hook; write `def on_candle(self, candle)`"),
        ("    on_candle = property(lambda self: print)\n", "is no method, and the name is that of a hook"),
        (
            "    def on_candle(self): ...\n",
            "cannot be called with candle alone; write `def on_candle(self, candle)`",
        ),
        ("    def on_candle(self, candle, book): ...\n", "cannot be called with candle alone"),
        ("    def on_candle(self, candle, *, book): ...\n", "cannot be called with candle alone"),
        ("    on_candle = staticmethod(lambda: None)\n", "cannot be called with candle alone"),
    ],
)
def test_hooks_that_could_never_run(hook: str, message: str) -> None:
    """Refused when the class is made; a run without a single call would look like a quiet one."""
    with pytest.raises(ConfigError) as caught:
        exec(f"class Slow(Strategy):\n{hook}", {"Strategy": Strategy, "plain": plain})  # noqa: S102
    assert str(caught.value).startswith(f"Slow.on_candle {message}")


def plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method as decorators do."""

    @functools.wraps(method)
    def wrapped(*arguments: Any) -> Any:
        return method(*arguments)

    return wrapped


def test_hooks_without_an_event_and_hooks_mixed_in() -> None:
    """`on_start` and `on_stop` take none, `on_timer` a name; a base that is no strategy is looked at too."""
    for name, message in (
        ("on_start", "cannot be called without arguments; write `def on_start(self)`"),
        ("on_stop", "cannot be called without arguments; write `def on_stop(self)`"),
    ):
        with pytest.raises(ConfigError) as caught:
            type("Odd", (Strategy,), {name: lambda self, event: None})
        assert str(caught.value) == f"Odd.{name} {message}"
    mixin = type("Mixin", (), {"on_timer": lambda self: None})
    with pytest.raises(ConfigError) as caught:
        type("Mixed", (mixin, Strategy), {})
    assert str(caught.value) == ("Mixed.on_timer cannot be called with name alone; write `def on_timer(self, name)`")


@pytest.mark.parametrize(
    "hook",
    [
        "def on_candle(self, *events): ...",
        "def on_candle(self, bar, depth=5, *, log=None): ...",
        "on_candle = staticmethod(print)",
        "on_candle = classmethod(lambda cls, candle: None)",
        "on_candle = partialmethod(lambda self, depth, candle: None, 5)",
        "on_candle = plain(lambda self, candle, book: None)",
        "on_candle = [].append",
    ],
)
def test_hooks_that_can_be_called(hook: str) -> None:
    """However they are written; a wrapper's arguments count, not those of what it wraps."""
    names = {"Strategy": Strategy, "plain": plain, "partialmethod": functools.partialmethod}
    exec(f"class Fine(Strategy):\n    {hook}", names)  # noqa: S102


def test_parameters_by_place() -> None:
    """The message shows the parameter that the value fits."""

    class Cross(Strategy):
        """Two parameters."""

        instrument: str = "BTC-USDT"
        fast: int = 10

    class Bare(Strategy):
        """None."""

    with pytest.raises(ConfigError) as caught:
        Cross(5)
    assert str(caught.value) == "Cross takes its parameters by name: Cross(fast=5); it has instrument, fast"
    with pytest.raises(ConfigError, match=r"^Cross takes its parameters by name: Cross\(instrument=2.5\); it has"):
        Cross(2.5)
    with pytest.raises(ConfigError, match=r"^Bare takes its parameters by name; it has none$"):
        Bare(5)


def test_the_signature_shows_the_parameters() -> None:
    """As notebooks and editors ask for it; a constructor of the user's own speaks for itself."""

    class Base(Strategy):
        """One with a default and one without."""

        fast: int = 10
        qty: float

    class Own(Base):
        """With a constructor."""

        def __init__(self, speed: int) -> None:
            super().__init__(fast=speed, qty=1.0)

    class Derived(Base):
        """One more."""

        side: str = "long"

    assert str(inspect.signature(Base)) == "(*, fast: int = 10, qty: float)"
    assert str(inspect.signature(Derived)) == "(*, fast: int = 10, qty: float, side: str = 'long')"
    assert str(inspect.signature(Own)) == "(speed: int) -> None"
    assert str(inspect.signature(Strategy)) == "()"
    assert Own(3).fast == 3


def test_a_constructor_that_forgets_that_of_strategy() -> None:
    """Refused before the run, built or not; what it lacks would be missed only when the run has ended."""

    class Forgets(Strategy):
        """With a constructor of its own."""

        def __init__(self, speed: int = 3) -> None:
            self.speed = speed

    for given in (Forgets, Forgets()):
        with pytest.raises(ConfigError) as caught:
            qk.backtest(given, data=DATA)
        assert str(caught.value) == (
            "Forgets is built without the constructor of Strategy; call super().__init__(...) in its __init__, or "
            "annotate parameters in the class"
        )


# Commands ---------------------------------------------------------------------------------------------------------


def test_a_parameter_without_an_annotation(tmp_path: Path) -> None:
    """What to write."""
    line = error_line(run(tmp_path, "backtest", str(tmp_path / "hourly.py"), "-p", "plain=7"))
    assert line == "Hourly.plain is no parameter, since it has no annotation; write `plain: int = 5` in the class"
    line = error_line(run(tmp_path, "backtest", str(tmp_path / "hourly.py"), "-p", "on_candle=7"))
    assert line == "Hourly has no parameter 'on_candle'; there are instrument, qty, price_factor"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("BTC-USDT", "binance:BTC-USDT-SWAP"),
        ("btcusdt", "binance:BTC-USDT-SWAP"),
        ("ETH/USDT", "binance:ETH-USDT-SWAP"),
        ("okx:SOL-USDT-SWAP", "binance:SOL-USDT-SWAP"),
        ("ZEN-USD", "ZEN-USDT"),
    ],
)
def test_an_instrument_of_another_name(tmp_path: Path, typed: str, meant: str) -> None:
    """The same pair is nearer than a similar name."""
    line = error_line(run(tmp_path, "backtest", str(tmp_path / "hourly.py"), "-p", f"instrument={typed}"), 1)
    assert line.startswith(f"no data: {typed} is not there; did you mean {meant}? There is ")


@pytest.mark.parametrize(
    ("given", "what"), [("qty=1e308", "size"), ("qty=1e17", "size"), ("price_factor=1e303", "price")]
)
def test_numbers_beyond_counting(tmp_path: Path, given: str, what: str) -> None:
    """A number of steps that no table can hold is no order."""
    line = error_line(run(tmp_path, "backtest", str(tmp_path / "hourly.py"), "-p", given), 1)
    assert f"raised binance:BTC-USDT-SWAP: a {what} of " in line
    assert " is more than 9,000,000,000,000,000,000 steps of 0." in line


@pytest.mark.parametrize("name", ["my-strategy 2.py", "2.py", "strategy.v2.py", "наша.py", "plain.txt"])
def test_strategy_files_of_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path, and by name in the folder of strategies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / name).write_text(HOURLY)
    result = run(tmp_path, "backtest", f"strategies/{name}", "--brief")
    assert result.exit_code == 0, result.output
    assert qk.load_strategy(f"strategies/{name}:Hourly").__name__ == "Hourly"
    if name.endswith(".py"):
        assert qk.load_strategy(name.removesuffix(".py")).__name__ == "Hourly"


def test_an_error_of_on_start_carries_no_time() -> None:
    """Before the run begins there is no market time that could be right."""

    class Broken(Strategy):
        """Raises at once."""

        def on_start(self) -> None:
            raise ValueError("not today")

    with pytest.raises(StrategyError) as caught:
        qk.backtest(Broken(), data=DATA)
    assert str(caught.value) == "Broken.on_start raised ValueError: not today"
    assert caught.value.now_ns is None


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    """`python -m quantkit` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "quantkit", "data", "ls", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("quantkit: error: data folder ")
    assert done.stderr.rstrip().endswith("fill it with `quantkit import`, or start with generated data: `quantkit new`")
    wrong = subprocess.run([sys.executable, "-m", "quantkit", "nothing"], capture_output=True, text=True, check=False)
    assert wrong.stderr.startswith("Usage: quantkit ")


# Reports ----------------------------------------------------------------------------------------------------------


def test_the_short_report_fits_a_small_terminal(tmp_path: Path) -> None:
    """24 lines of 80 columns, however much there is to say; the return is the last."""
    file = tmp_path / "hourly.py"
    result = run(tmp_path, "backtest", str(file), "--brief", "-p", "qty=0.03", "--save", str(tmp_path / "kept"))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines if not line.startswith("Saved to")) <= 80
    assert lines[0].startswith("Hourly(instrument=")
    assert lines[-1].startswith("Return [%] ")
    assert any(line.startswith("Saved to") for line in lines)
    assert any("assumptions" in line for line in lines)
    assert any("warning" in line for line in lines)


@pytest.mark.parametrize(
    ("qty", "price", "shown"),
    [(5e-05, 1e-06, ("0.00005", "0.000001")), (123_456_789.5, 104_156.0, ("123,456,789.5", "104,156"))],
)
def test_fills_are_written_in_plain_decimals_on_80_columns(
    qty: float, price: float, shown: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole numbers and no exponents, with one instrument and with several."""
    fills = [
        qk.Fill(
            id=number,
            order_id=f"bt{number}",
            instrument=instrument,
            side=qk.Side.BUY,
            price=price,
            qty=qty,
            value=Decimal(1),
            fee=Decimal("0.00012345"),
            fee_currency="USDT",
            role="taker",
            filled_ns=1_700_000_000_000_000_000,
            revealed_ns=1_700_000_000_000_000_000,
            why="",
            tag="",
            lots=1,
            ticks=1,
        )
        for number, instrument in enumerate(["binance:1000SHIB-USDT-SWAP", "BTC-USDT"], 1)
    ]
    for chosen in (fills, fills[:1]):
        Console(width=80, highlight=False).print(fills_table(chosen))
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        for number in shown:
            assert number in text
        assert "e-0" not in text
