"""A folder as a file system of its own that counts what is read, for tests of how little that is."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from quantkit.storage.root import Root


class CountedFile(BytesIO):
    """A file that notes each reading in its file system's list."""

    mode = "rb"

    def __init__(self, path: str, reads: list[tuple[str, int]]) -> None:
        super().__init__(Path(path).read_bytes())
        self._path = path
        self._reads = reads

    def size(self) -> int:
        return len(self.getbuffer())

    def read(self, count: int | None = -1) -> bytes:
        content = super().read(count)
        self._reads.append((self._path, len(content)))
        return content


class _Handler(fs.FileSystemHandler):  # type: ignore[misc]
    """Everything as the local file system does it, readings counted."""

    def __init__(self) -> None:
        self.local = fs.LocalFileSystem()
        self.reads: list[tuple[str, int]] = []

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = object.__hash__

    def get_type_name(self) -> str:
        return "counted"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        return self.local.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        return self.local.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.local.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self.local.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.local.delete_dir_contents(path)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self.local.delete_file(path)

    def move(self, source: str, target: str) -> None:
        self.local.move(source, target)

    def copy_file(self, source: str, target: str) -> None:
        self.local.copy_file(source, target)

    def open_input_stream(self, path: str) -> Any:
        return pa.PythonFile(CountedFile(path, self.reads), mode="r")

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(CountedFile(path, self.reads), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return self.local.open_output_stream(path)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


class CountedFolder:
    """A folder whose readings are counted.

    Attributes:
        root: To open a catalog with; it is no local one.
        reads: Path and bytes of each reading so far.
    """

    def __init__(self, folder: Path) -> None:
        handler = _Handler()
        self.reads = handler.reads
        self.root = Root(str(folder), fs.PyFileSystem(handler))

    def bytes_of(self, part: str = "") -> int:
        """Return how many bytes were read of paths that hold a text."""
        return sum(count for path, count in self.reads if part in path)
