"""HTML made of parts: text is escaped wherever it comes in, and a template is filled in one pass."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final, TypeAlias

_SLOT: Final = re.compile(r"\{\{([a-z_]+)\}\}")
#: Elements without an end.
_VOID: Final = frozenset(("br", "input", "link", "meta"))


class Markup(str):
    """Text that is HTML already, made by this module alone."""

    __slots__ = ()


Content: TypeAlias = "str | Markup | Iterable[Content]"


def printable(text: str) -> str:
    """Return outside text on one line, without control characters and marks that turn the direction of writing."""
    return "".join(c if c.isprintable() else " " for c in text)


def text(content: Content) -> Markup:
    """Return content as HTML: text escaped, parts one after the other."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(escape(printable(content)))
    return Markup("".join(map(text, content)))


def lines(content: str) -> Markup:
    """Return text of several lines as HTML that keeps them."""
    return Markup("\n".join(text(line) for line in content.split("\n")))


def tag(name: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """Return an element. An attribute that is None or False is left out; `class_` is `class`, `data_x` is `data-x`.

    Examples:
        >>> tag("td", "<b>", class_="gain", data_row=3)
        '<td class="gain" data-row="3">&lt;b&gt;</td>'
        >>> tag("details", tag("p", "a"), open=True)
        '<details open><p>a</p></details>'
    """
    given = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        given.append(f" {attribute}" if value is True else f' {attribute}="{escape(printable(str(value)))}"')
    opened = f"<{name}{''.join(given)}>"
    return Markup(opened if name in _VOID else f"{opened}{text(content)}</{name}>")


def data_block(name: str, value: Any) -> Markup:
    """Return JSON for the page's scripts; nothing in it can end the element."""
    inside = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{escape(name)}">{inside}</script>')


def raw(name: str, content: str, **attributes: str) -> Markup:
    """Return a `script` or `style` element with our own text, which must not end it.

    Raises:
        ValueError: It would.
    """
    if f"</{name}" in content.lower():
        raise ValueError(f"the text of a {name} element holds its end")
    given = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{content}</{name}>")


def fill(template: str, parts: Mapping[str, Content]) -> str:
    """Return a template with its slots `{{name}}` filled; what is filled in is not looked at again.

    Raises:
        ValueError: A slot has no part, or a part no slot.
    """
    slots = set(_SLOT.findall(template))
    if slots != set(parts):
        raise ValueError(f"the page and its parts differ: {', '.join(sorted(slots ^ set(parts)))}")
    return _SLOT.sub(lambda slot: text(parts[slot[1]]), template)
