"""Logged predictions are computed again, bit for bit, also after the catalog has moved on; what differs is said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import models
from featurestore.errors import NotFound
from featurestore.lakehouse import tables, writes
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import DAY, END, World

pytestmark = VENDOR_WARNINGS
NOW = datetime(2026, 3, 20, tzinfo=UTC)


def logged_rows(made: World, name: str) -> list[dict[str, Any]]:
    """The rows of a model's log, by time and number."""
    rows: list[dict[str, Any]] = made.store.catalog.load_table(f"inference.{name}").scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["predicted_at"], int(row["request_id"].rpartition("-")[2])))


def move_on(made: World) -> None:
    """New rows in both sources, materialized, and everything expired that may expire."""
    for number, source in enumerate(("shop.orders", "shop.profiles"), 1):
        table = made.store.catalog.load_table(source)
        time = "ordered_at" if source == "shop.orders" else "updated_at"
        row = table.scan().to_arrow().slice(0, 1).to_pylist()[0] | {time: NOW - number * DAY}
        table.append(pa.Table.from_pylist([row], table.scan().to_arrow().schema))
    made.store.materialize(end=END + DAY)
    made.store.maintain(older_than=timedelta(0))


@pytest.mark.slow
def test_predictions_are_replayed_after_the_catalog_has_moved_on(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "moved")
    with made.store as store:
        models.log_model(made.model, training_set=made.training_set, name="lived", registered_model_name="lived")
        spine = worlds.spine(6, label=False)
        models.score("models:/lived/1", spine, log=True, store=store)
        models.score("models:/lived/1", spine, at="training", log=True, store=store)
        models.score("models:/lived/1", spine.drop_columns(["t"]), at=NOW, log=True, store=store)
        overriding = spine.append_column("age", pa.array([77, None] * 3, pa.int32())).append_column(
            "o_spend_30d", pa.array([None, 5.0] * 3)
        )
        models.score("models:/lived/1", overriding, log=True, store=store)
        models.score("models:/lived/1", worlds.keys(1, 2, worlds.UNKNOWN), at="online", log=True, store=store)
        rows = logged_rows(made, "lived")
        assert len({row["request_id"] for row in rows}) == 27
        move_on(made)
        for row in rows[::2]:
            found = store.replay(row["request_id"])
            assert found.equal, found.why
            assert found.prediction.logged == row["prediction"]
            assert {value.name for value in found.features if value.overridden} == set(row["overridden"])
        with pytest.raises(NotFound, match="no prediction"):
            store.replay("nothing")
        tampered = rows[0] | {"request_id": "tampered-0", "age": 1, "prediction": not rows[0]["prediction"]}
        table = tables.load(store.catalog, "inference.lived")
        writes.append_retrying(table, pa.Table.from_pylist([tampered], tables.arrow_schema(table)).to_reader())
        found = store.replay("tampered-0")
        assert not found.equal
        assert f"the feature age was 1 and is {rows[0]['age']}" in found.why[0] or rows[0]["age"] is None
        assert "because its features differ" in found.why[1]
        mlflow.MlflowClient().delete_registered_model("lived")
        assert "cannot be computed again" in store.replay(rows[0]["request_id"]).why[0]
