"""Drop a table with its files in two steps, first the name and then the folder; the second step can be done later."""

from contextlib import suppress
from dataclasses import dataclass

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO

from featurestore.errors import NotReady
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.local_io import local_path, pyarrow_io
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of

logger = logger_of(__name__)

_STORAGE = ("s3.", "gcs.", "adls.", "hdfs.", "client.")
"""What the names of catalog properties begin with that give access to files."""


@dataclass(frozen=True)
class TableIdentity:
    """The UUID of a table and the folder of its files, which still identify it when its name belongs to another table."""

    uuid: str
    location: str


@dataclass(frozen=True)
class FolderContents:
    """The number of files in a table's folder, and their total size in bytes."""

    files: int
    bytes: int


def identity_of(table: Table) -> TableIdentity:
    """The identity of the table that the handle shows."""
    return TableIdentity(table.uuid, table.iceberg.location())


def find_same_table(catalog: Catalog, identifier: str, target: TableIdentity) -> Table | None:
    """Load the table if it still has the target's UUID; None if it is gone, or another table has its name."""
    table = tables.find(catalog, identifier)
    return table if table is not None and identity_of(table).uuid == target.uuid else None


def folder_contents(catalog: Catalog, identifier: str, target: TableIdentity) -> FolderContents:
    """Count the files in the table's folder, reachable or not; zero if the folder also has another table's metadata.

    Two tables share a folder if one was renamed and its old name given to a new one. Also zero if the table is gone and only it gave
    access to its files. Raises: NotReady.
    """
    return _contents(_file_access(catalog, find_same_table(catalog, identifier, target), target), target)


def drop_table(catalog: Catalog, identifier: str, target: TableIdentity) -> FolderContents:
    """Drop the table if it still exists, and delete its folder unless another table shares it; returns what was deleted.

    Call it again to finish an interrupted drop. Raises: NotReady; the rest can be dropped by another call then.
    """
    table = find_same_table(catalog, identifier, target)
    # Before the drop: a catalog server may give access to the files of its tables only.
    io = _file_access(catalog, table, target)
    if table is not None:
        unregister(catalog, identifier, target)
    deleted = _contents(io, target)
    if deleted.files and io is not None:
        filesystem, path = folders.filesystem(io, target.location)
        with translating_errors(f"{identifier} is dropped, but not all of {target.location} is deleted"):
            folders.delete(filesystem, path)
    return deleted


def _file_access(catalog: Catalog, table: Table | None, target: TableIdentity) -> FileIO | None:
    """Access to the files of the target: that of its table, or else that of the settings; None if they have none."""
    if table is not None:
        return table.iceberg.io
    has_access = isinstance(catalog, MetastoreCatalog) or any(name.startswith(_STORAGE) for name in catalog.properties)
    if has_access or local_path(target.location) is not None:
        io: FileIO = pyarrow_io().PyArrowFileIO(dict(catalog.properties))
        return io
    logger.warning("files may be left in %s: their table is gone, and only with it the catalog gave access to them", target.location)
    return None


def _contents(io: FileIO | None, target: TableIdentity) -> FolderContents:
    if io is None:
        return FolderContents(0, 0)
    try:
        filesystem, path = folders.filesystem(io, target.location)
        infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        files = [info for info in infos if info.type == pafs.FileType.File]
        if any(folders.is_foreign(filesystem, info.path, target.uuid) for info in files if ".metadata.json" in info.path):
            return FolderContents(0, 0)
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking at the folder {target.location}") from error
    return FolderContents(len(files), sum(info.size for info in files))


def unregister(catalog: Catalog, identifier: str, target: TableIdentity) -> None:
    """Drop the table's name, which must belong to the target; its files stay. Raises: NotReady unless the name is known to be gone."""
    try:
        # Another process may be finishing the same drop.
        with suppress(NoSuchTableError):
            catalog.drop_table(identifier)
    except (*UNREACHABLE, NotReady) as error:
        # Perhaps only the response was lost.
        if find_same_table(catalog, identifier, target) is not None:
            raise to_store_error(error, f"dropping {identifier}") from error
