"""Price paths beside a saved result: written a few rows at a time, read only as far as somebody asks."""

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from price_runs import BTC, ETH, START_NS, Buyer, candles, folder_of

import quantkit as qk
from quantkit.clock import NS_PER_MIN
from quantkit.errors import DataError
from quantkit.events import Candle, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Side
from quantkit.orderbook import Book
from quantkit.report import price_tables
from quantkit.report.price_feeds import RecordedPrices
from quantkit.report.prices import PriceRows, PriceSource
from quantkit.report.result import Result
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.root import Root

OLD = Path(__file__).parents[2] / "data" / "saved" / "0.2.0"


def trades() -> list[MarketEvent]:
    return [
        Trade(ETH.id, START_NS + n * 10**8, START_NS + n * 10**8, 50.0 + n % 9 * 0.1, 1.0, Side.BUY, n)
        for n in range(20_000)
    ]


def run(*names: str, data: Any = None) -> Result:
    feed = MemoryFeed([*candles(BTC), *trades()], [BTC, ETH]) if data is None else data
    return qk.backtest(Buyer, data=feed, params={"instruments": names, "kind": "candle"})


class Both(qk.Strategy):
    """Trades one instrument by candles and one by trades, and looks at neither."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")
        self.subscribe_trades(ETH.id)
        self.every("5m")

    def on_timer(self, name: str) -> None:
        if self.position(ETH.id):
            self.buy(BTC.id, 0.1)
        self.buy(ETH.id, 0.1)


@pytest.fixture
def result() -> Result:
    return qk.backtest(Both, data=MemoryFeed([*candles(BTC), *trades()], [BTC, ETH]))


def same(one: PriceRows, other: PriceRows) -> bool:
    names = ("time_ns", "open", "high", "low", "close")
    return (one.instrument, one.kind, one.interval_ns) == (other.instrument, other.kind, other.interval_ns) and all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names
    )


def test_a_saved_result_has_the_prices_of_what_was_traded(result: Result, tmp_path: Path) -> None:
    """To the last bit, in any span, and in the order of the first fills."""
    loaded = Result.load(result.save(tmp_path / "saved"))
    assert loaded.prices.instruments == result.prices.instruments == [ETH.id, BTC.id]
    for name in loaded.prices.instruments:
        assert same(loaded.prices.rows(name), result.prices.rows(name))
        span = START_NS + 7 * NS_PER_MIN, START_NS + 9 * NS_PER_MIN
        assert same(loaded.prices.rows(name, *span), result.prices.rows(name, *span))
    assert loaded.prices.book_at(BTC.id, START_NS + NS_PER_MIN) is None
    assert {path.name for path in (tmp_path / "saved").glob("prices-*")} == {"prices-0.parquet", "prices-1.parquet"}


def test_what_was_not_traded_has_none(tmp_path: Path) -> None:
    class Quiet(Both):
        def on_timer(self, name: str) -> None:
            self.buy(ETH.id, 0.1)

    result = qk.backtest(Quiet, data=MemoryFeed([*candles(BTC), *trades()], [BTC, ETH]))
    assert result.prices.instruments == [ETH.id, BTC.id]
    loaded = Result.load(result.save(tmp_path / "saved"))
    assert loaded.prices.instruments == [ETH.id]
    assert loaded.prices.reason(BTC.id) == "BTC-USDT was not traded, and a saved result has the prices of what was"


def test_a_result_that_was_saved_again_has_them_still(result: Result, tmp_path: Path) -> None:
    loaded = Result.load(result.save(tmp_path / "one"))
    again = Result.load(loaded.save(tmp_path / "two"))
    assert again.hash == result.hash
    assert same(again.prices.rows(ETH.id), result.prices.rows(ETH.id))


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_loading_looks_at_no_table_and_reading_at_its_digest(result: Result, tmp_path: Path, how: str) -> None:
    folder = result.save(tmp_path / "saved")
    file = folder / "prices-0.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(content)
    loaded = Result.load(folder)
    assert loaded.hash == result.hash
    assert loaded.prices.instruments == [BTC.id]
    why = "was changed after the result was saved" if how == "changed" else "is missing though the manifest lists it"
    assert why in loaded.prices.reason(ETH.id)
    with pytest.raises(DataError, match=why):
        loaded.prices.rows(ETH.id)


def test_only_the_row_groups_of_a_span_are_read(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(price_tables, "_GROUP_ROWS", 1000)
    loaded = Result.load(result.save(tmp_path / "saved"))
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, **options: Any) -> Any:
        read.append(group)
        return whole(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    span = START_NS + 5500 * 10**8, START_NS + 7200 * 10**8
    assert len(loaded.prices.rows(ETH.id, *span)) == 1701
    assert read == [5, 6, 7]


def test_an_old_result_says_why_it_has_none() -> None:
    prices = Result.load(OLD).prices
    assert prices.instruments == []
    (name, *_) = prices.streams
    assert prices.reason(name) == (
        "an older quantkit saved this result without prices; run it again and save it to have them"
    )


def test_data_that_changed_before_the_save_cost_the_prices_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", candles(BTC))
    result = run(BTC.id, data=folder)
    folder.rename(tmp_path / "elsewhere")
    loaded = Result.load(result.save(tmp_path / "saved"))
    assert loaded.hash == result.hash
    assert loaded.prices.reason(BTC.id).startswith("BTC-USDT: its prices were not saved: the data of the run cannot")
    assert not list((tmp_path / "saved").glob("prices-*"))


class Endless(PriceSource):
    """Ten days of trades, made as they are asked for; counts the chunks that somebody still holds."""

    def __init__(self, chunks: int, *, fails: BaseException | None = None) -> None:
        self.chunk_count = chunks
        self.fails = fails
        self.most_held = 0

    def reason(self, stream: Stream) -> str:
        return ""

    def chunks(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        alive: weakref.WeakSet[Any] = weakref.WeakSet()
        for number in range(self.chunk_count):
            prices = 50.0 + np.arange(50_000) % 100 / 10
            alive.add(_Held(prices))
            yield PriceRows.of_prices(stream, START_NS + number * 10**9 + np.arange(50_000), prices)
            del prices
            self.most_held = max(self.most_held, len(alive))
        if self.fails is not None:
            raise self.fails

    def books(self, instrument: str, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        return []


class _Held:
    """Lives as long as an array does."""

    def __init__(self, array: np.ndarray) -> None:
        weakref.finalize(array, lambda kept: None, self)


def with_source(result: Result, source: PriceSource) -> Result:
    return Result(result.outcome, result.config, result.instruments, prices=source)


def test_few_rows_are_in_memory_while_a_long_run_is_saved(tmp_path: Path) -> None:
    source = Endless(120)
    result = with_source(run(BTC.id), source)
    loaded = Result.load(result.save(tmp_path / "saved"))
    assert source.most_held <= 5
    manifest = msgspec.json.decode((tmp_path / "saved" / "manifest.json").read_bytes())
    assert manifest["prices"]["tables"][0]["rows"] == 6_000_000
    assert loaded.prices.reason(BTC.id) == ""


def test_data_that_fail_in_the_middle_leave_no_half_of_a_table(tmp_path: Path) -> None:
    result = with_source(run(BTC.id), Endless(4, fails=DataError("the file was cut")))
    loaded = Result.load(result.save(tmp_path / "saved"))
    assert loaded.prices.reason(BTC.id) == "BTC-USDT: its prices were not saved: the file was cut"
    assert not list((tmp_path / "saved").glob("prices-*"))


def test_a_save_that_ends_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """Whole or not at all: here the disk is full, or the user has had enough."""
    for number, error in enumerate((OSError(28, "No space left on device"), KeyboardInterrupt())):
        result = with_source(run(BTC.id), Endless(4, fails=error))
        with pytest.raises((qk.ConfigError, KeyboardInterrupt)):
            result.save(tmp_path / str(number) / "saved")
        assert not list((tmp_path / str(number)).iterdir())


# Beside a recording -------------------------------------------------------------------------------------------------


def recorded(path: Path) -> Result:
    """Return a result whose rows were recorded in a run's folder."""
    data = folder_of(path / "data", candles(BTC), candles(ETH, 50.0))
    result = run(BTC.id, data=data)
    files = {entry.path: entry.sha256 for entry in Catalog(data).entries}
    outcome = result.outcome
    source = RecordedPrices(Root(data), files, result.instruments, outcome.start_ns, outcome.end_ns)
    return with_source(result, source)


