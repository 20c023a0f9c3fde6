"""The clock of a catalog, which all machines that use it share; a catalog without a server has this machine's."""

from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import func, select

from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.values import times


def now(catalog: Catalog) -> int:
    """The time in microseconds since the epoch, by the clock of PostgreSQL or of the REST catalog's server where there is one.

    That of a REST server is known to the second: this machine's is taken while they agree. Raises: NotReady.
    """
    if isinstance(catalog, SqlCatalog) and catalog.engine.dialect.name == "postgresql":
        with translating_errors("asking the catalog for the time"), catalog.engine.connect() as connection:
            moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return times.micros(moment)
    return times.now() + int(getattr(catalog, "clock_ahead_us", 0))
