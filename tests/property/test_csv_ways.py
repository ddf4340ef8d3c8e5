"""Tables read by Arrow in blocks and row by row: the same rows, the same refusals with the same lines and words."""

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import QuantkitError
from quantkit.importers import csv_rows, import_files, tables
from quantkit.importers.csv_rows import TypedColumns
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

HEADER = "instrument_name,trade_id,side,price,size,created_time"
NUMBERS = st.sampled_from(
    ["104000.1", "0.5", "1.772e-05", "1E3", "7", ".5", "5.", "+1", " 2 ", "", "nan", "NaN", "inf", "-inf", "Infinity",
     "null", "1_0", "0x10", "1e400", "-1", "0", "-0", "1,5", '"3"', "\u0661", "1.2.3", "9" * 25, "1e-400"]
)  # fmt: skip
IDS = st.sampled_from(["1", "2", "3", "9" * 18, "9" * 20, "", "0", "a-b", "-5", " 4 ", "1.0"])
SIDES = st.sampled_from(["buy", "sell", "BUY", "Sell", "b", "", "hold", " buy "])
STAMPS = st.sampled_from(
    ["1748736000000", "1748736000001", "1748736000", "1748736000000000", "1748736000.25", "2025-06-01T00:00:00Z", "",
     "x", "99999999999999", "1", "-1748736000000", " 1748736000000 "]
)  # fmt: skip
NAMES = st.sampled_from(["BTC-USDT", "ETH-USDT", " BTC-USDT "])
GOOD = st.tuples(
    st.just("BTC-USDT"), st.integers(1, 50).map(str), st.sampled_from(["buy", "sell"]), st.just("104000.1"),
    st.just("0.5"), st.integers(1_748_736_000_000, 1_748_736_000_009).map(str),
)  # fmt: skip
ODD = st.tuples(NAMES, IDS, SIDES, NUMBERS, NUMBERS, STAMPS)
LINES = st.one_of(GOOD, GOOD, GOOD, ODD).map(",".join) | st.sampled_from(["", "   ", "a,b", '"', ",,,,,"])


def outcome(content: str, *, is_slow: bool, block_bytes: int = 1 << 22) -> Any:
    """Return what an import of some text gives, or says."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(tables, "_BLOCK_BYTES", block_bytes),
        patch.object(csv_rows, "_READ_BYTES", block_bytes),
    ):
        path = Path(folder) / "x.csv"
        path.write_text(content, encoding="utf-8", newline="")
        try:
            if is_slow:
                with patch.object(TypedColumns, "of", lambda self, block: None):
                    report = import_files("okx/trades", [path], to=Path(folder) / "data")
            else:
                report = import_files("okx/trades", [path], to=Path(folder) / "data")
        except QuantkitError as error:
            return str(error).replace(folder, "")
        catalog = Catalog(Path(folder) / "data")
        streams = [stream for stream in catalog.coverage() if stream.kind == "trade"]
        rows = list(read_events(catalog, streams, 0, 2**62))
        refused = [(row.line, row.why) for row in report.skipped_rows]
        return rows, refused, report.rows_read, report.rows_written, report.ignored


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(LINES, min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.sampled_from(["", "\n", "\n\n"]),
    block_bytes=st.sampled_from([64, 300, 1 << 22]),
)
def test_both_ways_of_reading_agree(lines: list[str], end: str, last: str, block_bytes: int) -> None:
    """Whatever a cell holds, and wherever a block ends: no row is changed in silence."""
    content = end.join([HEADER, *lines]) + last
    fast = outcome(content, is_slow=False, block_bytes=block_bytes)
    assert fast == outcome(content, is_slow=True, block_bytes=block_bytes)
