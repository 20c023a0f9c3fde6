"""Written tables: views whose rows are written by key. Their columns are those of the feature table, to which columns may be added."""

import json
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.compiler.features import feature_names
from featurestore.compiler.log_diff import DELETED
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import column_types, tables
from featurestore.lakehouse.table import Table
from featurestore.records import stored_definition
from featurestore.records.definitions import Applied, Registry
from featurestore.records.feature_table import DEFINITION
from featurestore.records.runtime import Runtime


@dataclass(frozen=True)
class WrittenTable:
    """A written table as its feature table describes it, in which definition and columns change in one commit.

    `applied` is the registry's row with that definition and those columns.
    """

    applied: Applied
    view: FeatureView
    table: Table

    @property
    def timestamp(self) -> str | None:
        """The column with the time from which a row holds; None: the time of writing."""
        return self.view.source.timestamp or None

    @property
    def features(self) -> dict[str, str]:
        """The features with their DuckDB types."""
        names = feature_names(self.view)
        return {name: self.applied.columns[name] for name in names}

    @property
    def keys(self) -> list[str]:
        """The key columns."""
        return list(self.view.entity.keys)


def written_version(known: Registry, name: str) -> Applied:
    """The version of a written table. Raises: NotFound with the nearest names; Conflict for a declared view."""
    applied = known.latest("view", name)
    if applied is None:
        raise NotFound("table", name, [row.name for rows in known.rows.values() for row in rows[-1:] if row.written])
    if not applied.written:
        raise Conflict(f"view {name} is computed from its source; only tables made by create_table are written to", view=name)
    return applied


def load_written_table(runtime: Runtime, applied: Applied) -> WrittenTable:
    """Load a written table. Raises: Conflict if its definition cannot be read."""
    table = tables.load(runtime.catalog, runtime.features_table(applied.table))
    schema = tables.arrow_schema(table)
    columns = column_types.sql_types_of_columns(pa.schema([field for field in schema if field.name != DELETED]))
    with stored_definition.conflict_if_unreadable(f"table {applied.name}", table=applied.table):
        document = json.loads(table.properties[DEFINITION])
    view = stored_definition.checked_stored_view(applied.name, applied.version, document, columns)
    return WrittenTable(replace(applied, document=document, columns=columns), view, table)


def is_written(table: Table) -> bool:
    """Whether a feature table is a written one, by the definition in its properties."""
    document = json.loads(table.properties.get(DEFINITION) or "{}")
    return Applied("view", "", 0, "", document).written
