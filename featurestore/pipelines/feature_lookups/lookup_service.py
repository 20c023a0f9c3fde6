"""A service that is made of feature lookups: named after its fingerprint, and registered once."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from featurestore.compiler.check_service import output_names, request_keys, service_problems
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.fingerprint import service_fingerprint
from featurestore.compiler.storage import storage_type
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definitions
from featurestore.dsl.lookup import FeatureLookup, Lookup
from featurestore.dsl.service import FeatureService
from featurestore.errors import DefinitionError, RequestError, TypeMismatch, brief, near
from featurestore.lakehouse import column_types, commits
from featurestore.pipelines.feature_lookups.selections import SelectedTable, select_tables
from featurestore.pipelines.planning.apply import ATTEMPTS, execute_plan
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.planning.step import Step
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.records import definitions
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.spines.reading import ReadRows, open_rows
from featurestore.values import times
from featurestore.values.arguments import check_column_names, check_text, naming
from featurestore.values.value_types import STORED_TYPES

PREFIX = "lookup"
AS_OF = "as_of"
"""The column with the time of the request in a spine without times, with as many _ after it as make it unique."""


@dataclass(frozen=True)
class LookupArguments:
    """The arguments of `create_training_set` that say what is looked up, checked."""

    lookups: Sequence[FeatureLookup]
    label: str | None
    exclude: tuple[str, ...]
    timestamp: str | None

    @classmethod
    def of(cls, lookups: Any, label: Any, exclude: Any, timestamp: Any) -> "LookupArguments":
        """Raises: RequestError naming the argument."""
        excluded = () if exclude is None else tuple(dict.fromkeys(check_column_names(exclude, "exclude_columns")))
        checked = [None if value is None else check_text(value, what) for value, what in ((label, "label"), (timestamp, "timestamp"))]
        return cls(lookups, checked[0], excluded, checked[1])


def request_of_lookups(runtime: Runtime, stack: ExitStack, frame: Any, arguments: LookupArguments, **more: Any) -> TrainingSetRequest:
    """The request of a training set of a frame with looked-up features; its service is registered. `stack` keeps the frame's rows open.

    Columns of the frame that are neither keys, times, label nor excluded become request fields of the service, since a model reads them.
    Raises: RequestError, TypeMismatch and DefinitionError naming the argument or the column; NotFound.
    """
    with naming("frame"):
        rows, origin = stack.enter_context(open_rows(runtime, frame, [] if arguments.timestamp is None else [arguments.timestamp]))

    def attempt() -> tuple[FeatureService, str]:
        known = definitions.read_registry(runtime)
        selected, time = _in_time(select_tables(runtime, known, arguments.lookups), arguments.timestamp, rows.schema)
        service = _service(selected, rows.schema, arguments, time)
        _register(runtime, known, service, selected)
        return service, time

    service, time = commits.retry(definitions.registry_table(runtime), attempt, undone="no service was made", attempts=ATTEMPTS)
    spine, excluded = rows, arguments.exclude
    if time not in rows.schema.names:
        spine, excluded = _with_time(rows, time), (*excluded, time)
    return TrainingSetRequest.of(service.name, ReadRows(spine, origin), time, label=arguments.label, exclude=excluded, **more)


def _in_time(selected: list[SelectedTable], timestamp: str | None, schema: pa.Schema) -> tuple[list[SelectedTable], str]:
    """The lookups with their own times, and the spine's column of times: `timestamp`, or the one that all lookups name, or a new one."""
    timestamps = list(dict.fromkeys(_lookup(table).timestamp for table in selected))
    named = [name for name in timestamps if name is not None]
    if timestamp is None and len(named) > 1 and None in timestamps:
        raise RequestError(
            f"some lookups have a timestamp_lookup_key ({', '.join(named)}) and others have none; give each one, or timestamp=",
            field="timestamp_lookup_key",
        )
    time = timestamp or (named[0] if named else _unused_name(schema.names))
    return [_with_timestamp(table, None if _lookup(table).timestamp == time else _lookup(table).timestamp) for table in selected], time


