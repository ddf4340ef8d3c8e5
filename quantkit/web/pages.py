"""The pages and their files: shells without data, scripts, styles; what they show comes by the API."""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import msgspec

from quantkit.errors import ConfigError, QuantkitError
from quantkit.report.page import charts, page
from quantkit.report.page.document import ASSETS as PAGE_ASSETS
from quantkit.report.page.document import bar, document
from quantkit.report.page.markup import Content, Markup, tag
from quantkit.web import figures
from quantkit.web.calls import Calls
from quantkit.web.operations import PREFIX, Workers
from quantkit.web.security import OPEN, HttpRefusal, problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

#: Where the files are.
ASSETS: Final = "/assets"
_OWN: Final = files("quantkit.web") / "assets"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
}
#: Files of the report that these pages use too.
_SHARED: Final = (page.STYLE, *page.SCRIPTS)
#: What every page of a signed-in browser needs, in order.
_COMMON: Final = ("format.js", "theme.js", "parts.js", "api.js", "run_cells.js")
_CHART: Final = ("bokeh.min.js", "chart.js")
#: What a browser needs before it is signed in; none of it holds anything of the user's.
PUBLIC: Final = frozenset((OPEN, *(f"{ASSETS}/{name}" for name in (page.STYLE, "web.css", "theme.js", "open.js"))))


class _Shell(NamedTuple):
    """One page without its data.

    Attributes:
        title: Behind the name of the program.
        body: The file of its main part.
        scripts: In order.
        frame: Its class.
        is_inside: Whether only a signed-in browser sees it: it gets the links to the others.
    """

    title: str
    body: str
    scripts: tuple[str, ...]
    frame: str = "page"
    is_inside: bool = True


_SHELLS: Final = {
    "/": _Shell("runs", "runs.html", (*_COMMON, "runs.js")),
    "/live": _Shell(
        "live",
        "live.html",
        (*_COMMON[:1], *_CHART, *_COMMON[1:], "lines.js", "ladder.js", "feed.js", "live.js"),
        "page with_commands",
    ),
    "/diff": _Shell("two runs", "diff.html", (*_COMMON[:1], *_CHART, *_COMMON[1:], "diff.js")),
    OPEN: _Shell("sign in", "open.html", ("theme.js", "open.js"), "page narrow", is_inside=False),
}
_LINKS: Final = {"/": "Runs", "/live": "Live"}
#: Those of the web application alone.
_SCRIPTS: Final = frozenset(name for shell in _SHELLS.values() for name in shell.scripts) - {*_SHARED, "bokeh.min.js"}


def _page(path: str) -> bytes:
    """Return the document of a page."""
    shell = _SHELLS[path]
    links = [
        # Whether there is a live run, the page of its own knows; the others show its link once they are told.
        tag("a", label, href=target, aria_current="page" if target == path else None)
        if target in ("/", path)
        else tag("a", label, href=target, id="to_live", hidden=True)
        for target, label in _LINKS.items()
    ]
    leave = [tag("button", "Sign out", id="leave")] if shell.is_inside else []
    parts: dict[str, Content] = {
        "frame": shell.frame,
        "bar": bar(tag("nav", *links) if shell.is_inside else "", *leave),
        "main": Markup((_OWN / shell.body).read_text(encoding="utf-8")),
        "scripts": [tag("script", src=f"{ASSETS}/{name}") for name in shell.scripts],
    }
    styles = [tag("link", rel="stylesheet", href=f"{ASSETS}/{name}") for name in (page.STYLE, "web.css")]
    body = (_OWN / "shell.html").read_text(encoding="utf-8")
    return document(body, parts, title=f"quantkit: {shell.title}", styles=styles)


class Files:
    """Every file that a page asks for, by name; read and drawn when it is first asked for, which may take a second."""

    def __init__(self) -> None:
        own: dict[str, Traversable] = {name: _OWN / name for name in ("web.css", *_SCRIPTS)}
        self._sources = {**own, **{name: PAGE_ASSETS / name for name in _SHARED}}
        self._made: dict[str, Callable[[], bytes]] = {
            "bokeh.min.js": charts.library_file().read_bytes,
            "live.json": lambda: msgspec.json.encode(figures.live()),
            "diff.json": lambda: msgspec.json.encode(figures.comparison()),
            **{shell.body: partial(_page, path) for path, shell in _SHELLS.items()},
        }
        self._kept: dict[str, tuple[bytes, str]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._sources or name in self._made

    def is_ready(self, name: str) -> bool:
        """Return whether a file is at hand."""
        return name in self._kept

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the content of a file and a tag that changes with it."""
        if name not in self._kept:
            content = self._made[name]() if name in self._made else self._sources[name].read_bytes()
            self._kept[name] = content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return self._kept[name]


def routes(calls: Calls, workers: Workers) -> "list[Route]":
    """Return the routes of the pages and their files.

    Args:
        calls: Gives the reports of runs.
        workers: What makes them.
    """
    from starlette.exceptions import HTTPException
    from starlette.responses import Response
    from starlette.routing import Route

    held = Files()

    async def shell(request: "Request") -> "Response":
        return await _answer(_SHELLS[request.url.path].body, request)

    async def report(request: "Request") -> "Response":
        run = request.path_params["run"]
        api = f"{PREFIX}/runs/{quote(run, safe='')}"
        try:
            made = await workers.run(lambda: calls.report(run, assets=ASSETS, api=api))
        except HttpRefusal as refusal:
            return problem(refusal.status, refusal.reason, refusal.headers)
        except QuantkitError as error:
            return problem(404 if isinstance(error, ConfigError) else 422, " ".join(str(error).split()))
        return Response(made, media_type=_TYPES["html"])

    async def asset(request: "Request") -> "Response":
        name = request.path_params["name"]
        if name not in held or name.endswith(".html"):
            raise HTTPException(404)
        return await _answer(name, request)

    async def _answer(name: str, request: "Request") -> "Response":
        if not held.is_ready(name):
            # Live pages wait for nobody's chart library.
            await asyncio.to_thread(held.get, name)
        content, etag = held.get(name)
        # A browser keeps it and asks whether it is still the same.
        headers = {"etag": etag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])

    return [*(Route(path, shell) for path in _SHELLS), Route("/runs/{run}", report), Route(f"{ASSETS}/{{name}}", asset)]
