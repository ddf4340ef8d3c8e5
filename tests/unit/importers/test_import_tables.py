"""Tables: columns by common spellings, bad rows with their line numbers, nothing written in strict mode."""

import gzip
import re
from datetime import date
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.events import Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.importers.tables import TableFile
from quantkit.instruments import Instrument, Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

START_S = 1_735_689_600  # 2025-01-01
FAR_NS = 2**62


def stored(root: Path, kind: str) -> list[MarketEvent]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    streams = [stream for stream in catalog.coverage() if stream.kind == kind]
    return list(read_events(catalog, streams, 0, FAR_NS))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def bars(count: int, *, step_s: int = 60, skip: tuple[int, ...] = ()) -> list[str]:
    return [f"{START_S + step_s * i},10,12,9,11,{i}" for i in range(count) if i not in skip]


def candles(
    tmp_path: Path, lines: list[str], header: str = "time,open,high,low,close,volume", **options: Any
) -> ImportReport:
    file = write(tmp_path / "bars.csv", "\n".join([header, *lines]) + "\n")
    return import_files("candles", [file], to=tmp_path / "data", **{"instrument": "X-USDT", **options})


# Candles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "time,open,high,low,close,volume",
        "Date,Open,High,Low,Close,Volume",
        "Open Time,OPEN,HIGH,LOW,CLOSE,VOL",
        "open_time,o,h,l,c,v",
        "\ufefftimestamp,open,high,low,close,volume",
    ],
)
def test_candle_spellings(tmp_path: Path, header: str) -> None:
    report = candles(tmp_path, bars(3), header)
    assert report.rows_written == {"X-USDT candle 1m": 3}
    first = stored(tmp_path / "data", "candle")[0]
    open_ns = START_S * 10**9
    close_ns = open_ns + 60 * 10**9
    assert first == Candle("X-USDT", close_ns, close_ns, open_ns, close_ns, 10.0, 12.0, 9.0, 11.0, 0.0, "1m")


def test_columns_can_be_named_and_must_be_there(tmp_path: Path) -> None:
    header = "when,a,b,c,d,e"
    with pytest.raises(ConfigError, match=r"no column for time and open and high .* among when, a, b.*--column time="):
        candles(tmp_path, bars(3), header)
    names = dict(zip(("time", "open", "high", "low", "close", "volume"), header.split(","), strict=True))
    assert candles(tmp_path, bars(3), header, columns=names).rows_written == {"X-USDT candle 1m": 3}
    with pytest.raises(ConfigError, match="no column 'nope' for time"):
        candles(tmp_path, bars(3), header, columns={"time": "nope"})
    with pytest.raises(ConfigError, match="'wen' is no field"):
        candles(tmp_path, bars(3), header, columns={"wen": "when"})


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators(tmp_path: Path, separator: str) -> None:
    lines = [line.replace(",", separator) for line in bars(3)]
    report = candles(tmp_path, lines, "time,open,high,low,close,volume".replace(",", separator))
    assert report.rows_written == {"X-USDT candle 1m": 3}


def test_bad_rows_are_shown_with_line_and_reason(tmp_path: Path) -> None:
    lines = bars(15)
    broken = {
        1: (f"{START_S + 60},10,x,9,11,1", "high 'x' is not a number"),
        2: (f"{START_S + 120},10,12,9", "4 fields where 6 are expected"),
        3: (f"{START_S + 180},10,10.5,9,11,1", "high is not the highest price"),
        4: (f"{START_S + 240},10,12,9.5,9.4,1", "low is not the lowest price"),
        5: (f"{START_S + 300},10,12,9,11,-1", "volume is below zero"),
        6: (f"{START_S + 360},10,inf,9,11,1", "high 'inf' is not a number"),
        7: (f"{START_S + 420},1_0,12,9,11,1", "open '1_0' is not a number"),
        8: (f"{START_S + 480},,12,9,11,1", "open is missing"),
        9: (f'{START_S + 540},"10,5",12,9,11,1', "open '10,5' is not a number"),
        10: (f"{START_S + 600},0,12,0,11,1", "open is not above zero"),
    }
    for index, (text, _) in broken.items():
        lines[index] = text
    report = candles(tmp_path, lines)
    assert [(row.line, row.why) for row in report.skipped_rows] == [(i + 2, why) for i, (_, why) in broken.items()]
    assert report.skipped == 10
    assert report.rows_read == 15 == report.rows_written["X-USDT candle 1m"] + report.skipped
    assert report.skipped_rows[0].text == broken[1][0]
    (gap,) = stored(tmp_path / "data", "gap")
    assert isinstance(gap, Gap)
    assert (gap.from_ns, gap.to_ns) == ((START_S + 60) * 10**9, (START_S + 660) * 10**9)


def test_only_the_first_twenty_bad_rows_are_kept(tmp_path: Path) -> None:
    report = candles(tmp_path, bars(3) + ["x,1,1,1,1,1"] * 50)
    assert (report.skipped, len(report.skipped_rows)) == (50, 20)


def test_strict_mode_names_the_first_bad_row_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParseError, match=r"bars\.csv:4: high 'x' is not a number"):
        candles(tmp_path, [*bars(2), f"{START_S + 120},10,x,9,11,1", *bars(9)[3:]], strict=True)
    assert not (tmp_path / "data").exists()


def test_missing_bars_are_gap_rows_known_when_the_next_bar_opens(tmp_path: Path) -> None:
    report = candles(tmp_path, bars(10, skip=(3, 4, 7)))
    assert report.rows_written == {"X-USDT candle 1m": 7, "X-USDT gap": 2}
    gaps = stored(tmp_path / "data", "gap")
    minute_ns, start_ns = 60 * 10**9, START_S * 10**9
    assert gaps == [
        Gap("X-USDT", start_ns + to * minute_ns, start_ns + to * minute_ns, "candle 1m", start_ns + since * minute_ns,
            start_ns + to * minute_ns, "missing")
        for since, to in ((3, 5), (7, 8))
    ]  # fmt: skip


