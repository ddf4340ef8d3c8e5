"""The exchanges that a live run can take its data from, one line each; their code is imported when first needed."""

import importlib
from typing import Any, Final

from quantkit.errors import ConfigError
from quantkit.feeds.live_source import LiveSource

#: Module and class of each exchange's `LiveSource`, by name.
_PLACES: Final = {
    "okx": "quantkit.feeds.okx.source:OkxSource",
}


def register(name: str, place: str) -> None:
    """Add an exchange that lives outside of this package.

    Args:
        name: The name of its source, which the logs of its runs keep.
        place: Module and class of its `LiveSource`: `my_package.my_exchange:MySource`.

    Raises:
        ConfigError: Another exchange has the name.
    """
    if _PLACES.setdefault(name, place) != place:
        raise ConfigError(f"exchange {name!r} is {_PLACES[name]} already; choose another name for {place}")


def source_class(name: str) -> type[LiveSource]:
    """Return the source of an exchange.

    Raises:
        ConfigError: There is none of that name, or its code does not import.
    """
    if name not in _PLACES:
        there = ", ".join(sorted(_PLACES))
        raise ConfigError(
            f"exchange {name!r} is not known; there is {there}. Register others first: "
            "quantkit.feeds.exchanges.register(name, 'module:Class')"
        )
    module, _, class_name = _PLACES[name].partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"exchange {name!r}: {_PLACES[name]} does not import: {error}") from error
    source: type[LiveSource] = found
    return source
