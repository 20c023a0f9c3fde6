"""Under which policies stored rows were made, and who may read them: whoever is under the same ones."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from featurestore.compiler.row_policy import RowPolicy, policies_digest
from featurestore.errors import FeatureStoreError, Forbidden
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import is_in

MANIFEST = "featurestore.manifest"
"""The entry of a snapshot's summary with the manifest of a training set."""
TAG = "training-set-"
"""The prefix of the Iceberg tag of a training set's snapshot, and of the feature snapshots that it pins; its id follows."""
NESTED = 20
"""Most training sets of which each is the spine of the next."""


def policies_of_join(runtime: Runtime, views: Iterable[str], origin: Mapping[str, Any] | None) -> dict[str, RowPolicy]:
    """What is in force for the runtime's reader on the views and the spine tables of a join, by object; only what hides something.

    Raises: Forbidden for a spine that is a training set of which nobody can say what it was made of.
    """
    reader = runtime.reader
    found = {f"VIEW {view}": reader.policy_of_view(view) for view in views}
    if reader.recorded_name is not None:
        for table, snapshot_id in _spine_tables(origin or {}):
            found.update(_policies_of_table(runtime, table, snapshot_id, NESTED))
    return {name: policy for name, policy in found.items() if not policy.is_open}


def policies_of_views(policies: Mapping[str, RowPolicy]) -> dict[str, RowPolicy]:
    """Of policies by object, those of views by their names."""
    return {name.removeprefix("VIEW "): policy for name, policy in policies.items() if name.startswith("VIEW ")}


def recorded_digest(manifest: Mapping[str, Any]) -> str | None:
    """The digest of the policies under which a training set was made; None: nothing was in force."""
    digest: str | None = (manifest.get("policies") or {}).get("digest")
    return digest


def has_same_set_policies(runtime: Runtime, manifest: Mapping[str, Any]) -> bool:
    """Whether the runtime's reader is under the policies under which a training set was made. Raises: NotReady.

    Whoever reads as the store, or as an administrator, may read them all.
    """
    if runtime.reader.sees_everything:
        return True
    try:
        own = policies_of_join(runtime, [use["view"] for use in manifest["plan"]["uses"]], manifest["spine"])
    except Forbidden:
        return False
    return policies_digest(own) == recorded_digest(manifest)


def require_same_set_policies(runtime: Runtime, manifest: Mapping[str, Any]) -> None:
    """Check what `has_same_set_policies` says. Raises: Forbidden; NotReady."""
    if not has_same_set_policies(runtime, manifest):
        name = runtime.reader.recorded_name
        raise Forbidden(
            f"training set {manifest['id']} was made under other policies than those that {name} is under now; build it again, or ask an"
            " administrator",
            principal=name,
        )


def require_same_policies(runtime: Runtime, table: Table, snapshot_id: int | None) -> None:
    """As `require_same_set_policies`, of the rows of any table at a snapshot: only training sets are made under policies."""
    if runtime.reader.sees_everything or not is_in(table.name, runtime.settings.training_sets_namespace):
        return
    manifest = _manifest(table, snapshot_id)
    if manifest is None:
        raise Forbidden(
            f"{table.name} has no training set at this snapshot, so that nobody can say under which policies its rows were made; name the"
            " snapshot of one: iceberg:namespace.table@snapshot"
        )
    require_same_set_policies(runtime, manifest)


def require_shown_tables(runtime: Runtime, table: str) -> None:
    """Check that the rows of a table are shown at all: the store's own records are for administrators, and so are logged features for
    whoever is under a policy. Raises: Forbidden; NotReady.
    """
    reader, settings = runtime.reader, runtime.settings
    if reader.sees_everything:
        return
    own = is_in(table, *settings.record_namespaces)
    if own or (is_in(table, settings.inference_namespace) and reader.is_under_policies):
        what = "the store's own records" if own else "logged features, on some of which a policy is in force"
        raise Forbidden(
            f"{table} has {what}: only administrators read it as a table",
            principal=reader.recorded_name,
        )


def _policies_of_table(runtime: Runtime, table: str, snapshot_id: int | None, depth: int) -> dict[str, RowPolicy]:
    if not is_in(table, runtime.settings.training_sets_namespace):
        return {f"TABLE {table}": runtime.reader.policy_of_table(table)}
    try:
        manifest = _manifest(tables.load(runtime.catalog, table), snapshot_id) if depth else None
    except FeatureStoreError:
        manifest = None
    if manifest is None:
        raise Forbidden(
            f"the spine was a training set of {table} that does not exist any more, so that nobody can say who may see its rows"
        )
    found = {f"VIEW {use['view']}": runtime.reader.policy_of_view(use["view"]) for use in manifest["plan"]["uses"]}
    for other, snapshot in _spine_tables(manifest["spine"]):
        found.update(_policies_of_table(runtime, other, snapshot, depth - 1))
    return found


def _spine_tables(origin: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    """The tables that a spine was read from, with their snapshots."""
    read = {origin["table"]: origin["snapshot_id"]} if "table" in origin else origin.get("tables", {})
    return ((table, None if snapshot is None else int(snapshot)) for table, snapshot in read.items())


def _manifest(table: Table, snapshot_id: int | None) -> dict[str, Any] | None:
    if snapshot_id is None:
        return None
    document: dict[str, Any] | None = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "null")
    return document
