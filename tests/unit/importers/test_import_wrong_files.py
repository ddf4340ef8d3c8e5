"""What users hand in besides data: empty, cut, of another encoding, an answer of a server; one clear line each."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_files import OKX_TRADES, csv_of, okx_trade, packed, plain, zipped
from more_format_files import EVENT_TYPE, HFT_ROWS, hft_events, nautilus_samples, npz

from quantkit.errors import ConfigError, DataError, QuantkitError
from quantkit.importers import import_files

ROWS = csv_of(OKX_TRADES, [okx_trade(number) for number in range(50)])
NPZ = npz(hft_events(HFT_ROWS))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"nothing to store: \S+x holds no rows \(files without rows\)"),
        (b"\n\r\n\n", r"nothing to store: \S+x holds no rows \(files without rows\)"),
        (f"{OKX_TRADES}\n".encode(), r"nothing to store: \S+x holds no rows \(files without rows\)"),
        (packed(b""), r"nothing to store: \S+x holds no rows \(files without rows\)"),
        (b"PK\x05\x06" + bytes(18), r"nothing to store: the files hold no rows \(archives without files\)"),
        (b"a,b,c\n", "its columns are a, b, c. What does it hold"),
        (ROWS.decode().encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (ROWS.decode().encode("utf-16-le"), "is text in UTF-16; save it as UTF-8"),
        (b'{"error": "rate limited"}', r'is JSON of no known kind, beginning with {"error": "rate limited"}'),
        (b"\x91\x01\0\0(C)opyright 2003, MetaQuotes Software Corp.\0", "is MetaTrader's own history"),
        (b"<!DOCTYPE html><html>", "is a web page, not the data; download the data again"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "is a web page, not the data"),
        (b"Exceeded the daily hits limit", "is stooq's refusal"),
        (ROWS + b"\0\0", "is binary and of no known kind"),
        (b"\x1f\x8b\x08\x00", "the compressed file is damaged or ends early"),
        (NPZ[:-40], "is a damaged zip archive"),
        (b"\x93NUMPY\x01\x00", "is no array of numpy"),
    ],
    ids=range(17),
)
def test_a_file_that_is_no_data_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    """What it is and what to do, in one line; nothing is written."""
    with pytest.raises((ConfigError, DataError), match=said) as refusal:
        import_files(None, [plain(tmp_path / "x", content)], to=tmp_path / "data", instrument="X-USDT")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "data").exists()


def test_a_bomb_of_an_array_is_refused(tmp_path: Path) -> None:
    """Zeros of numpy pack as well as any others."""
    path = plain(tmp_path / "x.npz", npz(np.zeros(400_000, EVENT_TYPE)))
    with pytest.raises(DataError, match=r"x\.npz!data\.npy unpacks to more than [0-9,]+ bytes"):
        import_files(None, [path], to=tmp_path / "data", instrument="X-USDT")


def test_a_changed_bit_of_an_array_is_noticed(tmp_path: Path) -> None:
    """By the archive's own checks."""
    content = bytearray(npz(hft_events(HFT_ROWS * 50)))
    content[len(content) // 2] ^= 4
    with pytest.raises(DataError, match="is damaged"):
        import_files(None, [plain(tmp_path / "x.npz", bytes(content))], to=tmp_path / "data", instrument="X-USDT")


def test_parquet_that_is_cut_or_unknown_is_named(tmp_path: Path) -> None:
    """And one of NautilusTrader that lost its metadata asks for its instrument."""
    path = nautilus_samples(tmp_path)["nautilus/trades"]
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), tmp_path / "bare.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "unknown.parquet")
    plain(tmp_path / "cut.parquet", path.read_bytes()[:-20])
    for leaf, said in (
        ("bare", "does not name its instrument"),
        ("unknown", "its columns are a. What does it hold"),
        ("cut", "the file cannot be read"),
    ):
        with pytest.raises(QuantkitError, match=rf"{leaf}\.parquet.*{said}"):
            import_files(None, [tmp_path / f"{leaf}.parquet"], to=tmp_path / "data")


def test_an_archive_may_hold_several_makers_files(tmp_path: Path) -> None:
    """Each is told apart; the same rows under another name count once."""
    members = {"a.csv": ROWS, "b.npz": NPZ, "c/d.csv": ROWS, "licence.txt": b"free"}
    report = import_files(None, [zipped(tmp_path / "x.csv", members)], to=tmp_path / "data", instrument="BTC-USDT")
    assert report.rows_written == {"BTC-USDT book": 4, "BTC-USDT trade": 52}
    assert report.format == "okx/trades, hftbacktest/events"
    assert report.ignored["rows that came before, in another file or the same"] == 50
