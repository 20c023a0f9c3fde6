"""Prepare a training set: read its spine, pin its snapshots and compute the id that follows from both, before any row is joined."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError, brief, near
from featurestore.pipelines.training_sets import splits
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.records.pinned import Pinned, pin
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import Resolved
from featurestore.spines import grid
from featurestore.spines.grid import SpineGrid
from featurestore.spines.reading import load_spine, spine_of_rows
from featurestore.spines.spine import Spine
from featurestore.values.arguments import check_known, check_text
from featurestore.values.coercion import quote_value

MAX_NAME_LENGTH = 128
"""Longest name of a training set, as for other objects: folders and tables are named after it."""
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{MAX_NAME_LENGTH - 1}}}")


@dataclass(frozen=True)
class PreparedTrainingSet:
    """A training set ready to be built: its id, spine and pinned snapshots.

    `notes` are warnings for the manifest; `seconds` is the time that preparing took.
    """

    id: str
    name: str
    plan: ServicePlan
    spine: Spine
    spine_digest: str
    pinned: Mapping[str, Pinned]
    label: str | None
    known: str
    notes: Sequence[str]
    seconds: float
    split: splits.Split | None = None


def prepare_training_set(
    runtime: Runtime,
    resolved: Resolved,
    spine_input: Any,
    *,
    timestamp: str,
    label: str | None,
    name: str,
    known: str,
    snapshots: Mapping[str, int | None] | None,
    split: splits.SplitRequest | None = None,
    by: str | Sequence[str] | None = None,
) -> PreparedTrainingSet:
    """Read the spine, pin the snapshots and compute the id. Raises: RequestError, TypeMismatch or NotFound for invalid input."""
    started = time.monotonic()
    _check_name(name)
    known = check_known(known)
    plan = resolved.plan
    pinned = pin(runtime, plan, snapshots, resolved.tables)
    spine = read_spine(runtime, spine_input, plan, timestamp, pinned, known)
    if label is not None and check_text(label, "label") not in spine.schema.names:
        raise RequestError(f"the spine has no label column {brief(label)}{near(label, spine.schema.names)}", field=label)
    parsed_split = splits.parse_split(split, by, spine.schema.names, plan.entity_columns)
    content = Digest(spine.schema)
    for table in spine.tables():
        content.update(table)
    digest = content.table()
    request = {
        "service": plan.service,
        "fingerprint": plan.fingerprint,
        "views": {table: [str(at.snapshot_id), at.table.properties.get("featurestore.fingerprint")] for table, at in pinned.items()},
        "spine": digest,
        "timestamp": timestamp,
        "label": label,
        "known": known,
        # The order of the parts counts: each part starts where the one before ends.
        **({} if parsed_split is None else {"split": [list(parsed_split.by), [list(part) for part in parsed_split.parts]]}),
    }
    id = f"{name}-{hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]}"
    seconds = time.monotonic() - started
    return PreparedTrainingSet(id, name, plan, spine, digest, pinned, label, known, resolved.notes, seconds, parsed_split)


def read_spine(runtime: Runtime, spine_input: Any, plan: ServicePlan, timestamp: str, pinned: Mapping[str, Pinned], known: str) -> Spine:
    """The spine of a service: the caller's rows, or a grid over the keys of the pinned tables. Raises: as reading either does."""
    if isinstance(spine_input, SpineGrid):
        with grid.open_grid(runtime, plan, pinned, spine_input, timestamp, known) as rows:
            return spine_of_rows(rows, plan, timestamp, runtime.settings.spill_path())
    return load_spine(runtime, spine_input, plan, timestamp)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"{quote_value(name)} is not a valid name for a training set: use letters, digits, _ and -, starting with a letter, at most"
            f" {MAX_NAME_LENGTH} characters",
            field="name",
        )
