"""The price path of a run: the rows that valued it, read again; data that changed since are told, not drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from price_runs import BTC, ETH, MINUTES, START_NS, Buyer, candle, candles, folder_of

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S
from quantkit.errors import DataError
from quantkit.events import BookUpdate, Candle, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.report.page import page
from quantkit.report.prices import PriceRows
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer


class Watcher(qk.Strategy):
    """Does nothing."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")


def frame(base: float = 100.0) -> pd.DataFrame:
    index = pd.date_range("2025-05-05", periods=MINUTES, freq="1min", tz="UTC")
    price = base + np.arange(MINUTES) % 7.0
    columns = {"open": price, "high": price + 2, "low": price - 3, "close": price + 1, "volume": 5.0}
    return pd.DataFrame(columns, index=index)


def run(data: Any, *names: str, kind: str = "candle", **options: Any) -> qk.Result:
    return qk.backtest(Buyer, data=data, params={"instruments": names, "kind": kind}, **options)


# Where the rows lie -------------------------------------------------------------------------------------------------


def from_folder(path: Path) -> Any:
    return folder_of(path / "data", candles(BTC), candles(ETH, 50.0))


def from_uri(path: Path) -> Any:
    return from_folder(path).as_uri()


def from_catalog(path: Path) -> Any:
    return Catalog(from_folder(path))


def from_frames(path: Path) -> Any:
    return {BTC.id: frame(), ETH.id: frame(50.0)}


def from_events(path: Path) -> Any:
    return MemoryFeed([*candles(BTC), *candles(ETH, 50.0)], [BTC, ETH])


@pytest.mark.parametrize("source", [from_folder, from_uri, from_catalog, from_frames, from_events])
def test_candles_are_read_again_wherever_they_lie(tmp_path: Path, source: Callable[[Path], Any]) -> None:
    """With their ranges, at their closes; what traded first stands first."""
    given = [BTC, ETH] if source is from_frames else []
    result = run(source(tmp_path), BTC.id, ETH.id, instruments=given)
    prices = result.prices
    assert [fill.instrument for fill in result.outcome.fills] == [ETH.id, BTC.id]
    assert prices.instruments == [ETH.id, BTC.id]
    assert prices.reason(BTC.id) == ""
    rows = prices.rows(BTC.id)
    assert (rows.instrument, rows.kind, rows.interval_ns, rows.is_candles) == (BTC.id, "candle", NS_PER_MIN, True)
    wanted = [event for event in candles(BTC) if isinstance(event, Candle)]
    assert rows.time_ns.tolist() == [each.close_ns for each in wanted]
    for name in ("open", "high", "low", "close"):
        assert getattr(rows, name).tolist() == [getattr(each, name) for each in wanted]
    assert len(rows) == MINUTES


def test_a_span_includes_both_ends_and_ends_with_the_run(tmp_path: Path) -> None:
    result = run(from_folder(tmp_path), BTC.id, end="2025-05-05T00:20")
    rows = result.prices.rows
    assert len(rows(BTC.id)) == 20
    first, last = START_NS + 3 * NS_PER_MIN, START_NS + 5 * NS_PER_MIN
    assert rows(BTC.id, first, last).time_ns.tolist() == [first, first + NS_PER_MIN, last]
    assert len(rows(BTC.id, first, START_NS + 1000 * NS_PER_MIN)) == 18
    empty = rows(BTC.id, last, first)
    assert (len(empty), empty.kind, empty.close.dtype) == (0, "candle", np.float64)


def test_rows_come_some_at_a_time(tmp_path: Path) -> None:
    result = run(from_folder(tmp_path), BTC.id)
    chunks = list(result.prices.chunks(BTC.id))
    assert sum(map(len, chunks)) == MINUTES
    assert all(isinstance(chunk, PriceRows) for chunk in chunks)


def test_a_frame_is_not_kept_twice(tmp_path: Path) -> None:
    """Neither rows nor a copy of them stand in memory before somebody asks for the path."""
    frames = {BTC.id: frame()}
    result = run(frames, BTC.id, instruments=[BTC])
    held = vars(vars(result)["_price_source"])
    assert held["_frames"][BTC.id] is frames[BTC.id]
    assert held["_opened"] is None


