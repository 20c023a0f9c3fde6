"""Events and facets in OpenLineage's JSON form (https://openlineage.io/spec/2-0-2/OpenLineage.json)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from featurestore.compiler.lineage import column_uses
from featurestore.compiler.lineage.column_uses import Uses
from featurestore.values import times

Json = dict[str, Any]
SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = {
    "columnLineage": ("1-2-0", "ColumnLineageDatasetFacet"),
    "errorMessage": ("1-0-1", "ErrorMessageRunFacet"),
    "jobType": ("2-0-4", "JobTypeJobFacet"),
    "schema": ("1-2-0", "SchemaDatasetFacet"),
    "symlinks": ("1-0-1", "SymlinksDatasetFacet"),
    "version": ("1-0-1", "DatasetVersionDatasetFacet"),
}
"""The version and the definition of each facet that we send."""
SUBTYPES = {
    column_uses.FILTER: "FILTER",
    column_uses.JOIN: "JOIN",
    column_uses.GROUP: "GROUP_BY",
    column_uses.ORDER: "SORT",
    column_uses.WINDOW: "WINDOW",
    column_uses.KEY: "GROUP_BY",
    column_uses.TIMESTAMP: "SORT",
    column_uses.CREATED: "SORT",
}
"""OpenLineage's word for what an indirect column does. A column with the role VALUE is direct."""


@dataclass(frozen=True)
class DatasetName:
    """A dataset by its storage, as `s3://bucket`, and its path there."""

    namespace: str
    name: str


@dataclass(frozen=True)
class RunDatasets:
    """What a run has read and written."""

    inputs: Sequence[Json] = field(default=())
    outputs: Sequence[Json] = field(default=())


def producer() -> str:
    """What made the events: this release."""
    return f"urn:featurestore:{version('featurestore')}"


def facet(name: str, **content: Any) -> Json:
    """A facet by its name, as an entry for `facets`."""
    number, definition = FACETS[name]
    return {name: {"_producer": producer(), "_schemaURL": f"{SPEC}/facets/{number}/{definition}.json#/$defs/{definition}", **content}}


def run_event(
    event_type: str, at: int, run_id: str, run_facets: Json, namespace: str, job: str, job_type: str, datasets: RunDatasets
) -> Json:
    """An event about a run, at a time in microseconds since the epoch."""
    kind = facet("jobType", processingType="BATCH", integration="FEATURESTORE", jobType=job_type)
    return {
        "eventType": event_type,
        "eventTime": times.text(at),
        "producer": producer(),
        "schemaURL": EVENT,
        "run": {"runId": run_id, "facets": run_facets},
        "job": {"namespace": namespace, "name": job, "facets": kind},
        "inputs": list(datasets.inputs),
        "outputs": list(datasets.outputs),
    }


def dataset(name: DatasetName, facets: Json) -> Json:
    """A dataset that was read or written."""
    return {"namespace": name.namespace, "name": name.name, "facets": facets}


def schema(types: Mapping[str, str]) -> Json:
    """The columns of a dataset with their types, in order."""
    fields = [{"name": column, "type": type_name, "ordinal_position": place} for place, (column, type_name) in enumerate(types.items(), 1)]
    return facet("schema", fields=fields)


def column_lineage(columns: Mapping[str, Uses], names: Mapping[str, DatasetName]) -> Json:
    """The columns of datasets behind each column; `names` are the datasets by table. Uses of rows, and of what is not stored, are left out:
    OpenLineage has no word for them."""
    return facet("columnLineage", fields={column: {"inputFields": list(_inputs(uses, names))} for column, uses in columns.items()})


def _inputs(uses: Uses, names: Mapping[str, DatasetName]) -> Iterable[Json]:
    roles: dict[tuple[str, str], list[str]] = {}
    for use in sorted(uses):
        if use.table in names and use.column not in (column_uses.NO_COLUMN, column_uses.ALL_COLUMNS):
            roles.setdefault((use.table, use.column), []).append(use.role)
    for (table, column), used_as in roles.items():
        name = names[table]
        transformations = [_transformation(role) for role in used_as]
        yield {"namespace": name.namespace, "name": name.name, "field": column, "transformations": transformations}


def _transformation(role: str) -> Json:
    if role == column_uses.VALUE:
        return {"type": "DIRECT", "subtype": "TRANSFORMATION", "description": role}
    return {"type": "INDIRECT", "subtype": SUBTYPES[role], "description": role}
