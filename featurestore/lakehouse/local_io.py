"""Iceberg FileIO for local files and for S3, without pyiceberg's pyarrow module, which is slow to import.

Files elsewhere are opened by that module, which is then imported.
"""

import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse, urlsplit

import pyarrow as pa
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from featurestore import private

if TYPE_CHECKING:
    from featurestore.lakehouse.bucket import Bucket
    from featurestore.lakehouse.object_file import ObjectFile

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


PRELOADED = 16
"""How many metadata files are read concurrently."""


class LocalFirstIO(FileIO):
    """FileIO of a table: local files are opened directly, and those on S3 by as few requests as there are; others through pyarrow."""

    owned = False

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        path = local_path(location)
        if path is not None:
            return LocalFile(location, path, self.owned)
        file = self._on_s3(location)
        return self._elsewhere.new_input(location) if file is None else file

    def new_output(self, location: str) -> OutputFile:
        """A file to write."""
        path = local_path(location)
        if path is not None:
            return LocalFile(location, path, self.owned)
        file = self._on_s3(location)
        return self._elsewhere.new_output(location) if file is None else file

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file. Raises: FileNotFoundError."""
        text = location if isinstance(location, str) else location.location
        path = local_path(text)
        if path is not None:
            os.remove(path)
        elif (file := self._on_s3(text)) is not None:
            file.delete()
        else:
            self._elsewhere.delete(text)

    def delete_all(self, locations: Collection[str]) -> None:
        """Delete files, of which some may be gone already; those on S3 by one request for a thousand."""
        on_s3: dict[Bucket, list[ObjectFile]] = {}
        for location in locations:
            file = self._on_s3(location)
            if file is not None:
                on_s3.setdefault(file.bucket, []).append(file)
                continue
            with suppress(FileNotFoundError):
                self.delete(location)
        for bucket, files in on_s3.items():
            bucket.delete([file.key for file in files])

    def sized_input(self, location: str, size: int) -> InputFile:
        """A file to read, of which the size is known."""
        file = self._on_s3(location, size)
        return self.new_input(location) if file is None else file

    def _on_s3(self, location: str, size: int | None = None) -> "ObjectFile | None":
        """A file on S3; None for others, and where only pyarrow has the access."""
        if not location.startswith(("s3://", "s3a://", "s3n://")):
            return None
        # Imported here: most commands run in a folder.
        from featurestore.lakehouse.bucket import find_bucket  # noqa: PLC0415
        from featurestore.lakehouse.object_file import ObjectFile  # noqa: PLC0415

        # The same rule as pyiceberg's: the path of a URI is not decoded.
        parts = urlparse(location)
        bucket = find_bucket(parts.netloc, self.properties)
        return None if bucket is None else ObjectFile(location, bucket, parts.path.removeprefix("/"), size)

    def preload(self, locations: Collection[str]) -> None:
        """Read metadata files on S3 concurrently that are about to be read one by one; others are left alone."""
        files = [file for location in locations if (file := self._on_s3(location)) is not None]
        if len(files) > 1:
            with ThreadPoolExecutor(min(PRELOADED, len(files)), "metadata") as threads:
                list(threads.map(lambda file: file.read(), files))

    @cached_property
    def _elsewhere(self) -> Any:
        return pyarrow_io().PyArrowFileIO(self.properties)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be pickled; the receiving process opens it again."""
        return {"properties": self.properties}


class PrivateIO(LocalFirstIO):
    """LocalFirstIO for tables in a home folder: new files and folders are accessible to their owner only."""

    owned = True


def delete_files(io: FileIO, locations: Collection[str]) -> None:
    """Delete files of a table, of which some may be gone already. Raises: OSError for the first that cannot be deleted."""
    if isinstance(io, LocalFirstIO):
        io.delete_all(locations)
        return
    for location in locations:
        with suppress(FileNotFoundError):
            io.delete(location)


def preload(io: FileIO, locations: Collection[str]) -> None:
    """Read metadata files concurrently that are about to be read one by one, where each takes a request."""
    if isinstance(io, LocalFirstIO):
        io.preload(locations)
