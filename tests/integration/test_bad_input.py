"""Bad input through the real command line: one clear line, the right exit code, nothing half-written."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from damage import lines_of, resealed, write_lines

from quantkit.cli import main
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, MarketEvent
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

ID = "BTC-USDT-SWAP"
START_NS = time_ns_of("2025-05-05")
SWAP = Instrument(ID, kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
STRATEGY = """
from quantkit import Strategy

class Acts(Strategy):
    qty: float = 1.0
    price: float = 0.0
    instrument: str = "BTC-USDT-SWAP"
    raises: bool = False

    def on_start(self):
        self.subscribe_candles(self.instrument, "1m")

    def on_candle(self, candle):
        if self.raises:
            raise KeyError("not found")
        self.buy(self.instrument, self.qty, price=self.price or None)
"""
BOOK_STRATEGY = """
from quantkit import Strategy

class Looks(Strategy):
    def on_start(self):
        self.subscribe_book("BTC-USDT-SWAP")

    def on_book(self, book):
        pass
"""


def candles(rows: int = 60) -> list[MarketEvent]:
    """Return an hour of minutes."""
    found: list[MarketEvent] = []
    for n in range(rows):
        opened, closed = START_NS + n * NS_PER_MIN, START_NS + (n + 1) * NS_PER_MIN
        found.append(Candle(ID, closed, closed, opened, closed, 100.0, 101.0, 99.0, 100.0, 1.0, "1m"))
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an hour of candles and a strategy."""
    monkeypatch.chdir(tmp_path)
    with Writer("data") as writer:
        writer.write_instrument(SWAP)
        writer.write(Block.from_events(candles()))
    Path("acts.py").write_text(STRATEGY)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def files_of(folder: Path) -> dict[str, str]:
    """Return every file with its digest, bytecode left out."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def refusal(place: Path, code: int, *arguments: str) -> str:
    """Run a command that has to fail; return its one line."""
    before = files_of(place)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("quantkit: error: ")
    assert "Traceback" not in line
    assert len(line) < 400
    assert files_of(place) == before
    return line.removeprefix("quantkit: error: ")


def backtest_refusal(place: Path, code: int, *arguments: str, strategy: str = "acts.py") -> str:
    """Run a backtest that has to fail and was asked to save its result."""
    return refusal(place, code, "backtest", strategy, "--save", "kept", *arguments)


# Data that are not there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "arguments", "parts"),
    [
        (1, ["-p", "instrument=ETH-USDT"], ["no data: ETH-USDT is not there", f"there is {ID}"]),
        (1, ["--from", "2025-06-01"], [f"no data: {ID} candle 1m runs from 2025-05-05T00:00:00Z", "2025-06-01T"]),
        (1, ["--to", "2025-01-01"], [f"no data: {ID} candle 1m", "2025-05-05T01:00:00Z"]),
        (1, ["--data", "elsewhere"], ["data folder elsewhere is not there", "quantkit import"]),
        (1, ["--match-on", "trade"], [f"{ID}: no trade", "there is candle 1m from 2025-05-05T00:", "--from, --to"]),
        (2, ["--from", "2025-05-05T00:30:00Z", "--to", "2025-05-05T00:10:00Z"], ["starts at", "not before its end"]),
        (2, ["--from", "yesterday"], ["'yesterday'"]),
        (2, ["--match-on", "ETH-USDT=trade"], ["match_on names 'ETH-USDT'", f"there is {ID}"]),
        (2, ["--latency-ms", "5"], [f"{ID} is matched on candles", "leave it out or give 0"]),
    ],
)  # fmt: skip
def test_no_data_for_the_instrument_or_the_span(place: Path, code: int, arguments: list[str], parts: list[str]) -> None:
    """What is asked for, what there is, what to do."""
    line = backtest_refusal(place, code, *arguments)
    assert [part for part in parts if part not in line] == [], line


# Strategies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("import nothing_like_it\n", ["bad.py does not import", "ModuleNotFoundError", "bad.py line 1"]),
        ("def f(:\n", ["bad.py does not import", "SyntaxError", "bad.py line 1"]),
        ("x = 1\n", ["bad.py holds no subclass of quantkit.Strategy"]),
        (STRATEGY + STRATEGY.replace("Acts", "More"), ["bad.py holds several strategies (Acts, More)", "bad.py:Acts"]),
        (STRATEGY.replace("on_candle", "on_candel"), ["Acts.on_candel is no hook; did you mean on_candle?"]),
        (STRATEGY.replace("qty: float", "buy: float"), ["Acts.buy: the name is taken by Strategy"]),
        (STRATEGY.replace('self.subscribe_candles(self.instrument, "1m")', "pass"), ["subscribes to nothing"]),
    ],
)
def test_strategy_files_that_cannot_run(place: Path, source: str, parts: list[str]) -> None:
    """The file, what is wrong with it, and where."""
    Path("bad.py").write_text(source)
    line = backtest_refusal(place, 2, strategy="bad.py")
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "qtty=2"], "Acts has no parameter 'qtty'; did you mean qty?"),
        (["-p", "qty=much"], "Acts.qty is 'much', which is no float"),
        (["-p", "raises=maybe"], "Acts.raises is 'maybe', which is no bool"),
    ],
)
def test_parameters_that_do_not_fit(place: Path, arguments: list[str], message: str) -> None:
    """Which one and what is wanted."""
    assert backtest_refusal(place, 2, *arguments).startswith(message)


def test_a_strategy_that_is_not_there(place: Path) -> None:
    """With what there is."""
    line = backtest_refusal(place, 2, strategy="actz")
    assert line.startswith("strategy 'actz' is no file or module, and there is no folder strategies here")


def test_a_hook_that_raises(place: Path) -> None:
    """Its name, the market's time, the exception, and the user's own line."""
    before = files_of(place)
    result = run("backtest", "acts.py", "-p", "raises=true", "--save", "kept")
    assert (result.exit_code, result.stdout) == (1, "")
    first, *rest = result.stderr.splitlines()
    assert first.startswith("quantkit: error: Acts.on_candle at 2025-05-05T00:01:00Z raised KeyError: 'not found'")
    assert first.endswith("to get there again, end the same run there: --to 2025-05-05T00:01:00Z")
    again = run("backtest", "acts.py", "-p", "raises=true", "--to", "2025-05-05T00:01:00Z")
    assert again.stderr.splitlines()[0] == first
    assert any("acts.py:" in line for line in rest)
    assert files_of(place) == before


# Orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["-p", "qty=nan"], "buy BTC-USDT-SWAP: qty is nan; give a finite number above zero"),
        (["-p", "qty=inf"], "buy BTC-USDT-SWAP: qty is inf; give a finite number above zero"),
        (["-p", "qty=0"], "buy BTC-USDT-SWAP: qty is 0.0; give a finite number above zero"),
        (["-p", "qty=-1"], "buy BTC-USDT-SWAP: qty is -1.0; give a finite number above zero"),
        (["-p", "price=nan"], "buy BTC-USDT-SWAP: price is nan; give a finite number above zero"),
        (["-p", "price=0.01"], "buy BTC-USDT-SWAP: price 0.01 rounds to zero on the step 0.1; give a larger one"),
    ],
)
def test_orders_that_could_never_be(place: Path, arguments: list[str], what: str) -> None:
    """The run stops where the order was sent, and says which hook sent it and when."""
    result = run("backtest", "acts.py", *arguments, "--save", "kept")
    assert (result.exit_code, result.stdout) == (1, "")
    first = result.stderr.splitlines()[0]
    assert first.startswith(f"quantkit: error: Acts.on_candle at 2025-05-05T00:01:00Z raised {what}")
    assert not Path("kept").exists()


def test_a_price_off_the_step_is_rounded_and_the_order_says_so(place: Path) -> None:
    """To the passive side."""
    result = run("backtest", "acts.py", "-p", "price=99.57", "-p", "qty=2.9", "--save", "kept", "--quiet")
    assert result.exit_code == 0, result.output
    orders = pq.read_table("kept/orders.parquet").to_pylist()
    assert orders
    assert {(order["price"], order["qty"]) for order in orders} == {(99.5, 2.0)}
    assert {order["note"] for order in orders} == {"size 2.9 rounded to 2; price 99.57 rounded to 99.5"}


# Files ------------------------------------------------------------------------------------------------------------


Spoil = Callable[[Path], None]


def reseal(place: Path, path: Path) -> None:
    """Make the manifest agree with a spoilt file, as somebody's own tool might."""
    root = place / "data"
    entries = [resealed(root, entry) if root / entry.path == path else entry for entry in lines_of(root).entries]
    write_lines(root, entries)


