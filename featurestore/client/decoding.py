"""Decode the JSON of a server into the objects that a store returns."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from itertools import zip_longest
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa

from featurestore.client.answers import decode_error
from featurestore.dsl.definitions import Definitions
from featurestore.errors import DefinitionError, FeatureStoreError, Problem
from featurestore.pipelines.materialization.checks import Outcome
from featurestore.pipelines.materialization.materialize import Materialization
from featurestore.pipelines.materialization.outcome import Failure, Materializations
from featurestore.pipelines.online_lookup import lookup_arrow
from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
from featurestore.pipelines.planning.cost import Read
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.planning.step import Step
from featurestore.records.definitions import Applied
from featurestore.values import times
from featurestore.values.coercion import coerce
from featurestore.values.value_types import ZONED

LOCAL_TIMES = frozenset(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"))
"""Types of times without a zone, which JSON writes like those in UTC."""
REPLACED: Mapping[str | None, Callable[[Any], Any]] = {
    "UUID": UUID,
    "HUGEINT": int,
    ZONED: lambda moment: moment.replace(tzinfo=UTC),
}
"""Types whose values Arrow gives in another form, and how to make ours of it. Its UTC is another object, though of the same zone."""


def check_object(answer: Any) -> dict[str, Any]:
    """Check that an answer is a JSON object. Raises: TypeError."""
    if not isinstance(answer, dict):
        raise TypeError(f"{type(answer).__name__} instead of an object")
    return answer


def check_objects(answer: Any) -> list[dict[str, Any]]:
    """Check that an answer is a list of JSON objects. Raises: TypeError."""
    if not isinstance(answer, list):
        raise TypeError(f"{type(answer).__name__} instead of a list")
    return [check_object(item) for item in answer]


def decode_plan(answer: Mapping[str, Any], definitions: Definitions) -> Plan:
    """A plan to look at and print. The server plans again to apply it."""
    steps = tuple(_decode_step(step) for step in answer["steps"])
    others = tuple((other["kind"], other["name"]) for other in answer["others"])
    return Plan(steps, definitions, _snapshot_id(answer["base"]), others)


def with_locations(error: DefinitionError, definitions: Definitions) -> DefinitionError:
    """The same problems with their files and lines, which only the client knows."""
    return DefinitionError([_with_location(problem, definitions) for problem in error.problems])


def decode_materialization(run: Mapping[str, Any]) -> Materialization:
    """The result of a run for one view."""
    fields = {name: run[name] for name in Materialization.__dataclass_fields__}
    bounds = {what: None if run[what] is None else times.moment(times.parse(run[what], what)) for what in ("start", "end")}
    outcomes = tuple(map(Outcome.from_dict, run["checks"]))
    return Materialization(**{**fields, **bounds, "snapshot_id": _snapshot_id(run["snapshot_id"]), "checks": outcomes})


def decode_materializations(job: Mapping[str, Any]) -> tuple[Materializations, FeatureStoreError | None]:
    """The results and failures of an ended job, and its error; None if it did not fail."""
    error = None if job["error"] is None else decode_error(job["error"])
    documents = [] if error is None else error.details.get("failures", [])
    failures = [Failure(document["view"], document["table"], decode_error(document)) for document in documents]
    return Materializations(map(decode_materialization, job["result"] or []), failures), error


def decode_online_features(answer: Mapping[str, Any]) -> OnlineFeatures:
    """Looked-up features, with values of their types in the store. Derived features other than floats are as JSON has them."""
    types = tuple(answer["types"])
    derived = tuple(answer.get("derived_types", ()))
    value_types = _value_types(types, derived)
    return OnlineFeatures(
        features=tuple(answer["features"]),
        types=types,
        derived_types=derived,
        rows=tuple(
            tuple(_decode_value(value, sql_type) for value, sql_type in zip(row, value_types, strict=True)) for row in answer["rows"]
        ),
        status={label: tuple(states) for label, states in answer["status"].items()},
        timestamps={label: tuple(_micros(moment) for moment in moments) for label, moments in answer["timestamps"].items()},
        **_decode_head(answer),
    )


def decode_online_stream(table: pa.Table) -> OnlineFeatures:
    """Looked-up features from the Arrow form of the same answer. The objects are equal."""
    head = msgspec.json.decode(table.schema.metadata[lookup_arrow.METADATA], type=dict[str, Any])
    columns = dict(zip(table.column_names, table.columns, strict=True))
    value_types = _value_types(tuple(head["types"]), tuple(head.get("derived_types", ())))
    # Without entities, the types of derived features are unknown.
    values = [_decode_column(columns[name].to_pylist(), sql_type) for name, sql_type in zip_longest(head["features"], value_types)]
    return OnlineFeatures(
        features=tuple(head["features"]),
        rows=tuple(zip(*values, strict=True)),
        status={label: tuple(column.to_pylist()) for label, column in _of_views(columns, lookup_arrow.STATUS)},
        timestamps={label: tuple(column.cast(pa.int64()).to_pylist()) for label, column in _of_views(columns, lookup_arrow.TIMESTAMP)},
        types=tuple(head["types"]),
        derived_types=tuple(head.get("derived_types", ())),
        **_decode_head(head),
    )


def _decode_head(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for all rows of an answer."""
    return {
        "snapshots": {table: _snapshot_id(snapshot) for table, snapshot in answer["snapshots"].items()},
        "watermarks": {table: _micros(through) for table, through in answer["watermarks"].items()},
        "edition": _snapshot_id(answer.get("edition")),
    }


