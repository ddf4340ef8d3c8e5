"""OKX's daily files: three headers of trades, days of UTC+8, candles, funding, books as lines of JSON."""

from pathlib import Path

import pytest
from format_files import (
    OKX_CANDLES,
    OKX_FUNDING,
    OKX_TRADES,
    OKX_TRADES_OLD,
    START_MS,
    csv_of,
    okx_books,
    okx_candle,
    okx_samples,
    okx_trade,
    plain,
    tarred,
    zipped,
)

from quantkit.errors import ConfigError, DataError
from quantkit.events import BookUpdate, Candle, Funding, Gap, MarketEvent, Trade
from quantkit.importers import import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

FAR_NS = 2**62
START_NS = START_MS * 1_000_000
MINUTE_NS = 60 * 10**9


def stored(root: Path, kind: str) -> list[MarketEvent]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    return list(read_events(catalog, [each for each in catalog.coverage() if each.kind == kind], 0, FAR_NS))


def test_every_header_of_trades_gives_the_same_rows(tmp_path: Path) -> None:
    """The old one has no instrument and its size before its price, in an encoding of its own."""
    new = [okx_trade(number) for number in range(20)]
    swapped = [
        ",".join((cells[1], cells[2], cells[4], cells[3], cells[5])) for cells in (row.split(",") for row in new)
    ]
    old = csv_of(OKX_TRADES_OLD, swapped).decode().encode("gb18030")
    files = {
        "plain": csv_of(OKX_TRADES, new),
        "source": csv_of(OKX_TRADES + ",source", [row + ",0" for row in new]),
        "old": old,
    }
    found = []
    for name, content in files.items():
        path = zipped(tmp_path / name / "BTC-USDT-trades-2023-04-25.zip", {"BTC-USDT-trades-2023-04-25.csv": content})
        report = import_files(None, [path], to=tmp_path / f"data-{name}")
        assert report.rows_written == {"BTC-USDT trade": 20}, name
        found.append(stored(tmp_path / f"data-{name}", "trade"))
    assert found[0] == found[1] == found[2]
    assert found[0][0] == Trade("BTC-USDT", START_NS, START_NS, 104000.0, 0.001, Side.SELL, 9000)


def test_two_days_of_utc_plus_8_give_one_of_utc(tmp_path: Path) -> None:
    """Their edges overlap by a few seconds; what both hold is counted once, in whatever order they are named."""
    rows = [okx_trade(number) for number in range(400)]
    first = zipped(tmp_path / "BTC-USDT-trades-2025-06-01.zip", {"a.csv": csv_of(OKX_TRADES, rows[:220])})
    second = zipped(tmp_path / "BTC-USDT-trades-2025-06-02.zip", {"b.csv": csv_of(OKX_TRADES, rows[200:])})
    report = import_files(None, [second, first], to=tmp_path / "data")
    assert report.rows_written == {"BTC-USDT trade": 400}
    assert report.ignored == {"rows that came before, in another file or the same": 20}
    assert [each.trade_id for each in stored(tmp_path / "data", "trade")] == list(range(9000, 9400))  # type: ignore[union-attr]


def test_one_id_with_two_prices_is_refused(tmp_path: Path) -> None:
    """Both lines are named, and nothing is written."""
    rows = [okx_trade(number) for number in range(30)]
    other = [rows[20], rows[21].replace("9021,", "9021,").replace("104000.0", "104001.0"), *rows[22:]]
    first = plain(tmp_path / "a.csv", csv_of(OKX_TRADES, rows))
    second = plain(tmp_path / "b.csv", csv_of(OKX_TRADES, other))
    with pytest.raises(DataError, match=r"a\.csv:23 and .*b\.csv:3 both have trade id 9021, with different values"):
        import_files(None, [first, second], to=tmp_path / "data")
    assert list((tmp_path / "data").rglob("*.parquet")) == []


def test_rows_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    """How many, and how far."""
    rows = [okx_trade(number) for number in range(100)]
    mixed = rows[:40] + rows[60:] + rows[40:60]
    report = import_files(None, [plain(tmp_path / "a.csv", csv_of(OKX_TRADES, mixed))], to=tmp_path / "data")
    assert [each.trade_id for each in stored(tmp_path / "data", "trade")] == list(range(9000, 9100))  # type: ignore[union-attr]
    assert any("20 rows stood up to 14.75 s behind rows of later times" in sentence for sentence in report.warnings)


