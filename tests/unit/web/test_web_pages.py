"""The pages as they are served: whole, without a script of their own inside, and with files that fit each other."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from web_client import Reply, ask, with_token
from web_live import ScriptedControl
from web_runs import no_runs

from quantkit.web import figures
from quantkit.web.link import LiveLink
from quantkit.web.pages import PUBLIC
from quantkit.web.server import WebServer

PAGES = ("/", "/live", "/diff", "/open")
ASSETS = files("quantkit.web") / "assets"


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer(no_runs(), LiveLink(ScriptedControl())) as running:
        yield running


def get(server: WebServer, path: str, **headers: str) -> Reply:
    return ask(server, "GET", path, with_token(server, **headers))


def scripts_of(content: str) -> list[str]:
    return re.findall(r'<script src="([^"]+)"></script>', content)


def own_script(path: str) -> str:
    """Return the script that is a page's alone, its last one."""
    return {"/": "runs.js", "/live": "live.js", "/diff": "diff.js", "/open": "open.js"}[path]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_files_that_there_are(server: WebServer, path: str) -> None:
    """And holds no script, no style and no handler itself, which the policy would refuse."""
    page = get(server, path)
    content = page.body.decode()
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    scripts, styles = scripts_of(content), re.findall(r'rel="stylesheet" href="([^"]+)"', content)
    assert len(scripts) == content.count("<script")
    assert scripts[-1].endswith(own_script(path))
    assert "<style" not in content
    assert not re.search(r"\son[a-z]+=", content)
    for name, kind in [*((each, "text/javascript") for each in scripts), *((each, "text/css") for each in styles)]:
        reply = get(server, name)
        assert (reply.status, reply.headers["content-type"]) == (200, f"{kind}; charset=utf-8"), name
        assert reply.body


@pytest.mark.parametrize("path", PAGES)
def test_every_element_that_a_script_looks_for_is_on_its_page(server: WebServer, path: str) -> None:
    """By its id; each id once."""
    content = get(server, path).body.decode()
    ids = re.findall(r'\sid="([^"]+)"', content)
    assert len(ids) == len(set(ids))
    # Another script may find nothing, and says so with a question mark.
    wanted = set(re.findall(r'\$\("([a-z_]+)"\)', (ASSETS / own_script(path)).read_text(encoding="utf-8")))
    assert wanted
    assert wanted - set(ids) == set()


@pytest.mark.parametrize("path", PAGES)
def test_each_name_of_a_script_is_defined_before_it_is_used(server: WebServer, path: str) -> None:
    """A script defines one name, and those after it use it."""
    known: set[str] = set()
    for name in scripts_of(get(server, path).body.decode()):
        content = get(server, name).body.decode()
        if "bokeh" not in name:
            used = set(re.findall(r"\b(Format|Theme|Parts|Api|RunCells|Chart|Lines|Ladder|Feed)\.", content))
            known |= set(re.findall(r"^const ([A-Z]\w+) =", content, re.MULTILINE))
            assert used <= known, name


def test_links_lead_to_the_pages_and_the_one_at_hand_is_marked(server: WebServer) -> None:
    for path, marked in (("/", "Runs"), ("/live", "Live"), ("/diff", None), ("/open", None)):
        nav = re.search(r"<nav>(.*?)</nav>", get(server, path).body.decode())
        assert (nav is None) == (path == "/open")
        if nav is not None:
            current = re.findall(r'aria-current="page"[^>]*>(\w+)<', nav[1])
            assert current == ([] if marked is None else [marked])
            assert set(re.findall(r'href="([^"]+)"', nav[1])) == {"/", "/live"}


def test_before_the_sign_in_there_is_nothing_but_that(server: WebServer) -> None:
    """Its page and the files of it; none of them tells a thing of the user's."""
    for path in PAGES[:3]:
        assert ask(server, "GET", path).status == 401
    content = ask(server, "GET", "/open").body.decode()
    needed = {"/open", *scripts_of(content), *re.findall(r'rel="stylesheet" href="([^"]+)"', content)}
    assert needed == PUBLIC
    assert all(ask(server, "GET", path).status == 200 for path in needed)
    assert ask(server, "GET", "/assets/live.js").status == 401


def test_a_file_that_has_not_changed_is_not_sent_again(server: WebServer) -> None:
    for path in ("/assets/web.css", "/live", "/assets/live.json"):
        first = get(server, path)
        again = get(server, path, If_None_Match=first.headers["etag"])
        assert (first.status, again.status, again.body) == (200, 304, b"")
        assert get(server, path, If_None_Match='"other"').body == first.body
        assert again.headers["cache-control"] == "private, no-cache"
        assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    "name",
    [
        "runs.html",
        "shell.html",
        "none.js",
        "..%2fpages.py",
        "%2e%2e/pages.py",
        "..%2f..%2f..%2fetc%2fpasswd",
        "a%00",
        "",
    ],
)
def test_no_other_file_is_served(server: WebServer, name: str) -> None:
    """Nor parts of pages by their names."""
    reply = get(server, f"/assets/{name}")
    assert (reply.status, set(reply.json)) == (404, {"error"})


def test_a_report_that_cannot_be_had_is_one_line(server: WebServer) -> None:
    reply = get(server, "/runs/none")
    assert (reply.status, "there is no run" in reply.json["error"]) == (404, True)


# Figures ------------------------------------------------------------------------------------------------------------


def named(document: Any, kind: str) -> dict[str, Any]:
    """Return the models of a kind in a document, by name."""
    found: dict[str, Any] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "object" and value.get("name") == kind:
                found[value["attributes"].get("name", "")] = value["attributes"]
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(document)
    return found


def test_the_live_figure_has_what_its_script_fills() -> None:
    """Sources and panels by name, with the columns that it gives them, and no data yet."""
    document = json.loads(json.dumps(figures.live()))
    sources = named(document, "ColumnDataSource")
    columns = {name: {entry[0] for entry in source["data"]["entries"]} for name, source in sources.items()}
    line, marks = {"x", "y"}, {"x0", "x1", "y"}
    assert columns == {"price": line, "equity": line, "buy": line, "sell": line, "bids": marks, "asks": marks}
    assert set(named(document, "Figure")) == {"price", "equity"}
    script = (ASSETS / "lines.js").read_text(encoding="utf-8")
    assert all(f'"{name}"' in script or f".{name}" in script for name in columns)


def test_the_comparison_has_two_lines() -> None:
    document = json.loads(json.dumps(figures.comparison()))
    assert set(named(document, "ColumnDataSource")) == {"first", "second"}
    assert set(named(document, "Figure")) == {"change"}


def test_figures_are_served_as_they_are(server: WebServer) -> None:
    for name, made in (("live", figures.live), ("diff", figures.comparison)):
        reply = get(server, f"/assets/{name}.json")
        assert reply.headers["content-type"] == "application/json"
        assert set(reply.json) == set(made())


def test_a_page_with_a_live_run_says_so(server: WebServer) -> None:
    """Its link is shown by the answer to who asks."""
    assert get(server, "/api/v1/session").json["has_live"] is True
    with WebServer(no_runs()) as without:
        assert get(without, "/api/v1/session").json["has_live"] is False