def test_repeated_and_backward_bars_are_skipped_rows(tmp_path: Path) -> None:
    lines = bars(6)
    report = candles(tmp_path, [*lines[:3], lines[2], lines[0], *lines[3:]])
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (5, "the bar opens when the one before it does"),
        (6, "the bar opens before the one before it"),
    ]
    assert report.rows_written == {"X-USDT candle 1m": 6}


def test_bars_newest_first_are_reversed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are those of the sorted table, over chunks too; a row that is skipped keeps its own line."""
    monkeypatch.setattr(TableFile.chunks, "__kwdefaults__", {"rows": 3})
    lines = bars(8)
    sorted_report = candles(tmp_path, lines)
    in_order = stored(tmp_path / "data", "candle")
    assert sorted_report.warnings == []
    wrong = [*reversed(lines), lines[0].replace(",0", ",77")]
    wrong[2] = wrong[2].replace("12", "x")
    report = candles(tmp_path, wrong, replace=True)
    assert report.warnings == [f"{tmp_path / 'bars.csv'}: rows were newest first and have been reversed"]
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (4, "high 'x' is not a number"),
        (9, "the bar opens when the one before it does"),
    ]
    assert report.rows_written["X-USDT candle 1m"] == 7
    kept = stored(tmp_path / "data", "candle")
    assert [bar.open_ns for bar in kept] == [bar.open_ns for bar in in_order if bar.volume != 5]
    assert [bar.volume for bar in kept] == [77, 1, 2, 3, 4, 6, 7]


def test_each_file_has_its_own_direction(tmp_path: Path) -> None:
    """One that runs newest first goes after the older one that does not."""
    lines, head = bars(6), "time,open,high,low,close,volume"
    older = write(tmp_path / "b.csv", "\n".join([head, *lines[:3]]))
    newer = write(tmp_path / "a.csv", "\n".join([head, *lines[:2:-1]]))
    report = import_files("candles", [newer, older], to=tmp_path / "data", instrument="X-USDT")
    assert report.warnings == [f"{newer}: rows were newest first and have been reversed"]
    assert (report.skipped, report.rows_written) == (0, {"X-USDT candle 1m": 6})


def test_newest_first_does_not_tell_repeated_local_times_apart(tmp_path: Path) -> None:
    """The night the clocks go back two hours have one name; which was which shows only in rows in order."""
    hours = [f"2025-10-26 0{hour}:00,10,12,9,11,1" for hour in (0, 1, 2, 2, 3)]
    assert candles(tmp_path, hours, timezone="Europe/Berlin").rows_written == {"X-USDT candle 1h": 5}
    with pytest.raises(ConfigError, match=r"newest first, and 2 local times came twice.*sort the rows by time"):
        candles(tmp_path, hours[::-1], timezone="Europe/Berlin", replace=True)


def test_flat_bars_without_volume_are_kept(tmp_path: Path) -> None:
    lines = [f"{START_S + 60 * i},5,5,5,5,0" for i in range(4)]
    assert candles(tmp_path, lines).rows_written == {"X-USDT candle 1m": 4}


def test_bars_that_overlap_are_skipped(tmp_path: Path) -> None:
    lines = bars(5)
    report = candles(tmp_path, [*lines[:3], f"{START_S + 150},10,12,9,11,1", *lines[3:]], interval="1m")
    assert [row.why for row in report.skipped_rows] == ["the bar opens on a smaller step than 1m"]
    assert report.rows_written == {"X-USDT candle 1m": 5}


@pytest.mark.parametrize(
    ("step_s", "interval"), [(1, "1s"), (300, "5m"), (3600, "1h"), (86_400, "1d"), (604_800, "1w")]
)
def test_interval_is_the_most_common_step(tmp_path: Path, step_s: int, interval: str) -> None:
    report = candles(tmp_path, bars(9, step_s=step_s, skip=(2, 5)))
    assert report.rows_written[f"X-USDT candle {interval}"] == 7


def test_interval_is_checked_and_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="most common step is 60 s, and none is 5m; give --interval 1m"):
        candles(tmp_path, bars(5), interval="5m")
    with pytest.raises(ConfigError, match="most common step is 77 s, which is no interval"):
        candles(tmp_path, bars(5, step_s=77))
    with pytest.raises(ConfigError, match="one candle does not show its interval"):
        candles(tmp_path, bars(1))
    with pytest.raises(ConfigError, match="interval '7m' is not known"):
        candles(tmp_path, bars(1), interval="7m")
    assert candles(tmp_path, bars(1), interval="1h").rows_written == {"X-USDT candle 1h": 1}


def test_open_bars_are_left_out_by_rule(tmp_path: Path) -> None:
    lines = [f"{line},{int(i < 3)}" for i, line in enumerate(bars(4))]
    report = candles(tmp_path, lines, "open_time,open,high,low,close,vol,confirm")
    assert report.ignored == {"bars that are still open": 1}
    assert report.rows_read == report.rows_written["X-USDT candle 1m"] + 1


def test_candles_without_volume_or_header(tmp_path: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in bars(3)]
    report = candles(tmp_path, lines, "time,open,high,low,close")
    assert any("volume is 0" in warning for warning in report.warnings)
    headless = write(tmp_path / "h.csv", "\n".join(bars(3)))
    report = import_files("candles", [headless], to=tmp_path / "data2", instrument="X-USDT")
    assert (report.rows_read, report.rows_written) == (3, {"X-USDT candle 1m": 3})
    assert any("no header line" in warning for warning in report.warnings)
    odd = write(tmp_path / "odd.csv", "1,2,3\n")
    with pytest.raises(ConfigError, match="no header line"):
        import_files("candles", [odd], to=tmp_path / "data3", instrument="X-USDT")


def test_files_are_taken_in_the_order_of_their_times(tmp_path: Path) -> None:
    lines = bars(10)
    header = "time,open,high,low,close,volume"
    late = write(tmp_path / "a.csv", "\n".join([header, *lines[5:]]))
    early = write(tmp_path / "b.csv", "\n".join([header, *lines[:5]]))
    report = import_files("candles", [late, early], to=tmp_path / "data", instrument="X-USDT")
    assert report.files == [str(early), str(late)]
    assert report.rows_written == {"X-USDT candle 1m": 10}


# Typed files ------------------------------------------------------------------------------------------------------


def frame_of(count: int) -> pd.DataFrame:
    index = pd.date_range("2025-01-01", periods=count, freq="1min", tz="UTC").as_unit("ns")
    numbers = np.arange(1.0, count + 1)
    return pd.DataFrame(
        {"date": index, "open": numbers, "high": numbers + 1, "low": numbers - 0.5, "close": numbers, "volume": numbers}
    )


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "csv.gz"])
def test_the_same_bars_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    frame, file = frame_of(5), tmp_path / f"bars.{kind}"
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind == "feather":
        frame.to_feather(file)
    else:
        frame.to_csv(file, index=False)
    report = import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert (report.rows_read, report.rows_written) == (5, {"X-USDT candle 1m": 5})
    assert [event.close for event in stored(tmp_path / "data", "candle")] == [1.0, 2.0, 3.0, 4.0, 5.0]  # type: ignore[union-attr]


def test_typed_rows_that_are_bad_are_shown_by_row(tmp_path: Path) -> None:
    frame = frame_of(7)
    frame.loc[1, "open"] = np.nan
    frame.loc[2, "close"] = np.inf
    frame.loc[3, "date"] = pd.NaT
    file = tmp_path / "bars.parquet"
    frame.to_parquet(file)
    report = import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (2, "open is missing"),
        (3, "close is infinite"),
        (4, "time is missing or before 1970"),
    ]
    assert "high=3.0" in report.skipped_rows[0].text
    assert report.rows_written == {"X-USDT candle 1m": 4, "X-USDT gap": 1}


@pytest.mark.parametrize("ids", [np.array([12_345_678, 12_345_679]), np.array([12_345_678.0, 12_345_679.0])])
def test_numbers_that_are_ids_keep_every_digit(ids: Any, tmp_path: Path) -> None:
    """Those of trades, also where an empty cell made floats of them, and those of instruments."""
    columns = {"time": [START_S, START_S + 1], "price": [10.0, 11.0], "size": [1.0, 2.0], "side": ["buy", "sell"]}
    file = tmp_path / "t.parquet"
    pd.DataFrame({**columns, "id": ids}).to_parquet(file)
    import_files("trades", [file], to=tmp_path / "data", instrument="X-USDT")
    assert [trade.trade_id for trade in stored(tmp_path / "data", "trade")] == [12_345_678, 12_345_679]
    pd.DataFrame({**columns, "symbol": ids}).to_parquet(file)
    with pytest.raises(ConfigError, match="holds several instruments, 12345678 and 12345679 among them"):
        import_files("trades", [file], to=tmp_path / "more", instrument="X-USDT")


def test_typed_columns_of_every_sort(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "Time": pd.to_datetime(["2025-01-01 00:00:01", "2025-01-01 00:00:02"]),
            "price": [Decimal("10.5"), Decimal("11")],
            "size": np.array([1, 2], np.uint32),
            "side": pd.Categorical(["buy", "sell"]),
            "id": pd.array([5, None], dtype="Int64"),
        }
    )
    file = tmp_path / "t.parquet"
    frame.to_parquet(file)
    with pytest.raises(ConfigError, match="carry no time zone"):
        import_files("trades", [file], to=tmp_path / "data", instrument="X-USDT")
    import_files("trades", [file], to=tmp_path / "data", instrument="X-USDT", timezone="Europe/Berlin")
    first_ns = (START_S + 1 - 3600) * 10**9
    assert stored(tmp_path / "data", "trade") == [
        Trade("X-USDT", first_ns, first_ns, 10.5, 1.0, Side.BUY, 5),
        Trade("X-USDT", first_ns + 10**9, first_ns + 10**9, 11.0, 2.0, Side.SELL, 0),
    ]
    days = pd.DataFrame({"time": [date(2025, 1, 1), date(2025, 1, 2)], "rate": np.array([1e-5, -1e-5], np.float32)})
    days.to_parquet(file)
    import_files("funding", [file], to=tmp_path / "data", instrument="X-USDT-SWAP")
    assert [event.exchange_ns for event in stored(tmp_path / "data", "funding")] == [
        START_S * 10**9,
        (START_S + 86_400) * 10**9,
    ]
    pd.DataFrame({"time": [START_S * 10**3], "is_buyer_maker": [True], "price": [1.0], "qty": [1.0]}).to_parquet(file)
    import_files("trades", [file], to=tmp_path / "more", instrument="X-USDT")
    assert [event.side for event in stored(tmp_path / "more", "trade") if isinstance(event, Trade)] == [Side.SELL]
    pd.DataFrame({"time": [START_S], "price": pd.to_datetime(["2025-01-01"])}).to_parquet(file)
    with pytest.raises(ConfigError, match="the column for price holds times"):
        import_files("marks", [file], to=tmp_path / "more", instrument="X-USDT")


def test_damaged_files_are_parse_errors(tmp_path: Path) -> None:
    file = tmp_path / "bars.parquet"
    frame_of(50).to_parquet(file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ParseError, match=r"bars\.parquet: the file cannot be read"):
        import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert not (tmp_path / "data").exists()


def test_a_gzip_file_that_ends_early_is_one_skipped_row(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv.gz"
    packed = gzip.compress("\n".join(["time,open,high,low,close,volume", *bars(5000)]).encode())
    file.write_bytes(packed[: len(packed) // 2])
    report = import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert report.skipped_rows[-1].why == "the compressed file is damaged or ends early"
    assert report.rows_read == report.rows_written["X-USDT candle 1m"] + report.skipped
    with pytest.raises(ParseError, match="ends early"):
        import_files("candles", [file], to=tmp_path / "strict", instrument="X-USDT", strict=True)
    assert not (tmp_path / "strict").exists()


def test_text_that_is_not_utf8_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_bytes(
        ("\n".join(["time,open,high,low,close,volume", *bars(3)]) + "\n").encode() + b"\xff\xfe,1,1,1,1,1\n"
    )
    report = import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert [(row.line, row.why) for row in report.skipped_rows] == [(5, r"time '\\xff\\xfe' is not understood")]
    assert report.rows_written == {"X-USDT candle 1m": 3}


# Trades -----------------------------------------------------------------------------------------------------------


def trades(tmp_path: Path, text: str, **options: Any) -> ImportReport:
    file = write(tmp_path / "trades.csv", text)
    return import_files("trades", [file], to=tmp_path / "data", **{"instrument": "X-USDT", **options})


@pytest.mark.parametrize(
    ("column", "buy", "sell"),
    [
        ("side", "buy", "sell"),
        ("Side", "B", "S"),
        ("side", "+1", "-1"),
        ("side", "1", "-1.0"),
        ("taker_side", "BUY", "SELL"),
        ("is_buyer_maker", "0", "1"),
        ("isBuyerMaker", "False", "True"),
    ],
)
def test_the_takers_side_in_every_spelling(tmp_path: Path, column: str, buy: str, sell: str) -> None:
    text = f"time,price,amount,{column},trade_id\n{START_S},10,1,{buy},7\n{START_S},10.5,2,{sell},8\n"
    trades(tmp_path, text)
    at = START_S * 10**9
    assert stored(tmp_path / "data", "trade") == [
        Trade("X-USDT", at, at, 10.0, 1.0, Side.BUY, 7),
        Trade("X-USDT", at, at, 10.5, 2.0, Side.SELL, 8),
    ]


def test_bad_trades(tmp_path: Path) -> None:
    rows = [
        (f"{START_S},10,1,buy,1", None),
        (f"{START_S},0,1,buy,2", "price is not above zero"),
        (f"{START_S},10,0,buy,3", "size is not above zero"),
        (f"{START_S},10,1,both,4", "side 'both' is not understood"),
        (f"{START_S},10,1,sell,1", "the trade id came before"),
        (f"{START_S + 5},10,1,sell,9", None),
        (f"{START_S + 3},10,1,sell,10", "time goes back by 2 s; sort the rows by time"),
        (f"{START_S + 5},10,1,sell,9", "the trade id came before"),
    ]
    report = trades(tmp_path, "time,price,qty,side,id\n" + "\n".join(text for text, _ in rows))
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (line, why) for line, (_, why) in enumerate(rows, 2) if why
    ]
    assert report.rows_written == {"X-USDT trade": 2}


def test_repeated_ids_are_found_across_chunks_and_files(tmp_path: Path) -> None:
    header = "time,price,qty,side,id\n"
    first = write(tmp_path / "1.csv", header + f"{START_S},10,1,buy,1\n{START_S + 1},10,1,buy,2\n")
    second = write(tmp_path / "2.csv", header + f"{START_S + 1},10,1,buy,2\n{START_S + 1},10,1,buy,3\n")
    report = import_files("trades", [first, second], to=tmp_path / "data", instrument="X-USDT")
    assert [(Path(row.file).name, row.line, row.why) for row in report.skipped_rows] == [
        ("2.csv", 2, "the trade id came before")
    ]
    assert report.rows_written == {"X-USDT trade": 3}


def test_trades_need_a_side(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column for the taker's side"):
        trades(tmp_path, f"time,price,qty\n{START_S},10,1\n")


def test_the_tables_own_instrument(tmp_path: Path) -> None:
    text = (
        "instrument_name,trade_id,side,price,size,created_time\n"
        f"BTC-USDT-SWAP,1,buy,10,1,{START_S}000\nETH-USDT-SWAP,2,buy,5,1,{START_S}000\n"
    )
    report = trades(tmp_path, text, instrument="BTC-USDT-SWAP")
    assert report.rows_written == {"BTC-USDT-SWAP trade": 1}
    assert report.ignored == {"rows of other instruments": 1}
    with pytest.raises(ConfigError, match="several instruments, BTC-USDT-SWAP and ETH-USDT-SWAP"):
        trades(tmp_path, text, instrument="SOL-USDT")
    own = trades(tmp_path, "\n".join(text.splitlines()[:2]), instrument=None, replace=True)
    assert own.rows_written == {"BTC-USDT-SWAP trade": 1}


# Quotes, marks, funding -------------------------------------------------------------------------------------------


def test_quotes_with_empty_sides_and_bad_rows(tmp_path: Path) -> None:
    file = write(
        tmp_path / "q.csv",
        "timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
        f"{START_S},1,11,10,2\n{START_S + 1},,,10,2\n{START_S + 2},1,9,10,2\n{START_S + 3},,,,\n"
        f"{START_S + 4},1,11,10,-2\n{START_S + 5},1,10,10,2\n",
    )
    report = import_files("tickers", [file], to=tmp_path / "data", instrument="X-USDT")
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (4, "bid is above ask"),
        (5, "bid and ask are both missing"),
        (6, "bid_qty is below zero"),
    ]
    at = START_S * 10**9
    assert stored(tmp_path / "data", "ticker") == [
        Ticker("X-USDT", at, at, 10.0, 2.0, 11.0, 1.0),
        Ticker("X-USDT", at + 10**9, at + 10**9, 10.0, 2.0, None, None),
        Ticker("X-USDT", at + 5 * 10**9, at + 5 * 10**9, 10.0, 2.0, 10.0, 1.0),
    ]


def test_quotes_of_price_and_size_in_one_text(tmp_path: Path) -> None:
    text = f"time_seconds,bid_price_bid_size,ask_price_ask_size\n{START_S},10_2.5,11_1\n{START_S + 1},10,11_x\n"
    report = import_files("tickers", [write(tmp_path / "q.csv", text)], to=tmp_path / "data", instrument="X-USD")
    at = START_S * 10**9
    assert stored(tmp_path / "data", "ticker") == [Ticker("X-USD", at, at, 10.0, 2.5, 11.0, 1.0)]
    assert [(row.line, row.why) for row in report.skipped_rows] == [(3, "ask_qty 'x' is not a number")]


def test_quotes_need_both_sides(tmp_path: Path) -> None:
    file = write(tmp_path / "q.csv", f"time,bid\n{START_S},1\n")
    with pytest.raises(ConfigError, match="no column for bid and ask"):
        import_files("tickers", [file], to=tmp_path / "data", instrument="X-USDT")


def test_marks_and_funding(tmp_path: Path) -> None:
    marks = write(tmp_path / "m.csv", f"time,mark_price\n{START_S},10\n{START_S},11\n")
    rates = write(
        tmp_path / "f.csv",
        f"funding_time,funding_rate\n{START_S}000,1e-05\n{START_S}000,2e-05\n{START_S + 9}000,7\n",
    )
    to = tmp_path / "data"
    assert import_files("marks", [marks], to=to, instrument="X-USDT-SWAP").rows_written == {"X-USDT-SWAP mark": 2}
    report = import_files("funding", [rates], to=to, instrument="X-USDT-SWAP")
    assert [row.why for row in report.skipped_rows] == [
        "the time is that of the row before",
        "a funding rate is a fraction of the notional, at most 1",
    ]
    at = START_S * 10**9
    assert stored(to, "funding") == [Funding("X-USDT-SWAP", at, at, 1e-05, at, True)]
    assert stored(to, "mark")[1] == Mark("X-USDT-SWAP", at, at, 11.0)
    # Neither shows the steps of the instrument, so no metadata are made up.
    assert report.instruments == {"X-USDT-SWAP": "missing"}
    assert Catalog(to).instruments() == {}


# The instrument ---------------------------------------------------------------------------------------------------


def test_instruments_have_to_be_said_and_names_to_be_usable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --instrument"):
        candles(tmp_path, bars(3), instrument=None)
    for name in ("../../etc/passwd", "a/b", "..", "", "x\x00y", "CON:..", "a b", "A" * 200, "binance:", ":BTC"):
        with pytest.raises(ConfigError, match="instrument"):
            candles(tmp_path, bars(3), instrument=name)
    assert not (tmp_path / "data").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv"]


def test_hostile_names_inside_a_table_are_refused(tmp_path: Path) -> None:
    text = f"instrument_name,trade_id,side,price,size,created_time\n../../x,1,buy,10,1,{START_S}000\n"
    with pytest.raises(ConfigError, match="not usable"):
        trades(tmp_path, text, instrument=None)


def test_steps_are_inferred_given_or_kept(tmp_path: Path) -> None:
    to = tmp_path / "data"
    lines = [f"{START_S + 60 * i},100.{i}5,101,100,100.5,{i}.25" for i in range(9)]
    assert candles(tmp_path, lines).instruments == {"X-USDT": "inferred"}
    inferred = Catalog(to).instruments()["X-USDT"]
    assert (str(inferred.price_step), str(inferred.qty_step), inferred.source) == ("0.05", "0.05", "inferred")
    given = candles(tmp_path, lines, price_step="0.01", qty_step=0.001, replace=True)
    assert given.instruments == {"X-USDT": "given"}
    again = candles(tmp_path, lines, replace=True)
    assert again.instruments == {"X-USDT": "stored"}
    assert (
        Catalog(to).instruments()["X-USDT"].price_step
        == Instrument("X-USDT", price_step="0.01", qty_step="0.001").price_step
    )


def test_data_off_the_given_steps_are_told(tmp_path: Path) -> None:
    lines = [f"{START_S + 60 * i},100.{i}5,101,100,100.5,{i}.25" for i in range(9)]
    report = candles(tmp_path, lines, price_step="0.1", qty_step="0.01")
    assert report.warnings == ["X-USDT: some prices are not on the step 0.1; the data lie on 0.05"]


def test_a_price_step_above_the_prices_is_refused(tmp_path: Path) -> None:
    """It would make a price zero; one that is as large as the least price is none."""
    lines = [f"{START_S + 60 * i},0.7,0.8,0.7,0.75,1" for i in range(3)]
    with pytest.raises(
        ConfigError, match=r"X-USDT: the price step 1 is larger than the price 0\.7; the data lie on 0\.05"
    ):
        candles(tmp_path, lines, price_step="1", qty_step="1")
    assert not (tmp_path / "data").exists()
    assert candles(tmp_path, lines, price_step="0.7", qty_step="1").warnings != []


def test_a_whole_instrument_and_contract_fields(tmp_path: Path) -> None:
    swap = Instrument("x:A-USD-SWAP", kind="swap", price_step="0.5", qty_step="1", contract_value="10", is_inverse=True)
    candles(tmp_path, bars(3), instrument=swap)
    assert Catalog(tmp_path / "data").instruments() == {swap.id: swap}
    with pytest.raises(ConfigError, match="given whole"):
        candles(tmp_path, bars(3), instrument=swap, price_step=1)
    report = candles(
        tmp_path, bars(3), instrument="y:B-USD-SWAP", contract_value=100, is_inverse=True, price_step=1, qty_step=1
    )
    assert report.instruments == {"y:B-USD-SWAP": "given"}
    made = Catalog(tmp_path / "data").instruments()["y:B-USD-SWAP"]
    assert (made.kind, str(made.unit), made.settle, made.exchange) == ("swap", "100", "B", "y")


# The command ------------------------------------------------------------------------------------------------------


def test_wrong_calls(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", "time\n")
    for options, message in (
        ({"format": "candels", "files": [file]}, "format 'candels' is not known; use one of candles"),
        ({"format": "candles", "files": []}, "nothing to import"),
        ({"format": "candles", "files": [tmp_path / "no.csv"]}, "is not there"),
        ({"format": "candles", "files": [tmp_path]}, "is a folder"),
        ({"format": "candles", "files": [file, file]}, "more than once"),
        ({"format": "candles", "files": [file], "kind": "perp"}, "kind 'perp' is not known"),
        ({"format": "candles", "files": [file], "timezone": "Nowhere"}, "time zone 'Nowhere'"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_files(to=tmp_path / "data", instrument="X-USDT", **options)  # type: ignore[arg-type]


def test_files_without_rows_are_a_data_error(tmp_path: Path) -> None:
    for text in ("", "time,open,high,low,close,volume\n"):
        file = write(tmp_path / "empty.csv", text)
        with pytest.raises(DataError, match=r"nothing to store: .*empty\.csv holds no rows"):
            import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    with pytest.raises(DataError, match=r"1 rows read, 1 skipped; the first: .*bars\.csv:2: time 'x'"):
        candles(tmp_path, ["x,1,1,1,1,1"])


def test_overlap_is_refused_and_replace_puts_the_rows_in_place(tmp_path: Path) -> None:
    candles(tmp_path, bars(5))
    with pytest.raises(DataError, match="replace"):
        candles(tmp_path, bars(5))
    assert candles(tmp_path, bars(5), replace=True).rows_written == {"X-USDT candle 1m": 5}
    assert len(stored(tmp_path / "data", "candle")) == 5


def test_progress_reaches_the_size_of_each_file(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    candles(tmp_path, bars(5), progress=lambda *state: seen.append(state))
    file = tmp_path / "bars.csv"
    assert seen[-1] == (str(file), file.stat().st_size, file.stat().st_size)
    assert all(0 <= done <= total for _, done, total in seen)


# Stamps -----------------------------------------------------------------------------------------------------------


def test_days_written_as_one_number_are_days(tmp_path: Path) -> None:
    """Never 1970."""
    candles(tmp_path, ["20240523,10,11,9,10", "20240524,10,11,9,10"], "time,open,high,low,close")
    opens = [event.open_ns for event in stored(tmp_path / "data", "candle")]  # type: ignore[union-attr]
    assert opens == [time_ns_of("2024-05-23"), time_ns_of("2024-05-24")]


@pytest.mark.parametrize(
    "rows", [["20240102,930", "20240102,931"], ["2024-01-02,09:30:00", "2024-01-02,09:31:00"]], ids=["digits", "texts"]
)
def test_a_date_beside_a_time_is_one_stamp(rows: list[str], tmp_path: Path) -> None:
    """Half past nine in New York; without a zone it is refused."""
    lines, header = [f"{row},100,103,99,102,1000" for row in rows], "date,time,open,high,low,close,volume"
    with pytest.raises(ConfigError, match=r"carry no time zone; say which one they are in"):
        candles(tmp_path, lines, header)
    candles(tmp_path, lines, header, timezone="America/New_York")
    first = stored(tmp_path / "data", "candle")[0]
    assert isinstance(first, Candle)
    assert (first.open_ns, first.interval) == (time_ns_of("2024-01-02T14:30Z"), "1m")


def test_typed_dates_beside_times_are_one_stamp(tmp_path: Path) -> None:
    """As databases write them."""
    file = tmp_path / "bars.parquet"
    for times in ([clock(9, 30), clock(9, 31)], [930, 931]):
        numbers = {name: [10.0, 10.0] for name in ("open", "high", "low", "close", "volume")}
        pd.DataFrame({"date": [date(2024, 1, 2)] * 2, "time": times, **numbers}).to_parquet(file)
        import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT", timezone="UTC", replace=True)
        opens = [event.open_ns for event in stored(tmp_path / "data", "candle")]  # type: ignore[union-attr]
        assert opens == [time_ns_of("2024-01-02T09:30Z"), time_ns_of("2024-01-02T09:31Z")]


def test_a_date_beside_whole_stamps_is_left_alone(tmp_path: Path) -> None:
    """The time says all of it."""
    lines = [f"2025-01-01,{line}" for line in bars(3)]
    report = candles(tmp_path, lines, "date,time,open,high,low,close,volume")
    assert report.rows_written == {"X-USDT candle 1m": 3}


def test_implausible_stamps_are_bad_rows_with_their_reading(tmp_path: Path) -> None:
    """In candles, trades, tickers, marks and funding alike."""
    for format_name, header, rest in (
        ("candles", "time,open,high,low,close", "10,11,9,10"),
        ("trades", "time,price,qty,side", "10,1,buy"),
        ("tickers", "time,bid,ask", "10,11"),
        ("marks", "time,mark_price", "10"),
        ("funding", "time,rate", "0.0001"),
    ):
        file = write(tmp_path / "x.csv", f"{header}\n45312,{rest}\n45313,{rest}\n")
        with pytest.raises(
            DataError, match=r"2 skipped; the first: .*45312 would read as 1970-01-01T12:35:12Z, which is"
        ):
            import_files(format_name, [file], to=tmp_path / "data", instrument="X-USDT-SWAP")


def test_a_time_format_is_taken_by_every_table(tmp_path: Path) -> None:
    """Written as the user says."""
    for format_name, header, rest in (
        ("candles", "time,open,high,low,close", "10,11,9,10"),
        ("trades", "time,price,qty,side", "10,1,buy"),
        ("tickers", "time,bid,ask", "10,11"),
        ("marks", "time,mark_price", "10"),
        ("funding", "time,rate", "0.0001"),
    ):
        file = write(tmp_path / "x.csv", f"{header}\n23.05.2024,{rest}\n24.05.2024,{rest}\n")
        report = import_files(
            format_name, [file], to=tmp_path / "data", instrument="X-USDT-SWAP", time_format="%d.%m.%Y"
        )
        assert (sum(report.rows_written.values()), report.skipped) == (2, 0)
    with pytest.raises(ConfigError, match=r"time format 'dd\.mm\.yyyy' is not understood"):
        import_files("marks", [file], to=tmp_path / "data", instrument="X-USDT-SWAP", time_format="dd.mm.yyyy")


# Local days, sessions, steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "opened"), [("America/New_York", None), (None, "z")], ids=["zone", "stamps"])
def test_local_days_are_all_kept_where_clocks_change(zone: str | None, opened: str | None, tmp_path: Path) -> None:
    """Eight of eight, with a zone or with stamps in UTC."""
    days = pd.date_range("2024-03-07", "2024-03-14", freq="D", tz="America/New_York")
    texts = [f"{day:%Y-%m-%d}" if opened is None else f"{day.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}" for day in days]
    report = candles(tmp_path, [f"{text},10,12,9,11,1" for text in texts], timezone=zone)
    assert (report.rows_written, report.skipped) == ({"X-USDT candle 1d": 8}, 0)
    assert report.warnings == [
        "X-USDT: clocks change; 1 of the bars lasts longer or shorter than 1d, first the one of 2024-03-10T05:00:00Z"
    ]


def test_the_day_of_twenty_five_hours_is_known_at_its_local_midnight(tmp_path: Path) -> None:
    """New York's 3 November 2024, be it the last row."""
    lines = [f"2024-11-0{day},10,12,9,11,1" for day in (1, 2, 3)]
    candles(tmp_path, lines, timezone="America/New_York")
    assert stored(tmp_path / "data", "candle")[-1].received_ns == time_ns_of("2024-11-04T05:00Z")


