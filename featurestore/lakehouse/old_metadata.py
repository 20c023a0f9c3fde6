"""Delete metadata files that a commit has dropped from a table's log, as pyiceberg does, when several processes commit at once."""

from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.table import TableProperties
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.utils.properties import property_as_bool

from featurestore.masking import logger_of

logger = logger_of(__name__)


def delete_quietly(catalog: Catalog) -> Catalog:
    """Make a catalog skip metadata files that are gone; returns the catalog.

    A handle that others have overtaken also lists the files that they have deleted: pyiceberg warns of each of them.
    """
    setattr(catalog, "_delete_old_metadata", _delete_dropped)  # noqa: B010 - mypy allows no assignment to a method
    return catalog


def _delete_dropped(io: FileIO, base: TableMetadata, metadata: TableMetadata) -> None:
    name, default = TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED, TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED_DEFAULT
    if not property_as_bool(metadata.properties, name, default):
        return
    for file in {entry.metadata_file for entry in base.metadata_log} - {entry.metadata_file for entry in metadata.metadata_log}:
        try:
            io.delete(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("the old metadata file %s was not deleted: %s", file, error)
