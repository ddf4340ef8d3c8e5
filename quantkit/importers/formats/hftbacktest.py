"""hftbacktest's events: books and trades in one array, as its npz files hold them."""

from typing import Final

from quantkit.importers.formats.record import Format

FORMATS: Final = (
    Format(
        name="hftbacktest/events",
        title="hftbacktest events",
        holds="book",
        headers=("ev,exch_ts,local_ts,px,qty",),
        container="array",
        reader="hftbacktest",
        notes=(
            "hftbacktest's files name no instrument and no steps; its books and trades are those that were received",
        ),
    ),
)
