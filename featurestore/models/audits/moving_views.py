"""Views whose online rows go on without a run: continuous ones with the clock, and those of pushed sources with their events.

A lookup between two runs had rows that no snapshot of then has. A later snapshot has the row of its instant, unless events came late.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featurestore.compiler.service_plan import ViewUse
from featurestore.dsl.view import CONTINUOUS
from featurestore.lakehouse import tables
from featurestore.models.stamps import store_access
from featurestore.models.stamps.stamp import Stamp
from featurestore.records import feature_table
from featurestore.records.feature_table import DEFINITION
from featurestore.store import FeatureStore
from featurestore.values import times


@dataclass(frozen=True)
class MovingViews:
    """The `snapshots` to replay a lookup from, and what to say: `notes`, and by the name of a feature why it may differ."""

    snapshots: Mapping[str, int | None]
    notes: tuple[str, ...]
    causes: Mapping[str, str]


def find_moving_views(store: FeatureStore, stamp: Stamp, row: Mapping[str, Any], snapshots: Mapping[str, int | None]) -> MovingViews:
    """What to replay the lookup of a logged prediction from: for views that had moved on by then, the snapshot of now."""
    chosen, causes = dict(snapshots), dict[str, str]()
    notes: list[str] = []
    if row.get("statuses") is None:
        # Its features were joined at the snapshots.
        return MovingViews(chosen, (), {})
    runtime, at = store_access.runtime_of(store), times.micros(row["as_of"])
    for use in stamp.plan.uses:
        table = tables.load(runtime.catalog, runtime.features_table(use.table))
        logged = snapshots.get(use.table)
        then = feature_table.state_at(table, logged).through if logged in table.snapshot_ids else None
        if not _moves(use, table.properties) or (then is not None and at <= then):
            continue
        names = [name for _, name in use.features]
        through = feature_table.state_of(table.properties).through
        if through is None or through < at:
            missing = f"view {use.label} is not materialized up to the time of the prediction; run featurestore materialize, and replay it"
            causes |= dict.fromkeys(names, missing)
            continue
        chosen[use.table] = table.snapshot_id
        notes.append(f"the row of {use.label} was computed at the instant of the lookup, so the one of that instant was read now")
        late = f"events of {use.label} came after the prediction that happened before it, or were corrected; or the log was changed"
        causes |= dict.fromkeys(names, late)
    return MovingViews(chosen, tuple(notes), causes)


def _moves(use: ViewUse, properties: Mapping[str, str]) -> bool:
    source = json.loads(properties.get(DEFINITION) or "{}").get("source")
    return use.every == CONTINUOUS or (use.every is None and isinstance(source, dict) and bool(source.get("schema")))
