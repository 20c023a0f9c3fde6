"""Decode the JSON of a server into the objects that a store returns."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featurestore.client.transport import decode_error
from featurestore.dsl.definitions import Definitions
from featurestore.errors import DefinitionError, FeatureStoreError, Problem
from featurestore.pipelines.lookup import OnlineFeatures
from featurestore.pipelines.materialization.checks import Outcome
from featurestore.pipelines.materialization.materialize import Materialization
from featurestore.pipelines.materialization.outcome import Failure, Materializations
from featurestore.pipelines.planning.cost import Read
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.planning.step import Step
from featurestore.records.definitions import Applied
from featurestore.values import times
from featurestore.values.coercion import coerce
from featurestore.values.value_types import FLOATING


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
    stored_types = (sql_type for sql_type in types if sql_type is not None)
    value_types = (*stored_types, *(sql_type if sql_type.rstrip("[]") in FLOATING else None for sql_type in derived)) if derived else types
    return OnlineFeatures(
        features=tuple(answer["features"]),
        rows=tuple(
            tuple(_decode_value(value, sql_type) for value, sql_type in zip(row, value_types, strict=True)) for row in answer["rows"]
        ),
        status={label: tuple(states) for label, states in answer["status"].items()},
        timestamps={label: tuple(_micros(moment) for moment in moments) for label, moments in answer["timestamps"].items()},
        snapshots={table: None if snapshot is None else int(snapshot) for table, snapshot in answer["snapshots"].items()},
        watermarks={table: _micros(through) for table, through in answer["watermarks"].items()},
        types=types,
        derived_types=derived,
        edition=_snapshot_id(answer.get("edition")),
    )


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
    if value is None or sql_type is None:
        return value
    if sql_type.endswith("[]"):
        return [_decode_value(item, sql_type[:-2]) for item in value]
    return base64.b64decode(value) if sql_type == "BLOB" else coerce(value, sql_type, "value")


def _micros(moment: str | None) -> int | None:
    return None if moment is None else times.parse(moment, "time")
