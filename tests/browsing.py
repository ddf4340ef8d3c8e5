"""What the tests in `tests/browser/` say about a page: how it is looked at, and what it may not do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page

#: Nothing of a browser's own accord: no updates, no probes, no first run.
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name is looked up but this machine's, so that a page that asks elsewhere gets nothing.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]",
)
#: Bytes that a page holds itself are no request.
LOCAL_SCHEMES: Final = ("file", "data", "blob", "about")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Look:
    """How a page is looked at.

    Args:
        width: Of the window, in CSS pixels.
        scheme: `light` or `dark`.
    """

    width: int = 1440
    scheme: str = "light"

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"

    @property
    def height(self) -> int:
        """Return that of a laptop's window, or of a telephone's."""
        return 900 if self.width > 600 else 844


LOOKS: Final = tuple(Look(width, scheme) for width in (1440, 390) for scheme in ("light", "dark"))
#: Runs a test that takes `page` four times: wide and narrow, light and dark.
every_look = pytest.mark.parametrize("look", LOOKS, ids=str)


@dataclass
class Watch:
    """What the pages of a test did.

    Attributes:
        errors: What the console and uncaught exceptions said, refusals by the content security policy included.
        requests: The address of every request, in order; `file:`, `data:` and `blob:` too.
        sockets: The address of every WebSocket.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        """Write down what the pages of a browser's context do from here on."""
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self.errors.append(f"uncaught: {error.error}"))
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("page", self._follow_sockets)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.errors.append(f"console: {message.text}")

    def _follow_sockets(self, page: Page) -> None:
        page.on("websocket", lambda socket: self.sockets.append(socket.url))

    @property
    def over_network(self) -> list[str]:
        """Return the addresses that no file holds: those of this machine and those of others."""
        return [url for url in self.requests if urlsplit(url).scheme not in LOCAL_SCHEMES] + self.sockets

    @property
    def foreign(self) -> list[str]:
        """Return the addresses on other machines."""
        return [url for url in self.over_network if urlsplit(url).hostname not in LOOPBACK]

    def problems(self) -> list[str]:
        """Return what no page may do."""
        return [*self.errors, *(f"asks another machine: {url}" for url in self.foreign)]

    def clear(self) -> None:
        """Forget what was seen, where a test has planted it."""
        for seen in (self.errors, self.requests, self.sockets):
            seen.clear()


def find_chromium(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of Chromium, or None: CHROMIUM names one, else it is looked for on the PATH."""
    named = environment.get("CHROMIUM")
    if named is not None:
        return named if Path(named).is_file() else None
    return shutil.which("chromium", path=environment.get("PATH"))