@pytest.mark.parametrize("kind", ["trade", "ticker", "mark"])
def test_other_rows_are_their_price(tmp_path: Path, kind: str) -> None:
    """Of a ticker the mid; where a side is missing there is none, and an index values nothing."""
    stamps = [START_NS + second * NS_PER_S for second in range(600)]
    trades: list[MarketEvent] = [Trade(BTC.id, ns, ns, 100.0 + i % 5, 1.0, Side.BUY, i) for i, ns in enumerate(stamps)]
    beside: list[MarketEvent] = []
    if kind == "ticker":
        beside = [Ticker(BTC.id, ns, ns, None if i % 3 else 99.0, 1.0, 101.0, 1.0) for i, ns in enumerate(stamps)]
    elif kind == "mark":
        beside = [Mark(BTC.id, ns, ns, 77.0 + i, "index" if i % 2 else "mark") for i, ns in enumerate(stamps)]
    result = run(MemoryFeed([*trades, *beside], [BTC]), BTC.id, kind="trades", match_on="trade")
    rows = result.prices.rows(BTC.id)
    wanted = {
        "trade": [(ns, 100.0 + i % 5) for i, ns in enumerate(stamps)],
        "ticker": [(ns, 100.0) for i, ns in enumerate(stamps) if not i % 3],
        "mark": [(ns, 77.0 + i) for i, ns in enumerate(stamps) if not i % 2],
    }[kind]
    assert rows.kind == kind
    assert list(zip(rows.time_ns.tolist(), rows.close.tolist(), strict=True)) == wanted
    assert rows.open is rows.high is rows.low is rows.close


# Books --------------------------------------------------------------------------------------------------------------


def book_rows() -> list[MarketEvent]:
    """Return a snapshot before the run, changes, a gap, and a new snapshot."""

    def row(second: float, bid: float, ask: float, *, is_snapshot: bool = False, qty: float = 1.0) -> BookUpdate:
        ns = START_NS + round(second * NS_PER_S)
        return BookUpdate(BTC.id, ns, ns, (bid,), (qty,), (ask,), (1.0,), is_snapshot)

    lost_ns = START_NS + 300 * NS_PER_S
    return [
        row(-30, 99.0, 101.0, is_snapshot=True),
        *(row(2 * n, 99.5, 101.0, qty=float(n % 2)) for n in range(100)),
        Gap(BTC.id, lost_ns, lost_ns, "book", lost_ns - NS_PER_S, lost_ns, "missing"),
        row(310, 120.0, 122.0),
        row(330, 109.0, 112.0, is_snapshot=True),
        *(row(340 + n, 109.0, 112.0, qty=2.0 + n) for n in range(100)),
    ]


def book_run(path: Path | None) -> qk.Result:
    events = book_rows()
    if path is None:
        data: Any = MemoryFeed(events, [BTC], block_rows=7)
    else:
        gaps = [event for event in events if isinstance(event, Gap)]
        data = folder_of(path / "data", [event for event in events if not isinstance(event, Gap)], list(gaps))
    return run(data, BTC.id, kind="book", start="2025-05-05")


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_book_is_its_mid_after_each_row(tmp_path: Path, *, is_stored: bool) -> None:
    """What was known before the run counts, a gap leaves the mid where it is, and rows without a snapshot are lost."""
    result = book_run(tmp_path if is_stored else None)
    rows = result.prices.rows(BTC.id)
    wanted = [100.25 if n % 2 else 100.0 for n in range(100)]
    wanted += [wanted[-1], *[110.5] * 101]
    assert rows.kind == "book"
    assert rows.close.tolist() == wanted
    assert len(rows) == len([row for row in book_rows() if isinstance(row, BookUpdate)]) - 1


@pytest.mark.parametrize(
    ("first", "last"), [(0, 500), (7, 31), (299, 315), (305, 305), (311, 329), (330, 333), (350, 360)]
)
def test_a_part_of_a_book_is_a_part_of_the_whole(first: int, last: int) -> None:
    """Wherever it begins, in the middle of an outage too."""
    prices = book_run(None).prices
    whole = prices.rows(BTC.id)
    start_ns, end_ns = START_NS + first * NS_PER_S, START_NS + last * NS_PER_S
    part = prices.rows(BTC.id, start_ns, end_ns)
    inside = (whole.time_ns >= start_ns) & (whole.time_ns <= end_ns)
    assert part.time_ns.tolist() == whole.time_ns[inside].tolist()
    assert part.close.tolist() == whole.close[inside].tolist()


def test_a_book_stands_as_it_stood_at_a_moment() -> None:
    prices = book_run(None).prices
    moments = [START_NS + second * NS_PER_S for second in (400, 0, 2, 3, 305, 320, 331, 439)]
    books = prices.books_at(BTC.id, moments, levels=1)
    assert [None if book is None else book.bids.tolist() for book in books] == [
        [[109.0, 62.0]],
        [[99.0, 1.0]],
        [[99.5, 1.0]],
        [[99.5, 1.0]],
        None,
        None,
        [[109.0, 1.0]],
        [[109.0, 101.0]],
    ]
    one = prices.book_at(BTC.id, moments[0])
    assert one is not None
    assert (one.mid, one.received_ns) == (110.5, moments[0])
    assert one.asks.tolist() == [[112.0, 1.0]]
    deep = prices.book_at(BTC.id, START_NS + 2 * NS_PER_S)
    assert deep is not None
    assert deep.bids.tolist() == [[99.5, 1.0], [99.0, 1.0]]


