"""Delete the metadata file that a failed creation of a table leaves behind."""

import pyarrow.fs as pafs
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import TableAlreadyExistsError
from sqlalchemy.exc import SQLAlchemyError

from featurestore.lakehouse import folders
from featurestore.lakehouse.catalog_errors import UNREACHABLE
from featurestore.masking import logger_of

logger = logger_of(__name__)


def delete_leftovers(catalog: Catalog, identifier: str, creation: str, error: Exception) -> None:
    """Delete the metadata files with this creation's id, after the creation failed with `error` and no table of it exists.

    Files are kept if the creation may still land, or if a catalog server wrote them. Failures to delete are logged, not raised: the
    caller raises `error`.
    """
    if not isinstance(catalog, SqlCatalog) or not _is_known_to_have_failed(catalog, error):
        return
    namespace, _, name = identifier.rpartition(".")
    try:
        location = f"{catalog._resolve_table_location(None, namespace, name)}/metadata"
        filesystem, path = folders.filesystem(catalog._load_file_io(location=location), location)
        for info in filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
            # Another writer may have created a table of this name meanwhile, with files in the same folder.
            if info.path.endswith(".metadata.json") and creation.encode() in _content(filesystem, info.path):
                filesystem.delete_file(info.path)
    except UNREACHABLE as failure:
        logger.info("the metadata of the failed creation of %s could not be deleted: %s", identifier, failure)


def _is_known_to_have_failed(catalog: SqlCatalog, error: Exception) -> bool:
    """Whether the creation cannot land any more: a database across a network may have received a request that it did not answer."""
    cause = error.__cause__ or error
    return isinstance(error, TableAlreadyExistsError) or not isinstance(cause, SQLAlchemyError) or catalog.engine.dialect.name == "sqlite"


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    try:
        with filesystem.open_input_file(path) as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError:
        # Another writer's commit deletes old ones.
        return b""
