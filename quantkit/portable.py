"""Names that every operating system understands alike: the ones allowed in paths."""

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final

from quantkit.errors import ConfigError

#: What Windows takes for a device, whatever follows a dot.
_DEVICES: Final = frozenset(
    ("con", "prn", "aux", "nul", "conin$", "conout$", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
#: The longest that common file systems take, in bytes.
_LONGEST: Final = 255


@lru_cache(maxsize=4096)
def unportable(name: str) -> str | None:
    """Return why a name cannot be part of a path on every machine, None if it can.

    Examples:
        >>> unportable("BTC-USDT"), unportable("NUL.txt"), unportable("a.")
        (None, 'is a device on Windows', 'ends with a dot or a space')
        >>> unportable("\\uff22\\uff34\\uff23")
        "has another Unicode form, 'BTC'"
    """
    plain = unicodedata.normalize("NFKC", name)
    if plain != name:
        return f"has another Unicode form, {plain[:60]!r}"
    if name.partition(".")[0].rstrip().lower() in _DEVICES:
        return "is a device on Windows"
    if name.endswith((".", " ")):
        return "ends with a dot or a space"
    if not name or not _FORBIDDEN.isdisjoint(name) or any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in name):
        return "holds a character that some file systems do not take"
    return f"is longer than {_LONGEST} bytes" if len(name.encode()) > _LONGEST else None


def check_new(path: Path) -> None:
    """Refuse a folder that is to be made and could not be made, or copied, everywhere.

    Args:
        path: What exists of it already is not looked at.

    Raises:
        ConfigError: One of the names to be made is not portable.
    """
    for part in (path, *path.parents):
        if part.name in ("", "..") or part.exists():
            return
        reason = unportable(part.name)
        if reason is not None:
            raise ConfigError(f"{path}: the name {part.name[:60]!r} {reason}; choose another one")
