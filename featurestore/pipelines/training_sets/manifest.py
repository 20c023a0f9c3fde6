"""A training set's manifest: how it was built, as JSON that is stored with it and with every model."""

import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from featurestore.compiler.row_policy import RowPolicy, policies_digest
from featurestore.joins.join import Joined
from featurestore.joins.pinned import past_watermark_warnings
from featurestore.pipelines.training_sets.digest import type_name
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.records.feature_table import DROPPED_BEFORE, THROUGH
from featurestore.records.pinned import Pinned
from featurestore.values import times
from featurestore.values.humanize import format_duration

VERSION = 5
"""Increased when a field is added or changes its meaning."""

LIBRARIES = ("duckdb", "pyarrow", "pyiceberg", "sqlglot")


def describe_join(prepared: PreparedTrainingSet, joined: Joined) -> dict[str, Any]:
    """The manifest entries that the join knows after its last row: the request, the pinned snapshots, the facts of each view."""
    request, plan, spine, pinned = prepared.request, prepared.plan, prepared.spine, prepared.pinned
    ends = spine.ends
    derived = {name for name, _ in plan.derived}
    spine_width = len(spine.schema)
    roles = [
        "spine" if index < spine_width else "derived" if field.name in derived else "feature" for index, field in enumerate(joined.schema)
    ]
    return {
        "manifest_version": VERSION,
        "id": prepared.id,
        "name": request.name,
        "created_at": times.text(times.now()),
        "service": {"name": plan.service, "version": plan.version, "fingerprint": plan.fingerprint},
        "plan": plan.to_dict(),
        "views": {table: _view_entry(at) for table, at in pinned.items()},
        "spine": {
            "rows": spine.rows,
            "digest": prepared.spine_digest,
            "timestamp": spine.timestamp,
            "columns": spine.schema.names,
            "from": times.text(ends[0]) if ends else None,
            "to": times.text(ends[1]) if ends else None,
            **(spine.origin or {}),
        },
        # Only in training sets that were made for a principal.
        **({} if prepared.reader is None else {"principal": prepared.reader}),
        **({"policies": _policies_entry(prepared.policies)} if prepared.policies else {}),
        "label": request.label,
        "known": request.known,
        # Only in training sets of feature lookups.
        **({"exclude_columns": list(request.exclude)} if request.exclude else {}),
        "split": None,
        "not_covered": {use: facts.not_covered for use, facts in joined.facts.items()},
        "past_watermark": {use: facts.past_watermark for use, facts in joined.facts.items()},
        "leak_certificate": {
            use: {
                "feature_minus_spine_us": facts.feature_minus_spine,
                "feature_minus_spine": format_duration(facts.feature_minus_spine),
                "created_minus_spine_us": facts.created_minus_spine,
                "created_minus_spine": format_duration(facts.created_minus_spine),
            }
            for use, facts in joined.facts.items()
        },
        "columns": [
            {"name": field.name, "type": type_name(field.type), "role": role} for field, role in zip(joined.schema, roles, strict=True)
        ],
        "sql": joined.sql,
        "versions": {
            "featurestore": version("featurestore"),
            "python": sys.version.split()[0],
            **{library: version(library) for library in LIBRARIES},
        },
        "warnings": [
            *prepared.notes,
            *past_watermark_warnings(plan, joined.facts, pinned),
            *_dropped_versions_warnings(request.known, ends[0] if ends else None, pinned),
        ],
    }


def peak_memory() -> int:
    """The peak memory of this process so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _view_entry(at: Pinned) -> dict[str, Any]:
    return {
        "table": at.table.name,
        "uuid": at.table.uuid,
        "snapshot_id": None if at.snapshot_id is None else str(at.snapshot_id),
        "fingerprint": at.table.properties.get("featurestore.fingerprint"),
        THROUGH.partition(".")[2].replace("-", "_"): times.text(at.state.through),
        "source_snapshots": at.state.snapshots,
    }


def _policies_entry(policies: Mapping[str, RowPolicy]) -> dict[str, Any]:
    """What was in force, without its SQL: whoever may read the rows may not see what it hides."""
    objects = {
        name: {"digest": policy.digest, "masks": [column for column, _ in policy.masks], "rows": policy.rows is not None}
        for name, policy in policies.items()
    }
    return {"digest": policies_digest(policies), "objects": objects}


def _dropped_versions_warnings(known: str, first: int | None, pinned: Mapping[str, Pinned]) -> list[str]:
    """A warning for each table that lacks versions that `known="then"` needs; `first` is the spine's first time in microseconds."""
    if known != "then" or first is None:
        return []
    dropped_before = {name: at.table.properties.get(DROPPED_BEFORE) for name, at in pinned.items()}
    return [
        f"versions of rows of {name} superseded before {before} were dropped, and the spine begins at {times.text(first)}: earlier rows"
        ' may see less than was known then; known="then" is exact from that time on'
        for name, before in dropped_before.items()
        if before and first < times.parse(before, DROPPED_BEFORE)
    ]
