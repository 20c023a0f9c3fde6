"""After an erasure, models are audited and rebuilt minus that; logged predictions of the key are gone, and the others are replayed."""

from pathlib import Path

import pytest

from featurestore import models
from featurestore.lakehouse import tables
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = VENDOR_WARNINGS


@pytest.mark.slow
def test_a_model_of_an_erased_training_set(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "erased")
    with made.store as store:
        models.log_model(made.model, training_set=made.training_set, name="forgot", registered_model_name="forgot")
        models.promote("forgot", 1, approver="ann", store=store)
        spine = worlds.spine(40, label=False)
        key = spine["customer_id"].to_pylist()[0]
        models.score("models:/forgot/1", spine, log=True, store=store)
        logged = store.catalog.load_table("inference.forgot")
        of_key = logged.scan().to_arrow()["customer_id"].to_pylist().count(key)
        trained = made.training_set.to_arrow()["customer_id"].to_pylist().count(key)
        assert of_key
        assert trained
        erased = store.erase("customer", key)
        counted = {table.table: table.rows for table in erased.tables}
        assert (counted["inference.forgot"], counted[f"training_sets.{made.training_set.name}"]) == (of_key, trained)
        (one,) = [one for one in erased.training_sets if one.id == made.training_set.id]
        assert one.models == ("forgot/1",)
        left = store.catalog.load_table("inference.forgot").scan().to_arrow()
        assert (left.num_rows, left["customer_id"].to_pylist().count(key)) == (40 - of_key, 0)
        for deep in (False, True):
            audit = store.audit("models:/forgot@champion", deep)
            assert audit.broken == ()
            (link,) = [link for link in audit.links if link.kind == "training set"]
            assert link.verified[0].endswith(f"the digest of the stamp, minus erasure {erased.number}")
            assert (link.facts["digest"], link.facts["digest_before"]) == (one.digest, one.digest_before)
        assert store.rebuild("models:/forgot/1").manifest["rows"] == made.training_set.manifest["rows"] - trained
        row = left.slice(left.num_rows - 1).to_pylist()[0]
        assert store.replay(row["request_id"], row=row["row_number"]).equal
        # The next model is trained on what is left, and its stamp is the digest of that.
        again = store.get_training_set(made.training_set.id)
        models.log_model(made.model, training_set=again, name="after", registered_model_name="after")
        assert store.audit("models:/after/1").broken == ()
        assert tables.load(store.catalog, "inference.forgot").snapshot_ids
