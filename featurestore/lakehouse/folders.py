"""The folder of a table: its filesystem, and whether another table's metadata are in it too."""

import json

import pyarrow.fs as pafs
from pyiceberg.io import FileIO

from featurestore.errors import NotReady
from featurestore.lakehouse.catalog_errors import NO_BUCKET
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.local_io import LocalFirstIO, parse_location, pyarrow_io


def filesystem(io: FileIO, location: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a location, for existing files, and the path in it."""
    scheme, netloc, path = parse_location(location, io.properties)
    if scheme == "file" and isinstance(io, LocalFirstIO):
        return pafs.LocalFileSystem(), path
    pyarrow_files = io if isinstance(io, pyarrow_io().PyArrowFileIO) else pyarrow_io().PyArrowFileIO(io.properties)
    return pyarrow_files.fs_by_scheme(scheme, netloc), path


def delete(filesystem: pafs.FileSystem, path: str) -> None:
    """Delete a folder with all that is in it; nothing if it does not exist."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        filesystem.delete_dir(path)
        return
    filesystem.delete_dir_contents(path, missing_dir_ok=True)


def refuse_missing_bucket(filesystem: pafs.FileSystem, path: str, shown: str) -> None:
    """Raise NotReady if the bucket of this path is gone, where every file looks as if it were missing. Local paths have none.

    The folder is listed, not the bucket: credentials may be those of one table. `shown` is the location for the message.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        return
    bucket = path.strip("/").partition("/")[0]
    try:
        filesystem.get_file_info(pafs.FileSelector(path))
        return
    except FileNotFoundError:
        exists = filesystem.get_file_info(bucket).type != pafs.FileType.NotFound
    except OSError as error:
        if NO_BUCKET not in str(error):
            raise
        exists = False
    if not exists:
        raise NotReady(f"the warehouse {shown} does not exist: no bucket {bucket}; create or restore it, or correct the setting warehouse")


def data_folders(*tables: Granted) -> list[str]:
    """The local data folders of these tables; tables stored elsewhere have none."""
    paths: list[str] = []
    for table in (granted.table for granted in tables):
        for location in (f"{table.iceberg.location()}/data", table.properties.get("write.data.path")):
            scheme, _, path = parse_location(location, table.iceberg.io.properties) if location else ("", "", "")
            if scheme == "file":
                paths.append(path)
    return paths


def is_foreign(files: pafs.FileSystem, path: str, uuid: str) -> bool:
    """Whether a metadata file belongs to a table with another UUID."""
    try:
        with files.open_input_stream(path, compression="detect") as stream:
            return bool(json.loads(stream.read()).get("table-uuid") != uuid)
    except (ValueError, FileNotFoundError):
        # Truncated while it was written, or deleted since: it belongs to no table.
        return False
