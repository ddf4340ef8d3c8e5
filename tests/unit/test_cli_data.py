"""`quantkit data ls` and `quantkit data check` on a small folder, and `quantkit import` on small files."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, time_ns_of
from quantkit.errors import DataError
from quantkit.events import Candle, Gap, MarketEvent, OpenInterest, Trade
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.storage.tape import TapeWriter
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2025-05-05")
ID = "BTC-USDT"


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def trade(number: int, at_ns: int) -> Trade:
    """Make a trade with its own id."""
    return Trade(ID, at_ns, at_ns, 100.0 + number, 1.0, Side.BUY, number)


def candle(minute: int) -> Candle:
    """Make a flat candle that opens `minute` minutes after the start."""
    open_ns = START_NS + minute * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    return Candle(ID, close_ns, close_ns, open_ns, close_ns, 1.0, 2.0, 0.5, 1.5, 10.0, "1m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder: five candles with one missing, trades on two days with a day missing between."""
    candles: list[MarketEvent] = [candle(minute) for minute in (0, 1, 3, 4)]
    trades: list[MarketEvent] = [trade(1, START_NS + 5), trade(2, START_NS + 2 * NS_PER_DAY)]
    with Writer(tmp_path / "data", source="test") as writer:
        writer.write_instrument(Instrument(ID, price_step="0.1", qty_step="0.001"))
        writer.write(Block.from_events(candles))
        writer.write(Block.from_events(trades))
    return tmp_path / "data"


def test_ls_lists_streams_with_span_and_rows(folder: Path) -> None:
    """One line a stream, the instrument's metadata not among them."""
    result = run("data", "ls", str(folder))
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "BTC-USDT" in lines
    assert any(line.startswith("candle 1m 2025-05-05 00:00 2025-05-05 00:05 4 ") for line in lines)
    assert any(line.startswith("trade * 2025-05-05 00:00 2025-05-07 00:00 2 ") for line in lines)
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("* whole days or months are missing")


def test_ls_as_json(folder: Path) -> None:
    """The same for scripts, with exact stamps."""
    result = run("data", "ls", str(folder), "--json")
    candles, trades = msgspec.json.decode(result.output)
    assert (candles["kind"], candles["interval"], candles["rows"]) == ("candle", "1m", 4)
    assert (trades["start"], trades["end"]) == ("2025-05-05T00:00:00.000000005Z", "2025-05-07T00:00:00Z")
    assert (trades["files"], trades["has_holes"], candles["has_holes"]) == (2, True, False)
    assert trades["size_bytes"] > 0


def test_check_says_what_is_wrong_and_passes_on_warnings(folder: Path) -> None:
    """A missing candle is worth a warning, not a failure."""
    result = run("data", "check", str(folder))
    assert result.exit_code == 0
    assert "1 candle is missing in 1 hole," in " ".join(result.output.split())
    assert "warning" in result.output


def test_check_fails_on_damage(folder: Path) -> None:
    """One flipped byte in a file is an error, in text and in JSON."""
    path = next(folder.rglob("kind=trade/**/*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    text = run("data", "check", str(folder))
    assert text.exit_code == 1
    assert "1 error" in text.output
    as_json = run("data", "check", str(folder), "--json")
    assert as_json.exit_code == 1
    report = msgspec.json.decode(as_json.output)
    candles, trades = report["streams"]
    assert (report["verdict"], candles["verdict"], trades["verdict"]) == ("faulty", "faulty", "faulty")
    assert [finding["severity"] for finding in trades["findings"]][:1] == ["error"]


def test_ls_shows_the_last_check(folder: Path) -> None:
    """The verdict of each stream, until its files change."""
    assert {row["verdict"] for row in msgspec.json.decode(run("data", "ls", str(folder), "--json").output)} == {
        "not checked"
    }
    run("data", "check", str(folder))
    candles, trades = msgspec.json.decode(run("data", "ls", str(folder), "--json").output)
    assert (candles["verdict"], trades["verdict"], candles["origin"]) == ("faulty", "faulty", "imported")
    assert candles["checked"]
    with Writer(folder) as writer:
        writer.write(Block.from_events([candle(9)]))
    candles, trades = msgspec.json.decode(run("data", "ls", str(folder), "--json").output)
    assert (candles["verdict"], trades["verdict"]) == ("not checked", "faulty")


def test_ls_tells_recorded_rows_from_imported_ones(folder: Path) -> None:
    """A watched span is a recording; rows beside it came from elsewhere."""
    with Writer(folder) as writer:
        writer.watched(Stream("trade", ID), START_NS, START_NS + NS_PER_DAY)
        writer.watched(Stream("book", ID), START_NS, START_NS + NS_PER_DAY)
    rows = msgspec.json.decode(run("data", "ls", str(folder), "--json").output)
    assert {row["kind"]: row["origin"] for row in rows} == {
        "candle": "imported",
        "book": "live",
        "trade": "live, imported",
    }


def test_ls_tells_gaps_of_a_recording_and_what_only_has_a_present(folder: Path) -> None:
    """Neither was watched or asked for over a span."""
    with Writer(folder, source="okx") as writer:
        writer.write(Block.from_events([OpenInterest(ID, START_NS, START_NS, 1.0, 1.0, 1.0)]))
        writer.write(Block.from_events([Gap(ID, START_NS, START_NS, "trade", START_NS, START_NS, "not recorded")]))
        writer.watched(Stream("book", ID), START_NS, START_NS + NS_PER_DAY)
    rows = msgspec.json.decode(run("data", "ls", str(folder), "--json").output)
    origins = {row["kind"]: row["origin"] for row in rows}
    assert (origins["open_interest"], origins["gap"]) == ("downloaded", "live")


def test_check_refuses_a_span_without_anything_in_it(folder: Path) -> None:
    """It would pass for clean; and what was read in part is not said to be read whole."""
    for span, message in (
        (("--from", "2025-05-07", "--to", "2025-05-06"), "the end 2025-05-06T00:00:00Z is before the start 2025-05-07"),
        (("--to", "2020-01-02"), "holds nothing of it in the span asked for; it runs from 2025-05-"),
        (
            ("--kind", "trade", "--from", "2030-01-02"),
            "holds nothing of it in the span asked for; it runs from 2025-05-",
        ),
    ):
        refused = run("data", "check", str(folder), *span)
        assert refused.exit_code == 2
        assert message in refused.stderr


def test_a_file_in_place_of_a_folder_is_named(folder: Path, tmp_path: Path) -> None:
    """For reading and for writing."""
    (tmp_path / "afile").write_text("hi")
    assert "afile is a file and no folder" in run("data", "ls", str(tmp_path / "afile")).stderr
    with (
        pytest.raises(DataError, match="a file lies where a folder should be; name another folder"),
        Writer(tmp_path / "afile") as writer,
    ):
        writer.write(Block.from_events([candle(9)]))
    with pytest.raises(DataError, match="a file lies where a folder should be; name another folder"):
        TapeWriter(tmp_path / "afile" / "tape")


def test_check_looks_at_what_is_asked_for(folder: Path) -> None:
    """By kind and span; a part of the rows is not kept as the outcome of a whole check."""
    done = run("data", "check", str(folder), "--kind", "trade", "--from", "2025-05-06", "--json")
    (trades,) = msgspec.json.decode(done.output)["streams"]
    assert (trades["kind"], trades["rows"]) == ("trade", 1)
    assert not (folder / "quality.json").exists()
    for option, word in (("--kind", "tirade"), ("--instrument", "ETH-USDT")):
        refused = run("data", "check", str(folder), option, word)
        assert refused.exit_code == 2
        assert f"{word}'" in refused.output