def _lookup(table: SelectedTable) -> Lookup:
    assert table.selection.lookup is not None
    return table.selection.lookup


def _with_timestamp(table: SelectedTable, timestamp: str | None) -> SelectedTable:
    return replace(table, selection=replace(table.selection, lookup=replace(_lookup(table), timestamp=timestamp)))


def _unused_name(names: Sequence[str]) -> str:
    name = AS_OF
    while name in names:
        name += "_"
    return name


def _with_time(rows: pa.Table | pa.RecordBatchReader, time: str) -> pa.Table | pa.RecordBatchReader:
    """The rows with the present as a column of times."""
    now, field = pa.scalar(times.now(), pa.int64()), pa.field(time, pa.timestamp("us", tz="UTC"))

    def add_time(part: pa.Table | pa.RecordBatch) -> Any:
        return part.append_column(field, pa.repeat(now, part.num_rows).cast(field.type))

    if isinstance(rows, pa.Table):
        return add_time(rows)
    return pa.RecordBatchReader.from_batches(rows.schema.append(field), map(add_time, rows))


def _service(selected: Sequence[SelectedTable], schema: pa.Schema, arguments: LookupArguments, time: str) -> FeatureService:
    """The service of the lookups, named after its fingerprint. Raises: RequestError and DefinitionError naming the column."""
    selections = [table.selection for table in selected]
    looked_up = {column for selection in selections for column in request_keys(selection)}
    own_times = {lookup.timestamp for lookup in map(_lookup, selected) if lookup.timestamp is not None}
    outputs = {name for selection in selections for name in output_names(selection)}
    for name in arguments.exclude:
        if name not in schema.names and name not in outputs:
            raise RequestError(f"exclude_columns: no column {brief(name)}{near(name, [*schema.names, *outputs])}", field="exclude_columns")
    for name in (*looked_up, *own_times, *([] if arguments.timestamp is None else [arguments.timestamp])):
        if name not in schema.names:
            what = "timestamp: " if name == arguments.timestamp else ""
            raise RequestError(f"{what}the frame has no column {brief(name)}{near(name, schema.names)}", field=name)
    used = {arguments.label, time, *arguments.exclude, *looked_up, *own_times}
    request = {field.name: _type_name(field) for field in schema if field.name not in used and field.name not in outputs}
    description = f"Lookups of {', '.join(dict.fromkeys(table.applied.name for table in selected))}"
    service = FeatureService(PREFIX, features=selections, request=request, description=description)
    if problems := list(map(Definitions().locate, service_problems(service))):
        raise DefinitionError(problems)
    fingerprint = service_fingerprint(service, {table.applied.name: table.applied.fingerprint for table in selected})
    return replace(service, name=f"{PREFIX}_{fingerprint}")


def _type_name(field: pa.Field) -> str:
    """The type of a request field, by its name in definitions."""
    try:
        sql_type = storage_type(column_types.stored_sql_type(field.type, field.name))
    except (SqlProblem, TypeMismatch):
        sql_type = ""
    names = {stored.sql: stored.names[0] for stored in STORED_TYPES}
    if sql_type.startswith("DECIMAL("):
        return sql_type.lower()
    if sql_type not in names:
        raise TypeMismatch(
            f"the frame's column '{field.name}' is {field.type}, which a model cannot read as a request field; name it in exclude_columns",
            field=field.name,
        )
    return names[sql_type]


def _register(runtime: Runtime, known: Registry, service: FeatureService, selected: Sequence[SelectedTable]) -> None:
    if known.latest("service", service.name) is not None:
        return
    bindings: Mapping[str, int] = {table.applied.name: table.applied.version for table in selected}
    fingerprint = service.name.rpartition("_")[2]
    version = known.next_version("service", service.name)
    row = Applied("service", service.name, version, fingerprint, documents.document(service), {}, bindings)
    step = Step("create", "service", service.name, version, "made of feature lookups", row)
    execute_plan(runtime, Plan((step,), Definitions(), known.snapshot_id))
