"""A copy is a table of the store: maintained, tagged, traced, erased from, and removed with the last view that reads it."""

from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore, FeatureView, Source
from featurestore.sources.kept import file_copy
from tests.sources.kept import events


@pytest.mark.slow
def test_a_copy_is_one_of_the_stores_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_copy, "GROUP_BYTES", 1)
    for day in range(6):
        events.write(tmp_path, day, [1.0, 2.0, 3.0])
    source = Source("events", path=str(tmp_path / "day=*" / "*.parquet"), timestamp="at", keep=True)
    table = source.kept_table
    with FeatureStore(home=tmp_path / "home") as store:
        events.serve(store, source)
        events.write(tmp_path, 0, [1.0, 2.0, 10.0])
        store.materialize()
        before = events.joined(store)
        done = {one.table: one for one in store.maintain(older_than=timedelta(0))}
        assert (done[table].snapshots, done[table].compacted_files) == (1, 6)
        events.write(tmp_path, 5, [1.0, 2.0, 15.0])
        store.materialize()
        assert [row for row in events.joined(store) if row["t"] < events.BEGIN + timedelta(days=5)] == [
            row for row in before if row["t"] < events.BEGIN + timedelta(days=5)
        ]
        assert events.kept(store).scan().to_arrow().num_rows == 18
        assert table in store.tag("t").tables
        assert store.lineage(f"{table}.amount", direction="down").nodes
        erasure = store.erase("user", 1)
        assert table in {erased.table for erased in erasure.tables}
        assert any(line.startswith(f"{source.path}: the origin of {table}") for line in erasure.remaining)
        assert set(events.kept(store).scan().to_arrow().column("user_id").to_pylist()) == {0, 2}
        assert {row["n_3d"] for row in events.joined(store) if row["user_id"] == 1} == {None}


@pytest.mark.slow
def test_a_copy_is_removed_with_the_last_view_that_reads_it(tmp_path: Path) -> None:
    events.write(tmp_path, 0, [1.0])
    source = Source("events", path=str(tmp_path / "day=*" / "*.parquet"), timestamp="at", keep=True)
    views = [FeatureView(name, entity=events.USER, source=source, features=["amount"]) for name in ("one", "two")]
    with FeatureStore(home=tmp_path / "home") as store:
        store.apply(views)
        store.materialize()
        store.remove_view("one")
        assert store.catalog.table_exists(source.kept_table)
        assert store.remove_view("two", dry_run=True).files > 0
        assert store.catalog.table_exists(source.kept_table)
        store.remove_view("two")
        assert not store.catalog.table_exists(source.kept_table)


def test_another_place_is_another_copy_and_other_words_are_not() -> None:
    source = Source("s", path="s3://lake/a/*.parquet", timestamp="at")
    same = Source("s", path="s3://lake/a/*.parquet", timestamp="other", description="words", where="amount > 0", columns={"x": "1"})
    assert source.kept_table == same.kept_table
    others = [
        Source("s", path="s3://lake/b/*.parquet", timestamp="at"),
        Source("s", path="s3://lake/a/*.parquet", timestamp="at", partitions={"day": "string"}),
        Source("t", path="s3://lake/a/*.parquet", timestamp="at"),
        Source("s", url="shop", table="a", timestamp="at", watermark="at"),
        Source("s", url="shop", table="a", timestamp="at", watermark="at", id="id"),
    ]
    assert len({source.kept_table, *(other.kept_table for other in others)}) == 6
