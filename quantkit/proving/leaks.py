"""What a strategy leaves behind in its process: variables of modules, classes and functions that a run has changed."""

import gc
import hashlib
import pickle
import types
from collections.abc import Iterable, Iterator
from typing import Any

from quantkit.strategy import Strategy

#: Of what cannot be pickled, so much of its text is compared.
_TEXT: int = 20_000


def kept_state(modules: Iterable[types.ModuleType]) -> dict[tuple[str, str], str]:
    """Return a digest of what lives longer than a run, by kind and name.

    Args:
        modules: The strategy's own.
    """
    found: dict[tuple[str, str], str] = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            if name.startswith("__") or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, type):
                if value.__module__ == module.__name__:
                    found.update(_of_class(value))
            elif callable(value) and hasattr(value, "__qualname__"):
                if getattr(value, "__module__", "") == module.__name__:
                    found.update(_of_function(value))
            else:
                found["module global", name] = _digest(value)
    return found


def changed(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Return kind and name of what is other than it was, or new, or gone."""
    return [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]


def _of_class(kind: type) -> Iterator[tuple[tuple[str, str], str]]:
    for name, value in list(vars(kind).items()):
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if isinstance(value, property) or name in ("__dict__", "__weakref__", "__doc__", "__module__"):
            continue
        if callable(plain) and hasattr(plain, "__qualname__"):
            if not isinstance(plain, type):
                yield from _of_function(plain)
        elif not name.startswith("__") and name not in vars(Strategy):
            yield ("class attribute", f"{kind.__name__}.{name}"), _digest(value)


def _of_function(function: Any) -> Iterator[tuple[tuple[str, str], str]]:
    name = function.__qualname__
    inner = getattr(function, "__wrapped__", function)
    if hasattr(function, "cache_info"):
        yield ("cached function", name), str(function.cache_info().currsize)
    defaults = (getattr(inner, "__defaults__", None), getattr(inner, "__kwdefaults__", None))
    if any(defaults):
        yield ("mutable default", name), _digest(defaults)
    for cell in getattr(inner, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if not callable(content):
            yield ("closure", name), _digest(content)
    if getattr(inner, "__dict__", None):
        plain = {key: value for key, value in vars(inner).items() if not key.startswith("__")}
        yield ("function attribute", name), _digest(plain)


def _digest(value: Any) -> str:
    """Return what tells a value from another one, as far as it can be written down."""
    try:
        content = pickle.dumps(value)
    except Exception:  # noqa: BLE001  # a value of a user's own may raise anything
        held = value if isinstance(value, dict | list | set | tuple) else getattr(value, "__dict__", value)
        content = repr(held)[:_TEXT].encode(errors="replace")
    return hashlib.sha256(content).hexdigest()[:16]


def forget_garbage() -> None:
    """Free what the last run left, so that the next one begins alike."""
    gc.collect()
