"""Order books of a generated instrument before the start, as a snapshot each quarter of an hour and updates."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.paths import PricePath, noise, seed_of

#: Levels of each side, so far apart as a share of the price, looked at so often.
_DEPTH: Final = 12
_SPACING: Final = 1e-4
_STEP_MS: Final = 10_000
_SNAPSHOT_MS: Final = 15 * 60_000
#: A level keeps its size for so long.
_SIZES_MS: Final = 60_000

#: Sizes in lots by price in ticks.
_Side = dict[int, int]


def past_book(
    listing: ListedInstrument, path: PricePath, seed: int, begin_ms: int, end_ms: int
) -> Iterator[dict[str, Any]]:
    """Yield the snapshots and updates of a span, without the instrument: `action`, `ts`, `asks`, `bids`.

    Args:
        listing: The instrument.
        path: Its price.
        seed: Of the market.
        begin_ms, end_ms: UTC ms; the end is not part of it.
    """
    steps = np.arange(-(-begin_ms // _STEP_MS) * _STEP_MS, end_ms, _STEP_MS, dtype=np.int64)
    prices = path.at(steps) * 10.0**listing.price_decimals
    spacing = max(1, round(listing.price * _SPACING * 10**listing.price_decimals))
    # The best levels lie on both sides of the price; whoever trades at it takes from them.
    middles = np.maximum(prices // spacing, _DEPTH + 1).astype(np.int64)
    offsets = np.arange(_DEPTH, dtype=np.int64)
    sides = {"asks": middles[:, None] + 1 + offsets, "bids": middles[:, None] - offsets}
    size_seed = seed_of(seed, listing.id, "book")
    sizes = {
        side: np.maximum(
            listing.min_lots,
            listing.lots * np.exp(noise(size_seed, (places * 1_000_003 + (steps // _SIZES_MS)[:, None]).ravel())),
        )
        .astype(np.int64)
        .reshape(places.shape)
        for side, places in sides.items()
    }
    before: dict[str, _Side] = {}
    for index, at_ms in enumerate(steps.tolist()):
        now: dict[str, _Side] = {
            side: dict(zip((sides[side][index] * spacing).tolist(), sizes[side][index].tolist(), strict=True))
            for side in sides
        }
        is_snapshot = not before or at_ms % _SNAPSHOT_MS == 0
        rows = {
            side: _levels(listing, {} if is_snapshot else before[side], now[side], is_bid=side == "bids")
            for side in sides
        }
        before = now
        if is_snapshot or any(rows.values()):
            yield {"action": "snapshot" if is_snapshot else "update", "ts": str(at_ms), **rows}


def _levels(listing: ListedInstrument, old: _Side, new: _Side, *, is_bid: bool) -> list[list[str]]:
    """Return the levels that differ, best first; those that are gone have size zero."""
    changed = {ticks: lots for ticks, lots in new.items() if old.get(ticks) != lots}
    changed |= dict.fromkeys(old.keys() - new.keys(), 0)
    return [
        [listing.price_text(ticks), listing.qty_text(lots) if lots else "0.0", str(1 + lots % 7) if lots else "0"]
        for ticks, lots in sorted(changed.items(), reverse=is_bid)
    ]
