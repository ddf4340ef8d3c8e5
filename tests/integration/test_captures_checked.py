"""The recorded files of the data collection, checked: what its catalogue lists is found, and nothing else is said."""

import gzip
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from quantkit.clock import iso_of
from quantkit.errors import DataError
from quantkit.importers import import_files
from quantkit.quality import CLEAN, UNVERIFIED, Finding, QualityReport, check
from quantkit.storage.catalog import Catalog

SHARED = Path(__file__).parents[3] / "shared"
DATA, FRAMES = SHARED / "data", SHARED / "okx" / "frames"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the data collection is not beside the repository")

#: Worth knowing of files without metadata of the exchange, and no fault.
OF_METADATA = {"inferred", "no_metadata"}
NO_NUMBERS = "whether rows are missing: tickers have no sequence numbers"
NO_IDS = "whether rows are missing: the trades have no ids"
NO_CHAIN = "whether rows are missing: the updates have no sequence numbers"
FEW_IDS = "whether rows are missing: fewer than 100 ids do not show whether they are consecutive"


def checked(folder: Path, format_name: str, *patterns: str, of: Path = DATA, **options: Any) -> QualityReport:
    """Import files and check the folder."""
    files = [file for pattern in patterns for file in sorted(of.glob(pattern))]
    import_files(format_name, files, to=folder / "data", **options)
    return check(Catalog(folder / "data"))


def beginning(file: Path, to: Path, count: int) -> None:
    """Write the first lines of a file to another one."""
    with gzip.open(file, "rb") as lines:
        to.write_bytes(b"".join(islice(lines, count)))


def told(report: QualityReport) -> list[Finding]:
    """Return the findings but those about metadata."""
    return [finding for finding in report.findings if finding.code not in OF_METADATA]


def said(report: QualityReport) -> dict[str, tuple[str, ...]]:
    """Return what cannot be verified of each stream, by kind; the verdict follows from it."""
    assert all(each.verdict == (UNVERIFIED if each.unverified else CLEAN) for each in report.streams)
    return {each.kind: each.unverified for each in report.streams}


@pytest.mark.parametrize(
    "name",
    ["usdm_btcusdt_20240808", "usdm_ethusdt_20240808", "spot_btcusdt_20240808", "cm_btcusd_perp_20240808"],
)
def test_binance_captures(tmp_path: Path, name: str) -> None:
    """Chains without a gap, consecutive ids, books that never cross; the receiver's clock was behind.

    The first lines of each, since all of them take seconds to import; the catalogue's figures hold for them too.
    """
    beginning(DATA / "binance/ws-raw" / f"{name}.log.gz", tmp_path / "log", 8_000)
    report = checked(tmp_path, "binance/ws-raw", "log", of=tmp_path)
    assert said(report) == {"book": (), "trade": (), "ticker": (NO_NUMBERS,)}
    (moved,) = told(report)
    assert (moved.code, moved.severity) == ("shifted", "info")
    assert "moved on by 1.2" in moved.what


def test_a_quiet_binance_capture(tmp_path: Path) -> None:
    """Without a row for 43 s at times, which is no hole; whole, but for the days after the first."""
    report = checked(tmp_path, "binance/ws-raw", "binance/ws-raw/spot_nexousdt_20240723.log.gz")
    assert [each.verdict for each in report.streams if each.kind == "book"] == [CLEAN]
    assert [finding.code for finding in told(report)] == ["shifted"]


@pytest.mark.parametrize("day", ["20220227", "20220513"])
def test_okx_captures(tmp_path: Path, day: str) -> None:
    """Frames of 2022 have checksums and no sequence numbers; two snapshots, and deletes of levels never sent."""
    files = (f"okx/ws-raw/okx_rest_instruments_{day}.log.gz", f"okx/ws-raw/okx_ws_{day}*.log.gz")
    report = checked(tmp_path, "okx/ws-raw", *files)
    assert said(report) == {"book": (NO_CHAIN,), "trade": (FEW_IDS,), "ticker": (NO_NUMBERS,)}
    assert report.findings == []


def test_wrapped_okx_frames(tmp_path: Path) -> None:
    report = checked(tmp_path, "okx/ws-raw", "cryptofeed_public_ws_2022-05-13.jsonl", of=FRAMES)
    assert said(report) == {"book": (NO_CHAIN,), "trade": (FEW_IDS,), "ticker": (NO_NUMBERS,)}
    assert told(report) == []


