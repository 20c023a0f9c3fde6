"""Dropping a table with its files, in two steps of which the second can be done later: first its name, then its folder."""

from contextlib import suppress
from dataclasses import dataclass

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from featurestore.errors import NotReady
from featurestore.lakehouse import folders, tables
from featurestore.lakehouse.local_io import pyarrow_io
from featurestore.lakehouse.reaching import UNREACHABLE, reaching, told
from featurestore.lakehouse.tables import Table


@dataclass(frozen=True)
class Identity:
    """Which table is meant, whatever its name stands for by now: its UUID, and the folder of its files."""

    uuid: str
    location: str


@dataclass(frozen=True)
class Contents:
    """The files in a table's folder, and their bytes."""

    files: int
    bytes: int


def identity(table: Table) -> Identity:
    """The identity of the table that the handle shows."""
    return Identity(str(table.metadata.table_uuid), table.location())


def find(catalog: Catalog, identifier: str, wanted: Identity) -> Table | None:
    """The table of this name if it is the one that is meant; None when it is gone, or another one has its name."""
    found = tables.find(catalog, identifier)
    return found if found is not None and identity(found).uuid == wanted.uuid else None


def contents(catalog: Catalog, wanted: Identity) -> Contents:
    """What lies in the table's folder, reachable or not; nothing where another table's metadata lie there as well.

    Two tables share a folder where one was renamed and its name given to a new one. Raises: NotReady.
    """
    try:
        filesystem, path = folders.filesystem(pyarrow_io().PyArrowFileIO(dict(catalog.properties)), wanted.location)
        infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
        files = [info for info in infos if info.type == pafs.FileType.File]
        if any(folders.is_foreign(filesystem, info.path, wanted.uuid) for info in files if ".metadata.json" in info.path):
            return Contents(0, 0)
    except UNREACHABLE as error:
        raise told(error, f"looking at the folder {wanted.location}") from error
    return Contents(len(files), sum(info.size for info in files))


def drop(catalog: Catalog, identifier: str, wanted: Identity) -> Contents:
    """Drop the table, if it is still there, and delete its folder, as far as it is its own; returns what was deleted.

    Killed in between, it is ended by calling it again. Raises: NotReady; what is left then can be dropped again.
    """
    if find(catalog, identifier, wanted) is not None:
        unregister(catalog, identifier, wanted)
    found = contents(catalog, wanted)
    if found.files:
        filesystem, path = folders.filesystem(pyarrow_io().PyArrowFileIO(dict(catalog.properties)), wanted.location)
        with reaching(f"{identifier} is dropped, but not all of {wanted.location} is deleted"):
            filesystem.delete_dir(path)
    return found


def unregister(catalog: Catalog, identifier: str, wanted: Identity) -> None:
    """Drop the table's name, which stands for the wanted one; its files stay. Raises: NotReady while it is not known to be gone."""
    try:
        # Another process may be ending the same work.
        with suppress(NoSuchTableError):
            catalog.drop_table(identifier)
    except (*UNREACHABLE, NotReady) as error:
        # The answer may be lost alone.
        if find(catalog, identifier, wanted) is not None:
            raise told(error, f"dropping {identifier}") from error
