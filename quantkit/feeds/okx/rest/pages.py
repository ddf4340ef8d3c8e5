"""Paging backward through a list by what came back, until a page is empty."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from quantkit.errors import ParseError


class Placed(NamedTuple):
    """One undecoded row and where it stands in its list: a time in milliseconds or a rising id."""

    place: int
    row: msgspec.Raw


async def newest_first(
    fetch: Callable[[int | None], Awaitable[Sequence[msgspec.Raw]]],
    place_of: Callable[[msgspec.Raw], int | None],
    *,
    older_than: int | None = None,
    where: str,
) -> AsyncGenerator[list[Placed], None]:
    """Yield pages of rows, newest first, no row twice, until there are no older ones.

    How many rows a page holds says nothing: limits differ between endpoints and years, and a page may be short in the
    middle of a list. So the next page starts where the last one ended, and only a page without rows ends it.

    Args:
        fetch: Returns rows older than a place (excluding it), the newest where it is None.
        place_of: Returns a row's place, None where it cannot be read; such a row is left out. Called once for each row.
        older_than: Where to begin; None for the newest row.
        where: The list, for messages.

    Raises:
        ParseError: A page has rows but no place can be read, or only rows that are newer than asked for: going on
            would repeat the same page for ever, and stopping would hide that history is missing.
    """
    while True:
        rows = await fetch(older_than)
        if not rows:
            return
        # Of rows at one place the first is kept, since servers list the newest state first.
        page: dict[int, msgspec.Raw] = {}
        for row in rows:
            place = place_of(row)
            if place is not None:
                page.setdefault(place, row)
        if not page:
            raise ParseError(f"none of {len(rows)} rows can be placed", where=where)
        older = sorted(
            (Placed(*item) for item in page.items() if older_than is None or item[0] < older_than), reverse=True
        )
        if not older:
            if older_than is not None and max(page) > older_than:
                raise ParseError(f"asked for rows older than {older_than}, newer ones came", where=where)
            return
        yield older
        older_than = older[-1].place
