"""What a creation of a table has written that failed: a metadata file of a table that never was."""

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import TableAlreadyExistsError
from sqlalchemy.exc import SQLAlchemyError

from featurestore.lakehouse import folders
from featurestore.lakehouse.reaching import UNREACHABLE
from featurestore.secrets import logger_of

logger = logger_of(__name__)


def clear(catalog: Catalog, identifier: str, creation: str, error: Exception) -> None:
    """Delete the metadata files that hold this mark of a creation, which ended with this error and has made no table that is there.

    They stay where that creation may still land, and where they are the catalog server's own. What cannot be deleted is logged: `error`
    is what the caller is to hear.
    """
    if not isinstance(catalog, SqlCatalog) or not _is_known_to_have_failed(catalog, error):
        return
    namespace, _, name = identifier.rpartition(".")
    try:
        location = f"{catalog._resolve_table_location(None, namespace, name)}/metadata"
        filesystem, path = folders.filesystem(catalog._load_file_io(location=location), location)
        for info in filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
            # The name may have become another writer's table meanwhile, whose files lie in the same folder.
            if info.path.endswith(".metadata.json") and creation.encode() in _content(filesystem, info.path):
                filesystem.delete_file(info.path)
    except UNREACHABLE as failed:
        logger.info("what the creation of %s has written is left where it is: %s", identifier, failed)


def _is_known_to_have_failed(catalog: SqlCatalog, error: Exception) -> bool:
    """Whether nothing of it is under way any more: a database that was reached over a network may have heard what it did not answer."""
    cause = error.__cause__ or error
    return isinstance(error, TableAlreadyExistsError) or not isinstance(cause, SQLAlchemyError) or catalog.engine.dialect.name == "sqlite"


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    try:
        with filesystem.open_input_file(path) as file:
            found: bytes = file.read()
            return found
    except FileNotFoundError:
        # Another writer's commit deletes old ones.
        return b""
