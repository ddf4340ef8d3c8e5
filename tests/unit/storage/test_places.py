"""Data folders elsewhere: what is shown of their URLs, and what two writers leave of each other's work."""

from collections.abc import Callable
from pathlib import Path

import pytest
from counted_files import CountedFolder

from quantkit.clock import NS_PER_DAY, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import MarketEvent
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.places import scrubbed, secrets_of, shown
from quantkit.storage.root import STAGING_PREFIX, Root
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-01")
Make = Callable[..., list[MarketEvent]]


@pytest.mark.parametrize(
    ("uri", "text", "secrets"),
    [
        ("s3://bucket/data", "s3://bucket/data", ()),
        ("s3://akey:hid%2Fden@bucket/data?region=r", "s3://bucket/data?region=r", ("hid%2Fden", "hid/den", "akey")),
        ("s3://bucket/d?secret_key=abcd&scheme=http", "s3://bucket/d?scheme=http", ("abcd",)),
        ("postgresql://me:password@host:5/db", "postgresql://host:5/db", ("password",)),
        ("s3://akey:hidden@[bucket/data", "s3://***", ("akey:hidden@[bucket/data",)),
    ],
)
def test_what_is_secret_is_not_shown(uri: str, text: str, secrets: tuple[str, ...]) -> None:
    """Keys, passwords and options that nobody knows to be harmless."""
    assert shown(uri) == text
    assert secrets_of(uri) == secrets
    assert scrubbed(f"it said {uri}", secrets).count("***") >= bool(secrets)
    assert not any(secret in shown(uri) for secret in secrets)


@pytest.mark.parametrize(
    "uri", ["s4://key:hidden@bucket/data", "s3://key:hidden@", "s3://key:hidden@bucket/d?hidden=1"]
)
def test_a_url_that_is_none_is_refused_without_its_keys(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Root.of(uri)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


def write(root: Root, rows: list[MarketEvent]) -> None:
    with Writer(root) as writer:
        writer.write(Block.from_events(rows))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_root_elsewhere_is_written_as_a_local_one(tmp_path: Path, make_trades: Make) -> None:
    """The same files, and none of those in between."""
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    for day in range(2):
        rows = make_trades(5, start_ns=START_NS + day * NS_PER_DAY)
        write(CountedFolder(far).root, rows)
        write(Root.of(near), rows)
    held = {name for name in files(near) if name != ".lock"}
    assert files(far) == held
    assert all((far / name).read_bytes() == (near / name).read_bytes() for name in held)


def test_a_second_writer_is_refused(tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds another manifest than it has read takes its own files back."""
    root = CountedFolder(tmp_path).root
    write(root, make_trades(3, start_ns=START_NS))
    send = Root._send

    def sent(self: Root, staged: Path, target: str) -> str:
        if staged.name == MANIFEST:
            monkeypatch.setattr(Root, "_send", send)
            write(CountedFolder(tmp_path).root, make_trades(4, start_ns=START_NS + NS_PER_DAY))
        return send(self, staged, target)

    monkeypatch.setattr(Root, "_send", sent)
    with pytest.raises(DataError, match="another writer has replaced it meanwhile; nothing of these rows"):
        write(CountedFolder(tmp_path).root, make_trades(5, start_ns=START_NS + 2 * NS_PER_DAY))
    assert [entry.rows for entry in Catalog(tmp_path).entries] == [3, 4]
    assert files(tmp_path) == {entry.path for entry in Catalog(tmp_path).entries} | {MANIFEST}


def test_a_writer_whose_rows_another_one_hid_is_told(
    tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both replaced the manifest within the same moment, and the other one had not seen these rows."""
    root = CountedFolder(tmp_path).root
    write(root, make_trades(3, start_ns=START_NS))
    before = (tmp_path / MANIFEST).read_bytes()
    look = Root._look_again

    def looked(self: Root, relative: str, content: bytes) -> None:
        (tmp_path / MANIFEST).write_bytes(before)
        look(self, relative, content)

    monkeypatch.setattr(Root, "_look_again", looked)
    with pytest.raises(DataError, match="another writer replaced it at the same moment"):
        write(CountedFolder(tmp_path).root, make_trades(4, start_ns=START_NS + NS_PER_DAY))
    assert [entry.rows for entry in Catalog(tmp_path).entries] == [3]


def test_an_upload_that_is_left_publishes_nothing(
    tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the middle of it, by whatever; nothing stays aside either."""
    root = CountedFolder(tmp_path).root
    write(root, make_trades(3, start_ns=START_NS))
    before = files(tmp_path)

    def sent(self: Root, staged: Path, target: str) -> str:
        assert STAGING_PREFIX in target
        self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with self.filesystem.open_output_stream(target) as sink:
            sink.write(staged.read_bytes()[:10])
            raise KeyboardInterrupt

    monkeypatch.setattr(Root, "_send", sent)
    with pytest.raises(KeyboardInterrupt):
        write(CountedFolder(tmp_path).root, make_trades(4, start_ns=START_NS + NS_PER_DAY))
    assert files(tmp_path) == before


def test_what_is_uploaded_is_what_was_sealed(
    tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = CountedFolder(tmp_path).root
    write(root, make_trades(3, start_ns=START_NS))
    before = files(tmp_path)
    send = Root._send
    monkeypatch.setattr(Root, "_send", lambda self, staged, target: send(self, staged, target)[:-1] + "x")
    with pytest.raises(DataError, match="what was uploaded is not what was sealed"):
        write(CountedFolder(tmp_path).root, make_trades(4, start_ns=START_NS + NS_PER_DAY))
    assert files(tmp_path) == before
