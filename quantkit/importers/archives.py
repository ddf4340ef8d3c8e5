"""Opening foreign files: gzip, zstd, zip and tar by their first bytes, however nested, within limits.

Nothing is unpacked to a path that an archive names: its members are read as streams, and their names only label
messages and tell symbols. Memory stays small whatever an archive claims; what unpacks to far more than it holds is
refused as soon as that shows.
"""

import gzip
import io
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, cast

from quantkit.errors import ConfigError, DataError


def _faster_zlib() -> Any:
    """Return ISA-L's module, which inflates in a third of zlib's time; None on platforms that it has no wheel for."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


_ISAL: Final = _faster_zlib()
_CORRUPTION: Final[tuple[type[Exception], ...]] = (
    zlib.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    *(() if _ISAL is None else (_ISAL.error,)),
)
#: What reading a damaged or cut file raises.
DAMAGE: Final[tuple[type[Exception], ...]] = (EOFError, *_CORRUPTION)
_HEAD_BYTES: Final = 512
_READ_BYTES: Final = 1 << 18
_BUFFER_BYTES: Final = 1 << 16
#: What is unpacked in one step. Of a zstd file that ends early the last step is lost.
_STEP_BYTES: Final = 1 << 18
_ZSTD_STEP_BYTES: Final = 1 << 14
_TAR_MARK: Final = slice(257, 262)
#: Members that no vendor means as data.
_NO_DATA: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_NAME_CHARS: Final = 120


class Limits(NamedTuple):
    """What an archive may hold.

    Attributes:
        members: Files in one archive.
        depth: Layers of packing around one file.
        ratio: Unpacked bytes to packed ones; tables of dead markets pack some 40 times.
        free_bytes: So much is unpacked whatever the ratio.
        unpacked_bytes: Of one file.
    """

    members: int = 20_000
    depth: int = 4
    ratio: int = 250
    free_bytes: int = 16 << 20
    unpacked_bytes: int = 256 << 30


class _Layer(NamedTuple):
    """One packing: its kind, and in an archive the member's place."""

    kind: str
    member: int = -1


