"""Iceberg FileIO for local files without pyiceberg's pyarrow module, which is slow to import.

Files elsewhere, such as on S3, are opened by that module, which is then imported.
"""

import os
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from featurestore import private

LOCAL_FIRST, PRIVATE = f"{__name__}.LocalFirstIO", f"{__name__}.PrivateIO"
"""Values of pyiceberg's property `py-io-impl` for the two classes below."""


def pyarrow_io() -> Any:
    """Import pyiceberg's pyarrow module, which imports pyarrow.dataset, and through it pandas if installed."""
    return import_module("pyiceberg.io.pyarrow")


def parse_location(location: str, properties: dict[str, Any]) -> tuple[str, str, str]:
    """Scheme, host and path of a location, by pyiceberg's rules: the path of a file:// URI is not decoded."""
    path = local_path(location)
    if path is not None and "DEFAULT_SCHEME" not in properties:
        return "file", "", path
    parts: tuple[str, str, str] = pyarrow_io().PyArrowFileIO.parse_location(location, properties)
    return parts


def local_path(location: str) -> str | None:
    """The path of a local location; None for a remote one."""
    if os.name == "nt":
        return None
    parts = urlsplit(location)
    if not parts.scheme:
        return os.path.abspath(location)
    return parts.path if parts.scheme == "file" and not parts.netloc else None


class LocalFile(InputFile, OutputFile):
    """A local file. Writing creates its folders, as pyarrow's filesystem does."""

    def __init__(self, location: str, path: str, owned: bool = False) -> None:
        """`owned`: new files and folders are accessible to their owner only."""
        super().__init__(location)
        self._path = path
        self._owned = owned

    def __len__(self) -> int:
        """The size in bytes. Raises: FileNotFoundError."""
        return os.stat(self._path).st_size

    def exists(self) -> bool:
        """Whether the file exists."""
        return os.path.isfile(self._path)

    def open(self, seekable: bool = True) -> InputStream:
        """Open the file for reading. Raises: FileNotFoundError, PermissionError."""
        stream: InputStream = pa.OSFile(self._path, "rb")
        return stream

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open the file for writing. Raises: FileExistsError if it exists and `overwrite` is false."""
        if not overwrite and os.path.exists(self._path):
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        if self._owned:
            private.make_folder(Path(self._path).parent)
            private.make_file(Path(self._path))
        else:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        stream: OutputStream = pa.OSFile(self._path, "wb")
        return stream

    def to_input_file(self) -> InputFile:
        """The same file, for reading."""
        return self


class LocalFirstIO(FileIO):
    """FileIO of a table: local files are opened directly, others through pyarrow."""

    owned = False

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        path = local_path(location)
        return self._elsewhere.new_input(location) if path is None else LocalFile(location, path, self.owned)

    def new_output(self, location: str) -> OutputFile:
        """A file to write."""
        path = local_path(location)
        return self._elsewhere.new_output(location) if path is None else LocalFile(location, path, self.owned)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file. Raises: FileNotFoundError."""
        text = location if isinstance(location, str) else location.location
        path = local_path(text)
        if path is None:
            self._elsewhere.delete(text)
        else:
            os.remove(path)

    @cached_property
    def _elsewhere(self) -> Any:
        return pyarrow_io().PyArrowFileIO(self.properties)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be pickled; the receiving process opens it again."""
        return {"properties": self.properties}


class PrivateIO(LocalFirstIO):
    """LocalFirstIO for tables in a home folder: new files and folders are accessible to their owner only."""

    owned = True
