"""Drop a table with its files in two steps, first the name and then the folder; the second step can be done later."""

from contextlib import suppress
from dataclasses import dataclass

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from featurestore.errors import NotReady
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.local_io import pyarrow_io
from featurestore.lakehouse.table import Table


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


def folder_contents(catalog: Catalog, target: TableIdentity) -> FolderContents:
    """Count the files in the table's folder, reachable or not; zero if the folder also has another table's metadata.

    Two tables share a folder if one was renamed and its old name given to a new one. Raises: NotReady.
    """
    try:
        filesystem, path = folders.filesystem(pyarrow_io().PyArrowFileIO(dict(catalog.properties)), target.location)
        infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        files = [info for info in infos if info.type == pafs.FileType.File]
        if any(folders.is_foreign(filesystem, info.path, target.uuid) for info in files if ".metadata.json" in info.path):
            return FolderContents(0, 0)
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking at the folder {target.location}") from error
    return FolderContents(len(files), sum(info.size for info in files))


def drop_table(catalog: Catalog, identifier: str, target: TableIdentity) -> FolderContents:
    """Drop the table if it still exists, and delete its folder unless another table shares it; returns what was deleted.

    Call it again to finish an interrupted drop. Raises: NotReady; the rest can be dropped by another call then.
    """
    if find_same_table(catalog, identifier, target) is not None:
        unregister(catalog, identifier, target)
    deleted = folder_contents(catalog, target)
    if deleted.files:
        filesystem, path = folders.filesystem(pyarrow_io().PyArrowFileIO(dict(catalog.properties)), target.location)
        with translating_errors(f"{identifier} is dropped, but not all of {target.location} is deleted"):
            filesystem.delete_dir(path)
    return deleted


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
