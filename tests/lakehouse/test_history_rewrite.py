"""Rows are removed from every snapshot of a table in either kind of database, and snapshots keep their ids."""

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFileContent

from featurestore.errors import Conflict
from featurestore.lakehouse import scans, tables, tags, writes
from featurestore.lakehouse.history_rewrite import Matches, find_in_history, rewrite_history
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse import deletes

STAMP = pa.timestamp("us", "UTC")
MONTH = 31 * 86_400_000_000
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.string())])


def rows(*keys: int, month: int = 0) -> pa.Table:
    return pa.table({"k": keys, "at": pa.array([month * MONTH + key for key in keys], STAMP), "x": [f"x{key}" for key in keys]}, SCHEMA)


def add(table: Table, data: pa.Table) -> None:
    writes.append(table, data.to_reader(), summary={"by": "test"})


def snapshots(table: Table) -> dict[int, list[dict[str, Any]]]:
    return {id: scans.read_snapshot(grant(table), id).read_all().sort_by([("at", "ascending")]).to_pylist() for id in table.snapshot_ids}


def files(table: Table) -> set[Path]:
    return {path for path in Path(table.location.removeprefix("file://")).rglob("*") if path.is_file()}


@pytest.fixture
def table(both: Catalog) -> Table:
    both.create_namespace("s")
    made = tables.create(both, "s.t", SCHEMA, month_of="at")
    add(made, rows(1, 2, 3))
    add(made, pa.concat_tables([rows(4, 2), rows(2, 5, month=1)]))
    tables.add_missing_columns(made, [pa.field("y", pa.float64())])
    add(made, rows(2, month=2).append_column("y", pa.array([1.5])))
    tags.set_tag(made, "kept", made.snapshot_ids[0])
    return made


def test_rows_leave_every_snapshot(table: Table, both: Catalog) -> None:
    before, ids = snapshots(table), table.snapshot_ids
    matches = Matches([{"k": 2}])
    assert find_in_history(grant(table), matches).rows == 4
    removed = rewrite_history(grant(table), matches)
    assert (removed.rows, removed.snapshots) == (4, tuple(ids))
    again = tables.load(both, "s.t")
    assert (again.snapshot_ids, tags.tags(again)) == (ids, {"kept": ids[0]})
    assert snapshots(again) == {id: [row for row in stored if row["k"] != 2] for id, stored in before.items()}
    assert find_in_history(grant(again), matches).rows == 0
    # Only what is reached is left.
    reached = {task.file.file_path.removeprefix("file://") for id in ids for task in scans.snapshot_files(grant(again), id)}
    assert {str(path) for path in files(again) if path.suffix == ".parquet"} == reached
    assert all("x2" not in path.read_bytes().decode("latin1") for path in files(again))
    add(again, rows(9, month=3).append_column("y", pa.array([2.5])))
    assert scans.read_snapshot(grant(again), again.snapshot_id).read_all()["k"].to_pylist().count(9) == 1


def test_summaries_of_snapshots_that_lose_rows_are_changed(table: Table, both: Catalog) -> None:
    first, second, last = table.snapshot_ids
    rewrite_history(grant(table), Matches([{"k": 5}]), lambda id, before: {**before, "lost": str(id)})
    again = tables.load(both, "s.t")
    assert [tables.summary(again, id).get("lost") for id in (first, second, last)] == [None, str(second), str(last)]
    assert tables.summary(again, second)["by"] == "test"


def test_a_table_that_loses_all_rows(table: Table, both: Catalog) -> None:
    rewrite_history(grant(table), Matches([{"k": key} for key in range(1, 6)]))
    again = tables.load(both, "s.t")
    assert list(snapshots(again).values()) == [[], [], []]
    assert not [path for path in files(again) if path.suffix == ".parquet"]
    add(again, rows(7).append_column("y", pa.array([1.0])))
    assert [row["k"] for row in snapshots(again)[again.snapshot_ids[-1]]] == [7]


def test_nothing_to_remove_changes_nothing(table: Table) -> None:
    before = (table.metadata_location, files(table))
    assert rewrite_history(grant(table), Matches([{"k": 77}, {"k": 1, "x": "x2"}, {"unknown": 1}])).rows == 0
    assert (table.metadata_location, files(table)) == before


def test_another_commit_in_between_is_rewritten_too(table: Table, both: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(both, SqlCatalog)
    write = type(both)._write_metadata
    done: list[bool] = []

    def interfere(*arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(True)
            add(tables.load(both, "s.t"), rows(2, 8, month=4).append_column("y", pa.array([1.0, 2.0])))
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(both), "_write_metadata", staticmethod(interfere))
        rewrite_history(grant(table), Matches([{"k": 2}]))
    again = tables.load(both, "s.t")
    assert len(again.snapshot_ids) == 4
    assert sorted(row["k"] for row in snapshots(again)[again.snapshot_ids[-1]]) == [1, 3, 4, 5, 8]
    reached = {task.file.file_path.removeprefix("file://") for id in again.snapshot_ids for task in scans.snapshot_files(grant(again), id)}
    assert {str(path) for path in files(again) if path.suffix == ".parquet"} == reached


def test_delete_files_are_refused(catalog: Catalog) -> None:
    catalog.create_namespace("s")
    made = catalog.create_table("s.d", schema=SCHEMA)
    made.append(rows(1, 2, 3))
    deletes.delete_rows(Table(made), DataFileContent.POSITION_DELETES, [0])
    with pytest.raises(Conflict, match=r"s\.d has delete files; compact it with the program that wrote them"):
        rewrite_history(grant(tables.load(catalog, "s.d")), Matches([{"k": 1}]))


def test_values_are_compared_as_the_column_has_them() -> None:
    id = uuid.uuid4()
    batch = pa.record_batch(
        {
            "number": pa.array([42, 7, None], pa.int32()),
            "text": ["42", "x", None],
            "uuid": pa.array([id.bytes, uuid.uuid4().bytes, None], pa.binary(16)),
            "written": [str(id), "x", None],
            "time": pa.array([0, 1, None], STAMP),
        }
    )
    same: list[dict[str, Any]] = [{"number": 42}, {"text": 42}, {"uuid": id}, {"written": id}, {"number": 42, "text": "42"}]
    for row in same:
        assert Matches([row]).mask(batch).to_pylist() == [True, False, False], row
    others: list[dict[str, Any]] = [{"number": "x"}, {"time": "x"}, {"number": 42, "text": "x"}, {"none": 1}]
    for row in others:
        assert Matches([row]).mask(batch).to_pylist() == [False, False, False], row
    assert pc.sum(Matches([{"number": 42}, {"number": 7}]).mask(batch)).as_py() == 2