class ForeignFile:
    """One file of data, plain or packed, that can be read more than once.

    Args:
        path: Where the outermost file lies.
        name: For messages: the path, with the members that lead to it after `!`.
        layers: From the outermost on.
        budget: So many bytes may be unpacked.
        packed: How large the outermost file is.
    """

    def __init__(
        self, path: Path, name: str, *, packed: int, budget: int, layers: tuple[_Layer, ...] = (), limits: Limits
    ) -> None:
        self.path = path
        self.name = name
        self.packed = packed
        self.budget = budget
        self._layers = layers
        self._limits = limits

    @classmethod
    def of(cls, path: Path, limits: Limits | None = None) -> "ForeignFile":
        """Return a file on disk, as it lies there.

        Raises:
            ConfigError: It cannot be read.
        """
        limits = limits or Limits()
        try:
            packed = path.stat().st_size
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        budget = min(max(limits.free_bytes, limits.ratio * packed), limits.unpacked_bytes)
        return cls(path, str(path), packed=packed, budget=budget, limits=limits)

    def __str__(self) -> str:
        return self.name

    def renamed(self, name: str) -> "ForeignFile":
        """Return the same file under another name for messages."""
        return ForeignFile(
            self.path, name, packed=self.packed, budget=self.budget, layers=self._layers, limits=self._limits
        )

    @property
    def leaf(self) -> str:
        """The name of the innermost file, without folders."""
        return self.name.rpartition("!")[2].replace("\\", "/").rpartition("/")[2]

    @property
    def is_plain(self) -> bool:
        """Whether the bytes lie on disk as they are."""
        return not self._layers

    @property
    def depth(self) -> int:
        """How many layers of packing there are."""
        return len(self._layers)

    def inside(self, kind: str, member: int = -1, name: str = "", budget: int | None = None) -> "ForeignFile":
        """Return what this file packs."""
        return ForeignFile(
            self.path,
            f"{self.name}!{shown_name(name)}" if name else self.name,
            packed=self.packed,
            budget=self.budget if budget is None else min(budget, self.budget),
            layers=(*self._layers, _Layer(kind, member)),
            limits=self._limits,
        )

    @contextmanager
    def opened(self) -> Iterator[tuple[BinaryIO, BinaryIO]]:
        """Open the file.

        Yields:
            The unpacked bytes, and the outermost file itself, whose position tells how far reading has come.

        Raises:
            ConfigError: It cannot be read.
            DataError: It unpacks to more than the limits allow.
        """
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(self.path.open("rb"))
            except OSError as error:
                raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
            stream: BinaryIO = raw
            for layer in self._layers:
                unpacked = self._unpacked(stream, layer, stack)
                step = _ZSTD_STEP_BYTES if layer.kind == "zstd" else _STEP_BYTES
                metered = _Metered(unpacked, self.name, self.packed, self.budget, step)
                stream = cast(BinaryIO, stack.enter_context(io.BufferedReader(metered, _BUFFER_BYTES)))
            yield stream, raw

    def _unpacked(self, stream: BinaryIO, layer: _Layer, stack: ExitStack) -> Any:
        if layer.kind == "gzip":
            return stack.enter_context(gzip.GzipFile(fileobj=stream))
        if layer.kind == "zstd":
            import pyarrow as pa

            return stack.enter_context(pa.CompressedInputStream(stream, "zstd"))
        if layer.kind == "zip":
            archive = stack.enter_context(zipfile.ZipFile(_seekable(stream, stack)))
            return stack.enter_context(_inflated(archive, archive.infolist()[layer.member]))
        # A file on disk can be read from any place, an unpacked stream only in order.
        mode: Any = "r|" if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, _Metered) else "r:"
        members = stack.enter_context(tarfile.open(fileobj=stream, mode=mode))  # noqa: SIM115  the stack closes it
        for index, member in enumerate(members):
            if index == layer.member:
                return stack.enter_context(cast(BinaryIO, members.extractfile(member)))
        raise EOFError("the archive ends early")

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Give a path under which the unpacked bytes can be read from any place."""
        if self.is_plain:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="quantkit-") as folder:
            path = Path(folder) / "unpacked"
            with self.opened() as (stream, _), path.open("wb") as copy:
                while part := stream.read(_READ_BYTES):
                    copy.write(part)
            yield path


class _Metered(io.RawIOBase):
    """Reads through to a decompressor, and ends with an error where more comes out than a file may hold."""

    def __init__(self, source: Any, name: str, packed: int, budget: int, step: int) -> None:
        super().__init__()
        self._read = getattr(source, "read1", source.read)
        self._name = name
        self._packed = packed
        self._budget = budget
        self._step = step
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # One step of unpacking at a time: of a file that ends early everything before its end is read.
            part = self._read(min(len(buffer), self._step))
        except EOFError:
            raise  # what came before the end is whole
        except _CORRUPTION as error:
            # Bits were changed somewhere: rows that look right may be wrong.
            raise DataError(f"{self._name} is damaged ({error}); download it again") from None
        except OSError as error:  # of zstd, which does not tell an early end from other damage
            raise EOFError(str(error)) from error
        except (RuntimeError, NotImplementedError) as error:  # of zip: encrypted, or a method of its own
            raise DataError(f"{self._name} cannot be unpacked: {error}") from None
        self._done += len(part)
        if self._done > self._budget:
            raise DataError(
                f"{self._name} unpacks to more than {self._budget:,} bytes, while the file has {self._packed:,}: no "
                "table packs that small; unpack it yourself if you trust it"
            )
        buffer[: len(part)] = part
        return len(part)


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """Open a member of a zip archive, inflated by ISA-L where it is at hand."""
    opened: Any = archive.open(member)
    if _ISAL is not None and member.compress_type == zipfile.ZIP_DEFLATED:
        # zipfile lets nobody choose; a Python that calls it otherwise goes on inflating by itself.
        opened._decompressor = _ISAL.decompressobj(-zlib.MAX_WBITS)
    return opened


def _seekable(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Return a stream that can be read from any place: the file itself, or a copy on disk of what is unpacked."""
    if not isinstance(stream.raw if isinstance(stream, io.BufferedReader) else None, _Metered):
        return stream
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    while part := stream.read(_READ_BYTES):
        copy.write(part)
    copy.seek(0)
    return cast(BinaryIO, copy)


def shown_name(name: str) -> str:
    """Return a member's name as a message may show it: no control characters, and no end in sight cut off.

    Examples:
        >>> shown_name("a/b.csv"), shown_name("a\\x1b[2J.csv"), shown_name("../../etc/passwd")
        ('a/b.csv', 'a?[2J.csv', '../../etc/passwd')
    """
    plain = "".join(character if character.isprintable() and character != "!" else "?" for character in name)
    return plain if len(plain) <= _NAME_CHARS else f"{plain[: _NAME_CHARS // 2]}...{plain[-_NAME_CHARS // 2 :]}"


class Unpacked(NamedTuple):
    """What files hold.

    Attributes:
        files: The data files, in the order of the paths and of their archives.
        left_out: Members that are no files, by what they are, counted.
    """

    files: list[ForeignFile]
    left_out: dict[str, int]


