"""Where a table's current metadata are, without reading them: a cheap way to notice that another process has committed."""

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from sqlalchemy import select

from featurestore.lakehouse import tables
from featurestore.lakehouse.catalog_errors import translating_errors


def metadata_location(catalog: Catalog, identifier: str) -> str | None:
    """The address of the table's metadata file, which each commit changes; None if there is no such table.

    A database is asked for this address alone; a REST catalog has only whole tables. Raises: NotReady if the catalog cannot be reached.
    """
    if not isinstance(catalog, SqlCatalog):
        table = tables.find(catalog, identifier)
        return None if table is None else table.metadata_location
    namespace, _, name = identifier.rpartition(".")
    wanted = select(IcebergTables.metadata_location).where(
        IcebergTables.catalog_name == catalog.name,
        IcebergTables.table_namespace == namespace,
        IcebergTables.table_name == name,
    )
    with translating_errors(f"looking for {identifier}"), catalog.engine.connect() as connection:
        return connection.scalar(wanted)
