"""The manifest says where the rows and the label of a training set were read."""

from featurestore import FeatureStore
from tests import shop
from tests.worlds import load_source


def test_the_table_the_snapshot_and_the_sql_of_the_label_are_recorded(own_shop: FeatureStore) -> None:
    rows = shop.spine()
    load_source(own_shop, "raw.labels", rows)
    first = str(own_shop.catalog.load_table("raw.labels").current_snapshot().snapshot_id)  # type: ignore[union-attr]
    made = own_shop.training_set("churn", "iceberg:raw.labels", timestamp="asked_at", label="churned")
    assert (made.manifest["spine"]["table"], made.manifest["spine"]["snapshot_id"]) == ("raw.labels", first)
    sql = "SELECT * FROM raw.labels"
    queried = own_shop.training_set("churn", sql, timestamp="asked_at", label="churned", name="queried").manifest["spine"]
    assert (queried["sql"], queried["tables"]) == (sql, {"raw.labels": first})
    sent = own_shop.training_set("churn", rows, timestamp="asked_at", label="churned", name="sent").manifest["spine"]
    assert not {"table", "snapshot_id", "sql", "tables"} & set(sent)
    assert sent["digest"] == made.manifest["spine"]["digest"]
