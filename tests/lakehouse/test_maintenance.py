"""Upkeep forgets what nothing pins, and never touches what a kept snapshot needs."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import maintenance, scans, tables, tags, types, writes
from featurestore.lakehouse.files import DataFiles
from featurestore.lakehouse.maintenance import Expired, Swept
from tests.lakehouse.data import EVENTS, by_id, events, files, reader
from tests.lakehouse.deletes import delete_rows
from tests.lakehouse.interference import interfered


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def snapshots(catalog: Catalog, count: int) -> tuple[Table, list[int]]:
    table = tables.create(catalog, "features.f", EVENTS, month_of="t")
    for number in range(count):
        writes.append(table, reader(events((number, f"2026-{number + 1:02}-01", "x"))), summary={})
    return table, tables.snapshot_ids(table)


def keys(table: Table, snapshot: int) -> list[int]:
    return sorted(scans.read(table, snapshot).read_all()["k"].to_pylist())


def orphan(table: Table, name: str, size: int = 10) -> Path:
    path = Path(table.location()) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_expire_keeps_tags_branches_and_the_current(both: Catalog) -> None:
    table, made = snapshots(both, 5)
    tags.tag(table, "pinned", made[1])
    with table.manage_snapshots() as manage:
        manage.create_branch(made[2], "audit")
    assert maintenance.expire(table, datetime.now(UTC) - timedelta(hours=1)).snapshots == 0
    assert maintenance.expire(table, soon(), dry_run=True).snapshot_ids == (made[0], made[3])
    assert tables.snapshot_ids(tables.load(both, "features.f")) == made
    assert maintenance.expire(table, soon()).snapshots == 2
    assert tables.snapshot_ids(table) == tables.snapshot_ids(tables.load(both, "features.f")) == [made[1], made[2], made[4]]
    assert maintenance.expire(table, soon()).snapshots == 0
    with pytest.raises(NotFound):
        scans.scan(table, made[0])


def test_a_tag_set_while_expiring_saves_its_snapshot(both: Catalog) -> None:
    _, made = snapshots(both, 3)
    with interfered(both) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: tags.tag(tables.load(both, "features.f"), "late", made[0])
        assert maintenance.expire(table, soon()).snapshot_ids == (made[1],)
    fresh = tables.load(both, "features.f")
    assert tables.snapshot_ids(fresh) == [made[0], made[2]]
    assert tags.tags(fresh) == {"late": made[0]}


def test_the_age_of_a_snapshot_counts_from_when_another_took_its_place(catalog: Catalog) -> None:
    table, made = snapshots(catalog, 3)
    when = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in table.snapshots()}
    between = datetime.fromtimestamp(when[made[2]] / 1000, UTC)
    assert when[made[1]] < when[made[2]]
    assert maintenance.expire(table, between, dry_run=True).snapshot_ids == (made[0],)
    assert maintenance.expire(table, between + timedelta(milliseconds=1), dry_run=True).snapshot_ids == (made[0], made[1])


def test_what_an_incremental_reader_needs_is_kept(catalog: Catalog) -> None:
    table, made = snapshots(catalog, 5)
    assert maintenance.expire(table, soon(), reader=made[2]).snapshot_ids == (made[0], made[1])
    found = scans.changes(table, made[2], made[4])
    assert found.appended
    assert sorted(row["k"] for row in by_id(found.relation)) == [3, 4]
    assert maintenance.expire(table, soon(), reader=12345).snapshot_ids == (made[2], made[3])


def stage(table: Table, number: int) -> None:
    """A row on the branch of a run that is under way, which has a history of its own."""
    new = DataFiles(table, types.arrow_schema(table.schema(), ids=True)).write(events((number, "2026-05-01", "staged")).to_batches())
    transaction = table.transaction()
    with transaction.update_snapshot(branch=maintenance.STAGING).fast_append() as snapshot:
        for file in new.data_files(transaction.table_metadata):
            snapshot.append_data_file(file)
    transaction.commit_transaction()


def staged(catalog: Catalog, count: int) -> Table:
    """A table with one row, and more rows on that branch."""
    table, _ = snapshots(catalog, 1)
    for number in range(count):
        stage(table, 100 + number)
    return table


def test_the_branch_of_a_run_under_way_is_kept_with_its_history(catalog: Catalog) -> None:
    table = staged(catalog, 3)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert maintenance.expire(table, soon(), staged_before=hour_ago) == Expired(())
    assert maintenance.sweep(table, soon()) == Swept(0, 0)
    assert len(tables.snapshot_ids(table)) == 1 + 3
    assert keys(table, table.refs()[maintenance.STAGING].snapshot_id) == [100, 101, 102]


def test_the_branch_of_a_dead_run_goes_with_its_files(both: Catalog) -> None:
    table = staged(both, 3)
    planned = maintenance.expire(table, soon(), dry_run=True, staged_before=soon())
    assert (planned.snapshots, planned.abandoned) == (3, True)
    would = maintenance.sweep(table, soon(), dry_run=True, without=planned.snapshot_ids)
    assert maintenance.STAGING in tables.load(both, "features.f").refs()
    assert maintenance.expire(table, soon(), staged_before=soon()) == planned
    swept = maintenance.sweep(table, soon())
    assert (swept.files, len(files(table))) == (would.files, 1)
    assert keys(table, tables.snapshot_ids(table)[0]) == [0]
    assert maintenance.STAGING not in table.refs()


def test_a_run_that_goes_on_meanwhile_keeps_its_branch(catalog: Catalog) -> None:
    staged(catalog, 2)
    limit = datetime.now(UTC)
    with interfered(catalog) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: stage(tables.load(catalog, "features.f"), 102)
        assert maintenance.expire(table, limit, staged_before=limit) == Expired(())
    table = tables.load(catalog, "features.f")
    assert keys(table, table.refs()[maintenance.STAGING].snapshot_id) == [100, 101, 102]


def test_metadata_files_of_any_table_become_few(both: Catalog) -> None:
    both.create_namespace("features")
    table = both.create_table("features.f", EVENTS, properties={"write.metadata.previous-versions-max": "3"})
    maintenance.bound_metadata(table)
    assert table.properties["write.metadata.delete-after-commit.enabled"] == "true"
    assert table.properties["write.metadata.previous-versions-max"] == "3"
    location = table.metadata_location
    maintenance.bound_metadata(table)
    assert table.metadata_location == location
    for number in range(8):
        writes.append(table, reader(events((number, "2026-01-01", "x"))), summary={})
    assert len([name for name in files(table, "metadata") if name.endswith(".metadata.json")]) == 4


def test_sweep_takes_orphans_and_expired_files_alone(both: Catalog) -> None:
    for number in range(3):
        writes.replace(both, "training_sets.t", reader(events((number, "2026-01-01", "x"))), summary={}, tag=f"t{number}")
    table = tables.load(both, "training_sets.t")
    made = tables.snapshot_ids(table)
    with table.manage_snapshots() as manage:
        manage.remove_tag("t0")
    maintenance.expire(table, soon(), dry_run=False)
    orphan(table, "data/lost.parquet", 1000)
    orphan(table, "metadata/00000-lost.metadata.json", 10)
    orphan(table, "metadata/snap-lost.avro", 10)
    other = [orphan(table, "metadata/version-hint.text"), orphan(table, "notes.parquet"), orphan(table, "data/readme.md")]
    before = files(table), files(table, "metadata")
    wanted = maintenance.sweep(table, soon(), dry_run=True)
    assert (files(table), files(table, "metadata")) == before
    assert maintenance.sweep(table, soon(), dry_run=False) == wanted
    assert wanted.files >= 5  # with the expired data file and its manifest and manifest list
    assert wanted.bytes > 1020
    assert len(files(table)) == 2 + 1
    assert all(path.exists() for path in other)
    assert [keys(table, snapshot) for snapshot in made[1:]] == [[1], [2]]
    assert maintenance.sweep(table, soon(), dry_run=False) == Swept(0, 0)
    writes.replace(both, "training_sets.t", reader(events((9, "2026-01-01", "x"))), summary={}, tag="t9")


def test_sweep_leaves_young_files(catalog: Catalog) -> None:
    table, _ = snapshots(catalog, 1)
    old, young = orphan(table, "data/old.parquet"), orphan(table, "data/young.parquet")
    hour_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(old, (hour_ago, hour_ago))
    limit = datetime.now(UTC) - timedelta(hours=1)
    assert maintenance.sweep(table, limit, dry_run=False) == Swept(1, 10)
    assert (old.exists(), young.exists()) == (False, True)
    assert maintenance.sweep(table, limit.replace(tzinfo=None), dry_run=False) == Swept(0, 0)


def test_sweep_with_a_stale_handle_and_merged_manifests(both: Catalog) -> None:
    table = tables.create(both, "features.f", EVENTS, month_of="t", properties={"commit.manifest.min-count-to-merge": "3"})
    stale = tables.load(both, "features.f")
    for number in range(8):
        writes.append(table, reader(events((number, f"2026-{number + 1:02}-01", "x"))), summary={})
    maintenance.sweep(stale, soon(), dry_run=False)
    for count, snapshot in enumerate(tables.snapshot_ids(table), start=1):
        assert keys(table, snapshot) == list(range(count))
    maintenance.expire(table, soon(), dry_run=False)
    maintenance.sweep(stale, soon(), dry_run=False)
    assert keys(table, tables.snapshot_ids(table)[0]) == list(range(8))
    assert len(files(table)) == 8


def test_sweep_keeps_delete_files(catalog: Catalog) -> None:
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", EVENTS)
    table.append(events((1, "2026-01-01", "a"), (2, "2026-01-01", "b")))
    delete_rows(table, DataFileContent.POSITION_DELETES, [0])
    table.refresh()
    maintenance.expire(table, soon(), dry_run=False)
    maintenance.sweep(table, soon(), dry_run=False)
    assert keys(table, tables.snapshot_ids(table)[-1]) == [2]


def test_what_a_lost_writer_left_is_swept(catalog: Catalog) -> None:
    _, made = snapshots(catalog, 1)
    with interfered(catalog) as dying:
        table = tables.load(dying, "features.f")
        dying.before = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            writes.append(table, reader(events((9, "2026-01-01", "x"))), summary={})
    assert len(files(table)) == 2
    assert maintenance.sweep(table, soon(), dry_run=False).files >= 3
    assert len(files(table)) == 1
    assert keys(table, made[0]) == [0]


def test_a_folder_shared_after_a_rename_is_not_swept(both: Catalog) -> None:
    _, made = snapshots(both, 1)
    both.rename_table("features.f", "features.old")
    new, _ = snapshots(both, 1)
    old = tables.load(both, "features.old")
    assert new.location() == old.location()
    for table in (new, old):
        with pytest.raises(Conflict, match=r"share the folder"):
            maintenance.sweep(table, soon(), dry_run=False)
    assert keys(old, made[0]) == [0]
    both.drop_table("features.old")
    assert maintenance.sweep(new, soon(), dry_run=False).files >= 4
    assert keys(new, tables.snapshot_ids(new)[0]) == [0]


def test_data_outside_of_the_tables_folder_is_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    table = tables.create(catalog, "features.f", EVENTS, properties={"write.data.path": str(shared)})
    writes.append(table, reader(events((1, "2026-01-01", "x"))), summary={})
    (shared / "of-another-table.parquet").write_bytes(b"x")
    maintenance.sweep(table, soon(), dry_run=False)
    assert len(list(shared.iterdir())) == 2
