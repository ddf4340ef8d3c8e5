"""LOBSTER's files of NASDAQ shares: messages, and the levels after each, told by their rows, dated by their names."""

from typing import Final

import numpy as np

from quantkit.importers.formats.record import Format, Named, Table

_NAME: Final = (
    r"^(?P<symbol>[A-Za-z0-9.]+)_(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})_[0-9]+_[0-9]+_(?:message|orderbook)_[0-9]+\.csv$"
)
_MESSAGE: Final = "seconds:number type:int order:int qty:int price:int direction:int"
_SESSION_S: Final = 86_400
_TYPES: Final = 7
#: What stands for no level, above zero for asks and below for bids.
_NO_LEVEL: Final = 9_999_999_999
#: So many levels a side are published.
_DEPTHS: Final = (*range(1, 21), 25, 30, 40, 50, 100)


def _named(symbol: str) -> Named:
    return Named(f"lobster:{symbol.upper()}", {"kind": "spot", "base": symbol.upper(), "quote": "USD"})


def _are_messages(table: Table) -> bool:
    seconds, types, directions = (table.numbers(name) for name in ("seconds", "type", "direction"))
    is_day = (seconds >= 0) & (seconds < _SESSION_S)
    is_known = (types >= 1) & (types <= _TYPES) & ((np.abs(directions) == 1) | (types >= _TYPES - 1))
    return bool((is_day & is_known).all()) and any("." in text for text in table.texts("seconds"))


def _are_levels(table: Table) -> bool:
    """Return whether cells are levels of ask and bid, from the best outward."""
    depth = len(table.names) // 4
    asks, bids = (np.column_stack([table.numbers(f"{side}{n}") for n in range(depth)]) for side in ("ask", "bid"))
    is_apart = (asks[:, 0] > bids[:, 0]).all()
    is_rising = (np.diff(asks, axis=1) > 0) | (asks[:, 1:] >= _NO_LEVEL)
    is_falling = (np.diff(bids, axis=1) < 0) | (bids[:, 1:] <= -_NO_LEVEL)
    return bool(is_apart and is_rising.all() and is_falling.all())


FORMATS: Final = (
    Format(
        name="lobster/messages",
        title="LOBSTER messages",
        holds="book",
        shapes=(_MESSAGE, f"{_MESSAGE} owner"),
        test=_are_messages,
        name_pattern=_NAME,
        instrument=_named,
        reader="lobster",
    ),
    Format(
        name="lobster/levels",
        title="LOBSTER order books, beside their messages",
        holds="book",
        shapes=tuple(
            " ".join(f"ask{n}:int ask_qty{n}:int bid{n}:int bid_qty{n}:int" for n in range(depth)) for depth in _DEPTHS
        ),
        test=_are_levels,
        name_pattern=_NAME,
        instrument=_named,
        reader="lobster",
    ),
)