def test_two_intervals_in_a_file_are_refused(tmp_path: Path) -> None:
    """Both are named, and where they change."""
    lines = bars(60) + [f"{START_S + 3600 * (i + 1)},10,12,9,11,1" for i in range(25)]
    with pytest.raises(
        DataError, match=r"bars\.csv: the rows have two intervals, 1m and from 2025-01-01T01:00:00Z on 1h"
    ):
        candles(tmp_path, lines)
    assert candles(tmp_path, lines[:75]).rows_written["X-USDT candle 1m"] == 75


def test_weekends_of_a_file_are_told_once(tmp_path: Path) -> None:
    """And are no gap rows."""
    days = pd.bdate_range("2024-01-01", "2024-12-31")
    report = candles(tmp_path, [f"{day:%Y-%m-%d},10,12,9,11,1" for day in days])
    assert report.rows_written == {"X-USDT candle 1d": 262}
    assert report.warnings == ["X-USDT: 52 weekends, in which no bar ever opens, count as closed and not as gaps"]


def test_adjusted_closes_are_said_to_be_left_out(tmp_path: Path) -> None:
    """As Yahoo's files have them."""
    lines = [f"2024-01-0{day},10,12,9,11,1.5,5.5" for day in (1, 2, 3)]
    report = candles(tmp_path, lines, "Date,Open,High,Low,Close,Volume,Adj Close")
    assert report.warnings == [
        f"{tmp_path / 'bars.csv'} has a column of adjusted closes; the other prices are taken as they stand, "
        "so that splits and dividends stay in them (--adjust scales them)"
    ]


