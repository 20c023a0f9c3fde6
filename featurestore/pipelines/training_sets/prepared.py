"""All that decides a training set, read and pinned before a row is joined: the same of it gives the same id."""

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
from featurestore.spines.reading import of_rows, read
from featurestore.spines.spine import Spine
from featurestore.values.arguments import known_at, text
from featurestore.values.coercion import shown

MOST_LETTERS = 128
"""Folders and tables are called after a training set, and what a name may be is as long as elsewhere."""
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{MOST_LETTERS - 1}}}")


@dataclass(frozen=True)
class Prepared:
    """A training set that can be built: its id is known, its spine is read, its snapshots are chosen.

    `notes` are warnings for the manifest; `seconds` is what preparing took.
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


def prepare(
    runtime: Runtime,
    resolved: Resolved,
    given: Any,
    *,
    timestamp: str,
    label: str | None,
    name: str,
    known: str,
    snapshots: Mapping[str, int | None] | None,
    split: splits.Given | None = None,
    by: str | Sequence[str] | None = None,
) -> Prepared:
    """Read the spine, pin the snapshots and compute the id. Raises: RequestError, TypeMismatch and NotFound for what is wrong."""
    began = time.monotonic()
    _check_name(name)
    known = known_at(known)
    plan = resolved.plan
    pinned = pin(runtime, plan, snapshots, resolved.tables)
    spine = read_for(runtime, given, plan, timestamp, pinned, known)
    if label is not None and text(label, "label") not in spine.schema.names:
        raise RequestError(f"the spine has no label column {brief(label)}{near(label, spine.schema.names)}", field=label)
    cut = splits.parsed(split, by, spine.schema.names, plan.entity_columns)
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
        # A part is where it begins, too: the order of the parts counts.
        **({} if cut is None else {"split": [list(cut.by), [list(part) for part in cut.parts]]}),
    }
    id = f"{name}-{hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]}"
    return Prepared(id, name, plan, spine, digest, pinned, label, known, resolved.notes, time.monotonic() - began, cut)


def read_for(runtime: Runtime, given: Any, plan: ServicePlan, timestamp: str, pinned: Mapping[str, Pinned], known: str) -> Spine:
    """The spine of a service: what the caller has, or the rows of a grid over the keys of these tables. Raises: as both."""
    if isinstance(given, SpineGrid):
        with grid.opened(runtime, plan, pinned, given, timestamp, known) as rows:
            return of_rows(rows, plan, timestamp, runtime.settings.spill_path())
    return read(runtime, given, plan, timestamp)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"{shown(name)} is not a name for a training set: letters, digits, _ and - only, beginning with a letter, at most"
            f" {MOST_LETTERS} of them",
            field="name",
        )