def _value_types(types: Sequence[str | None], derived_types: Sequence[str]) -> Sequence[str | None]:
    """The types of all features, in their order: derived ones, which have no declared type, are the last."""
    return (*(sql_type for sql_type in types if sql_type is not None), *derived_types)


def _of_views(columns: Mapping[str, pa.ChunkedArray], prefix: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The columns with this prefix, by the labels of their views."""
    return ((name.removeprefix(prefix), column) for name, column in columns.items() if name.startswith(prefix))


def _decode_step(step: Mapping[str, Any]) -> Step:
    result = Applied(step["kind"], step["name"], step["version"], "", {}, sql=step["sql"] or "")
    reads = tuple(Read(**{**read, "snapshot_id": _snapshot_id(read["snapshot_id"])}) for read in step["reads"])
    fields = {name: step[name] for name in ("action", "kind", "name", "version", "reason", "diff")}
    return Step(**fields, result=result, models=tuple(step["models"]), reads=reads)


def _snapshot_id(id: str | None) -> int | None:
    return None if id is None else int(id)


def _with_location(problem: Problem, definitions: Definitions) -> Problem:
    kind, _, name = problem.object.partition(" ")
    if problem.file is not None or not name:
        return problem
    located = definitions.problem(kind, name.strip("'"), problem.field, problem.message)
    return replace(problem, file=located.file, line=located.line)


def _decode_value(value: Any, sql_type: str | None) -> Any:
    """A value of JSON as the Python value of its type."""
    if value is None or sql_type is None:
        return value
    if sql_type.endswith("[]"):
        return [_decode_value(item, sql_type[:-2]) for item in value]
    if sql_type in LOCAL_TIMES:
        return times.moment(times.parse(value, "value")).replace(tzinfo=None)
    return base64.b64decode(value) if sql_type == "BLOB" else coerce(value, sql_type, "value")


def _decode_column(values: Sequence[Any], sql_type: str | None) -> Sequence[Any]:
    """The values of an Arrow column as the Python values of their type."""
    scalar = None if sql_type is None else sql_type.replace("[]", "")
    if scalar not in REPLACED:
        return values
    return [_replace(value, REPLACED[scalar]) for value in values]


def _replace(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [_replace(item, make) for item in value]
    return None if value is None else make(value)


def _micros(moment: str | None) -> int | None:
    return None if moment is None else times.parse(moment, "time")
