"""What keeps a snapshot alive is said, and nothing of it expires."""

from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import models
from featurestore.errors import Conflict
from featurestore.lakehouse import tables, tags
from featurestore.pipelines.maintenance.retention import INFERENCE_TAG, RetainedSnapshot
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import DAY, END, World

pytestmark = VENDOR_WARNINGS


def reasons_by_snapshot(made: World, table: str) -> dict[int, tuple[str, ...]]:
    return {retained.snapshot_id: retained.by for retained in made.store.explain_retention() if retained.table == table}


@pytest.mark.slow
def test_models_and_predictions_keep_their_snapshots(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "kept")
    profile = "features.customer_profile_v1"
    with made.store as store:
        first = made.training_set.snapshots["customer_profile_v1"]
        models.log_model(made.model, training_set=made.training_set, registered_model_name="keeping")
        models.promote("keeping", 1, approver="ann", store=store)
        ids = [first]
        for number in range(1, 4):
            source = store.catalog.load_table("shop.profiles")
            row = source.scan().to_arrow().slice(0, 1).to_pylist()[0] | {"age": 90 + number, "updated_at": END + number * DAY}
            source.append(type(source.scan().to_arrow()).from_pylist([row], source.scan().to_arrow().schema))
            store.materialize(end=END + (number + 1) * DAY)
            ids.append(tables.load(store.catalog, profile).snapshot_id)
        tags.set_tag(tables.load(store.catalog, profile), f"{INFERENCE_TAG}{ids[1]}", ids[1] or 0)
        reasons = reasons_by_snapshot(made, profile)
        assert reasons[first or 0] == (f"training set {made.training_set.id}", "model keeping/1 @champion")
        assert reasons[ids[1] or 0] == ("logged predictions",)
        assert reasons[ids[2] or 0] == ()
        assert "current" in reasons[ids[3] or 0]
        store.maintain(older_than=timedelta(0))
        assert set(reasons_by_snapshot(made, profile)) >= {ids[0], ids[1], ids[3]}
        assert ids[2] not in reasons_by_snapshot(made, profile)
        assert store.audit("models:/keeping@champion").broken == ()
        with pytest.raises(Conflict, match="registered model keeping/1"):
            store.remove_view("customer_profile")
        first_kept = store.explain_retention()[0]
        assert RetainedSnapshot.from_dict(first_kept.to_dict()) == first_kept
