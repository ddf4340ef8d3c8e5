"""Each example strategy runs on the sample data as it is, and how the replay walks never changes its result."""

from pathlib import Path

import pytest

import quantkit as qk

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
FILES = sorted((ROOT / "strategies").glob("*.py"))


def run(file: Path, *, block_rows: int | None = None, search: bool = True) -> qk.Result:
    """Run a strategy with its defaults over everything the sample data hold for it."""
    return qk.backtest(str(file), data=DATA, block_rows=block_rows, search=search)


def test_the_folder_shows_candles_books_and_trades() -> None:
    """A reader finds an example of each kind of market data that most strategies start from."""
    text = "\n".join(file.read_text() for file in FILES)
    assert len(FILES) >= 4
    for call in (
        "self.equity",
        "subscribe_candles",
        "subscribe_book",
        "subscribe_trades",
        "every",
        "stop_price",
        "quote(",
    ):
        assert call in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_trades_and_its_result_is_the_same_however_the_replay_walks(file: Path) -> None:
    """Orders and fills with the defaults; one hash with the gate search off and on, in small blocks and large."""
    result = run(file)
    assert result.outcome.ended == "completed"
    assert len(result.orders) >= 10
    assert len(result.fills) >= 10
    assert result.numbers["trades"]
    assert result.outcome.equity != result.outcome.starting_equity
    hashes = {
        "search off": run(file, search=False).hash,
        "blocks of 997 rows": run(file, block_rows=997).hash,
        "blocks of 65,536 rows, search off": run(file, block_rows=65_536, search=False).hash,
    }
    assert hashes == dict.fromkeys(hashes, result.hash)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_parameters_matter(file: Path) -> None:
    """Half the size is another result: the hash compared above is not blind."""
    strategy = qk.load_strategy(str(file))
    (size,) = {"qty", "fraction"}.intersection(strategy.parameter_defaults)
    half = float(strategy.parameter_defaults[size]) / 2
    assert qk.backtest(strategy, data=DATA, params={size: half}).hash != run(file).hash


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_short_and_uses_public_names_only(file: Path) -> None:
    """15 to 40 lines, written against what every user has."""
    lines = file.read_text().splitlines()
    assert 15 <= len(lines) <= 40
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert imports
    for line in imports:
        module, _, names = line.removeprefix("from ").partition(" import ")
        assert module in ("quantkit", "quantkit.indicators")
        if module == "quantkit":
            assert set(names.split(", ")) <= set(qk.__all__)
