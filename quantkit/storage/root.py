"""The folder of a catalog's files, local or in an object store."""

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final

from quantkit.errors import ConfigError, DataError
from quantkit.portable import check_new
from quantkit.storage.places import SCHEMES, has_slash_in_key, is_database, refusal, scrubbed, secrets_of, shown

#: Folders with this prefix hold files that are still being written; every Parquet tool passes over them.
STAGING_PREFIX: Final = ".staging-"
#: A collector's own folder in a data folder: its tape, and files that it is writing. Nobody else looks into it.
WORK: Final = ".record"
_LOCK: Final = ".lock"
_CHUNK_BYTES: Final = 1 << 20
_RETRY_S: Final = 60
#: What `pathlib` makes of a URL.
_CUT_URL: Final = re.compile(r"(?:s3|gs|gcs|abfss?|hdfs|viewfs):/").match
_OBJECT_STORES: Final = frozenset({"s3", "gcs", "abfs"})
#: A lock that is a link would be made wherever it points; Windows has no such flag, and links only for administrators.
NO_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)


def sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder durable."""
    # Windows has no way to sync a folder.
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Root:
    """A folder reached through `pyarrow.fs`, with atomic publication of finished files.

    Args:
        path: Folder within the file system.
        filesystem: A `pyarrow.fs.FileSystem`; None is the machine's own.

    A local file appears by rename, so it is there whole or not at all. Elsewhere a file is uploaded under another name,
    compared with what was sealed, and moved to its own by the store: an upload that is cut off, by an exception or by
    the end of its process, leaves nothing under a name that somebody reads. Local writers wait for each other. In an
    object store nothing makes them wait; the second of two that meet is refused when its turn comes to replace the
    manifest, unless both do so within the moment that this takes, which the loser is then told.
    """

    __slots__ = ("_filesystem", "_guarded", "_local", "_secrets", "_shown", "path")

    def __init__(self, path: str | Path, filesystem: Any = None, *, uri: str = "") -> None:
        self._filesystem = filesystem
        self._local = Path(path) if filesystem is None else None
        self.path = str(path)
        self._shown = shown(uri) if uri else self.path
        self._secrets = secrets_of(uri)
        self._guarded: tuple[str, bytes | None] | None = None  # a file that nobody else may replace, as it was read

    @classmethod
    def of(cls, root: "str | Path | Root") -> "Root":
        """Return the root that a path or a URI (`s3://bucket/data`, `file:///data`) names.

        Raises:
            ConfigError: The URI's scheme or form is not known.
        """
        if isinstance(root, Root):
            return root
        text = str(root)
        if not text:
            raise ConfigError("the data folder's path is empty; name a folder, '.' for this one")
        if isinstance(root, Path) or "://" not in text:
            if _CUT_URL(text):
                raise ConfigError(f"{text}: looks like a URL that lost a slash; write it as text, s3://bucket/folder")
            return cls(Path(text))
        if is_database(text):
            raise ConfigError(
                f"{shown(text)} is a database, and files are needed here; `quantkit backtest --data`, `data ls` and "
                "`data check` read a database, and so does every client of PostgreSQL"
            )
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise ConfigError(
                f"{shown(text)}: {scheme}:// is no place for a data folder; give a path, s3://bucket/folder or "
                "gs://bucket/folder"
            )
        from pyarrow import ArrowException, fs

        try:
            filesystem, path = fs.FileSystem.from_uri(_patient(text, scheme))
        except (ArrowException, OSError, ValueError) as error:
            what = scrubbed(refusal(str(error)) or first_line(error), (text, *secrets_of(text)))
            if has_slash_in_key(text):
                what = "a slash in a key is written %2F; keys are better given in the environment"
            raise ConfigError(f"{shown(text)}: not a place that can be opened: {what}") from None
        if isinstance(filesystem, fs.LocalFileSystem):
            return cls(path)
        if not path.strip("/"):
            raise ConfigError(f"{shown(text)}: names no folder; write for example s3://bucket/data")
        return cls(path, filesystem, uri=text)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Root({self._shown!r})"

    def _told(self, error: BaseException) -> str:
        """Return what an exception means, or its first line, without what is secret."""
        return scrubbed(refusal(str(error)) or first_line(error), self._secrets)

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine."""
        return self._local is not None

    def place(self, relative: str) -> str:
        """Return the path of a file within the file system, for a reader of its own.

        Raises:
            DataError: A link leads out of the folder.
        """
        if self._local is not None:
            self._inside(self._local / relative)
        return self.full(relative)

    @property
    def filesystem(self) -> Any:
        """The `pyarrow.fs.FileSystem`."""
        if self._filesystem is None:
            from pyarrow import fs

            self._filesystem = fs.LocalFileSystem()
        return self._filesystem

    def full(self, relative: str) -> str:
        """Return the path within the file system of a path relative to the root."""
        if self._local is not None:
            return str(self._local / relative)
        return f"{self.path.rstrip('/')}/{relative}" if relative else self.path

    def _inside(self, path: Path, *, of: Path | None = None) -> Path:
        """Return a local path, or refuse one that a link leads out of the folder.

        Args:
            path: Below the root.
            of: What has to be inside for it; default the path itself.

        Raises:
            DataError: It lies elsewhere.
        """
        assert self._local is not None
        real = Path(os.path.realpath(of or path))
        if not real.is_relative_to(os.path.realpath(self._local)):
            raise DataError(f"{path}: a link leads out of the data folder, to {real}; put the files themselves into it")
        return path

    # Reading --------------------------------------------------------------------------------------------------

    def has_folder(self) -> bool:
        """Return whether the root itself is there."""
        with self._readable():
            if self._local is not None:
                return self._local.is_dir()
            return bool(self.filesystem.get_file_info(self.path).type.name == "Directory")

    def refuse_missing_bucket(self) -> None:
        """Refuse a store without the bucket that the URL names.

        Raises:
            DataError: There is none.
        """
        if self._local is not None or not self._is_object_store:
            return
        bucket = self.path.strip("/").partition("/")[0]
        with suppress(OSError):  # some keys open a folder alone
            if self.filesystem.get_file_info(bucket).type.name == "NotFound":
                raise DataError(
                    f"{self}: there is no bucket {bucket} at this store; make it first, or name another one"
                )

    def lacks(self) -> str:
        """Return why there is no manifest, as words after the root's name."""
        if self.has_folder():
            return "holds no manifest"
        return "is a file and no folder" if self.exists("") else "is not there"

    def exists(self, relative: str) -> bool:
        """Return whether a file is there."""
        with self._readable(relative):
            if self._local is not None:
                return (self._local / relative).is_file()
            return bool(self.filesystem.get_file_info(self.full(relative)).type.name == "File")

    def open(self, relative: str) -> Any:
        """Return a `pyarrow.NativeFile` to read from.

        Raises:
            DataError: It is not there, lies outside of the folder, or cannot be read.
        """
        if self._local is not None:
            self._inside(self._local / relative)
        try:
            return self.filesystem.open_input_file(self.full(relative))
        except FileNotFoundError:
            raise DataError(
                f"{self.full(relative)}: the file is missing though the manifest lists it; restore or import it again"
            ) from None
        except OSError as error:
            raise DataError(f"{self.full(relative)}: cannot be opened: {self._told(error)}") from error

    def read(self, relative: str) -> bytes | None:
        """Return a file's bytes, None when it is not there.

        Raises:
            DataError: It is there and cannot be read.
        """
        if self._local is not None:
            if not self.exists(relative):
                return None
            with self._readable(relative):
                return self._inside(self._local / relative).read_bytes()
        with self._readable(relative):
            try:
                file = self.filesystem.open_input_file(self.full(relative))
            except FileNotFoundError:
                return None
            with file:
                return bytes(file.read())

    def files(self) -> list[str]:
        """Return every file below the root, relative to it, sorted.

        A collector's own files are left out, and folders that are links are not entered.
        """
        if self._local is not None:
            found = (Path(folder) / name for folder, _, names in os.walk(self._local) for name in names)
            ours = (path.relative_to(self._local) for path in found if path.is_file())
            return sorted(path.as_posix() for path in ours if path.parts[0] != WORK)
        from pyarrow import fs

        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=True)
        with self._readable():
            listed = [info.path for info in self.filesystem.get_file_info(selector) if info.is_file]
        return sorted(str(PurePosixPath(path).relative_to(self.path)) for path in listed)

    @contextmanager
    def _readable(self, relative: str = "") -> Iterator[None]:
        """Turn a file system's refusal into a DataError that names the place."""
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.full(relative)}: cannot be read: {self._told(error)}") from error

    # Writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def translated(self, relative: str = "") -> Iterator[None]:
        """Turn a file system's refusal (no space, no permission) into a DataError that names the place."""
        try:
            yield
        except OSError as error:
            remedy = "" if refusal(str(error)) else f"; {advice(error)}"
            raise DataError(f"{self.full(relative)}: cannot be written: {self._told(error)}{remedy}") from error

    def staging(self) -> Path:
        """Make a fresh local folder to write files in before they are published.

        Raises:
            ConfigError: The root is not there and has a name that not every machine takes.
            DataError: It cannot be made.
        """
        with self.translated():
            if self._local is None:
                # Said now rather than after an hour's import.
                self.refuse_missing_bucket()
                return Path(tempfile.mkdtemp(prefix="quantkit-"))
            check_new(self._local)
            self._local.mkdir(parents=True, exist_ok=True)
            # On the root's own file system, since a rename is atomic only within one.
            return Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=self._local))

    def publish(self, staged: Path, relative: str, sha256: str = "") -> None:
        """Let a finished, synced local file appear under `relative`, in place of what may be there.

        Args:
            staged: The file, in a folder of `staging`.
            relative: Its name from now on.
            sha256: Its digest as it was sealed; what is uploaded has to agree with it.

        Raises:
            DataError: The file system refuses, a link leads out of the folder, the file is not what was sealed, or
                another writer has replaced a guarded file.
        """
        if self._local is None:
            self._upload(staged, relative, sha256)
            return
        with self.translated(relative):
            target = self._local / relative
            self._inside(target, of=target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)

    def _upload(self, staged: Path, relative: str, sha256: str) -> None:
        """Upload a file once under another name, look at it, and have the store move it to its own."""
        # Random like the local folder's, so that two writers do not meet there; and no folder, which some stores would
        # keep as an object when it is empty again.
        aside = self.full(f"{STAGING_PREFIX}{staged.parent.name}-{staged.name}")
        with self.translated(relative):
            try:
                digest = self._send(staged, aside)
                size = self.filesystem.get_file_info(aside).size
                if size != staged.stat().st_size or (sha256 and digest != sha256):
                    raise DataError(
                        f"{self.full(relative)}: what was uploaded is not what was sealed ({size} bytes); nothing has "
                        "changed, write it again"
                    )
                content = staged.read_bytes() if self._is_guarded(relative) else b""
                self._refuse_other_writer(relative)
                self._make_folder(relative)
                self.filesystem.move(aside, self.full(relative))
                if content:
                    self._look_again(relative, content)
            except BaseException:
                # An output stream that is left publishes what it has: here that is a name that nobody reads.
                with suppress(OSError):
                    self.filesystem.delete_file(aside)
                raise

    def _send(self, staged: Path, target: str) -> str:
        """Upload a file and return the digest of what was sent."""
        digest = hashlib.sha256()
        if not self._is_object_store:
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with staged.open("rb") as source, self.filesystem.open_output_stream(target) as sink:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                sink.write(chunk)
        return digest.hexdigest()

    @property
    def _is_object_store(self) -> bool:
        # Folders there would be objects without a content, which listings show.
        return self.filesystem.type_name in _OBJECT_STORES

    def _make_folder(self, relative: str) -> None:
        if not self._is_object_store:
            self.filesystem.create_dir(self.full(relative).rpartition("/")[0], recursive=True)

    def _is_guarded(self, relative: str) -> bool:
        return self._guarded is not None and self._guarded[0] == relative

    def _refuse_other_writer(self, relative: str) -> None:
        if self._guarded is None or self._guarded[0] != relative or self.read(relative) == self._guarded[1]:
            return
        raise DataError(
            f"{self.full(relative)}: another writer has replaced it meanwhile; nothing of these rows has become "
            "visible. Let one writer at a time into an object store, and write them again"
        )

    def _look_again(self, relative: str, content: bytes) -> None:
        """Refuse to have written if another writer did so at the same moment, without what this one wrote."""
        there = self.read(relative)
        if there == content or set(content.splitlines()) <= set((there or b"").splitlines()):
            return
        raise DataError(
            f"{self.full(relative)}: another writer replaced it at the same moment, and its rows are the visible ones; "
            "let one writer at a time into an object store, and write these again"
        )

    def remove(self, relative: str) -> None:
        """Delete a file; one that is gone already is fine.

        Raises:
            DataError: The file system refuses, or a link leads out of the folder.
        """
        with self.translated(relative):
            if self._local is not None:
                target = self._local / relative
                self._inside(target, of=target.parent).unlink(missing_ok=True)
            elif self.exists(relative):
                self.filesystem.delete_file(self.full(relative))

    def sync(self, relatives: list[str]) -> None:
        """Make the folders' entries durable: those of the files and of every folder up to the root.

        Raises:
            DataError: The file system refuses.
        """
        # An object store's upload is durable when it returns.
        if self._local is None:
            return
        folders = {self._local}
        for relative in relatives:
            folders.update(self._local / parent for parent in PurePosixPath(relative).parents)
        with self.translated():
            for folder in sorted(folders, reverse=True):
                sync_folder(folder)

    @contextmanager
    def locked(self, relative: str = "") -> Iterator[None]:
        """Hold off other local writers of the same root while a file is read and replaced; elsewhere, notice them.

        Args:
            relative: The file, which is read anew within.
        """
        if self._local is None:
            self._guarded = (relative, self.read(relative)) if relative else None
            try:
                yield
            finally:
                self._guarded = None
            return
        with self.translated(_LOCK):
            self._local.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._local / _LOCK, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        try:
            # The system lets go of the lock with the process, so a killed writer blocks nobody.
            with self.translated(_LOCK):
                _lock(descriptor)
            yield
        finally:
            os.close(descriptor)


def _patient(uri: str, scheme: str) -> str:
    """Return a URI that bounds how long a dead store of Google's is asked again: for a quarter of an hour else."""
    if scheme not in ("gs", "gcs") or "retry_limit_seconds" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={_RETRY_S}"


def advice(error: OSError, otherwise: str = "free space or permit it") -> str:
    """Return what to do about a file system's refusal.

    Examples:
        >>> advice(NotADirectoryError()), advice(PermissionError())
        ('a file lies where a folder should be; name another folder', 'free space or permit it')
    """
    is_file = isinstance(error, FileExistsError | NotADirectoryError)
    return "a file lies where a folder should be; name another folder" if is_file else otherwise


def first_line(error: BaseException) -> str:
    """Return an exception's text cut to its first line, for use inside another message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