def test_a_result_beside_its_recording_refers_to_it(tmp_path: Path) -> None:
    """Nothing is copied, and the folder of the run may move as a whole."""
    result = recorded(tmp_path / "run")
    folder = result.save(tmp_path / "run" / "result")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    assert not list(folder.glob("prices-*"))
    assert manifest["prices"]["recording"]["folder"] == "../data"
    assert all("BTC" in path for path in manifest["prices"]["recording"]["files"])
    (tmp_path / "run").rename(tmp_path / "moved")
    loaded = Result.load(tmp_path / "moved" / "result")
    assert same(loaded.prices.rows(BTC.id), result_rows(tmp_path))
    copied = Result.load(loaded.save(tmp_path / "elsewhere" / "saved"))
    (tmp_path / "moved" / "data").rename(tmp_path / "gone")
    assert same(copied.prices.rows(BTC.id), loaded_rows(copied))
    assert "cannot be read again" in Result.load(tmp_path / "moved" / "result").prices.reason(BTC.id)


def result_rows(path: Path) -> PriceRows:
    return run(BTC.id, data=path / "moved" / "data").prices.rows(BTC.id)


def loaded_rows(result: Result) -> PriceRows:
    wanted = [event for event in candles(BTC) if isinstance(event, Candle)]
    rows = result.prices.rows(BTC.id)
    assert rows.close.tolist() == [event.close for event in wanted]
    return rows


@pytest.mark.parametrize("folder", ["../../data", "data", "/etc", "..", "../", "../..", "..\\data"])
def test_a_manifest_leads_nowhere_but_beside(tmp_path: Path, folder: str) -> None:
    result = recorded(tmp_path / "run")
    saved = {"recording": {"folder": folder, "files": {}}}
    source = price_tables.read(tmp_path / "run" / "result", {"prices": saved}, result.instruments, result.outcome)
    assert source.reason(result.prices.streams[BTC.id])


def test_rows_that_nobody_vouches_for_are_not_shown(tmp_path: Path) -> None:
    """A manifest that names no file of a stream says nothing of the rows that lie there."""
    result = recorded(tmp_path / "run")
    saved = {"recording": {"folder": "../data", "files": {}}}
    source = price_tables.read(tmp_path / "run" / "result", {"prices": saved}, result.instruments, result.outcome)
    assert "changed since the run" in source.reason(result.prices.streams[BTC.id])