def test_the_range_holds_the_float_noise_of_adjusted_prices(tmp_path: Path) -> None:
    """A file's as a frame's."""
    report = candles(tmp_path, [f"{START_S + 60 * i},10,11,9,{11 * (1 + 1e-12)!r},1" for i in range(3)])
    assert (report.rows_written, report.skipped) == ({"X-USDT candle 1m": 3}, 0)


# Refusals ---------------------------------------------------------------------------------------------------------

COINBASE = [
    "1704067200,42255,42290,42260,42280,1.5",
    "1704067260,42280,42300,42280,42290,2.5",
    "1704067320,42270,42295,42290,42275,1.1",
    "1704067380,42260,42280,42275,42265,1.1",
]


def test_refused_rows_are_shown_before_anything_is_judged(tmp_path: Path) -> None:
    """Low before high: not "one candle does not show its interval"."""
    file = write(tmp_path / "cb.csv", "\n".join(COINBASE))
    with pytest.raises(
        ConfigError, match=r"^3 of 4 rows were refused, the first .*cb\.csv:1: low is not the lowest pr"
    ):
        import_files("candles", [file], to=tmp_path / "data", instrument="coinbase:BTC-USD")
    with pytest.raises(
        ConfigError, match=r"^3 of 4 rows were refused, the first .*bars\.csv:2: low .*one candle does not"
    ):
        candles(tmp_path, COINBASE, "time,open,high,low,close,volume", instrument="coinbase:BTC-USD")


