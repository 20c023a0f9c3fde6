"""What a catalog server refuses, found with a table of its own, which is made, changed and dropped."""

import uuid
from collections.abc import Callable

import pyarrow as pa
from pyiceberg.catalog import Catalog, MetastoreCatalog

from featurestore.errors import FeatureStoreError, Unsupported
from featurestore.lakehouse import dropping, maintenance, tables, tags, writes
from featurestore.lakehouse.table import Table

PROBE = "doctor_"
"""The names of these tables begin so."""
_SCHEMA = pa.schema([("n", pa.int64())])
_TAG = "doctor"


def is_server(catalog: Catalog) -> bool:
    """Whether a catalog is a server, which may refuse what it does not support; catalogs in a database do everything."""
    return not isinstance(catalog, MetastoreCatalog)


def refused_updates(catalog: Catalog, namespace: str) -> list[FeatureStoreError]:
    """The errors of what a catalog refuses of all that the store asks of catalogs; none of a catalog that can do everything.

    Namespaces and tables are made and dropped, rows and properties set in one commit, snapshots tagged and removed, in a table of this
    namespace that is gone afterwards. Raises: NotReady if the catalog does not answer; Conflict.
    """
    refused: list[FeatureStoreError] = []

    def ask(step: Callable[[], object]) -> bool:
        try:
            step()
        except Unsupported as error:
            refused.append(error)
            return False
        return True

    name = f"{namespace}.{PROBE}{uuid.uuid4().hex}"
    table = tables.create(catalog, name, _SCHEMA)
    try:
        if ask(lambda: _append(table, "1")) and ask(lambda: _tag(table)):
            # The first snapshot is neither current nor tagged any more.
            first = table.snapshot_ids[0]
            _append(table, "2")
            ask(lambda: maintenance.remove_snapshot(table, first))
    finally:
        ask(lambda: dropping.drop_table(catalog, name, dropping.identity_of(table)))
    return refused


def _append(table: Table, value: str) -> None:
    writes.append(table, pa.Table.from_pylist([{"n": 1}], _SCHEMA).to_reader(), summary={}, properties={"featurestore.doctor": value})


def _tag(table: Table) -> None:
    tags.set_tag(table, _TAG, table.snapshot_ids[0])
    tags.settle_tags(table, (), (_TAG,))
