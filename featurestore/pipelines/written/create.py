"""Create a table whose rows are written by key, or add columns to one."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pyarrow as pa

from featurestore.compiler import check
from featurestore.compiler.fingerprint import written_fingerprint
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.entity import Entity
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.errors import Conflict, DefinitionError, RequestError, TypeMismatch, brief, near
from featurestore.lakehouse import commits, evolution
from featurestore.lakehouse.writes import OPERATION
from featurestore.online.keys import KEY_TYPES
from featurestore.online.value_types import value_type_of
from featurestore.pipelines.materialization.edition import publish_views
from featurestore.pipelines.planning.apply import ATTEMPTS, execute_plan
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.planning.step import Action, Step
from featurestore.pipelines.written.schema import columns_of_schema
from featurestore.records import definitions, feature_table
from featurestore.records.authors import AUTHOR, RUN_ID
from featurestore.records.definitions import Applied, Registry
from featurestore.records.feature_table import DEFINITION
from featurestore.records.runtime import Runtime
from featurestore.records.written_tables import WrittenTable, load_written_table
from featurestore.spines.columns import plain_arrow_type
from featurestore.values.arguments import check_column_names, check_text
from featurestore.values.humanize import format_names
from featurestore.values.value_types import ZONED

TIMES = (ZONED, "DATE", "VARCHAR")
"""The types of a timestamp column: times, dates, or ISO 8601 text."""


@dataclass(frozen=True)
class TableRequest:
    """A table to create, checked: its view, whose source has no place to read from, and its columns with DuckDB types."""

    view: FeatureView
    columns: Mapping[str, str]

    @classmethod
    def of(
        cls, name: str, keys: str | Sequence[str], timestamp: str | None, schema: Any, description: str, tags: Mapping[str, str] | None
    ) -> Self:
        """The request of the arguments of `create_table`. Raises: RequestError, TypeMismatch and DefinitionError naming the column."""
        key_columns = check_column_names(keys, "keys")
        types = columns_of_schema(schema)
        for key in key_columns:
            _check_key(key, types)
        if timestamp is not None:
            _check_timestamp(check_text(timestamp, "timestamp"), key_columns, types)
        features = {column: sql_type for column, sql_type in types.items() if column not in key_columns and column != timestamp}
        view = FeatureView(
            check_text(name, "name"),
            entity=Entity(name, keys=key_columns),
            source=Source(name, timestamp=timestamp or ""),
            features=list(features),
            description=check_text(description, "description"),
            tags={} if tags is None else tags,
        )
        problems = check.definition_problems(Definitions(views=(view,)))
        problems += map(Definitions().locate, check.entity_problems(view.entity))
        if problems:
            raise DefinitionError(problems)
        times = dict.fromkeys(check.TIME_COLUMNS, ZONED)
        return cls(view, {**{key: types[key] for key in key_columns}, **times, **features})


def create_table(runtime: Runtime, request: TableRequest) -> None:
    """Create a table, or add the columns that an existing one lacks. A table that has all of them is left as it is.

    Raises: Conflict if there is a declared view of this name, or a table with other keys, another timestamp or other types.
    """

    def attempt() -> None:
        known = definitions.read_registry(runtime)
        current = known.latest("view", request.view.name)
        if current is None:
            _register(runtime, known, "create", _new_version(known, request), f"new, {len(request.view.declared)} features")
        elif current.written:
            _evolve(runtime, known, current, request)
        else:
            raise Conflict(f"there is a declared view {current.name}; give the table another name", view=current.name)

    commits.retry(definitions.registry_table(runtime), attempt, undone="no table was created", attempts=ATTEMPTS)


def _new_version(known: Registry, request: TableRequest) -> Applied:
    view, columns = request.view, request.columns
    version, rank = known.next_version("view", view.name), known.next_rank("view", view.name)
    fingerprint, document = written_fingerprint(view, columns), documents.document(view)
    return Applied("view", view.name, version, fingerprint, document, columns, rank=0 if rank == version else rank)


def _register(runtime: Runtime, known: Registry, action: Action, row: Applied, reason: str) -> None:
    step = Step(action, "view", row.name, row.version, reason, row)
    execute_plan(runtime, Plan((step,), Definitions(), known.snapshot_id))


def _evolve(runtime: Runtime, known: Registry, current: Applied, request: TableRequest) -> None:
    """Add the columns that the table lacks, then describe them in the registry and online, where existing rows have NULL."""
    stored = load_written_table(runtime, current)
    _refuse_changes(stored, request)
    added = {name: sql_type for name, sql_type in request.columns.items() if name not in stored.applied.columns}
    view = replace(
        stored.view,
        features=[*stored.view.declared, *added],
        description=request.view.description or stored.view.description,
        tags=request.view.tags or stored.view.tags,
    )
    row = replace(current, document=documents.document(view), columns={**stored.applied.columns, **added})
    if added:
        _add_columns(stored, row, added, runtime.author)
    if row == current:
        return
    new = [name for name in row.columns if name not in current.columns]
    _register(runtime, known, "update words", row, f"{format_names(new)} added" if new else "description or tags changed")
    if new and feature_table.state_of(stored.table.properties).through is not None:
        publish_views(runtime, [row], full=True)


def _add_columns(stored: WrittenTable, row: Applied, added: Mapping[str, str], by: str) -> None:
    state = feature_table.state_of(stored.table.properties).to_properties()
    schema = pa.schema([(name, pa.uuid() if sql_type == "UUID" else plain_arrow_type(sql_type)) for name, sql_type in added.items()])
    summary = {**state, OPERATION: "add columns", RUN_ID: uuid.uuid4().hex, AUTHOR: by}
    evolution.add_columns(stored.table, schema, summary=summary, properties={DEFINITION: json.dumps(row.document)})


def _refuse_changes(stored: WrittenTable, request: TableRequest) -> None:
    """Raises: Conflict if the keys, the timestamp or the type of a column would change."""
    name, requested = request.view.name, request.view
    advice = "give the new table another name, or remove this one with remove_view"
    if list(requested.entity.keys) != stored.keys:
        raise Conflict(f"table {name} has the keys {', '.join(stored.keys)}, not {', '.join(requested.entity.keys)}; {advice}", table=name)
    if (requested.source.timestamp or None) != stored.timestamp:
        known = "the time of writing as its timestamp" if stored.timestamp is None else f"the timestamp column '{stored.timestamp}'"
        raise Conflict(f"table {name} has {known}; {advice}", table=name)
    for column, sql_type in request.columns.items():
        if (before := stored.applied.columns.get(column, sql_type)) != sql_type:
            raise Conflict(f"column '{column}' of table {name} is {before}, not {sql_type}; {advice}", table=name, column=column)


def _check_key(key: str, columns: Mapping[str, str]) -> None:
    if key not in columns:
        raise RequestError(f"the schema has no key column {brief(key)}{near(key, columns)}", field="keys")
    if (key_type := value_type_of(plain_arrow_type(columns[key]), key)) not in KEY_TYPES:
        raise TypeMismatch(f"the key column '{key}' is {columns[key]}; a key must not be of type {key_type}", field=f"schema.{key}")


def _check_timestamp(timestamp: str, keys: Sequence[str], columns: Mapping[str, str]) -> None:
    if timestamp not in columns:
        raise RequestError(f"the schema has no timestamp column {brief(timestamp)}{near(timestamp, columns)}", field="timestamp")
    if timestamp in keys:
        raise RequestError(f"'{timestamp}' is a key, and cannot be the timestamp as well", field="timestamp")
    if columns[timestamp] not in TIMES:
        raise TypeMismatch(
            f"the timestamp column '{timestamp}' is {columns[timestamp]}; give timestamps, dates or ISO 8601 text", field="timestamp"
        )
