"""Recognition: each format's file is told as that one and no other; what stays open is asked."""

import contextlib
import shutil
from pathlib import Path

import pytest
from format_files import BINANCE_KLINES, TARDIS, binance_kline, csv_of, plain, samples, tardis_row, zipped
from more_format_files import more_samples

from quantkit.errors import ConfigError
from quantkit.importers import Format, import_files, register
from quantkit.importers.archives import Unpacker
from quantkit.importers.formats import FORMATS
from quantkit.importers.formats.record import HOLDINGS
from quantkit.importers.run import recognise_file
from quantkit.storage.catalog import Catalog


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of every format."""
    folder = tmp_path_factory.mktemp("formats")
    return samples(folder) | more_samples(folder / "more")


def told(path: Path, *, wanted: str | None = None) -> str:
    """Return what a file is recognised as."""
    with Unpacker() as unpacker:
        (file,) = unpacker.unpacked([path]).files
        found = recognise_file(file, FORMATS, unpacker, wanted=wanted)
    assert found is not None
    return found.format.name


def test_every_format_has_a_sample(files: dict[str, Path]) -> None:
    """A record without one is not tested."""
    assert sorted(files) == sorted(FORMATS)
    assert {each.holds for each in FORMATS.values()} <= set(HOLDINGS)


@pytest.mark.parametrize("name", FORMATS)
def test_each_file_is_told_as_its_own_format(name: str, files: dict[str, Path]) -> None:
    """By content, or by its path where another format has the same content."""
    assert told(files[name]) == name


@pytest.mark.parametrize("name", FORMATS)
def test_no_file_is_taken_for_a_second_format(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    """Under a name that says nothing it is either told as the same, or the question names it among the choices."""
    copy = tmp_path / "x"
    shutil.copy(files[name], copy)
    if FORMATS[name].needs_name:
        return
    with Unpacker() as unpacker:
        (file,) = unpacker.unpacked([copy]).files
        nameless = plain(tmp_path / "nothing", b"")
        with file.opened() as (stream, _):
            nameless.write_bytes(stream.read())
    if FORMATS[name].path:
        with contextlib.suppress(ConfigError):
            assert told(nameless) == name
            return
        with pytest.raises(ConfigError, match=f"can be .*--format {name} "):
            told(nameless)
    else:
        assert told(nameless) == name


def test_every_format_is_imported_or_said_to_be_left_out(files: dict[str, Path], tmp_path: Path) -> None:
    """All at once: each file gives rows, or is named and counted."""
    zones = {
        name
        for name in FORMATS
        if name.endswith(("metatrader", "mt4", "mt5-bars", "mt5-ticks", "finam/candles")) or "backtrader" in name
    }
    # Levels and instruments hold no rows of their own, and hftbacktest's events name no instrument.
    zones |= {"lobster/levels", "nautilus/instruments", "hftbacktest/events"}
    readable = [path for name, path in files.items() if FORMATS[name].holds != "none" and name not in zones]
    for path in readable:
        data = tmp_path / f"data-{readable.index(path)}"
        said = {"contract_value": "0.01"} if "SWAP" in path.name or "tardis" in str(path) else {}
        said |= {"quote": "USD"} if path.name.startswith("glbx") else {}
        report = import_files(None, [path], to=data, **said)  # type: ignore[arg-type]
        assert sum(report.rows_written.values()) > 0, path
        assert report.skipped == 0, (path, report.skipped_rows)
        assert Catalog(data).coverage()
    left = [path for name, path in files.items() if FORMATS[name].holds == "none"]
    report = import_files(None, [*left, files["okx/candles"]], to=tmp_path / "left")
    assert list(report.rows_written) == ["BTC-USDT-SWAP candle 1m"]
    named = [FORMATS[name] for name in files if FORMATS[name].holds == "none"]
    for record in named:
        assert f"files of {record.title}: {record.left_out}" in report.ignored


def test_marks_and_klines_are_told_by_their_content(tmp_path: Path) -> None:
    """The same name, the same header: prices that move without trades are no klines of trades."""
    idle = csv_of(BINANCE_KLINES, [binance_kline(minute, traded=False) for minute in range(30)])
    path = zipped(tmp_path / "BTCUSDT-1m-2025-06-01.zip", {"BTCUSDT-1m-2025-06-01.csv": idle})
    with pytest.raises(
        ConfigError, match=r"can be binance/mark-klines .* or binance/index-klines .*Are these klines of"
    ):
        told(path)
    assert told(path, wanted="binance/mark-klines") == "binance/mark-klines"
    with pytest.raises(ConfigError, match="is no Binance futures klines: not with trades in the rows"):
        told(path, wanted="binance/futures-klines")
    traded = csv_of(BINANCE_KLINES, [binance_kline(minute) for minute in range(30)])
    inside = zipped(tmp_path / "markPriceKlines" / "BTCUSDT-1m-2025-06-01.zip", {"a.csv": traded})
    assert told(inside) == "binance/futures-klines"


def test_spot_and_futures_without_a_header_are_asked(tmp_path: Path) -> None:
    """Milliseconds and no header: both markets had such files; microseconds are spot's alone."""
    old = csv_of("", [binance_kline(minute) for minute in range(30)])
    path = plain(tmp_path / "BTCUSDT-1m-2021-06-01.csv", old)
    with pytest.raises(ConfigError, match=r"Are they of the spot market or of futures\?.*--format binance/spot-klines"):
        told(path)
    new = csv_of("", [binance_kline(minute, unit=1_000) for minute in range(30)])
    assert told(plain(tmp_path / "BTCUSDT-1m-2025-06-01.csv", new)) == "binance/spot-klines"


