"""Rebuild a training set from the snapshots that it pins, to verify that it comes out the same."""

from featurestore.errors import DigestMismatch
from featurestore.joins.pinned import join_pinned
from featurestore.pipelines.training_sets.build import get_training_set, set_table
from featurestore.pipelines.training_sets.differences import Differences
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.recorded_policies import recorded_policies
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records.pinned import feature_tables, pin
from featurestore.records.runtime import Runtime
from featurestore.spines.reading import spine_of_rows


def rebuild_training_set(runtime: Runtime, id: str) -> TrainingSet:
    """Compute a training set again from its pinned snapshots and stored spine, and compare its digest with the recorded one.

    The policies are those under which it was made, whoever asks.

    Raises: Forbidden for a principal that is under others; DigestMismatch naming the columns and the first rows that differ; NotFound if
    the training set, or a snapshot that it pins, does not exist any more.
    """
    recorded = get_training_set(runtime, id)
    manifest = recorded.manifest
    plan = recorded.plan
    names = [column["name"] for column in manifest["columns"] if column["role"] == "spine"]
    spine = spine_of_rows(recorded.read(columns=names), plan, recorded.timestamp, runtime.settings.spill_path())
    # Whoever may read a training set may verify it, also without a right on its service.
    permit = runtime.reader.permit("TABLE", set_table(runtime, recorded.name), feature_tables(runtime, plan))
    pinned = pin(runtime, plan, recorded.snapshots, permit=permit, policies=recorded_policies(runtime, manifest))
    with join_pinned(runtime, plan, spine, pinned, manifest["known"]) as joined:
        digest = Digest(joined.schema)
        for batch in joined.batches:
            digest.update(batch)
    if digest.table() == recorded.digest:
        return recorded
    # A mismatch is rare, so the rows are computed a second time to find those that differ.
    differences = Differences(recorded.read())
    with join_pinned(runtime, plan, spine, pinned, manifest["known"]) as joined:
        for batch in joined.batches:
            differences.update(batch)
    rebuilt = digest.columns()
    differ = [name for name, value in manifest["column_digests"].items() if rebuilt.get(name) != value]
    raise DigestMismatch(
        f"training set {id} does not match its record: recorded digest {recorded.digest}, rebuilt {digest.table()};"
        f" columns that differ: {', '.join(differ) or 'none'}; {differences}",
        recorded=recorded.digest,
        rebuilt=digest.table(),
        columns=differ,
        rows=differences.rows,
    )