def rewritten(change: Callable[[Any], Any]) -> Callable[[Path, Path], None]:
    """Return a way to spoil a file: read its table, change it, write it back, reseal it."""

    def spoil(place: Path, path: Path) -> None:
        pq.write_table(change(pq.read_table(path, partitioning=None)), path, write_page_checksum=True)
        reseal(place, path)

    return spoil


def with_value(column: str, row: int, value: float) -> Callable[[Any], Any]:
    """Return a change of one number of a table."""

    def change(table: Any) -> Any:
        values = table.column(column).to_pylist()
        values[row] = value
        number = table.schema.get_field_index(column)
        return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))

    return change


def newer(table: Any) -> Any:
    """Return a table that claims to be of a schema yet to come."""
    metadata = {
        key: (b"99" if b"version" in key.lower() else value) for key, value in (table.schema.metadata or {}).items()
    }
    assert b"99" in metadata.values()
    return table.replace_schema_metadata(metadata)


def truncate(place: Path, path: Path) -> None:
    """Cut the end off, as a full disk does."""
    path.write_bytes(path.read_bytes()[:-100])


def foreign(place: Path, path: Path) -> None:
    """Put somebody else's table there."""
    pq.write_table(pa.table({"a": [1, 2, 3]}), path)
    reseal(place, path)