def test_a_family_file_holds_several_instruments(tmp_path: Path) -> None:
    """Each is a stream of its own; one can be chosen."""
    names = ("BTC-USD-250627", "BTC-USD-250926")
    rows = [okx_trade(number, name=names[number % 2]) for number in range(40)]
    path = zipped(tmp_path / "BTC-USD-futureschain-trades-2025-06-01.zip", {"a.csv": csv_of(OKX_TRADES, rows)})
    options = {"contract_value": None, "only": ["BTC-USD-250627"]}
    with pytest.raises(
        ConfigError, match=r"BTC-USD-250627: its sizes count contracts; how many coins .*--contract-val"
    ):
        import_files(None, [path], to=tmp_path / "data", **options)  # type: ignore[arg-type]
    report = import_files(None, [path], to=tmp_path / "data", contract_value="100", only=["BTC-USD-250627"])
    assert report.rows_written == {"BTC-USD-250627 trade": 20}
    assert report.ignored == {"rows of other instruments": 20}
    instrument = Catalog(tmp_path / "data").instruments()["BTC-USD-250627"]
    assert (instrument.kind, instrument.is_inverse, instrument.settle) == ("future", True, "BTC")
    report = import_files(None, [path], to=tmp_path / "one", contract_value="100", instrument="BTC-USD-250926")
    assert report.rows_written == {"BTC-USD-250926 trade": 20}
    with pytest.raises(ConfigError, match="holds several instruments, BTC-USD-250627, BTC-USD-250926 among them"):
        import_files(None, [path], to=tmp_path / "two", instrument="ETH-USD-250926")


@pytest.mark.parametrize("name", ["../../etc/passwd", "BTC\0USDT", "A" * 300, "BTC/USDT", "CON", "."])
def test_no_instrument_of_a_file_becomes_a_path(name: str, tmp_path: Path) -> None:
    """Its id has to be a name that every operating system takes as one."""
    rows = [okx_trade(number, name=name) for number in range(5)]
    with pytest.raises(ConfigError, match=r"x\.csv (?:names an instrument|is binary)"):
        import_files(None, [plain(tmp_path / "x.csv", csv_of(OKX_TRADES, rows))], to=tmp_path / "data")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.csv"]


def test_candles_show_the_contract_value(tmp_path: Path) -> None:
    """Volume in coins over volume in contracts; open bars are left out."""
    rows = [okx_candle(minute) for minute in range(20)]
    rows[-1] = rows[-1].removesuffix(",1") + ",0"
    path = zipped(tmp_path / "BTC-USDT-SWAP-candlesticks-2025-06-01.zip", {"a.csv": csv_of(OKX_CANDLES, rows)})
    report = import_files(None, [path], to=tmp_path / "data")
    assert report.rows_written == {"BTC-USDT-SWAP candle 1m": 19}
    assert report.ignored == {"bars that are still open": 1}
    assert stored(tmp_path / "data", "candle")[0] == Candle(
        "BTC-USDT-SWAP", START_NS + MINUTE_NS, START_NS + MINUTE_NS, START_NS, START_NS + MINUTE_NS, 104000.0, 104010.0,
        103990.0, 104005.0, 120.0, "1m",
    )  # fmt: skip
    assert str(Catalog(tmp_path / "data").instruments()["BTC-USDT-SWAP"].contract_value) == "0.01"


def test_candles_are_held_against_the_metadata(tmp_path: Path) -> None:
    """Another contract value than the exchange's list says is told."""
    rows = [okx_candle(minute, value=0.1) for minute in range(20)]
    path = plain(tmp_path / "a.csv", csv_of(OKX_CANDLES, rows))
    listed = plain(
        tmp_path / "instruments.json",
        b'[{"id":"BTC-USDT-SWAP","kind":"swap","price_step":"0.1","qty_step":"0.1","contract_value":"0.01"}]',
    )
    report = import_files(None, [path], to=tmp_path / "data", instrument_file=listed)
    assert "BTC-USDT-SWAP: its candles show contracts of 0.1, the metadata say 0.01" in report.warnings


def test_one_bar_with_two_closes_is_refused(tmp_path: Path) -> None:
    """Daily and monthly files hold the same bars; where they differ, nobody knows which is right."""
    rows = [okx_candle(minute) for minute in range(20)]
    first = plain(tmp_path / "a.csv", csv_of(OKX_CANDLES, rows))
    again = plain(tmp_path / "b.csv", csv_of(OKX_CANDLES, rows[10:]))
    report = import_files(None, [again, first], to=tmp_path / "data")
    assert report.rows_written == {"BTC-USDT-SWAP candle 1m": 20}
    assert report.ignored == {"rows that came before, in another file or the same": 10}
    changed = plain(tmp_path / "c.csv", csv_of(OKX_CANDLES, [rows[12].replace("104005", "104006")]))
    with pytest.raises(DataError, match=r"a\.csv:14 and .*c\.csv:2 both have the bar of 2025-06-01T00:12:00Z"):
        import_files(None, [first, changed], to=tmp_path / "other")


