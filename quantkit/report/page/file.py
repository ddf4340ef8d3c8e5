"""A page as a file: checked before the run, written whole or not at all, shown in the browser."""

import logging
import os
import tempfile
import webbrowser
from pathlib import Path

from quantkit.errors import ConfigError
from quantkit.portable import check_new

_log = logging.getLogger("quantkit.report")


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that no page can be written to, before the run and not after an hour of it.

    Raises:
        ConfigError: It is a folder, its folder is missing, or not every machine takes its name.
    """
    check_new(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file for the report, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise ConfigError(f"the report cannot be written to {path}: there is no folder {path.parent}")


def write(path: Path, page: bytes) -> None:
    """Write a page, in place of what is there; a write that fails leaves that as it was.

    Raises:
        ConfigError: It cannot be written.
    """
    refuse_unwritable(path)
    part = None
    try:
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".partial")
        with os.fdopen(descriptor, "wb") as file:
            file.write(page)
        # A temporary file is its owner's alone; a page is read by others, as far as the user lets them.
        mask = os.umask(0)
        os.umask(mask)
        Path(part).chmod(0o666 & ~mask)
        Path(part).replace(path)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise ConfigError(f"the report cannot be written to {path}: {error.strerror or error}") from error


def show(path: Path) -> None:
    """Open a page in the browser that the system names, or say that there is none."""
    if not webbrowser.open(path.absolute().as_uri()):
        _log.warning("no browser was found; open %s in one", path)
