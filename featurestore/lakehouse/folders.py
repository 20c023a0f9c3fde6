"""The folder of a table: the filesystem it lies on, and whether another table's metadata lie there too."""

import json

import pyarrow.fs as pafs
from pyiceberg.io import FileIO
from pyiceberg.table import Table

from featurestore.lakehouse.local_io import LocalFirstIO, parse_location, pyarrow_io


def filesystem(io: FileIO, location: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that a location is on, for what is there already, and its path there."""
    scheme, netloc, path = parse_location(location, io.properties)
    if scheme == "file" and isinstance(io, LocalFirstIO):
        return pafs.LocalFileSystem(), path
    known = io if isinstance(io, pyarrow_io().PyArrowFileIO) else pyarrow_io().PyArrowFileIO(io.properties)
    return known.fs_by_scheme(scheme, netloc), path


def data_folders(*tables: Table) -> list[str]:
    """The folders on this machine where these tables keep their data files."""
    found: list[str] = []
    for table in tables:
        for location in (f"{table.location()}/data", table.properties.get("write.data.path")):
            scheme, _, path = parse_location(location, table.io.properties) if location else ("", "", "")
            if scheme == "file":
                found.append(path)
    return found


def is_foreign(files: pafs.FileSystem, path: str, uuid: str) -> bool:
    """Whether a metadata file is of another table than the one with this UUID."""
    try:
        with files.open_input_stream(path, compression="detect") as stream:
            return bool(json.loads(stream.read()).get("table-uuid") != uuid)
    except (ValueError, FileNotFoundError):
        # Cut off while it was written, or gone since: nobody's.
        return False