def test_funding_is_rounded_to_the_minute(tmp_path: Path) -> None:
    """Stamps come a second or two late; files of all swaps hold many instruments."""
    eight_hours_ms = 28_800_000
    rows = [
        f"{name},{rate},{START_MS + eight_hours_ms * number + late}"
        for number, late in enumerate((201, 1_950, 0))
        for name, rate in (("BTC-USDT-SWAP", "0.0001"), ("ETH-USDT-SWAP", "-5.4e-05"))
    ]
    path = zipped(tmp_path / "allswap-fundingrates-2025-06-01.zip", {"a.csv": csv_of(OKX_FUNDING, rows)})
    report = import_files(None, [path], to=tmp_path / "data")
    assert report.rows_written == {"BTC-USDT-SWAP funding": 3, "ETH-USDT-SWAP funding": 3}
    at_ns = [START_NS + eight_hours_ms * 1_000_000 * number for number in range(3)]
    found = [each for each in stored(tmp_path / "data", "funding") if each.instrument == "ETH-USDT-SWAP"]
    assert found == [Funding("ETH-USDT-SWAP", at, at, -5.4e-05, at, True) for at in at_ns]


def test_books_are_snapshots_and_changes(tmp_path: Path) -> None:
    """Nothing before the first snapshot, a gap where a book crosses, and a warning that nothing proves continuity."""
    lines = okx_books(30).splitlines()
    lines.insert(0, lines[1])
    lines[11] = lines[11].replace(b'"104000.1"', b'"104000.9"')
    lines.append(b'{"instId":"BTC-USDT-SWAP","action":"update","ts":"x","asks":[],"bids":[]}')
    name = "BTC-USDT-SWAP-L2orderbook-400lv-2025-06-01"
    path = tarred(tmp_path / f"{name}.tar.gz", {f"{name}.data": b"\n".join(lines[1:])})
    report = import_files(None, [path], to=tmp_path / "data", contract_value="0.01")
    assert report.rows_written == {"BTC-USDT-SWAP book": 10, "BTC-USDT-SWAP gap": 1}
    first, second = stored(tmp_path / "data", "book")[:2]
    assert first == BookUpdate(
        "BTC-USDT-SWAP", START_NS, START_NS, (104000.1, 104000.0), (1.0, 9.0), (104000.2, 104000.3), (5.0, 7.5), True
    )
    assert isinstance(second, BookUpdate)
    assert (second.bid_prices, second.bid_qtys, second.ask_prices, second.is_snapshot) == (
        (104000.1,),
        (2.0,),
        (),
        False,
    )
    (gap,) = stored(tmp_path / "data", "gap")
    assert isinstance(gap, Gap)
    assert gap.cause.startswith("crossed: bid 104000.9")
    assert [(row.line, row.file.rpartition("!")[2]) for row in report.skipped_rows] == [(31, f"{name}.data")]
    assert any("nobody can prove that no update is missing" in sentence for sentence in report.warnings)


def test_a_book_that_goes_back_is_refused(tmp_path: Path) -> None:
    """The same day twice cannot be sorted."""
    first = plain(tmp_path / "a.data", okx_books(20))
    second = plain(tmp_path / "b.data", okx_books(20))
    with pytest.raises(DataError, match=r"b\.data:1: the book goes back by 1\.9 s; books cannot be sorted"):
        import_files(None, [first, second], to=tmp_path / "data", contract_value="0.01")


def test_the_format_can_be_said_and_must_fit(tmp_path: Path) -> None:
    """By the name of the venue's record."""
    samples = okx_samples(tmp_path)
    assert import_files("okx/trades", [samples["okx/trades"]], to=tmp_path / "data").format == "okx/trades"
    with pytest.raises(ConfigError, match=r"is no OKX candles.*its header is instrument_name,trade_id,side"):
        import_files("okx/candles", [samples["okx/trades"]], to=tmp_path / "data")
    with pytest.raises(ConfigError, match="format 'okx/nothing' is not known; use one of candles, trades"):
        import_files("okx/nothing", [samples["okx/trades"]], to=tmp_path / "data")
