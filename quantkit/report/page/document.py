"""The frame of every page, of files and of the web application: its head, and the bar over its content."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from quantkit.report.page.markup import Content, Markup, fill, tag

ASSETS: Final = files("quantkit.report.page") / "assets"


def asset(name: str) -> str:
    """Return the text of one of the page's files."""
    return (ASSETS / name).read_text(encoding="utf-8")


def document(body: str, parts: Mapping[str, Content], *, title: str, styles: Content, policy: str = "") -> bytes:
    """Return a whole page.

    Args:
        body: The template of its `body`, which `parts` fill.
        parts: One for each slot.
        title: Of the browser's tab.
        styles: Elements of the head that have or name the styles.
        policy: What a page in a file may load; a served one is told by its server.
    """
    heads = [tag("meta", http_equiv="Content-Security-Policy", content=policy)] if policy else []
    heads += [tag("title", title)]
    if not policy:
        heads += [tag("link", rel="icon", href="data:,")]
    filled = {"heads": heads, "styles": styles, "body": Markup(fill(body, parts))}
    return fill(asset("document.html"), filled).encode()


def bar(beside: Content, *buttons: Content) -> Markup:
    """Return the bar over a page: the name, what stands beside it, and at the right its buttons."""
    dark = tag("button", "Dark", id="theme")
    return tag("header", tag("b", "quantkit"), beside, tag("span", class_="gap"), *buttons, dark)