@pytest.mark.parametrize("name", ["nautilus_test_data.jsonl", "gocryptotrader_testdata.jsonl"])
def test_single_frames_are_no_capture(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no okx/ws-raw row to store"):
        checked(tmp_path, "okx/ws-raw", name, of=FRAMES)


def test_the_excerpt_without_a_snapshot_has_lost_its_book(tmp_path: Path) -> None:
    """Five updates that nothing precedes: no row of the book is stored, and the folder is not clean."""
    report = checked(tmp_path, "okx/ws-raw", "okx/ws-raw/*.jsonl")
    (lost,) = told(report)
    assert (lost.code, lost.severity, lost.count, lost.where) == ("gap", "warning", 1, "BTC-USDT gap")
    assert lost.what == "gap rows tell of losses: 1 in book (no snapshot); no row of book is stored"
    assert iso_of(lost.places[0].at_ns).startswith("2026-08-24T23:01:26")


@pytest.mark.parametrize(
    ("pattern", "zone"),
    [
        ("binance/candles-1m/usdm_btcusdt_1m_2024*", "UTC"),
        ("binance/candles-1m/usdm_ethusdt_1m_2024*", "UTC"),
        ("binance/candles-1m/usdm_btcusdt_1m_2025*", None),
        ("binance/candles-1m/usdm_ethusdt_1m_2025*", None),
        ("binance/candles-1m/usdm_solusdt_1m_2025*", None),
        ("okx/candles/okx_btc-usdt-swap_1m_*", None),
    ],
)
def test_whole_candles(tmp_path: Path, pattern: str, zone: str | None) -> None:
    """No missing or repeated minute, none without volume for long."""
    report = checked(tmp_path, "candles", pattern, instrument="x:A-USDT-SWAP", timezone=zone)
    assert said(report) == {"candle": ()}
    assert told(report) == []
    assert report.verdict == CLEAN


@pytest.mark.parametrize(
    ("coin", "spells", "bars"),
    [
        ("btc", ["2022-11-10T09:15", "2022-12-18T08:40"], 133),
        ("eth", ["2022-06-01T17:05", "2022-11-10T09:15", "2022-12-18T08:40"], 145),
        ("sol", ["2022-06-01T17:05", "2022-11-10T09:15", "2022-12-18T08:30"], 147),
    ],
)
def test_candles_through_the_exchanges_stops(tmp_path: Path, coin: str, spells: list[str], bars: int) -> None:
    """The flat bars that stand in for stops; of less than ten in a row nothing is said."""
    report = checked(tmp_path, "candles", f"okx/candles/okx_{coin}-usdt-swap_5m*", instrument="A-USDT-SWAP")
    (flat,) = told(report)
    assert (flat.code, flat.count) == ("flat", len(spells))
    assert [iso_of(place.at_ns)[:16] for place in flat.places] == spells
    assert f"{bars} candles in all" in flat.what


@pytest.mark.parametrize("coin", ["btc", "eth", "sol"])
@pytest.mark.parametrize(("format_name", "what"), [("marks", "mark1h"), ("funding", "funding8h")])
def test_marks_and_funding(tmp_path: Path, coin: str, format_name: str, what: str) -> None:
    """Nothing is missing; without metadata their steps cannot be verified, which is no fault."""
    report = checked(tmp_path, format_name, f"okx/candles/okx_{coin}*{what}*", instrument="A-USDT-SWAP")
    assert told(report) == []
    assert report.verdict == UNVERIFIED
    assert [each.verdict for each in report.streams] == [CLEAN if format_name == "funding" else UNVERIFIED]


def test_trades_with_a_hole(tmp_path: Path) -> None:
    """The hole of 870 s that the catalogue lists, and one of 82 s beside it where 3 s are the longest otherwise."""
    report = checked(tmp_path, "trades", "binance/trades/*", instrument="binance:BTC-USDT-SWAP")
    (stale,) = told(report)
    assert (stale.code, stale.count) == ("stale", 2)
    places = [(iso_of(place.at_ns)[:19], place.row) for place in stale.places]
    assert places == [("2024-10-28T16:20:43", 42_851), ("2024-10-28T16:35:45", 44_135)]
    assert report.streams[0].unverified == (NO_IDS,)


def test_gemini_trades_and_quotes(tmp_path: Path) -> None:
    """Quiet for minutes and up to 0.58 % outside of a quote of that second: a quiet market, and no fault."""
    for format_name, pattern in (("trades", "gemini/ethusd_trades_*"), ("tickers", "gemini/ethusd_bbo1s_*")):
        report = checked(tmp_path, format_name, pattern, instrument="gemini:ETH-USD")
    assert said(report) == {"trade": (NO_IDS,), "ticker": (NO_NUMBERS,)}
    assert told(report) == []


@pytest.mark.parametrize("venue", ["binance", "hyperliquid", "kraken"])
def test_quotes_of_two_days(tmp_path: Path, venue: str) -> None:
    """Seconds without a row are seconds without a change; the first hours of each, since texts take seconds to read."""
    (file,) = DATA.glob(f"quotes-1s/{venue}*")
    beginning(file, tmp_path / "quotes.csv", 20_000)
    report = checked(tmp_path, "tickers", "quotes.csv", of=tmp_path, instrument="x:A-USD-SWAP", timezone="UTC")
    assert said(report) == {"ticker": (NO_NUMBERS,)}
    assert told(report) == []
