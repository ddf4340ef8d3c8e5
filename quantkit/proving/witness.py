"""What a strategy reaches for by itself: files, data, the network, other processes."""

import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from quantkit.proving.frames import UserFrames

#: Tables hold rows of times; what else lies in files may be a setting or a fitted model.
_TABLES: Final = frozenset(
    (".arrow", ".csv", ".db", ".duckdb", ".feather", ".h5", ".hdf5", ".orc", ".parquet", ".sqlite", ".tsv", ".xlsx")
)
_PACKED: Final = frozenset((".bz2", ".gz", ".xz", ".zip", ".zst"))
#: Files of Python and of the machine, which are the same in each run.
_MACHINE: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    | {sys.prefix, sys.base_prefix, "/usr/share", "/usr/lib", "/proc", "/sys", "/dev", "/etc"}
)
_CODE: Final = frozenset((".py", ".pyc", ".so", ".pyd", ".pth"))
_NETWORK: Final = frozenset(
    ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
)
_PROCESSES: Final = frozenset(("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.startfile"))
_LISTINGS: Final = frozenset(("os.listdir", "os.scandir"))
#: Events with a path as their first argument.
_FILES: Final = frozenset(("open", "quantkit.reader", "sqlite3.connect"))
#: Functions of libraries that open files without Python's knowledge, by module.
_READERS: Final[dict[str, tuple[str, ...]]] = {
    "pyarrow": ("memory_map", "OSFile", "input_stream"),
    "pyarrow.parquet": ("read_table", "read_pandas", "ParquetFile", "ParquetDataset", "read_metadata"),
    "pyarrow.dataset": ("dataset", "parquet_dataset"),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.csv": ("read_csv", "open_csv"),
    "polars": ("read_parquet", "scan_parquet", "read_csv", "scan_csv", "read_ipc", "scan_ipc", "read_database"),
    "duckdb": ("connect", "sql", "query", "execute", "read_parquet", "read_csv", "from_parquet", "from_csv_auto"),
    "fastparquet": ("ParquetFile",),
    "h5py": ("File",),
}


class Reach(msgspec.Struct, frozen=True):
    """One thing that a strategy reached for.

    Attributes:
        kind: `data` (of the data folder), `table`, `file`, `written`, `network` or `process`.
        target: Path or address.
        place: Where in the strategy.
    """

    kind: str
    target: str
    place: str


class Witness:
    """Notes what a strategy opens, and keeps it off the network.

    Args:
        frames: Tells the strategy's code from all other.
        data: The data folder; None where the data lie elsewhere.
        home: What paths are shown relative to.

    Attributes:
        seen: By kind and target, each once, in order.
    """

    def __init__(self, frames: UserFrames, data: Path | None, home: Path) -> None:
        self.seen: dict[tuple[str, str], Reach] = {}
        self._frames = frames
        self._data = None if data is None else data.resolve()
        self._home = home

    def listen(self) -> None:
        """Begin, for the rest of the process."""
        sys.addaudithook(self._hear)

    def watch_readers(self, text: str) -> None:
        """Let readers of libraries say what they open: of those that are loaded, or that the strategy's text names."""
        for module, names in _READERS.items():
            if module not in sys.modules and not (
                module.partition(".")[0] in text and importlib.util.find_spec(module.partition(".")[0])
            ):
                continue
            loaded = importlib.import_module(module)
            for name in names:
                real = getattr(loaded, name, None)
                if callable(real) and not hasattr(real, "__wrapped_reader__"):
                    setattr(loaded, name, _telling(real))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILES:
            mode = arguments[1] if event == "open" and len(arguments) > 1 else "r"
            flags = arguments[2] if event == "open" and len(arguments) > 2 else 0
            self._open(arguments[0], mode, flags)
        elif event in _LISTINGS:
            self._open(arguments[0] or ".", "r", 0, is_listing=True)
        elif event in _NETWORK:
            self._refuse_network(event, arguments)
        elif event in _PROCESSES:
            frame = self._frames.caller()
            if frame is not None:
                self._note("process", str(arguments[0])[:100], self._frames.place(frame))

    def _open(self, path: Any, mode: Any, flags: Any, *, is_listing: bool = False) -> None:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str | os.PathLike):
            return  # a file that is open already
        frame = self._frames.caller()
        if frame is None:
            return
        where = Path(os.path.realpath(path))
        kind = self._kind(where, mode, flags)
        if kind and not (is_listing and kind != "data"):
            self._note(kind, self._shown(where), self._frames.place(frame))

    def _kind(self, path: Path, mode: Any, flags: Any) -> str:
        if self._data is not None and path.is_relative_to(self._data):
            return "data"
        if path.suffix in _CODE or str(path).startswith(_MACHINE):
            return ""
        is_written = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        if not isinstance(mode, str) and isinstance(flags, int):
            is_written = bool(flags & (os.O_WRONLY | os.O_RDWR))
        if is_written:
            return "written"
        suffixes = [suffix for suffix in path.suffixes if suffix not in _PACKED]
        return "table" if suffixes and suffixes[-1] in _TABLES else "file"

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._home) if path.is_relative_to(self._home) else path)

    def _refuse_network(self, event: str, arguments: tuple[Any, ...]) -> None:
        frame = self._frames.caller()
        if frame is None:
            return
        target = arguments[1] if event in ("socket.connect", "socket.sendto", "socket.bind") else arguments[0]
        self._note("network", str(target)[:100], self._frames.place(frame))
        raise PermissionError("a strategy that is checked has no network")

    def _note(self, kind: str, target: str, place: str) -> None:
        self.seen.setdefault((kind, target), Reach(kind, target, place))


def _telling(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that says what it is given before it opens it."""
    if isinstance(real, type):

        class Telling(real):  # type: ignore[misc, valid-type]  # a class of a library without types
            __wrapped_reader__ = True
            __wrapped__ = real

            def __init__(self, *arguments: Any, **named: Any) -> None:
                _tell(arguments, named)
                super().__init__(*arguments, **named)

        Telling.__name__, Telling.__qualname__ = real.__name__, real.__qualname__
        return Telling

    def telling(*arguments: Any, **named: Any) -> Any:
        _tell(arguments, named)
        return real(*arguments, **named)

    vars(telling).update(__wrapped_reader__=True, __wrapped__=real)
    return telling


def _tell(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    for value in (*arguments[:1], *named.values()):
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, str | os.PathLike):
                sys.audit("quantkit.reader", each)