def no_parquet(place: Path, path: Path) -> None:
    """Put text there."""
    path.write_text("time,open,high\n" * 50)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(truncate, id="truncated"),
        pytest.param(no_parquet, id="text"),
        pytest.param(foreign, id="foreign"),
        pytest.param(rewritten(newer), id="newer schema"),
        pytest.param(rewritten(lambda table: table.take(list(range(table.num_rows))[::-1])), id="unsorted"),
        pytest.param(rewritten(with_value("close", 7, float("nan"))), id="nan"),
        pytest.param(rewritten(with_value("close", 7, float("inf"))), id="infinite"),
        pytest.param(rewritten(with_value("low", 7, -5.0)), id="negative"),
    ],
)
def test_files_that_are_not_what_they_claim(place: Path, spoil: Callable[[Path, Path], None]) -> None:
    """The file is named, the run gives nothing, and `data check` finds it too."""
    (path,) = (place / "data").rglob("kind=candle/**/*.parquet")
    spoil(place, path)
    line = backtest_refusal(place, 1)
    assert path.name in line
    assert "kind=candle" in line
    checked = run("data", "check", "data", "--json")
    assert checked.exit_code == 1
    assert any(
        finding["severity"] == "error"
        for stream in json.loads(checked.stdout)["streams"]
        for finding in stream["findings"]
    )


def test_a_crossed_book_is_refused_where_it_is_met(place: Path) -> None:
    """The instrument, the moment, the prices, and what to do."""
    books: list[MarketEvent] = []
    for n, bid in enumerate((99.0, 99.5, 100.5)):
        at = START_NS + n * NS_PER_S
        books.append(BookUpdate(ID, at, at, (bid,), (1.0,), (100.0,), (1.0,), n == 0))
    with Writer("books") as writer:
        writer.write_instrument(SWAP)
        writer.write(Block.from_events(books))
    Path("looks.py").write_text(BOOK_STRATEGY)
    line = backtest_refusal(place, 1, "--data", "books", strategy="looks.py")
    assert line.startswith(f"{ID}: crossed book at ")
    assert "bid 100.5 > ask 100.0" in line
    assert "quantkit data check" in line


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "a\\b", "x:../y", ""])
def test_instrument_names_that_could_leave_their_folder(place: Path, name: str) -> None:
    """Nothing is written anywhere."""
    Path("rows.csv").write_text(
        "time,open,high,low,close,volume\n2025-05-05T00:00:00Z,1,1,1,1,1\n2025-05-05T00:01:00Z,1,1,1,1,1\n"
    )
    steps = ("--price-step", "0.1", "--qty-step", "1")
    line = refusal(place, 2, "import", "candles", "rows.csv", "--to", "new", "--instrument", name, *steps)
    assert "instrument" in line
    assert not (place / "new").exists()
