"""Data folders elsewhere: what is shown of their URLs, and what two writers leave of each other's work."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from counted_files import CountedFolder

from quantkit.clock import NS_PER_DAY, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import MarketEvent
from quantkit.rows.columns import Block
from quantkit.storage.catalog import Catalog
from quantkit.storage.leftovers import clear_leftovers
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.places import refusal, scrubbed, secrets_of, shown
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
        ("s3://akey:hid/den@bucket/d?region=r", "s3://bucket/d?region=r", ("hid%2Fden", "hid/den", "akey")),
        ("s3://bucket/a@b", "s3://bucket/a@b", ()),
        ("s3:///d", "s3:///d", ()),
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


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s4://bucket/d", "s4://bucket/d: s4:// is no place for a data folder; give a path, s3://bucket/folder"),
        ("https://host/d", "https:// is no place for a data folder"),
        ("s3://akey:se/cret@bucket/d", "s3://bucket/d: not a place that can be opened: a slash in a key is written"),
        ("s3:/bucket/d", "looks like a URL that lost a slash"),
        (Path("gs://bucket/d"), "looks like a URL that lost a slash"),
        ("s3://", "s3://: names no folder"),
        ("s3://bucket/d?region=r&nonsense=1", "Unexpected query parameter in S3 URI: 'nonsense'"),
    ],
)
def test_each_wrong_url_has_its_line(uri: str | Path, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Root.of(uri)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation", "the store refuses the keys"),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation", "another region"),
        ("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation", "another region"),
        ("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation", "out of order or overloaded"),
        ("AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 6, Could not", "host is not known"),
        ("AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 7, Could not", "nobody answers"),
        ("AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 35, SSL", "needs scheme=http"),
        ("google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token", "there are no credentials"),
        ("AWS Error OF_ANOTHER_KIND during HeadObject", "AWS Error OF_ANOTHER_KIND"),
    ],
)
def test_a_store_s_refusal_is_said_in_plain_words(text: str, meaning: str) -> None:
    assert meaning in (refusal(text) or "")


def test_what_no_store_said_is_no_refusal() -> None:
    assert refusal("[Errno 28] No space left on device (HTTP status 503)") is None


def test_only_what_has_lain_aside_for_a_day_is_deleted(tmp_path: Path, make_trades: Make) -> None:
    """By the store's clock, whatever this machine's says; never by a reader, and never on a local disk."""
    now_ns = START_NS + 400 * NS_PER_DAY
    live, dead = f"{STAGING_PREFIX}live-rows-0-0.parquet", f"{STAGING_PREFIX}dead-rows-0-0.parquet"
    older, other = f"{STAGING_PREFIX}older/rows-0-0.parquet", "notes.txt"
    root = CountedFolder(tmp_path).root
    write(root, make_trades(3, start_ns=START_NS))
    (tmp_path / older).parent.mkdir()
    for name, age_ns in (
        (live, NS_PER_DAY - 1),
        (dead, NS_PER_DAY + 1),
        (older, NS_PER_DAY + 1),
        (other, NS_PER_DAY * 9),
    ):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, ns=(now_ns - age_ns,) * 2)
    os.utime(tmp_path / MANIFEST, ns=(now_ns,) * 2)
    before = files(tmp_path)
    Catalog(root)
    assert files(tmp_path) == before
    clear_leftovers(root, MANIFEST)
    assert files(tmp_path) == before - {dead, older}
    assert not (tmp_path / older).parent.exists()
    clear_leftovers(Root.of(tmp_path), MANIFEST)
    clear_leftovers(root, "is not there")
    assert files(tmp_path) == before - {dead, older}


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
