"""Databento's own format, written by the library of its maker, read by its decoder."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from format_files import START_MS, plain, zstd

from quantkit.errors import DataError
from quantkit.events import Trade
from quantkit.importers import import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

dbn: Any = pytest.importorskip("databento_dbn", reason="databento-dbn is not installed: pip install 'quantkit[ci]'")

START_NS = START_MS * 1_000_000
MS = 1_000_000


def dbn_file(*, is_mapped: bool = True) -> bytes:
    """Return trades in Databento's own format, as their library writes it."""

    class Interval:
        start_date, end_date, symbol = date(2025, 6, 1), date(2025, 6, 2), "4916"

    class Mapping:
        raw_symbol, intervals = "ESM5", [Interval()]

    content: bytes = dbn.Metadata(
        dataset="GLBX.MDP3", start=START_NS, end=START_NS + 86_400 * 10**9, stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID, schema=dbn.Schema.TRADES, symbols=["ESM5"],
        mappings=[Mapping()] if is_mapped else [],
    ).encode()  # fmt: skip
    for number in range(3):
        at_ns = START_NS + MS * number
        content += bytes(
            dbn.TradeMsg(
                publisher_id=1, instrument_id=4916, ts_event=at_ns, price=5900 * 10**9 + number * 250_000_000,
                size=number + 1, action=dbn.Action.TRADE, side=(dbn.Side.BID, dbn.Side.ASK)[number % 2], depth=0,
                ts_recv=at_ns + 250_001, sequence=number,
            )
        )  # fmt: skip
    return content


def test_dbn_is_read_by_its_makers_decoder(tmp_path: Path) -> None:
    """As the CSV that it would be; packed with zstd, as they send it."""
    path = plain(tmp_path / "glbx-mdp3-20250601.trades.dbn.zst", zstd(dbn_file()))
    report = import_files(None, [path], to=tmp_path / "data", quote="USD")
    assert report.rows_written == {"databento:ESM5 trade": 3}
    trades = list(read_events(Catalog(tmp_path / "data"), Catalog(tmp_path / "data").coverage(), 0, 2**62))
    assert trades[1] == Trade("databento:ESM5", START_NS + MS, START_NS + MS + 250_001, 5900.25, 2.0, Side.SELL)
    for size, said in ((-9, "ends inside a record"), (60, "cannot be decoded as DBN"), (0, "cannot be decoded as DBN")):
        content = dbn_file()[:size] if size else b"DBN\x09" + bytes(200)
        with pytest.raises(DataError, match=rf"cut\.dbn {said}"):
            import_files(None, [plain(tmp_path / "cut.dbn", content)], to=tmp_path / "cut", quote="USD")


def test_without_a_mapping_its_number_names_an_instrument(tmp_path: Path) -> None:
    """The column of symbols would be empty."""
    path = plain(tmp_path / "x.dbn", dbn_file(is_mapped=False))
    report = import_files(None, [path], to=tmp_path / "data", quote="USD")
    assert report.rows_written == {"databento:4916 trade": 3}
