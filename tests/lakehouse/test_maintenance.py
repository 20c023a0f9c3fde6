"""Maintenance removes what nothing pins, and keeps what remaining snapshots need."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent

from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import maintenance, scans, tables, tags, writes
from featurestore.lakehouse.maintenance import RemovedFiles
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse.data import EVENTS, by_id, events, files, reader, replace_rows
from tests.lakehouse.deletes import delete_rows
from tests.lakehouse.interference import open_interfered


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def snapshots(catalog: Catalog, count: int) -> tuple[Table, list[int]]:
    table = tables.create(catalog, "features.f", EVENTS, month_of="t")
    for number in range(count):
        writes.append(table, reader(events((number, f"2026-{number + 1:02}-01", "x"))), summary={})
    return table, table.snapshot_ids


def keys(table: Table, snapshot: int) -> list[int]:
    return sorted(scans.read_snapshot(grant(table), snapshot).read_all()["k"].to_pylist())


def orphan(table: Table, name: str, size: int = 10) -> Path:
    path = Path(table.iceberg.location()) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_expire_keeps_tags_branches_and_the_current(both: Catalog) -> None:
    table, made = snapshots(both, 5)
    tags.set_tag(table, "pinned", made[1])
    with table.iceberg.manage_snapshots() as manage:
        manage.create_branch(made[2], "audit")
    assert maintenance.expire_snapshots(table, datetime.now(UTC) - timedelta(hours=1)).snapshots == 0
    assert maintenance.expire_snapshots(table, soon(), dry_run=True).snapshot_ids == (made[0], made[3])
    assert tables.load(both, "features.f").snapshot_ids == made
    assert maintenance.expire_snapshots(table, soon()).snapshots == 2
    assert table.snapshot_ids == tables.load(both, "features.f").snapshot_ids == [made[1], made[2], made[4]]
    assert maintenance.expire_snapshots(table, soon()).snapshots == 0
    with pytest.raises(NotFound):
        scans.scan_snapshot(grant(table), made[0])


def test_a_tag_set_while_expiring_saves_its_snapshot(both: Catalog) -> None:
    _, made = snapshots(both, 3)
    with open_interfered(both) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: tags.set_tag(tables.load(both, "features.f"), "late", made[0])
        assert maintenance.expire_snapshots(table, soon()).snapshot_ids == (made[1],)
    fresh = tables.load(both, "features.f")
    assert fresh.snapshot_ids == [made[0], made[2]]
    assert tags.tags(fresh) == {"late": made[0]}


def test_the_age_of_a_snapshot_counts_from_when_another_took_its_place(catalog: Catalog) -> None:
    table, made = snapshots(catalog, 3)
    when = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in table.iceberg.snapshots()}
    between = datetime.fromtimestamp(when[made[2]] / 1000, UTC)
    assert when[made[1]] < when[made[2]]
    assert maintenance.expire_snapshots(table, between, dry_run=True).snapshot_ids == (made[0],)
    assert maintenance.expire_snapshots(table, between + timedelta(milliseconds=1), dry_run=True).snapshot_ids == (made[0], made[1])


def test_what_an_incremental_reader_needs_is_kept(catalog: Catalog) -> None:
    table, made = snapshots(catalog, 5)
    assert maintenance.expire_snapshots(table, soon(), reader=made[2]).snapshot_ids == (made[0], made[1])
    changes = scans.read_changes(grant(table), made[2], made[4])
    assert changes.appended
    assert sorted(row["k"] for row in by_id(changes.relation)) == [3, 4]
    assert maintenance.expire_snapshots(table, soon(), reader=12345).snapshot_ids == (made[2], made[3])


def test_files_that_are_wanted_stay_and_emptied_folders_go(catalog: Catalog) -> None:
    table, _ = snapshots(catalog, 1)
    chunk = [orphan(table, f"data/run-0/month={month}/{name}.parquet") for month in (1, 2) for name in "ab"]
    kept_file, when = str(chunk[0]), datetime(2026, 1, 2, tzinfo=UTC)
    os.utime(chunk[0], (when.timestamp(), when.timestamp()))
    assert maintenance.last_changed(table, [kept_file, f"{kept_file}.lost"]) == when
    assert maintenance.last_changed(table, [f"{kept_file}.lost"]) is None
    tables.set_properties(table, {"ready": kept_file})
    swept = maintenance.remove_orphan_files(table, soon(), pending_files=lambda properties: [properties["ready"]])
    assert swept == RemovedFiles(3, 30)
    data = Path(table.iceberg.location()) / "data"
    assert sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_dir()) == ["run-0", "run-0/month=1"]
    assert maintenance.remove_orphan_files(table, soon()) == RemovedFiles(1, 10)
    assert [path for path in data.rglob("*") if path.is_dir()] == []


def test_metadata_files_of_any_table_become_few(both: Catalog) -> None:
    both.create_namespace("features")
    table = Table(both.create_table("features.f", EVENTS, properties={"write.metadata.previous-versions-max": "3"}))
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
        replace_rows(both, "training_sets.t", reader(events((number, "2026-01-01", "x"))), summary={}, tag=f"t{number}")
    table = tables.load(both, "training_sets.t")
    made = table.snapshot_ids
    with table.iceberg.manage_snapshots() as manage:
        manage.remove_tag("t0")
    maintenance.expire_snapshots(table, soon(), dry_run=False)
    orphan(table, "data/lost.parquet", 1000)
    orphan(table, "metadata/00000-lost.metadata.json", 10)
    orphan(table, "metadata/snap-lost.avro", 10)
    other = [orphan(table, "metadata/version-hint.text"), orphan(table, "notes.parquet"), orphan(table, "data/readme.md")]
    before = files(table), files(table, "metadata")
    expected = maintenance.remove_orphan_files(table, soon(), dry_run=True)
    assert (files(table), files(table, "metadata")) == before
    assert maintenance.remove_orphan_files(table, soon(), dry_run=False) == expected
    assert expected.files >= 5  # with the expired data file and its manifest and manifest list
    assert expected.bytes > 1020
    assert len(files(table)) == 2 + 1
    assert all(path.exists() for path in other)
    assert [keys(table, snapshot) for snapshot in made[1:]] == [[1], [2]]
    assert maintenance.remove_orphan_files(table, soon(), dry_run=False) == RemovedFiles(0, 0)
    replace_rows(both, "training_sets.t", reader(events((9, "2026-01-01", "x"))), summary={}, tag="t9")


def test_what_may_still_be_read_is_not_swept_though_it_has_expired(both: Catalog) -> None:
    for number in range(3):
        replace_rows(both, "training_sets.t", reader(events((number, "2026-01-01", "x"))), summary={}, tag=f"t{number}")
    table = tables.load(both, "training_sets.t")
    for number in range(2):
        with table.iceberg.manage_snapshots() as manage:
            manage.remove_tag(f"t{number}")
    # The metadata that listed them are gone as well.
    tables.set_properties(table, {"write.metadata.previous-versions-max": "1"})
    began = datetime.fromtimestamp(table.iceberg.snapshots()[2].timestamp_ms / 1000, UTC)
    old = (began - timedelta(days=1)).timestamp()
    for path in Path(table.iceberg.location()).rglob("*"):
        os.utime(path, (old, old))
    planned = maintenance.expire_snapshots(table, soon(), dry_run=True)
    would = maintenance.remove_orphan_files(table, began, dry_run=True, without=planned.snapshot_ids)
    assert maintenance.expire_snapshots(table, soon()) == planned
    for number in range(3):
        tables.set_properties(table, {"later": str(number)})
    assert len(planned.snapshot_ids) == 2
    assert maintenance.remove_orphan_files(table, began) == would
    assert len(files(table)) == 2, "the first was not the current one any more when the reading may have begun"
    assert maintenance.remove_orphan_files(table, soon()).files >= 2
    assert len(files(table)) == 1


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_manifest_list_that_a_killed_process_began_is_an_orphan_like_others(catalog: Catalog, part: float) -> None:
    table, _ = snapshots(catalog, 2)
    (whole, *_) = Path(table.location.removeprefix("file://"), "metadata").glob("snap-*.avro")
    content = whole.read_bytes()
    begun = whole.with_name("snap-4711-0-00000000-0000-0000-0000-000000000000.avro")
    begun.write_bytes(content[: int(part * len(content))])
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert maintenance.remove_orphan_files(table, hour_ago).files == 0, "it may be written still"
    os.utime(begun, (hour_ago.timestamp() - 1, hour_ago.timestamp() - 1))
    assert maintenance.remove_orphan_files(table, hour_ago) == RemovedFiles(1, int(part * len(content)))


def test_sweep_leaves_young_files(catalog: Catalog) -> None:
    table, _ = snapshots(catalog, 1)
    old, young = orphan(table, "data/old.parquet"), orphan(table, "data/young.parquet")
    hour_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(old, (hour_ago, hour_ago))
    limit = datetime.now(UTC) - timedelta(hours=1)
    assert maintenance.remove_orphan_files(table, limit, dry_run=False) == RemovedFiles(1, 10)
    assert (old.exists(), young.exists()) == (False, True)
    assert maintenance.remove_orphan_files(table, limit.replace(tzinfo=None), dry_run=False) == RemovedFiles(0, 0)


def test_sweep_with_a_stale_handle_and_merged_manifests(both: Catalog) -> None:
    table = tables.create(both, "features.f", EVENTS, month_of="t", properties={"commit.manifest.min-count-to-merge": "3"})
    stale = tables.load(both, "features.f")
    for number in range(8):
        writes.append(table, reader(events((number, f"2026-{number + 1:02}-01", "x"))), summary={})
    maintenance.remove_orphan_files(stale, soon(), dry_run=False)
    for count, snapshot in enumerate(table.snapshot_ids, start=1):
        assert keys(table, snapshot) == list(range(count))
    maintenance.expire_snapshots(table, soon(), dry_run=False)
    maintenance.remove_orphan_files(stale, soon(), dry_run=False)
    assert keys(table, table.snapshot_ids[0]) == list(range(8))
    assert len(files(table)) == 8


def test_sweep_keeps_delete_files(catalog: Catalog) -> None:
    catalog.create_namespace("shop")
    table = Table(catalog.create_table("shop.orders", EVENTS))
    table.iceberg.append(events((1, "2026-01-01", "a"), (2, "2026-01-01", "b")))
    delete_rows(table, DataFileContent.POSITION_DELETES, [0])
    table.iceberg.refresh()
    maintenance.expire_snapshots(table, soon(), dry_run=False)
    maintenance.remove_orphan_files(table, soon(), dry_run=False)
    assert keys(table, table.snapshot_ids[-1]) == [2]


def test_what_a_lost_writer_left_is_swept(catalog: Catalog) -> None:
    _, made = snapshots(catalog, 1)
    with open_interfered(catalog) as interrupted:
        table = tables.load(interrupted, "features.f")
        interrupted.before = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            writes.append(table, reader(events((9, "2026-01-01", "x"))), summary={})
    assert len(files(table)) == 2
    assert maintenance.remove_orphan_files(table, soon(), dry_run=False).files >= 3
    assert len(files(table)) == 1
    assert keys(table, made[0]) == [0]


def test_a_folder_shared_after_a_rename_is_not_swept(both: Catalog) -> None:
    _, made = snapshots(both, 1)
    both.rename_table("features.f", "features.old")
    new, _ = snapshots(both, 1)
    old = tables.load(both, "features.old")
    assert new.iceberg.location() == old.iceberg.location()
    for table in (new, old):
        with pytest.raises(Conflict, match=r"share the folder"):
            maintenance.remove_orphan_files(table, soon(), dry_run=False)
    assert keys(old, made[0]) == [0]
    both.drop_table("features.old")
    assert maintenance.remove_orphan_files(new, soon(), dry_run=False).files >= 4
    assert keys(new, new.snapshot_ids[0]) == [0]


def test_data_outside_of_the_tables_folder_is_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    table = tables.create(catalog, "features.f", EVENTS, properties={"write.data.path": str(shared)})
    writes.append(table, reader(events((1, "2026-01-01", "x"))), summary={})
    (shared / "of-another-table.parquet").write_bytes(b"x")
    maintenance.remove_orphan_files(table, soon(), dry_run=False)
    assert len(list(shared.iterdir())) == 2