FOREIGN: list[tuple[str, bytes, str]] = [
    ("xz", b"\xfd7zXZ\x00" + bytes(40), "packed with xz; unpack it first: unxz"),
    ("xls", b"\xd0\xcf\x11\xe0" + bytes(40), "an old Excel file; save it as CSV"),
    ("hdf", b"\x89HDF\r\n" + bytes(40), "an HDF5 file; write it as Parquet"),
    ("npy", b"\x93NUMPY" + bytes(40), "a numpy array"),
    ("pickle", b"\x80\x04\x95" + bytes(40), "a Python pickle; write it as Parquet: frame.to_parquet(...)"),
    ("pdf", b"%PDF-1.7\n", "a PDF document"),
    ("html", b"\n<!DOCTYPE html><html>Exceeded the daily hits limit", "a web page, not the data; download the data ag"),
    ("json", b'{"data": []}', "JSON, no table; write it as CSV or Parquet"),
    ("json list", b"[[1704067200000, 1, 2, 3]]", "JSON, no table"),
    ("utf-16", "time,open\n".encode("utf-16"), "text in UTF-16; save it as UTF-8"),
    ("binary", b"\x01\x02\x03\x00\x04", "binary and of no known kind; give CSV, Parquet, Feather"),
]


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("content", "said"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN])
def test_foreign_files_are_named_as_what_they_are(content: bytes, said: str, is_packed: bool, tmp_path: Path) -> None:
    """In one line, with what to do, before a row is read."""
    file = tmp_path / "x.csv"
    file.write_bytes(gzip.compress(content) if is_packed else content)
    with pytest.raises(ConfigError) as error:
        import_files("candles", [file], to=tmp_path / "data", instrument="X-USDT")
    assert str(error.value).startswith(f"{file} is {said}")
    if "JSON" not in said:
        with pytest.raises(ConfigError, match=r"x\.csv is "):
            import_files("okx/ws-raw", [file], to=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_tables_are_no_captures(tmp_path: Path) -> None:
    """Whether they are packed once more or not."""
    file = tmp_path / "bars.parquet"
    frame_of(3).to_parquet(file)
    with pytest.raises(ConfigError, match="a Parquet or Feather table, no capture; import it as candles, trades"):
        import_files("okx/ws-raw", [file], to=tmp_path / "data")
    packed = tmp_path / "bars.parquet.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    report = import_files("candles", [packed], to=tmp_path / "data", instrument="X-USDT")
    assert report.rows_written == {"X-USDT candle 1m": 3}


L2 = (
    "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
    "deribit,BTC-PERPETUAL,1585699200245000,1585699200276000,true,bid,6421.5,18640\n"
)
LOBSTER = "34200.017459617,5,0,1,2238200,-1\n34200.18960767,1,11885113,21,2238100,1\n"


@pytest.mark.parametrize(
    ("format_name", "text", "said"),
    [
        ("trades", L2, "has a column 'is_snapshot': it is a table of changes of an order book"),
        ("tickers", L2, "has a column 'is_snapshot': it is a table of changes of an order book"),
        ("trades", LOBSTER, "is a LOBSTER message file: leave the word before the files out"),
        ("candles", LOBSTER, "is a LOBSTER message file"),
        ("trades", "2239500,100,2231800,100\n2239500,100,2238100,21\n", "is a LOBSTER order-book file: leave the word"),
        (
            "trades",
            "1,10,1,10,1704067200000,7\n",
            "has no header line, and its first row is not trade_id, price, q",
        ),
        ("trades", "1704067200,10,12,9,11,5\n", "has no header line, and its first row is not trade_id, price, qty"),
        (
            "trades",
            "time,bid_price,ask_price,qty\n1,1,1,1\n",
            "it is a table of best bid and ask; import it as ti",
        ),
        (
            "trades",
            "time,open,high,low,close,volume\n1,1,1,1,1,1\n",
            "it is a table of candles; import it as candl",
        ),
        ("funding", "time,open,high,low,close\n1704067200,0.5,0.6,0.4,0.5\n", "it is a table of candles, not of rates"),
        (
            "trades",
            "timestamp,percentage,depth,notional\n1,1,1,1\n",
            "it is a table of depth in bands around the price",
        ),
    ],
)
def test_other_tables_are_named_as_what_they_are(format_name: str, text: str, said: str, tmp_path: Path) -> None:
    """Not taken for what they are not."""
    file = write(tmp_path / "x.csv", text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        import_files(format_name, [file], to=tmp_path / "data", instrument="X-USDT-SWAP")
    assert not (tmp_path / "data").exists()


def test_trades_with_the_quotes_of_their_moment_are_trades(tmp_path: Path) -> None:
    """More columns do no harm."""
    report = trades(tmp_path, f"time,price,qty,side,bid_price,ask_price\n{START_S},10,1,buy,9,10\n")
    assert report.rows_written == {"X-USDT trade": 1}


def test_rates_in_the_opening_price_are_rates(tmp_path: Path) -> None:
    """As freqtrade keeps them: its other columns are zero."""
    file = write(tmp_path / "f.csv", "date,open,high,low,close,volume\n1704067200000,0.0001,0,0,0,0\n")
    import_files("funding", [file], to=tmp_path / "data", instrument="X-USDT-SWAP")
    (rate,) = stored(tmp_path / "data", "funding")
    assert isinstance(rate, Funding)
    assert rate.rate == 0.0001


def test_a_table_that_runs_newest_first_is_refused_whole(tmp_path: Path) -> None:
    """Skipping all rows but one would be no import."""
    rows = [f"{START_S - i},10,1,buy,{9 - i}" for i in range(5)]
    with pytest.raises(ConfigError, match=r"trades\.csv: rows are newest first; sort the rows by time"):
        trades(tmp_path, "time,price,qty,side,id\n" + "\n".join(rows))


# Two clocks -------------------------------------------------------------------------------------------------------

QUOTES = (
    "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    "bitmex,XBTUSD,1585699200245000,1585699209920176,100,6426,6425.5,50\n"
    "bitmex,XBTUSD,1585699200345000,1585699209930176,90,6426,6425.5,40\n"
)


def test_a_second_clock_is_the_receipt(tmp_path: Path) -> None:
    """The two are 9.7 s apart in what is stored."""
    file = write(tmp_path / "q.csv", QUOTES)
    report = import_files("tickers", [file], to=tmp_path / "data", instrument="bitmex:XBTUSD", kind="swap", quote="USD")
    assert (report.rows_written, report.received_shift_ns) == ({"bitmex:XBTUSD ticker": 2}, 0)
    late_us = [(event.received_ns - event.exchange_ns) // 1000 for event in stored(tmp_path / "data", "ticker")]
    assert late_us == [9_675_176, 9_585_176]


def test_a_receipt_clock_that_is_behind_is_shifted_and_one_far_off_refused(tmp_path: Path) -> None:
    """As for captures: one constant, so that the smallest latency is a millisecond."""
    text = "time,received,price,qty,side,id\n" + "".join(
        f"{START_S + exchange},{START_S + received},10,1,buy,{number}\n"
        for number, (exchange, received) in enumerate([(2, 1), (3, 2), (200_000, 3), (4, 4)], 1)
    )
    report = trades(tmp_path, text)
    assert report.received_shift_ns == 1_001_000_000
    assert [row.why for row in report.skipped_rows] == ["the exchange's stamp is 199997 s ahead of the receipt"]
    events = stored(tmp_path / "data", "trade")
    assert [event.exchange_ns // 10**9 - START_S for event in events] == [2, 3, 4]
    assert [event.received_ns - event.exchange_ns for event in events] == [10**6, 10**6, 1_001_000_000]


def test_receipts_are_the_order_and_have_to_be_stamps(tmp_path: Path) -> None:
    """A row received before the one before it goes back in time."""
    text = "time,received,price,qty,side,id\n" + "".join(
        f"{START_S},{received},10,1,buy,{number}\n"
        for number, received in enumerate([START_S + 2, START_S + 1, "x", START_S + 3], 1)
    )
    report = trades(tmp_path, text)
    assert [row.why for row in report.skipped_rows] == [
        "time goes back by 1 s; sort the rows by time",
        "time 'x' is not understood",
    ]
    assert report.rows_written == {"X-USDT trade": 2}
