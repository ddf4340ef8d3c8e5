"""The bytes of a strategy's code: its file and the modules beside it."""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from quantkit.errors import ConfigError

#: Folders of installed packages, in which a strategy has nothing but its own package.
_INSTALLED: Final = ("site-packages", "dist-packages")


class NotRecordedError(ConfigError):
    """A module is not the one that a run was recorded with."""


class Source(NamedTuple):
    """A file of code, and the bytes of it that ran or will run."""

    file: Path
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


def read_source(file: Path) -> Source:
    """Return a file with its bytes.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return Source(file.absolute(), file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error


class _Loader(SourceFileLoader):
    """Runs bytes read before, whatever the file or Python's compiled copy of it holds now."""

    def __init__(self, name: str, source: Source) -> None:
        super().__init__(name, str(source.file))
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        """Compile the bytes."""
        code: CodeType = self.source_to_code(self.source.content, self.path)
        return code


class Code(NamedTuple):
    """A strategy's code.

    Attributes:
        own: The file that its class stands in.
        place: Where that lies below the folder in which its imports begin.
        beside: The loaded modules that lie there too, by their path below that folder.
    """

    own: Source
    place: PurePosixPath
    beside: dict[str, Source]

    @property
    def by_place(self) -> dict[str, bytes]:
        """The bytes of all files by their path, the own one first."""
        return {str(self.place): self.own.content, **{place: source.content for place, source in self.beside.items()}}


class _Beside(MetaPathFinder):
    """Finds the modules of one folder before all others, and compares their digests with recorded ones."""

    def __init__(self, root: Path, package: str, recorded: Mapping[str, str] | None) -> None:
        self._root = root
        self._package = package
        self._recorded = recorded

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module of the folder is loaded, None for one from elsewhere.

        Raises:
            NotRecordedError: The module's bytes are not those that were recorded.
        """
        if not _may_lie_in(self._root, self._package, fullname):
            return None
        places = [str(self._root)]
        if path is not None:
            places = [place for place in path if _place_in(self._root, Path(place), fullname) is not None]
        spec = PathFinder.find_spec(fullname, places) if places else None
        if spec is None or spec.origin is None or not spec.has_location:
            return None  # a folder without code gives way to a package of its name that lies elsewhere
        source = read_source(Path(spec.origin))
        if self._recorded is not None:
            digest = self._recorded.get(str(_place_in(self._root, source.file, fullname)))
            if digest is None:
                raise NotRecordedError(f"{source.file} is imported, but the run did not record it")
            if digest != source.digest:
                raise NotRecordedError(f"{source.file} has changed since the run was recorded")
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, source)
        return spec


@contextmanager
def importing_from(folder: Path, module: str, recorded: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let modules that lie in a folder be imported, as Python does for the script it runs.

    Args:
        folder: Where they lie.
        module: The one that is loaded, whose imports are meant.
        recorded: SHA-256 digests by path below the folder. Only these are loaded from there then.
    """
    root = folder.resolve()
    finder = _Beside(root, module.partition(".")[0], recorded)
    finders = [type(found) if not isinstance(found, type) else found for found in sys.meta_path]
    sys.meta_path.insert(finders.index(PathFinder) if PathFinder in finders else len(finders), finder)
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
        sys.meta_path.remove(finder)


def spec_of(name: str, source: Source) -> ModuleSpec:
    """Return how a file's bytes are loaded as a module."""
    spec = spec_from_file_location(name, source.file, loader=_Loader(name, source))
    assert spec is not None
    return spec


#: Classes whose module may be replaced in `sys.modules` by another file of the same name.
_sources: WeakKeyDictionary[type, Source] = WeakKeyDictionary()


def remember(kind: type, source: Source) -> None:
    """Remember the bytes that made a class."""
    _sources[kind] = source


def source_of_class(kind: type) -> Source | None:
    """Return the file that a class stands in, None for one typed into a notebook or a shell."""
    held = _sources.get(kind)
    return held or _source_of_module(sys.modules.get(kind.__module__))


def _source_of_module(module: ModuleType | None) -> Source | None:
    loader = _loader_of(module)
    if isinstance(loader, _Loader):
        return loader.source
    file = getattr(module, "__file__", None)
    return read_source(Path(file)) if file and Path(file).is_file() else None


def place_of(file: Path, module: str) -> PurePosixPath:
    """Return where a module's file lies below the folder that its imports begin in.

    Examples:
        >>> str(place_of(Path("/home/me/mine.py"), "mine")), str(place_of(Path("/home/me/pkg/deep.py"), "pkg.deep"))
        ('mine.py', 'pkg/deep.py')
    """
    parts = module.split(".")
    wanted = (*parts, "__init__.py") if file.name == "__init__.py" else (*parts[:-1], f"{parts[-1]}.py")
    found = file.parts[-len(wanted) :]
    return PurePosixPath(*found) if found == wanted else PurePosixPath(file.name)


def code_of(kind: type) -> Code | None:
    """Return the code of a class, None for one typed into a notebook or a shell."""
    own = source_of_class(kind)
    if own is None:
        return None
    file = own.file.resolve()
    place = place_of(file, kind.__module__)
    root = file.parents[len(place.parts) - 1]
    beside = {}
    # To find where a file lies takes the file system long; most modules have a name that nothing in the folder has.
    there = _names_in(root)
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        is_candidate = there is None or name.partition(".")[0] in there or isinstance(_loader_of(module), _Loader)
        if is_candidate and isinstance(origin, str) and _may_lie_in(root, place.parts[0], name):
            below = _place_in(root, Path(origin), name)
            if below is not None and below != place and (source := _source_of_module(module)) is not None:
                beside[below.as_posix()] = source
    return Code(own, place, dict(sorted(beside.items())))


def _names_in(folder: Path) -> set[str] | None:
    """Return what is in a folder, each up to its first dot; None of a folder that is gone or cannot be read."""
    try:
        return {path.name.partition(".")[0] for path in folder.iterdir()}
    except OSError:
        return None


def _loader_of(module: ModuleType | None) -> object:
    return getattr(module, "__loader__", None)


def _may_lie_in(root: Path, package: str, module: str) -> bool:
    """Return whether a module in a folder may be a strategy's; what is installed is not, nor is quantkit itself."""
    name = module.partition(".")[0]
    return name != "quantkit" and (root.name not in _INSTALLED or name == package)


def _place_in(root: Path, path: Path, module: str) -> PurePosixPath | None:
    """Return where a module's file or folder lies below a root in which its first name stands, None elsewhere."""
    # A link below the root is what it is called there; the root itself may have been reached by a link.
    for whole in (path.absolute(), path.resolve()):
        if whole.is_relative_to(root):
            below = whole.relative_to(root)
            is_ours = bool(below.parts) and below.parts[0].partition(".")[0] == module.partition(".")[0]
            return PurePosixPath(below.as_posix()) if is_ours else None
    return None
