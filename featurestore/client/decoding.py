"""What a server answers, as the objects that a store returns."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featurestore.client.transport import exception
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


def object_of(answer: Any) -> dict[str, Any]:
    """A JSON object. Raises: TypeError for anything else."""
    if not isinstance(answer, dict):
        raise TypeError(f"a {type(answer).__name__} where an object belongs")
    return answer


def objects_of(answer: Any) -> list[dict[str, Any]]:
    """A list of JSON objects. Raises: TypeError for anything else."""
    if not isinstance(answer, list):
        raise TypeError(f"a {type(answer).__name__} where a list belongs")
    return [object_of(one) for one in answer]


def plan(answer: Mapping[str, Any], definitions: Definitions) -> Plan:
    """A plan whose steps can be looked at and printed; to apply it, the server makes it again."""
    steps = tuple(_step(step) for step in answer["steps"])
    others = tuple((other["kind"], other["name"]) for other in answer["others"])
    return Plan(steps, definitions, _snapshot(answer["base"]), others)


def placed(error: DefinitionError, definitions: Definitions) -> DefinitionError:
    """The same problems, with the files and lines that only this side knows."""
    return DefinitionError([_placed(problem, definitions) for problem in error.problems])


def materialization(run: Mapping[str, Any]) -> Materialization:
    """What one run did to one view."""
    known = {name: run[name] for name in Materialization.__dataclass_fields__}
    bounds = {what: None if run[what] is None else times.moment(times.parse(run[what], what)) for what in ("start", "end")}
    outcomes = tuple(Outcome.from_dict(one) for one in run["checks"])
    return Materialization(**{**known, **bounds, "snapshot_id": _snapshot(run["snapshot_id"]), "checks": outcomes})


def materializations(job: Mapping[str, Any]) -> tuple[Materializations, FeatureStoreError | None]:
    """What an ended job did to each view, with those that failed, and its error, if it failed."""
    error = None if job["error"] is None else exception(job["error"])
    found = [] if error is None else error.details.get("failures", [])
    failures = [Failure(one["view"], one["table"], exception(one)) for one in found]
    return Materializations(map(materialization, job["result"] or []), failures), error


def online(answer: Mapping[str, Any]) -> OnlineFeatures:
    """Looked-up features, their values of the types they have in the store. Derived ones but floats are as JSON has them."""
    types = tuple(answer["types"])
    derived = tuple(answer.get("derived_types", ()))
    kinds = (*(kind for kind in types if kind is not None), *(kind if kind.rstrip("[]") in FLOATING else None for kind in derived))
    kinds = kinds if derived else types
    return OnlineFeatures(
        features=tuple(answer["features"]),
        rows=tuple(tuple(_value(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in answer["rows"]),
        status={label: tuple(states) for label, states in answer["status"].items()},
        timestamps={label: tuple(_micros(moment) for moment in all) for label, all in answer["timestamps"].items()},
        snapshots={table: None if snapshot is None else int(snapshot) for table, snapshot in answer["snapshots"].items()},
        watermarks={table: _micros(through) for table, through in answer["watermarks"].items()},
        types=types,
        derived_types=derived,
        edition=_snapshot(answer.get("edition")),
    )


def _step(step: Mapping[str, Any]) -> Step:
    result = Applied(step["kind"], step["name"], step["version"], "", {}, sql=step["sql"] or "")
    reads = tuple(Read(**{**read, "snapshot_id": _snapshot(read["snapshot_id"])}) for read in step["reads"])
    told = {name: step[name] for name in ("action", "kind", "name", "version", "reason", "diff")}
    return Step(**told, result=result, models=tuple(step["models"]), reads=reads)


def _snapshot(id: str | None) -> int | None:
    return None if id is None else int(id)


def _placed(problem: Problem, definitions: Definitions) -> Problem:
    kind, _, name = problem.object.partition(" ")
    if problem.file is not None or not name:
        return problem
    found = definitions.problem(kind, name.strip("'"), problem.field, problem.message)
    return replace(problem, file=found.file, line=found.line)


def _value(value: Any, kind: str | None) -> Any:
    if value is None or kind is None:
        return value
    if kind.endswith("[]"):
        return [_value(item, kind[:-2]) for item in value]
    if kind == "BLOB":
        return base64.b64decode(value)
    return coerce(value, kind, "value")


def _micros(moment: str | None) -> int | None:
    return None if moment is None else times.parse(moment, "time")
