"""Tables granted to tests."""

from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.records.operator import Operator


def grant(table: Table) -> Granted:
    """The table, as the store itself reads it."""
    return Operator().grant(table)
