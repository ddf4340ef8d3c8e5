"""Row groups read ahead: the next one on a thread while the present one is in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from quantkit.errors import DataError
from quantkit.storage.files import RowGroup

_NAME: Final = "quantkit-read-ahead"


def read_ahead(groups: Iterator[RowGroup]) -> Iterator[RowGroup]:
    """Yield row groups as they come, the next one fetched meanwhile: one at most, so that memory stays bounded.

    The columns that were asked for of the groups before are fetched with it. What is wrong with the next group is told
    when its turn comes, and what is wrong with a column when it is asked for, as without reading ahead.
    """
    wanted: dict[str, None] = {}

    def fetch(names: tuple[str, ...]) -> RowGroup | None:
        group = next(groups, None)
        if group is not None:
            for name in names:
                # Whoever asks for it gets the error then.
                with suppress(DataError):
                    group.column(name)
        return group

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=_NAME) as thread:
        coming = thread.submit(fetch, ())
        while (group := coming.result()) is not None:
            coming = thread.submit(fetch, tuple(wanted))
            yield group
            # By now its rows are done with, and it is known which columns they were read by.
            wanted.update(dict.fromkeys(group.decoded))
