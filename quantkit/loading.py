"""Finding a strategy's class from what a user writes: a file, a name in `strategies/`, or `module:Class`."""

import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from quantkit.errors import ConfigError
from quantkit.strategy import Strategy

#: Where a bare strategy name is looked for.
STRATEGY_FOLDER = "strategies"


def build_strategy(strategy: Strategy | type[Strategy] | str, params: Mapping[str, Any] | None) -> Strategy:
    if isinstance(strategy, Strategy):
        if params:
            raise ConfigError("params go with a strategy class; this one is built already")
        return strategy
    kind: Any = load_strategy(strategy) if isinstance(strategy, str) else strategy
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise ConfigError(f"{kind!r} is no Strategy; pass a subclass of quantkit.Strategy")
    try:
        built: Strategy = kind(**dict(params or {}))
    except TypeError as error:
        raise ConfigError(
            f"{kind.__name__} cannot be built: {error}; parameters are annotated class attributes, not arguments of "
            "an __init__ of its own"
        ) from error
    return built


def load_strategy(text: str) -> type[Strategy]:
    """Return the Strategy class that a text names.

    Args:
        text: A Python file, the name of one in `./strategies`, or `module:Class` (or `file.py:Class`).

    Raises:
        ConfigError: It is not there, does not import, or holds no Strategy or several.
    """
    path, _, class_name = text.rpartition(":") if _names_class(text) else (text, "", "")
    if not path.strip():
        raise ConfigError("the strategy has no name; give a file, a name in strategies, or module:Class")
    file = _find_file(path)
    module = _import_file(file) if file is not None else _import_module(path)
    where = str(file) if file is not None else path
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value is not Strategy
        and value.__module__ == module.__name__
    }
    if class_name:
        value = getattr(module, class_name, None)
        if not (isinstance(value, type) and issubclass(value, Strategy)):
            raise ConfigError(f"{where} has no Strategy {class_name!r}{_hint(class_name, list(found))}")
        return value
    if not found:
        raise ConfigError(f"{where} holds no subclass of quantkit.Strategy; write one, or name another file")
    if len(found) > 1:
        names = ", ".join(found)
        raise ConfigError(f"{where} holds several strategies ({names}); say which: {text}:{next(iter(found))}")
    return next(iter(found.values()))


def _names_class(text: str) -> bool:
    # A drive letter's colon stands second; a class name is an identifier after the last one.
    head, colon, tail = text.rpartition(":")
    return bool(colon) and len(head) > 1 and tail.isidentifier()


def _find_file(path: str) -> Path | None:
    """Return the file that a text means, None where it can only be a module."""
    file = Path(path)
    if file.suffix == ".py" or "/" in path or "\\" in path:
        if not file.is_file():
            raise ConfigError(f"strategy file {path} is not there; give a path to a Python file")
        return file
    named = Path(STRATEGY_FOLDER) / f"{path}.py"
    if named.is_file():
        return named
    if "." not in path and not _is_module(path):
        there = sorted(f.stem for f in Path(STRATEGY_FOLDER).glob("*.py")) if Path(STRATEGY_FOLDER).is_dir() else []
        if not there:
            raise ConfigError(
                f"strategy {path!r} is no file or module, and there is no folder {STRATEGY_FOLDER} here; name a file, "
                "go to a clone of the repository for the examples, or start one: quantkit new my_strategy"
            )
        raise ConfigError(
            f"strategy {path!r} is neither in ./{STRATEGY_FOLDER} nor a file or a module{_hint(path, there)}"
        )
    return None


def _is_module(name: str) -> bool:
    with _importing_from(Path()):
        try:
            return importlib.util.find_spec(name) is not None
        except ValueError:  # a module that runs as a script has no spec
            return False


def _hint(name: str, there: list[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(there) or 'none'}"


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let modules that lie in a folder be imported, as Python does for the script it runs."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _import_file(file: Path) -> ModuleType:
    # A file may be called anything; the module that it becomes needs a name without dots, which would be packages.
    name = "".join(c if c.isalnum() else "_" for c in file.stem)
    loader = importlib.machinery.SourceFileLoader(f"quantkit_strategy_{name}", str(file.absolute()))
    spec = importlib.util.spec_from_file_location(loader.name, loader.path, loader=loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Pickling and dataclasses look a class's module up by name; a second load of the file replaces the first.
    sys.modules[spec.name] = module
    try:
        with _importing_from(file.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise _import_error(str(file), error) from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        with _importing_from(Path()):
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(f"module {name}", error) from error


def _import_error(where: str, error: BaseException) -> ConfigError:
    if isinstance(error, ConfigError):
        return ConfigError(f"{where}: {error}")
    what, place = str(error), ""
    if isinstance(error, SyntaxError) and error.filename:
        what, place = error.msg, f" ({Path(error.filename).name} line {error.lineno})"
    else:
        # The innermost lines of a failed import are Python's own; the user's last one says where to look.
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith("<") and Path(frame.filename).parent.name not in ("quantkit", "importlib"):
                place = f" ({Path(frame.filename).name} line {frame.lineno})"
    return ConfigError(f"{where} does not import: {type(error).__name__}: {what}{place}")


def file_of(kind: type[Strategy]) -> Path | None:
    """Return the file that a strategy's class stands in, None for one typed into a notebook or a shell."""
    try:
        file = inspect.getsourcefile(kind)
    except (TypeError, OSError):
        return None
    return Path(file) if file and Path(file).is_file() else None


def source_of(strategy: Strategy) -> tuple[str, str | None]:
    """Return a strategy's module and class, and the digest of the file it stands in."""
    kind = type(strategy)
    return f"{kind.__module__.removeprefix('quantkit_strategy_')}:{kind.__qualname__}", digest_of(kind)


def digest_of(kind: type[Strategy]) -> str | None:
    """Return the SHA-256 of the file that a strategy's class stands in, None without one."""
    file = file_of(kind)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
