"""A prepared training set on disk: what another process, on this machine and after this one, builds it from."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.errors import OutOfResources
from featurestore.pipelines.training_sets.prepared import Prepared
from featurestore.pipelines.training_sets.splits import Split
from featurestore.records.pinned import pin
from featurestore.records.runtime import Runtime
from featurestore.spines.reading import HELD_BYTES
from featurestore.spines.spine import Spine, fitted, held
from featurestore.spines.spool import KeptSpool

PREPARED, SPINE = "prepared.json", "spine.arrow"
BATCH_ROWS = 65_536


def spool(prepared: Prepared, folder: Path) -> None:
    """Write all of it into a folder: the rows as an Arrow IPC stream, the rest as JSON. Raises: OutOfResources when the disk is full."""
    _spool_rows(prepared.spine, folder / SPINE)
    split = prepared.split
    said = {
        "id": prepared.id,
        "name": prepared.name,
        "plan": prepared.plan.to_dict(),
        "timestamp": prepared.spine.timestamp,
        "rows": prepared.spine.rows,
        "spine_digest": prepared.spine_digest,
        "snapshots": {table: at.snapshot_id for table, at in prepared.pinned.items()},
        "label": prepared.label,
        "known": prepared.known,
        "notes": list(prepared.notes),
        "seconds": prepared.seconds,
        "split": None if split is None else {"by": split.by, "parts": split.parts},
    }
    (folder / PREPARED).write_bytes(orjson.dumps(said))


def spooled(runtime: Runtime, folder: Path) -> Prepared:
    """What was spooled to a folder, as it was. Raises: NotFound when a snapshot that it pins is gone."""
    began = time.monotonic()
    said = orjson.loads((folder / PREPARED).read_bytes())
    plan = service_plan_from_dict(said["plan"])
    cut = None if said["split"] is None else _split(**said["split"])
    prepared = Prepared(
        id=said["id"],
        name=said["name"],
        plan=plan,
        spine=_spooled_rows(folder / SPINE, plan, said["timestamp"], said["rows"]),
        spine_digest=said["spine_digest"],
        pinned=pin(runtime, plan, said["snapshots"]),
        label=said["label"],
        known=said["known"],
        notes=tuple(said["notes"]),
        seconds=said["seconds"],
        split=cut,
    )
    return replace(prepared, seconds=prepared.seconds + time.monotonic() - began)


def _spool_rows(spine: Spine, path: Path) -> None:
    try:
        with pa.ipc.new_stream(str(path), spine.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for table in spine.tables():
                writer.write_table(table, BATCH_ROWS)
    except OSError as error:
        raise OutOfResources("the disk is full: the spine of a training set to build cannot be kept; free some space") from error


def _spooled_rows(path: Path, plan: ServicePlan, timestamp: str, rows: int) -> Spine:
    """In memory if it is small, else read from the file as it is needed."""
    kept = KeptSpool(path, rows)
    if path.stat().st_size > HELD_BYTES:
        return Spine(plan, timestamp, kept)
    return held(fitted(pa.concat_tables([kept.schema.empty_table(), *kept.tables()]), plan, timestamp), plan)


def _split(by: Sequence[str], parts: Sequence[Sequence[Any]]) -> Split:
    return Split(tuple(by), tuple((name, end) for name, end in parts))
