"""A strategy's class from a user's text: a file, a name in `strategies/`, or `module:Class`."""

import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from quantkit.errors import ConfigError
from quantkit.sources import (
    Source,
    importing_from,
    place_of,
    read_source,
    remember,
    source_of_class,
    spec_of,
)
from quantkit.strategy import Strategy, check_built

#: Where a bare strategy name is looked for.
STRATEGY_FOLDER = "strategies"
#: Strategies that stand in the repository and are not installed.
EXAMPLES: Final = ("breakout", "imbalance", "ma_cross", "momentum", "quoter")
_PREFIX: Final = "quantkit_strategy_"

#: What is being loaded, in the thread or the task that loads it.
_loading: ContextVar[str] = ContextVar("quantkit_loading", default="")


def refuse_while_loading(call: str) -> None:
    """Refuse a run started by a strategy's file during its own loading.

    Raises:
        ConfigError: It says where the call belongs.
    """
    if where := _loading.get():
        raise ConfigError(
            f'{call}() is called while {where} is being loaded; put the call under `if __name__ == "__main__":`'
        )


def build_strategy(strategy: Strategy | type[Strategy] | str, params: Mapping[str, Any] | None) -> Strategy:
    if isinstance(strategy, Strategy):
        if params:
            raise ConfigError("params go with a strategy class; this one is built already")
        check_built(strategy)
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
    check_built(built)
    return built


def load_strategy(text: str) -> type[Strategy]:
    """Return the Strategy class that a text names.

    Args:
        text: A Python file, the name of one in `./strategies`, or `module:Class` (or `file.py:Class`).

    Raises:
        ConfigError: The file is missing or does not import, or it holds no Strategy or several.
    """
    path, _, class_name = text.rpartition(":") if _names_class(text) else (text, "", "")
    if not path.strip():
        raise ConfigError("the strategy has no name; give a file, a name in strategies, or module:Class")
    file = _find_file(path)
    module = _import_file(read_source(file), str(file)) if file is not None else _import_module(path, Path())
    return _class_in(module, str(file) if file is not None else path, class_name, text)


def load_recorded(source: Source, strategy: str, recorded: Mapping[str, str]) -> type[Strategy]:
    """Return a recorded run's Strategy class from bytes with compared digests.

    Args:
        source: The strategy's file.
        strategy: Module and class, as `source_of` named them.
        recorded: Digests by path below the folder in which the strategy's imports begin; no other module is loaded
            from there.

    Raises:
        ConfigError: The file does not import or does not hold the class, or imports what is not recorded.
    """
    name, _, class_name = strategy.rpartition(":")
    place = place_of(source.file, name)
    if len(place.parts) == 1:
        module = _import_file(source, str(source.file), recorded)
    else:
        module = _import_module(name, source.file.parents[len(place.parts) - 1], recorded)
    kind = _class_in(module, str(source.file), class_name, str(source.file))
    made_by = source_of_class(kind)
    if made_by is None or made_by.digest != source.digest:
        raise ConfigError(f"{name} is loaded already and is not {source.file}; verify the run in a new process")
    return kind


def _class_in(module: ModuleType, where: str, class_name: str, text: str) -> type[Strategy]:
    """Return the class that is named, or else the only one."""
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
            raise ConfigError(f"strategy file {path} is not there; {_named_instead(file)}")
        return file
    named = Path(STRATEGY_FOLDER) / f"{path}.py"
    if named.is_file():
        return named
    if "." not in path and not _is_module(path):
        if path in EXAMPLES:
            raise ConfigError(
                f"strategy {path!r} is neither in ./{STRATEGY_FOLDER} nor a file or a module; {_example(path)}"
            )
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


def _named_instead(file: Path) -> str:
    """Return what to write for a file that is not there."""
    if (Path(STRATEGY_FOLDER) / f"{file.stem}.py").is_file():
        return f"there is {STRATEGY_FOLDER}/{file.stem}.py: write {file.stem}"
    return _example(file.stem) if file.stem in EXAMPLES else "give a path to a Python file"


