"""The policies under which a training set was made, found again in their registry: manifests have no SQL of them."""

from collections.abc import Mapping
from typing import Any

from featurestore.access.policies import policy_history
from featurestore.access.privileges import parse_securable
from featurestore.compiler.row_policy import RowPolicy
from featurestore.errors import Conflict
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import policies_of_views


def recorded_policies(runtime: Runtime, manifest: Mapping[str, Any]) -> dict[str, RowPolicy]:
    """What was in force on each view of a training set, by its name; of a view that is not there, nothing was.

    Raises: Conflict if the registry has no such policy any more.
    """
    objects = (manifest.get("policies") or {}).get("objects", {})
    return policies_of_views({name: _find(runtime, name, entry) for name, entry in objects.items() if name.startswith("VIEW ")})


def _find(runtime: Runtime, name: str, entry: Mapping[str, Any]) -> RowPolicy:
    for stored in policy_history(runtime, parse_securable(name, runtime.settings.catalog_name)):
        declared = stored.policy
        if not set(entry["masks"]) <= set(declared.masks) or (entry["rows"] and declared.rows is None):
            continue
        masks = {column: declared.masks[column].sql for column in entry["masks"]}
        policy = RowPolicy.of(masks, declared.rows.sql if entry["rows"] and declared.rows is not None else None)
        if policy.digest == entry["digest"]:
            return policy
    raise Conflict(f"the registry has no policy of {name} with the digest {entry['digest']}, under which the training set was made")
