"""The last links of a chain: the logged predictions of a version, by the snapshots that they were computed from."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.granted import Granted
from featurestore.models.predictions.inference import inference_table
from featurestore.pipelines.lineage import catalog_links
from featurestore.pipelines.lineage.audit_result import Link
from featurestore.records.runtime import Runtime
from featurestore.values import times

READ = ("predicted_at", "version", "snapshots")


def prediction_links(runtime: Runtime, model: str, version: str | None) -> Iterator[Link]:
    """The predictions of a version: how many at which snapshots, and whether those can still be read."""
    identifier = inference_table(runtime, model)
    table = tables.find(runtime.catalog, identifier)
    ranges = {} if table is None else _ranges(runtime.operator.grant(table), version)
    if not ranges:
        return
    problems: list[str] = []
    for snapshots in ranges:
        for name, snapshot in json.loads(snapshots).items():
            if snapshot is not None:
                problems += catalog_links.table_problems(runtime, runtime.features_table(name), None, str(snapshot))
    facts = {"rows": sum(entry["rows"] for entry in ranges.values()), "ranges": list(ranges.values())}
    verified = () if problems else ("every snapshot that a prediction names can be read",)
    yield Link("predictions", identifier, facts, verified, tuple(dict.fromkeys(problems)))


def _ranges(log: Granted, version: str | None) -> dict[str, dict[str, Any]]:
    """The number of rows and their first and last time, by their snapshots as JSON."""
    ranges: dict[str, dict[str, Any]] = {}
    for batch in scans.read_snapshot(log, log.table.snapshot_id, columns=READ):
        rows = pa.table(batch)
        same = pc.is_null(rows["version"]) if version is None else pc.equal(rows["version"], version)
        grouped = (
            rows.filter(same)
            .group_by(["snapshots"])
            .aggregate([("predicted_at", "min"), ("predicted_at", "max"), ("predicted_at", "count")])
        )
        for group in grouped.to_pylist():
            _add(ranges, group["snapshots"], group["predicted_at_min"], group["predicted_at_max"], group["predicted_at_count"])
    return ranges


def _add(ranges: dict[str, dict[str, Any]], snapshots: str, first: datetime, last: datetime, rows: int) -> None:
    begin, end = (times.text(times.micros(moment)) for moment in (first, last))
    entry = ranges.setdefault(snapshots, {"snapshots": json.loads(snapshots), "rows": 0, "from": begin, "to": end})
    entry.update({"rows": entry["rows"] + rows, "from": min(entry["from"], str(begin)), "to": max(entry["to"], str(end))})
