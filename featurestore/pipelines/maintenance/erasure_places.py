"""Where rows of an entity's key may be: feature tables, training sets, logged predictions, and the sources they come from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.column_uses import ALL_COLUMNS, NO_COLUMN, VALUE
from featurestore.compiler.lineage.view_lineage import source_tables, trace_view
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.entity import Entity
from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.lakehouse.history_rewrite import Matches, Row
from featurestore.pipelines.lineage.store_lineage import column_names
from featurestore.pipelines.training_sets.listing import read_manifests
from featurestore.records import definitions, stored_definition
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.values.coercion import coerce
from featurestore.values.table_names import KEPT_NAMESPACE, is_in
from featurestore.values.value_types import INTEGERS


@dataclass(frozen=True)
class Subject:
    """An entity's key: the values of its columns, and the versions of views that have all of these columns among their keys."""

    entity: str
    values: Mapping[str, Any]
    views: tuple[Applied, ...]

    @property
    def tables(self) -> set[str]:
        """The names of the feature tables, without their namespace."""
        return {row.table for row in self.views}

    def matches(self, columns: Mapping[str, str] | None = None) -> Row:
        """The values by column; `columns` renames key columns."""
        return {(columns or {}).get(name, name): value for name, value in self.values.items()}


def find_subject(runtime: Runtime, entity: str, key: Any) -> Subject:
    """The key of an applied entity. Raises: NotFound with the nearest entities; RequestError, TypeMismatch for what is no key of it."""
    known = definitions.read_registry(runtime)
    keys = _entity(known, entity).keys
    values = dict(key) if isinstance(key, Mapping) else {keys[0]: key}
    if set(values) != set(keys) or (len(keys) > 1 and not isinstance(key, Mapping)):
        raise RequestError(f"key: entity {entity} has the key columns {', '.join(keys)}; give a value for each, by column", field="key")
    views = [row for rows in known.rows.values() for row in rows if row.kind == "view" and set(keys) <= set(known.view(row).entity.keys)]
    types = {name: row.columns[name] for row in views for name in keys}
    typed = {name: _typed(value, types.get(name), name) for name, value in values.items()}
    if any(value is None for value in typed.values()):
        raise RequestError("key: NULL identifies nobody", field="key")
    return Subject(entity, typed, tuple(views))


def feature_tables(runtime: Runtime, subject: Subject) -> Iterator[tuple[str, Matches]]:
    """The feature tables that have the key, and the rows to look for."""
    for row in subject.views:
        yield runtime.features_table(row.table), Matches([subject.matches()])


def training_set_tables(runtime: Runtime, subject: Subject) -> dict[str, Matches]:
    """The tables of training sets, and the rows to look for: a spine may have the key in several columns."""
    rows: dict[str, list[Row]] = {}
    for manifest in read_manifests(runtime):
        plan = stored_definition.stored_plan(manifest["plan"], f"the manifest of training set {manifest['id']}")
        found = rows.setdefault(f"{runtime.settings.training_sets_namespace}.{manifest['name']}", [])
        found += [row for row in _request_rows(plan, subject) if row not in found]
    return {name: Matches(found) for name, found in rows.items() if found}


def inference_tables(runtime: Runtime, subject: Subject) -> dict[str, Matches]:
    """The tables of logged predictions, and the rows to look for: values have the column of their name, or one that is made from it."""
    known = definitions.read_registry(runtime)
    plans = [known.plan(row) for rows in known.rows.values() for row in rows if row.kind == "service"]
    plans += [stored_definition.stored_plan(manifest["plan"], "a manifest") for manifest in read_manifests(runtime)]
    wanted = [row for plan in plans for row in _request_rows(plan, subject)]
    namespace = runtime.settings.inference_namespace
    found: dict[str, Matches] = {}
    for name in tables.list_tables(runtime.catalog, namespace):
        columns = column_names(runtime, f"{namespace}.{name}") or ()
        rows: list[Row] = []
        for row in wanted:
            rows += [renamed for renamed in _spellings(row, columns) if renamed not in rows]
        if rows:
            found[f"{namespace}.{name}"] = Matches(rows)
    return found


def copy_tables(runtime: Runtime, subject: Subject) -> dict[str, Matches]:
    """The tables with the rows of sources that the store keeps, and the rows to look for."""
    places = source_places(runtime, subject)
    return {name: Matches(rows) for name, rows in places.items() if rows and is_in(name, KEPT_NAMESPACE)}


def source_places(runtime: Runtime, subject: Subject) -> dict[str, list[Row] | None]:
    """The tables and files that views with the key read, and the rows to look for; None where only a person can say."""
    known = definitions.read_registry(runtime)
    places: dict[str, list[Row] | None] = {}
    for applied in subject.views:
        view = known.view(applied)
        if view.source.written:
            continue
        try:
            columns = {name: None if view.source.files else column_names(runtime, name) for name in source_tables(view.source)}
            keys = trace_view(view, columns).keys
        except (SqlProblem, Conflict):
            places[f"the source of view {view.name}"] = None
            continue
        for table in columns:
            named = {
                name: {use.column for use in uses if use.table == table and use.role == VALUE} - {NO_COLUMN, ALL_COLUMNS}
                for name, uses in keys.items()
                if name in subject.values
            }
            if view.source.files is not None:
                places[table] = None
            elif all(len(found) == 1 for found in named.values()) and table != "":
                row = {next(iter(found)): subject.values[name] for name, found in named.items()}
                rows = places.setdefault(table, [])
                if rows is not None and row not in rows:
                    rows.append(row)
    return places


def _typed(value: Any, sql_type: str | None, name: str) -> Any:
    """The value as the type of the column; whole numbers may be written as text, as on a command line."""
    written = isinstance(value, str) and sql_type in INTEGERS and re.fullmatch(r"-?[0-9]{1,40}", value)
    plain = int(value) if written else value
    return plain if sql_type is None else coerce(plain, sql_type, f"key {name}")


def _entity(known: Registry, name: str) -> Entity:
    for rows in known.rows.values():
        for row in rows:
            if row.kind == "view" and (entity := known.view(row).entity).name == name:
                return entity
    raise NotFound("entity", name, {known.view(row).entity.name for rows in known.rows.values() for row in rows if row.kind == "view"})


def _request_rows(plan: ServicePlan, subject: Subject) -> Iterator[Row]:
    for use in plan.uses:
        columns = dict(use.keys)
        if use.table in subject.tables and set(subject.values) <= set(columns):
            yield subject.matches(columns)


def _spellings(row: Row, columns: Any) -> Iterator[Row]:
    """The row by the columns of a table of predictions that may have its values."""
    options = {name: [column for column in columns if re.fullmatch(rf"(value_)?{re.escape(name)}(_[a-z0-9_]+)?", column)] for name in row}
    if len(row) == 1:
        ((name, value),) = row.items()
        yield from ({column: value} for column in options[name])
    elif all(options.values()):
        yield {options[name][0]: value for name, value in row.items()}