def test_outside_the_run_and_without_a_book_there_is_none(tmp_path: Path) -> None:
    prices = book_run(None).prices
    assert prices.book_at(BTC.id, START_NS - 1) is None
    assert prices.book_at("XRP-USDT", START_NS) is None
    assert run(from_folder(tmp_path), BTC.id).prices.book_at(BTC.id, START_NS + NS_PER_MIN) is None


def test_a_book_beside_what_the_run_read_can_be_seen(tmp_path: Path) -> None:
    """The run was matched on candles; a book was recorded too."""
    rows = [event for event in book_rows() if isinstance(event, BookUpdate)]
    folder = folder_of(tmp_path / "data", candles(BTC), list(rows))
    result = run(folder, BTC.id, match_on="candle")
    assert result.prices.rows(BTC.id).kind == "candle"
    book = result.prices.book_at(BTC.id, START_NS + 120 * NS_PER_S)
    assert book is not None
    assert book.best_ask == 101.0


# What changed since -------------------------------------------------------------------------------------------------


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    folder.rename(tmp_path / "elsewhere")
    assert "cannot be read again" in result.prices.reason(BTC.id)
    assert result.prices.instruments == []
    with pytest.raises(DataError, match="cannot be read again"):
        result.prices.rows(BTC.id)


def test_rows_that_were_imported_anew_are_told(tmp_path: Path) -> None:
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    with Writer(folder, source="test", replace=True) as writer:
        writer.write(Block.from_events([candle(BTC, minute, 200.0) for minute in range(MINUTES)]))
    assert result.prices.reason(BTC.id).startswith("the data of BTC-USDT candle 1m changed since the run (")
    assert result.prices.reason(BTC.id).endswith("); run it again")
    assert run(folder, BTC.id).prices.rows(BTC.id).close[0] == 201.0


def test_rows_of_other_instruments_may_come_and_go(tmp_path: Path) -> None:
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    with Writer(folder, source="test", replace=True) as writer:
        writer.write(Block.from_events([candle(ETH, minute, 200.0) for minute in range(MINUTES)]))
    assert result.prices.reason(BTC.id) == ""


def test_more_rows_after_the_run_change_nothing_before_it(tmp_path: Path) -> None:
    """Of another month, which lie in a file of their own."""
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    with Writer(folder, source="test") as writer:
        writer.write(Block.from_events([candle(BTC, minute, 200.0) for minute in range(50_000, 50_010)]))
    assert len(result.prices.rows(BTC.id)) == MINUTES


@pytest.mark.parametrize("how", ["cut", "changed", "removed"])
def test_a_file_that_was_damaged_is_told(tmp_path: Path, how: str) -> None:
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    (file,) = (path for path in folder.rglob("*.parquet") if "candle" in str(path) and "BTC" in str(path))
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if how == "cut" else bytes(content))
    assert file.name in result.prices.reason(BTC.id)
    with pytest.raises(DataError):
        result.prices.rows(BTC.id)


def test_damage_inside_a_file_is_found_when_its_rows_are_read(tmp_path: Path) -> None:
    """Its footer and its length are whole; the reason is known afterwards."""
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    (file,) = (path for path in folder.rglob("*.parquet") if "candle" in str(path) and "BTC" in str(path))
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)
    assert result.prices.reason(BTC.id) == ""
    with pytest.raises(DataError):
        result.prices.rows(BTC.id)
    assert file.name in result.prices.reason(BTC.id)
    assert result.prices.instruments == []


def test_a_report_goes_on_without_a_path_that_is_damaged(tmp_path: Path) -> None:
    folder = from_folder(tmp_path)
    result = run(folder, BTC.id)
    for file in folder.rglob("*.parquet"):
        content = bytearray(file.read_bytes())
        content[60:90] = bytes(30)
        file.write_bytes(content)
    tracks, reasons = page.tracks_of(result)
    assert (tracks, list(reasons)) == ([], [BTC.id])
    assert "cannot be read" in reasons[BTC.id] or "damaged" in reasons[BTC.id]


@pytest.mark.parametrize("how", ["price", "rows", "columns"])
def test_a_frame_that_was_changed_is_told(how: str) -> None:
    frames = {BTC.id: frame()}
    result = run(frames, BTC.id, instruments=[BTC])
    mine = frames[BTC.id]
    if how == "price":
        mine.loc[mine.index[3], "close"] += 0.5
    elif how == "rows":
        mine.loc[mine.index[-1] + pd.Timedelta("1min")] = mine.iloc[-1]
    else:
        del mine["close"]
    assert "changed since the run" in result.prices.reason(BTC.id)
    with pytest.raises(DataError, match="changed since the run"):
        result.prices.rows(BTC.id)


