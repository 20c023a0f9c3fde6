"""Find what a run has read and written: tables at their snapshots, files, and the lineage of every column that was written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.compiler.expressions import parse_query
from featurestore.compiler.lineage import column_uses
from featurestore.compiler.lineage.column_uses import Use, Uses
from featurestore.compiler.lineage.query_lineage import QueryTracer
from featurestore.compiler.lineage.view_lineage import source_tables, trace_service, trace_view
from featurestore.compiler.parsing import with_large_stack
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.pipelines.lineage_events import facets
from featurestore.pipelines.lineage_events.facets import DatasetName, Json, RunDatasets
from featurestore.records import feature_table, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.redaction import location_of


def materialized_datasets(runtime: Runtime, applied: Applied, snapshot_id: int | None) -> RunDatasets:
    """The sources of a version of a view, and its feature table at a snapshot. Raises: NotFound for a table that is gone."""
    view = stored_definition.stored_view(applied.name, applied.version, applied.document, applied.columns)
    table = tables.load(runtime.catalog, runtime.features_table(applied.table))
    pins = feature_table.state_at(table, snapshot_id).snapshots
    inputs: list[Json] = []
    names: dict[str, DatasetName] = {}
    columns: dict[str, list[str] | None] = {}
    for source in source_tables(view.source):
        if view.source.files is not None:
            names[source], columns[source] = file_name(source), None
            inputs.append(facets.dataset(names[source], {}))
            continue
        loaded = tables.load(runtime.catalog, source)
        names[source], columns[source] = table_name(loaded), list(tables.column_types(loaded, None))
        inputs.append(table_dataset(runtime, loaded, pins.get(source) or None))
    traced = trace_view(view, columns)
    uses = {**traced.keys, **traced.times, **traced.features}
    return RunDatasets(inputs, [table_dataset(runtime, table, _text(snapshot_id), facets.column_lineage(uses, names))])


def training_set_datasets(runtime: Runtime, manifest: Mapping[str, Any]) -> RunDatasets:
    """The feature tables and the spine's tables of a training set, and its own table. Raises: NotFound for a table that is gone."""
    plan = stored_definition.stored_plan(manifest["plan"], f"the manifest of training set {manifest['id']}")
    read = {str(entry["table"]): entry["snapshot_id"] for entry in manifest["views"].values()} | _spine_snapshots(manifest["spine"])
    loaded = {name: tables.load(runtime.catalog, name) for name in read}
    inputs = [table_dataset(runtime, table, read[name]) for name, table in loaded.items()]
    uses = {
        **_spine_uses(manifest["spine"], {name: list(tables.column_types(table, None)) for name, table in loaded.items()}),
        **{name: _qualified(runtime, used) for name, used in trace_service(plan).features.items()},
    }
    stored = tables.load(runtime.catalog, f"{runtime.settings.training_sets_namespace}.{manifest['name']}")
    names = {name: table_name(table) for name, table in loaded.items()}
    lineage = facets.column_lineage({column["name"]: uses.get(column["name"], column_uses.NONE) for column in manifest["columns"]}, names)
    return RunDatasets(inputs, [table_dataset(runtime, stored, manifest["snapshot_id"], lineage)])


def table_dataset(runtime: Runtime, table: Table, snapshot: str | None, more: Json | None = None) -> Json:
    """A table at a snapshot, with its columns; None: it has no rows. Its name in the catalog is a symlink."""
    snapshot_id = None if snapshot is None or int(snapshot) not in table.snapshot_ids else int(snapshot)
    link = {"namespace": _catalog_place(runtime), "name": table.name, "type": "TABLE"}
    version = {} if snapshot is None else facets.facet("version", datasetVersion=snapshot)
    schema = facets.schema(tables.column_types(table, snapshot_id))
    return facets.dataset(table_name(table), {**schema, **facets.facet("symlinks", identifiers=[link]), **version, **(more or {})})


def table_name(table: Table) -> DatasetName:
    """A table by its location, as other programs that read Iceberg name it."""
    return location_name(table.location)


def location_name(location: str) -> DatasetName:
    """The name of a dataset at a location: its storage, and the path there."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return DatasetName("file", location.removeprefix("file:").rstrip("/"))
    if scheme == "file":
        return DatasetName("file", "/" + rest.strip("/"))
    authority, _, path = rest.partition("/")
    return DatasetName(f"{scheme}://{authority}", path.rstrip("/"))


def file_name(path: str) -> DatasetName:
    """The name of a source's files, whose path may have wildcards."""
    return location_name(path) if "://" in path else DatasetName("file", str(Path(path).expanduser().absolute()))


def _catalog_place(runtime: Runtime) -> str:
    """The warehouse of the catalog, or its address where a server knows the warehouse; without passwords."""
    properties = runtime.settings.catalog_properties()
    place = properties.get("uri", "") if properties.get("uri", "").startswith("http") else properties.get("warehouse", "")
    return location_of(place).rstrip("/") if "://" in place else place


def _text(snapshot_id: int | None) -> str | None:
    return None if snapshot_id is None else str(snapshot_id)


def _qualified(runtime: Runtime, uses: Uses) -> Uses:
    return frozenset(Use(runtime.features_table(use.table), use.column, use.role) for use in uses if use.table != column_uses.REQUEST)


def _spine_snapshots(spine: Mapping[str, Any]) -> dict[str, str | None]:
    if spine.get("table") is not None:
        return {spine["table"]: spine["snapshot_id"]}
    return dict(spine.get("tables") or {})


def _spine_uses(spine: Mapping[str, Any], columns: Mapping[str, list[str]]) -> dict[str, Uses]:
    """The uses behind the columns of a spine that was read from tables; none for one that was sent, or read from files."""
    if spine.get("table") is not None:
        return {name: frozenset({Use(spine["table"], name)}) for name in spine["columns"]}
    if spine.get("sql") is None:
        return {}
    tree = parse_query(spine["sql"])
    relation = with_large_stack(lambda: QueryTracer(columns).query(tree, {}, None), "the spine")
    return {name: (relation.column(name) or column_uses.NONE) | relation.rows for name in spine["columns"]}
