"""The rows of a training set from any store: in order, by columns, by rows, and with other readers."""

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore, connect
from featurestore.errors import FeatureStoreError, NotFound
from featurestore.lakehouse import tables, writes
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.training_set import TrainingSet, manifest_json
from featurestore.records.stored_sets import MANIFEST, TAG
from tests import shop
from tests.s3 import connection, server

ROWS = 150_000
"""More than a row group."""


@pytest.mark.slow
def test_from_a_disk(own_shop: FeatureStore) -> None:
    made = build(own_shop)
    hold_rows(made)
    hold_files(own_shop, made)
    far = hold_server(own_shop, made)
    assert far.dataset().to_table().num_rows == ROWS


@pytest.mark.slow
def test_from_s3(tmp_path: Path) -> None:
    with server() as endpoint:
        settings: dict[str, Any] = {"warehouse": "s3://lake/warehouse", "catalog": connection(endpoint, tmp_path)}
        with shop.open_shop(tmp_path / "home", **settings) as store:
            made = build(store)
            hold_rows(made)
            hold_files(store, made)
            far = hold_server(store, made)
            assert far[0].startswith("s3://lake/warehouse/training_sets/plain/")


def build(store: FeatureStore) -> TrainingSet:
    """Customers in turn, of whom one is unknown and the others have a row of every type."""
    keys = pa.array([row % 3 for row in range(ROWS)], pa.int64())
    spine = pa.table({"customer_id": keys, "number": range(ROWS), "at": pa.array([shop.days(1)] * ROWS, shop.TIME)})
    return store.training_set("plain", spine, "at", split={"train": 0.5, "test": 0.5}, by="number")


def hold_rows(made: TrainingSet) -> None:
    """They come in order, all and those of a part, with the columns that are asked for."""
    whole = made.to_arrow()
    assert whole.column("number").to_pylist() == list(range(ROWS))
    assert made.to_arrow(["country", "__fs_row", "number"]).select(["country", "number"]).equals(whole.select(["country", "number"]))
    parts = {part: made.split(part).to_arrow(["__fs_split", "number"]) for part in ("train", "test")}
    for part, rows in parts.items():
        assert rows.column("__fs_split").unique().to_pylist() == [part]
        assert rows.num_rows == made.manifest["split"]["rows"][part]
        numbers = rows.column("number").to_pylist()
        assert numbers == sorted(numbers)
    assert sum(rows.num_rows for rows in parts.values()) == ROWS
    first = next(made.to_batches(1000, ["credit", "number"]))
    assert first.to_pylist() == whole.select(["credit", "number"]).slice(0, 1000).to_pylist()


def hold_files(store: FeatureStore, made: TrainingSet) -> None:
    """They have exactly the rows, as has the snapshot of the table, and others read them with nothing but the dataset."""
    files, whole = made.files(), made.to_arrow().drop_columns("score")  # NaN, which equals nothing
    assert files.table == "training_sets.plain"
    assert str(files.snapshot_id) == made.manifest["snapshot_id"]
    dataset = files.dataset()
    assert dataset.to_table(columns=whole.schema.names).equals(whole)
    assert sum(pq.read_metadata(name, filesystem=files.filesystem).num_rows for name in files.names) == ROWS
    scanned = store.catalog.load_table(files.table).scan(snapshot_id=files.snapshot_id).to_arrow()
    assert scanned.schema.names == [*made.to_arrow().schema.names, "__fs_row", "__fs_split"]
    assert scanned.num_rows == ROWS
    with duckdb.connect() as connected:
        counted = connected.execute("SELECT count(*), max(__fs_row) FROM dataset WHERE country = 'AT'").fetchall()
    assert counted == [(ROWS // 3, ROWS - 2)]
    assert pl.scan_pyarrow_dataset(dataset).filter(pl.col("country") == "AT").collect().height == ROWS // 3


def hold_server(store: FeatureStore, made: TrainingSet) -> Files:
    """Behind a server there are the same rows, and the same addresses of files."""
    with shop.serving(store) as url, connect(url) as remote:
        far = remote.get_training_set(made.id)
        assert far.split("test").to_arrow(["number", "credit"]).equals(made.split("test").to_arrow(["number", "credit"]))
        files, own = far.files(), made.files()
        assert (files, files.table, files.snapshot_id) == (own, own.table, own.snapshot_id)
        return files


def test_rows_out_of_order_are_refused(own_shop: FeatureStore) -> None:
    made = own_shop.training_set("churn", shop.spine(), "asked_at", label="churned")
    rows = made.to_arrow([*(column["name"] for column in made.manifest["columns"]), "__fs_row"])
    manifest = {MANIFEST: manifest_json({**made.manifest, "id": "churn-backwards"})}
    home = tables.load(own_shop.catalog, "training_sets.churn")
    writes.replace_rows(home, rows.take([2, 1, 0]).to_reader(), summary=manifest, tag=f"{TAG}churn-backwards")
    with pytest.raises(FeatureStoreError, match="are not stored in row order"):
        own_shop.get_training_set("churn-backwards").to_arrow()


def test_a_column_that_is_not_there(own_shop: FeatureStore) -> None:
    made = own_shop.training_set("churn", shop.spine(), "asked_at", label="churned")
    with pytest.raises(NotFound, match="did you mean 'orders_7d'"):
        made.to_arrow(["orders_7"])
    with pytest.raises(NotFound, match="no column '__fs_split'"):
        made.to_pandas(["__fs_split"])
    nothing = own_shop.training_set("churn", shop.spine().slice(0, 0), "asked_at", name="nothing")
    assert (nothing.files(), nothing.files().dataset().count_rows()) == ([], 0)
    assert nothing.to_arrow().schema.equals(made.to_arrow().schema)