def _example(name: str) -> str:
    return (
        f"it is an example, {STRATEGY_FOLDER}/{name}.py of the repository: go to a clone of it, or copy the file to "
        f"./{STRATEGY_FOLDER}"
    )


def _is_module(name: str) -> bool:
    with importing_from(Path(), name):
        try:
            return importlib.util.find_spec(name) is not None
        except ValueError:  # a module that runs as a script has no spec
            return False


def _hint(name: str, there: list[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(there) or 'none'}"


@contextmanager
def _being_loaded(where: str) -> Iterator[None]:
    token = _loading.set(where)
    try:
        yield
    finally:
        _loading.reset(token)


def _import_file(source: Source, where: str, recorded: Mapping[str, str] | None = None) -> ModuleType:
    # A file may be called anything; the module that it becomes needs a name without dots, which would be packages.
    name = "".join(c if c.isalnum() else "_" for c in source.file.stem)
    spec = spec_of(f"{_PREFIX}{name}", source)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Pickling and dataclasses look a class's module up by name; a second load of the file replaces the first.
    sys.modules[spec.name] = module
    try:
        with _being_loaded(where), importing_from(source.file.parent, name, recorded):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise _import_error(where, error) from error
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            remember(value, source)
    return module


def _import_module(name: str, folder: Path, recorded: Mapping[str, str] | None = None) -> ModuleType:
    try:
        with _being_loaded(f"module {name}"), importing_from(folder, name, recorded):
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(f"module {name}", error) from error


def _import_error(where: str, error: BaseException) -> ConfigError:
    if isinstance(error, ConfigError):
        return type(error)(f"{where}: {error}")
    what, place = str(error), ""
    if isinstance(error, SyntaxError) and error.filename:
        what, place = error.msg, f" ({Path(error.filename).name} line {error.lineno})"
    else:
        # The innermost lines of a failed import are Python's own; the user's last one says where to look.
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith("<") and Path(frame.filename).parent.name not in ("quantkit", "importlib"):
                place = f" ({Path(frame.filename).name} line {frame.lineno})"
    return ConfigError(f"{where} does not import: {type(error).__name__}: {what}{place}")


def source_of(strategy: Strategy) -> tuple[str, str | None]:
    """Return a strategy's module and class, and the digest of the file it stands in."""
    kind = type(strategy)
    source = source_of_class(kind)
    name = f"{kind.__module__.removeprefix(_PREFIX)}:{kind.__qualname__}"
    return name, None if source is None else source.digest


def source_of_strategy_class(kind: type[Strategy]) -> str:
    """Return text by which another process can load a class: its file, or its module, and its name.

    Raises:
        ConfigError: It stands in no file, or within a function.
    """
    source = source_of_class(kind)
    if source is None or not kind.__qualname__.isidentifier():
        raise ConfigError(
            f"{kind.__qualname__} is no class at the top of a file, and no other process can load it; save it in one"
        )
    is_deep = "." in kind.__module__ and not kind.__module__.startswith(_PREFIX)
    where = kind.__module__ if is_deep else str(source.file.resolve())
    return f"{where}:{kind.__name__}"


def sender_of(strategy: str, digest: str | None, parameters: Mapping[str, Any]) -> str:
    """Return the mark of a strategy with its parameters in the rows of a run.

    Args:
        strategy: Module and class; the module is left out, since a file may be loaded by several names.
        digest: Of the file.
        parameters: Their values by name.
    """
    whole = [strategy.rpartition(":")[2], digest, parameter_fields(dict(parameters))]
    return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()[:32]


def parameter_fields(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a strategy's parameters as JSON-ready values that building it takes back without loss.

    JSON has no infinity; text is converted as it is from a command line.

    Examples:
        >>> parameter_fields({"limit": float("inf"), "qty": 0.1})
        {'limit': 'inf', 'qty': 0.1}
    """
    return {
        name: str(value) if isinstance(value, float) and not isfinite(value) else value
        for name, value in parameters.items()
    }