def test_trades_and_liquidations_are_asked(tmp_path: Path) -> None:
    """Tardis writes both with the same columns."""
    rows = [tardis_row(number, f"{number},buy,104000.1,2") for number in range(9)]
    path = plain(tmp_path / "x.csv", csv_of(TARDIS + "id,side,price,amount", rows))
    with pytest.raises(ConfigError, match=r"Are these trades or liquidations\? Say it with --format tardis/trades or"):
        told(path)


def test_a_shape_has_to_fit_every_row(tmp_path: Path) -> None:
    """One odd row among a thousand makes it unknown."""
    rows = [binance_kline(minute, unit=1_000) for minute in range(30)]
    rows[25] += ",x"
    path = plain(tmp_path / "BTCUSDT-1m-2025-06-01.csv", csv_of("", rows))
    with pytest.raises(ConfigError, match="is of no known format: it has no header line, and its rows are like 17487"):
        told(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"what,ever\n1,2\n",
            r"is of no known format; its columns are what, ever\. What does it hold\? .*--format cand",
        ),
        (b"time,price\n1748736000,1\n", r"is of no known format; its columns are time, price"),
        ("цена,объём\n1,2\n".encode("koi8-r"), r"neither UTF-8 nor GB18030|no known format"),
        (b"<html><body>404</body></html>", "is a web page, not the data"),
        (b"Exceeded the daily hits limit", "stooq's refusal"),
        (b"\x80\x04\x95" + bytes(40), "is a Python pickle"),
    ],
)
def test_what_is_unknown_is_refused_with_the_question(content: bytes, said: str, tmp_path: Path) -> None:
    """Nothing is guessed."""
    with pytest.raises(ConfigError, match=said):
        import_files(None, [plain(tmp_path / "x.csv", content)], to=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("header", "row", "word"),
    [
        ("Date,Open,High,Low,Close,Volume", "2024-01-0{0},10,12,9,11,5", "candles"),
        ("time,price,size,side", "174873600{0},10,2,buy", "trades"),
        ("ts,bid_price,bid_size,ask_price,ask_size", "174873600{0},10,2,11,3", "tickers"),
        ("time,mark_price", "174873600{0},10", "marks"),
        ("funding_time,funding_rate", "1748{0}36000,0.0001", "funding"),
    ],
)
def test_plain_tables_are_told_by_their_columns(header: str, row: str, word: str, tmp_path: Path) -> None:
    """Where no venue's record fits, the names of the columns show the content."""
    path = plain(tmp_path / "x.csv", csv_of(header, [row.format(number) for number in range(1, 5)]))
    report = import_files(None, [path], to=tmp_path / "data", instrument="X-USDT")
    assert report.format == word
    assert report.recognised[str(path)].startswith(f"{word}, a table of {word}, by its columns {header.split(',')[0]}")
    assert sum(report.rows_written.values()) == 4


def test_a_format_of_ones_own_takes_ten_lines(tmp_path: Path) -> None:
    """Registered in Python or given as a file, as the manual shows."""
    header, rows = "when,px,sz,taker,uid", [f"174873600{n},10{n},2,{'SB'[n % 2]},{n}" for n in range(9)]
    path = plain(tmp_path / "x.csv", csv_of(header, rows))
    with pytest.raises(ConfigError, match="of no known format"):
        import_files(None, [path], to=tmp_path / "none", instrument="X-USDT")
    mine = Format(
        name="mine/trades",
        title="trades of my exchange",
        holds="trade",
        headers=("when,px,sz,taker,uid",),
        columns={"time": "when", "price": "px", "qty": "sz", "side": "taker", "trade_id": "uid"},
    )
    register(mine)
    try:
        report = import_files(None, [path], to=tmp_path / "data", instrument="X-USDT")
        assert (report.format, report.rows_written) == ("mine/trades", {"X-USDT trade": 9})
        with pytest.raises(ConfigError, match="format 'mine/trades' exists"):
            register(Format(name="mine/trades", title="other", holds="trade"))
    finally:
        del FORMATS["mine/trades"]
    module = tmp_path / "mine.py"
    module.write_text(
        "from quantkit.importers import Format\n\n"
        "TRADES = Format(name='mine/trades', title='trades of my exchange', holds='trade',\n"
        f"    headers=({header!r},),\n"
        "    columns={'time': 'when', 'price': 'px', 'qty': 'sz', 'side': 'taker', 'trade_id': 'uid'})\n"
    )
    report = import_files(None, [path], to=tmp_path / "file", instrument="X-USDT", format_file=module)
    assert report.rows_written == {"X-USDT trade": 9}
    module.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="defines no format"):
        import_files(None, [path], to=tmp_path / "other", format_file=module)
    module.write_text("x = \n")
    with pytest.raises(ConfigError, match="cannot be run: SyntaxError"):
        import_files(None, [path], to=tmp_path / "other", format_file=module)


def test_a_record_is_checked() -> None:
    """What it holds, and the types of its shapes."""
    with pytest.raises(ConfigError, match="it holds 'ticks'; use one of"):
        Format(name="x", title="x", holds="ticks")
    with pytest.raises(ConfigError, match="type 'money' is not known"):
        Format(name="x", title="x", holds="trade", shapes=("price:money",))
