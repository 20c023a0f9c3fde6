"""Iceberg's files on this machine, opened without pyiceberg's pyarrow module, which takes as long to import as a command may run.

Files elsewhere, such as on S3, are opened by that module, which is imported then.
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
"""The values of pyiceberg's property `py-io-impl` that mean these."""


def pyarrow_io() -> Any:
    """pyiceberg's pyarrow module. It imports pyarrow.dataset, and that pandas, where it is installed."""
    return import_module("pyiceberg.io.pyarrow")


def parse_location(location: str, properties: dict[str, Any]) -> tuple[str, str, str]:
    """Scheme, host and path of a location, as pyiceberg has them: the path of a file:// address is taken as it stands."""
    path = local_path(location)
    if path is not None and "DEFAULT_SCHEME" not in properties:
        return "file", "", path
    found: tuple[str, str, str] = pyarrow_io().PyArrowFileIO.parse_location(location, properties)
    return found


def local_path(location: str) -> str | None:
    """The path of a location on this machine; None for one elsewhere."""
    if os.name == "nt":
        return None
    parts = urlsplit(location)
    if not parts.scheme:
        return os.path.abspath(location)
    return parts.path if parts.scheme == "file" and not parts.netloc else None


class LocalFile(InputFile, OutputFile):
    """A file of this machine. Folders are made when it is written, as pyarrow's file system makes them."""

    def __init__(self, location: str, path: str, owned: bool = False) -> None:
        """`owned`: what is made new is for its owner alone."""
        super().__init__(location)
        self._path = path
        self._owned = owned

    def __len__(self) -> int:
        """The size in bytes. Raises: FileNotFoundError."""
        return os.stat(self._path).st_size

    def exists(self) -> bool:
        """Whether the file is there."""
        return os.path.isfile(self._path)

    def open(self, seekable: bool = True) -> InputStream:
        """The file for reading. Raises: FileNotFoundError, PermissionError."""
        stream: InputStream = pa.OSFile(self._path, "rb")
        return stream

    def create(self, overwrite: bool = False) -> OutputStream:
        """The file for writing. Raises: FileExistsError if it is there and not to be overwritten."""
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
    """What a table's files are reached by: this machine's as they are, others through pyarrow."""

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
        """Without what cannot be sent to another process, and is opened there again."""
        return {"properties": self.properties}


class PrivateIO(LocalFirstIO):
    """The same for tables in a home folder, whose new files and folders are for their owner alone."""

    owned = True
