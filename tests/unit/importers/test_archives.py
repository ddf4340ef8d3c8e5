"""Archives: nested packing read by content, bombs refused without memory, names of members trusted nowhere."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from format_files import OKX_TRADES, csv_of, okx_trade, packed, plain, tarred, zipped, zstd

from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.importers import ImportReport, archives, import_files
from quantkit.importers.archives import ForeignFile, Limits, Unpacker

ROWS = csv_of(OKX_TRADES, [okx_trade(number) for number in range(50)])


def bring(path: Path, to: Path, **options: object) -> ImportReport:
    """Import one file by its content."""
    return import_files(None, [path], to=to, **options)  # type: ignore[arg-type]


def zip_bytes(members: dict[str, bytes]) -> bytes:
    """Return a zip archive as bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


WAYS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda folder: plain(folder / "x", ROWS),
    "gzip": lambda folder: plain(folder / "x", packed(ROWS)),
    "zstd": lambda folder: plain(folder / "x", zstd(ROWS)),
    "zip": lambda folder: zipped(folder / "x", {"a/b.csv": ROWS}),
    "tar": lambda folder: tarred(folder / "x", {"b.csv": ROWS}, "w"),
    "tar.gz": lambda folder: tarred(folder / "x", {"b.csv": ROWS}),
    "tar.gz of two": lambda folder: tarred(folder / "x", {"empty.csv": b"", "b.csv": ROWS}),
    "tar.zst": lambda folder: plain(folder / "x", zstd(tarred(folder / "t", {"b.csv": ROWS}, "w").read_bytes())),
    "zip in zip": lambda folder: zipped(folder / "x", {"inner.zip": zip_bytes({"b.csv": ROWS})}),
    "gzip in zip": lambda folder: zipped(folder / "x", {"b.csv.gz": packed(ROWS)}),
    "zip in tar.gz": lambda folder: tarred(folder / "x", {"inner.zip": zip_bytes({"b.csv": ROWS})}),
    "BOM and CRLF": lambda folder: plain(folder / "x", b"\xef\xbb\xbf" + ROWS.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("way", WAYS)
def test_any_packing_gives_the_same_rows(way: str, tmp_path: Path) -> None:
    """The suffix says nothing; the content does."""
    report = bring(WAYS[way](tmp_path), tmp_path / "data")
    assert report.rows_written == {"BTC-USDT trade": 50}
    assert report.skipped == 0
    (told,) = report.recognised.values()
    assert told.startswith("okx/trades, OKX trades")


def test_a_zip_archive_is_inflated_by_the_faster_library_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by zlib where there is none, to the same rows."""
    asked: list[int] = []

    def decompressobj(wbits: int) -> object:
        asked.append(wbits)
        return zlib.decompressobj(wbits)

    path = WAYS["zip"](tmp_path)
    for name, library in (("with", SimpleNamespace(decompressobj=decompressobj)), ("without", None)):
        monkeypatch.setattr(archives, "_ISAL", library)
        assert bring(path, tmp_path / name).rows_written == {"BTC-USDT trade": 50}
    assert set(asked) == {-15}


@pytest.mark.parametrize("way", ["zip", "gzip"])
def test_a_changed_bit_refuses_the_file(way: str, tmp_path: Path) -> None:
    """Rows after it may look right and be wrong."""
    rows = csv_of(OKX_TRADES, [okx_trade(n) for n in range(9_000)])
    content = bytearray(zip_bytes({"b.csv": rows}) if way == "zip" else packed(rows))
    content[len(content) // 2] ^= 1
    with pytest.raises(DataError, match=r"x\S* is damaged \(.*\); download it again"):
        bring(plain(tmp_path / "x", bytes(content)), tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("way", ["gzip", "zstd"])
def test_a_file_that_ends_early_keeps_what_came_before(way: str, tmp_path: Path) -> None:
    """As a download that broke off; the end is a counted row."""
    rows = csv_of(OKX_TRADES, [okx_trade(n) for n in range(90_000)])
    content = packed(rows) if way == "gzip" else zstd(rows)
    path = plain(tmp_path / "x", content[: len(content) * 3 // 4])
    report = bring(path, tmp_path / "data")
    assert report.skipped_rows[-1].why == "the compressed file is damaged or ends early"
    assert 0 < report.rows_written["BTC-USDT trade"] == report.rows_read - report.skipped
    with pytest.raises(ParseError, match="damaged or ends early"):
        bring(path, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(40), "a damaged zip archive"),
        (b"a.csv".ljust(257, b"\0") + b"ustar\x0000" + bytes(200), "a damaged tar archive"),
    ],
)
def test_broken_archives_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(DataError, match=f"{said}.*download it again"):
        bring(plain(tmp_path / "x.zip", content), tmp_path / "data")


def bomb_of_463_bytes() -> bytes:
    """Return a few hundred bytes that unpack to hundreds of megabytes: zeros packed three times over."""
    content = gzip.compress(bytes(1 << 20), 9) * 300
    return gzip.compress(gzip.compress(content, 9), 9)


@pytest.mark.parametrize("kind", ["gzip", "zip", "zstd", "tar"])
def test_a_bomb_is_refused_and_takes_no_memory(kind: str, tmp_path: Path) -> None:
    """No more is unpacked than the limits allow, a piece at a time."""
    bomb = bomb_of_463_bytes()
    assert len(bomb) < 2_000
    if kind == "zip":
        bomb = zip_bytes({"bomb": bytes(64 << 20)})
    elif kind == "zstd":
        bomb = zstd(bytes(64 << 20))
    elif kind == "tar":
        bomb = packed(tarred(tmp_path / "t", {"b.csv": bytes(64 << 20)}, "w").read_bytes())
    path = plain(tmp_path / "x.gz", bomb)
    tracemalloc.start()
    try:
        with pytest.raises((DataError, ConfigError), match=r"unpacks to more than|has more than|is binary"):
            bring(path, tmp_path / "data")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert not (tmp_path / "data").exists()


def test_a_table_that_goes_on_for_ever_is_refused(tmp_path: Path) -> None:
    """Rows that are right do not excuse a ratio that no table has."""
    path = plain(tmp_path / "x.gz", gzip.compress(ROWS + b"BTC-USDT,9,buy,1.0,1,1748736000000\n" * 900_000, 9))
    with pytest.raises(
        DataError, match=r"unpacks to more than [0-9,]+ bytes, while the file has [0-9,]+: no table packs"
    ):
        bring(path, tmp_path / "data")


def test_depth_and_number_have_limits(tmp_path: Path) -> None:
    """A packing in a packing in a packing, and an archive of far too many files."""
    content = ROWS
    for _ in range(6):
        content = packed(content)
    with pytest.raises(DataError, match="packed more than 4 times over"):
        bring(plain(tmp_path / "deep", content), tmp_path / "data")
    many = zipped(tmp_path / "many.zip", {f"{number}.csv": b"" for number in range(30)})
    with pytest.raises(DataError, match="holds more than 20 files"), Unpacker(Limits(members=20)) as unpacker:
        unpacker.unpacked([many])
    tar = tarred(tmp_path / "many.tar", {f"{number}.csv": b"" for number in range(30)}, "w")
    with pytest.raises(DataError, match="holds more than 20 files"), Unpacker(Limits(members=20)) as unpacker:
        unpacker.unpacked([tar])


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """The trick that makes many members of the same bytes."""
    content = bytearray(zip_bytes({"a.csv": ROWS * 40}))
    entry = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    central = bytes(content[entry:end])
    tail = bytearray(content[end:])
    tail[8:10] = tail[10:12] = (50).to_bytes(2, "little")
    tail[12:16] = (len(central) * 50).to_bytes(4, "little")
    path = plain(tmp_path / "x.zip", bytes(content[:entry]) + central * 50 + bytes(tail))
    with pytest.raises(DataError, match=r"members overlap|damaged zip"):
        bring(path, tmp_path / "data")


def test_no_name_of_a_member_is_a_path(tmp_path: Path) -> None:
    """A member that climbs out of its folder is read like any other, and nothing is written where it points."""
    inside = tmp_path / "in"
    path = zipped(inside / "x.zip", {"../../evil.csv": ROWS})
    assert bring(path, tmp_path / "data").rows_written == {"BTC-USDT trade": 50}
    assert not (tmp_path.parent / "evil.csv").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "in"]


def test_links_and_devices_are_not_followed(tmp_path: Path) -> None:
    """They are counted; the data beside them are taken."""
    secret = plain(tmp_path / "secret.csv", ROWS.replace(b"BTC-USDT", b"ETH-USDT"))
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("secret.csv")
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
        info = tarfile.TarInfo("b.csv")
        info.size = len(ROWS)
        archive.addfile(info, io.BytesIO(ROWS))
    report = bring(path, tmp_path / "data")
    assert report.rows_written == {"BTC-USDT trade": 50}
    assert report.ignored["links in archives, which are not followed"] == 3


def test_what_lies_beside_the_data_is_named_and_left_out(tmp_path: Path) -> None:
    """A report in text, and a folder of an operating system."""
    members = {"b.csv": ROWS, "README.txt": b"Thank you for buying!\n", "__MACOSX/._b.csv": b"\0\1"}
    report = bring(zipped(tmp_path / "x.zip", members), tmp_path / "data")
    assert report.rows_written == {"BTC-USDT trade": 50}
    assert report.ignored == {
        "files beside the data in archives, such as README.txt": 1,
        "files of the operating system in archives": 1,
    }
    with pytest.raises(ConfigError, match=r"x\.zip!notes\.csv is of no known format"):
        bring(zipped(tmp_path / "x.zip", {"b.csv": ROWS, "notes.csv": b"a,b\n1,2\n"}), tmp_path / "other")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    """By its flag, before anything is read."""
    content = bytearray(zip_bytes({"b.csv": ROWS}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    with pytest.raises(DataError, match=r"x\.zip!b\.csv is encrypted; unpack it first"):
        bring(plain(tmp_path / "x.zip", bytes(content)), tmp_path / "data")


def test_a_checksum_beside_a_file_is_verified(tmp_path: Path) -> None:
    """As Binance gives them; a glob may name it too."""
    path = zipped(tmp_path / "x.zip", {"b.csv": ROWS})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sidecar = plain(tmp_path / "x.zip.CHECKSUM", f"{digest}  x.zip\n".encode())
    report = import_files(None, [path, sidecar], to=tmp_path / "data")
    assert report.checked == {"SHA-256 of files with a checksum beside them": 1}
    sidecar.write_text(f"{'0' * 64}  x.zip\n")
    with pytest.raises(DataError, match=r"is not the file that x\.zip\.CHECKSUM was made of"):
        bring(path, tmp_path / "other")
    sidecar.write_text("<html>")
    with pytest.raises(DataError, match="holds no SHA-256"):
        bring(path, tmp_path / "other")
    with pytest.raises(ConfigError, match="is a checksum and no data"):
        import_files(None, [sidecar], to=tmp_path / "other")


def test_a_file_can_be_opened_twice(tmp_path: Path) -> None:
    """Recognition reads the beginning, the import the whole."""
    with Unpacker() as unpacker:
        (file,) = unpacker.unpacked([WAYS["zip in zip"](tmp_path)]).files
        assert (file.leaf, file.is_plain, ForeignFile.of(tmp_path / "x").is_plain) == ("b.csv", False, True)
        for _ in range(2):
            with file.opened() as (stream, _raw):
                assert stream.read() == ROWS
