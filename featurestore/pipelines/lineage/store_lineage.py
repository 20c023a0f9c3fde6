"""The lineage of every view of a store: each feature table's columns, traced to the columns of its source tables."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.column_uses import Uses
from featurestore.compiler.lineage.view_lineage import Lineage, source_tables, trace_view
from featurestore.errors import Conflict
from featurestore.lakehouse import tables
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime


@dataclass(frozen=True)
class TracedView:
    """A version of a view with its lineage; `table` is the feature table's name with its namespace."""

    row: Applied
    table: str
    lineage: Lineage

    @property
    def columns(self) -> Mapping[str, Uses]:
        """The uses behind each column of the feature table."""
        return {**self.lineage.keys, **self.lineage.times, **self.lineage.features}


@dataclass(frozen=True)
class StoreLineage:
    """Every applied version of every view, and the columns of the tables that they read, None for a table that no longer exists.

    `untraced` are the versions whose stored SQL this release does not read.
    """

    views: tuple[TracedView, ...]
    tables: Mapping[str, tuple[str, ...] | None]
    untraced: tuple[str, ...]


def trace_store(runtime: Runtime, known: Registry) -> StoreLineage:
    """Trace every applied version of every view, from the registry and the schemas of its tables; no rows are read."""
    columns: dict[str, tuple[str, ...] | None] = {}
    traced: list[TracedView] = []
    untraced: list[str] = []
    for name in known.names("view"):
        for row in known.rows["view", name]:
            try:
                view = known.view(row)
                for table in source_tables(view.source):
                    if table not in columns:
                        columns[table] = None if view.source.files else column_names(runtime, table)
                traced.append(TracedView(row, runtime.features_table(row.table), trace_view(view, columns)))
            except (SqlProblem, Conflict):
                untraced.append(f"{name} v{row.version}")
    return StoreLineage(tuple(traced), columns, tuple(untraced))


def column_names(runtime: Runtime, table: str) -> tuple[str, ...] | None:
    """The columns of a table of the catalog; None if there is no such table."""
    loaded = tables.find(runtime.catalog, table)
    return None if loaded is None else tuple(tables.column_names(loaded, loaded.schema_id))
