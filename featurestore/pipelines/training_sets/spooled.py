"""Write a prepared training set to disk, for another process on this machine to build."""

import time
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa

from featurestore.compiler.row_policy import RowPolicy
from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.errors import OutOfResources
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.records.pinned import pin
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import policies_of_views
from featurestore.spines.reading import MEMORY_BYTES
from featurestore.spines.spine import Spine, fit_rows, spine_in_memory
from featurestore.spines.spool import KeptSpool

PREPARED, SPINE = "prepared.json", "spine.arrow"
BATCH_ROWS = 65_536


def spool(prepared: PreparedTrainingSet, folder: Path) -> None:
    """Write it to a folder: the spine as an Arrow IPC stream, the rest as JSON. Raises: OutOfResources if the disk is full."""
    _write_spine(prepared.spine, folder / SPINE)
    document = {
        "id": prepared.id,
        "request": prepared.request.to_dict(),
        "plan": prepared.plan.to_dict(),
        "rows": prepared.spine.rows,
        "origin": prepared.spine.origin,
        "spine_digest": prepared.spine_digest,
        "snapshots": {table: at.snapshot_id for table, at in prepared.pinned.items()},
        "notes": list(prepared.notes),
        "seconds": prepared.seconds,
        "policies": {name: policy.to_dict() for name, policy in prepared.policies.items()},
        "reader": prepared.reader,
    }
    (folder / PREPARED).write_bytes(orjson.dumps(document))


def load_spooled(runtime: Runtime, folder: Path) -> PreparedTrainingSet:
    """Load what `spool` wrote. Raises: NotFound if a pinned snapshot does not exist any more."""
    started = time.monotonic()
    document = orjson.loads((folder / PREPARED).read_bytes())
    plan = service_plan_from_dict(document["plan"])
    request = TrainingSetRequest.from_dict(document["request"])
    policies = {name: RowPolicy.from_dict(policy) for name, policy in document.get("policies", {}).items()}
    prepared = PreparedTrainingSet(
        id=document["id"],
        request=request,
        plan=plan,
        spine=replace(_load_spine(folder / SPINE, plan, request.timestamp, document["rows"]), origin=document.get("origin")),
        spine_digest=document["spine_digest"],
        pinned=pin(runtime, plan, document["snapshots"], policies=policies_of_views(policies)),
        notes=tuple(document["notes"]),
        seconds=document["seconds"],
        policies=policies,
        reader=document.get("reader"),
    )
    return replace(prepared, seconds=prepared.seconds + time.monotonic() - started)


def _write_spine(spine: Spine, path: Path) -> None:
    try:
        with pa.ipc.new_stream(str(path), spine.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for table in spine.tables():
                writer.write_table(table, BATCH_ROWS)
    except OSError as error:
        raise OutOfResources("the disk is full: cannot store the spine of a training set to build; free some space") from error


def _load_spine(path: Path, plan: ServicePlan, timestamp: str, rows: int) -> Spine:
    """The spine, in memory if it is small, else read from the file as needed."""
    kept = KeptSpool(path, rows)
    if path.stat().st_size > MEMORY_BYTES:
        return Spine(plan, timestamp, kept)
    return spine_in_memory(fit_rows(pa.concat_tables([kept.schema.empty_table(), *kept.tables()]), plan, timestamp), plan)