class Unpacker:
    """Finds the data files in given files; keeps what has to lie on disk for the time of an import.

    Args:
        limits: Of archives.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._stack = ExitStack()
        self._left_out: dict[str, int] = {}

    def __enter__(self) -> "Unpacker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new_path(self) -> Path:
        """Return the path of a file of one's own, which lives as long as the import."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="quantkit-"))) / "made"

    def unpacked(self, paths: Sequence[Path]) -> Unpacked:
        """Return the data files in some files, packed or plain.

        Raises:
            ConfigError: A file cannot be read.
            DataError: An archive is damaged, encrypted or beyond the limits.
        """
        self._left_out = {}
        files = [file for path in paths for file in self._walk(ForeignFile.of(path, self.limits))]
        return Unpacked(files, self._left_out)

    def _walk(self, file: ForeignFile) -> Iterator[ForeignFile]:
        if file.depth > self.limits.depth:
            raise DataError(f"{file} is packed more than {self.limits.depth} times over; unpack it first")
        try:
            with file.opened() as (stream, _):
                head = stream.read(_HEAD_BYTES)
        except DAMAGE:
            yield file  # the reading itself tells of damage, with what could be read before it
            return
        if head.startswith(b"\x1f\x8b"):
            yield from self._walk(file.inside("gzip"))
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            yield from self._walk(file.inside("zstd"))
        elif head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from self._walk_zip(file)
        elif head[_TAR_MARK] == b"ustar":
            yield from self._walk_tar(file)
        else:
            yield file

    def _walk_zip(self, file: ForeignFile) -> Iterator[ForeignFile]:
        with ExitStack() as stack:
            stream, _ = stack.enter_context(file.opened())
            try:
                size = os.fstat(stream.fileno()).st_size if file.is_plain else file.budget
                archive = stack.enter_context(zipfile.ZipFile(_seekable(stream, stack)))
                members = archive.infolist()
            except DAMAGE as error:
                raise DataError(f"{file} is a damaged zip archive ({error}); download it again") from None
        names = {member.filename for member in members}
        if not names:
            self._leave_out("archives without files")
        if "[Content_Types].xml" in names or (names and all(name.endswith(".npy") for name in names)):
            yield file  # an Excel file, or numpy's arrays
            return
        self._check_count(file, len(members))
        if sum(member.compress_size for member in members) > size:
            raise DataError(f"{file} is a zip archive whose members overlap; it is no honest archive")
        for index, member in enumerate(members):
            if member.is_dir():
                continue
            if member.flag_bits & 1:
                raise DataError(f"{file}!{shown_name(member.filename)} is encrypted; unpack it first")
            if _is_no_data(member.filename):
                self._leave_out("files of the operating system in archives")
                continue
            if member.external_attr >> 28 == 0o12:
                self._leave_out("links in archives, which are not followed")
                continue
            budget = max(self.limits.free_bytes, self.limits.ratio * member.compress_size)
            yield from self._walk(file.inside("zip", index, member.filename, budget))

    def _walk_tar(self, file: ForeignFile) -> Iterator[ForeignFile]:
        members: list[tuple[int, str]] = []
        try:
            with file.opened() as (stream, _), tarfile.open(fileobj=stream, mode="r|") as archive:
                for index, member in enumerate(archive):
                    self._check_count(file, index + 1)
                    if member.isreg() and _is_no_data(member.name):
                        self._leave_out("files of the operating system in archives")
                    elif member.isreg():
                        members.append((index, member.name))
                    elif not member.isdir():
                        self._leave_out("links in archives, which are not followed")
        except DAMAGE as error:
            if not members:
                raise DataError(f"{file} is a damaged tar archive ({error}); download it again") from None
        if len(members) > 1 and not file.is_plain:
            # Each member of a stream is read from its beginning: a plain copy spares unpacking it over and over.
            path = self._stack.enter_context(file.on_disk())
            file = ForeignFile(path, file.name, packed=file.packed, budget=file.budget, limits=self.limits)
        for index, name in members:
            yield from self._walk(file.inside("tar", index, name))

    def _check_count(self, file: ForeignFile, count: int) -> None:
        if count > self.limits.members:
            raise DataError(f"{file} holds more than {self.limits.members:,} files; unpack those that you need")

    def _leave_out(self, what: str) -> None:
        self._left_out[what] = self._left_out.get(what, 0) + 1


def _is_no_data(name: str) -> bool:
    return name.startswith(_NO_DATA[0]) or name.replace("\\", "/").rpartition("/")[2] in _NO_DATA[1:]
