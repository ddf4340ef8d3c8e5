"""Spoilt files: a flipped bit, and a manifest line that agrees with a file that was changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from quantkit.storage import manifest
from quantkit.storage.manifest import FileEntry, Manifest, footer_of
from quantkit.storage.root import Root


def flipped(content: bytes, bit: int) -> bytes:
    """Return the bytes with one bit changed."""
    spoilt = bytearray(content)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def guarded(fields: dict[str, Any], version: int = 2) -> bytes:
    """Return a manifest line with its checksum, made without what the package makes one with."""
    covered = json.dumps({"version": version, **fields}, separators=(",", ":"), ensure_ascii=False)[1:].encode()
    return b'{"check":"%b",%b\n' % (hashlib.sha256(covered).hexdigest()[:16].encode(), covered)


def unguarded(line: bytes) -> bytes:
    """Return a manifest line as version 1 wrote it."""
    fields = json.loads(line)
    del fields["check"], fields["version"]
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def lines_of(root: Path) -> Manifest:
    """Return what a folder's manifest says."""
    return manifest.load(Root.of(root)) or Manifest([], [], [])


def write_lines(root: Path, entries: list[FileEntry]) -> None:
    """Replace a folder's manifest, checksums included, as somebody's own tool might."""
    (root / "manifest.jsonl").write_bytes(manifest.dump(Manifest(entries, [], [])))


def resealed(root: Path, entry: FileEntry) -> FileEntry:
    """Return the manifest line that agrees with what a file holds now."""
    path = root / entry.path
    content = path.read_bytes()
    with path.open("rb") as file:
        footer = footer_of(file, len(content))
    metadata = pq.read_metadata(path)
    spans: dict[str, list[int]] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            if column.path_in_schema in ("received_ns", "open_ns") and column.statistics is not None:
                spans.setdefault(column.path_in_schema, []).extend(
                    (column.statistics.min_raw, column.statistics.max_raw)
                )
    stamps = {
        name: value
        for column, names in (("received_ns", ("first_ns", "last_ns")), ("open_ns", ("first_open_ns", "last_open_ns")))
        if column in spans
        for name, value in zip(names, (min(spans[column]), max(spans[column])), strict=True)
    }
    return msgspec.structs.replace(
        entry,
        rows=metadata.num_rows,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        footer_sha256=hashlib.sha256(footer).hexdigest(),
        **stamps,
    )
