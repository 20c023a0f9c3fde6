"""Computing a training set again from what it pins, to prove that it says what it said."""

from featurestore.errors import DigestMismatch
from featurestore.joins.pinned import join_pinned
from featurestore.pipelines.training_sets.build import get
from featurestore.pipelines.training_sets.differences import Differences
from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records.pinned import pin
from featurestore.records.runtime import Runtime
from featurestore.spines.reading import of_rows


def rebuild(runtime: Runtime, id: str) -> TrainingSet:
    """Compute a training set again from its pinned snapshots and stored spine, and compare with what was recorded.

    Raises: DigestMismatch naming the columns that differ and the first rows; NotFound when the training set, or a snapshot
    that it pins, is gone.
    """
    recorded = get(runtime, id)
    said = recorded.manifest
    plan = recorded.plan
    names = [column["name"] for column in said["columns"] if column["role"] == "spine"]
    spine = of_rows(recorded.read(columns=names), plan, recorded.timestamp, runtime.settings.spill_path())
    pinned = pin(runtime, plan, recorded.snapshots)
    with join_pinned(runtime, plan, spine, pinned, said["known"]) as joined:
        digest = Digest(joined.schema)
        for batch in joined.batches:
            digest.update(batch)
    if digest.table() == recorded.digest:
        return recorded
    # Which rows differ is asked rarely: they are computed once more for it.
    differences = Differences(recorded.read())
    with join_pinned(runtime, plan, spine, pinned, said["known"]) as joined:
        for batch in joined.batches:
            differences.update(batch)
    found = digest.columns()
    differ = [name for name, value in said["column_digests"].items() if found.get(name) != value]
    raise DigestMismatch(
        f"training set {id} came out different: recorded {recorded.digest}, rebuilt {digest.table()};"
        f" columns that differ: {', '.join(differ) or 'none by name'}; {differences}",
        recorded=recorded.digest,
        rebuilt=digest.table(),
        columns=differ,
        rows=differences.rows,
    )
