"""Dropping a table removes its name and its folder, and nothing of other tables."""

from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog

from featurestore.lakehouse import dropping, tables
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.volume import Volume, volume

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


def make_table(catalog: Catalog, name: str) -> Table:
    """A table of three rows in one file."""
    table = tables.create(catalog, name, ROWS.schema)
    table.iceberg.append(ROWS)
    return table


def folder(table: Table) -> Path:
    return Path(table.iceberg.location().removeprefix("file://"))


def test_a_table_goes_with_its_folder(catalog: Catalog) -> None:
    table, other = make_table(catalog, "shop.orders"), make_table(catalog, "shop.orders_2")
    (folder(table) / "data" / "left-by-a-dead-writer.parquet").write_bytes(b"x" * 10)
    files = [path for path in folder(table).rglob("*") if path.is_file()]
    expected = dropping.identity_of(table)
    assert dropping.folder_contents(catalog, "shop.orders", expected) == dropping.FolderContents(
        len(files), sum(path.stat().st_size for path in files)
    )
    assert dropping.drop_table(catalog, "shop.orders", expected).files == len(files)
    assert not folder(table).exists()
    assert dropping.find_same_table(catalog, "shop.orders", expected) is None
    assert dropping.drop_table(catalog, "shop.orders", expected) == dropping.FolderContents(0, 0), "again: there is nothing left to do"
    assert catalog.load_table("shop.orders_2").scan().to_arrow() == ROWS
    assert folder(other).exists()


def test_what_is_left_of_a_dropped_one_goes(catalog: Catalog) -> None:
    table = make_table(catalog, "shop.orders")
    expected = dropping.identity_of(table)
    catalog.drop_table("shop.orders")
    assert dropping.folder_contents(catalog, "shop.orders", expected).files > 0
    assert dropping.drop_table(catalog, "shop.orders", expected).files > 0
    assert not folder(table).exists()


def test_a_new_table_of_the_old_name_stays(catalog: Catalog) -> None:
    expected = dropping.identity_of(make_table(catalog, "shop.orders"))
    catalog.drop_table("shop.orders")
    table = make_table(catalog, "shop.orders")
    assert table.iceberg.location() == expected.location
    assert dropping.drop_table(catalog, "shop.orders", expected) == dropping.FolderContents(0, 0)
    assert catalog.load_table("shop.orders").scan().to_arrow() == ROWS


def test_a_folder_that_a_renamed_table_shares_stays(catalog: Catalog) -> None:
    make_table(catalog, "shop.orders")
    catalog.rename_table("shop.orders", "shop.kept")
    table = make_table(catalog, "shop.orders")
    assert dropping.drop_table(catalog, "shop.orders", dropping.identity_of(table)) == dropping.FolderContents(0, 0)
    assert not catalog.table_exists("shop.orders")
    assert catalog.load_table("shop.kept").scan().to_arrow() == ROWS


def test_how_much_a_snapshot_holds(catalog: Catalog) -> None:
    table = make_table(catalog, "shop.orders")
    first = table.snapshot_id
    (task,) = table.iceberg.scan().plan_files()
    assert volume(table, first) == Volume(1, task.file.file_size_in_bytes, 3)
    table.iceberg.append(ROWS)
    assert volume(table, table.snapshot_id).rows == 6
    assert volume(table, first) == Volume(1, task.file.file_size_in_bytes, 3)
    assert volume(table, None) == Volume(0, 0, 0)


def test_what_no_writer_noted_is_not_known(catalog: Catalog) -> None:
    table = make_table(catalog, "shop.orders")
    snapshot = table.iceberg.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    bare = snapshot.model_copy(update={"summary": type(snapshot.summary)(snapshot.summary.operation)})
    table.iceberg.metadata = table.iceberg.metadata.model_copy(update={"snapshots": [bare]})
    assert volume(table, snapshot.snapshot_id) == Volume(None, None, None)
