"""What writers that were killed have left aside in a store: told by age, and deleted by the next writer."""

from contextlib import suppress
from typing import Any, Final

from quantkit.clock import NS_PER_DAY
from quantkit.storage.root import STAGING_PREFIX, Root

#: An object lies aside from the end of its upload until the store has moved it, mostly for some milliseconds. After a
#: day nobody waits for it: a writer that slept so long is told that its commit failed.
_ABANDONED_NS: Final = NS_PER_DAY


def clear_leftovers(root: Root, fresh: str) -> None:
    """Delete what has lain aside in a store for more than a day. What cannot be deleted now stays for the next time.

    Args:
        root: The folder. On this machine's disk nothing is deleted: `quantkit data check` names what is left there.
        fresh: A file of the folder that was written a moment ago: its age tells the time by the store's clock, so that
            this machine's may be wrong.
    """
    if root.is_local:
        return
    from pyarrow import fs

    filesystem = root.filesystem
    with suppress(OSError):
        listed = filesystem.get_file_info(fs.FileSelector(root.path))
        now_ns = next((info.mtime_ns for info in listed if info.base_name == fresh), None)
        if now_ns is None:
            return
        for info in listed:
            if not info.base_name.startswith(STAGING_PREFIX):
                continue
            if info.is_file and _is_abandoned(info, now_ns):
                filesystem.delete_file(info.path)
            elif not info.is_file:  # of version 0.4, which put them into folders
                inside = filesystem.get_file_info(fs.FileSelector(info.path, recursive=True))
                if all(_is_abandoned(each, now_ns) for each in inside if each.is_file):
                    filesystem.delete_dir(info.path)


def _is_abandoned(info: Any, now_ns: int) -> bool:
    return info.mtime_ns is not None and info.mtime_ns < now_ns - _ABANDONED_NS