def test_columns_beside_the_prices_of_a_frame_may_change() -> None:
    frames = {BTC.id: frame()}
    result = run(frames, BTC.id, instruments=[BTC])
    frames[BTC.id]["volume"] = 9.0
    assert len(result.prices.rows(BTC.id)) == MINUTES


def test_a_feed_of_ones_own_gives_its_rows_once() -> None:
    class Once:
        """Hands everything on to a feed in memory, and is none that quantkit knows."""

        def __init__(self) -> None:
            self.inner = MemoryFeed(candles(BTC), [BTC])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    result = run(Once(), BTC.id)
    assert result.prices.reason(BTC.id) == "the rows of the run came from a feed that gives them only once"
    assert result.prices.book_at(BTC.id, START_NS + NS_PER_MIN) is None


def test_what_is_no_instrument_of_the_run_is_told() -> None:
    result = run(MemoryFeed([*candles(BTC), *candles(ETH)], [BTC, ETH]), BTC.id)
    assert result.prices.reason(ETH.id) == "ETH-USDT is no instrument of the run; there is BTC-USDT"
    with pytest.raises(DataError, match="is no instrument of the run"):
        result.prices.rows(ETH.id)


def test_a_run_without_fills_has_its_path_too() -> None:
    result = qk.backtest(Watcher, data=MemoryFeed(candles(BTC), [BTC]))
    assert result.prices.instruments == [BTC.id]
    assert result.prices.streams == {BTC.id: Stream("candle", BTC.id, "1m")}


def test_a_run_that_was_ruined_ends_its_path_there() -> None:
    class AllIn(qk.Strategy):
        """Holds more than it has."""

        def on_start(self) -> None:
            self.subscribe_candles("BTC-USDT-SWAP", "1m")

        def on_candle(self, candle: Candle) -> None:
            self.target("BTC-USDT-SWAP", 100)

    swap = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1", contract_value="1")
    rows = [candle(swap, minute, 100.0 if minute < 20 else 40.0) for minute in range(MINUTES)]
    result = qk.backtest(AllIn, data=MemoryFeed(rows, [swap]), cash={"USDT": 2000}, max_leverage=10)
    assert result.outcome.ended == "bankrupt"
    assert result.prices.rows(swap.id).time_ns[-1] == result.outcome.end_ns


# What the run was valued on ----------------------------------------------------------------------------------------


class Holds(qk.Strategy):
    """Buys at the first moment and holds."""

    instrument: str = "binance:BTC-USDT-SWAP"
    kind: str = "book"

    def on_start(self) -> None:
        if self.kind == "candles":
            self.subscribe_candles(self.instrument, "1m")
        else:
            getattr(self, f"subscribe_{self.kind}")(self.instrument)
        self.every("1s")
        self.is_done = False

    def on_timer(self, name: str) -> None:
        if not self.is_done:
            self.buy(self.instrument, 0.01)
            self.is_done = True


@pytest.mark.parametrize("kind", ["book", "trades", "candles"])
def test_the_path_values_the_equity_curve(kind: str) -> None:
    """Cash and the holding at the last price of the path give every step of the curve's grid, on the sample data."""
    name = "binance:BTC-USDT-SWAP"
    root = Path(__file__).parents[3] / "data"
    held = {stream.kind: span for stream, span in Catalog(root).coverage().items() if stream.instrument == name}
    start_ns = held[kind.rstrip("s")].start_ns
    result = qk.backtest(
        Holds(kind=kind),
        data=root,
        start=start_ns,
        end=min(start_ns + 600 * NS_PER_S, held[kind.rstrip("s")].end_ns),
        match_on=kind.rstrip("s"),
        fees=qk.Fees(maker_bps=0, taker_bps=0),
        equity_every="1s",
    )
    (fill,) = result.outcome.fills
    rows, curve = result.prices.rows(name), result.outcome.curve
    assert len(rows) > 5
    after = curve.is_grid & (curve.time_ns > fill.revealed_ns)
    assert after.sum() > 20
    checked = 0
    for time_ns, equity in zip(curve.time_ns[after].tolist(), curve.equity[after].tolist(), strict=True):
        row = int(rows.time_ns.searchsorted(time_ns, "left"))
        if row < len(rows) and rows.time_ns[row] == time_ns:
            continue  # whether a row of the grid's very moment counts depends on its kind
        assert equity == pytest.approx(10_000 + 0.01 * (rows.close[row - 1] - fill.price), abs=1e-6)
        checked += 1
    assert checked > 20
